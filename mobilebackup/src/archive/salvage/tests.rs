//! Backups with less and less of an index.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::*;
use crate::archive::observe::Silent;
use crate::archive::select::Category;
use crate::archive::verify::sweep_tests::built;
use crate::archive::{FileId, Layout, golden};

fn open(folder: &Path, password: &str) -> Salvage {
    let options = SalvageOptions::default().password(password);
    Salvage::open(folder, &options, &mut Silent).unwrap()
}

fn at<'a>(salvage: &'a Salvage, path: &str) -> &'a SalvagedEntry {
    let found = salvage.entries().iter().find(|entry| &*entry.entry.path == path);
    found.unwrap_or_else(|| panic!("{path} is lost"))
}

fn bytes(salvage: &Salvage, entry: &SalvagedEntry) -> Vec<u8> {
    let mut bytes = Vec::new();
    salvage.read(entry).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_sound_backup_is_found_whole() {
    for (layout, encrypted) in [
        (Layout::Current, false),
        (Layout::Current, true),
        (Layout::Flat, false),
        (Layout::Flat, true),
    ] {
        let (_folder, root) = built("backup", layout, encrypted);
        let before = crate::archive::sqlite::tests::snapshot(&root);
        let mut archive = Archive::open(&root).unwrap();
        if encrypted {
            archive.unlock("sweep").unwrap();
        }
        let salvage = open(&root, "sweep");
        for entry in archive.entries().unwrap().map(Result::unwrap) {
            let found = at(&salvage, &entry.path);
            let found = match found.entry.domain == entry.domain {
                true => found,
                // Apps share their paths.
                false => salvage
                    .entries()
                    .iter()
                    .find(|found| found.entry.file_id == entry.file_id)
                    .unwrap(),
            };
            assert_eq!(
                (&found.entry, &found.found, &found.doubts[..]),
                (&entry, &FoundBy::Index, &[][..])
            );
            let expect = if entry.digest.is_some() {
                Trust::Proven
            } else {
                Trust::Fitting
            };
            assert_eq!(found.trust, expect, "{}", entry.path);
        }
        assert_eq!(salvage.report().keys_lost, 0);
        assert_eq!(
            crate::archive::sqlite::tests::snapshot(&root),
            before,
            "nothing changed in the folder"
        );
    }
}

#[test]
fn rows_survive_a_lost_first_page_and_lost_inner_pages() {
    for encrypted in [false, true] {
        let (_folder, root) = built("backup", Layout::Current, encrypted);
        let index = root.join("Manifest.db");
        let stored = fs::read(&index).unwrap();
        let all = open(&root, "sweep").entries().len();
        let mut damaged = stored.clone();
        // The first page, which leads to all others. In an encrypted index the block behind it is garbled too.
        damaged[..4096].fill(0x11);
        fs::write(&index, &damaged).unwrap();
        let salvage = open(&root, "sweep");
        let IndexState::Read(scan) = &salvage.report().index else {
            panic!("{:?}", salvage.report())
        };
        assert!(scan.header_guessed && !scan.table_found);
        let found = salvage
            .entries()
            .iter()
            .filter(|entry| matches!(entry.found, FoundBy::LoosePage { .. }));
        let found: Vec<_> = found.collect();
        assert!(found.len() + 8 > all, "{} of {all}", found.len());
        let messages = at(&salvage, "Library/SMS/sms.db");
        assert_eq!(messages.trust, Trust::Proven);
        assert!(bytes(&salvage, messages).starts_with(b"SQLite format 3"));
        // Cut in the middle.
        fs::write(&index, &stored[..stored.len() / 2]).unwrap();
        let salvage = open(&root, "sweep");
        assert!(
            salvage.report().found.values().sum::<u64>() > 5,
            "{:?}",
            salvage.report()
        );
    }
}

#[test]
fn payloads_of_a_plain_backup_are_named_without_an_index() {
    let (_folder, root) = built("backup", Layout::Current, false);
    fs::remove_file(root.join("Manifest.db")).unwrap();
    for plists in [true, false] {
        if !plists {
            for name in ["Manifest.plist", "Info.plist", "Status.plist"] {
                fs::remove_file(root.join(name)).unwrap();
            }
        }
        let salvage = open(&root, "");
        assert_eq!(salvage.report().index, IndexState::Missing);
        let messages = at(&salvage, "Library/SMS/sms.db");
        assert_eq!(
            messages.found,
            FoundBy::KnownId {
                category: Category::Messages
            }
        );
        assert_eq!(
            (messages.trust, &messages.doubts[..]),
            (Trust::Doubtful, &[Doubt::NoRow][..])
        );
        let kinds: Vec<_> = salvage
            .entries()
            .iter()
            .filter_map(|entry| match entry.found {
                FoundBy::Content { kind, .. } => Some(kind),
                _ => None,
            })
            .collect();
        assert!(
            kinds.contains(&ContentKind::Jpeg)
                && kinds.contains(&ContentKind::M4a)
                && kinds.contains(&ContentKind::Plist)
        );
        assert_eq!(salvage.entries().len() as u64, salvage.report().payloads);
    }
}

#[test]
fn a_database_under_an_unknown_name_is_known_by_its_tables() {
    let (_folder, root) = built("backup", Layout::Current, false);
    let id = FileId::of("HomeDomain", "Library/SMS/sms.db");
    let from = root.join(id.folder()).join(id.to_string());
    let other = FileId::of("AppDomain-x", "chats");
    fs::create_dir_all(root.join(other.folder())).unwrap();
    fs::rename(from, root.join(other.folder()).join(other.to_string())).unwrap();
    fs::remove_file(root.join("Manifest.db")).unwrap();
    let salvage = open(&root, "");
    let found = salvage
        .entries()
        .iter()
        .find(|entry| entry.entry.file_id == other)
        .unwrap();
    let expect = FoundBy::Content {
        kind: ContentKind::Sqlite,
        category: Some(Category::Messages),
    };
    assert_eq!(found.found, expect);
    assert_eq!(&*found.entry.path, format!("messages/{other}.sqlite"));
}

#[test]
fn an_encrypted_backup_without_an_index_is_lost_and_said_so() {
    for plist in [true, false] {
        let (_folder, root) = built("backup", Layout::Current, true);
        fs::remove_file(root.join("Manifest.db")).unwrap();
        if !plist {
            fs::remove_file(root.join("Manifest.plist")).unwrap();
        }
        let salvage = open(&root, "sweep");
        assert_eq!(salvage.entries().len(), 0);
        assert_eq!(salvage.report().keys_lost, salvage.report().payloads);
        assert_eq!(salvage.report().protection, Protection::Encrypted);
    }
    let (_folder, root) = built("backup", Layout::Current, true);
    let salvage = Salvage::open(&root, &SalvageOptions::default(), &mut Silent).unwrap();
    assert_eq!(
        (&salvage.report().index, salvage.entries().len()),
        (&IndexState::Locked, 0)
    );
    let wrong = SalvageOptions::default().password("wrong");
    assert!(matches!(
        Salvage::open(&root, &wrong, &mut Silent),
        Err(ArchiveError::WrongPassword)
    ));
}

#[test]
fn an_older_index_gives_back_names_and_keys() {
    for encrypted in [false, true] {
        let (_folder, root) = built("backup", Layout::Current, encrypted);
        let (_older_folder, older) = built("older", Layout::Current, encrypted);
        // Made with the same seed: the same keys. One payload has changed since.
        fs::remove_file(root.join("Manifest.db")).unwrap();
        let id = FileId::of("AppDomain-com.example.app3", "Documents/data.bin");
        let changed = root.join(id.folder()).join(id.to_string());
        fs::write(&changed, [0xa5; 333]).unwrap();
        let options = SalvageOptions::default().password("sweep").older(&older);
        let salvage = Salvage::open(&root, &options, &mut Silent).unwrap();
        assert!(matches!(&salvage.report().others[..], [(_, IndexState::Read(_))]));
        let messages = at(&salvage, "Library/SMS/sms.db");
        assert!(matches!(messages.found, FoundBy::OlderIndex { .. }));
        assert_eq!(messages.trust, Trust::Proven, "{:?}", messages.doubts);
        assert!(bytes(&salvage, messages).starts_with(b"SQLite format 3"));
        let changed = salvage
            .entries()
            .iter()
            .find(|entry| entry.entry.file_id == id)
            .unwrap();
        assert_eq!(changed.trust, Trust::Doubtful);
        assert!(changed.doubts.contains(&Doubt::Length));
        // What a cut-off run left counts as well.
        fs::create_dir(root.join("Snapshot")).unwrap();
        fs::copy(older.join("Manifest.db"), root.join("Snapshot/Manifest.db")).unwrap();
        let salvage = open(&root, "sweep");
        assert!(matches!(
            at(&salvage, "Library/SMS/sms.db").found,
            FoundBy::OlderIndex { .. }
        ));
    }
}

#[test]
fn deleted_rows_are_found_and_said_to_be_out_of_date() {
    let (_folder, root) = built("backup", Layout::Current, false);
    let index = rusqlite::Connection::open(root.join("Manifest.db")).unwrap();
    index
        .execute_batch("PRAGMA journal_mode = delete; PRAGMA secure_delete = 0; DELETE FROM Files")
        .unwrap();
    drop(index);
    let salvage = open(&root, "");
    let unused = salvage
        .entries()
        .iter()
        .filter(|entry| matches!(entry.found, FoundBy::UnusedPage { .. }));
    let unused: Vec<_> = unused.collect();
    assert!(unused.len() > 10, "{:?}", salvage.report());
    assert!(unused.iter().all(|entry| entry.doubts.contains(&Doubt::OutOfDate)));
}

#[test]
fn flat_records_behind_damage_are_found() {
    let folder = golden::copy_of("synthetic/enc-mbdb");
    let all = open(folder.path(), "vector-pass-1").entries().len();
    let path = folder.path().join("Manifest.mbdb");
    let mut stored = fs::read(&path).unwrap();
    let middle = stored.len() / 2;
    stored[middle..middle + 40].fill(0xff);
    fs::write(&path, &stored).unwrap();
    let salvage = open(folder.path(), "vector-pass-1");
    let behind = salvage.report().found.get("behind_damage").copied().unwrap_or_default();
    assert!(
        behind > 5 && salvage.entries().len() + 3 > all,
        "{behind}, {} of {all}",
        salvage.entries().len()
    );
}
