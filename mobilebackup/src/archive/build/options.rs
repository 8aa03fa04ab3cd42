//! What a backup that is made from nothing says about itself and about its files.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use cabled_wire::ids::Udid;
use cabled_wire::secret::SecretString;

use crate::archive::layout::Layout;

/// What a new backup is like. Default: not encrypted, the layout of iOS 10 and later, of a made-up iPhone.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    pub(super) layout: Layout,
    pub(super) password: Option<SecretString>,
    pub(super) first_rounds: u32,
    pub(super) second_rounds: u32,
    pub(super) udid: Option<Udid>,
    pub(super) device_name: String,
    pub(super) product_type: Option<String>,
    pub(super) product_version: Option<String>,
    pub(super) build_version: Option<String>,
    pub(super) serial_number: String,
    pub(super) date: SystemTime,
    pub(super) finished: bool,
    pub(super) older_index: bool,
    pub(super) seed: Option<u64>,
}

/// Rounds of the first stage that devices ask for.
const FIRST_ROUNDS: u32 = 10_000_000;

/// Rounds of the second stage that devices ask for.
const SECOND_ROUNDS: u32 = 10_000;

/// The made-up date of every backup that is not told otherwise: 2026-01-02 03:04:05 UTC.
const DATE: u64 = 1_767_323_045;

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            layout: Layout::Current,
            password: None,
            first_rounds: FIRST_ROUNDS,
            second_rounds: SECOND_ROUNDS,
            udid: None,
            device_name: "Synthetic iPhone".to_owned(),
            product_type: None,
            product_version: None,
            build_version: None,
            serial_number: "SYNTHETIC001".to_owned(),
            date: SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_secs(DATE))
                .unwrap_or(SystemTime::UNIX_EPOCH),
            finished: true,
            older_index: false,
            seed: None,
        }
    }
}

impl BuildOptions {
    /// Encrypts the backup: every file under a key of its own, and the index where the layout has that. The password is
    /// taken as it is, in UTF-8. Default: not encrypted.
    #[must_use]
    pub fn encrypted(mut self, password: impl Into<SecretString>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Rounds that turn the password into a key: of the first stage (`DPIC`) and of the second (`ITER`). Few rounds
    /// open at once and protect nothing: for tests only. Default: 10,000,000 and 10,000, as devices write. A backup
    /// that is not encrypted, and the flat layout, have the second stage only.
    #[must_use]
    pub const fn rounds(mut self, first: u32, second: u32) -> Self {
        self.first_rounds = first;
        self.second_rounds = second;
        self
    }

    /// Which layout. Default: [`Layout::Current`].
    #[must_use]
    pub const fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// The device's UDID. Default: a made-up one. The folder is not named after it; that is the caller's choice.
    #[must_use]
    pub fn udid(mut self, udid: Udid) -> Self {
        self.udid = Some(udid);
        self
    }

    /// The device's name. Default: `Synthetic iPhone`.
    #[must_use]
    pub fn device_name(mut self, name: impl Into<String>) -> Self {
        self.device_name = name.into();
        self
    }

    /// `ProductType`. Default: `iPhone17,3`, and `iPhone8,1` in the flat layout.
    #[must_use]
    pub fn product_type(mut self, product_type: impl Into<String>) -> Self {
        self.product_type = Some(product_type.into());
        self
    }

    /// `ProductVersion`. Default: `18.2`, and `9.3.5` in the flat layout: some readers go by it.
    #[must_use]
    pub fn product_version(mut self, version: impl Into<String>) -> Self {
        self.product_version = Some(version.into());
        self
    }

    /// `BuildVersion`. Default: one that fits the default version.
    #[must_use]
    pub fn build_version(mut self, version: impl Into<String>) -> Self {
        self.build_version = Some(version.into());
        self
    }

    /// `SerialNumber`. Default: a made-up one.
    #[must_use]
    pub fn serial_number(mut self, number: impl Into<String>) -> Self {
        self.serial_number = number.into();
        self
    }

    /// When the backup was made; also the time of entries that are given none. Default: 2026-01-02 03:04:05 UTC.
    #[must_use]
    pub const fn date(mut self, date: SystemTime) -> Self {
        self.date = date;
        self
    }

    /// Whether `Status.plist` says `finished`; otherwise `uploading`, as in a backup that was cut off. Default: on.
    #[must_use]
    pub const fn finished(mut self, on: bool) -> Self {
        self.finished = on;
        self
    }

    /// Also writes `Manifest.mbdx`, as iTunes 9.2 to 10.4 did; flat layout only. Default: off.
    #[must_use]
    pub const fn older_index(mut self, on: bool) -> Self {
        self.older_index = on;
        self
    }

    /// Makes every key, salt and identifier follow from a number instead of the system's random source, so that a test
    /// makes the same bytes every time. **Whoever knows the number can open the backup without its password.** Default:
    /// the system's random source.
    #[must_use]
    pub const fn insecure_test_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    pub(super) fn udid_text(&self) -> String {
        match &self.udid {
            Some(udid) => udid.as_str().to_owned(),
            None => "00008140-0011223344556677".to_owned(),
        }
    }

    /// `ProductType`, `ProductVersion`, `BuildVersion`.
    pub(super) fn product(&self) -> (&str, &str, &str) {
        let (product_type, version, build) = match self.layout {
            Layout::Current => ("iPhone17,3", "18.2", "22C152"),
            Layout::Flat => ("iPhone8,1", "9.3.5", "13G36"),
        };
        (
            self.product_type.as_deref().unwrap_or(product_type),
            self.product_version.as_deref().unwrap_or(version),
            self.build_version.as_deref().unwrap_or(build),
        )
    }
}

/// Whether a file's record has a digest of its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DigestMode {
    /// As devices do: files of system domains have one, files of apps, photos and media have none (spec 5.3).
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What the index records about an entry besides its name and contents. Default: what is usual on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub(crate) mode: Option<u32>,
    pub(crate) user: Option<i32>,
    pub(crate) group: Option<i32>,
    pub(crate) inode: Option<u64>,
    pub(crate) modified: Option<i64>,
    pub(crate) status_changed: Option<i64>,
    pub(crate) created: Option<i64>,
    pub(crate) protection_class: Option<u32>,
    pub(crate) flags: Option<i64>,
    pub(crate) attributes: BTreeMap<String, Vec<u8>>,
    pub(crate) digest: DigestMode,
    pub(crate) recorded_size: Option<u64>,
}

impl Details {
    /// Permission bits; the type bits follow from the kind of entry. Default: `0o644`, and `0o755` for directories and
    /// links.
    #[must_use]
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Owner. Default: 501, `mobile`.
    #[must_use]
    pub const fn user(mut self, id: i32) -> Self {
        self.user = Some(id);
        self
    }

    /// Group. Default: 501, `mobile`.
    #[must_use]
    pub const fn group(mut self, id: i32) -> Self {
        self.group = Some(id);
        self
    }

    /// Inode on the device. Default: counted up.
    #[must_use]
    pub const fn inode(mut self, inode: u64) -> Self {
        self.inode = Some(inode);
        self
    }

    /// Last change of the contents, Unix seconds. Default: the backup's date.
    #[must_use]
    pub const fn modified(mut self, seconds: i64) -> Self {
        self.modified = Some(seconds);
        self
    }

    /// Last change of the record, Unix seconds. Default: as modified.
    #[must_use]
    pub const fn status_changed(mut self, seconds: i64) -> Self {
        self.status_changed = Some(seconds);
        self
    }

    /// Creation, Unix seconds. Default: as modified.
    #[must_use]
    pub const fn created(mut self, seconds: i64) -> Self {
        self.created = Some(seconds);
        self
    }

    /// Protection class of a file, 1 to 4. Default: 3, until first unlock. Directories and links have 0.
    #[must_use]
    pub const fn protection_class(mut self, class: u32) -> Self {
        self.protection_class = Some(class);
        self
    }

    /// `Flags` of the record: 0, or 128 as a few directories have. Default: 0. The flat layout has no such field.
    #[must_use]
    pub const fn flags(mut self, flags: i64) -> Self {
        self.flags = Some(flags);
        self
    }

    /// Adds an extended attribute. Default: none.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Whether there is a digest. Default: [`DigestMode::Auto`].
    #[must_use]
    pub const fn digest(mut self, mode: DigestMode) -> Self {
        self.digest = mode;
        self
    }

    /// Records another size than the contents have, as happens to databases in use. Default: the real one.
    #[must_use]
    pub const fn recorded_size(mut self, bytes: u64) -> Self {
        self.recorded_size = Some(bytes);
        self
    }
}
