//! What is kept between sync sessions, as somebody else may have written it.

use cabled_syncproto::DataClass;
use cabled_syncproto::engine::PairState;
use cabled_syncproto::store::format::{
    FormatError, read_changes, read_entry, read_state, read_told, write_changes, write_entry, write_state, write_told,
};
use cabled_syncproto::store::{FileStore, StateStore, StoreError};
use sha2::{Digest, Sha256};

/// A state, an entry of a journal, a batch that was told, a whole journal, changes of a state, or a whole file of them: the
/// first byte says which. Bodies get a fitting seal around them. What is read is written so that it reads as the same again.
pub fn sync_state(data: &[u8]) {
    let changed = read_changes(data, 0, PairState::new(DataClass::Contacts));
    for refused in [
        read_state(data).err(),
        read_entry(data).err(),
        read_told(data).err(),
        changed.err(),
    ] {
        assert!(
            matches!(refused, Some(FormatError::Damaged { .. })),
            "nothing has a seal by chance"
        );
    }
    let Some((kind, body)) = data.split_first() else { return };
    match kind % 6 {
        0 => written_again(b"cabled-s", body, |bytes| {
            let mut again = Vec::new();
            read_state(bytes).and_then(|state| write_state(&state, &mut again))?;
            Ok(again)
        }),
        1 => written_again(b"cabled-e", body, |bytes| {
            let mut again = Vec::new();
            read_entry(bytes).and_then(|entry| write_entry(&entry, &mut again))?;
            Ok(again)
        }),
        2 => written_again(b"cabled-t", body, |bytes| {
            let mut again = Vec::new();
            let told = read_told(bytes);
            told.and_then(|(side, extent, changes)| write_told(side, extent, &changes, &mut again))?;
            Ok(again)
        }),
        3 => journal(body),
        4 => changes(body),
        _ => file_of_changes(body),
    }
}

/// Two bytes that say how long the body of a state is, that, and the body of changes of it.
fn changes(bytes: &[u8]) {
    let Some((len, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let Some((state, changes)) = rest.split_at_checked(u16::from_le_bytes(*len).into()) else {
        return;
    };
    let Ok(before) = read_state(&sealed(b"cabled-s", state)) else {
        return;
    };
    let Ok(after) = read_changes(&sealed(b"cabled-c", changes), 0, before.clone()) else {
        return;
    };
    let mut once = Vec::new();
    write_changes(0, &before, &after, &mut once).expect("both were read");
    let again = read_changes(&once, 0, before).expect("what was written is read");
    assert_eq!(again, after);
}

/// A file of changes of an empty state is read up to a part that was cut off, or refused.
fn file_of_changes(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut state = Vec::new();
    write_state(&PairState::new(DataClass::Contacts), &mut state).expect("a state");
    std::fs::write(folder.path().join("state"), state).expect("a state");
    std::fs::write(folder.path().join("changes"), bytes).expect("a file of changes");
    let mut store = FileStore::open(folder.path()).expect("a store");
    match store.load() {
        Ok(loaded) => {
            let again = store.load().expect("what was read is read again");
            assert_eq!(again.state.expect("a state"), loaded.state.expect("a state"));
        }
        Err(StoreError::Damaged { .. } | StoreError::TooLarge { .. } | StoreError::Newer { .. }) => {
            let kept = std::fs::read(folder.path().join("changes"));
            assert_eq!(kept.expect("they are kept"), bytes);
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn sealed(magic: &[u8; 8], body: &[u8]) -> Vec<u8> {
    let mut sealed = [&magic[..], &1_u32.to_le_bytes(), body].concat();
    let seal = Sha256::digest(&sealed);
    sealed.extend_from_slice(&seal);
    sealed
}

fn written_again(magic: &[u8; 8], body: &[u8], again: impl Fn(&[u8]) -> Result<Vec<u8>, FormatError>) {
    if let Ok(once) = again(&sealed(magic, body)) {
        let twice = again(&once).expect("what was written is read");
        assert_eq!(once, twice);
    }
}

/// A journal is read up to an entry that was cut off, or refused, and either way the next session begins or is told why not.
fn journal(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("journal"), bytes).expect("a journal");
    let mut store = FileStore::open(folder.path()).expect("a store");
    match store.load() {
        Ok(loaded) => {
            assert!(loaded.state.is_none());
            let again = store.load().expect("what was read is read again");
            assert_eq!(again.unfinished, loaded.unfinished);
        }
        Err(StoreError::Damaged { .. } | StoreError::TooLarge { .. } | StoreError::Newer { .. }) => {
            // This waits for the disk, so not for every input.
            if !bytes.len().is_multiple_of(16) {
                return;
            }
            let aside = store.set_aside().expect("a place for it");
            assert_eq!(std::fs::read(aside.join("journal")).expect("it is kept"), bytes);
            assert!(store.load().expect("nothing").unfinished.is_none());
        }
        Err(error) => panic!("{error:?}"),
    }
}
