//! The multiplexer: frames, and both machines against an opposite that keeps no rules.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::frame::{self, ControlKind, Flags, Frame, HeaderStyle, MAX_FRAME, Numbers, Segment};
use cabled_usbmux::mux::{ConnectionId, Event, Mux, MuxOptions};
use cabled_virtualdevice::mux::{DeviceEvent, DeviceMux, DeviceMuxOptions, PeerId, WindowStyle};

use crate::script::Script;

/// Frames off the cable, with either header: what was read is written and read again.
pub fn mux_frames(data: &[u8]) {
    for style in [HeaderStyle::Short, HeaderStyle::Long] {
        let mut buffer = BytesMut::from(data);
        let mut left = buffer.len();
        while let Ok(Some(taken)) = frame::take(&mut buffer, style) {
            left -= taken.len;
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

/// What one end of the cable has seen and promised on one connection: the model that the other end is held to.
#[derive(Debug, Default)]
struct View {
    /// Ports: theirs (the machine's), ours.
    ports: (u16, u16),
    /// Number of the first byte the machine may send, and one behind the last it did.
    start: u32,
    end: u32,
    /// How far the machine may send, counted from `start`: the furthest that any of our frames allowed.
    granted: u64,
    /// Number of our next byte.
    next: u32,
    /// It has sent its SYN or answered ours.
    open: bool,
}

impl View {
    /// A frame of ours tells the machine how much room there is.
    fn grant(&mut self, segment: &Segment) {
        let edge = u64::from(segment.ack.wrapping_sub(self.start)) + u64::from(segment.window_bytes());
        self.granted = self.granted.max(edge);
    }

    /// A frame of the machine.
    fn sent(&mut self, segment: &Segment, len: usize) {
        let len = u32::try_from(len).expect("a frame is short");
        if segment.flags == Flags::ACK {
            assert_eq!(segment.seq, self.end, "the machine's bytes follow one another");
            self.end = self.end.wrapping_add(len);
            let sent = u64::from(self.end.wrapping_sub(self.start));
            assert!(
                len == 0 || sent <= self.granted,
                "{sent} bytes sent, {} granted",
                self.granted
            );
        }
    }

    /// Our next frame: more or less what an honest end would send, as the script has it.
    fn segment(&mut self, script: &mut Script<'_>) -> (Segment, Bytes) {
        let (kind, ack, window, len) = (script.byte(), script.byte(), script.byte(), script.byte());
        let flags = match kind & 15 {
            0..8 => Flags::ACK,
            8..12 => Flags::SYN_ACK,
            12 => Flags::RST,
            13 => Flags::RST | Flags::ACK,
            14 => Flags::SYN,
            _ => Flags(script.byte()),
        };
        let seq = match kind >> 4 {
            0..13 => self.next,
            13 => self.next.wrapping_sub(u32::from(script.byte())),
            14 => self.next.wrapping_add(u32::from(script.byte())),
            _ => script.long(),
        };
        let ack = match ack {
            0..200 => self.end,
            200..250 => self.end.wrapping_sub(u32::from(ack - 200) * 7),
            250..255 => self.end.wrapping_add(u32::from(ack - 249)),
            255 => script.long(),
        };
        let len = usize::from(len) * if kind & 3 == 3 { 200 } else { 1 };
        let segment = Segment {
            source: self.ports.1,
            destination: self.ports.0,
            seq,
            ack,
            flags,
            window: u16::from(window) * if window > 250 { 257 } else { 1 },
        };
        self.grant(&segment);
        if seq == self.next && flags == Flags::ACK {
            self.next = self.next.wrapping_add(u32::try_from(len).unwrap_or_default());
        }
        (segment, Bytes::from(vec![kind; len]))
    }
}

fn numbers(style: HeaderStyle, sequence: &mut u16) -> Option<Numbers> {
    *sequence = sequence.wrapping_add(1);
    let numbers = Numbers {
        magic: frame::MAGIC_DEVICE,
        tx_seq: *sequence,
        rx_seq: 0,
    };
    (style == HeaderStyle::Long).then_some(numbers)
}

/// Takes the one frame that a machine has just put out.
fn one_frame(out: &mut BytesMut, len: usize, style: HeaderStyle, max: usize) -> Frame {
    assert!(out.len() == len && len <= max, "a frame of {len} bytes, at most {max}");
    let taken = frame::take(out, style).expect("ours").expect("whole");
    assert!(out.is_empty(), "one frame at a time");
    taken.frame.expect("ours")
}

/// The host's end, with a device that does what it likes.
struct Host {
    mux: Mux,
    now: Instant,
    style: HeaderStyle,
    options: MuxOptions,
    ids: Vec<ConnectionId>,
    views: BTreeMap<u16, View>,
    sequence: u16,
    /// Bytes handed over and read, at most what went in.
    offered: usize,
    read: usize,
}

impl Host {
    fn new(script: &mut Script<'_>) -> Self {
        let choice = script.byte();
        let options = MuxOptions::default()
            .with_max_frame(64 + usize::from(choice) * 50)
            .with_receive_buffer(1 << (10 + (choice & 7)))
            .with_send_buffer(4096)
            .with_max_connections(4)
            .with_initial_sequence(if choice & 8 == 0 { 0 } else { u32::MAX - 1000 });
        let now = Instant::now();
        let mut host = Self {
            mux: Mux::new(now, options),
            now,
            style: HeaderStyle::Short,
            options,
            ids: Vec::new(),
            views: BTreeMap::new(),
            sequence: 0,
            offered: 0,
            read: 0,
        };
        host.settle();
        let major = match choice >> 4 {
            0 => 1,
            1 => u32::from(script.byte()),
            _ => 2,
        };
        host.input(&Frame::Version { major, minor: 0 });
        if major == 2 {
            host.style = HeaderStyle::Long;
        }
        host.settle();
        host
    }

    fn input(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        let numbers = match frame {
            Frame::Version { .. } => None,
            _ => numbers(self.style, &mut self.sequence),
        };
        frame.encode(numbers, &mut bytes);
        self.mux.handle_input(self.now, &mut bytes);
        assert!(bytes.is_empty(), "a whole frame is taken whole");
    }

    /// What every call is followed by, and what must hold then.
    fn settle(&mut self) {
        let mut out = BytesMut::new();
        let mut frames = 0;
        while let Some(len) = self.mux.poll_transmit(&mut out) {
            frames += 1;
            assert!(frames < 10_000, "it never stops sending");
            let max = self.options.max_frame.max(HeaderStyle::Long.len() + Segment::LEN);
            if let Frame::Tcp { segment, payload } = one_frame(&mut out, len, self.style, max) {
                if segment.flags == Flags::SYN {
                    let start = segment.seq.wrapping_add(1);
                    let view = View {
                        ports: (segment.source, segment.destination),
                        start,
                        end: start,
                        ..View::default()
                    };
                    assert!(self.views.len() < 10_000);
                    self.views.insert(segment.source, view);
                } else if let Some(view) = self.views.get_mut(&segment.source)
                    && view.ports == (segment.source, segment.destination)
                {
                    view.sent(&segment, payload.len());
                }
            }
        }
        let mut events = 0;
        while let Some(event) = self.mux.poll_event() {
            events += 1;
            assert!(events < 10_000, "events pile up");
            if let Event::Closed(id, reason) = event {
                let _ = reason.to_string();
                assert!(self.mux.close_reason(id).is_some());
            }
        }
        for id in &self.ids {
            assert!(self.mux.in_flight(*id) < 1 << 25);
        }
        assert!(self.read <= self.offered, "bytes out of nowhere");
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.mux.handle_timeout(self.now);
        self.settle();
        assert!(
            self.mux.poll_timeout().is_none_or(|at| at > self.now),
            "a deadline that never passes"
        );
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let (action, which) = (script.byte(), script.byte());
        let id = self.ids.get(usize::from(which) % self.ids.len().max(1)).copied();
        match (action % 12, id) {
            (0, _) => {
                if let Ok(id) = self.mux.connect(self.now, script.word(), Duration::from_secs(10)) {
                    self.ids.push(id);
                }
                self.settle();
                assert!(self.views.len() <= 10_000);
            }
            (1, Some(id)) => {
                let data = vec![which; usize::from(script.byte()) * 33];
                if let Ok(taken) = self.mux.write(self.now, id, &data) {
                    assert!(taken <= data.len().min(self.options.send_buffer));
                }
            }
            (2, Some(id)) => {
                let mut out = Vec::new();
                if let Ok(read) = self.mux.read(self.now, id, &mut out) {
                    assert_eq!(read, out.len());
                    assert!(
                        read <= self.options.receive_buffer,
                        "more was held than there is room for"
                    );
                }
                self.read += out.len();
            }
            (3, _) => self.pass(Duration::from_millis(u64::from(script.word()))),
            (4, Some(id)) => self.mux.close(self.now, id),
            (5, Some(id)) => {
                self.mux.release(self.now, id);
                self.ids.retain(|other| *other != id);
            }
            (6, _) => {
                let mut raw = BytesMut::from(script.take(usize::from(which)));
                self.offered += raw.len();
                self.mux.handle_input(self.now, &mut raw);
                assert!(raw.len() <= MAX_FRAME);
            }
            (7, _) if action > 250 => self.mux.handle_link_lost(self.now),
            (7, _) => self.input(&Frame::Control {
                kind: ControlKind::from(which),
                text: Bytes::copy_from_slice(script.take(20)),
            }),
            _ => {
                let at = usize::from(which) % self.views.len().max(1);
                let Some(view) = self.views.values_mut().nth(at) else {
                    return;
                };
                if !view.open {
                    // Honest once, or nothing would ever be open.
                    view.open = true;
                    let answer = Segment {
                        source: view.ports.1,
                        destination: view.ports.0,
                        seq: 7,
                        ack: view.start,
                        flags: Flags::SYN_ACK,
                        window: u16::from(action),
                    };
                    view.next = 8;
                    view.grant(&answer);
                    self.input(&Frame::Tcp {
                        segment: answer,
                        payload: Bytes::new(),
                    });
                } else {
                    let (segment, payload) = view.segment(script);
                    self.offered += payload.len();
                    self.input(&Frame::Tcp { segment, payload });
                }
            }
        }
        self.settle();
    }
}

/// The host's machine: whatever a device sends and whenever, it sends no more than it was given room for, holds no
/// more than its buffers, and comes to rest when everybody has let go.
pub fn mux_host(data: &[u8]) {
    let mut script = Script::new(data);
    let mut host = Host::new(&mut script);
    while script.goes_on() {
        host.step(&mut script);
    }
    for id in std::mem::take(&mut host.ids) {
        host.mux.release(host.now, id);
    }
    host.settle();
    host.pass(Duration::from_secs(60));
    assert!(host.mux.is_idle(), "connections that nobody holds stay for ever");
}

/// The device's end, with a host that does what it likes.
struct Device {
    mux: DeviceMux,
    now: Instant,
    style: HeaderStyle,
    max_frame: usize,
    room: usize,
    ids: Vec<PeerId>,
    views: BTreeMap<(u16, u16), View>,
    held: BTreeMap<PeerId, usize>,
    sequence: u16,
}

const DEVICE_CONNECTIONS: usize = 4;

impl Device {
    fn new(script: &mut Script<'_>) -> Self {
        let choice = script.byte();
        let room = 1 << (10 + (choice & 7));
        let max_frame = 64 + usize::from(choice) * 50;
        let mut options = DeviceMuxOptions::default()
            .with_max_frame(max_frame)
            .with_receive_buffer(room)
            .with_send_buffer(4096)
            .with_refusal("no such port");
        options.max_connections = DEVICE_CONNECTIONS;
        if choice & 8 != 0 {
            options = options.with_window_style(WindowStyle::LateAcknowledgment);
        }
        let style = if choice & 16 == 0 {
            HeaderStyle::Long
        } else {
            HeaderStyle::Short
        };
        if style == HeaderStyle::Short {
            options = options.with_version(1);
        }
        let mut device = Self {
            mux: DeviceMux::new(options),
            now: Instant::now(),
            style,
            max_frame,
            room,
            ids: Vec::new(),
            views: BTreeMap::new(),
            held: BTreeMap::new(),
            sequence: 0,
        };
        device.handshake();
        device
    }

    fn handshake(&mut self) {
        self.input(&Frame::Version { major: 2, minor: 0 });
        self.views.clear();
        self.settle();
        if self.style == HeaderStyle::Long {
            let value = Bytes::from_static(&[7]);
            self.input(&Frame::Setup { value });
        }
        self.settle();
    }

    fn input(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        let numbers = match frame {
            Frame::Version { .. } => None,
            _ => numbers(self.style, &mut self.sequence),
        };
        frame.encode(numbers, &mut bytes);
        self.mux.handle_input(&mut bytes);
    }

    fn settle(&mut self) {
        let mut out = BytesMut::new();
        let mut frames = 0;
        while let Some(len) = self.mux.poll_transmit(&mut out) {
            frames += 1;
            assert!(frames < 10_000, "it never stops sending");
            // The text of a refusal or of a complaint is not cut into frames.
            let max = self.max_frame.max(200);
            if let Frame::Tcp { segment, payload } = one_frame(&mut out, len, self.style, max)
                && let Some(view) = self.views.get_mut(&(segment.source, segment.destination))
            {
                if segment.flags == Flags::SYN_ACK {
                    view.start = segment.seq.wrapping_add(1);
                    view.end = view.start;
                    view.open = true;
                } else {
                    view.sent(&segment, payload.len());
                }
            }
        }
        let mut events = 0;
        while let Some(event) = self.mux.poll_event() {
            events += 1;
            assert!(events < 10_000, "events pile up");
            if let DeviceEvent::Dial { id, .. } = event {
                self.ids.push(id);
                self.held.insert(id, 0);
            }
        }
        assert!(
            self.mux.connections() <= DEVICE_CONNECTIONS,
            "more connections than allowed"
        );
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.mux.handle_timeout(self.now);
        self.settle();
        assert!(
            self.mux.poll_timeout().is_none_or(|at| at > self.now),
            "a deadline that never passes"
        );
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let (action, which) = (script.byte(), script.byte());
        let id = self.ids.get(usize::from(which) % self.ids.len().max(1)).copied();
        match (action % 12, id) {
            (0, Some(id)) => self.mux.accept(id),
            (1, Some(id)) => {
                let data = vec![which; usize::from(script.byte()) * 33];
                assert!(
                    self.mux
                        .write(id, &data)
                        .is_none_or(|taken| taken <= data.len().min(4096))
                );
            }
            (2, Some(id)) => {
                while let Some(piece) = self.mux.take(id) {
                    let held = self.held.entry(id).or_default();
                    *held += piece.len();
                    assert!(*held <= self.room, "more was held than there is room for");
                    if action > 100 {
                        self.mux.consumed(self.now, id, std::mem::take(held));
                    }
                }
            }
            (3, _) => self.pass(Duration::from_millis(u64::from(script.word()))),
            (4, Some(id)) => self.mux.finish(self.now, id),
            (5, Some(id)) => self.mux.refuse(id),
            (6, _) => {
                let mut raw = BytesMut::from(script.take(usize::from(which)));
                self.mux.handle_input(&mut raw);
            }
            (7, _) if action > 240 => self.handshake(),
            (7, _) => {
                let pair = (u16::from(which % 5), 1 + script.word() % 3);
                let syn = Segment {
                    source: pair.1,
                    destination: pair.0,
                    seq: 0,
                    ack: 0,
                    flags: Flags::SYN,
                    window: u16::from(action),
                };
                let view = View {
                    ports: pair,
                    next: 1,
                    granted: u64::from(syn.window_bytes()),
                    ..View::default()
                };
                self.views.entry(pair).or_insert(view);
                self.input(&Frame::Tcp {
                    segment: syn,
                    payload: Bytes::new(),
                });
            }
            _ => {
                let at = usize::from(which) % self.views.len().max(1);
                let Some(view) = self.views.values_mut().nth(at) else {
                    return;
                };
                let (segment, payload) = view.segment(script);
                self.input(&Frame::Tcp { segment, payload });
            }
        }
        self.settle();
    }
}

/// The device's machine, by the same rules as [`mux_host`].
pub fn mux_device(data: &[u8]) {
    let mut script = Script::new(data);
    let mut device = Device::new(&mut script);
    while script.goes_on() {
        device.step(&mut script);
    }
    for id in std::mem::take(&mut device.ids) {
        device.mux.refuse(id);
        device.mux.finish(device.now, id);
    }
    device.settle();
    device.pass(Duration::from_secs(60));
    assert_eq!(
        device.mux.connections(),
        0,
        "connections that nobody holds stay for ever"
    );
}
