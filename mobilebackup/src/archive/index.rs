//! The list of what a backup holds, whichever file it is kept in.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::ArchiveError;
use super::database::{Database, Scan};
use super::entry::{FileEntry, Row, SkippedRow};
use super::file_id::FileId;
use super::mbdb::{MbdbError, MbdbReader};
use super::metadata::ColumnKey;

/// `Manifest.db` or `Manifest.mbdb`, open.
#[derive(Debug)]
pub(crate) enum Index {
    Database {
        database: Database,
        column_key: Option<ColumnKey>,
    },
    Flat(FlatIndex),
}

/// `Manifest.mbdb`, which can only be read from front to back: ids lead to places after one pass.
#[derive(Debug)]
pub(crate) struct FlatIndex {
    path: PathBuf,
    places: Mutex<Option<Places>>,
}

/// Where each id's record starts, sorted by id; and whether the pass came to the end.
#[derive(Debug)]
struct Places {
    sorted: Vec<(FileId, u64)>,
    damage: Option<u64>,
}

impl Index {
    pub(crate) fn scan(&self) -> Result<IndexScan, ArchiveError> {
        match self {
            Self::Database { .. } => Ok(IndexScan::Database(Scan::default())),
            Self::Flat(index) => Ok(IndexScan::Flat(Box::new(index.reader()?))),
        }
    }

    /// The next rows; none at the end.
    pub(crate) fn next_batch(&self, scan: &mut IndexScan) -> Result<Vec<Row>, ArchiveError> {
        match (self, scan) {
            (Self::Database { database, column_key }, IndexScan::Database(scan)) => {
                database.next_batch(scan, column_key.as_ref())
            }
            (Self::Flat(_), IndexScan::Flat(reader)) => flat_batch(reader),
            // A scan is only ever used with the index that made it.
            _ => Ok(Vec::new()),
        }
    }

    pub(crate) fn find(&self, id: &FileId) -> Result<Option<Row>, ArchiveError> {
        match self {
            Self::Database { database, column_key } => database.find(id, column_key.as_ref()),
            Self::Flat(index) => index.find(id),
        }
    }

    pub(crate) fn find_path(&self, domain: &str, path: &str) -> Result<Option<Row>, ArchiveError> {
        let by_id = self.find(&FileId::of(domain, path))?;
        if matches!(&by_id, Some(Row::Entry(found)) if *found.domain == *domain && *found.path == *path) {
            return Ok(by_id);
        }
        match self {
            // The id of a row may be wrong; its domain and path then still lead to it.
            Self::Database { database, column_key } => database.find_path(domain, path, column_key.as_ref()),
            Self::Flat(_) => Ok(None),
        }
    }
}

/// Where a reader of the index has come.
#[derive(Debug)]
pub(crate) enum IndexScan {
    Database(Scan),
    Flat(Box<MbdbReader<BufReader<File>>>),
}

/// Records of a flat index read in one go.
const BATCH: usize = 256;

fn flat_batch(reader: &mut MbdbReader<BufReader<File>>) -> Result<Vec<Row>, ArchiveError> {
    let mut batch = Vec::with_capacity(BATCH);
    while batch.len() < BATCH {
        match reader.next_record() {
            Ok(Some((position, record))) => batch.push(flat_row(position, record)),
            Ok(None) => break,
            // What came before the damage is handed out first; the next call meets the damage again.
            Err(MbdbError::Truncated { offset }) if !batch.is_empty() => {
                reader.seek_to(offset)?;
                break;
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(batch)
}

fn flat_row(position: u64, record: super::mbdb::MbdbRecord) -> Row {
    let text = |bytes: &[u8]| str::from_utf8(bytes).ok().map(Box::from);
    let (domain, path) = (text(&record.domain), text(&record.path));
    match FileEntry::from_mbdb(record) {
        Ok(entry) => Row::Entry(entry),
        Err(reason) => Row::Skipped(SkippedRow {
            position,
            file_id: None,
            domain,
            path,
            reason,
        }),
    }
}

impl FlatIndex {
    /// Checks the header.
    pub(crate) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let index = Self {
            path: path.to_owned(),
            places: Mutex::new(None),
        };
        index.reader()?;
        Ok(index)
    }

    fn reader(&self) -> Result<MbdbReader<BufReader<File>>, ArchiveError> {
        Ok(MbdbReader::new(BufReader::with_capacity(
            64 << 10,
            File::open(&self.path)?,
        ))?)
    }

    fn find(&self, id: &FileId) -> Result<Option<Row>, ArchiveError> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let places = match &mut *places {
            Some(places) => places,
            none => none.insert(self.locate()?),
        };
        let found = places.sorted.binary_search_by_key(id, |(id, _)| *id).ok();
        let Some((_, offset)) = found.and_then(|index| places.sorted.get(index)) else {
            return match places.damage {
                // The record may be behind the damage: absence cannot be claimed.
                Some(offset) => Err(MbdbError::Truncated { offset }.into()),
                None => Ok(None),
            };
        };
        let mut reader = self.reader()?;
        reader.seek_to(*offset)?;
        Ok(reader
            .next_record()?
            .map(|(position, record)| flat_row(position, record)))
    }

    fn locate(&self) -> Result<Places, ArchiveError> {
        let mut reader = self.reader()?;
        let (mut sorted, mut damage) = (Vec::new(), None);
        loop {
            match reader.next_record() {
                Ok(Some((offset, record))) => {
                    if let Ok(entry) = FileEntry::from_mbdb(record) {
                        sorted.push((entry.file_id, offset));
                    }
                }
                Ok(None) => break,
                Err(MbdbError::Truncated { offset }) => {
                    damage = Some(offset);
                    break;
                }
                Err(e) => return Err(e.into()),
            }
        }
        sorted.sort_unstable();
        Ok(Places { sorted, damage })
    }
}

/// All rows of a backup's index, one after another, in constant memory.
///
/// Made by [`Archive::rows`](super::Archive::rows). After an error it is at its end.
#[derive(Debug)]
pub struct Rows<'a> {
    index: &'a Index,
    scan: Option<IndexScan>,
    batch: std::vec::IntoIter<Row>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(index: &'a Index) -> Result<Self, ArchiveError> {
        Ok(Self {
            index,
            scan: Some(index.scan()?),
            batch: Vec::new().into_iter(),
        })
    }

    /// The next rows as they were read together; empty at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Vec<Row>, ArchiveError> {
        let Some(scan) = &mut self.scan else {
            return Ok(Vec::new());
        };
        let batch = self.index.next_batch(scan);
        if batch.as_ref().map_or(true, Vec::is_empty) {
            self.scan = None;
        }
        batch
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.batch.next() {
            return Some(Ok(row));
        }
        match self.next_batch() {
            Ok(batch) => {
                self.batch = batch.into_iter();
                self.batch.next().map(Ok)
            }
            Err(e) => Some(Err(e)),
        }
    }
}

/// All files, folders and links of a backup, in constant memory. Rows that make no sense are left out and logged.
///
/// Made by [`Archive::entries`](super::Archive::entries). After an error it is at its end.
#[derive(Debug)]
pub struct Entries<'a> {
    rows: Rows<'a>,
    skipped: u64,
}

impl<'a> Entries<'a> {
    pub(crate) const fn new(rows: Rows<'a>) -> Self {
        Self { rows, skipped: 0 }
    }

    /// How many rows were left out so far; [`Archive::rows`](super::Archive::rows) shows them.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<FileEntry, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rows.next()? {
                Ok(Row::Entry(entry)) => return Some(Ok(entry)),
                Ok(Row::Skipped(row)) => {
                    tracing::debug!(position = row.position, reason = %row.reason, "row of the index skipped");
                    self.skipped = self.skipped.saturating_add(1);
                }
                Err(e) => return Some(Err(e)),
            }
        }
    }
}
