//! What the journal of a session that broke off says.

use super::Entry;
use crate::engine::{EngineId, PairState, SessionId};

/// A session that broke off. Spec: mobilesync, section 15.6.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Unfinished {
    /// Its name.
    pub session: Option<SessionId>,
    /// The device was told to forget everything, and the session did not end.
    pub cleared: bool,
    /// The batch that was sent last, unless all were answered: its number and records.
    pub broke_at: Option<(u32, Vec<EngineId>)>,
    /// The state if the device committed.
    pub to_commit: Option<Box<PairState>>,
    /// The device is known to have committed.
    pub committed: bool,
}

impl Unfinished {
    /// From the entries of a journal; `None` when there are none.
    #[must_use]
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Option<Self> {
        let mut all: Option<Self> = None;
        for entry in entries {
            all.get_or_insert_default().take(entry);
        }
        all
    }

    /// Takes one more entry in.
    pub fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Begun { session, .. } => {
                *self = Self {
                    session: Some(session),
                    ..Self::default()
                };
            }
            Entry::Planned { .. } => {}
            Entry::Clearing => self.cleared = true,
            Entry::Pushing { batch, ids } => self.broke_at = Some((batch, ids)),
            Entry::ToCommit { state } => {
                self.broke_at = None;
                self.to_commit = Some(state);
            }
            Entry::Committed => self.committed = true,
            Entry::NotCommitted => self.to_commit = None,
        }
    }
}
