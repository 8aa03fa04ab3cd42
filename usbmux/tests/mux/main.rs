//! What goes over the cable: the frame codec and the host's core.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod frames;
mod host;
mod hostile;

use std::collections::BTreeMap;

use bytes::Bytes;

pub(crate) fn built() -> BTreeMap<String, Bytes> {
    cabled_golden::built("usb-frames.jsonl")
}
