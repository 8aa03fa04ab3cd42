//! Pair, ValidatePair, Unpair, and the person in front of the phone.

use cabled_virtualdevice::{Pairing, Phone, PhoneEvent, Profile};
use cabled_wire::dict;
use cabled_wire::plist::{Dictionary, Value};

use super::host::{Host, Line, builder, phone};

const PENDING: &str = "PairingDialogResponsePending";

async fn asking(pairing: Pairing) -> (Phone, Host) {
    let phone = builder(Profile::ios_17_7()).pairing(pairing).build().unwrap();
    let host = Host::new();
    (phone, host)
}

fn unpair(host: &Host, request: &str) -> Dictionary {
    dict! { "Request" => request, "PairRecord" => dict! { "HostID" => host.host_id.as_str() }, "ProtocolVersion" => "2" }
}

#[tokio::test]
async fn a_trusted_computer_gets_32_bytes_of_escrow_bag_and_keeps_them() {
    let phone = phone();
    let host = Host::new();
    let bag = host.pair(&phone).await;
    assert_eq!(bag.len(), 32);
    assert_eq!(host.pair(&phone).await, bag, "the bag is constant per pairing");
    assert!(phone.escrow_bag_is_known(&bag));
    assert!(!phone.escrow_bag_is_known(&[0; 32]));
    assert_eq!(phone.pairings().len(), 1);
    assert_eq!(phone.pairings()[0].host_name.as_deref(), Some("a computer"));
    let other = Host::fresh(&phone).await;
    assert_ne!(other.pair(&phone).await, bag);
}

#[tokio::test]
async fn the_dialogue_shows_until_the_user_trusts() {
    let (phone, host) = asking(Pairing::AskUser).await;
    let (mut events, mut notifications) = (phone.events(), phone.notifications());
    let mut line = Line::lockdown(&phone).await;
    for _ in 0..3 {
        assert_eq!(line.error(host.pair_request()).await, PENDING);
    }
    let asked = events.try_recv().unwrap();
    assert!(matches!(asked, PhoneEvent::TrustAsked { host_name: Some(name), .. } if name == "a computer"));
    assert!(events.try_recv().is_err(), "one dialogue, one event");
    assert!(phone.answer_trust(true));
    assert_eq!(
        notifications.recv().await.unwrap(),
        "com.apple.mobile.lockdown.request_pair"
    );
    let reply = line.ask(host.pair_request()).await;
    assert_eq!(reply.get("Error"), None);
    assert!(matches!(events.try_recv(), Ok(PhoneEvent::Paired { .. })));
    assert!(!phone.answer_trust(true), "no dialogue shows any more");
}

#[tokio::test]
async fn a_no_is_a_no_until_the_answers_are_reset() {
    let (phone, host) = asking(Pairing::AskUser).await;
    let mut line = Line::lockdown(&phone).await;
    assert_eq!(line.error(host.pair_request()).await, PENDING);
    assert!(phone.answer_trust(false));
    assert_eq!(line.error(host.pair_request()).await, "UserDeniedPairing");
    phone.set_pairing(Pairing::AutoTrust);
    assert_eq!(line.error(host.pair_request()).await, "UserDeniedPairing");
    phone.forget_pairings();
    assert_eq!(line.ask(host.pair_request()).await.get("Error"), None);
}

#[tokio::test]
async fn pending_and_deny_come_as_scripted() {
    let (phone, host) = asking(Pairing::Pending(2)).await;
    let mut line = Line::lockdown(&phone).await;
    assert_eq!(line.error(host.pair_request()).await, PENDING);
    assert_eq!(line.error(host.pair_request()).await, PENDING);
    assert_eq!(line.ask(host.pair_request()).await.get("Error"), None);

    let (phone, host) = asking(Pairing::Deny).await;
    assert_eq!(
        Line::lockdown(&phone).await.error(host.pair_request()).await,
        "UserDeniedPairing"
    );
    assert!(phone.pairings().is_empty());
}

#[tokio::test]
async fn a_locked_screen_does_not_pair() {
    let (phone, host) = asking(Pairing::Locked).await;
    let mut line = Line::lockdown(&phone).await;
    assert_eq!(line.error(host.pair_request()).await, "PasswordProtected");
    phone.unlock();
    assert_eq!(line.ask(host.pair_request()).await.get("Error"), None);
}

#[tokio::test]
async fn the_answer_is_bound_to_the_computer_not_to_its_keys() {
    let (phone, first) = asking(Pairing::AskUser).await;
    let mut second = Host::fresh(&phone).await;
    second.buid.clone_from(&first.buid);
    let mut line = Line::lockdown(&phone).await;
    assert_eq!(line.error(first.pair_request()).await, PENDING);
    phone.answer_trust(true);
    // New keys and a new host id for every request, as libimobiledevice and go-ios do.
    assert_eq!(line.ask(second.pair_request()).await.get("Error"), None);
    assert_eq!(phone.pairings()[0].host_id.as_str(), second.host_id);
    second.session(&phone).await;
}

#[tokio::test]
async fn a_trusted_computer_pairs_again_with_a_dialogue_only_if_the_profile_says_so() {
    for (follows, expected) in [(true, None), (false, Some(PENDING))] {
        let profile = Profile::ios_17_7().with_trust_follows_system_buid(follows);
        let phone = builder(profile).build().unwrap();
        let first = Host::new();
        first.pair(&phone).await;
        let mut second = Host::fresh(&phone).await;
        second.buid.clone_from(&first.buid);
        phone.set_pairing(Pairing::AskUser);
        let reply = Line::lockdown(&phone).await.ask(second.pair_request()).await;
        assert_eq!(reply.get("Error").and_then(Value::as_string), expected);
    }
}

#[tokio::test]
async fn validate_and_unpair_know_the_host_id() {
    let phone = phone();
    let host = Host::new();
    let mut line = Line::lockdown(&phone).await;
    assert_eq!(line.error(unpair(&host, "ValidatePair")).await, "InvalidHostID");
    host.pair(&phone).await;
    assert_eq!(line.ask(unpair(&host, "ValidatePair")).await.get("Error"), None);
    let reply = line.ask(unpair(&host, "Unpair")).await;
    assert_eq!(reply.get("Request").and_then(Value::as_string), Some("Unpair"));
    assert_eq!(line.error(unpair(&host, "Unpair")).await, "InvalidHostID");
    assert!(phone.pairings().is_empty());
    let start = dict! { "Request" => "StartSession", "HostID" => host.host_id.as_str() };
    assert_eq!(line.error(start).await, "InvalidHostID");
}

#[tokio::test]
async fn damaged_pair_records_are_refused() {
    let phone = phone();
    let host = Host::new();
    let mut line = Line::lockdown(&phone).await;
    assert_eq!(line.error(dict! { "Request" => "Pair" }).await, "MissingPairRecord");
    let without = |key: &str| {
        let mut request = host.pair_request();
        let record = request
            .get_mut("PairRecord")
            .and_then(Value::as_dictionary_mut)
            .unwrap();
        record.remove(key);
        request
    };
    assert_eq!(line.error(without("HostID")).await, "MissingHostID");
    for key in ["DeviceCertificate", "HostCertificate", "RootCertificate"] {
        assert_eq!(line.error(without(key)).await, "InvalidPairRecord", "{key}");
    }
    let mut rubbish = host.pair_request();
    let record = rubbish
        .get_mut("PairRecord")
        .and_then(Value::as_dictionary_mut)
        .unwrap();
    record.insert(
        "HostCertificate".into(),
        Value::Data(b"-----BEGIN CERTIFICATE-----\nAAAA\n".to_vec()),
    );
    assert_eq!(line.error(rubbish).await, "InvalidPairRecord");
    // A certificate for another phone's key could never work.
    let other = Phone::builder().empty().build().unwrap();
    let stranger = Host::fresh(&other).await;
    assert_eq!(line.error(stranger.pair_request()).await, "InvalidPairRecord");
    assert!(phone.pairings().is_empty());
}

#[tokio::test]
async fn nobody_pairs_over_the_network() {
    let phone = phone();
    let host = Host::new();
    let mut line = Line::lockdown(&phone.over_network()).await;
    assert_eq!(
        line.error(host.pair_request()).await,
        "PairingProhibitedOverThisConnection"
    );
}

#[tokio::test]
async fn the_log_tells_which_keys_a_host_sent_away() {
    let phone = phone();
    let host = Host::new();
    let mut request = host.pair_request();
    let record = request
        .get_mut("PairRecord")
        .and_then(Value::as_dictionary_mut)
        .unwrap();
    record.insert("RootPrivateKey".into(), Value::Data(b"secret".to_vec()));
    assert_eq!(Line::lockdown(&phone).await.ask(request).await.get("Error"), None);
    let entry = phone
        .log()
        .entries()
        .into_iter()
        .find(|entry| entry.request == "Pair")
        .unwrap();
    assert!(entry.detail.contains("RootPrivateKey"));
    assert!(!entry.detail.contains("secret"));
}

#[tokio::test]
async fn quirks_of_pairing_follow_the_profile() {
    let profile = Profile::ios_17_7()
        .with_returns_escrow_bag(false)
        .with_unpair_answers_validate_pair(true);
    let phone = builder(profile).build().unwrap();
    let host = Host::new();
    let mut line = Line::lockdown(&phone).await;
    let reply = line.ask(host.pair_request()).await;
    assert_eq!((reply.get("Error"), reply.get("EscrowBag")), (None, None));
    let reply = line.ask(unpair(&host, "Unpair")).await;
    assert_eq!(reply.get("Request").and_then(Value::as_string), Some("ValidatePair"));
}
