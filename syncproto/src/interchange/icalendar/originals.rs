//! What is kept as it came: lines that we would write differently, and zones that only the file describes.

use std::collections::BTreeSet;

use cabled_wire::plist::Value;

use super::component::Component;
use super::event::{TEXTS, TIMES, times};
use super::time::{self, Described, when};
use super::write::unit_lines;
use super::{ORIGINAL, ZONES};
use crate::entity;
use crate::interchange::append;
use crate::interchange::lines::Line;
use crate::record::Record;

const TIME_KEYS: &[&str] = &[
    "start date",
    "end date",
    "start date.timezone",
    "floatingOffset",
    "all day",
];

/// The names of one-valued units, in the order in which they are written.
pub(super) const UNITS: &[&str] = &[
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
pub(super) fn keep_originals(record: &mut Record, component: &Component, described: &Described) {
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
pub(super) fn says(unit: &str, raw: &[String], record: &Record, described: &Described) -> bool {
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
pub(super) fn with_zones(mut record: Record, component: &Component, described: &Described) -> Record {
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
