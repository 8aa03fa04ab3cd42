//! Unlocking: from a password to class keys and, where it is encrypted, the index.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::Archive;
use crate::archive::ArchiveError;
use crate::archive::database::Database;
use crate::archive::index::Index;
use crate::archive::keybag::ClassKeys;
use crate::archive::layout::{Protection, damaged};
use crate::archive::metadata::ColumnKey;
use crate::archive::observe::{Observer, Silent};
use crate::archive::wrap::Key;

impl Archive {
    /// Opens the class keys and nothing else. Returns the derived key.
    pub(crate) fn unlock_keys(&mut self, key: &Key) -> Result<(), ArchiveError> {
        let keybag = self.keybag.as_ref().ok_or(ArchiveError::NoKeybag)?;
        self.keys = Some(keybag.unwrap(key)?);
        Ok(())
    }

    /// Unlocks an encrypted backup with its password. Takes a second or more: the derivation is slow by design.
    ///
    /// Which Unicode form Apple's hosts send for a password with accents is not known, so one that fails as it is
    /// given is tried composed and decomposed as well, at the same cost each.
    ///
    /// # Errors
    /// As [`unlock_observed`](Archive::unlock_observed).
    pub fn unlock(&mut self, password: &str) -> Result<(), ArchiveError> {
        let composed = Zeroizing::new(password.nfc().collect::<String>());
        let decomposed = Zeroizing::new(password.nfd().collect::<String>());
        let mut forms = vec![password, composed.as_str(), decomposed.as_str()];
        // The given spelling is one of the two others in most cases.
        forms.dedup();
        if forms.first() == forms.last() {
            forms.truncate(2);
        }
        let mut outcome = Err(ArchiveError::WrongPassword);
        for form in forms {
            outcome = self.unlock_observed(form.as_bytes(), &mut Silent).map(drop);
            if !matches!(outcome, Err(ArchiveError::WrongPassword)) {
                break;
            }
        }
        outcome
    }

    /// Unlocks a backup with its password, watched by `observer`, which may stop it. Returns the derived key, which
    /// opens the same backup again at once and is as sensitive as the password. The keybag of an unencrypted backup
    /// opens with the empty password.
    ///
    /// Every backup opens with the password that was current when it was made. The bytes are taken as they are; every
    /// tool uses UTF-8.
    ///
    /// # Errors
    /// [`WrongPassword`](ArchiveError::WrongPassword), told after the full derivation;
    /// [`NoKeybag`](ArchiveError::NoKeybag), [`Keybag`](ArchiveError::Keybag) for a damaged one or one that asks for
    /// too many rounds, [`Cancelled`](ArchiveError::Cancelled), and for the index
    /// [`IndexDecryption`](ArchiveError::IndexDecryption), [`FileKey`](ArchiveError::FileKey),
    /// [`Sqlite`](ArchiveError::Sqlite), [`Schema`](ArchiveError::Schema), [`Io`](ArchiveError::Io).
    pub fn unlock_observed(&mut self, password: &[u8], observer: &mut dyn Observer) -> Result<Key, ArchiveError> {
        let column_key = match &self.metadata_lock {
            // One hash, checked at once: no need to derive first.
            Some(check) => Some(ColumnKey::derive(password, check).ok_or(ArchiveError::WrongPassword)?),
            None => None,
        };
        let keybag = self.keybag.as_ref().ok_or(ArchiveError::NoKeybag)?;
        // iOS 10.0 could leave its metadata encryption behind when encryption was turned off: the password then opens
        // the index, and the keybag is that of any unencrypted backup.
        let is_leftover = column_key.is_some() && self.protection != Protection::Encrypted;
        let password = if is_leftover { b"" } else { password };
        let key = keybag.derive(password, self.options.round_limits, observer)?;
        self.open_with_key(&key, column_key, observer)?;
        Ok(key)
    }

    /// Unlocks a backup with the key that [`unlock_observed`](Archive::unlock_observed) returned before.
    ///
    /// # Errors
    /// As [`unlock_observed`](Archive::unlock_observed); a key that does not fit is
    /// [`WrongPassword`](ArchiveError::WrongPassword). [`PasswordNeeded`](ArchiveError::PasswordNeeded) for a backup
    /// of iOS 10.0.
    pub fn unlock_with_key(&mut self, key: &Key, observer: &mut dyn Observer) -> Result<(), ArchiveError> {
        if self.metadata_lock.is_some() {
            return Err(ArchiveError::PasswordNeeded);
        }
        self.open_with_key(key, None, observer)
    }

    fn open_with_key(
        &mut self,
        key: &Key,
        new_column_key: Option<ColumnKey>,
        observer: &mut dyn Observer,
    ) -> Result<(), ArchiveError> {
        let keybag = self.keybag.as_ref().ok_or(ArchiveError::NoKeybag)?;
        let keys = keybag.unwrap(key)?;
        self.open_with_class_keys(keys, new_column_key, observer)
    }

    /// Unlocks a backup with class keys that another keybag gave: those of the backup that it was made from.
    pub(crate) fn open_with_class_keys(
        &mut self,
        keys: ClassKeys,
        new_column_key: Option<ColumnKey>,
        observer: &mut dyn Observer,
    ) -> Result<(), ArchiveError> {
        match &mut self.index {
            Some(Index::Database { column_key, .. }) => *column_key = new_column_key,
            Some(Index::Flat(_)) => {}
            None => {
                let wrapped = self.manifest.manifest_key().map_err(damaged("Manifest.plist"))?;
                let wrapped = wrapped.ok_or(ArchiveError::NoManifestKey)?;
                let index_key = keys.unwrap(&wrapped, None)?;
                let path = self.folder.join("Manifest.db");
                let database = Database::open_encrypted(&path, &index_key, &self.temp_dir(), observer)?;
                self.index = Some(Index::Database {
                    database,
                    column_key: None,
                });
            }
        }
        self.metadata_lock = None;
        self.keys = Some(keys);
        Ok(())
    }
}
