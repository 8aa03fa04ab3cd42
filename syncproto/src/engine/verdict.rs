//! What was decided about every record, and what somebody should know of it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::id::{EngineId, Side, Sides};
use super::identity::People;
use super::value::{Fields, groups};

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is on both sides afterwards, where they can hold it.
    Stay,
    /// It is on no side afterwards.
    Go,
    /// Nothing is done.
    Leave,
    /// It is removed from the device and stays on the computer.
    Deselect,
}

/// Groups whose agreed values move when what is planned for them was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// None of them.
    None,
    /// These.
    Some(Box<BTreeSet<String>>),
    /// Whatever there is: both sides have the same, or one gets a copy.
    All,
}

impl Moved {
    pub(crate) fn insert(&mut self, group: &str) {
        match self {
            Self::None => *self = Self::Some(Box::new(BTreeSet::from([group.to_owned()]))),
            Self::Some(groups) => drop(groups.insert(group.to_owned())),
            Self::All => {}
        }
    }

    /// The groups, where all of them are those of some records.
    pub(crate) fn of<'a>(&'a self, records: [Option<&'a Fields>; 2]) -> Vec<&'a str> {
        match self {
            Self::None => Vec::new(),
            Self::Some(groups) => groups.iter().map(String::as_str).collect(),
            Self::All => groups(records),
        }
    }
}

/// What was decided about a record.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) fate: Fate,
    pub(crate) want: Sides<Option<Arc<Fields>>>,
    pub(crate) moved: Moved,
}

/// The verdicts by item. A record that is on both sides as it was agreed has none, until something around it asks for one:
/// it stays as it is. In most sessions that is nearly all of them.
#[derive(Debug, Default)]
pub(crate) struct Verdicts(Vec<Option<Box<Verdict>>>);

impl Verdicts {
    pub(crate) fn none(count: usize) -> Self {
        Self(std::iter::repeat_with(|| None).take(count).collect())
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Verdict> {
        self.0.get(at)?.as_deref()
    }

    /// A verdict, made where there was none; `None` where there is no such item.
    pub(crate) fn touch(&mut self, people: &People, at: usize) -> Option<&mut Verdict> {
        let item = people.items.get(at)?;
        let new = || {
            Box::new(Verdict {
                fate: Fate::Stay,
                want: Sides::of(|side| item.now(side).cloned()),
                moved: Moved::None,
            })
        };
        Some(self.0.get_mut(at)?.get_or_insert_with(new))
    }

    pub(crate) fn push(&mut self, verdict: Verdict) {
        self.0.push(Some(Box::new(verdict)));
    }

    pub(crate) fn fate(&self, at: usize) -> Fate {
        match self.0.get(at) {
            Some(Some(verdict)) => verdict.fate,
            Some(None) => Fate::Stay,
            None => Fate::Leave,
        }
    }

    /// What a side is to have.
    pub(crate) fn want<'a>(&'a self, people: &'a People, at: usize, side: Side) -> Option<&'a Arc<Fields>> {
        match self.get(at) {
            Some(verdict) => verdict.want.get(side).as_ref(),
            None => people.items.get(at)?.now(side),
        }
    }

    /// The items that have one, in order.
    pub(crate) fn items(&self) -> impl Iterator<Item = usize> {
        let all = (0_usize..).zip(&self.0);
        all.filter(|(_, verdict)| verdict.is_some()).map(|(at, _)| at)
    }
}

/// A decision somebody should know of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Note {
    pub(crate) id: EngineId,
    /// What a person knows the record by.
    pub(crate) title: String,
    pub(crate) what: NoteKind,
}

/// Names no title: records are people's data.
impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.id, self.what)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NoteKind {
    Conflict { group: String, taken: Option<Side> },
    DeleteEdit { deleted: Side, stays: Option<bool> },
    Revived,
    Cycle,
    Assumed,
    Held { side: Side, why: &'static str },
    NotAccepted { side: Side, group: String },
    Rewritten { side: Side, group: String },
}
