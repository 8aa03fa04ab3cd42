//! Where devices come from: a USB bus, a daemon, the network, the phones of a test.

pub(crate) mod followed;

use std::fmt;

use cabled_wire::ids::{DeviceId, Udid};
use cabled_wire::io::{BoxFuture, BoxStream, ConnectError};
use tokio::sync::broadcast;

use crate::AttachedDevice;

/// Devices that come and go. What a [`Server`](crate::server::Server) offers, and what one view of all devices is made
/// of.
pub trait DeviceSource: Send + Sync + 'static {
    /// The devices attached now, each with an id that this source never uses again.
    fn list(&self) -> Vec<AttachedDevice>;

    /// What happens from now on. A receiver that lags behind is brought up to date with [`DeviceSource::list`], which is
    /// never behind the events that were sent.
    fn watch(&self) -> broadcast::Receiver<SourceEvent>;

    /// A byte stream to a port of a device. The future may be dropped at any time; a server drops it after four seconds.
    fn connect(&self, device: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>>;

    /// What keeps devices that are there from being listed, now. Every trouble is here as long as it lasts: events only
    /// say that one came or went.
    fn troubles(&self) -> Vec<Trouble> {
        Vec::new()
    }

    /// Waits until the source has looked once, or found that it cannot; whatever was there is then listed. A source that
    /// always knows its devices is settled from the start. The future may be dropped at any time.
    fn settled(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// What happens to a source's devices.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SourceEvent {
    /// A device was plugged in.
    Attached(AttachedDevice),
    /// What is known about an attached device changed: its speed, its address.
    Changed(AttachedDevice),
    /// It was pulled out; its streams end.
    Detached(DeviceId),
    /// A pair record was stored for it: whoever keeps one reads it again.
    Paired(DeviceId),
    /// A device is there and cannot be used, or a source sees nothing at all. A person has to act.
    Trouble(Trouble),
    /// A trouble is over: the device was opened after all, or pulled out; the source works again.
    Cleared(Trouble),
}

/// A device that is there and not attached: what is known of it without opening it.
///
/// ```
/// use cabled_usbmux::UnattachedDevice;
///
/// let device = UnattachedDevice::new("iPhone at bus 3, address 7").with_udid("00008030-001A2B3C4D5E6F70".parse()?);
/// assert_eq!(device.to_string(), "iPhone at bus 3, address 7");
/// # Ok::<(), cabled_wire::WireError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnattachedDevice {
    /// In words: product, bus, address.
    pub words: String,
    /// Which one it is, where the system tells without opening it. A trouble of a device that another source has is none
    /// for a person, and this is how the two are known to be one.
    pub udid: Option<Udid>,
}

impl UnattachedDevice {
    /// A device of which only these words are known.
    #[must_use]
    pub fn new(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            udid: None,
        }
    }

    /// Sets which device it is (default: not known).
    #[must_use]
    pub fn with_udid(mut self, udid: Udid) -> Self {
        self.udid = Some(udid);
        self
    }
}

impl fmt::Display for UnattachedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.words)
    }
}

/// Why a device that is there is not attached, or why a source sees none. The texts say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The system does not let this user open the device.
    #[error(
        "no permission to open {node} ({device}); install the udev rule from the documentation of cabled_usbmux::usb \
         and plug the device in again, or run as root"
    )]
    NoPermission {
        /// The device.
        device: UnattachedDevice,
        /// The device node.
        node: String,
    },
    /// Another program holds the multiplexer's interface.
    #[error(
        "{device} is in use by {}; reach it through that daemon's socket, or stop the daemon",
        owner.as_deref().unwrap_or("another program, most likely usbmuxd")
    )]
    Busy {
        /// The device.
        device: UnattachedDevice,
        /// Who holds it, where the system tells.
        owner: Option<String>,
    },
    /// Windows: no driver that programs can use is bound to the device.
    #[error("{device} has no usable driver; install the Apple Devices app and reach the device through its service")]
    NoDriver {
        /// The device.
        device: UnattachedDevice,
    },
    /// No configuration of the device has the multiplexer, and it refused to switch to one that has.
    #[error("{device} offers no multiplexer in any of its {configurations} configurations; plug it in again")]
    NoMultiplexer {
        /// The device.
        device: UnattachedDevice,
        /// How many configurations it has.
        configurations: u8,
    },
    /// The device is in a mode that does not speak this protocol.
    #[error("{device} is in {mode} mode; restart it normally to reach its data")]
    WrongMode {
        /// The device.
        device: UnattachedDevice,
        /// `recovery` or `DFU`.
        mode: &'static str,
    },
    /// The device did not answer the version exchange.
    #[error("{device} does not answer; unlock it, or plug it in again")]
    Silent {
        /// The device.
        device: UnattachedDevice,
    },
    /// Anything else that the system or the device said while it was being opened.
    #[error("{device} could not be opened: {reason}")]
    Failed {
        /// The device.
        device: UnattachedDevice,
        /// What was said.
        reason: String,
    },
    /// A whole source does not work, for instance a daemon that is not running.
    #[error("no devices from {origin}: {reason}")]
    NoSource {
        /// Which source.
        origin: String,
        /// Why.
        reason: String,
    },
    /// A source has more devices than are listed. No computer has as many: it is broken, or hostile.
    #[error("{origin} names more than {limit} devices; the rest is not listed")]
    TooManyDevices {
        /// Which source.
        origin: String,
        /// How many are listed.
        limit: usize,
    },
}

impl Trouble {
    /// The device it is about; `None` when a whole source is meant.
    #[must_use]
    pub fn device(&self) -> Option<&UnattachedDevice> {
        match self {
            Self::NoPermission { device, .. }
            | Self::Busy { device, .. }
            | Self::NoDriver { device }
            | Self::NoMultiplexer { device, .. }
            | Self::WrongMode { device, .. }
            | Self::Silent { device }
            | Self::Failed { device, .. } => Some(device),
            Self::NoSource { .. } | Self::TooManyDevices { .. } => None,
        }
    }
}
