//! Making backups: synthetic ones from nothing, and the writers that every change goes through.
//!
//! # Example
//! ```
//! use std::io::Read;
//!
//! use cabled_mobilebackup::archive::Archive;
//! use cabled_mobilebackup::archive::build::{BuildOptions, Builder, Details};
//!
//! let root = tempfile::tempdir()?;
//! // A real backup takes 10,000,000 rounds, which is what `rounds` is for: never call it for real data.
//! let options = BuildOptions::default().encrypted("secret").rounds(100, 10);
//! let mut builder = Builder::create(root.path().join("backup"), options)?;
//! builder.file("HomeDomain", "Library/Notes/today.txt", &b"buy bread"[..], &Details::default())?;
//! let built = builder.finish()?;
//! assert_eq!(built.files, 1);
//!
//! let mut backup = Archive::open(&built.folder)?;
//! backup.unlock("secret")?;
//! let note = backup.entry_at("HomeDomain", "Library/Notes/today.txt")?.expect("it was written");
//! let mut text = String::new();
//! backup.read(&note)?.read_to_string(&mut text)?;
//! assert_eq!(text, "buy bread");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! [`Builder`] takes files, directories and links one by one; payloads are encrypted while they stream to their place,
//! rows go into one transaction of the index. [`Builder::finish`] adds what a device's backup has besides: a row for
//! every domain root and parent directory, the keybag, the three property lists. [`MbFile::encode`] and
//! [`MbdbRecord::encode`] write the records of either index. [`change`](super::change) uses the same writers on a
//! backup that exists.
//!
//! # Limits
//! Constant memory but for some 60 bytes per directory. The folder gets its name at the very end, after everything was
//! flushed; until then it has a hidden temporary name beside it. What is built opens in iphone_backup_decrypt,
//! pyiosbackup and iOSbackup with the same bytes; whether a device restores it was never tried.
//!
//! [`MbFile::encode`]: super::mbfile::MbFile::encode
//! [`MbdbRecord::encode`]: super::mbdb::MbdbRecord::encode

mod error;
pub(crate) mod flat;
pub(crate) mod index;
pub(crate) mod keybag;
mod options;
pub(crate) mod payload;
mod plists;
mod record;
pub(crate) mod rows;
pub(crate) mod secrets;
pub(crate) mod staging;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;

use std::fmt;
use std::fs;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cabled_wire::plist::{self, Dictionary};

use super::entry::Kind;
use super::file_id::FileId;
use super::layout::Layout;
use super::observe::{Observer, Phase, Progress, Silent};
use super::wrap::{Key, WrappedKey};
pub use error::BuildError;
use index::{IndexWriter, NewRow};
use keybag::{BagKind, INDEX_CLASS, NewKeybag};
pub use options::{BuildOptions, Details, DigestMode};
use payload::StoreError;
use rows::{NewEntry, Parents};
use secrets::Secrets;
use staging::{Staging, StagingError};

impl From<StagingError> for BuildError {
    fn from(error: StagingError) -> Self {
        match error {
            StagingError::Exists(folder) => Self::Exists { folder },
            StagingError::Io(error) => Self::Io(error),
        }
    }
}

/// Makes a backup, entry by entry.
///
/// Dropped before [`finish`](Builder::finish), it leaves nothing.
pub struct Builder {
    // The index goes before the folder it may lie in.
    index: IndexWriter,
    staging: Staging,
    options: BuildOptions,
    secrets: Secrets,
    keybag: NewKeybag,
    parents: Parents,
    /// Seconds of the backup's date: the time of entries that are given none.
    now: i64,
    inode: u64,
    buffer: Vec<u8>,
    built: Built,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("target", &self.staging.target())
            .field("options", &self.options)
            .field("built", &self.built)
            .finish_non_exhaustive()
    }
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Built {
    /// The new backup.
    pub folder: PathBuf,
    /// Regular files.
    pub files: u64,
    /// Directories, those that were added for completeness included.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of the contents of all files.
    pub bytes: u64,
    /// Bytes of all payloads as stored.
    pub stored_bytes: u64,
    /// The key that the password derives to: [`Archive::unlock_with_key`](super::Archive::unlock_with_key) opens the
    /// backup with it at once. As sensitive as the password.
    pub key: Key,
}

impl Builder {
    /// Begins a backup that will be `folder`, which must not be there yet; the folder that it will be in must. Nothing
    /// appears under that name before [`finish`](Builder::finish).
    ///
    /// # Errors
    /// [`BuildError::Exists`], [`Rounds`](BuildError::Rounds), [`Random`](BuildError::Random),
    /// [`Index`](BuildError::Index), [`Io`](BuildError::Io).
    pub fn create(folder: impl AsRef<Path>, options: BuildOptions) -> Result<Self, BuildError> {
        if options.first_rounds == 0 || options.second_rounds == 0 {
            return Err(BuildError::Rounds);
        }
        let encrypted = options.password.is_some();
        let mut secrets = Secrets::new(options.seed);
        let kind = BagKind {
            layout: options.layout,
            encrypted,
            rounds: (options.first_rounds, options.second_rounds),
        };
        let keybag = NewKeybag::new(kind, &mut secrets)?;
        let staging = Staging::create(folder.as_ref(), options.layout)?;
        let in_place = options.layout == Layout::Current && !encrypted;
        let now = rows::unix_seconds(options.date);
        Ok(Self {
            index: IndexWriter::create(&staging, in_place)?,
            built: Built {
                folder: staging.target().to_owned(),
                files: 0,
                directories: 0,
                links: 0,
                bytes: 0,
                stored_bytes: 0,
                key: Key::from([0; 32]),
            },
            staging,
            options,
            secrets,
            keybag,
            parents: Parents::default(),
            now,
            inode: 2,
            buffer: Vec::new(),
        })
    }

    /// Adds a file. Its contents are read once and encrypted on the way; memory is constant.
    ///
    /// Domain and path are taken as they are, hostile ones too, and hashed as they are: case and Unicode form matter.
    ///
    /// # Errors
    /// [`BuildError::Contents`] and [`Duplicate`](BuildError::Duplicate), after which the builder goes on without the
    /// file; [`Range`](BuildError::Range), [`ProtectionClass`](BuildError::ProtectionClass),
    /// [`TooLong`](BuildError::TooLong) about what is asked for; [`Random`](BuildError::Random),
    /// [`Index`](BuildError::Index), [`Io`](BuildError::Io).
    pub fn file(
        &mut self,
        domain: &str,
        path: &str,
        mut contents: impl Read,
        details: &Details,
    ) -> Result<FileId, BuildError> {
        let mut entry = NewEntry::new(Kind::File, domain, path, details, self.now, self.next_inode())?;
        let wants_digest = rows::wants_digest(details.digest, domain);
        let key = match self.options.password {
            Some(_) => Some(self.secrets.key()?),
            None => None,
        };
        let target = self.staging.payload_path(&entry.id)?;
        let duplicate = || BuildError::Duplicate {
            domain: domain.to_owned(),
            path: path.to_owned(),
        };
        let mut file = match staging::create_new(&target) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Err(duplicate()),
            created => created?,
        };
        let stored = payload::store(
            &mut contents,
            &mut file,
            key.as_ref(),
            wants_digest,
            &mut self.buffer,
            &mut |_| true,
        );
        drop(file);
        let written = stored.map_err(|e| store_error(e, path)).and_then(|stored| {
            entry.size = details.recorded_size.unwrap_or(stored.len);
            entry.digest = stored.digest;
            entry.key = key.as_ref().and_then(|key| self.keybag.wrap(key, entry.class));
            self.add(&entry)?;
            Ok(stored)
        });
        match written {
            Ok(stored) => {
                let add = |to: &mut u64, n: u64| *to = to.saturating_add(n);
                add(&mut self.built.files, 1);
                add(&mut self.built.bytes, stored.len);
                add(&mut self.built.stored_bytes, stored.stored_len);
                Ok(entry.id)
            }
            Err(e) => {
                // The payload is nobody's now; the first error is the one that counts.
                let _ = fs::remove_file(&target);
                Err(e)
            }
        }
    }

    /// Adds a directory; an empty path is the domain's root. Only those whose details matter need to be added: parents
    /// come by themselves.
    ///
    /// # Errors
    /// [`BuildError::Duplicate`], [`Range`](BuildError::Range), [`TooLong`](BuildError::TooLong),
    /// [`Index`](BuildError::Index).
    pub fn directory(&mut self, domain: &str, path: &str, details: &Details) -> Result<FileId, BuildError> {
        let entry = NewEntry::new(Kind::Directory, domain, path, details, self.now, self.next_inode())?;
        self.add(&entry)?;
        self.built.directories = self.built.directories.saturating_add(1);
        Ok(entry.id)
    }

    /// Adds a symbolic link to an absolute path on the device.
    ///
    /// # Errors
    /// As [`directory`](Builder::directory).
    pub fn symlink(&mut self, domain: &str, path: &str, target: &str, details: &Details) -> Result<FileId, BuildError> {
        let mut entry = NewEntry::new(Kind::Symlink, domain, path, details, self.now, self.next_inode())?;
        entry.target = Some(target);
        self.add(&entry)?;
        self.built.links = self.built.links.saturating_add(1);
        Ok(entry.id)
    }

    const fn next_inode(&mut self) -> u64 {
        self.inode = self.inode.saturating_add(1);
        self.inode
    }

    /// Adds a row and the rows of its parents.
    fn add(&mut self, entry: &NewEntry<'_>) -> Result<(), BuildError> {
        let record = entry.encode(self.options.layout)?;
        let row = entry.row(self.options.layout, &record);
        if self.parents.take_implied(&entry.id) {
            self.built.directories = self.built.directories.saturating_sub(1);
            self.index.replace(&row)?;
        } else if !self.index.insert(&row)? {
            return Err(BuildError::Duplicate {
                domain: entry.domain.to_owned(),
                path: entry.path.to_owned(),
            });
        }
        if entry.kind == Kind::Directory {
            self.parents.know(entry.id);
        }
        let mut missing = Vec::new();
        self.parents
            .missing(entry.domain, entry.path, |path| missing.push(path));
        for path in missing {
            self.imply(entry.domain, path)?;
        }
        Ok(())
    }

    /// Adds a directory that nobody asked for and that a device's backup would have.
    fn imply(&mut self, domain: &str, path: &str) -> Result<(), BuildError> {
        let details = Details::default();
        let entry = NewEntry::new(Kind::Directory, domain, path, &details, self.now, self.next_inode())?;
        let record = entry.encode(self.options.layout)?;
        let row: NewRow<'_> = entry.row(self.options.layout, &record);
        // Something else may be at that path; it stays.
        if self.index.insert(&row)? {
            self.parents.imply(entry.id);
            self.built.directories = self.built.directories.saturating_add(1);
        }
        Ok(())
    }

    /// Ends the backup: index, keybag, property lists; flushes everything and gives the folder its name. With a
    /// password this takes the second or more that its derivation takes.
    ///
    /// # Errors
    /// As [`finish_observed`](Builder::finish_observed).
    pub fn finish(self) -> Result<Built, BuildError> {
        self.finish_observed(&mut Silent)
    }

    /// As [`finish`](Builder::finish), watched by `observer`, which may stop it.
    ///
    /// # Errors
    /// [`BuildError::Exists`] if something took the folder's name meanwhile, [`Cancelled`](BuildError::Cancelled),
    /// [`TooLong`](BuildError::TooLong), [`Random`](BuildError::Random), [`Index`](BuildError::Index),
    /// [`Io`](BuildError::Io). Nothing is left of the backup then.
    pub fn finish_observed(self, observer: &mut dyn Observer) -> Result<Built, BuildError> {
        let Self {
            index,
            staging,
            options,
            mut secrets,
            keybag,
            mut built,
            ..
        } = self;
        let password = options.password.as_ref().map_or("", |password| password.expose());
        built.key = keybag.derive(password.as_bytes(), observer)?;
        let mut index_key = None;
        match (options.layout, &options.password) {
            (Layout::Flat, _) => flat::write(
                index.connection(),
                flat::Order::ByName,
                staging.path(),
                options.older_index,
            )?,
            (Layout::Current, None) => drop(index.close()?),
            (Layout::Current, Some(_)) => {
                let key = secrets.key()?;
                let closed = index.close()?;
                let mut progress = written(observer);
                closed.encrypt(&staging.path().join("Manifest.db"), &key, &mut progress)?;
                index_key = keybag.wrap(&key, INDEX_CLASS);
            }
        }
        write_plists(&staging, &options, &mut secrets, keybag.encode(&built.key), index_key)?;
        staging.sync()?;
        built.folder = staging.commit()?;
        Ok(built)
    }
}

/// Tells the observer how much of the index is written.
fn written(observer: &mut dyn Observer) -> impl FnMut(u64) -> bool {
    let mut done = 0_u64;
    move |bytes| {
        done = done.saturating_add(bytes);
        let progress = Progress::new(Phase::CopyingIndex, done, None);
        observer.on_progress(&progress) == ControlFlow::Continue(())
    }
}

fn write_plists(
    staging: &Staging,
    options: &BuildOptions,
    secrets: &mut Secrets,
    keybag: Vec<u8>,
    index_key: Option<WrappedKey>,
) -> Result<(), BuildError> {
    let binary = |list: Dictionary| plist::to_binary(&list.into());
    let info = plists::info(options, secrets.array()?);
    staging.write("Info.plist", &plist::to_xml(&info.into()))?;
    let manifest = plists::manifest(options, keybag, index_key.as_ref());
    staging.write("Manifest.plist", &binary(manifest))?;
    staging.write("Status.plist", &binary(plists::status(options, secrets.array()?)))?;
    Ok(())
}

fn store_error(error: StoreError, path: &str) -> BuildError {
    match error {
        StoreError::Contents(source) => BuildError::Contents {
            path: path.to_owned(),
            source,
        },
        StoreError::Target(error) => BuildError::Io(error),
        StoreError::Stopped => BuildError::Cancelled,
    }
}
