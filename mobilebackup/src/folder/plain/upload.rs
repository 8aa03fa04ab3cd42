use std::fs::File;
use std::io::{self, Write};

use super::{Durability, SharedDirs, is_metadata};
use crate::folder::{FolderError, ScopedPath, Upload};

/// A file being received under a temporary name.
#[derive(Debug)]
pub(super) struct PlainUpload {
    shared: SharedDirs,
    path: ScopedPath,
    /// Its name in the temporary folder until it is whole; taken when there is nothing left to remove.
    temporary: Option<String>,
    file: File,
}

impl PlainUpload {
    pub(super) fn create(shared: SharedDirs, path: ScopedPath, number: u64) -> Result<Self, FolderError> {
        let name = format!("{number:x}");
        let file = match shared.temporary.create_file(&name) {
            // Left by a run that was cut off.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => shared
                .temporary
                .unlink(&name)
                .and_then(|()| shared.temporary.create_file(&name)),
            other => other,
        };
        let file = file.map_err(FolderError::io("create", path.as_str()))?;
        Ok(Self {
            shared,
            path,
            temporary: Some(name),
            file,
        })
    }

    fn settle(&mut self) -> io::Result<()> {
        let path = self.path.as_path();
        let metadata = is_metadata(path) && self.shared.durability >= Durability::Metadata;
        // Where the whole volume can be flushed at once that happens before the first move, not file by file.
        let payload = self.shared.durability == Durability::Full && !cfg!(target_os = "linux");
        if metadata || payload {
            self.file.sync_all()?;
        }
        let (parent, name) = self.shared.root.make_parent_of(path)?;
        if let Some(temporary) = &self.temporary {
            match self.shared.temporary.rename(temporary, &parent, name) {
                // The device's folder is on another volume than our own: copy beside the target, then rename.
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    let beside = format!(".cabled-{temporary}");
                    self.shared.temporary.copy_tree(temporary, &parent, &beside)?;
                    if metadata || payload {
                        parent.open_file(&beside)?.sync_all()?;
                    }
                    parent.rename(&beside, &parent, name)?;
                }
                other => {
                    other?;
                    self.temporary = None;
                }
            }
        }
        if metadata {
            parent.sync()?;
        }
        Ok(())
    }
}

impl Upload for PlainUpload {
    fn write(&mut self, data: &[u8]) -> Result<(), FolderError> {
        self.file
            .write_all(data)
            .map_err(FolderError::io("write", self.path.as_str()))
    }

    fn finish(mut self: Box<Self>) -> Result<(), FolderError> {
        self.settle().map_err(FolderError::io("store", self.path.as_str()))
    }
}

impl Drop for PlainUpload {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // What cannot be removed now is removed when the next run opens the folder.
            let _ = self.shared.temporary.unlink(&temporary);
        }
    }
}
