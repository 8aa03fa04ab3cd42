//! Pair with an iPhone or iPad, open sessions, and start services on it.
//!
//! # Example
//! Ask a device for its name; here the device is played by a few lines, anywhere else it comes from `cabled_usbmux` or
//! from [`NetworkDevice`]:
//! ```
//! use std::sync::Arc;
//!
//! use cabled_lockdown::Lockdown;
//! use cabled_lockdown::msg::{Message, Reply, ReplyBody, Request};
//! use cabled_wire::frame::{read_frame, write_frame};
//! use cabled_wire::ids::Udid;
//! use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
//!
//! #[derive(Debug)]
//! struct Played;
//!
//! impl Connect for Played {
//!     fn connect(&self, _port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
//!         let (host, mut device) = tokio::io::duplex(4096);
//!         tokio::spawn(async move {
//!             while let Ok(frame) = read_frame(&mut device, 4096).await {
//!                 let request = Request::decode(&frame).expect("a request");
//!                 let name = ReplyBody::Value { domain: None, key: None, value: Some("Ada's iPhone".into()) };
//!                 let reply = Reply::to(&request, name).encode();
//!                 write_frame(&mut device, &reply).await.expect("the host listens");
//!             }
//!         });
//!         Box::pin(async { Ok(Box::new(host) as BoxStream) })
//!     }
//!
//!     fn udid(&self) -> Option<&Udid> {
//!         None
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), cabled_lockdown::Error> {
//! let mut lockdown = Lockdown::connect(Arc::new(Played), "example").await?;
//! let name = lockdown.get_value(None, Some("DeviceName")).await?;
//! assert_eq!(name, Some("Ada's iPhone".into()));
//! # Ok(())
//! # }
//! ```
//!
//! # How it fits together
//! [`Lockdown`] is a plain connection: a few values, [`Lockdown::pair`], [`Lockdown::unpair`]. Pairing makes
//! [`certificates`], walks the person in front of the device through [`Trust`], and ends in a [`PairRecord`].
//! [`Lockdown::start_session`] turns record and connection into a [`Session`], encrypted by a TLS that accepts the paired
//! device and nobody else ([`TlsPolicy`]); a session reads and sets values and starts services, each of which is a byte
//! stream. [`Paired`] is device and record together and opens a session per call: what backup, file access and sync start
//! from. [`services`] has the small companions, [`HeartbeatTask`] keeps those of a [`NetworkDevice`] open.
//! [`msg`] and the messages in [`services`] carry both directions, so that a device can be played with them.
//!
//! A private key never leaves the host: what is sent is a [`DeviceSide`], which has no place for one. Errors say who is
//! to blame, carry the device's own code ([`Error::code`]) and what to do ([`Error::remedy`]).
//!
//! # Limits
//! TLS 1.2 and 1.3 with RSA device keys: iOS 10 and later. Messages of at most 64 MiB ([`msg::MAX_MESSAGE`]). A reply may
//! take 30 seconds, a handshake 10, a person 5 minutes; all three are options. Supervised pairing (a signed challenge in
//! place of the dialogue) and the wireless pairing of Apple TV are not built; their messages are kept whole.
//!
//! # Features
//! None.

pub mod certificates;
mod client;
mod error;
mod link;
pub mod msg;
mod network;
mod options;
mod pair_record;
mod paired;
mod pairing;
mod rsd;
pub mod services;
mod session;
mod tls;

pub use client::Lockdown;
pub use error::{Error, Evidence};
pub use link::LinkError;
pub use network::{HeartbeatTask, NetworkDevice};
pub use options::{Escrow, Options, TlsPolicy};
pub use pair_record::{DeviceSide, MAX_PAIR_RECORD, PairRecord};
pub use paired::Paired;
pub use pairing::{PairObserver, PairOptions, Trust};
pub use rsd::rsd_checkin;
pub use session::Session;
pub use tls::TlsError;

/// The program in the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
