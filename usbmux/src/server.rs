//! Offers devices to other programs, as the daemon does.
//!
//! A [`Server`] speaks both versions of the client protocol on any number of TCP and UNIX sockets and gets its devices
//! from a [`DeviceSource`]. Other people's clients find it through `USBMUXD_SOCKET_ADDRESS=127.0.0.1:PORT`.
//!
//! Recorded behaviour of usbmuxd 1.1.1 is kept (usbmux, section 3), with one difference: where that daemon stays silent
//! (no message type, no property list, a binary one) this one answers result 1, so that nobody waits for a deadline.

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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use listener::bind_tcp;
#[cfg(unix)]
pub use listener::{UnixSocket, bind_unix};

use crate::msg::ClientInfo;
use crate::source::DeviceSource;
use crate::store::PairRecordStore;

/// Limits of a [`Server`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerOptions {
    /// How long a device may take to accept a connection. libusbmuxd gives up after 5 s.
    pub connect_limit: Duration,
    /// How long the rest of a message may take once its first byte is there.
    pub message_limit: Duration,
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
    while let Some(permit) = clients.next().await {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    tracing::debug!(%peer, "client connected");
                    // Answers are small and waited for.
                    let _ = stream.set_nodelay(true);
                    clients.start(stream, permit);
                }
                Err(error) => clients.failed(&error).await,
            },
            () = clients.stopped() => break,
        }
    }
    drop(listener);
    clients.finish().await;
}

#[cfg(unix)]
async fn accept_unix(shared: Arc<Shared>, socket: UnixSocket, stopped: watch::Receiver<bool>) {
    let mut clients = Clients::new(shared, stopped);
    while let Some(permit) = clients.next().await {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok(stream) => clients.start(stream, permit),
                Err(error) => clients.failed(&error).await,
            },
            () = clients.stopped() => break,
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
}

impl Clients {
    fn new(shared: Arc<Shared>, stopped: watch::Receiver<bool>) -> Self {
        Self {
            shared,
            stopped,
            tasks: JoinSet::new(),
        }
    }

    /// A place for one more client, or `None` when the service ends.
    async fn next(&mut self) -> Option<OwnedSemaphorePermit> {
        while self.tasks.try_join_next().is_some() {}
        let mut stopped = self.stopped.clone();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => None,
            permit = Arc::clone(&self.shared.clients).acquire_owned() => permit.ok(),
        }
    }

    async fn stopped(&self) {
        // An error means that the handle is gone, which is the same.
        let _ = self.stopped.clone().wait_for(|stop| *stop).await;
    }

    fn start(&mut self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, permit: OwnedSemaphorePermit) {
        let (shared, mut stopped) = (Arc::clone(&self.shared), self.stopped.clone());
        let number = shared.next_client.fetch_add(1, Ordering::Relaxed);
        self.tasks.spawn(async move {
            tokio::select! {
                () = conversation::serve(shared, number, stream) => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
            drop(permit);
        });
    }

    /// Out of file handles, mostly: accepting again at once would only spin.
    async fn failed(&self, error: &io::Error) {
        tracing::warn!(%error, "a client could not be accepted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    async fn finish(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(self.shared.options.shutdown_limit, all).await.is_err() {
            tracing::warn!("some clients did not end in time");
        }
    }
}
