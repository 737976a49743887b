//! Times in the layout `2006-01-02 15:04:05 -0700 -07`, in which the agents' expiry filter is sent.

use identity::clock::UnixTime;
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

/// Reads a time; `None` if it is not in the layout. The last offset counts, as in Go.
pub(super) fn parse(text: &str) -> Option<UnixTime> {
    let mut parts = text.split(' ');
    let date = date(parts.next()?)?;
    let time = time_of_day(parts.next()?)?;
    offset(parts.next()?, true)?;
    let offset = offset(parts.next()?, false)?;
    if parts.next().is_some() {
        return None;
    }
    let at = PrimitiveDateTime::new(date, time).assume_offset(offset);
    Some(UnixTime::from_secs(at.unix_timestamp()))
}

fn date(text: &str) -> Option<Date> {
    let mut parts = text.splitn(3, '-');
    let year = digits(parts.next()?, 4)?;
    let month = Month::try_from(u8::try_from(digits(parts.next()?, 2)?).ok()?).ok()?;
    let day = u8::try_from(digits(parts.next()?, 2)?).ok()?;
    Date::from_calendar_date(i32::from(year), month, day).ok()
}

fn time_of_day(text: &str) -> Option<Time> {
    let mut parts = text.splitn(3, ':');
    let mut next = || u8::try_from(digits(parts.next()?, 2)?).ok();
    Time::from_hms(next()?, next()?, next()?).ok()
}

fn offset(text: &str, with_minutes: bool) -> Option<UtcOffset> {
    let (sign, value) = match text.split_at_checked(1)? {
        ("+", value) => (1, value),
        ("-", value) => (-1, value),
        _ => return None,
    };
    let (hours, minutes) = if with_minutes {
        value.split_at_checked(2)?
    } else {
        (value, "00")
    };
    let hours = i8::try_from(digits(hours, 2)?).ok()?;
    let minutes = i8::try_from(digits(minutes, 2)?).ok()?;
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()
}

/// A number of exactly `count` digits, of which there are at most four.
fn digits(text: &str, count: usize) -> Option<i16> {
    let all_digits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(parse(text).map(|time| time.as_secs()), expected, "{text:?}");
    }

    #[test]
    fn times_with_an_offset_are_read() {
        check("1970-01-01 00:00:00 +0000 +00", Some(0));
        check("2024-02-29 12:34:56 +0100 +01", Some(1_709_206_496));
        check("2023-11-14 17:13:20 -0500 -05", Some(1_700_000_000));
    }

    #[test]
    fn everything_else_is_no_time() {
        for text in [
            "",
            "garbage",
            "2100-01-01 00:00:00 +0000 UTC",
            "2023-02-29 00:00:00 +0000 +00",
            "2023-02-28 24:00:00 +0000 +00",
            "2023-02-28 00:00:00 +0000 +00 x",
            "2023-02-28 00:00:00 +00é0 +00",
            "+023-02-28 00:00:00 +0000 +00",
        ] {
            check(text, None);
        }
    }
}
