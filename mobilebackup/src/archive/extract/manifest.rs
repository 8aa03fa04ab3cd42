//! The manifest: one JSON line a file, which says what it was and proves that it is done.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read};

use cabled_wire::plist::Value;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Failure;
use crate::archive::entry::{EntryNote, FileEntry, Kind, SkippedRow};
use crate::archive::hex_digits::hex_digits;
use crate::archive::names::{Convention, MappedPath};
use crate::archive::read::PayloadNote;
use crate::archive::{Archive, FileId};

/// Longer lines are no proof; such a file is looked at again.
const MAX_LINE: u64 = 16 << 20;

/// Extended attributes of more bytes than this are counted, not listed.
const MAX_ATTRIBUTES: usize = 1 << 20;

/// The form of the lines.
const VERSION: u32 = 1;

/// SHA-256 of a file's contents; 64 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Hash([u8; 32]);

impl Sha256Hash {
    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Sha256Hash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Sha256Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// It is written, whole unless a note says otherwise.
    Extracted,
    /// An earlier run had written it.
    AlreadyThere,
    /// It is in the manifest only: a link.
    Recorded,
    /// Another file has the name and stays.
    LeftOut,
    /// It could not be extracted.
    Failed,
    /// The row of the index does not decode.
    UnreadableRow,
}

/// Something worth knowing about an extracted file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum LineNote {
    /// About its record.
    Entry(EntryNote),
    /// About its payload.
    Payload(PayloadNote),
    /// About its extraction.
    Extract(ExtractNote),
}

/// Something about an extraction that is worth knowing and no error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "note")]
#[non_exhaustive]
pub enum ExtractNote {
    /// The payload was cut off; what is left of it is written.
    Salvaged,
    /// The system refused the mapped name; the file has another one.
    NameRefused {
        /// What the system said.
        message: String,
    },
    /// The link is not made.
    LinkNotMade {
        /// Why.
        why: &'static str,
    },
    /// The extended attributes do not decode.
    AttributesUnreadable,
    /// There are too many extended attributes to be listed.
    AttributesLeftOut {
        /// Their bytes.
        bytes: usize,
    },
    /// Neither the index nor the mode says what it is, and it has no payload.
    NothingStored,
    /// Permissions or times could not be set.
    DetailsNotSet {
        /// What the system said.
        message: String,
    },
}

/// What the manifest says of one row of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ManifestLine {
    /// Domain.
    pub domain: String,
    /// Relative path on the device.
    pub path: String,
    /// Where it is in the target; `None` if nothing was written.
    pub extracted: Option<MappedPath>,
    /// What became of it.
    pub status: Status,
    /// What it is.
    pub kind: Kind,
    /// The payload's name; `None` for rows that do not decode and have none.
    pub file_id: Option<FileId>,
    /// Recorded size in bytes, often stale.
    pub size: u64,
    /// Length of what was written, in bytes.
    pub length: Option<u64>,
    /// Hash of what was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256Hash>,
    /// The full `st_mode` on the device.
    pub mode: u32,
    /// Unix seconds of the last change of the contents.
    pub modified: Option<i64>,
    /// Unix seconds of the creation.
    pub created: Option<i64>,
    /// Unix seconds of the last change of the record.
    pub status_changed: Option<i64>,
    /// Owner on the device.
    pub user: i64,
    /// Group on the device.
    pub group: i64,
    /// Protection class.
    pub protection_class: u32,
    /// Where a link points to, on the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_target: Option<String>,
    /// Extended attributes: name, and value in hex digits.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// What is worth knowing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<LineNote>,
    /// Why it was not extracted, or not whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl ManifestLine {
    pub(super) fn new(entry: FileEntry, status: Status) -> Self {
        let mut notes: Vec<_> = entry.notes.iter().cloned().map(LineNote::Entry).collect();
        let attributes = match entry.attributes() {
            Ok(attributes) => attributes,
            Err(_) => {
                notes.push(LineNote::Extract(ExtractNote::AttributesUnreadable));
                BTreeMap::new()
            }
        };
        let bytes = attributes.iter().fold(0_usize, |sum, (name, value)| {
            sum.saturating_add(name.len()).saturating_add(value.len())
        });
        let attributes = if bytes > MAX_ATTRIBUTES {
            notes.push(LineNote::Extract(ExtractNote::AttributesLeftOut { bytes }));
            BTreeMap::new()
        } else {
            attributes
                .into_iter()
                .map(|(name, value)| (name, hex_digits(&value).collect()))
                .collect()
        };
        Self {
            domain: entry.domain.to_string(),
            path: entry.path.into(),
            extracted: None,
            status,
            kind: entry.kind,
            file_id: Some(entry.file_id),
            size: entry.size,
            length: None,
            sha256: None,
            mode: entry.mode,
            modified: entry.modified,
            created: entry.created,
            status_changed: entry.status_changed,
            user: entry.user_id,
            group: entry.group_id,
            protection_class: entry.protection_class,
            link_target: entry.link_target.map(String::from),
            attributes,
            notes,
            failure: None,
        }
    }

    /// A row that says nothing of a file.
    pub(super) fn of_skipped(row: SkippedRow) -> Self {
        Self {
            domain: row.domain.map(String::from).unwrap_or_default(),
            path: row.path.map(String::from).unwrap_or_default(),
            extracted: None,
            status: Status::UnreadableRow,
            kind: Kind::Unknown,
            file_id: row.file_id,
            size: 0,
            length: None,
            sha256: None,
            mode: 0,
            modified: None,
            created: None,
            status_changed: None,
            user: 0,
            group: 0,
            protection_class: 0,
            link_target: None,
            attributes: BTreeMap::new(),
            notes: Vec::new(),
            failure: Some(Failure::Row {
                message: row.reason.to_string(),
            }),
        }
    }

    pub(super) fn note(&mut self, note: ExtractNote) {
        self.notes.push(LineNote::Extract(note));
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.status = Status::Failed;
        self.failure = Some(failure);
    }

    /// Appends the line to `out`.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.push(b'\n');
        Ok(())
    }
}

/// The first line of a manifest, and the first of every run over a newer backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    cabled_manifest: u32,
    /// Whose backup it is.
    pub(super) device: String,
    /// Which state of it.
    pub(super) backup: String,
    pub(super) names: Convention,
    /// Whether twins were looked for beyond what the convention asks.
    pub(super) folding: bool,
}

impl Header {
    pub(super) fn new(archive: &Archive, names: Convention, folding: bool) -> Self {
        let name = archive
            .folder()
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let device = archive
            .manifest()
            .lockdown("UniqueDeviceID")
            .and_then(Value::as_string)
            .map(str::to_owned)
            .or_else(|| {
                archive
                    .info()
                    .and_then(|info| info.target_identifier())
                    .map(str::to_owned)
            })
            .or(name)
            .unwrap_or_default();
        let mut state = Sha256::new();
        let seconds = |time: Option<std::time::SystemTime>| {
            time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
                .map_or(0, |time| time.as_secs())
        };
        state.update(seconds(archive.manifest().date()).to_le_bytes());
        if let Some(status) = archive.status() {
            state.update(seconds(status.date()).to_le_bytes());
            state.update(status.uuid().unwrap_or_default());
        }
        Self {
            cabled_manifest: VERSION,
            device,
            backup: hex_digits(state.finalize().first_chunk::<16>().map_or(&[], |half| half)).collect(),
            names,
            folding,
        }
    }

    pub(super) fn append_to(&self, out: &mut Vec<u8>) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.push(b'\n');
        Ok(())
    }
}

/// What of a line proves that a file is done.
#[derive(Deserialize)]
struct Proof {
    extracted: String,
    status: Status,
    kind: String,
    file_id: String,
    size: u64,
    length: u64,
    #[serde(default)]
    sha256: String,
    modified: Option<i64>,
}

/// What an existing manifest proves, as hashes: 16 bytes a file.
#[derive(Debug)]
pub(super) struct Proofs {
    hasher: RandomState,
    with_hash: bool,
    /// Of source and result together.
    done: Vec<u64>,
    /// Of results alone: path, length and time.
    ours: Vec<u64>,
    /// The last header.
    pub(super) header: Option<Header>,
    /// Whether the last line is whole.
    pub(super) ends_whole: bool,
}

/// What lies in the target, to be compared with what the manifest says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) mapped: &'a MappedPath,
    pub(super) length: u64,
    pub(super) sha256: Option<&'a Sha256Hash>,
}

impl Proofs {
    /// Reads a manifest; `with_hash` if only lines with a hash are proof, and only of that hash.
    pub(super) fn read(file: impl Read, with_hash: bool) -> io::Result<Self> {
        let mut proofs = Self {
            hasher: RandomState::new(),
            with_hash,
            done: Vec::new(),
            ours: Vec::new(),
            header: None,
            ends_whole: true,
        };
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            proofs.ends_whole = line.ends_with(b"\n");
            if proofs.ends_whole {
                proofs.take(&line);
            }
        }
        for list in [&mut proofs.done, &mut proofs.ours] {
            list.sort_unstable();
            list.dedup();
        }
        Ok(proofs)
    }

    fn take(&mut self, line: &[u8]) {
        if let Ok(proof) = serde_json::from_slice::<Proof>(line) {
            // Only what was written whole, and only files.
            if proof.status == Status::Extracted && matches!(proof.kind.as_str(), "file" | "unknown") {
                if !(self.with_hash && proof.sha256.is_empty()) {
                    let source = (&*proof.file_id, proof.size, proof.modified);
                    let hash = if self.with_hash { &*proof.sha256 } else { "" };
                    self.done
                        .push(self.hasher.hash_one((source, &*proof.extracted, proof.length, hash)));
                }
                self.ours
                    .push(self.hasher.hash_one((&*proof.extracted, proof.length, proof.modified)));
            }
        } else if let Ok(header) = serde_json::from_slice::<Header>(line) {
            self.header = Some(header);
        }
    }

    /// Whether an earlier run has written what is found, from the very same source.
    pub(super) fn is_done(&self, entry: &FileEntry, found: Found<'_>) -> bool {
        let id = entry.file_id.to_string();
        let hash = match (self.with_hash, found.sha256) {
            (true, Some(hash)) => hash.to_string(),
            (true, None) => return false,
            (false, _) => String::new(),
        };
        let source = (&*id, entry.size, entry.modified);
        let proof = self
            .hasher
            .hash_one((source, found.mapped.as_str(), found.length, &*hash));
        self.done.binary_search(&proof).is_ok()
    }

    /// Whether an earlier run has written what is found, whatever it was then.
    pub(super) fn is_ours(&self, found: Found<'_>, modified: Option<i64>) -> bool {
        let proof = self.hasher.hash_one((found.mapped.as_str(), found.length, modified));
        self.ours.binary_search(&proof).is_ok()
    }

    /// How many files are proved done.
    pub(super) fn len(&self) -> usize {
        self.done.len()
    }
}
