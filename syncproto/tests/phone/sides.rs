//! A folder on a computer that fails now and then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cabled_syncproto::engine::{Batch, Capabilities, EngineId, Extent, Outcome, Write};
use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_syncproto::replica::{Committed, End, Memory, OpenRequest, Opened, Replica, ReplicaError, Told};

/// What goes wrong on the computer in one session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Every so-many-th write cannot be staged.
    Write(usize),
    /// Every so-many-th item was changed meanwhile, which shows at the commit.
    Commit(usize),
    /// The program ends when so many writes are visible.
    Ends(usize),
    /// The folder is gone.
    Unavailable,
}

/// What a folder held after each commit, by which it knows what changed since.
#[derive(Clone, Default)]
pub(crate) struct Pictures(Arc<Mutex<Vec<BTreeMap<RecordId, Record>>>>);

impl Pictures {
    /// Takes one, and gives its name.
    fn take(&self, records: BTreeMap<RecordId, Record>) -> String {
        let mut all = self.0.lock().unwrap();
        all.push(records);
        (all.len() - 1).to_string()
    }

    /// What changed since the one of that name.
    fn since(&self, name: &str, now: &BTreeMap<RecordId, Record>) -> Changes {
        let all = self.0.lock().unwrap();
        let then = &all[name.parse::<usize>().unwrap()];
        let new = now.iter().filter(|(id, record)| then.get(id) != Some(record));
        let gone = then.keys().filter(|id| !now.contains_key(id));
        let new = new.map(|(id, record)| (id.clone(), Change::Upsert(record.clone())));
        new.chain(gone.map(|id| (id.clone(), Change::Delete))).collect()
    }
}

pub(crate) struct Folder {
    pub(crate) memory: Memory,
    pub(crate) fault: Fault,
    /// With these it tells what changed, and without them all it has.
    pictures: Option<Pictures>,
    changes: Option<Changes>,
    staged: Vec<Write>,
    number: usize,
}

impl Folder {
    pub(crate) fn new(memory: Memory, pictures: Option<Pictures>, fault: Fault) -> Self {
        Self {
            memory,
            fault,
            pictures,
            changes: None,
            staged: Vec::new(),
            number: 0,
        }
    }

    fn failed(&mut self) -> Outcome {
        Outcome::Failed {
            reason: "a test".to_owned(),
        }
    }
}

impl Replica for Folder {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of_files()
    }

    async fn open(&mut self, request: OpenRequest<'_>) -> Result<Opened, ReplicaError> {
        if self.fault == Fault::Unavailable {
            return Err(ReplicaError::Unavailable {
                what: "the folder".to_owned(),
                reason: "it is not mounted".to_owned(),
            });
        }
        self.staged.clear();
        let opened = self.memory.open(request).await?;
        let since = self.pictures.as_ref().zip(request.token.filter(|_| !request.full));
        self.changes = since.map(|(pictures, name)| pictures.since(name, &self.memory.all()));
        Ok(match self.changes {
            Some(_) => opened.extent(Extent::Changes),
            None => opened,
        })
    }

    async fn read(&mut self) -> Result<Told, ReplicaError> {
        match &mut self.changes {
            Some(changes) if changes.is_empty() => Ok(Told::End(End::complete())),
            Some(changes) => Ok(Told::Batch(std::mem::take(changes))),
            None => self.memory.read().await,
        }
    }

    async fn clear(&mut self) -> Result<(), ReplicaError> {
        Err(ReplicaError::OutOfTurn { call: "clear" })
    }

    async fn write(&mut self, batch: Batch) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        let mut outcomes = Vec::new();
        for write in batch.writes {
            self.number += 1;
            if matches!(self.fault, Fault::Write(every) if self.number.is_multiple_of(every)) {
                outcomes.push((write.engine, self.failed()));
                continue;
            }
            let native = write.new.then(|| write.id.clone());
            outcomes.push((write.engine, Outcome::Done { native }));
            self.staged.push(write);
        }
        Ok(outcomes)
    }

    async fn commit(&mut self) -> Result<Committed, ReplicaError> {
        let mut committed = Committed::default();
        for (at, write) in std::mem::take(&mut self.staged).into_iter().enumerate() {
            if self.fault == Fault::Ends(at) {
                return Err(ReplicaError::Broken("the program ended".into()));
            }
            if matches!(self.fault, Fault::Commit(every) if (at + 1).is_multiple_of(every)) {
                committed.outcomes.push((write.engine, self.failed()));
                continue;
            }
            match write.change {
                Change::Upsert(record) => self.memory.put(write.id, record),
                Change::Delete => drop(self.memory.remove(&write.id)),
            }
        }
        self.memory.abort("it was taken apart by hand").await?;
        committed.token = self.pictures.as_ref().map(|pictures| pictures.take(self.memory.all()));
        Ok(committed)
    }

    async fn abort(&mut self, reason: &str) -> Result<(), ReplicaError> {
        self.staged.clear();
        self.memory.abort(reason).await
    }
}
