//! AES key wrap (RFC 3394) with 256-bit keys, and the keys themselves.

use std::fmt;

use aes::Aes256;
use aes::cipher::Array;
use aes::cipher::consts::U32;
use aes_kw::{AesKw, KeyInit};
use zeroize::Zeroizing;

/// A 256-bit secret key: what a password derives to, a class key or a file key.
///
/// As sensitive as the password. Wiped when dropped; `Debug` prints its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The key itself. Whoever calls this keeps it out of logs.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Key {
    fn from(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<Zeroizing<[u8; 32]>> for Key {
    fn from(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(32 bytes)")
    }
}

/// The key of a file or of `Manifest.db`, wrapped by a class key: 4 bytes of class (little-endian), 40 wrapped bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WrappedKey {
    class: u32,
    bytes: [u8; 40],
}

impl WrappedKey {
    /// Length on disk, in bytes.
    pub const LEN: usize = 44;

    /// Splits the stored form; `None` unless it is 44 bytes long.
    #[must_use]
    pub fn parse(stored: &[u8]) -> Option<Self> {
        let (class, bytes) = stored.split_first_chunk::<4>()?;
        Some(Self {
            class: u32::from_le_bytes(*class),
            bytes: bytes.try_into().ok()?,
        })
    }

    /// `key` wrapped by the key of `class`.
    pub(crate) fn wrapping(key: &Key, class: u32, by: &Unwrapper) -> Self {
        Self {
            class,
            bytes: by.wrap(key),
        }
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        let bytes = self.class.to_le_bytes().into_iter().chain(self.bytes);
        out.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        out
    }

    /// The class prefix as stored. Only the low four bits name a class.
    #[must_use]
    pub const fn class(&self) -> u32 {
        self.class
    }

    /// The wrapped key without its class.
    #[must_use]
    pub const fn wrapped(&self) -> &[u8; 40] {
        &self.bytes
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey(class {}, 40 bytes)", self.class)
    }
}

/// Unwraps many keys with one key: the AES key schedule is made once.
#[derive(Clone)]
pub(crate) struct Unwrapper(AesKw<Aes256>);

impl Unwrapper {
    pub(crate) fn new(key: &Key) -> Self {
        Self(AesKw::new(key.expose().into()))
    }

    /// The wrapped key; `None` if `wrapped` is not 40 bytes or its check value is wrong, which means a wrong key or
    /// damage: a false match happens once in 2^64.
    pub(crate) fn unwrap(&self, wrapped: &[u8]) -> Option<Key> {
        let wrapped: &[u8; 40] = wrapped.try_into().ok()?;
        let mut out = Zeroizing::new([0; 32]);
        self.0.unwrap_key(wrapped, out.as_mut_slice()).ok()?;
        Some(Key(out))
    }

    /// The other way round: a key wrapped by this one.
    pub(crate) fn wrap(&self, key: &Key) -> [u8; 40] {
        self.0.wrap_fixed_key::<U32>(&Array::from(*key.expose())).into()
    }
}

impl fmt::Debug for Unwrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unwrapper(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::golden::{self, bytes};

    #[test]
    fn published_wraps_unwrap_and_a_flipped_bit_does_not() {
        let vectors = golden::vectors();
        for case in vectors["aes_key_wrap"].as_array().unwrap() {
            let kek = Key::from(<[u8; 32]>::try_from(bytes(&case["kek"])).unwrap());
            let key = Unwrapper::new(&kek).unwrap(&bytes(&case["wrapped"]));
            if let Some(key) = &key {
                assert_eq!(Unwrapper::new(&kek).wrap(key).to_vec(), bytes(&case["wrapped"]));
            }
            assert_eq!(
                key.map(|k| k.expose().to_vec()),
                golden::opt_bytes(&case["key"]),
                "{}",
                case["name"]
            );
        }
    }

    #[test]
    fn a_wrapped_key_of_another_length_is_refused() {
        let unwrapper = Unwrapper::new(&Key::from([7; 32]));
        for len in [0, 8, 16, 24, 32, 39, 41, 48] {
            assert_eq!(unwrapper.unwrap(&vec![0; len]), None);
        }
        assert_eq!(WrappedKey::parse(&[0; 43]), None);
        assert_eq!(WrappedKey::parse(&[0; 45]), None);
    }

    #[test]
    fn keys_do_not_reach_a_log() {
        assert_eq!(format!("{:?}", Key::from([0xab; 32])), "Key(32 bytes)");
        let wrapped = WrappedKey::parse(&[4; 44]).unwrap();
        assert_eq!(format!("{wrapped:?}"), "WrappedKey(class 67372036, 40 bytes)");
    }
}
