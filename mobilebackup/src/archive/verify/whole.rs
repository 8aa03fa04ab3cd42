//! What only shows when all rows are known: orphans, missing parents, twins.

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use super::report::{Finding, Problem, Report};
use super::{Level, VerifyOptions};
use crate::archive::entry::{FileEntry, Kind};
use crate::archive::layout::Layout;
use crate::archive::mbdb::read_mbdx;
use crate::archive::observe::{Observer, Phase, Progress};
use crate::archive::{Archive, ArchiveError, FileId};

/// The ids of all rows, and of the rows that others need.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// With whether the row may have a payload.
    ids: Vec<(FileId, bool)>,
    parents: HashSet<FileId>,
    last: Directory,
}

/// The directory of the row before: rows of one directory mostly follow each other, and need one hash then.
#[derive(Debug, Default)]
struct Directory {
    domain: String,
    path: Option<String>,
}

impl Directory {
    /// Whether this is another directory than the last time.
    fn changes_to(&mut self, domain: &str, path: &str) -> bool {
        if self.domain == domain && self.path.as_deref() == Some(path) {
            return false;
        }
        self.domain.clear();
        self.domain.push_str(domain);
        self.path = Some(path.to_owned());
        true
    }
}

impl Whole {
    pub(super) fn see(&mut self, entry: &FileEntry) {
        self.ids
            .push((entry.file_id, matches!(entry.kind, Kind::File | Kind::Unknown)));
        if let Some(parent) = parent_of(&entry.path)
            && self.last.changes_to(&entry.domain, parent)
        {
            self.parents.insert(FileId::of(&entry.domain, parent));
        }
    }

    /// A row that is no entry still owns its payload.
    pub(super) fn see_id(&mut self, id: Option<FileId>) {
        self.ids.extend(id.map(|id| (id, true)));
    }

    pub(super) fn finish(
        mut self,
        archive: &Archive,
        options: &VerifyOptions,
        report: &mut Report,
        observer: &mut dyn Observer,
    ) -> Result<(), ArchiveError> {
        let level = options.level;
        self.ids.sort_unstable();
        for pair in self.ids.windows(2) {
            if let [(a, _), (b, _)] = pair
                && a == b
            {
                report.add(Finding::of_payload(*a, Problem::DuplicateId));
            }
        }
        if let Some(baseline) = &options.against {
            baseline.report_gone(|id| self.has(id), report);
        }
        // Behind damage to the index there may be any row: nothing can be called missing or left over.
        if !report.index_complete {
            return Ok(());
        }
        self.find_missing_parents(archive, report)?;
        if archive.layout() == Layout::Flat {
            self.compare_older_index(archive.folder(), report);
        }
        if level >= Level::Presence {
            self.find_orphans(archive.folder(), report, observer)?;
        }
        Ok(())
    }

    fn has(&self, id: &FileId) -> bool {
        self.ids.binary_search_by_key(id, |(id, _)| *id).is_ok()
    }

    fn has_payload(&self, id: &FileId) -> bool {
        self.ids.binary_search(&(*id, true)).is_ok()
    }

    /// Names come from a second pass over the index, and only if a parent is missing at all.
    fn find_missing_parents(&self, archive: &Archive, report: &mut Report) -> Result<(), ArchiveError> {
        if self.parents.iter().all(|id| self.has(id)) {
            return Ok(());
        }
        let (mut seen, mut last) = (HashSet::new(), Directory::default());
        for entry in archive.entries()? {
            let entry = entry?;
            let mut path = &*entry.path;
            if parent_of(path).is_some_and(|parent| !last.changes_to(&entry.domain, parent)) {
                continue;
            }
            while let Some(parent) = parent_of(path) {
                let id = FileId::of(&entry.domain, parent);
                if !self.has(&id) && seen.insert(id) {
                    report.add(Finding::of_path(&entry.domain, parent, Problem::MissingParent));
                }
                path = parent;
            }
        }
        Ok(())
    }

    fn compare_older_index(&self, folder: &Path, report: &mut Report) {
        let Ok(bytes) = fs::read(folder.join("Manifest.mbdx")) else {
            return;
        };
        match read_mbdx(&bytes) {
            Ok(records) => {
                let listed: HashSet<FileId> = records.iter().map(|record| record.file_id).collect();
                let only_there = listed.iter().filter(|id| !self.has(id)).count() as u64;
                let only_here = self.ids.iter().filter(|(id, _)| !listed.contains(id)).count() as u64;
                if only_there > 0 || only_here > 0 {
                    report.add(Finding::of_backup(Problem::OlderIndexDiffers { only_there, only_here }));
                }
            }
            // It repeats the other index: damage to it loses nothing.
            Err(e) => tracing::warn!(error = %e, "Manifest.mbdx is damaged"),
        }
    }

    /// Looks for payloads in every place where one may lie.
    fn find_orphans(
        &self,
        folder: &Path,
        report: &mut Report,
        observer: &mut dyn Observer,
    ) -> Result<(), ArchiveError> {
        let (mut done, mut folders) = (0_u64, Vec::new());
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            match name.to_str() {
                Some(name) if is_payload_folder(name) && entry.file_type()?.is_dir() => folders.push(entry.path()),
                Some(name) => self.judge(name, None, report),
                None => {}
            }
        }
        for folder in folders {
            let progress = Progress::new(Phase::SearchingOrphans, done, Some(256));
            if observer.on_progress(&progress) == ControlFlow::Break(()) {
                return Err(ArchiveError::Cancelled);
            }
            let parent = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            for entry in fs::read_dir(&folder)? {
                if let Some(name) = entry?.file_name().to_str() {
                    self.judge(name, parent.as_deref(), report);
                }
            }
            done = done.saturating_add(1);
        }
        Ok(())
    }

    /// A payload is an orphan if no row names it, or if it lies in another id's folder.
    fn judge(&self, name: &str, folder: Option<&str>, report: &mut Report) {
        let Ok(id) = name.parse::<FileId>() else { return };
        let misplaced = folder.is_some_and(|folder| folder != id.folder());
        if misplaced || !self.has_payload(&id) {
            report.add(Finding::of_payload(id, Problem::Orphan));
        }
    }
}

/// The path of the directory that holds `path`; `None` for a domain's root.
fn parent_of(path: &str) -> Option<&str> {
    match path.rsplit_once('/') {
        Some((parent, _)) => Some(parent),
        None if path.is_empty() => None,
        None => Some(""),
    }
}

fn is_payload_folder(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}
