//! The connections of one link, by id.

use super::ConnectionId;
use super::connection::Connection;

/// A connection with what only the layer above cares for.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) connection: Connection,
    /// Queued for sending.
    pub(super) queued: bool,
    /// Somebody waits for bytes, for room.
    pub(super) read_waits: bool,
    pub(super) write_waits: bool,
    /// Nobody holds the id any more: forget the connection when it is closed.
    pub(super) released: bool,
    /// The device accepted it, whatever came later.
    pub(super) accepted: bool,
    /// The port is given back.
    pub(super) rested: bool,
}

impl Slot {
    pub(super) const fn new(connection: Connection) -> Self {
        Self {
            connection,
            queued: false,
            read_waits: false,
            write_waits: false,
            released: false,
            accepted: false,
            rested: false,
        }
    }
}

/// A table whose places are used again, and whose ids are not.
#[derive(Debug, Default)]
pub(super) struct Slots {
    places: Vec<Option<(ConnectionId, Slot)>>,
    free: Vec<usize>,
    serial: u64,
    count: usize,
}

impl Slots {
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn insert(&mut self, slot: Slot) -> ConnectionId {
        self.serial = self.serial.wrapping_add(1);
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len().saturating_sub(1)
        });
        let id = ConnectionId {
            serial: self.serial,
            place,
        };
        if let Some(free) = self.places.get_mut(place) {
            *free = Some((id, slot));
            self.count = self.count.saturating_add(1);
        }
        id
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Slot> {
        match self.places.get(id.place) {
            Some(Some((found, slot))) if *found == id => Some(slot),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Slot> {
        match self.places.get_mut(id.place) {
            Some(Some((found, slot))) if *found == id => Some(slot),
            _ => None,
        }
    }

    /// Who has a place now.
    pub(super) fn id_at(&self, place: usize) -> Option<ConnectionId> {
        self.places.get(place)?.as_ref().map(|(id, _)| *id)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) {
        if self.get(id).is_some()
            && let Some(place) = self.places.get_mut(id.place)
        {
            *place = None;
            self.free.push(id.place);
            self.count = self.count.saturating_sub(1);
        }
    }

    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.places.iter().flatten().map(|(id, _)| *id).collect()
    }
}
