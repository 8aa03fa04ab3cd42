//! The pictures of a backup, held against its library.

use std::collections::{HashMap, HashSet};

use super::assets::Clouds;
use super::{Asset, LIBRARY, Original};
use crate::archive::records::RecordError;
use crate::archive::records::note::{Notes, Problem, RecordNote};
use crate::archive::{Archive, FileId, Kind};

/// Most files that are kept in mind.
const MAX_FILES: usize = 2_000_000;

/// Where originals are, and what belongs to them.
const FOLDERS: [&str; 4] = [
    "Media/DCIM/",
    "Media/PhotoData/CPLAssets/",
    "Media/PhotoData/Mutations/",
    "Media/PhotoData/PhotoCloudSharingData/",
];

#[derive(Clone, Copy, Debug)]
struct Found {
    id: FileId,
    size: u64,
    named: bool,
}

/// The files by their path.
#[derive(Debug, Default)]
pub(super) struct Files {
    by_path: HashMap<Box<str>, Found>,
    /// From a path without its ending, and without `Mutations`, to the paths that begin so.
    by_stem: HashMap<Box<str>, Vec<Box<str>>>,
}

impl Files {
    pub(super) fn of(archive: &Archive, problems: &mut Notes) -> Result<Self, RecordError> {
        let mut files = Self::default();
        for entry in archive.entries()? {
            let entry = entry?;
            let picture = FOLDERS.iter().any(|folder| entry.path.starts_with(folder));
            if entry.kind != Kind::File || *entry.domain != *LIBRARY.0 || !picture {
                continue;
            }
            if files.by_path.len() >= MAX_FILES {
                let reason = format!("there are more than {MAX_FILES} files");
                problems.push(RecordNote::table("CameraRollDomain", Problem::Damaged { reason }));
                break;
            }
            let stem = stem_of(&entry.path).into();
            files.by_stem.entry(stem).or_default().push(entry.path.clone());
            let found = Found {
                id: entry.file_id,
                size: entry.size,
                named: false,
            };
            files.by_path.insert(entry.path, found);
        }
        Ok(files)
    }

    /// Says of every asset where its original is, and finds what belongs to it.
    pub(super) fn judge(&mut self, archive: &Archive, assets: &mut [Asset], clouds: &Clouds) {
        for asset in &mut *assets {
            let Some(path) = &asset.path else { continue };
            if let Some(found) = self.by_path.get_mut(&**path) {
                found.named = true;
                asset.size = Some(found.size);
                let there = archive.open_payload(&found.id).is_ok();
                asset.original = if there {
                    Original::InBackup
                } else {
                    Original::PayloadMissing
                };
            } else {
                asset.original = elsewhere(asset.id, path, clouds);
            }
        }
        for asset in assets {
            let Some(path) = &asset.path else { continue };
            // What begins alike and is no asset of its own: the video of a live photo, settings, the edited picture.
            for other in self.by_stem.get(stem_of(path)).into_iter().flatten().take(64) {
                if self.by_path.get(other).is_some_and(|found| !found.named) {
                    asset.companions.push(other.to_string());
                }
            }
        }
    }

    /// The files that no asset names and that belong to none that is named, sorted.
    pub(super) fn left(self) -> Vec<String> {
        let named: HashSet<&str> = self
            .by_path
            .iter()
            .filter(|(_, found)| found.named)
            .map(|(path, _)| stem_of(path))
            .collect();
        let mut left: Vec<String> = self
            .by_path
            .iter()
            .filter(|(path, found)| !found.named && !named.contains(stem_of(path)))
            .map(|(path, _)| path.to_string())
            .collect();
        left.sort_unstable();
        left
    }
}

/// What all files of one asset have in common: `DCIM/100APPLE/IMG_0001` for `Media/DCIM/100APPLE/IMG_0001.HEIC` and for
/// `Media/PhotoData/Mutations/DCIM/100APPLE/IMG_0001/Adjustments/...`.
fn stem_of(path: &str) -> &str {
    if let Some(mutated) = path.strip_prefix("Media/PhotoData/Mutations/") {
        // Up to the folder that is named after the picture.
        let at = mutated.match_indices('/').nth(2).map_or(mutated.len(), |(at, _)| at);
        return mutated.get(..at).unwrap_or(mutated);
    }
    let path = path.strip_prefix("Media/").unwrap_or(path);
    match path.rfind('.') {
        Some(dot) if path.rfind('/').is_none_or(|slash| slash < dot) => path.get(..dot).unwrap_or(path),
        _ => path,
    }
}

/// Where an original is that is not in the backup.
fn elsewhere(id: i64, path: &str, clouds: &Clouds) -> Original {
    if path.starts_with("Media/PhotoData/Sync/") {
        Original::SyncedFromComputer
    } else if clouds.shared.contains(&id) || path.starts_with("Media/PhotoData/PhotoCloudSharingData/") {
        Original::Shared
    } else if clouds.remote.contains(&id) {
        Original::OnlyInIcloud
    } else {
        Original::Missing
    }
}
