//! The backup password: `ChangePassword` and what follows from it (spec mobilebackup2 11).

use cabled_wire::plist::{DictExt, Dictionary};
use cabled_wire::secret::SecretString;
use tokio::task::spawn_blocking;

use super::error::{LocalError, Outcome, Stop, internal, refusal_under, refuse};
use super::format::FormatError;
use super::format::keybag::{ClassKeys, Derivation};
use super::session::Session;
use super::state::{Protection, State};
use crate::phone::Phone;
use crate::profile::{PasscodePrompt, Profile};

/// The lockdown domain of `WillEncrypt` and `RequiresEncryption`.
const DOMAIN: &str = "com.apple.mobile.backup";

/// Carries out a `ChangePassword` request.
pub(super) async fn change(session: &mut Session, request: &Dictionary) -> Outcome<()> {
    let text = |key: &str| -> Option<SecretString> {
        let text = request.opt_text(key).ok().flatten();
        text.filter(|text| !text.is_empty()).map(|text| text.to_owned().into())
    };
    let (old, new) = (text("OldPassword"), text("NewPassword"));
    let codes = session.codes();
    let asks = session.profile().passcode_for_password_change == PasscodePrompt::WhenSet;
    session.passcode(asks).await?;
    if !session.can_read_protected_files() {
        return Err(session.locked());
    }
    if new.is_none() && policy_forbids(&session.phone) {
        let text = "Error setting WillEncrypt value in lockdown";
        let under = "Forbidden by management policy";
        return Err(Stop::Refuse(refusal_under(codes.generic, text, under, codes.forbidden)));
    }
    let (state, rounds) = (session.state.clone(), first_stage(session.profile()));
    let work = spawn_blocking(move || apply(&state, rounds, old.as_ref(), new.as_ref())).await;
    let changed = work.map_err(|_| internal(codes.generic, &LocalError::Abandoned))?;
    match changed {
        Ok(true) => {
            publish(&session.phone);
            Ok(())
        }
        Ok(false) => refuse(codes.invalid_password, "Invalid password"),
        Err(error) => Err(internal(codes.generic, &error)),
    }
}

fn policy_forbids(phone: &Phone) -> bool {
    phone
        .value(Some(DOMAIN), "RequiresEncryption")
        .and_then(|value| value.as_boolean())
        .unwrap_or(false)
}

/// Rounds of the first stage, which came with iOS 10.2, and of the second.
fn first_stage(profile: &Profile) -> (Option<u32>, u32) {
    let rounds = profile.kdf_rounds;
    ((profile.version() >= (10, 2)).then_some(rounds.double), rounds.single)
}

/// Changes keys and bag; false for a wrong password. A change keeps the class keys, so that file keys in the host's
/// manifest stay good and the next run need not send anything again.
fn apply(
    state: &State,
    (double, single): (Option<u32>, u32),
    old: Option<&SecretString>,
    new: Option<&SecretString>,
) -> Result<bool, FormatError> {
    let bytes = |password: &SecretString| password.expose().as_bytes().to_vec();
    let current = state.encryption();
    let keys = match (current, old) {
        (None, None) => None,
        (Some(protection), Some(old)) => match protection.bag.open(&zeroize::Zeroizing::new(bytes(old))) {
            Ok(_) => Some(protection.keys),
            Err(_) => return Ok(false),
        },
        // Enabling what is enabled, or changing what is not there.
        (Some(_), None) | (None, Some(_)) => return Ok(false),
    };
    let Some(new) = new else {
        // Turning off what is off is not possible either.
        let was_on = keys.is_some();
        state.set_encryption(None);
        return Ok(was_on);
    };
    let keys = match keys {
        Some(keys) => keys,
        None => ClassKeys::fresh(true, &state.device_key()?)?,
    };
    let bag = keys.seal(&zeroize::Zeroizing::new(bytes(new)), Derivation::fresh(double, single)?)?;
    state.set_encryption(Some(Protection { keys, bag }));
    Ok(true)
}

/// Tells lockdown, which posts `com.apple.mobile.backup.domain_changed`.
fn publish(phone: &Phone) {
    phone.set_value(Some(DOMAIN), "WillEncrypt", phone.backup_state().is_encrypted());
}

/// Sets or removes the backup password as if its owner had done so in the phone's settings. Costs key derivations:
/// call it on a blocking thread.
///
/// ```
/// use cabled_virtualdevice::{Phone, backup};
/// let phone = Phone::builder().build()?;
/// backup::set_password(&phone, Some("correct horse"))?;
/// assert!(phone.backup_state().is_encrypted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`PasswordError`] if the system has no random numbers for keys.
pub fn set_password(phone: &Phone, password: Option<&str>) -> Result<(), PasswordError> {
    let state = phone.backup_state();
    state.set_encryption(None);
    if let Some(password) = password {
        let password = SecretString::from(password.to_owned());
        apply(state, first_stage(phone.profile()), None, Some(&password)).map_err(PasswordError)?;
    }
    publish(phone);
    Ok(())
}

/// No keys could be made for the password.
#[derive(Debug, thiserror::Error)]
#[error("no keys could be made for the backup password")]
pub struct PasswordError(#[source] FormatError);
