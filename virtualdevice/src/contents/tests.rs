//! A filled phone, as its users see it.

#![expect(clippy::cast_possible_truncation, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use proptest::prelude::*;
use rusqlite::Connection;

use super::{Changes, Recipe, fill, mutate};
use crate::fs::{Content, Entry, Fs, FsError, diff, map, tree_digest};

fn phone(recipe: &Recipe) -> Fs {
    let fs = Fs::new(1 << 50);
    fill(&fs, recipe).unwrap();
    fs
}

fn totals(fs: &Fs) -> (u64, u64) {
    let files: Vec<_> = fs.snapshot().into_iter().filter(|entry| entry.is_file()).collect();
    (files.len() as u64, files.iter().map(|entry| entry.len()).sum())
}

fn open(content: &Content) -> Connection {
    let bytes = content.to_bytes(1 << 30).unwrap();
    let mut db = Connection::open_in_memory().unwrap();
    db.deserialize_read_exact(c"main", &*bytes, bytes.len(), true).unwrap();
    db
}

fn database(fs: &Fs, domain: &str, path: &str) -> Connection {
    open(fs.get(domain, path).unwrap().content().unwrap())
}

fn count(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Everything about an entry but what a service may change at any time.
fn facts(entry: &Entry) -> String {
    format!("{} {} {:?} {:?}", entry.domain, entry.path, entry.meta, entry.kind)
}

#[test]
fn the_same_recipe_gives_the_same_phone_and_another_seed_another() {
    let (one, two) = (phone(&Recipe::tiny()), phone(&Recipe::tiny()));
    assert_eq!(tree_digest(&one).unwrap(), tree_digest(&two).unwrap());
    let facts = |fs: &Fs| fs.snapshot().iter().map(|entry| facts(entry)).collect::<Vec<_>>();
    assert_eq!(facts(&one), facts(&two));
    let other = tree_digest(&phone(&Recipe::tiny().seed(2))).unwrap();
    let changes = diff(&tree_digest(&one).unwrap(), &other);
    assert!(changes.changed.len() > 20, "{changes}");
}

#[test]
fn files_and_bytes_are_met_exactly() {
    assert_eq!(totals(&phone(&Recipe::tiny())), (112, 1_900_000));
    assert_eq!(totals(&phone(&Recipe::demo())), (2_000, 200_000_000));
    assert_eq!(
        totals(&phone(&Recipe::tiny().files(777).bytes(3_333_333))),
        (777, 3_333_333)
    );
    let (files, bytes) = totals(&phone(&Recipe::few_large(4 << 30)));
    assert_eq!(bytes, 4 << 30);
    assert!(files < 120);
    assert_eq!(
        totals(&phone(&Recipe::tiny().files(0).bytes(50 << 30))),
        (101, 50 << 30)
    );
}

#[test]
fn few_large_files_hold_nearly_everything() {
    let fs = phone(&Recipe::few_large(40 << 30));
    let large: u64 = fs
        .snapshot()
        .iter()
        .filter(|entry| entry.len() > 1 << 30)
        .map(|entry| entry.len())
        .sum();
    assert!(large > (40 << 30) - (4 << 20));
    assert!(
        fs.snapshot().iter().any(|entry| entry.len() > 4 << 30),
        "one above 4 GiB"
    );
}

#[test]
fn a_phone_that_is_too_small_says_so() {
    let error = fill(&Fs::new(1 << 20), &Recipe::tiny()).unwrap_err();
    assert!(matches!(error, super::ContentsError::Fs(FsError::NoSpace)), "{error:?}");
}

#[test]
fn every_domain_has_a_root_and_every_entry_its_parents() {
    let fs = phone(&Recipe::tiny());
    for entry in fs.snapshot() {
        match entry.parent() {
            Some(parent) => assert!(fs.get(&entry.domain, parent).unwrap().is_dir()),
            None => assert!(entry.is_dir()),
        }
        assert!(entry.meta.inode > 1 && entry.meta.mtime > 0 && entry.meta.mtime < 1_700_000_000_000_000_000);
    }
    let domains: BTreeSet<_> = fs
        .domains()
        .iter()
        .map(|domain| domain.split('-').next().unwrap().to_owned())
        .collect();
    for kind in [
        "AppDomain",
        "AppDomainGroup",
        "AppDomainPlugin",
        "CameraRollDomain",
        "DatabaseDomain",
        "HealthDomain",
        "HomeDomain",
        "KeyboardDomain",
        "KeychainDomain",
        "MediaDomain",
        "RootDomain",
        "SysContainerDomain",
        "SysSharedContainerDomain",
        "SystemPreferencesDomain",
        "WirelessDomain",
    ] {
        assert!(domains.contains(kind), "{kind}");
    }
}

#[test]
fn inode_numbers_are_unique() {
    let fs = phone(&Recipe::demo());
    let inodes: BTreeSet<_> = fs.snapshot().iter().map(|entry| entry.meta.inode).collect();
    assert_eq!(inodes.len(), fs.entry_count());
}

#[test]
fn the_odd_things_are_there() {
    let fs = phone(&Recipe::tiny());
    let all = fs.snapshot();
    let odd: Vec<_> = all
        .iter()
        .filter(|entry| &*entry.domain == super::odd::DOMAIN)
        .collect();
    let has = |what: &str, test: &dyn Fn(&Entry) -> bool| assert!(all.iter().any(|entry| test(entry)), "{what}");
    for len in [0, 1, 16, 32_768, 65_536, 262_144, 524_288] {
        has("a file of that size", &|entry| entry.is_file() && entry.len() == len);
    }
    has("uid -2", &|entry| entry.meta.uid == -2);
    has("flags", &|entry| entry.meta.flags == 128);
    has("attributes of a directory", &|entry| {
        entry.is_dir() && !entry.meta.xattrs.is_empty()
    });
    has("an empty attribute", &|entry| {
        entry.meta.xattrs.values().any(Vec::is_empty)
    });
    has("a name of 255 bytes", &|entry| entry.name().len() == 255);
    has("a deep path", &|entry| entry.path.matches('/').count() > 40);
    has("an absolute link", &|entry| {
        entry.link_target().is_some_and(|target| target.starts_with('/'))
    });
    has("a relative link", &|entry| {
        entry.link_target().is_some_and(|target| !target.starts_with('/'))
    });
    let classes: BTreeSet<_> = all
        .iter()
        .filter(|entry| entry.is_file())
        .map(|entry| entry.meta.protection_class)
        .collect();
    assert_eq!(classes, BTreeSet::from([1, 2, 3, 4]));
    let folded: BTreeMap<_, _> = odd.iter().map(|entry| (entry.path.to_lowercase(), entry)).collect();
    assert!(folded.len() < odd.len(), "twins in case");
    for name in [
        "caf\u{e9}.txt",
        "cafe\u{301}.txt",
        "trailing dots...",
        "a:b*c?.txt",
        "AUX",
    ] {
        assert!(
            fs.get(super::odd::DOMAIN, &format!("Documents/Names/{name}")).is_some(),
            "{name}"
        );
    }
    let plain = phone(&Recipe::tiny().odd_names(false));
    assert!(plain.get(super::odd::DOMAIN, "Documents/Names").is_none());
}

#[test]
fn every_database_is_whole() {
    let fs = phone(&Recipe::tiny().contacts(30).messages(200));
    let mut databases = 0;
    for entry in fs.snapshot() {
        let Some(content) = entry.content() else { continue };
        let mut head = [0; 15];
        content.read_at(0, &mut head).unwrap();
        if head == *b"SQLite format 3" {
            let check: String = open(content)
                .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                .unwrap();
            assert_eq!(check, "ok", "{}", entry.path);
            databases += 1;
        }
    }
    assert_eq!(databases, 16);
}

#[test]
fn messages_calls_and_chats_are_with_people_of_the_address_book() {
    let recipe = Recipe::tiny().contacts(30).messages(200).calls(50);
    let fs = phone(&recipe);
    let book = database(&fs, map::HOME, "Library/AddressBook/AddressBook.sqlitedb");
    assert_eq!(count(&book, "SELECT count(*) FROM ABPerson"), 30);
    let mut numbers = book
        .prepare("SELECT value FROM ABMultiValue WHERE property = 3")
        .unwrap();
    let numbers: BTreeSet<String> = numbers
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(numbers.len(), 30, "everybody has a number of their own");
    let all_known = |db: &Connection, sql: &str| {
        let mut query = db.prepare(sql).unwrap();
        let found: Vec<String> = query
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(!found.is_empty());
        assert!(found.iter().all(|number| numbers.contains(number)), "{found:?}");
    };
    let sms = database(&fs, map::HOME, "Library/SMS/sms.db");
    all_known(&sms, "SELECT id FROM handle");
    assert_eq!(
        count(
            &sms,
            "SELECT count(*) FROM message JOIN chat_message_join ON message_id = message.ROWID"
        ),
        200
    );
    let calls = database(&fs, map::HOME, "Library/CallHistoryDB/CallHistory.storedata");
    all_known(&calls, "SELECT ZADDRESS FROM ZCALLRECORD");
    assert_eq!(count(&calls, "SELECT count(*) FROM ZCALLRECORD"), 50);
    let chats = database(
        &fs,
        "AppDomainGroup-group.net.whatsapp.WhatsApp.shared",
        "ChatStorage.sqlite",
    );
    all_known(
        &chats,
        "SELECT '+' || replace(ZCONTACTJID, '@s.whatsapp.net', '') FROM ZWACHATSESSION",
    );
}

#[test]
fn attachments_and_photos_of_the_databases_are_on_the_phone_with_that_length() {
    let fs = phone(&Recipe::demo());
    let sms = database(&fs, map::HOME, "Library/SMS/sms.db");
    let mut query = sms.prepare("SELECT filename, total_bytes FROM attachment").unwrap();
    let attachments = query
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?)))
        .unwrap();
    let mut found = 0;
    for (path, len) in attachments.map(Result::unwrap) {
        let place = map::from_device_path(&fs, &path.replacen('~', "/var/mobile", 1)).unwrap();
        assert_eq!(fs.get(&place.0, &place.1).unwrap().len(), len);
        found += 1;
    }
    assert_eq!(found, 60);
    let photos = database(&fs, map::CAMERA_ROLL, "Media/PhotoData/Photos.sqlite");
    let mut query = photos
        .prepare("SELECT 'Media/' || ZDIRECTORY || '/' || ZFILENAME FROM ZASSET")
        .unwrap();
    let listed: BTreeSet<String> = query
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let roll = fs.subtree(map::CAMERA_ROLL, "Media/DCIM");
    let taken: BTreeSet<String> = roll
        .iter()
        .filter(|shot| shot.is_file())
        .map(|shot| shot.path.to_string())
        .collect();
    assert!(taken.len() > 500);
    assert_eq!(listed, taken);
}

fn check_changes(before: &Fs, after: &Fs, changes: &Changes) {
    let found = diff(&tree_digest(before).unwrap(), &tree_digest(after).unwrap());
    let paths = |digests: &mut dyn Iterator<Item = String>| digests.collect::<BTreeSet<_>>();
    let missing = paths(&mut found.missing.iter().map(|digest| digest.path.to_string()));
    let extra = paths(&mut found.extra.iter().map(|digest| digest.path.to_string()));
    let changed = paths(&mut found.changed.iter().map(|(_, digest)| digest.path.to_string()));
    let (from, to): (Vec<_>, Vec<_>) = changes.renamed.iter().cloned().unzip();
    assert_eq!(
        missing,
        paths(&mut changes.removed.iter().chain(&from).map(|place| place.path.to_string()))
    );
    assert_eq!(
        extra,
        paths(&mut changes.added.iter().chain(&to).map(|place| place.path.to_string()))
    );
    assert_eq!(
        changed,
        paths(&mut changes.edited.iter().map(|place| place.path.to_string()))
    );
}

#[test]
fn a_day_of_use_changes_what_it_says_and_nothing_else() {
    let recipe = Recipe::tiny().files(120).bytes(4_000_000);
    let (before, after, again) = (phone(&recipe), phone(&recipe), phone(&recipe));
    let changes = mutate(&after, 5).unwrap();
    check_changes(&before, &after, &changes);
    let counts = (
        changes.added.len(),
        changes.edited.len(),
        changes.removed.len(),
        changes.renamed.len(),
    );
    assert_eq!(counts, (6, 4, 2, 1));
    assert_eq!(changes.to_send(), 11);
    assert_eq!(mutate(&again, 5).unwrap(), changes);
    assert_eq!(tree_digest(&again).unwrap(), tree_digest(&after).unwrap());
    let times = |fs: &Fs| fs.snapshot().iter().map(|entry| facts(entry)).collect::<Vec<_>>();
    assert_eq!(
        times(&again),
        times(&after),
        "not even a time depends on the host's clock"
    );

    let sms = database(&after, map::HOME, "Library/SMS/sms.db");
    assert_eq!(changes.message, Some(41));
    assert_eq!(count(&sms, "SELECT max(ROWID) FROM message"), 41);
    let notes = database(&after, super::db::NOTES_DOMAIN, super::db::NOTES);
    assert_eq!(count(&notes, "SELECT count(*) FROM ZICNOTEDATA"), 5);
    let photos = database(&after, map::CAMERA_ROLL, "Media/PhotoData/Photos.sqlite");
    let shots = after
        .subtree(map::CAMERA_ROLL, "Media/DCIM")
        .iter()
        .filter(|shot| shot.is_file())
        .count();
    assert_eq!(count(&photos, "SELECT count(*) FROM ZASSET"), shots as i64);
}

#[test]
fn days_follow_each_other() {
    let fs = phone(&Recipe::tiny());
    for day in 0..20 {
        let before = tree_digest(&fs).unwrap();
        let changes = mutate(&fs, day).unwrap();
        let found = diff(&before, &tree_digest(&fs).unwrap());
        assert_eq!(found.missing.len(), changes.removed.len() + changes.renamed.len());
        assert!(changes.added.len() >= 5, "day {day}: {changes:?}");
    }
}

#[test]
fn a_day_with_an_empty_phone_takes_photos_all_the_same() {
    let fs = Fs::new(1 << 30);
    let changes = mutate(&fs, 1).unwrap();
    assert_eq!(changes.added.len(), 5);
    assert_eq!((changes.edited.len(), changes.message), (0, None));
}

#[test]
fn a_database_that_a_peer_has_replaced_is_an_error_not_a_panic() {
    let fs = phone(&Recipe::tiny());
    fs.set_len(map::HOME, "Library/SMS/sms.db", 0).unwrap();
    fs.write_at(map::HOME, "Library/SMS/sms.db", 0, &[0xff; 5000]).unwrap();
    assert!(matches!(mutate(&fs, 1), Err(super::ContentsError::Sqlite(_))));
}

#[test]
fn a_tiny_phone_takes_milliseconds() {
    let start = Instant::now();
    let fs = phone(&Recipe::tiny());
    let entries = fs.entry_count();
    // Forty times what it takes, for busy machines.
    assert!(
        start.elapsed().as_secs() < 4,
        "{entries} entries in {:?}",
        start.elapsed()
    );
}

#[test]
#[ignore = "a measurement: run it alone in release, with --nocapture"]
fn a_phone_of_100_000_files_is_made_in_seconds() {
    let memory = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .unwrap_or_default()
            .to_owned();
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .unwrap_or_default()
            / 1024
    };
    let (start, before) = (Instant::now(), memory());
    let fs = phone(&Recipe::many_small(100_000));
    let made = start.elapsed();
    println!("{} entries in {made:?}, {} MiB", fs.entry_count(), memory() - before);
    let start = Instant::now();
    println!("snapshot of {} in {:?}", fs.snapshot().len(), start.elapsed());
    let (start, bytes) = (Instant::now(), totals(&fs).1);
    println!(
        "digest of {} in {:?}, {bytes} bytes",
        tree_digest(&fs).unwrap().len(),
        start.elapsed()
    );
    let start = Instant::now();
    println!(
        "a day in {:?}: {:?}",
        mutate(&fs, 1).map(|changes| changes.to_send()),
        start.elapsed()
    );
    assert!(made.as_secs() < 10);
}

proptest! {
    #[test]
    fn any_part_of_a_generated_file_is_that_part_of_the_whole(
        seed: u64, len in 0_u64..300_000, parts in proptest::collection::vec((0_u64..310_000, 0_usize..70_000), 1..8),
    ) {
        for content in [
            Content::noise(seed, len), Content::text(seed, len), Content::jpeg(seed, len), Content::movie(seed, len),
        ] {
            let whole = content.to_bytes(1 << 20).unwrap();
            prop_assert_eq!(whole.len() as u64, content.len());
            for (at, n) in &parts {
                let mut out = vec![0; *n];
                let n = content.read_at(*at, &mut out).unwrap();
                let start = whole.len().min(*at as usize);
                prop_assert_eq!(&out[..n], &whole[start..whole.len().min(start + out.len())]);
            }
        }
    }
}
