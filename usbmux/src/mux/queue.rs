//! Bytes that wait, in blocks that go from connection to connection.

use std::collections::VecDeque;

use bytes::BufMut;

/// Bytes a block holds. Small enough that a connection with little to say costs little, large enough that copying a
/// frame takes three pieces at most.
pub(super) const BLOCK: usize = 16 << 10;
/// Blocks kept for the next use; more are given back to the allocator. 4 MiB a link.
const MAX_FREE: usize = 256;

/// Empty blocks of one link. The block used last is used next: it is still in the processor's cache.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    free: Vec<Vec<u8>>,
}

impl Blocks {
    fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK))
    }

    fn give(&mut self, mut block: Vec<u8>) {
        if self.free.len() < MAX_FREE {
            block.clear();
            self.free.push(block);
        }
    }

    /// Gives all of them back to the allocator.
    pub(super) fn release(&mut self) {
        self.free = Vec::new();
    }
}

/// A queue of bytes that holds no block when it is empty.
///
/// Takes at most two blocks more than its bytes need, however small the pieces are that it was filled and emptied with.
#[derive(Debug, Default)]
pub(super) struct Queue {
    blocks: VecDeque<Vec<u8>>,
    /// Bytes of the first block that are gone.
    gone: usize,
    len: usize,
}

impl Queue {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends all of `data`; the caller has checked that there is room for it.
    pub(super) fn push(&mut self, mut data: &[u8], blocks: &mut Blocks) {
        self.len = self.len.saturating_add(data.len());
        while !data.is_empty() {
            let room = self.blocks.back().map_or(0, |block| BLOCK.saturating_sub(block.len()));
            if room == 0 {
                self.blocks.push_back(blocks.take());
                continue;
            }
            let (now, later) = data.split_at(room.min(data.len()));
            if let Some(block) = self.blocks.back_mut() {
                block.extend_from_slice(now);
            }
            data = later;
        }
    }

    /// Moves bytes to `out`, at most `most` and what it has room for, and says how many.
    pub(super) fn pop(&mut self, most: usize, out: &mut impl BufMut, blocks: &mut Blocks) -> usize {
        let most = most.min(self.len).min(out.remaining_mut());
        let mut left = most;
        while left > 0 {
            let Some(block) = self.blocks.front() else { break };
            let waiting = block.get(self.gone..).unwrap_or_default();
            let piece = waiting.get(..left).unwrap_or(waiting);
            out.put_slice(piece);
            left = left.saturating_sub(piece.len());
            self.gone = self.gone.saturating_add(piece.len());
            if self.gone >= block.len() {
                self.gone = 0;
                if let Some(block) = self.blocks.pop_front() {
                    blocks.give(block);
                }
            }
        }
        self.len = self.len.saturating_sub(most);
        most
    }

    /// Throws everything away.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in_and_an_empty_queue_holds_nothing(
            steps in proptest::collection::vec((0_usize..50_000, 0_usize..50_000), 0..40),
        ) {
            let mut blocks = Blocks::default();
            let mut queue = Queue::default();
            let mut model = VecDeque::new();
            let mut next = 0_u8;
            for (pushed, popped) in steps {
                let data: Vec<u8> = (0..pushed)
                    .map(|_| {
                        next = next.wrapping_mul(5).wrapping_add(7);
                        next
                    })
                    .collect();
                queue.push(&data, &mut blocks);
                model.extend(data);
                let mut out = BytesMut::new();
                let got = queue.pop(popped, &mut out, &mut blocks);
                prop_assert_eq!(got, popped.min(model.len()));
                prop_assert!(out.iter().copied().eq(model.drain(..got)));
                prop_assert_eq!(queue.len(), model.len());
                prop_assert!(queue.blocks.len() * BLOCK < queue.len() + 2 * BLOCK);
                prop_assert!(!queue.is_empty() || queue.blocks.is_empty());
                prop_assert!(blocks.free.len() <= MAX_FREE);
            }
        }
    }
}
