//! A class on a device as one side of a sync, against the virtual phone.
#![cfg(all(feature = "pair", feature = "session"))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod ends;
mod refusals;
mod standings;
mod writes;

use std::collections::BTreeMap;

use cabled_syncproto::engine::{Batch, EngineId, Outcome, SessionId, Side, Write};
use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_syncproto::replica::{Device, OpenRequest, Opened, Replica, ReplicaError, Told};
use cabled_syncproto::session::{SessionError, SessionOptions, SyncLink};
use cabled_syncproto::{DataClass, entity};
use cabled_virtualdevice::{Phone, service, sync};
use cabled_wire::plist::Value;

const CONTACTS: DataClass = DataClass::Contacts;
const CALENDARS: DataClass = DataClass::Calendars;
const BOOKMARKS: DataClass = DataClass::Bookmarks;

fn phone() -> Phone {
    Phone::builder().seed(7).build().unwrap()
}

fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

fn text<'a>(record: &'a Record, key: &str) -> &'a str {
    let value = record.attributes.get(key);
    value.and_then(|value| value.as_string()).unwrap_or_default()
}

fn person(name: &str) -> Record {
    Record::new(entity::CONTACT)
        .with("first name", name)
        .with("display as company", "person")
}

/// A class over a new connection to the phone's sync service, without lockdown and TLS.
async fn device(phone: &Phone, class: DataClass) -> Device {
    let (host, stream) = tokio::io::duplex(256 << 10);
    let phone = phone.clone();
    tokio::spawn(async move { service::dispatch(phone, sync::NAME, Box::new(stream), None).await });
    let link = SyncLink::connect(Box::new(host), SessionOptions::default());
    Device::new(link.await.unwrap(), class).with_build("18.1 (22B83)")
}

/// What a computer keeps of a class between sessions.
#[derive(Default)]
struct Host {
    token: Option<String>,
    doubtful: Option<String>,
}

impl Host {
    async fn open(&mut self, device: &mut Device, full: bool) -> Result<Opened, ReplicaError> {
        let session = SessionId(*uuid::Uuid::new_v4().as_bytes());
        let request = OpenRequest::new(session)
            .token(self.token.as_deref())
            .doubtful(self.doubtful.as_deref())
            .full(full);
        device.open(request).await
    }

    async fn commit(&mut self, device: &mut Device, opened: Opened) {
        assert_eq!(device.commit().await.unwrap().token, None);
        self.token = opened.token;
    }

    /// A whole session that writes nothing.
    async fn session(&mut self, phone: &Phone, class: DataClass) {
        let mut device = device(phone, class).await;
        let opened = self.open(&mut device, false).await.unwrap();
        read(&mut device).await;
        self.commit(&mut device, opened).await;
    }
}

/// Everything that is told from here on.
async fn read(device: &mut Device) -> Changes {
    let mut all = Changes::new();
    loop {
        match device.read().await.unwrap() {
            Told::Batch(changes) => changes
                .into_iter()
                .for_each(|(id, change)| drop(all.insert(id, change))),
            Told::End(end) => {
                assert!(end.complete && end.unreadable.is_empty());
                return all;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn records(changes: Changes) -> BTreeMap<RecordId, Record> {
    let record = |(id, change)| match change {
        Change::Upsert(record) => (id, record),
        Change::Delete => panic!("{id} was deleted"),
    };
    changes.into_iter().map(record).collect()
}

fn create(name: &str, record: Record) -> Write {
    let engine = EngineId::derive(&SessionId([9; 16]), Side::Computer, name);
    Write {
        engine,
        id: id(&engine.to_string()),
        new: true,
        entity: record.entity.clone().unwrap(),
        groups: Vec::new(),
        change: Change::Upsert(record),
    }
}

fn update(name: &str, native: &RecordId, record: Record, groups: &[&str]) -> Write {
    Write {
        id: native.clone(),
        new: false,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..create(name, record)
    }
}

/// The last batch, and the only one.
fn batch(writes: impl IntoIterator<Item = Write>) -> Batch {
    let writes: Vec<Write> = writes.into_iter().collect();
    Batch {
        entities: writes.iter().map(|write| write.entity.clone()).collect(),
        writes,
        completes: true,
        more: false,
    }
}

fn done(native: &RecordId) -> Outcome {
    Outcome::Done {
        native: Some(native.clone()),
    }
}

/// The identifiers that the phone gave.
fn natives(outcomes: &[(EngineId, Outcome)]) -> BTreeMap<EngineId, RecordId> {
    let native = |(id, outcome): &(EngineId, Outcome)| match outcome {
        Outcome::Done { native: Some(native) } => Some((*id, native.clone())),
        _ => None,
    };
    outcomes.iter().filter_map(native).collect()
}
