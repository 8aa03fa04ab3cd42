//! Adding, replacing and removing entries.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use cabled_wire::plist::{Dictionary, Value};

use super::index::WorkIndex;
use super::password::{pulse, update};
use super::record::{Edit, Field};
use super::work::{Unlock, Work};
use super::{ChangeError, ChangeOptions, Changed};
use crate::archive::build::keybag::INDEX_CLASS;
use crate::archive::build::payload::{StoreError, Stored};
use crate::archive::build::rows::{self, NewEntry, Parents};
use crate::archive::build::secrets::Secrets;
use crate::archive::build::{BuildError, Details, DigestMode};
use crate::archive::entry::{FileEntry, Kind};
use crate::archive::file_id::FileId;
use crate::archive::layout::Protection;
use crate::archive::observe::{Observer, Silent};
use crate::archive::wrap::{Key, WrappedKey};
use crate::archive::{Archive, ArchiveError};

/// Makes a backup that differs from another in some entries.
///
/// Nothing is written into the original. Dropped before [`finish`](Change::finish), it leaves nothing.
pub struct Change<'a> {
    index: WorkIndex,
    work: Work<'a>,
    secrets: Secrets,
    parents: Parents,
    now: i64,
    inode: u64,
}

impl std::fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change")
            .field("original", &self.work.archive.folder())
            .field("rows", &self.work.rows)
            .finish_non_exhaustive()
    }
}

impl<'a> Change<'a> {
    /// Begins a backup that will be `folder`, beside the original or elsewhere, and not there yet. Copies the index.
    ///
    /// # Errors
    /// [`ChangeError::Archive`] with [`ArchiveError::Locked`] for a locked backup,
    /// [`Incomplete`](ChangeError::Incomplete), [`AlreadyDecrypted`](ChangeError::AlreadyDecrypted),
    /// [`NoManifest`](ChangeError::NoManifest), [`MetadataEncryption`](ChangeError::MetadataEncryption),
    /// [`Inside`](ChangeError::Inside), [`DuplicateId`](ChangeError::DuplicateId), [`Build`](ChangeError::Build).
    pub fn begin(archive: &'a Archive, folder: impl AsRef<Path>, options: &ChangeOptions) -> Result<Self, ChangeError> {
        let work = Work::begin(archive, folder.as_ref(), options.clone())?;
        Ok(Self {
            index: WorkIndex::of(archive, &work.staging, &mut Silent)?,
            work,
            secrets: Secrets::new(options.seed),
            parents: Parents::default(),
            now: rows::unix_seconds(SystemTime::now()),
            inode: 1 << 32,
        })
    }

    /// Adds a file, or replaces the one at that path. Contents are read once and, in an encrypted backup, encrypted
    /// under a fresh key; size, digest and times follow.
    ///
    /// Of a file that is there, everything else stays that `details` do not name, keys of the record included that are
    /// not known here; a digest stays a digest. The change time is now unless `details` say otherwise.
    ///
    /// # Errors
    /// [`ChangeError::NotAFile`] if a directory or link is there, [`Record`](ChangeError::Record),
    /// [`NoSuchClass`](ChangeError::NoSuchClass), [`Build`](ChangeError::Build) with
    /// [`BuildError::Contents`] for contents that cannot be read, after which the change goes on without the file, and
    /// with [`BuildError::Range`], [`ProtectionClass`](BuildError::ProtectionClass) or
    /// [`TooLong`](BuildError::TooLong) about what is asked for.
    pub fn put(
        &mut self,
        domain: &str,
        path: &str,
        mut contents: impl Read,
        details: &Details,
    ) -> Result<FileId, ChangeError> {
        let old = self.at(domain, path)?;
        if let Some(entry) = old.as_ref().and_then(|row| row.entry.as_ref())
            && !matches!(entry.kind, Kind::File | Kind::Unknown)
        {
            return Err(ChangeError::NotAFile {
                domain: domain.to_owned(),
                path: path.to_owned(),
                kind: entry.kind,
            });
        }
        let Some(row) = old else {
            return self.add_file(domain, path, &mut contents, details);
        };
        let Some(entry) = &row.entry else {
            return Err(ChangeError::Record {
                file_id: FileId::of(domain, path),
            });
        };
        rows::refuse_early_times(details)?;
        let class = details.protection_class.unwrap_or(entry.protection_class);
        let wants_digest = match details.digest {
            DigestMode::Auto => entry.digest.is_some(),
            mode => rows::wants_digest(mode, domain),
        };
        let (stored, wrapped) = self.store(entry.file_id, path, &mut contents, class, wants_digest)?;
        let change = Edit {
            size: Some(details.recorded_size.unwrap_or(stored.len)),
            class: Some(wrapped.map_or(class, |key| key.class())),
            digest: match stored.digest {
                Some(digest) => Field::Set(digest),
                None => Field::Remove,
            },
            key: match wrapped {
                Some(key) => Field::Set(key.encode()),
                None => Field::Remove,
            },
            modified: Some(details.modified.unwrap_or(self.now)),
            status_changed: Some(details.status_changed.unwrap_or(self.now)),
            details: Some(details),
        };
        update(&mut self.work, &self.index, &row, entry, &change)?;
        Ok(entry.file_id)
    }

    fn add_file(
        &mut self,
        domain: &str,
        path: &str,
        contents: &mut dyn Read,
        details: &Details,
    ) -> Result<FileId, ChangeError> {
        let inode = self.next_inode();
        let mut entry = NewEntry::new(Kind::File, domain, path, details, self.now, inode)?;
        let wants_digest = rows::wants_digest(details.digest, domain);
        let (stored, wrapped) = self.store(entry.id, path, contents, entry.class, wants_digest)?;
        entry.size = details.recorded_size.unwrap_or(stored.len);
        entry.digest = stored.digest;
        entry.key = wrapped;
        self.insert(&entry)?;
        Ok(entry.id)
    }

    /// Writes a payload beside its place first: one that fails leaves the file as it was.
    fn store(
        &mut self,
        id: FileId,
        path: &str,
        contents: &mut dyn Read,
        class: u32,
        wants_digest: bool,
    ) -> Result<(Stored, Option<WrappedKey>), ChangeError> {
        let (mut key, mut wrapped) = (None, None);
        if self.work.archive.protection() == Protection::Encrypted {
            let keys = self.work.archive.class_keys().ok_or(ArchiveError::Locked)?;
            let fresh = self.secrets.key()?;
            let made = keys.wrap(&fresh, class).ok_or(ChangeError::NoSuchClass { class })?;
            (key, wrapped) = (Some(fresh), Some(made));
        }
        let target = self.work.staging.payload_path(&id)?;
        let beside = target.with_extension("new");
        let stored = self
            .work
            .store(&beside, contents, key.as_ref(), wants_digest, &mut Silent);
        let stored = stored.map_err(|e| match e {
            StoreError::Contents(source) => ChangeError::Build(BuildError::Contents {
                path: path.to_owned(),
                source,
            }),
            StoreError::Target(e) => e.into(),
            StoreError::Stopped => ChangeError::Cancelled,
        });
        match stored {
            Ok(stored) => {
                fs::rename(&beside, &target)?;
                Ok((stored, wrapped))
            }
            Err(e) => {
                // The first error is the one that counts.
                let _ = fs::remove_file(&beside);
                Err(e)
            }
        }
    }

    /// Adds a directory, if there is nothing at that path yet.
    ///
    /// # Errors
    /// [`ChangeError::Build`] with [`BuildError::Duplicate`] if there is.
    pub fn directory(&mut self, domain: &str, path: &str, details: &Details) -> Result<FileId, ChangeError> {
        let inode = self.next_inode();
        let entry = NewEntry::new(Kind::Directory, domain, path, details, self.now, inode)?;
        self.insert(&entry)?;
        Ok(entry.id)
    }

    /// Adds a symbolic link to an absolute path on the device, if there is nothing at that path yet.
    ///
    /// # Errors
    /// As [`directory`](Change::directory).
    pub fn symlink(
        &mut self,
        domain: &str,
        path: &str,
        target: &str,
        details: &Details,
    ) -> Result<FileId, ChangeError> {
        let inode = self.next_inode();
        let mut entry = NewEntry::new(Kind::Symlink, domain, path, details, self.now, inode)?;
        entry.target = Some(target);
        self.insert(&entry)?;
        Ok(entry.id)
    }

    /// Removes the entry at a path, and everything below it; the empty path is the whole domain. How many rows went.
    ///
    /// # Errors
    /// [`ChangeError::NoSuchEntry`] if there is nothing.
    pub fn remove(&mut self, domain: &str, path: &str) -> Result<u64, ChangeError> {
        let rows = self.index.below(domain, path)?;
        if rows.is_empty() {
            return Err(ChangeError::NoSuchEntry {
                domain: domain.to_owned(),
                path: path.to_owned(),
            });
        }
        for row in &rows {
            self.index.delete(row.row_id)?;
            if let Some(entry) = &row.entry {
                let written = self.work.staging.payload_path(&entry.file_id)?;
                match fs::remove_file(written) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                    _ => {}
                }
            }
        }
        // Directories that were there are not any more.
        self.parents = Parents::default();
        let count = rows.len() as u64;
        self.work.rows.removed = self.work.rows.removed.saturating_add(count);
        Ok(count)
    }

    fn at(&self, domain: &str, path: &str) -> Result<Option<super::index::WorkRow>, ChangeError> {
        let by_id = self.index.find(&FileId::of(domain, path))?;
        if by_id.is_some() {
            return Ok(by_id);
        }
        // The id of a row may be wrong; its domain and path then still lead to it.
        let same = |entry: &FileEntry| *entry.domain == *domain && *entry.path == *path;
        let rows = self.index.exactly(domain, path)?;
        Ok(rows.into_iter().find(|row| row.entry.as_ref().is_some_and(same)))
    }

    const fn next_inode(&mut self) -> u64 {
        self.inode = self.inode.saturating_add(1);
        self.inode
    }

    /// Adds a row and those of the parents that are missing.
    fn insert(&mut self, entry: &NewEntry<'_>) -> Result<(), ChangeError> {
        let layout = self.work.archive.layout();
        let record = entry.encode(layout)?;
        if !self.index.insert(&entry.row(layout, &record))? {
            return Err(ChangeError::Build(BuildError::Duplicate {
                domain: entry.domain.to_owned(),
                path: entry.path.to_owned(),
            }));
        }
        self.work.rows.added = self.work.rows.added.saturating_add(1);
        let mut missing = Vec::new();
        self.parents
            .missing(entry.domain, entry.path, |path| missing.push(path));
        for path in missing {
            let details = Details::default();
            let inode = self.next_inode();
            let parent = NewEntry::new(Kind::Directory, entry.domain, path, &details, self.now, inode)?;
            let record = parent.encode(layout)?;
            // Most are there already.
            if self.index.insert(&parent.row(layout, &record))? {
                self.work.rows.added = self.work.rows.added.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Ends the change: brings all other payloads over, writes index and property lists, checks the new backup, flushes
    /// it and gives it its name. Payloads that no row names are not brought over.
    ///
    /// # Errors
    /// [`ChangeError::Verification`], [`Cancelled`](ChangeError::Cancelled), [`Build`](ChangeError::Build),
    /// [`Archive`](ChangeError::Archive). Nothing is left of the new backup then.
    pub fn finish(mut self, observer: &mut dyn Observer) -> Result<Changed, ChangeError> {
        self.work.transfer_all(&self.index, observer)?;
        let (key, manifest, unlock) = new_index_key(self.work.archive, &mut self.secrets)?;
        let older = self.work.has_older_index();
        self.index
            .write(&self.work.staging, key.as_ref(), older, &mut pulse(observer))?;
        self.work.plists(manifest)?;
        self.work.finish(unlock, None, observer)
    }
}

/// The key of a new index, the `Manifest.plist` that holds it, and how the backup is opened with it. A changed index
/// under its old key would tell by its first blocks how much of it is the same.
pub(super) fn new_index_key(
    archive: &Archive,
    secrets: &mut Secrets,
) -> Result<(Option<Key>, Option<Dictionary>, Unlock), ChangeError> {
    if archive.protection() != Protection::Encrypted {
        return Ok((None, None, Unlock::Plain));
    }
    let keys = archive.class_keys().ok_or(ArchiveError::Locked)?;
    let unlock = Unlock::ClassKeys(keys.clone());
    let mut manifest = archive.manifest().as_dictionary().clone();
    let old = archive.manifest().manifest_key().ok().flatten();
    if old.is_none() || archive.layout() == crate::archive::Layout::Flat {
        return Ok((None, None, unlock));
    }
    let key = secrets.key()?;
    let class = old.map_or(INDEX_CLASS, |old| old.class());
    let wrapped = keys.wrap(&key, class).ok_or(ChangeError::NoSuchClass { class })?;
    manifest.insert("ManifestKey".to_owned(), Value::Data(wrapped.encode().to_vec()));
    Ok((Some(key), Some(manifest), unlock))
}
