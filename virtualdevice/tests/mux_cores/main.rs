//! Both cores of the multiplexer on a simulated link: a seed, a clock moved by hand, no task and no sleep.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod many;
mod phone;
mod world;

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use cabled_usbmux::mux::frame::{self, Flags, Frame, MAGIC_HOST, Segment};
use cabled_usbmux::mux::{ConnectionId, Event, MuxOptions};
use cabled_virtualdevice::mux::{DeviceEvent, DeviceMux, DeviceMuxOptions, WindowStyle};
use proptest::prelude::*;

use world::{Plan, Talk, World};

fn run(plan: &Plan) {
    let mut world = World::new(plan);
    world.drain();
    for _ in 0..500 {
        world.step();
    }
    if world.cut {
        for id in world.host_talks.keys() {
            assert!(world.host.is_closed(*id));
        }
        assert!(world.host.connect(world.now, 1, Duration::ZERO).is_err());
        return;
    }
    // Some connections are closed by one side or the other in the middle of things.
    let ids: Vec<ConnectionId> = world.host_talks.keys().copied().collect();
    let mut closed_by_host = Vec::new();
    let mut closed_by_phone = Vec::new();
    for id in ids {
        let port = world.host_talks[&id].0;
        let Some((peer, _)) = world.phone_talks.get(&port) else {
            continue;
        };
        match world.random.below(3) {
            0 => {
                world.host.close(world.now, id);
                closed_by_host.push(port);
            }
            1 => {
                world.phone.finish(world.now, *peer);
                closed_by_phone.push((port, id));
            }
            _ => {}
        }
        world.drain();
    }
    world.settle();
    for (id, (port, talk)) in &world.host_talks {
        let Some((_, other)) = world.phone_talks.get(port) else {
            continue;
        };
        // Who did not close has received everything; who closed throws away what comes.
        if !closed_by_phone.iter().any(|(closed, _)| closed == port) {
            assert_eq!(other.received, talk.sent, "to the phone, port {port}, {plan:?}");
        }
        if !closed_by_host.contains(port) {
            assert_eq!(talk.received, other.sent, "to the host, port {port}, {plan:?}");
        }
        if closed_by_phone.iter().any(|(closed, _)| closed == port) {
            assert!(talk.closed, "the host has seen the end of {id:?}");
        }
    }
    assert_eq!(world.phone.stats().sequence_gaps, 0, "frame numbers have no gaps");
    assert_eq!(world.host.stats().sequence_gaps, 0);
    assert_eq!(world.phone.stats().bad_frames + world.host.stats().bad_frames, 0);
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let sequence = || prop_oneof![Just(0_u32), 0xffff_0000_u32.., any::<u32>()];
    let host = (sequence(), 1024_usize..400_000, 128_usize..40_000).prop_map(|(seq, buffer, frame)| {
        MuxOptions::default()
            .with_initial_sequence(seq)
            .with_receive_buffer(buffer)
            .with_send_buffer(buffer * 2)
            .with_max_frame(frame.min(32_752))
            .with_drain_limit(Duration::from_secs(3600))
    });
    let phone = (
        sequence(),
        1024_usize..400_000,
        64_usize..32_764,
        any::<bool>(),
        1_u32..=2,
    )
        .prop_map(|(seq, buffer, frame, late, version)| {
            DeviceMuxOptions::default()
                .with_initial_sequence(seq)
                .with_receive_buffer(buffer)
                .with_send_buffer(buffer * 2)
                .with_max_frame(frame)
                .with_version(version)
                .with_drain_limit(Duration::from_secs(3600))
                .with_window_style(if late {
                    WindowStyle::LateAcknowledgment
                } else {
                    WindowStyle::Shrinking
                })
        });
    (any::<u64>(), host, phone).prop_map(|(seed, host, phone)| Plan {
        seed,
        host,
        phone,
        cut_after: usize::MAX,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_goes_in_comes_out_whatever_the_link_and_the_buffers(plan in any_plan()) {
        run(&plan);
    }

    #[test]
    fn a_link_cut_at_any_byte_ends_everything_and_damages_nothing(plan in any_plan(), cut_after in 0_usize..400_000) {
        run(&Plan { cut_after, ..plan });
    }

    #[test]
    fn a_phone_never_panics_whatever_the_host_says(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..40), frames in proptest::collection::vec((any::<u8>(), any::<u16>(), any::<u32>()), 0..40)) {
        let mut phone = DeviceMux::new(DeviceMuxOptions::default());
        let mut input = BytesMut::new();
        Frame::Version { major: 2, minor: 0 }.encode(None, &mut input);
        let numbers = Some(frame::Numbers { magic: MAGIC_HOST, tx_seq: 0, rx_seq: 0 });
        Frame::Setup { value: Bytes::from_static(&[7]) }.encode(numbers, &mut input);
        for (flags, window, seq) in frames {
            let segment = Segment { source: 1, destination: 2, seq, ack: seq, flags: Flags(flags & 0x16), window };
            Frame::Tcp { segment, payload: Bytes::from(vec![0; usize::from(window) % 300]) }.encode(numbers, &mut input);
            phone.handle_input(&mut input);
            while let Some(event) = phone.poll_event() {
                if let DeviceEvent::Dial { id, .. } = event {
                    phone.accept(id);
                    let _ = phone.write(id, b"banner");
                }
            }
            let mut out = BytesMut::new();
            while phone.poll_transmit(&mut out).is_some() {}
        }
        for piece in pieces {
            input.extend_from_slice(&piece);
            phone.handle_input(&mut input);
        }
    }
}

#[test]
fn sequence_numbers_wrap_in_both_directions_in_the_middle_of_a_stream() {
    // Bytes are not looked at here, so that much passes in a moment: only the numbers matter. An optimised build moves
    // more than there are sequence numbers.
    let plan = Plan {
        seed: 1,
        host: MuxOptions::default()
            .with_receive_buffer(16 << 20)
            .with_initial_sequence(0xfff0_0000),
        phone: DeviceMuxOptions::default()
            .with_receive_buffer(16 << 20)
            .with_initial_sequence(0xfff0_0000),
        cut_after: usize::MAX,
    };
    let mut world = World::new(&plan);
    let mut wire = BytesMut::new();
    let pump = |world: &mut World, wire: &mut BytesMut| loop {
        let mut moved = false;
        while world.host.poll_transmit(wire).is_some() {}
        moved |= !wire.is_empty();
        world.phone.handle_input(wire);
        while let Some(event) = world.phone.poll_event() {
            if let DeviceEvent::Dial { id, port } = event {
                world.phone_talks.insert(port, (id, Talk::default()));
                world.phone.accept(id);
            }
        }
        while world.phone.poll_transmit(wire).is_some() {}
        moved |= !wire.is_empty();
        world.host.handle_input(world.now, wire);
        if !moved {
            break;
        }
    };
    pump(&mut world, &mut wire);
    let id = world.host.connect(world.now, 5, Duration::from_secs(10)).unwrap();
    pump(&mut world, &mut wire);
    let peer = world.phone_talks[&5].0;
    let block = vec![0x5a; 256 << 10];
    let mut sink = BytesMut::with_capacity(block.len());
    let (mut total, mut host_total) = (0_u64, 0_u64);
    let goal = if cfg!(debug_assertions) { 32 << 20 } else { 10 << 30 };
    while total < goal {
        total += world.phone.write(peer, &block).unwrap() as u64;
        host_total += world.host.write(world.now, id, &block).unwrap() as u64;
        pump(&mut world, &mut wire);
        while let Some(bytes) = world.phone.take(peer) {
            host_total -= bytes.len() as u64;
            world.phone.consumed(world.now, peer, bytes.len());
        }
        loop {
            sink.clear();
            if world
                .host
                .read(world.now, id, &mut (&mut sink).limit(256 << 10))
                .unwrap()
                == 0
            {
                break;
            }
        }
        pump(&mut world, &mut wire);
    }
    assert_eq!(host_total, 0);
    assert!(
        world
            .host
            .poll_event()
            .is_some_and(|event| !matches!(event, Event::Failed(_)))
    );
    assert!(world.host.was_accepted(id) && world.host.close_reason(id).is_none());
}
