//! What is to become of every record: existence, values, containers, order. Spec: mobilesync, section 15.3, step 3.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::canon::{self, POSITION};
use super::id::{EngineId, SessionId, Side, Sides};
use super::identity::{Is, Item, People};
use super::merge::{self, Merged};
use super::policy::{Choice, Choices, FirstSync, OnConflict, OnDeleteEdit, Policy};
use super::report::Capabilities;
use super::state::{Held, Kept, Why};
use super::value::{Fields, Ref};
use crate::schema::EntityKind;

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

/// What was decided about a record.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) fate: Fate,
    pub(crate) want: Sides<Option<Arc<Fields>>>,
    /// Groups whose agreed values move when what is planned for them was done.
    pub(crate) moved: BTreeSet<String>,
}

/// A decision somebody should know of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Note {
    pub(crate) id: EngineId,
    pub(crate) what: NoteKind,
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

pub(crate) struct Deciding<'a> {
    pub(crate) people: &'a mut People,
    pub(crate) capabilities: &'a Sides<Capabilities>,
    pub(crate) policy: &'a Policy,
    pub(crate) choices: &'a Choices,
    pub(crate) session: &'a SessionId,
    pub(crate) number: u32,
    /// How a first sync is done; `None` when it is none.
    pub(crate) first: Option<FirstSync>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) notes: Vec<Note>,
    pub(crate) kept: BTreeMap<(EngineId, String), Kept>,
    pub(crate) closed: Vec<(EngineId, String)>,
    pub(crate) asks: usize,
    /// Items by the whole that they are part of.
    parts: HashMap<usize, Vec<usize>>,
    wholes: Vec<Option<usize>>,
}

impl<'a> Deciding<'a> {
    pub(crate) fn new(
        people: &'a mut People,
        capabilities: &'a Sides<Capabilities>,
        policy: &'a Policy,
        choices: &'a Choices,
        session: &'a SessionId,
        number: u32,
        first: Option<FirstSync>,
    ) -> Self {
        Self {
            people,
            capabilities,
            policy,
            choices,
            session,
            number,
            first,
            verdicts: Vec::new(),
            notes: Vec::new(),
            kept: BTreeMap::new(),
            closed: Vec::new(),
            asks: 0,
            parts: HashMap::new(),
            wholes: Vec::new(),
        }
    }

    pub(crate) fn run(&mut self) {
        self.prepare();
        self.fates();
        self.deselect();
        self.values();
        self.containers();
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
        let whole = |item: &Item| {
            let key = |fields: &Fields| match fields.kind() {
                EntityKind::Child => fields.owner().cloned(),
                EntityKind::Root => fields.get("main event").and_then(|main| main.refs().first().cloned()),
                EntityKind::Container => None,
            };
            let sides = [
                item.now.computer.as_deref(),
                item.now.device.as_deref(),
                item.row.agreed.computer.as_deref(),
                item.row.agreed.device.as_deref(),
            ];
            let found = sides.into_iter().flatten().find_map(key);
            match found {
                Some(Ref::Known(id)) => self
                    .people
                    .at
                    .get(&id)
                    .copied()
                    .filter(|at| self.people.items.get(*at).is_some_and(|whole| whole.id != item.id)),
                _ => None,
            }
        };
        self.wholes = self.people.items.iter().map(whole).collect();
        for (at, whole) in self.wholes.iter().enumerate() {
            if let Some(whole) = whole {
                self.parts.entry(*whole).or_default().push(at);
            }
        }
        let verdict = Verdict {
            fate: Fate::Stay,
            want: Sides::default(),
            moved: BTreeSet::new(),
        };
        self.verdicts = vec![verdict; self.people.items.len()];
    }

    fn item(&self, at: usize) -> Option<&Item> {
        self.people.items.get(at)
    }

    pub(crate) fn fate(&self, at: usize) -> Fate {
        self.verdicts.get(at).map_or(Fate::Leave, |verdict| verdict.fate)
    }

    fn set(&mut self, at: usize, fate: Fate) {
        if let Some(verdict) = self.verdicts.get_mut(at) {
            verdict.fate = fate;
        }
    }

    pub(crate) fn note(&mut self, at: usize, what: NoteKind) {
        if let Some(item) = self.people.items.get(at) {
            self.notes.push(Note { id: item.id, what });
        }
    }

    /// Whether a record differs from what was agreed for the side.
    fn changed(&self, at: usize, side: Side) -> bool {
        let Some(item) = self.item(at) else { return false };
        match (item.is.get(side), item.now.get(side), item.row.agreed.get(side)) {
            (Is::There, Some(now), Some(agreed)) => {
                let mask = &self.capabilities.get(side).mask;
                !Arc::ptr_eq(now, agreed)
                    && !canon::same(Some(now), Some(agreed), &|key| key != POSITION && mask.takes(now, key))
            }
            (Is::There, _, None) | (Is::Gone, _, Some(_)) => true,
            _ => false,
        }
    }

    fn all_parts(&self, at: usize) -> Vec<usize> {
        let mut all = Vec::new();
        let mut next: Vec<usize> = self.parts.get(&at).cloned().unwrap_or_default();
        while let Some(part) = next.pop() {
            if !all.contains(&part) && part != at {
                all.push(part);
                next.extend(self.parts.get(&part).into_iter().flatten());
            }
        }
        all
    }

    fn fates(&mut self) {
        let order: Vec<usize> = (0..self.people.items.len()).collect();
        let part = |this: &Self, at: usize| this.wholes.get(at).copied().flatten().is_some();
        let (parts, wholes): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|at| part(self, *at));
        for at in wholes {
            self.whole(at);
        }
        // Parts of parts come after what they are part of.
        let depth = |this: &Self, mut at: usize| {
            let mut depth = 0_usize;
            while let Some(whole) = this.wholes.get(at).copied().flatten() {
                at = whole;
                depth = depth.saturating_add(1);
                if depth > 8 {
                    break;
                }
            }
            depth
        };
        let mut parts: Vec<(usize, usize)> = parts.into_iter().map(|at| (depth(self, at), at)).collect();
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
            && let Some(now) = item.now.get(side.other())
        {
            let content = canon::record_hash(now).0;
            *item.row_mut().more().held.get_mut(side) = Some(Held { why, content });
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
                self.set(at, if there { Fate::Stay } else { Fate::Go });
            }
        }
    }

    fn part(&mut self, at: usize) {
        let Some(whole) = self.wholes.get(at).copied().flatten() else {
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

    /// Records outside the selection are left alone.
    fn deselect(&mut self) {
        use super::policy::{OnDeselect, Selection};
        if self.policy.selection == Selection::All {
            return;
        }
        let out = super::select::outside(self.people, &self.policy.selection);
        for at in out {
            for at in std::iter::once(at).chain(self.all_parts(at)).collect::<Vec<_>>() {
                let on_device = self
                    .item(at)
                    .is_some_and(|item| item.there(Side::Device) && item.there(Side::Computer));
                let remove = on_device && self.policy.on_deselect == OnDeselect::Remove;
                self.set(at, if remove { Fate::Deselect } else { Fate::Leave });
            }
        }
    }

    fn values(&mut self) {
        let copies: Vec<(usize, Arc<Fields>)> = (0..self.people.items.len()).filter_map(|at| self.value(at)).collect();
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
        let merged = match (&item.now.device, &item.now.computer) {
            (Some(device), Some(computer)) if item.there(Side::Device) && item.there(Side::Computer) => {
                let quiet = |side: Side, now: &Arc<Fields>| {
                    item.row
                        .agreed
                        .get(side)
                        .as_ref()
                        .is_some_and(|agreed| Arc::ptr_eq(agreed, now))
                };
                if quiet(Side::Device, device) && quiet(Side::Computer, computer) && source.is_none() {
                    Merged::nothing(device, computer)
                } else {
                    let deciding = merge::Terms {
                        masks,
                        policy: self.policy,
                        choices: self.choices,
                        source,
                    };
                    merge::three_way(item, device, computer, &deciding)
                }
            }
            (Some(now), _) if item.there(Side::Device) => Merged::copy(Side::Device, now, &masks),
            (_, Some(now)) if item.there(Side::Computer) => Merged::copy(Side::Computer, now, &masks),
            _ => return None,
        };
        let (id, device) = (item.id, item.now.device.clone());
        for conflict in &merged.conflicts {
            let key = (id, conflict.group.clone());
            self.asks = self.asks.saturating_add(usize::from(conflict.asked));
            if conflict.taken.is_none() {
                let sides = item.now.clone();
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
            self.notes.push(Note {
                id,
                what: NoteKind::Conflict {
                    group: conflict.group.clone(),
                    taken: conflict.taken,
                },
            });
        }
        let deferred = |group: &&String| {
            !merged
                .conflicts
                .iter()
                .any(|conflict| conflict.taken.is_none() && conflict.group == **group)
        };
        self.closed
            .extend(merged.moved.iter().filter(deferred).map(|group| (id, group.clone())));
        let copy = merged.keep_both;
        if let Some(verdict) = self.verdicts.get_mut(at) {
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
        self.wholes.push(None);
        let moved = super::value::groups([Some(&*fields)])
            .into_iter()
            .map(str::to_owned)
            .collect();
        let want = Sides {
            device: Some(Arc::clone(&fields)),
            computer: Some(fields),
        };
        self.verdicts.push(Verdict {
            fate: Fate::Stay,
            want,
            moved,
        });
    }

    /// The container of a record after the merge.
    pub(crate) fn container(&self, at: usize) -> Option<usize> {
        let verdict = self.verdicts.get(at)?;
        let want = [verdict.want.computer.as_ref(), verdict.want.device.as_ref()];
        let owner = want.into_iter().flatten().find_map(|fields| match fields.owner() {
            Some(Ref::Known(id)) => Some(*id),
            _ => None,
        })?;
        self.people.at.get(&owner).copied()
    }

    /// A container that goes stays for what is in it, or takes it along.
    fn containers(&mut self) {
        for _ in 0..=self.people.items.len().min(256) {
            let mut doomed: Vec<(usize, usize)> = Vec::new();
            for at in 0..self.people.items.len() {
                if self.fate(at) == Fate::Stay
                    && let Some(container) = self.container(at)
                    && self.fate(container) == Fate::Go
                    && self
                        .item(container)
                        .is_some_and(|item| item.kind() != EntityKind::Child)
                {
                    doomed.push((at, container));
                }
            }
            if doomed.is_empty() {
                return;
            }
            for (at, container) in doomed {
                let keeper = Side::BOTH
                    .into_iter()
                    .find(|side| self.item(container).is_some_and(|item| item.there(*side)));
                match keeper {
                    Some(keeper)
                        if self.policy.on_delete_edit != OnDeleteEdit::DeleteWins
                            && self.fate(container) == Fate::Go =>
                    {
                        self.revive(container, keeper.other());
                        self.note(container, NoteKind::Revived);
                        self.value(container);
                    }
                    Some(_) if self.fate(container) != Fate::Go => {}
                    Some(_) => {
                        for at in std::iter::once(at).chain(self.all_parts(at)).collect::<Vec<_>>() {
                            self.set(at, Fate::Go);
                        }
                    }
                    // Gone on both sides: what is left in it hangs at the root.
                    None => self.orphan(at),
                }
            }
        }
    }

    pub(crate) fn orphan(&mut self, at: usize) {
        let Some(verdict) = self.verdicts.get_mut(at) else {
            return;
        };
        for side in Side::BOTH {
            if let Some(want) = verdict.want.get_mut(side)
                && let Some(owner) = want.shape.and_then(|shape| shape.owner)
            {
                *want = Arc::new(want.with(&owner.into(), None));
                verdict.moved.insert(want.group_of(owner).to_owned());
            }
        }
    }
}
