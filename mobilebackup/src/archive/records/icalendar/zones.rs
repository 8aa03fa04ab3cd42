//! Time zones as iCalendar wants them: each with the rule of its offsets, in the file.
//!
//! A recurring event cannot be written in UTC: at nine every Monday means nine by the clock, summer and winter. So times
//! keep their zone, and the file explains the zone. The rules come from the IANA database that the crate `jiff` brings
//! along, not from this machine, so that the same backup gives the same file everywhere.

use std::collections::BTreeMap;

use jiff::tz::{Dst, TimeZone, TimeZoneDatabase};

use crate::archive::records::time::{Civil, Timestamp};

/// How far ahead offsets are looked up, in years: zones whose last rule is found to repeat need no more, others are
/// listed change by change until then.
const AHEAD: i32 = 30;

/// A zone of the database.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    name: String,
    rules: TimeZone,
}

/// A change from one offset to another.
#[derive(Clone, Debug)]
struct Change {
    /// Wall clock before the change.
    local: Civil,
    from: i32,
    to: i32,
    summer: bool,
    name: String,
}

impl Zone {
    /// The zone of that name, as `start_tz` and its kin spell it.
    pub(crate) fn find(name: &str) -> Option<Self> {
        // Names are file names in some databases; this one is compiled in, yet nothing else is a name either.
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
        if name.is_empty() || name.len() > 64 || !name.chars().all(sound) {
            return None;
        }
        let rules = TimeZoneDatabase::bundled().get(name).ok()?;
        let name = rules.iana_name().unwrap_or(name).to_owned();
        Some(Self { name, rules })
    }

    /// Its name in the database.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is UTC under one of its names.
    pub(crate) fn is_utc(&self) -> bool {
        let utc = [
            "UTC",
            "Etc/UTC",
            "GMT",
            "Etc/GMT",
            "Zulu",
            "Etc/Zulu",
            "Universal",
            "Etc/Universal",
            "UCT",
            "Etc/UCT",
        ];
        utc.contains(&self.name.as_str())
    }

    /// Calendar and clock in this zone.
    pub(crate) fn civil(&self, at: Timestamp) -> Option<Civil> {
        let instant = instant(at.unix_seconds())?;
        at.shifted(self.rules.to_offset(instant).seconds())
            .map(Timestamp::civil)
    }

    /// The lines of a `VTIMEZONE` that is right from `first` on; for ever, or at least 30 years after `last`.
    pub(crate) fn describe(&self, first: Timestamp, last: Timestamp) -> Vec<String> {
        let mut lines = vec!["BEGIN:VTIMEZONE".to_owned(), format!("TZID:{}", self.name)];
        // The change before the first event, since that event's offset begins there.
        let start = instant(first.unix_seconds().saturating_sub(86_400));
        let before = start.and_then(|start| self.rules.preceding(start).next());
        let until = last.civil().year.saturating_add(AHEAD).min(9990);
        let mut changes = Vec::new();
        let mut previous = before.as_ref().and_then(|before| {
            let just_before = before.timestamp().as_second().checked_sub(1).and_then(instant)?;
            Some(self.rules.to_offset(just_before).seconds())
        });
        match (&before, start) {
            (Some(before), _) => {
                let from = previous.unwrap_or_else(|| before.offset().seconds());
                changes.extend(change(
                    before.timestamp().as_second(),
                    from,
                    before.offset().seconds(),
                    before.dst(),
                    before.abbreviation(),
                ));
                previous = Some(before.offset().seconds());
            }
            (None, Some(start)) => {
                let info = self.rules.to_offset_info(start);
                let offset = info.offset().seconds();
                // Zones without changes need one observance all the same.
                changes.extend(change(
                    0_i64.min(start.as_second()),
                    offset,
                    offset,
                    info.dst(),
                    info.abbreviation(),
                ));
                previous = Some(offset);
            }
            (None, None) => {}
        }
        for next in start.into_iter().flat_map(|start| self.rules.following(start)) {
            let Some(found) = change(
                next.timestamp().as_second(),
                previous.unwrap_or_default(),
                next.offset().seconds(),
                next.dst(),
                next.abbreviation(),
            ) else {
                break;
            };
            previous = Some(found.to);
            if found.local.year > until {
                break;
            }
            changes.push(found);
        }
        observances(&changes, until, &mut lines);
        lines.push("END:VTIMEZONE".to_owned());
        lines
    }
}

fn instant(unix: i64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_second(unix).ok()
}

fn change(unix: i64, from: i32, to: i32, dst: Dst, name: &str) -> Option<Change> {
    Some(Change {
        local: Timestamp::from_unix(unix, 0)?.shifted(from)?.civil(),
        from,
        to,
        summer: dst == Dst::Yes,
        name: name.to_owned(),
    })
}

/// What tells observances apart: offsets, kind and name.
type Key = (i32, i32, bool, String);

/// Writes changes: those that repeat yearly until the end as rules, the others one by one.
fn observances(changes: &[Change], until: i32, lines: &mut Vec<String>) {
    let mut groups: BTreeMap<Key, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        let key = (change.from, change.to, change.summer, change.name.clone());
        groups.entry(key).or_default().push(change);
    }
    for ((from, to, summer, name), members) in groups {
        let (single, rule) = split(&members, until);
        let kind = if summer { "DAYLIGHT" } else { "STANDARD" };
        let mut write = |at: &Change, more: Option<String>| {
            lines.push(format!("BEGIN:{kind}"));
            lines.push(format!("DTSTART:{}", local(&at.local)));
            lines.push(format!("TZOFFSETFROM:{}", offset(from)));
            lines.push(format!("TZOFFSETTO:{}", offset(to)));
            lines.push(format!("TZNAME:{name}"));
            lines.extend(more);
            lines.push(format!("END:{kind}"));
        };
        if let Some((first, more)) = single.split_first() {
            let dates: Vec<_> = more.iter().map(|change| local(&change.local)).collect();
            write(first, (!dates.is_empty()).then(|| format!("RDATE:{}", dates.join(","))));
        }
        if let Some((first, rule)) = rule {
            write(first, Some(format!("RRULE:FREQ=YEARLY;{rule}")));
        }
    }
}

/// The changes before a yearly rule begins, and the first change of the rule with the rule.
fn split<'a>(members: &'a [&'a Change], until: i32) -> (&'a [&'a Change], Option<(&'a Change, String)>) {
    // From the end backwards, as far as there is one change a year and one rule fits all of them.
    let mut begin = members.len();
    while let Some(earlier) = begin.checked_sub(1) {
        let (Some(change), next) = (members.get(earlier), members.get(begin)) else {
            break;
        };
        let yearly = next
            .map_or(until, |next| next.local.year)
            .checked_sub(change.local.year);
        // The last change is in the last year, or in the one before where that is cut.
        let near = if next.is_some() {
            yearly == Some(1)
        } else {
            matches!(yearly, Some(0 | 1))
        };
        if !near || members.get(earlier..).and_then(fit).is_none() {
            break;
        }
        begin = earlier;
    }
    let (single, repeating) = members.split_at_checked(begin).unwrap_or((members, &[]));
    // Eight years see every day of the week on a date; fewer may fit by chance.
    match (repeating.first(), fit(repeating)) {
        (Some(first), Some(rule)) if repeating.len() >= 8 => (single, Some((first, rule))),
        _ => (members, None),
    }
}

/// The rule that all of these changes follow.
fn fit(changes: &[&Change]) -> Option<String> {
    let first = changes.first()?;
    let (month, weekday) = (first.local.month, weekday(&first.local));
    let clock = |at: &Civil| (at.hour, at.minute, at.second);
    let same = |c: &&Change| {
        c.local.month == month && self::weekday(&c.local) == weekday && clock(&c.local) == clock(&first.local)
    };
    if !changes.iter().all(same) {
        // The same date every year, whatever day of the week.
        let dated = |c: &&Change| {
            c.local.month == month && c.local.day == first.local.day && clock(&c.local) == clock(&first.local)
        };
        return changes
            .iter()
            .all(dated)
            .then(|| format!("BYMONTH={month};BYMONTHDAY={}", first.local.day));
    }
    let nth = |at: &Civil| at.day.saturating_sub(1) / 7;
    let name = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"].get(weekday)?;
    let is_last = |c: &&Change| c.local.day.saturating_add(7) > days_in(c.local.year, month);
    if changes.iter().all(is_last) {
        return Some(format!("BYMONTH={month};BYDAY=-1{name}"));
    }
    if changes.iter().all(|c| nth(&c.local) == nth(&first.local)) {
        return Some(format!(
            "BYMONTH={month};BYDAY={}{name}",
            nth(&first.local).saturating_add(1)
        ));
    }
    // The first such day on or after a date.
    let lowest = changes.iter().map(|c| c.local.day).min()?;
    let highest = changes.iter().map(|c| c.local.day).max()?;
    if highest.saturating_sub(lowest) > 6 {
        return None;
    }
    let lowest = if changes.len() >= 28 { lowest } else { return None };
    let days: Vec<_> = (lowest..=lowest.saturating_add(6)).map(|day| day.to_string()).collect();
    Some(format!("BYMONTH={month};BYMONTHDAY={};BYDAY={name}", days.join(",")))
}

fn days_in(year: i32, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// 0 for Sunday (Sakamoto's method).
#[expect(
    clippy::arithmetic_side_effects,
    reason = "years up to 9999, months and days of a calendar"
)]
fn weekday(at: &Civil) -> usize {
    let months = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
    let year = if at.month < 3 { at.year - 1 } else { at.year };
    let month = months
        .get(usize::from(at.month.saturating_sub(1)))
        .copied()
        .unwrap_or(0);
    let day = (year + year / 4 - year / 100 + year / 400 + month + i32::from(at.day)).rem_euclid(7);
    usize::try_from(day).unwrap_or(0)
}

/// A wall-clock time as RFC 5545 writes it.
pub(crate) fn local(at: &Civil) -> String {
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}",
        at.year, at.month, at.day, at.hour, at.minute, at.second
    )
}

fn offset(seconds: i32) -> String {
    let (sign, rest) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs());
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    if seconds == 0 {
        format!("{sign}{hours:02}{minutes:02}")
    } else {
        format!("{sign}{hours:02}{minutes:02}{seconds:02}")
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests {
    use super::*;

    fn at(unix: i64) -> Timestamp {
        Timestamp::from_unix(unix, 0).unwrap()
    }

    #[test]
    fn zurich_has_the_rules_of_the_last_sundays() {
        let lines = Zone::find("Europe/Zurich")
            .unwrap()
            .describe(at(1_700_000_000), at(1_700_000_000));
        assert_eq!(
            lines,
            [
                "BEGIN:VTIMEZONE",
                "TZID:Europe/Zurich",
                "BEGIN:DAYLIGHT",
                "DTSTART:20240331T020000",
                "TZOFFSETFROM:+0100",
                "TZOFFSETTO:+0200",
                "TZNAME:CEST",
                "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU",
                "END:DAYLIGHT",
                "BEGIN:STANDARD",
                "DTSTART:20231029T030000",
                "TZOFFSETFROM:+0200",
                "TZOFFSETTO:+0100",
                "TZNAME:CET",
                "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU",
                "END:STANDARD",
                "END:VTIMEZONE",
            ]
        );
    }

    #[test]
    fn zones_whose_rules_changed_list_the_old_changes_one_by_one() {
        let lines = Zone::find("America/Los_Angeles")
            .unwrap()
            .describe(at(1_100_000_000), at(1_700_000_000))
            .join("\n");
        assert!(lines.contains("RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=2SU"), "{lines}");
        assert!(lines.contains("RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=1SU"), "{lines}");
        assert!(lines.contains("DTSTART:20050403T020000"), "{lines}");
    }

    #[test]
    fn a_zone_without_changes_has_one_observance() {
        let lines = Zone::find("Asia/Kolkata")
            .unwrap()
            .describe(at(1_700_000_000), at(1_700_000_000));
        assert_eq!(
            lines.iter().filter(|line| line.starts_with("BEGIN:")).count(),
            2,
            "{lines:?}"
        );
        assert!(lines.contains(&"TZOFFSETTO:+0530".to_owned()));
    }

    #[test]
    fn what_is_no_zone_is_not_found() {
        for name in ["", "_float", "Mars/Olympus", "../../etc/passwd", "Europe/Zürich"] {
            assert!(Zone::find(name).is_none(), "{name}");
        }
        assert!(Zone::find("GMT").unwrap().is_utc());
        assert!(!Zone::find("Europe/London").unwrap().is_utc());
    }

    /// An own reading of the written rules gives the same offsets as the database, for every zone and many times.
    #[test]
    fn every_zone_of_the_database_is_described_right() {
        for name in TimeZoneDatabase::bundled().available() {
            let zone = Zone::find(name.as_str()).unwrap();
            let lines = zone.describe(at(1_000_000_000), at(1_700_000_000));
            let onsets = reading::onsets(&lines);
            for month in 0..(12 * 34) {
                let moment = 1_000_000_000 + month * 2_629_746;
                let expected = zone.rules.to_offset(instant(moment).unwrap()).seconds();
                let read = reading::offset_at(&onsets, moment);
                assert_eq!(read, expected, "{name} at {moment}: {lines:#?}");
            }
        }
    }

    /// Reads a `VTIMEZONE` back, as another program would.
    mod reading {
        use super::*;

        /// Every change with the offset it leads to, sorted.
        pub(super) fn onsets(lines: &[String]) -> Vec<(i64, i32)> {
            let mut all = Vec::new();
            let mut fields: BTreeMap<String, String> = BTreeMap::new();
            for line in lines {
                let (key, value) = line.split_once(':').unwrap();
                match (key, value) {
                    ("BEGIN", _) => fields.clear(),
                    ("END", "STANDARD" | "DAYLIGHT") => {
                        let from = seconds(&fields["TZOFFSETFROM"]);
                        let to = seconds(&fields["TZOFFSETTO"]);
                        all.extend(
                            local_onsets(&fields)
                                .into_iter()
                                .map(|onset| (onset - i64::from(from), to)),
                        );
                    }
                    _ => drop(fields.insert(key.to_owned(), value.to_owned())),
                }
            }
            all.sort_unstable();
            all
        }

        pub(super) fn offset_at(onsets: &[(i64, i32)], moment: i64) -> i32 {
            let after = onsets.partition_point(|(onset, _)| *onset <= moment);
            onsets[after - 1].1
        }

        fn seconds(offset: &str) -> i32 {
            let number = |range| {
                offset
                    .get(range)
                    .map_or(0, |digits: &str| digits.parse::<i32>().unwrap())
            };
            let value = number(1..3) * 3600 + number(3..5) * 60 + number(5..7);
            if offset.starts_with('-') { -value } else { value }
        }

        fn local_onsets(fields: &BTreeMap<String, String>) -> Vec<i64> {
            let start = unix(&fields["DTSTART"]);
            let mut onsets = vec![start];
            if let Some(dates) = fields.get("RDATE") {
                onsets.extend(dates.split(',').map(unix));
            }
            if let Some(rule) = fields.get("RRULE") {
                let part = |name: &str| {
                    rule.split(';')
                        .find_map(|p| p.strip_prefix(name)?.strip_prefix('='))
                        .map(str::to_owned)
                };
                let month: u8 = part("BYMONTH").unwrap().parse().unwrap();
                let (day, month_days) = (part("BYDAY"), part("BYMONTHDAY"));
                let month_days: Option<Vec<u8>> =
                    month_days.map(|d| d.split(',').map(|d| d.parse().unwrap()).collect());
                let clock = start.rem_euclid(86_400);
                let first_year = Timestamp::from_unix(start, 0).unwrap().civil().year;
                for year in first_year + 1..2040 {
                    let fits = (1..=days_in(year, month)).find(|&d| {
                        let here = Civil {
                            year,
                            month,
                            day: d,
                            ..Timestamp::from_unix(0, 0).unwrap().civil()
                        };
                        let listed = month_days.as_ref().is_none_or(|days| days.contains(&d));
                        let by_day = day.as_ref().is_none_or(|day| {
                            let (nth, name) = day.split_at(day.len() - 2);
                            let right = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"][weekday(&here)] == name;
                            right
                                && match nth {
                                    "" => true,
                                    "-1" => d + 7 > days_in(year, month),
                                    nth => (d - 1) / 7 + 1 == nth.parse::<u8>().unwrap(),
                                }
                        });
                        listed && by_day
                    });
                    let text = format!("{year:04}{month:02}{:02}T000000", fits.unwrap());
                    onsets.push(unix(&text) + clock);
                }
            }
            onsets
        }

        fn unix(text: &str) -> i64 {
            let parsed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", text).unwrap();
            parsed.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second()
        }
    }
}
