//! The phone on a bus: what it says there, whole sessions of our own host's multiplexer over its bulk pipes, and USB/IP in
//! bytes written by hand.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod bulk;
mod descriptors;
mod faults;
mod hostile;
mod kernel;
mod tcp;
mod usbip;
mod whole_stack;

use std::sync::Arc;
use std::time::Duration;

use cabled_virtualdevice::usb::{ControlOutcome, Setup, UsbOptions, UsbPhone};
use cabled_wire::ids::Udid;
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use tokio::io::{AsyncWriteExt, duplex};

/// Long enough for anything here, on any machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const UDID: &str = "00008030-001A2B3C4D5E6F70";
/// Says what it is told.
pub(crate) const ECHO: u16 = 7;
/// Sends [`AMOUNT`] bytes and ends.
pub(crate) const SOURCE: u16 = 19;
pub(crate) const AMOUNT: usize = 3_000_000;

/// A phone with services of old.
#[derive(Debug)]
pub(crate) struct Toy(Option<Udid>);

pub(crate) fn byte_at(n: usize) -> u8 {
    (n ^ (n >> 8) ^ (n >> 16)).to_le_bytes()[0]
}

impl Connect for Toy {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move {
            let (ours, theirs) = duplex(16 << 10);
            let (mut read, mut write) = tokio::io::split(theirs);
            match port {
                ECHO | 62078 => tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                }),
                SOURCE => tokio::spawn(async move {
                    let data: Vec<u8> = (0..AMOUNT).map(byte_at).collect();
                    let _ = write.write_all(&data).await;
                }),
                port => return Err(ConnectError::Refused { port }),
            };
            Ok(Box::new(ours) as BoxStream)
        })
    }

    fn udid(&self) -> Option<&Udid> {
        self.0.as_ref()
    }
}

pub(crate) fn toy() -> Arc<dyn Connect> {
    Arc::new(Toy(Some(UDID.parse().unwrap())))
}

pub(crate) fn usb_with(options: UsbOptions) -> UsbPhone {
    UsbPhone::new(toy(), options).unwrap()
}

pub(crate) fn usb() -> UsbPhone {
    usb_with(UsbOptions::default())
}

/// With the multiplexer set up.
pub(crate) async fn configured(options: UsbOptions) -> UsbPhone {
    let mut usb = usb_with(options);
    set_configuration(&mut usb, 4).await;
    usb
}

pub(crate) async fn set_configuration(usb: &mut UsbPhone, value: u8) {
    let outcome = usb.control(Setup::set_configuration(value), &[]).await;
    assert_eq!(outcome, ControlOutcome::Done);
}

/// The bytes of an answer to a control request.
pub(crate) async fn read(usb: &mut UsbPhone, setup: Setup) -> Vec<u8> {
    match usb.control(setup, &[]).await {
        ControlOutcome::Data(data) => data.to_vec(),
        other => panic!("{setup:?}: {other:?}"),
    }
}

/// A frame of the built vectors, with the magic that phones send where it comes from one.
pub(crate) fn built(name: &str) -> Vec<u8> {
    cabled_golden::built("usb-frames.jsonl")[name].to_vec()
}

/// As [`built`], for frames of the phone, which has a magic of its own.
pub(crate) fn from_phone(name: &str) -> Vec<u8> {
    let mut bytes = built(name);
    bytes[8..12].copy_from_slice(&[0xfa, 0xce, 0xfa, 0xce]);
    bytes
}
