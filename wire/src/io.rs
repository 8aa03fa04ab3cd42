//! The seam between what carries bytes to a device and what speaks to it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::ids::Udid;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A byte stream of any kind: socket, multiplexed connection, TLS, memory.
pub type BoxStream = Box<dyn Stream>;

/// A future behind a pointer, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One device, whatever carries bytes to it: a multiplexer daemon, our own multiplexer, the network, memory.
pub trait Connect: Send + Sync + fmt::Debug {
    /// Opens a byte stream to a port of the device.
    ///
    /// Implementations set their own deadline and name the phase in [`ConnectError::TimedOut`]; the future may be
    /// dropped at any time.
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>>;

    /// The device's identifier, where the transport knows it.
    fn udid(&self) -> Option<&Udid>;

    /// Whether the device is reached over a network: it then wants a heartbeat and refuses to pair.
    fn is_network(&self) -> bool {
        false
    }
}

/// No stream to the device's port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The device has nothing listening there.
    #[error("the device refused a connection to its port {port}")]
    Refused {
        /// The port.
        port: u16,
    },
    /// The device is not there any more.
    #[error("the device is gone; plug it in again")]
    Gone,
    /// Nothing happened in time.
    #[error("no answer while {phase} for {} seconds; is the device awake and the cable good?", after.as_secs_f32())]
    TimedOut {
        /// What was being waited for.
        phase: &'static str,
        /// How long.
        after: Duration,
    },
    /// The multiplexer daemon refused with a code of its own.
    #[error("the usbmux daemon refused the connection with code {code}")]
    Daemon {
        /// Its result code (usbmux, section 3).
        code: u32,
    },
    /// The link to the daemon or to the device failed.
    #[error("the link to the device broke")]
    Io(#[from] std::io::Error),
}
