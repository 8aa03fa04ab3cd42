//! Values, sessions, TLS and StartService.

use cabled_virtualdevice::profile::{PlistFormat, TlsVersions};
use cabled_virtualdevice::{Pairing, Phone, Profile};
use cabled_wire::dict;
use cabled_wire::io::{Connect, ConnectError};
use cabled_wire::plist::{Dictionary, Value};
use rustls::version::{TLS12, TLS13};

use super::host::{Host, Line, builder, phone, port};

async fn paired() -> (Phone, Host) {
    let phone = phone();
    let host = Host::new();
    host.pair(&phone).await;
    (phone, host)
}

fn set(domain: Option<&str>, key: &str, value: impl Into<Value>) -> Dictionary {
    let mut message = dict! { "Request" => "SetValue", "Key" => key, "Value" => value.into() };
    domain.map(|domain| message.insert("Domain".into(), domain.into()));
    message
}

fn start(service: &str) -> Dictionary {
    dict! { "Request" => "StartService", "Service" => service }
}

const NP: &str = "com.apple.mobile.notification_proxy";

#[tokio::test]
async fn strangers_read_a_dozen_values_and_no_more() {
    let phone = phone();
    let mut line = Line::lockdown(&phone).await;
    let reply = line.ask(dict! { "Request" => "QueryType" }).await;
    assert_eq!(
        reply.get("Type").and_then(Value::as_string),
        Some("com.apple.mobile.lockdown")
    );
    for key in [
        "ProductVersion",
        "DeviceClass",
        "WiFiAddress",
        "DevicePublicKey",
        "UniqueDeviceID",
        "DeviceName",
    ] {
        assert!(line.get(None, Some(key)).await.contains_key("Value"), "{key}");
    }
    let reply = line.get(None, Some("SerialNumber")).await;
    assert_eq!(reply.get("Error").and_then(Value::as_string), Some("GetProhibited"));
    let reply = line.get(Some("com.apple.mobile.battery"), None).await;
    assert_eq!(reply.get("Error").and_then(Value::as_string), Some("GetProhibited"));
    let reply = line.get(None, None).await;
    let all = reply.get("Value").and_then(Value::as_dictionary).unwrap();
    for key in [
        "BuildVersion",
        "DeviceClass",
        "DeviceName",
        "ProductType",
        "ProductVersion",
        "UniqueDeviceID",
    ] {
        assert!(all.contains_key(key), "{key}");
    }
    assert!(!all.contains_key("SerialNumber") && !all.contains_key("PhoneNumber"));
}

#[tokio::test]
async fn what_needs_a_session_says_so() {
    let phone = phone();
    let mut line = Line::lockdown(&phone).await;
    for request in [
        start(NP),
        set(None, "DeviceName", "x"),
        dict! { "Request" => "RemoveValue", "Key" => "DeviceName" },
        dict! { "Request" => "StopSession", "SessionID" => "x" },
        dict! { "Request" => "EnterRecovery" },
        dict! { "Request" => "ResetPairing" },
    ] {
        assert_eq!(line.error(request).await, "SessionInactive");
    }
    assert_eq!(line.error(dict! { "Request" => "StartSession" }).await, "MissingHostID");
    assert_eq!(line.error(dict! { "Request" => "MakeCoffee" }).await, "InvalidRequest");
    // The host may introduce itself.
    assert_eq!(line.ask(set(None, "UntrustedHostBUID", "A-B")).await.get("Error"), None);
    assert_eq!(phone.value(None, "UntrustedHostBUID").unwrap().as_string(), Some("A-B"));
}

#[tokio::test]
async fn a_session_reads_and_sets_values() {
    let (phone, host) = paired().await;
    let mut notifications = phone.notifications();
    let mut line = host.session(&phone).await;
    let reply = line.get(None, Some("SerialNumber")).await;
    assert_eq!(reply.get("Value"), phone.value(None, "SerialNumber").as_ref());
    assert_eq!(reply.get("Key").and_then(Value::as_string), Some("SerialNumber"));
    let reply = line.get(Some("com.apple.mobile.backup"), Some("WillEncrypt")).await;
    assert_eq!(reply.get("Value"), Some(&Value::Boolean(false)));
    assert_eq!(
        reply.get("Domain").and_then(Value::as_string),
        Some("com.apple.mobile.backup")
    );
    let reply = line.get(None, Some("NoSuchKey")).await;
    assert_eq!(reply.get("Error").and_then(Value::as_string), Some("MissingValue"));
    let reply = line.get(Some("no.such.domain"), None).await;
    assert_eq!(reply.get("Value"), Some(&Value::Dictionary(Dictionary::new())));
    let reply = line.get(Some(""), Some("DeviceName")).await;
    assert_eq!(
        reply.get("Value").and_then(Value::as_string),
        Some(phone.name().as_str()),
        "an empty domain is none"
    );

    let reply = line.ask(set(None, "DeviceName", "Zoë’s phone")).await;
    assert_eq!(
        (reply.get("Error"), reply.get("Value").and_then(Value::as_string)),
        (None, Some("Zoë’s phone"))
    );
    assert_eq!(phone.name(), "Zoë’s phone");
    assert_eq!(
        notifications.recv().await.unwrap(),
        "com.apple.mobile.lockdown.device_name_changed"
    );

    assert_eq!(line.error(set(None, "SerialNumber", "x")).await, "ImmutableValue");
    assert_eq!(line.error(set(None, "MadeUp", "x")).await, "SetProhibited");
    assert_eq!(line.error(set(None, "DeviceName", 7_u64)).await, "SetProhibited");
    assert_eq!(
        line.error(set(Some("com.apple.mobile.backup"), "WillEncrypt", true))
            .await,
        "ImmutableValue"
    );

    let (domain, key) = ("com.apple.mobile.wireless_lockdown", "EnableWifiConnections");
    assert_eq!(line.ask(set(Some(domain), key, true)).await.get("Error"), None);
    assert_eq!(phone.value(Some(domain), key), Some(Value::Boolean(true)));
    let remove = dict! { "Request" => "RemoveValue", "Domain" => domain, "Key" => key };
    assert_eq!(line.ask(remove.clone()).await.get("Error"), None);
    assert_eq!(line.error(remove).await, "MissingValue");
    assert_eq!(
        line.error(dict! { "Request" => "RemoveValue", "Key" => "DeviceName" })
            .await,
        "RemoveProhibited"
    );
}

#[tokio::test]
async fn setting_the_clock_moves_the_phones_clock() {
    let (phone, host) = paired().await;
    let mut line = host.session(&phone).await;
    assert_eq!(
        line.ask(set(None, "TimeIntervalSince1970", 1_000_000.0))
            .await
            .get("Error"),
        None
    );
    let reply = line.get(None, Some("TimeIntervalSince1970")).await;
    let seconds = reply.get("Value").and_then(Value::as_real).unwrap();
    assert!((1_000_000.0..1_000_060.0).contains(&seconds), "{seconds}");
    assert_eq!(
        line.error(set(None, "TimeIntervalSince1970", "noon")).await,
        "SetProhibited"
    );
}

#[tokio::test]
async fn sessions_start_once_and_stop_back_to_plain_text() {
    let (phone, host) = paired().await;
    let mut line = Line::lockdown(&phone).await;
    let id = line.start_session(&host).await;
    assert_eq!(id.len(), 36);
    let again = dict! { "Request" => "StartSession", "HostID" => host.host_id.as_str() };
    assert_eq!(line.error(again).await, "SessionActive");
    assert_eq!(
        line.error(dict! { "Request" => "StopSession" }).await,
        "MissingSessionID"
    );
    assert_eq!(
        line.error(dict! { "Request" => "StopSession", "SessionID" => "x" })
            .await,
        "InvalidSessionID"
    );
    let reply = line
        .ask(dict! { "Request" => "StopSession", "SessionID" => id.as_str() })
        .await;
    assert_eq!(reply.get("Result").and_then(Value::as_string), Some("Success"));
    line.stop_tls().await;
    // The same stream, in plain text again, and a second session on it.
    assert_eq!(line.error(start(NP)).await, "SessionInactive");
    assert_ne!(line.start_session(&host).await, id);
    assert!(line.get(None, Some("SerialNumber")).await.contains_key("Value"));
}

#[tokio::test]
async fn a_plain_frame_right_behind_close_notify_is_not_lost_in_tls() {
    let (phone, host) = paired().await;
    let mut line = Line::lockdown(&phone).await;
    let id = line.start_session(&host).await;
    line.ask(dict! { "Request" => "StopSession", "SessionID" => id.as_str() })
        .await;
    let Line::Tls(mut tls) = line else { panic!("no TLS") };
    let (stream, connection) = tls.get_mut();
    connection.send_close_notify();
    let mut out = Vec::new();
    connection.write_tls(&mut out).unwrap();
    let body = cabled_wire::plist::to_xml(&Value::Dictionary(dict! { "Request" => "QueryType" }));
    out.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend(body);
    tokio::io::AsyncWriteExt::write_all(stream, &out).await.unwrap();
    // Below TLS: one record, the phone's close_notify, and then plain text.
    let mut line = Line::Plain(tls.into_inner().0);
    let header = line.exactly(5).await;
    line.exactly(usize::from(u16::from_be_bytes([header[3], header[4]])))
        .await;
    assert!(line.dict().await.contains_key("Type"));
}

#[tokio::test]
async fn both_tls_versions_and_both_certificates_are_let_in() {
    let phone = phone();
    let mut host = Host::new();
    host.pair(&phone).await;
    for presents_root in [false, true] {
        host.presents_root = presents_root;
        for version in [&TLS12, &TLS13] {
            let mut line = Line::lockdown(&phone).await;
            line.begin_session(&host).await;
            line.start_tls(&host, &[version]).await.unwrap();
            assert!(
                line.get(None, Some("PhoneNumber")).await.contains_key("Value"),
                "{version:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_profile_limits_tls_versions() {
    for (versions, version, works) in [
        (TlsVersions::Tls12, &TLS13, false),
        (TlsVersions::Tls12, &TLS12, true),
        (TlsVersions::Tls13, &TLS12, false),
        (TlsVersions::Tls13, &TLS13, true),
    ] {
        let phone = builder(Profile::ios_17_7().with_tls(versions)).build().unwrap();
        let host = Host::new();
        host.pair(&phone).await;
        let mut line = Line::lockdown(&phone).await;
        line.begin_session(&host).await;
        assert_eq!(
            line.start_tls(&host, &[version]).await.is_ok(),
            works,
            "{versions:?} {version:?}"
        );
    }
}

#[tokio::test]
async fn a_stranger_with_a_known_host_id_gets_no_session() {
    let (phone, host) = paired().await;
    let mut stranger = Host::fresh(&phone).await;
    stranger.host_id.clone_from(&host.host_id);
    for version in [&TLS12, &TLS13] {
        let mut line = Line::lockdown(&phone).await;
        line.begin_session(&stranger).await;
        // The phone presents the certificate of the real pairing, so the stranger must not look at it.
        let mut liar = stranger.clone();
        let other = Host::fresh(&phone).await;
        let mut certificates = std::sync::Arc::into_inner(other.certificates).unwrap();
        certificates.device.clone_from(&host.certificates.device);
        liar.certificates = std::sync::Arc::new(certificates);
        // With TLS 1.3 the client is done before the phone has looked at its certificate.
        if line.start_tls(&liar, &[version]).await.is_ok() {
            let _ = line.try_write(b"\0\0\0\x01x").await;
            let (bytes, clean) = line.rest().await;
            assert!(bytes.is_empty() && !clean, "nothing but an alert");
        }
    }
    // The pairing itself is unharmed.
    host.session(&phone).await;
}

#[tokio::test]
async fn a_pairing_forgotten_on_the_phone_ends_in_the_handshake_of_a_service() {
    let (phone, host) = paired().await;
    let mut lockdown = host.session(&phone).await;
    let reply = lockdown.ask(start(NP)).await;
    phone.forget_pairings();
    let mut line = Line::new(phone.connect(port(&reply)).await.unwrap());
    if line.start_tls(&host, rustls::ALL_VERSIONS).await.is_ok() {
        let (bytes, clean) = line.rest().await;
        assert!(bytes.is_empty() && !clean);
    }
}

#[tokio::test]
async fn a_service_port_takes_one_connection_and_outlives_lockdown() {
    let (phone, host) = paired().await;
    let mut lockdown = host.session(&phone).await;
    let reply = lockdown.ask(start(NP)).await;
    drop(lockdown);
    let number = port(&reply);
    assert!(number > 49_152);
    assert_eq!(reply.get("Service").and_then(Value::as_string), Some(NP));
    let _line = host.open(&phone, &reply).await;
    assert!(matches!(phone.connect(number).await, Err(ConnectError::Refused { port }) if port == number));
    assert!(matches!(phone.connect(49_200).await, Err(ConnectError::Refused { .. })));
}

#[tokio::test]
async fn an_unused_port_closes_after_its_time() {
    let profile = Profile::ios_17_7().with_service_port_lifetime(std::time::Duration::from_millis(20));
    let phone = builder(profile).build().unwrap();
    let host = Host::new();
    host.pair(&phone).await;
    let reply = host.session(&phone).await.ask(start(NP)).await;
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    assert!(matches!(
        phone.connect(port(&reply)).await,
        Err(ConnectError::Refused { .. })
    ));
}

#[tokio::test]
async fn service_tls_follows_generation_and_transport() {
    for profile in Profile::all() {
        let expected = profile.version() >= (13, 0);
        let phone = builder(profile).build().unwrap();
        let host = Host::new();
        host.pair(&phone).await;
        let reply = host.session(&phone).await.ask(start(NP)).await;
        assert_eq!(
            reply.contains_key("EnableServiceSSL"),
            expected,
            "{}",
            phone.profile().name
        );
        let mut line = host.open(&phone, &reply).await;
        line.tell(dict! { "Command" => "Shutdown" }).await;
        assert_eq!(
            line.dict().await.get("Command").and_then(Value::as_string),
            Some("ProxyDeath")
        );
        assert!(line.ended().await);

        let mut line = Line::lockdown(&phone.over_network()).await;
        line.start_session(&host).await;
        assert_eq!(
            line.ask(start(NP)).await.get("EnableServiceSSL"),
            Some(&Value::Boolean(true))
        );
    }
}

#[tokio::test]
async fn unknown_and_missing_services_have_their_errors() {
    let (phone, host) = paired().await;
    let mut line = host.session(&phone).await;
    assert_eq!(line.error(start("com.apple.no.such")).await, "InvalidService");
    assert_eq!(
        line.error(dict! { "Request" => "StartService" }).await,
        "MissingService"
    );
    assert_eq!(
        line.error(dict! { "Request" => "Activate" }).await,
        "MissingActivationRecord"
    );
}

#[tokio::test]
async fn a_locked_screen_wants_the_escrow_bag() {
    let service = "com.apple.mobile.installation_proxy";
    let phone = builder(Profile::ios_17_7()).passcode(true).build().unwrap();
    let host = Host::new();
    let bag = host.pair(&phone).await;
    phone.lock();
    let mut line = host.session(&phone).await;
    assert_eq!(line.error(start(service)).await, "PasswordProtected");
    let with = |bag: &[u8]| {
        let mut request = start(service);
        request.insert("EscrowBag".into(), Value::Data(bag.to_vec()));
        request
    };
    assert_eq!(line.error(with(&[7; 32])).await, "PasswordProtected");
    assert!(line.ask(with(&bag)).await.contains_key("Port"));
    assert!(
        line.ask(start(NP)).await.contains_key("Port"),
        "notifications need no files"
    );
    phone.reboot();
    while !phone.is_on() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(phone.is_locked() && !phone.unlocked_since_start());
    let mut line = host.session(&phone).await;
    assert_eq!(line.error(with(&bag)).await, "EscrowLocked");
    phone.unlock();
    assert!(line.ask(start(service)).await.contains_key("Port"));
}

#[tokio::test]
async fn replies_are_binary_if_the_profile_says_so() {
    let phone = builder(Profile::ios_17_7().with_lockdown_format(PlistFormat::Binary))
        .build()
        .unwrap();
    let mut line = Line::lockdown(&phone).await;
    line.tell(dict! { "Request" => "QueryType" }).await;
    assert!(line.body().await.starts_with(b"bplist00"));
    let phone = super::host::phone();
    let mut line = Line::lockdown(&phone).await;
    line.tell(dict! { "Request" => "QueryType" }).await;
    assert!(line.body().await.starts_with(b"<?xml"));
}

#[tokio::test]
async fn hostile_frames_end_the_connection_and_nothing_else() {
    let phone = phone();
    for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x05hello", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut line = Line::lockdown(&phone).await;
        line.write(bytes).await;
        assert!(line.ended().await);
    }
    // Empty frames are skipped, and a request without its name is answered.
    let mut line = Line::lockdown(&phone).await;
    line.write(&[0; 8]).await;
    let reply = line.ask(dict! { "Label" => "x" }).await;
    assert_eq!(reply.get("Error").and_then(Value::as_string), Some("InvalidRequest"));
    let reply = line.ask(dict! { "Request" => "GetValue", "Key" => 7_u64 }).await;
    assert_eq!(reply.get("Error").and_then(Value::as_string), Some("InvalidRequest"));
    assert!(line.get(None, Some("DeviceName")).await.contains_key("Value"));
}

#[tokio::test]
async fn an_unpaired_connection_may_be_dropped_after_a_while() {
    let limit = std::time::Duration::from_millis(50);
    let phone = builder(Profile::ios_17_7().with_drops_unpaired_after(limit))
        .pairing(Pairing::AskUser)
        .build()
        .unwrap();
    let mut line = Line::lockdown(&phone).await;
    line.get(None, Some("DeviceName")).await;
    assert!(line.ended().await);
}

#[tokio::test]
async fn goodbye_is_echoed_and_ends_the_connection() {
    let phone = phone();
    let mut line = Line::lockdown(&phone).await;
    let reply = line.ask(dict! { "Request" => "Goodbye" }).await;
    assert_eq!(reply.get("Request").and_then(Value::as_string), Some("Goodbye"));
    assert!(line.ended().await);
}

#[tokio::test]
async fn splitting_a_request_anywhere_changes_nothing() {
    let phone = phone();
    let body = cabled_wire::plist::to_xml(&Value::Dictionary(dict! { "Request" => "QueryType" }));
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(body);
    let mut line = Line::lockdown(&phone).await;
    for at in [1, 2, 3, 4, 5, 17, frame.len() - 1] {
        line.write(&frame[..at]).await;
        tokio::task::yield_now().await;
        line.write(&frame[at..]).await;
        assert!(line.dict().await.contains_key("Type"));
    }
    // Two requests in one write are two requests.
    line.write(&[frame.clone(), frame].concat()).await;
    for _ in 0..2 {
        assert!(line.dict().await.contains_key("Type"));
    }
}
