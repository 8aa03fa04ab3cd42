//! How an event repeats.

use serde::Serialize;

use crate::archive::records::time::Timestamp;

/// How often the rule's unit comes around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Frequency {
    /// Every so many days.
    Daily,
    /// Every so many weeks.
    Weekly,
    /// Every so many months.
    Monthly,
    /// Every so many years.
    Yearly,
}

impl Frequency {
    /// From the number in `Recurrence.frequency`.
    pub(super) const fn of_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Daily),
            2 => Some(Self::Weekly),
            3 => Some(Self::Monthly),
            4 => Some(Self::Yearly),
            _ => None,
        }
    }

    /// As `FREQ` of RFC 5545 spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Daily => "DAILY",
            Self::Weekly => "WEEKLY",
            Self::Monthly => "MONTHLY",
            Self::Yearly => "YEARLY",
        }
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Sunday,
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
}

impl Weekday {
    const NAMES: [(&'static str, Self); 7] = [
        ("SU", Self::Sunday),
        ("MO", Self::Monday),
        ("TU", Self::Tuesday),
        ("WE", Self::Wednesday),
        ("TH", Self::Thursday),
        ("FR", Self::Friday),
        ("SA", Self::Saturday),
    ];

    /// The two letters of RFC 5545.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, day)| *day == self);
        found.map_or("SU", |(name, _)| name)
    }

    fn of_name(name: &str) -> Option<Self> {
        let found = Self::NAMES
            .iter()
            .find(|(letters, _)| letters.eq_ignore_ascii_case(name));
        found.map(|(_, day)| *day)
    }
}

/// A day of the week, or the n-th such day of the month or year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ByDay {
    /// 0 for every such day; 1 for the first, -1 for the last, up to 53.
    pub nth: i8,
    /// Which day.
    pub day: Weekday,
}

/// A recurrence rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Recurrence {
    /// The unit.
    pub frequency: Frequency,
    /// Every so many units, at least 1.
    pub interval: u32,
    /// How many occurrences there are, the first included; `None` without end or with one in [`until`](Self::until).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The last moment at which an occurrence may start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Days of the week.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_day: Vec<ByDay>,
    /// Days of the month, 1 to 31, or -1 to -31 from its end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_month_day: Vec<i16>,
    /// Months, 1 to 12.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_month: Vec<i16>,
    /// Days of the year, 1 to 366, or negative from its end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_year_day: Vec<i16>,
    /// Weeks of the year, 1 to 53, or negative from its end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_week: Vec<i16>,
    /// Which of the days that fit are meant, 1 to 366, or negative from the end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_position: Vec<i16>,
    /// `week_start` as stored. What its numbers stand for is not known; it matters only for rules of every second week
    /// and more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub week_start: Option<i64>,
    /// `specifier` as stored: the days in the phone's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specifier: Option<String>,
    /// Parts of the specifier that were not understood: the rule may be narrower than it looks here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_understood: Vec<String>,
}

/// Most days, months, weeks or positions that a rule can name.
const MAX_PARTS: usize = 400;

impl Recurrence {
    /// Every `interval` units, for ever.
    pub(super) const fn every(interval: u32, frequency: Frequency) -> Self {
        Self {
            frequency,
            interval,
            count: None,
            until: None,
            by_day: Vec::new(),
            by_month_day: Vec::new(),
            by_month: Vec::new(),
            by_year_day: Vec::new(),
            by_week: Vec::new(),
            by_position: Vec::new(),
            week_start: None,
            specifier: None,
            not_understood: Vec::new(),
        }
    }

    /// Takes over the days in the phone's own words: `D=0MO,0WE` for days of the week with their number, `M=` for days
    /// of the month, `O=` for months, `Y=` days of the year, `W=` weeks, `S=` positions; or the words of RFC 5545.
    pub(super) fn read_specifier(&mut self, specifier: &str) {
        for part in specifier.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            if !self.read_part(part) && self.not_understood.len() < 16 {
                self.not_understood.push(part.chars().take(200).collect());
            }
        }
        self.specifier = Some(specifier.chars().take(4096).collect());
    }

    fn read_part(&mut self, part: &str) -> bool {
        let Some((key, values)) = part.split_once('=') else {
            return false;
        };
        let values: Vec<&str> = values.split(',').map(str::trim).filter(|v| !v.is_empty()).collect();
        if values.len() > MAX_PARTS {
            return false;
        }
        match key.trim().to_ascii_uppercase().as_str() {
            "D" | "BYDAY" => values
                .iter()
                .map(|v| by_day(v))
                .collect::<Option<Vec<_>>>()
                .map(|v| self.by_day = v),
            "M" | "BYMONTHDAY" => numbers(&values, 31, true).map(|v| self.by_month_day = v),
            "O" | "BYMONTH" => numbers(&values, 12, false).map(|v| self.by_month = v),
            "Y" | "BYYEARDAY" => numbers(&values, 366, true).map(|v| self.by_year_day = v),
            "W" | "BYWEEKNO" => numbers(&values, 53, true).map(|v| self.by_week = v),
            "S" | "BYSETPOS" => numbers(&values, 366, true).map(|v| self.by_position = v),
            // What a column of its own says already.
            "FREQ" => (values == [self.frequency.name()]).then_some(()),
            "INTERVAL" => (values == [self.interval.to_string()]).then_some(()),
            _ => None,
        }
        .is_some()
    }

    /// As the value of an `RRULE`. `until` is written as the caller says, since its form depends on the event.
    #[must_use]
    pub fn rule(&self, until: Option<&str>) -> String {
        let mut rule = format!("FREQ={}", self.frequency.name());
        let mut part = |name: &str, values: Vec<String>| {
            if !values.is_empty() {
                rule.push_str(&format!(";{name}={}", values.join(",")));
            }
        };
        let list = |numbers: &[i16]| numbers.iter().map(i16::to_string).collect();
        if self.interval > 1 {
            part("INTERVAL", vec![self.interval.to_string()]);
        }
        // Both at once are forbidden; the phone stops at whichever comes first, which is the end where there is one.
        match (until, self.count) {
            (Some(until), _) => part("UNTIL", vec![until.to_owned()]),
            (None, Some(count)) => part("COUNT", vec![count.to_string()]),
            (None, None) => {}
        }
        part("BYMONTH", list(&self.by_month));
        // Allowed with FREQ=YEARLY only.
        if self.frequency == Frequency::Yearly {
            part("BYWEEKNO", list(&self.by_week));
            part("BYYEARDAY", list(&self.by_year_day));
        }
        // Not allowed with FREQ=WEEKLY.
        if self.frequency != Frequency::Weekly {
            part("BYMONTHDAY", list(&self.by_month_day));
        }
        let numbered = matches!(self.frequency, Frequency::Monthly | Frequency::Yearly) && self.by_week.is_empty();
        let days = self.by_day.iter().map(|by| match by.nth {
            0 => by.day.name().to_owned(),
            nth if numbered => format!("{nth}{}", by.day.name()),
            _ => by.day.name().to_owned(),
        });
        part("BYDAY", days.collect());
        if rule_has_other_by(self) {
            rule.push_str(&positions(&self.by_position));
        }
        rule
    }
}

/// `BYSETPOS` needs another part that it picks from.
fn rule_has_other_by(rule: &Recurrence) -> bool {
    !(rule.by_day.is_empty() && rule.by_month_day.is_empty() && rule.by_month.is_empty())
}

fn positions(positions: &[i16]) -> String {
    if positions.is_empty() {
        return String::new();
    }
    let positions: Vec<_> = positions.iter().map(i16::to_string).collect();
    format!(";BYSETPOS={}", positions.join(","))
}

fn by_day(value: &str) -> Option<ByDay> {
    let (number, day) = value.split_at_checked(value.len().checked_sub(2)?)?;
    let nth: i8 = if number.is_empty() { 0 } else { number.parse().ok()? };
    let day = Weekday::of_name(day)?;
    (-53..=53).contains(&nth).then_some(ByDay { nth, day })
}

fn numbers(values: &[&str], max: i16, negative: bool) -> Option<Vec<i16>> {
    let number = |value: &&str| {
        let number: i16 = value.parse().ok()?;
        let sound = (1..=max).contains(&number) || (negative && (max.checked_neg()?..=-1).contains(&number));
        sound.then_some(number)
    };
    values.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(frequency: Frequency, specifier: &str) -> Recurrence {
        let mut rule = Recurrence::every(1, frequency);
        rule.read_specifier(specifier);
        rule
    }

    #[test]
    fn the_phones_words_become_those_of_the_standard() {
        let weekly = rule(Frequency::Weekly, "D=0MO,0WE");
        assert_eq!(weekly.rule(None), "FREQ=WEEKLY;BYDAY=MO,WE");
        let monthly = rule(Frequency::Monthly, "D=+2TU,-1FR");
        assert_eq!(monthly.rule(None), "FREQ=MONTHLY;BYDAY=2TU,-1FR");
        let yearly = rule(Frequency::Yearly, "O=3,9;M=-1,15");
        assert_eq!(
            yearly.rule(Some("20300101")),
            "FREQ=YEARLY;UNTIL=20300101;BYMONTH=3,9;BYMONTHDAY=-1,15"
        );
        let workday = rule(Frequency::Monthly, "D=0MO,0TU,0WE,0TH,0FR;S=-1");
        assert_eq!(workday.rule(None), "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1");
        assert!(workday.not_understood.is_empty());
    }

    #[test]
    fn words_of_the_standard_are_understood_and_contradictions_told() {
        assert_eq!(rule(Frequency::Weekly, "FREQ=WEEKLY").not_understood, [""; 0]);
        assert_eq!(
            rule(Frequency::Daily, "FREQ=WEEKLY;BYMONTH=13").not_understood,
            ["FREQ=WEEKLY", "BYMONTH=13"]
        );
        assert_eq!(
            rule(Frequency::Weekly, "D=0XX;Q=1;;M=32").not_understood,
            ["D=0XX", "Q=1", "M=32"]
        );
    }

    #[test]
    fn parts_that_do_not_go_together_are_not_written() {
        let weekly = rule(Frequency::Weekly, "D=2MO;M=3;W=7");
        assert_eq!(weekly.rule(None), "FREQ=WEEKLY;BYDAY=MO");
        assert_eq!(rule(Frequency::Daily, "S=1").rule(None), "FREQ=DAILY");
    }
}
