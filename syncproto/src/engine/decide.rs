//! What is to become of every record: existence, values, containers, order. Spec: mobilesync, section 15.3, step 3.

mod containers;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::canon::{self, POSITION};
use super::draft::Inputs;
use super::id::{EngineId, SessionId, Side, Sides};
use super::identity::{Is, Item, People};
use super::merge::{self, Merged};
use super::policy::{Choice, Choices, FirstSync, OnConflict, OnDeleteEdit, OnDeselect, Policy, Selection};
use super::report::Capabilities;
use super::state::{Held, Kept, PairState, Why};
use super::value::{Fields, Ref};
use super::verdict::{Fate, Moved, Note, NoteKind, Verdict, Verdicts};
use crate::schema::EntityKind;

pub(crate) struct Deciding<'a> {
    pub(crate) people: &'a mut People,
    pub(crate) capabilities: &'a Sides<Capabilities>,
    pub(crate) policy: &'a Policy,
    pub(crate) choices: &'a Choices,
    pub(crate) session: &'a SessionId,
    pub(crate) number: u32,
    /// How a first sync is done; `None` when it is none.
    pub(crate) first: Option<FirstSync>,
    pub(crate) verdicts: Verdicts,
    pub(crate) notes: Vec<Note>,
    pub(crate) kept: BTreeMap<(EngineId, String), Kept>,
    pub(crate) closed: Vec<(EngineId, String)>,
    pub(crate) asks: usize,
    /// Whether conflicts were put aside in earlier sessions.
    pub(crate) some_kept: bool,
    /// Items by the whole that they are part of, and the other way round; where nothing goes, of those with verdicts only.
    parts: HashMap<usize, Vec<usize>>,
    wholes: HashMap<usize, usize>,
}

/// What was decided.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) verdicts: Verdicts,
    pub(crate) notes: Vec<Note>,
    pub(crate) kept: BTreeMap<(EngineId, String), Kept>,
    pub(crate) closed: Vec<(EngineId, String)>,
    pub(crate) asks: usize,
}

impl<'a> Deciding<'a> {
    pub(crate) fn new(
        people: &'a mut People,
        inputs: &'a Inputs,
        state: &PairState,
        session: &'a SessionId,
        first: Option<FirstSync>,
    ) -> Self {
        Self {
            people,
            capabilities: &inputs.capabilities,
            policy: &inputs.policy,
            choices: &inputs.choices,
            session,
            number: state.sessions.saturating_add(1),
            first,
            verdicts: Verdicts::default(),
            notes: Vec::new(),
            kept: BTreeMap::new(),
            closed: Vec::new(),
            asks: 0,
            some_kept: !state.conflicts.is_empty(),
            parts: HashMap::new(),
            wholes: HashMap::new(),
        }
    }

    pub(crate) fn decided(self) -> Decided {
        Decided {
            verdicts: self.verdicts,
            notes: self.notes,
            kept: self.kept,
            closed: self.closed,
            asks: self.asks,
        }
    }

    pub(crate) fn run(&mut self) {
        self.prepare();
        self.fates();
        self.deselect();
        self.values();
        self.containers();
        self.memberships();
        super::order::cycles(self);
        super::order::positions(self);
    }

    /// Straightens what the sides told out, and finds the wholes.
    fn prepare(&mut self) {
        for item in &mut self.people.items {
            if Side::BOTH.iter().any(|side| *item.is.get(*side) == Is::Lost) {
                let row = item.row_mut();
                row.agreed = Sides::default();
                row.more = None;
            }
            for side in Side::BOTH {
                match item.is.get(side) {
                    Is::Lost => *item.is.get_mut(side) = Is::Absent,
                    // Deleted, and the other side was not told yet.
                    Is::Absent if item.row.agreed.get(side).is_some() => *item.is.get_mut(side) = Is::Gone,
                    _ => {}
                }
            }
        }
        self.verdicts = Verdicts::none(self.people.items.len());
        let anew = matches!(self.first, Some(FirstSync::ReplaceDevice | FirstSync::ReplaceComputer));
        let mut goes = anew || self.policy.selection != Selection::All;
        let mut busy = Vec::new();
        for (at, item) in self.people.items.iter().enumerate() {
            if anew || !item.quiet() {
                busy.push(at);
                let stays = matches!(
                    (item.is.device, item.is.computer),
                    (Is::There, Is::There | Is::Absent) | (Is::Absent, Is::There)
                );
                goes |= !stays && item.kind() != EntityKind::Child;
            }
        }
        for at in &busy {
            self.verdicts.touch(self.people, *at);
        }
        if goes {
            self.find_wholes(0..self.people.items.len());
        } else {
            self.find_wholes(busy);
        }
    }

    fn find_wholes(&mut self, of: impl IntoIterator<Item = usize>) {
        for at in of {
            if let Some(whole) = self.whole_of(at) {
                self.wholes.insert(at, whole);
                self.parts.entry(whole).or_default().push(at);
            }
        }
    }

    /// What a record is part of: a child of its root, a detached occurrence of its series.
    fn whole_of(&self, at: usize) -> Option<usize> {
        let item = self.item(at)?;
        let key = |fields: &Fields| match item.kind() {
            EntityKind::Child => fields.owner().cloned(),
            EntityKind::Root => fields.get("main event").and_then(|main| main.refs().first().cloned()),
            EntityKind::Container => None,
        };
        let sides = [
            item.now(Side::Computer),
            item.now(Side::Device),
            item.row.agreed.computer.as_ref(),
            item.row.agreed.device.as_ref(),
        ];
        // A side that lacks the whole names something unknown; the others may know it.
        sides.into_iter().flatten().find_map(|fields| match key(fields)? {
            Ref::Known(id) => self.people.at.get(&id).copied().filter(|whole| *whole != at),
            Ref::Unknown(_) => None,
        })
    }

    fn item(&self, at: usize) -> Option<&Item> {
        self.people.items.get(at)
    }

    pub(crate) fn fate(&self, at: usize) -> Fate {
        self.verdicts.fate(at)
    }

    /// What a side is to have.
    pub(crate) fn want(&self, at: usize, side: Side) -> Option<&Arc<Fields>> {
        self.verdicts.want(self.people, at, side)
    }

    fn set(&mut self, at: usize, fate: Fate) {
        if self.fate(at) != fate
            && let Some(verdict) = self.verdicts.touch(self.people, at)
        {
            verdict.fate = fate;
        }
    }

    pub(crate) fn note(&mut self, at: usize, what: NoteKind) {
        self.notes.extend(self.people.note(at, what));
    }

    /// Whether a record differs from what was agreed for the side.
    fn changed(&self, at: usize, side: Side) -> bool {
        let Some(item) = self.item(at) else { return false };
        match (item.is.get(side), item.now(side), item.row.agreed.get(side)) {
            (Is::There, Some(now), Some(agreed)) => {
                let mask = &self.capabilities.get(side).mask;
                !Arc::ptr_eq(now, agreed)
                    && !canon::same(Some(now), Some(agreed), &|key| {
                        key != POSITION && !canon::is_bookkeeping(key) && mask.takes(now, key)
                    })
            }
            (Is::There, _, None) | (Is::Gone, _, Some(_)) => true,
            _ => false,
        }
    }

    fn all_parts(&self, at: usize) -> Vec<usize> {
        let (mut all, mut met) = (Vec::new(), HashSet::from([at]));
        let mut next: Vec<usize> = self.parts.get(&at).cloned().unwrap_or_default();
        while let Some(part) = next.pop() {
            if met.insert(part) {
                all.push(part);
                next.extend(self.parts.get(&part).into_iter().flatten());
            }
        }
        all
    }

    fn fates(&mut self) {
        let wholes: Vec<usize> = self
            .verdicts
            .items()
            .filter(|at| !self.wholes.contains_key(at))
            .collect();
        for at in wholes {
            self.whole(at);
        }
        // Parts of parts come after what they are part of.
        let depth = |this: &Self, mut at: usize| {
            let mut depth = 0_usize;
            while let Some(whole) = this.wholes.get(&at) {
                at = *whole;
                depth = depth.saturating_add(1);
                if depth > 8 {
                    break;
                }
            }
            depth
        };
        let mut parts: Vec<(usize, usize)> = self.wholes.keys().map(|at| (depth(self, *at), *at)).collect();
        parts.sort_unstable();
        for (_, at) in parts {
            self.part(at);
        }
    }

    fn whole(&mut self, at: usize) {
        if self.replaced(at) {
            return;
        }
        let Some(is) = self.item(at).map(|item| item.is) else {
            return;
        };
        let fate = match (is.device, is.computer) {
            (Is::Leaving, _) | (_, Is::Leaving) => Fate::Leave,
            (Is::There, Is::There | Is::Absent) | (Is::Absent, Is::There) => Fate::Stay,
            (Is::Gone, Is::There) => return self.deleted(at, Side::Device),
            (Is::There, Is::Gone) => return self.deleted(at, Side::Computer),
            _ => Fate::Go,
        };
        self.set(at, fate);
    }

    /// In a replacement only one side counts.
    fn replaced(&mut self, at: usize) -> bool {
        let source = match self.first {
            Some(FirstSync::ReplaceDevice) => Side::Computer,
            Some(FirstSync::ReplaceComputer) => Side::Device,
            _ => return false,
        };
        let there = self.item(at).is_some_and(|item| item.there(source));
        self.set(at, if there { Fate::Stay } else { Fate::Go });
        true
    }

    /// One side deleted it.
    fn deleted(&mut self, at: usize, by: Side) {
        let keeper = by.other();
        if self.item(at).is_some_and(|item| item.kind() == EntityKind::Child) {
            // What it hung on is on neither side any more: it went with that, and no side could take it back.
            return self.set(at, Fate::Go);
        }
        let parts = self.all_parts(at);
        let edited = self.changed(at, keeper) || parts.iter().any(|part| self.changed(*part, keeper));
        if !edited {
            return self.set(at, Fate::Go);
        }
        let id = self.item(at).map(|item| item.id);
        let chosen = id.and_then(|id| self.choices.get(&(id, "*".to_owned())));
        let stays = match (chosen, self.policy.on_delete_edit, self.policy.on_conflict) {
            (Some(Choice::Take(side)), ..) => Some(*side == keeper),
            (Some(Choice::Defer), ..) | (None, OnDeleteEdit::Defer, _) => None,
            (None, _, OnConflict::Ask) => {
                self.asks = self.asks.saturating_add(1);
                None
            }
            (None, OnDeleteEdit::EditWins, _) => Some(true),
            (None, OnDeleteEdit::DeleteWins, _) => Some(false),
        };
        self.note(at, NoteKind::DeleteEdit { deleted: by, stays });
        match stays {
            Some(false) => self.set(at, Fate::Go),
            Some(true) => self.revive(at, by),
            None => {
                self.revive(at, by);
                let all = std::iter::once(at).chain(parts);
                for at in all.collect::<Vec<_>>() {
                    self.hold(at, by, Why::Deferred);
                }
            }
        }
    }

    /// Keeps a record off a side until the other side's content changes.
    fn hold(&mut self, at: usize, side: Side, why: Why) {
        if let Some(item) = self.people.items.get_mut(at)
            && let Some(now) = item.now(side.other())
        {
            let content = canon::record_hash(now).0;
            *item.row_mut().more().held.get_mut(side) = Some(Box::new(Held { why, content }));
        }
    }

    /// Brings a whole back to the side that deleted it.
    fn revive(&mut self, at: usize, side: Side) {
        for at in std::iter::once(at).chain(self.all_parts(at)).collect::<Vec<_>>() {
            if let Some(item) = self.people.items.get_mut(at)
                && !item.there(side)
            {
                let there = item.there(side.other());
                *item.is.get_mut(side) = if there { Is::Absent } else { Is::Gone };
                *item.row_mut().native.get_mut(side) = None;
                if there {
                    item.row_mut().agreed = Sides::default();
                    item.matched = true;
                }
                if let Some(verdict) = self.verdicts.touch(self.people, at) {
                    *verdict.want.get_mut(side) = None;
                }
                self.set(at, if there { Fate::Stay } else { Fate::Go });
            }
        }
    }

    fn part(&mut self, at: usize) {
        let Some(whole) = self.wholes.get(&at).copied() else {
            return;
        };
        match self.fate(whole) {
            Fate::Go | Fate::Leave | Fate::Deselect => {
                let fate = self.fate(whole);
                self.set(at, fate);
            }
            // What came back was brought back whole: its parts have nothing agreed any more.
            Fate::Stay => self.whole(at),
        }
    }

    /// Records outside the selection are left alone, or removed from the device.
    fn deselect(&mut self) {
        if self.policy.selection == Selection::All {
            return;
        }
        let outside = super::select::outside(self.people, &self.policy.selection);
        let mut out: BTreeSet<usize> = outside.iter().flat_map(|at| self.all_parts(*at)).collect();
        out.extend(outside);
        let removed = match self.policy.on_deselect {
            OnDeselect::Remove => self.removable(&out),
            OnDeselect::Leave => BTreeSet::new(),
        };
        for at in out {
            let remove = removed.contains(&at);
            if !remove && self.policy.on_deselect == OnDeselect::Remove && self.changed(at, Side::Device) {
                let (side, why) = (Side::Computer, "it is out of the selection, and stays on the device");
                self.note(at, NoteKind::Held { side, why });
            }
            self.set(at, if remove { Fate::Deselect } else { Fate::Leave });
        }
    }

    /// Those of some records of which the computer has all that the device has, so that nothing is lost when they are
    /// removed from it: they were agreed upon, were not edited there since, and so was everything in them.
    fn removable(&self, out: &BTreeSet<usize>) -> BTreeSet<usize> {
        let safe = |at: &usize| {
            let there = self
                .item(*at)
                .is_some_and(|item| Side::BOTH.iter().all(|side| item.there(*side)));
            there && !self.changed(*at, Side::Device)
        };
        let mut removed: BTreeSet<usize> = out.iter().copied().filter(safe).collect();
        loop {
            let before = removed.len();
            for (at, item) in self.people.items.iter().enumerate() {
                let stays = item.there(Side::Device) && !removed.contains(&at);
                let whole = self.wholes.get(&at).copied();
                if stays {
                    for above in [self.people.owner(at, Side::Device), whole].into_iter().flatten() {
                        removed.remove(&above);
                    }
                } else if whole.is_some_and(|whole| out.contains(&whole) && !removed.contains(&whole)) {
                    // What stays, stays whole.
                    removed.remove(&at);
                }
            }
            if removed.len() == before {
                return removed;
            }
        }
    }

    fn values(&mut self) {
        let busy: Vec<usize> = self.verdicts.items().collect();
        let copies: Vec<(usize, Arc<Fields>)> = busy.into_iter().filter_map(|at| self.value(at)).collect();
        for (at, fields) in copies {
            self.keep_copy(at, fields);
        }
    }

    /// Merges the values of one record; gives what is to be kept as a second one.
    fn value(&mut self, at: usize) -> Option<(usize, Arc<Fields>)> {
        if self.fate(at) != Fate::Stay {
            return None;
        }
        let item = self.people.items.get(at)?;
        let masks = Sides::of(|side| &self.capabilities.get(side).mask);
        let source = match self.first {
            Some(FirstSync::ReplaceDevice) => Some(Side::Computer),
            Some(FirstSync::ReplaceComputer) => Some(Side::Device),
            _ => None,
        };
        let merged = match (item.now(Side::Device), item.now(Side::Computer)) {
            (Some(device), Some(computer)) if item.quiet() && source.is_none() => Merged::nothing(device, computer),
            // Spelled the same on both sides: there is nothing to merge, only to agree upon.
            (Some(device), Some(computer)) if device == computer => Merged::same(device, computer),
            (Some(device), Some(computer)) => {
                let deciding = merge::Terms {
                    masks,
                    policy: self.policy,
                    choices: self.choices,
                    source,
                };
                merge::three_way(item, device, computer, &deciding)
            }
            (Some(now), None) => Merged::copy(Side::Device, now, &masks),
            (None, Some(now)) => Merged::copy(Side::Computer, now, &masks),
            (None, None) => return None,
        };
        let (id, device) = (item.id, item.now(Side::Device).cloned());
        for conflict in &merged.conflicts {
            let key = (id, conflict.group.clone());
            self.asks = self.asks.saturating_add(usize::from(conflict.asked));
            if conflict.taken.is_none() {
                let sides = Sides::of(|side| item.now(side).cloned());
                let base = item
                    .row
                    .agreed
                    .computer
                    .clone()
                    .or_else(|| item.row.agreed.device.clone());
                self.kept.insert(
                    key,
                    Kept {
                        base,
                        sides,
                        session: self.number,
                    },
                );
            }
            let what = NoteKind::Conflict {
                group: conflict.group.clone(),
                taken: conflict.taken,
            };
            self.notes.extend(self.people.note(at, what));
        }
        if self.some_kept {
            let open = |group: &str| {
                let mut conflicts = merged.conflicts.iter();
                conflicts.any(|conflict| conflict.taken.is_none() && conflict.group == group)
            };
            let now = Side::BOTH.map(|side| item.now(side).map(|now| &**now));
            let moved = merged.moved.of(now).into_iter().filter(|group| !open(group));
            self.closed.extend(moved.map(|group| (id, group.to_owned())));
        }
        let copy = merged.keep_both;
        if let Some(verdict) = self.verdicts.touch(self.people, at) {
            verdict.want = merged.want;
            verdict.moved = merged.moved;
        }
        copy.then(|| device.map(|device| (at, device))).flatten()
    }

    /// The device's version of a record that was edited on both sides becomes a second one.
    fn keep_copy(&mut self, at: usize, fields: Arc<Fields>) {
        let Some(item) = self.people.items.get(at) else { return };
        let id = EngineId::derive(self.session, Side::Device, &format!("copy of {}", item.id));
        let copy = Item::new(id, &item.row.entity);
        self.people.at.insert(id, self.people.items.len());
        self.people.items.push(copy);
        let want = Sides {
            device: Some(Arc::clone(&fields)),
            computer: Some(fields),
        };
        self.verdicts.push(Verdict {
            fate: Fate::Stay,
            want,
            moved: Moved::All,
        });
    }
}
