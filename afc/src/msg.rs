//! What AFC peers say: every packet, encoded and decoded in one place.
//!
//! A packet is a 40-byte [`Header`], a small *fixed part* and a *payload*; the header carries the length of both
//! (`this_length` = 40 + fixed part, `entire_length` = the whole packet) so that a receiver can read the small part and
//! stream the bulk. Which field goes where is not a matter of taste: several clients look for status codes, handles and
//! positions only in the fixed part, and for names and file bytes only in the payload.
//!
//! All integers are little-endian. Spec: afc 2-4.

mod codes;
mod error;
mod header;
mod listing;
mod packet;
mod path;

pub use codes::{FileHandle, LinkKind, LockOp, OpenMode, Operation, Status, Whence};
pub use error::PacketError;
pub use header::Header;
pub use listing::{DirectoryListing, InfoList};
pub use packet::Packet;
pub use path::{PathError, WirePath};

/// The longest path a device's system takes, in bytes without the closing NUL (afc 8).
pub const MAX_PATH: usize = 1024;
/// The longest name inside a folder a device's system takes, in bytes (afc 8).
pub const MAX_NAME: usize = 255;
/// The longest packet we take unless told otherwise, in bytes; the length field could say 2^64 (afc 2).
pub const MAX_PACKET: u64 = 64 << 20;
