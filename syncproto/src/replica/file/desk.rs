//! A session over files: what was read, what is staged, what becomes visible. Spec: mobilesync, section 15.6, steps 0, 6
//! and 10.

mod staging;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::book::{Book, Prints, failed};
use super::disk::{self, Disk, Tag};
use crate::engine::{Batch, EngineId, Outcome, SessionId, Write};
use crate::record::{Change, Changes, RecordId};
use crate::replica::{Committed, End, ReplicaError, Told};

/// Bytes of all files together.
const TOTAL: u64 = 4 << 30;

/// Records that are told in one batch.
const TOLD: usize = 10_000;

/// Files that are read for one batch, and bytes of them.
const READ: usize = 256;
const READ_BYTES: u64 = 2 << 20;

/// A session over the files below a folder.
#[derive(Debug)]
pub(crate) struct Desk {
    root: PathBuf,
    session: String,
    pub(crate) book: Box<dyn Book>,
    /// What was before each file's last write is known by these.
    marks: HashMap<Arc<str>, Mark>,
    max: u64,
    total: u64,
    /// Files that were not read yet, the next one last.
    unread: Vec<String>,
    ready: bool,
    unreadable: Vec<String>,
    told_to: Option<RecordId>,
    told_gone: bool,
    /// Which records each file's change comes from, the files by number.
    writers: Vec<(u32, EngineId)>,
    in_order: bool,
    staged: BTreeMap<Arc<str>, Staged>,
    temporaries: u32,
    /// What was staged and is perhaps not on the disk yet.
    unflushed: Vec<Arc<str>>,
    /// What could not be staged.
    ruined: BTreeSet<Arc<str>>,
    /// Writes were taken after the last staging.
    unstaged: bool,
    /// Something did not go as it should: the next session is to read everything.
    doubt: bool,
    /// Folders that go when they are empty, and for which record.
    leaving: Vec<(String, EngineId)>,
    /// What was written before this moment was not written since without its times showing it.
    settled: SystemTime,
    pub(crate) disk: Disk,
}

/// By what a file is known.
#[derive(Clone, Copy, Debug)]
struct Mark {
    number: u32,
    /// What it held, if it was read; `None` as well for one that was not there.
    tag: Option<Tag>,
    /// How it stood when it was read, in this session or before.
    print: Option<u64>,
}

#[derive(Debug)]
struct Staged {
    /// The temporary file's number, and whether it is in the root for want of the folder it goes to; `None` for a file that
    /// goes.
    temporary: Option<(u32, bool)>,
    wanted: Option<Tag>,
    after: Box<[String]>,
}

impl Desk {
    pub(crate) fn new(root: PathBuf, session: SessionId, book: Box<dyn Book>, max: usize) -> Self {
        Self {
            root,
            session: session.to_string(),
            book,
            marks: HashMap::new(),
            max: max as u64,
            total: 0,
            unread: Vec::new(),
            ready: true,
            unreadable: Vec::new(),
            told_to: None,
            told_gone: false,
            writers: Vec::new(),
            in_order: true,
            staged: BTreeMap::new(),
            temporaries: 0,
            unflushed: Vec::new(),
            ruined: BTreeSet::new(),
            unstaged: false,
            doubt: false,
            leaving: Vec::new(),
            settled: SystemTime::UNIX_EPOCH,
            disk: Disk::default(),
        }
    }

    /// Files are known again by their prints if these are of times before `settled`. Of no file, unless this is said.
    pub(crate) fn settled(mut self, settled: SystemTime) -> Self {
        self.settled = settled;
        self
    }

    /// These files are read while records are told, and not before.
    pub(crate) fn unread(mut self, sheets: Vec<String>) -> Self {
        self.marks.reserve(sheets.len());
        self.book.expect(sheets.len());
        self.unread = sheets;
        self.unread.reverse();
        self.ready = false;
        self
    }

    /// These files are what they were when they were read last.
    pub(crate) fn unchanged(mut self, prints: Vec<(Arc<str>, u64)>) -> Self {
        self.marks.reserve(prints.len());
        for (sheet, print) in prints {
            self.mark(&sheet).print = Some(print);
        }
        self
    }

    fn mark(&mut self, sheet: &Arc<str>) -> &mut Mark {
        // A folder has fewer files than fit into the number.
        let number = u32::try_from(self.marks.len()).unwrap_or(u32::MAX);
        self.marks.entry(Arc::clone(sheet)).or_insert(Mark {
            number,
            tag: None,
            print: None,
        })
    }

    /// A file's name, kept once.
    fn name(&self, sheet: &str) -> Arc<str> {
        let known = self.marks.get_key_value(sheet);
        known.map_or_else(|| sheet.into(), |(name, _)| Arc::clone(name))
    }

    fn tag(&self, sheet: &str) -> Option<&Tag> {
        self.marks.get(sheet)?.tag.as_ref()
    }

    /// How much was read.
    pub(crate) const fn bytes(&self) -> u64 {
        self.total
    }

    /// Whether nothing stands in the way of telling changes alone.
    pub(crate) fn is_simple(&self) -> bool {
        self.unreadable.is_empty() && !self.book.is_odd()
    }

    pub(crate) fn path(&self, sheet: &str) -> PathBuf {
        sheet.split('/').fold(self.root.clone(), |path, part| path.join(part))
    }

    /// Reads a file and hands it to the book. What cannot be read is named and stays as it is.
    ///
    /// # Errors
    /// [`ReplicaError::Unavailable`] when all files together are more than can be held.
    pub(crate) fn take(&mut self, sheet: &str) -> Result<(), ReplicaError> {
        let (content, found) = match disk::read(&self.path(sheet), self.max) {
            Ok(Some(read)) => read,
            // It went between the listing and now: as if it had gone before.
            Ok(None) => return Ok(()),
            Err(error) => {
                self.cannot_read(sheet, &error.to_string());
                return Ok(());
            }
        };
        self.total = self.total.saturating_add(content.len() as u64);
        if self.total > TOTAL {
            return Err(ReplicaError::Unavailable {
                what: self.root.display().to_string(),
                reason: format!("its files have more than {TOTAL} bytes together"),
            });
        }
        let sheet: Arc<str> = sheet.into();
        let print = disk::print(&found, self.settled);
        let mark = self.mark(&sheet);
        (mark.tag, mark.print) = (Some(Tag::of(&content)), print);
        let taken = match std::str::from_utf8(&content) {
            Ok(text) => self.book.take(&sheet, text),
            Err(_) => Err("it is not in UTF-8".to_owned()),
        };
        if let Err(reason) = taken {
            self.cannot_read(&sheet, &reason);
        }
        Ok(())
    }

    pub(crate) fn cannot_read(&mut self, sheet: &str, reason: &str) {
        self.unreadable.push(format!("{sheet} ({reason})"));
    }

    /// What is told next.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub(crate) fn read(&mut self) -> Result<Told, ReplicaError> {
        if let Some(batch) = self.read_some()? {
            return Ok(Told::Batch(batch));
        }
        let mut batch = Changes::new();
        if !std::mem::replace(&mut self.told_gone, true) {
            batch.extend(self.book.gone().into_iter().map(|id| (id, Change::Delete)));
        }
        while batch.is_empty() {
            let from = self.told_to.as_ref();
            let after = |id: &&RecordId| from.is_none_or(|from| *id > from);
            let ids = self.book.graph().iter().map(|(id, _)| id).filter(after).take(TOLD);
            let mut last = None;
            for id in ids {
                last = Some(id.clone());
                if let Some(record) = self.book.told(id) {
                    batch.insert(id.clone(), Change::Upsert(record));
                }
            }
            match last {
                Some(_) => self.told_to = last,
                None => break,
            }
        }
        if !batch.is_empty() {
            return Ok(Told::Batch(batch));
        }
        let notes = self.book.notes();
        let end = End::complete().with_unreadable(std::mem::take(&mut self.unreadable));
        Ok(Told::End(end.with_notes(notes)))
    }

    /// Reads some of the files that were not read yet. `None` when there are none left.
    fn read_some(&mut self) -> Result<Option<Changes>, ReplicaError> {
        while !self.unread.is_empty() {
            let from = self.total;
            for _ in 0..READ {
                let Some(sheet) = self.unread.pop() else { break };
                self.take(&sheet)?;
                if self.total.saturating_sub(from) > READ_BYTES {
                    break;
                }
            }
            let batch = self.book.hand_over();
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
        if !std::mem::replace(&mut self.ready, true) {
            self.unread = Vec::new();
            self.book.ready();
        }
        Ok(None)
    }

    /// Takes writes. Files are staged when they have to make room for others, and with the last of the writes.
    pub(crate) fn write(&mut self, batch: Batch) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        while self.read_some()?.is_some() {}
        self.unstaged = true;
        let mut outcomes = Vec::with_capacity(batch.writes.len());
        let mut later = Vec::new();
        for write in &batch.writes {
            let outcome = match self.apply(write) {
                Ok(native) => Outcome::Done { native },
                Err(outcome) => outcome,
            };
            outcomes.push((write.engine, outcome));
            later.extend(self.let_go()?);
        }
        // What failed after it was taken.
        outcomes.extend(later);
        if !batch.more {
            outcomes.extend(self.stage()?);
        }
        Ok(outcomes)
    }

    fn apply(&mut self, write: &Write) -> Result<Option<RecordId>, Outcome> {
        for sheet in self.book.needs(write) {
            self.load(&sheet).map_err(failed)?;
        }
        let applied = self.book.apply(write)?;
        for sheet in applied.sheets {
            let sheet = self.name(&sheet);
            let number = self.mark(&sheet).number;
            self.writers.push((number, write.engine));
            self.in_order = false;
        }
        self.leaving.extend(applied.leaves.map(|folder| (folder, write.engine)));
        Ok(applied.native)
    }

    /// Makes the staged files visible, each only while the one it replaces is as it was read.
    pub(crate) fn commit(mut self) -> Result<Committed, ReplicaError> {
        let mut committed = Committed::default();
        while self.read_some()?.is_some() {}
        if self.unstaged {
            committed.outcomes = self.stage()?;
        }
        let mut folders = BTreeSet::new();
        let mut waiting: Vec<(Arc<str>, Staged)> = std::mem::take(&mut self.staged).into_iter().collect();
        let mut undone: BTreeSet<Arc<str>> = BTreeSet::new();
        // What goes, goes last.
        waiting.sort_by_key(|(_, staged)| (staged.wanted.is_none(), !staged.after.is_empty()));
        for (sheet, staged) in waiting {
            let done = match staged.after.iter().find(|after| undone.contains(after.as_str())) {
                Some(after) => Err(format!("{after} was not written, so this stays in {sheet}")),
                None => self.show(&sheet, &staged, &mut folders),
            };
            if let Some(temporary) = staged.temporary {
                drop(std::fs::remove_file(self.temporary(&sheet, temporary)));
            }
            // It is not what was told: it has to be told again.
            self.mark(&sheet).print = None;
            if let Err(reason) = done {
                tracing::warn!(%sheet, %reason, "a file is left as it is");
                committed.outcomes.extend(self.fail(&sheet, &reason));
                undone.insert(sheet);
            }
        }
        for folder in &folders {
            if let Err(error) = disk::flush_folder(folder) {
                tracing::warn!(%error, "a folder could not be flushed to the disk");
            }
        }
        for (folder, engine) in std::mem::take(&mut self.leaving) {
            if let Err(error) = self.disk.remove_folder(&self.path(&folder))
                && error.kind() != io::ErrorKind::NotFound
            {
                let reason = format!("the folder {folder} holds something else and stays: {error}");
                committed.outcomes.push((engine, failed(reason)));
            }
        }
        let print = |sheet: &str| self.marks.get(sheet)?.print;
        let prints: Option<Prints<'_>> = (!self.doubt).then_some(&print);
        committed.token = Some(self.book.token(prints));
        Ok(committed)
    }

    fn show(&mut self, sheet: &str, staged: &Staged, folders: &mut BTreeSet<PathBuf>) -> Result<(), String> {
        let path = self.path(sheet);
        let said = |error: io::Error| format!("{sheet}: {error}");
        let now = disk::tag(&path, self.max).map_err(said)?;
        if now == staged.wanted {
            return Ok(());
        }
        if now.as_ref() != self.tag(sheet) {
            return Err(format!("another program changed {sheet} meanwhile"));
        }
        if let Some(folder) = path.parent() {
            if !folder.is_dir() {
                self.disk.make_folder(folder).map_err(said)?;
                folders.extend(folder.parent().map(Path::to_path_buf));
            }
            folders.insert(folder.to_path_buf());
        }
        match staged.temporary {
            Some(temporary) => {
                let temporary = self.temporary(sheet, temporary);
                self.disk.place(&temporary, &path, now.is_none()).map_err(said)
            }
            None => self.disk.remove(&path).map_err(said),
        }
    }

    /// Removes what was staged.
    pub(crate) fn abort(&mut self) {
        for (sheet, staged) in std::mem::take(&mut self.staged) {
            self.unstage(&sheet, &staged);
        }
    }
}

/// Dropped with a session that was not ended: nothing of it stays.
impl Drop for Desk {
    fn drop(&mut self) {
        self.abort();
    }
}

/// The place cannot be used.
pub(crate) fn unavailable(place: &Path, error: &io::Error) -> ReplicaError {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "it is not there; mount the disk it is on, or make it if it is new",
        io::ErrorKind::PermissionDenied => "permission is missing",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "there is no space left; make some and sync again",
        io::ErrorKind::NotADirectory => "it is no folder",
        _ => "the disk failed",
    };
    ReplicaError::Unavailable {
        what: place.display().to_string(),
        reason: format!("{advice} ({error})"),
    }
}
