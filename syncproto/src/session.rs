//! One connection to the device's sync service, class after class.
//!
//! [`machine::Machine`] is the exchange without I/O; [`SyncLink`] drives it over an async stream, and its types let only
//! those steps be written that a device understands: [`SyncLink`] → [`Opened`] → [`Pull`] → [`Push`] and back.
//! Spec: mobilesync, sections 3 to 6 and 12.

mod client;
mod error;
pub mod machine;
mod options;

pub use client::{Committed, Ended, OpenOutcome, Opened, Pull, Pulled, Push, StepError, SyncLink};
pub use error::{Cancellation, CancellationKind, Refusal, RefusalKind, SessionError};
pub use options::{Phase, SessionOptions};
