//! What is kept between sessions: the state of a pair, the journal of a session that is under way, and pulled states for undo.
//!
//! # How it fits together
//! [`crate::pair::Pair`] keeps one [`StateStore`] per class, device and computer. It loads it, appends an [`Entry`] before
//! each step that cannot be taken back, and replaces the state in one step at the end. After a cut the next
//! [`load`](StateStore::load) gives what is known of the session that broke off as [`Unfinished`].
//!
//! [`FileStore`] keeps it in a folder, [`MemoryStore`] for as long as the program runs; [`mod@format`] writes and reads the parts
//! for any other place.
//!
//! # Limits
//! A store is used by one session at a time; an implementation has to see to it when programs share it. A state has at most
//! 512 MiB ([`format::MAX_BYTES`]); 50,000 contacts with four parts each take some 30 MB. What a session did not touch is
//! shared in memory from [`load`](StateStore::load) to [`commit`](StateStore::commit), and [`FileStore`] writes the rest.

mod disk;
mod folder;
pub mod format;
mod frames;
mod memory;
mod snapshots;
mod states;
mod unfinished;

use crate::engine::{EngineId, Extent, PairState, PlanHash, SessionId, Side};
use crate::record::Changes;

pub use folder::FileStore;
pub use memory::MemoryStore;
pub use snapshots::SnapshotReader;
pub use unfinished::Unfinished;

/// The most snapshots of sessions that broke off.
const BROKEN_OFF: usize = 10;

/// A step of a session, appended before it is done. Spec: mobilesync, section 15.6.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Entry {
    /// A session begins.
    Begun {
        /// Its name.
        session: SessionId,
        /// When, in seconds since 1970: for people.
        at: u64,
    },
    /// A plan was made and is going to be carried out.
    Planned {
        /// Its hash.
        hash: PlanHash,
    },
    /// The device is about to be told to forget everything.
    Clearing,
    /// A batch is about to be sent to the device.
    Pushing {
        /// Its number in the session, from 0.
        batch: u32,
        /// Its records.
        ids: Vec<EngineId>,
    },
    /// The device is about to be asked to commit: this is the state if it does.
    ToCommit {
        /// The state, in which the computer's writes count as not seen yet.
        state: Box<PairState>,
    },
    /// The device committed.
    Committed,
    /// The device said that it did not commit.
    NotCommitted,
}

/// What a store has.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Loaded {
    /// The state of the last committed session; `None` before the first.
    pub state: Option<PairState>,
    /// The session that broke off after it.
    pub unfinished: Option<Unfinished>,
}

impl Loaded {
    /// Both.
    #[must_use]
    pub const fn new(state: Option<PairState>, unfinished: Option<Unfinished>) -> Self {
        Self { state, unfinished }
    }
}

/// Keeps the state of one class between one device and one place on the computer. Blocks: a session calls it on a thread
/// that may.
pub trait StateStore: Send + 'static {
    /// What was kept.
    ///
    /// # Errors
    /// [`StoreError`]. A journal whose last entry was cut off is no error, that entry is left out; anything else that cannot
    /// be read is: a state must not be guessed.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Appends to the journal; the entry is on the disk when this returns. [`Entry::Begun`] starts a new journal, in which
    /// nothing is left of a session before that broke off but that it cleared the device; if that one had begun to write,
    /// what the device had told it becomes a snapshot first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn append(&mut self, entry: Entry) -> Result<(), StoreError>;

    /// Keeps a batch of what a side told in a report of that extent, until the session ends; what the device told in a full
    /// report becomes a snapshot with the commit. On the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    fn keep_told(&mut self, side: Side, extent: Extent, changes: &Changes) -> Result<(), StoreError>;

    /// Replaces the state in one step and closes the journal. What the device told becomes a snapshot if `snapshot` says
    /// so and it was everything.
    ///
    /// # Errors
    /// [`StoreError`]; the state before or the new one is there, never a mixture, and with the one before the journal.
    fn commit(&mut self, state: &PairState, snapshot: Snapshot) -> Result<(), StoreError>;

    /// Closes the journal with the state as it was: the session was given up, and the device rolls it back. That the device
    /// was cleared by a session before is not forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    fn close(&mut self) -> Result<(), StoreError>;
}

/// What becomes of what the device told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// If it was everything it is kept for undo. So many snapshots are kept at most; the oldest go once the new one is safe.
    Keep(usize),
    /// It is forgotten.
    Drop,
}

/// What is known of a snapshot without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its number; a later one has a greater.
    pub number: u64,
    /// When its session began, in seconds since 1970.
    pub at: u64,
    /// Bytes on the disk; 0 in memory.
    pub bytes: u64,
    /// Records in it.
    pub records: u64,
    /// Its session had begun to write to the device and was not committed. At most ten of these are kept.
    pub broken_off: bool,
}

/// Why a store did not do what it was to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk failed or is full, or permission is missing.
    #[error("the sync state in {place} could not be {what}")]
    Io {
        /// The file or folder.
        place: String,
        /// What was tried.
        what: &'static str,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// What is there is damaged. Nothing was changed.
    #[error(
        "the sync state in {place} is damaged ({reason}); bring it back from a copy, or set it aside: the next sync is \
         then the first one, and asks whether to merge"
    )]
    Damaged {
        /// The file.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer version of this library wrote it.
    #[error("the sync state in {place} was written by a newer version ({version}) of this library; use that one")]
    Newer {
        /// The file.
        place: String,
        /// The version of the format.
        version: u32,
    },
    /// Another program is syncing this pair.
    #[error("another program is syncing with the state in {place}; wait until it is done")]
    Busy {
        /// The folder.
        place: String,
    },
    /// What is to be kept is too large.
    #[error("the sync state has {what} of {found}, more than {max}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: u64,
        /// How much may be.
        max: u64,
    },
}
