//! The socket to the daemon.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use cabled_wire::io::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::DaemonAddr;
use crate::error::DaemonError;

pub(super) async fn open(address: &DaemonAddr) -> Result<BoxStream, DaemonError> {
    let opened: io::Result<BoxStream> = match address {
        DaemonAddr::Tcp { host, port } => tcp((host.as_str(), *port)).await,
        #[cfg(unix)]
        DaemonAddr::Unix(path) => tokio::net::UnixStream::connect(path)
            .await
            .map(|s| Box::new(s) as BoxStream),
        #[cfg(not(unix))]
        DaemonAddr::Unix(_) => {
            return Err(DaemonError::Unsupported {
                address: address.clone(),
            });
        }
    };
    opened.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => DaemonError::NoDaemon {
            address: address.clone(),
            source,
        },
        io::ErrorKind::PermissionDenied => DaemonError::PermissionDenied {
            address: address.clone(),
        },
        _ => DaemonError::Io {
            phase: "connecting to the daemon",
            source,
        },
    })
}

pub(super) async fn tcp(address: impl tokio::net::ToSocketAddrs) -> io::Result<BoxStream> {
    let stream = TcpStream::connect(address).await?;
    // Small requests and their answers alternate: waiting to fill segments only costs time.
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

/// A stream whose first bytes were read already.
pub(super) struct ReadAhead {
    ahead: Bytes,
    stream: BoxStream,
}

impl ReadAhead {
    pub(super) fn new(ahead: Bytes, stream: BoxStream) -> Self {
        Self { ahead, stream }
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let n = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..n).unwrap_or_default());
        self.ahead.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
