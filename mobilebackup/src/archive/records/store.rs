//! Finding the file of a backup that records are in.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::RecordError;
use super::note::{Notes, Problem, RecordNote};
use crate::archive::sqlite::{DatabaseNote, DatabaseOptions, OpenDatabase};
use crate::archive::{Archive, ArchiveError, FileEntry, FileId, Kind};

/// The file of a backup that records came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[non_exhaustive]
pub struct Source {
    /// Its domain; empty for a database that is in no backup.
    pub domain: String,
    /// Its path within the domain.
    pub path: String,
    /// Its name in the backup.
    #[serde(serialize_with = "as_text")]
    pub file_id: FileId,
}

fn as_text<S: serde::Serializer>(id: &FileId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

impl From<&FileEntry> for Source {
    fn from(entry: &FileEntry) -> Self {
        Self {
            domain: entry.domain.to_string(),
            path: entry.path.to_string(),
            file_id: entry.file_id,
        }
    }
}

impl Source {
    fn outside(path: &str) -> Self {
        Self {
            domain: String::new(),
            path: path.to_owned(),
            file_id: FileId::of("", path),
        }
    }
}

/// A database with records in it, open, and where it was found.
#[derive(Debug)]
pub struct Store {
    source: Source,
    database: Database,
}

/// Opens a store and reads it into `book`. A failure is returned and told among the problems, so that one bad store does
/// not hide the others.
pub(super) fn read_into<T>(
    archive: &Archive,
    entry: &FileEntry,
    book: &mut T,
    problems: impl Fn(&mut T) -> &mut Notes,
    read: impl FnOnce(&Connection, &mut T) -> Result<(), RecordError>,
) -> Option<RecordError> {
    let outcome = Store::open(archive, entry).and_then(|store| {
        problems(book).append(store.notes());
        read(store.connection(), book)
    });
    let error = outcome.err()?;
    let reason = super::export::with_causes(&error);
    problems(book).push(RecordNote::table("the store", Problem::Damaged { reason }));
    Some(error)
}

#[derive(Debug)]
enum Database {
    OfBackup(OpenDatabase),
    Other(Connection),
}

impl Store {
    /// Opens the first of these databases (domain, path) that the backup has; `None` if it has none of them.
    ///
    /// # Errors
    /// [`RecordError::Archive`] if the backup is locked, or the database is listed and cannot be read.
    pub fn find(archive: &Archive, places: &[(&str, &str)]) -> Result<Option<Self>, RecordError> {
        for (domain, path) in places {
            if let Some(entry) = archive.entry_at(domain, path)?.filter(|entry| entry.kind == Kind::File) {
                return Self::open(archive, &entry).map(Some);
            }
        }
        Ok(None)
    }

    /// Opens this file of the backup, with its write-ahead log or journal. Of one that was cut off, what is left; then
    /// [`Store::notes`] says so.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn open(archive: &Archive, entry: &FileEntry) -> Result<Self, RecordError> {
        let database = match archive.open_database(entry) {
            Err(ArchiveError::Incomplete { .. }) => {
                archive.open_database_with(entry, DatabaseOptions::default().salvage(true))?
            }
            opened => opened?,
        };
        Ok(Self {
            source: entry.into(),
            database: Database::OfBackup(database),
        })
    }

    /// Opens a database that is in no backup, such as one that was extracted before. It is not changed, and a log
    /// beside it is not taken in.
    ///
    /// # Errors
    /// [`RecordError::Sqlite`] if it cannot be opened.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, RecordError> {
        let path = path.as_ref();
        let uri = crate::archive::database::immutable_uri(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let mut store = Self::from_connection(Connection::open_with_flags(uri, flags)?);
        store.source = Source::outside(&path.to_string_lossy());
        Ok(store)
    }

    /// Takes a connection as it is. Whatever a stranger's schema may do to it is the caller's affair.
    #[must_use]
    pub fn from_connection(connection: Connection) -> Self {
        Self {
            source: Source::outside(""),
            database: Database::Other(connection),
        }
    }

    /// Which file it is.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// The connection, for reading only.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        match &self.database {
            Database::OfBackup(database) => database.connection(),
            Database::Other(connection) => connection,
        }
    }

    /// What of the database's log or journal is lost or was left out.
    #[must_use]
    pub fn notes(&self) -> Notes {
        let mut notes = Notes::default();
        if let Database::OfBackup(database) = &self.database {
            for note in database.notes() {
                let taken_in = matches!(
                    note,
                    DatabaseNote::LogApplied { .. } | DatabaseNote::JournalApplied { .. }
                );
                if !taken_in {
                    let note = note.clone();
                    notes.push(RecordNote::table("(database)", Problem::Companion { note }));
                }
            }
        }
        notes
    }
}
