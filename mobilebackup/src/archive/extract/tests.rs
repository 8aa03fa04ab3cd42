mod existing;
#[cfg(unix)]
mod links;
mod resume;
mod tar_and_zip;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::archive::build::{BuildOptions, Builder, Details};
use crate::archive::names::{Convention, decode};
use crate::archive::observe::Silent;
use crate::archive::select::Selection;
use crate::archive::{Archive, golden};

/// As most tests want it: the disk need not be waited for.
fn quick() -> ExtractOptions {
    ExtractOptions::default().flush(false)
}

fn golden_backup(name: &str) -> Archive {
    let mut archive = Archive::open(golden::folder().join("synthetic").join(name)).unwrap();
    if archive.is_locked() {
        archive.unlock("vector-pass-1").unwrap();
    }
    archive
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line.get("domain").is_some()).collect()
}

fn manifest(target: &Path) -> Vec<Value> {
    lines(&fs::read_to_string(target.join("manifest.jsonl")).unwrap())
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Every file below, but the manifest, with its contents.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            assert!(!kind.is_symlink());
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name() != "manifest.jsonl" {
                let path = entry.path().strip_prefix(root).unwrap().to_owned();
                files.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

struct Made {
    root: TempDir,
    archive: Archive,
}

impl Made {
    fn target(&self) -> PathBuf {
        self.root.path().join("out")
    }
}

/// A backup of what `fill` puts in.
fn made(fill: impl FnOnce(&mut Builder)) -> Made {
    made_as(BuildOptions::default().encrypted("secret").rounds(10, 10), fill)
}

fn made_as(options: BuildOptions, fill: impl FnOnce(&mut Builder)) -> Made {
    let root = tempfile::tempdir().unwrap();
    let mut builder = Builder::create(root.path().join("backup"), options).unwrap();
    fill(&mut builder);
    builder.finish().unwrap();
    let mut archive = Archive::open(root.path().join("backup")).unwrap();
    if archive.is_locked() {
        archive.unlock("secret").unwrap();
    }
    Made { root, archive }
}

fn put(builder: &mut Builder, path: &str, contents: &[u8]) {
    let details = Details::default().modified(1_600_000_000);
    builder.file("HomeDomain", path, contents, &details).unwrap();
}

/// Many small files and a few that come in pieces.
fn many(builder: &mut Builder) {
    for n in 0..300_u32 {
        put(
            builder,
            &format!("Library/{}/{n}.bin", n % 7),
            &vec![n.to_le_bytes()[0]; n as usize * 11],
        );
    }
    for n in 0..3_u8 {
        let contents: Vec<u8> = (0..3_000_000_u32).map(|i| (i >> 7).to_le_bytes()[0] ^ n).collect();
        put(builder, &format!("Media/large-{n}.mov"), &contents);
    }
}

#[test]
fn every_golden_backup_extracts_with_the_recorded_outcome_and_a_manifest_that_maps_back() {
    for name in ["plain-v10", "enc-v10", "enc-mbdb"] {
        for convention in [Convention::Unix, Convention::MacOs, Convention::Windows] {
            let archive = golden_backup(name);
            let place = tempfile::tempdir().unwrap();
            let target = place.path().join("deep/out");
            let report = archive
                .extract(&target, &quick().names(convention), &mut Silent)
                .unwrap();
            let by_path: HashMap<_, _> = manifest(&target)
                .into_iter()
                .map(|line| {
                    (
                        (
                            line["domain"].as_str().unwrap().to_owned(),
                            line["path"].as_str().unwrap().to_owned(),
                        ),
                        line,
                    )
                })
                .collect();
            let expect = golden::expect(name);
            let (mut good, mut bad) = (0, 0);
            for entry in expect["entries"].as_array().unwrap() {
                let key = (
                    entry["domain"].as_str().unwrap().to_owned(),
                    entry["path"].as_str().unwrap().to_owned(),
                );
                let line = &by_path[&key];
                let mapped = line["extracted"].as_str();
                if entry["kind"] == "file" && line["status"] == "extracted" {
                    let contents = fs::read(target.join(mapped.unwrap())).unwrap();
                    assert_eq!(line["length"], contents.len());
                    assert_eq!(line["sha256"], sha256(&contents));
                    if key.1 != "Documents/cut.bin" {
                        assert_eq!(sha256(&contents), entry["plain_sha256"].as_str().unwrap(), "{key:?}");
                    }
                    assert_eq!(decode(mapped.unwrap()).unwrap(), key);
                    good += 1;
                } else if entry["kind"] == "file" {
                    assert_eq!(line["status"], "failed");
                    assert_eq!(mapped, None);
                    bad += 1;
                } else if entry["kind"] == "dir" {
                    assert!(target.join(mapped.unwrap()).is_dir());
                }
            }
            // The missing file; and the cut one, where encryption tells.
            assert_eq!(bad, if name == "plain-v10" { 1 } else { 2 }, "{:?}", report.failures);
            assert_eq!((report.files, report.failed), (good, bad));
            assert_eq!(report.links_recorded, 1);
            assert_eq!(
                by_path[&("AppDomain-com.example.app".to_owned(), "Library/link".to_owned())]["link_target"],
                "/var/mobile/Containers/x"
            );
            assert_eq!(tree(&target).len() as u64, good);
            let beside: Vec<_> = fs::read_dir(place.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(beside, ["deep"], "nothing beside the target");
        }
    }
}

#[test]
fn a_cut_file_is_salvaged_on_request_and_said_to_be() {
    let archive = golden_backup("enc-v10");
    let place = tempfile::tempdir().unwrap();
    let options = quick()
        .salvage(true)
        .selection(Selection::default().glob("*/Documents/cut.bin").unwrap());
    let report = archive
        .extract(place.path().join("out"), &options, &mut Silent)
        .unwrap();
    assert_eq!((report.files, report.failed, report.noted), (1, 0, 1));
    let line = &manifest(&place.path().join("out"))[0];
    let notes = line["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note["note"] == "salvaged"), "{line}");
}

#[cfg(unix)]
#[test]
fn modes_and_times_are_restored_and_made_safe() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let made = made(|builder| {
        let details = |mode: u32| Details::default().mode(mode).modified(1_234_567_890);
        builder.directory("HomeDomain", "locked", &details(0o500)).unwrap();
        builder
            .file("HomeDomain", "locked/suid", &b"x"[..], &details(0o4711))
            .unwrap();
        builder
            .file("HomeDomain", "locked/none", &b"x"[..], &details(0))
            .unwrap();
        builder
            .file("HomeDomain", "locked/all", &b"x"[..], &details(0o666))
            .unwrap();
        builder
            .file("HomeDomain", "old", &b"x"[..], &Details::default().modified(0))
            .unwrap();
    });
    made.archive.extract(made.target(), &quick(), &mut Silent).unwrap();
    let meta = |path: &str| fs::metadata(made.target().join("HomeDomain").join(path)).unwrap();
    for (path, mode) in [
        ("locked/suid", 0o711),
        ("locked/none", 0o600),
        ("locked/all", 0o666),
        ("locked", 0o700),
    ] {
        assert_eq!(meta(path).permissions().mode() & 0o7777, mode, "{path}");
        assert_eq!(meta(path).mtime(), 1_234_567_890, "{path}");
    }
    assert_eq!(meta("old").mtime(), 0);
    assert_eq!(fs::metadata(made.target()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn the_backup_is_never_a_target() {
    let made = made(|builder| put(builder, "a", b"x"));
    let backup = made.root.path().join("backup");
    let mut targets = vec![
        backup.clone(),
        backup.join("out"),
        backup.join("x/../y"),
        made.root.path().to_owned(),
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&backup, made.root.path().join("alias")).unwrap();
        targets.push(made.root.path().join("alias/new/deep"));
    }
    let before = fs::read_dir(&backup).unwrap().count();
    for target in targets {
        let refused = made.archive.extract(&target, &quick(), &mut Silent);
        assert!(
            matches!(refused, Err(ExtractError::TargetHoldsBackup { .. })),
            "{target:?} {refused:?}"
        );
    }
    assert_eq!(fs::read_dir(&backup).unwrap().count(), before);
}

#[test]
fn a_file_and_a_folder_of_one_path_are_both_there() {
    let made = made_as(BuildOptions::default(), |builder| {
        put(builder, "a", b"file");
        put(builder, "ab/b", b"inside");
    });
    // No builder makes such a backup: its index is bent.
    let backup = made.root.path().join("backup");
    let index = rusqlite::Connection::open(backup.join("Manifest.db")).unwrap();
    index
        .execute("UPDATE Files SET relativePath = 'a/b' WHERE relativePath = 'ab/b'", [])
        .unwrap();
    index
        .execute("DELETE FROM Files WHERE relativePath = 'ab'", [])
        .unwrap();
    drop(index);
    let archive = Archive::open(&backup).unwrap();
    let report = archive.extract(made.target(), &quick(), &mut Silent).unwrap();
    assert!(report.is_complete(), "{:?}", report.failures);
    assert_eq!(fs::read(made.target().join("HomeDomain/a/b")).unwrap(), b"inside");
    let mapped = manifest(&made.target())
        .iter()
        .find(|line| line["path"] == "a")
        .unwrap()["extracted"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(fs::read(made.target().join(&mapped)).unwrap(), b"file");
    assert_eq!(decode(&mapped).unwrap().1, "a");
}

#[test]
fn attributes_owners_and_what_cannot_be_read_are_in_the_manifest() {
    let made = made(|builder| {
        let details = Details::default()
            .attribute("com.apple.x", vec![0, 255])
            .user(501)
            .recorded_size(7);
        builder.file("HomeDomain", "a", &b"x"[..], &details).unwrap();
        put(builder, "gone", b"xyz");
    });
    let gone = made.archive.entry_at("HomeDomain", "gone").unwrap().unwrap();
    fs::remove_file(made.archive.payload_place(&gone.file_id).unwrap()).unwrap();
    let report = made.archive.extract(made.target(), &quick(), &mut Silent).unwrap();
    assert_eq!((report.failed, report.is_complete()), (1, false));
    let lines = manifest(&made.target());
    let line = |path: &str| lines.iter().find(|line| line["path"] == path).unwrap();
    assert_eq!(line("a")["attributes"]["com.apple.x"], "00ff");
    assert_eq!(line("a")["user"], 501);
    assert_eq!((&line("a")["size"], &line("a")["length"]), (&7.into(), &1.into()));
    assert_eq!(line("a")["notes"][0]["note"], "size_differs");
    assert_eq!(line("gone")["failure"]["reason"], "missing_payload");
    // Once it is back, the next run has it.
    assert_eq!(serde_json::to_value(&report).unwrap()["failures"][0]["path"], "gone");
}

#[test]
fn a_run_that_is_refused_leaves_no_trace() {
    let made = made(|builder| {
        let huge = Details::default().recorded_size(1 << 60);
        builder.file("HomeDomain", "a", &b"x"[..], &huge).unwrap();
    });
    fs::create_dir(made.target()).unwrap();
    let refused = made.archive.extract(made.target(), &quick(), &mut Silent);
    assert!(
        matches!(refused, Err(ExtractError::NotEnoughSpace { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read_dir(made.target()).unwrap().count(), 0);
    let options = quick().check_space(false);
    made.archive.extract(made.target(), &options, &mut Silent).unwrap();
    let resume = quick().resume(Resume::BySizeAndTime);
    let refused = golden_backup("plain-v10").extract(made.target(), &resume, &mut Silent);
    assert!(
        matches!(refused, Err(ExtractError::OtherExtraction { .. })),
        "{refused:?}"
    );
    assert!(
        !made.target().join("%unfinished").exists(),
        "what is there is still finished"
    );
    assert!(made.target().join("manifest.jsonl").exists());
}

#[test]
fn a_locked_backup_is_refused_before_anything_is_made() {
    let archive = Archive::open(golden::folder().join("synthetic/enc-v10")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let refused = archive.extract(place.path().join("out"), &quick(), &mut Silent);
    assert!(matches!(
        refused,
        Err(ExtractError::Archive(crate::archive::ArchiveError::Locked))
    ));
    assert!(!place.path().join("out").exists());
}
