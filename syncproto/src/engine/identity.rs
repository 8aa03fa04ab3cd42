//! Who is who: reported records to rows, by the id map where it is trusted, by content where it is not. Spec:
//! mobilesync, section 15.4.

mod judge;
mod lines;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::id::{EngineId, SessionId, Side, Sides};
use super::report::{Capabilities, Extent, Report, Standing};
use super::state::{PairState, Row};
use super::value::{Datum, Fields, Name, Ref};
use crate::schema::EntityKind;

/// Where a record is on a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Is {
    /// It was never there.
    #[default]
    Absent,
    /// It is there.
    There,
    /// It was deleted, and that is known.
    Gone,
    /// It is not there, which proves nothing.
    Lost,
    /// A deletion was pushed, and nothing was heard since.
    Leaving,
}

/// One record in a session.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) id: EngineId,
    pub(crate) row: Arc<Row>,
    pub(crate) is: Sides<Is>,
    /// Whether this session's report speaks of it.
    pub(crate) covered: Sides<bool>,
    pub(crate) now: Sides<Option<Arc<Fields>>>,
    /// Reported, with relations in the side's own identifiers; becomes `now`.
    raw: Sides<Option<Fields>>,
    /// It was matched in this session.
    pub(crate) matched: bool,
    /// That it is the same record on both sides, or another one than before, is an assumption.
    pub(crate) assumed: bool,
    /// It was found to be another record.
    pub(crate) merged: bool,
}

impl Item {
    pub(crate) fn new(id: EngineId, entity: &Name) -> Self {
        Self {
            id,
            row: Arc::new(Row::new(entity)),
            is: Sides::default(),
            covered: Sides::default(),
            now: Sides::default(),
            raw: Sides::default(),
            matched: false,
            assumed: false,
            merged: false,
        }
    }

    /// The row, to change.
    pub(crate) fn row_mut(&mut self) -> &mut Row {
        Arc::make_mut(&mut self.row)
    }

    pub(crate) fn there(&self, side: Side) -> bool {
        *self.is.get(side) == Is::There
    }

    pub(crate) fn fields(&self, side: Side) -> Option<&Fields> {
        self.raw.get(side).as_ref().or(self.now.get(side).as_deref())
    }

    /// The record as any side has it.
    pub(crate) fn any(&self) -> Option<&Fields> {
        let sides = [Side::Computer, Side::Device];
        let now = sides.iter().find_map(|side| self.fields(*side));
        now.or_else(|| sides.iter().find_map(|side| self.row.agreed.get(*side).as_deref()))
    }

    pub(crate) fn kind(&self) -> EntityKind {
        self.any().map_or(EntityKind::Root, Fields::kind)
    }
}

/// All records of a session.
#[derive(Debug)]
pub(crate) struct People {
    pub(crate) items: Vec<Item>,
    pub(crate) at: HashMap<EngineId, usize>,
    natives: Sides<HashMap<Arc<str>, usize>>,
    /// Sides whose identifiers were found to be worthless.
    pub(crate) discarded: Sides<bool>,
    pub(crate) slips: Vec<usize>,
}

/// What decides how reports are read.
#[derive(Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) session: &'a SessionId,
    pub(crate) capabilities: &'a Sides<Capabilities>,
    pub(crate) check: Sides<bool>,
    /// Whether absence is a deletion.
    pub(crate) derive: Sides<bool>,
}

/// Takes state and reports apart and puts them together by record.
pub(crate) fn meet(state: &mut PairState, reports: Sides<Report>, terms: &Terms<'_>) -> People {
    let mut people = People::known(state);
    let mut fresh = Sides::<Vec<(Arc<str>, Fields)>>::default();
    let Sides { device, computer } = reports;
    for (side, report) in [(Side::Device, device), (Side::Computer, computer)] {
        let capabilities = terms.capabilities.get(side);
        let new = people.take(side, report, terms);
        let mut new = people.judge(side, new, capabilities.ids_are_reused, *terms.check.get(side));
        if *people.discarded.get(side) {
            people.forget(side, &mut new);
        }
        *fresh.get_mut(side) = new;
    }
    for side in Side::BOTH {
        for (native, fields) in std::mem::take(fresh.get_mut(side)) {
            people.welcome(side, native, fields, terms.session);
        }
    }
    super::matching::run(&mut people, terms.capabilities);
    people.resolve();
    people
}

impl People {
    fn known(state: &mut PairState) -> Self {
        let rows = std::mem::take(&mut state.rows);
        let mut people = Self {
            items: Vec::with_capacity(rows.len()),
            at: HashMap::with_capacity(rows.len()),
            natives: Sides::default(),
            discarded: Sides::default(),
            slips: Vec::new(),
        };
        for (id, row) in rows {
            people.at.insert(id, people.items.len());
            people.items.push(Item {
                id,
                is: Sides::default(),
                covered: Sides::default(),
                now: Sides::default(),
                raw: Sides::default(),
                matched: false,
                assumed: false,
                merged: false,
                row,
            });
        }
        people
    }

    /// Hands reported records to their rows and gives those that have none.
    fn take(&mut self, side: Side, report: Report, terms: &Terms<'_>) -> Vec<(Arc<str>, Fields)> {
        let nameless = terms.capabilities.get(side).nameless_children;
        let mut natives = HashMap::with_capacity(self.items.len());
        for (at, item) in self.items.iter().enumerate() {
            if let Some(native) = item.row.native.get(side)
                && !(nameless && item.kind() == EntityKind::Child)
            {
                natives.insert(native.clone(), at);
            }
        }
        let full = report.extent == Extent::Everything;
        let mut fresh = Vec::new();
        let mut lines = lines::Lines::new();
        for (native, fields) in report.records {
            let child = fields.as_ref().is_some_and(|fields| fields.kind() == EntityKind::Child);
            if let (true, true, Some(fields)) = (nameless, child, &fields)
                && let Some(Ref::Unknown(owner)) = fields.owner()
            {
                let lines = lines.entry(owner.clone()).or_default();
                lines.extend(fields_of(native, Some(fields.clone())));
                continue;
            }
            // Another entity under the same identifier is another record.
            let known = natives.get(&native).and_then(|at| self.items.get_mut(*at));
            let known = known.filter(|item| fields.as_ref().is_none_or(|fields| fields.entity == item.row.entity));
            match (known, fields) {
                (Some(item), fields) => {
                    *item.covered.get_mut(side) = true;
                    *item.is.get_mut(side) = if fields.is_some() { Is::There } else { Is::Gone };
                    *item.raw.get_mut(side) = fields;
                }
                (None, Some(fields)) => fresh.push((native, fields)),
                (None, None) => {}
            }
        }
        *self.natives.get_mut(side) = natives;
        if nameless {
            self.align(side, *terms.derive.get(side), &mut lines);
            fresh.extend(lines.into_values().flatten());
            fresh.sort_by(|a, b| a.0.cmp(&b.0));
        }
        let withheld = self.items.iter().filter(|item| {
            let native = item.row.native.get(side).as_deref();
            native.is_some_and(|native| report.withheld.contains(native))
        });
        let withheld = withheld.map(|item| item.id).collect();
        self.absent(side, full, *terms.derive.get(side), &withheld);
        fresh
    }

    /// What the report does not speak of.
    fn absent(&mut self, side: Side, full: bool, derive: bool, withheld: &BTreeSet<EngineId>) {
        let stays = |item: &Item| {
            let owner = item.row.seen.get(side).as_ref().and_then(|seen| seen.owner());
            let part = item.kind() == EntityKind::Child;
            withheld.contains(&item.id) || matches!(owner, Some(Ref::Known(owner)) if part && withheld.contains(owner))
        };
        for item in &mut self.items {
            let leaving = item.row.seen.get(side).is_none() && item.row.pending(side).is_some();
            if *item.covered.get(side) || item.row.native.get(side).is_none() {
                continue;
            }
            if full && !stays(item) {
                *item.covered.get_mut(side) = true;
                *item.is.get_mut(side) = if derive || leaving { Is::Gone } else { Is::Lost };
            } else if leaving {
                *item.is.get_mut(side) = Is::Leaving;
            } else {
                *item.is.get_mut(side) = Is::There;
                *item.now.get_mut(side) = item.row.seen.get(side).clone();
            }
        }
        if !full {
            self.follow(side);
        }
    }

    /// What belonged to something that was reported as deleted went with it.
    fn follow(&mut self, side: Side) {
        loop {
            let lost = |item: &Item| {
                let owner = item.now.get(side).as_ref().and_then(|now| now.owner())?;
                let Ref::Known(owner) = owner else { return None };
                let owner = self.items.get(*self.at.get(owner)?)?;
                (*owner.is.get(side) == Is::Gone).then_some(())
            };
            let silent = |item: &Item| item.there(side) && !*item.covered.get(side);
            let gone: Vec<usize> = (0_usize..)
                .zip(&self.items)
                .filter(|(_, item)| silent(item) && lost(item).is_some())
                .map(|(at, _)| at)
                .collect();
            if gone.is_empty() {
                return;
            }
            for at in gone {
                if let Some(item) = self.items.get_mut(at) {
                    *item.is.get_mut(side) = Is::Gone;
                    *item.now.get_mut(side) = None;
                }
            }
        }
    }

    /// A record without a row. Where its identifier is one of ours, it is that record: we wrote it and did not hear.
    fn welcome(&mut self, side: Side, native: Arc<str>, fields: Fields, session: &SessionId) {
        let ours = native.parse::<EngineId>().ok().and_then(|id| self.at.get(&id).copied());
        let ours = ours.filter(|at| {
            self.items.get(*at).is_some_and(|item| {
                item.row.entity == fields.entity
                    && item.row.native.get(side).is_none()
                    && matches!(item.is.get(side), Is::Absent | Is::Lost)
                    && item.raw.get(side).is_none()
            })
        });
        let at = ours.unwrap_or_else(|| {
            let mut id = EngineId::derive(session, side, &native);
            while self.at.contains_key(&id) {
                id = EngineId::derive(session, side, &id.to_string());
            }
            self.at.insert(id, self.items.len());
            self.items.push(Item::new(id, &fields.entity));
            self.items.len().saturating_sub(1)
        });
        self.natives.get_mut(side).insert(native.clone(), at);
        if let Some(item) = self.items.get_mut(at) {
            item.matched |= ours.is_some();
            *item.is.get_mut(side) = Is::There;
            *item.covered.get_mut(side) = true;
            *item.row_mut().native.get_mut(side) = Some(native);
            *item.raw.get_mut(side) = Some(fields);
        }
    }

    /// The item that a record belongs to on a side.
    pub(crate) fn owner(&self, at: usize, side: Side) -> Option<usize> {
        match self.items.get(at)?.fields(side)?.owner()? {
            Ref::Unknown(native) => self.natives.get(side).get(&**native).copied(),
            Ref::Known(id) => self.at.get(id).copied(),
        }
    }

    /// The item that a relation of a record leads to.
    pub(crate) fn related(&self, at: usize, side: Side, key: &str) -> Option<usize> {
        match self.items.get(at)?.fields(side)?.get(key)?.refs().first()? {
            Ref::Unknown(native) => self.natives.get(side).get(&**native).copied(),
            Ref::Known(id) => self.at.get(id).copied(),
        }
    }

    /// `other` is found to be `at`: what it is on `side` goes over.
    pub(crate) fn merge(&mut self, at: usize, other: usize, side: Side, assumed: bool) {
        let Some(from) = self.items.get_mut(other) else { return };
        let native = from.row_mut().native.get_mut(side).take();
        let raw = from.raw.get_mut(side).take();
        let now = from.now.get_mut(side).take();
        let covered = *from.covered.get(side);
        from.merged = true;
        let id = from.id;
        *from.is.get_mut(side) = Is::Absent;
        self.at.insert(id, at);
        if let Some(native) = &native {
            self.natives.get_mut(side).insert(native.clone(), at);
        }
        let Some(item) = self.items.get_mut(at) else { return };
        *item.row_mut().native.get_mut(side) = native;
        *item.raw.get_mut(side) = raw;
        *item.now.get_mut(side) = now;
        *item.covered.get_mut(side) = covered;
        *item.is.get_mut(side) = Is::There;
        // Nothing is agreed between two records that meet for the first time.
        item.row_mut().agreed = Sides::default();
        item.row_mut().more = None;
        item.matched = true;
        item.assumed |= assumed;
    }

    /// Relations by engine id; records that say what they said before share the memory.
    fn resolve(&mut self) {
        let ids: Vec<EngineId> = self.items.iter().map(|item| item.id).collect();
        let moved = self.items.iter().any(|item| item.merged);
        for item in &mut self.items {
            for side in Side::BOTH {
                let natives = self.natives.get(side);
                let id = |native: &str| natives.get(native).and_then(|at| ids.get(*at)).copied();
                if let Some(mut raw) = item.raw.get_mut(side).take() {
                    raw.resolve(id);
                    let seen = item.row.seen.get(side);
                    let now = match seen {
                        Some(seen) if **seen == raw => Arc::clone(seen),
                        _ => Arc::new(raw),
                    };
                    *item.now.get_mut(side) = Some(now);
                }
                if moved {
                    if let Some(now) = after_moves(item.now.get(side).as_deref(), &self.at, &ids) {
                        *item.now.get_mut(side) = Some(now);
                    }
                    if let Some(agreed) = after_moves(item.row.agreed.get(side).as_deref(), &self.at, &ids) {
                        *item.row_mut().agreed.get_mut(side) = Some(agreed);
                    }
                }
            }
            item.matched |= [Is::Lost].contains(&item.is.device) || item.is.computer == Is::Lost;
        }
        let kept: Vec<Item> = std::mem::take(&mut self.items)
            .into_iter()
            .filter(|item| !item.merged)
            .collect();
        self.at = kept.iter().enumerate().map(|(at, item)| (item.id, at)).collect();
        self.items = kept;
    }
}

/// With relations to what records were found to be; `None` where none changes.
fn after_moves(old: Option<&Fields>, at: &HashMap<EngineId, usize>, ids: &[EngineId]) -> Option<Arc<Fields>> {
    let old = old?;
    let target = |id: &EngineId| at.get(id).and_then(|at| ids.get(*at)).filter(|new| *new != id).copied();
    let stale = |datum: &Datum| {
        datum
            .refs()
            .iter()
            .any(|one| matches!(one, Ref::Known(id) if target(id).is_some()))
    };
    old.iter().any(|(_, datum)| stale(datum)).then(|| {
        let list = old.iter().map(|(key, datum)| {
            let datum = match datum {
                Datum::Refs(refs) => {
                    let refs = refs.iter().map(|one| match one {
                        Ref::Known(id) => Ref::Known(target(id).unwrap_or(*id)),
                        unknown => unknown.clone(),
                    });
                    Datum::Refs(refs.collect())
                }
                other => other.clone(),
            };
            (Arc::clone(key), datum)
        });
        Arc::new(Fields::of(&old.entity, list.collect()))
    })
}

fn fields_of(native: Arc<str>, fields: Option<Fields>) -> Option<(Arc<str>, Fields)> {
    Some((native, fields?))
}

/// Whether the rows of a side have to be checked before their identifiers are used.
pub(crate) fn needs_check(standing: Standing, old_build: Option<&str>, build: Option<&str>) -> bool {
    matches!(standing, Standing::Foreign | Standing::Reset)
        || (old_build.is_some() && build.is_some() && old_build != build)
}
