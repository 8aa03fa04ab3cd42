//! Commits by what they change.

use std::fs;

use super::{Call, load, state};
use crate::store::states::{CHANGES, STATE};
use crate::store::{FileStore, Snapshot, StateStore, StoreError};

/// A folder with a state and two changes of it, and the bytes of those.
fn with_changes() -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = FileStore::open(folder.path()).unwrap();
    for sessions in 1..4 {
        Call::Commit(sessions, Snapshot::Drop).on(&mut store).unwrap();
    }
    let changes = fs::read(folder.path().join(CHANGES)).unwrap();
    (folder, changes)
}

#[test]
fn changes_that_were_cut_off_anywhere_leave_the_state_before() {
    let (folder, changes) = with_changes();
    let path = folder.path().join(CHANGES);
    let first = 16 + usize::from(changes[0]) + 256 * usize::from(changes[1]);
    assert!(changes.len() > first + 16);
    for len in 0..=changes.len() {
        let whole = match len {
            len if len < first => 1,
            len if len < changes.len() => 2,
            _ => 3,
        };
        fs::write(&path, &changes[..len]).unwrap();
        assert_eq!(load(folder.path()).unwrap().state, Some(state(whole)), "cut at {len}");
        // Room that was given, of which nothing or a part arrived.
        let mut room = changes.clone();
        room[len..].fill(0);
        fs::write(&path, &room).unwrap();
        match load(folder.path()) {
            Ok(found) => assert_eq!(found.state, Some(state(whole)), "zeros from {len}"),
            Err(error) => assert!(
                matches!(error, StoreError::Damaged { .. }),
                "zeros from {len}: {error:?}"
            ),
        }
        // The next commit comes in its place.
        if len % 16 == 0 {
            fs::write(&path, &changes[..len]).unwrap();
            let mut store = FileStore::open(folder.path()).unwrap();
            for sessions in 7..10 {
                Call::Commit(sessions, Snapshot::Drop).on(&mut store).unwrap();
                assert_eq!(store.load().unwrap().state, Some(state(sessions)), "cut at {len}");
            }
            drop(store);
            let (anew, _) = with_changes();
            fs::copy(anew.path().join(STATE), folder.path().join(STATE)).unwrap();
        }
    }
}

#[test]
fn changes_of_an_older_state_count_for_nothing_and_of_another_are_damage() {
    let (folder, changes) = with_changes();
    let path = folder.path().join(CHANGES);
    let old = fs::read(folder.path().join(STATE)).unwrap();
    let mut store = FileStore::open(folder.path()).unwrap();
    let mut sessions = 3;
    while path.exists() {
        sessions += 1;
        Call::Commit(sessions, Snapshot::Drop).on(&mut store).unwrap();
    }
    drop(store);
    // The power went before they were removed.
    fs::write(&path, &changes).unwrap();
    assert_eq!(load(folder.path()).unwrap().state, Some(state(sessions)));
    assert!(!path.exists());
    // Somebody brought the older state back and not the changes: those of a later one are there.
    let mut store = FileStore::open(folder.path()).unwrap();
    Call::Commit(sessions + 1, Snapshot::Drop).on(&mut store).unwrap();
    drop(store);
    fs::write(folder.path().join(STATE), &old).unwrap();
    assert!(matches!(load(folder.path()), Err(StoreError::Damaged { .. })));
    // Or that of another pair, with the same number.
    let other = tempfile::tempdir().unwrap();
    Call::Commit(9, Snapshot::Drop)
        .on(&mut FileStore::open(other.path()).unwrap())
        .unwrap();
    fs::write(&path, &changes).unwrap();
    fs::copy(other.path().join(STATE), folder.path().join(STATE)).unwrap();
    assert!(matches!(load(folder.path()), Err(StoreError::Damaged { .. })));
    fs::remove_file(folder.path().join(STATE)).unwrap();
    assert!(matches!(load(folder.path()), Err(StoreError::Damaged { .. })));
    let mut store = FileStore::open(folder.path()).unwrap();
    let aside = store.set_aside().unwrap();
    assert_eq!(fs::read(aside.join(CHANGES)).unwrap(), changes);
    assert!(store.load().unwrap().state.is_none());
}

#[cfg(unix)]
#[test]
fn after_a_commit_that_failed_everything_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    for step in 0..4 {
        let (folder, _) = with_changes();
        let mut store = FileStore::open(folder.path()).unwrap();
        store.load().unwrap();
        store.disk.power.fail_once_at(step, scratch.path());
        let commit = Call::Commit(4, Snapshot::Drop);
        assert!(commit.on(&mut store).is_err(), "step {step}");
        commit.on(&mut store).unwrap();
        assert!(!folder.path().join(CHANGES).exists(), "step {step}");
        assert_eq!(store.load().unwrap().state, Some(state(4)));
        Call::Commit(5, Snapshot::Drop).on(&mut store).unwrap();
        assert!(folder.path().join(CHANGES).exists(), "it works now");
    }
}

#[cfg(unix)]
#[test]
fn many_small_changes_become_a_state_after_a_while() {
    let scratch = tempfile::tempdir().unwrap();
    let mut store = FileStore::open(scratch.path().join("pair")).unwrap();
    store.disk.power.cut_at(u32::MAX, scratch.path());
    // The token is an index of a large folder, of which every session changes a line.
    let line = |number, changed| format!("card {number} of {}\n", if number == changed { 1 } else { 0 });
    let large = |sessions| {
        let mut state = state(sessions);
        state.tokens.computer = Some((0..10_000).map(|number| line(number, sessions)).collect());
        state
    };
    let mut lengths = Vec::new();
    for sessions in 0..70 {
        store.commit(&large(sessions), Snapshot::Drop).unwrap();
        lengths.push(fs::metadata(store.folder().join(CHANGES)).map_or(0, |file| file.len()));
    }
    let whole: Vec<usize> = (0..lengths.len()).filter(|at| lengths[*at] == 0).collect();
    assert_eq!(whole, [0, 33, 66], "{lengths:?}");
    assert!(lengths[32] < 20_000, "{lengths:?}");
    drop(store);
    assert_eq!(load(&scratch.path().join("pair")).unwrap().state, Some(large(69)));
}
