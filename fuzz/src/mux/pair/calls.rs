//! What the callers of both machines do, and a stranger on the cable.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use cabled_usbmux::mux::Mux;
use cabled_usbmux::mux::frame::{ControlKind, Flags, Frame, Segment};

use super::model::{Ports, Stream};
use super::{Pair, STRANGERS};
use crate::script::Script;

impl Pair {
    fn open(&mut self, within: Duration) {
        if let Ok(id) = self.host.connect(self.now, self.next_port + 1, within) {
            self.next_port += 1;
            self.streams.push(Stream::new(id, self.next_port));
        }
    }

    fn host_writes(&mut self, at: usize, len: usize) {
        let stream = &mut self.streams[at];
        let data = stream.up.next_bytes(stream.port, len);
        if let Ok(taken) = self.host.write(self.now, stream.id, &data) {
            stream.up.taken += taken as u64;
            assert!(
                stream.tainted || self.wrecked || stream.up.waiting() <= self.host_options.send_buffer as u64,
                "more is held than there is room for"
            );
        }
    }

    pub(super) fn host_reads(&mut self, at: usize, most: usize) {
        let stream = &mut self.streams[at];
        let mut out = Vec::new();
        let read = self.host.read(self.now, stream.id, &mut (&mut out).limit(most));
        assert!(
            out.len() <= self.host_options.receive_buffer,
            "more was held than there is room for"
        );
        match read {
            Ok(read) => assert_eq!(read, out.len()),
            Err(_) => assert!(out.is_empty() && self.host.close_reason(stream.id).is_some()),
        }
        stream.down.came(!stream.port, &out, stream.tainted || self.wrecked);
    }

    fn device_writes(&mut self, at: usize, len: usize) {
        let stream = &mut self.streams[at];
        let Some(peer) = stream.peer else { return };
        let data = stream.down.next_bytes(!stream.port, len);
        if let Some(taken) = self.device.write(peer, &data) {
            stream.down.taken += taken as u64;
            assert!(
                stream.tainted || self.wrecked || stream.down.waiting() <= self.device_options.send_buffer as u64,
                "more is held than there is room for"
            );
        }
    }

    pub(super) fn device_takes(&mut self, at: usize, all: bool) {
        let stream = &mut self.streams[at];
        let Some(peer) = stream.peer else { return };
        let mut held = 0;
        while let Some(piece) = self.device.take(peer) {
            held += piece.len();
            stream.up.came(stream.port, &piece, stream.tainted || self.wrecked);
            if !all {
                break;
            }
        }
        assert!(
            held <= self.device_options.receive_buffer,
            "more was held than there is room for"
        );
        self.device.consumed(self.now, peer, held);
    }

    /// One of them pulls the cable, or the host's program starts anew with the cable in.
    fn replug(&mut self, unplugged: bool) {
        if unplugged {
            self.host.handle_link_lost(self.now);
            self.device.handle_link_lost();
            self.drain();
            self.up.cut();
            self.down.cut();
        } else {
            self.deliver(true, usize::MAX);
            let rest = self.down.to_next_frame();
            self.deliver(false, rest);
            self.host.handle_link_lost(self.now);
            self.drain();
            self.down.arrived.clear();
        }
        for stream in &self.streams {
            assert!(stream.released || self.host.is_closed(stream.id), "the link is gone");
        }
        assert!(self.host.connect(self.now, 1, Duration::from_secs(1)).is_err());
        for at in 0..self.streams.len() {
            self.host_reads(at, usize::MAX); // what had arrived can still be read
            let stream = &mut self.streams[at];
            self.host.release(self.now, stream.id);
            stream.released = true;
        }
        self.drain();
        assert!(self.host.is_idle(), "connections outlive the link");
        self.known = None;
        self.host = Mux::new(self.now, self.host_options);
        self.ports = Ports::default();
        // The phone hears of it with VERSION; until then its services hold on.
        for stream in self.streams.drain(..) {
            self.ghosts.extend(stream.peer.filter(|_| !stream.device_ended));
        }
        self.wrecked &= !unplugged;
        self.drain();
    }

    /// A frame that neither end has sent.
    fn inject(&mut self, up: bool, script: &mut Script<'_>) {
        let (kind, which) = (script.byte(), script.byte());
        let at = usize::from(which) % self.streams.len().max(1);
        let frame = match (kind % 16, self.streams.get_mut(at)) {
            (0..10, Some(stream)) if stream.source != 0 => {
                stream.tainted = true;
                let segment = stream.forged(up, script);
                Frame::Tcp {
                    segment,
                    payload: Bytes::from(vec![kind; usize::from(script.byte()) * usize::from(kind >> 4)]),
                }
            }
            (10, _) => Frame::Control {
                kind: ControlKind::from(which),
                text: Bytes::copy_from_slice(script.take(usize::from(which))),
            },
            (11, _) => Frame::Unknown {
                protocol: 7 + u32::from(which),
                payload: Bytes::copy_from_slice(script.take(9)),
            },
            (12, _) => {
                self.wrecked = true;
                let major = u32::from(which & 3);
                Frame::Version { major, minor: 0 }
            }
            (13, _) => {
                self.wrecked = true;
                let value = Bytes::from_static(&[7]);
                Frame::Setup { value }
            }
            (14, _) if kind > 200 => {
                self.wrecked = true;
                let cable = if up { &mut self.up } else { &mut self.down };
                cable.push(script.take(usize::from(which)), None);
                return;
            }
            _ => {
                let flags = [Flags::SYN, Flags::ACK, Flags::RST, Flags::SYN_ACK][usize::from(kind >> 6)];
                let (host, phone) = (1 + u16::from(which % 4), STRANGERS + u16::from(which >> 4));
                Frame::Tcp {
                    segment: Segment {
                        source: if up { host } else { phone },
                        destination: if up { phone } else { host },
                        seq: script.long(),
                        ack: script.long(),
                        flags,
                        window: script.word(),
                    },
                    payload: Bytes::from(vec![kind; usize::from(which & 3)]),
                }
            }
        };
        let bytes = self.wire.bytes(&frame);
        let cable = if up { &mut self.up } else { &mut self.down };
        cable.push(&bytes, None);
    }

    pub(super) fn step(&mut self, script: &mut Script<'_>) {
        let (action, which, amount) = (script.byte(), script.byte(), usize::from(script.byte()));
        let at = usize::from(which) % self.streams.len().max(1);
        let any = !self.streams.is_empty();
        match action % 32 {
            0 => self.open(Duration::from_millis(1 + 100 * amount as u64)),
            1..5 => return self.deliver(true, amount * 300),
            5..9 => return self.deliver(false, amount * 300),
            9 => {
                self.deliver(true, usize::MAX);
                return self.deliver(false, usize::MAX);
            }
            10..13 if any => self.host_writes(at, amount * 130),
            13..16 if any => self.host_reads(at, amount * amount),
            16..19 if any => self.device_writes(at, amount * 130),
            19..22 if any => self.device_takes(at, amount & 1 == 0),
            22 => return self.pass(Duration::from_millis(amount as u64)),
            23 => return self.pass(Duration::from_millis(u64::from(script.word()))),
            24 if any => self.host_closes(at, amount & 1 == 0),
            25 if any => self.device_ends(at, amount & 1 == 0),
            26 if any => {
                if let Some(peer) = self.streams[at].peer {
                    self.device.accept(peer);
                }
            }
            27..30 => self.inject(action & 128 != 0, script),
            30 if amount > 200 => return self.replug(which & 1 == 0),
            31 if amount > 250 => return self.pass(Duration::from_secs(86_400)),
            _ => self.open(Duration::from_secs(10)),
        }
        self.drain();
    }

    fn host_closes(&mut self, at: usize, release: bool) {
        let stream = &mut self.streams[at];
        stream.host_ended = true;
        if release && !stream.released {
            stream.released = true;
            self.host.release(self.now, stream.id);
        } else {
            self.host.close(self.now, stream.id);
        }
    }

    fn device_ends(&mut self, at: usize, refuse: bool) {
        let stream = &mut self.streams[at];
        let Some(peer) = stream.peer else { return };
        stream.device_ended = true;
        if refuse {
            self.device.refuse(peer);
        }
        self.device.finish(self.now, peer);
    }
}
