//! What is under way between the two machines.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BytesMut};
use cabled_usbmux::mux::frame::{Flags, Segment};

/// One direction. Bytes are cut anywhere; what a frame says counts once all of it has arrived.
#[derive(Debug, Default)]
pub(super) struct Cable {
    bytes: BytesMut,
    /// Where frames end, counted from the first byte ever, and what those of a machine say.
    ends: VecDeque<(usize, Option<Segment>)>,
    sent: usize,
    delivered: usize,
    /// Frames ever.
    pub(super) frames: usize,
    /// Delivered, not yet taken by the machine.
    pub(super) arrived: BytesMut,
}

impl Cable {
    pub(super) fn push(&mut self, frame: &[u8], says: Option<Segment>) {
        self.bytes.extend_from_slice(frame);
        self.sent += frame.len();
        self.frames += 1;
        self.ends.push_back((self.sent, says));
    }

    /// Moves up to `most` bytes on and gives what the frames say that arrived.
    pub(super) fn deliver(&mut self, most: usize) -> Vec<Segment> {
        let moved = most.min(self.bytes.len());
        self.arrived.extend_from_slice(&self.bytes[..moved]);
        self.bytes.advance(moved);
        self.delivered += moved;
        let mut heard = Vec::new();
        while let Some((end, says)) = self.ends.front()
            && *end <= self.delivered
        {
            heard.extend(*says);
            self.ends.pop_front();
        }
        heard
    }

    /// Bytes that are missing of a frame of which some have arrived.
    pub(super) fn to_next_frame(&self) -> usize {
        if self.arrived.is_empty() {
            return 0;
        }
        self.ends.front().map_or(0, |(end, _)| end - self.delivered)
    }

    /// What is under way is lost.
    pub(super) fn cut(&mut self) {
        self.delivered = self.sent;
        self.bytes.clear();
        self.ends.clear();
        self.arrived.clear();
    }
}

/// In which order connections got their frames out while nothing came in.
#[derive(Debug, Default)]
pub(super) struct Order(Vec<(u16, u16)>);

impl Order {
    /// Resets are no turn: those for strangers belong to no connection.
    pub(super) fn push(&mut self, pair: (u16, u16), flags: Flags) {
        if !flags.contains(Flags::RST) {
            self.0.push(pair);
        }
    }

    /// While one waits for its turn, no other has two.
    pub(super) fn check(&self) {
        let mut since: BTreeMap<(u16, u16), Vec<(u16, u16)>> = self.0.iter().map(|pair| (*pair, Vec::new())).collect();
        let mut left: BTreeMap<(u16, u16), usize> = BTreeMap::new();
        for pair in &self.0 {
            *left.entry(*pair).or_default() += 1;
        }
        for turn in &self.0 {
            for (waiting, others) in &mut since {
                if waiting == turn {
                    others.clear();
                } else if left[waiting] > 0 {
                    assert!(!others.contains(turn), "{turn:?} went twice while {waiting:?} waited");
                    others.push(*turn);
                }
            }
            *left.entry(*turn).or_default() -= 1;
        }
    }
}
