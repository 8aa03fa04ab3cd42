//! Lockdown, its companions, and pair records from elsewhere.

use std::fmt::Debug;

use cabled_lockdown::PairRecord;
use cabled_lockdown::msg::{Message, Reply, Request};
use cabled_lockdown::services::{
    assertion, diagnostics, heartbeat, house_arrest, installation_proxy, notification_proxy, springboard,
};
use cabled_wire::plist::{self, Limits, Value};

use crate::wire::xml_can_say;

/// Decoding finds everything that encoding says, and encoding says everything that decoding found.
fn settles<M: Message + Debug>(value: &Value) {
    let Ok(message) = M::from_plist(value.clone()) else {
        return;
    };
    let said = message.to_plist();
    let again = match M::decode(&message.encode_binary()) {
        Ok(again) => again.to_plist(),
        Err(error) => panic!("{message:?} cannot be read back: {error}"),
    };
    assert!(again == said || has_nan(&said), "{message:?}\n{again:?}");
}

fn has_nan(value: &Value) -> bool {
    format!("{value:?}").contains("NaN")
}

fn value(data: &[u8]) -> Option<Value> {
    // A frame's length in front, as the golden vectors have it, is passed over.
    let body = match data.split_first_chunk::<4>() {
        Some((len, body)) if u32::from_be_bytes(*len) as usize == body.len() => body,
        _ => data,
    };
    let limits = Limits::default().with_bytes(1 << 20).with_nodes(100_000);
    plist::read(body, &limits).ok()
}

/// A request and a reply.
pub fn lockdown_messages(data: &[u8]) {
    let Some(value) = value(data) else { return };
    settles::<Request>(&value);
    settles::<Reply>(&value);
}

/// Any message of a companion service.
pub fn companion_messages(data: &[u8]) {
    let Some(value) = value(data) else { return };
    settles::<assertion::Command>(&value);
    settles::<assertion::Reply>(&value);
    settles::<diagnostics::Request>(&value);
    settles::<diagnostics::Reply>(&value);
    settles::<heartbeat::Beat>(&value);
    settles::<heartbeat::Polo>(&value);
    settles::<house_arrest::Command>(&value);
    settles::<house_arrest::Reply>(&value);
    settles::<installation_proxy::Command>(&value);
    settles::<installation_proxy::Reply>(&value);
    settles::<notification_proxy::Command>(&value);
    settles::<notification_proxy::Event>(&value);
    settles::<springboard::Command>(&value);
    settles::<springboard::Reply>(&value);
}

/// A pair record of another program: whatever it holds, no secret shows and it is written back as it was read.
pub fn pair_record(data: &[u8]) {
    let Ok(record) = PairRecord::parse(data) else { return };
    if value(data).is_some_and(|value| xml_can_say(&value)) {
        let again = PairRecord::parse(record.to_plist_xml().expose()).expect("what was written can be read");
        assert!(again == record, "the record changed");
    }
    let for_device = format!("{:?}", record.for_device().to_plist());
    assert!(!for_device.contains("PrivateKey"), "a private key goes to the device");
}
