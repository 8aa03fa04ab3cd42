//! A question on its way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::table::{Orphan, Reply, Table, Ticket};
use super::writer::Outgoing;
use super::{Asked, HandlePermit, SMALL_REPLY, patient};
use crate::error::{AfcError, Broken};
use crate::msg::{FileHandle, Operation, Packet, Status};

/// The claim to one answer. Dropped, the answer is thrown away when it comes; a file it opened is closed again.
#[derive(Debug)]
pub(crate) struct Pending {
    table: Arc<Table>,
    queue: mpsc::WeakUnboundedSender<Outgoing>,
    ticket: Ticket,
    operation: Operation,
    path: Option<String>,
    timeout: Duration,
}

impl Pending {
    pub(super) fn new(
        table: Arc<Table>,
        queue: mpsc::WeakUnboundedSender<Outgoing>,
        ticket: Ticket,
        asked: Asked<'_>,
        timeout: Duration,
    ) -> Self {
        let Asked { operation, path } = asked;
        Self {
            table,
            queue,
            ticket,
            operation,
            path: path.map(str::to_owned),
            timeout,
        }
    }

    /// Waits until it is done; any well-formed bytes count as done too (afc 4). Dropping the future is safe, as it is of
    /// all that follow: what was asked happens, its answer is thrown away.
    pub(crate) async fn done(mut self) -> Result<(), AfcError> {
        match self.reply().await?.packet {
            Packet::Status(Status::Success) | Packet::Data(_) => Ok(()),
            other => Err(self.refused(&other)),
        }
    }

    /// Waits for bytes.
    pub(crate) async fn data(mut self) -> Result<Bytes, AfcError> {
        match self.reply().await?.packet {
            Packet::Data(data) => Ok(data),
            other => Err(self.refused(&other)),
        }
    }

    /// Waits for the bytes of a read; some answers say by code that there are no more.
    pub(crate) async fn data_until_end(mut self) -> Result<Bytes, AfcError> {
        match self.reply().await?.packet {
            Packet::Data(data) => Ok(data),
            Packet::Status(Status::EndOfData) => Ok(Bytes::new()),
            other => Err(self.refused(&other)),
        }
    }

    /// Waits for the handle of a file.
    pub(crate) async fn handle(mut self) -> Result<(FileHandle, Option<HandlePermit>), AfcError> {
        let reply = self.reply().await?;
        match reply.packet {
            // 0 is what other clients take for no handle (afc 13).
            Packet::FileOpenResult { handle } if handle.number() != 0 => Ok((handle, reply.permit)),
            other => Err(self.refused(&other)),
        }
    }

    /// Waits for the position of a file.
    pub(crate) async fn position(mut self) -> Result<u64, AfcError> {
        match self.reply().await?.packet {
            Packet::FileTellResult { position } => Ok(position),
            other => Err(self.refused(&other)),
        }
    }

    async fn reply(&mut self) -> Result<Reply, AfcError> {
        let waited = patient(&self.table, self.timeout, &mut self.ticket.reply).await;
        let asked = Asked {
            operation: self.operation,
            path: self.path.as_deref(),
        };
        match waited {
            Ok(Ok(Ok(reply))) => Ok(reply),
            Ok(Ok(Err(cause))) => Err(asked.broken(cause)),
            Ok(Err(_)) => Err(asked.broken(Broken::Closed)),
            Err(after) => Err(asked.timed_out("waiting for the device's answer", after)),
        }
    }

    /// An answer that is not the one hoped for: the device's refusal, or a breach of the protocol.
    fn refused(&self, packet: &Packet) -> AfcError {
        let asked = Asked {
            operation: self.operation,
            path: self.path.as_deref(),
        };
        match packet {
            Packet::Status(status) if *status != Status::Success => AfcError::Refused {
                operation: self.operation,
                path: self.path.clone(),
                status: *status,
            },
            other => {
                let cause = Broken::WrongAnswer {
                    asked: self.operation,
                    answered: other.operation(),
                };
                self.table.fail(cause.clone());
                asked.broken(cause)
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.table.abandon(self.ticket.packet_num);
        // The answer may have come in the moment between: nobody has seen it, so it is for nobody.
        self.ticket.reply.close();
        if let Ok(Ok(reply)) = self.ticket.reply.try_recv()
            && let Some(orphan) = reply.orphan()
        {
            close_orphan(&self.table, &self.queue, orphan);
        }
    }
}

/// Closes a file that nobody wanted. If the connection is gone, so is the file.
pub(super) fn close_orphan(table: &Table, queue: &mpsc::WeakUnboundedSender<Outgoing>, orphan: Orphan) {
    let Some(queue) = queue.upgrade() else { return };
    let _ticket = table.register(SMALL_REPLY, orphan.permit, |packet_num| {
        let head = orphan.close.encode_head(packet_num);
        queue
            .send(Outgoing {
                head,
                payload: Bytes::new(),
                _place: None,
            })
            .map_err(|_| Broken::Closed)
    });
}
