//! Contacts: people and companies with all their numbers, addresses, dates and pictures.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::records::contacts::{Contacts, Property};
//! use cabled_mobilebackup::archive::records::vcard::{self, VcardVersion};
//! use cabled_mobilebackup::archive::records::Store;
//!
//! # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/novkostya/contacts.1.AddressBook.sqlitedb");
//! let contacts = Contacts::of(Store::from_file(file)?, None)?;
//! let alex = &contacts.people()[0];
//! assert_eq!(alex.title(), "Dr. Alex Quinn Fixture Jr.");
//! assert_eq!(alex.values(Property::Phone).count(), 3);
//! let mut card = Vec::new();
//! vcard::write(&mut card, alex, contacts.picture(alex)?.as_ref(), VcardVersion::V4)?;
//! assert!(String::from_utf8(card)?.contains("BDAY:19900401\r\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`read`] opens `AddressBook.sqlitedb` and `AddressBookImages.sqlitedb` of a backup. [`Contacts::directory`] gives
//! names to the numbers in messages and calls; [`vcard`](super::vcard) writes cards.
//!
//! # Limits
//! All contacts are held in memory, without their pictures, which are read one at a time. Pictures above 16 MiB are left
//! out with a note. Contacts of an account that keeps them on a server only are in no backup.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use serde::Serialize;

mod export;

pub(super) use export::EXPORTER;

use super::directory::Directory;
use super::schema::{Fields, Schema, Select};
use super::time::{self, Timestamp};
use super::{Notes, Problem, RecordError, RecordNote, Source, Store};
use crate::archive::Archive;

const PLACES: &[(&str, &str)] = &[("HomeDomain", "Library/AddressBook/AddressBook.sqlitedb")];
const PICTURE_PLACES: &[(&str, &str)] = &[("HomeDomain", "Library/AddressBook/AddressBookImages.sqlitedb")];

/// Longest picture, in bytes.
const MAX_PICTURE: usize = 16 << 20;

/// Apple's stand-in for a year that is not known.
const NO_YEAR: i32 = 1604;

/// What a value of a contact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Property {
    /// A phone number.
    Phone,
    /// An email address.
    Email,
    /// A postal address, in fields.
    Address,
    /// A day, such as an anniversary.
    Date,
    /// An account of an instant messenger, in fields.
    InstantMessage,
    /// A web address.
    Url,
    /// The name of somebody related.
    RelatedName,
    /// An account of a social network, in fields.
    SocialProfile,
    /// Something that this version does not know, by Apple's number.
    Other(i64),
}

impl Property {
    const fn of(number: i64) -> Self {
        match number {
            3 => Self::Phone,
            4 => Self::Email,
            5 => Self::Address,
            12 => Self::Date,
            13 => Self::InstantMessage,
            22 => Self::Url,
            23 => Self::RelatedName,
            46 => Self::SocialProfile,
            other => Self::Other(other),
        }
    }
}

/// One of a contact's values: a number, an address, ...
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ContactValue {
    /// What it is.
    pub property: Property,
    /// Its label as stored: `_$!<Home>!$_` for those that Apple translates, plain text for the owner's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The value, if it is one text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The day, if the value is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// The fields of a value that has several, by name in lower case: `street`, `city`, `zip`, `service`, `username`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

impl ContactValue {
    /// The label as people know it: `Home` for `_$!<Home>!$_`.
    #[must_use]
    pub fn shown_label(&self) -> Option<&str> {
        let label = self.label.as_deref()?;
        let inner = label.strip_prefix("_$!<").and_then(|label| label.strip_suffix(">!$_"));
        Some(inner.unwrap_or(label))
    }

    /// The value as one text; fields in the order of an address, one a line.
    #[must_use]
    pub fn shown(&self) -> String {
        if let Some(day) = self.day {
            return day.to_string();
        }
        if self.fields.is_empty() {
            return self.value.clone().unwrap_or_default();
        }
        let order = [
            "street",
            "sublocality",
            "city",
            "state",
            "zip",
            "country",
            "service",
            "username",
            "url",
        ];
        let known = order.iter().filter_map(|name| self.fields.get(*name));
        let others = self.fields.iter().filter(|(name, _)| !order.contains(&name.as_str()));
        let mut parts: Vec<_> = known
            .map(String::as_str)
            .chain(others.map(|(_, value)| value.as_str()))
            .collect();
        parts.extend(self.value.as_deref());
        parts.join("\n")
    }
}

/// A day of a year, or of every year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Day {
    /// The year, if it is known.
    pub year: Option<i32>,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.year {
            Some(year) => write!(f, "{year:04}-{:02}-{:02}", self.month, self.day),
            None => write!(f, "--{:02}-{:02}", self.month, self.day),
        }
    }
}

impl Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Day {
    fn of(year: i32, month: u8, day: u8) -> Self {
        Self {
            year: (year != NO_YEAR).then_some(year),
            month,
            day,
        }
    }

    /// Seconds since 2001 at noon of the day, or a date as text.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            let at = time::apple_seconds(seconds)?.civil();
            return Some(Self::of(at.year, at.month, at.day));
        }
        let mut parts = text.get(..10)?.split('-');
        let (year, month, day) = (
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
        );
        let real = (1..=12).contains(&month) && (1..=31).contains(&day) && (1..=9999).contains(&year);
        real.then(|| Self::of(year, month, day))
    }
}

/// A person or a company.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Contact {
    /// Row id in `ABPerson`.
    pub id: i64,
    /// Its id across devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// Whether it is shown as a company.
    pub company: bool,
    /// Names and the like by what they are; absent ones are left out.
    #[serde(flatten)]
    pub texts: BTreeMap<TextField, String>,
    /// The day of birth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birthday: Option<Day>,
    /// Everything there may be several of, in the store's order.
    pub values: Vec<ContactValue>,
    /// Names of the groups it is in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Name of the account that it belongs to, if that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Contacts with the same number are shown as one person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked: Option<i64>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When it was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
}

macro_rules! text_fields {
    ($($(#[$doc:meta])+ $name:ident = $column:literal,)+) => {
        /// A text of which a contact has one at most. Serialised in snake case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum TextField {
            $($(#[$doc])+ $name,)+
        }

        impl TextField {
            /// Each with its column in `ABPerson`.
            const COLUMNS: &'static [(Self, &'static str)] = &[$((Self::$name, $column),)+];
        }
    };
}

text_fields! {
    /// Dr., Prof., ...
    Prefix = "Prefix",
    /// Given name.
    First = "First",
    /// Middle name.
    Middle = "Middle",
    /// Family name.
    Last = "Last",
    /// Jr., ...
    Suffix = "Suffix",
    /// Nickname.
    Nickname = "Nickname",
    /// Family name before.
    PreviousFamilyName = "PreviousFamilyName",
    /// Company.
    Organization = "Organization",
    /// Part of the company.
    Department = "Department",
    /// What they do there.
    JobTitle = "JobTitle",
    /// Notes.
    Note = "Note",
    /// How the given name is spelled by sound.
    FirstPhonetic = "FirstPhonetic",
    /// How the middle name is spelled by sound.
    MiddlePhonetic = "MiddlePhonetic",
    /// How the family name is spelled by sound.
    LastPhonetic = "LastPhonetic",
    /// How the company is spelled by sound.
    OrganizationPhonetic = "OrganizationPhonetic",
    /// How the given name is pronounced.
    FirstPronunciation = "FirstPronunciation",
    /// How the middle name is pronounced.
    MiddlePronunciation = "MiddlePronunciation",
    /// How the family name is pronounced.
    LastPronunciation = "LastPronunciation",
    /// How the company is pronounced.
    OrganizationPronunciation = "OrganizationPronunciation",
    /// The name that an account gave.
    DisplayName = "DisplayName",
    /// The birthday in another calendar, as stored.
    AlternateBirthday = "AlternateBirthday",
    /// The id in the account that it came from.
    ExternalUuid = "ExternalUUID",
}

impl Contact {
    /// One of its texts.
    #[must_use]
    pub fn text(&self, field: TextField) -> Option<&str> {
        self.texts.get(&field).map(String::as_str)
    }

    /// Its values of one kind.
    pub fn values(&self, property: Property) -> impl Iterator<Item = &ContactValue> {
        self.values.iter().filter(move |value| value.property == property)
    }

    /// What to call it: the name, else the company, the nickname, the first address or number.
    #[must_use]
    pub fn title(&self) -> String {
        let parts = [
            TextField::Prefix,
            TextField::First,
            TextField::Middle,
            TextField::Last,
            TextField::Suffix,
        ];
        let parts: Vec<_> = parts.into_iter().filter_map(|field| self.text(field)).collect();
        let name = parts.join(" ");
        let company = self.text(TextField::Organization);
        if let Some(company) = company.filter(|_| self.company || name.is_empty()) {
            return company.to_owned();
        }
        if !name.is_empty() {
            return name;
        }
        let other = self.text(TextField::Nickname).or(self.text(TextField::DisplayName));
        let value = [Property::Email, Property::Phone]
            .into_iter()
            .find_map(|kind| self.values(kind).next());
        let value = value.and_then(|value| value.value.as_deref());
        other.or(value).unwrap_or("No name").to_owned()
    }
}

/// A picture of a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Picture {
    /// Its media type, told by its first bytes: `image/jpeg`, `image/png`, ...
    pub media_type: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

/// A group of contacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// Row id in `ABGroup`.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Row ids of its members.
    pub members: Vec<i64>,
}

/// The contacts of a phone.
#[derive(Debug)]
pub struct Contacts {
    source: Source,
    people: Vec<Contact>,
    groups: Vec<Group>,
    pictures: Option<Pictures>,
    notes: Notes,
}

/// Opens the contacts of a backup; `None` if it has none.
///
/// # Errors
/// [`RecordError::Archive`] if the backup is locked or the database cannot be read; as [`Contacts::of`]. Pictures that
/// cannot be read are a note.
pub fn read(archive: &Archive) -> Result<Option<Contacts>, RecordError> {
    let Some(store) = Store::find(archive, PLACES)? else {
        return Ok(None);
    };
    let pictures = Store::find(archive, PICTURE_PLACES);
    let (pictures, problem) = match pictures {
        Ok(pictures) => (pictures, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut contacts = Contacts::of(store, pictures)?;
    if let Some(reason) = problem {
        let problem = Problem::Undecodable {
            what: "the database of pictures",
            reason,
        };
        contacts.notes.push(RecordNote::table("AddressBookImages", problem));
    }
    Ok(Some(contacts))
}

impl Contacts {
    /// The contacts of an open database, and of one with pictures.
    ///
    /// # Errors
    /// [`RecordError::Schema`] if there is no table `ABPerson`; [`RecordError::Sqlite`] for a database without a
    /// readable schema.
    pub fn of(store: Store, pictures: Option<Store>) -> Result<Self, RecordError> {
        let schema = Schema::of(store.connection())?;
        let mut notes = store.notes();
        let mut people = people(&store, &schema, &mut notes)?;
        let places: HashMap<i64, usize> = people.iter().enumerate().map(|(at, person)| (person.id, at)).collect();
        values(&store, &schema, &mut notes, &places, &mut people)?;
        let groups = groups(&store, &schema, &mut notes)?;
        for group in &groups {
            for member in &group.members {
                match places.get(member).and_then(|at| people.get_mut(*at)) {
                    Some(person) => person.groups.push(group.name.clone()),
                    None => {
                        let problem = Problem::Dangling {
                            to: "ABPerson",
                            id: *member,
                        };
                        notes.push(RecordNote::row("ABGroupMembers", None, Some("member_id"), problem));
                    }
                }
            }
        }
        let pictures = pictures.map(|store| Pictures::of(store, &mut notes)).transpose()?;
        Ok(Self {
            source: store.source().clone(),
            people,
            groups,
            pictures,
            notes,
        })
    }

    /// The file they are in.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// All of them, in the store's order.
    #[must_use]
    pub fn people(&self) -> &[Contact] {
        &self.people
    }

    /// The groups.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// What could not be read.
    #[must_use]
    pub const fn notes(&self) -> &Notes {
        &self.notes
    }

    /// The picture of a contact: the largest there is whose type is known.
    ///
    /// # Errors
    /// [`RecordError::Sqlite`] if the disk fails.
    pub fn picture(&self, contact: &Contact) -> Result<Option<Picture>, RecordError> {
        self.pictures
            .as_ref()
            .map_or(Ok(None), |pictures| pictures.of_person(contact.id))
    }

    /// Names for all phone numbers and email addresses.
    #[must_use]
    pub fn directory(&self) -> Directory {
        let mut directory = Directory::default();
        for person in &self.people {
            let addresses = person.values(Property::Phone).chain(person.values(Property::Email));
            for address in addresses.filter_map(|value| value.value.as_deref()) {
                directory.add(address, &person.title());
            }
        }
        directory
    }
}

fn people(store: &Store, schema: &Schema, notes: &mut Notes) -> Result<Vec<Contact>, RecordError> {
    let accounts = names(store, schema, notes, "ABStore", "Name")?;
    let columns = &[
        "guid",
        "Kind",
        "Birthday",
        "CreationDate",
        "ModificationDate",
        "StoreID",
        "PersonLink",
    ];
    let mut select = schema.select("ABPerson", columns).ok_or(RecordError::Schema {
        records: "contacts",
        table: "ABPerson",
    })?;
    for (_, column) in TextField::COLUMNS {
        select = select.or(column, &[column]);
    }
    let select = select.expect(&["First", "Last", "Organization"], notes);
    let mut people = Vec::new();
    let _ = select.each(store.connection(), notes, |row| {
        people.push(person(row, &accounts));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(people)
}

fn person(row: &mut Fields<'_>, accounts: &HashMap<i64, String>) -> Contact {
    let texts = TextField::COLUMNS.iter();
    let texts = texts
        .filter_map(|(field, column)| Some((*field, row.some_text(column)?)))
        .collect();
    Contact {
        id: row.id().unwrap_or_default(),
        texts,
        guid: row.some_text("guid"),
        company: row.integer("Kind") == Some(1),
        birthday: day(row, "Birthday"),
        values: Vec::new(),
        groups: Vec::new(),
        account: row.integer("StoreID").and_then(|id| accounts.get(&id).cloned()),
        linked: row.integer("PersonLink").filter(|link| *link >= 0),
        created: row.apple_time("CreationDate"),
        modified: row.apple_time("ModificationDate"),
    }
}

fn day(row: &mut Fields<'_>, column: &'static str) -> Option<Day> {
    let stored = row.some_text(column)?;
    let day = Day::parse(&stored);
    if day.is_none() {
        row.note(column, Problem::Time { value: stored });
    }
    day
}

/// A column of names by row id.
fn names(
    store: &Store,
    schema: &Schema,
    notes: &mut Notes,
    table: &str,
    column: &'static str,
) -> Result<HashMap<i64, String>, RecordError> {
    let mut names = HashMap::new();
    if let Some(select) = schema.select_noted(table, &[column], notes) {
        let _ = select.each(store.connection(), notes, |row| {
            if let (Some(id), Some(name)) = (row.id(), row.some_text(column)) {
                names.insert(id, name);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(names)
}

/// Numbers, addresses and all else there may be several of.
fn values(
    store: &Store,
    schema: &Schema,
    notes: &mut Notes,
    places: &HashMap<i64, usize>,
    people: &mut [Contact],
) -> Result<(), RecordError> {
    let labels = names(store, schema, notes, "ABMultiValueLabel", "value")?;
    let keys = names(store, schema, notes, "ABMultiValueEntryKey", "value")?;
    let mut fields: HashMap<i64, BTreeMap<String, String>> = HashMap::new();
    if let Some(select) = schema.select_noted("ABMultiValueEntry", &["parent_id", "key", "value"], notes) {
        let _ = select.each(store.connection(), notes, |row| {
            let (parent, key, value) = (row.integer("parent_id"), row.integer("key"), row.some_text("value"));
            if let (Some(parent), Some(key), Some(value)) = (parent, key, value) {
                let name = keys
                    .get(&key)
                    .map_or_else(|| format!("key {key}"), |name| name.to_lowercase());
                fields.entry(parent).or_default().insert(name, value);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    let columns = &["record_id", "property", "label", "value", "UID"];
    let Some(select) = schema.select_noted("ABMultiValue", columns, notes) else {
        return Ok(());
    };
    let _ = select.each(store.connection(), notes, |row| {
        let record = row.integer("record_id").unwrap_or_default();
        let Some(person) = places.get(&record).and_then(|at| people.get_mut(*at)) else {
            row.note(
                "record_id",
                Problem::Dangling {
                    to: "ABPerson",
                    id: record,
                },
            );
            return Ok(ControlFlow::Continue(()));
        };
        let id = row.integer("UID").or(row.id());
        let fields = id.and_then(|id| fields.remove(&id)).unwrap_or_default();
        person.values.extend(value(row, &labels, fields));
        Ok(ControlFlow::Continue(()))
    })?;
    for parent in fields.into_keys() {
        let problem = Problem::Dangling {
            to: "ABMultiValue",
            id: parent,
        };
        notes.push(RecordNote::row("ABMultiValueEntry", None, Some("parent_id"), problem));
    }
    Ok(())
}

fn value(
    row: &mut Fields<'_>,
    labels: &HashMap<i64, String>,
    fields: BTreeMap<String, String>,
) -> Option<ContactValue> {
    let property = Property::of(row.integer("property").unwrap_or_default());
    let label = row.integer("label").and_then(|id| {
        let label = labels.get(&id).cloned();
        if label.is_none() {
            row.note(
                "label",
                Problem::Dangling {
                    to: "ABMultiValueLabel",
                    id,
                },
            );
        }
        label
    });
    let day = if property == Property::Date {
        day(row, "value")
    } else {
        None
    };
    let value = row.some_text("value").filter(|_| day.is_none());
    let says_something = value.is_some() || day.is_some() || !fields.is_empty();
    says_something.then_some(ContactValue {
        property,
        label,
        value,
        day,
        fields,
    })
}

fn groups(store: &Store, schema: &Schema, notes: &mut Notes) -> Result<Vec<Group>, RecordError> {
    let mut groups: BTreeMap<i64, Group> = names(store, schema, notes, "ABGroup", "Name")?
        .into_iter()
        .map(|(id, name)| {
            (
                id,
                Group {
                    id,
                    name,
                    members: Vec::new(),
                },
            )
        })
        .collect();
    if let Some(select) = schema.select("ABGroupMembers", &["group_id", "member_id", "member_type"]) {
        let _ = select.each(store.connection(), notes, |row| {
            // Type 0 is a person, 1 a group in the group.
            let person = row.integer("member_type").unwrap_or_default() == 0;
            let (group, member) = (row.integer("group_id"), row.integer("member_id"));
            match (group.and_then(|id| groups.get_mut(&id)), member) {
                (Some(group), Some(member)) if person => group.members.push(member),
                (Some(_), Some(_)) => {}
                _ => row.note(
                    "group_id",
                    Problem::Dangling {
                        to: "ABGroup",
                        id: group.unwrap_or_default(),
                    },
                ),
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(groups.into_values().collect())
}

/// The database of pictures, and where each contact's best one is.
#[derive(Debug)]
struct Pictures {
    store: Store,
    tables: Vec<Select>,
    /// Table and row id by contact.
    best: HashMap<i64, (usize, i64)>,
}

impl Pictures {
    fn of(store: Store, notes: &mut Notes) -> Result<Self, RecordError> {
        notes.append(store.notes());
        let schema = Schema::of(store.connection())?;
        let names = ["ABFullSizeImage", "ABThumbnailImage"];
        let tables: Vec<_> = names
            .iter()
            .filter_map(|table| schema.select(table, &["record_id", "data"]))
            .collect();
        let mut best: HashMap<i64, (usize, i64, usize)> = HashMap::new();
        for (number, table) in tables.iter().enumerate() {
            let _ = table.each(store.connection(), notes, |row| {
                let data = row.data_up_to("data", MAX_PICTURE).filter(|data| !data.is_empty());
                let (Some(data), Some(person), Some(id)) = (data, row.integer("record_id"), row.id()) else {
                    return Ok(ControlFlow::Continue(()));
                };
                if media_type(data).is_none() {
                    // Old systems keep small ones as bare pixels.
                    row.note(
                        "data",
                        Problem::Undecodable {
                            what: "the picture",
                            reason: "its type is not known".into(),
                        },
                    );
                    return Ok(ControlFlow::Continue(()));
                }
                let known = best.entry(person).or_insert((number, id, 0));
                if data.len() > known.2 {
                    *known = (number, id, data.len());
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        let best = best
            .into_iter()
            .map(|(person, (table, id, _))| (person, (table, id)))
            .collect();
        Ok(Self { store, tables, best })
    }

    fn of_person(&self, person: i64) -> Result<Option<Picture>, RecordError> {
        let Some((table, id)) = self.best.get(&person) else {
            return Ok(None);
        };
        let Some(table) = self.tables.get(*table) else {
            return Ok(None);
        };
        let found = table.get(self.store.connection(), *id, &mut Notes::default(), |row| {
            let data = row.data_up_to("data", MAX_PICTURE).unwrap_or_default();
            Ok(media_type(data).map(|media_type| Picture {
                media_type,
                bytes: data.to_vec(),
            }))
        })?;
        Ok(found.flatten())
    }
}

/// The type of a picture by its first bytes.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    let brand = bytes.get(4..12);
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'I', b'I', 0x2a, 0, ..] | [b'M', b'M', 0, 0x2a, ..] => Some("image/tiff"),
        _ if matches!(brand, Some(b"ftypheic" | b"ftypheix" | b"ftypmif1" | b"ftyphevc")) => Some("image/heic"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
