//! A device behind our own multiplexer.

use cabled_wire::ids::Udid;
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};

use super::MuxHandle;

/// A device on a link of ours, as something that services are opened on.
#[derive(Clone, Debug)]
pub struct MuxDevice {
    handle: MuxHandle,
    udid: Option<Udid>,
}

impl MuxDevice {
    /// The device behind a link. Its identifier comes from the link (the USB serial number), not from the multiplexer.
    #[must_use]
    pub fn new(handle: MuxHandle, udid: Option<Udid>) -> Self {
        Self { handle, udid }
    }

    /// The link.
    #[must_use]
    pub fn handle(&self) -> &MuxHandle {
        &self.handle
    }
}

impl Connect for MuxDevice {
    /// Gives up after ten seconds.
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move { Ok(Box::new(self.handle.connect(port).await?) as BoxStream) })
    }

    fn udid(&self) -> Option<&Udid> {
        self.udid.as_ref()
    }
}
