//! One element of a table.

use std::fmt;
use std::time::SystemTime;

use cabled_wire::plist::Value as PlistValue;

use super::attributes::{Attribute, Attributes};
use super::sealed::{Closed, SealedItem};
use crate::archive::keybag::ClassKeys;

/// The four tables of a keychain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// `genp`: passwords of apps and of the system (Wi-Fi, tokens, accounts).
    GenericPasswords,
    /// `inet`: passwords for servers (Safari, mail).
    InternetPasswords,
    /// `cert`: certificates.
    Certificates,
    /// `keys`: cryptographic keys.
    Keys,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::GenericPasswords,
        Self::InternetPasswords,
        Self::Certificates,
        Self::Keys,
    ];

    /// The device's name for it, four letters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GenericPasswords => "genp",
            Self::InternetPasswords => "inet",
            Self::Certificates => "cert",
            Self::Keys => "keys",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When the device itself lets an app have the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Accessible {
    /// Classes 6 and 9: while the device is unlocked.
    WhenUnlocked,
    /// Classes 7 and 10: once it was unlocked after starting.
    AfterFirstUnlock,
    /// Classes 8 and 11: always.
    Always,
}

/// How other files refer to an item: the table's name (4 bytes) and a row id (8 bytes, little-endian) in what is known.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PersistentRef(Box<[u8]>);

impl PersistentRef {
    /// The reference as stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The table it names.
    #[must_use]
    pub fn table(&self) -> Option<Table> {
        let (name, _) = self.parts()?;
        Table::ALL.into_iter().find(|table| table.name().as_bytes() == name)
    }

    /// The row it names.
    #[must_use]
    pub fn row_id(&self) -> Option<u64> {
        Some(self.parts()?.1)
    }

    fn parts(&self) -> Option<(&[u8; 4], u64)> {
        let (name, row) = self.0.split_first_chunk::<4>()?;
        Some((name, u64::from_le_bytes(row.try_into().ok()?)))
    }
}

impl fmt::Debug for PersistentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.table(), self.row_id()) {
            (Some(table), Some(row)) => write!(f, "PersistentRef({table} {row})"),
            _ => write!(f, "PersistentRef({} bytes)", self.0.len()),
        }
    }
}

/// One item of the keychain. `Debug` prints no attribute.
#[derive(Clone)]
pub struct Item {
    table: Table,
    persistent_ref: Option<PersistentRef>,
    sealed: Vec<u8>,
    attributes: Attributes,
    closed: Option<Closed>,
}

impl Item {
    /// Takes an element of a table apart and opens what is in it.
    pub(super) fn read(table: Table, element: PlistValue, keys: Option<&ClassKeys>, without: &Closed) -> Self {
        let mut item = Self {
            table,
            persistent_ref: None,
            sealed: Vec::new(),
            attributes: Attributes::default(),
            closed: Some(Closed::NoData),
        };
        let PlistValue::Dictionary(element) = element else {
            return item;
        };
        let (mut sealed, mut beside) = (None, Vec::new());
        for (name, value) in element {
            match (name.as_str(), value) {
                (Attributes::SECRET, PlistValue::Data(data)) => sealed = Some(data),
                ("v_PersistentRef", PlistValue::Data(data)) => item.persistent_ref = Some(PersistentRef(data.into())),
                // Of another type: no contents, and not to be taken for a secret in the clear.
                (Attributes::SECRET, _) => {}
                // iOS 4 encrypts the secret only and writes the attributes beside it.
                (_, value) => beside.push((name, Attribute::of_plist(value))),
            }
        }
        if let Some(sealed) = sealed {
            item.sealed = sealed;
            let opened = match (SealedItem::parse(&item.sealed), keys) {
                (Ok(sealed), Some(keys)) => sealed.open(keys),
                (Ok(_), None) => Err(*without),
                (Err(closed), _) => Err(closed),
            };
            item.closed = opened.map(|attributes| item.attributes = attributes).err();
        }
        item.attributes.append(beside.into_iter().collect());
        item
    }

    /// The table it is in.
    #[must_use]
    pub const fn table(&self) -> Table {
        self.table
    }

    /// `v_PersistentRef`: how other files refer to it.
    #[must_use]
    pub const fn persistent_ref(&self) -> Option<&PersistentRef> {
        self.persistent_ref.as_ref()
    }

    /// `v_Data` as stored; empty if there is none.
    #[must_use]
    pub fn stored(&self) -> &[u8] {
        &self.sealed
    }

    /// The parts of `v_Data`; `None` if it has none that are known.
    #[must_use]
    pub fn sealed(&self) -> Option<SealedItem<'_>> {
        SealedItem::parse(&self.sealed).ok()
    }

    /// Why the item did not open; `None` if it did.
    #[must_use]
    pub const fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    /// The protection class: 6, 7, 8, or 9, 10, 11 for "this device only".
    #[must_use]
    pub fn class(&self) -> Option<u32> {
        self.sealed().map(|sealed| sealed.class())
    }

    /// What the class means on the device.
    #[must_use]
    pub fn accessible(&self) -> Option<Accessible> {
        match self.class()? {
            6 | 9 => Some(Accessible::WhenUnlocked),
            7 | 10 => Some(Accessible::AfterFirstUnlock),
            8 | 11 => Some(Accessible::Always),
            _ => None,
        }
    }

    /// Every attribute, the secret included: those that were encrypted, then those that the file has in the clear. A
    /// closed item has the latter only, in most cases none.
    #[must_use]
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// `v_Data` of the open item: the password, key or certificate as bytes. Some items have none.
    #[must_use]
    pub fn secret(&self) -> Option<&[u8]> {
        self.attributes.get(Attributes::SECRET)?.as_bytes()
    }

    /// The secret as text, if it is UTF-8.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.attributes.text(Attributes::SECRET)
    }

    /// `acct`: the account, such as a user name, or the name of a Wi-Fi network.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.attributes.text("acct")
    }

    /// `svce`: the service of a generic password, such as `AirPort` for Wi-Fi.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.attributes.text("svce")
    }

    /// `srvr`: the server of an internet password.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.attributes.text("srvr")
    }

    /// `port` on the server.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        u16::try_from(self.attributes.integer("port")?).ok()
    }

    /// `ptcl`: the protocol, four letters such as `htps`.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.attributes.text("ptcl")
    }

    /// `path` on the server.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.attributes.text("path")
    }

    /// `agrp`: the access group, which says what apps may have the item.
    #[must_use]
    pub fn access_group(&self) -> Option<&str> {
        self.attributes.text("agrp")
    }

    /// `labl`: the name shown to people.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.attributes.text("labl")
    }

    /// `desc`: what kind of item it is, for people.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.attributes.text("desc")
    }

    /// `icmt`: a comment.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.attributes.text("icmt")
    }

    /// `gena`: whatever the app keeps beside the secret.
    #[must_use]
    pub fn generic(&self) -> Option<&[u8]> {
        self.attributes.get("gena")?.as_bytes()
    }

    /// `pdmn`: the device's short name of the protection class, such as `ak` or `cku`.
    #[must_use]
    pub fn protection_domain(&self) -> Option<&str> {
        self.attributes.text("pdmn")
    }

    /// `sync`: whether iCloud Keychain carries the item to other devices.
    #[must_use]
    pub fn synchronizable(&self) -> Option<bool> {
        self.attributes.boolean("sync")
    }

    /// `cdat`: when the item was made.
    #[must_use]
    pub fn created(&self) -> Option<SystemTime> {
        self.attributes.time("cdat")
    }

    /// `mdat`: when it was changed last.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        self.attributes.time("mdat")
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("table", &self.table)
            .field("persistent_ref", &self.persistent_ref)
            .field("class", &self.class())
            .field("closed", &self.closed)
            .field("attributes", &self.attributes.len())
            .finish_non_exhaustive()
    }
}
