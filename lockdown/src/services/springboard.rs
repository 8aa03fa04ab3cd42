//! springboardservices: icons, home screen layout, wallpaper.

mod client;
mod msg;

pub use client::SpringBoard;
pub use msg::{Command, Reply};

/// The service.
pub const SERVICE: &str = "com.apple.springboardservices";
