//! One file, directory or link, and what the phone knows about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Content;

/// `S_IFMT`: the type bits of a mode.
pub(super) const TYPE_BITS: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;

/// One file, directory or symbolic link of the phone.
///
/// Entries are immutable: a change puts a new one into the tree, so an `Arc<Entry>` of a
/// [snapshot](super::Fs::snapshot) keeps what it saw, contents included.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The backup domain, for example `HomeDomain` or `AppDomain-com.example.app` (spec backup-format 13).
    pub domain: Arc<str>,
    /// The path inside the domain without leading slash; empty for the domain's root.
    pub path: Arc<str>,
    /// What the entry is, with its contents.
    pub kind: Kind,
    /// Owner, mode, times and attributes.
    pub meta: Meta,
    /// The [revision](super::Fs::revision) of the file system at which this entry last changed.
    pub revision: u64,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A regular file and its contents.
    File(Content),
    /// A directory.
    Directory,
    /// A symbolic link and its target, an absolute path of the device as a rule.
    Symlink(String),
}

/// The attributes of an [`Entry`]; the fields of an `MBFile` record (spec backup-format 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The full `st_mode`. The type bits are set from the entry's kind when it is put into the tree.
    pub mode: u32,
    /// Owner; 501 for the user, also 0, 25, 33, 64 and -2.
    pub uid: i32,
    /// Group, as `uid`.
    pub gid: i32,
    /// Number of the file. 0 asks the file system to choose one.
    pub inode: u64,
    /// Last change of the contents, nanoseconds since 1970.
    pub mtime: i64,
    /// Last change of contents or attributes, nanoseconds since 1970.
    pub ctime: i64,
    /// Creation, nanoseconds since 1970.
    pub btime: i64,
    /// Protection class: 0 on links and most directories, 1 to 4 on files (spec backup-format 8.1).
    pub protection_class: u8,
    /// The `Flags` of an `MBFile`: 0, or 128 on a few records.
    pub flags: u32,
    /// Extended attributes, raw bytes by name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Entry {
    /// The last component of the path; empty for a domain's root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The path of the directory that holds this entry; `None` for a domain's root.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        match self.path.rsplit_once('/') {
            Some((parent, _)) => Some(parent),
            None if self.path.is_empty() => None,
            None => Some(""),
        }
    }

    /// Bytes of a regular file; 0 for directories and links.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.content().map_or(0, Content::len)
    }

    /// Whether [`len`](Self::len) is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The contents of a regular file.
    #[must_use]
    pub fn content(&self) -> Option<&Content> {
        match &self.kind {
            Kind::File(content) => Some(content),
            Kind::Directory | Kind::Symlink(_) => None,
        }
    }

    /// Whether this is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File(_))
    }

    /// Whether this is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }

    /// Where a symbolic link points to.
    #[must_use]
    pub fn link_target(&self) -> Option<&str> {
        match &self.kind {
            Kind::Symlink(target) => Some(target),
            Kind::File(_) | Kind::Directory => None,
        }
    }
}

impl Kind {
    /// The type bits of `st_mode` for this kind.
    #[must_use]
    pub fn type_bits(&self) -> u32 {
        match self {
            Self::File(_) => REGULAR,
            Self::Directory => DIRECTORY,
            Self::Symlink(_) => SYMLINK,
        }
    }
}

impl Meta {
    fn of_user(mode: u32, protection_class: u8) -> Self {
        Self {
            mode,
            uid: 501,
            gid: 501,
            inode: 0,
            mtime: 0,
            ctime: 0,
            btime: 0,
            protection_class,
            flags: 0,
            xattrs: BTreeMap::new(),
        }
    }

    /// A user's file: `0o100644`, 501:501, protection class 3, times 0.
    #[must_use]
    pub fn file() -> Self {
        Self::of_user(REGULAR | 0o644, 3)
    }

    /// A user's directory: `0o040755`, 501:501, no protection class, times 0.
    #[must_use]
    pub fn directory() -> Self {
        Self::of_user(DIRECTORY | 0o755, 0)
    }

    /// A user's symbolic link: `0o120755`, 501:501, no protection class, times 0.
    #[must_use]
    pub fn symlink() -> Self {
        Self::of_user(SYMLINK | 0o755, 0)
    }

    /// Sets modification, status change and creation time, nanoseconds since 1970.
    #[must_use]
    pub fn with_times(mut self, nanoseconds: i64) -> Self {
        (self.mtime, self.ctime, self.btime) = (nanoseconds, nanoseconds, nanoseconds);
        self
    }

    /// Sets the permission bits and keeps the type bits.
    #[must_use]
    pub fn with_permissions(mut self, permissions: u32) -> Self {
        self.mode = (self.mode & TYPE_BITS) | (permissions & !TYPE_BITS);
        self
    }

    /// Sets owner and group.
    #[must_use]
    pub fn with_owner(mut self, uid: i32, gid: i32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// Sets the protection class.
    #[must_use]
    pub fn with_protection_class(mut self, class: u8) -> Self {
        self.protection_class = class;
        self
    }

    /// Adds an extended attribute.
    #[must_use]
    pub fn with_xattr(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.xattrs.insert(name.into(), value.into());
        self
    }
}
