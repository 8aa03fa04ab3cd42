//! Messages, contacts, calls, notes, calendars, Safari and photos as typed records, and their export.
//!
//! # How it fits
//! Each kind of record has a module of its own over the same ground: [`schema`] reads tables whose columns come and go
//! with iOS versions, [`time`] turns their counts into times, [`Notes`] tell what could not be read. [`jsonl`] and
//! [`html`] write records for programs and for people; [`export`] does that for all categories at once.
//!
//! # Limits
//! A store of an unknown iOS version is read as far as its columns are known. A row that makes no sense becomes a
//! note, never an error, and never silence.

mod base64;
pub mod calendar;
pub mod calls;
pub mod contacts;
mod directory;
mod error;
pub mod export;
#[cfg(test)]
mod export_tests;
pub mod html;
pub mod icalendar;
pub mod jsonl;
pub mod messages;
mod note;
pub mod notes;
pub mod output;
pub mod photos;
pub mod safari;
pub mod schema;
mod store;
pub mod time;
pub mod vcard;

pub use directory::Directory;
pub use error::RecordError;
pub use note::{Notes, Problem, RecordNote};
pub use store::{Source, Store};
pub use time::Timestamp;
