//! Calendars and reminders as iCalendar (RFC 5545).
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::records::icalendar::Lines;
//!
//! let mut lines = Lines::new(Vec::new());
//! lines.text("SUMMARY", "Lunch; bring\nbread, please")?;
//! assert_eq!(lines.finish()?, b"SUMMARY:Lunch\\; bring\\nbread\\, please\r\n");
//! # Ok::<(), std::io::Error>(())
//! ```
//! # How it fits
//! [`write()`] takes a [`CalendarBook`], or one calendar of it, and writes one `VCALENDAR`: a `VEVENT` for each event, a
//! `VTODO` for each reminder, and a `VTIMEZONE` for each zone that is used. The same book gives the same bytes.
//!
//! Times keep their zone, because a repeating event in UTC would move by an hour with summer time. The rules of the
//! zones come from the IANA database compiled in. A zone that is not in there is written in UTC, with its name as a
//! parameter `X-TZ-NAME`. Floating times stay without a zone, all-day events are dates.
//!
//! # Limits
//! What has no place in the standard goes into properties that begin with `X-`: an attendee's status as the phone's
//! number, parts of a rule that were not understood. An event without a start, which the standard does not allow,
//! becomes a `VJOURNAL`. Lines have at most 75 bytes and a fold; control characters other than line feeds and tabs are
//! left out.

mod components;
mod lines;
#[cfg(test)]
pub(super) mod reading;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};

use super::calendar::{CalendarBook, Event, Task, TimeZoneName, When};
use super::time::Timestamp;
use components::Context;
use zones::Zone;

pub use lines::Lines;

/// Writes all events and reminders of a book, or those of one calendar or list.
///
/// Reminders that are marked as deleted are left out. `out` gets small pieces: give it a buffered one.
///
/// # Errors
/// Whatever `out` gives.
pub fn write<W: Write>(out: W, book: &CalendarBook, calendar: Option<i64>) -> io::Result<W> {
    write_those(out, book, |of| calendar.is_none() || of == calendar, calendar)
}

/// Writes what belongs to no calendar of the book.
///
/// # Errors
/// Whatever `out` gives.
pub fn write_others<W: Write>(out: W, book: &CalendarBook) -> io::Result<W> {
    let known: HashSet<i64> = book.calendars.iter().map(|calendar| calendar.id).collect();
    write_those(out, book, |of| of.is_none_or(|of| !known.contains(&of)), None)
}

fn write_those<W: Write>(
    out: W,
    book: &CalendarBook,
    wanted: impl Fn(Option<i64>) -> bool,
    calendar: Option<i64>,
) -> io::Result<W> {
    let events: Vec<&Event> = book.events.iter().filter(|event| wanted(event.calendar)).collect();
    let tasks: Vec<&Task> = book
        .tasks
        .iter()
        .filter(|task| !task.deleted && wanted(task.list))
        .collect();
    let context = Context {
        zones: Zones::used_by(&events, &tasks),
        uids: uids(book),
        events: book.events.iter().map(|event| (event.id, event)).collect(),
    };
    let mut lines = Lines::new(out);
    lines.raw("BEGIN:VCALENDAR")?;
    lines.raw("VERSION:2.0")?;
    lines.raw("PRODID:-//cabled//backup reader//EN")?;
    lines.raw("CALSCALE:GREGORIAN")?;
    if let Some(calendar) = calendar.and_then(|id| book.calendar(id)) {
        if let Some(title) = &calendar.title {
            lines.text("X-WR-CALNAME", title)?;
        }
        if let Some(color) = &calendar.color {
            lines.text("X-APPLE-CALENDAR-COLOR", color)?;
        }
    }
    let mut described = HashSet::new();
    for used in context.zones.found.values().flatten() {
        if used.zone.is_utc() || !described.insert(used.zone.name()) {
            continue;
        }
        for line in used.zone.describe(used.first, used.last) {
            lines.raw(&line)?;
        }
    }
    for event in events {
        components::event(&mut lines, &context, event)?;
    }
    for task in tasks {
        components::task(&mut lines, &context, task)?;
    }
    lines.raw("END:VCALENDAR")?;
    lines.finish()
}

/// The zones that a file needs, by their name in the store.
#[derive(Debug, Default)]
struct Zones {
    found: BTreeMap<String, Option<UsedZone>>,
}

#[derive(Debug)]
struct UsedZone {
    zone: Zone,
    first: Timestamp,
    last: Timestamp,
}

impl Zones {
    fn used_by(events: &[&Event], tasks: &[&Task]) -> Self {
        let mut zones = Self::default();
        for event in events {
            // Exceptions and what an event replaces are written in its zone.
            let dates = event
                .exceptions
                .iter()
                .chain(event.replaces.as_ref().and_then(|r| r.at.as_ref()));
            let dates: Vec<Timestamp> = dates.copied().collect();
            let start = event.start.iter().filter(|_| !event.all_day);
            start
                .chain(event.end.iter().filter(|_| !event.all_day))
                .for_each(|when| zones.add(when, &dates));
            // An all-day event may say its days in a zone.
            if event.all_day {
                event.start.iter().chain(&event.end).for_each(|when| zones.know(when));
            }
        }
        for task in tasks {
            task.start.iter().chain(&task.due).for_each(|when| zones.add(when, &[]));
        }
        // Two spellings of one zone are described once, for the times of both.
        let mut ranges: HashMap<String, (Timestamp, Timestamp)> = HashMap::new();
        for used in zones.found.values().flatten() {
            let range = ranges
                .entry(used.zone.name().to_owned())
                .or_insert((used.first, used.last));
            *range = (range.0.min(used.first), range.1.max(used.last));
        }
        zones.merge(&ranges);
        zones
    }

    fn merge(&mut self, ranges: &HashMap<String, (Timestamp, Timestamp)>) {
        for used in self.found.values_mut().flatten() {
            if let Some((first, last)) = ranges.get(used.zone.name()) {
                (used.first, used.last) = (*first, *last);
            }
        }
    }

    fn add(&mut self, when: &When, more: &[Timestamp]) {
        self.know(when);
        let TimeZoneName::Named(name) = &when.zone else { return };
        if let Some(Some(used)) = self.found.get_mut(name) {
            for at in more.iter().chain([&when.at]) {
                (used.first, used.last) = (used.first.min(*at), used.last.max(*at));
            }
        }
    }

    fn know(&mut self, when: &When) {
        let TimeZoneName::Named(name) = &when.zone else { return };
        // A hostile store may name a zone per event.
        if self.found.len() < 10_000 && !self.found.contains_key(name) {
            let zone = Zone::find(name).map(|zone| UsedZone {
                zone,
                first: when.at,
                last: when.at,
            });
            self.found.insert(name.clone(), zone);
        }
    }

    fn get(&self, name: &str) -> Option<&Zone> {
        Some(&self.found.get(name)?.as_ref()?.zone)
    }
}

/// The identifier of every event: what replaces an occurrence has that of the whole; no two others have the same.
fn uids(book: &CalendarBook) -> HashMap<i64, String> {
    let mut uids: HashMap<i64, String> = HashMap::new();
    let mut taken: HashSet<String> = HashSet::new();
    for event in book.events.iter().filter(|event| event.replaces.is_none()) {
        let own = event.uid.clone().filter(|uid| !taken.contains(uid));
        let uid = own.unwrap_or_else(|| match &event.uid {
            Some(uid) => format!("{uid}-{}", event.id),
            None => format!("event-{}", event.id),
        });
        taken.insert(uid.clone());
        uids.insert(event.id, uid);
    }
    for event in book.events.iter() {
        if let Some(replaces) = &event.replaces {
            let uid = uids.get(&replaces.event).cloned();
            let uid = uid.unwrap_or_else(|| event.uid.clone().unwrap_or_else(|| format!("event-{}", event.id)));
            uids.insert(event.id, uid);
        }
    }
    uids
}
