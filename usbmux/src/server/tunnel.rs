//! Moves bytes between a client and a device.

use std::io;
use std::time::Duration;

use cabled_wire::io::BoxStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Bytes held per direction.
const BUFFER: usize = 64 << 10;
/// A client that takes nothing for this long after the device has ended loses the rest.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// Runs until one side ends; there is no half-close in this protocol, so the other side is closed then.
///
/// What one side had said before it ended is delivered to the other. Spec: usbmux, section 1.1.
pub(super) async fn pump(client: impl AsyncRead + AsyncWrite + Unpin, device: BoxStream) {
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut device_read, mut device_write) = tokio::io::split(device);
    let to_device = copy(&mut client_read, &mut device_write);
    let to_client = copy(&mut device_read, &mut client_write);
    let (end, by_device) = tokio::select! {
        end = to_device => (end, false),
        end = to_client => (end, true),
    };
    if let End::Failed(error) = end {
        tracing::debug!(%error, "tunnel ended");
    }
    let close = async {
        // Sockets take what is written at once and send it after the close; the multiplexer drains by itself.
        let _ = client_write.shutdown().await;
        let _ = device_write.shutdown().await;
        if by_device {
            // A socket closed with bytes unread is reset, and the client loses what it has not fetched yet.
            let mut sink = vec![0; 4096];
            while client_read.read(&mut sink).await.is_ok_and(|read| read > 0) {}
        }
    };
    if timeout(LAST_BYTES, close).await.is_err() {
        tracing::debug!("a side of the tunnel did not end in time");
    }
}

/// Why a direction ended.
enum End {
    /// Everything that was read is written.
    Reader,
    /// Nobody takes the bytes.
    Writer,
    Failed(io::Error),
}

async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> End {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) => return End::Reader,
            Ok(read) => read,
            Err(error) => return End::Failed(error),
        };
        let Some(bytes) = buffer.get(..read) else {
            return End::Reader;
        };
        if to.write_all(bytes).await.is_err() {
            return End::Writer;
        }
        if let Err(error) = to.flush().await {
            return End::Failed(error);
        }
    }
}
