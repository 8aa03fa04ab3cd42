//! Opening a `Manifest.db` that nobody vouches for, without a trace beside it (spec backup-format, 5.2 and 9).

pub(crate) mod by_domain;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tempfile::TempDir;

use self::by_domain::DomainCounts;
use super::ArchiveError;
use super::cipher::CbcDecryptor;
use super::entry::{FileEntry, Row, RowColumns, SkipReason, SkippedRow};
use super::file_id::FileId;
use super::layout::OpenNote;
use super::mbfile::MbFile;
use super::metadata::{ColumnKey, PasswordCheck};
use super::observe::{Observer, Phase, Progress};
use super::sqlite::{Header, Image, Journal, Overlay, Wal, WalEnd};
use super::wrap::Key;

/// What every SQLite database starts with.
pub(crate) const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Bytes copied or decrypted at once.
const CHUNK: usize = 1 << 20;

/// The longest value SQLite may hand out, in bytes.
const MAX_VALUE: i32 = 64 << 20;

/// Rows read in one go.
const BATCH_ROWS: usize = 512;

/// Bytes of records after which a batch ends early.
const BATCH_BYTES: usize = 4 << 20;

/// A damaged or hostile tree leads back to where it came from.
const OUT_OF_ORDER: ArchiveError = ArchiveError::Schema {
    reason: "its rows are not in order",
};

/// An open `Manifest.db`, plain or decrypted.
#[derive(Debug)]
pub(crate) struct Database {
    /// SQLite connections are not shared between threads; batches keep the time it is held short.
    connection: Mutex<Connection>,
    /// The private copy, if there is one that could not be unlinked at once. Dropped after the connection.
    _private: Option<TempDir>,
    /// Rows per domain, once the table was read to its end. It does not change while it is open.
    counts: OnceLock<DomainCounts>,
}

/// Where a scan of the table has come.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    /// The smallest row id that has not been seen; `None` after the largest there can be.
    next: Option<i64>,
    domain: Option<Arc<str>>,
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            next: Some(i64::MIN),
            domain: None,
        }
    }
}

impl Database {
    /// Opens a plain database where it lies. A write-ahead log or journal beside it belongs to it; then a private file
    /// gets what both say together. `notes` learns of a companion that is damaged.
    ///
    /// SQLite itself never sees the companions: taking them in means writing, and a journal may name files elsewhere
    /// that SQLite would then delete.
    pub(crate) fn open_plain(
        path: &Path,
        temp: &Path,
        notes: &mut Vec<OpenNote>,
        observer: &mut dyn Observer,
    ) -> Result<Self, ArchiveError> {
        let Some(overlay) = overlay_of(path, notes)? else {
            return Self::open_immutable(path, None);
        };
        let mut image = Image::new(File::open(path)?, Some(overlay))?.rollback_mode(true);
        let private = private_folder(temp)?;
        let copy = private.path().join("Manifest.db");
        copy_observed(&mut image, &copy, observer)?;
        Self::open_immutable(&copy, Some(private))
    }

    /// Decrypts a database into a private file that only this process can see, and opens that.
    pub(crate) fn open_encrypted(
        path: &Path,
        key: &Key,
        temp: &Path,
        observer: &mut dyn Observer,
    ) -> Result<Self, ArchiveError> {
        let private = private_folder(temp)?;
        let plain = private.path().join("Manifest.db");
        decrypt(path, &plain, key, observer)?;
        Self::open_immutable(&plain, Some(private))
    }

    fn open_immutable(path: &Path, private: Option<TempDir>) -> Result<Self, ArchiveError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        Self::checked(Connection::open_with_flags(immutable_uri(path)?, flags)?, private)
    }

    /// Makes SQLite distrust the file, and checks that `Files` is what it should be.
    fn checked(connection: Connection, private: Option<TempDir>) -> Result<Self, ArchiveError> {
        distrust(&connection)?;
        check_schema(&connection)?;
        // An unlinked file stays readable through the connection, and goes with the process however it ends.
        let private = if cfg!(unix) { None } else { private };
        Ok(Self {
            connection: Mutex::new(connection),
            _private: private,
            counts: OnceLock::new(),
        })
    }

    /// Writes everything in the database into a new one: all tables, no free pages, nothing of a write-ahead log left.
    pub(crate) fn copy_to(&self, path: &Path) -> Result<(), ArchiveError> {
        let name = path
            .to_str()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        let connection = self.connection();
        // The new database is attached while it is written.
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 1)?;
        let outcome = connection.execute("VACUUM INTO ?1", params![name]);
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        outcome?;
        Ok(())
    }

    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves no half-done work in a connection that only reads.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether records are encrypted with the password itself, as iOS 10.0 did: how it is checked then (spec 9.2).
    pub(crate) fn metadata_encryption(&self) -> Result<Option<PasswordCheck>, ArchiveError> {
        let connection = self.connection();
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'Properties' AND type = 'table'";
        if connection.query_row(tables, [], |row| row.get::<_, i64>(0))? == 0 {
            return Ok(None);
        }
        let property = |key: &str| -> Result<Option<Vec<u8>>, rusqlite::Error> {
            let mut query = connection.prepare("SELECT value FROM Properties WHERE key = ?1 LIMIT 1")?;
            let value = query.query_row([key], |row| match row.get_ref(0)? {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(Some(bytes.to_vec())),
                _ => Ok(None),
            });
            Ok(value.optional()?.flatten())
        };
        let check = property("salt")?.zip(property("passwordHash")?);
        Ok(check.map(|(salt, hash)| PasswordCheck { salt, hash }))
    }

    /// The next rows of the table, in its own order; none after the last.
    ///
    /// Row ids must rise: a damaged or hostile tree that leads back to where it came from would go on for ever.
    pub(crate) fn next_batch(&self, scan: &mut Scan, column_key: Option<&ColumnKey>) -> Result<Vec<Row>, ArchiveError> {
        let Some(first) = scan.next else { return Ok(Vec::new()) };
        let connection = self.connection();
        let mut query = connection.prepare_cached(
            "SELECT _rowid_, fileID, domain, relativePath, flags, file FROM Files \
             WHERE _rowid_ >= ?1 ORDER BY _rowid_",
        )?;
        let mut rows = query.query(params![first])?;
        let (mut batch, mut bytes) = (Vec::with_capacity(BATCH_ROWS), 0_usize);
        while let Some(row) = rows.next()? {
            let position = row.get::<_, i64>(0)?;
            if scan.next.is_none_or(|next| position < next) {
                return Err(OUT_OF_ORDER);
            }
            scan.next = position.checked_add(1);
            bytes = bytes.saturating_add(bytes_of(row, 5)?.map_or(0, <[u8]>::len));
            batch.push(decode_row(row, position.cast_unsigned(), column_key, &mut scan.domain)?);
            if batch.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
                break;
            }
        }
        Ok(batch)
    }

    /// The row with this id. One look into the index that every real `Manifest.db` has.
    pub(crate) fn find(&self, id: &FileId, column_key: Option<&ColumnKey>) -> Result<Option<Row>, ArchiveError> {
        let connection = self.connection();
        let mut query = connection.prepare_cached(
            "SELECT _rowid_, fileID, domain, relativePath, flags, file FROM Files WHERE fileID = ?1 LIMIT 1",
        )?;
        one(&mut query, params![id.to_string()], column_key)
    }

    /// The first row with this domain and path, whatever its id.
    pub(crate) fn find_path(
        &self,
        domain: &str,
        path: &str,
        column_key: Option<&ColumnKey>,
    ) -> Result<Option<Row>, ArchiveError> {
        let connection = self.connection();
        let mut query = connection.prepare_cached(
            "SELECT _rowid_, fileID, domain, relativePath, flags, file FROM Files \
             WHERE relativePath = ?2 AND domain = ?1 LIMIT 1",
        )?;
        one(&mut query, params![domain, path], column_key)
    }

    /// The record of a row as stored.
    pub(crate) fn raw_record(&self, id: &FileId) -> Result<Option<Vec<u8>>, ArchiveError> {
        let connection = self.connection();
        let mut query = connection.prepare_cached("SELECT file FROM Files WHERE fileID = ?1 LIMIT 1")?;
        let record = query.query_row([id.to_string()], |row| Ok(bytes_of(row, 0)?.map(<[u8]>::to_vec)));
        Ok(record.optional()?.flatten())
    }
}

/// Makes SQLite distrust a file: no triggers, no views, no functions in its schema, bounded values.
pub(crate) fn distrust(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "temp_store", "memory")
}

fn one(
    query: &mut rusqlite::Statement<'_>,
    params: impl rusqlite::Params,
    column_key: Option<&ColumnKey>,
) -> Result<Option<Row>, ArchiveError> {
    let mut rows = query.query(params)?;
    match rows.next()? {
        Some(row) => {
            let position = row.get::<_, i64>(0)?.cast_unsigned();
            decode_row(row, position, column_key, &mut None).map(Some)
        }
        None => Ok(None),
    }
}

/// Text or blob, as bytes; `None` for NULL and numbers.
fn bytes_of<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> Result<Option<&'a [u8]>, rusqlite::Error> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
        _ => None,
    })
}

/// Decodes one row in the column order of the queries above. What is wrong with a row is that row's affair only.
fn decode_row(
    row: &rusqlite::Row<'_>,
    position: u64,
    column_key: Option<&ColumnKey>,
    last_domain: &mut Option<Arc<str>>,
) -> Result<Row, ArchiveError> {
    let id = bytes_of(row, 1)?;
    let (domain, path) = (bytes_of(row, 2)?, bytes_of(row, 3)?);
    let flags = match row.get_ref(4)? {
        ValueRef::Integer(flags) => flags,
        _ => 0,
    };
    let record = bytes_of(row, 5)?;
    let text = |bytes: Option<&[u8]>| bytes.and_then(|bytes| str::from_utf8(bytes).ok().map(Box::from));
    let decoded = (|| {
        let domain = required(domain, "domain")?;
        let path = required(path, "relativePath")?;
        let record = record.ok_or(SkipReason::MissingColumn { column: "file" })?;
        let domain = interned(last_domain, domain);
        let columns = RowColumns {
            id,
            domain,
            path,
            flags,
        };
        match column_key {
            None => Ok(FileEntry::from_row(columns, MbFile::decode(record)?)),
            Some(key) => {
                let record = key.decrypt(record).ok_or(SkipReason::Encryption)?;
                Ok(FileEntry::from_row(columns, MbFile::decode(&record)?))
            }
        }
    })();
    Ok(match decoded {
        Ok(entry) => Row::Entry(entry),
        Err(reason) => Row::Skipped(SkippedRow {
            position,
            file_id: id.and_then(FileId::from_hex),
            domain: text(domain),
            path: text(path),
            reason,
        }),
    })
}

fn required<'a>(column: Option<&'a [u8]>, name: &'static str) -> Result<&'a str, SkipReason> {
    let bytes = column.ok_or(SkipReason::MissingColumn { column: name })?;
    str::from_utf8(bytes).map_err(|_| SkipReason::Text { column: name })
}

/// One shared copy of a domain as long as rows of the same domain follow each other, which they mostly do.
fn interned(last: &mut Option<Arc<str>>, domain: &str) -> Arc<str> {
    match last {
        Some(known) if **known == *domain => Arc::clone(known),
        _ => Arc::clone(last.insert(domain.into())),
    }
}

/// `Files` must be an ordinary table: a view or a computed column could run for ever.
fn check_schema(connection: &Connection) -> Result<(), ArchiveError> {
    let table = "SELECT type FROM sqlite_schema WHERE name = 'Files' COLLATE NOCASE LIMIT 1";
    let kind = connection
        .query_row(table, [], |row| row.get::<_, String>(0))
        .optional()?;
    if kind.as_deref() != Some("table") {
        return Err(ArchiveError::Schema {
            reason: "it has no table `Files`",
        });
    }
    let mut query = connection.prepare("SELECT name, hidden FROM pragma_table_xinfo('Files')")?;
    let columns = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let mut missing = vec!["fileID", "domain", "relativePath", "flags", "file"];
    for column in columns {
        let (name, hidden) = column?;
        if hidden != 0 {
            return Err(ArchiveError::Schema {
                reason: "`Files` has computed columns",
            });
        }
        missing.retain(|wanted| !wanted.eq_ignore_ascii_case(&name));
    }
    if !missing.is_empty() {
        return Err(ArchiveError::Schema {
            reason: "`Files` lacks a column",
        });
    }
    Ok(())
}

/// `path` + `end`, if that is a file with something in it.
fn companion(path: &Path, end: &str) -> Option<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    let found = PathBuf::from(name);
    fs::metadata(&found)
        .is_ok_and(|meta| meta.is_file() && meta.len() > 0)
        .then_some(found)
}

/// A folder for this user only.
pub(crate) fn private_folder(temp: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("cabled-");
    // Otherwise it would be open to whomever the umask lets in.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir_in(temp)
}

/// Creates a file for this user only.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Reports bytes done; an error if the job is to stop.
fn report(observer: &mut dyn Observer, done: u64, total: u64) -> Result<(), ArchiveError> {
    match observer.on_progress(&Progress::new(Phase::CopyingIndex, done, Some(total))) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ArchiveError::Cancelled),
    }
}

/// The pages that a log or journal beside the database replaces, and the file they lie in.
fn overlay_of(path: &Path, notes: &mut Vec<OpenNote>) -> Result<Option<(File, Overlay)>, ArchiveError> {
    let mut start = Vec::new();
    File::open(path)?.take(Header::LEN as u64).read_to_end(&mut start)?;
    let Some(header) = Header::parse(&start) else {
        return Ok(None);
    };
    let mut damaged = |file: &'static str, reason: String| notes.push(OpenNote::DamagedIndexLog { file, reason });
    if let Some(journal) = companion(path, "-journal") {
        let mut file = File::open(journal)?;
        match Journal::read(&mut file, header.page_size)? {
            Journal::Hot(overlay) => return Ok(Some((file, overlay))),
            Journal::OfSeveral | Journal::Finished => {}
        }
    }
    let Some(log) = companion(path, "-wal") else {
        return Ok(None);
    };
    let mut file = File::open(log)?;
    let wal = Wal::read(&mut file)?;
    if matches!(wal.end, WalEnd::Cut | WalEnd::Checksum | WalEnd::Header) {
        damaged(
            "Manifest.db-wal",
            format!("it ends in {:?} after {} sound frames", wal.end, wal.committed),
        );
    }
    match wal.overlay {
        Some(overlay) if overlay.page_size() == header.page_size => Ok(Some((file, overlay))),
        Some(_) => {
            damaged(
                "Manifest.db-wal",
                "its pages have another size than the database's".to_owned(),
            );
            Ok(None)
        }
        None => Ok(None),
    }
}

fn copy_observed(image: &mut Image<File, File>, to: &Path, observer: &mut dyn Observer) -> Result<(), ArchiveError> {
    let total = image.len();
    let mut target = create_private(to)?;
    let mut done = 0_u64;
    loop {
        report(observer, done, total)?;
        let copied = io::copy(&mut Read::by_ref(image).take(CHUNK as u64), &mut target)?;
        done = done.saturating_add(copied);
        if copied == 0 {
            return Ok(());
        }
    }
}

/// Decrypts `Manifest.db`. Apple pads it, some programs do not; anything else is damage.
fn decrypt(from: &Path, to: &Path, key: &Key, observer: &mut dyn Observer) -> Result<(), ArchiveError> {
    let source = File::open(from)?;
    let stored = source.metadata()?.len();
    let whole = stored.saturating_sub(stored % 16);
    let mut source = source.take(whole);
    let mut target = create_private(to)?;
    let mut decryptor = CbcDecryptor::new(key);
    let mut buffer = Vec::with_capacity(CHUNK);
    let (mut done, mut page_size, mut tail) = (0_u64, 0, [0; 16]);
    while done < whole {
        report(observer, done, whole)?;
        buffer.clear();
        let got = source.by_ref().take(CHUNK as u64).read_to_end(&mut buffer)?;
        if got == 0 || got % 16 != 0 {
            return Err(ArchiveError::IndexDecryption {
                reason: "it changed while it was read",
            });
        }
        decryptor.decrypt(&mut buffer);
        if done == 0 {
            page_size = page_size_of(&buffer)?;
        }
        target.write_all(&buffer)?;
        tail = buffer.last_chunk().copied().unwrap_or_default();
        done = done.saturating_add(got as u64);
    }
    let plain = if tail == [16; 16] {
        whole.saturating_sub(16)
    } else {
        whole
    };
    if plain == 0 || !plain.is_multiple_of(page_size) {
        return Err(ArchiveError::IndexDecryption {
            reason: "it is cut off",
        });
    }
    target.set_len(plain)?;
    Ok(())
}

/// The page size of a database, from its first bytes.
fn page_size_of(start: &[u8]) -> Result<u64, ArchiveError> {
    let wrong = ArchiveError::IndexDecryption {
        reason: "the result does not start as one does",
    };
    let Some((_, after)) = start
        .split_first_chunk::<16>()
        .filter(|(magic, _)| *magic == SQLITE_MAGIC)
    else {
        return Err(wrong);
    };
    match after.first_chunk().map(|size| u16::from_be_bytes(*size)) {
        Some(1) => Ok(65_536),
        Some(size) if size >= 512 && size.is_power_of_two() => Ok(size.into()),
        _ => Err(wrong),
    }
}

/// A `file:` URI that tells SQLite to touch nothing but the file itself.
pub(crate) fn immutable_uri(path: &Path) -> io::Result<String> {
    let path = std::path::absolute(path)?;
    #[cfg(unix)]
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec();
    #[cfg(not(unix))]
    let bytes = {
        let text = path.to_str().ok_or(io::ErrorKind::InvalidInput)?.replace('\\', "/");
        // `\\?\C:\x` and `C:\x` are `file:///C:/x`.
        format!("/{}", text.trim_start_matches("//?/")).into_bytes()
    };
    let mut uri = String::from("file://");
    for byte in bytes {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' | b':' => uri.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => uri.push(byte.into()),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?mode=ro&immutable=1");
    Ok(uri)
}
