//! What client and daemon say to each other: a 16-byte header and, in version 1, a property list.
//!
//! A client sends a [`Request`]; the daemon answers with a [`Reply`] and, after `Listen`, sends [`Event`]s. Both
//! protocol versions are here: [`Form::Binary`] is version 0, [`Form::Plist`] version 1. Spec: usbmux, sections 1 to 4.
//!
//! ```
//! use cabled_usbmux::msg::{ClientInfo, Form, Message, MessageDecoder, Reply, Request, ResultCode};
//!
//! // A client writes a request …
//! let mut stream = MessageDecoder::new(65_536);
//! stream.push(&Request::ListDevices.encode(&ClientInfo::new("example"), 1));
//! // … the daemon reads it from any split of the stream, and answers in the same form.
//! let (header, payload) = stream.next()?.expect("complete");
//! let call = Request::decode(&header, &payload).expect("well formed");
//! assert_eq!(call.request, Request::ListDevices);
//! let answer = Reply::Result(ResultCode::BadCommand).encode(Form::Plist, header.tag).expect("has this form");
//!
//! stream.push(&answer);
//! let (header, payload) = stream.next()?.expect("complete");
//! assert_eq!(Message::decode(&header, &payload)?, Message::Reply(Reply::Result(ResultCode::BadCommand)));
//! # Ok::<(), cabled_wire::WireError>(())
//! ```

mod answer;
mod request;

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cabled_wire::plist::{Dictionary, Limits, Value, read_dict, to_xml};
use cabled_wire::{Reader, WireError};

pub use answer::{DeviceList, Event, ListenerEntry, Message, Reply};
pub use request::{Call, ClientInfo, Refusal, Request};

/// Our limit for one message from a peer, header included, in bytes.
pub const MAX_MESSAGE: usize = 1 << 20;

/// Values of [`Header::message`].
pub mod number {
    /// `Result`, binary.
    pub const RESULT: u32 = 1;
    /// `Connect`, binary.
    pub const CONNECT: u32 = 2;
    /// `Listen`, binary.
    pub const LISTEN: u32 = 3;
    /// `DeviceAdd`, binary.
    pub const DEVICE_ADD: u32 = 4;
    /// `DeviceRemove`, binary.
    pub const DEVICE_REMOVE: u32 = 5;
    /// `DevicePaired`, binary.
    pub const DEVICE_PAIRED: u32 = 6;
    /// A property list, the only message of version 1.
    pub const PLIST: u32 = 8;
}

/// How messages of a connection are written; the message number decides it, not the version field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Version 0: fixed little-endian records.
    Binary,
    /// Version 1: XML property lists.
    Plist,
}

/// The 16 bytes before every message, all little-endian. Spec: usbmux, section 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the whole message in bytes, these 16 included.
    pub length: u32,
    /// 0 for binary, 1 for property lists.
    pub version: u32,
    /// What kind of message, see [`number`].
    pub message: u32,
    /// Chosen by the requester and echoed in the answer; 0 in events.
    pub tag: u32,
}

impl Header {
    /// Length of a header in bytes.
    pub const LEN: usize = 16;

    /// Reads a header from the start of `bytes`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when fewer than 16 bytes are there. The length field is not judged here.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        Ok(Self {
            length: r.u32_le("length")?,
            version: r.u32_le("version")?,
            message: r.u32_le("message")?,
            tag: r.u32_le("tag")?,
        })
    }

    /// Bytes that follow the header.
    ///
    /// # Errors
    /// [`WireError::Invalid`] for a length below 16, [`WireError::TooLong`] for one above `max`.
    pub fn payload_len(&self, max: usize) -> Result<usize, WireError> {
        let declared = u64::from(self.length);
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        if length > max {
            return Err(WireError::TooLong {
                field: "length",
                declared,
                max: u64::try_from(max).unwrap_or(u64::MAX),
            });
        }
        length.checked_sub(Self::LEN).ok_or(WireError::Invalid {
            what: "length",
            value: declared,
        })
    }
}

/// Header and payload in one buffer.
fn message(form: Form, number: u32, tag: u32, payload: &[u8]) -> Bytes {
    let length = payload.len().saturating_add(Header::LEN);
    let mut out = BytesMut::with_capacity(length);
    out.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
    out.put_u32_le(match form {
        Form::Binary => 0,
        Form::Plist => 1,
    });
    out.put_u32_le(number);
    out.put_u32_le(tag);
    out.put_slice(payload);
    out.freeze()
}

/// A message of version 1.
fn plist_message(tag: u32, dict: Dictionary) -> Bytes {
    let mut xml = to_xml(&Value::Dictionary(dict));
    // Every daemon and client read so far ends the text with a line feed.
    if !xml.ends_with(b"\n") {
        xml.push(b'\n');
    }
    message(Form::Plist, number::PLIST, tag, &xml)
}

/// Reads the property list of a version 1 message, whose top level has to be a dictionary.
fn plist_payload(payload: &[u8]) -> Result<Dictionary, WireError> {
    // Records of hundreds of devices fit; nesting and number of values are far below this.
    let limits = Limits::default()
        .with_bytes(MAX_MESSAGE)
        .with_depth(16)
        .with_nodes(65_536);
    read_dict(payload, &limits)
}

/// Cuts a byte stream into messages, whatever pieces it comes in.
///
/// After an error the stream is unusable and every call of [`MessageDecoder::next`] returns that error again.
#[derive(Debug)]
pub struct MessageDecoder {
    buffer: BytesMut,
    max: usize,
    failed: Option<WireError>,
}

impl MessageDecoder {
    /// A decoder that refuses messages above `max` bytes, header included.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            max,
            failed: None,
        }
    }

    /// Appends bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer itself, so that a socket can read straight into it.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next complete message, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`WireError::Invalid`] and [`WireError::TooLong`] for a length no message has.
    #[expect(
        clippy::should_implement_trait,
        reason = "a Result of an Option reads better with `?` than an iterator"
    )]
    pub fn next(&mut self) -> Result<Option<(Header, Bytes)>, WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.buffer.len() < Header::LEN {
            return Ok(None);
        }
        let header = Header::decode(&self.buffer)?;
        let payload_len = header
            .payload_len(self.max)
            .inspect_err(|error| self.failed = Some(error.clone()))?;
        if self.buffer.len().saturating_sub(Header::LEN) < payload_len {
            return Ok(None);
        }
        self.buffer.advance(Header::LEN);
        Ok(Some((header, self.buffer.split_to(payload_len).freeze())))
    }

    /// Whether no byte of a further message has arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// What arrived behind the last message: after a successful `Connect` this is the start of the device's stream.
    #[must_use]
    pub fn into_remainder(self) -> Bytes {
        self.buffer.freeze()
    }
}

/// The number in a `Result` message. Spec: usbmux, section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResultCode {
    /// `0`: done.
    Ok,
    /// `1`: unknown message type, missing mandatory key, wrong mode.
    BadCommand,
    /// `2`: no such device; to the pair-record calls: no such record.
    BadDevice,
    /// `3`: the device refused the connection, or went away while connecting.
    ConnectionRefused,
    /// `6`: the daemon does not speak this version.
    BadVersion,
    /// `22`: a pair-record call with a missing id or unusable data.
    InvalidArgument,
    /// Any other number, as the daemon sent it.
    Other(u32),
}

impl From<u32> for ResultCode {
    fn from(code: u32) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::BadCommand,
            2 => Self::BadDevice,
            3 => Self::ConnectionRefused,
            6 => Self::BadVersion,
            22 => Self::InvalidArgument,
            other => Self::Other(other),
        }
    }
}

impl From<ResultCode> for u32 {
    fn from(code: ResultCode) -> Self {
        match code {
            ResultCode::Ok => 0,
            ResultCode::BadCommand => 1,
            ResultCode::BadDevice => 2,
            ResultCode::ConnectionRefused => 3,
            ResultCode::BadVersion => 6,
            ResultCode::InvalidArgument => 22,
            ResultCode::Other(other) => other,
        }
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("0 (ok)"),
            Self::BadCommand => f.write_str("1 (bad command)"),
            Self::BadDevice => f.write_str("2 (no such device or record)"),
            Self::ConnectionRefused => f.write_str("3 (connection refused)"),
            Self::BadVersion => f.write_str("6 (bad version)"),
            Self::InvalidArgument => f.write_str("22 (invalid argument)"),
            Self::Other(code) => write!(f, "{code}"),
        }
    }
}
