//! The same class keys under another password (spec backup-format, 10).

use cabled_wire::secret::SecretString;
use zeroize::Zeroizing;

use super::{ChangeError, ChangeOptions};
use crate::archive::build::BuildError;
use crate::archive::build::keybag::{put, put_number};
use crate::archive::build::secrets::Secrets;
use crate::archive::kdf::{self, Stage};
use crate::archive::keybag::{ClassKeys, Keybag};
use crate::archive::observe::Observer;
use crate::archive::wrap::{Key, Unwrapper};

/// What devices ask for.
const USUAL_ROUNDS: (u32, u32) = (10_000_000, 10_000);

/// A keybag under a new password.
pub(super) struct Rekeyed {
    pub(super) bag: Vec<u8>,
    pub(super) kek: Key,
}

/// Wraps the class keys anew, with fresh salts. Every tag that does not depend on the password stays as it is and where
/// it is, unknown ones too; `two_stages` decides whether there is a first stage afterwards.
pub(super) fn rekey(
    old: &Keybag,
    keys: &ClassKeys,
    password: &SecretString,
    two_stages: bool,
    options: &ChangeOptions,
    secrets: &mut Secrets,
    observer: &mut dyn Observer,
) -> Result<Rekeyed, ChangeError> {
    let (old_first, old_second) = old.rounds();
    let usual = (old_first.unwrap_or(USUAL_ROUNDS.0), old_second);
    let (first_rounds, second_rounds) = options.rounds.unwrap_or(usual);
    if first_rounds == 0 || second_rounds == 0 {
        return Err(BuildError::Rounds.into());
    }
    let stages = Stages {
        first: two_stages.then_some((secrets.array()?, first_rounds)),
        second: (secrets.array()?, second_rounds),
    };
    let kek = match stages.derive(password, observer) {
        Ok(key) => Key::from(key),
        Err(kdf::Cancelled) => return Err(ChangeError::Cancelled),
    };
    let bag = rewrapped(old, keys, &stages, &Unwrapper::new(&kek));
    // What was just made must open, before anything relies on it.
    let made = Keybag::parse(&bag).and_then(|bag| bag.unwrap(&kek).map_err(|_| unreadable()));
    match made {
        Ok(opened) if opened.usable().eq(keys.usable()) => Ok(Rekeyed { bag, kek }),
        Ok(_) => Err(ChangeError::Archive(unreadable().into())),
        Err(e) => Err(ChangeError::Archive(e.into())),
    }
}

/// The salts and rounds of the new password.
struct Stages {
    first: Option<([u8; 20], u32)>,
    second: ([u8; 20], u32),
}

impl Stages {
    fn derive(
        &self,
        password: &SecretString,
        observer: &mut dyn Observer,
    ) -> Result<Zeroizing<[u8; 32]>, kdf::Cancelled> {
        const fn stage((salt, rounds): &([u8; 20], u32)) -> Stage<'_> {
            Stage { salt, rounds: *rounds }
        }
        let first = self.first.as_ref().map(stage);
        kdf::derive(password.expose().as_bytes(), first, stage(&self.second), observer)
    }
}

/// The tags of `old` with the class keys wrapped by `wrapper`, and with what the new password is derived by.
fn rewrapped(old: &Keybag, keys: &ClassKeys, stages: &Stages, wrapper: &Unwrapper) -> Vec<u8> {
    let had_first = old.rounds().0.is_some();
    let (salt, rounds) = &stages.second;
    let mut bag = Vec::with_capacity(1400);
    let (mut uuids, mut class) = (0_u32, None);
    for (tag, value) in old.tags() {
        if tag == b"UUID" {
            uuids = uuids.saturating_add(1);
            class = None;
        }
        let in_header = uuids < 2;
        match (tag, &stages.first) {
            (b"SALT", _) if in_header => put(&mut bag, b"SALT", salt),
            (b"ITER", first) if in_header => {
                put_number(&mut bag, b"ITER", *rounds);
                if let (Some((salt, rounds)), false) = (first, had_first) {
                    put_number(&mut bag, b"DPWT", 1);
                    put_number(&mut bag, b"DPIC", *rounds);
                    put(&mut bag, b"DPSL", salt);
                }
            }
            (b"DPWT" | b"DPIC" | b"DPSL", None) if in_header => {}
            (b"DPIC", Some((_, rounds))) if in_header => put_number(&mut bag, b"DPIC", *rounds),
            (b"DPSL", Some((salt, _))) if in_header => put(&mut bag, b"DPSL", salt),
            (b"WPKY", _) if !in_header => {
                let opened = class.and_then(|class| keys.password_key(class));
                match opened {
                    Some(key) => put(&mut bag, b"WPKY", &wrapper.wrap(key)),
                    // Wrapped by the device alone, or damaged before: stays as it is.
                    None => put(&mut bag, b"WPKY", value),
                }
            }
            _ => {
                if tag == b"CLAS" && !in_header {
                    class = value.try_into().ok().map(u32::from_be_bytes);
                }
                put(&mut bag, tag, value);
            }
        }
    }
    bag
}

const fn unreadable() -> crate::archive::keybag::KeybagError {
    crate::archive::keybag::KeybagError::NothingToUnwrap
}
