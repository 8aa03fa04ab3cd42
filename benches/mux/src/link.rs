//! The phone's end of the link, the same for every host.

use std::time::Instant;

use bytes::BytesMut;
use cabled_virtualdevice::mux::{DeviceEvent, DeviceMux, DeviceMuxOptions, PeerId};

/// Frames gathered for one trip, in bytes; what a driver would hand to its link in one go.
pub(crate) const BATCH: usize = 256 << 10;

pub(crate) struct Phone {
    pub(crate) mux: DeviceMux,
    pub(crate) now: Instant,
    /// Towards the phone, towards the host.
    pub(crate) up: BytesMut,
    pub(crate) down: BytesMut,
    pub(crate) peers: Vec<PeerId>,
}

impl Phone {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            mux: DeviceMux::new(DeviceMuxOptions::default()),
            now,
            up: BytesMut::with_capacity(2 * BATCH),
            down: BytesMut::with_capacity(2 * BATCH),
            peers: Vec::new(),
        }
    }

    /// Takes what is there for the phone and gathers what the phone has to say.
    pub(crate) fn turn(&mut self) {
        self.mux.handle_input(&mut self.up);
        while self.down.len() < BATCH && self.mux.poll_transmit(&mut self.down).is_some() {}
        while let Some(event) = self.mux.poll_event() {
            if let DeviceEvent::Dial { id, .. } = event {
                self.peers.push(id);
                self.mux.accept(id);
            }
        }
    }

    pub(crate) fn write(&mut self, data: &[u8]) {
        for peer in &self.peers {
            self.mux.write(*peer, data).expect("open");
        }
    }

    /// The services take what has come; says how much.
    pub(crate) fn take(&mut self) -> u64 {
        let mut taken = 0;
        for peer in &self.peers {
            while let Some(piece) = self.mux.take(*peer) {
                let len = piece.len();
                std::hint::black_box(&piece);
                drop(piece);
                self.mux.consumed(self.now, *peer, len);
                taken += len as u64;
            }
        }
        taken
    }
}
