use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::*;
use crate::archive::entry::SkipReason;
use crate::archive::golden;
use crate::archive::padding::Completeness;

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

/// A copy of a backup with changed plists.
fn with_manifest(backup: &str, change: impl FnOnce(&mut cabled_wire::plist::Dictionary)) -> tempfile::TempDir {
    let folder = golden::copy_of(backup);
    let path = folder.path().join("Manifest.plist");
    let mut manifest = Manifest::parse(&fs::read(&path).unwrap()).unwrap().into_dictionary();
    change(&mut manifest);
    fs::write(&path, cabled_wire::plist::to_binary(&manifest.into())).unwrap();
    folder
}

#[test]
fn plists_and_index_that_disagree_are_named_not_guessed() {
    let set = |dict: &mut cabled_wire::plist::Dictionary, on: bool| dict.insert("IsEncrypted".into(), on.into());
    let folder = with_manifest("synthetic/enc-v10", |dict| drop(set(dict, false)));
    assert!(matches!(
        Archive::open(folder.path()),
        Err(ArchiveError::IndexNotSqlite)
    ));
    let folder = with_manifest("synthetic/enc-v10", |dict| drop(dict.remove("ManifestKey")));
    assert!(matches!(Archive::open(folder.path()), Err(ArchiveError::NoManifestKey)));
    let folder = with_manifest("synthetic/enc-v10", |dict| drop(dict.remove("BackupKeyBag")));
    assert!(matches!(Archive::open(folder.path()), Err(ArchiveError::NoKeybag)));
    let folder = with_manifest("synthetic/plain-v10", |dict| drop(dict.remove("BackupKeyBag")));
    assert!(Archive::open(folder.path()).unwrap().keybag().is_none());
    // iOS 10.0 and 10.1: files encrypted, index not.
    let folder = with_manifest("synthetic/plain-v10", |dict| drop(set(dict, true)));
    let archive = Archive::open(folder.path()).unwrap();
    assert!(archive.is_locked() && archive.can_list());
}

#[test]
fn a_folder_decrypted_by_another_program_opens_when_asked_to() {
    let key = vec![4; 44];
    let folder = with_manifest("synthetic/plain-v10", |dict| {
        dict.insert("IsEncrypted".into(), true.into());
        dict.insert("ManifestKey".into(), cabled_wire::plist::Value::Data(key));
    });
    // Such a program leaves the padding on the database.
    let db = folder.path().join("Manifest.db");
    let mut padded = fs::read(&db).unwrap();
    padded.extend([16; 16]);
    fs::write(&db, padded).unwrap();
    assert!(matches!(
        Archive::open(folder.path()),
        Err(ArchiveError::AlreadyDecrypted)
    ));
    let archive = OpenOptions::default()
        .already_decrypted(true)
        .open(folder.path())
        .unwrap();
    assert_eq!(
        (archive.protection(), archive.is_locked()),
        (Protection::AlreadyDecrypted, false)
    );
    let file = archive.entry_at("HomeDomain", "Library/SMS/sms.db").unwrap().unwrap();
    assert_eq!(archive.read(&file).unwrap().len(), 8192);
}

#[test]
fn folders_without_the_needed_files_are_told_apart() {
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        Archive::open(empty.path()),
        Err(ArchiveError::NotABackup { .. })
    ));
    assert!(matches!(
        Archive::open(empty.path().join("nowhere")),
        Err(ArchiveError::NotABackup { .. })
    ));
    fs::write(empty.path().join("0a1b.mdinfo"), "x").unwrap();
    assert!(matches!(
        Archive::open(empty.path()),
        Err(ArchiveError::UnsupportedOldFormat)
    ));

    let folder = with_manifest("synthetic/enc-v10", |_| {});
    fs::write(folder.path().join("Manifest.db"), "").unwrap();
    assert!(matches!(
        Archive::open(folder.path()),
        Err(ArchiveError::NoIndex { encrypted: true })
    ));

    for backup in ["synthetic/enc-v10", "synthetic/plain-v10"] {
        let folder = golden::copy_of(backup);
        fs::write(folder.path().join("Manifest.plist"), "").unwrap();
        let plain = backup.ends_with("plain-v10");
        let refused = Archive::open(folder.path()).unwrap_err();
        assert!(matches!(refused, ArchiveError::NoManifest { index_is_plain } if index_is_plain == plain));
        let opened = OpenOptions::default().without_manifest(true).open(folder.path());
        assert_eq!(
            opened.is_ok_and(|archive| archive.entries().unwrap().count() == 25),
            plain
        );
    }
    let folder = golden::copy_of("synthetic/enc-mbdb");
    fs::remove_file(folder.path().join("Manifest.plist")).unwrap();
    let archive = OpenOptions::default()
        .without_manifest(true)
        .open(folder.path())
        .unwrap();
    let file = archive.entry_at("HomeDomain", "Library/SMS/sms.db").unwrap().unwrap();
    assert!(
        matches!(archive.read(&file), Err(ArchiveError::NoKeybag)),
        "never handed out as if it were plain"
    );
}

#[test]
fn a_backup_that_was_cut_off_opens_with_a_note() {
    let folder = golden::copy_of("synthetic/plain-v10");
    let status = cabled_wire::dict! { "SnapshotState" => "uploading" };
    fs::write(
        folder.path().join("Status.plist"),
        cabled_wire::plist::to_xml(&status.into()),
    )
    .unwrap();
    fs::create_dir(folder.path().join("Snapshot")).unwrap();
    fs::write(folder.path().join("Info.plist"), "not a property list").unwrap();
    let archive = Archive::open(folder.path()).unwrap();
    assert!(archive.is_incomplete());
    let state = Some("uploading".to_owned());
    assert!(archive.notes().contains(&OpenNote::NotFinished { state }));
    assert!(archive.notes().contains(&OpenNote::SnapshotFolder));
    assert!(
        archive
            .notes()
            .iter()
            .any(|note| matches!(note, OpenNote::DamagedInfo { .. }))
    );
    fs::remove_file(folder.path().join("Status.plist")).unwrap();
    assert!(
        Archive::open(folder.path())
            .unwrap()
            .notes()
            .contains(&OpenNote::NoStatus)
    );
}

/// A copy of a plain backup whose index was changed by `sql`.
fn with_index(sql: &str) -> tempfile::TempDir {
    let folder = golden::copy_of("synthetic/plain-v10");
    let db = rusqlite::Connection::open(folder.path().join("Manifest.db")).unwrap();
    db.pragma_update(None, "journal_mode", "delete").unwrap();
    db.execute_batch(sql).unwrap();
    folder
}

#[test]
fn rows_that_make_no_sense_are_skipped_one_by_one() {
    let folder = with_index(
        "UPDATE Files SET domain = NULL, relativePath = NULL, file = NULL, flags = 16 WHERE relativePath = 'Library';
         UPDATE Files SET file = x'00' WHERE relativePath = 'Library/block.bin';
         UPDATE Files SET relativePath = CAST(x'ff' AS TEXT) WHERE relativePath = 'Library/tail10.bin';
         UPDATE Files SET fileID = '../../etc/passwd' WHERE relativePath = 'Documents/AUX';
         UPDATE Files SET flags = 0 WHERE relativePath = 'Library/link';
         UPDATE Files SET fileID = '0000000000000000000000000000000000000000' WHERE relativePath = 'Documents/Note.txt';",
    );
    let archive = Archive::open(folder.path()).unwrap();
    let mut reasons = Vec::new();
    for row in archive.rows().unwrap() {
        if let Row::Skipped(row) = row.unwrap() {
            reasons.push(row.reason);
        }
    }
    let malformed = SkipReason::Record(crate::archive::mbfile::MbFileError::Malformed);
    let expect = [
        SkipReason::MissingColumn { column: "domain" },
        malformed,
        SkipReason::Text { column: "relativePath" },
    ];
    assert_eq!(reasons, expect);
    let mut entries = archive.entries().unwrap();
    assert_eq!((entries.by_ref().count(), entries.skipped()), (22, 3));

    let domain = "AppDomain-com.example.app";
    let odd = archive.entry_at(domain, "Documents/AUX").unwrap().unwrap();
    assert_eq!(odd.file_id, odd.computed_id(), "a name that climbs out is never used");
    assert!(matches!(
        &odd.notes[..],
        [crate::archive::EntryNote::MalformedId { .. }]
    ));
    assert_eq!(archive.read(&odd).unwrap().len(), 8);
    assert_eq!(
        archive.entry_at(domain, "Library/link").unwrap().unwrap().kind,
        Kind::Symlink
    );
    let moved = archive.entry_at(domain, "Documents/Note.txt").unwrap().unwrap();
    assert_ne!(moved.file_id, moved.computed_id());
    assert!(
        matches!(archive.read(&moved), Err(ArchiveError::MissingPayload { .. })),
        "the stored id counts"
    );
}

#[test]
fn an_index_built_to_do_harm_is_refused() {
    for sql in [
        "DROP TABLE Files;",
        "ALTER TABLE Files RENAME TO Real; CREATE VIEW Files AS SELECT * FROM Real;",
        "ALTER TABLE Files ADD COLUMN more AS (hex(fileID));",
        "ALTER TABLE Files DROP COLUMN file;",
    ] {
        let folder = with_index(sql);
        assert!(
            matches!(Archive::open(folder.path()), Err(ArchiveError::Schema { .. })),
            "{sql}"
        );
    }
}

#[test]
fn a_backup_of_ios_10_0_opens_with_its_password() {
    let case = &golden::vectors()["ios_10_0_only"];
    let digits = |key: &str| case[key].as_str().unwrap().to_owned();
    let folder = with_index(&format!(
        "DELETE FROM Files WHERE relativePath != 'Library/block.bin';
         UPDATE Files SET relativePath = 'a/b.txt', file = x'{}';
         INSERT INTO Properties VALUES ('salt', x'{}'), ('passwordHash', x'{}');",
        digits("file_column"),
        digits("salt"),
        digits("password_hash")
    ));
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
    let case = &golden::vectors()["ios_10_0_only"];
    let digits = |key: &str| case[key].as_str().unwrap().to_owned();
    let folder = with_index(&format!(
        "DELETE FROM Files WHERE relativePath != 'Library/block.bin';
         UPDATE Files SET relativePath = 'a/b.txt', file = x'{}';
         INSERT INTO Properties VALUES ('salt', x'{}'), ('passwordHash', x'{}');",
        digits("file_column"),
        digits("salt"),
        digits("password_hash")
    ));
    let mut archive = Archive::open(folder.path()).unwrap();
    assert!(archive.is_locked() && archive.protection() == Protection::Plain);
    archive.unlock(PASSWORD).unwrap();
    assert_eq!(archive.entries().unwrap().count(), 1);
}

#[test]
#[cfg(unix)]
fn payloads_that_are_no_files_are_refused() {
    let folder = golden::copy_of("synthetic/plain-v10");
    let archive = Archive::open(folder.path()).unwrap();
    let file = archive.entry_at("HomeDomain", "Library/SMS/sms.db").unwrap().unwrap();
    let payload = folder.path().join("3d").join(file.file_id.to_string());
    fs::remove_file(&payload).unwrap();
    std::os::unix::fs::symlink(folder.path().join("Info.plist"), &payload).unwrap();
    assert!(matches!(
        archive.read(&file),
        Err(ArchiveError::IrregularPayload { .. })
    ));
    let following = OpenOptions::default().follow_links(true).open(folder.path()).unwrap();
    assert!(following.read(&file).is_ok());
    fs::remove_file(&payload).unwrap();
    fs::create_dir(&payload).unwrap();
    assert!(matches!(
        following.read(&file),
        Err(ArchiveError::IrregularPayload { .. })
    ));
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
fn a_flat_index_that_is_cut_gives_its_rows_and_then_the_damage() {
    let folder = golden::copy_of("synthetic/enc-mbdb");
    let path = folder.path().join("Manifest.mbdb");
    let stored = fs::read(&path).unwrap();
    fs::write(&path, &stored[..stored.len() / 2]).unwrap();
    let archive = Archive::open(folder.path()).unwrap();
    let rows: Vec<_> = archive.rows().unwrap().collect();
    assert!(rows.len() > 5);
    let (last, sound) = rows.split_last().unwrap();
    assert!(matches!(last, Err(ArchiveError::Mbdb(_))) && sound.iter().all(Result::is_ok));
    assert!(archive.entry_at("HomeDomain", "Library/SMS/sms.db").unwrap().is_some());
    // It may stand behind the damage.
    assert!(matches!(
        archive.entry_at("KeychainDomain", "keychain-backup.plist"),
        Err(ArchiveError::Mbdb(_))
    ));
}

#[test]
fn an_index_damaged_anywhere_never_panics() {
    let folder = golden::copy_of("synthetic/plain-v10");
    let path = folder.path().join("Manifest.db");
    let stored = fs::read(&path).unwrap();
    for start in (0..stored.len()).step_by(512) {
        let mut damaged = stored.clone();
        let end = damaged.len().min(start + 64);
        damaged[start..end]
            .iter_mut()
            .for_each(|byte| *byte = byte.wrapping_mul(3) ^ 0x5a);
        fs::write(&path, damaged).unwrap();
        let Ok(archive) = Archive::open(folder.path()) else {
            continue;
        };
        let Ok(rows) = archive.rows() else { continue };
        assert!(rows.take(10_000).count() < 10_000);
        let _ = archive.entry_at("HomeDomain", "Library/SMS/sms.db");
        let _ = archive.domains();
    }
}
