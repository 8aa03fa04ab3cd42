//! Finds backups on this machine and says what they are, without opening them (spec backup-format, 18).
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::find;
//!
//! # let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic");
//! for backup in find::backups_in(root)? {
//!     let state = if backup.is_usable() { "can be opened" } else { "is damaged" };
//!     println!("{} of {:?} {state}", backup.folder.display(), backup.device_name);
//! }
//! # assert_eq!(find::backups_in(root)?.len(), 3);
//! # Ok::<(), find::FindError>(())
//! ```
//! # How it fits
//! [`backups`] looks into every folder that Apple's programs use on this system, [`backups_in`] into one, and
//! [`describe`] at one backup. Each [`FoundBackup`] says what the three property lists tell without a password; its
//! folder goes to [`Archive::open`](super::Archive::open). [`FoundBackup::size_on_disk`] walks all of its files and is
//! for that reason asked for apart.
//!
//! # Limits
//! The index is never opened: a backup that looks sound may be damaged inside. Of each folder three property lists are
//! read, 256 MiB each at most, one folder at a time. Copies in other programs' own formats are no backups and not
//! listed: of iMazing's folders only its backups are, and of this library's own `.cabled` nothing.

mod found;
mod name;
mod roots;
mod size;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use found::{FoundBackup, describe};
pub use name::{ArchivedAt, FolderName};
pub use roots::{Environment, System};
pub use size::Size;

/// Why a folder cannot be searched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The folder is not there.
    #[error("{} does not exist", folder.display())]
    Absent {
        /// The folder.
        folder: PathBuf,
    },
    /// It is a file, or something else that holds none.
    #[error("{} is not a folder", folder.display())]
    NotAFolder {
        /// The path.
        folder: PathBuf,
    },
    /// macOS shows backups only to programs that the user has allowed it for.
    #[error(
        "macOS does not let this program see {}; turn on Full Disk Access for it (or for the terminal it runs in) under \
         System Settings, Privacy & Security",
        folder.display()
    )]
    NeedsFullDiskAccess {
        /// The folder.
        folder: PathBuf,
    },
    /// The rights of the folder do not let this user read it.
    #[error("this user may not read {}", folder.display())]
    Denied {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Anything else that the system says.
    #[error("{} cannot be read", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl FindError {
    /// `Operation not permitted`; plain missing rights are another number.
    const EPERM: i32 = 1;

    fn new(folder: &Path, source: io::Error, system: System) -> Self {
        let folder = folder.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Absent { folder },
            io::ErrorKind::NotADirectory => Self::NotAFolder { folder },
            _ if system == System::MacOs && source.raw_os_error() == Some(Self::EPERM) => {
                Self::NeedsFullDiskAccess { folder }
            }
            io::ErrorKind::PermissionDenied => Self::Denied { folder, source },
            _ => Self::Io { folder, source },
        }
    }
}

/// What was found on a machine.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// The folders that were searched, as far as they exist.
    pub roots: Vec<PathBuf>,
    /// The backups in them, root by root, newest first.
    pub backups: Vec<FoundBackup>,
    /// The folders that exist and could not be searched.
    pub refused: Vec<FindError>,
}

/// The backups in every place that Apple's programs use on this system, for the user this program runs as. On systems
/// for which Apple makes no such program there are no such places.
///
/// What cannot be read does not stop the search: [`Found::refused`] names it.
#[must_use]
pub fn backups() -> Found {
    backups_of(&Environment::of_this_process())
}

/// As [`backups`], for another user or another system's disk.
#[must_use]
pub fn backups_of(environment: &Environment) -> Found {
    let mut found = Found::default();
    let mut seen = Vec::new();
    for root in environment.roots() {
        // Windows XP's place is a link to the newer one on later systems.
        let real = fs::canonicalize(&root).unwrap_or_else(|_| root.clone());
        if seen.contains(&real) {
            continue;
        }
        seen.push(real);
        match search(&root, environment.system()) {
            Ok(backups) => {
                found.roots.push(root);
                found.backups.extend(backups);
            }
            Err(FindError::Absent { .. } | FindError::NotAFolder { .. }) => {}
            Err(refused) => found.refused.push(refused),
        }
    }
    found
}

/// The backups in one folder, newest first: each sub-folder that has a `Manifest.plist` or an index, broken ones
/// included, and each that is named by a UDID and holds what a first backup that was cut off leaves. The folder itself
/// may be a link or a junction. `iMazing.Backups`, which that program makes on other drives, is looked into as well.
///
/// # Errors
/// [`FindError`], if the folder itself cannot be listed. A backup that cannot be read is listed and says so.
pub fn backups_in(root: impl AsRef<Path>) -> Result<Vec<FoundBackup>, FindError> {
    search(root.as_ref(), System::of_this_process())
}

fn search(root: &Path, system: System) -> Result<Vec<FoundBackup>, FindError> {
    let mut backups = Vec::new();
    for folder in sub_folders(root).map_err(|e| FindError::new(root, e, system))? {
        match folder.file_name().and_then(|name| name.to_str()) {
            // Versions of iMazing are not backups; the newest of each device lies beside them.
            Some(".cabled" | "iMazing.Versions") => {}
            Some("iMazing.Backups") => match sub_folders(&folder) {
                Ok(inner) => backups.extend(inner.iter().filter_map(|folder| found::describe_any(folder))),
                Err(e) => return Err(FindError::new(&folder, e, system)),
            },
            _ => backups.extend(found::describe_any(&folder)),
        }
    }
    backups.sort_by(|a, b| b.last_backup.cmp(&a.last_backup).then_with(|| a.folder.cmp(&b.folder)));
    Ok(backups)
}

/// The folders in a folder, links to folders among them.
fn sub_folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        // A link that leads nowhere is none.
        if fs::metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            folders.push(path);
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests;
