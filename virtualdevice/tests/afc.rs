//! Our AFC client against the phone's AFC service, and recorded packets of other clients against it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::time::Duration;

use bytes::Bytes;
use cabled_afc::msg::{FileHandle, Header, LinkKind, LockOp, OpenMode, Operation, Packet, Status, Whence};
use cabled_afc::{Afc, AfcError, AfcOptions, Broken, FileKind, SyncLock, SyncLockError, SyncLockOptions};
use cabled_virtualdevice::Phone;
use cabled_virtualdevice::fs::{Content, Kind, Meta};
use cabled_virtualdevice::service::afc::{self, AfcQuirks, ReplyOrder, Root};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

fn phone() -> Phone {
    let phone = Phone::builder().seed(1).empty().build().unwrap();
    let fs = phone.fs();
    fs.create_dir_all("CameraRollDomain", "Media/DCIM").unwrap();
    fs.create_dir_all("MediaDomain", "Media/Books").unwrap();
    let text = Kind::File(Content::bytes("hello\n"));
    fs.put("CameraRollDomain", "Media/DCIM/a.txt", text, Meta::file())
        .unwrap();
    phone
}

/// A connection to the phone; without a client, its near end.
fn stream(phone: &Phone, root: Root) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let phone = phone.clone();
    tokio::spawn(async move { afc::serve(phone, root, Box::new(theirs)).await });
    ours
}

fn connect(phone: &Phone) -> Afc {
    Afc::new(Box::new(stream(phone, Root::Media)))
}

fn with_quirks(phone: &Phone, change: impl FnOnce(&mut AfcQuirks)) {
    let mut quirks = phone.afc().quirks();
    change(&mut quirks);
    phone.afc().set_quirks(quirks);
}

fn status<T: std::fmt::Debug>(result: Result<T, AfcError>) -> Status {
    result.unwrap_err().status().unwrap()
}

/// Until `reached`, which is soon.
async fn eventually(mut reached: impl FnMut() -> bool) {
    for _ in 0..500 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it did not happen within a second");
}

#[tokio::test]
async fn every_operation_does_what_it_says() {
    let phone = phone();
    let afc = connect(&phone);
    assert_eq!(afc.read_dir("/").await.unwrap(), ["Books", "DCIM"]);
    afc.make_dir("/Books/a/b").await.unwrap();
    afc.make_dir("/Books/a/b").await.unwrap();
    afc.write_file("/Books/a/n", "0123456789").await.unwrap();
    assert_eq!(
        afc.read_dir("Books/./a/../a/").await.unwrap(),
        ["b", "n"],
        "no temporary name stays"
    );
    let meta = afc.metadata("/Books/a/n").await.unwrap();
    assert_eq!(
        (meta.kind.clone(), meta.len, meta.blocks, meta.links),
        (Some(FileKind::File), Some(10), Some(8), Some(1))
    );
    assert!(meta.mtime.unwrap() > 1_700_000_000_000_000_000 && meta.birthtime.is_some());

    afc.truncate("/Books/a/n", 4).await.unwrap();
    assert_eq!(afc.read_file("/Books/a/n", 4).await.unwrap(), "0123");
    afc.truncate("/Books/a/n", 6).await.unwrap();
    assert_eq!(afc.read_file("/Books/a/n", 100).await.unwrap(), "0123\0\0");
    assert!(matches!(
        afc.read_file("/Books/a/n", 5).await,
        Err(AfcError::TooLarge { limit: 5, .. })
    ));

    afc.set_mtime("/Books/a/n", 1_577_923_200_000_000_000).await.unwrap();
    afc.rename("/Books/a/n", "/Books/m").await.unwrap();
    let meta = afc.metadata("/Books/m").await.unwrap();
    assert_eq!(meta.mtime, Some(1_577_923_200_000_000_000), "a rename keeps the time");

    afc.link(LinkKind::Symbolic, "m", "/Books/l").await.unwrap();
    let link = afc.metadata("/Books/l").await.unwrap();
    assert!(
        link.is_symlink() && link.link_target.as_deref() == Some("m"),
        "information is about the link"
    );
    assert_eq!(
        afc.read_file("/Books/l", 100).await.unwrap(),
        "0123\0\0",
        "opening follows it"
    );
    afc.link(LinkKind::Hard, "/Books/m", "/Books/h").await.unwrap();
    assert_eq!(afc.metadata("/Books/h").await.unwrap().links, Some(2));

    let sha1 = phone
        .fs()
        .get("MediaDomain", "Media/Books/m")
        .unwrap()
        .content()
        .unwrap()
        .sha1()
        .unwrap();
    assert_eq!(afc.file_hash("/Books/m").await.unwrap(), sha1[..]);
    afc.set_fs_block_size(8 << 20).await.unwrap();
    afc.set_socket_block_size(8 << 20).await.unwrap();
    let info = afc.device_info().await.unwrap();
    assert_eq!(info.model.as_deref(), Some(phone.profile().model.product_type.as_str()));
    assert_eq!(
        (info.total_bytes, info.block_size),
        (Some(phone.fs().total_bytes()), Some(4096))
    );
    assert_eq!(status(afc.connection_info().await), Status::OperationNotSupported);

    afc.remove("/Books/l").await.unwrap();
    assert!(
        afc.metadata("/Books/m").await.is_ok(),
        "a link is removed, not what it leads to"
    );
    afc.remove_all("/Books/a").await.unwrap();
    assert_eq!(afc.read_dir("/Books").await.unwrap(), ["h", "m"]);
}

#[tokio::test]
async fn a_file_has_one_position_for_reading_and_writing() {
    let phone = phone();
    let afc = connect(&phone);
    let mut file = afc.open("/Books/n", OpenMode::WriteRead).await.unwrap();
    file.write(Bytes::from_static(b"0123456789")).await.unwrap();
    assert_eq!(file.tell().await.unwrap(), 10);
    file.seek(Whence::End, -4).await.unwrap();
    assert_eq!(file.read_at_most(2).await.unwrap(), "67");
    file.seek(Whence::Current, 1).await.unwrap();
    assert_eq!(file.read().await.unwrap(), "9");
    assert!(file.read().await.unwrap().is_empty(), "the end");
    assert_eq!(status(file.seek(Whence::Start, -1).await), Status::InvalidArgument);
    assert_eq!(status(file.seek(Whence::Other(3), 0).await), Status::InvalidArgument);
    file.set_len(2).await.unwrap();
    file.seek(Whence::Start, 4).await.unwrap();
    file.write(Bytes::from_static(b"x")).await.unwrap();
    file.close().await.unwrap();
    assert_eq!(
        afc.read_file("/Books/n", 100).await.unwrap(),
        "01\0\0x",
        "a gap is zeros"
    );

    let mut file = afc.open("/Books/n", OpenMode::ReadAppend).await.unwrap();
    file.seek(Whence::Start, 0).await.unwrap();
    file.write(Bytes::from_static(b"y")).await.unwrap();
    file.seek(Whence::Start, 4).await.unwrap();
    assert_eq!(file.read().await.unwrap(), "xy", "appending goes to the end");
    // The file stays the same while it is renamed, and can be read when it is gone.
    afc.rename("/Books/n", "/Books/o").await.unwrap();
    file.write(Bytes::from_static(b"z")).await.unwrap();
    afc.remove("/Books/o").await.unwrap();
    file.seek(Whence::Start, 0).await.unwrap();
    assert_eq!(file.read().await.unwrap(), "01\0\0xy");
}

#[tokio::test]
async fn open_modes_create_and_empty_as_their_letters_say() {
    let phone = phone();
    let afc = connect(&phone);
    assert_eq!(
        status(afc.open("/Books/n", OpenMode::Read).await),
        Status::ObjectNotFound
    );
    for mode in [
        OpenMode::ReadWrite,
        OpenMode::Write,
        OpenMode::WriteRead,
        OpenMode::Append,
        OpenMode::ReadAppend,
    ] {
        drop(afc.open(&format!("/Books/{}", mode.code()), mode).await.unwrap());
        afc.write_file("/Books/n", "old").await.unwrap();
        drop(afc.open("/Books/n", mode).await.unwrap());
        let left = afc.read_file("/Books/n", 10).await.unwrap();
        assert_eq!(left.is_empty(), mode.truncates(), "{mode}");
    }
    assert_eq!(afc.read_dir("/Books").await.unwrap(), ["2", "3", "4", "5", "6", "n"]);
    let mut write_only = afc.open("/Books/n", OpenMode::Write).await.unwrap();
    assert_eq!(status(write_only.read().await), Status::ReadError);
    let mut read_only = afc.open("/Books/n", OpenMode::Read).await.unwrap();
    assert_eq!(
        status(read_only.write(Bytes::from_static(b"x")).await),
        Status::WriteError
    );
    assert_eq!(
        status(afc.open("/Books/n", OpenMode::Other(7)).await),
        Status::InvalidArgument
    );
}

#[tokio::test]
async fn refusals_carry_the_codes_of_real_devices() {
    let phone = phone();
    let afc = connect(&phone);
    assert_eq!(status(afc.read_dir("/none").await), Status::ObjectNotFound);
    assert_eq!(status(afc.remove("/none").await), Status::ObjectNotFound);
    assert_eq!(status(afc.rename("/none", "/x").await), Status::ObjectNotFound);
    assert!(afc.metadata("/none").await.unwrap_err().is_not_found());
    assert_eq!(status(afc.read_dir("/DCIM/a.txt").await), Status::ReadError);
    let below_a_file = afc.metadata("/DCIM/a.txt/x").await.unwrap_err();
    assert!(below_a_file.status() == Some(Status::ReadError) && below_a_file.is_not_found());
    assert_eq!(status(afc.make_dir("/DCIM/a.txt/x").await), Status::ObjectExists);
    assert_eq!(status(afc.make_dir("/DCIM/a.txt").await), Status::ObjectExists);
    assert!(afc.rename("/Books", "/DCIM/a.txt/x").await.is_err());
    let not_empty = afc.remove("/DCIM").await.unwrap_err();
    assert!(not_empty.is_not_empty() && not_empty.status() == Some(Status::UnknownError));
    assert_eq!(
        status(afc.open("/DCIM", OpenMode::Read).await),
        Status::ObjectIsDirectory
    );
    afc.rename("/DCIM/a.txt", "DCIM/a.txt").await.unwrap();
    assert_eq!(status(afc.remove("/").await), Status::PermissionDenied);
    assert_eq!(
        status(afc.link(LinkKind::Symbolic, "x", "/DCIM/a.txt").await),
        Status::ObjectExists
    );
    let error = afc.open("/none", OpenMode::Read).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "FILE_OPEN of `/none` was refused: it does not exist (code 8)"
    );
    assert!(matches!(afc.metadata("a\0b").await, Err(AfcError::Path(_))));
    assert!(matches!(afc.metadata(&"x/".repeat(600)).await, Err(AfcError::Path(_))));
}

/// Sends bytes to the service and gives the answer to them, `None` if it closes.
async fn exchange(stream: &mut DuplexStream, request: &[u8]) -> Option<Packet> {
    stream.write_all(request).await.unwrap();
    let mut bytes = vec![0; Header::LEN];
    stream.read_exact(&mut bytes).await.ok()?;
    let header = Header::decode(bytes.first_chunk().unwrap(), 1 << 30).unwrap();
    bytes.resize(Header::LEN + usize::try_from(header.body_len()).unwrap(), 0);
    stream.read_exact(&mut bytes[Header::LEN..]).await.unwrap();
    Some(Packet::decode(&bytes.into(), 1 << 30).unwrap().1)
}

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

#[tokio::test]
async fn trees_are_removed_on_devices_that_cannot_do_it_at_once() {
    let phone = phone();
    with_quirks(&phone, |quirks| quirks.removes_contents = false);
    let afc = connect(&phone);
    afc.make_dir("/Books/a/b/c").await.unwrap();
    for name in ["/Books/a/1", "/Books/a/b/2", "/Books/a/b/c/3", "/Books/keep"] {
        afc.write_file(name, "x").await.unwrap();
    }
    afc.link(LinkKind::Symbolic, "../keep", "/Books/a/file").await.unwrap();
    afc.link(LinkKind::Symbolic, "/var/mobile/Media/DCIM", "/Books/a/folder")
        .await
        .unwrap();
    afc.remove_all("/Books/a").await.unwrap();
    assert_eq!(afc.read_dir("/Books").await.unwrap(), ["keep"]);
    assert_eq!(
        afc.read_dir("/DCIM").await.unwrap(),
        ["a.txt"],
        "links are removed, not followed"
    );
    for root in ["/", "", "Books/..", "//."] {
        assert!(
            matches!(afc.remove_all(root).await, Err(AfcError::Root { .. })),
            "{root}"
        );
    }
    assert_eq!(status(afc.remove_all("/none").await), Status::ObjectNotFound);
}

#[tokio::test]
async fn the_sync_lock_is_held_by_one_at_a_time() {
    let phone = phone();
    let (mine, theirs) = (connect(&phone), connect(&phone));
    let quick = SyncLockOptions::default().tries(3).interval(Duration::from_millis(1));
    let lock = SyncLock::acquire(&mine, &quick).await.unwrap();
    let held = SyncLock::acquire(&theirs, &quick).await.unwrap_err();
    assert!(matches!(held, SyncLockError::Held { tries: 3, .. }));
    assert!(
        held.to_string()
            .starts_with("another sync or backup is using this device")
    );
    lock.release().await.unwrap();
    assert_eq!(phone.afc().locked_files(), 0);
    assert_eq!(
        phone.log().count(afc::NAME, "FILE_CLOSE"),
        2,
        "whoever fails closes too"
    );

    // Given back by a guard that is dropped, and by a connection that ends.
    let lock = SyncLock::acquire(&theirs, &quick).await.unwrap();
    drop(lock);
    eventually(|| phone.afc().locked_files() == 0).await;
    let mut raw = stream(&phone, Root::Media);
    let path = cabled_afc::msg::WirePath::new(SyncLock::PATH).unwrap();
    exchange(
        &mut raw,
        &Packet::FileOpen {
            mode: OpenMode::ReadWrite,
            path,
        }
        .encode(1),
    )
    .await
    .unwrap();
    let lock = Packet::FileLock {
        handle: FileHandle::new(1),
        op: LockOp::Exclusive,
    };
    assert_eq!(
        exchange(&mut raw, &lock.encode(2)).await,
        Some(Packet::Status(Status::Success))
    );
    assert_eq!(phone.afc().locked_files(), 1);
    drop(raw);
    eventually(|| phone.afc().locked_files() == 0).await;

    phone.afc().script_held_lock(2);
    SyncLock::open(&mine)
        .await
        .unwrap()
        .lock(&quick)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    // Shared locks go together, and with no exclusive one.
    let mut a = mine.open("/DCIM/a.txt", OpenMode::Read).await.unwrap();
    let mut b = theirs.open("/DCIM/a.txt", OpenMode::Read).await.unwrap();
    a.lock(LockOp::Shared).await.unwrap();
    b.lock(LockOp::Shared).await.unwrap();
    assert_eq!(status(a.lock(LockOp::Exclusive).await), Status::OperationWouldBlock);
    b.unlock().await.unwrap();
    a.lock(LockOp::Exclusive).await.unwrap();
}

#[tokio::test]
async fn no_more_files_are_open_than_the_budget_allows() {
    let phone = phone();
    let afc = connect(&phone);
    let mut files = Vec::new();
    for _ in 0..16 {
        files.push(afc.open("/DCIM/a.txt", OpenMode::Read).await.unwrap());
    }
    let seventeenth = tokio::spawn({
        let afc = afc.clone();
        async move { afc.open("/DCIM/a.txt", OpenMode::Read).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(phone.log().count(afc::NAME, "FILE_OPEN"), 16);
    drop(files.pop());
    seventeenth.await.unwrap().unwrap();
    assert_eq!(phone.log().count(afc::NAME, "FILE_OPEN"), 17);
}

#[tokio::test]
async fn large_files_go_through_in_pieces_both_ways() {
    let phone = phone();
    let afc = connect(&phone);
    let source = Content::bytes(
        (0..20_000_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect::<Vec<_>>(),
    );
    let bytes = source.to_bytes(u64::MAX).unwrap();
    let written = afc
        .write_file_from("/Books/big", &mut &bytes[..], Some(1_000_000_000))
        .await
        .unwrap();
    assert_eq!(written, 20_000_000);
    let meta = afc.metadata("/Books/big").await.unwrap();
    assert_eq!((meta.len, meta.mtime), (Some(20_000_000), Some(1_000_000_000)));
    let mut back = Vec::new();
    let mut file = afc.open("/Books/big", OpenMode::Read).await.unwrap();
    assert_eq!(file.copy_to(&mut back).await.unwrap(), 20_000_000);
    assert!(back == bytes);
    assert_eq!(
        phone.log().count(afc::NAME, "FILE_READ"),
        21,
        "20 of data, one to see the end"
    );
    // One packet of any size is stored as it comes, as pymobiledevice3 sends it; one read of any size is served.
    let mut raw = stream(&phone, Root::Media);
    let path = |text| cabled_afc::msg::WirePath::new(text).unwrap();
    exchange(
        &mut raw,
        &Packet::FileOpen {
            mode: OpenMode::WriteRead,
            path: path("/Books/one"),
        }
        .encode(1),
    )
    .await
    .unwrap();
    let handle = FileHandle::new(1);
    let all = Packet::FileWrite {
        handle,
        data: bytes.clone(),
    };
    assert_eq!(
        exchange(&mut raw, &all.encode(2)).await,
        Some(Packet::Status(Status::Success))
    );
    let seek = Packet::FileSeek {
        handle,
        whence: Whence::Start,
        offset: 0,
    };
    exchange(&mut raw, &seek.encode(3)).await.unwrap();
    let read = Packet::FileRead { handle, len: u64::MAX };
    assert!(exchange(&mut raw, &read.encode(4)).await == Some(Packet::Data(bytes)));
}

#[tokio::test]
async fn a_full_phone_says_so_and_takes_the_rest_of_the_write_off_the_stream() {
    let phone = Phone::builder().seed(1).empty().capacity(1 << 20).build().unwrap();
    let afc = connect(&phone);
    let error = afc.write_file("/big", vec![0; 2 << 20]).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::NoSpaceLeft));
    assert_eq!(afc.read_dir("/").await.unwrap(), [""; 0], "the temporary file is gone");
    assert_eq!(afc.device_info().await.unwrap().free_bytes, Some(1 << 20));
}

#[tokio::test]
async fn links_that_leave_the_root_are_refused() {
    let phone = phone();
    phone.fs().create_dir_all("HomeDomain", "Library/SMS").unwrap();
    let secret = Kind::File(Content::bytes("secret"));
    phone
        .fs()
        .put("HomeDomain", "Library/SMS/sms.db", secret, Meta::file())
        .unwrap();
    let afc = connect(&phone);
    for (name, target) in [
        ("abs", "/var/mobile/Library/SMS"),
        ("rel", "../../Library/SMS"),
        ("loop", "loop"),
        ("etc", "/etc"),
    ] {
        afc.link(LinkKind::Symbolic, target, &format!("/Books/{name}"))
            .await
            .unwrap();
        assert_eq!(
            status(afc.read_dir(&format!("/Books/{name}")).await),
            Status::PermissionDenied,
            "{name}"
        );
        let below = format!("/Books/{name}/sms.db");
        assert_eq!(
            status(afc.open(&below, OpenMode::Read).await),
            Status::PermissionDenied,
            "{name}"
        );
        assert_eq!(status(afc.metadata(&below).await), Status::PermissionDenied, "{name}");
        assert_eq!(status(afc.remove_all(&below).await), Status::PermissionDenied, "{name}");
    }
    assert!(
        afc.metadata("/Books/abs").await.unwrap().is_symlink(),
        "the link itself can be looked at"
    );
    assert!(
        afc.metadata("/../../Library/SMS/sms.db")
            .await
            .unwrap_err()
            .is_not_found(),
        "dots stop at the root"
    );
    // Inside, links lead from one backup domain into the other.
    afc.link(LinkKind::Symbolic, "../DCIM", "/Books/photos").await.unwrap();
    assert_eq!(afc.read_dir("/Books/photos").await.unwrap(), ["a.txt"]);
    afc.write_file("/Books/photos/new", "x").await.unwrap();
    assert!(phone.fs().get("CameraRollDomain", "Media/DCIM/new").is_some());
}

#[tokio::test]
async fn the_roots_show_what_they_should() {
    let phone = phone();
    phone
        .fs()
        .create_dir_all("AppDomain-com.example.app", "Library")
        .unwrap();
    let open = |root| Afc::new(Box::new(stream(&phone, root)));
    let app = || "com.example.app".to_owned();
    let container = open(Root::Container(app()));
    assert_eq!(container.read_dir("/").await.unwrap(), ["Documents", "Library"]);
    container.write_file("Library/x", "1").await.unwrap();
    let documents = open(Root::Documents(app()));
    assert_eq!(documents.read_dir("/").await.unwrap(), ["Documents"]);
    documents.write_file("Documents/y", "2").await.unwrap();
    assert!(documents.metadata("Documents/").await.unwrap().is_dir());
    assert_eq!(
        status(documents.read_file("/Library/x", 9).await),
        Status::PermissionDenied
    );
    assert_eq!(
        status(documents.write_file("/new", "3").await),
        Status::PermissionDenied
    );
    assert!(phone.fs().get("AppDomain-com.example.app", "Documents/y").is_some());
    let crashes = open(Root::CrashReports);
    assert_eq!(crashes.read_dir(".").await.unwrap(), [""; 0]);
    crashes.write_file("./x.ips", "4").await.unwrap();
    assert!(
        phone
            .fs()
            .get("HomeDomain", "Library/Logs/CrashReporter/x.ips")
            .is_some()
    );
    assert_eq!(crashes.read_dir("/").await.unwrap(), ["x.ips"]);
}

#[tokio::test]
async fn data_protection_hides_contents_while_the_screen_is_locked() {
    let phone = phone();
    phone.set_passcode(true);
    let private = Meta::file().with_protection_class(1);
    phone
        .fs()
        .put(
            "MediaDomain",
            "Media/Books/p",
            Kind::File(Content::bytes("private")),
            private,
        )
        .unwrap();
    let afc = connect(&phone);
    let mut open_before = afc.open("/Books/p", OpenMode::Read).await.unwrap();
    phone.lock();
    assert_eq!(status(open_before.read().await), Status::IoError);
    assert_eq!(
        status(afc.open("/Books/p", OpenMode::Read).await),
        Status::PermissionDenied
    );
    assert_eq!(afc.metadata("/Books/p").await.unwrap().len, Some(7));
    assert_eq!(
        afc.read_file("/DCIM/a.txt", 9).await.unwrap(),
        "hello\n",
        "open after the first unlock"
    );
    phone.unlock();
    assert_eq!(open_before.read().await.unwrap(), "private");
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

#[tokio::test]
async fn house_arrest_shows_an_app_it_knows_and_no_other() {
    use cabled_lockdown::msg::Message as _;
    use cabled_lockdown::services::house_arrest::{Command, Reply};
    use cabled_virtualdevice::service;
    use cabled_wire::{frame, plist};

    let phone = phone();
    phone
        .fs()
        .create_dir_all("AppDomain-com.example.app", "Documents")
        .unwrap();
    let vend = async |command: Command| {
        let (mut ours, theirs) = tokio::io::duplex(64 << 10);
        let phone = phone.clone();
        tokio::spawn(
            async move { service::dispatch(phone, "com.apple.mobile.house_arrest", Box::new(theirs), None).await },
        );
        frame::write_frame(&mut ours, &command.encode()).await.unwrap();
        let reply = frame::read_frame(&mut ours, 1 << 20).await.unwrap();
        (
            Reply::from_plist(plist::read(&reply, &plist::Limits::default()).unwrap()).unwrap(),
            ours,
        )
    };
    let bundle_id = || "com.example.app".to_owned();
    let (reply, stream) = vend(Command::VendDocuments { bundle_id: bundle_id() }).await;
    assert_eq!(reply, Reply::Complete);
    let afc = Afc::new(Box::new(stream));
    afc.write_file("Documents/x", "1").await.unwrap();
    assert!(phone.fs().get("AppDomain-com.example.app", "Documents/x").is_some());
    let (reply, stream) = vend(Command::VendContainer { bundle_id: bundle_id() }).await;
    assert_eq!(reply, Reply::Complete);
    assert_eq!(Afc::new(Box::new(stream)).read_dir("/").await.unwrap(), ["Documents"]);
    for bundle_id in ["com.example.other", "../HomeDomain", ""] {
        let (reply, mut stream) = vend(Command::VendContainer {
            bundle_id: bundle_id.to_owned(),
        })
        .await;
        assert_eq!(
            reply,
            Reply::Failed {
                error: "ApplicationLookupFailed".to_owned()
            }
        );
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "and the connection ends");
    }
}
