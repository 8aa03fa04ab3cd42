//! The bytes of a file, wherever they come from.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::layered::Layered;
use super::spool::Spool;

/// Files up to this many bytes are kept in memory when they are written; larger ones go to the spool folder.
pub const MAX_IN_MEMORY: u64 = 1 << 20;

/// Bytes per step when a whole content is hashed or copied.
const STEP: usize = 256 << 10;

/// Something that makes the bytes of a file when they are asked for.
///
/// The bytes are a pure function of the source: every read of a range gives the same answer, in any order, from any
/// thread, and a file of 4 GB costs no memory.
pub trait Source: Send + Sync + fmt::Debug {
    /// Bytes of the file.
    fn len(&self) -> u64;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// The caller keeps `offset + out.len()` within [`len`](Self::len).
    ///
    /// # Errors
    /// What the source's own storage reports; generators never fail.
    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

/// The contents of a regular file: cheap to clone, immutable, readable at any offset.
///
/// Contents are in memory, generated on the fly, or spooled to a temporary folder that goes away with the last clone.
/// Writing through [`Fs::write_at`](super::Fs::write_at) makes a new version and leaves clones as they were.
#[derive(Clone)]
pub struct Content(Repr);

#[derive(Clone)]
enum Repr {
    Bytes(Bytes),
    Memory(Arc<Vec<u8>>),
    Source(Arc<dyn Source>),
    Layered(Arc<Layered>),
}

impl Content {
    /// No bytes at all.
    #[must_use]
    pub fn empty() -> Self {
        Self(Repr::Bytes(Bytes::new()))
    }

    /// Bytes in memory.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Repr::Bytes(bytes.into()))
    }

    /// Bytes made by a generator when they are read.
    pub fn from_source(source: impl Source + 'static) -> Self {
        Self(Repr::Source(Arc::new(source)))
    }

    pub(super) fn layered(layered: Layered) -> Self {
        Self(Repr::Layered(Arc::new(layered)))
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Repr::Bytes(bytes) => len64(bytes),
            Repr::Memory(bytes) => len64(bytes),
            Repr::Source(source) => source.len(),
            Repr::Layered(layered) => layered.len(),
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads from `offset` into `out` and returns how many bytes there were: fewer than `out.len()` at the end only, 0
    /// at or after it.
    ///
    /// # Errors
    /// Only contents in the spool folder can fail, with the disk's error.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let left = self.len().saturating_sub(offset);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let Some(out) = out.get_mut(..n).filter(|out| !out.is_empty()) else {
            return Ok(0);
        };
        match &self.0 {
            Repr::Bytes(bytes) => copy_from(bytes, offset, out)?,
            Repr::Memory(bytes) => copy_from(bytes, offset, out)?,
            Repr::Source(source) => source.read_exact_at(offset, out)?,
            Repr::Layered(layered) => layered.read_exact_at(offset, out)?,
        }
        Ok(n)
    }

    /// All bytes, if there are no more than `max`.
    ///
    /// # Errors
    /// [`io::ErrorKind::FileTooLarge`] above `max`; else as [`read_at`](Self::read_at).
    pub fn to_bytes(&self, max: u64) -> io::Result<Bytes> {
        if let Repr::Bytes(bytes) = &self.0
            && len64(bytes) <= max
        {
            return Ok(bytes.clone());
        }
        let len = usize::try_from(self.len()).ok().filter(|_| self.len() <= max);
        let mut out = vec![0; len.ok_or(io::ErrorKind::FileTooLarge)?];
        self.read_at(0, &mut out)?;
        Ok(out.into())
    }

    /// A reader over the whole contents, from the start.
    #[must_use]
    pub fn reader(&self) -> ContentReader {
        ContentReader {
            content: self.clone(),
            position: 0,
        }
    }

    /// SHA-256 of the contents, streamed in steps of 256 KiB.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn sha256(&self) -> io::Result<[u8; 32]> {
        let mut hash = Sha256::new();
        self.for_each_step(|bytes| hash.update(bytes))?;
        Ok(hash.finalize().into())
    }

    /// SHA-1 of the contents (the `Digest` of a plain backup), streamed in steps of 256 KiB.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn sha1(&self) -> io::Result<[u8; 20]> {
        let mut hash = Sha1::new();
        self.for_each_step(|bytes| hash.update(bytes))?;
        Ok(hash.finalize().into())
    }

    /// Whether two contents have the same bytes. Streams both unless they are the same object.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn same_bytes(&self, other: &Self) -> io::Result<bool> {
        if self.len() != other.len() {
            return Ok(false);
        }
        let (mut position, mut theirs) = (0_u64, vec![0; STEP]);
        let mut same = true;
        self.for_each_step_until(|bytes| {
            let Some(theirs) = theirs.get_mut(..bytes.len()) else {
                return Ok(false);
            };
            let n = other.read_at(position, theirs)?;
            position = position.saturating_add(len64(bytes));
            same = n == bytes.len() && theirs == bytes;
            Ok(same)
        })?;
        Ok(same)
    }

    fn for_each_step(&self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.for_each_step_until(|bytes| {
            each(bytes);
            Ok(true)
        })
    }

    fn for_each_step_until(&self, mut each: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<()> {
        let mut buffer = vec![0; usize::try_from(self.len()).unwrap_or(STEP).min(STEP)];
        let mut position = 0_u64;
        loop {
            let n = self.read_at(position, &mut buffer)?;
            let Some(read) = buffer.get(..n).filter(|read| !read.is_empty()) else {
                return Ok(());
            };
            if !each(read)? {
                return Ok(());
            }
            position = position.saturating_add(len64(read));
        }
    }

    /// Overwrites from `offset` on, extending with zeros where `offset` lies after the end. Clones keep what they had.
    pub(super) fn write_at(&mut self, offset: u64, data: &[u8], spool: &Spool) -> io::Result<()> {
        let end = offset.checked_add(len64(data)).ok_or(io::ErrorKind::FileTooLarge)?;
        if data.is_empty() {
            return Ok(());
        }
        let new_len = self.len().max(end);
        if new_len > MAX_IN_MEMORY {
            return self.in_layers(|layers| layers.write_at(offset, data, spool));
        }
        let range = to_usize(offset)?..to_usize(end)?;
        self.in_memory(|bytes| {
            bytes.resize(bytes.len().max(range.end), 0);
            bytes
                .get_mut(range)
                .ok_or(io::ErrorKind::InvalidInput)?
                .copy_from_slice(data);
            Ok(())
        })
    }

    /// Cuts, or extends with zeros. Clones keep what they had.
    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        if len > MAX_IN_MEMORY {
            self.in_layers(|layers| layers.set_len(len));
        } else {
            // Only what stays is read: the rest of a large file is never materialised.
            let mut bytes = vec![0; to_usize(len)?];
            self.read_at(0, &mut bytes)?;
            self.0 = Repr::Memory(Arc::new(bytes));
        }
        Ok(())
    }

    fn in_memory(&mut self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        if !matches!(self.0, Repr::Memory(_)) {
            let mut bytes = vec![0; to_usize(self.len())?];
            self.read_at(0, &mut bytes)?;
            self.0 = Repr::Memory(Arc::new(bytes));
        }
        match &mut self.0 {
            Repr::Memory(bytes) => write(Arc::make_mut(bytes)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn in_layers<R>(&mut self, write: impl FnOnce(&mut Layered) -> R) -> R {
        let mut layers = match std::mem::take(self).0 {
            Repr::Layered(layers) => layers,
            base => Arc::new(Layered::over(Self(base))),
        };
        let result = write(Arc::make_mut(&mut layers));
        self.0 = Repr::Layered(layers);
        result
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::bytes(bytes)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Bytes(_) | Repr::Memory(_) => write!(f, "Content(memory, {} bytes)", self.len()),
            Repr::Source(source) => write!(f, "Content({source:?}, {} bytes)", self.len()),
            Repr::Layered(_) => write!(f, "Content(spooled, {} bytes)", self.len()),
        }
    }
}

/// Reads a [`Content`] from start to end; made by [`Content::reader`].
#[derive(Clone, Debug)]
pub struct ContentReader {
    content: Content,
    position: u64,
}

impl Read for ContentReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.content.read_at(self.position, out)?;
        self.position = self.position.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        Ok(n)
    }
}

impl Seek for ContentReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.content.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

fn copy_from(bytes: &[u8], offset: u64, out: &mut [u8]) -> io::Result<()> {
    let start = to_usize(offset)?;
    let end = start.checked_add(out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
    out.copy_from_slice(bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

pub(super) fn len64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

pub(super) fn to_usize(n: u64) -> io::Result<usize> {
    usize::try_from(n).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
