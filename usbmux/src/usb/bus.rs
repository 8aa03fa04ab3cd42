//! The devices on this computer's USB ports, as a source.

use std::collections::HashMap;
use std::future::{IntoFuture, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cabled_wire::ids::DeviceId;
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use futures_core::Stream;
use nusb::DeviceInfo;
use nusb::hotplug::HotplugEvent;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::access;
use super::attach::Attachment;
use super::options::{Kind, UsbOptions};
use super::roster::{Change, Roster};
use super::state::{Key, Shared, Stop};
use crate::mux::MuxDevice;
use crate::{AttachedDevice, DeviceSource, SourceEvent, Trouble};

/// How long the end of all devices may take.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
/// How long the system may take to list its devices.
const LISTING_LIMIT: Duration = Duration::from_secs(10);
/// Listings are this much rarer once the system has reported an arrival or departure by itself.
const PROVEN: u32 = 10;
/// Events of the system that may wait; while there are more the system keeps them.
const EVENTS: usize = 256;

/// The iPhones and iPads on this computer's USB ports, opened by this process. Cheap to clone.
///
/// Looks for devices from its start to its [`shutdown`](UsbBus::shutdown), or until the last clone is dropped; streams
/// that are open then go on, and an interface is let go with the last stream or device of it.
#[derive(Clone, Debug)]
pub struct UsbBus {
    running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    stop: watch::Sender<Stop>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_if_modified(|stop| {
            let goes_on = *stop == Stop::No;
            if goes_on {
                *stop = Stop::LetGo;
            }
            goes_on
        });
    }
}

impl UsbBus {
    /// Starts to look for devices, in tasks of the current tokio runtime, which needs its clock.
    ///
    /// Nothing is listed before [`UsbBus::settled`]. A system without USB is no error here: it is a
    /// [`Trouble::NoSource`].
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] outside a runtime.
    pub fn start(options: UsbOptions) -> io::Result<Self> {
        let runtime =
            tokio::runtime::Handle::try_current().map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))?;
        let shared = Arc::new(Shared::new(options));
        let stop = watch::Sender::new(Stop::No);
        let watcher = Watcher::new(Arc::clone(&shared), stop.subscribe());
        let task = Mutex::new(Some(runtime.spawn(watcher.run())));
        let running = Arc::new(Running { shared, stop, task });
        Ok(Self { running })
    }

    /// The devices whose multiplexer has answered, by their ids.
    #[must_use]
    pub fn devices(&self) -> Vec<AttachedDevice> {
        self.running.shared.list()
    }

    /// One of them, to open streams on; `None` when it is not there (any more). Keeps working when the bus is dropped.
    #[must_use]
    pub fn device(&self, id: DeviceId) -> Option<MuxDevice> {
        self.running.shared.device(id)
    }

    /// Waits until every device that was there at the start is listed, in [`DeviceSource::troubles`], or gone: some
    /// milliseconds as a rule, half a minute for a device that does not answer. Dropping the future is safe.
    pub async fn settled(&self) {
        self.running.shared.settled().await;
    }

    /// Ends all streams, releases all interfaces and waits for that, at most five seconds. The clones of this bus list
    /// nothing from then on. Dropping the future is safe; everything ends nevertheless.
    pub async fn shutdown(self) {
        self.running.stop.send_replace(Stop::Disconnect);
        let task = self.running.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = timeout(SHUTDOWN_LIMIT, task).await;
        }
    }
}

impl DeviceSource for UsbBus {
    fn list(&self) -> Vec<AttachedDevice> {
        self.devices()
    }

    fn watch(&self) -> broadcast::Receiver<SourceEvent> {
        self.running.shared.events.subscribe()
    }

    fn connect(&self, device: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move {
            let device = self.device(device).ok_or(ConnectError::Gone)?;
            device.connect(port).await
        })
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.running.shared.troubles()
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.running.shared.settled())
    }
}

/// The task that looks for devices.
struct Watcher {
    shared: Arc<Shared>,
    stop: watch::Receiver<Stop>,
    roster: Roster<nusb::DeviceId, String>,
    /// The stay of each device on the bus, and how its task is told that it is over.
    stays: HashMap<nusb::DeviceId, (Key, watch::Sender<bool>)>,
    tasks: JoinSet<()>,
    last_key: Key,
}

/// What the watcher waits for.
enum News {
    Event(HotplugEvent),
    Listing(Result<Vec<DeviceInfo>, String>),
    TimeToList,
    DeviceEnded,
    Stop,
}

impl Watcher {
    fn new(shared: Arc<Shared>, stop: watch::Receiver<Stop>) -> Self {
        Self {
            shared,
            stop,
            roster: Roster::new(),
            stays: HashMap::new(),
            tasks: JoinSet::new(),
            last_key: 0,
        }
    }

    async fn run(mut self) {
        // Before the first listing: whoever arrives in between is seen by one of the two.
        let mut hotplug = events();
        let mut proven = false;
        let mut stop = self.stop.clone();
        let mut listing: Option<Pin<Box<dyn Future<Output = News> + Send>>> = Some(Box::pin(list()));
        let mut next = Instant::now();
        loop {
            let news = tokio::select! {
                _ = stop.wait_for(|stop| *stop != Stop::No) => News::Stop,
                event = next_event(&mut hotplug) => News::Event(event),
                news = pending_or(&mut listing) => news,
                () = sleep_until(next), if listing.is_none() => News::TimeToList,
                Some(_) = self.tasks.join_next() => News::DeviceEnded,
            };
            match news {
                News::Event(event) => {
                    proven = true;
                    self.handle_event(event);
                }
                News::Listing(result) => {
                    listing = None;
                    self.handle_listing(result);
                    let interval = self.shared.options.poll_interval;
                    next = later(if proven {
                        interval.saturating_mul(PROVEN)
                    } else {
                        interval
                    });
                }
                News::TimeToList => {
                    self.roster.begin_listing();
                    listing = Some(Box::pin(list()));
                }
                News::DeviceEnded => {}
                News::Stop => break,
            }
        }
        while self.tasks.join_next().await.is_some() {}
        self.shared.stopped();
    }

    fn handle_event(&mut self, event: HotplugEvent) {
        match event {
            HotplugEvent::Connected(info) => {
                if self.kind_of(&info) != Kind::Foreign {
                    let changes = self.roster.handle_arrival(info.id(), access::mark(&info));
                    self.follow(changes, vec![info]);
                }
            }
            HotplugEvent::Disconnected(id) => {
                let changes = self.roster.handle_departure(id);
                self.follow(changes, Vec::new());
            }
        }
    }

    fn handle_listing(&mut self, result: Result<Vec<DeviceInfo>, String>) {
        let blind = match result {
            Ok(infos) => {
                let ours: Vec<DeviceInfo> = infos
                    .into_iter()
                    .filter(|info| self.kind_of(info) != Kind::Foreign)
                    .collect();
                let marks = ours.iter().map(|info| (info.id(), access::mark(info))).collect();
                let changes = self.roster.handle_listing(marks);
                self.follow(changes, ours);
                None
            }
            // What is attached stays: its transfers tell when it is gone.
            Err(reason) => Some(Trouble::NoSource {
                origin: "this computer's USB ports".to_owned(),
                reason,
            }),
        };
        self.shared.listed(blind, self.stays.values().map(|(key, _)| *key));
    }

    fn kind_of(&self, info: &DeviceInfo) -> Kind {
        self.shared.options.kind_of(info.vendor_id(), info.product_id())
    }

    fn follow(&mut self, changes: Vec<Change<nusb::DeviceId>>, infos: Vec<DeviceInfo>) {
        for change in changes {
            match change {
                Change::Left(id) => {
                    if let Some((_, removed)) = self.stays.remove(&id) {
                        removed.send_replace(true);
                    }
                }
                Change::Arrived(id) => {
                    if let Some(info) = infos.iter().find(|info| info.id() == id) {
                        self.arrived(info.clone());
                    }
                }
            }
        }
    }

    fn arrived(&mut self, info: DeviceInfo) {
        self.last_key = self.last_key.wrapping_add(1);
        let key = self.last_key;
        let kind = self.kind_of(&info);
        let (removed, receiver) = watch::channel(false);
        self.stays.insert(info.id(), (key, removed));
        let attachment = Attachment {
            key,
            info,
            shared: Arc::clone(&self.shared),
            removed: receiver,
            stop: self.stop.clone(),
        };
        tracing::debug!(device = %access::words(&attachment.info), ?kind, "on the bus");
        self.tasks.spawn(attachment.run(kind));
    }
}

fn later(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or(now)
}

/// Lists the bus, on a thread where that may take its time.
async fn list() -> News {
    let listing = timeout(LISTING_LIMIT, nusb::list_devices().into_future()).await;
    News::Listing(match listing {
        Ok(Ok(devices)) => Ok(devices.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the system did not list them in {LISTING_LIMIT:?}")),
    })
}

/// The events of the system, read on a thread of their own: for each arrival files of the system are read, which wait
/// while the kernel is still busy with the device, for seconds where it does not answer. The thread ends with the receiver.
fn events() -> Option<mpsc::Receiver<HotplugEvent>> {
    let mut watch = nusb::watch_devices()
        .inspect_err(|error| tracing::warn!(%error, "the system reports no arrivals; the bus is listed instead"))
        .ok()?;
    let (sender, receiver) = mpsc::channel(EVENTS);
    let runtime = tokio::runtime::Handle::current();
    let read = move || {
        runtime.block_on(async {
            loop {
                let event = tokio::select! {
                    event = poll_fn(|cx| Pin::new(&mut watch).poll_next(cx)) => event,
                    () = sender.closed() => return,
                };
                let Some(event) = event else { return };
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        });
    };
    tokio::task::spawn_blocking(read);
    Some(receiver)
}

/// The next event; never, where the system reports none.
async fn next_event(hotplug: &mut Option<mpsc::Receiver<HotplugEvent>>) -> HotplugEvent {
    if let Some(events) = hotplug {
        if let Some(event) = events.recv().await {
            return event;
        }
        *hotplug = None;
    }
    std::future::pending().await
}

async fn pending_or(listing: &mut Option<Pin<Box<dyn Future<Output = News> + Send>>>) -> News {
    match listing {
        Some(listing) => listing.as_mut().await,
        None => std::future::pending().await,
    }
}
