//! Our client against devices that lie, stumble or fall silent. The device is a script here, byte by byte.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::time::Duration;

use bytes::Bytes;
use cabled_afc::msg::{DirectoryListing, FileHandle, Header, OpenMode, Operation, Packet, PacketError, Status};
use cabled_afc::{Afc, AfcError, AfcOptions, Broken};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A client, and the device's end of its stream.
fn pair() -> (Afc, DuplexStream) {
    let (ours, device) = tokio::io::duplex(1 << 20);
    (Afc::new(Box::new(ours)), device)
}

/// The device reads one request.
async fn request(device: &mut DuplexStream) -> (u64, Packet) {
    request_or_end(device).await.unwrap()
}

/// The device reads one request, if another one comes.
async fn request_or_end(device: &mut DuplexStream) -> Option<(u64, Packet)> {
    let mut first = [0];
    device.read_exact(&mut first).await.ok()?;
    let mut bytes = vec![first[0]; Header::LEN];
    device.read_exact(&mut bytes[1..]).await.unwrap();
    let header = Header::decode(bytes.first_chunk().unwrap(), 1 << 30).unwrap();
    bytes.resize(Header::LEN + usize::try_from(header.body_len()).unwrap(), 0);
    device.read_exact(&mut bytes[Header::LEN..]).await.unwrap();
    Some(Packet::decode(&bytes.into(), 1 << 30).unwrap())
}

async fn say(device: &mut DuplexStream, packet_num: u64, packet: &Packet) {
    device.write_all(&packet.encode(packet_num)).await.unwrap();
}

/// The device is asked to open a file, and does.
async fn open_as(device: &mut DuplexStream, handle: u64) {
    let (n, _) = request(device).await;
    let handle = FileHandle::new(handle);
    say(device, n, &Packet::FileOpenResult { handle }).await;
}

fn raw_header(entire: u64, this: u64, packet_num: u64, operation: Operation) -> Vec<u8> {
    let mut bytes = Header::MAGIC.to_vec();
    for number in [entire, this, packet_num, operation.code()] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn cause(error: AfcError) -> Broken {
    match error {
        AfcError::Broken { cause, .. } => cause,
        other => panic!("{other}"),
    }
}

/// What the client makes of these bytes as the answer to a question about `/x`, and of the next call.
async fn answered(bytes: &[u8]) -> Broken {
    let (afc, mut device) = pair();
    let bytes = bytes.to_vec();
    let device = tokio::spawn(async move {
        request(&mut device).await;
        device.write_all(&bytes).await.unwrap();
        device
    });
    let first = cause(afc.metadata("/x").await.unwrap_err());
    let second = cause(afc.metadata("/x").await.unwrap_err());
    assert_eq!(
        first.to_string(),
        second.to_string(),
        "the client stays unusable, for the same reason"
    );
    drop(device);
    first
}

#[tokio::test]
async fn hostile_lengths_break_the_connection_before_anything_is_allocated() {
    let huge = raw_header(u64::MAX, 40, 1, Operation::Data);
    assert!(matches!(
        answered(&huge).await,
        Broken::Packet(PacketError::TooLong { entire: u64::MAX, .. })
    ));
    let above_the_question = raw_header(40 + (64 << 10) + 1, 40, 1, Operation::Data);
    assert!(matches!(
        answered(&above_the_question).await,
        Broken::Packet(PacketError::TooLong { .. })
    ));
    let short = raw_header(48, 39, 1, Operation::Status);
    assert!(matches!(
        answered(&short).await,
        Broken::Packet(PacketError::ThisLength { this: 39 })
    ));
    let crossed = raw_header(40, 48, 1, Operation::Status);
    assert!(matches!(
        answered(&crossed).await,
        Broken::Packet(PacketError::EntireLength { .. })
    ));
    let status_without_code = raw_header(40, 40, 1, Operation::Status);
    assert!(matches!(
        answered(&status_without_code).await,
        Broken::Packet(PacketError::Fields { .. })
    ));
    let out_of_step = [b'X'; 40];
    assert!(matches!(
        answered(&out_of_step).await,
        Broken::Packet(PacketError::Magic { .. })
    ));
}

#[tokio::test]
async fn an_answer_nobody_asked_for_breaks_the_connection() {
    let unasked = Packet::Status(Status::Success).encode(77);
    assert!(matches!(
        answered(&unasked).await,
        Broken::Unasked {
            packet_num: 77,
            operation: Operation::Status
        }
    ));
    let wrong = Packet::FileTellResult { position: 0 }.encode(1);
    let wanted = Broken::WrongAnswer {
        asked: Operation::FileInfo,
        answered: Operation::FileTellResult,
    };
    assert_eq!(answered(&wrong).await.to_string(), wanted.to_string());
    let a_request = Packet::DeviceInfo.encode(1);
    assert!(matches!(answered(&a_request).await, Broken::WrongAnswer { .. }));
    // Done, to a question for data.
    let done = Packet::Status(Status::Success).encode(1);
    assert!(matches!(answered(&done).await, Broken::WrongAnswer { .. }));
}

#[tokio::test]
async fn a_read_may_not_give_more_than_was_asked() {
    let (afc, mut device) = pair();
    let device = tokio::spawn(async move {
        open_as(&mut device, 3).await;
        let (n, asked) = request(&mut device).await;
        assert_eq!(
            asked,
            Packet::FileRead {
                handle: FileHandle::new(3),
                len: 10
            }
        );
        say(&mut device, n, &Packet::Data(Bytes::from_static(b"12345678901"))).await;
        device
    });
    let mut file = afc.open("/x", OpenMode::Read).await.unwrap();
    let cause = cause(file.read_at_most(10).await.unwrap_err());
    assert!(
        matches!(cause, Broken::Packet(PacketError::TooLong { entire: 51, limit: 50 })),
        "{cause}"
    );
    device.await.unwrap();
}

#[tokio::test]
async fn a_stream_cut_anywhere_fails_everybody_who_waits() {
    let whole = Packet::Data(Bytes::from_static(b"st_size\x006\0")).encode(1);
    for cut in 0..whole.len() {
        let (afc, mut device) = pair();
        let part = whole.slice(..cut);
        let device = tokio::spawn(async move {
            for _ in 0..3 {
                request(&mut device).await;
            }
            device.write_all(&part).await.unwrap();
        });
        let (a, b, c) = tokio::join!(afc.metadata("/a"), afc.metadata("/b"), afc.device_info());
        device.await.unwrap();
        for cause in [cause(a.unwrap_err()), cause(b.unwrap_err()), cause(c.unwrap_err())] {
            match cause {
                Broken::Closed => assert_eq!(cut, 0),
                Broken::Cut { received } => assert_eq!(received, cut),
                other => panic!("{other}"),
            }
        }
        assert!(afc.device_info().await.unwrap_err().is_broken());
    }
}

#[tokio::test]
async fn splitting_the_stream_anywhere_changes_nothing() {
    let answers = [
        Packet::Data(Bytes::from_static(b"st_size\x006\0")).encode(1),
        Packet::Status(Status::ObjectNotFound).encode(2),
        Packet::Data(Bytes::new()).encode(3),
    ]
    .concat();
    for step in 1..answers.len() {
        let (ours, mut device) = tokio::io::duplex(step);
        let afc = Afc::new(Box::new(ours));
        let answers = answers.clone();
        let device = tokio::spawn(async move {
            for _ in 0..3 {
                request(&mut device).await;
            }
            for piece in answers.chunks(step) {
                device.write_all(piece).await.unwrap();
            }
            device
        });
        let (a, b, c) = tokio::join!(afc.metadata("/a"), afc.metadata("/b"), afc.metadata("/c"));
        assert_eq!(a.unwrap().len, Some(6));
        assert!(b.unwrap_err().is_not_found());
        assert_eq!(c.unwrap().len, None);
        device.await.unwrap();
    }
}

#[tokio::test]
async fn names_that_would_leave_the_folder_break_the_connection() {
    for name in ["../../etc", "a/b", "/"] {
        let (afc, mut device) = pair();
        let device = tokio::spawn(async move {
            let (n, _) = request(&mut device).await;
            say(
                &mut device,
                n,
                &Packet::Data(DirectoryListing::encode([".", "..", "ok", name])),
            )
            .await;
            device
        });
        let found = cause(afc.read_dir("/DCIM").await.unwrap_err());
        assert!(
            matches!(&found, Broken::Name { folder, name: n } if folder == "/DCIM" && n == name),
            "{found}"
        );
        assert!(afc.device_info().await.unwrap_err().is_broken());
        device.await.unwrap();
    }
}

#[tokio::test]
async fn names_that_are_no_text_are_named_and_can_be_had_as_bytes() {
    let (afc, mut device) = pair();
    let device = tokio::spawn(async move {
        for _ in 0..2 {
            let (n, _) = request(&mut device).await;
            say(
                &mut device,
                n,
                &Packet::Data(Bytes::from_static(b".\0..\0\xff\0\0\0ok")),
            )
            .await;
        }
        device
    });
    assert!(matches!(afc.read_dir("/").await, Err(AfcError::ListingName { .. })));
    assert_eq!(afc.read_dir_raw("/").await.unwrap(), [&b"\xff"[..], b"ok"]);
    device.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_device_is_given_up_after_the_time_limit_and_its_late_answer_thrown_away() {
    let (afc, mut device) = pair();
    let device = tokio::spawn(async move {
        let (late, _) = request(&mut device).await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        say(&mut device, late, &Packet::Data(Bytes::from_static(b"st_size\x001\0"))).await;
        let (n, _) = request(&mut device).await;
        say(&mut device, n, &Packet::Data(Bytes::from_static(b"st_size\x002\0"))).await;
        device
    });
    let error = afc.metadata("/slow").await.unwrap_err();
    let AfcError::TimedOut { phase, after, path, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        (*phase, path.as_deref()),
        ("waiting for the device's answer", Some("/slow"))
    );
    assert!((60..62).contains(&after.as_secs()), "{after:?}");
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(
        afc.metadata("/next").await.unwrap().len,
        Some(2),
        "the connection stays usable"
    );
    device.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_to_somebody_else_is_no_silence() {
    let (afc, mut device) = pair();
    let device = tokio::spawn(async move {
        let (first, _) = request(&mut device).await;
        let (second, _) = request(&mut device).await;
        tokio::time::sleep(Duration::from_secs(50)).await;
        say(&mut device, first, &Packet::Data(Bytes::new())).await;
        tokio::time::sleep(Duration::from_secs(50)).await;
        say(&mut device, second, &Packet::Data(Bytes::new())).await;
        device
    });
    let (first, second) = tokio::join!(afc.metadata("/first"), afc.metadata("/second"));
    assert!(
        first.is_ok() && second.is_ok(),
        "the device worked on one after the other: {second:?}"
    );
    device.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_open_closes_the_file_that_arrives() {
    let (afc, mut device) = pair();
    let opening = tokio::time::timeout(Duration::from_secs(1), afc.open("/x", OpenMode::Read));
    assert!(opening.await.is_err());
    open_as(&mut device, 9).await;
    let (n, closing) = request(&mut device).await;
    assert_eq!(
        closing,
        Packet::FileClose {
            handle: FileHandle::new(9)
        }
    );
    say(&mut device, n, &Packet::Status(Status::Success)).await;
    let (answered, info) = tokio::join!(
        async {
            let (n, _) = request(&mut device).await;
            say(&mut device, n, &Packet::Data(Bytes::new())).await;
        },
        afc.metadata("/x"),
    );
    assert!(info.is_ok(), "{answered:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_before_the_caller_gave_up_is_undone_too() {
    let (afc, mut device) = pair();
    let mut opening = Box::pin(afc.open("/x", OpenMode::Read));
    // Polled once, so the question is on its way; then never again.
    assert!(tokio::time::timeout(Duration::ZERO, &mut opening).await.is_err());
    open_as(&mut device, 5).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The answer lies in the caller's hands, unseen.
    let mut byte = [0];
    let idle = tokio::time::timeout(Duration::from_secs(1), device.read(&mut byte)).await;
    assert!(idle.is_err(), "nothing is closed yet");
    drop(opening);
    let (_, closing) = request(&mut device).await;
    assert_eq!(
        closing,
        Packet::FileClose {
            handle: FileHandle::new(5)
        }
    );
}

#[tokio::test]
async fn a_request_is_one_packet_with_its_data_behind_the_handle() {
    let (afc, mut device) = pair();
    let device = tokio::spawn(async move {
        open_as(&mut device, 2).await;
        let mut bytes = vec![0; 53];
        device.read_exact(&mut bytes).await.unwrap();
        assert_eq!(
            u64::from_le_bytes(bytes[8..16].try_into().unwrap()),
            53,
            "entire_length"
        );
        assert_eq!(u64::from_le_bytes(bytes[16..24].try_into().unwrap()), 48, "this_length");
        assert_eq!(&bytes[48..], b"hello");
        say(&mut device, 2, &Packet::Status(Status::NoSpaceLeft)).await;
        device
    });
    let mut file = afc.open("/x", OpenMode::Write).await.unwrap();
    let error = file.write(Bytes::from_static(b"hello")).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::NoSpaceLeft));
    assert_eq!(
        error.to_string(),
        "FILE_WRITE of `/x` was refused: the device has no space left (code 18)"
    );
    device.await.unwrap();
}

#[tokio::test]
async fn a_dropped_client_still_sends_what_is_queued_and_then_closes() {
    let (afc, mut device) = pair();
    let opened = tokio::spawn(async move { afc.open("/x", OpenMode::Read).await.unwrap() });
    open_as(&mut device, 1).await;
    // The file is the last that holds the connection.
    drop(opened.await.unwrap());
    let (n, closing) = request(&mut device).await;
    assert_eq!(
        closing,
        Packet::FileClose {
            handle: FileHandle::new(1)
        }
    );
    say(&mut device, n, &Packet::Status(Status::Success)).await;
    assert_eq!(device.read(&mut [0]).await.unwrap(), 0, "then the stream ends");
}

#[tokio::test]
async fn file_data_comes_in_requests_of_the_chosen_size() {
    let (ours, mut device) = tokio::io::duplex(1 << 20);
    let afc = Afc::with_options(Box::new(ours), AfcOptions::default().read_size(1).write_size(u32::MAX));
    let device = tokio::spawn(async move {
        open_as(&mut device, 1).await;
        let (n, asked) = request(&mut device).await;
        assert_eq!(
            asked,
            Packet::FileRead {
                handle: FileHandle::new(1),
                len: 4096
            },
            "the smallest size allowed"
        );
        say(&mut device, n, &Packet::Status(Status::EndOfData)).await;
        device
    });
    let mut file = afc.open("/x", OpenMode::Read).await.unwrap();
    assert!(file.read().await.unwrap().is_empty(), "some say the end by code");
    device.await.unwrap();
}

#[tokio::test]
async fn a_file_is_not_lost_when_its_replacement_cannot_take_its_place() {
    let (afc, mut device) = pair();
    let device = tokio::spawn(async move {
        // A device whose rename replaces nothing, and fails once more later.
        let mut files = std::collections::BTreeMap::from([("/a".to_owned(), "old")]);
        let mut onto_a = 0;
        while let Some((number, packet)) = request_or_end(&mut device).await {
            let text = |path: &cabled_afc::msg::WirePath| path.to_string();
            let answer = match &packet {
                Packet::FileOpen { path, .. } => {
                    files.insert(text(path), "new");
                    Packet::FileOpenResult {
                        handle: FileHandle::new(1),
                    }
                }
                Packet::FileInfo { .. } => Packet::Data(Bytes::from_static(b"st_ifmt\0S_IFREG\0")),
                Packet::RenamePath { from, to } => {
                    let (from, to) = (text(from), text(to));
                    onto_a += usize::from(to == "/a");
                    if files.contains_key(&to) {
                        Packet::Status(Status::ObjectExists)
                    } else if to == "/a" && onto_a == 2 {
                        Packet::Status(Status::IoError)
                    } else {
                        let content = files.remove(&from).unwrap();
                        files.insert(to, content);
                        Packet::Status(Status::Success)
                    }
                }
                Packet::RemovePath { path } => {
                    files.remove(&text(path));
                    Packet::Status(Status::Success)
                }
                _ => Packet::Status(Status::Success),
            };
            say(&mut device, number, &answer).await;
        }
        files
    });
    let error = afc.write_file("/a", &b"new"[..]).await.unwrap_err();
    assert!(
        matches!(
            error,
            AfcError::Refused {
                status: Status::IoError,
                ..
            }
        ),
        "{error}"
    );
    drop(afc);
    let left: Vec<_> = device.await.unwrap().into_iter().collect();
    assert_eq!(left, [("/a".to_owned(), "old")]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_client_lets_go_of_a_device_that_takes_nothing() {
    let (ours, mut device) = tokio::io::duplex(64);
    let afc = Afc::new(Box::new(ours));
    let asked = tokio::spawn({
        let afc = afc.clone();
        async move { afc.write_file("/a", vec![0; 1000]).await }
    });
    assert!(matches!(asked.await.unwrap(), Err(AfcError::TimedOut { .. })));
    drop(afc);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    // What fitted into the pipe, and then its end: nobody holds the other side any more.
    let mut left = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(1), device.read_to_end(&mut left)).await;
    assert!(read.is_ok() && left.len() <= 64, "{} bytes", left.len());
}
