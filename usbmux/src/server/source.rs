//! Where the server's devices come from.

use cabled_wire::ids::DeviceId;
use cabled_wire::io::{BoxFuture, BoxStream, ConnectError};
use tokio::sync::broadcast;

use crate::AttachedDevice;

/// Devices to be offered: a USB bus, the phones of a test, another daemon.
pub trait DeviceSource: Send + Sync + 'static {
    /// The devices attached now, each with an id that is never used again.
    fn list(&self) -> Vec<AttachedDevice>;

    /// What happens from now on. A receiver that lags behind is brought up to date with [`DeviceSource::list`].
    fn watch(&self) -> broadcast::Receiver<SourceEvent>;

    /// A byte stream to a port of a device; the server drops the future after four seconds.
    fn connect(&self, device: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>>;
}

/// What happens to a source's devices.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SourceEvent {
    /// A device was plugged in.
    Attached(AttachedDevice),
    /// It was pulled out; its streams end.
    Detached(DeviceId),
}
