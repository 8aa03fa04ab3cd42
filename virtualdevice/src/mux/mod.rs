//! The phone's end of the multiplexer: its own state machine, which shares only the frame codec with the host's.
//!
//! [`DeviceMux`] is the core and does no I/O; [`plug_in`] runs it over any byte link and opens the phone's ports,
//! [`plug_in_frames`] over a link that keeps frames apart. It keeps the rules that foreign hosts depend on: sequence
//! numbers from 0, gap-free frame numbers, frames of at most 32764 bytes, no answer to a frame without payload, `RST`
//! with no other flag once a connection stands. Spec: usbmux, sections 8 to 10.

mod byte_link;
mod connection;
mod driver;
mod machine;

use std::time::Duration;

use cabled_usbmux::mux::frame::MAGIC_DEVICE;

pub use driver::{PluggedIn, plug_in, plug_in_frames};
pub use machine::{DeviceEvent, DeviceMux, DeviceStats, PeerId};

/// How a phone tells the host how much it has room for; all three kinds exist, hosts have to cope with any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WindowStyle {
    /// Acknowledges on arrival and offers the room that is left.
    Shrinking,
    /// Offers always the same and acknowledges only what the service has taken.
    LateAcknowledgment,
}

/// How the device's end behaves; the defaults are those of a current phone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceMuxOptions {
    /// Version that is answered to the host: 1 (long gone) or 2.
    pub version: u32,
    /// How room is announced.
    pub window_style: WindowStyle,
    /// Bytes a connection holds for its service, at most 16 MiB; phones offer 128 KiB.
    pub receive_buffer: usize,
    /// Bytes a connection holds for the host.
    pub send_buffer: usize,
    /// Largest frame sent, header included; phones send up to 32764 bytes, and some hosts take no more than 49152.
    pub max_frame: usize,
    /// Magic in frame headers; hosts do not look at it.
    pub magic: u32,
    /// Sequence number of the answer to SYN. Foreign hosts count on 0.
    pub initial_sequence: u32,
    /// How long a service's last bytes may take to go out.
    pub drain_limit: Duration,
    /// Text in the frame that refuses a connection.
    pub refusal: String,
    /// Connections at one time; more are refused.
    pub max_connections: usize,
}

impl Default for DeviceMuxOptions {
    fn default() -> Self {
        Self {
            version: 2,
            window_style: WindowStyle::Shrinking,
            receive_buffer: 128 << 10,
            send_buffer: 256 << 10,
            max_frame: 32_764,
            magic: MAGIC_DEVICE,
            initial_sequence: 0,
            drain_limit: Duration::from_secs(5),
            refusal: String::new(),
            max_connections: 1024,
        }
    }
}

impl DeviceMuxOptions {
    /// Sets the version answered to the host (default 2): 1 for a device of before iOS 5, others for a test.
    #[must_use]
    pub fn with_version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Sets how room is announced (default [`WindowStyle::Shrinking`]).
    #[must_use]
    pub fn with_window_style(mut self, style: WindowStyle) -> Self {
        self.window_style = style;
        self
    }

    /// Sets the receive buffer in bytes (default 128 KiB); held between 1 KiB and 16 MiB.
    #[must_use]
    pub fn with_receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes.clamp(1 << 10, 16 << 20);
        self
    }

    /// Sets the send buffer in bytes (default 256 KiB); held between 1 KiB and 16 MiB.
    #[must_use]
    pub fn with_send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = bytes.clamp(1 << 10, 16 << 20);
        self
    }

    /// Sets the largest frame sent, in bytes (default 32764); held between 64 and 65535.
    #[must_use]
    pub fn with_max_frame(mut self, bytes: usize) -> Self {
        self.max_frame = bytes.clamp(64, 65_535);
        self
    }

    /// Sets the sequence number of the answer to SYN (default 0), to test the wrap of sequence numbers.
    #[must_use]
    pub fn with_initial_sequence(mut self, seq: u32) -> Self {
        self.initial_sequence = seq;
        self
    }

    /// Sets how long a service's last bytes may take (default 5 s).
    #[must_use]
    pub fn with_drain_limit(mut self, limit: Duration) -> Self {
        self.drain_limit = limit;
        self
    }

    /// Sets the text of refusals (default none).
    #[must_use]
    pub fn with_refusal(mut self, text: impl Into<String>) -> Self {
        self.refusal = text.into();
        self
    }
}
