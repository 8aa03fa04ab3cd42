//! Rows as SQLite itself sees them, over databases of many shapes.

use std::fs::{self, File};
use std::io::Cursor;

use proptest::prelude::*;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params_from_iter};

use super::*;
use crate::archive::golden;

/// Every row of a table as SQLite sees it.
fn by_sqlite(db: &Connection, table: &str, columns: &str) -> Vec<Record> {
    let mut query = db
        .prepare(&format!("SELECT _rowid_, {columns} FROM {table} ORDER BY _rowid_"))
        .unwrap();
    let count = query.column_count();
    let mut rows = query.query([]).unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let values = (1..count).map(|column| match row.get_ref(column).unwrap() {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(value) => Value::Integer(value),
            ValueRef::Real(value) => Value::Real(value),
            ValueRef::Text(value) => Value::Text(value.to_vec()),
            ValueRef::Blob(value) => Value::Blob(value.to_vec()),
        });
        all.push(Record {
            row_id: row.get(0).unwrap(),
            values: values.collect(),
        });
    }
    all
}

/// Numbers without a fraction are stored as integers, also in columns that hold others.
fn as_stored(mut record: Record) -> Record {
    for value in &mut record.values {
        if let Value::Real(real) = value
            && real.fract() == 0.0
            && real.abs() < 1e15
        {
            #[expect(clippy::cast_possible_truncation, reason = "checked")]
            let whole = *real as i64;
            *value = Value::Integer(whole);
        }
    }
    record
}

fn image_of(db: &Connection) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy");
    db.execute("VACUUM INTO ?1", [path.to_str().unwrap()]).unwrap();
    fs::read(path).unwrap()
}

fn all_rows(bytes: &[u8], table: &str) -> Vec<Record> {
    let mut reader = PageReader::open(Cursor::new(bytes)).unwrap();
    let root = reader.table(table).unwrap().unwrap();
    reader.rows(root).unwrap().map(Result::unwrap).map(as_stored).collect()
}

#[derive(Clone, Debug)]
enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl rusqlite::ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

fn cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        Just(Cell::Null),
        prop_oneof![
            any::<i64>(),
            -1..2_i64,
            any::<i16>().prop_map(i64::from),
            any::<i32>().prop_map(i64::from)
        ]
        .prop_map(Cell::Integer),
        (-1e6..1e6_f64).prop_map(Cell::Real),
        "\\PC{0,40}".prop_map(Cell::Text),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Cell::Blob),
        (0..60_000_usize, any::<u8>()).prop_map(|(len, byte)| Cell::Blob(vec![byte; len])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_row_of_any_database_is_what_sqlite_sees(
        page_size in prop_oneof![Just(512_u32), Just(1024), Just(4096), Just(65_536)],
        vacuum in 0..3_u8,
        encoding in prop_oneof![Just("UTF-8"), Just("UTF-16le"), Just("UTF-16be")],
        rows in proptest::collection::vec((any::<i64>(), proptest::collection::vec(cell(), 3)), 0..60),
        remove in 0..4_i64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(&format!(
            "PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {vacuum}; PRAGMA encoding = '{encoding}';
             CREATE TABLE other (x); CREATE TABLE t (a, b, c); INSERT INTO other VALUES (zeroblob(100000)); BEGIN"
        )).unwrap();
        for (id, cells) in &rows {
            let values = std::iter::once(Cell::Integer(*id)).chain(cells.iter().cloned());
            db.execute("INSERT OR REPLACE INTO t (_rowid_, a, b, c) VALUES (?1, ?2, ?3, ?4)", params_from_iter(values)).unwrap();
        }
        db.execute_batch("COMMIT; DELETE FROM other").unwrap();
        if remove > 0 {
            db.execute("DELETE FROM t WHERE _rowid_ % ?1 = 0", [remove + 1]).unwrap();
        }
        let bytes = fs::read(&path).unwrap();
        let found = all_rows(&bytes, "t");
        let mut reader = PageReader::open(Cursor::new(&bytes)).unwrap();
        // SQLite hands text out in UTF-8, whatever is stored.
        let mut expect: Vec<Record> = by_sqlite(&db, "t", "a, b, c").into_iter().map(as_stored).collect();
        let utf8 = |record: &Record| Record {
            row_id: record.row_id,
            values: record.values.iter().map(|value| match reader.text(value) {
                Some(text) => Value::Text(text.into_bytes()),
                None => value.clone(),
            }).collect(),
        };
        let mut decoded: Vec<Record> = found.iter().map(utf8).collect();
        expect.sort_by_key(|record| record.row_id);
        decoded.sort_by_key(|record| record.row_id);
        prop_assert_eq!(&decoded, &expect);
        let root = reader.table("t").unwrap().unwrap();
        for record in &found {
            prop_assert_eq!(reader.row(root, record.row_id).unwrap().map(as_stored), Some(record.clone()));
        }
        prop_assert_eq!(reader.row(root, 77).unwrap().is_some(), found.iter().any(|record| record.row_id == 77));
    }

    #[test]
    fn bytes_of_any_sort_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 512..4096),
        kind in prop_oneof![Just(2_u8), Just(5), Just(10), Just(13)],
    ) {
        bytes[..16].copy_from_slice(super::super::MAGIC);
        (bytes[16], bytes[17], bytes[20], bytes[100]) = (2, 0, 0, kind);
        let mut reader = PageReader::open(Cursor::new(&bytes)).unwrap();
        let _ = (reader.schema(), reader.free_pages(), reader.row(1, 3), reader.find(1, b"x"));
        for page in 0..10 {
            let _ = reader.leaf(page);
        }
    }
}

#[test]
fn long_chains_of_pages_are_followed() {
    for page_size in [512, 4096] {
        let db = Connection::open_in_memory().unwrap();
        db.pragma_update(None, "page_size", page_size).unwrap();
        db.execute_batch("CREATE TABLE t (a TEXT PRIMARY KEY, b)").unwrap();
        for row in 0..20_u32 {
            let key = format!("{row:03}").repeat(400);
            db.execute(
                "INSERT INTO t VALUES (?1, ?2)",
                (&key, vec![row.to_le_bytes(); 40_000].concat()),
            )
            .unwrap();
        }
        let bytes = image_of(&db);
        assert_eq!(all_rows(&bytes, "t"), by_sqlite(&db, "t", "a, b"));
        let mut reader = PageReader::open(Cursor::new(&bytes)).unwrap();
        let index = reader.index("sqlite_autoindex_t_1").unwrap().unwrap();
        for row in 0..20_i64 {
            let key = format!("{row:03}").repeat(400);
            assert_eq!(reader.find(index, key.as_bytes()).unwrap(), Some(row + 1));
        }
        assert_eq!(reader.find(index, b"0055").unwrap(), None);
        assert_eq!(reader.find(index, b"zzz").unwrap(), None);
    }
}

#[test]
fn reserved_bytes_at_the_end_of_pages_are_no_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    // An empty database whose header reserves bytes is filled by SQLite accordingly.
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA page_size = 1024; CREATE TABLE t (a, b)")
        .unwrap();
    drop(db);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] = 32;
    // The schema's cells move down by as much.
    let last = bytes.len();
    let page = &mut bytes[..1024];
    let start = usize::from(u16::from_be_bytes([page[105], page[106]]));
    page.copy_within(start..1024, start - 32);
    page[105..107].copy_from_slice(&u16::try_from(start - 32).unwrap().to_be_bytes());
    page[108..110].copy_from_slice(&u16::try_from(start - 32).unwrap().to_be_bytes());
    // The table's own page is empty: its content starts at the usable end.
    bytes[last - 1024 + 5..last - 1024 + 7].copy_from_slice(&992_u16.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let db = Connection::open(&path).unwrap();
    for row in 0..200_i64 {
        db.execute("INSERT INTO t VALUES (?1, zeroblob(?2))", [row, row * 17])
            .unwrap();
    }
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let bytes = fs::read(&path).unwrap();
    assert_eq!(Header::parse(&bytes).unwrap().reserved, 32);
    assert_eq!(all_rows(&bytes, "t"), by_sqlite(&db, "t", "a, b"));
}

#[test]
fn golden_indexes_give_the_rows_that_sqlite_sees() {
    for backup in ["synthetic/plain-v10", "greatvovan"] {
        let path = golden::folder().join(backup).join("Manifest.db");
        let uri = crate::archive::database::immutable_uri(&path).unwrap();
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
        let db = Connection::open_with_flags(uri, flags).unwrap();
        let expect = by_sqlite(&db, "Files", "fileID, domain, relativePath, flags, file");
        assert!(expect.len() > 5);
        let mut reader = PageReader::open(File::open(&path).unwrap()).unwrap();
        let root = reader.table("Files").unwrap().unwrap();
        let found: Vec<Record> = reader.rows(root).unwrap().map(Result::unwrap).collect();
        assert_eq!(found, expect);
        let index = reader.index("sqlite_autoindex_Files_1").unwrap().unwrap();
        for record in &expect {
            let Value::Text(id) = &record.values[0] else {
                panic!("ids are text")
            };
            assert_eq!(reader.find(index, id).unwrap(), Some(record.row_id));
        }
    }
}

#[test]
fn a_tree_that_leads_back_into_itself_ends() {
    let db = Connection::open_in_memory().unwrap();
    db.pragma_update(None, "page_size", 512).unwrap();
    db.execute_batch(
        "CREATE TABLE t (a); WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000)
         INSERT INTO t SELECT x FROM n",
    )
    .unwrap();
    let mut bytes = image_of(&db);
    let mut reader = PageReader::open(Cursor::new(&bytes)).unwrap();
    let root = reader.table("t").unwrap().unwrap();
    let start = usize::try_from(root - 1).unwrap() * 512;
    assert_eq!(bytes[start], 5, "an interior page");
    // Its right-most child is itself.
    bytes[start + 8..start + 12].copy_from_slice(&root.to_be_bytes());
    let mut reader = PageReader::open(Cursor::new(&bytes)).unwrap();
    let rows: Vec<_> = reader.rows(root).unwrap().collect();
    assert!(rows.len() > 500 && rows.len() < 2000);
    assert!(matches!(
        rows.last(),
        Some(Err(PageError::Damaged {
            fault: PageFault::Twice,
            ..
        }))
    ));
    assert!(matches!(
        reader.row(root, 99_999),
        Err(PageError::Damaged {
            fault: PageFault::TooDeep,
            ..
        })
    ));
}

#[test]
fn unused_pages_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA page_size = 512; CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(500000)); DELETE FROM t",
    )
    .unwrap();
    let free: i64 = db.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();
    let mut reader = PageReader::open(File::open(&path).unwrap()).unwrap();
    assert_eq!(reader.free_pages().unwrap().len(), usize::try_from(free).unwrap());
    assert!(free > 900);
}
