//! Links for the multiplexer: those that keep frames apart, and byte streams.

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{DuplexStream, duplex};

/// What either end of [`memory_pair`] holds before the writer has to wait, in bytes.
const CAPACITY: usize = 256 << 10;

/// A link that carries frames one by one towards the peer, as USB carries transfers, and bytes from it.
///
/// The driver that owns a link drives it from one task and polls all of it until each part is pending. An error of any
/// method ends the link for good; dropping it releases whatever it holds, at once and without waiting.
pub trait FrameLink: Send + 'static {
    /// Appends what arrived to `input` and says how many bytes that was; 0 is the end of the link. Never takes less
    /// than it can hold: windows, not the link, hold a peer back.
    fn poll_receive(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Ready when the link takes one more frame.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Takes one whole frame, after [`FrameLink::poll_ready`] was ready. Where the link needs something to mark its end,
    /// as USB needs a zero-length packet, that is the link's business.
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;

    /// Drives what was taken; ready when all of it is out.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Lets go of what the link holds, where that takes time: polled once the link is no longer used and before it is
    /// dropped, until it is ready or a second has passed.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Ready(())
    }
}

/// A link in memory: what one end writes the other reads. Dropping an end is pulling the cable.
#[must_use]
pub fn memory_pair() -> (DuplexStream, DuplexStream) {
    duplex(CAPACITY)
}
