//! A source that does what a test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cabled_usbmux::devices::{Attachment, Device};
use cabled_usbmux::{AttachedDevice, DeviceSource, Network, NetworkAddress, SourceEvent, Trouble};
use cabled_wire::ids::{DeviceId, Udid};
use cabled_wire::io::{BoxFuture, BoxStream, ConnectError};
use tokio::sync::{Notify, broadcast};

pub(crate) const UDID: &str = "00008030-001A2B3C4D5E6F70";
pub(crate) const OTHER: &str = "00008101-000A1B2C3D4E5F60";

pub(crate) fn udid(text: &str) -> Udid {
    text.parse().unwrap()
}

pub(crate) fn cable(id: u32, udid: &str) -> AttachedDevice {
    AttachedDevice::usb(DeviceId(id), udid.parse().unwrap())
}

pub(crate) fn wifi(id: u32, udid: &str, ip: &str) -> AttachedDevice {
    let network = Network {
        address: NetworkAddress::native(ip.parse().unwrap(), 0),
        service_name: None,
        interface: None,
    };
    AttachedDevice::network(DeviceId(id), udid.parse().unwrap(), network)
}

pub(crate) fn ways(device: &Device) -> Vec<String> {
    device.attachments().map(Attachment::to_string).collect()
}

/// Gives the followers all the time they want; the clock is paused.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// What a connection to a device of the source ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Open,
    Gone,
    Refused,
}

pub(crate) struct Script {
    pub(crate) devices: Mutex<BTreeMap<DeviceId, AttachedDevice>>,
    pub(crate) troubles: Mutex<Vec<Trouble>>,
    pub(crate) answers: Mutex<BTreeMap<DeviceId, Answer>>,
    pub(crate) tried: Mutex<Vec<(DeviceId, u16)>>,
    pub(crate) events: broadcast::Sender<SourceEvent>,
    pub(crate) looked: Mutex<Option<Arc<Notify>>>,
}

impl Script {
    pub(crate) fn new() -> Arc<Self> {
        // Few enough that followers lag often.
        Self::with_room(2)
    }

    pub(crate) fn with_room(events: usize) -> Arc<Self> {
        Arc::new(Self {
            devices: Mutex::default(),
            troubles: Mutex::default(),
            answers: Mutex::default(),
            tried: Mutex::default(),
            events: broadcast::Sender::new(events),
            looked: Mutex::default(),
        })
    }

    /// One that has not looked yet; the first permit says that it has.
    pub(crate) fn unsettled() -> (Arc<Self>, Arc<Notify>) {
        let script = Self::new();
        let looked = Arc::new(Notify::new());
        *script.looked.lock().unwrap() = Some(looked.clone());
        (script, looked)
    }

    pub(crate) fn attach(&self, device: AttachedDevice) {
        let before = self.devices.lock().unwrap().insert(device.id, device.clone());
        let _ = self.events.send(match before {
            None => SourceEvent::Attached(device),
            Some(_) => SourceEvent::Changed(device),
        });
    }

    pub(crate) fn detach(&self, id: u32) {
        if self.devices.lock().unwrap().remove(&DeviceId(id)).is_some() {
            let _ = self.events.send(SourceEvent::Detached(DeviceId(id)));
        }
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.troubles.lock().unwrap().push(trouble.clone());
        let _ = self.events.send(SourceEvent::Trouble(trouble));
    }

    pub(crate) fn clear(&self) {
        for trouble in self.troubles.lock().unwrap().drain(..) {
            let _ = self.events.send(SourceEvent::Cleared(trouble));
        }
    }

    pub(crate) fn answer(&self, id: u32, answer: Answer) {
        self.answers.lock().unwrap().insert(DeviceId(id), answer);
    }

    pub(crate) fn tried(&self) -> Vec<u32> {
        self.tried.lock().unwrap().drain(..).map(|(id, _)| id.0).collect()
    }
}

impl DeviceSource for Script {
    fn list(&self) -> Vec<AttachedDevice> {
        self.devices.lock().unwrap().values().cloned().collect()
    }

    fn watch(&self) -> broadcast::Receiver<SourceEvent> {
        self.events.subscribe()
    }

    fn connect(&self, device: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move {
            self.tried.lock().unwrap().push((device, port));
            let answer = self.answers.lock().unwrap().get(&device).copied();
            match answer.unwrap_or(Answer::Open) {
                Answer::Open => Ok(Box::new(tokio::io::duplex(64).0) as BoxStream),
                Answer::Gone => Err(ConnectError::Gone),
                Answer::Refused => Err(ConnectError::Refused { port }),
            }
        })
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.troubles.lock().unwrap().clone()
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        let looked = self.looked.lock().unwrap().clone();
        Box::pin(async move {
            if let Some(looked) = looked {
                looked.notified().await;
            }
        })
    }
}
