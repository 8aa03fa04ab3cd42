//! What is on a side of the model, and what happens to it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use cabled_syncproto::engine::{Mask, Rule};
use cabled_syncproto::entity;
use cabled_syncproto::record::{Record, RecordId};
use cabled_wire::plist::{Date, Value};

pub(crate) type Store = BTreeMap<String, Record>;

/// What a device that nobody has described hangs on some texts.
pub(crate) const SUFFIX: &str = "~";

/// The keys under which records are named.
pub(crate) const RELATIONS: [&str; 6] = ["members", "contact", "parent", "owner", "calendar", "main event"];

pub(crate) fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

pub(crate) fn refs(ids: &[String]) -> Value {
    Value::Array(ids.iter().map(|id| Value::from(id.as_str())).collect())
}

pub(crate) fn day(day: usize) -> Value {
    let seconds = Duration::from_secs(1_700_000_000 + 86_400 * day as u64);
    Value::Date(Date::from(SystemTime::UNIX_EPOCH + seconds))
}

pub(crate) fn related(record: &Record, key: &str) -> Vec<String> {
    let ids = record.related(key).unwrap();
    ids.iter().map(|id| id.as_str().to_owned()).collect()
}

pub(crate) fn text<'a>(record: &'a Record, key: &str) -> Option<&'a str> {
    record.attributes.get(key).and_then(Value::as_string)
}

/// The keys that name what a record goes with.
fn owner_keys(record: &Record) -> &'static [&'static str] {
    match record.entity.as_deref().unwrap() {
        entity::PHONE_NUMBER => &["contact"],
        entity::BOOKMARK | entity::FOLDER => &["parent"],
        entity::EVENT => &["calendar", "main event"],
        entity::DISPLAY_ALARM | entity::RECURRENCE | entity::ATTENDEE => &["owner"],
        _ => &[],
    }
}

/// What a record goes with.
pub(crate) fn owners(record: &Record) -> Vec<String> {
    owner_keys(record).iter().flat_map(|key| related(record, key)).collect()
}

/// Removes a record with what hangs on it.
pub(crate) fn remove(store: &mut Store, gone: &str) -> Vec<String> {
    let mut all = vec![gone.to_owned()];
    store.remove(gone);
    loop {
        let hangs = |record: &Record| owners(record).iter().any(|id| all.contains(id));
        let hanging = store.iter().filter(|(_, record)| hangs(record));
        let next: Vec<String> = hanging.map(|(id, _)| id.clone()).collect();
        if next.is_empty() {
            return all;
        }
        for id in next {
            store.remove(&id);
            all.push(id);
        }
    }
}

/// Takes records out of the groups that they are in.
pub(crate) fn forget_members(store: &mut Store, gone: &[String]) -> Vec<String> {
    let mut touched = Vec::new();
    for (id, record) in store.iter_mut() {
        let members = related(record, "members");
        let left: Vec<String> = members.iter().filter(|id| !gone.contains(id)).cloned().collect();
        if left.len() != members.len() {
            record.attributes.insert("members".to_owned(), refs(&left));
            touched.push(id.clone());
        }
    }
    touched
}

/// What a side that holds less makes of a record.
pub(crate) fn lossy(mask: &Mask, record: &mut Record) {
    let entity = record.entity.clone().unwrap();
    record.attributes.retain(|key, _| mask.stores(&entity, key));
}

pub(crate) fn known_rewriting(mask: &Mask, record: &mut Record) {
    for rewriting in &mask.rewrites {
        if record.entity.as_deref() == Some(rewriting.entity.as_str())
            && rewriting.rule == Rule::LowersText
            && let Some(Value::String(text)) = record.attributes.get_mut(&rewriting.key)
        {
            *text = text.to_lowercase();
        }
    }
}

/// What the mask does not know.
pub(crate) fn unknown_rewriting(record: &mut Record) {
    for key in ["department", "location"] {
        if let Some(Value::String(text)) = record.attributes.get_mut(key)
            && !text.ends_with(SUFFIX)
        {
            text.push_str(SUFFIX);
        }
    }
}

/// Every record under another number, as after a restore.
pub(crate) fn renumbered(store: &Store, mut next: usize) -> (Store, usize) {
    let mut names = BTreeMap::new();
    for name in store.keys() {
        next += 1;
        names.insert(name.clone(), next.to_string());
    }
    let mut new = Store::new();
    for (name, record) in store {
        let mut record = record.clone();
        for key in RELATIONS {
            if record.attributes.get(key).is_some() {
                let ids: Vec<String> = related(&record, key)
                    .iter()
                    .filter_map(|id| names.get(id).cloned())
                    .collect();
                record.attributes.insert(key.to_owned(), refs(&ids));
            }
        }
        new.insert(names[name].clone(), record);
    }
    (new, next)
}
