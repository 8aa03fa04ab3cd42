//! The DeviceLink message exchange that backup and sync share.
//!
//! # Example
//! The host's side, handed the device's first bytes with no socket in sight:
//! ```
//! use std::time::Instant;
//!
//! use cabled_devicelink::machine::{Exchange, ExchangeOptions};
//! use cabled_devicelink::msg::{Message, limits};
//! use cabled_wire::frame;
//!
//! let now = Instant::now();
//! let mut exchange = Exchange::new(now, ExchangeOptions::default());
//! let hello = Message::VersionExchange { major: 400, minor: 0 };
//! exchange.handle_bytes(now, frame::encode(&hello.encode())?);
//! assert!(exchange.poll_event()?.is_none(), "the handshake is not over");
//!
//! let answer = exchange.poll_transmit().ok_or("nothing to send")?;
//! assert_eq!(Message::decode(&answer[frame::HEADER..], &limits())?, Message::VersionsOk { major: 400 });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! [`msg::Message`] is everything either side says, [`status`] the host's answers, [`transfer`] the raw file transfers
//! between two messages: pure codecs, which a device can be played with, too. [`machine::Exchange`] is what comes next on
//! the host's side, without I/O; [`client::Connection`] drives it over an async stream. What the requests mean is the
//! business of `cabled-mobilebackup`.
//!
//! # Limits
//! A frame has at most [`msg::MAX_FRAME`] bytes, 64 levels and four million values; a name in a transfer
//! [`transfer::MAX_NAME`] bytes; of an error text [`transfer::MAX_TEXT`] bytes are kept. File data of any length streams
//! through a fixed buffer. Every wait has a deadline, counted from the last byte ([`machine::Deadlines`]).
//!
//! # Features
//! None.

pub mod client;
mod error;
pub mod machine;
pub mod msg;
mod options;
mod redact;
pub mod status;
pub mod transfer;

pub use error::DeviceLinkError;

/// The program in the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
