//! Full and incremental runs, and how they begin and end.

use std::time::Duration;

use cabled_devicelink::msg::{Detail, Encoding, Status as Answer};
use cabled_wire::dict;
use cabled_wire::plist;

use super::host::Host;
use super::*;
use crate::backup::{ServeError, put_awkward_files};
use crate::contents::mutate;
use crate::fault::Fault;
use crate::fs::{Content, Kind, Meta};
use crate::phone::PasscodeEntry;

fn pre_created(full: bool) -> Vec<u8> {
    let status = Status {
        uuid: "00000000-0000-4000-8000-000000000000".into(),
        date: std::time::SystemTime::now(),
        version: "3.3".into(),
        state: SnapshotState::Finished,
        is_full: full,
    };
    status.encode()
}

fn put(host: &mut Host, phone: &Phone, name: &str, bytes: Vec<u8>) {
    host.directories.insert(phone.udid().to_string());
    host.files
        .insert(format!("{}/{name}", phone.udid()), std::sync::Arc::new(bytes));
}

#[tokio::test]
async fn a_first_backup_holds_everything_in_every_generation() {
    for profile in Profile::all() {
        let phone = phone(profile);
        put_awkward_files(phone.fs()).unwrap();
        let mut host = Host::new();
        host.backup(&phone).await.ok();
        let opened = assert_holds(&host, &phone, None);
        let report = report(&phone);
        assert!(report.full && !report.encrypted);
        assert_eq!(report.files_sent as usize, opened.files.len());
        assert_eq!(host.payloads_uploaded(), opened.files.len());
        assert_eq!(host.file(&phone.udid().to_string(), "Status.plist").len(), 189);
        assert_eq!(host.messages.first().unwrap(), "DLMessageDownloadFiles");
        for file in report.files() {
            let plain = &opened.files[&(file.entry.domain.to_string(), file.entry.path.to_string())];
            let expected: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(plain).into();
            assert_eq!(file.sha256().unwrap(), Some(expected));
        }
    }
}

#[tokio::test]
async fn an_incremental_backup_sends_what_changed_and_removes_what_went() {
    for encrypted in [false, true] {
        let phone = phone(Profile::ios_17_7());
        let password = encrypted.then_some("secret");
        crate::backup::set_password(&phone, password).unwrap();
        let mut host = Host::new();
        host.backup(&phone).await.ok();
        for day in 1..4 {
            let before: std::collections::HashMap<_, _> = report(&phone)
                .entries
                .iter()
                .map(|entry| (entry.id, entry.entry.revision))
                .collect();
            let changes = mutate(phone.fs(), day).unwrap();
            host.backup(&phone).await.ok();
            assert_holds(&host, &phone, password);
            let report = report(&phone);
            assert!(!report.full);
            let changed = report
                .files()
                .filter(|file| before.get(&file.id) != Some(&file.entry.revision))
                .count();
            assert_eq!(report.files_sent as usize, changed, "{changes:?}");
            assert!(
                changed >= changes.to_send() && changed < 30,
                "{changed} for {changes:?}"
            );
            assert_eq!(host.payloads_uploaded(), changed);
            assert_eq!(
                report.files_removed as usize,
                changes.removed.len() + changes.renamed.len()
            );
        }
        host.backup(&phone).await.ok();
        assert_eq!(report(&phone).files_sent, 0, "nothing changed");
        assert_holds(&host, &phone, password);
    }
}

#[tokio::test]
async fn kept_records_keep_their_keys_and_new_ones_get_new_ones() {
    let phone = phone(Profile::ios_17_7());
    crate::backup::set_password(&phone, Some("a")).unwrap();
    let mut host = Host::new();
    host.backup(&phone).await.ok();
    let before = assert_holds(&host, &phone, Some("a"));
    phone
        .fs()
        .write_at("HomeDomain", "Library/SMS/sms.db", 60, b"x")
        .unwrap();
    host.backup(&phone).await.ok();
    let after = assert_holds(&host, &phone, Some("a"));
    assert_eq!(before.manifest.keybag, after.manifest.keybag);
    let mut new = 0;
    for (at, (_, record)) in &after.records {
        let same = record.key == before.records[at].1.key;
        new += usize::from(!same);
        assert_eq!(same, at.1 != "Library/SMS/sms.db", "{at:?}");
    }
    assert_eq!(new, 1);
}

#[tokio::test]
async fn a_phone_that_remembers_nothing_compares_records_and_sends_little() {
    let phone = phone(Profile::ios_17_7());
    let mut host = Host::new();
    host.backup(&phone).await.ok();
    let twin = super::phone(Profile::ios_17_7());
    assert_eq!(twin.udid(), phone.udid(), "the same phone, its memory of runs gone");
    mutate(twin.fs(), 1).unwrap();
    host.backup(&twin).await.ok();
    assert_holds(&host, &twin, None);
    let report = report(&twin);
    assert!(!report.full);
    assert!(
        report.files_kept > 90,
        "{} kept, {} sent",
        report.files_kept,
        report.files_sent
    );
}

#[tokio::test]
async fn status_and_manifest_decide_between_full_and_incremental() {
    // Status.plist with IsFullBackup, Manifest.plist emptied (true) or taken away (false): full, or the error behind 205.
    for (is_full, empty, expected) in [
        (true, true, Ok(())),
        (true, false, Ok(())),
        (false, true, Err("11")),
        (false, false, Err("/4")),
    ] {
        let phone = phone(Profile::ios_17_7());
        let mut host = Host::new();
        host.backup(&phone).await.ok();
        put(&mut host, &phone, "Status.plist", pre_created(is_full));
        if empty {
            put(&mut host, &phone, "Manifest.plist", Vec::new());
        } else {
            host.files.remove(&format!("{}/Manifest.plist", phone.udid()));
        }
        // An orphan that only a listing can find.
        let orphan = FileId::of("HomeDomain", "gone");
        put(&mut host, &phone, &orphan.stored_path(), b"old".to_vec());
        host.directories
            .insert(format!("{}/{:02x}", phone.udid(), orphan.folder()));
        let ended = host.backup(&phone).await;
        match expected {
            Ok(()) => {
                ended.ok();
                assert!(report(&phone).full);
                assert_eq!(report(&phone).files_removed, 1);
                assert_holds(&host, &phone, None);
            }
            Err(text) => {
                assert_eq!(ended.code, Some(205));
                assert!(ended.text.contains(text), "{}", ended.text);
            }
        }
    }
}

#[tokio::test]
async fn a_first_run_of_a_host_that_prepares_the_files_is_full() {
    let phone = phone(Profile::ios_26());
    let mut host = Host::new();
    put(&mut host, &phone, "Status.plist", pre_created(true));
    put(&mut host, &phone, "Manifest.plist", Vec::new());
    host.backup(&phone).await.ok();
    assert!(report(&phone).full);
    assert_holds(&host, &phone, None);
}

#[tokio::test]
async fn force_full_sends_everything_again() {
    let phone = phone(Profile::ios_17_7());
    let mut host = Host::new();
    host.backup(&phone).await.ok();
    let all = host.payloads_uploaded();
    let options = dict! { "ForceFullBackup" => true };
    host.request(&phone, dict! { "MessageName" => "Backup", "Options" => options })
        .await
        .ok();
    assert_eq!(host.payloads_uploaded(), all);
    assert_holds(&host, &phone, None);
}

#[tokio::test]
async fn hosts_may_speak_xml() {
    let phone = phone(Profile::ios_18());
    let mut host = Host {
        encoding: Encoding::Xml,
        ..Host::new()
    };
    host.backup(&phone).await.ok();
    assert_holds(&host, &phone, None);
}

#[tokio::test]
async fn free_space_is_reckoned_to_the_byte() {
    let measure = phone(Profile::ios_17_7());
    let mut host = Host::new();
    host.backup(&measure).await.ok();
    let need = report(&measure).bytes_sent + (128 << 20);
    for (free, code) in [(need, Some(105)), (need + 1, Some(0))] {
        let phone = phone(Profile::ios_17_7());
        let mut host = Host {
            free: vec![free],
            ..Host::new()
        };
        assert_eq!(host.backup(&phone).await.code, code);
        assert_eq!(host.count("DLMessagePurgeDiskSpace"), 0, "this generation does not ask");
    }
    // iOS 26 asks the host to make room, and asks for the figure again after a success.
    let purged = Answer::ok_with(Detail::Integer(5));
    let refused = Answer {
        code: -1,
        text: "no".into(),
        detail: Detail::Integer(0),
    };
    for (purge, free, code, asked) in [
        (refused, vec![5], Some(105), 1),
        (purged.clone(), vec![5, need + (1 << 20)], Some(0), 2),
        (purged, vec![5], Some(105), 2),
    ] {
        let phone = phone(Profile::ios_26());
        let mut host = Host {
            free,
            purge,
            ..Host::new()
        };
        assert_eq!(host.backup(&phone).await.code, code);
        assert_eq!(host.count("DLMessageGetFreeDiskSpace"), asked);
        assert_eq!(host.count("DLMessagePurgeDiskSpace"), 1);
    }
}

#[tokio::test]
async fn a_payload_the_host_lost_ends_with_205_and_one_it_lists_wrong_too() {
    let mut profile = Profile::ios_17_7();
    let phone = phone(profile.clone());
    let mut host = Host::new();
    host.backup(&phone).await.ok();
    let id = FileId::of("HomeDomain", "Library/SMS/sms.db");
    let stored = format!("{}/{}", phone.udid(), id.stored_path());
    host.files.remove(&stored);
    assert_eq!(host.backup(&phone).await.code, Some(205));
    // A generation that lists before it starts sends everything again instead.
    profile = profile.with_lists_at_start(true);
    let careful = Phone::builder().profile(profile).seed(7).build().unwrap();
    let mut host = Host::new();
    host.backup(&careful).await.ok();
    host.files.remove(&stored);
    host.backup(&careful).await.ok();
    assert!(report(&careful).full);
    assert_holds(&host, &careful, None);
}

#[tokio::test]
async fn a_run_cut_off_while_uploading_is_followed_by_an_incremental_one() {
    let phone = phone(Profile::ios_17_7());
    let mut host = Host::new();
    host.backup(&phone).await.ok();
    mutate(phone.fs(), 1).unwrap();
    // Uploads are: status, payloads, manifest, status…; cut at the second.
    host.cut_at = Some(("DLMessageUploadFiles", 2));
    let ended = host.backup(&phone).await;
    assert_eq!(ended.code, None);
    assert!(ended.served.is_err());
    host.cut_at = None;
    host.backup(&phone).await.ok();
    assert!(!report(&phone).full);
    assert_holds(&host, &phone, None);
}

#[tokio::test]
async fn a_generation_that_resumes_sends_the_rest_only() {
    for password in [None, Some("pw")] {
        let profile = Profile::ios_17_7().with_upload_batch(300_000_u64);
        let phone = phone(profile.with_leftover_snapshot(crate::profile::LeftoverSnapshot::Resume));
        crate::backup::set_password(&phone, password).unwrap();
        let mut host = Host::new();
        host.cut_at = Some(("DLMessageUploadFiles", 5));
        assert_eq!(host.backup(&phone).await.code, None);
        let there = host.payloads_uploaded();
        assert!(there > 10);
        // One of them changes, and the host loses another.
        let sms = FileId::of("HomeDomain", "Library/SMS/sms.db").stored_path();
        phone
            .fs()
            .write_at("HomeDomain", "Library/SMS/sms.db", 60, b"x")
            .unwrap();
        let staged: Vec<String> = host
            .files
            .keys()
            .filter(|name| name.contains("/Snapshot/"))
            .cloned()
            .collect();
        let lost = staged.iter().find(|name| !name.ends_with(&sms)).unwrap();
        host.files.remove(lost);
        host.cut_at = None;
        host.backup(&phone).await.ok();
        assert_holds(&host, &phone, password);
        let all = report(&phone).files().count();
        let sent_again = 1 + usize::from(staged.iter().any(|name| name.ends_with(&sms)));
        assert_eq!(host.payloads_uploaded(), all - staged.len() + sent_again);
    }
}

#[tokio::test]
async fn a_run_cut_off_while_moving_is_followed_by_a_full_one() {
    let phone = phone(Profile::ios_17_7());
    let mut host = Host::new();
    host.backup(&phone).await.ok();
    mutate(phone.fs(), 1).unwrap();
    host.cut_at = Some(("DLMessageMoveItems", 1));
    assert_eq!(host.backup(&phone).await.code, None);
    host.cut_at = None;
    host.backup(&phone).await.ok();
    assert!(report(&phone).full);
    assert_holds(&host, &phone, None);
}

#[tokio::test]
async fn a_snapshot_left_by_a_cut_run_ends_the_next_with_3_until_a_restart() {
    let phone = phone(Profile::ios_17_7());
    phone.backup_state().set_keeps_snapshot_when_cut(true);
    let mut host = Host {
        cut_at: Some(("DLMessageUploadFiles", 2)),
        ..Host::new()
    };
    host.backup(&phone).await;
    host.cut_at = None;
    assert_eq!(host.backup(&phone).await.code, Some(3));
    phone.reboot();
    host.backup(&phone).await.ok();
}

#[tokio::test]
async fn failures_of_the_host_come_back_with_its_words() {
    for (message, code) in [
        ("DLMessageUploadFiles", 104),
        ("DLMessageCreateDirectory", 104),
        ("DLMessageMoveItems", 104),
        ("DLMessageRemoveItems", 104),
    ] {
        let phone = phone(Profile::ios_17_7());
        let no_space = Answer::failed(-15, "No space left on device");
        let mut host = Host {
            fails: Some((message, no_space)),
            ..Host::new()
        };
        let ended = host.backup(&phone).await;
        assert_eq!(ended.code, Some(code), "{message}");
        assert!(
            ended.text.contains("No space left on device (MBErrorDomain/100)"),
            "{}",
            ended.text
        );
    }
    let phone = phone(Profile::ios_17_7());
    let mut host = Host {
        fails: Some(("DLMessageUploadFiles", Answer::failed(-1, "Cancelled"))),
        ..Host::new()
    };
    let ended = host.backup(&phone).await;
    assert_eq!(
        (ended.code, ended.text.as_str()),
        (Some(1), "Cancelled (MBErrorDomain/1)")
    );
}

#[tokio::test]
async fn gates_refuse_before_anything_is_asked_of_the_host() {
    let setup = phone(Profile::ios_17_7());
    setup.set_setup_done(false);
    let faulty = phone(Profile::ios_17_7());
    faulty
        .faults()
        .push(Fault::backup_error("Backup", 24, "odd (MBErrorDomain/24)"));
    let locked = Phone::builder().passcode(true).build().unwrap();
    locked.lock();
    for (phone, code) in [(setup, 212), (faulty, 24), (locked, 208)] {
        let mut host = Host::new();
        let ended = host.backup(&phone).await;
        assert_eq!(ended.code, Some(code));
        assert_eq!(host.messages, ["DLMessageProcessMessage"]);
    }
}

#[tokio::test]
async fn the_passcode_is_asked_where_the_generation_asks_and_208_ends_a_prompt_nobody_answers() {
    for (profile, asks) in [(Profile::ios_14_8(), false), (Profile::ios_16_7(), true)] {
        let phone = Phone::builder().profile(profile).passcode(true).build().unwrap();
        let mut notifications = phone.notifications();
        let mut host = Host::new();
        host.backup(&phone).await.ok();
        let first = notifications.try_recv().ok();
        assert_eq!(
            first.as_deref(),
            asks.then_some("com.apple.LocalAuthentication.ui.presented")
        );
    }
    let profile = Profile::ios_17_7().with_passcode_timeout(Duration::from_millis(20));
    let phone = Phone::builder().profile(profile).passcode(true).build().unwrap();
    phone.set_passcode_entry(PasscodeEntry::Never);
    let ended = Host::new().backup(&phone).await;
    assert_eq!(
        (ended.code, ended.text.as_str()),
        (Some(208), "Device locked (MBErrorDomain/208)")
    );
}

#[tokio::test]
async fn private_data_stays_out_of_unencrypted_backups_when_asked() {
    let phone = phone(Profile::ios_17_7());
    phone.fs().create_dir_all("HealthDomain", "Health").unwrap();
    let kind = Kind::File(Content::bytes("beats"));
    phone
        .fs()
        .put("HealthDomain", "Health/healthdb.sqlite", kind, Meta::file())
        .unwrap();
    phone.backup_state().set_withholds_private_data(true);
    let health = FileId::of("HealthDomain", "Health/healthdb.sqlite");
    for (password, expected) in [(None, false), (Some("pw"), true)] {
        crate::backup::set_password(&phone, password).unwrap();
        let mut host = Host::new();
        host.backup(&phone).await.ok();
        assert_eq!(report(&phone).entries.iter().any(|entry| entry.id == health), expected);
    }
}

#[tokio::test]
async fn other_requests_are_answered_or_refused_and_none_hangs() {
    let phone = phone(Profile::ios_17_7());
    let mut host = Host::new();
    host.backup(&phone).await.ok();
    let ask = |name: &str| dict! { "MessageName" => name };
    let info = host.request(&phone, ask("Info")).await;
    assert!(info.ok().content.as_ref().unwrap().contains("snapshotState=Finished"));
    let list = host.request(&phone, ask("List")).await;
    assert!(
        list.ok()
            .content
            .as_ref()
            .unwrap()
            .contains("\"HomeDomain\",\"Library/SMS/sms.db\",file,")
    );
    for name in ["EraseDevice", "EnableCloudBackup", "CancelBackup", "Warp"] {
        assert_eq!(host.request(&phone, ask(name)).await.code, Some(1), "{name}");
    }
    for name in ["Unback", "Extract"] {
        let ended = host.request(&phone, ask(name)).await;
        assert!(matches!(ended.served, Err(ServeError::Dropped { .. })), "{name}");
    }
    let mut strange = ask("Backup");
    strange.insert("SourceIdentifier".into(), "../..".into());
    assert_eq!(host.request(&phone, strange).await.code, Some(1));
}

#[tokio::test]
async fn unback_and_extract_write_plain_files_where_the_generation_does() {
    let phone = phone(Profile::ios_10_3().with_unback(true));
    crate::backup::set_password(&phone, Some("pw")).unwrap();
    let mut host = Host::new();
    host.backup(&phone).await.ok();
    let sms = phone.fs().get("HomeDomain", "Library/SMS/sms.db").unwrap();
    let sms = sms.content().unwrap().to_bytes(1 << 30).unwrap();
    let extract = dict! {
        "MessageName" => "Extract", "DomainName" => "HomeDomain", "RelativePath" => "Library/SMS/sms.db", "Password" => "pw",
    };
    host.request(&phone, extract).await.ok();
    let root = format!("_unback_/{}", phone.udid());
    assert_eq!(host.file(&root, "var/mobile/Library/SMS/sms.db"), sms);
    let wrong = dict! { "MessageName" => "Unback", "Password" => "no" };
    assert_eq!(host.request(&phone, wrong).await.code, Some(207));
    host.request(&phone, dict! { "MessageName" => "Unback", "Password" => "pw" })
        .await
        .ok();
    let plain = host.files.keys().filter(|name| name.starts_with(&root)).count();
    assert_eq!(plain, report(&phone).files().count());
}

#[tokio::test]
async fn a_host_without_a_common_version_hears_1() {
    use cabled_devicelink::msg::Message;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let phone = phone(Profile::ios_17_7());
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let server = tokio::spawn(crate::backup::serve(phone, Box::new(far), None));
    let frame = |message: &Message| cabled_wire::frame::encode(&message.encode()).unwrap();
    let versions = plist::Value::Array(vec![plist::Value::Real(3.0), plist::Value::from(2)]);
    let hello = dict! { "MessageName" => "Hello", "SupportedProtocolVersions" => versions };
    near.write_all(&frame(&Message::VersionsOk { major: 400 }))
        .await
        .unwrap();
    near.write_all(&frame(&Message::ProcessMessage(hello))).await.unwrap();
    near.write_all(&frame(&Message::Disconnect { reason: None }))
        .await
        .unwrap();
    let mut all = Vec::new();
    near.read_to_end(&mut all).await.unwrap();
    assert!(server.await.unwrap().is_ok());
    let mut decoder = cabled_wire::frame::FrameDecoder::new(1 << 20);
    decoder.push(&all);
    let mut last = None;
    while let Some(body) = decoder.next_frame().unwrap() {
        last = Some(Message::decode(&body, &cabled_devicelink::msg::limits()).unwrap());
    }
    let Some(Message::ProcessMessage(reply)) = last else {
        panic!("no reply")
    };
    assert_eq!(reply["ErrorCode"].as_signed_integer(), Some(1));
}
