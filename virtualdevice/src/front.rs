//! Phones for any client: a usbmux daemon whose devices are virtual.
//!
//! ```
//! # async fn run(phone: std::sync::Arc<dyn cabled_wire::io::Connect>) -> Result<(), Box<dyn std::error::Error>> {
//! use cabled_virtualdevice::front::{Front, Plug};
//!
//! let front = Front::new(std::env::temp_dir().join("records"));
//! front.add(Plug::new(phone)).await?;
//! let handle = front.serve_tcp("127.0.0.1:0".parse()?)?;
//! println!("USBMUXD_SOCKET_ADDRESS={}", handle.addr().expect("a TCP address"));
//! handle.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cabled_usbmux::mux::{MuxDriver, MuxError, MuxHandle, MuxOptions, link};
use cabled_usbmux::server::{Server, ServerOptions, Serving, bind_tcp};
use cabled_usbmux::store::PairRecordStore;
use cabled_usbmux::{AttachedDevice, DeviceSource, Network, NetworkAddress, SourceEvent};
use cabled_wire::ids::DeviceId;
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use tokio::sync::broadcast;

use crate::mux::{DeviceMuxOptions, PluggedIn, plug_in};

/// Ids of network devices start here, as other daemons have it.
const FIRST_NETWORK_ID: u32 = 0x1000_0000;

/// A phone to be plugged in, and how.
#[derive(Clone, Debug)]
pub struct Plug {
    device: Arc<dyn Connect>,
    link: LinkKind,
    attached: Option<AttachedDevice>,
}

#[derive(Clone, Debug)]
enum LinkKind {
    Mux { device: DeviceMuxOptions, host: MuxOptions },
    Direct,
}

impl Plug {
    /// A phone on a cable: its connections run through both ends of the multiplexer.
    ///
    /// One that says it is on the network ([`Connect::is_network`]) is reached directly and listed as such.
    #[must_use]
    pub fn new(device: Arc<dyn Connect>) -> Self {
        let link = match device.is_network() {
            true => LinkKind::Direct,
            false => LinkKind::Mux {
                device: DeviceMuxOptions::default(),
                host: MuxOptions::default(),
            },
        };
        Self {
            device,
            link,
            attached: None,
        }
    }

    /// Skips the multiplexer: connections go to the phone in memory (default: through the multiplexer).
    #[must_use]
    pub fn direct(mut self) -> Self {
        self.link = LinkKind::Direct;
        self
    }

    /// Sets how both ends of the multiplexer behave.
    #[must_use]
    pub fn mux(mut self, device: DeviceMuxOptions, host: MuxOptions) -> Self {
        self.link = LinkKind::Mux { device, host };
        self
    }

    /// Sets what clients are told about the attachment (default: an ordinary iPhone on USB 2); its id is replaced.
    #[must_use]
    pub fn attached(mut self, attached: AttachedDevice) -> Self {
        self.attached = Some(attached);
        self
    }
}

impl<T: Connect + 'static> From<Arc<T>> for Plug {
    fn from(device: Arc<T>) -> Self {
        Self::new(device)
    }
}

impl From<Arc<dyn Connect>> for Plug {
    fn from(device: Arc<dyn Connect>) -> Self {
        Self::new(device)
    }
}

impl From<crate::Phone> for Plug {
    fn from(phone: crate::Phone) -> Self {
        Self::new(Arc::new(phone))
    }
}

/// A phone cannot be plugged in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrontError {
    /// The device does not know its own identifier, so no client could ask for it.
    #[error("the device has no UDID")]
    NoUdid,
    /// Both ends of the multiplexer do not get along, for instance because of a version set for a test.
    #[error("the multiplexer does not start")]
    Mux(#[source] MuxError),
}

/// Offers phones to any number of sockets. Cheap to clone; phones come and go at run time.
#[derive(Clone)]
pub struct Front {
    bus: Arc<Bus>,
    store: PairRecordStore,
    server: Server,
}

impl Front {
    /// A front without phones, whose pair records are kept in `store`.
    #[must_use]
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Self::with_options(store, ServerOptions::default())
    }

    /// As [`Front::new`], with other limits for its clients.
    #[must_use]
    pub fn with_options(store: impl Into<PathBuf>, options: ServerOptions) -> Self {
        let bus = Arc::new(Bus::default());
        let store = PairRecordStore::new(store);
        let source: Arc<dyn DeviceSource> = Arc::<Bus>::clone(&bus);
        let server = Server::with_options(source, store.clone(), options);
        Self { bus, store, server }
    }

    /// The pair records.
    #[must_use]
    pub fn store(&self) -> &PairRecordStore {
        &self.store
    }

    /// Plugs a phone in and gives the id of its attachment; listeners hear of it.
    ///
    /// Dropping the future leaves the phone unplugged.
    ///
    /// # Errors
    /// [`FrontError`].
    pub async fn add(&self, plug: impl Into<Plug>) -> Result<DeviceId, FrontError> {
        let Plug { device, link, attached } = plug.into();
        let udid = device.udid().cloned().ok_or(FrontError::NoUdid)?;
        let id = self.bus.lock().next_id(device.is_network());
        let attached = match attached {
            Some(attached) => AttachedDevice { id, ..attached },
            None if device.is_network() => {
                let address = NetworkAddress::native(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
                let service_name = Some(format!("{udid}@127.0.0.1._apple-mobdev2._tcp.local."));
                AttachedDevice::network(
                    id,
                    udid,
                    Network {
                        address,
                        service_name,
                        interface: Some(1),
                    },
                )
            }
            None => AttachedDevice::usb(id, udid),
        };
        let route = match link {
            LinkKind::Direct => Route::Direct(device),
            LinkKind::Mux { device: options, host } => {
                let (ours, theirs) = link::memory_pair();
                let phone = plug_in(theirs, device, options);
                let mux = MuxDriver::spawn(ours, host);
                mux.ready().await.map_err(FrontError::Mux)?;
                let bus = Arc::downgrade(&self.bus);
                let watched = mux.clone();
                tokio::spawn(async move {
                    watched.gone().await;
                    if let Some(bus) = bus.upgrade() {
                        bus.remove(id);
                    }
                });
                Route::Mux { mux, phone }
            }
        };
        self.bus.insert(attached, route);
        Ok(id)
    }

    /// Pulls a phone's cable: its streams end, listeners hear of it. Says whether it was there.
    pub fn remove(&self, id: DeviceId) -> bool {
        self.bus.remove(id)
    }

    /// The phones that are plugged in.
    #[must_use]
    pub fn devices(&self) -> Vec<AttachedDevice> {
        self.bus.list()
    }

    /// The phones as a source of devices: for a server with other options, or one view of all devices.
    #[must_use]
    pub fn source(&self) -> Arc<dyn DeviceSource> {
        Arc::<Bus>::clone(&self.bus)
    }

    /// A byte stream to a phone's port, the way clients get it but without a socket.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, id: DeviceId, port: u16) -> Result<BoxStream, ConnectError> {
        self.bus.connect(id, port).await
    }

    /// Serves clients at a TCP address; port 0 lets the system choose.
    ///
    /// # Errors
    /// When the address is in use or not ours.
    pub fn serve_tcp(&self, address: SocketAddr) -> io::Result<FrontHandle> {
        Ok(FrontHandle {
            serving: self.server.serve_tcp(bind_tcp(address)?)?,
        })
    }

    /// Serves clients at a UNIX socket.
    ///
    /// # Errors
    /// When another daemon serves it, or something else lies there.
    #[cfg(unix)]
    pub fn serve_unix(&self, path: impl Into<PathBuf>) -> io::Result<FrontHandle> {
        let socket = cabled_usbmux::server::bind_unix(path)?;
        Ok(FrontHandle {
            serving: self.server.serve_unix(socket),
        })
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("devices", &self.devices())
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// One socket of a [`Front`]. Dropping it ends that service; the phones stay plugged in.
#[derive(Debug)]
#[must_use = "dropping it ends the service"]
pub struct FrontHandle {
    serving: Serving,
}

impl FrontHandle {
    /// The TCP address, for `USBMUXD_SOCKET_ADDRESS`; `None` for a UNIX socket.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.serving.address()
    }

    /// Ends the service and waits until its clients are gone (at most five seconds).
    pub async fn shutdown(self) {
        self.serving.shutdown().await;
    }
}

/// How connections get to a phone.
enum Route {
    Direct(Arc<dyn Connect>),
    Mux {
        mux: MuxHandle,
        #[expect(dead_code, reason = "dropping it pulls the cable")]
        phone: PluggedIn,
    },
}

struct Bus {
    state: Mutex<BusState>,
    events: broadcast::Sender<SourceEvent>,
}

#[derive(Default)]
struct BusState {
    devices: BTreeMap<DeviceId, (AttachedDevice, Route)>,
    last_usb: u32,
    last_network: u32,
}

impl BusState {
    /// Never the same twice; the two kinds have ranges of their own.
    fn next_id(&mut self, network: bool) -> DeviceId {
        if network {
            self.last_network = self.last_network.wrapping_add(1);
            DeviceId(FIRST_NETWORK_ID.wrapping_add(self.last_network))
        } else {
            self.last_usb = self.last_usb.wrapping_add(1);
            DeviceId(self.last_usb)
        }
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            events: broadcast::Sender::new(256),
        }
    }
}

impl Bus {
    fn lock(&self) -> MutexGuard<'_, BusState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, attached: AttachedDevice, route: Route) {
        let mut state = self.lock();
        state.devices.insert(attached.id, (attached.clone(), route));
        // Under the lock, so that events come in the order of what happened. An error says that nobody listens.
        let _ = self.events.send(SourceEvent::Attached(attached));
    }

    fn remove(&self, id: DeviceId) -> bool {
        let mut state = self.lock();
        let Some((_, route)) = state.devices.remove(&id) else {
            return false;
        };
        let _ = self.events.send(SourceEvent::Detached(id));
        drop(state);
        if let Route::Mux { mux, .. } = &route {
            mux.disconnect();
        }
        true
    }
}

impl DeviceSource for Bus {
    fn list(&self) -> Vec<AttachedDevice> {
        self.lock()
            .devices
            .values()
            .map(|(attached, _)| attached.clone())
            .collect()
    }

    fn watch(&self) -> broadcast::Receiver<SourceEvent> {
        self.events.subscribe()
    }

    fn connect(&self, id: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move {
            let found = self.lock().devices.get(&id).map(|(_, route)| match route {
                Route::Direct(device) => Err(Arc::clone(device)),
                Route::Mux { mux, .. } => Ok(mux.clone()),
            });
            match found.ok_or(ConnectError::Gone)? {
                Ok(mux) => Ok(Box::new(mux.connect(port).await?) as BoxStream),
                Err(device) => device.connect(port).await,
            }
        })
    }
}
