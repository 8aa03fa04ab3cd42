//! Our TLS against a server that plays the device, in memory.
#![expect(clippy::panic, reason = "test code")]

mod support;

use cabled_lockdown::certificates::{Certificates, RsaKey};
use cabled_lockdown::{Error, Evidence, Lockdown, Options, PairRecord, TlsError, TlsPolicy};
use cabled_wire::plist::Value;
use support::*;
use tokio::io::AsyncWriteExt;

/// Opens a session against a device that plays `tls`, and reads one value in it.
async fn ask(record: &PairRecord, tls: Tls, options: Options) -> Result<Option<Value>, Error> {
    let device = Device::new().then(move |stream| async move {
        if let Ok(mut stream) = open_session(stream, &tls).await {
            answer(&mut stream, value("16.7.10")).await;
            let _ = hear::<Value>(&mut stream).await; // until the host closes
        }
    });
    let lockdown = Lockdown::connect_with(device.shared(), options).await?;
    let mut session = lockdown.start_session(record).await?;
    session.get_value(None, Some("ProductVersion")).await
}

async fn works(record: &PairRecord, tls: Tls) {
    let value = ask(record, tls, impatient())
        .await
        .unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(value, Some(Value::from("16.7.10")));
}

#[tokio::test]
async fn the_paired_device_is_accepted_over_tls_1_2_and_1_3() {
    for versions in [TLS12, TLS13] {
        works(&record(), Tls::of(&record(), versions)).await;
    }
}

#[tokio::test]
async fn another_device_is_refused_over_tls_1_2_and_1_3() {
    let stranger = RsaKey::generate().unwrap();
    let made = Certificates::issue(&stranger.public_key(), std::time::SystemTime::now()).unwrap();
    for versions in [TLS12, TLS13] {
        let mut tls = Tls::of(&record(), versions);
        tls.certificate = made.device.clone();
        tls.key = stranger.to_pkcs8_pem().unwrap().expose().to_vec();
        let error = ask(&record(), tls.clone(), impatient()).await.unwrap_err();
        assert!(matches!(error, Error::Tls(TlsError::NotThePairedDevice)), "{error:?}");
        assert!(error.needs_pairing());
        let any = ask(&record(), tls, impatient().tls(TlsPolicy::AcceptAny)).await;
        assert!(any.is_ok(), "{any:?}");
    }
}

#[tokio::test]
async fn the_right_certificate_with_the_wrong_key_is_refused_by_every_policy() {
    for versions in [TLS12, TLS13] {
        for policy in [TlsPolicy::PinKey, TlsPolicy::PinCertificate, TlsPolicy::AcceptAny] {
            let mut tls = Tls::of(&record(), versions);
            tls.key = RsaKey::generate().unwrap().to_pkcs8_pem().unwrap().expose().to_vec();
            let error = ask(&record(), tls, impatient().tls(policy)).await.unwrap_err();
            assert!(matches!(error, Error::Tls(TlsError::Protocol(_))), "{error:?}");
        }
    }
}

#[tokio::test]
async fn the_same_key_in_another_certificate_is_accepted_unless_bytes_are_pinned() {
    for versions in [TLS12, TLS13] {
        let mut tls = Tls::of(&record(), versions);
        tls.certificate = data_file("device-sha1.pem");
        works(&record(), tls.clone()).await;
        let error = ask(&record(), tls, impatient().tls(TlsPolicy::PinCertificate))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Tls(TlsError::NotThePairedDevice)), "{error:?}");
    }
}

/// What libimobiledevice and go-ios write, and worse: SHA-1, serial number 0, X.509 version 1, PKCS#1 keys.
fn foreign_record() -> PairRecord {
    let mut foreign = record();
    foreign.device_certificate = data_file("device-v1-sha1.pem");
    foreign.host_certificate = data_file("host-v1-sha1.pem");
    foreign.host_private_key = data_file("host-pkcs1.key").into();
    foreign.root_certificate = data_file("root.pem");
    foreign.root_private_key = None;
    foreign
}

#[tokio::test]
async fn sha1_and_version_1_certificates_of_foreign_records_work_on_both_sides() {
    for versions in [TLS12, TLS13] {
        works(&foreign_record(), Tls::of(&foreign_record(), versions)).await;
        let mut v3 = foreign_record();
        v3.device_certificate = data_file("device-sha1.pem");
        works(&v3, Tls::of(&v3, versions)).await;
    }
}

#[tokio::test]
async fn windows_line_ends_and_a_missing_last_newline_do_no_harm() {
    let mut odd = record();
    let windows = String::from_utf8(odd.device_certificate.clone())
        .unwrap()
        .trim_end()
        .replace('\n', "\r\n");
    odd.device_certificate = windows.into_bytes();
    let mut key = odd.host_private_key.expose().to_vec();
    key.push(0);
    odd.host_private_key = key.into();
    works(&odd, Tls::of(&record(), TLS13)).await;
}

#[tokio::test]
async fn a_damaged_record_is_an_error_and_not_a_panic() {
    let damage: [fn(&mut PairRecord); 5] = [
        |record| record.host_private_key = b"removed: throw-away key.".to_vec().into(),
        |record| record.host_certificate = b"-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n".to_vec(),
        |record| record.device_certificate = Vec::new(),
        |record| record.device_certificate = vec![b'-'; 1 << 20],
        |record| record.host_private_key = data_file("host-pkcs1.key").into(),
    ];
    for damage in damage {
        let mut damaged = record();
        damage(&mut damaged);
        let error = ask(&damaged, Tls::of(&record(), TLS13), impatient()).await.unwrap_err();
        assert!(matches!(error, Error::PairRecord(_)), "{error:?}");
        assert!(error.needs_pairing());
    }
}

#[tokio::test]
async fn a_removed_pairing_is_told_apart_from_a_broken_link() {
    let mut elsewhere = record();
    elsewhere.host_certificate = data_file("host-v1-sha1.pem"); // the device knows another host only
    for versions in [TLS12, TLS13] {
        let tls = Tls::of(&elsewhere, versions);
        let error = ask(&record(), tls, impatient()).await.unwrap_err();
        let Error::PairingInvalid { evidence, host_id } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(
            (*evidence, host_id),
            (Evidence::HostCertificateRefused, &record().host_id)
        );
        assert_eq!(error.remedy(), "pair this computer with the device again");
    }
    // The link goes away before any certificate was asked for.
    let device = Device::new().then(|mut stream| async move {
        answer(&mut stream, session_started()).await;
    });
    let lockdown = Lockdown::connect_with(device.shared(), impatient()).await.unwrap();
    let error = lockdown.start_session(&record()).await.unwrap_err();
    assert!(matches!(error, Error::Tls(TlsError::Io(_))), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_starts_no_handshake_is_given_up_after_ten_seconds() {
    let device = Device::new().then(|mut stream| async move {
        answer(&mut stream, session_started()).await;
        std::future::pending::<()>().await;
    });
    let lockdown = Lockdown::connect(device.shared(), "test").await.unwrap();
    let before = tokio::time::Instant::now();
    let error = lockdown.start_session(&record()).await.unwrap_err();
    assert!(matches!(error, Error::Tls(TlsError::TimedOut { .. })), "{error:?}");
    assert_eq!(before.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn garbage_in_place_of_a_handshake_is_a_typed_error() {
    let device = Device::new().then(|mut stream| async move {
        answer(&mut stream, session_started()).await;
        let _ = hello_read(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
    });
    let lockdown = Lockdown::connect_with(device.shared(), impatient()).await.unwrap();
    let error = lockdown.start_session(&record()).await.unwrap_err();
    assert!(matches!(error, Error::Tls(TlsError::Protocol(_))), "{error:?}");
}

async fn hello_read(stream: &mut tokio::io::DuplexStream) -> std::io::Result<usize> {
    use tokio::io::AsyncReadExt;
    let mut some = [0; 64];
    stream.read(&mut some).await
}

#[tokio::test]
async fn bytes_sent_before_our_hello_are_refused() {
    let device = Device::new().then(|mut stream| async move {
        let request: cabled_lockdown::msg::Request = hear(&mut stream).await.unwrap();
        let reply = cabled_lockdown::msg::Reply::to(&request, session_started());
        let mut bytes = cabled_wire::frame::encode(&cabled_lockdown::msg::Message::encode(&reply))
            .unwrap()
            .to_vec();
        bytes.extend_from_slice(b"early");
        stream.write_all(&bytes).await.unwrap();
        std::future::pending::<()>().await;
    });
    let lockdown = Lockdown::connect_with(device.shared(), impatient()).await.unwrap();
    let error = lockdown.start_session(&record()).await.unwrap_err();
    assert!(matches!(error, Error::Link(_)), "{error:?}");
}

#[tokio::test]
async fn an_end_without_close_notify_is_an_end_between_messages_and_an_error_inside_one() {
    for (left, cut) in [(&b""[..], false), (&b"\0\0\0\x10half"[..], true)] {
        let device = Device::new().then(move |stream| async move {
            let mut stream = open_session(stream, &Tls::of(&record(), TLS12)).await.unwrap();
            answer(&mut stream, value("x")).await;
            let _: Option<Value> = hear(&mut stream).await;
            stream.write_all(left).await.unwrap();
            stream.flush().await.unwrap();
            drop(stream); // no close_notify
        });
        let lockdown = Lockdown::connect_with(device.shared(), impatient()).await.unwrap();
        let mut session = lockdown.start_session(&record()).await.unwrap();
        session.get_value(None, None).await.unwrap();
        let error = session.get_value(None, None).await.unwrap_err();
        match error {
            Error::Link(cabled_lockdown::LinkError::Closed { .. }) => assert!(!cut),
            Error::Link(cabled_lockdown::LinkError::Cut { .. }) => assert!(cut),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_session_without_encryption_is_refused_unless_allowed() {
    let plain = cabled_lockdown::msg::ReplyBody::SessionStarted {
        session_id: "x".to_owned(),
        enable_session_ssl: None,
    };
    for (options, allowed) in [(impatient(), false), (impatient().tls(TlsPolicy::AcceptAny), true)] {
        let plain = plain.clone();
        let device = Device::new().then(move |mut stream| async move {
            answer(&mut stream, plain).await;
            let _: Option<Value> = hear(&mut stream).await;
        });
        let lockdown = Lockdown::connect_with(device.shared(), options).await.unwrap();
        let session = lockdown.start_session(&record()).await;
        assert_eq!(session.is_ok(), allowed);
        if let Err(error) = session {
            assert!(matches!(error, Error::NotEncrypted), "{error:?}");
        }
    }
}
