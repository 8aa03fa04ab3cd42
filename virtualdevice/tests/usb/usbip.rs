//! USB/IP in bytes: a kernel's side that shares no code with ours.

use std::collections::HashMap;

use cabled_virtualdevice::Direction;
use cabled_virtualdevice::usb::{Departure, Mode, UsbFault, UsbFaults, UsbOptions, UsbPhone};
use cabled_virtualdevice::usbip::{Served, UsbipError, serve};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{LIMIT, built, from_phone, usb, usb_with};

pub(crate) const STALL: i32 = -32;
const UNLINKED: i32 = -104;

/// What came back for one request.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) sequence: u32,
    pub(crate) status: i32,
    pub(crate) actual: usize,
    pub(crate) data: Vec<u8>,
}

/// A kernel of bytes: numbers its requests and keeps in mind which of them read.
pub(crate) struct Kernel<S> {
    pub(crate) stream: S,
    sequence: u32,
    reads: HashMap<u32, bool>,
}

/// The bytes of a request.
pub(crate) fn submit(sequence: u32, endpoint: u8, reads: bool, length: usize, setup: [u8; 8], flags: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [
        1,
        sequence,
        0x0001_0002,
        u32::from(reads),
        u32::from(endpoint),
        flags,
        length as u32,
        0,
        0,
        0,
    ] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(setup);
    bytes
}

impl<S: AsyncRead + AsyncWrite + Unpin> Kernel<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            sequence: 0,
            reads: HashMap::new(),
        }
    }

    pub(crate) async fn send(&mut self, endpoint: u8, reads: bool, length: usize, setup: [u8; 8], data: &[u8]) -> u32 {
        self.sequence += 1;
        self.reads.insert(self.sequence, reads);
        let mut bytes = submit(self.sequence, endpoint, reads, length, setup, 0x200);
        bytes.extend(data);
        self.stream.write_all(&bytes).await.unwrap();
        self.sequence
    }

    /// The next answer, whatever it answers.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut header = [0; 48];
        timeout(LIMIT, self.stream.read_exact(&mut header))
            .await
            .unwrap()
            .unwrap();
        let field = |at: usize| u32::from_be_bytes(header[at * 4..at * 4 + 4].try_into().unwrap());
        let sequence = field(1);
        let submitted = match field(0) {
            3 => true,
            4 => false,
            other => panic!("command {other}"),
        };
        let actual = if submitted { field(6) as usize } else { 0 };
        let reads = submitted && self.reads.remove(&sequence).unwrap();
        let mut data = vec![0; if reads { actual } else { 0 }];
        self.stream.read_exact(&mut data).await.unwrap();
        Answer {
            sequence,
            status: field(5) as i32,
            actual,
            data,
        }
    }

    pub(crate) async fn control(&mut self, setup: [u8; 8]) -> Answer {
        let length = usize::from(u16::from_le_bytes([setup[6], setup[7]]));
        self.send(0, setup[0] & 0x80 != 0, length, setup, &[]).await;
        self.answer().await
    }

    pub(crate) async fn bulk_out(&mut self, endpoint: u8, data: &[u8]) -> Answer {
        self.send(endpoint, false, data.len(), [0; 8], data).await;
        self.answer().await
    }

    pub(crate) async fn bulk_in(&mut self, endpoint: u8, room: usize) -> u32 {
        self.send(endpoint, true, room, [0; 8], &[]).await
    }

    pub(crate) async fn unlink(&mut self, victim: u32) -> u32 {
        self.sequence += 1;
        let mut bytes = Vec::new();
        for field in [2, self.sequence, 0x0001_0002, 0, 0, victim] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend([0; 24]);
        self.stream.write_all(&bytes).await.unwrap();
        self.sequence
    }

    /// As Linux begins: descriptors, strings, a configuration, with looks at what comes back.
    pub(crate) async fn enumerate(&mut self, configuration: u8) {
        let device = self.control([0x80, 6, 0, 1, 0, 0, 18, 0]).await;
        assert_eq!((device.status, device.actual), (0, 18));
        for index in 0..device.data[17] {
            let head = self.control([0x80, 6, index, 2, 0, 0, 9, 0]).await.data;
            let whole = self.control([0x80, 6, index, 2, 0, 0, head[2], head[3]]).await.data;
            assert_eq!(whole.len(), usize::from(u16::from_le_bytes([head[2], head[3]])));
        }
        for index in 0..=3 {
            assert_eq!(self.control([0x80, 6, index, 3, 9, 4, 255, 0]).await.status, 0);
        }
        let set = self.control([0, 9, configuration, 0, 0, 0, 0, 0]).await;
        assert_eq!((set.status, set.actual), (0, 0));
    }
}

type Serving = JoinHandle<(UsbPhone, Result<Served, UsbipError>)>;

pub(crate) fn plug(mut phone: UsbPhone) -> (Kernel<DuplexStream>, UsbFaults, Serving) {
    let (theirs, ours) = duplex(1 << 20);
    let faults = phone.faults();
    let serving = tokio::spawn(async move {
        let served = serve(ours, &mut phone).await;
        (phone, served)
    });
    (Kernel::new(theirs), faults, serving)
}

#[tokio::test]
async fn a_kernel_enumerates_the_phone_and_speaks_to_its_multiplexer() {
    let (mut kernel, _, serving) = plug(usb());
    kernel.enumerate(4).await;
    // As usbmuxd has it: three buffers wait before anything is said.
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(kernel.bulk_in(5, 16_384).await);
    }
    let taken = kernel.bulk_out(4, &built("version-request")).await;
    assert_eq!((taken.status, taken.actual), (0, 20));
    let version = kernel.answer().await;
    assert_eq!((version.sequence, version.data), (waiting[0], built("version-reply-2")));
    kernel.bulk_out(4, &built("setup")).await;
    kernel.bulk_out(4, &built("syn")).await;
    let answer = kernel.answer().await;
    assert_eq!((answer.sequence, answer.data), (waiting[1], from_phone("syn-ack")));
    kernel.bulk_out(4, &built("ack")).await;
    drop(kernel);
    assert_eq!(serving.await.unwrap().1.unwrap(), Served::HostLeft);
}

#[tokio::test]
async fn requests_that_are_given_up_are_answered_with_104_and_others_with_0() {
    let (mut kernel, _, _serving) = plug(usb());
    kernel.enumerate(4).await;
    let [first, second, interrupt] = [
        kernel.bulk_in(5, 512).await,
        kernel.bulk_in(5, 512).await,
        kernel.bulk_in(3, 64).await,
    ];
    for victim in [first, interrupt] {
        let sequence = kernel.unlink(victim).await;
        let answer = kernel.answer().await;
        assert_eq!((answer.sequence, answer.status), (sequence, UNLINKED));
    }
    // The one that is left gets what comes.
    kernel.bulk_out(4, &built("version-request")).await;
    assert_eq!(kernel.answer().await.sequence, second);
    for gone in [first, second, 9999] {
        kernel.unlink(gone).await;
        assert_eq!(kernel.answer().await.status, 0, "{gone}");
    }
}

#[tokio::test]
async fn stalls_and_missing_endpoints_have_the_statuses_of_linux() {
    let (mut kernel, faults, _serving) = plug(usb());
    assert_eq!(kernel.control([0xc0, 0x99, 0, 0, 0, 0, 4, 0]).await.status, STALL);
    kernel.bulk_in(5, 512).await;
    assert_eq!(kernel.answer().await.status, -71, "not configured");
    kernel.enumerate(3).await;
    faults.push(UsbFault::stall(Direction::FromHost, 0));
    let stalled = kernel.bulk_out(4, &built("version-request")).await;
    assert_eq!((stalled.status, stalled.actual), (STALL, 0));
    assert_eq!(kernel.control([2, 1, 0, 0, 4, 0, 0, 0]).await.status, 0);
    assert_eq!(kernel.bulk_out(4, &built("version-request")).await.status, 0);
    // A buffer that is no multiple of the packet size, and too small.
    kernel.bulk_in(5, 19).await;
    assert_eq!(kernel.answer().await.status, -75);
}

#[tokio::test]
async fn a_frame_fills_whole_buffers_and_ends_with_an_empty_transfer() {
    let (mut kernel, _, _serving) = plug(usb());
    kernel.enumerate(4).await;
    for frame in ["version-request", "setup", "syn", "ack"] {
        kernel.bulk_out(4, &built(frame)).await;
    }
    for _ in 0..2 {
        kernel.bulk_in(5, 512).await;
        kernel.answer().await;
    }
    // An echo of 988 bytes makes a frame of 1024.
    let mut frame = built("ack");
    frame[4..8].copy_from_slice(&1024_u32.to_be_bytes());
    frame.resize(1024, 7);
    // The host asks for the zero-length packet with a flag, as programs may.
    let mut bytes = submit(900, 4, false, frame.len(), [0; 8], 0x40);
    bytes.extend(&frame);
    kernel.reads.insert(900, false);
    kernel.stream.write_all(&bytes).await.unwrap();
    assert_eq!(kernel.answer().await.actual, 1024);
    let mut lengths = Vec::new();
    while lengths.iter().sum::<usize>() < 1024 {
        kernel.bulk_in(5, 512).await;
        lengths.push(kernel.answer().await.actual);
        lengths.retain(|len| *len != 36);
    }
    kernel.bulk_in(5, 512).await;
    lengths.push(kernel.answer().await.actual);
    assert_eq!(lengths, [512, 512, 0]);
}

#[tokio::test]
async fn another_mode_is_answered_before_the_phone_leaves() {
    let (mut kernel, _, serving) = plug(usb());
    kernel.enumerate(4).await;
    kernel.bulk_in(5, 512).await;
    let answer = kernel.control([0xc0, 0x52, 0, 0, 3, 0, 1, 0]).await;
    assert_eq!((answer.status, &answer.data[..]), (0, &[0][..]));
    assert_eq!(kernel.answer().await.status, -108, "what waited ends with the device");
    assert_eq!(kernel.stream.read(&mut [0]).await.unwrap(), 0);
    let (mut phone, served) = serving.await.unwrap();
    assert_eq!(served.unwrap(), Served::Departed(Departure::ModeSwitch(Mode::Ncm)));
    phone.replug();
    let (mut kernel, ..) = plug(phone);
    assert_eq!(kernel.control([0x80, 6, 0, 1, 0, 0, 18, 0]).await.data[17], 5);
}

#[tokio::test]
async fn a_pulled_cable_ends_the_conversation_at_once() {
    let (mut kernel, faults, serving) = plug(usb_with(UsbOptions::default()));
    kernel.enumerate(4).await;
    kernel.bulk_in(5, 512).await;
    faults.unplug();
    let (_, served) = timeout(LIMIT, serving).await.unwrap().unwrap();
    assert_eq!(served.unwrap(), Served::Departed(Departure::Unplugged));
}

#[tokio::test]
async fn a_silent_phone_leaves_requests_waiting_which_the_kernel_may_give_up() {
    let (mut kernel, faults, _serving) = plug(usb());
    kernel.enumerate(4).await;
    faults.push(UsbFault::silence(Direction::FromHost, 0));
    let version = built("version-request");
    let out = kernel.send(4, false, version.len(), [0; 8], &version).await;
    let get_mode = kernel.send(0, true, 4, [0xc0, 0x45, 0, 0, 0, 0, 4, 0], &[]).await;
    for victim in [out, get_mode] {
        kernel.unlink(victim).await;
        assert_eq!(kernel.answer().await.status, UNLINKED);
    }
    let get_mode = kernel.send(0, true, 4, [0xc0, 0x45, 0, 0, 0, 0, 4, 0], &[]).await;
    faults.heal();
    assert_eq!(kernel.answer().await.sequence, get_mode);
}
