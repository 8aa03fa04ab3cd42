//! One view of all devices, wherever they come from: this program's own USB, a daemon, the network.
//!
//! # Example
//! Two sources know the same phone, one by cable and one by network: it is one device.
//! ```
//! use std::sync::Arc;
//!
//! use cabled_usbmux::devices::{DeviceEvent, Devices, Way};
//! use cabled_usbmux::{AttachedDevice, DeviceSource, Network, NetworkAddress, SourceEvent};
//! use cabled_wire::ids::DeviceId;
//! use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
//! use tokio::sync::broadcast;
//!
//! /// A source that always has the same device, and cannot connect to it.
//! struct Painted(AttachedDevice, broadcast::Sender<SourceEvent>);
//!
//! impl DeviceSource for Painted {
//!     fn list(&self) -> Vec<AttachedDevice> {
//!         vec![self.0.clone()]
//!     }
//!     fn watch(&self) -> broadcast::Receiver<SourceEvent> {
//!         self.1.subscribe()
//!     }
//!     fn connect(&self, _: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
//!         Box::pin(async move { Err(ConnectError::Refused { port }) })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let udid = "00008030-001A2B3C4D5E6F70".parse()?;
//! let address = NetworkAddress::native("192.168.1.7".parse()?, 0);
//! let network = Network { address, service_name: None, interface: None };
//! let by_cable = AttachedDevice::usb(DeviceId(4), "00008030001a2b3c4d5e6f70".parse()?);
//! let by_network = AttachedDevice::network(DeviceId(9), udid, network);
//!
//! let devices = Devices::builder()
//!     .source(Arc::new(Painted(by_network, broadcast::Sender::new(4))))
//!     .source(Arc::new(Painted(by_cable, broadcast::Sender::new(4))))
//!     .start();
//! devices.settled().await;
//! let [phone] = &devices.list()[..] else { panic!("one phone") };
//! assert_eq!(phone.attachments().count(), 2);
//! assert_eq!(phone.preferred().way(), Way::Cable);
//!
//! // A watcher begins with what is there.
//! let mut events = devices.watch();
//! assert!(matches!(events.next().await, DeviceEvent::Attached(device) if device == *phone));
//!
//! // The error is that of the cable: only a way that is gone makes a connection take the next one.
//! assert!(matches!(phone.connect(62078).await, Err(ConnectError::Refused { port: 62078 })));
//! # Ok(())
//! # }
//! ```
//!
//! # How it fits together
//! A [`Devices`] follows any number of [`DeviceSource`]s and merges what they have by UDID. Its [`Device`] is what
//! `lockdown` and everything above open streams on; each connection takes the best way there is at that moment: a cable
//! before the network, the program's own USB before a daemon. [`Devices::watch`] tells what comes, changes and goes.
//! It is a [`DeviceSource`] itself, so that a [`Server`](crate::server::Server) offers all of it to other programs, where
//! a device that is reached in two ways is listed under two ids, as Apple's daemon does it.
//!
//! # Troubles
//! [`Devices::troubles`] has what a person should be told, and leaves out what only looks like trouble. Where a daemon
//! runs it holds the USB interface of each phone, and this program's own USB finds them busy, or may not open them at all:
//! the daemon then has the phone, it is listed from there, and nothing is said. A daemon that is not running is none
//! either while another source serves cables. What each source says by itself is in [`Devices::sources`].
//!
//! # Limits
//! 1024 devices a source ([`DevicesBuilder::device_limit`]); what a source names beyond that is a
//! [`Trouble::TooManyDevices`]. A watcher holds two pictures and the differences between them, however slow it is. A
//! connection tries up to eight ways, each within the deadline of its source.

mod device;
mod events;
mod picture;
mod route;
mod source;
mod view;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cabled_wire::ids::{DeviceId, Udid};
use cabled_wire::io::{BoxStream, ConnectError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

pub use device::Device;
pub use events::{DeviceEvent, DevicesEvents};
pub use route::{Attachment, Origin, Way};

use crate::client::DaemonSource;
use crate::source::{DeviceSource, SourceEvent, Trouble};
use picture::{Known, Picture};
use view::View;

/// Events a follower of the union may lag behind before it is told to list again.
const EVENTS: usize = 1024;
/// Ways tried for one connection. Only a hostile source has as many that are all gone.
const MAX_TRIES: usize = 8;

/// All devices of some sources. Cheap to clone; all clones are the same view.
///
/// The view follows its sources until it, its devices and its watchers are dropped.
#[derive(Clone)]
pub struct Devices {
    shared: Arc<Shared>,
}

/// Collects the sources of a [`Devices`]. Which source is better does not depend on the order; see [`Origin`].
#[derive(Default)]
#[must_use = "nothing is followed before `start`"]
pub struct DevicesBuilder {
    sources: Vec<(Origin, Arc<dyn DeviceSource>)>,
    limit: Option<usize>,
}

/// What one source says by itself.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SourceState {
    /// Which source.
    pub origin: Origin,
    /// How many attachments it has.
    pub devices: usize,
    /// All its troubles, also those that are none for a person.
    pub troubles: Vec<Trouble>,
}

impl DevicesBuilder {
    /// Adds a source of your own: virtual phones, the devices of another computer.
    pub fn source(mut self, source: Arc<dyn DeviceSource>) -> Self {
        self.sources.push((Origin::Own, source));
        self
    }

    /// Adds the devices of a daemon, whether it runs already, will be started, or comes and goes; see [`DaemonSource`].
    ///
    /// Starts a task in the current tokio runtime, which ends with the view.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn daemon(self, daemon: crate::Daemon) -> Self {
        self.daemon_source(DaemonSource::start(daemon))
    }

    /// Adds the devices of a daemon that is followed already, or with options of its own.
    pub fn daemon_source(mut self, source: DaemonSource) -> Self {
        let origin = Origin::Daemon(source.daemon().address().clone());
        self.sources.push((origin, Arc::new(source)));
        self
    }

    /// Adds the devices on this computer's own USB ports.
    ///
    /// Beside a daemon, a phone belongs to whoever opens it first. A daemon that runs has it already; one that the
    /// system starts on plug-in (Linux) may find it taken by this program.
    #[cfg(feature = "usb")]
    pub fn usb(mut self, bus: crate::usb::UsbBus) -> Self {
        self.sources.push((Origin::Usb, Arc::new(bus)));
        self
    }

    /// Adds paired devices on the network.
    #[cfg(feature = "network")]
    pub fn network(mut self, source: crate::network::NetworkSource) -> Self {
        self.sources.push((Origin::Network, Arc::new(source)));
        self
    }

    /// Sets how many devices of one source are listed (default 1024).
    pub fn device_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Starts to follow the sources; what they list is there at once, and [`Devices::settled`] waits for the rest.
    ///
    /// Starts one task a source in the current tokio runtime; they end with the view.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(self) -> Devices {
        let Self { sources, limit } = self;
        let view = View::new(
            sources.iter().map(|(origin, _)| origin.clone()),
            limit.unwrap_or(DevicesBuilder::DEVICE_LIMIT),
        );
        let published = watch::Sender::new(Published {
            picture: Arc::clone(view.picture()),
            settled: view.is_settled(),
        });
        let shared = Arc::new(Shared {
            slots: sources.into_iter().map(Slot::new).collect(),
            view: Mutex::new(view),
            published,
            events: broadcast::Sender::new(EVENTS),
            followers: Mutex::default(),
        });
        let follow = |(index, slot): (usize, &Slot)| {
            // Subscribed before it is listed: nothing falls in between.
            let events = slot.source.watch();
            shared.refresh(index);
            tokio::spawn(follow(Arc::downgrade(&shared), index, Arc::clone(&slot.source), events))
        };
        let followers = shared.slots.iter().enumerate().map(follow).collect();
        *lock(&shared.followers) = followers;
        Devices { shared }
    }

    /// How many devices of one source are listed.
    pub const DEVICE_LIMIT: usize = 1024;
}

impl fmt::Debug for DevicesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins: Vec<_> = self.sources.iter().map(|(origin, _)| origin).collect();
        f.debug_struct("DevicesBuilder").field("sources", &origins).finish()
    }
}

impl Devices {
    /// A builder without sources.
    pub fn builder() -> DevicesBuilder {
        DevicesBuilder::default()
    }

    /// Waits until every source has looked once; [`Devices::list`] then has what was there.
    ///
    /// Without a deadline of its own, but each source has one: 20 s for a daemon, 2 s for the network, half a minute for
    /// USB if a device there does not answer. All of them are settled within milliseconds as a rule, the network apart.
    /// Dropping the future is safe.
    pub async fn settled(&self) {
        let mut published = self.shared.published.subscribe();
        // An error would say that the sender is gone, which `self` holds.
        let _ = published.wait_for(|published| published.settled).await;
    }

    /// The devices there are now, one for each UDID.
    #[must_use]
    pub fn list(&self) -> Vec<Device> {
        let picture = self.shared.picture();
        let all = picture.devices.values();
        all.map(|known| Device::new(&self.shared, Arc::clone(known))).collect()
    }

    /// A device, if it is there now.
    #[must_use]
    pub fn find(&self, udid: &Udid) -> Option<Device> {
        let known = self.shared.picture().devices.get(udid).cloned()?;
        Some(Device::new(&self.shared, known))
    }

    /// What a person has to know now, see [the module](self#troubles). Empty until the view is settled.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        self.shared.picture().troubles.clone()
    }

    /// What happens, beginning with one [`DeviceEvent::Attached`] for each device that is there.
    #[must_use]
    pub fn watch(&self) -> DevicesEvents {
        DevicesEvents::new(&self.shared)
    }

    /// What each source says by itself, in the order of the builder.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceState> {
        let state = |slot: &Slot| SourceState {
            origin: slot.origin.clone(),
            devices: slot.source.list().len(),
            troubles: slot.source.troubles(),
        };
        self.shared.slots.iter().map(state).collect()
    }
}

impl fmt::Debug for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Devices")
            .field("devices", &self.list())
            .finish_non_exhaustive()
    }
}

struct Shared {
    slots: Vec<Slot>,
    view: Mutex<View>,
    published: watch::Sender<Published>,
    /// For those who take the union as a source.
    events: broadcast::Sender<SourceEvent>,
    followers: Mutex<Vec<JoinHandle<()>>>,
}

struct Slot {
    origin: Origin,
    source: Arc<dyn DeviceSource>,
    /// Held from listing to telling the view, so that an older list never replaces a newer one.
    refreshing: Mutex<()>,
}

/// What watchers look at.
struct Published {
    picture: Arc<Picture>,
    settled: bool,
}

impl Slot {
    fn new((origin, source): (Origin, Arc<dyn DeviceSource>)) -> Self {
        Self {
            origin,
            source,
            refreshing: Mutex::new(()),
        }
    }
}

impl Shared {
    fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.published.borrow().picture)
    }

    /// Looks at a source again. Cheap enough for each of its events, of which none has to be understood: what counts is
    /// what the source lists.
    fn refresh(&self, index: usize) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let _one_at_a_time = lock(&slot.refreshing);
        let (devices, troubles) = (slot.source.list(), slot.source.troubles());
        self.update(|view| view.handle_snapshot(index, devices, troubles));
    }

    /// Changes the view and publishes what came out, in the order in which it changed.
    fn update(&self, change: impl FnOnce(&mut View)) {
        let mut view = lock(&self.view);
        let before = Arc::clone(view.picture());
        change(&mut view);
        let (picture, settled) = (Arc::clone(view.picture()), view.is_settled());
        let published = Published {
            picture: Arc::clone(&picture),
            settled,
        };
        self.published.send_if_modified(|now| {
            let modified = !Arc::ptr_eq(&now.picture, &published.picture) || now.settled != settled;
            *now = published;
            modified
        });
        if !Arc::ptr_eq(&before, &picture) {
            for event in before.source_events(&picture) {
                // An error says that nobody listens.
                let _ = self.events.send(event);
            }
        }
    }

    /// Passes on that pair records were saved, to those who know the devices by ids of the union.
    fn announce_paired(&self, source: usize, paired: &BTreeSet<DeviceId>) {
        if paired.is_empty() {
            return;
        }
        // Under the lock of the view, as all events.
        let view = lock(&self.view);
        for known in view.picture().devices.values() {
            let is_meant = |a: &Attachment| a.source == source && paired.contains(&a.device.id);
            if known.attachments().any(is_meant) {
                for listed in &known.listed {
                    // An error says that nobody listens.
                    let _ = self.events.send(SourceEvent::Paired(listed.id));
                }
            }
        }
    }

    /// A stream by the best way there is; the next best when a source says that its device is gone.
    async fn open(&self, udid: &Udid, only: Option<Way>, port: u16) -> Result<(BoxStream, Attachment), ConnectError> {
        let mut tried: Vec<(usize, DeviceId)> = Vec::new();
        while tried.len() < MAX_TRIES {
            let Some(known) = self.picture().devices.get(udid).cloned() else {
                break;
            };
            let Some((slot, attachment)) = self.untried(&known, only, &tried) else {
                break;
            };
            match slot.source.connect(attachment.device.id, port).await {
                Ok(stream) => return Ok((stream, attachment.clone())),
                Err(ConnectError::Gone) => {
                    tracing::debug!(%udid, port, way = %attachment, "gone; another way is looked for");
                    tried.push(attachment.key());
                    // The source knows more than its events have told yet.
                    self.refresh(attachment.source);
                }
                Err(error) => return Err(error),
            }
        }
        Err(ConnectError::Gone)
    }

    fn untried<'a>(
        &self,
        known: &'a Known,
        only: Option<Way>,
        tried: &[(usize, DeviceId)],
    ) -> Option<(&Slot, &'a Attachment)> {
        let fits = |attachment: &&Attachment| {
            only.is_none_or(|way| attachment.way() == way) && !tried.contains(&attachment.key())
        };
        let attachment = known.attachments().find(fits)?;
        Some((self.slots.get(attachment.source)?, attachment))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for follower in lock(&self.followers).drain(..) {
            follower.abort();
        }
    }
}

/// Follows one source as long as somebody looks at the view. Holds no part of the view while it waits.
async fn follow(
    shared: Weak<Shared>,
    index: usize,
    source: Arc<dyn DeviceSource>,
    mut events: broadcast::Receiver<SourceEvent>,
) {
    let settled = source.settled();
    tokio::pin!(settled);
    let (mut waiting, mut open) = (true, true);
    while waiting || open {
        let mut paired = BTreeSet::new();
        let mut note = |event| {
            if let SourceEvent::Paired(id) = event {
                paired.insert(id);
            }
        };
        let settles = tokio::select! {
            () = &mut settled, if waiting => true,
            event = events.recv(), if open => {
                match event {
                    Ok(event) => note(event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => open = false,
                }
                false
            }
        };
        // Whatever else was said is in the list already.
        while let Some(event) = events.try_recv().ok().filter(|_| open) {
            note(event);
        }
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.refresh(index);
        shared.announce_paired(index, &paired);
        if settles {
            waiting = false;
            shared.update(|view| view.handle_settled(index));
        }
    }
    tracing::debug!(index, "a source of devices ended");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
