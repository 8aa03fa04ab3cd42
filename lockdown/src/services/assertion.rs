//! assertion_agent: keep a device awake during a long job.

mod client;
mod msg;

pub use client::PowerAssertion;
pub use msg::{AssertionKind, Command, Reply};

/// The service.
pub const SERVICE: &str = "com.apple.mobile.assertion_agent";
