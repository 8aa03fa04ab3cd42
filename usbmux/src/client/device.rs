//! One device behind a daemon.

use std::io;

use cabled_wire::ids::Udid;
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use tokio::time::timeout;

use super::{Daemon, socket};
use crate::device::{AttachedDevice, ConnectionKind};
use crate::error::DaemonError;

/// A device that a daemon has attached; connections go through the daemon.
///
/// A network device that the daemon lists but does not connect to is reached directly at its address. The attachment is
/// void after a re-plug: [`ConnectError::Gone`] then, and [`Daemon::find`] gives the new one.
#[derive(Clone, Debug)]
pub struct DaemonDevice {
    daemon: Daemon,
    device: AttachedDevice,
}

impl DaemonDevice {
    pub(super) fn new(daemon: Daemon, device: AttachedDevice) -> Self {
        Self { daemon, device }
    }

    /// The attachment.
    #[must_use]
    pub fn attached(&self) -> &AttachedDevice {
        &self.device
    }

    /// The daemon that has it.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    async fn open(&self, port: u16) -> Result<BoxStream, ConnectError> {
        let refused = match self.daemon.connect(self.device.id, port).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        // A daemon that is gone will not have meant the device.
        let about_device = matches!(
            refused,
            DaemonError::ConnectionRefused { .. }
                | DaemonError::BadDevice { .. }
                | DaemonError::Refused { .. }
                | DaemonError::TimedOut { .. }
        );
        let ConnectionKind::Network(network) = &self.device.connection else {
            return Err(refused.into());
        };
        let Some(address) = network.address.socket_addr(port).ok().filter(|_| about_device) else {
            return Err(refused.into());
        };
        tracing::debug!(%address, %refused, "the daemon does not connect to this network device; trying directly");
        let after = self.daemon.connect_deadline;
        match timeout(after, socket::tcp(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(ConnectError::Refused { port }),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ConnectError::TimedOut {
                phase: "connecting over the network",
                after,
            }),
        }
    }
}

impl Connect for DaemonDevice {
    /// Gives up after the daemon's deadline for `Connect` (15 s), for a network device after as much again.
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(self.open(port))
    }

    fn udid(&self) -> Option<&Udid> {
        Some(&self.device.udid)
    }

    fn is_network(&self) -> bool {
        matches!(self.device.connection, ConnectionKind::Network(_))
    }
}
