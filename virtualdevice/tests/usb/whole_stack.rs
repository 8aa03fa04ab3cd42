//! Our own host's multiplexer over the phone's bulk pipes, with no kernel in between: two minds, one bus.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use cabled_afc::Afc;
use cabled_lockdown::{Escrow, Lockdown, PairOptions, Paired, Trust};
use cabled_usbmux::mux::link::FrameLink;
use cabled_usbmux::mux::{MuxDevice, MuxDriver, MuxHandle, MuxOptions};
use cabled_virtualdevice::mux::DeviceMuxOptions;
use cabled_virtualdevice::usb::{BulkIn, BulkOutcome, Speed, UsbFault, UsbFaults, UsbOptions, UsbPhone};
use cabled_virtualdevice::{Direction, Phone};
use cabled_wire::ids::SystemBuid;
use cabled_wire::io::{Connect, ConnectError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{AMOUNT, ECHO, LIMIT, SOURCE, byte_at, configured, set_configuration};

/// What a host controller does, and nothing more: transfers of a buffer's size in, one per frame out, and the zero-length
/// packets.
pub(crate) struct Bus {
    phone: UsbPhone,
    room: usize,
    out: VecDeque<Bytes>,
}

impl Bus {
    pub(crate) fn new(phone: UsbPhone, room: usize) -> Self {
        Self {
            phone,
            room,
            out: VecDeque::new(),
        }
    }
}

fn broken(outcome: impl std::fmt::Debug) -> io::Error {
    io::Error::other(format!("{outcome:?}"))
}

impl FrameLink for Bus {
    fn poll_receive(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            match ready!(self.phone.poll_bulk_in(cx, 0x85, self.room)) {
                // The end of a message, which says nothing to a host that goes by lengths.
                BulkIn::Data(data) if data.is_empty() => {}
                BulkIn::Data(data) => {
                    input.extend_from_slice(&data);
                    return Poll::Ready(Ok(data.len()));
                }
                other => return Poll::Ready(Err(broken(other))),
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.out.len() {
            0..8 => Poll::Ready(Ok(())),
            _ => self.poll_flush(cx),
        }
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.out.push_back(Bytes::copy_from_slice(frame));
        let packet = usize::from(self.phone.options().speed.bulk_packet());
        if frame.len().is_multiple_of(packet) {
            self.out.push_back(Bytes::new());
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(transfer) = self.out.front() {
            match ready!(self.phone.poll_bulk_out(cx, 0x04, transfer)) {
                BulkOutcome::Taken(taken) if taken == transfer.len() => self.out.pop_front(),
                other => return Poll::Ready(Err(broken(other))),
            };
        }
        Poll::Ready(Ok(()))
    }
}

async fn host(options: UsbOptions, mux: MuxOptions, room: usize) -> (MuxHandle, UsbFaults) {
    let phone = configured(options).await;
    let faults = phone.faults();
    (MuxDriver::spawn_frames(Bus::new(phone, room), mux), faults)
}

/// Sends and gets back that many bytes, and looks at each.
async fn echoes(handle: &MuxHandle, amount: usize) {
    let mut stream = handle.connect(ECHO).await.unwrap();
    let sent: Vec<u8> = (0..amount).map(byte_at).collect();
    let mut got = vec![0; amount];
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let (wrote, read) = timeout(LIMIT, async {
        tokio::join!(write.write_all(&sent), read.read_exact(&mut got))
    })
    .await
    .unwrap();
    wrote.unwrap();
    read.unwrap();
    assert!(got == sent, "every byte is the one that was sent");
}

#[tokio::test]
async fn our_host_pairs_and_reads_files_over_the_bulk_pipes() {
    let phone = Phone::builder().seed(3).build().unwrap();
    let udid = phone.udid().clone();
    let mut usb = UsbPhone::new(Arc::new(phone), UsbOptions::default()).unwrap();
    set_configuration(&mut usb, 4).await;
    let handle = MuxDriver::spawn_frames(Bus::new(usb, 16_384), MuxOptions::default());
    let device: Arc<dyn Connect> = Arc::new(MuxDevice::new(handle, Some(udid)));
    let session = async {
        let mut lockdown = Lockdown::connect(Arc::clone(&device), "test").await.unwrap();
        let mut trust = |_: Trust| ControlFlow::Continue(());
        let options = PairOptions::new(SystemBuid::random());
        let record = lockdown.pair(options, &mut trust).await.unwrap();
        let paired = Paired::new(Arc::clone(&device), record);
        let stream = paired.start_service("com.apple.afc", Escrow::IfNeeded).await.unwrap();
        let afc = Afc::new(stream);
        let contents: Bytes = (0..1_000_000).map(byte_at).collect();
        let mut file = afc.open("/big", cabled_afc::msg::OpenMode::Write).await.unwrap();
        file.write(contents.clone()).await.unwrap();
        file.close().await.unwrap();
        assert!(afc.read_file("/big", 2_000_000).await.unwrap() == contents);
    };
    timeout(LIMIT, session).await.unwrap();
}

#[tokio::test]
async fn frames_of_exactly_so_many_packets_come_through_both_ways() {
    for speed in [Speed::Full, Speed::High, Speed::Super] {
        for frame in [512, 16_384, 49_152] {
            let device = DeviceMuxOptions::default().with_max_frame(frame);
            let options = UsbOptions::default().with_speed(speed).with_mux(device);
            let (handle, _) = host(options, MuxOptions::default().with_max_frame(frame), 16_384).await;
            // So many whole frames, and a little.
            echoes(&handle, (frame - 36) * 20 + 77).await;
        }
    }
}

#[tokio::test]
async fn many_streams_share_the_pipes() {
    let (handle, _) = host(UsbOptions::default(), MuxOptions::default(), 32_768).await;
    let tasks: Vec<_> = (1..=40)
        .map(|n| {
            let handle = handle.clone();
            tokio::spawn(async move { echoes(&handle, 10_000 * n).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut source = handle.connect(SOURCE).await.unwrap();
    let mut got = Vec::new();
    timeout(LIMIT, source.read_to_end(&mut got)).await.unwrap().unwrap();
    assert!(got.len() == AMOUNT && got.iter().enumerate().all(|(at, byte)| *byte == byte_at(at)));
    assert!(matches!(
        handle.connect(1).await,
        Err(ConnectError::Refused { port: 1 })
    ));
}

#[tokio::test]
async fn transfers_that_a_hypervisor_cuts_at_4096_change_nothing() {
    let (handle, faults) = host(UsbOptions::default(), MuxOptions::default(), 16_384).await;
    faults.push(UsbFault::Split { bytes: 4096 });
    echoes(&handle, 500_000).await;
}

#[tokio::test]
async fn a_withheld_end_delays_a_frame_until_the_next_one() {
    let device = DeviceMuxOptions::default().with_max_frame(512);
    let options = UsbOptions::default().with_mux(device);
    let (handle, faults) = host(options, MuxOptions::default(), 16_384).await;
    faults.push(UsbFault::WithholdEnd { messages: 3 });
    echoes(&handle, 50_000).await;
    assert_eq!(faults.pending(), []);
}

#[tokio::test]
async fn a_cable_pulled_in_the_middle_ends_every_stream() {
    for direction in [Direction::FromHost, Direction::ToHost] {
        let (handle, faults) = host(UsbOptions::default(), MuxOptions::default(), 16_384).await;
        faults.push(UsbFault::unplug(direction, 200_000));
        let mut stream = handle.connect(ECHO).await.unwrap();
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let sent = vec![1; 1_000_000];
        let mut got = Vec::new();
        let both = async { tokio::join!(write.write_all(&sent), read.read_to_end(&mut got)) };
        let (wrote, read) = timeout(LIMIT, both).await.unwrap();
        assert!(wrote.is_err() && read.is_err(), "{direction:?}");
        assert!(faults.is_unplugged() && faults.pending().is_empty());
        assert!(matches!(handle.connect(ECHO).await, Err(ConnectError::Gone)));
    }
}
