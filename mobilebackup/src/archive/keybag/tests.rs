use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::archive::golden::{self, bytes};
use crate::archive::observe::{Progress, Silent};

fn blob(index: usize) -> Vec<u8> {
    bytes(&golden::vectors()["keybag"][index]["blob"])
}

fn unlock(bag: &Keybag, password: &[u8]) -> Result<ClassKeys, UnlockError> {
    bag.unwrap(&bag.derive(password, RoundLimits::default(), &mut Silent)?)
}

fn check(case: &serde_json::Value, password: &[u8]) {
    let stored = bytes(&case["blob"]);
    let bag = Keybag::parse(&stored).unwrap();
    assert_eq!(bag.encode(), stored);
    let kek = bag.derive(password, RoundLimits::default(), &mut Silent).unwrap();
    assert_eq!(kek.expose().to_vec(), bytes(&case["kek"]));
    let keys = bag.unwrap(&kek).unwrap();
    assert!(keys.damaged().is_empty());
    let classes = case["classes"].as_object().unwrap();
    assert_eq!(classes.len(), 11);
    for (class, expect) in classes {
        let class: u32 = class.parse().unwrap();
        let found = if expect["wrap"] == 2 {
            keys.key(class)
        } else {
            keys.device_bound_key(class)
        };
        assert_eq!(
            found.unwrap().expose().to_vec(),
            bytes(&expect["after_password_unwrap"]),
            "class {class}"
        );
        assert_eq!(keys.key(class).is_some(), expect["wrap"] == 2);
    }
}

#[test]
fn every_class_key_of_the_known_bags_comes_out() {
    let vectors = golden::vectors();
    for case in vectors["keybag"].as_array().unwrap() {
        check(case, case["password_utf8"].as_str().unwrap().as_bytes());
    }
}

#[test]
fn the_bag_of_a_real_unencrypted_backup_opens_with_the_empty_password() {
    let vectors = golden::vectors();
    let case = &vectors["real_keybag"];
    assert_eq!(bytes(&case["blob"]).len(), 1336);
    check(case, b"");
    let bag = Keybag::parse(&bytes(&case["blob"])).unwrap();
    assert_eq!(
        (bag.version(), bag.kind(), bag.rounds()),
        (Some(5), Some(1), (None, 10_000))
    );
}

#[test]
fn a_file_key_opens_by_its_class_prefix_and_decrypts_the_file() {
    let vectors = golden::vectors();
    let case = &vectors["file"];
    let bag = Keybag::parse(&blob(0)).unwrap();
    let keys = unlock(&bag, b"vector-pass-1").unwrap();
    let wrapped = WrappedKey::parse(&bytes(&case["encryption_key"])).unwrap();
    let key = keys.unwrap(&wrapped, None).unwrap();
    assert_eq!(key.expose().to_vec(), bytes(&case["file_key"]));

    // The prefix names a class that does not open it: the record's own class is the second chance.
    let mut stored = bytes(&case["encryption_key"]);
    stored[0] = 4;
    let misleading = WrappedKey::parse(&stored).unwrap();
    assert_eq!(keys.unwrap(&misleading, None), Err(FileKeyError::Damaged { class: 4 }));
    assert_eq!(keys.unwrap(&misleading, Some(3)), Ok(key.clone()));
    stored[0] = 12;
    let unknown = WrappedKey::parse(&stored).unwrap();
    assert_eq!(
        keys.unwrap(&unknown, None),
        Err(FileKeyError::NoSuchClass { class: 12 })
    );
    assert_eq!(keys.unwrap(&unknown, Some(3)), Ok(key));
    // A device-bound class key is never used as if it were one of ours.
    stored[0] = 5;
    let bound = WrappedKey::parse(&stored).unwrap();
    assert_eq!(keys.unwrap(&bound, None), Err(FileKeyError::NoSuchClass { class: 5 }));
}

#[test]
fn the_published_hashes_unwrap_under_their_password_only() {
    let vectors = golden::vectors();
    for case in vectors["published_hashes"].as_array().unwrap() {
        let mut bag = Vec::new();
        let mut put = |tag: &[u8; 4], value: &[u8]| {
            bag.extend_from_slice(tag);
            bag.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
            bag.extend_from_slice(value);
        };
        let number = |key: &str| u32::try_from(case[key].as_u64().unwrap()).unwrap().to_be_bytes();
        put(b"UUID", &[0; 16]);
        put(b"SALT", &bytes(&case["salt"]));
        put(b"ITER", &number("iter"));
        if let Some(dpsl) = golden::opt_bytes(&case["dpsl"]) {
            put(b"DPIC", &number("dpic"));
            put(b"DPSL", &dpsl);
        }
        put(b"UUID", &[1; 16]);
        put(b"CLAS", &[0, 0, 0, 1]);
        put(b"WRAP", &[0, 0, 0, 2]);
        put(b"WPKY", &bytes(&case["wpky"]));
        let bag = Keybag::parse(&bag).unwrap();
        let keys = unlock(&bag, case["password"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(keys.key(1).unwrap().expose().to_vec(), bytes(&case["class_key"]));
        let wrong = case["wrong_password"].as_str().unwrap();
        assert_eq!(unlock(&bag, wrong.as_bytes()).unwrap_err(), UnlockError::WrongPassword);
    }
}

#[test]
fn a_wrong_password_and_a_damaged_bag_are_told_apart() {
    let stored = blob(0);
    let bag = Keybag::parse(&stored).unwrap();
    assert_eq!(unlock(&bag, b"vector-pass-2").unwrap_err(), UnlockError::WrongPassword);
    assert_eq!(unlock(&bag, b"").unwrap_err(), UnlockError::WrongPassword);

    let mut damaged = stored;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let keys = unlock(&Keybag::parse(&damaged).unwrap(), b"vector-pass-1").unwrap();
    assert_eq!(keys.damaged(), [11]);
    assert!(keys.key(4).is_some());
}

#[test]
fn a_bag_without_password_keys_is_damaged_not_locked() {
    let mut stored = blob(0);
    for start in 0..stored.len() - 12 {
        // Every class group's WRAP; the bag's own comes first and is zero already.
        if stored[start..].starts_with(b"WRAP\0\0\0\x04") {
            stored[start + 11] &= 1;
        }
    }
    let bag = Keybag::parse(&stored).unwrap();
    assert_eq!(
        unlock(&bag, b"vector-pass-1").unwrap_err(),
        UnlockError::Keybag(KeybagError::NothingToUnwrap)
    );
}

/// A copy of a bag with the value of the first `tag` replaced, or the tag removed.
fn with(stored: &[u8], tag: &[u8; 4], value: Option<&[u8]>) -> Vec<u8> {
    let mut bag = Keybag::parse(stored).unwrap();
    let at = bag.items.iter().position(|item| item.tag == *tag).unwrap();
    match value {
        Some(value) => bag.items[at].value = value.into(),
        None => drop(bag.items.remove(at)),
    }
    bag.encode()
}

#[test]
fn bags_that_make_no_sense_are_refused_by_name() {
    let stored = blob(0);
    for (tag, value, expect) in [
        (b"SALT", None, KeybagError::Missing { tag: "SALT" }),
        (b"ITER", None, KeybagError::Missing { tag: "ITER" }),
        (b"DPIC", None, KeybagError::Missing { tag: "DPIC" }),
        (b"DPSL", None, KeybagError::Missing { tag: "DPSL" }),
        (b"CLAS", None, KeybagError::GroupWithoutClass { index: 0 }),
        (
            b"ITER",
            Some(&[0, 0, 0, 0][..]),
            KeybagError::Rounds {
                tag: "ITER",
                rounds: 0,
                max: u32::MAX,
            },
        ),
        (
            b"DPIC",
            Some(&[0, 0, 0, 0][..]),
            KeybagError::Rounds {
                tag: "DPIC",
                rounds: 0,
                max: u32::MAX,
            },
        ),
        (
            b"CLAS",
            Some(&[0, 0, 0, 2][..]),
            KeybagError::DuplicateClass { class: 2 },
        ),
        (b"CLAS", Some(&[0, 2][..]), KeybagError::Length { tag: "CLAS", len: 2 }),
    ] {
        assert_eq!(Keybag::parse(&with(&stored, tag, value)).unwrap_err(), expect);
    }
    assert_eq!(Keybag::parse(&[]).unwrap_err(), KeybagError::Missing { tag: "SALT" });
    let huge = vec![0; Keybag::MAX_LEN + 1];
    assert_eq!(
        Keybag::parse(&huge).unwrap_err(),
        KeybagError::TooLong { len: huge.len() }
    );
}

#[test]
fn a_bag_that_asks_for_hours_is_refused_before_the_first_round() {
    let bag = Keybag::parse(&with(&blob(0), b"DPIC", Some(&u32::MAX.to_be_bytes()))).unwrap();
    let mut never = |_: &Progress| -> ControlFlow<()> { unreachable!("no round may run") };
    let refused = bag.derive(b"x", RoundLimits::default(), &mut never).unwrap_err();
    let rounds = KeybagError::Rounds {
        tag: "DPIC",
        rounds: u32::MAX,
        max: 100_000_000,
    };
    assert_eq!(refused, UnlockError::Keybag(rounds));
    let bag = Keybag::parse(&blob(0)).unwrap();
    let refused = bag
        .derive(b"x", RoundLimits::default().second(999), &mut never)
        .unwrap_err();
    assert_eq!(
        refused,
        UnlockError::Keybag(KeybagError::Rounds {
            tag: "ITER",
            rounds: 1000,
            max: 999
        })
    );
}

#[test]
fn unknown_tags_and_classes_are_kept() {
    let stored = blob(1);
    let mut longer = stored.clone();
    longer.extend_from_slice(b"NEWT\0\0\0\x03abc");
    longer.extend_from_slice(b"UUID\0\0\0\x10................CLAS\0\0\0\x04\0\0\0\x0e");
    let bag = Keybag::parse(&longer).unwrap();
    assert_eq!(bag.encode(), longer);
    assert_eq!(bag.classes().len(), 12);
    assert!(unlock(&bag, b"vector-pass-1").unwrap().damaged().is_empty());
}

#[test]
fn a_derivation_can_be_stopped() {
    let bag = Keybag::parse(&blob(0)).unwrap();
    let mut stop = |_: &Progress| ControlFlow::Break(());
    let stopped = bag
        .derive(b"vector-pass-1", RoundLimits::default(), &mut stop)
        .unwrap_err();
    assert_eq!(stopped, UnlockError::Cancelled);
}

proptest! {
    #[test]
    fn mutated_bags_never_panic_and_keep_what_they_hold(
        which in 0_usize..3,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut stored = blob(which);
        for (at, value) in changes {
            let at = at.index(stored.len());
            stored[at] = value;
        }
        stored.truncate(keep.index(stored.len() + 1));
        if let Ok(bag) = Keybag::parse(&stored) {
            prop_assert_eq!(bag.encode(), stored);
            let _ = bag.unwrap(&Key::from([1; 32]));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(stored in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Keybag::parse(&stored);
    }
}
