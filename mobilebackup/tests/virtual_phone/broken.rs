use std::ops::ControlFlow;
use std::time::Duration;

use cabled_mobilebackup::folder::plain::Recovery;
use cabled_mobilebackup::live::{BackupError, BackupOptions, Notice, Observer, Phase, Progress, SERVICE};
use cabled_virtualdevice::contents::mutate;
use cabled_virtualdevice::{Direction, Fault, Phone, Profile};

use super::{Bench, Watcher, builder, phone};

/// A phone with enough on it to be stopped half-way.
fn large() -> Phone {
    builder(Profile::ios_17_7())
        .seed(6)
        .bytes(64 << 20)
        .files(300)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_cut_anywhere_leaves_a_folder_that_the_next_run_completes() {
    for after in [100, 5_000, 200_000, 3_000_000, 20_000_000] {
        let bench = Bench::new(large()).await;
        bench.phone.faults().push(Fault::cut(SERVICE, Direction::ToHost, after));
        let error = bench.backup(BackupOptions::default()).await.unwrap_err();
        assert!(
            matches!(error, BackupError::DeviceLink { .. } | BackupError::Lockdown(_)),
            "{after}: {error:?}"
        );
        let left = bench.folder().recovery(&bench.udid()).unwrap();
        assert!(
            matches!(left, Recovery::Empty | Recovery::Interrupted { .. }),
            "{after}: {left:?}"
        );
        // A snapshot that the phone keeps from a cut run is gone after a restart; this one tidies up by itself.
        bench.phone.backup_state().set_keeps_snapshot_when_cut(false);
        bench
            .backup(BackupOptions::default())
            .await
            .unwrap_or_else(|error| panic!("{after}: {error:?}"));
        bench.verify(None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_incremental_run_is_rolled_back_to_the_backup_before_it() {
    let bench = Bench::new(large()).await;
    bench.backup(BackupOptions::default()).await.unwrap();
    let manifest = std::fs::read(bench.device().join("Manifest.db")).unwrap();
    mutate(bench.phone.fs(), 8).unwrap();
    bench
        .phone
        .faults()
        .push(Fault::cut(SERVICE, Direction::ToHost, 60_000));
    bench.backup(BackupOptions::default()).await.unwrap_err();
    let recovery = bench.folder().recovery(&bench.udid()).unwrap();
    assert!(
        matches!(recovery, Recovery::Interrupted { roll_back: true, .. }),
        "{recovery:?}"
    );
    assert!(bench.folder().roll_back(&bench.udid()).unwrap());
    assert_eq!(std::fs::read(bench.device().join("Manifest.db")).unwrap(), manifest);
    let archive = cabled_mobilebackup::archive::Archive::open(bench.device()).unwrap();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        if entry.kind == cabled_mobilebackup::archive::Kind::File {
            super::drain(archive.read(&entry).unwrap());
        }
    }
    bench.backup(BackupOptions::default()).await.unwrap();
    bench.verify(None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_cancelled_by_its_observer_can_be_run_again() {
    let bench = Bench::new(large()).await;
    let mut watcher = Watcher {
        break_at: Some(10 << 20),
        ..Watcher::default()
    };
    let error = bench
        .watched_backup(BackupOptions::default(), &mut watcher)
        .await
        .unwrap_err();
    assert!(matches!(error, BackupError::Cancelled), "{error:?}");
    bench.phone.backup_state().set_keeps_snapshot_when_cut(false);
    bench.backup(BackupOptions::default()).await.unwrap();
    bench.verify(None);
}

/// Presses cancel on the phone itself once files come.
struct Presses(Phone, Watcher);

impl Observer for Presses {
    fn on_progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        if progress.phase == Phase::Receiving && progress.bytes_received > 1 << 20 {
            self.0.press_cancel();
        }
        ControlFlow::Continue(())
    }

    fn on_notice(&mut self, notice: &Notice) {
        self.1.on_notice(notice);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_pressed_on_the_phone_ends_the_run() {
    let bench = Bench::new(large()).await;
    let mut observer = Presses(bench.phone.clone(), Watcher::default());
    let error = bench
        .watched_backup(BackupOptions::default(), &mut observer)
        .await
        .unwrap_err();
    assert!(matches!(error, BackupError::CancelledOnDevice), "{error:?}");
    assert!(observer.1.notices.lock().unwrap().contains(&Notice::CancelledOnDevice));
}

#[tokio::test]
async fn companions_that_do_not_answer_cost_their_part_of_info_plist_and_no_more() {
    let bench = Bench::new(phone(Profile::ios_17_7())).await;
    for service in ["com.apple.mobile.installation_proxy", "com.apple.springboardservices"] {
        bench
            .phone
            .faults()
            .push(Fault::refuse_service(service, "InvalidService"));
    }
    let report = bench.backup(BackupOptions::default()).await.unwrap();
    let missing = |notice: &&Notice| {
        matches!(
            notice,
            Notice::InfoPlist {
                part: "Applications",
                ..
            }
        )
    };
    assert_eq!(report.outcome.notices.iter().filter(missing).count(), 1);
    bench.verify(None);
}

#[tokio::test]
async fn the_devices_own_code_and_text_are_kept() {
    let bench = Bench::new(phone(Profile::ios_17_7())).await;
    let text = "Unable to backup until Setup is finished (MBErrorDomain/212)";
    bench.phone.faults().push(Fault::backup_error("Backup", 212, text));
    let error = bench.backup(BackupOptions::default()).await.unwrap_err();
    let BackupError::Device(device) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((device.code, device.description.as_deref()), (Some(212), Some(text)));
    assert_eq!(
        error.remedy(),
        "finish the setup assistant on the device, then try again"
    );
}

#[tokio::test]
async fn a_phone_in_use_by_another_program_is_left_alone() {
    let bench = Bench::new(phone(Profile::ios_17_7())).await;
    let stream = bench
        .paired
        .start_service("com.apple.afc", cabled_lockdown::Escrow::Never)
        .await
        .unwrap();
    let afc = cabled_afc::Afc::new(stream);
    let options = cabled_afc::SyncLockOptions::default();
    let lock = cabled_afc::SyncLock::acquire(&afc, &options).await.unwrap();
    let error = bench.backup(BackupOptions::default()).await.unwrap_err();
    assert!(matches!(error, BackupError::Lock(_)), "{error:?}");
    lock.release().await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), bench.backup(BackupOptions::default()))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_phone_that_reports_success_and_writes_nothing_has_made_no_backup() {
    let bench = Bench::new(phone(Profile::ios_17_7())).await;
    bench.backup(BackupOptions::default()).await.unwrap();
    // The status of the run before says `finished` all the while.
    bench.phone.faults().push(Fault::backup_error("Backup", 0, ""));
    let error = bench.backup(BackupOptions::default()).await.unwrap_err();
    assert!(matches!(error, BackupError::NothingWritten), "{error:?}");
    bench.backup(BackupOptions::default()).await.unwrap();
}
