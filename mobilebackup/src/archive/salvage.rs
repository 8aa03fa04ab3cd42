//! Reading what is left of a damaged backup (spec backup-format, 20 and Annex B).
//!
//! # Example
//! A backup whose index is gone:
//! ```
//! use cabled_mobilebackup::archive::Silent;
//! use cabled_mobilebackup::archive::build::{BuildOptions, Builder, Details};
//! use cabled_mobilebackup::archive::salvage::{FoundBy, Salvage, SalvageOptions};
//!
//! let root = tempfile::tempdir()?;
//! let mut builder = Builder::create(root.path().join("backup"), BuildOptions::default())?;
//! builder.file("MediaDomain", "Media/Recordings/memo.m4a", &b"\0\0\0\x1cftypM4A \0\0\0\0"[..], &Details::default())?;
//! let built = builder.finish()?;
//! std::fs::remove_file(built.folder.join("Manifest.db"))?;
//!
//! let salvage = Salvage::open(&built.folder, &SalvageOptions::default(), &mut Silent)?;
//! let [memo] = salvage.entries() else { panic!("one file is left") };
//! assert!(matches!(memo.found, FoundBy::Content { .. }));
//! assert!(memo.entry.path.ends_with(".m4a"));
//! assert_eq!(salvage.read(memo)?.len(), 16);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! [`Salvage::open`] takes rows from every index it can find, whole or not: the table of the backup's own `Manifest.db`
//! page by page, then pages that no tree leads to, `Manifest.mbdb`, the index that a cut-off run left in `Snapshot`, and
//! the indexes of older backups of the same device that the caller names. Of rows with the same id the first one counts.
//! Payloads that no row names are recognised by the ids of well-known files and by their content, in a backup that is
//! not encrypted. Every [`SalvagedEntry`] says how it was found and how far it can be trusted, and
//! [`Salvage::read`] opens it as [`Archive::read`](super::Archive::read) would.
//!
//! # Limits
//! Without any index an encrypted backup is lost: every file has a key of its own, and the keys are in the index only.
//! Names that were recognised by content are made up. Rows in the unused part of a page are not looked for. Memory: some
//! 600 bytes per row, since all are held. Nothing is written, and no decrypted index touches the disk.

mod content;
mod entry;
mod report;
mod rows;
mod search;
#[cfg(test)]
mod tests;
mod trust;
mod unnamed;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use content::ContentKind;
pub use entry::{FoundBy, SalvagedEntry};
pub use report::{IndexState, SalvageReport};
pub use rows::IndexScan;
pub use trust::{Doubt, Trust};
pub use unnamed::UNKNOWN_DOMAIN;

use super::entry::FileEntry;
use super::layout::Protection;
use super::observe::Observer;
use super::options::OpenOptions;
use super::read::{PayloadReader, ReadOptions};
use super::wrap::Key;
use super::{Archive, ArchiveError};
use search::{Search, index_in, payloads_of};

/// How a damaged backup is read.
#[derive(Clone, Debug, Default)]
pub struct SalvageOptions {
    open: OpenOptions,
    password: Option<Zeroizing<String>>,
    key: Option<Key>,
    older: Vec<PathBuf>,
}

impl SalvageOptions {
    /// The password, of this backup and of the older ones. Default: none, which leaves an encrypted index closed.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Zeroizing::new(password.into()));
        self
    }

    /// The derived key of this backup, instead of the password. Default: none.
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        self.key = Some(key);
        self
    }

    /// Also takes rows from the index of an older backup of the same device. Default: none.
    #[must_use]
    pub fn older(mut self, folder: impl Into<PathBuf>) -> Self {
        self.older.push(folder.into());
        self
    }

    /// How the folder is opened: links, limits. Default: [`OpenOptions::default`].
    #[must_use]
    pub fn open(mut self, options: OpenOptions) -> Self {
        self.open = options;
        self
    }
}

/// A damaged backup, opened for reading what is left of it.
#[derive(Debug)]
pub struct Salvage {
    /// This backup and the older ones whose indexes were used: each with its own class keys.
    keyrings: Vec<Archive>,
    entries: Vec<SalvagedEntry>,
    report: SalvageReport,
}

impl Salvage {
    /// Looks for every file of the backup in `folder` that can still be read.
    ///
    /// Cost: one pass over every index, one look at each payload, and reading those with a digest.
    ///
    /// # Errors
    /// [`ArchiveError::WrongPassword`] for this backup's password, [`ArchiveError::Cancelled`],
    /// [`ArchiveError::Io`] if the folder itself cannot be listed. Damage is no error.
    pub fn open(
        folder: impl AsRef<Path>,
        options: &SalvageOptions,
        observer: &mut dyn Observer,
    ) -> Result<Self, ArchiveError> {
        let folder = folder.as_ref();
        let mut own = Archive::open_without_index(folder, options.open.clone())?;
        unlock(&mut own, options, observer)?;
        let mut search = Search {
            payloads: payloads_of(folder)?,
            entries: Vec::new(),
            by_id: HashMap::new(),
        };
        let index = search.take_index(&own, folder, 0, |found| found);
        let mut salvage = Self {
            report: SalvageReport {
                protection: own.protection(),
                index,
                others: Vec::new(),
                found: BTreeMap::new(),
                trust: BTreeMap::new(),
                payloads: search.payloads.len() as u64,
                keys_lost: 0,
            },
            keyrings: vec![own],
            entries: Vec::new(),
        };
        salvage.take_older(&mut search, folder, options, observer)?;
        salvage.name_payloads(&mut search);
        salvage.judge(search, observer)?;
        Ok(salvage)
    }

    /// Every file that was found, those without a payload included.
    #[must_use]
    pub fn entries(&self) -> &[SalvagedEntry] {
        &self.entries
    }

    /// What was found, in numbers.
    #[must_use]
    pub const fn report(&self) -> &SalvageReport {
        &self.report
    }

    /// Opens the contents of a file, as far as they go: what was cut off gives what is left, see
    /// [`PayloadReader::completeness`].
    ///
    /// # Errors
    /// As [`Archive::read`]; [`ArchiveError::Locked`] or [`NoKeybag`](ArchiveError::NoKeybag) for encrypted files whose
    /// keys cannot be opened. They are never handed out as stored.
    pub fn read(&self, entry: &SalvagedEntry) -> Result<PayloadReader, ArchiveError> {
        self.open_payload(&entry.entry, entry.keyring)
    }

    fn open_payload(&self, entry: &FileEntry, keyring: usize) -> Result<PayloadReader, ArchiveError> {
        let (Some(own), Some(keys)) = (self.keyrings.first(), self.keyrings.get(keyring)) else {
            return Err(ArchiveError::Locked);
        };
        let key = keys.file_key(entry)?;
        if key.is_none() && own.protection() == Protection::Encrypted {
            return Err(ArchiveError::Locked);
        }
        let file = own.open_payload(&entry.file_id)?;
        let options = ReadOptions::default().salvage(true);
        match key {
            Some(key) => PayloadReader::decrypting(file, &key, entry.size, options),
            None => PayloadReader::stored(file, entry.size, None),
        }
    }

    /// Takes rows from what a cut-off run left and from older backups. Their file keys open with their own class keys.
    fn take_older(
        &mut self,
        search: &mut Search,
        folder: &Path,
        options: &SalvageOptions,
        observer: &mut dyn Observer,
    ) -> Result<(), ArchiveError> {
        let snapshot = folder.join("Snapshot");
        for older in std::iter::once(&snapshot).chain(&options.older) {
            let Some(index) = index_in(older) else { continue };
            // What lies in `Snapshot` belongs to this backup, whose own plist may be the only one.
            let has_manifest = older.join("Manifest.plist").exists();
            let keyring = if has_manifest { self.keyrings.len() } else { 0 };
            let outcome = if has_manifest {
                let mut archive = Archive::open_without_index(older, options.open.clone())?;
                match unlock(&mut archive, options, observer) {
                    Ok(()) => {}
                    Err(ArchiveError::Cancelled) => return Err(ArchiveError::Cancelled),
                    Err(e) => tracing::debug!(error = %e, "an older backup stays closed"),
                }
                self.keyrings.push(archive);
                keyring
            } else {
                0
            };
            let Some(archive) = self.keyrings.get(outcome) else {
                continue;
            };
            let state = search.take_index(archive, older, keyring, |_| FoundBy::OlderIndex {
                index: index.clone(),
            });
            self.report.others.push((index, state));
        }
        Ok(())
    }
}

/// Opens the class keys of an encrypted backup.
fn unlock(archive: &mut Archive, options: &SalvageOptions, observer: &mut dyn Observer) -> Result<(), ArchiveError> {
    if archive.protection() != Protection::Encrypted || archive.keybag().is_none() {
        return Ok(());
    }
    if let Some(key) = &options.key {
        return archive.unlock_keys(key);
    }
    let (Some(password), Some(keybag)) = (&options.password, archive.keybag()) else {
        return Ok(());
    };
    let key = keybag.derive(password.as_bytes(), archive.options().round_limits, observer)?;
    archive.unlock_keys(&key)
}
