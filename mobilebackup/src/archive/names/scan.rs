//! Finding names that a system would take for one, in one pass over a backup.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::fold::fold;
use super::{Convention, MAX_DEPTH, Names, components, short_hash};
use crate::archive::entry::{FileEntry, Kind};

/// Bits below a node's hash.
const LEAF: u64 = 1;
const TWICE: u64 = 2;
const BITS: u64 = LEAF | TWICE;

/// Sightings between two clearings of the table.
const SLACK: usize = 1 << 16;

/// Sees every row of a backup once, so that [`Names`] know of twins.
#[derive(Debug)]
pub struct NameScan {
    convention: Convention,
    folds: bool,
    max_path: usize,
    hasher: RandomState,
    /// What a system would take for one name, and the exact name with [`BITS`]. Both include the exact folder.
    pub(super) seen: Vec<(u64, u64)>,
    cleared: usize,
    /// The folder of the row before: rows of one folder mostly follow each other.
    domain: String,
    folder: Option<String>,
    node: u64,
}

impl NameScan {
    /// A scan for a tree of this convention.
    #[must_use]
    pub fn new(convention: Convention) -> Self {
        Self {
            convention,
            folds: convention.folds(),
            max_path: convention.max_path(),
            hasher: RandomState::new(),
            seen: Vec::new(),
            cleared: 0,
            domain: String::new(),
            folder: None,
            node: 0,
        }
    }

    /// Whether names that differ by case or Unicode form are taken for one. Default: what the convention says; a disk
    /// may differ from its system.
    #[must_use]
    pub const fn folding(mut self, on: bool) -> Self {
        self.folds = on;
        self
    }

    /// The longest path in bytes; longer ones become one name. Default: [`Convention::max_path`].
    #[must_use]
    pub const fn max_path(mut self, bytes: usize) -> Self {
        self.max_path = bytes;
        self
    }

    /// Takes a row in.
    pub fn see(&mut self, entry: &FileEntry) {
        self.see_path(&entry.domain, &entry.path, entry.kind);
    }

    /// Takes in what a row holds, for indexes of other origin.
    pub fn see_path(&mut self, domain: &str, path: &str, kind: Kind) {
        // Longer ones become one name, in any spelling.
        if path.len() > self.max_path {
            return;
        }
        let bit = if kind == Kind::Directory { 0 } else { LEAF };
        let (folder, name) = match path.rsplit_once('/') {
            Some((folder, name)) => (Some(folder), name),
            None if path.is_empty() => {
                self.push(0, domain, bit);
                return;
            }
            None => (None, path),
        };
        if self.domain != domain || self.folder.as_deref() != folder || self.node == 0 {
            let mut node = 0;
            for (depth, component) in components(domain, folder.unwrap_or_default()).enumerate() {
                if depth >= MAX_DEPTH {
                    return;
                }
                node = self.push(node, component, 0);
            }
            // A path such as `/a` has an empty component as its folder, which `components` takes for none.
            if folder == Some("") {
                node = self.push(node, "", 0);
            }
            domain.clone_into(&mut self.domain);
            self.folder = folder.map(str::to_owned);
            self.node = node;
        }
        self.push(self.node, name, bit);
    }

    fn push(&mut self, parent: u64, name: &str, bit: u64) -> u64 {
        let node = node(&self.hasher, parent, name);
        let key = if self.folds {
            key(&self.hasher, parent, name)
        } else {
            node
        };
        self.seen.push((key, node | bit));
        if self.seen.len() > self.cleared.saturating_mul(2).saturating_add(SLACK) {
            self.clear();
        }
        node
    }

    /// Leaves each sighting once.
    fn clear(&mut self) {
        self.seen.sort_unstable();
        self.seen.dedup_by(|next, kept| {
            let same = next.0 == kept.0 && (next.1 & !TWICE) == (kept.1 & !TWICE);
            if same && next.1 & LEAF != 0 {
                kept.1 |= TWICE;
            }
            same
        });
        self.cleared = self.seen.len();
    }

    /// Names that keep apart what was seen.
    #[must_use]
    pub fn finish(mut self) -> Names {
        self.clear();
        let (mut twins, mut taken) = (HashSet::new(), HashSet::new());
        for same in self.seen.chunk_by(|a, b| a.0 == b.0) {
            let Some((key, first)) = same.first() else { continue };
            if same.iter().any(|(_, node)| node & !BITS != first & !BITS) {
                twins.insert(*key);
            }
            for name in same.chunk_by(|a, b| a.1 & !BITS == b.1 & !BITS) {
                if name.len() > 1 || name.iter().any(|(_, node)| node & TWICE != 0) {
                    taken.extend(name.first().map(|(_, node)| node & !BITS));
                }
            }
        }
        let clashes = Clashes {
            hasher: self.hasher,
            twins,
            taken,
        };
        Names {
            convention: self.convention,
            max_path: self.max_path,
            clashes: Arc::new(clashes),
        }
    }
}

/// Names that need more than their convention asks for.
#[derive(Debug)]
pub(super) struct Clashes {
    hasher: RandomState,
    /// By what a system would take for one name.
    twins: HashSet<u64>,
    /// Paths of several rows that are not all folders.
    taken: HashSet<u64>,
}

impl Clashes {
    pub(super) fn len(&self) -> usize {
        self.twins.len().saturating_add(self.taken.len())
    }

    #[expect(clippy::unused_self, reason = "where a path of these clashes begins")]
    pub(super) const fn root(&self) -> u64 {
        0
    }

    pub(super) fn has_twin(&self, parent: u64, name: &str) -> bool {
        !self.twins.is_empty() && self.twins.contains(&key(&self.hasher, parent, name))
    }

    /// The name below `parent`, as a number; any, if nothing clashes.
    pub(super) fn node(&self, parent: u64, name: &str) -> u64 {
        if self.len() == 0 {
            return 0;
        }
        node(&self.hasher, parent, name)
    }

    pub(super) fn is_taken(&self, node: u64) -> bool {
        self.taken.contains(&node)
    }
}

fn node(hasher: &RandomState, parent: u64, name: &str) -> u64 {
    // Never 0, which is the root.
    short_hash(&mut hasher.build_hasher(), parent, name) & !BITS | (1 << 63)
}

fn key(hasher: &RandomState, parent: u64, name: &str) -> u64 {
    short_hash(&mut hasher.build_hasher(), parent, &fold(name))
}
