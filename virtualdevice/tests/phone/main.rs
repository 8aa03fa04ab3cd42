//! The virtual phone, asked frame by frame by a host that shares nothing with it but the frames.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

mod captures;
mod faults;
mod host;
mod own_client;
mod pairing;
mod power;
mod services;
mod sessions;
