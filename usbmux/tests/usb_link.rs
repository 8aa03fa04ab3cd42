//! The rules of USB transfers, over endpoints that a test plays.
#![cfg(feature = "usb")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use cabled_usbmux::mux::link::FrameLink;
use cabled_usbmux::mux::{Failure, MuxDriver, MuxError, MuxOptions};
use cabled_usbmux::usb::link::{Bulk, Transfer, TransferEnd, Transfers, UsbLink};
use proptest::prelude::*;
use tokio::time::{Instant, sleep, timeout};

/// An endpoint, and the test's view of it.
#[derive(Clone, Debug)]
struct Played(Arc<Mutex<Endpoint>>);

#[derive(Debug, Default)]
struct Endpoint {
    packet: usize,
    /// Submitted and waiting.
    waiting: VecDeque<Vec<u8>>,
    /// Complete and not handed back.
    done: VecDeque<Transfer>,
    /// Most that waited at one time.
    most: usize,
    cancelled: usize,
    cleared: usize,
    halted: bool,
    waker: Option<Waker>,
}

impl Played {
    fn new(packet: usize) -> Self {
        Self(Arc::new(Mutex::new(Endpoint {
            packet,
            ..Endpoint::default()
        })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Endpoint) -> T) -> T {
        let mut endpoint = self.0.lock().unwrap();
        let result = act(&mut endpoint);
        let waker = endpoint.waker.take();
        drop(endpoint);
        waker.into_iter().for_each(Waker::wake);
        result
    }

    /// The device sends a message: transfers of the host are filled, a short or empty one ends it.
    fn arrives(&self, bytes: &[u8]) {
        self.with(|endpoint| {
            let mut rest = bytes;
            loop {
                let Some(mut buffer) = endpoint.waiting.pop_front() else {
                    panic!("no transfer waits for the device");
                };
                let moved = rest.len().min(buffer.len());
                let full = moved == buffer.len();
                buffer.truncate(moved);
                buffer.copy_from_slice(&rest[..moved]);
                rest = &rest[moved..];
                endpoint.done.push_back(Transfer {
                    buffer,
                    moved,
                    end: TransferEnd::Complete,
                });
                if !full {
                    return;
                }
            }
        });
    }

    /// The first transfer that waits ends so, after this many bytes.
    fn ends(&self, end: TransferEnd, bytes: &[u8]) {
        self.with(|endpoint| {
            let mut buffer = endpoint.waiting.pop_front().unwrap();
            buffer[..bytes.len()].copy_from_slice(bytes);
            endpoint.done.push_back(Transfer {
                buffer,
                moved: bytes.len(),
                end,
            });
        });
    }

    /// The device takes all transfers that wait.
    fn takes(&self) -> Vec<Vec<u8>> {
        self.with(|endpoint| {
            let taken: Vec<Vec<u8>> = endpoint.waiting.drain(..).collect();
            for buffer in &taken {
                endpoint.done.push_back(Transfer {
                    moved: buffer.len(),
                    buffer: buffer.clone(),
                    end: TransferEnd::Complete,
                });
            }
            taken
        })
    }
}

impl Bulk for Played {
    fn packet_size(&self) -> usize {
        self.0.lock().unwrap().packet
    }

    fn pending(&self) -> usize {
        let endpoint = self.0.lock().unwrap();
        endpoint.waiting.len() + endpoint.done.len()
    }

    fn submit(&mut self, buffer: Vec<u8>) {
        let mut endpoint = self.0.lock().unwrap();
        assert!(!endpoint.halted, "a transfer for an endpoint that is halted");
        endpoint.waiting.push_back(buffer);
        let pending = endpoint.waiting.len() + endpoint.done.len();
        endpoint.most = endpoint.most.max(pending);
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<Option<Transfer>> {
        let mut endpoint = self.0.lock().unwrap();
        if let Some(done) = endpoint.done.pop_front() {
            // From here on the host knows.
            endpoint.halted |= done.end == TransferEnd::Stalled;
            return Poll::Ready(Some(done));
        }
        if endpoint.waiting.is_empty() {
            return Poll::Ready(None);
        }
        endpoint.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn cancel_all(&mut self) {
        self.with(|endpoint| {
            endpoint.cancelled += 1;
            let waiting: Vec<Vec<u8>> = endpoint.waiting.drain(..).collect();
            for buffer in waiting {
                endpoint.done.push_back(Transfer {
                    buffer,
                    moved: 0,
                    end: TransferEnd::Cancelled,
                });
            }
        });
    }

    fn poll_clear_halt(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut endpoint = self.0.lock().unwrap();
        assert!(endpoint.waiting.is_empty(), "cleared while transfers wait");
        endpoint.halted = false;
        endpoint.cleared += 1;
        Poll::Ready(Ok(()))
    }
}

type Link = UsbLink<Played, Played>;

/// A link behind its time of throwing away.
async fn link(packet: usize) -> (Link, Played, Played) {
    let (from_device, to_device) = (Played::new(packet), Played::new(packet));
    let mut link = UsbLink::new(from_device.clone(), to_device.clone(), Transfers::default()).unwrap();
    poll_fn(|cx| link.poll_ready(cx)).await.unwrap();
    (link, from_device, to_device)
}

/// Polls everything once, as a driver does.
fn turn(link: &mut Link, input: &mut BytesMut) -> io::Result<()> {
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(received) = link.poll_receive(&mut cx, input) {
        assert!(received? > 0);
    }
    if let Poll::Ready(flushed) = link.poll_flush(&mut cx) {
        flushed?;
    }
    Ok(())
}

fn is_ready(link: &mut Link) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    link.poll_ready(&mut cx).map(Result::unwrap).is_ready()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_whole_packets_is_followed_by_an_empty_transfer_and_no_other_is() {
    for packet in [64, 512, 1024] {
        for len in [
            1,
            20,
            packet - 1,
            packet,
            packet + 1,
            2 * packet,
            16_384,
            32_752,
            49_152,
        ] {
            let (mut link, _from_device, to_device) = link(packet).await;
            link.send(&pattern(len)).unwrap();
            let taken = to_device.takes();
            let ended = if len % packet == 0 { 2 } else { 1 };
            assert_eq!(taken.len(), ended, "{len} bytes in packets of {packet}");
            assert_eq!(taken[0], pattern(len));
            assert!(taken[1..].iter().all(Vec::is_empty));
            turn(&mut link, &mut BytesMut::new()).unwrap();
            assert_eq!(to_device.pending(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn four_frames_wait_for_the_device_and_the_fifth_for_them() {
    let (mut link, _from_device, to_device) = link(512).await;
    for n in 1..=4_u8 {
        assert!(is_ready(&mut link));
        link.send(&[n; 20]).unwrap();
    }
    assert!(!is_ready(&mut link));
    assert_eq!(to_device.takes(), [1, 2, 3, 4].map(|n| vec![n; 20]));
    assert!(is_ready(&mut link));
}

#[tokio::test(start_paused = true)]
async fn four_transfers_of_whole_packets_wait_for_the_device_at_all_times() {
    for packet in [64, 512, 1000, 1024] {
        let (mut link, from_device, _to_device) = link(packet).await;
        let mut input = BytesMut::new();
        turn(&mut link, &mut input).unwrap();
        let sizes = from_device.with(|endpoint| endpoint.waiting.iter().map(Vec::len).collect::<Vec<_>>());
        assert_eq!(sizes.len(), 4);
        assert!(
            sizes.iter().all(|size| size % packet == 0 && *size >= 32 << 10),
            "{sizes:?}"
        );
        from_device.arrives(b"hello");
        turn(&mut link, &mut input).unwrap();
        assert_eq!(&input[..], b"hello");
        assert_eq!(
            from_device.with(|endpoint| (endpoint.waiting.len(), endpoint.most)),
            (4, 4)
        );
    }
}

proptest! {
    /// 4096 is where hypervisors split, and empty transfers may come anywhere.
    #[test]
    fn splitting_the_transfers_anywhere_changes_nothing(
        cuts in proptest::collection::vec(0_usize..9000, 1..40),
        whole in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (mut link, from_device, _to_device) = runtime.block_on(link(512));
        let mut input = BytesMut::new();
        let mut expected = Vec::new();
        let _inside = runtime.enter();
        for cut in cuts {
            turn(&mut link, &mut input).unwrap();
            let piece = pattern(if whole { cut / 4096 * 4096 } else { cut });
            from_device.ends(TransferEnd::Complete, &piece);
            expected.extend_from_slice(&piece);
        }
        turn(&mut link, &mut input).unwrap();
        prop_assert!(input[..] == expected[..]);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_of_any_size_arrive_whole_with_the_empty_transfer_behind_them_or_not() {
    let (mut link, from_device, _to_device) = link(512).await;
    let mut expected = Vec::new();
    let mut input = BytesMut::new();
    for len in [1, 512, 16_384, 32_764, 32 << 10, 49_152, 64 << 10] {
        turn(&mut link, &mut input).unwrap();
        from_device.arrives(&pattern(len));
        expected.extend(pattern(len));
    }
    turn(&mut link, &mut input).unwrap();
    assert!(input[..] == expected[..]);
}

#[tokio::test(start_paused = true)]
async fn a_stall_from_the_device_is_cleared_once_and_ends_the_link_the_second_time() {
    let (mut link, from_device, _to_device) = link(512).await;
    let mut input = BytesMut::new();
    turn(&mut link, &mut input).unwrap();
    from_device.arrives(b"before ");
    from_device.ends(TransferEnd::Stalled, b"half ");
    turn(&mut link, &mut input).unwrap();
    assert_eq!(
        from_device.with(|endpoint| (endpoint.cleared, endpoint.cancelled)),
        (1, 1)
    );
    from_device.arrives(b"after");
    turn(&mut link, &mut input).unwrap();
    assert_eq!(&input[..], b"before half after");

    from_device.ends(TransferEnd::Stalled, b"");
    assert!(turn(&mut link, &mut input).is_err());
    assert_eq!(from_device.with(|endpoint| endpoint.cleared), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stall_to_the_device_loses_no_frame_and_keeps_their_order() {
    let (mut link, _from_device, to_device) = link(512).await;
    let frames = [pattern(1500), pattern(512), pattern(7)];
    frames.iter().for_each(|frame| link.send(frame).unwrap());
    to_device.ends(TransferEnd::Stalled, &frames[0][..1024]);
    turn(&mut link, &mut BytesMut::new()).unwrap();
    assert_eq!(to_device.with(|endpoint| endpoint.cleared), 1);
    let again = to_device.takes();
    let expected = [
        frames[0][1024..].to_vec(),
        frames[1].clone(),
        Vec::new(),
        frames[2].clone(),
    ];
    assert_eq!(again, expected);
    turn(&mut link, &mut BytesMut::new()).unwrap();
    assert!(is_ready(&mut link));

    link.send(b"more").unwrap();
    to_device.ends(TransferEnd::Stalled, b"");
    assert!(turn(&mut link, &mut BytesMut::new()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_device_that_takes_a_part_and_says_that_was_all_is_given_up() {
    let (mut link, _from_device, to_device) = link(512).await;
    link.send(&pattern(1500)).unwrap();
    to_device.ends(TransferEnd::Complete, &pattern(512));
    assert!(turn(&mut link, &mut BytesMut::new()).is_err());
}

#[tokio::test(start_paused = true)]
async fn whatever_else_ends_a_transfer_ends_the_link() {
    for end in [
        TransferEnd::Gone,
        TransferEnd::Cancelled,
        TransferEnd::Failed("babble".into()),
    ] {
        let (mut link, from_device, to_device) = link(512).await;
        let mut input = BytesMut::new();
        turn(&mut link, &mut input).unwrap();
        from_device.arrives(b"last words");
        from_device.ends(end.clone(), b"");
        assert!(turn(&mut link, &mut input).is_err(), "{end:?}");
        assert_eq!(&input[..], b"last words");
        link.send(b"x").unwrap();
        to_device.ends(end.clone(), b"");
        assert!(turn(&mut link, &mut BytesMut::new()).is_err(), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_previous_owner_left_is_thrown_away_and_nothing_is_sent_meanwhile() {
    let (from_device, to_device) = (Played::new(512), Played::new(512));
    let mut link = UsbLink::new(from_device.clone(), to_device, Transfers::default()).unwrap();
    let mut input = BytesMut::new();
    turn(&mut link, &mut input).unwrap();
    assert!(!is_ready(&mut link));
    from_device.arrives(b"stale");
    turn(&mut link, &mut input).unwrap();
    sleep(Duration::from_millis(51)).await;
    assert!(is_ready(&mut link));
    from_device.arrives(b"fresh");
    turn(&mut link, &mut input).unwrap();
    assert_eq!(&input[..], b"fresh");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_in_the_middle_then_is_thrown_away_to_its_end() {
    let (from_device, to_device) = (Played::new(512), Played::new(512));
    let mut link = UsbLink::new(from_device.clone(), to_device, Transfers::default()).unwrap();
    let mut input = BytesMut::new();
    turn(&mut link, &mut input).unwrap();
    from_device.ends(TransferEnd::Complete, &pattern(32 << 10)); // full: the message goes on
    turn(&mut link, &mut input).unwrap();
    sleep(Duration::from_millis(60)).await;
    assert!(!is_ready(&mut link));
    from_device.arrives(b"its end");
    turn(&mut link, &mut input).unwrap();
    assert!(is_ready(&mut link), "the end was seen, nobody waits longer");
    from_device.arrives(b"fresh");
    turn(&mut link, &mut input).unwrap();
    assert_eq!(&input[..], b"fresh");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_with_packets_that_cannot_be_is_refused() {
    for packet in [0, 1025, 65_535] {
        let link = UsbLink::new(Played::new(packet), Played::new(512), Transfers::default());
        assert_eq!(link.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(UsbLink::new(Played::new(512), Played::new(packet), Transfers::default()).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_takes_nothing_for_a_minute_is_given_up() {
    let (mut link, _from_device, to_device) = link(512).await;
    for _ in 0..3 {
        link.send(b"x").unwrap();
        let flushed = timeout(Duration::from_secs(59), poll_fn(|cx| link.poll_flush(cx))).await;
        assert!(flushed.is_err());
        to_device.takes();
        poll_fn(|cx| link.poll_flush(cx)).await.unwrap();
    }
    link.send(b"x").unwrap();
    let started = Instant::now();
    let error = poll_fn(|cx| link.poll_flush(cx)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(started.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_closed_link_has_taken_all_its_transfers_back() {
    let (mut link, from_device, to_device) = link(512).await;
    turn(&mut link, &mut BytesMut::new()).unwrap();
    link.send(b"x").unwrap();
    poll_fn(|cx| link.poll_close(cx)).await;
    assert_eq!((from_device.pending(), to_device.pending()), (0, 0));
}

/// The whole driver on top: the cable goes while transfers of both directions wait.
#[tokio::test(start_paused = true)]
async fn a_disconnect_with_transfers_in_flight_ends_the_mux_and_lets_everything_go() {
    let (from_device, to_device) = (Played::new(512), Played::new(512));
    let link = UsbLink::new(from_device.clone(), to_device.clone(), Transfers::default()).unwrap();
    let handle = MuxDriver::spawn_frames(link, MuxOptions::default());
    let waiting = handle.clone();
    let ready = tokio::spawn(async move { waiting.ready().await });
    sleep(Duration::from_millis(200)).await;
    assert_eq!(to_device.pending(), 1, "VERSION waits for the device");
    let started = Instant::now();
    from_device.ends(TransferEnd::Gone, b"");
    assert_eq!(ready.await.unwrap(), Err(MuxError::Failed(Failure::Link)));
    assert_eq!(started.elapsed(), Duration::ZERO);
    tokio::task::yield_now().await;
    assert_eq!((from_device.pending(), to_device.pending()), (0, 0));
    assert_eq!(Arc::strong_count(&from_device.0), 1, "the endpoint is let go");
}
