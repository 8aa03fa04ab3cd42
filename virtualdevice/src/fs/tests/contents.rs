//! Contents: written, spooled, shared, hashed.

use std::io::{Read as _, Seek as _, SeekFrom};

use proptest::prelude::*;

use crate::fs::{Content, Fs, FsError, Kind, MAX_IN_MEMORY, Meta};

const D: &str = "D";
const MIB: usize = 1 << 20;

fn phone(content: Content) -> Fs {
    let fs = Fs::new(1 << 40);
    fs.create_dir_all(D, "").unwrap();
    fs.put(D, "f", Kind::File(content), Meta::file()).unwrap();
    fs
}

fn content(fs: &Fs) -> Content {
    fs.get(D, "f").unwrap().content().unwrap().clone()
}

fn on_disk(fs: &Fs) -> u64 {
    fs.spool().on_disk().map_or(0, |(_, bytes)| bytes)
}

#[test]
fn hashes_match_known_answers() {
    let content = Content::bytes("abc");
    assert_eq!(
        hex::encode(content.sha1().unwrap()),
        "a9993e364706816aba3e25717850c26c9cd0d89d"
    );
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hex::encode(content.sha256().unwrap()), sha256);
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex::encode(Content::empty().sha256().unwrap()), empty);
    let long = Content::noise(1, 1_000_001);
    assert_eq!(
        Content::bytes(long.to_bytes(1 << 30).unwrap()).sha256().unwrap(),
        long.sha256().unwrap()
    );
}

#[test]
fn contents_are_compared_by_their_bytes() {
    let (a, b) = (Content::noise(1, 700_000), Content::noise(1, 700_000));
    assert!(a.same_bytes(&b).unwrap());
    assert!(!a.same_bytes(&Content::noise(2, 700_000)).unwrap());
    assert!(!a.same_bytes(&Content::noise(1, 700_001)).unwrap());
    let mut other = a.to_bytes(1 << 30).unwrap().to_vec();
    *other.last_mut().unwrap() ^= 1;
    assert!(!a.same_bytes(&Content::bytes(other)).unwrap());
}

#[test]
fn reading_past_the_end_gives_what_is_there() {
    let content = Content::bytes("hello");
    let mut out = [0; 8];
    assert_eq!(content.read_at(3, &mut out).unwrap(), 2);
    assert_eq!(content.read_at(5, &mut out).unwrap(), 0);
    assert_eq!(content.read_at(u64::MAX, &mut out).unwrap(), 0);
    assert!(content.to_bytes(4).is_err());
    let mut reader = content.reader();
    reader.seek(SeekFrom::End(-2)).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "lo");
    assert!(reader.seek(SeekFrom::Current(-9)).is_err());
}

#[test]
fn small_files_stay_in_memory_and_large_ones_go_to_a_folder_that_goes_away() {
    let fs = phone(Content::empty());
    let mut writer = fs.writer(10);
    writer.write(&[1; MIB]).unwrap();
    let small = writer.finish().unwrap();
    assert_eq!((small.len(), on_disk(&fs)), (MAX_IN_MEMORY, 0));
    let mut writer = fs.writer(0);
    for n in 0..3 {
        writer.write(&[n; MIB]).unwrap();
    }
    assert_eq!(writer.len(), 3 << 20);
    let large = writer.finish().unwrap();
    assert_eq!(on_disk(&fs), 3 << 20);
    let mut out = [9; 4];
    large.read_at((1 << 20) - 2, &mut out).unwrap();
    assert_eq!(out, [0, 0, 1, 1]);
    let (folder, _) = fs.spool().on_disk().unwrap();
    drop(fs);
    assert!(folder.exists(), "while somebody holds the contents");
    drop(large);
    assert!(!folder.exists());
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let fs = phone(Content::empty());
    let mut writer = fs.writer(0);
    writer.write(&vec![1; 2 * MIB]).unwrap();
    assert_eq!(on_disk(&fs), 2 << 20);
    drop(writer);
    assert_eq!(on_disk(&fs), 0);
}

#[test]
fn the_spool_folder_is_for_its_owner_only() {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let fs = phone(Content::noise(1, 2 << 20));
        fs.write_at(D, "f", 0, b"x").unwrap();
        let (folder, _) = fs.spool().on_disk().unwrap();
        let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_byte_written_into_a_huge_generated_file_costs_a_byte() {
    let fs = phone(Content::noise(7, 30 << 30));
    let before = content(&fs);
    fs.write_at(D, "f", 20 << 30, b"!").unwrap();
    assert_eq!(on_disk(&fs), 1);
    let (mut old, mut new) = ([0; 3], [0; 3]);
    before.read_at((20 << 30) - 1, &mut old).unwrap();
    content(&fs).read_at((20 << 30) - 1, &mut new).unwrap();
    assert_eq!(new, [old[0], b'!', old[2]]);
}

#[test]
fn zeros_of_a_long_file_take_no_disk() {
    let fs = phone(Content::bytes("start"));
    fs.set_len(D, "f", 8 << 30).unwrap();
    fs.write_at(D, "f", (8 << 30) - 3, b"end").unwrap();
    assert_eq!((on_disk(&fs), content(&fs).len()), (3, 8 << 30));
    let mut out = [1; 8];
    content(&fs).read_at(2, &mut out).unwrap();
    assert_eq!(&out, b"art\0\0\0\0\0");
    fs.set_len(D, "f", 5).unwrap();
    assert_eq!(content(&fs).to_bytes(9).unwrap(), "start");
    assert_eq!(on_disk(&fs), 0);
}

#[test]
fn rewriting_a_file_for_ever_does_not_fill_the_disk() {
    let fs = phone(Content::empty());
    for n in 0..150_u8 {
        fs.write_at(D, "f", u64::from(n % 2) << 20, &vec![n; MIB]).unwrap();
        if n == 40 {
            assert!(on_disk(&fs) > 2 << 20, "nothing is rewritten for a little garbage");
        }
    }
    assert!(on_disk(&fs) < 70 << 20, "{}", on_disk(&fs));
    let bytes = content(&fs).to_bytes(1 << 30).unwrap();
    assert_eq!((bytes.len(), bytes[0], bytes[MIB]), (2 * MIB, 148, 149));
}

#[test]
fn a_spool_file_that_is_gone_is_an_error() {
    let fs = phone(Content::noise(1, 2 << 20));
    fs.write_at(D, "f", 0, b"x").unwrap();
    let (folder, _) = fs.spool().on_disk().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert!(content(&fs).sha256().is_err());
    assert!(matches!(fs.write_at(D, "f", 0, b"y"), Err(FsError::Io(_))));
}

#[derive(Clone, Debug)]
enum Edit {
    Write { at: usize, len: usize, byte: u8 },
    SetLen(usize),
    Keep,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        4 => (0..3 * MIB, 1..MIB, any::<u8>()).prop_map(|(at, len, byte)| Edit::Write { at, len, byte }),
        4 => (0..3 * MIB, 1..50_usize, any::<u8>()).prop_map(|(at, len, byte)| Edit::Write { at, len, byte }),
        2 => (0..3 * MIB).prop_map(Edit::SetLen),
        1 => Just(Edit::Keep),
    ];
    proptest::collection::vec(edit, 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn edits_of_a_file_are_those_of_a_vector_and_versions_stay(len in 0..3 * MIB, edits in edits()) {
        let fs = phone(Content::noise(3, len as u64));
        let mut model = content(&fs).to_bytes(1 << 30).unwrap().to_vec();
        let mut kept = vec![(content(&fs), model.clone())];
        for edit in edits {
            match edit {
                Edit::Write { at, len, byte } => {
                    let data: Vec<u8> = (0..len).map(|n| byte.wrapping_add(n as u8)).collect();
                    fs.write_at(D, "f", at as u64, &data).unwrap();
                    model.resize(model.len().max(at + len), 0);
                    model[at..at + len].copy_from_slice(&data);
                }
                Edit::SetLen(len) => {
                    fs.set_len(D, "f", len as u64).unwrap();
                    model.resize(len, 0);
                }
                Edit::Keep => kept.push((content(&fs), model.clone())),
            }
            prop_assert_eq!(content(&fs).len(), model.len() as u64);
        }
        kept.push((content(&fs), model));
        for (content, model) in kept {
            prop_assert!(content.to_bytes(1 << 30).unwrap() == model);
            let (mid, mut out) = (model.len() / 3, vec![0; 70_000]);
            let n = content.read_at(mid as u64, &mut out).unwrap();
            prop_assert!(out[..n] == model[mid..model.len().min(mid + 70_000)]);
        }
    }
}
