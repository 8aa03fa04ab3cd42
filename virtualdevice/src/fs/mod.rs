//! The phone's file tree: backup domains, relative paths, and contents that cost no disk.
//!
//! Everything on the phone lives here once: AFC, house_arrest and mobilebackup2 read and write the same tree, and
//! [`map`] says which absolute device path is which domain and path.
//!
//! ```
//! use cabled_virtualdevice::fs::{Content, Fs, Kind, Meta};
//!
//! let fs = Fs::new(64 << 30);
//! fs.create_dir_all("HomeDomain", "Library/Preferences")?;
//! fs.put("HomeDomain", "Library/Preferences/a.plist", Kind::File(Content::bytes("x")), Meta::file())?;
//! let before = fs.snapshot();
//! fs.write_at("HomeDomain", "Library/Preferences/a.plist", 1, b"yz")?;
//! let now = fs.get("HomeDomain", "Library/Preferences/a.plist").ok_or(cabled_virtualdevice::fs::FsError::NotFound)?;
//! assert_eq!(now.len(), 3);
//! assert!(before.iter().all(|entry| entry.len() < 3), "a snapshot keeps what it saw");
//! # Ok::<(), cabled_virtualdevice::fs::FsError>(())
//! ```

mod content;
mod digest;
mod entry;
mod error;
mod layered;
pub mod map;
mod spool;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::content::{Content, ContentReader, MAX_IN_MEMORY, Source};
pub use self::digest::{Digest, DigestKind, TreeDiff, diff, tree_digest};
pub use self::entry::{Entry, Kind, Meta};
pub use self::error::FsError;
pub use self::spool::ContentWriter;

use self::content::len64;
use self::spool::Spool;
use self::tree::Tree;

/// The storage of one phone. Clones share it.
///
/// A tree of backup domains: each has a root directory (path `""`) and everything below. No operation follows
/// symbolic links. Operations are short and take a lock inside; none waits for anything but the disk, and only large
/// written files touch the disk. Lookups cost the depth of the path, listings the number of children.
#[derive(Clone, Debug)]
pub struct Fs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tree: RwLock<Tree>,
    spool: Spool,
}

/// Nanoseconds since 1970, from the host's clock: the phone's clock for changes made through services.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl Fs {
    /// An empty phone that can hold `capacity` bytes of file contents.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        let shared = Shared {
            tree: RwLock::new(Tree::new(capacity)),
            spool: Spool::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    // The tree is changed only after all checks, so it is sound even when a holder of the lock panicked.
    fn tree(&self) -> RwLockReadGuard<'_, Tree> {
        self.shared.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tree_mut(&self) -> RwLockWriteGuard<'_, Tree> {
        self.shared.tree.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn spool(&self) -> &Spool {
        &self.shared.spool
    }

    /// The entry at a path; `None` if there is none or a parent is not a directory.
    #[must_use]
    pub fn get(&self, domain: &str, path: &str) -> Option<Arc<Entry>> {
        self.lookup(domain, path).ok()
    }

    /// The entry at a path, with the reason when there is none.
    ///
    /// # Errors
    /// [`FsError::NotFound`]; [`FsError::NotADirectory`] if a parent is a file or a link.
    pub fn lookup(&self, domain: &str, path: &str) -> Result<Arc<Entry>, FsError> {
        Ok(Arc::clone(&self.tree().node(domain, path)?.entry))
    }

    /// The entries of a directory in the order of their bytes; empty if it is not a directory.
    #[must_use]
    pub fn children(&self, domain: &str, path: &str) -> Vec<Arc<Entry>> {
        let tree = self.tree();
        let node = tree.node(domain, path).ok();
        node.map_or_else(Vec::new, |node| {
            node.children.values().map(|child| Arc::clone(&child.entry)).collect()
        })
    }

    /// The entry at a path and everything below it, parents first; empty if there is none.
    #[must_use]
    pub fn subtree(&self, domain: &str, path: &str) -> Vec<Arc<Entry>> {
        let tree = self.tree();
        tree.node(domain, path)
            .ok()
            .map_or_else(Vec::new, |node| node.walk().cloned().collect())
    }

    /// All domains, sorted.
    #[must_use]
    pub fn domains(&self) -> Vec<Arc<str>> {
        self.tree().domains().cloned().collect()
    }

    /// Everything, at one moment: sorted by domain, then depth first with siblings in the order of their bytes, so
    /// that a parent comes before its children. Costs one reference per entry; the contents are as they were, whatever
    /// is written later.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Arc<Entry>> {
        self.tree().walk().cloned().collect()
    }

    /// How many entries there are: files, directories, links and domain roots.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.tree().entries()
    }

    /// How many names the file behind an entry has (`st_nlink`); 1 for directories.
    #[must_use]
    pub fn link_count(&self, entry: &Entry) -> usize {
        self.tree().link_count(entry)
    }

    /// Bytes that can still be written.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.tree().free()
    }

    /// Bytes the phone can hold.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.tree().capacity()
    }

    /// Grows with every change; equal numbers mean nothing changed in between.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.tree().revision()
    }

    /// Makes or replaces an entry with exactly these attributes, as a restore or the phone's own system does: the
    /// parent must exist and its times stay. An inode of 0 keeps the replaced entry's number or takes a new one; the
    /// type bits of the mode are set from `kind`. A directory put over a directory keeps its children, and putting a
    /// directory at path `""` makes the domain. Other hard links of a replaced file keep the old contents.
    ///
    /// # Errors
    /// [`FsError::Invalid`] for a bad domain, path or a root that is not a directory; [`FsError::NotFound`] or
    /// [`FsError::NotADirectory`] for the parent; [`FsError::Exists`] or [`FsError::IsADirectory`] when a file would
    /// replace a directory or the other way round; [`FsError::NoSpace`].
    pub fn put(&self, domain: &str, path: &str, kind: Kind, meta: Meta) -> Result<Arc<Entry>, FsError> {
        self.tree_mut().put(domain, path, kind, meta)
    }

    /// Makes a new empty file as a user would: attributes of [`Meta::file`], times of now, the parent touched.
    ///
    /// # Errors
    /// [`FsError::Exists`] if the path is taken; else as [`put`](Self::put).
    pub fn create_file(&self, domain: &str, path: &str) -> Result<Arc<Entry>, FsError> {
        self.create(domain, path, Kind::File(Content::empty()), Meta::file())
    }

    /// Makes a symbolic link as a user would.
    ///
    /// # Errors
    /// As [`create_file`](Self::create_file).
    pub fn symlink(&self, target: &str, domain: &str, path: &str) -> Result<Arc<Entry>, FsError> {
        self.create(domain, path, Kind::Symlink(target.to_owned()), Meta::symlink())
    }

    fn create(&self, domain: &str, path: &str, kind: Kind, meta: Meta) -> Result<Arc<Entry>, FsError> {
        let (now, mut tree) = (now(), self.tree_mut());
        if tree.node(domain, path).is_ok() {
            return Err(FsError::Exists);
        }
        let entry = tree.put(domain, path, kind, meta.with_times(now))?;
        if let Some(parent) = entry.parent() {
            tree.touch(domain, parent, now);
        }
        Ok(entry)
    }

    /// Makes a directory, its parents and its domain where they are missing. Existing ones stay as they are.
    ///
    /// # Errors
    /// [`FsError::NotADirectory`] if a parent, [`FsError::Exists`] if the path itself is a file or a link;
    /// [`FsError::Invalid`].
    pub fn create_dir_all(&self, domain: &str, path: &str) -> Result<(), FsError> {
        let (now, mut tree) = (now(), self.tree_mut());
        Tree::check(domain, path)?;
        let mut missing = Vec::new();
        let mut rest = Some(path);
        while let Some(at) = rest {
            match tree.node(domain, at) {
                Ok(node) if node.entry.is_dir() => break,
                Ok(_) if at.len() == path.len() => return Err(FsError::Exists),
                Ok(_) | Err(FsError::NotADirectory) => return Err(FsError::NotADirectory),
                Err(_) => missing.push(at),
            }
            rest = if at.is_empty() {
                None
            } else {
                Some(at.rsplit_once('/').map_or("", |(parent, _)| parent))
            };
        }
        for at in missing.into_iter().rev() {
            let entry = tree.put(domain, at, Kind::Directory, Meta::directory().with_times(now))?;
            if let Some(parent) = entry.parent() {
                tree.touch(domain, parent, now);
            }
        }
        Ok(())
    }

    /// Removes a file, a link or an empty directory; with path `""` an empty domain.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::NotADirectory`], [`FsError::NotEmpty`].
    pub fn remove(&self, domain: &str, path: &str) -> Result<(), FsError> {
        self.tree_mut().remove(domain, path, false, now())
    }

    /// Removes an entry and everything below it.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::NotADirectory`].
    pub fn remove_all(&self, domain: &str, path: &str) -> Result<(), FsError> {
        self.tree_mut().remove(domain, path, true, now())
    }

    /// Moves an entry with everything below it, also into another domain. A file replaces a file or link, a directory
    /// an empty directory. Costs the number of entries moved.
    ///
    /// # Errors
    /// [`FsError::NotFound`]; [`FsError::NotADirectory`], [`FsError::IsADirectory`] or [`FsError::NotEmpty`] for the
    /// target; [`FsError::Invalid`] for a domain root, a directory moved into itself, or paths that would get too long.
    pub fn rename(&self, from_domain: &str, from: &str, to_domain: &str, to: &str) -> Result<(), FsError> {
        self.tree_mut().rename((from_domain, from), (to_domain, to), now())
    }

    /// Gives a file or symbolic link a second name. Both stay the same file: what is written through one is seen
    /// through the other, and its bytes count once.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::NotADirectory`], [`FsError::Exists`]; [`FsError::IsADirectory`] if `from` is
    /// one; [`FsError::Invalid`].
    pub fn link(&self, from_domain: &str, from: &str, to_domain: &str, to: &str) -> Result<(), FsError> {
        self.tree_mut().link((from_domain, from), (to_domain, to), now())
    }

    /// Writes into an existing file. Bytes between the old end and `offset` become zeros. Snapshots and clones of the
    /// contents keep what they had; beyond 1 MiB the bytes go to the spool folder.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::NotADirectory`], [`FsError::IsADirectory`]; [`FsError::Invalid`] on a symbolic
    /// link; [`FsError::NoSpace`]; [`FsError::Io`] from the spool folder.
    pub fn write_at(&self, domain: &str, path: &str, offset: u64, data: &[u8]) -> Result<(), FsError> {
        let end = if data.is_empty() {
            Some(0)
        } else {
            offset.checked_add(len64(data))
        };
        let end = end.ok_or(FsError::NoSpace)?;
        let write = |content: &mut Content| content.write_at(offset, data, self.spool());
        self.tree_mut().edit((domain, path), |len| len.max(end), now(), write)
    }

    /// Cuts a file, or extends it with zeros that take no disk.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn set_len(&self, domain: &str, path: &str, len: u64) -> Result<(), FsError> {
        self.tree_mut()
            .edit((domain, path), |_| len, now(), |content| content.set_len(len))
    }

    /// Replaces the attributes of an entry. The inode number stays, and so do the type bits of the mode.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::NotADirectory`].
    pub fn set_meta(&self, domain: &str, path: &str, meta: Meta) -> Result<(), FsError> {
        self.update_meta(domain, path, |old| *old = meta)
    }

    /// Changes some attributes of an entry; see [`set_meta`](Self::set_meta).
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::NotADirectory`].
    pub fn update_meta(&self, domain: &str, path: &str, update: impl FnOnce(&mut Meta)) -> Result<(), FsError> {
        self.tree_mut().edit_meta(domain, path, update)
    }

    /// Takes the bytes of a new file piece by piece, in memory or on disk; `len_hint` (may be 0) saves copies.
    #[must_use]
    pub fn writer(&self, len_hint: u64) -> ContentWriter {
        ContentWriter::new(self.clone(), len_hint)
    }
}
