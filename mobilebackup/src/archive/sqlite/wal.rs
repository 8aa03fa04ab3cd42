//! Write-ahead logs: which pages of a database they replace (the file format that SQLite publishes).

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

use super::header::is_page_size;
use super::overlay::Overlay;

/// Length of the log's header in bytes.
const HEADER: u64 = 32;

/// Length of a frame's header in bytes.
const FRAME: usize = 24;

/// What a write-ahead log says.
///
/// Only whole transactions count: frames after the last commit, frames of an earlier use of the log and everything
/// behind the first wrong checksum are left out, exactly as SQLite does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wal {
    /// The pages of all whole transactions; `None` if there is not a single one.
    pub overlay: Option<Overlay>,
    /// Frames in whole transactions.
    pub committed: u64,
    /// Sound frames after the last commit: a transaction that never came to its end, or was cut off.
    pub uncommitted: u64,
    /// How the log ends.
    pub end: WalEnd,
}

/// Where reading a write-ahead log stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WalEnd {
    /// At its end, between two frames.
    Whole,
    /// At frames of an earlier use of the log, which SQLite leaves lying there.
    OlderFrames,
    /// In the middle of a frame.
    Cut,
    /// At a frame that belongs to this use of the log and whose checksum is wrong: damage, or a torn write.
    Checksum,
    /// At its start: the header is not that of a log or its checksum is wrong.
    Header,
    /// At its start: there is nothing in it.
    Empty,
}

impl Wal {
    /// Reads a log from its start to its end. Memory: some 30 bytes per frame.
    ///
    /// # Errors
    /// What `source` gives. Damage is no error but the log's [`end`](Wal::end).
    pub fn read<R: Read + Seek>(source: &mut R) -> io::Result<Self> {
        let len = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let nothing = |end| Self {
            overlay: None,
            committed: 0,
            uncommitted: 0,
            end,
        };
        if len == 0 {
            return Ok(nothing(WalEnd::Empty));
        }
        let mut header = [0; 32];
        if len < HEADER {
            return Ok(nothing(WalEnd::Header));
        }
        source.read_exact(&mut header)?;
        match Start::parse(&header) {
            Some(start) => start.frames(source, len),
            None => Ok(nothing(WalEnd::Header)),
        }
    }
}

/// A valid header.
struct Start {
    big_endian: bool,
    page_size: u32,
    salts: [u8; 8],
    sum: (u32, u32),
}

impl Start {
    fn parse(header: &[u8; 32]) -> Option<Self> {
        let number = |at: usize| header.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let big_endian = match number(0)? {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return None,
        };
        let page_size = number(8)?;
        let (summed, _) = header.split_first_chunk::<24>()?;
        let sum = checksum(big_endian, (0, 0), summed);
        let valid = number(4)? == 3_007_000 && is_page_size(page_size) && sum == (number(24)?, number(28)?);
        valid.then_some(Self {
            big_endian,
            page_size,
            salts: *header.get(16..)?.first_chunk()?,
            sum,
        })
    }

    fn frames<R: Read>(self, source: &mut R, len: u64) -> io::Result<Wal> {
        let size = FRAME.saturating_add(usize::try_from(self.page_size).unwrap_or(0));
        let mut frame = vec![0; size];
        let (mut at, mut sum) = (HEADER, self.sum);
        let (mut pages, mut pending) = (HashMap::new(), Vec::new());
        let (mut committed, mut database_pages) = (0_u64, 0);
        let end = loop {
            let left = len.saturating_sub(at);
            if left < size as u64 {
                break if left == 0 { WalEnd::Whole } else { WalEnd::Cut };
            }
            source.read_exact(&mut frame)?;
            let Some(read) = self.frame(&frame, sum) else {
                break WalEnd::Cut;
            };
            let (page, commit) = match read {
                Ok((page, commit, next)) => {
                    sum = next;
                    (page, commit)
                }
                Err(end) => break end,
            };
            pending.push((page, at.saturating_add(FRAME as u64)));
            at = at.saturating_add(size as u64);
            if commit > 0 {
                committed = committed.saturating_add(pending.len() as u64);
                pages.extend(pending.drain(..));
                database_pages = commit;
            }
        };
        // A transaction may have made the database smaller after pages behind its new end were written.
        pages.retain(|page, _| *page <= database_pages);
        Ok(Wal {
            overlay: (committed > 0).then_some(Overlay {
                page_size: self.page_size,
                pages,
                database_pages,
            }),
            committed,
            uncommitted: pending.len() as u64,
            end,
        })
    }

    /// Page, size of the database after a commit (else 0) and checksum of one frame; why it does not count.
    #[expect(clippy::type_complexity, reason = "only here")]
    fn frame(&self, frame: &[u8], sum: (u32, u32)) -> Option<Result<(u32, u32, (u32, u32)), WalEnd>> {
        let number = |at: usize| frame.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let (page, commit) = (number(0)?, number(4)?);
        if frame.get(8..16)? != self.salts || page == 0 {
            return Some(Err(WalEnd::OlderFrames));
        }
        let sum = checksum(self.big_endian, sum, frame.get(..8)?);
        let sum = checksum(self.big_endian, sum, frame.get(FRAME..)?);
        if sum != (number(16)?, number(20)?) {
            return Some(Err(WalEnd::Checksum));
        }
        Some(Ok((page, commit, sum)))
    }
}

/// The running checksum of headers and pages; `bytes` is a multiple of eight long.
fn checksum(big_endian: bool, (mut first, mut second): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let number = |bytes: [u8; 4]| match big_endian {
        true => u32::from_be_bytes(bytes),
        false => u32::from_le_bytes(bytes),
    };
    for [a, b, c, d, e, f, g, h] in bytes.as_chunks::<8>().0 {
        first = first.wrapping_add(number([*a, *b, *c, *d])).wrapping_add(second);
        second = second.wrapping_add(number([*e, *f, *g, *h])).wrapping_add(first);
    }
    (first, second)
}
