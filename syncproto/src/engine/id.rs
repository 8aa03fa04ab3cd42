//! The two sides, the engine's own identifiers, and names of sessions.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// One of the two ends that are brought together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The phone or tablet, or a backup of it.
    Device,
    /// The folder, file or program on the computer.
    Computer,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Device, Self::Computer];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Device => Self::Computer,
            Self::Computer => Self::Device,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::Computer => "computer",
        })
    }
}

/// Something that each side has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides<T> {
    /// The device's.
    pub device: T,
    /// The computer's.
    pub computer: T,
}

impl<T> Sides<T> {
    /// Made by a function of the side.
    pub fn of(mut make: impl FnMut(Side) -> T) -> Self {
        Self {
            device: make(Side::Device),
            computer: make(Side::Computer),
        }
    }

    /// One side's.
    pub const fn get(&self, side: Side) -> &T {
        match side {
            Side::Device => &self.device,
            Side::Computer => &self.computer,
        }
    }

    /// One side's, to change.
    pub const fn get_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Device => &mut self.device,
            Side::Computer => &mut self.computer,
        }
    }

    /// With the sides exchanged.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self {
            device: self.computer,
            computer: self.device,
        }
    }
}

/// A record's identifier in plans and state: a UUID that the engine made. The only identifier that means the same on both
/// sides. Spec: mobilesync, section 15.2.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineId([u8; 16]);

impl EngineId {
    /// From its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The identifier of what a side calls `native`, first met in a session. The same question has the same answer: a plan
    /// is a pure function, and a session that is run again after a cut makes the same identifiers.
    #[must_use]
    pub fn derive(session: &SessionId, side: Side, native: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"cabled engine id\0");
        hash.update(session.0);
        hash.update([side as u8]);
        hash.update(native.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(digest) {
            *to = from;
        }
        // Version 8 (made by the application), RFC 9562's variant.
        if let Some(version) = bytes.get_mut(6) {
            *version = (*version & 0x0f) | 0x80;
        }
        if let Some(variant) = bytes.get_mut(8) {
            *variant = (*variant & 0x3f) | 0x80;
        }
        Self(bytes)
    }
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One piece: there are places where hundreds of thousands of them are written.
        let mut text = [b'-'; 36];
        let places = (0_usize..36).filter(|at| !matches!(at, 8 | 13 | 18 | 23));
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
        for (at, digit) in places.zip(digits) {
            if let Some(place) = text.get_mut(at) {
                *place = if digit < 10 { b'0' } else { b'a' - 10 }.wrapping_add(digit);
            }
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no engine id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identifier of the engine is a UUID of 36 characters")]
pub struct NotAnEngineId;

impl FromStr for EngineId {
    type Err = NotAnEngineId;

    fn from_str(text: &str) -> Result<Self, NotAnEngineId> {
        let bytes = text.as_bytes();
        if bytes.len() != 36 {
            return Err(NotAnEngineId);
        }
        let mut out = [0_u8; 16];
        let mut digits = 0_usize;
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if *byte != b'-' {
                    return Err(NotAnEngineId);
                }
                continue;
            }
            let digit = char::from(*byte).to_digit(16).ok_or(NotAnEngineId)?;
            let digit = u8::try_from(digit).map_err(|_| NotAnEngineId)?;
            let slot = out.get_mut(digits / 2).ok_or(NotAnEngineId)?;
            *slot = (*slot << 4) | digit;
            digits = digits.saturating_add(1);
        }
        Ok(Self(out))
    }
}

/// What a session is called: 16 bytes that the caller draws, never the same twice. Engine ids of records that are met for
/// the first time are derived from the name of a pair's first session and the number of sessions that were committed: a
/// session that broke off is planned with the same ones again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// The name that goes with the number of a session, where this one was the first's.
    pub(crate) fn numbered(mut self, number: u32) -> Self {
        for (byte, part) in self.0.iter_mut().zip(number.to_le_bytes()) {
            *byte ^= part;
        }
        self
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        EngineId(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print_and_devices_take_them_for_a_computers() {
        let id = EngineId::derive(&SessionId([7; 16]), Side::Device, "720");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(!crate::record::RecordId::new(id.to_string()).unwrap().is_devices_own());
        assert_ne!(id, EngineId::derive(&SessionId([7; 16]), Side::Computer, "720"));
        assert_eq!("x".repeat(36).parse::<EngineId>(), Err(NotAnEngineId));
    }
}
