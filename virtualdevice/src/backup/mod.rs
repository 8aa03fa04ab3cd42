//! Backup and restore as the phone does them: the device side of mobilebackup2.
//!
//! [`serve`] is the service: it opens the DeviceLink exchange and drives it, as phones do, through full and incremental
//! backups, plain and encrypted, restores, and changes of the backup password. [`State`] is what the phone remembers
//! between connections; tests ask it what was backed up and restored. What one generation of phones does differently is
//! in [`Profile`](crate::Profile); what no well-meaning phone does is a [`Script`].
//!
//! ```
//! use cabled_virtualdevice::backup::{Script, Torture};
//! use cabled_virtualdevice::{Phone, Profile};
//!
//! let phone = Phone::builder().profile(Profile::ios_17_7()).build()?;
//! phone.backup_state().set_script(Script::plain().with(Torture::EmptyDownload));
//! assert!(phone.backup_state().last_backup().is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it fits together
//! `session` is one connection: handshake, requests, results. `link` speaks DeviceLink. `run` backs up: `opening` decides
//! between full and incremental, `plan` compares the phone with the host's manifest, `payload` reads, encrypts and frames
//! on a blocking thread, `commit` moves everything into place and checks it. `restore` goes the other way and leaves a
//! staged tree that the restart puts in place. `format` writes and reads the files of a backup.
//!
//! # Limits
//! The host's frames are taken up to 64 MiB, its property lists up to 64 MiB, its manifest up to 8 million rows. Memory of
//! a run: a few hundred bytes for each entry of the phone, and about 5 MiB of contents under way.
//!
//! Spec: mobilebackup2; backup-format 1 to 9 and 11.

mod error;
mod fetch;
mod format;
mod legacy;
mod link;
mod password;
mod plan;
mod report;
mod restore;
mod run;
mod scope;
mod script;
mod session;
mod state;
#[cfg(test)]
mod tests;

pub use error::ServeError;
pub use format::FileId;
pub use format::keychain::KeychainItem;
pub use password::{PasswordError, set_password};
pub use report::{BackedUp, BackupReport, Outcome, RestoreReport, Skipped};
pub use script::{Answer, HOSTILE_PATHS, Moment, PathMessage, Script, Torture, put_awkward_files};
pub use session::{NAME, serve};
pub use state::{RestoreVisible, State};
