//! Deadlines of connections, the earliest at hand.

use std::time::Instant;

/// At most one deadline a connection, by the connection's place. Setting one takes O(log n), the first is there at once.
///
/// A heap that knows where each entry is, so that a deadline that moves leaves no old entry behind.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: Vec<(Instant, usize)>,
    /// Where in the heap a connection's deadline is.
    places: Vec<Option<usize>>,
}

impl Timers {
    /// The earliest deadline and whose it is.
    pub(super) fn first(&self) -> Option<(Instant, usize)> {
        self.heap.first().copied()
    }

    /// Sets, moves or takes away the deadline of `key`.
    pub(super) fn set(&mut self, key: usize, at: Option<Instant>) {
        match (self.places.get(key).copied().flatten(), at) {
            (None, None) => {}
            (None, Some(at)) => {
                let place = self.heap.len();
                self.heap.push((at, key));
                self.note(place);
                self.rise(place);
            }
            (Some(place), Some(at)) => {
                let Some(entry) = self.heap.get_mut(place).filter(|entry| entry.0 != at) else {
                    return;
                };
                entry.0 = at;
                let place = self.rise(place);
                self.sink(place);
            }
            (Some(place), None) => {
                let last = self.heap.len().saturating_sub(1);
                self.swap(place, last);
                self.heap.pop();
                if let Some(known) = self.places.get_mut(key) {
                    *known = None;
                }
                if place < last {
                    let place = self.rise(place);
                    self.sink(place);
                }
            }
        }
    }

    /// Writes down where the entry at `place` is.
    fn note(&mut self, place: usize) {
        let Some((_, key)) = self.heap.get(place).copied() else {
            return;
        };
        if key >= self.places.len() {
            self.places.resize(key.saturating_add(1), None);
        }
        if let Some(known) = self.places.get_mut(key) {
            *known = Some(place);
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.note(one);
        self.note(other);
    }

    /// Whether the entry at `one` is due before the one at `other`; never for a place outside.
    fn before(&self, one: usize, other: usize) -> bool {
        match (self.heap.get(one), self.heap.get(other)) {
            (Some(one), Some(other)) => one.0 < other.0,
            _ => false,
        }
    }

    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 {
            let above = place.saturating_sub(1) / 2;
            if !self.before(place, above) {
                break;
            }
            self.swap(place, above);
            place = above;
        }
        place
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let left = place.saturating_mul(2).saturating_add(1);
            let right = left.saturating_add(1);
            let child = if self.before(right, left) { right } else { left };
            if !self.before(child, place) {
                return;
            }
            self.swap(place, child);
            place = child;
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_deadline_is_the_earliest_whatever_was_set_moved_and_taken_away(
            steps in proptest::collection::vec((0_usize..20, proptest::option::weighted(0.7, 0_u64..50)), 0..300),
        ) {
            let start = Instant::now();
            let mut timers = Timers::default();
            let mut model = BTreeMap::new();
            for (key, at) in steps {
                let at = at.map(|at| start + Duration::from_secs(at));
                timers.set(key, at);
                match at {
                    Some(at) => drop(model.insert(key, at)),
                    None => drop(model.remove(&key)),
                }
                prop_assert_eq!(timers.first().map(|(at, _)| at), model.values().min().copied());
                if let Some((at, key)) = timers.first() {
                    prop_assert_eq!(model.get(&key), Some(&at));
                }
                prop_assert_eq!(timers.heap.len(), model.len());
            }
        }
    }
}
