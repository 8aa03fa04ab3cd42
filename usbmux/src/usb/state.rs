//! What a bus knows, shared by its tasks and its users.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cabled_wire::ids::DeviceId;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::options::UsbOptions;
use crate::mux::{MuxDevice, MuxHandle};
use crate::{AttachedDevice, SourceEvent, Trouble};

/// Events that a slow receiver may be behind.
const EVENTS: usize = 256;
/// How long a device that accepted another mode may take to be seen again.
const SWITCHED: Duration = Duration::from_secs(30);

/// One stay of a device on the bus, as the bus counts them.
pub(super) type Key = u64;

/// Whether the bus goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    No,
    /// Nobody looks any more; streams that are open go on.
    LetGo,
    /// Everything ends.
    Disconnect,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: UsbOptions,
    pub(super) events: broadcast::Sender<SourceEvent>,
    inner: Mutex<Inner>,
    settled: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Inner {
    attached: BTreeMap<DeviceId, Attached>,
    troubles: BTreeMap<Key, Trouble>,
    /// The bus as a whole does not work.
    blind: Option<Trouble>,
    last_id: u32,
    /// Ports whose device accepted another mode, until when that counts.
    switched: HashMap<String, Instant>,
    /// Devices of the first listing that nothing is known about yet; none before it.
    unresolved: Option<HashSet<Key>>,
}

#[derive(Debug)]
struct Attached {
    key: Key,
    device: AttachedDevice,
    handle: MuxHandle,
}

impl Shared {
    pub(super) fn new(options: UsbOptions) -> Self {
        Self {
            options,
            events: broadcast::Sender::new(EVENTS),
            inner: Mutex::default(),
            settled: watch::Sender::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What is inside is consistent after every call.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sent under the lock: a listing is never behind the events.
    fn send(&self, event: SourceEvent) {
        let _ = self.events.send(event); // nobody may be watching
    }

    pub(super) fn next_id(&self) -> DeviceId {
        let mut inner = self.lock();
        inner.last_id = inner.last_id.wrapping_add(1).max(1);
        DeviceId(inner.last_id)
    }

    pub(super) fn attach(&self, key: Key, device: AttachedDevice, handle: MuxHandle) {
        tracing::info!(id = %device.id, udid = %device.udid, "attached");
        let mut inner = self.lock();
        self.clear(&mut inner, key);
        let attached = Attached {
            key,
            device: device.clone(),
            handle,
        };
        inner.attached.insert(device.id, attached);
        self.send(SourceEvent::Attached(device));
        self.settle(&mut inner, key);
    }

    /// Its link ended.
    pub(super) fn detach(&self, key: Key) {
        let mut inner = self.lock();
        drop(self.take(&mut inner, key));
    }

    fn take(&self, inner: &mut Inner, key: Key) -> Option<Attached> {
        let id = inner
            .attached
            .iter()
            .find(|(_, attached)| attached.key == key)
            .map(|(id, _)| *id)?;
        let attached = inner.attached.remove(&id)?;
        tracing::info!(%id, "detached");
        self.send(SourceEvent::Detached(id));
        Some(attached)
    }

    pub(super) fn trouble(&self, key: Key, trouble: Trouble) {
        let mut inner = self.lock();
        if inner.troubles.get(&key) != Some(&trouble) {
            tracing::warn!(%trouble, "a device cannot be used");
            self.clear(&mut inner, key);
            inner.troubles.insert(key, trouble.clone());
            self.send(SourceEvent::Trouble(trouble));
        }
        self.settle(&mut inner, key);
    }

    fn clear(&self, inner: &mut Inner, key: Key) {
        if let Some(trouble) = inner.troubles.remove(&key) {
            self.send(SourceEvent::Cleared(trouble));
        }
    }

    /// The device is not on the bus any more, or the bus ends. Ends its streams when asked to.
    pub(super) fn forget(&self, key: Key, disconnect: bool) {
        let mut inner = self.lock();
        let attached = self.take(&mut inner, key);
        self.clear(&mut inner, key);
        self.settle(&mut inner, key);
        drop(inner);
        if let Some(attached) = attached.filter(|_| disconnect) {
            attached.handle.disconnect();
        }
    }

    /// Nothing more is to be expected of it for now.
    pub(super) fn resolve(&self, key: Key) {
        let mut inner = self.lock();
        self.clear(&mut inner, key);
        self.settle(&mut inner, key);
    }

    /// What the bus's own listing came to; the first decides what is waited for.
    pub(super) fn listed(&self, blind: Option<Trouble>, present: impl IntoIterator<Item = Key>) {
        let mut inner = self.lock();
        if inner.blind != blind {
            if let Some(over) = std::mem::replace(&mut inner.blind, blind.clone()) {
                self.send(SourceEvent::Cleared(over));
            }
            if let Some(trouble) = blind {
                tracing::warn!(%trouble, "the bus cannot be listed");
                self.send(SourceEvent::Trouble(trouble));
            }
        }
        if inner.unresolved.is_none() {
            let known = &inner.troubles;
            let waiting: HashSet<Key> = present
                .into_iter()
                .filter(|key| !known.contains_key(key) && !inner.attached.values().any(|one| one.key == *key))
                .collect();
            inner.unresolved = Some(waiting);
            self.settle(&mut inner, 0);
        }
    }

    fn settle(&self, inner: &mut Inner, key: Key) {
        if let Some(unresolved) = &mut inner.unresolved {
            unresolved.remove(&key);
            if unresolved.is_empty() {
                self.settled
                    .send_if_modified(|settled| !std::mem::replace(settled, true));
            }
        }
    }

    pub(super) async fn settled(&self) {
        // The sender lives as long as we do.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// No task is left that could settle anything.
    pub(super) fn stopped(&self) {
        self.settled.send_replace(true);
    }

    pub(super) fn list(&self) -> Vec<AttachedDevice> {
        self.lock()
            .attached
            .values()
            .map(|attached| attached.device.clone())
            .collect()
    }

    pub(super) fn device(&self, id: DeviceId) -> Option<MuxDevice> {
        let inner = self.lock();
        let attached = inner.attached.get(&id)?;
        Some(MuxDevice::new(
            attached.handle.clone(),
            Some(attached.device.udid.clone()),
        ))
    }

    pub(super) fn troubles(&self) -> Vec<Trouble> {
        let inner = self.lock();
        inner.blind.iter().chain(inner.troubles.values()).cloned().collect()
    }

    /// The device at this port accepted another mode.
    pub(super) fn note_switch(&self, place: String) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.switched.retain(|_, until| *until > now);
        inner.switched.insert(place, now.checked_add(SWITCHED).unwrap_or(now));
    }

    pub(super) fn has_switched(&self, place: &str) -> bool {
        self.lock()
            .switched
            .get(place)
            .is_some_and(|until| *until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnattachedDevice;
    use crate::mux::link::memory_pair;
    use crate::mux::{MuxDriver, MuxOptions};

    fn trouble(words: &str) -> Trouble {
        Trouble::Silent {
            device: UnattachedDevice::new(words),
        }
    }

    fn device(shared: &Shared) -> AttachedDevice {
        AttachedDevice::usb(shared.next_id(), "00008030001a2b3c4d5e6f70".parse().unwrap())
    }

    #[tokio::test]
    async fn a_bus_is_settled_when_every_device_of_the_first_listing_has_come_to_something() {
        let shared = Shared::new(UsbOptions::default());
        assert!(!*shared.settled.borrow());
        shared.listed(None, [1, 2, 3]);
        shared.trouble(1, trouble("one"));
        shared.forget(2, true);
        assert!(!*shared.settled.borrow());
        let (ours, _theirs) = memory_pair();
        let handle = MuxDriver::spawn(ours, MuxOptions::default());
        shared.attach(3, device(&shared), handle);
        shared.settled().await;
        // Those that come later change nothing.
        shared.listed(None, [1, 3, 4]);
        shared.settled().await;
    }

    #[tokio::test]
    async fn a_bus_without_devices_and_one_that_cannot_be_listed_are_settled_at_once() {
        let shared = Shared::new(UsbOptions::default());
        shared.listed(None, []);
        shared.settled().await;
        let blind = Trouble::NoSource {
            origin: "USB".into(),
            reason: "none".into(),
        };
        let shared = Shared::new(UsbOptions::default());
        let mut events = shared.events.subscribe();
        shared.listed(Some(blind.clone()), []);
        shared.settled().await;
        assert_eq!(shared.troubles(), std::slice::from_ref(&blind));
        shared.listed(Some(blind.clone()), []);
        shared.listed(None, []);
        assert_eq!(events.recv().await.unwrap(), SourceEvent::Trouble(blind.clone()));
        assert_eq!(events.recv().await.unwrap(), SourceEvent::Cleared(blind));
        assert!(events.try_recv().is_err() && shared.troubles().is_empty());
    }

    #[tokio::test]
    async fn every_stay_has_an_id_of_its_own_and_a_trouble_is_told_once_and_cleared() {
        let shared = Shared::new(UsbOptions::default());
        let mut events = shared.events.subscribe();
        shared.trouble(7, trouble("seven"));
        shared.trouble(7, trouble("seven"));
        let attach = || {
            let (ours, theirs) = memory_pair();
            let handle = MuxDriver::spawn(ours, MuxOptions::default());
            let device = device(&shared);
            shared.attach(7, device.clone(), handle);
            (device, theirs)
        };
        let (first, _theirs) = attach();
        assert_eq!(shared.list(), std::slice::from_ref(&first));
        assert!(shared.troubles().is_empty());
        shared.detach(7);
        let (second, _theirs) = attach();
        assert_ne!(first.id, second.id);
        let handle = shared.device(second.id).unwrap();
        shared.forget(7, true);
        assert!(shared.device(second.id).is_none());
        handle.handle().gone().await;

        let expected = [
            SourceEvent::Trouble(trouble("seven")),
            SourceEvent::Cleared(trouble("seven")),
            SourceEvent::Attached(first.clone()),
            SourceEvent::Detached(first.id),
            SourceEvent::Attached(second.clone()),
            SourceEvent::Detached(second.id),
        ];
        for event in expected {
            assert_eq!(events.recv().await.unwrap(), event);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_switched_mode_is_remembered_by_the_port_for_half_a_minute() {
        let shared = Shared::new(UsbOptions::default());
        assert!(!shared.has_switched("1 [2]"));
        shared.note_switch("1 [2]".into());
        assert!(shared.has_switched("1 [2]") && !shared.has_switched("1 [3]"));
        tokio::time::advance(SWITCHED).await;
        assert!(!shared.has_switched("1 [2]"));
    }
}
