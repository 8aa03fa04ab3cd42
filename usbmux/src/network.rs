//! Devices that announce themselves on the network, with no daemon.
//!
//! A device does so once Wi-Fi sync was turned on over a cable. It is found by mDNS and recognised by the pair record
//! that this computer has of it; devices without one are counted and not listed, as nothing can be done with them.
//!
//! # Example
//! Which device an announcement is of (what [`NetworkSource`] does with everything it hears):
//! ```
//! use cabled_usbmux::network::{Announcement, KnownDevice};
//!
//! // From iOS 26.4 on the address in the name is random, and a tag tells those who are paired.
//! let phone = KnownDevice::new("00008030-001A2B3C4D5E6F70".parse()?)
//!     .with_wifi_address("a4:5e:60:12:34:56")
//!     .with_host_id("B8034681-D435-ED02-6DDD-C165A334B16C");
//! let heard = Announcement::new("1e:02:3c:44:55:66@fe80::1c02:3cff:fe44:5566._apple-mobdev2._tcp.local.")
//!     .ok_or("a name")?
//!     .with_txt("identifier", b"0F53A5B2")
//!     .with_txt("authTag", b"0Vs/AAAAAAA=")
//!     .with_address("fe80::1c02:3cff:fe44:5566".parse()?, 3)
//!     .with_address("192.168.1.7".parse()?, 3);
//! assert!(!phone.announced(&heard), "a tag that another computer's pairing made");
//! // What is tried first:
//! assert_eq!(heard.addresses()[0].to_string(), "192.168.1.7");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it fits together
//! A [`NetworkSource`] is one source of [`Devices`](crate::devices::Devices) (spec: usbmux, section 12; lockdown,
//! section 10). It connects by TCP to the device's own ports, without any multiplexer; [`lockdown`]'s heartbeat keeps the
//! services open, as [`Connect::is_network`](cabled_wire::io::Connect::is_network) says of such a device.
//!
//! [`lockdown`]: https://docs.rs/cabled-lockdown
//!
//! # Limits
//! Anybody on the network can announce anything: at most 1024 instances are kept, 16 addresses and 64 tags of each, names
//! up to 255 bytes. Addresses that another machine cannot have are left out. Who answers at an address is proven by TLS
//! and the pair record, not here. A sleeping device may be away for minutes. Records are read again every 30 s, and 2 s
//! after a stranger is heard.

mod announcement;
mod known;
mod reach;
mod state;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cabled_wire::ids::DeviceId;
use cabled_wire::io::{BoxFuture, BoxStream, ConnectError};
use mdns_sd::{ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, sleep_until};

pub use announcement::{Address, Announcement};
pub use known::KnownDevice;

use crate::AttachedDevice;
use crate::retry::Retry;
use crate::source::followed::{Followed, Follower};
use crate::source::{DeviceSource, SourceEvent, Trouble};
use crate::store::PairRecordStore;
use announcement::Accept;
use state::{Part, State};

/// The service type of devices with Wi-Fi sync. Spec: lockdown, section 10.2.
pub const SERVICE_TYPE: &str = "_apple-mobdev2._tcp.local.";

/// How often pair records are read again.
const RECORDS_AGE: Duration = Duration::from_secs(30);
/// How soon, when a device is heard that none of them is of.
const RECORDS_AGE_WITH_STRANGER: Duration = Duration::from_secs(2);
/// The first and the longest wait before mDNS is started again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How a [`NetworkSource`] looks for devices.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NetworkOptions {
    /// Where the pair records are; `None` is the system's own store.
    pub records: Option<PairRecordStore>,
    /// How long the first answers are waited for, for [`DeviceSource::settled`].
    pub settle: Duration,
    /// How long one address may take to accept a connection.
    pub connect_limit: Duration,
    /// UDP port of mDNS.
    pub port: u16,
    accept: Accept,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            records: None,
            settle: Duration::from_secs(2),
            connect_limit: Duration::from_secs(3),
            port: mdns_sd::MDNS_PORT,
            accept: Accept::Remote,
        }
    }
}

impl NetworkOptions {
    /// Sets where the pair records are (default: the system's own store, which often only root can read).
    #[must_use]
    pub fn with_records(mut self, records: PairRecordStore) -> Self {
        self.records = Some(records);
        self
    }

    /// Sets how long the first answers are waited for (default 2 s; a device that is awake answers within 120 ms).
    #[must_use]
    pub fn with_settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// Sets how long one address may take to accept a connection (default 3 s).
    #[must_use]
    pub fn with_connect_limit(mut self, limit: Duration) -> Self {
        self.connect_limit = limit;
        self
    }

    /// Sets the UDP port of mDNS (default 5353); another one only makes sense for a test of one's own.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Takes devices at this computer's own addresses, too (default: only those of other machines): virtual ones.
    #[must_use]
    pub fn with_loopback(mut self) -> Self {
        self.accept = Accept::Loopback;
        self
    }
}

/// Paired devices on the network, looked for as long as this lives. Cheap to clone.
#[derive(Clone, Debug)]
pub struct NetworkSource {
    shared: Arc<Shared>,
    _follower: Arc<Follower>,
}

struct Shared {
    options: NetworkOptions,
    followed: Followed<State>,
}

impl NetworkSource {
    /// Starts to look for devices: a task in the current tokio runtime and a thread for mDNS, which end with the last
    /// clone. What keeps it from working is a [`Trouble::NoSource`], and tried again.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(options: NetworkOptions) -> Self {
        let shared = Arc::new(Shared {
            options,
            followed: Followed::new(State::default()),
        });
        let follower = Follower::spawn(follow(Arc::clone(&shared)));
        Self {
            shared,
            _follower: Arc::new(follower),
        }
    }

    /// How many devices are announced of which this computer has no pair record.
    #[must_use]
    pub fn strangers(&self) -> usize {
        self.shared.followed.state().strangers()
    }
}

impl DeviceSource for NetworkSource {
    fn list(&self) -> Vec<AttachedDevice> {
        self.shared.followed.state().list()
    }

    fn watch(&self) -> broadcast::Receiver<SourceEvent> {
        self.shared.followed.watch()
    }

    /// By TCP to the first of the device's addresses that accepts.
    fn connect(&self, device: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move {
            let addresses = self
                .shared
                .followed
                .state()
                .addresses(device)
                .ok_or(ConnectError::Gone)?;
            let addresses = addresses.iter().map(|address| address.socket_addr(port)).collect();
            reach::first_to_accept(addresses, port, self.shared.options.connect_limit).await
        })
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.shared.followed.state().troubles()
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.followed.settled())
    }
}

impl Shared {
    async fn read_records(&self) {
        let system = || PairRecordStore::system();
        let Some(store) = self.options.records.clone().or_else(system) else {
            let reason = "it is not known where this system keeps pair records; name a folder";
            self.followed
                .update(|state| state.handle_trouble(Part::Records, Some(reason.to_owned())));
            return;
        };
        match known::read(&store).await {
            Ok(known) => self.followed.update(|state| {
                state.handle_known(known);
                state.handle_trouble(Part::Records, None);
            }),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                let reason = format!(
                    "without pair records no device is recognised, and {error}{}",
                    cause.unwrap_or_default()
                );
                self.followed
                    .update(|state| state.handle_trouble(Part::Records, Some(reason)));
            }
        }
    }

    /// Listens until that is not possible any more, and says why.
    async fn browse(&self) -> String {
        let started = ServiceDaemon::new_with_port(self.options.port).and_then(|daemon| {
            let daemon = Browsing(daemon);
            let heard = daemon.0.browse(SERVICE_TYPE)?;
            Ok((daemon, heard))
        });
        let (_daemon, heard) = match started {
            Ok(started) => started,
            Err(error) => return error.to_string(),
        };
        self.followed.update(|state| state.handle_trouble(Part::Browsing, None));
        let mut read_at = Instant::now();
        let settles_at = after(read_at, self.options.settle);
        loop {
            let is_settled = self.followed.is_settled();
            let age = match self.followed.state().strangers() {
                0 => RECORDS_AGE,
                _ => RECORDS_AGE_WITH_STRANGER,
            };
            tokio::select! {
                event = heard.recv_async() => match event {
                    Ok(event) => self.take(event),
                    Err(_) => return "mDNS stopped, or more was announced than could be looked at".to_owned(),
                },
                () = sleep_until(after(read_at, age)) => {
                    self.read_records().await;
                    read_at = Instant::now();
                }
                () = sleep_until(settles_at), if !is_settled => {
                    self.followed.settle();
                }
            }
        }
    }

    fn take(&self, event: ServiceEvent) {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                if let Some(announcement) = announced(&service, self.options.accept) {
                    tracing::debug!(name = announcement.name(), "announced");
                    self.followed.update(|state| state.handle_announced(announcement));
                }
            }
            ServiceEvent::ServiceRemoved(_, name) => self.followed.update(|state| state.handle_withdrawn(&name)),
            _ => {}
        }
    }
}

/// Ends the thread of mDNS.
struct Browsing(ServiceDaemon);

impl Drop for Browsing {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::debug!(%error, "mDNS does not stop");
        }
    }
}

async fn follow(shared: Arc<Shared>) {
    let mut retry = Retry::new(RETRY.0, RETRY.1);
    loop {
        let since = Instant::now();
        shared.read_records().await;
        let reason = shared.browse().await;
        tracing::debug!(reason, "the network is not listened to for now");
        shared.followed.update(|state| {
            state.handle_deaf();
            state.handle_trouble(Part::Browsing, Some(reason));
        });
        shared.followed.settle();
        sleep(retry.wait_after(since.elapsed())).await;
    }
}

/// What is used of a service instance; `None` for a name that no device has.
fn announced(service: &ResolvedService, accept: Accept) -> Option<Announcement> {
    let mut announcement = Announcement::new(service.get_fullname())?;
    for property in service.get_properties().iter() {
        announcement = announcement.with_txt(property.key(), property.val().unwrap_or_default());
    }
    for address in service.get_addresses() {
        let interface = match address {
            ScopedIp::V4(ip) => ip.interface_ids().first().map(|interface| interface.index),
            ScopedIp::V6(ip) => Some(ip.scope_id().index),
            _ => None,
        };
        announcement = announcement.accepting(address.to_ip_addr(), interface.unwrap_or(0), accept);
    }
    Some(announcement)
}

fn after(instant: Instant, wait: Duration) -> Instant {
    instant.checked_add(wait).unwrap_or(instant)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("state", &self.followed.state())
            .finish_non_exhaustive()
    }
}
