//! How much room a backup takes.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use crate::archive::ArchiveError;
use crate::archive::observe::{Observer, Phase, Progress};

/// How deep folders may stand in one another; a backup needs three.
const MAX_DEPTH: usize = 32;

/// Files between two calls of the observer.
const STEP: u64 = 256;

/// How much room a backup takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Size {
    /// How many files there are.
    pub files: u64,
    /// The sum of their lengths in bytes.
    pub bytes: u64,
    /// The bytes that the disk has given them, where the system tells; otherwise as `bytes`. What snapshots share
    /// through hard links or clones is counted in each.
    pub allocated: u64,
}

/// Sums up a folder without following links inside it. What vanishes on the way is not counted.
pub(super) fn of_folder(folder: &Path, observer: &mut dyn Observer) -> Result<Size, ArchiveError> {
    let mut size = Size::default();
    let mut pending = vec![(folder.to_owned(), 0_usize)];
    while let Some((folder, depth)) = pending.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                if depth < MAX_DEPTH {
                    pending.push((entry.path(), depth.saturating_add(1)));
                }
                continue;
            }
            size.files = size.files.saturating_add(1);
            size.bytes = size.bytes.saturating_add(meta.len());
            size.allocated = size.allocated.saturating_add(allocated(&meta));
            if size.files.is_multiple_of(STEP) {
                let progress = Progress::new(Phase::MeasuringFolder, size.files, None).with_bytes(size.bytes);
                if let ControlFlow::Break(()) = observer.on_progress(&progress) {
                    return Err(ArchiveError::Cancelled);
                }
            }
        }
    }
    Ok(size)
}

#[cfg(unix)]
fn allocated(meta: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(meta).saturating_mul(512)
}

#[cfg(not(unix))]
fn allocated(meta: &fs::Metadata) -> u64 {
    meta.len()
}
