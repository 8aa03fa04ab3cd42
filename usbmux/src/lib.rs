//! Reach the ports of an iPhone or iPad through the USB multiplexer: as a client of the daemon, as the daemon, or with
//! the multiplexer itself.
//!
//! # Example
//! A daemon without devices, and a client that asks it:
//! ```
//! use std::sync::Arc;
//!
//! use cabled_usbmux::server::{Server, bind_tcp};
//! use cabled_usbmux::store::PairRecordStore;
//! use cabled_usbmux::{AttachedDevice, Daemon, DeviceSource, SourceEvent};
//! use cabled_wire::ids::DeviceId;
//! use cabled_wire::io::{BoxFuture, BoxStream, ConnectError};
//! use tokio::sync::broadcast;
//!
//! struct EmptyBus(broadcast::Sender<SourceEvent>);
//!
//! impl DeviceSource for EmptyBus {
//!     fn list(&self) -> Vec<AttachedDevice> {
//!         Vec::new()
//!     }
//!     fn watch(&self) -> broadcast::Receiver<SourceEvent> {
//!         self.0.subscribe()
//!     }
//!     fn connect(&self, _: DeviceId, _: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
//!         Box::pin(async { Err(ConnectError::Gone) })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let records = std::env::temp_dir().join("cabled-example-records");
//! let server = Server::new(Arc::new(EmptyBus(broadcast::Sender::new(16))), PairRecordStore::new(records));
//! let serving = server.serve_tcp(bind_tcp("127.0.0.1:0".parse()?)?)?;
//! let address = serving.address().expect("a TCP address").to_string(); // for USBMUXD_SOCKET_ADDRESS
//!
//! let daemon = Daemon::new(address.parse()?);
//! assert!(daemon.list().await?.is_empty());
//! serving.shutdown().await;
//! # Ok(())
//! # }
//! ```
//! # How it fits together
//! [`devices::Devices`] is where to begin: one view of the devices of all sources, by cable, through a daemon, on the
//! network, each of which is a [`DeviceSource`].
//!
//! [`Daemon`] is the client: it lists devices, listens, keeps pair records, and its [`DaemonDevice`] is what `lockdown`
//! and everything above opens streams on. [`server::Server`] is the other end, for other people's programs, with its
//! devices from a [`DeviceSource`] and its pair records in a [`store::PairRecordStore`]. Both speak [`msg`].
//! [`mux`] is below a daemon: the protocol on the cable itself, as a core without I/O and a driver over byte links.
//!
//! # Limits
//! Messages up to 1 MiB, pair records up to 512 KiB, 1024 clients of a server and 1024 connections of a link, 256 KiB held
//! per connection and direction; a client gives up after 5 s (15 s for a connection), a server answers within 4 s. All of
//! these are options or named constants. Streams have no half-close: closing the writing side ends both.
//!
//! # Features
//! - `usb` (off): [`usb`], devices on this computer's own USB ports with no daemon.
//! - `network` (off): [`network`], devices that announce themselves by mDNS.
//!
//! UNIX sockets are there where the system has them.

mod address;
mod client;
mod device;
pub mod devices;
mod error;
pub mod msg;
pub mod mux;
mod netaddr;
#[cfg(feature = "network")]
pub mod network;
mod retry;
pub mod server;
mod source;
pub mod store;
#[cfg(feature = "usb")]
pub mod usb;

pub use address::{AddressError, DaemonAddr};
pub use client::{CONNECT_DEADLINE, Daemon, DaemonDevice, DaemonSource, DaemonSourceOptions, Listener, REPLY_DEADLINE};
pub use device::{AttachedDevice, ConnectionKind, Network, Usb};
pub use error::DaemonError;
pub use netaddr::{NetworkAddress, SockaddrLayout};
pub use source::{DeviceSource, SourceEvent, Trouble, UnattachedDevice};
