//! One file, folder or link of a backup, whichever index it came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use cabled_wire::WireError;
use cabled_wire::plist::{self, Limits, Value};

use super::file_id::FileId;
use super::mbdb::MbdbRecord;
use super::mbfile::{MbFile, MbFileError};
use super::wrap::WrappedKey;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A regular file; it should have a payload.
    File,
    /// A directory; never has a payload.
    Directory,
    /// A symbolic link; never has a payload.
    Symlink,
    /// Neither the index nor the mode says.
    Unknown,
}

impl Kind {
    /// From the type bits of a mode.
    const fn of_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o100_000 => Self::File,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            _ => Self::Unknown,
        }
    }

    /// From the column `flags`; anything but 1, 2 and 4 comes from other programs and leaves it to the mode.
    const fn of_flags(flags: i64, mode: u32) -> Self {
        match flags {
            1 => Self::File,
            2 => Self::Directory,
            4 => Self::Symlink,
            _ => Self::of_mode(mode),
        }
    }
}

/// One record of a backup's index.
///
/// Nothing in it is trustworthy: domain and path are whatever the index says, and may climb out of a folder. Reading
/// the payload goes by [`file_id`](FileEntry::file_id), which cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileEntry {
    /// The payload's name: the stored id if it is well-formed, otherwise the one that domain and path give.
    pub file_id: FileId,
    /// Domain, such as `HomeDomain` or `AppDomain-com.example.app`.
    pub domain: Arc<str>,
    /// Relative path with `/` between its parts, empty for the domain's root.
    pub path: Box<str>,
    /// File, directory or link.
    pub kind: Kind,
    /// The full `st_mode`, 0 if unknown.
    pub mode: u32,
    /// Recorded length in bytes. Often stale for databases; the real one is
    /// [`PayloadReader::len`](super::PayloadReader::len).
    pub size: u64,
    /// Unix seconds of the last change of the contents.
    pub modified: Option<i64>,
    /// Unix seconds of the last change of the record.
    pub status_changed: Option<i64>,
    /// Unix seconds of the creation.
    pub created: Option<i64>,
    /// Owner on the device; -2 is common.
    pub user_id: i64,
    /// Group on the device.
    pub group_id: i64,
    /// Inode number on the device.
    pub inode: u64,
    /// Protection class: 1 to 4 on files (11 in old backups), 0 on most directories and links.
    pub protection_class: u32,
    /// `Flags` of the record: 0 or 128, meaning unknown.
    pub flags: i64,
    /// Where a symbolic link points to: an absolute path on the device, not to be followed anywhere else.
    pub link_target: Option<Box<str>>,
    /// SHA-1 of the payload as stored, on files of system domains.
    pub digest: Option<[u8; 20]>,
    /// The file's wrapped key, on every file of an encrypted backup.
    pub encryption_key: Option<WrappedKey>,
    attributes: Attributes,
    /// What is odd about the record.
    pub notes: Vec<EntryNote>,
}

/// Extended attributes as the index stores them; unpacked on demand, since listing needs none.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Attributes {
    None,
    Plist(Box<[u8]>),
    Pairs(Vec<(Vec<u8>, Vec<u8>)>),
}

/// Something about a record that is worth knowing and no error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "note")]
#[non_exhaustive]
pub enum EntryNote {
    /// The stored id is not 40 lower-case hex digits; the right one is used instead.
    MalformedId {
        /// What is stored, shortened to 100 characters.
        stored: String,
    },
    /// The path inside the record is not the path of its row; the row's is used.
    PathDiffers {
        /// The record's path.
        record: String,
    },
    /// The digest does not have 20 bytes and is ignored.
    DigestLength {
        /// Its length in bytes.
        len: usize,
    },
    /// The wrapped key does not have 44 bytes; the file cannot be decrypted.
    KeyLength {
        /// Its length in bytes.
        len: usize,
    },
    /// The column `flags` is none of 1, 2 and 4; the mode decides.
    UnknownFlags {
        /// Its value.
        flags: i64,
    },
}

/// A row of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A file, folder or link.
    Entry(FileEntry),
    /// Nothing that could be understood.
    Skipped(SkippedRow),
}

/// A row of the index that is no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedRow {
    /// Row id in `Manifest.db`, or byte offset in `Manifest.mbdb`.
    pub position: u64,
    /// The stored id, if there is a well-formed one.
    pub file_id: Option<FileId>,
    /// The domain, if there is one.
    pub domain: Option<Box<str>>,
    /// The path, if there is one.
    pub path: Option<Box<str>>,
    /// What is wrong with the row.
    pub reason: SkipReason,
}

/// Why a row is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// A column that every row needs is NULL or of another type. Seen in backups of iOS 10.1 with `flags` 16.
    #[error("`{column}` is missing")]
    MissingColumn {
        /// The column's name.
        column: &'static str,
    },
    /// Domain or path are not UTF-8.
    #[error("`{column}` is not valid text")]
    Text {
        /// The column's name.
        column: &'static str,
    },
    /// The record does not decode.
    #[error("{0}")]
    Record(#[from] MbFileError),
    /// The record of a backup of iOS 10.0 does not decrypt.
    #[error("the record does not decrypt")]
    Encryption,
}

/// One row of `Manifest.db`, borrowed from SQLite, decoded as far as columns go.
pub(crate) struct RowColumns<'a> {
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) domain: Arc<str>,
    pub(crate) path: &'a str,
    pub(crate) flags: i64,
}

impl FileEntry {
    /// An entry from a row and its decoded record.
    pub(crate) fn from_row(row: RowColumns<'_>, record: MbFile<'_>) -> Self {
        let mut notes = Vec::new();
        let file_id = row.id.and_then(FileId::from_hex).unwrap_or_else(|| {
            let stored = String::from_utf8_lossy(row.id.unwrap_or_default())
                .chars()
                .take(100)
                .collect();
            notes.push(EntryNote::MalformedId { stored });
            FileId::of(&row.domain, row.path)
        });
        if !matches!(row.flags, 1 | 2 | 4) {
            notes.push(EntryNote::UnknownFlags { flags: row.flags });
        }
        if record.relative_path != row.path {
            notes.push(EntryNote::PathDiffers {
                record: record.relative_path.chars().take(4096).collect(),
            });
        }
        Self {
            file_id,
            kind: Kind::of_flags(row.flags, record.mode),
            domain: row.domain,
            path: row.path.into(),
            mode: record.mode,
            size: record.size,
            modified: record.last_modified,
            status_changed: record.last_status_change,
            created: record.birth,
            user_id: record.user_id,
            group_id: record.group_id,
            inode: record.inode,
            protection_class: record.protection_class,
            flags: record.flags,
            link_target: record.target.map(|target| target.into()),
            digest: record.digest.and_then(|digest| digest_of(digest, &mut notes)),
            encryption_key: record.encryption_key.and_then(|key| key_of(key, &mut notes)),
            attributes: record
                .extended_attributes
                .map_or(Attributes::None, |data| Attributes::Plist(data.into())),
            notes,
        }
    }

    /// A file of which nothing but its name is known; its size is that of its payload.
    pub(crate) fn bare(file_id: FileId, domain: &str, path: &str, size: u64) -> Self {
        Self {
            file_id,
            domain: domain.into(),
            path: path.into(),
            kind: Kind::File,
            mode: 0o100_644,
            size,
            modified: None,
            status_changed: None,
            created: None,
            user_id: 0,
            group_id: 0,
            inode: 0,
            protection_class: 0,
            flags: 0,
            link_target: None,
            digest: None,
            encryption_key: None,
            attributes: Attributes::None,
            notes: Vec::new(),
        }
    }

    /// An entry from a record of `Manifest.mbdb`.
    pub(crate) fn from_mbdb(record: MbdbRecord) -> Result<Self, SkipReason> {
        let text = |bytes, column| String::from_utf8(bytes).map_err(|_| SkipReason::Text { column });
        let domain = text(record.domain, "domain")?;
        let path = text(record.path, "path")?;
        let some = |bytes: Vec<u8>| (!bytes.is_empty()).then_some(bytes);
        let mut notes = Vec::new();
        let mode = u32::from(record.mode);
        Ok(Self {
            file_id: FileId::of(&domain, &path),
            kind: Kind::of_mode(mode),
            domain: domain.into(),
            path: path.into(),
            mode,
            size: record.size,
            modified: Some(record.modified.into()),
            status_changed: Some(record.status_changed.into()),
            created: Some(record.created.into()),
            user_id: record.user_id.into(),
            group_id: record.group_id.into(),
            inode: record.inode,
            protection_class: record.protection_class.into(),
            flags: 0,
            link_target: some(record.target).map(|target| String::from_utf8_lossy(&target).into()),
            digest: some(record.digest).and_then(|digest| digest_of(&digest, &mut notes)),
            encryption_key: some(record.encryption_key).and_then(|key| key_of(&key, &mut notes)),
            attributes: match record.attributes {
                none if none.is_empty() => Attributes::None,
                pairs => Attributes::Pairs(pairs),
            },
            notes,
        })
    }

    /// The id that domain and path give. Where it differs from [`file_id`](FileEntry::file_id), the index is damaged.
    #[must_use]
    pub fn computed_id(&self) -> FileId {
        FileId::of(&self.domain, &self.path)
    }

    /// Whether the record holds a key that is not a key.
    pub(crate) fn has_malformed_key(&self) -> Option<usize> {
        self.notes.iter().find_map(|note| match note {
            EntryNote::KeyLength { len } => Some(*len),
            _ => None,
        })
    }

    /// The extended attributes: name and raw value. Spec 5.4.
    ///
    /// # Errors
    /// Any [`WireError`] if they are not a property list of names and data.
    pub fn attributes(&self) -> Result<BTreeMap<String, Vec<u8>>, WireError> {
        match &self.attributes {
            Attributes::None => Ok(BTreeMap::new()),
            Attributes::Plist(bytes) => {
                let wrong = |key: &str| WireError::Type {
                    key: key.to_owned(),
                    expected: "data",
                };
                let dictionary = plist::read_dict(bytes, &Limits::default().with_depth(4))?;
                let pairs = dictionary.into_iter().map(|(name, value)| match value {
                    Value::Data(data) => Ok((name, data)),
                    _ => Err(wrong(&name)),
                });
                pairs.collect()
            }
            Attributes::Pairs(pairs) => {
                let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
                Ok(pairs.iter().map(|(name, value)| (text(name), value.clone())).collect())
            }
        }
    }
}

fn digest_of(stored: &[u8], notes: &mut Vec<EntryNote>) -> Option<[u8; 20]> {
    let digest = stored.try_into().ok();
    if digest.is_none() {
        notes.push(EntryNote::DigestLength { len: stored.len() });
    }
    digest
}

fn key_of(stored: &[u8], notes: &mut Vec<EntryNote>) -> Option<WrappedKey> {
    let key = WrappedKey::parse(stored);
    if key.is_none() {
        notes.push(EntryNote::KeyLength { len: stored.len() });
    }
    key
}
