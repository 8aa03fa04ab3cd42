//! What a phone remembers of its last backup and restore, for tests and demonstrations.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::FileId;
use crate::fs::Entry;

/// How the last request ended, as told to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// `MessageName` of the request, such as `Backup`.
    pub request: String,
    /// `ErrorCode`; 0 is success.
    pub code: i64,
    /// `ErrorDescription`.
    pub description: Option<String>,
}

/// One file, directory or link of a backup.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackedUp {
    /// What it was at the moment of the backup; contents included, whatever is written later.
    pub entry: Arc<Entry>,
    /// Its name inside the backup.
    pub id: FileId,
    /// Whether its payload was sent in this run; false for what the backup already had, directories and links.
    pub sent: bool,
}

impl BackedUp {
    /// SHA-256 of the file as it is on the phone, before any encryption; `None` for directories and links.
    ///
    /// Costs a read of the whole file.
    ///
    /// # Errors
    /// The disk's, for contents in the phone's spool folder.
    pub fn sha256(&self) -> io::Result<Option<[u8; 32]>> {
        self.entry.content().map(crate::fs::Content::sha256).transpose()
    }
}

/// A backup that ended well.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// `UUID` of Status.plist.
    pub uuid: String,
    /// Whether the payloads are encrypted.
    pub encrypted: bool,
    /// Whether everything was sent, whatever the host had.
    pub full: bool,
    /// Everything the manifest lists, in the order of [`Fs::snapshot`](crate::fs::Fs::snapshot).
    pub entries: Vec<BackedUp>,
    /// Payloads sent.
    pub files_sent: u64,
    /// Their bytes, as stored.
    pub bytes_sent: u64,
    /// Payloads that the backup already had.
    pub files_kept: u64,
    /// Payloads the host was told to remove.
    pub files_removed: u64,
    /// Paths, as `domain-path`, whose upload ended in a failure block; the manifest leaves them out.
    pub failed: Vec<String>,
    /// From the request to the result.
    pub elapsed: Duration,
}

impl BackupReport {
    /// The entry with this domain and path.
    #[must_use]
    pub fn entry(&self, domain: &str, path: &str) -> Option<&BackedUp> {
        let id = FileId::of(domain, path);
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// Regular files of the backup.
    pub fn files(&self) -> impl Iterator<Item = &BackedUp> {
        self.entries.iter().filter(|entry| entry.entry.is_file())
    }
}

/// Why a restore left an entry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Skipped {
    /// A system file, and `RestoreSystemFiles` was not set.
    SystemFile,
    /// A setting the phone has already, and `RestorePreserveSettings` was set.
    Setting,
    /// Regular file, directory or link: none of them.
    UnknownKind,
}

/// A restore that ended well.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Whether the backup was encrypted.
    pub encrypted: bool,
    /// Regular files restored.
    pub files: u64,
    /// Directories restored.
    pub directories: u64,
    /// Symbolic links restored.
    pub links: u64,
    /// Bytes of the files, decrypted.
    pub bytes: u64,
    /// Files whose SHA-1 in the manifest agreed with what the host sent.
    pub digests_verified: u64,
    /// Encrypted files that decrypted to valid padding.
    pub paddings_verified: u64,
    /// Files whose length is not the one recorded; no error (spec backup-format 6.3).
    pub odd_sizes: u64,
    /// Files recorded as empty for which the host had no payload.
    pub missing_empty_files: u64,
    /// Entries left out, by reason.
    pub skipped: BTreeMap<Skipped, u64>,
    /// Entries of this phone that the backup lacks and `RemoveItemsNotRestored` took away.
    pub removed: u64,
    /// Bundle ids listed in `/iTunesRestore/RestoreApplications.plist`.
    pub apps: Vec<String>,
    /// Keychain items that opened.
    pub keychain_items: u64,
    /// Keychain items bound to another device.
    pub keychain_closed: u64,
    /// Whether the host was asked to copy the backup first.
    pub copied: bool,
    /// From the request to the result.
    pub elapsed: Duration,
}
