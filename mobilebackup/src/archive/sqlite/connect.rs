//! A connection to a database that nobody vouches for.

use std::fmt;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::{Assembled, DatabaseNote, DatabaseOptions, copy_image};
use crate::archive::ArchiveError;
use crate::archive::database::{create_private, distrust, immutable_uri, private_folder};
use crate::archive::entry::FileEntry;

/// Instructions between two looks at the limit.
const STEP: i32 = 10_000;

/// Where a database is while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Storage {
    /// Where it lies in the backup's folder.
    InPlace,
    /// In memory, decrypted and with its log taken in.
    Memory,
    /// In a private file, gone when it is closed.
    PrivateFile,
}

/// A database of a backup, open for reading. Made by [`Archive::open_database`](crate::archive::Archive::open_database).
pub struct OpenDatabase {
    connection: Connection,
    storage: Storage,
    notes: Vec<DatabaseNote>,
    work: Arc<Work>,
    /// The private copy, if it could not be unlinked at once. Dropped after the connection.
    _private: Option<TempDir>,
}

/// What a connection may still do.
#[derive(Debug)]
struct Work {
    left: AtomicU64,
    granted: u64,
}

impl OpenDatabase {
    /// The connection. Views and triggers are off, nothing can be written or attached.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Where the database is.
    #[must_use]
    pub const fn storage(&self) -> Storage {
        self.storage
    }

    /// What of its companions was taken in, left out or lost.
    #[must_use]
    pub fn notes(&self) -> &[DatabaseNote] {
        &self.notes
    }

    /// Grants the instructions of [`DatabaseOptions::work_limit`] again.
    pub fn renew(&self) {
        self.work.left.store(self.work.granted, Ordering::Relaxed);
    }

    /// Opens a plain payload where it lies; SQLite touches nothing but that file.
    pub(super) fn in_place(
        place: &Path,
        entry: &FileEntry,
        assembled: Assembled,
        options: DatabaseOptions,
    ) -> Result<Self, ArchiveError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(immutable_uri(place)?, flags).map_err(refused(entry))?;
        Self::guarded(connection, Storage::InPlace, assembled.notes, None, entry, options)
    }

    /// Opens what `assembled` says, in memory or in a private file.
    pub(super) fn of_image(
        assembled: Assembled,
        entry: &FileEntry,
        options: DatabaseOptions,
        temp: &Path,
    ) -> Result<Self, ArchiveError> {
        let Assembled { image, notes, .. } = assembled;
        let mut image = image.rollback_mode(true);
        let len = image.len();
        if len == 0 {
            let connection = Connection::open_in_memory().map_err(refused(entry))?;
            return Self::guarded(connection, Storage::Memory, notes, None, entry, options);
        }
        if len <= options.memory
            && let Ok(len) = usize::try_from(len)
        {
            image.rewind()?;
            let mut connection = Connection::open_in_memory().map_err(refused(entry))?;
            connection
                .deserialize_read_exact("main", &mut image, len, true)
                .map_err(refused(entry))?;
            return Self::guarded(connection, Storage::Memory, notes, None, entry, options);
        }
        let private = private_folder(temp)?;
        let path = private.path().join("database");
        let mut file = create_private(&path)?;
        copy_image(&mut image, &mut file)?;
        file.flush()?;
        drop(file);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(immutable_uri(&path)?, flags).map_err(refused(entry))?;
        Self::guarded(connection, Storage::PrivateFile, notes, Some(private), entry, options)
    }

    /// Makes SQLite distrust the file, and look at it.
    fn guarded(
        mut connection: Connection,
        storage: Storage,
        notes: Vec<DatabaseNote>,
        private: Option<TempDir>,
        entry: &FileEntry,
        options: DatabaseOptions,
    ) -> Result<Self, ArchiveError> {
        let work = Arc::new(Work {
            left: AtomicU64::new(options.work_limit.unwrap_or(u64::MAX)),
            granted: options.work_limit.unwrap_or(u64::MAX),
        });
        guard(&mut connection, &work, options.work_limit.is_some()).map_err(refused(entry))?;
        // An unlinked file stays readable through the connection, and goes with the process however it ends.
        let private = if cfg!(unix) { None } else { private };
        Ok(Self {
            connection,
            storage,
            notes,
            work,
            _private: private,
        })
    }
}

fn guard(connection: &mut Connection, work: &Arc<Work>, limited: bool) -> Result<(), rusqlite::Error> {
    distrust(connection)?;
    if limited {
        let work = Arc::clone(work);
        let step = u64::from(STEP.cast_unsigned());
        let used_up = move || {
            let left = work.left.load(Ordering::Relaxed);
            work.left.store(left.saturating_sub(step), Ordering::Relaxed);
            left == 0
        };
        connection.progress_handler(STEP, Some(used_up))?;
    }
    connection.pragma_update(None, "query_only", true)?;
    // What is no database at all, or whose schema is damaged, is refused here and not at the first query.
    let count = "SELECT count(*) FROM sqlite_schema";
    connection.query_row(count, [], |row| row.get::<_, i64>(0)).map(drop)
}

/// SQLite's refusal, with the database it is about.
fn refused(entry: &FileEntry) -> impl Fn(rusqlite::Error) -> ArchiveError {
    let file_id = entry.file_id;
    move |source| ArchiveError::Database { file_id, source }
}

impl fmt::Debug for OpenDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDatabase")
            .field("storage", &self.storage)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}
