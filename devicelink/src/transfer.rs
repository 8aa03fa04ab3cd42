//! The raw file sub-protocol: names, blocks and end marks that travel between two frames (spec 7).
//!
//! All integers are big-endian `u32`. A *name* is a length and UTF-8 bytes. A *block* is a length, a code byte that the
//! length counts, and a payload. A zero where a name's length is expected ends the batch.
//!
//! The functions here only encode; [`Receiver`] takes a byte stream cut anywhere and hands out [`Event`]s. Neither
//! ever holds more than a name, an error text or the chunk it was given.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Data bytes in one block from the host: what Apple's own host sends. A device buffers a whole block in memory, and
/// large ones got its backup agent killed (spec 7.1).
pub const DATA_LEN: usize = 32_768;
/// The longest name; libimobiledevice's limit.
pub const MAX_NAME: usize = 4096;
/// How much of a failure text is kept; all of it is drained.
pub const MAX_TEXT: usize = 4096;
/// Block code: end of the file, success.
pub const CODE_OK: u8 = 0x00;
/// Block code: end of the file, no such file. All clients send it for every kind of host error.
pub const CODE_NO_ENTRY: u8 = 0x06;
/// Block code: end of the file, input/output error.
pub const CODE_IO: u8 = 0x0b;
/// Block code: file data.
pub const CODE_DATA: u8 = 0x0c;

/// `00 00 00 01 00`: the file is complete.
pub const END_OK: [u8; 5] = [0, 0, 0, 1, CODE_OK];
/// `00 00 00 00`: the batch is complete.
pub const END_OF_BATCH: [u8; 4] = [0; 4];

/// Why a raw transfer cannot go on. There is no point to resynchronise at: the connection must be dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// A name is longer than [`MAX_NAME`].
    #[error("a file name of {len} bytes in a file transfer; at most {MAX_NAME} are allowed")]
    NameTooLong {
        /// What the stream announced, or what we were asked to send.
        len: usize,
    },
    /// A name is empty, which on the wire would end the batch.
    #[error("an empty file name in a file transfer")]
    EmptyName,
    /// The host path is not UTF-8.
    #[error("a file name in a file transfer is not UTF-8")]
    NameNotUtf8,
    /// Bytes after the end of the batch were fed to a finished receiver.
    #[error("the file transfer is over")]
    Finished,
}

/// Appends a name.
///
/// # Errors
/// [`TransferError::NameTooLong`], [`TransferError::EmptyName`].
pub fn put_name(out: &mut BytesMut, name: &str) -> Result<(), TransferError> {
    if name.is_empty() {
        return Err(TransferError::EmptyName);
    }
    let len = u32::try_from(name.len()).ok().filter(|_| name.len() <= MAX_NAME);
    out.put_u32(len.ok_or(TransferError::NameTooLong { len: name.len() })?);
    out.put_slice(name.as_bytes());
    Ok(())
}

/// The five bytes before `len` bytes of file data; `None` if `len` is 0 (no such block exists) or above `u32::MAX - 1`.
#[must_use]
pub fn data_header(len: usize) -> Option<[u8; 5]> {
    let counted = u32::try_from(len).ok().filter(|len| *len > 0)?.checked_add(1)?;
    let [a, b, c, d] = counted.to_be_bytes();
    Some([a, b, c, d, CODE_DATA])
}

/// Appends file data in blocks of at most [`DATA_LEN`] bytes; nothing for no data.
pub fn put_data(out: &mut BytesMut, data: &[u8]) {
    for block in data.chunks(DATA_LEN) {
        if let Some(header) = data_header(block.len()) {
            out.put_slice(&header);
            out.put_slice(block);
        }
    }
}

/// Appends the end mark of a file that could not be sent in full. The text is cut at [`MAX_TEXT`] bytes.
///
/// A `code` of [`CODE_OK`] or [`CODE_DATA`] would mean something else and is sent as [`CODE_NO_ENTRY`].
pub fn put_failure(out: &mut BytesMut, code: u8, text: &str) {
    let end = (0..=MAX_TEXT.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    let text = text.get(..end.unwrap_or(0)).unwrap_or_default();
    let code = if matches!(code, CODE_OK | CODE_DATA) {
        CODE_NO_ENTRY
    } else {
        code
    };
    out.put_u32(u32::try_from(text.len()).map_or(1, |len| len.saturating_add(1)));
    out.put_u8(code);
    out.put_slice(text.as_bytes());
}

/// Which side sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Device to host, after `DLMessageUploadFiles`: two names per file, the device's own and the host's.
    Upload,
    /// Host to device, after `DLMessageDownloadFiles`: one name per file.
    Download,
}

/// What a [`Receiver`] saw.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A file begins.
    Name {
        /// Uploads only: where the file is on the device. Informative, never a host path; shown with replacement
        /// characters where it was not UTF-8.
        device: Option<String>,
        /// The path relative to the backup root.
        path: String,
    },
    /// A piece of the file. Pieces follow the chunks that were fed, not the blocks; never empty.
    Data(Bytes),
    /// The file is complete; an empty file has had no [`Event::Data`].
    EndOk,
    /// The file is incomplete, even if data came before.
    EndFailed {
        /// The absolute value of a DeviceLink code.
        code: u8,
        /// What the sender said, perhaps nothing, at most [`MAX_TEXT`] bytes.
        text: String,
    },
    /// The batch is complete. What was fed beyond it is left in the chunk: it belongs to the next frame.
    EndOfBatch,
    /// A zero where a block was due: the file is incomplete, the batch over.
    Aborted,
}

/// Takes a raw transfer apart. Feed it any pieces; it never waits and never looks back.
///
/// ```
/// use bytes::Bytes;
/// use cabled_devicelink::transfer::{Direction, Event, Receiver};
///
/// let mut receiver = Receiver::new(Direction::Download);
/// let mut chunk = Bytes::from_static(b"\0\0\0\x02AB\0\0\0\x04\x0cxyz\0\0\0\x01\0\0\0\0\0");
/// let mut events = Vec::new();
/// while let Some(event) = receiver.feed(&mut chunk)? {
///     events.push(event);
/// }
/// assert_eq!(events[1..], [Event::Data(Bytes::from_static(b"xyz")), Event::EndOk, Event::EndOfBatch]);
/// # Ok::<(), cabled_devicelink::transfer::TransferError>(())
/// ```
#[derive(Debug)]
pub struct Receiver {
    direction: Direction,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Four bytes of a length; `DeviceName`, `HostName` or `BlockLen` of spec 7.3 by what is counted.
    Length {
        of: Counted,
        seen: u8,
        value: u32,
    },
    Name {
        of: Counted,
        left: usize,
        bytes: BytesMut,
    },
    Code {
        left: u32,
    },
    Data {
        left: u32,
    },
    Text {
        code: u8,
        left: u32,
        text: BytesMut,
    },
    Finished,
}

#[derive(Debug)]
enum Counted {
    FirstName,
    HostName { device: String },
    Block,
}

impl State {
    const fn length(of: Counted) -> Self {
        Self::Length { of, seen: 0, value: 0 }
    }
}

impl Receiver {
    /// Expects the first name of a batch, or its end.
    #[must_use]
    pub const fn new(direction: Direction) -> Self {
        Self {
            direction,
            state: State::length(Counted::FirstName),
        }
    }

    /// Is the batch over?
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    /// Is a file open: named, and not ended?
    #[must_use]
    pub const fn in_file(&self) -> bool {
        match &self.state {
            State::Length { of, .. } | State::Name { of, .. } => matches!(of, Counted::Block),
            State::Code { .. } | State::Data { .. } | State::Text { .. } => true,
            State::Finished => false,
        }
    }

    /// Takes bytes from the front of `chunk` and returns the next event, or `None` once `chunk` is empty.
    ///
    /// # Errors
    /// [`TransferError`]; the receiver is finished then.
    pub fn feed(&mut self, chunk: &mut Bytes) -> Result<Option<Event>, TransferError> {
        while !chunk.is_empty() {
            if self.is_finished() {
                return Err(TransferError::Finished);
            }
            let state = std::mem::replace(&mut self.state, State::Finished);
            let (next, event) = self.step(state, chunk)?;
            self.state = next;
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// One step with at least one byte in `chunk`; takes at least one.
    fn step(&self, state: State, chunk: &mut Bytes) -> Result<(State, Option<Event>), TransferError> {
        Ok(match state {
            State::Length { of, seen, value } => {
                let value = (value << 8) | u32::from(chunk.get_u8());
                if seen < 3 {
                    (
                        State::Length {
                            of,
                            seen: seen.saturating_add(1),
                            value,
                        },
                        None,
                    )
                } else {
                    counted(of, value)?
                }
            }
            State::Name { of, left, mut bytes } => {
                let part = chunk.split_to(left.min(chunk.len()));
                bytes.put_slice(&part);
                match left.saturating_sub(part.len()) {
                    0 => self.named(of, &bytes)?,
                    left => (State::Name { of, left, bytes }, None),
                }
            }
            State::Code { left } => match (chunk.get_u8(), left.saturating_sub(1)) {
                (CODE_OK, 0) => (State::length(Counted::FirstName), Some(Event::EndOk)),
                (CODE_DATA, 0) => (State::length(Counted::Block), None),
                (CODE_DATA, left) => (State::Data { left }, None),
                (code, 0) => (
                    State::length(Counted::FirstName),
                    Some(Event::EndFailed {
                        code,
                        text: String::new(),
                    }),
                ),
                (code, left) => (
                    State::Text {
                        code,
                        left,
                        text: BytesMut::new(),
                    },
                    None,
                ),
            },
            State::Data { left } => {
                let (part, left) = take(chunk, left);
                let next = if left == 0 {
                    State::length(Counted::Block)
                } else {
                    State::Data { left }
                };
                (next, Some(Event::Data(part)))
            }
            State::Text { code, left, mut text } => {
                let (part, left) = take(chunk, left);
                let room = MAX_TEXT.saturating_sub(text.len());
                text.put_slice(part.get(..room).unwrap_or(&part));
                if left > 0 {
                    return Ok((State::Text { code, left, text }, None));
                }
                let text = String::from_utf8_lossy(&text).into_owned();
                // Success with a payload is nothing the protocol knows; the file did end and nothing says it failed.
                let event = if code == CODE_OK {
                    Event::EndOk
                } else {
                    Event::EndFailed { code, text }
                };
                (State::length(Counted::FirstName), Some(event))
            }
            State::Finished => return Err(TransferError::Finished),
        })
    }

    fn named(&self, of: Counted, bytes: &BytesMut) -> Result<(State, Option<Event>), TransferError> {
        let device = match (of, self.direction) {
            (Counted::FirstName, Direction::Upload) => {
                let device = String::from_utf8_lossy(bytes).into_owned();
                return Ok((State::length(Counted::HostName { device }), None));
            }
            (Counted::HostName { device }, _) => Some(device),
            (Counted::FirstName | Counted::Block, _) => None,
        };
        let path = std::str::from_utf8(bytes)
            .map_err(|_| TransferError::NameNotUtf8)?
            .to_owned();
        Ok((State::length(Counted::Block), Some(Event::Name { device, path })))
    }
}

/// A length is complete: what follows it?
fn counted(of: Counted, value: u32) -> Result<(State, Option<Event>), TransferError> {
    Ok(match (of, value) {
        (Counted::FirstName, 0) => (State::Finished, Some(Event::EndOfBatch)),
        (Counted::HostName { .. }, 0) => return Err(TransferError::EmptyName),
        (Counted::Block, 0) => (State::Finished, Some(Event::Aborted)),
        (Counted::Block, left) => (State::Code { left }, None),
        (of, len) => {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            if len > MAX_NAME {
                return Err(TransferError::NameTooLong { len });
            }
            (
                State::Name {
                    of,
                    left: len,
                    bytes: BytesMut::with_capacity(len),
                },
                None,
            )
        }
    })
}

/// Splits at most `left` bytes off the front; returns them and what is left of `left`.
fn take(chunk: &mut Bytes, left: u32) -> (Bytes, u32) {
    let part = chunk.split_to(usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len()));
    let taken = u32::try_from(part.len()).unwrap_or(left);
    (part, left.saturating_sub(taken))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(direction: Direction, stream: &[u8], cuts: &[usize]) -> Result<Vec<Event>, TransferError> {
        let mut receiver = Receiver::new(direction);
        let mut events: Vec<Event> = Vec::new();
        let mut rest = Bytes::copy_from_slice(stream);
        let mut cuts = cuts.iter().copied().cycle();
        while !rest.is_empty() && !receiver.is_finished() {
            let at = cuts.next().unwrap_or(rest.len()).clamp(1, rest.len());
            let mut chunk = rest.split_to(at);
            while let Some(event) = receiver.feed(&mut chunk)? {
                match (events.last_mut(), event) {
                    (Some(Event::Data(so_far)), Event::Data(more)) => {
                        *so_far = [&so_far[..], &more[..]].concat().into()
                    }
                    (_, event) => events.push(event),
                }
                if receiver.is_finished() {
                    break;
                }
            }
        }
        Ok(events)
    }

    #[derive(Clone, Debug)]
    struct File {
        name: String,
        data: Vec<u8>,
        failure: Option<(u8, String)>,
    }

    fn file() -> impl Strategy<Value = File> {
        let failure = proptest::option::of((prop_oneof![Just(6_u8), Just(11), 13_u8..], "[ -~]{0,30}"));
        let data = prop_oneof![prop::collection::vec(any::<u8>(), 0..200), Just(vec![7; DATA_LEN + 1])];
        ("[a-z/\u{e9}]{1,40}", data, failure).prop_map(|(name, data, failure)| File { name, data, failure })
    }

    fn encode(direction: Direction, files: &[File]) -> (BytesMut, Vec<Event>) {
        let (mut out, mut events) = (BytesMut::new(), Vec::new());
        for File { name, data, failure } in files {
            let device = (direction == Direction::Upload).then(|| format!("/.ba/{name}"));
            if let Some(device) = &device {
                put_name(&mut out, device).unwrap();
            }
            put_name(&mut out, name).unwrap();
            put_data(&mut out, data);
            events.push(Event::Name {
                device,
                path: name.clone(),
            });
            if !data.is_empty() {
                events.push(Event::Data(data.clone().into()));
            }
            match failure {
                None => {
                    out.put_slice(&END_OK);
                    events.push(Event::EndOk);
                }
                Some((code, text)) => {
                    put_failure(&mut out, *code, text);
                    events.push(Event::EndFailed {
                        code: *code,
                        text: text.clone(),
                    });
                }
            }
        }
        out.put_slice(&END_OF_BATCH);
        events.push(Event::EndOfBatch);
        (out, events)
    }

    proptest! {
        #[test]
        fn splitting_the_stream_anywhere_changes_nothing(
            files in prop::collection::vec(file(), 0..6),
            cuts in prop::collection::vec(1_usize..5000, 1..20),
            upload in any::<bool>(),
        ) {
            let direction = if upload { Direction::Upload } else { Direction::Download };
            let (stream, events) = encode(direction, &files);
            prop_assert_eq!(run(direction, &stream, &cuts).unwrap(), events.clone());
            prop_assert_eq!(run(direction, &stream, &[stream.len()]).unwrap(), events);
        }

        #[test]
        fn decode_never_panics(stream in prop::collection::vec(prop_oneof![Just(0_u8), Just(0), Just(1), any::<u8>()], 0..400)) {
            let whole = run(Direction::Upload, &stream, &[stream.len().max(1)]);
            let bytewise = run(Direction::Upload, &stream, &[1]);
            prop_assert_eq!(whole, bytewise);
        }
    }

    #[test]
    fn a_batch_is_laid_out_as_the_specification_shows() {
        let mut out = BytesMut::new();
        put_name(&mut out, "AB").unwrap();
        put_data(&mut out, b"xyz");
        put_failure(&mut out, CODE_IO, "I/O error");
        out.put_slice(&END_OF_BATCH);
        let wanted = b"\0\0\0\x02AB\0\0\0\x04\x0cxyz\0\0\0\x0a\x0bI/O error\0\0\0\0";
        assert_eq!(&out[..], wanted);
    }

    #[test]
    fn a_data_block_without_bytes_is_skipped() {
        let stream = b"\0\0\0\x01a\0\0\0\x01\x0c\0\0\0\x01\0\0\0\0\0";
        let name = Event::Name {
            device: None,
            path: "a".to_owned(),
        };
        assert_eq!(
            run(Direction::Download, stream, &[3]).unwrap(),
            [name, Event::EndOk, Event::EndOfBatch]
        );
    }

    #[test]
    fn a_failure_text_is_drained_whole_and_kept_in_part() {
        let mut stream = b"\0\0\0\x01a".to_vec();
        stream.extend(100_001_u32.to_be_bytes());
        stream.push(CODE_IO);
        stream.extend([b'x'; 100_000]);
        stream.extend(END_OF_BATCH);
        let events = run(Direction::Download, &stream, &[777]).unwrap();
        let Some(Event::EndFailed { code: CODE_IO, text }) = events.get(1) else {
            panic!("{events:?}")
        };
        assert_eq!(text.len(), MAX_TEXT);
        assert_eq!(events.last(), Some(&Event::EndOfBatch));
    }

    #[test]
    fn a_failure_without_text_and_of_any_code_ends_a_file() {
        let stream = b"\0\0\0\x01a\0\0\0\x01\x06\0\0\0\0";
        let events = run(Direction::Download, stream, &[1]).unwrap();
        assert_eq!(
            events[1],
            Event::EndFailed {
                code: 6,
                text: String::new()
            }
        );
    }

    #[test]
    fn a_zero_where_a_block_is_due_aborts_the_batch() {
        let events = run(Direction::Download, b"\0\0\0\x01a\0\0\0\0", &[9]).unwrap();
        assert_eq!(events.last(), Some(&Event::Aborted));
    }

    #[test]
    fn a_name_above_the_limit_is_refused_before_it_is_read() {
        let refused = Err(TransferError::NameTooLong { len: 4097 });
        assert_eq!(run(Direction::Upload, &[0, 0, 0x10, 1], &[4]), refused);
        let huge = run(Direction::Upload, &[255; 4], &[4]);
        assert_eq!(huge, Err(TransferError::NameTooLong { len: 0xffff_ffff }));
        assert_eq!(put_name(&mut BytesMut::new(), ""), Err(TransferError::EmptyName));
    }

    #[test]
    fn what_follows_the_end_of_the_batch_is_left_alone() {
        let mut chunk = Bytes::from_static(b"\0\0\0\0next frame");
        let mut receiver = Receiver::new(Direction::Upload);
        assert_eq!(receiver.feed(&mut chunk), Ok(Some(Event::EndOfBatch)));
        assert_eq!(&chunk[..], b"next frame");
        assert_eq!(receiver.feed(&mut chunk), Err(TransferError::Finished));
    }
}
