//! Names that a backup brings to this computer.

use std::collections::HashMap;

use cabled_mobilebackup::archive::names::{Convention, DecodeError, NameScan, decode};
use cabled_mobilebackup::archive::{FileId, Kind};

/// A backup's names, one row a line, domain and path parted by a tab: every mapping stays inside, tells rows apart even
/// to a system that ignores case, and reads back.
pub fn export_names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let rows: Vec<(&str, &str)> = text
        .split('\n')
        .take(200)
        .map(|row| row.split_once('\t').unwrap_or(("D", row)))
        .collect();
    for convention in [Convention::Unix, Convention::MacOs, Convention::Windows] {
        let mut scan = NameScan::new(convention);
        for (domain, path) in &rows {
            scan.see_path(domain, path, Kind::File);
        }
        let names = scan.finish();
        let mut taken: HashMap<String, (&str, &str)> = HashMap::new();
        for (domain, path) in &rows {
            let mapped = names.path_of_file(domain, path, &FileId::of(domain, path));
            check(mapped.as_str(), convention);
            // Lower case alone is less than systems fold, and needs no table of ours to be right.
            let folded = match convention.folds() {
                true => mapped.as_str().to_lowercase(),
                false => mapped.to_string(),
            };
            if let Some(other) = taken.insert(folded, (domain, path)) {
                assert_eq!(other, (*domain, *path), "two rows got {mapped}");
            }
            match decode(mapped.as_str()) {
                Ok(back) => assert_eq!((&*back.0, &*back.1), (*domain, *path)),
                Err(error) => assert_eq!(error, DecodeError::Shortened, "{mapped}"),
            }
            // Names of ours are names as well: they are mapped once more and come back the same.
            let again = names.path_of("D", mapped.as_str());
            if let Ok((_, path)) = decode(again.as_str()) {
                assert_eq!(path, mapped.as_str());
            }
        }
    }
    let _ = decode(&text);
}

fn check(mapped: &str, convention: Convention) {
    for part in mapped.split('/') {
        assert!(!matches!(part, "" | "." | "..") && part.len() <= 255, "{mapped:?}");
        assert!(!part.contains(char::is_control), "{mapped:?}");
        if convention == Convention::Windows {
            assert!(!part.contains(['<', '>', ':', '"', '\\', '|', '?', '*']), "{mapped:?}");
            assert!(!part.ends_with(['.', ' ']), "{mapped:?}");
            let stem = part.split('.').next().unwrap_or_default().trim_end();
            for device in ["con", "prn", "aux", "nul", "com1", "lpt9"] {
                assert!(!stem.eq_ignore_ascii_case(device), "{mapped:?}");
            }
        }
    }
    assert!(!mapped.eq_ignore_ascii_case("manifest.jsonl"));
}
