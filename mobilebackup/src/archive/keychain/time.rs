//! `GeneralizedTime`.

use std::time::{Duration, SystemTime};

/// `YYYYMMDDHHMMSS`, a fraction if there is one, then `Z` or an offset such as `+0130`. `None` for anything else, and
/// for local time, which means nothing away from its place.
pub(super) fn generalized_time(text: &[u8]) -> Option<SystemTime> {
    let (year, rest) = digits::<4>(text)?;
    let (month, rest) = digits::<2>(rest)?;
    let (day, rest) = digits::<2>(rest)?;
    let (hour, rest) = digits::<2>(rest)?;
    let (minute, rest) = digits::<2>(rest)?;
    let (second, rest) = digits::<2>(rest)?;
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    in_range.then_some(())?;
    let (nanos, rest) = fraction(rest)?;
    let offset = offset_minutes(rest)?;

    let days = days_since_1970(year, month, day)?;
    let minutes = days
        .checked_mul(24)?
        .checked_add(hour)?
        .checked_mul(60)?
        .checked_add(minute)?
        .checked_sub(offset)?;
    let seconds = minutes.checked_mul(60)?.checked_add(second)?;
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(whole)?,
        _ => SystemTime::UNIX_EPOCH.checked_sub(whole)?,
    };
    time.checked_add(Duration::from_nanos(nanos))
}

/// The first `N` digits as a number, and the rest.
fn digits<const N: usize>(text: &[u8]) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<N>()?;
    let number = digits.iter().try_fold(0_i64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })?;
    Some((number, rest))
}

/// Nanoseconds; finer digits are dropped.
fn fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    let Some(fraction) = text.strip_prefix(b".").or_else(|| text.strip_prefix(b",")) else {
        return Some((0, text));
    };
    let len = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = fraction
        .split_at_checked(len)
        .filter(|(digits, _)| !digits.is_empty())?;
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanos = padded.fold(0_u64, |nanos, digit| {
        nanos.saturating_mul(10).saturating_add(u64::from(digit & 0xf))
    });
    Some((nanos, rest))
}

fn offset_minutes(text: &[u8]) -> Option<i64> {
    let (sign, rest) = text.split_first()?;
    match sign {
        b'Z' => rest.is_empty().then_some(0),
        b'+' | b'-' => {
            let (hours, rest) = digits::<2>(rest)?;
            let (minutes, rest) = if rest.is_empty() { (0, rest) } else { digits::<2>(rest)? };
            rest.is_empty().then_some(())?;
            let offset = hours.checked_mul(60)?.checked_add(minutes)?;
            Some(if *sign == b'-' { offset.saturating_neg() } else { offset })
        }
        _ => None,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar; `None` for a day its month does not have.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let len = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (day <= len).then_some(())?;
    // Years that start in March put the odd day at their end.
    let (year, month) = match month.checked_sub(3)? {
        shifted @ 0.. => (year, shifted),
        shifted => (year.checked_sub(1)?, shifted.checked_add(12)?),
    };
    let leap_days = year.div_euclid(4).checked_sub(year.div_euclid(100))?;
    let leap_days = leap_days.checked_add(year.div_euclid(400))?;
    let before_month = month.checked_mul(153)?.checked_add(2)?.checked_div(5)?;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year.checked_mul(365)?
        .checked_add(leap_days)?
        .checked_add(before_month)?
        .checked_add(day)?
        .checked_sub(1)?
        .checked_sub(719_468)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unix(text: &str) -> Option<f64> {
        let time = generalized_time(text.as_bytes())?;
        Some(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => after.as_secs_f64(),
            Err(before) => -before.duration().as_secs_f64(),
        })
    }

    #[test]
    fn times_are_seconds_since_1970() {
        for (text, seconds) in [
            ("19700101000000Z", 0.0),
            ("20010101000000Z", 978_307_200.0),
            ("20200229123456Z", 1_582_979_696.0),
            ("20140416214843.5Z", 1_397_684_923.5),
            ("20140416214843,25Z", 1_397_684_923.25),
            ("20140416214843+0130", 1_397_679_523.0),
            ("20140416214843-08", 1_397_713_723.0),
            ("19691231235959Z", -1.0),
            ("19000301000000Z", -2_203_891_200.0),
        ] {
            assert_eq!(unix(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2020",
            "20200230000000Z",
            "20190229000000Z",
            "20201301000000Z",
            "20200001000000Z",
            "20200100000000Z",
            "20200101240000Z",
            "20200101006000Z",
            "20200101000000",
            "20200101000000.Z",
            "20200101000000ZZ",
            "20200101000000+1",
            "2020010100000 Z",
            "+0200101000000Z",
        ] {
            assert_eq!(unix(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn each_day_follows_the_one_before(year in 1600_i64..2500, month in 1_i64..=12, day in 1_i64..=31) {
            let Some(days) = days_since_1970(year, month, day) else {
                prop_assert!(day > 28);
                return Ok(());
            };
            let next = days_since_1970(year, month, day + 1)
                .or_else(|| days_since_1970(year, month + 1, 1).filter(|_| month < 12))
                .or_else(|| days_since_1970(year + 1, 1, 1));
            prop_assert_eq!(next, Some(days + 1));
        }

        #[test]
        fn any_bytes_are_a_time_or_not(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = generalized_time(&text);
        }
    }
}
