//! The plain folder: what a device may do to it, and what it may not.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::io::Read;
use std::path::Path;

use cabled_mobilebackup::folder::plain::{Durability, PlainFolder, Recovery, SnapshotState};
use cabled_mobilebackup::folder::{
    Access, BackupFolder, CommitPoint, EntryKind, FolderErrorKind, FolderRun, Purpose, Scope, ScopedPath,
};
use cabled_wire::dict;
use cabled_wire::plist::{self, Value};
use proptest::prelude::*;
use tempfile::TempDir;

const U: &str = "00008030-001A2B3C4D5E6F70";
const OTHER: &str = "0123456789abcdef0123456789abcdef01234567";

struct Bench {
    root: TempDir,
    scope: Scope,
}

impl Bench {
    fn new(purpose: Purpose) -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            scope: Scope::new(U, U, purpose).unwrap(),
        }
    }

    fn folder(&self) -> PlainFolder {
        PlainFolder::new(self.root.path().join("root"))
    }

    fn run(&self) -> Box<dyn FolderRun> {
        self.folder().open(&self.scope).unwrap()
    }

    fn at(&self, tail: &str, access: Access) -> ScopedPath {
        self.scope.admit(&format!("{U}/{tail}"), access).unwrap()
    }

    fn device(&self) -> std::path::PathBuf {
        self.folder().device_path(U)
    }

    fn put(&self, run: &mut dyn FolderRun, tail: &str, data: &[u8]) {
        let mut upload = run.upload(&self.at(tail, Access::Write)).unwrap();
        upload.write(data).unwrap();
        upload.finish().unwrap();
    }
}

fn status(state: &str) -> Vec<u8> {
    let dict = dict! { "BackupState" => "new", "IsFullBackup" => false, "SnapshotState" => state, "Version" => "3.3" };
    plist::to_binary(&Value::Dictionary(dict))
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_has_its_name_only_when_it_is_whole() {
    let bench = Bench::new(Purpose::Backup);
    let mut run = bench.run();
    bench.put(run.as_mut(), "Snapshot/ab/file", b"old");
    let mut upload = run.upload(&bench.at("Snapshot/ab/file", Access::Write)).unwrap();
    upload.write(b"new, but ").unwrap();
    assert_eq!(fs::read(bench.device().join("Snapshot/ab/file")).unwrap(), b"old");
    drop(upload);
    assert_eq!(
        fs::read(bench.device().join("Snapshot/ab/file")).unwrap(),
        b"old",
        "an unfinished file leaves no trace"
    );
    bench.put(run.as_mut(), "Snapshot/ab/file", b"new");
    assert_eq!(fs::read(bench.device().join("Snapshot/ab/file")).unwrap(), b"new");
    bench.put(run.as_mut(), "Snapshot/ab/empty", b"");
    assert_eq!(names(&bench.device().join("Snapshot/ab")), ["empty", "file"]);
    assert!(names(&bench.root.path().join("root/.cabled").join(U).join("tmp")).is_empty());
}

#[test]
fn listings_are_complete_and_exact() {
    let bench = Bench::new(Purpose::Backup);
    let mut run = bench.run();
    bench.put(run.as_mut(), "empty", b"");
    bench.put(run.as_mut(), "five", b"12345");
    run.create_dir(&bench.at("dir/sub", Access::CreateDir)).unwrap();
    let mut listed = run.list(&bench.at("", Access::Read)).unwrap();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let short: Vec<_> = listed
        .iter()
        .map(|entry| (entry.name.as_str(), entry.kind, entry.size))
        .collect();
    assert_eq!(short[0].0, "dir");
    assert_eq!(short[0].1, EntryKind::Directory);
    assert_eq!(
        short[1..],
        [("empty", EntryKind::File, 0), ("five", EntryKind::File, 5)]
    );
    let missing = run.list(&bench.at("nowhere", Access::Read)).unwrap_err();
    assert_eq!(missing.kind(), FolderErrorKind::NotFound);
}

#[test]
fn moves_make_parents_and_replace_files_and_trees() {
    let bench = Bench::new(Purpose::Backup);
    let mut run = bench.run();
    for (from, to) in [
        ("Snapshot/ab/x", "ab/x"),
        ("Snapshot/new", "ab/x"),
        ("Snapshot/f", "tree"),
        ("Snapshot/t2", "ab/x"),
    ] {
        if from.ends_with("t2") {
            run.create_dir(&bench.at("Snapshot/t2/inner", Access::CreateDir))
                .unwrap();
        } else {
            bench.put(run.as_mut(), from, from.as_bytes());
        }
        if to == "tree" {
            bench.put(run.as_mut(), "tree/old/file", b"old");
        }
        run.rename(&bench.at(from, Access::Remove), &bench.at(to, Access::Write))
            .unwrap();
        assert!(!bench.device().join(from).exists());
    }
    assert_eq!(fs::read(bench.device().join("tree")).unwrap(), b"Snapshot/f");
    assert!(bench.device().join("ab/x/inner").is_dir(), "a tree replaced the file");
    let missing = run
        .rename(&bench.at("none", Access::Remove), &bench.at("y", Access::Write))
        .unwrap_err();
    assert_eq!(missing.kind(), FolderErrorKind::NotFound);
    let inside = run.rename(&bench.at("ab", Access::Remove), &bench.at("ab/x/y", Access::Write));
    assert!(inside.is_err());
    assert!(bench.device().join("ab/x/inner").is_dir());
}

#[test]
fn removal_is_recursive_and_a_missing_path_is_fine() {
    let bench = Bench::new(Purpose::Backup);
    let mut run = bench.run();
    bench.put(run.as_mut(), "Snapshot/a/b/c", b"1");
    run.remove(&bench.at("Snapshot", Access::Remove)).unwrap();
    run.remove(&bench.at("Snapshot", Access::Remove)).unwrap();
    run.remove(&bench.at("never/was/here", Access::Remove)).unwrap();
    assert!(names(&bench.device()).is_empty());
}

#[test]
fn a_file_in_the_way_of_a_directory_is_named_so() {
    let bench = Bench::new(Purpose::Backup);
    let mut run = bench.run();
    bench.put(run.as_mut(), "x", b"1");
    let error = run.create_dir(&bench.at("x", Access::CreateDir)).unwrap_err();
    assert_eq!(error.kind(), FolderErrorKind::Exists);
    let error = run.create_dir(&bench.at("x/y", Access::CreateDir)).unwrap_err();
    assert!(
        matches!(error.kind(), FolderErrorKind::Exists | FolderErrorKind::NotADirectory),
        "{error}"
    );
    run.create_dir(&bench.at("d", Access::CreateDir)).unwrap();
    run.create_dir(&bench.at("d", Access::CreateDir)).unwrap();
    let Err(error) = run.download(&bench.at("d", Access::Read)) else {
        panic!("a directory was opened")
    };
    assert_eq!(error.kind(), FolderErrorKind::IsADirectory);
}

#[test]
fn a_restore_copies_whole_trees_beside_the_source_but_never_into_what_is_there() {
    let mut bench = Bench::new(Purpose::Backup);
    bench.put(bench.run().as_mut(), "ab/deep/file", b"data");
    bench.put(bench.run().as_mut(), "Status.plist", &status("finished"));
    bench.scope = Scope::new(U, U, Purpose::Restore).unwrap();
    let archived = bench.folder().root().join(format!("{U}-20260101-000000"));
    fs::create_dir(&archived).unwrap();
    let mut run = bench.run();
    let source = bench.scope.admit(U, Access::Read).unwrap();
    let onto = bench
        .scope
        .admit(&format!("{U}-20260101-000000"), Access::CopyTo)
        .unwrap();
    assert!(
        run.copy(&source, &onto).is_err(),
        "an archived backup is not written into"
    );
    let copy = bench.scope.admit(&format!("{U}-copy"), Access::CopyTo).unwrap();
    run.copy(&source, &copy).unwrap();
    assert_eq!(
        fs::read(bench.folder().root().join(format!("{U}-copy/ab/deep/file"))).unwrap(),
        b"data"
    );
    run.copy(&source, &copy).unwrap();
    let inside = Scope::new(U, U, Purpose::Backup).unwrap();
    let inside = inside.admit(&format!("{U}/inside"), Access::Write).unwrap();
    assert_eq!(run.copy(&source, &inside).unwrap_err().kind(), FolderErrorKind::Refused);
    assert!(names(&archived).is_empty());
}

#[cfg(unix)]
#[test]
fn symbolic_links_are_never_followed() {
    use std::os::unix::fs::symlink;

    let bench = Bench::new(Purpose::Backup);
    let mut run = bench.run();
    let outside = bench.root.path().join("outside");
    fs::create_dir_all(outside.join("dir")).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    run.create_dir(&bench.at("", Access::CreateDir)).unwrap();
    symlink(&outside, bench.device().join("link")).unwrap();
    symlink(outside.join("secret"), bench.device().join("file")).unwrap();

    let Err(error) = run.download(&bench.at("link/secret", Access::Read)) else {
        panic!("read through a link")
    };
    assert_eq!(error.kind(), FolderErrorKind::Link);
    let Err(error) = run.download(&bench.at("file", Access::Read)) else {
        panic!("read a link")
    };
    assert_eq!(error.kind(), FolderErrorKind::Link);
    assert_eq!(
        run.list(&bench.at("link", Access::Read)).unwrap_err().kind(),
        FolderErrorKind::Link
    );
    let upload = run.upload(&bench.at("link/new", Access::Write)).unwrap();
    assert_eq!(upload.finish().unwrap_err().kind(), FolderErrorKind::Link);
    assert!(run.create_dir(&bench.at("link/newdir", Access::CreateDir)).is_err());
    assert!(run.remove(&bench.at("link/secret", Access::Remove)).is_err());

    // A link as the last component is replaced or removed itself.
    bench.put(run.as_mut(), "file", b"mine");
    run.remove(&bench.at("link", Access::Remove)).unwrap();
    assert_eq!(names(&outside), ["dir", "secret"]);
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
}

#[test]
fn only_one_run_has_a_folder() {
    let bench = Bench::new(Purpose::Backup);
    let run = bench.run();
    let Err(error) = bench.folder().open(&bench.scope) else {
        panic!("opened twice")
    };
    assert_eq!(error.kind(), FolderErrorKind::Busy);
    let other = Scope::new(OTHER, OTHER, Purpose::Backup).unwrap();
    bench.folder().open(&other).unwrap();
    drop(run);
    bench.run();
}

#[test]
fn a_failed_upload_phase_is_rolled_back_to_the_finished_status() {
    let bench = Bench::new(Purpose::Backup);
    let mut run = bench.run();
    for (name, data) in [
        ("Status.plist", &status("finished")[..]),
        ("Manifest.plist", b"m"),
        ("ab/x", b"old"),
    ] {
        bench.put(run.as_mut(), name, data);
    }
    run.commit(CommitPoint::Finished).unwrap();
    drop(run);
    assert_eq!(bench.folder().recovery(U).unwrap(), Recovery::Finished);
    assert!(!bench.folder().roll_back(U).unwrap(), "nothing to roll back");

    for attempt in 0..2 {
        let mut run = bench.run();
        bench.put(run.as_mut(), "Status.plist", &status("uploading"));
        bench.put(run.as_mut(), "Snapshot/ab/x", b"half");
        drop(run);
        let interrupted = Recovery::Interrupted {
            state: Some(SnapshotState::Uploading),
            roll_back: true,
        };
        assert_eq!(bench.folder().recovery(U).unwrap(), interrupted, "attempt {attempt}");
    }
    assert!(bench.folder().roll_back(U).unwrap());
    assert_eq!(bench.folder().recovery(U).unwrap(), Recovery::Finished);
    assert_eq!(
        fs::read(bench.device().join("Status.plist")).unwrap(),
        status("finished")
    );
    assert_eq!(names(&bench.device()), ["Manifest.plist", "Status.plist", "ab"]);
}

#[test]
fn nothing_is_rolled_back_once_files_were_moved() {
    let bench = Bench::new(Purpose::Backup);
    for (state, purpose) in [
        ("finished", "seed"),
        ("moving", "cut while moving"),
        ("uploading", "cut again"),
    ] {
        let mut run = bench.run();
        bench.put(run.as_mut(), "Manifest.plist", purpose.as_bytes());
        bench.put(run.as_mut(), "Status.plist", &status(state));
    }
    let interrupted = Recovery::Interrupted {
        state: Some(SnapshotState::Uploading),
        roll_back: false,
    };
    assert_eq!(bench.folder().recovery(U).unwrap(), interrupted);
    assert!(!bench.folder().roll_back(U).unwrap());
}

/// A folder with a finished backup whose next run was cut off while it was uploading.
fn cut_while_uploading(bench: &Bench) {
    for state in ["finished", "uploading"] {
        let mut run = bench.run();
        if state == "finished" {
            bench.put(run.as_mut(), "Manifest.plist", b"m");
            bench.put(run.as_mut(), "ab/x", b"old");
        }
        bench.put(run.as_mut(), "Status.plist", &status(state));
    }
}

fn cannot_be_had_back(bench: &Bench) {
    let interrupted = Recovery::Interrupted {
        state: Some(SnapshotState::Uploading),
        roll_back: false,
    };
    assert_eq!(bench.folder().recovery(U).unwrap(), interrupted);
    assert!(!bench.folder().roll_back(U).unwrap());
}

#[test]
fn the_status_of_a_folder_that_was_taken_away_is_not_put_into_a_new_one() {
    let bench = Bench::new(Purpose::Backup);
    cut_while_uploading(&bench);
    fs::remove_dir_all(bench.device()).unwrap();
    let mut run = bench.run();
    bench.put(run.as_mut(), "Status.plist", &status("uploading"));
    drop(run);
    cannot_be_had_back(&bench);
}

#[test]
fn the_status_of_a_backup_that_was_moved_aside_is_not_put_back() {
    let bench = Bench::new(Purpose::Backup);
    cut_while_uploading(&bench);
    // Another tool begins anew and fails: an empty manifest, and a status that lies.
    fs::write(bench.device().join("Manifest.plist"), "").unwrap();
    fs::write(bench.device().join("Status.plist"), status("finished")).unwrap();
    let mut run = bench.run();
    bench.put(run.as_mut(), "Status.plist", &status("uploading"));
    drop(run);
    cannot_be_had_back(&bench);
}

#[test]
fn a_backup_that_was_changed_before_its_status_said_so_cannot_be_rolled_back() {
    type Change = fn(&Bench, &mut dyn FolderRun);
    let changes: [(&str, Change); 4] = [
        ("replaced by a move", |bench, run| {
            bench.put(run, "Snapshot/ab/x", b"new");
            let (from, to) = (
                bench.at("Snapshot/ab/x", Access::Remove),
                bench.at("ab/x", Access::Write),
            );
            run.rename(&from, &to).unwrap();
        }),
        ("moved away", |bench, run| {
            let (from, to) = (bench.at("ab/x", Access::Remove), bench.at("Snapshot/x", Access::Write));
            run.rename(&from, &to).unwrap();
        }),
        ("removed", |bench, run| {
            run.remove(&bench.at("ab", Access::Remove)).unwrap()
        }),
        ("uploaded anew", |bench, run| bench.put(run, "Manifest.plist", b"other")),
    ];
    for (what, change) in changes {
        let bench = Bench::new(Purpose::Backup);
        cut_while_uploading(&bench);
        let mut run = bench.run();
        // What lies beside the old backup, and what is new, does it no harm.
        bench.put(run.as_mut(), "Snapshot/ab/y", b"y");
        bench.put(run.as_mut(), "cd/z", b"z");
        bench.put(run.as_mut(), "Info.plist", b"info");
        run.remove(&bench.at("Snapshot", Access::Remove)).unwrap();
        run.remove(&bench.at("ab/none", Access::Remove)).unwrap();
        drop(run);
        let before = bench.folder().recovery(U).unwrap();
        assert!(
            matches!(before, Recovery::Interrupted { roll_back: true, .. }),
            "{what}: {before:?}"
        );
        change(&bench, bench.run().as_mut());
        cannot_be_had_back(&bench);
    }
}

#[test]
fn a_copy_takes_a_names_place_only_when_it_is_whole() {
    let bench = Bench::new(Purpose::Backup);
    let mut run = bench.run();
    let (old, new) = (vec![1_u8; 1 << 20], vec![2_u8; 64 << 20]);
    bench.put(run.as_mut(), "old", &old);
    bench.put(run.as_mut(), "new", &new);
    let at = bench.device().join("old");
    let over = std::sync::atomic::AtomicBool::new(false);
    let sizes = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut sizes = std::collections::BTreeSet::new();
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                sizes.insert(fs::metadata(&at).map(|meta| meta.len()).ok());
            }
            sizes
        });
        let copied = run.copy(&bench.at("new", Access::Read), &bench.at("old", Access::CopyTo));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        copied.unwrap();
        watch.join().unwrap()
    });
    let allowed = [Some(1 << 20), Some(64 << 20)];
    assert!(sizes.iter().all(|size| allowed.contains(size)), "{sizes:?}");
    assert_eq!(fs::read(&at).unwrap(), new);
    assert_eq!(names(&bench.device()), ["new", "old"]);
}

#[test]
fn an_empty_manifest_left_by_another_tool_is_moved_aside_with_its_status() {
    for manifest in [Some(&b""[..]), None] {
        let bench = Bench::new(Purpose::Backup);
        fs::create_dir_all(bench.device()).unwrap();
        fs::write(bench.device().join("Status.plist"), status("finished")).unwrap();
        if let Some(manifest) = manifest {
            fs::write(bench.device().join("Manifest.plist"), manifest).unwrap();
        }
        fs::write(bench.device().join("Info.plist"), "kept").unwrap();
        drop(bench.run());
        assert_eq!(names(&bench.device()), ["Info.plist"]);
        let aside = bench.folder().root().join(".cabled").join(U).join("aside");
        let kept = aside.join(&names(&aside)[0]);
        assert!(names(&kept).contains(&"Status.plist".to_owned()), "nothing is deleted");
    }
}

#[test]
fn a_restore_moves_nothing_aside() {
    let bench = Bench::new(Purpose::Restore);
    fs::create_dir_all(bench.device()).unwrap();
    fs::write(bench.device().join("Manifest.plist"), "").unwrap();
    drop(bench.run());
    assert_eq!(names(&bench.device()), ["Manifest.plist"]);
}

#[test]
fn free_space_is_that_of_the_volume() {
    let bench = Bench::new(Purpose::Backup);
    let free = bench.run().free_space().unwrap();
    assert!(free > 1 << 20, "{free}");
}

#[test]
fn what_a_cut_off_run_left_in_the_temporary_folder_is_cleared() {
    let bench = Bench::new(Purpose::Backup);
    let temporary = bench.folder().root().join(".cabled").join(U).join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    fs::write(temporary.join("0"), "half").unwrap();
    let mut run = bench.run();
    assert!(names(&temporary).is_empty());
    bench.put(run.as_mut(), "x", b"1");
}

/// Everything below a folder, with contents, to compare.
fn tree(path: &Path) -> Vec<(std::path::PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut todo = vec![path.to_owned()];
    while let Some(at) = todo.pop() {
        if at.is_dir() && !at.is_symlink() {
            todo.extend(fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
            found.push((at, None));
        } else {
            found.push((at.clone(), fs::read(&at).ok()));
        }
    }
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn hostile_paths_never_leave_the_devices_folder(
        ops in prop::collection::vec((0_u8..7, odd_path(), odd_path()), 1..12)
    ) {
        let bench = Bench::new(Purpose::Restore);
        let folder = bench.folder().with_durability(Durability::None);
        fs::create_dir_all(folder.root().join(OTHER)).unwrap();
        fs::write(folder.root().join(OTHER).join("Manifest.db"), "another device's").unwrap();
        fs::write(bench.root.path().join("outside"), "outside").unwrap();
        #[cfg(unix)]
        {
            fs::create_dir_all(folder.root().join(U)).unwrap();
            std::os::unix::fs::symlink(bench.root.path(), folder.root().join(U).join("link")).unwrap();
        }
        let other = tree(&folder.root().join(OTHER));
        let mut run = folder.open(&bench.scope).unwrap();
        for (op, a, b) in ops {
            let admit = |path: &str, access| bench.scope.admit(path, access);
            let _ = match op {
                0 => admit(&a, Access::Read).and_then(|path| run.list(&path).map(drop)),
                1 => admit(&a, Access::CreateDir).and_then(|path| run.create_dir(&path)),
                2 => admit(&a, Access::Remove).and_then(|from| run.rename(&from, &admit(&b, Access::Write)?)),
                3 => admit(&a, Access::Remove).and_then(|path| run.remove(&path)),
                4 => admit(&a, Access::Read).and_then(|from| run.copy(&from, &admit(&b, Access::CopyTo)?)),
                5 => admit(&a, Access::Write).and_then(|path| {
                    let mut upload = run.upload(&path)?;
                    upload.write(b"hostile")?;
                    upload.finish()
                }),
                _ => admit(&a, Access::Read).and_then(|path| {
                    let mut text = String::new();
                    let read = run.download(&path)?.read_to_string(&mut text);
                    assert!(read.is_err() || text == "hostile", "read {text:?} at {path}");
                    Ok(())
                }),
            };
        }
        drop(run);
        prop_assert_eq!(tree(&folder.root().join(OTHER)), other);
        prop_assert_eq!(fs::read_to_string(bench.root.path().join("outside")).unwrap(), "outside");
        prop_assert_eq!(names(bench.root.path()), ["outside", "root"]);
        for name in names(folder.root()) {
            prop_assert!([OTHER, ".cabled", "_unback_"].contains(&name.as_str()) || name.starts_with(U), "{name}");
        }
    }
}

fn odd_path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => Just(U.to_owned()),
        1 => Just("..".to_owned()),
        1 => Just(".".to_owned()),
        1 => Just(String::new()),
        1 => Just(OTHER.to_owned()),
        1 => Just(".cabled".to_owned()),
        1 => Just("_unback_".to_owned()),
        1 => Just("link".to_owned()),
        1 => Just("outside".to_owned()),
        1 => Just("a\0b".to_owned()),
        1 => Just("C:\\x".to_owned()),
        1 => Just(format!("{U}-copy")),
        1 => "[a-c]{1,2}",
        1 => "\\PC{1,3}",
    ];
    let tail = prop::collection::vec(part, 0..4).prop_map(|parts| parts.join("/"));
    (any::<bool>(), tail).prop_map(|(inside, tail)| if inside { format!("/{U}/{tail}") } else { tail })
}
