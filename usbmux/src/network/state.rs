//! The core: from announcements and pair records to devices.

use std::collections::{BTreeMap, VecDeque};

use cabled_wire::ids::{DeviceId, Udid};

use super::announcement::{Address, Announcement};
use super::known::KnownDevice;
use crate::source::followed::Core;
use crate::source::{SourceEvent, Trouble};
use crate::{AttachedDevice, Network, NetworkAddress};

/// Announcements kept at a time. What is announced beyond is not looked at until some of them end.
const MAX_ANNOUNCEMENTS: usize = 1024;
/// Addresses tried of one device.
const MAX_ADDRESSES: usize = 16;

/// The devices of one network.
#[derive(Debug, Default)]
pub(super) struct State {
    known: Vec<KnownDevice>,
    announcements: BTreeMap<String, Heard>,
    devices: BTreeMap<Udid, Found>,
    last_id: u32,
    troubles: BTreeMap<Part, Trouble>,
    events: VecDeque<SourceEvent>,
}

/// An announcement, and whose it is: found out once, as it takes a hash for each record.
#[derive(Debug)]
struct Heard {
    announcement: Announcement,
    of: Option<Udid>,
}

#[derive(Clone, Debug, PartialEq)]
struct Found {
    device: AttachedDevice,
    addresses: Vec<Address>,
}

/// What can be out of order; each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Hearing announcements.
    Browsing,
    /// Reading pair records.
    Records,
}

impl Core for State {
    fn poll_event(&mut self) -> Option<SourceEvent> {
        self.events.pop_front()
    }
}

impl State {
    /// The pair records, all of them, whenever they were read.
    pub(super) fn handle_known(&mut self, known: Vec<KnownDevice>) {
        if known == self.known {
            return;
        }
        self.known = known;
        let known = &self.known;
        for heard in self.announcements.values_mut() {
            heard.of = whose(known, &heard.announcement);
        }
        self.rebuild();
    }

    /// An instance was announced, or once more with something else in it.
    pub(super) fn handle_announced(&mut self, announcement: Announcement) {
        let name = announcement.name();
        let full = self.announcements.len() >= MAX_ANNOUNCEMENTS && !self.announcements.contains_key(name);
        if full {
            tracing::debug!(name, "too many announcements; this one is left out");
            return;
        }
        let of = whose(&self.known, &announcement);
        let name = name.to_owned();
        self.announcements.insert(name, Heard { announcement, of });
        self.rebuild();
    }

    /// An instance said goodbye, or was not heard of for too long.
    pub(super) fn handle_withdrawn(&mut self, name: &str) {
        if self.announcements.remove(name).is_some() {
            self.rebuild();
        }
    }

    /// Nothing is heard any more: whatever was announced is forgotten.
    pub(super) fn handle_deaf(&mut self) {
        self.announcements.clear();
        self.rebuild();
    }

    /// A part does not work, and why; `None` when it works (again).
    pub(super) fn handle_trouble(&mut self, part: Part, reason: Option<String>) {
        let trouble = reason.map(|reason| Trouble::NoSource {
            origin: "the network".to_owned(),
            reason,
        });
        if self.troubles.get(&part) == trouble.as_ref() {
            return;
        }
        self.events
            .extend(self.troubles.remove(&part).map(SourceEvent::Cleared));
        if let Some(trouble) = trouble {
            self.events.push_back(SourceEvent::Trouble(trouble.clone()));
            self.troubles.insert(part, trouble);
        }
    }

    pub(super) fn list(&self) -> Vec<AttachedDevice> {
        self.devices.values().map(|found| found.device.clone()).collect()
    }

    pub(super) fn troubles(&self) -> Vec<Trouble> {
        self.troubles.values().cloned().collect()
    }

    /// Where a device is, the best address first.
    pub(super) fn addresses(&self, id: DeviceId) -> Option<Vec<Address>> {
        let mut found = self.devices.values();
        found
            .find(|found| found.device.id == id)
            .map(|found| found.addresses.clone())
    }

    /// How many devices are announced of which there is no pair record.
    pub(super) fn strangers(&self) -> usize {
        self.announcements.values().filter(|heard| heard.of.is_none()).count()
    }

    /// Brings the devices in line with what is announced. A device keeps its id as long as any of its instances is there:
    /// it has a new one with each new address.
    fn rebuild(&mut self) {
        let mut by_device: BTreeMap<&Udid, Vec<&Announcement>> = BTreeMap::new();
        for heard in self.announcements.values() {
            if let Some(udid) = &heard.of
                && !heard.announcement.addresses().is_empty()
            {
                by_device.entry(udid).or_default().push(&heard.announcement);
            }
        }
        let mut devices = BTreeMap::new();
        for (udid, announcements) in by_device {
            let before = self.devices.get(udid);
            let id = match before {
                Some(found) => found.device.id,
                None => {
                    let Some(next) = self.last_id.checked_add(1) else {
                        continue; // no id is ever used again
                    };
                    self.last_id = next;
                    DeviceId(next)
                }
            };
            devices.extend(found(id, udid, &announcements).map(|found| (udid.clone(), found)));
        }
        let gone = self.devices.iter().filter(|(udid, _)| !devices.contains_key(*udid));
        self.events
            .extend(gone.map(|(_, found)| SourceEvent::Detached(found.device.id)));
        for (udid, found) in &devices {
            match self.devices.get(udid) {
                None => self.events.push_back(SourceEvent::Attached(found.device.clone())),
                Some(before) if before.device != found.device => {
                    self.events.push_back(SourceEvent::Changed(found.device.clone()));
                }
                Some(_) => {}
            }
        }
        self.devices = devices;
    }
}

/// One device of all its instances; the best address is the one that clients are told.
fn found(id: DeviceId, udid: &Udid, announcements: &[&Announcement]) -> Option<Found> {
    let all = announcements.iter().flat_map(|announcement| {
        let addresses = announcement.addresses().iter();
        addresses.map(|address| (*address, announcement.name()))
    });
    let mut all: Vec<_> = all.collect();
    all.sort();
    all.dedup_by_key(|(address, _)| *address);
    all.truncate(MAX_ADDRESSES);
    let (best, name) = *all.first()?;
    let network = Network {
        address: NetworkAddress::native(best.ip(), best.scope()),
        service_name: Some(name.to_owned()),
        interface: Some(best.interface()).filter(|interface| *interface != 0),
    };
    Some(Found {
        device: AttachedDevice::network(id, udid.clone(), network),
        addresses: all.into_iter().map(|(address, _)| address).collect(),
    })
}

fn whose(known: &[KnownDevice], announcement: &Announcement) -> Option<Udid> {
    let device = known.iter().find(|device| device.announced(announcement))?;
    Some(device.udid().clone())
}

#[cfg(test)]
mod tests;
