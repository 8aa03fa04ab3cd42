//! Points in time as the stores of a phone count them.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::records::time;
//!
//! let sent = time::apple(700_000_002_500_000_000).expect("a time of 2023");
//! assert_eq!(sent.to_string(), "2023-03-08T20:26:42.5Z");
//! assert_eq!(time::apple(700_000_002), time::apple_seconds(700_000_002.0)); // before iOS 11
//! ```
//! # How it fits
//! Cocoa counts from 2001-01-01 UTC: whole seconds in old stores, nanoseconds in `sms.db` since iOS 11, seconds as a
//! floating-point number in Core Data. Some older stores count from 1970. All become one [`Timestamp`].
//!
//! # Limits
//! The years 1 to 9999; what lies outside is `None`. Floating-point seconds are rounded to microseconds, which is what
//! a double can tell apart there. Leap seconds do not exist in either count.

use std::fmt;

/// Seconds from 1970 to 2001.
const APPLE_EPOCH: i64 = 978_307_200;

/// 0001-01-01 and 9999-12-31T23:59:59, in Unix seconds.
const RANGE: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

const NANOS: i64 = 1_000_000_000;

/// Counts of this size and more are nanoseconds: as seconds they would lie more than 3000 years ahead, as nanoseconds
/// less than two minutes after the start of 2001.
const NANOS_FROM: u64 = 100_000_000_000;

/// A point in time, in the years 1 to 9999. Shown and serialised as RFC 3339 in UTC, such as `2023-03-08T20:26:42.5Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

/// A point in time by calendar and clock of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Civil {
    /// 1 to 9999.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

/// A count of seconds or nanoseconds since 2001, told apart by size, as `sms.db` mixes them.
#[must_use]
pub fn apple(count: i64) -> Option<Timestamp> {
    if count.unsigned_abs() < NANOS_FROM {
        Timestamp::from_unix(count.checked_add(APPLE_EPOCH)?, 0)
    } else {
        apple_nanos(count)
    }
}

/// Nanoseconds since 2001.
#[must_use]
pub fn apple_nanos(nanos: i64) -> Option<Timestamp> {
    let (seconds, rest) = (nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS));
    Timestamp::from_unix(seconds.checked_add(APPLE_EPOCH)?, u32::try_from(rest).ok()?)
}

/// Seconds since 2001, as Core Data stores them.
#[must_use]
pub fn apple_seconds(seconds: f64) -> Option<Timestamp> {
    from_seconds(seconds, APPLE_EPOCH)
}

/// Seconds since 1970.
#[must_use]
pub fn unix(seconds: f64) -> Option<Timestamp> {
    from_seconds(seconds, 0)
}

/// Milliseconds since 1970.
#[must_use]
pub fn unix_millis(millis: i64) -> Option<Timestamp> {
    let rest = u32::try_from(millis.rem_euclid(1000)).ok()?;
    Timestamp::from_unix(millis.div_euclid(1000), rest.checked_mul(1_000_000)?)
}

fn from_seconds(seconds: f64, epoch: i64) -> Option<Timestamp> {
    // Beyond this neither the year nor the microseconds would fit; NaN fails the comparison.
    if seconds.is_nan() || seconds.abs() > 1e12 {
        return None;
    }
    let micros = (seconds * 1e6).round();
    #[expect(clippy::cast_possible_truncation, reason = "below 1e18, checked above")]
    let micros = micros as i64;
    let rest = u32::try_from(micros.rem_euclid(1_000_000)).ok()?;
    Timestamp::from_unix(
        micros.div_euclid(1_000_000).checked_add(epoch)?,
        rest.checked_mul(1000)?,
    )
}

impl Timestamp {
    /// From Unix seconds and nanoseconds within the second; `None` outside the years 1 to 9999 or for a billion
    /// nanoseconds and more.
    #[must_use]
    pub fn from_unix(seconds: i64, nanos: u32) -> Option<Self> {
        (RANGE.contains(&seconds) && i64::from(nanos) < NANOS).then_some(Self { seconds, nanos })
    }

    /// Whole seconds since 1970, negative before; the nanoseconds are to be added.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds within the second, below a billion.
    #[must_use]
    pub const fn subsec_nanos(self) -> u32 {
        self.nanos
    }

    /// The same wall-clock reading in a zone that is `seconds` ahead of UTC: to show, not to compare.
    #[must_use]
    pub fn shifted(self, seconds: i32) -> Option<Self> {
        Self::from_unix(self.seconds.checked_add(seconds.into())?, self.nanos)
    }

    /// Calendar and clock in UTC.
    #[must_use]
    #[expect(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        reason = "the constructor keeps the seconds in the years 1 to 9999, where none of these numbers comes near its type's end"
    )]
    pub const fn civil(self) -> Civil {
        let (days, clock) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        // Days since 0000-03-01 in the proleptic Gregorian calendar: years then end with February.
        let days = days + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
        Civil {
            year: year as i32,
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            hour: (clock / 3600) as u8,
            minute: (clock / 60 % 60) as u8,
            second: (clock % 60) as u8,
        }
    }

    /// The day alone, such as `2023-03-08`.
    #[must_use]
    pub fn date(self) -> String {
        let day = self.civil();
        format!("{:04}-{:02}-{:02}", day.year, day.month, day.day)
    }

    /// Day and minute for people to read, such as `2023-03-08 20:26`.
    #[must_use]
    pub fn minute(self) -> String {
        let at = self.civil();
        format!("{} {:02}:{:02}", self.date(), at.hour, at.minute)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.civil();
        write!(f, "{}T{:02}:{:02}:{:02}", self.date(), at.hour, at.minute, at.second)?;
        if self.nanos != 0 {
            let digits = format!("{:09}", self.nanos);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_days_come_out() {
        for (unix, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (978_307_200, "2001-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-11_550_000_000, "1603-12-30T10:40:00Z"),
            (-62_135_596_800, "0001-01-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::from_unix(unix, 0).unwrap().to_string(), shown);
        }
        assert_eq!(Timestamp::from_unix(253_402_300_800, 0), None);
        assert_eq!(Timestamp::from_unix(0, 1_000_000_000), None);
    }

    #[test]
    fn seconds_and_nanoseconds_are_told_apart_by_size() {
        assert_eq!(apple(700_000_000).unwrap().to_string(), "2023-03-08T20:26:40Z");
        assert_eq!(
            apple(700_000_000_000_000_001).unwrap().to_string(),
            "2023-03-08T20:26:40.000000001Z"
        );
        assert_eq!(apple(-1_000_000).unwrap().to_string(), "2000-12-20T10:13:20Z");
    }

    #[test]
    fn absurd_numbers_are_no_time() {
        for absurd in [f64::NAN, f64::INFINITY, -1e300, 1e12, -63_113_904_001.0 - 978_307_200.0] {
            assert_eq!(apple_seconds(absurd), None, "{absurd}");
        }
        // As nanoseconds, every 64-bit number lies within 300 years of 2001.
        assert!(apple(i64::MIN).is_some() && apple(i64::MAX).is_some());
        assert_eq!(unix_millis(i64::MIN), None);
        assert_eq!(unix_millis(-1).unwrap().to_string(), "1969-12-31T23:59:59.999Z");
    }

    proptest! {
        #[test]
        fn the_calendar_agrees_with_counting_days(unix in RANGE) {
            let at = Timestamp::from_unix(unix, 0).unwrap().civil();
            let leap = |y: i64| (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
            let before = i64::from(at.year) - 1;
            let mut days = before * 365 + before / 4 - before / 100 + before / 400;
            let february = if leap(at.year.into()) { 29 } else { 28 };
            let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            prop_assert!((1..=months[usize::from(at.month) - 1]).contains(&i64::from(at.day)));
            days += months[..usize::from(at.month) - 1].iter().sum::<i64>() + i64::from(at.day) - 1;
            let clock = i64::from(at.hour) * 3600 + i64::from(at.minute) * 60 + i64::from(at.second);
            prop_assert_eq!((days - 719_162) * 86_400 + clock, unix);
        }

        #[test]
        fn any_number_is_a_time_or_none(float in any::<f64>(), count in any::<i64>()) {
            let times = [apple(count), apple_nanos(count), unix_millis(count), apple_seconds(float), unix(float)];
            for time in times.into_iter().flatten() {
                prop_assert!(time.to_string().ends_with('Z'));
            }
        }
    }
}
