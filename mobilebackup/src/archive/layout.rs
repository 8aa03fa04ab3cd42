//! What a backup folder is, by the files in it (spec backup-format, 1, 9.1 and 20).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cabled_wire::WireError;

use super::ArchiveError;
use super::database::SQLITE_MAGIC;
use super::options::OpenOptions;
use super::plists::{MAX_PLIST_LEN, Manifest, Status};

/// Where the files of a backup are and which index they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layout {
    /// iOS 10 and later: `Manifest.db`, payloads in folders `00` to `ff`.
    Current,
    /// iOS 4 to 9: `Manifest.mbdb`, payloads beside it.
    Flat,
}

/// Whether and how the files of a backup are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Protection {
    /// Files are stored as they are.
    Plain,
    /// Files are encrypted; with iOS 10.2 and later the index is as well.
    Encrypted,
    /// The plists say encrypted, but another program has decrypted index and files since.
    AlreadyDecrypted,
}

/// Something about a backup as a whole that is worth knowing and no error.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "note")]
#[non_exhaustive]
pub enum OpenNote {
    /// `Info.plist` is missing. Apple's hosts do not list such a backup.
    NoInfo,
    /// `Info.plist` is damaged.
    DamagedInfo {
        /// What is wrong with it.
        reason: String,
    },
    /// `Status.plist` is missing: whether the backup came to its end is unknown.
    NoStatus,
    /// `Status.plist` is damaged.
    DamagedStatus {
        /// What is wrong with it.
        reason: String,
    },
    /// `SnapshotState` is not `finished`: the backup was cut off, or is running now.
    NotFinished {
        /// The state it has.
        state: Option<String>,
    },
    /// There is a folder `Snapshot`: a backup was cut off, or is running now. Old and new files may be mixed.
    SnapshotFolder,
    /// `Manifest.plist` was missing or empty, and the index was opened without it.
    NoManifest,
    /// The keybag of a backup that is not encrypted is damaged; nothing but keychain items needs it.
    DamagedKeybag {
        /// What is wrong with it.
        reason: String,
    },
    /// The log or journal beside the index is damaged: changes behind that place are lost.
    DamagedIndexLog {
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// `Manifest.plist` has a key for `Manifest.db` although it says that the backup is not encrypted.
    UnexpectedManifestKey,
}

/// Absent, or below something that is no folder.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

pub(super) fn damaged(file: &'static str) -> impl Fn(WireError) -> ArchiveError {
    move |source| ArchiveError::Plist { file, source }
}

/// An index file as it lies in the folder.
pub(super) struct FoundIndex {
    pub(super) path: PathBuf,
    pub(super) layout: Layout,
    pub(super) starts_as_sqlite: bool,
}

impl FoundIndex {
    /// Whether it can be listed without a key.
    pub(super) const fn is_readable(&self) -> bool {
        self.starts_as_sqlite || matches!(self.layout, Layout::Flat)
    }
}

/// The index that exists decides about the layout, not a version. Empty files do not count.
pub(super) fn find_index(folder: &Path) -> Result<Option<FoundIndex>, ArchiveError> {
    for (name, layout) in [("Manifest.db", Layout::Current), ("Manifest.mbdb", Layout::Flat)] {
        let path = folder.join(name);
        let start = match fs::metadata(&path) {
            Ok(meta) if meta.is_file() => first_bytes(&path)?,
            Ok(_) => continue,
            Err(e) if is_absent(&e) => continue,
            Err(e) => return Err(e.into()),
        };
        if !start.is_empty() {
            let starts_as_sqlite = layout == Layout::Current && start == SQLITE_MAGIC;
            return Ok(Some(FoundIndex {
                path,
                layout,
                starts_as_sqlite,
            }));
        }
    }
    Ok(None)
}

fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?
        .take(SQLITE_MAGIC.len() as u64)
        .read_to_end(&mut start)?;
    Ok(start)
}

/// What to say about a folder without an index.
pub(super) fn without_index(folder: &Path, manifest: Option<&Manifest>) -> ArchiveError {
    if manifest.is_some_and(Manifest::is_of_old_format) || has_old_files(folder) {
        return ArchiveError::UnsupportedOldFormat;
    }
    match manifest {
        Some(manifest) => ArchiveError::NoIndex {
            encrypted: manifest.is_encrypted().unwrap_or(false),
        },
        None => ArchiveError::NotABackup {
            folder: folder.to_owned(),
        },
    }
}

/// Whether the folder holds files that iOS 3 and older left.
fn has_old_files(folder: &Path) -> bool {
    let Ok(listing) = fs::read_dir(folder) else {
        return false;
    };
    listing.flatten().any(|entry| {
        let name = PathBuf::from(entry.file_name());
        name.extension()
            .is_some_and(|end| end == "mdinfo" || end == "mddata" || end == "mdbackup")
    })
}

/// Whether the plists and the index agree about encryption (spec 9.1). Nothing is guessed where they do not.
pub(super) fn protection_of(
    manifest: &Manifest,
    index: &FoundIndex,
    options: &OpenOptions,
    notes: &mut Vec<OpenNote>,
) -> Result<Protection, ArchiveError> {
    let encrypted = manifest.is_encrypted().map_err(damaged("Manifest.plist"))?;
    let has_key = manifest.manifest_key().map_err(damaged("Manifest.plist"))?.is_some();
    match (index.layout, encrypted, index.starts_as_sqlite, has_key) {
        (Layout::Flat, true, ..) => Ok(Protection::Encrypted),
        (Layout::Flat, false, ..) => Ok(Protection::Plain),
        (Layout::Current, true, true, true) => match options.already_decrypted {
            true => Ok(Protection::AlreadyDecrypted),
            false => Err(ArchiveError::AlreadyDecrypted),
        },
        // iOS 10.0 and 10.1: files are encrypted, the index is not.
        (Layout::Current, true, true, false) => Ok(Protection::Encrypted),
        (Layout::Current, true, false, true) => Ok(Protection::Encrypted),
        (Layout::Current, true, false, false) => Err(ArchiveError::NoManifestKey),
        (Layout::Current, false, false, _) => Err(ArchiveError::IndexNotSqlite),
        (Layout::Current, false, true, has_key) => {
            if has_key {
                notes.push(OpenNote::UnexpectedManifestKey);
            }
            Ok(Protection::Plain)
        }
    }
}

/// The bytes of a property list; `None` if it is missing or empty.
pub(super) fn read_plist(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
    let path = folder.join(name);
    match fs::metadata(&path) {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => return Ok(None),
        Err(e) if is_absent(&e) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let mut bytes = Vec::new();
    // One byte more than the limit, so that the reader sees that it is above.
    File::open(path)?
        .take((MAX_PLIST_LEN as u64).saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok((!bytes.is_empty()).then_some(bytes))
}

/// Reads a property list that no reading depends on: its absence or damage is noted.
pub(super) fn descriptive<T>(
    folder: &Path,
    name: &'static str,
    parse: impl Fn(&[u8]) -> Result<T, WireError>,
    notes: &mut Vec<OpenNote>,
) -> Result<Option<T>, ArchiveError> {
    let is_info = name == "Info.plist";
    let note = match read_plist(folder, name)? {
        Some(bytes) => match parse(&bytes) {
            Ok(read) => return Ok(Some(read)),
            Err(e) if is_info => OpenNote::DamagedInfo { reason: e.to_string() },
            Err(e) => OpenNote::DamagedStatus { reason: e.to_string() },
        },
        None if is_info => OpenNote::NoInfo,
        None => OpenNote::NoStatus,
    };
    notes.push(note);
    Ok(None)
}

/// Notes what tells that a backup was cut off.
pub(super) fn note_state(
    folder: &Path,
    status: Option<&Status>,
    notes: &mut Vec<OpenNote>,
) -> Result<(), ArchiveError> {
    if let Some(status) = status.filter(|status| !status.is_finished()) {
        notes.push(OpenNote::NotFinished {
            state: status.snapshot_state().map(str::to_owned),
        });
    }
    match fs::metadata(folder.join("Snapshot")) {
        Ok(meta) if meta.is_dir() => notes.push(OpenNote::SnapshotFolder),
        Ok(_) => {}
        Err(e) if is_absent(&e) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(())
}
