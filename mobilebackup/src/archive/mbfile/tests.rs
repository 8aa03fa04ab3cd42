use cabled_wire::plist::{self, Date, Dictionary, Uid, Value};
use proptest::prelude::*;

use super::*;
use crate::archive::golden::{self, bytes, opt_bytes};

fn check(blob: &[u8], expect: &serde_json::Value) {
    let file = MbFile::decode(blob).unwrap();
    let text = |key: &str| expect[key].as_str().map(str::to_owned);
    let number = |key: &str| expect[key].as_i64();
    assert_eq!(Some(file.relative_path.to_string()), text("path"));
    assert_eq!(Some(i64::from(file.mode)), number("mode"));
    assert_eq!(Some(file.size), expect["size"].as_u64());
    assert_eq!(Some(i64::from(file.protection_class)), number("cls"));
    assert_eq!(Some(file.flags), number("flags"));
    assert_eq!(
        (Some(file.user_id), Some(file.group_id)),
        (number("uid"), number("gid"))
    );
    assert_eq!(Some(file.inode), expect["inode"].as_u64());
    assert_eq!(
        (file.last_modified, file.last_status_change, file.birth),
        (number("mtime"), number("ctime"), number("birth"))
    );
    assert_eq!(file.target.map(String::from), text("target"));
    assert_eq!(file.encryption_key.map(Vec::from), opt_bytes(&expect["encryption_key"]));
    assert_eq!(file.digest.map(Vec::from), opt_bytes(&expect["digest"]));
    assert_eq!(file.extended_attributes.is_some(), expect["xattrs"].is_object());
}

#[test]
fn every_known_record_decodes_to_its_fields() {
    let vectors = golden::vectors();
    let cases = vectors["mbfile"].as_array().unwrap();
    assert_eq!(cases.len(), 12);
    for case in cases {
        check(&bytes(&case["blob"]), &case["expect"]);
    }
}

/// An archive as some program might write it: `fields` are the keys of the `MBFile`, `objects` what they point to
/// (from UID 2 on).
fn archive(fields: Vec<(&str, Value)>, objects: Vec<Value>) -> Vec<u8> {
    let record: Dictionary = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let mut all = vec![Value::from("$null"), Value::Dictionary(record)];
    all.extend(objects);
    let top: Dictionary = [("root".to_owned(), Value::Uid(Uid::new(1)))].into_iter().collect();
    let archive: Dictionary = [
        ("$version".to_owned(), Value::from(100_000)),
        ("$archiver".to_owned(), Value::from("NSKeyedArchiver")),
        ("$top".to_owned(), Value::Dictionary(top)),
        ("$objects".to_owned(), Value::Array(all)),
    ]
    .into_iter()
    .collect();
    plist::to_binary(&Value::Dictionary(archive))
}

#[test]
fn path_and_size_are_enough() {
    let blob = archive(
        vec![("RelativePath", Value::Uid(Uid::new(2))), ("Size", 7.into())],
        vec!["a/b".into()],
    );
    let file = MbFile::decode(&blob).unwrap();
    assert_eq!(
        (&*file.relative_path, file.size, file.mode, file.birth),
        ("a/b", 7, 0, None)
    );
    let blob = archive(vec![("RelativePath", Value::Uid(Uid::new(2)))], vec!["a/b".into()]);
    assert_eq!(MbFile::decode(&blob), Err(MbFileError::Missing { key: "Size" }));
    let blob = archive(vec![("Size", 7.into())], vec![]);
    assert_eq!(MbFile::decode(&blob), Err(MbFileError::Missing { key: "RelativePath" }));
}

#[test]
fn what_other_programs_write_is_understood() {
    let date: Date = std::time::UNIX_EPOCH
        .checked_add(std::time::Duration::from_secs(1_700_000_000))
        .unwrap()
        .into();
    let data: Dictionary = [("NS.data".to_owned(), Value::Data(vec![9; 20]))].into_iter().collect();
    let uid = |n| Value::Uid(Uid::new(n));
    let blob = archive(
        vec![
            ("RelativePath", "inline".into()),
            ("Size", u64::MAX.into()),
            ("LastModified", Value::Date(date)),
            ("Birth", Value::Real(-1.5)),
            ("Digest", uid(2)),
            ("EncryptionKey", Value::Data(vec![1; 44])),
            ("ExtendedAttributes", uid(0)),
            ("Unheard", Value::Boolean(true)),
            ("UserID", uid(3)),
        ],
        vec![Value::Dictionary(data), (-2_i64).into()],
    );
    let file = MbFile::decode(&blob).unwrap();
    assert_eq!((&*file.relative_path, file.size), ("inline", u64::MAX));
    assert_eq!((file.last_modified, file.birth), (Some(1_700_000_000), Some(-2)));
    assert_eq!(
        (file.digest, file.wrapped_key().map(|k| k.class())),
        (Some(&[9; 20][..]), Some(0x0101_0101))
    );
    assert_eq!((file.extended_attributes, file.user_id), (None, -2));
}

#[test]
fn uids_may_be_wider_than_a_byte_and_objects_in_any_place() {
    let filler = vec![Value::from("x"); 70_000];
    let mut objects = filler;
    objects.push("far/away".into());
    let blob = archive(
        vec![("RelativePath", Value::Uid(Uid::new(70_002))), ("Size", 0.into())],
        objects,
    );
    assert_eq!(MbFile::decode(&blob).unwrap().relative_path, "far/away");
}

#[test]
fn values_of_another_kind_are_refused_by_key() {
    let path = || ("RelativePath", Value::from("p"));
    for (blob, expect) in [
        (
            archive(vec![path(), ("Size", (-1).into())], vec![]),
            MbFileError::Range { key: "Size" },
        ),
        (
            archive(vec![path(), ("Size", "1".into())], vec![]),
            MbFileError::Type { key: "Size" },
        ),
        (
            archive(
                vec![path(), ("Size", 1.into()), ("Birth", Value::Real(f64::NAN))],
                vec![],
            ),
            MbFileError::Range { key: "Birth" },
        ),
        (
            archive(vec![("RelativePath", 1.into()), ("Size", 1.into())], vec![]),
            MbFileError::Type { key: "RelativePath" },
        ),
        (plist::to_binary(&Value::Array(vec![])), MbFileError::Malformed),
        (
            b"<?xml version=\"1.0\"?><plist><dict/></plist>".to_vec(),
            MbFileError::Malformed,
        ),
        (Vec::new(), MbFileError::Malformed),
    ] {
        assert_eq!(MbFile::decode(&blob), Err(expect));
    }
}

#[test]
fn an_archive_that_refers_to_itself_ends() {
    let uid = |n| Value::Uid(Uid::new(n));
    let looped = archive(vec![("RelativePath", uid(2)), ("Size", 1.into())], vec![uid(2)]);
    assert_eq!(MbFile::decode(&looped), Err(MbFileError::Malformed));
    let data: Dictionary = [("NS.data".to_owned(), uid(2))].into_iter().collect();
    let looped = archive(
        vec![("RelativePath", "p".into()), ("Size", 1.into()), ("Digest", uid(2))],
        vec![Value::Dictionary(data)],
    );
    assert_eq!(MbFile::decode(&looped), Err(MbFileError::Type { key: "Digest" }));
}

#[test]
fn rows_of_a_real_device_decode_where_they_are_at_hand() {
    for row in golden::rows_of_a_real_device().into_iter().flatten() {
        let blob = bytes(&row["file"]);
        let file = MbFile::decode(&blob).unwrap();
        assert_eq!(file.relative_path, row["relativePath"].as_str().unwrap());
        let kind = match row["flags"].as_u64().unwrap() {
            1 => 0o100_000,
            2 => 0o040_000,
            _ => 0o120_000,
        };
        assert_eq!(file.mode & 0o170_000, kind);
        assert_eq!(file.target.is_some(), kind == 0o120_000);
        assert!(file.last_modified.is_some() && file.birth.is_some());
        if let Some(key) = file.encryption_key {
            assert_eq!(WrappedKey::parse(key).unwrap().class(), file.protection_class);
        }
        assert!(file.digest.is_none_or(|digest| digest.len() == 20));
    }
}

proptest! {
    #[test]
    fn mutated_records_never_panic(
        which in 0_usize..12,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut blob = bytes(&golden::vectors()["mbfile"][which]["blob"]);
        for (at, value) in changes {
            let at = at.index(blob.len());
            blob[at] = value;
        }
        let _ = MbFile::decode(&blob);
        blob.truncate(keep.index(blob.len() + 1));
        let _ = MbFile::decode(&blob);
    }

    #[test]
    fn what_is_written_is_read_back(
        path in "\\PC{0,40}",
        size in any::<u64>(),
        mode in any::<u32>(),
        user in any::<i64>(),
        time in any::<i64>(),
        digest in proptest::option::of(proptest::array::uniform20(any::<u8>())),
    ) {
        let mut fields = vec![
            ("RelativePath", Value::Uid(Uid::new(2))),
            ("Size", size.into()),
            ("Mode", mode.into()),
            ("UserID", user.into()),
            ("LastModified", time.into()),
        ];
        if let Some(digest) = digest {
            fields.push(("Digest", Value::Data(digest.to_vec())));
        }
        let blob = archive(fields, vec![path.clone().into()]);
        let file = MbFile::decode(&blob).unwrap();
        prop_assert_eq!(&*file.relative_path, &path);
        prop_assert_eq!((file.size, file.mode, file.user_id, file.last_modified), (size, mode, user, Some(time)));
        prop_assert_eq!(file.digest.map(<[u8]>::to_vec), digest.map(|digest| digest.to_vec()));
    }
}
