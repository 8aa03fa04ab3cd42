//! A client that listens.

use std::collections::BTreeSet;
use std::sync::Arc;

use cabled_wire::ids::DeviceId;
use tokio::io::AsyncReadExt;
use tokio::sync::broadcast::error::RecvError;

use super::conversation::Client;
use super::tunnel::ClientSocket;
use super::{Shared, is_listable};
use crate::AttachedDevice;
use crate::msg::{ClientInfo, Event, ListenerEntry};
use crate::source::SourceEvent;

/// In the list of listeners as long as it listens.
struct Entry {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.listeners().remove(&self.number);
    }
}

impl Shared {
    pub(super) fn listener_list(&self) -> Vec<ListenerEntry> {
        let entry = |(number, client): (&u64, &ClientInfo)| {
            let program = client.program.clone().unwrap_or_default();
            ListenerEntry {
                blacklisted: false,
                bundle_id: client.bundle_id.clone().unwrap_or_default(),
                connection_type: client.connection_type.unwrap_or_default(),
                id: format!("{number}-{program}"),
                program,
                library_version: client.library_version.unwrap_or_default(),
            }
        };
        self.listeners().iter().map(entry).collect()
    }
}

/// Sends one `Attached` per device, then events as they happen; any byte from the client ends it.
pub(super) async fn run<S: ClientSocket>(mut client: Client<S>, info: ClientInfo) {
    let shared = Arc::clone(&client.shared);
    let _entry = Entry {
        shared: Arc::clone(&shared),
        number: client.number,
    };
    shared.listeners().insert(client.number, info);
    // Subscribed before the devices are listed: nothing falls in between, and what is told twice is sent once.
    let mut events = shared.source.watch();
    let mut paired = shared.paired.subscribe();
    let mut known = BTreeSet::new();
    if !client.resync(&mut known).await {
        return;
    }
    let mut byte = [0];
    loop {
        let sent = tokio::select! {
            _ = client.stream.read(&mut byte) => return,
            event = events.recv() => match event {
                Ok(SourceEvent::Attached(device)) => client.attached(&mut known, device).await,
                Ok(SourceEvent::Detached(id)) => client.detached(&mut known, id).await,
                Ok(SourceEvent::Paired(id)) => client.paired(&known, id).await,
                // The protocol has no words for these.
                Ok(SourceEvent::Changed(_) | SourceEvent::Trouble(_) | SourceEvent::Cleared(_)) => true,
                Err(RecvError::Lagged(_)) => client.resync(&mut known).await,
                Err(RecvError::Closed) => return,
            },
            device = paired.recv() => match device {
                Ok(id) => client.paired(&known, id).await,
                // Which ones were missed nobody knows; reading a record again for nothing does no harm.
                Err(RecvError::Lagged(_)) => client.all_paired(&known).await,
                Err(RecvError::Closed) => return,
            },
        };
        if !sent {
            return;
        }
    }
}

impl<S: ClientSocket> Client<S> {
    async fn event(&mut self, event: &Event) -> bool {
        // Version 0 cannot describe a network device: its clients do not hear of it.
        match event.encode(self.form) {
            Some(bytes) => self.send(&bytes).await,
            None => true,
        }
    }

    async fn attached(&mut self, known: &mut BTreeSet<DeviceId>, device: AttachedDevice) -> bool {
        let id = device.id;
        if !is_listable(&device) {
            return true;
        }
        let event = Event::Attached(device);
        if event.encode(self.form).is_none() || !known.insert(id) {
            return true;
        }
        self.event(&event).await
    }

    async fn detached(&mut self, known: &mut BTreeSet<DeviceId>, id: DeviceId) -> bool {
        !known.remove(&id) || self.event(&Event::Detached(id)).await
    }

    async fn paired(&mut self, known: &BTreeSet<DeviceId>, id: DeviceId) -> bool {
        !known.contains(&id) || self.event(&Event::Paired(id)).await
    }

    async fn all_paired(&mut self, known: &BTreeSet<DeviceId>) -> bool {
        for id in known {
            if !self.event(&Event::Paired(*id)).await {
                return false;
            }
        }
        true
    }

    /// Brings the client from what it knows to what is.
    async fn resync(&mut self, known: &mut BTreeSet<DeviceId>) -> bool {
        let devices = self.shared.devices();
        let gone: Vec<DeviceId> = known
            .iter()
            .copied()
            .filter(|id| !devices.iter().any(|device| device.id == *id))
            .collect();
        for id in gone {
            if !self.detached(known, id).await {
                return false;
            }
        }
        for device in devices {
            if !self.attached(known, device).await {
                return false;
            }
        }
        true
    }
}
