//! Bytes that other programs sent, and hand-made ones, through the typed messages and back.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::collections::BTreeMap;

use bytes::Bytes;
use cabled_golden::{BUILT, LIBIMOBILEDEVICE, Line, PYMOBILEDEVICE3, Side, lines};
use cabled_lockdown::PairRecord;
use cabled_lockdown::certificates::{RsaKey, RsaPublicKey, certificate_der, public_key_of};
use cabled_lockdown::msg::{LockdownError, Message, Reply, ReplyBody, Request, RequestBody};
use cabled_lockdown::services::{
    assertion, diagnostics, heartbeat, house_arrest, installation_proxy, notification_proxy, springboard,
};
use cabled_wire::WireError;
use cabled_wire::frame::FrameDecoder;
use cabled_wire::plist::{Limits, Value, read};

/// Decodes, encodes, and compares what both say.
fn survives<M: Message + std::fmt::Debug>(body: &[u8]) -> M {
    let before = read(body, &Limits::default()).unwrap();
    let message = M::decode(body).unwrap_or_else(|error| panic!("{error}: {before:?}"));
    assert_eq!(M::decode(&message.encode()).unwrap().to_plist(), before, "{message:?}");
    assert_eq!(read(&message.encode_binary(), &Limits::default()).unwrap(), before);
    message
}

/// Every capture of a client, by the layer it was recorded on.
fn check_capture(line: &Line) -> Option<&'static str> {
    match (line.layer.as_str(), line.from == Side::Host) {
        ("lockdown", true) => {
            let request: Request = survives(&line.body());
            assert!(!matches!(request.body, RequestBody::Unknown { .. }), "{request:?}");
            assert!(request.extra.is_empty(), "{request:?}");
            Some("lockdown request")
        }
        ("lockdown", false) => {
            let reply: Reply = survives(&line.body());
            assert!(
                reply.extra.is_empty() || matches!(reply.body, ReplyBody::Failed { .. }),
                "{reply:?}"
            );
            Some("lockdown reply")
        }
        (notification_proxy::SERVICE, true) => {
            let command: notification_proxy::Command = survives(&line.body());
            assert!(!matches!(command, notification_proxy::Command::Unknown(_)));
            Some("notification_proxy")
        }
        (notification_proxy::SERVICE, false) => {
            let event: notification_proxy::Event = survives(&line.body());
            assert!(!matches!(event, notification_proxy::Event::Unknown(_)));
            Some("notification_proxy")
        }
        (installation_proxy::SERVICE, true) => {
            let command: installation_proxy::Command = survives(&line.body());
            assert!(!matches!(command, installation_proxy::Command::Unknown(_)));
            Some("installation_proxy")
        }
        (installation_proxy::SERVICE, false) => {
            let reply: installation_proxy::Reply = survives(&line.body());
            assert!(!matches!(reply, installation_proxy::Reply::Unknown(_)));
            Some("installation_proxy")
        }
        (springboard::SERVICE, true) => {
            let command: springboard::Command = survives(&line.body());
            assert!(!matches!(command, springboard::Command::Unknown(_)));
            Some("springboard")
        }
        (springboard::SERVICE, false) => {
            let reply: springboard::Reply = survives(&line.body());
            assert!(!matches!(reply, springboard::Reply::Failed { .. }));
            Some("springboard")
        }
        (diagnostics::SERVICE, true) => {
            let request: diagnostics::Request = survives(&line.body());
            assert!(!matches!(request, diagnostics::Request::Unknown(_)));
            Some("diagnostics")
        }
        (diagnostics::SERVICE, false) => {
            let reply: diagnostics::Reply = survives(&line.body());
            assert!(reply.extra.is_empty());
            Some("diagnostics")
        }
        (assertion::SERVICE, true) => {
            let command: assertion::Command = survives(&line.body());
            assert!(!matches!(command, assertion::Command::Unknown(_)));
            Some("assertion")
        }
        (assertion::SERVICE, false) => {
            survives::<assertion::Reply>(&line.body());
            Some("assertion")
        }
        (heartbeat::SERVICE, true) => {
            survives::<heartbeat::Polo>(&line.body());
            Some("heartbeat")
        }
        (heartbeat::SERVICE, false) => {
            let beat: heartbeat::Beat = survives(&line.body());
            assert!(!matches!(beat, heartbeat::Beat::Unknown(_)));
            Some("heartbeat")
        }
        (house_arrest::SERVICE, host) if line.body().starts_with(b"<?xml") => {
            if host {
                let command: house_arrest::Command = survives(&line.body());
                assert!(!matches!(command, house_arrest::Command::Unknown(_)));
            } else {
                let reply: house_arrest::Reply = survives(&line.body());
                assert!(!matches!(reply, house_arrest::Reply::Unknown(_)));
            }
            Some("house_arrest")
        }
        _ => None,
    }
}

fn captures(client: &str) -> BTreeMap<&'static str, usize> {
    let mut seen = BTreeMap::new();
    for file in cabled_golden::files(client, "jsonl") {
        for line in lines(&file) {
            if let Some(kind) = check_capture(&line) {
                *seen.entry(kind).or_insert(0) += 1;
            }
        }
    }
    seen
}

#[test]
fn every_message_of_libimobiledevice_survives_decoding_and_encoding() {
    let seen = captures(LIBIMOBILEDEVICE);
    for (kind, least) in [
        ("lockdown request", 88),
        ("lockdown reply", 88),
        ("notification_proxy", 10),
        ("installation_proxy", 3),
        ("springboard", 2),
        ("diagnostics", 8),
        ("house_arrest", 4),
    ] {
        assert!(seen.get(kind).is_some_and(|n| *n >= least), "{kind}: {seen:?}");
    }
}

#[test]
fn every_message_of_pymobiledevice3_survives_decoding_and_encoding() {
    let seen = captures(PYMOBILEDEVICE3);
    for (kind, least) in [
        ("lockdown request", 20),
        ("lockdown reply", 20),
        ("notification_proxy", 4),
        ("installation_proxy", 2),
        ("springboard", 2),
        ("diagnostics", 2),
        ("assertion", 4),
        ("heartbeat", 4),
    ] {
        assert!(seen.get(kind).is_some_and(|n| *n >= least), "{kind}: {seen:?}");
    }
}

const BUILT_FILE: &str = "lockdown-and-services.jsonl";

/// A built message with its framing.
fn built_frame(name: &str) -> Bytes {
    cabled_golden::built(BUILT_FILE).remove(name).unwrap()
}

fn built(name: &str) -> Bytes {
    built_frame(name).slice(4..)
}

#[test]
fn every_built_message_survives_decoding_and_encoding() {
    let mut checked = 0;
    for line in lines(&format!("{BUILT}/{BUILT_FILE}")) {
        match (line.name.as_str(), line.from == Side::Host) {
            (name, _) if name.starts_with("BAD-") || name.starts_with("cdtunnel") => continue,
            ("heartbeat-marco" | "heartbeat-sleepy", _) => drop(survives::<heartbeat::Beat>(&line.body())),
            ("heartbeat-polo", _) => drop(survives::<heartbeat::Polo>(&line.body())),
            (name, true) if name.starts_with("np-") => drop(survives::<notification_proxy::Command>(&line.body())),
            (name, false) if name.starts_with("np-") => drop(survives::<notification_proxy::Event>(&line.body())),
            (name, true) if name.starts_with("ha-") => drop(survives::<house_arrest::Command>(&line.body())),
            (name, false) if name.starts_with("ha-") => drop(survives::<house_arrest::Reply>(&line.body())),
            (_, true) => drop(survives::<Request>(&line.body())),
            (_, false) => drop(survives::<Reply>(&line.body())),
        }
        checked += 1;
    }
    assert_eq!(checked, 43);
}

#[test]
fn replies_say_what_the_specification_says() {
    let reply = |name| Reply::decode(&built(name)).unwrap().body;
    assert_eq!(
        reply("querytype-restore"),
        ReplyBody::QueryType {
            kind: ReplyBody::RESTORED.to_owned(),
            restore_protocol_version: Some(14)
        }
    );
    let value = Some(Value::from("16.7.10"));
    let expected = ReplyBody::Value {
        domain: None,
        key: Some("ProductVersion".to_owned()),
        value,
    };
    assert_eq!(reply("getvalue-reply"), expected);
    assert_eq!(reply("getvalue-reply-bplist"), expected, "binary says the same");
    assert_eq!(
        reply("pair-pending"),
        ReplyBody::failed(LockdownError::PairingDialogResponsePending)
    );
    assert_eq!(
        reply("pair-denied"),
        ReplyBody::failed(LockdownError::UserDeniedPairing)
    );
    assert_eq!(
        reply("pair-locked"),
        ReplyBody::failed(LockdownError::PasswordProtected)
    );
    assert_eq!(
        reply("startservice-invalid"),
        ReplyBody::failed(LockdownError::InvalidService)
    );
    assert_eq!(
        reply("startsession-invalidhost"),
        ReplyBody::failed(LockdownError::InvalidHostId)
    );
    assert_eq!(
        reply("result-style-failure"),
        ReplyBody::failed(LockdownError::SessionInactive)
    );
    assert_eq!(reply("result-style-ios4"), ReplyBody::Done);
    assert_eq!(reply("pair-ok-noescrow"), ReplyBody::Paired { escrow_bag: None });
    assert!(matches!(reply("pair-ok"), ReplyBody::Paired { escrow_bag: Some(bag) } if bag.expose().len() == 32));
    let service = |ssl| ReplyBody::ServiceStarted {
        service: Some("com.apple.afc".to_owned()),
        port: 49229,
        enable_service_ssl: ssl,
    };
    assert_eq!(reply("startservice-reply-ssl"), service(Some(true)));
    assert_eq!(reply("startservice-reply-plain"), service(None));
    let ReplyBody::Failed { code, extended, .. } = reply("pair-mcchallenge") else {
        panic!()
    };
    assert_eq!(code, LockdownError::McChallengeRequired);
    assert!(
        extended
            .unwrap()
            .as_dictionary()
            .unwrap()
            .contains_key("PairingChallenge")
    );
}

#[test]
fn malformed_frames_give_typed_errors() {
    let mut frames = FrameDecoder::new(cabled_lockdown::msg::MAX_MESSAGE);
    frames.push(&built_frame("BAD-len-huge"));
    assert!(matches!(frames.next_frame(), Err(WireError::TooLong { .. })));
    let mut frames = FrameDecoder::new(cabled_lockdown::msg::MAX_MESSAGE);
    frames.push(&built_frame("BAD-len0"));
    assert_eq!(frames.next_frame().unwrap().unwrap().len(), 0);
    assert!(matches!(
        Reply::decode(&built("BAD-not-plist")),
        Err(WireError::Plist { .. })
    ));
    let ReplyBody::Value { value, .. } = Reply::decode(&built("BAD-ctrlchar")).unwrap().body else {
        panic!()
    };
    assert_eq!(
        value.unwrap().as_string().unwrap(),
        "a\u{1}b",
        "old systems send raw control characters"
    );
}

#[test]
fn wrong_types_and_missing_keys_are_named() {
    let decode = |xml: &str| Reply::decode(format!("<plist version=\"1.0\"><dict>{xml}</dict></plist>").as_bytes());
    let port = |n: &str| {
        decode(&format!(
            "<key>Request</key><string>StartService</string><key>Port</key>{n}"
        ))
    };
    assert!(matches!(
        port("<integer>0</integer>"),
        Err(WireError::Invalid { what: "Port", value: 0 })
    ));
    assert!(matches!(
        port("<integer>65536</integer>"),
        Err(WireError::Invalid {
            what: "Port",
            value: 65536
        })
    ));
    assert!(matches!(port("<string>22</string>"), Err(WireError::Type { .. })));
    assert!(matches!(
        port("<real>49229</real>").unwrap().body,
        ReplyBody::ServiceStarted { port: 49229, .. }
    ));
    let session = decode("<key>Request</key><string>StartSession</string>");
    assert!(matches!(session, Err(WireError::Missing { key }) if key == "SessionID"));
    let structured = decode("<key>Request</key><string>Pair</string><key>Error</key><dict/>").unwrap();
    assert!(matches!(
        structured.body,
        ReplyBody::Failed {
            code: LockdownError::NotText(_),
            ..
        }
    ));
    let unstated = decode("<key>Request</key><string>SetValue</string><key>Result</key><string>Failure</string>");
    assert_eq!(unstated.unwrap().body, ReplyBody::failed(LockdownError::Unstated));
    assert!(matches!(
        Request::decode(b"<plist version=\"1.0\"><array/></plist>"),
        Err(WireError::Type { .. })
    ));
}

fn recorded_pair_record() -> Bytes {
    cabled_golden::bytes(&format!("{LIBIMOBILEDEVICE}/pair-record.plist"))
}

#[test]
fn the_recorded_pair_record_is_read_and_written_back_whole() {
    let bytes = recorded_pair_record();
    let record = PairRecord::parse(&bytes).unwrap();
    assert_eq!(record.host_id.as_str(), "3A9774BA-D003-FEE5-8CB7-2FA08131D577");
    assert_eq!(record.escrow_bag.as_ref().unwrap().expose().len(), 32);
    let before = read(&bytes, &Limits::default()).unwrap();
    let after = read(record.to_plist_xml().expose(), &Limits::default()).unwrap();
    assert_eq!(before, after);
    let binary = cabled_wire::plist::to_binary(&before);
    assert_eq!(PairRecord::parse(&binary).unwrap(), record);
}

#[test]
fn a_record_without_a_needed_key_is_refused_by_name() {
    for key in [
        "HostID",
        "SystemBUID",
        "DeviceCertificate",
        "HostCertificate",
        "RootCertificate",
        "HostPrivateKey",
    ] {
        let mut record = read(&recorded_pair_record(), &Limits::default())
            .unwrap()
            .into_dictionary()
            .unwrap();
        record.remove(key).unwrap();
        let error = PairRecord::from_plist(Value::Dictionary(record)).unwrap_err();
        assert_eq!(error, WireError::Missing { key: key.to_owned() });
    }
}

#[test]
fn the_recorded_certificates_are_read_whatever_their_form() {
    let record = PairRecord::parse(&recorded_pair_record()).unwrap();
    let key_of = |pem: &[u8]| public_key_of(&certificate_der(pem, "certificate").unwrap(), "certificate").unwrap();
    let device = key_of(&record.device_certificate);
    // What the device answered to GetValue DevicePublicKey in the recorded pairing is the key that was certified.
    let file = format!("{LIBIMOBILEDEVICE}/idevicepair-pair.jsonl");
    let mut recorded = None;
    for line in lines(&file)
        .iter()
        .filter(|line| line.layer == "lockdown" && line.from == Side::Device)
    {
        if let ReplyBody::Value {
            key: Some(key),
            value: Some(value),
            ..
        } = Reply::decode(&line.body()).unwrap().body
            && key == "DevicePublicKey"
        {
            recorded = Some(RsaPublicKey::from_pem(value.as_data().unwrap()).unwrap());
        }
    }
    assert_eq!(recorded.unwrap(), device);
    assert_ne!(key_of(&record.host_certificate), key_of(&record.root_certificate));
}

#[test]
fn a_recorded_host_key_that_was_cut_out_is_a_typed_error() {
    let record = PairRecord::parse(&recorded_pair_record()).unwrap();
    assert!(RsaKey::from_pem(record.host_private_key.expose(), "HostPrivateKey").is_err());
}

#[test]
fn a_private_key_cannot_get_into_a_request() {
    let record = PairRecord::parse(&recorded_pair_record()).unwrap();
    let for_device = record.for_device().to_plist();
    let dict = for_device.as_dictionary().unwrap();
    let keys: Vec<_> = dict.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "HostID",
            "SystemBUID",
            "DeviceCertificate",
            "HostCertificate",
            "RootCertificate"
        ]
    );
    // A client that does send them: dropped while decoding, and noted.
    let mut sent = read(&recorded_pair_record(), &Limits::default())
        .unwrap()
        .into_dictionary()
        .unwrap();
    sent.insert("RootPrivateKey".to_owned(), Value::Data(b"secret".to_vec()));
    let mut request = cabled_wire::plist::Dictionary::new();
    request.insert("Request".to_owned(), "Pair".into());
    request.insert("PairRecord".to_owned(), Value::Dictionary(sent));
    let request = Request::from_plist(Value::Dictionary(request)).unwrap();
    let RequestBody::Pair(pair) = &request.body else {
        panic!()
    };
    assert!(pair.record.as_ref().unwrap().private_keys_dropped());
    let text = String::from_utf8(request.encode()).unwrap();
    assert!(
        text.contains("HostCertificate") && !text.contains("PrivateKey"),
        "{text}"
    );
}

#[test]
fn debug_output_of_a_pair_record_shows_no_secret() {
    let record = PairRecord::parse(&recorded_pair_record()).unwrap();
    let shown = format!("{record:?} {:?}", record.for_device());
    assert!(shown.contains("3A9774BA") && shown.contains("bytes)"));
    assert!(!shown.contains("BEGIN") && !shown.contains("[0, 1, 2"), "{shown}");
}
