//! What a caller may choose.

use std::time::Duration;

use cabled_devicelink::machine::Deadlines;
use cabled_wire::dict;
use cabled_wire::plist::{Dictionary, Value};
use cabled_wire::secret::SecretString;

/// What every run has.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) deadlines: Deadlines,
    pub(crate) free_space: Option<u64>,
    pub(crate) require_lock: bool,
    pub(crate) exact_codes: bool,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            deadlines: Deadlines::default(),
            free_space: None,
            require_lock: true,
            exact_codes: false,
        }
    }
}

macro_rules! common_setters {
    () => {
        /// Reports this many bytes as free in place of the truth (default: the truth).
        ///
        /// For devices that overestimate what they will send: 11 TB were seen. A run that does not fit dies half-way.
        #[must_use]
        pub fn free_space(mut self, bytes: u64) -> Self {
            self.common.free_space = Some(bytes);
            self
        }

        /// How long nothing may come from the device, in every phase but the handshake (default: 10 minutes, 20 while the
        /// device works on files it was sent). Silence of several minutes is normal.
        #[must_use]
        pub fn idle(mut self, idle: Duration) -> Self {
            self.common.deadlines = self.common.deadlines.with_idle(idle);
            self
        }

        /// Goes on without the sync lock when it cannot be opened (default false). A lock that somebody else holds still
        /// ends the run.
        #[must_use]
        pub fn without_lock(mut self, without: bool) -> Self {
            self.common.require_lock = !without;
            self
        }

        /// Ends a file that cannot be read with the code of its error, not with 0x06 as all known hosts do (default
        /// false). Not known to be understood by devices.
        #[must_use]
        pub fn exact_failure_codes(mut self, exact: bool) -> Self {
            self.common.exact_codes = exact;
            self
        }
    };
}

/// How to back up.
#[derive(Clone, Debug, Default)]
pub struct BackupOptions {
    pub(crate) common: Common,
    pub(crate) full: bool,
    pub(crate) source: Option<String>,
}

impl BackupOptions {
    /// Asks for all files again (default false: the device decides by what the folder holds).
    #[must_use]
    pub fn full(mut self, full: bool) -> Self {
        self.full = full;
        self
    }

    /// Continues the backup of another folder, named by its device's UDID (default: the device's own).
    #[must_use]
    pub fn source(mut self, udid: impl Into<String>) -> Self {
        self.source = Some(udid.into());
        self
    }

    common_setters!();
}

/// How to restore. All five switches travel explicitly, whatever they say.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    pub(crate) common: Common,
    pub(crate) source: Option<String>,
    pub(crate) password: Option<SecretString>,
    system_files: bool,
    reboot: bool,
    copy_first: bool,
    preserve_settings: bool,
    remove_others: bool,
    pub(crate) applications: bool,
    pub(crate) allow_newer: bool,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            common: Common::default(),
            source: None,
            password: None,
            system_files: false,
            reboot: true,
            copy_first: false,
            preserve_settings: true,
            remove_others: false,
            applications: true,
            allow_newer: false,
        }
    }
}

impl RestoreOptions {
    /// Restores the backup of another device, named by its UDID (default: the connected device's own).
    #[must_use]
    pub fn source(mut self, udid: impl Into<String>) -> Self {
        self.source = Some(udid.into());
        self
    }

    /// The backup's password; needed when the backup is encrypted, not sent otherwise.
    #[must_use]
    pub fn password(mut self, password: impl Into<SecretString>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// `RestoreSystemFiles`: also restore system and settings domains (default false). A whole device is
    /// restored with this, without [`Self::preserve_settings`], and with [`Self::reboot`].
    #[must_use]
    pub fn system_files(mut self, restore: bool) -> Self {
        self.system_files = restore;
        self
    }

    /// `RestoreShouldReboot`: restart at the end (default true). Restored files are moved into place only then.
    #[must_use]
    pub fn reboot(mut self, reboot: bool) -> Self {
        self.reboot = reboot;
        self
    }

    /// The opposite of `RestoreDontCopyBackup`: have the host copy the backup first (default false).
    #[must_use]
    pub fn copy_first(mut self, copy: bool) -> Self {
        self.copy_first = copy;
        self
    }

    /// `RestorePreserveSettings`: keep the device's current settings (default true).
    #[must_use]
    pub fn preserve_settings(mut self, preserve: bool) -> Self {
        self.preserve_settings = preserve;
        self
    }

    /// `RemoveItemsNotRestored`: delete what the backup does not have (default false).
    #[must_use]
    pub fn remove_items_not_restored(mut self, remove: bool) -> Self {
        self.remove_others = remove;
        self
    }

    /// Has the device install the backup's apps again (default true).
    #[must_use]
    pub fn applications(mut self, reinstall: bool) -> Self {
        self.applications = reinstall;
        self
    }

    /// Tries to restore a backup of a newer system than the device's (default false: refused before anything is sent).
    #[must_use]
    pub fn allow_newer_backup(mut self, allow: bool) -> Self {
        self.allow_newer = allow;
        self
    }

    common_setters!();

    pub(crate) fn to_dictionary(&self) -> Dictionary {
        let mut dict = dict! {
            "RestoreSystemFiles" => self.system_files,
            "RestoreShouldReboot" => self.reboot,
            "RestoreDontCopyBackup" => !self.copy_first,
            "RestorePreserveSettings" => self.preserve_settings,
            "RemoveItemsNotRestored" => self.remove_others,
        };
        if let Some(password) = &self.password {
            dict.insert("Password".to_owned(), Value::from(password.expose()));
        }
        dict
    }
}

/// What to do about the backup password. Devices encrypt if and only if they have one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PasswordChange {
    /// Set one: later backups are encrypted.
    Enable {
        /// The password, UTF-8, taken as it is.
        new: SecretString,
    },
    /// Replace it.
    Change {
        /// The present one.
        old: SecretString,
        /// The next one.
        new: SecretString,
    },
    /// Remove it: later backups are not encrypted.
    Disable {
        /// The present one.
        old: SecretString,
    },
}

/// How to make a request that is no backup and no restore.
#[derive(Clone, Debug, Default)]
pub struct RequestOptions {
    pub(crate) common: Common,
    pub(crate) source: Option<String>,
    pub(crate) password: Option<SecretString>,
}

impl RequestOptions {
    /// Reads the backup of another device, named by its UDID (default: the connected device's own).
    #[must_use]
    pub fn source(mut self, udid: impl Into<String>) -> Self {
        self.source = Some(udid.into());
        self
    }

    /// The backup's password, for the requests that take one.
    #[must_use]
    pub fn password(mut self, password: impl Into<SecretString>) -> Self {
        self.password = Some(password.into());
        self
    }

    common_setters!();
}
