//! Copy-on-write contents: what was written, over what was there, over zeros.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::Content;
use super::content::{len64, to_usize};
use super::spool::{Spool, SpoolFile};

/// Overwritten bytes that may lie unused in a spool file, beyond the length of the contents, before it is rewritten.
const MAX_GARBAGE: u64 = 64 << 20;
/// Bytes per step of that rewriting.
const STEP: u64 = 1 << 20;

/// A version of a large file. Written ranges lie in an append-only spool file, so an older version that shares it
/// keeps reading its own bytes.
#[derive(Clone, Debug)]
pub(super) struct Layered {
    len: u64,
    base: Content,
    /// How much of `base` still shows through: the least length the file ever had since.
    base_len: u64,
    /// By offset in the file; never overlapping, never empty.
    extents: BTreeMap<u64, Extent>,
    spool: Option<Arc<SpoolFile>>,
}

/// A range of the spool file.
#[derive(Clone, Copy, Debug)]
struct Extent {
    len: u64,
    at: u64,
}

impl Layered {
    pub(super) fn over(base: Content) -> Self {
        let len = base.len();
        Self {
            len,
            base,
            base_len: len,
            extents: BTreeMap::new(),
            spool: None,
        }
    }

    /// The whole of a spool file that was filled from its start.
    pub(super) fn spooled(file: Arc<SpoolFile>, len: u64) -> Self {
        let extents = BTreeMap::from([(0, Extent { len, at: 0 })]);
        Self {
            len,
            base: Content::empty(),
            base_len: 0,
            extents,
            spool: Some(file),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.clear(len, u64::MAX);
            self.base_len = self.base_len.min(len);
        }
        self.len = len;
    }

    pub(super) fn write_at(&mut self, offset: u64, data: &[u8], spool: &Spool) -> io::Result<()> {
        let end = offset.checked_add(len64(data)).ok_or(io::ErrorKind::FileTooLarge)?;
        let file = match &self.spool {
            Some(file) => Arc::clone(file),
            None => Arc::clone(self.spool.insert(spool.new_file()?)),
        };
        let at = file.append(data)?;
        self.insert(offset, Extent { len: len64(data), at });
        self.len = self.len.max(end);
        let limit = self.len.saturating_mul(2).saturating_add(MAX_GARBAGE);
        if file.end() > limit {
            self.compact(spool)
        } else {
            Ok(())
        }
    }

    fn insert(&mut self, offset: u64, new: Extent) {
        self.clear(offset, offset.saturating_add(new.len));
        if let Some((start, before)) = self.extents.range_mut(..offset).next_back()
            && start.saturating_add(before.len) == offset
            && before.at.saturating_add(before.len) == new.at
        {
            before.len = before.len.saturating_add(new.len);
            return;
        }
        self.extents.insert(offset, new);
    }

    /// Removes what is written in `start..end`.
    fn clear(&mut self, start: u64, end: u64) {
        let before = self
            .extents
            .range(..start)
            .next_back()
            .map(|(&at, &extent)| (at, extent));
        let inside = self.extents.range(start..end).map(|(&at, &extent)| (at, extent));
        let touched: Vec<_> = before.into_iter().chain(inside).collect();
        for (at, extent) in touched {
            let extent_end = at.saturating_add(extent.len);
            if extent_end <= start {
                continue;
            }
            self.extents.remove(&at);
            if at < start {
                self.extents.insert(
                    at,
                    Extent {
                        len: start.saturating_sub(at),
                        ..extent
                    },
                );
            }
            if extent_end > end {
                let (len, cut) = (extent_end.saturating_sub(end), end.saturating_sub(at));
                self.extents.insert(
                    end,
                    Extent {
                        len,
                        at: extent.at.saturating_add(cut),
                    },
                );
            }
        }
    }

    pub(super) fn read_exact_at(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            let written = self.extents.range(..=offset).next_back();
            let written = written.filter(|(at, extent)| at.saturating_add(extent.len) > offset);
            let available = match written {
                Some((at, extent)) => at.saturating_add(extent.len).saturating_sub(offset),
                None => self.gap_at(offset),
            };
            let n = available.min(len64(out));
            let (now, later) = out.split_at_mut(to_usize(n)?);
            match (written, &self.spool) {
                (Some((at, extent)), Some(file)) => {
                    file.read_exact_at(extent.at.saturating_add(offset.saturating_sub(*at)), now)?;
                }
                _ if offset < self.base_len => {
                    self.base.read_at(offset, now)?;
                }
                _ => now.fill(0),
            }
            offset = offset.saturating_add(n);
            out = later;
        }
        Ok(())
    }

    /// How far the base, or the zeros after it, show through from `offset` on.
    fn gap_at(&self, offset: u64) -> u64 {
        let next = self.extents.range(offset..).next().map_or(u64::MAX, |(&at, _)| at);
        let end = if offset < self.base_len {
            next.min(self.base_len)
        } else {
            next
        };
        end.saturating_sub(offset)
    }

    /// Moves what is in use to a spool file of its own; the old one goes when no version needs it.
    fn compact(&mut self, spool: &Spool) -> io::Result<()> {
        let Some(old) = self.spool.clone() else { return Ok(()) };
        let new = spool.new_file()?;
        let mut extents = BTreeMap::new();
        let mut buffer = vec![0; to_usize(STEP)?];
        for (&start, extent) in &self.extents {
            let mut done = 0_u64;
            while done < extent.len {
                let n = STEP.min(extent.len.saturating_sub(done));
                let Some(part) = buffer.get_mut(..to_usize(n)?) else {
                    return Err(io::ErrorKind::InvalidInput.into());
                };
                old.read_exact_at(extent.at.saturating_add(done), part)?;
                let at = new.append(part)?;
                extents.entry(start).or_insert(Extent { len: extent.len, at });
                done = done.saturating_add(n);
            }
        }
        (self.extents, self.spool) = (extents, Some(new));
        Ok(())
    }
}
