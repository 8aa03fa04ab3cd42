//! An event out of its component, or the component kept whole where no device could follow it.

use std::collections::{BTreeMap, BTreeSet};

use cabled_wire::plist::Value;

use super::component::Component;
use super::originals::{keep_originals, with_zones};
use super::time::{self, Described, Wall, when};
use super::{COMPONENTS, NO_STAMP, NOT_SYNCABLE, ORIGINAL, UID, WHOLE, parts};
use crate::entity;
use crate::interchange::lines::{self, Line};
use crate::interchange::vcard::{apply_override, carried, keep_uid};
use crate::interchange::{InterchangeError, append, fingerprint, part_id};
use crate::record::{Record, RecordId};
use crate::records::{Event, EventDetails, Graph, View};

/// Properties that are one text each.
pub(super) const TEXTS: &[(&str, &str)] = &[
    ("SUMMARY", "summary"),
    ("LOCATION", "location"),
    ("DESCRIPTION", "description"),
    ("URL", "url"),
];
pub(super) const TIMES: &[&str] = &["DTSTART", "DTEND", "DURATION"];

/// The identifier of an event, and whether its `UID` says it.
pub(super) fn event_id(component: &Component, index: usize) -> (RecordId, bool) {
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
pub(super) fn times(lines: &[Line], described: &Described) -> Option<Record> {
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

pub(super) fn read_event(
    id: &RecordId,
    component: &Component,
    calendar: &RecordId,
    described: &Described,
    series: &BTreeSet<String>,
) -> Result<Event, InterchangeError> {
    let mut record = Record::new(entity::EVENT).with("calendar", vec![calendar.as_str().into()]);
    record.attributes.extend(texts(component));
    if let Some(found) = times(&component.lines, described) {
        record.attributes.extend(found.attributes);
    }
    let details = EventDetails::read(id, &record)?;
    if let Some(reason) = obstacle(component, &details, described, series) {
        record = record.with(NOT_SYNCABLE, reason).with(WHOLE, vec![component.value()]);
        let mut event = Event::new(id.clone());
        event.details = EventDetails::read(id, &with_zones(record, component, described))?;
        return Ok(event);
    }
    let exceptions = exceptions(component, described);
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
        let part_id = part_id(id, &part, &mut numbers);
        graph.insert(part_id, part.with("owner", vec![id.as_str().into()]))?;
    }
    Ok(Event::read(&graph, id)?)
}

/// The keys of the properties that are one text each.
fn texts(component: &Component) -> impl Iterator<Item = (String, Value)> {
    TEXTS.iter().filter_map(|(name, key)| {
        let line = component.line(name)?;
        let text = match *name {
            "URL" => line.value.clone(),
            _ => line.text(),
        };
        Some(((*key).to_owned(), text.into()))
    })
}

/// The dates left out of a series. A line with one that cannot be read says none.
fn exceptions(component: &Component, described: &Described) -> Vec<Value> {
    let lines = component.lines.iter().filter(|line| line.name == "EXDATE");
    let dates = |line: &Line| {
        let all = line.value.split(',');
        let dates = all.map(|one| when(one, line.param("TZID"), described)?.time.to_wire());
        dates.collect::<Option<Vec<_>>>().unwrap_or_default()
    };
    lines.flat_map(dates).map(Value::Date).collect()
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
            "X-CABLED-RECORD" => carried(line),
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

pub(super) fn alarm_component(lines: &[String]) -> Vec<String> {
    let mut all = vec!["BEGIN:VALARM".to_owned()];
    all.extend_from_slice(lines);
    all.push("END:VALARM".to_owned());
    all
}
