//! What happens between plug-in and `Attached`: the device is told who this computer is, and asks its user about it.
//!
//! A [`Preflight`] stands between a source of devices and the server. A device that already trusts this computer is shown
//! as soon as it proves so; any other once its trust dialogue was asked for. Afterwards the device is watched, and paired
//! when its user has said yes. Spec: usbmux, section 11.
//!
//! No device stays hidden for ever: one whose lockdown does not answer is asked again and again, and shown after
//! [`PreflightOptions::hide_limit`] at the latest.

mod attend;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cabled::usbmux::store::PairRecordStore;
use cabled::usbmux::{AttachedDevice, ConnectionKind, DeviceSource, SourceEvent, Trouble};
use cabled::wire::ids::{DeviceId, Udid};
use cabled::wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How a [`Preflight`] behaves.
#[derive(Clone, Copy, Debug)]
pub struct PreflightOptions {
    /// After how long a device is shown whatever it answers (default 30 s).
    pub hide_limit: Duration,
    /// How long each answer of a device may take (default 10 s).
    pub reply_limit: Duration,
    /// How long each connection to a device may take (default 10 s).
    pub connect_limit: Duration,
}

impl Default for PreflightOptions {
    fn default() -> Self {
        Self {
            hide_limit: Duration::from_secs(30),
            reply_limit: Duration::from_secs(10),
            connect_limit: Duration::from_secs(10),
        }
    }
}

/// The devices of another source, each shown when it has been prepared. Dropping it ends all preparations.
pub struct Preflight {
    shared: Arc<Shared>,
    follow: JoinHandle<()>,
}

struct Shared {
    source: Arc<dyn DeviceSource>,
    store: PairRecordStore,
    options: PreflightOptions,
    devices: Mutex<BTreeMap<DeviceId, Entry>>,
    events: broadcast::Sender<SourceEvent>,
}

struct Entry {
    attached: AttachedDevice,
    is_shown: bool,
    /// Prepares and watches the device; ends with its attachment.
    task: Option<JoinHandle<()>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Preflight {
    /// Follows a source from now on, the devices included that are there already. Has to be called in a tokio runtime.
    pub fn start(source: Arc<dyn DeviceSource>, store: PairRecordStore, options: PreflightOptions) -> Self {
        // Before the list, so that nothing falls in between.
        let events = source.watch();
        let shared = Arc::new(Shared {
            source,
            store,
            options,
            devices: Mutex::default(),
            events: broadcast::Sender::new(256),
        });
        shared.resync();
        let follow = tokio::spawn(follow(Arc::clone(&shared), events));
        Self { shared, follow }
    }
}

impl Drop for Preflight {
    fn drop(&mut self) {
        self.follow.abort();
        // The tasks hold what holds them.
        self.shared.lock().clear();
    }
}

impl fmt::Debug for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preflight")
            .field("shown", &self.list())
            .finish_non_exhaustive()
    }
}

impl DeviceSource for Preflight {
    fn list(&self) -> Vec<AttachedDevice> {
        let devices = self.shared.lock();
        let shown = devices.values().filter(|entry| entry.is_shown);
        shown.map(|entry| entry.attached.clone()).collect()
    }

    fn watch(&self) -> broadcast::Receiver<SourceEvent> {
        self.shared.events.subscribe()
    }

    fn connect(&self, id: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        let is_shown = self.shared.lock().get(&id).is_some_and(|entry| entry.is_shown);
        match is_shown {
            true => self.shared.source.connect(id, port),
            false => Box::pin(async { Err(ConnectError::Gone) }),
        }
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.shared.source.troubles()
    }
}

async fn follow(shared: Arc<Shared>, mut events: broadcast::Receiver<SourceEvent>) {
    loop {
        match events.recv().await {
            Ok(SourceEvent::Attached(device)) => shared.arrived(device),
            Ok(SourceEvent::Changed(device)) => shared.changed(device),
            Ok(SourceEvent::Detached(id)) => shared.left(id),
            Ok(SourceEvent::Paired(id)) => shared.paired(id),
            Ok(other) => shared.tell(other),
            Err(RecvError::Lagged(_)) => shared.resync(),
            Err(RecvError::Closed) => return,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Entry>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error only says that nobody listens. Called under the lock where the order of events matters.
    fn tell(&self, event: SourceEvent) {
        let _ = self.events.send(event);
    }

    fn arrived(self: &Arc<Self>, attached: AttachedDevice) {
        let id = attached.id;
        let mut devices = self.lock();
        if devices.contains_key(&id) {
            return; // listed and told
        }
        let is_shown = !wants_preflight(&attached);
        let task = (!is_shown).then(|| tokio::spawn(prepare(Arc::clone(self), attached.clone())));
        if is_shown {
            self.tell(SourceEvent::Attached(attached.clone()));
        }
        let entry = Entry {
            attached,
            is_shown,
            task,
        };
        devices.insert(id, entry);
    }

    fn changed(&self, attached: AttachedDevice) {
        let mut devices = self.lock();
        if let Some(entry) = devices.get_mut(&attached.id) {
            entry.attached = attached.clone();
            if entry.is_shown {
                self.tell(SourceEvent::Changed(attached));
            }
        }
    }

    fn left(&self, id: DeviceId) {
        let mut devices = self.lock();
        if devices.remove(&id).is_some_and(|entry| entry.is_shown) {
            self.tell(SourceEvent::Detached(id));
        }
    }

    fn show(&self, id: DeviceId) {
        let mut devices = self.lock();
        if let Some(entry) = devices.get_mut(&id).filter(|entry| !entry.is_shown) {
            entry.is_shown = true;
            self.tell(SourceEvent::Attached(entry.attached.clone()));
        }
    }

    /// Whoever has not been shown the device will read its record anyway.
    fn paired(&self, id: DeviceId) {
        let devices = self.lock();
        if devices.get(&id).is_some_and(|entry| entry.is_shown) {
            self.tell(SourceEvent::Paired(id));
        }
    }

    /// Brings us from what we know to what is.
    fn resync(self: &Arc<Self>) {
        let present = self.source.list();
        let known: Vec<DeviceId> = self.lock().keys().copied().collect();
        for id in known {
            if !present.iter().any(|device| device.id == id) {
                self.left(id);
            }
        }
        for device in present {
            self.changed(device.clone());
            self.arrived(device);
        }
    }
}

/// Network devices refuse to pair, and the coprocessors of Macs have no lockdown to speak of.
fn wants_preflight(device: &AttachedDevice) -> bool {
    const T2: u16 = 0x8600;
    matches!(&device.connection, ConnectionKind::Usb(usb) if usb.product_id != Some(T2))
}

/// Runs as long as the device is attached, or until nothing is left to do.
async fn prepare(shared: Arc<Shared>, attached: AttachedDevice) {
    let (id, hide_limit) = (attached.id, shared.options.hide_limit);
    let device = Guest {
        shared: Arc::clone(&shared),
        id,
        udid: attached.udid,
    };
    let mut attending = std::pin::pin!(attend::attend(Arc::new(device)));
    tokio::select! {
        () = &mut attending => {}
        () = sleep(hide_limit) => {
            shared.show(id);
            attending.await;
        }
    }
    shared.show(id);
}

/// A device that is being prepared: the way to it, and what becomes of it.
struct Guest {
    shared: Arc<Shared>,
    id: DeviceId,
    udid: Udid,
}

impl Connect for Guest {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        let after = self.shared.options.connect_limit;
        Box::pin(async move {
            let late = |_| ConnectError::TimedOut {
                phase: "connecting to a device that was plugged in",
                after,
            };
            let connecting = self.shared.source.connect(self.id, port);
            timeout(after, connecting).await.map_err(late)?
        })
    }

    fn udid(&self) -> Option<&Udid> {
        Some(&self.udid)
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").field("id", &self.id).finish_non_exhaustive()
    }
}
