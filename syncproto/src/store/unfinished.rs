//! What the journal of a session that broke off says.

use super::Entry;
use crate::engine::{EngineId, PairState, SessionId};

/// A session that broke off. Spec: mobilesync, section 15.6.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Unfinished {
    /// Its name.
    pub session: Option<SessionId>,
    /// When it began, in seconds since 1970.
    pub at: u64,
    /// The device was told to forget everything, by this session or by one before it, and none was committed since: what is
    /// missing there was not deleted by anybody.
    pub cleared: bool,
    /// Something was sent to the device, and the device did not say that it did not commit.
    pub wrote: bool,
    /// The batch that was sent last when the session broke off, or when the device refused to commit: its number and records.
    pub broke_at: Option<(u32, Vec<EngineId>)>,
    /// The state if the device committed.
    pub to_commit: Option<Box<PairState>>,
    /// The device is known to have committed.
    pub committed: bool,
    /// All batches were answered, and this was the last.
    sent_last: Option<(u32, Vec<EngineId>)>,
    /// [`Self::cleared`] was so when the session began.
    cleared_before: bool,
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

    /// Takes one more entry in. After [`Entry::Begun`] nothing is left of the session before but that it cleared the device.
    pub fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Begun { session, at } => {
                let cleared = self.outlives();
                *self = Self {
                    session: Some(session),
                    at,
                    cleared,
                    cleared_before: cleared,
                    ..Self::default()
                };
            }
            Entry::Planned { .. } => {}
            Entry::Clearing => {
                self.cleared = true;
                self.wrote = true;
            }
            Entry::Pushing { batch, ids } => {
                self.broke_at = Some((batch, ids));
                self.wrote = true;
            }
            Entry::ToCommit { state } => {
                self.sent_last = self.broke_at.take();
                self.to_commit = Some(state);
            }
            Entry::Committed => self.committed = true,
            Entry::NotCommitted => {
                // A device that says so has rolled everything back, the clearing with it.
                self.to_commit = None;
                self.broke_at = self.sent_last.take();
                self.wrote = false;
                self.cleared = self.cleared_before;
            }
        }
    }

    /// Whether the next session has to know that the device was cleared, even if this one is given up.
    pub(super) const fn outlives(&self) -> bool {
        self.cleared && !self.committed
    }

    /// Whether what the device told may be the last that is left of it.
    pub(super) const fn may_have_lost(&self) -> bool {
        self.wrote && !self.committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: Entry = Entry::Begun {
        session: SessionId([7; 16]),
        at: 1,
    };

    #[test]
    fn that_a_device_was_cleared_is_known_until_a_commit() {
        let again = Unfinished::of([BEGUN, Entry::Clearing, BEGUN]).unwrap();
        assert!(again.cleared && !again.wrote);
        let refused = Unfinished::of([BEGUN, Entry::Clearing, BEGUN, Entry::NotCommitted]).unwrap();
        assert!(refused.cleared, "the refusal says nothing about the session before");
        let done = Unfinished::of([BEGUN, Entry::Clearing, Entry::Committed, BEGUN]).unwrap();
        assert!(!done.cleared);
    }

    #[test]
    fn a_refused_commit_takes_the_clearing_back() {
        let refused = Unfinished::of([BEGUN, Entry::Clearing, Entry::NotCommitted]).unwrap();
        assert!(!refused.cleared && !refused.wrote && !refused.may_have_lost());
    }
}
