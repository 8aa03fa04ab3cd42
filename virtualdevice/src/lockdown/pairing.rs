//! Which computers the phone trusts, and the dialogue on its screen. Spec: lockdown, sections 5 to 7.

use std::collections::BTreeMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use cabled_lockdown::DeviceSide;
use cabled_lockdown::msg::LockdownError;
use cabled_wire::ids::{HostId, SystemBuid};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use crate::phone::Pairing;

/// Pairings kept; the oldest is forgotten for a new one.
const MAX_PAIRINGS: usize = 64;
/// Computers whose dialogue or answer is remembered.
const MAX_DIALOGUES: usize = 64;
/// The largest certificate taken, in bytes of DER; real ones have below 1000.
const MAX_CERTIFICATE: usize = 16 << 10;

/// One computer the phone trusts, as [`Phone::pairings`](crate::Phone::pairings) tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairingInfo {
    /// `HostID`.
    pub host_id: HostId,
    /// `SystemBUID`.
    pub system_buid: Option<SystemBuid>,
    /// The name the computer gave, where it did.
    pub host_name: Option<String>,
}

/// A pairing as the phone keeps it. Certificates are DER.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) host_id: HostId,
    pub(crate) system_buid: Option<SystemBuid>,
    pub(crate) host_name: Option<String>,
    pub(crate) device_certificate: Bytes,
    pub(crate) host_certificate: Bytes,
    pub(crate) root_certificate: Bytes,
    escrow_bag: EscrowBag,
}

/// 32 random bytes that open data protection.
#[derive(Clone)]
pub(crate) struct EscrowBag(pub(crate) Bytes);

impl std::fmt::Debug for EscrowBag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EscrowBag({} bytes)", self.0.len())
    }
}

impl Stored {
    pub(crate) fn escrow_bag(&self) -> &Bytes {
        &self.escrow_bag.0
    }
}

/// What the person did about one computer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialogue {
    /// Shows; this many requests have met it.
    Showing(u32),
    Trusted,
    Denied,
}

/// What Pair comes to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Trusted: store it.
    Trust,
    /// The dialogue shows; true if it began with this request.
    Pending(bool),
    /// Refused by the person.
    Denied,
}

/// All pairings, and the dialogues about computers that want to become one.
#[derive(Debug)]
pub(crate) struct Pairings {
    mode: Pairing,
    stored: Vec<Stored>,
    dialogues: BTreeMap<String, Dialogue>,
}

/// The parts of a pair record that the phone keeps, checked.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) host_id: HostId,
    pub(crate) system_buid: Option<SystemBuid>,
    device_certificate: Bytes,
    host_certificate: Bytes,
    root_certificate: Bytes,
}

impl Candidate {
    /// Checks a pair record; with `public_key` the device certificate must hold this key.
    pub(crate) fn new(record: Option<&DeviceSide>, public_key: Option<&[u8]>) -> Result<Self, LockdownError> {
        let record = record.ok_or(LockdownError::MissingPairRecord)?;
        let host_id = record.host_id.clone().ok_or(LockdownError::MissingHostId)?;
        let device_certificate = certificate(record.device_certificate.as_deref())?;
        if public_key.is_some_and(|key| public_key_of(&device_certificate).as_deref() != Some(key)) {
            return Err(LockdownError::InvalidPairRecord);
        }
        Ok(Self {
            host_id,
            system_buid: record.system_buid.clone(),
            device_certificate,
            host_certificate: certificate(record.host_certificate.as_deref())?,
            root_certificate: certificate(record.root_certificate.as_deref())?,
        })
    }

    /// What the dialogue is about: the computer, or the pairing where the computer says no name of its own.
    fn subject(&self) -> &str {
        self.system_buid
            .as_ref()
            .map_or(self.host_id.as_str(), SystemBuid::as_str)
    }
}

/// The DER in a PEM certificate, which must be an X.509 certificate of some kind; nothing in it is validated.
fn certificate(pem: Option<&[u8]>) -> Result<Bytes, LockdownError> {
    let pem = pem
        .filter(|pem| pem.len() <= 2 * MAX_CERTIFICATE)
        .ok_or(LockdownError::InvalidPairRecord)?;
    let der = pem::parse(pem)
        .map_err(|_| LockdownError::InvalidPairRecord)?
        .into_contents();
    if der.len() > MAX_CERTIFICATE || Certificate::from_der(&der).is_err() {
        return Err(LockdownError::InvalidPairRecord);
    }
    Ok(der.into())
}

/// The public key in a certificate: the content of its bit string.
fn public_key_of(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(der).ok()?;
    let spki = certificate.tbs_certificate().subject_public_key_info();
    spki.subject_public_key.as_bytes().map(<[u8]>::to_vec)
}

/// `(algorithm identifier without its outer tag, key)` of a certificate, to check signatures made with it.
pub(crate) fn key_and_algorithm(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let certificate = Certificate::from_der(der).ok()?;
    let spki = certificate.tbs_certificate().subject_public_key_info();
    let algorithm = spki.algorithm.to_der().ok()?;
    // rustls compares what is inside the SEQUENCE; identifiers of keys are far below 128 bytes.
    let inside = algorithm.get(2..)?.to_vec();
    Some((inside, spki.subject_public_key.as_bytes()?.to_vec()))
}

impl Pairings {
    pub(crate) fn new(mode: Pairing) -> Self {
        Self {
            mode,
            stored: Vec::new(),
            dialogues: BTreeMap::new(),
        }
    }

    pub(crate) fn set_mode(&mut self, mode: Pairing) {
        self.mode = mode;
    }

    pub(crate) fn list(&self) -> Vec<PairingInfo> {
        let info = |stored: &Stored| PairingInfo {
            host_id: stored.host_id.clone(),
            system_buid: stored.system_buid.clone(),
            host_name: stored.host_name.clone(),
        };
        self.stored.iter().map(info).collect()
    }

    pub(crate) fn find(&self, host_id: &HostId) -> Option<&Stored> {
        self.stored.iter().find(|stored| stored.host_id == *host_id)
    }

    /// Whether a client certificate is the host's or the root's of a pairing.
    pub(crate) fn knows_certificate(&self, der: &[u8]) -> bool {
        self.stored
            .iter()
            .any(|stored| stored.host_certificate == der || stored.root_certificate == der)
    }

    pub(crate) fn knows_escrow_bag(&self, bag: &[u8]) -> bool {
        self.stored
            .iter()
            .any(|stored| verify_slices_are_equal(stored.escrow_bag(), bag).is_ok())
    }

    /// What a Pair request comes to, by the person and what went before.
    pub(crate) fn judge(&mut self, candidate: &Candidate, trust_follows_buid: bool) -> Verdict {
        let known = self
            .stored
            .iter()
            .any(|stored| stored.host_id == candidate.host_id && stored.host_certificate == candidate.host_certificate);
        let known_computer = trust_follows_buid
            && candidate.system_buid.is_some()
            && self
                .stored
                .iter()
                .any(|stored| stored.system_buid == candidate.system_buid);
        if known || known_computer {
            return Verdict::Trust;
        }
        let subject = candidate.subject().to_owned();
        let dialogue = self.dialogues.get(&subject).copied();
        let new = dialogue.is_none();
        let met = match dialogue {
            Some(Dialogue::Trusted) => return Verdict::Trust,
            Some(Dialogue::Denied) => return Verdict::Denied,
            Some(Dialogue::Showing(met)) => met,
            None => 0,
        };
        let next = match self.mode {
            Pairing::AutoTrust | Pairing::Locked => return Verdict::Trust,
            Pairing::Deny => Dialogue::Denied,
            Pairing::Pending(times) if met >= times => return Verdict::Trust,
            Pairing::Pending(_) | Pairing::AskUser => Dialogue::Showing(met.saturating_add(1)),
        };
        self.remember(subject, next);
        if next == Dialogue::Denied {
            Verdict::Denied
        } else {
            Verdict::Pending(new)
        }
    }

    fn remember(&mut self, subject: String, dialogue: Dialogue) {
        if self.dialogues.len() >= MAX_DIALOGUES && !self.dialogues.contains_key(&subject) {
            self.dialogues.pop_first();
        }
        self.dialogues.insert(subject, dialogue);
    }

    /// Whether a dialogue shows.
    pub(crate) fn dialogue_shows(&self) -> bool {
        self.dialogues
            .values()
            .any(|dialogue| matches!(dialogue, Dialogue::Showing(_)))
    }

    /// Answers every dialogue that shows.
    pub(crate) fn answer(&mut self, trust: bool) -> bool {
        let mut answered = false;
        for dialogue in self.dialogues.values_mut() {
            if matches!(dialogue, Dialogue::Showing(_)) {
                *dialogue = if trust { Dialogue::Trusted } else { Dialogue::Denied };
                answered = true;
            }
        }
        answered
    }

    /// Stores a trusted computer; the same host keeps its escrow bag, and the dialogue is used up.
    pub(crate) fn store(&mut self, candidate: Candidate, host_name: Option<String>) -> Result<Bytes, LockdownError> {
        self.dialogues.remove(candidate.subject());
        let old = self
            .stored
            .iter()
            .position(|stored| stored.host_id == candidate.host_id);
        let kept = old.map(|at| self.stored.remove(at).escrow_bag);
        let escrow_bag = match kept {
            Some(bag) => bag,
            None => {
                let mut bag = [0; 32];
                getrandom::fill(&mut bag).map_err(|_| LockdownError::SavePairRecordFailed)?;
                EscrowBag(Bytes::copy_from_slice(&bag))
            }
        };
        if self.stored.len() >= MAX_PAIRINGS {
            self.stored.remove(0);
        }
        let bag = escrow_bag.0.clone();
        self.stored.push(Stored {
            host_id: candidate.host_id,
            system_buid: candidate.system_buid,
            host_name,
            device_certificate: candidate.device_certificate,
            host_certificate: candidate.host_certificate,
            root_certificate: candidate.root_certificate,
            escrow_bag,
        });
        Ok(bag)
    }

    /// Forgets one pairing; false if there is none.
    pub(crate) fn forget(&mut self, host_id: &HostId) -> bool {
        let before = self.stored.len();
        self.stored.retain(|stored| stored.host_id != *host_id);
        self.stored.len() < before
    }

    /// Forgets everything, answers included.
    pub(crate) fn forget_all(&mut self) -> Vec<HostId> {
        self.dialogues.clear();
        self.stored.drain(..).map(|stored| stored.host_id).collect()
    }
}
