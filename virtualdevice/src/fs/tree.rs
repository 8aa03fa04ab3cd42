//! The tree itself: domains, directories, links, and the sums over them. No locks here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Content, Entry, FsError, Kind, Meta};

/// Bytes of a path, as on the device.
const MAX_PATH: usize = 1024;
/// Bytes of one name, as on the device.
const MAX_NAME: usize = 255;
/// Inode numbers from here on are not taken over from a caller: SQLite and plists know signed numbers only.
const MAX_INODE: u64 = 1 << 62;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) entry: Arc<Entry>,
    pub(super) children: BTreeMap<Box<str>, Node>,
}

type Place = (Arc<str>, Arc<str>);

#[derive(Debug)]
pub(super) struct Tree {
    domains: BTreeMap<Arc<str>, Node>,
    capacity: u64,
    used: u64,
    revision: u64,
    next_inode: u64,
    entries: usize,
    /// The names of every file that has more than one.
    links: BTreeMap<u64, BTreeSet<Place>>,
}

/// Refuses what the device's file system could not hold.
fn check_path(path: &str) -> Result<(), FsError> {
    let fine = |name: &str| !name.is_empty() && name != "." && name != ".." && name.len() <= MAX_NAME;
    let valid = path.len() <= MAX_PATH && !path.contains('\0') && components(path).all(fine);
    if valid { Ok(()) } else { Err(FsError::Invalid) }
}

fn check_domain(domain: &str) -> Result<(), FsError> {
    let valid = check_path(domain).is_ok() && !domain.is_empty() && !domain.contains('/');
    if valid { Ok(()) } else { Err(FsError::Invalid) }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').skip(usize::from(path.is_empty()))
}

/// Parent and name; `None` for a domain's root.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.is_empty() {
        None
    } else {
        Some(path.rsplit_once('/').unwrap_or(("", path)))
    }
}

fn is_inside(path: &str, directory: &str) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Node {
    fn new(entry: Arc<Entry>) -> Self {
        Self {
            entry,
            children: BTreeMap::new(),
        }
    }

    /// This node and everything below, parents first.
    pub(super) fn walk(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let mut stack = vec![self];
        std::iter::from_fn(move || {
            let node = stack.pop()?;
            stack.extend(node.children.values().rev());
            Some(&node.entry)
        })
    }
}

impl Tree {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            domains: BTreeMap::new(),
            capacity,
            used: 0,
            revision: 0,
            next_inode: 2,
            entries: 0,
            links: BTreeMap::new(),
        }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    pub(super) fn domains(&self) -> impl Iterator<Item = &Arc<str>> {
        self.domains.keys()
    }

    pub(super) fn walk(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.domains.values().flat_map(Node::walk)
    }

    pub(super) fn node(&self, domain: &str, path: &str) -> Result<&Node, FsError> {
        let mut node = self.domains.get(domain).ok_or(FsError::NotFound)?;
        for name in components(path) {
            if !node.entry.is_dir() {
                return Err(FsError::NotADirectory);
            }
            node = node.children.get(name).ok_or(FsError::NotFound)?;
        }
        Ok(node)
    }

    fn node_mut(&mut self, domain: &str, path: &str) -> Result<&mut Node, FsError> {
        let mut node = self.domains.get_mut(domain).ok_or(FsError::NotFound)?;
        for name in components(path) {
            if !node.entry.is_dir() {
                return Err(FsError::NotADirectory);
            }
            node = node.children.get_mut(name).ok_or(FsError::NotFound)?;
        }
        Ok(node)
    }

    fn directory_mut(&mut self, domain: &str, path: &str) -> Result<&mut Node, FsError> {
        let node = self.node_mut(domain, path)?;
        if node.entry.is_dir() {
            Ok(node)
        } else {
            Err(FsError::NotADirectory)
        }
    }

    fn bump(&mut self) -> u64 {
        self.revision = self.revision.saturating_add(1);
        self.revision
    }

    /// The names of the file at this place, if it has others besides.
    fn other_names(&self, inode: u64, domain: &str, path: &str) -> Vec<Place> {
        let Some(names) = self.links.get(&inode) else {
            return Vec::new();
        };
        let here = |(d, p): &&Place| **d == *domain && **p == *path;
        // A number alone proves nothing: callers may put two files with the same one.
        if !names.iter().any(|name| here(&name)) {
            return Vec::new();
        }
        names.iter().filter(|name| !here(name)).cloned().collect()
    }

    pub(super) fn link_count(&self, entry: &Entry) -> usize {
        self.other_names(entry.meta.inode, &entry.domain, &entry.path)
            .len()
            .saturating_add(1)
    }

    fn choose_inode(&mut self, wanted: u64, existing: Option<u64>) -> u64 {
        let wanted = match wanted {
            0 => existing.unwrap_or(0),
            n if n >= MAX_INODE || self.links.contains_key(&n) => 0,
            n => n,
        };
        let chosen = if wanted == 0 { self.next_inode } else { wanted };
        self.next_inode = self.next_inode.max(chosen.saturating_add(1));
        chosen
    }

    /// Whether the device's file system could hold such a place at all.
    pub(super) fn check(domain: &str, path: &str) -> Result<(), FsError> {
        check_domain(domain)?;
        check_path(path)
    }

    pub(super) fn put(&mut self, domain: &str, path: &str, kind: Kind, meta: Meta) -> Result<Arc<Entry>, FsError> {
        Self::check(domain, path)?;
        let old = match self.node(domain, path) {
            Ok(node) => Some(Arc::clone(&node.entry)),
            Err(FsError::NotFound) => None,
            Err(error) => return Err(error),
        };
        match (&old, &kind) {
            (None, Kind::Directory) if path.is_empty() => {}
            (_, Kind::File(_) | Kind::Symlink(_)) if path.is_empty() => return Err(FsError::Invalid),
            (None, _) => {
                self.directory_mut(domain, split(path).map_or("", |(parent, _)| parent))?;
            }
            (Some(old), Kind::Directory) if !old.is_dir() => return Err(FsError::Exists),
            (Some(old), Kind::File(_) | Kind::Symlink(_)) if old.is_dir() => return Err(FsError::IsADirectory),
            (Some(_), _) => {}
        }
        let old_len = old
            .as_ref()
            .map_or(0, |old| if self.link_count(old) > 1 { 0 } else { old.len() });
        let len = if let Kind::File(content) = &kind {
            content.len()
        } else {
            0
        };
        let used = self.charge(old_len, len)?;
        // Replacing a name is not writing to the file: its other names keep the old contents.
        let was_linked = old.as_ref().is_some_and(|old| self.forget_link(old));
        let existing = old.as_ref().filter(|_| !was_linked).map(|old| old.meta.inode);
        let inode = self.choose_inode(meta.inode, existing);
        let meta = Meta {
            inode,
            mode: (meta.mode & !super::entry::TYPE_BITS) | kind.type_bits(),
            ..meta
        };
        let revision = self.bump();
        let entry = Entry {
            domain: self.shared_domain(domain),
            path: path.into(),
            kind,
            meta,
            revision,
        };
        let entry = Arc::new(entry);
        self.used = used;
        self.place(domain, path, &entry)?;
        if old.is_none() {
            self.entries = self.entries.saturating_add(1);
        }
        Ok(entry)
    }

    fn shared_domain(&self, domain: &str) -> Arc<str> {
        self.domains
            .get_key_value(domain)
            .map_or_else(|| domain.into(), |(key, _)| Arc::clone(key))
    }

    /// Hangs the entry into the tree, over what is there.
    fn place(&mut self, domain: &str, path: &str, entry: &Arc<Entry>) -> Result<(), FsError> {
        let Some((parent, name)) = split(path) else {
            let root = self.domains.entry(Arc::clone(&entry.domain));
            root.and_modify(|node| node.entry = Arc::clone(entry))
                .or_insert_with(|| Node::new(Arc::clone(entry)));
            return Ok(());
        };
        let siblings = &mut self.directory_mut(domain, parent)?.children;
        match siblings.get_mut(name) {
            Some(node) => node.entry = Arc::clone(entry),
            None => drop(siblings.insert(name.into(), Node::new(Arc::clone(entry)))),
        }
        Ok(())
    }

    /// The bytes in use when `old` become `new`.
    fn charge(&self, old: u64, new: u64) -> Result<u64, FsError> {
        let used = self.used.saturating_sub(old).checked_add(new).ok_or(FsError::NoSpace)?;
        if used > self.capacity && new > old {
            Err(FsError::NoSpace)
        } else {
            Ok(used)
        }
    }

    /// Takes a name out of the link table; says whether other names remain.
    fn forget_link(&mut self, entry: &Entry) -> bool {
        let inode = entry.meta.inode;
        let Some(names) = self.links.get_mut(&inode) else {
            return false;
        };
        if !names.remove(&(Arc::clone(&entry.domain), Arc::clone(&entry.path))) {
            return false;
        }
        if names.len() < 2 {
            self.links.remove(&inode);
        }
        true
    }

    /// Sets a directory's times after a child came or went.
    pub(super) fn touch(&mut self, domain: &str, path: &str, now: i64) {
        let revision = self.bump();
        if let Ok(node) = self.node_mut(domain, path) {
            let entry = Arc::make_mut(&mut node.entry);
            (entry.meta.mtime, entry.meta.ctime, entry.revision) = (now, now, revision);
        }
    }

    fn touch_parent(&mut self, domain: &str, path: &str, now: i64) {
        if let Some((parent, _)) = split(path) {
            self.touch(domain, parent, now);
        }
    }

    /// Changes a file's contents in place, for all its names.
    pub(super) fn edit(
        &mut self,
        (domain, path): (&str, &str),
        new_len: impl FnOnce(u64) -> u64,
        now: i64,
        edit: impl FnOnce(&mut Content) -> std::io::Result<()>,
    ) -> Result<(), FsError> {
        let entry = &self.node(domain, path)?.entry;
        let old_len = match &entry.kind {
            Kind::File(content) => content.len(),
            Kind::Directory => return Err(FsError::IsADirectory),
            Kind::Symlink(_) => return Err(FsError::Invalid),
        };
        let names = self.other_names(entry.meta.inode, domain, path);
        let used = self.charge(old_len, new_len(old_len))?;
        let revision = self.bump();
        let entry = Arc::make_mut(&mut self.node_mut(domain, path)?.entry);
        if let Kind::File(content) = &mut entry.kind {
            edit(content)?;
        }
        (entry.meta.mtime, entry.meta.ctime, entry.revision) = (now, now, revision);
        let (kind, meta) = (entry.kind.clone(), entry.meta.clone());
        self.used = used;
        self.follow_links(&names, &kind, &meta)
    }

    /// Changes attributes, for all names of a file. The inode number stays.
    pub(super) fn edit_meta(&mut self, domain: &str, path: &str, edit: impl FnOnce(&mut Meta)) -> Result<(), FsError> {
        let entry = &self.node(domain, path)?.entry;
        let names = self.other_names(entry.meta.inode, domain, path);
        let revision = self.bump();
        let entry = Arc::make_mut(&mut self.node_mut(domain, path)?.entry);
        let inode = entry.meta.inode;
        edit(&mut entry.meta);
        entry.meta.inode = inode;
        entry.meta.mode = (entry.meta.mode & !super::entry::TYPE_BITS) | entry.kind.type_bits();
        entry.revision = revision;
        let (kind, meta) = (entry.kind.clone(), entry.meta.clone());
        self.follow_links(&names, &kind, &meta)
    }

    fn follow_links(&mut self, names: &[Place], kind: &Kind, meta: &Meta) -> Result<(), FsError> {
        let revision = self.revision;
        for (domain, path) in names {
            let entry = Arc::make_mut(&mut self.node_mut(domain, path)?.entry);
            (entry.kind, entry.meta, entry.revision) = (kind.clone(), meta.clone(), revision);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, domain: &str, path: &str, recursive: bool, now: i64) -> Result<(), FsError> {
        if !recursive && !self.node(domain, path)?.children.is_empty() {
            return Err(FsError::NotEmpty);
        }
        let node = self.detach(domain, path)?;
        for entry in node.walk() {
            self.entries = self.entries.saturating_sub(1);
            if !self.forget_link(entry) {
                self.used = self.used.saturating_sub(entry.len());
            }
        }
        self.bump();
        self.touch_parent(domain, path, now);
        Ok(())
    }

    fn detach(&mut self, domain: &str, path: &str) -> Result<Node, FsError> {
        let node = match split(path) {
            None => self.domains.remove(domain),
            Some((parent, name)) => self.directory_mut(domain, parent)?.children.remove(name),
        };
        node.ok_or(FsError::NotFound)
    }

    pub(super) fn rename(&mut self, from: (&str, &str), to: (&str, &str), now: i64) -> Result<(), FsError> {
        let source = Arc::clone(&self.node(from.0, from.1)?.entry);
        Self::check(to.0, to.1)?;
        if from == to {
            return Ok(());
        }
        let (Some((_, _)), Some((parent, name))) = (split(from.1), split(to.1)) else {
            return Err(FsError::Invalid);
        };
        if from.0 == to.0 && is_inside(to.1, from.1) {
            return Err(FsError::Invalid);
        }
        if !self.node(to.0, parent)?.entry.is_dir() {
            return Err(FsError::NotADirectory);
        }
        self.check_moved_paths(from, to.1)?;
        match self.node(to.0, to.1) {
            Err(FsError::NotFound) => {}
            Err(error) => return Err(error),
            Ok(old) => match (source.is_dir(), old.entry.is_dir()) {
                (true, false) => return Err(FsError::NotADirectory),
                (false, true) => return Err(FsError::IsADirectory),
                (true, true) if !old.children.is_empty() => return Err(FsError::NotEmpty),
                _ => self.remove(to.0, to.1, false, now)?,
            },
        }
        let revision = self.bump();
        let mut node = self.detach(from.0, from.1)?;
        self.relabel(&mut node, from.1, to, revision);
        self.directory_mut(to.0, parent)?.children.insert(name.into(), node);
        self.touch_parent(from.0, from.1, now);
        self.touch(to.0, parent, now);
        Ok(())
    }

    /// A moved tree must not get paths that are too long.
    fn check_moved_paths(&self, from: (&str, &str), to: &str) -> Result<(), FsError> {
        let longest = self
            .node(from.0, from.1)?
            .walk()
            .map(|entry| entry.path.len())
            .max()
            .unwrap_or_default();
        let moved = longest.saturating_sub(from.1.len()).saturating_add(to.len());
        if moved > MAX_PATH {
            Err(FsError::Invalid)
        } else {
            Ok(())
        }
    }

    /// Writes the new domain and paths into every entry of a moved tree.
    fn relabel(&mut self, node: &mut Node, from: &str, to: (&str, &str), revision: u64) {
        let domain = self.shared_domain(to.0);
        let mut stack = vec![node];
        while let Some(node) = stack.pop() {
            let tail = node.entry.path.strip_prefix(from).unwrap_or_default();
            let path: Arc<str> = format!("{}{tail}", to.1).into();
            if let Some(names) = self.links.get_mut(&node.entry.meta.inode)
                && names.remove(&(Arc::clone(&node.entry.domain), Arc::clone(&node.entry.path)))
            {
                names.insert((Arc::clone(&domain), Arc::clone(&path)));
            }
            let entry = Arc::make_mut(&mut node.entry);
            (entry.domain, entry.path, entry.revision) = (Arc::clone(&domain), path, revision);
            stack.extend(node.children.values_mut());
        }
    }

    pub(super) fn link(&mut self, from: (&str, &str), to: (&str, &str), now: i64) -> Result<(), FsError> {
        Self::check(to.0, to.1)?;
        let source = Arc::clone(&self.node(from.0, from.1)?.entry);
        if source.is_dir() {
            return Err(FsError::IsADirectory);
        }
        match self.node(to.0, to.1) {
            Ok(_) => return Err(FsError::Exists),
            Err(FsError::NotFound) => {}
            Err(error) => return Err(error),
        }
        let (parent, _) = split(to.1).ok_or(FsError::Exists)?;
        self.directory_mut(to.0, parent)?;
        // A number that another file has as well, by the wish of some caller, cannot name a group of links.
        let taken = self.links.contains_key(&source.meta.inode) && self.link_count(&source) == 1;
        let inode = if taken {
            self.choose_inode(0, None)
        } else {
            source.meta.inode
        };
        let revision = self.bump();
        let original = Arc::make_mut(&mut self.node_mut(from.0, from.1)?.entry);
        (original.meta.inode, original.revision) = (inode, revision);
        let mut entry = original.clone();
        (entry.domain, entry.path) = (self.shared_domain(to.0), to.1.into());
        let entry = Arc::new(entry);
        self.place(to.0, to.1, &entry)?;
        let names = self.links.entry(inode).or_default();
        names.insert((Arc::clone(&source.domain), Arc::clone(&source.path)));
        names.insert((Arc::clone(&entry.domain), Arc::clone(&entry.path)));
        self.entries = self.entries.saturating_add(1);
        self.touch_parent(to.0, to.1, now);
        Ok(())
    }
}
