//! A change changes what it says and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cabled_wire::plist::Value;
use proptest::prelude::*;

use super::*;
use crate::archive::build::{BuildError, BuildOptions, Builder, Details, DigestMode};
use crate::archive::entry::Kind;
use crate::archive::verify::{Level, Report, VerifyOptions};
use crate::archive::{Archive, ArchiveError, FileEntry, FileId, Layout, Progress, Protection, Silent, golden};

const LAYOUTS: [Layout; 2] = [Layout::Current, Layout::Flat];

fn quick() -> ChangeOptions {
    ChangeOptions::default().rounds(3, 2).insecure_test_seed(5)
}

/// A backup with a bit of everything.
fn build(folder: &Path, layout: Layout, password: Option<&str>) -> PathBuf {
    let mut options = BuildOptions::default().layout(layout).rounds(3, 2).older_index(true);
    options = options.insecure_test_seed(3);
    if let Some(password) = password {
        options = options.encrypted(password);
    }
    let mut builder = Builder::create(folder, options).unwrap();
    let details = Details::default();
    let all = details
        .clone()
        .attribute("com.example.x", [1, 2])
        .protection_class(2)
        .mode(0o600);
    builder
        .file("HomeDomain", "Library/a.plist", &[1; 100][..], &all)
        .unwrap();
    builder
        .file("HomeDomain", "Library/b.bin", &[2; 64][..], &details)
        .unwrap();
    builder
        .file("CameraRollDomain", "Media/DCIM/1.jpg", &[3; 300_000][..], &details)
        .unwrap();
    builder
        .file("CameraRollDomain", "Media/empty", &[][..], &details)
        .unwrap();
    builder
        .file(
            "AppDomain-x",
            "live.db",
            &[4; 8192][..],
            &details.clone().recorded_size(4096),
        )
        .unwrap();
    builder
        .symlink("HomeDomain", "Library/link", "/var/x", &details)
        .unwrap();
    builder.finish().unwrap().folder
}

fn open(folder: &Path, password: &str) -> Archive {
    let mut archive = Archive::open(folder).unwrap();
    if archive.is_locked() {
        archive.unlock(password).unwrap();
    }
    archive
}

fn contents(archive: &Archive, entry: &FileEntry) -> Vec<u8> {
    let mut out = Vec::new();
    archive.read(entry).unwrap().read_to_end(&mut out).unwrap();
    out
}

/// Entries and contents by domain and path.
type Everything = BTreeMap<(String, String), (FileEntry, Option<Vec<u8>>)>;

/// Everything that a reader sees, but for keys and digests.
fn everything(archive: &Archive) -> Everything {
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let seen = entries.map(|mut entry| {
        let content = (entry.kind == Kind::File).then(|| contents(archive, &entry));
        entry.encryption_key = None;
        entry.digest = entry.digest.map(|_| [0; 20]);
        ((entry.domain.to_string(), entry.path.to_string()), (entry, content))
    });
    seen.collect()
}

fn checked(archive: &Archive) -> Report {
    let options = VerifyOptions::default().level(Level::Content);
    archive.verify(&options, &mut Silent).unwrap()
}

fn assert_sound(archive: &Archive) {
    let report = checked(archive);
    assert!(report.is_sound(), "{report:?}");
    assert!(report.backup.is_empty());
    let odd = report.notes.counts.keys().filter(|name| !name.contains("size"));
    assert_eq!(odd.count(), 0, "{:?}", report.notes);
}

fn bytes_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(
                bytes_of(&path)
                    .into_iter()
                    .map(|(name, bytes)| (path.join(name), bytes)),
            );
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    let strip = |(path, bytes): (PathBuf, _)| (path.strip_prefix(folder).map_or(path.clone(), Path::to_owned), bytes);
    files.into_iter().map(strip).collect()
}

#[test]
fn another_password_opens_the_same_files_and_the_old_one_does_not() {
    for layout in LAYOUTS {
        let root = tempfile::tempdir().unwrap();
        let original = build(&root.path().join("a"), layout, Some("old"));
        let before = bytes_of(&original);
        let archive = open(&original, "old");
        let target = root.path().join("b");
        let changed = change_password_untested_on_devices(&archive, &target, "new", &quick(), &mut Silent).unwrap();
        assert_eq!(
            (changed.written, changed.copied, changed.rows),
            (0, 5, RowChanges::default())
        );
        assert_eq!(bytes_of(&original), before, "the original is untouched");

        let mut new = Archive::open(&target).unwrap();
        assert!(matches!(new.unlock("old"), Err(ArchiveError::WrongPassword)));
        new.unlock("new").unwrap();
        assert_sound(&new);
        assert_eq!(everything(&new), everything(&archive));
        let after = bytes_of(&target);
        let differing: Vec<_> = before
            .keys()
            .filter(|name| after.get(*name) != before.get(*name))
            .collect();
        assert_eq!(differing, [Path::new("Manifest.plist")], "not a byte elsewhere");
        let bags = [&archive, &new].map(|archive| archive.keybag().unwrap().encode());
        assert_eq!(bags[0].len(), bags[1].len());
        let salts = bags.map(|bag| bag[bag.windows(4).position(|tag| tag == b"SALT").unwrap()..][..28].to_vec());
        assert_ne!(salts[0], salts[1]);
        let mut again = Archive::open(&target).unwrap();
        again.unlock_with_key(&changed.key.unwrap(), &mut Silent).unwrap();
    }
}

#[test]
fn a_password_is_removed_and_set_again_with_the_same_contents() {
    for layout in LAYOUTS {
        let root = tempfile::tempdir().unwrap();
        let original = build(&root.path().join("a"), layout, Some("old"));
        let archive = open(&original, "old");
        let (plain, again) = (root.path().join("b"), root.path().join("c"));
        let removed = remove_password_untested_on_devices(&archive, &plain, &quick(), &mut Silent).unwrap();
        assert_eq!((removed.written, removed.rows.changed), (5, 5));
        let plain = Archive::open(&plain).unwrap();
        assert_eq!((plain.protection(), plain.is_locked()), (Protection::Plain, false));
        assert_sound(&plain);
        assert_eq!(everything(&plain), everything(&archive));
        let entries: Vec<_> = plain.entries().unwrap().map(Result::unwrap).collect();
        assert!(entries.iter().all(|entry| entry.encryption_key.is_none()));
        assert!(entries.iter().any(|entry| entry.digest.is_some()));

        let set = set_password_untested_on_devices(&plain, &again, "next", &quick(), &mut Silent).unwrap();
        assert_eq!((set.written, set.rows.changed), (5, 5));
        let mut again = Archive::open(&again).unwrap();
        assert!(matches!(again.unlock("old"), Err(ArchiveError::WrongPassword)));
        again.unlock("next").unwrap();
        assert_eq!(again.keybag().unwrap().has_first_stage(), layout == Layout::Current);
        assert_sound(&again);
        assert_eq!(everything(&again), everything(&archive));
        // Keys of keychain items are those of the beginning, through both changes.
        for class in [1, 4, 6, 8] {
            let key = |archive: &Archive| archive.class_keys().unwrap().key(class).unwrap().clone();
            assert_eq!(key(&again), key(&archive));
        }
    }
}

#[test]
fn a_plain_backup_without_a_keybag_gets_one() {
    let folder = golden::with_manifest("synthetic/plain-v10", |manifest| drop(manifest.remove("BackupKeyBag")));
    fs::remove_file(folder.path().join("80/803a33244c4d97f8466d5c02fb59bf6e8a9577fb")).ok();
    let archive = Archive::open(folder.path()).unwrap();
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("b");
    set_password_untested_on_devices(&archive, &target, "p", &quick(), &mut Silent).unwrap();
    let new = open(&target, "p");
    assert_eq!(new.keybag().unwrap().encode().len(), 1388);
    assert_eq!(everything_readable(&new), everything_readable(&archive));
}

/// Contents of every file that has any; what is damaged from the start is not.
fn everything_readable(archive: &Archive) -> BTreeMap<FileId, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap().map(Result::unwrap) {
        let Ok(mut reader) = archive.read(&entry) else { continue };
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap();
        found.insert(entry.file_id, out);
    }
    found
}

#[test]
fn entries_are_added_replaced_and_removed() {
    for (layout, password) in LAYOUTS
        .into_iter()
        .flat_map(|layout| [(layout, None), (layout, Some("p"))])
    {
        let root = tempfile::tempdir().unwrap();
        let original = build(&root.path().join("a"), layout, password);
        let before = bytes_of(&original);
        let archive = open(&original, "p");
        let mut change = Change::begin(&archive, root.path().join("b"), &quick()).unwrap();
        let details = Details::default();
        change
            .put("HomeDomain", "Library/a.plist", &b"replaced"[..], &details)
            .unwrap();
        change
            .put(
                "HomeDomain",
                "New/deep/er.txt",
                &b"added"[..],
                &details.clone().protection_class(1),
            )
            .unwrap();
        change
            .put("HomeDomain", "New/deep/er.txt", &b"added twice"[..], &details)
            .unwrap();
        change.symlink("HomeDomain", "New/link", "/x", &details).unwrap();
        assert_eq!(change.remove("CameraRollDomain", "Media/DCIM").unwrap(), 2);
        assert!(matches!(
            change.remove("CameraRollDomain", "Media/DCIM"),
            Err(ChangeError::NoSuchEntry { .. })
        ));
        assert!(matches!(
            change.put("HomeDomain", "Library", &b""[..], &details),
            Err(ChangeError::NotAFile {
                kind: Kind::Directory,
                ..
            })
        ));
        assert!(matches!(
            change.put("HomeDomain", "Library/b.bin", &b""[..], &details.clone().modified(-1)),
            Err(ChangeError::Build(BuildError::Range { .. }))
        ));
        assert!(!root.path().join("b").exists());
        let changed = change.finish(&mut Silent).unwrap();
        assert_eq!(
            (changed.rows.added, changed.rows.changed, changed.rows.removed),
            (4, 2, 2)
        );
        assert_eq!(bytes_of(&original), before, "the original is untouched");

        let new = open(&changed.folder, "p");
        assert_sound(&new);
        let (old, seen) = (everything(&archive), everything(&new));
        let at = |path: &str| ("HomeDomain".to_owned(), path.to_owned());
        let (entry, content) = &seen[&at("Library/a.plist")];
        assert_eq!(content.as_deref(), Some(&b"replaced"[..]));
        let (old_entry, _) = &old[&at("Library/a.plist")];
        assert_eq!((entry.size, entry.mode, entry.protection_class), (8, 0o100_600, 2));
        assert_eq!(entry.attributes().unwrap(), old_entry.attributes().unwrap());
        assert_eq!((entry.created, entry.inode), (old_entry.created, old_entry.inode));
        assert!(entry.modified > old_entry.modified && entry.digest.is_some());
        let (entry, content) = &seen[&at("New/deep/er.txt")];
        assert_eq!(
            (content.as_deref(), entry.protection_class),
            (Some(&b"added twice"[..]), 1)
        );
        assert_eq!(seen[&at("New/deep")].0.kind, Kind::Directory);
        assert!(!seen.contains_key(&("CameraRollDomain".to_owned(), "Media/DCIM/1.jpg".to_owned())));
        let named = ["Library/a.plist", "New", "New/deep", "New/deep/er.txt", "New/link"].map(at);
        let rest = |all: BTreeMap<(String, String), _>| {
            let kept = all.into_iter().filter(|((domain, path), _)| {
                !named.contains(&(domain.clone(), path.clone())) && !path.starts_with("Media/DCIM")
            });
            kept.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(rest(seen), rest(old), "nothing else changed");
        let orphan = FileId::of("CameraRollDomain", "Media/DCIM/1.jpg").to_string();
        assert!(!bytes_of(&changed.folder).keys().any(|path| path.ends_with(&orphan)));
    }
}

#[test]
fn what_is_removed_leaves_no_name_in_the_index() {
    let root = tempfile::tempdir().unwrap();
    let original = build(&root.path().join("a"), Layout::Current, None);
    let archive = open(&original, "");
    let mut change = Change::begin(&archive, root.path().join("b"), &quick()).unwrap();
    change.remove("AppDomain-x", "").unwrap();
    let changed = change.finish(&mut Silent).unwrap();
    let index = fs::read(changed.folder.join("Manifest.db")).unwrap();
    assert!(!index.windows(11).any(|part| part == b"AppDomain-x"));
    assert_eq!(index[18..20], [2, 2]);
}

#[test]
fn unknown_keys_tables_properties_and_rows_stay() {
    let folder = golden::with_index(
        "CREATE TABLE Novelty (x); INSERT INTO Novelty VALUES ('kept'); \
         INSERT INTO Properties VALUES ('p', x'0102'); \
         INSERT INTO Files VALUES ('odd', NULL, NULL, 16, NULL); \
         CREATE TRIGGER evil AFTER UPDATE ON Files BEGIN DELETE FROM Properties; END;",
    );
    let path = folder.path().join("Manifest.plist");
    let mut manifest = crate::archive::plists::Manifest::parse(&fs::read(&path).unwrap())
        .unwrap()
        .into_dictionary();
    manifest.insert("Novelty".into(), "kept".into());
    fs::write(&path, cabled_wire::plist::to_binary(&manifest.into())).unwrap();
    let archive = Archive::open(folder.path()).unwrap();
    let root = tempfile::tempdir().unwrap();
    let (first, second) = (root.path().join("b"), root.path().join("c"));
    set_password_untested_on_devices(&archive, &first, "p", &quick().salvage(true), &mut Silent).unwrap();
    let encrypted = open(&first, "p");
    remove_password_untested_on_devices(&encrypted, &second, &quick().salvage(true), &mut Silent).unwrap();

    let db = rusqlite::Connection::open(second.join("Manifest.db")).unwrap();
    let one = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(one("SELECT x FROM Novelty"), "kept");
    assert_eq!(one("SELECT hex(value) FROM Properties WHERE key = 'p'"), "0102");
    assert_eq!(
        one("SELECT quote(file) || flags FROM Files WHERE fileID = 'odd'"),
        "NULL16"
    );
    let new = Archive::open(&second).unwrap();
    assert_eq!(
        new.manifest().as_dictionary().get("Novelty").and_then(Value::as_string),
        Some("kept")
    );
    assert_eq!(new.info(), archive.info());
    assert_eq!(new.status(), archive.status());
    assert_eq!(everything_readable(&new), everything_readable(&archive));
}

#[test]
fn tags_of_the_keybag_that_nobody_knows_stay_where_they_are() {
    let root = tempfile::tempdir().unwrap();
    let original = build(&root.path().join("a"), Layout::Current, Some("p"));
    let path = original.join("Manifest.plist");
    let mut manifest = crate::archive::plists::Manifest::parse(&fs::read(&path).unwrap())
        .unwrap()
        .into_dictionary();
    let Some(Value::Data(bag)) = manifest.get_mut("BackupKeyBag") else {
        panic!()
    };
    let at = bag.windows(4).position(|tag| tag == b"ITER").unwrap();
    bag.splice(at..at, *b"NEWT\0\0\0\x02ok");
    bag.extend_from_slice(b"TAIL\0\0\0\x01!");
    fs::write(&path, cabled_wire::plist::to_binary(&manifest.into())).unwrap();
    let archive = open(&original, "p");
    let target = root.path().join("b");
    change_password_untested_on_devices(&archive, &target, "q", &quick(), &mut Silent).unwrap();
    let new = open(&target, "q").keybag().unwrap().encode();
    let old = archive.keybag().unwrap().encode();
    assert_eq!(new.len(), old.len());
    assert_eq!(new[at..at + 10], *b"NEWT\0\0\0\x02ok");
    assert!(new.ends_with(b"TAIL\0\0\0\x01!"));
}

#[test]
fn known_backups_with_odd_entries_survive_every_change() {
    for (name, password) in [
        ("enc-v10", Some("vector-pass-1")),
        ("enc-mbdb", Some("vector-pass-1")),
        ("plain-v10", None),
    ] {
        let archive = open(
            &golden::folder().join("synthetic").join(name),
            password.unwrap_or_default(),
        );
        let root = tempfile::tempdir().unwrap();
        let target = |name: &str| root.path().join(name);
        let expect = everything_readable(&archive);
        let whole = |_: &FileEntry| true;
        let derived = derive_experimental(&archive, target("derived"), &mut { whole }, &quick(), &mut Silent).unwrap();
        let derived = open(&derived.folder, password.unwrap_or_default());
        assert_eq!(everything_readable(&derived), expect, "{name}");
        assert_eq!(checked(&derived).damage.counts, checked(&archive).damage.counts);
        match password {
            Some(_) => {
                let new = target("changed");
                change_password_untested_on_devices(&archive, &new, "n", &quick(), &mut Silent).unwrap();
                assert_eq!(everything_readable(&open(&new, "n")), expect, "{name}");
                // One file is cut off: that stops, unless the loss is asked for.
                let refused = remove_password_untested_on_devices(&archive, target("no"), &quick(), &mut Silent);
                assert!(matches!(refused, Err(ChangeError::Payload { .. })), "{name}");
                let plain = target("plain");
                let options = quick().salvage(true);
                let removed = remove_password_untested_on_devices(&archive, &plain, &options, &mut Silent).unwrap();
                assert_eq!(removed.lost.len(), 1, "{name}");
                let readable = everything_readable(&Archive::open(&plain).unwrap());
                let missing: Vec<_> = expect
                    .iter()
                    .filter(|(id, content)| readable.get(id) != Some(content))
                    .collect();
                assert!(missing.is_empty(), "{name}");
            }
            None => {
                let new = target("set");
                set_password_untested_on_devices(&archive, &new, "n", &quick(), &mut Silent).unwrap();
                assert_eq!(everything_readable(&open(&new, "n")), expect, "{name}");
            }
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().filter(hidden).count(), 0);
    }
}

fn hidden(entry: &io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')
}

#[test]
fn a_smaller_backup_has_what_was_chosen_with_its_parents_and_no_trace_of_the_rest() {
    for (layout, password) in LAYOUTS
        .into_iter()
        .flat_map(|layout| [(layout, None), (layout, Some("p"))])
    {
        let root = tempfile::tempdir().unwrap();
        let archive = open(&build(&root.path().join("a"), layout, password), "p");
        let mut photos = |entry: &FileEntry| &*entry.path == "Media/DCIM/1.jpg";
        let options = quick().transfer(Transfer::HardLink);
        let small = derive_experimental(&archive, root.path().join("b"), &mut photos, &options, &mut Silent).unwrap();
        assert_eq!((small.linked, small.copied, small.rows.removed), (1, 0, 8));
        let new = open(&small.folder, "p");
        assert_sound(&new);
        let paths: Vec<String> = everything(&new).into_keys().map(|(_, path)| path).collect();
        assert_eq!(paths, ["", "Media", "Media/DCIM", "Media/DCIM/1.jpg"]);
        let kept: Vec<_> = everything(&new).into_values().collect();
        let old = everything(&archive);
        assert!(kept.iter().all(|(entry, content)| {
            old[&(entry.domain.to_string(), entry.path.to_string())] == (entry.clone(), content.clone())
        }));
    }
}

#[test]
fn a_stop_anywhere_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let archive = open(&build(&root.path().join("a"), Layout::Current, Some("p")), "p");
    let target = root.path().join("b");
    let mut calls = 0;
    for stop_at in 0.. {
        let mut seen = 0;
        let mut observer = |_: &Progress| {
            seen += 1;
            if seen > stop_at {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        match remove_password_untested_on_devices(&archive, &target, &quick(), &mut observer) {
            Ok(_) => break,
            Err(ChangeError::Cancelled) => calls += 1,
            Err(other) => panic!("{other}"),
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "stopped at {stop_at}");
    }
    assert!(calls > 10, "{calls}");
    assert!(Archive::open(&target).is_ok());
}

#[test]
fn what_must_not_be_changed_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("b");
    let plain = open(&build(&root.path().join("a"), Layout::Current, None), "");
    let change =
        |archive: &Archive| change_password_untested_on_devices(archive, &target, "n", &quick(), &mut Silent).map(drop);
    assert!(matches!(
        change(&plain),
        Err(ChangeError::Password {
            protection: Protection::Plain
        })
    ));
    let empty = set_password_untested_on_devices(&plain, &target, "", &quick(), &mut Silent);
    assert!(matches!(empty, Err(ChangeError::EmptyPassword)));
    let inside = Change::begin(&plain, root.path().join("a/inside"), &quick());
    assert!(matches!(inside, Err(ChangeError::Inside { .. })));
    let existing = Change::begin(&plain, root.path().join("a"), &quick());
    assert!(matches!(existing, Err(ChangeError::Build(_))));

    let locked = Archive::open(build(&root.path().join("c"), Layout::Current, Some("p"))).unwrap();
    assert!(matches!(
        change(&locked),
        Err(ChangeError::Archive(ArchiveError::Locked))
    ));
    fs::create_dir(root.path().join("c/Snapshot")).unwrap();
    let cut = open(&root.path().join("c"), "p");
    assert!(matches!(change(&cut), Err(ChangeError::Incomplete)));
    assert!(!target.exists());
}

#[test]
fn damage_that_a_change_would_add_is_found_before_the_folder_has_its_name() {
    let root = tempfile::tempdir().unwrap();
    let original = build(&root.path().join("a"), Layout::Current, Some("p"));
    let archive = open(&original, "p");
    let change = Change::begin(&archive, root.path().join("b"), &quick()).unwrap();
    // A payload vanishes from the original while it is copied.
    let id = FileId::of("HomeDomain", "Library/b.bin");
    fs::remove_file(original.join(id.folder()).join(id.to_string())).unwrap();
    let changed = change.finish(&mut Silent).unwrap();
    assert_eq!(
        (changed.missing, changed.report.damage.count("missing_payload")),
        (1, 1)
    );
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _out: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("cable pulled"))
    }
}

#[test]
fn contents_that_cannot_be_read_leave_the_file_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let archive = open(&build(&root.path().join("a"), Layout::Current, Some("p")), "p");
    let mut change = Change::begin(&archive, root.path().join("b"), &quick()).unwrap();
    let details = Details::default().digest(DigestMode::Always);
    assert!(change.put("HomeDomain", "Library/b.bin", Failing, &details).is_err());
    assert!(change.put("HomeDomain", "Library/new", Failing, &details).is_err());
    let changed = change.finish(&mut Silent).unwrap();
    let new = open(&changed.folder, "p");
    assert_sound(&new);
    assert_eq!(everything(&new), everything(&archive));
}

fn trees() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
    let path = prop_oneof!["[a-c]/[a-c]", "[a-c]{1,2}/[a-c]/[a-c]", ".{1,5}"];
    let content = (any::<u8>(), prop_oneof![0..40_usize, Just(48_usize)]).prop_map(|(byte, len)| vec![byte; len]);
    proptest::collection::btree_map(path, content, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_sequence_of_changes_gives_what_it_says(before in trees(), puts in trees(), removed in 0..8_usize) {
        for (layout, password) in LAYOUTS.into_iter().flat_map(|layout| [(layout, None), (layout, Some("p"))]) {
            let root = tempfile::tempdir().unwrap();
            let mut options = BuildOptions::default().layout(layout).rounds(1, 1);
            if let Some(password) = password {
                options = options.encrypted(password);
            }
            let mut builder = Builder::create(root.path().join("a"), options).unwrap();
            let mut expect = BTreeMap::new();
            for (path, content) in &before {
                if builder.file("D", path, content.as_slice(), &Details::default()).is_ok() {
                    expect.insert(path.clone(), content.clone());
                }
            }
            let archive = open(&builder.finish().unwrap().folder, "p");
            let mut change = Change::begin(&archive, root.path().join("b"), &quick()).unwrap();
            for (path, content) in &puts {
                // Directories stay directories.
                if change.put("D", path, content.as_slice(), &Details::default()).is_ok() {
                    expect.insert(path.clone(), content.clone());
                }
            }
            if let Some(path) = expect.keys().nth(removed).cloned() {
                change.remove("D", &path).unwrap();
                let below = format!("{path}/");
                expect.retain(|other, _| *other != path && !other.starts_with(&below));
            }
            let changed = change.finish(&mut Silent).unwrap();
            let new = open(&changed.folder, "p");
            prop_assert!(checked(&new).is_sound());
            let found = everything(&new).into_iter().filter_map(|((_, path), (_, content))| Some((path, content?)));
            prop_assert_eq!(found.collect::<BTreeMap<_, _>>(), expect);
        }
    }
}
