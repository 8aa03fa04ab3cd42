//! What is different between two backups, or between two generations of one.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::diff::{self, DiffOptions};
//! use cabled_mobilebackup::archive::{Archive, Silent};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic");
//! let older = Archive::open(format!("{folder}/plain-v10"))?;
//! let mut newer = Archive::open(format!("{folder}/enc-v10"))?;
//! newer.unlock("vector-pass-1")?;
//! let options = DiffOptions::default();
//! let report = diff::report(&older, &newer, &options, &mut Silent)?;
//! for change in &report.changes {
//!     println!("{:?} {}/{}", change.what, change.domain, change.path);
//! }
//! // The encrypted one has a keychain besides, and the domain it is in.
//! assert_eq!(report.summary.total.added, 2);
//! assert_eq!(report.summary.total.removed, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`compare`] hands out each [`Change`] as it is found and ends with a [`Summary`] by domain, category and app;
//! [`report`] keeps the changes. Entries are the same if their domain and path are. Whether one has changed is told by
//! its record: kind, mode, owner, length, time of the last change, protection class, link target, extended attributes,
//! and the digest as far as both are under the same key. Inode numbers, times of creation and of the record itself
//! change with every restore and do not count. [`DiffOptions::contents`] reads and compares the files themselves.
//!
//! A file whose record is the same under another key is counted as [`rewrapped`](Tally::rewrapped): its contents may
//! be the same and mostly are, but only reading them tells.
//!
//! # Limits
//! Two passes over the older index and one over the newer, with 60 bytes per row of the older one in memory: 80 MiB for
//! 1.3 million rows. Links' targets, digests, keys, owners and attributes are kept as 32-bit hashes under a random key:
//! a change of one of those alone goes unseen once in four thousand million. A change that leaves length, time and the
//! rest as they were shows in the contents only.

mod change;
mod contents;
mod known;

use std::ops::ControlFlow;

use self::contents::Compared;
use self::known::{KnownRows, Met};
use super::select::{Apps, Category, Selection};
use super::{Archive, ArchiveError, FileEntry, Kind, Observer, Phase, Progress};

pub use self::change::{Change, ContentsVerdict, How, Side, Summary, Tallies, Tally, What};

/// Rows between two calls of the observer.
const STEP: u64 = 4096;

/// Why two backups cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// The older backup cannot be listed; [`ArchiveError::Locked`] if it was not unlocked.
    #[error("the older backup: {0}")]
    Older(#[source] ArchiveError),
    /// The newer backup cannot be listed.
    #[error("the newer backup: {0}")]
    Newer(#[source] ArchiveError),
    /// The observer, or whoever took the changes, stopped the job.
    #[error("cancelled")]
    Cancelled,
}

/// Which files are read to compare what is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Contents {
    /// None: records decide.
    #[default]
    Never,
    /// Those whose records differ, or whose key does: tells a touched file from a changed one.
    WhereRecordsDiffer,
    /// All that are in both. Reads both backups whole.
    Always,
}

/// How two backups are compared.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct DiffOptions {
    contents: Contents,
    selection: Selection,
    list_rewrapped: bool,
    list_limit: Option<usize>,
}

impl DiffOptions {
    /// Which files are read. Default: [`Contents::Never`].
    pub const fn contents(mut self, contents: Contents) -> Self {
        self.contents = contents;
        self
    }

    /// Compares only what is meant. Default: everything.
    pub fn selection(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// Hands out files whose record is the same under another key as well. Default: off; they are counted.
    pub const fn list_rewrapped(mut self, on: bool) -> Self {
        self.list_rewrapped = on;
        self
    }

    /// The most changes that [`report`] keeps. Default: 100,000; the summary counts all.
    pub const fn list_limit(mut self, changes: usize) -> Self {
        self.list_limit = Some(changes);
        self
    }
}

/// All there is to say about two backups.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The counts.
    pub summary: Summary,
    /// The changes, in no particular order.
    pub changes: Vec<Change>,
    /// How many changes there are beyond [`DiffOptions::list_limit`].
    pub not_listed: u64,
}

/// Compares two backups and keeps the changes.
///
/// # Errors
/// As [`compare`].
pub fn report(
    older: &Archive,
    newer: &Archive,
    options: &DiffOptions,
    observer: &mut dyn Observer,
) -> Result<Report, DiffError> {
    const LIMIT: usize = 100_000;
    let limit = options.list_limit.unwrap_or(LIMIT);
    let mut report = Report::default();
    report.summary = compare(older, newer, options, observer, &mut |change| {
        if report.changes.len() < limit {
            report.changes.push(change);
        } else {
            report.not_listed = report.not_listed.saturating_add(1);
        }
        ControlFlow::Continue(())
    })?;
    Ok(report)
}

/// Compares two backups. `found` gets each change, first those of the newer index in its order, then what was removed.
///
/// # Errors
/// [`DiffError::Older`] and [`DiffError::Newer`] as [`Archive::rows`]; [`DiffError::Cancelled`]. A file that cannot be
/// read for comparison is a change that says so, not an error.
pub fn compare(
    older: &Archive,
    newer: &Archive,
    options: &DiffOptions,
    observer: &mut dyn Observer,
    found: &mut dyn FnMut(Change) -> ControlFlow<()>,
) -> Result<Summary, DiffError> {
    let mut known = KnownRows::new();
    let apps = Apps::of(older).map_err(DiffError::Older)?;
    let mut job = Job {
        older,
        newer,
        options,
        apps: apps.and(Apps::of(newer).map_err(DiffError::Newer)?),
        summary: Summary::default(),
        rows: 0,
        files_read: 0,
        bytes_read: 0,
        observer,
        found,
    };
    job.each(older, DiffError::Older, &mut |_, entry| {
        known.add(&entry);
        Ok(())
    })?;
    known.sort();
    job.summary.skipped_newer = job.each(newer, DiffError::Newer, &mut |job, entry| {
        let met = known.meet(&entry);
        job.newer_entry(&entry, met)
    })?;
    job.summary.skipped_older = job.each(older, DiffError::Older, &mut |job, entry| match known.is_left(&entry) {
        true => job.removed(&entry),
        false => Ok(()),
    })?;
    Ok(job.summary)
}

/// A comparison that is going on.
struct Job<'a> {
    older: &'a Archive,
    newer: &'a Archive,
    options: &'a DiffOptions,
    apps: Apps,
    summary: Summary,
    rows: u64,
    files_read: u64,
    bytes_read: u64,
    observer: &'a mut dyn Observer,
    found: &'a mut dyn FnMut(Change) -> ControlFlow<()>,
}

impl Job<'_> {
    /// Calls `visit` with every entry that is meant; returns how many rows made no sense.
    fn each(
        &mut self,
        archive: &Archive,
        whose: fn(ArchiveError) -> DiffError,
        visit: &mut dyn FnMut(&mut Self, FileEntry) -> Result<(), DiffError>,
    ) -> Result<u64, DiffError> {
        let mut selected = archive.select(&self.options.selection).map_err(whose)?;
        for entry in selected.by_ref() {
            visit(self, entry.map_err(whose)?)?;
            self.rows = self.rows.saturating_add(1);
            if self.rows.is_multiple_of(STEP) {
                self.report(Progress::new(Phase::ComparingIndexes, self.rows, None))?;
            }
        }
        Ok(selected.skipped())
    }

    fn report(&mut self, progress: Progress) -> Result<(), DiffError> {
        match self.observer.on_progress(&progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(DiffError::Cancelled),
        }
    }

    fn newer_entry(&mut self, entry: &FileEntry, met: Option<Met>) -> Result<(), DiffError> {
        let Some(met) = met else {
            let change = self.change(What::Added, entry, None, Some(Side::of(entry)));
            return self.hand_out(change);
        };
        let reads = match self.options.contents {
            Contents::Never => false,
            Contents::WhereRecordsDiffer => !met.how.is_empty(),
            Contents::Always => true,
        };
        let contents = match reads && entry.kind == Kind::File && met.was_file {
            true => Some(self.read_both(entry)?),
            false => None,
        };
        let mut how = met.how;
        let what = match (&contents, &*how) {
            (Some(ContentsVerdict::Different), _) => {
                how.push(How::Contents);
                What::Changed
            }
            // Nothing is known about what cannot be read, and that is worth a line.
            (Some(ContentsVerdict::Unreadable { .. }), [] | [How::Key]) => What::Changed,
            (_, []) => What::Same,
            (Some(ContentsVerdict::Same), [How::Key]) => What::Same,
            (_, [How::Key]) => What::Rewrapped,
            _ => What::Changed,
        };
        let mut change = self.change(what, entry, Some(met.before), Some(Side::of(entry)));
        (change.how, change.contents) = (how, contents);
        self.hand_out(change)
    }

    fn removed(&mut self, entry: &FileEntry) -> Result<(), DiffError> {
        let change = self.change(What::Removed, entry, Some(Side::of(entry)), None);
        self.hand_out(change)
    }

    fn change(&self, what: What, entry: &FileEntry, before: Option<Side>, after: Option<Side>) -> Change {
        Change {
            what,
            domain: entry.domain.to_string(),
            path: entry.path.to_string(),
            app: self.apps.owner(&entry.domain).map(str::to_owned),
            category: Category::of(&entry.domain, &entry.path),
            kind: entry.kind,
            before,
            after,
            how: Vec::new(),
            contents: None,
        }
    }

    fn hand_out(&mut self, change: Change) -> Result<(), DiffError> {
        self.summary.count(&change);
        match change.what {
            What::Same => return Ok(()),
            What::Rewrapped if !self.options.list_rewrapped => return Ok(()),
            _ => {}
        }
        match (self.found)(change) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(DiffError::Cancelled),
        }
    }

    /// Reads a file in both backups until they differ.
    fn read_both(&mut self, entry: &FileEntry) -> Result<ContentsVerdict, DiffError> {
        let Compared { verdict, bytes } = contents::compare(self.older, self.newer, entry);
        self.files_read = self.files_read.saturating_add(1);
        self.bytes_read = self.bytes_read.saturating_add(bytes);
        let progress = Progress::new(Phase::ComparingContents, self.files_read, None).with_bytes(self.bytes_read);
        self.report(progress)?;
        Ok(verdict)
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;
