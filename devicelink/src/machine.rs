//! The host's side of a DeviceLink exchange. No socket, no clock, no task: bytes and time come in, events and bytes go
//! out.
//!
//! After [`Exchange::handle_bytes`] drain [`Exchange::poll_event`] to `None`; after any call send everything that
//! [`Exchange::poll_transmit`] gives and read [`Exchange::poll_timeout`] again. The stream is half-duplex: while the
//! host owes an answer nothing is read, and each request of the device gets exactly one [`Exchange::respond`].
//! Spec: mobilebackup2, sections 2, 4, 5, 7 and 17.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use cabled_wire::frame;
use cabled_wire::plist::{DictExt, Dictionary, Value};
use cabled_wire::{WireError, dict};

use crate::error::DeviceLinkError;
use crate::msg::{self, Message, Status};
pub use crate::options::{Deadlines, ExchangeOptions, Phase};
use crate::transfer::{self, Direction, Receiver};

/// How much of a text from the device is kept.
const MAX_TEXT: usize = 4096;
/// Empty arrays that are ignored before the exchange fails (spec 1.2).
const MAX_EMPTY: u8 = 3;

/// What the handshake settled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hello {
    /// DeviceLink version of the device. Above 400 it is newer than any known one.
    pub device_link: (u64, u64),
    /// Backup protocol version: 2.0 or 2.1.
    pub protocol: f64,
}

/// The device's `DLMessageProcessMessage`: the answer to `Hello`, and the result of the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// `ErrorCode`; `None` if there was none or it was no integer, which counts as failure.
    pub code: Option<i64>,
    /// `ErrorDescription`, cut to 4 KiB. May hold paths and identifiers.
    pub description: Option<String>,
    /// `Content`: the text of `Info` and `List`.
    pub content: Option<String>,
}

impl Response {
    /// Did the device say that all went well?
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    fn of(dict: &Dictionary) -> Self {
        let text = |key| dict.get(key).and_then(Value::as_string);
        Self {
            code: dict.get("ErrorCode").and_then(msg::integer),
            description: text("ErrorDescription").map(bounded),
            content: text("Content").map(str::to_owned),
        }
    }
}

/// What the exchange tells its driver.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The handshake is over: [`Exchange::request`] is due.
    Ready(Hello),
    /// The device wants something and waits for [`Exchange::respond`]; a download wants [`Exchange::send`] before.
    /// For [`Message::UploadFiles`] [`Event::Transfer`]s come first and [`Exchange::respond`] is due after their end.
    Asked(Message),
    /// A piece of an upload.
    Transfer(transfer::Event),
    /// The result. It gets no answer; [`Exchange::disconnect`] is due.
    Response(Response),
}

/// The host's side of one connection, which serves one request.
#[derive(Debug)]
pub struct Exchange {
    options: ExchangeOptions,
    state: State,
    /// Bytes that were handed in and not looked at yet.
    inbox: Bytes,
    /// The frame that is being gathered.
    frame: BytesMut,
    outbox: BytesMut,
    last_byte: Instant,
    empty_frames: u8,
}

#[derive(Debug)]
enum State {
    AwaitVersion,
    AwaitReady { device_link: (u64, u64) },
    AwaitHello { device_link: (u64, u64) },
    Idle,
    Listening(Phase),
    Receiving(Receiver),
    Owing { after: Phase },
    Sending,
    Done,
    Closed,
}

impl Exchange {
    /// Waits for the device, which speaks first.
    #[must_use]
    pub fn new(now: Instant, options: ExchangeOptions) -> Self {
        Self {
            options,
            state: State::AwaitVersion,
            inbox: Bytes::new(),
            frame: BytesMut::new(),
            outbox: BytesMut::new(),
            last_byte: now,
            empty_frames: 0,
        }
    }

    /// What is going on.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::AwaitVersion | State::AwaitReady { .. } | State::AwaitHello { .. } => Phase::Handshake,
            State::Idle => Phase::Request,
            State::Listening(phase) => *phase,
            State::Receiving(_) => Phase::Upload,
            State::Owing { .. } | State::Sending => Phase::Answer,
            State::Done => Phase::Result,
            State::Closed => Phase::Closed,
        }
    }

    /// Does the device owe us bytes? While it does not, nothing need be read.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        !matches!(
            self.phase(),
            Phase::Request | Phase::Answer | Phase::Result | Phase::Closed
        )
    }

    /// Takes bytes from the device. Drain [`Self::poll_event`] before and after.
    pub fn handle_bytes(&mut self, now: Instant, bytes: Bytes) {
        self.last_byte = now;
        if self.inbox.is_empty() {
            self.inbox = bytes;
        } else {
            self.inbox = [&self.inbox[..], &bytes[..]].concat().into();
        }
    }

    /// The stream ended.
    ///
    /// # Errors
    /// [`DeviceLinkError::Closed`], unless the result had come.
    pub fn handle_end(&mut self) -> Result<(), DeviceLinkError> {
        let phase = self.phase();
        self.state = State::Closed;
        if matches!(phase, Phase::Result | Phase::Closed) {
            Ok(())
        } else {
            Err(DeviceLinkError::Closed { phase })
        }
    }

    /// When [`Self::handle_timeout`] is due; `None` while the device owes nothing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.idle().and_then(|idle| self.last_byte.checked_add(idle))
    }

    /// Time passed.
    ///
    /// # Errors
    /// [`DeviceLinkError::TimedOut`] if nothing came for as long as the phase allows.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), DeviceLinkError> {
        let Some(after) = self.idle() else { return Ok(()) };
        if now.saturating_duration_since(self.last_byte) < after {
            return Ok(());
        }
        let phase = self.phase();
        self.state = State::Closed;
        Err(DeviceLinkError::TimedOut { phase, after })
    }

    /// What to write next, all that is there.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        (!self.outbox.is_empty()).then(|| self.outbox.split().freeze())
    }

    /// The next thing that happened, or `None` until more bytes come or the owed answer is given.
    ///
    /// # Errors
    /// What the device did wrong; the exchange is closed then.
    pub fn poll_event(&mut self) -> Result<Option<Event>, DeviceLinkError> {
        match self.advance() {
            Ok(event) => Ok(event),
            Err(error) => {
                self.state = State::Closed;
                Err(error)
            }
        }
    }

    /// Sends the one request that this connection serves.
    ///
    /// # Errors
    /// [`DeviceLinkError::OutOfTurn`] before [`Event::Ready`] or a second time.
    pub fn request(&mut self, now: Instant, request: Dictionary) -> Result<(), DeviceLinkError> {
        match self.state {
            State::Idle => {
                self.put(&Message::ProcessMessage(request))?;
                self.listen(now, Phase::FirstMessage);
                Ok(())
            }
            _ => Err(self.out_of_turn("request")),
        }
    }

    /// Sends a piece of the raw transfer that answers a download: whole names, blocks and end marks as
    /// [`transfer`] encodes them.
    ///
    /// # Errors
    /// [`DeviceLinkError::OutOfTurn`] when no download is due.
    pub fn send(&mut self, now: Instant, encoded: &[u8]) -> Result<(), DeviceLinkError> {
        match self.state {
            State::Sending => {
                self.last_byte = now;
                self.outbox.extend_from_slice(encoded);
                Ok(())
            }
            _ => Err(self.out_of_turn("send")),
        }
    }

    /// Answers the device; for a download this also ends the raw transfer, for which [`transfer::END_OF_BATCH`] is put
    /// in front.
    ///
    /// # Errors
    /// [`DeviceLinkError::OutOfTurn`] when no answer is owed.
    pub fn respond(&mut self, now: Instant, status: Status) -> Result<(), DeviceLinkError> {
        let next = match self.state {
            State::Owing { after } => after,
            State::Sending => {
                self.outbox.extend_from_slice(&transfer::END_OF_BATCH);
                Phase::AfterDownload
            }
            _ => return Err(self.out_of_turn("respond")),
        };
        self.put(&Message::StatusResponse(status))?;
        self.listen(now, next);
        Ok(())
    }

    /// Says goodbye; `None` is the placeholder that every client sends after a normal end. Possible in any state but
    /// inside a raw transfer, where nothing is sent: the bytes would be taken for file data.
    pub fn disconnect(&mut self, reason: Option<String>) {
        if !matches!(self.state, State::Closed | State::Sending) {
            // A reason is our own short text; no frame can be too long.
            let _ = self.put(&Message::Disconnect { reason });
        }
        self.state = State::Closed;
    }

    fn idle(&self) -> Option<Duration> {
        let waits = &self.options.deadlines;
        match self.phase() {
            Phase::Handshake => Some(waits.handshake),
            Phase::FirstMessage => Some(waits.first_message),
            Phase::Exchange => Some(waits.exchange),
            Phase::AfterDownload => Some(waits.after_download),
            Phase::Upload => Some(waits.upload),
            Phase::Request | Phase::Answer | Phase::Result | Phase::Closed => None,
        }
    }

    fn listen(&mut self, now: Instant, phase: Phase) {
        self.last_byte = now;
        self.state = State::Listening(phase);
    }

    fn out_of_turn(&self, call: &'static str) -> DeviceLinkError {
        DeviceLinkError::OutOfTurn {
            call,
            phase: self.phase(),
        }
    }

    fn put(&mut self, message: &Message) -> Result<(), DeviceLinkError> {
        tracing::debug!(?message, "to the device");
        let frame = frame::encode(&message.encode_as(self.options.encoding))?;
        self.outbox.extend_from_slice(&frame);
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Event>, DeviceLinkError> {
        if let State::Receiving(receiver) = &mut self.state {
            let event = receiver.feed(&mut self.inbox)?;
            if receiver.is_finished() {
                self.state = State::Owing { after: Phase::Exchange };
            }
            return Ok(event.map(Event::Transfer));
        }
        while self.wants_bytes() {
            let Some(message) = self.next_message()? else {
                return Ok(None);
            };
            if let Some(event) = self.handle_message(message)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// All transitions that a message of the device makes.
    fn handle_message(&mut self, message: Message) -> Result<Option<Event>, DeviceLinkError> {
        match (&self.state, message) {
            (State::AwaitVersion, Message::VersionExchange { major, minor }) => {
                if major > 400 {
                    tracing::warn!(major, minor, "the device speaks a newer DeviceLink than any known one");
                }
                self.put(&Message::VersionsOk { major })?;
                self.state = State::AwaitReady {
                    device_link: (major, minor),
                };
                Ok(None)
            }
            (&State::AwaitReady { device_link }, Message::DeviceReady) => {
                let versions = self
                    .options
                    .protocols
                    .iter()
                    .map(|version| Value::Real(*version))
                    .collect();
                let hello = dict! { "MessageName" => "Hello", "SupportedProtocolVersions" => Value::Array(versions) };
                self.put(&Message::ProcessMessage(hello))?;
                self.state = State::AwaitHello { device_link };
                Ok(None)
            }
            (&State::AwaitHello { device_link }, Message::ProcessMessage(dict)) => {
                let protocol = agreed_protocol(&dict)?;
                self.state = State::Idle;
                Ok(Some(Event::Ready(Hello { device_link, protocol })))
            }
            (State::Listening(_), Message::ProcessMessage(dict)) => {
                self.state = State::Done;
                Ok(Some(Event::Response(Response::of(&dict))))
            }
            (_, Message::Disconnect { reason }) => {
                let reason = reason.as_deref().map(bounded);
                Err(DeviceLinkError::Disconnected {
                    phase: self.phase(),
                    reason,
                })
            }
            (
                State::Listening(_),
                message @ (Message::VersionExchange { .. }
                | Message::VersionsOk { .. }
                | Message::DeviceReady
                | Message::StatusResponse(_)),
            ) => Err(self.unexpected(&message)),
            (State::Listening(_), message) => {
                self.state = match &message {
                    Message::DownloadFiles { .. } => State::Sending,
                    Message::UploadFiles { .. } => State::Receiving(Receiver::new(Direction::Upload)),
                    _ => State::Owing { after: Phase::Exchange },
                };
                Ok(Some(Event::Asked(message)))
            }
            (_, message) => Err(self.unexpected(&message)),
        }
    }

    fn unexpected(&self, message: &Message) -> DeviceLinkError {
        DeviceLinkError::Unexpected {
            message: WireError::excerpt(message.name()),
            phase: self.phase(),
        }
    }

    /// Cuts the next frame out of the inbox; takes nothing beyond it, raw bytes may follow.
    fn next_message(&mut self) -> Result<Option<Message>, DeviceLinkError> {
        loop {
            let Some(body) = self.next_frame()? else {
                return Ok(None);
            };
            match Message::decode(&body, &self.options.limits) {
                Ok(message) => {
                    tracing::debug!(?message, "from the device");
                    return Ok(Some(message));
                }
                // One program was seen to meet empty arrays and go on; a few are forgiven.
                Err(WireError::Missing { key }) if key == msg::NAME && self.empty_frames < MAX_EMPTY => {
                    self.empty_frames = self.empty_frames.saturating_add(1);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, DeviceLinkError> {
        loop {
            let need = match self.frame.first_chunk::<{ frame::HEADER }>() {
                None => frame::HEADER,
                Some(header) => frame::HEADER.saturating_add(self.body_len(*header)?),
            };
            if need > frame::HEADER && self.frame.len() == need {
                self.frame.advance(frame::HEADER);
                return Ok(Some(self.frame.split().freeze()));
            }
            if self.inbox.is_empty() {
                return Ok(None);
            }
            let missing = need.saturating_sub(self.frame.len()).min(self.inbox.len());
            self.frame.extend_from_slice(&self.inbox.split_to(missing));
        }
    }

    fn body_len(&self, header: [u8; frame::HEADER]) -> Result<usize, WireError> {
        let declared = u32::from_be_bytes(header);
        let max = self.options.limits.bytes;
        match usize::try_from(declared) {
            Ok(0) => Err(WireError::Invalid {
                what: "frame length",
                value: 0,
            }),
            Ok(len) if len <= max => Ok(len),
            _ => Err(WireError::TooLong {
                field: "frame",
                declared: declared.into(),
                max: max as u64,
            }),
        }
    }
}

fn agreed_protocol(dict: &Dictionary) -> Result<f64, DeviceLinkError> {
    let name = dict.text("MessageName")?;
    if name != "Response" {
        let message = WireError::excerpt(name);
        return Err(DeviceLinkError::Unexpected {
            message,
            phase: Phase::Handshake,
        });
    }
    match dict.integer("ErrorCode")? {
        0 => {}
        1 => return Err(DeviceLinkError::NoCommonVersion),
        code => {
            return Err(DeviceLinkError::HelloRefused {
                code,
                text: Response::of(dict).description,
            });
        }
    }
    let protocol = dict.real("ProtocolVersion")?;
    if !(2.0..3.0).contains(&protocol) {
        return Err(WireError::Type {
            key: "ProtocolVersion".to_owned(),
            expected: "a version from 2.0 to 2.9",
        }
        .into());
    }
    Ok(protocol)
}

/// Cuts a text from the device to what is kept.
fn bounded(text: &str) -> String {
    let end = (0..=MAX_TEXT.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}
