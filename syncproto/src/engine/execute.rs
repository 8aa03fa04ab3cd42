//! Carrying a plan out: batches in the order of section 7.2, outcomes back in, and the state that follows from them.
//! Holds no replica and does no I/O.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::draft::Planned;
use super::id::{EngineId, Side, Sides};
use super::plan::{Action, Plan, Verb};
use super::rows::Rowing;
use super::state::{PairState, Row, TOMBSTONE, Tombstone};
use super::value::{Fields, Ref};
use crate::record::{Change, RecordId};

/// Records per batch.
pub const BATCH: usize = 500;

/// One write of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The record's engine id.
    pub engine: EngineId,
    /// The side's own identifier, or the engine id as text for a new record.
    pub id: RecordId,
    /// Whether it is new there. A replica takes the same new record twice for one.
    pub new: bool,
    /// Its entity.
    pub entity: String,
    /// The groups of keys in which the record changes there; all of them for a new one, none for a deletion. A device is not
    /// sent a picture that it has.
    pub groups: Vec<String>,
    /// What is written. Relations name records by the side's identifiers, new ones of the same session by their engine id.
    pub change: Change,
}

impl Write {
    /// Whether an update leaves a contact's picture as it is: a device is then told to keep its own, instead of being sent
    /// it again. Spec: mobilesync, section 7.4.
    #[must_use]
    pub fn keeps_image(&self) -> bool {
        let update = !self.new && matches!(self.change, Change::Upsert(_));
        update && !self.groups.iter().any(|group| group == "image")
    }
}

/// Some writes that may go in one message. On the computer a contact's parts follow it directly: where it fails, they fail
/// with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The writes.
    pub writes: Vec<Write>,
    /// The entities in it.
    pub entities: BTreeSet<String>,
    /// Whether no later batch writes these entities, or others that a device takes as one step with them, as it does contacts
    /// and groups (deletions apart).
    pub completes: bool,
    /// Whether another batch follows.
    pub more: bool,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was taken; a new record has this identifier there.
    Done {
        /// The side's own identifier, for a new record.
        native: Option<RecordId>,
    },
    /// The side dropped it, silently or not.
    NotAccepted,
    /// It failed: a file changed meanwhile, a disk is full.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// How far a write got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Mark {
    /// It was not handed out, or there is none.
    #[default]
    None,
    /// A new record was handed out. Until its side says how it calls it, it is called by its engine id.
    Given,
    Done,
    NotAccepted,
    Failed,
}

/// What became of the writes to one side, by item.
#[derive(Debug, Default)]
struct Progress {
    at: usize,
    marks: Vec<Mark>,
    /// What the side said how it calls its new records; as long as the last of them.
    natives: Vec<Option<Arc<str>>>,
}

impl Progress {
    fn mark(&self, at: usize) -> Mark {
        self.marks.get(at).copied().unwrap_or_default()
    }

    fn set(&mut self, at: usize, mark: Mark) {
        if self.marks.len() <= at {
            self.marks.resize(at.saturating_add(1), Mark::None);
        }
        if let Some(place) = self.marks.get_mut(at) {
            *place = mark;
        }
    }

    fn name(&mut self, at: usize, native: Option<Arc<str>>) {
        if native.is_some() && self.natives.len() <= at {
            self.natives.resize(at.saturating_add(1), None);
        }
        if let Some(place) = self.natives.get_mut(at) {
            *place = native;
        }
    }
}

/// A plan that is being carried out.
#[derive(Debug)]
pub struct Execution {
    pub(super) planned: Planned,
    progress: Sides<Progress>,
    /// Records of a batch that broke a session, and how many of them go in one.
    suspects: HashSet<EngineId>,
    size: usize,
}

impl Execution {
    /// Starts with nothing done.
    #[must_use]
    pub fn new(planned: Planned) -> Self {
        let bisect = planned.state.bisect.as_ref();
        Self {
            suspects: bisect.into_iter().flat_map(|bisect| &bisect.ids).copied().collect(),
            size: bisect.map_or(BATCH, |bisect| (bisect.size as usize).clamp(1, BATCH)),
            planned,
            progress: Sides::default(),
        }
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        self.planned.plan()
    }

    /// The next writes to a side; `None` when all were handed out.
    ///
    /// The computer gets a contact's parts directly after it, and where they fit into one batch, in the same.
    pub fn next_batch(&mut self, side: Side) -> Option<Batch> {
        loop {
            let start = self.progress.get(side).at;
            let end = self.end(side, start)?;
            let actions = self.planned.plan.actions.get(side);
            let order = actions.get(start)?.order;
            let next = actions.get(end);
            let more = next.is_some();
            let completes =
                next.is_none_or(|next| next.verb == Verb::Delete || (next.order.0, next.order.1) != (order.0, order.1));
            let progress = self.progress.get_mut(side);
            progress.at = end;
            for action in actions.iter().take(end).skip(start) {
                if action.verb == Verb::Create {
                    progress.set(action.at, Mark::Given);
                }
            }
            let mut writes = Vec::with_capacity(end.saturating_sub(start));
            for at in start..end {
                writes.extend(self.write(side, at));
            }
            if writes.is_empty() {
                continue;
            }
            let mut entities = BTreeSet::new();
            for write in &writes {
                if !entities.contains(&write.entity) {
                    entities.insert(write.entity.clone());
                }
            }
            return Some(Batch {
                writes,
                entities,
                completes,
                more,
            });
        }
    }

    /// Where the batch that begins at `start` ends; `None` when there is none.
    fn end(&self, side: Side, start: usize) -> Option<usize> {
        let actions = self.planned.plan.actions.get(side);
        let first = actions.get(start)?;
        let suspect = |action: &Action| side == Side::Device && self.suspects.contains(&action.id);
        let suspected = suspect(first);
        let size = if suspected { self.size } else { BATCH };
        let rest = actions.iter().skip(start).take(size);
        let take = rest
            .take_while(|action| action.order == first.order && suspect(action) == suspected)
            .count();
        let end = start.saturating_add(take);
        // A whole whose parts do not fit any more begins the next one.
        let whole = |at: &usize| actions.get(*at).is_none_or(|action| action.place == 0);
        let cut = (start.saturating_add(1)..=end).rev().find(whole);
        Some(cut.unwrap_or(end))
    }

    /// What a side calls a record: what it said in this session, or what is known.
    pub(super) fn native(&self, side: Side, id: &EngineId) -> Option<&Arc<str>> {
        self.native_at(side, *self.planned.people.at.get(id)?)
    }

    fn native_at(&self, side: Side, at: usize) -> Option<&Arc<str>> {
        let known = || {
            let item = self.planned.people.items.get(at)?;
            item.row.native.get(side).as_ref().filter(|_| item.there(side))
        };
        let said = self.progress.get(side).natives.get(at);
        said.and_then(Option::as_ref).or_else(known)
    }

    /// One write; `None` where it cannot be done now, because what it belongs to is not there, or is done by another.
    fn write(&mut self, side: Side, action: usize) -> Option<Write> {
        let action = self.planned.plan.actions.get(side).get(action)?;
        // What goes with its owner is not sent.
        if action.verb == Verb::Delete && action.part {
            return None;
        }
        let at = action.at;
        let id = match self.native_at(side, at) {
            Some(native) => RecordId::new(&**native),
            None => RecordId::new(action.id.to_string()),
        };
        let id = id.ok()?;
        let change = match action.verb {
            Verb::Delete => Change::Delete,
            Verb::Create | Verb::Update => {
                let want = self.planned.verdicts.want(&self.planned.people, at, side)?;
                if action.verb == Verb::Create && !self.anchored(side, want) {
                    self.progress.get_mut(side).set(at, Mark::None);
                    return None;
                }
                Change::Upsert(self.translate(side, want))
            }
        };
        Some(Write {
            engine: action.id,
            id,
            new: action.verb == Verb::Create,
            entity: action.entity().to_owned(),
            groups: action.groups().into_iter().map(str::to_owned).collect(),
            change,
        })
    }

    /// Whether what a new record belongs to is there.
    pub(super) fn anchored(&self, side: Side, want: &Fields) -> bool {
        let there = |one: &Ref| match one {
            Ref::Known(id) => self.reachable(side, id),
            Ref::Unknown(_) => true,
        };
        let series = want.get("main event").and_then(|series| series.refs().first());
        [want.owner(), series].into_iter().flatten().all(there)
    }

    /// Whether a side has a record, or will have it in this session.
    fn reachable(&self, side: Side, id: &EngineId) -> bool {
        let Some(at) = self.planned.people.at.get(id) else {
            return false;
        };
        // What is done without a name of its own goes by the engine's.
        let given = matches!(self.progress.get(side).mark(*at), Mark::Given | Mark::Done);
        (given && self.new_there(side, *at)) || self.native_at(side, *at).is_some()
    }

    /// Whether a record was not on a side when the session began.
    fn new_there(&self, side: Side, at: usize) -> bool {
        let item = self.planned.people.items.get(at);
        item.is_some_and(|item| !item.there(side))
    }

    /// The record in the side's identifiers, without relations to what is not there.
    fn translate(&self, side: Side, want: &Fields) -> crate::record::Record {
        want.write(|one| match one {
            Ref::Known(id) => match self.native(side, id) {
                Some(native) => Some(native.to_string()),
                None => self.reachable(side, id).then(|| id.to_string()),
            },
            Ref::Unknown(native) => Some(native.to_string()),
        })
    }

    /// What became of a batch, or of single records of it at the commit; what is not mentioned was not done.
    pub fn handle_outcomes(&mut self, side: Side, outcomes: impl IntoIterator<Item = (EngineId, Outcome)>) {
        for (id, outcome) in outcomes {
            let Some(at) = self.planned.people.at.get(&id).copied() else {
                continue;
            };
            let progress = self.progress.get_mut(side);
            match outcome {
                Outcome::Done { native } => {
                    if let Some(native) = native {
                        progress.name(at, Some(native.as_str().into()));
                    }
                    progress.set(at, Mark::Done);
                }
                // A record that was there before is there still, as its row says; a new one was not made.
                Outcome::NotAccepted => {
                    progress.name(at, None);
                    progress.set(at, Mark::NotAccepted);
                }
                Outcome::Failed { .. } => {
                    progress.name(at, None);
                    progress.set(at, Mark::Failed);
                }
            }
        }
    }

    /// How many writes a side was given and did not do.
    #[must_use]
    pub fn failed(&self, side: Side) -> usize {
        let marks = self.progress.get(side).marks.iter();
        marks
            .filter(|mark| matches!(mark, Mark::NotAccepted | Mark::Failed))
            .count()
    }

    fn is_marked(&self, side: Side, id: &EngineId, mark: Mark) -> bool {
        let at = self.planned.people.at.get(id);
        at.is_some_and(|at| self.progress.get(side).mark(*at) == mark)
    }

    pub(super) fn done(&self, side: Side, id: &EngineId) -> bool {
        self.is_marked(side, id, Mark::Done)
    }

    /// Whether a side said that it does not take a record.
    pub(super) fn refused(&self, side: Side, id: &EngineId) -> bool {
        self.is_marked(side, id, Mark::NotAccepted)
    }

    /// The state after what was done so far. Nothing is agreed that was not done on both sides. `now` in seconds since 1970.
    #[must_use]
    pub fn state(&self, now: u64) -> PairState {
        self.after(self.planned.state.clone(), now, None)
    }

    /// [`state`](Self::state), when nothing else is wanted of the execution.
    #[must_use]
    pub fn into_state(self, now: u64) -> PairState {
        self.into_parts(now).0
    }

    /// [`into_state`](Self::into_state), and the plan that was carried out.
    #[must_use]
    pub fn into_parts(mut self, now: u64) -> (PairState, Plan) {
        let before = std::mem::replace(&mut self.planned.state, PairState::new(crate::DataClass::Contacts));
        let state = self.after(before, now, None);
        (state, self.planned.plan)
    }

    /// The state for the journal, to be entered when the device turns out to have committed and nobody knows which of the
    /// computer's staged writes became visible: those are looked up in the computer's next full report, and planned again
    /// where they did not. Shares the rows of records that did not change with [`state`](Self::state).
    #[must_use]
    pub fn doubtful_state(&self, now: u64) -> PairState {
        self.after(self.planned.state.clone(), now, Some(Side::Computer))
    }

    fn after(&self, mut state: PairState, now: u64, doubt: Option<Side>) -> PairState {
        let planned = &self.planned;
        state.sessions = state.sessions.saturating_add(1);
        state.build_sessions = state.build_sessions.saturating_add(1);
        // A session that ends did not break, and one that is not stopped needs no other replacement.
        state.bisect = None;
        state.replacing = false;
        if state.since_full == 0 {
            state.full_at = now;
        }
        let marks = self.progress.device.marks.iter();
        let pushed = marks.filter(|mark| !matches!(mark, Mark::None | Mark::Given)).count();
        let percent = self
            .failed(Side::Device)
            .saturating_mul(100)
            .checked_div(pushed)
            .unwrap_or(0);
        state.not_accepted_percent = u8::try_from(percent).unwrap_or(100);
        state
            .tombstones
            .retain(|tombstone| now.saturating_sub(tombstone.at) < TOMBSTONE);
        for key in &planned.closed {
            state.conflicts.remove(key);
        }
        state
            .conflicts
            .extend(planned.kept.iter().map(|(key, kept)| (key.clone(), kept.clone())));
        let mut rows: Vec<(EngineId, Arc<Row>)> = Vec::with_capacity(planned.people.items.len());
        for (at, item) in planned.people.items.iter().enumerate() {
            let row = Rowing {
                execution: self,
                item,
                at,
                number: state.sessions,
                doubt,
            };
            match row.row() {
                Some(row) => rows.push((item.id, row)),
                None => state.tombstones.push(Tombstone {
                    id: item.id,
                    native: item.row.native.clone(),
                    at: now,
                }),
            }
        }
        state.rows = BTreeMap::from_iter(rows);
        let rows = &state.rows;
        state.conflicts.retain(|(id, _), _| rows.contains_key(id));
        state
    }
}
