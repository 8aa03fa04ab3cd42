//! Writing events and calendars.

use std::collections::{BTreeMap, BTreeSet};

use cabled_wire::plist::Value;

use super::super::Limits;
use super::super::lines::{self, Line, escape, fold};
use super::super::vcard::{kept, kept_uid, overrides, whole};
use super::component::{Component, kept_components, parse};
use super::event::{alarm_component, read_event};
use super::originals::{UNITS, says};
use super::time::{self, Described, UTC};
use super::{COMPONENTS, NO_STAMP, NOT_SYNCABLE, ORIGINAL, UID, WHOLE, ZONES, parts, read_calendar};
use crate::entity;
use crate::record::{Record, RecordId};
use crate::records::{AllDay, Calendar, Event, EventDetails, Timestamp, View};

/// A moment as the event writes its moments: a date, a wall-clock time with its zone, or UTC.
fn moment(name: &str, time: Timestamp, details: &EventDetails) -> String {
    if details.is_all_day() {
        return format!("{name};VALUE=DATE:{}", time::date_text(time.date()));
    }
    let zone = details.zone.as_deref().filter(|_| !details.is_floating());
    match zone.map(|name| (name, time::zone(name))) {
        None => format!("{name}:{}", time::wall_text(details.wall(time))),
        Some((zone, Some(rules))) if zone != UTC && zone != "UTC" => {
            let wall = time.plus(time::offset(time, &rules));
            // The second of two equal hours can be said in UTC only.
            if time::instant(wall, &rules) != Some(time) {
                return format!("{name}:{}Z", time::wall_text(time));
            }
            format!("{name};TZID={}:{}", lines::param_value(zone), time::wall_text(wall))
        }
        Some(_) => format!("{name}:{}Z", time::wall_text(time)),
    }
}

/// The lines that we write for a unit.
pub(super) fn unit_lines(unit: &str, record: &Record) -> Vec<String> {
    let Ok(details) = EventDetails::read(&RecordId::placeholder(), record) else {
        return Vec::new();
    };
    let text =
        |name: &str, value: &Option<String>| value.iter().map(|value| format!("{name}:{}", escape(value))).collect();
    match unit {
        "SUMMARY" => text(unit, &details.summary),
        "LOCATION" => text(unit, &details.location),
        "DESCRIPTION" => text(unit, &details.description),
        "URL" => {
            let safe = details.url.iter().filter(|url| !url.contains(char::is_control));
            safe.map(|url| format!("URL:{url}")).collect()
        }
        "TIME" => {
            let mut details = details;
            if let Some(AllDay { start, end }) = details.days(|_| 0) {
                (details.start, details.end) = (Some(Timestamp::midnight(start)), Some(Timestamp::midnight(end)));
            }
            let mut lines: Vec<String> = details
                .start
                .iter()
                .map(|start| moment("DTSTART", *start, &details))
                .collect();
            lines.extend(details.end.iter().map(|end| moment("DTEND", *end, &details)));
            lines
        }
        "EXDATE" => details
            .exceptions
            .iter()
            .map(|time| moment("EXDATE", *time, &details))
            .collect(),
        "RECURRENCE-ID" => details
            .original
            .iter()
            .map(|time| moment("RECURRENCE-ID", *time, &details))
            .collect(),
        _ => Vec::new(),
    }
}

fn kept_zones(record: &Record) -> Vec<Vec<String>> {
    record.attributes.get(ZONES).map(kept_components).unwrap_or_default()
}

fn described(zones: &[Vec<String>]) -> Described {
    let parsed = zones
        .iter()
        .filter_map(|lines| parse(&lines.join("\n"), &Limits::default()).ok()?.pop());
    parsed
        .filter_map(|zone| Some((zone.line("TZID")?.text(), zone)))
        .collect()
}

/// The lines of an event, from `BEGIN` to `END`.
fn event_lines(event: &Event) -> Vec<String> {
    let record = event.details.write();
    if record.attributes.contains_key(NOT_SYNCABLE)
        && let Some(whole) = record
            .attributes
            .get(WHOLE)
            .and_then(|whole| kept_components(whole).pop())
    {
        return whole;
    }
    let zones = described(&kept_zones(&record));
    let uid = match (event.details.main_event.first(), event.id.as_str()) {
        (Some(series), _) => series.as_str(),
        (None, id) => id,
    };
    let uid_line = kept_uid(UID, &record, uid).unwrap_or_else(|| format!("UID:{}", escape(uid)));
    let mut lines = vec!["BEGIN:VEVENT".to_owned(), uid_line];
    if !record.attributes.contains_key("ical:DTSTAMP") {
        // Required, and no clock may take part: the same event is the same text.
        lines.push(NO_STAMP.to_owned());
    }
    let mut said = Vec::new();
    for unit in UNITS {
        let original = record.attributes.get(&format!("{ORIGINAL}:{unit}")).map(kept);
        let original = original.filter(|lines| says(unit, lines, &record, &zones));
        said.extend(original.unwrap_or_else(|| unit_lines(unit, &record)));
    }
    let found = said_by(uid, &said, &zones, &record);
    lines.extend(said);
    lines.extend(overrides("", &record, &found));
    let mut keys: Vec<(&String, &Value)> = record.attributes.iter().collect();
    keys.sort_by_key(|(key, _)| *key);
    let special = |key: &str| key.starts_with(ORIGINAL) || [ZONES, COMPONENTS, WHOLE, NOT_SYNCABLE].contains(&key);
    let unknown = keys
        .into_iter()
        .filter(|(key, _)| key.starts_with("ical:") && !special(key));
    lines.extend(unknown.flat_map(|(_, value)| kept(value)));
    let mut components = Vec::new();
    for (_, part) in event.parts() {
        // More than one rule is more than any reader expects of a device's event.
        let again =
            part.entity.as_deref() == Some(entity::RECURRENCE) && lines.iter().any(|line| line.starts_with("RRULE"));
        if again {
            lines.push(whole(&part, "owner"));
            continue;
        }
        let part_lines = part_lines(&part, &event.details);
        if part_lines.first().is_some_and(|line| line.starts_with("BEGIN:")) {
            components.extend(part_lines);
        } else {
            lines.extend(part_lines);
        }
    }
    lines.extend(components);
    let others = record.attributes.get(COMPONENTS).map(kept_components);
    lines.extend(others.unwrap_or_default().into_iter().flatten());
    lines.push("END:VEVENT".to_owned());
    lines
}

/// What the lines of an event say about it, for noticing what they do not say.
fn said_by(uid: &str, said: &[String], zones: &Described, record: &Record) -> Record {
    let component = Component {
        name: "VEVENT".to_owned(),
        lines: said
            .iter()
            .map(|line| Line::new(line))
            .chain([Line::new(&format!("UID:{}", escape(uid)))])
            .collect(),
        children: Vec::new(),
    };
    let calendar = record.related("calendar").ok().and_then(|all| all.first().cloned());
    let series = BTreeSet::from([uid.to_owned()]);
    let place = calendar.clone().unwrap_or_else(RecordId::placeholder);
    let read = read_event(&RecordId::placeholder(), &component, &place, zones, &series);
    let mut found = read.map_or_else(|_| Record::new(entity::EVENT), |event| event.details.write());
    // The calendar is where the file is, not in it.
    found.attributes.remove("calendar");
    if let Some(calendar) = record.attributes.get("calendar") {
        found.attributes.insert("calendar".to_owned(), calendar.clone());
    }
    found
}

fn part_lines(part: &Record, details: &EventDetails) -> Vec<String> {
    let mut clean = part.clone();
    let original = clean.attributes.remove(ORIGINAL);
    let parse_part = |lines: &[String]| -> Option<Record> {
        let first = Line::new(lines.first()?);
        match &*first.name {
            "BEGIN" => parts::alarm(parse(&lines.join("\n"), &Limits::default()).ok()?.first()?, details),
            "RRULE" => parts::rule(&first, details).ok(),
            "ATTENDEE" | "ORGANIZER" => parts::person(&first),
            _ => None,
        }
    };
    let kept = original
        .as_ref()
        .and_then(Value::as_array)
        .and_then(|all| all.first()?.as_string());
    let kept: Option<Vec<String>> = kept.map(|text| text.split('\n').map(str::to_owned).collect());
    let safe =
        |lines: &Vec<String>| lines.len() == 1 || kept_components(&vec![lines.join("\n").into()].into()).len() == 1;
    if let Some(lines) = kept
        .filter(safe)
        .filter(|lines| parse_part(lines).as_ref() == Some(&clean))
    {
        return lines;
    }
    let ours = match clean.entity.as_deref() {
        Some(entity::RECURRENCE) => parts::rule_line(&clean, details).map(|line| vec![line]),
        Some(entity::ATTENDEE | entity::ORGANIZER) => parts::person_line(&clean).map(|line| vec![line]),
        Some(entity::DISPLAY_ALARM | entity::AUDIO_ALARM) => {
            parts::alarm_lines(&clean).map(|lines| alarm_component(&lines))
        }
        _ => None,
    };
    let exact = ours.filter(|lines| parse_part(lines).is_some_and(|found| overrides("", &clean, &found).is_empty()));
    exact.unwrap_or_else(|| vec![whole(&clean, "owner")])
}

/// Writes events, and the calendar they are in where that is wanted, as one file. The same input gives the same bytes.
#[must_use]
pub fn write<'a>(calendar: Option<&Calendar>, events: impl IntoIterator<Item = &'a Event>) -> String {
    let mut lines = vec![
        "BEGIN:VCALENDAR".to_owned(),
        "VERSION:2.0".to_owned(),
        "PRODID:-//cabled//sync//EN".to_owned(),
    ];
    let mut after = Vec::new();
    if let Some(calendar) = calendar {
        let record = calendar.write();
        lines.extend(calendar_lines(calendar, &record));
        let others = record.attributes.get(COMPONENTS).map(kept_components);
        after.extend(others.unwrap_or_default().into_iter().flatten());
    }
    let mut own: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut body, mut earliest) = (Vec::new(), None::<Timestamp>);
    for event in events {
        for zone in kept_zones(&event.details.write()) {
            let name = zone
                .iter()
                .map(|line| Line::new(line))
                .find(|line| line.name == "TZID")
                .map(|line| line.text());
            own.entry(name.unwrap_or_default()).or_insert(zone);
        }
        earliest = match (earliest, event.details.start) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        body.extend(event_lines(event));
    }
    let used: BTreeSet<String> = body
        .iter()
        .chain(&after)
        .filter_map(|line| Line::new(line).param("TZID").map(str::to_owned))
        .collect();
    for name in &used {
        let from = earliest.unwrap_or_default();
        let kept = own.remove(name);
        lines.extend(kept.or_else(|| time::describe(name, from)).unwrap_or_default());
    }
    lines.extend(body);
    lines.extend(after);
    lines.push("END:VCALENDAR".to_owned());
    let mut out = String::new();
    for line in &lines {
        fold(line, &mut out);
    }
    out
}

fn calendar_lines(calendar: &Calendar, record: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(title) = &calendar.title {
        lines.extend([
            format!("NAME:{}", escape(title)),
            format!("X-WR-CALNAME:{}", escape(title)),
        ]);
    }
    if let [red, green, blue, alpha] = *calendar.color
        && [red, green, blue, alpha].iter().all(|part| (0..256).contains(part))
    {
        let tail = if alpha == 255 {
            String::new()
        } else {
            format!("{alpha:02X}")
        };
        lines.push(format!("X-APPLE-CALENDAR-COLOR:#{red:02X}{green:02X}{blue:02X}{tail}"));
    }
    let mut found = Record::new(entity::CALENDAR);
    read_calendar(lines.iter().map(|line| Line::new(line)).collect(), &mut found);
    lines.extend(overrides("", record, &found));
    let mut keys: Vec<(&String, &Value)> = record.attributes.iter().collect();
    keys.sort_by_key(|(key, _)| *key);
    let unknown = keys
        .into_iter()
        .filter(|(key, _)| key.starts_with("ical:") && *key != COMPONENTS);
    lines.extend(unknown.flat_map(|(_, value)| kept(value)));
    lines
}
