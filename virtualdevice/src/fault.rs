//! Scripted faults: what goes wrong, where, once each.
//!
//! A fault is pushed before the host acts and taken by the first thing it fits: a connection of the named service, a
//! request of the named kind. [`Faults::pending`] tells which have not happened yet, so that a test can assert that its
//! fault did strike.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use bytes::{Buf, Bytes};
use cabled_wire::io::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::phone::Phone;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What the host sends.
    FromHost,
    /// What the phone sends.
    ToHost,
}

/// Something that goes wrong once.
///
/// `service` is a service name, or [`LOCKDOWN`](crate::service::LOCKDOWN) for lockdown itself. Byte counts are those of
/// the service's own bytes, inside TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The connection ends once `after` bytes have passed that way; the bytes before are delivered.
    Cut {
        /// The service.
        service: String,
        /// Which way the counted bytes go.
        direction: Direction,
        /// Bytes that still pass.
        after: u64,
    },
    /// The phone goes silent, both ways, for a while once `after` bytes have passed that way.
    Stall {
        /// The service.
        service: String,
        /// Which way the counted bytes go.
        direction: Direction,
        /// Bytes that pass before.
        after: u64,
        /// How long the silence lasts.
        lasting: Duration,
    },
    /// Bytes nobody asked for are put into what the phone sends, after `after` bytes: a hostile frame.
    Inject {
        /// The service.
        service: String,
        /// Bytes that pass before.
        after: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The screen locks once `after` bytes have passed that way.
    LockScreen {
        /// The service.
        service: String,
        /// Which way the counted bytes go.
        direction: Direction,
        /// Bytes that pass before.
        after: u64,
    },
    /// StartService of this service is answered with an error, such as `ServiceLimit`.
    RefuseService {
        /// The service.
        service: String,
        /// The error string.
        error: String,
    },
    /// StartService succeeds, but the port refuses its connection.
    RefuseConnection {
        /// The service.
        service: String,
    },
    /// A lockdown request is answered with an error, such as `InvalidConnection`.
    LockdownError {
        /// The request, such as `GetValue`; `*` fits every one.
        request: String,
        /// The error string.
        error: String,
    },
    /// A lockdown request is answered with half a frame, then the connection ends.
    HalfFrame {
        /// The request, such as `GetValue`; `*` fits every one.
        request: String,
    },
    /// The TLS handshake ends with an end of file, no alert, when the client's certificate has come: what a removed
    /// pairing looks like.
    CloseAfterClientCertificate {
        /// The service.
        service: String,
    },
    /// A backup-service request ends with this code and text in its Response.
    BackupError {
        /// The request, such as `Backup`; `*` fits every one.
        request: String,
        /// `ErrorCode`.
        code: i64,
        /// `ErrorDescription`.
        description: String,
    },
}

impl Fault {
    /// The connection of `service` ends after the phone has sent `after` bytes.
    #[must_use]
    pub fn cut(service: &str, direction: Direction, after: u64) -> Self {
        Self::Cut {
            service: service.to_owned(),
            direction,
            after,
        }
    }

    /// `service` goes silent for `lasting` after `after` bytes.
    #[must_use]
    pub fn stall(service: &str, direction: Direction, after: u64, lasting: Duration) -> Self {
        Self::Stall {
            service: service.to_owned(),
            direction,
            after,
            lasting,
        }
    }

    /// `bytes` appear in what `service` sends after `after` bytes.
    #[must_use]
    pub fn inject(service: &str, after: u64, bytes: impl Into<Bytes>) -> Self {
        Self::Inject {
            service: service.to_owned(),
            after,
            bytes: bytes.into(),
        }
    }

    /// The screen locks after `after` bytes of `service`.
    #[must_use]
    pub fn lock_screen(service: &str, direction: Direction, after: u64) -> Self {
        Self::LockScreen {
            service: service.to_owned(),
            direction,
            after,
        }
    }

    /// StartService of `service` is answered with `error`.
    #[must_use]
    pub fn refuse_service(service: &str, error: &str) -> Self {
        Self::RefuseService {
            service: service.to_owned(),
            error: error.to_owned(),
        }
    }

    /// The port of `service` refuses its connection.
    #[must_use]
    pub fn refuse_connection(service: &str) -> Self {
        Self::RefuseConnection {
            service: service.to_owned(),
        }
    }

    /// The lockdown request is answered with `error`.
    #[must_use]
    pub fn lockdown_error(request: &str, error: &str) -> Self {
        Self::LockdownError {
            request: request.to_owned(),
            error: error.to_owned(),
        }
    }

    /// The lockdown request is answered with half a frame.
    #[must_use]
    pub fn half_frame(request: &str) -> Self {
        Self::HalfFrame {
            request: request.to_owned(),
        }
    }

    /// The TLS handshake of `service` ends after the client's certificate.
    #[must_use]
    pub fn close_after_client_certificate(service: &str) -> Self {
        Self::CloseAfterClientCertificate {
            service: service.to_owned(),
        }
    }

    /// The backup-service request ends with this code.
    #[must_use]
    pub fn backup_error(request: &str, code: i64, description: &str) -> Self {
        Self::BackupError {
            request: request.to_owned(),
            code,
            description: description.to_owned(),
        }
    }
}

/// The faults that have not happened yet. Cheap to clone; all clones are one list.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    inner: Arc<Mutex<VecDeque<Fault>>>,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a fault; it strikes once.
    pub fn push(&self, fault: Fault) {
        self.lock().push_back(fault);
    }

    /// Faults no connection or request has taken yet.
    #[must_use]
    pub fn pending(&self) -> Vec<Fault> {
        self.lock().iter().cloned().collect()
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Takes the first fault that fits.
    pub fn take(&self, mut fits: impl FnMut(&Fault) -> bool) -> Option<Fault> {
        let mut list = self.lock();
        let at = list.iter().position(&mut fits)?;
        list.remove(at)
    }

    /// Takes the error of the first [`Fault::BackupError`] for this request: code and description.
    pub fn take_backup_error(&self, request: &str) -> Option<(i64, String)> {
        match self.take(|f| matches!(f, Fault::BackupError { request: r, .. } if r == request || r == "*"))? {
            Fault::BackupError { code, description, .. } => Some((code, description)),
            _ => None,
        }
    }

    pub(crate) fn take_lockdown_error(&self, request: &str) -> Option<String> {
        match self.take(|f| matches!(f, Fault::LockdownError { request: r, .. } if r == request || r == "*"))? {
            Fault::LockdownError { error, .. } => Some(error),
            _ => None,
        }
    }

    pub(crate) fn take_half_frame(&self, request: &str) -> bool {
        self.take(|f| matches!(f, Fault::HalfFrame { request: r } if r == request || r == "*"))
            .is_some()
    }

    pub(crate) fn take_refused_service(&self, service: &str) -> Option<String> {
        match self.take(|f| matches!(f, Fault::RefuseService { service: s, .. } if s == service))? {
            Fault::RefuseService { error, .. } => Some(error),
            _ => None,
        }
    }

    pub(crate) fn take_refused_connection(&self, service: &str) -> bool {
        self.take(|f| matches!(f, Fault::RefuseConnection { service: s } if s == service))
            .is_some()
    }

    pub(crate) fn take_close_after_certificate(&self, service: &str) -> bool {
        self.take(|f| matches!(f, Fault::CloseAfterClientCertificate { service: s } if s == service))
            .is_some()
    }

    /// Takes every fault that strikes the bytes of this service.
    fn take_for_stream(&self, service: &str) -> Vec<Trigger> {
        let mut list = self.lock();
        let mut triggers = Vec::new();
        list.retain(|fault| match Trigger::from_fault(fault, service) {
            Some(trigger) => {
                triggers.push(trigger);
                false
            }
            None => true,
        });
        triggers
    }
}

#[derive(Debug)]
struct Trigger {
    direction: Direction,
    at: u64,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Cut,
    Stall(Duration),
    Inject(Bytes),
    LockScreen,
}

impl Trigger {
    fn from_fault(fault: &Fault, wanted: &str) -> Option<Self> {
        let (service, direction, at, action) = match fault {
            Fault::Cut {
                service,
                direction,
                after,
            } => (service, *direction, *after, Action::Cut),
            Fault::Stall {
                service,
                direction,
                after,
                lasting,
            } => (service, *direction, *after, Action::Stall(*lasting)),
            Fault::Inject { service, after, bytes } => {
                (service, Direction::ToHost, *after, Action::Inject(bytes.clone()))
            }
            Fault::LockScreen {
                service,
                direction,
                after,
            } => (service, *direction, *after, Action::LockScreen),
            _ => return None,
        };
        (service == wanted).then_some(Self { direction, at, action })
    }
}

/// A service's stream, with the faults meant for it; says close_notify when it is dropped, unless it was cut.
pub(crate) struct FaultStream {
    stream: Option<BoxStream>,
    triggers: Vec<Trigger>,
    read: u64,
    written: u64,
    stalled: Option<Pin<Box<Sleep>>>,
    injecting: Bytes,
    dead: bool,
    cut: Arc<Notify>,
    phone: Phone,
    /// The boot this stream belongs to: it ends without a word when the phone restarts.
    boot: u64,
    shutdown_on_drop: bool,
}

impl fmt::Debug for FaultStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultStream")
            .field("triggers", &self.triggers)
            .field("read", &self.read)
            .field("written", &self.written)
            .field("dead", &self.dead)
            .finish_non_exhaustive()
    }
}

impl FaultStream {
    /// Wraps a stream of `phone`, taking the faults meant for `service`.
    pub(crate) fn new(stream: BoxStream, phone: &Phone, service: &str, shutdown_on_drop: bool) -> Self {
        Self {
            stream: Some(stream),
            triggers: phone.faults().take_for_stream(service),
            read: 0,
            written: 0,
            stalled: None,
            injecting: Bytes::new(),
            dead: false,
            cut: Arc::new(Notify::new()),
            phone: phone.clone(),
            boot: phone.boot(),
            shutdown_on_drop,
        }
    }

    /// Told when the connection was cut, so that whoever runs the service ends it even while it reads nothing.
    pub(crate) fn cut_signal(&self) -> Arc<Notify> {
        Arc::clone(&self.cut)
    }

    fn dead() -> io::Error {
        io::Error::new(
            io::ErrorKind::ConnectionReset,
            "the connection was cut by a scripted fault",
        )
    }

    fn kill(&mut self) -> io::Error {
        self.dead = true;
        // Dropped with no goodbye: the peer sees the stream end where it ends.
        self.stream = None;
        self.cut.notify_one();
        Self::dead()
    }

    /// Carries out what is due in one direction; `Ready(Ok(n))` says how many bytes may pass until the next trigger.
    fn poll_due(&mut self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<u64>> {
        loop {
            if self.dead {
                return Poll::Ready(Err(Self::dead()));
            }
            if let Some(sleep) = self.stalled.as_mut() {
                ready!(sleep.as_mut().poll(cx));
                self.stalled = None;
            }
            if direction == Direction::ToHost {
                ready!(self.poll_inject(cx))?;
            }
            let passed = if direction == Direction::ToHost {
                self.written
            } else {
                self.read
            };
            let here = self.triggers.iter().filter(|t| t.direction == direction);
            let Some(next) = here.map(|t| t.at).min() else {
                return Poll::Ready(Ok(u64::MAX));
            };
            let left = next.saturating_sub(passed);
            if left > 0 {
                return Poll::Ready(Ok(left));
            }
            // What came before a cut is delivered first.
            if direction == Direction::ToHost {
                ready!(self.poll_inner_flush(cx))?;
            }
            let due = self
                .triggers
                .iter()
                .position(|t| t.direction == direction && t.at <= passed);
            let Some(due) = due else { return Poll::Ready(Ok(left)) };
            match self.triggers.swap_remove(due).action {
                Action::Cut => return Poll::Ready(Err(self.kill())),
                Action::Stall(lasting) => self.stalled = Some(Box::pin(tokio::time::sleep(lasting))),
                Action::Inject(bytes) => self.injecting = bytes,
                Action::LockScreen => self.phone.lock(),
            }
        }
    }

    fn poll_inject(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.injecting.is_empty() {
            let Some(stream) = self.stream.as_mut() else {
                return Poll::Ready(Err(Self::dead()));
            };
            match ready!(Pin::new(stream).poll_write(cx, &self.injecting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.injecting.advance(n),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_inner_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stream.as_mut() {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Err(Self::dead())),
        }
    }
}

impl AsyncRead for FaultStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let allowed = if self.triggers.is_empty() && self.stalled.is_none() && !self.dead {
            u64::MAX
        } else {
            ready!(self.poll_due(cx, Direction::FromHost))?
        };
        let limit = usize::try_from(allowed).unwrap_or(usize::MAX).min(buf.remaining());
        let Some(stream) = self.stream.as_mut() else {
            return Poll::Ready(Err(Self::dead()));
        };
        let unfilled = buf.initialize_unfilled_to(limit);
        let mut part = ReadBuf::new(unfilled);
        ready!(Pin::new(stream).poll_read(cx, &mut part))?;
        let n = part.filled().len();
        buf.advance(n);
        self.read = self.read.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FaultStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let quiet = self.triggers.is_empty() && self.stalled.is_none() && self.injecting.is_empty() && !self.dead;
        let allowed = if quiet {
            u64::MAX
        } else {
            ready!(self.poll_due(cx, Direction::ToHost))?
        };
        let limit = usize::try_from(allowed).unwrap_or(usize::MAX).min(buf.len());
        let Some(stream) = self.stream.as_mut() else {
            return Poll::Ready(Err(Self::dead()));
        };
        let n = ready!(Pin::new(stream).poll_write(cx, buf.get(..limit).unwrap_or(buf)))?;
        self.written = self.written.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A fault right after the last byte strikes at the flush, not at a write that may never come.
        if !self.triggers.is_empty() || !self.injecting.is_empty() || self.dead {
            ready!(self.poll_due(cx, Direction::ToHost))?;
        }
        self.poll_inner_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stream.as_mut() {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for FaultStream {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        if !self.shutdown_on_drop || self.phone.boot() != self.boot {
            return;
        }
        // The service is done with the stream; the goodbye is said without it, and not for ever.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(Duration::from_secs(5), stream.shutdown()).await;
            });
        }
    }
}
