use cabled_mobilebackup::folder::plain::Recovery;
use cabled_mobilebackup::live::{BackupOptions, HumanStep, Notice};
use cabled_virtualdevice::Profile;
use cabled_virtualdevice::backup::{HOSTILE_PATHS, PathMessage, Script, Torture};
use cabled_virtualdevice::contents::mutate;
use cabled_wire::plist::{self, DictExt, Limits};

use super::{Bench, Watcher, phone};

#[tokio::test(flavor = "multi_thread")]
async fn full_and_incremental_backups_of_every_generation_hold_what_the_phone_has() {
    for profile in Profile::all() {
        let version = profile.product_version.clone();
        let bench = Bench::new(phone(profile)).await;
        let report = bench
            .backup(BackupOptions::default())
            .await
            .unwrap_or_else(|error| panic!("{version}: {error:?}"));
        assert!(bench.phone.backup_state().last_backup().unwrap().full, "{version}");
        let all = bench.verify(None);
        assert!(report.outcome.files_received >= all && !report.encrypted, "{version}");
        assert_eq!(
            bench.folder().recovery(&bench.udid()).unwrap(),
            Recovery::Finished,
            "{version}"
        );
        assert!(!bench.device().join("Snapshot").exists());

        mutate(bench.phone.fs(), 3).unwrap();
        let report = bench
            .backup(BackupOptions::default())
            .await
            .unwrap_or_else(|error| panic!("{version}: {error:?}"));
        assert!(!bench.phone.backup_state().last_backup().unwrap().full, "{version}");
        assert!(report.outcome.files_received < all, "{version}: {report:?}");
        bench.verify(None);

        bench.backup(BackupOptions::default().full(true)).await.unwrap();
        assert!(bench.phone.backup_state().last_backup().unwrap().full, "{version}");
        bench.verify(None);
    }
}

#[tokio::test]
async fn info_plist_says_who_the_phone_is_and_which_apps_it_has() {
    let bench = Bench::new(phone(Profile::ios_17_7())).await;
    bench.backup(BackupOptions::default()).await.unwrap();
    let bytes = std::fs::read(bench.device().join("Info.plist")).unwrap();
    assert!(bytes.starts_with(b"<?xml"));
    let info = plist::read_dict(&bytes, &Limits::default()).unwrap();
    assert_eq!(info.text("Device Name").unwrap(), bench.phone.name());
    assert_eq!(info.text("Target Identifier").unwrap(), bench.udid());
    assert_eq!(info.text("Target Type"), Ok("Device"));
    assert_eq!(
        info.array("Installed Applications").unwrap().len(),
        bench.phone.apps().len()
    );
    let apps = info.dict("Applications").unwrap();
    assert!(!apps.is_empty());
    for (id, app) in apps {
        let app = app.as_dictionary().unwrap();
        assert!(!app.data("ApplicationSINF").unwrap().is_empty(), "{id}");
        assert!(app.data("PlaceholderIcon").unwrap().starts_with(b"\x89PNG"), "{id}");
    }
    assert!(info.dict("iTunes Files").is_ok());
}

#[tokio::test]
async fn a_passcode_prompt_is_told_where_the_generation_has_one() {
    let phone = super::builder(Profile::ios_17_7())
        .seed(5)
        .passcode(true)
        .build()
        .unwrap();
    phone.unlock();
    let bench = Bench::new(phone).await;
    let mut watcher = Watcher::default();
    bench
        .watched_backup(BackupOptions::default(), &mut watcher)
        .await
        .unwrap();
    let notices = watcher.notices.lock().unwrap();
    assert!(
        notices.contains(&Notice::Human(HumanStep::EnterPasscode)),
        "{notices:?}"
    );
    assert!(
        notices.contains(&Notice::Human(HumanStep::PasscodePromptGone)),
        "{notices:?}"
    );
    assert_eq!(watcher.last.lock().unwrap().percent, 100.0);
}

#[tokio::test]
async fn everything_an_odd_phone_may_say_is_survived_and_the_backup_is_right() {
    let bench = Bench::new(phone(Profile::ios_26())).await;
    let mut script = Script::plain();
    for step in [
        Torture::EmptyDownload,
        Torture::UnknownMessage("DLMessageWarpDrive".to_owned()),
        Torture::Purge {
            amount: 5 << 30,
            urgency: 4,
        },
        Torture::ListMissing,
        Torture::RemoveMissing,
        Torture::LegacyNames,
        Torture::ProgressBackwards,
        Torture::EmptyBlocks,
        Torture::LeadingSlashes,
        Torture::FailUpload {
            nth: 1,
            code: 0x0b,
            text: "Input/output error (5)".to_owned(),
            after: 0,
        },
        Torture::FailUpload {
            nth: 2,
            code: 0x0b,
            text: String::new(),
            after: 3,
        },
        Torture::FailUpload {
            nth: 3,
            code: 0x06,
            text: "No such file or directory".to_owned(),
            after: 0,
        },
    ] {
        script = script.with(step);
    }
    bench.phone.backup_state().set_script(script);
    let mut watcher = Watcher::default();
    let report = bench
        .watched_backup(BackupOptions::default(), &mut watcher)
        .await
        .unwrap();
    assert_eq!(report.outcome.unreadable_files().count(), 3);
    bench.verify(None);
}

#[tokio::test]
async fn hostile_paths_touch_nothing_and_do_not_spoil_the_backup() {
    let bench = Bench::new(phone(Profile::ios_17_7())).await;
    let other = bench.root.path().join("0123456789abcdef0123456789abcdef01234567");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("Manifest.db"), "another phone's").unwrap();
    let mut script = Script::plain();
    for message in PathMessage::ALL
        .into_iter()
        .filter(|message| *message != PathMessage::Upload)
    {
        for path in HOSTILE_PATHS {
            script = script.with(Torture::HostilePath {
                message,
                path: (*path).to_owned(),
            });
        }
    }
    bench.phone.backup_state().set_script(script);
    bench.backup(BackupOptions::default()).await.unwrap();
    bench.verify(None);
    assert_eq!(
        std::fs::read_to_string(other.join("Manifest.db")).unwrap(),
        "another phone's"
    );
    let mut names: Vec<_> = std::fs::read_dir(bench.root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[tokio::test]
async fn a_phone_that_wants_more_space_than_there_is_says_how_much() {
    let bench = Bench::new(phone(Profile::ios_26())).await;
    let error = bench
        .backup(BackupOptions::default().free_space(1_000_000))
        .await
        .unwrap_err();
    assert_eq!(error.device_code(), Some(105));
    let cabled_mobilebackup::live::BackupError::Device(error) = error else {
        panic!("{error:?}")
    };
    let space = error.space.unwrap();
    assert!(space.free == 1_000_000 && space.needed > 128 << 20, "{space:?}");
    bench
        .backup(BackupOptions::default().free_space(u64::MAX >> 1))
        .await
        .unwrap();
    bench.verify(None);
}
