//! springboardservices: icons, home screen layout, wallpaper.

mod msg;

pub use msg::{Command, Reply};

/// The service.
pub const SERVICE: &str = "com.apple.springboardservices";
