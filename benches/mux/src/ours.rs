//! Our host's core, all of it.

use std::time::{Duration, Instant};

use cabled_usbmux::mux::{ConnectionId, Mux, MuxOptions};
use stats_alloc::Region;

use crate::link::{BATCH, Phone};
use crate::{ALLOCATOR, Host, WRITE, Way};

pub(crate) struct Ours {
    host: Mux,
    phone: Phone,
    now: Instant,
    ids: Vec<ConnectionId>,
    data: Vec<u8>,
    buffer: Vec<u8>,
    /// Bytes that the host's core has allocated and not given back.
    held: i64,
}

impl Ours {
    pub(crate) fn new(streams: u16) -> Self {
        let now = Instant::now();
        let mut ours = Self {
            host: Mux::new(now, MuxOptions::default()),
            phone: Phone::new(now),
            now,
            ids: Vec::with_capacity(usize::from(streams)),
            data: vec![7; WRITE],
            buffer: vec![0; WRITE],
            held: 0,
        };
        while ours.pump() {}
        for port in 1..=streams {
            let id = ours.counted(|host, now| host.connect(now, port, Duration::from_secs(10)));
            ours.ids.push(id.expect("ready"));
        }
        while ours.pump() {}
        assert_eq!(ours.phone.peers.len(), usize::from(streams));
        ours
    }

    /// Does something with the host's core and keeps account of its memory.
    fn counted<T>(&mut self, act: impl FnOnce(&mut Mux, Instant) -> T) -> T {
        let region = Region::new(ALLOCATOR);
        let result = act(&mut self.host, self.now);
        let change = region.change();
        self.held += change.bytes_allocated as i64 - change.bytes_deallocated as i64;
        result
    }

    /// One trip in both directions; whether anything moved.
    fn pump(&mut self) -> bool {
        let mut up = std::mem::take(&mut self.phone.up);
        self.counted(|host, _| {
            while up.len() < BATCH && host.poll_transmit(&mut up).is_some() {}
            while host.poll_event().is_some() {}
        });
        self.phone.up = up;
        let mut moved = !self.phone.up.is_empty();
        self.phone.turn();
        moved |= !self.phone.down.is_empty();
        let mut down = std::mem::take(&mut self.phone.down);
        self.counted(|host, now| host.handle_input(now, &mut down));
        self.phone.down = down;
        moved
    }

    fn write(&mut self) {
        for id in &self.ids {
            self.host.write(self.now, *id, &self.data).expect("open");
        }
    }

    fn read(&mut self) -> u64 {
        let mut read = 0;
        for id in &self.ids {
            loop {
                let mut room = &mut self.buffer[..];
                let came = self.host.read(self.now, *id, &mut room).expect("open");
                std::hint::black_box(&self.buffer);
                read += came as u64;
                if came == 0 {
                    break;
                }
            }
        }
        read
    }
}

impl Host for Ours {
    fn turn(&mut self, way: Way) -> u64 {
        match way {
            Way::ToPhone => {
                self.write();
                self.pump();
                self.phone.take()
            }
            Way::ToHost => {
                self.phone.write(&self.data);
                self.pump();
                self.read()
            }
        }
    }
}

/// Bytes of memory per connection of a host whose connections have all carried something both ways and now rest.
pub(crate) fn idle(connections: u16) -> f64 {
    let mut ours = Ours::new(connections);
    let data = ours.data.clone();
    for id in ours.ids.clone() {
        let written = ours.counted(|host, now| host.write(now, id, &data));
        assert_eq!(written, Ok(WRITE));
    }
    ours.phone.write(&data);
    let mut left = 2 * u64::from(connections) * WRITE as u64;
    while left > 0 {
        ours.pump();
        left -= ours.phone.take();
        let mut buffer = std::mem::take(&mut ours.buffer);
        for id in ours.ids.clone() {
            loop {
                let mut room = &mut buffer[..];
                let came = ours.counted(|host, now| host.read(now, id, &mut room)).expect("open");
                left -= came as u64;
                if came == 0 {
                    break;
                }
            }
        }
        ours.buffer = buffer;
    }
    while ours.pump() {}
    ours.held as f64 / f64::from(connections)
}
