//! The phone on the bus: endpoint 0, the bulk pipes and the multiplexer behind them.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cabled_wire::io::Connect;
use tokio::time::{Instant, Sleep, sleep_until};

use super::control::{Core, Effect};
use super::descriptor::is_in;
use super::fault::Strike;
use super::layout::{Function, MUX_IN, MUX_OUT, Transfer};
use super::pipe::{Chunk, Gathered, Sink, Source};
use super::wire::{HostEnd, wire};
use super::{BulkIn, BulkOutcome, ControlOutcome, Mode, Setup, UsbFaults, UsbOptions};
use crate::fault::Direction;
use crate::mux::{DeviceStats, PluggedIn, plug_in_frames};

/// Configurations a device may have.
const MAX_CONFIGURATIONS: usize = 6;

/// A phone cannot be put on a bus.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsbError {
    /// It does not know its own identifier, and no serial number was set.
    #[error("the device has no UDID to make a serial number of; set one")]
    NoSerial,
    /// Too few or too many configurations.
    #[error("a phone has one to six configurations, not {count}")]
    Configurations {
        /// How many were asked for.
        count: usize,
    },
    /// The configuration that should be active from the start is not among those it has.
    #[error("there is no configuration {value} to start with")]
    NoConfiguration {
        /// Its value.
        value: u8,
    },
}

/// Why a phone is not on the bus any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Departure {
    /// The cable was pulled.
    Unplugged,
    /// It goes to another mode, and comes back in it.
    ModeSwitch(Mode),
}

/// What a test may want to know about the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsbStats {
    /// Messages gathered from the host.
    pub messages_from_host: u64,
    /// Messages begun to be sent to the host.
    pub messages_to_host: u64,
    /// Messages from the host that were more than one frame: it forgot a zero-length packet, or one was lost.
    pub glued_frames: u64,
    /// Messages that never ended.
    pub overruns: u64,
    /// Control requests that were refused.
    pub refused_requests: u64,
    /// How often the multiplexer was started: once for each time its interface was set up.
    pub links: u64,
}

/// The multiplexer while its interface is set up.
struct Link {
    end: HostEnd,
    mux: PluggedIn,
}

/// A phone as a USB device, whatever carries its transfers.
///
/// One task drives its bulk endpoints; control requests may come from another. A method that starts with `poll_` is pending
/// where a bus would see the device say "not yet", and wakes the task that polled last. Dropping the phone pulls the cable.
pub struct UsbPhone {
    device: Arc<dyn Connect>,
    options: UsbOptions,
    serial: String,
    core: Core,
    link: Option<Link>,
    sink: Sink,
    source: Source,
    overrun: bool,
    faults: UsbFaults,
    leaves: Option<Mode>,
    deconfigured_at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    stats: UsbStats,
}

impl UsbPhone {
    /// A phone on the bus. Has to be called inside a tokio runtime, and so have its methods.
    ///
    /// # Errors
    /// [`UsbError`].
    pub fn new(device: Arc<dyn Connect>, options: UsbOptions) -> Result<Self, UsbError> {
        let serial = match (&options.serial, device.udid()) {
            (Some(serial), _) => serial.clone(),
            (None, Some(udid)) => udid.as_str().replace('-', ""),
            (None, None) => return Err(UsbError::NoSerial),
        };
        let count = options.layout().len();
        if !(1..=MAX_CONFIGURATIONS).contains(&count) {
            return Err(UsbError::Configurations { count });
        }
        let value = options.configuration;
        if usize::from(value) > count {
            return Err(UsbError::NoConfiguration { value });
        }
        let packet = options.speed.bulk_packet();
        let core = Core::new(&options, &serial);
        let mut phone = Self {
            device,
            options,
            serial,
            core,
            link: None,
            sink: Sink::new(packet),
            source: Source::new(packet),
            overrun: false,
            faults: UsbFaults::default(),
            leaves: None,
            deconfigured_at: None,
            timer: None,
            stats: UsbStats::default(),
        };
        phone.start_mux();
        Ok(phone)
    }

    /// The serial number's string.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// What it is on the bus; its mode is that of now.
    #[must_use]
    pub fn options(&self) -> &UsbOptions {
        &self.options
    }

    /// The cable, to pull it or to make it bad.
    #[must_use]
    pub fn faults(&self) -> UsbFaults {
        self.faults.clone()
    }

    /// What was seen of the host so far.
    #[must_use]
    pub fn stats(&self) -> UsbStats {
        self.stats
    }

    /// What the multiplexer saw of the host, while its interface is set up.
    #[must_use]
    pub fn mux_stats(&self) -> Option<DeviceStats> {
        self.link.as_ref().map(|link| link.mux.stats())
    }

    /// Value of the active configuration; 0 for none.
    #[must_use]
    pub fn configuration(&self) -> u8 {
        self.core.configuration()
    }

    /// How many configurations it has.
    #[must_use]
    pub fn configurations(&self) -> u8 {
        u8::try_from(self.core.descriptors.configurations.len()).unwrap_or(u8::MAX)
    }

    /// Class, subclass and protocol of each interface of the active configuration, or of the first if none is.
    #[must_use]
    pub fn interface_classes(&self) -> Vec<[u8; 3]> {
        self.core
            .interfaces_or_first()
            .iter()
            .map(|interface| interface.class)
            .collect()
    }

    /// Why it is not on the bus any more; `None` while it is.
    #[must_use]
    pub fn departure(&self) -> Option<Departure> {
        match self.leaves {
            _ if self.faults.is_unplugged() => Some(Departure::Unplugged),
            Some(mode) => Some(Departure::ModeSwitch(mode)),
            None => None,
        }
    }

    /// Ready when the phone has left the bus, and says why.
    pub fn poll_departure(&mut self, cx: &mut Context<'_>) -> Poll<Departure> {
        self.faults.register(cx.waker());
        self.departure().map_or(Poll::Pending, Poll::Ready)
    }

    /// Puts the phone on the bus again, reset: in the mode it was leaving for, unconfigured unless
    /// [`UsbOptions::configuration`] says otherwise. Faults that have not struck stay armed.
    pub fn replug(&mut self) {
        if let Some(mode) = self.leaves.take() {
            self.options.mode = mode;
            // The new mode may have fewer; a value is for the mode it was chosen for.
            self.options.configuration = 0;
        }
        self.faults.plug();
        self.core = Core::new(&self.options, &self.serial);
        self.deconfigured_at = None;
        self.timer = None;
        self.start_mux();
    }

    /// Answers a control request; `data` is what the host sends with it. Pending while the phone is silent.
    pub fn poll_control(&mut self, cx: &mut Context<'_>, setup: Setup, data: &[u8]) -> Poll<ControlOutcome> {
        let now = Instant::now();
        self.pass_time(now);
        if self.faults.silent(now).is_some() {
            ready!(self.poll_bus(cx));
        }
        if self.departure().is_some() {
            return Poll::Ready(ControlOutcome::Gone);
        }
        let refused = self.faults.refuses(setup);
        let (outcome, effect) = match refused {
            true => (ControlOutcome::Stall, Effect::None),
            false => self.core.handle(setup),
        };
        if outcome == ControlOutcome::Stall {
            self.stats.refused_requests = self.stats.refused_requests.wrapping_add(1);
        }
        tracing::trace!(?setup, sent = data.len(), ?outcome, "control request");
        self.apply(effect);
        Poll::Ready(outcome)
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Configured => {
                self.start_mux();
                let taken_back = self
                    .faults
                    .deconfigures()
                    .and_then(|after| Instant::now().checked_add(after));
                self.deconfigured_at = taken_back.filter(|_| self.core.configuration() != 0);
            }
            Effect::MuxReset => self.start_mux(),
            Effect::HaltCleared(MUX_OUT) => {
                self.sink.clear();
                if self.overrun {
                    self.start_mux();
                }
            }
            Effect::HaltCleared(_) => {}
            Effect::Leaves(mode) => {
                self.leaves = Some(mode);
                self.link = None;
            }
        }
    }

    /// Whatever the multiplexer carried is over; it waits for a host anew if its interface is there.
    fn start_mux(&mut self) {
        let packet = self.options.speed.bulk_packet();
        self.sink = Sink::new(packet);
        self.source = Source::new(packet);
        self.overrun = false;
        self.link = self.core.has_mux().then(|| {
            self.stats.links = self.stats.links.wrapping_add(1);
            let (end, phone) = wire();
            let mux = plug_in_frames(phone, Arc::clone(&self.device), self.options.mux.clone());
            Link { end, mux }
        });
    }

    fn pass_time(&mut self, now: Instant) {
        if self.deconfigured_at.is_some_and(|at| at <= now) {
            self.deconfigured_at = None;
            self.core.configure(0);
            self.start_mux();
        }
    }

    /// Lets time pass; pending while the phone is silent.
    fn poll_bus(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.faults.register(cx.waker());
        let now = Instant::now();
        self.pass_time(now);
        let silent = self.faults.silent(now);
        let until = silent.flatten().into_iter().chain(self.deconfigured_at).min();
        if let Some(at) = until {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            // Due in between: the task comes again.
            if timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        match silent {
            Some(_) if !self.faults.is_unplugged() => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    /// Takes one transfer to an OUT endpoint, an empty one being a zero-length packet. Pending while there is no room.
    pub fn poll_bulk_out(&mut self, cx: &mut Context<'_>, endpoint: u8, transfer: &Bytes) -> Poll<BulkOutcome> {
        ready!(self.poll_bus(cx));
        if self.departure().is_some() {
            return Poll::Ready(BulkOutcome::Gone);
        }
        let Some(found) = self.core.endpoint(endpoint).filter(|_| !is_in(endpoint)) else {
            return Poll::Ready(BulkOutcome::NoEndpoint);
        };
        let link = self.link.as_ref().filter(|_| found.function == Function::Mux);
        let Some(link) = link.filter(|_| !self.core.is_halted(endpoint)) else {
            // What is not there to be spoken to says so at once, which spares other programs their time-outs.
            self.core.halt(endpoint);
            return Poll::Ready(BulkOutcome::Stall);
        };
        ready!(link.end.poll_room(cx));
        if transfer.is_empty() && self.faults.loses_end(Direction::FromHost) {
            return Poll::Ready(BulkOutcome::Taken(0));
        }
        match self.faults.pass(Direction::FromHost, transfer.len(), Instant::now()) {
            None => {
                self.gather(transfer);
                // The host learns of an overrun with the transfer that brought it about.
                Poll::Ready(match self.core.is_halted(MUX_OUT) {
                    true => BulkOutcome::Stall,
                    false => BulkOutcome::Taken(transfer.len()),
                })
            }
            Some((strike, passed)) => {
                // Whole packets get through; a packet that is cut never was one.
                let whole = passed.saturating_sub(passed.checked_rem(self.packet()).unwrap_or_default());
                match strike {
                    Strike::Short => {
                        if whole > 0 {
                            self.gather(&transfer.slice(..whole.min(transfer.len())));
                        }
                        Poll::Ready(BulkOutcome::Taken(whole))
                    }
                    Strike::Stall => {
                        self.core.halt(endpoint);
                        Poll::Ready(BulkOutcome::Stall)
                    }
                    Strike::Unplug => Poll::Ready(BulkOutcome::Gone),
                    Strike::Silence => Poll::Pending,
                }
            }
        }
    }

    fn packet(&self) -> usize {
        usize::from(self.options.speed.bulk_packet())
    }

    fn gather(&mut self, transfer: &Bytes) {
        let Some(link) = &self.link else { return };
        match self.sink.handle_transfer(transfer) {
            Gathered::More => {}
            Gathered::Message(message) => {
                self.stats.messages_from_host = self.stats.messages_from_host.wrapping_add(1);
                let declared = message
                    .get(4..8)
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(u32::from_be_bytes);
                if declared
                    .and_then(|len| usize::try_from(len).ok())
                    .is_some_and(|len| len < message.len())
                {
                    self.stats.glued_frames = self.stats.glued_frames.wrapping_add(1);
                }
                link.end.send(message);
            }
            Gathered::Overrun(bytes) => {
                self.stats.overruns = self.stats.overruns.wrapping_add(1);
                link.mux.overrun(bytes);
                self.overrun = true;
                self.core.halt(MUX_OUT);
            }
        }
    }

    /// Fills one transfer from an IN endpoint with at most `room` bytes. Pending while there is nothing to say, as an
    /// interrupt endpoint always is.
    pub fn poll_bulk_in(&mut self, cx: &mut Context<'_>, endpoint: u8, room: usize) -> Poll<BulkIn> {
        ready!(self.poll_bus(cx));
        if self.departure().is_some() {
            return Poll::Ready(BulkIn::Gone);
        }
        let Some(found) = self.core.endpoint(endpoint).filter(|_| is_in(endpoint)) else {
            return Poll::Ready(BulkIn::NoEndpoint);
        };
        if self.core.is_halted(endpoint) {
            return Poll::Ready(BulkIn::Stall);
        }
        if found.transfer == Transfer::Interrupt || endpoint != MUX_IN {
            return Poll::Pending;
        }
        let room = self.faults.split().map_or(room, |split| room.min(split));
        loop {
            let Some(link) = &self.link else { return Poll::Pending };
            if self.source.wants_message() {
                let message = ready!(link.end.poll_message(cx));
                self.stats.messages_to_host = self.stats.messages_to_host.wrapping_add(1);
                let needs_end = message.len().checked_rem(self.packet()) == Some(0);
                let ended = !(needs_end && self.faults.loses_end(Direction::ToHost));
                self.source.load(message, ended);
            }
            let before = self.source.clone();
            match self.source.poll_transfer(room) {
                Poll::Pending => {}
                Poll::Ready(Chunk::Overflow) => return Poll::Ready(BulkIn::Overflow),
                Poll::Ready(Chunk::Data(bytes)) => return self.poll_pass(endpoint, before, bytes),
            }
        }
    }

    /// A transfer is full: whether it gets to the host.
    fn poll_pass(&mut self, endpoint: u8, before: Source, bytes: Bytes) -> Poll<BulkIn> {
        let Some((strike, _)) = self.faults.pass(Direction::ToHost, bytes.len(), Instant::now()) else {
            return Poll::Ready(BulkIn::Data(bytes));
        };
        self.source = before;
        match strike {
            Strike::Unplug => Poll::Ready(BulkIn::Gone),
            Strike::Silence => Poll::Pending,
            Strike::Stall | Strike::Short => {
                self.core.halt(endpoint);
                Poll::Ready(BulkIn::Stall)
            }
        }
    }

    /// The host gave up the transfer that an IN endpoint was filling.
    pub fn cancel_bulk_in(&mut self, endpoint: u8) {
        if endpoint == MUX_IN {
            self.source.cancel();
        }
    }

    /// As [`UsbPhone::poll_control`], for one that waits. Dropping the future is safe.
    pub async fn control(&mut self, setup: Setup, data: &[u8]) -> ControlOutcome {
        poll_fn(|cx| self.poll_control(cx, setup, data)).await
    }

    /// As [`UsbPhone::poll_bulk_out`], for one that waits. Dropping the future is safe: nothing was taken.
    pub async fn bulk_out(&mut self, endpoint: u8, transfer: impl Into<Bytes>) -> BulkOutcome {
        let transfer = transfer.into();
        poll_fn(|cx| self.poll_bulk_out(cx, endpoint, &transfer)).await
    }

    /// As [`UsbPhone::poll_bulk_in`], for one that waits. Dropping the future loses nothing that had arrived whole.
    pub async fn bulk_in(&mut self, endpoint: u8, room: usize) -> BulkIn {
        poll_fn(|cx| self.poll_bulk_in(cx, endpoint, room)).await
    }
}

impl fmt::Debug for UsbPhone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsbPhone")
            .field("serial", &self.serial)
            .field("mode", &self.options.mode)
            .field("configuration", &self.core.configuration())
            .field("departure", &self.departure())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
