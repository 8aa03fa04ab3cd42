//! Starts the core on a link and gives connections as byte streams.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use cabled_wire::io::{ConnectError, Stream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::link::FrameLink;
use super::pump::{ByteCarrier, Carrier, FrameCarrier, Pump};
use super::{CONNECT_DEADLINE, CloseReason, ConnectionId, Failure, Mux, MuxError, MuxOptions, MuxStream};

/// Starts the task that runs a [`Mux`] over a link.
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
    pub(super) abandoned: bool,
    /// The task that runs the core, to be woken when the core has work for it.
    driver: Option<Waker>,
}

#[derive(Default)]
pub(super) struct Wakers {
    pub(super) read: Option<Waker>,
    pub(super) write: Option<Waker>,
}

pub(super) struct Shared {
    inner: Mutex<Inner>,
    pub(super) link: watch::Sender<LinkState>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held is a bug elsewhere; the state itself is consistent after every call.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the driver if the core has work for it.
    pub(super) fn nudge(&self, inner: MutexGuard<'_, Inner>) {
        if inner.mux.wants_driver() {
            self.wake(inner);
        }
    }

    /// Wakes the driver, outside the lock that it wants next.
    fn wake(&self, mut inner: MutexGuard<'_, Inner>) {
        let driver = inner.driver.take();
        drop(inner);
        driver.into_iter().for_each(Waker::wake);
    }

    /// Wakes the driver's task from now on.
    pub(super) fn drive(&self, cx: &Context<'_>) {
        let mut inner = self.lock();
        if inner.driver.as_ref().is_none_or(|driver| !driver.will_wake(cx.waker())) {
            inner.driver = Some(cx.waker().clone());
        }
    }
}

/// Held by the handle and by every stream; the last one ends the driver.
pub(super) struct User(pub(super) Arc<Shared>);

impl Drop for User {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.abandoned = true;
        self.0.wake(inner);
    }
}

/// The current time, from the clock that tests can stop.
pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl MuxDriver {
    /// Runs a core over a byte stream, in a task that owns `link` until it ends or until the handle and all streams are
    /// dropped.
    ///
    /// Has to be called inside a tokio runtime. Connections wait for the version exchange by themselves. Frames that are
    /// ready together go out in one write, at most 256 KiB.
    pub fn spawn(link: impl Stream + 'static, options: MuxOptions) -> MuxHandle {
        start(ByteCarrier::new(link), options).0
    }

    /// As [`MuxDriver::spawn`] over a link that keeps the frames apart, as USB does.
    pub fn spawn_frames(link: impl FrameLink, options: MuxOptions) -> MuxHandle {
        start(FrameCarrier::new(link), options).0
    }
}

/// As [`MuxDriver::spawn_frames`], with the task that ends once the link is let go.
#[cfg(feature = "usb")]
pub(crate) fn start_frames(link: impl FrameLink, options: MuxOptions) -> (MuxHandle, JoinHandle<()>) {
    start(FrameCarrier::new(link), options)
}

/// Starts the pump; the task ends after the link was let go.
fn start(carrier: impl Carrier, options: MuxOptions) -> (MuxHandle, JoinHandle<()>) {
    let inner = Inner {
        mux: Mux::new(now(), options),
        waiting: HashMap::new(),
        abandoned: false,
        driver: None,
    };
    let shared = Arc::new(Shared {
        inner: Mutex::new(inner),
        link: watch::Sender::new(LinkState::Starting),
    });
    let task = tokio::spawn(Pump::new(Arc::clone(&shared), carrier));
    let handle = MuxHandle {
        user: Arc::new(User(shared)),
    };
    (handle, task)
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
        self.shared().wake(inner);
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
