//! The device's machine with a host that does what it likes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::frame::{Flags, Frame, HeaderStyle, Segment};
use cabled_virtualdevice::mux::{DeviceEvent, DeviceMux, DeviceMuxOptions, PeerId, WindowStyle};

use super::view::{View, picked};
use super::{Wire, bare, each_frame, passed};
use crate::script::Script;

/// The device's end, with a host that does what it likes.
struct Device {
    mux: DeviceMux,
    now: Instant,
    wire: Wire,
    max_frame: usize,
    room: usize,
    ids: Vec<PeerId>,
    views: BTreeMap<(u16, u16), View>,
    held: BTreeMap<PeerId, usize>,
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
            wire: Wire::new(style),
            max_frame,
            room,
            ids: Vec::new(),
            views: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        device.handshake();
        device
    }

    fn handshake(&mut self) {
        self.input(&Frame::Version { major: 2, minor: 0 });
        self.views.clear();
        self.settle();
        if self.wire.style == HeaderStyle::Long {
            let value = Bytes::from_static(&[7]);
            self.input(&Frame::Setup { value });
        }
        self.settle();
    }

    fn input(&mut self, frame: &Frame) {
        let mut bytes = self.wire.bytes(frame);
        self.mux.handle_input(&mut bytes);
    }

    fn settle(&mut self) {
        let views = &mut self.views;
        each_frame(
            self.wire.style,
            self.max_frame.max(200), // the text of a refusal or of a complaint is not cut into frames
            |out| self.mux.poll_transmit(out),
            |frame| {
                let Frame::Tcp { segment, payload } = frame else { return };
                let Some(view) = views.get_mut(&(segment.source, segment.destination)) else {
                    return;
                };
                if segment.flags == Flags::SYN_ACK {
                    view.start = segment.seq.wrapping_add(1);
                    view.end = view.start;
                    view.open = true;
                } else {
                    view.sent(&segment, payload.len());
                }
            },
        );
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
        passed(self.mux.poll_timeout(), self.now);
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
                self.input(&bare(syn));
            }
            _ => {
                let Some(view) = picked(self.views.values_mut(), which) else {
                    return;
                };
                let (segment, payload) = view.segment(script);
                self.input(&Frame::Tcp { segment, payload });
            }
        }
        self.settle();
    }
}

/// The device's machine, by the same rules as [`mux_host`](super::mux_host).
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
