//! The frame codec.

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::frame::{
    ControlKind, Flags, Frame, HeaderStyle, MAGIC_HOST, NOTHING_RECEIVED, Numbers, Segment, Taken, take,
};
use cabled_wire::WireError;
use proptest::prelude::*;

use crate::built;

pub(crate) fn taken(bytes: &[u8], style: HeaderStyle) -> Taken {
    let mut buffer = BytesMut::from(bytes);
    let taken = take(&mut buffer, style).unwrap().unwrap();
    assert!(buffer.is_empty());
    taken
}

pub(crate) fn encoded(frame: &Frame, numbers: Option<Numbers>) -> BytesMut {
    let mut out = BytesMut::new();
    frame.encode(numbers, &mut out);
    out
}

#[test]
fn every_built_frame_is_read_and_written_again() {
    let mut read = 0;
    for (name, bytes) in built() {
        if name.starts_with("BAD-length") {
            let mut buffer = BytesMut::from(&bytes[..]);
            let error = take(&mut buffer, HeaderStyle::Long).unwrap_err();
            assert!(
                matches!(error, WireError::Invalid { .. } | WireError::TooLong { .. }),
                "{name}: {error}"
            );
            continue;
        }
        let Taken { frame, numbers, len } = taken(&bytes, HeaderStyle::Long);
        assert_eq!(len, bytes.len(), "{name}");
        match name.as_str() {
            "BAD-tcp-short" => {
                assert!(matches!(frame, Err(WireError::Truncated { .. })), "{frame:?}");
                continue;
            }
            "BAD-tcp-offset" => {
                // Options are skipped, so they do not come back.
                let Ok(Frame::Tcp { payload, .. }) = frame else {
                    panic!("{frame:?}")
                };
                assert!(payload.is_empty());
                continue;
            }
            _ => {}
        }
        let frame = frame.unwrap();
        match (name.as_str(), &frame) {
            ("version-request" | "version-reply-2", Frame::Version { major: 2, minor: 0 }) => assert_eq!(numbers, None),
            ("version-reply-1", Frame::Version { major: 1, .. }) => {}
            ("setup", Frame::Setup { value }) => {
                assert_eq!(&value[..], [7]);
                let expected = Numbers {
                    magic: MAGIC_HOST,
                    tx_seq: 0,
                    rx_seq: NOTHING_RECEIVED,
                };
                assert_eq!(numbers, Some(expected));
            }
            (
                "control-error",
                Frame::Control {
                    kind: ControlKind::Error,
                    text,
                },
            ) => assert_eq!(text, "example text"),
            (
                "control-info",
                Frame::Control {
                    kind: ControlKind::Information,
                    ..
                },
            ) => {}
            ("data-ack", Frame::Tcp { segment, .. }) => assert_eq!(segment.window_bytes(), 130_816),
            ("rst-reason", Frame::Tcp { segment, payload }) => {
                assert_eq!((segment.flags, &payload[..]), (Flags::RST, &b"amnesia"[..]));
            }
            (_, Frame::Tcp { .. }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(encoded(&frame, numbers), bytes, "{name}");
        read += 1;
    }
    assert_eq!(read, 16);
}

#[test]
fn a_control_frame_may_be_empty_altogether() {
    let mut wire = BytesMut::from(&[0, 0, 0, 1, 0, 0, 0, 16][..]);
    wire.extend_from_slice(&[0; 8]);
    let frame = taken(&wire, HeaderStyle::Long).frame.unwrap();
    assert_eq!(
        frame,
        Frame::Control {
            kind: ControlKind::Other(0),
            text: Bytes::new()
        }
    );
}

pub(crate) fn any_frame() -> impl Strategy<Value = Frame> {
    let payload = || proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    let segment = (any::<(u16, u16, u32, u32)>(), any::<u8>(), any::<u16>()).prop_map(
        |((source, destination, seq, ack), flags, window)| Segment {
            source,
            destination,
            seq,
            ack,
            flags: Flags(flags),
            window,
        },
    );
    prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| Frame::Version { major, minor }),
        (any::<u8>(), payload()).prop_map(|(kind, text)| Frame::Control {
            kind: kind.into(),
            text
        }),
        payload().prop_map(|value| Frame::Setup { value }),
        (segment, payload()).prop_map(|(segment, payload)| Frame::Tcp { segment, payload }),
        (7_u32.., payload()).prop_map(|(protocol, payload)| Frame::Unknown { protocol, payload }),
    ]
}

proptest! {
    #[test]
    fn a_frame_survives_a_round_trip(frame in any_frame(), tx_seq: u16, rx_seq: u16, long: bool) {
        let numbers = long.then_some(Numbers { magic: MAGIC_HOST, tx_seq, rx_seq });
        let style = if long { HeaderStyle::Long } else { HeaderStyle::Short };
        let back = taken(&encoded(&frame, numbers), style);
        prop_assert_eq!(back.frame, Ok(frame.clone()));
        prop_assert_eq!(back.numbers, numbers.filter(|_| !matches!(frame, Frame::Version { .. })));
    }

    #[test]
    fn splitting_the_stream_anywhere_changes_nothing(frames in proptest::collection::vec(any_frame(), 1..8), cuts in proptest::collection::vec(1_usize..97, 1..30)) {
        let numbers = Some(Numbers { magic: 1, tx_seq: 2, rx_seq: 3 });
        let whole: Vec<u8> = frames.iter().flat_map(|frame| encoded(frame, numbers).to_vec()).collect();
        let (mut rest, mut buffer, mut got) = (&whole[..], BytesMut::new(), Vec::new());
        let mut cuts = cuts.into_iter().cycle();
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            buffer.extend_from_slice(piece);
            rest = tail;
            while let Some(taken) = take(&mut buffer, HeaderStyle::Long).unwrap() {
                got.push(taken.frame.unwrap());
            }
        }
        prop_assert_eq!(got, frames);
    }

    #[test]
    fn decode_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), protocol in 0_u32..8, len in 0_u32..300) {
        let head = [protocol.to_be_bytes(), len.to_be_bytes()].concat();
        for style in [HeaderStyle::Short, HeaderStyle::Long] {
            let mut buffer = BytesMut::from(&[&head[..], &bytes].concat()[..]);
            while let Ok(Some(_)) = take(&mut buffer, style) {}
        }
    }
}
