//! The device's end as a whole.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::frame::{self, ControlKind, Flags, Frame, HeaderStyle, NOTHING_RECEIVED, Numbers, Segment};

use super::DeviceMuxOptions;
use super::connection::{Connection, News};

/// The largest frame a phone gathers before it complains, in bytes.
const MAX_GATHERED: usize = 65_535;
/// Answers to frames of unknown connections that wait to be sent.
const MAX_RESETS: usize = 64;

/// Names one connection of one [`DeviceMux`]; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u64);

/// What the core asks of the layer above, or tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceEvent {
    /// The host wants a port: [`DeviceMux::accept`] or [`DeviceMux::refuse`] has to follow.
    Dial {
        /// The connection.
        id: PeerId,
        /// The port.
        port: u16,
    },
    /// Bytes came in.
    Readable(PeerId),
    /// There is room for the service's bytes again.
    Writable(PeerId),
    /// The host ended the connection, or the link did.
    Ended(PeerId),
}

/// What a test may want to know about the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceStats {
    /// Steps in the host's frame numbers; a sound host makes none.
    pub sequence_gaps: u64,
    /// Frames that could not be read.
    pub bad_frames: u64,
    /// Frames of connections that do not exist.
    pub stale_frames: u64,
    /// Version exchanges so far.
    pub handshakes: u64,
    /// Connections asked for so far.
    pub dials: u64,
}

#[derive(Debug)]
enum State {
    /// No VERSION yet.
    Idle,
    /// VERSION 2 is answered, SETUP has to come.
    AwaitSetup,
    Active {
        style: HeaderStyle,
    },
    /// The host sent a frame that cannot be; a phone takes nothing any more then.
    Stalled,
}

#[derive(Debug)]
struct Slot {
    connection: Connection,
    queued: bool,
    /// The service waits for room.
    full: bool,
    /// The service was told that it is over.
    told: bool,
    /// The service has let go of it.
    released: bool,
}

/// The phone's end of a link; does no I/O and reads no clock.
///
/// After each call, drain [`DeviceMux::poll_transmit`] and [`DeviceMux::poll_event`] to `None`, then read
/// [`DeviceMux::poll_timeout`]. Frames come out one by one, so that a USB function can end each with a short packet.
#[derive(Debug)]
pub struct DeviceMux {
    options: DeviceMuxOptions,
    state: State,
    slots: HashMap<PeerId, Slot>,
    by_pair: HashMap<(u16, u16), PeerId>,
    next_id: u64,
    ready: VecDeque<PeerId>,
    control: VecDeque<Frame>,
    resets: VecDeque<(Segment, String)>,
    events: VecDeque<DeviceEvent>,
    tx_seq: u16,
    rx_seq: u16,
    stats: DeviceStats,
}

impl DeviceMux {
    /// A phone that waits for a host.
    #[must_use]
    pub fn new(options: DeviceMuxOptions) -> Self {
        Self {
            options,
            state: State::Idle,
            slots: HashMap::new(),
            by_pair: HashMap::new(),
            next_id: 0,
            ready: VecDeque::new(),
            control: VecDeque::new(),
            resets: VecDeque::new(),
            events: VecDeque::new(),
            tx_seq: 0,
            rx_seq: NOTHING_RECEIVED,
            stats: DeviceStats::default(),
        }
    }

    /// What was odd about the host so far.
    #[must_use]
    pub fn stats(&self) -> DeviceStats {
        self.stats
    }

    /// Connections that exist.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.slots.len()
    }

    /// The phone serves the port.
    pub fn accept(&mut self, id: PeerId) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.connection.accept();
            self.touch(id);
        }
    }

    /// It does not.
    pub fn refuse(&mut self, id: PeerId) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.connection.refuse(&self.options.refusal);
            slot.released = true;
            self.touch(id);
        }
    }

    /// Bytes for the service, or `None` when there are none now. [`DeviceMux::consumed`] follows when it has them.
    pub fn take(&mut self, id: PeerId) -> Option<Bytes> {
        self.slots.get_mut(&id)?.connection.take()
    }

    /// The service has `n` more bytes.
    pub fn consumed(&mut self, now: Instant, id: PeerId, n: usize) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.connection.consumed(now, n, &self.options);
            self.touch(id);
        }
    }

    /// Takes bytes of the service: how many, 0 when full ([`DeviceEvent::Writable`] follows), `None` once it is over.
    pub fn write(&mut self, id: PeerId, data: &[u8]) -> Option<usize> {
        let slot = self.slots.get_mut(&id)?;
        let taken = slot.connection.write(data, &self.options)?;
        slot.full = taken == 0;
        self.touch(id);
        Some(taken)
    }

    /// Whether the connection still carries bytes in both directions.
    #[must_use]
    pub fn is_open(&self, id: PeerId) -> bool {
        self.slots.get(&id).is_some_and(|slot| slot.connection.is_open())
    }

    /// The service has ended: what it wrote goes out, then the connection is reset.
    pub fn finish(&mut self, now: Instant, id: PeerId) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.connection.finish(now, &self.options);
            slot.released = true;
            self.touch(id);
        }
    }

    /// Says something to whoever reads the host's log.
    pub fn say(&mut self, kind: ControlKind, text: impl Into<Bytes>) {
        if matches!(self.state, State::Active { .. }) {
            self.control.push_back(Frame::Control {
                kind,
                text: text.into(),
            });
        }
    }

    /// Takes complete frames off what arrived; the rest stays for the next call.
    pub fn handle_input(&mut self, input: &mut BytesMut) {
        loop {
            let style = match &self.state {
                State::Idle => HeaderStyle::Short,
                State::AwaitSetup => HeaderStyle::Long,
                State::Active { style } => *style,
                State::Stalled => return input.clear(),
            };
            match frame::take(input, style) {
                Ok(Some(taken)) if taken.len > MAX_GATHERED => return self.stall(taken.len),
                Ok(Some(taken)) => {
                    self.note(taken.numbers);
                    match taken.frame {
                        Ok(frame) => self.handle_frame(frame),
                        Err(error) => {
                            self.stats.bad_frames = self.stats.bad_frames.wrapping_add(1);
                            tracing::debug!(%error, "the host sent a malformed frame");
                        }
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "the host sent a frame that cannot be");
                    return self.stall(input.len());
                }
            }
        }
    }

    /// The link gathered more bytes than a frame may have and saw no end of it, because the host forgot the
    /// zero-length packet: the phone says so and takes nothing more.
    pub fn handle_overrun(&mut self, bytes: usize) {
        self.stall(bytes);
    }

    /// As a phone does that never sees the end of a frame: it says so and takes nothing more.
    fn stall(&mut self, bytes: usize) {
        let text = format!("message is too large ({bytes} bytes, max {MAX_GATHERED})");
        self.say(ControlKind::Error, text);
        self.reset_all();
        self.state = State::Stalled;
    }

    fn note(&mut self, numbers: Option<Numbers>) {
        let Some(numbers) = numbers else { return };
        if numbers.tx_seq != self.rx_seq.wrapping_add(1) {
            self.stats.sequence_gaps = self.stats.sequence_gaps.wrapping_add(1);
        }
        self.rx_seq = numbers.tx_seq;
    }

    fn handle_frame(&mut self, frame: Frame) {
        match (&self.state, frame) {
            (_, Frame::Version { .. }) => self.start_anew(),
            (State::AwaitSetup, Frame::Setup { .. }) => {
                self.state = State::Active {
                    style: HeaderStyle::Long,
                }
            }
            (State::Active { .. }, Frame::Tcp { segment, payload }) => self.handle_segment(&segment, payload),
            // Before the handshake is through nothing counts; afterwards hosts say nothing else.
            (State::Idle | State::AwaitSetup | State::Active { .. } | State::Stalled, _) => {}
        }
    }

    /// A daemon that was restarted with the cable in: everything of before is forgotten.
    fn start_anew(&mut self) {
        self.reset_all();
        self.stats.handshakes = self.stats.handshakes.wrapping_add(1);
        self.tx_seq = 0;
        self.rx_seq = NOTHING_RECEIVED;
        self.control.clear();
        self.control.push_back(Frame::Version {
            major: self.options.version,
            minor: 0,
        });
        self.state = match self.options.version {
            1 => State::Active {
                style: HeaderStyle::Short,
            },
            2 => State::AwaitSetup,
            _ => State::Idle,
        };
    }

    fn reset_all(&mut self) {
        self.ready.clear();
        self.resets.clear();
        let ids: Vec<PeerId> = self.slots.keys().copied().collect();
        for id in ids {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.connection.forget();
                tell_end(&mut self.events, id, slot);
                self.touch(id);
            }
        }
    }

    /// The link is gone.
    pub fn handle_link_lost(&mut self) {
        self.reset_all();
        self.state = State::Idle;
    }

    fn handle_segment(&mut self, segment: &Segment, payload: Bytes) {
        let pair = (segment.source, segment.destination);
        if let Some(id) = self.by_pair.get(&pair).copied() {
            let Some(slot) = self.slots.get_mut(&id) else { return };
            match slot.connection.handle_segment(segment, payload, &self.options) {
                News::Nothing => {}
                News::Bytes => self.events.push_back(DeviceEvent::Readable(id)),
                News::End => tell_end(&mut self.events, id, slot),
            }
            return self.touch(id);
        }
        if segment.flags == Flags::SYN && self.slots.len() < self.options.max_connections {
            self.next_id = self.next_id.wrapping_add(1);
            let id = PeerId(self.next_id);
            let connection = Connection::dialed(segment, &self.options);
            self.slots.insert(
                id,
                Slot {
                    connection,
                    queued: false,
                    full: false,
                    told: false,
                    released: false,
                },
            );
            self.by_pair.insert(pair, id);
            self.stats.dials = self.stats.dials.wrapping_add(1);
            self.events.push_back(DeviceEvent::Dial {
                id,
                port: segment.destination,
            });
            return;
        }
        self.stats.stale_frames = self.stats.stale_frames.wrapping_add(1);
        if !segment.flags.contains(Flags::RST) && self.resets.len() < MAX_RESETS {
            let reset = Segment {
                source: segment.destination,
                destination: segment.source,
                seq: 0,
                ack: segment.seq,
                flags: Flags::RST,
                window: 0,
            };
            self.resets.push_back((reset, String::new()));
        }
    }

    fn touch(&mut self, id: PeerId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.connection.wants_transmit() && !slot.queued {
            slot.queued = true;
            self.ready.push_back(id);
        }
        if slot.connection.is_closed() {
            // The host may have dialed again from the same port, while the service still held on to this one.
            if self.by_pair.get(&slot.connection.pair()) == Some(&id) {
                self.by_pair.remove(&slot.connection.pair());
            }
            if slot.released {
                self.slots.remove(&id);
            }
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |slot: &Slot| slot.connection.poll_timeout().is_some_and(|at| at <= now);
        let ids: Vec<PeerId> = self
            .slots
            .iter()
            .filter(|(_, slot)| due(slot))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.connection.handle_timeout(now);
                self.touch(id);
            }
        }
    }

    /// When [`DeviceMux::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.slots
            .values()
            .filter_map(|slot| slot.connection.poll_timeout())
            .min()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<DeviceEvent> {
        self.events.pop_front()
    }

    /// Appends the next frame to `out` and gives its length, or `None` when there is none.
    pub fn poll_transmit(&mut self, out: &mut BytesMut) -> Option<usize> {
        let before = out.len();
        if let Some(frame) = self.control.pop_front() {
            let numbers = if matches!(frame, Frame::Version { .. }) {
                None
            } else {
                self.numbers()
            };
            frame.encode(numbers, out);
        } else if let Some((segment, text)) = self.resets.pop_front() {
            segment.encode(self.numbers(), [text.as_bytes(), &[]], out);
        } else if !self.transmit_connection(out) {
            return None;
        }
        Some(out.len().saturating_sub(before))
    }

    fn transmit_connection(&mut self, out: &mut BytesMut) -> bool {
        let State::Active { style } = self.state else {
            return false;
        };
        let overhead = style.len().saturating_add(Segment::LEN);
        let max_payload = u32::try_from(self.options.max_frame.saturating_sub(overhead)).unwrap_or(u32::MAX);
        while let Some(id) = self.ready.pop_front() {
            let numbers = self.peek_numbers();
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            slot.queued = false;
            let Some((segment, len, text)) = slot.connection.poll_segment(max_payload, &self.options) else {
                continue;
            };
            match len {
                0 => segment.encode(numbers, [text.as_bytes(), &[]], out),
                len => segment.encode(numbers, slot.connection.payload(len), out),
            }
            slot.connection.sent(len);
            if len > 0 && std::mem::take(&mut slot.full) {
                self.events.push_back(DeviceEvent::Writable(id));
            }
            self.tx_seq = self.tx_seq.wrapping_add(1);
            self.touch(id);
            return true;
        }
        false
    }

    fn peek_numbers(&self) -> Option<Numbers> {
        match self.state {
            State::Active {
                style: HeaderStyle::Long,
            }
            | State::Stalled
                if self.options.version == 2 =>
            {
                Some(Numbers {
                    magic: self.options.magic,
                    tx_seq: self.tx_seq,
                    rx_seq: self.rx_seq,
                })
            }
            _ => None,
        }
    }

    fn numbers(&mut self) -> Option<Numbers> {
        let numbers = self.peek_numbers();
        self.tx_seq = self.tx_seq.wrapping_add(1);
        numbers
    }
}

/// Once, and only to a service that still holds the connection.
fn tell_end(events: &mut VecDeque<DeviceEvent>, id: PeerId, slot: &mut Slot) {
    if !std::mem::replace(&mut slot.told, true) && !slot.released {
        events.push_back(DeviceEvent::Ended(id));
    }
}
