//! Dates of producers: checked, never changed (ING.10, T-11).

use chrono::DateTime;

/// Longest text of an instant that we pass on.
const DATE_MAX: usize = 40;

/// Whether `text` is a whole instant of RFC 3339, the profile of ISO 8601 with an offset: any offset, any fraction,
/// `:60` for a leap second.
pub(super) fn is_instant(text: &str) -> bool {
    // chrono also takes other separators and spaces.
    let well_formed = text.len() <= DATE_MAX
        && matches!(text.as_bytes().get(10), Some(b'T' | b't'))
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    well_formed && DateTime::parse_from_rfc3339(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_instant;

    /// ING.10
    #[test]
    fn instants_are_told_from_other_texts() {
        for good in [
            "2024-01-15T10:30:45Z",
            "2024-01-15T10:30:45.123456789Z",
            "2016-12-31T23:59:60Z",
            "2024-02-29t00:00:00+05:30",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59-23:59",
        ] {
            assert!(is_instant(good), "{good}");
        }
        for bad in [
            "",
            "now",
            "2024-01-15",
            "2024-01-15T10:30:45",
            "2024-01-15 10:30:45Z",
            "2024-01-15T10:30Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-15T24:00:00Z",
            "2024-01-15T10:30:61Z",
            "2024-01-15T10:30:45+25:00",
            "2024-01-15T10:30:45Z ",
            "2024-01-15T10:30:45\u{2212}05:00",
            "1705314645",
            "2024-01-15T10:30:45.0000000000000000000000000000000000000000Z",
        ] {
            assert!(!is_instant(bad), "{bad}");
        }
    }
}
