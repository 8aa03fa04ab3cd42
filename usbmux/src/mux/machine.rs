//! The device-level core of the host side.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::connection::{Connection, Outcome, deadline};
use super::frame::{self, ControlKind, Flags, Frame, FrameRef, HeaderStyle, NOTHING_RECEIVED, Numbers, Segment};
use super::ports::Ports;
use super::queue::Blocks;
use super::slots::{Slot, Slots};
use super::timers::Timers;
use super::{CloseReason, ConnectionId, Failure, MuxError, MuxOptions};

/// VERSION is sent this often before the device counts as silent.
const VERSION_TRIES: u32 = 3;
/// Answers to stale frames that wait to be sent; more are dropped, they are a courtesy.
const MAX_RESETS: usize = 64;
/// Texts of CONTROL frames that nobody fetched, and how much of one is kept; more are dropped, they are for a log.
const MAX_TEXTS: usize = 256;
const MAX_TEXT: usize = 1024;

/// What the core tells the layer above.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The device answered: connections can be opened.
    Ready {
        /// 1 or 2.
        version: u32,
    },
    /// The device accepted a connection.
    Connected(ConnectionId),
    /// A connection that had nothing to read has something now.
    Readable(ConnectionId),
    /// A connection whose buffer was full has room again.
    Writable(ConnectionId),
    /// A connection ended without our doing; what it holds can still be read.
    Closed(ConnectionId, CloseReason),
    /// A close of ours is through: everything was sent and the RST is out.
    Drained(ConnectionId),
    /// The device says something for a person. Log it.
    Control {
        /// How bad it is.
        kind: ControlKind,
        /// The text as it came, at most 1024 bytes of it.
        text: Bytes,
    },
    /// The link is unusable; all connections have ended.
    Failed(Failure),
}

/// What was odd on a link, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Frames with an unknown protocol.
    pub unknown_frames: u64,
    /// Frames whose inside was malformed.
    pub bad_frames: u64,
    /// Frames for connections that do not exist.
    pub stale_frames: u64,
    /// Steps in the device's frame numbers.
    pub sequence_gaps: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
}

#[derive(Debug)]
enum State {
    /// VERSION is out.
    VersionSent { tries: u32, again: Instant },
    /// Connections work.
    Active { style: HeaderStyle },
    /// Nothing works any more.
    Failed(Failure),
}

/// Multiplexes connections to one device; does no I/O and reads no clock.
///
/// After each call that takes `now`, drain [`Mux::poll_transmit`] and [`Mux::poll_event`] to `None`, then read
/// [`Mux::poll_timeout`] again. Every frame comes out alone, so that a USB driver can make one transfer of it (and add
/// the zero-length packet where its endpoint needs one).
#[derive(Debug)]
pub struct Mux {
    options: MuxOptions,
    state: State,
    clock: Instant,
    slots: Slots,
    timers: Timers,
    blocks: Blocks,
    by_port: HashMap<u16, ConnectionId>,
    ports: Ports,
    /// Connections with something to send, served in turn.
    ready: VecDeque<ConnectionId>,
    /// VERSION and SETUP that wait to be sent.
    handshake: VecDeque<Frame>,
    resets: VecDeque<Segment>,
    /// A reset was the last frame: connections go before the next.
    reset_went: bool,
    events: VecDeque<Event>,
    /// How many of them are texts.
    texts: usize,
    tx_seq: u16,
    rx_seq: u16,
    timers_moved: bool,
    stats: Stats,
}

impl Mux {
    /// A new link: sends VERSION first.
    #[must_use]
    pub fn new(now: Instant, options: MuxOptions) -> Self {
        let again = deadline(now, options.version_limit);
        Self {
            options,
            state: State::VersionSent { tries: 1, again },
            clock: now,
            slots: Slots::default(),
            timers: Timers::default(),
            blocks: Blocks::default(),
            by_port: HashMap::new(),
            ports: Ports::default(),
            ready: VecDeque::new(),
            handshake: VecDeque::from([Frame::Version { major: 2, minor: 0 }]),
            resets: VecDeque::new(),
            reset_went: false,
            events: VecDeque::new(),
            texts: 0,
            tx_seq: 0,
            rx_seq: NOTHING_RECEIVED,
            timers_moved: true,
            stats: Stats::default(),
        }
    }

    /// What was odd so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Whether no connection exists, not even one that is still draining.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.is_empty()
    }

    /// Opens a connection to a port of the device; [`Event::Connected`] or [`Event::Closed`] follows.
    ///
    /// # Errors
    /// [`MuxError`].
    pub fn connect(&mut self, now: Instant, port: u16, within: Duration) -> Result<ConnectionId, MuxError> {
        self.clock = now;
        match &self.state {
            State::VersionSent { .. } => return Err(MuxError::NotReady),
            State::Failed(failure) => return Err(MuxError::Failed(failure.clone())),
            State::Active { .. } => {}
        }
        let limit = self.options.max_connections;
        if self.slots.len() >= limit {
            return Err(MuxError::TooManyConnections { limit });
        }
        let local = self.ports.take(now).ok_or(MuxError::NoPort)?;
        let connection = Connection::open(local, port, deadline(now, within), &self.options);
        let id = self.slots.insert(Slot::new(connection));
        self.by_port.insert(local, id);
        self.touch(id);
        Ok(id)
    }

    /// Whether the device accepted the connection; it may have said something and ended it since.
    #[must_use]
    pub fn was_accepted(&self, id: ConnectionId) -> bool {
        self.slots.get(id).is_some_and(|slot| slot.accepted)
    }

    /// Whether nothing more will be sent or received on the connection.
    #[must_use]
    pub fn is_closed(&self, id: ConnectionId) -> bool {
        self.slots.get(id).is_none_or(|slot| slot.connection.is_closed())
    }

    /// Why a connection ended, once it has; `Local` for one that is unknown.
    #[must_use]
    pub fn close_reason(&self, id: ConnectionId) -> Option<CloseReason> {
        match self.slots.get(id) {
            Some(slot) => slot.connection.reason().cloned(),
            None => Some(CloseReason::Local),
        }
    }

    /// Bytes of a connection that the device has not acknowledged.
    #[must_use]
    pub fn in_flight(&self, id: ConnectionId) -> u32 {
        self.slots.get(id).map_or(0, |slot| slot.connection.in_flight())
    }

    /// Hands bytes over for sending and says how many were taken: 0 when the buffer is full, [`Event::Writable`]
    /// follows then.
    ///
    /// # Errors
    /// The reason why the connection ended.
    pub fn write(&mut self, now: Instant, id: ConnectionId, data: &[u8]) -> Result<usize, CloseReason> {
        self.clock = now;
        let slot = self.slots.get_mut(id).ok_or(CloseReason::Local)?;
        let taken = slot.connection.write(data, &self.options, &mut self.blocks)?;
        slot.write_waits = taken == 0;
        self.touch(id);
        Ok(taken)
    }

    /// Moves received bytes into `out` and says how many: 0 when there are none, [`Event::Readable`] follows then.
    ///
    /// # Errors
    /// The reason why the connection ended, once everything that arrived before was read.
    pub fn read(&mut self, now: Instant, id: ConnectionId, out: &mut impl BufMut) -> Result<usize, CloseReason> {
        self.clock = now;
        let slot = self.slots.get_mut(id).ok_or(CloseReason::Local)?;
        let read = slot.connection.read(now, out, &self.options, &mut self.blocks);
        if read == 0 && out.has_remaining_mut() && slot.connection.is_finished() {
            return Err(slot.connection.reason().cloned().unwrap_or(CloseReason::Local));
        }
        slot.read_waits = read == 0;
        self.touch(id);
        Ok(read)
    }

    /// Closes a connection: what was written still goes out (at most five seconds), what arrives is thrown away, then
    /// RST. [`Event::Drained`] follows.
    pub fn close(&mut self, now: Instant, id: ConnectionId) {
        self.clock = now;
        if let Some(slot) = self.slots.get_mut(id) {
            slot.connection.close(now, &self.options);
            self.touch(id);
        }
    }

    /// Closes a connection whose id nobody will use again.
    pub fn release(&mut self, now: Instant, id: ConnectionId) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.released = true;
        }
        self.close(now, id);
    }

    /// Takes complete frames off what arrived; the rest stays in `input` for the next call. Keeps no part of `input`:
    /// its memory is the caller's again.
    pub fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        self.clock = now;
        let mut rest: &[u8] = input;
        let lost = loop {
            let style = match &self.state {
                State::VersionSent { .. } => HeaderStyle::Short,
                State::Active { style } => *style,
                State::Failed(_) => return input.clear(),
            };
            let taken = match frame::peek(rest, style) {
                Ok(Some(taken)) => taken,
                Ok(None) => break None,
                Err(error) => break Some(error),
            };
            self.stats.frames_in = self.stats.frames_in.wrapping_add(1);
            self.note_numbers(taken.numbers);
            match taken.frame {
                Ok(frame) => self.handle_frame(now, frame),
                Err(error) => {
                    self.stats.bad_frames = self.stats.bad_frames.wrapping_add(1);
                    tracing::debug!(%error, "malformed frame dropped");
                }
            }
            rest = rest.get(taken.len..).unwrap_or_default();
        };
        let left = rest.len();
        input.advance(input.len().saturating_sub(left));
        if let Some(error) = lost {
            input.clear();
            self.fail(Failure::Frame(error));
        }
    }

    /// The link ended or broke.
    pub fn handle_link_lost(&mut self, now: Instant) {
        self.clock = now;
        self.fail(Failure::Link);
    }

    /// Time has passed; to be called at [`Mux::poll_timeout`], and harmless at any other time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.clock = now;
        match &mut self.state {
            State::VersionSent { tries, again } if *again <= now => {
                if *tries >= VERSION_TRIES {
                    return self.fail(Failure::NoVersion);
                }
                *tries = tries.saturating_add(1);
                *again = deadline(now, self.options.version_limit);
                self.handshake.push_back(Frame::Version { major: 2, minor: 0 });
            }
            _ => {}
        }
        // Each turn moves one connection to a later state or takes its deadline away, so this ends.
        while let Some((at, place)) = self.timers.first()
            && at <= now
        {
            let Some(id) = self.slots.id_at(place) else {
                self.timers.set(place, None);
                continue;
            };
            if let Some(slot) = self.slots.get_mut(id) {
                let outcome = slot.connection.handle_timeout(now, &self.options);
                self.report(id, outcome);
            }
        }
    }

    /// When [`Mux::handle_timeout`] wants to be called. Costs the same however many connections there are.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let version = match &self.state {
            State::VersionSent { again, .. } => Some(*again),
            State::Active { .. } | State::Failed(_) => None,
        };
        let connections = self.timers.first().map(|(at, _)| at);
        [version, connections].into_iter().flatten().min()
    }

    /// Whether [`Mux::poll_transmit`] has something or [`Mux::poll_timeout`] may have moved since it last said `None`.
    #[must_use]
    pub fn wants_driver(&self) -> bool {
        self.timers_moved || !self.ready.is_empty() || !self.handshake.is_empty() || !self.resets.is_empty()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if matches!(event, Some(Event::Control { .. })) {
            self.texts = self.texts.saturating_sub(1);
        }
        event
    }

    /// Appends the next frame to `out` and gives its length, or `None` when nothing is to be sent now.
    pub fn poll_transmit(&mut self, out: &mut BytesMut) -> Option<usize> {
        let before = out.len();
        if let Some(frame) = self.handshake.pop_front() {
            let numbers = if matches!(frame, Frame::Version { .. }) {
                None
            } else {
                self.numbers()
            };
            frame.encode(numbers, out);
        } else if !self.transmit_turn(out) {
            self.timers_moved = false;
            return None;
        }
        self.stats.frames_out = self.stats.frames_out.wrapping_add(1);
        Some(out.len().saturating_sub(before))
    }

    /// Resets for strangers go in turn with the connections: a device that asks for many gets no more than half of the
    /// link.
    fn transmit_turn(&mut self, out: &mut BytesMut) -> bool {
        if std::mem::take(&mut self.reset_went) && self.transmit_connection(out) {
            return true;
        }
        let Some(segment) = self.resets.pop_front() else {
            return self.transmit_connection(out);
        };
        segment.encode(self.numbers(), [&[], &[]], out);
        self.reset_went = true;
        true
    }

    fn transmit_connection(&mut self, out: &mut BytesMut) -> bool {
        let State::Active { style } = &self.state else {
            return false;
        };
        let overhead = style.len().saturating_add(Segment::LEN);
        let max_payload = u32::try_from(self.options.max_frame.saturating_sub(overhead)).unwrap_or(u32::MAX);
        while let Some(id) = self.ready.pop_front() {
            let Some(slot) = self.slots.get_mut(id) else { continue };
            slot.queued = false;
            let Some((segment, len)) = slot.connection.next_segment(max_payload, &self.options) else {
                continue;
            };
            let numbers = next_numbers(*style, &mut self.tx_seq, self.rx_seq);
            slot.connection.transmit(&segment, len, numbers, out, &mut self.blocks);
            if len > 0 && std::mem::take(&mut slot.write_waits) {
                self.events.push_back(Event::Writable(id));
            }
            self.touch(id);
            return true;
        }
        false
    }

    fn numbers(&mut self) -> Option<Numbers> {
        let style = match &self.state {
            State::Active { style } => *style,
            State::VersionSent { .. } | State::Failed(_) => HeaderStyle::Short,
        };
        next_numbers(style, &mut self.tx_seq, self.rx_seq)
    }

    /// The device's frame numbers are logged and answered, never acted on: implementations disagree about them.
    fn note_numbers(&mut self, numbers: Option<Numbers>) {
        let Some(numbers) = numbers else { return };
        if numbers.tx_seq != self.rx_seq.wrapping_add(1) {
            self.stats.sequence_gaps = self.stats.sequence_gaps.wrapping_add(1);
            tracing::debug!(
                got = numbers.tx_seq,
                last = self.rx_seq,
                "step in the device's frame numbers"
            );
        }
        self.rx_seq = numbers.tx_seq;
    }

    fn handle_frame(&mut self, now: Instant, frame: FrameRef<'_>) {
        match (&self.state, frame) {
            (State::VersionSent { .. }, FrameRef::Version { major, .. }) => self.handle_version(major),
            // Whatever a previous owner of the link left in it.
            (State::VersionSent { .. } | State::Failed(_), _) => {}
            (State::Active { .. }, FrameRef::Version { .. }) => {
                tracing::warn!("the device sent VERSION again; ignored");
            }
            (State::Active { .. }, FrameRef::Tcp { segment, payload }) => self.handle_segment(now, &segment, payload),
            (State::Active { .. }, FrameRef::Control { kind, text }) => {
                if self.texts < MAX_TEXTS {
                    self.texts = self.texts.saturating_add(1);
                    let text = Bytes::copy_from_slice(text.get(..MAX_TEXT).unwrap_or(text));
                    self.events.push_back(Event::Control { kind, text });
                }
            }
            (State::Active { .. }, FrameRef::Setup { .. } | FrameRef::Unknown { .. }) => {
                self.stats.unknown_frames = self.stats.unknown_frames.wrapping_add(1);
            }
        }
    }

    fn handle_version(&mut self, major: u32) {
        let style = match major {
            1 => HeaderStyle::Short,
            2 => HeaderStyle::Long,
            major => return self.fail(Failure::Version { major }),
        };
        self.handshake.clear(); // a repeated VERSION that did not go out
        self.state = State::Active { style };
        self.tx_seq = 0;
        self.rx_seq = NOTHING_RECEIVED;
        if style == HeaderStyle::Long {
            self.handshake.push_back(Frame::Setup {
                value: Bytes::from_static(&[7]),
            });
        }
        self.events.push_back(Event::Ready { version: major });
    }

    fn handle_segment(&mut self, now: Instant, segment: &Segment, payload: &[u8]) {
        let id = self.by_port.get(&segment.destination).copied();
        let slot = id.and_then(|id| self.slots.get_mut(id).map(|slot| (id, slot)));
        match slot {
            Some((id, slot)) if slot.connection.ports().1 == segment.source => {
                let connection = &mut slot.connection;
                let outcome = connection.handle_segment(segment, payload, now, &self.options, &mut self.blocks);
                self.report(id, outcome);
            }
            _ => {
                self.stats.stale_frames = self.stats.stale_frames.wrapping_add(1);
                if !segment.flags.contains(Flags::RST) && self.resets.len() < MAX_RESETS {
                    self.resets.push_back(Segment {
                        source: segment.destination,
                        destination: segment.source,
                        seq: 0,
                        ack: segment.seq,
                        flags: Flags::RST,
                        window: 0,
                    });
                }
            }
        }
    }

    fn report(&mut self, id: ConnectionId, outcome: Outcome) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        if outcome.connected {
            slot.accepted = true;
            self.events.push_back(Event::Connected(id));
        }
        if outcome.readable && std::mem::take(&mut slot.read_waits) {
            self.events.push_back(Event::Readable(id));
        }
        if outcome.ended && !slot.released {
            let reason = slot.connection.reason().cloned().unwrap_or(CloseReason::Local);
            self.events.push_back(Event::Closed(id, reason));
        }
        self.touch(id);
    }

    /// After anything happened to a connection: queue it for sending, or forget it when it is over.
    fn touch(&mut self, id: ConnectionId) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let first = self.timers.first().map(|(at, _)| at);
        self.timers.set(id.place, slot.connection.poll_timeout());
        // A deadline that moved back wakes the driver for nothing, once; only an earlier one is news.
        if let Some((at, _)) = self.timers.first() {
            self.timers_moved |= first.is_none_or(|first| at < first);
        }
        if slot.connection.wants_transmit() && !slot.queued {
            slot.queued = true;
            self.ready.push_back(id);
        }
        if slot.connection.is_closed() {
            if !std::mem::replace(&mut slot.rested, true) {
                let port = slot.connection.ports().0;
                self.by_port.remove(&port);
                self.ports.rest(self.clock, port);
                if slot.connection.reason() == Some(&CloseReason::Local) && !slot.released {
                    self.events.push_back(Event::Drained(id));
                }
            }
            if slot.released {
                self.slots.remove(id);
                if self.slots.is_empty() {
                    self.blocks.release();
                }
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        if matches!(self.state, State::Failed(_)) {
            return;
        }
        self.state = State::Failed(failure.clone());
        self.handshake.clear();
        self.resets.clear();
        self.ready.clear();
        for id in self.slots.ids() {
            let Some(slot) = self.slots.get_mut(id) else { continue };
            let outcome = slot.connection.abort(CloseReason::Failed(failure.clone()));
            self.report(id, outcome);
        }
        self.events.push_back(Event::Failed(failure));
    }
}

fn next_numbers(style: HeaderStyle, tx_seq: &mut u16, rx_seq: u16) -> Option<Numbers> {
    match style {
        HeaderStyle::Short => None,
        HeaderStyle::Long => {
            let numbers = Numbers {
                magic: frame::MAGIC_HOST,
                tx_seq: *tx_seq,
                rx_seq,
            };
            *tx_seq = tx_seq.wrapping_add(1);
            Some(numbers)
        }
    }
}
