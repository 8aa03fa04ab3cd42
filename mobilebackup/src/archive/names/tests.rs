use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::fold::fold;
use super::*;
use crate::archive::{Archive, FileId, Kind, golden};

const ALL: [Convention; 3] = [Convention::Unix, Convention::MacOs, Convention::Windows];

fn scanned(convention: Convention, rows: &[(&str, &str, Kind)]) -> Names {
    let mut scan = NameScan::new(convention);
    for (domain, path, kind) in rows {
        scan.see_path(domain, path, *kind);
    }
    scan.finish()
}

/// Nothing about a mapped path leads out of the folder or to something else than a file.
fn assert_harmless(mapped: &str, convention: Convention) {
    assert!(mapped.len() <= convention.max_path() + 300, "{mapped}");
    for part in mapped.split('/') {
        assert!(!matches!(part, "" | "." | "..") && part.len() <= 255, "{mapped}");
        assert!(!part.chars().any(char::is_control), "{mapped:?}");
        if convention == Convention::Windows {
            assert!(
                !part.contains(['<', '>', ':', '"', '\\', '|', '?', '*']) && !part.ends_with(['.', ' ']),
                "{mapped}"
            );
            let stem = part
                .split('.')
                .next()
                .unwrap()
                .trim_end_matches(' ')
                .to_ascii_uppercase();
            assert!(!["AUX", "CON", "NUL", "PRN"].contains(&&*stem), "{mapped}");
            assert!(
                !(stem.len() == 4
                    && stem.get(..3).is_some_and(|port| ["COM", "LPT"].contains(&port))
                    && stem.as_bytes()[3].is_ascii_digit()),
                "{mapped}"
            );
        }
    }
    assert!(!mapped.eq_ignore_ascii_case("manifest.jsonl"));
}

#[test]
fn every_hostile_name_of_the_golden_backup_stays_inside_and_maps_back() {
    for convention in ALL {
        let archive = Archive::open(golden::folder().join("synthetic/plain-v10")).unwrap();
        let mut scan = NameScan::new(convention);
        archive.entries().unwrap().for_each(|entry| scan.see(&entry.unwrap()));
        let names = scan.finish();
        let (mut all, mut spelled) = (HashSet::new(), HashMap::new());
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let mapped = names.path_of_file(&entry.domain, &entry.path, &entry.file_id);
            assert_harmless(mapped.as_str(), convention);
            assert_eq!(
                decode(mapped.as_str()),
                Ok((entry.domain.to_string(), entry.path.to_string()))
            );
            let seen = if convention.folds() {
                fold(mapped.as_str())
            } else {
                mapped.to_string()
            };
            assert!(all.insert(seen), "{mapped}");
            spelled.insert(entry.path.to_string(), mapped.to_string());
        }
        let app = "AppDomain-com.example.app";
        assert_eq!(
            spelled["../../../../etc/evil"],
            format!("{app}/%2E%2E/%2E%2E/%2E%2E/%2E%2E/etc/evil")
        );
        let (aux, odd, note) = match convention {
            Convention::Windows => ("%41UX", "a%3Ab%2Ac%3F.txt", "%4Eote.txt"),
            Convention::MacOs => ("AUX", "a:b*c?.txt", "%4Eote.txt"),
            Convention::Unix => ("AUX", "a:b*c?.txt", "Note.txt"),
        };
        assert_eq!(spelled["Documents/AUX"], format!("{app}/Documents/{aux}"));
        assert_eq!(spelled["Documents/a:b*c?.txt"], format!("{app}/Documents/{odd}"));
        assert_eq!(spelled["Documents/Note.txt"], format!("{app}/Documents/{note}"));
        assert_eq!(spelled["Documents/note.txt"], format!("{app}/Documents/note.txt"));
        assert_eq!(names.clashes(), if convention.folds() { 2 } else { 0 });
    }
}

#[test]
fn names_that_mean_something_else_are_guarded() {
    let names = Names::new(Convention::Windows);
    for (name, spelled) in [
        ("con", "%63on"),
        ("COM1.txt", "%43OM1.txt"),
        ("lpt\u{b9}.a.b", "%6Cpt\u{b9}.a.b"),
        ("nul .x", "%6Eul .x"),
        ("CONIN$", "%43ONIN$"),
        ("comb", "comb"),
        ("console", "console"),
        ("PROGRA~1", "%50ROGRA~1"),
        ("a~1.txt", "%61~1.txt"),
        ("backup~", "backup~"),
        ("x...", "x..%2E"),
        ("x ", "x%20"),
        ("100%", "100%25"),
        ("\u{1b}[2J", "%1B[2J"),
        ("a\\b", "a%5Cb"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("...", "..%2E"),
        ("\u{85}", "%C2%85"),
    ] {
        assert_eq!(names.path_of("D", name).as_str(), format!("D/{spelled}"));
    }
    for (path, spelled) in [("", "D"), ("/", "D/%_/%_"), ("/a", "D/%_/a"), ("a//b/", "D/a/%_/b/%_")] {
        assert_eq!(names.path_of("D", path).as_str(), spelled);
        assert_eq!(decode(spelled).unwrap(), ("D".to_owned(), path.to_owned()));
    }
    assert_eq!(names.path_of("../a/b", "").as_str(), "..%2Fa%2Fb");
    assert_eq!(names.path_of("", "").as_str(), "%_");
    assert_eq!(names.path_of("Manifest.jsonl", "").as_str(), "%4Danifest.jsonl");
}

#[test]
fn long_names_keep_their_ends_and_stay_apart() {
    let names = Names::new(Convention::Unix);
    let long = |end: char| format!("{}{end}.jpeg", "\u{e9}".repeat(300));
    let (a, b) = (names.path_of("D", &long('a')), names.path_of("D", &long('b')));
    assert_ne!(a, b);
    let (_, name) = a.split();
    assert!(
        name.len() <= 255 && name.starts_with("\u{e9}\u{e9}") && name.ends_with(".jpeg"),
        "{name}"
    );
    assert_eq!(decode(a.as_str()), Err(DecodeError::Shortened));
    // Escapes make a short name long; none is cut in two.
    let escaped = names.path_of("D", &"%".repeat(100));
    let stem = escaped.split().1.split("%-").next().unwrap();
    assert!(stem.len() > 200 && stem.len().is_multiple_of(3), "{stem}");
    assert_eq!(names.path_of("D", &"x".repeat(255)).split().1.len(), 255);
}

#[test]
fn paths_too_long_or_too_deep_become_one_name_in_their_domain() {
    for convention in ALL {
        let names = Names::new(convention);
        for path in [
            "a/".repeat(40_000),
            "../".repeat(2_000) + "x.txt",
            format!("{}/y.txt", "abcdefgh/".repeat(500)),
        ] {
            let mapped = names.path_of("D", &path);
            assert_eq!(mapped.as_str().split('/').count(), 2, "{mapped}");
            assert!(mapped.as_str().starts_with("D/%!"));
            assert_eq!(decode(mapped.as_str()), Err(DecodeError::Shortened));
            assert_harmless(mapped.as_str(), convention);
        }
        assert!(
            names
                .path_of("D", &format!("{}/y.txt", "abcdefgh/".repeat(500)))
                .as_str()
                .ends_with(".txt")
        );
        assert_eq!(
            names
                .path_of(&"d".repeat(5000), "x/y")
                .split()
                .0
                .split('/')
                .next()
                .unwrap()
                .len(),
            255
        );
    }
}

#[test]
fn twins_are_kept_apart_as_files_as_folders_and_as_domains() {
    let rows = [
        ("Home", "Docs/A/x", Kind::File),
        ("Home", "docs/A/x", Kind::File),
        ("home", "docs/a/X", Kind::File),
        ("Home", "docs/B", Kind::File),
        ("Home", "docs/b/c", Kind::File),
    ];
    let names = scanned(Convention::Windows, &rows);
    let mapped: Vec<_> = rows
        .iter()
        .map(|(domain, path, _)| names.path_of(domain, path).to_string())
        .collect();
    assert_eq!(
        mapped,
        [
            "%48ome/%44ocs/A/x",
            "%48ome/docs/A/x",
            "home/docs/a/X",
            "%48ome/docs/%42",
            "%48ome/docs/b/c"
        ]
    );
}

#[test]
fn a_path_that_is_a_file_and_a_folder_or_listed_twice_gets_marked() {
    let id = |n: u8| FileId::of("D", &n.to_string());
    let names = scanned(
        Convention::Unix,
        &[
            ("D", "a", Kind::File),
            ("D", "a/b", Kind::File),
            ("D", "c.txt", Kind::File),
            ("D", "c.txt", Kind::File),
            ("D", "", Kind::Directory),
            ("D", "", Kind::File),
        ],
    );
    let file = names.path_of_file("D", "a", &id(1));
    assert!(
        file.as_str().starts_with("D/a%~") && file.as_str().len() == 21,
        "{file}"
    );
    assert_eq!(names.path_of_file("D", "a/b", &id(2)).as_str(), "D/a/b");
    let (one, two) = (
        names.path_of_file("D", "c.txt", &id(1)),
        names.path_of_file("D", "c.txt", &id(2)),
    );
    assert_ne!(one, two);
    assert!(one.as_str().ends_with(".txt"));
    assert_eq!(decode(two.as_str()).unwrap(), ("D".to_owned(), "c.txt".to_owned()));
    assert!(names.path_of_file("D", "", &id(3)).as_str().starts_with("D%~"));
    assert_eq!(names.path_of("D", "").as_str(), "D");
}

#[test]
fn a_marked_name_never_grows_beyond_a_component() {
    for len in [1, 200, 237, 238, 255] {
        let long = "x".repeat(len);
        let names = scanned(Convention::Unix, &[("D", &long, Kind::File), ("D", &long, Kind::File)]);
        let path = names.path_of_file("D", &long, &FileId::of("D", "1"));
        assert!(path.split().1.len() <= 255 && path.split().1.len() > len.min(254));
        assert_eq!(decode(path.as_str()).is_ok(), len <= 237, "{path}");
    }
}

#[test]
fn what_is_not_ours_does_not_decode() {
    for text in [
        "",
        "a//b",
        ".",
        "a/..",
        "a%",
        "a%4",
        "a%zz",
        "%~12",
        "%FF",
        "a/%~gggggggggggggggg",
        "%_a",
        "a%_",
    ] {
        assert_eq!(decode(text), Err(DecodeError::NotOurs), "{text}");
    }
}

#[test]
fn a_million_sightings_of_few_folders_take_little_memory() {
    let mut scan = NameScan::new(Convention::Windows);
    for n in 0..100_000 {
        // Alternating folders: each row is a new folder to the scan.
        scan.see_path("D", &format!("{}/b/c/d/e/{}", n % 2, n / 100), Kind::File);
    }
    assert!(scan.seen.capacity() < 300_000, "{}", scan.seen.capacity());
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[aA%.~ ]{0,4}",
        "(AUX|con|Com1|a~1|\\.\\.|\u{e9}|e\u{301}|\u{c9}|ss|\u{df}|k|\u{212a}|:|\\*|\u{200d}|i|I|\u{130}){0,3}(\\.[tT])?",
        ".{0,5}",
        "[%\u{e9}]{80,130}",
        "x{250,260}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(name(), 0..4).prop_map(|parts| parts.join("/"))
}

proptest! {
    #[test]
    fn no_two_files_get_one_name_and_every_name_maps_back(rows in prop::collection::vec(("[aA]{0,1}|.{0,3}", path()), 1..40)) {
        for convention in ALL {
            let rows: Vec<_> = rows.iter().map(|(domain, path)| (&**domain, &**path, Kind::File)).collect();
            let names = scanned(convention, &rows);
            let mut spelled: HashMap<String, (&str, &str)> = HashMap::new();
            for (domain, path, _) in &rows {
                let id = FileId::of(domain, path);
                let mapped = names.path_of_file(domain, path, &id);
                assert_harmless(mapped.as_str(), convention);
                let seen = if convention.folds() { fold(mapped.as_str()) } else { mapped.to_string() };
                let other = spelled.insert(seen, (domain, path));
                prop_assert!(other.is_none_or(|other| other == (domain, path)), "{mapped}: {other:?} {domain:?} {path:?}");
                match decode(mapped.as_str()) {
                    Ok(back) => prop_assert_eq!((back.0.as_str(), back.1.as_str()), (*domain, *path)),
                    Err(e) => prop_assert!(e == DecodeError::Shortened && mapped.as_str().len() > 200, "{}", mapped),
                }
            }
        }
    }

    #[test]
    fn the_order_of_rows_changes_no_name(rows in prop::collection::vec(path(), 1..30)) {
        let forth: Vec<_> = rows.iter().map(|path| ("D", &**path, Kind::File)).collect();
        let back: Vec<_> = forth.iter().rev().copied().collect();
        let (forth, back) = (scanned(Convention::Windows, &forth), scanned(Convention::Windows, &back));
        for path in &rows {
            let id = FileId::of("D", path);
            prop_assert_eq!(forth.path_of_file("D", path, &id), back.path_of_file("D", path, &id));
        }
    }

    #[test]
    fn decoding_never_panics(text in ".{0,30}|[%~!_0-9a-f/-]{0,40}") {
        let _ = decode(&text);
    }
}
