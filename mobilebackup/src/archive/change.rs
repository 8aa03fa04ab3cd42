//! Changing backups offline: files, passwords, smaller copies. Never in place: the result is a new folder.
//!
//! # Example
//! ```
//! use std::io::Read;
//!
//! use cabled_mobilebackup::archive::build::Details;
//! use cabled_mobilebackup::archive::change::{self, Change, ChangeOptions};
//! use cabled_mobilebackup::archive::{Archive, Silent};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/enc-v10");
//! let mut backup = Archive::open(folder)?;
//! backup.unlock("vector-pass-1")?;
//! let root = tempfile::tempdir()?;
//!
//! let mut change = Change::begin(&backup, root.path().join("changed"), &ChangeOptions::default())?;
//! change.put("HomeDomain", "Library/Notes/new.txt", &b"added"[..], &Details::default())?;
//! change.remove("CameraRollDomain", "")?;
//! let changed = change.finish(&mut Silent)?;
//!
//! let mut changed = Archive::open(&changed.folder)?;
//! changed.unlock("vector-pass-1")?;
//! let entry = changed.entry_at("HomeDomain", "Library/Notes/new.txt")?.expect("just added");
//! let mut text = String::new();
//! changed.read(&entry)?.read_to_string(&mut text)?;
//! assert_eq!(text, "added");
//!
//! let options = ChangeOptions::default().rounds(100, 10); // tests only: real passwords take 10,000,000
//! let target = root.path().join("rekeyed");
//! change::change_password_untested_on_devices(&changed, &target, "another", &options, &mut Silent)?;
//! assert!(Archive::open(&target)?.unlock("another").is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! Every change makes a private copy of the index, changes rows there, brings the payloads over ([`Transfer`] says how),
//! writes the index and the property lists, checks the result as [`Archive::verify`] does, flushes it, and only then
//! gives it its name. [`Change`] adds, replaces and removes entries; the three functions about passwords write the keybag
//! anew and, where needed, every payload; [`derive_experimental`] keeps a part. Unknown keys of records and property
//! lists, tags of the keybag, tables, properties and rows that nobody understands are kept.
//!
//! # Limits
//! The original is never written to; a stop at any moment leaves it as it was, and at worst a hidden folder beside the
//! target whose name starts with `.cabled-unfinished-`. Backups that are not finished, that other programs have
//! decrypted half, and those of iOS 10.0 are refused. Constant memory, but for [`derive_experimental`]. What readers do
//! with the result is tested; what a device does is not, and the names say so.
//!
//! [`Archive::verify`]: super::Archive::verify

mod derive;
mod edit;
mod error;
mod index;
mod options;
mod password;
mod record;
mod rekey;
#[cfg(test)]
mod tests;
mod work;

pub use derive::derive_experimental;
pub use edit::Change;
pub use error::ChangeError;
pub use options::{ChangeOptions, Changed, RowChanges, Transfer};
pub use password::{
    change_password_untested_on_devices, remove_password_untested_on_devices, set_password_untested_on_devices,
};
