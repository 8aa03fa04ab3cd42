//! AES-256-CBC with a zero IV and PKCS#7 padding, block by block (spec backup-format 6.2, 6.3).
//!
//! Every file has a random key of its own, so the zero IV is used once per key.

use aes::Aes256;
use aes::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, consts::U16};

use super::keybag::Key;

const BLOCK: usize = 16;

/// Length of what `plain` bytes become: always padded, by 1 to 16 bytes.
pub(crate) const fn padded(plain: u64) -> u64 {
    (plain / 16).saturating_add(1).saturating_mul(16)
}

/// Encrypts whole blocks in place under a zero IV, without padding.
pub(crate) fn encrypt_blocks(key: &Key, bytes: &mut [u8]) {
    let mut cipher = cbc::Encryptor::<Aes256>::new(key.bytes().into(), &Array::default());
    cipher.encrypt_blocks(Array::<u8, U16>::slice_as_chunks_mut(bytes).0);
}

/// Decrypts whole blocks in place under a zero IV; padding stays.
pub(crate) fn decrypt_blocks(key: &Key, bytes: &mut [u8]) {
    let mut cipher = cbc::Decryptor::<Aes256>::new(key.bytes().into(), &Array::default());
    cipher.decrypt_blocks(Array::<u8, U16>::slice_as_chunks_mut(bytes).0);
}

/// Encrypts a stream in place, whole blocks at a time; the caller adds the padding to the last ones.
pub(crate) struct Encryptor {
    cipher: cbc::Encryptor<Aes256>,
}

impl std::fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryptor").finish_non_exhaustive()
    }
}

impl Encryptor {
    pub(crate) fn new(key: &Key) -> Self {
        let cipher = cbc::Encryptor::new(key.bytes().into(), &Array::default());
        Self { cipher }
    }

    /// Encrypts in place. `bytes` must be whole blocks; what is left over stays as it is.
    pub(crate) fn blocks(&mut self, bytes: &mut [u8]) {
        self.cipher
            .encrypt_blocks(Array::<u8, U16>::slice_as_chunks_mut(bytes).0);
    }
}

/// Decrypts a stream; holds one block back, since only the end of the stream tells padding from content.
pub(crate) struct Decryptor {
    cipher: cbc::Decryptor<Aes256>,
    tail: Vec<u8>,
}

impl std::fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decryptor").finish_non_exhaustive()
    }
}

/// The stored payload does not end in valid padding: it is cut, or damaged, or the key is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPadding;

impl Decryptor {
    pub(crate) fn new(key: &Key) -> Self {
        let cipher = cbc::Decryptor::new(key.bytes().into(), &Array::default());
        Self {
            cipher,
            tail: Vec::with_capacity(BLOCK),
        }
    }

    /// Appends plaintext that is certainly content.
    pub(crate) fn update(&mut self, stored: &[u8], out: &mut Vec<u8>) {
        let from = out.len();
        out.append(&mut self.tail);
        out.extend_from_slice(stored);
        let total = out.len().saturating_sub(from);
        // The last block, whole or not, stays encrypted until the end.
        let keep = match total % BLOCK {
            0 => BLOCK.min(total),
            part => part,
        };
        let whole = out.len().saturating_sub(keep);
        self.tail.extend_from_slice(out.get(whole..).unwrap_or_default());
        out.truncate(whole);
        if let Some(fresh) = out.get_mut(from..) {
            self.cipher
                .decrypt_blocks(Array::<u8, U16>::slice_as_chunks_mut(fresh).0);
        }
    }

    /// Appends the last bytes, without their padding.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Result<(), BadPadding> {
        let (blocks, stray) = Array::<u8, U16>::slice_as_chunks_mut(&mut self.tail);
        if blocks.len() != 1 || !stray.is_empty() {
            return Err(BadPadding);
        }
        self.cipher.decrypt_blocks(blocks);
        let fill = *self.tail.last().ok_or(BadPadding)?;
        let kept = BLOCK
            .checked_sub(usize::from(fill))
            .filter(|_| fill > 0)
            .ok_or(BadPadding)?;
        let (content, padding) = self.tail.split_at_checked(kept).ok_or(BadPadding)?;
        if padding.iter().any(|byte| *byte != fill) {
            return Err(BadPadding);
        }
        out.extend_from_slice(content);
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encrypt(key: &Key, plain: &[u8], step: usize) -> Vec<u8> {
        let mut bytes = plain.to_vec();
        let fill = 16 - plain.len() % 16;
        bytes.extend(vec![u8::try_from(fill).unwrap(); fill]);
        let mut cipher = Encryptor::new(key);
        bytes.chunks_mut(step * 16).for_each(|piece| cipher.blocks(piece));
        bytes
    }

    fn decrypt(key: &Key, stored: &[u8], step: usize) -> Result<Vec<u8>, BadPadding> {
        let mut cipher = Decryptor::new(key);
        let mut out = Vec::new();
        stored.chunks(step).for_each(|piece| cipher.update(piece, &mut out));
        cipher.finish(&mut out).map(|()| out)
    }

    #[test]
    fn ciphertexts_agree_with_the_vectors() {
        let mut checked = 0;
        for case in super::super::vectors()["aes_cbc"].as_array().unwrap() {
            let bytes = |key: &str| hex::decode(case[key].as_str().unwrap()).unwrap();
            let key = Key::new(bytes("key").try_into().unwrap());
            if case["padded_cipher"].is_string() {
                assert_eq!(
                    encrypt(&key, &bytes("plain"), 7),
                    bytes("padded_cipher"),
                    "{}",
                    case["name"]
                );
                assert_eq!(decrypt(&key, &bytes("padded_cipher"), 13).unwrap(), bytes("plain"));
                checked += 1;
            }
        }
        assert!(checked > 5);
    }

    proptest! {
        #[test]
        fn splitting_the_stream_anywhere_changes_nothing(plain in proptest::collection::vec(any::<u8>(), 0..200), a in 1_usize..70, b in 1_usize..70) {
            let key = Key::new([5; 32]);
            let stored = encrypt(&key, &plain, a);
            prop_assert_eq!(stored.len() as u64, padded(plain.len() as u64));
            prop_assert_eq!(&encrypt(&key, &plain, 1000), &stored);
            prop_assert_eq!(decrypt(&key, &stored, b), Ok(plain));
        }

        #[test]
        fn a_cut_payload_never_passes_for_a_longer_one(plain in proptest::collection::vec(any::<u8>(), 40..100), cut in 1_usize..40) {
            let key = Key::new([6; 32]);
            let stored = encrypt(&key, &plain, 1000);
            if let Ok(out) = decrypt(&key, &stored[..stored.len() - cut], 9) {
                prop_assert!(out.len() < plain.len());
            }
        }
    }
}
