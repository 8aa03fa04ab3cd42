//! One device from its arrival on the bus to its departure.

use std::sync::Arc;
use std::time::Duration;

use cabled_wire::ids::Udid;
use nusb::{Device, DeviceInfo, Interface};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::choose::MuxInterface;
use super::opening::{Act, Obstacle, Opening, Refusal};
use super::options::Kind;
use super::state::{Key, Shared, Stop};
use super::{access, platform};
use crate::mux::{Failure, MuxError, MuxHandle, start_frames};
use crate::{AttachedDevice, Trouble};

/// How long the last transfers of a link may take to be taken back.
const RELEASE: Duration = Duration::from_secs(2);
/// A link that breaks while its device stays on the bus is set up again, this often at most.
const MAX_BREAKS: u32 = 5;
/// One that lasted this long does not count.
const LASTING: Duration = Duration::from_secs(60);
/// Pause before a broken link is set up again, doubled each time: an unplugged device is off the bus by then.
const BREAK_PAUSE: Duration = Duration::from_millis(500);

/// The task of a device.
pub(super) struct Attachment {
    pub(super) key: Key,
    pub(super) info: DeviceInfo,
    pub(super) shared: Arc<Shared>,
    /// Set when the bus does not have the device any more.
    pub(super) removed: watch::Receiver<bool>,
    pub(super) stop: watch::Receiver<Stop>,
}

/// A device whose multiplexer answers.
struct Up {
    handle: MuxHandle,
    udid: Udid,
    /// Ends after the interface was let go.
    pump: JoinHandle<()>,
}

/// The mux of a device, and what its start came to.
enum Start {
    Up(Up),
    /// The transfers failed: somebody changed the configuration, or the device left.
    Lost,
}

impl Attachment {
    /// Ends when the device left the bus, or the bus ends.
    pub(super) async fn run(self, kind: Kind) {
        let mut pump = None;
        let (mut removed, mut stop) = (self.removed.clone(), self.stop.clone());
        tokio::select! {
            () = self.attend(kind, &mut pump) => {}
            _ = removed.wait_for(|removed| *removed) => {}
            _ = stop.wait_for(|stop| *stop != Stop::No) => {}
        }
        // A bus that was dropped leaves the streams of its devices alone; everything else ends them.
        let in_use = *self.stop.borrow() == Stop::LetGo;
        self.shared.forget(self.key, !in_use);
        if let Some(pump) = pump.filter(|_| !in_use) {
            let _ = timeout(RELEASE, pump).await;
        }
    }

    /// Opens the device, watches its link, and starts over when that breaks. Never ends by itself.
    async fn attend(&self, kind: Kind, pump: &mut Option<JoinHandle<()>>) {
        if let Kind::WrongMode(mode) = kind {
            let device = access::words(&self.info);
            self.shared.trouble(self.key, Trouble::WrongMode { device, mode });
            return std::future::pending().await;
        }
        let mut breaks: u32 = 0;
        let mut troubled = false;
        loop {
            match self.bring_up(troubled).await {
                Ok(up) => {
                    troubled = false;
                    let since = Instant::now();
                    let device = AttachedDevice {
                        connection: access::properties(&self.info),
                        ..AttachedDevice::usb(self.shared.next_id(), up.udid)
                    };
                    let handle = up.handle.clone();
                    *pump = Some(up.pump);
                    self.shared.attach(self.key, device, up.handle);
                    let failure = handle.gone().await;
                    tracing::debug!(%failure, "a link ended");
                    self.shared.detach(self.key);
                    drop(handle);
                    if let Some(running) = pump.as_mut() {
                        let _ = timeout(RELEASE, running).await;
                    }
                    // A task's end is told once: whoever asks again panics.
                    *pump = None;
                    breaks = if since.elapsed() >= LASTING {
                        1
                    } else {
                        breaks.saturating_add(1)
                    };
                    if breaks >= MAX_BREAKS {
                        let reason = format!("its link broke {breaks} times in a row; plug it in again");
                        let device = access::words(&self.info);
                        self.shared.trouble(self.key, Trouble::Failed { device, reason });
                        return std::future::pending().await;
                    }
                    sleep(BREAK_PAUSE.saturating_mul(1 << breaks.min(6))).await;
                }
                Err(Some(trouble)) => {
                    let lasting = matches!(trouble, Trouble::NoMultiplexer { .. } | Trouble::NoDriver { .. });
                    self.shared.trouble(self.key, trouble);
                    troubled = true;
                    let retry = self.shared.options.trouble_retry;
                    if lasting || retry.is_zero() {
                        return std::future::pending().await;
                    }
                    sleep(retry).await;
                }
                // It is gone, and the bus will say so; if it does not, it is not gone.
                Err(None) if troubled => {
                    let reason = platform::absent(&self.info);
                    let device = access::words(&self.info);
                    self.shared.trouble(self.key, Trouble::Failed { device, reason });
                    sleep(self.shared.options.trouble_retry.max(BREAK_PAUSE)).await;
                }
                Err(None) => {
                    troubled = true;
                    self.shared.resolve(self.key);
                    sleep(self.shared.options.open_retry.max(BREAK_PAUSE)).await;
                }
            }
        }
    }

    /// Everything up to the device's answer to VERSION, as the core says.
    async fn bring_up(&self, troubled: bool) -> Result<Up, Option<Trouble>> {
        let place = access::place(&self.info);
        let may_switch = !self.shared.has_switched(&place);
        let mut opening = Opening::new(now(), &self.shared.options, may_switch);
        if troubled {
            opening = opening.without_patience(now());
        }
        let mut device: Option<Device> = None;
        let mut interface: Option<Interface> = None;
        loop {
            match (opening.act(), &device) {
                (Act::Open, _) => {
                    device = None;
                    match access::open(&self.info).await {
                        Ok(opened) => {
                            let view = access::look(&opened).await;
                            opening.handle_view(now(), view.as_ref().map_err(Clone::clone));
                            device = Some(opened);
                        }
                        Err(refusal) => opening.handle_view(now(), Err(refusal)),
                    }
                }
                (Act::Look, Some(device)) => {
                    let view = access::look(device).await;
                    opening.handle_view(now(), view.as_ref().map_err(Clone::clone));
                }
                (Act::Configure { value, interfaces }, Some(device)) => {
                    tracing::debug!(value, "setting the device's configuration");
                    let done = access::configure(device, &self.info, value, interfaces).await;
                    opening.handle_done(now(), done);
                }
                (Act::Claim(mux), Some(device)) => {
                    let claimed = access::claim(device, mux).await;
                    opening.handle_done(now(), claimed.as_ref().map(|_| ()).map_err(Clone::clone));
                    interface = claimed.ok();
                }
                (Act::AskMode, Some(device)) => opening.handle_done(now(), access::ask_mode(device).await),
                (Act::SetMode(mode), Some(device)) => {
                    opening.handle_done(now(), access::set_mode(device, mode).await);
                    if opening.has_switched() {
                        self.shared.note_switch(place.clone());
                    }
                }
                (Act::Wait(until), _) => {
                    sleep_until(Instant::from_std(until)).await;
                    opening.handle_timeout(now());
                }
                (Act::Done(mux), Some(device)) => match interface.take() {
                    Some(interface) => match self.start(device, interface, mux).await? {
                        Start::Up(up) => return Ok(up),
                        Start::Lost => opening.handle_lost(now()),
                    },
                    None => opening.handle_lost(now()),
                },
                (Act::GiveUp(obstacle), _) => return Err(self.trouble_of(obstacle).await),
                // The core opens before anything else.
                (_, None) => return Err(None),
            }
        }
    }

    /// Starts the mux over a claimed interface and waits for the device's answer.
    async fn start(&self, device: &Device, interface: Interface, mux: MuxInterface) -> Result<Start, Option<Trouble>> {
        let words = || access::words(&self.info);
        let failed = |reason: String| Trouble::Failed {
            device: words(),
            reason,
        };
        let udid = match access::udid(device, &self.info).await {
            Ok(udid) => udid,
            Err(Refusal::Other(reason)) => return Err(Some(failed(reason))),
            Err(_) => return Ok(Start::Lost),
        };
        let Ok(link) = access::link(&interface, mux, &self.shared.options) else {
            return Ok(Start::Lost);
        };
        // The link's endpoints hold the interface from here on.
        drop(interface);
        let (handle, pump) = start_frames(link, self.shared.options.mux);
        let failure = match handle.ready().await {
            Ok(_) => return Ok(Start::Up(Up { handle, udid, pump })),
            Err(MuxError::Failed(failure)) => failure,
            Err(error) => return Err(Some(failed(error.to_string()))),
        };
        drop(handle);
        let _ = timeout(RELEASE, pump).await;
        match failure {
            Failure::Link => Ok(Start::Lost),
            Failure::NoVersion => Err(Some(Trouble::Silent { device: words() })),
            failure => Err(Some(failed(failure.to_string()))),
        }
    }

    /// What a person is told; nothing when the device is gone.
    async fn trouble_of(&self, obstacle: Obstacle) -> Option<Trouble> {
        let device = access::words(&self.info);
        Some(match obstacle {
            Obstacle::Gone => return None,
            Obstacle::Permission => Trouble::NoPermission {
                device,
                node: platform::node(&self.info),
            },
            Obstacle::Busy => {
                let info = self.info.clone();
                let owner = access::blocking(move || platform::owner(&info)).await.flatten();
                Trouble::Busy { device, owner }
            }
            Obstacle::NoDriver => Trouble::NoDriver { device },
            Obstacle::NoMultiplexer { configurations } => Trouble::NoMultiplexer { device, configurations },
            Obstacle::Failed(reason) => Trouble::Failed { device, reason },
        })
    }
}

/// The current time, from the clock that tests can stop.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
