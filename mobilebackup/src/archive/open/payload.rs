//! The contents of a file: where its payload lies, which key opens it, and reading it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::Archive;
use crate::archive::ArchiveError;
use crate::archive::entry::{FileEntry, Kind};
use crate::archive::file_id::FileId;
use crate::archive::layout::{Layout, Protection, is_absent};
use crate::archive::read::{PayloadNote, PayloadReader, ReadOptions};
use crate::archive::wrap::Key;

impl Archive {
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
