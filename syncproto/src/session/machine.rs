//! The computer's side of the exchange. No socket, no clock, no task: bytes, time and commands come in, events and bytes
//! go out.
//!
//! After each `handle_*` and each command drain [`Machine::poll_event`] to `None`, send everything that
//! [`Machine::poll_transmit`] gives and read [`Machine::poll_timeout`] again. One request is outstanding at a time, as
//! the device handles one message, answers, and then reads on. Spec: mobilesync, sections 3, 4 and 6.

mod answers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use cabled_devicelink::msg::Message as LinkMessage;
use cabled_wire::WireError;
use cabled_wire::frame::{self, FrameDecoder};
use cabled_wire::plist::Limits;

use super::error::{Cancellation, Refusal, SessionError};
use super::{Phase, SessionOptions};
use crate::DataClass;
use crate::msg::{Message, PushInfo, SyncType};
use crate::record::{Change, Changes, RecordId};
use answers::answered;

/// A wait starts anew when this much came: a long batch on a slow link is not silence, a trickle is.
const PROGRESS: u64 = 64 << 10;
/// Bytes of a link message's text that are kept.
const MAX_TEXT: usize = 4096;

/// Which records are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything. Allowed whatever the sync type is.
    All,
    /// What changed since the last session.
    Changes,
}

/// The device's answer to the opening of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The computer's anchor that the device committed last, whoever sent it; `None` when it has none.
    pub computer_anchor_last: Option<String>,
    /// The device's anchor for the next session, to be kept once this one is committed.
    pub device_anchor_next: Option<String>,
    /// What the device can tell.
    pub sync_type: SyncType,
    /// The device's version of the class.
    pub version: Option<i64>,
}

/// What the machine tells its driver.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The link stands: classes can be opened.
    Linked {
        /// The device's link version.
        version: (u64, u64),
    },
    /// The class is open.
    Opened(Opening),
    /// The class stays closed; another one can be opened.
    Refused(Refusal),
    /// Records of the device; [`Machine::acknowledge`] is due.
    Batch(Changes),
    /// The device has told everything and takes changes.
    Pushable {
        /// Whether the last batch said that it was the last: only then does absence mean anything.
        complete: bool,
    },
    /// The device will clear the class when the session is committed.
    WillClear,
    /// The device's identifiers for new records of the last batch.
    Remapped(BTreeMap<RecordId, RecordId>),
    /// The session is committed on the device.
    Finished {
        /// New records that the device gave no identifier: it dropped them without a word.
        not_accepted: BTreeSet<RecordId>,
    },
    /// The device gave the session up and keeps nothing of it; another class can be opened.
    Cancelled(Cancellation),
}

/// What is known of the open class.
#[derive(Debug)]
struct Session {
    class: DataClass,
    /// What the last batch said about more to come.
    more: Option<bool>,
    /// New records without an identifier from the device.
    unmapped: BTreeSet<RecordId>,
    /// Records that were sent under the device's own identifiers.
    updated: BTreeSet<RecordId>,
    /// Identifiers that the device gave out in this session.
    given: BTreeSet<RecordId>,
}

#[derive(Debug)]
enum State {
    AwaitVersion,
    AwaitReady { version: (u64, u64) },
    Linked,
    Opening(Session),
    Open(Session),
    Pulling(Session),
    PullPending(Session),
    Clearing { session: Session, pushable: bool },
    Pushable(Session),
    Pushing(Session),
    Finishing(Session),
    Closed,
}

/// The computer's side of one connection, which serves one class after the other.
#[derive(Debug)]
pub struct Machine {
    options: SessionOptions,
    state: State,
    decoder: FrameDecoder,
    outbox: BytesMut,
    /// Since when the device owes something, or when it last made progress.
    waiting_since: Instant,
    received: u64,
}

impl Machine {
    /// Waits for the device, which speaks first.
    #[must_use]
    pub fn new(now: Instant, options: SessionOptions) -> Self {
        Self {
            options,
            state: State::AwaitVersion,
            decoder: FrameDecoder::new(options.limits.bytes),
            outbox: BytesMut::new(),
            waiting_since: now,
            received: 0,
        }
    }

    /// What is being waited for.
    #[must_use]
    pub fn phase(&self) -> Phase {
        phase_of(&self.state)
    }

    /// Whether the device owes an answer. While it does not, nothing need be read.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        !matches!(self.phase(), Phase::Idle | Phase::Closed)
    }

    /// Bytes that were taken and not yet taken apart.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.decoder.buffered()
    }

    /// Takes bytes from the device.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.received = self.received.saturating_add(bytes.len() as u64);
        if self.received >= PROGRESS {
            (self.received, self.waiting_since) = (0, now);
        }
        self.decoder.push(bytes);
    }

    /// The stream ended.
    ///
    /// # Errors
    /// [`SessionError::Closed`], always: nobody ends a connection that the computer has not closed.
    pub fn handle_end(&mut self) -> Result<(), SessionError> {
        let phase = self.phase();
        self.state = State::Closed;
        match phase {
            Phase::Closed => Ok(()),
            phase => Err(SessionError::Closed { phase }),
        }
    }

    /// When [`Machine::handle_timeout`] is due; `None` while the device owes nothing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let limit = self.options.limit(self.phase())?;
        self.waiting_since.checked_add(limit)
    }

    /// Time passed. A link that timed out is over: a late answer would be taken for that of the next request.
    ///
    /// # Errors
    /// [`SessionError::TimedOut`] when the device was silent for as long as the phase allows.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        let phase = self.phase();
        let Some(after) = self.options.limit(phase) else {
            return Ok(());
        };
        if now.saturating_duration_since(self.waiting_since) < after {
            return Ok(());
        }
        self.state = State::Closed;
        Err(SessionError::TimedOut { phase, after })
    }

    /// What to write next, all that is there.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        (!self.outbox.is_empty()).then(|| self.outbox.split().freeze())
    }

    /// The next thing that happened, or `None` until more bytes come or the computer does something.
    ///
    /// # Errors
    /// What the device did wrong; the machine is closed then.
    pub fn poll_event(&mut self) -> Result<Option<Event>, SessionError> {
        let event = self.advance();
        if event.is_err() {
            self.state = State::Closed;
        }
        event
    }

    /// Opens a class. `device_anchor` is that of the last *committed* session, `None` when there is none;
    /// `computer_anchor` is new for every session.
    ///
    /// # Errors
    /// [`SessionError::OutOfTurn`] while another class is open or the link does not stand.
    pub fn open(
        &mut self,
        now: Instant,
        class: DataClass,
        device_anchor: Option<String>,
        computer_anchor: String,
        version: i64,
    ) -> Result<(), SessionError> {
        if !matches!(self.state, State::Linked) {
            return Err(self.out_of_turn("open"));
        }
        let session = Session {
            class: class.clone(),
            more: None,
            unmapped: BTreeSet::new(),
            updated: BTreeSet::new(),
            given: BTreeSet::new(),
        };
        let message = Message::Start {
            class,
            device_anchor,
            computer_anchor,
            version,
            info: None,
        };
        self.ask(now, &message, State::Opening(session))
    }

    /// Asks for records.
    ///
    /// # Errors
    /// [`SessionError::OutOfTurn`] unless a class was just opened.
    pub fn pull(&mut self, now: Instant, wanted: Wanted) -> Result<(), SessionError> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(session) => {
                let class = session.class.clone();
                let message = match wanted {
                    Wanted::All => Message::GetAllRecords { class },
                    Wanted::Changes => Message::GetChanges { class },
                };
                self.ask(now, &message, State::Pulling(session))
            }
            state => self.refuse("pull", state),
        }
    }

    /// Says that the last batch arrived, and is where it is safe.
    ///
    /// # Errors
    /// [`SessionError::OutOfTurn`] when no batch waits for it.
    pub fn acknowledge(&mut self, now: Instant) -> Result<(), SessionError> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::PullPending(session) => {
                let class = session.class.clone();
                self.ask(now, &Message::Acknowledge { class }, State::Pulling(session))
            }
            state => self.refuse("acknowledge", state),
        }
    }

    /// Asks the device to forget all records of the class; it does so when the session is committed.
    ///
    /// # Errors
    /// [`SessionError::OutOfTurn`] while records are being pulled or pushed.
    pub fn clear(&mut self, now: Instant) -> Result<(), SessionError> {
        let (session, pushable) = match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(session) => (session, false),
            State::Pushable(session) => (session, true),
            state => return self.refuse("clear", state),
        };
        let class = session.class.clone();
        self.ask(now, &Message::Clear { class }, State::Clearing { session, pushable })
    }

    /// Sends records. What is written replaces the whole record; parents go in an earlier batch than their children.
    ///
    /// # Errors
    /// [`SessionError::OutOfTurn`] before the device takes changes.
    pub fn push(&mut self, now: Instant, changes: Changes, more: bool, info: PushInfo) -> Result<(), SessionError> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Pushable(mut session) => {
                for (id, change) in changes.iter() {
                    match change {
                        Change::Upsert(_) if id.is_devices_own() => session.updated.insert(id.clone()),
                        Change::Upsert(_) => session.unmapped.insert(id.clone()),
                        Change::Delete => false,
                    };
                }
                let message = Message::ProcessChanges {
                    class: session.class.clone(),
                    changes: Some(changes),
                    more,
                    info: Some(info),
                };
                self.ask(now, &message, State::Pushing(session))
            }
            state => self.refuse("push", state),
        }
    }

    /// Asks the device to commit.
    ///
    /// # Errors
    /// [`SessionError::OutOfTurn`] while an answer is owed or a batch is not acknowledged.
    pub fn finish(&mut self, now: Instant) -> Result<(), SessionError> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(session) | State::Pushable(session) => {
                let class = session.class.clone();
                self.ask(now, &Message::Finish { class }, State::Finishing(session))
            }
            state => self.refuse("finish", state),
        }
    }

    /// Gives the session up; the device keeps nothing of it and does not answer. Another class can be opened at once.
    ///
    /// # Errors
    /// [`SessionError::OutOfTurn`] while an answer is owed: it would be taken for that of the next request.
    pub fn cancel(&mut self, now: Instant, reason: &str) -> Result<(), SessionError> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(session) | State::PullPending(session) | State::Pushable(session) => {
                let message = Message::Cancel {
                    class: session.class,
                    reason: reason.to_owned(),
                };
                self.ask(now, &message, State::Linked)
            }
            state => self.refuse("cancel", state),
        }
    }

    /// Says goodbye. Nothing can be done afterwards.
    pub fn disconnect(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.link(&LinkMessage::Disconnect { reason: None });
        }
        self.state = State::Closed;
    }

    fn ask(&mut self, now: Instant, message: &Message, next: State) -> Result<(), SessionError> {
        let frame = frame::encode(&message.encode());
        self.outbox
            .extend_from_slice(&frame.map_err(|source| SessionError::Wire {
                phase: Phase::Idle,
                source,
            })?);
        (self.waiting_since, self.received) = (now, 0);
        self.state = next;
        Ok(())
    }

    fn link(&mut self, message: &LinkMessage) {
        // Our own short messages: no frame can be too long.
        if let Ok(frame) = frame::encode(&message.encode()) {
            self.outbox.extend_from_slice(&frame);
        }
    }

    fn refuse(&mut self, call: &'static str, state: State) -> Result<(), SessionError> {
        self.state = state;
        Err(self.out_of_turn(call))
    }

    fn out_of_turn(&self, call: &'static str) -> SessionError {
        SessionError::OutOfTurn {
            call,
            phase: self.phase(),
        }
    }

    fn advance(&mut self) -> Result<Option<Event>, SessionError> {
        while self.wants_bytes() {
            let phase = self.phase();
            let wire = |source| SessionError::Wire { phase, source };
            let Some(body) = self.decoder.next_frame().map_err(wire)? else {
                return Ok(None);
            };
            let heard = Heard::decode(&body, &self.options.limits).map_err(wire)?;
            if let Some(event) = self.handle(heard)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn handle(&mut self, heard: Heard) -> Result<Option<Event>, SessionError> {
        match heard {
            Heard::Link(message) => self.handle_link(message),
            Heard::Sync(message) => {
                let state = std::mem::replace(&mut self.state, State::Closed);
                let (next, event) = answered(state, message)?;
                self.state = next;
                Ok(Some(event))
            }
        }
    }

    fn handle_link(&mut self, message: LinkMessage) -> Result<Option<Event>, SessionError> {
        match (&self.state, message) {
            (State::AwaitVersion, LinkMessage::VersionExchange { major, minor }) => {
                let (most, most_minor) = self.options.max_link_version;
                if major > most || (major == most && minor > most_minor) {
                    self.link(&LinkMessage::Disconnect {
                        reason: Some("the link's version is not supported".to_owned()),
                    });
                    return Err(SessionError::UnsupportedLinkVersion { major, minor });
                }
                self.link(&LinkMessage::VersionsOk { major: most });
                self.state = State::AwaitReady {
                    version: (major, minor),
                };
                Ok(None)
            }
            (&State::AwaitReady { version }, LinkMessage::DeviceReady) => {
                self.state = State::Linked;
                Ok(Some(Event::Linked { version }))
            }
            // Devices are not known to ping; one that does is alive.
            (_, LinkMessage::Ping(_)) => Ok(None),
            (state, LinkMessage::Disconnect { reason }) => {
                let reason = reason.map(bounded);
                match (state, reason) {
                    (State::AwaitVersion | State::AwaitReady { .. }, Some(reason)) => {
                        Err(SessionError::Busy { reason })
                    }
                    (_, reason) => Err(SessionError::Disconnected {
                        phase: self.phase(),
                        reason,
                    }),
                }
            }
            (_, message) => Err(SessionError::Unexpected {
                message: WireError::excerpt(message.name()),
                phase: self.phase(),
            }),
        }
    }
}

/// What a frame holds.
enum Heard {
    Link(LinkMessage),
    Sync(Message),
}

impl Heard {
    fn decode(body: &[u8], limits: &Limits) -> Result<Self, WireError> {
        match Message::decode(body, limits) {
            Ok(message) => Ok(Self::Sync(message)),
            Err(WireError::Unexpected { .. }) => LinkMessage::decode(body, limits).map(Self::Link),
            Err(error) => Err(error),
        }
    }
}

fn phase_of(state: &State) -> Phase {
    match state {
        State::Opening(_) => Phase::Opening,
        State::Pulling(_) => Phase::Pulling,
        State::Clearing { .. } => Phase::Clearing,
        State::Pushing(_) => Phase::Pushing,
        State::Finishing(_) => Phase::Finishing,
        State::AwaitVersion => Phase::LinkVersion,
        State::AwaitReady { .. } => Phase::LinkReady,
        State::Linked | State::Open(_) | State::PullPending(_) | State::Pushable(_) => Phase::Idle,
        State::Closed => Phase::Closed,
    }
}

fn bounded(mut text: String) -> String {
    let end = (0..=MAX_TEXT.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}
