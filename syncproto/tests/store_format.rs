//! States, entries and reports come back from their bytes as they were, and nothing else does.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

mod histories;

use std::time::{Duration, SystemTime};

use cabled_syncproto::DataClass;
use cabled_syncproto::engine::{EngineId, Extent, PairState, PlanHash, SessionId, Side};
use cabled_syncproto::record::{Change, Changes, Record};
use cabled_syncproto::store::format::{
    FormatError, read_changes, read_entry, read_state, read_told, write_changes, write_entry, write_state, write_told,
};
use cabled_syncproto::store::{Entry, FileStore, Snapshot, StateStore};
use cabled_wire::plist::{Date, Uid, Value};
use histories::{Random, id, states, value};
use proptest::prelude::*;
use sha2::Digest;

fn bytes(state: &PairState) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_state(state, &mut bytes).unwrap();
    bytes
}

/// What makes the fifth state, `after`, of the fourth.
fn change_bytes(before: &PairState, after: &PairState) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_changes(4, before, after, &mut bytes).unwrap();
    bytes
}

fn is_damaged<T>(read: &Result<T, FormatError>) -> bool {
    matches!(read, Err(FormatError::Damaged { .. }))
}

fn entry_bytes(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_entry(entry, &mut bytes).unwrap();
    bytes
}

fn told_bytes(changes: &Changes) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_told(Side::Computer, Extent::Changes, changes, &mut bytes).unwrap();
    bytes
}

fn told(random: &mut Random) -> Changes {
    let one = |number: u64| {
        let change = match number % 5 {
            0 => Change::Delete,
            1 => Change::Upsert(Record {
                entity: None,
                attributes: [("b".to_owned(), value(number)), ("a".to_owned(), value(number + 1))]
                    .into_iter()
                    .collect(),
            }),
            _ => Change::Upsert(
                Record::new("Some.Entity")
                    .with("key", value(number))
                    .with("key 2", value(number / 3)),
            ),
        };
        (id(&number.to_string()), change)
    };
    let many = random.below(20);
    (0..many).map(|_| one(random.next() % 10_000)).collect()
}

fn entries(state: PairState) -> Vec<Entry> {
    vec![
        Entry::Begun {
            session: SessionId([9; 16]),
            at: u64::MAX,
        },
        Entry::Planned {
            hash: PlanHash([8; 32]),
        },
        Entry::Clearing,
        Entry::Pushing {
            batch: u32::MAX,
            ids: vec![EngineId::from_bytes([1; 16]), EngineId::from_bytes([0; 16])],
        },
        Entry::ToCommit { state: Box::new(state) },
        Entry::Committed,
        Entry::NotCommitted,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn states_survive_a_round_trip(seed in any::<u64>(), sessions in 1..6_u32) {
        for state in states(seed, sessions) {
            let written = bytes(&state);
            let read = read_state(&written).unwrap();
            prop_assert_eq!(&read, &state);
            // The same bytes for the same content, however it is shared in memory.
            prop_assert_eq!(bytes(&read), written);
        }
    }

    #[test]
    fn changes_lead_from_any_state_to_any_other(seed in any::<u64>(), sessions in 1..5_u32) {
        let states = states(seed, sessions);
        for before in &states {
            for after in &states {
                let written = change_bytes(before, after);
                let read = read_changes(&written, 4, before.clone()).unwrap();
                prop_assert_eq!(&read, after);
                // However it is shared in memory.
                let apart = read_state(&bytes(after)).unwrap();
                prop_assert_eq!(&change_bytes(before, &apart), &written);
                prop_assert!(is_damaged(&read_changes(&written, 5, before.clone())));
                if before.len() != after.len() {
                    prop_assert!(is_damaged(&read_changes(&written, 4, after.clone())));
                }
            }
        }
    }

    #[test]
    fn reports_survive_a_round_trip(seed in any::<u64>()) {
        let changes = told(&mut Random(seed));
        let read = read_told(&told_bytes(&changes)).unwrap();
        prop_assert_eq!(&read, &(Side::Computer, Extent::Changes, changes.clone()));
        let order = |changes: &Changes| -> Vec<String> {
            let keys = |change: &Change| match change {
                Change::Upsert(record) => record.attributes.keys().cloned().collect(),
                Change::Delete => Vec::new(),
            };
            changes.iter().flat_map(|(_, change)| keys(change)).collect()
        };
        prop_assert_eq!(order(&read.2), order(&changes), "keys stay in the order in which they came");
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read_state(&bytes).is_err());
        prop_assert!(read_entry(&bytes).is_err());
        prop_assert!(read_told(&bytes).is_err());
        prop_assert!(read_changes(&bytes, 0, PairState::new(DataClass::Notes)).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Sessions end well, or break off where only the next one learns that the device had committed; the program ends or not.
    #[test]
    fn a_folder_has_what_was_committed_last(seed in any::<u64>(), size in 0..60_usize) {
        let mut random = Random(seed);
        let folder = tempfile::tempdir().unwrap();
        let mut store = FileStore::open(folder.path()).unwrap();
        let mut last = None;
        for state in histories::grown(size, seed, 12) {
            if random.below(3) == 0 {
                drop(store);
                store = FileStore::open(folder.path()).unwrap();
                prop_assert_eq!(&store.load().unwrap().state, &last);
            }
            store.append(Entry::Begun { session: SessionId([1; 16]), at: 1 }).unwrap();
            if random.below(2) == 0 {
                store.append(Entry::ToCommit { state: Box::new(state.clone()) }).unwrap();
                if random.below(2) == 0 {
                    drop(store);
                    store = FileStore::open(folder.path()).unwrap();
                }
                let loaded = store.load().unwrap();
                prop_assert_eq!(&loaded.state, &last);
                prop_assert_eq!(*loaded.unfinished.unwrap().to_commit.unwrap(), state.clone());
            }
            if random.below(5) > 0 {
                store.commit(&state, Snapshot::Drop).unwrap();
                last = Some(state);
            }
        }
        prop_assert_eq!(&store.load().unwrap().state, &last);
    }
}

/// The token of a computer's side may be the index of a large folder.
#[test]
fn a_token_may_have_64_mib() {
    let token = |first: &str| Some(format!("{first}{}", "0123456789abcdef".repeat(4 << 20)));
    let with = |device, computer| {
        let mut state = PairState::new(DataClass::Notes);
        (state.tokens.device, state.tokens.computer) = (device, computer);
        state
    };
    let before = with(None, token("a"));
    let read = read_state(&bytes(&before)).unwrap();
    assert!(read == before);
    for (after, most) in [
        (with(None, token("b")), 1_000),
        (with(None, None), 1_000),
        (with(token("c"), token("a")), 65 << 20),
    ] {
        let written = change_bytes(&before, &after);
        assert!(written.len() < most, "{} bytes", written.len());
        assert!(read_changes(&written, 4, before.clone()).unwrap() == after);
    }
}

#[test]
fn states_of_different_classes_have_no_changes() {
    let (notes, people) = (PairState::new(DataClass::Notes), PairState::new(DataClass::Contacts));
    let refused = write_changes(0, &notes, &people, &mut Vec::new());
    assert!(matches!(refused, Err(FormatError::Class)));
    let folder = tempfile::tempdir().unwrap();
    let mut store = FileStore::open(folder.path()).unwrap();
    store.commit(&notes, Snapshot::Drop).unwrap();
    store.commit(&people, Snapshot::Drop).unwrap();
    assert_eq!(store.load().unwrap().state, Some(people));
}

#[test]
fn histories_leave_everything_that_a_state_can_hold() {
    let all: Vec<PairState> = (0..40).flat_map(|seed| states(seed, 5)).collect();
    let shown: Vec<String> = all.iter().map(|state| format!("{state:?}")).collect();
    for what in [
        "Tombstone {",
        "Held {",
        "Kept {",
        "kind: Create",
        "kind: Update",
        "kind: Delete",
        "rejects: [(",
        "bisect: Some",
    ] {
        assert!(shown.iter().any(|state| state.contains(what)), "no history has {what}");
    }
}

#[test]
fn entries_survive_a_round_trip() {
    let state = states(3, 4).pop().unwrap();
    for entry in entries(state) {
        assert_eq!(read_entry(&entry_bytes(&entry)).unwrap(), entry);
    }
}

/// Every flip of a bit and every cut is noticed.
fn is_guarded<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, FormatError>) {
    for at in 0..bytes.len() {
        assert!(
            matches!(read(&bytes[..at]), Err(FormatError::Damaged { .. })),
            "cut at {at}"
        );
        for bit in 0..8 {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            let result = read(&flipped);
            assert!(matches!(result, Err(FormatError::Damaged { .. })), "bit {bit} of {at}");
        }
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(matches!(read(&longer), Err(FormatError::Damaged { .. })));
}

#[test]
fn a_flipped_bit_or_a_cut_anywhere_is_damage() {
    is_guarded(&bytes(&PairState::new(DataClass::Notes)), read_state);
    let small = states(1, 1).pop().unwrap();
    is_guarded(&bytes(&small), read_state);
    for entry in entries(PairState::new(DataClass::Bookmarks)) {
        is_guarded(&entry_bytes(&entry), read_entry);
    }
    is_guarded(&told_bytes(&told(&mut Random(2))), read_told);
    let none = PairState::new(DataClass::Contacts);
    is_guarded(&change_bytes(&none, &small), |bytes| {
        read_changes(bytes, 4, none.clone())
    });
}

#[test]
fn one_thing_is_not_taken_for_another() {
    let state = bytes(&PairState::new(DataClass::Notes));
    assert!(matches!(read_entry(&state), Err(FormatError::Damaged { .. })));
    assert!(matches!(read_told(&state), Err(FormatError::Damaged { .. })));
    assert!(matches!(
        read_state(&entry_bytes(&Entry::Clearing)),
        Err(FormatError::Damaged { .. })
    ));
}

#[test]
fn what_both_sides_have_is_written_once() {
    // A first session between equal sides, so that every record was seen and agreed on both.
    let contacts = 500;
    let state = histories::large(contacts);
    assert_eq!(state.len(), contacts * 5);
    let size = bytes(&state).len();
    assert!(size / state.len() < 150, "{} bytes per row", size / state.len());
}

/// Says what took how long of this thread alone, as other programs do not count.
#[expect(clippy::print_stdout, reason = "figures for people")]
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let nanos = || -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        stat.split(' ').next().unwrap().parse().unwrap()
    };
    let start = nanos();
    let done = work();
    println!("{what}: {} ms", (nanos() - start) / 1_000_000);
    done
}

/// Figures for 50,000 contacts; run it alone and with `--release --nocapture`.
#[test]
#[ignore = "figures for a large state; worth it in a release build only"]
fn a_state_of_250_000_rows() {
    let state = histories::large(50_000);
    let written = timed("written", || bytes(&state));
    println!("{} rows, {} bytes", state.len(), written.len());
    let read = timed("read", || read_state(&written).unwrap());
    assert_eq!(timed("written again", || bytes(&read)), written);
    assert_eq!(read, state);
    assert!(written.len() < 100_000_000);
}

/// Figures for a session that changes ten records of 171,000; run it alone and with `--release --nocapture`.
#[test]
#[ignore = "figures for a large state; worth it in a release build only"]
fn a_session_of_few_changes_in_171_000_rows() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = FileStore::open(folder.path()).unwrap();
    let first = histories::large(34_200);
    timed("a commit of everything", || {
        store.commit(&first, Snapshot::Drop).unwrap()
    });
    drop((first, store));
    let mut store = FileStore::open(folder.path()).unwrap();
    let state = timed("load", || store.load().unwrap()).state.unwrap();
    let next = histories::edited(state, 34_200, 10, &mut Random(1));
    let session = SessionId([1; 16]);
    store.append(Entry::Begun { session, at: 1 }).unwrap();
    let state = Box::new(next.clone());
    timed("journal", || store.append(Entry::ToCommit { state }).unwrap());
    timed("commit", || store.commit(&next, Snapshot::Drop).unwrap());
    let changes = std::fs::metadata(folder.path().join("changes")).unwrap().len();
    println!("{} rows, {changes} bytes of changes", next.len());
    assert!(changes < 10_000);
    assert_eq!(store.load().unwrap().state, Some(next));
}

/// Version 1, as it was first written. When this fails the format has changed: it needs a new version, and a reader of the
/// old one.
#[test]
fn what_version_1_wrote_is_read_and_written_the_same() {
    let golden = include_bytes!("store_format/state-v1.bin");
    if std::env::var_os("CABLED_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store_format/state-v1.bin");
        let full = |state: &PairState| state.pending() > 0 && state.conflicts().count() > 1;
        let mut histories = (0..).filter_map(|seed| states(seed, 3).pop());
        std::fs::write(path, bytes(&histories.find(full).unwrap())).unwrap();
        panic!("written; run again without the variable");
    }
    let read = read_state(golden).unwrap();
    assert_eq!(bytes(&read), golden);
    assert_eq!(read.tokens.device.as_deref(), Some("device anchor"));
    assert_eq!(read.bisect.as_ref().unwrap().size, 250);
    assert!(read.replacing && read.len() > 5 && read.pending() > 0 && read.conflicts().count() > 0);
}

#[test]
fn changes_as_version_1_wrote_them_are_read_and_written_the_same() {
    let golden = include_bytes!("store_format/changes-v1.bin");
    let before = read_state(include_bytes!("store_format/state-v1.bin")).unwrap();
    if std::env::var_os("CABLED_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store_format/changes-v1.bin");
        let mut after = histories::on(before.clone(), 3, 2).pop().unwrap();
        after.tokens.device = Some("device anchor 2".to_owned());
        after.tokens.computer = None;
        std::fs::write(path, change_bytes(&before, &after)).unwrap();
        panic!("written; run again without the variable");
    }
    let after = read_changes(golden, 4, before.clone()).unwrap();
    assert_eq!(change_bytes(&before, &after), golden);
    assert_eq!(after.tokens.device.as_deref(), Some("device anchor 2"));
    assert_eq!((after.tokens.computer, after.sessions), (None, before.sessions + 2));
    assert!(before.bisect.is_some() && after.bisect.is_none());
}

#[test]
fn what_is_wrong_in_changes_is_damage() {
    let before = read_state(include_bytes!("store_format/state-v1.bin")).unwrap();
    let golden = include_bytes!("store_format/changes-v1.bin");
    let body = &golden[12..golden.len() - 32];
    for at in 0..body.len() {
        for to in [0, 1, body[at] ^ 1, body[at] ^ 0x80, 0xff] {
            let mut wrong = body.to_vec();
            wrong[at] = to;
            match read_changes(&sealed(&wrong), 4, before.clone()) {
                // Another text, another number: it can be written again.
                Ok(after) => {
                    let again = change_bytes(&before, &after);
                    assert!(read_changes(&again, 4, before.clone()).unwrap() == after, "byte {at}");
                }
                Err(error) => assert!(matches!(error, FormatError::Damaged { .. }), "byte {at}: {error:?}"),
            }
        }
    }
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let mut sealed = [b"cabled-c", &1_u32.to_le_bytes()[..], body].concat();
    let seal: [u8; 32] = sha2::Sha256::digest(&sealed).into();
    sealed.extend_from_slice(&seal);
    sealed
}

/// Made by another program after the docs of the format alone.
#[test]
fn a_journal_and_a_report_of_version_1_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let journal = include_bytes!("store_format/journal-v1.bin");
    std::fs::write(folder.path().join("journal"), journal).unwrap();
    let loaded = FileStore::open(folder.path()).unwrap().load().unwrap();
    assert!(loaded.state.is_none());
    let unfinished = loaded.unfinished.unwrap();
    assert_eq!((unfinished.session, unfinished.at), (Some(SessionId([7; 16])), 5));
    assert!(unfinished.cleared && unfinished.wrote && unfinished.committed);
    assert_eq!(*unfinished.to_commit.unwrap(), PairState::new(DataClass::Notes));

    let bytes = include_bytes!("store_format/told-v1.bin");
    let (side, extent, changes) = read_told(bytes).unwrap();
    let date = SystemTime::UNIX_EPOCH - Duration::from_secs(2) + Duration::from_nanos(5);
    let residue = [
        ("a".to_owned(), Value::Array(vec![Value::Uid(Uid::new(3)), true.into()])),
        ("b".to_owned(), Value::Data(vec![1, 2])),
    ];
    let ann = Record::new("com.apple.contacts.Contact")
        .with("first name", "Ann")
        .with("birthday", Value::Date(Date::from(date)))
        .with("residue", Value::Dictionary(residue.into_iter().collect()))
        .with("score", Value::Real(0.0));
    let told = Changes::from_iter([(id("41"), Change::Upsert(ann)), (id("17"), Change::Delete)]);
    assert_eq!((side, extent, &changes), (Side::Device, Extent::Everything, &told));
    let mut again = Vec::new();
    write_told(side, extent, &changes, &mut again).unwrap();
    assert_eq!(read_told(&again).unwrap().2, told);
}
