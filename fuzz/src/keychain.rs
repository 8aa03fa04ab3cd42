//! Keychain items of backups.

use std::sync::OnceLock;
use std::time::SystemTime;

use aes::Aes256;
use aes::cipher::{Array, BlockModeEncrypt, KeyIvInit};
use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::U0;
use aes_gcm::{AesGcm, KeyInit, Nonce};
use aes_kw::KwAes256;
use cabled_mobilebackup::archive::Key;
use cabled_mobilebackup::archive::keybag::{ClassKeys, Keybag};
use cabled_mobilebackup::archive::keychain::{Attribute, Attributes, Closed, Keychain, SealedItem};

const CLASS: u32 = 6;
const CLASS_KEY: [u8; 32] = [0x22; 32];
const ITEM_KEY: [u8; 32] = [0x33; 32];

/// The same bytes as what is encrypted, as an item and as a file of items.
pub fn keychain_item(data: &[u8]) {
    let keys = keys();
    if let Ok(item) = SealedItem::parse(data) {
        assert!(item.class() < 16);
        if let Ok(plain) = item.decrypt(keys) {
            assert!(plain.len() < data.len());
        }
    }
    if let Ok(keychain) = Keychain::parse(data, Some(keys)) {
        for item in keychain.items() {
            let _ = (item.account(), item.port(), item.created(), item.password());
            let open = item.sealed().and_then(|sealed| sealed.open(keys).ok());
            assert_eq!(open.is_some(), item.closed().is_none());
        }
    }
    let der = Attributes::from_der(data);
    if let Ok(attributes) = &der
        && let Some(encoded) = encode(attributes)
    {
        assert_eq!(Attributes::from_der(&encoded).as_ref(), Ok(attributes));
    }
    let plist = Attributes::from_plist(data);
    for (version, expect) in [(2, plist), (3, der)] {
        let sealed = seal(version, data);
        let item = SealedItem::parse(&sealed).expect("a sealed item");
        assert_eq!(item.open(keys), expect.map_err(Closed::Contents));
        assert_eq!(item.decrypt(keys).expect("it was sealed with these keys")[..], *data);
    }
    let sealed = seal(0, data);
    let item = SealedItem::parse(&sealed).expect("a sealed item");
    let open = item.open(keys).expect("it was sealed with these keys");
    assert_eq!(open.get(Attributes::SECRET).and_then(Attribute::as_bytes), Some(data));
}

/// Class keys from a keybag of one class.
fn keys() -> &'static ClassKeys {
    static KEYS: OnceLock<ClassKeys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let derived = [0x11; 32];
        let mut wrapped = [0; 40];
        wrap(&derived, &CLASS_KEY, &mut wrapped);
        let mut bag = Vec::new();
        let mut put = |tag: &[u8; 4], value: &[u8]| {
            bag.extend_from_slice(tag);
            bag.extend_from_slice(&u32::try_from(value.len()).unwrap_or_default().to_be_bytes());
            bag.extend_from_slice(value);
        };
        put(b"UUID", &[1; 16]);
        put(b"SALT", &[2; 20]);
        put(b"ITER", &1_u32.to_be_bytes());
        put(b"UUID", &[3; 16]);
        put(b"CLAS", &CLASS.to_be_bytes());
        put(b"WRAP", &2_u32.to_be_bytes());
        put(b"WPKY", &wrapped);
        let bag = Keybag::parse(&bag).expect("a keybag");
        bag.unwrap(&Key::from(derived)).expect("its own key opens it")
    })
}

fn wrap(by: &[u8; 32], key: &[u8; 32], out: &mut [u8; 40]) {
    let wrapped = KwAes256::new(by.into()).wrap_key(key, out);
    wrapped.expect("both have the right length");
}

/// Encrypts as a device does.
fn seal(version: u32, plain: &[u8]) -> Vec<u8> {
    let mut out = [version.to_le_bytes(), CLASS.to_le_bytes()].concat();
    if version > 0 {
        out.extend_from_slice(&40_u32.to_le_bytes());
    }
    let mut wrapped = [0; 40];
    wrap(&CLASS_KEY, &ITEM_KEY, &mut wrapped);
    out.extend_from_slice(&wrapped);
    let mut contents = plain.to_vec();
    if version == 0 {
        let padding = 16 - contents.len() % 16;
        contents.resize(contents.len() + padding, u8::try_from(padding).unwrap_or_default());
        let (blocks, _) = contents.as_chunks_mut::<16>();
        cbc::Encryptor::<Aes256>::new(&ITEM_KEY.into(), &Array::default())
            .encrypt_blocks(Array::cast_slice_from_core_mut(blocks));
        out.append(&mut contents);
        return out;
    }
    let tag = AesGcm::<Aes256, U0>::new(&ITEM_KEY.into())
        .encrypt_inout_detached(&Nonce::<U0>::default(), &[], contents.as_mut_slice().into())
        .expect("short enough");
    out.append(&mut contents);
    out.extend_from_slice(&tag);
    out
}

/// The set again, each element in a form of its own choice. `None` for a time whose year has not four digits: an offset
/// can lead there.
fn encode(attributes: &Attributes) -> Option<Vec<u8>> {
    let mut pairs = Vec::new();
    for (name, value) in attributes.iter() {
        let value = match value {
            Attribute::Text(text) => der(0x0c, text.as_bytes()),
            Attribute::Bytes(bytes) => der(0x04, bytes),
            Attribute::Integer(number) => der(0x02, &number.to_be_bytes()),
            Attribute::Boolean(value) => der(0x01, &[u8::from(*value)]),
            Attribute::Time(time) => der(0x18, generalized_time(*time)?.as_bytes()),
            Attribute::Other(whole) => whole.to_vec(),
            other => panic!("no encoder for {other:?}"),
        };
        pairs.append(&mut der(0x30, &[der(0x0c, name.as_bytes()), value].concat()));
    }
    Some(der(0x31, &pairs))
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).expect("inputs are short");
    let mut out = vec![tag, 0x84];
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(content);
    out
}

/// By counting, not by the formula that the decoder uses.
fn generalized_time(time: SystemTime) -> Option<String> {
    let (mut seconds, nanos) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (i128::from(after.as_secs()), after.subsec_nanos()),
        Err(before) => {
            let nanos = -i128::try_from(before.duration().as_nanos()).expect("years, not ages");
            let whole = nanos.div_euclid(1_000_000_000);
            (
                whole,
                u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default(),
            )
        }
    };
    let is_leap = |year: i128| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    // Whole cycles of 400 years first.
    while seconds < 0 {
        seconds += 146_097 * 86_400;
        year -= 400;
    }
    loop {
        let len = if is_leap(year) { 366 } else { 365 } * 86_400;
        if seconds < len {
            break;
        }
        seconds -= len;
        year += 1;
    }
    if !(0..10_000).contains(&year) {
        return None;
    }
    let mut day = seconds / 86_400;
    let mut month = 1;
    for len in [
        31,
        if is_leap(year) { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if day < len {
            break;
        }
        day -= len;
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let day = day + 1;
    Some(format!(
        "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}.{nanos:09}Z"
    ))
}
