//! Folders that are damaged, inconsistent or meant to do harm.

use std::fs;

use crate::archive::entry::SkipReason;
use crate::archive::golden::{self, with_index, with_manifest};
use crate::archive::{Archive, ArchiveError, Kind, OpenNote, OpenOptions, Protection, Row};

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
