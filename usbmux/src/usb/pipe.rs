//! nusb's endpoints as what a link needs of one.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nusb::Endpoint;
use nusb::transfer::{self, Buffer, EndpointDirection, TransferError};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::link::{Bulk, Transfer, TransferEnd};

type BulkEndpoint<D> = Endpoint<transfer::Bulk, D>;
type Clearing = Pin<Box<dyn Future<Output = Result<(), nusb::Error>> + Send>>;

/// An endpoint that cannot be asked for a completion while none is pending, which would end the program, and whose
/// transfers are cancelled on a thread that may wait: Linux does not come back from that before the host controller has let
/// go of each one, which one at the far end of a network may never do.
pub(super) struct Pipe<D: EndpointDirection + 'static> {
    packet_size: usize,
    state: State<D>,
    clearing: Option<Clearing>,
}

enum State<D: EndpointDirection + 'static> {
    Here(BulkEndpoint<D>),
    Cancelling {
        endpoint: JoinHandle<BulkEndpoint<D>>,
        /// Transfers that are being cancelled.
        pending: usize,
        /// Transfers for when that is done.
        later: Vec<Vec<u8>>,
    },
    /// The thread did not give the endpoint back.
    Lost {
        told: bool,
    },
}

impl<D: EndpointDirection + 'static> Pipe<D> {
    pub(super) fn new(endpoint: BulkEndpoint<D>) -> Self {
        Self {
            packet_size: endpoint.max_packet_size(),
            state: State::Here(endpoint),
            clearing: None,
        }
    }

    /// The endpoint, as soon as nothing is being cancelled any more.
    fn poll_here(&mut self, cx: &mut Context<'_>) -> Poll<Option<&mut BulkEndpoint<D>>> {
        if let State::Cancelling { endpoint, later, .. } = &mut self.state {
            let later = std::mem::take(later);
            self.state = match Pin::new(endpoint).poll(cx) {
                Poll::Ready(Ok(mut endpoint)) => {
                    for buffer in later {
                        endpoint.submit(Buffer::from(buffer));
                    }
                    State::Here(endpoint)
                }
                Poll::Ready(Err(error)) => {
                    tracing::warn!(%error, "an endpoint was lost while its transfers were cancelled");
                    State::Lost { told: false }
                }
                Poll::Pending => {
                    if let State::Cancelling { later: kept, .. } = &mut self.state {
                        *kept = later;
                    }
                    return Poll::Pending;
                }
            };
        }
        Poll::Ready(match &mut self.state {
            State::Here(endpoint) => Some(endpoint),
            State::Cancelling { .. } | State::Lost { .. } => None,
        })
    }
}

impl<D: EndpointDirection + 'static> Drop for Pipe<D> {
    fn drop(&mut self) {
        // The last of an interface lets go of it, and what is still pending is cancelled: on a thread, as above.
        if let State::Here(endpoint) = std::mem::replace(&mut self.state, State::Lost { told: true })
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(endpoint));
        }
    }
}

impl<D: EndpointDirection + 'static> fmt::Debug for Pipe<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe")
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

impl<D: EndpointDirection + 'static> Bulk for Pipe<D> {
    fn packet_size(&self) -> usize {
        self.packet_size
    }

    fn pending(&self) -> usize {
        match &self.state {
            State::Here(endpoint) => endpoint.pending(),
            State::Cancelling { pending, later, .. } => pending.saturating_add(later.len()),
            State::Lost { told } => usize::from(!told),
        }
    }

    fn submit(&mut self, buffer: Vec<u8>) {
        // The length counts: of the bytes to be sent, of the bytes wanted.
        match &mut self.state {
            State::Here(endpoint) => endpoint.submit(Buffer::from(buffer)),
            State::Cancelling { later, .. } => later.push(buffer),
            State::Lost { told } => *told = false,
        }
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Option<Transfer>> {
        let Some(endpoint) = ready!(self.poll_here(cx)) else {
            let gone = Transfer {
                buffer: Vec::new(),
                moved: 0,
                end: TransferEnd::Gone,
            };
            let untold = matches!(
                std::mem::replace(&mut self.state, State::Lost { told: true }),
                State::Lost { told: false }
            );
            return Poll::Ready(untold.then_some(gone));
        };
        if endpoint.pending() == 0 {
            return Poll::Ready(None);
        }
        let done = ready!(endpoint.poll_next_complete(cx));
        Poll::Ready(Some(Transfer {
            moved: done.actual_len,
            buffer: done.buffer.into_vec(),
            end: done.status.map_or_else(end_of, |()| TransferEnd::Complete),
        }))
    }

    fn cancel_all(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Lost { told: true }) {
            State::Here(mut endpoint) if endpoint.pending() > 0 => State::Cancelling {
                pending: endpoint.pending(),
                later: Vec::new(),
                endpoint: spawn_blocking(move || {
                    endpoint.cancel_all();
                    endpoint
                }),
            },
            state => state,
        };
    }

    fn poll_clear_halt(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut clearing = match self.clearing.take() {
            Some(clearing) => clearing,
            None => match ready!(self.poll_here(cx)) {
                Some(endpoint) => Box::pin(endpoint.clear_halt().into_future()),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            },
        };
        let Poll::Ready(cleared) = clearing.as_mut().poll(cx) else {
            self.clearing = Some(clearing);
            return Poll::Pending;
        };
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
