//! The DeviceLink message exchange that backup and sync share.

pub mod msg;
mod redact;
pub mod status;
pub mod transfer;
