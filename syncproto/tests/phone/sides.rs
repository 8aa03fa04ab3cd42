//! A folder on a computer that fails now and then.

use cabled_syncproto::engine::{Batch, Capabilities, EngineId, Outcome, Write};
use cabled_syncproto::record::Change;
use cabled_syncproto::replica::{Committed, Memory, OpenRequest, Opened, Replica, ReplicaError, Told};

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

pub(crate) struct Folder {
    pub(crate) memory: Memory,
    pub(crate) fault: Fault,
    staged: Vec<Write>,
    number: usize,
}

impl Folder {
    pub(crate) fn new(memory: Memory, fault: Fault) -> Self {
        Self {
            memory,
            fault,
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
        self.memory.open(request).await
    }

    async fn read(&mut self) -> Result<Told, ReplicaError> {
        self.memory.read().await
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
        Ok(committed)
    }

    async fn abort(&mut self, reason: &str) -> Result<(), ReplicaError> {
        self.staged.clear();
        self.memory.abort(reason).await
    }
}
