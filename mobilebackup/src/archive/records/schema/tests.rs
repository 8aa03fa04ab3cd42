use std::ops::ControlFlow;

use super::*;

fn database(sql: &str) -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(sql).unwrap();
    db
}

#[test]
fn names_are_found_whatever_their_case_and_spelling() {
    let db = database(
        "CREATE TABLE \"Odd \"\"name\" (\"a \"\"b\" TEXT, Other INTEGER); INSERT INTO \"Odd \"\"name\" VALUES ('x', 1)",
    );
    let schema = Schema::of(&db).unwrap();
    assert!(schema.has_column("odd \"NAME", "A \"B"));
    assert_eq!(schema.first_of(&["none", "ODD \"name"]).unwrap().name(), "Odd \"name");
    let mut seen = None;
    let select = schema.select("odd \"name", &["a \"b", "absent"]).unwrap();
    let _ = select
        .each(&db, &mut Notes::default(), |row| {
            seen = row.text("a \"b");
            assert!(row.is_null("absent"));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(seen.as_deref(), Some("x"));
}

#[test]
fn views_and_computed_columns_do_not_count() {
    let db = database(
        "CREATE TABLE real (a INTEGER, b AS (a + 1)); CREATE VIEW message AS SELECT 1 AS text;
         CREATE VIRTUAL TABLE search USING fts5(body);",
    );
    let schema = Schema::of(&db).unwrap();
    assert!(schema.has_column("real", "a") && !schema.has_column("real", "b"));
    assert!(!schema.has_table("message") && !schema.has_table("search"));
}

#[test]
fn values_of_another_type_are_read_if_they_make_sense_and_noted_if_not() {
    let db = database(
        "CREATE TABLE t (n, r, s, d);
         INSERT INTO t VALUES ('12', '2.5', 4915112, 'text'), (x'00', 'no', x'ff41', 1), (7.0, 9e999, NULL, x'01');",
    );
    let select = Schema::of(&db).unwrap().select("t", &["n", "r", "s", "d"]).unwrap();
    let (mut notes, mut rows) = (Notes::default(), Vec::new());
    let _ = select
        .each(&db, &mut notes, |row| {
            rows.push((
                row.integer("n"),
                row.real("r"),
                row.text("s"),
                row.data("d").map(<[u8]>::to_vec),
            ));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(
        rows[0],
        (Some(12), Some(2.5), Some("4915112".into()), Some(b"text".to_vec()))
    );
    assert_eq!(rows[1], (None, None, Some("\u{fffd}A".into()), None));
    assert_eq!(rows[2], (Some(7), None, None, Some(vec![1])));
    let noted: Vec<_> = notes.kept().iter().map(|note| (note.row, note.column)).collect();
    let expected = [(2, "n"), (2, "r"), (2, "s"), (2, "d"), (3, "r")];
    assert_eq!(noted, expected.map(|(row, column)| (Some(row), Some(column))));
}

#[test]
fn times_outside_the_calendar_are_noted() {
    let db = database("CREATE TABLE t (at); INSERT INTO t VALUES (0), (700000000), (1e300), (700000000.5)");
    let select = Schema::of(&db).unwrap().select("t", &["at"]).unwrap();
    let (mut notes, mut times) = (Notes::default(), Vec::new());
    let _ = select
        .each(&db, &mut notes, |row| {
            times.push(row.apple_time("at").map(|time| time.to_string()));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    let expected = [None, Some("2023-03-08T20:26:40Z"), None, Some("2023-03-08T20:26:40.5Z")];
    assert_eq!(times, expected.map(|time| time.map(str::to_owned)));
    assert_eq!(notes.count(), 1);
}

#[test]
fn the_largest_row_id_ends_the_scan_and_a_row_is_found_by_its_id() {
    let db = database("CREATE TABLE t (a INTEGER PRIMARY KEY); INSERT INTO t VALUES (-5), (9223372036854775807)");
    let select = Schema::of(&db).unwrap().select("t", &["a"]).unwrap();
    let (mut notes, mut ids) = (Notes::default(), Vec::new());
    let _ = select
        .each(&db, &mut notes, |row| {
            ids.extend(row.id());
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(ids, [-5, i64::MAX]);
    assert_eq!(
        select.get(&db, -5, &mut notes, |row| Ok(row.integer("a"))).unwrap(),
        Some(Some(-5))
    );
    assert_eq!(
        select.get(&db, 5, &mut notes, |row| Ok(row.integer("a"))).unwrap(),
        None
    );
}

#[test]
fn a_table_without_row_ids_is_read_too() {
    let db = database("CREATE TABLE t (k TEXT PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO t VALUES ('b', 2), ('a', 1)");
    let select = Schema::of(&db).unwrap().select("t", &["k"]).unwrap();
    let mut keys = Vec::new();
    let _ = select
        .each(&db, &mut Notes::default(), |row| {
            assert_eq!(row.id(), None);
            keys.extend(row.text("k"));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(keys, ["a", "b"]);
}

#[test]
fn a_row_with_a_damaged_overflow_page_is_skipped_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.db");
    {
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            "PRAGMA page_size = 512; CREATE TABLE t (a TEXT);
             INSERT INTO t VALUES ('first'), (hex(zeroblob(4000))), ('last');",
        )
        .unwrap();
    }
    let mut bytes = std::fs::read(&path).unwrap();
    // The chain of the long row: its second page now leads to a page that does not exist.
    let at = (2..bytes.len() / 512)
        .map(|page| page * 512)
        .find(|at| bytes[at + 4..at + 20] == *b"0000000000000000");
    let at = at.unwrap();
    bytes[at..at + 4].copy_from_slice(&[0x00, 0xff, 0xff, 0xff]);
    std::fs::write(&path, bytes).unwrap();

    let db = Connection::open(&path).unwrap();
    let select = Schema::of(&db).unwrap().select("t", &["a"]).unwrap();
    let (mut notes, mut seen) = (Notes::default(), Vec::new());
    let _ = select
        .each(&db, &mut notes, |row| {
            seen.push((row.id(), row.text("a").map(|text| text.len())));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(seen.first(), Some(&(Some(1), Some(5))));
    assert_eq!(seen.last(), Some(&(Some(3), Some(4))));
    assert!(!notes.is_empty(), "{seen:?}");
}
