//! A virtual iPhone: pairing, sessions, services, files, backup and restore, with quirks, faults and no hardware.
//!
//! # Example
//! Ask a phone for a value, then let its answer break off in the middle:
//! ```
//! use std::sync::Arc;
//!
//! use cabled_lockdown::Lockdown;
//! use cabled_virtualdevice::{Fault, Phone, Profile, service};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let phone = Phone::builder().profile(Profile::ios_17_7()).seed(7).name("Test phone").build()?;
//!
//! let mut lockdown = Lockdown::connect(Arc::new(phone.clone()), "example").await?;
//! let name = lockdown.get_value(None, Some("DeviceName")).await?;
//! assert_eq!(name.and_then(|value| value.into_string()).as_deref(), Some("Test phone"));
//! assert_eq!(phone.log().requests(service::LOCKDOWN), ["GetValue"]);
//!
//! phone.faults().push(Fault::half_frame("GetValue"));
//! assert!(lockdown.get_value(None, Some("DeviceName")).await.is_err());
//! assert!(phone.faults().pending().is_empty(), "the fault did strike");
//! # Ok(())
//! # }
//! ```
//! # How it fits together
//! A [`Phone`] is made by [`PhoneBuilder`] from a [`Profile`] (what its generation of iOS does in its own way), a seed
//! and a size. It has storage ([`fs`]) with [`contents`] made from the seed, lockdown with an RSA key, and the services
//! of [`service`], among them AFC and the device side of [`backup`]. It is a [`Connect`](cabled_wire::io::Connect), so a
//! client in the same process uses it as it is; [`mux`] puts it on a byte link as on a cable, and [`front`] is a daemon
//! that serves it to the clients of other processes. [`usb`] makes a USB device of it, and [`usbip`] plugs that into a
//! kernel, so that drivers and other people's daemons find it on the bus.
//!
//! Whoever tests plays three parts. The *host* is the client under test. The *person* is the methods of [`Phone`]:
//! [`answer_trust`](Phone::answer_trust), [`lock`](Phone::lock), [`enter_passcode`](Phone::enter_passcode),
//! [`press_cancel`](Phone::press_cancel), with [`PhoneEvent`]s that say when somebody is needed. *Bad luck* is
//! [`Faults`]: a cut after so many bytes, silence, an error code, a handshake that ends with nothing said. Afterwards
//! [`RequestLog`] tells what the host asked.
//!
//! # Limits
//! No message from a host above 4 MiB is read outside backups, none nested deeper than 32; a message that began must
//! be there within 30 s. At most 64 pairings and 1024 waiting service ports. The phone speaks TLS 1.2 and 1.3, so
//! clients that cap at TLS 1.0 for systems before iOS 10 cannot talk to it, and no profile is older than 10.3. Fields of
//! [`Profile`] say for every behaviour that is not known for sure what the default is.
//!
//! # Features
//! None.

pub mod backup;
pub mod contents;
pub mod fault;
pub mod front;
pub mod fs;
pub mod lockdown;
pub mod log;
pub mod mux;
pub mod phone;
pub mod profile;
pub mod service;
pub mod sync;
pub mod usb;
pub mod usbip;

pub use fault::{Direction, Fault, Faults};
pub use log::{LogEntry, RequestLog};
pub use phone::{BuildError, LOCKDOWN_PORT, NetworkPhone, Pairing, PasscodeEntry, Phone, PhoneBuilder, PhoneEvent};
pub use profile::Profile;

/// The program in the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
