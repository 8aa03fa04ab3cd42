//! What can go wrong when records are read or exported.

use std::io;
use std::path::PathBuf;

use crate::archive::ArchiveError;

/// Why the records of a category cannot be read or exported.
///
/// A single bad row, value or table is none of these: it becomes a [`RecordNote`](super::RecordNote).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The backup is locked, its index is damaged, or the store's payload is missing or incomplete.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// SQLite cannot read the store at all.
    #[error("the database is damaged")]
    Sqlite(#[from] rusqlite::Error),
    /// The store has none of the tables that such a store has.
    #[error("the database has no table `{table}`: it is no store of {records}, or one of an unknown iOS version")]
    Schema {
        /// What was looked for, such as `messages`.
        records: &'static str,
        /// The table without which nothing can be read.
        table: &'static str,
    },
    /// The backup lists more stores of one kind than a phone has, one per account or profile. Nothing is left out unsaid.
    #[error("the backup lists more than {limit} databases of this kind; it is damaged or made up")]
    TooManyStores {
        /// How many are read at most.
        limit: usize,
    },
    /// The folder for the export has something in it.
    #[error("{} is not empty; choose a new folder for the export", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no reader for the records of that name.
    #[error("`{name}` is nothing that can be exported")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The observer stopped the job.
    #[error("cancelled")]
    Cancelled,
    /// The export cannot be written.
    #[error("writing the export failed")]
    Io(#[from] io::Error),
    /// A record cannot be written as JSON. Not expected: every record type of this module can.
    #[error("a record cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}
