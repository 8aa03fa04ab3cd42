//! The same files into a stream: what tar and zip have in common.

use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::ops::ControlFlow;

use super::content::{Content, CopyError};
use super::error::chain;
use super::manifest::{ExtractNote, Header, ManifestLine, Status};
use super::run::{Plan, read_failure};
use super::{ExtractError, ExtractOptions, ExtractReport, Failure, Links, links};
use crate::archive::entry::Row;
use crate::archive::names::{Convention, MANIFEST, MappedPath, NameScan};
use crate::archive::observe::{Observer, Phase, Progress};
use crate::archive::{Archive, ArchiveError, FileEntry, Kind};

/// Bytes between two looks at the observer.
const STEP: u64 = 1 << 20;

/// What a stream needs to know of a member beforehand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// Path with `/`, without one at the end.
    pub(super) path: &'a str,
    /// Permissions.
    pub(super) mode: u32,
    /// Unix seconds.
    pub(super) modified: i64,
}

/// A container that is written from front to back.
pub(super) trait Members {
    fn directory(&mut self, member: Member<'_>) -> io::Result<()>;
    fn link(&mut self, member: Member<'_>, target: &str) -> io::Result<()>;
    /// A file that is in memory.
    fn small(&mut self, member: Member<'_>, contents: &[u8]) -> io::Result<()>;
    /// Begins a file of this length; its pieces follow.
    fn begin(&mut self, member: Member<'_>, len: u64) -> io::Result<()>;
    fn piece(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Ends a file, of which `missing` bytes did not come.
    fn end(&mut self, missing: u64) -> io::Result<()>;
    /// Ends the container.
    fn finish(&mut self) -> io::Result<()>;
}

struct Stream<'a, M> {
    archive: &'a Archive,
    options: &'a ExtractOptions,
    plan: Plan,
    members: &'a mut M,
    buffer: Vec<u8>,
    bytes: u64,
    rows: u64,
    told: u64,
}

pub(super) fn extract<M: Members>(
    archive: &Archive,
    members: &mut M,
    options: &ExtractOptions,
    observer: &mut dyn Observer,
) -> Result<ExtractReport, ExtractError> {
    if archive.is_locked() {
        return Err(ArchiveError::Locked.into());
    }
    let convention = options.names.unwrap_or(Convention::Windows);
    // Nobody knows which disk it is unpacked on.
    let scan = NameScan::new(convention).folding(true);
    let plan = Plan::make(archive, options, scan, observer)?;
    let mut manifest = BufWriter::new(tempfile::tempfile().map_err(ExtractError::Target)?);
    let mut line_buffer = Vec::new();
    Header::new(archive, convention, true)
        .append_to(&mut line_buffer)
        .map_err(ExtractError::Target)?;
    let mut report = ExtractReport::default();
    let mut stream = Stream {
        archive,
        options,
        plan,
        members,
        buffer: Vec::new(),
        bytes: 0,
        rows: 0,
        told: 0,
    };
    let mut links = Vec::new();
    for row in archive.rows()? {
        let line = match row {
            Ok(Row::Entry(entry)) if !options.admits(&entry) => continue,
            Ok(Row::Entry(entry)) => stream.entry(entry, observer)?,
            Ok(Row::Skipped(row)) => ManifestLine::of_skipped(row),
            Err(e) => {
                report.index_damage = Some(chain(&e));
                continue;
            }
        };
        if line.kind == Kind::Symlink && options.links == Links::Contained {
            links.push(line);
            continue;
        }
        book(&line, &mut report, &mut line_buffer, &mut manifest, options, observer)?;
    }
    // After everything that could be written through one.
    for mut line in links {
        stream.link(&mut line)?;
        book(&line, &mut report, &mut line_buffer, &mut manifest, options, observer)?;
    }
    manifest.write_all(&line_buffer).map_err(ExtractError::Target)?;
    let file = manifest
        .into_inner()
        .map_err(|e| ExtractError::Target(e.into_error()))?;
    stream.manifest(file)?;
    stream.members.finish().map_err(write_error)?;
    Ok(report)
}

fn book(
    line: &ManifestLine,
    report: &mut ExtractReport,
    buffer: &mut Vec<u8>,
    manifest: &mut impl Write,
    options: &ExtractOptions,
    observer: &mut dyn Observer,
) -> Result<(), ExtractError> {
    line.append_to(buffer)
        .and_then(|()| manifest.write_all(buffer))
        .map_err(write_error)?;
    buffer.clear();
    report.count(line, options.listed);
    observer.on_extracted(line);
    Ok(())
}

fn write_error(error: io::Error) -> ExtractError {
    ExtractError::judge(error).map_or_else(|e| e, ExtractError::Target)
}

impl<M: Members> Stream<'_, M> {
    fn tell(&mut self, observer: &mut dyn Observer) -> ControlFlow<()> {
        self.told = self.bytes;
        let progress = Progress::new(Phase::WritingFiles, self.rows, Some(self.plan.rows))
            .with_bytes(self.bytes)
            .with_total_bytes(self.plan.bytes);
        observer.on_progress(&progress)
    }

    fn entry(&mut self, entry: FileEntry, observer: &mut dyn Observer) -> Result<ManifestLine, ExtractError> {
        self.rows = self.rows.saturating_add(1);
        if (self.rows.is_multiple_of(64) || self.bytes.saturating_sub(self.told) >= STEP)
            && self.tell(observer) == ControlFlow::Break(())
        {
            return Err(ExtractError::Cancelled);
        }
        match entry.kind {
            Kind::Directory => {
                let mapped = self.plan.names.path_of(&entry.domain, &entry.path);
                let member = member_of(&entry, &mapped, 0o700);
                self.members.directory(member).map_err(write_error)?;
                let mut line = ManifestLine::new(entry, Status::Extracted);
                line.extracted = Some(mapped);
                Ok(line)
            }
            Kind::Symlink => {
                let mapped = self.names_file(&entry);
                let mut line = ManifestLine::new(entry, Status::Recorded);
                line.extracted = Some(mapped);
                Ok(line)
            }
            Kind::File | Kind::Unknown => self.file(entry, observer),
        }
    }

    fn names_file(&self, entry: &FileEntry) -> MappedPath {
        self.plan.names.path_of_file(&entry.domain, &entry.path, &entry.file_id)
    }

    fn link(&mut self, line: &mut ManifestLine) -> Result<(), ExtractError> {
        let Some(mapped) = line.extracted.clone() else {
            return Ok(());
        };
        match links::way(line, &self.plan.names) {
            Ok(target) => {
                let member = Member {
                    path: mapped.as_str(),
                    mode: 0o777,
                    modified: line.modified.unwrap_or(0),
                };
                self.members.link(member, &target).map_err(write_error)?;
                line.status = Status::Extracted;
            }
            Err(why) => line.note(ExtractNote::LinkNotMade { why }),
        }
        Ok(())
    }

    fn file(&mut self, entry: FileEntry, observer: &mut dyn Observer) -> Result<ManifestLine, ExtractError> {
        let content = match Content::open(self.archive, &entry, self.options.read, &mut self.buffer) {
            Ok(content) => content,
            Err(e) => {
                let is_unknown = entry.kind == Kind::Unknown;
                let mut line = ManifestLine::new(entry, Status::Failed);
                match Failure::of_read(e) {
                    Failure::MissingPayload if is_unknown => {
                        line.status = Status::Recorded;
                        line.note(ExtractNote::NothingStored);
                    }
                    failure => line.fail(failure),
                }
                return Ok(line);
            }
        };
        let mapped = self.names_file(&entry);
        let member = member_of(&entry, &mapped, 0o600);
        let (len, notes) = (content.len, content.notes.clone());
        let mut failure = None;
        let sha256 = if content.whole(&self.buffer).is_some() {
            let members = &mut *self.members;
            let copied = content.copy(
                &mut self.buffer,
                self.options.sha256,
                |bytes| members.small(member, bytes),
                |_| true,
            );
            self.bytes = self.bytes.saturating_add(len);
            copied.map_err(|e| match e {
                CopyError::Write(e) | CopyError::Read(e) => write_error(e),
                CopyError::Stopped => ExtractError::Cancelled,
            })?
        } else {
            let (sha256, failed) = self.large(member, content, observer)?;
            failure = failed;
            sha256
        };
        let mut line = ManifestLine::new(entry, Status::Extracted);
        line.extracted = Some(mapped);
        line.length = Some(len);
        line.sha256 = sha256;
        line.notes.extend(notes);
        if let Some(failure) = failure {
            line.fail(failure);
        }
        Ok(line)
    }

    fn large(
        &mut self,
        member: Member<'_>,
        content: Content,
        observer: &mut dyn Observer,
    ) -> Result<(Option<super::Sha256Hash>, Option<Failure>), ExtractError> {
        let len = content.len;
        self.members.begin(member, len).map_err(write_error)?;
        let mut written = 0_u64;
        let (start, rows, total) = (self.bytes, self.rows, (self.plan.rows, self.plan.bytes));
        let (mut told, mut seen) = (self.told, 0_u64);
        let members = &mut *self.members;
        let copied = content.copy(
            &mut self.buffer,
            self.options.sha256,
            |bytes| {
                members.piece(bytes)?;
                written = written.saturating_add(bytes.len() as u64);
                Ok(())
            },
            |bytes| {
                seen = seen.saturating_add(bytes);
                let now = start.saturating_add(seen);
                if now.saturating_sub(told) < STEP {
                    return true;
                }
                told = now;
                let progress = Progress::new(Phase::WritingFiles, rows, Some(total.0))
                    .with_bytes(now)
                    .with_total_bytes(total.1);
                observer.on_progress(&progress) == ControlFlow::Continue(())
            },
        );
        self.told = told;
        self.bytes = start.saturating_add(written);
        let outcome = match copied {
            Ok(sha256) => (sha256, None),
            Err(CopyError::Read(e)) => {
                let message = read_failure(e).to_string();
                (None, Some(Failure::CutShort { written, message }))
            }
            Err(CopyError::Write(e)) => return Err(write_error(e)),
            Err(CopyError::Stopped) => return Err(ExtractError::Cancelled),
        };
        self.members.end(len.saturating_sub(written)).map_err(write_error)?;
        Ok(outcome)
    }

    /// The manifest, as the last member.
    fn manifest(&mut self, mut file: std::fs::File) -> Result<(), ExtractError> {
        let mut write = || -> io::Result<()> {
            let len = file.metadata()?.len();
            file.rewind()?;
            let modified = file.metadata()?.modified().map_or(0, super::run::seconds_of);
            let member = Member {
                path: MANIFEST,
                mode: 0o600,
                modified,
            };
            self.members.begin(member, len)?;
            let mut left = len;
            let mut reader = BufReader::new(&file).take(len);
            self.buffer.resize(64 << 10, 0);
            while left > 0 {
                let read = reader.read(&mut self.buffer)?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.members.piece(self.buffer.get(..read).unwrap_or_default())?;
                left = left.saturating_sub(read as u64);
            }
            self.members.end(0)
        };
        write().map_err(write_error)
    }
}

fn member_of<'a>(entry: &FileEntry, mapped: &'a MappedPath, always: u32) -> Member<'a> {
    Member {
        path: mapped.as_str(),
        mode: (entry.mode & 0o777) | always,
        modified: entry.modified.unwrap_or(0),
    }
}
