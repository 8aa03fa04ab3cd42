use std::collections::HashMap;
use std::fs;

use super::*;
use crate::archive::observe::Silent;
use crate::archive::{OpenNote, golden};

fn unlocked(folder: &std::path::Path) -> Archive {
    let mut archive = Archive::open(folder).unwrap();
    if archive.is_locked() {
        archive.unlock("vector-pass-1").unwrap();
    }
    archive
}

fn verify(archive: &Archive, level: Level) -> Report {
    archive
        .verify(&VerifyOptions::default().level(level), &mut Silent)
        .unwrap()
}

/// What was found, by name, with the last part of the path.
fn names(findings: &Findings) -> Vec<(&'static str, String)> {
    let mut all: Vec<_> = findings
        .list
        .iter()
        .map(|finding| {
            let path = finding.path.as_deref().unwrap_or_default();
            (
                finding.problem.name(),
                path.rsplit('/').next().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    all.sort();
    all
}

fn pairs(expect: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    expect.iter().map(|(name, path)| (*name, (*path).to_owned())).collect()
}

#[test]
fn the_damage_of_the_encrypted_backups_is_named_and_nothing_else() {
    for (backup, digests) in [("enc-v10", 5), ("enc-mbdb", 5)] {
        let archive = unlocked(&golden::folder().join("synthetic").join(backup));
        let report = verify(&archive, Level::Content);
        assert_eq!(
            names(&report.damage),
            pairs(&[("incomplete", "cut.bin"), ("missing_payload", "missing.bin")])
        );
        assert_eq!((report.rows, report.files, report.links), (27, 20, 1));
        assert_eq!((report.files_read, report.digests_checked), (18, digests));
        assert!(report.index_complete && !report.is_sound());
        assert_eq!(report.notes.count("size_differs"), 2, "grown and shrunk");
        assert_eq!(report.notes.count("stray_bytes"), 1);
        assert!(
            report.notes.count("missing_parent") > 3,
            "the synthetic backups lack some"
        );
        assert_eq!(report.notes.count("orphan"), 0);
    }
}

#[test]
fn the_damage_of_the_plain_backup_is_named_and_nothing_else() {
    let archive = unlocked(&golden::folder().join("synthetic/plain-v10"));
    let report = verify(&archive, Level::Content);
    assert_eq!(names(&report.damage), pairs(&[("missing_payload", "missing.bin")]));
    assert_eq!(report.notes.count("size_differs"), 3, "grown, shrunk and cut");
    assert_eq!((report.digests_checked, report.files_read), (4, 18));
}

#[test]
fn contents_are_hashed_for_the_caller() {
    struct Hashes(HashMap<String, [u8; 32]>);
    impl Observer for Hashes {
        fn on_progress(&mut self, _: &Progress) -> ControlFlow<()> {
            ControlFlow::Continue(())
        }
        fn on_file(&mut self, check: &FileCheck) {
            if let Some(hash) = check.sha256 {
                self.0.insert(check.entry.file_id.to_string(), hash);
            }
        }
    }
    for backup in ["enc-v10", "plain-v10", "enc-mbdb"] {
        let archive = unlocked(&golden::folder().join("synthetic").join(backup));
        let mut hashes = Hashes(HashMap::new());
        archive
            .verify(&VerifyOptions::default().sha256(true).threads(3), &mut hashes)
            .unwrap();
        let expect = golden::expect(backup);
        let mut compared = 0;
        for entry in expect["entries"].as_array().unwrap() {
            let Some(found) = hashes.0.get(entry["file_id"].as_str().unwrap()) else {
                continue;
            };
            if entry["damage"] != "stored file ends early" {
                assert_eq!(found.to_vec(), golden::bytes(&entry["plain_sha256"]), "{entry}");
                compared += 1;
            }
        }
        assert!(compared >= 17, "{compared}");
    }
}

#[test]
fn each_level_looks_as_far_as_it_says() {
    let archive = unlocked(&golden::folder().join("synthetic/enc-v10"));
    let quick = verify(&archive, Level::Quick);
    assert_eq!((quick.rows, quick.is_sound()), (0, true));
    let structure = verify(&archive, Level::Structure);
    assert_eq!(
        (structure.rows, structure.is_sound(), structure.stored_bytes),
        (27, true, 0)
    );
    let presence = verify(&archive, Level::Presence);
    assert_eq!(names(&presence.damage), pairs(&[("missing_payload", "missing.bin")]));
    // cut.bin, odd.bin, grown and shrunk.
    assert_eq!(presence.notes.count("stored_length"), 4);
    assert!(presence.stored_bytes > 70_000 && presence.files_read == 0);
}

#[test]
fn a_locked_backup_is_only_looked_at_quickly() {
    let archive = Archive::open(golden::folder().join("synthetic/enc-v10")).unwrap();
    assert!(
        archive
            .verify(&VerifyOptions::default().level(Level::Quick), &mut Silent)
            .unwrap()
            .is_sound()
    );
    assert!(matches!(
        archive.verify(&VerifyOptions::default(), &mut Silent),
        Err(ArchiveError::Locked)
    ));
}

/// Every payload of the backup, in its folder.
fn payloads(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let folders = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    folders
        .flat_map(|path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()))
        .collect()
}

#[test]
fn every_payload_emptied_removed_or_cut_is_named() {
    let backup = golden::copy_of("synthetic/enc-v10");
    let archive = unlocked(backup.path());
    let before = verify(&archive, Level::Content).damage;
    for payload in payloads(backup.path()) {
        let stored = fs::read(&payload).unwrap();
        let name = payload.file_name().unwrap().to_str().unwrap();
        let entry = archive.entry(&name.parse().unwrap()).unwrap().unwrap();
        if &*entry.path == "Documents/cut.bin" {
            continue;
        }
        let damaged = |report: &Report| {
            report
                .damage
                .list
                .iter()
                .any(|f| f.file_id == Some(entry.file_id) && !before.list.contains(f))
        };
        fs::remove_file(&payload).unwrap();
        let empty = entry.size == 0;
        let report = verify(&archive, Level::Presence);
        assert_eq!(damaged(&report), !empty, "{} removed", entry.path);
        fs::write(&payload, b"").unwrap();
        let report = verify(&archive, Level::Content);
        // A record without a digest that says zero bytes cannot tell.
        assert_eq!(
            damaged(&report),
            !empty || entry.digest.is_some(),
            "{} emptied",
            entry.path
        );
        fs::write(&payload, &stored[..stored.len() - 16 - stored.len() % 16]).unwrap();
        let report = verify(&archive, Level::Content);
        let whole = stored.len() as u64 / 16 * 16 - 16 == entry.size && entry.digest.is_none();
        assert_eq!(damaged(&report), !whole, "{} cut by a block", entry.path);
        fs::write(&payload, &stored).unwrap();
    }
    assert_eq!(verify(&archive, Level::Content).damage, before);
}

#[test]
fn a_flipped_bit_shows_where_a_digest_covers_it() {
    let backup = golden::copy_of("synthetic/enc-v10");
    let archive = unlocked(backup.path());
    let file = archive.entry_at("HomeDomain", "Library/SMS/sms.db").unwrap().unwrap();
    let payload = backup.path().join("3d").join(file.file_id.to_string());
    let mut stored = fs::read(&payload).unwrap();
    stored[100] ^= 1;
    fs::write(&payload, stored).unwrap();
    let report = verify(&archive, Level::Content);
    assert!(names(&report.damage).contains(&("digest_mismatch", "sms.db".into())));
}

#[test]
fn a_digest_of_the_contents_is_told_from_a_wrong_one() {
    // The records of a plain backup, so the digests are of the contents, with encrypted payloads: made by giving an
    // encrypted backup the digest of its plaintext.
    let backup = golden::copy_of("synthetic/enc-mbdb");
    let path = backup.path().join("Manifest.mbdb");
    let expect = golden::expect("enc-mbdb");
    let entry = expect["entries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["path"] == "Library/SMS/sms.db")
        .unwrap();
    let plain = golden::expect("plain-v10");
    let twin = plain["entries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["path"] == "Library/SMS/sms.db")
        .unwrap();
    let (of_stored, of_plain) = (golden::bytes(&entry["digest"]), golden::bytes(&twin["digest"]));
    let mut index = fs::read(&path).unwrap();
    let at = index.windows(20).position(|window| window == of_stored).unwrap();
    index[at..at + 20].copy_from_slice(&of_plain);
    fs::write(&path, index).unwrap();
    let report = verify(&unlocked(backup.path()), Level::Content);
    assert!(names(&report.notes).contains(&("digest_of_plaintext", "sms.db".into())));
    assert_eq!(report.damage.count("digest_mismatch"), 0);
}

#[test]
fn payloads_that_no_row_names_are_orphans() {
    let backup = golden::copy_of("synthetic/plain-v10");
    let archive = unlocked(backup.path());
    let stranger = "00000000000000000000000000000000000000aa";
    fs::create_dir(backup.path().join("00")).unwrap();
    fs::write(backup.path().join("00").join(stranger), "x").unwrap();
    fs::write(backup.path().join("00").join("readme.txt"), "x").unwrap();
    // A directory has no payload, so one with its id belongs to nobody.
    let directory = archive
        .entry_at("HomeDomain", "Library")
        .unwrap()
        .unwrap()
        .file_id
        .to_string();
    fs::write(backup.path().join(&directory), "x").unwrap();
    let report = verify(&archive, Level::Presence);
    let orphans: Vec<String> = report
        .notes
        .list
        .iter()
        .filter(|f| f.problem == Problem::Orphan)
        .map(|f| f.file_id.unwrap().to_string())
        .collect();
    assert_eq!(orphans.len(), 2);
    assert!(orphans.contains(&stranger.to_owned()) && orphans.contains(&directory));
}

#[test]
fn a_database_shorter_than_its_header_says_is_cut() {
    let backup = golden::copy_of("synthetic/plain-v10");
    let archive = unlocked(backup.path());
    let db = backup.path().join("real.db");
    let made = rusqlite::Connection::open(&db).unwrap();
    made.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(20000));")
        .unwrap();
    drop(made);
    let bytes = fs::read(&db).unwrap();
    let file = archive
        .entry_at("AppDomain-com.example.app", "Documents/shrunk.sqlite")
        .unwrap()
        .unwrap();
    let payload = backup.path().join(file.file_id.folder()).join(file.file_id.to_string());
    for (len, expect) in [(bytes.len() - 1, "database_cut"), (bytes.len() + 1, "database_longer")] {
        let mut stored = bytes.clone();
        stored.resize(len, 0);
        fs::write(&payload, stored).unwrap();
        let report = verify(&archive, Level::Content);
        assert_eq!(report.damage.count(expect) + report.notes.count(expect), 1, "{expect}");
    }
    fs::write(&payload, &bytes).unwrap();
    assert_eq!(verify(&archive, Level::Content).damage.count("database_cut"), 0);
}

#[test]
fn an_unfinished_backup_is_not_sound() {
    let backup = golden::copy_of("synthetic/plain-v10");
    fs::create_dir(backup.path().join("Snapshot")).unwrap();
    let report = verify(&unlocked(backup.path()), Level::Quick);
    assert!(report.backup.contains(&OpenNote::SnapshotFolder) && !report.is_sound());
}

#[test]
fn an_index_cut_in_the_middle_is_damage_and_no_reason_to_call_payloads_orphans() {
    let backup = golden::copy_of("synthetic/enc-mbdb");
    let path = backup.path().join("Manifest.mbdb");
    let index = fs::read(&path).unwrap();
    fs::write(&path, &index[..index.len() / 2]).unwrap();
    let report = verify(&unlocked(backup.path()), Level::Content);
    assert!(!report.index_complete && report.damage.count("index_damaged") == 1);
    assert_eq!(report.notes.count("orphan"), 0);
}

#[test]
fn a_check_can_be_stopped() {
    let archive = unlocked(&golden::folder().join("synthetic/enc-v10"));
    let mut seen = 0;
    let mut stop = |_: &Progress| {
        seen += 1;
        if seen == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let stopped = archive.verify(&VerifyOptions::default(), &mut stop);
    assert!(matches!(stopped, Err(ArchiveError::Cancelled)));
}

#[test]
fn a_report_is_one_flat_object() {
    let archive = unlocked(&golden::folder().join("synthetic/enc-v10"));
    let json = serde_json::to_value(verify(&archive, Level::Content)).unwrap();
    assert_eq!(json["damage"]["counts"]["missing_payload"], 1);
    assert_eq!(
        (json["protection"].as_str(), json["level"].as_str()),
        (Some("encrypted"), Some("content"))
    );
    let cut = json["damage"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["problem"] == "incomplete")
        .unwrap();
    assert_eq!(
        (cut["stored"].as_u64(), cut["recorded"].as_u64()),
        (Some(512), Some(1000))
    );
    let note = json["notes"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["note"] == "stray_bytes")
        .unwrap();
    assert_eq!(note["count"], 5);
}

#[test]
fn the_list_is_short_when_asked_for_and_the_count_is_not() {
    let archive = unlocked(&golden::folder().join("synthetic/enc-v10"));
    let report = archive
        .verify(&VerifyOptions::default().listed(1), &mut Silent)
        .unwrap();
    assert_eq!((report.damage.list.len(), report.damage.total()), (1, 2));
}
