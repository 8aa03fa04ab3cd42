//! USB/IP: a kernel that sends what it likes to a phone on its bus.

use std::collections::HashMap;
use std::sync::Arc;

use cabled_usbmux::mux::frame::{Flags, Frame, MAGIC_HOST, Numbers, Segment};
use cabled_virtualdevice::Direction;
use cabled_virtualdevice::usb::{Mode, Speed, UsbFault, UsbOptions, UsbPhone};
use cabled_virtualdevice::usbip::serve;
use cabled_wire::ids::Udid;
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::script::{Script, pieces};

const HEADER: usize = 48;
/// Pieces that a stream is sent in before the rest goes out at once, and requests of a script: a run has to be short.
const MAX_PIECES: usize = 40;
const MAX_REQUESTS: u32 = 120;

/// Says what it is told, at every second port.
#[derive(Debug)]
struct Echo;

impl Connect for Echo {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move {
            if port % 2 == 1 {
                return Err(ConnectError::Refused { port });
            }
            let (ours, theirs) = duplex(4096);
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(theirs);
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
            Ok(Box::new(ours) as BoxStream)
        })
    }

    fn udid(&self) -> Option<&Udid> {
        None
    }
}

/// One request, as a second reader of the same bytes has it.
#[derive(Debug)]
struct Asked {
    reads: bool,
    length: u32,
    /// The number of an unlink's victim.
    victim: Option<u32>,
}

fn field(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes[at * 4..at * 4 + 4].try_into().expect("four bytes");
    u32::from_be_bytes(bytes)
}

/// The requests in the stream, as far as they are what they should be; `None` when a number occurs twice.
fn requests(mut stream: &[u8]) -> Option<HashMap<u32, Asked>> {
    let mut all = HashMap::new();
    while let Some((header, rest)) = stream.split_at_checked(HEADER) {
        stream = rest;
        let [command, number, _, direction, _] = [0, 1, 2, 3, 4].map(|at| field(header, at));
        let asked = match command {
            1 => Asked {
                reads: direction == 1,
                length: field(header, 6),
                victim: None,
            },
            2 => Asked {
                reads: false,
                length: 0,
                victim: Some(field(header, 5)),
            },
            _ => break,
        };
        if command == 1 && !asked.reads {
            let len = usize::try_from(asked.length).expect("32 bits");
            stream = stream.get(len..).unwrap_or_default();
        }
        if all.insert(number, asked).is_some() {
            return None;
        }
    }
    Some(all)
}

/// Every answer is to a request, once, and no longer than there was room for.
fn check(mut answers: &[u8], mut asked: HashMap<u32, Asked>) {
    while !answers.is_empty() {
        let (header, rest) = answers.split_at_checked(HEADER).expect("a whole header");
        answers = rest;
        let [command, number, device, direction, endpoint] = [0, 1, 2, 3, 4].map(|at| field(header, at));
        assert_eq!((device, direction, endpoint), (0, 0, 0));
        let request = asked
            .remove(&number)
            .expect("a number that was asked, and not answered yet");
        let status = i32::from_ne_bytes(field(header, 5).to_ne_bytes());
        match (command, request.victim) {
            (3, None) => {
                assert!([0, -32, -71, -75, -90, -108].contains(&status), "status {status}");
                let actual = field(header, 6);
                assert!(actual <= request.length, "{actual} of {}", request.length);
                assert!(status == 0 || actual == 0 || !request.reads, "bytes of what failed");
                let data = if request.reads {
                    usize::try_from(actual).expect("32 bits")
                } else {
                    0
                };
                answers = answers.get(data..).expect("the bytes it announces");
            }
            (4, Some(victim)) => {
                assert!(status == 0 || status == -104, "status {status}");
                if status == -104 {
                    let gone = asked.remove(&victim).expect("what is given up was not answered");
                    assert!(gone.victim.is_none());
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn setup(script: &mut Script<'_>) -> [u8; 8] {
    match script.byte() % 12 {
        0 | 1 => [0, 9, 4, 0, 0, 0, 0, 0],
        2 => [0, 9, script.byte(), 0, 0, 0, 0, 0],
        3 => [0x80, 6, script.byte() % 8, script.byte() % 16, 9, 4, 255, 0],
        4 => [1, 11, script.byte() % 4, 0, script.byte() % 4, 0, 0, 0],
        5 => [
            2,
            1,
            0,
            0,
            [4, 0x85, 0, script.byte()][usize::from(script.byte() % 4)],
            0,
            0,
            0,
        ],
        6 => [2, 3, 0, 0, [4, 0x85][usize::from(script.byte() % 2)], 0, 0, 0],
        7 => [0xc0, 0x45, 0, 0, 0, 0, 4, 0],
        // Rarely: it is the end.
        8 if script.byte() > 250 => [0xc0, 0x52, 0, 0, script.byte() % 8, 0, 1, 0],
        _ => {
            let [a, b, c, d] = script.long().to_le_bytes();
            let [e, f, g, h] = script.long().to_le_bytes();
            [a, b, c, d, e, f, g, h]
        }
    }
}

/// What a host's multiplexer might send.
fn frame(script: &mut Script<'_>, number: u16) -> Vec<u8> {
    let numbers = Numbers {
        magic: MAGIC_HOST,
        tx_seq: number,
        rx_seq: 0,
    };
    let mut out = bytes::BytesMut::new();
    let kind = script.byte();
    match kind % 8 {
        0 => Frame::Version { major: 2, minor: 0 }.encode(None, &mut out),
        1 => Frame::Setup { value: vec![7].into() }.encode(Some(numbers), &mut out),
        2..7 => {
            let payload = vec![kind; usize::from(script.byte()) * usize::from(kind % 8)];
            let segment = Segment {
                source: 1 + u16::from(script.byte() % 3),
                destination: u16::from(script.byte() % 3),
                seq: u32::from(script.byte()),
                ack: 1,
                flags: [Flags::SYN, Flags::ACK, Flags::ACK, Flags::RST][usize::from(script.byte() % 4)],
                window: 512,
            };
            Frame::Tcp {
                segment,
                payload: payload.into(),
            }
            .encode(Some(numbers), &mut out);
        }
        _ => out.extend_from_slice(script.take(usize::from(kind))),
    }
    out.to_vec()
}

/// The bytes that a script makes a kernel send.
fn conversation(script: &mut Script<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut number = 0_u32;
    while script.goes_on() && number < MAX_REQUESTS {
        number += 1;
        let kind = script.byte();
        let (endpoint, reads, setup, data, length) = match kind % 8 {
            0 | 1 => {
                let setup = setup(script);
                let length = u32::from(u16::from_le_bytes([setup[6], setup[7]]));
                let reads = setup[0] & 0x80 != 0;
                let data = if reads {
                    Vec::new()
                } else {
                    vec![0; usize::try_from(length).expect("16 bits")]
                };
                (0, reads, setup, data, length)
            }
            2..5 => {
                let data = frame(script, number.to_le_bytes()[0].into());
                let length = u32::try_from(data.len()).expect("short");
                (4, false, [0; 8], data, length)
            }
            5 | 6 => {
                let endpoint = [5, 5, 5, 1, 3, 6, 9, 15][usize::from(script.byte() % 8)];
                (endpoint, true, [0; 8], Vec::new(), u32::from(script.byte()) * 64)
            }
            _ => {
                let victim = number.saturating_sub(u32::from(script.byte() % 16));
                [2, number, 0, 0, 0, victim, 0, 0, 0, 0, 0, 0]
                    .iter()
                    .for_each(|field: &u32| stream.extend(field.to_be_bytes()));
                continue;
            }
        };
        let mut fields = [
            1,
            number,
            0x0001_0002,
            u32::from(reads),
            endpoint,
            u32::from(kind / 8) * 64,
            length,
            0,
            0,
            0,
        ];
        if kind == 255 {
            fields[usize::from(script.byte() % 10)] = script.long();
        }
        fields.iter().for_each(|field| stream.extend(field.to_be_bytes()));
        stream.extend(setup);
        stream.extend(data);
    }
    stream
}

fn phone(choice: u8, script: &mut Script<'_>) -> UsbPhone {
    let speed = [Speed::High, Speed::Full, Speed::Super, Speed::High][usize::from(choice & 3)];
    let mode = Mode::from_number(u16::from(choice >> 2 & 7)).unwrap_or_default();
    let options = UsbOptions::default()
        .with_speed(speed)
        .with_mode(mode)
        .with_serial("0123456789");
    let phone = UsbPhone::new(Arc::new(Echo), options).expect("a phone");
    let (way, after) = (script.byte(), u64::from(script.byte()));
    let direction = if way & 1 == 0 {
        Direction::FromHost
    } else {
        Direction::ToHost
    };
    let fault = match way >> 1 {
        0 => UsbFault::stall(direction, after),
        1 => UsbFault::unplug(direction, after),
        2 => UsbFault::silence(direction, after),
        3 => UsbFault::ShortWrite { after },
        4 => UsbFault::WithholdEnd { messages: 2 },
        5 => UsbFault::SwallowEnd { packets: 1 },
        6 => UsbFault::Split { bytes: 64 },
        7 => UsbFault::refuse_control(1),
        _ => return phone,
    };
    phone.faults().push(fault);
    phone
}

/// One kernel and one phone: either the bytes as they are, or requests that a script makes of them.
///
/// # Panics
/// When an answer is to nothing that was asked, comes twice, or is longer than there was room for.
pub fn usbip_server(data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.byte();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let mut phone = phone(choice, &mut script);
        let cuts = script.take(4);
        let stream = match choice >> 7 {
            0 => conversation(&mut script),
            _ => script.rest().to_vec(),
        };
        let (kernel, ours) = duplex(1 << 20);
        let (mut read, mut write) = tokio::io::split(kernel);
        let mut answers = Vec::new();
        let sending = async {
            let mut left = &stream[..];
            for piece in pieces(&stream, cuts).take(MAX_PIECES) {
                if write.write_all(piece).await.is_err() {
                    return;
                }
                left = &left[piece.len()..];
                tokio::task::yield_now().await;
            }
            if write.write_all(left).await.is_err() {
                return;
            }
            // The services have their say before it is over.
            for _ in 0..16 {
                tokio::task::yield_now().await;
            }
            let _ = write.shutdown().await;
        };
        let serving = async {
            // Whatever it is: it ended.
            let _ = serve(ours, &mut phone).await;
        };
        let (_, (), got) = tokio::join!(sending, serving, read.read_to_end(&mut answers));
        got.expect("memory does not fail");
        if let Some(asked) = requests(&stream) {
            check(&answers, asked);
        }
    });
}
