//! One folder without a tree.

use std::collections::BTreeMap;

use crate::archive::select::Selection;
use crate::archive::{Archive, ArchiveError, FileEntry, Kind};

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Child {
    /// Its own name.
    pub name: Box<str>,
    /// Its row; `None` for a folder that the index leaves out. Of several rows with the same name the first.
    pub entry: Option<FileEntry>,
    /// How many rows have this domain, path and name: more than one in a damaged index only.
    pub twins: u64,
    /// How many files are in it, itself included.
    pub files: u64,
    /// The recorded lengths of these files in bytes.
    pub size: u64,
}

/// What is in one folder of a backup, sorted by the bytes of the names; an empty path is the domain itself. Folders
/// that the index leaves out are there as well.
///
/// Goes through the rows of the domain, which costs a pass over the index the first time, and holds the children only.
///
/// # Errors
/// As [`Archive::select`].
pub fn children(archive: &Archive, domain: &str, path: &str) -> Result<Vec<Child>, ArchiveError> {
    let selection = Selection::default().folder(domain, path);
    let mut found: BTreeMap<Box<str>, Child> = BTreeMap::new();
    for entry in archive.select(&selection)? {
        let entry = entry?;
        let below = match path {
            // The domain's own row.
            "" if entry.path.is_empty() => continue,
            "" => &*entry.path,
            _ => match entry.path.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')) {
                Some(below) => below,
                None => continue,
            },
        };
        let (name, is_own) = match below.split_once('/') {
            Some((name, _)) => (name, false),
            None => (below, true),
        };
        let child = match found.get_mut(name) {
            Some(child) => child,
            None => found.entry(name.into()).or_insert_with(|| Child::new(name)),
        };
        if entry.kind == Kind::File {
            child.files = child.files.saturating_add(1);
            child.size = child.size.saturating_add(entry.size);
        }
        if is_own {
            child.twins = child.twins.saturating_add(1);
            child.entry.get_or_insert(entry);
        }
    }
    Ok(found.into_values().collect())
}

impl Child {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            entry: None,
            twins: 0,
            files: 0,
            size: 0,
        }
    }

    /// Whether it is a folder that the index leaves out.
    #[must_use]
    pub const fn is_made_up(&self) -> bool {
        self.entry.is_none()
    }
}
