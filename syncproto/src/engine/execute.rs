//! Carrying a plan out: batches in the order of section 7.2, outcomes back in, and the state that follows from them.
//! Holds no replica and does no I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::decide::Fate;
use super::draft::Planned;
use super::id::{EngineId, Side, Sides};
use super::identity::{Is, Item};
use super::plan::{Action, Plan, Verb};
use super::rows::Rowing;
use super::state::{PairState, TOMBSTONE, Tombstone};
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

/// Some writes that may go in one message.
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

/// A plan that is being carried out.
#[derive(Debug)]
pub struct Execution {
    pub(super) planned: Planned,
    pub(super) at: Sides<usize>,
    pub(super) natives: Sides<HashMap<EngineId, String>>,
    pub(super) results: Sides<HashMap<EngineId, Outcome>>,
    /// Records with relations to something that is not there.
    pub(super) dangling: Sides<BTreeSet<EngineId>>,
    pub(super) size: usize,
}

impl Execution {
    /// Starts with nothing done.
    #[must_use]
    pub fn new(planned: Planned) -> Self {
        let natives = Sides::of(|side| {
            let items = planned.people.items.iter().filter(|item| item.there(side));
            let native = |item: &Item| Some((item.id, item.row.native.get(side).as_deref()?.to_owned()));
            items.filter_map(native).collect()
        });
        let size = planned
            .state
            .bisect
            .as_ref()
            .map_or(BATCH, |bisect| (bisect.size as usize).clamp(1, BATCH));
        Self {
            planned,
            at: Sides::default(),
            natives,
            results: Sides::default(),
            dangling: Sides::default(),
            size,
        }
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        self.planned.plan()
    }

    /// The next writes to a side; `None` when all were handed out.
    pub fn next_batch(&mut self, side: Side) -> Option<Batch> {
        loop {
            let actions = self.planned.plan.actions.get(side);
            let start = *self.at.get(side);
            let first = actions.get(start)?;
            let same = |action: &&Action| action.order == first.order;
            let take = actions.iter().skip(start).take(self.size).take_while(same).count();
            let end = start.saturating_add(take);
            let batch: Vec<Action> = actions.iter().skip(start).take(take).cloned().collect();
            let rest = actions.iter().skip(end);
            let (phase, level, _) = first.order;
            let completes = !rest
                .clone()
                .any(|action| action.verb != Verb::Delete && (action.order.0, action.order.1) == (phase, level));
            let more = rest.clone().next().is_some();
            *self.at.get_mut(side) = end;
            let writes: Vec<Write> = batch.iter().filter_map(|action| self.write(side, action)).collect();
            if writes.is_empty() {
                continue;
            }
            let entities = writes.iter().map(|write| write.entity.clone()).collect();
            return Some(Batch {
                writes,
                entities,
                completes,
                more,
            });
        }
    }

    /// One write; `None` where it cannot be done now, because what it belongs to is not there, or is done by another.
    fn write(&mut self, side: Side, action: &Action) -> Option<Write> {
        let at = *self.planned.people.at.get(&action.id)?;
        let native = self.natives.get(side).get(&action.id).cloned();
        let id = RecordId::new(native.unwrap_or_else(|| action.id.to_string())).ok()?;
        let change = match action.verb {
            // What goes with its owner is not sent.
            Verb::Delete if action.part => return None,
            Verb::Delete => Change::Delete,
            Verb::Create | Verb::Update => {
                let want = self.planned.verdicts.get(at)?.want.get(side).clone()?;
                if action.verb == Verb::Create && !self.anchored(side, &want) {
                    return None;
                }
                Change::Upsert(self.translate(side, action.id, &want))
            }
        };
        Some(Write {
            engine: action.id,
            id,
            new: action.verb == Verb::Create,
            entity: action.entity.clone(),
            groups: action.groups.clone(),
            change,
        })
    }

    /// Whether what a new record belongs to is there.
    fn anchored(&self, side: Side, want: &Fields) -> bool {
        let there = |one: &Ref| match one {
            Ref::Known(id) => self.reachable(side, id).is_some(),
            Ref::Unknown(_) => true,
        };
        let series = want.get("main event").and_then(|series| series.refs().first());
        [want.owner(), series].into_iter().flatten().all(there)
    }

    /// What a side calls a record, or will in this session.
    fn reachable(&self, side: Side, id: &EngineId) -> Option<String> {
        if let Some(native) = self.natives.get(side).get(id) {
            return Some(native.clone());
        }
        let failed = matches!(
            self.results.get(side).get(id),
            Some(Outcome::NotAccepted | Outcome::Failed { .. })
        );
        let at = *self.planned.people.at.get(id)?;
        let creates = self
            .planned
            .verdicts
            .get(at)
            .is_some_and(|verdict| verdict.fate == Fate::Stay);
        let item = self.planned.people.items.get(at)?;
        let wanted = creates && *item.is.get(side) == Is::Absent && !failed && item.row.held(side).is_none();
        let level = self.level(side, id)?;
        (wanted && level).then(|| id.to_string())
    }

    /// Whether the record is among those that were handed out or are about to be.
    fn level(&self, side: Side, id: &EngineId) -> Option<bool> {
        let actions = self.planned.plan.actions.get(side);
        let at = actions
            .iter()
            .take(*self.at.get(side))
            .rev()
            .take(self.size)
            .any(|action| action.id == *id);
        Some(at)
    }

    fn translate(&mut self, side: Side, id: EngineId, want: &Fields) -> crate::record::Record {
        let mut dangling = false;
        let record = want.write(|one| match one {
            Ref::Known(id) => {
                let native = self.reachable(side, id);
                dangling |= native.is_none();
                native
            }
            Ref::Unknown(native) => Some(native.to_string()),
        });
        if dangling {
            self.dangling.get_mut(side).insert(id);
        }
        record
    }

    /// What became of a batch, or of single records of it at the commit; what is not mentioned was not done.
    pub fn handle_outcomes(&mut self, side: Side, outcomes: impl IntoIterator<Item = (EngineId, Outcome)>) {
        for (id, outcome) in outcomes {
            match &outcome {
                Outcome::Done { native: Some(native) } => {
                    self.natives.get_mut(side).insert(id, native.as_str().to_owned());
                }
                Outcome::Done { native: None } => {}
                // A record that was there before is there still.
                _ => {
                    let items = &self.planned.people;
                    let item = items.at.get(&id).and_then(|at| items.items.get(*at));
                    if !item.is_some_and(|item| item.there(side)) {
                        self.natives.get_mut(side).remove(&id);
                    }
                }
            }
            self.results.get_mut(side).insert(id, outcome);
        }
    }

    /// How many writes a side was given and did not do.
    #[must_use]
    pub fn failed(&self, side: Side) -> usize {
        let results = self.results.get(side).values();
        results
            .filter(|outcome| !matches!(outcome, Outcome::Done { .. }))
            .count()
    }

    pub(super) fn done(&self, side: Side, id: &EngineId) -> bool {
        matches!(self.results.get(side).get(id), Some(Outcome::Done { .. }))
    }

    /// The state after what was done so far. Nothing is agreed that was not done on both sides. `now` in seconds since 1970.
    #[must_use]
    pub fn state(&self, now: u64) -> PairState {
        self.state_but(now, None)
    }

    /// The state for the journal, to be entered when the device turns out to have committed and nobody knows which of the
    /// computer's staged writes became visible: those are looked up in the computer's next full report, and planned again
    /// where they did not.
    #[must_use]
    pub fn doubtful_state(&self, now: u64) -> PairState {
        self.state_but(now, Some(Side::Computer))
    }

    fn state_but(&self, now: u64, doubt: Option<Side>) -> PairState {
        let mut state = self.planned.state.clone();
        state.sessions = state.sessions.saturating_add(1);
        state.build_sessions = state.build_sessions.saturating_add(1);
        if state.since_full == 0 {
            state.full_at = now;
        }
        let pushed = self.results.device.len();
        let refused = self.failed(Side::Device);
        let percent = refused.saturating_mul(100).checked_div(pushed).unwrap_or(0);
        state.not_accepted_percent = u8::try_from(percent).unwrap_or(100);
        state
            .tombstones
            .retain(|tombstone| now.saturating_sub(tombstone.at) < TOMBSTONE);
        for key in &self.planned.closed {
            state.conflicts.remove(key);
        }
        state
            .conflicts
            .extend(self.planned.kept.iter().map(|(key, kept)| (key.clone(), kept.clone())));
        let mut rows = BTreeMap::new();
        for (at, item) in self.planned.people.items.iter().enumerate() {
            let row = Rowing {
                execution: self,
                item,
                at,
                number: state.sessions,
                doubt,
            }
            .row();
            match row {
                Some(row) => drop(rows.insert(item.id, std::sync::Arc::new(row))),
                None => state.tombstones.push(Tombstone {
                    id: item.id,
                    native: item.row.native.clone(),
                    at: now,
                }),
            }
        }
        state.conflicts.retain(|(id, _), _| rows.contains_key(id));
        state.rows = rows;
        state
    }
}
