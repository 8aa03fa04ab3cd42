//! Looking for rows in whatever indexes there are.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::entry::FoundBy;
use super::report::IndexState;
use super::rows::{self, FoundRow};
use crate::archive::database::SQLITE_MAGIC;
use crate::archive::{Archive, ArchiveError, FileId, Key, Protection};

/// What was found so far.
pub(super) struct Search {
    /// Every payload in the folder, with its length.
    pub(super) payloads: HashMap<FileId, u64>,
    pub(super) entries: Vec<(FoundRow, usize)>,
    pub(super) by_id: HashMap<FileId, usize>,
}

impl Search {
    /// Takes the rows of an index in `folder`; `as_found` says how they were found.
    pub(super) fn take_index(
        &mut self,
        archive: &Archive,
        folder: &Path,
        keyring: usize,
        as_found: impl Fn(FoundBy) -> FoundBy,
    ) -> IndexState {
        let Some(path) = index_in(folder) else {
            return IndexState::Missing;
        };
        let mut visit = |mut row: FoundRow| {
            row.found = as_found(row.found);
            self.add(row, keyring);
        };
        let outcome = if path.extension().is_some_and(|end| end == "mbdb") {
            rows::of_flat(&path, &mut visit)
        } else {
            match index_key(archive, &path) {
                Ok(IndexKey::None) => rows::of_database(&path, None, &mut visit),
                Ok(IndexKey::Key(key)) => rows::of_database(&path, Some(&key), &mut visit),
                Ok(IndexKey::Locked) => return IndexState::Locked,
                Err(e) => Err(e),
            }
        };
        match outcome {
            Ok(scan) => IndexState::Read(scan),
            Err(e) => IndexState::Unreadable { reason: e.to_string() },
        }
    }

    /// Adds a row unless a better one with its id is there. A row that names a payload beats one that does not decode.
    pub(super) fn add(&mut self, row: FoundRow, keyring: usize) {
        let known = self.by_id.get(&row.entry.file_id).copied();
        match known.and_then(|known| self.entries.get_mut(known)) {
            Some(known) if row.record && !known.0.record => *known = (row, keyring),
            Some(_) => {}
            None => {
                self.by_id.insert(row.entry.file_id, self.entries.len());
                self.entries.push((row, keyring));
            }
        }
    }
}

/// What opens an index.
enum IndexKey {
    None,
    Key(Key),
    Locked,
}

/// A plain index needs no key, even if its start is damaged.
fn index_key(archive: &Archive, path: &Path) -> Result<IndexKey, ArchiveError> {
    let mut start = Vec::new();
    fs::File::open(path)?
        .take(SQLITE_MAGIC.len() as u64)
        .read_to_end(&mut start)?;
    if start == SQLITE_MAGIC || archive.protection() != Protection::Encrypted {
        return Ok(IndexKey::None);
    }
    let wrapped = archive.manifest().manifest_key().ok().flatten();
    let Some((wrapped, keys)) = wrapped.zip(archive.class_keys()) else {
        return Ok(IndexKey::Locked);
    };
    Ok(match keys.unwrap(&wrapped, None) {
        Ok(key) => IndexKey::Key(key),
        Err(_) => IndexKey::Locked,
    })
}

/// The index in a folder, if there is one with something in it.
pub(super) fn index_in(folder: &Path) -> Option<PathBuf> {
    let names = ["Manifest.db", "Manifest.mbdb"];
    names
        .into_iter()
        .map(|name| folder.join(name))
        .find(|path| fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() > 0))
}

/// Every payload of a backup, in whichever place it lies.
pub(super) fn payloads_of(folder: &Path) -> Result<HashMap<FileId, u64>, ArchiveError> {
    let mut payloads = HashMap::new();
    let mut folders = vec![(folder.to_owned(), true)];
    while let Some((folder, is_root)) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let kind = entry.file_type()?;
            let is_nested = name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if kind.is_dir() && is_root && is_nested {
                folders.push((entry.path(), false));
            } else if kind.is_file()
                && let Ok(id) = name.parse::<FileId>()
            {
                payloads.insert(id, entry.metadata()?.len());
            }
        }
    }
    Ok(payloads)
}
