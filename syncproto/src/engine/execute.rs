//! Carrying a plan out: batches in the order of section 7.2, outcomes back in, and the state that follows from them.
//! Holds no replica and does no I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::canon;
use super::decide::Fate;
use super::draft::{Planned, needs};
use super::id::{EngineId, Side, Sides};
use super::identity::{Is, Item};
use super::plan::{Action, Plan, Verb};
use super::settle::put;
use super::state::{Held, Kind, PairState, Pending, Pushed, TOMBSTONE, Tombstone, Why};
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
    /// What is written. Relations name records by the side's identifiers, new ones of the same session by their engine id.
    pub change: Change,
}

/// Some writes that may go in one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The writes.
    pub writes: Vec<Write>,
    /// The entities in it.
    pub entities: BTreeSet<String>,
    /// Whether no later batch writes these entities (deletions apart).
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
    planned: Planned,
    at: Sides<usize>,
    natives: Sides<HashMap<EngineId, String>>,
    results: Sides<HashMap<EngineId, Outcome>>,
    /// Records with relations to something that is not there.
    dangling: Sides<BTreeSet<EngineId>>,
    size: usize,
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
            let later: BTreeSet<&str> = rest
                .clone()
                .filter(|action| action.verb != Verb::Delete)
                .map(|action| action.entity.as_str())
                .collect();
            let level: BTreeSet<&str> = batch.iter().map(|action| action.entity.as_str()).collect();
            let completes = level.is_disjoint(&later);
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
                _ => drop(
                    self.natives
                        .get_mut(side)
                        .remove(&id)
                        .filter(|native| *native != id.to_string()),
                ),
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

    fn done(&self, side: Side, id: &EngineId) -> bool {
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
                Some(row) => drop(rows.insert(item.id, row)),
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

/// One row after the session.
struct Rowing<'a> {
    execution: &'a Execution,
    item: &'a Item,
    at: usize,
    number: u32,
    /// The side of which nobody knows yet whether its writes became visible.
    doubt: Option<Side>,
}

impl Rowing<'_> {
    /// Whether what was done on a side is known to be there.
    fn confirms(&self, side: Side) -> bool {
        self.execution.planned.capabilities.get(side).confirms && self.doubt != Some(side)
    }

    fn row(&self) -> Option<super::state::Row> {
        let verdict = self.execution.planned.verdicts.get(self.at)?;
        match verdict.fate {
            Fate::Leave => self.as_it_is(),
            Fate::Go => self.gone(),
            Fate::Deselect => self.deselected(),
            Fate::Stay => self.stays(verdict),
        }
    }

    fn as_it_is(&self) -> Option<super::state::Row> {
        let mut row = self.item.row.clone();
        for side in Side::BOTH {
            match self.item.is.get(side) {
                Is::There => *row.seen.get_mut(side) = self.item.now.get(side).clone(),
                Is::Leaving => {}
                Is::Absent | Is::Gone | Is::Lost => {
                    *row.native.get_mut(side) = None;
                    *row.seen.get_mut(side) = None;
                }
            }
        }
        let nowhere = Side::BOTH.iter().all(|side| row.native.get(*side).is_none());
        (!nowhere).then_some(row)
    }

    /// Whether a deletion was done, with what it belongs to or alone.
    fn deleted(&self, side: Side) -> bool {
        let execution = self.execution;
        let mut at = self.at;
        for _ in 0..16 {
            let Some(item) = execution.planned.people.items.get(at) else {
                return false;
            };
            let deletes = execution
                .planned
                .verdicts
                .get(at)
                .is_some_and(|verdict| matches!(verdict.fate, Fate::Go | Fate::Deselect));
            if execution.done(side, &item.id) && deletes {
                return true;
            }
            let owner = [side, side.other()]
                .iter()
                .find_map(|side| execution.planned.people.owner(at, *side));
            match owner {
                Some(owner)
                    if item
                        .fields(side)
                        .or(item.any())
                        .is_some_and(|fields| fields.kind() == crate::schema::EntityKind::Child) =>
                {
                    at = owner
                }
                _ => return false,
            }
        }
        false
    }

    fn gone(&self) -> Option<super::state::Row> {
        let mut row = self.item.row.clone();
        let mut left = false;
        let mut pending = false;
        for side in Side::BOTH {
            if !self.item.there(side) {
                *row.native.get_mut(side) = None;
                *row.seen.get_mut(side) = None;
                continue;
            }
            if !self.deleted(side) {
                left = true;
                *row.seen.get_mut(side) = self.item.now.get(side).clone();
                continue;
            }
            *row.seen.get_mut(side) = None;
            if self.confirms(side) {
                *row.native.get_mut(side) = None;
            } else {
                pending = true;
                let agreed = row.agreed.clone();
                *row.more().pending.get_mut(side) = Some(Pending {
                    kind: Kind::Delete,
                    before: self.item.now.get(side).clone(),
                    agreed,
                    pushes: vec![Pushed {
                        wanted: None,
                        other: None,
                    }],
                    session: self.number,
                });
            }
        }
        if pending && !left {
            row.agreed = Sides::default();
        }
        (left || pending).then_some(row)
    }

    fn deselected(&self) -> Option<super::state::Row> {
        let mut row = self.as_it_is()?;
        if self.deleted(Side::Device) {
            row.native.device = None;
            row.seen.device = None;
            row.agreed = Sides::default();
            row.more = None;
            if let Some(now) = &self.item.now.computer {
                let content = canon::record_hash(now).0;
                row.more().held.device = Some(Held {
                    why: Why::OutOfSelection,
                    content,
                });
            }
        }
        Some(row)
    }

    fn stays(&self, verdict: &super::decide::Verdict) -> Option<super::state::Row> {
        let execution = self.execution;
        let item = self.item;
        let mut row = item.row.clone();
        let mut finals: Sides<Option<Arc<Fields>>> = Sides::default();
        let mut wrote = Sides::<bool>::default();
        let mut missing: Sides<Vec<String>> = Sides::default();
        for side in Side::BOTH {
            let want = verdict.want.get(side).as_ref();
            let done = execution.done(side, &item.id);
            let there = item.there(side);
            let open = match want {
                Some(want) if there => needs(item, want, side, &execution.planned.capabilities),
                _ => Vec::new(),
            };
            let written = done && (!there || !open.is_empty());
            *wrote.get_mut(side) = written;
            *finals.get_mut(side) = match (there, written, want) {
                (_, true, Some(want)) => Some(self.predicted(side, want)),
                (true, ..) => item.now.get(side).clone(),
                _ => None,
            };
            if !written {
                *missing.get_mut(side) = open;
            } else if execution.dangling.get(side).contains(&item.id)
                && let Some(want) = want
            {
                *missing.get_mut(side) = self.dangling_groups(side, want);
            }
            *row.native.get_mut(side) = match finals.get(side) {
                Some(_) => execution
                    .natives
                    .get(side)
                    .get(&item.id)
                    .map(|native| native.as_str().into()),
                None => None,
            };
            *row.seen.get_mut(side) = finals.get(side).clone();
            self.rejected(&mut row, side, want.is_some() && !there);
        }
        if finals.device.is_none() && finals.computer.is_none() {
            return None;
        }
        let before = row.agreed.clone();
        match (&finals.device, &finals.computer) {
            (Some(_), Some(_)) => agree(&mut row, &finals, &missing, &verdict.moved),
            _ => row.agreed = Sides::default(),
        }
        for side in Side::BOTH {
            if *wrote.get(side) && !self.confirms(side) {
                self.push(&mut row, side, &finals, &before);
            }
        }
        row.tidy();
        Some(row)
    }

    fn predicted(&self, side: Side, want: &Arc<Fields>) -> Arc<Fields> {
        let predicted = self.execution.planned.capabilities.get(side).mask.predict(want);
        if predicted == **want {
            Arc::clone(want)
        } else {
            Arc::new(predicted)
        }
    }

    /// Groups that went out with relations left out.
    fn dangling_groups(&self, side: Side, want: &Fields) -> Vec<String> {
        let lost = |one: &Ref| matches!(one, Ref::Known(id) if self.execution.natives.get(side).get(id).is_none());
        let keys = want.iter().filter(|(_, datum)| datum.refs().iter().any(lost));
        keys.map(|(key, _)| want.group_of(key).to_owned()).collect()
    }

    fn rejected(&self, row: &mut super::state::Row, side: Side, create: bool) {
        let refused = self.execution.results.get(side).get(&self.item.id) == Some(&Outcome::NotAccepted);
        if !(refused && create) {
            return;
        }
        let times = row.rejects(side, "*").saturating_add(1);
        row.set_rejects(side, "*", times);
        if times >= 2
            && let Some(now) = self.item.now.get(side.other())
        {
            let content = canon::record_hash(now).0;
            *row.more().held.get_mut(side) = Some(Held {
                why: Why::Quarantined,
                content,
            });
        }
    }

    /// The side does not say what it made of the write.
    fn push(
        &self,
        row: &mut super::state::Row,
        side: Side,
        finals: &Sides<Option<Arc<Fields>>>,
        agreed: &Sides<Option<Arc<Fields>>>,
    ) {
        let there = self.item.there(side);
        let before = self.item.now.get(side).clone().filter(|_| there);
        let pushed = Pushed {
            wanted: finals.get(side).clone(),
            other: finals.get(side.other()).clone(),
        };
        let number = self.number;
        let pending = row.more().pending.get_mut(side);
        let pending = pending.get_or_insert_with(|| Pending {
            kind: if there { Kind::Update } else { Kind::Create },
            before,
            agreed: agreed.clone(),
            pushes: Vec::new(),
            session: number,
        });
        pending.session = number;
        pending.pushes.push(pushed);
    }
}

/// Moves what is agreed in those groups for which everything was done.
fn agree(
    row: &mut super::state::Row,
    finals: &Sides<Option<Arc<Fields>>>,
    missing: &Sides<Vec<String>>,
    moved: &BTreeSet<String>,
) {
    for group in moved {
        if Side::BOTH.iter().any(|side| missing.get(*side).contains(group)) {
            continue;
        }
        for side in Side::BOTH {
            if let Some(values) = finals.get(side).clone() {
                put(row.agreed.get_mut(side), &values, group, Some(&values));
            }
        }
    }
    for side in Side::BOTH {
        // Both exist and were looked at: what nothing was said about is agreed to be as it is not.
        let model = finals.get(side).clone();
        if let Some(model) = model {
            let agreed = row
                .agreed
                .get_mut(side)
                .get_or_insert_with(|| Arc::new(Fields::empty(&model.entity)));
            if **agreed == *model {
                *agreed = model;
            }
        }
    }
}
