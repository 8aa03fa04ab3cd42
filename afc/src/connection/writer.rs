//! The task that sends.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::table::Table;
use crate::error::Broken;

/// How long a closing connection waits for answers that nobody reads. Closing right after a write without having read
/// its status can lose data (afc 14, trap 8).
const LINGER: Duration = Duration::from_secs(5);
/// How long a device may take no byte. Far beyond any work of its own, during which callers give up one by one: it only
/// keeps a connection that nobody holds any more from living on.
const STALLED: Duration = Duration::from_secs(600);
/// Small requests that are queued together go out together, up to this many bytes.
const BATCH: usize = 64 << 10;

/// A packet on its way out, in two parts so that the bulk is not copied.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) head: Bytes,
    pub(super) payload: Bytes,
    /// Its place in the queue, free again when it was sent.
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

/// Sends until nobody can ask any more, then waits for what is owed and closes.
pub(super) async fn run(
    mut stream: impl AsyncWrite + Unpin,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    table: Arc<Table>,
) {
    let sent = tokio::select! {
        sent = send_all(&mut stream, &mut queue, &table) => sent,
        () = table.until_broken() => Ok(()),
    };
    if let Err(error) = sent {
        table.fail(Broken::Io(Arc::new(error)));
    }
    // Whether or not the device answers in time, the connection is over.
    let _ = tokio::time::timeout(LINGER, table.until_idle()).await;
    let _ = tokio::time::timeout(LINGER, stream.shutdown()).await;
}

async fn send_all(
    stream: &mut (impl AsyncWrite + Unpin),
    queue: &mut mpsc::UnboundedReceiver<Outgoing>,
    table: &Table,
) -> io::Result<()> {
    let mut batch = BytesMut::new();
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            batch.extend_from_slice(&outgoing.head);
            if !outgoing.payload.is_empty() || batch.len() >= BATCH {
                send(stream, &mut batch, outgoing.payload, table).await?;
            }
            next = queue.try_recv().ok();
        }
        send(stream, &mut batch, Bytes::new(), table).await?;
        tokio::time::timeout(STALLED, stream.flush()).await??;
    }
    Ok(())
}

/// Sends what is gathered and the bulk after it, in one call where the stream can do that.
async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    batch: &mut BytesMut,
    mut payload: Bytes,
    table: &Table,
) -> io::Result<()> {
    if !stream.is_write_vectored() {
        batch.extend_from_slice(&payload);
        payload.clear();
    }
    while !(batch.is_empty() && payload.is_empty()) {
        let parts = [IoSlice::new(batch), IoSlice::new(&payload)];
        let sent = tokio::time::timeout(STALLED, stream.write_vectored(&parts)).await??;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_batch = sent.min(batch.len());
        batch.advance(of_batch);
        payload.advance(sent.saturating_sub(of_batch).min(payload.len()));
        table.touch();
    }
    Ok(())
}
