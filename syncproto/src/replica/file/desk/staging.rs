//! Files between memory and their places: written beside these, and taken in again when more is to be written.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::{Desk, Staged, unavailable};
use crate::engine::{EngineId, Outcome};
use crate::records::Timestamp;
use crate::replica::ReplicaError;
use crate::replica::file::book::{Edit, failed};
use crate::replica::file::disk::{self, Tag};

/// Staged files that are open at a time, until the disk has them.
const OPEN: usize = 128;

impl Desk {
    /// Takes a file in again: as it was staged, or as it was read, if it still is.
    pub(super) fn load(&mut self, sheet: &Arc<str>) -> Result<(), String> {
        let loaded = self.content(sheet).and_then(|content| {
            let text = std::str::from_utf8(&content).map_err(|error| error.to_string())?;
            self.book.load(sheet, text)
        });
        self.doubt |= loaded.is_err();
        loaded
    }

    fn content(&mut self, sheet: &Arc<str>) -> Result<Vec<u8>, String> {
        let said = |error: io::Error| format!("{sheet}: {error}");
        let changed = || format!("another program changed {sheet} meanwhile");
        if self.ruined.contains(sheet) {
            return Err(format!("{sheet} could not be written before"));
        }
        let staged = self.staged.get(sheet);
        let (path, wanted) = match staged.map(|staged| (staged.temporary, staged.wanted)) {
            Some((Some(temporary), wanted)) => (self.temporary(sheet, temporary), wanted),
            Some((None, _)) => return Err(format!("{sheet} goes")),
            None => (self.path(sheet), self.tag(sheet).copied()),
        };
        let (content, found) = disk::read(&path, self.max).map_err(said)?.ok_or_else(changed)?;
        let tag = Tag::of(&content);
        let same = match wanted {
            Some(wanted) => wanted == tag,
            None => {
                let mark = self.marks.get(sheet).and_then(|mark| mark.print);
                mark.is_some() && mark == disk::print(&found, self.settled)
            }
        };
        if !same {
            return Err(changed());
        }
        if wanted.is_none() {
            self.mark(sheet).tag = Some(tag);
        }
        Ok(content)
    }

    /// Stages the files that make room for others.
    pub(super) fn let_go(&mut self) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        let edits = self.book.let_go(now());
        self.stage_all(edits)
    }

    pub(super) fn stage(&mut self) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        self.unstaged = false;
        let mut outcomes = Vec::new();
        for sheet in self.book.unfinished() {
            let absent = |desk: &mut Self| desk.book.is_away(&sheet).then(|| desk.load(&sheet));
            if let Some(Err(reason)) = absent(self) {
                outcomes.extend(self.fail(&sheet, &reason));
                continue;
            }
            self.book.finish(&sheet);
            outcomes.extend(self.let_go()?);
        }
        let edits = self.book.edits(now());
        outcomes.extend(self.stage_all(edits)?);
        outcomes.extend(self.flush_all()?);
        Ok(outcomes)
    }

    fn stage_all(&mut self, edits: Vec<Edit>) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        let mut outcomes = Vec::new();
        for edit in edits {
            let sheet = self.name(&edit.sheet);
            if let Some(old) = self.staged.remove(&sheet) {
                self.unstage(&sheet, &old);
            }
            let wanted = edit.text.as_ref().map(|text| Tag::of(text.as_bytes()));
            if self.tag(&sheet) == wanted.as_ref() {
                continue;
            }
            let mut staged = Staged {
                temporary: None,
                wanted,
                after: edit.after.into_iter().collect(),
            };
            if let Some(text) = edit.text {
                let target = self.path(&sheet);
                // A new folder is made when its files become visible, and not before.
                let at_root = !target.parent().is_some_and(Path::is_dir);
                let number = (self.temporaries, at_root);
                self.temporaries = self.temporaries.saturating_add(1);
                let temporary = self.temporary(&sheet, number);
                if let Err(error) = self.disk.stage(&temporary, text.as_bytes(), &target) {
                    outcomes.extend(self.not_staged(&temporary, &sheet, &error)?);
                    continue;
                }
                staged.temporary = Some(number);
                self.unflushed.push(Arc::clone(&sheet));
            }
            self.staged.insert(sheet, staged);
        }
        Ok(outcomes)
    }

    /// Where a file's new content is.
    pub(super) fn temporary(&self, sheet: &str, (number, at_root): (u32, bool)) -> PathBuf {
        let name = disk::temporary_name(&self.session, number);
        match self.path(sheet).parent() {
            Some(folder) if !at_root => folder.join(name),
            _ => self.root.join(name),
        }
    }

    pub(super) fn unstage(&self, sheet: &str, staged: &Staged) {
        if let Some(temporary) = staged.temporary
            && let Err(error) = std::fs::remove_file(self.temporary(sheet, temporary))
        {
            tracing::debug!(%error, "a temporary file stays until a later session");
        }
    }

    /// Waits until the disk has all files that were staged; one that it does not take is staged no more.
    fn flush_all(&mut self) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        let mut outcomes = Vec::new();
        let mut all = std::mem::take(&mut self.unflushed);
        all.sort_unstable();
        all.dedup();
        for some in all.chunks(OPEN) {
            let (mut files, mut sheets): (Vec<File>, Vec<&Arc<str>>) = (Vec::new(), Vec::new());
            let mut failed = Vec::new();
            for sheet in some {
                let Some(temporary) = self.staged.get(sheet).and_then(|staged| staged.temporary) else {
                    continue;
                };
                match disk::to_flush(&self.temporary(sheet, temporary)) {
                    Ok(file) => {
                        files.push(file);
                        sheets.push(sheet);
                    }
                    Err(error) => failed.push((sheet, error)),
                }
            }
            let refused = disk::flush(&files).into_iter();
            failed.extend(refused.filter_map(|(at, error)| Some((*sheets.get(at)?, error))));
            for (sheet, error) in failed {
                if let Some(staged) = self.staged.remove(sheet)
                    && let Some(temporary) = staged.temporary
                {
                    let temporary = self.temporary(sheet, temporary);
                    outcomes.extend(self.not_staged(&temporary, sheet, &error)?);
                }
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
        self.ruined.insert(sheet.into());
        Ok(self.fail(sheet, &format!("{sheet} could not be written: {error}")))
    }

    pub(super) fn fail(&mut self, sheet: &str, reason: &str) -> Vec<(EngineId, Outcome)> {
        self.doubt = true;
        if !std::mem::replace(&mut self.in_order, true) {
            self.writers.sort_unstable();
            self.writers.dedup();
        }
        let Some(number) = self.marks.get(sheet).map(|mark| mark.number) else {
            return Vec::new();
        };
        let from = self.writers.partition_point(|(other, _)| *other < number);
        let writers = self.writers.iter().skip(from).take_while(|(other, _)| *other == number);
        writers.map(|(_, id)| (*id, failed(reason))).collect()
    }
}

/// For marks of the last change.
fn now() -> Timestamp {
    Timestamp::at(SystemTime::now()).unwrap_or_default()
}

/// Whether a failure says something of the whole place, not of one file.
fn is_general(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied
    )
}
