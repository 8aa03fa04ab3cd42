//! The name of a payload inside a backup.

use std::fmt;
use std::str::FromStr;

use sha1::{Digest, Sha1};

/// A file's name inside a backup: SHA-1 of `domain`, `-` and the relative path; 40 lower-case hex digits on disk.
///
/// It names a place, not contents: the payload under an id is replaced whenever the file changes. Domain and path are
/// hashed as stored, with no case folding and no Unicode normalization (spec backup-format, 1.1 and 15).
///
/// ```
/// use cabled_mobilebackup::archive::FileId;
///
/// let messages = FileId::of("HomeDomain", "Library/SMS/sms.db");
/// assert_eq!(messages.to_string(), "3d0d7e5fb2ce288813306e4d4636395e047a3d28");
/// assert_eq!(messages.folder(), "3d");
/// assert_eq!("3d0d7e5fb2ce288813306e4d4636395e047a3d28".parse(), Ok(messages));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId([u8; 20]);

/// The text is not 40 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a file id is 40 lower-case hexadecimal digits")]
pub struct InvalidFileId;

impl FileId {
    /// The id of `path` in `domain`. An empty path is the domain's own root record.
    #[must_use]
    pub fn of(domain: &str, path: &str) -> Self {
        Self::of_bytes(domain.as_bytes(), path.as_bytes())
    }

    /// As [`of`](FileId::of), for names that are no text.
    pub(crate) fn of_bytes(domain: &[u8], path: &[u8]) -> Self {
        let mut hash = Sha1::new();
        hash.update(domain);
        hash.update(b"-");
        hash.update(path);
        Self(hash.finalize().into())
    }

    /// The id with these 20 bytes, as `Manifest.mbdx` stores it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The 20 bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The folder that holds the payload in backups of iOS 10 and later: the first two hex digits.
    #[must_use]
    pub fn folder(&self) -> String {
        let [first, ..] = self.0;
        format!("{first:02x}")
    }

    /// Reads an id from bytes of text; `None` unless they are 40 lower-case hex digits.
    pub(crate) fn from_hex(text: &[u8]) -> Option<Self> {
        let (pairs, []) = text.as_chunks::<2>() else {
            return None;
        };
        let mut id = [0; 20];
        if pairs.len() != id.len() {
            return None;
        }
        // Digits are as good as random: a branch on each would be guessed wrong every other time.
        let mut all_are_digits = true;
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            all_are_digits &= is_digit(*high) & is_digit(*low);
            *byte = (value(*high) << 4) | value(*low);
        }
        all_are_digits.then_some(Self(id))
    }
}

/// Whether it is a lower-case hex digit.
const fn is_digit(digit: u8) -> bool {
    (digit.wrapping_sub(b'0') < 10) | (digit.wrapping_sub(b'a') < 6)
}

/// The value of a hex digit; `a` is 0x61.
const fn value(digit: u8) -> u8 {
    (digit & 0xf).wrapping_add((digit >> 6).wrapping_mul(9))
}

impl FromStr for FileId {
    type Err = InvalidFileId;

    fn from_str(text: &str) -> Result<Self, InvalidFileId> {
        Self::from_hex(text.as_bytes()).ok_or(InvalidFileId)
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId({self})")
    }
}

impl serde::Serialize for FileId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::golden;

    #[test]
    fn ids_of_known_files_are_the_published_ones() {
        let vectors = golden::vectors();
        let cases = vectors["file_id"].as_array().unwrap();
        assert_eq!(cases.len(), 54);
        for case in cases {
            let id = FileId::of(case["domain"].as_str().unwrap(), case["path"].as_str().unwrap());
            assert_eq!(id.to_string(), case["sha1"].as_str().unwrap(), "{case}");
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn composed_and_decomposed_names_are_two_files() {
        assert_ne!(
            FileId::of("MediaDomain", "Caf\u{e9}"),
            FileId::of("MediaDomain", "Cafe\u{301}")
        );
    }

    #[test]
    fn anything_but_forty_lower_case_digits_is_refused() {
        for text in [
            "",
            "3d",
            "3D0d7e5fb2ce288813306e4d4636395e047a3d28",
            "3d0d7e5fb2ce288813306e4d4636395e047a3d2",
            "3d0d7e5fb2ce288813306e4d4636395e047a3d281",
            "../7e5fb2ce288813306e4d4636395e047a3d28x",
        ] {
            assert_eq!(text.parse::<FileId>(), Err(InvalidFileId), "{text}");
        }
    }
}
