//! A backup folder, opened for reading.

mod payload;
mod unlock;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ArchiveError;
use super::database::Database;
use super::entry::{FileEntry, Row};
use super::file_id::FileId;
use super::index::{Entries, FlatIndex, Index, Rows};
use super::keybag::{ClassKeys, Keybag};
use super::layout::{self, FoundIndex, Layout, OpenNote, Protection, damaged};
use super::metadata::PasswordCheck;
use super::observe::Silent;
use super::options::OpenOptions;
use super::plists::{Info, Manifest, Status};

/// A backup made by iTunes, Finder, the Apple Devices app or another program, opened for reading.
///
/// Nothing is ever written into its folder. Every method blocks; an archive may be shared between threads, so async
/// programs call it from a thread for blocking work.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
    options: OpenOptions,
    layout: Layout,
    protection: Protection,
    manifest: Manifest,
    info: Option<Info>,
    status: Option<Status>,
    notes: Vec<OpenNote>,
    keybag: Option<Keybag>,
    keys: Option<ClassKeys>,
    /// `None` while locked, if the index itself is encrypted.
    index: Option<Index>,
    /// In a backup of iOS 10.0 that has not been unlocked.
    metadata_lock: Option<PasswordCheck>,
}

impl Archive {
    /// Opens the backup in `folder`, a folder named by a UDID in most cases. Nothing is decrypted yet: if
    /// [`is_locked`](Archive::is_locked) says so, [`unlock`](Archive::unlock) comes next.
    ///
    /// # Errors
    /// [`ArchiveError::NotABackup`], [`UnsupportedOldFormat`](ArchiveError::UnsupportedOldFormat), and for damage
    /// [`NoManifest`](ArchiveError::NoManifest), [`Plist`](ArchiveError::Plist), [`NoIndex`](ArchiveError::NoIndex),
    /// [`IndexNotSqlite`](ArchiveError::IndexNotSqlite), [`NoManifestKey`](ArchiveError::NoManifestKey),
    /// [`AlreadyDecrypted`](ArchiveError::AlreadyDecrypted), [`Keybag`](ArchiveError::Keybag),
    /// [`Sqlite`](ArchiveError::Sqlite), [`Schema`](ArchiveError::Schema), [`Mbdb`](ArchiveError::Mbdb),
    /// [`Io`](ArchiveError::Io).
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, ArchiveError> {
        OpenOptions::default().open(folder)
    }

    pub(super) fn open_with(folder: &Path, options: OpenOptions) -> Result<Self, ArchiveError> {
        let index = layout::find_index(folder)?;
        let manifest = match layout::read_plist(folder, "Manifest.plist")? {
            Some(bytes) => Some(Manifest::parse(&bytes).map_err(damaged("Manifest.plist"))?),
            None => None,
        };
        let mut notes = Vec::new();
        let Some(index) = index else {
            return Err(layout::without_index(folder, manifest.as_ref()));
        };
        let manifest = match manifest {
            Some(manifest) => manifest,
            None => {
                let index_is_plain = index.is_readable();
                if !(options.without_manifest && index_is_plain) {
                    return Err(ArchiveError::NoManifest { index_is_plain });
                }
                notes.push(OpenNote::NoManifest);
                Manifest::default()
            }
        };
        let protection = layout::protection_of(&manifest, &index, &options, &mut notes)?;
        let keybag = match manifest.backup_keybag().map_err(damaged("Manifest.plist"))? {
            Some(stored) => match (Keybag::parse(stored), protection) {
                (Ok(keybag), _) => Some(keybag),
                (Err(e), Protection::Encrypted) => return Err(e.into()),
                (Err(e), _) => {
                    notes.push(OpenNote::DamagedKeybag { reason: e.to_string() });
                    None
                }
            },
            None if protection == Protection::Encrypted => return Err(ArchiveError::NoKeybag),
            None => None,
        };
        let info = layout::descriptive(folder, "Info.plist", Info::parse, &mut notes)?;
        let status = layout::descriptive(folder, "Status.plist", Status::parse, &mut notes)?;
        layout::note_state(folder, status.as_ref(), &mut notes)?;
        let mut archive = Self {
            folder: folder.to_owned(),
            layout: index.layout,
            protection,
            manifest,
            info,
            status,
            notes,
            keybag,
            keys: None,
            index: None,
            metadata_lock: None,
            options,
        };
        archive.open_readable_index(&index)?;
        Ok(archive)
    }

    /// Opens what there is beside the index, for [`salvage`](super::salvage): any plist may be missing or damaged.
    pub(crate) fn open_without_index(folder: &Path, options: OpenOptions) -> Result<Self, ArchiveError> {
        let mut notes = Vec::new();
        let manifest = layout::read_plist(folder, "Manifest.plist")?.and_then(|bytes| Manifest::parse(&bytes).ok());
        let is_encrypted = manifest.as_ref().and_then(|manifest| manifest.is_encrypted().ok());
        if manifest.is_none() {
            notes.push(OpenNote::NoManifest);
        }
        let manifest = manifest.unwrap_or_default();
        let keybag = manifest
            .backup_keybag()
            .ok()
            .flatten()
            .and_then(|stored| Keybag::parse(stored).ok());
        let info = layout::descriptive(folder, "Info.plist", Info::parse, &mut notes)?;
        let status = layout::descriptive(folder, "Status.plist", Status::parse, &mut notes)?;
        layout::note_state(folder, status.as_ref(), &mut notes)?;
        let flat = !folder.join("Manifest.db").exists() && folder.join("Manifest.mbdb").exists();
        let protection = match is_encrypted {
            Some(true) if options.already_decrypted => Protection::AlreadyDecrypted,
            Some(true) => Protection::Encrypted,
            _ => Protection::Plain,
        };
        Ok(Self {
            folder: folder.to_owned(),
            layout: if flat { Layout::Flat } else { Layout::Current },
            protection,
            manifest,
            info,
            status,
            notes,
            keybag,
            keys: None,
            index: None,
            metadata_lock: None,
            options,
        })
    }

    pub(crate) const fn options(&self) -> &OpenOptions {
        &self.options
    }

    /// Opens the index if it needs no key.
    fn open_readable_index(&mut self, found: &FoundIndex) -> Result<(), ArchiveError> {
        self.index = match found.layout {
            Layout::Flat => Some(Index::Flat(FlatIndex::open(&found.path)?)),
            Layout::Current if found.starts_as_sqlite => {
                let database = Database::open_plain(&found.path, &self.temp_dir(), &mut self.notes, &mut Silent)?;
                self.metadata_lock = database.metadata_encryption()?;
                Some(Index::Database {
                    database,
                    column_key: None,
                })
            }
            Layout::Current => None,
        };
        Ok(())
    }

    pub(crate) const fn round_limits(&self) -> super::keybag::RoundLimits {
        self.options.round_limits
    }

    pub(crate) fn temp_dir(&self) -> PathBuf {
        self.options.temp_dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// Whether a password is needed to read files. The index of an older backup can be listed all the same.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        let encrypted = matches!(self.protection, Protection::Encrypted);
        self.metadata_lock.is_some() || (encrypted && self.keys.is_none())
    }

    /// Whether [`entries`](Archive::entries) works now.
    #[must_use]
    pub const fn can_list(&self) -> bool {
        self.index.is_some() && self.metadata_lock.is_none()
    }

    /// The folder that was opened.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Which index and which places the backup uses.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether files are encrypted.
    #[must_use]
    pub const fn protection(&self) -> Protection {
        self.protection
    }

    /// `Manifest.plist`.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// `Info.plist`, if it is there and readable.
    #[must_use]
    pub const fn info(&self) -> Option<&Info> {
        self.info.as_ref()
    }

    /// `Status.plist`, if it is there and readable.
    #[must_use]
    pub const fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// What is odd about the backup as a whole.
    #[must_use]
    pub fn notes(&self) -> &[OpenNote] {
        &self.notes
    }

    /// Whether the backup is known to be cut off: never to be used as the base of a new one.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.notes
            .iter()
            .any(|note| matches!(note, OpenNote::NotFinished { .. } | OpenNote::SnapshotFolder))
    }

    /// The keybag, still locked. Unencrypted backups have one too.
    #[must_use]
    pub const fn keybag(&self) -> Option<&Keybag> {
        self.keybag.as_ref()
    }

    /// The class keys, once unlocked.
    #[must_use]
    pub const fn class_keys(&self) -> Option<&ClassKeys> {
        self.keys.as_ref()
    }

    pub(crate) fn index(&self) -> Result<&Index, ArchiveError> {
        if self.metadata_lock.is_some() {
            return Err(ArchiveError::Locked);
        }
        self.index.as_ref().ok_or(ArchiveError::Locked)
    }

    /// Every row of the index, those that make no sense included, in constant memory. Some microseconds a row; in the
    /// order of the index, which means nothing.
    ///
    /// # Errors
    /// [`ArchiveError::Locked`]; damage to the index as a whole comes out of the iterator.
    pub fn rows(&self) -> Result<Rows<'_>, ArchiveError> {
        Rows::new(self.index()?)
    }

    /// Every file, folder and link, in constant memory. As [`rows`](Archive::rows), without what makes no sense.
    ///
    /// # Errors
    /// As [`rows`](Archive::rows).
    pub fn entries(&self) -> Result<Entries<'_>, ArchiveError> {
        Ok(Entries::new(self.rows()?))
    }

    /// The entry with this id. Fast, except for the first call on a flat backup, which reads its whole index.
    ///
    /// # Errors
    /// [`ArchiveError::Locked`], [`Sqlite`](ArchiveError::Sqlite), [`Mbdb`](ArchiveError::Mbdb) if the index is
    /// damaged where the entry might be, [`Io`](ArchiveError::Io). An entry that does not decode is `None`.
    pub fn entry(&self, id: &FileId) -> Result<Option<FileEntry>, ArchiveError> {
        Ok(entry_of(self.index()?.find(id)?))
    }

    /// The entry at this path, compared byte for byte: case and Unicode form matter. Fast if the backup is sound; one
    /// whose ids do not fit its paths is searched from front to back.
    ///
    /// # Errors
    /// As [`entry`](Archive::entry).
    pub fn entry_at(&self, domain: &str, path: &str) -> Result<Option<FileEntry>, ArchiveError> {
        Ok(entry_of(self.index()?.find_path(domain, path)?))
    }

    /// The record of an entry as `Manifest.db` stores it, to be changed and written elsewhere. `None` for an unknown
    /// id and for flat backups.
    ///
    /// # Errors
    /// As [`entry`](Archive::entry).
    pub fn raw_record(&self, id: &FileId) -> Result<Option<Vec<u8>>, ArchiveError> {
        match self.index()? {
            Index::Database { database, .. } => database.raw_record(id),
            Index::Flat(_) => Ok(None),
        }
    }

    /// Every domain and how many rows it has. One pass over the index.
    ///
    /// # Errors
    /// As [`rows`](Archive::rows), and damage to the index.
    pub fn domains(&self) -> Result<BTreeMap<String, u64>, ArchiveError> {
        let mut domains = BTreeMap::new();
        match self.index()? {
            Index::Database { database, .. } => {
                database.with_domain_counts(|counts| {
                    domains.extend(counts.iter().map(|(domain, rows)| (domain.to_owned(), rows)));
                })?;
            }
            Index::Flat(_) => {
                for entry in self.entries()? {
                    let domain = entry?.domain;
                    match domains.get_mut(&*domain) {
                        Some(rows) => *rows = u64::saturating_add(*rows, 1),
                        None => drop(domains.insert(domain.to_string(), 1)),
                    }
                }
            }
        }
        Ok(domains)
    }

    pub(crate) fn is_without_manifest(&self) -> bool {
        self.notes.contains(&OpenNote::NoManifest)
    }
}

fn entry_of(row: Option<Row>) -> Option<FileEntry> {
    match row? {
        Row::Entry(entry) => Some(entry),
        Row::Skipped(_) => None,
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;
