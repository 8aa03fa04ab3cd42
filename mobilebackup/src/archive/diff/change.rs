//! What has changed, one by one and counted.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::archive::select::Category;
use crate::archive::statistics::MAX_NAMES;
use crate::archive::{FileEntry, Kind};

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// It is in the newer backup only.
    Added,
    /// It is in the older backup only.
    Removed,
    /// It is in both and differs.
    Changed,
    /// It is in both, with the same record under another key.
    Rewrapped,
    /// It is in both, and nothing tells them apart.
    Same,
}

/// By what a change is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum How {
    /// A file became a folder, a link, or the other way round.
    Kind,
    /// Rights.
    Mode,
    /// Owner or group.
    Owner,
    /// Recorded length.
    Size,
    /// Time of the last change of the contents.
    Modified,
    /// Protection class.
    ProtectionClass,
    /// Where a link points to.
    LinkTarget,
    /// Extended attributes.
    Attributes,
    /// Digest of the payload, under the same key.
    Digest,
    /// The wrapped key.
    Key,
    /// The contents, read and compared.
    Contents,
}

/// What comparing contents has shown.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "contents")]
#[non_exhaustive]
pub enum ContentsVerdict {
    /// They are the same, byte for byte.
    Same,
    /// They differ.
    Different,
    /// They could not be read in one of the backups, or in both.
    Unreadable {
        /// What went wrong with the older one.
        older: Option<String>,
        /// What went wrong with the newer one.
        newer: Option<String>,
    },
}

/// An entry as one of the backups has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Side {
    /// Recorded length in bytes.
    pub size: u64,
    /// Unix seconds of the last change of the contents.
    pub modified: Option<i64>,
}

impl Side {
    pub(super) const fn of(entry: &FileEntry) -> Self {
        Self {
            size: entry.size,
            modified: entry.modified,
        }
    }

    pub(super) const fn new(size: u64, modified: Option<i64>) -> Self {
        Self { size, modified }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Change {
    /// What happened.
    pub what: What,
    /// Domain of the entry.
    pub domain: String,
    /// Path of the entry.
    pub path: String,
    /// The app it belongs to, if it is an app's.
    pub app: Option<String>,
    /// The category that fits it best.
    pub category: Option<Category>,
    /// What it is: in the newer backup, or in the older one if it was removed.
    pub kind: Kind,
    /// In the older backup.
    pub before: Option<Side>,
    /// In the newer backup.
    pub after: Option<Side>,
    /// By what the change is known; empty unless the entry is in both.
    pub how: Vec<How>,
    /// What the contents say, if they were compared.
    pub contents: Option<ContentsVerdict>,
}

/// How many entries of each kind of difference there are. Bytes are recorded lengths of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Tally {
    /// Entries in the newer backup only.
    pub added: u64,
    /// Entries in the older backup only.
    pub removed: u64,
    /// Entries in both that differ.
    pub changed: u64,
    /// Entries in both with the same record under another key.
    pub rewrapped: u64,
    /// Entries in both that nothing tells apart.
    pub same: u64,
    /// Files that should have been compared by their contents and could not be read. Among the changed ones.
    pub unreadable: u64,
    /// Bytes of added files.
    pub bytes_added: u64,
    /// Bytes of removed files.
    pub bytes_removed: u64,
    /// Bytes of changed files in the older backup.
    pub bytes_before: u64,
    /// Bytes of changed files in the newer backup.
    pub bytes_after: u64,
}

impl Tally {
    /// Whether nothing was added, removed or changed.
    #[must_use]
    pub const fn is_unchanged(&self) -> bool {
        self.added == 0 && self.removed == 0 && self.changed == 0
    }

    fn count(&mut self, change: &Change) {
        let bytes = |side: Option<Side>| match change.kind {
            Kind::File => side.map_or(0, |side| side.size),
            _ => 0,
        };
        let (before, after) = (bytes(change.before), bytes(change.after));
        let counter = match change.what {
            What::Added => {
                self.bytes_added = self.bytes_added.saturating_add(after);
                &mut self.added
            }
            What::Removed => {
                self.bytes_removed = self.bytes_removed.saturating_add(before);
                &mut self.removed
            }
            What::Changed => {
                self.bytes_before = self.bytes_before.saturating_add(before);
                self.bytes_after = self.bytes_after.saturating_add(after);
                &mut self.changed
            }
            What::Rewrapped => &mut self.rewrapped,
            What::Same => &mut self.same,
        };
        *counter = counter.saturating_add(1);
        if matches!(change.contents, Some(ContentsVerdict::Unreadable { .. })) {
            self.unreadable = self.unreadable.saturating_add(1);
        }
    }
}

/// Tallies by name. Names beyond [`MAX_NAMES`] are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Tallies {
    /// Each name and its tally.
    pub named: BTreeMap<String, Tally>,
    /// What has a name that did not fit any more.
    pub rest: Tally,
}

impl Tallies {
    /// The tally of a name, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tally> {
        self.named.get(name)
    }

    fn count(&mut self, name: &str, change: &Change) {
        let is_full = self.named.len() >= MAX_NAMES;
        match self.named.get_mut(name) {
            Some(tally) => tally.count(change),
            None if is_full => self.rest.count(change),
            None => self.named.entry(name.to_owned()).or_default().count(change),
        }
    }
}

/// How much is different, in all and by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// All of it.
    pub total: Tally,
    /// By domain.
    pub domains: Tallies,
    /// By category; what fits none is under `other`.
    pub categories: BTreeMap<Cow<'static, str>, Tally>,
    /// By app, with extensions and groups as far as their names tell.
    pub apps: Tallies,
    /// Rows of the older index that make no sense and were not compared.
    pub skipped_older: u64,
    /// Rows of the newer index that make no sense and were not compared.
    pub skipped_newer: u64,
}

impl Summary {
    pub(super) fn count(&mut self, change: &Change) {
        self.total.count(change);
        self.domains.count(&change.domain, change);
        let category = change.category.map_or("other", Category::as_str);
        self.categories.entry(category.into()).or_default().count(change);
        if let Some(app) = &change.app {
            self.apps.count(app, change);
        }
    }
}
