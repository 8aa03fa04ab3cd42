//! The exchange with a device.
