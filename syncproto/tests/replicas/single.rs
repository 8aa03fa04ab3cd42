//! Everything in one file.

use super::*;
use cabled_syncproto::entity;
use cabled_syncproto::replica::{BookmarksFile, SingleFile};

#[test]
fn contacts_and_calendars_in_one_file_read_back_as_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let cards = folder.path().join("all.vcf");
    let mut both = Both::new(DataClass::Contacts);
    both.phone = contacts::full_phone();
    let before = both.phone.records.clone();
    both.sync(&mut SingleFile::contacts(&cards)).is_clean();
    both.sync(&mut SingleFile::contacts(&cards)).is_idle();
    assert_eq!(both.phone.records, before);
    let mut again = Both::new(DataClass::Contacts);
    again.sync(&mut SingleFile::contacts(&cards)).is_clean();
    assert_eq!(again.phone.records.len(), before.len());

    let events = folder.path().join("all.ics");
    let mut both = Both::new(DataClass::Calendars);
    both.phone = calendars::full_phone();
    let before = both.phone.records.clone();
    both.sync(&mut SingleFile::calendars(&events)).is_clean();
    both.sync(&mut SingleFile::calendars(&events)).is_idle();
    assert_eq!(both.phone.records, before);
    assert_eq!(
        fs::read_to_string(&events).unwrap().matches("BEGIN:VCALENDAR").count(),
        2
    );
    let mut again = Both::new(DataClass::Calendars);
    again.sync(&mut SingleFile::calendars(&events)).is_clean();
    assert_eq!(again.phone.records.len(), before.len());

    // A calendar goes with its events, the others stay.
    both.phone.delete(&id("c2"));
    both.sync(&mut SingleFile::calendars(&events)).is_clean();
    both.sync(&mut SingleFile::calendars(&events)).is_idle();
    let text = fs::read_to_string(&events).unwrap();
    assert!(
        text.contains("SUMMARY:Tea") && !text.contains("SUMMARY:Tokyo"),
        "{text}"
    );
}

#[test]
fn a_file_that_was_there_and_is_gone_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let cards = folder.path().join("all.vcf");
    let mut both = Both::new(DataClass::Contacts);
    both.phone
        .put("1", Record::new(entity::CONTACT).with("first name", "Ann"));
    both.sync(&mut SingleFile::contacts(&cards)).is_clean();
    fs::remove_file(&cards).unwrap();
    let gone = both.try_sync(&mut SingleFile::contacts(&cards), |_| ());
    assert!(matches!(gone, Err(ReplicaError::Unavailable { .. })));
    fs::write(&cards, "").unwrap();
    assert!(!both.sync(&mut SingleFile::contacts(&cards)).plan.stops.is_empty());
    assert_eq!(both.phone.records.len(), 1);
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_and_permissions_are_kept() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real.vcf"), folder.path().join("link.vcf"));
    fs::write(&real, "").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("real.vcf", &link).unwrap();
    let mut both = Both::new(DataClass::Contacts);
    both.phone
        .put("1", Record::new(entity::CONTACT).with("first name", "Ann"));
    both.sync(&mut SingleFile::contacts(&link)).is_clean();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("FN:Ann"));
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
}

fn bookmarks() -> Phone {
    let mut phone = Phone::default();
    let folder = |name: &str, place: i64| Record::new(entity::FOLDER).with("name", name).with("position", place);
    let mark = |name: &str, url: &str, place: i64| {
        Record::new(entity::BOOKMARK)
            .with("name", name)
            .with("url", url)
            .with("position", place)
    };
    phone
        .put("b", folder("BookmarksBar", -2))
        .put("m", folder("BookmarksMenu", -2))
        .put("1", folder("News & more", 0).with("parent", vec!["b".into()]))
        .put(
            "2",
            mark("<Example>", "https://example.org/?a=1&b=2", 0).with("parent", vec!["1".into()]),
        )
        .put(
            "3",
            mark("Twice", "https://example.com", 1).with("parent", vec!["b".into()]),
        )
        .put(
            "4",
            mark("Twice", "https://example.com", 2).with("parent", vec!["b".into()]),
        )
        .put("5", mark("Root", "https://example.net", 0));
    phone
}

#[test]
fn bookmarks_read_back_as_the_same_and_survive_a_browser() {
    for name in ["marks.html", "marks.json"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        let mut both = Both::new(DataClass::Bookmarks);
        both.phone = bookmarks();
        let before = both.phone.records.clone();
        both.sync(&mut BookmarksFile::new(&file)).is_clean();
        both.sync(&mut BookmarksFile::new(&file)).is_idle();
        assert_eq!(both.phone.records, before, "{name}");
        if name == "marks.html" {
            // A browser keeps no identifiers.
            let text = fs::read_to_string(&file).unwrap();
            let bare: String = text
                .split(" ID=\"")
                .enumerate()
                .map(|(at, part)| match at {
                    0 => part,
                    _ => part.split_once('"').unwrap().1,
                })
                .collect();
            assert!(!bare.contains("ID="));
            fs::write(&file, bare).unwrap();
            // Of two that are the same nobody can say which is which; they may change places.
            let done = both.sync(&mut BookmarksFile::new(&file));
            done.is_clean();
            assert!(done.plan.actions.computer.is_empty(), "{}", done.plan);
            assert!(
                done.plan
                    .actions
                    .device
                    .iter()
                    .all(|action| action.groups() == ["position"]),
                "{}",
                done.plan
            );
            both.sync(&mut BookmarksFile::new(&file)).is_idle();
            assert_eq!(both.phone.records.len(), before.len());
        }
        let text = fs::read_to_string(&file).unwrap();
        fs::write(
            &file,
            text.replace("&lt;Example&gt;", "Renamed")
                .replace("<Example>", "Renamed"),
        )
        .unwrap();
        both.sync(&mut BookmarksFile::new(&file)).is_clean();
        both.sync(&mut BookmarksFile::new(&file)).is_idle();
        assert!(
            both.phone.has("name", "Renamed") && both.phone.records.len() == before.len(),
            "{name}"
        );
        both.phone.delete(&id("5"));
        both.phone.put(
            "6",
            Record::new(entity::BOOKMARK)
                .with("name", "New")
                .with("url", "https://example.org/new")
                .with("position", 0),
        );
        both.sync(&mut BookmarksFile::new(&file)).is_clean();
        both.sync(&mut BookmarksFile::new(&file)).is_idle();
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("https://example.org/new") && !text.contains("https://example.net"),
            "{text}"
        );
    }
}

#[test]
fn a_bookmark_that_was_written_and_then_deleted_on_the_device_stays_deleted() {
    for name in ["b.html", "b.json"] {
        for one in ["2", "3", "4", "5"].map(id) {
            let folder = tempfile::tempdir().unwrap();
            let place = || BookmarksFile::new(folder.path().join(name));
            let mut both = Both::new(DataClass::Bookmarks);
            both.phone = bookmarks();
            both.sync(&mut place()).is_clean();
            both.phone.delete(&one);
            let done = both.sync(&mut place());
            assert_eq!(done.plan.conflicts().count(), 0, "{name} {one}: {}", done.plan);
            both.sync(&mut place()).is_idle();
        }
    }
}
