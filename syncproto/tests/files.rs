//! Bookmarks and notes through their files and back; records of every kind through their views.
#![cfg(feature = "interchange")]
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "test code")]

use cabled_syncproto::entity;
use cabled_syncproto::interchange::{InterchangeError, Limits, bookmarks, notes};
use cabled_syncproto::record::{Record, RecordId};
use cabled_syncproto::records::{
    AllDay, CivilDate, Contact, Entry, Event, EventDetails, Graph, IMAGE_UNCHANGED, MAX_IMAGE, MailAccount, Note,
    Person, RecordError, Timestamp, View,
};
use cabled_wire::plist::{Date, Value};
use proptest::prelude::*;

fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

fn words() -> impl Strategy<Value = String> {
    "[a-z<>&\"'; \u{e9}\u{1f600}]{1,10}"
}

fn tree() -> impl Strategy<Value = Graph> {
    let item = (
        any::<bool>(),
        words(),
        words(),
        prop::option::of(0_usize..8),
        any::<bool>(),
    );
    prop::collection::vec(item, 0..12).prop_map(|items| {
        let mut graph = Graph::default();
        let mut folders: Vec<RecordId> = Vec::new();
        let mut counts = std::collections::BTreeMap::new();
        for (n, (is_folder, name, url, parent, odd)) in items.into_iter().enumerate() {
            let parent = parent.and_then(|at| folders.get(at).cloned());
            let count = counts.entry(parent.clone()).or_insert(0_i64);
            let mut record = Record::new(if is_folder { entity::FOLDER } else { entity::BOOKMARK });
            record = record.with("name", name).with("position", *count);
            *count += 1;
            if !is_folder {
                record = record.with("url", url);
            }
            if let Some(parent) = parent {
                record = record.with("parent", vec![parent.as_str().into()]);
            }
            if odd {
                record = record.with("com.example.odd", vec![1.into(), true.into()]);
            }
            let own = id(&format!("{n:03}"));
            if is_folder {
                folders.push(own.clone());
            }
            graph.insert(own, record).unwrap();
        }
        graph
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bookmarks_come_back_from_html_and_json(graph in tree()) {
        let html = bookmarks::write_html(&graph).unwrap();
        prop_assert_eq!(&bookmarks::read_html(&html, &Limits::default()).unwrap(), &graph, "{}", html);
        let json = bookmarks::write_json(&graph).unwrap();
        prop_assert_eq!(&bookmarks::read_json(&json, &Limits::default()).unwrap(), &graph, "{}", json);
    }

    #[test]
    fn notes_come_back_from_text_and_json(
        texts in prop::collection::btree_map(prop::sample::select(vec!["subject", "contentType", "author", "odd"]), words(), 0..4),
        content in "[a-z<>\n-]{0,30}", seconds in -1_000_000_i64..4_000_000_000,
    ) {
        let mut record = Record::new(entity::NOTE).with("content", content);
        for (key, value) in texts {
            record = record.with(key, value);
        }
        let mut view = Note::read(&id("Note/1"), &record).unwrap();
        view.created = Some(Timestamp::new(seconds));
        let view = Note::read(&id("Note/1"), &view.write()).unwrap();
        let note = Entry { id: id("Note/1"), view };
        prop_assert_eq!(&notes::read_text(&notes::write_text(&note), &Limits::default()).unwrap(), &note);
        let list = vec![note];
        prop_assert_eq!(&notes::read_json(&notes::write_json(&list), &Limits::default()).unwrap(), &list);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), html in "(<DL>|</DL>|<H3 A=\"b>|<A HREF=|>|&#x[0-9]{0,9};|&|[a-z\"=]){0,30}") {
        for text in [&text, &html] {
            let _ = bookmarks::read_json(text, &Limits::default());
            let _ = notes::read_text(text, &Limits::default());
            if let Ok(graph) = bookmarks::read_html(text, &Limits::default()) {
                let again = bookmarks::write_html(&graph).unwrap();
                let graph = bookmarks::read_html(&again, &Limits::default()).unwrap();
                prop_assert_eq!(bookmarks::write_html(&graph).unwrap(), again);
            }
        }
    }
}

#[test]
fn a_browsers_export_keeps_what_it_says() {
    let html = "<!DOCTYPE NETSCAPE-Bookmark-file-1>\n<DL><p>\n<DT><H3 ADD_DATE=\"1\" PERSONAL_TOOLBAR_FOLDER=\"true\">Lesezeichen-Symbolleiste</H3>\n\
                <DL><p>\n<DT><A HREF=\"https://a.example/?x=1&amp;y=2\" ADD_DATE=\"1700000000\" ICON=\"data:image/png;base64,AA==\">A &lt;b&gt;</A>\n</DL><p>\n</DL>";
    let graph = bookmarks::read_html(html, &Limits::default()).unwrap();
    let (_, bar) = graph.of_entity(entity::FOLDER).next().unwrap();
    assert_eq!(bar.attributes.get("name"), Some(&bookmarks::BAR.into()));
    assert_eq!(bar.attributes.get("position"), Some(&Value::from(-2)));
    let (_, bookmark) = graph.of_entity(entity::BOOKMARK).next().unwrap();
    assert_eq!(
        bookmark.attributes.get("url"),
        Some(&"https://a.example/?x=1&y=2".into())
    );
    assert_eq!(bookmark.attributes.get("name"), Some(&"A <b>".into()));
    let again = bookmarks::write_html(&graph).unwrap();
    assert!(again.contains("ADD_DATE=\"1700000000\"") && again.contains(">Lesezeichen-Symbolleiste<"));
}

#[test]
fn deep_lists_are_refused_and_folders_in_each_other_do_not_hang() {
    let deep = "<DL>".repeat(100_000);
    assert!(matches!(
        bookmarks::read_html(&deep, &Limits::default()),
        Err(InterchangeError::TooLarge { .. })
    ));
    let folder = |parent: &str| {
        Record::new(entity::FOLDER)
            .with("name", "f")
            .with("parent", vec![parent.into()])
    };
    let mut graph = Graph::default();
    graph.insert(id("a"), folder("b")).unwrap();
    graph.insert(id("b"), folder("a")).unwrap();
    assert_eq!(bookmarks::write_html(&graph).unwrap().matches("<H3").count(), 2);
}

#[test]
fn wrong_types_name_the_record_and_the_key() {
    let mut graph = Graph::default();
    graph
        .insert(id("41"), Record::new(entity::CONTACT).with("first name", 7))
        .unwrap();
    graph
        .insert(id("42"), Record::new(entity::CONTACT).with("first name", "Bo"))
        .unwrap();
    let (contacts, problems) = Contact::read_all(&graph);
    assert_eq!(contacts.len(), 1);
    assert!(matches!(&problems[..], [RecordError::Type { id, key, .. }] if id.as_str() == "41" && key == "first name"));
    let orphan = Record::new(entity::PHONE_NUMBER).with("contact", "41");
    assert!(matches!(graph.insert(id("p"), orphan), Err(RecordError::Type { .. })));
    assert!(graph.get(&id("p")).is_some());
}

#[test]
fn odd_spellings_unknown_keys_and_unknown_entities_come_back() {
    let mut graph = Graph::default();
    let half = Date::from(std::time::UNIX_EPOCH + std::time::Duration::from_millis(1500));
    let event = Record::new(entity::EVENT)
        .with("all day", true)
        .with("start date", half)
        .with("exception dates", Value::Array(Vec::new()))
        .with("com.example.x", vec![1.into()]);
    graph.insert(id("e"), event.clone()).unwrap();
    let odd = Record::new("com.apple.calendars.Smell")
        .with("owner", vec!["e".into()])
        .with("of", "roses");
    graph.insert(id("s"), odd.clone()).unwrap();
    let read = Event::read(&graph, &id("e")).unwrap();
    assert_eq!(
        (read.details.all_day, read.details.start),
        (Some(1), Some(Timestamp::new(1)))
    );
    let mut written = Graph::default();
    read.write(&mut written).unwrap();
    assert_eq!(written.get(&id("e")), Some(&event));
    assert_eq!(written.get(&id("s")), Some(&odd));
}

#[test]
fn pictures_beyond_the_limit_are_known_and_unchanged_ones_are_marked() {
    let person = Person {
        image: Some(vec![0; MAX_IMAGE + 1]),
        ..Person::default()
    };
    assert!(!person.image_fits());
    assert!(
        Person {
            image: Some(vec![0; MAX_IMAGE]),
            ..Person::default()
        }
        .image_fits()
    );
    let record = person.write_keeping_image();
    assert!(record.attributes.contains_key(IMAGE_UNCHANGED) && !record.attributes.contains_key("image"));
}

#[test]
fn the_days_of_an_event_are_the_same_in_every_known_spelling() {
    let day = |day| Timestamp::midnight(CivilDate::new(2026, 7, day).unwrap());
    let days = |start: Timestamp, end: Timestamp| {
        let details = EventDetails {
            start: Some(start),
            end: Some(end),
            all_day: Some(1),
            ..EventDetails::default()
        };
        details.days(|_| 7200).map(|AllDay { start, end }| (start.day, end.day))
    };
    assert_eq!(days(day(1), day(3)), Some((1, 3)));
    assert_eq!(days(day(1), day(2).plus(86_399)), Some((1, 3)));
    assert_eq!(days(day(1).plus(43_200), day(3).plus(43_200)), Some((1, 3)));
    assert_eq!(days(day(1).plus(-7200), day(3).plus(-7200)), Some((1, 3)));
    assert_eq!(days(day(1).plus(-7200), day(3).plus(-7201)), Some((1, 3)));
    assert_eq!(days(day(1), day(1)), Some((1, 2)));
}

#[test]
fn a_mail_account_shows_everything_but_its_password() {
    let record = Record::new(entity::MAIL_ACCOUNT)
        .with("Username", "ann")
        .with("__Password__", Value::Data(b"secret\0".to_vec()))
        .with("Port", 993);
    let account = MailAccount::read(&id("m"), &record).unwrap();
    assert_eq!(account.password.as_ref().unwrap().reveal(), b"secret");
    let shown = format!("{account:?}");
    assert!(shown.contains("ann") && shown.contains("6 bytes") && shown.contains("Port") && !shown.contains("secret"));
}
