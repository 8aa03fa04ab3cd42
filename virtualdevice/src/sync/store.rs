//! What the phone keeps of each class between sessions, and what a person does to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cabled_syncproto::record::{Record, RecordId};
use cabled_syncproto::{DataClass, entity};
use cabled_wire::plist::Value;

use super::options::{SyncFault, SyncOptions};
use super::table::{self, Numbering};

/// The records of a class and how far computers know them.
#[derive(Clone, Debug, Default)]
pub(super) struct ClassStore {
    pub(super) records: BTreeMap<RecordId, Arc<Record>>,
    pub(super) device_anchor: Option<String>,
    pub(super) computer_anchor: Option<String>,
    /// What changed since the last pull; for deletions the entity that went.
    pub(super) log: BTreeMap<RecordId, Logged>,
    /// The log cannot tell what changed.
    pub(super) log_lost: bool,
    /// The phone's version of the class at the last commit.
    pub(super) committed_version: Option<i64>,
    pub(super) generation: u64,
    pub(super) committed_generation: u64,
    pub(super) rows: Rows,
}

/// What the log says of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Logged {
    Changed,
    Deleted { entity: String },
}

/// The last row given out, by kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows(BTreeMap<(u32, String), u64>);

impl Rows {
    /// An identifier that nothing has. `taken` says what has one.
    pub(super) fn next(
        &mut self,
        numbering: Numbering,
        owner: Option<&RecordId>,
        reuse: bool,
        taken: impl Fn(&RecordId) -> bool,
    ) -> Option<RecordId> {
        let (number, prefix) = match numbering {
            Numbering::Person => (0, String::new()),
            Numbering::Group => (1, "Group/".to_owned()),
            Numbering::Note => (2, "Note/".to_owned()),
            Numbering::Row(kind) => (kind, format!("{kind}/")),
            Numbering::Value(property) => (property, format!("{property}/{}/", owner?)),
            Numbering::OwnersRow(kind) => {
                let row = owner?.as_str().rsplit('/').next()?;
                return RecordId::new(format!("{kind}/{row}")).ok();
            }
            Numbering::Computers => return None,
        };
        let first: u64 = if matches!(numbering, Numbering::Value(_)) { 0 } else { 1 };
        let last = self.0.entry((number, prefix.clone())).or_insert(first);
        if reuse {
            *last = first;
        }
        loop {
            let id = RecordId::new(format!("{prefix}{last}")).ok()?;
            *last = last.checked_add(1)?;
            if !taken(&id) {
                return Some(id);
            }
        }
    }
}

impl ClassStore {
    /// Whether a record belongs to another, directly.
    pub(super) fn owner_of(record: &Record) -> Option<RecordId> {
        let kind = table::of(record.entity.as_deref()?)?;
        record.related(kind.owner?).ok()?.into_iter().next()
    }

    fn touched(&mut self, id: &RecordId, logged: Logged) {
        self.generation = self.generation.saturating_add(1);
        self.log.insert(id.clone(), logged);
    }
}

/// Everything the phone knows about sync: records, anchors, behaviour, faults. Cheap to clone; all clones are one.
///
/// The methods that change records are what a person does at the phone: computers hear of it in the next session.
#[derive(Clone, Debug, Default)]
pub struct SyncState {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) classes: BTreeMap<DataClass, ClassStore>,
    pub(super) options: SyncOptions,
    pub(super) faults: VecDeque<SyncFault>,
    /// Anchors given out: each is another.
    pub(super) anchors: u64,
}

impl SyncState {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the agent behaves.
    #[must_use]
    pub fn options(&self) -> SyncOptions {
        self.lock().options.clone()
    }

    /// Sets how the agent behaves, from the next message on.
    pub fn set_options(&self, options: SyncOptions) {
        self.lock().options = options;
    }

    /// Adds something that goes wrong once.
    pub fn push_fault(&self, fault: SyncFault) {
        self.lock().faults.push_back(fault);
    }

    /// Faults that have not struck yet.
    #[must_use]
    pub fn pending_faults(&self) -> Vec<SyncFault> {
        self.lock().faults.iter().cloned().collect()
    }

    /// Takes back the faults that have not struck yet.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    pub(super) fn take_fault(&self, fits: impl Fn(&SyncFault) -> bool) -> Option<SyncFault> {
        let mut inner = self.lock();
        let at = inner.faults.iter().position(fits)?;
        inner.faults.remove(at)
    }

    /// The records of a class, as they are.
    #[must_use]
    pub fn records(&self, class: &DataClass) -> BTreeMap<RecordId, Record> {
        let inner = self.lock();
        let records = inner.classes.get(class).map(|store| &store.records);
        let copy = |(id, record): (&RecordId, &Arc<Record>)| (id.clone(), Record::clone(record));
        records.into_iter().flatten().map(copy).collect()
    }

    /// Adds a record and gives its identifier; bookmarks and accounts get the one that is asked for, or a made-up UUID.
    ///
    /// `None` when the phone does not know the entity, or the owner that its numbering needs is missing.
    pub fn add(&self, class: &DataClass, record: Record) -> Option<RecordId> {
        let mut inner = self.lock();
        let count = inner.anchors;
        let store = inner.classes.entry(class.clone()).or_default();
        let kind = table::of(record.entity.as_deref()?)?;
        let owner = ClassStore::owner_of(&record);
        let id = match kind.numbering {
            Numbering::Computers => {
                let seed = crate::contents::made_up_uuid(store.generation.wrapping_add(count), kind.entity);
                RecordId::new(seed).ok()?
            }
            numbering => {
                let ClassStore { rows, records, .. } = store;
                rows.next(numbering, owner.as_ref(), false, |id| records.contains_key(id))?
            }
        };
        store.records.insert(id.clone(), Arc::new(record));
        store.touched(&id, Logged::Changed);
        Some(id)
    }

    /// Puts a record on the phone as it is, whatever it is: unknown entities and keys, values of the wrong type.
    pub fn put(&self, class: &DataClass, id: RecordId, record: Record) {
        let mut inner = self.lock();
        let store = inner.classes.entry(class.clone()).or_default();
        store.touched(&id, Logged::Changed);
        store.records.insert(id, Arc::new(record));
    }

    /// Changes a record; says whether it was there.
    pub fn edit(&self, class: &DataClass, id: &RecordId, edit: impl FnOnce(&mut Record)) -> bool {
        let mut inner = self.lock();
        let Some(store) = inner.classes.get_mut(class) else {
            return false;
        };
        let Some(record) = store.records.get_mut(id) else {
            return false;
        };
        edit(Arc::make_mut(record));
        store.touched(id, Logged::Changed);
        true
    }

    /// Deletes a record with everything that belongs to it; says whether it was there.
    pub fn delete(&self, class: &DataClass, id: &RecordId) -> bool {
        let mut inner = self.lock();
        let Some(store) = inner.classes.get_mut(class) else {
            return false;
        };
        let owned = Owned::of(&store.records);
        let gone = remove(&mut store.records, &owned, id);
        let was_there = gone.iter().any(|(gone, _)| gone == id);
        for (id, logged) in gone {
            store.touched(&id, logged);
        }
        was_there
    }

    /// The phone can no longer tell what changed in a class: the next session is a slow one.
    pub fn lose_log(&self, class: &DataClass) {
        if let Some(store) = self.lock().classes.get_mut(class) {
            store.log_lost = true;
        }
    }

    /// The phone was erased and set up again from its own data: anchors are gone, rows are numbered anew.
    pub fn renumber(&self) {
        for (class, store) in &mut self.lock().classes {
            let old = std::mem::take(store);
            if matches!(class, DataClass::Bookmarks | DataClass::MailAccounts) {
                store.records = old.records;
                continue;
            }
            *store = renumbered(&old);
        }
    }
}

/// The same records under other identifiers, owners first.
fn renumbered(old: &ClassStore) -> ClassStore {
    let mut new = ClassStore::default();
    let mut names: BTreeMap<RecordId, RecordId> = BTreeMap::new();
    let mut left: Vec<(&RecordId, &Arc<Record>)> = old.records.iter().rev().collect();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|(id, record)| {
            let owner = ClassStore::owner_of(record);
            let new_owner = owner.as_ref().and_then(|owner| names.get(owner));
            let waits = owner.as_ref().is_some_and(|owner| old.records.contains_key(owner)) && new_owner.is_none();
            if waits {
                return true;
            }
            let Some(kind) = record.entity.as_deref().and_then(table::of) else {
                return false;
            };
            let ClassStore { rows, records, .. } = &mut new;
            if let Some(given) = rows.next(kind.numbering, new_owner, false, |id| records.contains_key(id)) {
                names.insert((*id).clone(), given.clone());
                records.insert(given, Arc::clone(record));
            }
            false
        });
        if left.len() == before {
            break; // owners in a circle, which nothing here makes
        }
    }
    for record in new.records.values_mut() {
        let keys = table::of(record.entity.as_deref().unwrap_or_default()).and_then(|kind| kind.owner);
        for key in keys.into_iter().chain(["members", "main event"]) {
            let Ok(related) = record.related(key) else { continue };
            if !related.is_empty() {
                let renamed = related
                    .iter()
                    .filter_map(|id| names.get(id))
                    .map(|id| id.as_str().into())
                    .collect();
                Arc::make_mut(record)
                    .attributes
                    .insert(key.to_owned(), Value::Array(renamed));
            }
        }
    }
    new
}

/// What belongs to what, and who is in which group.
#[derive(Debug, Default)]
pub(super) struct Owned(BTreeMap<RecordId, Vec<RecordId>>);

impl Owned {
    pub(super) fn of(records: &BTreeMap<RecordId, Arc<Record>>) -> Self {
        let mut owned: BTreeMap<RecordId, Vec<RecordId>> = BTreeMap::new();
        for (id, record) in records {
            if let Some(owner) = ClassStore::owner_of(record) {
                owned.entry(owner).or_default().push(id.clone());
            }
            for member in record.related("members").unwrap_or_default() {
                owned.entry(member).or_default().push(id.clone());
            }
        }
        Self(owned)
    }
}

/// Removes a record with everything that belongs to it, and takes it out of its groups. Gives what changed.
pub(super) fn remove(
    records: &mut BTreeMap<RecordId, Arc<Record>>,
    owned: &Owned,
    id: &RecordId,
) -> Vec<(RecordId, Logged)> {
    let mut changed = Vec::new();
    let mut going = vec![id.clone()];
    while let Some(id) = going.pop() {
        let Some(record) = records.remove(&id) else {
            continue;
        };
        let entity = record.entity.clone().unwrap_or_default();
        for dependent in owned.0.get(&id).into_iter().flatten() {
            let Some(record) = records.get_mut(dependent) else {
                continue;
            };
            if record.entity.as_deref() == Some(entity::GROUP) {
                let members = record.related("members").unwrap_or_default().into_iter();
                let left = members
                    .filter(|member| *member != id)
                    .map(|member| member.as_str().into())
                    .collect();
                Arc::make_mut(record)
                    .attributes
                    .insert("members".to_owned(), Value::Array(left));
                changed.push((dependent.clone(), Logged::Changed));
            } else {
                going.push(dependent.clone());
            }
        }
        changed.push((id, Logged::Deleted { entity }));
    }
    changed
}
