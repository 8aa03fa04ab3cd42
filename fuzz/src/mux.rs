//! The multiplexer: frames, and the machines against an opposite that keeps no rules and against each other.

mod device;
mod host;
mod pair;
mod view;

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::frame::{self, Frame, FrameRef, HeaderStyle, MAX_FRAME, Numbers, Segment};

pub use device::mux_device;
pub use host::mux_host;
pub use pair::mux_pair;

/// Frames off the cable, with either header: what was read is written and read again.
pub fn mux_frames(data: &[u8]) {
    for style in [HeaderStyle::Short, HeaderStyle::Long] {
        let mut buffer = BytesMut::from(data);
        let mut left = buffer.len();
        loop {
            let peeked = frame::peek(&data[data.len() - left..], style);
            let taken = match frame::take(&mut buffer, style) {
                Ok(Some(taken)) => taken,
                Ok(None) => break assert_eq!(peeked, Ok(None)),
                Err(error) => break assert_eq!(peeked, Err(error)),
            };
            left -= taken.len;
            let peeked = peeked.expect("as the other").expect("whole");
            assert_eq!((peeked.len, peeked.numbers), (taken.len, taken.numbers));
            match (&peeked.frame, &taken.frame) {
                (Ok(FrameRef::Tcp { segment, payload }), Ok(frame)) => {
                    let payload = Bytes::copy_from_slice(payload);
                    let segment = *segment;
                    assert_eq!(&Frame::Tcp { segment, payload }, frame);
                }
                (Err(one), other) => assert_eq!(Err(one), other.as_ref()),
                (Ok(_), other) => assert!(other.is_ok()),
            }
            assert!(taken.len >= HeaderStyle::Short.len() && taken.len <= MAX_FRAME);
            assert_eq!(buffer.len(), left, "the frame and nothing else is gone");
            let Ok(frame) = taken.frame else { continue };
            let mut again = BytesMut::new();
            frame.encode(taken.numbers, &mut again);
            let read = frame::take(&mut again, style).expect("ours").expect("whole");
            assert_eq!((read.frame, read.numbers), (Ok(frame), taken.numbers));
        }
    }
}

/// Puts our frames into bytes as an end would.
#[derive(Debug)]
struct Wire {
    style: HeaderStyle,
    sequence: u16,
}

impl Wire {
    const fn new(style: HeaderStyle) -> Self {
        Self { style, sequence: 0 }
    }

    fn bytes(&mut self, frame: &Frame) -> BytesMut {
        let mut bytes = BytesMut::new();
        if matches!(frame, Frame::Version { .. }) {
            frame.encode(None, &mut bytes);
        } else {
            self.sequence = self.sequence.wrapping_add(1);
            let numbers = Numbers {
                magic: frame::MAGIC_DEVICE,
                tx_seq: self.sequence,
                rx_seq: 0,
            };
            frame.encode((self.style == HeaderStyle::Long).then_some(numbers), &mut bytes);
        }
        bytes
    }
}

/// A segment without payload.
fn bare(segment: Segment) -> Frame {
    Frame::Tcp {
        segment,
        payload: Bytes::new(),
    }
}

/// Takes all frames that a machine has to say, each looked at by itself.
fn each_frame(
    style: HeaderStyle,
    max: usize,
    mut next: impl FnMut(&mut BytesMut) -> Option<usize>,
    mut look: impl FnMut(Frame),
) {
    let mut out = BytesMut::new();
    let mut frames = 0;
    while let Some(len) = next(&mut out) {
        frames += 1;
        assert!(frames < 10_000, "it never stops sending");
        look(one_frame(&mut out, len, style, max));
    }
}

/// A machine that was told that `time` has passed.
fn passed(deadline: Option<Instant>, now: Instant) {
    assert!(deadline.is_none_or(|at| at > now), "a deadline that never passes");
}

/// Takes the one frame that a machine has just put out.
fn one_frame(out: &mut BytesMut, len: usize, style: HeaderStyle, max: usize) -> Frame {
    assert!(out.len() == len && len <= max, "a frame of {len} bytes, at most {max}");
    let taken = frame::take(out, style).expect("ours").expect("whole");
    assert!(out.is_empty(), "one frame at a time");
    taken.frame.expect("ours")
}
