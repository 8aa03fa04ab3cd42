//! One connection as a byte stream.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::driver::{Inner, Shared, User, now};
use super::{CloseReason, ConnectionId, Failure, Violation};

/// A connection to a port of the device.
///
/// Reads and writes hold back: a reader that does not read closes the window, a device that does not read makes writes
/// wait. The protocol has one way to end, for both directions: shutting down or dropping the stream sends what was
/// written (for at most five seconds) and then ends it, and what the device sent meanwhile is lost. So read the last
/// answer first. The device's own end shows as end of stream, whether it was orderly or not.
pub struct MuxStream {
    user: Arc<User>,
    id: ConnectionId,
}

impl MuxStream {
    pub(super) fn new(user: Arc<User>, id: ConnectionId) -> Self {
        Self { user, id }
    }

    fn shared(&self) -> &Shared {
        &self.user.0
    }

    /// Why the connection ended, once it has; the device may have said something.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared().lock().mux.close_reason(self.id)
    }

    /// Waits for the device's answer to SYN.
    pub(super) async fn connected(&self) -> Result<(), CloseReason> {
        poll_fn(|cx| {
            let mut inner = self.shared().lock();
            if inner.mux.was_accepted(self.id) {
                return Poll::Ready(Ok(())); // even if the device has said its last word already
            }
            if let Some(reason) = inner.mux.close_reason(self.id) {
                return Poll::Ready(Err(reason));
            }
            self.wait_to_write(&mut inner, cx);
            Poll::Pending
        })
        .await
    }

    fn wait_to_write(&self, inner: &mut Inner, cx: &Context<'_>) {
        inner.waiting.entry(self.id).or_default().write = Some(cx.waker().clone());
    }
}

/// Orderly and abortive ends look the same here; only a broken link or protocol is an error to a reader.
fn read_error(reason: &CloseReason) -> io::Result<()> {
    match reason {
        CloseReason::Reset { .. } | CloseReason::Local | CloseReason::Refused { .. } => Ok(()),
        reason => Err(error(reason)),
    }
}

/// The device behind a stream went away: unplugged, dead, or the link to it given up.
///
/// The inner error of every [`io::Error`] that a [`MuxStream`] gives for that reason; the kind is
/// [`io::ErrorKind::ConnectionAborted`]. No stream to this attachment of the device works any more.
///
/// ```
/// use cabled_usbmux::mux::{DeviceGone, Failure};
///
/// let error = std::io::Error::from(DeviceGone::new(Failure::Link));
/// assert_eq!(error.to_string(), "the device was unplugged");
/// assert!(DeviceGone::find(&error).is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct DeviceGone {
    failure: Failure,
}

impl DeviceGone {
    /// Gone for this reason.
    #[must_use]
    pub fn new(failure: Failure) -> Self {
        Self { failure }
    }

    /// What ended the link.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Looks for it in an error and in what that was made of, however many layers put theirs around it.
    #[must_use]
    pub fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        let mut layer = Some(error);
        while let Some(error) = layer {
            // An io::Error made from another error answers `source` with that one's source, and skips it.
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(gone) = error.downcast_ref().or_else(|| inner?.downcast_ref()) {
                return Some(gone);
            }
            layer = match inner {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        None
    }
}

impl From<DeviceGone> for io::Error {
    fn from(gone: DeviceGone) -> Self {
        Self::new(io::ErrorKind::ConnectionAborted, gone)
    }
}

fn error(reason: &CloseReason) -> io::Error {
    if let CloseReason::Failed(failure) = reason {
        return DeviceGone::new(failure.clone()).into();
    }
    let kind = match reason {
        CloseReason::Reset { .. } => io::ErrorKind::ConnectionReset,
        CloseReason::Refused { .. } => io::ErrorKind::ConnectionRefused,
        CloseReason::TimedOut => io::ErrorKind::TimedOut,
        CloseReason::Local => io::ErrorKind::BrokenPipe,
        CloseReason::Failed(_) => io::ErrorKind::ConnectionAborted, // answered above
        CloseReason::Protocol(Violation::Handshake { .. } | Violation::Flags { .. }) => io::ErrorKind::InvalidData,
        CloseReason::Protocol(Violation::Sequence { .. } | Violation::Window { .. }) => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, reason.to_string())
}

impl AsyncRead for MuxStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut inner = self.shared().lock();
        match inner.mux.read(now(), self.id, buf) {
            Ok(0) => {
                inner.waiting.entry(self.id).or_default().read = Some(cx.waker().clone());
                Poll::Pending
            }
            Ok(_) => {
                self.shared().nudge(inner);
                Poll::Ready(Ok(()))
            }
            Err(reason) => Poll::Ready(read_error(&reason)),
        }
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut inner = self.shared().lock();
        match inner.mux.write(now(), self.id, data) {
            Ok(0) => {
                self.wait_to_write(&mut inner, cx);
                Poll::Pending
            }
            Ok(taken) => {
                self.shared().nudge(inner);
                Poll::Ready(Ok(taken))
            }
            Err(reason) => Poll::Ready(Err(error(&reason))),
        }
    }

    /// Bytes are on their way as soon as they are written.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the connection in both directions, after the device has taken what was written (at most five seconds).
    ///
    /// An error with [`DeviceGone`] when the device went away before that.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.shared().lock();
        inner.mux.close(now(), self.id);
        let reason = inner.mux.close_reason(self.id);
        if let Some(reason @ CloseReason::Failed(_)) = &reason {
            return Poll::Ready(Err(error(reason)));
        }
        // One that ended by itself has nothing to wait for.
        if inner.mux.is_closed(self.id) || reason != Some(CloseReason::Local) {
            self.shared().nudge(inner);
            return Poll::Ready(Ok(()));
        }
        self.wait_to_write(&mut inner, cx);
        self.shared().nudge(inner);
        Poll::Pending
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        let mut inner = self.shared().lock();
        // Dropped behind the lock: a waker may own anything, even a stream of this link.
        let _wakers = inner.waiting.remove(&self.id);
        inner.mux.release(now(), self.id);
        self.shared().nudge(inner);
    }
}

impl fmt::Debug for MuxStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MuxStream")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
