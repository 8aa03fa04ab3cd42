use std::time::Duration;

use cabled_mobilebackup::folder::plain::PlainFolder;
use cabled_mobilebackup::live::{
    BackupError, BackupOptions, ChangePassword, DeviceErrorKind, PasswordChange, RequestOptions, Restore,
    RestoreOptions, RestoreReport,
};
use cabled_virtualdevice::{Phone, Profile};

use super::{Bench, builder, contents, pair, phone};

/// Everything, as one wants it on a new phone.
fn whole(source: &str) -> RestoreOptions {
    RestoreOptions::default()
        .source(source)
        .system_files(true)
        .preserve_settings(false)
        .remove_items_not_restored(true)
}

async fn restore(phone: &Phone, folder: &PlainFolder, options: RestoreOptions) -> Result<RestoreReport, BackupError> {
    let paired = pair(phone).await;
    Restore::new(&paired).run(options, &mut folder.clone(), &mut ()).await
}

/// Waits until a restore is in place.
async fn settled(phone: &Phone) {
    for _ in 0..500 {
        if phone.is_on() && !phone.backup_state().restart_pending() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the phone did not come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_phone_holds_after_a_restore_what_the_first_one_holds() {
    for (copy, password) in [(false, None), (true, Some("secret"))] {
        let bench = Bench::new(phone(Profile::ios_17_7())).await;
        if let Some(password) = password {
            let enable = PasswordChange::Enable { new: password.into() };
            let job = ChangePassword::new(&bench.paired);
            job.run(enable, RequestOptions::default(), &mut bench.folder(), &mut ())
                .await
                .unwrap();
        }
        bench.backup(BackupOptions::default()).await.unwrap();
        let fresh = builder(Profile::ios_17_7()).seed(77).empty().build().unwrap();
        let mut options = whole(&bench.udid()).copy_first(copy);
        if let Some(password) = password {
            let without = restore(&fresh, &bench.folder(), options.clone()).await;
            assert!(matches!(without, Err(BackupError::PasswordNeeded)));
            let wrong = restore(&fresh, &bench.folder(), options.clone().password("wrong"))
                .await
                .unwrap_err();
            assert!(
                matches!(&wrong, BackupError::Device(e) if e.kind == DeviceErrorKind::WrongPassword),
                "{wrong:?}"
            );
            options = options.password(password);
        }
        let report = restore(&fresh, &bench.folder(), options).await.unwrap();
        assert_eq!(report.encrypted, password.is_some());
        assert!(report.applications > 0 && report.outcome.files_sent > 10, "{report:?}");
        settled(&fresh).await;
        let backed_up = bench.phone.backup_state().last_backup().unwrap();
        let (wanted, got) = (contents(&bench.phone), contents(&fresh));
        let mut compared = 0;
        for file in &backed_up.entries {
            let place = (file.entry.domain.to_string(), file.entry.path.to_string());
            assert_eq!(got.get(&place), wanted.get(&place), "{place:?}");
            compared += 1;
        }
        assert!(compared > 30);
        let apps = fresh.backup_state().last_restore().unwrap().apps.len();
        assert_eq!(apps, report.applications);
        assert_eq!(fresh.backup_state().last_restore().unwrap().copied, copy);
        bench.verify(password);
    }
}

#[tokio::test]
async fn what_a_restore_needs_is_checked_before_the_phone_is_asked() {
    let bench = Bench::new(phone(Profile::ios_17_7())).await;
    let nothing = restore(&bench.phone, &bench.folder(), RestoreOptions::default()).await;
    assert!(matches!(nothing, Err(BackupError::NoBackup { .. })), "{nothing:?}");
    bench.backup(BackupOptions::default()).await.unwrap();

    bench.phone.set_find_my(true);
    let find_my = restore(&bench.phone, &bench.folder(), RestoreOptions::default()).await;
    assert!(matches!(find_my, Err(BackupError::FindMyOn)), "{find_my:?}");
    bench.phone.set_find_my(false);

    let old = builder(Profile::ios_14_8()).seed(9).empty().build().unwrap();
    let newer = restore(&old, &bench.folder(), whole(&bench.udid())).await;
    assert!(matches!(newer, Err(BackupError::NewerBackup { .. })), "{newer:?}");

    let status = bench.device().join("Status.plist");
    std::fs::remove_file(status).unwrap();
    let unfinished = restore(&bench.phone, &bench.folder(), RestoreOptions::default()).await;
    assert!(
        matches!(unfinished, Err(BackupError::NoBackup { .. })),
        "{unfinished:?}"
    );
}
