//! What is known of a connection by its frames and by what went in and came out at its ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cabled_usbmux::mux::ConnectionId;
use cabled_usbmux::mux::frame::{Flags, Segment};
use cabled_virtualdevice::mux::PeerId;

use crate::script::Script;

/// The byte at a place of a stream; streams and directions differ.
pub(super) fn byte_at(salt: u16, place: u64) -> u8 {
    let [low, high, ..] = place.to_le_bytes();
    let [salt, turn] = salt.to_le_bytes();
    low ^ high.rotate_left(3) ^ salt.wrapping_mul(29) ^ turn
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Number of the sender's next byte.
    next: u32,
    /// What the sender has been told: the last acknowledgment and the room behind it.
    acknowledged: u32,
    room: u32,
    /// Bytes the sender's machine took, sent, and the receiver's gave out.
    pub(super) taken: u64,
    sent: u64,
    pub(super) received: u64,
}

impl Flow {
    /// The number of its first byte is known.
    pub(super) fn start(&mut self, first: u32) {
        self.next = first;
        self.acknowledged = first;
    }

    /// The sender's machine sends a frame.
    pub(super) fn says(&mut self, segment: &Segment, payload: &[u8], tainted: bool) {
        if segment.flags != Flags::ACK {
            return;
        }
        assert_eq!(segment.seq, self.next, "bytes follow one another");
        let len = u32::try_from(payload.len()).expect("a frame is short");
        self.next = self.next.wrapping_add(len);
        self.sent += u64::from(len);
        assert!(self.sent <= self.taken, "bytes out of nowhere");
        let under_way = self.next.wrapping_sub(self.acknowledged);
        assert!(
            tainted || len == 0 || under_way <= self.room,
            "{under_way} bytes under way, room was for {}",
            self.room
        );
    }

    /// The sender's machine gets a frame of the other end.
    pub(super) fn hears(&mut self, segment: &Segment) {
        if !segment.flags.contains(Flags::ACK) || segment.flags.contains(Flags::RST) {
            return;
        }
        if segment.ack.wrapping_sub(self.acknowledged).cast_signed() > 0 {
            self.acknowledged = segment.ack;
        }
        self.room = segment.window_bytes();
    }

    /// Bytes that the sender's machine has taken and not sent.
    pub(super) fn waiting(&self) -> u64 {
        self.taken - self.sent
    }

    pub(super) fn next_bytes(&self, salt: u16, len: usize) -> Vec<u8> {
        (self.taken..).take(len).map(|place| byte_at(salt, place)).collect()
    }

    /// The receiver's machine gives out bytes.
    pub(super) fn came(&mut self, salt: u16, bytes: &[u8], tainted: bool) {
        if !tainted {
            for (place, byte) in (self.received..).zip(bytes) {
                assert_eq!(*byte, byte_at(salt, place), "byte {place} of {salt}");
            }
            assert!(self.received + bytes.len() as u64 <= self.sent, "bytes out of nowhere");
        }
        self.received += bytes.len() as u64;
    }
}

/// One connection of the host.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: ConnectionId,
    /// The phone's port, different for each; the host's, 0 before its SYN.
    pub(super) port: u16,
    pub(super) source: u16,
    pub(super) peer: Option<PeerId>,
    pub(super) up: Flow,
    pub(super) down: Flow,
    /// A stranger has put a frame into it.
    pub(super) tainted: bool,
    pub(super) host_ended: bool,
    pub(super) device_ended: bool,
    pub(super) released: bool,
}

impl Stream {
    pub(super) fn new(id: ConnectionId, port: u16) -> Self {
        Self {
            id,
            port,
            source: 0,
            peer: None,
            up: Flow::default(),
            down: Flow::default(),
            tainted: false,
            host_ended: false,
            device_ended: false,
            released: false,
        }
    }

    /// A header that one end could have sent, with one field or another as the script has it.
    pub(super) fn forged(&self, up: bool, script: &mut Script<'_>) -> Segment {
        let (mine, other) = if up {
            (&self.up, &self.down)
        } else {
            (&self.down, &self.up)
        };
        let (shape, near) = (script.byte(), u32::from(script.byte()));
        let number = |right: u32, shape: u8, script: &mut Script<'_>| match shape & 3 {
            0 => right,
            1 => right.wrapping_add(near),
            2 => right.wrapping_sub(near),
            _ => script.long(),
        };
        Segment {
            source: if up { self.source } else { self.port },
            destination: if up { self.port } else { self.source },
            seq: number(mine.next, shape, script),
            ack: number(other.next, shape >> 2, script),
            flags: match shape >> 4 & 7 {
                0..4 => Flags::ACK,
                4 => Flags::RST,
                5 => Flags::SYN,
                6 => Flags::SYN_ACK,
                _ => Flags(script.byte()),
            },
            window: if shape & 128 == 0 { 512 } else { script.word() },
        }
    }
}

/// Which of the host's ports are in use, or were until when.
#[derive(Debug, Default)]
pub(super) struct Ports(BTreeMap<u16, Option<Instant>>);

impl Ports {
    pub(super) fn taken(&mut self, port: u16, now: Instant) {
        assert_ne!(port, 0);
        if let Some(over) = self.0.insert(port, None) {
            let rested = over.is_some_and(|over| now - over >= Duration::from_secs(10));
            assert!(rested, "port {port} is used again too early");
        }
    }

    pub(super) fn over(&mut self, port: u16, now: Instant) {
        if let Some(over) = self.0.get_mut(&port) {
            over.get_or_insert(now);
        }
    }
}
