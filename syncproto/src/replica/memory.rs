//! Records in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Committed, End, OpenRequest, Opened, Replica, ReplicaError, Told};
use crate::engine::{Batch, Capabilities, EngineId, Outcome, Write};
use crate::record::{Change, Changes, Record, RecordId};
use crate::schema;

/// Records that are told in one batch.
const TOLD: usize = 10_000;

/// Records in memory: for tests, for programs that keep records elsewhere, and to bring a snapshot back.
///
/// Clones share the records, so a program can keep one and hand the other to a session. Dropping a future is safe: no
/// method waits.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    records: Arc<Mutex<BTreeMap<RecordId, Record>>>,
    session: Option<Session>,
}

#[derive(Clone, Debug, Default)]
struct Session {
    told_to: Option<RecordId>,
    clear: bool,
    staged: Vec<(RecordId, Change)>,
}

impl Memory {
    /// Adds or replaces a record.
    pub fn put(&self, id: RecordId, record: Record) {
        self.records().insert(id, record);
    }

    /// Removes a record with all that hangs on it, and its memberships. Says whether it was there.
    pub fn remove(&self, id: &RecordId) -> bool {
        remove(&mut self.records(), id)
    }

    /// A copy of all records.
    #[must_use]
    pub fn all(&self) -> BTreeMap<RecordId, Record> {
        self.records().clone()
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<RecordId, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FromIterator<(RecordId, Record)> for Memory {
    fn from_iter<I: IntoIterator<Item = (RecordId, Record)>>(records: I) -> Self {
        Self {
            records: Arc::new(Mutex::new(records.into_iter().collect())),
            session: None,
        }
    }
}

/// The identifiers under the keys that name what a record belongs to.
fn owners(record: &Record) -> Vec<RecordId> {
    let entity = record.entity.as_deref().and_then(schema::entity);
    let owner = entity.and_then(|entity| entity.owner);
    let ids = |key: &str| record.related(key).unwrap_or_default();
    owner.into_iter().chain(["main event"]).flat_map(ids).collect()
}

fn remove(records: &mut BTreeMap<RecordId, Record>, id: &RecordId) -> bool {
    let there = records.remove(id).is_some();
    let mut gone = vec![id.clone()];
    while let Some(id) = gone.pop() {
        let hangs = records.iter().filter(|(_, record)| owners(record).contains(&id));
        let hangs: Vec<RecordId> = hangs.map(|(id, _)| id.clone()).collect();
        for one in hangs {
            records.remove(&one);
            gone.push(one);
        }
        for record in records.values_mut() {
            forget_member(record, &id);
        }
    }
    there
}

fn forget_member(record: &mut Record, id: &RecordId) {
    let members = record
        .attributes
        .get_mut("members")
        .and_then(|members| members.as_array_mut());
    if let Some(members) = members {
        members.retain(|member| member.as_string() != Some(id.as_str()));
    }
}

impl Replica for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of_files().can_clear(true)
    }

    async fn open(&mut self, _request: OpenRequest<'_>) -> Result<Opened, ReplicaError> {
        self.session = Some(Session::default());
        Ok(Opened::own())
    }

    async fn read(&mut self) -> Result<Told, ReplicaError> {
        let told_to = match &self.session {
            Some(session) => session.told_to.clone(),
            None => return Err(ReplicaError::OutOfTurn { call: "read" }),
        };
        let from = told_to.map_or(Bound::Unbounded, Bound::Excluded);
        let mut batch = Changes::new();
        for (id, record) in self.records().range((from, Bound::Unbounded)).take(TOLD) {
            batch.insert(id.clone(), Change::Upsert(record.clone()));
        }
        let Some((last, _)) = batch.iter().last() else {
            return Ok(Told::End(End::complete()));
        };
        if let Some(session) = &mut self.session {
            session.told_to = Some(last.clone());
        }
        Ok(Told::Batch(batch))
    }

    async fn clear(&mut self) -> Result<(), ReplicaError> {
        let session = self.session.as_mut();
        session.ok_or(ReplicaError::OutOfTurn { call: "clear" })?.clear = true;
        Ok(())
    }

    async fn write(&mut self, batch: Batch) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        let session = self.session.as_mut();
        let session = session.ok_or(ReplicaError::OutOfTurn { call: "write" })?;
        let taken = |write: Write| {
            let native = write.new.then(|| write.id.clone());
            session.staged.push((write.id, write.change));
            (write.engine, Outcome::Done { native })
        };
        Ok(batch.writes.into_iter().map(taken).collect())
    }

    async fn commit(&mut self) -> Result<Committed, ReplicaError> {
        let session = self.session.take().ok_or(ReplicaError::OutOfTurn { call: "commit" })?;
        let mut records = self.records();
        if session.clear {
            records.clear();
        }
        for (id, change) in session.staged {
            match change {
                Change::Upsert(record) => drop(records.insert(id, record)),
                Change::Delete => drop(remove(&mut records, &id)),
            }
        }
        Ok(Committed::default())
    }

    async fn abort(&mut self, _reason: &str) -> Result<(), ReplicaError> {
        self.session = None;
        Ok(())
    }
}
