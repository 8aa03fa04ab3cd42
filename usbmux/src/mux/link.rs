//! Byte links for the multiplexer.

use tokio::io::{DuplexStream, duplex};

/// What either end of [`memory_pair`] holds before the writer has to wait, in bytes.
const CAPACITY: usize = 256 << 10;

/// A link in memory: what one end writes the other reads. Dropping an end is pulling the cable.
#[must_use]
pub fn memory_pair() -> (DuplexStream, DuplexStream) {
    duplex(CAPACITY)
}
