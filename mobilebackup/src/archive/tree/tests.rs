use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::archive::golden;

/// An entry as a flat index would have it.
fn entry(domain: &str, path: &str, kind: Kind, size: u64) -> FileEntry {
    golden::entry(domain, path, kind, size)
}

fn tree_of(entries: &[FileEntry]) -> Tree {
    let mut builder = Builder::new();
    for entry in entries {
        builder.add(entry).unwrap();
    }
    builder.finish(0)
}

/// What a naive tree knows about a place: kind of its first row, files and bytes below and in it, rows.
#[derive(Debug, Default, PartialEq)]
struct Naive {
    kind: Option<Kind>,
    files: u32,
    size: u64,
    rows: u32,
}

/// Every place by its whole name, parents added by hand.
fn naively(entries: &[FileEntry]) -> BTreeMap<Vec<String>, Naive> {
    let mut places: BTreeMap<Vec<String>, Naive> = BTreeMap::new();
    for entry in entries {
        let mut names = vec![entry.domain.to_string()];
        if !entry.path.is_empty() {
            names.extend(entry.path.split('/').map(str::to_owned));
        }
        for len in 1..=names.len() {
            let place = places.entry(names[..len].to_vec()).or_default();
            place.rows += 1;
            if entry.kind == Kind::File {
                place.files += 1;
                place.size += entry.size;
            }
            if len == names.len() {
                place.kind = place.kind.or(Some(entry.kind));
            }
        }
    }
    places
}

fn entries() -> impl Strategy<Value = Vec<FileEntry>> {
    let domain = prop::sample::select(vec!["HomeDomain", "A", "", "a/b"]);
    let path = prop::collection::vec(
        prop::sample::select(vec!["a", "b", "B", "", "..", ".", "ü", "u\u{308}"]),
        0..5,
    );
    let kind = prop::sample::select(vec![Kind::File, Kind::Directory, Kind::Symlink]);
    let one = (domain, path, kind, 0_u64..1000);
    let one = one.prop_map(|(domain, path, kind, size)| entry(domain, &path.join("/"), kind, size));
    prop::collection::vec(one, 0..40)
}

proptest! {
    #[test]
    fn a_tree_says_what_a_naive_one_says(entries in entries()) {
        let tree = tree_of(&entries);
        let naive = naively(&entries);
        let mut seen = 0;
        for node in tree.root().walk().skip(1) {
            let (domain, path) = (node.domain().unwrap(), node.path());
            prop_assert!(node.name() == path.rsplit('/').next().unwrap() || node.name() == domain);
            if node.is_duplicate() {
                prop_assert_eq!(node.rows(), 1);
                continue;
            }
            seen += 1;
            let mut names = vec![domain.to_owned()];
            if node.depth() > 1 {
                names.extend(path.split('/').map(str::to_owned));
            }
            let expected = &naive[&names];
            // Rows of the same name stand beside the first and count for the folder above.
            let twins = entries.iter().filter(|entry| *entry.domain == *domain && *entry.path == *path && node.kind().is_some());
            let twins: Vec<_> = if node.depth() == 1 || !path.is_empty() { twins.skip(1).collect() } else { Vec::new() };
            let files = twins.iter().filter(|entry| entry.kind == Kind::File);
            prop_assert_eq!(node.kind(), expected.kind);
            prop_assert_eq!(node.rows() as usize + twins.len(), expected.rows as usize);
            prop_assert_eq!(node.files() as usize + files.clone().count(), expected.files as usize);
            prop_assert_eq!(node.size() + files.map(|entry| entry.size).sum::<u64>(), expected.size);
            prop_assert_eq!(node.is_made_up(), expected.kind.is_none());
        }
        prop_assert_eq!(seen, naive.len());
        prop_assert_eq!(tree.rows(), entries.len() as u64);
        for entry in &entries {
            let node = tree.find(&entry.domain, &entry.path).unwrap();
            prop_assert_eq!((node.domain(), node.path()), (Some(&*entry.domain), entry.path.to_string()));
        }
        let mut reversed = entries;
        reversed.reverse();
        let shape = |tree: &Tree| -> Vec<_> {
            tree.root().walk().map(|node| (node.depth(), node.name().to_owned(), node.rows())).collect()
        };
        if tree.duplicates() == 0 {
            prop_assert_eq!(shape(&tree), shape(&tree_of(&reversed)), "the order of rows changes nothing");
        }
    }
}

#[test]
fn children_stand_in_the_order_of_their_bytes_whatever_the_order_of_the_rows() {
    let paths = ["b", "a", "a-b", "a/z", "a/y", "Z", "ä"];
    let rows: Vec<_> = paths.iter().map(|path| entry("D", path, Kind::File, 1)).collect();
    let tree = tree_of(&rows);
    let names: Vec<_> = tree.find("D", "").unwrap().children().map(Node::name).collect();
    assert_eq!(names, ["Z", "a", "a-b", "b", "ä"]);
    let page: Vec<_> = tree
        .find("D", "")
        .unwrap()
        .children()
        .skip(1)
        .take(2)
        .map(Node::name)
        .collect();
    assert_eq!(page, ["a", "a-b"]);
    let file = tree.find("D", "a").unwrap();
    assert_eq!(
        (file.kind(), file.has_children(), file.size()),
        (Some(Kind::File), true, 3)
    );
    assert_eq!(tree.find("D", "a/x"), None);
    assert_eq!(tree.find("E", ""), None);
}

#[test]
fn a_file_and_a_folder_of_the_same_name_are_both_there() {
    let rows = [
        entry("D", "x", Kind::Directory, 0),
        entry("D", "x", Kind::File, 7),
        entry("D", "x/y", Kind::File, 5),
    ];
    let tree = tree_of(&rows);
    let twins: Vec<_> = tree.find("D", "").unwrap().children().collect();
    assert_eq!(
        twins.iter().map(|node| node.kind().unwrap()).collect::<Vec<_>>(),
        [Kind::Directory, Kind::File]
    );
    assert_eq!((twins[0].is_duplicate(), twins[1].is_duplicate()), (false, true));
    assert_eq!((tree.duplicates(), tree.find("D", "").unwrap().size()), (1, 12));
}

#[test]
fn deep_paths_end_in_one_name() {
    let deep = "/".repeat(100_000);
    let tree = tree_of(&[entry("D", &deep, Kind::File, 1)]);
    let node = tree.find("D", &deep).unwrap();
    assert_eq!((node.depth(), node.path()), (MAX_DEPTH + 1, deep));
    assert_eq!(tree.root().walk().count(), MAX_DEPTH + 2);
}

#[test]
fn a_tree_of_a_backup_leads_back_to_its_entries() {
    let archive = Archive::open(golden::folder().join("synthetic/plain-v10")).unwrap();
    let tree = Tree::of(&archive, &mut crate::archive::Silent).unwrap();
    assert_eq!(tree.rows(), archive.entries().unwrap().count() as u64);
    for found in archive.entries().unwrap() {
        let found = found.unwrap();
        let node = tree.find(&found.domain, &found.path).unwrap();
        assert_eq!(node.entry(&archive).unwrap(), Some(found));
    }
    // No row for the app's root, nor for the folder of the pictures.
    assert!(tree.find("AppDomain-com.example.app", "").unwrap().is_made_up());
    assert!(tree.find("CameraRollDomain", "Media").unwrap().is_made_up());
    assert_eq!(
        tree.find("CameraRollDomain", "Media").unwrap().entry(&archive).unwrap(),
        None
    );
    let evil = tree.find("AppDomain-com.example.app", "../../../../etc/evil").unwrap();
    assert_eq!((evil.depth(), evil.kind()), (7, Some(Kind::File)));
}

#[test]
fn one_folder_is_listed_as_the_tree_has_it() {
    let archive = Archive::open(golden::folder().join("synthetic/plain-v10")).unwrap();
    let tree = Tree::of(&archive, &mut crate::archive::Silent).unwrap();
    let mut folders = 0;
    for node in tree.root().walk().skip(1) {
        let listed = children(&archive, node.domain().unwrap(), &node.path()).unwrap();
        let listed: Vec<_> = listed
            .iter()
            .map(|child| (&*child.name, child.files, child.size, child.is_made_up()))
            .collect();
        let expected: Vec<_> = node
            .children()
            .map(|node| (node.name(), node.files().into(), node.size(), node.is_made_up()))
            .collect();
        assert_eq!(listed, expected, "{node:?}");
        folders += usize::from(!listed.is_empty());
    }
    assert!(folders > 10);
}

#[test]
fn a_tree_of_a_selection_has_only_that_and_what_is_above() {
    let archive = Archive::open(golden::folder().join("synthetic/plain-v10")).unwrap();
    let selection = Selection::default().file("HomeDomain", "Library/SMS/sms.db");
    let tree = Tree::of_selection(&archive, &selection, &mut crate::archive::Silent).unwrap();
    let names: Vec<_> = tree.root().walk().map(Node::name).collect();
    assert_eq!(names, ["", "HomeDomain", "Library", "SMS", "sms.db"]);
    assert_eq!((tree.rows(), tree.made_up()), (1, 3));
    let empty = Selection::default().file("HomeDomain", "no such file");
    let tree = Tree::of_selection(&archive, &empty, &mut crate::archive::Silent).unwrap();
    assert_eq!((tree.domains().len(), tree.root().walk().count()), (0, 1));
}

#[test]
fn modes_and_entries_are_shown_as_ls_shows_them() {
    assert_eq!(mode_string(Kind::File, 0o104_755), "-rwsr-xr-x");
    assert_eq!(mode_string(Kind::File, 0o102_644), "-rw-r-Sr--");
    assert_eq!(mode_string(Kind::Symlink, 0o120_755), "lrwxr-xr-x");
    assert_eq!(mode_string(Kind::Directory, 0), "d?????????");
    let mut shown = entry("D", "a\u{1b}[2Jb\u{202e}c", Kind::File, 12);
    (shown.user_id, shown.modified) = (-2, Some(0));
    let text = Long::new(&shown).to_string();
    assert!(text.ends_with("1970-01-01T00:00:00Z a\\u{1b}[2Jb\\u{202e}c"), "{text}");
    assert!(text.contains("   -2 ") && text.contains("          12 "), "{text}");
    assert_eq!(shown_attribute(&[0xff; 65]).len(), 2 * 64 + "… (65 bytes)".len());
}
