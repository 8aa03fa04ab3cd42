//! Filling a folder: workers that read, decrypt and write, and one thread that keeps the books.

use std::fs::FileTimes;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::chain;
use super::files::Worker;
use super::links::Later;
use super::manifest::{Header, ManifestLine, Proofs, Status};
use super::target::Target;
use super::{Existing, ExtractError, ExtractOptions, ExtractReport, Links, Resume};
use crate::archive::entry::Row;
use crate::archive::index::Rows;
use crate::archive::names::{Convention, MANIFEST, NameScan, Names};
use crate::archive::observe::{Observer, Phase, Progress};
use crate::archive::{Archive, ArchiveError, FileEntry, Kind};

/// Rows that a worker takes at once, so that it seldom waits for the index.
const ROWS: usize = 32;

/// Recorded bytes after which it takes no more, so that large files spread over all workers.
const ROWS_BYTES: u64 = 1 << 20;

/// Batches that may wait to be booked.
const BATCHES_AHEAD: usize = 16;

/// Rows between two looks at the observer while names are collected.
const SCAN_STEP: u64 = 4096;

/// What is known before the first file is written.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) names: Names,
    /// Selected rows.
    pub(super) rows: u64,
    /// Their recorded sizes.
    pub(super) bytes: u64,
}

impl Plan {
    /// One pass over the index: the names of everything, the number and size of what is selected.
    pub(super) fn make(
        archive: &Archive,
        options: &ExtractOptions,
        scan: NameScan,
        observer: &mut dyn Observer,
    ) -> Result<Self, ExtractError> {
        let mut scan = scan;
        let (mut seen, mut rows, mut bytes) = (0_u64, 0_u64, 0_u64);
        for row in archive.rows()? {
            match row {
                Ok(Row::Entry(entry)) => {
                    scan.see(&entry);
                    if options.admits(&entry) {
                        rows = rows.saturating_add(1);
                        if matches!(entry.kind, Kind::File | Kind::Unknown) {
                            bytes = bytes.saturating_add(entry.size);
                        }
                    }
                }
                Ok(Row::Skipped(_)) => {}
                // What can be read is extracted; the second pass meets the same damage and reports it.
                Err(e) if seen > 0 => {
                    tracing::warn!(error = %chain(&e), "the index ends early");
                    break;
                }
                Err(e) => return Err(e.into()),
            }
            seen = seen.saturating_add(1);
            if seen.is_multiple_of(SCAN_STEP) {
                let progress = Progress::new(Phase::ReadingIndex, seen, None);
                if observer.on_progress(&progress) == ControlFlow::Break(()) {
                    return Err(ExtractError::Cancelled);
                }
            }
        }
        Ok(Self {
            names: scan.finish(),
            rows,
            bytes,
        })
    }
}

/// What workers and the bookkeeper share.
pub(super) struct Shared<'a> {
    pub(super) archive: &'a Archive,
    pub(super) options: &'a ExtractOptions,
    pub(super) target: &'a Target,
    pub(super) names: &'a Names,
    pub(super) proofs: Option<&'a Proofs>,
    rows: Mutex<Rows<'a>>,
    pub(super) stop: AtomicBool,
    pub(super) bytes: AtomicU64,
}

/// What a worker has to tell.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are lines; a box for each would only cost"
)]
pub(super) enum Event {
    Line(ManifestLine),
    /// The index cannot be read any further.
    Index(ArchiveError),
    /// The run cannot go on.
    Fatal(ExtractError),
}

/// Opens the target and does everything.
pub(super) fn extract(
    archive: &Archive,
    to: &Path,
    options: &ExtractOptions,
    observer: &mut dyn Observer,
) -> Result<ExtractReport, ExtractError> {
    if archive.is_locked() {
        return Err(ArchiveError::Locked.into());
    }
    if options.resume == Resume::Never && options.existing != Existing::ReplaceOurs && Target::holds_extraction(to) {
        return Err(ExtractError::TargetInUse { target: to.to_owned() });
    }
    let was_unfinished = Target::is_unfinished(to);
    let target = Target::open(to, archive.folder())?;
    let (mut books, plan) = match prepare(archive, &target, options, observer) {
        Ok(prepared) => prepared,
        Err(e) => {
            target.abandon(was_unfinished);
            return Err(e);
        }
    };
    let proofs = books.proofs.take();
    let shared = Shared {
        archive,
        options,
        target: &target,
        names: &plan.names,
        proofs: proofs.as_ref(),
        rows: Mutex::new(archive.rows()?),
        stop: AtomicBool::new(false),
        bytes: AtomicU64::new(0),
    };
    let ended = run(&shared, &plan, &mut books, observer);
    // Whatever ended the run: what is written is in the manifest.
    books.write_out()?;
    ended?;
    let report = books.finish(&target, &plan.names, options.flush)?;
    target.finish().map_err(ExtractError::Target)?;
    Ok(report)
}

/// Everything that can refuse the run before the first file is written.
fn prepare(
    archive: &Archive,
    target: &Target,
    options: &ExtractOptions,
    observer: &mut dyn Observer,
) -> Result<(Books, Plan), ExtractError> {
    let convention = options.names.unwrap_or_default();
    let folding = convention.folds() || target.folds_names().map_err(ExtractError::Target)?;
    let books = Books::open(archive, target, options, convention, folding)?;
    let scan = NameScan::new(convention).folding(folding);
    let plan = Plan::make(archive, options, scan, observer)?;
    if options.check_space && books.proofs.as_ref().is_none_or(|proofs| proofs.len() == 0) {
        // An odd file system may not say; then the first failed write does.
        if let Ok(free) = target.free_space()
            && free < plan.bytes
        {
            return Err(ExtractError::NotEnoughSpace {
                target: target.path.clone(),
                needed: plan.bytes,
                free,
            });
        }
    }
    Ok((books, plan))
}

/// Starts the workers and books what they tell until they are done.
fn run(shared: &Shared<'_>, plan: &Plan, books: &mut Books, observer: &mut dyn Observer) -> Result<(), ExtractError> {
    let cores = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = shared.options.threads.unwrap_or_else(cores).clamp(1, 64);
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(BATCHES_AHEAD);
        for number in 0..threads {
            let sender = sender.clone();
            scope.spawn(move || work(shared, number, &sender));
        }
        drop(sender);
        let mut done = 0_u64;
        let mut ended = Ok(());
        loop {
            let events: Result<Vec<Event>, _> = receiver.recv_timeout(Duration::from_millis(50));
            if matches!(events, Err(RecvTimeoutError::Disconnected)) {
                return ended;
            }
            for event in events.unwrap_or_default() {
                done = done.saturating_add(1);
                let booked = match event {
                    Event::Line(line) => books.enter(line, observer),
                    Event::Index(error) => {
                        books.report.index_damage = Some(chain(&error));
                        Ok(())
                    }
                    Event::Fatal(error) => Err(error),
                };
                if ended.is_ok() {
                    ended = booked;
                }
            }
            let progress = Progress::new(Phase::WritingFiles, done, Some(plan.rows))
                .with_bytes(shared.bytes.load(Ordering::Relaxed))
                .with_total_bytes(plan.bytes);
            if observer.on_progress(&progress) == ControlFlow::Break(()) && ended.is_ok() {
                ended = Err(ExtractError::Cancelled);
            }
            if ended.is_err() {
                // Workers stop at their next step; what they have finished by then is still booked.
                shared.stop.store(true, Ordering::Relaxed);
            }
        }
    })
}

/// Takes rows from the shared index until there are none.
fn work(shared: &Shared<'_>, number: usize, sender: &mpsc::SyncSender<Vec<Event>>) {
    let mut worker = match Worker::new(shared, number) {
        Ok(worker) => worker,
        Err(e) => {
            let _ = sender.send(vec![Event::Fatal(ExtractError::Target(e))]);
            return;
        }
    };
    let (mut rows, mut events) = (Vec::with_capacity(ROWS), Vec::new());
    while !shared.stop.load(Ordering::Relaxed) {
        take_rows(shared, &mut rows, &mut events);
        if rows.is_empty() && events.is_empty() {
            return;
        }
        for entry in rows.drain(..) {
            if shared.stop.load(Ordering::Relaxed) {
                break;
            }
            match worker.extract(entry) {
                Ok(Some(line)) => events.push(Event::Line(line)),
                Ok(None) => {}
                Err(e) => events.push(Event::Fatal(e)),
            }
        }
        if sender.send(std::mem::take(&mut events)).is_err() {
            return;
        }
    }
}

/// The next selected rows; none at the end.
fn take_rows(shared: &Shared<'_>, taken: &mut Vec<FileEntry>, events: &mut Vec<Event>) {
    let mut rows = shared.rows.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bytes = 0_u64;
    while taken.len() < ROWS && bytes < ROWS_BYTES && !shared.stop.load(Ordering::Relaxed) {
        match rows.next() {
            None => return,
            Some(Ok(Row::Entry(entry))) => {
                if shared.options.admits(&entry) {
                    bytes = bytes.saturating_add(entry.size);
                    taken.push(entry);
                }
            }
            Some(Ok(Row::Skipped(row))) => events.push(Event::Line(ManifestLine::of_skipped(row))),
            Some(Err(e)) => events.push(Event::Index(e)),
        }
    }
}

/// The manifest and the report.
struct Books {
    manifest: std::fs::File,
    pending: Vec<u8>,
    proofs: Option<Proofs>,
    report: ExtractReport,
    later: Later,
    listed: usize,
    links: Links,
}

/// Bytes of the manifest that may be lost when a run is killed; such files are compared when it is resumed.
const PENDING: usize = 64 << 10;

impl Books {
    fn open(
        archive: &Archive,
        target: &Target,
        options: &ExtractOptions,
        names: Convention,
        folding: bool,
    ) -> Result<Self, ExtractError> {
        let other = |reason| ExtractError::OtherExtraction {
            target: target.path.clone(),
            reason,
        };
        let mut manifest = target.open_manifest().map_err(ExtractError::Target)?;
        let proofs = Proofs::read(&manifest, options.resume == Resume::ByHash).map_err(ExtractError::Target)?;
        let end = manifest.seek(SeekFrom::End(0)).map_err(ExtractError::Target)?;
        let header = Header::new(archive, names, folding);
        let mut pending = Vec::new();
        if !proofs.ends_whole {
            pending.push(b'\n');
        }
        match &proofs.header {
            // A run that was killed at once leaves an empty manifest, or the beginning of a first line.
            None if end > 4096 => return Err(other("its manifest is not one of ours")),
            None => header.append_to(&mut pending).map_err(ExtractError::Target)?,
            Some(old) if old == &header => {}
            Some(old) if old.device != header.device => return Err(other("it is of another device")),
            Some(old) if old.names != header.names || old.folding != header.folding => {
                return Err(other("its names follow another convention"));
            }
            Some(_) if options.existing != Existing::ReplaceOurs => {
                return Err(other("it is of another state of the backup"));
            }
            Some(_) => header.append_to(&mut pending).map_err(ExtractError::Target)?,
        }
        let report = ExtractReport {
            manifest: Some(target.path.join(MANIFEST)),
            ..ExtractReport::default()
        };
        Ok(Self {
            manifest,
            pending,
            proofs: Some(proofs),
            report,
            later: Later::default(),
            listed: options.listed,
            links: options.links,
        })
    }

    fn enter(&mut self, line: ManifestLine, observer: &mut dyn Observer) -> Result<(), ExtractError> {
        self.later.see(&line, self.links);
        // What an earlier run has written is in the manifest already.
        if line.status != Status::AlreadyThere {
            line.append_to(&mut self.pending).map_err(ExtractError::Target)?;
        }
        self.report.count(&line, self.listed);
        observer.on_extracted(&line);
        if self.pending.len() >= PENDING {
            self.write_out()?;
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), ExtractError> {
        let written = self.manifest.write_all(&self.pending);
        self.pending.clear();
        match written.map_err(ExtractError::judge) {
            Ok(()) => Ok(()),
            Err(Ok(e)) => Err(ExtractError::Target(e)),
            Err(Err(e)) => Err(e),
        }
    }

    /// What comes when all files are written: links, then the folders' own permissions and times.
    fn finish(&mut self, target: &Target, names: &Names, flush: bool) -> Result<ExtractReport, ExtractError> {
        let mut place = target.place(usize::MAX).map_err(ExtractError::Target)?;
        for line in self.later.make_links(&mut place, names) {
            line.append_to(&mut self.pending).map_err(ExtractError::Target)?;
            self.report.count(&line, self.listed);
        }
        self.write_out()?;
        self.later.restore_folders(&mut place);
        drop(place);
        if flush {
            self.manifest.sync_all().map_err(ExtractError::Target)?;
            target.flush().map_err(ExtractError::Target)?;
        }
        Ok(std::mem::take(&mut self.report))
    }
}

/// A time of the index, if the system can hold it.
pub(super) fn time_of(seconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    }
}

/// The times that a file gets.
pub(super) fn times_of(entry: &FileEntry) -> Option<FileTimes> {
    let modified = entry.modified.and_then(time_of);
    let mut times = FileTimes::new();
    if let Some(modified) = modified {
        times = times.set_modified(modified);
    }
    #[cfg(any(target_vendor = "apple", windows))]
    if let Some(created) = entry.created.and_then(time_of) {
        #[cfg(target_vendor = "apple")]
        use std::os::darwin::fs::FileTimesExt;
        #[cfg(windows)]
        use std::os::windows::fs::FileTimesExt;
        return Some(times.set_created(created));
    }
    modified.map(|_| times)
}

/// Unix seconds of a time on disk.
pub(super) fn seconds_of(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, i64::saturating_neg),
    }
}

/// What the system says of contents that could not be copied.
pub(super) fn read_failure(error: io::Error) -> super::Failure {
    super::Failure::of_read(ArchiveError::Io(error))
}
