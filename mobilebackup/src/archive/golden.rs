//! Known answers for the tests of this module.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::Value;

/// Where the golden bytes of the repository are.
pub(crate) fn folder() -> PathBuf {
    cabled_golden::path("backup")
}

/// All of `vectors.json`.
pub(crate) fn vectors() -> &'static Value {
    static VECTORS: OnceLock<Value> = OnceLock::new();
    VECTORS.get_or_init(|| cabled_golden::json("backup/vectors.json"))
}

/// What a synthetic backup holds.
pub(crate) fn expect(backup: &str) -> Value {
    cabled_golden::json(&format!("backup/synthetic/{backup}.expect.json"))
}

/// Rows of a real index, at least one for every shape of record. Their licence keeps them out of this repository: `None`
/// where they do not lie beside it.
pub(crate) fn rows_of_a_real_device() -> Option<Vec<Value>> {
    let beside = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/fixtures/backup/mvt-excerpt/files-rows.json"
    );
    let rows = std::fs::read(beside).ok()?;
    let rows: Vec<Value> = serde_json::from_slice(&rows).unwrap();
    assert_eq!(rows.len(), 33);
    Some(rows)
}

/// A value in hexadecimal digits.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// A value in hexadecimal digits, or `null`.
pub(crate) fn opt_bytes(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(|digits| hex::decode(digits).unwrap())
}

/// A copy of a backup that a test may damage.
pub(crate) fn copy_of(backup: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_dir(&folder().join(backup), to.path());
    to
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// A copy of a backup with changed plists.
pub(crate) fn with_manifest(
    backup: &str,
    change: impl FnOnce(&mut cabled_wire::plist::Dictionary),
) -> tempfile::TempDir {
    let folder = copy_of(backup);
    let path = folder.path().join("Manifest.plist");
    let mut manifest = crate::archive::plists::Manifest::parse(&std::fs::read(&path).unwrap())
        .unwrap()
        .into_dictionary();
    change(&mut manifest);
    std::fs::write(&path, cabled_wire::plist::to_binary(&manifest.into())).unwrap();
    folder
}

/// A copy of a plain backup whose index was changed by `sql`.
pub(crate) fn with_index(sql: &str) -> tempfile::TempDir {
    let folder = copy_of("synthetic/plain-v10");
    let db = rusqlite::Connection::open(folder.path().join("Manifest.db")).unwrap();
    db.pragma_update(None, "journal_mode", "delete").unwrap();
    db.execute_batch(sql).unwrap();
    folder
}

/// An entry as a flat index would have it, with no more than this.
pub(crate) fn entry(domain: &str, path: &str, kind: crate::archive::Kind, size: u64) -> crate::archive::FileEntry {
    use crate::archive::Kind;
    let record = crate::archive::mbdb::MbdbRecord {
        domain: domain.into(),
        path: path.into(),
        size,
        mode: match kind {
            Kind::File => 0o100_644,
            Kind::Directory => 0o040_755,
            Kind::Symlink => 0o120_755,
            Kind::Unknown => 0,
        },
        ..crate::archive::mbdb::MbdbRecord::default()
    };
    crate::archive::FileEntry::from_mbdb(record).unwrap()
}
