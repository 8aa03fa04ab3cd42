//! The files of a backup as the phone writes and reads them (spec backup-format 1 to 9 and 11).
//!
//! This is the phone's own mind: it shares nothing with the reader in `cabled-mobilebackup`, so that each checks the
//! other.

mod bplist;
pub(crate) mod cipher;
pub(crate) mod database;
pub(crate) mod keybag;
pub(crate) mod keychain;
pub(crate) mod plists;
pub(crate) mod record;

use std::fmt;

use sha1::{Digest as _, Sha1};

/// Why something in a backup could not be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FormatError {
    #[error("a file record is malformed: {0}")]
    Record(&'static str),
    #[error("the keybag is malformed: {0}")]
    Keybag(&'static str),
    #[error("a property list of the backup is malformed: {0}")]
    Plist(&'static str),
    #[error("the manifest database is malformed: {0}")]
    Database(&'static str),
    #[error("a keychain item is malformed: {0}")]
    Keychain(&'static str),
    #[error("the manifest database failed")]
    Sqlite(#[from] rusqlite::Error),
    #[error("a temporary file failed")]
    Io(#[from] std::io::Error),
    #[error("the system has no random numbers")]
    NoRandom,
}

/// A file's name inside a backup: SHA-1 of domain, `-` and relative path (spec backup-format 1.1).
///
/// ```
/// use cabled_virtualdevice::backup::FileId;
/// let id = FileId::of("HomeDomain", "Library/SMS/sms.db");
/// assert_eq!(id.to_string(), "3d0d7e5fb2ce288813306e4d4636395e047a3d28");
/// assert_eq!(id.stored_path(), "3d/3d0d7e5fb2ce288813306e4d4636395e047a3d28");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId([u8; 20]);

impl FileId {
    /// The id of a file; `path` is empty for the root of a domain.
    #[must_use]
    pub fn of(domain: &str, path: &str) -> Self {
        let mut hash = Sha1::new();
        hash.update(domain);
        hash.update("-");
        hash.update(path);
        Self(hash.finalize().into())
    }

    /// The id of `domain-path`.
    pub(crate) fn of_name(name: &str) -> Self {
        Self(Sha1::digest(name).into())
    }

    /// Reads 40 hexadecimal digits, lower case as devices write them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 20];
        let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
        (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(Self(bytes))
    }

    /// The number of the folder that holds the payload, 0 to 255.
    #[must_use]
    pub const fn folder(&self) -> u8 {
        let Self([first, ..]) = self;
        *first
    }

    /// Where the payload lies below the device's folder: two digits, a slash, forty digits.
    #[must_use]
    pub fn stored_path(&self) -> String {
        format!("{:02x}/{self}", self.folder())
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId({self})")
    }
}

/// The known answers in the repository's `tests/golden/backup`.
#[cfg(test)]
pub(crate) fn vectors() -> serde_json::Value {
    cabled_golden::json("backup/vectors.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_ids_agree_with_the_vectors() {
        for case in vectors()["file_id"].as_array().unwrap() {
            let text = |key: &str| case[key].as_str().unwrap();
            let id = FileId::of(text("domain"), text("path"));
            assert_eq!(id.to_string(), text("sha1"));
            assert_eq!(FileId::parse(text("sha1")), Some(id));
        }
        assert_eq!(FileId::parse("3D0D7e5fb2ce288813306e4d4636395e047a3d28"), None);
        assert_eq!(FileId::parse("3d"), None);
    }
}
