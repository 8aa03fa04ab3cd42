//! The contents of one file: small ones decrypted in one go, large ones in pieces.

use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::manifest::{ExtractNote, LineNote, Sha256Hash};
use crate::archive::cipher::CbcDecryptor;
use crate::archive::padding::{Completeness, Ending};
use crate::archive::read::{PayloadNote, PayloadReader, ReadOptions, notes_of, size_note};
use crate::archive::{Archive, ArchiveError, FileEntry};

/// Payloads of up to this many bytes are read at once.
const SMALL: u64 = 1 << 20;

/// Bytes of a larger one that are read, hashed and written at once: they stay in a core's cache.
const CHUNK: usize = 128 << 10;

/// An open file of the backup, with its length known.
#[derive(Debug)]
pub(super) struct Content {
    body: Body,
    pub(super) len: u64,
    pub(super) notes: Vec<LineNote>,
}

#[derive(Debug)]
enum Body {
    /// In the buffer, from its start.
    Buffered,
    Streamed(Box<PayloadReader>),
}

/// Why contents did not come to their end.
#[derive(Debug)]
pub(super) enum CopyError {
    /// The backup could not be read.
    Read(io::Error),
    /// The receiver failed.
    Write(io::Error),
    /// It was told to stop.
    Stopped,
}

impl Content {
    /// Opens a file of the backup. A small one is in `buffer` then.
    pub(super) fn open(
        archive: &Archive,
        entry: &FileEntry,
        options: ReadOptions,
        buffer: &mut Vec<u8>,
    ) -> Result<Self, ArchiveError> {
        let key = archive.file_key(entry)?;
        let file = match archive.open_payload(&entry.file_id) {
            Ok(file) => file,
            Err(ArchiveError::MissingPayload { .. }) if entry.size == 0 => {
                buffer.clear();
                return Ok(Self::new(Body::Buffered, 0, vec![PayloadNote::MissingEmpty], false));
            }
            Err(e) => return Err(e),
        };
        let stored = file.metadata()?.len();
        if stored > SMALL {
            let reader = match key {
                Some(key) => PayloadReader::decrypting(file, &key, entry.size, options)?,
                None => PayloadReader::stored(file, entry.size, archive.note_of_stored(entry, options)?)?,
            };
            let (len, notes) = (reader.len(), reader.notes().to_vec());
            let cut = reader.completeness() == Completeness::Incomplete;
            return Ok(Self::new(Body::Streamed(Box::new(reader)), len, notes, cut));
        }
        fill(file, stored, buffer)?;
        let Some(key) = key else {
            let mut notes = Vec::from_iter(archive.note_of_stored(entry, options)?);
            notes.extend(size_note(entry.size, stored));
            return Ok(Self::new(Body::Buffered, stored, notes, false));
        };
        buffer.truncate(buffer.len().saturating_sub(buffer.len() % 16));
        CbcDecryptor::new(&key).decrypt(buffer);
        let ending = Ending::of(stored, entry.size, buffer.last_chunk());
        options.judge(ending, stored, entry.size)?;
        buffer.truncate(usize::try_from(ending.plain_len).unwrap_or(usize::MAX));
        let cut = ending.completeness == Completeness::Incomplete;
        Ok(Self::new(
            Body::Buffered,
            ending.plain_len,
            notes_of(ending, entry.size),
            cut,
        ))
    }

    fn new(body: Body, len: u64, notes: Vec<PayloadNote>, cut: bool) -> Self {
        let mut notes: Vec<_> = notes.into_iter().map(LineNote::Payload).collect();
        notes.extend(cut.then_some(LineNote::Extract(ExtractNote::Salvaged)));
        Self { body, len, notes }
    }

    /// Everything at once, if it is small.
    pub(super) fn whole<'b>(&self, buffer: &'b [u8]) -> Option<&'b [u8]> {
        matches!(self.body, Body::Buffered).then_some(buffer)
    }

    /// Hands all of it to `write`, in order, with the hash if that is wanted. `go_on` hears of every piece.
    pub(super) fn copy(
        self,
        buffer: &mut Vec<u8>,
        hash: bool,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
        mut go_on: impl FnMut(u64) -> bool,
    ) -> Result<Option<Sha256Hash>, CopyError> {
        let mut hasher = hash.then(Sha256::new);
        match self.body {
            Body::Buffered => {
                write(buffer).map_err(CopyError::Write)?;
                if let Some(hasher) = &mut hasher {
                    hasher.update(&buffer);
                }
                go_on(buffer.len() as u64);
            }
            Body::Streamed(mut reader) => {
                buffer.resize(CHUNK, 0);
                let mut left = self.len;
                while left > 0 {
                    let len = match reader.read(buffer) {
                        Ok(0) => return Err(CopyError::Read(io::ErrorKind::UnexpectedEof.into())),
                        Ok(len) => len,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                        Err(e) => return Err(CopyError::Read(e)),
                    };
                    let piece = buffer.get(..len).unwrap_or_default();
                    let piece = piece
                        .get(..usize::try_from(left).unwrap_or(len).min(len))
                        .unwrap_or_default();
                    write(piece).map_err(CopyError::Write)?;
                    if let Some(hasher) = &mut hasher {
                        hasher.update(piece);
                    }
                    left = left.saturating_sub(piece.len() as u64);
                    if !go_on(piece.len() as u64) {
                        return Err(CopyError::Stopped);
                    }
                }
            }
        }
        Ok(hasher.map(|hasher| Sha256Hash::from(<[u8; 32]>::from(hasher.finalize()))))
    }
}

/// Reads a payload of known length. One that grows or shrinks meanwhile is an error.
fn fill(mut file: File, stored: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(usize::try_from(stored).unwrap_or(usize::MAX), 0);
    file.read_exact(buffer)
}

/// The hash of a file that lies in the target.
pub(super) fn hash_of(
    mut file: File,
    buffer: &mut Vec<u8>,
    mut go_on: impl FnMut() -> bool,
) -> io::Result<Option<Sha256Hash>> {
    let mut hasher = Sha256::new();
    buffer.resize(CHUNK, 0);
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(Some(Sha256Hash::from(<[u8; 32]>::from(hasher.finalize())))),
            Ok(len) => hasher.update(buffer.get(..len).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if !go_on() {
            return Ok(None);
        }
    }
}

/// Whether two files have the same contents.
pub(super) fn same_contents(one: File, other: File) -> io::Result<bool> {
    use std::io::BufRead;
    let (mut one, mut other) = (
        io::BufReader::with_capacity(CHUNK, one),
        io::BufReader::with_capacity(CHUNK, other),
    );
    loop {
        let (a, b) = (one.fill_buf()?, other.fill_buf()?);
        let len = a.len().min(b.len());
        if a.get(..len) != b.get(..len) || (len == 0 && a.len() != b.len()) {
            return Ok(false);
        }
        if len == 0 {
            return Ok(true);
        }
        one.consume(len);
        other.consume(len);
    }
}
