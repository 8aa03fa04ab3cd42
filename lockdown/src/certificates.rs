//! RSA keys and the three certificates of a pairing.
//!
//! Spec: lockdown 5. Devices accept almost anything here, and so does our reader; what is written is one fixed form.

use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use cabled_wire::secret::SecretBytes;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};
use sha1::{Digest, Sha1};
use x509_cert::Version;
use x509_cert::der::asn1::{Any, BitString, Null, ObjectIdentifier, OctetString, UintRef};
use x509_cert::der::{Decode, Encode, Header, Reader, SliceReader, Tag, TagNumber};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifier;
use x509_cert::time::Time;

/// The largest PEM text that is read, in bytes; real ones have 1 to 2 KiB.
pub const MAX_PEM: usize = 64 << 10;

/// How long certificates last, counted from [`BACKDATE`] before now.
const VALIDITY: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Device clocks may lag: a certificate from the future fails their handshake.
const BACKDATE: Duration = Duration::from_secs(24 * 3600);

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");

/// A key or certificate could not be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// No PEM block, or not of an expected kind, or too long.
    #[error("`{what}` holds no PEM block of the expected kind")]
    Pem {
        /// The key of the pair record, or `DevicePublicKey`.
        what: &'static str,
    },
    /// The DER inside is damaged.
    #[error("`{what}` is damaged")]
    Der {
        /// The key of the pair record, or `DevicePublicKey`.
        what: &'static str,
    },
    /// The private key and the certificate that should belong to it do not.
    #[error("the host's private key does not belong to its certificate")]
    KeyMismatch,
    /// The cryptographic library failed.
    #[error("making an RSA key or signature failed")]
    Crypto,
}

/// An RSA private key. `Debug` shows nothing of it.
pub struct RsaKey {
    pair: KeyPair,
}

impl std::fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RsaKey").finish_non_exhaustive()
    }
}

impl RsaKey {
    /// Makes a fresh 2048 bit key with exponent 65537. Takes tenths of a second: keep it off async threads.
    ///
    /// # Errors
    /// [`CertificateError::Crypto`].
    pub fn generate() -> Result<Self, CertificateError> {
        Ok(Self {
            pair: KeyPair::generate(KeySize::Rsa2048).map_err(|_| CertificateError::Crypto)?,
        })
    }

    /// Reads PKCS#8 or PKCS#1 PEM.
    ///
    /// # Errors
    /// [`CertificateError::Pem`], [`CertificateError::Der`] with `what`.
    pub fn from_pem(text: &[u8], what: &'static str) -> Result<Self, CertificateError> {
        let (tag, der) = pem_block(text, what)?;
        let pair = match tag.as_str() {
            "PRIVATE KEY" => KeyPair::from_pkcs8(&der),
            "RSA PRIVATE KEY" => KeyPair::from_der(&der),
            _ => return Err(CertificateError::Pem { what }),
        };
        Ok(Self {
            pair: pair.map_err(|_| CertificateError::Der { what })?,
        })
    }

    /// PKCS#8 PEM with a trailing newline.
    ///
    /// # Errors
    /// [`CertificateError::Crypto`].
    pub fn to_pkcs8_pem(&self) -> Result<SecretBytes, CertificateError> {
        Ok(to_pem("PRIVATE KEY", self.to_pkcs8_der()?.expose()).into())
    }

    /// PKCS#8 DER.
    ///
    /// # Errors
    /// [`CertificateError::Crypto`].
    pub fn to_pkcs8_der(&self) -> Result<SecretBytes, CertificateError> {
        let der: Pkcs8V1Der<'_> = self.pair.as_der().map_err(|_| CertificateError::Crypto)?;
        Ok(der.as_ref().into())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> RsaPublicKey {
        RsaPublicKey {
            pkcs1: self.pair.public_key().as_ref().to_vec(),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| CertificateError::Crypto)?;
        Ok(signature)
    }
}

/// An RSA public key, as `DevicePublicKey` carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaPublicKey {
    pkcs1: Vec<u8>,
}

impl RsaPublicKey {
    /// Reads what devices call `DevicePublicKey`: PEM of a PKCS#1 `RSAPublicKey`.
    ///
    /// Lenient about trailing NULs, Windows line ends and a missing last newline.
    ///
    /// # Errors
    /// [`CertificateError::Pem`], [`CertificateError::Der`]. Keys below 1024 or above 8192 bits are refused.
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        const WHAT: &str = "DevicePublicKey";
        let (tag, der) = pem_block(text, WHAT)?;
        let pkcs1 = match tag.as_str() {
            "RSA PUBLIC KEY" => der,
            "PUBLIC KEY" => spki_bits(&der).ok_or(CertificateError::Der { what: WHAT })?,
            _ => return Err(CertificateError::Pem { what: WHAT }),
        };
        let bytes = modulus_len(&pkcs1).map_err(|_| CertificateError::Der { what: WHAT })?;
        if !(128..=1024).contains(&bytes) {
            return Err(CertificateError::Der { what: WHAT });
        }
        Ok(Self { pkcs1 })
    }

    /// PEM labelled `RSA PUBLIC KEY`, with a trailing newline: what a device answers to `GetValue DevicePublicKey`.
    #[must_use]
    pub fn to_pem(&self) -> Vec<u8> {
        to_pem("RSA PUBLIC KEY", &self.pkcs1)
    }

    /// PKCS#1 DER.
    #[must_use]
    pub fn as_pkcs1_der(&self) -> &[u8] {
        &self.pkcs1
    }

    /// `SubjectPublicKeyInfo` DER, as it stands in a certificate.
    fn to_spki_der(&self) -> Result<Vec<u8>, x509_cert::der::Error> {
        let algorithm = AlgorithmIdentifier {
            oid: RSA_ENCRYPTION,
            parameters: Some(Any::from(Null)),
        }
        .to_der()?;
        sequence(&[&algorithm, &BitString::from_bytes(&self.pkcs1)?.to_der()?])
    }
}

/// A fresh root, host and device certificate with the keys of the first two.
#[derive(Debug)]
pub struct Certificates {
    /// Root certificate, PEM: signs itself and the others.
    pub root: Vec<u8>,
    /// Host certificate, PEM.
    pub host: Vec<u8>,
    /// Device certificate, PEM: the device's own key, signed by our root.
    pub device: Vec<u8>,
    /// Root key, PKCS#8 PEM.
    pub root_key: SecretBytes,
    /// Host key, PKCS#8 PEM.
    pub host_key: SecretBytes,
}

impl Certificates {
    /// Makes two RSA keys and signs three certificates, valid from a day before `now` for 3650 days.
    ///
    /// Takes tenths of a second: keep it off async threads. Spec: lockdown 5.2.
    ///
    /// # Errors
    /// [`CertificateError::Crypto`], or [`CertificateError::Der`] for a time that no certificate can hold.
    pub fn issue(device: &RsaPublicKey, now: SystemTime) -> Result<Self, CertificateError> {
        let (root_key, host_key) = (RsaKey::generate()?, RsaKey::generate()?);
        let issue = |profile, public: &RsaPublicKey| -> Result<Vec<u8>, CertificateError> {
            let tbs = profile_tbs(profile, public, now).map_err(|_| CertificateError::Der {
                what: "new certificate",
            })?;
            let der = signed(&tbs, &root_key.sign(&tbs)?).map_err(|_| CertificateError::Crypto)?;
            Ok(to_pem("CERTIFICATE", &der))
        };
        Ok(Self {
            root: issue(Profile::Root, &root_key.public_key())?,
            host: issue(Profile::Host, &host_key.public_key())?,
            device: issue(Profile::Device, device)?,
            root_key: root_key.to_pkcs8_pem()?,
            host_key: host_key.to_pkcs8_pem()?,
        })
    }
}

/// Which of the three certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Profile {
    Root,
    Host,
    Device,
}

/// `TBSCertificate`, in the field order of RFC 5280.
fn profile_tbs(profile: Profile, key: &RsaPublicKey, now: SystemTime) -> Result<Vec<u8>, x509_cert::der::Error> {
    let start = now.checked_sub(BACKDATE).unwrap_or(SystemTime::UNIX_EPOCH);
    let end = start.checked_add(VALIDITY).unwrap_or(start);
    let name = Name::default().to_der()?;
    let validity = sequence(&[&Time::try_from(start)?.to_der()?, &Time::try_from(end)?.to_der()?])?;
    let extensions = extensions(profile, key)?.to_der()?;
    sequence(&[
        &explicit(TagNumber(0), &Version::V3.to_der()?)?,
        &1_u8.to_der()?,
        &sha256_with_rsa()?,
        &name,
        &validity,
        &name,
        &key.to_spki_der()?,
        &explicit(TagNumber(3), &extensions)?,
    ])
}

/// In the order of certificates seen in the field: constraints, key identifier, usage.
fn extensions(profile: Profile, key: &RsaPublicKey) -> Result<Vec<Extension>, x509_cert::der::Error> {
    let make = |extn_id, critical, value: Vec<u8>| -> Result<Extension, x509_cert::der::Error> {
        Ok(Extension {
            extn_id,
            critical,
            extn_value: OctetString::new(value)?,
        })
    };
    let ca = profile == Profile::Root;
    let constraints = BasicConstraints {
        ca,
        path_len_constraint: None,
    }
    .to_der()?;
    let mut list = vec![make(BASIC_CONSTRAINTS, true, constraints)?];
    if profile == Profile::Device {
        let id = SubjectKeyIdentifier(OctetString::new(Sha1::digest(&key.pkcs1).to_vec())?);
        list.push(make(SUBJECT_KEY_IDENTIFIER, false, id.to_der()?)?);
    }
    if !ca {
        let usage = KeyUsage(KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment);
        list.push(make(KEY_USAGE, true, usage.to_der()?)?);
    }
    Ok(list)
}

fn signed(tbs: &[u8], signature: &[u8]) -> Result<Vec<u8>, x509_cert::der::Error> {
    sequence(&[tbs, &sha256_with_rsa()?, &BitString::from_bytes(signature)?.to_der()?])
}

fn sha256_with_rsa() -> Result<Vec<u8>, x509_cert::der::Error> {
    AlgorithmIdentifier {
        oid: SHA256_WITH_RSA,
        parameters: Some(Any::from(Null)),
    }
    .to_der()
}

fn sequence(parts: &[&[u8]]) -> Result<Vec<u8>, x509_cert::der::Error> {
    Any::new(Tag::Sequence, parts.concat())?.to_der()
}

fn explicit(number: TagNumber, inner: &[u8]) -> Result<Vec<u8>, x509_cert::der::Error> {
    Any::new(
        Tag::ContextSpecific {
            constructed: true,
            number,
        },
        inner,
    )?
    .to_der()
}

/// Reads the DER of the first certificate in PEM text; `what` names its place for the error.
///
/// # Errors
/// [`CertificateError::Pem`].
pub fn certificate_der(text: &[u8], what: &'static str) -> Result<CertificateDer<'static>, CertificateError> {
    match pem_block(text, what)? {
        (tag, der) if tag == "CERTIFICATE" => Ok(CertificateDer::from(der)),
        _ => Err(CertificateError::Pem { what }),
    }
}

/// Reads a private key for TLS out of PKCS#8 or PKCS#1 PEM; `what` names its place for the error.
///
/// # Errors
/// [`CertificateError::Pem`].
pub fn private_key_der(text: &[u8], what: &'static str) -> Result<PrivateKeyDer<'static>, CertificateError> {
    match pem_block(text, what)? {
        (tag, der) if tag == "PRIVATE KEY" => Ok(PrivatePkcs8KeyDer::from(der).into()),
        (tag, der) if tag == "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(der).into()),
        _ => Err(CertificateError::Pem { what }),
    }
}

/// The PKCS#1 public key inside a certificate of any version, however odd the rest of it is.
///
/// Reads only as far as the key: version, serial number, names and validity of certificates in the field break the
/// rules that general X.509 readers enforce.
///
/// # Errors
/// [`CertificateError::Der`] if it is no certificate, or its key is not RSA.
pub fn public_key_of(certificate: &[u8], what: &'static str) -> Result<RsaPublicKey, CertificateError> {
    let read = || -> Result<Vec<u8>, x509_cert::der::Error> {
        let mut outer = SliceReader::new(certificate)?;
        let len = sequence_len(&mut outer)?;
        outer.read_nested(len, |certificate| {
            let tbs_len = sequence_len(certificate)?;
            let spki = certificate.read_nested(tbs_len, |tbs| {
                if Header::peek(tbs)?.tag().is_context_specific() {
                    tbs.tlv_bytes()?; // version; absent means v1
                }
                for _ in ["serial number", "signature", "issuer", "validity", "subject"] {
                    tbs.tlv_bytes()?;
                }
                let spki = tbs.tlv_bytes()?.to_vec();
                drain(tbs)?;
                Ok::<_, x509_cert::der::Error>(spki)
            })?;
            drain(certificate)?;
            Ok(spki)
        })
    };
    let spki = read().map_err(|_| CertificateError::Der { what })?;
    let pkcs1 = spki_bits(&spki).ok_or(CertificateError::Der { what })?;
    Ok(RsaPublicKey { pkcs1 })
}

fn sequence_len<'a>(reader: &mut impl Reader<'a>) -> Result<x509_cert::der::Length, x509_cert::der::Error> {
    let header = Header::decode(reader)?;
    header.tag().assert_eq(Tag::Sequence)?;
    Ok(header.length())
}

fn drain<'a>(reader: &mut impl Reader<'a>) -> Result<(), x509_cert::der::Error> {
    while !reader.is_finished() {
        reader.tlv_bytes()?;
    }
    Ok(())
}

/// The content of an RSA `SubjectPublicKeyInfo`'s bit string.
fn spki_bits(spki: &[u8]) -> Option<Vec<u8>> {
    let spki = x509_cert::spki::SubjectPublicKeyInfoOwned::from_der(spki).ok()?;
    (spki.algorithm.oid == RSA_ENCRYPTION).then(|| spki.subject_public_key.raw_bytes().to_vec())
}

fn modulus_len(pkcs1: &[u8]) -> Result<usize, x509_cert::der::Error> {
    let mut reader = SliceReader::new(pkcs1)?;
    let len = sequence_len(&mut reader)?;
    reader.read_nested(len, |fields| {
        let modulus = UintRef::decode(fields)?;
        let _exponent = UintRef::decode(fields)?;
        Ok(modulus.as_bytes().len())
    })
}

/// The label and content of the first PEM block; NULs that some clients append are trimmed.
fn pem_block(text: &[u8], what: &'static str) -> Result<(String, Vec<u8>), CertificateError> {
    if text.len() > MAX_PEM {
        return Err(CertificateError::Pem { what });
    }
    let block = pem::parse(text).map_err(|_| CertificateError::Pem { what })?;
    Ok((block.tag().to_owned(), block.into_contents()))
}

fn to_pem(label: &str, der: &[u8]) -> Vec<u8> {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), config).into_bytes()
}
