//! Devices on the network.
