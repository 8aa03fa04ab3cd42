//! What a session will do, as data that can be printed, kept, approved and refused.

mod json;

use std::fmt;
use std::sync::Arc;

use super::canon::{RecordHash, record_hash};
use super::id::{EngineId, Side, Sides};
use super::value::{Fields, groups};
use super::verdict::{Note, NoteKind};
use crate::DataClass;

/// Characters of a title in a table.
const WIDTH: usize = 40;

/// What is done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// It is made.
    Create,
    /// It is written over.
    Update,
    /// It is removed.
    Delete,
}

impl Verb {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One write to one side. A first sync has one for every record: it holds what cannot be derived, and shares the rest.
#[derive(Clone, PartialEq)]
pub struct Action {
    /// What is done.
    pub verb: Verb,
    /// The record.
    pub id: EngineId,
    /// The side's own identifier; `None` for a new record.
    pub native: Option<Arc<str>>,
    /// It goes or comes with what it belongs to.
    pub part: bool,
    /// Deletions that the user asked for do not count for the brakes.
    pub asked_for: bool,
    /// Order in which it is sent: phase, level of the entity, depth in folders. On the computer a part has that of its whole.
    pub(crate) order: (u8, u8, u16),
    /// The item that it is about.
    pub(crate) at: usize,
    /// Its place among what is written together with its whole; zero for a whole.
    pub(crate) place: u8,
    /// What is sent; what is known of a record that is deleted.
    pub(crate) fields: Arc<Fields>,
    /// The record as people know it.
    pub(crate) known: Arc<Fields>,
    /// The groups of keys that change; `None` for all that are sent.
    pub(crate) groups: Option<Box<[String]>>,
}

impl Action {
    /// Its entity.
    #[must_use]
    pub fn entity(&self) -> &str {
        &self.fields.entity
    }

    /// What a person knows it by.
    #[must_use]
    pub fn title(&self) -> String {
        self.known.title()
    }

    /// The groups of keys that change: all of them for a new record, none for a deletion.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        match &self.groups {
            Some(groups) => groups.iter().map(String::as_str).collect(),
            None => groups([Some(&*self.fields)]),
        }
    }

    /// The hash of what is sent.
    pub(crate) fn content(&self) -> RecordHash {
        record_hash(&self.fields)
    }
}

/// Names no title: records are people's data.
impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {:?}",
            self.verb.as_str(),
            self.entity(),
            self.id,
            self.groups()
        )
    }
}

/// Why a plan is not carried out unless somebody says so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// It is the first time, and nobody said what is to happen.
    FirstSync,
    /// So many records of a side would be deleted.
    Deletions {
        /// The side.
        side: Side,
        /// Records to be deleted.
        deletions: usize,
        /// Records there are.
        of: usize,
    },
    /// A side had records and now has none.
    Emptied {
        /// The side.
        side: Side,
        /// Records there were.
        had: usize,
    },
    /// So many records of a side would be changed.
    Changes {
        /// The side.
        side: Side,
        /// Records to be changed.
        changes: usize,
        /// Records there are.
        of: usize,
    },
    /// Conflicts wait for an answer.
    Asks {
        /// How many.
        conflicts: usize,
    },
    /// A side did not tell everything it meant to. Cannot be approved.
    Incomplete {
        /// The side.
        side: Side,
    },
    /// Records of a side could not be read. Cannot be approved.
    Undecodable {
        /// The side.
        side: Side,
        /// Their identifiers there.
        ids: Vec<String>,
    },
    /// More than 5 percent of what was sent last time was not accepted.
    NotAccepted {
        /// Percent.
        percent: u8,
    },
    /// A replacement of the device broke off: what is missing there was not deleted by anybody.
    UnfinishedReplacement,
}

impl Stop {
    /// Whether an approval of the plan's hash is enough to go on.
    #[must_use]
    pub const fn can_be_approved(&self) -> bool {
        !matches!(
            self,
            Self::Incomplete { .. } | Self::Undecodable { .. } | Self::FirstSync | Self::UnfinishedReplacement
        )
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstSync => f.write_str("first sync: choose whether to merge or which side is to be replaced"),
            Self::Deletions { side, deletions, of } => {
                write!(f, "{deletions} of {of} records would be deleted on the {side}")
            }
            Self::Emptied { side, had } => write!(f, "the {side} had {had} records and now has none"),
            Self::Changes { side, changes, of } => {
                write!(f, "{changes} of {of} records would be changed on the {side}")
            }
            Self::Asks { conflicts } => write!(f, "{conflicts} conflicts wait for an answer"),
            Self::Incomplete { side } => write!(f, "the {side} did not tell everything; nothing can be written"),
            Self::Undecodable { side, ids } => write!(
                f,
                "{} records of the {side} could not be read; nothing can be written",
                ids.len()
            ),
            Self::NotAccepted { percent } => write!(f, "{percent} percent of what was sent last time was not accepted"),
            Self::UnfinishedReplacement => {
                f.write_str("a replacement of the device broke off: replace it again, or restore it")
            }
        }
    }
}

/// The hash that an approval is given for: if the plan changes, it is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanHash(pub [u8; 32]);

impl fmt::Display for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a session will do: a pure function of what is known, what both sides told, and the policy.
#[derive(Clone, PartialEq)]
pub struct Plan {
    /// The class.
    pub class: DataClass,
    /// Writes to each side, in the order in which they are sent.
    pub actions: Sides<Vec<Action>>,
    /// Everything on the device is removed first.
    pub clear: bool,
    /// What keeps it from being carried out.
    pub stops: Vec<Stop>,
    /// Writes that were left out because their side is not to be written to.
    pub withheld: usize,
    pub(crate) notes: Vec<Note>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("class", &self.class)
            .field("actions", &self.actions)
            .field("stops", &self.stops)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.clear && Side::BOTH.iter().all(|side| self.actions.get(*side).is_empty())
    }

    /// The hash of everything in it.
    #[must_use]
    pub fn hash(&self) -> PlanHash {
        let mut hash = json::Hashed::default();
        // Feeding a hash does not fail.
        let _ = json::plan(self, &mut hash);
        PlanHash(hash.finish())
    }

    /// Conflicts: the record, the group of keys, and whose value is taken; `None` leaves both.
    pub fn conflicts(&self) -> impl Iterator<Item = (EngineId, &str, Option<Side>)> {
        self.notes.iter().filter_map(|note| match &note.what {
            NoteKind::Conflict { group, taken } => Some((note.id, group.as_str(), *taken)),
            NoteKind::DeleteEdit { deleted, stays } => Some((
                note.id,
                "*",
                stays.map(|stays| if stays { deleted.other() } else { *deleted }),
            )),
            _ => None,
        })
    }

    /// Everything somebody should know of, a line each, by what people know the record by.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        self.notes.iter().map(ToString::to_string)
    }

    /// How many writes of each kind a side gets, parts not counted.
    #[must_use]
    pub fn count(&self, side: Side, verb: Verb) -> usize {
        let actions = self.actions.get(side).iter();
        actions.filter(|action| action.verb == verb && !action.part).count()
    }

    /// As JSON, keys and records in a fixed order: the same plan gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        // Writing to a text does not fail.
        let _ = json::plan(self, &mut out);
        out
    }
}

/// A table, for people: a line per write, then what somebody should know of.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            writeln!(f, "{}: nothing to do", self.class.data_type())?;
        }
        if self.clear {
            writeln!(f, "device    clear   everything")?;
        }
        for side in Side::BOTH {
            for action in self.actions.get(side) {
                let entity = action.entity().rsplit('.').next().unwrap_or_default();
                let groups = if action.verb == Verb::Update {
                    action.groups().join(", ")
                } else {
                    String::new()
                };
                let title = shown(&action.title(), WIDTH);
                writeln!(
                    f,
                    "{:<9} {:<7} {entity:<15} {title:<WIDTH$} {groups}",
                    side.to_string(),
                    action.verb.as_str()
                )?;
            }
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        self.stops.iter().try_for_each(|stop| writeln!(f, "stop: {stop}"))
    }
}

impl Note {
    /// What people know the record by; its identifier where it has no title.
    pub(crate) fn name(&self) -> String {
        let title = shown(&self.title, 2 * WIDTH);
        if title.is_empty() { self.id.to_string() } else { title }
    }
}

/// A title in one line of limited length: it came from a device or a file.
fn shown(title: &str, limit: usize) -> String {
    let plain = |c: &char| {
        !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    title.chars().filter(plain).take(limit).collect()
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match &self.what {
            NoteKind::Conflict {
                group,
                taken: Some(side),
            } => write!(f, "{name}: {group} was edited on both sides; the {side}'s is taken"),
            NoteKind::Conflict { group, taken: None } => {
                write!(f, "{name}: {group} was edited on both sides; each keeps its own")
            }
            NoteKind::DeleteEdit { deleted, stays } => {
                let what = match stays {
                    Some(true) => "it comes back",
                    Some(false) => "it goes",
                    None => "both sides stay as they are",
                };
                write!(
                    f,
                    "{name}: deleted on the {deleted} and edited on the {}; {what}",
                    deleted.other()
                )
            }
            NoteKind::Revived => write!(f, "{name}: deleted with something in it that is needed; it comes back"),
            NoteKind::Cycle => write!(f, "{name}: moved into itself by two moves; the device's move is undone"),
            NoteKind::Assumed => write!(f, "{name}: who it is on the other side is an assumption"),
            NoteKind::Held { side, why } => write!(f, "{name}: not sent to the {side}: {why}"),
            NoteKind::NotAccepted { side, group } => write!(f, "{name}: the {side} does not take {group}"),
            NoteKind::Rewritten { side, group } => write!(f, "{name}: the {side} rewrites {group}"),
        }
    }
}
