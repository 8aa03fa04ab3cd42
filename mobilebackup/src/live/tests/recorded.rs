//! Our host against the devices that two other clients were recorded with: where the specification says that they are
//! right, our host says what they said, and the raw transfers are the same bytes.

use std::fs;
use std::path::Path;

use bytes::{Buf, Bytes, BytesMut};
use cabled_devicelink::msg::{Detail, Message, limits};
use cabled_devicelink::transfer::{Direction, Event, Receiver};
use cabled_wire::plist::DictExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{Host, U};
use crate::folder::Purpose;
use crate::folder::plain::PlainFolder;
use crate::live::options::RestoreOptions;
use crate::live::request::Request;

/// One side's turn: all its bytes until the other one speaks.
struct Turn {
    from_device: bool,
    bytes: Vec<u8>,
}

fn turns(file: &str) -> Vec<Turn> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden/wire")
        .join(file);
    let mut turns: Vec<Turn> = Vec::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        if !json["layer"]
            .as_str()
            .unwrap_or_default()
            .starts_with("com.apple.mobilebackup2")
        {
            continue;
        }
        let from_device = json["dir"] == "device>host";
        let bytes = hex::decode(json["hex"].as_str().unwrap()).unwrap();
        match turns.last_mut() {
            Some(turn) if turn.from_device == from_device => turn.bytes.extend(bytes),
            _ => turns.push(Turn { from_device, bytes }),
        }
    }
    turns
}

/// What a turn of the host says: an optional raw transfer, then one message.
#[derive(Debug, PartialEq)]
struct Said {
    raw: Vec<u8>,
    message: Message,
}

/// Takes a host's turn apart; `None` until it is whole.
fn said(bytes: &[u8], after_download: bool) -> Option<(Said, usize)> {
    let mut rest = Bytes::copy_from_slice(bytes);
    if after_download {
        let mut receiver = Receiver::new(Direction::Download);
        while receiver
            .feed(&mut rest)
            .unwrap()
            .is_some_and(|event| event != Event::EndOfBatch)
        {}
        if !receiver.is_finished() {
            return None;
        }
    }
    let raw = bytes[..bytes.len() - rest.len()].to_vec();
    if rest.len() < 4 {
        return None;
    }
    let len = usize::try_from(rest.get_u32()).unwrap();
    let body = rest.get(..len)?;
    let message = Message::decode(body, &limits()).unwrap();
    Some((
        Said {
            raw: raw.clone(),
            message,
        },
        raw.len() + 4 + len,
    ))
}

/// Plays the device's turns and returns the host's, beside the recorded ones.
async fn play(turns: Vec<Turn>, mut stream: DuplexStream) -> Vec<(Said, Said)> {
    let (mut pairs, mut inbox, mut after_download) = (Vec::new(), BytesMut::new(), false);
    for turn in turns {
        if turn.from_device {
            stream.write_all(&turn.bytes).await.unwrap();
            let len = usize::try_from(u32::from_be_bytes(turn.bytes[..4].try_into().unwrap())).unwrap();
            let first = Message::decode(&turn.bytes[4..4 + len], &limits()).unwrap();
            after_download = matches!(first, Message::DownloadFiles { .. });
            continue;
        }
        let (recorded, _) = said(&turn.bytes, after_download).unwrap();
        let ours = loop {
            if let Some((ours, len)) = said(&inbox, after_download) {
                inbox.advance(len);
                break ours;
            }
            assert_ne!(
                stream.read_buf(&mut inbox).await.unwrap(),
                0,
                "the host closed, {recorded:?} was due"
            );
        };
        pairs.push((ours, recorded));
    }
    pairs
}

async fn replay(file: &str, folder: &PlainFolder, host: Host, request: Request<'_>) -> Vec<(Said, Said)> {
    let (device, stream) = tokio::io::duplex(64 << 10);
    let (result, pairs) = tokio::join!(host.run(stream, folder, request), play(turns(file), device));
    assert!(result.unwrap().is_success());
    pairs
}

/// Are two answers the same but for what is free to choose?
fn assert_same(pairs: &[(Said, Said)]) {
    for (ours, recorded) in pairs {
        assert_eq!(ours.raw, recorded.raw, "raw bytes before {:?}", recorded.message);
        match (&ours.message, &recorded.message) {
            (Message::StatusResponse(ours), Message::StatusResponse(recorded)) => {
                assert_eq!((ours.code, &ours.text), (recorded.code, &recorded.text));
                match (&ours.detail, &recorded.detail) {
                    // Free bytes; the listing's dates; and the detail of an answer to CreateDirectory.
                    (Detail::Integer(_), Detail::Integer(_)) | (Detail::Empty, Detail::Placeholder) => {}
                    (Detail::Dict(ours), Detail::Dict(recorded)) => {
                        let mut names = [ours, recorded].map(|dict| dict.keys().cloned().collect::<Vec<_>>());
                        names.iter_mut().for_each(|names| names.sort());
                        assert_eq!(names[0], names[1]);
                        for (name, entry) in recorded {
                            let kind = |entry: &cabled_wire::plist::Value| {
                                let entry = entry.as_dictionary().unwrap().clone();
                                (
                                    entry.opt_text("DLFileType").unwrap().map(str::to_owned),
                                    entry.opt_integer("DLFileErrorCode").unwrap(),
                                )
                            };
                            assert_eq!(kind(&ours[name]), kind(entry), "{name}");
                        }
                    }
                    (ours, recorded) => assert_eq!(ours, recorded),
                }
            }
            (ours, recorded) => assert_eq!(ours, recorded),
        }
    }
}

#[tokio::test]
async fn a_full_and_an_incremental_backup_say_what_libimobiledevice_said() {
    let root = tempfile::tempdir().unwrap();
    let folder = PlainFolder::new(root.path());
    let full = "client-captures-libimobiledevice-1.3.0/idevicebackup2-full.jsonl";
    let pairs = replay(
        full,
        &folder,
        Host::new(Purpose::Backup),
        Request::Backup { force_full: true },
    )
    .await;
    assert!(pairs.len() > 25, "{}", pairs.len());
    assert_same(&pairs);
    let device = folder.device_path(U);
    assert!(
        fs::read(device.join("Manifest.db"))
            .unwrap()
            .starts_with(b"SQLite format 3\0")
    );
    assert!(!device.join("Snapshot").exists());

    let incremental = "client-captures-libimobiledevice-1.3.0/idevicebackup2-incremental.jsonl";
    // The recorded client wrote an Info.plist before; its listing of the folder shows it.
    fs::write(device.join("Info.plist"), "x").unwrap();
    let pairs = replay(
        incremental,
        &folder,
        Host::new(Purpose::Backup),
        Request::Backup { force_full: false },
    )
    .await;
    assert!(pairs.len() > 25, "{}", pairs.len());
    assert_same(&pairs);
}

#[tokio::test]
async fn a_restore_sends_the_bytes_that_pymobiledevice3_sent() {
    let file = "client-captures-pymobiledevice3-11.45.0/backup2-restore.jsonl";
    let root = tempfile::tempdir().unwrap();
    let folder = PlainFolder::new(root.path());
    // The backup is what the recorded client sent of it.
    let mut after_download = false;
    for turn in turns(file) {
        if turn.from_device {
            let len = usize::try_from(u32::from_be_bytes(turn.bytes[..4].try_into().unwrap())).unwrap();
            let first = Message::decode(&turn.bytes[4..4 + len], &limits()).unwrap();
            after_download = matches!(first, Message::DownloadFiles { .. });
        } else if after_download {
            unpack(&said(&turn.bytes, true).unwrap().0.raw, root.path());
        }
    }
    let options = RestoreOptions::default().reboot(false).copy_first(true);
    let pairs = replay(
        file,
        &folder,
        Host::new(Purpose::Restore),
        Request::Restore { options: &options },
    )
    .await;
    assert!(pairs.len() > 10, "{}", pairs.len());
    assert_same(&pairs);
    assert!(
        root.path().join(format!("{U}-copy/Manifest.db")).exists(),
        "a copy that can be used"
    );
}

fn unpack(raw: &[u8], root: &Path) {
    let (mut receiver, mut chunk) = (Receiver::new(Direction::Download), Bytes::copy_from_slice(raw));
    let (mut name, mut data) = (String::new(), Vec::new());
    while let Some(event) = receiver.feed(&mut chunk).unwrap() {
        match event {
            Event::Name { path, .. } => (name, data) = (path, Vec::new()),
            Event::Data(bytes) => data.extend_from_slice(&bytes),
            Event::EndOk => {
                let at = root.join(&name);
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                fs::write(at, &data).unwrap();
            }
            _ => {}
        }
    }
}
