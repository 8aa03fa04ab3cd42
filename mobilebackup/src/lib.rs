//! Back up and restore iPhones and iPads, and read their backups with no device.
//!
//! # Example
//! A phone that exists only in memory is paired, backed up, and its backup read back:
#![cfg_attr(all(feature = "live", feature = "archive"), doc = "```")]
#![cfg_attr(not(all(feature = "live", feature = "archive")), doc = "```ignore")]
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//!
//! use cabled_lockdown::{Lockdown, PairOptions, Paired, Trust};
//! use cabled_mobilebackup::archive::Archive;
//! use cabled_mobilebackup::folder::plain::PlainFolder;
//! use cabled_mobilebackup::live::{Backup, BackupOptions};
//! use cabled_virtualdevice::Phone;
//! use cabled_wire::ids::SystemBuid;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let phone = Phone::builder().build()?;
//! let mut lockdown = Lockdown::connect(Arc::new(phone.clone()), "example").await?;
//! let options = PairOptions::new(SystemBuid::random());
//! let record = lockdown.pair(options, &mut |_: Trust| ControlFlow::Continue(())).await?;
//! let paired = Paired::new(Arc::new(phone), record);
//!
//! let root = tempfile::tempdir()?;
//! let mut folder = PlainFolder::new(root.path());
//! let report = Backup::new(&paired).run(BackupOptions::default(), &mut folder, &mut ()).await?;
//!
//! let archive = Archive::open(folder.device_path(&report.outcome.target))?;
//! let messages = archive.entry_at("HomeDomain", "Library/SMS/sms.db")?.ok_or("no messages")?;
//! assert!(messages.size > 0);
//! # Ok(())
//! # }
//! ```
//! # How it fits together
//! - `live` talks to a device: [`live::Backup`], [`live::Restore`], [`live::ChangePassword`] and smaller requests. It
//!   needs a [`cabled_lockdown::Paired`] device and a folder.
//! - [`folder`] is where backups go: [`folder::BackupFolder`] is the seam, whose unit is the device's request;
//!   [`folder::plain::PlainFolder`] keeps the plain iTunes/Finder layout and knows what a stopped run left behind.
//! - `archive` reads a backup at rest, encrypted or not, and checks it; it knows of no device and needs no runtime.
//!
//! # What is promised
//! Success is said only when the device said so, `Status.plist` says `finished` and everything is flushed. A file has
//! its name only when it is whole. A run that stops while files are uploaded is undone with
//! [`folder::plain::PlainFolder::roll_back`]; one that stops later is completed by the next run. No path that a device
//! names leaves its own folder, through links or otherwise.
//!
//! # Limits
//! A run keeps a few MiB in memory, whatever it moves; 100 000 files and 4 GB were measured at under 20 MiB for the whole
//! process. Frames of the device are at most 256 MiB, names 4096 bytes. At most 4096 failures are named one by one.
//!
//! # Features
//! - `live` (on): the exchange with a device; brings tokio and TLS.
//! - `archive` (on): the format at rest; brings SQLite and cryptography, no runtime.

#[cfg(feature = "archive")]
pub mod archive;
pub mod folder;
#[cfg(feature = "live")]
pub mod live;

/// The program in the README, compiled and run.
#[cfg(all(doctest, feature = "live"))]
#[doc = include_str!("../README.md")]
mod readme {}
