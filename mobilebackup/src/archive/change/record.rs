//! Changing one record and keeping everything else that it says.

use std::collections::BTreeSet;

use cabled_wire::plist::{self, Dictionary, Limits, Uid, Value};

use crate::archive::build::rows::encode_attributes;
use crate::archive::build::{Details, flat};
use crate::archive::mbdb::MbdbRecord;
use crate::archive::mbfile::MbFile;

/// A field that stays, gets a value, or goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Field<T> {
    #[default]
    Keep,
    Set(T),
    Remove,
}

/// What becomes of a record. What is not named stays.
#[derive(Clone, Debug, Default)]
pub(super) struct Edit<'d> {
    pub(super) size: Option<u64>,
    pub(super) class: Option<u32>,
    pub(super) digest: Field<[u8; 20]>,
    pub(super) key: Field<[u8; 44]>,
    pub(super) modified: Option<i64>,
    pub(super) status_changed: Option<i64>,
    /// Fields that the caller named.
    pub(super) details: Option<&'d Details>,
}

/// The record cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unchangeable;

/// Every key of a record that has a meaning here.
const KNOWN: [&str; 15] = [
    "LastModified",
    "LastStatusChange",
    "Birth",
    "Flags",
    "UserID",
    "GroupID",
    "InodeNumber",
    "Mode",
    "ProtectionClass",
    "RelativePath",
    "Size",
    "$class",
    "Target",
    "EncryptionKey",
    "Digest",
];

/// Changes a record of `Manifest.db`. One that says only what is known is written as a device writes it; one with keys
/// of its own keeps them, and every object that is still in use.
pub(super) fn edit(stored: &[u8], edit: &Edit<'_>) -> Result<Vec<u8>, Unchangeable> {
    let list = plist::read_dict(stored, &Limits::default()).map_err(|_| Unchangeable)?;
    if is_plain(&list) {
        let record = MbFile::decode(stored).map_err(|_| Unchangeable)?;
        let attributes = edit.details.and_then(encode_attributes);
        return Ok(edit_known(record, edit, attributes.as_deref()));
    }
    edit_archive(list, edit).ok_or(Unchangeable)
}

/// Whether every key of the archive and of its record is known.
fn is_plain(list: &Dictionary) -> bool {
    let outer = ["$version", "$archiver", "$top", "$objects"];
    let root = root_of(list).and_then(|(root, objects)| objects.get(root)?.as_dictionary());
    list.keys().all(|key| outer.contains(&key.as_str()))
        && root.is_some_and(|root| {
            root.keys()
                .all(|key| KNOWN.contains(&key.as_str()) || key == "ExtendedAttributes")
        })
}

fn root_of(list: &Dictionary) -> Option<(usize, &Vec<Value>)> {
    let top = list.get("$top")?.as_dictionary()?;
    let root = usize::try_from(top.get("root")?.as_uid()?.get()).ok()?;
    Some((root, list.get("$objects")?.as_array()?))
}

fn edit_known<'a>(mut record: MbFile<'a>, edit: &'a Edit<'_>, attributes: Option<&'a [u8]>) -> Vec<u8> {
    record.size = edit.size.unwrap_or(record.size);
    record.protection_class = edit.class.unwrap_or(record.protection_class);
    record.last_modified = edit.modified.or(record.last_modified);
    record.last_status_change = edit.status_changed.or(record.last_status_change);
    match &edit.digest {
        Field::Keep => {}
        Field::Set(digest) => record.digest = Some(digest),
        Field::Remove => record.digest = None,
    }
    match &edit.key {
        Field::Keep => {}
        Field::Set(key) => record.encryption_key = Some(key),
        Field::Remove => record.encryption_key = None,
    }
    record.extended_attributes = attributes.or(record.extended_attributes);
    if let Some(details) = edit.details {
        record.mode = details
            .mode
            .map_or(record.mode, |mode| with_permissions(record.mode, mode));
        record.user_id = details.user.map_or(record.user_id, i64::from);
        record.group_id = details.group.map_or(record.group_id, i64::from);
        record.inode = details.inode.unwrap_or(record.inode);
        record.flags = details.flags.unwrap_or(record.flags);
        record.birth = details.created.or(record.birth);
    }
    record.encode()
}

const fn with_permissions(mode: u32, permissions: u32) -> u32 {
    (mode & !0o7777) | (permissions & 0o7777)
}

/// Changes an archive whose record has keys that are not known here.
fn edit_archive(mut list: Dictionary, edit: &Edit<'_>) -> Option<Vec<u8>> {
    let (root, objects) = root_of(&list)?;
    let mut objects = objects.clone();
    let mut record = objects.get(root)?.as_dictionary()?.clone();
    let mut number = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            record.insert(key.to_owned(), value);
        }
    };
    number("Size", edit.size.map(Value::from));
    number("ProtectionClass", edit.class.map(Value::from));
    number("LastModified", edit.modified.map(Value::from));
    number("LastStatusChange", edit.status_changed.map(Value::from));
    if let Some(details) = edit.details {
        number("UserID", details.user.map(Value::from));
        number("GroupID", details.group.map(Value::from));
        number("InodeNumber", details.inode.map(Value::from));
        number("Flags", details.flags.map(Value::from));
        number("Birth", details.created.map(Value::from));
        let old = record.get("Mode").and_then(Value::as_unsigned_integer).unwrap_or(0);
        let old = u32::try_from(old).unwrap_or(0);
        if let Some(mode) = details.mode {
            record.insert("Mode".to_owned(), with_permissions(old, mode).into());
        }
        if let Some(attributes) = encode_attributes(details) {
            let uid = append(&mut objects, Value::Data(attributes));
            record.insert("ExtendedAttributes".to_owned(), uid);
        }
    }
    match edit.digest {
        Field::Keep => {}
        Field::Set(digest) => {
            let uid = append(&mut objects, Value::Data(digest.to_vec()));
            record.insert("Digest".to_owned(), uid);
        }
        Field::Remove => drop(record.remove("Digest")),
    }
    match edit.key {
        Field::Keep => {}
        Field::Set(key) => {
            let classes = ["NSMutableData", "NSData", "NSObject"];
            let about = cabled_wire::dict! {
                "$classname" => "NSMutableData",
                "$classes" => Value::Array(classes.map(Value::from).into()),
            };
            let class = append(&mut objects, about.into());
            let holder = cabled_wire::dict! { "NS.data" => Value::Data(key.to_vec()), "$class" => class };
            let uid = append(&mut objects, holder.into());
            record.insert("EncryptionKey".to_owned(), uid);
        }
        Field::Remove => drop(record.remove("EncryptionKey")),
    }
    *objects.get_mut(root)? = Value::Dictionary(record);
    list.insert("$objects".to_owned(), Value::Array(objects));
    collect(&mut list)?;
    Some(plist::to_binary(&list.into()))
}

fn append(objects: &mut Vec<Value>, object: Value) -> Value {
    let uid = Value::Uid(Uid::new(objects.len() as u64));
    objects.push(object);
    uid
}

/// Removes the objects that nothing refers to any more: an old key must not stay in a decrypted backup.
fn collect(list: &mut Dictionary) -> Option<()> {
    let objects = list.get("$objects")?.as_array()?;
    let mut used = BTreeSet::from([0]);
    let mut open = Vec::new();
    for (key, value) in list.iter() {
        if key != "$objects" {
            uids(value, &mut open);
        }
    }
    while let Some(uid) = open.pop() {
        if used.insert(uid) {
            // A reference to nothing stays one.
            objects.get(uid).into_iter().for_each(|object| uids(object, &mut open));
        }
    }
    let kept: Vec<usize> = used.into_iter().filter(|uid| *uid < objects.len()).collect();
    let objects: Vec<Value> = kept.iter().filter_map(|uid| objects.get(*uid).cloned()).collect();
    list.insert("$objects".to_owned(), Value::Array(objects));
    let keys: Vec<String> = list.keys().cloned().collect();
    for key in keys {
        renumber(list.get_mut(&key)?, &kept);
    }
    Some(())
}

/// Every reference in a value. The depth was bounded when it was read.
fn uids(value: &Value, out: &mut Vec<usize>) {
    match value {
        Value::Uid(uid) => out.push(usize::try_from(uid.get()).unwrap_or(usize::MAX)),
        Value::Array(items) => items.iter().for_each(|item| uids(item, out)),
        Value::Dictionary(entries) => entries.iter().for_each(|(_, item)| uids(item, out)),
        _ => {}
    }
}

fn renumber(value: &mut Value, kept: &[usize]) {
    match value {
        Value::Uid(uid) => {
            let old = usize::try_from(uid.get()).unwrap_or(usize::MAX);
            if let Ok(new) = kept.binary_search(&old) {
                *uid = Uid::new(new as u64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| renumber(item, kept)),
        Value::Dictionary(entries) => entries.iter_mut().for_each(|(_, item)| renumber(item, kept)),
        _ => {}
    }
}

/// Changes a record of `Manifest.mbdb`.
pub(super) fn edit_flat(stored: &[u8], edit: &Edit<'_>) -> Result<MbdbRecord, Unchangeable> {
    let mut record = flat::read(stored).ok_or(Unchangeable)?;
    let short = |seconds: i64| u32::try_from(seconds).map_err(|_| Unchangeable);
    record.size = edit.size.unwrap_or(record.size);
    if let Some(class) = edit.class {
        record.protection_class = u8::try_from(class).map_err(|_| Unchangeable)?;
    }
    if let Some(seconds) = edit.modified {
        record.modified = short(seconds)?;
    }
    if let Some(seconds) = edit.status_changed {
        record.status_changed = short(seconds)?;
    }
    match edit.digest {
        Field::Keep => {}
        Field::Set(digest) => record.digest = digest.to_vec(),
        Field::Remove => record.digest.clear(),
    }
    match edit.key {
        Field::Keep => {}
        Field::Set(key) => record.encryption_key = key.to_vec(),
        Field::Remove => record.encryption_key.clear(),
    }
    if let Some(details) = edit.details {
        if let Some(mode) = details.mode {
            record.mode = u16::try_from(with_permissions(record.mode.into(), mode)).map_err(|_| Unchangeable)?;
        }
        record.user_id = details.user.unwrap_or(record.user_id);
        record.group_id = details.group.unwrap_or(record.group_id);
        record.inode = details.inode.unwrap_or(record.inode);
        if let Some(seconds) = details.created {
            record.created = short(seconds)?;
        }
        if !details.attributes.is_empty() {
            let pairs = details.attributes.iter();
            record.attributes = pairs
                .map(|(name, value)| (name.clone().into(), value.clone()))
                .collect();
        }
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::golden::{self, bytes};
    use crate::archive::mbdb::MbdbReader;

    fn all() -> Edit<'static> {
        Edit {
            size: Some(5),
            class: Some(2),
            digest: Field::Set([7; 20]),
            key: Field::Set([8; 44]),
            modified: Some(11),
            status_changed: Some(12),
            details: None,
        }
    }

    /// A record of a device with a key that nobody knows, and an object of its own behind it.
    fn with_unknown_key(name: &str) -> Vec<u8> {
        let case = golden::vectors()["mbfile"].as_array().unwrap().iter();
        let case = case.clone().find(|case| case["name"] == name).unwrap();
        let mut list = plist::read_dict(&bytes(&case["blob"]), &Limits::default()).unwrap();
        let objects = list.get_mut("$objects").unwrap().as_array_mut().unwrap();
        let uid = Value::Uid(Uid::new(objects.len() as u64));
        objects.push("kept text".into());
        let record = objects[1].as_dictionary_mut().unwrap();
        record.insert("Novelty".into(), uid);
        record.insert("Count".into(), 99.into());
        list.insert("$extra".into(), "outer".into());
        plist::to_binary(&list.into())
    }

    #[test]
    fn unknown_keys_and_their_objects_stay_and_old_keys_go() {
        let stored = with_unknown_key("digest and extended attributes");
        let before = MbFile::decode(&stored).unwrap();
        let old_key = before.encryption_key.unwrap();
        let changed = edit(&stored, &all()).unwrap();
        let after = MbFile::decode(&changed).unwrap();
        assert_eq!((after.size, after.protection_class), (5, 2));
        assert_eq!(
            (after.digest, after.encryption_key),
            (Some(&[7; 20][..]), Some(&[8; 44][..]))
        );
        assert_eq!((after.last_modified, after.last_status_change), (Some(11), Some(12)));
        assert_eq!(after.extended_attributes, before.extended_attributes);
        assert_eq!(
            (after.inode, after.mode, after.birth),
            (before.inode, before.mode, before.birth)
        );
        assert!(!changed.windows(44).any(|part| part == old_key), "the old key is gone");

        let list = plist::read_dict(&changed, &Limits::default()).unwrap();
        assert_eq!(list["$extra"].as_string(), Some("outer"));
        let (root, objects) = root_of(&list).unwrap();
        let record = objects[root].as_dictionary().unwrap();
        assert_eq!(record["Count"].as_signed_integer(), Some(99));
        let uid = usize::try_from(record["Novelty"].as_uid().unwrap().get()).unwrap();
        assert_eq!(objects[uid].as_string(), Some("kept text"));

        let bare = edit(
            &changed,
            &Edit {
                key: Field::Remove,
                digest: Field::Remove,
                ..Edit::default()
            },
        )
        .unwrap();
        let after = MbFile::decode(&bare).unwrap();
        assert_eq!((after.encryption_key, after.digest), (None, None));
        assert!(!bare.windows(44).any(|part| part == [8; 44]));
        assert!(
            plist::read_dict(&bare, &Limits::default())
                .unwrap()
                .contains_key("$extra")
        );
    }

    #[test]
    fn an_edit_of_nothing_changes_nothing_that_is_said() {
        for case in golden::vectors()["mbfile"].as_array().unwrap() {
            let stored = bytes(&case["blob"]);
            let changed = edit(&stored, &Edit::default()).unwrap();
            assert_eq!(MbFile::decode(&changed), MbFile::decode(&stored), "{}", case["name"]);
        }
        let stored = with_unknown_key("directory");
        let changed = edit(&stored, &Edit::default()).unwrap();
        let read = |bytes: &[u8]| plist::read(bytes, &Limits::default()).unwrap();
        assert_eq!(read(&changed), read(&stored));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        assert_eq!(edit(b"bplist00", &all()), Err(Unchangeable));
        let list = plist::to_binary(&cabled_wire::dict! { "a" => 1 }.into());
        assert_eq!(edit(&list, &all()), Err(Unchangeable));
        assert!(edit_flat(b"\0\0", &all()).is_err());
    }

    proptest! {
        #[test]
        fn mutated_records_never_panic_and_what_is_written_reads_back(
            case in any::<prop::sample::Index>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            unknown in any::<bool>(),
        ) {
            let cases = golden::vectors()["mbfile"].as_array().unwrap();
            let mut stored = match unknown {
                true => with_unknown_key("digest and extended attributes"),
                false => bytes(&cases[case.index(cases.len())]["blob"]),
            };
            for (at, value) in changes {
                let at = at.index(stored.len());
                stored[at] = value;
            }
            if let (Ok(changed), Ok(before)) = (edit(&stored, &all()), MbFile::decode(&stored)) {
                let after = MbFile::decode(&changed).unwrap();
                prop_assert_eq!((after.size, after.protection_class), (5, 2));
                prop_assert_eq!(after.encryption_key, Some(&[8; 44][..]));
                prop_assert_eq!((after.relative_path, after.mode), (before.relative_path, before.mode));
                prop_assert_eq!((after.inode, after.target), (before.inode, before.target));
            }
            let _ = edit_flat(&stored, &all());
        }
    }

    #[test]
    fn flat_records_keep_what_is_not_named() {
        let vectors = golden::vectors();
        let stored = bytes(&vectors["mbdb"]["mbdb"]);
        let mut reader = MbdbReader::new(stored.as_slice()).unwrap();
        while let Some((_, before)) = reader.next_record().unwrap() {
            let bytes = before.encode().unwrap();
            assert_eq!(edit_flat(&bytes, &Edit::default()).unwrap(), before);
            let after = edit_flat(&bytes, &all()).unwrap();
            assert_eq!(
                (after.size, &*after.digest, &*after.encryption_key),
                (5, &[7; 20][..], &[8; 44][..])
            );
            assert_eq!((after.attributes, after.path), (before.attributes, before.path));
        }
    }
}
