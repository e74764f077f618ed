use super::*;

const DAY: u64 = 24 * 3600 * 1000;

/// Segments of ten records and a hundred bytes, one a day.
fn segments(count: u64) -> Vec<Expirable> {
    let segment = |n: u64| Expirable {
        first: Position(n * 10 + 1),
        next: Position(n * 10 + 11),
        newest: Timestamp((n + 1) * DAY),
        bytes: 100,
    };
    (0..count).map(segment).collect()
}

fn chosen(limits: Limits, log_bytes: u64) -> (usize, u64) {
    let (go, excess) = choose(&segments(5), log_bytes, limits, Timestamp(10 * DAY));
    assert!(go.iter().zip(segments(5)).all(|(gone, oldest)| *gone == oldest), "the oldest go first");
    (go.len(), excess)
}

#[test]
fn what_is_too_old_or_too_much_goes_and_no_more() {
    let by_age = |days: u64| Limits { payload_age: Some(Duration::from_hours(24 * days)), bytes_max: None };
    let by_size = |max| Limits { payload_age: None, bytes_max: Some(max) };
    assert_eq!(chosen(Limits::default(), 900), (0, 0), "nothing goes by itself");
    assert_eq!(chosen(by_age(7), 900), (2, 0), "those of days 1 and 2; day 3 is seven days old today");
    assert_eq!(chosen(by_age(100), 900), (0, 0));
    assert_eq!(chosen(by_size(900), 900), (0, 0));
    assert_eq!(chosen(by_size(899), 900), (1, 0));
    assert_eq!(chosen(by_size(650), 900), (3, 0));
    assert_eq!(chosen(by_size(300), 900), (5, 100), "what cannot go is told");
    assert_eq!(chosen(Limits { bytes_max: Some(899), ..by_age(6) }, 900), (3, 0), "age and size");
}
