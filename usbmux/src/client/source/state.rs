//! The core: from what a daemon says, over all its lives, to the devices of one source.

use std::collections::{BTreeMap, VecDeque};

use cabled_wire::ids::DeviceId;
use cabled_wire::plist::{Dictionary, Value, to_binary};

use crate::source::followed::Core;
use crate::source::{SourceEvent, Trouble};
use crate::{AttachedDevice, ConnectionKind, NetworkAddress};

/// Unknown properties of a device are dropped when they take more bytes than this: a hostile daemon could send a
/// megabyte for each.
const MAX_EXTRA: usize = 4096;
/// The longest service name of DNS, in bytes, with every one of them escaped.
const MAX_NAME: usize = 1024;

/// The devices of a daemon under ids of our own.
#[derive(Debug)]
pub(super) struct State {
    origin: String,
    limit: usize,
    /// By the daemon's id, which is void when the daemon goes.
    devices: BTreeMap<DeviceId, AttachedDevice>,
    /// From our id to the daemon's.
    ids: BTreeMap<DeviceId, DeviceId>,
    last_id: u32,
    down: Option<Trouble>,
    overflow: Option<Trouble>,
    events: VecDeque<SourceEvent>,
}

impl Core for State {
    fn poll_event(&mut self) -> Option<SourceEvent> {
        self.events.pop_front()
    }
}

impl State {
    pub(super) fn new(origin: String, limit: usize) -> Self {
        Self {
            origin,
            limit,
            devices: BTreeMap::new(),
            ids: BTreeMap::new(),
            last_id: 0,
            down: None,
            overflow: None,
            events: VecDeque::new(),
        }
    }

    pub(super) fn list(&self) -> Vec<AttachedDevice> {
        let device = |(own, theirs): (&DeviceId, &DeviceId)| {
            let device = self.devices.get(theirs)?.clone();
            Some(AttachedDevice { id: *own, ..device })
        };
        self.ids.iter().filter_map(device).collect()
    }

    pub(super) fn at_daemon(&self, own: DeviceId) -> Option<AttachedDevice> {
        self.devices.get(self.ids.get(&own)?).cloned()
    }

    pub(super) fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.down.iter().chain(&self.overflow)
    }

    /// The daemon answers, and has these devices; there were none, as each connection starts from nothing.
    pub(super) fn handle_daemon(&mut self, devices: Vec<AttachedDevice>) {
        self.forget();
        self.events.extend(self.down.take().map(SourceEvent::Cleared));
        for device in devices {
            self.handle_attached(device);
        }
    }

    /// A device came, or one is told once more.
    pub(super) fn handle_attached(&mut self, device: AttachedDevice) {
        let device = bounded(device);
        if let Some(known) = self.devices.get(&device.id) {
            if *known == device {
                return;
            }
            if known.udid == device.udid {
                if let Some(own) = self.own(device.id) {
                    let changed = AttachedDevice {
                        id: own,
                        ..device.clone()
                    };
                    self.events.push_back(SourceEvent::Changed(changed));
                    self.devices.insert(device.id, device);
                }
                return;
            }
            // Another device under the same number: the first one must have gone.
            self.handle_detached(device.id);
        }
        let next = self.last_id.checked_add(1).filter(|_| self.devices.len() < self.limit);
        let Some(next) = next else {
            if self.overflow.is_none() {
                let trouble = Trouble::TooManyDevices {
                    origin: self.origin.clone(),
                    limit: self.limit,
                };
                self.events.push_back(SourceEvent::Trouble(trouble.clone()));
                self.overflow = Some(trouble);
            }
            return;
        };
        self.last_id = next;
        let own = DeviceId(next);
        self.ids.insert(own, device.id);
        let attached = AttachedDevice {
            id: own,
            ..device.clone()
        };
        self.devices.insert(device.id, device);
        self.events.push_back(SourceEvent::Attached(attached));
    }

    /// A device went, by the daemon's id. One that is not known went before it was told.
    pub(super) fn handle_detached(&mut self, theirs: DeviceId) {
        let Some(own) = self.own(theirs) else {
            return;
        };
        self.devices.remove(&theirs);
        self.ids.remove(&own);
        self.events.push_back(SourceEvent::Detached(own));
    }

    /// A pair record of a device was saved, by the daemon's id.
    pub(super) fn handle_paired(&mut self, theirs: DeviceId) {
        self.events.extend(self.own(theirs).map(SourceEvent::Paired));
    }

    /// The daemon went, and its devices with it.
    pub(super) fn handle_lost(&mut self, reason: &str) {
        self.forget();
        let trouble = Trouble::NoSource {
            origin: self.origin.clone(),
            reason: reason.to_owned(),
        };
        if self.down.as_ref() != Some(&trouble) {
            self.events.extend(self.down.take().map(SourceEvent::Cleared));
            self.events.push_back(SourceEvent::Trouble(trouble.clone()));
            self.down = Some(trouble);
        }
    }

    fn own(&self, theirs: DeviceId) -> Option<DeviceId> {
        let found = self.ids.iter().find(|(_, daemon)| **daemon == theirs);
        found.map(|(own, _)| *own)
    }

    fn forget(&mut self) {
        for own in std::mem::take(&mut self.ids).into_keys() {
            self.events.push_back(SourceEvent::Detached(own));
        }
        self.devices.clear();
        self.events.extend(self.overflow.take().map(SourceEvent::Cleared));
    }
}

/// The device with everything cut off that no honest daemon sends.
fn bounded(mut device: AttachedDevice) -> AttachedDevice {
    if !device.extra.is_empty() {
        let value = Value::Dictionary(std::mem::replace(&mut device.extra, Dictionary::new()));
        if to_binary(&value).len() <= MAX_EXTRA
            && let Value::Dictionary(extra) = value
        {
            device.extra = extra;
        }
    }
    match &mut device.connection {
        ConnectionKind::Usb(_) => {}
        ConnectionKind::Network(network) => {
            if network.address.raw().len() > NetworkAddress::LEN {
                let kept = network.address.raw().get(..NetworkAddress::LEN).unwrap_or_default();
                network.address = NetworkAddress::from_raw(kept);
            }
            network.service_name = network.service_name.take().filter(|name| name.len() <= MAX_NAME);
        }
        ConnectionKind::Other(kind) => {
            if kind.len() > MAX_NAME {
                *kind = "unknown".to_owned();
            }
        }
    }
    device
}

#[cfg(test)]
mod tests;
