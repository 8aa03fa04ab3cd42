//! One record, whatever it describes, and what a message says about many.

use std::collections::BTreeMap;
use std::fmt;

use cabled_wire::WireError;
use cabled_wire::plist::{Dictionary, Value};

/// The key that says what a record is.
pub const ENTITY_NAME: &str = "com.apple.syncservices.RecordEntityName";

/// The key of a record that is there and takes no part in a sync; its value says why. It is neither sent nor taken for
/// deleted: an event with rules that no device could follow.
pub const NOT_SYNCABLE: &str = "ical:not syncable";

/// The longest identifier that is taken, in bytes.
pub const MAX_ID: usize = 1024;

/// A record's identifier on the wire: the device's own, or one that the computer made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(String);

impl RecordId {
    /// An identifier.
    ///
    /// # Errors
    /// [`WireError::Id`] when it is empty or longer than [`MAX_ID`] bytes.
    pub fn new(id: impl Into<String>) -> Result<Self, WireError> {
        let id = id.into();
        if id.is_empty() || id.len() > MAX_ID {
            return Err(WireError::Id {
                what: "record identifier",
                text: WireError::excerpt(&id),
            });
        }
        Ok(Self(id))
    }

    /// An identifier for where a made one turns out too long.
    #[cfg(feature = "interchange")]
    pub(crate) fn placeholder() -> Self {
        Self("unnamed".to_owned())
    }

    /// The text on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a device takes it for one of its own: anything but a UUID and the desktop's own prefix.
    /// Spec: mobilesync, section 7.3.
    #[must_use]
    pub fn is_devices_own(&self) -> bool {
        !self.0.starts_with("com.apple.syncservices:") && self.0.as_bytes().get(8) != Some(&b'-')
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One contact, phone number, event, alarm, bookmark…: an entity and its attributes, unknown ones included.
///
/// What is written replaces the whole record on the device: a missing key erases that property.
#[derive(Clone, PartialEq)]
pub struct Record {
    /// What it is, see [`crate::entity`]; `None` where the peer left it out, and devices then skip the record.
    pub entity: Option<String>,
    /// Everything but the entity, in the order in which it came.
    pub attributes: Dictionary,
}

impl Record {
    /// A record without attributes.
    #[must_use]
    pub fn new(entity: &str) -> Self {
        Self {
            entity: Some(entity.to_owned()),
            attributes: Dictionary::new(),
        }
    }

    /// The same with one more attribute.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.attributes.insert(key.to_owned(), value.into());
        self
    }

    /// The records that a relationship names; empty when the key is missing. A to-one relationship is an array, too.
    ///
    /// # Errors
    /// [`WireError::Type`] when the value is no array of texts, [`WireError::Id`] for an identifier that cannot be one.
    pub fn related(&self, key: &str) -> Result<Vec<RecordId>, WireError> {
        let wrong = || WireError::Type {
            key: key.to_owned(),
            expected: "an array of record identifiers",
        };
        let Some(value) = self.attributes.get(key) else {
            return Ok(Vec::new());
        };
        let ids = value.as_array().ok_or_else(wrong)?;
        ids.iter()
            .map(|id| RecordId::new(id.as_string().ok_or_else(wrong)?))
            .collect()
    }

    fn from_dictionary(mut attributes: Dictionary) -> Result<Self, WireError> {
        let entity = match attributes.remove(ENTITY_NAME) {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => {
                return Err(WireError::Type {
                    key: ENTITY_NAME.to_owned(),
                    expected: "text",
                });
            }
        };
        Ok(Self { entity, attributes })
    }

    fn to_dictionary(&self) -> Dictionary {
        let entity = self
            .entity
            .iter()
            .map(|name| (ENTITY_NAME.to_owned(), Value::from(name.as_str())));
        entity
            .chain(self.attributes.iter().map(|(key, value)| (key.clone(), value.clone())))
            .collect()
    }
}

/// Names the entity and the keys and no value: records are people's data.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("entity", &self.entity)
            .field("keys", &self.attributes.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// What a message says about one record.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is there, and this is all of it.
    Upsert(Record),
    /// It is gone.
    Delete,
}

/// What a message says about many records, by identifier. Their order within a message means nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes(BTreeMap<RecordId, Change>);

impl Changes {
    /// The most records that one message may carry.
    pub const MAX: usize = 1_000_000;

    /// No changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says something about a record and gives what was said before.
    pub fn insert(&mut self, id: RecordId, change: Change) -> Option<Change> {
        self.0.insert(id, change)
    }

    /// What is said about a record.
    #[must_use]
    pub fn get(&self, id: &RecordId) -> Option<&Change> {
        self.0.get(id)
    }

    /// How many records are spoken of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything, by identifier.
    pub fn iter(&self) -> impl Iterator<Item = (&RecordId, &Change)> {
        self.0.iter()
    }

    pub(crate) fn from_dictionary(dictionary: Dictionary) -> Result<Self, WireError> {
        if dictionary.len() > Self::MAX {
            return Err(WireError::TooLong {
                field: "changes",
                declared: dictionary.len() as u64,
                max: Self::MAX as u64,
            });
        }
        let change = |(id, value): (String, Value)| {
            let change = match value {
                Value::Dictionary(record) => Change::Upsert(Record::from_dictionary(record)?),
                // Devices repeat the identifier, computers send the placeholder: any text is a deletion.
                Value::String(_) => Change::Delete,
                _ => {
                    return Err(WireError::Type {
                        key: WireError::excerpt(&id),
                        expected: "a record or a deletion",
                    });
                }
            };
            Ok((RecordId::new(id)?, change))
        };
        Ok(Self(dictionary.into_iter().map(change).collect::<Result<_, _>>()?))
    }

    pub(crate) fn to_dictionary(&self) -> Dictionary {
        let value = |(id, change): (&RecordId, &Change)| {
            let value = match change {
                Change::Upsert(record) => Value::Dictionary(record.to_dictionary()),
                Change::Delete => Value::from(crate::msg::PLACEHOLDER),
            };
            (id.0.clone(), value)
        };
        self.0.iter().map(value).collect()
    }
}

impl FromIterator<(RecordId, Change)> for Changes {
    fn from_iter<T: IntoIterator<Item = (RecordId, Change)>>(changes: T) -> Self {
        Self(changes.into_iter().collect())
    }
}

impl Extend<(RecordId, Change)> for Changes {
    fn extend<T: IntoIterator<Item = (RecordId, Change)>>(&mut self, changes: T) {
        self.0.extend(changes);
    }
}

impl IntoIterator for Changes {
    type Item = (RecordId, Change);
    type IntoIter = std::collections::btree_map::IntoIter<RecordId, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_and_desktop_identifiers_are_not_the_devices_own() {
        let own = |id: &str| RecordId::new(id).unwrap().is_devices_own();
        assert!(own("720") && own("Group/4") && own("3/720/0") && own("2/17"));
        assert!(!own("0B7C2E1A-5a00-4d2e-8f00-000000000001"));
        assert!(!own("com.apple.syncservices:0B7C2E1A"));
    }

    #[test]
    fn a_relationship_is_an_array_of_identifiers_or_an_error() {
        let phone = Record::new(crate::entity::PHONE_NUMBER).with("contact", Value::Array(vec!["41".into()]));
        assert_eq!(phone.related("contact").unwrap(), [RecordId::new("41").unwrap()]);
        assert_eq!(phone.related("owner").unwrap(), []);
        let wrong = phone.with("contact", "41");
        assert!(matches!(wrong.related("contact"), Err(WireError::Type { .. })));
    }

    #[test]
    fn records_show_no_values_in_logs() {
        let record = Record::new(crate::entity::CONTACT).with("first name", "Ann");
        assert!(!format!("{record:?}").contains("Ann"));
    }

    #[test]
    fn identifiers_are_bounded() {
        assert!(RecordId::new("").is_err());
        assert!(RecordId::new("x".repeat(MAX_ID)).is_ok());
        assert!(RecordId::new("x".repeat(MAX_ID + 1)).is_err());
    }
}
