//! Carrying a plan out: batches in the order of section 7.2, outcomes back in, and the state that follows from them.
//! Holds no replica and does no I/O.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::draft::Planned;
use super::id::{EngineId, Side, Sides};
use super::identity::ById;
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
    at: Sides<usize>,
    /// New records that were handed out. Until their side says how it calls them they are called by their engine id.
    given: Sides<HashSet<EngineId>>,
    natives: Sides<ById<Arc<str>>>,
    results: Sides<ById<Outcome>>,
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
            at: Sides::default(),
            given: Sides::default(),
            natives: Sides::default(),
            results: Sides::default(),
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
            let start = *self.at.get(side);
            let actions = self.planned.plan.actions.get(side);
            let first = actions.get(start)?;
            let (order, (phase, level, _)) = (first.order, first.order);
            let suspect = |action: &Action| side == Side::Device && self.suspects.contains(&action.id);
            let suspected = suspect(first);
            let size = if suspected { self.size } else { BATCH };
            let rest = actions.iter().skip(start).take(size);
            let take = rest
                .take_while(|action| action.order == order && suspect(action) == suspected)
                .count();
            let end = start.saturating_add(take);
            let next = actions.get(end);
            let more = next.is_some();
            let completes =
                next.is_none_or(|next| next.verb == Verb::Delete || (next.order.0, next.order.1) != (phase, level));
            let new = actions.iter().skip(start).take(take);
            let new: Vec<EngineId> = new.filter(|one| one.verb == Verb::Create).map(|one| one.id).collect();
            *self.at.get_mut(side) = end;
            self.given.get_mut(side).extend(new);
            let writes: Vec<Write> = (start..end).filter_map(|at| self.write(side, at)).collect();
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

    /// What a side calls a record: what it said in this session, or what is known.
    pub(super) fn native(&self, side: Side, id: &EngineId) -> Option<&Arc<str>> {
        let known = || {
            let item = self.planned.people.items.get(*self.planned.people.at.get(id)?)?;
            item.row.native.get(side).as_ref().filter(|_| item.there(side))
        };
        self.natives.get(side).get(id).or_else(known)
    }

    /// One write; `None` where it cannot be done now, because what it belongs to is not there, or is done by another.
    fn write(&mut self, side: Side, action: usize) -> Option<Write> {
        let action = self.planned.plan.actions.get(side).get(action)?;
        // What goes with its owner is not sent.
        if action.verb == Verb::Delete && action.part {
            return None;
        }
        let (verb, engine, entity, groups) = (action.verb, action.id, action.entity.clone(), action.groups.clone());
        let at = *self.planned.people.at.get(&engine)?;
        let native = self.native(side, &engine).map(ToString::to_string);
        let id = RecordId::new(native.unwrap_or_else(|| engine.to_string())).ok()?;
        let change = match verb {
            Verb::Delete => Change::Delete,
            Verb::Create | Verb::Update => {
                let want = Arc::clone(self.planned.verdicts.want(&self.planned.people, at, side)?);
                if verb == Verb::Create && !self.anchored(side, &want) {
                    self.given.get_mut(side).remove(&engine);
                    return None;
                }
                Change::Upsert(self.translate(side, &want))
            }
        };
        Some(Write {
            engine,
            id,
            new: verb == Verb::Create,
            entity,
            groups,
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
        if let Some(native) = self.native(side, id) {
            return Some(native.to_string());
        }
        let refused = matches!(
            self.results.get(side).get(id),
            Some(Outcome::NotAccepted | Outcome::Failed { .. })
        );
        (self.given.get(side).contains(id) && !refused).then(|| id.to_string())
    }

    /// The record in the side's identifiers, without relations to what is not there.
    fn translate(&self, side: Side, want: &Fields) -> crate::record::Record {
        want.write(|one| match one {
            Ref::Known(id) => self.reachable(side, id),
            Ref::Unknown(native) => Some(native.to_string()),
        })
    }

    /// What became of a batch, or of single records of it at the commit; what is not mentioned was not done.
    pub fn handle_outcomes(&mut self, side: Side, outcomes: impl IntoIterator<Item = (EngineId, Outcome)>) {
        for (id, outcome) in outcomes {
            match &outcome {
                Outcome::Done { native: Some(native) } => {
                    self.natives.get_mut(side).insert(id, native.as_str().into());
                }
                Outcome::Done { native: None } => {}
                // A record that was there before is there still, as its row says; a new one was not made.
                _ => drop(self.natives.get_mut(side).remove(&id)),
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

    /// Whether a side said that it does not take a record.
    pub(super) fn refused(&self, side: Side, id: &EngineId) -> bool {
        self.results.get(side).get(id) == Some(&Outcome::NotAccepted)
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
        let pushed = self.results.device.len();
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
