//! The core: from what each source has to one picture of all devices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cabled_wire::ids::{DeviceId, Udid};

use super::picture::{Known, Picture};
use super::route::{Attachment, Origin, Way};
use crate::AttachedDevice;
use crate::source::Trouble;

/// Ids of network devices start here, as other daemons have it. Spec: usbmux, section 4.
const FIRST_NETWORK_ID: u32 = 0x1000_0000;
/// A source has no more standing troubles than this; what it says beyond is dropped.
const MAX_TROUBLES: usize = 256;

/// The devices of all sources as one. Does no I/O: a driver tells what each source has, as a whole and as often as it
/// likes, and takes the [`Picture`].
#[derive(Debug)]
pub(super) struct View {
    limit: usize,
    sources: Vec<Source>,
    stays: BTreeMap<Udid, Stay>,
    next_stay: u64,
    ids: Ids,
    picture: Arc<Picture>,
}

#[derive(Debug)]
struct Source {
    origin: Origin,
    settled: bool,
    devices: Vec<AttachedDevice>,
    troubles: Vec<Trouble>,
}

/// Attachments, each by its source and the source's id.
type Keys = BTreeSet<(usize, DeviceId)>;

/// What lasts as long as there is always some way to a device.
#[derive(Debug)]
struct Stay {
    number: u64,
    /// The attachments of the last picture.
    keys: Keys,
    /// For each kind of way the id that clients of the union know, and the attachments behind it.
    ways: BTreeMap<Way, (Option<DeviceId>, Keys)>,
}

/// Ids of the union: never used again, network devices in a range of their own.
#[derive(Debug)]
struct Ids {
    cable: u32,
    network: u32,
}

impl Ids {
    /// `None` when a range is used up, which takes hundreds of millions of attachments.
    fn next(&mut self, way: Way) -> Option<DeviceId> {
        let (last, end) = match way {
            Way::Network => (&mut self.network, u32::MAX),
            Way::Cable | Way::Other => (&mut self.cable, FIRST_NETWORK_ID),
        };
        let id = last.checked_add(1).filter(|id| *id < end)?;
        *last = id;
        Some(DeviceId(id))
    }
}

impl View {
    pub(super) fn new(origins: impl IntoIterator<Item = Origin>, limit: usize) -> Self {
        let source = |origin| Source {
            origin,
            settled: false,
            devices: Vec::new(),
            troubles: Vec::new(),
        };
        Self {
            limit,
            sources: origins.into_iter().map(source).collect(),
            stays: BTreeMap::new(),
            next_stay: 1,
            ids: Ids {
                cable: 0,
                network: FIRST_NETWORK_ID,
            },
            picture: Arc::default(),
        }
    }

    pub(super) fn picture(&self) -> &Arc<Picture> {
        &self.picture
    }

    /// Whether every source has looked once. Until then no trouble is told: another source may still have the device.
    pub(super) fn is_settled(&self) -> bool {
        self.sources.iter().all(|source| source.settled)
    }

    /// A source has looked once.
    pub(super) fn handle_settled(&mut self, source: usize) {
        if let Some(source) = self.sources.get_mut(source) {
            source.settled = true;
        }
        self.rebuild();
    }

    /// What a source has now, all of it.
    pub(super) fn handle_snapshot(&mut self, source: usize, devices: Vec<AttachedDevice>, troubles: Vec<Trouble>) {
        let limit = self.limit;
        let Some(source) = self.sources.get_mut(source) else {
            return;
        };
        let more = devices.len() > limit;
        let mut seen = BTreeSet::new();
        source.devices = devices;
        source.devices.truncate(limit);
        source.devices.retain(|device| seen.insert(device.id));
        source.troubles = troubles;
        source.troubles.truncate(MAX_TROUBLES);
        if more {
            source.troubles.push(Trouble::TooManyDevices {
                origin: source.origin.to_string(),
                limit,
            });
        }
        self.rebuild();
    }

    fn rebuild(&mut self) {
        let mut found: BTreeMap<Udid, Vec<Attachment>> = BTreeMap::new();
        for (index, source) in self.sources.iter().enumerate() {
            for device in &source.devices {
                found.entry(distinct(device)).or_default().push(Attachment {
                    origin: source.origin.clone(),
                    device: device.clone(),
                    source: index,
                });
            }
        }
        let mut devices = BTreeMap::new();
        let mut stays = BTreeMap::new();
        for (udid, mut attachments) in found {
            attachments.sort_by_key(Attachment::preference);
            let stay = self.stay(&udid, &attachments);
            if let Some(known) = self.known(&udid, &stay, attachments) {
                devices.insert(udid.clone(), known);
            }
            stays.insert(udid, stay);
        }
        self.stays = stays;
        let troubles = self.troubles_for_a_person(&devices);
        let picture = Picture { devices, troubles };
        if picture != *self.picture {
            self.picture = Arc::new(picture);
        }
    }

    /// The stay that goes on, or a new one. It goes on when one attachment at least was there before: a device that is
    /// pulled out and plugged in again, however fast, has lost its streams, and nobody may take it for the same stay.
    fn stay(&mut self, udid: &Udid, attachments: &[Attachment]) -> Stay {
        let keys: BTreeSet<_> = attachments.iter().map(Attachment::key).collect();
        let before = self.stays.remove(udid).filter(|stay| !stay.keys.is_disjoint(&keys));
        let (number, mut before) = match before {
            Some(stay) => (stay.number, stay.ways),
            None => {
                let number = self.next_stay;
                self.next_stay = self.next_stay.saturating_add(1);
                (number, BTreeMap::new())
            }
        };
        let mut ways = BTreeMap::new();
        for way in Way::ALL {
            let keys: BTreeSet<_> = attachments
                .iter()
                .filter(|a| a.way() == way)
                .map(Attachment::key)
                .collect();
            if keys.is_empty() {
                continue;
            }
            let id = match before.remove(&way) {
                Some((id, seen)) if !seen.is_disjoint(&keys) => id,
                _ => self.ids.next(way),
            };
            ways.insert(way, (id, keys));
        }
        Stay { number, keys, ways }
    }

    /// `None` without attachments, which does not happen.
    fn known(&self, udid: &Udid, stay: &Stay, attachments: Vec<Attachment>) -> Option<Arc<Known>> {
        let mut listed = Vec::new();
        for (way, (id, _)) in &stay.ways {
            // The best of this kind speaks for all of it.
            let best = attachments.iter().find(|attachment| attachment.way() == *way);
            if let (Some(id), Some(best)) = (*id, best) {
                listed.push(AttachedDevice {
                    id,
                    udid: udid.clone(),
                    ..best.device.clone()
                });
            }
        }
        let mut attachments = attachments.into_iter();
        let known = Known {
            udid: udid.clone(),
            stay: stay.number,
            preferred: attachments.next()?,
            others: attachments.collect(),
            listed,
        };
        match self.picture.devices.get(udid) {
            Some(seen) if **seen == known => Some(Arc::clone(seen)),
            _ => Some(Arc::new(known)),
        }
    }

    /// All troubles but those that are none: of a device that another source has, and of a source without which cables
    /// are served all the same.
    fn troubles_for_a_person(&self, devices: &BTreeMap<Udid, Arc<Known>>) -> Vec<Trouble> {
        let mut troubles: Vec<Trouble> = Vec::new();
        if !self.is_settled() {
            return troubles;
        }
        let mut cables = self.sources.iter().filter(|source| source.origin.has_cables());
        let cables_are_served = cables.any(|source| !source.is_down());
        for source in &self.sources {
            for trouble in &source.troubles {
                let reached = trouble.device().and_then(|device| device.udid.as_ref());
                let spared = match trouble {
                    Trouble::NoSource { .. } => source.origin.has_cables() && cables_are_served,
                    _ => reached.is_some_and(|udid| devices.contains_key(udid)),
                };
                if !spared && !troubles.contains(trouble) {
                    troubles.push(trouble.clone());
                }
            }
        }
        troubles
    }
}

impl Source {
    fn is_down(&self) -> bool {
        self.troubles
            .iter()
            .any(|trouble| matches!(trouble, Trouble::NoSource { .. }))
    }
}

/// A device that is being restored may have 40 times `f` for a UDID, and two of them are still two devices: as other
/// clients do it, the last eight digits become the source's id. Spec: usbmux, section 4.
fn distinct(device: &AttachedDevice) -> Udid {
    let text = device.udid.as_str();
    let anonymous = text.len() == 40 && text.bytes().all(|digit| digit.eq_ignore_ascii_case(&b'f'));
    let renamed = anonymous.then(|| format!("{}{:08x}", "f".repeat(32), device.id.0));
    renamed
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| device.udid.clone())
}
