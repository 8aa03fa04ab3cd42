//! Why a backup could not be changed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::archive::build::BuildError;
use crate::archive::entry::Kind;
use crate::archive::file_id::FileId;
use crate::archive::{ArchiveError, Protection};

/// Why there is no changed backup. Whatever it is, the original is untouched and nothing is left where the new one was
/// to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The original cannot be opened or read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The new backup cannot be written.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The original was cut off, or is being written now: nothing may be built on it.
    #[error("the backup is not finished; complete it with the device before changing it")]
    Incomplete,
    /// The original lies inside the new folder, or the new one inside the original.
    #[error("{} would be inside the backup that is to be changed", folder.display())]
    Inside {
        /// The new folder.
        folder: PathBuf,
    },
    /// Another program decrypted the folder and left its plists as they were.
    #[error(
        "the backup was decrypted by another program and its property lists still say encrypted; it cannot be changed"
    )]
    AlreadyDecrypted,
    /// `Manifest.plist` is missing, so the keys are unknown.
    #[error("the backup has no Manifest.plist; it cannot be changed")]
    NoManifest,
    /// A backup of iOS 10.0, whose index is encrypted in a way of its own.
    #[error("backups of iOS 10.0 cannot be changed")]
    MetadataEncryption,
    /// A password can only be set where there is none, and changed or removed where there is one.
    #[error("{}", match protection {
        Protection::Encrypted => "the backup has a password already; change it instead",
        _ => "the backup has no password; set one instead",
    })]
    Password {
        /// What the backup is.
        protection: Protection,
    },
    /// A password of no characters is that of backups that are not encrypted.
    #[error("the new password is empty; remove the password instead")]
    EmptyPassword,
    /// There is something else than a file at the path.
    #[error("{domain} has a {kind:?} at `{path}`, not a file")]
    NotAFile {
        /// The domain.
        domain: String,
        /// The path.
        path: String,
        /// What is there.
        kind: Kind,
    },
    /// There is nothing at the path.
    #[error("{domain} has nothing at `{path}`")]
    NoSuchEntry {
        /// The domain.
        domain: String,
        /// The path.
        path: String,
    },
    /// The keybag has no usable key of a class that is needed.
    #[error("the keybag has no usable key of class {class}")]
    NoSuchClass {
        /// The class.
        class: u32,
    },
    /// A record cannot be changed, for it does not decode.
    #[error("the record of {file_id} is damaged and cannot be changed")]
    Record {
        /// The file.
        file_id: FileId,
    },
    /// Two rows of a flat index name the same file.
    #[error("the index names {file_id} twice")]
    DuplicateId {
        /// The file.
        file_id: FileId,
    },
    /// A file of the original cannot be read. With [`ChangeOptions::salvage`](super::ChangeOptions::salvage) it is left
    /// without contents, or with what is left of them, and reported.
    #[error("{domain}, `{path}` cannot be read from the backup")]
    Payload {
        /// The domain.
        domain: String,
        /// The path.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<ArchiveError>,
    },
    /// The new backup has damage that the original does not have; it was removed again.
    #[error("the new backup does not check out ({}); it was removed again", list(damage))]
    Verification {
        /// Names and numbers of what is damaged in the new backup and not in the original.
        damage: BTreeMap<&'static str, u64>,
    },
    /// The observer stopped the job.
    #[error("cancelled")]
    Cancelled,
}

fn list(damage: &BTreeMap<&'static str, u64>) -> String {
    let parts: Vec<_> = damage.iter().map(|(name, count)| format!("{name}: {count}")).collect();
    parts.join(", ")
}

impl From<io::Error> for ChangeError {
    fn from(error: io::Error) -> Self {
        Self::Build(BuildError::Io(error))
    }
}

impl From<rusqlite::Error> for ChangeError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Build(BuildError::Index(error))
    }
}

impl From<getrandom::Error> for ChangeError {
    fn from(error: getrandom::Error) -> Self {
        Self::Build(BuildError::Random(error))
    }
}
