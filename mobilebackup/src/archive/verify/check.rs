//! Checking one row and its payload.

use std::io::{self, BufRead, Read};

use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::report::{Problem, chain};
use super::{Level, VerifyOptions, integrity};
use crate::archive::entry::{FileEntry, Kind};
use crate::archive::padding::padded_len;
use crate::archive::read::{PayloadReader, ReadOptions};
use crate::archive::sqlite::{Header, MAGIC};
use crate::archive::{Archive, ArchiveError};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// What was found out about one row, for [`Observer::on_file`](crate::archive::Observer::on_file).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileCheck {
    /// The row.
    pub entry: FileEntry,
    /// Length of the payload as stored, in bytes; from [`Level::Presence`] on.
    pub stored_len: Option<u64>,
    /// Length of the contents in bytes; with [`Level::Content`].
    pub len: Option<u64>,
    /// SHA-256 of the contents, if [`VerifyOptions::sha256`] asks for it and they were read to the end.
    pub sha256: Option<[u8; 32]>,
    /// What is wrong or odd about the row or its payload.
    pub problems: Vec<Problem>,
    /// Whether the payload was read to its end.
    pub read: bool,
    /// Whether a digest was compared.
    pub digest_checked: bool,
}

/// Told about bytes read; says whether to go on.
pub(super) type Pulse<'a> = &'a mut dyn FnMut(u64) -> bool;

pub(super) fn check(
    archive: &Archive,
    entry: FileEntry,
    options: &VerifyOptions,
    buffer: &mut Vec<u8>,
    pulse: Pulse<'_>,
) -> FileCheck {
    let mut check = check_row(archive, entry, options, buffer, pulse);
    if let Some(baseline) = &options.against {
        check.problems.extend(baseline.compare(&check));
    }
    check
}

fn check_row(
    archive: &Archive,
    entry: FileEntry,
    options: &VerifyOptions,
    buffer: &mut Vec<u8>,
    pulse: Pulse<'_>,
) -> FileCheck {
    let mut problems: Vec<Problem> = entry.notes.iter().cloned().map(Problem::Entry).collect();
    let computed = entry.computed_id();
    if computed != entry.file_id {
        problems.push(Problem::IdMismatch { computed });
    }
    let mut check = FileCheck {
        entry,
        stored_len: None,
        len: None,
        sha256: None,
        problems,
        read: false,
        digest_checked: false,
    };
    if !matches!(check.entry.kind, Kind::File | Kind::Unknown) {
        return check;
    }
    let key_is_usable = match archive.file_key(&check.entry) {
        Ok(_) => true,
        Err(e) => {
            check.problems.push(Problem::KeyUnusable { reason: chain(&e) });
            false
        }
    };
    let present = options.level >= Level::Presence && check_presence(archive, &mut check, options.level);
    if present && options.level >= Level::Content && key_is_usable {
        let outcome = check_content(archive, &mut check, options, buffer, pulse);
        check.problems.extend(outcome.err().map(problem_of));
    }
    check
}

fn problem_of(error: ArchiveError) -> Problem {
    match error {
        ArchiveError::MissingPayload { .. } => Problem::MissingPayload,
        ArchiveError::IrregularPayload { .. } => Problem::IrregularPayload,
        ArchiveError::Incomplete { stored, recorded } => Problem::Incomplete { stored, recorded },
        other => Problem::Unreadable { reason: chain(&other) },
    }
}

/// Looks at the payload's length; whether there is a payload to read.
fn check_presence(archive: &Archive, check: &mut FileCheck, level: Level) -> bool {
    let entry = &check.entry;
    let stored = match archive
        .open_payload(&entry.file_id)
        .and_then(|file| Ok(file.metadata()?.len()))
    {
        Ok(stored) => stored,
        // Taken for an empty file, and noted where contents are read.
        Err(ArchiveError::MissingPayload { .. }) if entry.size == 0 => return level == Level::Content,
        // Rows that nothing says to be files may well have no payload.
        Err(ArchiveError::MissingPayload { .. }) if entry.kind == Kind::Unknown => return false,
        Err(e) => {
            check.problems.push(problem_of(e));
            return false;
        }
    };
    check.stored_len = Some(stored);
    let encrypted = matches!(archive.file_key(entry), Ok(Some(_)));
    let expected = if encrypted { padded_len(entry.size) } else { entry.size };
    // Reading tells more exactly what is the matter.
    if stored != expected && level < Level::Content {
        check.problems.push(Problem::StoredLength { stored, expected });
    }
    true
}

fn check_content(
    archive: &Archive,
    check: &mut FileCheck,
    options: &VerifyOptions,
    buffer: &mut Vec<u8>,
    pulse: Pulse<'_>,
) -> Result<(), ArchiveError> {
    buffer.resize(CHUNK, 0);
    let digest = check.entry.digest.filter(|_| check.stored_len.is_some());
    let mut mismatch = false;
    if let Some(digest) = digest {
        let mut hash = Sha1::new();
        let mut stored = archive.open_payload(&check.entry.file_id)?;
        read_all(&mut stored, buffer, pulse, |bytes| hash.update(bytes))?;
        mismatch = hash.finalize().as_slice() != digest;
        check.digest_checked = true;
    }
    let outcome = read_content(archive, check, options, mismatch, buffer, pulse);
    if mismatch && outcome.is_err() {
        check.problems.push(Problem::DigestMismatch);
    }
    outcome
}

fn read_content(
    archive: &Archive,
    check: &mut FileCheck,
    options: &VerifyOptions,
    digest_mismatch: bool,
    buffer: &mut [u8],
    pulse: Pulse<'_>,
) -> Result<(), ArchiveError> {
    let mut reader = archive.read_with(&check.entry, ReadOptions::default())?;
    check.len = Some(reader.len());
    check
        .problems
        .extend(reader.notes().iter().copied().map(Problem::Payload));
    check.problems.extend(database_problem(&mut reader)?);
    if options.integrity && reader.fill_buf()?.starts_with(MAGIC) {
        check.problems.extend(integrity::of_payload(archive, &check.entry));
    }
    let mut content = (options.sha256 || options.against.is_some()).then(Sha256::new);
    let mut digest = digest_mismatch.then(Sha1::new);
    let count = read_all(&mut reader, buffer, pulse, |bytes| {
        if let Some(hash) = &mut content {
            hash.update(bytes);
        }
        if let Some(hash) = &mut digest {
            hash.update(bytes);
        }
    })?;
    if count != reader.len() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    check.read = true;
    check.sha256 = content.map(|hash| hash.finalize().into());
    if let Some(hash) = digest {
        let of_plaintext = check
            .entry
            .digest
            .is_some_and(|digest| hash.finalize().as_slice() == digest);
        check.problems.push(if of_plaintext {
            Problem::DigestOfPlaintext
        } else {
            Problem::DigestMismatch
        });
    }
    Ok(())
}

/// Reads to the end; how many bytes there were.
fn read_all(
    source: &mut impl Read,
    buffer: &mut [u8],
    pulse: Pulse<'_>,
    mut visit: impl FnMut(&[u8]),
) -> Result<u64, ArchiveError> {
    let mut total = 0_u64;
    loop {
        match source.read(buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => {
                visit(buffer.get(..n).unwrap_or_default());
                total = total.saturating_add(n as u64);
                if !pulse(n as u64) {
                    return Err(ArchiveError::Cancelled);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Compares a database's length with what its header says. Leaves the reader at its start.
fn database_problem(reader: &mut PayloadReader) -> Result<Option<Problem>, ArchiveError> {
    let actual = reader.len();
    let expected = database_len(reader.fill_buf()?);
    Ok(match expected {
        Some(expected) if actual < expected => Some(Problem::DatabaseCut { expected, actual }),
        Some(expected) if actual > expected => Some(Problem::DatabaseLonger { expected, actual }),
        _ => None,
    })
}

/// Length of a SQLite database by its header, if that is one and its page count is valid.
fn database_len(start: &[u8]) -> Option<u64> {
    let header = Header::parse(start)?;
    Some(u64::from(header.page_size).saturating_mul(header.pages?.into()))
}
