//! Zones, wall-clock times and durations of iCalendar.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use jiff::tz::{Dst, TimeZone, TimeZoneDatabase};

use super::super::lines::Line;
use super::component::Component;
use crate::records::{CivilDate, Timestamp};

/// The zone that a device is told for times in UTC. Spec: mobilesync, section 8.6.
pub(super) const UTC: &str = "GMT";

/// A zone of the bundled database: the same rules on every machine.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    static ZONES: OnceLock<TimeZoneDatabase> = OnceLock::new();
    ZONES.get_or_init(TimeZoneDatabase::bundled).get(name).ok()
}

/// The zones that a calendar describes itself, by the name it uses.
pub(super) type Described = BTreeMap<String, Component>;

/// The database's name for the zone of a calendar: by its own name, by `X-LIC-LOCATION`, by what other programs call it.
pub(super) fn resolve(name: &str, described: &Described) -> Option<String> {
    if zone(name).is_some() {
        return Some(name.to_owned());
    }
    let location = described
        .get(name)
        .and_then(|component| component.line("X-LIC-LOCATION"));
    let location = location.map(Line::text).filter(|location| zone(location).is_some());
    let known = || {
        let known: calcard::common::timezone::Tz = name.parse().ok()?;
        known
            .name()
            .map(|name| name.into_owned())
            .filter(|name| zone(name).is_some())
    };
    location.or_else(known)
}

/// What a date or time says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wall {
    Date(CivilDate),
    /// Wall-clock time, as if the wall stood at UTC.
    Local(Timestamp),
    Utc(Timestamp),
}

impl Wall {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = text.get(from..to)?;
            digits
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| digits.parse().ok())?
        };
        let date = CivilDate::new(
            number(0, 4)?,
            u8::try_from(number(4, 6)?).ok()?,
            u8::try_from(number(6, 8)?).ok()?,
        )?;
        if text.len() == 8 {
            return Some(Self::Date(date));
        }
        let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
        let sane = text.get(8..9) == Some("T") && hour < 24 && minute < 60 && second <= 60;
        let seconds = hour
            .saturating_mul(3600)
            .saturating_add(minute.saturating_mul(60))
            .saturating_add(second.min(59));
        let time = Timestamp::midnight(date).plus(seconds);
        match text.get(15..) {
            Some("") if sane => Some(Self::Local(time)),
            Some("Z" | "z") if sane => Some(Self::Utc(time)),
            _ => None,
        }
    }
}

pub(super) fn date_text(date: CivilDate) -> String {
    format!("{:04}{:02}{:02}", date.year.clamp(0, 9999), date.month, date.day)
}

/// `20261122T051000`, of a time read as wall-clock time.
pub(super) fn wall_text(wall: Timestamp) -> String {
    let (hour, minute, second) = wall.clock();
    format!("{}T{hour:02}{minute:02}{second:02}", date_text(wall.date()))
}

/// The moment of a wall-clock time in a zone: the first of two, the later side of a gap.
pub(super) fn instant(wall: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let utc = jiff::Timestamp::from_second(wall.seconds()).ok()?;
    let civil = TimeZone::UTC.to_datetime(utc);
    let moment = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
    Some(Timestamp::new(moment.as_second()))
}

/// Seconds that a zone is east of UTC at a moment.
pub(super) fn offset(time: Timestamp, zone: &TimeZone) -> i64 {
    let moment = jiff::Timestamp::from_second(time.seconds());
    moment.map_or(0, |moment| i64::from(zone.to_offset(moment).seconds()))
}

/// A date or time of a property, and the name of its zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct When {
    pub(super) wall: Wall,
    pub(super) time: Timestamp,
    /// The database's name; `None` for dates and floating times.
    pub(super) zone: Option<String>,
    /// The zone has a name that nobody knows.
    pub(super) lost: bool,
}

pub(super) fn when(value: &str, tzid: Option<&str>, described: &Described) -> Option<When> {
    let wall = Wall::parse(value)?;
    let (time, name, lost) = match wall {
        Wall::Date(date) => (Timestamp::midnight(date), None, false),
        Wall::Utc(time) => (time, Some(UTC.to_owned()), false),
        Wall::Local(time) => match tzid {
            None => (time, None, false),
            Some(tzid) => match resolve(tzid, described) {
                Some(name) => (instant(time, &zone(&name)?)?, Some(name), false),
                None => (time, Some(UTC.to_owned()), true),
            },
        },
    };
    Some(When {
        wall,
        time,
        zone: name,
        lost,
    })
}

/// `-P1DT2H`, in seconds; a day has 24 hours.
pub(super) fn duration(text: &str) -> Option<i64> {
    let text = text.trim();
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1_i64, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mut total, mut number, mut seen) = (0_i64, String::new(), false);
    for c in text.strip_prefix('P')?.chars() {
        let unit = match c {
            '0'..='9' if number.len() < 12 => {
                number.push(c);
                continue;
            }
            'T' if number.is_empty() => continue,
            'W' => 604_800,
            'D' => 86_400,
            'H' => 3600,
            'M' => 60,
            'S' => 1,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        number.clear();
        seen = true;
    }
    (seen && number.is_empty()).then(|| total.checked_mul(sign))?
}

pub(super) fn duration_text(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let all = seconds.unsigned_abs();
    let (days, rest) = (
        all.checked_div(86_400).unwrap_or(0),
        all.checked_rem(86_400).unwrap_or(0),
    );
    let mut text = format!("{sign}P");
    if days > 0 {
        let _ = write!(text, "{days}D");
    }
    let units = [(3600, 'H'), (60, 'M'), (1, 'S')];
    let mut left = rest;
    for (index, (unit, letter)) in units.into_iter().enumerate() {
        let count = left.checked_div(unit).unwrap_or(0);
        left = left.checked_rem(unit).unwrap_or(0);
        if count > 0 {
            if !text.contains('T') {
                text.push('T');
            }
            let _ = write!(text, "{count}{letter}");
        } else if index == 2 && all == 0 {
            text.push_str("T0S");
        }
    }
    text
}

fn offset_text(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let all = seconds.unsigned_abs();
    let (hours, minutes, rest) = (
        all.div_euclid(3600),
        all.div_euclid(60).rem_euclid(60),
        all.rem_euclid(60),
    );
    let tail = if rest > 0 { format!("{rest:02}") } else { String::new() };
    format!("{sign}{hours:02}{minutes:02}{tail}")
}

/// A change of a zone's clocks: the offset before and after in seconds, whether it is daylight time, what it is called.
type Kind = (i32, i32, bool, String);

/// A zone's rules as `VTIMEZONE`, from the year before `from` to 2037: each kind of change once, with all its dates.
pub(super) fn describe(name: &str, from: Timestamp) -> Option<Vec<String>> {
    let zone = zone(name)?;
    let year = from.date().year.clamp(1900, 2030).saturating_sub(1);
    let start = Timestamp::midnight(CivilDate::new(year, 1, 1)?);
    let end = Timestamp::midnight(CivilDate::new(2038, 1, 1)?);
    let moment = jiff::Timestamp::from_second(start.seconds()).ok()?;
    let first = zone.to_offset_info(moment);
    let mut before = first.offset().seconds();
    let mut kinds: Vec<(Kind, Vec<String>)> = Vec::new();
    let kind = |from: i32, to: i32, dst: Dst, name: &str| (from, to, dst.is_dst(), name.to_owned());
    kinds.push((
        kind(before, before, first.dst(), first.abbreviation()),
        vec![wall_text(start.plus(i64::from(before)))],
    ));
    for change in zone.following(moment).take(1000) {
        let time = Timestamp::new(change.timestamp().as_second());
        if time >= end {
            break;
        }
        let after = change.offset().seconds();
        let key = kind(before, after, change.dst(), change.abbreviation());
        let date = wall_text(time.plus(i64::from(before)));
        match kinds.iter_mut().find(|(known, _)| *known == key) {
            Some((_, dates)) => dates.push(date),
            None => kinds.push((key, vec![date])),
        }
        before = after;
    }
    let mut lines = vec!["BEGIN:VTIMEZONE".to_owned(), format!("TZID:{name}")];
    for ((from, to, dst, abbreviation), dates) in kinds {
        let part = if dst { "DAYLIGHT" } else { "STANDARD" };
        let (first, rest) = dates.split_first()?;
        lines.extend([format!("BEGIN:{part}"), format!("DTSTART:{first}")]);
        lines.extend(rest.iter().map(|date| format!("RDATE:{date}")));
        lines.extend([
            format!("TZNAME:{abbreviation}"),
            format!("TZOFFSETFROM:{}", offset_text(from)),
            format!("TZOFFSETTO:{}", offset_text(to)),
            format!("END:{part}"),
        ]);
    }
    lines.push("END:VTIMEZONE".to_owned());
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zones_are_found_by_the_names_other_programs_use() {
        let none = Described::new();
        assert_eq!(resolve("Europe/Berlin", &none).as_deref(), Some("Europe/Berlin"));
        assert_eq!(
            resolve("W. Europe Standard Time", &none).as_deref(),
            Some("Europe/Berlin")
        );
        assert_eq!(resolve("Nowhere Time", &none), None);
    }

    #[test]
    fn an_hour_that_happens_twice_is_the_first_and_one_that_does_not_is_later() {
        let berlin = zone("Europe/Berlin").unwrap();
        let wall = |text: &str| match Wall::parse(text) {
            Some(Wall::Local(time)) => instant(time, &berlin).map(wall_text),
            _ => None,
        };
        assert_eq!(wall("20261025T023000").as_deref(), Some("20261025T003000"));
        assert_eq!(wall("20260329T023000").as_deref(), Some("20260329T013000"));
    }

    proptest! {
        #[test]
        fn durations_are_read_as_written(seconds in -10_000_000_i64..10_000_000) {
            prop_assert_eq!(duration(&duration_text(seconds)), Some(seconds));
        }
    }
}
