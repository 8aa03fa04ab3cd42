//! The cable is pulled while calls of every kind wait.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use cabled_usbmux::mux::link::{FrameLink, memory_pair};
use cabled_usbmux::mux::{DeviceGone, Failure, MuxDriver, MuxError, MuxHandle, MuxOptions, MuxStream};
use cabled_virtualdevice::mux::{DeviceMuxOptions, PluggedIn, plug_in};
use cabled_wire::ids::Udid;
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const SILENT: u16 = 1;
const NEVER: u16 = 2;
const ECHO: u16 = 3;

/// Answers one port with a service that neither reads nor writes, and another not at all.
#[derive(Default)]
struct Stubborn {
    held: std::sync::Mutex<Vec<DuplexStream>>,
}

impl fmt::Debug for Stubborn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stubborn")
    }
}

impl Connect for Stubborn {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move {
            let (ours, theirs) = duplex(1024);
            match port {
                SILENT => self.held.lock().unwrap().push(ours),
                ECHO => {
                    let (mut reader, mut writer) = tokio::io::split(ours);
                    tokio::spawn(async move { tokio::io::copy(&mut reader, &mut writer).await });
                }
                _ => std::future::pending().await,
            }
            Ok(Box::new(theirs) as BoxStream)
        })
    }

    fn udid(&self) -> Option<&Udid> {
        None
    }
}

/// A byte link that keeps frames apart only in its interface, and remembers whether it was let go.
struct Transfers {
    stream: DuplexStream,
    out: BytesMut,
    /// What the other end is never given.
    closed: Arc<std::sync::atomic::AtomicBool>,
}

impl FrameLink for Transfers {
    fn poll_receive(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        std::pin::pin!(self.stream.read_buf(input)).poll(cx)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        assert!(self.out.is_empty(), "a frame was sent to a link that was not ready");
        self.out.extend_from_slice(frame);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match std::pin::pin!(self.stream.write_buf(&mut self.out)).poll(cx)? {
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        self.closed.store(true, std::sync::atomic::Ordering::Release);
        Poll::Ready(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Bytes,
    Frames,
}

fn plugged(kind: Kind) -> (MuxHandle, PluggedIn) {
    let (ours, theirs) = memory_pair();
    let handle = match kind {
        Kind::Bytes => MuxDriver::spawn(ours, MuxOptions::default()),
        Kind::Frames => {
            let link = Transfers {
                stream: ours,
                out: BytesMut::new(),
                closed: Arc::default(),
            };
            MuxDriver::spawn_frames(link, MuxOptions::default())
        }
    };
    (
        handle,
        plug_in(theirs, Arc::new(Stubborn::default()), DeviceMuxOptions::default()),
    )
}

async fn fill(mut stream: MuxStream) -> io::Error {
    loop {
        if let Err(error) = stream.write_all(&[7; 64 << 10]).await {
            return error;
        }
    }
}

fn is_gone(error: &(dyn Error + 'static)) -> bool {
    DeviceGone::find(error).is_some_and(|gone| *gone.failure() == Failure::Link)
}

#[tokio::test(start_paused = true)]
async fn pulling_the_cable_ends_every_pending_call_at_once() {
    for kind in [Kind::Bytes, Kind::Frames] {
        let (handle, phone) = plugged(kind);
        let open = async || handle.connect(SILENT).await.unwrap();
        let (mut reading, writing, mut closing) = (open().await, open().await, open().await);
        let mut later = open().await;

        let read = tokio::spawn(async move { reading.read(&mut [0; 16]).await });
        let written = tokio::spawn(fill(writing));
        let closed: JoinHandle<io::Error> = tokio::spawn(async move {
            // More than the phone takes, so that the shutdown has to wait for it.
            let written = timeout(Duration::from_millis(100), closing.write_all(&[7; 1 << 20])).await;
            assert!(written.is_err());
            closing.shutdown().await.unwrap_err()
        });
        let (dialling, gone) = (handle.clone(), handle.clone());
        let dialled = tokio::spawn(async move { dialling.connect(NEVER).await.map(drop) });
        let over = tokio::spawn(async move { gone.gone().await });
        sleep(Duration::from_millis(500)).await;
        for task in [
            read.is_finished(),
            written.is_finished(),
            closed.is_finished(),
            dialled.is_finished(),
        ] {
            assert!(!task, "{kind:?}");
        }

        let started = Instant::now();
        drop(phone);
        let error = read.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert!(is_gone(&error), "{kind:?}: {error:?}");
        assert!(is_gone(&written.await.unwrap()), "{kind:?}");
        assert!(is_gone(&closed.await.unwrap()), "{kind:?}");
        assert!(matches!(dialled.await.unwrap(), Err(ConnectError::Gone)), "{kind:?}");
        assert_eq!(over.await.unwrap(), Failure::Link);
        // Those that come later learn it as well.
        assert!(is_gone(&later.write_all(b"x").await.unwrap_err()));
        assert!(matches!(handle.connect(ECHO).await, Err(ConnectError::Gone)));
        assert!(matches!(handle.ready().await, Err(MuxError::Failed(Failure::Link))));
        assert_eq!(
            started.elapsed(),
            Duration::ZERO,
            "{kind:?}: somebody waited for a clock"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_cable_pulled_before_the_version_ends_the_wait_for_it() {
    let (ours, theirs) = memory_pair();
    let handle = MuxDriver::spawn(ours, MuxOptions::default());
    let (waiting, dialling) = (handle.clone(), handle.clone());
    let ready = tokio::spawn(async move { waiting.ready().await });
    let dialled = tokio::spawn(async move { dialling.connect(ECHO).await.map(drop) });
    sleep(Duration::from_millis(100)).await;
    assert!(!ready.is_finished() && !dialled.is_finished());
    let started = Instant::now();
    drop(theirs);
    assert_eq!(ready.await.unwrap(), Err(MuxError::Failed(Failure::Link)));
    assert!(matches!(dialled.await.unwrap(), Err(ConnectError::Gone)));
    assert_eq!(started.elapsed(), Duration::ZERO);
}

/// With the true clock: the other runtime's thread takes its time.
#[tokio::test]
async fn a_runtime_that_ends_is_a_cable_pulled() {
    let (ours, _theirs) = memory_pair();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let handle = {
        let _inside = runtime.enter();
        MuxDriver::spawn(ours, MuxOptions::default())
    };
    runtime.shutdown_background();
    let ready = timeout(Duration::from_secs(60), handle.ready()).await.unwrap();
    assert_eq!(ready, Err(MuxError::Failed(Failure::Link)));
}

/// Both ways at once in two tasks: what wakes one of them is not for the other.
#[tokio::test(start_paused = true)]
async fn a_stream_used_by_two_tasks_moves_every_byte() {
    for kind in [Kind::Bytes, Kind::Frames] {
        let (handle, _phone) = plugged(kind);
        let stream = handle.connect(ECHO).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
        let expected = sent.clone();
        let writes = tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer
        });
        let mut got = vec![0; expected.len()];
        let read = timeout(Duration::from_secs(30), reader.read_exact(&mut got)).await;
        assert_eq!(read.unwrap().unwrap(), expected.len());
        assert!(got == expected, "{kind:?}");
        drop(writes.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_nobody_uses_any_more_is_let_go() {
    let (ours, mut theirs) = memory_pair();
    let closed: Arc<std::sync::atomic::AtomicBool> = Arc::default();
    let link = Transfers {
        stream: ours,
        out: BytesMut::new(),
        closed: Arc::clone(&closed),
    };
    let handle = MuxDriver::spawn_frames(link, MuxOptions::default());
    let another = handle.clone();
    drop(handle);
    sleep(Duration::from_secs(1)).await;
    let mut version = [0; 20];
    theirs.read_exact(&mut version).await.unwrap();
    assert!(
        timeout(Duration::from_millis(100), theirs.read_u8()).await.is_err(),
        "still there"
    );
    drop(another);
    assert_eq!(theirs.read(&mut [0; 64]).await.unwrap(), 0);
    assert!(closed.load(std::sync::atomic::Ordering::Acquire));
}
