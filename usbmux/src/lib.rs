//! USB multiplexing for iPhones and iPads.
mod address;
mod client;
mod device;
mod error;
pub mod msg;
pub mod mux;
mod netaddr;
pub mod server;
pub mod store;

pub use address::{AddressError, DaemonAddr};
pub use client::{CONNECT_DEADLINE, Daemon, DaemonDevice, Listener, REPLY_DEADLINE};
pub use device::{AttachedDevice, ConnectionKind, Network, Usb};
pub use error::DaemonError;
pub use netaddr::{NetworkAddress, SockaddrLayout};
