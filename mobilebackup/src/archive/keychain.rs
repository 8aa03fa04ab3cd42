//! Passwords, certificates and keys of `keychain-backup.plist`, decrypted as far as a backup allows.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::Archive;
//! use cabled_mobilebackup::archive::keychain::{Closed, Table};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/enc-v10");
//! let mut backup = Archive::open(folder)?;
//! backup.unlock("vector-pass-1")?;
//! let keychain = backup.keychain()?.expect("an encrypted backup has one");
//!
//! let mail = keychain.table(Table::InternetPasswords).next().expect("one password for the internet");
//! assert_eq!(mail.account(), Some("me@example.com"));
//! assert_eq!((mail.server(), mail.port()), (Some("mail.example.com"), Some(993)));
//! assert_eq!(mail.password(), Some("pa55"));
//!
//! // What may not leave the device says so.
//! let closed = keychain.items().iter().filter_map(|item| item.closed());
//! assert_eq!(closed.collect::<Vec<_>>(), [&Closed::DeviceBound { class: 9 }]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it fits together
//! [`Archive::keychain`] finds the file and decrypts it like any other; [`Keychain::parse`] takes its contents from
//! elsewhere. Each element is an [`Item`]: an item key wrapped by a class key of the
//! [keybag](super::keybag), and [`Attributes`] under that key. [`SealedItem`] is one `v_Data` by itself. An item that
//! does not open stays in the list, with the reason ([`Closed`]) and its bytes as stored; it never fails the others.
//!
//! # Limits
//! Which items open is the device's choice: in an encrypted backup those of the classes 6, 7 and 8, never the ones
//! "this device only" (9, 10, 11); in an unencrypted backup none. Versions 0, 2 and 3 of the items are known; later
//! ones come out closed. All attributes are kept in memory, as far as possible wiped when dropped: libraries that parse
//! a property list (version 2) may leave copies. Encrypted items have a tag, so what opens is what the device wrote.
//! Spec backup-format, section 11.

mod attributes;
mod der;
mod item;
mod sealed;
mod time;

use std::io::Read;

use cabled_wire::WireError;
use cabled_wire::plist::{self, Limits, Value as PlistValue};

use super::error::ArchiveError;
use super::keybag::ClassKeys;
use super::layout::Protection;
use super::open::Archive;

pub use attributes::{Attribute, Attributes, MalformedAttributes};
pub use item::{Accessible, Item, PersistentRef, Table};
pub use sealed::{Closed, SealedItem};

/// Why there is no keychain to look into.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeychainError {
    /// The backup, or the file in it, cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The file is longer than [`Keychain::MAX_LEN`].
    #[error("keychain-backup.plist is {len} bytes long; the limit is {}", Keychain::MAX_LEN)]
    TooLong {
        /// Its length in bytes.
        len: u64,
    },
    /// The file is not a property list of tables.
    #[error("keychain-backup.plist is damaged")]
    Plist(#[from] WireError),
}

/// What is odd about the file as a whole. Nothing of it keeps an item from being read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "note")]
#[non_exhaustive]
pub enum KeychainNote {
    /// A key of the file is none of the four tables; what it holds is left out.
    UnknownTable {
        /// Its name.
        name: String,
        /// How many elements it holds, if it is an array.
        elements: Option<usize>,
    },
    /// One of the four tables is no array; left out.
    NotAnArray {
        /// The table.
        table: Table,
    },
}

/// All keychain items of a backup.
#[derive(Clone, Debug)]
pub struct Keychain {
    items: Vec<Item>,
    notes: Vec<KeychainNote>,
}

impl Keychain {
    /// The domain the file belongs to.
    pub const DOMAIN: &'static str = "KeychainDomain";
    /// The file's path in its domain.
    pub const PATH: &'static str = "keychain-backup.plist";
    /// The longest file that is read, in bytes. Real ones have some hundred thousand.
    pub const MAX_LEN: usize = 64 << 20;

    /// Reads the contents of a `keychain-backup.plist` and opens what `keys` open. Microseconds an item.
    ///
    /// Without `keys`, every item stays closed; what the device wrote in the clear beside the items (iOS 4) is there.
    ///
    /// # Errors
    /// [`KeychainError::TooLong`], [`KeychainError::Plist`].
    pub fn parse(bytes: &[u8], keys: Option<&ClassKeys>) -> Result<Self, KeychainError> {
        Self::parse_with(bytes, keys, &Closed::NoKeys)
    }

    fn parse_with(bytes: &[u8], keys: Option<&ClassKeys>, without: &Closed) -> Result<Self, KeychainError> {
        if bytes.len() > Self::MAX_LEN {
            let len = bytes.len() as u64;
            return Err(KeychainError::TooLong { len });
        }
        let tables = plist::read_dict(bytes, &Limits::default().with_bytes(Self::MAX_LEN))?;
        let (mut items, mut notes) = (Vec::new(), Vec::new());
        for (name, elements) in tables {
            let table = Table::ALL.into_iter().find(|table| table.name() == name);
            match (table, elements) {
                (Some(table), PlistValue::Array(elements)) => items.extend(
                    elements
                        .into_iter()
                        .map(|element| Item::read(table, element, keys, without)),
                ),
                (Some(table), _) => notes.push(KeychainNote::NotAnArray { table }),
                (None, other) => notes.push(KeychainNote::UnknownTable {
                    name,
                    elements: other.as_array().map(Vec::len),
                }),
            }
        }
        Ok(Self { items, notes })
    }

    /// Every item, open or closed, in the file's order.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The items of one table.
    pub fn table(&self, table: Table) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.table() == table)
    }

    /// The item that a persistent reference names, as other files of a backup store it (Wi-Fi and VPN settings, mail
    /// accounts).
    #[must_use]
    pub fn find(&self, reference: &[u8]) -> Option<&Item> {
        let mut items = self.items.iter();
        items.find(|item| item.persistent_ref().is_some_and(|own| own.as_bytes() == reference))
    }

    /// What is odd about the file.
    #[must_use]
    pub fn notes(&self) -> &[KeychainNote] {
        &self.notes
    }
}

impl Archive {
    /// The keychain of the backup, as far as it opens; `None` if the backup has no such file. Everything is read at
    /// once: a few milliseconds.
    ///
    /// # Errors
    /// [`KeychainError::Archive`] with [`ArchiveError::Locked`] before an encrypted backup is unlocked, and as
    /// [`Archive::read`]; [`KeychainError::TooLong`], [`KeychainError::Plist`].
    pub fn keychain(&self) -> Result<Option<Keychain>, KeychainError> {
        let Some(entry) = self.entry_at(Keychain::DOMAIN, Keychain::PATH)? else {
            return Ok(None);
        };
        let mut file = self.read(&entry)?;
        let len = file.len();
        let limit = Keychain::MAX_LEN as u64;
        if len > limit {
            return Err(KeychainError::TooLong { len });
        }
        let mut bytes = Vec::new();
        file.by_ref()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(ArchiveError::Io)?;
        let without = match self.protection() {
            Protection::Plain => Closed::Unencrypted,
            Protection::Encrypted | Protection::AlreadyDecrypted => Closed::NoKeys,
        };
        Keychain::parse_with(&bytes, self.class_keys(), &without).map(Some)
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;
