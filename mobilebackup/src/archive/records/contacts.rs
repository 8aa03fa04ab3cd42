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

use std::collections::HashMap;

use serde::Serialize;

mod contact;
mod export;
mod picture;
mod rows;
mod value;

pub use contact::{Contact, TextField};
pub(super) use export::EXPORTER;
pub use picture::Picture;
pub use value::{ContactValue, Day, Property};

use super::directory::Directory;
use super::schema::Schema;
use super::{Notes, Problem, RecordError, RecordNote, Source, Store};
use crate::archive::Archive;
use picture::Pictures;

const PLACES: &[(&str, &str)] = &[("HomeDomain", "Library/AddressBook/AddressBook.sqlitedb")];
const PICTURE_PLACES: &[(&str, &str)] = &[("HomeDomain", "Library/AddressBook/AddressBookImages.sqlitedb")];

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
        let mut people = rows::people(&store, &schema, &mut notes)?;
        let places: HashMap<i64, usize> = people.iter().enumerate().map(|(at, person)| (person.id, at)).collect();
        rows::values(&store, &schema, &mut notes, &places, &mut people)?;
        let groups = rows::groups(&store, &schema, &mut notes)?;
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

#[cfg(test)]
mod tests;
