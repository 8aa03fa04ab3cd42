//! Rows that are looked for by their names, decoded only where these fit.
//!
//! Most databases have an index over domains. It is used, and never trusted: a damaged one would leave rows out and
//! nobody would know. One pass over the table counts the rows of every domain; from then on what the index leads to is
//! complete exactly if it is as many different rows of that domain as there are. If it is not, the table is read.

use std::collections::HashMap;

use rusqlite::params;

use super::{BATCH_BYTES, BATCH_ROWS, Database, OUT_OF_ORDER, Scan, bytes_of, decode_row};
use crate::archive::ArchiveError;
use crate::archive::entry::Row;
use crate::archive::file_id::FileId;
use crate::archive::metadata::ColumnKey;

/// Rows looked at in one go, so that others get at the connection now and then.
const LOOKED_AT: usize = 16 << 10;

/// Domains that are counted one by one. A phone with thousands of apps has some ten thousand.
const MAX_DOMAINS: usize = 100_000;

/// Whether a row may be meant, by row id, domain, path, and id if it is well-formed.
pub(crate) type Admit<'a> = dyn Fn(i64, &str, &str, Option<FileId>) -> bool + 'a;

/// How many rows each domain has, by the table itself.
#[derive(Debug, Default)]
pub(crate) struct DomainCounts {
    rows: HashMap<Box<str>, u64>,
    /// Rows whose domain is missing or no text.
    pub(crate) nameless: u64,
    /// The domain that is being counted: rows of one mostly follow one another.
    run: Option<(Box<str>, u64)>,
    /// Whether counting stops at [`MAX_DOMAINS`].
    is_bounded: bool,
    is_too_many: bool,
}

impl DomainCounts {
    fn add(&mut self, domain: Option<&str>) {
        let Some(domain) = domain else {
            self.nameless = self.nameless.saturating_add(1);
            return;
        };
        match &mut self.run {
            Some((run, count)) if **run == *domain => *count = count.saturating_add(1),
            _ => {
                self.end_run();
                self.run = Some((domain.into(), 1));
            }
        }
    }

    fn end_run(&mut self) {
        let Some((domain, count)) = self.run.take() else { return };
        if self.is_bounded && self.rows.len() >= MAX_DOMAINS && !self.rows.contains_key(&domain) {
            self.is_too_many = true;
            return;
        }
        let sum = self.rows.entry(domain).or_default();
        *sum = sum.saturating_add(count);
    }

    /// How many rows a domain has.
    pub(crate) fn of(&self, domain: &str) -> u64 {
        self.rows.get(domain).copied().unwrap_or(0)
    }

    /// Every domain and how many rows it has.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.rows.iter().map(|(domain, count)| (&**domain, *count))
    }
}

/// Where a search through the whole table has come.
#[derive(Debug)]
pub(crate) struct Search {
    scan: Scan,
    counts: DomainCounts,
}

impl Search {
    pub(crate) fn new() -> Self {
        Self {
            scan: Scan::default(),
            counts: DomainCounts {
                is_bounded: true,
                ..DomainCounts::default()
            },
        }
    }
}

/// Where a search through one domain has come.
#[derive(Debug)]
pub(crate) struct DomainSearch {
    domain: Box<str>,
    next: Option<i64>,
    /// Row ids that were looked at, rising.
    pub(crate) seen: Vec<i64>,
}

impl DomainSearch {
    pub(crate) fn new(domain: &str) -> Self {
        Self {
            domain: domain.into(),
            next: Some(i64::MIN),
            seen: Vec::new(),
        }
    }

    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }
}

/// What the index over domains led to.
pub(crate) enum Led {
    /// Rows; there may be more.
    To(Vec<Row>),
    /// The end: all rows of the domain were looked at.
    Everywhere,
    /// Somewhere wrong, or there is no such index: the table must be read.
    Astray,
}

impl Database {
    /// The counts, if the table was read to its end before.
    pub(crate) fn domain_counts(&self) -> Option<&DomainCounts> {
        self.counts.get()
    }

    /// Calls `use_counts` with the counts, after a pass over the table if there was none yet.
    pub(crate) fn with_domain_counts<T>(&self, use_counts: impl FnOnce(&DomainCounts) -> T) -> Result<T, ArchiveError> {
        if let Some(counts) = self.counts.get() {
            return Ok(use_counts(counts));
        }
        let counts = self.count_domains()?;
        let used = use_counts(&counts);
        if counts.rows.len() <= MAX_DOMAINS {
            // Somebody else may have been first, with the same counts.
            let _ = self.counts.set(counts);
        }
        Ok(used)
    }

    /// One pass over the table, without looking at records.
    fn count_domains(&self) -> Result<DomainCounts, ArchiveError> {
        let mut counts = DomainCounts::default();
        let connection = self.connection();
        // Told to, SQLite reads the table and not the index, which has the domains as well.
        let mut query = connection.prepare_cached("SELECT _rowid_, domain FROM Files NOT INDEXED ORDER BY _rowid_")?;
        let mut rows = query.query([])?;
        let mut after = None;
        while let Some(row) = rows.next()? {
            let position = row.get::<_, i64>(0)?;
            if after.replace(position).is_some_and(|after| position <= after) {
                return Err(OUT_OF_ORDER);
            }
            counts.add(bytes_of(row, 1)?.and_then(|domain| str::from_utf8(domain).ok()));
        }
        counts.end_run();
        Ok(counts)
    }

    /// The next rows of the whole table that are admitted, in its own order; `None` at the end. What has no readable
    /// name is among them.
    pub(crate) fn next_admitted(
        &self,
        search: &mut Search,
        column_key: Option<&ColumnKey>,
        admit: &Admit<'_>,
    ) -> Result<Option<Vec<Row>>, ArchiveError> {
        let Search { scan, counts } = search;
        let Some(first) = scan.next else { return Ok(None) };
        let connection = self.connection();
        let mut query = connection.prepare_cached(
            "SELECT _rowid_, fileID, domain, relativePath, flags, file FROM Files NOT INDEXED \
             WHERE _rowid_ >= ?1 ORDER BY _rowid_",
        )?;
        let mut rows = query.query(params![first])?;
        let (mut batch, mut bytes, mut looked_at) = (Vec::new(), 0_usize, 0_usize);
        while let Some(row) = rows.next()? {
            let position = row.get::<_, i64>(0)?;
            if scan.next.is_none_or(|next| position < next) {
                return Err(OUT_OF_ORDER);
            }
            scan.next = position.checked_add(1);
            looked_at = looked_at.saturating_add(1);
            let domain = bytes_of(row, 2)?.and_then(|domain| str::from_utf8(domain).ok());
            counts.add(domain);
            let path = bytes_of(row, 3)?.and_then(|path| str::from_utf8(path).ok());
            let admitted = match domain.zip(path) {
                Some((domain, path)) => admit(position, domain, path, bytes_of(row, 1)?.and_then(FileId::from_hex)),
                None => true,
            };
            if admitted {
                // The record is not even fetched from its pages before this.
                bytes = bytes.saturating_add(bytes_of(row, 5)?.map_or(0, <[u8]>::len));
                batch.push(decode_row(row, position.cast_unsigned(), column_key, &mut scan.domain)?);
            }
            if batch.len() >= BATCH_ROWS || bytes >= BATCH_BYTES || looked_at >= LOOKED_AT {
                return Ok(Some(batch));
            }
        }
        scan.next = None;
        counts.end_run();
        if !counts.is_too_many {
            // As above.
            let _ = self.counts.set(std::mem::take(counts));
        }
        Ok(Some(batch))
    }

    /// The next rows of one domain that are admitted, by the index over domains.
    pub(crate) fn next_of_domain(
        &self,
        search: &mut DomainSearch,
        counts: &DomainCounts,
        column_key: Option<&ColumnKey>,
        admit: &Admit<'_>,
    ) -> Result<Led, ArchiveError> {
        let handed_out = search.seen.len();
        let led = self.follow_index(search, counts, column_key, admit)?;
        if matches!(led, Led::Astray) {
            // What was seen on the way there is not handed out: the table has it once more.
            search.seen.truncate(handed_out);
        }
        Ok(led)
    }

    fn follow_index(
        &self,
        search: &mut DomainSearch,
        counts: &DomainCounts,
        column_key: Option<&ColumnKey>,
        admit: &Admit<'_>,
    ) -> Result<Led, ArchiveError> {
        let Some(first) = search.next else {
            return Ok(Led::Everywhere);
        };
        let connection = self.connection();
        // An index of that name over something else does not fit, and SQLite refuses then.
        let query = connection.prepare_cached(
            "SELECT _rowid_ FROM Files INDEXED BY FilesDomainIdx WHERE domain = ?1 AND _rowid_ >= ?2 ORDER BY _rowid_",
        );
        let Ok(mut query) = query else { return Ok(Led::Astray) };
        // In one query SQLite would take the domain from the index, where it always fits.
        let mut row_query = connection.prepare_cached(
            "SELECT _rowid_, fileID, domain, relativePath, flags, file FROM Files NOT INDEXED WHERE _rowid_ = ?1",
        )?;
        let mut places = query.query(params![search.domain, first])?;
        let (mut batch, mut bytes, mut looked_at) = (Vec::new(), 0_usize, 0_usize);
        let mut domain = None;
        loop {
            let position = match places.next() {
                Ok(Some(place)) => place.get::<_, i64>(0)?,
                Ok(None) => break,
                // The index is damaged; whether the table is as well will show.
                Err(_) => return Ok(Led::Astray),
            };
            let mut rows = row_query.query(params![position])?;
            let Some(row) = rows.next()? else {
                return Ok(Led::Astray);
            };
            let fits = bytes_of(row, 2)? == Some(search.domain.as_bytes());
            if !fits || search.next.is_none_or(|next| position < next) {
                return Ok(Led::Astray);
            }
            let path = bytes_of(row, 3)?.and_then(|path| str::from_utf8(path).ok());
            let id = bytes_of(row, 1)?.and_then(FileId::from_hex);
            if path.is_none_or(|path| admit(position, &search.domain, path, id)) {
                bytes = bytes.saturating_add(bytes_of(row, 5)?.map_or(0, <[u8]>::len));
                batch.push(decode_row(row, position.cast_unsigned(), column_key, &mut domain)?);
            }
            search.next = position.checked_add(1);
            search.seen.push(position);
            looked_at = looked_at.saturating_add(1);
            if batch.len() >= BATCH_ROWS || bytes >= BATCH_BYTES || looked_at >= LOOKED_AT {
                return Ok(Led::To(batch));
            }
        }
        if search.seen.len() as u64 != counts.of(&search.domain) {
            return Ok(Led::Astray);
        }
        search.next = None;
        Ok(Led::To(batch))
    }
}
