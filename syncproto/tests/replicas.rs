//! Folders and files against a device, through the merge engine. Spec: mobilesync, sections 8.6 and 15.4 to 15.7.
#![cfg(feature = "files")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

#[path = "replicas/calendars.rs"]
mod calendars;
#[path = "replicas/changes.rs"]
mod changes;
#[path = "replicas/contacts.rs"]
mod contacts;
#[path = "replicas/hostile.rs"]
mod hostile;
#[path = "replicas/single.rs"]
mod single;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use cabled_syncproto::DataClass;
use cabled_syncproto::engine::{
    Batch, Capabilities, Execution, Extent, FirstSync, Inputs, Mask, OnConflict, Outcome, PairState, Plan, Policy,
    Report, Reports, SessionId, Side, Standing, plan,
};
use cabled_syncproto::record::{Change, Record, RecordId};
use cabled_syncproto::replica::{BlockingReplica, OpenRequest, ReplicaError, Told, Vdir};
use cabled_syncproto::schema;

/// Longer than the step of the clock that the times of files are taken from.
const GRAIN: Duration = Duration::from_millis(20);

/// A folder of cards whose next reading may tell changes alone, once [`settle`] was called.
fn contacts(folder: &Path) -> Vdir {
    Vdir::contacts(folder).grain(GRAIN)
}

/// Waits until what was written is old enough to be known by its time.
fn settle() {
    std::thread::sleep(GRAIN + Duration::from_millis(10));
}

fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

fn owned(entity: &str, key: &str, owner: &str) -> Record {
    Record::new(entity).with(key, vec![owner.into()])
}

/// A device in memory: keeps what devices store, gives numbers, and deletes parts with their owner.
#[derive(Debug, Default)]
struct Phone {
    records: BTreeMap<RecordId, Record>,
    last: u32,
}

impl Phone {
    fn put(&mut self, name: &str, record: Record) -> &mut Self {
        self.records.insert(id(name), record);
        self
    }

    fn edit(&mut self, name: &str, key: &str, value: &str) {
        let record = self.records.get_mut(&id(name)).unwrap();
        record.attributes.insert(key.to_owned(), value.into());
    }

    fn find(&self, key: &str, value: &str) -> (RecordId, Record) {
        let said = |record: &Record| record.attributes.get(key).and_then(|value| value.as_string()) == Some(value);
        let found = self.records.iter().find(|(_, record)| said(record));
        let (id, record) = found.unwrap_or_else(|| panic!("nothing has {value:?} as {key}"));
        (id.clone(), record.clone())
    }

    fn has(&self, key: &str, value: &str) -> bool {
        let said = |record: &Record| record.attributes.get(key).and_then(|value| value.as_string()) == Some(value);
        self.records.values().any(said)
    }

    fn delete(&mut self, gone: &RecordId) {
        self.records.remove(gone);
        let hangs = |record: &Record| {
            let entity = record.entity.as_deref().and_then(schema::entity);
            let owner = entity.and_then(|entity| entity.owner);
            let keys = owner.into_iter().chain(["main event"]);
            keys.into_iter().any(|key| record.related(key).unwrap().contains(gone))
        };
        let parts: Vec<RecordId> = self
            .records
            .iter()
            .filter(|(_, record)| hangs(record))
            .map(|(id, _)| id.clone())
            .collect();
        parts.iter().for_each(|part| self.delete(part));
    }

    fn take(&mut self, batch: Batch) -> Vec<(cabled_syncproto::engine::EngineId, Outcome)> {
        let mask = Mask::of_devices();
        let mut given = Vec::new();
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for write in &batch.writes {
            if write.new {
                self.last += 1;
                names.insert(write.id.to_string(), format!("9{:05}", self.last));
            }
        }
        for write in batch.writes {
            let name = names.get(write.id.as_str()).map_or(write.id.clone(), |name| id(name));
            match write.change {
                Change::Delete => self.delete(&name),
                Change::Upsert(mut record) => {
                    let entity = record.entity.clone().unwrap();
                    record.attributes.retain(|key, _| mask.stores(&entity, key));
                    for (_, value) in record.attributes.iter_mut() {
                        for one in value.as_array_mut().into_iter().flatten() {
                            if let Some(new) = one.as_string().and_then(|old| names.get(old)) {
                                *one = new.as_str().into();
                            }
                        }
                    }
                    self.records.insert(name.clone(), record);
                }
            }
            given.push((
                write.engine,
                Outcome::Done {
                    native: write.new.then_some(name),
                },
            ));
        }
        given
    }
}

/// What a session did.
struct Done {
    plan: Plan,
    notes: Vec<String>,
    unreadable: Vec<String>,
    failed: Vec<String>,
}

impl Done {
    /// Nothing had to be done, and nothing stood in the way.
    #[track_caller]
    fn is_idle(&self) {
        assert!(self.plan.is_empty() && self.plan.stops.is_empty(), "{}", self.plan);
        assert!(self.failed.is_empty(), "{:?}", self.failed);
    }

    #[track_caller]
    fn is_clean(&self) {
        assert!(self.plan.stops.is_empty(), "{}", self.plan);
        assert!(self.failed.is_empty(), "{:?}", self.failed);
    }
}

/// A device and a place on the computer with what is kept between their sessions.
struct Both {
    phone: Phone,
    state: PairState,
    token: Option<String>,
    sessions: u8,
    /// How much the computer told last.
    extent: Extent,
}

impl Both {
    fn new(class: DataClass) -> Self {
        Self {
            phone: Phone::default(),
            state: PairState::new(class),
            token: None,
            sessions: 0,
            extent: Extent::Everything,
        }
    }

    #[track_caller]
    fn sync(&mut self, place: &mut impl BlockingReplica) -> Done {
        self.try_sync(place, |_| ()).unwrap()
    }

    /// One session; `between` happens after everything was read.
    fn try_sync(
        &mut self,
        place: &mut impl BlockingReplica,
        between: impl FnOnce(&mut Phone),
    ) -> Result<Done, ReplicaError> {
        self.sessions += 1;
        let session = SessionId([self.sessions; 16]);
        let request = OpenRequest::new(session).token(self.token.as_deref());
        // Every fourth time everything is asked for, as after a session that broke off.
        let full = self.token.is_none() || self.sessions.is_multiple_of(4);
        if !full {
            settle();
        }
        let opened = place.open(request.full(full))?;
        self.extent = opened.extent;
        let mut reports = Reports::new(
            Report::new(Extent::Everything, Standing::Own),
            Report::new(opened.extent, opened.standing),
        );
        let all = self.phone.records.iter();
        reports.add(
            Side::Device,
            all.map(|(id, record)| (id.clone(), Change::Upsert(record.clone())))
                .collect(),
        );
        let end = loop {
            match place.read()? {
                Told::Batch(changes) => reports.add(Side::Computer, changes),
                Told::End(end) => break end,
                _ => unreachable!(),
            }
        };
        let mut inputs = Inputs::new(session);
        inputs.policy = Policy::default()
            .first_sync(FirstSync::Merge)
            .on_conflict(OnConflict::Device);
        inputs.capabilities.device = Capabilities::of_devices().confirms(true);
        inputs.capabilities.computer = place.capabilities();
        between(&mut self.phone);
        let planned = plan(
            std::mem::replace(&mut self.state, PairState::new(DataClass::Contacts)),
            reports,
            &inputs,
        );
        let mut execution = Execution::new(planned);
        let mut done = Done {
            plan: execution.plan().clone(),
            notes: end.notes,
            unreadable: end.unreadable,
            failed: Vec::new(),
        };
        let mut outcomes = Vec::new();
        if done.unreadable.is_empty() && done.plan.stops.is_empty() {
            while let Some(batch) = execution.next_batch(Side::Computer) {
                let told = place.write(batch)?;
                outcomes.extend(told.clone());
                execution.handle_outcomes(Side::Computer, told);
            }
            while let Some(batch) = execution.next_batch(Side::Device) {
                let told = self.phone.take(batch);
                execution.handle_outcomes(Side::Device, told);
            }
            let committed = place.commit()?;
            self.token = committed.token.or(opened.token);
            outcomes.extend(committed.outcomes.clone());
            execution.handle_outcomes(Side::Computer, committed.outcomes);
        } else {
            place.abort();
        }
        let reason = |(id, outcome)| match outcome {
            Outcome::Done { .. } => None,
            Outcome::Failed { reason } => Some(reason),
            other => Some(format!("{id} {other:?}")),
        };
        done.failed = outcomes.into_iter().filter_map(reason).collect();
        self.state = execution.state(0);
        Ok(done)
    }
}

/// The files of a folder that are items, by name.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_str().unwrap().to_owned();
        if entry.file_type().unwrap().is_dir() {
            for (inner, text) in files(&entry.path()) {
                all.insert(format!("{name}/{inner}"), text);
            }
        } else {
            all.insert(
                name,
                String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned(),
            );
        }
    }
    all
}

#[track_caller]
fn one_with(folder: &Path, text: &str) -> (String, String) {
    let found = files(folder).into_iter().find(|(_, content)| content.contains(text));
    found.unwrap_or_else(|| panic!("no file has {text:?}: {:#?}", files(folder)))
}
