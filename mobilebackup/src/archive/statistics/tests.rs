use super::*;
use crate::archive::{Silent, golden};

fn open(name: &str) -> Archive {
    Archive::open(golden::folder().join(name)).unwrap()
}

#[test]
fn every_table_adds_up_to_the_total() {
    for name in ["synthetic/plain-v10", "greatvovan"] {
        let archive = open(name);
        let statistics = Statistics::of(&archive, &mut Silent).unwrap();
        let rows = archive.entries().unwrap().count() as u64;
        assert_eq!(statistics.total.rows(), rows);
        let sum = |counts: &mut dyn Iterator<Item = &Count>| {
            counts
                .map(|c| (c.rows(), c.bytes))
                .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
        };
        let total = (rows, statistics.total.bytes);
        assert_eq!(sum(&mut statistics.domains.named.values()), total);
        assert_eq!(sum(&mut statistics.categories.values()), total);
        assert_eq!(
            sum(&mut statistics.types.named.values()),
            (statistics.total.files, total.1)
        );
        assert_eq!(statistics.domains.rest, Count::default());
    }
}

#[test]
fn counts_are_by_domain_category_app_and_type() {
    let archive = open("synthetic/plain-v10");
    let statistics = Statistics::of(&archive, &mut Silent).unwrap();
    assert_eq!(statistics.categories["photos"].files, 3);
    assert_eq!(statistics.categories["messages"].files, 1);
    assert_eq!(statistics.apps.named.keys().collect::<Vec<_>>(), ["com.example.app"]);
    assert_eq!(statistics.types.get("jpg").unwrap().files, 3);
    assert_eq!(statistics.types.get("db").unwrap().files, 1);
    assert_eq!(statistics.total.symlinks, 1);
    let unusual = &statistics.unusual;
    assert_eq!(unusual.counts, BTreeMap::from([("climbs", 1), ("flags", 1)]));
    assert_eq!(
        &*unusual
            .entries
            .iter()
            .find(|e| e.oddity == Oddity::Climbs)
            .unwrap()
            .path,
        "../../../../etc/evil"
    );
    let json = serde_json::to_value(&statistics).unwrap();
    assert_eq!(json["unusual"]["entries"].as_array().unwrap().len(), 2);
    assert_eq!(json["categories"]["photos"]["files"], 3);
}

#[test]
fn a_selection_is_counted_alone() {
    let archive = open("synthetic/plain-v10");
    let selection = Selection::default().category(Category::Photos);
    let statistics = Statistics::of_selection(&archive, &selection, &mut Silent).unwrap();
    assert_eq!(
        statistics.domains.named.keys().collect::<Vec<_>>(),
        ["CameraRollDomain"]
    );
    let mut calls = 0;
    let mut observer = |_: &Progress| {
        calls += 1;
        ControlFlow::Continue(())
    };
    Statistics::of(&archive, &mut observer).unwrap();
    assert_eq!(calls, 0, "small backups are counted at once");
}

#[test]
fn an_extension_is_what_follows_the_last_dot_of_a_name() {
    for (path, expected) in [
        ("a/b.JPG", "jpg"),
        ("sms.db-wal", "db-wal"),
        (".plist", "(none)"),
        ("a.b/c", "(none)"),
        ("c.", "(none)"),
        ("com.apple.some_much_longer_thing", "(other)"),
        ("x.tar.gz", "gz"),
        ("x.a b", "(other)"),
        ("", "(none)"),
    ] {
        assert_eq!(extension_of(path), expected, "{path}");
    }
}

#[test]
fn tables_stop_growing() {
    let mut table = Table::default();
    let entry = golden::entry("D", "x", Kind::File, 2);
    for i in 0..MAX_NAMES + 3 {
        table.entry(&i.to_string()).add(&entry);
    }
    assert_eq!(
        (table.named.len(), table.rest.files, table.rest.bytes),
        (MAX_NAMES, 3, 6)
    );
    table.entry("7").add(&entry);
    assert_eq!(table.get("7").unwrap().files, 2);
    assert_eq!(table.largest()[0].0, "7");
}

#[test]
fn odd_entries_are_told_apart() {
    let odd = |change: fn(&mut FileEntry)| {
        let mut entry = golden::entry("D", "x", Kind::File, 2);
        change(&mut entry);
        let mut unusual = Unusual::default();
        unusual.look_at(&entry, false);
        unusual.counts.keys().copied().collect::<Vec<_>>()
    };
    assert!(odd(|_| {}).is_empty());
    assert_eq!(odd(|entry| entry.path = "/x".into()), ["climbs", "wrong_id"]);
    assert_eq!(odd(|entry| entry.kind = Kind::Symlink), ["kind_differs", "no_target"]);
    assert_eq!(odd(|entry| entry.mode = 0o104_755), ["set_id"]);
    assert_eq!(odd(|entry| entry.modified = Some(-1)), ["before_unix"]);
    let mut unusual = Unusual::default();
    unusual.look_at(&golden::entry("D", "x", Kind::File, 2), true);
    assert_eq!(unusual.counts, BTreeMap::from([("no_key", 1)]));
}
