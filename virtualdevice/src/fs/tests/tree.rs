//! Every operation, one at a time.

use std::sync::Arc;

use crate::fs::{Content, Entry, Fs, FsError, Kind, Meta, diff, tree_digest};

const D: &str = "HomeDomain";

fn file(bytes: &'static str) -> Kind {
    Kind::File(Content::bytes(bytes))
}

/// A phone with a few files.
fn phone() -> Fs {
    let fs = Fs::new(1000);
    fs.create_dir_all(D, "Library/SMS").unwrap();
    fs.put(D, "Library/SMS/sms.db", file("messages"), Meta::file()).unwrap();
    fs.put(D, "Library/a.plist", file("a"), Meta::file()).unwrap();
    fs.symlink("/var/nowhere", D, "Library/link").unwrap();
    fs
}

fn bytes(fs: &Fs, path: &str) -> Vec<u8> {
    fs.get(D, path)
        .unwrap()
        .content()
        .unwrap()
        .to_bytes(1 << 20)
        .unwrap()
        .to_vec()
}

fn paths(entries: &[Arc<Entry>]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.path).collect()
}

#[test]
fn a_snapshot_lists_parents_first_and_a_folder_whole() {
    let fs = phone();
    fs.put(D, "Library/SMS.plist", file("x"), Meta::file()).unwrap();
    fs.create_dir_all("AppDomain-a", "Documents").unwrap();
    let all = fs.snapshot();
    let expected = [
        "",
        "Documents",
        "",
        "Library",
        "Library/SMS",
        "Library/SMS/sms.db",
        "Library/SMS.plist",
    ];
    assert_eq!(paths(&all)[..7], expected);
    assert_eq!(all.len(), fs.entry_count());
    assert_eq!(
        paths(&fs.subtree(D, "Library/SMS")),
        ["Library/SMS", "Library/SMS/sms.db"]
    );
    assert_eq!(paths(&fs.children(D, "Library/SMS")), ["Library/SMS/sms.db"]);
    assert!(fs.children(D, "Library/a.plist").is_empty() && fs.children("Nowhere", "").is_empty());
}

#[test]
fn a_snapshot_keeps_what_it_saw_whatever_happens_later() {
    let fs = phone();
    let before = fs.snapshot();
    let digest = tree_digest(&fs).unwrap();
    fs.write_at(D, "Library/a.plist", 0, b"changed").unwrap();
    fs.set_len(D, "Library/SMS/sms.db", 2).unwrap();
    fs.remove(D, "Library/link").unwrap();
    let kept: Vec<_> = before
        .iter()
        .map(|entry| crate::fs::Digest::of(entry).unwrap())
        .collect();
    assert_eq!(kept, digest);
    let found = diff(&digest, &tree_digest(&fs).unwrap());
    assert_eq!((found.missing.len(), found.extra.len(), found.changed.len()), (1, 0, 2));
}

#[test]
fn revisions_grow_with_every_change_and_stay_without_one() {
    let fs = phone();
    let mut last = fs.revision();
    let mut changed = |what: &str, path: &str| {
        assert!(fs.revision() > last, "{what}");
        assert!(fs.get(D, path).unwrap().revision > last, "{what}");
        last = fs.revision();
    };
    fs.write_at(D, "Library/a.plist", 0, b"b").unwrap();
    changed("write", "Library/a.plist");
    fs.set_len(D, "Library/a.plist", 9).unwrap();
    changed("set_len", "Library/a.plist");
    fs.update_meta(D, "Library/a.plist", |meta| meta.mtime = 1).unwrap();
    changed("meta", "Library/a.plist");
    fs.rename(D, "Library/SMS", D, "Library/Messages").unwrap();
    changed("rename", "Library/Messages/sms.db");
    fs.remove(D, "Library/a.plist").unwrap();
    changed("remove", "Library");
    let now = fs.revision();
    drop(fs.snapshot());
    assert!(fs.remove(D, "Library/none").is_err() && fs.create_dir_all(D, "Library").is_ok());
    assert_eq!(fs.revision(), now);
}

#[test]
fn put_keeps_attributes_exactly_and_leaves_the_parent_alone() {
    let fs = phone();
    let parent = fs.get(D, "Library").unwrap();
    let meta = Meta {
        flags: 128,
        inode: 77,
        mode: 0o644,
        ..Meta::file().with_owner(-2, -2).with_times(5)
    };
    let entry = fs.put(D, "Library/b", file("b"), meta.clone()).unwrap();
    assert_eq!(
        entry.meta,
        Meta {
            mode: 0o100_644,
            ..meta
        }
    );
    assert_eq!(fs.get(D, "Library").unwrap().meta, parent.meta);
    let again = fs.put(D, "Library/b", file("c"), Meta::file()).unwrap();
    assert_eq!(again.meta.inode, 77, "inode 0 keeps the number of what is replaced");
    let next = fs.put(D, "Library/c", file("c"), Meta::file()).unwrap();
    assert_eq!(next.meta.inode, 78, "new numbers lie above");
    let huge = fs
        .put(
            D,
            "Library/d",
            file("d"),
            Meta {
                inode: u64::MAX,
                ..Meta::file()
            },
        )
        .unwrap();
    assert_eq!(huge.meta.inode, 79, "numbers no plist can hold are not taken over");
    fs.put(D, "Library", Kind::Directory, Meta::directory().with_permissions(0o700))
        .unwrap();
    assert_eq!(fs.get(D, "Library").unwrap().meta.mode, 0o040_700);
    assert_eq!(
        bytes(&fs, "Library/b"),
        b"c",
        "a directory put over a directory keeps its children"
    );
}

#[test]
fn what_may_not_be_there_is_refused() {
    let fs = phone();
    let put = |path: &str, kind: Kind| fs.put(D, path, kind, Meta::file()).map(|_| ());
    assert!(matches!(put("none/x", file("")), Err(FsError::NotFound)));
    assert!(matches!(
        put("Library/a.plist/x", file("")),
        Err(FsError::NotADirectory)
    ));
    assert!(
        matches!(put("Library/link/x", file("")), Err(FsError::NotADirectory)),
        "links are not followed"
    );
    assert!(matches!(put("Library/SMS", file("")), Err(FsError::IsADirectory)));
    assert!(matches!(put("Library/a.plist", Kind::Directory), Err(FsError::Exists)));
    assert!(matches!(put("", file("")), Err(FsError::Invalid)));
    let too_long = ["Library/", &"n".repeat(256)].concat();
    let too_deep = "d/".repeat(600);
    for bad in [
        "/x",
        "x/",
        "a//b",
        ".",
        "Library/..",
        "Library/./x",
        "nul\0",
        &too_long,
        &too_deep,
    ] {
        assert!(matches!(put(bad, file("")), Err(FsError::Invalid)), "{bad:?}");
    }
    for domain in ["", "a/b", "..", "nul\0"] {
        assert!(
            matches!(fs.create_dir_all(domain, "x"), Err(FsError::Invalid)),
            "{domain:?}"
        );
    }
    assert!(matches!(fs.create_file(D, "Library/a.plist"), Err(FsError::Exists)));
    assert!(matches!(fs.create_dir_all(D, "Library/a.plist"), Err(FsError::Exists)));
    assert!(matches!(
        fs.create_dir_all(D, "Library/a.plist/b/c"),
        Err(FsError::NotADirectory)
    ));
    assert!(matches!(fs.write_at(D, "Library", 0, b"x"), Err(FsError::IsADirectory)));
    assert!(matches!(fs.write_at(D, "Library/link", 0, b"x"), Err(FsError::Invalid)));
    assert!(matches!(fs.lookup("Nowhere", ""), Err(FsError::NotFound)));
}

#[test]
fn a_failed_creation_leaves_no_parents_behind() {
    let fs = phone();
    let before = fs.revision();
    let deep = format!("new/folder/{}", "n".repeat(300));
    assert!(matches!(fs.create_dir_all(D, &deep), Err(FsError::Invalid)));
    assert!(fs.get(D, "new").is_none());
    assert_eq!(fs.revision(), before);
}

#[test]
fn the_deepest_tree_is_made_walked_and_dropped_on_a_small_stack() {
    let deepest = ["d/".repeat(511).as_str(), "d"].concat();
    let work = move || {
        let fs = Fs::new(0);
        fs.create_dir_all(D, &deepest).unwrap();
        assert_eq!(fs.snapshot().len(), 513);
        fs.rename(D, "d", D, "e").unwrap();
        let other = Fs::new(0);
        other.create_dir_all(D, &deepest).unwrap();
        other.remove_all(D, "d").unwrap();
    };
    // Half of what a thread of the runtime has.
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn removing_needs_an_empty_directory_or_the_whole_tree() {
    let fs = phone();
    assert!(matches!(fs.remove(D, "Library/SMS"), Err(FsError::NotEmpty)));
    assert!(matches!(fs.remove(D, "Library/none"), Err(FsError::NotFound)));
    let free = fs.free_bytes();
    fs.remove_all(D, "Library/SMS").unwrap();
    assert_eq!(fs.free_bytes(), free + 8);
    fs.remove_all(D, "").unwrap();
    assert_eq!((fs.free_bytes(), fs.entry_count()), (1000, 0));
    assert!(fs.domains().is_empty());
}

#[test]
fn renaming_moves_whole_trees_also_between_domains() {
    let fs = phone();
    fs.create_dir_all("MediaDomain", "Media").unwrap();
    fs.rename(D, "Library/SMS", "MediaDomain", "Media/Messages").unwrap();
    assert!(fs.get(D, "Library/SMS").is_none());
    let moved = fs.get("MediaDomain", "Media/Messages/sms.db").unwrap();
    assert_eq!((&*moved.domain, moved.len()), ("MediaDomain", 8));
    fs.rename("MediaDomain", "Media/Messages/sms.db", D, "Library/a.plist")
        .unwrap();
    assert_eq!(bytes(&fs, "Library/a.plist"), b"messages", "a file replaces a file");
    assert_eq!(fs.free_bytes(), 1000 - 8);
    assert!(matches!(
        fs.rename(D, "Library", D, "Library/in/itself"),
        Err(FsError::Invalid)
    ));
    assert!(matches!(
        fs.rename(D, "Library/a.plist", D, "Library"),
        Err(FsError::IsADirectory)
    ));
    assert!(matches!(
        fs.rename("MediaDomain", "Media", D, "Library"),
        Err(FsError::NotEmpty)
    ));
    assert!(matches!(
        fs.rename("MediaDomain", "Media", D, "Library/a.plist"),
        Err(FsError::NotADirectory)
    ));
    assert!(matches!(fs.rename(D, "", D, "x"), Err(FsError::Invalid)));
    assert!(matches!(fs.rename(D, "Library/none", D, "x"), Err(FsError::NotFound)));
    assert!(matches!(
        fs.rename(D, "Library/a.plist", D, "none/x"),
        Err(FsError::NotFound)
    ));
    fs.rename(D, "Library/a.plist", D, "Library/a.plist").unwrap();
    assert_eq!(fs.entry_count(), fs.snapshot().len());
}

#[test]
fn a_move_may_not_make_paths_too_long() {
    let fs = phone();
    let deep = ["deep", &"/0123456789".repeat(80)].concat();
    fs.create_dir_all(D, &deep).unwrap();
    let target = ["Library/", &"n".repeat(200)].concat();
    assert!(matches!(fs.rename(D, "deep", D, &target), Err(FsError::Invalid)));
    assert!(fs.get(D, &deep).is_some(), "and nothing moved");
}

#[test]
fn hard_links_are_one_file_with_two_names() {
    let fs = phone();
    fs.link(D, "Library/a.plist", D, "Library/b.plist").unwrap();
    let one = fs.get(D, "Library/a.plist").unwrap();
    assert_eq!(fs.link_count(&one), 2);
    assert_eq!(one.meta.inode, fs.get(D, "Library/b.plist").unwrap().meta.inode);
    let free = fs.free_bytes();
    fs.write_at(D, "Library/b.plist", 0, b"four").unwrap();
    assert_eq!(bytes(&fs, "Library/a.plist"), b"four");
    assert_eq!(fs.free_bytes(), free - 3, "bytes count once");
    fs.update_meta(D, "Library/a.plist", |meta| meta.uid = 7).unwrap();
    assert_eq!(fs.get(D, "Library/b.plist").unwrap().meta.uid, 7);
    fs.rename(D, "Library/b.plist", D, "Library/SMS/c.plist").unwrap();
    fs.write_at(D, "Library/a.plist", 4, b"!").unwrap();
    assert_eq!(bytes(&fs, "Library/SMS/c.plist"), b"four!", "a link survives a move");
    fs.put(D, "Library/a.plist", file("other"), Meta::file()).unwrap();
    assert_eq!(
        bytes(&fs, "Library/SMS/c.plist"),
        b"four!",
        "replacing a name is not writing to the file"
    );
    let other = fs.get(D, "Library/SMS/c.plist").unwrap();
    assert_eq!(fs.link_count(&other), 1);
    assert!(matches!(fs.link(D, "Library", D, "x"), Err(FsError::IsADirectory)));
    assert!(matches!(
        fs.link(D, "Library/a.plist", D, "Library/SMS"),
        Err(FsError::Exists)
    ));
    fs.remove_all(D, "").unwrap();
    assert_eq!(fs.free_bytes(), 1000);
}

#[test]
fn equal_inode_numbers_given_by_a_caller_do_not_link_files() {
    let fs = phone();
    let meta = Meta {
        inode: 500,
        ..Meta::file()
    };
    fs.put(D, "Library/x", file("x"), meta.clone()).unwrap();
    fs.put(D, "Library/y", file("y"), meta).unwrap();
    fs.link(D, "Library/x", D, "Library/x2").unwrap();
    fs.link(D, "Library/y", D, "Library/y2").unwrap();
    fs.write_at(D, "Library/x", 0, b"X").unwrap();
    assert_eq!(
        [bytes(&fs, "Library/x2"), bytes(&fs, "Library/y2")],
        [b"X".to_vec(), b"y".to_vec()]
    );
}

#[test]
fn a_full_phone_takes_no_more_and_loses_nothing() {
    let fs = phone();
    assert_eq!((fs.total_bytes(), fs.free_bytes()), (1000, 991));
    assert!(matches!(
        fs.write_at(D, "Library/a.plist", 991, b"xx"),
        Err(FsError::NoSpace)
    ));
    assert!(matches!(fs.set_len(D, "Library/a.plist", 993), Err(FsError::NoSpace)));
    assert!(matches!(
        fs.set_len(D, "Library/a.plist", u64::MAX),
        Err(FsError::NoSpace)
    ));
    assert!(matches!(
        fs.write_at(D, "Library/a.plist", u64::MAX, b"xx"),
        Err(FsError::NoSpace)
    ));
    let big = Kind::File(Content::noise(1, 992));
    assert!(matches!(
        fs.put(D, "Library/big", big, Meta::file()),
        Err(FsError::NoSpace)
    ));
    let mut writer = fs.writer(0);
    writer.write(&[0; 900]).unwrap();
    assert!(matches!(writer.write(&[0; 92]), Err(FsError::NoSpace)));
    assert_eq!(bytes(&fs, "Library/a.plist"), b"a");
    fs.set_len(D, "Library/a.plist", 992).unwrap();
    assert_eq!(fs.free_bytes(), 0);
    fs.set_len(D, "Library/a.plist", 0).unwrap();
    assert_eq!(fs.free_bytes(), 992);
}

#[test]
fn changes_touch_the_parent_and_the_file() {
    let fs = phone();
    fs.set_meta(D, "Library", Meta::directory()).unwrap();
    fs.create_file(D, "Library/new").unwrap();
    let touched = fs.get(D, "Library").unwrap().meta.mtime;
    assert!(touched > 1_600_000_000_000_000_000);
    fs.update_meta(D, "Library/new", |meta| {
        (meta.mtime, meta.mode, meta.inode) = (3, 0o777, 9)
    })
    .unwrap();
    let entry = fs.get(D, "Library/new").unwrap();
    assert_eq!((entry.meta.mtime, entry.meta.mode), (3, 0o100_777));
    assert_ne!(entry.meta.inode, 9);
    fs.write_at(D, "Library/new", 0, b"x").unwrap();
    assert!(fs.get(D, "Library/new").unwrap().meta.mtime >= touched);
}
