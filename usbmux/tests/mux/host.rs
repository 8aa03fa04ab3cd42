//! The host's core: against the vectors, and its rules one by one.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cabled_usbmux::mux::frame::{ControlKind, Flags, Frame, HeaderStyle, Numbers, Segment};
use cabled_usbmux::mux::{CloseReason, ConnectionId, Event, Failure, Mux, MuxError, MuxOptions, Violation};
use proptest::prelude::*;

use crate::built;
use crate::frames::{any_frame, encoded, taken};

/// A segment of the host's connection from `port` to lockdown, to be answered.
pub(crate) fn segment(port: u16) -> Segment {
    Segment {
        source: port,
        destination: 62078,
        seq: 0,
        ack: 0,
        flags: Flags::ACK,
        window: 0,
    }
}

/// A host whose clock is moved by hand.
pub(crate) struct Host {
    pub(crate) mux: Mux,
    pub(crate) now: Instant,
}

impl Host {
    fn new(options: MuxOptions) -> Self {
        let now = Instant::now();
        Self {
            mux: Mux::new(now, options),
            now,
        }
    }

    /// Past the version exchange.
    pub(crate) fn ready(options: MuxOptions) -> Self {
        let mut host = Self::new(options);
        host.frames();
        host.feed(&Frame::Version { major: 2, minor: 0 });
        assert_eq!(host.frames().len(), 1);
        assert_eq!(host.events(), [Event::Ready { version: 2 }]);
        host
    }

    /// With a connection that the device has accepted.
    pub(crate) fn connected(options: MuxOptions) -> (Self, ConnectionId, u16) {
        let mut host = Self::ready(options);
        let id = host.connect();
        let syn = host.segments().pop().unwrap().0;
        host.reply(&syn, Flags::SYN_ACK, 0, syn.seq.wrapping_add(1), b"");
        assert_eq!(host.events(), [Event::Connected(id)]);
        assert_eq!(host.segments().len(), 1);
        (host, id, syn.source)
    }

    pub(crate) fn connect(&mut self) -> ConnectionId {
        self.mux.connect(self.now, 62078, Duration::from_secs(10)).unwrap()
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.mux.handle_input(self.now, &mut input);
    }

    pub(crate) fn feed(&mut self, frame: &Frame) {
        let numbers = Numbers {
            magic: 0,
            tx_seq: 0,
            rx_seq: 0,
        };
        self.bytes(&encoded(frame, Some(numbers)));
    }

    /// A segment of the device to the port that `to` came from.
    pub(crate) fn reply(&mut self, to: &Segment, flags: Flags, seq: u32, ack: u32, payload: &[u8]) {
        let segment = Segment {
            source: to.destination,
            destination: to.source,
            seq,
            ack,
            flags,
            window: 512,
        };
        self.feed(&Frame::Tcp {
            segment,
            payload: Bytes::copy_from_slice(payload),
        });
    }

    pub(crate) fn frames(&mut self) -> Vec<Bytes> {
        let mut frames = Vec::new();
        let mut out = BytesMut::new();
        while let Some(len) = self.mux.poll_transmit(&mut out) {
            assert_eq!(len, out.len());
            frames.push(out.split().freeze());
        }
        frames
    }

    pub(crate) fn segments(&mut self) -> Vec<(Segment, Bytes)> {
        let read = |bytes: Bytes| match taken(&bytes, HeaderStyle::Long).frame {
            Ok(Frame::Tcp { segment, payload }) => (segment, payload),
            other => panic!("{other:?}"),
        };
        self.frames().into_iter().map(read).collect()
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.mux.poll_event()).collect()
    }

    pub(crate) fn sleep(&mut self, time: Duration) {
        self.now += time;
        self.mux.handle_timeout(self.now);
    }

    pub(crate) fn read(&mut self, id: ConnectionId) -> Result<Bytes, CloseReason> {
        let mut out = BytesMut::new();
        let mut limited = bytes::BufMut::limit(&mut out, 1 << 20);
        self.mux.read(self.now, id, &mut limited)?;
        Ok(out.freeze())
    }
}

/// The exchange of the specification, byte for byte.
#[test]
fn the_host_says_what_the_built_frames_say() {
    let built = built();
    let mut host = Host::new(MuxOptions::default().with_receive_buffer(131_072));
    assert_eq!(host.frames(), [&built["version-request"]]);
    host.bytes(&built["version-reply-2"]);
    assert_eq!(host.frames(), [&built["setup"]]);
    let id = host.connect();
    assert_eq!(host.frames(), [&built["syn"]]);
    host.bytes(&built["syn-ack"]);
    assert_eq!(host.frames(), [&built["ack"]]);
    assert_eq!(host.mux.write(host.now, id, &[0, 0, 1, 0x1c]), Ok(4));
    assert_eq!(host.frames(), [&built["data-4"]]);
    assert_eq!(host.mux.in_flight(id), 4);
    host.bytes(&built["data-ack"]);
    assert_eq!(host.mux.in_flight(id), 0);
    assert!(host.frames().is_empty(), "a frame without payload is not answered");
    host.bytes(&built["BAD-magic-faceface"]);
    host.bytes(&built["control-error"]);
    host.mux.close(host.now, id);
    let rst = host.segments().pop().unwrap().0;
    assert_eq!((rst.flags, rst.seq, rst.ack), (Flags::RST, 5, 1));
    let control = Event::Control {
        kind: ControlKind::Error,
        text: Bytes::from_static(b"example text"),
    };
    assert_eq!(
        host.events(),
        [
            Event::Ready { version: 2 },
            Event::Connected(id),
            control,
            Event::Drained(id)
        ]
    );
}

#[test]
fn a_version_1_device_gets_short_headers_and_no_setup() {
    let built = built();
    let mut host = Host::new(MuxOptions::default());
    host.frames();
    host.bytes(&built["version-reply-1"]);
    assert_eq!(host.events(), [Event::Ready { version: 1 }]);
    assert!(host.frames().is_empty());
    host.connect();
    let syn = host.frames().pop().unwrap();
    assert_eq!(syn.len(), 28);
    assert!(
        matches!(taken(&syn, HeaderStyle::Short).frame, Ok(Frame::Tcp { segment, .. }) if segment.flags == Flags::SYN)
    );
}

#[test]
fn version_is_asked_three_times_and_then_given_up() {
    let mut host = Host::new(MuxOptions::default());
    assert_eq!(host.frames().len(), 1);
    for _ in 0..2 {
        host.sleep(Duration::from_millis(4999));
        assert!(host.frames().is_empty());
        host.sleep(Duration::from_millis(1));
        assert_eq!(host.frames().len(), 1);
    }
    assert_eq!(host.mux.connect(host.now, 1, Duration::ZERO), Err(MuxError::NotReady));
    host.sleep(Duration::from_secs(5));
    assert_eq!(host.events(), [Event::Failed(Failure::NoVersion)]);
    assert!(matches!(
        host.mux.connect(host.now, 1, Duration::ZERO),
        Err(MuxError::Failed(Failure::NoVersion))
    ));
    // Anything else before the answer belongs to somebody who was here before.
    let mut host = Host::new(MuxOptions::default());
    host.bytes(&built()["data-ack"]);
    host.bytes(&built()["control-info"]);
    assert_eq!(host.frames().len(), 1);
    assert_eq!(host.events(), []);
    host.feed(&Frame::Version { major: 3, minor: 0 });
    assert_eq!(host.events(), [Event::Failed(Failure::Version { major: 3 })]);
}

#[test]
fn a_refusal_is_told_with_the_devices_words() {
    for (flags, text) in [(Flags::RST, ""), (Flags::RST | Flags::ACK, "no such service\n\0")] {
        let mut host = Host::ready(MuxOptions::default());
        let id = host.connect();
        let syn = host.segments().pop().unwrap().0;
        host.reply(&syn, flags, 0, 0, text.as_bytes());
        let reason = CloseReason::Refused {
            text: text.trim_end_matches(['\n', '\0']).to_owned(),
        };
        assert_eq!(host.events(), [Event::Closed(id, reason)]);
        assert!(host.frames().is_empty());
    }
}

#[test]
fn an_unanswered_syn_times_out_after_ten_seconds() {
    let mut host = Host::ready(MuxOptions::default());
    let id = host.connect();
    host.frames();
    assert_eq!(host.mux.poll_timeout(), Some(host.now + Duration::from_secs(10)));
    host.sleep(Duration::from_millis(9999));
    assert!(host.frames().is_empty());
    host.sleep(Duration::from_millis(1));
    assert_eq!(host.events(), [Event::Closed(id, CloseReason::TimedOut)]);
    assert_eq!(host.segments().pop().unwrap().0.flags, Flags::RST);
}

#[test]
fn odd_answers_to_syn_end_the_attempt_with_a_reset() {
    for (flags, ack) in [(Flags::ACK, 1), (Flags::SYN, 1), (Flags::SYN_ACK, 7), (Flags(0x13), 1)] {
        let mut host = Host::ready(MuxOptions::default());
        let id = host.connect();
        let syn = host.segments().pop().unwrap().0;
        host.reply(&syn, flags, 0, ack, b"");
        let reason = CloseReason::Protocol(Violation::Handshake { flags });
        assert_eq!(host.events(), [Event::Closed(id, reason)]);
        assert_eq!(host.segments().pop().unwrap().0.flags, Flags::RST);
    }
}

#[test]
fn data_is_acknowledged_and_what_cannot_be_ends_the_connection() {
    let (mut host, id, port) = Host::connected(MuxOptions::default());
    let to = segment(port);
    assert_eq!(host.read(id).unwrap(), Bytes::new());
    host.reply(&to, Flags::ACK, 1, 1, b"hello ");
    host.reply(&to, Flags::ACK, 7, 1, b"world");
    assert_eq!(host.events(), [Event::Readable(id)]);
    assert_eq!(host.segments().pop().unwrap().0.ack, 12);
    assert_eq!(host.read(id).unwrap(), "hello world");
    // Once more the same: not delivered twice, but acknowledged.
    host.reply(&to, Flags::ACK, 7, 1, b"world");
    assert_eq!(host.segments().pop().unwrap().0.ack, 12);
    assert_eq!(host.read(id).unwrap(), Bytes::new());
    // A hole: the last bytes before it can still be read.
    host.reply(&to, Flags::ACK, 12, 1, b"!");
    host.reply(&to, Flags::ACK, 14, 1, b"?");
    let reason = CloseReason::Protocol(Violation::Sequence { expected: 13, got: 14 });
    assert_eq!(host.events(), [Event::Readable(id), Event::Closed(id, reason.clone())]);
    assert_eq!(host.segments().pop().unwrap().0.flags, Flags::RST);
    assert_eq!(host.read(id).unwrap(), "!");
    assert_eq!(host.read(id), Err(reason));
}

#[test]
fn unusual_flags_end_an_open_connection() {
    for flags in [Flags(0), Flags(0x11), Flags(0x18), Flags::SYN_ACK] {
        let (mut host, id, port) = Host::connected(MuxOptions::default());
        let to = segment(port);
        host.reply(&to, flags, 1, 1, b"");
        assert_eq!(
            host.events(),
            [Event::Closed(id, CloseReason::Protocol(Violation::Flags { flags }))]
        );
    }
}

#[test]
fn a_device_that_ignores_the_window_is_cut_off() {
    let (mut host, id, port) = Host::connected(MuxOptions::default().with_receive_buffer(1024));
    let to = segment(port);
    host.reply(&to, Flags::ACK, 1, 1, &[1; 1000]);
    assert_eq!(
        host.segments().pop().unwrap().0.window,
        0,
        "24 bytes are no unit of 256"
    );
    host.reply(&to, Flags::ACK, 1001, 1, &[1; 24]);
    assert_eq!(host.events(), []);
    host.reply(&to, Flags::ACK, 1025, 1, &[1; 1]);
    let reason = CloseReason::Protocol(Violation::Window { room: 0, got: 1 });
    assert_eq!(host.events(), [Event::Closed(id, reason)]);
    assert_eq!(host.read(id).unwrap().len(), 1024);
}

#[test]
fn new_room_is_announced_at_once_when_much_and_later_when_little() {
    let (mut host, id, port) = Host::connected(MuxOptions::default());
    let to = segment(port);
    let mut seq = 1;
    for _ in 0..8 {
        host.reply(&to, Flags::ACK, seq, 1, &[0; 32_000]);
        seq += 32_000;
    }
    // One acknowledgment covers what came in one go: here each came alone.
    let last = host.segments().pop().unwrap().0;
    assert_eq!((last.ack, last.window), (seq, ((262_144 - 256_000) >> 8) as u16));
    let mut small = BytesMut::new();
    host.mux
        .read(host.now, id, &mut bytes::BufMut::limit(&mut small, 10_000))
        .unwrap();
    assert!(host.frames().is_empty(), "ten kilobytes can wait");
    assert_eq!(host.mux.poll_timeout(), Some(host.now + Duration::from_millis(30)));
    host.sleep(Duration::from_millis(30));
    assert_eq!(
        host.segments().pop().unwrap().0.window,
        ((262_144 - 246_000) >> 8) as u16
    );
    host.mux
        .read(host.now, id, &mut bytes::BufMut::limit(&mut small, 100_000))
        .unwrap();
    assert_eq!(host.segments().len(), 1, "a device that may be waiting is told at once");
}

#[test]
fn a_closed_window_stops_and_any_frame_with_room_starts_again() {
    let (mut host, id, port) = Host::connected(MuxOptions::default());
    assert_eq!(host.mux.write(host.now, id, &vec![7; 300_000]), Ok(262_144));
    let sent: usize = host.segments().iter().map(|(_, payload)| payload.len()).sum();
    assert_eq!(sent, 131_072, "the window of the handshake");
    assert_eq!(host.events(), []);
    assert_eq!(host.mux.write(host.now, id, &vec![7; 300_000]), Ok(131_072));
    assert_eq!(host.mux.write(host.now, id, b"x"), Ok(0));
    let mut room = |ack: u32, window: u16| {
        let segment = Segment {
            source: 62078,
            destination: port,
            seq: 1,
            ack,
            flags: Flags::ACK,
            window,
        };
        host.feed(&Frame::Tcp {
            segment,
            payload: Bytes::new(),
        });
        let sent: usize = host.segments().iter().map(|(_, payload)| payload.len()).sum();
        (sent, host.events())
    };
    assert_eq!(room(131_073, 0), (0, vec![]));
    // Too new or too old an acknowledgment is not believed, its window is.
    assert_eq!(room(999_999_999, 0), (0, vec![]));
    assert_eq!(room(131_073, 4), (1024, vec![Event::Writable(id)]));
    assert_eq!(room(1, 8), (1024, vec![]));
}

#[test]
fn a_close_waits_for_the_window_and_then_for_five_seconds_at_most() {
    for device_reads in [true, false] {
        let (mut host, id, port) = Host::connected(MuxOptions::default());
        host.mux.write(host.now, id, &vec![7; 200_000]).unwrap();
        host.segments();
        host.mux.close(host.now, id);
        assert!(host.frames().is_empty());
        // What comes now is thrown away, and acknowledged.
        let to = segment(port);
        host.reply(&to, Flags::ACK, 1, 1, b"too late");
        assert_eq!(host.segments().pop().unwrap().0.ack, 9);
        if device_reads {
            host.reply(&to, Flags::ACK, 9, 131_073, b"");
            let rest: usize = host.segments().iter().map(|(_, payload)| payload.len()).sum();
            assert_eq!(rest, 200_000 - 131_072);
            assert_eq!(host.events(), []);
            host.reply(&to, Flags::ACK, 9, 200_001, b"");
        } else {
            host.sleep(Duration::from_secs(5));
        }
        let rst = host.segments().pop().unwrap().0;
        assert_eq!(rst.flags, Flags::RST);
        assert_eq!(rst.seq, if device_reads { 200_001 } else { 131_073 });
        assert_eq!(host.events(), [Event::Drained(id)]);
        assert_eq!(host.mux.write(host.now, id, b"x"), Err(CloseReason::Local));
    }
}

#[test]
fn a_released_connection_is_forgotten_and_its_port_rests() {
    let (mut host, id, port) = Host::connected(MuxOptions::default().with_max_connections(1));
    assert!(matches!(
        host.mux.connect(host.now, 1, Duration::ZERO),
        Err(MuxError::TooManyConnections { limit: 1 })
    ));
    host.mux.release(host.now, id);
    assert_eq!(host.segments().pop().unwrap().0.flags, Flags::RST);
    assert!(host.mux.is_idle());
    assert_eq!(host.events(), [], "nobody is there to hear of it");
    // A frame still on its way is answered with a reset, as for any unknown pair; a reset is not.
    let to = segment(port);
    host.reply(&to, Flags::ACK, 77, 1, b"late");
    let rst = host.segments().pop().unwrap().0;
    assert_eq!((rst.flags, rst.seq, rst.ack, rst.source), (Flags::RST, 0, 77, port));
    host.reply(&to, Flags::RST, 77, 1, b"");
    assert!(host.frames().is_empty());
    assert_eq!(host.mux.stats().stale_frames, 2);
    host.connect();
    assert_eq!(host.segments().pop().unwrap().0.source, port + 1);
}

#[test]
fn a_frame_that_cannot_be_ends_the_link_and_all_connections() {
    for bad in ["BAD-length-lt-header", "BAD-length-huge"] {
        let (mut host, id, _) = Host::connected(MuxOptions::default());
        host.bytes(&built()[bad]);
        let events = host.events();
        let [
            Event::Closed(closed, CloseReason::Failed(_)),
            Event::Failed(Failure::Frame(_)),
        ] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!(*closed, id);
        assert!(host.mux.write(host.now, id, b"x").is_err());
        assert!(host.frames().is_empty());
    }
    // A frame that is only odd inside does not.
    let (mut host, _, _) = Host::connected(MuxOptions::default());
    host.bytes(&built()["BAD-tcp-short"]);
    host.feed(&Frame::Unknown {
        protocol: 77,
        payload: Bytes::new(),
    });
    host.feed(&Frame::Version { major: 2, minor: 0 });
    assert_eq!(host.events(), []);
    assert_eq!((host.mux.stats().bad_frames, host.mux.stats().unknown_frames), (1, 1));
}

#[test]
fn stale_frames_of_a_flood_do_not_pile_up() {
    let mut host = Host::ready(MuxOptions::default());
    for port in 1..5000 {
        let to = Segment {
            source: port,
            destination: 1,
            seq: 0,
            ack: 0,
            flags: Flags::ACK,
            window: 0,
        };
        host.reply(&to, Flags::ACK, 1, 1, b"");
    }
    assert_eq!(host.frames().len(), 64);
    for _ in 0..20_000 {
        host.feed(&Frame::Control {
            kind: ControlKind::Warning,
            text: Bytes::new(),
        });
    }
    assert!(host.events().len() < 10_000);
}

proptest! {
    #[test]
    fn a_hostile_device_never_makes_the_host_panic_or_hoard(frames in proptest::collection::vec(any_frame(), 0..60), garbage in proptest::collection::vec(any::<u8>(), 0..100)) {
        let (mut host, id, port) = Host::connected(MuxOptions::default().with_receive_buffer(1024));
        for mut frame in frames {
            // Half of the segments are for our connection.
            if let Frame::Tcp { segment, .. } = &mut frame
                && segment.window % 2 == 0
            {
                segment.source = 62078;
                segment.destination = port;
            }
            host.feed(&frame);
            let _ = host.mux.write(host.now, id, b"some bytes");
            host.sleep(Duration::from_millis(50));
            host.frames();
            prop_assert!(host.events().len() < 10);
        }
        host.bytes(&garbage);
        if let Ok(bytes) = host.read(id) {
            prop_assert!(bytes.len() <= 1024);
        }
    }
}
