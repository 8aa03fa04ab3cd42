//! Moves bytes between the core and a link.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use cabled_wire::io::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until};

use super::driver::{Inner, LinkState, Shared, now};
use super::frame::ControlKind;
use super::link::FrameLink;
use super::{Event, Failure};

/// Bytes read off a byte stream at a time.
const READ: usize = 128 << 10;
/// Bytes of frames gathered for one write to a byte stream.
const BATCH: usize = 256 << 10;
/// Frames handed to a link before the other direction has its turn.
const FRAMES: usize = 8;
/// Turns before other tasks of the runtime have theirs.
const TURNS: usize = 32;
/// How long a link that nobody uses any more may take for its last frames, and again to be let go.
const LINGER: Duration = Duration::from_secs(1);

/// What a pump wants of a link, whether that keeps frames apart or not.
pub(super) trait Carrier: Send + 'static {
    /// As [`FrameLink::poll_receive`].
    fn poll_receive(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Moves frames of the core to the link. `true` when some were moved, so that the core may have events and more
    /// frames; `false` when there are none and everything is out; pending while the link is full or flushing.
    fn poll_send(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<io::Result<bool>>;

    /// As [`FrameLink::poll_close`].
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A byte stream: frames go out one behind the other, many in one write.
pub(super) struct ByteCarrier<S> {
    stream: S,
    out: BytesMut,
    unflushed: bool,
}

impl<S: Stream + 'static> ByteCarrier<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            out: BytesMut::new(),
            unflushed: false,
        }
    }
}

impl<S: Stream + 'static> Carrier for ByteCarrier<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        if input.capacity().saturating_sub(input.len()) < READ / 4 {
            input.reserve(READ);
        }
        // The future holds no state: dropping it and making it again loses nothing. The same goes for those below.
        pin!(self.stream.read_buf(input)).poll(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<io::Result<bool>> {
        let before = self.out.len();
        if before < BATCH {
            // More than a batch waits for its turn in the core, where the windows hold it back.
            let mut inner = shared.lock();
            while self.out.len() < BATCH && inner.mux.poll_transmit(&mut self.out).is_some() {}
        }
        if !self.out.is_empty() {
            let gathered = self.out.len() > before;
            return match pin!(self.stream.write_buf(&mut self.out)).poll(cx)? {
                Poll::Ready(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(_) => {
                    self.unflushed = true;
                    Poll::Ready(Ok(true))
                }
                // Events of the core come with its frames.
                Poll::Pending if gathered => Poll::Ready(Ok(true)),
                Poll::Pending => Poll::Pending,
            };
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(false))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// A link that takes frames one by one.
pub(super) struct FrameCarrier<L> {
    link: L,
    frame: BytesMut,
}

impl<L: FrameLink> FrameCarrier<L> {
    pub(super) fn new(link: L) -> Self {
        Self {
            link,
            frame: BytesMut::new(),
        }
    }
}

impl<L: FrameLink> Carrier for FrameCarrier<L> {
    fn poll_receive(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        self.link.poll_receive(cx, input)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<io::Result<bool>> {
        for sent in 0..FRAMES {
            if self.link.poll_ready(cx)?.is_pending() {
                // Even a link that takes nothing now may have to be driven to get rid of what it has.
                let _ = self.link.poll_flush(cx)?;
                return if sent > 0 { Poll::Ready(Ok(true)) } else { Poll::Pending };
            }
            self.frame.clear();
            if shared.lock().mux.poll_transmit(&mut self.frame).is_none() {
                if sent > 0 {
                    return Poll::Ready(Ok(true));
                }
                ready!(self.link.poll_flush(cx))?;
                return Poll::Ready(Ok(false));
            }
            self.link.send(&self.frame)?;
        }
        Poll::Ready(Ok(true))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.poll_close(cx)
    }
}

/// The task of a link: everything to be sent out, then waits for bytes, time or a command, and feeds that in.
pub(super) struct Pump<C> {
    shared: Arc<Shared>,
    carrier: C,
    input: BytesMut,
    sleep: Pin<Box<Sleep>>,
    state: State,
}

enum State {
    /// Bytes flow.
    Running,
    /// Nobody is left who could use the link, and its last frames are on their way.
    Lingering { until: Instant },
    /// Everybody knows that it is over.
    Closing { until: Instant },
}

impl<C: Carrier> Pump<C> {
    pub(super) fn new(shared: Arc<Shared>, carrier: C) -> Self {
        Self {
            shared,
            carrier,
            input: BytesMut::new(),
            sleep: Box::pin(sleep_until(Instant::now())),
            state: State::Running,
        }
    }

    /// One turn: whether something moved, so that another is due.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let received = match self.carrier.poll_receive(cx, &mut self.input) {
            Poll::Ready(Ok(0)) => self.lost(&io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok(_)) => true,
            Poll::Ready(Err(error)) => self.lost(&error),
            Poll::Pending => false,
        };
        let core = step(&self.shared, &mut self.input);
        if core.failed {
            let until = later(LINGER);
            self.state = State::Closing { until };
            return true;
        }
        let (sent, out) = match self.carrier.poll_send(cx, &self.shared) {
            Poll::Ready(Ok(more)) => (more, !more),
            Poll::Ready(Err(error)) => (self.lost(&error), false),
            Poll::Pending => (false, false),
        };
        let mut deadline = core.timeout;
        if core.unused {
            let until = match self.state {
                State::Lingering { until } => until,
                State::Running | State::Closing { .. } => later(LINGER),
            };
            let over = out || until <= Instant::now();
            self.state = if over {
                State::Closing { until: later(LINGER) }
            } else {
                State::Lingering { until }
            };
            if over {
                return true;
            }
            deadline = Some(deadline.map_or(until, |at| at.min(until)));
        }
        received || sent || self.is_due(cx, deadline)
    }

    /// Always true: there is something new for the core.
    fn lost(&self, error: &io::Error) -> bool {
        tracing::debug!(%error, "the link to the device ended");
        self.shared.lock().mux.handle_link_lost(now());
        true
    }

    /// Sets the clock and says whether it has rung already.
    fn is_due(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        let Some(at) = deadline else { return false };
        if at != self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
        }
        self.sleep.as_mut().poll(cx).is_ready()
    }
}

/// Nothing in it is pinned where it lies.
impl<C> Unpin for Pump<C> {}

impl<C: Carrier> Future for Pump<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let pump = self.get_mut();
        pump.shared.drive(cx);
        for _ in 0..TURNS {
            if let State::Closing { until } = pump.state {
                finish(&pump.shared);
                if pump.carrier.poll_close(cx).is_ready() || pump.is_due(cx, Some(until)) {
                    return Poll::Ready(());
                }
                return Poll::Pending;
            }
            if !pump.turn(cx) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<C> Drop for Pump<C> {
    /// Whoever waits learns it, even when the runtime ends first.
    fn drop(&mut self) {
        finish(&self.shared);
    }
}

fn later(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or(now)
}

/// What the core wants of the link.
struct Step {
    timeout: Option<Instant>,
    failed: bool,
    /// Nobody holds anything of this link any more.
    unused: bool,
}

/// Feeds the core, fetches its events and wakes whom they concern.
fn step(shared: &Shared, input: &mut BytesMut) -> Step {
    let mut wakers: Vec<Waker> = Vec::new();
    let mut link = None;
    let mut guard = shared.lock();
    let Inner {
        mux,
        waiting,
        abandoned,
        ..
    } = &mut *guard;
    let now = now();
    mux.handle_timeout(now);
    if !input.is_empty() {
        mux.handle_input(now, input);
    }
    while let Some(event) = mux.poll_event() {
        let (id, read, write) = match event {
            Event::Readable(id) => (id, true, false),
            Event::Writable(id) | Event::Drained(id) | Event::Connected(id) => (id, false, true),
            Event::Closed(id, reason) => {
                tracing::debug!(?id, %reason, "connection ended");
                (id, true, true)
            }
            Event::Ready { version } => {
                link = Some(LinkState::Ready { version });
                continue;
            }
            Event::Failed(failure) => {
                link = Some(LinkState::Failed(failure));
                continue;
            }
            Event::Control { kind, text } => {
                log_control(kind, &text);
                continue;
            }
        };
        if let Some(waiting) = waiting.get_mut(&id) {
            // One that is not meant stays: it may belong to another task.
            wakers.extend(read.then(|| waiting.read.take()).flatten());
            wakers.extend(write.then(|| waiting.write.take()).flatten());
        }
    }
    let unused = *abandoned && mux.is_idle();
    let timeout = mux.poll_timeout().map(Instant::from_std);
    drop(guard);
    if let Some(state) = link {
        shared.link.send_replace(state);
    }
    let failed = matches!(*shared.link.borrow(), LinkState::Failed(_));
    wakers.into_iter().for_each(Waker::wake);
    Step {
        timeout,
        failed,
        unused,
    }
}

/// Whoever looks later finds the failure, not a link that is starting for ever; whoever waits is woken.
fn finish(shared: &Shared) {
    let mut inner = shared.lock();
    inner.mux.handle_link_lost(now());
    while inner.mux.poll_event().is_some() {}
    let wakers: Vec<Waker> = inner
        .waiting
        .values_mut()
        .flat_map(|wakers| wakers.read.take().into_iter().chain(wakers.write.take()))
        .collect();
    drop(inner);
    shared.link.send_if_modified(|state| {
        let running = !matches!(state, LinkState::Failed(_));
        if running {
            *state = LinkState::Failed(Failure::Link);
        }
        running
    });
    wakers.into_iter().for_each(Waker::wake);
}

fn log_control(kind: ControlKind, text: &[u8]) {
    let text = String::from_utf8_lossy(text.get(..800).unwrap_or(text));
    let text = cabled_wire::WireError::excerpt(text.trim_end_matches(['\0', '\n', '\r', ' ']));
    match kind {
        ControlKind::Error | ControlKind::Warning => tracing::warn!(?kind, text, "the device says"),
        ControlKind::Information | ControlKind::Other(_) => tracing::debug!(?kind, text, "the device says"),
    }
}
