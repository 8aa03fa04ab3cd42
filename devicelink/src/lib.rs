//! The DeviceLink message exchange that backup and sync share.

pub mod client;
mod error;
pub mod machine;
pub mod msg;
mod redact;
pub mod status;
pub mod transfer;

pub use error::DeviceLinkError;
