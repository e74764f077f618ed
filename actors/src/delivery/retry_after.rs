//! `Retry-After`: seconds or a date (RFC 9110 §10.2.3).

use crate::domain::time::Timestamp;
use chrono::{DateTime, NaiveDateTime};
use std::time::Duration;

/// How long from `now` the receiver asks to wait. Garbage is no wish; what lies in the past is none either.
#[must_use]
pub fn parse(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit mean "very long": the caller caps it.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = DateTime::parse_from_rfc2822(text)
        .map(|date| date.to_utc())
        .or_else(|_| {
            NaiveDateTime::parse_from_str(text, "%A, %d-%b-%y %H:%M:%S GMT").map(|date| date.and_utc())
        })
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%a %b %e %H:%M:%S %Y").map(|date| date.and_utc()))
        .ok()?;
    let at = Timestamp(u64::try_from(date.timestamp_millis()).ok()?);
    Some(at.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RCV.8
    #[test]
    fn seconds_and_the_three_date_forms_are_understood_and_garbage_is_not() {
        let now = Timestamp(1_700_000_000_000);
        let seconds = |n| Some(Duration::from_secs(n));
        for (text, wanted) in [
            ("7", seconds(7)),
            (" 0 ", seconds(0)),
            ("1000000000", seconds(1_000_000_000)),
            ("99999999999999999999", seconds(u64::from(u32::MAX))),
            ("Tue, 14 Nov 2023 22:13:30 GMT", seconds(10)),
            ("Tuesday, 14-Nov-23 22:13:30 GMT", seconds(10)),
            ("Tue Nov 14 22:13:30 2023", seconds(10)),
            ("Tue, 14 Nov 2023 22:13:10 GMT", seconds(0)),
            ("-5", None),
            ("1e9", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parse(text, now), wanted, "{text}");
        }
    }
}
