//! The host's machine with a device that does what it likes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::frame::{ControlKind, Flags, Frame, HeaderStyle, MAX_FRAME, Segment};
use cabled_usbmux::mux::{ConnectionId, Event, Mux, MuxOptions};

use super::view::{View, picked};
use super::{Wire, bare, each_frame, passed};
use crate::script::Script;

/// The host's end, with a device that does what it likes.
struct Host {
    mux: Mux,
    now: Instant,
    wire: Wire,
    options: MuxOptions,
    ids: Vec<ConnectionId>,
    views: BTreeMap<u16, View>,
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
            wire: Wire::new(HeaderStyle::Short),
            options,
            ids: Vec::new(),
            views: BTreeMap::new(),
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
            host.wire.style = HeaderStyle::Long;
        }
        host.settle();
        host
    }

    fn input(&mut self, frame: &Frame) {
        let mut bytes = self.wire.bytes(frame);
        self.mux.handle_input(self.now, &mut bytes);
        assert!(bytes.is_empty(), "a whole frame is taken whole");
    }

    /// What every call is followed by, and what must hold then.
    fn settle(&mut self) {
        let max = self.options.max_frame.max(HeaderStyle::Long.len() + Segment::LEN);
        let views = &mut self.views;
        each_frame(
            self.wire.style,
            max,
            |out| self.mux.poll_transmit(out),
            |frame| {
                let Frame::Tcp { segment, payload } = frame else { return };
                if segment.flags == Flags::SYN {
                    let start = segment.seq.wrapping_add(1);
                    let view = View {
                        ports: (segment.source, segment.destination),
                        start,
                        end: start,
                        ..View::default()
                    };
                    views.insert(segment.source, view);
                } else if let Some(view) = views.get_mut(&segment.source)
                    && view.ports == (segment.source, segment.destination)
                {
                    view.sent(&segment, payload.len());
                }
            },
        );
        assert!(self.views.len() < 10_000);
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
        passed(self.mux.poll_timeout(), self.now);
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
                let Some(view) = picked(self.views.values_mut(), which) else {
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
                    self.input(&bare(answer));
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
