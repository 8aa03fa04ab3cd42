//! What one end of the cable knows of a connection.

use bytes::Bytes;
use cabled_usbmux::mux::frame::{Flags, Segment};

use crate::script::Script;

/// What one end of the cable has seen and promised on one connection: the model that the other end is held to.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Ports: theirs (the machine's), ours.
    pub(super) ports: (u16, u16),
    /// Number of the first byte the machine may send, and one behind the last it did.
    pub(super) start: u32,
    pub(super) end: u32,
    /// How far the machine may send, counted from `start`: the furthest that any of our frames allowed.
    pub(super) granted: u64,
    /// Number of our next byte.
    pub(super) next: u32,
    /// It has sent its SYN or answered ours.
    pub(super) open: bool,
}

impl View {
    /// A frame of ours tells the machine how much room there is.
    pub(super) fn grant(&mut self, segment: &Segment) {
        let edge = u64::from(segment.ack.wrapping_sub(self.start)) + u64::from(segment.window_bytes());
        self.granted = self.granted.max(edge);
    }

    /// A frame of the machine.
    pub(super) fn sent(&mut self, segment: &Segment, len: usize) {
        let len = u32::try_from(len).expect("a frame is short");
        if segment.flags == Flags::ACK {
            assert_eq!(segment.seq, self.end, "the machine's bytes follow one another");
            self.end = self.end.wrapping_add(len);
            let sent = u64::from(self.end.wrapping_sub(self.start));
            assert!(
                len == 0 || sent <= self.granted,
                "{sent} bytes sent, {} granted",
                self.granted
            );
        }
    }

    /// Our next frame: more or less what an honest end would send, as the script has it.
    pub(super) fn segment(&mut self, script: &mut Script<'_>) -> (Segment, Bytes) {
        let (kind, ack, window, len) = (script.byte(), script.byte(), script.byte(), script.byte());
        let flags = match kind & 15 {
            0..8 => Flags::ACK,
            8..12 => Flags::SYN_ACK,
            12 => Flags::RST,
            13 => Flags::RST | Flags::ACK,
            14 => Flags::SYN,
            _ => Flags(script.byte()),
        };
        let seq = match kind >> 4 {
            0..13 => self.next,
            13 => self.next.wrapping_sub(u32::from(script.byte())),
            14 => self.next.wrapping_add(u32::from(script.byte())),
            _ => script.long(),
        };
        let ack = match ack {
            0..200 => self.end,
            200..250 => self.end.wrapping_sub(u32::from(ack - 200) * 7),
            250..255 => self.end.wrapping_add(u32::from(ack - 249)),
            255 => script.long(),
        };
        let len = usize::from(len) * if kind & 3 == 3 { 200 } else { 1 };
        let segment = Segment {
            source: self.ports.1,
            destination: self.ports.0,
            seq,
            ack,
            flags,
            window: u16::from(window) * if window > 250 { 257 } else { 1 },
        };
        self.grant(&segment);
        if seq == self.next && flags == Flags::ACK {
            self.next = self.next.wrapping_add(u32::try_from(len).unwrap_or_default());
        }
        (segment, Bytes::from(vec![kind; len]))
    }
}

/// Which of several the script means.
pub(super) fn picked<'a>(mut views: impl ExactSizeIterator<Item = &'a mut View>, which: u8) -> Option<&'a mut View> {
    let at = usize::from(which) % views.len().max(1);
    views.nth(at)
}
