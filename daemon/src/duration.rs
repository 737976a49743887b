//! Durations as Go writes and reads them (`1h30m`, `1.5s`, `100ms`): config files, flags and messages have them.
//!
//! Only what [`Duration`] can hold is read: a negative duration is refused, zero of either sign is taken.

use std::time::Duration;

/// Reads a Go duration: digits with an optional fraction and a unit (`ns us µs ms s m h`), repeated; or `0`.
///
/// # Errors
/// [`DurationError`], whose texts are those of Go's `time.ParseDuration`.
pub fn parse_go(text: &str) -> Result<Duration, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total_ns: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_while(rest, |c| c.is_ascii_digit());
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_while(after, |c| c.is_ascii_digit()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let (unit, after) = split_while(after, |c| c != '.' && !c.is_ascii_digit());
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(text.to_owned()));
        }
        let unit_ns = unit_ns(unit).ok_or_else(|| DurationError::UnknownUnit {
            unit: unit.to_owned(),
            text: text.to_owned(),
        })?;
        let part = part_ns(whole, fraction, unit_ns).ok_or_else(invalid)?;
        total_ns = total_ns.checked_add(part).ok_or_else(invalid)?;
        rest = after;
    }
    if total_ns > MAX_NS {
        return Err(invalid());
    }
    if negative && total_ns > 0 {
        return Err(DurationError::Negative(text.to_owned()));
    }
    let total_ns = u64::try_from(total_ns).expect("invariant: below Go's maximum");
    Ok(Duration::from_nanos(total_ns))
}

/// Writes a duration as Go's `Duration.String`: `1h30m0s`, `1.5s`, `100ms`, `0s`.
#[must_use]
pub fn format_go(duration: Duration) -> String {
    let ns = duration.as_nanos();
    if ns == 0 {
        return "0s".to_owned();
    }
    if ns < 1_000_000_000 {
        let (unit_ns, unit) = match ns {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{}{unit}", decimal(ns, unit_ns));
    }
    let total_s = duration.as_secs();
    let (hours, minutes) = (total_s / 3600, total_s / 60 % 60);
    let seconds = decimal(ns % 60_000_000_000, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Why a text is no duration; the texts are Go's, which operators know.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form, or beyond what Go can hold (292 years).
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A bare number.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit that Go does not know.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit as written.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Below zero, which no setting of ours means anything with.
    #[error("time: negative duration {0:?}")]
    Negative(String),
}

/// Go counts nanoseconds in an `int64`.
const MAX_NS: u128 = i64::MAX.unsigned_abs() as u128;

fn unit_ns(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        // The micro sign and the Greek letter mu.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `None` if the number is beyond any duration.
fn part_ns(whole: &str, fraction: &str, unit_ns: u128) -> Option<u128> {
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // Digits behind the nanosecond of the largest unit cannot matter.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let digits = u32::try_from(fraction.len()).ok()?;
    let scaled: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let whole_ns = whole.checked_mul(unit_ns)?;
    whole_ns.checked_add(scaled * unit_ns / 10_u128.pow(digits))
}

fn decimal(value: u128, unit: u128) -> String {
    let width = unit.ilog10() as usize;
    let fraction = format!("{:0width$}", value % unit);
    let fraction = fraction.trim_end_matches('0');
    if width == 0 || fraction.is_empty() {
        return (value / unit).to_string();
    }
    format!("{}.{fraction}", value / unit)
}

fn split_while(text: &str, matches: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !matches(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, expected_ns) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5m", 30_000_000_000),
            ("1.s", 1_000_000_000),
            ("+5m", 300_000_000_000),
            ("100ms", 100_000_000),
            ("3us2ns", 3_002),
            ("3µs", 3_000),
            ("168h", 604_800_000_000_000),
            ("2562047h47m16.854775807s", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(
                parse_go(text),
                Ok(Duration::from_nanos(expected_ns)),
                "{text}"
            );
        }
    }

    #[test]
    fn errors_have_the_words_of_go() {
        for (text, expected) in [
            ("", "time: invalid duration \"\""),
            ("3", "time: missing unit in duration \"3\""),
            ("-", "time: invalid duration \"-\""),
            (".s", "time: invalid duration \".s\""),
            ("3x", "time: unknown unit \"x\" in duration \"3x\""),
            ("1d2h", "time: unknown unit \"d\" in duration \"1d2h\""),
            (
                "2562047h47m16.854775808s",
                "time: invalid duration \"2562047h47m16.854775808s\"",
            ),
            (
                "99999999999999999999999999999999999999999h",
                "time: invalid duration \"99999999999999999999999999999999999999999h\"",
            ),
            ("-5m", "time: negative duration \"-5m\""),
        ] {
            assert_eq!(
                parse_go(text).map_err(|e| e.to_string()),
                Err(expected.to_owned())
            );
        }
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (ns, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (100_000_000, "100ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (5_400_000_000_000, "1h30m0s"),
            (3_600_000_000_001, "1h0m0.000000001s"),
        ] {
            assert_eq!(format_go(Duration::from_nanos(ns)), expected);
        }
    }
}
