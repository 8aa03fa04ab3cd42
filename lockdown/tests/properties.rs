//! Whatever the bytes are, decoding ends in a message or an error.
#![expect(clippy::unwrap_used, reason = "test code")]

use cabled_lockdown::PairRecord;
use cabled_lockdown::certificates::{RsaKey, RsaPublicKey, certificate_der, public_key_of};
use cabled_lockdown::msg::{LockdownError, Message, Reply, ReplyBody, Request, RequestBody};
use cabled_lockdown::services::{
    assertion, diagnostics, heartbeat, house_arrest, installation_proxy, notification_proxy, springboard,
};
use cabled_wire::plist::{Dictionary, Value};
use proptest::prelude::*;

/// Words that occur as keys and values, so that decoding gets past the first look-up.
const WORDS: &[&str] = &[
    "Request",
    "Command",
    "command",
    "CommandKey",
    "Error",
    "ErrorKey",
    "Status",
    "Result",
    "Value",
    "Key",
    "Domain",
    "Port",
    "Service",
    "EscrowBag",
    "PairRecord",
    "PairingOptions",
    "HostID",
    "SystemBUID",
    "SessionID",
    "Type",
    "EnableServiceSSL",
    "EnableSessionSSL",
    "CurrentList",
    "CurrentIndex",
    "LookupResult",
    "Diagnostics",
    "pngData",
    "ClientOptions",
    "Name",
    "Identifier",
    "Interval",
    "AssertionTimeoutKey",
    "AssertionTypeKey",
    "AssertionNameKey",
    "Pair",
    "GetValue",
    "StartSession",
    "StartService",
    "QueryType",
    "Unpair",
    "Browse",
    "BrowsingApplications",
    "Complete",
    "Marco",
    "Polo",
    "PostNotification",
    "RelayNotification",
    "CommandCreateAssertion",
    "IORegistry",
    "MobileGestalt",
    "MobileGestaltKeys",
    "Install",
    "PackagePath",
    "VendContainer",
    "getIconPNGData",
    "bundleId",
    "Success",
    "Failure",
    "HostPrivateKey",
    "DeviceCertificate",
    "ExtendedResponse",
    "DetailedError",
    "Label",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![4 => prop::sample::select(WORDS).prop_map(str::to_owned), 1 => "[a-zA-Z0-9 ]{0,12}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        word().prop_map(Value::String),
        any::<i64>().prop_map(|n| Value::Integer(n.into())),
        any::<u64>().prop_map(|n| Value::Integer(n.into())),
        any::<bool>().prop_map(Value::Boolean),
        (-1.0e9..1.0e9_f64).prop_map(Value::Real),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Data),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((word(), inner), 0..6)
                .prop_map(|pairs| Value::Dictionary(pairs.into_iter().collect())),
        ]
    })
}

fn message() -> impl Strategy<Value = Value> {
    prop::collection::vec((word(), value()), 0..8).prop_map(|pairs| Value::Dictionary(pairs.into_iter().collect()))
}

/// What was decoded once decodes again to the same: encoding loses nothing that decoding found.
fn settles<M: Message + PartialEq + std::fmt::Debug>(value: &Value) {
    if let Ok(message) = M::from_plist(value.clone()) {
        let again = M::decode(&message.encode()).unwrap();
        assert_eq!(again.to_plist(), message.to_plist());
        assert_eq!(
            M::decode(&message.encode_binary()).unwrap().to_plist(),
            message.to_plist()
        );
    }
}

fn text() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[ -~]{1,20}")
}

fn request_body() -> impl Strategy<Value = RequestBody> {
    prop_oneof![
        Just(RequestBody::QueryType),
        (text(), text()).prop_map(|(domain, key)| RequestBody::GetValue { domain, key }),
        (text(), text(), prop::option::of(value())).prop_map(|(domain, key, value)| RequestBody::SetValue {
            domain,
            key,
            value
        }),
        text().prop_map(|session_id| RequestBody::StopSession { session_id }),
        (text(), prop::option::of(prop::collection::vec(any::<u8>(), 0..40))).prop_map(|(service, bag)| {
            RequestBody::StartService {
                service,
                escrow_bag: bag.map(Into::into),
            }
        }),
    ]
}

fn reply_body() -> impl Strategy<Value = ReplyBody> {
    prop_oneof![
        ("[ -~]{1,20}", any::<Option<bool>>()).prop_map(|(session_id, ssl)| ReplyBody::SessionStarted {
            session_id,
            enable_session_ssl: ssl
        }),
        (text(), 1..u16::MAX, any::<Option<bool>>()).prop_map(|(service, port, ssl)| ReplyBody::ServiceStarted {
            service,
            port,
            enable_service_ssl: ssl
        }),
        ("[A-Za-z]{1,20}", text()).prop_map(|(code, detail)| ReplyBody::Failed {
            code: LockdownError::from(code.as_str()),
            detail,
            extended: None
        }),
    ]
}

proptest! {
    #[test]
    fn decode_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Request::decode(&bytes);
        let _ = Reply::decode(&bytes);
        let _ = PairRecord::parse(&bytes);
        let _ = RsaPublicKey::from_pem(&bytes);
        let _ = RsaKey::from_pem(&bytes, "key");
        let _ = certificate_der(&bytes, "certificate");
        let _ = public_key_of(&bytes, "certificate");
    }

    #[test]
    fn a_damaged_certificate_is_an_error_or_another_key(at in 0_usize..900, bit in 0_u32..8) {
        let pem = include_bytes!("data/device-sha1.pem");
        let mut der = certificate_der(pem, "certificate").unwrap().to_vec();
        let at = at.checked_rem(der.len()).unwrap();
        if let Some(byte) = der.get_mut(at) {
            *byte ^= 1_u8 << bit;
        }
        let _ = public_key_of(&der, "certificate");
        der.truncate(at);
        prop_assert!(public_key_of(&der, "certificate").is_err());
    }

    #[test]
    fn every_message_settles(value in message()) {
        settles::<Request>(&value);
        settles::<Reply>(&value);
        settles::<notification_proxy::Command>(&value);
        settles::<notification_proxy::Event>(&value);
        settles::<installation_proxy::Command>(&value);
        settles::<installation_proxy::Reply>(&value);
        settles::<springboard::Command>(&value);
        settles::<springboard::Reply>(&value);
        settles::<diagnostics::Request>(&value);
        settles::<diagnostics::Reply>(&value);
        settles::<heartbeat::Beat>(&value);
        settles::<heartbeat::Polo>(&value);
        settles::<house_arrest::Command>(&value);
        settles::<house_arrest::Reply>(&value);
        settles::<assertion::Command>(&value);
        settles::<assertion::Reply>(&value);
        let _ = PairRecord::from_plist(value);
    }

    #[test]
    fn requests_survive_a_round_trip(label in text(), body in request_body()) {
        let request = Request { label, body, extra: Dictionary::new() };
        prop_assert_eq!(Request::decode(&request.encode()).unwrap(), request);
    }

    #[test]
    fn replies_survive_a_round_trip(body in reply_body()) {
        let request = match &body {
            ReplyBody::SessionStarted { .. } => "StartSession",
            _ => "StartService",
        };
        let reply = Reply { request: Some(request.to_owned()), body, result: None, extra: Dictionary::new() };
        prop_assert_eq!(Reply::decode(&reply.encode()).unwrap(), reply.clone());
        prop_assert_eq!(Reply::decode(&reply.encode_binary()).unwrap(), reply);
    }
}
