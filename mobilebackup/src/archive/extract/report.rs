//! What an extraction did.

use std::path::PathBuf;

use super::Failure;
use super::manifest::{ManifestLine, Status};
use crate::archive::Kind;

/// What an extraction did, at the end of a run that came to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ExtractReport {
    /// Rows that were selected.
    pub selected: u64,
    /// Files written by this run.
    pub files: u64,
    /// Folders there are.
    pub directories: u64,
    /// Symbolic links made.
    pub links: u64,
    /// Symbolic links that are in the manifest only.
    pub links_recorded: u64,
    /// Bytes of the files written by this run.
    pub bytes: u64,
    /// Files that an earlier run had finished.
    pub already_there: u64,
    /// Files left out since another file has the name, as [`Existing::Skip`](super::Existing::Skip) asked.
    pub left_out: u64,
    /// Files that were not extracted, or not whole.
    pub failed: u64,
    /// The first of them; [`ExtractOptions::listed`](super::ExtractOptions::listed) says how many.
    pub failures: Vec<FailedFile>,
    /// Files written of which there is something worth knowing, such as a stale size; the manifest has it.
    pub noted: u64,
    /// Rows of the index that do not decode.
    pub unreadable_rows: u64,
    /// What is wrong with the index, if it could not be read to its end: files may be missing here that nothing names.
    pub index_damage: Option<String>,
    /// Where the manifest is, if it is a file of its own.
    pub manifest: Option<PathBuf>,
}

/// A file that was not extracted, or not whole.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct FailedFile {
    /// Its domain.
    pub domain: String,
    /// Its path.
    pub path: String,
    /// Why.
    pub failure: Failure,
}

impl ExtractReport {
    /// Whether everything that was selected is there.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.failed == 0 && self.unreadable_rows == 0 && self.index_damage.is_none()
    }

    pub(super) fn count(&mut self, line: &ManifestLine, listed: usize) {
        let count = |counter: &mut u64| *counter = counter.saturating_add(1);
        match (line.status, line.kind) {
            (Status::UnreadableRow, _) => count(&mut self.unreadable_rows),
            (Status::Failed, _) => count(&mut self.failed),
            (Status::AlreadyThere, Kind::File | Kind::Unknown) => count(&mut self.already_there),
            (Status::LeftOut, _) => count(&mut self.left_out),
            (Status::Extracted | Status::AlreadyThere, Kind::Directory) => count(&mut self.directories),
            (Status::Recorded, Kind::Symlink) => count(&mut self.links_recorded),
            (Status::Extracted | Status::AlreadyThere, Kind::Symlink) => count(&mut self.links),
            (Status::Extracted, _) => {
                count(&mut self.files);
                self.bytes = self.bytes.saturating_add(line.length.unwrap_or(0));
            }
            (Status::Recorded, _) => {}
        }
        if line.status != Status::UnreadableRow {
            count(&mut self.selected);
        }
        if line.status == Status::Extracted && !line.notes.is_empty() {
            count(&mut self.noted);
        }
        if let Some(failure) = &line.failure
            && self.failures.len() < listed
        {
            self.failures.push(FailedFile {
                domain: line.domain.clone(),
                path: line.path.clone(),
                failure: failure.clone(),
            });
        }
    }
}
