//! Safari's stores, sound and hostile.

use rusqlite::Connection;

use super::*;
use crate::archive::FileId;
use crate::archive::build::{BuildOptions, Builder, Details};
use crate::archive::records::Problem;
use crate::archive::records::note::Notes;

fn golden(name: &str) -> Connection {
    let data = std::fs::read(crate::archive::golden::folder().join("novkostya").join(name)).unwrap();
    let mut db = Connection::open_in_memory().unwrap();
    db.deserialize_read_exact("main", &*data, data.len(), true).unwrap();
    db
}

fn bookmarks(db: &Connection) -> Bookmarks {
    let (mut entries, mut problems) = (Vec::new(), Notes::default());
    bookmarks::read(db, &mut entries, &mut problems).unwrap();
    Bookmarks {
        source: Source {
            domain: "HomeDomain".into(),
            path: "Library/Safari/Bookmarks.db".into(),
            file_id: FileId::of("HomeDomain", "Library/Safari/Bookmarks.db"),
        },
        entries,
        problems,
        failure: None,
    }
}

#[test]
fn a_published_history_is_read_as_it_is() {
    let (mut visits, mut problems) = (Vec::new(), Notes::default());
    history::read(&golden("safari.1.History.db"), &mut visits, &mut problems).unwrap();
    assert_eq!(visits.len(), 4);
    assert_eq!(visits[0].url.as_deref(), Some("https://example.invalid/a"));
    assert_eq!(visits[0].at.unwrap().to_string(), "2023-03-08T20:26:40.5Z");
    assert_eq!((visits[0].redirected_to, visits[1].redirected_from), (Some(2), Some(1)));
    assert_eq!((visits[3].title.as_deref(), visits[3].at), (Some("Corrupt"), None));
    assert_eq!(problems.count(), 1);
}

#[test]
fn pages_without_a_visit_and_visits_without_a_page_are_kept() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE history_items (id INTEGER PRIMARY KEY, url); CREATE TABLE history_visits (id INTEGER PRIMARY KEY, history_item, visit_time);
         INSERT INTO history_items VALUES (1, 'https://left.example/'); INSERT INTO history_visits VALUES (1, 9, 7e8);",
    )
    .unwrap();
    let (mut visits, mut problems) = (Vec::new(), Notes::default());
    history::read(&db, &mut visits, &mut problems).unwrap();
    assert_eq!(visits[0].url, None);
    assert_eq!(
        (visits[1].id, visits[1].url.as_deref()),
        (None, Some("https://left.example/"))
    );
    assert!(matches!(problems.kept()[0].problem, Problem::Dangling { id: 9, .. }));
}

#[test]
fn a_published_tree_of_bookmarks_is_read_as_it_is() {
    let found = bookmarks(&golden("safari.1.Bookmarks.db"));
    let tree: Vec<_> = found
        .tree()
        .into_iter()
        .map(|(depth, entry)| (depth, entry.title.as_deref().unwrap()))
        .collect();
    assert_eq!(
        tree,
        [
            (0, "Root"),
            (1, "BookmarksBar"),
            (2, "Dev"),
            (3, "Nested Bookmark"),
            (2, "Example Bookmark"),
            (2, "Corrupt"),
            (1, "com.apple.ReadingList"),
            (2, "RL Unread"),
            (2, "RL Read"),
        ]
    );
    assert_eq!(found.entries[2].kind, BookmarkKind::ReadingList);
    assert_eq!(found.entries[6].read, Some(false));
    // Two property lists that are none, and a time that is text.
    assert_eq!(found.problems.count(), 3, "{:?}", found.problems);
}

#[test]
fn the_reading_list_tells_its_preview_and_date() {
    let mut list = cabled_wire::plist::Dictionary::new();
    list.insert("PreviewText".into(), "First words".into());
    let date: cabled_wire::plist::Date = (std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000)).into();
    list.insert("DateAdded".into(), cabled_wire::plist::Value::Date(date));
    let mut extra = cabled_wire::plist::Dictionary::new();
    extra.insert("com.apple.ReadingList".into(), list.into());
    let db = golden("safari.1.Bookmarks.db");
    let writable = Connection::open_in_memory().unwrap();
    writable
        .execute_batch(
            "CREATE TABLE bookmarks (id INTEGER PRIMARY KEY, parent, type, title, url, order_index, extra_attributes)",
        )
        .unwrap();
    let bytes = cabled_wire::plist::to_binary(&extra.into());
    writable
        .execute(
            "INSERT INTO bookmarks VALUES (1, 0, 0, 't', 'https://e.org', 0, ?1)",
            [bytes],
        )
        .unwrap();
    let found = bookmarks(&writable);
    assert_eq!(found.entries[0].preview.as_deref(), Some("First words"));
    assert_eq!(found.entries[0].added.unwrap().to_string(), "2020-09-13T12:26:40Z");
    drop(db);
}

#[test]
fn circles_of_folders_end_and_lose_nothing() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE bookmarks (id INTEGER PRIMARY KEY, parent, type, title, url, order_index);
         INSERT INTO bookmarks VALUES (1, 2, 1, 'a', NULL, 0), (2, 1, 1, 'b', NULL, 0), (3, 3, 1, 'self', NULL, 0),
             (4, 99, 0, '</A><script>alert(1)</script>', 'https://e.org/\"><script>', 'x'), (5, 1, 0, 'in a', 'u', 0);
         WITH RECURSIVE deep(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM deep WHERE n < 500)
             INSERT INTO bookmarks SELECT n, n - 1, 1, 'deep', NULL, 0 FROM deep;",
    )
    .unwrap();
    let found = bookmarks(&db);
    let mut seen: Vec<_> = found.tree().iter().map(|(_, entry)| entry.id).collect();
    seen.sort_unstable();
    let all: Vec<_> = found.entries.iter().map(|entry| entry.id).collect();
    assert_eq!(seen, all);
    let mut file = Vec::new();
    found.write_netscape(&mut file).unwrap();
    let html = String::from_utf8(file).unwrap();
    assert!(!html.contains("<script>"), "{html}");
    assert_eq!(html.matches("<DL><p>").count(), html.matches("</DL><p>").count());
}

#[test]
fn tabs_of_both_kinds_of_stores_are_read() {
    let old = Connection::open_in_memory().unwrap();
    old.execute_batch(
        "CREATE TABLE tabs (id INTEGER PRIMARY KEY, title, url, last_viewed_time, private_browsing);
         INSERT INTO tabs VALUES (1, 'One', 'https://one.example/', 7e8, 1)",
    )
    .unwrap();
    let new = Connection::open_in_memory().unwrap();
    new.execute_batch(
        "CREATE TABLE bookmarks (id INTEGER PRIMARY KEY, parent, type, title, url);
         INSERT INTO bookmarks VALUES (1, 0, 1, 'Group', NULL), (2, 1, 0, 'Two', 'https://two.example/')",
    )
    .unwrap();
    let (mut found, mut problems) = (Vec::new(), Notes::default());
    tabs::read(&old, &mut found, &mut problems).unwrap();
    tabs::read(&new, &mut found, &mut problems).unwrap();
    assert_eq!((found[0].private, found[0].title.as_deref()), (Some(true), Some("One")));
    assert_eq!((found[1].private, found[1].group), (None, Some(1)));
    assert!(problems.is_empty());
}

#[test]
fn stores_beyond_the_limit_are_an_error_and_never_left_out_unsaid() {
    let root = tempfile::tempdir().unwrap();
    let with_profiles = |name: &str, profiles: usize| {
        let mut builder = Builder::create(root.path().join(name), BuildOptions::default()).unwrap();
        for profile in 0..profiles {
            let path = format!("Library/Safari/Profiles/{profile}/History.db");
            builder
                .file("HomeDomain", &path, &b""[..], &Details::default())
                .unwrap();
        }
        Archive::open(builder.finish().unwrap().folder).unwrap()
    };
    let at_the_limit = stores(&with_profiles("many", MAX_STORES), &["History.db"]).unwrap();
    assert_eq!(at_the_limit.len(), MAX_STORES);
    let beyond = stores(&with_profiles("more", MAX_STORES + 1), &["History.db"]);
    assert!(matches!(beyond, Err(RecordError::TooManyStores { limit: MAX_STORES })));
}
