//! Talk to iPhones and iPads over cable or Wi-Fi, and keep their data safe.
//!
//! This crate only re-exports the layers; each one can be used alone.
pub use cabled_afc as afc;
pub use cabled_devicelink as devicelink;
pub use cabled_lockdown as lockdown;
pub use cabled_mobilebackup as mobilebackup;
pub use cabled_usbmux as usbmux;
#[cfg(feature = "virtualdevice")]
pub use cabled_virtualdevice as virtualdevice;
pub use cabled_wire as wire;
