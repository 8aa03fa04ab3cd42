//! The keybag: eleven class keys, wrapped by a key made from the backup password (spec backup-format 8).

use aes::cipher::Array;
use aes::cipher::consts::U32;
use aes_kw::{KeyInit, KwAes256};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use super::FormatError;
use super::cipher::{decrypt_blocks, encrypt_blocks};
use super::record::WRAPPED_KEY;

/// Rounds we would do for a bag from a host: real bags ask for ten million, a hostile one could ask for hours.
const MAX_ROUNDS: u32 = 100_000_000;
/// A real bag is 1,388 bytes.
const MAX_BAG: usize = 1 << 20;
/// Classes of a backup bag.
const CLASSES: std::ops::RangeInclusive<u32> = 1..=11;

/// A 32-byte AES key, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(32 bytes)")
    }
}

impl Key {
    pub(crate) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A fresh key from the system's random source.
    pub(crate) fn random() -> Result<Self, FormatError> {
        let mut bytes = Zeroizing::new([0; 32]);
        fill(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// RFC 3394.
    pub(crate) fn wrap(&self, key: &Self) -> [u8; 40] {
        let plain = <&Array<u8, U32>>::from(key.bytes());
        KwAes256::new(self.bytes().into()).wrap_fixed_key(plain).into()
    }

    /// RFC 3394; `None` when the constant does not come out: the wrong key, or damage.
    pub(crate) fn unwrap(&self, wrapped: &[u8; 40]) -> Option<Self> {
        let mut out = Zeroizing::new([0; 32]);
        KwAes256::new(self.bytes().into())
            .unwrap_key(wrapped, out.as_mut_slice())
            .ok()?;
        Some(Self(out))
    }
}

/// Random bytes for keys, salts and ids.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), FormatError> {
    getrandom::fill(bytes).map_err(|_| FormatError::NoRandom)
}

fn random<const N: usize>() -> Result<[u8; N], FormatError> {
    let mut out = [0; N];
    fill(&mut out)?;
    Ok(out)
}

/// How a password becomes the key that wraps the class keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Derivation {
    pub(crate) salt: [u8; 20],
    pub(crate) iterations: u32,
    /// The first stage of iOS 10.2 and later: salt and rounds.
    pub(crate) first: Option<([u8; 20], u32)>,
}

impl Derivation {
    /// Fresh salts; `first` is the number of rounds of the first stage, absent before iOS 10.2.
    pub(crate) fn fresh(first: Option<u32>, iterations: u32) -> Result<Self, FormatError> {
        let first = first.map(|rounds| random().map(|salt| (salt, rounds))).transpose()?;
        Ok(Self {
            salt: random()?,
            iterations,
            first,
        })
    }

    /// The key for `password`. Takes seconds with the rounds of a real device.
    pub(crate) fn derive(&self, password: &[u8]) -> Key {
        let mut secret = Zeroizing::new(password.to_vec());
        if let Some((salt, rounds)) = &self.first {
            let mut stage = Zeroizing::new([0; 32]);
            pbkdf2::pbkdf2_hmac::<Sha256>(&secret, salt, *rounds, stage.as_mut_slice());
            secret.zeroize();
            secret.extend_from_slice(stage.as_slice());
        }
        let mut out = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha1>(&secret, &self.salt, self.iterations, &mut out);
        let key = Key::new(out);
        out.zeroize();
        key
    }
}

/// Whether a class key is usable with the password alone, or bound to the device as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrap(pub(crate) u32);

impl Wrap {
    const PASSWORD: u32 = 2;
    const DEVICE: u32 = 1;

    fn of(class: u32, encrypted: bool) -> Self {
        let bound = matches!(class, 5 | 9..) || (!encrypted && class >= 5);
        Self(Self::PASSWORD | if bound { Self::DEVICE } else { 0 })
    }

    fn bound(self) -> bool {
        self.0 & Self::DEVICE != 0
    }
}

/// One class of a bag.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) uuid: [u8; 16],
    pub(crate) class: u32,
    pub(crate) wrap: Wrap,
    pub(crate) wrapped: [u8; 40],
}

/// A bag as it is stored: nothing in it is readable without the password.
#[derive(Clone, Debug)]
pub(crate) struct Keybag {
    pub(crate) uuid: [u8; 16],
    pub(crate) derivation: Derivation,
    pub(crate) classes: Vec<Class>,
}

/// The class keys of an opened bag.
#[derive(Clone, Debug)]
pub(crate) struct ClassKeys {
    /// The bag they belong to.
    pub(crate) bag: [u8; 16],
    /// What is inside the password's wrapping: the class key, or for device-bound classes the key encrypted again.
    inner: Vec<(u32, Wrap, Key)>,
}

impl ClassKeys {
    /// Eleven fresh keys; the device-bound ones are encrypted under `device_key`.
    pub(crate) fn fresh(encrypted: bool, device_key: &Key) -> Result<Self, FormatError> {
        let mut inner = Vec::with_capacity(11);
        for class in CLASSES {
            let wrap = Wrap::of(class, encrypted);
            let key = Key::random()?;
            let key = if wrap.bound() {
                let mut sealed = Zeroizing::new(*key.bytes());
                encrypt_blocks(device_key, sealed.as_mut_slice());
                Key(sealed)
            } else {
                key
            };
            inner.push((class, wrap, key));
        }
        Ok(Self { bag: random()?, inner })
    }

    /// The bag that hands out these keys for `password`.
    pub(crate) fn seal(&self, password: &[u8], derivation: Derivation) -> Result<Keybag, FormatError> {
        let kek = derivation.derive(password);
        let mut classes = Vec::with_capacity(self.inner.len());
        for (class, wrap, key) in &self.inner {
            classes.push(Class {
                uuid: random()?,
                class: *class,
                wrap: *wrap,
                wrapped: kek.wrap(key),
            });
        }
        Ok(Keybag {
            uuid: self.bag,
            derivation,
            classes,
        })
    }

    /// The key of a class that the password alone opens.
    pub(crate) fn key(&self, class: u32) -> Option<&Key> {
        self.inner
            .iter()
            .find(|(c, wrap, _)| *c == class & 0x0f && !wrap.bound())
            .map(|(_, _, key)| key)
    }

    /// The key of any class, as the phone with this device key gets it.
    pub(crate) fn class_key(&self, class: u32, device_key: &Key) -> Option<Key> {
        let (_, wrap, key) = self.inner.iter().find(|(c, ..)| *c == class & 0x0f)?;
        let mut out = key.clone();
        if wrap.bound() {
            decrypt_blocks(device_key, out.0.as_mut_slice());
        }
        Some(out)
    }

    /// `EncryptionKey` or `ManifestKey`: the class, little-endian, and the wrapped key.
    pub(crate) fn wrap_file_key(&self, class: u8, key: &Key) -> Option<[u8; WRAPPED_KEY]> {
        let wrapped = self.key(u32::from(class))?.wrap(key);
        let mut out = [0; WRAPPED_KEY];
        let (prefix, rest) = out.split_first_chunk_mut::<4>()?;
        *prefix = u32::from(class).to_le_bytes();
        rest.copy_from_slice(&wrapped);
        Some(out)
    }

    /// Reverses [`ClassKeys::wrap_file_key`]; `fallback` is the record's `ProtectionClass`, for odd writers.
    pub(crate) fn unwrap_file_key(&self, stored: &[u8; WRAPPED_KEY], fallback: Option<u8>) -> Option<Key> {
        let (prefix, wrapped) = stored.split_first_chunk::<4>()?;
        let wrapped: &[u8; 40] = wrapped.try_into().ok()?;
        let by_prefix = self
            .key(u32::from_le_bytes(*prefix))
            .and_then(|key| key.unwrap(wrapped));
        by_prefix.or_else(|| self.key(u32::from(fallback?))?.unwrap(wrapped))
    }
}

/// Why a bag did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// No class key came out.
    WrongPassword,
    /// Some came out and some did not.
    Damaged,
}

impl Keybag {
    /// Tag, length, value, as a device writes it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1388);
        let mut put = |tag: &[u8; 4], value: &[u8]| {
            out.extend(tag);
            out.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend(value);
        };
        put(b"VERS", &5_u32.to_be_bytes());
        put(b"TYPE", &1_u32.to_be_bytes());
        put(b"UUID", &self.uuid);
        put(b"HMCK", &[0; 40]);
        put(b"WRAP", &0_u32.to_be_bytes());
        put(b"SALT", &self.derivation.salt);
        put(b"ITER", &self.derivation.iterations.to_be_bytes());
        if let Some((salt, rounds)) = &self.derivation.first {
            put(b"DPWT", &1_u32.to_be_bytes());
            put(b"DPIC", &rounds.to_be_bytes());
            put(b"DPSL", salt);
        }
        for class in &self.classes {
            put(b"UUID", &class.uuid);
            put(b"CLAS", &class.class.to_be_bytes());
            put(b"WRAP", &class.wrap.0.to_be_bytes());
            put(b"KTYP", &0_u32.to_be_bytes());
            put(b"WPKY", &class.wrapped);
        }
        out
    }

    /// Reads a bag from a backup, any writer's.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > MAX_BAG {
            return Err(FormatError::Keybag("longer than any keybag"));
        }
        let mut header = Header::default();
        let mut groups: Vec<Group> = Vec::new();
        let mut seen_uuid = false;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (tag, value, tail) = item(rest)?;
            rest = tail;
            if tag == b"UUID" && seen_uuid {
                groups.push(Group {
                    uuid: value.try_into().unwrap_or_default(),
                    ..Group::default()
                });
            } else if let Some(group) = groups.last_mut() {
                group.take(tag, value)?;
            } else {
                seen_uuid |= tag == b"UUID";
                header.take(tag, value)?;
            }
        }
        if groups.len() > 64 {
            return Err(FormatError::Keybag("more classes than any keybag has"));
        }
        let mut classes: Vec<Class> = Vec::with_capacity(groups.len());
        for group in groups {
            let class = group.class.ok_or(FormatError::Keybag("a class without CLAS"))? & 0x0f;
            if classes.iter().any(|c| c.class == class) {
                return Err(FormatError::Keybag("a class occurs twice"));
            }
            // Curve25519 classes and unknown kinds have no 40-byte key; they are of no use here.
            if let Some(wrapped) = group.wrapped {
                classes.push(Class {
                    uuid: group.uuid,
                    class,
                    wrap: Wrap(group.wrap),
                    wrapped,
                });
            }
        }
        Ok(Self {
            uuid: header.uuid,
            derivation: header.derivation()?,
            classes,
        })
    }

    /// Opens the bag. Costs one derivation.
    pub(crate) fn open(&self, password: &[u8]) -> Result<ClassKeys, Locked> {
        let kek = self.derivation.derive(password);
        let wrapped = self.classes.iter().filter(|class| class.wrap.0 & Wrap::PASSWORD != 0);
        let mut inner = Vec::with_capacity(self.classes.len());
        let mut failed = false;
        for class in wrapped {
            match kek.unwrap(&class.wrapped) {
                Some(key) => inner.push((class.class, class.wrap, key)),
                None => failed = true,
            }
        }
        match (inner.is_empty(), failed) {
            (false, false) => Ok(ClassKeys { bag: self.uuid, inner }),
            (true, true) => Err(Locked::WrongPassword),
            _ => Err(Locked::Damaged),
        }
    }
}

/// Tag, value, what follows.
type Item<'a> = (&'a [u8; 4], &'a [u8], &'a [u8]);

fn item(bytes: &[u8]) -> Result<Item<'_>, FormatError> {
    const CUT: FormatError = FormatError::Keybag("it ends inside an item");
    let (tag, rest) = bytes.split_first_chunk::<4>().ok_or(CUT)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| CUT)?;
    let (value, rest) = rest.split_at_checked(length).ok_or(CUT)?;
    Ok((tag, value, rest))
}

fn u32_of(value: &[u8]) -> Result<u32, FormatError> {
    value
        .try_into()
        .map(u32::from_be_bytes)
        .map_err(|_| FormatError::Keybag("a number is not four bytes long"))
}

#[derive(Default)]
struct Header {
    uuid: [u8; 16],
    salt: Option<[u8; 20]>,
    iterations: Option<u32>,
    first_salt: Option<[u8; 20]>,
    first_rounds: Option<u32>,
}

impl Header {
    fn take(&mut self, tag: &[u8; 4], value: &[u8]) -> Result<(), FormatError> {
        match tag {
            b"UUID" => {
                self.uuid = value
                    .try_into()
                    .map_err(|_| FormatError::Keybag("UUID is not 16 bytes long"))?
            }
            b"SALT" => self.salt = value.try_into().ok(),
            b"DPSL" => self.first_salt = value.try_into().ok(),
            b"ITER" => self.iterations = Some(u32_of(value)?),
            b"DPIC" => self.first_rounds = Some(u32_of(value)?),
            _ => {}
        }
        Ok(())
    }

    fn derivation(&self) -> Result<Derivation, FormatError> {
        let salt = self.salt.ok_or(FormatError::Keybag("SALT is missing"))?;
        let iterations = self.iterations.ok_or(FormatError::Keybag("ITER is missing"))?;
        let first = self.first_salt.zip(self.first_rounds);
        let rounds = [Some(iterations), first.map(|(_, rounds)| rounds)];
        if rounds.into_iter().flatten().any(|r| r == 0 || r > MAX_ROUNDS) {
            return Err(FormatError::Keybag("it asks for no rounds, or for too many"));
        }
        Ok(Derivation {
            salt,
            iterations,
            first,
        })
    }
}

#[derive(Default)]
struct Group {
    uuid: [u8; 16],
    class: Option<u32>,
    wrap: u32,
    wrapped: Option<[u8; 40]>,
}

impl Group {
    fn take(&mut self, tag: &[u8; 4], value: &[u8]) -> Result<(), FormatError> {
        match tag {
            b"CLAS" => self.class = Some(u32_of(value)?),
            b"WRAP" => self.wrap = u32_of(value)?,
            b"WPKY" => self.wrapped = value.try_into().ok(),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vectors() -> serde_json::Value {
        super::super::vectors()
    }

    fn bytes(value: &serde_json::Value) -> Vec<u8> {
        hex::decode(value.as_str().unwrap()).unwrap()
    }

    fn array<const N: usize>(value: &serde_json::Value) -> [u8; N] {
        bytes(value).try_into().unwrap()
    }

    #[test]
    fn derivations_agree_with_the_vectors() {
        for case in vectors()["kdf"].as_array().unwrap() {
            let rounds = |key: &str| u32::try_from(case[key].as_u64().unwrap()).unwrap();
            if rounds("dpic") > 20_000 {
                continue; // ten million rounds: seconds in release, minutes in a debug build without optimised crates
            }
            let first = case["dpsl"].is_string().then(|| (array(&case["dpsl"]), rounds("dpic")));
            let derivation = Derivation {
                salt: array(&case["salt"]),
                iterations: rounds("iter"),
                first,
            };
            assert_eq!(
                derivation.derive(&bytes(&case["password"])).bytes().as_slice(),
                bytes(&case["kek"]),
                "{case}"
            );
        }
    }

    #[test]
    fn key_wrapping_agrees_with_the_vectors() {
        for case in vectors()["aes_key_wrap"].as_array().unwrap() {
            let kek = Key::new(array(&case["kek"]));
            let wrapped: [u8; 40] = array(&case["wrapped"]);
            match case["key"].as_str() {
                Some(_) => {
                    let key = Key::new(array(&case["key"]));
                    assert_eq!(kek.wrap(&key), wrapped);
                    assert_eq!(kek.unwrap(&wrapped), Some(key));
                }
                None => assert_eq!(kek.unwrap(&wrapped), None),
            }
        }
    }

    #[test]
    fn bags_of_the_vectors_open_and_are_written_back_byte_for_byte() {
        let all = vectors();
        let bags = all["keybag"]
            .as_array()
            .unwrap()
            .iter()
            .chain(std::iter::once(&all["real_keybag"]));
        for case in bags {
            let password = case["password_utf8"].as_str().or(case["password"].as_str()).unwrap();
            let blob = bytes(&case["blob"]);
            let bag = Keybag::decode(&blob).unwrap();
            let keys = bag.open(password.as_bytes()).unwrap();
            for (class, expected) in case["classes"].as_object().unwrap() {
                let class: u32 = class.parse().unwrap();
                let (.., inner) = keys.inner.iter().find(|(c, ..)| *c == class).unwrap();
                assert_eq!(inner.bytes().as_slice(), bytes(&expected["after_password_unwrap"]));
                assert_eq!(keys.key(class).is_some(), expected["wrap"].as_u64() == Some(2));
            }
            assert_eq!(bag.open(b"not the password").unwrap_err(), Locked::WrongPassword);
            let again = bag.encode();
            // Old and real bags may differ in VERS and in the order of classes; ours are compared to the byte.
            if blob[8..12] == [0, 0, 0, 5] && bag.classes.windows(2).all(|two| two[0].class < two[1].class) {
                assert_eq!(again, blob);
            }
            assert_eq!(again.len(), blob.len());
        }
    }

    #[test]
    fn a_fresh_bag_has_the_size_and_the_wrapping_of_a_device() {
        let device = Key::random().unwrap();
        for encrypted in [false, true] {
            for (first, length) in [(None, 1336), (Some(3), 1388)] {
                let keys = ClassKeys::fresh(encrypted, &device).unwrap();
                let bag = keys.seal(b"secret", Derivation::fresh(first, 2).unwrap()).unwrap();
                assert_eq!(bag.encode().len(), length);
                let bound: Vec<u32> = bag.classes.iter().filter(|c| c.wrap.0 == 3).map(|c| c.class).collect();
                assert_eq!(
                    bound,
                    if encrypted {
                        vec![5, 9, 10, 11]
                    } else {
                        (5..=11).collect()
                    }
                );
                let opened = Keybag::decode(&bag.encode()).unwrap().open(b"secret").unwrap();
                assert_eq!(opened.key(3), keys.key(3));
                assert_eq!(opened.bag, keys.bag);
            }
        }
    }

    #[test]
    fn a_bag_with_one_broken_class_is_damaged_not_locked() {
        let keys = ClassKeys::fresh(true, &Key::random().unwrap()).unwrap();
        let mut bag = keys.seal(b"x", Derivation::fresh(None, 1).unwrap()).unwrap();
        bag.classes[2].wrapped[5] ^= 1;
        assert_eq!(bag.open(b"x").unwrap_err(), Locked::Damaged);
    }

    #[test]
    fn a_bag_that_asks_for_no_rounds_or_hours_is_refused() {
        let keys = ClassKeys::fresh(true, &Key::random().unwrap()).unwrap();
        for rounds in [0, MAX_ROUNDS + 1] {
            let mut bag = keys.seal(b"x", Derivation::fresh(None, 1).unwrap()).unwrap();
            bag.derivation.iterations = rounds;
            assert!(matches!(Keybag::decode(&bag.encode()), Err(FormatError::Keybag(_))));
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Keybag::decode(&bytes);
        }

        #[test]
        fn a_cut_bag_is_an_error_or_has_fewer_classes(cut in 0_usize..1388) {
            let keys = ClassKeys::fresh(true, &Key::new([1; 32])).unwrap();
            let bag = keys.seal(b"x", Derivation::fresh(Some(1), 1).unwrap()).unwrap().encode();
            if let Ok(bag) = Keybag::decode(&bag[..cut]) {
                prop_assert!(bag.classes.len() < 11);
            }
        }
    }
}
