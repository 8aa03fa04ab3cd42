//! Back up and restore iPhones and iPads, and read their backups with no device.

pub mod folder;
#[cfg(feature = "live")]
pub mod live;
