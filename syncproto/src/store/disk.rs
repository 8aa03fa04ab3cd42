//! A folder and what is done in it. The only part of the store that knows systems apart.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StoreError;

/// A folder. Every change of it passes through here, so that tests can cut the power between any two.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    #[cfg(test)]
    pub(super) power: super::folder::tests::Power,
}

impl Disk {
    /// The folder, made if need be, for its owner only.
    pub(super) fn new(folder: &Path) -> Result<Self, StoreError> {
        let disk = Self {
            folder: folder.to_owned(),
            #[cfg(test)]
            power: super::folder::tests::Power::default(),
        };
        disk.make_folder(folder)?;
        Ok(disk)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn make_folder(&self, path: &Path) -> Result<(), StoreError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|error| io_error(path, "made", error))
    }

    /// A folder in it.
    pub(super) fn make_subfolder(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.path(name);
        if !path.is_dir() {
            self.step(&path, "made", Step::Create(&path))?;
            self.make_folder(&path)?;
            self.flush_folder(&self.folder)?;
        }
        Ok(path)
    }

    /// Locks it for one program, for as long as the file is open. One that has just been let go of gets a second.
    pub(super) fn lock(&self) -> Result<File, StoreError> {
        let path = self.path("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        owner_only(&mut options);
        let lock = options.open(&path).map_err(|error| io_error(&path, "locked", error))?;
        for _ in 0..20 {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
                Err(TryLockError::Error(error)) => return Err(io_error(&path, "locked", error)),
            }
        }
        Err(StoreError::Busy {
            place: self.folder.display().to_string(),
        })
    }

    /// A file to read, with its length; `None` when there is none.
    pub(super) fn read(&self, path: &Path) -> Result<Option<(File, u64)>, StoreError> {
        match File::open(path) {
            Ok(file) => {
                let len = file.metadata().map_err(|error| io_error(path, "read", error))?.len();
                Ok(Some((file, len)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(path, "read", error)),
        }
    }

    /// The names in a folder; none when it is not there.
    pub(super) fn names(&self, path: &Path) -> Result<Vec<String>, StoreError> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| io_error(path, "listed", error))?,
        };
        let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().into_string().ok());
        let names: io::Result<Vec<Option<String>>> = entries.map(name).collect();
        let names = names.map_err(|error| io_error(path, "listed", error))?;
        // A name that is no text is none of ours.
        Ok(names.into_iter().flatten().collect())
    }

    /// A new file for its owner only, in place of what has the name.
    pub(super) fn create(&self, name: &str) -> Result<Growing<'_>, StoreError> {
        self.remove(name)?;
        let path = self.path(name);
        self.step(&path, "made", Step::Create(&path))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        owner_only(&mut options);
        let file = options.open(&path).map_err(|error| io_error(&path, "made", error))?;
        Ok(Growing::new(self, file, path))
    }

    /// A file to write on at `end`; what stands behind that goes.
    pub(super) fn grow(&self, name: &str, end: u64) -> Result<Growing<'_>, StoreError> {
        let path = self.path(name);
        let open = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).open(&path)?;
            if file.metadata()?.len() != end {
                self.change(Step::Write(&file))?;
                file.set_len(end)?;
            }
            file.seek(SeekFrom::Start(end))?;
            Ok(file)
        };
        let file = open().map_err(|error| io_error(&path, "written", error))?;
        Ok(Growing::new(self, file, path))
    }

    /// Gives a file another name, in place of what has that.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.step(from, "renamed", Step::Rename(from, to))?;
        fs::rename(from, to).map_err(|error| io_error(from, "renamed", error))
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(());
        }
        self.step(&path, "removed", Step::Remove(&path))?;
        fs::remove_file(&path).map_err(|error| io_error(&path, "removed", error))
    }

    /// Makes sure that names given and taken in a folder are on the disk. Systems other than Unix do that by themselves.
    pub(super) fn flush_folder(&self, path: &Path) -> Result<(), StoreError> {
        self.step(path, "flushed", Step::FlushFolder(path))?;
        #[cfg(unix)]
        if self.is_real() {
            let flush = |folder: File| folder.sync_all();
            return File::open(path)
                .and_then(flush)
                .map_err(|error| io_error(path, "flushed", error));
        }
        Ok(())
    }

    fn step(&self, place: &Path, what: &'static str, step: Step<'_>) -> Result<(), StoreError> {
        self.change(step).map_err(|error| io_error(place, what, error))
    }

    /// Whether it is worth waiting for the disk.
    #[cfg(test)]
    fn is_real(&self) -> bool {
        !self.power.is_planned()
    }

    #[cfg(not(test))]
    #[expect(
        clippy::unused_self,
        reason = "tests plan cuts, and note for themselves what was flushed"
    )]
    const fn is_real(&self) -> bool {
        true
    }

    #[cfg(test)]
    fn change(&self, step: Step<'_>) -> io::Result<()> {
        self.power.step(step)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests cut the power here")]
    fn change(&self, _: Step<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// A change that is about to be made.
#[derive(Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "read by tests, which cut the power here"))]
pub(super) enum Step<'a> {
    Create(&'a Path),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
    FlushFolder(&'a Path),
    /// The file grows or shrinks.
    Write(&'a File),
    Flush(&'a File),
}

fn owner_only(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

pub(super) fn io_error(place: &Path, what: &'static str, source: io::Error) -> StoreError {
    StoreError::Io {
        place: place.display().to_string(),
        what,
        source,
    }
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Growing<'a> {
    disk: &'a Disk,
    file: File,
    path: PathBuf,
    written: u64,
}

impl<'a> Growing<'a> {
    const fn new(disk: &'a Disk, file: File, path: PathBuf) -> Self {
        Self {
            disk,
            file,
            path,
            written: 0,
        }
    }

    /// Bytes that were written to it since it is open.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// What was written is on the disk when this returns.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.disk.step(&self.path, "flushed", Step::Flush(&self.file))?;
        if self.disk.is_real() {
            let flushed = self.file.sync_data();
            flushed.map_err(|error| io_error(&self.path, "flushed", error))?;
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for Growing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let changed = self.disk.change(Step::Write(&self.file));
        #[cfg(test)]
        if changed.is_err() {
            // What a cut leaves of a write may be a part of it.
            self.disk.power.tear(&mut self.file, bytes);
        }
        changed?;
        let written = self.file.write(bytes)?;
        self.written = self.written.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
