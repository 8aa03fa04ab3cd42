//! Sessions and services with a scripted device.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cabled_lockdown::msg::{LOCKDOWN_PORT, LockdownError, Message, Reply, ReplyBody, Request, RequestBody};
use cabled_lockdown::{Error, Escrow, LinkError, Lockdown, PairRecord, Paired};
use cabled_wire::io::ConnectError;
use cabled_wire::plist::{Dictionary, Value};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn refused(code: LockdownError) -> ReplyBody {
    ReplyBody::failed(code)
}

/// A device whose session answers with these in turn, and then waits for the host to close.
fn session_of(device: Device, answers: Vec<ReplyBody>) -> Device {
    device.then(move |stream| async move {
        let mut stream = open_session(stream, &Tls::of(&record(), TLS13)).await.unwrap();
        for body in answers {
            answer(&mut stream, body).await;
        }
        let _: Option<Request> = hear(&mut stream).await;
    })
}

async fn session(device: &Device) -> cabled_lockdown::Session {
    let lockdown = Lockdown::connect_with(device.shared(), impatient()).await.unwrap();
    lockdown
        .start_session(&record())
        .await
        .unwrap_or_else(|error| panic!("{error:?}"))
}

#[tokio::test]
async fn values_are_read_set_and_removed_and_absent_is_none() {
    let device = session_of(
        Device::new(),
        vec![
            value(42_u64),
            refused(LockdownError::MissingValue),
            value("renamed"),
            ReplyBody::Value {
                domain: None,
                key: None,
                value: None,
            },
            refused(LockdownError::SetProhibited),
        ],
    );
    let mut session = session(&device).await;
    assert_eq!(
        session
            .get_value(Some("com.apple.disk_usage"), Some("x"))
            .await
            .unwrap(),
        Some(Value::from(42_u64))
    );
    assert_eq!(session.get_value(None, Some("Nope")).await.unwrap(), None);
    session.set_value(None, "DeviceName", "renamed".into()).await.unwrap();
    session.remove_value(None, "DeviceName").await.unwrap();
    let error = session.set_value(None, "SerialNumber", "x".into()).await.unwrap_err();
    assert_eq!(error.code(), Some(&LockdownError::SetProhibited));
    assert!(error.to_string().contains("SetProhibited"));
}

#[tokio::test]
async fn an_unknown_host_id_is_an_invalid_pairing() {
    let device = Device::new().then(|mut stream| async move {
        answer(&mut stream, refused(LockdownError::InvalidHostId)).await;
    });
    let lockdown = Lockdown::connect(device.shared(), "test").await.unwrap();
    let error = lockdown.start_session(&record()).await.unwrap_err();
    assert!(matches!(error, Error::PairingInvalid { .. }), "{error:?}");
    assert!(error.needs_pairing());
}

#[tokio::test]
async fn an_encrypted_service_and_a_plain_one_both_carry_bytes() {
    for encrypted in [true, false] {
        let device = session_of(Device::new(), vec![service_at(49229, encrypted)]).then(move |stream| async move {
            if encrypted {
                let mut stream = Tls::of(&record(), TLS12).accept(stream).await.unwrap();
                stream.write_all(b"hello").await.unwrap();
                stream.shutdown().await.unwrap();
            } else {
                let mut stream = stream;
                stream.write_all(b"hello").await.unwrap();
            }
        });
        let mut service = session(&device).await.start_service("com.apple.afc").await.unwrap();
        let mut said = String::new();
        service.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "hello");
        assert_eq!(device.ports(), [LOCKDOWN_PORT, 49229]);
    }
}

/// What `StartService` carried each time, with the device answering with these in turn.
async fn escrow_bags(record: PairRecord, escrow: Escrow, answers: Vec<ReplyBody>) -> (Vec<bool>, Result<(), Error>) {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let bags = Arc::clone(&seen);
    let device = Device::new()
        .then(move |stream| async move {
            let mut stream = open_session(stream, &Tls::of(&support::record(), TLS13)).await.unwrap();
            for body in answers {
                let request = answer(&mut stream, body).await;
                let RequestBody::StartService { escrow_bag, .. } = request.body else {
                    panic!("{request:?}")
                };
                bags.lock().unwrap().push(escrow_bag.is_some());
            }
            let _: Option<Request> = hear(&mut stream).await;
        })
        .then(|stream| async move { drop(stream) });
    let lockdown = Lockdown::connect_with(device.shared(), impatient()).await.unwrap();
    let mut session = lockdown.start_session(&record).await.unwrap();
    let started = session
        .start_service_with("com.apple.mobilebackup2", escrow)
        .await
        .map(drop);
    let bags = seen.lock().unwrap().clone();
    (bags, started)
}

#[tokio::test]
async fn the_escrow_bag_goes_along_as_the_caller_says() {
    let locked = || refused(LockdownError::PasswordProtected);
    let (bags, started) = escrow_bags(record(), Escrow::IfNeeded, vec![locked(), service_at(50000, false)]).await;
    assert!(started.is_ok() && bags == [false, true], "{bags:?}");
    let (bags, started) = escrow_bags(record(), Escrow::Always, vec![service_at(50000, false)]).await;
    assert!(started.is_ok() && bags == [true], "{bags:?}");
    let (bags, started) = escrow_bags(record(), Escrow::Never, vec![locked()]).await;
    assert!(started.unwrap_err().needs_unlock() && bags == [false], "{bags:?}");
    let locked_still = vec![
        refused(LockdownError::DeviceLocked),
        refused(LockdownError::EscrowLocked),
    ];
    let (bags, started) = escrow_bags(record(), Escrow::IfNeeded, locked_still).await;
    assert_eq!(started.unwrap_err().code(), Some(&LockdownError::EscrowLocked));
    assert_eq!(bags, [false, true]);
    let mut without = record();
    without.escrow_bag = None;
    let (bags, started) = escrow_bags(without, Escrow::IfNeeded, vec![locked()]).await;
    assert!(started.unwrap_err().needs_unlock() && bags == [false], "{bags:?}");
}

#[tokio::test]
async fn a_port_that_refuses_is_tried_three_times() {
    let patient = session_of(Device::new(), vec![service_at(50001, false)])
        .then_refuse()
        .then_refuse()
        .then(|stream| async move { drop(stream) });
    assert!(session(&patient).await.start_service("com.apple.afc").await.is_ok());
    let closed = session_of(Device::new(), vec![service_at(50001, false)])
        .then_refuse()
        .then_refuse()
        .then_refuse();
    let error = session(&closed)
        .await
        .start_service("com.apple.afc")
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(error, Error::Connect(ConnectError::Refused { port: 50001 })),
        "{error:?}"
    );
}

#[tokio::test]
async fn service_limit_is_waited_out_and_given_up_in_the_end() {
    let full = || refused(LockdownError::ServiceLimit);
    let busy =
        session_of(Device::new(), vec![full(), service_at(50002, false)]).then(|stream| async move { drop(stream) });
    let mut patient = session(&busy).await;
    tokio::time::pause();
    assert!(patient.start_service("com.apple.afc").await.is_ok());
    tokio::time::resume();
    let always = session_of(Device::new(), vec![full(); 9]);
    let mut hopeless = session(&always).await;
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    let error = hopeless.start_service("com.apple.afc").await.map(drop).unwrap_err();
    assert_eq!(error.code(), Some(&LockdownError::ServiceLimit));
    assert_eq!(before.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn a_session_that_lockdown_dropped_is_opened_again_once() {
    let dropped = || refused(LockdownError::InvalidConnection);
    let device = session_of(session_of(Device::new(), vec![value("a"), dropped()]), vec![value("b")]);
    let mut works = session(&device).await;
    assert_eq!(works.get_value(None, None).await.unwrap(), Some("a".into()));
    assert_eq!(works.get_value(None, None).await.unwrap(), Some("b".into()));
    assert_eq!(device.ports(), [LOCKDOWN_PORT, LOCKDOWN_PORT]);
    let device = session_of(session_of(Device::new(), vec![dropped()]), vec![dropped()]);
    let error = session(&device).await.get_value(None, None).await.unwrap_err();
    assert_eq!(error.code(), Some(&LockdownError::InvalidConnection));
}

#[tokio::test]
async fn stop_says_so_inside_tls_and_closes_it() {
    let polite = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&polite);
    let device = Device::new().then(move |stream| async move {
        let mut stream = open_session(stream, &Tls::of(&record(), TLS13)).await.unwrap();
        let request: Request = hear(&mut stream).await.unwrap();
        let RequestBody::StopSession { session_id: Some(id) } = &request.body else {
            panic!("{request:?}")
        };
        assert_eq!(id, "577BC77C-90A2-4868-9A73-5FD13090223B");
        say(&mut stream, &Reply::to(&request, ReplyBody::Done).with_result_success()).await;
        let mut rest = Vec::new();
        // An end without close_notify would be an error here.
        seen.store(
            stream.read_to_end(&mut rest).await.is_ok() && rest.is_empty(),
            Ordering::SeqCst,
        );
    });
    session(&device).await.stop().await;
    tokio::time::timeout(Duration::from_secs(5), async {
        while !polite.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("close_notify");
}

#[tokio::test]
async fn paired_opens_one_session_per_call() {
    let service = |device: Device| {
        device.then(|mut stream| async move {
            answer(&mut stream, is_lockdown()).await;
            let mut stream = open_session(stream, &Tls::of(&record(), TLS13)).await.unwrap();
            answer(&mut stream, service_at(50003, false)).await;
            let request = answer(&mut stream, ReplyBody::Done).await;
            assert_eq!(request.name(), "StopSession");
        })
    };
    let device = service(Device::new()).then(|mut stream| async move { stream.write_all(b"afc").await.unwrap() });
    let paired = Paired::new(device.shared(), record()).with_options(impatient());
    let mut stream = paired.start_service("com.apple.afc", Escrow::IfNeeded).await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"afc");
}

#[tokio::test]
async fn a_reply_to_another_request_or_to_none_is_refused_and_ends_the_connection() {
    for echo in [Some("SetValue"), None] {
        let device = Device::new().then(move |mut stream| async move {
            let _: Request = hear(&mut stream).await.unwrap();
            let mut reply = Dictionary::new();
            if let Some(echo) = echo {
                reply.insert("Request".to_owned(), echo.into());
            }
            reply.insert("Value".to_owned(), "x".into());
            say(&mut stream, &Value::Dictionary(reply)).await;
            std::future::pending::<()>().await;
        });
        let mut lockdown = Lockdown::connect_with(device.shared(), impatient()).await.unwrap();
        let error = lockdown.get_value(None, None).await.unwrap_err();
        assert!(matches!(error, Error::WrongEcho { .. }), "{error:?}");
        let error = lockdown.get_value(None, None).await.unwrap_err();
        assert!(matches!(error, Error::Link(LinkError::Unusable)), "{error:?}");
    }
}

#[tokio::test]
async fn nonsense_from_the_device_is_a_typed_error_and_the_connection_unusable() {
    let bomb = {
        let mut xml = b"<plist version=\"1.0\">".to_vec();
        xml.extend(b"<array>".repeat(200));
        xml
    };
    for body in [
        b"hello".to_vec(),
        bomb,
        b"<plist version=\"1.0\"><array/></plist>".to_vec(),
    ] {
        let device = Device::new().then(move |mut stream| async move {
            let _: Request = hear(&mut stream).await.unwrap();
            cabled_wire::frame::write_frame(&mut stream, &body).await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut lockdown = Lockdown::connect_with(device.shared(), impatient()).await.unwrap();
        let error = lockdown.query_type().await.unwrap_err();
        assert!(matches!(error, Error::Link(LinkError::Wire { .. })), "{error:?}");
        let error = lockdown.query_type().await.unwrap_err();
        assert!(matches!(error, Error::Link(LinkError::Unusable)), "{error:?}");
    }
    let device = Device::new().then(|mut stream| async move {
        let _ = stream.write_all(&[0xff; 64]).await; // 4 GiB announced
        std::future::pending::<()>().await;
    });
    let mut lockdown = Lockdown::connect_with(device.shared(), impatient()).await.unwrap();
    let error = lockdown.query_type().await.unwrap_err();
    assert!(matches!(error, Error::Link(LinkError::Wire { .. })), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_after_thirty_seconds_and_names_what_was_waited_for() {
    let device = Device::new().then(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    });
    let mut lockdown = Lockdown::connect(device.shared(), "test").await.unwrap();
    let before = tokio::time::Instant::now();
    let error = lockdown.get_value(None, None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no answer from the device while reading a value for 30 seconds"
    );
    assert_eq!(before.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn a_dropped_request_leaves_the_connection_unusable() {
    let device = Device::new().then(|mut stream| async move {
        let request: Request = hear(&mut stream).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        say(&mut stream, &Reply::to(&request, value("late"))).await;
        std::future::pending::<()>().await;
    });
    let mut lockdown = Lockdown::connect(device.shared(), "test").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(20), lockdown.get_value(None, Some("A"))).await;
    assert!(early.is_err());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let error = lockdown.get_value(None, Some("B")).await.unwrap_err();
    assert!(
        matches!(error, Error::Link(LinkError::Unusable)),
        "the answer to A must not become that to B: {error:?}"
    );
}

#[tokio::test]
async fn an_empty_frame_before_the_answer_is_skipped() {
    let device = Device::new().then(|mut stream| async move {
        let request: Request = hear(&mut stream).await.unwrap();
        stream.write_all(&[0; 4]).await.unwrap();
        say(&mut stream, &Reply::to(&request, is_lockdown())).await;
    });
    let mut lockdown = Lockdown::connect(device.shared(), "test").await.unwrap();
    assert_eq!(lockdown.query_type().await.unwrap(), ReplyBody::LOCKDOWN);
}

#[tokio::test]
async fn a_binary_answer_split_into_single_bytes_is_read() {
    let device = Device::new().then(|mut stream| async move {
        let request: Request = hear(&mut stream).await.unwrap();
        let bytes = cabled_wire::frame::encode(&Reply::to(&request, is_lockdown()).encode_binary()).unwrap();
        for byte in bytes {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut lockdown = Lockdown::connect(device.shared(), "test").await.unwrap();
    lockdown.expect_lockdown().await.unwrap();
}
