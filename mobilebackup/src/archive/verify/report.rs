//! What a check found, for programs and for people.

use std::collections::BTreeMap;
use std::error::Error;

use serde::Serialize;

use super::{FileCheck, Level};
use crate::archive::entry::{EntryNote, FileEntry, Kind, SkipReason, SkippedRow};
use crate::archive::layout::{Layout, OpenNote, Protection};
use crate::archive::read::PayloadNote;
use crate::archive::sqlite::DatabaseNote;
use crate::archive::{Archive, FileId};

/// One thing that is wrong or odd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "problem")]
#[non_exhaustive]
pub enum Problem {
    /// The index cannot be read to its end; rows behind that place are unknown.
    IndexDamaged {
        /// What is wrong.
        reason: String,
    },
    /// SQLite finds the index inconsistent: rows may be lost or doubled, lookups may miss what a scan finds.
    IndexInconsistent {
        /// What is wrong.
        reason: String,
    },
    /// A class key does not open although others do: files of that class are lost.
    ClassKeyDamaged {
        /// The class.
        class: u32,
    },
    /// A row does not decode.
    RowDamaged {
        /// Row id in `Manifest.db`, byte offset in `Manifest.mbdb`.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// A row lacks its domain, path or record; seen in sound backups of iOS 10.1.
    RowIncomplete {
        /// Row id in `Manifest.db`, byte offset in `Manifest.mbdb`.
        position: u64,
        /// The column.
        column: &'static str,
    },
    /// The stored id is not the SHA-1 of domain and path.
    IdMismatch {
        /// What domain and path give.
        computed: FileId,
    },
    /// Two rows have the same id.
    DuplicateId,
    /// The file's key does not unwrap, or is no key.
    KeyUnusable {
        /// What is wrong.
        reason: String,
    },
    /// The file has no payload.
    MissingPayload,
    /// The payload is a folder, a link or a device.
    IrregularPayload,
    /// The payload was cut off.
    Incomplete {
        /// Its length in bytes.
        stored: u64,
        /// The recorded size in bytes.
        recorded: u64,
    },
    /// The digest of the record is not that of the payload.
    DigestMismatch,
    /// A SQLite database is shorter than its own header says.
    DatabaseCut {
        /// What its header says, in bytes.
        expected: u64,
        /// Its length in bytes.
        actual: u64,
    },
    /// A SQLite database is damaged inside; only looked for if asked to.
    DatabaseDamaged {
        /// What SQLite says.
        reason: String,
    },
    /// A SQLite database cannot be checked, for want of something that its app brings along.
    DatabaseUnchecked {
        /// What SQLite says.
        reason: String,
    },
    /// The contents are not what they were.
    ContentsChanged,
    /// The record of the index (times, mode, owner, size, link, attributes) is not what it was.
    RecordChanged,
    /// The index had this row and has it no more.
    Gone,
    /// The index has this row and had not.
    NewSince,
    /// One of the backup's own files is not what it was.
    BackupFileChanged {
        /// Its name.
        file: &'static str,
    },
    /// The payload cannot be read.
    Unreadable {
        /// What the system said.
        reason: String,
    },
    /// A SQLite database is longer than its own header says.
    DatabaseLonger {
        /// What its header says, in bytes.
        expected: u64,
        /// Its length in bytes.
        actual: u64,
    },
    /// The digest is that of the contents, not of the encrypted payload as devices write it.
    DigestOfPlaintext,
    /// The payload's length does not fit the recorded size.
    StoredLength {
        /// Its length in bytes.
        stored: u64,
        /// What the recorded size asks for, in bytes.
        expected: u64,
    },
    /// A payload that no row names.
    Orphan,
    /// A directory has entries and no row of its own; every backup made by a device has all of them.
    MissingParent,
    /// `Manifest.mbdx` lists other files than `Manifest.mbdb`.
    OlderIndexDiffers {
        /// In `Manifest.mbdx` only.
        only_there: u64,
        /// In `Manifest.mbdb` only.
        only_here: u64,
    },
    /// Something odd about the log or journal of a database.
    Database(DatabaseNote),
    /// Something odd about the record.
    Entry(EntryNote),
    /// Something odd about the payload.
    Payload(PayloadNote),
}

impl Problem {
    /// Whether something is lost or wrong, as against merely odd.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Entry(note) => matches!(note, EntryNote::MalformedId { .. } | EntryNote::KeyLength { .. }),
            Self::Database(note) => matches!(
                note,
                DatabaseNote::LogDamaged { .. } | DatabaseNote::CompanionUnreadable { .. } | DatabaseNote::Incomplete
            ),
            Self::RowIncomplete { .. }
            | Self::DatabaseUnchecked { .. }
            | Self::NewSince
            | Self::DatabaseLonger { .. }
            | Self::DigestOfPlaintext
            | Self::StoredLength { .. }
            | Self::Orphan
            | Self::MissingParent
            | Self::OlderIndexDiffers { .. }
            | Self::Payload(_) => false,
            _ => true,
        }
    }

    /// A stable name, as in the serialized form.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::IndexDamaged { .. } => "index_damaged",
            Self::IndexInconsistent { .. } => "index_inconsistent",
            Self::DatabaseDamaged { .. } => "database_damaged",
            Self::DatabaseUnchecked { .. } => "database_unchecked",
            Self::ContentsChanged => "contents_changed",
            Self::RecordChanged => "record_changed",
            Self::Gone => "gone",
            Self::NewSince => "new_since",
            Self::BackupFileChanged { .. } => "backup_file_changed",
            Self::Database(_) => "database_note",
            Self::ClassKeyDamaged { .. } => "class_key_damaged",
            Self::RowDamaged { .. } => "row_damaged",
            Self::RowIncomplete { .. } => "row_incomplete",
            Self::IdMismatch { .. } => "id_mismatch",
            Self::DuplicateId => "duplicate_id",
            Self::KeyUnusable { .. } => "key_unusable",
            Self::MissingPayload => "missing_payload",
            Self::IrregularPayload => "irregular_payload",
            Self::Incomplete { .. } => "incomplete",
            Self::DigestMismatch => "digest_mismatch",
            Self::DatabaseCut { .. } => "database_cut",
            Self::Unreadable { .. } => "unreadable",
            Self::DatabaseLonger { .. } => "database_longer",
            Self::DigestOfPlaintext => "digest_of_plaintext",
            Self::StoredLength { .. } => "stored_length",
            Self::Orphan => "orphan",
            Self::MissingParent => "missing_parent",
            Self::OlderIndexDiffers { .. } => "older_index_differs",
            Self::Entry(EntryNote::MalformedId { .. }) => "malformed_id",
            Self::Entry(EntryNote::PathDiffers { .. }) => "path_differs",
            Self::Entry(EntryNote::DigestLength { .. }) => "digest_length",
            Self::Entry(EntryNote::KeyLength { .. }) => "key_length",
            Self::Entry(EntryNote::UnknownFlags { .. }) => "unknown_flags",
            Self::Payload(PayloadNote::SizeDiffers { .. }) => "size_differs",
            Self::Payload(PayloadNote::StrayBytes { .. }) => "stray_bytes",
            Self::Payload(PayloadNote::WithoutPadding) => "without_padding",
            Self::Payload(PayloadNote::NoKey) => "no_key",
            Self::Payload(PayloadNote::UnexpectedKey) => "unexpected_key",
            Self::Payload(PayloadNote::MissingEmpty) => "missing_empty",
        }
    }
}

/// A problem and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The payload's name, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_id: Option<FileId>,
    /// The domain, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The path, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong or odd.
    #[serde(flatten)]
    pub problem: Problem,
}

impl Finding {
    pub(super) const fn of_backup(problem: Problem) -> Self {
        Self {
            file_id: None,
            domain: None,
            path: None,
            problem,
        }
    }

    pub(super) const fn of_payload(file_id: FileId, problem: Problem) -> Self {
        Self {
            file_id: Some(file_id),
            domain: None,
            path: None,
            problem,
        }
    }

    pub(super) fn of_path(domain: &str, path: &str, problem: Problem) -> Self {
        Self {
            file_id: None,
            domain: Some(domain.to_owned()),
            path: Some(path.to_owned()),
            problem,
        }
    }

    pub(super) fn of_entry(entry: &FileEntry, problem: Problem) -> Self {
        Self {
            file_id: Some(entry.file_id),
            ..Self::of_path(&entry.domain, &entry.path, problem)
        }
    }

    pub(super) fn of_skipped(row: SkippedRow) -> Self {
        let problem = match row.reason {
            SkipReason::MissingColumn { column } => Problem::RowIncomplete {
                position: row.position,
                column,
            },
            reason => Problem::RowDamaged {
                position: row.position,
                reason: reason.to_string(),
            },
        };
        Self {
            file_id: row.file_id,
            domain: row.domain.map(String::from),
            path: row.path.map(String::from),
            problem,
        }
    }
}

/// Findings of one sort: all counted, the first ones listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Findings {
    /// How many of each kind, by [`Problem::name`].
    pub counts: BTreeMap<&'static str, u64>,
    /// The first of them, up to [`VerifyOptions::listed`](super::VerifyOptions::listed).
    pub list: Vec<Finding>,
}

impl Findings {
    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many there are of a kind.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }
}

/// What [`Archive::verify`] found. Serializes to one flat object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// How thoroughly was checked.
    pub level: Level,
    /// Which index the backup has.
    pub layout: Layout,
    /// Whether files are encrypted.
    pub protection: Protection,
    /// What is odd about the backup as a whole.
    pub backup: Vec<OpenNote>,
    /// Whether the index was read to its end.
    pub index_complete: bool,
    /// Rows of the index.
    pub rows: u64,
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Files whose payload was read to the end.
    pub files_read: u64,
    /// Files whose digest was compared.
    pub digests_checked: u64,
    /// Bytes of all payloads as stored; from [`Level::Presence`] on.
    pub stored_bytes: u64,
    /// Bytes of the contents of all files that were read.
    pub content_bytes: u64,
    /// What is lost or wrong.
    pub damage: Findings,
    /// What is merely odd.
    pub notes: Findings,
    #[serde(skip)]
    incomplete: bool,
    #[serde(skip)]
    listed: usize,
}

impl Report {
    pub(super) fn new(archive: &Archive, level: Level, listed: usize) -> Self {
        Self {
            level,
            layout: archive.layout(),
            protection: archive.protection(),
            backup: archive.notes().to_vec(),
            index_complete: true,
            rows: 0,
            files: 0,
            directories: 0,
            links: 0,
            files_read: 0,
            digests_checked: 0,
            stored_bytes: 0,
            content_bytes: 0,
            damage: Findings::default(),
            notes: Findings::default(),
            incomplete: archive.is_incomplete(),
            listed,
        }
    }

    /// Whether nothing is damaged and the backup came to its end, as far as this level can tell.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.index_complete && !self.incomplete && self.damage.counts.is_empty()
    }

    pub(super) fn add(&mut self, finding: Finding) {
        let findings = if finding.problem.is_damage() {
            &mut self.damage
        } else {
            &mut self.notes
        };
        let count = findings.counts.entry(finding.problem.name()).or_default();
        *count = count.saturating_add(1);
        if findings.list.len() < self.listed {
            findings.list.push(finding);
        }
    }

    pub(super) fn count(&mut self, check: &FileCheck) {
        let add = |to: &mut u64, n: u64| *to = to.saturating_add(n);
        add(&mut self.rows, 1);
        match check.entry.kind {
            Kind::File => add(&mut self.files, 1),
            Kind::Directory => add(&mut self.directories, 1),
            Kind::Symlink => add(&mut self.links, 1),
            Kind::Unknown => {}
        }
        add(&mut self.files_read, check.read.into());
        add(&mut self.digests_checked, check.digest_checked.into());
        add(&mut self.stored_bytes, check.stored_len.unwrap_or(0));
        add(&mut self.content_bytes, check.len.filter(|_| check.read).unwrap_or(0));
    }
}

/// An error and everything behind it, on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
