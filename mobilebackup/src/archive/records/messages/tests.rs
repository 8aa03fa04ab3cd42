use rusqlite::Connection;

use super::*;
use crate::archive::golden;

fn golden_messages() -> Messages {
    Messages::of(Store::from_file(golden::folder().join("novkostya/messages.1.sms.db")).unwrap()).unwrap()
}

fn of_sql(sql: &str) -> Messages {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(sql).unwrap();
    Messages::of(Store::from_connection(db)).unwrap()
}

fn all(messages: &mut Messages, chat: usize) -> Vec<Message> {
    let mut found = Vec::new();
    let _ = messages
        .each(chat, &mut |message| {
            found.push(message);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    found
}

#[test]
fn the_golden_store_gives_its_conversations_and_texts() {
    let mut messages = golden_messages();
    let titles: Vec<_> = messages.chats().iter().map(Chat::title).collect();
    assert_eq!(titles, ["+15550001", "Fixture Group"]);
    assert!(messages.chats()[1].group && !messages.chats()[0].group);
    assert_eq!(messages.chats()[1].participants.len(), 2);
    assert_eq!(messages.len(), 10);
    let found: Vec<_> = (0..2).flat_map(|chat| all(&mut messages, chat)).collect();
    assert_eq!(found.len(), 10);
    let by_id = |id: i64| found.iter().find(|message| message.id == id).unwrap();
    assert_eq!(by_id(1).text.as_deref(), Some("Hello from the fixture"));
    assert_eq!(by_id(2).text.as_deref(), Some("Reply via attributedBody"));
    assert_eq!(by_id(2).text_source, Some(TextSource::AttributedBody));
    assert_eq!(by_id(2).edited.unwrap().to_string(), "2023-03-08T20:26:42.8Z");
    assert_eq!(by_id(3).text.as_ref().unwrap().len(), 224);
    assert_eq!(by_id(3).reply_to.as_ref().unwrap().guid, "fx-msg-0001");
    assert_eq!(by_id(4).text.as_deref(), Some("Hi 👋 group 🌍"));
    assert_eq!(by_id(5).attachments[0].shown(), "photo.jpg");
    assert_eq!(by_id(6).attachments[0].path, None);
    let loved = MessageKind::Reaction {
        reaction: Reaction::Loved,
        removed: false,
        target: Target {
            guid: "fx-msg-0002".into(),
            part: None,
        },
    };
    assert_eq!(by_id(7).kind, loved);
    assert_eq!((by_id(8).text.as_deref(), &by_id(8).sender), (Some("orphan"), &None));
    assert_eq!(by_id(9).text, None);
    assert_eq!(by_id(10).app.as_deref(), Some("com.apple.messages.URLBalloonProvider"));
    // The sender that does not exist and the body that was cut off are told.
    let notes: Vec<_> = messages
        .notes()
        .kept()
        .iter()
        .map(|note| (note.row, note.column))
        .collect();
    assert!(notes.contains(&(Some(8), Some("handle_id"))), "{notes:?}");
    assert!(notes.contains(&(Some(9), Some("attributedBody"))), "{notes:?}");
}

/// iOS 6: seconds, no threads, no edits, fewer columns everywhere.
const IOS_6: &str = "
    CREATE TABLE handle (ROWID INTEGER PRIMARY KEY, id TEXT, country TEXT, service TEXT);
    CREATE TABLE chat (ROWID INTEGER PRIMARY KEY, guid TEXT, style INTEGER, chat_identifier TEXT, service_name TEXT);
    CREATE TABLE message (ROWID INTEGER PRIMARY KEY, guid TEXT, text TEXT, handle_id INTEGER, subject TEXT, service TEXT,
        date INTEGER, date_read INTEGER, is_from_me INTEGER);
    CREATE TABLE chat_message_join (chat_id INTEGER, message_id INTEGER);
    CREATE TABLE chat_handle_join (chat_id INTEGER, handle_id INTEGER);
    CREATE TABLE attachment (ROWID INTEGER PRIMARY KEY, guid TEXT, filename TEXT, mime_type TEXT);
    CREATE TABLE message_attachment_join (message_id INTEGER, attachment_id INTEGER);
    INSERT INTO handle VALUES (1, '+15550100', 'us', 'SMS');
    INSERT INTO chat VALUES (1, 'SMS;-;+15550100', 45, '+15550100', 'SMS');
    INSERT INTO chat_handle_join VALUES (1, 1);
    INSERT INTO message VALUES (1, 'A', 'second', 1, 'Subject', 'SMS', 370000000, 370000060, 0);
    INSERT INTO message VALUES (2, 'B', 'first', 0, NULL, 'SMS', 369000000, 0, 1);
    INSERT INTO chat_message_join VALUES (1, 1), (1, 2);";

#[test]
fn a_store_of_ios_6_is_read_with_what_it_has() {
    let mut messages = of_sql(IOS_6);
    let found = all(&mut messages, 0);
    let texts: Vec<_> = found.iter().map(|message| message.text.as_deref().unwrap()).collect();
    assert_eq!(texts, ["first", "second"], "by time, not by row");
    assert_eq!(found[1].read.unwrap().to_string(), "2012-09-22T09:47:40Z");
    assert_eq!(found[1].sender.as_ref().unwrap().address, "+15550100");
    assert_eq!(found[0].read, None);
    assert!(messages.notes().is_empty(), "{:?}", messages.notes());
}

#[test]
fn messages_of_both_counts_of_time_stand_in_order() {
    let mut messages = of_sql(&format!(
        "{IOS_6} INSERT INTO message VALUES (3, 'C', 'between', 1, NULL, 'SMS', 369500000000000000, 0, 0);
         INSERT INTO chat_message_join VALUES (1, 3), (1, 3);"
    ));
    let texts: Vec<_> = all(&mut messages, 0)
        .into_iter()
        .map(|message| message.text.unwrap())
        .collect();
    assert_eq!(
        texts,
        ["first", "between", "second"],
        "a message that is joined twice comes once"
    );
}

#[test]
fn events_edits_and_deleted_messages_of_new_systems_are_told() {
    let summary = cabled_wire::plist::to_binary(
        &cabled_wire::dict! { "rp" => cabled_wire::plist::Value::Array(vec![0.into()]) }.into(),
    );
    let mut messages = of_sql(&format!(
        "{IOS_6}
         ALTER TABLE message ADD item_type INTEGER; ALTER TABLE message ADD group_action_type INTEGER;
         ALTER TABLE message ADD other_handle INTEGER; ALTER TABLE message ADD group_title TEXT;
         ALTER TABLE message ADD associated_message_type INTEGER; ALTER TABLE message ADD associated_message_guid TEXT;
         ALTER TABLE message ADD associated_message_emoji TEXT; ALTER TABLE message ADD message_summary_info BLOB;
         ALTER TABLE message ADD expressive_send_style_id TEXT; ALTER TABLE message ADD date_retracted INTEGER;
         CREATE TABLE chat_recoverable_message_join (chat_id INTEGER, message_id INTEGER, delete_date INTEGER);
         INSERT INTO message (ROWID, date, item_type, group_action_type, other_handle) VALUES (10, 400000000, 1, 0, 1);
         INSERT INTO message (ROWID, date, item_type, group_title) VALUES (11, 400000001, 2, 'Trip');
         INSERT INTO message (ROWID, date, associated_message_type, associated_message_guid, associated_message_emoji)
             VALUES (12, 400000002, 2006, 'p:0/A', '🎉'), (13, 400000003, 3001, 'bp:B', NULL);
         INSERT INTO message (ROWID, date, item_type, group_action_type) VALUES (14, 400000004, 77, 5);
         INSERT INTO message (ROWID, date, message_summary_info, date_retracted) VALUES (15, 400000005, x'{}', 400000009);
         INSERT INTO message (ROWID, date, text, expressive_send_style_id)
             VALUES (16, 400000006, 'gone', 'com.apple.MobileSMS.expressivesend.impact');
         INSERT INTO chat_message_join VALUES (1, 10), (1, 11), (1, 12), (1, 13), (1, 14), (1, 15);
         INSERT INTO chat_recoverable_message_join VALUES (1, 16, 400000100000000000);",
        hex::encode(summary)
    ));
    let found = all(&mut messages, 0);
    let kinds: Vec<_> = found[2..].iter().map(|message| message.kind.clone()).collect();
    let target = |guid: &str, part| Target {
        guid: guid.into(),
        part,
    };
    assert_eq!(
        kinds[0],
        MessageKind::Joined {
            who: Some("+15550100".into())
        }
    );
    assert_eq!(
        kinds[1],
        MessageKind::Renamed {
            title: Some("Trip".into())
        }
    );
    let party = Reaction::Emoji("🎉".into());
    assert_eq!(
        kinds[2],
        MessageKind::Reaction {
            reaction: party,
            removed: false,
            target: target("A", Some(0))
        }
    );
    assert_eq!(
        kinds[3],
        MessageKind::Reaction {
            reaction: Reaction::Liked,
            removed: true,
            target: target("B", None)
        }
    );
    assert_eq!(
        kinds[4],
        MessageKind::Other {
            item_type: 77,
            action: 5
        }
    );
    assert_eq!(found[7].unsent_parts, [0]);
    assert!(found[7].unsent.is_some());
    assert_eq!(found[8].deleted.unwrap().to_string(), "2013-09-04T15:08:20Z");
    assert_eq!(
        found[8].effect.as_deref(),
        Some("com.apple.MobileSMS.expressivesend.impact")
    );
}

#[test]
fn nothing_of_a_store_full_of_nonsense_is_lost_in_silence() {
    let mut messages = of_sql(&format!(
        "{IOS_6}
         INSERT INTO message VALUES (20, NULL, x'ff00fe', 'text', 7, 8, 'never', -1, 'x');
         INSERT INTO message VALUES (21, 'D', NULL, 999, NULL, NULL, 9e300, NULL, NULL);
         INSERT INTO chat_message_join VALUES (1, 20), (9, 21), (1, 777), (NULL, 'x');
         INSERT INTO message_attachment_join VALUES (20, 5);
         INSERT INTO chat_handle_join VALUES (1, 88);"
    ));
    // The conversation of 21 does not exist, so that one more is listed.
    assert_eq!(messages.chats().len(), 2);
    assert_eq!(messages.chats()[1].title(), "Messages in no conversation");
    let (known, unknown) = (all(&mut messages, 0), all(&mut messages, 1));
    assert_eq!((known.len(), unknown.len()), (3, 1));
    assert_eq!(known[0].text.as_deref(), Some("\u{fffd}\0\u{fffd}"));
    let told: Vec<_> = messages.notes().kept().iter().map(ToString::to_string).collect();
    for expected in [
        "chat 9",
        "message 777",
        "attachment 5",
        "handle 88",
        "handle 999",
        "message row 20, date: text where an integer belongs",
        "message row 20, text: the text is not UTF-8",
        "is no time",
    ] {
        assert!(
            told.iter().any(|note| note.contains(expected)),
            "{expected} in {told:#?}"
        );
    }
}

#[test]
fn a_database_without_messages_is_refused() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch("CREATE TABLE other (a)").unwrap();
    let error = Messages::of(Store::from_connection(db)).unwrap_err();
    assert!(matches!(error, RecordError::Schema { table: "message", .. }));
}

#[test]
fn names_come_from_the_contacts() {
    let mut messages = of_sql(IOS_6);
    let mut directory = Directory::default();
    directory.add("(555) 0100", "too short to be sure");
    directory.add("+1 555 0100", "Ana");
    messages.name_people(&directory);
    assert_eq!(messages.chats()[0].title(), "Ana");
    assert_eq!(all(&mut messages, 0)[1].sender.as_ref().unwrap().shown(), "Ana");
}

#[test]
fn paths_on_the_phone_lead_to_the_domain() {
    assert_eq!(home_path("~/Library/SMS/a"), Some("Library/SMS/a"));
    assert_eq!(home_path("/private/var/mobile/Library/SMS/a"), Some("Library/SMS/a"));
    assert_eq!(home_path("/var/tmp/a"), None);
    assert_eq!(home_path("~/"), None);
}
