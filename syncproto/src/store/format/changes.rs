//! What makes one state of another.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::patch::{self, Edit};
use super::{FormatError, MAX_VALUES};
use crate::engine::kept::{Kept, Row, Tombstone};
use crate::engine::{EngineId, PairState, Sides};

type Result<T> = std::result::Result<T, FormatError>;

/// What makes one state of another. Rows are shared with the later one.
#[derive(Debug, PartialEq)]
pub(in crate::store) struct StateChanges {
    /// The later state, without tokens, rows, tombstones and conflicts.
    pub(super) head: PairState,
    pub(super) tokens: Sides<Token>,
    /// How many rows there were.
    pub(super) before: usize,
    /// Rows that are gone, ascending.
    pub(super) gone: Vec<EngineId>,
    /// Rows that are new or other ones, ascending.
    pub(super) rows: Vec<(EngineId, Arc<Row>)>,
    /// Places of tombstones that are forgotten, ascending.
    pub(super) forgotten: Vec<usize>,
    /// Tombstones behind those that stay.
    pub(super) tombstones: Vec<Tombstone>,
    /// Conflicts that are settled.
    pub(super) settled: Vec<(EngineId, String)>,
    /// Conflicts that are new or other ones.
    pub(super) conflicts: Vec<((EngineId, String), Kept)>,
}

/// What becomes of a token. One can be the index of a large folder, of which little changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    Same,
    None,
    Whole(String),
    Patched(Vec<Edit>),
}

impl StateChanges {
    /// What makes `after` of `before`; `None` when they are of different classes. Rows that both share are not looked into.
    pub(in crate::store) fn between(before: &PairState, after: &PairState) -> Option<Self> {
        if before.class != after.class {
            return None;
        }
        let mut changes = Self {
            head: head(after),
            tokens: Sides::of(|side| Token::of(before.tokens.get(side).as_deref(), after.tokens.get(side).as_deref())),
            before: before.rows.len(),
            gone: Vec::new(),
            rows: Vec::new(),
            forgotten: Vec::new(),
            tombstones: Vec::new(),
            settled: Vec::new(),
            conflicts: Vec::new(),
        };
        sorted(
            &before.rows,
            &after.rows,
            |id| changes.gone.push(*id),
            |id, row| changes.rows.push((*id, Arc::clone(row))),
        );
        sorted(
            &before.conflicts,
            &after.conflicts,
            |key| changes.settled.push(key.clone()),
            |key, kept| changes.conflicts.push((key.clone(), kept.clone())),
        );
        let mut left = after.tombstones.iter().peekable();
        for (at, tombstone) in before.tombstones.iter().enumerate() {
            if left.next_if(|next| *next == tombstone).is_none() {
                changes.forgotten.push(at);
            }
        }
        changes.tombstones = left.cloned().collect();
        Some(changes)
    }

    /// Makes the later state of the earlier one, which has to be that.
    pub(in crate::store) fn apply(self, to: &mut PairState) -> Result<()> {
        if to.class != self.head.class || to.rows.len() != self.before {
            return Err(FormatError::damaged("it follows another state"));
        }
        ascending(&self.gone)?;
        for id in &self.gone {
            let gone = to.rows.remove(id);
            gone.ok_or_else(|| FormatError::damaged("a row that is gone was not there"))?;
        }
        to.rows.extend(self.rows);
        // A row is one value at least, so that what is read can be written.
        if to.rows.len() as u64 > MAX_VALUES {
            return Err(FormatError::TooLarge {
                what: "rows",
                found: to.rows.len() as u64,
                max: MAX_VALUES,
            });
        }
        forget(&mut to.tombstones, &self.forgotten)?;
        to.tombstones.extend(self.tombstones);
        for key in &self.settled {
            let settled = to.conflicts.remove(key);
            settled.ok_or_else(|| FormatError::damaged("a conflict that is settled was not there"))?;
        }
        to.conflicts.extend(self.conflicts);
        let tokens = std::mem::take(&mut to.tokens);
        let many = std::mem::replace(to, self.head);
        to.tokens = Sides {
            device: self.tokens.device.apply(tokens.device)?,
            computer: self.tokens.computer.apply(tokens.computer)?,
        };
        (to.rows, to.tombstones, to.conflicts) = (many.rows, many.tombstones, many.conflicts);
        Ok(())
    }
}

impl Token {
    fn of(before: Option<&str>, after: Option<&str>) -> Self {
        match (before, after) {
            (before, after) if before == after => Self::Same,
            (_, None) => Self::None,
            (None, Some(after)) => Self::Whole(after.to_owned()),
            (Some(before), Some(after)) => match patch::between(before.as_bytes(), after.as_bytes()) {
                Some(edits) => Self::Patched(edits),
                None => Self::Whole(after.to_owned()),
            },
        }
    }

    fn apply(self, before: Option<String>) -> Result<Option<String>> {
        match (self, before) {
            (Self::Same, before) => Ok(before),
            (Self::None, _) => Ok(None),
            (Self::Whole(after), _) => Ok(Some(after)),
            (Self::Patched(_), None) => Err(FormatError::damaged("there was no such token to change")),
            (Self::Patched(edits), Some(before)) => patch::apply(before.as_bytes(), &edits).map(Some),
        }
    }
}

/// A state without what there is many of.
fn head(of: &PairState) -> PairState {
    PairState {
        class: of.class.clone(),
        sessions: of.sessions,
        since_full: of.since_full,
        full_at: of.full_at,
        tokens: Sides::default(),
        build: of.build.clone(),
        build_sessions: of.build_sessions,
        alternations: of.alternations,
        not_accepted_percent: of.not_accepted_percent,
        bisect: of.bisect.clone(),
        quarantined: of.quarantined.clone(),
        replacing: of.replacing,
        seed: of.seed,
        rows: BTreeMap::new(),
        tombstones: Vec::new(),
        conflicts: BTreeMap::new(),
    }
}

/// Walks two sorted things side by side: what is only in the first is gone, what is only in the second or differs is new.
fn sorted<'a, K: Ord + 'a, V: PartialEq + 'a>(
    before: impl IntoIterator<Item = (&'a K, &'a V)>,
    after: impl IntoIterator<Item = (&'a K, &'a V)>,
    mut gone: impl FnMut(&'a K),
    mut new: impl FnMut(&'a K, &'a V),
) {
    let mut before = before.into_iter().peekable();
    for (key, value) in after {
        while let Some((passed, _)) = before.next_if(|(known, _)| *known < key) {
            gone(passed);
        }
        match before.next_if(|(known, _)| *known == key) {
            Some((_, known)) if known == value => {}
            _ => new(key, value),
        }
    }
    before.for_each(|(key, _)| gone(key));
}

pub(super) fn ascending(ids: &[EngineId]) -> Result<()> {
    let sorted = ids.is_sorted_by(|a, b| a < b);
    sorted
        .then_some(())
        .ok_or_else(|| FormatError::damaged("the rows are not in order"))
}

/// Takes out what is at some places, ascending.
fn forget<T>(list: &mut Vec<T>, places: &[usize]) -> Result<()> {
    let in_order = places.is_sorted_by(|a, b| a < b);
    if !in_order || places.last().is_some_and(|last| *last >= list.len()) {
        return Err(FormatError::damaged("what is forgotten was not there"));
    }
    let (mut at, mut places) = (0_usize, places.iter().peekable());
    list.retain(|_| {
        let forgotten = places.next_if(|place| **place == at).is_some();
        at = at.saturating_add(1);
        !forgotten
    });
    Ok(())
}
