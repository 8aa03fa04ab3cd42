//! Going on where a run was cut off: payloads that lie in `Snapshot` are not sent again (open question 4 of the spec).

use std::collections::HashMap;

use super::super::FileId;
use super::super::error::Outcome;
use super::super::plan::{Item, Work};
use super::super::session::Session;
use super::opening;
use crate::profile::LeftoverSnapshot;

/// A payload that the host took before the run was cut off.
#[derive(Clone, Debug)]
pub(in crate::backup) struct Staged {
    /// Of the file at the time.
    pub(in crate::backup) revision: u64,
    /// Bytes as stored.
    pub(in crate::backup) stored: u64,
    /// The row's archive, with the key.
    pub(in crate::backup) record: Vec<u8>,
}

/// What a run has sent so far, kept by the phone until the run ends well.
#[derive(Clone, Debug, Default)]
pub(in crate::backup) struct Partial {
    /// The bag whose class keys wrap the keys in the records; `None` for an unencrypted run.
    pub(in crate::backup) bag: Option<[u8; 16]>,
    pub(in crate::backup) payloads: HashMap<FileId, Staged>,
}

/// Marks what need not be sent again, and returns the records for it. The host's listing has the last word.
pub(super) async fn find(
    session: &mut Session,
    mut items: Vec<Item>,
    bag: Option<[u8; 16]>,
    resumable: bool,
) -> Outcome<(Vec<Item>, HashMap<FileId, Staged>)> {
    let mut partial = session.state.take_partial();
    session.state.set_partial(Partial {
        bag,
        payloads: HashMap::new(),
    });
    if !resumable || session.profile().leftover_snapshot != LeftoverSnapshot::Resume || partial.bag != bag {
        partial.payloads.clear();
    }
    if partial.payloads.is_empty() {
        return Ok((items, HashMap::new()));
    }
    let there = opening::staged(session).await?;
    partial
        .payloads
        .retain(|id, staged| there.get(id) == Some(&staged.stored));
    for item in &mut items {
        let known = partial.payloads.get(&item.id);
        if item.sends() && known.is_some_and(|staged| staged.revision == item.entry.revision) {
            item.work = Work::Staged;
        }
    }
    Ok((items, partial.payloads))
}
