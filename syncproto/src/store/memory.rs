//! A store in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{BROKEN_OFF, Entry, Loaded, Snapshot, SnapshotInfo, StateStore, StoreError, Unfinished};
use crate::engine::{Extent, PairState, Side, Sides};
use crate::record::Changes;

/// What is kept between sessions, in memory: for tests and previews.
///
/// Clones share it: when a session is dropped half way, as if the program had been killed, another clone has what a disk
/// would have.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    state: Option<PairState>,
    journal: Vec<Entry>,
    told: Sides<Told>,
    snapshots: VecDeque<(SnapshotInfo, Vec<Changes>)>,
    numbers: u64,
}

#[derive(Debug, Default)]
struct Told {
    batches: Vec<Changes>,
    partly: bool,
}

impl MemoryStore {
    /// With the state of a committed session.
    #[must_use]
    pub fn with_state(state: PairState) -> Self {
        let store = Self::default();
        store.kept().state = Some(state);
        store
    }

    /// A copy of the state of the last committed session.
    #[must_use]
    pub fn state(&self) -> Option<PairState> {
        self.kept().state.clone()
    }

    /// A copy of the journal of the session under way, or of the one that broke off.
    #[must_use]
    pub fn journal(&self) -> Vec<Entry> {
        self.kept().journal.clone()
    }

    /// A copy of what a side told in the session under way.
    #[must_use]
    pub fn told(&self, side: Side) -> Vec<Changes> {
        self.kept().told.get(side).batches.clone()
    }

    /// The snapshots, oldest first.
    #[must_use]
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        self.kept().snapshots.iter().map(|(info, _)| info.clone()).collect()
    }

    /// A copy of what the device told for a snapshot, in the batches in which it came; `None` when there is none of that
    /// number.
    #[must_use]
    pub fn read_snapshot(&self, number: u64) -> Option<Vec<Changes>> {
        let kept = self.kept();
        let found = kept.snapshots.iter().find(|(info, _)| info.number == number);
        found.map(|(_, batches)| batches.clone())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Makes a snapshot of what the device told, if it told everything.
    fn snapshot(&mut self, at: u64, broken_off: bool) {
        let told = std::mem::take(&mut self.told.device);
        if told.partly || told.batches.is_empty() {
            return;
        }
        self.numbers = self.numbers.saturating_add(1);
        let info = SnapshotInfo {
            number: self.numbers,
            at,
            bytes: 0,
            records: told.batches.iter().map(|batch| batch.len() as u64).sum(),
            broken_off,
        };
        self.snapshots.push_back((info, told.batches));
    }

    /// Ends the session without a commit, and says whether it left the device cleared.
    fn end(&mut self) -> bool {
        let unfinished = Unfinished::of(std::mem::take(&mut self.journal)).unwrap_or_default();
        if unfinished.may_have_lost() {
            self.snapshot(unfinished.at, true);
            let broken = |(info, _): &&(SnapshotInfo, _)| info.broken_off;
            if self.snapshots.iter().filter(broken).count() > BROKEN_OFF {
                let oldest = self.snapshots.iter().position(|(info, _)| info.broken_off);
                drop(oldest.and_then(|at| self.snapshots.remove(at)));
            }
        }
        self.told = Sides::default();
        unfinished.outlives()
    }
}

impl StateStore for MemoryStore {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let kept = self.kept();
        Ok(Loaded::new(
            kept.state.clone(),
            Unfinished::of(kept.journal.iter().cloned()),
        ))
    }

    fn append(&mut self, entry: Entry) -> Result<(), StoreError> {
        let mut kept = self.kept();
        if matches!(entry, Entry::Begun { .. }) && kept.end() {
            kept.journal.push(Entry::Clearing);
        }
        kept.journal.push(entry);
        Ok(())
    }

    fn keep_told(&mut self, side: Side, extent: Extent, changes: &Changes) -> Result<(), StoreError> {
        let mut kept = self.kept();
        let told = kept.told.get_mut(side);
        told.partly |= extent == Extent::Changes;
        told.batches.push(changes.clone());
        Ok(())
    }

    fn commit(&mut self, state: &PairState, snapshot: Snapshot) -> Result<(), StoreError> {
        let mut kept = self.kept();
        let unfinished = Unfinished::of(std::mem::take(&mut kept.journal)).unwrap_or_default();
        if let Snapshot::Keep(most) = snapshot {
            kept.snapshot(unfinished.at, false);
            let over = kept.snapshots.len().saturating_sub(most);
            kept.snapshots.drain(..over);
        }
        kept.told = Sides::default();
        kept.state = Some(state.clone());
        Ok(())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let mut kept = self.kept();
        if kept.end() {
            kept.journal.push(Entry::Clearing);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataClass;
    use crate::engine::SessionId;
    use crate::record::{Change, Record, RecordId};

    const BEGUN: Entry = Entry::Begun {
        session: SessionId([7; 16]),
        at: 5,
    };

    fn ann() -> Changes {
        let ann = Record::new(crate::entity::CONTACT).with("first name", "Ann");
        Changes::from_iter([(RecordId::new("41").unwrap(), Change::Upsert(ann))])
    }

    #[test]
    fn a_session_that_is_dropped_is_found_by_another_clone() {
        let store = MemoryStore::default();
        let mut session = store.clone();
        session.append(BEGUN).unwrap();
        session.append(Entry::Clearing).unwrap();
        drop(session);
        let found = store.clone().load().unwrap();
        assert!(found.state.is_none());
        assert!(found.unfinished.unwrap().cleared);
    }

    #[test]
    fn a_commit_keeps_the_state_and_as_many_snapshots_as_it_is_told_to() {
        let mut store = MemoryStore::default();
        for _ in 0..3 {
            store.append(BEGUN).unwrap();
            store.keep_told(Side::Device, Extent::Everything, &ann()).unwrap();
            let state = PairState::new(DataClass::Contacts);
            store.commit(&state, Snapshot::Keep(2)).unwrap();
        }
        let numbers: Vec<u64> = store.snapshots().iter().map(|info| info.number).collect();
        assert_eq!(numbers, [2, 3]);
        assert_eq!(store.read_snapshot(3).unwrap(), [ann()]);
        assert!(store.journal().is_empty() && store.told(Side::Device).is_empty());
        assert!(store.load().unwrap().unfinished.is_none());
    }

    #[test]
    fn what_a_device_told_before_a_session_broke_off_is_kept_once_something_was_sent() {
        let mut store = MemoryStore::default();
        for entry in [Some(Entry::Clearing), None] {
            store.append(BEGUN).unwrap();
            store.keep_told(Side::Device, Extent::Everything, &ann()).unwrap();
            if let Some(entry) = entry {
                store.append(entry).unwrap();
            }
        }
        store.close().unwrap();
        let kept = store.snapshots();
        assert_eq!(kept.len(), 1);
        assert!(kept[0].broken_off);
        assert!(
            store.load().unwrap().unfinished.unwrap().cleared,
            "closing the second session says nothing about what the first did"
        );
    }

    #[test]
    fn a_report_of_changes_is_no_snapshot() {
        let mut store = MemoryStore::default();
        store.append(BEGUN).unwrap();
        store.keep_told(Side::Device, Extent::Changes, &ann()).unwrap();
        let state = PairState::new(DataClass::Contacts);
        store.commit(&state, Snapshot::Keep(2)).unwrap();
        assert!(store.snapshots().is_empty());
    }
}
