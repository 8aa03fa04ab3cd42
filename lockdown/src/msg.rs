//! What host and device say to each other: requests and replies as types, with encode and decode for both sides.
//!
//! Lockdown's own messages are here, those of the companion services in [`crate::services`]. All of them are property
//! lists in frames with a big-endian length ([`cabled_wire::frame`]). Unknown keys are kept, so that a message
//! survives decoding and encoding whole; the one exception are private keys, which [`DeviceSide`] drops on purpose.
//!
//! [`DeviceSide`]: crate::DeviceSide

mod code;
pub(crate) mod fields;
mod reply;
mod request;

use cabled_wire::WireError;
use cabled_wire::plist::{self, Limits, Value};

pub use code::LockdownError;
pub use reply::{Reply, ReplyBody};
pub use request::{PairRequest, PairingOptions, Request, RequestBody};

/// The largest message either side accepts, in bytes: replies with icons run to megabytes. Spec: lockdown 1.
pub const MAX_MESSAGE: usize = 64 << 20;

/// Lockdown's port on every device.
pub const LOCKDOWN_PORT: u16 = 62078;

/// One message of lockdown or of a companion service.
pub trait Message: Sized {
    /// The message as a property list.
    fn to_plist(&self) -> Value;

    /// Reads the message out of a property list.
    ///
    /// # Errors
    /// [`WireError::Missing`], [`WireError::Type`], [`WireError::Invalid`] or [`WireError::Id`], each with the key.
    fn from_plist(value: Value) -> Result<Self, WireError>;

    /// The body of a frame, as XML: what every client sends, and what every client reads.
    fn encode(&self) -> Vec<u8> {
        plist::to_xml(&self.to_plist())
    }

    /// The body of a frame, as a binary property list: what devices answer in some services.
    fn encode_binary(&self) -> Vec<u8> {
        plist::to_binary(&self.to_plist())
    }

    /// Reads the body of a frame, XML or binary.
    ///
    /// # Errors
    /// As [`Self::from_plist`], and those of [`plist::read`].
    fn decode(body: &[u8]) -> Result<Self, WireError> {
        Self::from_plist(plist::read(body, &Limits::default())?)
    }
}

impl Message for Value {
    fn to_plist(&self) -> Value {
        self.clone()
    }

    fn from_plist(value: Value) -> Result<Self, WireError> {
        Ok(value)
    }
}
