//! Messages behind a four-byte big-endian length: lockdown, its companion services, DeviceLink.
//!
//! Spec: lockdown, section 1; mobilebackup2, section 1.2.

use bytes::{BufMut, Bytes, BytesMut};

use crate::WireError;

/// Bytes of the length field.
pub const HEADER: usize = 4;

/// Puts the length in front of a body, in one buffer, so that one write sends both.
///
/// # Errors
/// [`WireError::TooLong`] above `u32::MAX` bytes.
pub fn encode(body: &[u8]) -> Result<Bytes, WireError> {
    let max = u64::from(u32::MAX);
    let len = u32::try_from(body.len()).map_err(|_| WireError::TooLong {
        field: "frame",
        declared: body.len() as u64,
        max,
    })?;
    let mut out = BytesMut::with_capacity(body.len().saturating_add(HEADER));
    out.put_u32(len);
    out.put_slice(body);
    Ok(out.freeze())
}

/// Cuts a byte stream into frames, however it was split.
///
/// ```
/// use cabled_wire::frame::{FrameDecoder, encode};
///
/// let mut decoder = FrameDecoder::new(1024);
/// let bytes = encode(b"hello")?;
/// decoder.push(&bytes[..3]);
/// assert_eq!(decoder.next_frame()?, None);
/// decoder.push(&bytes[3..]);
/// assert_eq!(decoder.next_frame()?.as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), cabled_wire::WireError>(())
/// ```
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    max: usize,
}

impl FrameDecoder {
    /// A decoder for frames of at most `max` bytes, the length field not counted.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            max,
        }
    }

    /// Adds bytes from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes come.
    ///
    /// # Errors
    /// [`WireError::TooLong`] as soon as the length field is there; the stream is unusable afterwards.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let len = checked_len(*header, self.max)?;
        if self.buffer.len() < HEADER.saturating_add(len) {
            return Ok(None);
        }
        let _ = self.buffer.split_to(HEADER);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }

    /// Bytes that arrived after the last whole frame: what a raw sub-protocol or TLS takes over.
    #[must_use]
    pub fn into_rest(self) -> Bytes {
        self.buffer.freeze()
    }

    /// How many bytes wait for the rest of their frame.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }
}

fn checked_len(header: [u8; HEADER], max: usize) -> Result<usize, WireError> {
    let declared = u32::from_be_bytes(header);
    match usize::try_from(declared) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(WireError::TooLong {
            field: "frame",
            declared: declared.into(),
            max: max as u64,
        }),
    }
}

#[cfg(feature = "tokio")]
pub use stream::{FrameError, read_frame, write_frame};

#[cfg(feature = "tokio")]
mod stream {
    use bytes::{Bytes, BytesMut};
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

    use super::{HEADER, checked_len, encode};
    use crate::WireError;

    /// A frame could not be read from, or written to, an async stream.
    #[derive(Debug, thiserror::Error)]
    #[non_exhaustive]
    pub enum FrameError {
        /// The stream ended between two frames: the orderly way to stop.
        #[error("the peer closed the connection")]
        Closed,
        /// The stream ended inside a frame.
        #[error("the peer closed the connection in the middle of a message")]
        Cut,
        /// The link failed.
        #[error("the link to the peer broke")]
        Io(#[from] std::io::Error),
        /// The length is above the limit.
        #[error("the peer's message is malformed")]
        Wire(#[from] WireError),
    }

    /// Reads one frame of at most `max` bytes; memory grows with what arrives, not with what is announced.
    ///
    /// Not safe to drop half-way: bytes already read would be lost. The caller sets the deadline.
    ///
    /// # Errors
    /// [`FrameError::Closed`] at a frame boundary, [`FrameError::Cut`] inside one, [`FrameError::Wire`] for a length
    /// above `max`, [`FrameError::Io`].
    pub async fn read_frame<S: AsyncRead + Unpin + ?Sized>(stream: &mut S, max: usize) -> Result<Bytes, FrameError> {
        let mut header = [0; HEADER];
        let mut filled = 0_usize;
        while let Some(room) = header.get_mut(filled..).filter(|room| !room.is_empty()) {
            match eof_as_zero(stream.read(room).await)? {
                0 if filled == 0 => return Err(FrameError::Closed),
                0 => return Err(FrameError::Cut),
                n => filled = filled.saturating_add(n),
            }
        }
        let len = checked_len(header, max)?;
        let mut body = BytesMut::with_capacity(len.min(64 << 10));
        let mut limited = stream.take(len as u64);
        while body.len() < len {
            if eof_as_zero(limited.read_buf(&mut body).await)? == 0 {
                return Err(FrameError::Cut);
            }
        }
        Ok(body.freeze())
    }

    /// A TLS peer that leaves without saying goodbye is an end of stream here (lockdown, section 8.1).
    fn eof_as_zero(read: std::io::Result<usize>) -> std::io::Result<usize> {
        match read {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }

    /// Writes one frame, length and body together, and flushes.
    ///
    /// Not safe to drop half-way. The caller sets the deadline.
    ///
    /// # Errors
    /// [`FrameError::Io`]; [`FrameError::Wire`] for a body above `u32::MAX` bytes.
    pub async fn write_frame<S: AsyncWrite + Unpin + ?Sized>(stream: &mut S, body: &[u8]) -> Result<(), FrameError> {
        stream.write_all(&encode(body)?).await?;
        stream.flush().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_above_the_limit_is_refused_before_its_body() {
        let mut decoder = FrameDecoder::new(16);
        decoder.push(&[0, 0, 0, 17]);
        assert_eq!(
            decoder.next_frame(),
            Err(WireError::TooLong {
                field: "frame",
                declared: 17,
                max: 16
            })
        );
    }

    proptest! {
        #[test]
        fn splitting_the_stream_anywhere_changes_nothing(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6), step in 1_usize..9
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| encode(body).unwrap()).collect();
            let mut decoder = FrameDecoder::new(64);
            let mut got = Vec::new();
            for piece in stream.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    got.push(frame.to_vec());
                }
            }
            prop_assert_eq!(got, bodies);
            prop_assert_eq!(decoder.buffered(), 0);
        }
    }

    #[cfg(feature = "tokio")]
    #[tokio::test]
    async fn an_end_inside_a_frame_is_told_apart_from_an_end_between_two() {
        let whole = encode(b"abc").unwrap();
        let mut stream = &whole[..];
        assert_eq!(&read_frame(&mut stream, 10).await.unwrap()[..], b"abc");
        assert!(matches!(read_frame(&mut stream, 10).await, Err(FrameError::Closed)));
        let mut cut = &whole[..5];
        assert!(matches!(read_frame(&mut cut, 10).await, Err(FrameError::Cut)));
        let mut header_cut = &whole[..2];
        assert!(matches!(read_frame(&mut header_cut, 10).await, Err(FrameError::Cut)));
    }
}
