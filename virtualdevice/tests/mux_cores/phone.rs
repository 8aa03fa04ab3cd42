//! The phone's core against the vectors.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::frame::{self, Flags, Frame, HeaderStyle, MAGIC_HOST, Segment};
use cabled_virtualdevice::mux::{DeviceEvent, DeviceMux, DeviceMuxOptions, PeerId};

fn built(name: &str) -> Vec<u8> {
    cabled_golden::built("usb-frames.jsonl")[name].to_vec()
}

/// A phone that is spoken to in bytes.
struct Phone {
    mux: DeviceMux,
    now: Instant,
}

impl Phone {
    fn new(options: DeviceMuxOptions) -> Self {
        let mut options = options;
        options.magic = MAGIC_HOST; // as the vectors have it
        Self {
            mux: DeviceMux::new(options),
            now: Instant::now(),
        }
    }

    fn hears(&mut self, bytes: &[u8]) {
        self.mux.handle_input(&mut BytesMut::from(bytes));
    }

    fn says(&mut self) -> Vec<Bytes> {
        let mut out = BytesMut::new();
        std::iter::from_fn(|| self.mux.poll_transmit(&mut out).map(|_| out.split().freeze())).collect()
    }

    fn events(&mut self) -> Vec<DeviceEvent> {
        std::iter::from_fn(|| self.mux.poll_event()).collect()
    }

    fn dialed(&mut self) -> PeerId {
        self.hears(&built("version-request"));
        self.hears(&built("setup"));
        self.hears(&built("syn"));
        match self.events()[..] {
            [DeviceEvent::Dial { id, port: 62078 }] => id,
            ref other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_phone_says_what_the_built_frames_say() {
    let mut phone = Phone::new(DeviceMuxOptions::default());
    let id = phone.dialed();
    assert_eq!(phone.says(), [built("version-reply-2")]);
    phone.mux.accept(id);
    assert_eq!(phone.says(), [built("syn-ack")]);
    phone.hears(&built("ack"));
    assert!(phone.says().is_empty(), "a frame without payload is not answered");
    phone.hears(&built("data-4"));
    assert_eq!(phone.mux.take(id).unwrap(), &[0, 0, 1, 0x1c][..]);
    // 4 bytes held: the window is 511 units, as in the vector.
    assert_eq!(phone.says(), [built("data-ack")]);
    assert_eq!(phone.events(), [DeviceEvent::Readable(id)]);
    let mut rst = built("rst");
    phone.hears(&rst);
    assert_eq!(phone.events(), [DeviceEvent::Ended(id)]);
    phone.mux.finish(phone.now, id);
    assert_eq!(phone.mux.connections(), 0);
    // The pair is unknown now: a reset is ignored, anything else is answered with one.
    phone.hears(&rst);
    assert!(phone.says().is_empty());
    rst[29] = 0x10;
    phone.hears(&rst);
    assert_eq!(phone.says().len(), 1);
    let mut first = Phone::new(DeviceMuxOptions::default().with_version(1));
    first.hears(&built("version-request"));
    assert_eq!(first.says(), [built("version-reply-1")]);
}

#[test]
fn a_port_that_nobody_serves_is_refused_with_reset_and_acknowledgment() {
    let mut phone = Phone::new(DeviceMuxOptions::default().with_refusal("no"));
    let id = phone.dialed();
    phone.says();
    phone.mux.refuse(id);
    let refusal = frame::take(&mut BytesMut::from(&phone.says()[0][..]), HeaderStyle::Long)
        .unwrap()
        .unwrap();
    let Ok(Frame::Tcp { segment, payload }) = refusal.frame else {
        panic!()
    };
    assert_eq!(
        (segment.flags, segment.seq, segment.ack, &payload[..]),
        (Flags(0x14), 0, 1, &b"no"[..])
    );
    assert_eq!(phone.mux.connections(), 0);
}

#[test]
fn a_phone_resets_with_no_other_flag_once_the_service_is_through() {
    let mut phone = Phone::new(DeviceMuxOptions::default());
    let id = phone.dialed();
    phone.mux.accept(id);
    phone.says();
    // The service says its piece and ends before the handshake is through.
    assert_eq!(phone.mux.write(id, b"bye"), Some(3));
    phone.mux.finish(phone.now, id);
    assert!(phone.says().is_empty());
    phone.hears(&built("ack"));
    let frames: Vec<_> = phone
        .says()
        .iter()
        .map(|bytes| {
            frame::take(&mut BytesMut::from(&bytes[..]), HeaderStyle::Long)
                .unwrap()
                .unwrap()
                .frame
                .unwrap()
        })
        .collect();
    let [Frame::Tcp { payload, .. }, Frame::Tcp { segment, .. }] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!(payload, "bye");
    assert_eq!((segment.flags, segment.seq), (Flags::RST, 4));
    assert_eq!(phone.mux.connections(), 0);
}

#[test]
fn a_host_that_starts_anew_finds_a_phone_that_forgot_everything() {
    let mut phone = Phone::new(DeviceMuxOptions::default());
    let id = phone.dialed();
    phone.mux.accept(id);
    phone.says();
    phone.hears(&built("ack"));
    phone.hears(&built("version-request"));
    assert_eq!(phone.events(), [DeviceEvent::Ended(id)]);
    assert_eq!(phone.says(), [built("version-reply-2")]);
    // Before SETUP nothing else counts.
    phone.hears(&built("syn"));
    assert_eq!((phone.events(), phone.says()), (vec![], vec![]));
    phone.hears(&built("setup"));
    phone.hears(&built("syn"));
    let [DeviceEvent::Dial { id: again, .. }] = phone.events()[..] else {
        panic!()
    };
    assert_ne!(again, id);
    phone.mux.accept(again);
    assert_eq!(phone.says(), [built("syn-ack")], "frame numbers start at 0 again");
}

#[test]
fn a_host_that_ignores_the_window_or_glues_frames_together_is_told_so() {
    let mut phone = Phone::new(DeviceMuxOptions::default().with_receive_buffer(1024));
    let id = phone.dialed();
    phone.mux.accept(id);
    phone.says();
    phone.hears(&built("ack"));
    let numbers = Some(frame::Numbers {
        magic: MAGIC_HOST,
        tx_seq: 3,
        rx_seq: 0,
    });
    let segment = Segment {
        source: 1,
        destination: 62078,
        seq: 1,
        ack: 1,
        flags: Flags::ACK,
        window: 512,
    };
    let mut wire = BytesMut::new();
    Frame::Tcp {
        segment,
        payload: Bytes::from(vec![0; 1025]),
    }
    .encode(numbers, &mut wire);
    phone.hears(&wire);
    let said = frame::take(&mut BytesMut::from(&phone.says()[0][..]), HeaderStyle::Long)
        .unwrap()
        .unwrap();
    assert!(matches!(said.frame, Ok(Frame::Tcp { segment, .. }) if segment.flags == Flags::RST));

    let mut glued = BytesMut::new();
    Frame::Unknown {
        protocol: 6,
        payload: Bytes::from(vec![0; 65_520]),
    }
    .encode(numbers, &mut glued);
    phone.hears(&glued);
    let said = frame::take(&mut BytesMut::from(&phone.says()[0][..]), HeaderStyle::Long)
        .unwrap()
        .unwrap();
    assert!(matches!(said.frame, Ok(Frame::Control { .. })), "{said:?}");
    phone.hears(&built("syn"));
    assert_eq!(phone.events(), [DeviceEvent::Ended(id)], "it takes nothing any more");
}
