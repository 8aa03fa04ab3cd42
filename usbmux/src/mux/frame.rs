//! Frames as they cross the bulk endpoints, all integers big-endian. Spec: usbmux, sections 8 and 9.
//!
//! ```
//! use bytes::BytesMut;
//! use cabled_usbmux::mux::frame::{Frame, HeaderStyle, take};
//!
//! let mut wire = BytesMut::new();
//! Frame::Version { major: 2, minor: 0 }.encode(None, &mut wire);
//! assert_eq!(wire.len(), 20);
//! let taken = take(&mut wire, HeaderStyle::Short)?.expect("complete");
//! assert_eq!(taken.frame, Ok(Frame::Version { major: 2, minor: 0 }));
//! # Ok::<(), cabled_wire::WireError>(())
//! ```

use std::fmt;
use std::ops::BitOr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cabled_wire::{Reader, WireError};

/// The largest frame accepted, header included, in bytes.
pub const MAX_FRAME: usize = 65_536 + 16;

/// Magic of frames from the host.
pub const MAGIC_HOST: u32 = 0xfeed_face;
/// Magic that devices were seen to send; nobody checks it.
pub const MAGIC_DEVICE: u32 = 0xface_face;
/// What a side that received nothing yet puts into [`Numbers::rx_seq`].
pub const NOTHING_RECEIVED: u16 = 0xffff;

/// The first field of a frame.
pub mod protocol {
    /// Version exchange, always with the short header.
    pub const VERSION: u32 = 0;
    /// Messages for a person.
    pub const CONTROL: u32 = 1;
    /// From host to device, once, in version 2.
    pub const SETUP: u32 = 2;
    /// Everything else.
    pub const TCP: u32 = 6;
}

/// How long the frame header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderStyle {
    /// 8 bytes: version 1, and before any version is agreed on.
    Short,
    /// 16 bytes: version 2.
    Long,
}

impl HeaderStyle {
    /// Length in bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Short => 8,
            Self::Long => 16,
        }
    }

    /// Never true; there is no frame without a header.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }
}

/// What the long header has beyond the short one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// [`MAGIC_HOST`] or [`MAGIC_DEVICE`]; not to be checked.
    pub magic: u32,
    /// Frames sent before this one, modulo 2^16.
    pub tx_seq: u16,
    /// Number of the last frame received; implementations disagree, so it is not to be relied on.
    pub rx_seq: u16,
}

/// The flags of a segment; nothing else than these three occurs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// Opens a connection.
    pub const SYN: Self = Self(0x02);
    /// Ends or refuses a connection.
    pub const RST: Self = Self(0x04);
    /// The acknowledgment number counts; in every frame of an established connection.
    pub const ACK: Self = Self(0x10);
    /// The answer to [`Flags::SYN`].
    pub const SYN_ACK: Self = Self(0x12);

    /// Whether all flags of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        for (flag, name) in [(Self::SYN, "SYN"), (Self::RST, "RST"), (Self::ACK, "ACK")] {
            if self.contains(flag) {
                f.write_str(if left == self.0 { name } else { "+" })?;
                if left != self.0 {
                    f.write_str(name)?;
                }
                left &= !flag.0;
            }
        }
        if left == 0 && self.0 != 0 {
            Ok(())
        } else {
            write!(f, "{left:#04x}")
        }
    }
}

/// The TCP-like header of a frame with protocol 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Port of the sender.
    pub source: u16,
    /// Port of the receiver.
    pub destination: u16,
    /// Number of the first payload byte, modulo 2^32; a SYN counts as one byte.
    pub seq: u32,
    /// The next byte expected, modulo 2^32.
    pub ack: u32,
    /// What the segment is.
    pub flags: Flags,
    /// Room for more, in units of 256 bytes.
    pub window: u16,
}

impl Segment {
    /// Length in bytes, without options.
    pub const LEN: usize = 20;

    /// Room for more, in bytes.
    #[must_use]
    pub fn window_bytes(&self) -> u32 {
        u32::from(self.window) << 8
    }

    /// Appends header and payload as one frame. The payload comes in two parts, as a ring buffer has it.
    pub fn encode(&self, numbers: Option<Numbers>, payload: [&[u8]; 2], out: &mut BytesMut) {
        let [first, second] = payload;
        self.encode_head(numbers, first.len().saturating_add(second.len()), out);
        out.put_slice(first);
        out.put_slice(second);
    }

    /// Appends everything of a frame that comes before its payload; exactly `payload` bytes have to follow, and there is
    /// room for them in `out` already.
    pub fn encode_head(&self, numbers: Option<Numbers>, payload: usize, out: &mut BytesMut) {
        let body = payload.saturating_add(Self::LEN);
        out.reserve(body.saturating_add(HeaderStyle::Long.len()));
        put_header(protocol::TCP, numbers, body, out);
        let mut head = [0; Self::LEN]; // checksum and urgent pointer stay 0
        let mut rest = &mut head[..];
        rest.put_u16(self.source);
        rest.put_u16(self.destination);
        rest.put_u32(self.seq);
        rest.put_u32(self.ack);
        rest.put_u8(0x50);
        rest.put_u8(self.flags.0);
        rest.put_u16(self.window);
        out.put_slice(&head);
    }
}

/// What kind of text a CONTROL frame carries. To be logged, never to be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlKind {
    /// `3`
    Error,
    /// `5`
    Warning,
    /// `7`
    Information,
    /// Any other type.
    Other(u8),
}

impl From<u8> for ControlKind {
    fn from(kind: u8) -> Self {
        match kind {
            3 => Self::Error,
            5 => Self::Warning,
            7 => Self::Information,
            other => Self::Other(other),
        }
    }
}

impl From<ControlKind> for u8 {
    fn from(kind: ControlKind) -> Self {
        match kind {
            ControlKind::Error => 3,
            ControlKind::Warning => 5,
            ControlKind::Information => 7,
            ControlKind::Other(other) => other,
        }
    }
}

/// Everything that crosses the link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// Protocol 0: the version a side speaks.
    Version {
        /// 1 or 2.
        major: u32,
        /// 0.
        minor: u32,
    },
    /// Protocol 1: a message for a person.
    Control {
        /// How bad it is.
        kind: ControlKind,
        /// The text, maybe with a NUL or a line feed at its end.
        text: Bytes,
    },
    /// Protocol 2: the host is ready for long headers.
    Setup {
        /// Always one byte 7.
        value: Bytes,
    },
    /// Protocol 6: part of a connection.
    Tcp {
        /// Its header.
        segment: Segment,
        /// Bytes of the stream; in a RST a text, maybe empty.
        payload: Bytes,
    },
    /// A protocol this version does not know.
    Unknown {
        /// Its number.
        protocol: u32,
        /// Everything behind the header.
        payload: Bytes,
    },
}

/// A [`Frame`] whose bytes lie in somebody's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameRef<'a> {
    /// [`Frame::Version`].
    Version {
        /// 1 or 2.
        major: u32,
        /// 0.
        minor: u32,
    },
    /// [`Frame::Control`].
    Control {
        /// How bad it is.
        kind: ControlKind,
        /// The text, maybe with a NUL or a line feed at its end.
        text: &'a [u8],
    },
    /// [`Frame::Setup`].
    Setup {
        /// Always one byte 7.
        value: &'a [u8],
    },
    /// [`Frame::Tcp`].
    Tcp {
        /// Its header.
        segment: Segment,
        /// Bytes of the stream; in a RST a text, maybe empty.
        payload: &'a [u8],
    },
    /// [`Frame::Unknown`].
    Unknown {
        /// Its number.
        protocol: u32,
        /// Everything behind the header.
        payload: &'a [u8],
    },
}

/// The first frame of a buffer, still in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peeked<'a> {
    /// The frame, or what is wrong inside it; the stream goes on behind it either way.
    pub frame: Result<FrameRef<'a>, WireError>,
    /// What the long header said.
    pub numbers: Option<Numbers>,
    /// Its length on the wire, header included: as much as has to be taken off the buffer.
    pub len: usize,
}

/// One frame off the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The frame, or what is wrong inside it; the stream goes on behind it either way.
    pub frame: Result<Frame, WireError>,
    /// What the long header said.
    pub numbers: Option<Numbers>,
    /// Its length on the wire, header included.
    pub len: usize,
}

/// A frame's header, checked; all of the frame is there.
struct Head {
    protocol: u32,
    numbers: Option<Numbers>,
    /// Length of the header.
    style: HeaderStyle,
    /// Length of the frame.
    len: usize,
}

fn head(buffer: &[u8], style: HeaderStyle) -> Result<Option<Head>, WireError> {
    let mut r = Reader::new(buffer);
    if r.remaining() < HeaderStyle::Short.len() {
        return Ok(None);
    }
    let protocol = r.u32_be("protocol")?;
    let declared = r.u32_be("length")?;
    let style = if protocol == protocol::VERSION {
        HeaderStyle::Short
    } else {
        style
    };
    let len = usize::try_from(declared).unwrap_or(usize::MAX);
    if len > MAX_FRAME {
        let max = u64::try_from(MAX_FRAME).unwrap_or(u64::MAX);
        return Err(WireError::TooLong {
            field: "length",
            declared: declared.into(),
            max,
        });
    }
    if len < style.len() {
        return Err(WireError::Invalid {
            what: "length",
            value: declared.into(),
        });
    }
    if buffer.len() < len {
        return Ok(None);
    }
    let numbers = match style {
        HeaderStyle::Short => None,
        HeaderStyle::Long => Some(Numbers {
            magic: r.u32_be("magic")?,
            tx_seq: r.u16_be("tx_seq")?,
            rx_seq: r.u16_be("rx_seq")?,
        }),
    };
    Ok(Some(Head {
        protocol,
        numbers,
        style,
        len,
    }))
}

/// Looks at the first frame of `buffer` where it lies, or says that more bytes are needed. Copies nothing.
///
/// The style is what was agreed on; a VERSION frame has the short header always.
///
/// # Errors
/// As [`take`].
pub fn peek(buffer: &[u8], style: HeaderStyle) -> Result<Option<Peeked<'_>>, WireError> {
    let Some(head) = head(buffer, style)? else {
        return Ok(None);
    };
    let body = buffer.get(head.style.len()..head.len).unwrap_or_default();
    Ok(Some(Peeked {
        frame: FrameRef::decode(head.protocol, body),
        numbers: head.numbers,
        len: head.len,
    }))
}

/// Takes the first complete frame off `buffer`, or nothing when more bytes are needed.
///
/// The payload shares the buffer's memory. The style is what was agreed on; a VERSION frame has the short header always.
///
/// # Errors
/// [`WireError::Invalid`] for a length below the header's, [`WireError::TooLong`] above [`MAX_FRAME`]: the stream is
/// lost then, as nobody can tell where the next frame starts.
pub fn take(buffer: &mut BytesMut, style: HeaderStyle) -> Result<Option<Taken>, WireError> {
    let Some(head) = head(buffer, style)? else {
        return Ok(None);
    };
    let mut frame = buffer.split_to(head.len);
    frame.advance(head.style.len());
    let body = frame.freeze();
    Ok(Some(Taken {
        frame: FrameRef::decode(head.protocol, &body).map(|frame| frame.within(&body)),
        numbers: head.numbers,
        len: head.len,
    }))
}

impl<'a> FrameRef<'a> {
    fn decode(protocol: u32, payload: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(payload);
        Ok(match protocol {
            protocol::VERSION => Self::Version {
                major: r.u32_be("major")?,
                minor: r.u32_be("minor")?,
            },
            // The type may be missing as well.
            protocol::CONTROL => match payload.split_first() {
                Some((kind, text)) => Self::Control {
                    kind: (*kind).into(),
                    text,
                },
                None => Self::Control {
                    kind: ControlKind::Other(0),
                    text: payload,
                },
            },
            protocol::SETUP => Self::Setup { value: payload },
            protocol::TCP => Self::tcp(payload, &mut r)?,
            protocol => Self::Unknown { protocol, payload },
        })
    }

    fn tcp(body: &'a [u8], r: &mut Reader<'a>) -> Result<Self, WireError> {
        let source = r.u16_be("source port")?;
        let destination = r.u16_be("destination port")?;
        let seq = r.u32_be("sequence number")?;
        let ack = r.u32_be("acknowledgment number")?;
        let offset = usize::from(r.u8("data offset")? >> 4).saturating_mul(4);
        let flags = Flags(r.u8("flags")?);
        let window = r.u16_be("window")?;
        r.take("checksum", 4)?;
        let Some(payload) = body.get(offset..).filter(|_| offset >= Segment::LEN) else {
            return Err(WireError::Invalid {
                what: "data offset",
                value: u64::try_from(offset).unwrap_or(u64::MAX),
            });
        };
        let segment = Segment {
            source,
            destination,
            seq,
            ack,
            flags,
            window,
        };
        Ok(Self::Tcp { segment, payload })
    }

    /// The same frame, sharing the memory of `body`, which it was decoded from.
    fn within(self, body: &Bytes) -> Frame {
        match self {
            Self::Version { major, minor } => Frame::Version { major, minor },
            Self::Control { kind, text } => Frame::Control {
                kind,
                text: body.slice_ref(text),
            },
            Self::Setup { value } => Frame::Setup {
                value: body.slice_ref(value),
            },
            Self::Tcp { segment, payload } => Frame::Tcp {
                segment,
                payload: body.slice_ref(payload),
            },
            Self::Unknown { protocol, payload } => Frame::Unknown {
                protocol,
                payload: body.slice_ref(payload),
            },
        }
    }
}

impl Frame {
    /// Appends the frame, with the long header when there are numbers for it. VERSION always has the short one.
    pub fn encode(&self, numbers: Option<Numbers>, out: &mut BytesMut) {
        match self {
            Self::Version { major, minor } => {
                put_header(protocol::VERSION, None, 12, out);
                out.put_u32(*major);
                out.put_u32(*minor);
                out.put_u32(0);
            }
            Self::Control { kind, text } => {
                put_header(protocol::CONTROL, numbers, text.len().saturating_add(1), out);
                out.put_u8((*kind).into());
                out.put_slice(text);
            }
            Self::Setup { value } => {
                put_header(protocol::SETUP, numbers, value.len(), out);
                out.put_slice(value);
            }
            Self::Tcp { segment, payload } => segment.encode(numbers, [payload, &[]], out),
            Self::Unknown { protocol, payload } => {
                put_header(*protocol, numbers, payload.len(), out);
                out.put_slice(payload);
            }
        }
    }
}

fn put_header(protocol: u32, numbers: Option<Numbers>, body: usize, out: &mut BytesMut) {
    let style = if numbers.is_some() {
        HeaderStyle::Long
    } else {
        HeaderStyle::Short
    };
    let len = u32::try_from(body.saturating_add(style.len())).unwrap_or(u32::MAX);
    let mut header = [0; HeaderStyle::Long.len()];
    let mut rest = &mut header[..];
    rest.put_u32(protocol);
    rest.put_u32(len);
    if let Some(numbers) = numbers {
        rest.put_u32(numbers.magic);
        rest.put_u16(numbers.tx_seq);
        rest.put_u16(numbers.rx_seq);
    }
    out.put_slice(header.get(..style.len()).unwrap_or(&header));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_shown_by_name() {
        assert_eq!(format!("{:?}", Flags::SYN_ACK), "SYN+ACK");
        assert_eq!(format!("{:?}", Flags::RST), "RST");
        assert_eq!(format!("{:?}", Flags(0)), "0x00");
    }

    #[test]
    fn a_frame_is_taken_only_when_it_is_complete() {
        let mut wire = BytesMut::new();
        Frame::Setup {
            value: Bytes::from_static(&[7]),
        }
        .encode(
            Some(Numbers {
                magic: MAGIC_HOST,
                tx_seq: 0,
                rx_seq: NOTHING_RECEIVED,
            }),
            &mut wire,
        );
        let whole = wire.clone();
        for cut in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..cut]);
            assert_eq!(take(&mut part, HeaderStyle::Long).unwrap(), None);
            assert_eq!(part.len(), cut, "nothing is taken");
        }
        assert_eq!(take(&mut wire, HeaderStyle::Long).unwrap().unwrap().len, 17);
    }
}
