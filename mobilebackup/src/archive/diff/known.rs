//! What is kept of each row of the older backup: enough to tell what has changed.

use std::hash::{BuildHasher, Hash, RandomState};

use super::change::{How, Side};
use crate::archive::{FileEntry, FileId, Kind};

/// One row of the older backup in 60 bytes. Long things are hashes under a random key; lengths and times are what they
/// are. Everything is aligned to four bytes on purpose.
#[derive(Clone, Copy)]
struct Known {
    id: FileId,
    size: [u32; 2],
    modified: [u32; 2],
    mode: u32,
    owner: u32,
    attributes: u32,
    digest: u32,
    /// The key of a file, the target of a link.
    key_or_target: u32,
    kind: u8,
    /// Protection classes are up to 11; others are told apart well enough.
    class: u8,
    has_time: bool,
    seen: bool,
}

/// The rows of the older backup, by id.
pub(super) struct KnownRows {
    rows: Vec<Known>,
    hasher: RandomState,
}

/// A row that both backups have.
pub(super) struct Met {
    pub(super) how: Vec<How>,
    pub(super) before: Side,
    pub(super) was_file: bool,
}

impl KnownRows {
    pub(super) fn new() -> Self {
        Self {
            rows: Vec::new(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn add(&mut self, entry: &FileEntry) {
        if self.rows.len() == self.rows.capacity() {
            // Doubling would take twice the memory that is needed.
            self.rows.reserve_exact((self.rows.len() / 8).max(16 << 10));
        }
        self.rows.push(Known::new(entry, &self.hasher));
    }

    /// To be called once, between adding and meeting.
    pub(super) fn sort(&mut self) {
        self.rows.sort_unstable_by_key(|row| row.id);
    }

    /// The rows with the domain and path of an entry: one, unless the index is damaged.
    fn twins(&mut self, id: FileId) -> &mut [Known] {
        let start = self.rows.partition_point(|row| row.id < id);
        let len = self.rows.iter().skip(start).take_while(|row| row.id == id).count();
        self.rows.get_mut(start..start.saturating_add(len)).unwrap_or_default()
    }

    /// Finds an entry of the newer backup among the rows, and marks it as met.
    pub(super) fn meet(&mut self, entry: &FileEntry) -> Option<Met> {
        let new = Known::new(entry, &self.hasher);
        let twins = self.twins(new.id);
        // Of several rows with one name, one that is the same comes first, so that twins do not look like changes.
        let same = twins
            .iter()
            .position(|old| !old.seen && old.differences(&new).is_empty());
        let place = same.or_else(|| twins.iter().position(|old| !old.seen))?;
        let old = twins.get_mut(place)?;
        old.seen = true;
        let modified = old
            .has_time
            .then_some(i64::from_ne_bytes(joined(old.modified).to_ne_bytes()));
        Some(Met {
            how: old.differences(&new),
            before: Side::new(joined(old.size), modified),
            was_file: old.kind == kind_number(Kind::File),
        })
    }

    /// Whether an entry of the older backup was not met; marks it, so that each is left once.
    pub(super) fn is_left(&mut self, entry: &FileEntry) -> bool {
        let own = Known::new(entry, &self.hasher);
        let twins = self.twins(own.id);
        let left = twins
            .iter_mut()
            .find(|old| !old.seen && old.differences(&own).is_empty());
        match left {
            Some(left) => {
                left.seen = true;
                true
            }
            None => false,
        }
    }
}

impl Known {
    fn new(entry: &FileEntry, hasher: &RandomState) -> Self {
        let target_or_key = match entry.kind {
            Kind::Symlink => hashed(hasher, &entry.link_target),
            _ => hashed(
                hasher,
                entry.encryption_key.as_ref().map(|key| (key.class(), key.wrapped())),
            ),
        };
        Self {
            // Domain and path say what an entry is, whatever id is stored.
            id: entry.computed_id(),
            size: split(entry.size),
            modified: split(u64::from_ne_bytes(entry.modified.unwrap_or_default().to_ne_bytes())),
            mode: entry.mode,
            owner: hashed(hasher, (entry.user_id, entry.group_id)),
            attributes: hashed(hasher, entry.attributes().ok()),
            digest: hashed(hasher, entry.digest),
            key_or_target: target_or_key,
            kind: kind_number(entry.kind),
            class: entry.protection_class.to_le_bytes().into_iter().fold(0, |a, b| a ^ b),
            has_time: entry.modified.is_some(),
            seen: false,
        }
    }

    /// In what two rows differ.
    fn differences(&self, new: &Self) -> Vec<How> {
        let is_link = |row: &Self| row.kind == kind_number(Kind::Symlink);
        let same_kind = self.kind == new.kind;
        let other_key_or_target = same_kind && self.key_or_target != new.key_or_target;
        let other_key = other_key_or_target && !is_link(new);
        let found = [
            (!same_kind, How::Kind),
            // The type bits of the mode are the kind's affair.
            (same_kind && self.mode != new.mode, How::Mode),
            (self.owner != new.owner, How::Owner),
            (self.size != new.size, How::Size),
            (
                (self.modified, self.has_time) != (new.modified, new.has_time),
                How::Modified,
            ),
            (self.class != new.class, How::ProtectionClass),
            (other_key_or_target && is_link(new), How::LinkTarget),
            (self.attributes != new.attributes, How::Attributes),
            // Of an encrypted payload: under another key the same contents have another digest.
            (same_kind && !other_key && self.digest != new.digest, How::Digest),
            (other_key, How::Key),
        ];
        found.into_iter().filter(|(is, _)| *is).map(|(_, how)| how).collect()
    }
}

fn hashed(hasher: &RandomState, value: impl Hash) -> u32 {
    let [a, b] = split(hasher.hash_one(value));
    a ^ b
}

fn split(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

fn joined([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

const fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::File => 1,
        Kind::Directory => 2,
        Kind::Symlink => 4,
        Kind::Unknown => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_takes_as_much_memory_as_promised() {
        assert_eq!(size_of::<Known>(), 60);
        assert_eq!(joined(split(0x0123_4567_89ab_cdef)), 0x0123_4567_89ab_cdef);
    }
}
