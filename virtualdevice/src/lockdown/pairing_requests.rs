//! Pair, ValidatePair and Unpair. Spec: lockdown, section 7.

use cabled_lockdown::msg::{LockdownError, PairRequest};
use cabled_wire::ids::HostId;
use cabled_wire::secret::SecretBytes;

use super::pairing::{Candidate, Verdict};
use crate::phone::{Phone, PhoneEvent, Transport, locked};

/// Bytes of a computer's name that the dialogue shows.
const MAX_NAME: usize = 255;

/// Pairs, or says what is in the way.
pub(super) async fn pair(
    phone: &Phone,
    request: &PairRequest,
    transport: Transport,
) -> Result<Option<SecretBytes>, LockdownError> {
    if transport == Transport::Network {
        return Err(LockdownError::PairingProhibitedOverThisConnection);
    }
    if phone.is_locked() {
        return Err(LockdownError::from(phone.profile().locked_error.as_str()));
    }
    let identity = phone.identity().await.map_err(|_| LockdownError::InternalError)?;
    let own_key = phone.profile().checks_device_certificate.then(|| identity.public_der());
    let candidate = Candidate::new(request.record.as_ref(), own_key)?;
    let host_name = request.host_name.clone().filter(|name| name.len() <= MAX_NAME);
    // The lock is let go before anybody is told, as they may ask for pairings in turn.
    let verdict = locked(&phone.inner().pairings).judge(&candidate, phone.profile().trust_follows_system_buid);
    match verdict {
        Verdict::Trust => {
            let host_id = candidate.host_id.clone();
            let bag = locked(&phone.inner().pairings).store(candidate, host_name)?;
            phone.emit(PhoneEvent::Paired { host_id });
            Ok(phone.profile().returns_escrow_bag.then(|| SecretBytes::from(&*bag)))
        }
        Verdict::Pending(new) => {
            if let (true, Some(system_buid)) = (new, candidate.system_buid) {
                phone.emit(PhoneEvent::TrustAsked { system_buid, host_name });
            }
            Err(LockdownError::PairingDialogResponsePending)
        }
        Verdict::Denied => Err(LockdownError::UserDeniedPairing),
    }
}

fn host_id(request: &PairRequest) -> Result<&HostId, LockdownError> {
    let record = request.record.as_ref().ok_or(LockdownError::MissingPairRecord)?;
    record.host_id.as_ref().ok_or(LockdownError::MissingHostId)
}

/// Says whether the pairing is known.
pub(super) fn validate(phone: &Phone, request: &PairRequest) -> Result<(), LockdownError> {
    let host_id = host_id(request)?;
    let known = locked(&phone.inner().pairings).find(host_id).is_some();
    if known {
        Ok(())
    } else {
        Err(LockdownError::InvalidHostId)
    }
}

/// Forgets the pairing; its `HostID` alone is enough.
pub(super) fn unpair(phone: &Phone, request: &PairRequest) -> Result<(), LockdownError> {
    let host_id = host_id(request)?.clone();
    if !locked(&phone.inner().pairings).forget(&host_id) {
        return Err(LockdownError::InvalidHostId);
    }
    phone.emit(PhoneEvent::Unpaired { host_id });
    Ok(())
}
