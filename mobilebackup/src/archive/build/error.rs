//! Why a backup could not be made.

use std::io;
use std::path::PathBuf;

use crate::archive::ArchiveError;

/// Why a backup could not be made. Whatever it is, nothing is left where the backup was to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is something at the place of the new backup already.
    #[error("{} exists already; a backup is only ever made in a new folder", folder.display())]
    Exists {
        /// The place.
        folder: PathBuf,
    },
    /// The path is in the backup already.
    #[error("{domain} has an entry `{path}` already")]
    Duplicate {
        /// Its domain.
        domain: String,
        /// Its path.
        path: String,
    },
    /// The index cannot say this number: times before 1970 make other readers fail, and `Manifest.mbdb` has 32 bits.
    #[error("`{field}` cannot be {value} in a backup")]
    Range {
        /// What was to be written.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// Only the classes 1 to 4 protect files.
    #[error("files have protection class 1 to 4, not {class}")]
    ProtectionClass {
        /// The class.
        class: u32,
    },
    /// A name or value that the index has no room for.
    #[error("`{field}` is {len} bytes long; the index has room for {max}")]
    TooLong {
        /// What was to be written.
        field: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The most there is room for.
        max: usize,
    },
    /// What was to become the contents of a file could not be read. The file is left out; the builder goes on.
    #[error("the contents of `{path}` could not be read")]
    Contents {
        /// The path inside the backup.
        path: String,
        /// What the source said.
        #[source]
        source: io::Error,
    },
    /// The system has no random numbers, so there can be no keys.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// SQLite could not write the index.
    #[error("the index could not be written")]
    Index(#[from] rusqlite::Error),
    /// A password derives with at least one round, of either stage.
    #[error("a keybag needs at least one round of each stage")]
    Rounds,
    /// What was just written does not read back as it should.
    #[error("what was written does not read back")]
    ReadBack(#[source] Box<ArchiveError>),
    /// The observer stopped the job.
    #[error("cancelled")]
    Cancelled,
    /// The disk is full, failed, or may not be written.
    #[error("writing the backup failed")]
    Io(#[from] io::Error),
}
