//! Answers, connections that break, odd devices, and recorded sessions.

use std::time::Duration;

use bytes::Bytes;
use cabled_afc::msg::{FileHandle, Header, LinkKind, LockOp, OpenMode, Operation, Packet, Status};
use cabled_afc::{Afc, AfcError, AfcOptions, Broken};
use cabled_virtualdevice::fs::{Content, Kind, Meta};
use cabled_virtualdevice::service::afc::{self, ReplyOrder, Root};

use crate::{connect, eventually, exchange, phone, status, stream, with_quirks};

#[tokio::test]
async fn unknown_handles_and_operations_are_refused_and_broken_headers_end_the_connection() {
    let phone = phone();
    let mut afc = stream(&phone, Root::Media);
    let handle = FileHandle::new(99);
    for packet in [
        Packet::FileRead { handle, len: 1 },
        Packet::FileWrite {
            handle,
            data: Bytes::from_static(b"abc"),
        },
        Packet::FileClose { handle },
        Packet::FileTell { handle },
        Packet::FileLock {
            handle,
            op: LockOp::Shared,
        },
    ] {
        let refused = Some(Packet::Status(Status::InvalidArgument));
        assert_eq!(exchange(&mut afc, &packet.encode(1)).await, refused, "{packet:?}");
    }
    let unknown = Packet::Unknown {
        operation: 0x77,
        fields: Bytes::new(),
        payload: Bytes::from_static(b"junk"),
    };
    let refused = Some(Packet::Status(Status::OperationNotSupported));
    assert_eq!(exchange(&mut afc, &unknown.encode(1)).await, refused);
    // Sound frame, senseless fields.
    let mut short = Header::new(Operation::FileRead, 1, 4, 0).encode().to_vec();
    short.extend([1, 2, 3, 4]);
    assert_eq!(
        exchange(&mut afc, &short).await,
        Some(Packet::Status(Status::InvalidArgument))
    );
    for (at, byte) in [(0, 0), (16, 39), (8, 39), (22, 1)] {
        let mut afc = stream(&phone, Root::Media);
        let mut broken = Packet::DeviceInfo.encode(1).to_vec();
        broken[at] = byte;
        assert_eq!(exchange(&mut afc, &broken).await, None, "byte {at}");
    }
}

#[tokio::test]
async fn answers_in_any_order_find_their_callers() {
    let phone = phone();
    with_quirks(&phone, |quirks| quirks.reply_order = ReplyOrder::Reversed(8));
    let afc = connect(&phone);
    let sizes: Vec<usize> = (0..20).collect();
    for size in &sizes {
        let content = Kind::File(Content::bytes(vec![b'x'; *size]));
        phone
            .fs()
            .put("MediaDomain", &format!("Media/Books/{size}"), content, Meta::file())
            .unwrap();
    }
    let mut asked = Vec::new();
    for size in sizes {
        let afc = afc.clone();
        asked.push(tokio::spawn(async move {
            let meta = afc.metadata(&format!("/Books/{size}")).await.unwrap();
            assert_eq!(meta.len, Some(size as u64));
        }));
    }
    for task in asked {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_call_leaves_the_connection_usable_and_no_file_open() {
    let phone = phone();
    with_quirks(&phone, |quirks| quirks.delay = Duration::from_millis(20));
    let afc = connect(&phone);
    for _ in 0..3 {
        let opening = afc.open("/DCIM/a.txt", OpenMode::Read);
        assert!(tokio::time::timeout(Duration::from_millis(5), opening).await.is_err());
        let listing = afc.read_dir("/");
        assert!(tokio::time::timeout(Duration::from_millis(5), listing).await.is_err());
    }
    eventually(|| phone.log().count(afc::NAME, "FILE_CLOSE") == 3).await;
    assert_eq!(phone.log().count(afc::NAME, "FILE_OPEN"), 3);
    with_quirks(&phone, |quirks| quirks.max_open_files = 1);
    let mut file = afc.open("/DCIM/a.txt", OpenMode::Read).await.unwrap();
    assert_eq!(file.read().await.unwrap(), "hello\n");
}

#[tokio::test]
async fn a_connection_cut_inside_file_data_fails_all_who_wait() {
    let phone = phone();
    let afc = connect(&phone);
    afc.write_file("/Books/big", vec![7; 3 << 20]).await.unwrap();
    let mut file = afc.open("/Books/big", OpenMode::Read).await.unwrap();
    phone.afc().script_cut_payload(100_000);
    let other = afc.clone();
    let (read, info) = tokio::join!(file.read(), other.metadata("/Books"));
    for error in [read.unwrap_err(), info.unwrap_err()] {
        assert!(
            matches!(
                error,
                AfcError::Broken {
                    cause: Broken::Cut { received: 100_040 },
                    ..
                }
            ),
            "{error}"
        );
    }
    assert!(afc.device_info().await.unwrap_err().is_broken());
}

#[tokio::test]
async fn odd_devices_are_understood() {
    let phone = phone();
    let afc = connect(&phone);
    with_quirks(&phone, |quirks| {
        quirks.data_for_status = true;
        quirks.dots_in_listing = false;
        quirks.birthtime = false;
        quirks.link_target_key = "st_linktarget".to_owned();
        quirks.max_read = Some(3);
    });
    afc.write_file("/Books/n", "0123456789").await.unwrap();
    afc.link(LinkKind::Symbolic, "n", "/Books/l").await.unwrap();
    assert_eq!(afc.read_dir("/Books").await.unwrap(), ["l", "n"]);
    let meta = afc.metadata("/Books/l").await.unwrap();
    assert_eq!((meta.birthtime, meta.link_target.as_deref()), (None, Some("n")));
    assert_eq!(
        afc.read_file("/Books/n", 100).await.unwrap(),
        "0123456789",
        "in pieces of three"
    );
    with_quirks(&phone, |quirks| quirks.max_request = Some(4096));
    assert_eq!(status(afc.read_file("/Books/n", 1 << 20).await), Status::TooMuchData);
    let small = AfcOptions::default().read_size(4096).write_size(4096);
    let afc = Afc::with_options(Box::new(stream(&phone, Root::Media)), small);
    afc.write_file("/Books/n", vec![1; 10_000]).await.unwrap();
    assert_eq!(afc.read_file("/Books/n", 1 << 20).await.unwrap().len(), 10_000);
    phone.afc().script_status(Operation::FileInfo, Status::IoError);
    assert_eq!(status(afc.metadata("/Books/n").await), Status::IoError);
    assert!(afc.metadata("/Books/n").await.is_ok(), "a script strikes once");
}

/// What other people's programs were recorded to ask, and what they were content with.
#[tokio::test]
async fn recorded_sessions_of_other_clients_get_answers_of_the_same_kind() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/wire");
    let mut compared = 0;
    for (file, layer, root) in [
        (
            "client-captures-libimobiledevice-1.3.0/ifuse.jsonl",
            "com.apple.afc",
            Root::Media,
        ),
        (
            "client-captures-libimobiledevice-1.3.0/idevicecrashreport.jsonl",
            "com.apple.crashreportcopymobile",
            Root::Media,
        ),
        (
            "client-captures-libimobiledevice-1.3.0/idevicebackup2-restore.jsonl",
            "com.apple.afc+tls-payload",
            Root::Media,
        ),
        (
            "client-captures-libimobiledevice-1.3.0/idevicebackup2-full.jsonl",
            "com.apple.afc+tls-payload",
            Root::Media,
        ),
        (
            "client-captures-pymobiledevice3-11.45.0/backup2-full.jsonl",
            "com.apple.afc+tls-payload",
            Root::Media,
        ),
        (
            "client-captures-pymobiledevice3-11.45.0/afc-ls.jsonl",
            "com.apple.afc",
            Root::Media,
        ),
        (
            "client-captures-pymobiledevice3-11.45.0/afc-push.jsonl",
            "com.apple.afc",
            Root::Media,
        ),
    ] {
        let phone = phone();
        let mut afc = stream(&phone, root);
        let mut recorded = Vec::new();
        for line in std::fs::read_to_string(golden.join(file)).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if line["layer"] == layer {
                let bytes = line["hex"].as_str().unwrap().as_bytes().chunks(2);
                let bytes: Vec<u8> = bytes
                    .map(|h| u8::from_str_radix(std::str::from_utf8(h).unwrap(), 16).unwrap())
                    .collect();
                recorded.push((line["dir"] == "host>device", bytes));
            }
        }
        for pair in recorded.chunks(2) {
            let [(true, asked), (false, answered)] = pair else {
                panic!("{file}: question, then answer")
            };
            let ours = exchange(&mut afc, asked).await.unwrap();
            let theirs = Packet::decode(&answered.clone().into(), 1 << 30).unwrap().1;
            match (&ours, &theirs) {
                // Sizes and times differ, the keys do not.
                (Packet::Data(ours), Packet::Data(theirs)) if theirs.starts_with(b"st_size") => {
                    let keys = |data: &Bytes| {
                        let info = cabled_afc::msg::InfoList::decode(data);
                        let mut keys: Vec<_> = info.iter().map(|(key, _)| key.to_owned()).collect();
                        keys.sort();
                        (keys, info.get("st_ifmt").map(str::to_owned))
                    };
                    assert_eq!(keys(ours), keys(theirs), "{file}");
                }
                (Packet::Data(_), Packet::Data(theirs)) if theirs.starts_with(b"Model") => {}
                _ => assert_eq!(
                    ours,
                    theirs,
                    "{file}: {:?}",
                    Packet::decode(&asked.clone().into(), 1 << 30)
                ),
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 53 + 10 + 8 + 16 + 16 + 3 + 5);
}
