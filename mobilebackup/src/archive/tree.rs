//! The entries of a backup as folders and files.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::tree::{self, Tree};
//! use cabled_mobilebackup::archive::{Archive, Silent};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
//! let backup = Archive::open(folder)?;
//! let tree = Tree::of(&backup, &mut Silent)?;
//! let camera = tree.find("CameraRollDomain", "").ok_or("no pictures")?;
//! assert_eq!(camera.files(), 3);
//! for node in camera.walk() {
//!     println!("{:indent$}{} {}", "", node.name(), node.size(), indent = node.depth());
//! }
//!
//! let media = tree::children(&backup, "CameraRollDomain", "Media")?;
//! let names: Vec<_> = media.iter().map(|child| &*child.name).collect();
//! assert_eq!(names, ["DCIM", "Fotos"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`Tree`] holds the whole index in a compact form, with sums for every folder. [`children`] lists one folder without
//! it. Both make up the folders that the index leaves out, as other programs' backups do, and keep rows as they are
//! otherwise: names that climb, that are empty or that occur twice are shown, not repaired, and [`Node::path`] leads
//! back to the row. [`Long`] shows an entry as `ls -l` does, [`shown_attribute`] the value of an extended attribute.
//!
//! # Limits
//! A [`Tree`] takes about 50 bytes per row and folder and the bytes of each name once, and 16 bytes more while it is
//! built: 1.3 million rows are some 100 MiB. [`children`] takes memory for the children of its one folder only. Paths
//! deeper than [`MAX_DEPTH`] are cut there: the rest is one name.

mod children;
mod node;
mod show;
mod table;

use std::ops::ControlFlow;

use self::table::NameTable;
use super::select::Selection;
use super::{Archive, ArchiveError, FileEntry, Kind, Observer, Phase, Progress};

pub use self::children::{Child, children};
pub use self::node::{Children, Node, Walk};
pub use self::show::{Long, mode_string, shown_attribute, shown_name};

/// How many folders may stand in one another; what is deeper is one name with `/` in it.
pub const MAX_DEPTH: usize = 256;

/// The most entries and folders a tree holds, made-up ones included: some 4 GiB of memory.
pub const MAX_NODES: u32 = 64 << 20;

/// Rows between two calls of the observer.
const STEP: u64 = 4096;

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The index cannot be read, or the observer stopped the job.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There are more entries, folders or bytes of names than a tree can hold. No backup has as many; an index made to
    /// do harm may.
    #[error("the index has more folders than a tree can hold ({MAX_NODES}); list it row by row")]
    TooLarge,
}

/// All entries of a backup as folders and files. See the [module](self) for what it costs.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Raw>,
    names: Vec<u8>,
    /// All nodes but the root, by parent and name.
    order: Vec<u32>,
    made_up: u32,
    duplicates: u32,
    skipped: u64,
}

/// One node as it is kept.
#[derive(Clone, Copy, Debug)]
struct Raw {
    /// Bytes of all files in it, its own included.
    size: u64,
    /// Index of the parent, which is always smaller; 0 is the root, its own parent.
    parent: u32,
    name_start: u32,
    name_len: u32,
    /// Files in it, itself included.
    files: u32,
    /// Rows in it, itself included.
    rows: u32,
    /// Where its children begin in `order`.
    children: u32,
    /// `None` while no row was seen for it.
    kind: Option<Kind>,
}

/// The root's index: its children are the domains.
const ROOT: u32 = 0;

impl Tree {
    /// The tree of a whole backup. One pass over the index, some microseconds a row.
    ///
    /// # Errors
    /// As [`of_selection`](Tree::of_selection).
    pub fn of(archive: &Archive, observer: &mut dyn Observer) -> Result<Self, TreeError> {
        Self::of_selection(archive, &Selection::default(), observer)
    }

    /// The tree of the entries that a selection means, and of the folders above them.
    ///
    /// # Errors
    /// [`TreeError::Archive`] as [`Archive::rows`] and with [`ArchiveError::Cancelled`]; [`TreeError::TooLarge`].
    pub fn of_selection(
        archive: &Archive,
        selection: &Selection,
        observer: &mut dyn Observer,
    ) -> Result<Self, TreeError> {
        let mut builder = Builder::new();
        let mut selected = archive.select(selection)?;
        let mut rows = 0_u64;
        for entry in selected.by_ref() {
            builder.add(&entry?)?;
            rows = rows.saturating_add(1);
            if rows.is_multiple_of(STEP) {
                let progress = Progress::new(Phase::ReadingIndex, rows, None);
                if let ControlFlow::Break(()) = observer.on_progress(&progress) {
                    return Err(ArchiveError::Cancelled.into());
                }
            }
        }
        Ok(builder.finish(selected.skipped()))
    }

    /// The node above all domains.
    #[must_use]
    pub const fn root(&self) -> Node<'_> {
        Node::new(self, ROOT)
    }

    /// The domains, sorted by their bytes.
    #[must_use]
    pub fn domains(&self) -> Children<'_> {
        self.root().children()
    }

    /// The node at a path, compared byte for byte; the domain's own for an empty one. Of several rows with the same
    /// name the first.
    #[must_use]
    pub fn find(&self, domain: &str, path: &str) -> Option<Node<'_>> {
        let mut node = self.root().child(domain)?;
        for name in parts(path) {
            node = node.child(name)?;
        }
        Some(node)
    }

    /// How many rows it holds.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.raw(ROOT).map_or(0, |root| root.rows.into())
    }

    /// How many folders have no row of their own.
    #[must_use]
    pub const fn made_up(&self) -> u32 {
        self.made_up
    }

    /// How many rows have the domain and path of an earlier one.
    #[must_use]
    pub const fn duplicates(&self) -> u32 {
        self.duplicates
    }

    /// How many rows make no sense and are not in it.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    fn raw(&self, index: u32) -> Option<&Raw> {
        self.nodes.get(index as usize)
    }

    fn name(&self, raw: &Raw) -> &str {
        name_in(&self.names, raw)
    }
}

fn name_in<'n>(names: &'n [u8], raw: &Raw) -> &'n str {
    let start = raw.name_start as usize;
    let bytes = names.get(start..start.saturating_add(raw.name_len as usize));
    // Names went in as text.
    bytes.and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// The names on the way to a path; none for the domain's root. Joined by `/` they are the path again.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    let limit = if path.is_empty() { 0 } else { MAX_DEPTH };
    path.splitn(limit, '/')
}

/// A tree that is growing.
struct Builder {
    nodes: Vec<Raw>,
    names: Vec<u8>,
    table: NameTable,
    duplicates: u32,
}

impl Builder {
    fn new() -> Self {
        Self {
            nodes: vec![Raw::new(ROOT, 0, 0)],
            names: Vec::new(),
            table: NameTable::default(),
            duplicates: 0,
        }
    }

    fn add(&mut self, entry: &FileEntry) -> Result<(), TreeError> {
        let mut at = self.enter(ROOT, &entry.domain)?;
        for name in parts(&entry.path) {
            at = self.enter(at, name)?;
        }
        let Some(raw) = self.nodes.get(at as usize) else {
            return Ok(());
        };
        if raw.kind.is_some() {
            // Beside the first, under the same name; not in the table, which leads to the first.
            let (parent, start, len) = (raw.parent, raw.name_start, raw.name_len);
            at = self.push(Raw::new(parent, start, len))?;
            self.duplicates = self.duplicates.saturating_add(1);
        }
        if let Some(raw) = self.nodes.get_mut(at as usize) {
            raw.kind = Some(entry.kind);
            raw.rows = 1;
            if entry.kind == Kind::File {
                (raw.files, raw.size) = (1, entry.size);
            }
        }
        Ok(())
    }

    /// The child with this name, made up if it is not there yet.
    fn enter(&mut self, parent: u32, name: &str) -> Result<u32, TreeError> {
        let (nodes, names) = (&self.nodes, &self.names);
        let known = |index: u32| {
            let raw = nodes.get(index as usize)?;
            Some((raw.parent, name_in(names, raw)))
        };
        if let Some(index) = self.table.find((parent, name), known) {
            return Ok(index);
        }
        let start = u32::try_from(self.names.len()).map_err(|_| TreeError::TooLarge)?;
        let len = u32::try_from(name.len()).map_err(|_| TreeError::TooLarge)?;
        self.names.extend_from_slice(name.as_bytes());
        let index = self.push(Raw::new(parent, start, len))?;
        let (nodes, names) = (&self.nodes, &self.names);
        self.table.insert(index, (parent, name), |index| {
            let raw = nodes.get(index as usize)?;
            Some((raw.parent, name_in(names, raw)))
        });
        Ok(index)
    }

    fn push(&mut self, raw: Raw) -> Result<u32, TreeError> {
        let index = u32::try_from(self.nodes.len()).map_err(|_| TreeError::TooLarge)?;
        if index >= MAX_NODES {
            return Err(TreeError::TooLarge);
        }
        self.nodes.push(raw);
        Ok(index)
    }

    /// Sums up and sorts.
    fn finish(self, skipped: u64) -> Tree {
        let Self {
            mut nodes,
            mut names,
            table,
            duplicates,
        } = self;
        drop(table);
        names.shrink_to_fit();
        nodes.shrink_to_fit();
        let mut made_up = 0_u32;
        // Children come after their parents, so that from the back every sum is complete when it is passed on.
        for index in (1..nodes.len()).rev() {
            let Some(child) = nodes.get(index).copied() else {
                continue;
            };
            made_up = made_up.saturating_add(u32::from(child.kind.is_none()));
            if let Some(parent) = nodes.get_mut(child.parent as usize) {
                parent.size = parent.size.saturating_add(child.size);
                parent.files = parent.files.saturating_add(child.files);
                parent.rows = parent.rows.saturating_add(child.rows);
            }
        }
        let key = |index: &u32| {
            let raw = nodes.get(*index as usize);
            raw.map(|raw| (raw.parent, name_in(&names, raw), *index))
        };
        let end = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let mut order: Vec<u32> = (1..end).collect();
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        let mut parents = Vec::with_capacity(order.len());
        parents.extend(
            order
                .iter()
                .filter_map(|index| nodes.get(*index as usize).map(|raw| raw.parent)),
        );
        let mut first = 0_u32;
        let mut at = 0_usize;
        for (index, raw) in (0_u32..).zip(&mut nodes) {
            raw.children = first;
            while parents.get(at) == Some(&index) {
                (at, first) = (at.saturating_add(1), first.saturating_add(1));
            }
        }
        Tree {
            nodes,
            names,
            order,
            made_up,
            duplicates,
            skipped,
        }
    }
}

impl Raw {
    const fn new(parent: u32, name_start: u32, name_len: u32) -> Self {
        Self {
            size: 0,
            parent,
            name_start,
            name_len,
            files: 0,
            rows: 0,
            children: 0,
            kind: None,
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;
