//! Messages on bulk endpoints: what ends one, and how it is cut into transfers. Does no I/O. Spec: usbmux, section 8.

use std::task::Poll;

use bytes::{Bytes, BytesMut};

/// The largest frame a phone gathers before it complains, in bytes.
pub(super) const MAX_GATHERED: usize = 65_535;

/// What a transfer to the phone came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// The message goes on.
    More,
    /// It ended, with a short packet.
    Message(Bytes),
    /// More than [`MAX_GATHERED`] bytes, and no end.
    Overrun(usize),
}

/// The way to the phone: gathers transfers until one ends with a short packet.
#[derive(Debug)]
pub(super) struct Sink {
    packet: usize,
    gathered: BytesMut,
}

impl Sink {
    pub(super) fn new(packet: u16) -> Self {
        Self {
            packet: usize::from(packet),
            gathered: BytesMut::new(),
        }
    }

    pub(super) fn handle_transfer(&mut self, transfer: &Bytes) -> Gathered {
        let total = self.gathered.len().saturating_add(transfer.len());
        let short = transfer.len().checked_rem(self.packet) != Some(0) || transfer.is_empty();
        match (short, total) {
            // A zero-length packet behind a message that had its end.
            (true, 0) => Gathered::More,
            (_, total) if total > MAX_GATHERED => {
                self.gathered.clear();
                Gathered::Overrun(total)
            }
            (true, _) if self.gathered.is_empty() => Gathered::Message(transfer.clone()),
            (short, _) => {
                self.gathered.extend_from_slice(transfer);
                if short {
                    Gathered::Message(self.gathered.split().freeze())
                } else {
                    Gathered::More
                }
            }
        }
    }

    /// The host starts anew.
    pub(super) fn clear(&mut self) {
        self.gathered.clear();
    }
}

/// What fills a transfer from the phone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Data(Bytes),
    /// A packet did not fit into what was left of the host's buffer.
    Overflow,
}

/// The way from the phone: cuts messages into the transfers that the host offers.
#[derive(Clone, Debug)]
pub(super) struct Source {
    packet: usize,
    message: Bytes,
    /// The message is a multiple of the packet size, so that a zero-length packet is its end.
    owes_end: bool,
    /// What a transfer holds so far that is not over, because the end of a message was withheld.
    partial: BytesMut,
}

impl Source {
    pub(super) fn new(packet: u16) -> Self {
        Self {
            packet: usize::from(packet),
            message: Bytes::new(),
            owes_end: false,
            partial: BytesMut::new(),
        }
    }

    /// Whether it wants another message.
    pub(super) fn wants_message(&self) -> bool {
        self.message.is_empty() && !self.owes_end
    }

    /// The next message; `ended` unless its zero-length packet is withheld.
    pub(super) fn load(&mut self, message: Bytes, ended: bool) {
        self.owes_end = ended && message.len().checked_rem(self.packet) == Some(0);
        self.message = message;
    }

    /// Fills one transfer; pending while it has room and the message goes on, or there is none.
    pub(super) fn poll_transfer(&mut self, room: usize) -> Poll<Chunk> {
        if !self.partial.is_empty() && self.partial.len() >= room {
            // The host offers less than the transfer it gave up.
            return Poll::Ready(Chunk::Data(self.partial.split_to(room).freeze()));
        }
        let space = room.saturating_sub(self.partial.len());
        if self.message.is_empty() {
            // The zero-length packet is all that was left, or there is nothing at all.
            return if std::mem::take(&mut self.owes_end) {
                self.done(Bytes::new())
            } else {
                Poll::Pending
            };
        }
        if self.message.len() > space && space.checked_rem(self.packet) != Some(0) {
            self.message.clear();
            self.owes_end = false;
            self.partial.clear();
            return Poll::Ready(Chunk::Overflow);
        }
        let taken = self.message.split_to(self.message.len().min(space));
        let whole_packets = taken.len().checked_rem(self.packet) == Some(0);
        if !self.message.is_empty() || !whole_packets || taken.len() == space {
            return self.done(taken);
        }
        if std::mem::take(&mut self.owes_end) {
            return self.done(taken);
        }
        self.partial.extend_from_slice(&taken);
        Poll::Pending
    }

    fn done(&mut self, taken: Bytes) -> Poll<Chunk> {
        if self.partial.is_empty() {
            return Poll::Ready(Chunk::Data(taken));
        }
        self.partial.extend_from_slice(&taken);
        Poll::Ready(Chunk::Data(self.partial.split().freeze()))
    }

    /// The host gave up the transfer that was being filled; what it held is lost.
    pub(super) fn cancel(&mut self) {
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(source: &mut Source, room: usize) -> Option<usize> {
        match source.poll_transfer(room) {
            Poll::Ready(Chunk::Data(bytes)) => Some(bytes.len()),
            Poll::Ready(Chunk::Overflow) => panic!("overflow"),
            Poll::Pending => None,
        }
    }

    fn loaded(len: usize) -> Source {
        let mut source = Source::new(512);
        source.load(Bytes::from(vec![7; len]), true);
        source
    }

    #[test]
    fn a_message_ends_with_a_short_packet() {
        let mut sink = Sink::new(512);
        assert_eq!(sink.handle_transfer(&vec![1; 512].into()), Gathered::More);
        assert_eq!(
            sink.handle_transfer(&vec![1; 88].into()),
            Gathered::Message(vec![1; 600].into())
        );
        assert_eq!(sink.handle_transfer(&vec![2; 1024].into()), Gathered::More);
        assert_eq!(
            sink.handle_transfer(&Bytes::new()),
            Gathered::Message(vec![2; 1024].into())
        );
        assert_eq!(sink.handle_transfer(&Bytes::new()), Gathered::More);
    }

    #[test]
    fn more_than_a_frame_without_an_end_is_an_overrun() {
        let mut sink = Sink::new(512);
        for _ in 0..127 {
            assert_eq!(sink.handle_transfer(&vec![1; 512].into()), Gathered::More);
        }
        assert_eq!(sink.handle_transfer(&vec![1; 512].into()), Gathered::Overrun(65_536));
        assert_eq!(
            sink.handle_transfer(&vec![1; 65_535].into()),
            Gathered::Message(vec![1; 65_535].into())
        );
    }

    #[test]
    fn a_multiple_of_the_packet_size_gets_a_zero_length_packet() {
        // Room behind it: the empty packet ends the same transfer.
        let mut roomy = loaded(512);
        assert_eq!(chunk(&mut roomy, 16_384), Some(512));
        assert_eq!(chunk(&mut roomy, 16_384), None);
        // None: it is a transfer of its own.
        let mut full = loaded(16_384);
        assert_eq!(chunk(&mut full, 16_384), Some(16_384));
        assert_eq!(chunk(&mut full, 16_384), Some(0));
        assert_eq!(chunk(&mut full, 16_384), None);
        assert!(full.wants_message());
    }

    #[test]
    fn a_frame_larger_than_the_buffer_fills_it() {
        let mut source = loaded(49_153);
        let chunks: Vec<_> = std::iter::from_fn(|| chunk(&mut source, 16_384)).collect();
        assert_eq!(chunks, [16_384, 16_384, 16_384, 1]);
    }

    #[test]
    fn without_its_end_a_transfer_waits_for_the_next_message() {
        let mut source = Source::new(512);
        source.load(Bytes::from(vec![7; 512]), false);
        assert_eq!(chunk(&mut source, 16_384), None);
        source.load(Bytes::from(vec![8; 100]), true);
        assert_eq!(chunk(&mut source, 16_384), Some(612));
    }

    #[test]
    fn a_transfer_is_never_longer_than_its_room() {
        let mut source = Source::new(512);
        source.load(Bytes::from(vec![7; 1024]), false);
        assert_eq!(chunk(&mut source, 16_384), None);
        assert_eq!(chunk(&mut source, 512), Some(512));
        assert_eq!(chunk(&mut source, 512), Some(512));
        assert_eq!(chunk(&mut source, 512), None);
    }

    #[test]
    fn a_buffer_that_is_no_multiple_overflows() {
        let mut source = loaded(600);
        assert_eq!(source.poll_transfer(100), Poll::Ready(Chunk::Overflow));
        assert!(source.wants_message());
    }

    proptest! {
        #[test]
        fn transfers_of_any_size_carry_the_same_messages(
            lengths in proptest::collection::vec(1_usize..70_000, 1..6),
            rooms in proptest::collection::vec(1_usize..64, 1..8),
        ) {
            let mut source = Source::new(512);
            let mut rooms = rooms.into_iter().cycle();
            for len in lengths {
                let message: Bytes = (0..len).map(|at| at.to_le_bytes()[0]).collect();
                source.load(message.clone(), true);
                let mut got = BytesMut::new();
                let mut ended = false;
                while !source.wants_message() {
                    prop_assert!(!ended, "nothing comes behind the end");
                    let room = rooms.next().unwrap_or(1).saturating_mul(512);
                    let Poll::Ready(Chunk::Data(bytes)) = source.poll_transfer(room) else { panic!("no data") };
                    ended = bytes.len() < room;
                    got.extend_from_slice(&bytes);
                }
                prop_assert!(ended, "every message ends with a short transfer");
                prop_assert_eq!(got, message);
            }
        }
    }
}
