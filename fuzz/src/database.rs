//! SQLite databases of backups: read page by page, with a log, and as an index.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};

use cabled_mobilebackup::archive::sqlite::pages::PageReader;
use cabled_mobilebackup::archive::sqlite::rusqlite::Connection;
use cabled_mobilebackup::archive::sqlite::{Image, Wal};
use cabled_mobilebackup::archive::verify::{Level, VerifyOptions};
use cabled_mobilebackup::archive::{OpenOptions, Row, Silent};

use crate::script::Script;

/// Most bytes of a database that SQLite is asked about.
const MAX_DATABASE: usize = 256 << 10;

/// A database read page by page: as many rows in every table as SQLite sees, wherever SQLite finds it sound.
pub fn sqlite_pages(data: &[u8]) {
    let Ok(mut reader) = PageReader::open(Cursor::new(data)) else {
        return;
    };
    let pages = reader.pages();
    assert!(u64::from(pages) * u64::from(reader.header().page_size) <= data.len() as u64);
    for page in 0..pages.min(100) {
        if let Ok(Some(cells)) = reader.leaf(page) {
            assert!(cells.len() * 2 <= 65_536, "a cell has a pointer of two bytes");
        }
    }
    let free = reader.free_pages().expect("a read in memory");
    assert!(free.len() <= pages as usize + 1);
    let Ok(schema) = reader.schema() else { return };
    let counts = counted_by_sqlite(data);
    for entry in schema.iter().filter(|entry| entry.kind == "table" && entry.root > 0) {
        let Ok(rows) = reader.rows(entry.root) else { continue };
        let found = rows.take(1 << 20).count() as u64;
        let of_rows = entry
            .sql
            .as_ref()
            .is_some_and(|sql| !sql.to_ascii_uppercase().contains("ROWID"));
        if let Some(expect) = counts.get(&entry.name).filter(|_| of_rows) {
            assert_eq!(found, *expect, "rows of {:?}", entry.name);
        }
    }
}

/// How many rows SQLite sees in each table; none if it finds anything wrong.
fn counted_by_sqlite(data: &[u8]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    if data.len() > MAX_DATABASE {
        return counts;
    }
    let mut bytes = data.to_vec();
    for version in &mut bytes[18..20] {
        *version = 1;
    }
    let Ok(mut db) = Connection::open_in_memory() else {
        return counts;
    };
    if db
        .deserialize_read_exact("main", &bytes[..], bytes.len(), true)
        .is_err()
    {
        return counts;
    }
    let sound = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
    if sound.as_deref() != Ok("ok") {
        return counts;
    }
    let Ok(mut names) = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0") else {
        return counts;
    };
    let Ok(names) = names.query_map([], |row| row.get::<_, String>(0)) else {
        return counts;
    };
    for name in names.flatten() {
        let sql = format!("SELECT count(*) FROM \"{}\" NOT INDEXED", name.replace('"', "\"\""));
        if let Ok(count) = db.query_row(&sql, [], |row| row.get::<_, u64>(0)) {
            counts.insert(name, count);
        }
    }
    counts
}

/// The running checksum of a log, written down a second time: over numbers, not bytes.
fn checksum(big_endian: bool, start: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    let mut numbers = bytes.chunks_exact(4).map(|number| {
        let number = [number[0], number[1], number[2], number[3]];
        if big_endian {
            u32::from_be_bytes(number)
        } else {
            u32::from_le_bytes(number)
        }
    });
    let mut sum = start;
    while let (Some(first), Some(second)) = (numbers.next(), numbers.next()) {
        sum[0] = sum[0].wrapping_add(first.wrapping_add(sum[1]));
        sum[1] = sum[1].wrapping_add(second.wrapping_add(sum[0]));
    }
    sum
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A write-ahead log, with its checksums made right up to some frame, against a second reading of the same rules.
pub fn sqlite_wal(data: &[u8]) {
    let mut script = Script::new(data);
    let (mode, repaired) = (script.byte(), usize::from(script.byte() % 16));
    let mut log = script.rest().to_vec();
    let page_size = 512_usize << (mode >> 1 & 1);
    let frame = page_size + 24;
    if mode & 1 == 0 && log.len() >= 32 {
        let magic = 0x377f_0682_u32 + u32::from(mode >> 2 & 1);
        log[..4].copy_from_slice(&magic.to_be_bytes());
        log[4..8].copy_from_slice(&3_007_000_u32.to_be_bytes());
        log[8..12].copy_from_slice(&u32::try_from(page_size).expect("small").to_be_bytes());
        let big_endian = magic & 1 == 1;
        let mut sum = checksum(big_endian, [0; 2], &log[..24]);
        log[24..28].copy_from_slice(&sum[0].to_be_bytes());
        log[28..32].copy_from_slice(&sum[1].to_be_bytes());
        let salts: [u8; 8] = log[16..24].try_into().expect("eight bytes");
        for frame in log[32..].chunks_exact_mut(frame).take(repaired) {
            frame[8..16].copy_from_slice(&salts);
            // Pages that a small database may have.
            let page = u32::from(frame[3] % 8) + 1;
            let commit = u32::from(frame[7] % 10);
            frame[..4].copy_from_slice(&page.to_be_bytes());
            frame[4..8].copy_from_slice(&commit.to_be_bytes());
            sum = checksum(big_endian, sum, &frame[..8]);
            sum = checksum(big_endian, sum, &frame[24..]);
            frame[16..20].copy_from_slice(&sum[0].to_be_bytes());
            frame[20..24].copy_from_slice(&sum[1].to_be_bytes());
        }
    }
    let wal = Wal::read(&mut Cursor::new(&log)).expect("a read in memory");
    let expect = reference(&log);
    let found = wal.overlay.as_ref().map(|overlay| {
        let pages: BTreeMap<u32, u64> = (1..=overlay.database_pages().min(1 << 16))
            .filter_map(|page| Some((page, overlay.offset_of(page)?)))
            .collect();
        (overlay.database_pages(), pages)
    });
    assert_eq!(found, expect);
    let Some(overlay) = wal.overlay else { return };
    let base = vec![0x77; 3 * usize::try_from(overlay.page_size()).expect("small")];
    let Ok(mut image) = Image::new(Cursor::new(base), Some((Cursor::new(log), overlay))) else {
        return;
    };
    if image.len() <= 1 << 24 {
        let mut all = Vec::new();
        image.read_to_end(&mut all).expect("every page is somewhere");
        assert_eq!(all.len() as u64, image.len());
    }
}

/// Pages of the database after the last commit, and where the newest copy of each lies.
fn reference(log: &[u8]) -> Option<(u32, BTreeMap<u32, u64>)> {
    if log.len() < 32 || number(log, 0) & !1 != 0x377f_0682 || number(log, 4) != 3_007_000 {
        return None;
    }
    let big_endian = number(log, 0) & 1 == 1;
    let page_size = usize::try_from(number(log, 8)).ok()?;
    if !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
        return None;
    }
    let mut sum = checksum(big_endian, [0; 2], &log[..24]);
    if sum != [number(log, 24), number(log, 28)] {
        return None;
    }
    let frames: Vec<&[u8]> = log[32..].chunks_exact(page_size + 24).collect();
    let mut sound = Vec::new();
    for frame in frames {
        sum = checksum(big_endian, checksum(big_endian, sum, &frame[..8]), &frame[24..]);
        if frame[8..16] != log[16..24] || number(frame, 0) == 0 || sum != [number(frame, 16), number(frame, 20)] {
            break;
        }
        sound.push((number(frame, 0), number(frame, 4)));
    }
    let last = sound.iter().rposition(|(_, commit)| *commit > 0)?;
    let size = sound[last].1;
    let offset = |index: usize| 32 + 24 + (index * (page_size + 24)) as u64;
    let pages = sound[..=last]
        .iter()
        .enumerate()
        .map(|(index, (page, _))| (*page, offset(index)));
    Some((size, pages.filter(|(page, _)| *page <= size).collect()))
}

/// Bytes as the index of a plain backup: opened, listed to an end, looked up; nothing is written, and where the list
/// breaks off the check says so.
pub fn archive_open(data: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let index = folder.path().join("Manifest.db");
    fs::write(&index, data).expect("a write into a folder of our own");
    let options = OpenOptions::default().without_manifest(true);
    let Ok(archive) = options.open(folder.path()) else {
        return;
    };
    let Ok(rows) = archive.rows() else {
        assert!(
            archive.is_locked(),
            "an index that is open and not locked can be listed"
        );
        return;
    };
    let rows: Vec<_> = rows.take(100_000).collect();
    assert!(rows.len() <= data.len().max(1), "a row takes more than a byte");
    let broken = rows.iter().any(Result::is_err);
    for row in rows.iter().flatten().take(20) {
        if let Row::Entry(entry) = row {
            assert_eq!(entry.file_id.to_string().len(), 40);
            let _ = (
                archive.entry_at(&entry.domain, &entry.path),
                entry.attributes(),
                archive.read(entry),
            );
        }
    }
    let options = VerifyOptions::default().level(Level::Presence).threads(1);
    if let Ok(report) = archive.verify(&options, &mut Silent) {
        assert!(
            !broken || !report.is_sound(),
            "a list that breaks off is no sound backup"
        );
    }
    let left: Vec<_> = fs::read_dir(folder.path()).expect("our own folder").flatten().collect();
    assert!(
        left.len() == 1 && fs::read(&index).expect("our own file") == data,
        "something was written"
    );
}
