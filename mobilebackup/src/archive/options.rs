//! How a backup is opened.

use std::path::{Path, PathBuf};

use super::ArchiveError;
use super::keybag::RoundLimits;
use super::open::Archive;

/// How a backup is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    pub(super) already_decrypted: bool,
    pub(super) without_manifest: bool,
    pub(super) follow_links: bool,
    pub(super) temp_dir: Option<PathBuf>,
    pub(super) round_limits: RoundLimits,
}

impl OpenOptions {
    /// Opens a folder that another program has decrypted and left its plists as they were: files are handed out as
    /// stored. Default: off, which refuses with [`ArchiveError::AlreadyDecrypted`].
    #[must_use]
    pub const fn already_decrypted(mut self, on: bool) -> Self {
        self.already_decrypted = on;
        self
    }

    /// Opens a backup whose `Manifest.plist` is lost, if its index is readable: entries are listed, and files that are
    /// not encrypted can be read. Default: off, which refuses with [`ArchiveError::NoManifest`].
    #[must_use]
    pub const fn without_manifest(mut self, on: bool) -> Self {
        self.without_manifest = on;
        self
    }

    /// Follows payloads that are symbolic links. Default: off, since a link in a stranger's backup may lead to any
    /// file of this machine. The backup folder itself may always be a link.
    #[must_use]
    pub const fn follow_links(mut self, on: bool) -> Self {
        self.follow_links = on;
        self
    }

    /// Where private copies of the index go: a decrypted `Manifest.db`, or one with a write-ahead log. They are
    /// readable by this user only and removed at once (on Windows, when the archive is dropped). Default: the
    /// system's folder for temporary files.
    #[must_use]
    pub fn temp_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.temp_dir = Some(folder.into());
        self
    }

    /// The most rounds that unlocking may take. Default: [`RoundLimits::default`].
    #[must_use]
    pub const fn round_limits(mut self, limits: RoundLimits) -> Self {
        self.round_limits = limits;
        self
    }

    /// Opens the backup in `folder`.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open(self, folder: impl AsRef<Path>) -> Result<Archive, ArchiveError> {
        Archive::open_with(folder.as_ref(), self)
    }
}
