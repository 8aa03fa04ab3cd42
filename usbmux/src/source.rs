//! Where devices come from: a USB bus, a daemon, the network, the phones of a test.

use cabled_wire::ids::DeviceId;
use cabled_wire::io::{BoxFuture, BoxStream, ConnectError};
use tokio::sync::broadcast;

use crate::AttachedDevice;

/// Devices that come and go. What a [`Server`](crate::server::Server) offers, and what one view of all devices is made
/// of.
pub trait DeviceSource: Send + Sync + 'static {
    /// The devices attached now, each with an id that this source never uses again.
    fn list(&self) -> Vec<AttachedDevice>;

    /// What happens from now on. A receiver that lags behind is brought up to date with [`DeviceSource::list`].
    fn watch(&self) -> broadcast::Receiver<SourceEvent>;

    /// A byte stream to a port of a device. The future may be dropped at any time; a server drops it after four seconds.
    fn connect(&self, device: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>>;

    /// What keeps devices that are there from being listed, now.
    fn troubles(&self) -> Vec<Trouble> {
        Vec::new()
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
        /// The device, in words: bus, address, product.
        device: String,
        /// The device node.
        node: String,
    },
    /// Another program holds the multiplexer's interface.
    #[error(
        "{device} is in use by {}; reach it through that daemon's socket, or stop the daemon",
        owner.as_deref().unwrap_or("another program, most likely usbmuxd")
    )]
    Busy {
        /// The device, in words.
        device: String,
        /// Who holds it, where the system tells.
        owner: Option<String>,
    },
    /// Windows: no driver that programs can use is bound to the device.
    #[error("{device} has no usable driver; install the Apple Devices app and reach the device through its service")]
    NoDriver {
        /// The device, in words.
        device: String,
    },
    /// No configuration of the device has the multiplexer, and it refused to switch to one that has.
    #[error("{device} offers no multiplexer in any of its {configurations} configurations; plug it in again")]
    NoMultiplexer {
        /// The device, in words.
        device: String,
        /// How many configurations it has.
        configurations: u8,
    },
    /// The device is in a mode that does not speak this protocol.
    #[error("{device} is in {mode} mode; restart it normally to reach its data")]
    WrongMode {
        /// The device, in words.
        device: String,
        /// `recovery` or `DFU`.
        mode: &'static str,
    },
    /// The device did not answer the version exchange.
    #[error("{device} does not answer; unlock it, or plug it in again")]
    Silent {
        /// The device, in words.
        device: String,
    },
    /// Anything else that the system or the device said while it was being opened.
    #[error("{device} could not be opened: {reason}")]
    Failed {
        /// The device, in words.
        device: String,
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
}
