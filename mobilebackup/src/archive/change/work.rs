//! What every change has in common: a new folder, a copy of the index, the payloads, and the check at the end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cabled_wire::plist::{self, Dictionary};

use super::index::{WorkIndex, WorkRow};
use super::{ChangeError, ChangeOptions, Changed, RowChanges, Transfer};
use crate::archive::build::BuildError;
use crate::archive::build::payload::{self, StoreError, Stored};
use crate::archive::build::staging::{Staging, create_new};
use crate::archive::entry::{FileEntry, Kind};
use crate::archive::file_id::FileId;
use crate::archive::index::Index;
use crate::archive::keybag::ClassKeys;
use crate::archive::layout::{Layout, Protection};
use crate::archive::observe::{Observer, Phase, Progress};
use crate::archive::read::ReadOptions;
use crate::archive::verify::{Report, VerifyOptions};
use crate::archive::wrap::Key;
use crate::archive::{Archive, ArchiveError};

/// Bytes copied between two looks at the observer.
const CHUNK: u64 = 32 << 20;

/// A new backup in the making.
pub(super) struct Work<'a> {
    pub(super) archive: &'a Archive,
    pub(super) options: ChangeOptions,
    pub(super) staging: Staging,
    pub(super) rows: RowChanges,
    pub(super) written: u64,
    copied: u64,
    linked: u64,
    missing: u64,
    lost: Vec<FileId>,
    buffer: Vec<u8>,
    bytes: u64,
}

/// How the new backup is opened for its check.
pub(super) enum Unlock {
    Plain,
    ClassKeys(ClassKeys),
    Key(Key),
}

/// Tells the observer; an error if the job is to stop.
pub(super) fn tell(
    observer: &mut dyn Observer,
    phase: Phase,
    done: u64,
    total: Option<u64>,
    bytes: u64,
) -> Result<(), ChangeError> {
    match observer.on_progress(&Progress::new(phase, done, total).with_bytes(bytes)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ChangeError::Cancelled),
    }
}

impl<'a> Work<'a> {
    /// Checks that the backup can be the base of another, and makes the new folder beside the place it will have.
    pub(super) fn begin(archive: &'a Archive, folder: &Path, options: ChangeOptions) -> Result<Self, ChangeError> {
        if archive.is_incomplete() {
            return Err(ChangeError::Incomplete);
        }
        if archive.protection() == Protection::AlreadyDecrypted {
            return Err(ChangeError::AlreadyDecrypted);
        }
        if archive.is_without_manifest() {
            return Err(ChangeError::NoManifest);
        }
        if archive.is_locked() {
            return Err(ArchiveError::Locked.into());
        }
        if let Index::Database {
            column_key: Some(_), ..
        } = archive.index()?
        {
            return Err(ChangeError::MetadataEncryption);
        }
        refuse_inside(archive.folder(), folder)?;
        Ok(Self {
            staging: Staging::create(folder, archive.layout()).map_err(BuildError::from)?,
            archive,
            options,
            rows: RowChanges::default(),
            written: 0,
            copied: 0,
            linked: 0,
            missing: 0,
            lost: Vec::new(),
            buffer: Vec::new(),
            bytes: 0,
        })
    }

    /// Calls `visit` with every row of the copy of the index.
    pub(super) fn each_row(
        &mut self,
        index: &WorkIndex,
        observer: &mut dyn Observer,
        mut visit: impl FnMut(&mut Self, &WorkRow, &mut dyn Observer) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let (mut after, mut done) = (i64::MIN, 0_u64);
        loop {
            let batch = index.batch(after)?;
            let Some(last) = batch.last() else { return Ok(()) };
            after = last.row_id;
            for row in &batch {
                tell(observer, Phase::WritingPayloads, done, None, self.bytes)?;
                visit(self, row, observer)?;
                done = done.saturating_add(1);
            }
        }
    }

    /// Brings every payload that is not there yet over as it is.
    pub(super) fn transfer_all(&mut self, index: &WorkIndex, observer: &mut dyn Observer) -> Result<(), ChangeError> {
        self.each_row(index, observer, |work, row, observer| match &row.entry {
            Some(entry) if has_payload(entry) => work.transfer(entry, observer),
            _ => Ok(()),
        })
    }

    fn transfer(&mut self, entry: &FileEntry, observer: &mut dyn Observer) -> Result<(), ChangeError> {
        let target = self.staging.payload_path(&entry.file_id)?;
        // Written anew before, or named by two rows.
        if fs::symlink_metadata(&target).is_ok() {
            return Ok(());
        }
        let source = match self.archive.payload_place(&entry.file_id) {
            Ok(source) => source,
            Err(ArchiveError::MissingPayload { .. } | ArchiveError::IrregularPayload { .. }) => {
                self.missing = self.missing.saturating_add((entry.kind == Kind::File).into());
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        };
        let linked = self.options.transfer == Transfer::HardLink
            && fs::symlink_metadata(&source).is_ok_and(|meta| meta.is_file())
            && fs::hard_link(&source, &target).is_ok();
        if linked {
            self.linked = self.linked.saturating_add(1);
            return Ok(());
        }
        self.copy(&source, &target, observer)?;
        self.copied = self.copied.saturating_add(1);
        Ok(())
    }

    /// Copies a file; the system makes it a clone where the file system can.
    fn copy(&mut self, source: &Path, target: &Path, observer: &mut dyn Observer) -> Result<(), ChangeError> {
        if cfg!(target_vendor = "apple") {
            self.bytes = self.bytes.saturating_add(fs::copy(source, target)?);
            return Ok(());
        }
        let (from, mut to) = (File::open(source)?, create_new(target)?);
        loop {
            let copied = io::copy(&mut io::Read::take(&from, CHUNK), &mut to)?;
            self.bytes = self.bytes.saturating_add(copied);
            if copied < CHUNK {
                return Ok(());
            }
            tell(observer, Phase::WritingPayloads, 0, None, self.bytes)?;
        }
    }

    /// Writes a file's contents anew, under another key or none. `None` if the original has nothing to read, or nothing
    /// that could be saved.
    pub(super) fn recode(
        &mut self,
        entry: &FileEntry,
        key: Option<&Key>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Stored>, ChangeError> {
        let target = self.staging.payload_path(&entry.file_id)?;
        let options = ReadOptions::default();
        let mut opened = self.archive.read_with(entry, options);
        if self.options.salvage && matches!(opened, Err(ArchiveError::Incomplete { .. })) {
            self.lost.push(entry.file_id);
            opened = self.archive.read_with(entry, options.salvage(true));
        }
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(ArchiveError::MissingPayload { .. } | ArchiveError::IrregularPayload { .. }) => {
                self.missing = self.missing.saturating_add((entry.kind == Kind::File).into());
                return Ok(None);
            }
            Err(ArchiveError::FileKey(_) | ArchiveError::FileKeyLength { .. }) if self.options.salvage => {
                self.lost.push(entry.file_id);
                return Ok(None);
            }
            Err(e) => return Err(unreadable(entry, e)),
        };
        let wants_digest = entry.digest.is_some();
        let stored = self.store(&target, &mut reader, key, wants_digest, observer);
        match stored {
            Ok(stored) => Ok(Some(stored)),
            Err(StoreError::Contents(e)) => Err(unreadable(entry, e.into())),
            Err(StoreError::Target(e)) => Err(e.into()),
            Err(StoreError::Stopped) => Err(ChangeError::Cancelled),
        }
    }

    /// Writes one payload.
    pub(super) fn store(
        &mut self,
        target: &Path,
        contents: &mut dyn io::Read,
        key: Option<&Key>,
        wants_digest: bool,
        observer: &mut dyn Observer,
    ) -> Result<Stored, StoreError> {
        let mut file = create_new(target).map_err(StoreError::Target)?;
        let bytes = &mut self.bytes;
        let mut pulse = |more| {
            *bytes = bytes.saturating_add(more);
            tell(observer, Phase::WritingPayloads, 0, None, *bytes).is_ok()
        };
        let stored = payload::store(contents, &mut file, key, wants_digest, &mut self.buffer, &mut pulse)?;
        self.written = self.written.saturating_add(1);
        Ok(stored)
    }

    /// Writes `Manifest.plist` anew, or brings it over, and brings the two others over.
    pub(super) fn plists(&self, manifest: Option<Dictionary>) -> Result<(), ChangeError> {
        let folder = self.archive.folder();
        match manifest {
            Some(manifest) => self
                .staging
                .write("Manifest.plist", &plist::to_binary(&manifest.into()))?,
            None => copy_small(folder, "Manifest.plist", &self.staging)?,
        }
        copy_small(folder, "Info.plist", &self.staging)?;
        copy_small(folder, "Status.plist", &self.staging)?;
        Ok(())
    }

    /// Whether the original has the older index beside the flat one.
    pub(super) fn has_older_index(&self) -> bool {
        self.archive.layout() == Layout::Flat && self.archive.folder().join("Manifest.mbdx").is_file()
    }

    /// Checks the new backup against the original, flushes it and gives it its name.
    pub(super) fn finish(
        self,
        unlock: Unlock,
        key: Option<Key>,
        observer: &mut dyn Observer,
    ) -> Result<Changed, ChangeError> {
        let report = self.check(unlock, observer)?;
        self.staging.sync()?;
        let folder = self.staging.commit().map_err(BuildError::from)?;
        Ok(Changed {
            folder,
            rows: self.rows,
            written: self.written,
            copied: self.copied,
            linked: self.linked,
            missing: self.missing,
            lost: self.lost,
            report,
            key,
        })
    }

    /// The new backup may have no damage that the original does not have.
    fn check(&self, unlock: Unlock, observer: &mut dyn Observer) -> Result<Report, ChangeError> {
        let stopped = |e| match e {
            ArchiveError::Cancelled => ChangeError::Cancelled,
            other => ChangeError::Build(BuildError::ReadBack(Box::new(other))),
        };
        let mut made = Archive::open(self.staging.path()).map_err(stopped)?;
        match unlock {
            Unlock::Plain => {}
            Unlock::ClassKeys(keys) => made.open_with_class_keys(keys, None, observer).map_err(stopped)?,
            Unlock::Key(key) => made.unlock_with_key(&key, observer).map_err(stopped)?,
        }
        let options = VerifyOptions::default().level(self.options.level);
        let new = made.verify(&options, observer).map_err(stopped)?;
        if new.damage.counts.is_empty() && new.index_complete {
            return Ok(new);
        }
        let old = self.archive.verify(&options, observer)?;
        let mut damage = BTreeMap::new();
        for (name, count) in &new.damage.counts {
            let allowed = match *name {
                // What could not be decrypted has no payload now.
                "missing_payload" => self.lost.len() as u64,
                _ => 0,
            };
            let before = old.damage.count(name).saturating_add(allowed);
            if *count > before {
                damage.insert(*name, count.saturating_sub(before));
            }
        }
        if old.index_complete && !new.index_complete {
            damage.insert("index_damaged", 1);
        }
        if damage.is_empty() {
            Ok(new)
        } else {
            Err(ChangeError::Verification { damage })
        }
    }
}

/// Whether a row should have a payload.
pub(super) const fn has_payload(entry: &FileEntry) -> bool {
    matches!(entry.kind, Kind::File | Kind::Unknown)
}

fn unreadable(entry: &FileEntry, source: ArchiveError) -> ChangeError {
    ChangeError::Payload {
        domain: entry.domain.to_string(),
        path: entry.path.to_string(),
        source: Box::new(source),
    }
}

/// Neither folder may lie in the other: nothing is ever written into the original.
fn refuse_inside(original: &Path, folder: &Path) -> Result<(), ChangeError> {
    let original = fs::canonicalize(original)?;
    let absolute = std::path::absolute(folder)?;
    let parent = absolute.parent().map_or_else(|| absolute.clone(), Path::to_owned);
    if fs::canonicalize(parent)?.starts_with(&original) {
        return Err(ChangeError::Inside { folder: absolute });
    }
    Ok(())
}

/// Copies a file that may be missing, byte for byte.
pub(super) fn copy_small(folder: &Path, name: &str, staging: &Staging) -> Result<(), ChangeError> {
    let source: PathBuf = folder.join(name);
    let mut from = match File::open(&source) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    io::copy(&mut from, &mut create_new(&staging.path().join(name))?)?;
    Ok(())
}
