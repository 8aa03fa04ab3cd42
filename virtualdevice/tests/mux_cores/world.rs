//! Both cores, the link between them, and the clock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use cabled_usbmux::mux::frame::{self, Flags, Frame, HeaderStyle, Segment};
use cabled_usbmux::mux::{CloseReason, ConnectionId, Event, Mux, MuxOptions};
use cabled_virtualdevice::mux::{DeviceEvent, DeviceMux, DeviceMuxOptions, PeerId};

/// xorshift: the same seed gives the same run for ever.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }
}

/// One direction: bytes under way, and a check that the sender kept to the receiver's window.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) bytes: VecDeque<u8>,
    pub(crate) sent: usize,
}

/// What a sender knows of its peer's room, by (its own port, the other's).
#[derive(Default)]
pub(crate) struct Windows(pub(crate) HashMap<(u16, u16), (u32, u32)>);

impl Windows {
    pub(crate) fn heard(&mut self, segment: &Segment) {
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

    pub(crate) fn check(&self, segment: &Segment, payload: &[u8]) {
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
pub(crate) struct Talk {
    pub(crate) sent: usize,
    pub(crate) received: usize,
    pub(crate) closed: bool,
}

pub(crate) fn byte_at(salt: u16, n: usize) -> u8 {
    (n ^ (n >> 8) ^ usize::from(salt)) as u8
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) now: Instant,
    pub(crate) host: Mux,
    pub(crate) phone: DeviceMux,
    pub(crate) to_phone: Wire,
    pub(crate) to_host: Wire,
    pub(crate) host_input: BytesMut,
    pub(crate) phone_input: BytesMut,
    /// What each sender knows.
    pub(crate) host_windows: Windows,
    pub(crate) phone_windows: Windows,
    pub(crate) style: HeaderStyle,
    pub(crate) next_port: u16,
    pub(crate) host_talks: HashMap<ConnectionId, (u16, Talk)>,
    pub(crate) phone_talks: HashMap<u16, (PeerId, Talk)>,
    pub(crate) ports: HashMap<PeerId, u16>,
    /// Connections of the phone that its services have yet to let go of.
    pub(crate) phone_ends: HashSet<PeerId>,
    pub(crate) cut_after: usize,
    pub(crate) cut: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) host: MuxOptions,
    pub(crate) phone: DeviceMuxOptions,
    pub(crate) cut_after: usize,
}

impl World {
    pub(crate) fn new(plan: &Plan) -> Self {
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
            phone_ends: HashSet::new(),
            cut_after: plan.cut_after,
            cut: false,
        }
    }

    pub(crate) fn segment(style: HeaderStyle, bytes: &[u8]) -> Option<(Segment, Bytes)> {
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
    pub(crate) fn drain(&mut self) {
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
                    assert!(self.host_talks.contains_key(&id), "nobody holds it");
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
    pub(crate) fn deliver(&mut self, to_phone: bool) {
        let wire = if to_phone { &self.to_phone } else { &self.to_host };
        let n = self.random.below(wire.bytes.len().min(90_000) + 1);
        self.deliver_exactly(to_phone, n);
    }

    pub(crate) fn deliver_exactly(&mut self, to_phone: bool, n: usize) {
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

    pub(crate) fn open(&mut self) {
        if let Ok(id) = self.host.connect(self.now, self.next_port + 1, Duration::from_secs(10)) {
            self.next_port += 1;
            self.host_talks.insert(id, (self.next_port, Talk::default()));
        }
    }

    pub(crate) fn host_writes(&mut self, id: ConnectionId) {
        let len = self.random.below(60_000);
        let (port, talk) = self.host_talks.get_mut(&id).unwrap();
        let data: Vec<u8> = (talk.sent..talk.sent + len).map(|n| byte_at(*port, n)).collect();
        if let Ok(taken) = self.host.write(self.now, id, &data) {
            talk.sent += taken;
        }
    }

    pub(crate) fn host_reads(&mut self, id: ConnectionId) {
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

    pub(crate) fn phone_writes(&mut self, port: u16) {
        let len = self.random.below(60_000);
        let (id, talk) = self.phone_talks.get_mut(&port).unwrap();
        let data: Vec<u8> = (talk.sent..talk.sent + len).map(|n| byte_at(!port, n)).collect();
        if let Some(taken) = self.phone.write(*id, &data) {
            talk.sent += taken;
        }
    }

    pub(crate) fn phone_reads(&mut self, port: u16) {
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

    pub(crate) fn pass_time(&mut self, time: Duration) {
        self.now += time;
        self.host.handle_timeout(self.now);
        self.phone.handle_timeout(self.now);
    }

    pub(crate) fn step(&mut self) {
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

    pub(crate) fn received(&self) -> usize {
        let host = self.host_talks.values().map(|(_, talk)| talk.received);
        host.chain(self.phone_talks.values().map(|(_, talk)| talk.received))
            .sum()
    }

    /// Runs until nothing moves any more, neither now nor after the delay of window updates.
    pub(crate) fn settle(&mut self) {
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
