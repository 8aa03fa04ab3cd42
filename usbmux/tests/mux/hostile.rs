//! Every field of every frame at its edges, and devices that flood, stall and split.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::frame::{ControlKind, Flags, Frame, HeaderStyle, MAX_FRAME, Numbers, Segment};
use cabled_usbmux::mux::{CloseReason, ConnectionId, Event, MuxOptions};
use proptest::prelude::*;

use crate::frames::{encoded, taken};
use crate::host::{Host, segment};

const NUMBERS: Numbers = Numbers {
    magic: 0,
    tx_seq: 2,
    rx_seq: 0,
};

/// Where the fields of a frame with a long header are: name, first byte, length.
const FIELDS: [(&str, usize, usize); 16] = [
    ("protocol", 0, 4),
    ("length", 4, 4),
    ("magic", 8, 4),
    ("tx_seq", 12, 2),
    ("rx_seq", 14, 2),
    ("source port", 16, 2),
    ("destination port", 18, 2),
    ("sequence number", 20, 4),
    ("acknowledgment number", 24, 4),
    ("data offset", 28, 1),
    ("flags", 29, 1),
    ("window", 30, 2),
    ("checksum", 32, 2),
    ("urgent pointer", 34, 2),
    ("first byte of the payload", 36, 1),
    ("last byte of the payload", 39, 1),
];

/// A host with two connections: one that the frame is for, and one that nothing must happen to.
struct Two {
    host: Host,
    victim: (ConnectionId, u16),
    bystander: (ConnectionId, u16),
}

fn two() -> Two {
    let (mut host, id, port) = Host::connected(MuxOptions::default().with_receive_buffer(4096));
    let other = host.connect();
    let syn = host.segments().pop().unwrap().0;
    host.reply(&syn, Flags::SYN_ACK, 0, 1, b"");
    assert_eq!(host.events(), [Event::Connected(other)]);
    host.segments();
    Two {
        host,
        victim: (id, port),
        bystander: (other, syn.source),
    }
}

/// Frames as a device sends them, one of each kind, for the connection from `port`.
fn frames(port: u16) -> Vec<Frame> {
    let header = |flags| Segment {
        source: 62078,
        destination: port,
        seq: 1,
        ack: 1,
        flags,
        window: 512,
    };
    let payload = Bytes::from_static(b"four");
    let tcp = [Flags::ACK, Flags::RST, Flags::SYN_ACK, Flags::SYN].map(|flags| Frame::Tcp {
        segment: header(flags),
        payload: payload.clone(),
    });
    let mut all = tcp.to_vec();
    all.push(Frame::Control {
        kind: ControlKind::Error,
        text: Bytes::from_static(&[b'x'; 23]),
    });
    all.push(Frame::Setup {
        value: Bytes::from_static(&[7; 24]),
    });
    all.push(Frame::Unknown {
        protocol: 9,
        payload: Bytes::from_static(&[0; 24]),
    });
    all
}

fn edges(len: usize, now: &[u8]) -> Vec<Vec<u8>> {
    let was = now.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    let max = u64::MAX >> (64 - 8 * len);
    let frame = MAX_FRAME as u64;
    [
        0,
        1,
        2,
        6,
        7,
        8,
        15,
        16,
        17,
        35,
        36,
        0x4f,
        0x60,
        0xf0,
        was.wrapping_sub(1),
        was + 1,
        was ^ 0x80,
        frame - 1,
        frame,
        frame + 1,
        max / 2,
        max / 2 + 1,
        max - 1,
        max,
    ]
    .into_iter()
    .map(|value| (value & max).to_be_bytes()[8 - len..].to_vec())
    .collect()
}

/// The bystander's bytes still go both ways.
fn works(two: &mut Two) -> bool {
    let (id, port) = two.bystander;
    let host = &mut two.host;
    host.reply(&segment(port), Flags::ACK, 1, 1, b"still here");
    let read = host.read(id).is_ok_and(|bytes| bytes == "still here");
    let wrote = host.mux.write(host.now, id, b"so am I") == Ok(7);
    read && wrote && host.segments().iter().any(|(_, payload)| payload == "so am I")
}

#[test]
fn any_value_of_any_field_hurts_at_most_the_connection_it_is_for() {
    for at in 0..frames(1).len() {
        for (name, start, len) in FIELDS {
            let whole = encoded(&frames(two().victim.1)[at], Some(NUMBERS));
            for value in edges(len, &whole[start..start + len]) {
                let mut two = two();
                if name == "destination port" && value == two.bystander.1.to_be_bytes() {
                    continue; // then it is for the other one
                }
                let mut bytes = whole.clone();
                bytes[start..start + len].copy_from_slice(&value);
                let told = format!("frame {at}, {name} {value:02x?}");
                let mut input = BytesMut::from(&bytes[..]);
                two.host.mux.handle_input(two.host.now, &mut input);
                two.host.frames();
                let events = two.host.events();
                let failed = events.iter().any(|event| matches!(event, Event::Failed(_)));
                assert!(!failed || name == "length", "{told}: {events:?}");
                for event in &events {
                    match event {
                        Event::Closed(id, reason) => assert!(failed || *id == two.victim.0, "{told}: {reason}"),
                        Event::Readable(id) => assert_eq!(*id, two.victim.0, "{told}"),
                        Event::Control { .. } | Event::Failed(_) => {}
                        other => panic!("{told}: {other:?}"),
                    }
                }
                if failed {
                    assert!(two.host.mux.is_closed(two.bystander.0));
                    continue;
                }
                // A length may ask for more bytes than came, or leave some over: then no frame starts where one should.
                if name != "length" && name != "protocol" && name != "destination port" {
                    assert!(input.is_empty() && works(&mut two), "{told}");
                }
                for id in [two.victim.0, two.bystander.0] {
                    two.host.mux.release(two.host.now, id);
                }
                two.host.sleep(Duration::from_secs(5));
                two.host.sleep(Duration::from_secs(5));
                assert!(
                    two.host.mux.is_idle() && two.host.mux.poll_timeout().is_none(),
                    "{told}"
                );
            }
        }
    }
}

#[test]
fn a_flood_of_frames_of_one_byte_is_held_in_the_buffer_and_pins_nothing_else() {
    let (mut host, id, port) = Host::connected(MuxOptions::default().with_receive_buffer(16 << 10));
    let mut input = BytesMut::with_capacity(128 << 10);
    let block = input.capacity();
    let mut seq = 1_u32;
    for _ in 0..8 {
        for _ in 0..2048 {
            let frame = Frame::Tcp {
                segment: Segment {
                    source: 62078,
                    destination: port,
                    seq,
                    ack: 1,
                    flags: Flags::ACK,
                    window: 512,
                },
                payload: Bytes::from_static(b"x"),
            };
            frame.encode(Some(NUMBERS), &mut input);
            seq += 1;
        }
        host.mux.handle_input(host.now, &mut input);
        assert!(
            input.is_empty() && input.try_reclaim(block),
            "the core holds on to the block it was read into"
        );
        assert_eq!(host.segments().len(), 1, "one acknowledgment for all of them");
    }
    assert_eq!(host.events(), []);
    host.reply(&segment(port), Flags::ACK, seq, 1, b"x");
    let [Event::Closed(_, CloseReason::Protocol(_))] = &host.events()[..] else {
        panic!("more was taken than there was room for")
    };
    assert_eq!(host.read(id).unwrap(), vec![b'x'; 16 << 10]);
}

#[test]
fn a_reader_that_stops_stops_its_own_connection_only() {
    let mut two = two();
    let (slow, port) = two.victim;
    two.host.reply(&segment(port), Flags::ACK, 1, 1, &[1; 4096]);
    let (ack, _) = two.host.segments().pop().unwrap();
    assert_eq!(ack.window, 0, "its window is closed");
    assert!(works(&mut two));
    assert_eq!(two.host.read(slow).unwrap().len(), 4096);
    let (update, _) = two.host.segments().pop().unwrap();
    assert_eq!(update.window, 16, "and open again");
}

#[test]
fn many_with_much_to_say_leave_every_other_turn_to_those_with_little() {
    let mut host = Host::ready(MuxOptions::default());
    let mut ids = Vec::new();
    for _ in 0..5 {
        let id = host.connect();
        let syn = host.segments().pop().unwrap().0;
        host.reply(&syn, Flags::SYN_ACK, 0, 1, b"");
        host.segments();
        ids.push((id, syn.source));
    }
    let (small, port) = ids.pop().unwrap();
    for (id, _) in &ids {
        host.mux.write(host.now, *id, &vec![7; 130_000]).unwrap();
    }
    let mut out = BytesMut::new();
    host.mux.poll_transmit(&mut out).unwrap();
    // A stranger's frames are answered in between, too.
    for source in 0..40 {
        let to = Segment {
            destination: 1000 + source,
            ..segment(9999)
        };
        host.reply(&to, Flags::ACK, 1, 1, b"");
    }
    host.mux.write(host.now, small, b"quick").unwrap();
    let turns: Vec<_> = host.segments();
    let at = turns.iter().position(|(segment, _)| segment.source == port).unwrap();
    assert!(at <= 2 * ids.len() + 1, "it had to wait for {at} frames");
    let resets = turns.iter().filter(|(segment, _)| segment.flags == Flags::RST).count();
    assert_eq!(resets, 40);
}

#[test]
fn an_answer_to_a_stranger_is_not_forgotten_when_those_in_turn_have_nothing_to_say() {
    let mut host = Host::ready(MuxOptions::default());
    for port in [7, 8] {
        let stranger = segment(port);
        host.reply(&stranger, Flags::ACK, 1, 1, b"");
    }
    let mut out = BytesMut::new();
    host.mux.poll_transmit(&mut out).unwrap();
    // It is a connection's turn, and the only one is over before its SYN was sent.
    let id = host.connect();
    host.mux.close(host.now, id);
    let (reset, _) = host.segments().pop().unwrap();
    assert_eq!((reset.flags, reset.source), (Flags::RST, 8));
    assert!(!host.mux.wants_driver());
}

#[test]
fn a_reset_that_the_link_does_not_take_is_given_up() {
    let (mut host, id, _) = Host::connected(MuxOptions::default());
    host.mux.write(host.now, id, b"never sent").unwrap();
    host.mux.release(host.now, id);
    // The link takes nothing: five seconds for the bytes, five for the reset.
    for _ in 0..2 {
        assert!(!host.mux.is_idle());
        assert_eq!(host.mux.poll_timeout(), Some(host.now + Duration::from_secs(5)));
        host.sleep(Duration::from_secs(5));
    }
    assert!(host.mux.is_idle() && host.mux.poll_timeout().is_none());
    assert!(host.frames().is_empty());
}

#[test]
fn a_text_of_any_length_is_kept_short_and_few_are_kept() {
    let mut host = Host::ready(MuxOptions::default());
    for _ in 0..1000 {
        host.feed(&Frame::Control {
            kind: ControlKind::Warning,
            text: Bytes::from(vec![b'x'; 60_000]),
        });
    }
    let events = host.events();
    let kept: usize = events
        .iter()
        .map(|event| match event {
            Event::Control { text, .. } => text.len(),
            other => panic!("{other:?}"),
        })
        .sum();
    assert!(kept <= 256 * 1024, "{kept} bytes of texts");
}

#[test]
fn frame_numbers_wrap() {
    let (mut host, id, port) = Host::connected(MuxOptions::default());
    let mut last = None;
    for n in 0..70_000_u32 {
        host.mux.write(host.now, id, b"x").unwrap();
        let frame = host.frames().pop().unwrap();
        let sent = taken(&frame, HeaderStyle::Long).numbers.unwrap().tx_seq;
        assert!(last.is_none_or(|last: u16| sent == last.wrapping_add(1)));
        last = Some(sent);
        let to = Segment {
            ack: n,
            ..segment(port)
        };
        host.reply(&to, Flags::ACK, 1, n + 2, b"");
    }
}

proptest! {
    #[test]
    fn splitting_what_the_device_says_anywhere_changes_nothing(
        payloads in proptest::collection::vec(0_usize..600, 1..12),
        cuts in proptest::collection::vec(1_usize..900, 1..20),
        closes in any::<bool>(),
    ) {
        let (mut whole, id, port) = Host::connected(MuxOptions::default());
        let (mut split, same, _) = Host::connected(MuxOptions::default());
        prop_assert_eq!(id, same);
        let mut wire = BytesMut::new();
        let mut seq = 1;
        for (n, len) in payloads.iter().enumerate() {
            let header = Segment { source: 62078, seq, ack: 1, window: 512, destination: port, flags: Flags::ACK };
            Frame::Tcp { segment: header, payload: Bytes::from(vec![n as u8; *len]) }.encode(Some(NUMBERS), &mut wire);
            seq += *len as u32;
        }
        if closes {
            let header = Segment { source: 62078, seq, ack: 1, window: 0, destination: port, flags: Flags::RST };
            Frame::Tcp { segment: header, payload: Bytes::from_static(b"bye") }.encode(Some(NUMBERS), &mut wire);
        }
        whole.bytes(&wire);
        let mut input = BytesMut::new();
        let mut rest = &wire[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, later) = rest.split_at((*cut).min(rest.len()));
            input.extend_from_slice(piece);
            split.mux.handle_input(split.now, &mut input);
            rest = later;
        }
        prop_assert!(input.is_empty());
        prop_assert_eq!(whole.events(), split.events());
        prop_assert_eq!(whole.frames(), split.frames());
        prop_assert_eq!(whole.read(id), split.read(id));
        prop_assert_eq!(whole.read(id), split.read(id));
        prop_assert_eq!(whole.mux.stats(), split.mux.stats());
    }

    #[test]
    fn no_order_of_acknowledgments_and_windows_lets_more_out_than_there_is_room_for(
        start in prop_oneof![Just(0_u32), 0xffff_0000..=u32::MAX],
        steps in proptest::collection::vec((0_usize..90_000, 0_u32..100_000, 0_u16..600), 1..60),
    ) {
        let (mut host, id, port) = Host::connected(MuxOptions::default().with_initial_sequence(start));
        let first = start.wrapping_add(1);
        // By the specification: what was sent, what is acknowledged, the window of the last frame.
        let (mut sent, mut acknowledged, mut window) = (0_u32, 0_u32, 512_u32 << 8);
        for (write, ack, units) in steps {
            let _ = host.mux.write(host.now, id, &vec![1; write]).unwrap();
            for (segment, payload) in host.segments() {
                prop_assert_eq!(segment.seq, first.wrapping_add(sent));
                sent += payload.len() as u32;
                prop_assert!(sent - acknowledged <= window, "{} of {}", sent - acknowledged, window);
            }
            prop_assert_eq!(host.mux.in_flight(id), sent - acknowledged);
            // Acknowledgments never go back and never say more than was sent.
            acknowledged = (acknowledged + ack).min(sent);
            window = u32::from(units) << 8;
            let answer = Segment {
                source: 62078,
                destination: port,
                seq: 1,
                ack: first.wrapping_add(acknowledged),
                flags: Flags::ACK,
                window: units,
            };
            host.feed(&Frame::Tcp { segment: answer, payload: Bytes::new() });
        }
    }
}
