//! The phone as a USB device: descriptors, control requests and bulk pipes, whatever carries them.
//!
//! # Example
//! Enumerate a phone and exchange versions with its multiplexer, as a host does, with no bus and no kernel:
//! ```
//! use std::sync::Arc;
//!
//! use cabled_virtualdevice::Phone;
//! use cabled_virtualdevice::usb::{BulkIn, BulkOutcome, ControlOutcome, Setup, UsbOptions, UsbPhone};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let phone = Phone::builder().seed(7).build()?;
//! let mut usb = UsbPhone::new(Arc::new(phone), UsbOptions::default())?;
//! let ControlOutcome::Data(device) = usb.control(Setup::get_descriptor(1, 0, 18), &[]).await else { panic!() };
//! assert_eq!(&device[8..12], [0xac, 0x05, 0xa8, 0x12]);
//!
//! // Configuration 4 has the multiplexer, with endpoints 0x04 and 0x85.
//! assert_eq!(usb.control(Setup::set_configuration(4), &[]).await, ControlOutcome::Done);
//! let version = [0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
//! assert_eq!(usb.bulk_out(0x04, version.to_vec()).await, BulkOutcome::Taken(20));
//! assert_eq!(usb.bulk_in(0x85, 16_384).await, BulkIn::Data(version.to_vec().into()));
//! # Ok(())
//! # }
//! ```
//! # How it fits together
//! [`UsbPhone`] has endpoint 0 (a core that knows [`UsbOptions`]), pipes that gather and cut messages by the rules of
//! short packets, and, while a configuration with the multiplexer is active, [`mux`](crate::mux) behind them.
//! [`usbip`](crate::usbip) carries it to a kernel; a test in the same process calls it. [`UsbFaults`] is the cable:
//! pull it, or let it stall, cut, swallow and go silent. Spec: usbmux, sections 7, 8 and 10.
//!
//! # Limits
//! Only the multiplexer works: camera, Ethernet, screen capture and accessory are there to be told apart, and refuse what
//! is sent to them. There are no isochronous endpoints and no streams. One frame at a time is gathered, of at most 65535
//! bytes; 1 MiB of them waits for the multiplexer, 256 KiB for the host.

mod control;
mod descriptor;
mod fault;
mod layout;
mod options;
mod phone;
mod pipe;
mod setup;
mod wire;

pub use fault::{UsbFault, UsbFaults};
pub use layout::{Function, Mode, Speed};
pub use options::{MuxEndpoints, UsbOptions};
pub use phone::{Departure, UsbError, UsbPhone, UsbStats};
pub use setup::{BulkIn, BulkOutcome, ControlOutcome, Setup};

/// `idVendor` of every phone.
pub const VENDOR: u16 = 0x05ac;
