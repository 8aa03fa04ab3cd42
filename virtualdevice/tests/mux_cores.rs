//! Both cores of the multiplexer on a simulated link: a seed, a clock moved by hand, no task and no sleep.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use cabled_usbmux::mux::frame::{self, Flags, Frame, HeaderStyle, MAGIC_HOST, Segment};
use cabled_usbmux::mux::{CloseReason, ConnectionId, Event, Mux, MuxOptions};
use cabled_virtualdevice::mux::{DeviceEvent, DeviceMux, DeviceMuxOptions, PeerId, WindowStyle};
use proptest::prelude::*;

/// xorshift: the same seed gives the same run for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }
}

/// One direction: bytes under way, and a check that the sender kept to the receiver's window.
#[derive(Default)]
struct Wire {
    bytes: VecDeque<u8>,
    sent: usize,
}

/// What a sender knows of its peer's room, by (its own port, the other's).
#[derive(Default)]
struct Windows(HashMap<(u16, u16), (u32, u32)>);

impl Windows {
    fn heard(&mut self, segment: &Segment) {
        let pair = (segment.destination, segment.source);
        if !segment.flags.contains(Flags::ACK) {
            return; // a SYN acknowledges nothing yet, and its window is taken up by the first ACK
        }
        let known = self.0.entry(pair).or_insert((segment.ack, 0));
        if segment.ack.wrapping_sub(known.0).cast_signed() > 0 {
            known.0 = segment.ack;
        }
        known.1 = segment.window_bytes();
    }

    fn check(&self, segment: &Segment, payload: &[u8]) {
        if segment.flags == Flags::ACK && !payload.is_empty() {
            let (acked, window) = self.0[&(segment.source, segment.destination)];
            let in_flight = segment.seq.wrapping_add(payload.len() as u32).wrapping_sub(acked);
            assert!(
                in_flight <= window,
                "{in_flight} bytes under way, room was for {window}"
            );
        }
    }
}

/// What one side's application has sent and received on a connection.
#[derive(Default)]
struct Talk {
    sent: usize,
    received: usize,
    closed: bool,
}

fn byte_at(salt: u16, n: usize) -> u8 {
    (n ^ (n >> 8) ^ usize::from(salt)) as u8
}

struct World {
    random: Random,
    now: Instant,
    host: Mux,
    phone: DeviceMux,
    to_phone: Wire,
    to_host: Wire,
    host_input: BytesMut,
    phone_input: BytesMut,
    /// What each sender knows.
    host_windows: Windows,
    phone_windows: Windows,
    style: HeaderStyle,
    next_port: u16,
    host_talks: HashMap<ConnectionId, (u16, Talk)>,
    phone_talks: HashMap<u16, (PeerId, Talk)>,
    ports: HashMap<PeerId, u16>,
    cut_after: usize,
    cut: bool,
}

#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    host: MuxOptions,
    phone: DeviceMuxOptions,
    cut_after: usize,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let now = Instant::now();
        Self {
            random: Random(plan.seed | 1),
            now,
            host: Mux::new(now, plan.host),
            phone: DeviceMux::new(plan.phone.clone()),
            to_phone: Wire::default(),
            to_host: Wire::default(),
            host_input: BytesMut::new(),
            phone_input: BytesMut::new(),
            host_windows: Windows::default(),
            phone_windows: Windows::default(),
            style: if plan.phone.version == 1 {
                HeaderStyle::Short
            } else {
                HeaderStyle::Long
            },
            next_port: 0,
            host_talks: HashMap::new(),
            phone_talks: HashMap::new(),
            ports: HashMap::new(),
            cut_after: plan.cut_after,
            cut: false,
        }
    }

    fn segment(style: HeaderStyle, bytes: &[u8]) -> Option<(Segment, Bytes)> {
        match frame::take(&mut BytesMut::from(bytes), style)
            .unwrap()
            .unwrap()
            .frame
            .unwrap()
        {
            Frame::Tcp { segment, payload } => Some((segment, payload)),
            _ => None,
        }
    }

    /// Takes everything out of both cores, as a driver does after each step.
    fn drain(&mut self) {
        let mut out = BytesMut::new();
        while let Some(len) = self.host.poll_transmit(&mut out) {
            assert!(len <= 32_752);
            if let Some((segment, payload)) = Self::segment(self.style, &out) {
                self.host_windows.check(&segment, &payload);
            }
            self.to_phone.sent += out.len();
            self.to_phone.bytes.extend(out.split());
        }
        while let Some(len) = self.phone.poll_transmit(&mut out) {
            assert!(len <= 32_764);
            if let Some((segment, payload)) = Self::segment(self.style, &out) {
                self.phone_windows.check(&segment, &payload);
            }
            self.to_host.sent += out.len();
            self.to_host.bytes.extend(out.split());
        }
        while let Some(event) = self.host.poll_event() {
            match event {
                Event::Closed(id, reason) => {
                    let expected = matches!(reason, CloseReason::Reset { .. } | CloseReason::Failed(_));
                    assert!(expected, "{reason:?}");
                    assert!(self.host_talks.contains_key(&id));
                }
                Event::Failed(failure) => assert!(self.cut, "{failure:?}"),
                _ => {}
            }
        }
        while let Some(event) = self.phone.poll_event() {
            if let DeviceEvent::Dial { id, port } = event {
                self.phone_talks.insert(port, (id, Talk::default()));
                self.ports.insert(id, port);
                self.phone.accept(id);
            }
        }
    }

    /// Moves some bytes of a direction, in pieces of any size.
    fn deliver(&mut self, to_phone: bool) {
        let wire = if to_phone { &self.to_phone } else { &self.to_host };
        let n = self.random.below(wire.bytes.len().min(90_000) + 1);
        self.deliver_exactly(to_phone, n);
    }

    fn deliver_exactly(&mut self, to_phone: bool, n: usize) {
        let wire = if to_phone {
            &mut self.to_phone
        } else {
            &mut self.to_host
        };
        let bytes: Vec<u8> = wire.bytes.drain(..n).collect();
        // Complete frames tell the receiver of them about the sender's room.
        let input = if to_phone {
            &mut self.phone_input
        } else {
            &mut self.host_input
        };
        input.extend_from_slice(&bytes);
        let mut copy = input.clone();
        while let Some(taken) = frame::take(&mut copy, self.style).unwrap() {
            if let Ok(Frame::Tcp { segment, .. }) = taken.frame {
                let windows = if to_phone {
                    &mut self.phone_windows
                } else {
                    &mut self.host_windows
                };
                windows.heard(&segment);
            }
        }
        if to_phone {
            self.phone.handle_input(&mut self.phone_input);
        } else {
            self.host.handle_input(self.now, &mut self.host_input);
        }
    }

    fn open(&mut self) {
        if let Ok(id) = self.host.connect(self.now, self.next_port + 1, Duration::from_secs(10)) {
            self.next_port += 1;
            self.host_talks.insert(id, (self.next_port, Talk::default()));
        }
    }

    fn host_writes(&mut self, id: ConnectionId) {
        let len = self.random.below(60_000);
        let (port, talk) = self.host_talks.get_mut(&id).unwrap();
        let data: Vec<u8> = (talk.sent..talk.sent + len).map(|n| byte_at(*port, n)).collect();
        if let Ok(taken) = self.host.write(self.now, id, &data) {
            talk.sent += taken;
        }
    }

    fn host_reads(&mut self, id: ConnectionId) {
        let most = self.random.below(100_000);
        let (port, talk) = self.host_talks.get_mut(&id).unwrap();
        let mut out = BytesMut::new();
        match self.host.read(self.now, id, &mut (&mut out).limit(most)) {
            Ok(read) => assert_eq!(read, out.len()),
            Err(_) => talk.closed = true,
        }
        for byte in out {
            assert_eq!(
                byte,
                byte_at(!*port, talk.received),
                "byte {} of port {port}",
                talk.received
            );
            talk.received += 1;
        }
    }

    fn phone_writes(&mut self, port: u16) {
        let len = self.random.below(60_000);
        let (id, talk) = self.phone_talks.get_mut(&port).unwrap();
        let data: Vec<u8> = (talk.sent..talk.sent + len).map(|n| byte_at(!port, n)).collect();
        if let Some(taken) = self.phone.write(*id, &data) {
            talk.sent += taken;
        }
    }

    fn phone_reads(&mut self, port: u16) {
        let (id, talk) = self.phone_talks.get_mut(&port).unwrap();
        if let Some(bytes) = self.phone.take(*id) {
            for byte in &bytes {
                assert_eq!(
                    *byte,
                    byte_at(port, talk.received),
                    "byte {} of port {port}",
                    talk.received
                );
                talk.received += 1;
            }
            self.phone.consumed(self.now, *id, bytes.len());
        }
    }

    fn pass_time(&mut self, time: Duration) {
        self.now += time;
        self.host.handle_timeout(self.now);
        self.phone.handle_timeout(self.now);
    }

    fn step(&mut self) {
        let ids: Vec<ConnectionId> = {
            let mut ids: Vec<_> = self.host_talks.keys().copied().collect();
            ids.sort();
            ids
        };
        let ports: Vec<u16> = (1..=self.next_port)
            .filter(|port| self.phone_talks.contains_key(port))
            .collect();
        let id = (!ids.is_empty()).then(|| ids[self.random.below(ids.len())]);
        let port = (!ports.is_empty()).then(|| ports[self.random.below(ports.len())]);
        match (self.random.below(20), id, port) {
            (0, ..) if self.next_port < 5 => self.open(),
            (1..=5, ..) => self.deliver(true),
            (6..=10, ..) => self.deliver(false),
            (11 | 12, Some(id), _) => self.host_writes(id),
            (13 | 14, Some(id), _) => self.host_reads(id),
            (15 | 16, _, Some(port)) => self.phone_writes(port),
            (17 | 18, _, Some(port)) => self.phone_reads(port),
            _ => {
                let time = Duration::from_millis(self.random.below(40) as u64);
                self.pass_time(time);
            }
        }
        self.drain();
        if self.to_phone.sent + self.to_host.sent > self.cut_after && !self.cut {
            self.cut = true;
            self.host.handle_link_lost(self.now);
            self.phone.handle_link_lost();
            self.to_phone.bytes.clear();
            self.to_host.bytes.clear();
            self.drain();
        }
    }

    fn received(&self) -> usize {
        let host = self.host_talks.values().map(|(_, talk)| talk.received);
        host.chain(self.phone_talks.values().map(|(_, talk)| talk.received))
            .sum()
    }

    /// Runs until nothing moves any more, neither now nor after the delay of window updates.
    fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 3 {
            quiet += 1;
            for to_phone in [true, false] {
                let under_way = if to_phone {
                    self.to_phone.bytes.len()
                } else {
                    self.to_host.bytes.len()
                };
                if under_way > 0 {
                    quiet = 0;
                    self.deliver_exactly(to_phone, under_way);
                    self.drain();
                }
            }
            let before = self.received();
            for id in self.host_talks.keys().copied().collect::<Vec<_>>() {
                self.host_reads(id);
            }
            for port in self.phone_talks.keys().copied().collect::<Vec<_>>() {
                self.phone_reads(port);
            }
            if self.received() != before {
                quiet = 0;
            }
            self.drain();
            if quiet > 0 {
                self.pass_time(Duration::from_millis(30));
                self.drain();
            }
        }
    }
}

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
