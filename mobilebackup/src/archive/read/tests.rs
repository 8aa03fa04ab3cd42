use std::io::Cursor;

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{Array, BlockModeEncrypt, KeyIvInit};
use proptest::prelude::*;

use super::*;
use crate::archive::golden::{self, bytes};
use crate::archive::stream::DecryptingStream;

const KEY: [u8; 32] = [0x42; 32];

fn key() -> Key {
    Key::from(KEY)
}

/// As a device writes it: CBC, zero IV, PKCS#7.
fn encrypt(plain: &[u8]) -> Vec<u8> {
    let cipher = cbc::Encryptor::<Aes256>::new(&KEY.into(), &Array::default());
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + 16, 0);
    cipher
        .encrypt_padded::<Pkcs7>(&mut buffer, plain.len())
        .unwrap()
        .to_vec()
}

fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i * 7 + i / 251) % 256).unwrap())
        .collect()
}

fn salvage() -> ReadOptions {
    ReadOptions::default().salvage(true)
}

fn seekable(stored: &[u8], recorded: u64) -> (Vec<u8>, Ending) {
    let mut reader = DecryptingReader::new(Cursor::new(stored), &key(), recorded, salvage()).unwrap();
    let mut out = Vec::new();
    reader.read_to_end(&mut out).unwrap();
    (out, reader.ending())
}

/// Gives its bytes in pieces of changing sizes, as a socket would.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1 % 37 + 1;
        let len = self.1.min(out.len());
        let len = self.0.take(len as u64).read(out)?;
        self.0 = &self.0[len..];
        Ok(len)
    }
}

fn streamed(stored: &[u8], recorded: u64) -> (Vec<u8>, Ending) {
    let mut reader = DecryptingStream::new(Pieces(stored, 0), &key(), recorded, salvage());
    let mut out = Vec::new();
    reader.read_to_end(&mut out).unwrap();
    (out, reader.ending().unwrap())
}

#[test]
fn the_published_file_decrypts() {
    let case = &golden::vectors()["file"];
    let key = Key::from(<[u8; 32]>::try_from(bytes(&case["file_key"])).unwrap());
    let plain = bytes(&case["plain"]);
    let stored = Cursor::new(bytes(&case["cipher"]));
    let mut reader = DecryptingReader::new(stored, &key, plain.len() as u64, ReadOptions::default()).unwrap();
    let mut out = Vec::new();
    reader.read_to_end(&mut out).unwrap();
    assert_eq!(out, plain);
    assert_eq!(reader.ending().completeness, Completeness::Complete);
}

#[test]
fn both_readers_give_what_was_encrypted_at_every_length() {
    for len in (0..70).chain([4095, 4096, 4097, CHUNK - 16, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5]) {
        let plain = content(len);
        let stored = encrypt(&plain);
        let expect = Ending {
            plain_len: len as u64,
            completeness: Completeness::Complete,
            stray: 0,
        };
        assert_eq!(seekable(&stored, len as u64), (plain.clone(), expect), "{len}");
        assert_eq!(streamed(&stored, len as u64), (plain, expect), "{len}");
    }
}

#[test]
fn a_payload_cut_at_any_byte_is_never_taken_for_whole() {
    for len in [0_usize, 1, 15, 16, 17, 100, 255, 256] {
        let plain = content(len);
        let stored = encrypt(&plain);
        for cut in 0..stored.len() {
            let (bytes, ending) = seekable(&stored[..cut], len as u64);
            assert_eq!(
                (bytes.clone(), ending),
                streamed(&stored[..cut], len as u64),
                "{len} cut at {cut}"
            );
            assert_eq!(bytes, plain[..bytes.len()], "only right bytes come out");
            match ending.completeness {
                // The recorded size is zero, or every recorded byte is there and only padding was lost.
                Completeness::Complete => assert_eq!(len, 0),
                Completeness::WithoutPadding => assert_eq!(bytes.len(), len),
                Completeness::Incomplete => assert!(bytes.len() < len),
            }
        }
    }
}

#[test]
fn a_cut_payload_is_refused_unless_salvage_is_asked_for() {
    let plain = content(100);
    let stored = &encrypt(&plain)[..48];
    let refused = DecryptingReader::new(Cursor::new(stored), &key(), 100, ReadOptions::default());
    assert!(matches!(
        refused,
        Err(ArchiveError::Incomplete {
            stored: 48,
            recorded: 100
        })
    ));

    let mut stream = DecryptingStream::new(stored, &key(), 100, ReadOptions::default());
    let mut out = Vec::new();
    let refused = stream.read_to_end(&mut out).unwrap_err();
    assert_eq!((refused.kind(), &*out), (io::ErrorKind::UnexpectedEof, &plain[..32]));
    assert!(stream.read(&mut [0]).is_err(), "the error stays");
    assert_eq!(seekable(stored, 100).0, plain[..48]);
}

#[test]
fn a_source_that_fails_is_not_taken_for_a_short_one() {
    struct Failing<'a>(&'a [u8], bool);
    impl Read for Failing<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            match self.0.read(out)? {
                0 if self.1 => Ok(0),
                0 => {
                    self.1 = true;
                    Err(io::ErrorKind::ConnectionReset.into())
                }
                n => Ok(n),
            }
        }
    }
    let stored = encrypt(&content(100));
    let mut stream = DecryptingStream::new(Failing(&stored[..64], false), &key(), 64, salvage());
    let mut out = Vec::new();
    assert_eq!(
        stream.read_to_end(&mut out).unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    assert!(stream.read(&mut [0; 9]).is_err() && stream.ending().is_none());
}

#[test]
fn reads_of_any_size_from_any_place_agree_with_the_whole() {
    let plain = content(3 * CHUNK + 777);
    let stored = encrypt(&plain);
    let mut reader = DecryptingReader::new(Cursor::new(&stored), &key(), 0, ReadOptions::default()).unwrap();
    let size = reader.seek(SeekFrom::End(0)).unwrap();
    assert_eq!(size, plain.len() as u64);
    for (start, len) in [
        (0, 10),
        (5, 10),
        (16, CHUNK),
        (CHUNK - 3, 7),
        (CHUNK, 2 * CHUNK),
        (1, 3 * CHUNK),
        (plain.len() - 5, 100),
        (plain.len() - 777, 5000),
        (32, DIRECT),
        (16, DIRECT),
        (48, 1),
    ] {
        let mut out = vec![0; len];
        reader.seek(SeekFrom::Start(start as u64)).unwrap();
        let mut filled = 0;
        while filled < len {
            match reader.read(&mut out[filled..]).unwrap() {
                0 => break,
                n => filled += n,
            }
        }
        assert_eq!(
            out[..filled],
            plain[start..plain.len().min(start + len)],
            "{start} {len}"
        );
    }
    reader.seek(SeekFrom::Start(u64::MAX)).unwrap();
    assert_eq!(reader.read(&mut [0; 8192]).unwrap(), 0);
    assert!(reader.seek(SeekFrom::Current(1)).is_err() && reader.seek(SeekFrom::End(i64::MIN)).is_err());
}

proptest! {
    #[test]
    fn seeking_and_streaming_agree_on_any_bytes(
        stored in proptest::collection::vec(any::<u8>(), 0..400), recorded in 0_u64..500,
    ) {
        prop_assert_eq!(seekable(&stored, recorded), streamed(&stored, recorded));
    }

    #[test]
    fn seeking_around_reads_what_streaming_reads(
        len in 0_usize..9000,
        steps in proptest::collection::vec((0_u64..9100, 0_usize..9000), 1..12),
    ) {
        let stored = encrypt(&content(len));
        let (whole, _) = streamed(&stored, len as u64);
        let mut reader = DecryptingReader::new(Cursor::new(&stored), &key(), len as u64, salvage()).unwrap();
        for (start, want) in steps {
            reader.seek(SeekFrom::Start(start)).unwrap();
            let mut out = Vec::new();
            reader.by_ref().take(want as u64).read_to_end(&mut out).unwrap();
            let start = usize::try_from(start).unwrap().min(len);
            prop_assert_eq!(&out[..], &whole[start..len.min(start + want)]);
        }
    }

    #[test]
    fn stray_bytes_are_left_out(len in 0_usize..300, stray in 1_u8..16) {
        let plain = content(len);
        let mut stored = encrypt(&plain);
        stored.extend(vec![0x77; stray.into()]);
        let expect = Ending { plain_len: len as u64, completeness: Completeness::Complete, stray };
        prop_assert_eq!(seekable(&stored, len as u64), (plain.clone(), expect));
        prop_assert_eq!(streamed(&stored, len as u64), (plain, expect));
    }
}
