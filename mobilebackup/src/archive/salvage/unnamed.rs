//! Payloads that no row names: recognised by the ids of well-known files, and by their content.

use std::collections::HashMap;

use super::Salvage;
use super::content::{self, ContentKind};
use super::entry::FoundBy;
use super::rows::FoundRow;
use super::search::Search;
use crate::archive::select::{COMPANIONS, Category};
use crate::archive::{FileEntry, FileId, OpenNote, Protection};

/// The domain of files whose own is not known.
pub const UNKNOWN_DOMAIN: &str = "Salvaged";

impl Salvage {
    /// Without `Manifest.plist` nothing says whether a backup is encrypted; but then every payload is whole blocks of
    /// noise.
    fn looks_encrypted(&self, ids: &[FileId]) -> bool {
        const LOOKED_AT: usize = 64;
        let Some(own) = self
            .keyrings
            .first()
            .filter(|own| own.notes().contains(&OpenNote::NoManifest))
        else {
            return false;
        };
        let is_noise = |id: &FileId| {
            let Ok(mut file) = own.open_payload(id) else {
                return true;
            };
            let len = file.metadata().map_or(0, |meta| meta.len());
            len.is_multiple_of(16) && matches!(content::recognise(&mut file), Ok((ContentKind::Unknown, _)))
        };
        !ids.is_empty() && ids.iter().take(LOOKED_AT).all(is_noise)
    }

    /// Names the payloads that no row names, in a backup that is not encrypted.
    pub(super) fn name_payloads(&mut self, search: &mut Search) {
        let known = known_ids();
        let mut ids: Vec<FileId> = search.payloads.keys().copied().collect();
        ids.retain(|id| !search.by_id.contains_key(id));
        ids.sort_unstable();
        if self.looks_encrypted(&ids) {
            self.report.protection = Protection::Encrypted;
        }
        if self.report.protection == Protection::Encrypted {
            self.report.keys_lost = ids.len() as u64;
            return;
        }
        let Some(own) = self.keyrings.first() else { return };
        for id in ids {
            let size = search.payloads.get(&id).copied().unwrap_or_default();
            let (entry, found) = match known.get(&id) {
                Some((category, domain, path)) => (
                    FileEntry::bare(id, domain, path, size),
                    FoundBy::KnownId { category: *category },
                ),
                None => {
                    let Ok(mut file) = own.open_payload(&id) else { continue };
                    let Ok((kind, category)) = content::recognise(&mut file) else {
                        continue;
                    };
                    let folder = category.map_or_else(|| format!("{kind:?}").to_lowercase(), |known| known.to_string());
                    let path = format!("{folder}/{id}.{}", kind.extension());
                    (
                        FileEntry::bare(id, UNKNOWN_DOMAIN, &path, size),
                        FoundBy::Content { kind, category },
                    )
                }
            };
            search.add(
                FoundRow {
                    entry,
                    found,
                    record: false,
                },
                0,
            );
        }
    }
}

/// The ids of the files that every backup of a phone has, and of their logs.
fn known_ids() -> HashMap<FileId, (Category, &'static str, String)> {
    let mut known = HashMap::new();
    for category in Category::ALL {
        for (domain, path) in category.places().iter().filter_map(|place| place.single_file()) {
            for end in std::iter::once("").chain(COMPANIONS) {
                let path = format!("{path}{end}");
                known
                    .entry(FileId::of(domain, &path))
                    .or_insert((category, domain, path));
            }
        }
    }
    known
}
