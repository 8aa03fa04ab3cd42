//! Runs the device's end over a byte link and opens the phone's ports.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::frame::ControlKind;
use cabled_wire::io::{BoxStream, Connect, Stream};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::{DeviceEvent, DeviceMux, DeviceMuxOptions, DeviceStats, PeerId};

/// Bytes read at a time, off the link and off a service.
const READ: usize = 128 << 10;
const SERVICE_READ: usize = 64 << 10;
/// Bytes of frames gathered for one write.
const BATCH: usize = 256 << 10;

struct Inner {
    mux: DeviceMux,
    readers: HashMap<PeerId, Waker>,
    writers: HashMap<PeerId, Waker>,
}

struct Shared {
    inner: Mutex<Inner>,
    wake: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the core and lets the driver look at the outcome.
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let result = act(&mut self.lock());
        self.wake.notify_one();
        result
    }

    /// Waits for bytes of the host; `None` when the connection is over.
    fn poll_take(&self, id: PeerId, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut inner = self.lock();
        match inner.mux.take(id) {
            Some(bytes) => Poll::Ready(Some(bytes)),
            None if !inner.mux.is_open(id) => Poll::Ready(None),
            None => {
                inner.readers.insert(id, cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Waits for room; `None` when the connection is over.
    fn poll_write(&self, id: PeerId, data: &[u8], cx: &Context<'_>) -> Poll<Option<usize>> {
        let mut inner = self.lock();
        match inner.mux.write(id, data) {
            Some(0) => {
                inner.writers.insert(id, cx.waker().clone());
                Poll::Pending
            }
            taken => {
                drop(inner);
                self.wake.notify_one();
                Poll::Ready(taken)
            }
        }
    }
}

/// A phone on a link. Dropping it pulls the cable.
#[derive(Debug)]
#[must_use = "dropping it pulls the cable"]
pub struct PluggedIn {
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl PluggedIn {
    /// What was odd about the host so far.
    #[must_use]
    pub fn stats(&self) -> DeviceStats {
        self.shared.lock().mux.stats()
    }

    /// Sends a text for the host's log.
    pub fn say(&self, kind: ControlKind, text: impl Into<Bytes>) {
        self.shared.with(|inner| inner.mux.say(kind, text));
    }
}

impl Drop for PluggedIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Connects a phone's ports to a link, whatever the phone is: every SYN becomes a [`Connect::connect`].
///
/// Starts a task in the current tokio runtime, which ends with the link or with what is returned here.
pub fn plug_in(link: impl Stream + 'static, phone: Arc<dyn Connect>, options: DeviceMuxOptions) -> PluggedIn {
    let inner = Inner {
        mux: DeviceMux::new(options),
        readers: HashMap::new(),
        writers: HashMap::new(),
    };
    let shared = Arc::new(Shared {
        inner: Mutex::new(inner),
        wake: Notify::new(),
    });
    let task = tokio::spawn(run(Arc::clone(&shared), link, phone)).abort_handle();
    PluggedIn { shared, task }
}

/// What the core wants next.
struct Turn {
    timeout: Option<Instant>,
    dials: Vec<(PeerId, u16)>,
}

fn turn(shared: &Shared, input: &mut BytesMut, out: &mut BytesMut) -> Turn {
    let mut wakers = Vec::new();
    let mut dials = Vec::new();
    let mut inner = shared.lock();
    let Inner { mux, readers, writers } = &mut *inner;
    mux.handle_timeout(Instant::now().into_std());
    if !input.is_empty() {
        mux.handle_input(input);
    }
    while out.len() < BATCH && mux.poll_transmit(out).is_some() {}
    while let Some(event) = mux.poll_event() {
        match event {
            DeviceEvent::Dial { id, port } => dials.push((id, port)),
            DeviceEvent::Readable(id) => wakers.extend(readers.remove(&id)),
            DeviceEvent::Writable(id) => wakers.extend(writers.remove(&id)),
            DeviceEvent::Ended(id) => {
                wakers.extend(readers.remove(&id));
                wakers.extend(writers.remove(&id));
            }
        }
    }
    let timeout = mux.poll_timeout().map(Instant::from_std);
    drop(inner);
    wakers.into_iter().for_each(Waker::wake);
    Turn { timeout, dials }
}

async fn run(shared: Arc<Shared>, link: impl Stream, phone: Arc<dyn Connect>) {
    let (mut reader, mut writer) = tokio::io::split(link);
    let mut input = BytesMut::with_capacity(READ);
    let mut out = BytesMut::new();
    let mut unflushed = false;
    let mut connections = JoinSet::new();
    loop {
        let Turn { timeout, dials } = turn(&shared, &mut input, &mut out);
        for (id, port) in dials {
            connections.spawn(connection(Arc::clone(&shared), Arc::clone(&phone), id, port));
        }
        while connections.try_join_next().is_some() {}
        if input.capacity().saturating_sub(input.len()) < READ / 4 {
            input.reserve(READ);
        }
        let result = tokio::select! {
            read = reader.read_buf(&mut input) => match read {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                other => other.map(|_| ()),
            },
            pushed = push(&mut writer, &mut out, &mut unflushed), if !out.is_empty() || unflushed => pushed,
            () = shared.wake.notified() => Ok(()),
            () = sleep_until(timeout.unwrap_or_else(Instant::now)), if timeout.is_some() => Ok(()),
        };
        if let Err(error) = result {
            tracing::debug!(%error, "the host is gone");
            shared.lock().mux.handle_link_lost();
            turn(&shared, &mut input, &mut out);
            break;
        }
    }
    // Services see the end of their streams and get the chance to say so in their log.
    while connections.join_next().await.is_some() {}
}

async fn push(writer: &mut (impl AsyncWrite + Unpin), out: &mut BytesMut, unflushed: &mut bool) -> io::Result<()> {
    if out.is_empty() {
        writer.flush().await?;
        *unflushed = false;
    } else if writer.write_buf(out).await? == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    } else {
        *unflushed = true;
    }
    Ok(())
}

/// One connection: asks the phone, then moves bytes until one side ends.
async fn connection(shared: Arc<Shared>, phone: Arc<dyn Connect>, id: PeerId, port: u16) {
    let service = match phone.connect(port).await {
        Ok(service) => service,
        Err(error) => {
            tracing::debug!(port, %error, "refused");
            return shared.with(|inner| inner.mux.refuse(id));
        }
    };
    shared.with(|inner| inner.mux.accept(id));
    pump(&shared, id, service).await;
    shared.with(|inner| {
        inner.mux.finish(Instant::now().into_std(), id);
        inner.readers.remove(&id);
        inner.writers.remove(&id);
    });
}

async fn pump(shared: &Shared, id: PeerId, service: BoxStream) {
    let (from_service, to_service) = tokio::io::split(service);
    tokio::select! {
        () = to_host(shared, id, from_service) => {}
        () = to_phone(shared, id, to_service) => {}
    }
}

/// Ends when the service has said everything, or the host is gone.
async fn to_host(shared: &Shared, id: PeerId, mut service: ReadHalf<BoxStream>) {
    let mut buffer = vec![0; SERVICE_READ];
    loop {
        let read = match service.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let mut rest = buffer.get(..read).unwrap_or_default();
        while !rest.is_empty() {
            let Some(taken) = poll_fn(|cx| shared.poll_write(id, rest, cx)).await else {
                return;
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
    }
}

/// Ends when the host has ended and the service has what came before.
async fn to_phone(shared: &Shared, id: PeerId, mut service: WriteHalf<BoxStream>) {
    let mut reads = true;
    while let Some(bytes) = poll_fn(|cx| shared.poll_take(id, cx)).await {
        let n = bytes.len();
        // A service that stopped reading may still have something to say.
        reads = reads && service.write_all(&bytes).await.is_ok() && service.flush().await.is_ok();
        shared.with(|inner| inner.mux.consumed(Instant::now().into_std(), id, n));
    }
    let _ = service.shutdown().await;
}
