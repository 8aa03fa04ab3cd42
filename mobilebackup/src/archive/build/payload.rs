//! Writing one payload, encrypted while it streams.

use std::fs::File;
use std::io::{self, Read, Write};

use sha1::{Digest, Sha1};

use crate::archive::cipher::CbcEncryptor;
use crate::archive::padding::BLOCK;
use crate::archive::wrap::Key;

/// Bytes read and written at once.
const CHUNK: usize = 256 << 10;

/// What became of the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Length of the contents in bytes.
    pub(crate) len: u64,
    /// Length of the payload in bytes.
    pub(crate) stored_len: u64,
    /// SHA-1 of the payload, if it was asked for.
    pub(crate) digest: Option<[u8; 20]>,
}

/// Which side failed.
#[derive(Debug)]
pub(crate) enum StoreError {
    Contents(io::Error),
    Target(io::Error),
    Stopped,
}

/// Copies `contents` to `target`, encrypted and padded if there is a key. `pulse` hears of every chunk and says whether
/// to go on.
pub(crate) fn store(
    contents: &mut dyn Read,
    target: &mut File,
    key: Option<&Key>,
    with_digest: bool,
    buffer: &mut Vec<u8>,
    pulse: &mut dyn FnMut(u64) -> bool,
) -> Result<Stored, StoreError> {
    let mut encryptor = key.map(CbcEncryptor::new);
    let mut hash = with_digest.then(Sha1::new);
    let (mut len, mut stored_len) = (0_u64, 0_u64);
    loop {
        buffer.clear();
        let mut source = contents.take(CHUNK as u64);
        let got = source.read_to_end(buffer).map_err(StoreError::Contents)?;
        len = len.saturating_add(got as u64);
        let is_last = got < CHUNK;
        if let Some(encryptor) = &mut encryptor {
            if is_last {
                pad(buffer);
            }
            encryptor.encrypt(buffer);
        }
        if let Some(hash) = &mut hash {
            hash.update(&*buffer);
        }
        target.write_all(buffer).map_err(StoreError::Target)?;
        stored_len = stored_len.saturating_add(buffer.len() as u64);
        if !pulse(got as u64) {
            return Err(StoreError::Stopped);
        }
        if is_last {
            return Ok(Stored {
                len,
                stored_len,
                digest: hash.map(|hash| hash.finalize().into()),
            });
        }
    }
}

/// PKCS#7: always 1 to 16 bytes, each saying how many.
fn pad(buffer: &mut Vec<u8>) {
    let over = buffer.len() as u64 % BLOCK;
    let count = BLOCK.saturating_sub(over);
    let target = buffer.len().saturating_add(usize::try_from(count).unwrap_or_default());
    buffer.resize(target, u8::try_from(count).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::golden::{self, bytes, opt_bytes};

    fn stored(contents: &[u8], key: Option<&Key>) -> (Stored, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payload");
        let mut source = contents;
        let outcome = store(
            &mut source,
            &mut File::create(&path).unwrap(),
            key,
            true,
            &mut Vec::new(),
            &mut |_| true,
        );
        (outcome.unwrap(), std::fs::read(path).unwrap())
    }

    #[test]
    fn known_plaintexts_encrypt_to_their_padded_ciphertexts() {
        let mut seen = 0;
        for case in golden::vectors()["aes_cbc"].as_array().unwrap() {
            let Some(cipher) = opt_bytes(&case["padded_cipher"]) else {
                continue;
            };
            let key = Key::from(<[u8; 32]>::try_from(bytes(&case["key"])).unwrap());
            let (_, written) = stored(&bytes(&case["plain"]), Some(&key));
            assert_eq!(written, cipher, "{}", case["name"]);
            seen += 1;
        }
        assert_eq!(seen, 8);
        let case = &golden::vectors()["file"];
        let key = Key::from(<[u8; 32]>::try_from(bytes(&case["file_key"])).unwrap());
        let (outcome, written) = stored(&bytes(&case["plain"]), Some(&key));
        assert_eq!(written, bytes(&case["cipher"]));
        assert_eq!(outcome.digest.unwrap().to_vec(), bytes(&case["digest_sha1_of_cipher"]));
    }

    #[test]
    fn lengths_around_a_chunk_are_padded_once() {
        let key = Key::from([5; 32]);
        for len in [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 0, 15, 16, 17] {
            let contents: Vec<u8> = (0..=255).cycle().take(len).collect();
            let (outcome, written) = stored(&contents, Some(&key));
            assert_eq!(outcome.len, len as u64);
            assert_eq!(
                (outcome.stored_len, written.len()),
                (written.len() as u64, (len / 16 + 1) * 16)
            );
            let (_, plain) = stored(&contents, None);
            assert_eq!(plain, contents);
        }
    }
}
