//! Devices on this computer's own USB ports, with no daemon.
//!
//! [`UsbBus`] looks for iPhones and iPads, opens each and runs the multiplexer over it, in this process. It is a
//! [`DeviceSource`](crate::DeviceSource): list, watch, open ports; a [`Server`](crate::server::Server) serves it to other
//! programs, [`Devices`](crate::devices::Devices) joins it with others.
//!
//! # Example
//! Works without a device too, and then lists nothing:
//! ```
//! use cabled_usbmux::DeviceSource;
//! use cabled_usbmux::usb::{UsbBus, UsbOptions};
//! # use cabled_wire::io::ConnectError;
//! # use cabled_wire::ids::DeviceId;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Products that nobody has, so that this does not open the reader's phone.
//! let options = UsbOptions::default().with_products([]);
//! let bus = UsbBus::start(options)?;
//! let mut events = bus.watch();
//! bus.settled().await;
//! for device in bus.devices() {
//!     println!("{} at {:?}", device.udid, device.connection);
//! }
//! for trouble in bus.troubles() {
//!     eprintln!("{trouble}"); // says what to do
//! }
//! assert!(bus.devices().is_empty());
//! assert!(matches!(bus.connect(DeviceId(1), 62078).await, Err(ConnectError::Gone)));
//! # let _ = events.try_recv();
//! bus.shutdown().await;
//! # Ok(())
//! # }
//! ```
//! # What happens when a device is plugged in
//! It is opened (a new device may refuse for three seconds), and the configuration that is active is looked at first: if
//! it has the multiplexer's interface, nothing is changed. Otherwise the highest configuration that has it is set, after
//! the kernel's drivers, never other programs, were made to let go. Only a device that has it in no configuration is
//! asked for another mode. The interface is claimed, what a previous owner left in the pipe is thrown away for 50 ms, and
//! VERSION is asked. When the device has answered, it is attached under a new [`DeviceId`](cabled_wire::ids::DeviceId):
//! also when it only left for a moment.
//!
//! Unplugging ends every pending call on its streams at once, with [`DeviceGone`](crate::mux::DeviceGone) inside the
//! error. So does a link that breaks while the device stays on the bus; that is set up again, five times in a row at most.
//!
//! The system's reports of arrivals come, on Linux, from the udev daemon; without one (containers, rescue systems) nothing
//! comes and nothing says so. Therefore the bus is listed once per second as well ([`UsbOptions::with_poll_interval`]),
//! which reads about twenty small files per USB device on a blocking thread, about a millisecond; and every ten seconds
//! once the reports have proved to come.
//!
//! # Errors and what to do
//! What keeps a device from being attached is a [`Trouble`](crate::Trouble), told once as an event and listed while it
//! lasts. The device is tried again every five seconds, so that it comes up by itself once the cause is gone.
//!
//! | trouble | what to do |
//! | --- | --- |
//! | `NoPermission` | install the udev rule below, or run as root |
//! | `Busy` | another program holds the interface, on Linux and macOS most likely the usbmux daemon: use [`Daemon`](crate::Daemon), or stop it |
//! | `NoDriver` | Windows: use [`Daemon`](crate::Daemon) |
//! | `NoMultiplexer` | an accessory, a device in an odd mode, or one passed through incompletely: plug it in again |
//! | `WrongMode` | recovery or DFU: restart the device |
//! | `Silent` | unlock the device, plug it in again |
//! | `Failed` | what the system said is in the text |
//! | `NoSource` | the system has no USB, or a container is not given it (`/sys/bus/usb`, `/dev/bus/usb`) |
//!
//! # The udev rule
//! Linux lets only root open USB devices. [`UDEV_RULE`] gives the person at the screen the right to open these, and the
//! group `plugdev` where it exists:
//! ```text
#![doc = include_str!("usb/70-cabled.rules")]
//! ```
//! Save it as `/etc/udev/rules.d/70-cabled.rules`, then `udevadm control --reload` and `udevadm trigger`, or plug the
//! device in again. Distributions' own rule for the stock daemon (`39-usbmuxd.rules`) takes a new device out of its
//! configuration and starts the daemon; both are coped with, but the daemon then holds the device.
//!
//! # Platforms
//! Linux is where this is for. On macOS the system's own daemon holds every device, on Windows Apple's driver: reach the
//! devices through [`Daemon`](crate::Daemon) there. The code is the same; where a device is free (a Mac without the
//! daemon, WinUSB bound by hand and the right configuration active) it works.
//!
//! # Limits
//! Per device: transfers of 4 × 32 KiB from it and 4 frames to it, then what its connections hold
//! ([`MuxOptions`](crate::mux::MuxOptions)). A device may take a second for a request about itself, 5 s for VERSION (asked
//! three times), and a minute for a transfer.

mod access;
mod attach;
mod bus;
mod choose;
pub mod link;
mod opening;
mod options;
mod pipe;
#[cfg(not(target_os = "linux"))]
#[path = "usb/elsewhere.rs"]
mod platform;
#[cfg(target_os = "linux")]
#[path = "usb/linux.rs"]
mod platform;
mod roster;
mod state;

pub use bus::UsbBus;
pub use options::{UsbMode, UsbOptions};

/// The rule that lets people at the screen open their devices on Linux; see the module's documentation.
pub const UDEV_RULE: &str = include_str!("usb/70-cabled.rules");
