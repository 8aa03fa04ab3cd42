//! What a backup was when it was sound: the only way to see damage where the format has no checksum.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::FileCheck;
use super::report::{Finding, Problem, Report};
use crate::archive::entry::{FileEntry, Kind};
use crate::archive::hex_digits::hex_digits;
use crate::archive::{Archive, ArchiveError, FileId};

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 16 << 20;

/// Extended attributes of more bytes than this are not compared.
const MAX_ATTRIBUTES: usize = 1 << 20;

/// The backup's own files, beside the payloads.
const OWN_FILES: [&str; 7] = [
    "Info.plist",
    "Manifest.plist",
    "Status.plist",
    "Manifest.db",
    "Manifest.db-wal",
    "Manifest.mbdb",
    "Manifest.mbdx",
];

/// Why a list of hashes cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaselineError {
    /// A line is not what a list of hashes holds.
    #[error("line {line} of the list of hashes does not parse")]
    Line {
        /// Which, counted from 1.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A line is longer than 16 MiB.
    #[error("line {line} of the list of hashes is too long")]
    TooLong {
        /// Which, counted from 1.
        line: u64,
    },
    /// Not a single line names a file.
    #[error("the list of hashes names no file")]
    Empty,
    /// The list cannot be read.
    #[error("the list of hashes cannot be read")]
    Io(#[from] io::Error),
}

/// What every file of a backup was at an earlier time, from the manifest of an extraction or the lines that
/// [`BaselineWriter`] wrote while a backup was verified. Some 200 bytes of memory per file.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    rows: HashMap<FileId, Known>,
    own: BTreeMap<String, [u8; 32]>,
}

/// What is known of a row.
#[derive(Clone, Debug)]
struct Known {
    domain: Box<str>,
    path: Box<str>,
    sha256: Option<[u8; 32]>,
    record: [u8; 16],
}

/// A line of either sort. Fields that are not here are of no interest.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backup_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(flatten)]
    record: Option<Facts>,
}

/// What the index says of a file, as far as both sorts of lines repeat it.
#[derive(Serialize, Deserialize)]
struct Facts {
    domain: String,
    path: String,
    kind: String,
    size: u64,
    mode: u32,
    modified: Option<i64>,
    created: Option<i64>,
    status_changed: Option<i64>,
    user: i64,
    group: i64,
    protection_class: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link_target: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
}

impl Facts {
    fn of(entry: &FileEntry) -> Self {
        let attributes = entry.attributes().unwrap_or_default();
        let len = |(name, value): (&String, &Vec<u8>)| name.len().saturating_add(value.len());
        let total = attributes.iter().map(len).fold(0, usize::saturating_add);
        let attributes = if total > MAX_ATTRIBUTES {
            BTreeMap::new()
        } else {
            attributes
        };
        Self {
            domain: entry.domain.to_string(),
            path: entry.path.to_string(),
            kind: kind_name(entry.kind).to_owned(),
            size: entry.size,
            mode: entry.mode,
            modified: entry.modified,
            created: entry.created,
            status_changed: entry.status_changed,
            user: entry.user_id,
            group: entry.group_id,
            protection_class: entry.protection_class,
            link_target: entry.link_target.as_deref().map(str::to_owned),
            attributes: attributes
                .into_iter()
                .map(|(name, value)| (name, hex_digits(&value).collect()))
                .collect(),
        }
    }

    /// All of it in 16 bytes.
    fn fingerprint(&self) -> Result<[u8; 16], serde_json::Error> {
        let hash = Sha256::digest(serde_json::to_vec(self)?);
        Ok(hash.first_chunk().copied().unwrap_or_default())
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Unknown => "unknown",
    }
}

impl Baseline {
    /// Reads the lines of an earlier run. Lines that name no payload are passed over.
    ///
    /// # Errors
    /// [`BaselineError`].
    pub fn read(mut source: impl BufRead) -> Result<Self, BaselineError> {
        let (mut baseline, mut text, mut number) = (Self::default(), Vec::new(), 0_u64);
        loop {
            text.clear();
            number = number.saturating_add(1);
            let got = source.by_ref().take(MAX_LINE).read_until(b'\n', &mut text)?;
            if got == 0 {
                break;
            }
            if got as u64 == MAX_LINE {
                return Err(BaselineError::TooLong { line: number });
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let wrong = |source| BaselineError::Line { line: number, source };
            baseline
                .take(serde_json::from_slice(&text).map_err(wrong)?)
                .map_err(wrong)?;
        }
        match baseline.rows.is_empty() && baseline.own.is_empty() {
            true => Err(BaselineError::Empty),
            false => Ok(baseline),
        }
    }

    fn take(&mut self, line: Line) -> Result<(), serde_json::Error> {
        let sha256 = line.sha256.as_deref().and_then(from_hex);
        if let Some((name, hash)) = line.backup_file.zip(sha256) {
            self.own.insert(name, hash);
            return Ok(());
        }
        let id = line.file_id.and_then(|id| id.parse::<FileId>().ok());
        if let Some((id, record)) = id.zip(line.record) {
            let known = Known {
                record: record.fingerprint()?,
                domain: record.domain.into(),
                path: record.path.into(),
                sha256,
            };
            self.rows.insert(id, known);
        }
        Ok(())
    }

    /// How many files, folders and links it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Compares a row that was checked.
    pub(super) fn compare(&self, check: &FileCheck) -> Vec<Problem> {
        let Some(known) = self.rows.get(&check.entry.file_id) else {
            return vec![Problem::NewSince];
        };
        let mut problems = Vec::new();
        if Facts::of(&check.entry).fingerprint().ok() != Some(known.record) {
            problems.push(Problem::RecordChanged);
        }
        if known.sha256.is_some() && check.sha256.is_some() && known.sha256 != check.sha256 {
            problems.push(Problem::ContentsChanged);
        }
        problems
    }

    /// Reports rows that are gone.
    pub(super) fn report_gone(&self, is_there: impl Fn(&FileId) -> bool, report: &mut Report) {
        let mut gone: Vec<_> = self.rows.iter().filter(|(id, _)| !is_there(id)).collect();
        gone.sort_by_key(|(id, _)| **id);
        for (id, known) in gone {
            report.add(Finding {
                file_id: Some(*id),
                ..Finding::of_path(&known.domain, &known.path, Problem::Gone)
            });
        }
    }

    /// Reports the backup's own files that are not what they were.
    pub(super) fn report_own_files(&self, folder: &Path, report: &mut Report) -> io::Result<()> {
        for (name, known) in &self.own {
            // The list is a stranger's too: no name leads out of the folder.
            let Some(name) = OWN_FILES.into_iter().find(|own| own == name) else {
                continue;
            };
            let now = hash_of(&folder.join(name))?;
            if now.is_none_or(|(_, hash)| hash != *known) {
                report.add(Finding::of_backup(Problem::BackupFileChanged { file: name }));
            }
        }
        Ok(())
    }
}

/// Writes what [`Baseline::read`] reads: a JSON line for each file of a backup that is verified with
/// [`sha256`](super::VerifyOptions::sha256).
#[derive(Debug)]
pub struct BaselineWriter<W> {
    out: W,
}

impl<W: Write> BaselineWriter<W> {
    /// Writes to `out`.
    pub const fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes a line for each of the backup's own files: plists and index.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn backup_files(&mut self, archive: &Archive) -> Result<(), ArchiveError> {
        for name in OWN_FILES {
            if let Some((length, hash)) = hash_of(&archive.folder().join(name))? {
                self.line(&Line {
                    backup_file: Some(name.to_owned()),
                    file_id: None,
                    length: Some(length),
                    sha256: Some(hex_digits(&hash).collect()),
                    record: None,
                })?;
            }
        }
        Ok(())
    }

    /// Writes the line of a row, as [`Observer::on_file`](crate::archive::Observer::on_file) hands it out.
    ///
    /// # Errors
    /// What the writer gives.
    pub fn file(&mut self, check: &FileCheck) -> io::Result<()> {
        self.line(&Line {
            backup_file: None,
            file_id: Some(check.entry.file_id.to_string()),
            length: check.len,
            sha256: check.sha256.map(|hash| hex_digits(&hash).collect()),
            record: Some(Facts::of(&check.entry)),
        })
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    /// Flushes, and gives the writer back.
    ///
    /// # Errors
    /// What the writer gives.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Length and hash of a file; `None` if there is none.
fn hash_of(path: &Path) -> io::Result<Option<(u64, [u8; 32])>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let (mut hash, mut buffer, mut length) = (Sha256::new(), vec![0; 256 << 10], 0_u64);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some((length, hash.finalize().into()))),
            Ok(got) => {
                hash.update(buffer.get(..got).unwrap_or_default());
                length = length.saturating_add(got as u64);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?))
        .collect();
    rest.is_empty().then_some(bytes?)?.try_into().ok()
}
