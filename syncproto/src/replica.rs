//! One side of a sync: a class on a device, a folder of cards, one file, memory.
//!
//! # Example
//! What a person keeps in memory, told to whoever asks:
//! ```
//! use cabled_syncproto::engine::SessionId;
//! use cabled_syncproto::record::{Change, Record, RecordId};
//! use cabled_syncproto::replica::{Memory, OpenRequest, Replica, Told};
//! use cabled_syncproto::entity;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut people = Memory::default();
//! people.put(RecordId::new("ann")?, Record::new(entity::CONTACT).with("first name", "Ann"));
//!
//! people.open(OpenRequest::new(SessionId([7; 16]))).await?;
//! let Told::Batch(changes) = people.read().await? else { panic!("there is a person") };
//! assert!(matches!(changes.get(&RecordId::new("ann")?), Some(Change::Upsert(_))));
//! assert!(matches!(people.read().await?, Told::End(_)));
//! people.abort("that was all").await?;
//! # Ok(())
//! # }
//! ```
//! # How it fits together
//! [`crate::pair::Pair`] brings two replicas together: it opens and reads both, plans with [`crate::engine`], writes to both
//! and commits both. A replica on a disk implements [`BlockingReplica`], which knows no runtime, and is worked by
//! [`OnThread`].
//!
//! # Limits
//! A replica is worked by one session at a time, in the order that [`Replica`] names.

#[cfg(feature = "files")]
pub mod bookmarks;
#[cfg(feature = "session")]
mod device;
#[cfg(feature = "files")]
pub mod file;
mod memory;
mod thread;
#[cfg(feature = "files")]
pub mod vdir;

use std::future::Future;

use crate::engine::{Batch, Capabilities, EngineId, Extent, Outcome, SessionId, Standing};
use crate::record::Changes;

#[cfg(feature = "files")]
pub use bookmarks::BookmarksFile;
#[cfg(feature = "session")]
pub use device::{Device, NoConnection};
#[cfg(feature = "files")]
pub use file::SingleFile;
pub use memory::Memory;
pub use thread::OnThread;
#[cfg(feature = "files")]
pub use vdir::Vdir;

/// With what a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenRequest<'a> {
    /// The session's name.
    pub session: SessionId,
    /// What the replica gave at the last commit; `None` when there was none.
    pub token: Option<&'a str>,
    /// What it gave in the last session, of which nobody knows whether it was committed.
    pub doubtful: Option<&'a str>,
    /// Everything is wanted, not only what changed.
    pub full: bool,
}

impl<'a> OpenRequest<'a> {
    /// The first session: nothing is known, so everything is wanted.
    #[must_use]
    pub fn new(session: SessionId) -> Self {
        Self {
            session,
            token: None,
            doubtful: None,
            full: true,
        }
    }

    /// What the replica gave at the last commit.
    #[must_use]
    pub fn token(self, token: Option<&'a str>) -> Self {
        Self { token, ..self }
    }

    /// What it gave in a session of which nobody knows whether it was committed.
    #[must_use]
    pub fn doubtful(self, doubtful: Option<&'a str>) -> Self {
        Self { doubtful, ..self }
    }

    /// Whether everything is wanted.
    #[must_use]
    pub fn full(self, full: bool) -> Self {
        Self { full, ..self }
    }
}

/// How a replica stands, and how much it is going to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// How it stands to the last commit. [`Standing::Doubtful`] says that the doubtful session was committed.
    pub standing: Standing,
    /// How much it is going to tell: [`Extent::Everything`] whenever the standing is not [`Standing::Own`].
    pub extent: Extent,
    /// What it is to be opened with next time, if this session is committed. A replica that knows it at the commit only
    /// gives it there.
    pub token: Option<String>,
    /// What it says of its software.
    pub build: Option<String>,
}

impl Opened {
    /// A replica that nobody else commits to and that tells everything: a file.
    #[must_use]
    pub fn own() -> Self {
        Self {
            standing: Standing::Own,
            extent: Extent::Everything,
            token: None,
            build: None,
        }
    }

    /// How much it is going to tell. [`Extent::Everything`].
    #[must_use]
    pub fn extent(self, extent: Extent) -> Self {
        Self { extent, ..self }
    }

    /// How it stands to the last commit. [`Standing::Own`].
    #[must_use]
    pub fn standing(self, standing: Standing) -> Self {
        Self { standing, ..self }
    }

    /// What it is to be opened with next time. None.
    #[must_use]
    pub fn token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// What it says of its software. Nothing.
    #[must_use]
    pub fn build(self, build: Option<String>) -> Self {
        Self { build, ..self }
    }
}

/// What [`Replica::read`] gives.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Told {
    /// Records. The next call acknowledges them: until then they count as not received.
    Batch(Changes),
    /// That was all.
    End(End),
}

/// How the telling ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct End {
    /// Whether everything was told: only then does absence mean anything.
    pub complete: bool,
    /// Records that are there and cannot be read, by the names they have there.
    pub unreadable: Vec<String>,
    /// What people should know of what is there, a sentence each: the same card twice, an event that no device could follow.
    pub notes: Vec<String>,
}

impl End {
    /// Everything was told and could be read.
    #[must_use]
    pub const fn complete() -> Self {
        Self {
            complete: true,
            unreadable: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// What could not be read.
    #[must_use]
    pub fn with_unreadable(mut self, unreadable: Vec<String>) -> Self {
        self.unreadable = unreadable;
        self
    }

    /// What people should know.
    #[must_use]
    pub fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes = notes;
        self
    }
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// Writes that were taken and could not be made visible after all: a file that somebody changed meanwhile. Everything
    /// else stands.
    pub outcomes: Vec<(EngineId, Outcome)>,
    /// What the replica is to be opened with next time, where it differs from [`Opened::token`].
    pub token: Option<String>,
}

/// Why a replica did not do what it was to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The place is not there or cannot be read: a disk that is not mounted, a folder without permission. Nothing is
    /// concluded from it, least of all that everything was deleted.
    #[error("{what} cannot be used: {reason}")]
    Unavailable {
        /// The folder, file or service.
        what: String,
        /// Why, and what can be done.
        reason: String,
    },
    /// The device refused the class; nothing happened.
    #[error("the device did not open {class}: {reason}")]
    Refused {
        /// The class, in words.
        class: String,
        /// Why, and what can be done.
        reason: String,
        /// The refusal as it came.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The side gave the session up and kept nothing of it.
    #[error("{reason}")]
    GaveUp {
        /// In its words.
        reason: String,
    },
    /// The connection broke, or what came over it made no sense. After [`Replica::commit`] nobody knows whether the commit
    /// was done; the next session finds out.
    #[error("the session broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A call out of turn: a mistake in the calling program.
    #[error("`{call}` was called out of turn")]
    OutOfTurn {
        /// What was called.
        call: &'static str,
    },
}

/// One side of a sync.
///
/// The order of calls: [`open`](Self::open); [`read`](Self::read) until [`Told::End`]; perhaps [`clear`](Self::clear);
/// [`write`](Self::write) for each batch; [`commit`](Self::commit) or, at any point after `open`, [`abort`](Self::abort).
/// Then it can be opened again. After [`ReplicaError::Broken`] a replica that holds a connection is of no use any more.
///
/// Every future says by its replica whether dropping it is safe; [`crate::pair::Pair`] counts on no more than this: what was
/// written and not committed is not visible to anybody afterwards.
pub trait Replica: Send {
    /// What is true of it, whatever it holds.
    fn capabilities(&self) -> Capabilities;

    /// Begins a session.
    ///
    /// # Errors
    /// [`ReplicaError::Unavailable`], [`ReplicaError::Refused`], [`ReplicaError::Broken`].
    fn open(&mut self, request: OpenRequest<'_>) -> impl Future<Output = Result<Opened, ReplicaError>> + Send;

    /// The next of what it has to tell. Acknowledges the batch before.
    ///
    /// # Errors
    /// [`ReplicaError::Unavailable`], [`ReplicaError::GaveUp`], [`ReplicaError::Broken`].
    fn read(&mut self) -> impl Future<Output = Result<Told, ReplicaError>> + Send;

    /// Forgets everything it has, with the commit.
    ///
    /// # Errors
    /// [`ReplicaError::GaveUp`], [`ReplicaError::Broken`]; [`ReplicaError::OutOfTurn`] where
    /// [`Capabilities::can_clear`] was not said.
    fn clear(&mut self) -> impl Future<Output = Result<(), ReplicaError>> + Send;

    /// Takes writes; nobody sees them before the commit. Outcomes may be told with a later batch; all are told when a batch
    /// without [`Batch::more`] was taken.
    ///
    /// # Errors
    /// [`ReplicaError::Unavailable`], [`ReplicaError::GaveUp`], [`ReplicaError::Broken`]. A single record that cannot be
    /// written is an [`Outcome`], not an error.
    fn write(&mut self, batch: Batch) -> impl Future<Output = Result<Vec<(EngineId, Outcome)>, ReplicaError>> + Send;

    /// Makes visible what was written.
    ///
    /// # Errors
    /// [`ReplicaError::GaveUp`]: nothing is visible. [`ReplicaError::Broken`], [`ReplicaError::Unavailable`]: nobody knows.
    fn commit(&mut self) -> impl Future<Output = Result<Committed, ReplicaError>> + Send;

    /// Gives the session up: nothing of what was written stays.
    ///
    /// # Errors
    /// [`ReplicaError::Broken`]; nothing is visible all the same.
    fn abort(&mut self, reason: &str) -> impl Future<Output = Result<(), ReplicaError>> + Send;
}

/// A [`Replica`] that blocks: files on a disk. Worked by [`OnThread`]. Every method is as in [`Replica`].
pub trait BlockingReplica: Send + 'static {
    /// What is true of it, whatever it holds.
    fn capabilities(&self) -> Capabilities;

    /// Begins a session.
    ///
    /// # Errors
    /// As [`Replica::open`].
    fn open(&mut self, request: OpenRequest<'_>) -> Result<Opened, ReplicaError>;

    /// The next of what it has to tell.
    ///
    /// # Errors
    /// As [`Replica::read`].
    fn read(&mut self) -> Result<Told, ReplicaError>;

    /// Takes writes, not visible before the commit.
    ///
    /// # Errors
    /// As [`Replica::write`].
    fn write(&mut self, batch: Batch) -> Result<Vec<(EngineId, Outcome)>, ReplicaError>;

    /// Makes visible what was written.
    ///
    /// # Errors
    /// As [`Replica::commit`].
    fn commit(&mut self) -> Result<Committed, ReplicaError>;

    /// Gives the session up.
    fn abort(&mut self);
}
