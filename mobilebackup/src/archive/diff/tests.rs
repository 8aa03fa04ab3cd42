use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::archive::build::{BuildOptions, Builder, Details};
use crate::archive::{Layout, Silent, golden};

/// What a made-up backup has at a path.
#[derive(Clone, Debug, PartialEq)]
enum Thing {
    File {
        contents: Vec<u8>,
        modified: i64,
        mode: u32,
        attribute: Option<u8>,
    },
    Link {
        target: String,
    },
}

type Model = BTreeMap<(&'static str, String), Thing>;

fn build(folder: &Path, options: BuildOptions, model: &Model) -> Archive {
    let mut builder = Builder::create(folder, options).unwrap();
    for ((domain, path), thing) in model {
        match thing {
            Thing::File {
                contents,
                modified,
                mode,
                attribute,
            } => {
                let mut details = Details::default().modified(*modified).mode(*mode);
                if let Some(value) = attribute {
                    details = details.attribute("com.example.mark", vec![*value]);
                }
                builder.file(domain, path, &contents[..], &details).unwrap();
            }
            Thing::Link { target } => {
                builder
                    .symlink(domain, path, target, &Details::default().modified(7))
                    .unwrap();
            }
        }
    }
    let built = builder.finish().unwrap();
    let mut archive = Archive::open(built.folder).unwrap();
    if archive.is_locked() {
        archive.unlock_with_key(&built.key, &mut Silent).unwrap();
    }
    archive
}

fn plain() -> BuildOptions {
    BuildOptions::default().rounds(1, 1)
}

fn file(contents: &[u8]) -> Thing {
    Thing::File {
        contents: contents.to_vec(),
        modified: 1000,
        mode: 0o644,
        attribute: None,
    }
}

fn differ(older: &Archive, newer: &Archive, options: DiffOptions) -> Report {
    report(older, newer, &options, &mut Silent).unwrap()
}

/// The changes by name, folders left out: those come and go with what is in them.
fn named(report: &Report) -> BTreeMap<(String, String), (What, Vec<How>)> {
    let changes = report.changes.iter().filter(|change| change.kind != Kind::Directory);
    changes
        .map(|c| ((c.domain.clone(), c.path.clone()), (c.what, c.how.clone())))
        .collect()
}

/// What must be found, worked out from the models.
fn expected(older: &Model, newer: &Model) -> BTreeMap<(String, String), (What, Vec<How>)> {
    let mut changes = BTreeMap::new();
    for key in older.keys().chain(newer.keys()) {
        let how = match (older.get(key), newer.get(key)) {
            (Some(_), None) => (What::Removed, vec![]),
            (None, _) => (What::Added, vec![]),
            (Some(a), Some(b)) if a == b => continue,
            (Some(Thing::Link { .. }), Some(Thing::Link { .. })) => (What::Changed, vec![How::LinkTarget]),
            (
                Some(Thing::File {
                    contents,
                    modified,
                    mode,
                    attribute,
                }),
                Some(Thing::File {
                    contents: contents_b,
                    modified: modified_b,
                    mode: mode_b,
                    attribute: attribute_b,
                }),
            ) => {
                // Files of system domains have a digest, others do not.
                let has_digest = key.0 == "HomeDomain";
                let how = [
                    (mode != mode_b, How::Mode),
                    (contents.len() != contents_b.len(), How::Size),
                    (modified != modified_b, How::Modified),
                    (attribute != attribute_b, How::Attributes),
                    (has_digest && contents != contents_b, How::Digest),
                ];
                let how: Vec<_> = how.into_iter().filter(|(is, _)| *is).map(|(_, how)| how).collect();
                if how.is_empty() {
                    continue;
                }
                (What::Changed, how)
            }
            (Some(a), Some(b)) => {
                let modified = |thing: &Thing| match thing {
                    Thing::File { modified, .. } => *modified,
                    Thing::Link { .. } => 7,
                };
                let size = |thing: &Thing| match thing {
                    Thing::File { contents, .. } => contents.len(),
                    Thing::Link { .. } => 0,
                };
                let attributes = |thing: &Thing| matches!(thing, Thing::File { attribute: Some(_), .. });
                let mut how = vec![How::Kind];
                how.extend((size(a) != size(b)).then_some(How::Size));
                how.extend((modified(a) != modified(b)).then_some(How::Modified));
                how.push(How::ProtectionClass);
                how.extend((attributes(a) != attributes(b)).then_some(How::Attributes));
                (What::Changed, how)
            }
        };
        changes.insert((key.0.to_owned(), key.1.clone()), how);
    }
    changes
}

fn models() -> impl Strategy<Value = Model> {
    let domain = prop::sample::select(vec!["HomeDomain", "CameraRollDomain", "AppDomain-com.example.app"]);
    let path = prop::sample::select(vec![
        "a", "b", "B", "dir/c", "dir/d", "x.db", "x.db-wal", "\u{e9}", "e\u{301}",
    ]);
    let contents = prop::collection::vec(0_u8..3, 0..3);
    let file = (
        contents,
        0_i64..3,
        prop::sample::select(vec![0o644, 0o600]),
        prop::option::of(0_u8..2),
    );
    let file = file.prop_map(|(contents, modified, mode, attribute)| Thing::File {
        contents,
        modified,
        mode,
        attribute,
    });
    let link = prop::sample::select(vec!["/var/a", "/var/b"]).prop_map(|target| Thing::Link { target: target.into() });
    let thing = prop_oneof![4 => file, 1 => link];
    let key = (domain, path.prop_map(str::to_owned));
    prop::collection::btree_map(key, thing, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn exactly_what_was_changed_is_found(older in models(), newer in models(), flat in any::<bool>()) {
        let root = tempfile::tempdir().unwrap();
        let layout = if flat { Layout::Flat } else { Layout::Current };
        let a = build(&root.path().join("a"), plain(), &older);
        let b = build(&root.path().join("b"), plain().layout(layout), &newer);
        let report = differ(&a, &b, DiffOptions::default());
        prop_assert_eq!(named(&report), expected(&older, &newer));
        let total = report.summary.total;
        prop_assert_eq!(total.same + total.changed + total.added, b.entries().unwrap().count() as u64);
        prop_assert_eq!(total.same + total.changed + total.removed, a.entries().unwrap().count() as u64);
        prop_assert_eq!(total.added + total.changed + total.removed, report.changes.len() as u64);

        let options = || DiffOptions::default().contents(Contents::Always);
        let read = differ(&a, &b, options());
        for ((key, old), new) in older.iter().filter_map(|(key, old)| Some(((key, old), newer.get(key)?))) {
            if let (Thing::File { contents: old, .. }, Thing::File { contents: new, .. }) = (old, new) {
                let change = read.changes.iter().find(|c| c.domain == key.0 && c.path == key.1);
                let seen = change.is_some_and(|c| c.how.contains(&How::Contents));
                prop_assert_eq!(seen, old != new, "{:?}", change);
            }
        }
        let itself = differ(&a, &a, options());
        prop_assert!(itself.changes.is_empty() && itself.summary.total.is_unchanged());
    }
}

#[test]
fn a_backup_is_the_same_as_itself_whatever_is_odd_about_it() {
    for (name, password) in [
        ("plain-v10", ""),
        ("enc-v10", "vector-pass-1"),
        ("enc-mbdb", "vector-pass-1"),
    ] {
        let mut archive = Archive::open(golden::folder().join("synthetic").join(name)).unwrap();
        if archive.is_locked() {
            archive.unlock(password).unwrap();
        }
        let report = differ(&archive, &archive, DiffOptions::default());
        assert!(report.changes.is_empty(), "{:?}", report.changes);
        assert_eq!(report.summary.total.same, archive.entries().unwrap().count() as u64);
        // What cannot be read is not called the same.
        let read = differ(&archive, &archive, DiffOptions::default().contents(Contents::Always));
        let unreadable: Vec<_> = read.changes.iter().map(|change| &*change.path).collect();
        assert!(unreadable.contains(&"Documents/missing.bin"), "{unreadable:?}");
        assert_eq!(read.summary.total.unreadable, unreadable.len() as u64);
        assert!(
            read.changes
                .iter()
                .all(|c| matches!(c.contents, Some(ContentsVerdict::Unreadable { .. })))
        );
    }
}

#[test]
fn a_file_under_another_key_that_cannot_be_read_is_listed() {
    let open = |name: &str| Archive::open(golden::folder().join("synthetic").join(name)).unwrap();
    let (older, mut newer) = (open("plain-v10"), open("enc-v10"));
    newer.unlock("vector-pass-1").unwrap();
    let report = differ(&older, &newer, DiffOptions::default().contents(Contents::Always));
    let unreadable = |change: &&Change| matches!(change.contents, Some(ContentsVerdict::Unreadable { .. }));
    let listed = report.changes.iter().filter(unreadable).count() as u64;
    assert!(listed > 0);
    assert_eq!(
        (listed, report.summary.total.rewrapped),
        (report.summary.total.unreadable, 0)
    );
}

#[test]
fn another_key_alone_is_no_change_and_reading_settles_it() {
    let root = tempfile::tempdir().unwrap();
    let encrypted = || BuildOptions::default().encrypted("secret").rounds(1, 1);
    let mut model = Model::from([
        (("HomeDomain", "a".to_owned()), file(b"one")),
        (("HomeDomain", "b".to_owned()), file(b"two")),
    ]);
    let older = build(&root.path().join("a"), encrypted(), &model);
    let newer = build(&root.path().join("b"), encrypted(), &model);
    let report = differ(&older, &newer, DiffOptions::default());
    assert!(report.changes.is_empty() && report.summary.total.is_unchanged());
    assert_eq!(report.summary.total.rewrapped, 2);
    let listed = differ(&older, &newer, DiffOptions::default().list_rewrapped(true));
    assert_eq!(
        listed.changes.iter().map(|c| (c.what, &*c.how)).collect::<Vec<_>>(),
        [(What::Rewrapped, &[How::Key][..]); 2]
    );
    let read = differ(
        &older,
        &newer,
        DiffOptions::default().contents(Contents::WhereRecordsDiffer),
    );
    assert_eq!((read.summary.total.rewrapped, read.changes.len()), (0, 0));
    // The same length at the same time: only reading tells.
    model.insert(("HomeDomain", "b".into()), file(b"TWO"));
    let newer = build(&root.path().join("c"), encrypted(), &model);
    let read = differ(
        &older,
        &newer,
        DiffOptions::default().contents(Contents::WhereRecordsDiffer),
    );
    assert_eq!(read.changes.len(), 1);
    assert_eq!(
        (&*read.changes[0].path, &*read.changes[0].how),
        ("b", &[How::Key, How::Contents][..])
    );
}

#[test]
fn changes_are_counted_by_domain_category_and_app() {
    let root = tempfile::tempdir().unwrap();
    let app = "AppDomainGroup-group.com.example.app.shared";
    let mut model = Model::from([
        (("HomeDomain", "Library/SMS/sms.db".to_owned()), file(b"123")),
        (("AppDomain-com.example.app", "Documents/x".to_owned()), file(b"1")),
        ((app, "y".to_owned()), file(b"22")),
    ]);
    let older = build(&root.path().join("a"), plain(), &model);
    model.insert(("HomeDomain", "Library/SMS/sms.db".into()), file(b"12345"));
    model.remove(&(app, "y".into()));
    model.insert(("CameraRollDomain", "Media/DCIM/1.JPG".into()), file(b"7777777"));
    let newer = build(&root.path().join("b"), plain(), &model);
    let report = differ(&older, &newer, DiffOptions::default());
    let summary = &report.summary;
    let messages = summary.categories["messages"];
    assert_eq!(
        (messages.changed, messages.bytes_before, messages.bytes_after),
        (1, 3, 5)
    );
    assert_eq!(summary.categories["photos"].bytes_added, 7);
    assert_eq!(summary.domains.get(app).unwrap().bytes_removed, 2);
    let app = summary.apps.get("com.example.app").unwrap();
    assert_eq!(
        (app.same, app.removed, app.bytes_removed),
        (3, 2, 2),
        "the group is the app's"
    );
    let json = serde_json::to_value(&report).unwrap();
    let changed = json["changes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["what"] == "changed")
        .unwrap();
    assert_eq!(
        (&changed["category"], &changed["how"][0], &changed["before"]["size"]),
        (&"messages".into(), &"size".into(), &3.into())
    );

    let photos = DiffOptions::default().selection(Selection::default().category(Category::Photos));
    assert_eq!(
        differ(&older, &newer, photos)
            .summary
            .domains
            .named
            .keys()
            .collect::<Vec<_>>(),
        ["CameraRollDomain"]
    );
    let short = differ(&older, &newer, DiffOptions::default().list_limit(1));
    assert_eq!(
        (short.changes.len() as u64 + short.not_listed, short.changes.len()),
        (report.changes.len() as u64, 1)
    );
}

#[test]
fn a_comparison_can_be_stopped_and_needs_open_backups() {
    let locked = Archive::open(golden::folder().join("synthetic/enc-v10")).unwrap();
    let open = Archive::open(golden::folder().join("synthetic/plain-v10")).unwrap();
    let options = DiffOptions::default();
    let error = report(&locked, &open, &options, &mut Silent).unwrap_err();
    assert!(matches!(error, DiffError::Older(ArchiveError::Locked)), "{error}");
    let error = report(&open, &locked, &options, &mut Silent).unwrap_err();
    assert!(matches!(error, DiffError::Newer(ArchiveError::Locked)), "{error}");
    let nothing = golden::with_index("DELETE FROM Files WHERE relativePath <> ''");
    let nothing = Archive::open(nothing.path()).unwrap();
    let stopped = compare(&nothing, &open, &options, &mut Silent, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(DiffError::Cancelled)));
    let mut stop = |_: &Progress| ControlFlow::Break(());
    let reading = options.contents(Contents::Always);
    assert!(matches!(
        report(&open, &open, &reading, &mut stop),
        Err(DiffError::Cancelled)
    ));
}

#[test]
fn rows_of_the_same_name_are_compared_one_by_one() {
    // A second row for the same file, under an id of its own, as only a damaged index has it.
    let copy = "INSERT INTO Files SELECT '00' || substr(fileID, 3), domain, relativePath, flags, file FROM Files \
                WHERE relativePath = 'Library/SMS/sms.db'";
    let folder = golden::with_index(copy);
    let twice = Archive::open(folder.path()).unwrap();
    let once = Archive::open(golden::folder().join("synthetic/plain-v10")).unwrap();
    let count = |report: &Report| {
        (
            report.summary.total.added,
            report.summary.total.removed,
            report.summary.total.changed,
        )
    };
    assert_eq!(count(&differ(&twice, &twice, DiffOptions::default())), (0, 0, 0));
    assert_eq!(count(&differ(&once, &twice, DiffOptions::default())), (1, 0, 0));
    assert_eq!(count(&differ(&twice, &once, DiffOptions::default())), (0, 1, 0));
}
