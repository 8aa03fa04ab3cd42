//! `keychain-backup.plist`: the keychain items of a backup (spec backup-format 11).

use aes::Aes256;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use cabled_wire::dict;
use cabled_wire::plist::{self, DictExt, Limits, Value};

use super::FormatError;
use super::keybag::{ClassKeys, Key};
use super::plists::MAX_PLIST;

/// Domain and path of the file; it exists in backups only.
pub(crate) const DOMAIN: &str = "KeychainDomain";
pub(crate) const PATH: &str = "keychain-backup.plist";

const VERSION: u32 = 3;

/// One secret of the phone's keychain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeychainItem {
    /// Whether it is a password of a web site (`inet`) rather than a generic one (`genp`).
    pub internet: bool,
    /// Protection class: 6 when unlocked, 7 after the first unlock, 8 always; 9 to 11 the same for this device only.
    pub class: u8,
    /// `acct`.
    pub account: String,
    /// `svce`, or `srvr` of an internet password.
    pub service: String,
    /// `agrp`, the access group.
    pub group: String,
    /// `v_Data`, the secret itself.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for KeychainItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            class,
            account,
            service,
            secret,
            ..
        } = self;
        write!(
            f,
            "KeychainItem({service} for {account}, class {class}, {} secret bytes)",
            secret.len()
        )
    }
}

impl KeychainItem {
    fn der(&self) -> Vec<u8> {
        let place = if self.internet { "srvr" } else { "svce" };
        let text = |value: &str| der(0x0c, value.as_bytes());
        let mut pairs: Vec<Vec<u8>> = [
            ("acct", text(&self.account)),
            (place, text(&self.service)),
            ("agrp", text(&self.group)),
            ("v_Data", der(0x04, &self.secret)),
        ]
        .into_iter()
        .map(|(name, value)| der(0x30, &[text(name), value].concat()))
        .collect();
        pairs.sort(); // a DER SET is ordered by its encodings
        der(0x31, &pairs.concat())
    }

    fn from_der(bytes: &[u8], internet: bool, class: u8) -> Option<Self> {
        let (0x31, mut set, []) = take_der(bytes)? else {
            return None;
        };
        let mut out = Self {
            internet,
            class,
            account: String::new(),
            service: String::new(),
            group: String::new(),
            secret: Vec::new(),
        };
        while !set.is_empty() {
            let (0x30, pair, rest) = take_der(set)? else {
                return None;
            };
            set = rest;
            let (_, name, value) = take_der(pair)?;
            let (_, value, _) = take_der(value)?;
            let text = || String::from_utf8_lossy(value).into_owned();
            match name {
                b"acct" => out.account = text(),
                b"svce" | b"srvr" => out.service = text(),
                b"agrp" => out.group = text(),
                b"v_Data" => out.secret = value.to_vec(),
                _ => {}
            }
        }
        Some(out)
    }
}

/// The file for these items. `device_key` stands for the key burnt into the phone, under which the device-only
/// classes lie in the bag.
pub(crate) fn encode(items: &[KeychainItem], keys: &ClassKeys, device_key: &Key) -> Result<Vec<u8>, FormatError> {
    let (mut genp, mut inet) = (Vec::new(), Vec::new());
    for (n, item) in items.iter().enumerate() {
        let class_key = keys.class_key(u32::from(item.class), device_key);
        let class_key = class_key.ok_or(FormatError::Keychain("its class has no key"))?;
        let sealed = seal(&class_key, u32::from(item.class), &Key::random()?, &item.der());
        let (list, table) = if item.internet {
            (&mut inet, b"inet")
        } else {
            (&mut genp, b"genp")
        };
        let mut reference = table.to_vec();
        reference.extend((n as u64).saturating_add(1).to_le_bytes());
        list.push(Value::Dictionary(dict! {
            "v_Data" => Value::Data(sealed),
            "v_PersistentRef" => Value::Data(reference),
        }));
    }
    let empty = || Value::Array(Vec::new());
    let out = dict! {
        "genp" => Value::Array(genp), "inet" => Value::Array(inet), "cert" => empty(), "keys" => empty(),
    };
    Ok(plist::to_binary(&Value::Dictionary(out)))
}

/// What a backup's file gives to this phone.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) items: Vec<KeychainItem>,
    /// Items that stay closed: another device's, or of a version we do not know.
    pub(crate) closed: usize,
}

/// Opens what this phone can open.
pub(crate) fn decode(bytes: &[u8], keys: &ClassKeys, device_key: &Key) -> Result<Opened, FormatError> {
    const BAD: FormatError = FormatError::Keychain("keychain-backup.plist");
    let dict = plist::read_dict(bytes, &Limits::default().with_bytes(MAX_PLIST)).map_err(|_| BAD)?;
    let (mut items, mut closed) = (Vec::new(), 0_usize);
    for (table, internet) in [("genp", false), ("inet", true)] {
        for entry in dict.opt_array(table).map_err(|_| BAD)?.unwrap_or_default() {
            let data = entry.as_dictionary().and_then(|d| d.opt_data("v_Data").ok().flatten());
            match data.and_then(|data| open(data, keys, device_key, internet)) {
                Some(item) => items.push(item),
                None => closed = closed.saturating_add(1),
            }
        }
    }
    Ok(Opened { items, closed })
}

fn seal(class_key: &Key, class: u32, item_key: &Key, plain: &[u8]) -> Vec<u8> {
    let wrapped = class_key.wrap(item_key);
    let (cipher, tag) = gcm(item_key, plain, Direction::Seal);
    let mut out = Vec::with_capacity(cipher.len().saturating_add(68));
    for number in [VERSION, class, 40] {
        out.extend(number.to_le_bytes());
    }
    out.extend(wrapped);
    out.extend(cipher);
    out.extend(tag);
    out
}

fn open(data: &[u8], keys: &ClassKeys, device_key: &Key, internet: bool) -> Option<KeychainItem> {
    let (version, rest) = data.split_first_chunk::<4>()?;
    let (class, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || u32::from_le_bytes(*length) != 40 {
        return None;
    }
    let (wrapped, rest) = rest.split_first_chunk::<40>()?;
    let (cipher, tag) = rest.split_last_chunk::<16>()?;
    let class = u32::from_le_bytes(*class) & 0x0f;
    let key = keys.class_key(class, device_key)?.unwrap(wrapped)?;
    let (plain, found) = gcm(&key, cipher, Direction::Open);
    (found == *tag).then_some(())?;
    KeychainItem::from_der(&plain, internet, u8::try_from(class).ok()?)
}

fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(body.len()) {
        Ok(short @ 0..=127) => out.push(short),
        _ => {
            let length = body.len().to_be_bytes();
            let start = length.iter().position(|byte| *byte != 0).unwrap_or(0);
            let significant = length.get(start..).unwrap_or_default();
            out.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
            out.extend(significant);
        }
    }
    out.extend(body);
    out
}

/// Tag, body, what follows.
fn take_der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=127 => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                length.iter().fold(0_usize, |n, byte| (n << 8) | usize::from(*byte)),
                rest,
            )
        }
        _ => return None,
    };
    let (body, rest) = rest.split_at_checked(length)?;
    Some((*tag, body, rest))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Seal,
    Open,
}

/// AES-256-GCM with an empty IV: the first counter block is all zero. Ready-made GCMs refuse that, hence this one;
/// it is slow and used for a few short items.
fn gcm(key: &Key, input: &[u8], direction: Direction) -> (Vec<u8>, [u8; 16]) {
    let cipher = Aes256::new(key.bytes().into());
    let block = |bytes: [u8; 16]| {
        let mut block = Array::from(bytes);
        cipher.encrypt_block(&mut block);
        <[u8; 16]>::from(block)
    };
    let hash_key = u128::from_be_bytes(block([0; 16]));
    let mut hash = 0_u128;
    let mut absorb = |bytes: &[u8]| {
        for chunk in bytes.chunks(16) {
            let mut padded = [0; 16];
            padded.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            hash = multiply(hash ^ u128::from_be_bytes(padded), hash_key);
        }
    };
    let mut output = Vec::with_capacity(input.len());
    for (n, chunk) in input.chunks(16).enumerate() {
        let counter = u32::try_from(n).unwrap_or(u32::MAX).wrapping_add(1);
        let stream = block(u128::from(counter).to_be_bytes());
        output.extend(chunk.iter().zip(stream).map(|(byte, mask)| byte ^ mask));
    }
    absorb(if direction == Direction::Seal { &output } else { input });
    absorb(&(u128::from(input.len() as u64).wrapping_mul(8)).to_be_bytes());
    let tag = hash ^ u128::from_be_bytes(block([0; 16]));
    (output, tag.to_be_bytes())
}

/// Multiplication in GCM's field.
fn multiply(x: u128, y: u128) -> u128 {
    let (mut z, mut v) = (0_u128, y);
    for bit in (0..128).rev() {
        if (x >> bit) & 1 == 1 {
            z ^= v;
        }
        v = if v & 1 == 1 { (v >> 1) ^ (0xe1 << 120) } else { v >> 1 };
    }
    z
}

#[cfg(test)]
mod tests {
    use super::super::keybag::{Derivation, Keybag};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn items_are_sealed_byte_for_byte_as_in_the_vectors() {
        let all = super::super::vectors();
        let bag = hex::decode(all["keybag"][0]["blob"].as_str().unwrap()).unwrap();
        let password = all["keybag"][0]["password_utf8"].as_str().unwrap();
        let keys = Keybag::decode(&bag).unwrap().open(password.as_bytes()).unwrap();
        let mut checked = 0;
        for item in all["keychain_item"]["items"].as_array().unwrap() {
            let bytes = |key: &str| hex::decode(item[key].as_str().unwrap()).unwrap();
            let class = u32::try_from(item["protection_class"].as_u64().unwrap()).unwrap();
            if item["version"].as_u64() == Some(3) {
                let item_key = Key::new(bytes("item_key").try_into().unwrap());
                assert_eq!(
                    seal(keys.key(class).unwrap(), class, &item_key, &bytes("plain")),
                    bytes("blob")
                );
                checked += 1;
            }
        }
        assert!(checked > 0);
    }

    fn item(class: u8, secret: Vec<u8>) -> KeychainItem {
        KeychainItem {
            internet: class == 7,
            class,
            account: "user".into(),
            service: "example.com".into(),
            group: "apple".into(),
            secret,
        }
    }

    #[test]
    fn device_only_items_open_on_the_same_device_and_stay_closed_elsewhere() {
        let (here, elsewhere) = (Key::random().unwrap(), Key::random().unwrap());
        let keys = ClassKeys::fresh(true, &here).unwrap();
        let items: Vec<KeychainItem> = (6..=11).map(|class| item(class, vec![class; 200])).collect();
        let file = encode(&items, &keys, &here).unwrap();
        let bag = keys.seal(b"pw", Derivation::fresh(None, 1).unwrap()).unwrap();
        let opened = Keybag::decode(&bag.encode()).unwrap().open(b"pw").unwrap();
        let Opened {
            items: mut found,
            closed,
        } = decode(&file, &opened, &here).unwrap();
        found.sort_by_key(|item| item.class);
        assert_eq!((found, closed), (items, 0));
        let Opened { items: found, closed } = decode(&file, &opened, &elsewhere).unwrap();
        assert_eq!((found.len(), closed), (3, 3));
    }

    proptest! {
        #[test]
        fn items_survive_a_round_trip(account in ".{0,40}", secret in proptest::collection::vec(any::<u8>(), 0..400)) {
            let item = KeychainItem { account, ..item(6, secret) };
            prop_assert_eq!(KeychainItem::from_der(&item.der(), false, 6), Some(item));
        }

        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let keys = ClassKeys::fresh(true, &Key::new([1; 32])).unwrap();
            let _ = open(&bytes, &keys, &Key::new([1; 32]), false);
            let _ = KeychainItem::from_der(&bytes, false, 6);
        }
    }
}
