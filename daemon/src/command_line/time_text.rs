//! Points in time as text. All in UTC, so that the same command prints the same on every host.

use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// `2026-11-22 17:00:00 +0000 UTC` for seconds since 1970; the number itself if no calendar has it.
#[must_use]
pub fn utc_text(unix_s: i64) -> String {
    let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC");
    OffsetDateTime::from_unix_timestamp(unix_s)
        .ok()
        .and_then(|time| time.format(form).ok())
        .unwrap_or_else(|| unix_s.to_string())
}

/// `2026-11-22T17:00:00Z` for seconds since 1970; the number itself if RFC 3339 cannot say it.
#[must_use]
pub fn rfc3339_text(unix_s: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix_s)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix_s.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_scripts_expect() {
        assert_eq!(utc_text(4_102_444_800), "2100-01-01 00:00:00 +0000 UTC");
        assert_eq!(rfc3339_text(4_102_444_800), "2100-01-01T00:00:00Z");
        assert_eq!(utc_text(i64::MAX), "9223372036854775807");
    }
}
