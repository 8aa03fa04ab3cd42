//! One row after another, into the tree.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::content::{Content, CopyError, hash_of, same_contents};
use super::manifest::{ExtractNote, Found, ManifestLine, Status};
use super::run::{Shared, read_failure, seconds_of, time_of, times_of};
use super::target::{Draft, Place, is_file, is_in_the_way, is_name_refused, stat};
use super::{Existing, ExtractError, Failure, Resume};
use crate::archive::names::MappedPath;
use crate::archive::{FileEntry, Kind};
use crate::folder::beneath::{Dir, Stat};

/// Seconds by which times on disk may differ from those that were set: FAT counts in twos.
const TIME_STEP: u64 = 2;

/// One thread's means of writing.
pub(super) struct Worker<'s, 'a> {
    shared: &'s Shared<'a>,
    place: Place<'a>,
    buffer: Vec<u8>,
}

impl<'s, 'a> Worker<'s, 'a> {
    pub(super) fn new(shared: &'s Shared<'a>, number: usize) -> io::Result<Self> {
        Ok(Self {
            shared,
            place: shared.target.place(number)?,
            buffer: Vec::new(),
        })
    }

    /// Extracts what a row says; `None` if it was told to stop.
    pub(super) fn extract(&mut self, entry: FileEntry) -> Result<Option<ManifestLine>, ExtractError> {
        match entry.kind {
            Kind::Directory => self.directory(entry).map(Some),
            // Made when everything else is, if at all.
            Kind::Symlink => {
                let mapped = self.names_file(&entry);
                let mut line = ManifestLine::new(entry, Status::Recorded);
                line.extracted = Some(mapped);
                Ok(Some(line))
            }
            Kind::File | Kind::Unknown => self.file(entry),
        }
    }

    fn names_file(&self, entry: &FileEntry) -> MappedPath {
        self.shared
            .names
            .path_of_file(&entry.domain, &entry.path, &entry.file_id)
    }

    fn directory(&mut self, entry: FileEntry) -> Result<ManifestLine, ExtractError> {
        let names = self.shared.names;
        let mut mapped = names.path_of(&entry.domain, &entry.path);
        let mut made = self.place.folder(mapped.as_str()).map(drop);
        let mut refused = None;
        if let Err(e) = &made
            && is_name_refused(e)
        {
            refused = Some(e.to_string());
            mapped = names.shortest(&entry.domain, &entry.path);
            made = self.place.folder(mapped.as_str()).map(drop);
        }
        let mut line = ManifestLine::new(entry, Status::Extracted);
        line.notes
            .extend(refused.map(|message| super::LineNote::Extract(ExtractNote::NameRefused { message })));
        match made {
            Ok(()) => line.extracted = Some(mapped),
            Err(e) => line.fail(failure_of(e)?),
        }
        Ok(line)
    }

    fn file(&mut self, entry: FileEntry) -> Result<Option<ManifestLine>, ExtractError> {
        let mapped = self.names_file(&entry);
        match self.file_at(&entry, mapped) {
            Err(Ended::NameRefused(e)) => {
                let mapped = self.shared.names.shortest(&entry.domain, &entry.path);
                let note = ExtractNote::NameRefused { message: e.to_string() };
                let outcome = self.file_at(&entry, mapped);
                self.line_of(entry, outcome, Some(note))
            }
            outcome => self.line_of(entry, outcome, None),
        }
    }

    fn line_of(
        &self,
        entry: FileEntry,
        outcome: Result<Done, Ended>,
        note: Option<ExtractNote>,
    ) -> Result<Option<ManifestLine>, ExtractError> {
        let is_unknown = entry.kind == Kind::Unknown;
        let mut line = ManifestLine::new(entry, Status::Extracted);
        line.notes.extend(note.map(super::LineNote::Extract));
        match outcome {
            Ok(done) => {
                line.status = done.status;
                line.extracted = Some(done.mapped);
                line.length = done.length;
                line.sha256 = done.sha256;
                line.notes.extend(done.notes);
            }
            Err(Ended::Stopped) => return Ok(None),
            Err(Ended::Fatal(e)) => return Err(e),
            Err(Ended::Failed(Failure::MissingPayload)) if is_unknown => {
                line.status = Status::Recorded;
                line.note(ExtractNote::NothingStored);
            }
            Err(Ended::Failed(failure)) => line.fail(failure),
            Err(Ended::NameRefused(e)) => line.fail(Failure::of_write(&e)),
        }
        Ok(Some(line))
    }

    /// Writes a file, or finds that it need not be written.
    fn file_at(&mut self, entry: &FileEntry, mapped: MappedPath) -> Result<Done, Ended> {
        let (parent, name) = mapped.split();
        // The name of a file in the root of the tree is that of its domain: there is no folder then.
        let known = self.shared.proofs.is_some_and(|proofs| proofs.len() > 0);
        let mut folder = None;
        if known {
            let dir = self.place.folder(parent)?;
            if let Some(there) = stat(&dir, name)?
                && let Some(done) = self.proved(entry, &mapped, &dir, &there)?
            {
                return Ok(done);
            }
            folder = Some(dir);
        }
        // Read first: a bad payload makes no folder.
        let content = Content::open(self.shared.archive, entry, self.shared.options.read, &mut self.buffer)
            .map_err(|e| Ended::Failed(Failure::of_read(e)))?;
        let folder = match folder {
            Some(folder) => folder,
            None => self.place.folder(parent)?,
        };
        let mut notes = content.notes.clone();
        let length = content.len;
        let mode = (entry.mode & 0o777) | 0o600;
        let mut draft = self.place.draft(mode).map_err(write_error)?;
        let sha256 = match self.fill(&mut draft, content) {
            Ok(sha256) => sha256,
            Err(ended) => {
                self.place.discard(draft);
                return Err(ended);
            }
        };
        if let Some(times) = times_of(entry)
            && let Err(e) = draft.file.set_times(times)
        {
            notes.push(super::LineNote::Extract(ExtractNote::DetailsNotSet {
                message: e.to_string(),
            }));
        }
        let status = self.publish(draft, &mapped, &folder)?;
        Ok(Done {
            mapped,
            status,
            length: (status == Status::Extracted).then_some(length),
            sha256: sha256.filter(|_| status == Status::Extracted),
            notes,
        })
    }

    /// Gives a draft its name, or decides what becomes of the file that has it already.
    fn publish(&mut self, draft: Draft, mapped: &MappedPath, folder: &Dir) -> Result<Status, Ended> {
        let (_, name) = mapped.split();
        match self.place.publish(&draft, folder, name) {
            Ok(()) => Ok(Status::Extracted),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let decided = self.taken(&draft, mapped, folder);
                if !matches!(decided, Ok(Taken::Replaced)) {
                    self.place.discard(draft);
                }
                match decided? {
                    Taken::Same | Taken::Replaced => Ok(Status::Extracted),
                    Taken::LeftOut => Ok(Status::LeftOut),
                }
            }
            Err(e) => {
                self.place.discard(draft);
                Err(e.into())
            }
        }
    }

    /// Writes all contents into the draft.
    fn fill(&mut self, draft: &mut Draft, content: Content) -> Result<Option<super::Sha256Hash>, Ended> {
        let shared = self.shared;
        let pulse = |bytes| {
            shared.bytes.fetch_add(bytes, Ordering::Relaxed);
            !shared.stop.load(Ordering::Relaxed)
        };
        let file = &mut draft.file;
        let copied = content.copy(
            &mut self.buffer,
            shared.options.sha256,
            |piece| file.write_all(piece),
            pulse,
        );
        copied.map_err(|e| match e {
            CopyError::Stopped => Ended::Stopped,
            CopyError::Read(e) => Ended::Failed(read_failure(e)),
            CopyError::Write(e) => write_error(e),
        })
    }

    /// What lies at the name already, if it is proved to be what would be written.
    fn proved(
        &mut self,
        entry: &FileEntry,
        mapped: &MappedPath,
        folder: &Arc<Dir>,
        there: &Stat,
    ) -> Result<Option<Done>, Ended> {
        let Some(proofs) = self.shared.proofs.filter(|_| is_file(there)) else {
            return Ok(None);
        };
        let found = |sha256| Found {
            mapped,
            length: there.size,
            sha256,
        };
        let in_time = entry.modified.is_some_and(|modified| {
            seconds_of(there.modified).abs_diff(modified) <= TIME_STEP || time_of(modified).is_none()
        });
        let by_hash = self.shared.options.resume == Resume::ByHash;
        // Without a time that could be set, only a hash is proof.
        if !by_hash && !in_time {
            return Ok(None);
        }
        let mut sha256 = None;
        if by_hash {
            let file = folder.open_file(mapped.split().1)?;
            let go_on = || !self.shared.stop.load(Ordering::Relaxed);
            sha256 = Some(hash_of(file, &mut self.buffer, go_on)?.ok_or(Ended::Stopped)?);
        }
        Ok(proofs.is_done(entry, found(sha256.as_ref())).then(|| Done {
            mapped: mapped.clone(),
            status: Status::AlreadyThere,
            length: Some(there.size),
            sha256,
            notes: Vec::new(),
        }))
    }

    /// What becomes of a whole draft whose name is taken.
    fn taken(&self, draft: &Draft, mapped: &MappedPath, folder: &Dir) -> Result<Taken, Ended> {
        let name = mapped.split().1;
        let there = folder.stat(name)?;
        let options = self.shared.options;
        // Written by a run that was killed before the manifest had it: all of it, or it had no name.
        if is_file(&there)
            && options.resume != Resume::Never
            && same_contents(self.place.reread(draft)?, folder.open_file(name)?)?
        {
            return Ok(Taken::Same);
        }
        match options.existing {
            Existing::Skip => return Ok(Taken::LeftOut),
            Existing::ReplaceOurs if is_file(&there) => {
                let found = Found {
                    mapped,
                    length: there.size,
                    sha256: None,
                };
                let modified = Some(seconds_of(there.modified));
                if self.shared.proofs.is_some_and(|proofs| proofs.is_ours(found, modified)) {
                    self.place.replace(draft, folder, name)?;
                    return Ok(Taken::Replaced);
                }
            }
            _ => {}
        }
        Err(Ended::Failed(Failure::Exists))
    }
}

/// What became of a file.
struct Done {
    mapped: MappedPath,
    status: Status,
    length: Option<u64>,
    sha256: Option<super::Sha256Hash>,
    notes: Vec<super::LineNote>,
}

/// What became of a file whose name was taken.
enum Taken {
    Same,
    Replaced,
    LeftOut,
}

/// Why a file was not written.
enum Ended {
    Failed(Failure),
    NameRefused(io::Error),
    Fatal(ExtractError),
    Stopped,
}

impl From<io::Error> for Ended {
    /// From what the target's folders said.
    fn from(error: io::Error) -> Self {
        if is_name_refused(&error) {
            return Self::NameRefused(error);
        }
        match failure_of(error) {
            Ok(failure) => Self::Failed(failure),
            Err(e) => Self::Fatal(e),
        }
    }
}

/// What a failed write into a draft means: names are not at fault there.
fn write_error(error: io::Error) -> Ended {
    match ExtractError::judge(error) {
        Ok(e) => Ended::Failed(Failure::of_write(&e)),
        Err(e) => Ended::Fatal(e),
    }
}

fn failure_of(error: io::Error) -> Result<Failure, ExtractError> {
    if is_in_the_way(&error) {
        return Ok(Failure::InTheWay);
    }
    ExtractError::judge(error).map(|e| Failure::of_write(&e))
}
