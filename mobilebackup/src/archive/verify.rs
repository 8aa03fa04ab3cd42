//! Telling a sound backup from a damaged one (spec backup-format, 17.1 and 20).

mod baseline;
mod check;
mod integrity;
mod report;
mod whole;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::entry::Row;
use super::index::{Index, Rows};
use super::observe::{Observer, Phase, Progress};
use super::{Archive, ArchiveError};
pub use baseline::{Baseline, BaselineError, BaselineWriter};
pub use check::FileCheck;
pub use report::{Finding, Findings, Problem, Report};

/// How thoroughly a backup is checked. Each level includes the ones before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Level {
    /// What opening the folder showed: plists, state, whether index and plists agree. Needs no password.
    Quick,
    /// The index is sound to SQLite, every row decodes, ids fit paths, file keys unwrap, parents are there.
    Structure,
    /// Every file has a payload of a fitting length, and nothing lies around that no row names.
    Presence,
    /// Every payload is read: digests where there are any, padding, the length of SQLite databases.
    #[default]
    Content,
}

/// How [`Archive::verify`] works.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    level: Level,
    threads: Option<usize>,
    sha256: bool,
    integrity: bool,
    against: Option<Arc<Baseline>>,
    listed: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            level: Level::default(),
            threads: None,
            sha256: false,
            integrity: false,
            against: None,
            listed: 10_000,
        }
    }
}

impl VerifyOptions {
    /// How thoroughly to check. Default: [`Level::Content`].
    #[must_use]
    pub const fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Threads that read and decrypt. Default: one per core that this process may use.
    #[must_use]
    pub const fn threads(mut self, count: usize) -> Self {
        self.threads = Some(count);
        self
    }

    /// Also hash the contents of every file with SHA-256 and hand the hash to [`Observer::on_file`]. Only with
    /// [`Level::Content`]. Default: off.
    #[must_use]
    pub const fn sha256(mut self, on: bool) -> Self {
        self.sha256 = on;
        self
    }

    /// Also let SQLite check the pages of every database among the payloads, with its log taken in. Only with
    /// [`Level::Content`]. Reads each of them a second time, and one database is never left in the middle. Default: off,
    /// which compares a database's length with its header.
    #[must_use]
    pub const fn integrity(mut self, on: bool) -> Self {
        self.integrity = on;
        self
    }

    /// Compare with what the backup was: with the manifest of an earlier extraction, or what a [`BaselineWriter`] wrote
    /// at an earlier check. The format has no checksum of its own for files of apps and photos, nor for the rows of the
    /// index, so this is the only way to see a changed byte there. Contents are compared at [`Level::Content`].
    /// Default: nothing.
    #[must_use]
    pub fn against(mut self, baseline: Arc<Baseline>) -> Self {
        self.against = Some(baseline);
        self
    }

    /// How many findings of either sort the report lists; all are counted. Default: 10,000.
    #[must_use]
    pub const fn listed(mut self, findings: usize) -> Self {
        self.listed = findings;
        self
    }
}

/// What workers and the collecting thread share.
struct Shared<'a> {
    archive: &'a Archive,
    options: &'a VerifyOptions,
    rows: Mutex<Rows<'a>>,
    stop: AtomicBool,
    bytes: AtomicU64,
}

/// What a worker found out about some rows.
type Batch = Vec<Found>;

/// Rows that a worker checks before it reports them.
const BATCH_ROWS: usize = 64;

/// Bytes after which it reports earlier.
const BATCH_BYTES: u64 = 4 << 20;

/// Batches that may wait to be booked.
const BATCHES_AHEAD: usize = 16;

/// What a worker found out about one row.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are rows; a box for each would only cost"
)]
enum Found {
    Row(FileCheck),
    Skipped(super::entry::SkippedRow),
    Index(ArchiveError),
}

impl Archive {
    /// Checks the backup and reports what is damaged and what is odd. Damage never ends the check: only the backup as
    /// a whole being locked, the observer or the disk do.
    ///
    /// [`Level::Content`] reads everything, about as fast as the disk: decryption and hashing run on several threads.
    /// SQLite's own check of the index takes some microseconds a row before that.
    /// Memory: some 60 bytes per row.
    ///
    /// # Errors
    /// [`ArchiveError::Locked`] above [`Level::Quick`], [`Cancelled`](ArchiveError::Cancelled),
    /// [`Io`](ArchiveError::Io) if the folder itself cannot be listed.
    pub fn verify(&self, options: &VerifyOptions, observer: &mut dyn Observer) -> Result<Report, ArchiveError> {
        let mut report = Report::new(self, options.level, options.listed);
        if options.level == Level::Quick {
            return Ok(report);
        }
        if self.is_locked() {
            return Err(ArchiveError::Locked);
        }
        for class in self.class_keys().map(|keys| keys.damaged()).unwrap_or_default() {
            report.add(Finding::of_backup(Problem::ClassKeyDamaged { class: *class }));
        }
        if let Index::Database { database, .. } = self.index()? {
            for reason in integrity::of_index(database, observer)? {
                report.add(Finding::of_backup(Problem::IndexInconsistent { reason }));
            }
        }
        if let Some(baseline) = &options.against {
            baseline.report_own_files(self.folder(), &mut report)?;
        }
        let mut whole = whole::Whole::default();
        self.check_rows(options, observer, &mut report, &mut whole)?;
        whole.finish(self, options, &mut report, observer)?;
        Ok(report)
    }

    fn check_rows(
        &self,
        options: &VerifyOptions,
        observer: &mut dyn Observer,
        report: &mut Report,
        whole: &mut whole::Whole,
    ) -> Result<(), ArchiveError> {
        let shared = Shared {
            archive: self,
            options,
            rows: Mutex::new(self.rows()?),
            stop: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
        };
        let cores = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = options.threads.unwrap_or_else(cores).clamp(1, 64);
        let phase = if options.level == Level::Content {
            Phase::ReadingPayloads
        } else {
            Phase::ReadingIndex
        };
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(BATCHES_AHEAD);
            for _ in 0..threads {
                let (sender, shared) = (sender.clone(), &shared);
                scope.spawn(move || work(shared, &sender));
            }
            drop(sender);
            let mut done = 0_u64;
            loop {
                let found = receiver.recv_timeout(Duration::from_millis(50));
                if matches!(found, Err(RecvTimeoutError::Disconnected)) {
                    return Ok(());
                }
                for found in found.unwrap_or_default() {
                    done = done.saturating_add(1);
                    take(found, report, whole, observer);
                }
                let bytes = shared.bytes.load(Ordering::Relaxed);
                let progress = Progress::new(phase, done, None).with_bytes(bytes);
                if observer.on_progress(&progress) == ControlFlow::Break(()) {
                    // Workers see the flag, or that nobody listens any more.
                    shared.stop.store(true, Ordering::Relaxed);
                    return Err(ArchiveError::Cancelled);
                }
            }
        })
    }
}

/// Takes row after row from the shared index until there is none.
fn work(shared: &Shared<'_>, sender: &mpsc::SyncSender<Batch>) {
    let (mut buffer, mut batch) = (Vec::new(), Batch::new());
    let mut unreported = 0_u64;
    while !shared.stop.load(Ordering::Relaxed) {
        let row = shared.rows.lock().unwrap_or_else(PoisonError::into_inner).next();
        batch.push(match row {
            None => break,
            Some(Err(e)) => Found::Index(e),
            Some(Ok(Row::Skipped(row))) => Found::Skipped(row),
            Some(Ok(Row::Entry(entry))) => {
                let mut pulse = |bytes| {
                    unreported = unreported.saturating_add(bytes);
                    shared.bytes.fetch_add(bytes, Ordering::Relaxed);
                    !shared.stop.load(Ordering::Relaxed)
                };
                Found::Row(check::check(
                    shared.archive,
                    entry,
                    shared.options,
                    &mut buffer,
                    &mut pulse,
                ))
            }
        });
        if batch.len() >= BATCH_ROWS || unreported >= BATCH_BYTES {
            unreported = 0;
            if sender.send(std::mem::take(&mut batch)).is_err() {
                return;
            }
        }
    }
    // Nobody listens any more after a cancel.
    let _ = sender.send(batch);
}

/// Books what a worker found.
fn take(found: Found, report: &mut Report, whole: &mut whole::Whole, observer: &mut dyn Observer) {
    match found {
        Found::Row(check) => {
            report.count(&check);
            whole.see(&check.entry);
            for problem in &check.problems {
                report.add(Finding::of_entry(&check.entry, problem.clone()));
            }
            observer.on_file(&check);
        }
        Found::Skipped(row) => {
            report.rows = report.rows.saturating_add(1);
            whole.see_id(row.file_id);
            report.add(Finding::of_skipped(row));
        }
        Found::Index(error) => {
            report.index_complete = false;
            report.add(Finding::of_backup(Problem::IndexDamaged {
                reason: report::chain(&error),
            }));
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
pub(crate) mod sweep_tests;

#[cfg(test)]
mod tests;
