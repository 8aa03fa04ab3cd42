//! Where a backup lives: what a device may ask of the host's storage, one method per request.
//!
//! [`BackupFolder`] is the seam: the exchange with a device knows nothing of files. [`plain::PlainFolder`] is the
//! iTunes/Finder folder on disk; a store with generations would be another implementation. Paths reach an
//! implementation only as [`ScopedPath`], which [`Scope::admit`] alone makes, so that no implementation can forget the
//! rules of spec section 8.

pub(crate) mod beneath;
mod error;
pub mod plain;
mod scope;

use std::io;
use std::time::SystemTime;

pub use error::{FolderError, FolderErrorKind};
pub use scope::{Access, Purpose, Scope, ScopedPath};

/// What [`BackupFolder::opener`] gives: opens the folder on whatever thread it is called.
pub type Opener = Box<dyn FnOnce() -> Result<Box<dyn FolderRun>, FolderError> + Send>;

/// A place that holds the backups of devices, one folder each.
pub trait BackupFolder: Send + Sync {
    /// Prepares to open the folder for one exchange with a device. Does not block; the [`Opener`] does.
    ///
    /// Once it is open, nothing else may change the device's folder until the [`FolderRun`] is dropped. Opening fails
    /// with [`FolderErrorKind::Busy`] when another run has it.
    fn opener(&self, scope: &Scope) -> Opener;

    /// Opens the folder at once. Blocks.
    ///
    /// # Errors
    /// [`FolderErrorKind::Busy`] when another run has the folder; otherwise what the storage says.
    fn open(&self, scope: &Scope) -> Result<Box<dyn FolderRun>, FolderError> {
        self.opener(scope)()
    }
}

/// One exchange's view of the storage; its unit is the device's request. Used by one thread, and free to block.
///
/// Whatever is not finished when it is dropped, by a crash or on purpose, must leave the last finished backup as it
/// was or resumable (spec 9.3).
pub trait FolderRun: Send {
    /// Lists a directory, complete, with exact sizes, zero-length files included. Spec 4.5.
    ///
    /// # Errors
    /// [`FolderErrorKind::NotFound`] when there is no such directory.
    fn list(&mut self, dir: &ScopedPath) -> Result<Vec<Listed>, FolderError>;

    /// Creates a directory and its parents; an existing one is fine. Spec 4.6.
    ///
    /// # Errors
    /// [`FolderErrorKind::Exists`] when a file has the name.
    fn create_dir(&mut self, dir: &ScopedPath) -> Result<(), FolderError>;

    /// Renames, making parents; an existing destination, file or tree, is replaced. Spec 4.7.
    ///
    /// # Errors
    /// [`FolderErrorKind::NotFound`] when the source is missing.
    fn rename(&mut self, from: &ScopedPath, to: &ScopedPath) -> Result<(), FolderError>;

    /// Removes a file or a whole directory; a missing one is fine. Spec 4.8.
    ///
    /// # Errors
    /// What the storage says.
    fn remove(&mut self, path: &ScopedPath) -> Result<(), FolderError>;

    /// Copies a file with its times, or a tree, merging into an existing directory. Spec 4.9.
    ///
    /// # Errors
    /// [`FolderErrorKind::Refused`] when the destination lies inside the source.
    fn copy(&mut self, from: &ScopedPath, to: &ScopedPath) -> Result<(), FolderError>;

    /// Opens a file to be written; it takes its name only with [`Upload::finish`].
    ///
    /// # Errors
    /// What the storage says.
    fn upload(&mut self, path: &ScopedPath) -> Result<Box<dyn Upload>, FolderError>;

    /// Opens a file to be read.
    ///
    /// # Errors
    /// [`FolderErrorKind::NotFound`] and others; the kind travels to the device.
    fn download(&mut self, path: &ScopedPath) -> Result<Box<dyn Download>, FolderError>;

    /// Bytes that the running user could still store beside the device's folder.
    ///
    /// # Errors
    /// What the storage says.
    fn free_space(&mut self) -> Result<u64, FolderError>;

    /// Makes durable what must be, before the device is told that a request is done. Spec 17.
    ///
    /// # Errors
    /// What the storage says.
    fn commit(&mut self, point: CommitPoint) -> Result<(), FolderError>;
}

/// The moments at which a store may have to flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitPoint {
    /// A batch of uploads is stored and about to be acknowledged.
    Uploaded,
    /// The first move of a run is about to begin: the payload must not be lost once `moving` is the state.
    BeforeMoves,
    /// Moves, copies, removals or new directories are done and about to be acknowledged.
    Arranged,
    /// The device reported success: all must be durable before success is claimed.
    Finished,
}

/// A file that is being written.
pub trait Upload: Send {
    /// Appends.
    ///
    /// # Errors
    /// What the storage says; the file is unusable then.
    fn write(&mut self, data: &[u8]) -> Result<(), FolderError>;

    /// Gives the file its name, replacing an older file. Without this call nothing stays.
    ///
    /// # Errors
    /// What the storage says; an older file is still there then.
    fn finish(self: Box<Self>) -> Result<(), FolderError>;
}

/// A file that is being read; its length is only what it was when it was opened.
pub trait Download: io::Read + Send {}

impl<T: io::Read + Send> Download for T {}

/// What an entry of a listing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else, symbolic links included.
    Other,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Name without any path.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes.
    pub size: u64,
    /// Time of last change.
    pub modified: SystemTime,
}
