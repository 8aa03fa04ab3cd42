//! Files to which sealed pieces are appended: journals and what was told.
//!
//! Each piece follows its length (8 bytes, little-endian) and a check of that length (the first 8 bytes of the SHA-256 of
//! `cabled-l` and the length), so that a flipped bit in a length is not taken for a piece that was cut off.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::StoreError;
use super::disk::{Growing, io_error};
use super::format::{self, Counted, FormatError, MAX_BYTES};

const HEADER: usize = 16;

/// Bytes of which a disk writes all or none.
const SECTOR: u64 = 512;

fn header(len: u64) -> [u8; HEADER] {
    let [l0, l1, l2, l3, l4, l5, l6, l7] = len.to_le_bytes();
    let mut hash = Sha256::new();
    hash.update(b"cabled-l");
    hash.update(len.to_le_bytes());
    let [c0, c1, c2, c3, c4, c5, c6, c7, ..] = <[u8; 32]>::from(hash.finalize());
    [l0, l1, l2, l3, l4, l5, l6, l7, c0, c1, c2, c3, c4, c5, c6, c7]
}

/// Something that can be written twice: to be counted, and to be kept.
pub(super) trait Piece {
    fn write(&self, to: &mut impl Write) -> Result<(), FormatError>;
}

/// A piece that is in memory.
pub(super) struct Made<'a>(pub(super) &'a [u8]);

impl Piece for Made<'_> {
    fn write(&self, to: &mut impl Write) -> Result<(), FormatError> {
        Ok(to.write_all(self.0)?)
    }
}

/// Appends a piece and gives how many bytes that took. It is not on the disk before [`Growing::flush`].
pub(super) fn append(piece: &impl Piece, file: &mut Growing<'_>) -> Result<u64, StoreError> {
    let len = format::length(|counted: &mut Counted| piece.write(counted));
    let len = len.map_err(|error| at(error, file.path()))?;
    let written = file.write_all(&header(len)).map_err(FormatError::from);
    let written = written.and_then(|()| piece.write(file));
    written.map_err(|error| at(error, file.path()))?;
    Ok(len.saturating_add(HEADER as u64))
}

/// An error of the format, with the file in which it happened.
pub(super) fn at(error: FormatError, path: &Path) -> StoreError {
    let place = || path.display().to_string();
    match error {
        FormatError::Io(source) => io_error(path, "written", source),
        FormatError::Damaged { reason } => StoreError::Damaged { place: place(), reason },
        FormatError::Newer { version } => StoreError::Newer {
            place: place(),
            version,
        },
        FormatError::Class => StoreError::Damaged {
            place: place(),
            reason: error.to_string(),
        },
        FormatError::TooLarge { what, found, max } => StoreError::TooLarge { what, found, max },
    }
}

/// [`at`], while the file was read.
pub(super) fn unread(error: FormatError, path: &Path) -> StoreError {
    match error {
        FormatError::Io(source) => io_error(path, "read", source),
        error => at(error, path),
    }
}

/// The pieces of a file, one after the other.
#[derive(Debug)]
pub(super) struct Frames {
    file: BufReader<File>,
    at: u64,
    len: u64,
}

/// What comes next.
pub(super) enum Next {
    /// A piece.
    Piece(Vec<u8>),
    /// Nothing.
    End,
    /// A piece of which the end, or all, never reached the disk.
    Torn,
}

impl Frames {
    pub(super) fn new(file: File, len: u64) -> Self {
        Self {
            file: BufReader::new(file),
            at: 0,
            len,
        }
    }

    /// Where the next piece begins: all before it was whole.
    pub(super) const fn position(&self) -> u64 {
        self.at
    }

    /// The next piece, as it stands there: its seal was not looked at.
    pub(super) fn next(&mut self) -> Result<Next, FormatError> {
        let Some(len) = self.header()? else {
            return Ok(if self.at == self.len { Next::End } else { Next::Torn });
        };
        let mut piece = Vec::new();
        self.file.by_ref().take(len).read_to_end(&mut piece)?;
        if piece.len() as u64 != len {
            return Err(FormatError::damaged("it became shorter while it was read"));
        }
        self.at = self.at.saturating_add(len).saturating_add(HEADER as u64);
        Ok(Next::Piece(piece))
    }

    /// The first bytes of the next piece, and on to the one after it.
    pub(super) fn peek(&mut self, most: u64) -> Result<Option<Vec<u8>>, FormatError> {
        let Some(len) = self.header()? else { return Ok(None) };
        let mut start = Vec::new();
        self.file.by_ref().take(len.min(most)).read_to_end(&mut start)?;
        self.at = self.at.saturating_add(len).saturating_add(HEADER as u64);
        self.file.seek(SeekFrom::Start(self.at))?;
        Ok(Some(start))
    }

    /// The length of the next piece, all of which is there; `None` at the end and where it was torn.
    fn header(&mut self) -> Result<Option<u64>, FormatError> {
        let left = self.len.saturating_sub(self.at);
        let Some(left) = left.checked_sub(HEADER as u64) else {
            return Ok(None);
        };
        let mut found = [0; HEADER];
        self.file.read_exact(&mut found)?;
        let [l0, l1, l2, l3, l4, l5, l6, l7, ..] = found;
        let len = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
        if found != header(len) {
            // Room that was given to the file before what was to fill it arrived.
            if found == [0; HEADER] && self.zeros_only()? {
                return Ok(None);
            }
            return Err(FormatError::damaged("the length of a part is not what was written"));
        }
        if len > MAX_BYTES {
            return Err(FormatError::TooLarge {
                what: "bytes",
                found: len,
                max: MAX_BYTES,
            });
        }
        Ok((len <= left).then_some(len))
    }

    fn zeros_only(&mut self) -> Result<bool, FormatError> {
        let mut chunk = [0; 4096];
        loop {
            match self.file.read(&mut chunk)? {
                0 => return Ok(true),
                read if chunk.iter().take(read).all(|byte| *byte == 0) => {}
                _ => return Ok(false),
            }
        }
    }

    /// Whether the piece that was read last is the last of the file and has a sector that never reached the disk.
    pub(super) fn never_arrived(&self, piece: &[u8]) -> bool {
        if self.at != self.len {
            return false;
        }
        let start = self.at.saturating_sub(piece.len() as u64);
        let to_boundary = usize::try_from(start.wrapping_neg() % SECTOR).unwrap_or(0);
        let (first, rest) = piece.split_at_checked(to_boundary).unwrap_or((piece, &[]));
        let missing = |part: &[u8]| part.len() >= HEADER && part.iter().all(|byte| *byte == 0);
        missing(first) || rest.chunks(512).any(missing)
    }
}
