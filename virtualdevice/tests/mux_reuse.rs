//! Ports that a host uses again while the phone's service still holds the old connection.
#![expect(clippy::panic, reason = "test code")]

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::frame::{Flags, Frame, MAGIC_HOST, Numbers, Segment};
use cabled_virtualdevice::mux::{DeviceEvent, DeviceMux, DeviceMuxOptions, PeerId};

fn hear(mux: &mut DeviceMux, frame: &Frame) {
    let numbers = Numbers {
        magic: MAGIC_HOST,
        tx_seq: 0,
        rx_seq: 0,
    };
    let mut bytes = BytesMut::new();
    let short = matches!(frame, Frame::Version { .. });
    frame.encode((!short).then_some(numbers), &mut bytes);
    mux.handle_input(&mut bytes);
    while mux.poll_transmit(&mut bytes).is_some() {}
}

fn segment(flags: Flags, seq: u32, payload: &'static [u8]) -> Frame {
    Frame::Tcp {
        segment: Segment {
            source: 5,
            destination: 62078,
            seq,
            ack: 1,
            flags,
            window: 512,
        },
        payload: Bytes::from_static(payload),
    }
}

fn dial(mux: &mut DeviceMux) -> PeerId {
    hear(mux, &segment(Flags::SYN, 0, b""));
    let Some(DeviceEvent::Dial { id, .. }) = mux.poll_event() else {
        panic!("no dial")
    };
    mux.accept(id);
    while mux.poll_transmit(&mut BytesMut::new()).is_some() {}
    id
}

#[test]
fn letting_go_of_an_old_connection_leaves_the_new_one_on_its_ports_alone() {
    let mut mux = DeviceMux::new(DeviceMuxOptions::default());
    hear(&mut mux, &Frame::Version { major: 2, minor: 0 });
    let value = Bytes::from_static(&[7]);
    hear(&mut mux, &Frame::Setup { value });

    let old = dial(&mut mux);
    hear(&mut mux, &segment(Flags::ACK, 1, b""));
    hear(&mut mux, &segment(Flags::RST, 1, b""));
    assert_eq!(mux.poll_event(), Some(DeviceEvent::Ended(old)));
    // The host is back at once; the service lets go of the old connection only now.
    let new = dial(&mut mux);
    mux.finish(Instant::now(), old);

    hear(&mut mux, &segment(Flags::ACK, 1, b"hello"));
    assert_eq!(mux.poll_event(), Some(DeviceEvent::Readable(new)));
    assert_eq!(mux.take(new).unwrap(), "hello");
    assert_eq!(mux.stats().stale_frames, 0);
}
