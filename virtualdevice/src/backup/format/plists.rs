//! `Status.plist` and `Manifest.plist` (spec backup-format 3 and 4, mobilebackup2 9.1).

use std::time::{Duration, SystemTime};

use cabled_wire::dict;
use cabled_wire::plist::{self, Date, DictExt, Dictionary, Limits, Value};

use super::FormatError;
use super::record::WRAPPED_KEY;

/// Largest property list taken from a host; app lists and icons make some of them long.
pub(crate) const MAX_PLIST: usize = 64 << 20;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotState {
    Uploading,
    Moving,
    Removing,
    Finished,
    /// A word of another release.
    Other,
}

impl SnapshotState {
    fn word(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Moving => "moving",
            Self::Removing => "removing",
            Self::Finished | Self::Other => "finished",
        }
    }

    fn parse(word: &str) -> Self {
        match word {
            "uploading" => Self::Uploading,
            "moving" => Self::Moving,
            "removing" => Self::Removing,
            "finished" => Self::Finished,
            _ => Self::Other,
        }
    }
}

/// `Status.plist`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) uuid: String,
    pub(crate) date: SystemTime,
    pub(crate) version: String,
    pub(crate) state: SnapshotState,
    /// Always false from a device; true from a host asks for a full backup.
    pub(crate) is_full: bool,
}

impl Status {
    pub(crate) fn encode(&self) -> Vec<u8> {
        plist::to_binary(&Value::Dictionary(dict! {
            "SnapshotState" => self.state.word(),
            "UUID" => self.uuid.as_str(),
            "Version" => self.version.as_str(),
            "BackupState" => "new",
            "IsFullBackup" => self.is_full,
            "Date" => whole_seconds(self.date),
        }))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        const BAD: FormatError = FormatError::Plist("Status.plist");
        let dict = plist::read_dict(bytes, &Limits::default().with_bytes(1 << 20)).map_err(|_| BAD)?;
        let state = dict.opt_text("SnapshotState").map_err(|_| BAD)?.ok_or(BAD)?;
        let text = |key: &str| dict.opt_text(key).ok().flatten().unwrap_or_default().to_owned();
        Ok(Self {
            uuid: text("UUID"),
            date: dict
                .get("Date")
                .and_then(Value::as_date)
                .map_or(SystemTime::UNIX_EPOCH, SystemTime::from),
            version: text("Version"),
            state: SnapshotState::parse(state),
            is_full: dict.opt_boolean("IsFullBackup").ok().flatten().unwrap_or(false),
        })
    }
}

/// Property list dates of a device have no fraction.
fn whole_seconds(time: SystemTime) -> Date {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let whole = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since.as_secs()));
    Date::from(whole.unwrap_or(SystemTime::UNIX_EPOCH))
}

/// `Manifest.plist`.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) version: String,
    pub(crate) date: SystemTime,
    pub(crate) system_domains_version: String,
    pub(crate) was_passcode_set: bool,
    pub(crate) is_encrypted: bool,
    /// Also in unencrypted backups.
    pub(crate) keybag: Option<Vec<u8>>,
    /// iOS 10.2 and later, encrypted backups.
    pub(crate) manifest_key: Option<[u8; WRAPPED_KEY]>,
    pub(crate) lockdown: Dictionary,
    pub(crate) applications: Dictionary,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Dictionary::new();
        if let Some(keybag) = &self.keybag {
            out.insert("BackupKeyBag".into(), Value::Data(keybag.clone()));
        }
        if let Some(key) = &self.manifest_key {
            out.insert("ManifestKey".into(), Value::Data(key.to_vec()));
        }
        let rest = dict! {
            "Version" => self.version.as_str(),
            "Date" => whole_seconds(self.date),
            "SystemDomainsVersion" => self.system_domains_version.as_str(),
            "WasPasscodeSet" => self.was_passcode_set,
            "Lockdown" => self.lockdown.clone(),
            "Applications" => self.applications.clone(),
            "IsEncrypted" => self.is_encrypted,
        };
        out.extend(rest);
        plist::to_binary(&Value::Dictionary(out))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        const BAD: FormatError = FormatError::Plist("Manifest.plist");
        let mut dict = plist::read_dict(bytes, &Limits::default().with_bytes(MAX_PLIST)).map_err(|_| BAD)?;
        let text = |key: &str| dict.opt_text(key).ok().flatten().unwrap_or_default().to_owned();
        let (version, system_domains_version) = (text("Version"), text("SystemDomainsVersion"));
        let boolean = |key: &str| dict.opt_boolean(key).ok().flatten().unwrap_or(false);
        let (was_passcode_set, is_encrypted) = (boolean("WasPasscodeSet"), boolean("IsEncrypted"));
        let date = dict
            .get("Date")
            .and_then(Value::as_date)
            .map_or(SystemTime::UNIX_EPOCH, SystemTime::from);
        let mut take = |key: &str| dict.remove(key);
        let dictionary = |value: Option<Value>| value.and_then(Value::into_dictionary).unwrap_or_default();
        let data = |value: Option<Value>| value.and_then(Value::into_data);
        let manifest_key = match data(take("ManifestKey")) {
            Some(key) => Some(
                key.try_into()
                    .map_err(|_| FormatError::Plist("ManifestKey of Manifest.plist"))?,
            ),
            None => None,
        };
        Ok(Self {
            version,
            date,
            system_domains_version,
            was_passcode_set,
            is_encrypted,
            keybag: data(take("BackupKeyBag")),
            manifest_key,
            lockdown: dictionary(take("Lockdown")),
            applications: dictionary(take("Applications")),
        })
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests {
    use super::*;

    fn status(state: SnapshotState) -> Status {
        Status {
            uuid: uuid::Uuid::new_v4().to_string().to_uppercase(),
            date: SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000),
            version: "3.3".into(),
            state,
            is_full: false,
        }
    }

    #[test]
    fn a_finished_status_has_189_bytes_and_other_words_change_that() {
        use SnapshotState::{Finished, Moving, Removing, Uploading};
        let lengths: Vec<usize> = [Uploading, Moving, Removing, Finished]
            .map(|state| status(state).encode().len())
            .into();
        assert_eq!(lengths, [190, 187, 189, 189]);
    }

    #[test]
    fn a_status_survives_a_round_trip() {
        let before = status(SnapshotState::Moving);
        assert_eq!(Status::decode(&before.encode()).unwrap(), before);
        assert!(Status::decode(b"").is_err());
        assert!(Status::decode(&plist::to_xml(&dict! { "SnapshotState" => 5 }.into())).is_err());
    }

    #[test]
    fn a_manifest_survives_a_round_trip() {
        let before = Manifest {
            version: "10.0".into(),
            date: SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000),
            system_domains_version: "24.0".into(),
            was_passcode_set: true,
            is_encrypted: true,
            keybag: Some(vec![1; 1388]),
            manifest_key: Some([4; 44]),
            lockdown: dict! { "DeviceName" => "x" },
            applications: dict! { "com.example.app" => dict! { "CFBundleVersion" => "42" } },
        };
        let after = Manifest::decode(&before.encode()).unwrap();
        assert_eq!(after.encode(), before.encode());
        assert_eq!(after.manifest_key, before.manifest_key);
    }

    #[test]
    fn a_strangers_manifest_may_lack_everything_but_must_be_a_dictionary() {
        let few = plist::to_xml(&dict! { "Version" => "9.1" }.into());
        assert!(!Manifest::decode(&few).unwrap().is_encrypted);
        assert!(Manifest::decode(b"").is_err());
        let short_key = dict! { "ManifestKey" => Value::Data(vec![1; 43]) };
        assert!(Manifest::decode(&plist::to_binary(&short_key.into())).is_err());
    }
}
