//! The host's rules for USB transfers on the virtual phone's endpoints: what `UsbBus` does behind nusb, with no kernel.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "test code")]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use cabled_usbmux::mux::{DeviceGone, MuxDriver, MuxHandle, MuxOptions};
use cabled_usbmux::usb::link::{Bulk, Transfer, TransferEnd, Transfers, UsbLink};
use cabled_virtualdevice::Direction;
use cabled_virtualdevice::mux::DeviceMuxOptions;
use cabled_virtualdevice::usb::{
    BulkIn, BulkOutcome, ControlOutcome, Setup, Speed, UsbFault, UsbFaults, UsbOptions, UsbPhone,
};
use cabled_wire::ids::Udid;
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

const IN: u8 = 0x85;
const OUT: u8 = 0x04;
const ECHO: u16 = 7;
const LIMIT: Duration = Duration::from_secs(120);

/// Says back what it hears, at one port.
#[derive(Debug)]
struct Echo(Udid);

impl Connect for Echo {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move {
            if port != ECHO {
                return Err(ConnectError::Refused { port });
            }
            let (ours, theirs) = duplex(64 << 10);
            let (mut reader, mut writer) = tokio::io::split(ours);
            tokio::spawn(async move { tokio::io::copy(&mut reader, &mut writer).await });
            Ok(Box::new(theirs) as BoxStream)
        })
    }

    fn udid(&self) -> Option<&Udid> {
        Some(&self.0)
    }
}

/// One endpoint of the phone, as a host controller shows it.
struct Endpoint {
    phone: Arc<Mutex<UsbPhone>>,
    address: u8,
    packet: usize,
    waiting: VecDeque<Vec<u8>>,
    done: VecDeque<Transfer>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({:#04x})", self.address)
    }
}

impl Endpoint {
    fn poll_first(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<(usize, TransferEnd)> {
        let mut phone = self.phone.lock().unwrap();
        if self.address == OUT {
            let outcome = ready!(phone.poll_bulk_out(cx, OUT, &Bytes::copy_from_slice(buffer)));
            return Poll::Ready(match outcome {
                BulkOutcome::Taken(taken) => (taken, TransferEnd::Complete),
                BulkOutcome::Stall => (0, TransferEnd::Stalled),
                BulkOutcome::Gone => (0, TransferEnd::Gone),
                BulkOutcome::NoEndpoint => (0, TransferEnd::Failed("no endpoint".into())),
                other => (0, TransferEnd::Failed(format!("{other:?}"))),
            });
        }
        Poll::Ready(match ready!(phone.poll_bulk_in(cx, IN, buffer.len())) {
            BulkIn::Data(data) => {
                buffer.clear();
                buffer.extend_from_slice(&data);
                (data.len(), TransferEnd::Complete)
            }
            BulkIn::Stall => (0, TransferEnd::Stalled),
            BulkIn::Gone => (0, TransferEnd::Gone),
            other => (0, TransferEnd::Failed(format!("{other:?}"))),
        })
    }
}

impl Bulk for Endpoint {
    fn packet_size(&self) -> usize {
        self.packet
    }

    fn pending(&self) -> usize {
        self.waiting.len() + self.done.len()
    }

    fn submit(&mut self, buffer: Vec<u8>) {
        self.waiting.push_back(buffer);
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Option<Transfer>> {
        if let Some(done) = self.done.pop_front() {
            return Poll::Ready(Some(done));
        }
        let Some(mut buffer) = self.waiting.pop_front() else {
            return Poll::Ready(None);
        };
        match self.poll_first(cx, &mut buffer) {
            Poll::Ready((moved, end)) => Poll::Ready(Some(Transfer { buffer, moved, end })),
            Poll::Pending => {
                self.waiting.push_front(buffer);
                Poll::Pending
            }
        }
    }

    fn cancel_all(&mut self) {
        self.phone.lock().unwrap().cancel_bulk_in(self.address);
        self.done.extend(self.waiting.drain(..).map(|buffer| Transfer {
            buffer,
            moved: 0,
            end: TransferEnd::Cancelled,
        }));
    }

    fn poll_clear_halt(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut phone = self.phone.lock().unwrap();
        let cleared = phone.poll_control(cx, Setup::clear_halt(self.address), &[]);
        cleared.map(|outcome| {
            assert_eq!(outcome, ControlOutcome::Done);
            Ok(())
        })
    }
}

struct Cable {
    handle: MuxHandle,
    faults: UsbFaults,
    phone: Arc<Mutex<UsbPhone>>,
}

async fn plugged_in(speed: Speed, host: MuxOptions, device: DeviceMuxOptions) -> Cable {
    let udid: Udid = "00008030001a2b3c4d5e6f70".parse().unwrap();
    let options = UsbOptions::default().with_speed(speed).with_mux(device);
    let mut phone = UsbPhone::new(Arc::new(Echo(udid)), options).unwrap();
    phone.control(Setup::set_configuration(4), &[]).await;
    let faults = phone.faults();
    let phone = Arc::new(Mutex::new(phone));
    let endpoint = |address| Endpoint {
        phone: Arc::clone(&phone),
        address,
        packet: match speed {
            Speed::Super => 1024,
            _ => 512,
        },
        waiting: VecDeque::new(),
        done: VecDeque::new(),
    };
    let link = UsbLink::new(endpoint(IN), endpoint(OUT), Transfers::default()).unwrap();
    let handle = MuxDriver::spawn_frames(link, host);
    timeout(LIMIT, handle.ready()).await.unwrap().unwrap();
    Cable { handle, faults, phone }
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|n| u8::try_from((n * 7 + n / 251 + seed) % 256).unwrap())
        .collect()
}

/// Sends and reads back at the same time; everything has to be the same.
async fn echo(handle: &MuxHandle, amount: usize, seed: usize) -> io::Result<()> {
    let stream = handle.connect(ECHO).await.map_err(io::Error::other)?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sent = pattern(amount, seed);
    let mut got = vec![0; amount];
    let (read, written) = timeout(LIMIT, async {
        tokio::join!(reader.read_exact(&mut got), writer.write_all(&sent))
    })
    .await
    .unwrap();
    read?;
    written?;
    assert!(got == sent, "the data is not the same");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn frames_of_every_size_around_packets_and_transfers_arrive_at_both_speeds() {
    for speed in [Speed::High, Speed::Super] {
        for frame in [512, 513, 1024, 16_384, 32_752, 32_768, 49_152] {
            let host = MuxOptions::default().with_max_frame(frame);
            let device = DeviceMuxOptions::default().with_max_frame(frame);
            let cable = plugged_in(speed, host, device).await;
            echo(&cable.handle, 300_000, frame).await.unwrap();
            let stats = cable.phone.lock().unwrap().stats();
            assert_eq!((stats.glued_frames, stats.overruns), (0, 0), "frames of {frame} bytes");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_connections_at_once_carry_their_own_bytes() {
    let cable = plugged_in(Speed::High, MuxOptions::default(), DeviceMuxOptions::default()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let handle = cable.handle.clone();
        tasks.spawn(async move { echo(&handle, 20_000 + n * 1111, n).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn transfers_cut_by_a_hypervisor_and_ends_that_never_come_change_nothing() {
    for fault in [
        UsbFault::Split { bytes: 4096 },
        UsbFault::Split { bytes: 512 },
        UsbFault::WithholdEnd { messages: 50 },
    ] {
        let device = DeviceMuxOptions::default().with_max_frame(16_384);
        let cable = plugged_in(Speed::High, MuxOptions::default(), device).await;
        cable.faults.push(fault.clone());
        echo(&cable.handle, 400_000, 3).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_stall_each_way_is_cleared_and_no_byte_is_lost() {
    let cable = plugged_in(Speed::High, MuxOptions::default(), DeviceMuxOptions::default()).await;
    for direction in [Direction::ToHost, Direction::FromHost] {
        cable.faults.push(UsbFault::stall(direction, 100_000));
        echo(&cable.handle, 500_000, 5).await.unwrap();
        assert!(cable.faults.pending().is_empty(), "{direction:?} did not stall");
    }
    // The second one is one too many.
    cable.faults.push(UsbFault::stall(Direction::ToHost, 100_000));
    let error = echo(&cable.handle, 500_000, 6).await.unwrap_err();
    assert!(DeviceGone::find(&error).is_some(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cable_pulled_at_any_byte_ends_the_streams_with_the_device_gone() {
    for direction in [Direction::ToHost, Direction::FromHost] {
        for after in [1, 511, 512, 40_000, 333_333] {
            let cable = plugged_in(Speed::High, MuxOptions::default(), DeviceMuxOptions::default()).await;
            cable.faults.push(UsbFault::unplug(direction, after));
            let error = echo(&cable.handle, 1_000_000, 7).await.unwrap_err();
            let gone = DeviceGone::find(&error).is_some() || error.to_string().contains("gone");
            assert!(gone, "{direction:?} after {after}: {error:?}");
            timeout(LIMIT, cable.handle.gone()).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_is_cut_without_a_word_never_passes_for_data() {
    let cable = plugged_in(Speed::High, MuxOptions::default(), DeviceMuxOptions::default()).await;
    cable.faults.push(UsbFault::ShortWrite { after: 100_000 });
    let error = pin!(echo(&cable.handle, 500_000, 8)).await.unwrap_err();
    assert!(DeviceGone::find(&error).is_some(), "{error:?}");
}
