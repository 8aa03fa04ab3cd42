//! A byte stream as a link that takes frames: they are gathered and written together.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use cabled_usbmux::mux::link::FrameLink;
use cabled_wire::io::Stream;
use tokio::io::AsyncReadExt;

/// Bytes read at a time.
const READ: usize = 128 << 10;
/// Bytes of frames gathered for one write.
const BATCH: usize = 256 << 10;

pub(super) struct ByteLink<S> {
    stream: S,
    out: BytesMut,
    unflushed: bool,
}

impl<S: Stream> ByteLink<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            out: BytesMut::new(),
            unflushed: false,
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.out.advance(written);
        self.unflushed = true;
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream + 'static> FrameLink for ByteLink<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        if input.capacity().saturating_sub(input.len()) < READ / 4 {
            input.reserve(READ);
        }
        // Dropping this future loses nothing, so that it need not outlive the call.
        pin!(self.stream.read_buf(input)).poll(cx)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out.len() >= BATCH {
            ready!(self.poll_write(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.out.extend_from_slice(frame);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            ready!(self.poll_write(cx))?;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
