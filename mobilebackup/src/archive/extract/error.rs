//! Why a run ends, and why a file is not extracted.

use std::io;
use std::path::PathBuf;

use crate::archive::ArchiveError;

/// Why an extraction ends before its end. What it has written stays, and
/// [`ExtractOptions::resume`](super::ExtractOptions::resume) goes on from there. A bad file is no such reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The backup as a whole cannot be read: locked, or its index is unreadable from the first row on.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The target lies in the backup's folder, or the backup in the target.
    #[error("{} and the backup lie in one another; choose a folder elsewhere, nothing is ever written into a backup", target.display())]
    TargetHoldsBackup {
        /// The target.
        target: PathBuf,
    },
    /// The target holds an extraction, finished or not.
    #[error("{} already holds an extraction; go on with it (resume) or choose another folder", target.display())]
    TargetInUse {
        /// The target.
        target: PathBuf,
    },
    /// Another run works in the target.
    #[error("another run is extracting into {}", target.display())]
    Busy {
        /// The target.
        target: PathBuf,
    },
    /// The extraction in the target is of another backup or has other names, or its manifest is no manifest.
    #[error("{} does not fit: {reason}; choose another folder", target.display())]
    OtherExtraction {
        /// The target.
        target: PathBuf,
        /// What does not fit.
        reason: &'static str,
    },
    /// There is less room than the files need. [`ExtractOptions::check_space`](super::ExtractOptions::check_space)
    /// tries all the same.
    #[error("the files need {needed} bytes and the disk of {} has {free} left", target.display())]
    NotEnoughSpace {
        /// The target.
        target: PathBuf,
        /// Recorded sizes of the selected files, in bytes.
        needed: u64,
        /// Bytes this user may still write.
        free: u64,
    },
    /// The disk or the user's share of it is full.
    #[error("the disk is full; make room and resume")]
    DiskFull(#[source] io::Error),
    /// The target cannot be written at all.
    #[error("writing into the target failed")]
    Target(#[source] io::Error),
    /// The observer stopped the run.
    #[error("cancelled")]
    Cancelled,
}

impl ExtractError {
    /// What a failed write means for the run: `Err` if it ends it, otherwise it is the file's own affair.
    pub(super) fn judge(error: io::Error) -> Result<io::Error, Self> {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Err(Self::DiskFull(error)),
            io::ErrorKind::ReadOnlyFilesystem => Err(Self::Target(error)),
            _ => Ok(error),
        }
    }
}

/// Why one file is not extracted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[non_exhaustive]
pub enum Failure {
    /// The payload is not in the backup.
    #[error("the payload is missing")]
    MissingPayload,
    /// The payload is no regular file.
    #[error("the payload is not a regular file")]
    IrregularPayload,
    /// The payload was cut off; [`ExtractOptions::salvage`](super::ExtractOptions::salvage) writes what is left.
    #[error("the payload is incomplete: {stored} bytes are stored, {recorded} were recorded")]
    Incomplete {
        /// Length of the payload in bytes.
        stored: u64,
        /// `Size` of the record in bytes.
        recorded: u64,
    },
    /// The file's key is damaged or of a class that does not open.
    #[error("{message}")]
    KeyUnusable {
        /// What is wrong with it.
        message: String,
    },
    /// Reading the payload failed.
    #[error("{message}")]
    Unreadable {
        /// What the system said.
        message: String,
    },
    /// Reading failed in the middle of a member of a tar or zip, whose rest is zeros or missing.
    #[error("after {written} bytes: {message}")]
    CutShort {
        /// Bytes that are right.
        written: u64,
        /// What the system said.
        message: String,
    },
    /// Another file has the name.
    #[error("a file of that name exists and was left alone")]
    Exists,
    /// A file or a link is where a folder is needed.
    #[error("a file or a link is where a folder is needed, and was left alone")]
    InTheWay,
    /// Writing failed.
    #[error("{message}")]
    Write {
        /// What the system said.
        message: String,
    },
    /// The row of the index does not decode.
    #[error("{message}")]
    Row {
        /// What is wrong with it.
        message: String,
    },
}

impl Failure {
    /// Why a payload could not be read.
    pub(super) fn of_read(error: ArchiveError) -> Self {
        match error {
            ArchiveError::MissingPayload { .. } => Self::MissingPayload,
            ArchiveError::IrregularPayload { .. } => Self::IrregularPayload,
            ArchiveError::Incomplete { stored, recorded } => Self::Incomplete { stored, recorded },
            error @ (ArchiveError::FileKeyLength { .. } | ArchiveError::FileKey(_) | ArchiveError::NoKeybag) => {
                Self::KeyUnusable { message: chain(&error) }
            }
            error => Self::Unreadable { message: chain(&error) },
        }
    }

    /// Why a file could not be written.
    pub(super) fn of_write(error: &io::Error) -> Self {
        Self::Write {
            message: error.to_string(),
        }
    }
}

/// An error with its causes, as one text.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
