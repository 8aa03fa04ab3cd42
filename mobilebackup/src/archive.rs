//! Read, unlock and check backups at rest, with no device.
//!
//! # Example
//! ```
//! use std::io::Read;
//!
//! use cabled_mobilebackup::archive::verify::VerifyOptions;
//! use cabled_mobilebackup::archive::{Archive, Silent};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/enc-v10");
//! let mut backup = Archive::open(folder)?;
//! if backup.is_locked() {
//!     backup.unlock("vector-pass-1")?;
//! }
//! let photos = backup.entries()?.filter_map(Result::ok).filter(|entry| &*entry.domain == "CameraRollDomain");
//! assert_eq!(photos.count(), 4);
//!
//! let messages = backup.entry_at("HomeDomain", "Library/SMS/sms.db")?.expect("every phone has messages");
//! let mut start = [0; 15];
//! backup.read(&messages)?.read_exact(&mut start)?;
//! assert_eq!(&start, b"SQLite format 3");
//!
//! let report = backup.verify(&VerifyOptions::default(), &mut Silent)?;
//! assert_eq!(report.damage.count("missing_payload"), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! [`Archive::open`] reads the three property lists ([`plists`]), finds out which of the two layouts the folder has and
//! whether plists and index agree. [`Archive::unlock`] turns the password into class keys through the [`keybag`] and
//! decrypts the index where that is encrypted. [`Archive::entries`] streams the index, whose records [`mbfile`] and
//! [`mbdb`] decode; [`Archive::entry_at`] and [`Archive::entry`] look one up. [`Archive::read`] hands out the contents
//! of a file with random access, [`DecryptingStream`] decrypts a payload that arrives from elsewhere.
//! [`Archive::verify`] does all of it for every row, on several threads, and reports.
//!
//! Everything blocks and nothing is global: an [`Archive`] is `Send` and `Sync`, and async programs call it from a
//! thread for blocking work. Nothing is ever written into a backup's folder, not even SQLite's own companions.
//!
//! # Limits
//! A password costs about a second of one core, by Apple's design (ten million rounds). Listing takes constant memory,
//! also for millions of rows; reading takes 128 KiB per open file; verifying some 60 bytes per row. Encrypted payloads
//! have no checksum but a digest on some system files: damage inside a payload shows there or not at all. Backups of
//! iOS 3 and older are recognised and refused. Keychain items bound to the device stay closed anywhere else.
//!
//! # Features
//! All of it is the feature `archive` (on by default), which pulls in no async runtime, no TLS and no device crate.

mod bplist;
pub mod build;
pub mod change;
mod cipher;
pub mod completeness;
#[cfg(test)]
mod damage_tests;
mod database;
pub mod diff;
mod entry;
mod error;
pub mod extract;
mod file_id;
pub mod find;
#[cfg(test)]
pub(crate) mod golden;
mod hex_digits;
mod index;
mod kdf;
pub mod keybag;
pub mod keychain;
mod layout;
pub mod mbdb;
pub mod mbfile;
mod metadata;
pub mod names;
mod observe;
mod open;
mod options;
mod padding;
pub mod plists;
mod read;
pub mod records;
pub mod salvage;
pub mod select;
pub mod sqlite;
pub mod statistics;
mod stream;
pub mod tree;
pub mod verify;
mod wrap;

pub use entry::{EntryNote, FileEntry, Kind, Row, SkipReason, SkippedRow};
pub use error::ArchiveError;
pub use file_id::{FileId, InvalidFileId};
pub use index::{Entries, Rows};
pub use layout::{Layout, OpenNote, Protection};
pub use observe::{Observer, Phase, Progress, Silent};
pub use open::Archive;
pub use options::OpenOptions;
pub use padding::{Completeness, Ending};
pub use read::{DecryptingReader, PayloadNote, PayloadReader, ReadOptions};
pub use stream::DecryptingStream;
pub use wrap::{Key, WrappedKey};
