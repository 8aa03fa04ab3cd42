//! What can go wrong with a backup at rest.

use std::io;
use std::path::PathBuf;

use cabled_wire::WireError;

use super::entry::Kind;
use super::file_id::FileId;
use super::keybag::{FileKeyError, KeybagError, UnlockError};
use super::mbdb::MbdbError;

/// Why a backup, or one file of it, cannot be opened, unlocked or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// There is no backup in the folder: none of its files is there.
    #[error("{} is not a backup folder: it has neither Manifest.plist nor an index", folder.display())]
    NotABackup {
        /// The folder.
        folder: PathBuf,
    },
    /// A backup of iOS 3 or older, or of an iTunes of that time (spec 7.4).
    #[error("this backup has the format of iOS 3 and older, which is not supported")]
    UnsupportedOldFormat,
    /// `Manifest.plist` is missing or empty, so that keys and settings are unknown.
    ///
    /// With a readable index, [`OpenOptions::without_manifest`](super::OpenOptions::without_manifest) still lists it.
    #[error("Manifest.plist is missing or empty; {}", if *index_is_plain {
        "the index is not encrypted and can be listed without it"
    } else {
        "nothing can be read without it"
    })]
    NoManifest {
        /// Whether the index can be read without it.
        index_is_plain: bool,
    },
    /// One of the folder's property lists does not parse or has a key of the wrong type.
    #[error("{file} is damaged")]
    Plist {
        /// The file's name.
        file: &'static str,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// Neither `Manifest.db` nor `Manifest.mbdb` is there. An encrypted backup is lost without it: the keys of its
    /// files exist nowhere else.
    #[error("the index (Manifest.db or Manifest.mbdb) is missing or empty{}", if *encrypted {
        "; the keys of an encrypted backup are lost with it"
    } else {
        ""
    })]
    NoIndex {
        /// Whether the backup is encrypted.
        encrypted: bool,
    },
    /// The backup says that it is not encrypted, and its `Manifest.db` is no SQLite database.
    #[error("the backup is not encrypted, yet Manifest.db is not a SQLite database")]
    IndexNotSqlite,
    /// The backup is encrypted and so is `Manifest.db`, but `Manifest.plist` has no `ManifestKey`.
    #[error("Manifest.db is encrypted and Manifest.plist has no key for it")]
    NoManifestKey,
    /// The plists say encrypted, and `Manifest.db` is plain: the folder was decrypted by another program that copied the
    /// plists as they were. [`OpenOptions::already_decrypted`](super::OpenOptions::already_decrypted) opens it.
    #[error("the backup was already decrypted by another program; open it as such to read its files as stored")]
    AlreadyDecrypted,
    /// `Manifest.db` does not decrypt to a SQLite database.
    #[error("Manifest.db does not decrypt to a SQLite database: {reason}")]
    IndexDecryption {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An encrypted backup has no `BackupKeyBag`.
    #[error("the backup is encrypted and Manifest.plist has no keybag")]
    NoKeybag,
    /// The keybag is damaged or refused.
    #[error("the keybag is damaged: {0}")]
    Keybag(#[from] KeybagError),
    /// The password is not the one this backup was made with. Every backup keeps the password that was current then.
    #[error("wrong password; a backup opens with the password that was set when it was made")]
    WrongPassword,
    /// The backup is encrypted; unlock it first.
    #[error("the backup is encrypted; unlock it with its password first")]
    Locked,
    /// A backup of iOS 10.0, whose index is encrypted with the password itself, was unlocked with a derived key.
    #[error("the index of a backup of iOS 10.0 opens with the password only, not with a derived key")]
    PasswordNeeded,
    /// SQLite cannot read `Manifest.db`.
    #[error("Manifest.db is damaged")]
    Sqlite(#[from] rusqlite::Error),
    /// `Manifest.db` is a database of another kind, or one built to do harm.
    #[error("Manifest.db is not an index of a backup: {reason}")]
    Schema {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// `Manifest.mbdb` is damaged.
    #[error("Manifest.mbdb is damaged")]
    Mbdb(#[from] MbdbError),
    /// Only regular files have contents.
    #[error("a {kind:?} has no contents to read")]
    NotAFile {
        /// What the entry is.
        kind: Kind,
    },
    /// The payload is not in the folder.
    #[error("the payload {file_id} is missing")]
    MissingPayload {
        /// The payload's name.
        file_id: FileId,
    },
    /// The payload is a folder, a link or a device. Links open with
    /// [`OpenOptions::follow_links`](super::OpenOptions::follow_links).
    #[error("the payload {file_id} is not a regular file")]
    IrregularPayload {
        /// The payload's name.
        file_id: FileId,
    },
    /// The record's key does not have 44 bytes.
    #[error("the file's key is {len} bytes long instead of 44; the record is damaged")]
    FileKeyLength {
        /// Its length in bytes.
        len: usize,
    },
    /// The file's key does not unwrap.
    #[error(transparent)]
    FileKey(#[from] FileKeyError),
    /// The backup says that it is not encrypted, and the file's record has a key: one of the two is damaged.
    /// [`ReadOptions::salvage`](super::ReadOptions::salvage) hands out what is stored.
    #[error("the record of {file_id} has a key although the backup is not encrypted; what is stored may be ciphertext")]
    UnexpectedKey {
        /// The payload's name.
        file_id: FileId,
    },
    /// The payload was cut off while it was written. [`ReadOptions::salvage`](super::ReadOptions::salvage) hands out
    /// what is left.
    #[error("the payload is incomplete: {stored} bytes are stored, {recorded} were recorded")]
    Incomplete {
        /// Length of the payload in bytes.
        stored: u64,
        /// `Size` of the record in bytes.
        recorded: u64,
    },
    /// The payload is not a SQLite database.
    #[error("the payload {file_id} is not a SQLite database")]
    NotADatabase {
        /// The payload's name.
        file_id: FileId,
    },
    /// SQLite cannot read a database of the backup.
    #[error("the database {file_id} is damaged")]
    Database {
        /// The payload's name.
        file_id: FileId,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// Something was to be written into the backup's own folder, which is never done.
    #[error("{} lies in the backup's own folder, which is only read; choose another place", path.display())]
    IntoBackup {
        /// Where it was to go.
        path: PathBuf,
    },
    /// The observer stopped the job.
    #[error("cancelled")]
    Cancelled,
    /// The disk failed, or may not be read.
    #[error("reading the backup failed")]
    Io(#[from] io::Error),
}

impl From<UnlockError> for ArchiveError {
    fn from(error: UnlockError) -> Self {
        match error {
            UnlockError::WrongPassword => Self::WrongPassword,
            UnlockError::Keybag(error) => Self::Keybag(error),
            UnlockError::Cancelled => Self::Cancelled,
        }
    }
}
