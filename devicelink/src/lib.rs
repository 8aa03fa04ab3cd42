//! The DeviceLink message exchange that backup and sync share: the device asks, the host keeps its files and answers.
//!
//! # Example
//! Both sides of a handshake and one request, in memory; the device is played by messages made by hand:
//! ```
//! use std::time::Instant;
//!
//! use cabled_devicelink::machine::{Event, Exchange, ExchangeOptions};
//! use cabled_devicelink::msg::{Message, Status};
//! use cabled_wire::{dict, frame};
//!
//! let now = Instant::now();
//! let mut host = Exchange::new(now, ExchangeOptions::default());
//! let handshake = [
//!     Message::VersionExchange { major: 400, minor: 0 },
//!     Message::DeviceReady,
//!     Message::ProcessMessage(dict! { "MessageName" => "Response", "ErrorCode" => 0, "ProtocolVersion" => 2.1 }),
//! ];
//! for message in handshake {
//!     host.handle_bytes(now, frame::encode(&message.encode())?);
//!     if let Some(Event::Ready(hello)) = host.poll_event()? {
//!         assert_eq!(hello.protocol, 2.1);
//!     }
//! }
//! host.request(now, dict! { "MessageName" => "Backup" })?;
//! assert!(host.poll_transmit().is_some(), "answers to the handshake, and the request");
//!
//! host.handle_bytes(now, frame::encode(&Message::GetFreeDiskSpace.encode())?);
//! assert!(matches!(host.poll_event()?, Some(Event::Asked(Message::GetFreeDiskSpace))));
//! host.respond(now, Status::ok())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it fits together
//! [`msg`] is what either side says, one [`msg::Message`] per frame, with the [`status`] of an answer; [`transfer`] is
//! the raw stream of file contents between two messages. [`machine`] is the host's side of an exchange, without a socket
//! and without a clock: it knows whose turn it is, gathers frames, and says when silence has lasted too long. [`client`]
//! gives it a byte stream, most often that of a service which `cabled_lockdown` started. What the requests of a backup
//! mean, and where the files go, is `cabled_mobilebackup`'s business. The virtual device uses [`msg`], [`status`] and
//! [`transfer`] alone.
//!
//! # Limits
//! Frames of at most 256 MiB ([`msg::MAX_FRAME`]), since some answers carry a line per file; file names and error texts
//! in a transfer of at most 4 KiB; file contents are handed on as they come and never gathered. 10 minutes of silence end
//! an exchange, 20 after files went to the device, 30 seconds in the handshake ([`machine::Deadlines`]). One connection
//! serves one request, by the protocol's design.
//!
//! # Features
//! None.

pub mod client;
mod error;
pub mod machine;
pub mod msg;
mod redact;
pub mod status;
pub mod transfer;

pub use error::DeviceLinkError;

/// The program in the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
