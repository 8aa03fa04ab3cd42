//! `Info.plist`, `Manifest.plist` and `Status.plist`, typed, with every unknown key kept (spec backup-format, 2 to 4).
//!
//! Each type wraps the dictionary as it was read: what has no accessor is still there, and writing it back changes
//! nothing. Missing keys are normal in files of other programs, and so are keys of an unexpected type: descriptive
//! accessors return `None` for both.

use std::time::SystemTime;

use cabled_wire::WireError;
use cabled_wire::plist::{self, DictExt, Dictionary, Limits, Value};

use super::wrap::WrappedKey;

/// The longest of these files that is read, in bytes. `Info.plist` holds every app's icon and grows to tens of MiB.
pub const MAX_PLIST_LEN: usize = 256 << 20;

macro_rules! wrapper {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name(Dictionary);

        impl $name {
            /// Reads the file's bytes, XML or binary.
            ///
            /// # Errors
            /// As [`cabled_wire::plist::read_dict`], with a limit of [`MAX_PLIST_LEN`] bytes.
            pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
                plist::read_dict(bytes, &Limits::default().with_bytes(MAX_PLIST_LEN)).map(Self)
            }

            /// Every key as it was read.
            #[must_use]
            pub const fn as_dictionary(&self) -> &Dictionary {
                &self.0
            }

            /// The dictionary, to be changed and written.
            #[must_use]
            pub fn into_dictionary(self) -> Dictionary {
                self.0
            }

            fn text(&self, key: &str) -> Option<&str> {
                self.0.get(key).and_then(Value::as_string)
            }
        }

        impl From<Dictionary> for $name {
            fn from(dictionary: Dictionary) -> Self {
                Self(dictionary)
            }
        }
    };
}

wrapper! {
    /// `Info.plist`: written by the host, descriptive only.
    Info
}

impl Info {
    /// `Device Name`.
    #[must_use]
    pub fn device_name(&self) -> Option<&str> {
        self.text("Device Name")
    }

    /// `Display Name`; an archived backup has its date appended.
    #[must_use]
    pub fn display_name(&self) -> Option<&str> {
        self.text("Display Name")
    }

    /// `Build Version` of the system on the device.
    #[must_use]
    pub fn build_version(&self) -> Option<&str> {
        self.text("Build Version")
    }

    /// `Product Type`, such as `iPhone12,1`.
    #[must_use]
    pub fn product_type(&self) -> Option<&str> {
        self.text("Product Type")
    }

    /// `Product Name`, the marketing name; Apple's hosts write it, others do not.
    #[must_use]
    pub fn product_name(&self) -> Option<&str> {
        self.text("Product Name")
    }

    /// `Product Version`: the version of iOS.
    #[must_use]
    pub fn product_version(&self) -> Option<&str> {
        self.text("Product Version")
    }

    /// `Serial Number`.
    #[must_use]
    pub fn serial_number(&self) -> Option<&str> {
        self.text("Serial Number")
    }

    /// `Phone Number`.
    #[must_use]
    pub fn phone_number(&self) -> Option<&str> {
        self.text("Phone Number")
    }

    /// `Target Identifier`: the UDID as in the folder's name.
    #[must_use]
    pub fn target_identifier(&self) -> Option<&str> {
        self.text("Target Identifier")
    }

    /// `Unique Identifier`: the UDID in upper case.
    #[must_use]
    pub fn unique_identifier(&self) -> Option<&str> {
        self.text("Unique Identifier")
    }

    /// `GUID`: 32 hex digits; a program that writes the 16 bytes instead is understood.
    #[must_use]
    pub fn guid(&self) -> Option<String> {
        match self.0.get("GUID")? {
            Value::String(text) => Some(text.clone()),
            Value::Data(bytes) => Some(bytes.iter().map(|byte| format!("{byte:02X}")).collect()),
            _ => None,
        }
    }

    /// `Last Backup Date`: start of the backup, by the host's clock.
    #[must_use]
    pub fn last_backup_date(&self) -> Option<SystemTime> {
        date(&self.0, "Last Backup Date")
    }

    /// `iTunes Version` of the program that made the backup.
    #[must_use]
    pub fn itunes_version(&self) -> Option<&str> {
        self.text("iTunes Version")
    }

    /// `Installed Applications`: bundle ids of the user's apps.
    pub fn installed_applications(&self) -> impl Iterator<Item = &str> {
        let apps = self.0.get("Installed Applications").and_then(Value::as_array);
        apps.into_iter().flatten().filter_map(Value::as_string)
    }
}

wrapper! {
    /// `Manifest.plist`: written by the device, readable without a password.
    Manifest
}

impl Manifest {
    /// `IsEncrypted`; missing means no.
    ///
    /// # Errors
    /// [`WireError::Type`]: what is to be decrypted and what not is never guessed.
    pub fn is_encrypted(&self) -> Result<bool, WireError> {
        Ok(self.0.opt_boolean("IsEncrypted")?.unwrap_or(false))
    }

    /// `BackupKeyBag`, to be read by [`Keybag::parse`](super::keybag::Keybag::parse). Unencrypted backups have one too.
    ///
    /// # Errors
    /// [`WireError::Type`].
    pub fn backup_keybag(&self) -> Result<Option<&[u8]>, WireError> {
        self.0.opt_data("BackupKeyBag")
    }

    /// `ManifestKey`: the wrapped key of `Manifest.db`, in encrypted backups of iOS 10.2 and later.
    ///
    /// # Errors
    /// [`WireError::Type`] for another type, [`WireError::Invalid`] for another length than 44.
    pub fn manifest_key(&self) -> Result<Option<WrappedKey>, WireError> {
        let Some(stored) = self.0.opt_data("ManifestKey")? else {
            return Ok(None);
        };
        let wrong = WireError::Invalid {
            what: "ManifestKey length",
            value: stored.len() as u64,
        };
        WrappedKey::parse(stored).map(Some).ok_or(wrong)
    }

    /// `Version` of the format: `9.1` in the flat era, `10.0` since.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.text("Version")
    }

    /// `SystemDomainsVersion`.
    #[must_use]
    pub fn system_domains_version(&self) -> Option<&str> {
        self.text("SystemDomainsVersion")
    }

    /// `Date`: start of the backup, by the device's clock.
    #[must_use]
    pub fn date(&self) -> Option<SystemTime> {
        date(&self.0, "Date")
    }

    /// `WasPasscodeSet`: whether the device had a passcode.
    #[must_use]
    pub fn was_passcode_set(&self) -> Option<bool> {
        self.0.opt_boolean("WasPasscodeSet").ok().flatten()
    }

    /// A key of `Lockdown`, such as `ProductVersion`, `DeviceName`, `UniqueDeviceID` or a domain's name.
    #[must_use]
    pub fn lockdown(&self, key: &str) -> Option<&Value> {
        self.0.get("Lockdown")?.as_dictionary()?.get(key)
    }

    /// `Applications`: per bundle id what the device wrote about the app's container.
    pub fn applications(&self) -> impl Iterator<Item = (&str, &Dictionary)> {
        let apps = self.0.get("Applications").and_then(Value::as_dictionary);
        apps.into_iter()
            .flatten()
            .filter_map(|(id, app)| Some((id.as_str(), app.as_dictionary()?)))
    }

    /// Whether the file has the marks of iOS 3 and older, whose backups are recognised and not read (spec 7.4).
    pub(crate) fn is_of_old_format(&self) -> bool {
        let old = ["AuthData", "AuthSignature", "AuthVersion"];
        !self.0.contains_key("BackupKeyBag") && old.iter().any(|key| self.0.contains_key(key))
    }
}

wrapper! {
    /// `Status.plist`: written by the device, tells whether the backup came to its end.
    Status
}

impl Status {
    /// `BackupState`: `new`, or `empty`.
    #[must_use]
    pub fn backup_state(&self) -> Option<&str> {
        self.text("BackupState")
    }

    /// `SnapshotState`: `uploading`, `moving`, `removing` or `finished`.
    #[must_use]
    pub fn snapshot_state(&self) -> Option<&str> {
        self.text("SnapshotState")
    }

    /// Whether the backup came to its end: necessary for a complete backup, not sufficient (spec 4).
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.snapshot_state() == Some("finished")
    }

    /// `IsFullBackup`. Not trustworthy: complete first backups carry `false`.
    #[must_use]
    pub fn is_full_backup(&self) -> Option<bool> {
        self.0.opt_boolean("IsFullBackup").ok().flatten()
    }

    /// `Date` of the last change of state.
    #[must_use]
    pub fn date(&self) -> Option<SystemTime> {
        date(&self.0, "Date")
    }

    /// `UUID` of this snapshot.
    #[must_use]
    pub fn uuid(&self) -> Option<&str> {
        self.text("UUID")
    }

    /// `Version`: `2.4` in flat backups, `3.2` or `3.3` since.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.text("Version")
    }
}

fn date(dictionary: &Dictionary, key: &str) -> Option<SystemTime> {
    dictionary.get(key).and_then(Value::as_date).map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::golden;
    use crate::archive::keybag::Keybag;

    fn file(name: &str) -> Vec<u8> {
        std::fs::read(golden::folder().join(name)).unwrap()
    }

    #[test]
    fn the_plists_of_an_encrypted_backup_say_what_it_is() {
        let expect = golden::expect("enc-v10");
        let manifest = Manifest::parse(&file("synthetic/enc-v10/Manifest.plist")).unwrap();
        assert!(manifest.is_encrypted().unwrap());
        assert_eq!(manifest.version(), Some("10.0"));
        assert_eq!(
            manifest.lockdown("UniqueDeviceID").and_then(Value::as_string),
            expect["udid"].as_str()
        );
        let stored = manifest.backup_keybag().unwrap().unwrap();
        assert_eq!(stored, golden::bytes(&expect["keybag"]["blob"]));
        assert!(Keybag::parse(stored).unwrap().has_first_stage());
        let key = manifest.manifest_key().unwrap().unwrap();
        let expect_key = golden::bytes(&expect["manifest_key"]);
        assert_eq!((key.class(), &key.wrapped()[..]), (4, &expect_key[4..]));

        let status = Status::parse(&file("synthetic/enc-v10/Status.plist")).unwrap();
        assert!(status.is_finished() && status.date().is_some());
        let info = Info::parse(&file("synthetic/enc-v10/Info.plist")).unwrap();
        assert_eq!(info.target_identifier(), expect["udid"].as_str());
        assert!(info.last_backup_date().is_some());
    }

    #[test]
    fn placeholders_of_other_programs_say_nothing_and_keep_their_keys() {
        let manifest = Manifest::parse(&file("greatvovan/Manifest.plist")).unwrap();
        assert!(!manifest.is_encrypted().unwrap());
        assert_eq!(
            (manifest.version(), manifest.date(), manifest.manifest_key()),
            (None, None, Ok(None))
        );
        assert_eq!(
            manifest.as_dictionary().get("foo").and_then(Value::as_string),
            Some("bar")
        );
        assert_eq!(Info::parse(&file("greatvovan/Info.plist")).unwrap().device_name(), None);
    }

    #[test]
    fn what_decides_about_keys_is_never_guessed() {
        let manifest =
            Manifest::from(cabled_wire::dict! { "IsEncrypted" => "yes", "ManifestKey" => Value::Data(vec![1; 43]) });
        assert!(matches!(manifest.is_encrypted(), Err(WireError::Type { .. })));
        assert!(matches!(
            manifest.manifest_key(),
            Err(WireError::Invalid { value: 43, .. })
        ));
    }

    #[test]
    fn a_guid_is_text_in_either_spelling() {
        let text = Info::from(cabled_wire::dict! { "GUID" => "00FF" });
        let data = Info::from(cabled_wire::dict! { "GUID" => Value::Data(vec![0, 255]) });
        assert_eq!((text.guid(), data.guid()), (Some("00FF".into()), Some("00FF".into())));
    }
}
