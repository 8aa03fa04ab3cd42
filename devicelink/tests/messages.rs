//! Properties of the message codec.

use cabled_devicelink::msg::{Detail, Encoding, Message, Naming, PLACEHOLDER, Status, limits};
use cabled_devicelink::status::{FileFailure, MULTI_STATUS};
use cabled_wire::dict;
use cabled_wire::plist::{self, Dictionary, Value};
use proptest::prelude::*;

fn percent() -> impl Strategy<Value = Option<f64>> {
    (-10.0..200.0_f64).prop_map(Some)
}

fn path() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9/._é-]{0,40}"
}

fn paths() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(path(), 0..6)
}

fn options() -> impl Strategy<Value = Dictionary> {
    any::<Option<u32>>().prop_map(|n| n.map_or_else(Dictionary::new, |n| dict! { "DLDeviceIOCallbacks" => n }))
}

fn naming() -> impl Strategy<Value = Naming> {
    prop_oneof![Just(Naming::Items), Just(Naming::Files)]
}

fn status() -> impl Strategy<Value = Status> {
    let detail = prop_oneof![
        Just(Detail::Empty),
        Just(Detail::Placeholder),
        any::<u64>().prop_map(Detail::Integer),
        path().prop_map(|path| Detail::Dict(dict! { "x" => path })),
    ];
    (any::<i64>(), "[ -~]{0,20}", detail).prop_map(|(code, text, detail)| Status { code, text, detail })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (any::<u64>(), any::<u64>()).prop_map(|(major, minor)| Message::VersionExchange { major, minor }),
        any::<u64>().prop_map(|major| Message::VersionsOk { major }),
        Just(Message::DeviceReady),
        path().prop_map(|text| Message::ProcessMessage(dict! { "MessageName" => text })),
        path().prop_map(Message::Ping),
        (paths(), options(), percent()).prop_map(|(paths, options, progress)| Message::DownloadFiles {
            paths,
            options,
            progress
        }),
        (options(), percent(), any::<u64>()).prop_map(|(options, progress, total)| Message::UploadFiles {
            options,
            progress,
            total: Some(total)
        }),
        Just(Message::GetFreeDiskSpace),
        (any::<u64>(), any::<i64>()).prop_map(|(amount, urgency)| Message::PurgeDiskSpace { amount, urgency }),
        (path(), options()).prop_map(|(path, options)| Message::ContentsOfDirectory { path, options }),
        (path(), options(), percent()).prop_map(|(path, options, progress)| Message::CreateDirectory {
            path,
            options,
            progress
        }),
        (
            prop::collection::btree_map(path(), path(), 0..5),
            options(),
            percent(),
            naming()
        )
            .prop_map(|(items, options, progress, naming)| Message::MoveItems {
                items: items.into_iter().collect(),
                options,
                progress,
                naming
            }),
        (paths(), options(), percent(), naming()).prop_map(|(paths, options, progress, naming)| Message::RemoveItems {
            paths,
            options,
            progress,
            naming
        }),
        (path(), path(), percent()).prop_map(|(from, to, progress)| Message::CopyItem { from, to, progress }),
        status().prop_map(Message::StatusResponse),
        proptest::option::of("[a-z ]{1,20}").prop_map(|reason| Message::Disconnect { reason }),
        ("DLX[a-zA-Z]{0,20}", paths()).prop_map(|(name, words)| Message::Unknown {
            name,
            elements: words.into_iter().map(Value::from).collect()
        }),
    ]
}

/// An array of anything behind a name that is known.
fn odd() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        message().prop_map(|message| Value::from(message.name())),
        Just(Value::from("DLMessageVersionExchange")),
        any::<u64>().prop_map(Value::from),
    ];
    let anything = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::Real),
        path().prop_map(Value::from),
        Just(Value::from(PLACEHOLDER)),
        Just(Value::Array(vec![Value::Boolean(true), Value::from("x")])),
        path().prop_map(|path| Value::Dictionary(dict! { path => 5 })),
        Just(Value::Data(vec![1, 2])),
    ];
    (name, prop::collection::vec(anything, 0..6)).prop_map(|(name, rest)| Value::Array([vec![name], rest].concat()))
}

proptest! {
    #[test]
    fn every_message_survives_a_round_trip(message in message()) {
        prop_assert_eq!(&Message::decode(&message.encode(), &limits()).unwrap(), &message);
        prop_assert_eq!(Message::decode(&message.encode_as(Encoding::Xml), &limits()).unwrap(), message);
    }

    #[test]
    fn decode_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes, &limits());
        let _ = Message::decode(&[&b"bplist00"[..], &bytes].concat(), &limits());
    }

    #[test]
    fn damaged_messages_never_panic(message in message(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = message.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Message::decode(&bytes, &limits());
        bytes.truncate(at);
        let _ = Message::decode(&bytes, &limits());
    }

    #[test]
    fn elements_of_any_type_in_any_place_never_panic(value in odd()) {
        if let Ok(message) = Message::decode(&plist::to_binary(&value), &limits()) {
            let _ = (format!("{message:?}"), message.progress(), message.encode());
            prop_assert!(message.progress().is_none_or(f64::is_finite));
        }
    }

    #[test]
    fn failures_survive_a_multi_status(files in prop::collection::btree_map(path(), (-20_i64..0, "[ -~]{0,9}"), 1..9)) {
        let failures: Vec<FileFailure> =
            files.into_iter().map(|(path, (code, text))| FileFailure { path, code, text }).collect();
        let status = Status::of_files(failures.clone());
        prop_assert_eq!(status.code, MULTI_STATUS);
        let mut read = status.file_failures();
        read.sort_by(|a, b| a.path.cmp(&b.path));
        prop_assert_eq!(read, failures);
    }
}
