//! The folder that an extraction fills, and what keeps it from being left or overwritten.
//!
//! Everything is opened from directory handles and through no link, so that neither a link of an earlier extraction nor
//! somebody else's leads out. A file is written under a name in `%unfinished` and renamed when it is whole; the rename
//! replaces nothing. No mapped name begins with `%u`.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ExtractError;
use crate::archive::names::MANIFEST;
use crate::folder::EntryKind;
use crate::folder::beneath::{Dir, Stat};

/// Where files are until they are whole. Its being there says that the extraction is not finished.
pub(super) const UNFINISHED: &str = "%unfinished";

/// Held for the length of a run.
const LOCK: &str = "lock";

/// Directory handles that each worker keeps.
const HANDLES: usize = 8;

/// The root of the tree, open.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    root: Dir,
    unfinished: Dir,
    /// Bits that the process's mask takes from new files.
    masked: u32,
    /// Whether no earlier run had left anything here.
    is_new: bool,
    _lock: File,
}

impl Target {
    /// Opens a folder to extract into, making it and its parents where they are missing.
    pub(super) fn open(path: &Path, backup: &Path) -> Result<Self, ExtractError> {
        refuse_overlap(path, backup)?;
        make_private(path).map_err(ExtractError::Target)?;
        refuse_overlap(path, backup)?;
        let is_new = !Self::holds_extraction(path);
        let open = || -> io::Result<(Dir, Dir, File)> {
            let root = Dir::open_root(path)?;
            make(&root, UNFINISHED)?;
            let unfinished = root.open_dir(UNFINISHED)?;
            let lock = unfinished.lock_file(LOCK)?;
            Ok((root, unfinished, lock))
        };
        let (root, unfinished, lock) = open().map_err(ExtractError::Target)?;
        match lock.try_lock() {
            Err(fs::TryLockError::WouldBlock) => {
                return Err(ExtractError::Busy {
                    target: path.to_owned(),
                });
            }
            Err(fs::TryLockError::Error(e)) if e.kind() != io::ErrorKind::Unsupported => {
                return Err(ExtractError::Target(e));
            }
            _ => {}
        }
        let mut target = Self {
            path: path.to_owned(),
            root,
            unfinished,
            masked: 0,
            is_new,
            _lock: lock,
        };
        target.clear().map_err(ExtractError::Target)?;
        target.masked = target.mask().map_err(ExtractError::Target)?;
        Ok(target)
    }

    /// Whether the folder holds an extraction, finished or not. Asked before it is opened.
    pub(super) fn holds_extraction(path: &Path) -> bool {
        [MANIFEST, UNFINISHED]
            .iter()
            .any(|name| fs::symlink_metadata(path.join(name)).is_ok())
    }

    /// Removes what a stopped run left half-written.
    fn clear(&self) -> io::Result<()> {
        self.unfinished.for_each_name(&mut |name| match name {
            LOCK => Ok(()),
            name => self.unfinished.remove_tree(name),
        })
    }

    /// Which permissions new files do not get.
    fn mask(&self) -> io::Result<u32> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let probe = self.unfinished.create_file_as("probe", 0o777)?;
            let mode = probe.metadata()?.permissions().mode();
            self.unfinished.unlink("probe")?;
            Ok(0o777 & !mode)
        }
        #[cfg(not(unix))]
        Ok(0)
    }

    /// Whether the disk takes `a` and `A`, or `é` in one and in two characters, for one name.
    pub(super) fn folds_names(&self) -> io::Result<bool> {
        let mut folds = false;
        for (name, twin) in [("probe-a", "probe-A"), ("probe-\u{e9}", "probe-e\u{301}")] {
            self.unfinished.create_file(name)?;
            folds |= self.unfinished.stat(twin).is_ok();
            self.unfinished.unlink(name)?;
        }
        Ok(folds)
    }

    /// Opens the manifest to be read and written, making it where it is missing.
    pub(super) fn open_manifest(&self) -> io::Result<File> {
        let file = self.root.lock_file(MANIFEST)?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    /// Bytes this user may still write.
    pub(super) fn free_space(&self) -> io::Result<u64> {
        self.root.free_space()
    }

    /// A folder for one worker's unfinished files, and handles of its own.
    pub(super) fn place(&self, worker: usize) -> io::Result<Place<'_>> {
        let name = worker.to_string();
        self.unfinished.make_dir(&name)?;
        Ok(Place {
            target: self,
            own: self.unfinished.open_dir(&name)?,
            handles: VecDeque::with_capacity(HANDLES),
            next: 0,
        })
    }

    /// Puts everything on the disk.
    pub(super) fn flush(&self) -> io::Result<()> {
        if !self.root.sync_volume()? {
            #[cfg(unix)]
            rustix::fs::sync();
        }
        self.root.sync()
    }

    /// Leaves no trace of a run that wrote nothing.
    pub(super) fn abandon(self, was_unfinished: bool) {
        if self.is_new && stat(&self.root, MANIFEST).is_ok_and(|there| there.is_some_and(|there| there.size == 0)) {
            let _ = self.root.unlink(MANIFEST);
        }
        if !was_unfinished {
            let _ = self.finish();
        }
    }

    /// Whether a run has not come to its end here. Asked before it is opened.
    pub(super) fn is_unfinished(path: &Path) -> bool {
        fs::symlink_metadata(path.join(UNFINISHED)).is_ok()
    }

    /// Says that the extraction is finished.
    pub(super) fn finish(self) -> io::Result<()> {
        self.clear()?;
        self.unfinished.unlink(LOCK)?;
        self.root.remove_dir(UNFINISHED)
    }
}

/// Where one worker writes.
#[derive(Debug)]
pub(super) struct Place<'a> {
    target: &'a Target,
    own: Dir,
    /// Folders used lately, the latest in front.
    handles: VecDeque<(Box<str>, Arc<Dir>)>,
    next: u64,
}

/// A file that has no name of its own yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) file: File,
    name: String,
}

impl Place<'_> {
    /// The folder of this mapped path, made with its parents where they are missing. `""` is the root.
    pub(super) fn folder(&mut self, path: &str) -> io::Result<Arc<Dir>> {
        if let Some(at) = self.handles.iter().position(|(known, _)| **known == *path) {
            if let Some(found) = self.handles.remove(at) {
                self.handles.push_front(found);
            }
        } else {
            let dir = Arc::new(make_folders(&self.target.root, path)?);
            self.handles.truncate(HANDLES.saturating_sub(1));
            self.handles.push_front((path.into(), dir));
        }
        match self.handles.front() {
            Some((_, dir)) => Ok(Arc::clone(dir)),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A new file.
    pub(super) fn draft(&mut self, mode: u32) -> io::Result<Draft> {
        self.next = self.next.wrapping_add(1);
        let name = self.next.to_string();
        let file = self.own.create_file_as(&name, mode)?;
        #[cfg(unix)]
        if mode & self.target.masked != 0 {
            use std::os::unix::fs::PermissionsExt;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        Ok(Draft { file, name })
    }

    /// Gives a whole file its name; it stays a draft if the name is taken.
    pub(super) fn publish(&self, draft: &Draft, folder: &Dir, name: &str) -> io::Result<()> {
        self.own.rename_new(&draft.name, folder, name)
    }

    /// Gives a whole file a name that another has.
    pub(super) fn replace(&self, draft: &Draft, folder: &Dir, name: &str) -> io::Result<()> {
        self.own.rename(&draft.name, folder, name)
    }

    /// Removes a draft.
    pub(super) fn discard(&self, draft: Draft) {
        drop(draft.file);
        // What is left is cleared with the folder it lies in.
        let _ = self.own.unlink(&draft.name);
    }

    /// The draft's contents, to be read.
    pub(super) fn reread(&self, draft: &Draft) -> io::Result<File> {
        self.own.open_file(&draft.name)
    }
}

/// What lies at a name, if anything.
pub(super) fn stat(folder: &Dir, name: &str) -> io::Result<Option<Stat>> {
    match folder.stat(name) {
        Ok(stat) => Ok(Some(stat)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Opens a folder below the root, making it and its parents. Other threads may be making them too.
fn make_folders(root: &Dir, path: &str) -> io::Result<Dir> {
    let mut dir = None;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let parent = dir.as_ref().unwrap_or(root);
        let next = match parent.open_dir(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make(parent, name)?;
                parent.open_dir(name)?
            }
            other => other?,
        };
        dir = Some(next);
    }
    match dir {
        Some(dir) => Ok(dir),
        None => root.dir(&cabled_wire::path::RelativePath::default()),
    }
}

fn make(parent: &Dir, name: &str) -> io::Result<()> {
    match parent.make_dir(name) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// Whether an error says that something else than a folder is there.
pub(super) fn is_in_the_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return true;
    }
    matches!(
        error.kind(),
        io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    ) && !cfg!(unix)
        || error.kind() == io::ErrorKind::NotADirectory
}

/// Whether an error says that the file system cannot hold such a name.
pub(super) fn is_name_refused(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let refused = [Errno::NAMETOOLONG, Errno::ILSEQ, Errno::INVAL];
        refused
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    }
    #[cfg(not(unix))]
    // ERROR_INVALID_NAME, ERROR_FILENAME_EXCED_RANGE, ERROR_BAD_PATHNAME.
    matches!(error.raw_os_error(), Some(123 | 206 | 161))
}

/// Whether something at this name is a file.
pub(super) const fn is_file(stat: &Stat) -> bool {
    matches!(stat.kind, EntryKind::File)
}

/// Makes a folder and its parents; the folder itself for this user only.
fn make_private(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|meta| meta.is_dir()) {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    #[cfg_attr(not(unix), expect(unused_mut, reason = "the mode is set on Unix only"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// Refuses a target inside the backup, or one that the backup lies in: a domain may have the backup folder's name.
fn refuse_overlap(target: &Path, backup: &Path) -> Result<(), ExtractError> {
    let overlaps =
        || -> io::Result<bool> {
            let backup = fs::canonicalize(backup)?;
            let target = nearest(target)?;
            // Where the target is still to be made, its nearest parent may well hold the backup.
            Ok(target.0.starts_with(&backup)
                || is_below(&target.0, &backup)
                || (target.1 && backup.starts_with(&target.0)))
        };
    match overlaps() {
        Ok(false) => Ok(()),
        Ok(true) => Err(ExtractError::TargetHoldsBackup {
            target: target.to_owned(),
        }),
        Err(e) => Err(ExtractError::Target(e)),
    }
}

/// The nearest of a path's parents that exists, links resolved, and whether it is the path itself.
fn nearest(path: &Path) -> io::Result<(PathBuf, bool)> {
    let path = std::path::absolute(path)?;
    for (at, ancestor) in path.ancestors().enumerate() {
        match fs::canonicalize(ancestor) {
            Ok(found) => return Ok((found, at == 0)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Whether a folder is the backup or lies in it, by what the disk calls them: a folder may be mounted twice.
#[cfg(unix)]
fn is_below(folder: &Path, backup: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let backup = id(backup);
    backup.is_some() && folder.ancestors().any(|ancestor| id(ancestor) == backup)
}

#[cfg(not(unix))]
fn is_below(_folder: &Path, _backup: &Path) -> bool {
    false
}
