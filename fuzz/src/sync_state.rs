//! What is kept between sync sessions, as somebody else may have written it.

use cabled_syncproto::store::format::{
    FormatError, read_entry, read_state, read_told, write_entry, write_state, write_told,
};
use cabled_syncproto::store::{FileStore, StateStore, StoreError};
use sha2::{Digest, Sha256};

/// A state, an entry of a journal, a batch that was told, or a whole journal: the first byte says which. Of the first three
/// the rest is a body, and a fitting seal is put around it. What is read is written so that it reads as the same again.
pub fn sync_state(data: &[u8]) {
    for refused in [read_state(data).err(), read_entry(data).err(), read_told(data).err()] {
        assert!(
            matches!(refused, Some(FormatError::Damaged { .. })),
            "nothing has a seal by chance"
        );
    }
    let Some((kind, body)) = data.split_first() else { return };
    match kind % 4 {
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
        _ => journal(body),
    }
}

fn written_again(magic: &[u8; 8], body: &[u8], again: impl Fn(&[u8]) -> Result<Vec<u8>, FormatError>) {
    let mut sealed = [&magic[..], &1_u32.to_le_bytes(), body].concat();
    let seal = Sha256::digest(&sealed);
    sealed.extend_from_slice(&seal);
    if let Ok(once) = again(&sealed) {
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
