//! diagnostics_relay: facts about hardware and system; sleep, restart, shut down.

mod client;
mod msg;

pub use client::Diagnostics;
pub use msg::{Entry, PowerOptions, Reply, Request};

/// The service.
pub const SERVICE: &str = "com.apple.mobile.diagnostics_relay";
/// Its name before iOS 5.
pub const OLD_SERVICE: &str = "com.apple.iosdiagnostics.relay";
