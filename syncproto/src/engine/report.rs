//! What the sides told in a session: the input of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::id::{Side, Sides};
use super::mask::Mask;
use super::value::{Fields, Names};
use crate::record::{Change, Changes, NOT_SYNCABLE};

/// How much of a side a report covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// Everything: what is not there is gone.
    Everything,
    /// What changed since the last commit.
    Changes,
}

/// How a side stands to the last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Nobody else committed since: what it says can be held against what was agreed.
    Own,
    /// The session before, of which nobody knew whether it was committed, was: its journal counts.
    Doubtful,
    /// Somebody else committed since, or the side cannot tell.
    Foreign,
    /// The side started afresh: its identifiers may be new, and absence proves nothing.
    Reset,
}

/// What is true of a replica, whatever it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub(crate) mask: Mask,
    pub(crate) confirms: bool,
    pub(crate) ids_are_reused: bool,
    pub(crate) nameless_children: bool,
    pub(crate) can_clear: bool,
    pub(crate) read_only: bool,
}

impl Capabilities {
    /// A folder or file on the computer: keeps everything and says truly what became of each write.
    #[must_use]
    pub fn of_files() -> Self {
        Self {
            confirms: true,
            ..Self::default()
        }
    }

    /// A device over the sync service: keeps what is known of current software, drops bad records without a word, numbers
    /// records by row, and can be cleared.
    #[must_use]
    pub fn of_devices() -> Self {
        Self {
            mask: Mask::of_devices(),
            ids_are_reused: true,
            can_clear: true,
            ..Self::default()
        }
    }

    /// What it holds and rewrites.
    #[must_use]
    pub fn mask(self, mask: Mask) -> Self {
        Self { mask, ..self }
    }

    /// Whether an outcome proves that the write is there. If not, it is looked up in a later report.
    #[must_use]
    pub fn confirms(self, confirms: bool) -> Self {
        Self { confirms, ..self }
    }

    /// Whether an identifier may name another record some day: row numbers.
    #[must_use]
    pub fn ids_are_reused(self, reused: bool) -> Self {
        Self {
            ids_are_reused: reused,
            ..self
        }
    }

    /// Whether identifiers of children hold for one scan only, because a `TEL` line is just a line. They are then paired
    /// by content with the children that their record had.
    ///
    /// Such a replica may tell changes alone ([`Extent::Changes`]). A record that is told brings all its children anew, and
    /// those that it had and does not bring are deleted; a record that is told as deleted takes its children along; the
    /// children of a record that is not told stay as they were, and so do their identifiers. So a record is also to be told
    /// when nothing but the names of its lines changed: a file that was written to since the last report, by this engine
    /// too. Deletions of single children are not told, and a child is never told without the record it belongs to.
    #[must_use]
    pub fn nameless_children(self, nameless: bool) -> Self {
        Self {
            nameless_children: nameless,
            ..self
        }
    }

    /// Whether it can forget everything at once.
    #[must_use]
    pub fn can_clear(self, can_clear: bool) -> Self {
        Self { can_clear, ..self }
    }

    /// Whether it takes no writes: a backup.
    #[must_use]
    pub fn read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }
}

/// What one side told.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub(crate) extent: Extent,
    pub(crate) standing: Standing,
    pub(crate) complete: bool,
    /// Records by the side's own identifiers; `None` is a deletion.
    pub(crate) records: BTreeMap<Arc<str>, Option<Arc<Fields>>>,
    /// Records that are there and take no part.
    pub(crate) withheld: BTreeSet<Arc<str>>,
    /// Records that could not be read.
    pub(crate) undecodable: Vec<String>,
    /// Class version and build of a device.
    pub(crate) build: Option<String>,
}

impl Report {
    /// A report with nothing in it yet.
    #[must_use]
    pub fn new(extent: Extent, standing: Standing) -> Self {
        Self {
            extent,
            standing,
            complete: true,
            records: BTreeMap::new(),
            withheld: BTreeSet::new(),
            undecodable: Vec::new(),
            build: None,
        }
    }

    /// Whether the side told everything it meant to. Yes.
    #[must_use]
    pub fn complete(self, complete: bool) -> Self {
        Self { complete, ..self }
    }

    /// What the side says about its software; a change makes the identifiers be checked.
    #[must_use]
    pub fn build(self, build: Option<String>) -> Self {
        Self { build, ..self }
    }

    /// Takes a batch in. What comes later about the same record counts.
    pub(crate) fn add(&mut self, changes: Changes, names: &mut Names) {
        for (id, change) in changes {
            if let Change::Upsert(record) = &change
                && record.attributes.contains_key(NOT_SYNCABLE)
            {
                self.records.remove(id.as_str());
                self.withheld.insert(id.as_str().into());
                continue;
            }
            let fields = match &change {
                Change::Delete => None,
                Change::Upsert(record) => match Fields::read(record, names) {
                    Some(fields) => Some(Arc::new(fields)),
                    None => {
                        self.undecodable.push(id.as_str().to_owned());
                        continue;
                    }
                },
            };
            self.records.insert(id.as_str().into(), fields);
        }
    }

    /// How many records it speaks of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it speaks of none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// What both sides told.
#[derive(Debug)]
pub struct Reports {
    pub(crate) sides: Sides<Report>,
    names: Names,
}

impl Reports {
    /// Nothing was told yet.
    #[must_use]
    pub fn new(device: Report, computer: Report) -> Self {
        Self {
            sides: Sides { device, computer },
            names: Names::default(),
        }
    }

    /// Takes a batch of a side in.
    pub fn add(&mut self, side: Side, changes: Changes) {
        self.sides.get_mut(side).add(changes, &mut self.names);
    }

    /// One side's report.
    #[must_use]
    pub const fn get(&self, side: Side) -> &Report {
        self.sides.get(side)
    }

    /// One side's report, to say how it stands.
    pub const fn get_mut(&mut self, side: Side) -> &mut Report {
        self.sides.get_mut(side)
    }
}
