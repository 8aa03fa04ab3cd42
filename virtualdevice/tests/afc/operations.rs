//! What each operation does, and what it refuses.

use std::time::Duration;

use bytes::Bytes;
use cabled_afc::msg::{FileHandle, LinkKind, LockOp, OpenMode, Packet, Status, Whence};
use cabled_afc::{AfcError, FileKind, SyncLock, SyncLockError, SyncLockOptions};
use cabled_virtualdevice::service::afc::{self, Root};

use crate::{connect, eventually, exchange, phone, status, stream, with_quirks};

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
