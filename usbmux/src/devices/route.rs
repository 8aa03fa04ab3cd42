//! The ways to a device.

use std::fmt;

use cabled_wire::ids::DeviceId;

use crate::{AttachedDevice, ConnectionKind, DaemonAddr};

/// Which kind of source an attachment comes from. The earlier in this list, the better where a device has several.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// This program's own multiplexer on the USB ports.
    Usb,
    /// A source that the program brought along, such as virtual phones.
    Own,
    /// A daemon at this address.
    Daemon(DaemonAddr),
    /// This program's own look at the network.
    Network,
}

impl Origin {
    /// Better ones first; the order of what is neither better nor worse is that of the sources.
    fn rank(&self) -> u8 {
        match self {
            Self::Usb => 0,
            Self::Own => 1,
            Self::Network => 2,
            Self::Daemon(_) => 3,
        }
    }

    /// Whether a device on a cable can be expected from here.
    pub(super) fn has_cables(&self) -> bool {
        !matches!(self, Self::Network)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usb => f.write_str("own USB"),
            Self::Own => f.write_str("own source"),
            Self::Daemon(address) => write!(f, "daemon at {address}"),
            Self::Network => f.write_str("own network"),
        }
    }
}

/// What carries the bytes. The earlier in this list, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Way {
    /// A cable: fast, needs no heartbeat, and the only way to pair.
    Cable,
    /// The network. Services need a heartbeat and a device may fall asleep.
    Network,
    /// A connection type that a daemon names and this version does not know.
    Other,
}

impl Way {
    pub(super) const ALL: [Self; 3] = [Self::Cable, Self::Network, Self::Other];

    pub(super) fn of(device: &AttachedDevice) -> Self {
        match device.connection {
            ConnectionKind::Usb(_) => Self::Cable,
            ConnectionKind::Network(_) => Self::Network,
            ConnectionKind::Other(_) => Self::Other,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cable => "cable",
            Self::Network => "network",
            Self::Other => "other",
        })
    }
}

/// One way to a device: as one source has it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Attachment {
    /// Where it was found.
    pub origin: Origin,
    /// What the source tells, with the source's own id.
    pub device: AttachedDevice,
    /// Which of the sources, in the order of the builder.
    pub(super) source: usize,
}

impl Attachment {
    /// What carries the bytes.
    #[must_use]
    pub fn way(&self) -> Way {
        Way::of(&self.device)
    }

    /// Unique for all time: sources never use an id again.
    pub(super) fn key(&self) -> (usize, DeviceId) {
        (self.source, self.device.id)
    }

    /// Sorts the best way first: a cable before the network, our own sources before a daemon's.
    pub(super) fn preference(&self) -> (Way, u8, usize, DeviceId) {
        (self.way(), self.origin.rank(), self.source, self.device.id)
    }
}

impl fmt::Display for Attachment {
    /// `cable (own USB)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.way(), self.origin)
    }
}
