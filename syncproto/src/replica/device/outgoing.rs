//! What is sent of a write, and in how many messages. Spec: mobilesync, sections 7.2, 7.4 and 8.6.

use std::collections::BTreeSet;

use crate::engine::{Batch, EngineId, Outcome, Write};
use crate::entity;
use crate::record::{Change, Changes, Record, RecordId};
use cabled_wire::plist::{Dictionary, Value};

/// Bytes of values after which a message is closed; what a property list adds to them keeps it below 1 MiB.
const MESSAGE: usize = 900 << 10;
/// Records of one message.
const RECORDS: usize = 500;
/// The largest picture that devices keep, in bytes.
const PICTURE: usize = 768_000;
/// The key under which a contact has its picture.
const IMAGE: &str = "image";
/// Says that the device's picture stays.
const IMAGE_UNCHANGED: &str = "SDImageUnchangedMarker";
/// The first version of contacts in which that is understood.
const MARKER_SINCE: i64 = 106;
/// Keys that only files on a computer have: a device is never sent them.
const COMPUTERS_OWN: [&str; 4] = ["vcard:", "ical:", "html:", "json:"];
/// On an event that cannot be said in the device's terms: it would change its meaning.
const NOT_SYNCABLE: &str = "ical:not syncable";
/// Levels of arrays and dictionaries that are measured; a message has 16 at most.
const DEPTH: u8 = 16;

/// One message of changes, before it is sent.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    pub(super) changes: Changes,
    pub(super) entities: BTreeSet<String>,
    /// Each record with what has to be known when the answer comes.
    pub(super) sent: Vec<Sent>,
    bytes: usize,
}

impl Parcel {
    /// A message without records that says that all people and groups were sent.
    pub(super) fn all_people() -> Self {
        Self {
            entities: [entity::CONTACT, entity::GROUP].map(str::to_owned).into(),
            ..Self::default()
        }
    }
}

/// A record that is on its way.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) engine: EngineId,
    pub(super) id: RecordId,
    pub(super) new: bool,
    /// A person or group: new ones get their identifiers when all have come.
    pub(super) joins: bool,
}

/// Whether a device keeps a picture that it is told is unchanged: both sides have to say a version that knows the word.
/// Else the picture would be erased, and is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pictures {
    /// What did not change is not sent.
    Marked,
    /// Everything is sent.
    Whole,
}

impl Pictures {
    /// From the version of the class that was said, -1 for the newest, and that of the device where it said one.
    pub(super) fn of(said: i64, devices: Option<i64>) -> Self {
        let knows = |version: i64| version >= MARKER_SINCE;
        match (said == -1 || knows(said)) && devices.is_none_or(knows) {
            true => Self::Marked,
            false => Self::Whole,
        }
    }
}

/// A batch as messages, and what becomes of writes that are not sent at all.
pub(super) fn parcels(batch: Batch, pictures: Pictures) -> (Vec<Parcel>, Vec<(EngineId, Outcome)>) {
    let (mut parcels, mut outcomes) = (Vec::<Parcel>::new(), Vec::new());
    for write in batch.writes {
        let keeps_image = write.keeps_image() && pictures == Pictures::Marked;
        let Write {
            engine,
            id,
            new,
            entity,
            change,
            ..
        } = write;
        let change = match change {
            Change::Delete => Change::Delete,
            Change::Upsert(record) => match outgoing(record, keeps_image) {
                Ok(record) => Change::Upsert(record),
                Err(reason) => {
                    outcomes.push((engine, Outcome::Failed { reason }));
                    continue;
                }
            },
        };
        let bytes = size(&id, &change);
        let full = |parcel: &Parcel| {
            parcel.changes.len() >= RECORDS
                || (parcel.bytes.saturating_add(bytes) > MESSAGE && !parcel.changes.is_empty())
                // One message says one thing about a record.
                || parcel.changes.get(&id).is_some()
        };
        if parcels.last().is_none_or(full) {
            parcels.push(Parcel::default());
        }
        let Some(parcel) = parcels.last_mut() else { continue };
        parcel.bytes = parcel.bytes.saturating_add(bytes);
        let joins = matches!(change, Change::Upsert(_)) && joins(&entity);
        parcel.entities.insert(entity);
        parcel.changes.insert(id.clone(), change);
        parcel.sent.push(Sent { engine, id, new, joins });
    }
    (parcels, outcomes)
}

/// People and groups: new ones get their identifiers together, once a session.
pub(super) fn joins(entity: &str) -> bool {
    matches!(entity, entity::CONTACT | entity::GROUP)
}

/// A record as it is sent, or why it cannot be.
fn outgoing(mut record: Record, keeps_image: bool) -> Result<Record, String> {
    if let Some(why) = record.attributes.get(NOT_SYNCABLE) {
        let why = why.as_string().unwrap_or("devices have no words for it");
        return Err(format!(
            "it cannot be sent to a device without a change of meaning: {why}"
        ));
    }
    let kept = |(key, value): (String, Value)| {
        let own = COMPUTERS_OWN.iter().any(|prefix| key.starts_with(prefix));
        (!own).then_some((key, value))
    };
    record.attributes = record.attributes.into_iter().filter_map(kept).collect::<Dictionary>();
    if record.entity.as_deref() == Some(entity::CONTACT) {
        let picture = record.attributes.get(IMAGE).and_then(Value::as_data);
        let too_large = picture.is_some_and(|picture| picture.len() > PICTURE);
        if keeps_image || too_large {
            record.attributes.remove(IMAGE);
            record.attributes.insert(IMAGE_UNCHANGED.to_owned(), true.into());
        }
    }
    Ok(record)
}

fn size(id: &RecordId, change: &Change) -> usize {
    let record = match change {
        Change::Delete => 32,
        Change::Upsert(record) => dictionary(&record.attributes, DEPTH).saturating_add(64),
    };
    record.saturating_add(id.as_str().len()).saturating_add(16)
}

/// Bytes of a value in a property list, a little too many.
fn measure(value: &Value, depth: u8) -> usize {
    let Some(depth) = depth.checked_sub(1) else { return 0 };
    let inside = match value {
        // Two bytes for what is not ASCII.
        Value::String(text) => text.len().saturating_mul(2),
        Value::Data(data) => data.len(),
        Value::Array(list) => list
            .iter()
            .fold(0, |sum: usize, value| sum.saturating_add(measure(value, depth))),
        Value::Dictionary(dict) => dictionary(dict, depth),
        _ => 8,
    };
    inside.saturating_add(10)
}

fn dictionary(dict: &Dictionary, depth: u8) -> usize {
    dict.iter().fold(0, |sum: usize, (key, value)| {
        // The same keys stand once in a message, however many records have them: only their references count.
        let key = if key.len() > 64 { key.len() } else { 8 };
        sum.saturating_add(key).saturating_add(measure(value, depth))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataClass;
    use crate::engine::{SessionId, Side};
    use crate::msg::Message;

    fn engine(name: &str) -> EngineId {
        EngineId::derive(&SessionId([7; 16]), Side::Computer, name)
    }

    fn write(name: &str, record: Record, groups: Option<&[&str]>) -> Write {
        let engine = engine(name);
        Write {
            engine,
            id: RecordId::new(engine.to_string()).unwrap(),
            new: groups.is_none(),
            entity: record.entity.clone().unwrap(),
            groups: groups
                .unwrap_or_default()
                .iter()
                .map(|group| (*group).to_owned())
                .collect(),
            change: Change::Upsert(record),
        }
    }

    fn batch(writes: Vec<Write>) -> Batch {
        Batch {
            entities: writes.iter().map(|write| write.entity.clone()).collect(),
            writes,
            completes: true,
            more: false,
        }
    }

    fn sent(write: Write) -> Record {
        let id = write.id.clone();
        let (parcels, outcomes) = parcels(batch(vec![write]), Pictures::Marked);
        assert_eq!(outcomes, []);
        match parcels[0].changes.get(&id) {
            Some(Change::Upsert(record)) => record.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn ann(picture: usize) -> Record {
        Record::new(entity::CONTACT)
            .with("first name", "Ann")
            .with("image", Value::Data(vec![1; picture]))
    }

    #[test]
    fn a_picture_goes_with_a_new_person_and_with_a_change_of_it_and_else_stays_where_it_is() {
        let keys = |write| sent(write).attributes.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(write("new", ann(10), None)), ["first name", "image"]);
        assert_eq!(
            keys(write("changed", ann(10), Some(&["name", "image"]))),
            ["first name", "image"]
        );
        let marked = ["first name", IMAGE_UNCHANGED];
        assert_eq!(keys(write("same", ann(10), Some(&["name"]))), marked);
        assert_eq!(keys(write("large", ann(PICTURE + 1), Some(&["image"]))), marked);
        assert_eq!(
            keys(write("largest", ann(PICTURE), Some(&["image"]))),
            ["first name", "image"]
        );
        // A picture that is gone is erased: no marker.
        let bare = Record::new(entity::CONTACT).with("first name", "Ann");
        assert_eq!(keys(write("gone", bare, Some(&["image"]))), ["first name"]);
    }

    #[test]
    fn a_picture_is_sent_whole_where_the_word_for_its_staying_is_not_known() {
        use Pictures::{Marked, Whole};
        let table = [
            (106, Some(106), Marked),
            (-1, None, Marked),
            (999, Some(999), Marked),
            (105, Some(106), Whole),
            (106, Some(104), Whole),
        ];
        for (said, devices, pictures) in table {
            assert_eq!(Pictures::of(said, devices), pictures, "{said} {devices:?}");
        }
        let write = write("same", ann(10), Some(&["name"]));
        let id = write.id.clone();
        let (parcels, _) = parcels(batch(vec![write]), Whole);
        let Some(Change::Upsert(record)) = parcels[0].changes.get(&id) else {
            panic!("it is sent")
        };
        assert_eq!(*record, ann(10));
    }

    #[test]
    fn keys_of_files_stay_on_the_computer() {
        let record = Record::new(entity::CONTACT)
            .with("vcard:UID", "x")
            .with("ical:DTSTAMP", "x")
            .with("html:title", "x")
            .with("json:tags", "x")
            .with("com.example.kept", "x");
        let record = sent(write("one", record, None));
        assert_eq!(record.attributes.keys().collect::<Vec<_>>(), ["com.example.kept"]);
    }

    #[test]
    fn an_event_that_devices_have_no_words_for_is_never_sent_flattened() {
        let event = Record::new(entity::EVENT)
            .with("summary", "Moon")
            .with(NOT_SYNCABLE, "it has RDATE");
        let (parcels, outcomes) = parcels(batch(vec![write("moon", event, None)]), Pictures::Marked);
        assert!(parcels.is_empty());
        assert!(
            matches!(&outcomes[..], [(id, Outcome::Failed { reason })] if *id == engine("moon") && reason.contains("RDATE"))
        );
    }

    #[test]
    fn no_message_is_larger_than_a_mebibyte_or_500_records() {
        let people = (0..20).map(|n| write(&n.to_string(), ann(300_000), None)).collect();
        let (large, _) = parcels(batch(people), Pictures::Marked);
        assert_eq!(large.iter().map(|parcel| parcel.changes.len()).sum::<usize>(), 20);
        let texts = (0..1_200).map(|n| {
            let record = Record::new(entity::CONTACT)
                .with("notes", "ü".repeat(900))
                .with("first name", format!("{n}"));
            write(&format!("text {n}"), record, None)
        });
        let (many, _) = parcels(batch(texts.collect()), Pictures::Marked);
        assert_eq!(many.iter().map(|parcel| parcel.sent.len()).sum::<usize>(), 1_200);
        for parcel in large.into_iter().chain(many) {
            assert!(parcel.changes.len() <= RECORDS);
            let message = Message::ProcessChanges {
                class: DataClass::Contacts,
                changes: Some(parcel.changes),
                more: true,
                info: None,
            };
            let bytes = message.encode().len();
            assert!(bytes < 1 << 20, "{bytes}");
        }
    }
}
