//! Cuts at every byte, and connections by the thousand.

use std::time::Duration;

use cabled_usbmux::mux::{CloseReason, ConnectionId, Failure, MuxOptions};
use cabled_virtualdevice::mux::{DeviceEvent, DeviceMuxOptions};

use crate::world::{Plan, World, byte_at};

fn plan(version: u32) -> Plan {
    let near_the_wrap = u32::MAX - 700;
    Plan {
        seed: 1,
        host: MuxOptions::default()
            .with_initial_sequence(near_the_wrap)
            .with_max_frame(300),
        phone: DeviceMuxOptions::default()
            .with_initial_sequence(near_the_wrap)
            .with_max_frame(300)
            .with_version(version),
        cut_after: usize::MAX,
    }
}

/// Takes what both machines have to say; the phone accepts.
fn drain(world: &mut World) {
    let mut out = bytes::BytesMut::new();
    while world.host.poll_transmit(&mut out).is_some() {}
    world.to_phone.bytes.extend(out.split());
    while world.phone.poll_transmit(&mut out).is_some() {}
    world.to_host.bytes.extend(out.split());
    while world.host.poll_event().is_some() {}
    while let Some(event) = world.phone.poll_event() {
        if let DeviceEvent::Dial { id, port } = event {
            world.phone_talks.insert(port, (id, crate::world::Talk::default()));
            world.phone.accept(id);
            drain(world);
        }
    }
}

/// The version exchange, then 1,000 bytes each way on one connection; the link is lost after `n` bytes. Says whether it
/// was lost at all.
fn exchange(version: u32, n: usize) -> bool {
    let mut world = World::new(&plan(version));
    let mut left = n;
    let mut id: Option<ConnectionId> = None;
    let (mut written, mut answered) = (0, 0);
    let (mut at_host, mut at_phone) = (0, 0);
    let said: Vec<u8> = (0..1000).map(|n| byte_at(1, n)).collect();
    let heard: Vec<u8> = (0..1000).map(|n| byte_at(!1, n)).collect();
    drain(&mut world);
    let mut quiet = 0;
    while quiet < 2 && left > 0 {
        let mut moved = 0;
        for to_phone in [true, false] {
            let wire = if to_phone { &world.to_phone } else { &world.to_host };
            let amount = wire.bytes.len().min(left);
            moved += amount;
            left -= amount;
            world.deliver_exactly(to_phone, amount);
            drain(&mut world);
        }
        quiet = if moved == 0 { quiet + 1 } else { 0 };
        if id.is_none() {
            id = world.host.connect(world.now, 1, Duration::from_secs(10)).ok();
        }
        if let Some(id) = id.filter(|id| world.host.was_accepted(*id)) {
            written += world.host.write(world.now, id, &said[written..]).unwrap();
            let mut out = Vec::new();
            world.host.read(world.now, id, &mut out).unwrap();
            assert_eq!(out, heard[at_host..at_host + out.len()]);
            at_host += out.len();
        }
        if let Some((peer, _)) = world.phone_talks.get(&1) {
            answered += world.phone.write(*peer, &heard[answered..]).unwrap();
            while let Some(piece) = world.phone.take(*peer) {
                assert_eq!(piece, said[at_phone..at_phone + piece.len()]);
                at_phone += piece.len();
                world.phone.consumed(world.now, *peer, piece.len());
            }
        }
        drain(&mut world);
    }
    let lost = left == 0;
    assert!(
        lost || (at_host == 1000 && at_phone == 1000),
        "{at_host} and {at_phone} bytes"
    );
    world.host.handle_link_lost(world.now);
    world.phone.handle_link_lost();
    drain(&mut world);
    if let Some(id) = id {
        let gone = CloseReason::Failed(Failure::Link);
        assert_eq!(world.host.close_reason(id).as_ref(), Some(&gone));
        assert_eq!(world.host.write(world.now, id, b"x"), Err(gone.clone()));
        let mut rest = Vec::new();
        while world.host.read(world.now, id, &mut rest).is_ok() {}
        assert_eq!(
            rest,
            heard[at_host..at_host + rest.len()],
            "what had come can still be read"
        );
        world.host.release(world.now, id);
    }
    assert!(world.host.is_idle() && world.host.poll_timeout().is_none());
    assert!(world.host.connect(world.now, 1, Duration::from_secs(1)).is_err());
    if let Some((peer, _)) = world.phone_talks.get(&1) {
        assert!(!world.phone.is_open(*peer));
        world.phone.finish(world.now, *peer);
    }
    assert_eq!(world.phone.connections(), 0);
    assert!(world.phone.poll_timeout().is_none());
    lost
}

#[test]
fn a_link_lost_at_each_byte_in_turn_ends_what_there_is_and_damages_nothing() {
    for version in [1, 2] {
        let lost = (0..10_000).take_while(|n| exchange(version, *n)).count();
        assert!((2000..9000).contains(&lost), "{lost} bytes in all");
    }
}

#[test]
fn a_thousand_connections_at_once_carry_their_bytes_and_end_one_by_one() {
    let mut world = World::new(&Plan {
        seed: 7,
        host: MuxOptions::default().with_max_connections(1000),
        phone: DeviceMuxOptions::default(),
        cut_after: usize::MAX,
    });
    world.settle();
    for _ in 0..1000 {
        world.open();
    }
    assert!(
        world.host.connect(world.now, 1, Duration::from_secs(1)).is_err(),
        "one too many"
    );
    world.settle();
    assert_eq!((world.host_talks.len(), world.phone_talks.len()), (1000, 1000));
    let mut ids: Vec<ConnectionId> = world.host_talks.keys().copied().collect();
    ids.sort();
    let mut random = crate::world::Random(99);
    while !ids.is_empty() {
        for (place, id) in ids.iter().enumerate() {
            let port = world.host_talks[id].0;
            if place % 3 == 0 {
                world.host_writes(*id);
            } else if place % 3 == 1 {
                world.phone_writes(port);
            }
        }
        world.drain();
        // Everything arrives; then some end, by one side or the other.
        world.settle();
        for talk in world.host_talks.values() {
            let (_, other) = &world.phone_talks[&talk.0];
            assert_eq!(
                (talk.1.received, other.received),
                (other.sent, talk.1.sent),
                "port {}",
                talk.0
            );
        }
        for _ in 0..400.min(ids.len()) {
            let id = ids.swap_remove(random.below(ids.len()));
            let (port, _) = world.host_talks.remove(&id).unwrap();
            let (peer, _) = world.phone_talks.remove(&port).unwrap();
            if random.below(2) == 0 {
                world.phone.finish(world.now, peer);
            } else {
                world.phone_ends.insert(peer);
            }
            world.host.release(world.now, id);
        }
        world.settle();
        for peer in world.phone_ends.drain().collect::<Vec<_>>() {
            assert!(!world.phone.is_open(peer), "the host has ended it");
            world.phone.finish(world.now, peer);
        }
        assert_eq!(world.phone.connections(), ids.len());
    }
    assert!(world.host.is_idle());
    assert_eq!(world.host.stats().sequence_gaps + world.phone.stats().sequence_gaps, 0);
}
