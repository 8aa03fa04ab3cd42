//! The view of all devices, on scripted sources and a clock that nobody waits for.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "test code"
)]

mod connecting;
mod daemon;
#[cfg(feature = "network")]
mod network;
mod properties;
mod script;
mod serving;
mod view;
