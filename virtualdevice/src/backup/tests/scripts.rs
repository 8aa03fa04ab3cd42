//! What a script does reaches the host, and a host that survives it has a whole backup.

use std::time::Duration;

use super::host::Host;
use super::*;
use crate::backup::{Moment, Script, ServeError, Torture};
use crate::contents::mutate;

#[tokio::test]
async fn a_hardened_host_survives_the_torture_with_a_whole_backup() {
    for password in [None, Some("pw")] {
        let phone = phone(Profile::ios_17_7());
        crate::backup::set_password(&phone, password).unwrap();
        phone
            .backup_state()
            .set_script(Script::torture(&phone.udid().to_string()));
        let mut host = Host {
            hardened: true,
            ..Host::new()
        };
        host.backup(&phone).await.ok();
        assert_holds(&host, &phone, password);
        let answers = phone.backup_state().answers();
        let hostile = answers
            .iter()
            .filter(|answer| matches!(answer.step, Torture::HostilePath { .. }));
        assert!(hostile.clone().count() > 80);
        assert!(
            hostile.clone().all(|answer| !answer.status.is_ok()),
            "{:#?}",
            hostile.collect::<Vec<_>>()
        );
        assert_eq!(
            host.count("DLMessageWarpDrive") + host.count("DLMessageMoveItems"),
            1 + hostile_moves(&phone)
        );
        assert!(host.progress.windows(2).any(|two| two[1] < two[0]), "progress falls");
        mutate(phone.fs(), 1).unwrap();
        host.backup(&phone).await.ok();
        assert_holds(&host, &phone, password);
    }
}

/// Moves with the modern name come from hostile paths only.
fn hostile_moves(phone: &Phone) -> usize {
    use crate::backup::PathMessage::{MoveFrom, MoveTo};
    let steps = phone.backup_state().script().steps().to_vec();
    let moves = |step: &&Torture| {
        matches!(
            step,
            Torture::HostilePath {
                message: MoveFrom | MoveTo,
                ..
            }
        )
    };
    steps.iter().filter(moves).count()
}

#[tokio::test]
async fn files_that_fail_to_upload_stay_out_of_the_manifest() {
    let phone = phone(Profile::ios_17_7());
    let fail = |nth, code, text: &str, after| Torture::FailUpload {
        nth,
        code,
        text: text.into(),
        after,
    };
    let script = Script::plain()
        .with(fail(0, 0x0b, "Input/output error (5)", 0))
        .with(fail(3, 0x0b, "", 100))
        .with(fail(5, 0x06, "No such file or directory", 0))
        .with(fail(7, 0x06, "", 7));
    phone.backup_state().set_script(script);
    let mut host = Host::new();
    host.backup(&phone).await.ok();
    let report = report(&phone);
    assert_eq!((report.failed.len(), host.failed_uploads.len()), (4, 4));
    let opened = open(&host, &phone.udid().to_string(), None);
    assert_eq!(report.files().count(), opened.files.len());
    for name in &report.failed {
        assert!(
            !opened
                .files
                .keys()
                .any(|(domain, path)| format!("{domain}-{path}") == *name)
        );
    }
    // The next run sends them.
    phone.backup_state().set_script(Script::plain());
    host.backup(&phone).await.ok();
    assert_eq!(host.payloads_uploaded(), 4);
    assert_holds(&host, &phone, None);
}

#[tokio::test(start_paused = true)]
async fn silences_are_kept_and_disconnects_end_without_a_result() {
    let phone = phone(Profile::ios_17_7());
    let lasting = Duration::from_secs(35);
    for at in [Moment::First, Moment::BeforeMoving, Moment::BeforeResult] {
        phone
            .backup_state()
            .set_script(Script::plain().with(Torture::Silence { at, lasting }));
        let began = tokio::time::Instant::now();
        Host::new().backup(&phone).await.ok();
        assert!(began.elapsed() >= lasting, "{at:?}");
    }
    for at in [Moment::First, Moment::BeforeMoving, Moment::BeforeResult] {
        phone
            .backup_state()
            .set_script(Script::plain().with(Torture::Disconnect {
                at,
                reason: "bye".into(),
            }));
        let ended = Host::new().backup(&phone).await;
        assert_eq!(ended.code, None);
        assert!(matches!(ended.served, Err(ServeError::Script)), "{at:?}");
    }
}

#[tokio::test]
async fn silence_inside_a_transfer_comes_between_whole_pieces() {
    for at in [Moment::BetweenFiles, Moment::InsideFile, Moment::BetweenBatches] {
        let phone = Phone::builder()
            .profile(Profile::ios_17_7().with_upload_batch(500_000_u64))
            .seed(7)
            .build()
            .unwrap();
        phone.backup_state().set_script(Script::plain().with(Torture::Silence {
            at,
            lasting: Duration::from_millis(1),
        }));
        let mut host = Host::new();
        host.backup(&phone).await.ok();
        assert_holds(&host, &phone, None);
        assert!(host.count("DLMessageUploadFiles") > 6);
    }
}

#[tokio::test]
async fn a_block_larger_than_the_agent_can_hold_kills_it() {
    let profile = Profile::ios_17_7().with_frame_memory_limit(Some(20_000));
    let phone = Phone::builder().profile(profile).seed(7).build().unwrap();
    let mut host = Host::new();
    host.backup(&phone).await;
    // The host sends Manifest.db back in blocks of 32 KiB.
    let ended = host.backup(&phone).await;
    assert!(
        matches!(ended.served, Err(ServeError::OutOfMemory { length: 32_768 })),
        "{ended:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_goes_silent_is_given_up() {
    use tokio::io::AsyncReadExt;
    let phone = phone(Profile::ios_17_7());
    phone.backup_state().set_idle_limit(Duration::from_secs(5));
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let server = tokio::spawn(crate::backup::serve(phone, Box::new(far), None));
    let mut all = Vec::new();
    near.read_to_end(&mut all).await.unwrap();
    let ended = server.await.unwrap();
    let after = Duration::from_secs(5);
    assert!(matches!(ended, Err(ServeError::Silent { phase: "the answer to its version", after: a }) if a == after));
}
