//! Bytes that libimobiledevice 1.3.0 really sent, and the answers it accepts.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use cabled_golden::{LIBIMOBILEDEVICE, Line, Side, files, lines};
use cabled_syncproto::DataClass;
use cabled_syncproto::msg::{Message, PushInfo, SyncType, limits};
use cabled_syncproto::record::{Change, RecordId};
use cabled_wire::plist::{self, Value};

/// The sync connection of every recorded run, link messages left out.
fn captures() -> Vec<(String, Vec<Line>)> {
    let files = files(LIBIMOBILEDEVICE, "jsonl").into_iter();
    let found: Vec<_> = files
        .filter(|file| file.contains("mobilesync-"))
        .map(|file| {
            let mut lines = lines(&file);
            lines.retain(|line| line.layer == "com.apple.mobilesync" && !is_link(line));
            (file, lines)
        })
        .collect();
    assert_eq!(found.len(), 8, "all captures are there");
    found
}

fn elements(line: &Line) -> Vec<Value> {
    plist::read(&line.body(), &limits()).unwrap().into_array().unwrap()
}

fn is_link(line: &Line) -> bool {
    elements(line)[0].as_string().unwrap().starts_with("DL")
}

fn run(name: &str) -> Vec<(Side, Message)> {
    let file = format!("{LIBIMOBILEDEVICE}/mobilesync-{name}.jsonl");
    let (_, lines) = captures().into_iter().find(|(found, _)| *found == file).unwrap();
    let message = |line: &Line| (line.from, Message::decode(&line.body(), &limits()).unwrap());
    lines.iter().map(message).collect()
}

#[test]
fn every_recorded_message_is_known_and_is_written_again_element_by_element() {
    let mut seen = 0;
    for (_, lines) in captures() {
        for line in lines {
            let message = Message::decode(&line.body(), &limits()).unwrap();
            assert!(
                !matches!(message, Message::Unknown { .. }),
                "{}: {message:?}",
                line.place()
            );
            let written = plist::read(&message.encode(), &limits()).unwrap();
            let (ours, theirs) = (written.into_array().unwrap(), elements(&line));
            assert_eq!(ours.len(), theirs.len(), "{}", line.place());
            for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
                assert!(
                    says_the_same(ours, theirs),
                    "{} element {index}: {ours:?} {theirs:?}",
                    line.place()
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen}");
}

/// Deletions say any text, and dictionaries have no order; all else is equal.
fn says_the_same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Dictionary(ours), Value::Dictionary(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, value)| match (value, theirs.get(key)) {
                    (Value::String(_), Some(Value::String(_))) => true,
                    (value, Some(other)) => says_the_same(value, other),
                    (_, None) => false,
                })
        }
        _ => ours == theirs,
    }
}

#[test]
fn a_two_way_session_reads_as_it_was_meant() {
    let messages = run("two-way");
    let (side, start) = &messages[0];
    assert_eq!(*side, Side::Host);
    let Message::Start {
        class, version, info, ..
    } = start
    else {
        panic!("{start:?}");
    };
    assert_eq!((class, *version, info), (&DataClass::Contacts, 106, &None));
    let Message::Started { sync_type, version, .. } = &messages[1].1 else {
        panic!("{:?}", messages[1]);
    };
    assert_eq!((*sync_type, *version), (SyncType::Fast, Some(106)));
    let pushes: Vec<&Message> = messages
        .iter()
        .filter(|(side, message)| *side == Side::Host && matches!(message, Message::ProcessChanges { .. }))
        .map(|(_, message)| message)
        .collect();
    assert!(!pushes.is_empty());
    let informed = pushes.iter().any(|push| {
        let Message::ProcessChanges {
            info: Some(PushInfo { entities, .. }),
            ..
        } = push
        else {
            return false;
        };
        entities
            .iter()
            .flatten()
            .any(|name| name == cabled_syncproto::entity::CONTACT)
    });
    assert!(informed, "{pushes:?}");
    assert!(matches!(
        messages.last(),
        Some((Side::Device, Message::Finished { .. }))
    ));
}

#[test]
fn deletions_are_told_from_records_whoever_sends_them() {
    let deletions = |side: Side| {
        let of_side = captures()
            .into_iter()
            .flat_map(|(_, lines)| lines)
            .filter(|line| line.from == side);
        let changes = of_side.filter_map(|line| match Message::decode(&line.body(), &limits()).unwrap() {
            Message::ProcessChanges { changes, .. } => changes,
            _ => None,
        });
        let ids = changes
            .flatten()
            .filter(|(_, change)| *change == Change::Delete)
            .map(|(id, _)| id);
        ids.collect::<Vec<RecordId>>()
    };
    assert!(!deletions(Side::Host).is_empty());
    assert!(!deletions(Side::Device).is_empty());
}
