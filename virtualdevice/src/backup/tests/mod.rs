//! Runs against a scripted host in memory.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod backups;
mod host;
mod passwords;
mod properties;
mod restores;
mod scripts;

use std::collections::BTreeMap;

use self::host::Host;
use super::format::cipher::Decryptor;
use super::format::database::{self, Reader};
use super::format::keybag::Keybag;
use super::format::plists::{Manifest, SnapshotState, Status};
use super::format::record::Record;
use super::{BackupReport, FileId};
use crate::fs::{DigestKind, tree_digest};
use crate::{Phone, Profile};

/// A phone with little on it that unlocks by itself.
fn phone(profile: Profile) -> Phone {
    Phone::builder().profile(profile).seed(7).build().unwrap()
}

/// A phone of the same generation, fresh from the box.
fn fresh(profile: Profile) -> Phone {
    Phone::builder().profile(profile).seed(8).empty().build().unwrap()
}

/// What a backup on the host holds: plaintext and record of every row, read with the writer's own format code, checked
/// against ids, keys and digests.
struct Opened {
    files: BTreeMap<(String, String), Vec<u8>>,
    records: BTreeMap<(String, String), (i64, Record)>,
    manifest: Manifest,
}

fn open(host: &Host, directory: &str, password: Option<&str>) -> Opened {
    let status = Status::decode(host.file(directory, "Status.plist")).unwrap();
    assert_eq!(status.state, SnapshotState::Finished);
    assert!(!status.is_full, "a device never says full");
    let manifest = Manifest::decode(host.file(directory, "Manifest.plist")).unwrap();
    assert_eq!(manifest.is_encrypted, password.is_some());
    let bag = Keybag::decode(manifest.keybag.as_deref().unwrap()).unwrap();
    let keys = bag.open(password.unwrap_or_default().as_bytes()).unwrap();
    let mut database = host.file(directory, "Manifest.db").to_vec();
    let decrypt = |key: &[u8; 44], stored: &[u8]| {
        let mut cipher = Decryptor::new(&keys.unwrap_file_key(key, None).unwrap());
        let mut out = Vec::new();
        cipher.update(stored, &mut out);
        cipher.finish(&mut out).unwrap();
        out
    };
    if let Some(key) = &manifest.manifest_key {
        database = decrypt(key, &database);
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("m.db");
    std::fs::write(&place, &database).unwrap();
    let mut opened = Opened {
        files: BTreeMap::new(),
        records: BTreeMap::new(),
        manifest,
    };
    Reader::open(&place)
        .unwrap()
        .rows(|row| {
            assert_eq!(row.id, FileId::of(row.domain, row.path));
            let at = (row.domain.to_owned(), row.path.to_owned());
            let record = Record::decode(row.file).unwrap();
            assert_eq!(record.path, row.path);
            assert_eq!(record.key.is_some(), password.is_some() && row.flags == database::FILE);
            if row.flags == database::FILE {
                let stored = host.file(directory, &row.id.stored_path());
                if let Some(digest) = record.digest {
                    assert_eq!(digest, <[u8; 20]>::from(<sha1::Sha1 as sha1::Digest>::digest(stored)));
                }
                let plain = record.key.map_or_else(|| stored.to_vec(), |key| decrypt(&key, stored));
                assert_eq!(plain.len() as u64, record.size);
                opened.files.insert(at.clone(), plain);
            }
            opened.records.insert(at, (row.flags, record));
            Ok(())
        })
        .unwrap();
    // Nothing but what the manifest lists.
    let payloads = host
        .files
        .keys()
        .filter(|name| name.starts_with(directory) && name.matches('/').count() == 2);
    assert_eq!(payloads.count(), opened.files.len());
    assert!(!host.directories.contains(&format!("{directory}/Snapshot")));
    opened
}

/// Checks a backup against the phone it was made of.
fn assert_holds(host: &Host, phone: &Phone, password: Option<&str>) -> Opened {
    let opened = open(host, &phone.udid().to_string(), password);
    let mut expected = BTreeMap::new();
    for entry in tree_digest(phone.fs()).unwrap() {
        let at = (entry.domain.to_string(), entry.path.to_string());
        let (flags, record) = opened
            .records
            .get(&at)
            .unwrap_or_else(|| panic!("{at:?} is not in the backup"));
        let kind = match entry.kind {
            DigestKind::File { .. } => database::FILE,
            DigestKind::Directory => database::DIRECTORY,
            DigestKind::Symlink(target) => {
                assert_eq!(record.target.as_ref(), Some(&target));
                database::SYMLINK
            }
        };
        assert_eq!(*flags, kind, "{at:?}");
        if let Some(content) = phone.fs().get(&at.0, &at.1).unwrap().content() {
            assert_eq!(content.to_bytes(u64::MAX).unwrap(), opened.files[&at], "{at:?}");
        }
        expected.insert(at, ());
    }
    // The keychain's file and, where the phone has no such domain, its root exist in backups only.
    let extra = opened.records.keys().filter(|at| !expected.contains_key(*at));
    assert!(extra.into_iter().all(|at| at.0 == "KeychainDomain"));
    // Every ancestor has a row of its own.
    for (domain, path) in opened.records.keys() {
        if let Some((parent, _)) = path.rsplit_once('/') {
            assert_eq!(
                opened.records[&(domain.clone(), parent.to_owned())].0,
                database::DIRECTORY
            );
        }
        assert!(opened.records.contains_key(&(domain.clone(), String::new())));
    }
    opened
}

/// The report of the last run.
fn report(phone: &Phone) -> std::sync::Arc<BackupReport> {
    phone.backup_state().last_backup().unwrap()
}
