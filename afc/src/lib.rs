//! Read and write files on an iPhone or iPad through AFC, its file conduit.
//!
//! # Example
//! List a folder of a device that is played by the other end of a pipe:
//! ```
//! use cabled_afc::Afc;
//! use cabled_afc::msg::{DirectoryListing, Header, Packet};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (ours, mut device) = tokio::io::duplex(4096);
//! tokio::spawn(async move {
//!     let mut question = [0; Header::LEN + "/DCIM\0".len()];
//!     device.read_exact(&mut question).await?;
//!     let names = DirectoryListing::encode([".", "..", "100APPLE"]);
//!     device.write_all(&Packet::Data(names).encode(1)).await
//! });
//!
//! let afc = Afc::new(Box::new(ours));
//! assert_eq!(afc.read_dir("/DCIM").await?, ["100APPLE"]);
//! # Ok(())
//! # }
//! ```
//!
//! # How it fits together
//! [`msg`] is the language of both sides: packets, codes, lists, with no stream in sight; the virtual device speaks it
//! too. [`Afc`] asks a device over any byte stream, most often that of the service `com.apple.afc` which lockdown
//! started, and [`File`] is a file it opened. Requests are numbered, answers are matched by number, so calls of many
//! tasks share a connection. [`SyncLock`] is the lock that keeps two programs from syncing or backing up at once.
//! Errors say who is to blame and what to do ([`AfcError::remedy`]).
//!
//! # Limits
//! - A device may not send more than was asked for: file data by the size of the request (1 MiB unless set, 4 MiB at
//!   most), lists by [`AfcOptions::max_listing`], everything else by 64 KiB. Memory is taken as bytes come.
//! - 60 seconds of silence end an operation; 16 files are open at a time; 4096 unanswered requests break a connection.
//! - Paths have 1024 bytes at most. Operations whose layout nobody has confirmed are in [`msg`], not in [`Afc`].
//! - Raw access: nothing keeps a caller from writing where the photo and music databases of the device do not expect
//!   it (`DCIM`, `PhotoData`, `iTunes_Control`). Do not.
//!
//! # Features
//! - `session` (off): `session`, the sync lock with the notifications around it, and the notification service on a task.

mod client;
mod connection;
mod error;
mod file;
mod metadata;
pub mod msg;
mod options;
mod remove_all;
#[cfg(feature = "session")]
pub mod session;
mod sync_lock;
mod upload;

pub use client::Afc;
pub use error::{AfcError, Broken, Remedy};
pub use file::File;
pub use metadata::{DeviceInfo, FileKind, Metadata};
pub use options::AfcOptions;
pub use sync_lock::{SyncLock, SyncLockError, SyncLockFile, SyncLockOptions};

/// The program in the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
