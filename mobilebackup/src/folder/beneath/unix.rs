use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cabled_wire::path::RelativePath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::{EntryKind, Stat, tree_operations};

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir(OwnedFd);

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);
/// Never waits for the writer of a fifo, never takes a terminal.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

impl Dir {
    /// Opens a root, which may be reached through links: it is the user's own path.
    pub(crate) fn open_root(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Opens a directory below.
    pub(crate) fn dir(&self, path: &RelativePath) -> io::Result<Self> {
        let text = if path.is_root() { "." } else { path.as_str() };
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::ResolveFlags;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            // Without NOFOLLOW a link at the end is called one, too, and not taken for a file.
            let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
            // EAGAIN means that something else renamed a directory meanwhile.
            for _ in 0..8 {
                match rustix::fs::openat2(&self.0, text, flags, Mode::empty(), resolve) {
                    Err(rustix::io::Errno::AGAIN) => {}
                    // An old kernel, or a sandbox that does not know the call: walk by hand.
                    Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => break,
                    other => return Ok(Self(other?)),
                }
            }
        }
        let mut dir = Self(rustix::fs::openat(&self.0, ".", DIRECTORY, Mode::empty())?);
        for name in text.split('/').filter(|name| *name != ".") {
            dir = dir.open_dir(name)?;
        }
        Ok(dir)
    }

    pub(crate) fn open_dir(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::openat(&self.0, name, DIRECTORY, Mode::empty()) {
            // A link and a file look alike to this call; a device is told which it was.
            Err(rustix::io::Errno::NOTDIR) if self.stat(name)?.kind == EntryKind::Other => {
                Err(rustix::io::Errno::LOOP.into())
            }
            other => Ok(Self(other?)),
        }
    }

    pub(crate) fn open_file(&self, name: &str) -> io::Result<File> {
        let file = File::from(rustix::fs::openat(&self.0, name, READ, Mode::empty())?);
        match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(file),
            FileType::Directory => Err(io::ErrorKind::IsADirectory.into()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Fails if the name exists.
    pub(crate) fn create_file(&self, name: &str) -> io::Result<File> {
        Ok(File::from(rustix::fs::openat(
            &self.0,
            name,
            CREATE,
            Mode::from_raw_mode(0o644),
        )?))
    }

    /// Opens a file for locking, creating it.
    pub(crate) fn lock_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File::from(rustix::fs::openat(
            &self.0,
            name,
            flags,
            Mode::from_raw_mode(0o600),
        )?))
    }

    pub(crate) fn make_dir(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o755))?)
    }

    pub(crate) fn stat(&self, name: &str) -> io::Result<Stat> {
        let stat = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            _ => EntryKind::Other,
        };
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let seconds = Duration::new(stat.st_mtime.unsigned_abs(), 0);
        let modified = if stat.st_mtime < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(seconds)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(seconds.saturating_add(Duration::from_nanos(nanos.into())))
        };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Stat {
            kind,
            size,
            modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    /// Calls `f` for every name that is text; others cannot come from a device and are skipped.
    pub(crate) fn for_each_name(&self, f: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            match entry?.file_name().to_str() {
                Ok("." | "..") => {}
                Ok(name) => names.push(name.to_owned()),
                Err(_) => tracing::warn!("a name that is no text lies in the backup folder"),
            }
        }
        names.iter().try_for_each(|name| f(name))
    }

    pub(crate) fn unlink(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    pub(crate) fn remove_dir(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// Replaces a file of the new name; never follows a link of that name.
    pub(crate) fn rename(&self, name: &str, to: &Self, to_name: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, name, &to.0, to_name)?)
    }

    /// Swaps two names in one step, whatever they are; `false` if the system or the file system cannot.
    pub(crate) fn exchange(&self, name: &str, to: &Self, to_name: &str) -> io::Result<bool> {
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        {
            use rustix::fs::{RenameFlags, renameat_with};
            use rustix::io::Errno;
            match renameat_with(&self.0, name, &to.0, to_name, RenameFlags::EXCHANGE) {
                Ok(()) => Ok(true),
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::XDEV) => Ok(false),
                Err(error) => Err(error.into()),
            }
        }
        #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
        {
            let _ = (name, to, to_name);
            Ok(false)
        }
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// Flushes everything on the volume, if the system can do that and say whether it worked.
    pub(crate) fn sync_volume(&self) -> io::Result<bool> {
        #[cfg(target_os = "linux")]
        {
            rustix::fs::syncfs(&self.0)?;
            Ok(true)
        }
        #[cfg(not(target_os = "linux"))]
        Ok(false)
    }

    /// Bytes available to the running user.
    pub(crate) fn free_space(&self) -> io::Result<u64> {
        let volume = rustix::fs::fstatvfs(self.0.as_fd())?;
        let unit = if volume.f_frsize == 0 {
            volume.f_bsize
        } else {
            volume.f_frsize
        };
        Ok(volume.f_bavail.saturating_mul(unit))
    }

    tree_operations!();
}

/// What extracting a backup needs besides.
#[cfg(feature = "archive")]
impl Dir {
    /// As [`Self::create_file`], with the permissions it shall have as far as the process's mask allows.
    pub(crate) fn create_file_as(&self, name: &str, mode: u32) -> io::Result<File> {
        let mode = Mode::from_raw_mode(rustix::fs::RawMode::try_from(mode & 0o777).unwrap_or(0o600));
        Ok(File::from(rustix::fs::openat(&self.0, name, CREATE, mode)?))
    }

    /// Renames, unless the new name is there: then that is an error. Follows no link.
    pub(crate) fn rename_new(&self, name: &str, to: &Self, to_name: &str) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        {
            use rustix::fs::{RenameFlags, renameat_with};
            use rustix::io::Errno;
            match renameat_with(&self.0, name, &to.0, to_name, RenameFlags::NOREPLACE) {
                // A file system that cannot: by hand.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                other => return Ok(other?),
            }
        }
        match rustix::fs::linkat(&self.0, name, &to.0, to_name, AtFlags::empty()) {
            Ok(()) => return self.unlink(name),
            // No hard links there either, as on FAT: look first.
            Err(rustix::io::Errno::PERM | rustix::io::Errno::NOTSUP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        match to.stat(to_name) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.rename(name, to, to_name),
            Err(error) => Err(error),
        }
    }

    /// Makes a symbolic link.
    pub(crate) fn symlink(&self, target: &str, name: &str) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, name)?)
    }

    /// Sets this directory's own permissions and its time of change.
    pub(crate) fn set_mode_and_time(&self, mode: Option<u32>, modified: Option<SystemTime>) -> io::Result<()> {
        if let Some(mode) = mode.and_then(|mode| rustix::fs::RawMode::try_from(mode & 0o777).ok()) {
            rustix::fs::fchmod(&self.0, Mode::from_raw_mode(mode))?;
        }
        if let Some(modified) = modified {
            File::from(self.0.try_clone()?).set_modified(modified)?;
        }
        Ok(())
    }
}
