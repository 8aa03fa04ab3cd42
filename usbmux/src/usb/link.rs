//! A pair of bulk endpoints as a link that keeps frames apart.
//!
//! [`UsbLink`] knows the rules of the transfers: several wait at one time in each direction, a frame is one transfer to
//! the device and is ended by an empty one where its length is a multiple of the packet size, transfers from the device
//! are bytes and no frames, a stalled endpoint is cleared once. It knows no USB library: [`Bulk`] is what it needs of an
//! endpoint. Spec: usbmux, section 8.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::mux::link::FrameLink;

/// How long what a previous owner of the interface left in the pipe is thrown away.
const FLUSH: Duration = Duration::from_millis(50);
/// And how much longer at most, when that ended in the middle of something.
const FLUSH_REST: Duration = Duration::from_millis(250);
/// How long the device may take nothing at all while transfers to it wait. A sleeping phone takes them.
const OUT_LIMIT: Duration = Duration::from_secs(60);

/// A bulk endpoint of a claimed interface.
///
/// Transfers complete in the order in which they were submitted.
pub trait Bulk: Send + 'static {
    /// `wMaxPacketSize` in bytes.
    fn packet_size(&self) -> usize;

    /// Transfers submitted and not yet handed back.
    fn pending(&self) -> usize;

    /// Starts a transfer: of the buffer's bytes to the device, or of at most as many bytes as the buffer is long from it.
    /// What goes wrong shows in its completion.
    fn submit(&mut self, buffer: Vec<u8>);

    /// The first transfer that is not handed back, once it is complete; nothing when none is pending.
    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Option<Transfer>>;

    /// Asks for all transfers to end; they complete soon.
    fn cancel_all(&mut self);

    /// Makes a stalled endpoint work again, while no transfer is pending.
    fn poll_clear_halt(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A transfer that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The buffer: with what arrived, or as it was submitted.
    pub buffer: Vec<u8>,
    /// Bytes that were moved, even when it failed.
    pub moved: usize,
    /// How it ended.
    pub end: TransferEnd,
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferEnd {
    /// As it should.
    Complete,
    /// The endpoint is stalled: the device refuses it.
    Stalled,
    /// We cancelled it, or the device's configuration was changed.
    Cancelled,
    /// The device is not there any more.
    Gone,
    /// Anything else, in the system's words.
    Failed(String),
}

impl TransferEnd {
    fn error(self) -> io::Error {
        let (kind, text) = match self {
            Self::Complete => (
                io::ErrorKind::InvalidData,
                "the device took a part of a transfer".to_owned(),
            ),
            Self::Stalled => (io::ErrorKind::ConnectionReset, "the endpoint stalled".to_owned()),
            Self::Cancelled => (io::ErrorKind::Interrupted, "the transfer was cancelled".to_owned()),
            Self::Gone => (io::ErrorKind::ConnectionAborted, "the device is gone".to_owned()),
            Self::Failed(text) => (io::ErrorKind::Other, text),
        };
        io::Error::new(kind, text)
    }
}

/// A link over two bulk endpoints.
///
/// Holds at most its transfers in memory: by default 4 of 32 KiB from the device and 4 frames to it.
#[derive(Debug)]
pub struct UsbLink<I, O> {
    from_device: Incoming<I>,
    to_device: Outgoing<O>,
    state: State,
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug)]
enum State {
    /// What arrives is somebody else's; nothing is sent.
    Flushing {
        until: Instant,
        latest: Instant,
    },
    Running,
}

/// How many transfers wait, and how large those from the device are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfers {
    /// From the device.
    pub incoming: usize,
    /// To the device; the empty transfers that end some frames come on top.
    pub outgoing: usize,
    /// Size of each from the device, in bytes; rounded up to whole packets.
    pub size: usize,
}

impl Default for Transfers {
    /// 4, 4 and 32 KiB.
    fn default() -> Self {
        Self {
            incoming: 4,
            outgoing: 4,
            size: 32 << 10,
        }
    }
}

impl<I: Bulk, O: Bulk> UsbLink<I, O> {
    /// A link over the two endpoints of an interface, which throws away for 50 ms whatever arrives: what a previous owner
    /// of the interface left there. Has to be made inside a tokio runtime.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when an endpoint has a packet size that cannot be.
    pub fn new(from_device: I, to_device: O, transfers: Transfers) -> io::Result<Self> {
        if !(1..=1024).contains(&from_device.packet_size()) || !(1..=1024).contains(&to_device.packet_size()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an endpoint has packets of no size that USB knows",
            ));
        }
        let now = Instant::now();
        let until = now.checked_add(FLUSH).unwrap_or(now);
        Ok(Self {
            from_device: Incoming::new(from_device, transfers),
            to_device: Outgoing::new(to_device, transfers.outgoing.clamp(1, 64)),
            state: State::Flushing {
                until,
                latest: until.checked_add(FLUSH_REST).unwrap_or(until),
            },
            timer: Box::pin(sleep_until(until)),
        })
    }

    /// Whether the time of throwing away is over.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let State::Flushing { until, latest } = self.state {
            if until != self.timer.deadline() {
                self.timer.as_mut().reset(until);
            }
            ready!(self.timer.as_mut().poll(cx));
            self.state = match self.from_device.middle {
                // The rest of it would be taken for the start of a frame.
                true if until < latest => State::Flushing { until: latest, latest },
                _ => State::Running,
            };
        }
        Poll::Ready(())
    }
}

impl<I: Bulk, O: Bulk> FrameLink for UsbLink<I, O> {
    fn poll_receive(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        if let State::Flushing { until, latest } = &mut self.state {
            let mut thrown = BytesMut::new();
            while let Poll::Ready(received) = self.from_device.poll_receive(cx, &mut thrown) {
                let bytes = received?;
                tracing::debug!(bytes, "left by a previous owner of the interface; thrown away");
                thrown.clear();
                if !self.from_device.middle && until == latest {
                    *until = Instant::now();
                }
            }
            ready!(self.poll_flushed(cx));
        }
        self.from_device.poll_receive(cx, input)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flushed(cx));
        self.to_device.poll_ready(cx)
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.to_device.send(frame);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to_device.poll_flush(cx)
    }

    /// Cancels the transfers and waits for their end, so that the interface is free for others afterwards.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.from_device.pipe.poll_cancelled(cx));
        self.to_device.pipe.poll_cancelled(cx)
    }
}

/// An endpoint with what a stall needs.
#[derive(Debug)]
struct Pipe<B> {
    endpoint: B,
    recovery: Recovery,
    cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recovery {
    /// It never stalled.
    Fresh,
    /// It stalled: transfers are being taken back.
    Draining,
    /// The halt is being cleared.
    Clearing,
    /// It was cleared once; another stall ends the link.
    Spent,
}

impl<B: Bulk> Pipe<B> {
    fn new(endpoint: B) -> Self {
        Self {
            endpoint,
            recovery: Recovery::Fresh,
            cancelled: false,
        }
    }

    /// The end of a transfer is nothing to continue from, unless it is the first stall.
    fn stalled(&mut self, end: TransferEnd) -> io::Result<()> {
        match (end, self.recovery) {
            (TransferEnd::Stalled, Recovery::Fresh) => {
                tracing::warn!("an endpoint of the device stalled; clearing it");
                self.recovery = Recovery::Draining;
                self.endpoint.cancel_all();
                Ok(())
            }
            (end, _) => Err(end.error()),
        }
    }

    /// Clears the halt once nothing is pending. Ready when transfers can be submitted.
    fn poll_recovered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.recovery == Recovery::Draining && self.endpoint.pending() == 0 {
            self.recovery = Recovery::Clearing;
        }
        if self.recovery == Recovery::Clearing {
            ready!(self.endpoint.poll_clear_halt(cx))?;
            self.recovery = Recovery::Spent;
        }
        if self.recovery == Recovery::Draining {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.cancelled, true) && self.endpoint.pending() > 0 {
            self.endpoint.cancel_all();
        }
        while ready!(self.endpoint.poll_complete(cx)).is_some() {}
        Poll::Ready(())
    }
}

/// Bytes from the device.
#[derive(Debug)]
struct Incoming<I> {
    pipe: Pipe<I>,
    size: usize,
    wanted: usize,
    spare: Vec<Vec<u8>>,
    /// The last transfer was full: what comes next belongs to the same message.
    middle: bool,
}

impl<I: Bulk> Incoming<I> {
    fn new(endpoint: I, transfers: Transfers) -> Self {
        let packet = endpoint.packet_size();
        let wanted = transfers.incoming.clamp(1, 64);
        Self {
            size: transfers.size.clamp(packet, 16 << 20).next_multiple_of(packet),
            pipe: Pipe::new(endpoint),
            wanted,
            spare: Vec::with_capacity(wanted),
            middle: false,
        }
    }

    /// Appends everything that has arrived; never 0 bytes.
    fn poll_receive(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        let before = input.len();
        loop {
            if self.pipe.recovery == Recovery::Fresh || self.pipe.recovery == Recovery::Spent {
                self.submit();
            }
            let received = input.len().saturating_sub(before);
            match self.pipe.endpoint.poll_complete(cx) {
                Poll::Ready(Some(transfer)) => {
                    if let Err(error) = self.take(transfer, input) {
                        return Poll::Ready(Err(error));
                    }
                    // The core is fed before more is fetched than it was asked to hold.
                    if input.len().saturating_sub(before) >= self.size {
                        return Poll::Ready(Ok(input.len().saturating_sub(before)));
                    }
                }
                Poll::Pending if received > 0 => return Poll::Ready(Ok(received)),
                Poll::Pending => return Poll::Pending,
                // Nothing is pending: the endpoint is being made to work again.
                Poll::Ready(None) if received > 0 => return Poll::Ready(Ok(received)),
                Poll::Ready(None) => ready!(self.pipe.poll_recovered(cx))?,
            }
        }
    }

    fn submit(&mut self) {
        while self.pipe.endpoint.pending() < self.wanted {
            let mut buffer = self.spare.pop().unwrap_or_default();
            buffer.resize(self.size, 0);
            self.pipe.endpoint.submit(buffer);
        }
    }

    fn take(&mut self, transfer: Transfer, input: &mut BytesMut) -> io::Result<()> {
        let Transfer { buffer, moved, end } = transfer;
        input.extend_from_slice(buffer.get(..moved).unwrap_or(&buffer));
        if moved > 0 || end == TransferEnd::Complete {
            self.middle = moved >= self.size;
        }
        if self.spare.len() < self.wanted {
            self.spare.push(buffer);
        }
        match end {
            TransferEnd::Complete => Ok(()),
            // Those behind a stalled one, which we took back.
            TransferEnd::Cancelled | TransferEnd::Stalled if self.pipe.recovery == Recovery::Draining => Ok(()),
            end => self.pipe.stalled(end),
        }
    }
}

/// Frames to the device.
#[derive(Debug)]
struct Outgoing<O> {
    pipe: Pipe<O>,
    room: usize,
    /// What a stall took back, to be sent again, in order.
    again: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    /// Since when nothing was taken while transfers wait.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<O: Bulk> Outgoing<O> {
    fn new(endpoint: O, room: usize) -> Self {
        Self {
            pipe: Pipe::new(endpoint),
            room,
            again: VecDeque::new(),
            spare: Vec::new(),
            waiting: None,
        }
    }

    /// One transfer, and an empty one behind it where the device could not see its end.
    fn send(&mut self, frame: &[u8]) {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(frame);
        self.pipe.endpoint.submit(buffer);
        if frame.len().checked_rem(self.pipe.endpoint.packet_size()) == Some(0) {
            self.pipe.endpoint.submit(Vec::new());
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let settled = self.poll_completions(cx)?;
        if settled && self.pipe.endpoint.pending() < self.room {
            return Poll::Ready(Ok(()));
        }
        self.poll_limit(cx)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let settled = self.poll_completions(cx)?;
        if settled && self.pipe.endpoint.pending() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll_limit(cx)
    }

    /// Takes back what is complete; whether the endpoint works.
    fn poll_completions(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        loop {
            match self.pipe.endpoint.poll_complete(cx) {
                Poll::Ready(Some(transfer)) => self.take(transfer)?,
                Poll::Ready(None) => {
                    if self.pipe.poll_recovered(cx)?.is_pending() {
                        return Ok(false);
                    }
                    if self.again.is_empty() {
                        self.waiting = None;
                        return Ok(true);
                    }
                    // Completions of these are asked for in the next round.
                    while let Some(buffer) = self.again.pop_front() {
                        self.pipe.endpoint.submit(buffer);
                    }
                }
                Poll::Pending => return Ok(self.pipe.recovery != Recovery::Draining),
            }
        }
    }

    fn take(&mut self, transfer: Transfer) -> io::Result<()> {
        let Transfer { mut buffer, moved, end } = transfer;
        let whole = moved >= buffer.len();
        if moved > 0 || end == TransferEnd::Complete {
            self.waiting = None;
        }
        let end = match end {
            TransferEnd::Complete if whole => {
                if self.spare.len() < self.room && buffer.capacity() > 0 {
                    self.spare.push(buffer);
                }
                return Ok(());
            }
            TransferEnd::Cancelled | TransferEnd::Stalled if self.pipe.recovery == Recovery::Draining => None,
            end => Some(end),
        };
        if let Some(end) = end {
            self.pipe.stalled(end)?;
        }
        // The device has its first part; a frame goes on where it stopped. Empty ones that end a frame go whole.
        if moved == 0 || !whole {
            buffer.drain(..moved.min(buffer.len()));
            self.again.push_back(buffer);
        }
        Ok(())
    }

    /// Fails when the device has taken nothing for too long.
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = Instant::now();
        let limit = now.checked_add(OUT_LIMIT).unwrap_or(now);
        let timer = self.waiting.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the device took nothing for a minute",
        )))
    }
}
