//! The plain iTunes/Finder folder: `<root>/<UDID>/`, one per device, and what we keep beside it.
//!
//! ```text
//! <root>/<UDID>/                   what the device wrote; other tools open it
//! <root>/.cabled/<UDID>/tmp/       files being received: they take their names only when they are whole
//! <root>/.cabled/<UDID>/Status.plist   the last `finished` one, to roll back to
//! <root>/.cabled/<UDID>/aside/     what another tool left that would have made every run fail
//! <root>/.cabled/<UDID>/lock       held for the length of a run
//! ```
//! No path the device can name reaches `.cabled`.

mod run;
mod state;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cabled_wire::path::RelativePath;

pub use self::state::{Recovery, SnapshotState};
use super::beneath::Dir;
use super::{BackupFolder, FolderError, Opener, Scope};

/// Our own folder inside the backup root.
const PRIVATE: &str = ".cabled";

/// How much is flushed to the disk before the device is told that something is done (spec 17).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing; the system writes when it likes. After a power cut the backup can be damaged.
    None,
    /// Status and manifests, their directories, and everything at the end. A run that power cuts off may have to be
    /// repeated from the start.
    Metadata,
    /// Also the payload before the first move, and every move before it is acknowledged.
    #[default]
    Full,
}

/// The backups of devices in one folder, in the layout of iTunes and Finder.
///
/// ```
/// use cabled_mobilebackup::folder::plain::PlainFolder;
/// use cabled_mobilebackup::folder::{Access, BackupFolder, Purpose, Scope};
///
/// let root = tempfile::tempdir()?;
/// let udid = "00008030-001A2B3C4D5E6F70";
/// let folder = PlainFolder::new(root.path());
/// let scope = Scope::new(udid, udid, Purpose::Backup)?;
/// let mut run = folder.open(&scope)?;
/// let mut upload = run.upload(&scope.admit(&format!("{udid}/Snapshot/ab/cd"), Access::Write)?)?;
/// upload.write(b"hello")?;
/// upload.finish()?;
/// assert_eq!(std::fs::read(root.path().join(udid).join("Snapshot/ab/cd"))?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PlainFolder {
    root: PathBuf,
    durability: Durability,
}

impl PlainFolder {
    /// Backups below `root`, which is created when the first run opens it.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            durability: Durability::default(),
        }
    }

    /// Sets what is flushed when (default [`Durability::Full`]).
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The backup root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of one device.
    #[must_use]
    pub fn device_path(&self, udid: &str) -> PathBuf {
        self.root.join(udid)
    }

    /// What the last run left behind for `udid`, and whether it can be undone. Blocks.
    ///
    /// # Errors
    /// What the file system says; [`FolderError::Busy`] while a run has the folder.
    pub fn recovery(&self, udid: &str) -> Result<Recovery, FolderError> {
        let run = run::PlainRun::open(self, &Scope::new(udid, udid, super::Purpose::Other)?)?;
        run.recovery()
    }

    /// Undoes a run that failed while it was uploading: removes `Snapshot/` and puts the last `finished` Status.plist
    /// back. The backup is then what it was before that run (spec 9.3). Blocks.
    ///
    /// Returns false, and changes nothing, when there is nothing that can be rolled back.
    ///
    /// # Errors
    /// What the file system says; [`FolderError::Busy`] while a run has the folder.
    pub fn roll_back(&self, udid: &str) -> Result<bool, FolderError> {
        let mut run = run::PlainRun::open(self, &Scope::new(udid, udid, super::Purpose::Other)?)?;
        run.roll_back()
    }

    fn open_root(&self) -> Result<Dir, FolderError> {
        let shown = self.root.display().to_string();
        std::fs::create_dir_all(&self.root).map_err(FolderError::io("create", &shown))?;
        Dir::open_root(&self.root).map_err(FolderError::io("open", shown))
    }
}

impl BackupFolder for PlainFolder {
    fn opener(&self, scope: &Scope) -> Opener {
        let (folder, scope) = (self.clone(), scope.clone());
        Box::new(move || {
            let mut run = run::PlainRun::open(&folder, &scope)?;
            if scope.purpose() == super::Purpose::Backup {
                run.prepare_backup()?;
            }
            Ok(Box::new(run))
        })
    }
}

/// What a run and its uploads share.
#[derive(Debug)]
struct Shared {
    root: Dir,
    /// `.cabled/<UDID>/tmp`.
    temporary: Dir,
    durability: Durability,
}

type SharedDirs = Arc<Shared>;

/// Is this one of the files that say what a backup is? They are flushed one by one.
fn is_metadata(path: &RelativePath) -> bool {
    path.file_name()
        .is_some_and(|name| matches!(name, "Status.plist" | "Info.plist") || name.starts_with("Manifest."))
}
