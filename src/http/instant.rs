//! Instants as callers write them.

use chrono::DateTime;
use ledgerhook_actors::domain::time::Timestamp;

/// ISO 8601 with an offset, or milliseconds since 1970. Nothing before 1970.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    if !text.is_empty() && text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Timestamp);
    }
    let millis = DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis();
    u64::try_from(millis).ok().map(Timestamp)
}

/// When an overlap of this length ends that begins now: on a whole second, so that a request's timestamp tells which
/// keys it carries (I17). `None` for no overlap.
pub(crate) fn after_overlap(seconds: u64) -> Option<Timestamp> {
    (seconds > 0)
        .then(|| Timestamp(now().as_secs().saturating_add(1).saturating_add(seconds).saturating_mul(1_000)))
}

/// The instant of this request, for what a caller may only name in the future or the past.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_have_an_offset_or_are_milliseconds() {
        assert_eq!(parse("2024-01-15T10:30:00Z"), Some(Timestamp(1_705_314_600_000)));
        assert_eq!(parse("2024-01-15T12:30:00.5+02:00"), Some(Timestamp(1_705_314_600_500)));
        assert_eq!(parse("1705314600000"), Some(Timestamp(1_705_314_600_000)));
        for text in ["", "2024-01-15", "2024-01-15T10:30:00", "yesterday", "-5", "1969-12-31T23:59:59Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
