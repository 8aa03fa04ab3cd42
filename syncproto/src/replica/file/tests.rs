//! Sessions that die at any step of the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::disk::{is_temporary, temporary_name};
use super::{Desk, Groups, People};
use crate::engine::{Batch, EngineId, Outcome, SessionId, Write};
use crate::entity;
use crate::interchange::Limits;
use crate::record::{Change, Record, RecordId};
use crate::replica::{BlockingReplica, OpenRequest, ReplicaError, Vdir};

fn card(uid: &str) -> String {
    format!("BEGIN:VCARD\r\nVERSION:4.0\r\nUID:{uid}\r\nFN:{uid}\r\nEND:VCARD\r\n")
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for uid in ["a", "b", "c"] {
        fs::write(folder.path().join(format!("{uid}.vcf")), card(uid)).unwrap();
    }
    folder
}

fn desk(folder: &Path) -> Desk {
    let people = People::new(None, Groups::Cards, None, Limits::default());
    let mut desk = Desk::new(folder.to_path_buf(), SessionId([1; 16]), Box::new(people), 1 << 20);
    let mut names: Vec<String> = items(folder).into_keys().collect();
    names.sort();
    for name in names {
        desk.take(&name).unwrap();
    }
    desk.book.ready();
    desk
}

fn items(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let items = named.filter(|(name, _)| !is_temporary(name));
    items
        .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect()
}

fn temporaries(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| is_temporary(&entry.file_name().to_string_lossy()))
        .count()
}

/// `a` is changed, `b` goes, `n` is new, `c` stays.
fn writes() -> Batch {
    let person = |name: &str| Change::Upsert(Record::new(entity::CONTACT).with("first name", name));
    let write = |number: u8, id: &str, new: bool, change: Change| Write {
        engine: EngineId::from_bytes([number; 16]),
        id: RecordId::new(id).unwrap(),
        new,
        entity: entity::CONTACT.to_owned(),
        groups: Vec::new(),
        change,
    };
    Batch {
        writes: vec![
            write(1, "a", false, person("changed")),
            write(2, "n", true, person("new")),
            write(3, "b", false, Change::Delete),
        ],
        entities: BTreeSet::new(),
        completes: true,
        more: false,
    }
}

fn is_new(name: &str, content: Option<&String>) -> bool {
    match name {
        "a.vcf" => content.is_some_and(|text| text.contains("FN:changed\r\n") && text.ends_with("END:VCARD\r\n")),
        "n.vcf" => content.is_some_and(|text| text.contains("FN:new\r\n") && text.ends_with("END:VCARD\r\n")),
        _ => content.is_none(),
    }
}

#[test]
fn cut_off_at_any_step_every_item_is_old_or_new_and_the_next_session_goes_on() {
    let mut cut = 0;
    for steps in 0..40 {
        let folder = folder();
        let before = items(folder.path());
        let mut desk = desk(folder.path());
        desk.disk.steps = Some(steps);
        let staged = desk.write(writes());
        if staged.is_err() {
            // The process is gone, and nobody tidies up.
            std::mem::forget(desk);
        } else {
            let told = desk.commit().unwrap().outcomes;
            cut = cut.max(usize::from(!told.is_empty()));
        }
        let after = items(folder.path());
        for name in ["a.vcf", "b.vcf", "n.vcf"] {
            let (old, now) = (before.get(name), after.get(name));
            assert!(now == old || is_new(name, now), "after {steps} steps {name} is {now:?}");
        }
        assert_eq!(after.get("c.vcf"), before.get("c.vcf"));

        let mut again = self::desk(folder.path());
        again.write(writes()).unwrap();
        assert_eq!(again.commit().unwrap().outcomes, []);
        let after = items(folder.path());
        assert!(
            ["a.vcf", "b.vcf", "n.vcf"]
                .iter()
                .all(|name| is_new(name, after.get(*name))),
            "{after:?}"
        );
    }
    assert_eq!(cut, 1, "no session was cut off in its commit");
}

#[test]
fn a_disk_that_is_full_shows_before_anything_is_visible() {
    for failure in [
        io::ErrorKind::StorageFull,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem,
    ] {
        for steps in 0..4 {
            let folder = folder();
            let before = items(folder.path());
            let mut desk = desk(folder.path());
            (desk.disk.steps, desk.disk.failure) = (Some(steps), Some(failure));
            let refused = desk.write(writes());
            assert!(
                matches!(refused, Err(ReplicaError::Unavailable { .. })),
                "{failure} after {steps}: {refused:?}"
            );
            drop(desk);
            assert_eq!((items(folder.path()), temporaries(folder.path())), (before, 0));
        }
    }
}

#[test]
fn a_file_that_cannot_be_staged_fails_alone() {
    let folder = folder();
    let mut desk = desk(folder.path());
    (desk.disk.steps, desk.disk.failure) = (Some(0), Some(io::ErrorKind::Other));
    let outcomes = desk.write(writes()).unwrap();
    let failed = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Failed { .. }));
    assert_eq!(failed.count(), 2);
}

#[test]
fn giving_up_leaves_nothing_and_old_leftovers_of_ours_alone_are_removed() {
    let folder = folder();
    let before = items(folder.path());
    let mut given_up = desk(folder.path());
    given_up.write(writes()).unwrap();
    assert_eq!(temporaries(folder.path()), 2);
    given_up.abort();
    assert_eq!((items(folder.path()), temporaries(folder.path())), (before, 0));

    let old = SystemTime::now().checked_sub(Duration::from_secs(7200)).unwrap();
    let session = SessionId([9; 16]).to_string();
    let (stale, young) = (temporary_name(&session, 1), temporary_name(&session, 2));
    for (name, age) in [
        (&*stale, true),
        (&*young, false),
        (".cabled-mine-1.tmp", true),
        ("b.vcf.tmp", true),
    ] {
        let file = File::create(folder.path().join(name)).unwrap();
        if age {
            file.set_modified(old).unwrap();
        }
    }
    let mut vdir = Vdir::contacts(folder.path());
    vdir.open(OpenRequest::new(SessionId([2; 16]))).unwrap();
    let there = |name: &str| folder.path().join(name).exists();
    assert!(!there(&stale) && there(&young) && there(".cabled-mine-1.tmp") && there("b.vcf.tmp"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_the_disk_does_not_take_is_named_among_many() {
    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<File> = (0..100)
        .map(|n| File::create(folder.path().join(n.to_string())).unwrap())
        .collect();
    assert!(super::disk::flush(&files).is_empty());
    // No disk stands behind it.
    files.insert(41, File::open("/dev/null").unwrap());
    let failed = super::disk::flush(&files);
    assert_eq!(failed.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [41]);
}
