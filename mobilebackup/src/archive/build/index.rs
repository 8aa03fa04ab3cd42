//! Writing `Manifest.db`, and the same table as the place where the rows of a flat index wait.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, params};
use tempfile::TempDir;

use super::BuildError;
use super::payload::{self, StoreError};
use super::staging::{Staging, create_new};
use crate::archive::database::create_private;
use crate::archive::file_id::FileId;
use crate::archive::wrap::Key;

/// The tables as iOS makes them, but for the indexes, which are faster made at the end (spec backup-format, 5.1).
const TABLES: &str = "
CREATE TABLE Files (fileID TEXT PRIMARY KEY, domain TEXT, relativePath TEXT, flags INTEGER, file BLOB);
CREATE TABLE Properties (key TEXT PRIMARY KEY, value BLOB);";

const INDEXES: &str = "
CREATE INDEX IF NOT EXISTS FilesDomainIdx ON Files(domain);
CREATE INDEX IF NOT EXISTS FilesRelativePathIdx ON Files(relativePath);
CREATE INDEX IF NOT EXISTS FilesFlagsIdx ON Files(flags);";

/// A row of the index: file id, domain, path, column `flags`, record.
pub(crate) struct NewRow<'a> {
    pub(crate) id: FileId,
    pub(crate) domain: &'a str,
    pub(crate) path: &'a str,
    /// 0 in a flat index, which has no such column.
    pub(crate) flags: i64,
    pub(crate) record: &'a [u8],
}

/// A `Manifest.db` under construction. Rows go into one transaction, and nothing is flushed before the end.
#[derive(Debug)]
pub(crate) struct IndexWriter {
    connection: Connection,
    /// The database itself, open: on Unix it has no name any more where it must not stay readable.
    file: File,
    _private: Option<TempDir>,
}

impl IndexWriter {
    /// An index that will be `Manifest.db` as it is, with `in_place`; or else one that waits in a private file.
    pub(crate) fn create(staging: &Staging, in_place: bool) -> Result<Self, BuildError> {
        let private = if in_place { None } else { Some(staging.private()?) };
        let folder = private.as_ref().map_or(staging.path(), TempDir::path);
        let path = folder.join("Manifest.db");
        Self::begin(&path, private)
    }

    /// A table at this place, to be copied from later.
    pub(crate) fn create_at(path: &Path) -> Result<Self, BuildError> {
        Self::begin(path, None)
    }

    fn begin(path: &Path, private: Option<TempDir>) -> Result<Self, BuildError> {
        drop(create_private(path)?);
        let writer = Self::open(path, private)?;
        writer
            .connection
            .execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA user_version = 2;")?;
        writer.connection.execute_batch(TABLES)?;
        writer.connection.execute_batch("BEGIN")?;
        Ok(writer)
    }

    fn open(path: &Path, private: Option<TempDir>) -> Result<Self, BuildError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        // Nobody else knows the file, and a stop leaves nothing of it: no locks, no journal on disk, no flushes.
        connection.pragma_update(None, "locking_mode", "exclusive")?;
        let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        connection.query_row("PRAGMA journal_mode = memory", [], mode)?;
        connection
            .execute_batch("PRAGMA synchronous = off; PRAGMA temp_store = memory; PRAGMA cache_size = -32768;")?;
        let file = File::options().read(true).write(true).open(path)?;
        if private.is_some() && cfg!(unix) {
            std::fs::remove_file(path)?;
        }
        Ok(Self {
            connection,
            file,
            _private: private,
        })
    }

    /// Adds a row; `false` if its id is there already.
    pub(crate) fn insert(&self, row: &NewRow<'_>) -> Result<bool, BuildError> {
        self.write("INSERT OR IGNORE INTO Files VALUES (?1, ?2, ?3, ?4, ?5)", row)
    }

    /// Adds a row in place of the one with its id.
    pub(crate) fn replace(&self, row: &NewRow<'_>) -> Result<(), BuildError> {
        self.write("INSERT OR REPLACE INTO Files VALUES (?1, ?2, ?3, ?4, ?5)", row)
            .map(drop)
    }

    fn write(&self, sql: &str, row: &NewRow<'_>) -> Result<bool, BuildError> {
        let mut query = self.connection.prepare_cached(sql)?;
        let rows = query.execute(params![row.id.to_string(), row.domain, row.path, row.flags, row.record])?;
        Ok(rows > 0)
    }

    /// Adds a row whose names need not be text.
    pub(crate) fn insert_raw(
        &self,
        id: &FileId,
        domain: &[u8],
        path: &[u8],
        record: &[u8],
    ) -> Result<bool, BuildError> {
        let sql = "INSERT OR IGNORE INTO Files VALUES (?1, ?2, ?3, 0, ?4)";
        let mut query = self.connection.prepare_cached(sql)?;
        let rows = query.execute(params![
            id.to_string(),
            text_or_blob(domain),
            text_or_blob(path),
            record
        ])?;
        Ok(rows > 0)
    }

    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Ends the writing: indexes, and the header of a database in WAL mode, as iOS leaves it.
    pub(crate) fn close(self) -> Result<ClosedIndex, BuildError> {
        self.connection.execute_batch(INDEXES)?;
        self.connection.execute_batch("COMMIT")?;
        self.connection.close().map_err(|(_, error)| error)?;
        ClosedIndex::new(self.file, self._private)
    }
}

fn text_or_blob(bytes: &[u8]) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match str::from_utf8(bytes) {
        Ok(_) => ValueRef::Text(bytes),
        Err(_) => ValueRef::Blob(bytes),
    })
}

/// A finished database.
#[derive(Debug)]
pub(crate) struct ClosedIndex {
    file: File,
    _private: Option<TempDir>,
}

impl ClosedIndex {
    /// A finished database at this place.
    pub(crate) fn open(path: &Path) -> Result<Self, BuildError> {
        Self::new(File::options().read(true).write(true).open(path)?, None)
    }

    fn new(mut file: File, private: Option<TempDir>) -> Result<Self, BuildError> {
        // Format versions for writing and reading; 2 is WAL.
        file.seek(SeekFrom::Start(18))?;
        file.write_all(&[2, 2])?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self {
            file,
            _private: private,
        })
    }

    /// Encrypts the database into `to`, padded as Apple does.
    pub(crate) fn encrypt(
        mut self,
        to: &Path,
        key: &Key,
        pulse: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), BuildError> {
        let mut target = create_new(to)?;
        let source: &mut dyn Read = &mut self.file;
        match payload::store(source, &mut target, Some(key), false, &mut Vec::new(), pulse) {
            Ok(_) => Ok(()),
            Err(StoreError::Contents(e) | StoreError::Target(e)) => Err(e.into()),
            Err(StoreError::Stopped) => Err(BuildError::Cancelled),
        }
    }
}
