//! Finds a node by its parent and name, at four to eight bytes a node.

use std::hash::{BuildHasher, RandomState};

/// What a node is found by.
type Key<'k> = (u32, &'k str);

/// An open-addressed table of node indexes; names stay where the nodes keep them. Hashes are keyed at random, so that no
/// index can be made for which it is slow.
#[derive(Debug, Default)]
pub(super) struct NameTable {
    /// Node indexes; 0, the root, means free. A power of two long, or empty.
    slots: Vec<u32>,
    used: usize,
    hasher: RandomState,
}

impl NameTable {
    /// The node with this key. `known` tells the key of a node.
    pub(super) fn find<'n>(&self, key: Key<'_>, known: impl Fn(u32) -> Option<Key<'n>>) -> Option<u32> {
        let mut slot = self.first(key)?;
        loop {
            match self.slots.get(slot).copied()? {
                0 => return None,
                index if known(index) == Some(key) => return Some(index),
                _ => slot = self.after(slot),
            }
        }
    }

    /// Adds a node whose key is not in the table yet.
    pub(super) fn insert<'n>(&mut self, index: u32, key: Key<'_>, known: impl Fn(u32) -> Option<Key<'n>>) {
        // At least a quarter stays free, so that every search ends.
        if self.used.saturating_mul(4) >= self.slots.len().saturating_mul(3) {
            let len = self.slots.len().saturating_mul(2).max(64);
            let old = std::mem::replace(&mut self.slots, vec![0; len]);
            for index in old.into_iter().filter(|index| *index != 0) {
                if let Some(key) = known(index) {
                    self.place(index, key);
                }
            }
        }
        self.place(index, key);
        self.used = self.used.saturating_add(1);
    }

    fn place(&mut self, index: u32, key: Key<'_>) {
        let Some(mut slot) = self.first(key) else { return };
        while self.slots.get(slot).is_some_and(|taken| *taken != 0) {
            slot = self.after(slot);
        }
        if let Some(free) = self.slots.get_mut(slot) {
            *free = index;
        }
    }

    /// Where the search for a key begins; `None` in an empty table.
    fn first(&self, key: Key<'_>) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash do")]
        let hash = self.hasher.hash_one(key) as usize;
        Some(hash & mask)
    }

    fn after(&self, slot: usize) -> usize {
        slot.wrapping_add(1) & self.slots.len().wrapping_sub(1)
    }
}
