use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::states::{CHANGES, STATE};
use super::*;
use crate::DataClass;
use crate::engine::kept::{Name, Row};
use crate::engine::{EngineId, PairState};
use crate::record::{Change, Record, RecordId};
use crate::store::MemoryStore;

mod changes;
mod power;

pub(in crate::store) use power::Power;
use power::{Cut, LEFT};

/// A call of a store.
#[derive(Clone, Debug)]
enum Call {
    Append(Entry),
    Told(Side, Extent, u8),
    Commit(u32, Snapshot),
    Close,
}

impl Call {
    fn on(&self, store: &mut impl StateStore) -> Result<(), StoreError> {
        match self.clone() {
            Self::Append(entry) => store.append(entry),
            Self::Told(side, extent, number) => store.keep_told(side, extent, &told(number)),
            Self::Commit(sessions, snapshot) => store.commit(&state(sessions), snapshot),
            Self::Close => store.close(),
        }
    }
}

/// Of eighty rows some are other ones than after the session before, one is gone, and one is new.
fn state(sessions: u32) -> PairState {
    let name = Name::from(crate::entity::CONTACT);
    let row = |at: u32| {
        let mut row = Row::new(&name);
        let edited = at == sessions % 80;
        row.native.device = Some(format!("{at} of {}", if edited { sessions } else { 0 }).into());
        (EngineId::from_bytes([at.to_le_bytes()[0]; 16]), Arc::new(row))
    };
    PairState {
        sessions,
        rows: (0..80).chain([(sessions % 100).saturating_add(100)]).map(row).collect(),
        ..PairState::new(DataClass::Contacts)
    }
}

fn told(number: u8) -> Changes {
    let one = |at: u8| {
        let record = Record::new(crate::entity::CONTACT).with("first name", format!("Person {number} {at}"));
        (RecordId::new(format!("{number}-{at}")).unwrap(), Change::Upsert(record))
    };
    (0..3).map(one).collect()
}

fn begun(number: u8) -> Call {
    Call::Append(Entry::Begun {
        session: SessionId([number; 16]),
        at: number.into(),
    })
}

fn pushing(batch: u32) -> Call {
    Call::Append(Entry::Pushing {
        batch,
        ids: vec![EngineId::from_bytes([5; 16])],
    })
}

const DEVICE: Side = Side::Device;
const ALL: Extent = Extent::Everything;

/// Sessions that end well, are refused, break off, clear the device, tell changes only, and are given up.
fn history() -> Vec<Call> {
    let to_commit = |sessions| {
        let state = Box::new(state(sessions));
        Call::Append(Entry::ToCommit { state })
    };
    vec![
        begun(1),
        Call::Told(DEVICE, ALL, 1),
        Call::Told(Side::Computer, ALL, 2),
        Call::Told(DEVICE, ALL, 3),
        pushing(0),
        to_commit(1),
        Call::Append(Entry::Committed),
        Call::Commit(1, Snapshot::Keep(20)),
        // Breaks off after it was told to forget everything.
        begun(4),
        Call::Told(DEVICE, ALL, 4),
        Call::Append(Entry::Clearing),
        pushing(0),
        // Given up: that the device was cleared stays known.
        begun(5),
        Call::Told(DEVICE, ALL, 5),
        Call::Close,
        // Refused at the end.
        begun(6),
        Call::Told(DEVICE, ALL, 6),
        to_commit(2),
        Call::Append(Entry::NotCommitted),
        Call::Close,
        begun(7),
        Call::Told(DEVICE, Extent::Changes, 7),
        pushing(3),
        Call::Commit(3, Snapshot::Keep(20)),
        begun(8),
        Call::Told(DEVICE, ALL, 8),
        Call::Commit(4, Snapshot::Drop),
        // Little is changed, until it is much, and then again.
        begun(9),
        to_commit(5),
        Call::Append(Entry::Committed),
        Call::Commit(5, Snapshot::Drop),
        Call::Commit(6, Snapshot::Drop),
        begun(10),
        to_commit(7),
        Call::Commit(7, Snapshot::Drop),
        Call::Commit(8, Snapshot::Drop),
    ]
}

/// What is in the snapshots, whatever their numbers.
fn contents(batches: Vec<Vec<Changes>>) -> Vec<BTreeMap<String, String>> {
    let show = |(id, change): (RecordId, Change)| (id.to_string(), format!("{change:?}"));
    let merge = |batches: Vec<Changes>| batches.into_iter().flatten().map(show).collect();
    batches.into_iter().map(merge).collect()
}

fn kept_in_folder(store: &FileStore) -> Vec<BTreeMap<String, String>> {
    let read = |info: SnapshotInfo| {
        let batches: Result<Vec<Changes>, StoreError> = store.read_snapshot(info.number).unwrap().collect();
        let batches = batches.unwrap();
        assert_eq!(
            info.records,
            batches.iter().map(|batch| batch.len() as u64).sum::<u64>()
        );
        batches
    };
    contents(store.snapshots().unwrap().into_iter().map(read).collect())
}

fn kept_in_memory(store: &MemoryStore) -> Vec<BTreeMap<String, String>> {
    let read = |info: SnapshotInfo| store.read_snapshot(info.number).unwrap();
    contents(store.snapshots().into_iter().map(read).collect())
}

fn same(file: &mut FileStore, memory: &mut MemoryStore) -> bool {
    let (file, memory) = (file.load().unwrap(), memory.load().unwrap());
    file.state == memory.state && file.unfinished == memory.unfinished
}

#[test]
fn a_folder_and_memory_keep_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = MemoryStore::default();
    let mut lengths = vec![0];
    for again in [false, true] {
        for (at, call) in history().into_iter().enumerate() {
            // Opened anew at each call the second time: nothing lives in the program alone.
            let mut store = FileStore::open(folder.path()).unwrap();
            call.on(&mut store).unwrap();
            call.on(&mut memory).unwrap();
            if again {
                drop(store);
                store = FileStore::open(folder.path()).unwrap();
            }
            assert!(same(&mut store, &mut memory), "after call {at}, {call:?}");
            assert_eq!(kept_in_folder(&store), kept_in_memory(&memory), "after call {at}");
            let infos = store.snapshots().unwrap();
            let about = |info: &SnapshotInfo| (info.number, info.at, info.records, info.broken_off);
            assert_eq!(
                infos.iter().map(about).collect::<Vec<_>>(),
                memory.snapshots().iter().map(about).collect::<Vec<_>>()
            );
            lengths.push(fs::metadata(folder.path().join(CHANGES)).map_or(0, |file| file.len()));
        }
    }
    let steps = |is: fn(u64, u64) -> bool| lengths.windows(2).filter(|two| is(two[0], two[1])).count();
    assert!(
        steps(|before, after| before == 0 && after > 0) > 2,
        "changes were begun: {lengths:?}"
    );
    assert!(
        steps(|before, after| before > 0 && after > before) > 2,
        "and grew: {lengths:?}"
    );
    assert!(
        steps(|before, after| before > 0 && after == 0) > 2,
        "and became a state: {lengths:?}"
    );
}

/// Runs the history until the power is cut before step `step`. Gives whether it was.
fn cut(step: u32, left: Cut) -> bool {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("pair");
    let mut store = FileStore::open(&folder).unwrap();
    let power = store.disk.power.clone();
    power.cut_at(step, scratch.path());
    let mut before = MemoryStore::default();
    let mut after = MemoryStore::default();
    let mut failed = None;
    for call in history() {
        call.on(&mut after).unwrap();
        if let Err(error) = call.on(&mut store) {
            assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
            failed = Some(call);
            break;
        }
        call.on(&mut before).unwrap();
    }
    let Some(failed) = failed else { return false };
    drop(store);
    power.lose(left);

    let what = format!("step {step} of {failed:?}, {left:?}");
    let mut store = FileStore::open(&folder).unwrap();
    store.disk.power.cut_at(u32::MAX, scratch.path());
    let found = store.load().unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let [old, new] = [before.load().unwrap(), after.load().unwrap()];
    let is = |one: &Loaded| found.state == one.state && found.unfinished == one.unfinished;
    assert!(is(&old) || is(&new), "{what}: {found:?} is neither {old:?} nor {new:?}");
    // What was kept before is kept, and what a finished call has made of it.
    let kept = kept_in_folder(&store);
    let [old_kept, new_kept] = [kept_in_memory(&before), kept_in_memory(&after)];
    assert!(old_kept.iter().all(|one| kept.contains(one)), "{what}");
    if is(&new) && !is(&old) {
        assert!(new_kept.iter().all(|one| kept.contains(one)), "{what}");
    }
    // The next session finds what the device told before it was written to, and everything works on.
    let mut memory = if is(&old) { before } else { after };
    for call in [
        begun(9),
        Call::Told(DEVICE, ALL, 9),
        Call::Commit(9, Snapshot::Keep(20)),
    ] {
        call.on(&mut store).unwrap();
        call.on(&mut memory).unwrap();
        assert!(same(&mut store, &mut memory), "{what}, then {call:?}");
        let kept = kept_in_folder(&store);
        assert!(kept_in_memory(&memory).iter().all(|one| kept.contains(one)), "{what}");
    }
    true
}

#[cfg(unix)]
#[test]
fn a_cut_at_any_step_finds_the_state_before_or_the_new_one() {
    for left in LEFT {
        let steps = (0..).take_while(|step| cut(*step, left)).count();
        assert!(steps > 100, "{steps} steps");
    }
}

#[cfg(unix)]
#[test]
fn a_step_that_fails_once_can_be_tried_again() {
    for step in 0.. {
        let scratch = tempfile::tempdir().unwrap();
        let mut store = FileStore::open(scratch.path().join("pair")).unwrap();
        store.disk.power.fail_once_at(step, scratch.path());
        let mut memory = MemoryStore::default();
        let mut failed = false;
        for call in history() {
            if call.on(&mut store).is_err() {
                assert!(!failed, "it failed once");
                failed = true;
                call.on(&mut store).unwrap();
            }
            call.on(&mut memory).unwrap();
        }
        assert!(same(&mut store, &mut memory), "step {step}");
        assert_eq!(kept_in_folder(&store), kept_in_memory(&memory), "step {step}");
        if step > 100 && !store.disk.power.was_cut() {
            break;
        }
    }
}

/// A folder with a committed state, two changes of it and a journal of three entries, and the bytes of that.
fn with_journal() -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = FileStore::open(folder.path()).unwrap();
    let commits = (1..4).map(|sessions| Call::Commit(sessions, Snapshot::Drop));
    for call in commits.chain([begun(2), pushing(0), pushing(1)]) {
        call.on(&mut store).unwrap();
    }
    let journal = fs::read(folder.path().join(JOURNAL)).unwrap();
    (folder, journal)
}

fn load(folder: &Path) -> Result<Loaded, StoreError> {
    FileStore::open(folder).unwrap().load()
}

#[test]
fn an_entry_that_was_cut_off_is_left_out_and_the_next_takes_its_place() {
    let (folder, journal) = with_journal();
    let path = folder.path().join(JOURNAL);
    let last = journal.len() - (journal.len() - 60) / 3;
    for len in last + 20..journal.len() {
        // Cut off, and room given of which nothing or only a part arrived.
        let mut zeros = journal.clone();
        zeros[len..].fill(0);
        fs::write(&path, &journal[..len]).unwrap();
        let found = load(folder.path()).unwrap().unfinished.unwrap();
        assert_eq!(found.broke_at.unwrap().0, 0, "cut at {len}");
        let mut store = FileStore::open(folder.path()).unwrap();
        pushing(7).on(&mut store).unwrap();
        drop(store);
        let found = load(folder.path()).unwrap().unfinished.unwrap();
        assert_eq!(found.broke_at.unwrap().0, 7, "cut at {len}");
        fs::write(&path, &zeros).unwrap();
        match load(folder.path()) {
            Ok(found) => assert!(matches!(found.unfinished.unwrap().broke_at, Some((0 | 1, _)))),
            Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}"),
        }
    }
}

#[test]
fn room_that_was_never_filled_is_no_entry() {
    let (folder, mut journal) = with_journal();
    for zeros in [1, 15, 16, 17, 5000] {
        journal.extend(std::iter::repeat_n(0, zeros));
        fs::write(folder.path().join(JOURNAL), &journal).unwrap();
        let found = load(folder.path()).unwrap().unfinished.unwrap();
        assert_eq!(found.broke_at.unwrap().0, 1);
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_journal_a_state_or_its_changes_is_damage() {
    let (folder, _) = with_journal();
    for name in [JOURNAL, STATE, CHANGES] {
        let path = folder.path().join(name);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&path, &flipped).unwrap();
            let error = load(folder.path()).unwrap_err();
            assert!(
                matches!(error, StoreError::Damaged { .. }),
                "byte {at} of {name}: {error:?}"
            );
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert!(load(folder.path()).is_ok());
}

#[test]
fn a_journal_without_the_state_it_follows_is_damage_and_can_be_set_aside() {
    let (folder, journal) = with_journal();
    let mut store = FileStore::open(folder.path()).unwrap();
    Call::Told(DEVICE, ALL, 1).on(&mut store).unwrap();
    fs::remove_file(folder.path().join(STATE)).unwrap();
    assert!(matches!(store.load(), Err(StoreError::Damaged { .. })));
    assert!(matches!(begun(3).on(&mut store), Err(StoreError::Damaged { .. })));
    let aside = store.set_aside().unwrap();
    assert_eq!(fs::read(aside.join(JOURNAL)).unwrap(), journal);
    assert!(aside.join("told-device").exists());
    let loaded = store.load().unwrap();
    assert!(loaded.state.is_none() && loaded.unfinished.is_none());
    begun(3).on(&mut store).unwrap();
    assert_ne!(store.set_aside().unwrap(), aside);
    assert_eq!(fs::read(aside.join(JOURNAL)).unwrap(), journal);
}

#[test]
fn what_a_newer_version_wrote_is_left_alone() {
    use sha2::{Digest, Sha256};
    let (folder, _) = with_journal();
    let path = folder.path().join(STATE);
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 32);
    bytes[8] = 2;
    let seal = Sha256::digest(&bytes);
    bytes.extend_from_slice(&seal);
    fs::write(&path, &bytes).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { version: 2, .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_folder_is_for_one_store_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path()).unwrap();
    assert!(matches!(FileStore::open(folder.path()), Err(StoreError::Busy { .. })));
    drop(store);
    assert!(FileStore::open(folder.path()).is_ok());
}

#[test]
fn the_oldest_snapshots_go_and_of_those_that_broke_off_ten_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = FileStore::open(folder.path()).unwrap();
    for number in 0..13 {
        for call in [begun(number), Call::Told(DEVICE, ALL, number), pushing(0)] {
            call.on(&mut store).unwrap();
        }
    }
    assert_eq!(store.snapshots().unwrap().len(), BROKEN_OFF_STAY);
    Call::Commit(1, Snapshot::Keep(3)).on(&mut store).unwrap();
    let infos = store.snapshots().unwrap();
    assert_eq!(infos.iter().map(|info| info.at).collect::<Vec<_>>(), [10, 11, 12]);
    assert_eq!(
        infos.iter().map(|info| info.broken_off).collect::<Vec<_>>(),
        [true, true, false]
    );
    assert!(infos.iter().all(|info| info.records == 3 && info.bytes > 100));
    Call::Commit(2, Snapshot::Drop).on(&mut store).unwrap();
    assert_eq!(store.snapshots().unwrap(), infos);
}

const BROKEN_OFF_STAY: usize = 10;

#[test]
fn a_damaged_snapshot_is_listed_and_not_half_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = FileStore::open(folder.path()).unwrap();
    for call in [
        begun(1),
        Call::Told(DEVICE, ALL, 1),
        Call::Told(DEVICE, ALL, 2),
        Call::Commit(1, Snapshot::Keep(3)),
    ] {
        call.on(&mut store).unwrap();
    }
    assert_eq!(store.read_snapshot(1).unwrap().into_memory().unwrap().all().len(), 6);
    assert!(matches!(store.read_snapshot(2), Err(StoreError::Io { .. })));
    let path = folder.path().join("snapshots/1");
    let bytes = fs::read(&path).unwrap();
    for at in (0..bytes.len()).step_by(3) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        for damaged in [&flipped[..], &bytes[..at]] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(store.snapshots().unwrap().len(), 1);
            let read = store.read_snapshot(1).unwrap().into_memory();
            // Cut between two batches, a snapshot lacks the end.
            let whole = read.as_ref().map_or(0, |memory| memory.all().len());
            assert!(whole < 6, "byte {at}");
        }
    }
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("pair");
    let mut store = FileStore::open(&folder).unwrap();
    for call in [
        begun(1),
        Call::Told(DEVICE, ALL, 1),
        Call::Commit(1, Snapshot::Keep(3)),
        begun(2),
    ] {
        call.on(&mut store).unwrap();
    }
    Call::Told(DEVICE, ALL, 1).on(&mut store).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("snapshots"))), (0o700, 0o700));
    drop(store);
    store = FileStore::open(&folder).unwrap();
    Call::Commit(2, Snapshot::Drop).on(&mut store).unwrap();
    begun(3).on(&mut store).unwrap();
    Call::Told(DEVICE, ALL, 1).on(&mut store).unwrap();
    let files: Vec<PathBuf> = ["lock", STATE, CHANGES, JOURNAL, "told-device", "snapshots/1"]
        .map(|name| folder.join(name))
        .into();
    assert!(files.iter().all(|file| mode(file) == 0o600));
}
