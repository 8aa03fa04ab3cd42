use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Seek, SeekFrom};

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::*;
use crate::archive::golden::{self, with_index, with_manifest};
use crate::archive::keybag::RoundLimits;
use crate::archive::padding::Completeness;
use crate::archive::{Key, Kind, PayloadNote, ReadOptions};

const PASSWORD: &str = "vector-pass-1";

fn open(name: &str) -> Archive {
    Archive::open(golden::folder().join("synthetic").join(name)).unwrap()
}

fn unlocked(name: &str) -> Archive {
    let mut archive = open(name);
    if archive.is_locked() {
        archive.unlock(PASSWORD).unwrap();
    }
    archive
}

/// All files below a folder and what is in them.
fn snapshot(folder: &Path) -> BTreeSet<(PathBuf, Vec<u8>)> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(snapshot(&path));
        } else {
            all.insert((path.clone(), fs::read(&path).unwrap()));
        }
    }
    all
}

fn sha256(mut reader: impl Read) -> String {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    hex::encode(Sha256::digest(&bytes))
}

/// Compares one entry with what the backup was made from.
fn check_entry(archive: &Archive, entry: &FileEntry, expect: &Json) {
    let text = |key: &str| expect[key].as_str();
    assert_eq!(Some(&*entry.domain), text("domain"));
    assert_eq!(Some(&*entry.path), text("path"));
    let kind = match text("kind").unwrap() {
        "dir" => Kind::Directory,
        "link" => Kind::Symlink,
        _ => Kind::File,
    };
    assert_eq!((entry.kind, entry.link_target.as_deref()), (kind, text("target")));
    assert_eq!(entry.digest.map(Vec::from), golden::opt_bytes(&expect["digest"]));
    assert!(entry.notes.is_empty() && entry.computed_id() == entry.file_id);
    if kind != Kind::File {
        assert!(matches!(archive.read(entry), Err(ArchiveError::NotAFile { .. })));
        return;
    }
    assert_eq!(Some(entry.size), expect["size_recorded"].as_u64());
    if let Some(key) = golden::opt_bytes(&expect["file_key"]) {
        assert_eq!(archive.file_key(entry).unwrap().unwrap().expose().to_vec(), key);
    }
    if expect["absent"] == true {
        assert!(
            matches!(archive.read(entry), Err(ArchiveError::MissingPayload { file_id }) if file_id == entry.file_id)
        );
        return;
    }
    if let Some(sha) = text("recoverable_sha256") {
        assert!(matches!(
            archive.read(entry),
            Err(ArchiveError::Incomplete {
                stored: 512,
                recorded: 1000
            })
        ));
        let rest = archive.read_with(entry, ReadOptions::default().salvage(true)).unwrap();
        assert_eq!(rest.completeness(), Completeness::Incomplete);
        assert_eq!(sha256(rest), sha);
        return;
    }
    let reader = archive.read(entry).unwrap();
    if text("damage") == Some("stored file ends early") {
        // Nothing in a plain backup could tell.
        assert_eq!(
            reader.notes(),
            [PayloadNote::SizeDiffers {
                recorded: 1000,
                actual: 512
            }]
        );
        return;
    }
    assert_eq!(Some(reader.len()), expect["plain_len"].as_u64(), "{}", entry.path);
    let stray = expect["damage"].is_string();
    let differs = entry.size != reader.len();
    assert_eq!(
        reader.notes().len(),
        usize::from(stray) + usize::from(differs),
        "{}",
        entry.path
    );
    assert_eq!(Some(&*sha256(reader)), text("plain_sha256"), "{}", entry.path);
}

fn check_backup(name: &str, layout: Layout, protection: Protection) {
    let folder = golden::folder().join("synthetic").join(name);
    let before = snapshot(&folder);
    let archive = unlocked(name);
    assert_eq!(
        (archive.layout(), archive.protection(), archive.notes()),
        (layout, protection, &[][..])
    );
    let expect = golden::expect(name);
    let expect = expect["entries"].as_array().unwrap();
    let entries: Vec<FileEntry> = archive.entries().unwrap().map(Result::unwrap).collect();
    assert_eq!(entries.len(), expect.len());
    for expect in expect {
        let id: FileId = expect["file_id"].as_str().unwrap().parse().unwrap();
        let listed = entries.iter().find(|entry| entry.file_id == id).unwrap();
        check_entry(&archive, listed, expect);
        assert_eq!(archive.entry(&id).unwrap().as_ref(), Some(listed));
        let (domain, path) = (expect["domain"].as_str().unwrap(), expect["path"].as_str().unwrap());
        assert_eq!(archive.entry_at(domain, path).unwrap().as_ref(), Some(listed));
    }
    let domains = archive.domains().unwrap();
    assert_eq!(domains.values().sum::<u64>(), expect.len() as u64);
    assert_eq!(
        domains["HomeDomain"],
        entries.iter().filter(|e| &*e.domain == "HomeDomain").count() as u64
    );
    assert_eq!(archive.entry(&FileId::of("No", "such")).unwrap(), None);
    assert_eq!(archive.entry_at("HomeDomain", "library").unwrap(), None, "case matters");
    drop(archive);
    assert!(snapshot(&folder) == before, "reading writes nothing into the backup");
}

#[test]
fn every_entry_of_an_encrypted_backup_reads_as_it_was_made() {
    check_backup("enc-v10", Layout::Current, Protection::Encrypted);
}

#[test]
fn every_entry_of_a_plain_backup_reads_as_it_was_made() {
    check_backup("plain-v10", Layout::Current, Protection::Plain);
}

#[test]
fn every_entry_of_a_flat_encrypted_backup_reads_as_it_was_made() {
    check_backup("enc-mbdb", Layout::Flat, Protection::Encrypted);
}

#[test]
fn rows_that_ios_wrote_are_listed_and_read() {
    let archive = Archive::open(golden::folder().join("greatvovan")).unwrap();
    let entries: Vec<FileEntry> = archive.entries().unwrap().map(Result::unwrap).collect();
    assert_eq!(entries.len(), 6);
    assert!(
        entries
            .iter()
            .all(|entry| entry.notes.is_empty() && entry.computed_id() == entry.file_id)
    );
    let link = archive
        .entry_at("DatabaseDomain", "timezone/localtime")
        .unwrap()
        .unwrap();
    assert_eq!((link.kind, link.link_target.is_some()), (Kind::Symlink, true));
    let path = "Library/Preferences/com.google.Translate.plist";
    let file = archive
        .entry_at("AppDomain-com.google.Translate", path)
        .unwrap()
        .unwrap();
    let mut bytes = Vec::new();
    archive.read(&file).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, file.size);
    assert!(bytes.starts_with(b"bplist00"));
}

#[test]
fn a_locked_backup_says_so_and_a_wrong_password_changes_nothing() {
    let mut archive = open("enc-v10");
    assert!(archive.is_locked() && !archive.can_list());
    assert!(matches!(archive.entries(), Err(ArchiveError::Locked)));
    assert!(matches!(
        archive.unlock("vector-pass-2"),
        Err(ArchiveError::WrongPassword)
    ));
    assert!(archive.is_locked() && !archive.can_list());
    archive.unlock(PASSWORD).unwrap();
    assert!(!archive.is_locked() && archive.can_list());

    let mut flat = open("enc-mbdb");
    assert!(flat.is_locked() && flat.can_list(), "its index is never encrypted");
    let file = flat.entry_at("HomeDomain", "Library/SMS/sms.db").unwrap().unwrap();
    assert!(matches!(flat.read(&file), Err(ArchiveError::Locked)));
    flat.unlock(PASSWORD).unwrap();
    assert_eq!(flat.read(&file).unwrap().len(), 8192);
}

#[test]
fn a_derived_key_opens_the_backup_again() {
    let key = open("enc-v10")
        .unlock_observed(PASSWORD.as_bytes(), &mut Silent)
        .unwrap();
    assert_eq!(
        key.expose().to_vec(),
        golden::bytes(&golden::expect("enc-v10")["keybag"]["kek"])
    );
    let mut archive = open("enc-v10");
    archive.unlock_with_key(&key, &mut Silent).unwrap();
    assert!(archive.entries().unwrap().next().is_some());
    let other = Key::from([0; 32]);
    assert!(matches!(
        open("enc-v10").unlock_with_key(&other, &mut Silent),
        Err(ArchiveError::WrongPassword)
    ));
}

/// A copy of a backup whose class keys are wrapped for another password.
fn with_password(password: &str) -> tempfile::TempDir {
    let expect = golden::expect("enc-mbdb");
    with_manifest("synthetic/enc-mbdb", |dict| {
        let mut stored = dict.get("BackupKeyBag").and_then(|bag| bag.as_data()).unwrap().to_vec();
        let bag = Keybag::parse(&stored).unwrap();
        let kek = bag
            .derive(password.as_bytes(), RoundLimits::default(), &mut Silent)
            .unwrap();
        let kek: aes_kw::AesKw<aes::Aes256> = aes_kw::KeyInit::new(kek.expose().into());
        for class in expect["keybag"]["classes"].as_object().unwrap().values() {
            let (wrapped, key) = (
                golden::bytes(&class["wpky"]),
                golden::bytes(&class["after_password_unwrap"]),
            );
            let at = stored.windows(40).position(|window| window == wrapped).unwrap();
            kek.wrap_key(&key, &mut stored[at..at + 40]).unwrap();
        }
        dict.insert("BackupKeyBag".into(), cabled_wire::plist::Value::Data(stored));
    })
}

#[test]
fn a_password_with_accents_opens_in_any_spelling() {
    for set in ["P\u{e4}ssword", "Pa\u{308}ssword"] {
        let folder = with_password(set);
        for typed in ["P\u{e4}ssword", "Pa\u{308}ssword"] {
            let mut archive = Archive::open(folder.path()).unwrap();
            archive.unlock(typed).unwrap();
            assert!(!archive.is_locked());
        }
        let mut archive = Archive::open(folder.path()).unwrap();
        assert!(matches!(archive.unlock("Password"), Err(ArchiveError::WrongPassword)));
    }
}

#[test]
fn the_keybag_of_a_plain_backup_opens_with_the_empty_password() {
    let mut archive = open("plain-v10");
    archive.unlock("").unwrap();
    assert_eq!(archive.class_keys().unwrap().usable().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn a_decrypted_index_leaves_no_file_behind() {
    let temp = tempfile::tempdir().unwrap();
    let folder = golden::folder().join("synthetic/enc-v10");
    let mut archive = OpenOptions::default().temp_dir(temp.path()).open(folder).unwrap();
    archive.unlock(PASSWORD).unwrap();
    assert_eq!(archive.entries().unwrap().count(), 27);
    #[cfg(unix)]
    assert_eq!(
        fs::read_dir(temp.path()).unwrap().count(),
        0,
        "gone as soon as it is open"
    );
    drop(archive);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn a_write_ahead_log_beside_the_index_is_taken_in_and_left_alone() {
    let backup = golden::copy_of("synthetic/plain-v10");
    let db = backup.path().join("Manifest.db");
    let writer = rusqlite::Connection::open(&db).unwrap();
    writer
        .execute(
            "UPDATE Files SET relativePath = 'from the log' WHERE relativePath = 'Library'",
            [],
        )
        .unwrap();
    // A copy made while the writer lives keeps the log.
    let copy = tempfile::tempdir().unwrap();
    for name in ["Manifest.db", "Manifest.db-wal", "Manifest.plist"] {
        fs::copy(backup.path().join(name), copy.path().join(name)).unwrap();
    }
    let before = snapshot(copy.path());
    let archive = Archive::open(copy.path()).unwrap();
    assert!(
        archive
            .entries()
            .unwrap()
            .any(|entry| &*entry.unwrap().path == "from the log")
    );
    assert_eq!(archive.domains().unwrap().len(), 3);
    drop(archive);
    assert!(snapshot(copy.path()) == before);
}

#[test]
fn a_copied_index_of_another_program_may_lack_its_padding() {
    let backup = golden::copy_of("synthetic/enc-v10");
    let db = backup.path().join("Manifest.db");
    let stored = fs::read(&db).unwrap();
    fs::write(&db, &stored[..stored.len() - 16]).unwrap();
    let mut archive = Archive::open(backup.path()).unwrap();
    archive.unlock(PASSWORD).unwrap();
    assert_eq!(archive.entries().unwrap().count(), 27);

    fs::write(&db, &stored[..stored.len() - 32]).unwrap();
    let mut archive = Archive::open(backup.path()).unwrap();
    assert!(matches!(
        archive.unlock(PASSWORD),
        Err(ArchiveError::IndexDecryption {
            reason: "it is cut off"
        })
    ));
    assert!(archive.is_locked());
}

/// A backup with one file whose record is encrypted, as iOS 10.0 did it; its plist is that of a plain one.
fn with_encrypted_metadata() -> tempfile::TempDir {
    let case = &golden::vectors()["ios_10_0_only"];
    let digits = |key: &str| case[key].as_str().unwrap().to_owned();
    with_index(&format!(
        "DELETE FROM Files WHERE relativePath != 'Library/block.bin';
         UPDATE Files SET relativePath = 'a/b.txt', file = x'{}';
         INSERT INTO Properties VALUES ('salt', x'{}'), ('passwordHash', x'{}');",
        digits("file_column"),
        digits("salt"),
        digits("password_hash")
    ))
}

#[test]
fn a_backup_of_ios_10_0_opens_with_its_password() {
    let folder = with_encrypted_metadata();
    let enc = golden::folder().join("synthetic/enc-mbdb/Manifest.plist");
    fs::copy(enc, folder.path().join("Manifest.plist")).unwrap();
    let mut archive = Archive::open(folder.path()).unwrap();
    assert!(archive.is_locked() && !archive.can_list());
    assert!(matches!(archive.rows(), Err(ArchiveError::Locked)));
    assert!(matches!(
        archive.unlock("vector-pass-2"),
        Err(ArchiveError::WrongPassword)
    ));
    assert!(matches!(
        archive.unlock_with_key(&Key::from([0; 32]), &mut Silent),
        Err(ArchiveError::PasswordNeeded)
    ));
    archive.unlock(PASSWORD).unwrap();
    let entries: Vec<FileEntry> = archive.entries().unwrap().map(Result::unwrap).collect();
    assert_eq!((entries.len(), &*entries[0].path, entries[0].size), (1, "a/b.txt", 43));
}

#[test]
fn metadata_encryption_left_behind_in_a_plain_backup_still_opens() {
    let folder = with_encrypted_metadata();
    let mut archive = Archive::open(folder.path()).unwrap();
    assert!(archive.is_locked() && archive.protection() == Protection::Plain);
    archive.unlock(PASSWORD).unwrap();
    assert_eq!(archive.entries().unwrap().count(), 1);
}

#[test]
fn payloads_are_found_in_either_place() {
    let folder = golden::copy_of("synthetic/plain-v10");
    let archive = Archive::open(folder.path()).unwrap();
    let file = archive.entry_at("HomeDomain", "Library/SMS/sms.db").unwrap().unwrap();
    let name = file.file_id.to_string();
    fs::rename(folder.path().join("3d").join(&name), folder.path().join(&name)).unwrap();
    assert_eq!(archive.read(&file).unwrap().len(), 8192);
}

#[test]
fn a_decrypted_file_can_be_read_from_the_middle() {
    let archive = unlocked("enc-v10");
    let path = "Media/DCIM/100APPLE/IMG_0001.JPG";
    let file = archive.entry_at("CameraRollDomain", path).unwrap().unwrap();
    let mut whole = Vec::new();
    archive.read(&file).unwrap().read_to_end(&mut whole).unwrap();
    let mut reader = archive.read(&file).unwrap();
    reader.seek(SeekFrom::Start(60_001)).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, whole[60_001..]);
}

#[test]
fn ciphertext_of_a_backup_that_says_it_is_plain_is_not_handed_out_as_contents() {
    let folder = with_manifest("synthetic/enc-mbdb", |manifest| drop(manifest.remove("IsEncrypted")));
    let archive = Archive::open(folder.path()).unwrap();
    let messages = archive.entry_at("HomeDomain", "Library/SMS/sms.db").unwrap().unwrap();
    assert!(
        matches!(archive.read(&messages), Err(ArchiveError::UnexpectedKey { file_id }) if file_id == messages.file_id)
    );
    let stored = archive
        .read_with(&messages, ReadOptions::default().salvage(true))
        .unwrap();
    assert!(stored.notes().contains(&PayloadNote::UnexpectedKey));
}
