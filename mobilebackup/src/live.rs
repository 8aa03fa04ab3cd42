//! Backup, restore and password changes with a device: the mobilebackup2 exchange over DeviceLink.
//!
//! Each job is a value made from a [`cabled_lockdown::Paired`] device whose `run` takes options, a
//! [`crate::folder::BackupFolder`] and an [`Observer`]. Inside, the exchange is `cabled_devicelink`'s core; the folder is
//! touched by one thread only, behind a bounded queue; notifications have a task of their own.

mod applications;
mod backup;
mod companions;
mod device_error;
mod engine;
mod error;
mod incoming;
mod info_plist;
mod models;
mod options;
mod outgoing;
mod password;
mod progress;
mod request;
mod requests;
mod restore;
mod run;
#[cfg(test)]
mod tests;
mod worker;

pub use backup::{Backup, BackupReport};
pub use cabled_devicelink::machine::Hello;
pub use device_error::{DeviceError, DeviceErrorKind, SpaceWanted};
pub use error::BackupError;
pub use options::{BackupOptions, PasswordChange, RequestOptions, RestoreOptions};
pub use password::{ChangePassword, will_encrypt};
pub use progress::{HumanStep, Notice, Observer, Phase, Progress};
pub use requests::{EraseDevice, Extract, Info, List, Unback};
pub use restore::{Restore, RestoreReport};
pub use run::{Outcome, SERVICE};
