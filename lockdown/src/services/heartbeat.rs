//! heartbeat: without it a device drops the services of a network host after some 15 seconds.

mod client;
mod msg;

pub use client::{Ended, Heartbeat};
pub use msg::{Beat, Polo};

/// The service.
pub const SERVICE: &str = "com.apple.mobile.heartbeat";
