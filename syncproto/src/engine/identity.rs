//! Who is who: reported records to rows, by the id map where it is trusted, by content where it is not. Spec:
//! mobilesync, section 15.4.

mod judge;
mod lines;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::id::{EngineId, SessionId, Side, Sides};
use super::report::{Capabilities, Extent, Report, Standing};
use super::state::{PairState, Row};
use super::value::{Datum, Fields, Name, Ref};
use super::verdict::{Note, NoteKind};
use crate::schema::{self, EntityKind};

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
    kind: EntityKind,
    pub(crate) is: Sides<Is>,
    /// Whether this session's report speaks of it.
    pub(crate) covered: Sides<bool>,
    /// What this session's report says of it, where that is not what the row says. Until all is told, relations are in the
    /// side's own identifiers.
    told: Sides<Option<Arc<Fields>>>,
    /// It was matched in this session.
    pub(crate) matched: bool,
    /// That it is the same record on both sides, or another one than before, is an assumption.
    pub(crate) assumed: bool,
    /// It was found to be another record.
    pub(crate) merged: bool,
}

impl Item {
    pub(crate) fn new(id: EngineId, entity: &Name) -> Self {
        Self::known(id, Arc::new(Row::new(entity)), kind_of(entity))
    }

    fn known(id: EngineId, row: Arc<Row>, kind: EntityKind) -> Self {
        Self {
            id,
            row,
            kind,
            is: Sides::default(),
            covered: Sides::default(),
            told: Sides::default(),
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

    /// The record as a side has it; `None` where it is not there.
    pub(crate) fn now(&self, side: Side) -> Option<&Arc<Fields>> {
        let seen = || self.row.seen.get(side).as_ref();
        self.told.get(side).as_ref().or_else(seen).filter(|_| self.there(side))
    }

    /// Whether this session's report of a side says what was not known.
    pub(crate) fn told(&self, side: Side) -> bool {
        self.told.get(side).is_some()
    }

    /// The record as any side has it.
    pub(crate) fn any(&self) -> Option<&Arc<Fields>> {
        let sides = [Side::Computer, Side::Device];
        let now = sides.iter().find_map(|side| self.now(*side));
        now.or_else(|| sides.iter().find_map(|side| self.row.agreed.get(*side).as_ref()))
    }

    pub(crate) const fn kind(&self) -> EntityKind {
        self.kind
    }

    /// Whether it is on both sides as it was agreed, and nothing waits to be found out about it.
    pub(crate) fn quiet(&self) -> bool {
        let agreed = |side: Side| match (self.now(side), self.row.agreed.get(side)) {
            (Some(now), Some(agreed)) => Arc::ptr_eq(now, agreed) || now == agreed,
            _ => false,
        };
        self.row.more.is_none() && Side::BOTH.into_iter().all(agreed)
    }

    /// What a person knows it by.
    pub(crate) fn title(&self) -> String {
        self.any().map(|fields| fields.title()).unwrap_or_default()
    }
}

fn kind_of(entity: &str) -> EntityKind {
    schema::entity(entity).map_or(EntityKind::Root, |shape| shape.kind)
}

/// Engine ids are bytes of a digest: any of them are hash enough.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks_exact(8) {
            self.0 ^= part.try_into().map_or(0, u64::from_le_bytes);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

/// Something by engine id.
pub(crate) type ById<T> = HashMap<EngineId, T, BuildHasherDefault<IdHasher>>;

/// All records of a session.
#[derive(Debug)]
pub(crate) struct People {
    pub(crate) items: Vec<Item>,
    pub(crate) at: ById<usize>,
    /// Identifiers of a side that its report speaks of; all of them where it tells everything.
    natives: Sides<HashMap<Arc<str>, usize>>,
    /// Sides whose identifiers were found to be worthless.
    pub(crate) discarded: Sides<bool>,
    /// Roots that a side had.
    pub(crate) had: Sides<usize>,
}

/// What decides how reports are read.
#[derive(Debug)]
pub(crate) struct Terms<'a> {
    /// New identifiers are derived from it: the same until a session is committed.
    pub(crate) session: &'a SessionId,
    pub(crate) capabilities: &'a Sides<Capabilities>,
    pub(crate) check: Sides<bool>,
    /// Whether absence is a deletion.
    pub(crate) derive: Sides<bool>,
}

/// Takes state and reports apart and puts them together by record.
pub(crate) fn meet(state: &mut PairState, reports: Sides<Report>, terms: &Terms<'_>) -> People {
    let mut people = People::known(state);
    let mut fresh = Sides::<Vec<Fresh>>::default();
    let Sides { device, computer } = reports;
    for (side, report) in [(Side::Device, device), (Side::Computer, computer)] {
        let capabilities = terms.capabilities.get(side);
        let new = people.take(side, report, terms);
        let mut new = people.judge(side, new, capabilities.ids_are_reused, terms);
        if *people.discarded.get(side) {
            people.forget(side, &mut new);
        }
        *fresh.get_mut(side) = new;
    }
    let new = fresh.device.len().saturating_add(fresh.computer.len());
    people.items.reserve_exact(new);
    people.at.reserve(new);
    for side in Side::BOTH {
        for (native, fields) in std::mem::take(fresh.get_mut(side)) {
            people.welcome(side, native, fields, terms);
        }
    }
    super::matching::run(&mut people, terms.capabilities);
    people.resolve();
    people
}

/// A record that has no row yet: what its side calls it, and what it says.
type Fresh = (Arc<str>, Arc<Fields>);

impl People {
    fn known(state: &mut PairState) -> Self {
        let rows = std::mem::take(&mut state.rows);
        let mut people = Self {
            items: Vec::with_capacity(rows.len()),
            at: HashMap::with_capacity_and_hasher(rows.len(), BuildHasherDefault::default()),
            natives: Sides::default(),
            discarded: Sides::default(),
            had: Sides::default(),
        };
        let mut kinds: Vec<(Name, EntityKind)> = Vec::new();
        for (id, row) in rows {
            let known = kinds.iter().find(|(name, _)| Arc::ptr_eq(name, &row.entity));
            let kind = known.map(|(_, kind)| *kind).unwrap_or_else(|| {
                let kind = kind_of(&row.entity);
                if kinds.len() < 32 {
                    kinds.push((Arc::clone(&row.entity), kind));
                }
                kind
            });
            for side in Side::BOTH {
                let root = kind == EntityKind::Root && row.native.get(side).is_some() && row.seen.get(side).is_some();
                let had = people.had.get_mut(side);
                *had = had.saturating_add(usize::from(root));
            }
            people.at.insert(id, people.items.len());
            people.items.push(Item::known(id, row, kind));
        }
        people
    }

    /// The items of those identifiers of a side that its report needs.
    fn index(&self, side: Side, report: &Report, nameless: bool) -> HashMap<Arc<str>, usize> {
        let full = report.extent == Extent::Everything;
        let mut spoken: HashSet<&str> = HashSet::new();
        if !full {
            for (native, fields) in &report.records {
                spoken.insert(native);
                let refs = fields
                    .iter()
                    .flat_map(|fields| fields.iter())
                    .flat_map(|(_, datum)| datum.refs());
                spoken.extend(refs.filter_map(|one| match one {
                    Ref::Unknown(native) => Some(&**native),
                    Ref::Known(_) => None,
                }));
            }
        }
        let mut natives = HashMap::with_capacity(if full { self.items.len() } else { spoken.len() });
        for (at, item) in self.items.iter().enumerate() {
            if let Some(native) = item.row.native.get(side)
                && !(nameless && item.kind == EntityKind::Child)
                && (full || spoken.contains(&**native))
            {
                natives.insert(Arc::clone(native), at);
            }
        }
        natives
    }

    /// Hands reported records to their rows and gives those that have none.
    fn take(&mut self, side: Side, report: Report, terms: &Terms<'_>) -> Vec<Fresh> {
        let nameless = terms.capabilities.get(side).nameless_children;
        let natives = self.index(side, &report, nameless);
        let full = report.extent == Extent::Everything;
        let mut fresh = Vec::new();
        let mut lines = lines::Lines::new();
        for (native, fields) in report.records {
            if nameless
                && let Some(line) = fields.as_ref().filter(|fields| fields.kind() == EntityKind::Child)
                && let Some(Ref::Unknown(owner)) = line.owner()
            {
                let owner = owner.clone();
                lines
                    .entry(owner)
                    .or_default()
                    .extend(fields.map(|fields| (native, fields)));
                continue;
            }
            // Another entity under the same identifier is another record.
            let known = natives.get(&native).and_then(|at| self.items.get_mut(*at));
            let known = known.filter(|item| fields.as_ref().is_none_or(|fields| fields.entity == item.row.entity));
            match (known, fields) {
                (Some(item), fields) => {
                    *item.covered.get_mut(side) = true;
                    *item.is.get_mut(side) = if fields.is_some() { Is::There } else { Is::Gone };
                    *item.told.get_mut(side) = fields;
                }
                (None, Some(fields)) => fresh.push((native, fields)),
                (None, None) => {}
            }
        }
        *self.natives.get_mut(side) = natives;
        if nameless {
            self.align(side, *terms.derive.get(side), &mut lines);
            self.name_lines(side);
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
    fn absent(&mut self, side: Side, full: bool, derive: bool, withheld: &HashSet<EngineId>) {
        // What takes no part is there as it was, with what belongs to it.
        let stays = |item: &Item| {
            let owner = item.row.seen.get(side).as_ref().and_then(|seen| seen.owner());
            let part = item.kind() == EntityKind::Child;
            withheld.contains(&item.id) || matches!(owner, Some(Ref::Known(owner)) if part && withheld.contains(owner))
        };
        let mut deleted = false;
        for item in &mut self.items {
            deleted |= *item.is.get(side) == Is::Gone;
            if *item.covered.get(side) || item.row.native.get(side).is_none() {
                continue;
            }
            let leaving = item.row.seen.get(side).is_none() && item.row.pending(side).is_some();
            let full = full && (withheld.is_empty() || !stays(item));
            *item.covered.get_mut(side) = full;
            *item.is.get_mut(side) = match (full, leaving) {
                (true, _) if derive || leaving => Is::Gone,
                (true, _) => Is::Lost,
                (false, true) => Is::Leaving,
                (false, false) => Is::There,
            };
        }
        if !full && deleted {
            self.follow(side);
        }
    }

    /// What belonged to something that was reported as deleted went with it.
    fn follow(&mut self, side: Side) {
        loop {
            let lost = |item: &Item| {
                let owner = item.now(side).and_then(|now| now.owner())?;
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
                }
            }
        }
    }

    /// A record without a row. Where its identifier is one of ours, it is that record: we wrote it and did not hear.
    fn welcome(&mut self, side: Side, native: Arc<str>, fields: Arc<Fields>, terms: &Terms<'_>) {
        let ours = native.parse::<EngineId>().ok().and_then(|id| self.at.get(&id).copied());
        let ours = ours.filter(|at| {
            self.items.get(*at).is_some_and(|item| {
                item.row.entity == fields.entity
                    && item.row.native.get(side).is_none()
                    && matches!(item.is.get(side), Is::Absent | Is::Lost)
                    && !item.told(side)
            })
        });
        let at = ours.unwrap_or_else(|| {
            let mut id = EngineId::derive(terms.session, side, &native);
            while self.at.contains_key(&id) {
                id = EngineId::derive(terms.session, side, &id.to_string());
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
            *item.told.get_mut(side) = Some(fields);
        }
    }

    /// The item that a record belongs to on a side.
    pub(crate) fn owner(&self, at: usize, side: Side) -> Option<usize> {
        match self.items.get(at)?.now(side)?.owner()? {
            Ref::Unknown(native) => self.natives.get(side).get(&**native).copied(),
            Ref::Known(id) => self.at.get(id).copied(),
        }
    }

    /// The item that a relation of a record leads to.
    pub(crate) fn related(&self, at: usize, side: Side, key: &str) -> Option<usize> {
        match self.items.get(at)?.now(side)?.get(key)?.refs().first()? {
            Ref::Unknown(native) => self.natives.get(side).get(&**native).copied(),
            Ref::Known(id) => self.at.get(id).copied(),
        }
    }

    /// `other` is found to be `at`: what it is on `side` goes over.
    pub(crate) fn merge(&mut self, at: usize, other: usize, side: Side, assumed: bool) {
        let Some(from) = self.items.get_mut(other) else { return };
        let now = from.now(side).cloned();
        let native = from.row_mut().native.get_mut(side).take();
        *from.told.get_mut(side) = None;
        let covered = *from.covered.get(side);
        from.merged = true;
        let id = from.id;
        *from.is.get_mut(side) = Is::Absent;
        self.at.insert(id, at);
        if let Some(native) = &native {
            self.natives.get_mut(side).insert(native.clone(), at);
        }
        let Some(item) = self.items.get_mut(at) else { return };
        *item.told.get_mut(side) = now;
        *item.covered.get_mut(side) = covered;
        *item.is.get_mut(side) = Is::There;
        // Nothing is agreed between two records that meet for the first time.
        let row = item.row_mut();
        *row.native.get_mut(side) = native;
        row.agreed = Sides::default();
        row.more = None;
        item.matched = true;
        item.assumed |= assumed;
    }

    /// Relations by engine id; what says what was said before, or what the other side says, shares the memory.
    fn resolve(&mut self) {
        let ids: Vec<EngineId> = self.items.iter().map(|item| item.id).collect();
        let moved = self.items.iter().any(|item| item.merged);
        for item in &mut self.items {
            for side in Side::BOTH {
                let natives = self.natives.get(side);
                let id = |native: &str| natives.get(native).and_then(|at| ids.get(*at)).copied();
                if let Some(told) = item.told.get_mut(side).take() {
                    let told = resolved(told, id);
                    let known = item.row.seen.get(side).as_ref().is_some_and(|seen| *seen == told);
                    *item.told.get_mut(side) = (!known).then_some(told);
                }
                if moved {
                    if let Some(now) = after_moves(item.now(side).map(|now| &**now), &self.at, &ids) {
                        *item.told.get_mut(side) = Some(now);
                    }
                    if let Some(agreed) = after_moves(item.row.agreed.get(side).as_deref(), &self.at, &ids) {
                        *item.row_mut().agreed.get_mut(side) = Some(agreed);
                    }
                }
            }
            for side in Side::BOTH {
                let other = item.now(side.other());
                let same = other.filter(|other| item.told.get(side).as_ref().is_some_and(|told| told == *other));
                if let Some(same) = same.cloned() {
                    *item.told.get_mut(side) = Some(same);
                }
            }
            item.matched |= Side::BOTH.iter().any(|side| *item.is.get(*side) == Is::Lost);
        }
        // From here on relations are by engine id, and what is not known is not there.
        self.natives = Sides::default();
        if moved {
            self.items.retain(|item| !item.merged);
            self.at.clear();
            self.at
                .extend(self.items.iter().enumerate().map(|(at, item)| (item.id, at)));
        }
    }

    /// What a person knows a record by; a part is named with what it belongs to.
    pub(crate) fn title(&self, at: usize) -> String {
        let Some(item) = self.items.get(at) else {
            return String::new();
        };
        let own = item.title();
        let owner = Side::BOTH.iter().find_map(|side| self.owner(at, *side));
        let owner = owner
            .filter(|_| item.kind == EntityKind::Child)
            .and_then(|owner| self.items.get(owner));
        match owner.map(Item::title) {
            Some(owner) if !owner.is_empty() && !own.is_empty() => format!("{owner}, {own}"),
            Some(owner) if !owner.is_empty() => owner,
            _ => own,
        }
    }

    /// Something that somebody should know of a record.
    pub(crate) fn note(&self, at: usize, what: NoteKind) -> Option<Note> {
        Some(Note {
            id: self.items.get(at)?.id,
            title: self.title(at),
            what,
        })
    }

    /// Nothing is on the device any more: it is going to be cleared.
    pub(crate) fn empty_device(&mut self) {
        for item in &mut self.items {
            item.is.device = Is::Absent;
            item.told.device = None;
            let row = item.row_mut();
            row.native.device = None;
            row.seen.device = None;
            row.agreed = Sides::default();
            row.more = None;
        }
    }
}

/// Relations by engine id.
fn resolved(mut told: Arc<Fields>, id: impl FnMut(&str) -> Option<EngineId>) -> Arc<Fields> {
    if let Some(fields) = Arc::get_mut(&mut told) {
        fields.resolve(id);
        return told;
    }
    let mut fields = Fields::clone(&told);
    fields.resolve(id);
    Arc::new(fields)
}

/// With relations to what records were found to be; `None` where none changes.
fn after_moves(old: Option<&Fields>, at: &ById<usize>, ids: &[EngineId]) -> Option<Arc<Fields>> {
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
        Arc::new(old.like(list.collect()))
    })
}

/// Whether the rows of a side have to be checked before their identifiers are used.
pub(crate) fn needs_check(standing: Standing, old_build: Option<&str>, build: Option<&str>) -> bool {
    matches!(standing, Standing::Foreign | Standing::Reset)
        || (old_build.is_some() && build.is_some() && old_build != build)
}
