//! One `v_Data`: header, wrapped item key, encrypted contents.

use std::fmt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::U0;
use aes_gcm::{AesGcm, KeyInit, Nonce, Tag};
use zeroize::{Zeroize, Zeroizing};

use super::attributes::{Attribute, Attributes, MalformedAttributes};
use crate::archive::cipher::CbcDecryptor;
use crate::archive::keybag::ClassKeys;
use crate::archive::padding::padding_len;
use crate::archive::wrap::{Key, Unwrapper};

/// AES-256-GCM without an IV: the counter starts at zero. Each item has a key of its own, so nothing repeats.
type ItemCipher = AesGcm<aes::Aes256, U0>;

/// Why an item of the keychain stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[non_exhaustive]
pub enum Closed {
    /// The item is "this device only", or its class key is still wrapped by the device's own key.
    #[error("the item (class {class}) opens on the device that made the backup only")]
    DeviceBound {
        /// Its class.
        class: u32,
    },
    /// The backup is not encrypted, which ties every item to the device.
    #[error("keychain items of an unencrypted backup open on the device that made it only")]
    Unencrypted,
    /// No class keys are known: the backup was not unlocked.
    #[error("the item opens with the backup's password, which was not given")]
    NoKeys,
    /// The keybag has no key of this class.
    #[error("the keybag has no key of class {class}")]
    NoSuchClass {
        /// The class.
        class: u32,
    },
    /// The keybag's key of this class is damaged.
    #[error("the keybag's key of class {class} is damaged")]
    ClassKeyDamaged {
        /// The class.
        class: u32,
    },
    /// The item has no `v_Data`.
    #[error("the item has no `v_Data`")]
    NoData,
    /// `v_Data` ends too early.
    #[error("the item is cut off after {len} bytes")]
    Truncated {
        /// Length of `v_Data` in bytes.
        len: usize,
    },
    /// A version that this program does not know.
    #[error("the item has version {version}; versions 0, 2 and 3 are known")]
    UnknownVersion {
        /// The version.
        version: u32,
    },
    /// The item key is not 40 bytes long.
    #[error("the item's key is {len} bytes long instead of 40; the item is damaged")]
    KeyLength {
        /// Its length in bytes.
        len: u32,
    },
    /// The item key does not open with the class key.
    #[error("the item's key does not open with the key of class {class}; the item is damaged")]
    KeyDamaged {
        /// The class.
        class: u32,
    },
    /// The contents are not what the device encrypted: the tag, or the padding of version 0, is wrong.
    #[error("the item is damaged: its contents do not authenticate")]
    Damaged,
    /// The contents decrypt, and are not attributes. [`SealedItem::decrypt`] hands them out.
    #[error("the item decrypts, but {0}")]
    Contents(MalformedAttributes),
}

/// One encrypted item, as `v_Data` holds it. All integers are little-endian.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealedItem<'a> {
    form: Form,
    class: u32,
    wrapped_key: &'a [u8],
    contents: &'a [u8],
    tag: [u8; 16],
}

/// What is inside, by version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// 0 (iOS 4): the secret alone, CBC.
    Secret,
    /// 2 (iOS 5 and 6): a property list, GCM.
    Plist,
    /// 3 (iOS 7 and later): DER, GCM.
    Der,
}

impl<'a> SealedItem<'a> {
    /// Length of a wrapped item key in bytes.
    const KEY_LEN: usize = 40;
    /// Only these bits of the class name it.
    const CLASS_BITS: u32 = 0xf;
    /// The classes whose keys never leave the device.
    const THIS_DEVICE_ONLY: std::ops::RangeInclusive<u32> = 9..=11;

    /// Takes `v_Data` apart.
    ///
    /// # Errors
    /// [`Closed::Truncated`], [`Closed::UnknownVersion`], [`Closed::KeyLength`].
    pub fn parse(stored: &'a [u8]) -> Result<Self, Closed> {
        let cut = Closed::Truncated { len: stored.len() };
        let (version, rest) = number(stored).ok_or(cut)?;
        let form = match version {
            0 => Form::Secret,
            2 => Form::Plist,
            3 => Form::Der,
            version => return Err(Closed::UnknownVersion { version }),
        };
        let (class, rest) = number(rest).ok_or(cut)?;
        let rest = match form {
            Form::Secret => rest,
            Form::Plist | Form::Der => match number(rest).ok_or(cut)? {
                (len, rest) if usize::try_from(len) == Ok(Self::KEY_LEN) => rest,
                (len, _) => return Err(Closed::KeyLength { len }),
            },
        };
        let (wrapped_key, rest) = rest.split_at_checked(Self::KEY_LEN).ok_or(cut)?;
        let (contents, tag) = match form {
            Form::Secret => (rest, [0; 16]),
            Form::Plist | Form::Der => rest.split_last_chunk().map(|(c, tag)| (c, *tag)).ok_or(cut)?,
        };
        Ok(Self {
            form,
            class,
            wrapped_key,
            contents,
            tag,
        })
    }

    /// 0 (iOS 4), 2 (iOS 5 and 6) or 3 (iOS 7 and later).
    #[must_use]
    pub const fn version(&self) -> u32 {
        match self.form {
            Form::Secret => 0,
            Form::Plist => 2,
            Form::Der => 3,
        }
    }

    /// The protection class: 6, 7, 8, or 9, 10, 11 for "this device only".
    #[must_use]
    pub const fn class(&self) -> u32 {
        self.class & Self::CLASS_BITS
    }

    /// Opens the item and reads its attributes.
    ///
    /// # Errors
    /// As [`decrypt`](SealedItem::decrypt); [`Closed::Contents`].
    pub fn open(&self, keys: &ClassKeys) -> Result<Attributes, Closed> {
        let plain = self.decrypt(keys)?;
        match self.form {
            Form::Secret => {
                let secret = Attribute::Bytes(plain);
                Ok(Attributes::from_iter([(Attributes::SECRET.to_owned(), secret)]))
            }
            Form::Plist => Attributes::from_plist(&plain).map_err(Closed::Contents),
            Form::Der => Attributes::from_der(&plain).map_err(Closed::Contents),
        }
    }

    /// The contents as the device encrypted them: the secret itself (version 0), a property list (2) or DER (3).
    ///
    /// # Errors
    /// Any [`Closed`] about keys; [`Closed::Damaged`].
    pub fn decrypt(&self, keys: &ClassKeys) -> Result<Zeroizing<Vec<u8>>, Closed> {
        let class = self.class();
        let key = match keys.key(class) {
            Some(key) if !Self::THIS_DEVICE_ONLY.contains(&class) => key,
            None if keys.damaged().contains(&class) => return Err(Closed::ClassKeyDamaged { class }),
            None if keys.device_bound_key(class).is_none() && !Self::THIS_DEVICE_ONLY.contains(&class) => {
                return Err(Closed::NoSuchClass { class });
            }
            _ => return Err(Closed::DeviceBound { class }),
        };
        let key = Unwrapper::new(key).unwrap(self.wrapped_key);
        let key = key.ok_or(Closed::KeyDamaged { class })?;
        let mut plain = Zeroizing::new(self.contents.to_vec());
        let sound = match self.form {
            Form::Secret => decrypt_cbc(&key, &mut plain),
            Form::Plist | Form::Der => decrypt_gcm(&key, &mut plain, &self.tag),
        };
        if sound { Ok(plain) } else { Err(Closed::Damaged) }
    }
}

impl fmt::Debug for SealedItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, class, len) = (self.version(), self.class(), self.contents.len());
        write!(f, "SealedItem(version {version}, class {class}, {len} bytes)")
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

/// Checks the tag, in constant time, and then decrypts.
fn decrypt_gcm(key: &Key, contents: &mut [u8], tag: &[u8; 16]) -> bool {
    ItemCipher::new(key.expose().into())
        .decrypt_inout_detached(&Nonce::<U0>::default(), &[], contents.into(), &Tag::from(*tag))
        .is_ok()
}

/// Decrypts and strips PKCS#7.
fn decrypt_cbc(key: &Key, contents: &mut Zeroizing<Vec<u8>>) -> bool {
    if !contents.len().is_multiple_of(16) {
        return false;
    }
    CbcDecryptor::new(key).decrypt(contents);
    let Some(last) = contents.last_chunk::<16>() else {
        return false;
    };
    let padding = usize::try_from(padding_len(last)).unwrap_or_default();
    let len = contents.len().saturating_sub(padding);
    if let Some(tail) = contents.get_mut(len..) {
        tail.zeroize();
    }
    contents.truncate(len);
    padding > 0
}
