//! Points in time and dates, in integers.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cabled_wire::plist::Date;

const DAY: i64 = 86_400;

/// A point in time: whole seconds since 1970-01-01 00:00:00 UTC, negative ones before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// That many seconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn new(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// Noon UTC of a date: how birthdays travel. Spec: mobilesync, section 8.6.
    #[must_use]
    pub fn noon(date: CivilDate) -> Self {
        Self(date.days().saturating_mul(DAY).saturating_add(DAY / 2))
    }

    /// Midnight UTC at the start of a date.
    #[must_use]
    pub fn midnight(date: CivilDate) -> Self {
        Self(date.days().saturating_mul(DAY))
    }

    /// The date in UTC.
    #[must_use]
    pub const fn date(self) -> CivilDate {
        CivilDate::from_days(self.0.div_euclid(DAY))
    }

    /// Seconds since midnight UTC, 0 to 86 399.
    #[must_use]
    pub const fn time_of_day(self) -> i64 {
        self.0.rem_euclid(DAY)
    }

    /// Hours, minutes and seconds since midnight UTC.
    #[cfg(any(feature = "vobject", all(feature = "pair", feature = "session")))]
    pub(crate) const fn clock(self) -> (i64, i64, i64) {
        let seconds = self.time_of_day();
        (
            seconds.div_euclid(3600),
            seconds.div_euclid(60).rem_euclid(60),
            seconds.rem_euclid(60),
        )
    }

    /// The date of something without a time of day: the UTC date when it is noon or midnight there, else that in a zone
    /// `offset` seconds east of UTC when it is midnight there, else that of the nearest midnight UTC.
    /// Spec: mobilesync, section 8.6.
    #[must_use]
    pub fn as_date(self, offset: i64) -> CivilDate {
        let local = self.plus(offset);
        if matches!(self.time_of_day(), 0 | 43_200) {
            self.date()
        } else if local.time_of_day() == 0 {
            local.date()
        } else {
            self.plus(DAY / 2).date()
        }
    }

    /// So many seconds later; stops at the ends of time.
    #[must_use]
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// The second in which a date lies; `None` beyond 292 thousand million years.
    pub(crate) fn of(date: Date) -> Option<Self> {
        Self::at(date.into())
    }

    /// The second in which a time of the system lies; `None` beyond 292 thousand million years.
    pub(crate) fn at(time: SystemTime) -> Option<Self> {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).ok().map(Self),
            Err(before) => {
                let before = before.duration();
                let whole = i64::try_from(before.as_secs()).ok()?;
                let part = i64::from(before.subsec_nanos() > 0);
                whole.checked_neg()?.checked_sub(part).map(Self)
            }
        }
    }

    /// The date on the wire; `None` for what a property list cannot say: before year -9999 or after 9999.
    pub(crate) fn to_wire(self) -> Option<Date> {
        if !(-9999..=9999).contains(&self.date().year) {
            return None;
        }
        let distance = Duration::from_secs(self.0.unsigned_abs());
        let time = if self.0 < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        };
        time.map(Date::from)
    }
}

/// A day of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CivilDate {
    /// The year; 0 is 1 BC.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl CivilDate {
    /// The year that stands for "no year" in birthdays on Apple systems. Spec: mobilesync, section 8.1.
    pub const NO_YEAR: i64 = 1604;

    /// A date; `None` when the month has no such day or the year is beyond ±9999.
    #[must_use]
    pub fn new(year: i64, month: u8, day: u8) -> Option<Self> {
        let date = Self { year, month, day };
        let sane = (-9999..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        (sane && Self::from_days(date.days()) == date).then_some(date)
    }

    /// Days since 1970-01-01.
    #[must_use]
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "the year is clamped to a range in which nothing overflows"
    )]
    pub fn days(self) -> i64 {
        // Years start in March, so that the odd day is at the end.
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = self.year.clamp(-300_000_000_000, 300_000_000_000) - i64::from(month <= 2);
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    /// The date so many days after 1970-01-01.
    #[must_use]
    #[expect(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "days are clamped to what i64 seconds can reach; months and days are small"
    )]
    pub const fn from_days(days: i64) -> Self {
        let limit = i64::MAX / DAY;
        let days = if days > limit {
            limit
        } else if days < -limit {
            -limit
        } else {
            days
        } + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = (of_year - (153 * shifted + 2) / 5 + 1) as u8;
        let month = (if shifted < 10 { shifted + 3 } else { shifted - 9 }) as u8;
        let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
        Self { year, month, day }
    }

    /// The day after.
    #[must_use]
    pub fn next(self) -> Self {
        Self::from_days(self.days().saturating_add(1))
    }
}

/// `2026-11-22`.
impl fmt::Display for CivilDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_days_are_where_they_should_be() {
        let day = |year, month, day| CivilDate::new(year, month, day).map(CivilDate::days);
        assert_eq!(day(1970, 1, 1), Some(0));
        assert_eq!(day(2000, 2, 29), Some(11_016));
        assert_eq!(day(1604, 4, 12), Some(-133_577));
        assert_eq!(day(2023, 2, 29), None);
        assert_eq!(day(2023, 13, 1), None);
    }

    #[test]
    fn a_birthday_at_any_usual_hour_is_its_own_day() {
        let date = CivilDate::new(1985, 4, 12).unwrap();
        assert_eq!(Timestamp::noon(date).as_date(3600), date);
        assert_eq!(Timestamp::midnight(date).as_date(3600), date);
        assert_eq!(Timestamp::midnight(date).plus(-7200).as_date(7200), date);
        assert_eq!(Timestamp::midnight(date).plus(-600).as_date(0), date);
    }

    proptest! {
        #[test]
        fn days_and_dates_are_each_others_inverse(days in -4_000_000_i64..4_000_000) {
            prop_assert_eq!(CivilDate::from_days(days).days(), days);
        }

        #[test]
        fn any_number_of_seconds_has_a_date(seconds in any::<i64>()) {
            let _ = (Timestamp::new(seconds).date(), Timestamp::new(seconds).as_date(3600));
            if let Some(wire) = Timestamp::new(seconds).to_wire() {
                prop_assert_eq!(Timestamp::of(wire), Some(Timestamp::new(seconds)));
            }
        }
    }
}
