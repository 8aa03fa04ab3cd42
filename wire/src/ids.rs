//! Identifiers as types: a UDID is not a host id, and neither is any text.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::WireError;

/// A device's unique identifier.
///
/// Old form: 40 hex digits, kept in lower case. New form (2018): 8 hex digits, a hyphen, 16 hex digits, kept in upper
/// case. Other spellings of 8 to 64 letters, digits and hyphens are kept as they are. Two UDIDs are equal when they
/// differ only by case and hyphens. Spec: usbmux, section 4.
///
/// ```
/// use cabled_wire::ids::Udid;
///
/// let udid: Udid = "00008030001a24c3ed45f670".parse()?;
/// assert_eq!(udid.to_string(), "00008030-001A24C3ED45F670");
/// assert_eq!(udid, "00008030-001a24c3ed45f670".parse()?);
/// # Ok::<(), cabled_wire::WireError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Udid(String);

impl Udid {
    /// Reads the serial number string of a USB device: padding trimmed, the hyphen of the new form inserted.
    ///
    /// # Errors
    /// [`WireError::Id`].
    pub fn from_usb_serial(serial: &str) -> Result<Self, WireError> {
        serial.trim_matches(|c: char| c == '\0' || c.is_whitespace()).parse()
    }

    /// The canonical spelling, as used in file names and requests.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn folded(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().filter(|b| *b != b'-').map(|b| b.to_ascii_lowercase())
    }
}

impl FromStr for Udid {
    type Err = WireError;

    /// # Errors
    /// [`WireError::Id`] for anything but 8 to 64 letters, digits and hyphens.
    fn from_str(text: &str) -> Result<Self, WireError> {
        let plain = (8..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !plain {
            return Err(WireError::Id {
                what: "UDID",
                text: WireError::excerpt(text),
            });
        }
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        let hyphens = text.len().saturating_sub(digits.len());
        Ok(Self(match (hex, digits.len(), hyphens) {
            (true, 40, 0) => digits.to_ascii_lowercase(),
            (true, 24, 0 | 1) if hyphens == 0 || text.as_bytes().get(8) == Some(&b'-') => {
                let digits = digits.to_ascii_uppercase();
                let (head, tail) = digits.split_at_checked(8).unwrap_or((&digits, ""));
                format!("{head}-{tail}")
            }
            _ => text.to_owned(),
        }))
    }
}

impl fmt::Display for Udid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl PartialEq for Udid {
    fn eq(&self, other: &Self) -> bool {
        self.folded().eq(other.folded())
    }
}

impl Eq for Udid {}

impl Hash for Udid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().for_each(|byte| state.write_u8(byte));
    }
}

impl PartialOrd for Udid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Udid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

/// The number a multiplexer gives to one attachment of a device; void after a re-plug. Spec: usbmux, section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub u32);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! uuid_like {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// A fresh random one: an upper-case version 4 UUID.
            #[must_use]
            pub fn random() -> Self {
                Self(uuid::Uuid::new_v4().hyphenated().to_string().to_ascii_uppercase())
            }

            /// The text as it travels.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = WireError;

            /// Takes what other programs wrote: not always a UUID, so any text of 1 to 128 printable ASCII characters.
            ///
            /// # Errors
            /// [`WireError::Id`].
            fn from_str(text: &str) -> Result<Self, WireError> {
                if (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(WireError::Id { what: $what, text: WireError::excerpt(text) })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

uuid_like! {
    /// What a device knows one pairing by. Spec: lockdown, section 6.
    HostId, "host id"
}

uuid_like! {
    /// What a device knows this computer by, the same for all its pairings. Spec: lockdown, section 6.
    SystemBuid, "system BUID"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_udid_have_one_spelling() {
        let old: Udid = "ABCDEF0123456789ABCDEF0123456789ABCDEF01".parse().unwrap();
        assert_eq!(old.as_str(), "abcdef0123456789abcdef0123456789abcdef01");
        let usb = Udid::from_usb_serial("00008030001A24C3ED45F670\0\0 ").unwrap();
        assert_eq!(usb.as_str(), "00008030-001A24C3ED45F670");
    }

    #[test]
    fn a_udid_that_could_be_a_path_is_refused() {
        for text in ["../../etc", "a/b/c/d/e", "", "short", "nul\0nul\0nul", &"f".repeat(65)] {
            assert!(text.parse::<Udid>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_random_host_id_is_an_upper_case_uuid() {
        let id = HostId::random();
        assert_eq!(id.as_str().len(), 36);
        assert_eq!(id.as_str(), id.as_str().to_ascii_uppercase());
        assert_ne!(id, HostId::random());
    }
}
