//! A daemon as a source of devices, whether it runs or not.

mod state;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use cabled_wire::ids::DeviceId;
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, timeout};

use super::{Daemon, Listener};
use crate::AttachedDevice;
use crate::error::DaemonError;
use crate::msg::Event;
use crate::retry::Retry;
use crate::source::followed::{Followed, Follower};
use crate::source::{DeviceSource, SourceEvent, Trouble};
use state::State;

/// How long the devices of a daemon that cannot list them are waited for, as other clients do. Spec: usbmux, section 1.2.
const FIRST_EVENTS: Duration = Duration::from_millis(100);

/// How a [`DaemonSource`] follows its daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DaemonSourceOptions {
    /// How long to wait before the daemon is looked for again, at first.
    pub first_retry: Duration,
    /// The same after many tries: each waits twice as long as the one before, up to this.
    pub last_retry: Duration,
    /// Devices kept; a daemon that names more is a [`Trouble::TooManyDevices`].
    pub device_limit: usize,
}

impl Default for DaemonSourceOptions {
    fn default() -> Self {
        Self {
            first_retry: Duration::from_millis(100),
            last_retry: Duration::from_secs(2),
            device_limit: 1024,
        }
    }
}

impl DaemonSourceOptions {
    /// Sets the shortest and the longest wait between two tries to reach the daemon (default 100 ms and 2 s).
    #[must_use]
    pub fn with_retry(mut self, first: Duration, last: Duration) -> Self {
        (self.first_retry, self.last_retry) = (first, last.max(first));
        self
    }

    /// Sets how many devices are kept (default 1024).
    #[must_use]
    pub fn with_device_limit(mut self, limit: usize) -> Self {
        self.device_limit = limit;
        self
    }
}

/// The devices of a daemon, followed for as long as this lives. Cheap to clone.
///
/// Keeps one listening connection. A daemon that is not there is looked for again and again, less and less often (every
/// 2 s at last): on Linux it is started by plugging a device in, and exits with the last device. Until it is back its
/// devices are gone and there is a [`Trouble::NoSource`]. Ids are this source's own, as a daemon starts over at 1.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use cabled_usbmux::{Daemon, DaemonAddr, DaemonSource, DeviceSource};
///
/// let source = DaemonSource::start(Daemon::new(DaemonAddr::from_env()?));
/// source.settled().await;
/// for device in source.list() {
///     println!("{}", device.udid);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DaemonSource {
    shared: Arc<Shared>,
    _follower: Arc<Follower>,
}

struct Shared {
    daemon: Daemon,
    options: DaemonSourceOptions,
    followed: Followed<State>,
}

impl DaemonSource {
    /// Follows a daemon. Starts a task in the current tokio runtime, which ends with the last clone.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(daemon: Daemon) -> Self {
        Self::with_options(daemon, DaemonSourceOptions::default())
    }

    /// As [`DaemonSource::start`], with other limits.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn with_options(daemon: Daemon, options: DaemonSourceOptions) -> Self {
        let origin = format!("the daemon at {}", daemon.address());
        let shared = Arc::new(Shared {
            daemon,
            options,
            followed: Followed::new(State::new(origin, options.device_limit)),
        });
        let follower = Follower::spawn(follow(Arc::clone(&shared)));
        Self {
            shared,
            _follower: Arc::new(follower),
        }
    }

    /// The daemon.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.shared.daemon
    }

    /// The device behind an id of this source, as the daemon knows it: with the daemon's own id.
    #[must_use]
    pub fn at_daemon(&self, device: DeviceId) -> Option<AttachedDevice> {
        self.shared.followed.state().at_daemon(device)
    }
}

impl DeviceSource for DaemonSource {
    fn list(&self) -> Vec<AttachedDevice> {
        self.shared.followed.state().list()
    }

    fn watch(&self) -> broadcast::Receiver<SourceEvent> {
        self.shared.followed.watch()
    }

    /// Through the daemon, a network device directly where the daemon does not connect to it.
    fn connect(&self, device: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move {
            let at_daemon = self.at_daemon(device).ok_or(ConnectError::Gone)?;
            match self.shared.daemon.device(&at_daemon).connect(port).await {
                // The daemon went and took the device with it; its listening connection will say so in a moment.
                Err(ConnectError::Io(error)) if is_no_daemon(&error) => Err(ConnectError::Gone),
                Err(ConnectError::Io(_)) if self.at_daemon(device).is_none() => Err(ConnectError::Gone),
                connected => connected,
            }
        })
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.shared.followed.state().troubles().cloned().collect()
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.followed.settled())
    }
}

/// What [`Daemon`] makes of nobody listening; a device that refuses has an error of its own.
fn is_no_daemon(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

impl Shared {
    /// One listening connection, from its first answer to its end.
    async fn listen(&self) -> DaemonError {
        let mut listener = match self.daemon.listen().await {
            Ok(listener) => listener,
            Err(error) => return error,
        };
        // Asked after `Listen` and taken before its events: what is told twice does no harm, and nothing is lost.
        match self.daemon.list().await {
            Ok(devices) => self.followed.update(|state| state.handle_daemon(devices)),
            Err(error @ (DaemonError::NoDaemon { .. } | DaemonError::PermissionDenied { .. })) => return error,
            Err(error) => {
                tracing::debug!(%error, "this daemon does not list; its first events have to do");
                self.followed.update(|state| state.handle_daemon(Vec::new()));
                // The first events come at once, one for each device.
                if let Ok(ended) = timeout(FIRST_EVENTS, self.relay(&mut listener)).await {
                    return ended;
                }
            }
        }
        self.followed.settle();
        self.relay(&mut listener).await
    }

    /// Dropping the future loses no event.
    async fn relay(&self, listener: &mut Listener) -> DaemonError {
        let phase = "waiting for events";
        loop {
            match listener.next().await {
                Ok(Some(Event::Attached(device))) => self.followed.update(|state| state.handle_attached(device)),
                Ok(Some(Event::Detached(id))) => self.followed.update(|state| state.handle_detached(id)),
                Ok(Some(Event::Paired(id))) => self.followed.update(|state| state.handle_paired(id)),
                Ok(None) => return DaemonError::Closed { phase },
                Err(error) => return error,
            }
        }
    }
}

async fn follow(shared: Arc<Shared>) {
    let mut retry = Retry::new(shared.options.first_retry, shared.options.last_retry);
    loop {
        let since = Instant::now();
        let error = shared.listen().await;
        tracing::debug!(%error, "the daemon is not followed for now");
        shared.followed.update(|state| state.handle_lost(&error.to_string()));
        shared.followed.settle();
        sleep(retry.wait_after(since.elapsed())).await;
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("daemon", self.daemon.address())
            .field("state", &self.followed.state())
            .finish_non_exhaustive()
    }
}
