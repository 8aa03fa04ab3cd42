//! One view of the devices of all sources.
