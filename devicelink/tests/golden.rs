//! Bytes that libimobiledevice 1.3.0 and pymobiledevice3 11.45.0 really sent, and the answers they accept.

use cabled_devicelink::msg::{Detail, Encoding, Message, PLACEHOLDER, Status, limits};
use cabled_devicelink::status::{self, FileFailure};
use cabled_devicelink::transfer::{Direction, Event, Receiver};
use cabled_golden::{LIBIMOBILEDEVICE, Line, PYMOBILEDEVICE3, Side, files, lines};
use cabled_wire::plist::{Dictionary, Value};

/// The device link of every recorded backup run, by file.
fn captures() -> Vec<(String, Vec<Line>)> {
    let mut found = Vec::new();
    for folder in [LIBIMOBILEDEVICE, PYMOBILEDEVICE3] {
        for file in files(folder, "jsonl") {
            if file.contains("backup2-") {
                let lines = device_link(&file);
                found.push((file, lines));
            }
        }
    }
    assert_eq!(found.len(), 11, "all captures are there");
    found
}

fn device_link(file: &str) -> Vec<Line> {
    let mut lines = lines(file);
    lines.retain(|line| line.layer == "com.apple.mobilebackup2");
    lines
}

#[test]
fn every_recorded_line_is_a_message_or_part_of_a_transfer() {
    for (file, lines) in captures() {
        let mut transfer: Option<(Receiver, Side)> = None;
        let (mut messages, mut files) = (0, 0);
        for line in lines {
            if let Some((receiver, from)) = &mut transfer {
                assert_eq!(line.from, *from, "{}", line.place());
                let mut chunk = line.bytes;
                while let Some(event) = receiver.feed(&mut chunk).unwrap() {
                    files += usize::from(matches!(event, Event::EndOk | Event::EndFailed { .. }));
                }
                if receiver.is_finished() {
                    transfer = None;
                }
                continue;
            }
            let message = Message::decode(&line.body(), &limits()).unwrap();
            assert!(!matches!(message, Message::Unknown { .. }), "{message:?}");
            let again = Message::decode(&message.encode(), &limits()).unwrap();
            assert_eq!(again, message, "binary round trip");
            let again = Message::decode(&message.encode_as(Encoding::Xml), &limits()).unwrap();
            assert_eq!(again, message, "XML round trip");
            transfer = match message {
                Message::DownloadFiles { .. } => Some((Receiver::new(Direction::Download), Side::Host)),
                Message::UploadFiles { .. } => Some((Receiver::new(Direction::Upload), Side::Device)),
                _ => None,
            };
            messages += 1;
        }
        assert!(transfer.is_none(), "{file}: a transfer was left open");
        assert!(messages >= 8, "{file}: only {messages} messages");
        assert!(files > 0 || messages < 10, "{file}: no file travelled");
    }
}

/// What we would encode for the plain messages has the very bytes that were recorded.
#[test]
fn messages_whose_layout_is_fixed_encode_to_the_recorded_bytes() {
    let lines = device_link(&format!("{LIBIMOBILEDEVICE}/idevicebackup2-full.jsonl"));
    let frames: Vec<&[u8]> = lines.iter().map(|line| &line.bytes[4..]).collect();
    let same = |message: Message| {
        let mine = message.encode();
        assert!(
            frames.contains(&mine.as_slice()),
            "{message:?} was not recorded as {}",
            hex::encode(mine)
        );
    };
    same(Message::VersionExchange { major: 400, minor: 0 });
    same(Message::VersionsOk { major: 400 });
    same(Message::DeviceReady);
    same(Message::GetFreeDiskSpace);
    same(Message::StatusResponse(Status::ok()));
    same(Message::StatusResponse(Status::ok_with(Detail::Placeholder)));
    same(Message::Disconnect { reason: None });
    same(Message::UploadFiles {
        options: Dictionary::new(),
        progress: Some(50.0),
        total: Some(65774),
    });
    same(Message::CreateDirectory {
        path: "00008030-001A2B3C4D5E6F70/Snapshot".to_owned(),
        options: Dictionary::new(),
        progress: Some(0.0),
    });
    // Objects inside an inner array come in another order from the recorder's plist writer; the length is the same.
    let status_plist = "00008030-001A2B3C4D5E6F70/Status.plist".to_owned();
    let download = Message::DownloadFiles {
        paths: vec![status_plist],
        options: Dictionary::new(),
        progress: Some(0.0),
    };
    let recorded = frames
        .iter()
        .find(|frame| Message::decode(frame, &limits()).is_ok_and(|other| other == download));
    assert_eq!(recorded.unwrap().len(), download.encode().len());
}

#[test]
fn frames_have_the_sizes_of_annex_a() {
    let hello: Dictionary = [
        ("MessageName".to_owned(), Value::from("Hello")),
        (
            "SupportedProtocolVersions".to_owned(),
            Value::Array(vec![Value::Real(2.0), Value::Real(2.1)]),
        ),
    ]
    .into_iter()
    .collect();
    let udid = "00008030-001A2B3C4D5E6F70";
    let old = "0123456789abcdef0123456789abcdef01234567";
    let backup: Dictionary = [
        ("TargetIdentifier", old),
        ("SourceIdentifier", old),
        ("MessageName", "Backup"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), Value::from(value)))
    .collect();
    let missing = vec![FileFailure {
        path: format!("{udid}/Status.plist"),
        code: status::NO_ENTRY,
        text: "No such file or directory".to_owned(),
    }];
    let sizes = [
        (Message::VersionExchange { major: 400, minor: 0 }, 80),
        (Message::VersionsOk { major: 400 }, 91),
        (Message::DeviceReady, 67),
        (Message::ProcessMessage(hello), 150),
        (Message::StatusResponse(Status::ok_with(Detail::Placeholder)), 106),
        (Message::StatusResponse(Status::ok()), 108),
        (Message::StatusResponse(Status::of_files(missing)), 228),
        (Message::ProcessMessage(backup), 184),
        (Message::Disconnect { reason: None }, 97),
    ];
    for (message, size) in sizes {
        assert_eq!(message.encode().len(), size, "{message:?}");
    }
}

#[test]
fn the_version_exchange_is_annex_a1_byte_for_byte() {
    let recorded = "62706c6973743030a30102035f1018444c4d65737361676556657273696f6e45786368616e6765\
                    1101901000080c272a0000000000000101000000000000000400000000000000000000000000000 02c"
        .replace(' ', "");
    assert_eq!(
        hex::encode(Message::VersionExchange { major: 400, minor: 0 }.encode()),
        recorded
    );
}

#[test]
fn minus_thirteen_is_read_in_all_three_encodings() {
    let signed = Message::StatusResponse(Status::failed(-13, "Multi status")).encode();
    let at = signed
        .windows(9)
        .position(|w| w == [0x13, 255, 255, 255, 255, 255, 255, 255, 0xf3])
        .unwrap();
    // The same object as sixteen unsigned bytes; the array has no later object whose offset a test would have to move
    // but the table, so this is built as an array of its own: ["DLMessageStatusResponse", n].
    assert!(at > 8);
    let mut unsigned = b"bplist00\xa2\x01\x02\x5f\x10\x17DLMessageStatusResponse\x14".to_vec();
    unsigned.extend([0; 8]);
    unsigned.extend((-13_i64).to_be_bytes());
    let objects = [8_u8, 11, 37];
    let table = u8::try_from(unsigned.len()).unwrap();
    unsigned.extend(objects);
    unsigned.extend([
        0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, table,
    ]);
    let xml = device_link(&format!("{PYMOBILEDEVICE3}/backup2-restore.jsonl"))
        .into_iter()
        .map(|line| line.bytes)
        .find(|bytes| bytes.windows(20).any(|w| w == b"18446744073709551603"))
        .unwrap();
    for body in [&signed[..], &unsigned, &xml[4..]] {
        let Message::StatusResponse(status) = Message::decode(body, &limits()).unwrap() else {
            panic!("a status")
        };
        assert_eq!(status.code, -13);
    }
    let Message::StatusResponse(multi) = Message::decode(&xml[4..], &limits()).unwrap() else {
        panic!("a status")
    };
    let failures = multi.file_failures();
    assert_eq!(failures.len(), 1);
    assert_eq!(
        (failures[0].code, failures[0].text.as_str()),
        (-6, "No such file or directory")
    );
}

#[test]
fn four_byte_reals_of_old_libplist_are_read() {
    let lines = device_link(&format!("{LIBIMOBILEDEVICE}/idevicebackup2-full.jsonl"));
    let hello = lines
        .iter()
        .find(|line| line.bytes.len() == 150 && line.from == Side::Host)
        .unwrap();
    let Message::ProcessMessage(dict) = Message::decode(&hello.bytes[4..], &limits()).unwrap() else {
        panic!("Hello")
    };
    let versions: Vec<f64> = dict["SupportedProtocolVersions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_real().unwrap())
        .collect();
    assert_eq!(versions, [2.0, 2.1]);
}

#[test]
fn missing_and_extra_elements_are_tolerated() {
    let decode =
        |elements: Vec<Value>| Message::decode(&cabled_wire::plist::to_binary(&Value::Array(elements)), &limits());
    let name = |name: &str| Value::from(name);
    assert_eq!(
        decode(vec![name("DLMessageCreateDirectory"), name("x")]).unwrap(),
        Message::CreateDirectory {
            path: "x".to_owned(),
            options: Dictionary::new(),
            progress: None
        }
    );
    assert_eq!(
        decode(vec![
            name("DLMessageCopyItem"),
            name("x"),
            name("y"),
            Value::Dictionary(Dictionary::new()),
            Value::Real(7.0)
        ])
        .unwrap()
        .progress(),
        Some(7.0)
    );
    assert_eq!(
        decode(vec![name("DLMessageGetFreeDiskSpace"), name("and"), name("more")]).unwrap(),
        Message::GetFreeDiskSpace
    );
    let mixed = Value::Array(vec![name("a"), Value::from(5), name("b")]);
    let Message::DownloadFiles { paths, .. } = decode(vec![name("DLMessageDownloadFiles"), mixed]).unwrap() else {
        panic!("a download")
    };
    assert_eq!(paths, ["a", "b"], "elements that are not strings are skipped");
    assert!(decode(vec![name("DLMessageDownloadFiles")]).is_err());
    assert!(decode(vec![name("SDMessageGetData")]).is_err());
    assert!(decode(vec![]).is_err());
    let unknown = decode(vec![name("DLMessageNew"), Value::from(1)]).unwrap();
    assert_eq!(
        unknown,
        Message::Unknown {
            name: "DLMessageNew".to_owned(),
            elements: vec![Value::from(1)]
        }
    );
}

#[test]
fn passwords_and_io_callbacks_stay_out_of_debug_output() {
    let mut options = Dictionary::new();
    options.insert("Password".to_owned(), Value::from("hunter2"));
    options.insert("DLDeviceIOCallbacks".to_owned(), Value::from(4_955_806_704_u64));
    let mut request = Dictionary::new();
    request.insert("Options".to_owned(), Value::Dictionary(options.clone()));
    request.insert("OldPassword".to_owned(), Value::from("hunter3"));
    let shown = format!(
        "{:?} {:?}",
        Message::ProcessMessage(request),
        Message::UploadFiles {
            options,
            progress: None,
            total: None
        }
    );
    assert!(!shown.contains("hunter") && !shown.contains("4955806704"), "{shown}");
    assert!(!PLACEHOLDER.is_empty());
}
