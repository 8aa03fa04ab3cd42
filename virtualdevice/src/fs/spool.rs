//! Large written files: a temporary folder on the host's disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use super::content::{MAX_IN_MEMORY, len64};
use super::layered::Layered;
use super::{Content, Fs, FsError};

/// The temporary folder of one phone, made when the first large file is written.
#[derive(Debug, Default)]
pub(super) struct Spool {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    folder: Option<Arc<TempDir>>,
    files: u64,
}

/// One file in the spool folder. Bytes are only ever appended, so what a content refers to never changes under it.
///
/// Opened per call: a phone restored with thousands of large files must not hold thousands of descriptors.
#[derive(Debug)]
pub(super) struct SpoolFile {
    path: PathBuf,
    end: Mutex<u64>,
    _folder: Arc<TempDir>,
}

impl Spool {
    pub(super) fn new_file(&self) -> io::Result<Arc<SpoolFile>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = match &state.folder {
            Some(folder) => Arc::clone(folder),
            None => Arc::clone(state.folder.insert(Arc::new(new_folder()?))),
        };
        let path = folder.path().join(state.files.to_string());
        state.files = state.files.saturating_add(1);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path)?;
        Ok(Arc::new(SpoolFile {
            path,
            end: Mutex::new(0),
            _folder: folder,
        }))
    }
}

impl SpoolFile {
    /// Appends and returns the offset at which the bytes landed.
    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        // Not O_APPEND: a write that failed half-way leaves bytes nobody refers to, and the next one covers them.
        file.seek(SeekFrom::Start(*end))?;
        file.write_all(bytes)?;
        let at = *end;
        *end = end.saturating_add(len64(bytes));
        Ok(at)
    }

    pub(super) fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(out)
    }

    pub(super) fn end(&self) -> u64 {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // What cannot be removed now goes with the folder.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A folder for this user only: what is restored onto the phone may be anybody's real backup.
fn new_folder() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("cabled-phone-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir()
}

/// Takes the bytes of a new file as they arrive; made by [`Fs::writer`].
///
/// Up to 1 MiB stays in memory, more goes to the spool folder. Dropped without [`finish`](Self::finish), nothing stays
/// behind. The file appears in the tree when the [`Content`] is [put](Fs::put) there.
#[derive(Debug)]
pub struct ContentWriter {
    fs: Fs,
    buffer: Vec<u8>,
    spooled: Option<Arc<SpoolFile>>,
    len: u64,
}

impl ContentWriter {
    pub(super) fn new(fs: Fs, len_hint: u64) -> Self {
        let capacity = usize::try_from(len_hint.min(MAX_IN_MEMORY)).unwrap_or_default();
        Self {
            fs,
            buffer: Vec::with_capacity(capacity),
            spooled: None,
            len: 0,
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no byte was taken yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// [`FsError::NoSpace`] when the bytes taken so far no longer fit the phone; [`FsError::Io`] from the spool folder.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FsError> {
        let len = self.len.checked_add(len64(bytes)).ok_or(FsError::NoSpace)?;
        if len > self.fs.free_bytes() {
            return Err(FsError::NoSpace);
        }
        self.buffer.extend_from_slice(bytes);
        self.len = len;
        if len64(&self.buffer) > MAX_IN_MEMORY {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), FsError> {
        let file = match &self.spooled {
            Some(file) => file,
            None => self.spooled.insert(self.fs.spool().new_file()?),
        };
        file.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`FsError::Io`] from the spool folder.
    pub fn finish(mut self) -> Result<Content, FsError> {
        if self.spooled.is_some() && !self.buffer.is_empty() {
            self.flush()?;
        }
        Ok(match self.spooled {
            Some(file) => Content::layered(Layered::spooled(file, self.len)),
            None => Content::bytes(self.buffer),
        })
    }
}

#[cfg(test)]
impl Spool {
    /// The folder and the bytes in it.
    pub(super) fn on_disk(&self) -> Option<(PathBuf, u64)> {
        let state = self.state.lock().unwrap();
        let folder = state.folder.as_ref()?.path().to_owned();
        let bytes = std::fs::read_dir(&folder)
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        Some((folder, bytes))
    }
}
