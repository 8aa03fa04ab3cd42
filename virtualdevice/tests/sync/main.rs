//! The phone's sync agent: held against recorded runs, and in sessions of our own client.
#![expect(clippy::unwrap_used, reason = "test code")]

mod captures;
mod sessions;

use cabled_syncproto::record::{Record, RecordId};
use cabled_virtualdevice::{Phone, service, sync};
use cabled_wire::io::BoxStream;

fn phone() -> Phone {
    Phone::builder().seed(7).build().unwrap()
}

/// A connection to the phone's sync service, without lockdown and TLS.
fn connect(phone: &Phone) -> BoxStream {
    let (host, device) = tokio::io::duplex(256 << 10);
    let phone = phone.clone();
    tokio::spawn(async move { service::dispatch(phone, sync::NAME, Box::new(device), None).await });
    Box::new(host)
}

fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

fn text<'a>(record: &'a Record, key: &str) -> &'a str {
    record
        .attributes
        .get(key)
        .and_then(|value| value.as_string())
        .unwrap_or_default()
}
