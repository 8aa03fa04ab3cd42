//! What the records of each class are made of: entities, keys, and which of them a device stores.
//!
//! # Example
//! Whether an edit of a key can reach a device at all, and what is merged together with it:
//! ```
//! use cabled_syncproto::schema::{self, Device};
//! use cabled_syncproto::entity;
//!
//! let event = schema::entity(entity::EVENT).ok_or("not in the table")?;
//! let end = event.key("end date").ok_or("no such key")?;
//! assert_eq!((end.device, end.group), (Device::Stored, "time"));
//! assert_eq!(event.group("start date"), "time");
//! // A key that nobody has described is merged on its own.
//! assert_eq!(event.group("com.example.mood"), "com.example.mood");
//! # Ok::<(), &str>(())
//! ```
//! # How it fits together
//! The merge engine works on [`crate::record::Record`]s and this table alone: the mask of a device is every key marked
//! [`Device::Stored`], keys of one [`Key::group`] are merged as one, and a value equal to [`Key::default`] is the same as
//! none. The typed views of [`crate::records`] read and write the keys listed here.
//!
//! # Limits
//! The table is the published desktop schema and what current devices are known to read and write (spec: mobilesync,
//! sections 8 and 15.3). Keys and entities that are not in it exist; they are carried along, never dropped.

use crate::DataClass;

mod bookmarks;
mod calendars;
mod contacts;
mod others;

/// What a record of an entity is to the records around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntityKind {
    /// It holds other records, which can move: a calendar, a folder, a group.
    Container,
    /// It stands for itself: a contact, an event, a bookmark, a note.
    Root,
    /// It belongs to one root and goes when that goes: a phone number, an alarm.
    Child,
}

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// A text.
    Text,
    /// A whole number, negative ones included.
    Integer,
    /// A boolean.
    Boolean,
    /// A point in time.
    Date,
    /// Bytes.
    Data,
    /// Identifiers of other records; a to-one relationship holds one.
    Ids,
    /// Texts.
    Texts,
    /// Whole numbers.
    Integers,
    /// Points in time.
    Dates,
}

/// What current device software does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// Reports it and takes it: part of the mask.
    Stored,
    /// Reports it and ignores what it is sent (`W` in the specification).
    ReadOnly,
    /// Takes it and never reports it (`R`).
    WriteOnly,
    /// Neither: a key of the desktop's schema.
    NotStored,
}

/// The value that an absent key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefaultValue {
    /// A text.
    Text(&'static str),
    /// A whole number.
    Integer(i64),
}

/// One key of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name on the wire.
    pub name: &'static str,
    /// The type of its value.
    pub value: ValueKind,
    /// What devices do with it.
    pub device: Device,
    /// Keys of one group are merged as one: name parts, start with end and zone, a recurrence as a whole. A key that is
    /// merged on its own has a group of its own name. Spec: mobilesync, section 15.3.
    pub group: &'static str,
    /// What an absent key means, where that is known; "absent" and "default" compare equal.
    pub default: Option<DefaultValue>,
    /// Whether the order of an array means nothing; sets are merged member by member.
    pub set: bool,
    /// The array that runs in step with this one: both are compared as one set of pairs.
    pub parallel: Option<&'static str>,
}

impl Key {
    const fn new(name: &'static str, value: ValueKind) -> Self {
        Self {
            name,
            value,
            device: Device::Stored,
            group: name,
            default: None,
            set: matches!(value, ValueKind::Ids),
            parallel: None,
        }
    }

    const fn text(name: &'static str) -> Self {
        Self::new(name, ValueKind::Text)
    }

    const fn integer(name: &'static str) -> Self {
        Self::new(name, ValueKind::Integer)
    }

    const fn integers(name: &'static str) -> Self {
        Self::new(name, ValueKind::Integers)
    }

    const fn date(name: &'static str) -> Self {
        Self::new(name, ValueKind::Date)
    }

    const fn ids(name: &'static str) -> Self {
        Self::new(name, ValueKind::Ids)
    }

    const fn on_device(self, device: Device) -> Self {
        Self { device, ..self }
    }

    const fn desktop(self) -> Self {
        self.on_device(Device::NotStored)
    }

    const fn within(self, group: &'static str) -> Self {
        Self { group, ..self }
    }

    const fn or_text(self, default: &'static str) -> Self {
        Self {
            default: Some(DefaultValue::Text(default)),
            ..self
        }
    }

    const fn or_integer(self, default: i64) -> Self {
        Self {
            default: Some(DefaultValue::Integer(default)),
            ..self
        }
    }

    const fn unordered(self) -> Self {
        Self { set: true, ..self }
    }

    const fn ordered(self) -> Self {
        Self { set: false, ..self }
    }

    const fn in_step_with(self, parallel: &'static str) -> Self {
        Self {
            parallel: Some(parallel),
            ..self
        }
    }
}

/// One kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entity {
    /// What [`crate::record::Record::entity`] says.
    pub name: &'static str,
    /// What it is to the records around it.
    pub kind: EntityKind,
    /// The key of the relationship that names its container or owner; `None` where it has none.
    pub owner: Option<&'static str>,
    /// The keys a person knows it by, most telling first.
    pub title: &'static [&'static str],
    /// Every known key.
    pub keys: &'static [Key],
}

impl Entity {
    /// The class it belongs to.
    #[must_use]
    pub fn class(&self) -> DataClass {
        let known = DataClass::KNOWN.into_iter().find(|class| {
            let prefix = match class {
                DataClass::Contacts => "com.apple.contacts.",
                DataClass::Calendars => "com.apple.calendars.",
                DataClass::Bookmarks => "com.apple.bookmarks.",
                DataClass::MailAccounts => "com.apple.mail.",
                DataClass::Notes => "com.apple.notes.",
                DataClass::Other(_) => return false,
            };
            self.name.starts_with(prefix)
        });
        known.unwrap_or_else(|| DataClass::Other(String::new()))
    }

    /// A key by name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The group that a key is merged in; an unknown key is a group of its own.
    #[must_use]
    pub fn group<'a>(&self, key: &'a str) -> &'a str {
        self.key(key).map_or(key, |key| key.group)
    }

    /// Whether a device keeps this key, so that its absence there means something.
    #[must_use]
    pub fn stores(&self, key: &str) -> bool {
        self.key(key).is_some_and(|key| key.device == Device::Stored)
    }
}

/// An entity by the name that records carry.
#[must_use]
pub fn entity(name: &str) -> Option<&'static Entity> {
    DataClass::KNOWN.iter().flat_map(of).find(|entity| entity.name == name)
}

/// The entities of a class, containers first.
#[must_use]
pub fn of(class: &DataClass) -> &'static [Entity] {
    match class {
        DataClass::Contacts => contacts::ENTITIES,
        DataClass::Calendars => calendars::ENTITIES,
        DataClass::Bookmarks => bookmarks::ENTITIES,
        DataClass::MailAccounts => others::MAIL_ACCOUNTS,
        DataClass::Notes => others::NOTES,
        DataClass::Other(_) => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entity_a_device_orders_is_described_in_its_class() {
        for class in DataClass::KNOWN {
            for name in class.entity_order().iter().copied().flatten() {
                let entity = entity(name).unwrap_or_else(|| panic!("{name} is not described"));
                assert_eq!(entity.class(), class);
                assert!(of(&class).contains(entity));
            }
        }
    }

    #[test]
    fn names_are_unique_and_references_lead_somewhere() {
        for entity in DataClass::KNOWN.iter().flat_map(of) {
            for (index, key) in entity.keys.iter().enumerate() {
                let twin = entity.keys.iter().skip(index + 1).any(|other| other.name == key.name);
                assert!(!twin, "{} twice in {}", key.name, entity.name);
                if let Some(parallel) = key.parallel {
                    assert_eq!(entity.key(parallel).and_then(|key| key.parallel), Some(key.name));
                }
            }
            for name in entity.title.iter().chain(&entity.owner) {
                assert!(entity.key(name).is_some(), "{name} of {}", entity.name);
            }
            assert!(entity.kind != EntityKind::Child || entity.owner.is_some());
        }
    }

    #[test]
    fn what_belongs_together_is_merged_together() {
        let contact = entity(crate::entity::CONTACT).unwrap();
        assert_eq!(contact.group("suffix"), contact.group("last name"));
        assert_eq!(contact.group("job title"), contact.group("company name"));
        assert_ne!(contact.group("notes"), contact.group("nickname"));
        let recurrence = entity(crate::entity::RECURRENCE).unwrap();
        assert!(
            recurrence
                .keys
                .iter()
                .filter(|key| key.name != "owner")
                .all(|key| key.group == "recurrence")
        );
    }

    #[test]
    fn desktop_keys_are_outside_the_mask() {
        let event = entity(crate::entity::EVENT).unwrap();
        assert!(event.stores("exception dates") && !event.stores("status") && !event.stores("floatingGMTDate"));
        assert!(!event.stores("com.example.unknown"));
    }
}
