//! Pairing with a scripted device: the trust dialogue in all its states.
#![expect(clippy::unwrap_used, reason = "test code")]

mod support;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cabled_lockdown::certificates::{RsaKey, certificate_der, public_key_of};
use cabled_lockdown::msg::{LockdownError, ReplyBody, Request, RequestBody};
use cabled_lockdown::{DeviceSide, Error, Lockdown, PairOptions, PairRecord, Trust};
use cabled_wire::ids::SystemBuid;
use cabled_wire::plist::Value;
use support::*;
use tokio::io::DuplexStream;

/// What the device was sent in each `Pair`.
type Sent = Arc<Mutex<Vec<DeviceSide>>>;

/// Answers what comes before `Pair`, with the address first.
async fn introduce(stream: &mut DuplexStream) {
    answer(stream, is_lockdown()).await;
    let request = answer(stream, value("a4:5e:60:12:34:56")).await;
    assert!(matches!(&request.body, RequestBody::GetValue { key: Some(key), .. } if key == "WiFiAddress"));
    let request = answer(stream, value(Value::Data(data_file("device-public.pem")))).await;
    assert!(matches!(&request.body, RequestBody::GetValue { key: Some(key), .. } if key == "DevicePublicKey"));
}

/// Answers each `Pair` with the next of `answers`.
async fn answer_pairs(stream: &mut DuplexStream, answers: Vec<ReplyBody>, sent: &Sent) {
    for body in answers {
        let request: Request = answer(stream, body).await;
        let pair = pair_request(&request);
        assert_eq!(pair.protocol_version.as_deref(), Some("2"));
        assert_eq!(pair.options.as_ref().unwrap().extended_pairing_errors, Some(true));
        assert_eq!(pair.host_name.as_deref(), Some("desk"));
        sent.lock().unwrap().push(pair.record.clone().unwrap());
    }
}

fn refused(code: LockdownError) -> ReplyBody {
    ReplyBody::failed(code)
}

fn paired(bag: Option<u8>) -> ReplyBody {
    ReplyBody::Paired {
        escrow_bag: bag.map(|byte| vec![byte; 32].into()),
    }
}

struct Outcome {
    result: Result<PairRecord, Error>,
    states: Vec<Trust>,
    sent: Vec<DeviceSide>,
}

async fn pair(device: Device, sent: &Sent, options: PairOptions) -> Outcome {
    let mut lockdown = Lockdown::connect(device.shared(), "test").await.unwrap();
    let mut states = Vec::new();
    let mut observer = |state: Trust| {
        states.push(state);
        ControlFlow::Continue(())
    };
    let result = lockdown.pair(options.host_name("desk"), &mut observer).await;
    Outcome {
        result,
        states,
        sent: sent.lock().unwrap().clone(),
    }
}

fn options() -> PairOptions {
    PairOptions::new(SystemBuid::random())
}

/// A device that answers `Pair` with these, on one connection.
fn device(answers: Vec<ReplyBody>) -> (Device, Sent) {
    let sent = Sent::default();
    let seen = Arc::clone(&sent);
    let device = Device::new().then(move |mut stream| async move {
        introduce(&mut stream).await;
        answer_pairs(&mut stream, answers, &seen).await;
        std::future::pending::<()>().await;
    });
    (device, sent)
}

#[tokio::test(start_paused = true)]
async fn pairing_waits_for_the_unlock_and_for_the_answer_with_one_record() {
    let pending = || refused(LockdownError::PairingDialogResponsePending);
    let (device, sent) = device(vec![
        refused(LockdownError::PasswordProtected),
        pending(),
        pending(),
        paired(Some(9)),
    ]);
    let before = tokio::time::Instant::now();
    let outcome = pair(device, &sent, options()).await;
    let record = outcome.result.unwrap();
    assert_eq!(
        outcome.states,
        [
            Trust::Preparing,
            Trust::Locked,
            Trust::WaitForUser,
            Trust::WaitForUser,
            Trust::Trusted
        ]
    );
    assert_eq!(before.elapsed().as_secs(), 3, "one second between polls");
    assert_eq!(outcome.sent.len(), 4);
    assert!(
        outcome.sent.iter().all(|sent| *sent == record.for_device()),
        "the same record every time"
    );
    assert_eq!(record.escrow_bag.unwrap().expose(), [9; 32]);
    assert_eq!(record.wifi_mac_address.as_deref(), Some("a4:5e:60:12:34:56"));
}

#[tokio::test(start_paused = true)]
async fn a_new_record_certifies_the_device_and_its_keys_fit() {
    let (device, sent) = device(vec![paired(Some(1))]);
    let record = pair(device, &sent, options()).await.result.unwrap();
    let key_of = |pem: &[u8]| public_key_of(&certificate_der(pem, "test").unwrap(), "test").unwrap();
    assert_eq!(key_of(&record.device_certificate), device_key().public_key());
    let host = RsaKey::from_pem(record.host_private_key.expose(), "test").unwrap();
    assert_eq!(key_of(&record.host_certificate), host.public_key());
    let root = RsaKey::from_pem(record.root_private_key.as_ref().unwrap().expose(), "test").unwrap();
    assert_eq!(key_of(&record.root_certificate), root.public_key());
    assert_eq!(
        PairRecord::parse(record.to_plist_xml().expose()).unwrap(),
        record,
        "it survives being stored"
    );
}

#[tokio::test(start_paused = true)]
async fn denied_is_final() {
    let (device, sent) = device(vec![
        refused(LockdownError::PairingDialogResponsePending),
        refused(LockdownError::UserDeniedPairing),
    ]);
    let outcome = pair(device, &sent, options()).await;
    assert!(matches!(outcome.result, Err(Error::UserDeniedPairing)));
    assert_eq!(outcome.states, [Trust::Preparing, Trust::WaitForUser, Trust::Denied]);
    assert_eq!(outcome.sent.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_locked_device_is_given_up_after_the_deadline_and_the_error_says_why() {
    let (device, sent) = device(vec![refused(LockdownError::PasswordProtected); 50]);
    let outcome = pair(device, &sent, options().give_up_after(Duration::from_secs(20))).await;
    let error = outcome.result.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TrustTimedOut {
                waiting_for: Trust::Locked,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.remedy(), "unlock the device and pair again");
    assert_eq!(outcome.sent.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_does_not_answer_while_the_dialogue_shows_is_waited_for_until_the_deadline() {
    let (device, sent) = device(Vec::new());
    let before = tokio::time::Instant::now();
    let outcome = pair(device, &sent, options().give_up_after(Duration::from_secs(90))).await;
    let error = outcome.result.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TrustTimedOut {
                waiting_for: Trust::WaitForUser,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(before.elapsed().as_secs(), 90);
}

#[tokio::test(start_paused = true)]
async fn a_connection_closed_while_the_dialogue_shows_is_opened_again_with_the_same_record() {
    let sent = Sent::default();
    let (first, second) = (Arc::clone(&sent), Arc::clone(&sent));
    let device = Device::new()
        .then(move |mut stream| async move {
            introduce(&mut stream).await;
            let pending = refused(LockdownError::PairingDialogResponsePending);
            answer_pairs(&mut stream, vec![pending], &first).await;
        })
        .then_refuse()
        .then(move |mut stream| async move {
            answer_pairs(&mut stream, vec![refused(LockdownError::InvalidConnection)], &second).await;
            std::future::pending::<()>().await;
        });
    let third = Arc::clone(&sent);
    let device = device.then(move |mut stream| async move {
        answer_pairs(&mut stream, vec![paired(None)], &third).await;
        std::future::pending::<()>().await;
    });
    let outcome = pair(device, &sent, options()).await;
    let record = outcome.result.unwrap();
    assert_eq!(
        outcome.states,
        [
            Trust::Preparing,
            Trust::WaitForUser,
            Trust::Reconnecting,
            Trust::Reconnecting,
            Trust::Reconnecting,
            Trust::Trusted
        ]
    );
    assert_eq!(outcome.sent.len(), 3);
    assert!(outcome.sent.iter().all(|sent| *sent == record.for_device()));
}

#[tokio::test(start_paused = true)]
async fn an_older_escrow_bag_is_kept_when_the_device_returns_none() {
    let (silent, sent) = device(vec![paired(None)]);
    let kept = pair(silent, &sent, options().previous(record())).await.result.unwrap();
    assert_eq!(kept.escrow_bag, record().escrow_bag);
    let (generous, sent) = device(vec![paired(Some(3))]);
    let fresh = pair(generous, &sent, options().previous(record()))
        .await
        .result
        .unwrap();
    assert_eq!(fresh.escrow_bag.unwrap().expose(), [3; 32]);
}

#[tokio::test(start_paused = true)]
async fn the_observer_can_stop_it() {
    let (device, _) = device(vec![refused(LockdownError::PairingDialogResponsePending); 9]);
    let mut lockdown = Lockdown::connect(device.shared(), "test").await.unwrap();
    let mut polls = 0;
    let mut observer = |state: Trust| {
        polls += i32::from(state == Trust::WaitForUser);
        if polls == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let result = lockdown.pair(options().host_name("desk"), &mut observer).await;
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(polls, 3);
}

#[tokio::test(start_paused = true)]
async fn other_refusals_end_it_with_the_devices_own_code() {
    for code in [
        LockdownError::PairingProhibitedOverThisConnection,
        LockdownError::McChallengeRequired,
        LockdownError::SavePairRecordFailed,
        LockdownError::Other("NewReason".to_owned()),
    ] {
        let (device, sent) = device(vec![refused(code.clone())]);
        let error = pair(device, &sent, options()).await.result.unwrap_err();
        assert_eq!(error.code(), Some(&code), "{error:?}");
    }
}

#[tokio::test]
async fn a_device_in_restore_mode_is_not_paired() {
    let device = Device::new().then(|mut stream| async move {
        let kind = ReplyBody::RESTORED.to_owned();
        answer(
            &mut stream,
            ReplyBody::QueryType {
                kind,
                restore_protocol_version: Some(14),
            },
        )
        .await;
    });
    let error = pair(device, &Sent::default(), options()).await.result.unwrap_err();
    assert!(matches!(error, Error::NotLockdown { kind } if kind == ReplyBody::RESTORED));
}

#[tokio::test]
async fn a_device_without_a_usable_key_is_not_paired() {
    let short = "-----BEGIN RSA PUBLIC KEY-----\nAA==\n-----END RSA PUBLIC KEY-----\n";
    for key in [None, Some("no key"), Some(short)] {
        let body = match key {
            None => refused(LockdownError::MissingValue),
            Some(text) => value(Value::Data(text.as_bytes().to_vec())),
        };
        let device = Device::new().then(move |mut stream| async move {
            answer(&mut stream, is_lockdown()).await;
            answer(&mut stream, refused(LockdownError::GetProhibited)).await; // no address: no reason to stop
            answer(&mut stream, body).await;
        });
        let error = pair(device, &Sent::default(), options()).await.result.unwrap_err();
        match key {
            None => assert!(matches!(error, Error::NoDeviceKey), "{error:?}"),
            Some(_) => assert!(matches!(error, Error::Certificates(_)), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn unpair_sends_ids_and_certificates_only_and_takes_the_answer_of_old_systems() {
    let device = Device::new().then(|mut stream| async move {
        let request: Request = hear(&mut stream).await.unwrap();
        assert_eq!(*pair_request(&request).record.as_ref().unwrap(), record().for_device());
        let mut reply = cabled_wire::plist::Dictionary::new();
        reply.insert("Request".to_owned(), "ValidatePair".into());
        say(&mut stream, &Value::Dictionary(reply)).await;
        let _: Request = hear(&mut stream).await.unwrap();
        say(&mut stream, &Value::Dictionary(cabled_wire::plist::Dictionary::new())).await;
    });
    let mut lockdown = Lockdown::connect(device.shared(), "test").await.unwrap();
    lockdown.unpair(&record()).await.unwrap();
    lockdown.unpair(&record()).await.unwrap();
}
