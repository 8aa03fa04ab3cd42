//! AES-256-CBC as backups use it: zero IV.

use std::fmt;

use aes::Aes256;
use aes::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, SetIvState};

use super::wrap::Key;

/// Decrypts blocks in order; several at once, as CBC allows.
pub(crate) struct CbcDecryptor(cbc::Decryptor<Aes256>);

impl CbcDecryptor {
    /// Starts at the first block, whose predecessor is sixteen zero bytes.
    pub(crate) fn new(key: &Key) -> Self {
        Self(cbc::Decryptor::new(key.expose().into(), &Array::default()))
    }

    /// Goes on behind another block: `before` is the encrypted block in front of the next one.
    pub(crate) fn continue_after(&mut self, before: [u8; 16]) {
        self.0.set_iv(&Array::from(before));
    }

    /// Decrypts in place. Bytes after the last whole block stay as they are; callers pass none.
    pub(crate) fn decrypt(&mut self, blocks: &mut [u8]) {
        let (blocks, rest) = blocks.as_chunks_mut::<16>();
        debug_assert!(rest.is_empty());
        self.0.decrypt_blocks(Array::cast_slice_from_core_mut(blocks));
    }
}

impl fmt::Debug for CbcDecryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CbcDecryptor(..)")
    }
}

/// Encrypts blocks in order.
pub(crate) struct CbcEncryptor(cbc::Encryptor<Aes256>);

impl CbcEncryptor {
    pub(crate) fn new(key: &Key) -> Self {
        Self(cbc::Encryptor::new(key.expose().into(), &Array::default()))
    }

    /// Encrypts in place. Bytes after the last whole block stay as they are; callers pass none.
    pub(crate) fn encrypt(&mut self, blocks: &mut [u8]) {
        let (blocks, rest) = blocks.as_chunks_mut::<16>();
        debug_assert!(rest.is_empty());
        self.0.encrypt_blocks(Array::cast_slice_from_core_mut(blocks));
    }
}

impl fmt::Debug for CbcEncryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CbcEncryptor(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::golden::{self, bytes, opt_bytes};
    use crate::archive::padding::{Completeness, Ending};

    #[test]
    fn known_ciphertexts_decrypt_to_their_plaintexts() {
        let vectors = golden::vectors();
        let cases = vectors["aes_cbc"].as_array().unwrap();
        assert_eq!(cases.len(), 9);
        for case in cases {
            let key = Key::from(<[u8; 32]>::try_from(bytes(&case["key"])).unwrap());
            let plain = bytes(&case["plain"]);
            let padded = opt_bytes(&case["padded_cipher"]);
            let mut data = padded.clone().unwrap_or_else(|| bytes(&case["unpadded_cipher"]));
            CbcDecryptor::new(&key).decrypt(&mut data);
            let ending = Ending::of(data.len() as u64, plain.len() as u64, data.last_chunk());
            let expect = if padded.is_some() {
                Completeness::Complete
            } else {
                Completeness::WithoutPadding
            };
            assert_eq!(ending.completeness, expect);
            data.truncate(usize::try_from(ending.plain_len).unwrap());
            assert_eq!(data, plain, "{}", case["name"]);
        }
    }

    #[test]
    fn decryption_can_start_at_any_block() {
        let key = Key::from([3; 32]);
        let stored: Vec<u8> = (0..=255).cycle().take(640).collect();
        let mut whole = stored.clone();
        CbcDecryptor::new(&key).decrypt(&mut whole);
        for start in (16..640).step_by(16) {
            let mut part = stored[start..].to_vec();
            let mut decryptor = CbcDecryptor::new(&key);
            decryptor.continue_after(stored[start - 16..start].try_into().unwrap());
            decryptor.decrypt(&mut part);
            assert_eq!(part, whole[start..]);
        }
    }
}
