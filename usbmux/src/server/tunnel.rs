//! Moves bytes between a client and a device.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use cabled_wire::io::BoxStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout};

/// Bytes that a direction may hold; an idle one holds [`FIRST_BUFFER`].
const MAX_BUFFER: usize = 256 << 10;
const FIRST_BUFFER: usize = 16 << 10;
/// Who takes nothing for this long after the other side has ended loses the rest.
const LAST_BYTES: Duration = Duration::from_secs(5);
/// How often a client is looked at whose bytes the device does not take: it may be gone.
const LOOK: Duration = Duration::from_secs(1);
/// Reads and writes of one direction before the other has its turn.
const TURN: u32 = 32;

/// A client's socket.
pub(super) trait ClientSocket: AsyncRead + AsyncWrite + Send + Unpin {
    /// Whether the client is known to have closed its end. UNIX sockets tell even while bytes from it wait to be read; with
    /// TCP the news may be behind bytes for which there is no room.
    fn has_hung_up(&self) -> bool;
}

macro_rules! client_socket {
    ($socket:ty) => {
        impl ClientSocket for $socket {
            fn has_hung_up(&self) -> bool {
                // Polled once: what the system has reported already, nothing is waited for.
                let ready = pin!(self.ready(tokio::io::Interest::READABLE));
                let mut cx = Context::from_waker(std::task::Waker::noop());
                matches!(ready.poll(&mut cx), Poll::Ready(Ok(ready)) if ready.is_read_closed())
            }
        }
    };
}

client_socket!(tokio::net::TcpStream);
#[cfg(unix)]
client_socket!(tokio::net::UnixStream);

/// Runs until one side ends; there is no half-close in this protocol, so the other side is closed then.
///
/// What one side had said before it ended is delivered to the other, for which that has [`LAST_BYTES`]. `unplugged`
/// tells that the device is gone, which would go unnoticed while the client does not read. Spec: usbmux, section 1.1.
pub(super) async fn pump(mut client: impl ClientSocket, mut device: BoxStream, unplugged: impl Future<Output = ()>) {
    let end = run(&mut client, &mut device, unplugged).await;
    tracing::debug!(?end, "tunnel ended");
    let close = async {
        // Sockets take what is written at once and send it after the close; the multiplexer drains by itself.
        let _ = client.shutdown().await;
        let _ = device.shutdown().await;
        if end == End::Device {
            // A socket closed with bytes unread is reset, and the client loses what it has not fetched yet.
            let mut sink = vec![0; 4096];
            while client.read(&mut sink).await.is_ok_and(|read| read > 0) {}
        }
    };
    if timeout(LAST_BYTES, close).await.is_err() {
        tracing::debug!("a side of the tunnel did not end in time");
    }
}

/// Which side ended a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Device,
    /// The client is gone and the device does not take its last bytes.
    Stuck,
    /// The device is gone and the client does not take its last bytes.
    Unplugged,
}

async fn run(client: &mut impl ClientSocket, device: &mut BoxStream, unplugged: impl Future<Output = ()>) -> End {
    let (mut up, mut down) = (Copy::new(), Copy::new());
    let mut watch = HangUp::new();
    let mut lost = pin!(async {
        unplugged.await;
        sleep(LAST_BYTES).await;
    });
    poll_fn(|cx| {
        // A direction ends with its reader, or with a writer that takes nothing any more.
        if let Poll::Ready(ended) = down.poll(cx, device, client) {
            return Poll::Ready(match ended {
                Ended::Writer => End::Client,
                Ended::Reader => End::Device,
            });
        }
        if let Poll::Ready(ended) = up.poll(cx, client, device) {
            return Poll::Ready(match ended {
                Ended::Writer => End::Device,
                Ended::Reader => End::Client,
            });
        }
        if up.is_stuck() && watch.poll(cx, up.written, client).is_ready() {
            return Poll::Ready(End::Stuck);
        }
        lost.as_mut().poll(cx).map(|()| End::Unplugged)
    })
    .await
}

/// Looks whether a client that waits for the device is still there: its end of stream is behind bytes that nobody reads.
struct HangUp {
    look: Interval,
    /// Bytes the device had taken when the client was first seen to be gone.
    gone_at: Option<(u64, Instant)>,
}

impl HangUp {
    fn new() -> Self {
        let first = Instant::now().checked_add(LOOK).unwrap_or_else(Instant::now);
        let mut look = interval_at(first, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { look, gone_at: None }
    }

    /// Ready when the client is gone and the device has taken nothing since for [`LAST_BYTES`].
    fn poll(&mut self, cx: &mut Context<'_>, written: u64, client: &impl ClientSocket) -> Poll<()> {
        loop {
            ready!(self.look.poll_tick(cx));
            match self.gone_at {
                _ if !client.has_hung_up() => self.gone_at = None,
                Some((then, at)) if then == written => {
                    if at.elapsed() >= LAST_BYTES {
                        return Poll::Ready(());
                    }
                }
                _ => self.gone_at = Some((written, Instant::now())),
            }
        }
    }
}

/// Why a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// In order or not; everything that was read is written.
    Reader,
    /// Nobody takes the bytes.
    Writer,
}

/// One direction.
struct Copy {
    buffer: Vec<u8>,
    /// What is in the buffer and not written yet.
    held: std::ops::Range<usize>,
    /// Bytes written so far.
    written: u64,
    /// The last read filled the buffer: a larger one would have saved a turn.
    was_full: bool,
    /// Written to something that may hold it back.
    unflushed: bool,
    reader_ended: bool,
}

impl Copy {
    fn new() -> Self {
        Self {
            buffer: vec![0; FIRST_BUFFER],
            held: 0..0,
            written: 0,
            was_full: false,
            unflushed: false,
            reader_ended: false,
        }
    }

    /// Whether bytes wait for the writer.
    fn is_stuck(&self) -> bool {
        !self.held.is_empty()
    }

    /// Moves bytes until reader or writer is not ready; ready itself when this direction has ended.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<Ended>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURN {
            if self.held.is_empty() {
                if self.reader_ended {
                    // Whether the last flush works or not, this is the end.
                    return Pin::new(to).poll_flush(cx).map(|_| Ended::Reader);
                }
                match self.poll_fill(cx, from) {
                    Poll::Ready(()) if self.held.is_empty() => continue,
                    Poll::Ready(()) => {}
                    Poll::Pending => {
                        // Nothing more for now: what was written must not wait for what comes next.
                        if self.unflushed && ready!(Pin::new(to).poll_flush(cx)).is_err() {
                            return Poll::Ready(Ended::Writer);
                        }
                        self.unflushed = false;
                        return Poll::Pending;
                    }
                }
            }
            let bytes = self.buffer.get(self.held.clone()).unwrap_or_default();
            match ready!(Pin::new(&mut *to).poll_write(cx, bytes)) {
                Ok(0) | Err(_) => return Poll::Ready(Ended::Writer),
                Ok(taken) => {
                    self.held.start = self.held.start.saturating_add(taken).min(self.held.end);
                    self.written = self.written.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX));
                    self.unflushed = true;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads into the empty buffer; the end of the reader is kept.
    fn poll_fill(&mut self, cx: &mut Context<'_>, from: &mut (impl AsyncRead + Unpin)) -> Poll<()> {
        if self.was_full && self.buffer.len() < MAX_BUFFER {
            let larger = self.buffer.len().saturating_mul(2).min(MAX_BUFFER);
            self.buffer.resize(larger, 0);
        }
        let mut buffer = ReadBuf::new(&mut self.buffer);
        let read = ready!(Pin::new(from).poll_read(cx, &mut buffer));
        let filled = buffer.filled().len();
        self.was_full = buffer.remaining() == 0;
        self.held = 0..filled;
        if let Err(error) = &read {
            tracing::debug!(%error, "a side of the tunnel broke");
        }
        self.reader_ended = read.is_err() || filled == 0;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io;

    use tokio::io::{DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    impl ClientSocket for DuplexStream {
        fn has_hung_up(&self) -> bool {
            false
        }
    }

    /// A client whose hang-up shows at once, while its bytes wait.
    struct Gone(DuplexStream);

    impl ClientSocket for Gone {
        fn has_hung_up(&self) -> bool {
            true
        }
    }

    impl AsyncRead for Gone {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Gone {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, buf)
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_tunnel_stays_open_for_days() {
        let (client, mut far_client) = duplex(1024);
        let (device, mut far_device) = duplex(1024);
        let pumping = tokio::spawn(pump(client, Box::new(device), pending()));
        sleep(Duration::from_secs(3 * 86_400)).await;
        far_client.write_all(b"still there").await.unwrap();
        let mut got = [0; 11];
        far_device.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"still there");
        assert!(!pumping.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_left_ends_the_tunnel_though_the_device_takes_nothing() {
        let (client, mut far_client) = duplex(64 << 10);
        let (device, _far_device) = duplex(1024); // which nobody reads
        let started = Instant::now();
        let pumping = tokio::spawn(pump(Gone(client), Box::new(device), pending()));
        far_client.write_all(&[7; 60_000]).await.unwrap();
        timeout(Duration::from_secs(30), pumping)
            .await
            .expect("the tunnel still holds its place")
            .unwrap();
        assert!(started.elapsed() >= LAST_BYTES, "the device had its chance");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_left_is_served_while_the_device_takes_its_bytes() {
        let (client, mut far_client) = duplex(64 << 10);
        let (device, mut far_device) = duplex(1024);
        let pumping = tokio::spawn(pump(Gone(client), Box::new(device), pending()));
        far_client.write_all(&[7; 60_000]).await.unwrap();
        drop(far_client);
        // Slowly, over more than a minute.
        let mut got = 0;
        let mut piece = [0; 1024];
        while let Ok(read @ 1..) = far_device.read(&mut piece).await {
            got += read;
            sleep(Duration::from_millis(1200)).await;
        }
        assert_eq!(got, 60_000);
        pumping.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_unplugged_device_ends_the_tunnel_of_a_client_that_does_not_read() {
        let (client, _far_client) = duplex(1024); // which nobody reads
        let (device, mut far_device) = duplex(64 << 10);
        let unplugged = sleep(Duration::from_secs(60));
        let pumping = tokio::spawn(pump(client, Box::new(device), unplugged));
        far_device.write_all(&[7; 60_000]).await.unwrap();
        sleep(Duration::from_secs(59)).await;
        assert!(!pumping.is_finished(), "a slow client is no reason to end anything");
        timeout(Duration::from_secs(30), pumping)
            .await
            .expect("the tunnel still holds its place")
            .unwrap();
    }

    #[tokio::test]
    async fn buffers_grow_with_what_comes_and_nothing_is_lost_on_the_way() {
        let data: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let (client, mut far_client) = duplex(1 << 20);
        let (device, mut far_device) = duplex(1 << 20);
        let pumping = tokio::spawn(pump(client, Box::new(device), pending()));
        let sent = data.clone();
        let sending = tokio::spawn(async move {
            for piece in sent.chunks(333_333) {
                far_device.write_all(piece).await.unwrap();
            }
        });
        let mut got = Vec::new();
        far_client.read_to_end(&mut got).await.unwrap();
        assert!(got == data);
        drop(far_client);
        sending.await.unwrap();
        pumping.await.unwrap();
    }
}
