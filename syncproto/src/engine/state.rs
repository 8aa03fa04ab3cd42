//! What is kept between sessions: one row per record, with what each side said and what was agreed. Spec: mobilesync,
//! section 15.3.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::id::{EngineId, SessionId, Side, Sides};
use super::value::{Fields, Name};
use crate::DataClass;

/// How often a transfer is tried again after a side was seen to skip it.
pub(crate) const MAX_REJECTS: u8 = 2;

/// How often in a row sessions break with one record alone before it is held to be the cause. A bad cable breaks two easily.
const ALONE: u32 = 3;

/// Committed sessions between chances: a record that was left out because it broke sessions is sent once more in the next
/// one whose number is a multiple of this. If it breaks that as well, only an edit brings it back.
pub(crate) const CHANCE: u32 = 10;
/// After so many sessions of changes alone everything is read.
const FULL_DUE: u32 = 9;

/// Seconds for which a deleted record is remembered: 90 days.
pub(crate) const TOMBSTONE: u64 = 90 * 86_400;

/// All that is kept of one class between one computer and one device.
#[derive(Clone, Debug, PartialEq)]
pub struct PairState {
    /// The class.
    pub class: DataClass,
    /// How many sessions were committed.
    pub sessions: u32,
    /// Committed sessions since everything was last read from the device.
    pub since_full: u32,
    /// When everything was last read from the device, in seconds since 1970 as the caller told.
    pub full_at: u64,
    /// What each side gave at the last commit, to be presented at the next opening.
    pub tokens: Sides<Option<String>>,
    /// What the device said about its software when rows were last checked: class version and build.
    pub build: Option<String>,
    /// Sessions with this build.
    pub build_sessions: u32,
    /// Sessions in a row in which somebody else had committed in between.
    pub alternations: u32,
    /// Share of pushed records that the last session's device did not take, in percent.
    pub not_accepted_percent: u8,
    /// Sessions in a row that broke at the same batch, and the size to which batches are cut.
    pub bisect: Option<Bisect>,
    /// Records that broke session after session when they were sent to the device. The next plan leaves them out, and
    /// keeps them out until their content on the computer changes. Once, in a later session whose number is a multiple of
    /// ten, each is tried again all the same, in a batch of its own: it may have been the cable.
    pub quarantined: Vec<EngineId>,
    /// A replacement of the device broke off: what is missing there was not deleted by anybody. Set when a journal says so;
    /// a plan that replaces the device again, or finds that somebody else committed since, ends it.
    pub replacing: bool,
    /// The name of the pair's first session, from which identifiers of new records are derived.
    pub seed: Option<SessionId>,
    /// Shared with the states of sessions before and after: most sessions change few.
    pub(crate) rows: BTreeMap<EngineId, Arc<Row>>,
    pub(crate) tombstones: Vec<Tombstone>,
    pub(crate) conflicts: BTreeMap<(EngineId, String), Kept>,
}

/// A batch that broke a session. Spec: mobilesync, section 15.7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bisect {
    /// Its number in the session.
    pub batch: u32,
    /// How often in a row.
    pub times: u32,
    /// So many of these records are sent in one batch from now on; all others in batches of the ordinary size.
    pub size: u32,
    /// The records of the batch.
    pub ids: Vec<EngineId>,
}

impl Bisect {
    fn new(batch: u32, ids: &[EngineId]) -> Self {
        Self {
            batch,
            times: 1,
            size: u32::try_from(ids.len()).unwrap_or(u32::MAX).max(1),
            ids: ids.to_vec(),
        }
    }

    /// Records that are sent one by one.
    pub(crate) const fn alone(ids: Vec<EngineId>) -> Self {
        Self {
            batch: 0,
            times: 0,
            size: 1,
            ids,
        }
    }
}

/// One record. `Eq`, as the records in it are: what is shared is the same without a look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) entity: Name,
    pub(crate) native: Sides<Option<Arc<str>>>,
    pub(crate) seen: Sides<Option<Arc<Fields>>>,
    pub(crate) agreed: Sides<Option<Arc<Fields>>>,
    /// What most rows have none of.
    pub(crate) more: Option<Box<More>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct More {
    /// Pushes whose effect was not seen yet.
    pub(crate) pending: Sides<Option<Box<Pending>>>,
    /// How often a side skipped a transfer of a group; `*` is the record as a whole.
    pub(crate) rejects: Vec<(Side, Box<str>, u8)>,
    /// Not sent to this side until the other side's content changes.
    pub(crate) held: Sides<Option<Box<Held>>>,
}

/// Why a record is not sent to a side, and what the other side had when that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) why: Why,
    pub(crate) content: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It was not accepted twice in a row.
    Quarantined,
    /// Deleted there, edited here: kept apart.
    Deferred,
    /// Out of the selection.
    OutOfSelection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Update,
    Delete,
}

/// Pushes to a side that does not tell what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) kind: Kind,
    /// What was last *seen* there before the first of them.
    pub(crate) before: Option<Arc<Fields>>,
    /// What was agreed then.
    pub(crate) agreed: Sides<Option<Arc<Fields>>>,
    pub(crate) pushes: Vec<Pushed>,
    /// The number of the last pushing session.
    pub(crate) session: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// What the side was expected to report.
    pub(crate) wanted: Option<Arc<Fields>>,
    /// What the other side had then.
    pub(crate) other: Option<Arc<Fields>>,
}

/// A conflict that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) base: Option<Arc<Fields>>,
    pub(crate) sides: Sides<Option<Arc<Fields>>>,
    pub(crate) session: u32,
}

/// A record that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) id: EngineId,
    pub(crate) native: Sides<Option<Arc<str>>>,
    pub(crate) at: u64,
}

impl Row {
    pub(crate) fn new(entity: &Name) -> Self {
        Self {
            entity: Name::clone(entity),
            native: Sides::default(),
            seen: Sides::default(),
            agreed: Sides::default(),
            more: None,
        }
    }

    pub(crate) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub(crate) fn pending(&self, side: Side) -> Option<&Pending> {
        self.more.as_ref()?.pending.get(side).as_deref()
    }

    pub(crate) fn held(&self, side: Side) -> Option<&Held> {
        self.more.as_ref()?.held.get(side).as_deref()
    }

    pub(crate) fn rejects(&self, side: Side, group: &str) -> u8 {
        let rejects = self.more.iter().flat_map(|more| &more.rejects);
        rejects
            .filter(|(s, g, _)| *s == side && **g == *group)
            .map(|(.., n)| *n)
            .next()
            .unwrap_or(0)
    }

    /// Counts one more skipped transfer, or forgets those there were.
    pub(crate) fn set_rejects(&mut self, side: Side, group: &str, count: u8) {
        if count == 0 && self.rejects(side, group) == 0 {
            return;
        }
        let more = self.more();
        more.rejects.retain(|(s, g, _)| *s != side || **g != *group);
        if count > 0 {
            more.rejects.push((side, group.into(), count));
        }
    }

    /// Gives up the box that most rows do without.
    pub(crate) fn tidy(&mut self) {
        if self.more.as_deref() == Some(&More::default()) {
            self.more = None;
        }
    }
}

impl PairState {
    /// Nothing is known: the next session is the first.
    #[must_use]
    pub fn new(class: DataClass) -> Self {
        Self {
            class,
            sessions: 0,
            since_full: 0,
            full_at: 0,
            tokens: Sides::default(),
            build: None,
            build_sessions: 0,
            alternations: 0,
            not_accepted_percent: 0,
            bisect: None,
            quarantined: Vec::new(),
            replacing: false,
            seed: None,
            rows: BTreeMap::new(),
            tombstones: Vec::new(),
            conflicts: BTreeMap::new(),
        }
    }

    /// Enters that the session named `session` broke off, or that the device refused to commit it, when `batch`, with the
    /// records `ids`, had been sent last.
    ///
    /// The second time in a row it happens with the same records, half of them are sent at once, then half of those; one
    /// record alone with which it happened three times in a row is [`quarantined`](Self::quarantined). A committed session
    /// ends the search. Spec: mobilesync, section 15.7.
    pub fn broke_at(&mut self, session: SessionId, batch: u32, ids: &[EngineId]) {
        // Nothing was committed yet: the records keep the names that they had.
        self.seed.get_or_insert(session);
        if ids.is_empty() {
            return;
        }
        let before = self.bisect.take().filter(|before| {
            let known: BTreeSet<&EngineId> = before.ids.iter().collect();
            ids.iter().all(|id| known.contains(id))
        });
        let Some(before) = before else {
            self.bisect = Some(Bisect::new(batch, ids));
            return;
        };
        let mut now = Bisect::new(batch, ids);
        // The first time it may have been the cable. A part of a batch that broke twice is under suspicion already.
        now.times = if ids.len() < before.ids.len() && ids.len() == 1 {
            1
        } else {
            before.times.saturating_add(1)
        };
        match ids {
            [one] if now.times >= ALONE => self.quarantined.push(*one),
            _ => {
                now.size = now.size.div_ceil(2);
                self.bisect = Some(now);
            }
        }
    }

    /// How many records are known, children included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no record is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A record's identifiers on both sides.
    #[must_use]
    pub fn native(&self, id: &EngineId) -> Sides<Option<&str>> {
        let row = self.rows.get(id);
        Sides::of(|side| row.and_then(|row| row.native.get(side).as_deref()))
    }

    /// The record that a side calls `native`. Looks at every row.
    #[must_use]
    pub fn find(&self, side: Side, native: &str) -> Option<EngineId> {
        let here = |row: &Row| row.native.get(side).as_deref() == Some(native);
        self.rows.iter().find(|(_, row)| here(row)).map(|(id, _)| *id)
    }

    /// Conflicts that were put aside and still stand: the record, the group of keys, and the number of the session.
    pub fn conflicts(&self) -> impl Iterator<Item = (&EngineId, &str, u32)> {
        self.conflicts
            .iter()
            .map(|((id, group), kept)| (id, group.as_str(), kept.session))
    }

    /// Pushes whose effect was not seen yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        let waits = |row: &&Arc<Row>| Side::BOTH.iter().any(|side| row.pending(*side).is_some());
        self.rows.values().filter(waits).count()
    }

    /// Whether the next session has to read everything: the device's reports of changes alone would let an update that
    /// was skipped without a word go unnoticed. Every tenth session and every 30 days. `now` is in seconds since 1970.
    #[must_use]
    pub fn wants_full(&self, now: u64) -> bool {
        self.since_full >= FULL_DUE || now.saturating_sub(self.full_at) >= 30 * 86_400
    }

    /// Enters that a session broke off: the device forgot what it told in it, so the next one has to read everything.
    pub fn must_be_full(&mut self) {
        self.since_full = self.since_full.max(FULL_DUE);
    }
}
