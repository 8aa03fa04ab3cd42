//! Whole exports, from a backup to a folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::RecordError;
use super::export::{CategoryReport, ExportOptions, ExportReport, Format, Outcome, export};
use crate::archive::build::{BuildOptions, Builder, Details};
use crate::archive::observe::Progress;
use crate::archive::{Archive, Silent, golden};

const SMS: (&str, &str) = ("HomeDomain", "Library/SMS/sms.db");
const PHOTO: (&str, &str) = ("MediaDomain", "Library/SMS/Attachments/aa/00/FX-GUID/photo.jpg");

/// A backup with these files.
fn backup(folder: &Path, files: &[((&str, &str), Vec<u8>)]) -> Archive {
    let mut builder = Builder::create(folder.join("backup"), BuildOptions::default()).unwrap();
    for ((domain, path), contents) in files {
        builder.file(domain, path, &contents[..], &Details::default()).unwrap();
    }
    Archive::open(builder.finish().unwrap().folder).unwrap()
}

fn golden_file(name: &str) -> Vec<u8> {
    fs::read(golden::folder().join("novkostya").join(name)).unwrap()
}

fn golden_backup(folder: &Path) -> Archive {
    let contacts = ("HomeDomain", "Library/AddressBook/AddressBook.sqlitedb");
    let calls = ("HomeDomain", "Library/CallHistoryDB/CallHistory.storedata");
    let files = [
        (SMS, golden_file("messages.1.sms.db")),
        (contacts, golden_file("contacts.1.AddressBook.sqlitedb")),
        (calls, golden_file("calls.1.CallHistory.storedata")),
        (PHOTO, b"picture".to_vec()),
    ];
    backup(folder, &files)
}

fn category<'a>(report: &'a ExportReport, name: &str) -> &'a CategoryReport {
    report.categories.iter().find(|category| category.name == name).unwrap()
}

fn files_below(folder: &Path) -> BTreeSet<String> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/"));
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(folder, folder, &mut found);
    found
}

#[test]
fn a_whole_export_has_every_record_and_says_where_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let archive = golden_backup(folder.path());
    let target = folder.path().join("export");
    let report = export(&archive, &target, &ExportOptions::default(), &mut Silent).unwrap();
    let files = files_below(&target);
    for expected in [
        "report.json",
        "messages/messages.jsonl",
        "messages/chats.jsonl",
        "messages/index.html",
        "messages/15550001.html",
        "messages/Fixture-Group.html",
        "messages/attachments/photo.jpg",
        "contacts/contacts.vcf",
        "contacts/contacts.jsonl",
        "contacts/index.html",
        "call-history/calls.jsonl",
        "call-history/index.html",
    ] {
        assert!(
            files.contains(expected) || files.contains(&expected.replace("15550001", "+15550001")),
            "{expected} in {files:#?}"
        );
    }
    let messages = category(&report, "messages");
    assert_eq!((&messages.outcome, messages.records), (&Outcome::Exported, 10));
    assert_eq!(messages.sources[0].path, "Library/SMS/sms.db");
    let lines = fs::read_to_string(target.join("messages/messages.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 10);
    let with_photo = lines.iter().find(|line| line["id"] == 5).unwrap();
    assert_eq!(with_photo["attachments"][0]["exported"], "attachments/photo.jpg");
    assert_eq!(with_photo["attachments"][0]["file"]["domain"], "MediaDomain");
    assert_eq!(
        fs::read(target.join("messages/attachments/photo.jpg")).unwrap(),
        b"picture"
    );
    let page = fs::read_to_string(target.join("messages/Fixture-Group.html")).unwrap();
    assert!(page.contains("src=\"./attachments/photo.jpg\""), "{page}");
    assert!(page.contains("clip.jpg (not in the backup)"));
    let other = files
        .iter()
        .find(|name| name.starts_with("messages/") && name.ends_with("15550001.html"));
    let other = fs::read_to_string(target.join(other.unwrap())).unwrap();
    assert!(
        other.contains("❤️ +15550001"),
        "the reaction stands with what it is about: {other}"
    );
    assert_eq!(category(&report, "contacts").records, 4);
    assert_eq!(category(&report, "call-history").records, 5);
    let told: serde_json::Value = serde_json::from_slice(&fs::read(target.join("report.json")).unwrap()).unwrap();
    assert_eq!(told["categories"][0]["outcome"], "exported");
}

#[test]
fn hostile_texts_and_names_stay_text_and_stay_inside() {
    let hostile = "</div><script>alert('x')</script>../../evil\u{202e}\0";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sms.db");
    {
        let db = Connection::open(&file).unwrap();
        db.execute_batch(
            "CREATE TABLE handle (ROWID INTEGER PRIMARY KEY, id TEXT);
             CREATE TABLE chat (ROWID INTEGER PRIMARY KEY, guid TEXT, style INTEGER, chat_identifier TEXT, display_name TEXT);
             CREATE TABLE message (ROWID INTEGER PRIMARY KEY, guid TEXT, text TEXT, handle_id INTEGER, date INTEGER,
                 is_from_me INTEGER, subject TEXT, group_title TEXT, item_type INTEGER);
             CREATE TABLE chat_message_join (chat_id INTEGER, message_id INTEGER);
             CREATE TABLE chat_handle_join (chat_id INTEGER, handle_id INTEGER);
             CREATE TABLE attachment (ROWID INTEGER PRIMARY KEY, guid TEXT, filename TEXT, mime_type TEXT, transfer_name TEXT);
             CREATE TABLE message_attachment_join (message_id INTEGER, attachment_id INTEGER);",
        )
        .unwrap();
        for sql in [
            "INSERT INTO handle VALUES (1, ?1)",
            "INSERT INTO chat VALUES (1, ?1, 43, ?1, ?1), (2, 'i', 43, 'index', 'index')",
            "INSERT INTO message VALUES (1, ?1, ?1, 1, 1, 0, ?1, NULL, 0), (2, '', '', 1, 2, 0, NULL, ?1, 2)",
            "INSERT INTO attachment VALUES (1, ?1, '~/Library/SMS/Attachments/a', ?1, ?1 || '.html')",
        ] {
            db.execute(sql, [hostile]).unwrap();
        }
        db.execute_batch(
            "INSERT INTO chat_message_join VALUES (1, 1), (1, 2); INSERT INTO chat_handle_join VALUES (1, 1);
             INSERT INTO message_attachment_join VALUES (1, 1);",
        )
        .unwrap();
    }
    let attachment = ("MediaDomain", "Library/SMS/Attachments/a");
    let archive = backup(
        folder.path(),
        &[(SMS, fs::read(&file).unwrap()), (attachment, b"<script>".to_vec())],
    );
    let target = folder.path().join("export");
    export(
        &archive,
        &target,
        &ExportOptions::default().category("messages"),
        &mut Silent,
    )
    .unwrap();
    let files = files_below(&target);
    assert!(
        files.contains("messages/index.html") && files.contains("messages/index-2.html"),
        "{files:#?}"
    );
    for file in files
        .iter()
        .filter(|file| file.ends_with(".html") && !file.contains("attachments"))
    {
        let page = fs::read_to_string(target.join(file)).unwrap();
        assert!(!page.contains("<script") && !page.contains("alert('"), "{file}");
        assert!(
            !page.contains("href=\"./attachments"),
            "what a browser would run is not linked"
        );
    }
    let outside: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(outside.len(), 3, "{outside:?}");
}

#[test]
fn long_conversations_are_split_into_pages_that_lead_to_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let archive = golden_backup(folder.path());
    let target = folder.path().join("export");
    let options = ExportOptions::default()
        .category("messages")
        .format(Format::Html)
        .page_records(2);
    export(&archive, &target, &options, &mut Silent).unwrap();
    let first = fs::read_to_string(target.join("messages/Fixture-Group.html")).unwrap();
    let second = fs::read_to_string(target.join("messages/Fixture-Group-2.html")).unwrap();
    assert!(first.contains("href=\"./Fixture-Group-2.html\"") && second.contains("href=\"./Fixture-Group.html\""));
    assert!(!files_below(&target).iter().any(|name| name.ends_with(".jsonl")));
}

#[test]
fn one_damaged_store_is_told_and_the_others_come_out() {
    let folder = tempfile::tempdir().unwrap();
    let calls = ("HomeDomain", "Library/CallHistoryDB/CallHistory.storedata");
    let files = [
        (SMS, b"no database at all".to_vec()),
        (calls, golden_file("calls.1.CallHistory.storedata")),
    ];
    let archive = backup(folder.path(), &files);
    let target = folder.path().join("export");
    let report = export(&archive, &target, &ExportOptions::default(), &mut Silent).unwrap();
    assert!(matches!(category(&report, "messages").outcome, Outcome::Failed(_)));
    assert_eq!(category(&report, "contacts").outcome, Outcome::Absent);
    assert_eq!(category(&report, "call-history").outcome, Outcome::Exported);
    assert!(!target.join("messages").exists(), "an empty folder says nothing");
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let archive = golden_backup(folder.path());
    let target = folder.path().join("export");
    let unknown = export(
        &archive,
        &target,
        &ExportOptions::default().category("dreams"),
        &mut Silent,
    );
    assert!(matches!(unknown, Err(RecordError::Unknown { name }) if name == "dreams"));
    assert!(!target.exists());
    fs::create_dir(&target).unwrap();
    fs::write(target.join("mine.txt"), "keep").unwrap();
    let full = export(&archive, &target, &ExportOptions::default(), &mut Silent);
    assert!(matches!(full, Err(RecordError::NotEmpty { .. })));
    assert_eq!(files_below(&target).len(), 1);
}

#[test]
fn a_cancelled_export_leaves_no_half_written_file() {
    let folder = tempfile::tempdir().unwrap();
    let archive = golden_backup(folder.path());
    let target = folder.path().join("export");
    let mut stop = |progress: &Progress| match progress.done {
        0..4 => std::ops::ControlFlow::Continue(()),
        _ => std::ops::ControlFlow::Break(()),
    };
    let stopped = export(&archive, &target, &ExportOptions::default(), &mut stop);
    assert!(matches!(stopped, Err(RecordError::Cancelled)));
    let files = files_below(&target);
    assert!(
        files
            .iter()
            .all(|name| !name.contains("partial") && !name.ends_with("messages.jsonl")),
        "{files:#?}"
    );
}
