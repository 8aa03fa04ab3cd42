//! Spec 4.1 to 4.11, 7 and 14, message by message.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use cabled_devicelink::DeviceLinkError;
use cabled_devicelink::machine::Response;
use cabled_devicelink::msg::{Detail, Message, Naming, PLACEHOLDER, Status};
use cabled_devicelink::status::{FileType, read_listing};
use cabled_devicelink::transfer;
use cabled_wire::plist::{Dictionary, Value};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::device::{Device, File, file, pair};
use super::{Host, U, Watcher};
use crate::folder::Purpose;
use crate::folder::plain::PlainFolder;
use crate::live::device_error::DeviceErrorKind;
use crate::live::error::BackupError;
use crate::live::progress::Notice;
use crate::live::request::Request;

pub(super) struct Bench {
    pub(super) root: TempDir,
    pub(super) device: Device,
    pub(super) host: JoinHandle<Result<Response, BackupError>>,
    pub(super) watcher: Watcher,
}

/// A run that is past its handshake.
pub(super) async fn bench(host: Host) -> Bench {
    let root = tempfile::tempdir().unwrap();
    let folder = PlainFolder::new(root.path());
    let (mut device, stream) = pair();
    let watcher = host.observer.clone();
    let host = tokio::spawn(async move { host.run(stream, &folder, Request::Backup { force_full: false }).await });
    let request = device.handshake().await;
    assert_eq!(request["MessageName"], Value::from("Backup"));
    Bench {
        root,
        device,
        host,
        watcher,
    }
}

pub(super) async fn backup() -> Bench {
    bench(Host::new(Purpose::Backup)).await
}

impl Bench {
    pub(super) fn at(&self, tail: &str) -> PathBuf {
        self.root.path().join(U).join(tail)
    }

    /// Ends the run well.
    pub(super) async fn end(mut self) -> (TempDir, Watcher) {
        self.device.respond(0, None).await;
        self.device.goodbye().await;
        self.host.await.unwrap().unwrap();
        (self.root, self.watcher)
    }
}

pub(super) fn u(tail: &str) -> String {
    format!("{U}/{tail}")
}

pub(super) fn options() -> Dictionary {
    Dictionary::new()
}

#[tokio::test]
async fn a_first_download_of_a_missing_status_is_a_failure_block_and_a_multi_status() {
    let mut bench = backup().await;
    let (files, status) = bench.device.download(&[&u("Status.plist")]).await;
    assert_eq!(
        files,
        [(u("Status.plist"), Err((6, "No such file or directory".to_owned())))]
    );
    assert_eq!((status.code, status.text.as_str()), (-13, "Multi status"));
    let failures = status.file_failures();
    assert_eq!(
        (failures[0].path.as_str(), failures[0].code),
        (u("Status.plist").as_str(), -6)
    );
    bench.end().await;
}

#[tokio::test]
async fn a_download_goes_on_after_a_missing_file_and_keeps_the_order() {
    let mut bench = backup().await;
    let big = vec![7_u8; 100_000];
    let files = [file("x", b""), file("x", &big)];
    let paths = [u("empty"), u("big")];
    let files: Vec<File<'_>> = files
        .into_iter()
        .zip(&paths)
        .map(|(file, path)| File { path, ..file })
        .collect();
    assert_eq!(bench.device.upload(&files).await, Status::ok());
    let wanted = [&u("big"), &u("none"), &u("empty"), "", "../etc/passwd", &u("big")];
    let (files, status) = bench.device.download(&wanted.map(|path| path as &str)).await;
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [&u("big"), &u("none"), &u("empty"), "../etc/passwd", &u("big")],
        "an empty name cannot travel"
    );
    assert_eq!(files[0].1.as_ref().unwrap(), &big);
    assert_eq!(files[2].1.as_ref().unwrap(), &Vec::<u8>::new());
    assert!(files[3].1.is_err());
    assert_eq!(files[4].1.as_ref().unwrap(), &big);
    let codes: Vec<_> = status
        .file_failures()
        .into_iter()
        .map(|failure| (failure.path, failure.code))
        .collect();
    assert_eq!(
        codes,
        [(u("none"), -6), (String::new(), -1), ("../etc/passwd".to_owned(), -1)]
    );
    bench.end().await;
}

#[tokio::test]
async fn an_empty_download_list_is_answered() {
    let mut bench = backup().await;
    let (files, status) = bench.device.download(&[]).await;
    assert!(files.is_empty());
    assert_eq!(status, Status::ok());
    bench.end().await;
}

#[tokio::test]
async fn uploads_of_every_shape_are_stored_or_left_out() {
    let mut bench = backup().await;
    let big: Vec<u8> = (0..262_144_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (empty, whole, cut, cut_early) = (u("Snapshot/e"), u("Snapshot/w"), u("Snapshot/c"), u("Snapshot/ce"));
    let leading = format!("/{}", u("Snapshot/slash"));
    let status = bench
        .device
        .upload(&[
            file(&empty, b""),
            File {
                path: &whole,
                blocks: vec![&big, b"", &big],
                failure: None,
            },
            File {
                path: &cut,
                blocks: vec![b"half"],
                failure: Some((0x0b, "Input/output error (5)")),
            },
            File {
                path: &cut_early,
                blocks: vec![],
                failure: Some((0x06, "")),
            },
            file(&leading, b"x"),
        ])
        .await;
    assert_eq!(
        status,
        Status::ok(),
        "what the device could not read is no failure of the host"
    );
    assert_eq!(fs::read(bench.at("Snapshot/e")).unwrap(), b"");
    assert_eq!(fs::read(bench.at("Snapshot/w")).unwrap(), [&big[..], &big[..]].concat());
    assert!(!bench.at("Snapshot/c").exists() && !bench.at("Snapshot/ce").exists());
    assert_eq!(fs::read(bench.at("Snapshot/slash")).unwrap(), b"x");
    let (_root, watcher) = bench.end().await;
    let failed: Vec<_> = watcher.notices();
    let text = "Input/output error (5)".to_owned();
    assert_eq!(
        failed[0],
        Notice::DeviceFile {
            device_path: format!("/.ba/{}", u("Snapshot/c")),
            code: 11,
            text
        }
    );
    let last = watcher.seen.lock().unwrap().progress.last().unwrap().clone();
    assert_eq!((last.files_received, last.bytes_received), (3, 524_293));
}

#[tokio::test]
async fn hostile_upload_paths_are_drained_and_named_in_the_answer() {
    let mut bench = backup().await;
    let good = u("Snapshot/good");
    let climbing = u("../../escaped");
    let hostile = [
        climbing.as_str(),
        "/etc/escaped",
        "..",
        "/",
        "0123456789abcdef0123456789abcdef01234567/Status.plist",
        U,
        "a\0b",
    ];
    let mut files: Vec<File<'_>> = hostile.iter().map(|path| file(path, b"hostile")).collect();
    files.push(file(&good, b"good"));
    let status = bench.device.upload(&files).await;
    assert_eq!(status.code, -13);
    let mut named: Vec<_> = status
        .file_failures()
        .into_iter()
        .map(|failure| (failure.path, failure.code))
        .collect();
    named.sort();
    let mut wanted: Vec<_> = hostile.iter().map(|path| ((*path).to_owned(), -1)).collect();
    wanted.sort();
    assert_eq!(named, wanted);
    assert_eq!(fs::read(bench.at("Snapshot/good")).unwrap(), b"good");
    bench.device.respond(0, None).await;
    bench.device.goodbye().await;
    // The device says that all is well, and it is not.
    let error = bench.host.await.unwrap().unwrap_err();
    assert!(matches!(error, BackupError::Incomplete { count: 7, .. }), "{error}");
    let refused = bench
        .watcher
        .notices()
        .iter()
        .filter(|notice| matches!(notice, Notice::RefusedPath { .. }))
        .count();
    assert_eq!(refused, 7);
}

#[tokio::test]
async fn a_name_of_five_thousand_bytes_ends_the_exchange() {
    let mut bench = backup().await;
    bench.device.begin_upload(0).await;
    bench.device.raw(&5000_u32.to_be_bytes()).await;
    let error = bench.host.await.unwrap().unwrap_err();
    let too_long = transfer::TransferError::NameTooLong { len: 5000 };
    assert!(
        matches!(&error, BackupError::DeviceLink { source: DeviceLinkError::Transfer(e), .. } if *e == too_long),
        "{error:?}"
    );
}

#[tokio::test]
async fn directories_are_created_listed_and_a_missing_one_is_empty() {
    let mut bench = backup().await;
    let create = |path: &str| Message::CreateDirectory {
        path: path.to_owned(),
        options: options(),
        progress: Some(1.0),
    };
    let list = |path: &str| Message::ContentsOfDirectory {
        path: path.to_owned(),
        options: options(),
    };
    assert_eq!(bench.device.ask(create(U)).await, Status::ok());
    assert_eq!(bench.device.ask(create(&u("Snapshot/ab"))).await, Status::ok());
    assert_eq!(bench.device.ask(create(&u("Snapshot/ab"))).await, Status::ok(), "again");
    let (empty, five) = (u("Snapshot/empty"), u("Snapshot/five"));
    bench.device.upload(&[file(&empty, b""), file(&five, b"12345")]).await;
    assert_eq!(bench.device.ask(create(&five)).await.code, -7, "a file is in the way");
    let listed = bench.device.ask(list(&u("Snapshot"))).await;
    assert_eq!((listed.code, listed.text.as_str()), (0, PLACEHOLDER));
    let mut entries = read_listing(&listed.detail);
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let short: Vec<_> = entries
        .iter()
        .map(|(name, entry)| (name.as_str(), entry.file_type))
        .collect();
    assert_eq!(
        short,
        [
            ("ab", FileType::Directory),
            ("empty", FileType::Regular),
            ("five", FileType::Regular)
        ]
    );
    assert_eq!(entries[2].1.size, 5);
    assert!(
        entries[2].1.modified.elapsed().unwrap() < Duration::from_secs(60),
        "the date is a date of our days"
    );
    assert_eq!(bench.device.ask(list(&u("nowhere"))).await, Status::ok());
    assert_eq!(
        bench.device.ask(list("")).await.code,
        -1,
        "the root would show other devices"
    );
    bench.end().await;
}

#[tokio::test]
async fn moves_removals_and_copies_go_by_either_name() {
    let mut bench = backup().await;
    let paths: Vec<String> = (0..128).map(|n| u(&format!("Snapshot/{n}"))).collect();
    let files: Vec<File<'_>> = paths.iter().map(|path| file(path, path.as_bytes())).collect();
    bench.device.upload(&files).await;
    let items = (0..128)
        .map(|n| (u(&format!("Snapshot/{n}")), u(&format!("{:02x}/{n}", n % 16))))
        .collect();
    let moves = Message::MoveItems {
        items,
        options: options(),
        progress: Some(9.0),
        naming: Naming::Items,
    };
    assert_eq!(bench.device.ask(moves).await, Status::ok());
    assert_eq!(fs::read(bench.at("0f/127")).unwrap(), u("Snapshot/127").as_bytes());
    let items = vec![(u("none"), u("some"))];
    let missing = Message::MoveItems {
        items,
        options: options(),
        progress: None,
        naming: Naming::Files,
    };
    let status = bench.device.ask(missing).await;
    assert_eq!(
        (status.code, status.text.as_str(), status.detail),
        (-6, "No such file or directory", Detail::Empty)
    );
    let paths = vec![u("never"), u("Snapshot"), u("0f/127")];
    let removal = Message::RemoveItems {
        paths,
        options: options(),
        progress: None,
        naming: Naming::Files,
    };
    assert_eq!(bench.device.ask(removal).await, Status::ok());
    assert!(!bench.at("Snapshot").exists() && !bench.at("0f/127").exists());
    let copy = Message::CopyItem {
        from: u("0e"),
        to: u("copy"),
        progress: None,
    };
    assert_eq!(bench.device.ask(copy).await, Status::ok());
    assert!(bench.at("copy/126").exists());
    for path in ["", "..", "/", U] {
        let removal = |path: &str| Message::RemoveItems {
            paths: vec![path.to_owned()],
            options: options(),
            progress: None,
            naming: Naming::Items,
        };
        assert_eq!(bench.device.ask(removal(path)).await.code, -1, "{path:?}");
    }
    assert!(bench.at("0e/126").exists());
    bench.end().await;
}

#[tokio::test]
async fn free_space_is_a_bare_integer_and_the_truth_or_what_the_caller_says() {
    let mut bench = backup().await;
    let status = bench.device.ask(Message::GetFreeDiskSpace).await;
    assert!(
        matches!(status, Status { code: 0, detail: Detail::Integer(free), .. } if free > 1 << 20),
        "{status:?}"
    );
    bench.end().await;
    let mut host = Host::new(Purpose::Backup);
    host.common.free_space = Some(12_345);
    let mut fixed = self::bench(host).await;
    assert_eq!(
        fixed.device.ask(Message::GetFreeDiskSpace).await,
        Status::ok_with(Detail::Integer(12_345))
    );
    fixed.end().await;
}

#[tokio::test]
async fn a_purge_request_is_answered_and_explains_the_error_that_follows() {
    let mut host = Host::new(Purpose::Backup);
    host.common.free_space = Some(4_664_553_472);
    let mut bench = bench(host).await;
    bench.device.ask(Message::GetFreeDiskSpace).await;
    let amount = 12_265_029_274 + (2 << 30);
    let status = bench.device.ask(Message::PurgeDiskSpace { amount, urgency: 4 }).await;
    let wanted = Status {
        code: -1,
        text: "DLPurgeDiskSpace failed to purge".to_owned(),
        detail: Detail::Integer(0),
    };
    assert_eq!(status, wanted);
    let text = "Insufficient free disk space on drive to back up (MBErrorDomain/105)";
    bench.device.respond(105, Some(text)).await;
    bench.device.goodbye().await;
    let error = bench.host.await.unwrap().unwrap_err();
    assert_eq!(error.device_code(), Some(105));
    let BackupError::Device(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (error.kind, error.description.as_deref()),
        (DeviceErrorKind::HostFull, Some(text))
    );
    // Annex A.11: upload size and 128 MiB.
    assert_eq!(
        error.space.map(|space| space.needed),
        Some(16_795_365_018 + 134_217_728)
    );
    assert!(
        bench
            .watcher
            .notices()
            .contains(&Notice::PurgeWanted { amount, urgency: 4 })
    );
}

#[tokio::test]
async fn an_application_that_frees_space_is_believed() {
    let mut host = Host::new(Purpose::Backup);
    host.observer.purges = Some(77);
    let mut bench = bench(host).await;
    let status = bench
        .device
        .ask(Message::PurgeDiskSpace { amount: 5, urgency: 4 })
        .await;
    assert_eq!(status, Status::ok_with(Detail::Integer(77)));
    bench.end().await;
}

#[tokio::test]
async fn unknown_messages_are_answered_and_the_run_goes_on() {
    let mut bench = backup().await;
    let status = bench
        .device
        .ask(Message::Unknown {
            name: "DLMessageNew".to_owned(),
            elements: vec![],
        })
        .await;
    assert_eq!(
        (status.code, status.text.as_str(), status.detail),
        (-1, "Operation not supported", Detail::Empty)
    );
    let (_root, watcher) = bench.end().await;
    assert_eq!(
        watcher.notices(),
        [Notice::UnknownMessage {
            name: "DLMessageNew".to_owned()
        }]
    );
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_sent_does_not_derail_the_stream() {
    let mut bench = bench(Host::new(Purpose::Restore)).await;
    fs::create_dir_all(bench.at("")).unwrap();
    let len = 8 << 20;
    fs::write(bench.at("shrinks"), vec![5_u8; len]).unwrap();
    fs::write(bench.at("after"), "after").unwrap();
    // Pieces of a quarter megabyte, two in flight and a pipe of 64 KiB: most of the file is unread when it is cut.
    let paths = vec![u("shrinks"), u("after")];
    bench
        .device
        .send(&Message::DownloadFiles {
            paths,
            options: options(),
            progress: None,
        })
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    fs::OpenOptions::new()
        .write(true)
        .open(bench.at("shrinks"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let (files, status) = bench.device.resume_download().await;
    assert_eq!(status, Status::ok());
    let sent = files[0].1.as_ref().unwrap().len();
    assert!(sent < len && sent >= 1 << 18, "{sent}");
    assert_eq!(files[1].1.as_deref(), Ok(&b"after"[..]));
    bench.end().await;
}

#[tokio::test]
async fn progress_shows_raw_and_never_falling_percent() {
    let mut bench = backup().await;
    for percent in [10.0, 85.0, 65.0, 90.0] {
        let create = Message::CreateDirectory {
            path: U.to_owned(),
            options: options(),
            progress: Some(percent),
        };
        bench.device.ask(create).await;
    }
    let (_root, watcher) = bench.end().await;
    let seen = watcher.seen.lock().unwrap();
    assert!(seen.progress.is_sorted_by(|a, b| a.percent <= b.percent));
    assert!(
        seen.progress
            .iter()
            .any(|progress| progress.percent_raw == Some(65.0) && progress.percent == 85.0)
    );
}

#[tokio::test]
async fn a_failed_move_that_the_device_overlooks_is_no_success() {
    let mut bench = backup().await;
    bench
        .device
        .upload(&[file(&u("Snapshot/x"), b"x"), file(&u("taken"), b"")])
        .await;
    let status = bench
        .device
        .ask(Message::MoveItems {
            items: vec![(u("Snapshot/x"), u("taken/x"))],
            options: options(),
            progress: None,
            naming: Naming::Items,
        })
        .await;
    assert!(!status.is_ok());
    bench.device.respond(0, None).await;
    bench.device.goodbye().await;
    let error = bench.host.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, BackupError::Incomplete { count: 1, first } if *first == u("taken/x")),
        "{error:?}"
    );
}
