//! What belongs to an event: recurrence, alarms, attendees. Spec: mobilesync, sections 8.2 and 8.6.

use cabled_wire::plist::Value;

use super::super::lines::{Line, escape, param_value};
use super::component::Component;
use super::time::{Described, Wall, date_text, duration, duration_text, wall_text, when};
use crate::entity;
use crate::record::Record;
use crate::records::{Attribute, EventDetails, Timestamp};

const DAYS: &[(&str, &str)] = &[
    ("SU", "sunday"),
    ("MO", "monday"),
    ("TU", "tuesday"),
    ("WE", "wednesday"),
    ("TH", "thursday"),
    ("FR", "friday"),
    ("SA", "saturday"),
];
const FREQUENCIES: &[(&str, &str)] = &[
    ("DAILY", "daily"),
    ("WEEKLY", "weekly"),
    ("MONTHLY", "monthly"),
    ("YEARLY", "yearly"),
];
const LISTS: &[(&str, &str)] = &[
    ("BYMONTH", "bymonth"),
    ("BYMONTHDAY", "bymonthday"),
    ("BYYEARDAY", "byyearday"),
    ("BYWEEKNO", "byweeknumber"),
    ("BYSETPOS", "bysetpos"),
];
const ROLES: &[(&str, &str)] = &[
    ("REQ-PARTICIPANT", "requiredparticipant"),
    ("OPT-PARTICIPANT", "optionalparticipant"),
    ("CHAIR", "chair"),
    ("NON-PARTICIPANT", "nonparticipant"),
];
const STATES: &[(&str, &str)] = &[
    ("NEEDS-ACTION", "needsaction"),
    ("ACCEPTED", "accepted"),
    ("DECLINED", "declined"),
    ("TENTATIVE", "tentative"),
    ("DELEGATED", "delegated"),
    ("COMPLETED", "completed"),
    ("IN-PROCESS", "inprocess"),
];
const TYPES: &[(&str, &str)] = &[
    ("INDIVIDUAL", "individual"),
    ("ROOM", "room"),
    ("RESOURCE", "resource"),
    ("GROUP", "group"),
    ("UNKNOWN", "unknown"),
];

fn device(table: &[(&str, &'static str)], word: &str) -> Option<&'static str> {
    let found = table.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(word));
    found.map(|(_, ours)| *ours)
}

fn standard(table: &[(&'static str, &str)], word: &str) -> Option<&'static str> {
    table.iter().find(|(_, ours)| *ours == word).map(|(theirs, _)| *theirs)
}

fn field<T: Attribute>(record: &Record, key: &str) -> T {
    let value = record.attributes.get(key).cloned().and_then(T::of);
    value.map(|(value, _)| value).unwrap_or_default()
}

fn text(record: &Record, key: &str) -> Option<String> {
    field::<Option<String>>(record, key).filter(|text| !text.is_empty())
}

/// Reads an `RRULE`; `Err` says why no device could follow it.
pub(super) fn rule(line: &Line, event: &EventDetails) -> Result<Record, &'static str> {
    let mut record = Record::new(entity::RECURRENCE);
    let numbers = |list: &str| {
        list.split(',')
            .map(|number| number.trim().parse::<i64>().ok().map(Value::from))
            .collect::<Option<Vec<Value>>>()
    };
    let malformed = "its RRULE is malformed";
    for part in line.value.split(';').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').ok_or(malformed)?;
        let name = name.to_ascii_uppercase();
        let number = || value.trim().parse::<i64>().map_err(|_| malformed);
        record = match &*name {
            "FREQ" => record.with(
                "frequency",
                device(FREQUENCIES, value).ok_or("it repeats more often than daily")?,
            ),
            "INTERVAL" => record.with("interval", number()?),
            "COUNT" => record.with("count", number()?),
            "WKST" => record.with("weekstartday", device(DAYS, value).ok_or(malformed)?),
            "UNTIL" => {
                let zone = event.zone.as_deref().filter(|zone| *zone != super::time::UTC);
                let until = when(value, zone, &Described::new()).ok_or(malformed)?;
                record.with("until", Value::Date(until.time.to_wire().ok_or(malformed)?))
            }
            "BYDAY" => {
                let days = value
                    .split(',')
                    .map(weekday)
                    .collect::<Option<Vec<_>>>()
                    .ok_or(malformed)?;
                let (names, places): (Vec<Value>, Vec<Value>) = days.into_iter().unzip();
                record.with("bydaydays", names).with("bydayfreq", places)
            }
            name => match LISTS.iter().find(|(theirs, _)| *theirs == name) {
                Some((_, key)) => record.with(key, numbers(value).ok_or(malformed)?),
                None => return Err("its RRULE has parts that no device knows"),
            },
        };
    }
    if record.attributes.contains_key("frequency") {
        return Ok(record);
    }
    Err(malformed)
}

fn weekday(text: &str) -> Option<(Value, Value)> {
    let text = text.trim();
    let at = text.len().checked_sub(2)?;
    let (place, day) = (text.get(..at)?, text.get(at..)?);
    let place = if place.is_empty() {
        0
    } else {
        place.trim_start_matches('+').parse::<i64>().ok()?
    };
    Some((device(DAYS, day)?.into(), place.into()))
}

pub(super) fn rule_line(record: &Record, event: &EventDetails) -> Option<String> {
    let mut parts = vec![format!("FREQ={}", standard(FREQUENCIES, &text(record, "frequency")?)?)];
    let number = |key: &str| field::<Option<i64>>(record, key);
    parts.extend(number("interval").map(|number| format!("INTERVAL={number}")));
    let count = number("count").filter(|count| *count > 0);
    parts.extend(count.map(|number| format!("COUNT={number}")));
    if let (None, Some(until)) = (count, field::<Option<Timestamp>>(record, "until")) {
        let text = if event.is_all_day() {
            date_text(until.date())
        } else if event.zone.is_none() {
            wall_text(until)
        } else {
            format!("{}Z", wall_text(until))
        };
        parts.push(format!("UNTIL={text}"));
    }
    for (name, key) in LISTS {
        let list: Vec<String> = field::<Vec<i64>>(record, key).iter().map(i64::to_string).collect();
        if !list.is_empty() {
            parts.push(format!("{name}={}", list.join(",")));
        }
    }
    let places = field::<Vec<i64>>(record, "bydayfreq");
    let days = field::<Vec<String>>(record, "bydaydays");
    let days = days.iter().enumerate().map(|(at, day)| {
        let place = places.get(at).copied().filter(|place| *place != 0);
        Some(format!(
            "{}{}",
            place.map(|place| place.to_string()).unwrap_or_default(),
            standard(DAYS, day)?
        ))
    });
    let days = days.collect::<Option<Vec<String>>>()?;
    if !days.is_empty() {
        parts.push(format!("BYDAY={}", days.join(",")));
    }
    if let Some(start) = text(record, "weekstartday") {
        parts.push(format!("WKST={}", standard(DAYS, &start)?));
    }
    Some(format!("RRULE:{}", parts.join(";")))
}

/// Reads an `ATTENDEE` or `ORGANIZER`.
pub(super) fn person(line: &Line) -> Option<Record> {
    let attendee = line.name == "ATTENDEE";
    let mut record = Record::new(if attendee { entity::ATTENDEE } else { entity::ORGANIZER });
    let address = line.value.trim();
    let mail = address.get(..7).filter(|start| start.eq_ignore_ascii_case("mailto:"));
    let address = mail
        .and_then(|_| address.get(7..))
        .filter(|address| !address.is_empty())?;
    record = record.with("email", address);
    if let Some(name) = line.param("CN").filter(|name| !name.is_empty()) {
        record = record.with("common name", name);
    }
    if attendee {
        for (param, key, table) in [
            ("ROLE", "role", ROLES),
            ("PARTSTAT", "status", STATES),
            ("CUTYPE", "user type", TYPES),
        ] {
            if let Some(word) = line.param(param).and_then(|word| device(table, word)) {
                record = record.with(key, word);
            }
        }
    }
    Some(record)
}

pub(super) fn person_line(record: &Record) -> Option<String> {
    let attendee = record.entity.as_deref() == Some(entity::ATTENDEE);
    let mut line = String::from(if attendee { "ATTENDEE" } else { "ORGANIZER" });
    if let Some(name) = text(record, "common name") {
        line.push_str(&format!(";CN={}", param_value(&name)));
    }
    if attendee {
        for (param, key, table) in [
            ("CUTYPE", "user type", TYPES),
            ("ROLE", "role", ROLES),
            ("PARTSTAT", "status", STATES),
        ] {
            if let Some(word) = text(record, key).and_then(|word| standard(table, &word)) {
                line.push_str(&format!(";{param}={word}"));
            }
        }
    }
    let email = text(record, "email").filter(|email| !email.contains(char::is_control))?;
    Some(format!("{line}:mailto:{email}"))
}

/// Reads a `VALARM`; `None` for one that no device could follow.
pub(super) fn alarm(component: &Component, event: &EventDetails) -> Option<Record> {
    let foreign = ["REPEAT", "DURATION", "X-APPLE-PROXIMITY"];
    if !component.children.is_empty() || foreign.iter().any(|name| component.line(name).is_some()) {
        return None;
    }
    let display = match &*component.line("ACTION")?.text().to_ascii_uppercase() {
        "DISPLAY" => true,
        "AUDIO" => false,
        _ => return None,
    };
    let trigger = component.line("TRIGGER")?;
    let record = Record::new(if display {
        entity::DISPLAY_ALARM
    } else {
        entity::AUDIO_ALARM
    });
    let record = match Wall::parse(&trigger.value) {
        Some(Wall::Utc(time)) => record.with("triggerdate", Value::Date(time.to_wire()?)),
        Some(_) => return None,
        None => {
            let mut seconds = duration(&trigger.value)?;
            if trigger
                .param("RELATED")
                .is_some_and(|related| related.eq_ignore_ascii_case("END"))
            {
                let length = event.end?.seconds().checked_sub(event.start?.seconds())?;
                seconds = seconds.checked_add(length)?;
            }
            record.with("triggerduration", seconds)
        }
    };
    let description = component
        .line("DESCRIPTION")
        .map(Line::text)
        .filter(|text| display && !text.is_empty());
    Some(match description {
        Some(text) => record.with("description", text),
        None => record,
    })
}

pub(super) fn alarm_lines(record: &Record) -> Option<Vec<String>> {
    let display = record.entity.as_deref() == Some(entity::DISPLAY_ALARM);
    let trigger = match (
        field::<Option<i64>>(record, "triggerduration"),
        field::<Option<Timestamp>>(record, "triggerdate"),
    ) {
        (Some(seconds), _) => format!("TRIGGER:{}", duration_text(seconds)),
        (None, Some(time)) => format!("TRIGGER;VALUE=DATE-TIME:{}Z", wall_text(time)),
        (None, None) => return None,
    };
    let mut lines = vec![format!("ACTION:{}", if display { "DISPLAY" } else { "AUDIO" }), trigger];
    if let Some(text) = text(record, "description").filter(|_| display) {
        lines.push(format!("DESCRIPTION:{}", escape(&text)));
    }
    Some(lines)
}
