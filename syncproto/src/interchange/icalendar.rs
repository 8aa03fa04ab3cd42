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

use std::collections::{BTreeMap, BTreeSet};

use cabled_wire::plist::Value;

use super::lines::{self, Line};
use super::vcard::{apply_override, keep_uid};
use super::{InterchangeError, Limits, append, fingerprint};
use crate::entity;
use crate::record::{Record, RecordId};
use crate::records::{Calendar, Entry, Event, EventDetails, Graph, View};

mod parts;
mod time;
mod write;

use time::{Described, Wall, when};
use write::unit_lines;
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

/// A component with its lines and those within it.
#[derive(Clone, Debug, PartialEq)]
struct Component {
    name: String,
    lines: Vec<Line>,
    children: Vec<Component>,
}

impl Component {
    fn line(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.name == name)
    }

    /// As it came. The depth is bounded by the reader.
    fn raw(&self) -> Vec<String> {
        let mut raw = vec![format!("BEGIN:{}", self.name)];
        raw.extend(self.lines.iter().map(|line| line.raw.clone()));
        raw.extend(self.children.iter().flat_map(Self::raw));
        raw.push(format!("END:{}", self.name));
        raw
    }

    fn value(&self) -> Value {
        self.raw().join("\n").into()
    }
}

/// Lines of components that are kept as texts; each text is taken only if it is one whole component.
fn kept_components(value: &Value) -> Vec<Vec<String>> {
    let texts = value.as_array().into_iter().flatten().filter_map(Value::as_string);
    let whole = |text: &str| match parse(text, &Limits::default()) {
        Ok(found) if found.len() == 1 => found.first().map(Component::raw),
        _ => None,
    };
    texts.filter_map(whole).collect()
}

fn parse(text: &str, limits: &Limits) -> Result<Vec<Component>, InterchangeError> {
    let (mut done, mut open) = (Vec::new(), Vec::<Component>::new());
    let depth = limits.depth.min(64);
    let mut components = 0_usize;
    for (index, raw) in lines::unfold(text, limits)?.into_iter().enumerate() {
        let line = Line::new(&raw);
        let name = line.value.trim().to_ascii_uppercase();
        let unbalanced = |component: String| InterchangeError::Unbalanced {
            line: index.saturating_add(1),
            component,
        };
        match (&*line.name, open.last_mut()) {
            ("BEGIN", _) => {
                components = components.saturating_add(1);
                Limits::check("a number of components", components, limits.records.saturating_mul(4))?;
                Limits::check("a depth", open.len().saturating_add(1), depth)?;
                let (lines, children) = (Vec::new(), Vec::new());
                open.push(Component { name, lines, children });
            }
            ("END", _) => {
                let component = open
                    .pop()
                    .filter(|open| open.name == name)
                    .ok_or_else(|| unbalanced(name))?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(component),
                    None => done.push(component),
                }
            }
            (_, Some(component)) => component.lines.push(line),
            _ => {}
        }
    }
    match open.pop() {
        Some(open) => Err(InterchangeError::Unbalanced {
            line: 0,
            component: open.name,
        }),
        None => Ok(done),
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

/// The identifier of an event, and whether its `UID` says it.
fn event_id(component: &Component, index: usize) -> (RecordId, bool) {
    let uid = component.line("UID").map(Line::text).filter(|uid| !uid.is_empty());
    let occurrence = component
        .line("RECURRENCE-ID")
        .map(|line| format!("/{}", line.value.trim()));
    let occurrence = occurrence.unwrap_or_default();
    if let Some(Ok(id)) = uid.map(|uid| RecordId::new(format!("{uid}{occurrence}"))) {
        return (id, true);
    }
    let made = format!("event-{index}-{}", fingerprint(component.raw().join("\n").as_bytes()));
    let id = RecordId::new(format!("{made}{occurrence}")).or_else(|_| RecordId::new(made));
    (id.unwrap_or_else(|_| RecordId::placeholder()), false)
}

/// Properties that are one text each.
const TEXTS: &[(&str, &str)] = &[
    ("SUMMARY", "summary"),
    ("LOCATION", "location"),
    ("DESCRIPTION", "description"),
    ("URL", "url"),
];
const TIMES: &[&str] = &["DTSTART", "DTEND", "DURATION"];
const TIME_KEYS: &[&str] = &[
    "start date",
    "end date",
    "start date.timezone",
    "floatingOffset",
    "all day",
];

/// Why no device could follow an event.
fn obstacle(
    component: &Component,
    details: &EventDetails,
    described: &Described,
    series: &BTreeSet<String>,
) -> Option<&'static str> {
    let rules: Vec<&Line> = component.lines.iter().filter(|line| line.name == "RRULE").collect();
    let lost = |line: &Line| when(&line.value, line.param("TZID"), described).is_none_or(|when| when.lost);
    if component.line("RDATE").is_some() {
        return Some("it has extra dates (RDATE)");
    }
    if component.line("EXRULE").is_some() {
        return Some("it has a rule for exceptions (EXRULE)");
    }
    if rules.len() > 1 {
        return Some("it has more than one rule (RRULE)");
    }
    if let Some(Err(reason)) = rules.first().map(|rule| parts::rule(rule, details)) {
        return Some(reason);
    }
    if details.start.is_none() {
        return Some("it has no start that can be read");
    }
    if let Some(line) = component.line("RECURRENCE-ID") {
        if line.param("RANGE").is_some() {
            return Some("it changes all later occurrences (RANGE)");
        }
        let uid = component.line("UID").map(Line::text).unwrap_or_default();
        if !series.contains(&uid) {
            return Some("its series is not here");
        }
        if Wall::parse(&line.value).is_none() {
            return Some("its RECURRENCE-ID is malformed");
        }
    }
    if !rules.is_empty() && component.line("DTSTART").is_some_and(lost) {
        return Some("it repeats in a time zone that is not known");
    }
    None
}

/// The time keys that lines say, as a record's.
fn times(lines: &[Line], described: &Described) -> Option<Record> {
    let line = |name: &str| lines.iter().find(|line| line.name == name);
    let read = |line: &Line| when(&line.value, line.param("TZID"), described);
    let start = read(line("DTSTART")?)?;
    let all_day = matches!(start.wall, Wall::Date(_));
    let day = if all_day { 86_400 } else { 0 };
    let end = match (line("DTEND"), line("DURATION")) {
        (Some(end), _) => read(end)?.time,
        (None, Some(length)) => {
            let seconds = time::duration(&length.value)?;
            start.time.plus(seconds)
        }
        (None, None) => start.time.plus(day),
    };
    let mut record = Record::new(entity::EVENT)
        .with("start date", Value::Date(start.time.to_wire()?))
        .with("end date", Value::Date(end.to_wire()?));
    if all_day {
        record = record.with("all day", 1);
    } else if let Some(zone) = start.zone {
        record = record.with("start date.timezone", zone);
    }
    Some(record)
}

fn read_event(
    id: &RecordId,
    component: &Component,
    calendar: &RecordId,
    described: &Described,
    series: &BTreeSet<String>,
) -> Result<Event, InterchangeError> {
    let mut record = Record::new(entity::EVENT).with("calendar", vec![calendar.as_str().into()]);
    for (name, key) in TEXTS {
        if let Some(line) = component.line(name) {
            let text = if *name == "URL" {
                line.value.clone()
            } else {
                line.text()
            };
            record.attributes.insert((*key).to_owned(), text.into());
        }
    }
    if let Some(found) = times(&component.lines, described) {
        for (key, value) in found.attributes {
            record.attributes.insert(key, value);
        }
    }
    let details = EventDetails::read(id, &record)?;
    if let Some(reason) = obstacle(component, &details, described, series) {
        record = record.with(NOT_SYNCABLE, reason).with(WHOLE, vec![component.value()]);
        let mut event = Event::new(id.clone());
        event.details = EventDetails::read(id, &with_zones(record, component, described))?;
        return Ok(event);
    }
    let mut exceptions = Vec::new();
    for line in component.lines.iter().filter(|line| line.name == "EXDATE") {
        let all = line
            .value
            .split(',')
            .map(|one| when(one, line.param("TZID"), described)?.time.to_wire());
        exceptions.extend(
            all.collect::<Option<Vec<_>>>()
                .unwrap_or_default()
                .into_iter()
                .map(Value::Date),
        );
    }
    if !exceptions.is_empty() {
        record = record.with("exception dates", exceptions);
    }
    if let Some(line) = component.line("RECURRENCE-ID")
        && let Some(date) = when(&line.value, line.param("TZID"), described).and_then(|when| when.time.to_wire())
    {
        let uid = component.line("UID").map(Line::text).unwrap_or_default();
        record = record
            .with("original date", Value::Date(date))
            .with("main event", vec![uid.into()]);
    }
    let mut graph = Graph::default();
    let mut parts = Vec::new();
    let mut rest = Vec::new();
    sort_lines(component, &details, &mut record, &mut parts, &mut rest);
    keep_originals(&mut record, component, described);
    for line in &rest {
        apply_override(&mut record, line);
    }
    if let Some(line) = component.line("UID") {
        let series = record.related("main event").ok().and_then(|all| all.into_iter().next());
        let of = series.as_ref().unwrap_or(id);
        let ours = format!("UID:{}", lines::escape(of.as_str()));
        keep_uid(UID, &mut record, of, &line.raw, &ours);
    }
    graph.insert(id.clone(), with_zones(record, component, described))?;
    let mut numbers = BTreeMap::new();
    for part in parts {
        let part_id = super::part_id(id, &part, &mut numbers);
        graph.insert(part_id, part.with("owner", vec![id.as_str().into()]))?;
    }
    Ok(Event::read(&graph, id)?)
}

/// Parts, kept lines, and lines that carry keys.
fn sort_lines(
    component: &Component,
    details: &EventDetails,
    record: &mut Record,
    parts: &mut Vec<Record>,
    rest: &mut Vec<Line>,
) {
    let keeping = |mut part: Record, ours: Option<Vec<String>>, theirs: &[String]| {
        if ours.as_deref() != Some(theirs) {
            part.attributes
                .insert(ORIGINAL.to_owned(), vec![Value::from(theirs.join("\n"))].into());
        }
        part
    };
    let mut texts = BTreeSet::new();
    for line in &component.lines {
        let raw = [line.raw.clone()];
        let known = TEXTS.iter().any(|(name, _)| *name == line.name)
            || TIMES.contains(&&*line.name)
            || line.name == "RECURRENCE-ID";
        let part = match &*line.name {
            "UID" | "EXDATE" => continue,
            "DTSTAMP" if line.raw == NO_STAMP => continue,
            "X-CABLED-KEY" => {
                rest.push(line.clone());
                continue;
            }
            "X-CABLED-RECORD" => super::vcard::carried(line),
            _ if known && texts.insert(line.name.clone()) => continue,
            "RRULE" => parts::rule(line, details).ok().map(|part| {
                let ours = parts::rule_line(&part, details).map(|line| vec![line]);
                keeping(part, ours, &raw)
            }),
            "ATTENDEE" | "ORGANIZER" => parts::person(line).map(|part| {
                let ours = parts::person_line(&part).map(|line| vec![line]);
                keeping(part, ours, &raw)
            }),
            _ => None,
        };
        match part {
            Some(part) => parts.push(part),
            None => append(
                &mut record.attributes,
                format!("ical:{}", line.name),
                vec![line.raw.as_str().into()],
            ),
        }
    }
    for child in &component.children {
        let part = parts::alarm(child, details).filter(|_| child.name == "VALARM");
        match part {
            Some(part) => {
                let ours = parts::alarm_lines(&part).map(|lines| alarm_component(&lines));
                parts.push(keeping(part, ours, &child.raw()));
            }
            None => append(&mut record.attributes, COMPONENTS.to_owned(), vec![child.value()]),
        }
    }
}

fn alarm_component(lines: &[String]) -> Vec<String> {
    let mut all = vec!["BEGIN:VALARM".to_owned()];
    all.extend_from_slice(lines);
    all.push("END:VALARM".to_owned());
    all
}

/// The names of one-valued units, in the order in which they are written.
const UNITS: &[&str] = &[
    "SUMMARY",
    "LOCATION",
    "DESCRIPTION",
    "URL",
    "TIME",
    "EXDATE",
    "RECURRENCE-ID",
];

fn belongs(unit: &str, line: &Line) -> bool {
    match unit {
        "TIME" => TIMES.contains(&&*line.name),
        unit => line.name == unit,
    }
}

/// Keeps the lines of each unit that we would write differently.
fn keep_originals(record: &mut Record, component: &Component, described: &Described) {
    for unit in UNITS {
        let mut lines: Vec<&Line> = component.lines.iter().filter(|line| belongs(unit, line)).collect();
        if !matches!(*unit, "TIME" | "EXDATE") {
            lines.truncate(1);
        }
        let raw: Vec<String> = lines.iter().map(|line| line.raw.clone()).collect();
        if raw != unit_lines(unit, record) && says(unit, &raw, record, described) {
            let value = raw.into_iter().map(Value::from).collect::<Vec<_>>();
            record.attributes.insert(format!("{ORIGINAL}:{unit}"), value.into());
        }
    }
}

/// Whether lines say what a record holds for a unit.
fn says(unit: &str, raw: &[String], record: &Record, described: &Described) -> bool {
    let lines: Vec<Line> = raw.iter().map(|line| Line::new(line)).collect();
    let same = |key: &str, value: Option<&Value>| record.attributes.get(key) == value;
    match (unit, lines.first()) {
        (_, None) => false,
        ("TIME", _) => {
            let found = times(&lines, described).unwrap_or_else(|| Record::new(entity::EVENT));
            TIME_KEYS.iter().all(|key| same(key, found.attributes.get(key)))
        }
        ("EXDATE", _) => {
            let dates = lines.iter().flat_map(|line| {
                let zone = line.param("TZID");
                line.value
                    .split(',')
                    .map(move |one| when(one, zone, described).and_then(|when| when.time.to_wire()))
            });
            let dates = dates.map(|date| date.map(Value::Date)).collect::<Option<Vec<Value>>>();
            dates.is_some_and(|dates| same("exception dates", Some(&Value::Array(dates))))
        }
        ("RECURRENCE-ID", Some(line)) => {
            let date = when(&line.value, line.param("TZID"), described).and_then(|when| when.time.to_wire());
            date.is_some_and(|date| same("original date", Some(&Value::Date(date))))
        }
        ("URL", Some(line)) => same("url", Some(&line.value.as_str().into())),
        (name, Some(line)) => {
            let key = TEXTS.iter().find(|(known, _)| *known == name).map(|(_, key)| *key);
            key.is_some_and(|key| same(key, Some(&line.text().into())))
        }
    }
}

/// Keeps the zones that only this file describes.
fn with_zones(mut record: Record, component: &Component, described: &Described) -> Record {
    let mut lines: Vec<&Line> = component.lines.iter().collect();
    lines.extend(component.children.iter().flat_map(|child| &child.lines));
    let names: BTreeSet<&str> = lines.iter().filter_map(|line| line.param("TZID")).collect();
    for name in names.into_iter().filter(|name| time::zone(name).is_none()) {
        if let Some(zone) = described.get(name) {
            append(&mut record.attributes, ZONES.to_owned(), vec![zone.value()]);
        }
    }
    record
}
