//! Devices that announce themselves on the network.
