//! Backups at rest, and the paths a device may name in one.

use std::io::{Cursor, Read, Seek, SeekFrom};

use aes::Aes256;
use aes::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use cabled_mobilebackup::archive::keybag::{Keybag, RoundLimits};
use cabled_mobilebackup::archive::mbdb::{MbdbReader, read_mbdx};
use cabled_mobilebackup::archive::mbfile::MbFile;
use cabled_mobilebackup::archive::plists::{Info, Manifest, Status};
use cabled_mobilebackup::archive::{
    Completeness, DecryptingReader, DecryptingStream, Ending, Key, ReadOptions, Silent, WrappedKey,
};
use cabled_mobilebackup::folder::{Access, Purpose, Scope};
use cabled_wire::plist::{self, Limits, Value};

use crate::script::Script;

/// A path that a device names in a run: nothing outside its folder is admitted.
pub fn scope_admit(data: &[u8]) {
    const TARGET: &str = "00008030-001A2B3C4D5E6F70";
    const SOURCE: &str = "0123456789abcdef0123456789abcdef01234567";
    let mut script = Script::new(data);
    let choice = script.byte();
    let purpose = if choice & 1 == 0 {
        Purpose::Backup
    } else {
        Purpose::Restore
    };
    let source = if choice & 2 == 0 { TARGET } else { SOURCE };
    let access = match choice >> 2 & 3 {
        0 => Access::Read,
        1 => Access::Write,
        2 => Access::Remove,
        _ => Access::CopyTo,
    };
    let rest = String::from_utf8_lossy(script.rest()).into_owned();
    // Most texts are refused at their first word: give that to some.
    let text = match choice >> 4 & 3 {
        0 => rest,
        1 => format!("{TARGET}/{rest}"),
        2 => format!("{SOURCE}{rest}"),
        _ => format!("/{TARGET}{rest}"),
    };
    let mut scope = Scope::new(TARGET, source, purpose).expect("both are identifiers");
    let Ok(path) = scope.admit(&text, access) else { return };
    let first = path
        .as_path()
        .first()
        .expect("the root itself is never admitted")
        .to_owned();
    assert!(
        path.as_str()
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
    );
    let own = first == TARGET || first == source || first == "_unback_";
    assert!(
        own || (access == Access::CopyTo && purpose == Purpose::Restore && first.starts_with(source)),
        "{path:?}"
    );
    if matches!(access, Access::Write | Access::Remove) && (first == TARGET || first == source) {
        assert!(
            path.as_str().contains('/'),
            "a device's folder itself is changed: {path:?}"
        );
    }
    scope.adopt(&path);
}

/// A keybag: kept whole, and opened with a password at no more than the rounds that are allowed.
pub fn keybag(data: &[u8]) {
    let Ok(bag) = Keybag::parse(data) else { return };
    assert_eq!(bag.encode(), data);
    assert!(Keybag::parse(&bag.encode()).as_ref() == Ok(&bag));
    let limits = RoundLimits::default().first(50).second(50);
    if let Ok(key) = bag.derive(b"password", limits, &mut Silent) {
        let (first, second) = bag.rounds();
        assert!(first.unwrap_or_default() <= 50 && second <= 50);
        if let Ok(keys) = bag.unwrap(&key) {
            assert!(keys.usable().count() <= bag.classes().len());
        }
    }
}

/// `Manifest.mbdb` and `Manifest.mbdx`.
pub fn mbdb(data: &[u8]) {
    if let Ok(records) = read_mbdx(data) {
        assert!(records.len() * 26 <= data.len());
    }
    let mut bytes = MbdbReader::<&[u8]>::MAGIC.to_vec();
    bytes.extend_from_slice(data.strip_prefix(&MbdbReader::<&[u8]>::MAGIC).unwrap_or(data));
    let mut reader = MbdbReader::new(&bytes[..]).expect("it has the magic");
    let mut end = 6;
    loop {
        match reader.next_record() {
            Ok(Some((offset, record))) => {
                let mut written = MbdbReader::<&[u8]>::MAGIC.to_vec();
                written.extend(record.encode().expect("it was read from an index"));
                let mut again = MbdbReader::new(&written[..]).expect("it has the magic");
                let again = again.next_record().expect("what is written reads back");
                assert_eq!(again.map(|(_, record)| record).as_ref(), Some(&record));
                assert!(
                    offset >= end && offset < bytes.len() as u64,
                    "records follow one another"
                );
                assert!(record.domain.len() + record.path.len() + record.target.len() < bytes.len());
                end = offset + 1;
            }
            Ok(None) => break,
            Err(_) => {
                assert!(matches!(reader.next_record(), Ok(None)), "an error is the end");
                break;
            }
        }
    }
}

/// The record of one file, compared with what the general reader finds in the same bytes.
pub fn mbfile(data: &[u8]) {
    let Ok(file) = MbFile::decode(data) else { return };
    let _ = file.wrapped_key();
    let written = file.encode();
    assert_eq!(
        MbFile::decode(&written).as_ref(),
        Ok(&file),
        "what is written reads back"
    );
    let limits = Limits::default().with_bytes(1 << 20).with_nodes(10_000);
    let Ok(Value::Dictionary(archive)) = plist::read(data, &limits) else {
        return;
    };
    let follow = |value: &Value| -> Option<Value> {
        let Value::Uid(uid) = value else {
            return Some(value.clone());
        };
        let objects = archive.get("$objects")?.as_array()?;
        objects.get(usize::try_from(uid.get()).ok()?).cloned()
    };
    let root = archive
        .get("$top")
        .and_then(Value::as_dictionary)
        .and_then(|top| top.get("root"));
    let Some(Value::Dictionary(root)) = root.and_then(follow) else {
        return;
    };
    if let Some(Value::String(path)) = root.get("RelativePath").and_then(follow) {
        assert_eq!(file.relative_path, path);
    }
    if let Some(Value::Integer(size)) = root.get("Size").and_then(follow)
        && let Some(size) = size.as_unsigned()
    {
        assert_eq!(file.size, size);
    }
}

/// The three property lists of a backup.
pub fn backup_plists(data: &[u8]) {
    if let Ok(info) = Info::parse(data) {
        let _ = (
            info.device_name(),
            info.display_name(),
            info.build_version(),
            info.product_type(),
        );
        let _ = (
            info.product_name(),
            info.product_version(),
            info.serial_number(),
            info.phone_number(),
        );
        let _ = (
            info.target_identifier(),
            info.unique_identifier(),
            info.guid(),
            info.itunes_version(),
        );
        let _ = (info.last_backup_date(), info.installed_applications().count());
    }
    if let Ok(manifest) = Manifest::parse(data) {
        let _ = (
            manifest.is_encrypted(),
            manifest.version(),
            manifest.system_domains_version(),
        );
        let _ = (
            manifest.date(),
            manifest.was_passcode_set(),
            manifest.lockdown("UniqueDeviceID"),
        );
        let _ = manifest.applications().count();
        if let Ok(Some(bag)) = manifest.backup_keybag() {
            keybag(bag);
        }
        if let Ok(Some(key)) = manifest.manifest_key() {
            assert!(WrappedKey::parse(&[&key.class().to_le_bytes()[..], key.wrapped()].concat()).is_some());
        }
    }
    if let Ok(status) = Status::parse(data) {
        let _ = (
            status.backup_state(),
            status.snapshot_state(),
            status.is_finished(),
            status.is_full_backup(),
        );
        let _ = (status.date(), status.uuid(), status.version());
    }
}

/// The rule of backup-format 6.3, written down a second time: length and completeness of the plaintext.
fn reference_ending(stored: usize, recorded: u64, plain: &[u8]) -> (usize, Completeness) {
    let whole = stored / 16 * 16;
    if whole == 0 {
        let complete = recorded == 0;
        return (
            0,
            if complete {
                Completeness::Complete
            } else {
                Completeness::Incomplete
            },
        );
    }
    let tail = usize::from(plain[whole - 1]);
    let padded = (1..=16).contains(&tail) && plain[whole - tail..whole].iter().all(|byte| usize::from(*byte) == tail);
    if padded {
        let (as_recorded, grown) = (
            (whole - tail) as u64 == recorded,
            whole as u64 >= (recorded / 16 + 1) * 16,
        );
        if as_recorded || grown || tail >= 3 {
            return (whole - tail, Completeness::Complete);
        }
    }
    if whole as u64 == recorded {
        (whole, Completeness::WithoutPadding)
    } else {
        (whole, Completeness::Incomplete)
    }
}

/// Both readers of encrypted payloads against a decryption in one piece, read and sought as the script says.
pub fn padding_reader(data: &[u8]) {
    let mut script = Script::new(data);
    let (mode, recorded, extra) = (script.byte(), u64::from(script.word()), script.byte());
    let moves = script.take(usize::from(script.clone().byte() % 16) + 1);
    let key = Key::from([mode; 32]);
    let mut stored = script.rest().to_vec();
    if mode & 1 == 0 {
        // Encrypt, padded or not, so that the end is one that a device may have written.
        let tail = match mode >> 1 & 3 {
            0 => 16 - stored.len() % 16,
            1 => usize::from(extra % 17),
            _ => 0,
        };
        stored.resize(stored.len() + tail, u8::try_from(tail).unwrap_or_default());
        let (blocks, _) = stored.as_chunks_mut::<16>();
        cbc::Encryptor::<Aes256>::new(key.expose().into(), &Array::default())
            .encrypt_blocks(Array::cast_slice_from_core_mut(blocks));
    }
    let mut plain = stored.clone();
    let (blocks, _) = plain.as_chunks_mut::<16>();
    cbc::Decryptor::<Aes256>::new(key.expose().into(), &Array::default())
        .decrypt_blocks(Array::cast_slice_from_core_mut(blocks));
    let (len, completeness) = reference_ending(stored.len(), recorded, &plain);
    plain.truncate(len);

    let salvage = ReadOptions::default().salvage(true);
    let strict = DecryptingReader::new(Cursor::new(&stored), &key, recorded, ReadOptions::default());
    assert_eq!(strict.is_err(), completeness == Completeness::Incomplete);
    let mut reader = DecryptingReader::new(Cursor::new(&stored), &key, recorded, salvage).expect("salvaged");
    let Ending {
        plain_len,
        completeness: found,
        stray,
        ..
    } = reader.ending();
    assert_eq!(
        (plain_len, found, usize::from(stray)),
        (len as u64, completeness, stored.len() % 16)
    );
    for step in moves {
        let at = u64::from(*step) * 7 % (plain_len + 20);
        reader.seek(SeekFrom::Start(at)).expect("a seek in memory");
        let mut some = vec![0; usize::from(*step)];
        let got = reader.read(&mut some).expect("a read in memory");
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(len);
        assert_eq!(some[..got], plain[at..at + got]);
        assert!(
            got > 0 || some.is_empty() || at == len,
            "a read in the middle gave nothing"
        );
    }
    reader.rewind().expect("a seek in memory");
    let mut all = Vec::new();
    reader.read_to_end(&mut all).expect("a read in memory");
    assert_eq!(all, plain);

    let mut streamed = Vec::new();
    let mut stream = DecryptingStream::new(&stored[..], &key, recorded, salvage);
    stream.read_to_end(&mut streamed).expect("salvaged");
    assert_eq!(streamed, plain);
    assert_eq!(stream.ending(), Some(reader.ending()));
    let mut stream = DecryptingStream::new(&stored[..], &key, recorded, ReadOptions::default());
    let refused = stream.read_to_end(&mut Vec::new()).is_err();
    assert_eq!(refused, completeness == Completeness::Incomplete);
}
