//! The exchange over an async stream, in types that leave no wrong order to be written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::time::Instant;

use bytes::BytesMut;
use cabled_wire::io::BoxStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_blocking;
use tokio::time::{timeout, timeout_at};

use super::error::{Cancellation, Refusal, SessionError};
use super::machine::{Event, Machine, Opening, Wanted};
use super::{Phase, SessionOptions};
use crate::DataClass;
use crate::msg::PushInfo;
use crate::record::{Changes, RecordId};

/// Bytes that one read may bring.
const READ: usize = 128 << 10;

/// Messages from this size on are not taken apart on the runtime's own threads.
const LARGE: usize = 1 << 20;

/// A step of a session did not do what it was to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The device gave the class up and keeps nothing of the session. The connection is given back: another class can be
    /// opened.
    #[error(transparent)]
    Cancelled(Ended),
    /// The connection is over.
    #[error(transparent)]
    Link(#[from] SessionError),
}

/// A class that the device gave up, and the connection, which can go on.
#[derive(Debug)]
pub struct Ended {
    /// Why.
    pub cancellation: Cancellation,
    /// The connection, for another class.
    pub link: SyncLink,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cancellation.fmt(f)
    }
}

impl std::error::Error for Ended {}

/// What came of the opening of a class.
#[derive(Debug)]
pub enum OpenOutcome {
    /// It is open.
    Opened(Opened),
    /// The device refused; the connection can go on with another class.
    Refused(Refusal, SyncLink),
}

/// A connection to the sync service with no class open.
///
/// Every method that waits takes the connection by value and gives it back with its answer, so a future that is dropped
/// takes the connection with it and closes it: an answer that comes late would be taken for that of the next request.
/// The device then keeps nothing of an uncommitted session.
#[derive(Debug)]
pub struct SyncLink(Box<Driver>);

/// A class is open and nothing was asked for yet.
#[derive(Debug)]
pub struct Opened {
    driver: Box<Driver>,
    opening: Opening,
}

/// Records are being read.
#[derive(Debug)]
pub struct Pull {
    driver: Box<Driver>,
    /// The batch that was handed out last waits to be acknowledged.
    acknowledge: bool,
}

/// What [`Pull::next`] gives.
#[derive(Debug)]
pub enum Pulled {
    /// Records. They are acknowledged by the next call, when the caller has put them where they are safe.
    Batch(Changes, Pull),
    /// That was all; the device takes changes now.
    End(Push),
}

/// The device takes changes.
#[derive(Debug)]
pub struct Push {
    driver: Box<Driver>,
    complete: bool,
}

/// A session that the device committed.
#[derive(Debug)]
pub struct Committed {
    /// New records that the device dropped without a word.
    pub not_accepted: BTreeSet<RecordId>,
    /// The connection, for another class.
    pub link: SyncLink,
}

impl SyncLink {
    /// Shakes hands on a stream to `com.apple.mobilesync`.
    ///
    /// Dropping the future drops the stream.
    ///
    /// # Errors
    /// [`SessionError::UnsupportedLinkVersion`], [`SessionError::Busy`] after up to 70 s, and what breaks links.
    pub async fn connect(stream: BoxStream, options: SessionOptions) -> Result<Self, SessionError> {
        let mut driver = Box::new(Driver {
            stream,
            machine: Machine::new(now(), options),
            inbox: BytesMut::new(),
            options,
        });
        match driver.next().await? {
            Event::Linked { version } => {
                tracing::debug!(major = version.0, minor = version.1, "the sync service is ready");
                Ok(Self(driver))
            }
            event => Err(driver.odd(&event)),
        }
    }

    /// Opens a class. `device_anchor` is the device's anchor of the last *committed* session, `computer_anchor` a new one
    /// for this session.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn open(
        self,
        class: DataClass,
        device_anchor: Option<String>,
        computer_anchor: String,
        version: i64,
    ) -> Result<OpenOutcome, StepError> {
        let Self(mut driver) = self;
        driver
            .machine
            .open(now(), class, device_anchor, computer_anchor, version)?;
        match driver.next().await? {
            Event::Opened(opening) => Ok(OpenOutcome::Opened(Opened { driver, opening })),
            Event::Refused(refusal) => Ok(OpenOutcome::Refused(refusal, Self(driver))),
            event => Err(driver.other(event)),
        }
    }

    /// Says goodbye and closes the stream. A device that is gone already is no error.
    ///
    /// Dropping the future drops the stream.
    pub async fn close(self) {
        let Self(mut driver) = self;
        driver.machine.disconnect();
        if driver.flush(Phase::Closed).await.is_ok() {
            let _ = timeout(driver.options.write, driver.stream.shutdown()).await;
        }
    }
}

impl Opened {
    /// What the device answered: anchors, sync type, version.
    #[must_use]
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Asks for records.
    ///
    /// # Errors
    /// [`SessionError::OutOfTurn`] never happens here; the type is that of all steps.
    pub fn pull(mut self, wanted: Wanted) -> Result<Pull, SessionError> {
        self.driver.machine.pull(now(), wanted)?;
        Ok(Pull {
            driver: self.driver,
            acknowledge: false,
        })
    }

    /// Asks the device to forget all records of the class when the session is committed.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn clear(mut self) -> Result<Self, StepError> {
        self.driver = clear(self.driver).await?;
        Ok(self)
    }

    /// Commits, with nothing written.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn finish(self) -> Result<Committed, StepError> {
        finish(self.driver).await
    }

    /// Gives the session up.
    ///
    /// # Errors
    /// What breaks links.
    pub async fn cancel(self, reason: &str) -> Result<SyncLink, SessionError> {
        cancel(self.driver, reason).await
    }
}

impl Pull {
    /// The next batch, or the end. Acknowledges the batch before.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn next(mut self) -> Result<Pulled, StepError> {
        if std::mem::take(&mut self.acknowledge) {
            self.driver.machine.acknowledge(now())?;
        }
        match self.driver.next().await? {
            Event::Batch(changes) => {
                self.acknowledge = true;
                Ok(Pulled::Batch(changes, self))
            }
            Event::Pushable { complete } => Ok(Pulled::End(Push {
                driver: self.driver,
                complete,
            })),
            event => Err(self.driver.other(event)),
        }
    }

    /// Gives the session up; possible after a batch.
    ///
    /// # Errors
    /// [`SessionError::OutOfTurn`] before the first batch; what breaks links.
    pub async fn cancel(self, reason: &str) -> Result<SyncLink, SessionError> {
        cancel(self.driver, reason).await
    }
}

impl Push {
    /// Whether everything was told: only then does absence of a record mean anything.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Sends records and gives the device's identifiers for the new ones among them.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn send(
        mut self,
        changes: Changes,
        more: bool,
        info: PushInfo,
    ) -> Result<(BTreeMap<RecordId, RecordId>, Self), StepError> {
        self.driver.machine.push(now(), changes, more, info)?;
        match self.driver.next().await? {
            Event::Remapped(ids) => Ok((ids, self)),
            event => Err(self.driver.other(event)),
        }
    }

    /// Asks the device to forget all records of the class when the session is committed.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn clear(mut self) -> Result<Self, StepError> {
        self.driver = clear(self.driver).await?;
        Ok(self)
    }

    /// Commits.
    ///
    /// # Errors
    /// [`StepError`]. After [`StepError::Link`] nobody knows whether the device committed; the next session's opening
    /// tells.
    pub async fn finish(self) -> Result<Committed, StepError> {
        finish(self.driver).await
    }

    /// Gives the session up.
    ///
    /// # Errors
    /// What breaks links.
    pub async fn cancel(self, reason: &str) -> Result<SyncLink, SessionError> {
        cancel(self.driver, reason).await
    }
}

/// Has the device delete all of the class.
async fn clear(mut driver: Box<Driver>) -> Result<Box<Driver>, StepError> {
    driver.machine.clear(now())?;
    match driver.next().await? {
        Event::WillClear => Ok(driver),
        event => Err(driver.other(event)),
    }
}

async fn finish(mut driver: Box<Driver>) -> Result<Committed, StepError> {
    driver.machine.finish(now())?;
    match driver.next().await? {
        Event::Finished { not_accepted } => Ok(Committed {
            not_accepted,
            link: SyncLink(driver),
        }),
        event => Err(driver.other(event)),
    }
}

async fn cancel(mut driver: Box<Driver>, reason: &str) -> Result<SyncLink, SessionError> {
    driver.machine.cancel(now(), reason)?;
    driver.flush(Phase::Idle).await?;
    Ok(SyncLink(driver))
}

/// The machine with a socket and a clock.
struct Driver {
    stream: BoxStream,
    machine: Machine,
    inbox: BytesMut,
    options: SessionOptions,
}

impl Driver {
    /// Writes what is due and waits for the next event.
    async fn next(&mut self) -> Result<Event, SessionError> {
        loop {
            if let Some(event) = self.event().await? {
                return Ok(event);
            }
            let phase = self.machine.phase();
            self.flush(phase).await?;
            if !self.machine.wants_bytes() {
                return Err(SessionError::OutOfTurn { call: "next", phase });
            }
            self.inbox.reserve(READ);
            let read = self.stream.read_buf(&mut self.inbox);
            let read = match self.machine.poll_timeout() {
                Some(deadline) => match timeout_at(deadline.into(), read).await {
                    Ok(read) => read,
                    Err(_) => {
                        self.machine.handle_timeout(now())?;
                        continue;
                    }
                },
                None => read.await,
            };
            match read {
                Ok(0) => self.machine.handle_end()?,
                Ok(_) => self.machine.handle_bytes(now(), &self.inbox),
                // A TLS peer that leaves without a goodbye.
                Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => self.machine.handle_end()?,
                Err(source) => return Err(SessionError::Io { phase, source }),
            }
            self.inbox.clear();
        }
    }

    /// What the bytes so far say. A message of megabytes, as with all numbers of an address book, is taken apart on a thread
    /// where that holds nobody up. If the future is dropped then, the session is of no use any more.
    async fn event(&mut self) -> Result<Option<Event>, SessionError> {
        if self.machine.buffered() < LARGE {
            return self.machine.poll_event();
        }
        let phase = self.machine.phase();
        let placeholder = Machine::new(now(), self.options);
        let mut machine = std::mem::replace(&mut self.machine, placeholder);
        let taken_apart = spawn_blocking(move || {
            let event = machine.poll_event();
            (machine, event)
        });
        let (machine, event) = taken_apart.await.map_err(|ended| SessionError::Io {
            phase,
            source: io::Error::other(ended),
        })?;
        self.machine = machine;
        event
    }

    async fn flush(&mut self, phase: Phase) -> Result<(), SessionError> {
        let after = self.options.write;
        while let Some(mut bytes) = self.machine.poll_transmit() {
            while !bytes.is_empty() {
                let write = timeout(after, self.stream.write_buf(&mut bytes)).await;
                match write.map_err(|_| SessionError::TimedOut { phase, after })? {
                    Ok(0) => return Err(SessionError::Closed { phase }),
                    Ok(_) => {}
                    Err(source) => return Err(SessionError::Io { phase, source }),
                }
            }
        }
        let flush = timeout(after, self.stream.flush()).await;
        flush
            .map_err(|_| SessionError::TimedOut { phase, after })?
            .map_err(|source| SessionError::Io { phase, source })
    }

    /// An event that is not the answer: the device gave up, or the machine and this file disagree.
    fn other(self: Box<Self>, event: Event) -> StepError {
        match event {
            Event::Cancelled(cancellation) => StepError::Cancelled(Ended {
                cancellation,
                link: SyncLink(self),
            }),
            event => StepError::Link(self.odd(&event)),
        }
    }

    fn odd(&self, event: &Event) -> SessionError {
        SessionError::Unexpected {
            message: format!("{event:.40?}"),
            phase: self.machine.phase(),
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("phase", &self.machine.phase())
            .finish_non_exhaustive()
    }
}

/// tokio's clock, which tests can move by hand.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
