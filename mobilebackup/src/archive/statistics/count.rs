//! Sums, and tables of them that cannot grow without end.

use std::collections::BTreeMap;

use crate::archive::{FileEntry, Kind};

/// The most names in one [`Table`]. A phone with thousands of apps has some ten thousand domains.
pub const MAX_NAMES: usize = 50_000;

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Count {
    /// Regular files.
    pub files: u64,
    /// Folders that have a row.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// What the index does not say the kind of.
    pub unknown: u64,
    /// The recorded lengths of the files in bytes.
    pub bytes: u64,
}

impl Count {
    /// Adds an entry.
    pub fn add(&mut self, entry: &FileEntry) {
        let counter = match entry.kind {
            Kind::File => &mut self.files,
            Kind::Directory => &mut self.directories,
            Kind::Symlink => &mut self.symlinks,
            Kind::Unknown => &mut self.unknown,
        };
        *counter = counter.saturating_add(1);
        if entry.kind == Kind::File {
            self.bytes = self.bytes.saturating_add(entry.size);
        }
    }

    /// All rows counted.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        let named = self.files.saturating_add(self.directories);
        named.saturating_add(self.symlinks).saturating_add(self.unknown)
    }
}

/// Counts by name. Names beyond [`MAX_NAMES`] are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Table {
    /// Each name and what there is of it.
    pub named: BTreeMap<String, Count>,
    /// What has a name that did not fit any more.
    #[serde(skip_serializing_if = "is_empty")]
    pub rest: Count,
}

fn is_empty(count: &Count) -> bool {
    *count == Count::default()
}

impl Table {
    /// The count of a name, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Count> {
        self.named.get(name)
    }

    /// The names with the most bytes, then with the most rows, first.
    #[must_use]
    pub fn largest(&self) -> Vec<(&str, Count)> {
        let mut all: Vec<_> = self.named.iter().map(|(name, count)| (&**name, *count)).collect();
        all.sort_by_key(|(name, count)| (std::cmp::Reverse((count.bytes, count.rows())), *name));
        all
    }

    pub(super) fn entry(&mut self, name: &str) -> &mut Count {
        // Looked up first: most names are there already, and owning one costs an allocation.
        if !self.named.contains_key(name) {
            if self.named.len() >= MAX_NAMES {
                return &mut self.rest;
            }
            self.named.insert(name.to_owned(), Count::default());
        }
        match self.named.get_mut(name) {
            Some(count) => count,
            None => &mut self.rest,
        }
    }
}
