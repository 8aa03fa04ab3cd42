use cabled::usbmux::*;
use cabled::wire::ids::*;
use cabled::wire::io::*;
use tokio::sync::broadcast;
#[derive(Clone, Debug)]
pub struct UsbBus;
#[derive(Default)]
pub struct UsbOptions;
impl UsbBus {
    pub fn start(_: UsbOptions) -> std::io::Result<Self> {
        Err(std::io::Error::other("no bus"))
    }
    pub async fn shutdown(self) {}
}
impl DeviceSource for UsbBus {
    fn list(&self) -> Vec<AttachedDevice> {
        vec![]
    }
    fn watch(&self) -> broadcast::Receiver<SourceEvent> {
        broadcast::channel(1).1
    }
    fn connect(&self, _: DeviceId, _: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async { Err(ConnectError::Gone) })
    }
}
