//! The multiplexer itself, host side: many byte streams to one device over one link.
//!
//! [`Mux`] is the core and does no I/O: bytes, time and commands go in, frames and events come out. [`MuxDriver`] runs
//! it over any byte link and gives connections as byte streams. [`frame`] is the codec, which the device side shares.
//! Spec: usbmux, sections 8 to 10.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use bytes::BytesMut;
//! use cabled_usbmux::mux::frame::Frame;
//! use cabled_usbmux::mux::{Event, Mux, MuxOptions};
//!
//! let now = Instant::now();
//! let mut mux = Mux::new(now, MuxOptions::default());
//! let mut wire = BytesMut::new();
//! mux.poll_transmit(&mut wire).expect("the host speaks first");
//! assert_eq!(wire.len(), 20);
//!
//! let mut answer = BytesMut::new();
//! Frame::Version { major: 2, minor: 0 }.encode(None, &mut answer);
//! mux.handle_input(now, &mut answer);
//! assert_eq!(mux.poll_event(), Some(Event::Ready { version: 2 }));
//! let connection = mux.connect(now, 62078, Duration::from_secs(10))?;
//! # let _ = connection;
//! # Ok::<(), cabled_usbmux::mux::MuxError>(())
//! ```

mod connection;
mod device;
mod driver;
pub mod frame;
pub mod link;
mod machine;
mod ports;
mod pump;
mod queue;
mod slots;
mod stream;
mod timers;

use std::fmt;
use std::time::Duration;

use cabled_wire::WireError;

pub use device::MuxDevice;
#[cfg(feature = "usb")]
pub(crate) use driver::start_frames;
pub use driver::{MuxDriver, MuxHandle};
pub use machine::{Event, Mux, Stats};
pub use stream::{DeviceGone, MuxStream};

use frame::Flags;

/// How long a caller's `connect` waits for the device by default. A device new to a host may need up to 30 s.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How the host side behaves; the defaults suit every device. Spec: usbmux, section 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MuxOptions {
    /// Largest frame sent, header included, in bytes.
    pub max_frame: usize,
    /// Bytes a connection holds for its reader; the window offered to the device is what is left of it.
    pub receive_buffer: usize,
    /// Bytes a connection holds for the device.
    pub send_buffer: usize,
    /// Connections at one time, those that are still draining included.
    pub max_connections: usize,
    /// How long bytes may still go out after a close.
    pub drain_limit: Duration,
    /// How long the device may take to answer VERSION; asked three times.
    pub version_limit: Duration,
    /// Sequence number of a SYN. Only tests want another than 0.
    pub initial_sequence: u32,
}

impl Default for MuxOptions {
    fn default() -> Self {
        Self {
            max_frame: 32_752,
            receive_buffer: 256 << 10,
            send_buffer: 256 << 10,
            max_connections: 1024,
            drain_limit: Duration::from_secs(5),
            version_limit: Duration::from_secs(5),
            initial_sequence: 0,
        }
    }
}

impl MuxOptions {
    /// Sets the largest frame sent, in bytes (default 32752); held between 64 and 49152.
    #[must_use]
    pub fn with_max_frame(mut self, bytes: usize) -> Self {
        self.max_frame = bytes.clamp(64, 49_152);
        self
    }

    /// Sets the receive buffer per connection, in bytes (default 256 KiB); held between 1 KiB and 16 MiB.
    #[must_use]
    pub fn with_receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes.clamp(1 << 10, 16 << 20);
        self
    }

    /// Sets the send buffer per connection, in bytes (default 256 KiB); held between 1 KiB and 16 MiB.
    #[must_use]
    pub fn with_send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = bytes.clamp(1 << 10, 16 << 20);
        self
    }

    /// Sets how many connections may exist at one time (default 1024).
    #[must_use]
    pub fn with_max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets how long bytes may go out after a close (default 5 s).
    #[must_use]
    pub fn with_drain_limit(mut self, limit: Duration) -> Self {
        self.drain_limit = limit;
        self
    }

    /// Sets how long one VERSION waits for its answer (default 5 s).
    #[must_use]
    pub fn with_version_limit(mut self, limit: Duration) -> Self {
        self.version_limit = limit;
        self
    }

    /// Sets the sequence number of SYN (default 0), to test the wrap of sequence numbers.
    #[must_use]
    pub fn with_initial_sequence(mut self, seq: u32) -> Self {
        self.initial_sequence = seq;
        self
    }
}

/// Names one connection of one [`Mux`]; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    serial: u64,
    /// Where it is kept; places are used again.
    place: usize,
}

/// The multiplexer cannot open a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MuxError {
    /// The device has not answered VERSION yet.
    #[error("the device has not answered the version exchange yet")]
    NotReady,
    /// The link is unusable.
    #[error("the link to the device is gone: {0}")]
    Failed(Failure),
    /// The caller has too many connections open.
    #[error("{limit} connections to this device are open already; close some")]
    TooManyConnections {
        /// The limit.
        limit: usize,
    },
    /// All source ports are in use or were in the last ten seconds.
    #[error("no source port is free; connections are opened and closed too fast")]
    NoPort,
}

/// Why a link is unusable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The device never answered VERSION.
    NoVersion,
    /// It speaks a version that we do not.
    Version {
        /// What it speaks.
        major: u32,
    },
    /// A frame whose length cannot be: nobody knows where the next one starts.
    Frame(WireError),
    /// The link itself ended or broke.
    Link,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVersion => f.write_str("the device does not answer; plug it in again"),
            Self::Version { major } => write!(f, "the device speaks version {major} of the multiplexer"),
            Self::Frame(error) => write!(f, "the device sent a frame that cannot be ({error})"),
            Self::Link => f.write_str("the device was unplugged"),
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The device has nothing on that port; `text` is what it said, often nothing.
    Refused {
        /// The device's words.
        text: String,
    },
    /// The device ended it, orderly or not: the protocol has only this one way.
    Reset {
        /// The device's words.
        text: String,
    },
    /// The device did not answer SYN.
    TimedOut,
    /// We closed it.
    Local,
    /// The device broke the protocol.
    Protocol(Violation),
    /// The link to the device is gone.
    Failed(Failure),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { text } if text.is_empty() => f.write_str("the device refused the connection"),
            Self::Refused { text } => write!(f, "the device refused the connection: {text}"),
            Self::Reset { text } if text.is_empty() => f.write_str("the device closed the connection"),
            Self::Reset { text } => write!(f, "the device closed the connection: {text}"),
            Self::TimedOut => f.write_str("the device did not answer"),
            Self::Local => f.write_str("closed"),
            Self::Protocol(violation) => write!(f, "the device broke the protocol: {violation}"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

/// How a device broke the protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// Neither an acceptance nor a refusal answered our SYN.
    Handshake {
        /// What came instead.
        flags: Flags,
    },
    /// Flags that no frame of an open connection has.
    Flags {
        /// The flags.
        flags: Flags,
    },
    /// Bytes are missing or overlap: the link is reliable, so somebody counts wrong.
    Sequence {
        /// The number that had to come.
        expected: u32,
        /// The number that came.
        got: u32,
    },
    /// More bytes than the window allowed.
    Window {
        /// Room there was.
        room: usize,
        /// Bytes that came.
        got: usize,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake { flags } => write!(f, "it answered SYN with {flags:?}"),
            Self::Flags { flags } => write!(f, "flags {flags:?} in an open connection"),
            Self::Sequence { expected, got } => write!(f, "sequence number {got} instead of {expected}"),
            Self::Window { room, got } => write!(f, "{got} bytes where room was for {room}"),
        }
    }
}
