//! One place in a tree, and the ways from there.

use std::cmp::Ordering;

use super::{ROOT, Raw, Tree};
use crate::archive::{Archive, ArchiveError, FileEntry, Kind};

/// One domain, folder, file or link of a [`Tree`]. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Node<'t> {
    tree: &'t Tree,
    index: u32,
}

impl<'t> Node<'t> {
    pub(super) const fn new(tree: &'t Tree, index: u32) -> Self {
        Self { tree, index }
    }

    /// Every node is made from an index of its own tree; the root stands in for what cannot be.
    fn raw(self) -> &'t Raw {
        static NOTHING: Raw = Raw::new(ROOT, 0, 0);
        self.tree.raw(self.index).unwrap_or(&NOTHING)
    }

    /// Its own name: the last part of the path, the domain's for a domain, empty for the root.
    #[must_use]
    pub fn name(self) -> &'t str {
        self.tree.name(self.raw())
    }

    /// What it is; `None` if it has no row, as the root and folders that were made up.
    #[must_use]
    pub fn kind(self) -> Option<Kind> {
        self.raw().kind
    }

    /// Whether it is a folder that the index leaves out.
    #[must_use]
    pub fn is_made_up(self) -> bool {
        self.index != ROOT && self.kind().is_none()
    }

    /// Whether things are in it. A file has none in a sound backup.
    #[must_use]
    pub fn has_children(self) -> bool {
        self.children().len() > 0
    }

    /// Whether it is a row with the domain and path of an earlier one.
    #[must_use]
    pub fn is_duplicate(self) -> bool {
        self.parent().is_some_and(|parent| {
            let first = parent.child(self.name());
            first.is_some_and(|first| first.index != self.index)
        })
    }

    /// The recorded lengths of all files in it and its own, in bytes. Folders and links have none of their own.
    #[must_use]
    pub fn size(self) -> u64 {
        self.raw().size
    }

    /// How many files are in it, itself included.
    #[must_use]
    pub fn files(self) -> u32 {
        self.raw().files
    }

    /// How many rows are in it, its own included.
    #[must_use]
    pub fn rows(self) -> u32 {
        self.raw().rows
    }

    /// What it is in; `None` for the root.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        (self.index != ROOT).then(|| Self::new(self.tree, self.raw().parent))
    }

    /// How many nodes are above it: 0 for the root, 1 for a domain.
    #[must_use]
    pub fn depth(self) -> usize {
        self.ancestors().count()
    }

    /// What is above it, from its parent up to the root.
    fn ancestors(self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), |node| node.parent())
    }

    /// The domain it lies in, or is; `None` for the root.
    #[must_use]
    pub fn domain(self) -> Option<&'t str> {
        let domain = std::iter::once(self).chain(self.ancestors()).find(|node| {
            let parent = node.parent();
            parent.is_some_and(|parent| parent.index == ROOT)
        });
        domain.map(Self::name)
    }

    /// The path in its domain, as the index writes it; empty for a domain and for the root.
    #[must_use]
    pub fn path(self) -> String {
        // The last two above are the domain and the root.
        let above = self.depth().saturating_sub(1);
        let mut names: Vec<&str> = std::iter::once(self)
            .chain(self.ancestors())
            .take(above)
            .map(Self::name)
            .collect();
        names.reverse();
        names.join("/")
    }

    /// What is in it, sorted by the bytes of the names. Costs nothing; any page of it is reached at once with `skip`.
    #[must_use]
    pub fn children(self) -> Children<'t> {
        let start = self.raw().children as usize;
        let end = match self.index.checked_add(1).and_then(|next| self.tree.raw(next)) {
            Some(next) => next.children as usize,
            None => self.tree.order.len(),
        };
        let order = self.tree.order.get(start..end).unwrap_or_default();
        Children {
            tree: self.tree,
            order: order.iter(),
        }
    }

    /// The child with this name; of several the first.
    #[must_use]
    pub fn child(self, name: &str) -> Option<Self> {
        let order = self.children().order.as_slice();
        let tree = self.tree;
        let place = order.partition_point(|index| Node::new(tree, *index).name().cmp(name) == Ordering::Less);
        let node = Node::new(tree, *order.get(place)?);
        (node.name() == name).then_some(node)
    }

    /// It and everything below it, each folder before what is in it.
    #[must_use]
    pub fn walk(self) -> Walk<'t> {
        Walk {
            first: Some(self),
            open: Vec::new(),
        }
    }

    /// The row it stands for; `None` for made-up folders and the root. One look into the index.
    ///
    /// # Errors
    /// As [`Archive::entry_at`].
    pub fn entry(self, archive: &Archive) -> Result<Option<FileEntry>, ArchiveError> {
        match (self.kind(), self.domain()) {
            (Some(_), Some(domain)) => archive.entry_at(domain, &self.path()),
            _ => Ok(None),
        }
    }
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.tree, other.tree) && self.index == other.index
    }
}

impl Eq for Node<'_> {}

impl std::fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("domain", &self.domain())
            .field("path", &self.path())
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

/// What is in a folder. Made by [`Node::children`].
#[derive(Clone, Debug)]
pub struct Children<'t> {
    tree: &'t Tree,
    order: std::slice::Iter<'t, u32>,
}

impl<'t> Iterator for Children<'t> {
    type Item = Node<'t>;

    fn next(&mut self) -> Option<Node<'t>> {
        self.order.next().map(|index| Node::new(self.tree, *index))
    }

    fn nth(&mut self, n: usize) -> Option<Node<'t>> {
        self.order.nth(n).map(|index| Node::new(self.tree, *index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.order.size_hint()
    }
}

impl ExactSizeIterator for Children<'_> {}

/// A node and everything below it. Made by [`Node::walk`].
#[derive(Debug)]
pub struct Walk<'t> {
    first: Option<Node<'t>>,
    open: Vec<Children<'t>>,
}

impl<'t> Iterator for Walk<'t> {
    type Item = Node<'t>;

    fn next(&mut self) -> Option<Node<'t>> {
        let node = match self.first.take() {
            Some(first) => first,
            None => loop {
                match self.open.last_mut()?.next() {
                    Some(node) => break node,
                    None => drop(self.open.pop()),
                }
            },
        };
        self.open.push(node.children());
        Some(node)
    }
}
