//! Back up and restore iPhones and iPads, and read their backups with no device.
//!
//! # Example
//! Back up a phone, here a virtual one that is reached in memory, and check what was stored:
//! ```
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//!
//! use cabled_lockdown::{Lockdown, PairOptions, Paired, Trust};
//! use cabled_mobilebackup::archive::verify::VerifyOptions;
//! use cabled_mobilebackup::archive::{Archive, Silent};
//! use cabled_mobilebackup::folder::plain::PlainFolder;
//! use cabled_mobilebackup::live::{Backup, BackupOptions};
//! use cabled_virtualdevice::{Phone, contents::Recipe};
//! use cabled_wire::ids::SystemBuid;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let phone = Phone::builder().recipe(Recipe::tiny()).build()?;
//! let mut lockdown = Lockdown::connect(Arc::new(phone.clone()), "example").await?;
//! let mut trust = |_: Trust| ControlFlow::Continue(());
//! let record = lockdown.pair(PairOptions::new(SystemBuid::random()), &mut trust).await?;
//! let paired = Paired::new(Arc::new(phone.clone()), record);
//!
//! let root = tempfile::tempdir()?;
//! let mut folder = PlainFolder::new(root.path());
//! Backup::new(&paired).run(BackupOptions::default(), &mut folder, &mut ()).await?;
//!
//! let archive = Archive::open(folder.device_path(phone.udid().as_str()))?;
//! assert!(archive.verify(&VerifyOptions::default(), &mut Silent)?.is_sound());
//! # Ok(())
//! # }
//! ```
//!
//! # How it fits together
//! `live` is the exchange with a device: [`Backup`](live::Backup), [`Restore`](live::Restore),
//! [`ChangePassword`](live::ChangePassword), [`Info`](live::Info), [`List`](live::List) and a few more, each made from a
//! paired device and run with options, a folder and an [`Observer`](live::Observer), which sees progress and may stop
//! the run. [`folder`] is what a run does to the disk: one trait whose unit is what a device asks for, and
//! [`PlainFolder`](folder::plain::PlainFolder), the layout of iTunes and Finder. `archive` opens such a folder with no
//! device: lists, decrypts, reads and checks it, whoever wrote it. Nothing of `archive` is used by `live`, or the other
//! way round: the device owns the format, and a host stores what it is sent.
//!
//! # Limits
//! iOS 10 and later with a device; backups at rest from iOS 4 on. One run per device's folder at a time. A whole backup is
//! never held in memory: a run takes about 16 MiB however large the phone. From iOS 16.1 on a person has to enter the
//! passcode for every backup; [`live::Notice`] says when. A password is needed for the keychain and health data, and it is
//! the device that encrypts. Limits of each part are on its own page.
//!
//! # Features
//! - `live` (on): the exchange with a device; brings tokio, `cabled_lockdown`, `cabled_devicelink` and `cabled_afc`.
//! - `archive` (on): the format at rest; brings the ciphers and SQLite, and no async runtime, TLS or device crate.
//!
//! [`folder`] is there without either.

#[cfg(feature = "archive")]
pub mod archive;
pub mod folder;
#[cfg(feature = "live")]
pub mod live;

/// The program in the README, compiled and run.
#[cfg(all(doctest, feature = "live"))]
#[doc = include_str!("../README.md")]
mod readme {}
