//! One connection of the host side. Holds no socket, no task and no clock.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};

use super::frame::{Flags, Numbers, Segment};
use super::queue::{Blocks, Queue};
use super::{CloseReason, MuxOptions, Violation};

/// How long unannounced room may stay unannounced.
const UPDATE_DELAY: Duration = Duration::from_millis(30);
/// The window in a SYN, as every implementation has it: 512 units of 256 bytes.
const SYN_WINDOW: u32 = 131_072;
/// How long a RST may wait for a link that takes nothing. Then the connection is over without one.
const RESET_LIMIT: Duration = Duration::from_secs(5);
/// What stands for deadlines further away than the clock goes.
const FAR: Duration = Duration::from_secs(1 << 30);

/// Where a connection is; a variant carries what only that state needs. Spec: usbmux, section 10.
#[derive(Debug)]
enum State {
    /// The SYN waits to be sent.
    SynDue { give_up: Instant },
    /// The device has to answer.
    SynSent { give_up: Instant },
    /// Bytes flow.
    Established,
    /// Closed by us; the rest of our bytes is on its way.
    Draining { give_up: Instant },
    /// The RST waits to be sent.
    ResetDue { give_up: Instant },
    /// Over.
    Closed,
}

/// What a segment or a timer did, for the layer above.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The device accepted.
    pub(super) connected: bool,
    /// Bytes are there to be read.
    pub(super) readable: bool,
    /// The connection ended.
    pub(super) ended: bool,
}

#[derive(Debug)]
pub(super) struct Connection {
    state: State,
    local: u16,
    remote: u16,
    /// Number of the next byte sent.
    tx_next: u32,
    /// What the device acknowledged.
    peer_ack: u32,
    /// Bytes the device has room for, counted from what it acknowledged.
    peer_window: u32,
    /// Bytes for the device.
    outgoing: Queue,
    /// Number of the next byte expected.
    rx_next: u32,
    /// Number of the first byte we have not given the device room for.
    edge: u32,
    /// Received bytes that nobody has read.
    incoming: Queue,
    /// A segment with the current acknowledgment has to go out.
    ack_due: bool,
    update_at: Option<Instant>,
    reason: Option<CloseReason>,
}

impl Connection {
    pub(super) fn open(local: u16, remote: u16, give_up: Instant, options: &MuxOptions) -> Self {
        Self {
            state: State::SynDue { give_up },
            local,
            remote,
            tx_next: options.initial_sequence,
            peer_ack: options.initial_sequence,
            peer_window: 0,
            outgoing: Queue::default(),
            rx_next: 0,
            edge: 0,
            incoming: Queue::default(),
            ack_due: false,
            update_at: None,
            reason: None,
        }
    }

    pub(super) fn ports(&self) -> (u16, u16) {
        (self.local, self.remote)
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Why it ended, once it has.
    pub(super) fn reason(&self) -> Option<&CloseReason> {
        self.reason.as_ref()
    }

    /// Bytes sent and not acknowledged.
    pub(super) fn in_flight(&self) -> u32 {
        self.tx_next.wrapping_sub(self.peer_ack)
    }

    pub(super) fn handle_segment(
        &mut self,
        segment: &Segment,
        payload: &[u8],
        now: Instant,
        options: &MuxOptions,
        blocks: &mut Blocks,
    ) -> Outcome {
        match (&self.state, segment.flags) {
            (State::SynSent { .. }, flags) if flags.contains(Flags::RST) => {
                let text = text_of(payload);
                self.end(State::Closed, CloseReason::Refused { text })
            }
            (State::SynSent { .. }, Flags::SYN_ACK) if segment.ack == self.tx_next => {
                self.peer_ack = segment.ack;
                self.peer_window = segment.window_bytes();
                self.rx_next = segment.seq.wrapping_add(1);
                self.edge = self.rx_next;
                self.ack_due = true;
                self.state = State::Established;
                Outcome {
                    connected: true,
                    ..Outcome::default()
                }
            }
            (State::SynSent { .. }, flags) => self.violated(now, Violation::Handshake { flags }),
            (State::Established | State::Draining { .. }, flags) if flags.contains(Flags::RST) => {
                let text = text_of(payload);
                self.end(State::Closed, CloseReason::Reset { text })
            }
            (State::Established | State::Draining { .. }, Flags::ACK) => {
                self.acknowledged(segment);
                let outcome = match self.accept(segment, payload, options, blocks) {
                    Ok(readable) => Outcome {
                        readable,
                        ..Outcome::default()
                    },
                    Err(violation) => return self.violated(now, violation),
                };
                self.schedule_update(now, options);
                self.drained(now);
                outcome
            }
            (State::Established | State::Draining { .. }, flags) => self.violated(now, Violation::Flags { flags }),
            // A frame on its way while we closed, or of a previous owner of the port.
            (State::SynDue { .. } | State::ResetDue { .. } | State::Closed, _) => Outcome::default(),
        }
    }

    fn acknowledged(&mut self, segment: &Segment) {
        let advance = segment.ack.wrapping_sub(self.peer_ack);
        // Old numbers and numbers of bytes never sent change nothing; peers differ in how exact they are.
        if advance <= self.in_flight() {
            self.peer_ack = segment.ack;
        }
        self.peer_window = segment.window_bytes();
    }

    /// Takes the payload in; says whether there is something new to read.
    fn accept(
        &mut self,
        segment: &Segment,
        payload: &[u8],
        options: &MuxOptions,
        blocks: &mut Blocks,
    ) -> Result<bool, Violation> {
        let ahead = segment.seq.wrapping_sub(self.rx_next).cast_signed();
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if ahead > 0 {
            return Err(Violation::Sequence {
                expected: self.rx_next,
                got: segment.seq,
            });
        }
        if payload.is_empty() {
            return Ok(false); // never answered: two sides that do would not stop
        }
        self.ack_due = true;
        if ahead < 0 {
            let end = segment.seq.wrapping_add(len).wrapping_sub(self.rx_next).cast_signed();
            let repeated = end <= 0;
            let error = Violation::Sequence {
                expected: self.rx_next,
                got: segment.seq,
            };
            return if repeated { Ok(false) } else { Err(error) };
        }
        if matches!(self.state, State::Draining { .. }) {
            self.rx_next = self.rx_next.wrapping_add(len);
            return Ok(false);
        }
        let room = options.receive_buffer.saturating_sub(self.incoming.len());
        if payload.len() > room {
            return Err(Violation::Window {
                room,
                got: payload.len(),
            });
        }
        self.rx_next = self.rx_next.wrapping_add(len);
        self.incoming.push(payload, blocks);
        Ok(true)
    }

    /// Room for the device, in whole units of 256 bytes.
    fn room(&self, options: &MuxOptions) -> u32 {
        let room = options.receive_buffer.saturating_sub(self.incoming.len());
        u32::try_from(room).unwrap_or(u32::MAX).min(0x00ff_ff00) & !0xff
    }

    /// How much of it the device does not know about; and how much it knows.
    fn unannounced(&self, options: &MuxOptions) -> (u32, u32) {
        let announced = u32::try_from(self.edge.wrapping_sub(self.rx_next).cast_signed()).unwrap_or(0);
        (self.room(options).saturating_sub(announced), announced)
    }

    /// Announces new room at once when the device may be waiting for it, otherwise a little later.
    fn schedule_update(&mut self, now: Instant, options: &MuxOptions) {
        if self.ack_due || !matches!(self.state, State::Established) {
            return;
        }
        let buffer = u32::try_from(options.receive_buffer).unwrap_or(u32::MAX);
        let (grown, announced) = self.unannounced(options);
        if announced < (buffer / 8).min(32 << 10) && grown >= (buffer / 4).clamp(256, 64 << 10) {
            self.ack_due = true;
        } else if grown > 0 && self.update_at.is_none() {
            self.update_at = now.checked_add(UPDATE_DELAY);
        }
    }

    /// Whether a segment could go out now.
    pub(super) fn wants_transmit(&self) -> bool {
        match self.state {
            State::SynDue { .. } | State::ResetDue { .. } => true,
            State::Established | State::Draining { .. } => self.ack_due || self.sendable() > 0,
            State::SynSent { .. } | State::Closed => false,
        }
    }

    /// Bytes that the device has room for and that we have.
    fn sendable(&self) -> u32 {
        let queued = u32::try_from(self.outgoing.len()).unwrap_or(u32::MAX);
        self.peer_window.saturating_sub(self.in_flight()).min(queued)
    }

    /// Whether its turn yields a frame, and how many bytes go with it. To be followed by [`Connection::transmit`].
    pub(super) fn next_segment(&mut self, max_payload: u32, options: &MuxOptions) -> Option<(Segment, usize)> {
        let (flags, len) = match self.state {
            State::SynDue { give_up } => {
                self.state = State::SynSent { give_up };
                (Flags::SYN, 0)
            }
            State::ResetDue { .. } => {
                self.state = State::Closed;
                (Flags::RST, 0)
            }
            State::Established | State::Draining { .. } => match self.sendable().min(max_payload) {
                0 if !self.ack_due => return None,
                len => (Flags::ACK, len),
            },
            State::SynSent { .. } | State::Closed => return None,
        };
        let segment = self.segment(flags, options);
        // A SYN counts as one byte.
        self.tx_next = self.tx_next.wrapping_add(if flags == Flags::SYN { 1 } else { len });
        Some((segment, usize::try_from(len).unwrap_or(0)))
    }

    /// Appends the frame of a segment and `len` bytes to `out`.
    pub(super) fn transmit(
        &mut self,
        segment: &Segment,
        len: usize,
        numbers: Option<Numbers>,
        out: &mut BytesMut,
        blocks: &mut Blocks,
    ) {
        segment.encode_head(numbers, len, out);
        self.outgoing.pop(len, out, blocks);
    }

    fn segment(&mut self, flags: Flags, options: &MuxOptions) -> Segment {
        let room = self.room(options);
        let room = if flags == Flags::SYN {
            room.min(SYN_WINDOW)
        } else {
            room
        };
        self.edge = self.rx_next.wrapping_add(room);
        self.ack_due = false;
        self.update_at = None;
        Segment {
            source: self.local,
            destination: self.remote,
            seq: self.tx_next,
            ack: self.rx_next,
            flags,
            window: u16::try_from(room >> 8).unwrap_or(u16::MAX),
        }
    }

    /// Takes bytes for sending, as many as the buffer has room for.
    pub(super) fn write(
        &mut self,
        data: &[u8],
        options: &MuxOptions,
        blocks: &mut Blocks,
    ) -> Result<usize, CloseReason> {
        if !matches!(self.state, State::Established) {
            return Err(self.reason.clone().unwrap_or(CloseReason::Local));
        }
        let room = options.send_buffer.saturating_sub(self.outgoing.len()).min(data.len());
        self.outgoing.push(data.get(..room).unwrap_or_default(), blocks);
        Ok(room)
    }

    /// Hands out received bytes; what is held stays readable after the end.
    pub(super) fn read(
        &mut self,
        now: Instant,
        out: &mut impl BufMut,
        options: &MuxOptions,
        blocks: &mut Blocks,
    ) -> usize {
        let read = self.incoming.pop(usize::MAX, out, blocks);
        if read > 0 {
            self.schedule_update(now, options);
        }
        read
    }

    /// No more bytes will come than [`Connection::read`] has.
    pub(super) fn is_finished(&self) -> bool {
        self.reason.is_some()
    }

    /// Closes from our side: what was written still goes out, what arrives is thrown away.
    pub(super) fn close(&mut self, now: Instant, options: &MuxOptions) {
        match self.state {
            State::SynDue { .. } => self.state = State::Closed,
            State::SynSent { .. } => self.state = reset_due(now),
            State::Established => {
                self.state = State::Draining {
                    give_up: deadline(now, options.drain_limit),
                };
                self.incoming.clear();
                self.update_at = None;
                self.drained(now);
            }
            State::Draining { .. } | State::ResetDue { .. } | State::Closed => return,
        }
        self.reason.get_or_insert(CloseReason::Local);
    }

    /// The link is gone: nothing can be sent any more. A close that was not through is not one: bytes may be lost.
    pub(super) fn abort(&mut self, reason: CloseReason) -> Outcome {
        if matches!(self.state, State::Draining { .. }) {
            self.reason = None;
        }
        self.end(State::Closed, reason)
    }

    fn drained(&mut self, now: Instant) {
        if matches!(self.state, State::Draining { .. }) && self.outgoing.is_empty() && self.in_flight() == 0 {
            self.state = reset_due(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::SynDue { give_up }
            | State::SynSent { give_up }
            | State::Draining { give_up }
            | State::ResetDue { give_up } => Some(give_up),
            State::Established => self.update_at,
            State::Closed => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, options: &MuxOptions) -> Outcome {
        match self.state {
            State::SynDue { give_up } if give_up <= now => self.end(State::Closed, CloseReason::TimedOut),
            State::SynSent { give_up } if give_up <= now => self.end(reset_due(now), CloseReason::TimedOut),
            State::Draining { give_up } if give_up <= now => {
                self.state = reset_due(now);
                Outcome::default()
            }
            State::ResetDue { give_up } if give_up <= now => {
                self.state = State::Closed;
                Outcome::default()
            }
            State::Established if self.update_at.is_some_and(|at| at <= now) => {
                self.update_at = None;
                self.ack_due |= self.unannounced(options).0 > 0;
                Outcome::default()
            }
            _ => Outcome::default(),
        }
    }

    fn violated(&mut self, now: Instant, violation: Violation) -> Outcome {
        self.end(reset_due(now), CloseReason::Protocol(violation))
    }

    fn end(&mut self, state: State, reason: CloseReason) -> Outcome {
        let ended = self.reason.is_none();
        self.state = state;
        self.reason.get_or_insert(reason);
        self.outgoing.clear();
        self.update_at = None;
        Outcome {
            ended,
            ..Outcome::default()
        }
    }
}

/// The moment `limit` after `now`.
pub(super) fn deadline(now: Instant, limit: Duration) -> Instant {
    now.checked_add(limit.min(FAR)).unwrap_or(now)
}

fn reset_due(now: Instant) -> State {
    State::ResetDue {
        give_up: deadline(now, RESET_LIMIT),
    }
}

/// The reason in a RST, fit for a log: at most 200 characters, no control characters.
fn text_of(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload.get(..800).unwrap_or(payload));
    cabled_wire::WireError::excerpt(text.trim_end_matches(['\0', '\n', '\r', ' ']))
}
