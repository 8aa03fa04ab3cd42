//! A stream to a device that may have several addresses.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use cabled_wire::io::{BoxStream, ConnectError};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// How long an address has to itself before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the first address that accepts: they are tried in their order, each a little after the one before, and
/// each for `limit`. Dropping the future ends all attempts.
pub(super) async fn first_to_accept(
    addresses: Vec<SocketAddr>,
    port: u16,
    limit: Duration,
) -> Result<BoxStream, ConnectError> {
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut worst = ConnectError::Gone;
    let mut next = Instant::now();
    let mut more = true;
    while more || !attempts.is_empty() {
        tokio::select! {
            biased;
            Some(ended) = attempts.join_next(), if !attempts.is_empty() => {
                match ended {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(error)) => worst = graver(worst, error),
                    Err(error) => worst = graver(worst, ConnectError::Io(io::Error::other(error))),
                }
                // What is left need not wait for an attempt that is over.
                next = Instant::now();
            }
            () = sleep_until(next), if more => {
                match waiting.next() {
                    Some(address) => {
                        attempts.spawn(attempt(address, port, limit));
                    }
                    None => more = false,
                }
                next = Instant::now().checked_add(HEAD_START).unwrap_or(next);
            }
        }
    }
    Err(worst)
}

async fn attempt(address: SocketAddr, port: u16, limit: Duration) -> Result<BoxStream, ConnectError> {
    let error = match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            // Small requests and their answers alternate: waiting to fill segments only costs time.
            stream.set_nodelay(true)?;
            return Ok(Box::new(stream));
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => ConnectError::Refused { port },
        Ok(Err(error)) => ConnectError::Io(error),
        Err(_) => ConnectError::TimedOut {
            phase: "connecting over the network",
            after: limit,
        },
    };
    tracing::debug!(%address, %error, "no connection");
    Err(error)
}

/// The error that tells most: a device that refuses is there, one that is silent may be asleep, and an address without
/// a route says nothing about the others.
fn graver(a: ConnectError, b: ConnectError) -> ConnectError {
    let rank = |error: &ConnectError| match error {
        ConnectError::Refused { .. } => 3,
        ConnectError::TimedOut { .. } => 2,
        ConnectError::Gone => 0,
        _ => 1,
    };
    if rank(&b) > rank(&a) { b } else { a }
}
