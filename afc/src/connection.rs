//! One stream, many questions: what is on its way, who waits for it, and the two tasks that move the bytes.
//!
//! A caller puts a request into the queue and gets a [`Pending`]; nothing is lost on the wire if that is dropped, since
//! the writer task owns whole packets. The reader task hands each answer to the `Pending` of its packet number.
//! Requests go out in the order of their numbers, and any number of them may be on its way.

mod pending;
mod reader;
mod table;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use cabled_wire::io::BoxStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

pub(crate) use pending::Pending;
use table::Table;
use writer::Outgoing;

use crate::error::{AfcError, Broken};
use crate::msg::{MAX_PACKET, Operation, Packet};
use crate::options::AfcOptions;

/// Requests that may wait for the writer at a time; more callers wait before they are given a number.
const QUEUE: usize = 16;
/// What an answer without bulk may hold, in bytes.
const SMALL_REPLY: u64 = 64 << 10;

/// The name of a place in the limit of open files; it is given back when the device has closed the file.
pub(crate) type HandlePermit = OwnedSemaphorePermit;

/// A connection that any number of callers share. When the last one lets go of it, what is queued is still sent, its
/// answers are awaited for a moment, and the stream is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    table: Arc<Table>,
    queue: mpsc::UnboundedSender<Outgoing>,
    places: Arc<Semaphore>,
    handles: Arc<Semaphore>,
    pub(crate) options: AfcOptions,
}

/// What a caller says about a request, for its deadline and its errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) operation: Operation,
    pub(crate) path: Option<&'a str>,
}

impl Connection {
    pub(crate) fn start(stream: BoxStream, options: AfcOptions) -> Arc<Self> {
        let (read, write) = tokio::io::split(stream);
        let (queue, outgoing) = mpsc::unbounded_channel();
        let table = Arc::new(Table::default());
        let written = tokio::spawn(writer::run(write, outgoing, Arc::clone(&table)));
        tokio::spawn(reader::run(read, Arc::clone(&table), queue.downgrade(), written));
        let handles = Arc::new(Semaphore::new(options.open_files));
        Arc::new(Self {
            table,
            queue,
            places: Arc::new(Semaphore::new(QUEUE)),
            handles,
            options,
        })
    }

    /// Queues a request and says where its answer will come. Dropping the future queues nothing.
    pub(crate) async fn submit(&self, packet: Packet, path: Option<&str>) -> Result<Pending, AfcError> {
        self.submit_holding(packet, path, None).await
    }

    /// As [`Connection::submit`], with a place among the open files that comes back with the answer.
    pub(crate) async fn submit_holding(
        &self,
        packet: Packet,
        path: Option<&str>,
        permit: Option<HandlePermit>,
    ) -> Result<Pending, AfcError> {
        let asked = Asked {
            operation: packet.operation(),
            path,
        };
        let phase = "waiting for earlier requests to be sent";
        let place = self
            .patient(asked, phase, Arc::clone(&self.places).acquire_owned())
            .await?;
        // The places are never closed, so there is one.
        let place = place.ok();
        self.queue(packet, path, permit, place)
    }

    /// Queues a request at once, whatever else is queued: for what must not be forgotten, such as closing a file.
    pub(crate) fn submit_now(
        &self,
        packet: Packet,
        path: Option<&str>,
        permit: Option<HandlePermit>,
    ) -> Result<Pending, AfcError> {
        self.queue(packet, path, permit, None)
    }

    fn queue(
        &self,
        packet: Packet,
        path: Option<&str>,
        permit: Option<HandlePermit>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Pending, AfcError> {
        let asked = Asked {
            operation: packet.operation(),
            path,
        };
        let max_body = self.max_reply(&packet);
        let registered = self.table.register(max_body, permit, |packet_num| {
            let outgoing = Outgoing {
                head: packet.encode_head(packet_num),
                payload: packet.payload(),
                _place: place,
            };
            self.queue.send(outgoing).map_err(|_| Broken::Closed)
        });
        let ticket = registered.map_err(|cause| asked.broken(cause))?;
        Ok(Pending::new(
            Arc::clone(&self.table),
            self.queue.downgrade(),
            ticket,
            asked,
            self.options.timeout,
        ))
    }

    /// Waits for a place among the open files. Dropping the future is safe.
    pub(crate) async fn handle_permit(&self, path: &str) -> Result<Option<HandlePermit>, AfcError> {
        let asked = Asked {
            operation: Operation::FileOpen,
            path: Some(path),
        };
        let phase = "waiting for another file of this connection to be closed";
        let permit = self
            .patient(asked, phase, Arc::clone(&self.handles).acquire_owned())
            .await?;
        Ok(permit.ok())
    }

    /// Marks the connection as broken by what the device said, for good, and gives the error.
    pub(crate) fn fail(&self, asked: Asked<'_>, cause: Broken) -> AfcError {
        self.table.fail(cause.clone());
        asked.broken(cause)
    }

    async fn patient<F: Future>(
        &self,
        asked: Asked<'_>,
        phase: &'static str,
        future: F,
    ) -> Result<F::Output, AfcError> {
        patient(&self.table, self.options.timeout, future)
            .await
            .map_err(|after| asked.timed_out(phase, after))
    }

    fn max_reply(&self, packet: &Packet) -> u64 {
        match packet {
            Packet::FileRead { len, .. } => (*len).min(MAX_PACKET),
            Packet::ReadDir { .. } => self.options.max_listing,
            _ => SMALL_REPLY,
        }
    }
}

impl Asked<'_> {
    pub(crate) fn broken(self, cause: Broken) -> AfcError {
        AfcError::Broken {
            operation: self.operation,
            path: self.path.map(str::to_owned),
            cause,
        }
    }

    pub(crate) fn timed_out(self, phase: &'static str, after: Duration) -> AfcError {
        AfcError::TimedOut {
            operation: self.operation,
            path: self.path.map(str::to_owned),
            phase,
            after,
        }
    }
}

/// Waits for `future` until the connection has been silent for `limit`. Bytes that move for others count as life, since
/// the device works on one request after another; but not for ever: the number of requests that were ahead bounds it.
async fn patient<F: Future>(table: &Table, limit: Duration, future: F) -> Result<F::Output, Duration> {
    let started = Instant::now();
    let ahead = u32::try_from(table.in_flight()).unwrap_or(u32::MAX).saturating_add(1);
    let latest = started.checked_add(limit.saturating_mul(ahead));
    tokio::pin!(future);
    loop {
        let quiet_since = table.last_activity().max(started);
        // No such instant: the limit is beyond what a clock can say, so there is none.
        let Some(due) = quiet_since
            .checked_add(limit)
            .map(|due| latest.map_or(due, |latest| due.min(latest)))
        else {
            return Ok(future.await);
        };
        if let Ok(output) = tokio::time::timeout_at(due, &mut future).await {
            return Ok(output);
        }
        let now = Instant::now();
        let alive = table
            .last_activity()
            .max(started)
            .checked_add(limit)
            .is_some_and(|due| due > now);
        if !alive || latest.is_some_and(|latest| latest <= now) {
            return Err(now.saturating_duration_since(started));
        }
    }
}
