//! What has to be true when everything is quiet.

use std::collections::{BTreeMap, BTreeSet};

use cabled_syncproto::engine::SessionId;
use cabled_syncproto::entity;
use cabled_syncproto::record::{Change, Record, RecordId};
use cabled_syncproto::replica::{BlockingReplica, OpenRequest, Told, Vdir};

use crate::world::World;

/// What people see of a side.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Values by name: nickname, note, sorted telephone numbers. A name is there as often as there are cards with it.
    people: BTreeMap<String, Vec<(String, String, Vec<String>)>>,
    groups: BTreeMap<String, BTreeSet<String>>,
}

pub(crate) fn text(record: &Record, key: &str) -> String {
    let value = record.attributes.get(key).and_then(|value| value.as_string());
    value.unwrap_or_default().to_owned()
}

impl Seen {
    fn of(records: &BTreeMap<RecordId, Record>) -> Self {
        let of_entity = |name: &'static str| {
            let all = records.iter();
            all.filter(move |(_, record)| record.entity.as_deref() == Some(name))
        };
        let mut seen = Self::default();
        for (id, record) in of_entity(entity::CONTACT) {
            let mine = |record: &Record| record.related("contact").unwrap().contains(id);
            let numbers = of_entity(entity::PHONE_NUMBER).filter(|(_, record)| mine(record));
            let mut numbers: Vec<String> = numbers.map(|(_, record)| text(record, "value")).collect();
            numbers.sort();
            let values = (text(record, "nickname"), text(record, "notes"), numbers);
            seen.people.entry(text(record, "first name")).or_default().push(values);
        }
        seen.people.values_mut().for_each(|same| same.sort());
        for (_, record) in of_entity(entity::GROUP) {
            let members = record.related("members").unwrap();
            let names = members
                .iter()
                .filter_map(|id| records.get(id))
                .map(|record| text(record, "first name"));
            seen.groups.entry(text(record, "name")).or_default().extend(names);
        }
        seen
    }
}

/// Everything in a folder, as somebody who never saw it reads it.
pub(crate) fn read(folder: &std::path::Path) -> BTreeMap<RecordId, Record> {
    let mut vdir = Vdir::contacts(folder);
    vdir.open(OpenRequest::new(SessionId([9; 16]))).unwrap();
    let mut records = BTreeMap::new();
    loop {
        match vdir.read().unwrap() {
            Told::Batch(changes) => records.extend(changes.into_iter().filter_map(|(id, change)| match change {
                Change::Upsert(record) => Some((id, record)),
                Change::Delete => None,
            })),
            Told::End(end) => {
                assert!(end.complete && end.unreadable.is_empty(), "{end:?}");
                return records;
            }
            other => panic!("{other:?}"),
        }
    }
}

impl World {
    pub(crate) fn check(&self) {
        let folder = Seen::of(&read(self.cards.folder()));
        let phone = Seen::of(&self.records());
        assert_eq!(folder, phone, "the folder and the phone say different things");
        for name in &self.entered {
            let there = folder.people.get(name).map_or(0, Vec::len);
            assert!(there < 2, "{name} is there twice");
            assert!(
                there == 1 || self.deleted.contains(name),
                "nobody deleted {name}, who is there no more"
            );
        }
        for ((name, key), value) in self.typed.iter().filter(|((name, _), _)| !self.deleted.contains(name)) {
            let (nickname, note, numbers) = &folder.people[name][0];
            let kept = match &**key {
                "nickname" => nickname == value,
                "notes" => note == value,
                _ => numbers.contains(value),
            };
            assert!(kept, "an edit is lost: {key} of {name} is not {value}");
        }
        let left = std::fs::read_dir(self.cards.folder()).unwrap();
        let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<String> = left.filter(|name| name.ends_with(".tmp")).collect();
        assert!(left.is_empty() || self.broke, "left behind: {left:?}");
    }
}
