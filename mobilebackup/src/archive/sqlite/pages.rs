//! A SQLite database read page by page, without SQLite (spec backup-format, Annex B).
//!
//! # Example
//! ```
//! use std::fs::File;
//!
//! use cabled_mobilebackup::archive::sqlite::pages::{PageReader, Value};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
//! let mut index = PageReader::open(File::open(format!("{folder}/Manifest.db"))?)?;
//! let files = index.table("Files")?.expect("every index has that table");
//! let mut names = Vec::new();
//! for row in index.rows(files)? {
//!     if let Some(Value::Text(path)) = row?.values.into_iter().nth(2) {
//!         names.push(String::from_utf8(path)?);
//!     }
//! }
//! assert!(names.contains(&"Library/SMS/sms.db".to_owned()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! The source is anything that reads and seeks: a file, a [`DecryptingReader`](crate::archive::DecryptingReader) over
//! an encrypted index, an [`Image`](super::Image) with a log taken in. [`PageReader::rows`] scans a table from its root
//! and goes on behind damage, which it reports where it is; [`PageReader::row`] and [`PageReader::find`] descend.
//! [`PageReader::leaf`] reads one page whatever leads to it, which is how lost rows are found.
//!
//! # Limits
//! Ordinary tables and indexes with binary collation: no `WITHOUT ROWID` tables, no virtual ones. Page numbers are
//! checked, no page is visited twice in a scan, trees are at most 20 levels deep, rows at most 64 MiB long. Memory: one
//! page per level, one row, and one bit per page.

mod record;
mod scan;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};

pub use record::{Record, Value};
pub use scan::TableRows;

use super::header::{Header, TextEncoding};
use record::{be16, be32, varint};

/// Deepest tree that is followed.
const MAX_DEPTH: usize = 20;

/// Longest row, in bytes.
const MAX_PAYLOAD: u64 = 64 << 20;

/// Most tables and indexes that are listed.
const MAX_SCHEMA: usize = 10_000;

/// Why a database cannot be read at some place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The source does not start as a SQLite database does.
    #[error("this is not a SQLite database")]
    NotADatabase,
    /// A page cannot be understood.
    #[error("page {page} is damaged: {fault}")]
    Damaged {
        /// The page, counted from 1.
        page: u32,
        /// What is wrong with it.
        fault: PageFault,
    },
    /// The source failed.
    #[error("reading the database failed")]
    Io(#[from] io::Error),
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PageFault {
    /// It is behind the end of the file, or 0.
    #[error("there is no such page")]
    OutOfRange,
    /// Its first byte is not what should stand there.
    #[error("it is of another type than it should be")]
    Type,
    /// A cell lies outside the page or ends behind it.
    #[error("cell {cell} does not fit")]
    Cell {
        /// The cell, counted from 0.
        cell: u16,
    },
    /// The columns of a row do not fit its length, or are of no known type.
    #[error("the row in cell {cell} does not decode")]
    Record {
        /// The cell, counted from 0.
        cell: u16,
    },
    /// A row is longer than the database or than 64 MiB.
    #[error("the row in cell {cell} cannot be that long")]
    TooLong {
        /// The cell, counted from 0.
        cell: u16,
    },
    /// The rest of a long row leads out of the database, in a circle, or ends early.
    #[error("the rest of the row in cell {cell} is lost")]
    Overflow {
        /// The cell, counted from 0.
        cell: u16,
    },
    /// It was visited before: the tree leads back into itself.
    #[error("the tree leads to it twice")]
    Twice,
    /// It lies deeper than 20 levels.
    #[error("the tree is too deep")]
    TooDeep,
}

impl PageFault {
    const fn at(self, page: u32) -> PageError {
        PageError::Damaged { page, fault: self }
    }
}

/// One table or index of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaEntry {
    /// `table`, `index`, `view` or `trigger`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The table it belongs to.
    pub table: String,
    /// Its first page; 0 for views, triggers and virtual tables.
    pub root: u32,
    /// The statement that made it; indexes that SQLite makes by itself have none.
    pub sql: Option<String>,
}

/// Reads a SQLite database page by page.
#[derive(Debug)]
pub struct PageReader<R> {
    source: R,
    header: Header,
    pages: u32,
}

/// One page and what its header says.
#[derive(Clone, Debug)]
struct Page {
    number: u32,
    bytes: Vec<u8>,
    kind: PageKind,
    cells: u16,
    /// Where the cell pointers start.
    pointers: usize,
    /// The right-most child of an interior page.
    right: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageKind {
    InteriorIndex,
    InteriorTable,
    LeafIndex,
    LeafTable,
}

impl<R: Read + Seek> PageReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`PageError::NotADatabase`], [`PageError::Io`].
    pub fn open(mut source: R) -> Result<Self, PageError> {
        source.seek(SeekFrom::Start(0))?;
        let mut start = Vec::new();
        source.by_ref().take(Header::LEN as u64).read_to_end(&mut start)?;
        let header = Header::parse(&start).ok_or(PageError::NotADatabase)?;
        Self::with_header(source, header)
    }

    /// Reads a database whose first page is lost, with a header that is known or guessed.
    ///
    /// # Errors
    /// [`PageError::Io`].
    pub fn with_header(mut source: R, header: Header) -> Result<Self, PageError> {
        let len = source.seek(SeekFrom::End(0))?;
        let pages = len.checked_div(header.page_size.into()).unwrap_or(0);
        Ok(Self {
            source,
            header,
            pages: u32::try_from(pages).unwrap_or(u32::MAX),
        })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How many whole pages the source has, whatever the header says.
    #[must_use]
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// The text of a value, decoded as this database stores it; `None` for anything but text.
    #[must_use]
    pub fn text(&self, value: &Value) -> Option<String> {
        match value {
            Value::Text(bytes) => Some(self.header.encoding.decode(bytes)),
            _ => None,
        }
    }

    /// The tables and indexes that can be read. Damage to the schema costs only the entries behind it.
    ///
    /// # Errors
    /// [`PageError`] if there is no schema at all.
    pub fn schema(&mut self) -> Result<Vec<SchemaEntry>, PageError> {
        let encoding = self.header.encoding;
        let mut entries = Vec::new();
        for row in self.rows(1)?.take(MAX_SCHEMA) {
            match row {
                Ok(record) => entries.extend(schema_entry(record, encoding)),
                Err(PageError::Io(e)) => return Err(e.into()),
                Err(e) => tracing::debug!(error = %e, "part of a schema is lost"),
            }
        }
        Ok(entries)
    }

    /// The first page of a table.
    ///
    /// # Errors
    /// As [`schema`](PageReader::schema).
    pub fn table(&mut self, name: &str) -> Result<Option<u32>, PageError> {
        self.root_of("table", name)
    }

    /// The first page of an index. SQLite calls the one behind a primary key `sqlite_autoindex_TABLE_1`.
    ///
    /// # Errors
    /// As [`schema`](PageReader::schema).
    pub fn index(&mut self, name: &str) -> Result<Option<u32>, PageError> {
        self.root_of("index", name)
    }

    fn root_of(&mut self, kind: &str, name: &str) -> Result<Option<u32>, PageError> {
        let entries = self.schema()?;
        let found = entries
            .into_iter()
            .find(|entry| entry.kind == kind && entry.name.eq_ignore_ascii_case(name));
        Ok(found.map(|entry| entry.root).filter(|root| *root > 0))
    }

    /// Every row of the table with this first page, in the order of row ids. What is damaged comes out as an error, and
    /// the scan goes on behind it.
    ///
    /// # Errors
    /// [`PageError::Damaged`] if `root` itself is no page of a table.
    pub fn rows(&mut self, root: u32) -> Result<TableRows<'_, R>, PageError> {
        TableRows::new(self, root)
    }

    /// The row with this id. A few pages are read.
    ///
    /// # Errors
    /// [`PageError`] if the way to it is damaged.
    pub fn row(&mut self, root: u32, row_id: i64) -> Result<Option<Record>, PageError> {
        let mut number = root;
        for _ in 0..MAX_DEPTH {
            let page = self.page(number)?;
            match page.kind {
                PageKind::InteriorTable => {
                    let mut child = page.right;
                    for cell in 0..page.cells {
                        let (left, last) = page.table_child(cell)?;
                        if row_id <= last {
                            child = left;
                            break;
                        }
                    }
                    number = child;
                }
                PageKind::LeafTable => {
                    for cell in 0..page.cells {
                        if page.row_id(cell)? == row_id {
                            return self.record(&page, cell).map(Some);
                        }
                    }
                    return Ok(None);
                }
                _ => return Err(PageFault::Type.at(number)),
            }
        }
        Err(PageFault::TooDeep.at(number))
    }

    /// The row id that an index gives for this text in its first column, compared as bytes.
    ///
    /// # Errors
    /// [`PageError`] if the way to it is damaged.
    pub fn find(&mut self, index: u32, key: &[u8]) -> Result<Option<i64>, PageError> {
        let mut number = index;
        for _ in 0..MAX_DEPTH {
            let page = self.page(number)?;
            let interior = match page.kind {
                PageKind::InteriorIndex => true,
                PageKind::LeafIndex => false,
                _ => return Err(PageFault::Type.at(number)),
            };
            let mut child = page.right;
            for cell in 0..page.cells {
                let record = self.record(&page, cell)?;
                let order = match record.values.first() {
                    Some(Value::Text(text)) => text.as_slice().cmp(key),
                    // Text comes after NULL and numbers and before blobs.
                    Some(Value::Blob(_)) => std::cmp::Ordering::Greater,
                    _ => std::cmp::Ordering::Less,
                };
                match order {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => {
                        return match record.values.last() {
                            Some(Value::Integer(row_id)) => Ok(Some(*row_id)),
                            _ => Err(PageFault::Record { cell }.at(number)),
                        };
                    }
                    std::cmp::Ordering::Greater => {
                        if interior {
                            child = page.index_child(cell)?;
                            break;
                        }
                        return Ok(None);
                    }
                }
            }
            if !interior {
                return Ok(None);
            }
            number = child;
        }
        Err(PageFault::TooDeep.at(number))
    }

    /// The rows of one leaf of a table, whatever leads to it; `None` if the page is something else.
    ///
    /// # Errors
    /// [`PageError::Damaged`] if the page is no page, [`PageError::Io`].
    pub fn leaf(&mut self, number: u32) -> Result<Option<Vec<Result<Record, PageError>>>, PageError> {
        let page = match self.page(number) {
            Ok(page) if page.kind == PageKind::LeafTable => page,
            Ok(_)
            | Err(PageError::Damaged {
                fault: PageFault::Type | PageFault::Cell { .. },
                ..
            }) => return Ok(None),
            Err(e) => return Err(e),
        };
        Ok(Some((0..page.cells).map(|cell| self.record(&page, cell)).collect()))
    }

    /// The pages that are not in use. Damage to the list costs what is behind it.
    ///
    /// # Errors
    /// [`PageError::Io`].
    pub fn free_pages(&mut self) -> Result<HashSet<u32>, PageError> {
        let mut free = HashSet::new();
        let mut trunk = self.header.first_free;
        while trunk > 0 && free.insert(trunk) {
            let bytes = match self.page_bytes(trunk) {
                Ok(bytes) => bytes,
                Err(PageError::Io(e)) => return Err(e.into()),
                Err(_) => break,
            };
            let (next, count) = (be32(&bytes, 0).unwrap_or(0), be32(&bytes, 4).unwrap_or(0));
            let (leaves, _) = bytes.get(8..).unwrap_or_default().as_chunks::<4>();
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let leaves = leaves.iter().take(count).map(|number| u32::from_be_bytes(*number));
            free.extend(leaves.filter(|number| (1..=self.pages).contains(number)));
            trunk = next;
        }
        Ok(free)
    }

    fn page_bytes(&mut self, number: u32) -> Result<Vec<u8>, PageError> {
        let index = number
            .checked_sub(1)
            .filter(|index| *index < self.pages)
            .ok_or(PageFault::OutOfRange.at(number))?;
        let size = self.header.page_size;
        let start = u64::from(index).saturating_mul(size.into());
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.source.seek(SeekFrom::Start(start))?;
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn page(&mut self, number: u32) -> Result<Page, PageError> {
        let mut bytes = self.page_bytes(number)?;
        bytes.truncate(usize::try_from(self.header.usable()).unwrap_or(0));
        Page::parse(number, bytes)
    }

    /// The record in a cell, with the rest of it from wherever it lies.
    fn record(&mut self, page: &Page, cell: u16) -> Result<Record, PageError> {
        let wrong = |fault: PageFault| fault.at(page.number);
        let does_not_fit = || wrong(PageFault::Cell { cell });
        let mut at = page.cell(cell)?;
        if page.kind == PageKind::InteriorIndex {
            at = at.saturating_add(4);
        }
        let (len, used) = varint(&page.bytes, at).ok_or_else(does_not_fit)?;
        at = at.saturating_add(used);
        let mut row_id = 0;
        if page.kind == PageKind::LeafTable {
            let (id, used) = varint(&page.bytes, at).ok_or_else(does_not_fit)?;
            row_id = id.cast_signed();
            at = at.saturating_add(used);
        }
        let whole = u64::from(self.pages).saturating_mul(self.header.page_size.into());
        if len > MAX_PAYLOAD || len > whole {
            return Err(wrong(PageFault::TooLong { cell }));
        }
        let local = local_len(len, self.header.usable(), page.kind == PageKind::LeafTable);
        let end = usize::try_from(local).ok().and_then(|local| at.checked_add(local));
        let end = end.ok_or_else(does_not_fit)?;
        let start = page.bytes.get(at..end).ok_or_else(does_not_fit)?;
        let decoded = if local == len {
            Record::decode(row_id, start)
        } else {
            let first = be32(&page.bytes, end).ok_or_else(does_not_fit)?;
            let mut payload = start.to_vec();
            self.overflow(first, len, &mut payload)?
                .then(|| Record::decode(row_id, &payload))
                .ok_or(wrong(PageFault::Overflow { cell }))?
        };
        decoded.ok_or(wrong(PageFault::Record { cell }))
    }

    /// Follows a chain of pages until `payload` has `len` bytes; whether the chain is sound.
    fn overflow(&mut self, first: u32, len: u64, payload: &mut Vec<u8>) -> Result<bool, PageError> {
        let usable = usize::try_from(self.header.usable()).unwrap_or(0);
        let (mut number, mut seen) = (first, HashSet::new());
        loop {
            let left = usize::try_from(len).unwrap_or(0).saturating_sub(payload.len());
            if left == 0 {
                return Ok(true);
            }
            if !seen.insert(number) {
                return Ok(false);
            }
            let bytes = match self.page_bytes(number) {
                Ok(bytes) => bytes,
                Err(PageError::Io(e)) => return Err(e.into()),
                Err(_) => return Ok(false),
            };
            let content = bytes.get(4..usable).unwrap_or_default();
            let Some(content) = content
                .get(..left.min(content.len()))
                .filter(|content| !content.is_empty())
            else {
                return Ok(false);
            };
            payload.extend_from_slice(content);
            number = be32(&bytes, 0).unwrap_or(0);
        }
    }
}

impl Page {
    /// Reads the header of a page whose reserved bytes are cut off already.
    fn parse(number: u32, bytes: Vec<u8>) -> Result<Self, PageError> {
        let start = if number == 1 { Header::LEN } else { 0 };
        let kind = match bytes.get(start) {
            Some(2) => PageKind::InteriorIndex,
            Some(5) => PageKind::InteriorTable,
            Some(10) => PageKind::LeafIndex,
            Some(13) => PageKind::LeafTable,
            _ => return Err(PageFault::Type.at(number)),
        };
        let interior = matches!(kind, PageKind::InteriorIndex | PageKind::InteriorTable);
        let pointers = start.saturating_add(if interior { 12 } else { 8 });
        let wrong = PageFault::Cell { cell: 0 };
        let cells = be16(&bytes, start.saturating_add(3)).ok_or(wrong.at(number))?;
        let end = usize::from(cells).saturating_mul(2).saturating_add(pointers);
        if end > bytes.len() {
            return Err(wrong.at(number));
        }
        let right = match interior {
            true => be32(&bytes, start.saturating_add(8)).unwrap_or(0),
            false => 0,
        };
        Ok(Self {
            number,
            bytes,
            kind,
            cells,
            pointers,
            right,
        })
    }

    /// Where a cell starts.
    fn cell(&self, cell: u16) -> Result<usize, PageError> {
        let pointer = usize::from(cell).saturating_mul(2).saturating_add(self.pointers);
        let first = usize::from(self.cells).saturating_mul(2).saturating_add(self.pointers);
        let at = be16(&self.bytes, pointer).map(usize::from);
        at.filter(|at| (first..self.bytes.len()).contains(at))
            .ok_or(PageFault::Cell { cell }.at(self.number))
    }

    /// The left child of a cell and the largest row id in it.
    fn table_child(&self, cell: u16) -> Result<(u32, i64), PageError> {
        let at = self.cell(cell)?;
        let child = be32(&self.bytes, at);
        let last = varint(&self.bytes, at.saturating_add(4));
        match child.zip(last) {
            Some((child, (last, _))) => Ok((child, last.cast_signed())),
            None => Err(PageFault::Cell { cell }.at(self.number)),
        }
    }

    fn index_child(&self, cell: u16) -> Result<u32, PageError> {
        be32(&self.bytes, self.cell(cell)?).ok_or(PageFault::Cell { cell }.at(self.number))
    }

    /// The row id of a cell of a leaf.
    fn row_id(&self, cell: u16) -> Result<i64, PageError> {
        let at = self.cell(cell)?;
        let wrong = || PageFault::Cell { cell }.at(self.number);
        let (_, used) = varint(&self.bytes, at).ok_or_else(wrong)?;
        let (id, _) = varint(&self.bytes, at.saturating_add(used)).ok_or_else(wrong)?;
        Ok(id.cast_signed())
    }
}

/// How many bytes of a payload lie in the page itself.
fn local_len(len: u64, usable: u32, leaf_table: bool) -> u64 {
    let usable = u64::from(usable);
    // Divisions round down (spec backup-format, Annex B); a header with less than 480 usable bytes was refused.
    let share = |parts: u64| {
        usable
            .saturating_sub(12)
            .saturating_mul(parts)
            .checked_div(255)
            .unwrap_or(0)
            .saturating_sub(23)
    };
    let most = if leaf_table {
        usable.saturating_sub(35)
    } else {
        share(64)
    };
    if len <= most {
        return len;
    }
    let least = share(32);
    let over = len
        .saturating_sub(least)
        .checked_rem(usable.saturating_sub(4))
        .unwrap_or(0);
    let local = least.saturating_add(over);
    if local <= most { local } else { least }
}

fn schema_entry(record: Record, encoding: TextEncoding) -> Option<SchemaEntry> {
    let mut values = record.values.into_iter();
    let mut text = || match values.next() {
        Some(Value::Text(bytes)) => Some(encoding.decode(&bytes)),
        _ => None,
    };
    let (kind, name, table) = (text()?, text()?, text()?);
    let root = match values.next()? {
        Value::Integer(root) => u32::try_from(root).unwrap_or(0),
        _ => 0,
    };
    let sql = match values.next() {
        Some(Value::Text(bytes)) => Some(encoding.decode(&bytes)),
        _ => None,
    };
    Some(SchemaEntry {
        kind,
        name,
        table,
        root,
        sql,
    })
}
