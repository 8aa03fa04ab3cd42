//! Messages that are odd, hostile, or made at random.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;

use cabled_syncproto::DataClass;
use cabled_syncproto::msg::{Message, PLACEHOLDER, PushInfo, SyncType, limits};
use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_wire::WireError;
use cabled_wire::plist::{self, Dictionary, Value};
use proptest::prelude::*;

fn decode(elements: Vec<Value>) -> Result<Message, WireError> {
    Message::decode(&plist::to_binary(&Value::Array(elements)), &limits())
}

const CLASS: &str = "com.apple.Contacts";

#[test]
fn missing_elements_at_the_end_and_placeholders_mean_the_same() {
    let short = decode(vec!["SDMessageProcessChanges".into(), CLASS.into()]).unwrap();
    let long = decode(vec![
        "SDMessageProcessChanges".into(),
        CLASS.into(),
        PLACEHOLDER.into(),
        PLACEHOLDER.into(),
        PLACEHOLDER.into(),
    ]);
    assert_eq!(short, long.unwrap());
    let nothing = Message::ProcessChanges {
        class: DataClass::Contacts,
        changes: None,
        more: false,
        info: None,
    };
    assert_eq!(short, nothing);
}

#[test]
fn an_element_of_another_type_is_an_error_that_names_its_position() {
    let error = decode(vec!["SDMessageProcessChanges".into(), CLASS.into(), 7.into()]).unwrap_err();
    let expected = WireError::Type {
        key: "element 2".into(),
        expected: "a dictionary",
    };
    assert_eq!(error, expected);
    assert!(decode(vec!["SDMessageFinishSessionOnDevice".into(), 7.into()]).is_err());
    assert!(decode(vec!["SDMessageFinishSessionOnDevice".into()]).is_err());
    assert!(decode(vec!["DLMessagePing".into(), "text".into()]).is_err());
    assert!(decode(Vec::new()).is_err());
}

#[test]
fn a_record_that_is_neither_dictionary_nor_text_is_an_error_with_its_identifier() {
    let changes = Dictionary::from_iter([("41".to_owned(), Value::from(1))]);
    let error = decode(vec!["SDMessageProcessChanges".into(), CLASS.into(), changes.into()]).unwrap_err();
    assert!(matches!(error, WireError::Type { key, .. } if key == "41"));
}

#[test]
fn a_clear_of_two_elements_is_a_clear() {
    let clear = decode(vec!["SDMessageClearAllRecordsOnDevice".into(), CLASS.into()]);
    assert_eq!(
        clear.unwrap(),
        Message::Clear {
            class: DataClass::Contacts
        }
    );
}

#[test]
fn a_batch_whose_more_flag_is_a_number_says_what_the_number_says() {
    for (number, expected) in [(0, false), (1, true)] {
        let elements = vec![
            "SDMessageProcessChanges".into(),
            CLASS.into(),
            PLACEHOLDER.into(),
            number.into(),
        ];
        assert!(matches!(decode(elements).unwrap(), Message::ProcessChanges { more, .. } if more == expected));
    }
}

#[test]
fn an_unknown_message_is_kept_whole() {
    let elements: Vec<Value> = vec!["SDMessageOfTomorrow".into(), 7.into(), "x".into()];
    let message = decode(elements.clone()).unwrap();
    assert_eq!(
        plist::read(&message.encode(), &limits()).unwrap(),
        Value::Array(elements)
    );
}

fn id() -> impl Strategy<Value = RecordId> {
    "[0-9A-Za-z/:-]{1,40}".prop_map(|id| RecordId::new(id).unwrap())
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äßé名\n]{0,20}".prop_filter("the placeholder and the null anchor are no texts", |text| {
        text != PLACEHOLDER && text != "---"
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Data),
        prop::collection::vec(text().prop_map(Value::from), 0..4).prop_map(Value::Array),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let attributes = prop::collection::btree_map("[a-z ]{1,12}", value(), 0..6);
    (prop::option::of(text()), attributes).prop_map(|(entity, attributes)| Record {
        entity,
        attributes: attributes.into_iter().collect(),
    })
}

fn changes() -> impl Strategy<Value = Changes> {
    let change = prop_oneof![record().prop_map(Change::Upsert), Just(Change::Delete)];
    prop::collection::btree_map(id(), change, 0..6).prop_map(|changes| changes.into_iter().collect())
}

fn class() -> impl Strategy<Value = DataClass> {
    prop_oneof![
        prop::sample::select(DataClass::KNOWN.to_vec()),
        "com\\.apple\\.[A-Z]{1,8}".prop_map(|id| DataClass::from_id(&id)),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let sync_type = prop::sample::select(vec![SyncType::Fast, SyncType::Slow, SyncType::Reset]);
    let info = (
        prop::option::of(prop::collection::vec(text(), 0..3)),
        prop::option::of(any::<bool>()),
    )
        .prop_map(|(entities, all_sent)| PushInfo { entities, all_sent });
    let ids = prop::collection::btree_map(id(), id(), 0..5);
    prop_oneof![
        (class(), prop::option::of(text()), text(), any::<i64>()).prop_map(
            |(class, device_anchor, computer_anchor, version)| Message::Start {
                class,
                device_anchor,
                computer_anchor,
                version,
                info: None,
            }
        ),
        (
            class(),
            prop::option::of(text()),
            prop::option::of(text()),
            sync_type,
            prop::option::of(any::<i64>())
        )
            .prop_map(
                |(class, computer_anchor, device_anchor, sync_type, version)| Message::Started {
                    class,
                    computer_anchor,
                    device_anchor,
                    sync_type,
                    version,
                }
            ),
        (
            class(),
            prop::option::of(changes()),
            any::<bool>(),
            prop::option::of(info)
        )
            .prop_map(|(class, changes, more, info)| Message::ProcessChanges {
                class,
                changes,
                more,
                info,
            }),
        (class(), prop::option::of(ids))
            .prop_map(|(class, ids): (_, Option<BTreeMap<_, _>>)| Message::Remap { class, ids }),
        (class(), text()).prop_map(|(class, reason)| Message::Cancel { class, reason }),
        (class(), text()).prop_map(|(class, reason)| Message::Refused { class, reason }),
        class().prop_map(|class| Message::Clear { class }),
        class().prop_map(|class| Message::Finish { class }),
    ]
}

proptest! {
    #[test]
    fn messages_survive_a_round_trip(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode(), &limits()).unwrap(), message);
    }

    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&bytes, &limits());
    }

    #[test]
    fn a_flipped_byte_of_a_message_never_panics(message in message(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1_u8 << bit;
        }
        let _ = Message::decode(&bytes, &limits());
    }
}
