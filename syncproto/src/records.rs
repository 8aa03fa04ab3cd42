//! Contacts, calendars, bookmarks, notes and mail accounts as types, over the records that are exchanged.
//!
//! # Example
//! A person with a telephone number, from two records and back into them:
//! ```
//! use cabled_syncproto::entity;
//! use cabled_syncproto::record::{Record, RecordId};
//! use cabled_syncproto::records::{Contact, Graph};
//!
//! let mut graph = Graph::default();
//! let ann = Record::new(entity::CONTACT).with("first name", "Ann").with("com.example.mood", "fine");
//! graph.insert(RecordId::new("41")?, ann)?;
//! let phone = Record::new(entity::PHONE_NUMBER)
//!     .with("contact", vec!["41".into()])
//!     .with("type", "mobile")
//!     .with("value", "555 0100");
//! graph.insert(RecordId::new("3/41/0")?, phone)?;
//!
//! let mut contact = Contact::read(&graph, &RecordId::new("41")?)?;
//! assert_eq!(contact.phones[0].view.value.as_deref(), Some("555 0100"));
//! contact.person.nickname = Some("Annie".into());
//!
//! let mut written = Graph::default();
//! contact.write(&mut written)?;
//! // What the type does not know is still there.
//! let ann = written.get(&RecordId::new("41")?).ok_or("not written")?;
//! assert_eq!(ann.attributes.get("com.example.mood"), Some(&"fine".into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! A [`Graph`] holds records by identifier and knows what belongs to what. A [`View`] is one record with its keys as
//! fields; [`Contact`] and [`Event`] are a view of a root together with those of everything that belongs to it. Each view
//! keeps what it has no field for in its [`Residue`], and a value spelled in another way than ours comes back as it came.
//!
//! # Limits
//! A value of the wrong type makes that one record unreadable as a view ([`RecordError::Type`]); the record itself stays in
//! the graph. Dates are whole seconds; fractions come back as they came unless the date is changed.
//! Spec: mobilesync, section 8.

mod calendars;
mod contacts;
mod graph;
mod others;
mod time;
mod view;

pub use calendars::{AllDay, Attendee, AudioAlarm, Calendar, DisplayAlarm, Event, EventDetails, Organizer, Recurrence};
pub use contacts::{
    Contact, DateEntry, Email, Group, IMAGE_UNCHANGED, Im, MAX_IMAGE, Person, Phone, RelatedName, StreetAddress,
    WebAddress,
};
pub use graph::Graph;
pub use others::{Bookmark, Folder, MailAccount, Note, Secret};
pub use time::{CivilDate, Timestamp};
pub use view::{Attribute, Entry, RecordError, Residue, View};
