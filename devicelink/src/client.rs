//! A DeviceLink connection over an async byte stream: the [`Exchange`] with a socket and a clock.

use std::io;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use cabled_wire::io::BoxStream;
use cabled_wire::plist::Dictionary;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{timeout, timeout_at};

use crate::DeviceLinkError;
use crate::machine::{Event, Exchange, ExchangeOptions, Hello, Phase};
use crate::msg::Status;

/// Bytes that one read may bring.
const READ: usize = 128 << 10;

/// One connection to a DeviceLink service, which serves one request.
///
/// Everything it sends is queued and leaves with the next [`Self::next`] or [`Self::flush`].
pub struct Connection {
    stream: BoxStream,
    exchange: Exchange,
    hello: Option<Hello>,
    write_deadline: std::time::Duration,
    unsent: Bytes,
    /// Since when the device has taken nothing of what is queued. Outlives a dropped future: many short waits are one
    /// long one.
    stalled_since: Option<tokio::time::Instant>,
    /// Was something written that may still lie in a buffer of the stream?
    unflushed: bool,
    inbox: BytesMut,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("phase", &self.exchange.phase())
            .field("hello", &self.hello)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Shakes hands: version exchange and `Hello`.
    ///
    /// Dropping the future drops the stream with it.
    ///
    /// # Errors
    /// [`DeviceLinkError`], with [`Phase::Handshake`] where a phase is named.
    pub async fn open(stream: BoxStream, options: ExchangeOptions) -> Result<Self, DeviceLinkError> {
        let write_deadline = options.deadlines.write;
        let exchange = Exchange::new(now(), options);
        let (unsent, inbox) = (Bytes::new(), BytesMut::new());
        let mut connection = Self {
            stream,
            exchange,
            hello: None,
            write_deadline,
            unsent,
            stalled_since: None,
            unflushed: false,
            inbox,
        };
        match connection.next().await? {
            Event::Ready(hello) => {
                connection.hello = Some(hello);
                Ok(connection)
            }
            event => Err(DeviceLinkError::Unexpected {
                message: format!("{event:.40?}"),
                phase: Phase::Handshake,
            }),
        }
    }

    /// What the handshake settled.
    #[must_use]
    pub fn hello(&self) -> Option<Hello> {
        self.hello
    }

    /// What is going on.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.exchange.phase()
    }

    /// The next event; before it waits, everything queued is written.
    ///
    /// Safe to drop: no byte is lost, the next call goes on where this one stopped.
    ///
    /// # Errors
    /// [`DeviceLinkError`]; [`DeviceLinkError::OutOfTurn`] when the device owes nothing and waiting would never end.
    pub async fn next(&mut self) -> Result<Event, DeviceLinkError> {
        loop {
            if let Some(event) = self.exchange.poll_event()? {
                return Ok(event);
            }
            self.flush().await?;
            if !self.exchange.wants_bytes() {
                return Err(DeviceLinkError::OutOfTurn {
                    call: "next",
                    phase: self.exchange.phase(),
                });
            }
            self.read().await?;
        }
    }

    /// The next event if the bytes for it are here already.
    ///
    /// # Errors
    /// [`DeviceLinkError`].
    pub fn try_next(&mut self) -> Result<Option<Event>, DeviceLinkError> {
        self.exchange.poll_event()
    }

    /// Queues the request.
    ///
    /// # Errors
    /// [`DeviceLinkError::OutOfTurn`].
    pub fn request(&mut self, request: Dictionary) -> Result<(), DeviceLinkError> {
        self.exchange.request(now(), request)
    }

    /// Queues an answer.
    ///
    /// # Errors
    /// [`DeviceLinkError::OutOfTurn`].
    pub fn respond(&mut self, status: Status) -> Result<(), DeviceLinkError> {
        self.exchange.respond(now(), status)
    }

    /// Writes a piece of the raw transfer that answers a download, encoded by [`crate::transfer`].
    ///
    /// Safe to drop: what was not written leaves with the next call, and nothing twice.
    ///
    /// # Errors
    /// [`DeviceLinkError`].
    pub async fn send(&mut self, encoded: &[u8]) -> Result<(), DeviceLinkError> {
        self.exchange.send(now(), encoded)?;
        self.flush().await
    }

    /// Writes everything queued.
    ///
    /// Safe to drop: the next call goes on where this one stopped.
    ///
    /// # Errors
    /// [`DeviceLinkError::Io`]; [`DeviceLinkError::TimedOut`] when the device takes nothing for too long.
    pub async fn flush(&mut self) -> Result<(), DeviceLinkError> {
        let phase = self.exchange.phase();
        loop {
            let give_up = self.write_until();
            if !self.unsent.has_remaining() {
                match self.exchange.poll_transmit() {
                    Some(bytes) => self.unsent = bytes,
                    None if self.unflushed => break,
                    None => {
                        self.stalled_since = None;
                        return Ok(());
                    }
                }
            }
            self.unflushed = true;
            let write = timeout_at(give_up, self.stream.write_buf(&mut self.unsent)).await;
            match write.map_err(|_| self.too_slow(phase))? {
                Ok(0) => return Err(DeviceLinkError::Closed { phase }),
                Ok(_) => self.stalled_since = None,
                Err(source) => return Err(DeviceLinkError::Io { phase, source }),
            }
        }
        let flush = timeout_at(self.write_until(), self.stream.flush()).await;
        flush
            .map_err(|_| self.too_slow(phase))?
            .map_err(|source| DeviceLinkError::Io { phase, source })?;
        (self.unflushed, self.stalled_since) = (false, None);
        Ok(())
    }

    fn write_until(&mut self) -> tokio::time::Instant {
        let since = *self.stalled_since.get_or_insert_with(tokio::time::Instant::now);
        since.checked_add(self.write_deadline).unwrap_or(since)
    }

    /// Says goodbye and closes the stream. `None` is the placeholder of a normal end. A device that is gone already is
    /// no error: it may reboot after a restore.
    ///
    /// Dropping the future drops the stream.
    pub async fn disconnect(mut self, reason: Option<String>) {
        self.exchange.disconnect(reason);
        self.write_deadline = self.write_deadline.min(std::time::Duration::from_secs(10));
        if let Err(error) = self.flush().await {
            tracing::debug!(%error, "the device did not take the goodbye");
            return;
        }
        let _ = timeout(self.write_deadline, self.stream.shutdown()).await;
    }

    fn too_slow(&self, phase: Phase) -> DeviceLinkError {
        DeviceLinkError::TimedOut {
            phase,
            after: self.write_deadline,
        }
    }

    async fn read(&mut self) -> Result<(), DeviceLinkError> {
        let phase = self.exchange.phase();
        if self.inbox.capacity() < READ / 8 {
            self.inbox.reserve(READ);
        }
        let read = match self.exchange.poll_timeout() {
            Some(deadline) => {
                match tokio::time::timeout_at(deadline.into(), self.stream.read_buf(&mut self.inbox)).await {
                    Ok(read) => read,
                    Err(_) => return self.exchange.handle_timeout(now()),
                }
            }
            None => self.stream.read_buf(&mut self.inbox).await,
        };
        match read {
            Ok(0) => self.closed(phase),
            // A TLS peer that leaves without a goodbye.
            Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => self.closed(phase),
            Ok(_) => {
                self.exchange.handle_bytes(now(), self.inbox.split().freeze());
                Ok(())
            }
            Err(source) => Err(DeviceLinkError::Io { phase, source }),
        }
    }

    fn closed(&mut self, phase: Phase) -> Result<(), DeviceLinkError> {
        self.exchange.handle_end()?;
        Err(DeviceLinkError::Closed { phase })
    }
}

/// tokio's clock, which tests can move by hand.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
