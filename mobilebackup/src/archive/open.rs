//! A backup folder, opened for reading.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cabled_wire::WireError;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::ArchiveError;
use super::database::{Database, SQLITE_MAGIC};
use super::entry::{FileEntry, Kind, Row};
use super::file_id::FileId;
use super::index::{Entries, FlatIndex, Index, Rows};
use super::keybag::{ClassKeys, Keybag, RoundLimits};
use super::metadata::{ColumnKey, PasswordCheck};
use super::observe::{Observer, Silent};
use super::plists::{Info, MAX_PLIST_LEN, Manifest, Status};
use super::read::{PayloadNote, PayloadReader, ReadOptions};
use super::wrap::Key;

/// Where the files of a backup are and which index they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layout {
    /// iOS 10 and later: `Manifest.db`, payloads in folders `00` to `ff`.
    Current,
    /// iOS 4 to 9: `Manifest.mbdb`, payloads beside it.
    Flat,
}

/// Whether and how the files of a backup are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Protection {
    /// Files are stored as they are.
    Plain,
    /// Files are encrypted; with iOS 10.2 and later the index is as well.
    Encrypted,
    /// The plists say encrypted, but another program has decrypted index and files since.
    AlreadyDecrypted,
}

/// Something about a backup as a whole that is worth knowing and no error.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "note")]
#[non_exhaustive]
pub enum OpenNote {
    /// `Info.plist` is missing. Apple's hosts do not list such a backup.
    NoInfo,
    /// `Info.plist` is damaged.
    DamagedInfo {
        /// What is wrong with it.
        reason: String,
    },
    /// `Status.plist` is missing: whether the backup came to its end is unknown.
    NoStatus,
    /// `Status.plist` is damaged.
    DamagedStatus {
        /// What is wrong with it.
        reason: String,
    },
    /// `SnapshotState` is not `finished`: the backup was cut off, or is running now.
    NotFinished {
        /// The state it has.
        state: Option<String>,
    },
    /// There is a folder `Snapshot`: a backup was cut off, or is running now. Old and new files may be mixed.
    SnapshotFolder,
    /// `Manifest.plist` was missing or empty, and the index was opened without it.
    NoManifest,
    /// The keybag of a backup that is not encrypted is damaged; nothing but keychain items needs it.
    DamagedKeybag {
        /// What is wrong with it.
        reason: String,
    },
    /// `Manifest.plist` has a key for `Manifest.db` although it says that the backup is not encrypted.
    UnexpectedManifestKey,
}

/// How a backup is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    already_decrypted: bool,
    without_manifest: bool,
    follow_links: bool,
    temp_dir: Option<PathBuf>,
    round_limits: RoundLimits,
}

impl OpenOptions {
    /// Opens a folder that another program has decrypted and left its plists as they were: files are handed out as
    /// stored. Default: off, which refuses with [`ArchiveError::AlreadyDecrypted`].
    #[must_use]
    pub const fn already_decrypted(mut self, on: bool) -> Self {
        self.already_decrypted = on;
        self
    }

    /// Opens a backup whose `Manifest.plist` is lost, if its index is readable: entries are listed, and files that are
    /// not encrypted can be read. Default: off, which refuses with [`ArchiveError::NoManifest`].
    #[must_use]
    pub const fn without_manifest(mut self, on: bool) -> Self {
        self.without_manifest = on;
        self
    }

    /// Follows payloads that are symbolic links. Default: off, since a link in a stranger's backup may lead to any
    /// file of this machine. The backup folder itself may always be a link.
    #[must_use]
    pub const fn follow_links(mut self, on: bool) -> Self {
        self.follow_links = on;
        self
    }

    /// Where private copies of the index go: a decrypted `Manifest.db`, or one with a write-ahead log. They are
    /// readable by this user only and removed at once (on Windows, when the archive is dropped). Default: the
    /// system's folder for temporary files.
    #[must_use]
    pub fn temp_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.temp_dir = Some(folder.into());
        self
    }

    /// The most rounds that unlocking may take. Default: [`RoundLimits::default`].
    #[must_use]
    pub const fn round_limits(mut self, limits: RoundLimits) -> Self {
        self.round_limits = limits;
        self
    }

    /// Opens the backup in `folder`.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open(self, folder: impl AsRef<Path>) -> Result<Archive, ArchiveError> {
        Archive::open_with(folder.as_ref(), self)
    }
}

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

    fn open_with(folder: &Path, options: OpenOptions) -> Result<Self, ArchiveError> {
        let index = find_index(folder)?;
        let manifest = match read_plist(folder, "Manifest.plist")? {
            Some(bytes) => Some(Manifest::parse(&bytes).map_err(damaged("Manifest.plist"))?),
            None => None,
        };
        let mut notes = Vec::new();
        let Some(index) = index else {
            return Err(without_index(folder, manifest.as_ref()));
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
        let protection = protection_of(&manifest, &index, &options, &mut notes)?;
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
        let info = descriptive(folder, "Info.plist", Info::parse, &mut notes)?;
        let status = descriptive(folder, "Status.plist", Status::parse, &mut notes)?;
        note_state(folder, status.as_ref(), &mut notes)?;
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

    /// Opens the index if it needs no key.
    fn open_readable_index(&mut self, found: &FoundIndex) -> Result<(), ArchiveError> {
        self.index = match found.layout {
            Layout::Flat => Some(Index::Flat(FlatIndex::open(&found.path)?)),
            Layout::Current if found.starts_as_sqlite => {
                let database = Database::open_plain(&found.path, &self.temp_dir(), &mut Silent)?;
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

    /// Unlocks an encrypted backup with its password. Takes a second or more: the derivation is slow by design.
    ///
    /// Which Unicode form Apple's hosts send for a password with accents is not known, so one that fails as it is
    /// given is tried composed and decomposed as well, at the same cost each.
    ///
    /// # Errors
    /// As [`unlock_observed`](Archive::unlock_observed).
    pub fn unlock(&mut self, password: &str) -> Result<(), ArchiveError> {
        let composed = Zeroizing::new(password.nfc().collect::<String>());
        let decomposed = Zeroizing::new(password.nfd().collect::<String>());
        let mut forms = vec![password, composed.as_str(), decomposed.as_str()];
        // The given spelling is one of the two others in most cases.
        forms.dedup();
        if forms.first() == forms.last() {
            forms.truncate(2);
        }
        let mut outcome = Err(ArchiveError::WrongPassword);
        for form in forms {
            outcome = self.unlock_observed(form.as_bytes(), &mut Silent).map(drop);
            if !matches!(outcome, Err(ArchiveError::WrongPassword)) {
                break;
            }
        }
        outcome
    }

    /// Unlocks a backup with its password, watched by `observer`, which may stop it. Returns the derived key, which
    /// opens the same backup again at once and is as sensitive as the password. The keybag of an unencrypted backup
    /// opens with the empty password.
    ///
    /// Every backup opens with the password that was current when it was made. The bytes are taken as they are; every
    /// tool uses UTF-8.
    ///
    /// # Errors
    /// [`WrongPassword`](ArchiveError::WrongPassword), told after the full derivation;
    /// [`NoKeybag`](ArchiveError::NoKeybag), [`Keybag`](ArchiveError::Keybag) for a damaged one or one that asks for
    /// too many rounds, [`Cancelled`](ArchiveError::Cancelled), and for the index
    /// [`IndexDecryption`](ArchiveError::IndexDecryption), [`FileKey`](ArchiveError::FileKey),
    /// [`Sqlite`](ArchiveError::Sqlite), [`Schema`](ArchiveError::Schema), [`Io`](ArchiveError::Io).
    pub fn unlock_observed(&mut self, password: &[u8], observer: &mut dyn Observer) -> Result<Key, ArchiveError> {
        let column_key = match &self.metadata_lock {
            // One hash, checked at once: no need to derive first.
            Some(check) => Some(ColumnKey::derive(password, check).ok_or(ArchiveError::WrongPassword)?),
            None => None,
        };
        let keybag = self.keybag.as_ref().ok_or(ArchiveError::NoKeybag)?;
        // iOS 10.0 could leave its metadata encryption behind when encryption was turned off: the password then opens
        // the index, and the keybag is that of any unencrypted backup.
        let is_leftover = column_key.is_some() && self.protection != Protection::Encrypted;
        let password = if is_leftover { b"" } else { password };
        let key = keybag.derive(password, self.options.round_limits, observer)?;
        self.open_with_key(&key, column_key, observer)?;
        Ok(key)
    }

    /// Unlocks a backup with the key that [`unlock_observed`](Archive::unlock_observed) returned before.
    ///
    /// # Errors
    /// As [`unlock_observed`](Archive::unlock_observed); a key that does not fit is
    /// [`WrongPassword`](ArchiveError::WrongPassword). [`PasswordNeeded`](ArchiveError::PasswordNeeded) for a backup
    /// of iOS 10.0.
    pub fn unlock_with_key(&mut self, key: &Key, observer: &mut dyn Observer) -> Result<(), ArchiveError> {
        if self.metadata_lock.is_some() {
            return Err(ArchiveError::PasswordNeeded);
        }
        self.open_with_key(key, None, observer)
    }

    fn open_with_key(
        &mut self,
        key: &Key,
        new_column_key: Option<ColumnKey>,
        observer: &mut dyn Observer,
    ) -> Result<(), ArchiveError> {
        let keybag = self.keybag.as_ref().ok_or(ArchiveError::NoKeybag)?;
        let keys = keybag.unwrap(key)?;
        match &mut self.index {
            Some(Index::Database { column_key, .. }) => *column_key = new_column_key,
            Some(Index::Flat(_)) => {}
            None => {
                let wrapped = self.manifest.manifest_key().map_err(damaged("Manifest.plist"))?;
                let wrapped = wrapped.ok_or(ArchiveError::NoManifestKey)?;
                let index_key = keys.unwrap(&wrapped, None)?;
                let path = self.folder.join("Manifest.db");
                let database = Database::open_encrypted(&path, &index_key, &self.temp_dir(), observer)?;
                self.index = Some(Index::Database {
                    database,
                    column_key: None,
                });
            }
        }
        self.metadata_lock = None;
        self.keys = Some(keys);
        Ok(())
    }

    fn temp_dir(&self) -> PathBuf {
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
        let mut count = |domain: &str| match domains.get_mut(domain) {
            Some(rows) => *rows = u64::saturating_add(*rows, 1),
            None => drop(domains.insert(domain.to_owned(), 1)),
        };
        match self.index()? {
            Index::Database { database, .. } => database.for_each_domain(count)?,
            Index::Flat(_) => {
                for entry in self.entries()? {
                    count(&entry?.domain);
                }
            }
        }
        Ok(domains)
    }

    /// Opens the contents of a file, decrypted if need be, readable from any place in it.
    ///
    /// # Errors
    /// [`ArchiveError::NotAFile`], [`Locked`](ArchiveError::Locked),
    /// [`MissingPayload`](ArchiveError::MissingPayload), [`IrregularPayload`](ArchiveError::IrregularPayload),
    /// [`FileKeyLength`](ArchiveError::FileKeyLength), [`FileKey`](ArchiveError::FileKey),
    /// [`Incomplete`](ArchiveError::Incomplete), [`Io`](ArchiveError::Io).
    pub fn read(&self, entry: &FileEntry) -> Result<PayloadReader, ArchiveError> {
        self.read_with(entry, ReadOptions::default())
    }

    /// As [`read`](Archive::read), with options.
    ///
    /// # Errors
    /// As [`read`](Archive::read).
    pub fn read_with(&self, entry: &FileEntry, options: ReadOptions) -> Result<PayloadReader, ArchiveError> {
        if !matches!(entry.kind, Kind::File | Kind::Unknown) {
            return Err(ArchiveError::NotAFile { kind: entry.kind });
        }
        let key = self.file_key(entry)?;
        let file = match self.open_payload(&entry.file_id) {
            Ok(file) => file,
            Err(ArchiveError::MissingPayload { .. }) if entry.size == 0 => return Ok(PayloadReader::empty()),
            Err(e) => return Err(e),
        };
        match key {
            Some(key) => PayloadReader::decrypting(file, &key, entry.size, options),
            None => {
                let note = match (self.protection, entry.encryption_key) {
                    (Protection::Encrypted, _) => Some(PayloadNote::NoKey),
                    (Protection::Plain, Some(_)) => Some(PayloadNote::UnexpectedKey),
                    (Protection::Plain, None) | (Protection::AlreadyDecrypted, _) => None,
                };
                PayloadReader::stored(file, entry.size, note)
            }
        }
    }

    /// The key of a file, `None` if it is stored as it is.
    pub(crate) fn file_key(&self, entry: &FileEntry) -> Result<Option<Key>, ArchiveError> {
        // Files of a backup that is not encrypted are stored as they are, whatever a record says about keys.
        if self.protection != Protection::Encrypted && !self.is_without_manifest() {
            return Ok(None);
        }
        if let Some(len) = entry.has_malformed_key() {
            return Err(ArchiveError::FileKeyLength { len });
        }
        let Some(wrapped) = &entry.encryption_key else {
            return Ok(None);
        };
        if self.is_without_manifest() {
            return Err(ArchiveError::NoKeybag);
        }
        let keys = self.keys.as_ref().ok_or(ArchiveError::Locked)?;
        Ok(Some(keys.unwrap(wrapped, Some(entry.protection_class))?))
    }

    fn is_without_manifest(&self) -> bool {
        self.notes.contains(&OpenNote::NoManifest)
    }

    /// Opens a payload as it is stored, from whichever place holds it.
    pub(crate) fn open_payload(&self, id: &FileId) -> Result<File, ArchiveError> {
        let name = id.to_string();
        let nested = self.folder.join(id.folder()).join(&name);
        let flat = self.folder.join(&name);
        let places = match self.layout {
            Layout::Current => [nested, flat],
            Layout::Flat => [flat, nested],
        };
        for place in places {
            // Asked before opening: opening a pipe would wait for ever.
            let meta = match self.options.follow_links {
                true => fs::metadata(&place),
                false => fs::symlink_metadata(&place),
            };
            match meta {
                Ok(meta) if meta.is_file() => return Ok(File::open(&place)?),
                Ok(_) => return Err(ArchiveError::IrregularPayload { file_id: *id }),
                Err(e) if is_absent(&e) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(ArchiveError::MissingPayload { file_id: *id })
    }
}

fn entry_of(row: Option<Row>) -> Option<FileEntry> {
    match row? {
        Row::Entry(entry) => Some(entry),
        Row::Skipped(_) => None,
    }
}

/// Absent, or below something that is no folder.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn damaged(file: &'static str) -> impl Fn(WireError) -> ArchiveError {
    move |source| ArchiveError::Plist { file, source }
}

/// An index file as it lies in the folder.
struct FoundIndex {
    path: PathBuf,
    layout: Layout,
    starts_as_sqlite: bool,
}

impl FoundIndex {
    /// Whether it can be listed without a key.
    const fn is_readable(&self) -> bool {
        self.starts_as_sqlite || matches!(self.layout, Layout::Flat)
    }
}

/// The index that exists decides about the layout, not a version. Empty files do not count.
fn find_index(folder: &Path) -> Result<Option<FoundIndex>, ArchiveError> {
    for (name, layout) in [("Manifest.db", Layout::Current), ("Manifest.mbdb", Layout::Flat)] {
        let path = folder.join(name);
        let start = match fs::metadata(&path) {
            Ok(meta) if meta.is_file() => first_bytes(&path)?,
            Ok(_) => continue,
            Err(e) if is_absent(&e) => continue,
            Err(e) => return Err(e.into()),
        };
        if !start.is_empty() {
            let starts_as_sqlite = layout == Layout::Current && start == SQLITE_MAGIC;
            return Ok(Some(FoundIndex {
                path,
                layout,
                starts_as_sqlite,
            }));
        }
    }
    Ok(None)
}

fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?
        .take(SQLITE_MAGIC.len() as u64)
        .read_to_end(&mut start)?;
    Ok(start)
}

/// What to say about a folder without an index.
fn without_index(folder: &Path, manifest: Option<&Manifest>) -> ArchiveError {
    if manifest.is_some_and(Manifest::is_of_old_format) || has_old_files(folder) {
        return ArchiveError::UnsupportedOldFormat;
    }
    match manifest {
        Some(manifest) => ArchiveError::NoIndex {
            encrypted: manifest.is_encrypted().unwrap_or(false),
        },
        None => ArchiveError::NotABackup {
            folder: folder.to_owned(),
        },
    }
}

/// Whether the folder holds files that iOS 3 and older left.
fn has_old_files(folder: &Path) -> bool {
    let Ok(listing) = fs::read_dir(folder) else {
        return false;
    };
    listing.flatten().any(|entry| {
        let name = PathBuf::from(entry.file_name());
        name.extension()
            .is_some_and(|end| end == "mdinfo" || end == "mddata" || end == "mdbackup")
    })
}

/// Whether the plists and the index agree about encryption (spec 9.1). Nothing is guessed where they do not.
fn protection_of(
    manifest: &Manifest,
    index: &FoundIndex,
    options: &OpenOptions,
    notes: &mut Vec<OpenNote>,
) -> Result<Protection, ArchiveError> {
    let encrypted = manifest.is_encrypted().map_err(damaged("Manifest.plist"))?;
    let has_key = manifest.manifest_key().map_err(damaged("Manifest.plist"))?.is_some();
    match (index.layout, encrypted, index.starts_as_sqlite, has_key) {
        (Layout::Flat, true, ..) => Ok(Protection::Encrypted),
        (Layout::Flat, false, ..) => Ok(Protection::Plain),
        (Layout::Current, true, true, true) => match options.already_decrypted {
            true => Ok(Protection::AlreadyDecrypted),
            false => Err(ArchiveError::AlreadyDecrypted),
        },
        // iOS 10.0 and 10.1: files are encrypted, the index is not.
        (Layout::Current, true, true, false) => Ok(Protection::Encrypted),
        (Layout::Current, true, false, true) => Ok(Protection::Encrypted),
        (Layout::Current, true, false, false) => Err(ArchiveError::NoManifestKey),
        (Layout::Current, false, false, _) => Err(ArchiveError::IndexNotSqlite),
        (Layout::Current, false, true, has_key) => {
            if has_key {
                notes.push(OpenNote::UnexpectedManifestKey);
            }
            Ok(Protection::Plain)
        }
    }
}

/// The bytes of a property list; `None` if it is missing or empty.
fn read_plist(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
    let path = folder.join(name);
    match fs::metadata(&path) {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => return Ok(None),
        Err(e) if is_absent(&e) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let mut bytes = Vec::new();
    // One byte more than the limit, so that the reader sees that it is above.
    File::open(path)?
        .take((MAX_PLIST_LEN as u64).saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok((!bytes.is_empty()).then_some(bytes))
}

/// Reads a property list that no reading depends on: its absence or damage is noted.
fn descriptive<T>(
    folder: &Path,
    name: &'static str,
    parse: impl Fn(&[u8]) -> Result<T, WireError>,
    notes: &mut Vec<OpenNote>,
) -> Result<Option<T>, ArchiveError> {
    let is_info = name == "Info.plist";
    let note = match read_plist(folder, name)? {
        Some(bytes) => match parse(&bytes) {
            Ok(read) => return Ok(Some(read)),
            Err(e) if is_info => OpenNote::DamagedInfo { reason: e.to_string() },
            Err(e) => OpenNote::DamagedStatus { reason: e.to_string() },
        },
        None if is_info => OpenNote::NoInfo,
        None => OpenNote::NoStatus,
    };
    notes.push(note);
    Ok(None)
}

/// Notes what tells that a backup was cut off.
fn note_state(folder: &Path, status: Option<&Status>, notes: &mut Vec<OpenNote>) -> Result<(), ArchiveError> {
    if let Some(status) = status.filter(|status| !status.is_finished()) {
        notes.push(OpenNote::NotFinished {
            state: status.snapshot_state().map(str::to_owned),
        });
    }
    match fs::metadata(folder.join("Snapshot")) {
        Ok(meta) if meta.is_dir() => notes.push(OpenNote::SnapshotFolder),
        Ok(_) => {}
        Err(e) if is_absent(&e) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
#[path = "open_tests.rs"]
mod tests;
