//! Read what a stranger sent without believing a single length in it.
//!
//! # Example
//! A length field meets a limit before anything is sliced or allocated:
//! ```
//! use cabled_wire::{Reader, WireError};
//!
//! let mut r = Reader::new(&[0, 0, 0, 3, b'a', b'b', b'c']);
//! let len = r.u32_be("length")?;
//! assert_eq!(r.bounded("name", len.into(), 4096)?, b"abc");
//! r.finish("message")?;
//!
//! let mut hostile = Reader::new(&[0xff, 0xff, 0xff, 0xff]);
//! let len = hostile.u32_be("length")?;
//! assert!(matches!(hostile.bounded("name", len.into(), 4096), Err(WireError::TooLong { .. })));
//! # Ok::<(), WireError>(())
//! ```
//! # How it fits together
//! [`Reader`] cuts fixed fields out of a slice; [`frame`] cuts a stream into length-prefixed messages; [`plist`] reads
//! property lists whose structure it has counted first; [`ids`], [`path`] and [`secret`] are the types that raw text
//! and raw bytes become at the edge. Every protocol crate of the family stands on these. With the feature `tokio`,
//! [`frame`] also reads and writes async streams, and `io` holds the seam between whatever carries bytes to a device
//! and whatever speaks to it.
//!
//! # Limits
//! [`plist::Limits`] bounds bytes, nesting, nodes and unfolded text of a property list; frames take their limit from
//! the caller. Nothing here allocates more than a small multiple of what has really arrived.
//!
//! # Features
//! - `tokio` (off): frames over `AsyncRead`/`AsyncWrite`, `io::Connect`.

mod error;
pub mod frame;
pub mod ids;
#[cfg(feature = "tokio")]
pub mod io;
pub mod path;
pub mod plist;
mod reader;
pub mod secret;

pub use error::WireError;
pub use reader::Reader;

/// The program in the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
