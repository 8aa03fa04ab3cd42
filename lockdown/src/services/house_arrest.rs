//! house_arrest: the files of one app, over AFC on the same stream.

mod client;
mod msg;

pub use client::vend;
pub use msg::{Command, Reply};

/// The service.
pub const SERVICE: &str = "com.apple.mobile.house_arrest";
