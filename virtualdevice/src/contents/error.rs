//! What can go wrong while a phone is filled or changed.

use crate::fs::FsError;

/// Why contents could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentsError {
    /// The phone's file system refused; [`FsError::NoSpace`] if the recipe is larger than the phone.
    #[error("the contents do not fit the phone's file system")]
    Fs(#[from] FsError),
    /// SQLite refused: when changing a phone, a database that a peer has replaced by something else.
    #[error("a database of the phone could not be made or changed")]
    Sqlite(#[from] rusqlite::Error),
    /// A changed file could not be read back from the spool folder, or is too large for what it should be.
    #[error("a file of the phone could not be read back")]
    Read(#[from] std::io::Error),
}
