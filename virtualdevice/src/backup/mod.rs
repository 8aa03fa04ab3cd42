//! Backup and restore as the phone does them: the device side of mobilebackup2.

mod format;
mod report;
mod restore;
mod scope;
mod script;
mod state;

pub use format::FileId;
pub use format::keychain::KeychainItem;
pub use report::{BackedUp, BackupReport, Outcome, RestoreReport, Skipped};
pub use script::{Answer, HOSTILE_PATHS, Moment, PathMessage, Script, Torture, put_awkward_files};
pub use state::{RestoreVisible, State};
