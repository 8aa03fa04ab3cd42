//! A backup folder, opened for reading.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::ArchiveError;
use super::database::Database;
use super::entry::{FileEntry, Kind, Row};
use super::file_id::FileId;
use super::index::{Entries, FlatIndex, Index, Rows};
use super::keybag::{ClassKeys, Keybag};
use super::layout::{self, FoundIndex, Layout, OpenNote, Protection, damaged, is_absent};
use super::metadata::{ColumnKey, PasswordCheck};
use super::observe::{Observer, Silent};
use super::options::OpenOptions;
use super::plists::{Info, Manifest, Status};
use super::read::{PayloadNote, PayloadReader, ReadOptions};
use super::wrap::Key;

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

    /// Opens the class keys and nothing else. Returns the derived key.
    pub(crate) fn unlock_keys(&mut self, key: &Key) -> Result<(), ArchiveError> {
        let keybag = self.keybag.as_ref().ok_or(ArchiveError::NoKeybag)?;
        self.keys = Some(keybag.unwrap(key)?);
        Ok(())
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
        self.open_with_class_keys(keys, new_column_key, observer)
    }

    /// Unlocks a backup with class keys that another keybag gave: those of the backup that it was made from.
    pub(crate) fn open_with_class_keys(
        &mut self,
        keys: ClassKeys,
        new_column_key: Option<ColumnKey>,
        observer: &mut dyn Observer,
    ) -> Result<(), ArchiveError> {
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

    /// Opens the contents of a file, decrypted if need be, readable from any place in it.
    ///
    /// # Errors
    /// [`ArchiveError::NotAFile`], [`Locked`](ArchiveError::Locked),
    /// [`MissingPayload`](ArchiveError::MissingPayload), [`IrregularPayload`](ArchiveError::IrregularPayload),
    /// [`FileKeyLength`](ArchiveError::FileKeyLength), [`FileKey`](ArchiveError::FileKey),
    /// [`UnexpectedKey`](ArchiveError::UnexpectedKey), [`Incomplete`](ArchiveError::Incomplete),
    /// [`Io`](ArchiveError::Io).
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
            None => PayloadReader::stored(file, entry.size, self.note_of_stored(entry, options)?),
        }
    }

    /// What there is to say of a file that is handed out as stored. A key in a backup that is not encrypted means that
    /// one of the two is damaged, and that the payload may be ciphertext.
    pub(crate) fn note_of_stored(
        &self,
        entry: &FileEntry,
        options: ReadOptions,
    ) -> Result<Option<PayloadNote>, ArchiveError> {
        match (self.protection, entry.encryption_key) {
            (Protection::Encrypted, _) => Ok(Some(PayloadNote::NoKey)),
            (Protection::Plain, Some(_)) if options.is_salvage() => Ok(Some(PayloadNote::UnexpectedKey)),
            (Protection::Plain, Some(_)) => Err(ArchiveError::UnexpectedKey { file_id: entry.file_id }),
            (Protection::Plain, None) | (Protection::AlreadyDecrypted, _) => Ok(None),
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

    /// Opens a regular file; `None` if it is something else. Never waits for the writer of a pipe.
    #[cfg(unix)]
    fn open_stored(&self, place: &Path) -> io::Result<Option<File>> {
        use std::os::unix::fs::OpenOptionsExt;

        use rustix::fs::OFlags;

        let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        flags.set(OFlags::NOFOLLOW, !self.options.follow_links);
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = match fs::OpenOptions::new().read(true).custom_flags(flags).open(place) {
            // What this call says of a link where none may be.
            Err(e)
                if !self.options.follow_links && e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) =>
            {
                return Ok(None);
            }
            // What it says of a socket, or of a device that is not there.
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => return Ok(None),
            other => other?,
        };
        Ok(file.metadata()?.is_file().then_some(file))
    }

    /// Opens a regular file; `None` if it is something else.
    #[cfg(not(unix))]
    fn open_stored(&self, place: &Path) -> io::Result<Option<File>> {
        let meta = match self.options.follow_links {
            true => fs::metadata(place),
            false => fs::symlink_metadata(place),
        };
        if meta?.is_file() {
            File::open(place).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(crate) fn is_without_manifest(&self) -> bool {
        self.notes.contains(&OpenNote::NoManifest)
    }

    /// Opens a payload as it is stored, from whichever place holds it.
    pub(crate) fn open_payload(&self, id: &FileId) -> Result<File, ArchiveError> {
        self.find_payload(id, |place| self.open_stored(place))
    }

    /// Where a payload lies.
    pub(crate) fn payload_place(&self, id: &FileId) -> Result<PathBuf, ArchiveError> {
        self.find_payload(id, |place| {
            let meta = match self.options.follow_links {
                true => fs::metadata(place),
                false => fs::symlink_metadata(place),
            };
            Ok(meta?.is_file().then(|| place.to_owned()))
        })
    }

    /// What `probe` finds in the first of the two places that has something: `None` if that is no regular file.
    fn find_payload<T>(&self, id: &FileId, probe: impl Fn(&Path) -> io::Result<Option<T>>) -> Result<T, ArchiveError> {
        let name = id.to_string();
        let nested = self.folder.join(id.folder()).join(&name);
        let flat = self.folder.join(&name);
        let places = match self.layout {
            Layout::Current => [nested, flat],
            Layout::Flat => [flat, nested],
        };
        for place in places {
            match probe(&place) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => return Err(ArchiveError::IrregularPayload { file_id: *id }),
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

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
#[path = "open_tests.rs"]
mod tests;
