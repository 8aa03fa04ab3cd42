//! Which devices are on the bus, from two witnesses that contradict each other. No I/O.
//!
//! The system's events are quick, and never come without a udev daemon; listings are slow, and show a moment that is over
//! when they arrive. An event is believed against a listing that was under way when it came.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// What became of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change<K> {
    Arrived(K),
    Left(K),
}

/// The devices on the bus by the system's own name for them, each with what tells it from another one of that name.
#[derive(Debug)]
pub(super) struct Roster<K, F> {
    present: HashMap<K, F>,
    /// What events said since the present listing was asked for.
    arrived: HashSet<K>,
    left: HashSet<K>,
}

impl<K: Clone + Eq + Hash, F: PartialEq> Roster<K, F> {
    pub(super) fn new() -> Self {
        Self {
            present: HashMap::new(),
            arrived: HashSet::new(),
            left: HashSet::new(),
        }
    }

    /// A listing is asked for.
    pub(super) fn begin_listing(&mut self) {
        self.arrived.clear();
        self.left.clear();
    }

    /// The listing is there. What left comes first.
    pub(super) fn handle_listing(&mut self, listing: Vec<(K, F)>) -> Vec<Change<K>> {
        let names: HashSet<&K> = listing.iter().map(|(name, _)| name).collect();
        let gone: Vec<K> = self
            .present
            .keys()
            .filter(|name| !names.contains(name) && !self.arrived.contains(name))
            .cloned()
            .collect();
        let mut changes = Vec::new();
        for name in gone {
            self.present.remove(&name);
            changes.push(Change::Left(name));
        }
        for (name, mark) in listing {
            if !self.left.contains(&name) && !self.arrived.contains(&name) {
                self.enter(name, mark, &mut changes);
            }
        }
        changes
    }

    /// An event: it was plugged in.
    pub(super) fn handle_arrival(&mut self, name: K, mark: F) -> Vec<Change<K>> {
        let mut changes = Vec::new();
        self.left.remove(&name);
        self.arrived.insert(name.clone());
        self.enter(name, mark, &mut changes);
        changes
    }

    /// An event: it was pulled out.
    pub(super) fn handle_departure(&mut self, name: K) -> Vec<Change<K>> {
        self.arrived.remove(&name);
        self.left.insert(name.clone());
        let known = self.present.remove(&name);
        known.into_iter().map(|_| Change::Left(name.clone())).collect()
    }

    /// A name that now stands for another device was reused: nobody saw the old one leave.
    fn enter(&mut self, name: K, mark: F, changes: &mut Vec<Change<K>>) {
        match self.present.get(&name) {
            Some(known) if *known == mark => return,
            Some(_) => changes.push(Change::Left(name.clone())),
            None => {}
        }
        self.present.insert(name.clone(), mark);
        changes.push(Change::Arrived(name));
    }
}

#[cfg(test)]
mod tests {
    use super::Change::{Arrived, Left};
    use super::*;

    fn listed(roster: &mut Roster<u8, char>, listing: &[(u8, char)]) -> Vec<Change<u8>> {
        roster.begin_listing();
        roster.handle_listing(listing.to_vec())
    }

    #[test]
    fn a_device_that_both_tell_of_arrives_once() {
        let mut roster = Roster::new();
        assert_eq!(roster.handle_arrival(1, 'a'), [Arrived(1)]);
        assert_eq!(listed(&mut roster, &[(1, 'a')]), []);
        assert_eq!(roster.handle_arrival(1, 'a'), []);
        assert_eq!(roster.handle_departure(1), [Left(1)]);
        assert_eq!(roster.handle_departure(1), []);
        assert_eq!(listed(&mut roster, &[]), []);
    }

    #[test]
    fn without_events_listings_tell_everything() {
        let mut roster = Roster::new();
        assert_eq!(listed(&mut roster, &[(1, 'a')]), [Arrived(1)]);
        assert_eq!(listed(&mut roster, &[(1, 'a'), (2, 'b')]), [Arrived(2)]);
        assert_eq!(listed(&mut roster, &[(2, 'b')]), [Left(1)]);
    }

    #[test]
    fn a_listing_that_was_under_way_does_not_undo_an_event() {
        let mut roster = Roster::new();
        listed(&mut roster, &[(1, 'a')]);
        roster.begin_listing();
        assert_eq!(roster.handle_arrival(2, 'b'), [Arrived(2)]);
        assert_eq!(roster.handle_departure(1), [Left(1)]);
        assert_eq!(roster.handle_listing(vec![(1, 'a')]), []);
        // The next one is believed again.
        assert_eq!(listed(&mut roster, &[(1, 'a')]), [Left(2), Arrived(1)]);
    }

    #[test]
    fn another_device_under_the_same_name_is_a_departure_and_an_arrival() {
        let mut roster = Roster::new();
        listed(&mut roster, &[(1, 'a')]);
        assert_eq!(listed(&mut roster, &[(1, 'b')]), [Left(1), Arrived(1)]);
        assert_eq!(roster.handle_arrival(1, 'c'), [Left(1), Arrived(1)]);
    }

    #[test]
    fn a_device_that_left_and_came_back_during_a_listing_is_there() {
        let mut roster = Roster::new();
        listed(&mut roster, &[(1, 'a')]);
        roster.begin_listing();
        assert_eq!(roster.handle_departure(1), [Left(1)]);
        assert_eq!(roster.handle_arrival(1, 'a'), [Arrived(1)]);
        assert_eq!(roster.handle_listing(vec![]), []);
    }
}
