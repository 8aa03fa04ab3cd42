//! What real clients sent, byte for byte, and the answers they are known to accept.
//!
//! The recorded answers come from a stand-in that the clients were content with. The phone's answer to the same bytes
//! must have every key of the recorded one, with a value of the same type.

use cabled_golden::{LIBIMOBILEDEVICE, Line as Recorded, PYMOBILEDEVICE3, Side};
use cabled_virtualdevice::{Pairing, Phone, Profile};
use cabled_wire::plist::{self, Dictionary, Limits, Value};

use super::host::{Host, Line, builder, identity};

/// Whether a message was said to lockdown before the session's TLS.
fn in_clear(line: &Recorded) -> bool {
    line.layer == "lockdown" && !line.encrypted
}

/// The plist of a recorded message.
fn value(line: &Recorded) -> Value {
    plist::read(&line.body(), &Limits::default()).unwrap()
}

fn dict(line: &Recorded) -> Dictionary {
    value(line).into_dictionary().unwrap()
}

/// Everything that was said to the device itself.
fn capture(folder: &str, name: &str) -> Vec<Recorded> {
    let mut recorded = cabled_golden::lines(&format!("{folder}/{name}"));
    recorded.retain(|line| line.layer != "usbmux");
    assert!(!recorded.is_empty(), "{name} holds messages");
    recorded
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::Dictionary(_) => "dictionary",
        Value::Boolean(_) => "boolean",
        Value::Data(_) => "data",
        Value::Date(_) => "date",
        Value::Real(_) => "real",
        Value::Integer(_) => "integer",
        Value::String(_) => "string",
        _ => "other",
    }
}

/// Every key of `accepted` is in `ours`, with the same type.
fn assert_at_least(ours: &Dictionary, accepted: &Dictionary, what: &str) {
    for (key, value) in accepted {
        let Some(found) = ours.get(key) else {
            panic!("{what}: no {key} in {ours:?}")
        };
        assert_eq!(kind(found), kind(value), "{what}: type of {key}");
    }
    assert_eq!(ours.get("Request"), accepted.get("Request"), "{what}");
    assert_eq!(
        ours.contains_key("Error"),
        accepted.contains_key("Error"),
        "{what}: {ours:?}"
    );
}

/// A phone that a recorded host has paired with, and that host.
async fn paired_with(messages: &[Recorded]) -> (Phone, Host) {
    let phone = Phone::builder()
        .profile(Profile::ios_16_7())
        .pairing(Pairing::AutoTrust)
        .identity(identity())
        .build()
        .unwrap();
    let mut host = Host::new();
    let sent = messages.iter().filter(|m| m.from == Side::Host && in_clear(m));
    if let Some(start) = sent.map(dict).find(|d| d.contains_key("HostID")) {
        host.host_id = start.get("HostID").and_then(Value::as_string).unwrap().to_owned();
    }
    host.pair(&phone).await;
    (phone, host)
}

/// Plays a whole recording: lockdown in the clear, its session, and the services it started.
async fn replay(folder: &str, name: &str) -> Phone {
    let messages = capture(folder, name);
    let (phone, host) = paired_with(&messages).await;
    let mut connections: Vec<u64> = messages.iter().map(|m| m.connection).collect();
    connections.dedup();
    let mut started = Vec::new();
    for connection in connections {
        let of_this: Vec<&Recorded> = messages.iter().filter(|m| m.connection == connection).collect();
        let mut line = if of_this[0].layer.starts_with("lockdown") {
            Line::lockdown(&phone).await
        } else {
            let reply: Dictionary = started.remove(0);
            host.open(&phone, &reply).await
        };
        let mut session_id = String::new();
        let mut pairs = of_this.iter().peekable();
        while let Some(message) = pairs.next() {
            if message.from == Side::Device {
                continue;
            }
            let mut bytes = message.bytes.to_vec();
            let request = dict(message);
            if let Some(recorded_id) = request.get("SessionID").and_then(Value::as_string) {
                let at = bytes
                    .windows(recorded_id.len())
                    .position(|w| w == recorded_id.as_bytes())
                    .unwrap();
                bytes[at..at + recorded_id.len()].copy_from_slice(session_id.as_bytes());
            }
            line.write(&bytes).await;
            let Some(accepted) = pairs.next_if(|next| next.from == Side::Device) else {
                continue;
            };
            let what = format!("{name} {request:?}");
            match value(accepted) {
                Value::Dictionary(accepted) => {
                    let ours = line.dict().await;
                    check(&ours, &accepted, &what);
                    match request.get("Request").and_then(Value::as_string) {
                        Some("StartSession") => {
                            session_id = ours.get("SessionID").and_then(Value::as_string).unwrap().to_owned();
                            line.start_tls(&host, rustls::ALL_VERSIONS).await.unwrap();
                        }
                        Some("StartService") => started.push(ours),
                        _ => {}
                    }
                }
                accepted => assert_eq!(kind(&line.value().await), kind(&accepted), "{what}"),
            }
        }
    }
    phone
}

/// Replies whose recorded answer was made up by the stand-in are checked for what the client reads of them.
fn check(ours: &Dictionary, accepted: &Dictionary, what: &str) {
    let mut accepted = accepted.clone();
    // The stand-in gave GasGauge for everything; the phone gives what was asked for.
    if accepted.contains_key("Diagnostics") {
        assert!(
            ours.get("Diagnostics").and_then(Value::as_dictionary).is_some(),
            "{what}"
        );
        accepted.remove("Diagnostics");
    }
    // Over USB, iOS 16 says EnableServiceSSL; the stand-in left it out for some services.
    assert_at_least(ours, &accepted, what);
}

#[tokio::test]
async fn libimobiledevice_gets_what_it_accepts() {
    for (name, requests) in [
        ("ideviceinfo-simple.jsonl", &["GetValue"][..]),
        (
            "ideviceinfo-domain.jsonl",
            &["QueryType", "GetValue", "StartSession", "GetValue", "StopSession"],
        ),
        (
            "idevicename-set.jsonl",
            &["QueryType", "GetValue", "StartSession", "SetValue", "StopSession"],
        ),
        (
            "idevicedate.jsonl",
            &["QueryType", "GetValue", "StartSession", "GetValue", "StopSession"],
        ),
        ("idevicedate-set.jsonl", &["QueryType", "GetValue", "StartSession"]),
        (
            "idevicenotify-post.jsonl",
            &["QueryType", "GetValue", "StartSession", "StartService", "StopSession"],
        ),
        (
            "idevicediagnostics-gasgauge.jsonl",
            &["QueryType", "GetValue", "StartSession", "StartService"],
        ),
        ("idevicediagnostics-mobilegestalt.jsonl", &["QueryType"]),
        ("idevicediagnostics-ioreg.jsonl", &["QueryType"]),
    ] {
        let phone = replay(LIBIMOBILEDEVICE, name).await;
        let mut seen = phone.log().requests(cabled_virtualdevice::service::LOCKDOWN);
        assert_eq!(seen.remove(0), "Pair", "our own");
        let beginning: Vec<&str> = seen.iter().map(String::as_str).take(requests.len()).collect();
        if requests.len() > 1 {
            assert_eq!(beginning, requests, "{name}");
        }
    }
}

#[tokio::test]
async fn pymobiledevice3_gets_what_it_accepts() {
    for name in [
        "usbmux-list.jsonl",
        "lockdown-get.jsonl",
        "apps-list.jsonl",
        "springboard.jsonl",
        "diagnostics.jsonl",
        "notify.jsonl",
    ] {
        replay(PYMOBILEDEVICE3, name).await;
    }
}

/// Recorded pair requests are for the stand-in's key, which nobody has; the profile lets them pass.
fn anybodys_key(pairing: Pairing) -> Phone {
    builder(Profile::ios_16_7().with_checks_device_certificate(false))
        .pairing(pairing)
        .build()
        .unwrap()
}

#[tokio::test]
async fn recorded_pairing_with_and_without_a_dialogue_ends_well() {
    for (name, pairing) in [
        ("idevicepair-pair.jsonl", Pairing::AutoTrust),
        ("idevicepair-pair-pending.jsonl", Pairing::AskUser),
    ] {
        let phone = anybodys_key(pairing);
        let mut line = Line::lockdown(&phone).await;
        let messages = capture(LIBIMOBILEDEVICE, name);
        for pair in messages.iter().filter(|m| in_clear(m)).collect::<Vec<_>>().chunks(2) {
            let (request, accepted) = (pair[0], pair[1]);
            line.write(&request.bytes).await;
            assert_at_least(&line.dict().await, &dict(accepted), name);
        }
        if pairing == Pairing::AskUser {
            assert!(phone.pairings().is_empty());
            phone.answer_trust(true);
            // The tool pairs again with a new connection; here the same bytes serve.
            let request = messages.iter().rfind(|m| m.from == Side::Host).unwrap();
            line.write(&request.bytes).await;
            assert_eq!(line.dict().await.get("Error"), None);
        }
        assert_eq!(phone.pairings().len(), 1);
        assert!(phone.pairings()[0].system_buid.is_some());
    }
}

#[tokio::test]
async fn recorded_validate_and_unpair_are_understood() {
    let phone = anybodys_key(Pairing::AutoTrust);
    let pairing = capture(LIBIMOBILEDEVICE, "idevicepair-pair.jsonl");
    let pair = pairing.iter().rfind(|m| m.from == Side::Host && in_clear(m)).unwrap();
    let mut record = dict(pair);
    let unpairing = capture(LIBIMOBILEDEVICE, "idevicepair-unpair.jsonl");
    let unpair = unpairing.iter().rfind(|m| m.from == Side::Host && in_clear(m)).unwrap();
    assert_eq!(dict(unpair).get("Request").and_then(Value::as_string), Some("Unpair"));
    // The two were recorded with different host ids: pair the one that unpairs.
    let sent = dict(unpair);
    record.insert("PairRecord".into(), sent.get("PairRecord").unwrap().clone());
    let mut line = Line::lockdown(&phone).await;
    assert_eq!(line.ask(record).await.get("Error"), None);
    line.write(&unpair.bytes).await;
    let accepted = unpairing
        .iter()
        .rfind(|m| m.from == Side::Device && in_clear(m))
        .unwrap();
    assert_at_least(&line.dict().await, &dict(accepted), "unpair");
    assert!(phone.pairings().is_empty());

    let validating = capture(LIBIMOBILEDEVICE, "idevicepair-validate.jsonl");
    let validate = validating.iter().find(|m| {
        m.from == Side::Host && in_clear(m) && dict(m).get("Request").and_then(Value::as_string) == Some("ValidatePair")
    });
    if let Some(validate) = validate {
        line.write(&validate.bytes).await;
        assert_eq!(
            line.dict().await.get("Error").and_then(Value::as_string),
            Some("InvalidHostID")
        );
    }
}
