//! What a phone shows of its storage, and how much of it.

use std::time::Duration;

use cabled_afc::Afc;
use cabled_afc::msg::{FileHandle, LinkKind, OpenMode, Packet, Status, Whence};
use cabled_virtualdevice::Phone;
use cabled_virtualdevice::fs::{Content, Kind, Meta};
use cabled_virtualdevice::service::afc::{self, Root};
use tokio::io::AsyncReadExt;

use crate::{connect, exchange, phone, status, stream};

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
