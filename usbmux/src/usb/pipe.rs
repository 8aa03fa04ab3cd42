//! nusb's endpoints as what a link needs of one.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nusb::Endpoint;
use nusb::transfer::{self, Buffer, EndpointDirection, TransferError};

use super::link::{Bulk, Transfer, TransferEnd};

type Clearing = Pin<Box<dyn Future<Output = Result<(), nusb::Error>> + Send>>;

/// An endpoint that cannot be asked for a completion while none is pending, which would end the program.
pub(super) struct Pipe<D: EndpointDirection + 'static> {
    endpoint: Endpoint<transfer::Bulk, D>,
    clearing: Option<Clearing>,
}

impl<D: EndpointDirection + 'static> Pipe<D> {
    pub(super) fn new(endpoint: Endpoint<transfer::Bulk, D>) -> Self {
        Self {
            endpoint,
            clearing: None,
        }
    }
}

impl<D: EndpointDirection + 'static> fmt::Debug for Pipe<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}

impl<D: EndpointDirection + 'static> Bulk for Pipe<D> {
    fn packet_size(&self) -> usize {
        self.endpoint.max_packet_size()
    }

    fn pending(&self) -> usize {
        self.endpoint.pending()
    }

    fn submit(&mut self, buffer: Vec<u8>) {
        // The length counts: of the bytes to be sent, of the bytes wanted.
        self.endpoint.submit(Buffer::from(buffer));
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Option<Transfer>> {
        if self.endpoint.pending() == 0 {
            return Poll::Ready(None);
        }
        let done = ready!(self.endpoint.poll_next_complete(cx));
        Poll::Ready(Some(Transfer {
            moved: done.actual_len,
            buffer: done.buffer.into_vec(),
            end: done.status.map_or_else(end_of, |()| TransferEnd::Complete),
        }))
    }

    fn cancel_all(&mut self) {
        self.endpoint.cancel_all();
    }

    fn poll_clear_halt(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let endpoint = &mut self.endpoint;
        let clearing = self
            .clearing
            .get_or_insert_with(|| Box::pin(endpoint.clear_halt().into_future()));
        let cleared = ready!(clearing.as_mut().poll(cx));
        self.clearing = None;
        Poll::Ready(cleared.map_err(io::Error::from))
    }
}

fn end_of(error: TransferError) -> TransferEnd {
    match error {
        TransferError::Stall => TransferEnd::Stalled,
        TransferError::Cancelled => TransferEnd::Cancelled,
        TransferError::Disconnected => TransferEnd::Gone,
        other => TransferEnd::Failed(other.to_string()),
    }
}
