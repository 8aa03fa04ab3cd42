//! Talk to iPhones and iPads over cable or Wi-Fi, and keep their data safe.
//!
//! # Example
//! Pair with a phone, here a virtual one that is reached in memory, and look at its photos:
//! ```
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//!
//! use cabled::afc::Afc;
//! use cabled::lockdown::{Escrow, Lockdown, PairOptions, Paired, Trust};
//! use cabled::virtualdevice::{Phone, contents::Recipe};
//! use cabled::wire::{ids::SystemBuid, io::Connect};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // With a device on the cable, this is what `usbmux::devices::Devices` lists.
//! let device: Arc<dyn Connect> = Arc::new(Phone::builder().recipe(Recipe::tiny()).build()?);
//!
//! let mut lockdown = Lockdown::connect(device.clone(), "example").await?;
//! let mut trust = |_: Trust| ControlFlow::Continue(());
//! let record = lockdown.pair(PairOptions::new(SystemBuid::random()), &mut trust).await?;
//!
//! let paired = Paired::new(device, record);
//! let afc = Afc::new(paired.start_service("com.apple.afc", Escrow::IfNeeded).await?);
//! assert!(!afc.read_dir("/DCIM/100APPLE").await?.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # How it fits together
//! This crate only re-exports the layers; each one can be used alone. [`usbmux`] finds devices, by cable, daemon and
//! network in one view ([`usbmux::devices`]), and opens streams to them,
//! [`lockdown`] pairs and starts services over such a stream, [`afc`] and [`mobilebackup`] speak to those services, the
//! latter over [`devicelink`], and `syncproto` brings a device's records together with those on the computer. All of them read what a device sends with [`wire`], which also holds the seam that makes a
//! cable, a network and a phone in memory the same to everything above: [`wire::io::Connect`].
//!
//! # Limits
//! iOS 10 and later. Everything async runs on tokio. Each layer's limits are on its own page.
//!
//! # Features
//! - `usb` (on): devices on this computer's own USB ports, with no daemon. Pure Rust, on `nusb`.
//! - `network` (off): paired devices that announce themselves on the network, by mDNS.
//! - `sync` (on): contacts, calendars, bookmarks and notes, with vCard and iCalendar files on the computer.
//! - `virtualdevice` (on): the virtual phone, to try and test everything with no device. A program that ships can do
//!   without: `default-features = false`.

/// Files and folders on a device, and the lock that keeps two programs from syncing at once.
pub use cabled_afc as afc;
/// The message exchange under backup and sync.
pub use cabled_devicelink as devicelink;
/// Pairing, pair records, sessions, TLS, and the services of a device.
pub use cabled_lockdown as lockdown;
/// Backup and restore with a device, and backups at rest.
pub use cabled_mobilebackup as mobilebackup;
/// Contacts, calendars, bookmarks and notes: the exchange with a device, records, files, and the merge of both sides.
#[cfg(feature = "sync")]
pub use cabled_syncproto as syncproto;
/// Finding devices and opening streams to them: client and server of the usbmuxd protocol, and the multiplexer itself.
pub use cabled_usbmux as usbmux;
/// A virtual iPhone with quirks and faults.
#[cfg(feature = "virtualdevice")]
pub use cabled_virtualdevice as virtualdevice;
/// Bounded reading of hostile bytes, identifiers, secrets, and the seam between what carries bytes and what speaks.
pub use cabled_wire as wire;
