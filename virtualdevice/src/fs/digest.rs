//! Whether two phones hold the same, without holding either in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::{Entry, Fs, Kind, map};

/// One entry of a phone, reduced to what a backup must bring back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The domain.
    pub domain: Arc<str>,
    /// The path in the domain; empty for its root.
    pub path: Arc<str>,
    /// What it is, with a hash of its contents.
    pub kind: DigestKind,
}

/// What a [`Digest`] is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DigestKind {
    /// A regular file.
    File {
        /// Bytes.
        len: u64,
        /// SHA-256 of the contents.
        sha256: [u8; 32],
    },
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Symlink(String),
}

impl Digest {
    /// Hashes one entry.
    ///
    /// # Errors
    /// The disk's, for contents in the spool folder.
    pub fn of(entry: &Entry) -> io::Result<Self> {
        let kind = match &entry.kind {
            Kind::File(content) => DigestKind::File {
                len: content.len(),
                sha256: content.sha256()?,
            },
            Kind::Directory => DigestKind::Directory,
            Kind::Symlink(target) => DigestKind::Symlink(target.clone()),
        };
        Ok(Self {
            domain: Arc::clone(&entry.domain),
            path: Arc::clone(&entry.path),
            kind,
        })
    }
}

/// Everything on the phone that belongs into a backup ([`map::in_backup`]), each file hashed as a stream, in the order
/// of [`Fs::snapshot`]. Costs a read of every byte on the phone.
///
/// # Errors
/// The disk's, for contents in the spool folder.
pub fn tree_digest(fs: &Fs) -> io::Result<Vec<Digest>> {
    let snapshot = fs.snapshot();
    snapshot
        .iter()
        .filter(|entry| map::in_backup(&entry.domain, &entry.path))
        .map(|entry| Digest::of(entry))
        .collect()
}

/// How two phones differ; made by [`diff`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeDiff {
    /// Only on the first phone.
    pub missing: Vec<Digest>,
    /// Only on the second.
    pub extra: Vec<Digest>,
    /// On both with other contents, kind or target: first's and second's.
    pub changed: Vec<(Digest, Digest)>,
}

impl TreeDiff {
    /// Whether the two phones hold the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.changed.is_empty()
    }
}

impl fmt::Display for TreeDiff {
    /// The counts, and the first few paths of each list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (self.missing.len(), self.extra.len(), self.changed.len());
        write!(f, "{} missing, {} extra, {} changed", counts.0, counts.1, counts.2)?;
        let missing = self.missing.iter().map(|digest| ('-', digest));
        let extra = self.extra.iter().map(|digest| ('+', digest));
        let changed = self.changed.iter().map(|(_, digest)| ('!', digest));
        for (mark, digest) in missing.take(5).chain(extra.take(5)).chain(changed.take(5)) {
            write!(f, "\n  {mark} {} {:?}", digest.domain, digest.path)?;
        }
        Ok(())
    }
}

/// Compares two phones, in any order of entries.
#[must_use]
pub fn diff(first: &[Digest], second: &[Digest]) -> TreeDiff {
    let key = |digest: &Digest| (Arc::clone(&digest.domain), Arc::clone(&digest.path));
    let mut rest: BTreeMap<_, _> = second.iter().map(|digest| (key(digest), digest)).collect();
    let mut found = TreeDiff::default();
    for digest in first {
        match rest.remove(&key(digest)) {
            None => found.missing.push(digest.clone()),
            Some(other) if other.kind != digest.kind => found.changed.push((digest.clone(), other.clone())),
            Some(_) => {}
        }
    }
    found.extra = rest.into_values().cloned().collect();
    found
}
