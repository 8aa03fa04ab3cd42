use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::archive::select::Category;
use crate::archive::{Kind, golden};

fn open(name: &str) -> Archive {
    let mut archive = Archive::open(golden::folder().join("synthetic").join(name)).unwrap();
    if archive.is_locked() {
        archive.unlock("vector-pass-1").unwrap();
    }
    archive
}

/// What is selected, by name, as the iterator gives it.
fn names(archive: &Archive, selection: &Selection) -> Vec<String> {
    let mut names: Vec<_> = archive
        .select(selection)
        .unwrap()
        .map(|entry| entry.map(|entry| format!("{}/{}", entry.domain, entry.path)).unwrap())
        .collect();
    names.sort();
    names
}

/// The same by looking at every entry.
fn slowly(archive: &Archive, selection: &Selection) -> Vec<String> {
    let entries = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| selection.matches(entry));
    let mut names: Vec<_> = entries
        .map(|entry| format!("{}/{}", entry.domain, entry.path))
        .collect();
    names.sort();
    names
}

fn selections() -> Vec<Selection> {
    let all = Selection::default;
    vec![
        all(),
        all().category(Category::Messages),
        all().category(Category::Photos).kind(Kind::File),
        all().category(Category::Safari),
        all().domain("HomeDomain").unwrap(),
        all()
            .domain("AppDomain-*")
            .unwrap()
            .without_glob("**/*.sqlite")
            .unwrap(),
        all()
            .glob("HomeDomain/Library/**")
            .unwrap()
            .glob("CameraRollDomain/**/*.jpg")
            .unwrap(),
        all().glob("**/*[*?]*").unwrap(),
        all().app("com.example.app").kind(Kind::Symlink),
        all().folder("AppDomain-com.example.app", "..").file("HomeDomain", ""),
        all().id(FileId::of("HomeDomain", "Library/SMS/sms.db")),
        all()
            .without_category(Category::Apps)
            .without_folder("HomeDomain", "Library"),
        all().domain("NoSuchDomain").unwrap(),
    ]
}

#[test]
fn every_way_through_the_index_finds_the_same() {
    for name in ["plain-v10", "enc-v10", "enc-mbdb"] {
        let mut some = 0;
        for selection in selections() {
            let archive = open(name);
            let expected = slowly(&archive, &selection);
            assert_eq!(names(&archive, &selection), expected, "{name} {selection:?}");
            // Now the rows of each domain are counted, and the index over domains may be used.
            assert_eq!(names(&archive, &selection), expected, "{name} {selection:?}");
            some += usize::from(!expected.is_empty());
        }
        assert_eq!(
            some,
            selections().len() - 2,
            "all but Safari and the domain that is not there"
        );
    }
}

#[test]
fn an_index_over_domains_that_lies_changes_nothing() {
    let expected = slowly(&open("plain-v10"), &Selection::default());
    let hide = "CREATE TABLE Hidden AS SELECT * FROM Files WHERE relativePath LIKE '%sms.db'";
    // The rows that the index does not have are put in while it is not there, under its name.
    let leave_out =
        "DROP INDEX IF EXISTS FilesDomainIdx; CREATE INDEX FilesDomainIdx ON Files(domain) WHERE flags <> 1";
    let other_column = "DROP INDEX IF EXISTS FilesDomainIdx; CREATE INDEX FilesDomainIdx ON Files(relativePath)";
    let none = "DROP INDEX IF EXISTS FilesDomainIdx";
    for sql in [hide, leave_out, other_column, none] {
        let folder = golden::with_index(sql);
        let archive = Archive::open(folder.path()).unwrap();
        archive.domains().unwrap();
        for selection in selections() {
            assert_eq!(
                names(&archive, &selection),
                slowly(&archive, &selection),
                "{sql} {selection:?}"
            );
        }
        assert_eq!(slowly(&archive, &Selection::default()), expected);
    }
}

/// Makes the index over domains of a backup from another table: `doctor` is what is done to a copy of the real one.
fn with_lying_index(doctor: &str, backup: &std::path::Path) -> (tempfile::TempDir, Archive) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["Manifest.db", "Manifest.plist"] {
        std::fs::copy(backup.join(name), folder.path().join(name)).unwrap();
    }
    let db = rusqlite::Connection::open(folder.path().join("Manifest.db")).unwrap();
    db.execute_batch(&format!(
        "PRAGMA journal_mode = delete; CREATE INDEX IF NOT EXISTS FilesDomainIdx ON Files(domain); \
         CREATE TABLE Doctored (id INTEGER PRIMARY KEY, domain TEXT); \
         INSERT INTO Doctored SELECT _rowid_, domain FROM Files; \
         {doctor}; CREATE INDEX DoctoredIdx ON Doctored(domain); PRAGMA writable_schema = on; \
         UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'DoctoredIdx') \
         WHERE name = 'FilesDomainIdx'; \
         DELETE FROM sqlite_schema WHERE name = 'DoctoredIdx'; PRAGMA writable_schema = off",
    ))
    .unwrap();
    drop(db);
    let archive = Archive::open(folder.path()).unwrap();
    (folder, archive)
}

#[test]
fn an_index_over_domains_that_leads_astray_is_noticed_and_nothing_is_lost_or_twice() {
    use crate::archive::build::{BuildOptions, Builder, Details};
    let root = tempfile::tempdir().unwrap();
    let mut builder = Builder::create(root.path().join("backup"), BuildOptions::default().rounds(1, 1)).unwrap();
    // More rows in each domain than are read in one go.
    for i in 0..1400 {
        let domain = ["HomeDomain", "MediaDomain"][i % 2];
        builder
            .directory(domain, &format!("f{i}"), &Details::default())
            .unwrap();
    }
    let backup = builder.finish().unwrap().folder;
    let doctored = [
        // Sound: the index is used to the end.
        ("", true),
        // Rows left out at the start, in the middle, at the end, altogether.
        ("DELETE FROM Doctored WHERE domain = 'HomeDomain' AND id < 30", false),
        (
            "DELETE FROM Doctored WHERE domain = 'HomeDomain' AND id BETWEEN 1300 AND 1302",
            false,
        ),
        ("DELETE FROM Doctored WHERE id > 1280", false),
        ("DELETE FROM Doctored", false),
        // Rows of another domain, or that do not exist, in place of one.
        (
            "UPDATE Doctored SET domain = 'HomeDomain' WHERE id BETWEEN 1200 AND 1202",
            false,
        ),
        (
            "UPDATE Doctored SET domain = iif(domain = 'HomeDomain', 'MediaDomain', 'HomeDomain') WHERE id > 1200",
            false,
        ),
        (
            "UPDATE Doctored SET id = 90000 WHERE id = (SELECT max(id) FROM Doctored WHERE domain = 'HomeDomain')",
            false,
        ),
    ];
    for (doctor, is_sound) in doctored {
        let (_folder, archive) = with_lying_index(doctor, &backup);
        let selection = Selection::default()
            .domain("MediaDomain")
            .unwrap()
            .domain("HomeDomain")
            .unwrap();
        let expected = slowly(&archive, &selection);
        assert_eq!(expected.len(), 1402, "1400 folders and two roots");
        archive.domains().unwrap();
        let mut selected = archive.select(&selection).unwrap();
        assert!(matches!(selected.source, Source::Domains { .. }));
        while matches!(selected.source, Source::Domains { .. }) && selected.next().is_some() {}
        assert_eq!(matches!(selected.source, Source::End), is_sound, "{doctor}");
        assert!(names(&archive, &selection) == expected, "{doctor}");
        let one = Selection::default().folder("MediaDomain", "");
        assert!(names(&archive, &one) == slowly(&archive, &one), "{doctor}");
    }
}

#[test]
fn rows_that_make_no_sense_are_counted_where_they_may_be_meant() {
    let folder = golden::with_index(
        "UPDATE Files SET file = x'00' WHERE relativePath = 'Library/SMS/sms.db'; \
         UPDATE Files SET domain = NULL WHERE relativePath = 'Library/block.bin'; \
         UPDATE Files SET relativePath = NULL WHERE relativePath = 'Media/DCIM/100APPLE/IMG_0001.JPG'",
    );
    let archive = Archive::open(folder.path()).unwrap();
    for _ in 0..2 {
        let skipped = |selection: Selection| {
            let mut selected = archive.select(&selection).unwrap();
            assert!(selected.by_ref().all(|entry| entry.is_ok()));
            selected.skipped()
        };
        assert_eq!(skipped(Selection::default()), 3);
        assert!(skipped(Selection::default().category(Category::Messages)) >= 2);
        assert!(skipped(Selection::default().domain("CameraRollDomain").unwrap()) >= 2);
    }
}

#[test]
fn a_database_brings_its_companions_and_goes_with_them() {
    let sms = "Library/SMS/sms.db";
    let all = Selection::default;
    for selection in [
        all().id(FileId::of("HomeDomain", sms)),
        all().file("HomeDomain", sms),
        all().glob("**/sms.db").unwrap(),
        all().category(Category::Messages),
    ] {
        for end in ["", "-wal", "-shm", "-journal"] {
            assert!(selection.admits("HomeDomain", &format!("{sms}{end}")), "{selection:?}");
        }
        assert!(!selection.admits("HomeDomain", "Library/Notes/notes.sqlite-wal"));
    }
    let without = all().without_glob("*/Library/SMS/*.db").unwrap();
    assert!(!without.admits("HomeDomain", "Library/SMS/sms.db-wal"));
    assert!(without.admits("HomeDomain", "Library/SMS/x"));
}

#[test]
fn known_apps_keep_what_is_theirs() {
    let widget = "AppDomainPlugin-com.example.app.pro.widget";
    let app = Selection::default().app("com.example.app");
    assert!(app.admits(widget, "x"));
    let app = app.known_apps(crate::archive::select::Apps::new([
        "com.example.app",
        "com.example.app.pro",
    ]));
    assert!(!app.admits(widget, "x") && app.admits("AppDomainPlugin-com.example.app.widget", "x"));
    assert!(app.admits("AppDomain-com.example.app", "x"));
}

proptest! {
    #[test]
    fn rules_that_take_away_win(domain in "[AB]", path in "[ab]{0,2}", rules in prop::collection::vec(("[AB]", any::<bool>()), 0..4)) {
        let mut selection = Selection::default();
        let (mut with, mut without) = (BTreeSet::new(), BTreeSet::new());
        for (rule, takes) in rules {
            if takes {
                selection = selection.without_folder(&rule, "");
                without.insert(rule);
            } else {
                selection = selection.folder(&rule, "");
                with.insert(rule);
            }
        }
        let expected = (with.is_empty() || with.contains(&domain)) && !without.contains(&domain);
        prop_assert_eq!(selection.admits(&domain, &path), expected);
    }
}
