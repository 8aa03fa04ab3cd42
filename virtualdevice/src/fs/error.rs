//! What can go wrong in the phone's file tree.

use std::io;

/// Why the phone's file system refused an operation.
///
/// The variants are the ones a service can tell its peer: AFC has a status code for each, mobilebackup2 an errno.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FsError {
    /// The entry, its domain or one of its parents does not exist.
    #[error("there is no such file, directory or domain")]
    NotFound,
    /// A parent of the path is a file or a link, or a directory was needed.
    #[error("a part of the path is not a directory")]
    NotADirectory,
    /// A file was needed and the path is a directory.
    #[error("the path is a directory")]
    IsADirectory,
    /// A directory that still has children was to be removed or replaced.
    #[error("the directory is not empty; remove its children first")]
    NotEmpty,
    /// The target of a link or a new directory exists as something else.
    #[error("the path already exists")]
    Exists,
    /// The change would need more bytes than [`Fs::free_bytes`](super::Fs::free_bytes).
    #[error("the phone's storage is full")]
    NoSpace,
    /// A name over 255 bytes, a path over 1024, an empty component, `.`, `..`, NUL, or a directory moved into itself.
    #[error("the path or the operation is not valid on this file system")]
    Invalid,
    /// The host's disk failed under a large file that was spooled to it.
    #[error("the spool folder of the virtual phone failed")]
    Io(#[from] io::Error),
}
