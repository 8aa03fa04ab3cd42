//! installation_proxy: which apps are installed; installing and removing them.

mod client;
mod msg;

pub use client::{Browse, InstallationProxy, MAX_APPS, MAX_LISTING, Progress};
pub use msg::{Command, Reply};

/// The service.
pub const SERVICE: &str = "com.apple.mobile.installation_proxy";
