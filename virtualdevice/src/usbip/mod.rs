//! Carries a USB device over USB/IP, to a kernel that then believes it is plugged in.
//!
//! # Example
//! Ask a phone behind a byte stream for its device descriptor, in the bytes that a kernel sends:
//! ```
//! use std::sync::Arc;
//!
//! use cabled_virtualdevice::Phone;
//! use cabled_virtualdevice::usb::{UsbOptions, UsbPhone};
//! use cabled_virtualdevice::usbip;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let phone = Phone::builder().seed(7).build()?;
//! let mut usb = UsbPhone::new(Arc::new(phone), UsbOptions::default())?;
//! let (mut kernel, ours) = duplex(4096);
//! let served = tokio::spawn(async move { usbip::serve(ours, &mut usb).await });
//!
//! // Submit number 1: endpoint 0, towards the host, 18 bytes, GET_DESCRIPTOR.
//! let mut submit = Vec::new();
//! for field in [1, 1, 0x0001_0002, 1, 0, 0x200, 18, 0, 0, 0_u32] {
//!     submit.extend(field.to_be_bytes());
//! }
//! submit.extend([0x80, 6, 0, 1, 0, 0, 18, 0]);
//! kernel.write_all(&submit).await?;
//! let mut answer = [0; 48 + 18];
//! kernel.read_exact(&mut answer).await?;
//! assert_eq!(answer[..8], [0, 0, 0, 3, 0, 0, 0, 1]);
//! assert_eq!(answer[56..60], [0xac, 0x05, 0xa8, 0x12]);
//!
//! drop(kernel);
//! assert_eq!(served.await??, usbip::Served::HostLeft);
//! # Ok(())
//! # }
//! ```
//! On Linux with the `vhci-hcd` module and as root, `usbip::attach(usb).await?` plugs the phone into the running kernel.
//!
//! # How it fits together
//! [`serve`] is the conversation about transfers over any stream, with a [`UsbPhone`](crate::usb::UsbPhone) behind it.
//! `attach` (Linux only) gives the kernel one end of a socket pair and serves the other: no network, no tool, no import.
//! [`UsbipServer`] offers phones over TCP, to `usbip attach` of any Linux machine and to other systems' USB/IP clients.
//!
//! # Limits
//! Version 1.1.1 of the protocol, as the kernel's documentation describes it. A host may have 1024 requests with 32 MiB
//! waiting; an OUT transfer of more than 1 MiB is read over and refused with status -90. Isochronous transfers end the
//! conversation. There is no encryption and no password: offer phones only where everybody may have them. Real hardware has
//! timing, retries and bus errors that this does not show.

#[cfg(target_os = "linux")]
mod linux;
mod machine;
mod msg;
mod serve;
mod server;

#[cfg(target_os = "linux")]
pub use linux::{AttachError, Attachment, Port, Vhci, attach};
pub use serve::{Served, UsbipError, serve};
pub use server::{UsbipServer, UsbipServing};

use crate::usb::Speed;

/// The kernel's number for a speed.
const fn speed_code(speed: Speed) -> u32 {
    match speed {
        Speed::Full => 2,
        Speed::High => 3,
        Speed::Super => 5,
    }
}
