//! The services behind the ports that lockdown hands out.
//!
//! [`dispatch`] is the table: service name to what serves it. Each service is an async function over a stream, gets the
//! whole [`Phone`], and ends when the stream does.

pub mod afc;
pub mod assertion;
pub mod diagnostics;
pub mod heartbeat;
pub mod house_arrest;
pub mod installation_proxy;
pub mod notification_proxy;
pub(crate) mod ports;
pub mod springboard;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use cabled_lockdown::msg::Message;
use cabled_wire::WireError;
use cabled_wire::frame::{self, FrameError};
use cabled_wire::io::BoxStream;
use cabled_wire::plist::Limits;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::fault::FaultStream;
use crate::lockdown::tls;
use crate::phone::{Phone, Transport};
use crate::profile::PlistFormat;
use ports::OpenPort;

/// The name under which lockdown itself appears in logs and faults.
pub const LOCKDOWN: &str = "com.apple.mobile.lockdown";
/// The notification service that needs no session.
pub const INSECURE_NOTIFICATION_PROXY: &str = "com.apple.mobile.insecure_notification_proxy";

/// How long a peer may stay silent between two messages before its connection is given up.
pub(crate) const IDLE: Duration = Duration::from_secs(3600);
/// How long a message may take to arrive once it has begun.
pub(crate) const MESSAGE: Duration = Duration::from_secs(30);
/// How long a host may leave an answer unread.
const UNREAD: Duration = Duration::from_secs(600);
/// The largest message from a host, in bytes; real ones are kilobytes.
const MAX_FRAME: usize = 4 << 20;

/// Services of this phone, by the names StartService takes.
pub const OFFERED: &[&str] = &[
    notification_proxy::NAME,
    INSECURE_NOTIFICATION_PROXY,
    heartbeat::NAME,
    installation_proxy::NAME,
    springboard::NAME,
    diagnostics::NAME,
    assertion::NAME,
    afc::NAME,
    house_arrest::NAME,
    crate::backup::NAME,
    crate::sync::NAME,
    afc::crash_reports::MOVE,
    afc::crash_reports::COPY,
];

/// Whether StartService knows the name.
#[must_use]
pub fn is_offered(name: &str) -> bool {
    OFFERED.contains(&name)
}

/// Why a service's connection ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The stream ended or broke.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The host's message is malformed.
    #[error("the host's message is malformed")]
    Wire(#[from] WireError),
    /// The link broke.
    #[error("the link to the host broke")]
    Io(#[from] io::Error),
    /// A service of another module failed.
    #[error("{service}: {message}")]
    Service {
        /// The service.
        service: String,
        /// What it said.
        message: String,
    },
    /// Nobody serves that name.
    #[error("no service is called {0}")]
    Unknown(String),
}

/// Serves one connection of a service; `escrow_bag` is what StartService was given.
///
/// The stream is the service's own, after any TLS. Ends when the host closes it or breaks the protocol; dropping the
/// future ends the connection.
///
/// # Errors
/// [`ServeError`]; a host that simply closes the stream is none.
pub async fn dispatch(
    phone: Phone,
    name: &str,
    stream: BoxStream,
    escrow_bag: Option<Bytes>,
) -> Result<(), ServeError> {
    let served = match name {
        notification_proxy::NAME | INSECURE_NOTIFICATION_PROXY => notification_proxy::serve(phone, name, stream).await,
        installation_proxy::NAME => installation_proxy::serve(phone, stream).await,
        springboard::NAME => springboard::serve(phone, stream).await,
        heartbeat::NAME => heartbeat::serve(phone, stream).await,
        diagnostics::NAME => diagnostics::serve(phone, stream).await,
        assertion::NAME => assertion::serve(phone, stream).await,
        afc::NAME => afc::serve(phone, afc::Root::Media, stream).await,
        house_arrest::NAME => house_arrest::serve(phone, stream).await,
        afc::crash_reports::MOVE => afc::crash_reports::serve_mover(phone, stream).await,
        afc::crash_reports::COPY => afc::crash_reports::serve_copy(phone, stream).await,
        crate::sync::NAME => crate::sync::serve(phone, stream).await,
        crate::backup::NAME => {
            let failed = |error: crate::backup::ServeError| ServeError::Service {
                service: name.to_owned(),
                message: error.to_string(),
            };
            crate::backup::serve(phone, stream, escrow_bag).await.map_err(failed)
        }
        other => Err(ServeError::Unknown(other.to_owned())),
    };
    match served {
        Err(ServeError::Frame(FrameError::Closed)) => Ok(()),
        other => other,
    }
}

/// Serves the one connection of a port: TLS if the port was opened with it, faults, then the service.
pub(crate) async fn run(phone: Phone, open: OpenPort, stream: BoxStream, transport: Transport) {
    let service = open.service;
    let stream: BoxStream = match open.tls {
        None => stream,
        Some(certificate) => match tls::accept(&phone, &certificate, &service, stream).await {
            Ok(tls) => Box::new(tls),
            Err(error) => return tracing::debug!(%service, %error, "no TLS with this host"),
        },
    };
    let stream = FaultStream::new(stream, &phone, &service, phone.profile().sends_close_notify);
    let cut = stream.cut_signal();
    let heartbeat = async {
        if &*service == heartbeat::NAME {
            std::future::pending().await
        } else {
            transport.heartbeat_lost(&phone).await
        }
    };
    tokio::select! {
        served = dispatch(phone.clone(), &service, Box::new(stream), open.escrow_bag) => {
            if let Err(error) = served {
                tracing::debug!(%service, %error, "service connection ended");
            }
        }
        () = cut.notified() => {}
        () = heartbeat => tracing::debug!(%service, "no heartbeat: connection closed"),
    }
}

/// Limits for property lists from a host.
pub(crate) fn limits() -> Limits {
    Limits::default()
        .with_bytes(MAX_FRAME)
        .with_depth(32)
        .with_nodes(100_000)
}

/// Reads one frame: `idle` until it begins, [`MESSAGE`] until it is there. Not safe to drop once bytes have come.
pub(crate) async fn read_frame<R>(stream: &mut R, idle: Duration) -> Result<Bytes, FrameError>
where
    R: AsyncRead + Unpin + Send + ?Sized,
{
    read_frame_up_to(stream, idle, MAX_FRAME).await
}

/// As [`read_frame`] for a service whose messages are larger: at most `max` bytes.
pub(crate) async fn read_frame_up_to<R>(stream: &mut R, idle: Duration, max: usize) -> Result<Bytes, FrameError>
where
    R: AsyncRead + Unpin + Send + ?Sized,
{
    let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "the host fell silent");
    let mut first = [0];
    let got = match tokio::time::timeout(idle, stream.read(&mut first))
        .await
        .map_err(timed_out)?
    {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => 0,
        other => other?,
    };
    if got == 0 {
        return Err(FrameError::Closed);
    }
    let mut rest = first.as_slice().chain(stream);
    tokio::time::timeout(MESSAGE, frame::read_frame(&mut rest, max))
        .await
        .map_err(timed_out)?
}

/// Reads one message; empty frames are skipped.
pub(crate) async fn read_message<M, R>(stream: &mut R, idle: Duration) -> Result<M, ServeError>
where
    M: Message,
    R: AsyncRead + Unpin + Send + ?Sized,
{
    loop {
        let body = read_frame(stream, idle).await?;
        if !body.is_empty() {
            return Ok(M::from_plist(cabled_wire::plist::read(&body, &limits())?)?);
        }
    }
}

/// Writes one message in the encoding of the phone's services.
pub(crate) async fn write_message<M, W>(phone: &Phone, stream: &mut W, message: &M) -> Result<(), ServeError>
where
    M: Message,
    W: AsyncWrite + Unpin + Send + ?Sized,
{
    let body = match phone.profile().service_format {
        PlistFormat::Xml => message.encode(),
        PlistFormat::Binary => message.encode_binary(),
    };
    Ok(write_frame(stream, &body).await?)
}

/// Writes one frame; a host that does not read it within [`UNREAD`] is given up.
pub(crate) async fn write_frame<W>(stream: &mut W, body: &[u8]) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin + Send + ?Sized,
{
    let unread = |_| io::Error::new(io::ErrorKind::TimedOut, "the host does not read");
    tokio::time::timeout(UNREAD, frame::write_frame(stream, body))
        .await
        .map_err(unread)?
}
