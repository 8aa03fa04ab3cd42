//! What the next run makes of what a run before it left.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use super::{made, manifest, many, put, quick, sha256, tree};
use crate::archive::extract::{ExtractError, Failure, Resume};
use crate::archive::observe::{Phase, Progress, Silent};

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
