//! The view as a source: all devices for a server, or for another view.

use cabled_wire::ids::DeviceId;
use cabled_wire::io::{BoxFuture, BoxStream, ConnectError};
use tokio::sync::broadcast;

use super::Devices;
use crate::AttachedDevice;
use crate::source::{DeviceSource, SourceEvent, Trouble};

impl DeviceSource for Devices {
    /// One entry for each kind of way to a device, under an id of its own: clients treat a device on the network
    /// differently, and have to hear when the cable is pulled although Wi-Fi remains.
    fn list(&self) -> Vec<AttachedDevice> {
        self.shared.picture().listed().into_values().cloned().collect()
    }

    fn watch(&self) -> broadcast::Receiver<SourceEvent> {
        self.shared.events.subscribe()
    }

    /// By the best way of the kind that was listed under this id, never by another kind.
    fn connect(&self, device: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move {
            let picture = self.shared.picture();
            let (known, way) = picture.find(device).ok_or(ConnectError::Gone)?;
            let (stream, _) = self.shared.open(&known.udid, Some(way), port).await?;
            Ok(stream)
        })
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.troubles()
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        Box::pin(Self::settled(self))
    }
}
