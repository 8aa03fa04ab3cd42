//! What people do to records, on either side.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use cabled_syncproto::record::{Record, RecordId};
use cabled_syncproto::replica::Memory;
use cabled_syncproto::{DataClass, entity};
use cabled_virtualdevice::Phone;
use cabled_wire::plist::{Date, Value};

/// Where an edit is made.
pub(crate) enum Place<'a> {
    Phone(&'a Phone, DataClass),
    Computer(&'a Memory, u64),
}

impl Place<'_> {
    pub(crate) fn records(&self) -> BTreeMap<RecordId, Record> {
        match self {
            Self::Phone(phone, class) => phone.sync().records(class),
            Self::Computer(memory, _) => memory.all(),
        }
    }

    /// Adds a record; `unique` names it on a computer.
    pub(crate) fn add(&self, unique: &str, record: Record) -> RecordId {
        match self {
            Self::Phone(phone, class) => phone.sync().add(class, record).unwrap(),
            Self::Computer(memory, host) => {
                let id = RecordId::new(format!("file-{host}-{unique}")).unwrap();
                memory.put(id.clone(), record);
                id
            }
        }
    }

    pub(crate) fn set(&self, id: &RecordId, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self {
            Self::Phone(phone, class) => {
                phone.sync().edit(class, id, |record| {
                    drop(record.attributes.insert(key.to_owned(), value))
                });
            }
            Self::Computer(memory, _) => {
                let mut record = memory.all().remove(id).unwrap();
                record.attributes.insert(key.to_owned(), value);
                memory.put(id.clone(), record);
            }
        }
    }

    pub(crate) fn delete(&self, id: &RecordId) {
        match self {
            Self::Phone(phone, class) => drop(phone.sync().delete(class, id)),
            Self::Computer(memory, _) => drop(memory.remove(id)),
        }
    }
}

/// Entities and keys of a class.
pub(crate) struct Shape {
    pub(crate) root: &'static str,
    /// What a person knows a root by; never edited here, so that it can be found again.
    pub(crate) name: &'static str,
    /// Keys of a root that are edited, each a group of its own.
    pub(crate) keys: &'static [&'static str],
    pub(crate) container: &'static str,
    pub(crate) container_name: &'static str,
    /// The key by which a root names its container, or a container its members.
    pub(crate) member: Member,
    pub(crate) part: Option<(&'static str, &'static str, &'static str)>,
}

pub(crate) enum Member {
    /// The container lists its members.
    Lists(&'static str),
    /// The root names its container.
    Names(&'static str),
}

pub(crate) fn shape(class: &DataClass) -> Shape {
    match class {
        DataClass::Contacts => Shape {
            root: entity::CONTACT,
            name: "first name",
            keys: &["notes", "nickname", "department"],
            container: entity::GROUP,
            container_name: "name",
            member: Member::Lists("members"),
            part: Some((entity::PHONE_NUMBER, "contact", "value")),
        },
        DataClass::Calendars => Shape {
            root: entity::EVENT,
            name: "summary",
            keys: &["location", "description", "url"],
            container: entity::CALENDAR,
            container_name: "title",
            member: Member::Names("calendar"),
            part: Some((entity::DISPLAY_ALARM, "owner", "description")),
        },
        _ => Shape {
            root: entity::BOOKMARK,
            name: "name",
            keys: &["url"],
            container: entity::FOLDER,
            container_name: "name",
            member: Member::Names("parent"),
            part: None,
        },
    }
}

pub(crate) fn refs(ids: impl IntoIterator<Item = RecordId>) -> Value {
    Value::Array(ids.into_iter().map(|id| Value::from(id.as_str())).collect())
}

pub(crate) fn date(seconds: u64) -> Date {
    Date::from(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// A new root with what the device wants of one.
pub(crate) fn new_root(shape: &Shape, name: &str, number: u64, container: Option<RecordId>) -> Record {
    let mut record = Record::new(shape.root).with(shape.name, name);
    match shape.root {
        entity::CONTACT => record = record.with("display as company", "person"),
        entity::EVENT => {
            let start = 1_700_000_000 + number * 3600;
            record = record
                .with("start date", date(start))
                .with("end date", date(start + 1800))
                .with("start date.timezone", "Europe/Berlin");
        }
        _ => {
            record = record
                .with("url", format!("https://{number}.example/"))
                .with("position", i64::try_from(number % 5).unwrap());
        }
    }
    if let (Member::Names(key), Some(container)) = (&shape.member, container) {
        record = record.with(key, refs([container]));
    }
    record
}

pub(crate) fn of_entity(records: &BTreeMap<RecordId, Record>, name: &str) -> Vec<RecordId> {
    let those = records
        .iter()
        .filter(|(_, record)| record.entity.as_deref() == Some(name));
    those.map(|(id, _)| id.clone()).collect()
}

pub(crate) fn text(record: &Record, key: &str) -> String {
    let value = record.attributes.get(key).and_then(Value::as_string);
    value.unwrap_or_default().to_owned()
}
