//! A private copy of a backup's index, to be changed and written.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tempfile::TempDir;

use super::ChangeError;
use crate::archive::build::flat;
use crate::archive::build::index::{ClosedIndex, IndexWriter, NewRow};
use crate::archive::build::staging::Staging;
use crate::archive::database::{self, create_private};
use crate::archive::entry::{FileEntry, RowColumns};
use crate::archive::file_id::FileId;
use crate::archive::index::Index;
use crate::archive::layout::Layout;
use crate::archive::mbdb::MbdbReader;
use crate::archive::mbfile::MbFile;
use crate::archive::observe::{Observer, Phase};
use crate::archive::wrap::Key;
use crate::archive::{Archive, ArchiveError};

/// Rows read in one go.
const BATCH: usize = 512;

/// A private copy of the index. Rows that nobody understands are in it too, and stay.
#[derive(Debug)]
pub(super) struct WorkIndex {
    connection: Connection,
    layout: Layout,
    private: TempDir,
}

/// A row of the copy.
pub(super) struct WorkRow {
    pub(super) row_id: i64,
    /// `None` for a row that makes no sense.
    pub(super) entry: Option<FileEntry>,
    /// The record as stored.
    pub(super) record: Vec<u8>,
}

impl WorkIndex {
    pub(super) fn of(archive: &Archive, staging: &Staging, observer: &mut dyn Observer) -> Result<Self, ChangeError> {
        let private = staging.private()?;
        let path = private.path().join("work.db");
        match archive.index()? {
            Index::Database { database, .. } => database.copy_to(&path)?,
            Index::Flat(_) => copy_flat(&archive.folder().join("Manifest.mbdb"), &path, observer)?,
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        // Nobody else knows the file, and a stop leaves nothing of it: no locks, no journal, no flushes.
        connection.pragma_update(None, "locking_mode", "exclusive")?;
        let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        connection.query_row("PRAGMA journal_mode = off", [], mode)?;
        connection.execute_batch("PRAGMA synchronous = off; PRAGMA cache_size = -32768;")?;
        database::distrust(&connection)?;
        connection.execute_batch("BEGIN")?;
        if cfg!(unix) {
            fs::remove_file(&path)?;
        }
        Ok(Self {
            connection,
            layout: archive.layout(),
            private,
        })
    }

    /// The next rows behind a row id, in their own order; none after the last.
    pub(super) fn batch(&self, after: i64) -> Result<Vec<WorkRow>, ChangeError> {
        let mut query = self.connection.prepare_cached(
            "SELECT _rowid_, fileID, domain, relativePath, flags, file FROM Files WHERE _rowid_ > ?1 \
             ORDER BY _rowid_ LIMIT ?2",
        )?;
        let rows = query.query_map(params![after, BATCH as i64], |row| self.row(row))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The row with an id.
    pub(super) fn find(&self, id: &FileId) -> Result<Option<WorkRow>, ChangeError> {
        let mut query = self.connection.prepare_cached(
            "SELECT _rowid_, fileID, domain, relativePath, flags, file FROM Files WHERE fileID = ?1 LIMIT 1",
        )?;
        Ok(query.query_row([id.to_string()], |row| self.row(row)).optional()?)
    }

    fn row(&self, row: &rusqlite::Row<'_>) -> Result<WorkRow, rusqlite::Error> {
        let bytes = |column: usize| -> Result<Option<&[u8]>, rusqlite::Error> {
            Ok(match row.get_ref(column)? {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
                _ => None,
            })
        };
        let (id, domain, path, record) = (bytes(1)?, bytes(2)?, bytes(3)?, bytes(5)?);
        let flags = match row.get_ref(4)? {
            ValueRef::Integer(flags) => flags,
            _ => 0,
        };
        let decoded = || {
            let record = record?;
            if self.layout == Layout::Flat {
                return FileEntry::from_mbdb(flat::read(record)?).ok();
            }
            let columns = RowColumns {
                id,
                domain: str::from_utf8(domain?).ok()?.into(),
                path: str::from_utf8(path?).ok()?,
                flags,
            };
            Some(FileEntry::from_row(columns, MbFile::decode(record).ok()?))
        };
        Ok(WorkRow {
            row_id: row.get(0)?,
            entry: decoded(),
            record: record.unwrap_or_default().to_vec(),
        })
    }

    /// Adds a row; `false` if its id is there already.
    pub(super) fn insert(&self, row: &NewRow<'_>) -> Result<bool, ChangeError> {
        let mut query = self.connection.prepare_cached(
            "INSERT INTO Files (fileID, domain, relativePath, flags, file) SELECT ?1, ?2, ?3, ?4, ?5 \
             WHERE NOT EXISTS (SELECT 1 FROM Files WHERE fileID = ?1)",
        )?;
        let rows = query.execute(params![row.id.to_string(), row.domain, row.path, row.flags, row.record])?;
        Ok(rows > 0)
    }

    /// Gives a row another record.
    pub(super) fn update(&self, row_id: i64, record: &[u8]) -> Result<(), ChangeError> {
        let mut query = self
            .connection
            .prepare_cached("UPDATE Files SET file = ?2 WHERE _rowid_ = ?1")?;
        query.execute(params![row_id, record])?;
        Ok(())
    }

    pub(super) fn delete(&self, row_id: i64) -> Result<(), ChangeError> {
        let mut query = self.connection.prepare_cached("DELETE FROM Files WHERE _rowid_ = ?1")?;
        query.execute([row_id])?;
        Ok(())
    }

    /// The rows at a path, whatever their id.
    pub(super) fn exactly(&self, domain: &str, path: &str) -> Result<Vec<WorkRow>, ChangeError> {
        let mut query = self.connection.prepare_cached(
            "SELECT _rowid_, fileID, domain, relativePath, flags, file FROM Files \
             WHERE relativePath = ?2 AND domain = ?1 LIMIT 2",
        )?;
        let rows = query.query_map(params![domain, path], |row| self.row(row))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Everything below a path, and the path itself; an empty one is the whole domain.
    pub(super) fn below(&self, domain: &str, path: &str) -> Result<Vec<WorkRow>, ChangeError> {
        let mut query = self.connection.prepare_cached(
            "SELECT _rowid_, fileID, domain, relativePath, flags, file FROM Files WHERE domain = ?1 AND \
             (?2 = '' OR relativePath = ?2 OR (relativePath > ?3 AND relativePath < ?4)) ORDER BY _rowid_",
        )?;
        // `0` comes after `/`.
        let (from, to) = (format!("{path}/"), format!("{path}0"));
        let rows = query.query_map(params![domain, path, from, to], |row| self.row(row))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Writes the index of the new backup: a copy with no trace of what was removed, encrypted if there is a key.
    pub(super) fn write(
        self,
        staging: &Staging,
        key: Option<&Key>,
        older: bool,
        pulse: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ChangeError> {
        self.connection.execute_batch("COMMIT")?;
        if self.layout == Layout::Flat {
            flat::write(&self.connection, flat::Order::AsAdded, staging.path(), older)?;
            return Ok(());
        }
        let target = staging.path().join("Manifest.db");
        let plain = match key {
            Some(_) => self.private.path().join("Manifest.db"),
            None => target.clone(),
        };
        self.copy_to(&plain)?;
        let closed = ClosedIndex::open(&plain)?;
        if let Some(key) = key {
            if cfg!(unix) {
                fs::remove_file(&plain)?;
            }
            closed.encrypt(&target, key, pulse)?;
        }
        Ok(())
    }

    fn copy_to(&self, path: &Path) -> Result<(), ChangeError> {
        use rusqlite::limits::Limit;

        let name = path
            .to_str()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        // SQLite takes an empty file for a new database.
        drop(create_private(path)?);
        // The new database is attached while it is written.
        self.connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 1)?;
        self.connection.execute("VACUUM INTO ?1", params![name])?;
        Ok(())
    }
}

/// Puts the records of a flat index, byte for byte, into a table.
fn copy_flat(index: &Path, to: &Path, observer: &mut dyn Observer) -> Result<(), ChangeError> {
    let damaged = |e| ChangeError::Archive(ArchiveError::Mbdb(e));
    let mut reader = MbdbReader::new(BufReader::with_capacity(64 << 10, File::open(index)?)).map_err(damaged)?;
    let mut bytes = BufReader::with_capacity(64 << 10, File::open(index)?);
    io::copy(&mut bytes.by_ref().take(6), &mut io::sink())?;
    let table = IndexWriter::create_at(to)?;
    let mut done = 0_u64;
    let mut record = reader.next_record().map_err(damaged)?;
    while let Some((start, current)) = record {
        let next = reader.next_record().map_err(damaged)?;
        let len = next.as_ref().map_or(u64::MAX, |(end, _)| end.saturating_sub(start));
        let mut raw = Vec::new();
        bytes.by_ref().take(len).read_to_end(&mut raw)?;
        let id = FileId::of_bytes(&current.domain, &current.path);
        if !table.insert_raw(&id, &current.domain, &current.path, &raw)? {
            return Err(ChangeError::DuplicateId { file_id: id });
        }
        done = done.saturating_add(1);
        if done.is_multiple_of(BATCH as u64) {
            super::work::tell(observer, Phase::ReadingIndex, done, None, 0)?;
        }
        record = next;
    }
    table.close().map_err(ChangeError::from).map(drop)
}
