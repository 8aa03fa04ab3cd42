//! Devices on this computer's own USB ports, with no daemon.
