//! What the phone tells, in the batches that its kinds of records come in. Spec: mobilesync, section 7.1.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_syncproto::{DataClass, entity};
use cabled_wire::plist::Value;

use super::store::{ClassStore, Logged};
use super::table;

/// The largest version of a computer that hears no attendees.
const WITHOUT_ATTENDEES: i64 = 104;
/// The largest version of a computer that is told all calendars whenever it asks.
const ALL_CALENDARS: i64 = 109;

/// The batches that are still to be told: identifiers only, the records are looked up when their turn comes.
#[derive(Debug)]
pub(super) struct Pull {
    batches: VecDeque<Vec<Told>>,
}

#[derive(Debug)]
enum Told {
    Record(RecordId),
    Deleted(RecordId),
}

type Records = BTreeMap<RecordId, Arc<Record>>;

impl Pull {
    /// Everything.
    pub(super) fn all(class: &DataClass, records: &Records, version: i64, image_batch: usize) -> Self {
        let of = |entities: &[&str]| -> Vec<Told> {
            let wanted = |(_, record): &(&RecordId, &Arc<Record>)| is_one_of(record, entities);
            records
                .iter()
                .filter(wanted)
                .map(|(id, _)| Told::Record(id.clone()))
                .collect()
        };
        let strangers = |(id, record): (&RecordId, &Arc<Record>)| is_stranger(record).then(|| Told::Record(id.clone()));
        let mut batches = match class {
            DataClass::Contacts => {
                let mut batches = people(records, records.keys(), image_batch);
                // Without people one message is all there is.
                let nobody = batches.is_empty();
                if nobody {
                    batches.push_back(Vec::new());
                }
                if let Some(last) = batches.back_mut() {
                    last.extend(of(&[entity::GROUP]));
                }
                if !nobody {
                    batches.extend(CHILDREN.map(|kind| of(&[kind])));
                }
                batches
            }
            DataClass::Calendars => {
                let mut batches = VecDeque::from([
                    of(&[entity::CALENDAR]),
                    of(&[entity::EVENT]),
                    of(&[entity::DISPLAY_ALARM, entity::AUDIO_ALARM]),
                    of(&[entity::RECURRENCE]),
                ]);
                if version > WITHOUT_ATTENDEES {
                    batches.push_back(of(&[entity::ATTENDEE, entity::ORGANIZER]));
                }
                batches
            }
            // Computer to device only.
            DataClass::MailAccounts => return Self::whole([Vec::new()]),
            _ => return Self::whole([records.keys().map(|id| Told::Record(id.clone())).collect()]),
        };
        if let Some(last) = batches.back_mut() {
            last.extend(records.iter().filter_map(strangers));
        }
        Self { batches }
    }

    fn whole(batches: [Vec<Told>; 1]) -> Self {
        Self {
            batches: batches.into(),
        }
    }

    /// What changed since the last pull.
    pub(super) fn changes(
        class: &DataClass,
        records: &Records,
        store: &ClassStore,
        version: i64,
        image_batch: usize,
    ) -> Self {
        let log = &store.log;
        let changed = |entities: &[&str]| -> Vec<Told> {
            let told = |(id, logged): (&RecordId, &Logged)| match logged {
                Logged::Changed => {
                    let fits = records.get(id).is_some_and(|record| is_one_of(record, entities));
                    fits.then(|| Told::Record(id.clone()))
                }
                Logged::Deleted { entity } => entities.contains(&entity.as_str()).then(|| Told::Deleted(id.clone())),
            };
            log.iter().filter_map(told).collect()
        };
        let mut batches: VecDeque<Vec<Told>> = match class {
            DataClass::Contacts => contact_changes(records, log, &changed, image_batch),
            DataClass::Calendars => {
                let calendars = if version <= ALL_CALENDARS {
                    let all = records
                        .iter()
                        .filter(|(_, record)| is_one_of(record, &[entity::CALENDAR]));
                    all.map(|(id, _)| Told::Record(id.clone())).collect()
                } else {
                    changed(&[entity::CALENDAR])
                };
                let rest = changed(&[
                    entity::EVENT,
                    entity::ORGANIZER,
                    entity::DISPLAY_ALARM,
                    entity::AUDIO_ALARM,
                    entity::RECURRENCE,
                    entity::ATTENDEE,
                ]);
                if calendars.is_empty() {
                    [rest].into()
                } else {
                    [calendars, rest].into()
                }
            }
            DataClass::Notes => [changed(&[entity::NOTE])].into(),
            // Unchanged, or the session would not be a fast one.
            _ => return Self::whole([Vec::new()]),
        };
        let strangers = |(id, logged): (&RecordId, &Logged)| match logged {
            Logged::Changed => is_stranger(records.get(id)?).then(|| Told::Record(id.clone())),
            Logged::Deleted { entity } => table::of(entity).is_none().then(|| Told::Deleted(id.clone())),
        };
        if let Some(last) = batches.back_mut() {
            last.extend(log.iter().filter_map(strangers));
        }
        Self { batches }
    }

    /// The next batch and whether more will come; `None` when all was told.
    pub(super) fn next(&mut self, records: &Records) -> Option<(Option<Changes>, bool)> {
        let batch = self.batches.pop_front()?;
        let change = |told: Told| match told {
            Told::Record(id) => {
                let record = Record::clone(records.get(&id)?);
                Some((id, Change::Upsert(record)))
            }
            Told::Deleted(id) => Some((id, Change::Delete)),
        };
        let changes: Changes = batch.into_iter().filter_map(change).collect();
        Some(((!changes.is_empty()).then_some(changes), !self.batches.is_empty()))
    }

    /// Whether the next batch is the last one.
    pub(super) fn is_last(&self) -> bool {
        self.batches.len() <= 1
    }
}

const CHILDREN: [&str; 7] = [
    entity::EMAIL_ADDRESS,
    entity::PHONE_NUMBER,
    entity::STREET_ADDRESS,
    entity::URL,
    entity::RELATED_NAME,
    entity::IM,
    entity::DATE,
];

fn is_one_of(record: &Record, entities: &[&str]) -> bool {
    record
        .entity
        .as_deref()
        .is_some_and(|entity| entities.contains(&entity))
}

/// Whether the phone itself has no words for a record: it was put there for a test, and is told with the last batch.
fn is_stranger(record: &Record) -> bool {
    record.entity.as_deref().and_then(table::of).is_none()
}

/// People, cut into batches by the size of their pictures.
fn people<'a>(records: &Records, ids: impl Iterator<Item = &'a RecordId>, image_batch: usize) -> VecDeque<Vec<Told>> {
    let mut batches: VecDeque<Vec<Told>> = VecDeque::new();
    let mut pictures = 0_usize;
    for id in ids {
        let Some(record) = records.get(id).filter(|record| is_one_of(record, &[entity::CONTACT])) else {
            continue;
        };
        if batches.is_empty() || pictures >= image_batch {
            pictures = 0;
            batches.push_back(Vec::new());
        }
        let picture = record
            .attributes
            .get("image")
            .and_then(Value::as_data)
            .map_or(0, <[u8]>::len);
        pictures = pictures.saturating_add(picture);
        if let Some(batch) = batches.back_mut() {
            batch.push(Told::Record(id.clone()));
        }
    }
    batches
}

/// Changed people whole, then all children of theirs and of people whose children changed.
fn contact_changes(
    records: &Records,
    log: &BTreeMap<RecordId, Logged>,
    changed: &dyn Fn(&[&str]) -> Vec<Told>,
    image_batch: usize,
) -> VecDeque<Vec<Told>> {
    let mut touched: BTreeSet<RecordId> = BTreeSet::new();
    for (id, logged) in log {
        match (logged, records.get(id)) {
            (Logged::Changed, Some(record)) if is_one_of(record, &[entity::CONTACT]) => {
                touched.insert(id.clone());
            }
            (Logged::Changed, Some(record)) => touched.extend(ClassStore::owner_of(record)),
            (Logged::Deleted { .. }, _) | (_, None) => {}
        }
    }
    let mut batches = people(records, touched.iter(), image_batch);
    if batches.is_empty() {
        batches.push_back(Vec::new());
    }
    let gone = |told: &Told| matches!(told, Told::Deleted(_));
    if let Some(first) = batches.front_mut() {
        first.extend(changed(&[entity::CONTACT]).into_iter().filter(gone));
    }
    let of_touched = records.iter().filter(|(_, record)| {
        !is_one_of(record, &[entity::CONTACT, entity::GROUP])
            && ClassStore::owner_of(record).is_some_and(|owner| touched.contains(&owner))
    });
    let mut last: Vec<Told> = of_touched.map(|(id, _)| Told::Record(id.clone())).collect();
    last.extend(changed(&CHILDREN).into_iter().filter(gone));
    last.extend(changed(&[entity::GROUP]));
    batches.push_back(last);
    batches
}
