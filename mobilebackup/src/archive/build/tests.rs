//! What is built reads back.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::archive::verify::{Level, VerifyOptions};
use crate::archive::{Archive, ArchiveError, FileEntry};

fn quick(layout: Layout, password: Option<&str>) -> BuildOptions {
    let options = BuildOptions::default()
        .layout(layout)
        .rounds(3, 2)
        .insecure_test_seed(7);
    match password {
        Some(password) => options.encrypted(password),
        None => options,
    }
}

fn every_kind() -> Vec<BuildOptions> {
    let layouts = [Layout::Current, Layout::Flat];
    let kinds = layouts.map(|layout| [quick(layout, None), quick(layout, Some("pass"))]);
    kinds.into_iter().flatten().collect()
}

fn open(folder: &Path) -> Archive {
    let mut archive = Archive::open(folder).unwrap();
    if archive.is_locked() {
        archive.unlock("pass").unwrap();
    }
    archive
}

fn contents(archive: &Archive, entry: &FileEntry) -> Vec<u8> {
    let mut out = Vec::new();
    archive.read(entry).unwrap().read_to_end(&mut out).unwrap();
    out
}

/// Nothing is damaged and nothing is odd.
fn assert_spotless(archive: &Archive) {
    let report = archive
        .verify(&VerifyOptions::default().level(Level::Content), &mut Silent)
        .unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert!(report.backup.is_empty(), "{:?}", report.backup);
    assert!(report.notes.list.is_empty(), "{:?}", report.notes.list);
}

#[test]
fn everything_that_was_put_in_comes_out_of_every_layout() {
    let root = tempfile::tempdir().unwrap();
    for (index, options) in every_kind().into_iter().enumerate() {
        let folder = root.path().join(index.to_string());
        let (layout, encrypted) = (options.layout, options.password.is_some());
        let mut builder = Builder::create(&folder, options.older_index(true)).unwrap();
        let details = Details::default()
            .mode(0o600)
            .user(-2)
            .group(25)
            .inode(77)
            .modified(1_700_000_000)
            .status_changed(1_700_000_001)
            .created(1_600_000_000)
            .protection_class(2)
            .attribute("com.example.a", [1, 2, 0xff]);
        builder
            .file("HomeDomain", "a/b/c.bin", &[7; 1000][..], &details)
            .unwrap();
        builder
            .file("AppDomain-com.example", "x", &[][..], &Details::default())
            .unwrap();
        builder
            .symlink("HomeDomain", "a/link", "/var/mobile/a", &Details::default())
            .unwrap();
        builder
            .directory("HomeDomain", "a", &Details::default().mode(0o700))
            .unwrap();
        assert!(!folder.exists(), "nothing appears before the end");
        let built = builder.finish().unwrap();
        assert_eq!(
            (built.files, built.directories, built.links, built.bytes),
            (2, 4, 1, 1000)
        );

        let archive = open(&folder);
        assert_eq!(archive.layout(), layout);
        assert!(!archive.is_incomplete());
        assert_spotless(&archive);
        let file = archive.entry_at("HomeDomain", "a/b/c.bin").unwrap().unwrap();
        assert_eq!(contents(&archive, &file), [7; 1000]);
        assert_eq!((file.mode, file.user_id, file.group_id), (0o100_600, -2, 25));
        assert_eq!((file.inode, file.size, file.protection_class), (77, 1000, 2));
        assert_eq!(file.modified, Some(1_700_000_000));
        assert_eq!(file.status_changed, Some(1_700_000_001));
        assert_eq!(file.created, Some(1_600_000_000));
        assert_eq!(file.attributes().unwrap()["com.example.a"], [1, 2, 0xff]);
        assert!(file.digest.is_some(), "a system domain");
        assert_eq!(file.encryption_key.map(|key| key.class()), encrypted.then_some(2));
        let app = archive.entry_at("AppDomain-com.example", "x").unwrap().unwrap();
        assert!(app.digest.is_none() && contents(&archive, &app).is_empty());
        let link = archive.entry_at("HomeDomain", "a/link").unwrap().unwrap();
        assert_eq!(
            (link.kind, link.link_target.as_deref()),
            (Kind::Symlink, Some("/var/mobile/a"))
        );
        let directory = archive.entry_at("HomeDomain", "a").unwrap().unwrap();
        assert_eq!((directory.kind, directory.mode), (Kind::Directory, 0o040_700));
        for (domain, path) in [("HomeDomain", ""), ("HomeDomain", "a/b"), ("AppDomain-com.example", "")] {
            assert!(archive.entry_at(domain, path).unwrap().is_some(), "{domain} {path}");
        }
        let mut again = Archive::open(&folder).unwrap();
        again.unlock_with_key(&built.key, &mut Silent).unwrap();
    }
}

#[test]
fn the_index_of_an_encrypted_backup_is_padded_and_looks_like_one_of_ios() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("b");
    let mut builder = Builder::create(&folder, quick(Layout::Current, Some("pass"))).unwrap();
    builder.file("HomeDomain", "x", &b"y"[..], &Details::default()).unwrap();
    builder.finish().unwrap();
    let stored = fs::metadata(folder.join("Manifest.db")).unwrap().len();
    assert_eq!(stored % 4096, 16);
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 5, "nothing private stays: {names:?}");

    let folder = root.path().join("plain");
    let builder = Builder::create(&folder, quick(Layout::Current, None)).unwrap();
    builder.finish().unwrap();
    let plain = fs::read(folder.join("Manifest.db")).unwrap();
    assert_eq!(plain[18..20], [2, 2], "WAL mode, as iOS leaves it");
    assert_eq!(plain[60..64], [0, 0, 0, 2], "user_version");
    assert_eq!(plain[64..68], [0, 0, 0, 1], "incremental vacuum");
}

#[test]
fn a_wrong_password_is_told_and_nothing_of_the_contents_lies_open() {
    let root = tempfile::tempdir().unwrap();
    for layout in [Layout::Current, Layout::Flat] {
        let folder = root.path().join(format!("{layout:?}"));
        let mut builder = Builder::create(&folder, quick(layout, Some("pass"))).unwrap();
        let secret = b"the treasure is under the old oak tree";
        builder
            .file("HomeDomain", "x", &secret[..], &Details::default())
            .unwrap();
        builder.finish().unwrap();
        let mut archive = Archive::open(&folder).unwrap();
        assert!(matches!(archive.unlock("Pass"), Err(ArchiveError::WrongPassword)));
        for entry in walk(&folder) {
            let bytes = fs::read(entry).unwrap();
            assert!(!bytes.windows(16).any(|part| part == &secret[..16]));
        }
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn a_seed_makes_the_same_bytes_every_time_and_none_never_does() {
    let root = tempfile::tempdir().unwrap();
    let make = |name: &str, options: BuildOptions| {
        let folder = root.path().join(name);
        let mut builder = Builder::create(&folder, options).unwrap();
        builder.file("HomeDomain", "x", &b"y"[..], &Details::default()).unwrap();
        builder.finish().unwrap();
        let files = walk(&folder).into_iter();
        let read = files.map(|path| (path.strip_prefix(&folder).unwrap().to_owned(), fs::read(&path).unwrap()));
        read.collect::<BTreeMap<_, _>>()
    };
    let seeded = || quick(Layout::Current, Some("pass"));
    assert_eq!(make("a", seeded()), make("b", seeded()));
    assert_ne!(make("c", seeded()), make("d", seeded().insecure_test_seed(8)));
    let random = || BuildOptions::default().encrypted("pass").rounds(3, 2);
    assert_ne!(make("e", random()), make("f", random()));
}

#[test]
fn a_path_is_taken_once_and_the_first_one_stays() {
    let root = tempfile::tempdir().unwrap();
    for (index, options) in every_kind().into_iter().enumerate() {
        let folder = root.path().join(index.to_string());
        let mut builder = Builder::create(&folder, options).unwrap();
        let details = Details::default();
        builder.file("D", "a/x", &b"first"[..], &details).unwrap();
        let again = builder.file("D", "a/x", &b"second"[..], &details);
        assert!(matches!(again, Err(BuildError::Duplicate { .. })));
        assert!(matches!(
            builder.directory("D", "a/x", &details),
            Err(BuildError::Duplicate { .. })
        ));
        builder.directory("D", "a", &details).unwrap();
        assert!(matches!(
            builder.directory("D", "a", &details),
            Err(BuildError::Duplicate { .. })
        ));
        assert!(matches!(
            builder.file("D", "a", &b"z"[..], &details),
            Err(BuildError::Duplicate { .. })
        ));
        let built = builder.finish().unwrap();
        assert_eq!((built.files, built.directories), (1, 2));
        let archive = open(&folder);
        assert_spotless(&archive);
        let entry = archive.entry_at("D", "a/x").unwrap().unwrap();
        assert_eq!(contents(&archive, &entry), b"first");
    }
}

/// A source that fails after some bytes.
struct Failing(u64);

impl Read for Failing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("cable pulled"));
        }
        let len = out.len().min(usize::try_from(self.0).unwrap());
        out[..len].fill(1);
        self.0 -= len as u64;
        Ok(len)
    }
}

#[test]
fn a_source_that_fails_costs_its_file_only() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("b");
    let mut builder = Builder::create(&folder, quick(Layout::Current, Some("pass"))).unwrap();
    let failed = builder.file("D", "x", Failing(600_000), &Details::default());
    assert!(matches!(failed, Err(BuildError::Contents { .. })));
    builder.file("D", "x", &b"whole"[..], &Details::default()).unwrap();
    builder.finish().unwrap();
    let archive = open(&folder);
    assert_spotless(&archive);
    let entry = archive.entry_at("D", "x").unwrap().unwrap();
    assert_eq!(contents(&archive, &entry), b"whole");
}

#[test]
fn what_the_index_cannot_say_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut builder = Builder::create(root.path().join("b"), quick(Layout::Flat, None)).unwrap();
    let file = |builder: &mut Builder, details: &Details| builder.file("D", "x", &b""[..], details);
    assert!(matches!(
        file(&mut builder, &Details::default().modified(-1)),
        Err(BuildError::Range {
            field: "LastModified",
            value: -1
        })
    ));
    assert!(matches!(
        file(&mut builder, &Details::default().created(1 << 32)),
        Err(BuildError::Range { field: "Birth", .. })
    ));
    assert!(matches!(
        file(&mut builder, &Details::default().protection_class(5)),
        Err(BuildError::ProtectionClass { class: 5 })
    ));
    let long = "x".repeat(65_535);
    assert!(matches!(
        builder.file("D", &long, &b""[..], &Details::default()),
        Err(BuildError::TooLong { field: "path", .. })
    ));
    assert_eq!(builder.finish().unwrap().files, 0);
    assert!(matches!(
        Builder::create(root.path().join("c"), BuildOptions::default().rounds(0, 1)),
        Err(BuildError::Rounds)
    ));
}

#[test]
fn a_stop_leaves_nothing_and_what_was_there_stays() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("b");
    for options in every_kind() {
        let mut builder = Builder::create(&folder, options.clone()).unwrap();
        builder.file("D", "x", &b"y"[..], &Details::default()).unwrap();
        drop(builder);
        let mut builder = Builder::create(&folder, options).unwrap();
        builder.file("D", "x", &b"y"[..], &Details::default()).unwrap();
        let stopped = builder.finish_observed(&mut |_: &Progress| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(BuildError::Cancelled)));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
    fs::write(&folder, "precious").unwrap();
    assert!(matches!(
        Builder::create(&folder, BuildOptions::default()),
        Err(BuildError::Exists { .. })
    ));
    assert_eq!(fs::read(&folder).unwrap(), b"precious");
}

#[test]
fn recorded_sizes_and_unfinished_states_are_as_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("b");
    let options = quick(Layout::Current, Some("pass")).finished(false);
    let mut builder = Builder::create(&folder, options).unwrap();
    let details = Details::default().recorded_size(4096).digest(DigestMode::Always);
    builder
        .file("AppDomain-x", "live.sqlite", &[3; 8192][..], &details)
        .unwrap();
    let never = Details::default().digest(DigestMode::Never);
    builder.file("HomeDomain", "y", &[3; 3][..], &never).unwrap();
    builder.finish().unwrap();
    let archive = open(&folder);
    assert!(archive.is_incomplete());
    let entry = archive.entry_at("AppDomain-x", "live.sqlite").unwrap().unwrap();
    assert_eq!((entry.size, contents(&archive, &entry).len()), (4096, 8192));
    assert!(entry.digest.is_some());
    assert!(archive.entry_at("HomeDomain", "y").unwrap().unwrap().digest.is_none());
}

#[test]
fn names_that_hurt_elsewhere_keep_their_bytes() {
    let names = [
        "../../../../etc/evil",
        "/etc/passwd",
        "a//b",
        "AUX",
        "a:b*c?.txt",
        "trailing. ",
        "Caf\u{e9}.jpg",
        "Cafe\u{301}.jpg",
        "Note.txt",
        "note.txt",
        "\u{1f600}",
        "with\0nul",
        "line\nbreak",
        ".",
        "..",
    ];
    let root = tempfile::tempdir().unwrap();
    for (index, options) in every_kind().into_iter().enumerate() {
        let folder = root.path().join(index.to_string());
        let mut builder = Builder::create(&folder, options).unwrap();
        for name in names {
            // Some of these are directories of others by now.
            let details = Details::default();
            builder.file("AppDomain-x", name, name.as_bytes(), &details).unwrap();
        }
        builder.finish().unwrap();
        let archive = open(&folder);
        assert_spotless(&archive);
        for name in names {
            let entry = archive.entry_at("AppDomain-x", name).unwrap().unwrap();
            assert_eq!(
                (&*entry.path, contents(&archive, &entry)),
                (name, name.as_bytes().to_vec())
            );
        }
    }
}

fn trees() -> impl Strategy<Value = BTreeMap<(String, String), Vec<u8>>> {
    let domain = prop_oneof![Just("HomeDomain".to_owned()), "[a-zA-Z.-]{0,12}", ".{1,8}"];
    let part = prop_oneof!["[a-z]{1,3}", ".{0,6}", Just("..".to_owned())];
    let path = proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
    let lengths = prop_oneof![0..100_usize, (0..5_usize).prop_map(|blocks| blocks * 16), Just(300_000)];
    let content = (any::<u8>(), lengths).prop_map(|(byte, len)| vec![byte; len]);
    proptest::collection::btree_map((domain, path), content, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_tree_is_built_reads_back_exactly(tree in trees()) {
        let root = tempfile::tempdir().unwrap();
        for (index, options) in every_kind().into_iter().enumerate() {
            let folder = root.path().join(index.to_string());
            let mut builder = Builder::create(&folder, options).unwrap();
            for ((domain, path), content) in &tree {
                builder.file(domain, path, content.as_slice(), &Details::default()).unwrap();
            }
            builder.finish().unwrap();
            let archive = open(&folder);
            assert_spotless(&archive);
            let mut found = BTreeMap::new();
            for entry in archive.entries().unwrap() {
                let entry = entry.unwrap();
                if entry.kind == Kind::File {
                    let content = contents(&archive, &entry);
                    found.insert((entry.domain.to_string(), entry.path.to_string()), content);
                }
            }
            prop_assert_eq!(&found, &tree);
        }
    }
}
