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
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

pub use content::ContentKind;
pub use rows::IndexScan;

use super::database::SQLITE_MAGIC;
use super::entry::{FileEntry, Kind};
use super::layout::{OpenNote, Protection};
use super::observe::{Observer, Phase, Progress};
use super::options::OpenOptions;
use super::padding::{Completeness, padded_len};
use super::read::{PayloadReader, ReadOptions};
use super::select::{COMPANIONS, Category};
use super::wrap::Key;
use super::{Archive, ArchiveError, FileId};
use rows::FoundRow;

/// The domain of files whose own is not known.
pub const UNKNOWN_DOMAIN: &str = "Salvaged";

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

/// How a file was found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "by")]
#[non_exhaustive]
pub enum FoundBy {
    /// In the index, where it should be.
    Index,
    /// On a page of the index that no tree leads to any more.
    LoosePage {
        /// Which page, counted from 1.
        page: u32,
    },
    /// On a page of the index that was given up: the row was deleted or moved, and may be out of date.
    UnusedPage {
        /// Which page, counted from 1.
        page: u32,
    },
    /// In `Manifest.mbdb`, behind damage.
    BehindDamage,
    /// In the index of an older backup.
    OlderIndex {
        /// Which index.
        index: PathBuf,
    },
    /// By its id, which is that of a well-known file.
    KnownId {
        /// What it belongs to.
        category: Category,
    },
    /// By its content. Domain and path are made up.
    Content {
        /// What it looks like.
        kind: ContentKind,
        /// What it belongs to, if its tables say so.
        category: Option<Category>,
    },
}

impl FoundBy {
    /// A stable name, as in the serialized form.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::LoosePage { .. } => "loose_page",
            Self::UnusedPage { .. } => "unused_page",
            Self::BehindDamage => "behind_damage",
            Self::OlderIndex { .. } => "older_index",
            Self::KnownId { .. } => "known_id",
            Self::Content { .. } => "content",
        }
    }
}

/// How far the contents of a salvaged file can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trust {
    /// The digest of its record is that of the payload: every byte is right.
    Proven,
    /// The id fits domain and path, and the payload fits the record. The format has no checksum to tell more.
    Fitting,
    /// Something does not fit, or nothing is there to compare with.
    Doubtful,
}

/// What is doubtful about a salvaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Doubt {
    /// The stored id is not that of domain and path: one of them is damaged.
    Id,
    /// The record does not decode: times, owner and size are lost.
    Record,
    /// The digest of the record is not that of the payload.
    Digest,
    /// The payload's length is not the recorded one.
    Length,
    /// The payload does not end as one does under this key: the file has changed since, or is damaged.
    Ending,
    /// The row may be out of date.
    OutOfDate,
    /// There is no row: nothing says what the contents should be.
    NoRow,
    /// The payload is not there.
    NoPayload,
    /// The key does not unwrap, or there is none to open it with.
    Key,
}

/// A file of a damaged backup.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvagedEntry {
    /// The file.
    pub entry: FileEntry,
    /// How it was found.
    pub found: FoundBy,
    /// How far its contents can be trusted.
    pub trust: Trust,
    /// Why not further.
    pub doubts: Vec<Doubt>,
    /// Whose keys open it.
    keyring: usize,
}

/// What became of the index.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "index")]
#[non_exhaustive]
pub enum IndexState {
    /// There is none.
    Missing,
    /// It is encrypted, and its key is not known: no password was given, or `Manifest.plist` lacks keybag or key.
    Locked,
    /// It was read, as far as it could be.
    Read(IndexScan),
    /// It cannot be read at all.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// What salvage found. Serializes to one object.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Whether files are encrypted.
    pub protection: Protection,
    /// What became of the backup's own index.
    pub index: IndexState,
    /// Other indexes that were looked at, and what became of them.
    pub others: Vec<(PathBuf, IndexState)>,
    /// How many files were found in each way, by [`FoundBy::name`].
    pub found: BTreeMap<&'static str, u64>,
    /// How many can be trusted how far.
    pub trust: BTreeMap<Trust, u64>,
    /// Payloads in the folder.
    pub payloads: u64,
    /// Payloads of an encrypted backup whose keys are lost with their rows.
    pub keys_lost: u64,
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

    /// Without `Manifest.plist` nothing says whether a backup is encrypted; but then every payload is whole blocks of
    /// noise.
    fn looks_encrypted(&self, ids: &[FileId]) -> bool {
        const LOOKED_AT: usize = 64;
        let Some(own) = self
            .keyrings
            .first()
            .filter(|own| own.notes().contains(&OpenNote::NoManifest))
        else {
            return false;
        };
        let is_noise = |id: &FileId| {
            let Ok(mut file) = own.open_payload(id) else {
                return true;
            };
            let len = file.metadata().map_or(0, |meta| meta.len());
            len.is_multiple_of(16) && matches!(content::recognise(&mut file), Ok((ContentKind::Unknown, _)))
        };
        !ids.is_empty() && ids.iter().take(LOOKED_AT).all(is_noise)
    }

    /// Names the payloads that no row names, in a backup that is not encrypted.
    fn name_payloads(&mut self, search: &mut Search) {
        let known = known_ids();
        let mut ids: Vec<FileId> = search.payloads.keys().copied().collect();
        ids.retain(|id| !search.by_id.contains_key(id));
        ids.sort_unstable();
        if self.looks_encrypted(&ids) {
            self.report.protection = Protection::Encrypted;
        }
        if self.report.protection == Protection::Encrypted {
            self.report.keys_lost = ids.len() as u64;
            return;
        }
        let Some(own) = self.keyrings.first() else { return };
        for id in ids {
            let size = search.payloads.get(&id).copied().unwrap_or_default();
            let (entry, found) = match known.get(&id) {
                Some((category, domain, path)) => (
                    FileEntry::bare(id, domain, path, size),
                    FoundBy::KnownId { category: *category },
                ),
                None => {
                    let Ok(mut file) = own.open_payload(&id) else { continue };
                    let Ok((kind, category)) = content::recognise(&mut file) else {
                        continue;
                    };
                    let folder = category.map_or_else(|| format!("{kind:?}").to_lowercase(), |known| known.to_string());
                    let path = format!("{folder}/{id}.{}", kind.extension());
                    (
                        FileEntry::bare(id, UNKNOWN_DOMAIN, &path, size),
                        FoundBy::Content { kind, category },
                    )
                }
            };
            search.add(
                FoundRow {
                    entry,
                    found,
                    record: false,
                },
                0,
            );
        }
    }

    /// Compares every file with its payload.
    fn judge(&mut self, search: Search, observer: &mut dyn Observer) -> Result<(), ArchiveError> {
        let total = Some(search.entries.len() as u64);
        let mut done = 0_u64;
        for (row, keyring) in search.entries {
            if observer.on_progress(&Progress::new(Phase::ReadingPayloads, done, total)) == ControlFlow::Break(()) {
                return Err(ArchiveError::Cancelled);
            }
            done = done.saturating_add(1);
            let stored = search.payloads.get(&row.entry.file_id).copied();
            let (trust, doubts) = self.trust_in(&row, stored, keyring);
            let count = self.report.found.entry(row.found.name()).or_default();
            *count = count.saturating_add(1);
            let count = self.report.trust.entry(trust).or_default();
            *count = count.saturating_add(1);
            self.entries.push(SalvagedEntry {
                entry: row.entry,
                found: row.found,
                trust,
                doubts,
                keyring,
            });
        }
        Ok(())
    }

    fn trust_in(&self, row: &FoundRow, stored: Option<u64>, keyring: usize) -> (Trust, Vec<Doubt>) {
        let (entry, mut doubts) = (&row.entry, Vec::new());
        let has_row = !matches!(row.found, FoundBy::KnownId { .. } | FoundBy::Content { .. });
        if !has_row {
            return (Trust::Doubtful, vec![Doubt::NoRow]);
        }
        if entry.computed_id() != entry.file_id {
            doubts.push(Doubt::Id);
        }
        if !row.record {
            doubts.push(Doubt::Record);
        }
        if matches!(row.found, FoundBy::UnusedPage { .. } | FoundBy::OlderIndex { .. }) {
            doubts.push(Doubt::OutOfDate);
        }
        let mut proven = false;
        if entry.kind == Kind::File {
            match (self.open_payload(entry, keyring), stored) {
                (Ok(reader), Some(stored)) => {
                    if reader.completeness() == Completeness::Incomplete {
                        doubts.push(Doubt::Ending);
                    }
                    let encrypted = self
                        .keyrings
                        .get(keyring)
                        .is_some_and(|keys| matches!(keys.file_key(entry), Ok(Some(_))));
                    let expected = if encrypted { padded_len(entry.size) } else { entry.size };
                    let fits = stored == expected;
                    match entry.digest.map(|digest| self.has_digest(entry, digest)) {
                        Some(true) => proven = true,
                        Some(false) => doubts.push(Doubt::Digest),
                        None if !fits && row.record => doubts.push(Doubt::Length),
                        None => {}
                    }
                }
                (Err(ArchiveError::MissingPayload { .. }), _) | (_, None) if entry.size == 0 => {}
                (Err(ArchiveError::MissingPayload { .. }), _) | (_, None) => doubts.push(Doubt::NoPayload),
                (Err(_), _) => doubts.push(Doubt::Key),
            }
        }
        let trust = match (proven, doubts.is_empty()) {
            (true, true) => Trust::Proven,
            // The digest outweighs that the row is old.
            (true, false) if doubts == [Doubt::OutOfDate] => Trust::Proven,
            (false, true) => Trust::Fitting,
            _ => Trust::Doubtful,
        };
        (trust, doubts)
    }

    fn has_digest(&self, entry: &FileEntry, digest: [u8; 20]) -> bool {
        let Some(Ok(mut file)) = self.keyrings.first().map(|own| own.open_payload(&entry.file_id)) else {
            return false;
        };
        let (mut hash, mut buffer) = (Sha1::new(), vec![0; 256 << 10]);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return hash.finalize().as_slice() == digest,
                Ok(got) => hash.update(buffer.get(..got).unwrap_or_default()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}

/// What was found so far.
struct Search {
    /// Every payload in the folder, with its length.
    payloads: HashMap<FileId, u64>,
    entries: Vec<(FoundRow, usize)>,
    by_id: HashMap<FileId, usize>,
}

impl Search {
    /// Takes the rows of an index in `folder`; `as_found` says how they were found.
    fn take_index(
        &mut self,
        archive: &Archive,
        folder: &Path,
        keyring: usize,
        as_found: impl Fn(FoundBy) -> FoundBy,
    ) -> IndexState {
        let Some(path) = index_in(folder) else {
            return IndexState::Missing;
        };
        let mut visit = |mut row: FoundRow| {
            row.found = as_found(row.found);
            self.add(row, keyring);
        };
        let outcome = if path.extension().is_some_and(|end| end == "mbdb") {
            rows::of_flat(&path, &mut visit)
        } else {
            match index_key(archive, &path) {
                Ok(IndexKey::None) => rows::of_database(&path, None, &mut visit),
                Ok(IndexKey::Key(key)) => rows::of_database(&path, Some(&key), &mut visit),
                Ok(IndexKey::Locked) => return IndexState::Locked,
                Err(e) => Err(e),
            }
        };
        match outcome {
            Ok(scan) => IndexState::Read(scan),
            Err(e) => IndexState::Unreadable { reason: e.to_string() },
        }
    }

    /// Adds a row unless a better one with its id is there. A row that names a payload beats one that does not decode.
    fn add(&mut self, row: FoundRow, keyring: usize) {
        let known = self.by_id.get(&row.entry.file_id).copied();
        match known.and_then(|known| self.entries.get_mut(known)) {
            Some(known) if row.record && !known.0.record => *known = (row, keyring),
            Some(_) => {}
            None => {
                self.by_id.insert(row.entry.file_id, self.entries.len());
                self.entries.push((row, keyring));
            }
        }
    }
}

/// What opens an index.
enum IndexKey {
    None,
    Key(Key),
    Locked,
}

/// A plain index needs no key, even if its start is damaged.
fn index_key(archive: &Archive, path: &Path) -> Result<IndexKey, ArchiveError> {
    let mut start = Vec::new();
    fs::File::open(path)?
        .take(SQLITE_MAGIC.len() as u64)
        .read_to_end(&mut start)?;
    if start == SQLITE_MAGIC || archive.protection() != Protection::Encrypted {
        return Ok(IndexKey::None);
    }
    let wrapped = archive.manifest().manifest_key().ok().flatten();
    let Some((wrapped, keys)) = wrapped.zip(archive.class_keys()) else {
        return Ok(IndexKey::Locked);
    };
    Ok(match keys.unwrap(&wrapped, None) {
        Ok(key) => IndexKey::Key(key),
        Err(_) => IndexKey::Locked,
    })
}

/// The index in a folder, if there is one with something in it.
fn index_in(folder: &Path) -> Option<PathBuf> {
    let names = ["Manifest.db", "Manifest.mbdb"];
    names
        .into_iter()
        .map(|name| folder.join(name))
        .find(|path| fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() > 0))
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

/// Every payload of a backup, in whichever place it lies.
fn payloads_of(folder: &Path) -> Result<HashMap<FileId, u64>, ArchiveError> {
    let mut payloads = HashMap::new();
    let mut folders = vec![(folder.to_owned(), true)];
    while let Some((folder, is_root)) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let kind = entry.file_type()?;
            let is_nested = name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if kind.is_dir() && is_root && is_nested {
                folders.push((entry.path(), false));
            } else if kind.is_file()
                && let Ok(id) = name.parse::<FileId>()
            {
                payloads.insert(id, entry.metadata()?.len());
            }
        }
    }
    Ok(payloads)
}

/// The ids of the files that every backup of a phone has, and of their logs.
fn known_ids() -> HashMap<FileId, (Category, &'static str, String)> {
    let mut known = HashMap::new();
    for category in Category::ALL {
        for (domain, path) in category.places().iter().filter_map(|place| place.single_file()) {
            for end in std::iter::once("").chain(COMPANIONS) {
                let path = format!("{path}{end}");
                known
                    .entry(FileId::of(domain, &path))
                    .or_insert((category, domain, path));
            }
        }
    }
    known
}
