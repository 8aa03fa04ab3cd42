//! How runs end before their time: silence, cut links, cancels, prompts nobody answers.

use std::fs;
use std::time::Duration;

use cabled_devicelink::DeviceLinkError;
use cabled_devicelink::machine::Phase as LinkPhase;
use cabled_devicelink::msg::{Message, Naming, Status};
use cabled_devicelink::transfer;
use cabled_lockdown::services::notification_proxy::names;
use cabled_wire::frame;

use super::device::{File, file, pair};
use super::scripted::{backup, bench, options, u};
use super::{Host, U};
use crate::folder::Purpose;
use crate::folder::plain::PlainFolder;
use crate::live::device_error::DeviceErrorKind;
use crate::live::error::BackupError;
use crate::live::progress::{HumanStep, Notice, Phase};
use crate::live::request::Request;

#[tokio::test]
async fn a_disconnect_or_a_cut_link_before_the_result_is_a_failure() {
    let mut bench = backup().await;
    bench.device.send(&Message::Disconnect { reason: None }).await;
    let error = bench.host.await.unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            BackupError::DeviceLink {
                source: DeviceLinkError::Disconnected { .. },
                ..
            }
        ),
        "{error}"
    );

    let mut bench = backup().await;
    bench.device.begin_upload(10).await;
    let mut half = bytes::BytesMut::new();
    transfer::put_name(&mut half, "/.ba/mobile/x").unwrap();
    transfer::put_name(&mut half, &u("Snapshot/x")).unwrap();
    transfer::put_data(&mut half, b"half of it");
    bench.device.raw(&half).await;
    while bench
        .watcher
        .seen
        .lock()
        .unwrap()
        .progress
        .last()
        .is_none_or(|progress| progress.bytes_received < 10)
    {
        tokio::task::yield_now().await;
    }
    drop(bench.device);
    let error = bench.host.await.unwrap().unwrap_err();
    let BackupError::DeviceLink {
        file,
        source: DeviceLinkError::Closed {
            phase: LinkPhase::Upload,
        },
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(file.as_deref(), Some("/.ba/mobile/x"));
    assert!(!bench.root.path().join(U).join("Snapshot/x").exists(), "no half file");
}

#[tokio::test(start_paused = true)]
async fn a_silent_device_ends_the_run_after_ten_minutes_and_not_before() {
    let bench = backup().await;
    tokio::time::sleep(Duration::from_secs(595)).await;
    assert!(!bench.host.is_finished());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let error = bench.host.await.unwrap().unwrap_err();
    let BackupError::DeviceLink {
        source: DeviceLinkError::TimedOut { phase, after },
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((phase, after), (LinkPhase::FirstMessage, Duration::from_secs(600)));
    drop(bench.device);
    let seen = bench.watcher.seen.lock().unwrap();
    assert!(seen.progress.len() > 1000, "the observer hears of a silent device");
    assert_eq!(seen.progress.last().unwrap().phase, Phase::Waiting);
}

#[tokio::test(start_paused = true)]
async fn a_passcode_prompt_is_told_and_waited_for() {
    let (host, notify) = Host::new(Purpose::Backup).notified();
    let mut bench = bench(host).await;
    notify.send(Some(names::PASSCODE_PRESENTED.to_owned())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(170)).await;
    notify.send(Some(names::PASSCODE_DISMISSED.to_owned())).await.unwrap();
    notify.send(None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench
        .device
        .respond(208, Some("Device locked (MBErrorDomain/208)"))
        .await;
    bench.device.goodbye().await;
    let error = bench.host.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, BackupError::Device(error) if error.kind == DeviceErrorKind::Locked),
        "{error}"
    );
    let human = [HumanStep::EnterPasscode, HumanStep::PasscodePromptGone].map(Notice::Human);
    assert_eq!(
        bench.watcher.notices(),
        [&human[..], &[Notice::NotificationsLost]].concat()
    );
}

#[tokio::test(start_paused = true)]
async fn cancel_pressed_on_the_device_answers_the_next_request_and_waits_for_the_end() {
    let (host, notify) = Host::new(Purpose::Backup).notified();
    let mut bench = bench(host).await;
    notify.send(Some(names::SYNC_CANCEL_REQUEST.to_owned())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = bench.device.ask(Message::GetFreeDiskSpace).await;
    assert_eq!((status.code, status.text.as_str()), (-1, "Cancelled"));
    let paths = vec![u("Snapshot")];
    let removal = Message::RemoveItems {
        paths,
        options: options(),
        progress: None,
        naming: Naming::Items,
    };
    assert_eq!(bench.device.ask(removal).await, Status::ok(), "cleaning up is served");
    bench.device.respond(1, None).await;
    let error = bench.host.await.unwrap().unwrap_err();
    assert!(matches!(error, BackupError::CancelledOnDevice), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_gives_up_on_a_silent_device_after_ten_seconds() {
    let mut host = Host::new(Purpose::Backup);
    host.observer.break_call = Some(5);
    let bench = bench(host).await;
    let before = tokio::time::Instant::now();
    let error = bench.host.await.unwrap().unwrap_err();
    assert!(matches!(error, BackupError::Cancelled), "{error}");
    let waited = before.elapsed();
    assert!(
        waited > Duration::from_secs(10) && waited < Duration::from_secs(13),
        "{waited:?}"
    );
    drop(bench.device);
}

#[tokio::test]
async fn a_run_cancelled_before_its_request_sends_none() {
    let mut host = Host::new(Purpose::Backup);
    host.observer.break_call = Some(1);
    let root = tempfile::tempdir().unwrap();
    let folder = PlainFolder::new(root.path());
    let (mut device, stream) = pair();
    let host = tokio::spawn(async move { host.run(stream, &folder, Request::Backup { force_full: false }).await });
    device.shake_hands().await;
    assert_eq!(device.receive().await, Message::Disconnect { reason: None });
    assert!(matches!(host.await.unwrap(), Err(BackupError::Cancelled)));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_upload_is_drained_to_its_end_and_refused() {
    let mut host = Host::new(Purpose::Backup);
    host.observer.break_at = Some(1000);
    let mut bench = bench(host).await;
    let paths: Vec<String> = (0..20).map(|n| u(&format!("Snapshot/{n}"))).collect();
    let data = vec![1_u8; 20_000];
    let files: Vec<File<'_>> = paths.iter().map(|path| file(path, &data)).collect();
    let status = bench.device.upload(&files).await;
    assert_eq!((status.code, status.text.as_str()), (-1, "Cancelled"));
    let (files, status) = bench.device.download(&[&u("Snapshot/0")]).await;
    assert!(files.is_empty());
    assert_eq!(status.code, -1);
    bench.device.respond(1, Some("cancelled")).await;
    assert!(matches!(bench.host.await.unwrap(), Err(BackupError::Cancelled)));
}

#[tokio::test]
async fn a_cancelled_download_ends_at_a_block_and_skips_the_rest() {
    let mut host = Host::new(Purpose::Restore);
    host.observer.break_at = Some(300_000);
    let mut bench = bench(host).await;
    fs::create_dir_all(bench.at("")).unwrap();
    fs::write(bench.at("big"), vec![5_u8; 50 << 20]).unwrap();
    let (files, status) = bench.device.download(&[&u("big"), &u("big")]).await;
    assert_eq!((status.code, status.text.as_str()), (-1, "Cancelled"));
    assert_eq!(files.len(), 1);
    assert!(files[0].1.is_err(), "the file is marked as incomplete");
    bench.device.respond(0, None).await;
    bench.device.goodbye().await;
    assert!(
        bench.host.await.unwrap().is_ok(),
        "a device that was done before it heard of it has succeeded"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_gives_up_on_a_device_that_never_stops_asking() {
    let mut host = Host::new(Purpose::Backup);
    host.observer.break_call = Some(5);
    let mut bench = bench(host).await;
    let before = tokio::time::Instant::now();
    while before.elapsed() < Duration::from_secs(60) && !bench.host.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let frame = frame::encode(&Message::GetFreeDiskSpace.encode()).unwrap();
        if bench.device.try_raw(&frame).await.is_err() || bench.device.try_receive().await.is_none() {
            break;
        }
    }
    let waited = before.elapsed();
    assert!(
        waited > Duration::from_secs(9) && waited < Duration::from_secs(14),
        "{waited:?}"
    );
    assert!(matches!(bench.host.await.unwrap(), Err(BackupError::Cancelled)));
}
