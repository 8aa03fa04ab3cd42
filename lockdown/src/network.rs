//! Devices on the network, and the heartbeat that keeps their services open.

use std::net::SocketAddr;
use std::time::Duration;

use cabled_wire::ids::Udid;
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::msg::LOCKDOWN_PORT;
use crate::options::Escrow;
use crate::paired::Paired;
use crate::services::heartbeat::{self, Ended, Heartbeat};

/// A device reached over TCP (spec: lockdown 10): its addresses come from mDNS, or from the user.
///
/// It cannot be paired this way (`PairingProhibitedOverThisConnection`), and it closes service connections after some
/// 15 seconds unless a [`HeartbeatTask`] runs.
#[derive(Clone, Debug)]
pub struct NetworkDevice {
    udid: Option<Udid>,
    addresses: Vec<SocketAddr>,
    limit: Duration,
}

impl NetworkDevice {
    /// A device at one of some addresses, tried in this order: put IPv4 first, link-local IPv6 (with scope) last.
    ///
    /// The port of each address is that of lockdown, 62078 on real devices; services are at the same address on the
    /// ports that lockdown names.
    #[must_use]
    pub fn new(udid: Option<Udid>, addresses: Vec<SocketAddr>) -> Self {
        Self {
            udid,
            addresses,
            limit: Duration::from_secs(3),
        }
    }

    /// How long one address may take to accept a connection. Default: 3 seconds.
    #[must_use]
    pub fn connect_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    async fn open(&self, port: u16) -> Result<BoxStream, ConnectError> {
        let mut worst = ConnectError::Gone;
        for address in &self.addresses {
            let mut address = *address;
            if port != LOCKDOWN_PORT {
                address.set_port(port);
            }
            match tokio::time::timeout(self.limit, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(Box::new(stream));
                }
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    worst = ConnectError::Refused { port };
                }
                Ok(Err(error)) => worst = ConnectError::Io(error),
                Err(_) => {
                    worst = ConnectError::TimedOut {
                        phase: "connecting over the network",
                        after: self.limit,
                    }
                }
            }
            tracing::debug!(%address, error = %worst, "no connection");
        }
        Err(worst)
    }
}

impl Connect for NetworkDevice {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(self.open(port))
    }

    fn udid(&self) -> Option<&Udid> {
        self.udid.as_ref()
    }

    fn is_network(&self) -> bool {
        true
    }
}

/// Answers a network device's heartbeat until dropped. One per device is enough for all of its services.
#[derive(Debug)]
pub struct HeartbeatTask {
    task: JoinHandle<()>,
    ended: watch::Receiver<Option<Ended>>,
}

impl HeartbeatTask {
    /// Starts the service and a task that answers it.
    ///
    /// # Errors
    /// As [`Paired::start_service`].
    pub async fn start(paired: &Paired) -> Result<Self, Error> {
        let stream = paired.start_service(heartbeat::SERVICE, Escrow::IfNeeded).await?;
        let (tell, ended) = watch::channel(None);
        let task = tokio::spawn(async move {
            let why = Heartbeat::new(stream).run().await;
            tracing::debug!(?why, "the heartbeat ended");
            let _ = tell.send(Some(why)); // nobody may be listening any more
        });
        Ok(Self { task, ended })
    }

    /// Waits until the heartbeat ends, and says why: from then on the device closes its services. Safe to drop.
    pub async fn ended(&mut self) -> Ended {
        match self.ended.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or(Ended::Closed),
            Err(_) => Ended::Closed, // the runtime shut the task down
        }
    }
}

impl Drop for HeartbeatTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}
