//! Runs the core over a byte link.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::BytesMut;
use cabled_wire::io::{ConnectError, Stream};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::frame::ControlKind;
use super::{CONNECT_DEADLINE, CloseReason, ConnectionId, Event, Failure, Mux, MuxError, MuxOptions, MuxStream};

/// Bytes read off the link at a time.
const READ: usize = 128 << 10;
/// Bytes of frames gathered for one write to the link.
const BATCH: usize = 256 << 10;

/// Starts the task that runs a [`Mux`] over a byte link.
///
/// A USB link is no byte link: it has to keep frames and transfers apart, so its driver uses [`Mux`] itself.
#[derive(Debug)]
#[non_exhaustive]
pub struct MuxDriver;

/// Where a link stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    Starting,
    Ready { version: u32 },
    Failed(Failure),
}

/// The core and who waits for it.
pub(super) struct Inner {
    pub(super) mux: Mux,
    pub(super) waiting: HashMap<ConnectionId, Wakers>,
    /// Nobody can open a connection any more and nobody holds one.
    abandoned: bool,
}

#[derive(Default)]
pub(super) struct Wakers {
    pub(super) read: Option<Waker>,
    pub(super) write: Option<Waker>,
}

pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// Tells the driver that there is something to send.
    wake: Notify,
    link: watch::Sender<LinkState>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held is a bug elsewhere; the state itself is consistent after every call.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the driver if the core has work for it.
    pub(super) fn nudge(&self, inner: MutexGuard<'_, Inner>) {
        let wants = inner.mux.wants_driver();
        drop(inner);
        if wants {
            self.wake.notify_one();
        }
    }
}

/// Held by the handle and by every stream; the last one ends the driver.
pub(super) struct User(pub(super) Arc<Shared>);

impl Drop for User {
    fn drop(&mut self) {
        self.0.lock().abandoned = true;
        self.0.wake.notify_one();
    }
}

/// The current time, from the clock that tests can stop.
pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl MuxDriver {
    /// Starts a task that owns `link` until it ends, or until the handle and all streams are dropped.
    ///
    /// Has to be called inside a tokio runtime. Connections wait for the version exchange by themselves.
    pub fn spawn(link: impl Stream + 'static, options: MuxOptions) -> MuxHandle {
        let inner = Inner {
            mux: Mux::new(now(), options),
            waiting: HashMap::new(),
            abandoned: false,
        };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            wake: Notify::new(),
            link: watch::Sender::new(LinkState::Starting),
        });
        tokio::spawn(run(Arc::clone(&shared), link));
        MuxHandle {
            user: Arc::new(User(shared)),
        }
    }
}

/// A device behind a link. Cheap to clone.
#[derive(Clone)]
pub struct MuxHandle {
    user: Arc<User>,
}

impl MuxHandle {
    fn shared(&self) -> &Arc<Shared> {
        &self.user.0
    }

    /// Waits for the device to answer VERSION and gives its version (1 or 2).
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    /// [`MuxError::Failed`] when the link ends first, or after 15 s without an answer.
    pub async fn ready(&self) -> Result<u32, MuxError> {
        let mut link = self.shared().link.subscribe();
        let state = link.wait_for(|state| *state != LinkState::Starting).await;
        match state.map(|state| state.clone()) {
            Ok(LinkState::Ready { version }) => Ok(version),
            Ok(LinkState::Failed(failure)) => Err(MuxError::Failed(failure)),
            Ok(LinkState::Starting) | Err(_) => Err(MuxError::Failed(Failure::Link)),
        }
    }

    /// Waits until the link is gone and says why.
    ///
    /// Dropping the future is safe.
    pub async fn gone(&self) -> Failure {
        let mut link = self.shared().link.subscribe();
        let state = link.wait_for(|state| matches!(state, LinkState::Failed(_))).await;
        match state.as_deref() {
            Ok(LinkState::Failed(failure)) => failure.clone(),
            _ => Failure::Link,
        }
    }

    /// A byte stream to a port of the device; gives up after ten seconds.
    ///
    /// Dropping the future is safe: the device is told.
    ///
    /// # Errors
    /// [`ConnectError::Refused`], [`ConnectError::Gone`], [`ConnectError::TimedOut`]; [`ConnectError::Io`] when too many
    /// connections are open or the device broke the protocol.
    pub async fn connect(&self, port: u16) -> Result<MuxStream, ConnectError> {
        self.connect_within(port, CONNECT_DEADLINE).await
    }

    /// As [`MuxHandle::connect`] with another deadline, which includes the wait for the version exchange.
    ///
    /// # Errors
    /// As [`MuxHandle::connect`].
    pub async fn connect_within(&self, port: u16, within: Duration) -> Result<MuxStream, ConnectError> {
        let started = Instant::now();
        let ready = timeout(within, self.ready()).await;
        let late = |phase| ConnectError::TimedOut { phase, after: within };
        ready
            .map_err(|_| late("waiting for the device's version"))?
            .map_err(connect_error)?;
        let left = within.saturating_sub(started.elapsed());
        let stream = {
            let mut inner = self.shared().lock();
            let id = inner.mux.connect(now(), port, left).map_err(connect_error)?;
            inner.waiting.insert(id, Wakers::default());
            self.shared().nudge(inner);
            MuxStream::new(Arc::clone(&self.user), id)
        };
        match stream.connected().await {
            Ok(()) => Ok(stream),
            Err(CloseReason::TimedOut) => Err(late("connecting to the device")),
            Err(CloseReason::Refused { text }) => {
                tracing::debug!(port, text, "the device refused");
                Err(ConnectError::Refused { port })
            }
            Err(CloseReason::Failed(_)) => Err(ConnectError::Gone),
            Err(reason) => Err(ConnectError::Io(io::Error::other(reason.to_string()))),
        }
    }

    /// Gives the link up at once, as if the cable were pulled: all streams end.
    pub fn disconnect(&self) {
        let mut inner = self.shared().lock();
        inner.mux.handle_link_lost(now());
        drop(inner);
        self.shared().wake.notify_one();
    }

    /// What was odd on this link so far.
    #[must_use]
    pub fn stats(&self) -> super::Stats {
        self.shared().lock().mux.stats()
    }
}

impl fmt::Debug for MuxHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MuxHandle")
            .field("link", &*self.shared().link.borrow())
            .finish_non_exhaustive()
    }
}

fn connect_error(error: MuxError) -> ConnectError {
    match error {
        MuxError::Failed(_) => ConnectError::Gone,
        other => ConnectError::Io(io::Error::other(other)),
    }
}

/// What the core wants of the link.
struct Turn {
    timeout: Option<Instant>,
    ended: bool,
}

/// Fetches frames and events, and wakes whom they concern.
fn turn(shared: &Shared, input: &mut BytesMut, out: &mut BytesMut) -> Turn {
    let mut wakers: Vec<Waker> = Vec::new();
    let mut link = None;
    let mut inner = shared.lock();
    let Inner {
        mux,
        waiting,
        abandoned,
    } = &mut *inner;
    mux.handle_timeout(now());
    if !input.is_empty() {
        mux.handle_input(now(), input);
    }
    // More than a batch waits for its turn in the core, where the windows hold it back.
    while out.len() < BATCH && mux.poll_transmit(out).is_some() {}
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
            wakers.extend(waiting.read.take().filter(|_| read));
            wakers.extend(waiting.write.take().filter(|_| write));
        }
    }
    let failed = matches!(link, Some(LinkState::Failed(_))) || matches!(*shared.link.borrow(), LinkState::Failed(_));
    let ended = failed || (*abandoned && mux.is_idle() && out.is_empty());
    let timeout = mux.poll_timeout().map(Instant::from_std);
    drop(inner);
    if let Some(state) = link {
        shared.link.send_replace(state);
    }
    wakers.into_iter().for_each(Waker::wake);
    Turn { timeout, ended }
}

fn log_control(kind: ControlKind, text: &[u8]) {
    let text = String::from_utf8_lossy(text.get(..800).unwrap_or(text));
    let text = cabled_wire::WireError::excerpt(text.trim_end_matches(['\0', '\n', '\r', ' ']));
    match kind {
        ControlKind::Error | ControlKind::Warning => tracing::warn!(?kind, text, "the device says"),
        ControlKind::Information | ControlKind::Other(_) => tracing::debug!(?kind, text, "the device says"),
    }
}

/// One write, or the flush behind the last one. Dropping the future loses nothing.
async fn push(writer: &mut (impl AsyncWrite + Unpin), out: &mut BytesMut, unflushed: &mut bool) -> io::Result<()> {
    if out.is_empty() {
        writer.flush().await?;
        *unflushed = false;
    } else if writer.write_buf(out).await? == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    } else {
        *unflushed = true;
    }
    Ok(())
}

/// Pumps: everything to be sent out, then waits for bytes, time or a command, and feeds that one thing in.
async fn run(shared: Arc<Shared>, link: impl Stream) {
    let (mut reader, mut writer) = tokio::io::split(link);
    let mut input = BytesMut::with_capacity(READ);
    let mut out = BytesMut::new();
    let mut unflushed = false;
    let sleep = sleep_until(Instant::now());
    tokio::pin!(sleep);
    loop {
        let Turn { timeout, ended } = turn(&shared, &mut input, &mut out);
        if ended {
            break;
        }
        if let Some(at) = timeout.filter(|at| *at != sleep.deadline()) {
            sleep.as_mut().reset(at);
        }
        if input.capacity().saturating_sub(input.len()) < READ / 4 {
            input.reserve(READ);
        }
        let result = tokio::select! {
            read = reader.read_buf(&mut input) => match read {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            },
            pushed = push(&mut writer, &mut out, &mut unflushed), if !out.is_empty() || unflushed => pushed,
            () = shared.wake.notified() => Ok(()),
            () = &mut sleep, if timeout.is_some() => Ok(()),
        };
        if let Err(error) = result {
            tracing::debug!(%error, "the link to the device ended");
            shared.lock().mux.handle_link_lost(now());
        }
    }
    // Whoever looks later finds the failure, not a link that is starting for ever.
    shared.link.send_if_modified(|state| {
        let running = !matches!(state, LinkState::Failed(_));
        if running {
            *state = LinkState::Failed(Failure::Link);
        }
        running
    });
}
