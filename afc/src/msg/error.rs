use cabled_wire::WireError;

use super::Operation;

/// Why some bytes are not an AFC packet. The stream they came from is unusable afterwards, with one exception:
/// [`PacketError::Fields`] means that the frame was sound and only its content was not.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The first eight bytes are not `CFA6LPAA`.
    #[error("not an AFC packet: it starts with {found:#018x} instead of `CFA6LPAA`; the stream is out of step")]
    Magic {
        /// The bytes found, as a little-endian number.
        found: u64,
    },
    /// `this_length` is smaller than the header it counts, or does not fit into memory.
    #[error("the packet's this_length {this} is smaller than its 40-byte header")]
    ThisLength {
        /// The value as sent.
        this: u64,
    },
    /// `entire_length` is smaller than `this_length`, which is a part of it.
    #[error("the packet's entire_length {entire} is smaller than its this_length {this}")]
    EntireLength {
        /// `this_length` as sent.
        this: u64,
        /// `entire_length` as sent.
        entire: u64,
    },
    /// The packet is longer than the reader allows.
    #[error("an AFC packet of {entire} bytes is above the limit of {limit}")]
    TooLong {
        /// `entire_length` as sent.
        entire: u64,
        /// The limit it was held against, in bytes.
        limit: u64,
    },
    /// The bytes end before the packet does, or go on after it.
    #[error("an AFC packet of {entire} bytes came as {found} bytes")]
    Length {
        /// `entire_length` as sent.
        entire: u64,
        /// What there was.
        found: usize,
    },
    /// The packet is framed well, but the fields of its operation are not what the operation has.
    #[error("the fields of {operation} are malformed")]
    Fields {
        /// The operation whose fields they are.
        operation: Operation,
        /// What is wrong with them.
        #[source]
        source: WireError,
    },
}
