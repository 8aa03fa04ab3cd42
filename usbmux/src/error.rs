//! What can go wrong between a client and the daemon.

use std::io;
use std::time::Duration;

use cabled_wire::WireError;
use cabled_wire::ids::DeviceId;
use cabled_wire::io::ConnectError;

use crate::DaemonAddr;
use crate::msg::ResultCode;

/// A call to the usbmux daemon failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// Nobody listens at the address. On Linux the daemon is often started by plugging a device in.
    #[error("no usbmux daemon at {address}; plug the device in, or start the daemon and try again")]
    NoDaemon {
        /// Where we looked.
        address: DaemonAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The socket is there, and this user may not use it.
    #[error("no permission to talk to the usbmux daemon at {address}")]
    PermissionDenied {
        /// The socket.
        address: DaemonAddr,
    },
    /// This system has no sockets of that kind.
    #[error("this system has no UNIX sockets; use host:port instead of {address}")]
    Unsupported {
        /// The address that cannot be used here.
        address: DaemonAddr,
    },
    /// The connection to the daemon broke.
    #[error("the connection to the usbmux daemon broke while {phase}")]
    Io {
        /// What was going on.
        phase: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon closed the connection.
    #[error("the usbmux daemon closed the connection while {phase}")]
    Closed {
        /// What was going on.
        phase: &'static str,
    },
    /// No answer: daemons stay silent on messages they dislike.
    #[error("no answer from the usbmux daemon while {phase} for {} seconds", after.as_secs_f32())]
    TimedOut {
        /// What was being waited for.
        phase: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// Result 3: nothing listens on that port of the device, or the device went away while connecting.
    #[error("the device refused a connection to its port {port}")]
    ConnectionRefused {
        /// The port.
        port: u16,
    },
    /// Result 2: the daemon has no such device (any more).
    #[error("the usbmux daemon has no device {id}; it was unplugged, list the devices again")]
    BadDevice {
        /// The id.
        id: DeviceId,
    },
    /// Result 6: the daemon does not speak version 1 of the protocol.
    #[error("the usbmux daemon speaks only an older protocol; update it")]
    BadVersion,
    /// Any other refusal.
    #[error("the usbmux daemon refused {request} with result {code}")]
    Refused {
        /// `MessageType` of the request.
        request: &'static str,
        /// Its code.
        code: ResultCode,
    },
    /// A message that does not fit the request.
    #[error("the usbmux daemon answered {request} with something else")]
    Unexpected {
        /// `MessageType` of the request.
        request: &'static str,
    },
    /// The record is too large for the daemons in use.
    #[error("a pair record of {bytes} bytes is more than daemons accept")]
    RecordTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// What arrived is not the daemon's protocol.
    #[error("the usbmux daemon's answer is malformed")]
    Wire(#[from] WireError),
}

impl DaemonError {
    /// Whether plugging the device in, or starting the daemon, is what would help.
    #[must_use]
    pub fn is_no_daemon(&self) -> bool {
        matches!(self, Self::NoDaemon { .. })
    }
}

impl From<DaemonError> for ConnectError {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::ConnectionRefused { port } => Self::Refused { port },
            DaemonError::BadDevice { .. } => Self::Gone,
            DaemonError::TimedOut { phase, after } => Self::TimedOut { phase, after },
            DaemonError::Refused { code, .. } => Self::Daemon { code: code.into() },
            DaemonError::BadVersion => Self::Daemon {
                code: ResultCode::BadVersion.into(),
            },
            DaemonError::Io { source, .. } | DaemonError::NoDaemon { source, .. } => Self::Io(source),
            DaemonError::PermissionDenied { .. } => Self::Io(io::Error::new(io::ErrorKind::PermissionDenied, error)),
            DaemonError::Unsupported { .. } => Self::Io(io::Error::new(io::ErrorKind::Unsupported, error)),
            DaemonError::Closed { .. } => Self::Io(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
            DaemonError::Unexpected { .. } | DaemonError::Wire(_) | DaemonError::RecordTooLarge { .. } => {
                Self::Io(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }
}
