//! A connection to the phone's sync service that breaks after so many bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cabled_syncproto::session::{SessionOptions, SyncLink};
use cabled_virtualdevice::{Phone, service, sync};
use cabled_wire::io::BoxStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};

/// Connects; after `bytes` bytes in both directions together both ends see the connection close, in the middle of a message
/// or between two.
pub(crate) async fn connect(phone: &Phone, bytes: Option<i64>) -> Option<SyncLink> {
    let (host, device) = duplex(256 << 10);
    let phone = phone.clone();
    tokio::spawn(async move { service::dispatch(phone, sync::NAME, Box::new(device), None).await });
    let stream: BoxStream = match bytes {
        None => Box::new(host),
        Some(bytes) => {
            let (end, inner) = duplex(256 << 10);
            tokio::spawn(relay(inner, host, bytes));
            Box::new(end)
        }
    };
    SyncLink::connect(stream, SessionOptions::default()).await.ok()
}

async fn relay(host: DuplexStream, device: DuplexStream, bytes: i64) {
    let left = Arc::new(AtomicI64::new(bytes));
    let (host_reads, host_writes) = split(host);
    let (device_reads, device_writes) = split(device);
    // The first direction to run out ends both: select drops the other one with its halves.
    tokio::select! {
        () = carry(host_reads, device_writes, &left) => {}
        () = carry(device_reads, host_writes, &left) => {}
    }
}

async fn carry(
    mut from: tokio::io::ReadHalf<DuplexStream>,
    mut to: tokio::io::WriteHalf<DuplexStream>,
    left: &AtomicI64,
) {
    let mut buffer = [0; 4096];
    loop {
        let Ok(read) = from.read(&mut buffer).await else { return };
        let before = left.fetch_sub(i64::try_from(read).unwrap(), Ordering::SeqCst);
        let allowed = read.min(usize::try_from(before).unwrap_or(0));
        if allowed == 0 || to.write_all(&buffer[..allowed]).await.is_err() || allowed < read {
            return;
        }
    }
}
