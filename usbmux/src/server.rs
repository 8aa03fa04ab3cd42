//! Offers devices to other programs, as the daemon does.

mod source;

pub use source::{DeviceSource, SourceEvent};
