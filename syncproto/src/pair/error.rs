//! Why a sync did not come to its end.

use crate::engine::{PolicyError, Side};
use crate::replica::ReplicaError;
use crate::store::StoreError;

/// Why a sync did not come to its end. Nothing is lost by any of these: the next sync goes on from what is true then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The policy cannot be carried out for the class; nothing was begun.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The kept state belongs to another class; nothing was begun.
    #[error("the kept state is that of {found}, not of {wanted}; give each class a store of its own")]
    AnotherClass {
        /// The class that was to be synced.
        wanted: String,
        /// The class of the state.
        found: String,
    },
    /// The state could not be kept or read. Up to the commit nothing was written to either side.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A side could not be opened; nothing was begun.
    #[error("the {side} could not be opened for the sync")]
    Open {
        /// The side.
        side: Side,
        /// Why.
        #[source]
        source: ReplicaError,
    },
    /// A side could not be read to the end; nothing was written.
    #[error("the {side} could not be read to the end; nothing was written")]
    Read {
        /// The side.
        side: Side,
        /// Why.
        #[source]
        source: ReplicaError,
    },
    /// A side did not take what was written. The device keeps nothing of it, and on the computer nothing is visible.
    #[error("the {side} did not take what was written; both sides are as they were")]
    Write {
        /// The side.
        side: Side,
        /// Why.
        #[source]
        source: ReplicaError,
    },
    /// The device gave the commit up: it keeps what it had, and so does the computer.
    #[error("the device did not commit; both sides are as they were")]
    NotCommitted(#[source] ReplicaError),
    /// The answer to the commit was lost. Nothing is visible on the computer; the next sync finds out what the device did and
    /// goes on from there.
    #[error("the connection broke while the device committed; the next sync finds out whether it did")]
    Doubtful(#[source] ReplicaError),
    /// The device committed, and the computer's part could not be made visible as a whole. The next sync does the rest.
    #[error("the device committed, and not everything could be written on the computer; the next sync does the rest")]
    ComputerBehind(#[source] ReplicaError),
    /// An earlier call was dropped half way, and what it worked on went with it.
    #[error("an earlier sync with this pair was given up half way; make a new pair")]
    Spent,
}
