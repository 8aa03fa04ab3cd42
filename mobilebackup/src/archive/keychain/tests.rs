use std::time::{Duration, SystemTime};

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::U0;
use aes_gcm::{AesGcm, KeyInit, Nonce};
use cabled_wire::plist::{self, Date, Dictionary, Value as PlistValue};
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::archive::golden::{self, bytes};
use crate::archive::keybag::Keybag;
use crate::archive::wrap::Key;

/// The class keys of the two-stage keybag of `vectors.json`.
fn keys() -> ClassKeys {
    let case = &golden::vectors()["keybag"][0];
    let kek: [u8; 32] = bytes(&case["kek"]).try_into().unwrap();
    Keybag::parse(&bytes(&case["blob"]))
        .unwrap()
        .unwrap(&Key::from(kek))
        .unwrap()
}

fn unlocked(backup: &str) -> Archive {
    let mut archive = Archive::open(golden::folder().join("synthetic").join(backup)).unwrap();
    archive.unlock("vector-pass-1").unwrap();
    archive
}

/// Seals contents as a device does, from the other side of the format.
fn seal(version: u32, class: u32, plain: &[u8]) -> Vec<u8> {
    let class_key = keys().key(class & 0xf).unwrap().clone();
    let item_key = [0x5a; 32];
    let mut wrapped = [0; 40];
    aes_kw::KwAes256::new(class_key.expose().into())
        .wrap_key(&item_key, &mut wrapped)
        .unwrap();
    let mut contents = plain.to_vec();
    let tag = AesGcm::<aes::Aes256, U0>::new(&item_key.into())
        .encrypt_inout_detached(&Nonce::<U0>::default(), &[], contents.as_mut_slice().into())
        .unwrap();
    let mut out = Vec::new();
    for number in [version, class, 40] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&wrapped);
    out.extend_from_slice(&contents);
    out.extend_from_slice(&tag);
    out
}

/// One DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        len @ 0..0x80 => out.push(u8::try_from(len).unwrap()),
        len => {
            let len = u32::try_from(len).unwrap().to_be_bytes();
            let skip = len.iter().take_while(|byte| **byte == 0).count();
            out.push(0x80 | u8::try_from(4 - skip).unwrap());
            out.extend_from_slice(&len[skip..]);
        }
    }
    out.extend_from_slice(content);
    out
}

fn pair(name: &str, value: &[u8]) -> Vec<u8> {
    der(0x30, &[der(0x0c, name.as_bytes()), value.to_vec()].concat())
}

fn set(pairs: &[Vec<u8>]) -> Vec<u8> {
    der(0x31, &pairs.concat())
}

#[test]
fn every_known_item_opens_to_its_contents() {
    let keys = keys();
    let cases = golden::vectors()["keychain_item"]["items"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let blob = bytes(&case["blob"]);
        let item = SealedItem::parse(&blob).unwrap();
        assert_eq!(Some(u64::from(item.version())), case["version"].as_u64());
        assert_eq!(Some(u64::from(item.class())), case["protection_class"].as_u64());
        assert_eq!(*item.decrypt(&keys).unwrap(), bytes(&case["plain"]));
        let attributes = item.open(&keys).unwrap();
        assert_eq!(attributes.text(Attributes::SECRET), Some("secret"));
        assert_eq!(attributes.text("acct"), (item.version() > 0).then_some("user"));
    }
}

#[test]
fn the_items_of_a_backup_are_found_in_both_layouts() {
    for backup in ["enc-v10", "enc-mbdb"] {
        let keychain = unlocked(backup).keychain().unwrap().unwrap();
        assert_eq!(keychain.items().len(), 4);
        assert!(keychain.notes().is_empty());
        let [wifi, always, bound] = &keychain.table(Table::GenericPasswords).collect::<Vec<_>>()[..] else {
            panic!("three generic passwords");
        };
        assert_eq!((wifi.account(), wifi.service()), (Some("wifi-home"), Some("AirPort")));
        assert_eq!((wifi.access_group(), wifi.password()), (Some("apple"), Some("hunter2")));
        assert_eq!(
            (wifi.class(), wifi.accessible()),
            (Some(6), Some(Accessible::WhenUnlocked))
        );
        assert_eq!((wifi.created(), wifi.label(), wifi.closed()), (None, None, None));
        assert_eq!(
            (always.secret(), always.accessible()),
            (Some(&[0, 1][..]), Some(Accessible::Always))
        );
        assert_eq!(bound.closed(), Some(&Closed::DeviceBound { class: 9 }));
        assert_eq!(
            (bound.account(), bound.secret(), bound.attributes().len()),
            (None, None, 0)
        );
        assert!(!bound.stored().is_empty());

        let reference = bound.persistent_ref().unwrap();
        assert_eq!(
            (reference.table(), reference.row_id()),
            (Some(Table::GenericPasswords), Some(4))
        );
        let found = keychain.find(b"genp\x04\0\0\0\0\0\0\0").unwrap();
        assert_eq!(found.stored(), bound.stored());
        assert!(keychain.find(b"genp\x05\0\0\0\0\0\0\0").is_none());
    }
}

#[test]
fn a_backup_without_the_file_has_no_keychain_and_a_locked_one_says_so() {
    let plain = Archive::open(golden::folder().join("synthetic/plain-v10")).unwrap();
    assert!(plain.keychain().unwrap().is_none());
    let locked = Archive::open(golden::folder().join("synthetic/enc-v10")).unwrap();
    let refusal = locked.keychain().unwrap_err();
    assert!(
        matches!(refusal, KeychainError::Archive(ArchiveError::Locked)),
        "{refusal:?}"
    );
}

/// A file with these elements in `genp`.
fn file(elements: Vec<PlistValue>) -> Dictionary {
    [("genp".to_owned(), PlistValue::Array(elements))].into_iter().collect()
}

fn element(sealed: Vec<u8>) -> PlistValue {
    let element = [("v_Data".to_owned(), PlistValue::Data(sealed))];
    PlistValue::Dictionary(element.into_iter().collect())
}

fn parse(file: Dictionary) -> Keychain {
    Keychain::parse(&plist::to_binary(&file.into()), Some(&keys())).unwrap()
}

#[test]
fn a_bad_item_says_why_and_leaves_the_others_alone() {
    let good = seal(3, 6, &set(&[pair("acct", &der(0x0c, b"me"))]));
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    let last = good.len() - 1;
    let cases = [
        (element(good.clone()), None),
        (element(Vec::new()), Some(Closed::Truncated { len: 0 })),
        (element(good[..60].to_vec()), Some(Closed::Truncated { len: 60 })),
        (element(changed(0, 4)), Some(Closed::UnknownVersion { version: 4 })),
        (element(changed(0, 1)), Some(Closed::UnknownVersion { version: 1 })),
        (element(changed(4, 0x1f)), Some(Closed::NoSuchClass { class: 15 })),
        (element(changed(4, 10)), Some(Closed::DeviceBound { class: 10 })),
        (element(changed(4, 7)), Some(Closed::KeyDamaged { class: 7 })),
        (element(changed(8, 41)), Some(Closed::KeyLength { len: 41 })),
        (element(changed(11, 0xff)), Some(Closed::KeyLength { len: 0xff00_0028 })),
        (
            element(changed(20, good[20] ^ 1)),
            Some(Closed::KeyDamaged { class: 6 }),
        ),
        (element(changed(55, good[55] ^ 1)), Some(Closed::Damaged)),
        (element(changed(last, good[last] ^ 0x80)), Some(Closed::Damaged)),
        (
            element(seal(3, 6, b"\x31\x05")),
            Some(Closed::Contents(MalformedAttributes::Der)),
        ),
        (
            element(seal(2, 6, b"bplist00")),
            Some(Closed::Contents(MalformedAttributes::Plist)),
        ),
        (PlistValue::Dictionary(Dictionary::new()), Some(Closed::NoData)),
        (PlistValue::String("odd".to_owned()), Some(Closed::NoData)),
        // Flags above the class do not change it.
        (element(seal(3, 0x106, &set(&[]))), None),
    ];
    let (elements, outcomes): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let keychain = parse(file(elements));
    let found: Vec<_> = keychain.items().iter().map(|item| item.closed().copied()).collect();
    assert_eq!(found, outcomes);
    assert_eq!(keychain.items()[0].account(), Some("me"));
}

#[test]
fn attributes_beside_the_secret_are_read_as_ios_4_wrote_them() {
    let blob = bytes(&golden::vectors()["keychain_item"]["items"][2]["blob"]);
    let mut old = Dictionary::new();
    old.insert("acct".to_owned(), "me".into());
    old.insert("v_Data".to_owned(), PlistValue::Data(blob));
    old.insert("cdat".to_owned(), PlistValue::Date(Date::from(SystemTime::UNIX_EPOCH)));
    let mut bound = old.clone();
    if let Some(PlistValue::Data(data)) = bound.get_mut("v_Data") {
        data[4] = 11;
    }
    let mut odd = old.clone();
    odd.insert("v_Data".to_owned(), "no secret".into());
    let keychain = parse(file(vec![old.into(), bound.into(), odd.into()]));
    let [old, bound, odd] = keychain.items() else {
        panic!("three items");
    };
    assert_eq!((old.account(), old.password()), (Some("me"), Some("secret")));
    assert_eq!(old.created(), Some(SystemTime::UNIX_EPOCH));
    assert_eq!((bound.account(), bound.password()), (Some("me"), None));
    assert_eq!(bound.closed(), Some(&Closed::DeviceBound { class: 11 }));
    assert_eq!(
        (odd.account(), odd.password(), odd.closed()),
        (Some("me"), None, Some(&Closed::NoData))
    );
}

#[test]
fn the_padding_of_the_oldest_items_must_be_right() {
    let blob = bytes(&golden::vectors()["keychain_item"]["items"][2]["blob"]);
    let mut damaged = blob.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for (bytes, outcome) in [
        (&blob[..], Ok(())),
        (&damaged, Err(Closed::Damaged)),
        (&blob[..blob.len() - 1], Err(Closed::Damaged)),
        (&blob[..48], Err(Closed::Damaged)),
        (&blob[..47], Err(Closed::Truncated { len: 47 })),
    ] {
        let opened = SealedItem::parse(bytes).and_then(|item| item.open(&keys()));
        assert_eq!(opened.map(drop), outcome);
    }
}

#[test]
fn each_type_of_value_comes_out_as_itself() {
    let big = der(0x02, &[1; 9]);
    let list = der(0x30, &der(0x02, &[1]));
    let contents = set(&[
        pair("text", &der(0x0c, "Zürich".as_bytes())),
        pair("bytes", &der(0x04, b"\xff\0")),
        pair("port", &der(0x02, &[0x03, 0xe1])),
        pair("negative", &der(0x02, &[0x80])),
        pair("wide", &der(0x02, &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        pair("padded", &der(0x02, &[0, 0, 0, 0, 0, 0, 0, 0, 7])),
        pair("sync", &der(0x01, &[0xff])),
        pair("cdat", &der(0x18, b"20010101000000.5Z")),
        pair("big", &big),
        pair("list", &list),
        pair("not text", &der(0x0c, b"\xff")),
        pair("not a time", &der(0x18, b"yesterday")),
        pair("long", &der(0x04, &[7; 300])),
        pair("port", &der(0x02, &[1])),
    ]);
    let all = Attributes::from_der(&contents).unwrap();
    let other = |bytes: Vec<u8>| Some(Attribute::Other(Zeroizing::new(bytes)));
    assert_eq!(all.len(), 14);
    assert_eq!(all.text("text"), Some("Zürich"));
    assert_eq!(
        (all.text("bytes"), all.get("bytes").unwrap().as_bytes()),
        (None, Some(&[0xff, 0][..]))
    );
    // The first of two counts; both are kept.
    assert_eq!((all.integer("port"), all.integer("negative")), (Some(993), Some(-128)));
    assert_eq!((all.integer("padded"), all.boolean("sync")), (Some(7), Some(true)));
    let later = SystemTime::UNIX_EPOCH + Duration::from_millis(978_307_200_500);
    assert_eq!(all.time("cdat"), Some(later));
    assert_eq!(all.get("big").cloned(), other(big));
    assert_eq!(
        all.get("wide").cloned(),
        other(der(2, &[0, 255, 255, 255, 255, 255, 255, 255, 255]))
    );
    assert_eq!(all.get("list").cloned(), other(list));
    assert_eq!(all.get("not text").cloned(), other(der(0x0c, b"\xff")));
    assert_eq!(all.get("not a time").cloned(), other(der(0x18, b"yesterday")));
    assert_eq!(all.get("long").unwrap().as_bytes(), Some(&[7; 300][..]));
    assert_eq!(all.get("missing"), None);
}

#[test]
fn der_that_is_no_set_of_pairs_is_refused() {
    let text = der(0x0c, b"a");
    for bytes in [
        Vec::new(),
        vec![0x31],
        vec![0x31, 0x80, 0, 0],
        vec![0x31, 0x85, 0, 0, 0, 0, 0],
        vec![0x31, 0x84, 0xff, 0xff, 0xff, 0xff],
        vec![0x3f, 0x31, 0],
        der(0x30, &[]),
        [set(&[]), vec![0]].concat(),
        set(std::slice::from_ref(&text)),
        set(&[der(0x30, &text)]),
        set(&[der(0x30, &[text.clone(), text.clone(), text.clone()].concat())]),
        set(&[der(0x30, &[der(0x04, b"a"), text.clone()].concat())]),
        set(&[pair("a", &[0x02, 5, 1])]),
    ] {
        assert_eq!(
            Attributes::from_der(&bytes),
            Err(MalformedAttributes::Der),
            "{bytes:02x?}"
        );
    }
    assert!(Attributes::from_der(&set(&[])).unwrap().is_empty());
}

#[test]
fn a_property_list_item_keeps_every_type() {
    let mut inner = Dictionary::new();
    inner.insert("acct".to_owned(), PlistValue::Data(b"me".to_vec()));
    inner.insert("port".to_owned(), 993.into());
    inner.insert("sync".to_owned(), 1.into());
    inner.insert("huge".to_owned(), u64::MAX.into());
    inner.insert("list".to_owned(), PlistValue::Array(vec![1.into()]));
    inner.insert("mdat".to_owned(), PlistValue::Date(Date::from(SystemTime::UNIX_EPOCH)));
    let keychain = parse(file(vec![element(seal(2, 7, &plist::to_binary(&inner.into())))]));
    let item = &keychain.items()[0];
    assert_eq!(
        (item.account(), item.port(), item.synchronizable()),
        (Some("me"), Some(993), Some(true))
    );
    assert_eq!((item.created(), item.modified()), (None, Some(SystemTime::UNIX_EPOCH)));
    for name in ["huge", "list"] {
        let Some(Attribute::Other(list)) = item.attributes().get(name) else {
            panic!("{name} is kept whole");
        };
        assert!(list.starts_with(b"bplist00"));
    }
}

#[test]
fn odd_tables_are_noted() {
    let mut odd = file(vec![]);
    odd.insert("inet".to_owned(), "text".into());
    odd.insert("idnt".to_owned(), PlistValue::Array(vec![1.into(), 2.into()]));
    let keychain = parse(odd);
    let expect = [
        KeychainNote::NotAnArray {
            table: Table::InternetPasswords,
        },
        KeychainNote::UnknownTable {
            name: "idnt".to_owned(),
            elements: Some(2),
        },
    ];
    assert!(keychain.items().is_empty());
    assert_eq!(keychain.notes().len(), 2);
    assert!(expect.iter().all(|note| keychain.notes().contains(note)));
    assert!(matches!(
        Keychain::parse(b"bplist00", None),
        Err(KeychainError::Plist(_))
    ));
    let long = vec![0; Keychain::MAX_LEN + 1];
    assert!(matches!(
        Keychain::parse(&long, None),
        Err(KeychainError::TooLong { .. })
    ));
}

#[test]
fn without_keys_items_are_listed_and_closed() {
    let bytes = plist::to_binary(&file(vec![element(seal(3, 6, &set(&[])))]).into());
    let keychain = Keychain::parse(&bytes, None).unwrap();
    assert_eq!(keychain.items()[0].closed(), Some(&Closed::NoKeys));
    assert_eq!(keychain.items()[0].class(), Some(6));
}

#[test]
fn the_items_of_an_unencrypted_backup_are_tied_to_the_device() {
    // A plain backup with the file of the encrypted one, stored as it is.
    let folder = golden::with_index(
        "UPDATE Files SET domain = 'KeychainDomain', relativePath = 'keychain-backup.plist',
         fileID = '51a4616e576dd33cd2abadfea874eb8ff246bf0e'
         WHERE fileID = '3d0d7e5fb2ce288813306e4d4636395e047a3d28'",
    );
    let encrypted = unlocked("enc-v10");
    let entry = encrypted.entry_at(Keychain::DOMAIN, Keychain::PATH).unwrap().unwrap();
    let mut bytes = Vec::new();
    encrypted.read(&entry).unwrap().read_to_end(&mut bytes).unwrap();
    std::fs::create_dir_all(folder.path().join("51")).unwrap();
    std::fs::write(folder.path().join("51/51a4616e576dd33cd2abadfea874eb8ff246bf0e"), bytes).unwrap();

    let mut plain = Archive::open(folder.path()).unwrap();
    let keychain = plain.keychain().unwrap().unwrap();
    assert_eq!(keychain.items().len(), 4);
    assert!(
        keychain
            .items()
            .iter()
            .all(|item| item.closed() == Some(&Closed::Unencrypted))
    );
    // Its keybag opens with the empty password, and its keychain classes stay the device's.
    plain.unlock("").unwrap();
    let keychain = plain.keychain().unwrap().unwrap();
    let is_bound = |item: &Item| matches!(item.closed(), Some(Closed::DeviceBound { .. }));
    assert!(keychain.items().iter().all(is_bound));
}

#[test]
fn nothing_of_an_item_reaches_a_log() {
    let keychain = unlocked("enc-v10").keychain().unwrap().unwrap();
    let printed = format!("{keychain:?} {:?}", keychain.items()[0].attributes());
    for secret in ["hunter2", "wifi-home", "pa55", "example.com", "993"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    assert!(printed.contains("\"v_Data\": Bytes(7 bytes)"), "{printed}");
    assert_eq!(
        format!("{:?}", SealedItem::parse(keychain.items()[0].stored()).unwrap()),
        "SealedItem(version 3, class 6, 72 bytes)"
    );
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        ".{0,20}".prop_map(|text| Attribute::Text(Zeroizing::new(text))),
        bytes().prop_map(|bytes| Attribute::Bytes(Zeroizing::new(bytes))),
        any::<i64>().prop_map(Attribute::Integer),
        any::<bool>().prop_map(Attribute::Boolean),
        bytes().prop_map(|bytes| Attribute::Other(Zeroizing::new(der(0x30, &bytes)))),
    ]
}

fn encode(all: &[(String, Attribute)]) -> Vec<u8> {
    let pairs = all.iter().map(|(name, value)| {
        let value = match value {
            Attribute::Text(text) => der(0x0c, text.as_bytes()),
            Attribute::Bytes(bytes) => der(0x04, bytes),
            Attribute::Integer(number) => der(0x02, &number.to_be_bytes()),
            Attribute::Boolean(value) => der(0x01, &[u8::from(*value)]),
            Attribute::Time(_) => unreachable!("no strategy makes one"),
            Attribute::Other(whole) => whole.to_vec(),
        };
        pair(name, &value)
    });
    set(&pairs.collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn attributes_survive_a_round_trip(all in proptest::collection::vec((".{0,12}", attribute()), 0..12)) {
        let sealed = seal(3, 8, &encode(&all));
        let opened = SealedItem::parse(&sealed).unwrap().open(&keys()).unwrap();
        prop_assert_eq!(opened, all.into_iter().collect::<Attributes>());
    }

    #[test]
    fn a_flipped_bit_anywhere_closes_the_item(at in any::<proptest::sample::Index>(), bit in 0_u8..8) {
        let mut sealed = seal(3, 6, &set(&[pair("v_Data", &der(0x04, b"a secret"))]));
        let at = at.index(sealed.len());
        sealed[at] ^= 1_u8 << bit;
        let opened = SealedItem::parse(&sealed).and_then(|item| item.open(&keys()));
        // Flags above the class, and nothing else, do not matter.
        let is_flag = (5..8).contains(&at) || (at == 4 && bit >= 4);
        prop_assert_eq!(opened.is_ok(), is_flag, "byte {}", at);
    }

    #[test]
    fn decode_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), version in 0_u32..5) {
        let _ = Attributes::from_der(&bytes);
        let _ = Attributes::from_plist(&bytes);
        let _ = Keychain::parse(&bytes, Some(&keys()));
        let _ = SealedItem::parse(&[&version.to_le_bytes()[..], &bytes].concat()).and_then(|item| item.open(&keys()));
    }
}
