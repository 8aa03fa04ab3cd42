//! `Manifest.db`: written row by row into a temporary file, read the same way (spec backup-format 5).

use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::{FileId, FormatError};

/// The `flags` column.
pub(crate) const FILE: i64 = 1;
pub(crate) const DIRECTORY: i64 = 2;
pub(crate) const SYMLINK: i64 = 4;

/// Most rows taken from a host's database: five times the largest backup met.
const MAX_ROWS: u64 = 8_000_000;

const SCHEMA: &str = "
    CREATE TABLE Files (fileID TEXT PRIMARY KEY, domain TEXT, relativePath TEXT, flags INTEGER, file BLOB);
    CREATE TABLE Properties (key TEXT PRIMARY KEY, value BLOB);";

const INDEXES: &str = "
    CREATE INDEX FilesDomainIdx ON Files(domain);
    CREATE INDEX FilesRelativePathIdx ON Files(relativePath);
    CREATE INDEX FilesFlagsIdx ON Files(flags);";

/// A manifest being written. Memory stays at the page cache's 16 MiB whatever the number of rows.
#[derive(Debug)]
pub(crate) struct Writer {
    db: Connection,
    path: PathBuf,
}

impl Writer {
    /// Starts an empty database at `path`, which must not exist or be empty.
    pub(crate) fn create(path: &Path) -> Result<Self, FormatError> {
        let db = Connection::open(path)?;
        // The file is private and thrown away after a crash, so nothing is journalled or flushed while it grows.
        db.execute_batch(
            "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = OFF;
             PRAGMA synchronous = OFF; PRAGMA cache_size = -16384; PRAGMA locking_mode = EXCLUSIVE;",
        )?;
        db.execute_batch(SCHEMA)?;
        db.execute_batch("PRAGMA user_version = 2; BEGIN;")?;
        Ok(Self {
            db,
            path: path.to_owned(),
        })
    }

    pub(crate) fn insert(
        &self,
        id: FileId,
        domain: &str,
        path: &str,
        flags: i64,
        file: &[u8],
    ) -> Result<(), FormatError> {
        let mut insert = self
            .db
            .prepare_cached("INSERT INTO Files VALUES (?1, ?2, ?3, ?4, ?5)")?;
        insert.execute((id.to_string(), domain, path, flags, file))?;
        Ok(())
    }

    /// Adds the indexes and leaves the file with a WAL header, as a device does.
    pub(crate) fn finish(self) -> Result<PathBuf, FormatError> {
        self.db.execute_batch("COMMIT;")?;
        self.db.execute_batch(INDEXES)?;
        self.db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        self.db.close().map_err(|(_, error)| error)?;
        Ok(self.path)
    }
}

/// One row as stored.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) rowid: i64,
    pub(crate) id: FileId,
    pub(crate) domain: &'a str,
    pub(crate) path: &'a str,
    pub(crate) flags: i64,
    pub(crate) file: &'a [u8],
}

/// A manifest from a host.
#[derive(Debug)]
pub(crate) struct Reader {
    db: Connection,
}

impl Reader {
    /// Opens a private copy without writing anything beside it.
    pub(crate) fn open(path: &Path) -> Result<Self, FormatError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(uri(path), flags)?;
        db.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA cache_size = -8192;")?;
        // A view or a virtual table of that name would run whatever its maker liked.
        let sql: String = db
            .query_row(
                "SELECT sql FROM sqlite_schema WHERE name = 'Files' AND type = 'table'",
                [],
                |row| row.get(0),
            )
            .map_err(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => FormatError::Database("there is no table Files"),
                other => FormatError::Sqlite(other),
            })?;
        if !sql.trim_start().to_ascii_uppercase().starts_with("CREATE TABLE") {
            return Err(FormatError::Database("Files is no plain table"));
        }
        Ok(Self { db })
    }

    /// Hands every row to `each`. Rows with a null or an id that is none are passed over, as iOS 10 wrote some.
    pub(crate) fn rows(&self, mut each: impl FnMut(Row<'_>) -> Result<(), FormatError>) -> Result<(), FormatError> {
        let sql = "SELECT rowid, fileID, domain, relativePath, flags, CASE WHEN length(file) <= 8388608 THEN file END FROM Files";
        let mut select = self.db.prepare(sql)?;
        let mut rows = select.query([])?;
        let mut count = 0_u64;
        while let Some(row) = rows.next()? {
            count = count.saturating_add(1);
            if count > MAX_ROWS {
                return Err(FormatError::Database("it has more rows than any backup"));
            }
            let (ValueRef::Text(id), ValueRef::Text(domain), ValueRef::Text(path), ValueRef::Blob(file)) =
                (row.get_ref(1)?, row.get_ref(2)?, row.get_ref(3)?, row.get_ref(5)?)
            else {
                continue;
            };
            let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| FormatError::Database("a text is not UTF-8"));
            let Some(id) = FileId::parse(utf8(id)?) else { continue };
            let (domain, path) = (utf8(domain)?, utf8(path)?);
            each(Row {
                rowid: row.get(0)?,
                id,
                domain,
                path,
                flags: row.get(4)?,
                file,
            })?;
        }
        Ok(())
    }

    /// Domain and path of one row.
    pub(crate) fn place(&self, rowid: i64) -> Result<(String, String), FormatError> {
        let mut select = self
            .db
            .prepare_cached("SELECT domain, relativePath FROM Files WHERE rowid = ?1")?;
        Ok(select.query_row([rowid], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }

    /// The `file` column of one row.
    pub(crate) fn file(&self, rowid: i64) -> Result<Vec<u8>, FormatError> {
        let mut select = self
            .db
            .prepare_cached("SELECT file FROM Files WHERE rowid = ?1 AND length(file) <= 8388608")?;
        Ok(select.query_row([rowid], |row| row.get(0))?)
    }
}

/// `immutable` keeps SQLite from wanting a `-shm` file for the WAL header.
fn uri(path: &Path) -> String {
    let mut out = String::from("file:");
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => out.push(char::from(byte)),
            // A drive's backslashes are slashes in a URI.
            b'\\' => out.push('/'),
            other => out.push_str(&format!("%{other:02x}")),
        }
    }
    out.push_str("?immutable=1");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, count: u32) {
        let writer = Writer::create(path).unwrap();
        for n in 0..count {
            let name = format!("Documents/a long enough name for a file {n:06}.bin");
            writer
                .insert(FileId::of("AppDomain-x", &name), "AppDomain-x", &name, FILE, &[7; 450])
                .unwrap();
        }
        assert_eq!(writer.finish().unwrap(), path);
    }

    #[test]
    fn the_header_is_that_of_a_device() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Manifest.db");
        write(&path, 100);
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"SQLite format 3\0"));
        assert_eq!(
            bytes[16..24],
            [0x10, 0, 2, 2, 0, 64, 32, 32],
            "page size, WAL versions, no reserved bytes"
        );
        assert_eq!(bytes.len() % 4096, 0);
        assert_eq!(bytes[60..64], 2_u32.to_be_bytes(), "user_version");
        assert_eq!(bytes[64..68], 1_u32.to_be_bytes(), "incremental vacuum");
        assert_eq!(bytes[56..60], 1_u32.to_be_bytes(), "UTF-8");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no journal is left");
        let db = Connection::open(&path).unwrap();
        let count = |kind: &str| -> u32 {
            let sql = format!("SELECT count(*) FROM sqlite_schema WHERE type = '{kind}' AND sql IS NOT NULL");
            db.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!((count("table"), count("index")), (2, 3));
    }

    #[test]
    fn rows_come_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("odd name #?%.db");
        write(&path, 1000);
        let reader = Reader::open(&path).unwrap();
        let mut seen = 0;
        let mut last = 0;
        reader
            .rows(|row| {
                assert_eq!(row.id, FileId::of(row.domain, row.path));
                assert_eq!((row.flags, row.file.len()), (FILE, 450));
                seen += 1;
                last = row.rowid;
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, 1000);
        assert_eq!(reader.file(last).unwrap(), vec![7; 450]);
    }

    #[test]
    fn a_view_in_place_of_the_table_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch("CREATE VIEW Files AS SELECT 1 AS fileID").unwrap();
        drop(db);
        assert!(matches!(Reader::open(&path), Err(FormatError::Database(_))));
        std::fs::write(&path, vec![1; 5000]).unwrap();
        assert!(matches!(Reader::open(&path), Err(FormatError::Sqlite(_))));
    }

    #[test]
    fn rows_with_nulls_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        write(&path, 3);
        let db = Connection::open(&path).unwrap();
        db.execute("INSERT INTO Files VALUES ('00', NULL, NULL, 16, NULL)", [])
            .unwrap();
        db.execute("UPDATE Files SET file = NULL WHERE rowid = 2", []).unwrap();
        drop(db);
        let mut seen = 0;
        Reader::open(&path)
            .unwrap()
            .rows(|_| {
                seen += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, 2);
    }
}
