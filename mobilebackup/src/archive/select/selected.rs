//! The entries that a selection means, one after another.

use super::selection::Selection;
use crate::archive::database::Database;
use crate::archive::database::by_domain::{DomainSearch, Led, Search};
use crate::archive::index::Index;
use crate::archive::metadata::ColumnKey;
use crate::archive::{Archive, ArchiveError, FileEntry, FileId, Row, Rows};

/// The entries of a backup that a [`Selection`] means, in constant memory but for 8 bytes per row of one domain. Rows
/// that make no sense are left out and logged.
///
/// Made by [`Archive::select`]. After an error it is at its end.
#[derive(Debug)]
pub struct Selected<'a> {
    selection: &'a Selection,
    source: Source<'a>,
    batch: std::vec::IntoIter<Row>,
    skipped: u64,
}

/// Where the rows come from.
#[derive(Debug)]
enum Source<'a> {
    /// A flat index: every row, none looked at yet.
    Rows(Rows<'a>),
    /// The whole table, except for what `done` says.
    Table {
        database: &'a Database,
        column_key: Option<&'a ColumnKey>,
        search: Search,
        done: Done,
    },
    /// The rows of some domains, one domain after another, the next one last.
    Domains {
        database: &'a Database,
        column_key: Option<&'a ColumnKey>,
        current: Option<DomainSearch>,
        left: Vec<Box<str>>,
    },
    End,
}

/// What the index over domains has led to before it turned out to be damaged.
#[derive(Debug, Default)]
struct Done {
    /// Domains that are still to come; `None` for all.
    left: Option<Vec<Box<str>>>,
    /// Row ids of the domain that was begun, rising.
    rows: Vec<i64>,
}

impl Done {
    /// What was done before the index led astray in `domain`, with the domains of `left` still to come.
    fn before(domain: &mut DomainSearch, mut left: Vec<Box<str>>) -> Self {
        tracing::debug!(
            domain = domain.domain(),
            "no sound index over domains; reading the table"
        );
        left.push(domain.domain().into());
        Self {
            left: Some(left),
            rows: std::mem::take(&mut domain.seen),
        }
    }

    fn has(&self, row: i64, domain: &str) -> bool {
        let is_left = |left: &Vec<Box<str>>| left.iter().any(|left| **left == *domain);
        !self.left.as_ref().is_none_or(is_left) || self.rows.binary_search(&row).is_ok()
    }
}

impl Archive {
    /// Every file, folder and link that `selection` means, in no particular order.
    ///
    /// Rows are looked at by their names and decoded only where these fit.
    /// From the second time on, if the selection names its domains, only the rows of these are looked at, by the index
    /// that devices write; what that misses, because it is damaged or not there, is found all the same.
    ///
    /// # Errors
    /// As [`rows`](Archive::rows).
    pub fn select<'a>(&'a self, selection: &'a Selection) -> Result<Selected<'a>, ArchiveError> {
        let source = match self.index()? {
            Index::Flat(_) => Source::Rows(self.rows()?),
            Index::Database { database, column_key } => {
                let column_key = column_key.as_ref();
                match selection
                    .literal_domains()
                    .filter(|_| database.domain_counts().is_some())
                {
                    Some(domains) => Source::Domains {
                        database,
                        column_key,
                        current: None,
                        left: domains.into_iter().rev().map(Box::from).collect(),
                    },
                    None => Source::Table {
                        database,
                        column_key,
                        search: Search::new(),
                        done: Done::default(),
                    },
                }
            }
        };
        Ok(Selected {
            selection,
            source,
            batch: Vec::new().into_iter(),
            skipped: 0,
        })
    }
}

impl Selected<'_> {
    /// How many rows were left out so far although they may be meant: their records do not decode, or they have no
    /// readable name. [`Archive::rows`] shows them. Complete once the iterator is at its end.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether a row that makes no sense may have been one of those that are meant.
    fn may_mean(&self, domain: Option<&str>, path: Option<&str>) -> bool {
        match (domain, path) {
            (Some(domain), Some(path)) => self.selection.admits(domain, path),
            _ => true,
        }
    }

    /// The next rows that may be meant; `None` at the end.
    fn next_batch(&mut self) -> Result<Option<Vec<Row>>, ArchiveError> {
        let selection = self.selection;
        let admits = |domain: &str, path: &str, id: Option<FileId>| selection.admits_row(domain, path, id);
        loop {
            match &mut self.source {
                Source::End => return Ok(None),
                Source::Rows(rows) => {
                    let batch = rows.next_batch()?;
                    return Ok((!batch.is_empty()).then_some(batch));
                }
                Source::Table {
                    database,
                    column_key,
                    search,
                    done,
                } => {
                    return database.next_admitted(search, *column_key, &|row, domain, path, id| {
                        admits(domain, path, id) && !done.has(row, domain)
                    });
                }
                Source::Domains {
                    database,
                    column_key,
                    current,
                    left,
                } => {
                    let Some(counts) = database.domain_counts() else {
                        return Ok(None);
                    };
                    let Some(domain) = current else {
                        match left.pop() {
                            Some(domain) => *current = Some(DomainSearch::new(&domain)),
                            None => {
                                // They may be meant, and no domain leads to them.
                                self.skipped = self.skipped.saturating_add(counts.nameless);
                                self.source = Source::End;
                            }
                        }
                        continue;
                    };
                    let led = database.next_of_domain(domain, counts, *column_key, &|_, domain, path, id| {
                        admits(domain, path, id)
                    })?;
                    match led {
                        Led::To(batch) => return Ok(Some(batch)),
                        Led::Everywhere => *current = None,
                        Led::Astray => {
                            let (database, column_key) = (*database, *column_key);
                            self.source = Source::Table {
                                database,
                                column_key,
                                search: Search::new(),
                                done: Done::before(domain, std::mem::take(left)),
                            };
                        }
                    }
                }
            }
        }
    }
}

impl Iterator for Selected<'_> {
    type Item = Result<FileEntry, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.batch.next() {
                Some(Row::Entry(entry)) if self.selection.matches(&entry) => return Some(Ok(entry)),
                Some(Row::Entry(_)) => {}
                Some(Row::Skipped(row)) => {
                    if self.may_mean(row.domain.as_deref(), row.path.as_deref()) {
                        tracing::debug!(position = row.position, reason = %row.reason, "row of the index skipped");
                        self.skipped = self.skipped.saturating_add(1);
                    }
                }
                None => match self.next_batch() {
                    Ok(Some(batch)) => self.batch = batch.into_iter(),
                    Ok(None) => {
                        self.source = Source::End;
                        return None;
                    }
                    Err(e) => {
                        self.source = Source::End;
                        return Some(Err(e));
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests;
