//! A database as it is with its log or journal taken in, readable from any place.

use std::io::{self, Read, Seek, SeekFrom};

use super::header::Header;
use super::overlay::Overlay;

/// A database with an overlay, as one sequence of bytes. Nothing is gathered: pages are read where they lie.
#[derive(Debug)]
pub struct Image<B, O> {
    base: Tracked<B>,
    base_len: u64,
    overlay: Option<(Tracked<O>, Overlay)>,
    len: u64,
    position: u64,
    rollback_mode: bool,
}

/// A source that is sought only if it does not stand in the right place already.
#[derive(Debug)]
struct Tracked<R> {
    source: R,
    at: Option<u64>,
}

impl<R: Read + Seek> Tracked<R> {
    const fn new(source: R) -> Self {
        Self { source, at: None }
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.at.take() != Some(offset) {
            self.source.seek(SeekFrom::Start(offset))?;
        }
        self.source.read_exact(out)?;
        self.at = Some(offset.saturating_add(out.len() as u64));
        Ok(())
    }
}

impl<B: Read + Seek, O: Read + Seek> Image<B, O> {
    /// The database `base`, with `overlay` and the file it points into. Padding that another program left behind the
    /// last page is not part of it (spec backup-format, 5.2).
    ///
    /// # Errors
    /// What the sources give; [`io::ErrorKind::InvalidData`] if the overlay asks for a database many times larger
    /// than everything that is there.
    pub fn new(mut base: B, overlay: Option<(O, Overlay)>) -> io::Result<Self> {
        let base_len = unpadded_len(&mut base)?;
        let mut len = base_len;
        if let Some((file, overlay)) = overlay.as_ref() {
            let _ = file;
            let page_size = u64::from(overlay.page_size);
            len = u64::from(overlay.database_pages).saturating_mul(page_size);
            let overlaid = (overlay.replaced() as u64).saturating_mul(page_size);
            // Unused pages need not be anywhere; more than that is an attack on disk and memory.
            let most = base_len.saturating_add(overlaid).saturating_mul(4).max(64 << 20);
            if len > most {
                let reason = "the log or journal asks for a database far larger than it can be";
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        }
        Ok(Self {
            base: Tracked::new(base),
            base_len,
            overlay: overlay.map(|(file, overlay)| (Tracked::new(file), overlay)),
            len,
            position: 0,
            rollback_mode: false,
        })
    }

    /// Shows a database in write-ahead mode as one in rollback mode, which SQLite opens without further files.
    #[must_use]
    pub const fn rollback_mode(mut self, on: bool) -> Self {
        self.rollback_mode = on;
        self
    }

    /// Length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a length to compare with, not a container")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Fills `out`, which lies within the image, from `start` on.
    fn fill(&mut self, start: u64, out: &mut [u8]) -> io::Result<()> {
        let Some((file, overlay)) = &mut self.overlay else {
            return from_base(&mut self.base, self.base_len, start, out);
        };
        let page_size = u64::from(overlay.page_size);
        let (mut start, mut out) = (start, out);
        while !out.is_empty() {
            let page = start.checked_div(page_size).unwrap_or(0);
            let within = start.checked_rem(page_size).unwrap_or(0);
            let left = usize::try_from(page_size.saturating_sub(within)).unwrap_or(usize::MAX);
            let (now, rest) = out.split_at_mut(left.min(out.len()));
            let number = u32::try_from(page.saturating_add(1)).unwrap_or(0);
            match overlay.offset_of(number) {
                Some(offset) => file.read_at(offset.saturating_add(within), now)?,
                None => from_base(&mut self.base, self.base_len, start, now)?,
            }
            start = start.saturating_add(now.len() as u64);
            out = rest;
        }
        Ok(())
    }
}

/// Bytes of the database itself; zeros behind its end, as SQLite reads them.
fn from_base<B: Read + Seek>(base: &mut Tracked<B>, base_len: u64, start: u64, out: &mut [u8]) -> io::Result<()> {
    let there = base_len.saturating_sub(start).min(out.len() as u64);
    let (stored, missing) = out.split_at_mut(usize::try_from(there).unwrap_or(usize::MAX));
    missing.fill(0);
    match stored.is_empty() {
        true => Ok(()),
        false => base.read_at(start, stored),
    }
}

impl<B: Read + Seek, O: Read + Seek> Read for Image<B, O> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.position);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let Some(out) = out.get_mut(..len) else { return Ok(0) };
        self.fill(self.position, out)?;
        if self.rollback_mode {
            for place in 18..=19_u64 {
                let index = place.checked_sub(self.position).and_then(|at| usize::try_from(at).ok());
                if let Some(version) = index
                    .and_then(|index| out.get_mut(index))
                    .filter(|version| **version == 2)
                {
                    *version = 1;
                }
            }
        }
        self.position = self.position.saturating_add(len as u64);
        Ok(len)
    }
}

impl<B: Read + Seek, O: Read + Seek> Seek for Image<B, O> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Length of a database without the padding of an encryption that is gone.
fn unpadded_len<B: Read + Seek>(base: &mut B) -> io::Result<u64> {
    let len = base.seek(SeekFrom::End(0))?;
    base.seek(SeekFrom::Start(0))?;
    let mut start = Vec::new();
    base.take(Header::LEN as u64).read_to_end(&mut start)?;
    let Some(header) = Header::parse(&start) else {
        return Ok(len);
    };
    if len.checked_rem(header.page_size.into()) != Some(16) {
        return Ok(len);
    }
    let content = len.saturating_sub(16);
    let mut tail = [0; 16];
    base.seek(SeekFrom::Start(content))?;
    base.read_exact(&mut tail)?;
    Ok(if tail == [16; 16] { content } else { len })
}
