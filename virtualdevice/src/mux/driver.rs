//! Runs the device's end over a byte link and opens the phone's ports.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use cabled_usbmux::mux::frame::ControlKind;
use cabled_usbmux::mux::link::FrameLink;
use cabled_wire::io::{BoxStream, Connect, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::byte_link::ByteLink;
use super::{DeviceEvent, DeviceMux, DeviceMuxOptions, DeviceStats, PeerId};

/// Bytes read off a service at a time.
const SERVICE_READ: usize = 64 << 10;
/// Bytes of frames fetched from the core at a time.
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

    /// The link gathered this many bytes and still saw no end of the frame: the phone complains and takes nothing more.
    pub fn overrun(&self, bytes: usize) {
        self.shared.with(|inner| inner.mux.handle_overrun(bytes));
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

/// Connects a phone's ports to a byte link, whatever the phone is: every SYN becomes a [`Connect::connect`].
///
/// Starts a task in the current tokio runtime, which ends with the link or with what is returned here.
pub fn plug_in(link: impl Stream + 'static, phone: Arc<dyn Connect>, options: DeviceMuxOptions) -> PluggedIn {
    plug_in_frames(ByteLink::new(link), phone, options)
}

/// As [`plug_in`], over a link that keeps frames apart, as a USB function does.
pub fn plug_in_frames(link: impl FrameLink, phone: Arc<dyn Connect>, options: DeviceMuxOptions) -> PluggedIn {
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

/// Frames on their way from the core to the link.
#[derive(Default)]
struct Outgoing {
    bytes: BytesMut,
    lengths: VecDeque<usize>,
}

/// What the core wants next.
struct Turn {
    timeout: Option<Instant>,
    dials: Vec<(PeerId, u16)>,
}

fn turn(shared: &Shared, input: &mut BytesMut, out: &mut Outgoing) -> Turn {
    let mut wakers = Vec::new();
    let mut dials = Vec::new();
    let mut inner = shared.lock();
    let Inner { mux, readers, writers } = &mut *inner;
    mux.handle_timeout(Instant::now().into_std());
    if !input.is_empty() {
        mux.handle_input(input);
    }
    while out.bytes.len() < BATCH
        && let Some(len) = mux.poll_transmit(&mut out.bytes)
    {
        out.lengths.push_back(len);
    }
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

async fn run(shared: Arc<Shared>, mut link: impl FrameLink, phone: Arc<dyn Connect>) {
    let mut input = BytesMut::new();
    let mut out = Outgoing::default();
    let mut connections = JoinSet::new();
    loop {
        let Turn { timeout, dials } = turn(&shared, &mut input, &mut out);
        for (id, port) in dials {
            connections.spawn(connection(Arc::clone(&shared), Arc::clone(&phone), id, port));
        }
        while connections.try_join_next().is_some() {}
        let result = tokio::select! {
            moved = poll_fn(|cx| exchange(&mut link, &mut input, &mut out, cx)) => moved,
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

/// Moves what can be moved both ways; ready when that was anything the core has to look at.
fn exchange(
    link: &mut impl FrameLink,
    input: &mut BytesMut,
    out: &mut Outgoing,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let mut moved = false;
    while let Some(len) = out.lengths.front().copied() {
        match link.poll_ready(cx)? {
            Poll::Ready(()) => link.send(out.bytes.get(..len).unwrap_or_default())?,
            Poll::Pending => break,
        }
        out.bytes.advance(len.min(out.bytes.len()));
        out.lengths.pop_front();
        // The core may have more once the batch is out; before, there is nothing to ask it.
        moved |= out.lengths.is_empty();
    }
    let _ = link.poll_flush(cx)?;
    match link.poll_receive(cx, input)? {
        Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        Poll::Ready(_) => moved = true,
        Poll::Pending => {}
    }
    if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
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
