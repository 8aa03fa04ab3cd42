//! Frames between the bulk endpoints and the multiplexer behind them, in memory.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::link::FrameLink;

/// Bytes of messages that wait for the multiplexer; it takes all there is whenever it runs.
const TO_PHONE: usize = 1 << 20;
/// Bytes of frames that wait for the host; then the multiplexer waits.
const FROM_PHONE: usize = 256 << 10;

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    fn push(&mut self, message: Bytes) {
        self.bytes = self.bytes.saturating_add(message.len());
        self.messages.push_back(message);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let message = self.messages.pop_front()?;
        self.bytes = self.bytes.saturating_sub(message.len());
        Some(message)
    }
}

#[derive(Debug, Default)]
struct Wire {
    to_phone: Queue,
    from_phone: Queue,
    ended: bool,
    /// Each end is driven by one task.
    host: Option<Waker>,
    phone: Option<Waker>,
}

type Shared = Arc<Mutex<Wire>>;

fn lock(wire: &Shared) -> MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait(slot: &mut Option<Waker>, cx: &Context<'_>) {
    if !slot.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
        *slot = Some(cx.waker().clone());
    }
}

/// Both ends of a wire.
pub(super) fn wire() -> (HostEnd, PhoneEnd) {
    let shared = Shared::default();
    (HostEnd(Arc::clone(&shared)), PhoneEnd(shared))
}

fn end(wire: &Shared) {
    let mut inner = lock(wire);
    inner.ended = true;
    let wakers = [inner.host.take(), inner.phone.take()];
    drop(inner);
    wakers.into_iter().flatten().for_each(Waker::wake);
}

/// The endpoints' end. Dropping it ends the link.
#[derive(Debug)]
pub(super) struct HostEnd(Shared);

impl HostEnd {
    /// Ready when there is room for a message.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = lock(&self.0);
        if inner.to_phone.bytes < TO_PHONE || inner.ended {
            return Poll::Ready(());
        }
        wait(&mut inner.host, cx);
        Poll::Pending
    }

    pub(super) fn send(&self, message: Bytes) {
        let mut inner = lock(&self.0);
        inner.to_phone.push(message);
        let waker = inner.phone.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(super) fn poll_message(&self, cx: &Context<'_>) -> Poll<Bytes> {
        let mut inner = lock(&self.0);
        let Some(message) = inner.from_phone.pop() else {
            wait(&mut inner.host, cx);
            return Poll::Pending;
        };
        let waker = inner.phone.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
        Poll::Ready(message)
    }
}

impl Drop for HostEnd {
    fn drop(&mut self) {
        end(&self.0);
    }
}

/// The multiplexer's end.
#[derive(Debug)]
pub(super) struct PhoneEnd(Shared);

impl FrameLink for PhoneEnd {
    fn poll_receive(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut inner = lock(&self.0);
        let mut received = 0_usize;
        while let Some(message) = inner.to_phone.pop() {
            input.extend_from_slice(&message);
            received = received.saturating_add(message.len());
        }
        if received == 0 && !inner.ended {
            wait(&mut inner.phone, cx);
            return Poll::Pending;
        }
        let waker = inner.host.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(received))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        if inner.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if inner.from_phone.bytes < FROM_PHONE {
            return Poll::Ready(Ok(()));
        }
        wait(&mut inner.phone, cx);
        Poll::Pending
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let mut inner = lock(&self.0);
        inner.from_phone.push(Bytes::copy_from_slice(frame));
        let waker = inner.host.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        if inner.from_phone.messages.is_empty() || inner.ended {
            return Poll::Ready(Ok(()));
        }
        wait(&mut inner.phone, cx);
        Poll::Pending
    }
}

impl Drop for PhoneEnd {
    fn drop(&mut self) {
        end(&self.0);
    }
}
