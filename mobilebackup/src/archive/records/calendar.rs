//! Calendars: events with their repetitions, alarms and guests; and reminders.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::Archive;
//! use cabled_mobilebackup::archive::records::calendar::CalendarBook;
//! use cabled_mobilebackup::archive::records::icalendar;
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
//! let backup = Archive::open(folder)?;
//! for book in CalendarBook::read_all(&backup)? {
//!     for calendar in &book.calendars {
//!         let mut file = Vec::new();
//!         icalendar::write(&mut file, &book, Some(calendar.id))?;
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`CalendarBook::read_all`] reads `Calendar.sqlitedb`, of iOS 5 and older as well, and the stores of Reminders, one
//! book for each; [`icalendar`](super::icalendar) writes them for other programs.
//!
//! # Limits
//! Repetitions are rules, not expanded into days. Numbers whose meaning is not publicly known (an attendee's status, a
//! rule's first day of the week) are kept as numbers. Attachments are told by name; they are on the server.

mod children;
mod export;
mod recurrence;
mod reminders;
mod rows;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::note::Notes;
use super::store::read_into;
use super::time::Timestamp;
use super::{RecordError, Source};
use crate::archive::{Archive, FileEntry, Kind};

pub(super) use export::EXPORTER;
pub use recurrence::{ByDay, Frequency, Recurrence, Weekday};

/// The contents of one store.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct CalendarBook {
    /// The store.
    pub source: Source,
    /// Calendars, or lists of reminders.
    pub calendars: Vec<Calendar>,
    /// Events, in the order of their rows.
    pub events: Vec<Event>,
    /// Reminders, in the order of their rows.
    pub tasks: Vec<Task>,
    /// What could not be read.
    pub problems: Notes,
    /// Why nothing or not all of the store could be read; told among the problems, too.
    #[serde(skip)]
    pub failure: Option<RecordError>,
}

/// A calendar, or a list of reminders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Calendar {
    /// Its row.
    pub id: i64,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its colour as `#RRGGBB`, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// The name of its account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

/// The zone that a time is meant in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimeZoneName {
    /// No zone: the same reading of the clock everywhere. The time is that reading, as if it were in UTC.
    Floating,
    /// A zone as the store spells it, such as `Europe/Zurich`.
    Named(String),
    /// The store says none; the time is a point in time all the same.
    Unstated,
}

/// A time of an event, and the zone it is meant in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct When {
    /// The point in time; for [`TimeZoneName::Floating`] the reading of the clock.
    pub at: Timestamp,
    /// The zone.
    pub zone: TimeZoneName,
}

/// A place.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Location {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Degrees north and east.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<(f64, f64)>,
}

impl Location {
    /// Name and address in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let parts: Vec<&str> = [self.title.as_deref(), self.address.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        parts.join(", ")
    }
}

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// Its row.
    pub id: i64,
    /// Its identifier among all calendars, as far as the store has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The row of its calendar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calendar: Option<i64>,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// When it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<When>,
    /// When it ends. Of all-day events, stores have either the last second of the last day or the midnight after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<When>,
    /// Whole days, with no time of day.
    pub all_day: bool,
    /// How it repeats.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recurrences: Vec<Recurrence>,
    /// Times at which it would repeat and does not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Timestamp>,
    /// Which occurrence of which event it replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaces>,
    /// Its alarms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<Alarm>,
    /// Who organises it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizer: Option<Participant>,
    /// Who is invited.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attendees: Vec<Participant>,
    /// Its web address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where to join a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conference: Option<String>,
    /// Names of attached files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<String>,
    /// Confirmed, tentative or cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<EventStatus>,
    /// `availability` as stored: 0 busy, 1 free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability: Option<i64>,
    /// `privacy_level` as stored; 0 where everybody may see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy: Option<i64>,
    /// Seconds to get there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub travel_time: Option<i64>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When it was changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
}

/// Whether an event takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventStatus {
    /// It does.
    Confirmed,
    /// It may.
    Tentative,
    /// It does not.
    Cancelled,
}

/// Which occurrence an event replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Replaces {
    /// The row of the repeating event.
    pub event: i64,
    /// When that occurrence would have begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// An alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Alarm {
    /// So many seconds after the start; negative before it.
    Relative(i64),
    /// At a point in time.
    At(Timestamp),
    /// On arriving somewhere (1) or leaving (2), as stored.
    Place(i64),
}

/// Somebody who takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Participant {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Any other address, such as `tel:` or `urn:`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `status` as stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i64>,
    /// `role` as stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<i64>,
    /// Whether it is the phone's owner.
    pub is_self: bool,
}

/// A reminder.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Task {
    /// Its row.
    pub id: i64,
    /// Its identifier, a uuid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The row of its list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<i64>,
    /// The row of the reminder it is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<i64>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it is done.
    pub completed: bool,
    /// When it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// When it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<When>,
    /// When it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<When>,
    /// Due on a day, with no time of day.
    pub all_day: bool,
    /// 1 (high) to 9 (low); 0 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Flagged.
    pub flagged: bool,
    /// How it repeats.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recurrences: Vec<Recurrence>,
    /// Its alarms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<Alarm>,
    /// To whom it is assigned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assignees: Vec<Participant>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When it was changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
    /// Marked as deleted.
    pub deleted: bool,
}

/// Where events are.
const CALENDAR: (&str, &str) = ("HomeDomain", "Library/Calendar/Calendar.sqlitedb");

/// Where the stores of Reminders are: domain and the beginning of the path.
const REMINDERS: [(&str, &str); 2] = [
    ("AppDomainGroup-group.com.apple.reminders", "Container_v1/Stores/Data-"),
    ("HomeDomain", "Library/Reminders/Container_v1/Stores/Data-"),
];

impl CalendarBook {
    pub(super) fn empty(source: Source) -> Self {
        Self {
            source,
            calendars: Vec::new(),
            events: Vec::new(),
            tasks: Vec::new(),
            problems: Notes::default(),
            failure: None,
        }
    }

    /// Reads the events and reminders of a backup: one book for each store that is there (spec 14), none if there is
    /// none. A store that cannot be read does not hide the others: its book is empty and says so.
    ///
    /// Looks at every row of the index, to find the stores of Reminders, whose names differ.
    ///
    /// # Errors
    /// [`RecordError::Archive`] if the backup is locked or its index damaged; [`RecordError::TooManyStores`].
    pub fn read_all(archive: &Archive) -> Result<Vec<Self>, RecordError> {
        let mut books = Vec::new();
        let events = archive.entry_at(CALENDAR.0, CALENDAR.1)?;
        if let Some(entry) = events.filter(|entry| entry.kind == Kind::File) {
            books.push(Self::read(archive, &entry, rows::read));
        }
        for entry in archive.entries()? {
            let entry = entry?;
            if entry.kind == Kind::File && is_reminders(&entry) {
                if books.len() == MAX_STORES {
                    return Err(RecordError::TooManyStores { limit: MAX_STORES });
                }
                books.push(Self::read(archive, &entry, reminders::read));
            }
        }
        Ok(books)
    }

    fn read(
        archive: &Archive,
        entry: &FileEntry,
        read: fn(&rusqlite::Connection, &mut Self) -> Result<(), RecordError>,
    ) -> Self {
        let mut book = Self::empty(entry.into());
        book.failure = read_into(archive, entry, &mut book, |book| &mut book.problems, read);
        book
    }

    /// The calendar or list of that row.
    #[must_use]
    pub fn calendar(&self, id: i64) -> Option<&Calendar> {
        self.calendars.iter().find(|calendar| calendar.id == id)
    }
}

/// Most stores that are read: a phone has one per account.
const MAX_STORES: usize = 64;

fn is_reminders(entry: &FileEntry) -> bool {
    let at = |(domain, start): &(&str, &str)| *entry.domain == **domain && entry.path.starts_with(start);
    entry.path.ends_with(".sqlite") && REMINDERS.iter().any(at)
}
