//! The entries that a selection means, one after another.

use super::selection::Selection;
use crate::archive::{Archive, ArchiveError, FileEntry, Row, Rows};

/// The entries of a backup that a [`Selection`] means, in constant memory. Rows that make no sense are left out and
/// logged.
///
/// Made by [`Archive::select`]. After an error it is at its end.
#[derive(Debug)]
pub struct Selected<'a> {
    selection: &'a Selection,
    rows: Rows<'a>,
    skipped: u64,
}

impl Archive {
    /// Every file, folder and link that `selection` means, in the order of the index, which means nothing.
    ///
    /// # Errors
    /// As [`rows`](Archive::rows).
    pub fn select<'a>(&'a self, selection: &'a Selection) -> Result<Selected<'a>, ArchiveError> {
        Ok(Selected {
            selection,
            rows: self.rows()?,
            skipped: 0,
        })
    }
}

impl Selected<'_> {
    /// How many rows were left out so far although they may be meant: their records do not decode, or they have no
    /// readable name. [`Archive::rows`] shows them.
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
}

impl Iterator for Selected<'_> {
    type Item = Result<FileEntry, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rows.next()? {
                Ok(Row::Entry(entry)) if self.selection.matches(&entry) => return Some(Ok(entry)),
                Ok(Row::Entry(_)) => {}
                Ok(Row::Skipped(row)) => {
                    if self.may_mean(row.domain.as_deref(), row.path.as_deref()) {
                        tracing::debug!(position = row.position, reason = %row.reason, "row of the index skipped");
                        self.skipped = self.skipped.saturating_add(1);
                    }
                }
                Err(e) => return Some(Err(e)),
            }
        }
    }
}
