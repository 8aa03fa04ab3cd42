//! Links: those that are in the way, and those that a backup holds.

use std::fs;
use std::path::Path;

use super::{made, manifest, put, quick};
use crate::archive::build::Details;
use crate::archive::extract::{Failure, Links, Resume};
use crate::archive::observe::Silent;

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
