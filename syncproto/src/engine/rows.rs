//! The row of every record after a session: what was seen, what is agreed, what is pending. Spec: mobilesync, section 15.3,
//! step 4.

use std::sync::Arc;

use super::canon;
use super::drafting::needs;
use super::execute::Execution;
use super::id::{Side, Sides};
use super::identity::{Is, Item};
use super::settle::put;
use super::state::{Held, Kind, Pending, Pushed, Row, Why};
use super::value::{Fields, Ref};
use super::verdict::{Fate, Moved, Verdict};
use crate::schema::EntityKind;

/// One row after the session.
pub(super) struct Rowing<'a> {
    pub(super) execution: &'a Execution,
    pub(super) item: &'a Item,
    pub(super) at: usize,
    pub(super) number: u32,
    /// The side of which nobody knows yet whether its writes became visible.
    pub(super) doubt: Option<Side>,
}

impl Rowing<'_> {
    /// Whether what was done on a side is known to be there.
    fn confirms(&self, side: Side) -> bool {
        self.execution.planned.capabilities.get(side).confirms && self.doubt != Some(side)
    }

    /// The row; where nothing was decided about the record, what it was.
    pub(super) fn row(&self) -> Option<Arc<Row>> {
        let Some(verdict) = self.execution.planned.verdicts.get(self.at) else {
            return self.quiet();
        };
        let row = match verdict.fate {
            Fate::Leave => self.as_it_is(),
            Fate::Go => self.gone(),
            Fate::Deselect => self.deselected(),
            Fate::Stay => self.stays(verdict),
        };
        row.map(|row| self.kept(row))
    }

    /// The row that there was, where nothing changed: a store writes rows that are others.
    fn kept(&self, row: Row) -> Arc<Row> {
        if row == *self.item.row {
            Arc::clone(&self.item.row)
        } else {
            Arc::new(row)
        }
    }

    fn quiet(&self) -> Option<Arc<Row>> {
        if !Side::BOTH.iter().any(|side| self.item.told(*side)) {
            return Some(Arc::clone(&self.item.row));
        }
        self.as_it_is().map(|row| self.kept(row))
    }

    fn as_it_is(&self) -> Option<Row> {
        let mut row = Row::clone(&self.item.row);
        for side in Side::BOTH {
            match self.item.is.get(side) {
                Is::There => *row.seen.get_mut(side) = self.item.now(side).cloned(),
                Is::Leaving => {}
                Is::Absent | Is::Gone | Is::Lost => {
                    *row.native.get_mut(side) = None;
                    *row.seen.get_mut(side) = None;
                    // What went while it was left alone is no deletion to tell later.
                    if *self.item.is.get(side) == Is::Gone {
                        row.agreed = Sides::default();
                    }
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
            let deletes = matches!(execution.planned.verdicts.fate(at), Fate::Go | Fate::Deselect);
            if execution.done(side, &item.id) && deletes {
                return true;
            }
            let owner = [side, side.other()]
                .iter()
                .find_map(|side| execution.planned.people.owner(at, *side));
            match owner {
                Some(owner) if item.kind() == EntityKind::Child => at = owner,
                _ => return false,
            }
        }
        false
    }

    fn gone(&self) -> Option<Row> {
        let mut row = Row::clone(&self.item.row);
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
                *row.seen.get_mut(side) = self.item.now(side).cloned();
                continue;
            }
            *row.seen.get_mut(side) = None;
            if self.confirms(side) {
                *row.native.get_mut(side) = None;
            } else {
                pending = true;
                let agreed = row.agreed.clone();
                *row.more().pending.get_mut(side) = Some(Box::new(Pending {
                    kind: Kind::Delete,
                    before: self.item.now(side).cloned(),
                    agreed,
                    pushes: vec![Pushed {
                        wanted: None,
                        other: None,
                    }],
                    session: self.number,
                }));
            }
        }
        if pending && !left {
            row.agreed = Sides::default();
        }
        (left || pending).then_some(row)
    }

    fn deselected(&self) -> Option<Row> {
        let mut row = self.as_it_is()?;
        if self.deleted(Side::Device) {
            row.native.device = None;
            row.seen.device = None;
            row.agreed = Sides::default();
            row.more = None;
            if let Some(now) = self.item.now(Side::Computer) {
                let content = canon::record_hash(now).0;
                row.more().held.device = Some(Box::new(Held {
                    why: Why::OutOfSelection,
                    content,
                }));
            }
        }
        Some(row)
    }

    fn stays(&self, verdict: &Verdict) -> Option<Row> {
        let execution = self.execution;
        let item = self.item;
        let mut row = Row::clone(&item.row);
        let mut finals: Sides<Option<Arc<Fields>>> = Sides::default();
        let mut wrote = Sides::<bool>::default();
        let mut missing: Sides<Vec<String>> = Sides::default();
        for side in Side::BOTH {
            let want = verdict.want.get(side).as_ref();
            let there = item.there(side);
            // The computer gets parts together with their whole: one without it is nothing.
            let alone = side == Side::Computer && !there && want.is_some_and(|want| !execution.anchored(side, want));
            let done = execution.done(side, &item.id) && !alone;
            let open = match want {
                Some(want) if there => needs(item, want, side, &execution.planned.capabilities),
                _ => Vec::new(),
            };
            let written = done && (!there || !open.is_empty());
            *wrote.get_mut(side) = written;
            *finals.get_mut(side) = match (there, written, want) {
                (_, true, Some(want)) => Some(self.predicted(side, want)),
                (true, ..) => item.now(side).cloned(),
                _ => None,
            };
            if !written {
                *missing.get_mut(side) = open;
            } else if let Some(want) = want {
                *missing.get_mut(side) = self.dangling_groups(side, want);
            }
            *row.native.get_mut(side) = match finals.get(side) {
                Some(_) => execution.native(side, &item.id).cloned(),
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

    /// Without relations to what did not get to the side.
    fn without_lost(&self, side: Side, fields: &Arc<Fields>) -> Arc<Fields> {
        let mut refs = fields.iter().flat_map(|(_, datum)| datum.refs());
        if refs.any(|one| self.lost(side, one)) {
            Arc::new(fields.without(|one| self.lost(side, one)))
        } else {
            Arc::clone(fields)
        }
    }

    /// What the side has after a write: without relations to what did not get there, as the mask says.
    fn predicted(&self, side: Side, want: &Arc<Fields>) -> Arc<Fields> {
        let want = &self.without_lost(side, want);
        let mask = &self.execution.planned.capabilities.get(side).mask;
        if mask.keeps(want) {
            return Arc::clone(want);
        }
        let predicted = mask.predict(want);
        if predicted == **want {
            Arc::clone(want)
        } else {
            Arc::new(predicted)
        }
    }

    fn lost(&self, side: Side, one: &Ref) -> bool {
        matches!(one, Ref::Known(id) if self.execution.native(side, id).is_none())
    }

    /// Groups that went out with relations left out, or to what the side then did not take.
    fn dangling_groups(&self, side: Side, want: &Fields) -> Vec<String> {
        let keys = want
            .iter()
            .filter(|(_, datum)| datum.refs().iter().any(|one| self.lost(side, one)));
        keys.map(|(key, _)| want.group_of(key).to_owned()).collect()
    }

    fn rejected(&self, row: &mut Row, side: Side, create: bool) {
        let refused = self.execution.refused(side, &self.item.id);
        if !(refused && create) {
            return;
        }
        let times = row.rejects(side, "*").saturating_add(1);
        row.set_rejects(side, "*", times);
        if times >= 2
            && let Some(now) = self.item.now(side.other())
        {
            let content = canon::record_hash(now).0;
            *row.more().held.get_mut(side) = Some(Box::new(Held {
                why: Why::Quarantined,
                content,
            }));
        }
    }

    /// The side does not say what it made of the write.
    fn push(
        &self,
        row: &mut Row,
        side: Side,
        finals: &Sides<Option<Arc<Fields>>>,
        agreed: &Sides<Option<Arc<Fields>>>,
    ) {
        let there = self.item.there(side);
        let before = self.item.now(side).cloned();
        let pushed = Pushed {
            wanted: finals.get(side).clone(),
            // What this push means there: a member that did not get to this side is still to be sent when only this one of
            // several pushes turns out to have been taken.
            other: finals
                .get(side.other())
                .as_ref()
                .map(|other| self.without_lost(side, other)),
        };
        let number = self.number;
        let pending = row.more().pending.get_mut(side);
        match pending {
            Some(pending) => {
                pending.session = number;
                pending.pushes.push(pushed);
            }
            None => {
                *pending = Some(Box::new(Pending {
                    kind: if there { Kind::Update } else { Kind::Create },
                    before,
                    agreed: agreed.clone(),
                    pushes: vec![pushed],
                    session: number,
                }));
            }
        }
    }
}

/// Moves what is agreed in those groups for which everything was done.
fn agree(row: &mut Row, finals: &Sides<Option<Arc<Fields>>>, missing: &Sides<Vec<String>>, moved: &Moved) {
    let all = *moved == Moved::All && Side::BOTH.iter().all(|side| missing.get(*side).is_empty());
    if all {
        row.agreed = finals.clone();
        return;
    }
    for group in moved.of([finals.device.as_deref(), finals.computer.as_deref()]) {
        if Side::BOTH
            .iter()
            .any(|side| missing.get(*side).iter().any(|missing| missing == group))
        {
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
            // A value that is left out where it is the default is no other: from now on there is one spelling to compare.
            if canon::same(Some(agreed), Some(&model), &|_| true) {
                *agreed = model;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::state::PairState;
    use crate::engine::{
        Capabilities, Execution, Extent, FirstSync, Inputs, Outcome, Policy, Report, Reports, SessionId, Standing,
        Verify, plan,
    };
    use crate::record::{Change, Changes, Record, RecordId};
    use crate::{DataClass, entity};

    fn id(text: &str) -> RecordId {
        RecordId::new(text).unwrap()
    }

    fn people() -> Changes {
        let ann = Record::new(entity::CONTACT).with("first name", "Ann");
        let number = Record::new(entity::PHONE_NUMBER)
            .with("contact", vec!["1".into()])
            .with("value", "+49 89 1234567");
        Changes::from_iter([(id("1"), Change::Upsert(ann)), (id("3/1/0"), Change::Upsert(number))])
    }

    fn reports(device: Option<Changes>, computer: Option<Changes>) -> Reports {
        let report = |told: &Option<Changes>| {
            let extent = if told.is_some() {
                Extent::Everything
            } else {
                Extent::Changes
            };
            Report::new(extent, Standing::Own)
        };
        let mut reports = Reports::new(report(&device), report(&computer));
        for (side, told) in [(Side::Device, device), (Side::Computer, computer)] {
            reports.add(side, told.unwrap_or_default());
        }
        reports
    }

    fn session(state: PairState, reports: Reports, number: u8) -> PairState {
        let mut inputs = Inputs::new(SessionId([number; 16]));
        inputs.policy = Policy::default().first_sync(FirstSync::Merge).verify(Verify::NextFull);
        inputs.capabilities.device = Capabilities::of_devices();
        let mut execution = Execution::new(plan(state, reports, &inputs));
        for side in Side::BOTH {
            while let Some(batch) = execution.next_batch(side) {
                let done = |write: crate::engine::Write| {
                    let native = write.new.then(|| id(&format!("new {}", write.id.as_str())));
                    (write.engine, Outcome::Done { native })
                };
                execution.handle_outcomes(side, batch.writes.into_iter().map(done).collect::<Vec<_>>());
            }
        }
        let doubtful = execution.doubtful_state(0);
        let state = execution.into_state(0);
        assert_eq!(state.len(), doubtful.len());
        state
    }

    fn assert_same_rows(before: &PairState, after: &PairState) {
        for (id, row) in &after.rows {
            assert!(Arc::ptr_eq(row, &before.rows[id]), "{id} has another row than before");
        }
    }

    #[test]
    fn what_both_sides_have_and_agree_upon_is_there_once() {
        let new = || PairState::new(DataClass::Contacts);
        let empty = || Some(Changes::default());
        let firsts = [
            reports(Some(people()), empty()),
            reports(empty(), Some(people())),
            reports(Some(people()), Some(people())),
        ];
        for first in firsts {
            let state = session(new(), first, 1);
            assert_eq!(state.len(), 2);
            for row in state.rows.values() {
                let seen = row.seen.device.as_ref().unwrap();
                for other in [&row.seen.computer, &row.agreed.device, &row.agreed.computer] {
                    assert!(Arc::ptr_eq(seen, other.as_ref().unwrap()), "{}", row.entity);
                }
            }
        }
    }

    #[test]
    fn rows_about_which_nothing_new_was_said_are_the_same_ones() {
        let first = reports(Some(people()), Some(Changes::default()));
        let state = session(PairState::new(DataClass::Contacts), first, 1);
        let full = session(state.clone(), reports(Some(people()), None), 2);
        assert_same_rows(&state, &full);
        let nothing = session(full.clone(), reports(None, None), 3);
        assert_same_rows(&state, &nothing);
    }

    #[test]
    fn a_record_that_a_side_spells_without_its_defaults_is_looked_at_once() {
        let spelled = |also: bool| {
            let ann = Record::new(entity::CONTACT).with("first name", "Ann");
            let ann = match also {
                true => ann.with("display as company", "person"),
                false => ann.with("vcard:VERSION", "4.0"),
            };
            Changes::from_iter([(id("1"), Change::Upsert(ann))])
        };
        let new = PairState::new(DataClass::Contacts);
        let state = session(new, reports(Some(spelled(true)), Some(Changes::default())), 1);
        let card = Changes::from_iter(spelled(false).into_iter().map(|(_, change)| {
            let native = state.rows.values().find_map(|row| row.native.computer.clone());
            (id(&native.unwrap()), change)
        }));
        let state = session(state, reports(None, Some(card)), 2);
        let row = state.rows.values().next().unwrap();
        assert_eq!(row.seen, row.agreed);
        let after = session(state.clone(), reports(None, None), 3);
        assert_same_rows(&state, &after);
    }

    #[test]
    fn rows_that_wait_to_be_looked_up_are_the_same_ones_until_they_are() {
        let first = reports(Some(Changes::default()), Some(people()));
        let state = session(PairState::new(DataClass::Contacts), first, 1);
        assert_eq!(state.pending(), 2);
        let nothing = session(state.clone(), reports(None, None), 2);
        assert_same_rows(&state, &nothing);
    }
}
