//! Logs, journals and images against what SQLite itself makes of the same files.

use std::fs;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use aes::cipher::{Array, BlockModeEncrypt, KeyIvInit};
use rusqlite::Connection;

use super::*;
use crate::archive::golden;

/// The rows of `t`.
type Rows = Vec<(i64, String, Vec<u8>)>;

/// A database in a folder of its own, in write-ahead mode, whose log nobody checkpoints.
fn logged(folder: &Path, page_size: u32) -> Connection {
    let db = Connection::open(folder.join("db")).unwrap();
    db.pragma_update(None, "page_size", page_size).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    db.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c BLOB)")
        .unwrap();
    db
}

fn insert(db: &Connection, from: i64, count: i64) {
    db.execute(
        "WITH RECURSIVE n (x) AS (SELECT ?1 UNION ALL SELECT x + 1 FROM n WHERE x < ?1 + ?2 - 1)
         INSERT INTO t SELECT x, 'row ' || x, zeroblob(x % 700) FROM n",
        [from, count],
    )
    .unwrap();
}

/// Every row of `t`, in order.
fn rows(db: &Connection) -> Vec<(i64, String, Vec<u8>)> {
    let mut query = db.prepare("SELECT a, b, c FROM t ORDER BY a").unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// What SQLite makes of a database and its companion, in a copy.
fn by_sqlite(db: &[u8], end: &str, companion: &[u8]) -> Result<Vec<(i64, String, Vec<u8>)>, rusqlite::Error> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("db"), db).unwrap();
    fs::write(folder.path().join(format!("db{end}")), companion).unwrap();
    let db = Connection::open(folder.path().join("db"))?;
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    if !has_table(&db) {
        return Ok(Vec::new());
    }
    Ok(rows(&db))
}

fn has_table(db: &Connection) -> bool {
    let count = "SELECT count(*) FROM sqlite_schema WHERE name = 't'";
    db.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap() > 0
}

/// What an image says, opened in memory.
fn by_image(db: &[u8], overlay: Option<(Cursor<Vec<u8>>, Overlay)>) -> Vec<(i64, String, Vec<u8>)> {
    let mut image = Image::new(Cursor::new(db.to_vec()), overlay)
        .unwrap()
        .rollback_mode(true);
    let len = usize::try_from(image.len()).unwrap();
    let mut memory = Connection::open_in_memory().unwrap();
    memory.deserialize_read_exact("main", &mut image, len, true).unwrap();
    let sound: String = memory
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    if has_table(&memory) { rows(&memory) } else { Vec::new() }
}

fn with_wal(db: &[u8], log: &[u8]) -> (Wal, Vec<(i64, String, Vec<u8>)>) {
    let mut source = Cursor::new(log.to_vec());
    let wal = Wal::read(&mut source).unwrap();
    let overlay = wal.overlay.clone().map(|overlay| (source, overlay));
    let rows = by_image(db, overlay);
    (wal, rows)
}

fn files(folder: &Path, end: &str) -> (Vec<u8>, Vec<u8>) {
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    (read("db"), read(&format!("db{end}")))
}

#[test]
fn a_log_of_any_page_size_gives_the_rows_that_sqlite_sees() {
    for page_size in [512, 1024, 4096, 8192, 65_536] {
        let folder = tempfile::tempdir().unwrap();
        let db = logged(folder.path(), page_size);
        for part in 0..5 {
            insert(&db, part * 40 + 1, 40);
        }
        db.execute_batch("DELETE FROM t WHERE a % 3 = 0; UPDATE t SET b = 'new' WHERE a % 5 = 0")
            .unwrap();
        let expect = rows(&db);
        let (base, log) = files(folder.path(), "-wal");
        let (wal, found) = with_wal(&base, &log);
        assert_eq!(found, expect);
        assert_eq!((wal.uncommitted, wal.end), (0, WalEnd::Whole));
        assert_eq!(wal.overlay.unwrap().page_size(), page_size);
        assert_eq!(by_sqlite(&base, "-wal", &log).unwrap(), expect);
    }
}

#[test]
fn a_log_cut_or_flipped_anywhere_gives_the_rows_that_sqlite_sees() {
    let folder = tempfile::tempdir().unwrap();
    let db = logged(folder.path(), 1024);
    for part in 0..4 {
        insert(&db, part * 9 + 1, 9);
    }
    let (base, log) = files(folder.path(), "-wal");
    let frame = 1024 + 24;
    let mut ends = std::collections::HashSet::new();
    for at in (0..log.len()).step_by(frame / 3) {
        let cut = &log[..at];
        let (wal, found) = with_wal(&base, cut);
        ends.insert(wal.end);
        assert_eq!(found, by_sqlite(&base, "-wal", cut).unwrap(), "cut at {at}");
        let mut flipped = log.clone();
        flipped[at] ^= 4;
        let (wal, found) = with_wal(&base, &flipped);
        ends.insert(wal.end);
        assert_eq!(found, by_sqlite(&base, "-wal", &flipped).unwrap(), "flipped at {at}");
    }
    for end in [WalEnd::Cut, WalEnd::Checksum, WalEnd::Header, WalEnd::Empty] {
        assert!(ends.contains(&end), "{end:?} never met");
    }
}

#[test]
fn frames_of_an_earlier_use_of_the_log_do_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let db = logged(folder.path(), 4096);
    insert(&db, 1, 300);
    let moved: i64 = db
        .query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(moved, 0);
    db.execute("UPDATE t SET b = 'after' WHERE a = 7", []).unwrap();
    let expect = rows(&db);
    let (base, log) = files(folder.path(), "-wal");
    let (wal, found) = with_wal(&base, &log);
    assert_eq!((wal.end, found), (WalEnd::OlderFrames, expect));
    assert!(wal.committed < 5);
}

#[test]
fn a_database_that_a_logged_transaction_made_smaller_ends_where_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(folder.path().join("db")).unwrap();
    db.execute_batch(
        "PRAGMA page_size = 1024; PRAGMA auto_vacuum = full; PRAGMA journal_mode = wal;
                      PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c BLOB)",
    )
    .unwrap();
    insert(&db, 1, 500);
    db.execute("DELETE FROM t WHERE a > 20", []).unwrap();
    let expect = rows(&db);
    let (base, log) = files(folder.path(), "-wal");
    let (wal, found) = with_wal(&base, &log);
    assert_eq!(found, expect);
    let overlay = wal.overlay.unwrap();
    assert!(overlay.pages.keys().all(|page| *page <= overlay.database_pages()));
}

#[test]
fn a_log_that_asks_for_the_impossible_is_refused() {
    let overlay = Overlay {
        page_size: 65_536,
        pages: [(1, 56)].into(),
        database_pages: u32::MAX,
    };
    let refused = Image::new(Cursor::new(vec![0; 1000]), Some((Cursor::new(Vec::new()), overlay)));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}

/// A database and the journal of a transaction that is still going on.
fn hot_journal(page_size: u32, temp: &Path) -> (Vec<u8>, Vec<u8>, Rows) {
    let db = Connection::open(temp.join("db")).unwrap();
    db.pragma_update(None, "page_size", page_size).unwrap();
    db.execute_batch("PRAGMA journal_mode = delete; CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c BLOB)")
        .unwrap();
    insert(&db, 1, 400);
    let before = rows(&db);
    // So small a cache makes SQLite write into the database before the commit.
    db.execute_batch("PRAGMA cache_size = 3; PRAGMA cache_spill = 1; BEGIN")
        .unwrap();
    db.execute("UPDATE t SET b = 'half done', c = zeroblob(900)", [])
        .unwrap();
    insert(&db, 1000, 200);
    let (base, journal) = files(temp, "-journal");
    db.execute_batch("ROLLBACK").unwrap();
    (base, journal, before)
}

#[test]
fn a_hot_journal_brings_back_what_was_before() {
    for page_size in [512, 4096, 32_768] {
        let folder = tempfile::tempdir().unwrap();
        let (base, journal, before) = hot_journal(page_size, folder.path());
        let mut source = Cursor::new(journal.clone());
        let Journal::Hot(overlay) = Journal::read(&mut source, page_size).unwrap() else {
            panic!("the journal is hot")
        };
        assert!(overlay.replaced() > 3);
        assert_eq!(by_image(&base, Some((source, overlay))), before);
        assert_eq!(by_sqlite(&base, "-journal", &journal).unwrap(), before);
    }
}

#[test]
fn a_journal_that_is_done_with_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_, journal, _) = hot_journal(4096, folder.path());
    let mut ended = journal.clone();
    ended[..28].fill(0);
    for (bytes, what) in [(&ended[..], "persisted"), (&journal[..20], "cut"), (&[][..], "empty")] {
        assert_eq!(
            Journal::read(&mut Cursor::new(bytes), 4096).unwrap(),
            Journal::Finished,
            "{what}"
        );
    }
    assert_eq!(
        Journal::read(&mut Cursor::new(&journal[..]), 512).unwrap(),
        Journal::Finished
    );
    // The name of a journal over several databases, as SQLite writes it at the end.
    let name = b"/var/mobile/other-mj0123";
    let sum: u32 = name.iter().map(|byte| u32::from(*byte)).sum();
    let mut several = journal;
    several.extend_from_slice(name);
    several.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
    several.extend(sum.to_be_bytes());
    several.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    assert_eq!(
        Journal::read(&mut Cursor::new(several), 4096).unwrap(),
        Journal::OfSeveral
    );
}

#[test]
fn an_image_reads_the_same_in_any_pieces_and_without_foreign_padding() {
    let folder = tempfile::tempdir().unwrap();
    let db = logged(folder.path(), 512);
    insert(&db, 1, 90);
    let (mut base, log) = files(folder.path(), "-wal");
    let mut source = Cursor::new(log);
    let overlay = Wal::read(&mut source).unwrap().overlay.unwrap();
    let mut image = Image::new(Cursor::new(base.clone()), Some((source, overlay))).unwrap();
    let mut whole = Vec::new();
    image.read_to_end(&mut whole).unwrap();
    for (start, len) in [
        (0, 1),
        (18, 2),
        (511, 2),
        (500, 1900),
        (whole.len() - 1, 1),
        (whole.len(), 0),
    ] {
        let mut part = vec![0; len];
        image.seek(SeekFrom::Start(start as u64)).unwrap();
        image.read_exact(&mut part).unwrap();
        assert_eq!(part, whole[start..start + len]);
    }
    let mut plain = Image::<_, Cursor<Vec<u8>>>::new(Cursor::new(base.clone()), None).unwrap();
    assert_eq!(plain.len(), base.len() as u64);
    let mut again = Vec::new();
    plain.read_to_end(&mut again).unwrap();
    assert_eq!(again, base);
    base.extend([16; 16]);
    let padded = Image::<_, Cursor<Vec<u8>>>::new(Cursor::new(base.clone()), None).unwrap();
    assert_eq!(padded.len() + 16, base.len() as u64);
}

/// A copy of a synthetic backup whose message database is a real one, with a real log in place of another file.
fn with_messages(backup: &str, base: &[u8], log: Option<&[u8]>) -> (tempfile::TempDir, Archive) {
    let folder = golden::copy_of(&format!("synthetic/{backup}"));
    let mut archive = opened(folder.path());
    let entry = archive.entry_at("HomeDomain", "Library/SMS/sms.db").unwrap().unwrap();
    put(&archive, &entry, &entry.file_id, base);
    if let Some(log) = log {
        assert_eq!(backup, "plain-v10", "whose index can be changed");
        let other = archive.entry_at("HomeDomain", "Library/block.bin").unwrap().unwrap();
        let path = "Library/SMS/sms.db-wal";
        let id = crate::archive::FileId::of("HomeDomain", path);
        let index = Connection::open(folder.path().join("Manifest.db")).unwrap();
        index.pragma_update(None, "journal_mode", "delete").unwrap();
        let sql = "UPDATE Files SET fileID = ?1, relativePath = ?2 WHERE relativePath = 'Library/block.bin'";
        assert_eq!(index.execute(sql, [&id.to_string(), path]).unwrap(), 1);
        put(&archive, &other, &id, log);
        drop(index);
        archive = opened(folder.path());
    }
    (folder, archive)
}

fn opened(folder: &Path) -> Archive {
    let mut archive = Archive::open(folder).unwrap();
    if archive.is_locked() {
        archive.unlock("vector-pass-1").unwrap();
    }
    archive
}

/// Stores `contents` as the payload `id`, encrypted as `entry` is.
fn put(archive: &Archive, entry: &FileEntry, id: &crate::archive::FileId, contents: &[u8]) {
    let mut stored = contents.to_vec();
    if let Some(key) = archive.file_key(entry).unwrap() {
        let tail = 16 - stored.len() % 16;
        stored.resize(stored.len() + tail, u8::try_from(tail).unwrap());
        let (blocks, _) = stored.as_chunks_mut::<16>();
        cbc::Encryptor::<aes::Aes256>::new(key.expose().into(), &Array::default())
            .encrypt_blocks(Array::cast_slice_from_core_mut(blocks));
    }
    let name = id.to_string();
    let folder = match archive.layout() {
        crate::archive::Layout::Flat => archive.folder().to_owned(),
        _ => archive.folder().join(&name[..2]),
    };
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), stored).unwrap();
}

/// A small database and its log, with the rows both together have.
fn small() -> (Vec<u8>, Vec<u8>, Rows) {
    let folder = tempfile::tempdir().unwrap();
    let db = logged(folder.path(), 4096);
    insert(&db, 1, 30);
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    insert(&db, 31, 200);
    let expect = rows(&db);
    let (base, log) = files(folder.path(), "-wal");
    (base, log, expect)
}

#[test]
fn databases_of_every_layout_open_and_leave_the_folder_alone() {
    let (base, ..) = small();
    for backup in ["plain-v10", "enc-v10", "enc-mbdb"] {
        let (folder, archive) = with_messages(backup, &base, None);
        let before = snapshot(folder.path());
        let entry = archive.entry_at("HomeDomain", "Library/SMS/sms.db").unwrap().unwrap();
        let (small, large) = match backup {
            "plain-v10" => (Storage::InPlace, Storage::InPlace),
            _ => (Storage::Memory, Storage::PrivateFile),
        };
        for (options, storage) in [
            (DatabaseOptions::default(), small),
            (DatabaseOptions::default().memory(100), large),
        ] {
            let database = archive.open_database_with(&entry, options).unwrap();
            assert_eq!((database.storage(), database.notes()), (storage, &[][..]));
            assert_eq!(rows(database.connection()).len(), 30);
            for forbidden in [
                "CREATE TABLE more (x)",
                "ATTACH ':memory:' AS other",
                "DELETE FROM t",
                "PRAGMA query_only = 0; DELETE FROM t",
            ] {
                assert!(database.connection().execute_batch(forbidden).is_err(), "{forbidden}");
            }
        }
        let target = tempfile::tempdir().unwrap();
        let to = target.path().join("copy.db");
        let copied = archive.copy_database(&entry, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), base);
        assert_eq!((copied.len, copied.notes.len()), (base.len() as u64, 0));
        assert_eq!(
            fs::read_dir(target.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
        let inside = folder.path().join("copy.db");
        assert!(matches!(
            archive.copy_database(&entry, &inside),
            Err(ArchiveError::IntoBackup { .. })
        ));
        let empty = archive
            .entry_at("HomeDomain", "Library/Preferences/empty.plist")
            .unwrap()
            .unwrap();
        let database = archive.open_database(&empty).unwrap();
        assert!(!has_table(database.connection()), "an empty file is an empty database");
        let text = archive
            .entry_at("AppDomain-com.example.app", "Documents/Note.txt")
            .unwrap()
            .unwrap();
        assert!(matches!(
            archive.open_database(&text),
            Err(ArchiveError::NotADatabase { .. })
        ));
        assert_eq!(snapshot(folder.path()), before, "nothing changed in the folder");
    }
}

#[test]
fn a_log_in_the_backup_is_taken_in_and_said() {
    let (base, log, expect) = small();
    let (folder, archive) = with_messages("plain-v10", &base, Some(&log));
    let before = snapshot(folder.path());
    let entry = archive.entry_at("HomeDomain", "Library/SMS/sms.db").unwrap().unwrap();
    for memory in [1 << 20, 100] {
        let database = archive
            .open_database_with(&entry, DatabaseOptions::default().memory(memory))
            .unwrap();
        assert_ne!(database.storage(), Storage::InPlace);
        assert!(matches!(database.notes(), [DatabaseNote::LogApplied { pages: 1.. }]));
        assert_eq!(rows(database.connection()), expect);
    }
    let target = tempfile::tempdir().unwrap();
    let to = target.path().join("copy.db");
    archive.copy_database(&entry, &to).unwrap();
    assert_eq!(rows(&Connection::open(&to).unwrap()), expect);
    assert_eq!(snapshot(folder.path()), before, "nothing changed in the folder");

    let (_folder, archive) = with_messages("plain-v10", &base, Some(&log[..log.len() - 5000]));
    let database = archive.open_database(&entry).unwrap();
    assert!(
        database
            .notes()
            .contains(&DatabaseNote::LogDamaged { end: WalEnd::Cut }),
        "{:?}",
        database.notes()
    );
}

/// Every file of a folder with its bytes and time of change.
pub(crate) fn snapshot(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                folders.push(entry.path());
            } else {
                all.push((entry.path(), fs::read(entry.path()).unwrap(), meta.modified().unwrap()));
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_query_that_never_ends_is_interrupted() {
    let (base, ..) = small();
    let (_folder, archive) = with_messages("plain-v10", &base, None);
    let entry = archive.entry_at("HomeDomain", "Library/SMS/sms.db").unwrap().unwrap();
    let database = archive
        .open_database_with(&entry, DatabaseOptions::default().work_limit(200_000))
        .unwrap();
    let endless = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    let count = |sql: &str| database.connection().query_row(sql, [], |row| row.get::<_, i64>(0));
    assert!(matches!(
        count(endless),
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == rusqlite::ErrorCode::OperationInterrupted
    ));
    database.renew();
    assert!(count("SELECT count(*) FROM sqlite_schema").is_ok());
}
