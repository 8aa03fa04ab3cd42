//! The files that other programs read: vCard, iCalendar, bookmark lists, notes as text.
//!
//! # Example
#![cfg_attr(feature = "vobject", doc = "```")]
#![cfg_attr(not(feature = "vobject"), doc = "```ignore")]
//! use cabled_syncproto::interchange::{Limits, vcard};
//!
//! let card = "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:ann\r\nFN:Ann Example\r\nN:Example;Ann;;;\r\n\
//!             TEL;TYPE=cell:555 0100\r\nX-MOOD;LEVEL=9:fine\r\nEND:VCARD\r\n";
//! let read = vcard::read(card, &Limits::default())?;
//! let ann = &read.contacts[0];
//! assert_eq!(ann.person.last_name.as_deref(), Some("Example"));
//! assert_eq!(ann.phones[0].view.kind.as_deref(), Some("mobile"));
//! // No device has a place for the mood; it comes back all the same.
//! let text = vcard::write(ann, &vcard::WriteOptions::default());
//! assert!(text.contains("X-MOOD;LEVEL=9:fine\r\n"));
//! # Ok::<(), cabled_syncproto::interchange::InterchangeError>(())
//! ```
//! # How it fits together
//! Each format reads text into the typed views of [`crate::records`] and writes them as text, the same bytes for the same
//! input. Nothing is lost on the way, in either direction. What a text says and records have no key for is kept in the
//! record under a key that starts with `vcard:`, `ical:`, `html:` or `json:`; no device is sent those. What a record says
//! and the text has no property for travels in `X-CABLED-` properties. A line that is understood but spelled in another way
//! than ours is kept beside the value and used again as long as the value is the same.
//!
//! # Limits
//! [`Limits`] bounds input, lines, nesting and records before anything is built.
//!
//! # Features
//! `interchange` for bookmarks and notes, `vobject` for vCard and iCalendar.

#[cfg(feature = "vobject")]
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cabled_wire::plist::{self, Dictionary, Value};

#[cfg(feature = "vobject")]
use crate::record::{Record, RecordId};
use crate::records::RecordError;

pub mod bookmarks;
#[cfg(feature = "vobject")]
pub mod icalendar;
#[cfg(feature = "vobject")]
mod lines;
pub mod notes;
#[cfg(feature = "vobject")]
pub mod vcard;

/// What a text may cost. Defaults: 256 MiB, lines of 8 MiB, 16 levels, 4 million lines, 200 000 records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of the text.
    pub bytes: usize,
    /// Bytes of one line once it is unfolded; pictures are the long ones.
    pub line: usize,
    /// Components or folders within each other.
    pub depth: usize,
    /// Lines once they are unfolded.
    pub lines: usize,
    /// Cards, events, bookmarks.
    pub records: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            line: 8 << 20,
            depth: 16,
            lines: 4_000_000,
            records: 200_000,
        }
    }
}

impl Limits {
    /// Sets the limit on the text (default 256 MiB).
    #[must_use]
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets the limit on a line (default 8 MiB).
    #[must_use]
    pub fn with_line(mut self, bytes: usize) -> Self {
        self.line = bytes;
        self
    }

    /// Sets the limit on nesting (default 16); more than 64 is taken as 64.
    #[must_use]
    pub fn with_depth(mut self, levels: usize) -> Self {
        self.depth = levels.min(64);
        self
    }

    /// Sets the limit on lines (default 4 million).
    #[must_use]
    pub fn with_lines(mut self, lines: usize) -> Self {
        self.lines = lines;
        self
    }

    /// Sets the limit on records (default 200 000).
    #[must_use]
    pub fn with_records(mut self, records: usize) -> Self {
        self.records = records;
        self
    }

    pub(crate) fn check(what: &'static str, found: usize, max: usize) -> Result<(), InterchangeError> {
        if found > max {
            return Err(InterchangeError::TooLarge { what, found, max });
        }
        Ok(())
    }
}

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterchangeError {
    /// A limit is exceeded.
    #[error("the file has {what} of {found}, more than the {max} that are allowed; raise the limit if you trust it")]
    TooLarge {
        /// Of what there is too much.
        what: &'static str,
        /// How much, as far as it was counted.
        found: usize,
        /// How much may be.
        max: usize,
    },
    /// A component was begun and not ended, or ended and not begun.
    #[error("line {line}: `{component}` is not closed where it should be; the file is cut off or damaged")]
    Unbalanced {
        /// Which line, once unfolded; 1 is the first.
        line: usize,
        /// The component.
        component: String,
    },
    /// The text is not of the format.
    #[error("this is no {format}: {reason}")]
    Format {
        /// The format.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// What was read is no record.
    #[error(transparent)]
    Record(#[from] RecordError),
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Base64, blanks within it passed over.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let clean: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(clean).ok()
}

fn limits() -> plist::Limits {
    plist::Limits::default()
        .with_bytes(8 << 20)
        .with_depth(16)
        .with_nodes(100_000)
}

/// Any value as one word of text, and back.
pub(crate) fn pack(value: &Value) -> String {
    let list = Dictionary::from_iter([("v", value.clone())]);
    encode(&plist::to_binary(&list.into()))
}

pub(crate) fn unpack(text: &str) -> Option<Value> {
    plist::read_dict(&decode(text)?, &limits()).ok()?.remove("v")
}

/// A short name for a content, the same on every machine (FNV-1a): for noticing changes, not for trust.
pub(crate) fn fingerprint(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Adds to the array under a key.
#[cfg(feature = "vobject")]
pub(crate) fn append(dictionary: &mut Dictionary, key: String, more: Vec<Value>) {
    match dictionary.get_mut(&key).and_then(Value::as_array_mut) {
        Some(all) => all.extend(more),
        None => drop(dictionary.insert(key, Value::Array(more))),
    }
}

/// An identifier for a part of a file's record, which has none: the same for the same file.
#[cfg(feature = "vobject")]
pub(crate) fn part_id(owner: &RecordId, part: &Record, numbers: &mut BTreeMap<String, usize>) -> RecordId {
    let entity = part.entity.as_deref().unwrap_or_default();
    let kind = entity.rsplit('.').next().unwrap_or_default();
    let number = numbers.entry(kind.to_owned()).or_insert(0);
    *number = number.saturating_add(1);
    let id = RecordId::new(format!("{owner}/{kind}/{number:05}"));
    // An owner whose name fills an identifier: its parts are told apart all the same.
    let short = || {
        let owner = fingerprint(owner.as_str().as_bytes());
        RecordId::new(format!("{owner}/{kind:.40}/{number:05}"))
    };
    id.or_else(|_| short()).unwrap_or_else(|_| RecordId::placeholder())
}
