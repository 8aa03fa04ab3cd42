//! A folder that gets its name when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::archive::file_id::FileId;
use crate::archive::layout::Layout;

/// What the temporary folder's name starts with: hidden, and no name that a device's backup has.
pub(crate) const PREFIX: &str = ".cabled-unfinished-";

/// A new backup under construction, beside the place it will have. Dropped before [`commit`](Staging::commit), it
/// removes itself.
#[derive(Debug)]
pub(crate) struct Staging {
    folder: TempDir,
    target: PathBuf,
    layout: Layout,
    /// Which of the folders `00` to `ff` are there.
    made: Vec<bool>,
}

/// Why there can be no new folder.
#[derive(Debug)]
pub(crate) enum StagingError {
    Exists(PathBuf),
    Io(io::Error),
}

impl From<io::Error> for StagingError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Staging {
    /// Makes a temporary folder, for this user only, beside `target`, which must not be there yet.
    pub(crate) fn create(target: &Path, layout: Layout) -> Result<Self, StagingError> {
        let target = std::path::absolute(target)?;
        refuse_existing(&target)?;
        let parent = target.parent().unwrap_or(&target);
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        Ok(Self {
            folder: builder.tempdir_in(parent)?,
            target,
            layout,
            made: vec![false; 256],
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the backup will be.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where a payload belongs; its folder is made if need be.
    pub(crate) fn payload_path(&mut self, id: &FileId) -> io::Result<PathBuf> {
        let name = id.to_string();
        if self.layout == Layout::Flat {
            return Ok(self.path().join(name));
        }
        let folder = self.path().join(id.folder());
        let [first, ..] = *id.as_bytes();
        if let Some(made) = self.made.get_mut(usize::from(first)).filter(|made| !**made) {
            match fs::create_dir(&folder) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => *made = true,
            }
        }
        Ok(folder.join(name))
    }

    /// Writes a small file of the backup.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        create_new(&self.path().join(name))?.write_all(bytes)
    }

    /// A private folder inside, for what must not stay.
    pub(crate) fn private(&self) -> io::Result<TempDir> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".private-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        builder.tempdir_in(self.path())
    }

    /// Flushes everything to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync(self.path())
    }

    /// Gives the folder its name. Everything in it was flushed before, and what has that name already stays.
    pub(crate) fn commit(self) -> Result<PathBuf, StagingError> {
        refuse_existing(&self.target)?;
        rename_to_nothing(self.folder.path(), &self.target)?;
        // The folder is elsewhere now: nothing to remove.
        let _ = self.folder.keep();
        sync_parent(&self.target)?;
        Ok(self.target)
    }
}

fn refuse_existing(target: &Path) -> Result<(), StagingError> {
    match fs::symlink_metadata(target) {
        Ok(_) => Err(StagingError::Exists(target.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Creates a file that is not there yet.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// A rename never replaces a folder with something in it; where the system can refuse empty ones too, it is asked to.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_to_nothing(from: &Path, to: &Path) -> Result<(), StagingError> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;

    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(StagingError::Exists(to.to_owned())),
        // File systems that do not know the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(fs::rename(from, to)?),
        Err(e) => Err(io::Error::from(e).into()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_to_nothing(from: &Path, to: &Path) -> Result<(), StagingError> {
    Ok(fs::rename(from, to)?)
}

/// One flush of the whole file system: a hundred thousand files each on their own would take minutes.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn sync(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync(&entry.path())?;
        } else {
            // Windows flushes only what may be written to.
            OpenOptions::new()
                .read(true)
                .write(cfg!(windows))
                .open(entry.path())?
                .sync_all()?;
        }
    }
    sync_folder(folder)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn sync_parent(target: &Path) -> io::Result<()> {
    target.parent().map_or(Ok(()), sync_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_given_up_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("backup");
        let mut staging = Staging::create(&target, Layout::Current).unwrap();
        let path = staging.payload_path(&FileId::of("a", "b")).unwrap();
        fs::write(path, b"x").unwrap();
        drop(staging);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_takes_the_name_meanwhile_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("backup");
        let staging = Staging::create(&target, Layout::Current).unwrap();
        fs::create_dir(&target).unwrap();
        assert!(matches!(
            rename_to_nothing(staging.path(), &target),
            Err(StagingError::Exists(_)) | Ok(())
        ));
        assert!(matches!(staging.commit(), Err(StagingError::Exists(_))));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        assert!(matches!(
            Staging::create(&target, Layout::Flat),
            Err(StagingError::Exists(_))
        ));
    }
}
