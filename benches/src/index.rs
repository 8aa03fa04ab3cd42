//! A large index: made once, then listed, scanned and searched.

use std::path::Path;
use std::time::Instant;

use cabled_mobilebackup::archive::build::{BuildOptions, Builder, Details};
use cabled_mobilebackup::archive::mbfile::MbFile;
use cabled_mobilebackup::archive::{Archive, FileId};
use rusqlite::{Connection, OpenFlags, params};
use serde_json::{Value, json};

use crate::{PASSWORD, peak, processor};

const DOMAIN: &str = "AppDomain-com.example.reader";

/// As long as paths are in real backups: some 70 characters.
fn path(at: u64) -> String {
    format!(
        "Documents/library/collections/{:05}/attachments/item-{at:08}-original.jpeg",
        at / 300
    )
}

/// A backup without payloads whose index has `rows` rows. Records have a key, as those of encrypted backups do; the
/// index itself is plain, so that the bare scan needs no library of ours.
pub(crate) fn build(folder: &Path, rows: u64) -> Value {
    let started = Instant::now();
    let sample = folder.with_extension("sample");
    let _ = std::fs::remove_dir_all(&sample);
    let options = BuildOptions::default().encrypted(PASSWORD).rounds(10, 10);
    let mut builder = Builder::create(&sample, options).expect("a new folder");
    let id = builder
        .file(DOMAIN, &path(0), &b"x"[..], &Details::default())
        .expect("room for it");
    builder.finish().expect("room for it");
    let mut backup = Archive::open(&sample).expect("a backup");
    backup.unlock(PASSWORD).expect("its password");
    let record = backup.raw_record(&id).expect("an index").expect("its row");
    let mut record = MbFile::decode(&record).expect("its record");

    Builder::create(folder, BuildOptions::default())
        .expect("a new folder")
        .finish()
        .expect("room for it");
    let mut database = Connection::open(folder.join("Manifest.db")).expect("an index");
    database.pragma_update(None, "journal_mode", "off").expect("SQLite");
    database.pragma_update(None, "synchronous", "off").expect("SQLite");
    let transaction = database.transaction().expect("SQLite");
    {
        let insert =
            "INSERT OR REPLACE INTO Files (fileID, domain, relativePath, flags, file) VALUES (?1, ?2, ?3, 1, ?4)";
        let mut insert = transaction.prepare(insert).expect("SQLite");
        for at in 0..rows {
            let path = path(at);
            let id = FileId::of(DOMAIN, &path).to_string();
            record.relative_path = path.clone().into();
            record.size = at;
            record.inode = at;
            insert
                .execute(params![id, DOMAIN, path, record.encode()])
                .expect("room for it");
        }
    }
    transaction.commit().expect("room for it");
    drop(database);
    std::fs::remove_dir_all(&sample).expect("its own folder");
    json!({ "seconds": started.elapsed().as_secs_f64() })
}

/// Every row with its names and size, through the library.
pub(crate) fn list(folder: &Path) -> Value {
    let started = processor();
    let backup = Archive::open(folder).expect("a backup");
    let (mut rows, mut bytes, mut letters) = (0_u64, 0_u64, 0);
    for entry in backup.entries().expect("an index") {
        let entry = entry.expect("a sound index");
        rows += 1;
        bytes += entry.size;
        letters += entry.domain.len() + entry.path.len();
    }
    let seconds = (processor() - started).as_secs_f64();
    json!({ "seconds": seconds, "rows": rows, "bytes": bytes, "letters": letters, "peak": peak() })
}

/// The bare scan: SQLite alone hands out every column of every row, and nothing is decoded.
pub(crate) fn scan(folder: &Path) -> Value {
    let started = processor();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let place = format!("file:{}?immutable=1", folder.join("Manifest.db").display());
    let database = Connection::open_with_flags(place, flags).expect("an index");
    let all = "SELECT fileID, domain, relativePath, flags, file FROM Files";
    let mut all = database.prepare(all).expect("SQLite");
    let mut all = all.query([]).expect("SQLite");
    let (mut rows, mut bytes) = (0_u64, 0);
    while let Some(row) = all.next().expect("a sound index") {
        rows += 1;
        for column in [0, 1, 2, 4] {
            let value = row.get_ref(column).expect("a column");
            bytes += value.as_bytes_or_null().expect("text or bytes").map_or(0, <[u8]>::len);
        }
        bytes += usize::from(row.get_ref(3).expect("a column").as_i64().is_ok());
    }
    json!({ "seconds": (processor() - started).as_secs_f64(), "rows": rows, "bytes": bytes, "peak": peak() })
}

/// Lookups by path all over the index: the median and the slowest of 10,000, in milliseconds on the wall.
pub(crate) fn lookup(folder: &Path) -> Value {
    let backup = Archive::open(folder).expect("a backup");
    let rows = backup.entries().expect("an index").count() as u64;
    let mut times = Vec::new();
    for at in 0..10_000_u64 {
        let path = path(at * 7919 % (rows / 2).max(1));
        let started = Instant::now();
        let found = backup.entry_at(DOMAIN, &path).expect("a sound index");
        times.push(started.elapsed().as_secs_f64() * 1e3);
        assert!(found.is_some(), "{path}");
    }
    times.sort_by(f64::total_cmp);
    json!({ "median_ms": times[times.len() / 2], "slowest_ms": times[times.len() - 1] })
}
