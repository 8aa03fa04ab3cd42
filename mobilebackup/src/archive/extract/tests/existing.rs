//! Files that are there before.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use super::{made, made_as, put, quick};
use crate::archive::build::{BuildOptions, Details};
use crate::archive::extract::{Existing, ExtractError, Failure, Resume};
use crate::archive::observe::Silent;

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
