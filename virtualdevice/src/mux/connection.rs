//! One connection, device side.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cabled_usbmux::mux::frame::{Flags, Segment};

use super::{DeviceMuxOptions, WindowStyle};

/// Room that is not announced with other traffic is announced after this long.
const UPDATE_DELAY: Duration = Duration::from_millis(30);

#[derive(Debug)]
enum State {
    /// The phone is being asked whether it serves the port.
    Dialing,
    /// It does; SYN+ACK waits to be sent.
    AcceptDue,
    /// SYN+ACK is out; the first frame of the host completes the handshake.
    SynReceived,
    Established,
    /// The service has ended; its last bytes are on their way.
    Finishing {
        give_up: Instant,
    },
    /// The last frame waits to be sent.
    ResetDue {
        flags: Flags,
        text: String,
    },
    Closed,
}

/// News for the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Nothing,
    Bytes,
    End,
}

#[derive(Debug)]
pub(super) struct Connection {
    state: State,
    /// The phone's port and the host's.
    port: u16,
    peer: u16,
    next_seq: u32,
    acked: u32,
    peer_window: u32,
    out: VecDeque<u8>,
    expected: u32,
    /// Received, not yet taken by the service.
    inbox: VecDeque<Bytes>,
    /// Received, not yet consumed by the service: in the inbox or in the service's hands.
    held: usize,
    /// What the host was last told: the next byte wanted, and how many fit.
    told: (u32, u32),
    ack_due: bool,
    update_at: Option<Instant>,
    /// The service ended before the handshake was through: what follows the handshake, and by when.
    ending: Option<Instant>,
}

impl Connection {
    pub(super) fn dialed(syn: &Segment, options: &DeviceMuxOptions) -> Self {
        Self {
            state: State::Dialing,
            port: syn.destination,
            peer: syn.source,
            next_seq: options.initial_sequence,
            acked: options.initial_sequence,
            peer_window: syn.window_bytes(),
            out: VecDeque::new(),
            expected: syn.seq.wrapping_add(1),
            inbox: VecDeque::new(),
            held: 0,
            told: (0, 0),
            ack_due: false,
            update_at: None,
            ending: None,
        }
    }

    pub(super) fn pair(&self) -> (u16, u16) {
        (self.peer, self.port)
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::AcceptDue | State::SynReceived | State::Established)
    }

    pub(super) fn accept(&mut self) {
        if matches!(self.state, State::Dialing) {
            self.state = State::AcceptDue;
        }
    }

    pub(super) fn refuse(&mut self, text: &str) {
        if matches!(self.state, State::Dialing) {
            self.state = State::ResetDue {
                flags: Flags::RST | Flags::ACK,
                text: text.to_owned(),
            };
        }
    }

    pub(super) fn handle_segment(&mut self, segment: &Segment, payload: Bytes, options: &DeviceMuxOptions) -> News {
        if segment.flags.contains(Flags::RST) {
            self.state = State::Closed;
            return News::End;
        }
        match self.state {
            State::SynReceived if segment.flags == Flags::ACK => {
                self.state = match self.ending {
                    Some(give_up) => State::Finishing { give_up },
                    None => State::Established,
                };
            }
            State::Established | State::Finishing { .. } if segment.flags == Flags::ACK => {}
            State::ResetDue { .. } | State::Closed => return News::Nothing,
            // A second SYN, data before our answer, flags that nobody sends.
            _ => return self.give_up(format!("unexpected flags {:?}", segment.flags)),
        }
        // Hosts differ in what they acknowledge: one is a frame behind, one starts at 0. Only what fits counts.
        if segment.ack.wrapping_sub(self.acked) <= self.in_flight() {
            self.acked = segment.ack;
        }
        self.peer_window = segment.window_bytes();
        self.finished();
        if payload.is_empty() {
            return News::Nothing; // answering these would be a game without end
        }
        if segment.seq != self.expected {
            return self.give_up(format!("sequence number {} instead of {}", segment.seq, self.expected));
        }
        if payload.len() > options.receive_buffer.saturating_sub(self.held) {
            return self.give_up("more bytes than the window allowed".to_owned());
        }
        self.expected = self
            .expected
            .wrapping_add(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        self.ack_due = true;
        if matches!(self.state, State::Finishing { .. }) {
            return News::Nothing; // nobody reads any more
        }
        self.held = self.held.saturating_add(payload.len());
        self.inbox.push_back(payload);
        News::Bytes
    }

    /// The next received bytes; to be followed by [`Connection::consumed`] when the service has them.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.inbox.pop_front()
    }

    /// The service took `n` bytes.
    pub(super) fn consumed(&mut self, now: Instant, n: usize, options: &DeviceMuxOptions) {
        self.held = self.held.saturating_sub(n);
        let (next, room) = self.offer(options);
        let told_edge = self.told.0.wrapping_add(self.told.1);
        let gained = next.wrapping_add(room).wrapping_sub(told_edge).cast_signed();
        let left = told_edge.wrapping_sub(self.expected).cast_signed();
        let buffer = i32::try_from(options.receive_buffer).unwrap_or(i32::MAX);
        if gained >= buffer / 4 && left < buffer / 2 {
            self.ack_due = true;
        } else if gained > 0 && self.update_at.is_none() {
            self.update_at = now.checked_add(UPDATE_DELAY);
        }
    }

    /// The next byte wanted and the room behind it, by the style of this phone.
    fn offer(&self, options: &DeviceMuxOptions) -> (u32, u32) {
        let held = u32::try_from(self.held).unwrap_or(u32::MAX);
        let buffer = u32::try_from(options.receive_buffer).unwrap_or(u32::MAX);
        let in_units = |room: u32| room.min(0x00ff_ff00) & !0xff;
        match options.window_style {
            WindowStyle::Shrinking => (self.expected, in_units(buffer.saturating_sub(held))),
            WindowStyle::LateAcknowledgment => (self.expected.wrapping_sub(held), in_units(buffer)),
        }
    }

    /// Takes bytes of the service for the host; `None` once the connection is over.
    pub(super) fn write(&mut self, data: &[u8], options: &DeviceMuxOptions) -> Option<usize> {
        if !self.is_open() {
            return None;
        }
        let room = options.send_buffer.saturating_sub(self.out.len()).min(data.len());
        self.out.extend(data.get(..room).unwrap_or_default());
        Some(room)
    }

    /// The service has ended: its last bytes go out, then the connection is reset.
    pub(super) fn finish(&mut self, now: Instant, options: &DeviceMuxOptions) {
        if !self.is_open() {
            return;
        }
        self.inbox.clear();
        self.held = 0;
        let give_up = now.checked_add(options.drain_limit).unwrap_or(now);
        self.ending = Some(give_up);
        if matches!(self.state, State::Established) {
            self.state = State::Finishing { give_up };
            self.finished();
        }
    }

    fn finished(&mut self) {
        if matches!(self.state, State::Finishing { .. }) && self.out.is_empty() {
            self.state = State::ResetDue {
                flags: Flags::RST,
                text: String::new(),
            };
        }
    }

    fn give_up(&mut self, text: String) -> News {
        self.out.clear();
        self.state = State::ResetDue {
            flags: Flags::RST,
            text,
        };
        News::End
    }

    /// The link is gone or the host starts anew.
    pub(super) fn forget(&mut self) {
        self.state = State::Closed;
    }

    fn in_flight(&self) -> u32 {
        self.next_seq.wrapping_sub(self.acked)
    }

    fn sendable(&self) -> u32 {
        let waiting = u32::try_from(self.out.len()).unwrap_or(u32::MAX);
        self.peer_window.saturating_sub(self.in_flight()).min(waiting)
    }

    pub(super) fn wants_transmit(&self) -> bool {
        match self.state {
            State::AcceptDue | State::ResetDue { .. } => true,
            State::Established | State::Finishing { .. } => self.ack_due || self.sendable() > 0,
            State::Dialing | State::SynReceived | State::Closed => false,
        }
    }

    /// The next frame: header, number of bytes of [`Connection::payload`], text of a last frame.
    pub(super) fn poll_segment(
        &mut self,
        max_payload: u32,
        options: &DeviceMuxOptions,
    ) -> Option<(Segment, usize, String)> {
        let (flags, len, text) = match &mut self.state {
            State::AcceptDue => {
                self.state = State::SynReceived;
                (Flags::SYN_ACK, 0, String::new())
            }
            State::ResetDue { flags, text } => {
                let last = (*flags, 0, std::mem::take(text));
                self.state = State::Closed;
                last
            }
            State::Established | State::Finishing { .. } => match self.sendable().min(max_payload) {
                0 if !self.ack_due => return None,
                len => (Flags::ACK, len, String::new()),
            },
            State::Dialing | State::SynReceived | State::Closed => return None,
        };
        let (ack, room) = self.offer(options);
        self.told = (ack, room);
        self.ack_due = false;
        self.update_at = None;
        let segment = Segment {
            source: self.port,
            destination: self.peer,
            seq: self.next_seq,
            ack,
            flags,
            window: u16::try_from(room >> 8).unwrap_or(u16::MAX),
        };
        self.next_seq = self
            .next_seq
            .wrapping_add(if flags == Flags::SYN_ACK { 1 } else { len });
        Some((segment, usize::try_from(len).unwrap_or(0), text))
    }

    pub(super) fn payload(&self, len: usize) -> [&[u8]; 2] {
        let (first, second) = self.out.as_slices();
        match first.get(..len) {
            Some(head) => [head, &[]],
            None => [first, second.get(..len.saturating_sub(first.len())).unwrap_or(second)],
        }
    }

    pub(super) fn sent(&mut self, len: usize) {
        self.out.drain(..len.min(self.out.len()));
        self.finished();
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Finishing { give_up } => Some(give_up),
            State::Established => self.update_at,
            State::AcceptDue | State::SynReceived => self.ending,
            State::Dialing | State::ResetDue { .. } | State::Closed => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Finishing { give_up } if give_up <= now => {
                self.give_up("the last bytes were not taken in time".to_owned());
            }
            State::AcceptDue | State::SynReceived if self.ending.is_some_and(|at| at <= now) => {
                self.give_up("the host never completed the handshake".to_owned());
            }
            State::Established if self.update_at.is_some_and(|at| at <= now) => {
                self.update_at = None;
                self.ack_due = true;
            }
            _ => {}
        }
    }
}
