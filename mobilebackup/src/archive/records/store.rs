//! Finding the file of a backup that records are in.

use rusqlite::Connection;

use super::RecordError;
use crate::archive::{Archive, FileEntry, FileId, Kind};

/// The file of a backup that records came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[non_exhaustive]
pub struct Source {
    /// Its domain.
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

/// A database of a backup, open, and where it was found.
#[derive(Debug)]
pub struct Store {
    source: Source,
    connection: Connection,
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

    /// Opens this file of the backup.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn open(archive: &Archive, entry: &FileEntry) -> Result<Self, RecordError> {
        let mut reader = archive.read(entry)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut bytes)?;
        let mut connection = Connection::open_in_memory()?;
        let len = bytes.len();
        connection.deserialize_read_exact("main", &*bytes, len, true)?;
        Ok(Self {
            source: entry.into(),
            connection,
        })
    }

    /// Which file it is.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// The connection, for reading only.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }
}
