//! All rows of a table, in order.

use std::io::{Read, Seek};

use super::{MAX_DEPTH, Page, PageError, PageFault, PageKind, PageReader, Record};

/// All rows of a table. Made by [`PageReader::rows`].
///
/// Damage comes out as an error where it is, and the scan goes on behind it; it ends after an
/// [I/O error](PageError::Io).
#[derive(Debug)]
pub struct TableRows<'a, R> {
    reader: &'a mut PageReader<R>,
    /// From the root down, each with the next cell (or child) to look at.
    path: Vec<(Page, u32)>,
    visited: Pages,
}

impl<'a, R: Read + Seek> TableRows<'a, R> {
    pub(super) fn new(reader: &'a mut PageReader<R>, root: u32) -> Result<Self, PageError> {
        let page = reader.page(root)?;
        if !matches!(page.kind, PageKind::InteriorTable | PageKind::LeafTable) {
            return Err(PageFault::Type.at(root));
        }
        let mut visited = Pages::new(reader.pages());
        visited.insert(root);
        Ok(Self {
            reader,
            path: vec![(page, 0)],
            visited,
        })
    }

    /// Whether the scan has been on this page.
    #[must_use]
    pub fn has_visited(&self, page: u32) -> bool {
        self.visited.contains(page)
    }

    /// Which pages the scan has been on.
    pub(crate) fn into_visited(self) -> Pages {
        self.visited
    }

    /// Goes down to a child.
    fn descend(&mut self, number: u32) -> Result<(), PageError> {
        if self.path.len() >= MAX_DEPTH {
            return Err(PageFault::TooDeep.at(number));
        }
        if number > 0 && number <= self.reader.pages() && !self.visited.insert(number) {
            return Err(PageFault::Twice.at(number));
        }
        let page = self.reader.page(number)?;
        if !matches!(page.kind, PageKind::InteriorTable | PageKind::LeafTable) {
            return Err(PageFault::Type.at(number));
        }
        self.path.push((page, 0));
        Ok(())
    }
}

impl<R: Read + Seek> Iterator for TableRows<'_, R> {
    type Item = Result<Record, PageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (page, next) = self.path.last_mut()?;
            let at = *next;
            *next = at.saturating_add(1);
            let cell = u16::try_from(at).unwrap_or(u16::MAX);
            let step = match page.kind {
                PageKind::LeafTable if at < u32::from(page.cells) => {
                    let record = self.reader.record(page, cell);
                    if matches!(record, Err(PageError::Io(_))) {
                        self.path.clear();
                    }
                    return Some(record);
                }
                PageKind::InteriorTable if at < u32::from(page.cells) => page.table_child(cell).map(|(child, _)| child),
                PageKind::InteriorTable if at == u32::from(page.cells) => Ok(page.right),
                _ => {
                    self.path.pop();
                    continue;
                }
            };
            if let Err(e) = step.and_then(|child| self.descend(child)) {
                if matches!(e, PageError::Io(_)) {
                    self.path.clear();
                }
                return Some(Err(e));
            }
        }
    }
}

/// A set of pages, one bit each.
#[derive(Clone, Debug)]
pub(crate) struct Pages(Vec<u64>);

impl Pages {
    pub(crate) fn new(pages: u32) -> Self {
        let words = u64::from(pages).div_ceil(64).saturating_add(1);
        Self(vec![0; usize::try_from(words).unwrap_or(0)])
    }

    fn place(page: u32) -> (usize, u64) {
        (usize::try_from(page >> 6).unwrap_or(usize::MAX), 1 << (page & 63))
    }

    /// Whether the page was not there before.
    pub(crate) fn insert(&mut self, page: u32) -> bool {
        let (word, bit) = Self::place(page);
        match self.0.get_mut(word) {
            Some(bits) => {
                let new = *bits & bit == 0;
                *bits |= bit;
                new
            }
            None => false,
        }
    }

    pub(crate) fn contains(&self, page: u32) -> bool {
        let (word, bit) = Self::place(page);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }
}
