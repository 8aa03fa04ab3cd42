//! Libraries of several iOS versions, in backups built for it.

use rusqlite::Connection;

use super::*;
use crate::archive::build::{BuildOptions, Builder, Details};

/// A backup with this library and these files.
fn backup(sql: &str, files: &[&str]) -> (tempfile::TempDir, Archive) {
    let temp = tempfile::tempdir().unwrap();
    let mut builder = Builder::create(temp.path().join("backup"), BuildOptions::default()).unwrap();
    if !sql.is_empty() {
        let path = temp.path().join("Photos.sqlite");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let bytes = std::fs::read(path).unwrap();
        builder
            .file(LIBRARY.0, LIBRARY.1, &*bytes, &Details::default())
            .unwrap();
    }
    for path in files {
        builder
            .file(LIBRARY.0, path, path.as_bytes(), &Details::default())
            .unwrap();
    }
    builder.finish().unwrap();
    let archive = Archive::open(temp.path().join("backup")).unwrap();
    (temp, archive)
}

const ASSETS: &str =
    "(Z_PK INTEGER PRIMARY KEY, ZKIND, ZKINDSUBTYPE, ZFAVORITE, ZHIDDEN, ZTRASHEDSTATE, ZDIRECTORY, ZFILENAME,
    ZDATECREATED, ZLATITUDE, ZLONGITUDE, ZWIDTH, ZHEIGHT, ZDURATION, ZCLOUDLOCALSTATE, ZUUID)";

fn ios_16() -> String {
    format!(
        "CREATE TABLE ZASSET {ASSETS};
         INSERT INTO ZASSET VALUES
            (1, 0, 2, 1, 0, 0, 'DCIM/100APPLE', 'IMG_0001.HEIC', 7e8, 47.37, 8.54, 4032, 3024, 0, 1, 'A'),
            (2, 1, 0, 0, 1, 0, 'DCIM/100APPLE', 'IMG_0002.MOV', 7e8, -180.0, -180.0, 1920, 1080, 12.5, 1, 'B'),
            (3, 0, 0, 0, 0, 0, 'DCIM/100APPLE', 'IMG_0003.JPG', 'junk', 1e9, 5, -1, 3, 0, 0, 'C'),
            (4, 0, 0, 0, 0, 1, 'DCIM/100APPLE', 'IMG_0004.JPG', 7e8, NULL, NULL, 1, 1, 0, 0, 'D'),
            (5, 0, 0, 0, 0, 0, 'PhotoData/Sync/100SYNCD', 'IMG_0005.JPG', 7e8, NULL, NULL, 1, 1, 0, 0, 'E'),
            (6, 0, 0, 0, 0, 0, NULL, NULL, 7e8, NULL, NULL, 1, 1, 0, 0, 'F'),
            (7, 0, 0, 0, 0, 0, '../../..', 'etc/passwd', 7e8, NULL, NULL, 1, 1, 0, 0, 'G');
         CREATE TABLE ZADDITIONALASSETATTRIBUTES (Z_PK INTEGER PRIMARY KEY, ZASSET, ZORIGINALFILENAME, ZTIMEZONENAME, ZTIMEZONEOFFSET);
         INSERT INTO ZADDITIONALASSETATTRIBUTES VALUES (1, 1, 'DSC1.HEIC', 'Europe/Zurich', 3600), (2, 88, 'x', NULL, NULL);
         CREATE TABLE ZGENERICALBUM (Z_PK INTEGER PRIMARY KEY, ZTITLE, ZKIND, ZPARENTFOLDER, ZTRASHEDSTATE);
         INSERT INTO ZGENERICALBUM VALUES (1, 'Holidays', 2, 3, 0), (2, NULL, 1552, NULL, 0), (3, 'Folder', 4000, 3, 0);
         CREATE TABLE Z_28ASSETS (Z_28ALBUMS INTEGER, Z_3ASSETS INTEGER, Z_FOK_3ASSETS INTEGER, PRIMARY KEY (Z_28ALBUMS, Z_3ASSETS));
         INSERT INTO Z_28ASSETS VALUES (1, 2, 2048), (1, 1, 4096), (1, 55, 1), (9, 1, 1), (2, 3, NULL);"
    )
}

#[test]
fn every_original_is_told_where_it_is() {
    let files = [
        "Media/DCIM/100APPLE/IMG_0001.HEIC",
        "Media/DCIM/100APPLE/IMG_0001.MOV",
        "Media/PhotoData/Mutations/DCIM/100APPLE/IMG_0001/Adjustments/FullSizeRender.jpg",
        "Media/DCIM/100APPLE/IMG_0004.JPG",
        "Media/DCIM/101APPLE/LOST.JPG",
        "Media/PhotoData/Thumbnails/x.ithmb",
    ];
    let (_temp, archive) = backup(&ios_16(), &files);
    let library = PhotoLibrary::read(&archive).unwrap().unwrap();
    let originals: Vec<_> = library.assets.iter().map(|asset| asset.original).collect();
    assert_eq!(
        originals,
        [
            Original::InBackup,
            Original::OnlyInIcloud,
            Original::Missing,
            Original::InBackup,
            Original::SyncedFromComputer,
            Original::Unknown,
            Original::Missing,
        ]
    );
    let counts = library.counts();
    assert_eq!(
        (
            counts.in_backup,
            counts.only_in_icloud,
            counts.missing,
            counts.trashed,
            counts.unlisted
        ),
        (1, 1, 2, 1, 1)
    );
    assert_eq!(library.unlisted, ["Media/DCIM/101APPLE/LOST.JPG"]);
    let first = &library.assets[0];
    assert_eq!(first.companions.len(), 2, "{:?}", first.companions);
    assert_eq!(
        (first.sort, first.coordinates),
        (Some(AssetSort::LivePhoto), Some((47.37, 8.54)))
    );
    assert_eq!(
        (first.original_filename.as_deref(), first.utc_offset),
        (Some("DSC1.HEIC"), Some(3600))
    );
    assert_eq!(
        (library.assets[1].coordinates, library.assets[1].duration),
        (None, Some(12.5))
    );
    // Albums in their own order; members that do not exist are said.
    assert_eq!(library.albums[0].assets, [2, 1]);
    assert_eq!(library.albums[1].assets, [3]);
    assert_eq!(library.albums[2].parent, None);
    let dangling = library
        .problems
        .kept()
        .iter()
        .filter(|note| matches!(note.problem, Problem::Dangling { .. }));
    assert_eq!(dangling.count(), 3, "{:?}", library.problems);
}

#[test]
fn a_missing_payload_is_no_picture_in_the_backup() {
    let (_temp, archive) = backup(&ios_16(), &["Media/DCIM/100APPLE/IMG_0001.HEIC"]);
    let id = crate::archive::FileId::of(LIBRARY.0, "Media/DCIM/100APPLE/IMG_0001.HEIC").to_string();
    std::fs::remove_file(archive.folder().join(&id[..2]).join(&id)).unwrap();
    let library = PhotoLibrary::read(&archive).unwrap().unwrap();
    assert_eq!(library.assets[0].original, Original::PayloadMissing);
}

#[test]
fn an_older_library_with_other_names_and_numbers_is_read() {
    let sql = format!(
        "CREATE TABLE ZGENERICASSET {ASSETS}; ALTER TABLE ZGENERICASSET ADD COLUMN ZADDITIONALATTRIBUTES;
         INSERT INTO ZGENERICASSET VALUES (1, 0, 0, 0, 0, 0, 'DCIM/100APPLE', 'IMG_0001.JPG', 3e8, NULL, NULL, 1, 1, 0, NULL, 'A', 7);
         CREATE TABLE ZADDITIONALASSETATTRIBUTES (Z_PK INTEGER PRIMARY KEY, ZORIGINALFILENAME);
         INSERT INTO ZADDITIONALASSETATTRIBUTES VALUES (7, 'FIRST.JPG');
         CREATE TABLE ZGENERICALBUM (Z_PK INTEGER PRIMARY KEY, ZTITLE, ZKIND); INSERT INTO ZGENERICALBUM VALUES (4, 'Cats', 2);
         CREATE TABLE Z_16ASSETS (Z_16ALBUMS INTEGER, Z_25ASSETS INTEGER); INSERT INTO Z_16ASSETS VALUES (4, 1);
         CREATE TABLE Z_20ASSETS (Z_20KEYWORDS INTEGER, Z_25ASSETS INTEGER); INSERT INTO Z_20ASSETS VALUES (4, 1);"
    );
    let (_temp, archive) = backup(&sql, &["Media/DCIM/100APPLE/IMG_0001.JPG"]);
    let library = PhotoLibrary::read(&archive).unwrap().unwrap();
    assert_eq!(library.assets[0].original_filename.as_deref(), Some("FIRST.JPG"));
    assert_eq!(library.albums[0].assets, [1]);
    assert_eq!(library.counts().in_backup, 1);
    assert!(library.problems.is_empty(), "{:?}", library.problems);
}

#[test]
fn pictures_without_a_library_are_listed_and_nothing_is_nothing() {
    let (_temp, archive) = backup("", &["Media/DCIM/100APPLE/IMG_0001.JPG"]);
    let library = PhotoLibrary::read(&archive).unwrap().unwrap();
    assert_eq!((library.source, library.unlisted.len()), (None, 1));
    let (_temp, archive) = backup("", &[]);
    assert!(PhotoLibrary::read(&archive).unwrap().is_none());
    let (_temp, archive) = backup("CREATE TABLE other (a)", &["Media/DCIM/100APPLE/IMG_0001.JPG"]);
    let library = PhotoLibrary::read(&archive).unwrap().unwrap();
    assert!(matches!(library.failure, Some(RecordError::Schema { .. })));
    assert_eq!(library.unlisted.len(), 1);
}

#[test]
fn all_categories_of_things_are_exported_together() {
    use crate::archive::Silent;
    use crate::archive::records::export::{ExportOptions, Outcome, export};

    let temp = tempfile::tempdir().unwrap();
    let mut builder = Builder::create(temp.path().join("backup"), BuildOptions::default()).unwrap();
    let golden = crate::archive::golden::folder().join("novkostya");
    let notes = "AppDomainGroup-group.com.apple.notes";
    for (domain, path, file) in [
        (
            "HomeDomain",
            "Library/Calendar/Calendar.sqlitedb",
            "calendar.1.Calendar.sqlitedb",
        ),
        ("HomeDomain", "Library/Safari/History.db", "safari.1.History.db"),
        ("HomeDomain", "Library/Safari/Bookmarks.db", "safari.1.Bookmarks.db"),
        (notes, "NoteStore.sqlite", "notes.1.NoteStore.sqlite"),
        (
            "AppDomainGroup-group.com.apple.reminders",
            "Container_v1/Stores/Data-local.sqlite",
            "reminders.1.local.sqlite",
        ),
    ] {
        let contents = std::fs::File::open(golden.join(file)).unwrap();
        builder.file(domain, path, contents, &Details::default()).unwrap();
    }
    let picture = "Accounts/ACCT-UUID-0001/Media/MEDIA-UUID-0030/1_GEN-0030/photo.jpeg";
    builder.file(notes, picture, &b"jpeg"[..], &Details::default()).unwrap();
    let library = temp.path().join("Photos.sqlite");
    Connection::open(&library).unwrap().execute_batch(&ios_16()).unwrap();
    let library = std::fs::File::open(library).unwrap();
    builder
        .file(LIBRARY.0, LIBRARY.1, library, &Details::default())
        .unwrap();
    builder.finish().unwrap();

    let archive = Archive::open(temp.path().join("backup")).unwrap();
    let target = temp.path().join("export");
    let report = export(&archive, &target, &ExportOptions::default(), &mut Silent).unwrap();
    for name in ["notes", "calendar", "safari", "photos"] {
        let category = report.categories.iter().find(|category| category.name == name).unwrap();
        assert_eq!(category.outcome, Outcome::Exported, "{name}");
        assert!(category.records > 0 && category.files > 1, "{name}: {category:?}");
    }
    for file in [
        "notes/notes.jsonl",
        "notes/Shopping.txt",
        "notes/index.html",
        "notes/photo.jpeg",
        "calendar/Work.ics",
        "calendar/Personal.ics",
        "calendar/others.ics",
        "calendar/events.html",
        "calendar/reminders.html",
        "safari/history.jsonl",
        "safari/bookmarks.html",
        "photos/index.html",
        "photos/photos.jsonl",
    ] {
        assert!(target.join(file).metadata().unwrap().len() > 0, "{file}");
    }
    let locked = std::fs::read_to_string(target.join("notes/Locked.txt")).unwrap();
    assert!(locked.contains("locked") && locked.contains("pet name"));
    let events = std::fs::read_to_string(target.join("calendar/events.jsonl")).unwrap();
    assert_eq!(events.lines().count(), 5);
}
