//! Offers devices to other programs, as the daemon does.
//!
//! A [`Server`] speaks both versions of the client protocol on any number of TCP and UNIX sockets and gets its devices
//! from a [`DeviceSource`]. Other people's clients find it through `USBMUXD_SOCKET_ADDRESS=127.0.0.1:PORT`.
//!
//! Recorded behaviour of usbmuxd 1.1.1 is kept (usbmux, section 3), with one difference: where that daemon stays silent
//! (no message type, no property list, a binary one) this one answers result 1, so that nobody waits for a deadline.
//!
//! A client holds one of [`ServerOptions::max_clients`] places while it is connected. It may be silent for as long as it
//! likes, and so may a connection to a device; but it loses its place when it stops in the middle of a message, does not
//! read what it is told, or is gone while the device takes none of its bytes.

mod conversation;
mod listen;
mod listener;
mod records;
mod tunnel;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cabled_wire::ids::DeviceId;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use listener::bind_tcp;
#[cfg(unix)]
pub use listener::{UnixSocket, bind_unix};

use crate::msg::ClientInfo;
use crate::source::DeviceSource;
use crate::store::PairRecordStore;
use crate::{AttachedDevice, ConnectionKind};
use tunnel::ClientSocket;

/// Between two attempts to accept a client when the system does not let us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of a [`Server`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerOptions {
    /// How long a device may take to accept a connection. libusbmuxd gives up after 5 s.
    pub connect_limit: Duration,
    /// How long the rest of a message may take once its first byte is there.
    pub message_limit: Duration,
    /// How long a client may take to read an answer or an event. Connections to a device have no such limit.
    pub send_limit: Duration,
    /// Clients served at one time; more wait.
    pub max_clients: usize,
    /// How long a shutdown waits for clients before it drops them.
    pub shutdown_limit: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connect_limit: Duration::from_secs(4),
            message_limit: Duration::from_secs(15),
            send_limit: Duration::from_secs(15),
            max_clients: 1024,
            shutdown_limit: Duration::from_secs(5),
        }
    }
}

impl ServerOptions {
    /// Sets how long a device may take to accept a connection (default 4 s).
    #[must_use]
    pub fn with_connect_limit(mut self, limit: Duration) -> Self {
        self.connect_limit = limit;
        self
    }

    /// Sets how many clients are served at one time (default 1024).
    #[must_use]
    pub fn with_max_clients(mut self, clients: usize) -> Self {
        self.max_clients = clients;
        self
    }

    /// Sets how long a client may take to read an answer or an event (default 15 s); then it is dropped.
    #[must_use]
    pub fn with_send_limit(mut self, limit: Duration) -> Self {
        self.send_limit = limit;
        self
    }

    /// Sets how long a shutdown waits for clients before it drops them (default 5 s).
    #[must_use]
    pub fn with_shutdown_limit(mut self, limit: Duration) -> Self {
        self.shutdown_limit = limit;
        self
    }

    /// Sets how long the rest of a message may take (default 15 s).
    #[must_use]
    pub fn with_message_limit(mut self, limit: Duration) -> Self {
        self.message_limit = limit;
        self
    }
}

/// A usbmux daemon for other programs. Cheap to clone; all clones serve the same devices.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    source: Arc<dyn DeviceSource>,
    store: PairRecordStore,
    options: ServerOptions,
    /// Devices whose pair record was saved, for everybody who listens.
    paired: broadcast::Sender<DeviceId>,
    listeners: Mutex<BTreeMap<u64, ClientInfo>>,
    next_client: AtomicU64,
    clients: Arc<Semaphore>,
}

impl Shared {
    fn listeners(&self) -> MutexGuard<'_, BTreeMap<u64, ClientInfo>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The devices that clients may hear of.
    fn devices(&self) -> Vec<AttachedDevice> {
        let mut devices = self.source.list();
        devices.retain(is_listable);
        devices
    }

    fn is_attached(&self, id: DeviceId) -> bool {
        self.devices().iter().any(|device| device.id == id)
    }
}

/// Whether clients can read the record of a device: libusbmuxd gives up the whole list over one that it cannot.
fn is_listable(device: &AttachedDevice) -> bool {
    match &device.connection {
        ConnectionKind::Usb(_) => true,
        ConnectionKind::Network(network) => network.address.socket_addr(0).is_ok(),
        ConnectionKind::Other(_) => false,
    }
}

impl Server {
    /// A server that serves nobody yet.
    #[must_use]
    pub fn new(source: Arc<dyn DeviceSource>, store: PairRecordStore) -> Self {
        Self::with_options(source, store, ServerOptions::default())
    }

    /// As [`Server::new`], with other limits.
    #[must_use]
    pub fn with_options(source: Arc<dyn DeviceSource>, store: PairRecordStore, options: ServerOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                source,
                store,
                options,
                paired: broadcast::Sender::new(64),
                listeners: Mutex::new(BTreeMap::new()),
                next_client: AtomicU64::new(1),
                clients: Arc::new(Semaphore::new(options.max_clients.min(Semaphore::MAX_PERMITS))),
            }),
        }
    }

    /// Serves a TCP socket, see [`bind_tcp`]. Only a loopback address is safe: every client can read all pair records.
    ///
    /// Starts a task in the current tokio runtime, which ends with the handle.
    ///
    /// # Errors
    /// When the socket has no address.
    pub fn serve_tcp(&self, listener: TcpListener) -> io::Result<Serving> {
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept_tcp(Arc::clone(&self.shared), listener, stopped));
        Ok(Serving {
            stop,
            task: Some(task),
            address: Some(address),
        })
    }

    /// Serves a UNIX socket; its file is removed at the end.
    ///
    /// Starts a task in the current tokio runtime, which ends with the handle.
    #[cfg(unix)]
    pub fn serve_unix(&self, socket: UnixSocket) -> Serving {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept_unix(Arc::clone(&self.shared), socket, stopped));
        Serving {
            stop,
            task: Some(task),
            address: None,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("store", &self.shared.store)
            .finish_non_exhaustive()
    }
}

/// A socket that is being served. Dropping it ends the service and all its connections at once.
#[derive(Debug)]
#[must_use = "dropping it ends the service"]
pub struct Serving {
    stop: watch::Sender<bool>,
    task: Option<tokio::task::JoinHandle<()>>,
    address: Option<SocketAddr>,
}

impl Serving {
    /// The TCP address, with the port that the system chose; `None` for a UNIX socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops accepting, ends all connections and waits until that is done (at most five seconds).
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::debug!(%error, "the accepting task failed");
        }
    }

    /// Waits until the service ends by itself, which only a broken socket does. Dropping the future ends it.
    pub async fn wait(mut self) {
        if let Some(task) = self.task.take() {
            // The task watches `stop`, which lives as long as `self`.
            let _ = task.await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn accept_tcp(shared: Arc<Shared>, listener: TcpListener, stopped: watch::Receiver<bool>) {
    let mut clients = Clients::new(shared, stopped);
    while let Some(accepted) = clients.unless_stopped(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                tracing::debug!(%peer, "client connected");
                // Answers are small and waited for.
                let _ = stream.set_nodelay(true);
                clients.start(stream).await;
            }
            Err(error) => clients.failed(&error).await,
        }
    }
    drop(listener);
    clients.finish().await;
}

#[cfg(unix)]
async fn accept_unix(shared: Arc<Shared>, socket: UnixSocket, stopped: watch::Receiver<bool>) {
    let mut clients = Clients::new(shared, stopped);
    while let Some(accepted) = clients.unless_stopped(socket.accept()).await {
        match accepted {
            Ok(stream) => clients.start(stream).await,
            Err(error) => clients.failed(&error).await,
        }
    }
    drop(socket);
    clients.finish().await;
}

/// The clients of one socket.
struct Clients {
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
    tasks: JoinSet<()>,
    /// The last attempt to accept a client failed.
    failing: bool,
}

impl Clients {
    fn new(shared: Arc<Shared>, stopped: watch::Receiver<bool>) -> Self {
        Self {
            shared,
            stopped,
            tasks: JoinSet::new(),
            failing: false,
        }
    }

    /// What comes of a future, or `None` when the service ends first.
    async fn unless_stopped<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            // An error means that the handle is gone, which is the same.
            _ = self.stopped.wait_for(|stop| *stop) => None,
            value = future => Some(value),
        }
    }

    /// Serves a client as soon as there is a place for it. Only one waits here, the others in the socket's backlog.
    async fn start(&mut self, stream: impl ClientSocket + 'static) {
        self.failing = false;
        while self.tasks.try_join_next().is_some() {}
        let places = Arc::clone(&self.shared.clients);
        let Some(Ok(place)) = self.unless_stopped(places.acquire_owned()).await else {
            return;
        };
        let (shared, mut stopped) = (Arc::clone(&self.shared), self.stopped.clone());
        let number = shared.next_client.fetch_add(1, Ordering::Relaxed);
        self.tasks.spawn(async move {
            tokio::select! {
                () = conversation::serve(shared, number, stream) => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
            drop(place);
        });
    }

    /// Out of file handles, mostly: accepting again at once would only spin.
    async fn failed(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "a client could not be accepted");
        }
        self.unless_stopped(sleep(ACCEPT_PAUSE)).await;
    }

    async fn finish(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(self.shared.options.shutdown_limit, all).await.is_err() {
            tracing::warn!("some clients did not end in time");
        }
    }
}
