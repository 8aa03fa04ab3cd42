//! One open class: a copy of its records that becomes the truth at the commit and is dropped before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cabled_syncproto::msg::PushInfo;
use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_syncproto::{DataClass, entity};
use cabled_wire::plist::Value;

use super::options::SyncOptions;
use super::pull::Pull;
use super::store::{ClassStore, Logged, Owned, Rows, remove};
use super::table::{self, Kind, Numbering};

/// The key by which a computer says that a picture stays as it is.
const IMAGE_UNCHANGED: &str = "SDImageUnchangedMarker";

/// An open class.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) class: DataClass,
    /// The computer's anchor for this session.
    pub(super) computer_anchor: String,
    /// The phone's anchor for the next one.
    pub(super) device_anchor: String,
    /// The computer's version of the class.
    pub(super) version: i64,
    pub(super) records: BTreeMap<RecordId, Arc<Record>>,
    pub(super) pull: Option<Pull>,
    rows: Rows,
    touched: BTreeSet<RecordId>,
    cleared: bool,
    /// The computer's identifiers of new records, and ours.
    remaps: BTreeMap<RecordId, RecordId>,
    /// New people and groups wait until all have come.
    waiting: Vec<(RecordId, Record)>,
    people_added: bool,
}

impl Session {
    pub(super) fn new(
        class: DataClass,
        store: &ClassStore,
        computer_anchor: String,
        device_anchor: String,
        version: i64,
    ) -> Self {
        Self {
            class,
            computer_anchor,
            device_anchor,
            version,
            records: store.records.clone(),
            pull: None,
            rows: store.rows.clone(),
            touched: BTreeSet::new(),
            cleared: false,
            remaps: BTreeMap::new(),
            waiting: Vec::new(),
            people_added: false,
        }
    }

    /// Forgets all records, at the commit.
    pub(super) fn clear(&mut self) {
        self.touched.extend(std::mem::take(&mut self.records).into_keys());
        self.cleared = true;
    }

    /// Takes a batch of the computer and gives the identifiers of what is new in it.
    pub(super) fn apply(
        &mut self,
        changes: Changes,
        info: Option<&PushInfo>,
        options: &mut SyncOptions,
    ) -> BTreeMap<RecordId, RecordId> {
        let mut given = BTreeMap::new();
        let (deletions, mut upserts): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|(_, change)| *change == Change::Delete);
        let owned = if deletions.is_empty() {
            Owned::default()
        } else {
            Owned::of(&self.records)
        };
        for (id, _) in deletions {
            let id = self.resolve(&id);
            if self.records.contains_key(&id) && dropped(options) {
                continue;
            }
            let gone = remove(&mut self.records, &owned, &id);
            self.touched.extend(gone.into_iter().map(|(id, _)| id));
        }
        if options.children_first {
            upserts.reverse();
        }
        for (id, change) in upserts {
            if let Change::Upsert(record) = change {
                self.upsert(id, record, options, &mut given);
            }
        }
        if info.is_none_or(PushInfo::is_complete) && !self.people_added {
            self.people_added = true;
            let waiting = std::mem::take(&mut self.waiting);
            // People before groups, which name them.
            let (groups, people): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|(_, record)| record.entity.as_deref() == Some(entity::GROUP));
            for (id, record) in people.into_iter().chain(groups) {
                self.write(&id, record, options, &mut given);
            }
        }
        given
    }

    fn upsert(
        &mut self,
        id: RecordId,
        record: Record,
        options: &mut SyncOptions,
        given: &mut BTreeMap<RecordId, RecordId>,
    ) {
        let id = self.resolve(&id);
        let known = self.records.contains_key(&id);
        if known && dropped(options) {
            return;
        }
        let waits = match record.entity.as_deref() {
            Some(entity::GROUP) => true,
            Some(entity::CONTACT) => !known,
            _ => false,
        };
        if waits {
            if !self.people_added {
                self.waiting.push((id, record));
            }
            return;
        }
        self.write(&id, record, options, given);
    }

    /// Writes one record, whole; what is not acceptable is skipped without a word.
    fn write(
        &mut self,
        id: &RecordId,
        record: Record,
        options: &SyncOptions,
        given: &mut BTreeMap<RecordId, RecordId>,
    ) {
        let Some(kind) = record.entity.as_deref().and_then(table::of) else {
            return tracing::debug!("a record of an unknown entity is skipped");
        };
        let before = self.records.get(id).cloned();
        let Some(record) = self.accepted(kind, record, before.as_deref(), options) else {
            return tracing::debug!(entity = kind.entity, "a record is skipped");
        };
        let local = match kind.numbering {
            Numbering::Computers => id.clone(),
            _ if before.is_some() => id.clone(),
            numbering => {
                let owner = ClassStore::owner_of(&record);
                let records = &self.records;
                let taken = |id: &RecordId| records.contains_key(id);
                let Some(new) = self.rows.next(numbering, owner.as_ref(), options.reuses_rows, taken) else {
                    return;
                };
                self.remaps.insert(id.clone(), new.clone());
                given.insert(id.clone(), new.clone());
                new
            }
        };
        self.touched.insert(local.clone());
        self.records.insert(local, Arc::new(record));
    }

    /// What the phone makes of a record; `None` for one that it does not take.
    fn accepted(&self, kind: &Kind, record: Record, before: Option<&Record>, options: &SyncOptions) -> Option<Record> {
        let unchanged_image = record.attributes.get(IMAGE_UNCHANGED).is_some();
        let mut kept = Record::new(kind.entity);
        for (key, value) in record.attributes {
            if kind.keeps.contains(&key.as_str()) {
                kept.attributes.insert(key, value);
            }
        }
        let oversized = |value: &Value| value.as_data().is_some_and(|data| data.len() > options.image_limit);
        if kept.attributes.get("image").is_some_and(oversized) {
            kept.attributes.remove("image");
        }
        if unchanged_image
            && kept.attributes.get("image").is_none()
            && let Some(image) = before.and_then(|before| before.attributes.get("image"))
        {
            kept.attributes.insert("image".to_owned(), image.clone());
        }
        for key in kind.owner.into_iter().chain(["members", "main event"]) {
            let Ok(related) = kept.related(key) else { return None };
            if kept.attributes.get(key).is_some() {
                let known = related
                    .iter()
                    .map(|id| self.resolve(id))
                    .filter(|id| self.records.contains_key(id));
                let known: Vec<Value> = known.map(|id| id.as_str().into()).collect();
                kept.attributes.insert(key.to_owned(), Value::Array(known));
            }
        }
        let missing = kind.needs.iter().any(|key| kept.attributes.get(key).is_none());
        let homeless = kind.owner_needed && ClassStore::owner_of(&kept).is_none();
        if missing || homeless || (kind.entity == entity::STREET_ADDRESS && kept.attributes.len() < 3) {
            return None;
        }
        label_to_type(&mut kept);
        if kind.entity == entity::BOOKMARK && kept.attributes.get("name").is_none() {
            let url = kept.attributes.get("url").cloned()?;
            kept.attributes.insert("name".to_owned(), url);
        }
        if options.shouts {
            for (key, value) in &mut kept.attributes {
                if let (Value::String(text), "first name" | "summary" | "name") = (&mut *value, key.as_str()) {
                    *text = text.to_uppercase();
                }
            }
        }
        Some(kept)
    }

    /// The phone's identifier for one of the computer's, inside this session.
    fn resolve(&self, id: &RecordId) -> RecordId {
        if let Some(local) = self.remaps.get(id) {
            return local.clone();
        }
        match id.as_str().strip_prefix("com.apple.syncservices:") {
            Some(bare) => RecordId::new(bare).unwrap_or_else(|_| id.clone()),
            None => id.clone(),
        }
    }

    /// Makes the copy the truth.
    pub(super) fn commit(self, store: &mut ClassStore, options: &SyncOptions) {
        if self.cleared {
            let dropped = store
                .records
                .keys()
                .filter(|id| !self.records.contains_key(id))
                .cloned();
            let dropped: Vec<RecordId> = dropped.collect();
            for id in dropped {
                store.records.remove(&id);
                store.log.remove(&id);
            }
        }
        for id in &self.touched {
            let before = match self.records.get(id) {
                Some(record) => store.records.insert(id.clone(), Arc::clone(record)),
                None => store.records.remove(id),
            };
            // The computer knows; a change of a person that it wrote over is gone.
            store.log.remove(id);
            if options.echoes_writes {
                let logged = match (self.records.contains_key(id), before) {
                    (true, _) => Logged::Changed,
                    (false, before) => Logged::Deleted {
                        entity: before.and_then(|record| record.entity.clone()).unwrap_or_default(),
                    },
                };
                store.log.insert(id.clone(), logged);
            }
        }
        store.rows = self.rows;
        store.computer_anchor = Some(self.computer_anchor);
        store.committed_version = Some(options.version(&self.class));
        store.committed_generation = store.generation;
    }
}

/// Whether the next update or deletion is to be dropped without a word.
fn dropped(options: &mut SyncOptions) -> bool {
    match options.drops {
        0 => false,
        u32::MAX => true,
        left => {
            options.drops = left.saturating_sub(1);
            true
        }
    }
}

/// A label that the phone knows becomes the type.
fn label_to_type(record: &mut Record) {
    let label = record
        .attributes
        .get("label")
        .and_then(Value::as_string)
        .map(str::to_lowercase);
    let is_other = record.attributes.get("type").and_then(Value::as_string) == Some("other");
    let (Some(label), true) = (label, is_other) else { return };
    let entity = record.entity.as_deref().unwrap_or_default();
    if table::known_types(entity).contains(&label.as_str()) {
        record.attributes.insert("type".to_owned(), label.into());
        record.attributes.remove("label");
    }
}
