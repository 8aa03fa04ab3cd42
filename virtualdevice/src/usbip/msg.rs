//! Messages of USB/IP, all integers big-endian, as the kernel's public documentation lays them out.

use bytes::{BufMut, BytesMut};
use cabled_wire::{Reader, WireError};

use super::UsbipError;

/// Bytes of every header once a device is imported.
pub(super) const HEADER: usize = 48;
/// Version 1.1.1 of the protocol.
pub(super) const VERSION: u16 = 0x0111;

mod command {
    pub(super) const SUBMIT: u32 = 1;
    pub(super) const UNLINK: u32 = 2;
    pub(super) const RETURN_SUBMIT: u32 = 3;
    pub(super) const RETURN_UNLINK: u32 = 4;
}

/// Codes of what is said before a device is imported.
mod operation {
    pub(super) const REQUEST_LIST: u16 = 0x8005;
    pub(super) const REPLY_LIST: u16 = 0x0005;
    pub(super) const REQUEST_IMPORT: u16 = 0x8003;
    pub(super) const REPLY_IMPORT: u16 = 0x0003;
}

/// Results of transfers, in the numbers of Linux.
pub(super) mod status {
    pub(crate) const OK: i32 = 0;
    pub(crate) const STALL: i32 = -32;
    /// Nobody answers at that endpoint.
    pub(crate) const PROTOCOL: i32 = -71;
    pub(crate) const OVERFLOW: i32 = -75;
    pub(crate) const TOO_LONG: i32 = -90;
    pub(crate) const UNLINKED: i32 = -104;
    pub(crate) const GONE: i32 = -108;
}

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Out,
    In,
}

/// A request for one transfer. The bytes of an OUT transfer follow the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Submit {
    pub(super) sequence: u32,
    pub(super) way: Way,
    /// Endpoint number without direction, 0 to 15.
    pub(super) endpoint: u8,
    pub(super) flags: u32,
    /// Room for an IN transfer, or bytes of an OUT transfer.
    pub(super) length: u32,
    /// As the host has it: 0 or all ones, for there is no isochronous endpoint.
    pub(super) packets: u32,
    pub(super) setup: [u8; 8],
}

impl Submit {
    /// The transfer ends with a short packet, whatever its length.
    const ZERO_PACKET: u32 = 0x40;

    pub(super) fn wants_zero_packet(&self) -> bool {
        self.flags & Self::ZERO_PACKET != 0
    }
}

/// What a host sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Submit(Submit),
    /// Gives up the request with number `victim`.
    Unlink {
        sequence: u32,
        victim: u32,
    },
}

impl Command {
    pub(super) fn decode(header: &[u8]) -> Result<Self, UsbipError> {
        let mut r = Reader::new(header);
        let [command, sequence, _device, direction, endpoint] = [
            r.u32_be("command")?,
            r.u32_be("seqnum")?,
            r.u32_be("devid")?,
            r.u32_be("direction")?,
            r.u32_be("ep")?,
        ];
        if command == command::UNLINK {
            let victim = r.u32_be("unlink seqnum")?;
            return Ok(Self::Unlink { sequence, victim });
        }
        if command != command::SUBMIT {
            return Err(UsbipError::Command { command });
        }
        let way = match direction {
            0 => Way::Out,
            1 => Way::In,
            value => return Err(invalid("direction", value)),
        };
        let endpoint = match u8::try_from(endpoint) {
            Ok(number @ 0..=15) => number,
            _ => return Err(invalid("ep", endpoint)),
        };
        let flags = r.u32_be("transfer_flags")?;
        let length = r.u32_be("transfer_buffer_length")?;
        let _start_frame = r.u32_be("start_frame")?;
        let packets = r.u32_be("number_of_packets")?;
        let _interval = r.u32_be("interval")?;
        let setup = r.array("setup")?;
        r.finish("usbip header")?;
        if i32::try_from(length).is_err() {
            return Err(invalid("transfer_buffer_length", length));
        }
        if packets != 0 && packets != u32::MAX {
            return Err(UsbipError::Isochronous { endpoint });
        }
        Ok(Self::Submit(Submit {
            sequence,
            way,
            endpoint,
            flags,
            length,
            packets,
            setup,
        }))
    }
}

fn invalid(what: &'static str, value: u32) -> UsbipError {
    UsbipError::Wire(WireError::Invalid {
        what,
        value: u64::from(value),
    })
}

fn header(out: &mut BytesMut, command: u32, sequence: u32) {
    out.put_u32(command);
    out.put_u32(sequence);
    // Device, direction and endpoint say nothing in an answer.
    out.put_bytes(0, 12);
}

/// Answers a request. `data` are the bytes of an IN transfer, `taken` the number of those of an OUT transfer.
pub(super) fn return_submit(out: &mut BytesMut, of: &Submit, status: i32, taken: usize, data: &[u8]) {
    let actual = if of.way == Way::In { data.len() } else { taken };
    header(out, command::RETURN_SUBMIT, of.sequence);
    out.put_i32(status);
    out.put_u32(u32::try_from(actual).unwrap_or(0));
    out.put_u32(0);
    out.put_u32(of.packets);
    out.put_u32(0);
    out.put_bytes(0, 8);
    if of.way == Way::In {
        out.put_slice(data);
    }
}

/// Answers the wish to give up a request.
pub(super) fn return_unlink(out: &mut BytesMut, sequence: u32, status: i32) {
    header(out, command::RETURN_UNLINK, sequence);
    out.put_i32(status);
    out.put_bytes(0, 24);
}

/// What a host says before a device is imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    List,
    /// The device with this bus id.
    Import {
        bus_id: String,
    },
}

/// Bytes of a bus id, NUL-padded.
const BUS_ID: usize = 32;
/// Bytes of a path, NUL-padded.
const PATH: usize = 256;

impl Operation {
    /// Bytes of the header.
    pub(super) const HEADER: usize = 8;

    /// How many bytes follow a header.
    pub(super) fn body(header: [u8; Self::HEADER]) -> Result<usize, UsbipError> {
        let [v0, v1, c0, c1, ..] = header;
        let version = u16::from_be_bytes([v0, v1]);
        let code = u16::from_be_bytes([c0, c1]);
        match code {
            _ if version != VERSION => Err(UsbipError::Version { version }),
            operation::REQUEST_LIST => Ok(0),
            operation::REQUEST_IMPORT => Ok(BUS_ID),
            code => Err(UsbipError::Operation { code }),
        }
    }

    /// What a body of that many bytes says.
    pub(super) fn decode(body: &[u8]) -> Self {
        if body.is_empty() {
            return Self::List;
        }
        let name = body.split(|byte| *byte == 0).next().unwrap_or_default();
        Self::Import {
            bus_id: String::from_utf8_lossy(name).into_owned(),
        }
    }
}

/// Why an import is refused, in the numbers of the usual tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Busy = 2,
    NoDevice = 4,
}

/// A device as lists and imports describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exported {
    pub(super) bus_id: String,
    pub(super) bus: u32,
    pub(super) number: u32,
    pub(super) speed: u32,
    pub(super) vendor: u16,
    pub(super) product: u16,
    pub(super) release: u16,
    pub(super) configuration: u8,
    pub(super) configurations: u8,
    pub(super) interfaces: Vec<[u8; 3]>,
}

impl Exported {
    fn encode(&self, out: &mut BytesMut) {
        padded(out, &format!("/sys/devices/virtual/usb/{}", self.bus_id), PATH);
        padded(out, &self.bus_id, BUS_ID);
        out.put_u32(self.bus);
        out.put_u32(self.number);
        out.put_u32(self.speed);
        out.put_u16(self.vendor);
        out.put_u16(self.product);
        out.put_u16(self.release);
        // The classes are those of the interfaces.
        out.put_bytes(0, 3);
        out.put_u8(self.configuration);
        out.put_u8(self.configurations);
        out.put_u8(u8::try_from(self.interfaces.len()).unwrap_or(u8::MAX));
    }
}

fn padded(out: &mut BytesMut, text: &str, len: usize) {
    // The last byte is always a NUL.
    let bytes = text.as_bytes();
    let bytes = bytes.get(..len.saturating_sub(1)).unwrap_or(bytes);
    out.put_slice(bytes);
    out.put_bytes(0, len.saturating_sub(bytes.len()));
}

fn reply(out: &mut BytesMut, code: u16, status: u32) {
    out.put_u16(VERSION);
    out.put_u16(code);
    out.put_u32(status);
}

pub(super) fn reply_list(out: &mut BytesMut, devices: &[Exported]) {
    reply(out, operation::REPLY_LIST, 0);
    out.put_u32(u32::try_from(devices.len()).unwrap_or(0));
    for device in devices {
        device.encode(out);
        for class in device.interfaces.iter().take(usize::from(u8::MAX)) {
            out.put_slice(class);
            out.put_u8(0);
        }
    }
}

pub(super) fn reply_import(out: &mut BytesMut, device: Result<&Exported, Refusal>) {
    match device {
        Ok(device) => {
            reply(out, operation::REPLY_IMPORT, 0);
            device.encode(out);
        }
        Err(refusal) => reply(out, operation::REPLY_IMPORT, refusal as u32),
    }
}
