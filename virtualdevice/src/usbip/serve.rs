//! Serves one phone to one host, over any byte stream.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use cabled_wire::WireError;
use cabled_wire::io::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::machine::Machine;
use crate::usb::{Departure, UsbPhone};

/// Bytes read at a time.
const READ: usize = 128 << 10;
/// How long the last answers may take to get out when the phone leaves.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The host broke the protocol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsbipError {
    /// A message that is neither a request for a transfer nor the wish to give one up.
    #[error("the host sent command {command}, which is none of USB/IP; is it speaking another protocol?")]
    Command {
        /// The code.
        command: u32,
    },
    /// The device has no isochronous endpoint, so no host asks for that.
    #[error("the host asked endpoint {endpoint} for an isochronous transfer; the device has no such endpoint")]
    Isochronous {
        /// The endpoint's number.
        endpoint: u8,
    },
    /// More than a host has any use for.
    #[error("the host has {requests} requests with {bytes} bytes waiting; at most 1024 with 32 MiB are held")]
    TooManyRequests {
        /// How many.
        requests: usize,
        /// Bytes of their OUT transfers.
        bytes: usize,
    },
    /// Another version of the protocol.
    #[error("the host speaks version {version:04x} of USB/IP; only 0111 (1.1.1) is known")]
    Version {
        /// As it was sent.
        version: u16,
    },
    /// Something other than a list or an import was asked for.
    #[error("the host asked for operation {code:04x}; only lists and imports are served")]
    Operation {
        /// The code.
        code: u16,
    },
    /// The host did not say what it wants.
    #[error("the host did not finish its request within {} seconds", .0.as_secs())]
    Slow(Duration),
    /// A field with a value that cannot be.
    #[error("the host sent a malformed header")]
    Wire(#[from] WireError),
    /// The stream failed.
    #[error("the stream to the host failed")]
    Io(#[from] io::Error),
}

/// How a conversation ended that broke no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Served {
    /// The host let go of the device.
    HostLeft,
    /// The phone left the bus; [`UsbPhone::replug`] puts it there again.
    Departed(Departure),
}

/// Answers a host's transfers until it or the phone leaves.
///
/// The stream is one on which the device is imported already: a socket that a kernel was given, or what follows the
/// answer to an import. Dropping the future is pulling the cable: requests under way are never answered.
///
/// # Errors
/// [`UsbipError`] when the host breaks the protocol or the stream fails.
pub async fn serve(mut stream: impl Stream, phone: &mut UsbPhone) -> Result<Served, UsbipError> {
    let mut input = BytesMut::new();
    let mut machine = Machine::default();
    let mut out = BytesMut::new();
    let ended = loop {
        let step = poll_fn(|cx| step(cx, &mut stream, &mut machine, &mut input, &mut out, phone));
        if let Some(ended) = step.await? {
            break ended;
        }
    };
    tracing::debug!(?ended, waiting = machine.waiting(), "the conversation is over");
    // A mode switch is answered before the device leaves; who has no cable says nothing more.
    if ended == Served::Departed(Departure::Unplugged) {
        return Ok(ended);
    }
    let last_words = async {
        stream.write_all_buf(&mut out).await?;
        stream.flush().await
    };
    if !matches!(timeout(LAST_WORDS, last_words).await, Ok(Ok(()))) {
        tracing::debug!("the host did not take the last answers");
    }
    Ok(ended)
}

/// Moves answers out and requests in; ready when requests came, or when it is over.
fn step(
    cx: &mut Context<'_>,
    stream: &mut (impl Stream + ?Sized),
    machine: &mut Machine,
    input: &mut BytesMut,
    out: &mut BytesMut,
    phone: &mut UsbPhone,
) -> Poll<Result<Option<Served>, UsbipError>> {
    machine.handle_input(cx, input, phone, out)?;
    loop {
        machine.poll_device(cx, phone, out);
        if let Poll::Ready(departure) = phone.poll_departure(cx) {
            return Poll::Ready(Ok(Some(Served::Departed(departure))));
        }
        match poll_write(cx, stream, out) {
            Poll::Ready(Err(error)) => return Poll::Ready(host_left(error)),
            // Room again: the device may have more.
            Poll::Ready(Ok(true)) => {}
            Poll::Ready(Ok(false)) | Poll::Pending => break,
        }
    }
    if out.len() >= Machine::MAX_OUT {
        // A host that does not read its answers is not listened to.
        return Poll::Pending;
    }
    if input.capacity().saturating_sub(input.len()) < READ / 4 {
        input.reserve(READ);
    }
    match ready!(pin!(stream.read_buf(input)).poll(cx)) {
        Ok(0) => Poll::Ready(Ok(Some(Served::HostLeft))),
        Ok(_) => Poll::Ready(Ok(None)),
        Err(error) => Poll::Ready(host_left(error)),
    }
}

/// Writes all there is; says whether that was anything.
fn poll_write(cx: &mut Context<'_>, stream: &mut (impl Stream + ?Sized), out: &mut BytesMut) -> Poll<io::Result<bool>> {
    let wrote = !out.is_empty();
    while !out.is_empty() {
        let written = ready!(Pin::new(&mut *stream).poll_write(cx, out))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        out.advance(written);
    }
    let _ = Pin::new(stream).poll_flush(cx)?;
    Poll::Ready(Ok(wrote))
}

/// A kernel that lets go of a device closes its end, whatever is still on the way.
fn host_left(error: io::Error) -> Result<Option<Served>, UsbipError> {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            Ok(Some(Served::HostLeft))
        }
        _ => Err(error.into()),
    }
}
