//! A session over files: what was read, what is staged, what becomes visible. Spec: mobilesync, section 15.6, steps 0, 6
//! and 10.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::book::{Book, Edit, failed};
use super::disk::{self, Disk, Tag};
use crate::engine::{Batch, EngineId, Outcome, SessionId};
use crate::record::{Change, Changes, RecordId};
use crate::records::Timestamp;
use crate::replica::{Committed, End, ReplicaError, Told};

/// Bytes of all files together.
const TOTAL: u64 = 4 << 30;

/// Staged files that are open at a time, until the disk has them.
const OPEN: usize = 128;

/// Records that are told in one batch.
const TOLD: usize = 10_000;

/// A session over the files below a folder.
#[derive(Debug)]
pub(crate) struct Desk {
    root: PathBuf,
    session: String,
    pub(crate) book: Box<dyn Book>,
    /// What each file held when it was read.
    tags: BTreeMap<String, Tag>,
    max: u64,
    total: u64,
    unreadable: Vec<String>,
    told_to: Option<RecordId>,
    /// Which records each file's change comes from.
    writers: BTreeMap<String, BTreeSet<EngineId>>,
    staged: Vec<Staged>,
    /// Writes were taken after the last staging.
    unstaged: bool,
    /// Folders that go when they are empty, and for which record.
    leaving: Vec<(String, EngineId)>,
    pub(crate) disk: Disk,
}

#[derive(Debug)]
struct Staged {
    edit: Edit,
    /// Where the new content is; `None` for a file that goes.
    temporary: Option<PathBuf>,
    wanted: Option<Tag>,
}

impl Desk {
    pub(crate) fn new(root: PathBuf, session: SessionId, book: Box<dyn Book>, max: usize) -> Self {
        Self {
            root,
            session: session.to_string(),
            book,
            tags: BTreeMap::new(),
            max: max as u64,
            total: 0,
            unreadable: Vec::new(),
            told_to: None,
            writers: BTreeMap::new(),
            staged: Vec::new(),
            unstaged: false,
            leaving: Vec::new(),
            disk: Disk::default(),
        }
    }

    pub(crate) fn path(&self, sheet: &str) -> PathBuf {
        sheet.split('/').fold(self.root.clone(), |path, part| path.join(part))
    }

    /// Reads a file and hands it to the book. What cannot be read is named and stays as it is.
    ///
    /// # Errors
    /// [`ReplicaError::Unavailable`] when all files together are more than can be held.
    pub(crate) fn take(&mut self, sheet: &str) -> Result<(), ReplicaError> {
        let content = match disk::read(&self.path(sheet), self.max) {
            Ok(Some(content)) => content,
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
        self.tags.insert(sheet.to_owned(), Tag::of(&content));
        let taken = match std::str::from_utf8(&content) {
            Ok(text) => self.book.take(sheet, text),
            Err(_) => Err("it is not in UTF-8".to_owned()),
        };
        if let Err(reason) = taken {
            self.cannot_read(sheet, &reason);
        }
        Ok(())
    }

    pub(crate) fn cannot_read(&mut self, sheet: &str, reason: &str) {
        self.unreadable.push(format!("{sheet} ({reason})"));
    }

    pub(crate) fn read(&mut self) -> Told {
        let graph = self.book.graph();
        let from = self.told_to.as_ref();
        let after = |id: &&RecordId| from.is_none_or(|from| *id > from);
        let ids = graph.iter().map(|(id, _)| id).filter(after).take(TOLD);
        let (mut batch, mut last) = (Changes::new(), None);
        for id in ids {
            last = Some(id.clone());
            if let Some(record) = self.book.told(id) {
                batch.insert(id.clone(), Change::Upsert(record));
            }
        }
        match last {
            Some(last) => {
                self.told_to = Some(last);
                Told::Batch(batch)
            }
            None => {
                let notes = self.book.notes();
                let end = End::complete().with_unreadable(std::mem::take(&mut self.unreadable));
                Told::End(end.with_notes(notes))
            }
        }
    }

    /// Takes writes; stages the files with the last of them.
    pub(crate) fn write(&mut self, batch: Batch) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        self.unstaged = true;
        let mut outcomes = Vec::with_capacity(batch.writes.len());
        for write in &batch.writes {
            let outcome = match self.book.apply(write) {
                Ok(applied) => {
                    for sheet in applied.sheets {
                        self.writers.entry(sheet).or_default().insert(write.engine);
                    }
                    self.leaving.extend(applied.leaves.map(|folder| (folder, write.engine)));
                    Outcome::Done { native: applied.native }
                }
                Err(outcome) => outcome,
            };
            outcomes.push((write.engine, outcome));
        }
        if !batch.more {
            outcomes.extend(self.stage()?);
        }
        Ok(outcomes)
    }

    fn stage(&mut self) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        self.unstaged = false;
        let now = Timestamp::at(SystemTime::now()).unwrap_or_default();
        let mut outcomes = Vec::new();
        let mut written: Vec<File> = Vec::new();
        for mut edit in self.book.edits(now) {
            if written.len() >= OPEN {
                outcomes.extend(self.flush(&mut written)?);
            }
            let Some(text) = edit.text.take() else {
                if self.tags.contains_key(&edit.sheet) {
                    self.staged.push(Staged {
                        edit,
                        temporary: None,
                        wanted: None,
                    });
                }
                continue;
            };
            let wanted = Tag::of(text.as_bytes());
            if self.tags.get(&edit.sheet) == Some(&wanted) {
                continue;
            }
            let target = self.path(&edit.sheet);
            // A new folder is made when its files become visible, and not before.
            let folder = match target.parent() {
                Some(folder) if folder.is_dir() => folder.to_path_buf(),
                _ => self.root.clone(),
            };
            let temporary = folder.join(disk::temporary_name(&self.session, self.staged.len()));
            match self.disk.stage(&temporary, text.as_bytes(), &target) {
                Ok(file) => written.push(file),
                Err(error) => {
                    outcomes.extend(self.not_staged(&temporary, &edit.sheet, &error)?);
                    continue;
                }
            }
            self.staged.push(Staged {
                edit,
                temporary: Some(temporary),
                wanted: Some(wanted),
            });
        }
        outcomes.extend(self.flush(&mut written)?);
        // What goes, goes last.
        self.staged.sort_by_key(|staged| staged.wanted.is_none());
        Ok(outcomes)
    }

    /// Waits until the disk has the files that were staged last; one that it does not take is staged no more.
    fn flush(&mut self, written: &mut Vec<File>) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        let files = std::mem::take(written);
        let failed = disk::flush(&files);
        if failed.is_empty() {
            return Ok(Vec::new());
        }
        let staged = self.staged.iter().filter_map(|staged| staged.temporary.clone());
        let staged: Vec<PathBuf> = staged.collect();
        let first = staged.len().saturating_sub(files.len());
        let mut outcomes = Vec::new();
        for (at, error) in failed {
            let Some(temporary) = staged.get(first.saturating_add(at)) else {
                continue;
            };
            let same = |staged: &Staged| staged.temporary.as_ref() == Some(temporary);
            if let Some(at) = self.staged.iter().position(same) {
                let sheet = self.staged.remove(at).edit.sheet;
                outcomes.extend(self.not_staged(temporary, &sheet, &error)?);
            }
        }
        Ok(outcomes)
    }

    /// A file could not be staged: what that means for the records in it.
    fn not_staged(
        &mut self,
        temporary: &Path,
        sheet: &str,
        error: &io::Error,
    ) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        drop(std::fs::remove_file(temporary));
        if is_general(error) {
            self.abort();
            return Err(unavailable(&self.root, error));
        }
        Ok(self.fail(sheet, &format!("{sheet} could not be written: {error}")))
    }

    fn fail(&self, sheet: &str, reason: &str) -> Vec<(EngineId, Outcome)> {
        let writers = self.writers.get(sheet).into_iter().flatten();
        writers.map(|id| (*id, failed(reason))).collect()
    }

    /// Makes the staged files visible, each only while the one it replaces is as it was read.
    pub(crate) fn commit(mut self) -> Result<Committed, ReplicaError> {
        let mut committed = Committed::default();
        if self.unstaged {
            committed.outcomes = self.stage()?;
        }
        let mut folders = BTreeSet::new();
        let mut waiting: Vec<Staged> = std::mem::take(&mut self.staged);
        let mut undone = BTreeSet::new();
        waiting.sort_by_key(|staged| (staged.wanted.is_none(), !staged.edit.after.is_empty()));
        for staged in waiting {
            let sheet = staged.edit.sheet.clone();
            let done = match staged.edit.after.iter().find(|after| undone.contains(*after)) {
                Some(after) => Err(format!("{after} was not written, so this stays in {sheet}")),
                None => self.show(&staged, &mut folders),
            };
            if let Err(reason) = done {
                tracing::warn!(%sheet, %reason, "a file is left as it is");
                committed.outcomes.extend(self.fail(&sheet, &reason));
                undone.insert(sheet);
            }
            if let Some(temporary) = staged.temporary {
                drop(std::fs::remove_file(temporary));
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
        committed.token = Some(self.book.token());
        Ok(committed)
    }

    fn show(&mut self, staged: &Staged, folders: &mut BTreeSet<PathBuf>) -> Result<(), String> {
        let sheet = &staged.edit.sheet;
        let path = self.path(sheet);
        let said = |error: io::Error| format!("{sheet}: {error}");
        let now = disk::tag(&path, self.max).map_err(said)?;
        if now == staged.wanted {
            return Ok(());
        }
        if now.as_ref() != self.tags.get(sheet) {
            return Err(format!("another program changed {sheet} meanwhile"));
        }
        if let Some(folder) = path.parent() {
            if !folder.is_dir() {
                self.disk.make_folder(folder).map_err(said)?;
                folders.extend(folder.parent().map(Path::to_path_buf));
            }
            folders.insert(folder.to_path_buf());
        }
        match &staged.temporary {
            Some(temporary) => self.disk.place(temporary, &path, now.is_none()).map_err(said),
            None => self.disk.remove(&path).map_err(said),
        }
    }

    /// Removes what was staged.
    pub(crate) fn abort(&mut self) {
        for staged in self.staged.drain(..) {
            if let Some(temporary) = staged.temporary
                && let Err(error) = std::fs::remove_file(&temporary)
            {
                tracing::debug!(%error, "a temporary file stays until a later session");
            }
        }
    }
}

/// Dropped with a session that was not ended: nothing of it stays.
impl Drop for Desk {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Whether a failure says something of the whole place, not of one file.
fn is_general(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied
    )
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
