//! SQLite databases inside a backup, opened with their write-ahead log and without exporting them.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::Archive;
//! use cabled_mobilebackup::archive::build::{BuildOptions, Builder, Details};
//! use cabled_mobilebackup::archive::sqlite::rusqlite::Connection;
//!
//! # let root = tempfile::tempdir()?;
//! # let store = root.path().join("store");
//! # Connection::open(&store)?.execute_batch("CREATE TABLE message (text); INSERT INTO message VALUES ('hello')")?;
//! # let mut builder = Builder::create(root.path().join("backup"), BuildOptions::default())?;
//! # builder.file("HomeDomain", "Library/SMS/sms.db", std::fs::File::open(&store)?, &Details::default())?;
//! # let folder = builder.finish()?.folder;
//! let backup = Archive::open(folder)?;
//! let messages = backup.entry_at("HomeDomain", "Library/SMS/sms.db")?.expect("every phone has messages");
//! let database = backup.open_database(&messages)?;
//! let text: String = database.connection().query_row("SELECT text FROM message", [], |row| row.get(0))?;
//! assert_eq!(text, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! [`Archive::open_database`] finds the rows that belong to a database (`-wal`, `-journal`) and hands out a
//! [`rusqlite::Connection`] to what all of them together say. [`Archive::copy_database`] writes the same as one file.
//! [`Wal`] and [`Journal`] read those companions by themselves, [`Image`] lays them over the database: SQLite never sees
//! a stranger's log or journal, and nothing in the backup's folder is touched. [`pages`] reads a database without
//! SQLite, page by page, for when it is damaged.
//!
//! # Limits
//! Databases up to [`DatabaseOptions::memory`] bytes are held in memory, larger ones in a private file that nobody else
//! can see; a plain database without companions is read where it lies. Connections only read, run no trigger and no
//! view, attach nothing, and take no value above 64 MiB.

mod connect;
mod header;
mod image;
mod journal;
mod overlay;
pub mod pages;
mod wal;

use std::fs;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

pub use connect::{OpenDatabase, Storage};
pub use header::{Header, MAGIC, TextEncoding};
pub use image::Image;
pub use journal::Journal;
pub use overlay::Overlay;
pub use rusqlite;
pub use wal::{Wal, WalEnd};

use super::entry::{FileEntry, Kind};
use super::read::{PayloadReader, ReadOptions};
use super::{Archive, ArchiveError, Completeness};

/// How a database of a backup is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseOptions {
    pub(super) memory: u64,
    pub(super) salvage: bool,
    pub(super) work_limit: Option<u64>,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            salvage: false,
            work_limit: None,
        }
    }
}

impl DatabaseOptions {
    /// Up to how many bytes a database is held in memory; above, it goes into a private file. Default: 64 MiB, at most
    /// 1 GiB.
    #[must_use]
    pub const fn memory(mut self, bytes: u64) -> Self {
        self.memory = if bytes > 1 << 30 { 1 << 30 } else { bytes };
        self
    }

    /// Opens what is left of a database that was cut off. Default: off.
    #[must_use]
    pub const fn salvage(mut self, on: bool) -> Self {
        self.salvage = on;
        self
    }

    /// Interrupts a connection that has run this many instructions of SQLite's virtual machine, of which a row takes
    /// a few dozen: a hostile schema can make a short query run for ever. [`OpenDatabase::renew`] grants them again.
    /// Default: no limit.
    #[must_use]
    pub const fn work_limit(mut self, instructions: u64) -> Self {
        self.work_limit = Some(instructions);
        self
    }
}

/// Something about a database and its companions that is worth knowing and no error.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "note")]
#[non_exhaustive]
pub enum DatabaseNote {
    /// Pages of a write-ahead log were taken in.
    LogApplied {
        /// How many pages the log replaces or adds.
        pages: u64,
    },
    /// The write-ahead log ends in a transaction that never came to its end. As SQLite would, it was left out.
    LogUncommitted {
        /// Its sound frames.
        frames: u64,
    },
    /// The write-ahead log is damaged or cut off: transactions behind that place are lost.
    LogDamaged {
        /// Where it ends.
        end: WalEnd,
    },
    /// A transaction was cut off and was undone with the rollback journal.
    JournalApplied {
        /// How many pages the journal brought back.
        pages: u64,
    },
    /// The rollback journal belongs to a transaction over several databases and was left out.
    JournalOfSeveral,
    /// A companion was left out: its pages have another size than the database's.
    PageSizeDiffers {
        /// The companion's path.
        path: String,
    },
    /// A companion cannot be read: what it would have changed is lost.
    CompanionUnreadable {
        /// The companion's path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The database was cut off, and was opened for salvage.
    Incomplete,
}

/// A payload of a database with its companions.
pub(crate) type PayloadImage = Image<PayloadReader, PayloadReader>;

/// What all files of a database say together.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) image: PayloadImage,
    pub(crate) notes: Vec<DatabaseNote>,
    /// Whether the image is the payload, byte for byte.
    pub(crate) as_stored: bool,
}

/// What [`Archive::copy_database`] wrote.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CopiedDatabase {
    /// Bytes written.
    pub len: u64,
    /// What was taken in, left out or lost.
    pub notes: Vec<DatabaseNote>,
}

impl Archive {
    /// Opens a database with its `-wal` and `-journal` rows taken in, read-only. It shows the last whole transaction.
    ///
    /// What could not be taken in is told by [`OpenDatabase::notes`]. Cost: decrypting and copying the database, unless
    /// it is plain and has no companions.
    ///
    /// # Errors
    /// As [`read`](Archive::read); [`ArchiveError::NotADatabase`] if the payload does not start as one does,
    /// [`ArchiveError::Database`] if SQLite refuses it.
    pub fn open_database(&self, entry: &FileEntry) -> Result<OpenDatabase, ArchiveError> {
        self.open_database_with(entry, DatabaseOptions::default())
    }

    /// As [`open_database`](Archive::open_database), with options.
    ///
    /// # Errors
    /// As [`open_database`](Archive::open_database).
    pub fn open_database_with(
        &self,
        entry: &FileEntry,
        options: DatabaseOptions,
    ) -> Result<OpenDatabase, ArchiveError> {
        let assembled = self.assemble(entry, options)?;
        if assembled.as_stored && self.is_stored_plain(entry)? && self.payload_len(entry)? == assembled.image.len() {
            let place = self.payload_place(&entry.file_id)?;
            return OpenDatabase::in_place(&place, entry, assembled, options);
        }
        OpenDatabase::of_image(assembled, entry, options, &self.temp_dir())
    }

    /// Writes a database with its `-wal` and `-journal` rows taken in as one file: under a temporary name beside `to`,
    /// flushed, then renamed, so that `to` is never half written. A file that is there already is replaced.
    ///
    /// A database without companions is copied byte for byte.
    ///
    /// # Errors
    /// As [`open_database`](Archive::open_database); [`ArchiveError::IntoBackup`] if `to` lies in the backup's own
    /// folder, [`ArchiveError::Io`] if it cannot be written.
    pub fn copy_database(&self, entry: &FileEntry, to: &Path) -> Result<CopiedDatabase, ArchiveError> {
        self.copy_database_with(entry, to, DatabaseOptions::default())
    }

    /// As [`copy_database`](Archive::copy_database), with options.
    ///
    /// # Errors
    /// As [`copy_database`](Archive::copy_database).
    pub fn copy_database_with(
        &self,
        entry: &FileEntry,
        to: &Path,
        options: DatabaseOptions,
    ) -> Result<CopiedDatabase, ArchiveError> {
        let parent = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if fs::canonicalize(parent)?.starts_with(fs::canonicalize(self.folder())?) {
            return Err(ArchiveError::IntoBackup { path: to.to_owned() });
        }
        let Assembled { mut image, notes, .. } = self.assemble(entry, options)?;
        // For this user only, as the temporary file is.
        let mut file = tempfile::Builder::new().prefix(".cabled-").tempfile_in(parent)?;
        let len = copy_image(&mut image, file.as_file_mut())?;
        file.as_file().sync_all()?;
        file.persist(to).map_err(|failed| failed.error)?;
        Ok(CopiedDatabase { len, notes })
    }

    /// The payload of a database with whatever its companions change.
    pub(crate) fn assemble(&self, entry: &FileEntry, options: DatabaseOptions) -> Result<Assembled, ArchiveError> {
        let read = ReadOptions::default().salvage(options.salvage);
        let mut base = self.read_with(entry, read)?;
        let mut notes = Vec::new();
        if base.completeness() == Completeness::Incomplete {
            notes.push(DatabaseNote::Incomplete);
        }
        let mut start = Vec::new();
        Read::by_ref(&mut base)
            .take(Header::LEN as u64)
            .read_to_end(&mut start)?;
        base.rewind()?;
        let header = Header::parse(&start);
        // An empty file is an empty database.
        if header.is_none() && !start.is_empty() {
            return Err(ArchiveError::NotADatabase { file_id: entry.file_id });
        }
        let overlay = match header {
            Some(header) => self.overlay_of(entry, header.page_size, &mut notes)?,
            None => None,
        };
        let as_stored = overlay.is_none();
        let image = Image::new(base, overlay)?;
        Ok(Assembled {
            image,
            notes,
            as_stored,
        })
    }

    /// The pages that companions replace. A rollback journal comes first: it is there in rollback mode only, and then
    /// a log is a leftover.
    fn overlay_of(
        &self,
        entry: &FileEntry,
        page_size: u32,
        notes: &mut Vec<DatabaseNote>,
    ) -> Result<Option<(PayloadReader, Overlay)>, ArchiveError> {
        if let Some((path, mut file)) = self.companion(entry, "-journal", notes)? {
            match Journal::read(&mut file, page_size) {
                Ok(Journal::Hot(overlay)) => {
                    notes.push(DatabaseNote::JournalApplied {
                        pages: overlay.replaced() as u64,
                    });
                    return Ok(Some((file, overlay)));
                }
                Ok(Journal::OfSeveral) => notes.push(DatabaseNote::JournalOfSeveral),
                Ok(Journal::Finished) => {}
                Err(e) => notes.push(unreadable(path, &e.into())),
            }
        }
        let Some((path, mut file)) = self.companion(entry, "-wal", notes)? else {
            return Ok(None);
        };
        let wal = match Wal::read(&mut file) {
            Ok(wal) => wal,
            Err(e) => {
                notes.push(unreadable(path, &e.into()));
                return Ok(None);
            }
        };
        if wal.uncommitted > 0 {
            notes.push(DatabaseNote::LogUncommitted {
                frames: wal.uncommitted,
            });
        }
        if matches!(wal.end, WalEnd::Cut | WalEnd::Checksum | WalEnd::Header) {
            notes.push(DatabaseNote::LogDamaged { end: wal.end });
        }
        match wal.overlay {
            Some(overlay) if overlay.page_size() != page_size => {
                notes.push(DatabaseNote::PageSizeDiffers { path });
                Ok(None)
            }
            Some(overlay) => {
                notes.push(DatabaseNote::LogApplied {
                    pages: overlay.replaced() as u64,
                });
                Ok(Some((file, overlay)))
            }
            None => Ok(None),
        }
    }

    /// A companion of a database with something in it. One that cannot be read is noted: its own checksums say what
    /// of a cut one counts.
    fn companion(
        &self,
        entry: &FileEntry,
        end: &str,
        notes: &mut Vec<DatabaseNote>,
    ) -> Result<Option<(String, PayloadReader)>, ArchiveError> {
        let path = format!("{}{end}", entry.path);
        let Some(companion) = self.entry_at(&entry.domain, &path)? else {
            return Ok(None);
        };
        if companion.kind != Kind::File {
            return Ok(None);
        }
        match self.read_with(&companion, ReadOptions::default().salvage(true)) {
            Ok(file) if file.len() == 0 && companion.size == 0 => Ok(None),
            Ok(file) => Ok(Some((path, file))),
            Err(e) => {
                notes.push(unreadable(path, &e));
                Ok(None)
            }
        }
    }

    /// Whether a payload is what the file was, byte for byte.
    fn is_stored_plain(&self, entry: &FileEntry) -> Result<bool, ArchiveError> {
        Ok(self.file_key(entry)?.is_none())
    }

    fn payload_len(&self, entry: &FileEntry) -> Result<u64, ArchiveError> {
        match self.open_payload(&entry.file_id) {
            Ok(file) => Ok(file.metadata()?.len()),
            // A missing payload of an empty file.
            Err(ArchiveError::MissingPayload { .. }) => Ok(u64::MAX),
            Err(e) => Err(e),
        }
    }
}

fn unreadable(path: String, error: &ArchiveError) -> DatabaseNote {
    DatabaseNote::CompanionUnreadable {
        path,
        reason: error.to_string(),
    }
}

/// Writes all of an image.
pub(crate) fn copy_image<B: Read + Seek, O: Read + Seek>(
    image: &mut Image<B, O>,
    to: &mut impl Write,
) -> io::Result<u64> {
    image.rewind()?;
    let expected = image.len();
    let (mut buffer, mut done) = (vec![0; 256 << 10], 0_u64);
    loop {
        let got = match image.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        to.write_all(buffer.get(..got).unwrap_or_default())?;
        done = done.saturating_add(got as u64);
    }
    match done == expected {
        true => Ok(done),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
pub(crate) mod tests;
