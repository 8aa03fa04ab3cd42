use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::MAX_PATH;

/// A path as it stands on the wire: bytes up to a NUL, or up to the end of the field where a client leaves the NUL out.
///
/// Devices take both (afc 8), so both are kept: decoding and encoding gives the same bytes. What follows the NUL is
/// dropped. Nothing else is checked: the bytes may be no UTF-8, and `..` means what the receiver makes of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WirePath {
    text: Bytes,
    terminated: bool,
}

/// Why a text cannot be a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// A NUL would end the path early.
    #[error("the path {path:?} has a NUL in it")]
    Nul {
        /// The path as given.
        path: String,
    },
    /// Longer than a device's system takes ([`MAX_PATH`]).
    #[error("the path has {len} bytes; a device takes {MAX_PATH} at most")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl WirePath {
    /// A path with the closing NUL that every device takes.
    ///
    /// # Errors
    /// [`PathError::Nul`] for a NUL inside, [`PathError::TooLong`] above [`MAX_PATH`] bytes.
    pub fn new(path: &str) -> Result<Self, PathError> {
        if path.as_bytes().contains(&0) {
            return Err(PathError::Nul { path: path.to_owned() });
        }
        if path.len() > MAX_PATH {
            return Err(PathError::TooLong { len: path.len() });
        }
        Ok(Self {
            text: Bytes::copy_from_slice(path.as_bytes()),
            terminated: true,
        })
    }

    /// The path's bytes, without the NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The path as text, `None` when it is no UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.text).ok()
    }

    /// The path as text to show; bytes that are no UTF-8 become U+FFFD.
    #[must_use]
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.text)
    }

    /// Whether the NUL was there.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        self.terminated
    }

    /// Splits a path off `field` and returns what follows its NUL.
    pub(super) fn split(field: &Bytes) -> (Self, Bytes) {
        match field.iter().position(|&byte| byte == 0) {
            Some(at) => {
                let rest = field.slice(at.saturating_add(1)..);
                (
                    Self {
                        text: field.slice(..at),
                        terminated: true,
                    },
                    rest,
                )
            }
            None => (
                Self {
                    text: field.clone(),
                    terminated: false,
                },
                Bytes::new(),
            ),
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text);
        if self.terminated {
            out.push(0);
        }
    }

    /// As [`WirePath::encode`], with the NUL in any case: something follows.
    pub(super) fn encode_terminated(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text);
        out.push(0);
    }
}

impl fmt::Debug for WirePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.terminated { "" } else { " (no NUL)" };
        write!(f, "{:?}{end}", self.to_string_lossy())
    }
}

impl fmt::Display for WirePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string_lossy())
    }
}
