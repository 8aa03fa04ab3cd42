use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cabled_wire::path::RelativePath;

use super::{EntryKind, Stat, tree_operations};

/// A directory by its path, whose components below the root were seen to be directories and no links.
#[derive(Debug)]
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn open_root(path: &Path) -> io::Result<Self> {
        // Canonical, so that `..` and links of the user's own path are settled once.
        let path = fs::canonicalize(path)?;
        if fs::metadata(&path)?.is_dir() {
            Ok(Self(path))
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    pub(crate) fn dir(&self, path: &RelativePath) -> io::Result<Self> {
        path.components()
            .try_fold(Self(self.0.clone()), |dir, name| dir.open_dir(name))
    }

    pub(crate) fn open_dir(&self, name: &str) -> io::Result<Self> {
        match self.stat(name)?.kind {
            EntryKind::Directory => Ok(Self(self.0.join(name))),
            EntryKind::File => Err(io::ErrorKind::NotADirectory.into()),
            EntryKind::Other => Err(link()),
        }
    }

    pub(crate) fn open_file(&self, name: &str) -> io::Result<File> {
        match self.stat(name)?.kind {
            EntryKind::File => OpenOptions::new().read(true).open(self.0.join(name)),
            EntryKind::Directory => Err(io::ErrorKind::IsADirectory.into()),
            EntryKind::Other => Err(link()),
        }
    }

    pub(crate) fn create_file(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(self.0.join(name))
    }

    pub(crate) fn lock_file(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.0.join(name))
    }

    pub(crate) fn make_dir(&self, name: &str) -> io::Result<()> {
        fs::create_dir(self.0.join(name))
    }

    pub(crate) fn stat(&self, name: &str) -> io::Result<Stat> {
        let meta = fs::symlink_metadata(self.0.join(name))?;
        let kind = match meta.file_type() {
            kind if kind.is_dir() => EntryKind::Directory,
            kind if kind.is_file() => EntryKind::File,
            _ => EntryKind::Other,
        };
        Ok(Stat {
            kind,
            size: meta.len(),
            modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    pub(crate) fn for_each_name(&self, f: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let names: Vec<_> = fs::read_dir(&self.0)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<_, _>>()?;
        for name in names {
            match name.to_str() {
                Some(name) => f(name)?,
                None => tracing::warn!("a name that is no text lies in the backup folder"),
            }
        }
        Ok(())
    }

    pub(crate) fn unlink(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    pub(crate) fn remove_dir(&self, name: &str) -> io::Result<()> {
        fs::remove_dir(self.0.join(name))
    }

    /// Replaces a file of the new name: the standard library asks Windows for just that.
    pub(crate) fn rename(&self, name: &str, to: &Self, to_name: &str) -> io::Result<()> {
        fs::rename(self.0.join(name), to.0.join(to_name))
    }

    /// Swapping two names in one step is not to be had here.
    pub(crate) fn exchange(&self, _name: &str, _to: &Self, _to_name: &str) -> io::Result<bool> {
        Ok(false)
    }

    /// Windows has no call for a directory; its file systems log renames in order.
    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(unix)]
        OpenOptions::new().read(true).open(&self.0)?.sync_all()?;
        Ok(())
    }

    pub(crate) fn sync_volume(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Bytes available to the running user.
    pub(crate) fn free_space(&self) -> io::Result<u64> {
        #[cfg(unix)]
        return super::unix::Dir::open_root(&self.0)?.free_space();
        #[cfg(not(unix))]
        fs4::available_space(&self.0)
    }

    tree_operations!();
}

/// What extracting a backup needs besides.
#[cfg(feature = "archive")]
impl Dir {
    /// As [`Self::create_file`]: permissions as Unix has them mean nothing here.
    pub(crate) fn create_file_as(&self, name: &str, _mode: u32) -> io::Result<File> {
        self.create_file(name)
    }

    /// Renames, unless the new name is there: then that is an error.
    pub(crate) fn rename_new(&self, name: &str, to: &Self, to_name: &str) -> io::Result<()> {
        match to.stat(to_name) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.rename(name, to, to_name),
            Err(error) => Err(error),
        }
    }

    /// Links need rights here that few users have.
    pub(crate) fn symlink(&self, _target: &str, _name: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sets this directory's own time of change.
    pub(crate) fn set_mode_and_time(&self, _mode: Option<u32>, modified: Option<SystemTime>) -> io::Result<()> {
        match modified {
            Some(modified) => filetime::set_file_mtime(&self.0, modified.into()),
            None => Ok(()),
        }
    }
}

/// The error that a link in the way gives on Unix; elsewhere the closest word there is.
fn link() -> io::Error {
    #[cfg(unix)]
    return rustix::io::Errno::LOOP.into();
    #[cfg(not(unix))]
    io::Error::from(io::ErrorKind::PermissionDenied)
}
