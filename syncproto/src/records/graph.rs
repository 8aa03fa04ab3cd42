//! Records by identifier, and what belongs to what.

use std::collections::{BTreeMap, BTreeSet};

use super::RecordError;
use crate::record::{Change, Changes, Record, RecordId};
use crate::schema::{self, EntityKind};

/// Records by identifier. Finding what belongs to a root costs as much as it has parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    records: BTreeMap<RecordId, Record>,
    parts: BTreeMap<RecordId, BTreeSet<RecordId>>,
    occurrences: BTreeMap<RecordId, BTreeSet<RecordId>>,
}

impl Graph {
    /// The records of a change message or of a whole pull, and those whose relationships cannot be read; deletions are
    /// passed over.
    #[must_use]
    pub fn from_changes(changes: Changes) -> (Self, Vec<RecordError>) {
        let (mut graph, mut problems) = (Self::default(), Vec::new());
        for (id, change) in changes {
            if let Change::Upsert(record) = change {
                problems.extend(graph.insert(id, record).err());
            }
        }
        (graph, problems)
    }

    /// Puts a record in, in place of the one with that identifier.
    ///
    /// # Errors
    /// [`RecordError::Type`] when the key that names its owner is no relationship. The record is in the graph all the same,
    /// belonging to nothing.
    pub fn insert(&mut self, id: RecordId, record: Record) -> Result<(), RecordError> {
        self.remove(&id);
        let owners = Self::owners(&id, &record);
        self.records.insert(id.clone(), record);
        let (owners, series) = owners?;
        for owner in owners {
            self.parts.entry(owner).or_default().insert(id.clone());
        }
        for series in series {
            self.occurrences.entry(series).or_default().insert(id.clone());
        }
        Ok(())
    }

    /// Takes a record out; its parts stay.
    pub fn remove(&mut self, id: &RecordId) -> Option<Record> {
        let record = self.records.remove(id)?;
        if let Ok((owners, series)) = Self::owners(id, &record) {
            for (links, to) in [(&mut self.parts, owners), (&mut self.occurrences, series)] {
                for owner in to {
                    if let Some(ids) = links.get_mut(&owner) {
                        ids.remove(id);
                        if ids.is_empty() {
                            links.remove(&owner);
                        }
                    }
                }
            }
        }
        Some(record)
    }

    /// A record.
    #[must_use]
    pub fn get(&self, id: &RecordId) -> Option<&Record> {
        self.records.get(id)
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Every record, by identifier.
    pub fn iter(&self) -> impl Iterator<Item = (&RecordId, &Record)> {
        self.records.iter()
    }

    /// The records of one entity, by identifier.
    pub fn of_entity<'a>(&'a self, entity: &'a str) -> impl Iterator<Item = (&'a RecordId, &'a Record)> {
        self.iter()
            .filter(move |(_, record)| record.entity.as_deref() == Some(entity))
    }

    /// What belongs to a root, by identifier: telephone numbers, alarms.
    pub fn parts<'a>(&'a self, id: &RecordId) -> impl Iterator<Item = (&'a RecordId, &'a Record)> {
        let ids = self.parts.get(id).into_iter().flatten();
        ids.filter_map(|id| self.records.get_key_value(id))
    }

    /// The detached occurrences of a series of events, by identifier.
    pub fn occurrences<'a>(&'a self, id: &RecordId) -> impl Iterator<Item = (&'a RecordId, &'a Record)> {
        let ids = self.occurrences.get(id).into_iter().flatten();
        ids.filter_map(|id| self.records.get_key_value(id))
    }

    fn owners(id: &RecordId, record: &Record) -> Result<(Vec<RecordId>, Vec<RecordId>), RecordError> {
        let related = |key: &str| {
            record.related(key).map_err(|_| RecordError::Type {
                id: id.clone(),
                key: key.to_owned(),
                expected: "an array of record identifiers",
            })
        };
        let entity = record.entity.as_deref().and_then(schema::entity);
        let owner = entity.filter(|entity| entity.kind == EntityKind::Child);
        let owners = match owner.and_then(|entity| entity.owner) {
            Some(key) => related(key)?,
            // An entity nobody has described still says whose it is in the way of its class.
            None if entity.is_none() => [related("contact")?, related("owner")?].concat(),
            None => Vec::new(),
        };
        let series = match record.entity.as_deref() {
            Some(crate::entity::EVENT) => related("main event")?,
            _ => Vec::new(),
        };
        Ok((owners, series))
    }
}
