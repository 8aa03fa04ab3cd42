//! What of `rusbmux` 0.3.0 runs without USB: its packets (built, encoded, decoded) and its router.
//!
//! Its device and its connections cannot be made without an opened USB device: `UsbDevice` has private fields and takes
//! an `AnyDeviceInfo`, whose variants are those of its USB backends, and `UsbDeviceConn` has a private field and is made
//! from a `UsbDevice` only. So what these do per packet is done here, through the same public functions, leaving out the
//! channel to its writer task, its tasks, and its locks: in its favour.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rusbmux::device::packet_router::{PacketRouter, SAsyncPacketRx};
use rusbmux::parser::device_mux::{TcpFlags, UsbDevicePacket};
use rusbmux::usb_backend::MAX_PACKET_PAYLOAD_SIZE;
use stats_alloc::Region;
use tokio::runtime::{Builder, Runtime};

use crate::link::{BATCH, Phone};
use crate::{ALLOCATOR, Host, WRITE, Way};

struct Conn {
    port: u16,
    queue: SAsyncPacketRx,
    sent: u32,
    received: u32,
    /// What the phone has said: its window and the last byte it has.
    window: u32,
    acknowledged: u32,
}

impl Conn {
    fn packet(&self, flags: TcpFlags, out: &mut BytesMut) {
        UsbDevicePacket::builder()
            .header_tcp(0, 0)
            .tcp_header(self.port, self.port, self.sent, self.received, flags)
            .build()
            .encode_into(out);
    }

    fn room(&self) -> usize {
        let room = self.window.saturating_sub(self.sent.wrapping_sub(self.acknowledged));
        (room as usize).min(MAX_PACKET_PAYLOAD_SIZE)
    }

    fn heard(&mut self, packet: &UsbDevicePacket) {
        let header = packet.tcp_hdr.as_ref().expect("of a connection");
        let len = u32::try_from(packet.payload.len()).expect("short");
        self.received = header.sequence_number.wrapping_add(len);
        self.acknowledged = header.acknowledgment_number;
        self.window = u32::from(header.window_size) << 8;
    }
}

pub(crate) struct Peer {
    runtime: Runtime,
    router: PacketRouter,
    conns: Vec<Conn>,
    phone: Phone,
    data: Vec<u8>,
    buffer: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(streams: u16) -> Self {
        let mut peer = Self {
            runtime: Builder::new_current_thread().build().expect("threads"),
            router: PacketRouter::new(),
            conns: Vec::new(),
            phone: Phone::new(Instant::now()),
            data: vec![7; WRITE],
            buffer: vec![0; WRITE],
        };
        let version = UsbDevicePacket::builder()
            .header_version()
            .payload_version(2, 0)
            .build();
        version.encode_into(&mut peer.phone.up);
        peer.phone.turn();
        peer.phone.down.clear();
        let setup = UsbDevicePacket::builder()
            .header_setup()
            .payload_bytes(Bytes::from_static(&[7]))
            .build();
        setup.encode_into(&mut peer.phone.up);
        for port in 1..=streams {
            let conn = Conn {
                port,
                queue: peer.router.register(port),
                sent: 0,
                received: 0,
                window: 0,
                acknowledged: 0,
            };
            conn.packet(TcpFlags::SYN, &mut peer.phone.up);
            peer.conns.push(conn);
        }
        // The dials are accepted in the first turn and answered in the second.
        peer.phone.turn();
        peer.phone.turn();
        peer.receive();
        for conn in &mut peer.conns {
            (conn.sent, conn.received) = (1, 1);
            conn.packet(TcpFlags::ACK, &mut peer.phone.up);
        }
        peer.phone.turn();
        assert_eq!(peer.phone.peers.len(), usize::from(streams));
        peer
    }

    /// As its reader task and its connections do: a packet off the link, through the router to its connection, whose
    /// program takes the bytes; each packet is acknowledged.
    fn receive(&mut self) -> u64 {
        let Self {
            runtime,
            router,
            conns,
            phone,
            buffer,
            ..
        } = self;
        let mut came = 0;
        runtime.block_on(async {
            let arrived = phone.down.split();
            let mut rest: &[u8] = &arrived;
            while !rest.is_empty() {
                let packet = UsbDevicePacket::from_reader(&mut rest).await.expect("ours");
                let at = packet.tcp_hdr.as_ref().map_or(0, |header| header.destination_port);
                router.route(packet).await;
                let conn = &mut conns[usize::from(at) - 1];
                let packet = conn.queue.0.recv().await.expect("open");
                conn.heard(&packet);
                if let Some(bytes) = packet.payload.as_bytes().filter(|bytes| !bytes.is_empty()) {
                    buffer[..bytes.len()].copy_from_slice(bytes);
                    std::hint::black_box(&buffer);
                    came += bytes.len() as u64;
                }
                if conn.sent > 0 {
                    conn.packet(TcpFlags::ACK, &mut phone.up);
                }
            }
        });
        came
    }

    fn send(&mut self) {
        for conn in &mut self.conns {
            let mut rest = &self.data[..];
            while !rest.is_empty() && conn.room() > 0 && self.phone.up.len() < BATCH {
                let (now, later) = rest.split_at(conn.room().min(rest.len()));
                UsbDevicePacket::builder()
                    .header_tcp(0, 0)
                    .tcp_header(conn.port, conn.port, conn.sent, conn.received, TcpFlags::ACK)
                    .payload_bytes(Bytes::copy_from_slice(now))
                    .build()
                    .encode_into(&mut self.phone.up);
                conn.sent = conn.sent.wrapping_add(u32::try_from(now.len()).expect("short"));
                rest = later;
            }
        }
    }
}

impl Host for Peer {
    fn turn(&mut self, way: Way) -> u64 {
        match way {
            Way::ToPhone => {
                self.send();
                self.phone.turn();
                let taken = self.phone.take();
                self.phone.turn();
                self.receive();
                taken
            }
            Way::ToHost => {
                self.phone.write(&self.data);
                self.phone.turn();
                self.receive()
            }
        }
    }
}

/// Bytes of memory per registered connection.
pub(crate) fn idle(connections: u16) -> f64 {
    let region = Region::new(ALLOCATOR);
    let router = PacketRouter::new();
    let queues: Vec<_> = (1..=connections).map(|port| router.register(port)).collect();
    let change = region.change();
    drop(queues);
    (change.bytes_allocated as f64 - change.bytes_deallocated as f64) / f64::from(connections)
}
