//! Back up and restore iPhones and iPads, and read their backups with no device.

#[cfg(feature = "archive")]
pub mod archive;
pub mod folder;
#[cfg(feature = "live")]
pub mod live;
