use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cabled_wire::path::RelativePath;

use super::upload::PlainUpload;
use super::{Durability, PRIVATE, PlainFolder, Recovery, Shared, SharedDirs, SnapshotState, is_metadata};
use crate::folder::beneath::Dir;
use crate::folder::{CommitPoint, Download, EntryKind, FolderError, FolderRun, Listed, Scope, ScopedPath, Upload};

const STATUS: &str = "Status.plist";
const INFO: &str = "Info.plist";
const MANIFEST: &str = "Manifest.plist";
/// Directories that are flushed one by one; with more of them one flush of the volume is cheaper.
const FEW_DIRECTORIES: usize = 8;

/// One run on a plain folder.
#[derive(Debug)]
pub(super) struct PlainRun {
    shared: SharedDirs,
    scope: Scope,
    /// `.cabled/<UDID>`.
    private: Dir,
    /// Directories whose entries changed and are not flushed yet.
    touched: BTreeSet<RelativePath>,
    /// Is there payload that was not flushed yet?
    unsynced_payload: bool,
    /// Is a status kept to which this run's changes could be rolled back? Only while the backup itself is untouched.
    kept_status: bool,
    next_temporary: u64,
    /// Locked for as long as the run lives.
    _lock: File,
}

impl PlainRun {
    pub(super) fn open(folder: &PlainFolder, scope: &Scope) -> Result<Self, FolderError> {
        let target = scope.target();
        let root = folder.open_root()?;
        let at = format!("{PRIVATE}/{target}");
        let private_path = RelativePath::parse(&at).map_err(|_| FolderError::Refused {
            path: target.to_owned(),
            why: "it is no name of a device's folder",
        })?;
        let private = root.make_dirs(&private_path).map_err(FolderError::io("create", &at))?;
        let lock = private.lock_file("lock").map_err(FolderError::io("lock", &at))?;
        match take(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(FolderError::Busy {
                    device: target.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(FolderError::io("lock", &at)(error)),
        }
        // Whatever a run that was cut off left here has no name anywhere else.
        match private.remove_tree("tmp") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FolderError::io("clear", &at)(error));
            }
            _ => {}
        }
        let make = private.make_dir("tmp").and_then(|()| private.open_dir("tmp"));
        let temporary = make.map_err(FolderError::io("create", &at))?;
        let shared = Arc::new(Shared {
            root,
            temporary,
            durability: folder.durability,
        });
        let (touched, unsynced_payload, next_temporary) = (BTreeSet::new(), false, 0);
        let kept_status = private.stat(STATUS).is_ok();
        Ok(Self {
            shared,
            scope: scope.clone(),
            private,
            touched,
            unsynced_payload,
            kept_status,
            next_temporary,
            _lock: lock,
        })
    }

    /// Before a backup: keep the last finished status where the device cannot reach it (spec 9.3), and move away what
    /// would make the device read an empty manifest for ever (trap 17).
    pub(super) fn prepare_backup(&mut self) -> Result<(), FolderError> {
        let target = self.scope.target().to_owned();
        let io = |op| FolderError::io(op, format!("{target}/{STATUS}"));
        let Some(device) = self.device_dir()? else {
            // The folder was taken away: a status kept from it would call an empty one finished.
            return self.forget_status().map_err(io("forget"));
        };
        if Self::cannot_be_continued(&device).map_err(io("read"))? {
            tracing::warn!(device = %target, "an empty manifest was left by another tool; moved aside");
            self.forget_status().map_err(io("forget"))?;
            return self.set_aside(&device).map_err(io("move aside"));
        }
        let state = device.open_file(STATUS).ok().and_then(SnapshotState::read);
        match state {
            Some(SnapshotState::Finished) => self.save_status(&device).map_err(io("save"))?,
            // Still the run that the saved one belongs to.
            Some(SnapshotState::Uploading) => {}
            // Payload was moved since: the saved one describes files that are no more.
            _ => self.forget_status().map_err(io("forget"))?,
        }
        Ok(())
    }

    pub(super) fn recovery(&self) -> Result<Recovery, FolderError> {
        let Some(device) = self.device_dir()? else {
            return Ok(Recovery::Empty);
        };
        let state = match device.open_file(STATUS) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Recovery::Empty),
            other => SnapshotState::read(other.map_err(FolderError::io("open", STATUS))?),
        };
        if state == Some(SnapshotState::Finished) {
            return Ok(Recovery::Finished);
        }
        let roll_back = state == Some(SnapshotState::Uploading) && self.private.stat(STATUS).is_ok();
        Ok(Recovery::Interrupted { state, roll_back })
    }

    pub(super) fn roll_back(&mut self) -> Result<bool, FolderError> {
        if !matches!(self.recovery()?, Recovery::Interrupted { roll_back: true, .. }) {
            return Ok(false);
        }
        let Some(device) = self.device_dir()? else {
            return Ok(false);
        };
        let roll_back = || -> io::Result<()> {
            if device.stat("Snapshot").is_ok() {
                device.remove_tree("Snapshot")?;
            }
            // A copy that replaces in one step: a cut in between leaves the folder as it was, or rolled back.
            self.private.copy_tree(STATUS, &self.shared.temporary, STATUS)?;
            self.shared.temporary.open_file(STATUS)?.sync_all()?;
            self.shared.temporary.rename(STATUS, &device, STATUS)?;
            device.sync()
        };
        roll_back().map_err(FolderError::io("roll back", self.scope.target()))?;
        Ok(true)
    }

    fn device_dir(&self) -> Result<Option<Dir>, FolderError> {
        let path = self.scope.own(self.scope.target(), "")?;
        match self.shared.root.dir(path.as_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some).map_err(FolderError::io("open", path.as_str())),
        }
    }

    /// A status that promises a manifest which is empty or not there: the device answers 205, run after run.
    fn cannot_be_continued(device: &Dir) -> io::Result<bool> {
        let size = |name| match device.stat(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(|stat| Some(stat.size)),
        };
        let finished = || {
            let status = device.open_file(STATUS).ok().and_then(SnapshotState::read);
            status == Some(SnapshotState::Finished)
        };
        Ok(match (size(MANIFEST)?, size(STATUS)?) {
            (Some(0), _) | (_, Some(0)) => true,
            (None, Some(_)) => finished(),
            _ => false,
        })
    }

    fn set_aside(&self, device: &Dir) -> io::Result<()> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let aside = RelativePath::parse(&format!("aside/{now}")).map_err(|_| io::ErrorKind::InvalidInput)?;
        let aside = self.private.make_dirs(&aside)?;
        for name in [STATUS, MANIFEST] {
            match device.rename(name, &aside, name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        device.sync()
    }

    fn save_status(&mut self, device: &Dir) -> io::Result<()> {
        device.copy_tree(STATUS, &self.shared.temporary, STATUS)?;
        if self.shared.durability >= Durability::Metadata {
            self.shared.temporary.open_file(STATUS)?.sync_all()?;
        }
        self.shared.temporary.rename(STATUS, &self.private, STATUS)?;
        if self.shared.durability >= Durability::Metadata {
            self.private.sync()?;
        }
        self.kept_status = true;
        Ok(())
    }

    fn forget_status(&mut self) -> io::Result<()> {
        match self.private.unlink(STATUS) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.kept_status = false,
        }
        Ok(())
    }

    /// Before `path` is replaced, moved away or removed: once the backup itself changes there is no way back to it,
    /// whatever its status says (spec 9.3). What lies beside the backup and what is new do not count.
    fn spoil(&mut self, path: &ScopedPath) -> Result<(), FolderError> {
        if !self.kept_status || self.scope.purpose() != crate::folder::Purpose::Backup {
            return Ok(());
        }
        let mut components = path.as_path().components();
        let own = components.next() == Some(self.scope.target());
        let beside = matches!(components.next(), Some("Snapshot" | STATUS | INFO));
        if !own || beside {
            return Ok(());
        }
        match self
            .shared
            .root
            .parent_of(path.as_path())
            .and_then(|(dir, name)| dir.stat(name))
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => self.forget_status().map_err(FolderError::io("forget", STATUS)),
        }
    }

    fn touch(&mut self, path: &ScopedPath) {
        if self.shared.durability > Durability::None {
            self.touched.insert(path.as_path().parent().unwrap_or_default());
        }
    }

    fn rename_into_place(&self, from: &RelativePath, to: &RelativePath) -> io::Result<()> {
        if to.starts_with(from) || from.starts_with(to) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (from_dir, from_name) = self.shared.root.parent_of(from)?;
        let source = from_dir.stat(from_name)?;
        let (to_dir, to_name) = self.shared.root.make_parent_of(to)?;
        let replaced = match to_dir.stat(to_name) {
            Ok(stat) => Some(stat.kind),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // A file replaces a file in one step. Otherwise the two swap their names, and what was replaced goes under the
        // new one's old name; a stop in between loses neither.
        let in_one_step = source.kind == EntryKind::File && replaced != Some(EntryKind::Directory);
        if replaced.is_some() && !in_one_step && from_dir.exchange(from_name, &to_dir, to_name)? {
            return from_dir.remove_tree(from_name);
        }
        // Where names cannot be swapped, the old thing waits elsewhere, so that it is not lost should the rename fail.
        let waiting = "replaced";
        if replaced.is_some() && !in_one_step {
            if self.shared.temporary.stat(waiting).is_ok() {
                self.shared.temporary.remove_tree(waiting)?;
            }
            to_dir.rename(to_name, &self.shared.temporary, waiting)?;
        }
        match from_dir.rename(from_name, &to_dir, to_name) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                from_dir.copy_tree(from_name, &to_dir, to_name)?;
                from_dir.remove_tree(from_name)?;
            }
            Err(error) => {
                if replaced.is_some() && !in_one_step {
                    self.shared.temporary.rename(waiting, &to_dir, to_name)?;
                }
                return Err(error);
            }
            Ok(()) => {}
        }
        if replaced.is_some() && !in_one_step {
            self.shared.temporary.remove_tree(waiting)?;
        }
        Ok(())
    }

    /// Flushes the directories that changed: one by one if they are few, else the volume.
    fn sync_touched(&mut self) -> io::Result<()> {
        let touched = std::mem::take(&mut self.touched);
        if touched.len() > FEW_DIRECTORIES && self.shared.root.sync_volume()? {
            return Ok(());
        }
        for path in touched {
            match self.shared.root.dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                dir => dir?.sync()?,
            }
        }
        Ok(())
    }

    fn flush(&mut self, point: CommitPoint) -> io::Result<()> {
        match (self.shared.durability, point) {
            (Durability::None, _) | (Durability::Metadata, CommitPoint::BeforeMoves | CommitPoint::Arranged) => {}
            // Metadata was flushed as each file got its name; new payload waits for the first move.
            (_, CommitPoint::Uploaded) => {}
            (Durability::Full, CommitPoint::BeforeMoves) => {
                if std::mem::take(&mut self.unsynced_payload) {
                    if self.shared.root.sync_volume()? {
                        self.touched.clear();
                    } else {
                        // Each file was flushed when it was stored; its name may not be.
                        self.sync_touched()?;
                    }
                }
            }
            (Durability::Full, CommitPoint::Arranged) => self.sync_touched()?,
            (_, CommitPoint::Finished) => {
                if !self.shared.root.sync_volume()? {
                    self.sync_touched()?;
                }
                if let Some(device) = self.device_dir().map_err(io::Error::other)? {
                    device.sync()?;
                }
                self.shared.root.sync()?;
            }
        }
        Ok(())
    }
}

/// Locks; a run whose caller has just dropped it gets two seconds to let go.
fn take(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..40 {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
            other => return other,
        }
    }
    lock.try_lock()
}

impl FolderRun for PlainRun {
    fn list(&mut self, dir: &ScopedPath) -> Result<Vec<Listed>, FolderError> {
        let list = || -> io::Result<Vec<Listed>> {
            let dir = self.shared.root.dir(dir.as_path())?;
            let mut entries = Vec::new();
            dir.for_each_name(&mut |name| {
                match dir.stat(name) {
                    Ok(stat) => entries.push(Listed {
                        name: name.to_owned(),
                        kind: stat.kind,
                        size: stat.size,
                        modified: stat.modified,
                    }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                Ok(())
            })?;
            Ok(entries)
        };
        list().map_err(FolderError::io("list", dir.as_str()))
    }

    fn create_dir(&mut self, dir: &ScopedPath) -> Result<(), FolderError> {
        self.shared
            .root
            .make_dirs(dir.as_path())
            .map_err(FolderError::io("create", dir.as_str()))?;
        self.touch(dir);
        Ok(())
    }

    fn rename(&mut self, from: &ScopedPath, to: &ScopedPath) -> Result<(), FolderError> {
        self.spoil(from)?;
        self.spoil(to)?;
        self.rename_into_place(from.as_path(), to.as_path())
            .map_err(FolderError::io("move", from.as_str()))?;
        self.touch(from);
        self.touch(to);
        Ok(())
    }

    fn remove(&mut self, path: &ScopedPath) -> Result<(), FolderError> {
        self.spoil(path)?;
        let removed = self
            .shared
            .root
            .parent_of(path.as_path())
            .and_then(|(parent, name)| parent.remove_tree(name));
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(FolderError::io("remove", path.as_str()))?,
        }
        self.touch(path);
        Ok(())
    }

    fn copy(&mut self, from: &ScopedPath, to: &ScopedPath) -> Result<(), FolderError> {
        if to.as_path().starts_with(from.as_path()) {
            return Err(FolderError::Refused {
                path: to.to_string(),
                why: "it lies inside what is copied",
            });
        }
        self.spoil(to)?;
        let copy = || -> io::Result<()> {
            let (from_dir, from_name) = self.shared.root.parent_of(from.as_path())?;
            if self.scope.is_new_copy(to) && self.shared.root.stat(to.as_str()).is_ok() {
                // A restore's copy may only be a folder of its own; archived backups are named just like it.
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let (to_dir, to_name) = self.shared.root.make_parent_of(to.as_path())?;
            from_dir.copy_tree(from_name, &to_dir, to_name)
        };
        copy().map_err(FolderError::io("copy", from.as_str()))?;
        self.scope.adopt(to);
        self.touch(to);
        self.unsynced_payload = true;
        Ok(())
    }

    fn upload(&mut self, path: &ScopedPath) -> Result<Box<dyn Upload>, FolderError> {
        self.spoil(path)?;
        if self.unsynced_payload && path.as_path().file_name() == Some(STATUS) {
            // A status may say `moving`: it must not become durable before what is to be moved.
            self.flush(CommitPoint::BeforeMoves)
                .map_err(FolderError::io("flush", self.scope.target()))?;
        }
        let number = self.next_temporary;
        self.next_temporary = number.wrapping_add(1);
        self.touch(path);
        self.unsynced_payload |= !is_metadata(path.as_path());
        Ok(Box::new(PlainUpload::create(
            Arc::clone(&self.shared),
            path.clone(),
            number,
        )?))
    }

    fn download(&mut self, path: &ScopedPath) -> Result<Box<dyn Download>, FolderError> {
        let open = || {
            let (parent, name) = self.shared.root.parent_of(path.as_path())?;
            parent.open_file(name)
        };
        let file = open().map_err(FolderError::io("open", path.as_str()))?;
        Ok(Box::new(file))
    }

    fn free_space(&mut self) -> Result<u64, FolderError> {
        let at = self.device_dir()?;
        at.as_ref()
            .unwrap_or(&self.shared.root)
            .free_space()
            .map_err(FolderError::io("measure", self.scope.target()))
    }

    fn commit(&mut self, point: CommitPoint) -> Result<(), FolderError> {
        self.flush(point)
            .map_err(FolderError::io("flush", self.scope.target()))?;
        if point == CommitPoint::Finished && self.scope.purpose() == crate::folder::Purpose::Backup {
            // Nothing to roll back to from here on.
            self.forget_status().map_err(FolderError::io("forget", STATUS))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::{Access, Purpose};

    #[test]
    fn payload_is_flushed_before_a_status_can_speak_of_it() {
        let root = tempfile::tempdir().unwrap();
        let scope = Scope::new("device", "device", Purpose::Backup).unwrap();
        let mut run = PlainRun::open(&PlainFolder::new(root.path()), &scope).unwrap();
        for (name, unsynced) in [("Snapshot/x", true), ("Snapshot/Manifest.db", true), (STATUS, false)] {
            let path = scope.admit(&format!("device/{name}"), Access::Write).unwrap();
            run.upload(&path).unwrap().finish().unwrap();
            assert_eq!(run.unsynced_payload, unsynced, "{name}");
        }
    }
}
