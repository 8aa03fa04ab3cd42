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

/// Pause before another try to join a queue that is full.
#[cfg(unix)]
const FULL_QUEUE: std::time::Duration = std::time::Duration::from_millis(10);

pub(super) async fn open(address: &DaemonAddr) -> Result<BoxStream, DaemonError> {
    let opened: io::Result<BoxStream> = match address {
        DaemonAddr::Tcp { host, port } => tcp((host.as_str(), *port)).await,
        #[cfg(unix)]
        DaemonAddr::Unix(path) => unix(path).await,
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

/// Connects to a UNIX socket. Where more programs wait there than the daemon lets wait (five for usbmuxd 1.1.1) the system
/// says "try again", and that is done until the caller's deadline.
#[cfg(unix)]
async fn unix(path: &std::path::Path) -> io::Result<BoxStream> {
    loop {
        match tokio::net::UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(FULL_QUEUE).await,
            connected => return Ok(Box::new(connected?)),
        }
    }
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use socket2::{Domain, SockAddr, Socket, Type};

    use super::open;
    use crate::DaemonAddr;

    #[tokio::test]
    async fn a_daemon_whose_queue_is_full_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usbmuxd");
        let daemon = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        daemon.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        daemon.listen(1).unwrap();
        let mut waiting = Vec::new();
        loop {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            match client.connect(&SockAddr::unix(&path).unwrap()) {
                Ok(()) => waiting.push(client),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let address = DaemonAddr::Unix(path);
        let ours = tokio::spawn(async move { open(&address).await.map(|_| ()) });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!ours.is_finished(), "no place in the queue yet");
        for _ in 0..=waiting.len() {
            let daemon = daemon.try_clone().unwrap();
            tokio::task::spawn_blocking(move || daemon.accept())
                .await
                .unwrap()
                .unwrap();
        }
        ours.await.unwrap().unwrap();
    }
}
