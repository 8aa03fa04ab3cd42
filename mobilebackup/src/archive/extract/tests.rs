use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::archive::build::{BuildOptions, Builder, Details};
use crate::archive::names::{Convention, decode};
use crate::archive::observe::{Phase, Progress, Silent};
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
fn a_run_cancelled_anywhere_is_completed_by_the_next() {
    let made = made(many);
    let reference = made.root.path().join("reference");
    made.archive.extract(&reference, &quick(), &mut Silent).unwrap();
    let wanted = tree(&reference);
    assert_eq!(wanted.len(), 303);
    for steps in [1, 2, 3, 5, 9] {
        let target = made.root.path().join(format!("out{steps}"));
        let mut seen = 0;
        let mut stop = |progress: &Progress| {
            seen += u32::from(progress.phase == Phase::WritingFiles);
            if seen >= steps {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let stopped = made.archive.extract(&target, &quick().threads(2), &mut stop);
        if stopped.is_err() {
            assert!(matches!(stopped, Err(ExtractError::Cancelled)));
            assert!(target.join("%unfinished").exists(), "it says that it is not finished");
        }
        let again = made.archive.extract(&target, &quick(), &mut Silent);
        assert!(matches!(again, Err(ExtractError::TargetInUse { .. })));
        let report = made
            .archive
            .extract(&target, &quick().resume(Resume::BySizeAndTime), &mut Silent)
            .unwrap();
        assert!(report.is_complete(), "{:?}", report.failures);
        assert_eq!(report.files + report.already_there, 303);
        assert_eq!(tree(&target), wanted);
        assert_whole_manifest(&target, 303);
    }
}

/// Every file is in the manifest, and what it says is so.
fn assert_whole_manifest(target: &Path, files: usize) {
    let proved: HashMap<String, String> = manifest(target)
        .iter()
        .filter(|line| line["kind"] == "file" && line["status"] == "extracted")
        .map(|line| {
            (
                line["extracted"].as_str().unwrap().to_owned(),
                line["sha256"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    assert_eq!(proved.len(), files);
    for (path, contents) in tree(target) {
        assert_eq!(proved[path.to_str().unwrap()], sha256(&contents));
    }
}

#[test]
fn a_manifest_torn_at_any_place_costs_no_file() {
    let made = made(|builder| {
        for n in 0..20 {
            put(builder, &format!("f{n}"), format!("contents {n}").as_bytes());
        }
    });
    made.archive.extract(made.target(), &quick(), &mut Silent).unwrap();
    let wanted = tree(&made.target());
    let whole = fs::read(made.target().join("manifest.jsonl")).unwrap();
    for cut in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        // As a kill leaves it: the files are there, the manifest lags behind.
        fs::write(made.target().join("manifest.jsonl"), &whole[..cut]).unwrap();
        fs::create_dir_all(made.target().join("%unfinished/0")).unwrap();
        fs::write(made.target().join("%unfinished/0/1"), "half").unwrap();
        let report = made
            .archive
            .extract(made.target(), &quick().resume(Resume::BySizeAndTime), &mut Silent)
            .unwrap();
        assert!(report.is_complete(), "cut at {cut}: {:?}", report.failures);
        assert_eq!(report.files + report.already_there, 20);
        assert_eq!(tree(&made.target()), wanted);
        assert_whole_manifest(&made.target(), 20);
    }
}

#[test]
fn resuming_repairs_nothing_that_is_done_and_sees_what_was_changed() {
    let made = made(|builder| {
        for n in 0..5 {
            put(builder, &format!("f{n}"), b"contents");
        }
    });
    made.archive.extract(made.target(), &quick(), &mut Silent).unwrap();
    let file = made.target().join("HomeDomain/f3");
    let resume = |how| {
        made.archive
            .extract(made.target(), &quick().resume(how), &mut Silent)
            .unwrap()
    };
    assert_eq!(resume(Resume::BySizeAndTime).already_there, 5);
    assert_eq!(resume(Resume::ByHash).already_there, 5);
    // Another length shows at once; the same length and time only by the hash.
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "CONTENTS").unwrap();
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(time)
        .unwrap();
    assert_eq!(resume(Resume::BySizeAndTime).already_there, 5);
    let report = resume(Resume::ByHash);
    assert_eq!((report.already_there, report.failed), (4, 1));
    assert_eq!(report.failures[0].failure, Failure::Exists);
    assert_eq!(fs::read(&file).unwrap(), b"CONTENTS", "never overwritten");
    fs::remove_file(&file).unwrap();
    assert_eq!(resume(Resume::BySizeAndTime).files, 1);
    assert_eq!(fs::read(&file).unwrap(), b"contents");
}

#[test]
fn files_of_others_stay_as_they_are() {
    let made = made(|builder| {
        put(builder, "a", b"ours");
        put(builder, "b/c", b"ours");
        put(builder, "d", b"ours");
    });
    let home = made.target().join("HomeDomain");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("a"), "theirs").unwrap();
    fs::write(home.join("b"), "a file where a folder is needed").unwrap();
    let report = made.archive.extract(made.target(), &quick(), &mut Silent).unwrap();
    assert_eq!(report.files, 1);
    let mut failures: Vec<_> = report
        .failures
        .into_iter()
        .map(|failed| (failed.path, failed.failure))
        .collect();
    failures.sort_by(|a, b| a.0.cmp(&b.0));
    // The folder itself, and what should have gone into it.
    assert_eq!(failures[0], ("a".to_owned(), Failure::Exists));
    assert!(
        failures[1..]
            .iter()
            .all(|(path, failure)| path.starts_with('b') && *failure == Failure::InTheWay),
        "{failures:?}"
    );
    assert_eq!(fs::read(home.join("a")).unwrap(), b"theirs");
    let options = quick().resume(Resume::BySizeAndTime).existing(Existing::Skip);
    let report = made.archive.extract(made.target(), &options, &mut Silent).unwrap();
    assert_eq!((report.left_out, report.already_there), (1, 1));
    let options = quick().resume(Resume::BySizeAndTime).existing(Existing::ReplaceOurs);
    let report = made.archive.extract(made.target(), &options, &mut Silent).unwrap();
    assert_eq!(report.failures[0].failure, Failure::Exists);
    assert_eq!(fs::read(home.join("a")).unwrap(), b"theirs");
}

#[test]
fn a_newer_backup_replaces_only_what_an_extraction_wrote() {
    let old = made_as(
        BuildOptions::default().date(UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        |builder| {
            for path in ["same", "changed", "touched"] {
                put(builder, path, b"old");
            }
        },
    );
    let new = made_as(
        BuildOptions::default().date(UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
        |builder| {
            put(builder, "same", b"old");
            for path in ["changed", "touched"] {
                let details = Details::default().modified(1_700_000_000);
                builder.file("HomeDomain", path, &b"newer"[..], &details).unwrap();
            }
        },
    );
    let target = old.target();
    old.archive.extract(&target, &quick(), &mut Silent).unwrap();
    fs::write(target.join("HomeDomain/touched"), "by the user").unwrap();
    let refused = new
        .archive
        .extract(&target, &quick().resume(Resume::BySizeAndTime), &mut Silent);
    assert!(
        matches!(refused, Err(ExtractError::OtherExtraction { .. })),
        "{refused:?}"
    );
    let report = new
        .archive
        .extract(&target, &quick().existing(Existing::ReplaceOurs), &mut Silent)
        .unwrap();
    assert_eq!(
        (report.files, report.already_there, report.failed),
        (1, 1, 1),
        "{:?}",
        report.failures
    );
    let read = |name: &str| fs::read(target.join("HomeDomain").join(name)).unwrap();
    assert_eq!(
        (read("same"), read("changed"), read("touched")),
        (b"old".to_vec(), b"newer".to_vec(), b"by the user".to_vec())
    );
}

#[cfg(unix)]
#[test]
fn links_of_anybody_lead_nowhere() {
    use std::os::unix::fs::symlink;
    let made = made(|builder| {
        put(builder, "folder/file", b"ours");
        put(builder, "file", b"ours");
        put(builder, "good/file", b"ours");
    });
    let outside = made.root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "theirs").unwrap();
    let home = made.target().join("HomeDomain");
    fs::create_dir_all(&home).unwrap();
    symlink(&outside, home.join("folder")).unwrap();
    symlink(outside.join("victim"), home.join("file")).unwrap();
    let report = made.archive.extract(made.target(), &quick(), &mut Silent).unwrap();
    assert_eq!(report.files, 1);
    assert!(
        report
            .failures
            .iter()
            .any(|failed| failed.path == "folder/file" && failed.failure == Failure::InTheWay)
    );
    assert!(
        report
            .failures
            .iter()
            .any(|failed| failed.path == "file" && failed.failure == Failure::Exists)
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read(outside.join("victim")).unwrap(), b"theirs");
    // A manifest or a lock that is a link is not written through either.
    for name in ["manifest.jsonl", "%unfinished"] {
        let target = made.root.path().join(format!("linked-{}", name.len()));
        fs::create_dir(&target).unwrap();
        symlink(outside.join("new"), target.join(name)).unwrap();
        let options = quick().resume(Resume::BySizeAndTime);
        assert!(made.archive.extract(&target, &options, &mut Silent).is_err(), "{name}");
        assert!(!outside.join("new").exists());
    }
}

#[cfg(unix)]
#[test]
fn links_are_made_last_and_only_inside_their_domain() {
    let made = made(|builder| {
        let details = Details::default();
        // Its own name is that of a folder that comes later.
        for (path, target) in [
            ("out", "/etc"),
            ("climb", "../../etc"),
            ("Library/in", "../Media/file"),
            ("absolute", "/private/var/mobile/Media/file"),
        ] {
            builder.symlink("HomeDomain", path, target, &details).unwrap();
        }
        put(builder, "Media/file", b"ours");
    });
    let recorded = made
        .archive
        .extract(made.root.path().join("recorded"), &quick(), &mut Silent)
        .unwrap();
    assert_eq!((recorded.links, recorded.links_recorded), (0, 4));
    made.archive
        .extract(made.target(), &quick().links(Links::Contained), &mut Silent)
        .unwrap();
    let home = made.target().join("HomeDomain");
    assert_eq!(
        fs::read_link(home.join("Library/in")).unwrap(),
        Path::new("../Media/file")
    );
    assert_eq!(fs::read(home.join("absolute")).unwrap(), b"ours");
    assert!(fs::symlink_metadata(home.join("out")).is_err());
    assert!(fs::symlink_metadata(home.join("climb")).is_err());
    let noted = manifest(&made.target())
        .iter()
        .filter(|line| line["notes"][0]["note"] == "link_not_made")
        .count();
    assert_eq!(noted, 2);
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
fn two_runs_do_not_share_a_target() {
    let made = made(|builder| put(builder, "a", b"x"));
    let mut inner = None;
    let target = made.target();
    made.archive
        .extract(&target, &quick(), &mut |_: &Progress| {
            let options = quick().resume(Resume::BySizeAndTime);
            inner.get_or_insert_with(|| made.archive.extract(&target, &options, &mut Silent));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(matches!(inner, Some(Err(ExtractError::Busy { .. }))), "{inner:?}");
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

#[test]
fn tar_and_zip_hold_what_a_folder_would_and_the_manifest_last() {
    for (name, backup) in [("enc-v10", golden_backup("enc-v10")), ("made", made(many).archive)] {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("out");
        let wanted_report = backup
            .extract(&target, &quick().names(Convention::Windows), &mut Silent)
            .unwrap();
        let wanted = tree(&target);
        let mut tar = Vec::new();
        let report = backup.extract_tar(&mut tar, &quick(), &mut Silent).unwrap();
        assert_eq!(
            (report.files, report.failed),
            (wanted_report.files, wanted_report.failed),
            "{name}"
        );
        let mut archive = ::tar::Archive::new(&tar[..]);
        let (mut files, mut last) = (BTreeMap::new(), PathBuf::new());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            last = entry.path().unwrap().into_owned();
            if entry.header().entry_type() == ::tar::EntryType::Regular {
                let mut contents = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut contents).unwrap();
                files.insert(last.clone(), contents);
            }
        }
        assert_eq!(last, Path::new("manifest.jsonl"));
        let manifest = files.remove(Path::new("manifest.jsonl")).unwrap();
        let listed = lines(str::from_utf8(&manifest).unwrap());
        assert_eq!(
            listed
                .iter()
                .filter(|line| line["kind"] == "file" && line["status"] == "extracted")
                .count(),
            wanted.len()
        );
        assert!(files == wanted, "{name}");

        let mut zipped = Vec::new();
        backup.extract_zip(&mut zipped, &quick(), &mut Silent).unwrap();
        let mut archive = ::zip::ZipArchive::new(std::io::Cursor::new(zipped)).unwrap();
        let mut files = BTreeMap::new();
        for at in 0..archive.len() {
            let mut member = archive.by_index(at).unwrap();
            last = member.enclosed_name().unwrap();
            if member.is_file() {
                let mut contents = Vec::new();
                std::io::Read::read_to_end(&mut member, &mut contents).unwrap();
                files.insert(last.clone(), contents);
            }
        }
        assert_eq!(last, Path::new("manifest.jsonl"));
        files.remove(Path::new("manifest.jsonl")).unwrap();
        assert!(files == wanted, "{name}");
    }
}

/// What a program of others prints or writes; `None` if it is not installed.
fn ran(program: &str, arguments: &[&std::ffi::OsStr]) -> Option<std::process::Output> {
    match std::process::Command::new(program).args(arguments).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program}: {said}");
            Some(output)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("{program} is not installed");
            None
        }
        Err(e) => panic!("{program}: {e}"),
    }
}

#[cfg(unix)]
#[test]
fn programs_of_others_unpack_tar_and_zip_to_the_same_tree() {
    let long = format!("{}/{}.txt", "deep/".repeat(40), "\u{e9}".repeat(90));
    let made = made(|builder| {
        many(builder);
        for path in [
            "../../../../etc/evil",
            "AUX",
            "a:b*c?.txt",
            "Caf\u{e9}",
            "Cafe\u{301}",
            "/absolute",
            "-rf",
            &long,
        ] {
            put(builder, path, path.as_bytes());
        }
        let details = Details::default();
        builder
            .symlink("HomeDomain", "Library/in", "../Media/large-0.mov", &details)
            .unwrap();
    });
    let root = made.root.path();
    let options = quick().links(Links::Contained);
    made.archive
        .extract(root.join("reference"), &quick().names(Convention::Windows), &mut Silent)
        .unwrap();
    let wanted = tree(&root.join("reference"));
    let (tar, zip) = (root.join("all.tar"), root.join("all.zip"));
    made.archive
        .extract_tar(fs::File::create(&tar).unwrap(), &options, &mut Silent)
        .unwrap();
    made.archive
        .extract_zip(fs::File::create(&zip).unwrap(), &options, &mut Silent)
        .unwrap();
    let python = "import sys, tarfile, zipfile\n\
        kind, source, target = sys.argv[1:]\n\
        if kind == 'tar':\n    tarfile.open(source).extractall(target)\n\
        else:\n    archive = zipfile.ZipFile(source)\n    assert archive.testzip() is None\n    archive.extractall(target)\n";
    let runs: [(&str, &str, Vec<&std::ffi::OsStr>); 4] = [
        ("tar", "by-tar", vec!["-xf".as_ref(), tar.as_ref(), "-C".as_ref()]),
        ("unzip", "by-unzip", vec!["-q".as_ref(), zip.as_ref(), "-d".as_ref()]),
        (
            "python3",
            "by-tarfile",
            vec!["-c".as_ref(), python.as_ref(), "tar".as_ref(), tar.as_ref()],
        ),
        (
            "python3",
            "by-zipfile",
            vec!["-c".as_ref(), python.as_ref(), "zip".as_ref(), zip.as_ref()],
        ),
    ];
    for (program, name, mut arguments) in runs {
        let target = root.join(name);
        fs::create_dir(&target).unwrap();
        arguments.push(target.as_ref());
        if ran(program, &arguments).is_none() {
            continue;
        }
        let link = target.join("HomeDomain/Library/in");
        if name != "by-zipfile" {
            assert_eq!(
                fs::read_link(&link).unwrap(),
                Path::new("../Media/large-0.mov"),
                "{name}"
            );
        }
        fs::remove_file(&link).unwrap();
        assert!(tree(&target) == wanted, "{name}");
        let seconds = fs::metadata(target.join("HomeDomain/%41UX"))
            .unwrap()
            .modified()
            .unwrap();
        if name != "by-zipfile" {
            assert_eq!(seconds, UNIX_EPOCH + Duration::from_secs(1_600_000_000), "{name}");
        }
    }
}
