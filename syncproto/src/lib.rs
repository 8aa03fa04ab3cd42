//! Contacts, calendars, bookmarks and notes, as a device exchanges them with a computer over the cable.
//!
//! # Example
//! What a device says when a person was renamed and another one deleted:
//! ```
//! use cabled_syncproto::msg::{Message, limits};
//! use cabled_syncproto::record::{Change, Changes, Record, RecordId};
//! use cabled_syncproto::DataClass;
//!
//! let mut changes = Changes::new();
//! let ann = Record::new("com.apple.contacts.Contact").with("first name", "Ann");
//! changes.insert(RecordId::new("41")?, Change::Upsert(ann));
//! changes.insert(RecordId::new("17")?, Change::Delete);
//! let said = Message::ProcessChanges { class: DataClass::Contacts, changes: Some(changes), more: false, info: None };
//!
//! let heard = Message::decode(&said.encode(), &limits())?;
//! assert_eq!(heard, said);
//! # Ok::<(), cabled_wire::WireError>(())
//! ```
//! # How it fits together
//! [`msg::Message`] is everything either side says, positions and placeholders as on the wire; a [`record::Record`] is one
//! contact, phone number, event or bookmark with every key it came with; [`DataClass`] names the classes that are
//! exchanged, with the version numbers and the order of entities that devices expect. [`schema`] says what each kind of
//! record is made of and what a device stores of it; [`records`] has records as types; with the feature `vobject` the module
//! `interchange` has them as files. All of it is free of transport, so a
//! device can be played with the same types. [`session`] is the exchange with a device, [`engine`] the merge; [`pair`] brings
//! two [`replica`]s together with both, and [`store`] is what is kept between two times.
//!
//! # Limits
//! A message has at most 256 MiB, 16 levels and eight million values ([`msg::limits`]), a change message at most a million
//! records, an identifier 1024 bytes.
//!
//! # Features
//! - `session` (on): [`session`], the exchange with a device.
//! - `engine` (on): [`engine`], the merge of a device with what is on the computer.
//! - `pair` (on): [`pair`], [`replica`], [`store`]: a device and a place on the computer, synced so that it may be cut off
//!   anywhere.
//! - `device`: `availability`, whether a class can be had, and `guard`, the lock and the notifications around a sync.
//! - `interchange`: bookmarks as HTML and JSON, notes as text and JSON.
//! - `vobject`: contacts as vCard, calendars as iCalendar.
//! - `files`: folders and files of contacts, calendars and bookmarks as a side of a sync, in the module `replica`.

#[cfg(feature = "device")]
pub mod availability;
#[cfg(feature = "pair")]
mod blocking;
mod class;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "device")]
pub mod guard;
#[cfg(feature = "interchange")]
pub mod interchange;
pub mod msg;
#[cfg(feature = "pair")]
pub mod pair;
pub mod record;
pub mod records;
#[cfg(feature = "pair")]
pub mod replica;
pub mod schema;
#[cfg(feature = "session")]
pub mod session;
#[cfg(feature = "pair")]
pub mod store;

pub use class::{DataClass, entity};

/// The program in the README, compiled and run.
#[cfg(all(doctest, feature = "files"))]
#[doc = include_str!("../README.md")]
mod readme {}
