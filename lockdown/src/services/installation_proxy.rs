//! installation_proxy: which apps are installed; installing and removing them.

mod msg;

pub use msg::{Command, Reply};

/// The service.
pub const SERVICE: &str = "com.apple.mobile.installation_proxy";
