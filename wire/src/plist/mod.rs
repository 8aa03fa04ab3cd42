//! Property lists from strangers, counted before they are unfolded.
//!
//! The `plist` crate is sound but believes its input: 150 bytes of shared references unfold to gigabytes, and some
//! kilobytes of nesting overflow the stack. [`read`] walks the structure first, without recursion and without
//! building anything, and only then hands the bytes on.
//!
//! ```
//! use cabled_wire::plist::{self, DictExt, Limits};
//!
//! let bytes = plist::to_xml(&cabled_wire::dict! { "Request" => "QueryType", "Answer" => 42 }.into());
//! let message = plist::read_dict(&bytes, &Limits::default())?;
//! assert_eq!(message.text("Request")?, "QueryType");
//! assert_eq!(message.integer("Answer")?, 42);
//! assert_eq!(message.opt_text("Label")?, None);
//! # Ok::<(), cabled_wire::WireError>(())
//! ```

mod binary;
mod dict;
mod xml;

use std::io::Cursor;
use std::time::{Duration, SystemTime};

pub use dict::{DictExt, as_integer, as_real};
pub use plist::{Date, Dictionary, Integer, Uid, Value};

use crate::WireError;

/// What a property list may cost. Defaults: 64 MiB, 64 levels, 4 million values, 128 MiB of text and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes as they arrive.
    pub bytes: usize,
    /// Levels of arrays and dictionaries inside each other.
    pub depth: usize,
    /// Values (keys included) after every shared reference is unfolded.
    pub nodes: u64,
    /// Bytes of text and data after every shared reference is unfolded.
    pub payload: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            depth: 64,
            nodes: 4_000_000,
            payload: 128 << 20,
        }
    }
}

impl Limits {
    /// Sets the limit on arriving bytes (default 64 MiB), and that on unfolded text to twice as much.
    #[must_use]
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self.payload = (bytes as u64).saturating_mul(2);
        self
    }

    /// Sets the limit on nesting (default 64 levels).
    #[must_use]
    pub fn with_depth(mut self, levels: usize) -> Self {
        self.depth = levels;
        self
    }

    /// Sets the limit on unfolded values (default 4 million).
    #[must_use]
    pub fn with_nodes(mut self, nodes: u64) -> Self {
        self.nodes = nodes;
        self
    }

    fn count(&self, nodes: u64, payload: u64) -> Result<(), WireError> {
        if nodes > self.nodes {
            return Err(WireError::Bomb {
                what: "values",
                max: self.nodes,
            });
        }
        if payload > self.payload {
            return Err(WireError::Bomb {
                what: "bytes",
                max: self.payload,
            });
        }
        Ok(())
    }
}

/// Reads a binary or XML property list, told apart by its first bytes.
///
/// XML that the parser rejects is tried once more with control characters below 0x20 (but not tab, LF, CR) replaced by
/// blanks: old systems put them into device names (lockdown, section 1). Cost: one walk over the bytes, then the parse.
///
/// # Errors
/// [`WireError::TooLong`], [`WireError::TooDeep`], [`WireError::Bomb`] and [`WireError::Cycle`] before anything is
/// built; [`WireError::Plist`] for bytes that are no property list.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Value, WireError> {
    if bytes.len() > limits.bytes {
        let (declared, max) = (bytes.len() as u64, limits.bytes as u64);
        return Err(WireError::TooLong {
            field: "property list",
            declared,
            max,
        });
    }
    if bytes.starts_with(b"bplist00") {
        binary::scan(bytes, limits)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the bounded reader; the structure was counted above"
        )]
        return Value::from_reader(Cursor::new(bytes)).map_err(invalid);
    }
    if !xml::looks_like_xml(bytes) {
        return Err(WireError::Plist {
            reason: "it is neither a binary nor an XML property list".into(),
        });
    }
    xml::scan(bytes, limits)?;
    match parse_xml(bytes) {
        Ok(value) => Ok(value),
        Err(e) => match xml::without_control_characters(bytes) {
            Some(clean) => parse_xml(&clean),
            None => Err(e),
        },
    }
}

/// Reads a property list whose top level must be a dictionary, as nearly every message's is.
///
/// # Errors
/// As [`read`]; [`WireError::Type`] for another top level.
pub fn read_dict(bytes: &[u8], limits: &Limits) -> Result<Dictionary, WireError> {
    let wrong = || WireError::Type {
        key: "the property list".into(),
        expected: "a dictionary",
    };
    read(bytes, limits)?.into_dictionary().ok_or_else(wrong)
}

/// Writes an XML property list that starts with `<?xml`, as lockdown and usbmux want it.
///
/// Dates are cut to whole seconds: Apple's are, and Python's reader refuses others. An archive reference, which XML has
/// no element for, becomes the dictionary `CF$UID` that Apple writes for it.
/// XML cannot say most control characters, and strict readers refuse a list that has one: those below 0x20 but tab, LF
/// and CR become blanks.
#[must_use]
pub fn to_xml(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let sayable = sayable_in_xml(value);
    let value = sayable.as_ref().unwrap_or(value);
    // Writing to memory fails only for what cannot be said in XML; an empty list then says so to the reader.
    if value.to_writer_xml(&mut out).is_err() {
        out.clear();
    }
    xml::without_control_characters(&out).unwrap_or(out)
}

/// Writes a binary property list; equal strings are stored once, reals take 8 bytes.
#[must_use]
pub fn to_binary(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if value.to_writer_binary(&mut out).is_err() {
        out.clear();
    }
    out
}

/// A copy with whole seconds in its dates, and with archive references as Apple writes them in XML; `None` if it is the
/// same.
fn sayable_in_xml(value: &Value) -> Option<Value> {
    match value {
        Value::Uid(uid) => Some(crate::dict! { "CF$UID" => uid.get() }.into()),
        Value::Date(date) => {
            let time = SystemTime::from(*date);
            let whole = match time.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(since) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since.as_secs())),
                Err(before) => {
                    let before = before.duration();
                    let up = before.as_secs().saturating_add(u64::from(before.subsec_nanos() > 0));
                    SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(up))
                }
            };
            whole
                .filter(|whole| *whole != time)
                .map(|whole| Value::Date(whole.into()))
        }
        Value::Array(items) => {
            let cut: Vec<_> = items.iter().map(sayable_in_xml).collect();
            let changed = cut.iter().any(Option::is_some);
            let whole = || {
                cut.into_iter()
                    .zip(items)
                    .map(|(cut, item)| cut.unwrap_or_else(|| item.clone()))
            };
            changed.then(|| Value::Array(whole().collect()))
        }
        Value::Dictionary(entries) => {
            let cut: Vec<_> = entries.iter().map(|(_, item)| sayable_in_xml(item)).collect();
            let changed = cut.iter().any(Option::is_some);
            let whole = || {
                let pairs = cut.into_iter().zip(entries);
                pairs.map(|(cut, (key, item))| (key.clone(), cut.unwrap_or_else(|| item.clone())))
            };
            changed.then(|| Value::Dictionary(whole().collect()))
        }
        _ => None,
    }
}

fn parse_xml(bytes: &[u8]) -> Result<Value, WireError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the bounded reader; the structure was counted before"
    )]
    Value::from_reader_xml(bytes).map_err(invalid)
}

fn invalid(error: plist::Error) -> WireError {
    WireError::Plist {
        reason: WireError::excerpt(&error.to_string()),
    }
}

/// Builds a [`Dictionary`] from keys and anything that converts into a [`Value`].
///
/// ```
/// let d = cabled_wire::dict! { "MessageType" => "Connect", "PortNumber" => 32498_u64 };
/// assert_eq!(d.len(), 2);
/// ```
#[macro_export]
macro_rules! dict {
    () => {
        $crate::plist::Dictionary::new()
    };
    ($($key:expr => $value:expr),+ $(,)?) => {{
        let mut dictionary = $crate::plist::Dictionary::new();
        $(dictionary.insert(::std::string::String::from($key), $crate::plist::Value::from($value));)*
        dictionary
    }};
}

#[cfg(test)]
mod tests;
