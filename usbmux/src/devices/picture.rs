//! What is known of all devices at one moment, and what changed between two such moments.

use std::collections::BTreeMap;
use std::sync::Arc;

use cabled_wire::ids::{DeviceId, Udid};

use super::route::{Attachment, Way};
use crate::AttachedDevice;
use crate::source::{SourceEvent, Trouble};

/// Everything at one moment. Never changed; the next moment is another one, which shares what stayed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Picture {
    pub(super) devices: BTreeMap<Udid, Arc<Known>>,
    /// What a person has to know, none twice.
    pub(super) troubles: Vec<Trouble>,
}

/// One device, with all ways to it.
#[derive(Debug, PartialEq)]
pub(super) struct Known {
    pub(super) udid: Udid,
    /// A number for this stay of the device: as long as there is always some way to it.
    pub(super) stay: u64,
    pub(super) preferred: Attachment,
    /// The other ways, better ones first.
    pub(super) others: Vec<Attachment>,
    /// What clients of the union are told: one entry for each kind of way, with ids of the union.
    pub(super) listed: Vec<AttachedDevice>,
}

impl Known {
    pub(super) fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        std::iter::once(&self.preferred).chain(&self.others)
    }
}

/// What brings a watcher from one picture to another.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Attached(Arc<Known>),
    Changed(Arc<Known>),
    Detached(Arc<Known>),
    Trouble(Trouble),
    Cleared(Trouble),
}

impl Picture {
    /// What leads from `self` to `now`: first what went, then what came. At most one change for what is in either, two
    /// for a device that went and came back in between.
    pub(super) fn changes(&self, now: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (udid, known) in &self.devices {
            if now.devices.get(udid).is_none_or(|present| present.stay != known.stay) {
                changes.push(Change::Detached(Arc::clone(known)));
            }
        }
        changes.extend(missing(&self.troubles, &now.troubles).map(Change::Cleared));
        for (udid, known) in &now.devices {
            match self.devices.get(udid) {
                Some(seen) if seen.stay != known.stay => changes.push(Change::Attached(Arc::clone(known))),
                Some(seen) if !Arc::ptr_eq(seen, known) && seen != known => {
                    changes.push(Change::Changed(Arc::clone(known)));
                }
                Some(_) => {}
                None => changes.push(Change::Attached(Arc::clone(known))),
            }
        }
        changes.extend(missing(&now.troubles, &self.troubles).map(Change::Trouble));
        changes
    }

    /// The same for clients of the union, who know ids and not devices.
    pub(super) fn source_events(&self, now: &Self) -> Vec<SourceEvent> {
        let (before, after) = (self.listed(), now.listed());
        let mut events = Vec::new();
        events.extend(
            before
                .keys()
                .filter(|id| !after.contains_key(id))
                .map(|id| SourceEvent::Detached(*id)),
        );
        events.extend(missing(&self.troubles, &now.troubles).map(SourceEvent::Cleared));
        for (id, device) in &after {
            match before.get(id) {
                None => events.push(SourceEvent::Attached((*device).clone())),
                Some(seen) if seen != device => events.push(SourceEvent::Changed((*device).clone())),
                Some(_) => {}
            }
        }
        events.extend(missing(&now.troubles, &self.troubles).map(SourceEvent::Trouble));
        events
    }

    /// What clients of the union see.
    pub(super) fn listed(&self) -> BTreeMap<DeviceId, &AttachedDevice> {
        let all = self.devices.values().flat_map(|known| &known.listed);
        all.map(|device| (device.id, device)).collect()
    }

    /// Which device, and which way to it, an id of the union means.
    pub(super) fn find(&self, id: DeviceId) -> Option<(&Arc<Known>, Way)> {
        self.devices.values().find_map(|known| {
            let listed = known.listed.iter().find(|device| device.id == id)?;
            Some((known, Way::of(listed)))
        })
    }
}

fn missing<'a>(from: &'a [Trouble], elsewhere: &'a [Trouble]) -> impl Iterator<Item = Trouble> {
    from.iter().filter(|trouble| !elsewhere.contains(trouble)).cloned()
}
