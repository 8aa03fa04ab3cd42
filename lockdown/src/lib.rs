//! Pair with an iPhone or iPad, open sessions, start services.

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
pub use session::Session;
pub use tls::TlsError;
