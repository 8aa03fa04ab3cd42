//! The one-release scheme of iOS 10.0: records encrypted with the password itself (spec backup-format, 9.2).
//!
//! Known from one source and no real sample. 10.1 dropped it.

use std::fmt;

use aes::Aes128;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{Array, BlockModeDecrypt, KeyIvInit};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What tells the right password: `salt` and `passwordHash` of the table `Properties`.
#[derive(Clone, Debug)]
pub(crate) struct PasswordCheck {
    pub(crate) salt: Vec<u8>,
    pub(crate) hash: Vec<u8>,
}

/// Decrypts the `file` column. Wiped when dropped.
#[derive(Clone)]
pub(crate) struct ColumnKey(Zeroizing<[u8; 16]>);

impl ColumnKey {
    const IV: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    /// The key that `password` gives; `None` if that is not the password.
    pub(crate) fn derive(password: &[u8], check: &PasswordCheck) -> Option<Self> {
        let hash = Sha256::new()
            .chain_update(password)
            .chain_update(&check.salt)
            .finalize();
        if hash.as_slice() != check.hash {
            return None;
        }
        let hash = Sha1::new().chain_update(password).chain_update(&check.salt).finalize();
        hash.first_chunk().map(|key| Self(Zeroizing::new(*key)))
    }

    /// The record in the clear; `None` if it has no valid padding.
    pub(crate) fn decrypt(&self, record: &[u8]) -> Option<Vec<u8>> {
        let decryptor = cbc::Decryptor::<Aes128>::new((&*self.0).into(), &Array::from(Self::IV));
        let mut record = record.to_vec();
        let len = decryptor.decrypt_padded::<Pkcs7>(&mut record).ok()?.len();
        record.truncate(len);
        Some(record)
    }
}

impl fmt::Debug for ColumnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ColumnKey(16 bytes)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::golden::{self, bytes};
    use crate::archive::mbfile::MbFile;

    #[test]
    fn a_record_of_ios_10_0_opens_with_the_password() {
        let case = &golden::vectors()["ios_10_0_only"];
        let check = PasswordCheck {
            salt: bytes(&case["salt"]),
            hash: bytes(&case["password_hash"]),
        };
        let password = case["password"].as_str().unwrap().as_bytes();
        let key = ColumnKey::derive(password, &check).unwrap();
        assert_eq!(key.0.to_vec(), bytes(&case["file_column_key"]));
        let record = key.decrypt(&bytes(&case["file_column"])).unwrap();
        assert_eq!(record, bytes(&case["file_blob"]));
        assert!(MbFile::decode(&record).is_ok());
        assert!(ColumnKey::derive(b"vector-pass-2", &check).is_none());
        assert_eq!(key.decrypt(&[0; 15]), None);
    }
}
