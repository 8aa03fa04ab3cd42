//! One class of a device and a place on the computer, brought together: read, planned, written, committed, remembered.
//!
//! # Example
//! Two people, one on each side, with neither a device nor a disk at hand:
//! ```
//! use cabled_syncproto::engine::{FirstSync, Policy, Side, Verb};
//! use cabled_syncproto::pair::{Pair, Request, Synced};
//! use cabled_syncproto::record::{Record, RecordId};
//! use cabled_syncproto::replica::Memory;
//! use cabled_syncproto::store::MemoryStore;
//! use cabled_syncproto::{DataClass, entity};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let person = |name: &str| Record::new(entity::CONTACT).with("first name", name);
//! let phone = Memory::from_iter([(RecordId::new("720")?, person("Ann"))]);
//! let folder = Memory::from_iter([(RecordId::new("bo")?, person("Bo"))]);
//! let mut pair = Pair::new(DataClass::Contacts, phone.clone(), folder.clone(), MemoryStore::default());
//!
//! // The first time nothing is written before somebody says what is to happen.
//! let Synced::Stopped(preview) = pair.sync(&Request::default(), &mut |_| {}).await? else { panic!() };
//! println!("{preview}"); // device create Contact Bo, computer create Contact Ann
//!
//! let merge = Request::default().policy(Policy::default().first_sync(FirstSync::Merge));
//! let Synced::Done(report) = pair.sync(&merge, &mut |_| {}).await? else { panic!() };
//! assert_eq!(report.count(Side::Device, Verb::Create), 1);
//! assert_eq!((phone.all().len(), folder.all().len()), (2, 2));
//! # Ok(())
//! # }
//! ```
//! # How it fits together
//! A [`Pair`] works two [`Replica`]s and a [`StateStore`] in the order of spec mobilesync, section 15.6: read the computer,
//! read the device, plan, stage the computer's writes, write to the device, keep the state that will be true, commit the
//! device, make the computer's writes visible, keep the state. What is decided is decided by [`crate::engine`].
//!
//! Killed anywhere, no record is lost and no side is left half written: the next sync reads the journal, asks the device
//! which of its commits it remembers, and goes on.
//!
//! # Limits
//! One class; several classes of a device are several pairs, one after the other. All records of the class are in memory
//! while they are merged.

mod error;
mod outcome;
mod request;
mod steps;

use std::fmt;

use crate::DataClass;
use crate::blocking::{Blocking, Lost};
use crate::engine::{Plan, Side};
use crate::replica::Replica;
use crate::store::{StateStore, StoreError};

pub use error::SyncError;
pub use outcome::{Failure, Preview, Report, Synced, Verification};
pub use request::{Approval, NotAnApproval, Request};

/// What a sync is doing.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A side told so many records so far, parts included.
    Read {
        /// The side.
        side: Side,
        /// How many.
        records: usize,
    },
    /// The plan is made. If it has no [`Stop`](crate::engine::Stop), or an approved one, it is carried out now.
    Planned(&'a Plan),
    /// A side has taken so many writes of the plan; they are not visible yet.
    Written {
        /// The side.
        side: Side,
        /// How many.
        done: usize,
        /// Of how many.
        of: usize,
    },
    /// The device is asked to commit.
    Committing,
    /// The device committed, and the computer's writes are being made visible.
    Committed,
    /// The device is read again, to see what it made of the writes.
    Verifying,
}

/// A line for people; the plan is a table.
impl fmt::Display for Progress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { side, records } => write!(f, "read {records} records of the {side}"),
            Self::Planned(plan) => write!(f, "planned\n{plan}"),
            Self::Written { side, done, of } => write!(f, "wrote {done} of {of} to the {side}"),
            Self::Committing => f.write_str("the device commits"),
            Self::Committed => f.write_str("the device has committed"),
            Self::Verifying => f.write_str("looking what the device made of it"),
        }
    }
}

/// One class of a device and a place on the computer.
#[derive(Debug)]
pub struct Pair<D, C, S> {
    class: DataClass,
    device: D,
    computer: C,
    store: Shelf<S>,
}

impl<D: Replica, C: Replica, S: StateStore> Pair<D, C, S> {
    /// Puts them together. Nothing is opened yet.
    #[must_use]
    pub fn new(class: DataClass, device: D, computer: C, store: S) -> Self {
        Self {
            class,
            device,
            computer,
            store: Shelf(Blocking::new(store)),
        }
    }

    /// Syncs once. Cost: reading both sides as far as they do not tell changes only, and the records of both in memory.
    ///
    /// Dropping the future is safe for the data of both sides at any point; the pair is spent then, and so is a connection
    /// that the device's replica held. The next sync goes on from the journal.
    ///
    /// # Errors
    /// [`SyncError`]. A plan that must not be carried out unasked is no error but [`Synced::Stopped`], and single records
    /// that a side does not take are in [`Report::failures`].
    pub async fn sync(
        &mut self,
        request: &Request,
        observer: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Synced, SyncError> {
        request.policy.check(&self.class)?;
        let (synced, verify) = self.session(request, observer).await?;
        let mut report = match synced {
            Synced::Done(report) => report,
            stopped => return Ok(stopped),
        };
        let Some(state) = verify else {
            return Ok(Synced::Done(report));
        };
        observer(Progress::Verifying);
        report.verification = match self.verify(request, state).await {
            Ok((verification, pending)) => {
                report.pending = pending;
                verification
            }
            // Both sides are as the report says, whatever became of the looking.
            Err(error) => Verification::Failed {
                reason: in_full(&error),
            },
        };
        Ok(Synced::Done(report))
    }

    /// The device's replica, to go on with its connection; the computer's; and the store, unless a dropped
    /// [`sync`](Self::sync) took it along.
    #[must_use]
    pub fn into_parts(self) -> (D, C, Option<S>) {
        (self.device, self.computer, self.store.0.into_inner())
    }
}

/// An error with all that it was caused by, as one sentence.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// The store, worked on threads that may block.
#[derive(Debug)]
struct Shelf<S>(Blocking<S>);

impl<S: StateStore> Shelf<S> {
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut S) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SyncError> {
        Ok(self.0.run(work).await??)
    }
}

impl From<Lost> for SyncError {
    fn from(_: Lost) -> Self {
        Self::Spent
    }
}
