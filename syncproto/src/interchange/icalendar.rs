//! Calendars and events as iCalendar.
//!
//! # Example
//! ```
//! use cabled_syncproto::interchange::{Limits, icalendar};
//! use cabled_syncproto::record::RecordId;
//!
//! let text = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:tea\r\nDTSTAMP:20260101T000000Z\r\n\
//!             DTSTART;TZID=Europe/London:20260701T160000\r\nDURATION:PT30M\r\nSUMMARY:Tea\r\nTRANSP:TRANSPARENT\r\n\
//!             END:VEVENT\r\nEND:VCALENDAR\r\n";
//! let read = icalendar::read(text, &RecordId::new("home")?, &Limits::default())?;
//! let tea = &read.events[0].details;
//! assert_eq!(tea.zone.as_deref(), Some("Europe/London"));
//! assert_eq!(tea.end.map(|end| end.seconds()), Some(1_782_919_800));
//! // How busy the time is has no place on a device, and the length was not written as an end; both come back.
//! let text = icalendar::write(None, &read.events);
//! assert!(text.contains("DURATION:PT30M\r\n") && text.contains("TRANSP:TRANSPARENT\r\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! An event's identifier is its `UID`; a detached occurrence adds a slash and its `RECURRENCE-ID`. An event that no device
//! could follow (`RDATE`, several rules, hourly rules, an unknown zone that repeats…) is marked with [`NOT_SYNCABLE`], listed,
//! and kept whole: it is written as it came and never flattened. Zones are those of the bundled database, found by the
//! names of other programs with calcard's table; `VTIMEZONE` is written for every zone that is used.
//!
//! # Limits
//! Free/busy, tasks and journals are kept with the calendar and are no events. Spec: mobilesync, sections 8.2 and 8.6.

use std::collections::BTreeSet;

use cabled_wire::plist::Value;

use super::lines::Line;
use super::vcard::apply_override;
use super::{InterchangeError, Limits, append};
use crate::entity;
use crate::record::{Record, RecordId};
use crate::records::{Calendar, Entry, Event, Graph, View};

mod component;
mod event;
mod originals;
mod parts;
mod time;
mod write;

use component::{Component, parse};
use event::{event_id, read_event};
use time::Described;
pub use write::write;

/// The key of an event that cannot be sent to a device; its value says why.
pub const NOT_SYNCABLE: &str = crate::record::NOT_SYNCABLE;

/// The time stamp of an event that has none.
const NO_STAMP: &str = "DTSTAMP:19700101T000000Z";
const WHOLE: &str = "ical:whole";
/// The line of the identifier as it was spelled, and the identifier that was made of it.
const UID: &str = "ical:original:UID";
const ORIGINAL: &str = "ical:original";
const ZONES: &str = "ical:VTIMEZONE";
const COMPONENTS: &str = "ical:components";

/// What a calendar file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The calendar itself, with what is neither an event nor a zone.
    pub calendar: Entry<Calendar>,
    /// Its events, in the order of the file; those that are not syncable too.
    pub events: Vec<Event>,
    /// The events that must not be sent, and why.
    pub not_syncable: Vec<(RecordId, String)>,
    /// The events whose `UID` is missing or cannot be an identifier: theirs was made of what they say and of their place.
    pub unnamed: Vec<RecordId>,
}

impl Read {
    /// Everything as records.
    ///
    /// # Errors
    /// [`InterchangeError::Record`] for a relationship that cannot be one.
    pub fn into_graph(self) -> Result<Graph, InterchangeError> {
        let mut graph = Graph::default();
        graph.insert(self.calendar.id, self.calendar.view.write())?;
        for event in &self.events {
            event.write(&mut graph)?;
        }
        Ok(graph)
    }
}

/// Reads a calendar file; its events belong to `calendar`.
///
/// # Errors
/// [`InterchangeError::TooLarge`] beyond a limit, [`InterchangeError::Unbalanced`] for a component that is not closed,
/// [`InterchangeError::Format`] when there is no calendar in it.
pub fn read(text: &str, calendar: &RecordId, limits: &Limits) -> Result<Read, InterchangeError> {
    let found = parse(text, limits)?;
    let mut view = Record::new(entity::CALENDAR);
    let (mut described, mut events) = (Described::new(), Vec::new());
    let mut any = false;
    for component in found.into_iter().filter(|component| component.name == "VCALENDAR") {
        any = true;
        read_calendar(component.lines, &mut view);
        for child in component.children {
            match (&*child.name, child.line("TZID").map(Line::text)) {
                ("VEVENT", _) => events.push(child),
                ("VTIMEZONE", Some(name)) => drop(described.insert(name, child)),
                _ => append(&mut view.attributes, COMPONENTS.to_owned(), vec![child.value()]),
            }
        }
    }
    if !any {
        let reason = "there is no BEGIN:VCALENDAR in it".to_owned();
        return Err(InterchangeError::Format {
            format: "iCalendar",
            reason,
        });
    }
    Limits::check("a number of events", events.len(), limits.records)?;
    let series = |event: &&Component| event.line("RECURRENCE-ID").is_none();
    let series: BTreeSet<String> = events
        .iter()
        .filter(series)
        .filter_map(|event| Some(event.line("UID")?.text()))
        .collect();
    let mut read = Read {
        calendar: Entry {
            id: calendar.clone(),
            view: Calendar::read(calendar, &view)?,
        },
        events: Vec::new(),
        not_syncable: Vec::new(),
        unnamed: Vec::new(),
    };
    let mut seen = BTreeSet::new();
    for (index, component) in events.iter().enumerate() {
        let (mut id, named) = event_id(component, index);
        if !seen.insert(id.clone()) {
            id = RecordId::new(format!("{id}/{index}")).unwrap_or(id);
            seen.insert(id.clone());
        }
        if !named {
            read.unnamed.push(id.clone());
        }
        let event = read_event(&id, component, calendar, &described, &series)?;
        if let Some(reason) = event.details.residue.text(NOT_SYNCABLE) {
            read.not_syncable.push((id, reason.to_owned()));
        }
        read.events.push(event);
    }
    Ok(read)
}

fn read_calendar(lines: Vec<Line>, record: &mut Record) {
    let mut overriding = Vec::new();
    for line in lines {
        let title = record.attributes.contains_key("title");
        match &*line.name {
            "VERSION" | "PRODID" | "CALSCALE" => {}
            "X-CABLED-KEY" => overriding.push(line),
            "NAME" | "X-WR-CALNAME" if !title => drop(record.attributes.insert("title".to_owned(), line.text().into())),
            "NAME" | "X-WR-CALNAME"
                if record.attributes.get("title").and_then(Value::as_string) == Some(&line.text()) => {}
            "X-APPLE-CALENDAR-COLOR" if color(&line.value).is_some() => {
                let parts = color(&line.value).unwrap_or_default();
                record
                    .attributes
                    .insert("colorComponents".to_owned(), Value::Array(parts));
            }
            name => append(
                &mut record.attributes,
                format!("ical:{name}"),
                vec![line.raw.as_str().into()],
            ),
        }
    }
    for line in overriding {
        apply_override(record, &line);
    }
}

/// `#RRGGBB` or `#RRGGBBAA`.
fn color(text: &str) -> Option<Vec<Value>> {
    let digits = text.strip_prefix('#').filter(|digits| matches!(digits.len(), 6 | 8))?;
    let part = |at: usize| {
        let pair = digits.get(at..at.saturating_add(2))?;
        i64::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))
    };
    let alpha = if digits.len() == 8 { part(6)? } else { 255 };
    Some(
        [part(0)?, part(2)?, part(4)?, alpha]
            .into_iter()
            .map(Value::from)
            .collect(),
    )
}
