//! The sync service.

use cabled::devicelink::msg::Message as LinkMessage;
use cabled_golden::Side;
use cabled_syncproto::msg::{Message, limits};

use crate::Coverage;
use crate::seen::{self, Seen};

const FILE: &str = "syncproto/src/msg.rs";

/// Messages of all captures, and the sync types in them.
fn sync(side: Option<Side>) -> (Seen, Seen) {
    let (mut messages, mut types) = (Seen::default(), Seen::default());
    for (line, source) in seen::recorded() {
        if line.layer != "com.apple.mobilesync" || side.is_some_and(|side| side != line.from) {
            continue;
        }
        // Messages of the link have names that start with DL; they are another protocol's.
        let Ok(message) = Message::decode(&line.body(), &limits()) else {
            assert!(LinkMessage::decode(&line.body(), &limits()).is_ok(), "{}", line.place());
            continue;
        };
        if let Message::Started { sync_type, .. } = &message {
            types.note(sync_type, source);
        }
        messages.note(&message, source);
    }
    (messages, types)
}

#[test]
fn every_sync_message_has_a_vector() {
    let (messages, types) = sync(None);
    let messages = Coverage {
        name: "Message",
        file: FILE,
        seen: messages,
        accepted: &["Finished", "Ready", "Refused", "Remap", "Started", "WillClear"],
        built: &[],
        absent: &[],
    };
    messages.check();
    let types = Coverage {
        name: "SyncType",
        file: FILE,
        seen: types,
        accepted: &["Fast", "Reset"],
        built: &[],
        absent: &[(
            "Slow",
            "no stand-in said it in a recording; libimobiledevice takes it from the virtual phone, in tests/interop",
        )],
    };
    types.check();
}

/// Two messages go both ways: each of them was recorded from either side.
#[test]
fn what_both_sides_of_a_sync_say_was_seen_from_both() {
    for side in [Side::Host, Side::Device] {
        let (messages, _) = sync(Some(side));
        for name in ["ProcessChanges", "Cancel"] {
            assert!(messages.best(name).is_some(), "{name} of {side:?}");
        }
    }
}
