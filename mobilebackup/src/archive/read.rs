//! Plaintext of one payload, with random access.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use super::ArchiveError;
use super::cipher::CbcDecryptor;
use super::padding::{BLOCK, Completeness, Ending};
use super::wrap::Key;

/// Most bytes decrypted at once: large enough for the cipher's full speed, small enough to stay in a core's cache.
const CHUNK: usize = 128 << 10;

/// Reads into slices of at least this many bytes decrypt in place there, without a copy.
const DIRECT: usize = 4 << 10;

/// How payloads are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    salvage: bool,
}

impl ReadOptions {
    /// Hands out what is left of a payload that was cut off, instead of refusing it with
    /// [`ArchiveError::Incomplete`], and what is stored where it may be ciphertext
    /// ([`ArchiveError::UnexpectedKey`]). Default: off.
    #[must_use]
    pub const fn salvage(mut self, on: bool) -> Self {
        self.salvage = on;
        self
    }

    pub(crate) const fn is_salvage(self) -> bool {
        self.salvage
    }

    /// Lets an ending pass, or refuses it.
    pub(crate) fn judge(self, ending: Ending, stored: u64, recorded: u64) -> Result<(), ArchiveError> {
        match ending.completeness {
            Completeness::Incomplete if !self.salvage => Err(ArchiveError::Incomplete { stored, recorded }),
            _ => Ok(()),
        }
    }
}

/// The plaintext of an encrypted payload, readable from any place in it.
///
/// Where the plaintext ends is known from the start: from the payload's length, the recorded size and the last two
/// encrypted blocks (spec backup-format, 6.3). A seek costs one extra block. Memory: 128 KiB at most, whatever the
/// payload's length. There is no checksum in the format: a wrong key shows as a bad ending, damage inside only as bad
/// content.
#[derive(Debug)]
pub struct DecryptingReader<R> {
    source: R,
    decryptor: CbcDecryptor,
    ending: Ending,
    /// Where the next read starts, in plaintext.
    position: u64,
    /// Up to where `source` was read and `decryptor` has come; `None` if a seek is needed first.
    at: Option<u64>,
    /// Plaintext of some blocks, from `buffer_start` on.
    buffer: Vec<u8>,
    buffer_start: u64,
}

impl<R: Read + Seek> DecryptingReader<R> {
    /// Reads the payload `source` with its own key. `recorded` is the `Size` of its record.
    ///
    /// # Errors
    /// [`ArchiveError::Incomplete`] if the payload was cut off and `options` do not ask for salvage;
    /// [`ArchiveError::Io`].
    pub fn new(mut source: R, key: &Key, recorded: u64, options: ReadOptions) -> Result<Self, ArchiveError> {
        let stored = source.seek(SeekFrom::End(0))?;
        let mut decryptor = CbcDecryptor::new(key);
        let whole = stored.saturating_sub(stored % BLOCK);
        let last = match whole.checked_sub(BLOCK) {
            Some(start) => {
                let mut block = [0; 16];
                position(&mut source, &mut decryptor, start)?;
                source.read_exact(&mut block)?;
                decryptor.decrypt(&mut block);
                Some(block)
            }
            None => None,
        };
        let ending = Ending::of(stored, recorded, last.as_ref());
        options.judge(ending, stored, recorded)?;
        Ok(Self {
            source,
            decryptor,
            ending,
            position: 0,
            at: None,
            buffer: Vec::new(),
            buffer_start: 0,
        })
    }

    /// How the payload ends.
    #[must_use]
    pub const fn ending(&self) -> Ending {
        self.ending
    }

    /// What of the buffer lies at the current position.
    fn buffered(&self) -> &[u8] {
        let Some(skip) = self.position.checked_sub(self.buffer_start) else {
            return &[];
        };
        usize::try_from(skip)
            .ok()
            .and_then(|skip| self.buffer.get(skip..))
            .unwrap_or_default()
    }

    /// Fills `out`, whole blocks, with plaintext from `start` on. `out` holds garbage after an error.
    fn decrypt_into(&mut self, start: u64, out: &mut [u8]) -> io::Result<()> {
        if self.at != Some(start) {
            self.at = None;
            position(&mut self.source, &mut self.decryptor, start)?;
        }
        self.at = None;
        self.source.read_exact(out)?;
        self.decryptor.decrypt(out);
        self.at = Some(start.saturating_add(out.len() as u64));
        Ok(())
    }

    fn refill(&mut self) -> io::Result<()> {
        let start = self.position.saturating_sub(self.position % BLOCK);
        let left = self.ending.plain_len.saturating_sub(start);
        let blocks = left.div_ceil(BLOCK).saturating_mul(BLOCK);
        let len = usize::try_from(blocks).unwrap_or(CHUNK).min(CHUNK);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(len, 0);
        self.decrypt_into(start, &mut buffer)?;
        buffer.truncate(usize::try_from(left).unwrap_or(len));
        self.buffer = buffer;
        self.buffer_start = start;
        Ok(())
    }

    /// Plaintext straight into the caller's slice; the number of bytes, or 0 if that is not possible here.
    fn read_direct(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.len() < DIRECT || !self.position.is_multiple_of(BLOCK) {
            return Ok(0);
        }
        let left = self.ending.plain_len.saturating_sub(self.position);
        let len = usize::try_from(left).unwrap_or(CHUNK).min(out.len()).min(CHUNK);
        let len = len.saturating_sub(len % 16);
        let Some(out) = out.get_mut(..len).filter(|out| !out.is_empty()) else {
            return Ok(0);
        };
        self.decrypt_into(self.position, out)?;
        self.position = self.position.saturating_add(len as u64);
        Ok(len)
    }
}

impl<R: Read + Seek> Read for DecryptingReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.buffered().is_empty() {
            let direct = self.read_direct(out)?;
            if direct > 0 {
                return Ok(direct);
            }
        }
        let available = self.fill_buf()?;
        let len = available.len().min(out.len());
        out.iter_mut().zip(available).for_each(|(to, from)| *to = *from);
        self.consume(len);
        Ok(len)
    }
}

impl<R: Read + Seek> BufRead for DecryptingReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.buffered().is_empty() && self.position < self.ending.plain_len {
            self.refill()?;
        }
        Ok(self.buffered())
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.position.saturating_add(amount as u64);
    }
}

impl<R: Read + Seek> Seek for DecryptingReader<R> {
    /// Goes to a place in the plaintext. Places after the end are allowed and read as nothing.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.ending.plain_len.checked_add_signed(offset),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Makes source and decryptor stand before the block at `start`.
fn position<R: Read + Seek>(source: &mut R, decryptor: &mut CbcDecryptor, start: u64) -> io::Result<()> {
    let mut before = [0; 16];
    match start.checked_sub(BLOCK) {
        Some(earlier) => {
            source.seek(SeekFrom::Start(earlier))?;
            source.read_exact(&mut before)?;
        }
        None => drop(source.seek(SeekFrom::Start(0))?),
    }
    decryptor.continue_after(before);
    Ok(())
}

/// Something about a payload that is worth knowing and no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "note")]
#[non_exhaustive]
pub enum PayloadNote {
    /// The recorded size is not the real one; common for databases in use.
    SizeDiffers {
        /// `Size` of the record, in bytes.
        recorded: u64,
        /// Length of the contents, in bytes.
        actual: u64,
    },
    /// Bytes after the last whole block; left out.
    StrayBytes {
        /// How many, 1 to 15.
        count: u8,
    },
    /// An encrypted payload whose writer did not pad; nothing was stripped.
    WithoutPadding,
    /// A file without a key in an encrypted backup; handed out as stored.
    NoKey,
    /// A file with a key in a backup that is not encrypted; handed out as stored, for salvage.
    UnexpectedKey,
    /// No payload on disk for a file of size zero; taken for an empty file.
    MissingEmpty,
}

/// The contents of one file of a backup, plain or decrypted, with random access.
///
/// Made by [`Archive::read`](super::Archive::read).
#[derive(Debug)]
pub struct PayloadReader {
    body: Body,
    len: u64,
    notes: Vec<PayloadNote>,
    completeness: Completeness,
}

#[derive(Debug)]
enum Body {
    Empty,
    Stored(BufReader<File>),
    Decrypting(Box<DecryptingReader<File>>),
}

impl PayloadReader {
    /// A zero-size file that has no payload.
    pub(crate) fn empty() -> Self {
        let (body, completeness) = (Body::Empty, Completeness::Complete);
        Self {
            body,
            len: 0,
            notes: vec![PayloadNote::MissingEmpty],
            completeness,
        }
    }

    /// A payload that is handed out as it lies there.
    pub(crate) fn stored(file: File, recorded: u64, note: Option<PayloadNote>) -> Result<Self, ArchiveError> {
        let len = file.metadata()?.len();
        let mut notes = Vec::from_iter(note);
        notes.extend(size_note(recorded, len));
        Ok(Self {
            body: Body::Stored(BufReader::new(file)),
            len,
            notes,
            completeness: Completeness::Complete,
        })
    }

    pub(crate) fn decrypting(file: File, key: &Key, recorded: u64, options: ReadOptions) -> Result<Self, ArchiveError> {
        let reader = DecryptingReader::new(file, key, recorded, options)?;
        let ending = reader.ending();
        let (plain_len, completeness) = (ending.plain_len, ending.completeness);
        let notes = notes_of(ending, recorded);
        Ok(Self {
            body: Body::Decrypting(Box::new(reader)),
            len: plain_len,
            notes,
            completeness,
        })
    }

    /// Length of the contents in bytes: what reading to the end yields, whatever size was recorded.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a length to compare with, not a container")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// What is odd about the payload.
    #[must_use]
    pub fn notes(&self) -> &[PayloadNote] {
        &self.notes
    }

    /// Whether the payload is all there; a plain one always passes, since nothing in it could tell.
    #[must_use]
    pub const fn completeness(&self) -> Completeness {
        self.completeness
    }
}

/// What there is to say of how an encrypted payload ends.
pub(crate) fn notes_of(ending: Ending, recorded: u64) -> Vec<PayloadNote> {
    let mut notes = Vec::from_iter(size_note(recorded, ending.plain_len));
    if ending.stray > 0 {
        notes.push(PayloadNote::StrayBytes { count: ending.stray });
    }
    if ending.completeness == Completeness::WithoutPadding {
        notes.push(PayloadNote::WithoutPadding);
    }
    notes
}

pub(crate) fn size_note(recorded: u64, actual: u64) -> Option<PayloadNote> {
    (recorded != actual).then_some(PayloadNote::SizeDiffers { recorded, actual })
}

impl Read for PayloadReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.body {
            Body::Empty => Ok(0),
            Body::Stored(file) => file.read(out),
            Body::Decrypting(reader) => reader.read(out),
        }
    }
}

impl BufRead for PayloadReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &mut self.body {
            Body::Empty => Ok(&[]),
            Body::Stored(file) => file.fill_buf(),
            Body::Decrypting(reader) => reader.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match &mut self.body {
            Body::Empty => {}
            Body::Stored(file) => file.consume(amount),
            Body::Decrypting(reader) => reader.consume(amount),
        }
    }
}

impl Seek for PayloadReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.body {
            Body::Empty => io::empty().seek(to),
            Body::Stored(file) => file.seek(to),
            Body::Decrypting(reader) => reader.seek(to),
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;
