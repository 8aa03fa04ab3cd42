//! Both machines on one cable, with somebody on it who puts in what he likes.

mod cable;
mod calls;
mod model;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::frame::{Flags, Frame, HeaderStyle, Segment};
use cabled_usbmux::mux::{CloseReason, ConnectionId, Event, Failure, Mux, MuxError, MuxOptions};
use cabled_virtualdevice::mux::{DeviceEvent, DeviceMux, DeviceMuxOptions, PeerId, WindowStyle};

use super::{Wire, one_frame};
use crate::script::Script;
use cable::{Cable, Order};
use model::{Ports, Stream};

/// Longest script; the rest of the bytes is ignored, so that no input runs for seconds.
const MAX_STEPS: usize = 600;
const DEVICE_CONNECTIONS: usize = 6;
/// Ports of the phone that the host dials count up from 1; strangers use those from here on.
const STRANGERS: u16 = 50_000;
/// Frames that either machine may have to say in one go, all buffers of all connections full.
const MAX_FRAMES: usize = 40_000;

struct Pair {
    host: Mux,
    device: DeviceMux,
    now: Instant,
    host_options: MuxOptions,
    device_options: DeviceMuxOptions,
    wire: Wire,
    up: Cable,
    down: Cable,
    streams: Vec<Stream>,
    ports: Ports,
    /// Connections of the phone that no stream of the host belongs to.
    ghosts: Vec<PeerId>,
    next_port: u16,
    dials: usize,
    /// Somebody interfered with more than one connection: nobody knows what either end thinks of the other.
    wrecked: bool,
    /// The deadline that a driver of the host's would wait for.
    known: Option<Instant>,
}

impl Pair {
    fn new(script: &mut Script<'_>) -> Self {
        let (sizes, choice, frames) = (script.byte(), script.byte(), script.byte());
        let wraps = if choice & 1 == 0 { 0 } else { u32::MAX - 3000 };
        let host_options = MuxOptions::default()
            .with_max_frame(64 + usize::from(frames & 15) * 700)
            .with_receive_buffer(1 << (10 + (sizes & 7)))
            .with_send_buffer(1 << (10 + (sizes >> 4 & 7)))
            .with_max_connections(5)
            .with_initial_sequence(wraps);
        let mut device_options = DeviceMuxOptions::default()
            .with_max_frame(64 + usize::from(frames >> 4) * 700)
            .with_receive_buffer(1 << (10 + (sizes >> 3 & 7)))
            .with_send_buffer(1 << (10 + (sizes >> 5 & 7)))
            .with_version(if choice & 2 == 0 { 2 } else { 1 })
            .with_initial_sequence(wraps);
        device_options.max_connections = DEVICE_CONNECTIONS;
        if choice & 4 != 0 {
            device_options = device_options.with_window_style(WindowStyle::LateAcknowledgment);
        }
        let now = Instant::now();
        let mut pair = Self {
            host: Mux::new(now, host_options),
            device: DeviceMux::new(device_options.clone()),
            now,
            host_options,
            wire: Wire::new(if choice & 2 == 0 {
                HeaderStyle::Long
            } else {
                HeaderStyle::Short
            }),
            device_options,
            up: Cable::default(),
            down: Cable::default(),
            streams: Vec::new(),
            ports: Ports::default(),
            ghosts: Vec::new(),
            next_port: 0,
            dials: 0,
            wrecked: false,
            known: None,
        };
        pair.drain();
        if choice & 8 == 0 {
            for _ in 0..3 {
                pair.deliver(true, usize::MAX);
                pair.deliver(false, usize::MAX);
            }
        }
        pair
    }

    /// Takes everything out of both machines, as their drivers do after each call, and looks at what it is.
    fn drain(&mut self) {
        self.drain_host();
        self.drain_device();
        self.check();
    }

    fn drain_host(&mut self) {
        let wants = self.host.wants_driver();
        if !wants {
            let next = self.host.poll_timeout();
            assert!(
                next.is_none_or(|next| self.known.is_some_and(|known| known <= next)),
                "an earlier deadline that the driver was not woken for"
            );
        }
        let mut order = Order::default();
        let mut out = BytesMut::new();
        while let Some(len) = self.host.poll_transmit(&mut out) {
            assert!(wants, "a frame that the driver was not woken for");
            assert!(self.up.frames < MAX_FRAMES, "it never stops sending");
            let raw = Bytes::copy_from_slice(&out);
            let segment = match self.looked_at(&mut out, len, self.host_options.max_frame) {
                Some(Frame::Tcp { segment, payload }) => {
                    self.host_says(&segment, &payload);
                    order.push((segment.source, segment.destination), segment.flags);
                    Some(segment)
                }
                _ => None,
            };
            self.up.push(&raw, segment);
        }
        order.check();
        assert!(!self.host.wants_driver(), "it has nothing to send and wants to");
        self.known = self.host.poll_timeout();
        while let Some(event) = self.host.poll_event() {
            self.host_tells(&event);
        }
    }

    /// A frame that a machine has just put out, unless nobody knows any more how long headers are.
    fn looked_at(&self, out: &mut BytesMut, len: usize, max: usize) -> Option<Frame> {
        if self.wrecked {
            assert!(out.len() == len && len <= max, "a frame of {len} bytes, at most {max}");
            out.clear();
            return None;
        }
        Some(one_frame(out, len, self.wire.style, max))
    }

    fn host_says(&mut self, segment: &Segment, payload: &[u8]) {
        if segment.flags == Flags::SYN {
            let now = self.now;
            let stream = self
                .streams
                .iter_mut()
                .find(|stream| stream.port == segment.destination);
            let stream = stream.expect("the host opens what it was asked to open");
            assert_eq!(stream.source, 0, "one SYN a connection");
            self.ports.taken(segment.source, now);
            stream.source = segment.source;
            stream.up.start(segment.seq.wrapping_add(1));
        } else if let Some(stream) = stream_of(&mut self.streams, segment.source, segment.destination) {
            stream.up.says(segment, payload, stream.tainted || self.wrecked);
        }
    }

    fn host_tells(&mut self, event: &Event) {
        match event {
            Event::Closed(id, reason) => {
                let stream = self.streams.iter().find(|stream| stream.id == *id);
                let stream = stream.expect("only what was opened ends");
                assert!(!stream.released, "nobody holds that id");
                assert_eq!(self.host.close_reason(*id).as_ref(), Some(reason));
                let text = reason.to_string();
                assert!(text.len() < 1200 && !text.contains(['\0', '\n']), "{text:?}");
                if !self.wrecked && !stream.tainted {
                    match reason {
                        CloseReason::Protocol(violation) => panic!("both ends are ours: {violation}"),
                        CloseReason::Reset { .. } => assert!(stream.device_ended, "nobody has ended it"),
                        _ => {}
                    }
                }
            }
            Event::Failed(failure) => {
                let expected = self.wrecked || matches!(failure, Failure::NoVersion | Failure::Link);
                assert!(expected, "{failure}");
            }
            Event::Control { text, .. } => assert!(text.len() <= 1024),
            _ => {}
        }
    }

    fn drain_device(&mut self) {
        let mut order = Order::default();
        let mut out = BytesMut::new();
        while let Some(len) = self.device.poll_transmit(&mut out) {
            assert!(self.down.frames < MAX_FRAMES, "it never stops sending");
            let raw = Bytes::copy_from_slice(&out);
            // The text of a complaint is not cut into frames.
            let segment = match self.looked_at(&mut out, len, self.device_options.max_frame.max(200)) {
                Some(Frame::Tcp { segment, payload }) => {
                    if let Some(stream) = stream_of(&mut self.streams, segment.destination, segment.source) {
                        if segment.flags == Flags::SYN_ACK {
                            stream.down.start(segment.seq.wrapping_add(1));
                        } else if !segment.flags.contains(Flags::RST) {
                            stream.down.says(&segment, &payload, stream.tainted || self.wrecked);
                        }
                    }
                    order.push((segment.source, segment.destination), segment.flags);
                    Some(segment)
                }
                _ => None,
            };
            self.down.push(&raw, segment);
        }
        order.check();
        while let Some(event) = self.device.poll_event() {
            match event {
                DeviceEvent::Dial { id, port } => self.dialed(id, port),
                DeviceEvent::Ended(id) => self.ended(id),
                _ => {}
            }
        }
        assert!(
            self.device.connections() <= DEVICE_CONNECTIONS,
            "more connections than allowed"
        );
    }

    /// Most dials are accepted at once, some later, some never.
    fn dialed(&mut self, id: PeerId, port: u16) {
        self.dials += 1;
        match self.streams.iter_mut().find(|stream| stream.port == port) {
            Some(stream) if stream.peer.is_none() => {
                stream.peer = Some(id);
                match self.dials % 8 {
                    5 => {} // a step of the script will
                    7 => {
                        stream.device_ended = true;
                        self.device.refuse(id);
                    }
                    _ => self.device.accept(id),
                }
            }
            _ => {
                self.ghosts.push(id);
                self.device.accept(id);
            }
        }
        self.drain_device();
    }

    fn ended(&mut self, id: PeerId) {
        if let Some(at) = self.streams.iter().position(|stream| stream.peer == Some(id)) {
            if !self.wrecked && !self.streams[at].tainted {
                let reason = self.host.close_reason(self.streams[at].id);
                assert!(reason.is_some(), "the host has not ended it");
            }
            self.device_takes(at, true);
            self.streams[at].device_ended = true;
        }
        self.ghosts.retain(|ghost| *ghost != id);
        self.device.finish(self.now, id);
        assert!(!self.device.is_open(id));
    }

    /// What holds between any two calls.
    fn check(&mut self) {
        for stream in &self.streams {
            if stream.released {
                if self.host.is_closed(stream.id) {
                    self.ports.over(stream.source, self.now);
                }
                continue;
            }
            let reason = self.host.close_reason(stream.id);
            let closed = self.host.is_closed(stream.id);
            if closed {
                assert!(reason.is_some(), "an end without a reason");
                self.ports.over(stream.source, self.now);
            }
            let connecting = reason.is_none() && !self.host.was_accepted(stream.id);
            if connecting || (reason.is_some() && !closed) {
                assert!(self.host.poll_timeout().is_some(), "a wait without a deadline");
            }
            assert!(self.host.in_flight(stream.id) < 1 << 25);
        }
    }

    fn deliver(&mut self, up: bool, most: usize) {
        let cable = if up { &mut self.up } else { &mut self.down };
        for segment in cable.deliver(most) {
            // What a frame says counts from when it is delivered.
            let (source, port) = if up {
                (segment.source, segment.destination)
            } else {
                (segment.destination, segment.source)
            };
            if let Some(stream) = stream_of(&mut self.streams, source, port) {
                let other = if up { &mut stream.down } else { &mut stream.up };
                other.hears(&segment);
            }
        }
        if up {
            self.device.handle_input(&mut self.up.arrived);
        } else {
            self.host.handle_input(self.now, &mut self.down.arrived);
        }
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.host.handle_timeout(self.now);
        self.device.handle_timeout(self.now);
        self.drain();
        for next in [self.host.poll_timeout(), self.device.poll_timeout()] {
            assert!(next.is_none_or(|at| at > self.now), "a deadline that never passes");
        }
    }

    /// Both ends read and the cable works, until nothing moves any more.
    fn settle(&mut self) {
        let mut quiet = 0;
        for round in 0.. {
            assert!(round < 20_000, "it never comes to rest");
            let before = (self.up.frames, self.down.frames, self.moved());
            self.deliver(true, usize::MAX);
            self.deliver(false, usize::MAX);
            for at in 0..self.streams.len() {
                self.host_reads(at, usize::MAX);
                self.device_takes(at, true);
            }
            self.drain();
            if before == (self.up.frames, self.down.frames, self.moved()) {
                quiet += 1;
                self.pass(Duration::from_millis(30));
            } else {
                quiet = 0;
            }
            if quiet > 3 {
                return;
            }
        }
    }

    fn moved(&self) -> u64 {
        self.streams
            .iter()
            .map(|stream| stream.up.received + stream.down.received)
            .sum()
    }

    /// Everything arrives that nobody has ended, and everything ends that nobody holds.
    fn finish(&mut self) {
        self.settle();
        let alive = match self.host.connect(self.now, STRANGERS - 1, Duration::from_secs(1)) {
            Ok(id) => {
                self.host.release(self.now, id);
                true
            }
            Err(error) => !matches!(error, MuxError::Failed(_) | MuxError::NotReady),
        };
        for stream in &self.streams {
            let ended = stream.host_ended || stream.device_ended || stream.tainted || self.wrecked;
            if alive && !ended && self.host.was_accepted(stream.id) && self.host.close_reason(stream.id).is_none() {
                assert_eq!(stream.up.received, stream.up.taken, "bytes for the phone are stuck");
                assert_eq!(stream.down.received, stream.down.taken, "bytes for the host are stuck");
            }
        }
    }

    fn let_go(mut self) {
        let ids: Vec<ConnectionId> = self.streams.iter().map(|stream| stream.id).collect();
        for id in ids {
            self.host.release(self.now, id);
        }
        let peers = self.streams.iter().filter_map(|stream| stream.peer);
        for peer in peers.chain(self.ghosts.iter().copied()).collect::<Vec<_>>() {
            self.device.refuse(peer);
            self.device.finish(self.now, peer);
        }
        self.streams.clear();
        for _ in 0..4 {
            while self.device.poll_event().is_some() {}
            let mut out = BytesMut::new();
            while self.host.poll_transmit(&mut out).is_some() || self.device.poll_transmit(&mut out).is_some() {}
            self.now += Duration::from_secs(60);
            self.host.handle_timeout(self.now);
            self.device.handle_timeout(self.now);
        }
        assert_eq!(
            self.device.connections(),
            0,
            "connections that nobody holds stay for ever"
        );
        assert!(self.host.is_idle(), "connections that nobody holds stay for ever");
        let next = self.host.poll_timeout();
        assert!(next.is_none(), "a deadline of nothing");
    }
}

fn stream_of(streams: &mut [Stream], source: u16, port: u16) -> Option<&mut Stream> {
    streams
        .iter_mut()
        .find(|stream| stream.source == source && stream.port == port)
}

/// Both machines: whatever the order of calls, the cuts of the cable, the clock and a stranger's frames, streams that
/// nobody interfered with carry their bytes in order, no machine sends more than its peer has room for or holds more
/// than its buffers, no deadline is missing, no connection starves another, and everything ends that nobody holds.
pub fn mux_pair(data: &[u8]) {
    let mut script = Script::new(data);
    let mut pair = Pair::new(&mut script);
    for _ in 0..MAX_STEPS {
        if !script.goes_on() {
            break;
        }
        pair.step(&mut script);
    }
    pair.finish();
    pair.let_go();
}
