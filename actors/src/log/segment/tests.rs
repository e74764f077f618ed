//! What the embedded log promises beyond the common suite: it comes back after anything.

mod codec;
mod commit;
mod compaction;
mod crash;
mod damage;
mod model;
mod power;
mod retention;
mod second_reader;
mod support;

use self::support::*;
use super::*;
use crate::log::conformance::{append_to, conformance, record, scanned, stream, with_payload};
use std::fs;

mod roomy {
    use super::*;
    conformance!(fresh(roomy_options()));
}

/// Segments so small that every test crosses many of them.
mod tiny {
    use super::*;
    conformance!(fresh(Options { segment_size: 400 << 10, batch_facts: 1000, ..roomy_options() }));
}

#[test]
fn a_reopened_log_is_the_log_that_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (log, report) = SegmentLog::open(dir.path(), tiny_options()).unwrap();
    assert!(report.created);
    fill(&log, 0..300);
    let before = contents(log.reader());
    let hash = log.chain_hash(Position(300)).unwrap();
    drop(log);

    let (log, report) = SegmentLog::open(dir.path(), tiny_options()).unwrap();
    assert!(report.segments > 2, "{report:?}");
    assert_eq!((report.created, report.torn, report.indexes_rebuilt), (false, None, 0));
    assert_eq!((report.first, report.last, report.streams), (Position(1), Position(300), 5));
    assert_eq!(contents(log.reader()), before);
    assert_eq!(log.chain_hash(Position(300)).unwrap(), hash);
    assert_eq!(log.stream_version(&stream("s/1")), 60);
    fill(&log, 300..400);
    assert_eq!(scanned(&log, Position(1)).len(), 400);
    assert_eq!(log.read_stream(&stream("s/1"), 1, 1000).unwrap().len(), 80);
}

#[test]
fn an_unclosed_log_comes_back_whole() {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..100);
    let copy = copy_of(dir.path());
    let (reopened, report) = SegmentLog::open(copy.path(), tiny_options()).unwrap();
    assert_eq!((report.last, report.torn), (Position(100), None));
    assert_eq!(contents(reopened.reader()), contents(log.reader()));
}

#[test]
fn a_second_process_is_refused_and_the_first_goes_on() {
    let (log, dir) = fresh(tiny_options());
    let second = SegmentLog::open(dir.path(), tiny_options());
    assert!(matches!(second.err(), Some(LogError::Locked(path)) if path == dir.path()));
    fill(&log, 0..10);
    drop(log);
    assert!(SegmentLog::open(dir.path(), tiny_options()).is_ok());
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..10);
    drop(log);
    let format = dir.path().join("FORMAT");
    let text = fs::read_to_string(&format).unwrap().replace("format 1", "format 2");
    fs::write(&format, text).unwrap();
    fs::write(dir.path().join("spare"), "theirs").unwrap();
    let before = listing(dir.path());
    let refused = SegmentLog::open(dir.path(), tiny_options()).err();
    assert!(matches!(refused, Some(LogError::NewerFormat { found: 2, supported: 1, .. })));
    assert!(matches!(SegmentReader::open(dir.path()).err(), Some(LogError::NewerFormat { .. })));
    assert_eq!(listing(dir.path()), before);
}

#[test]
fn indexes_are_rebuilt_when_missing_or_damaged() {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..400);
    let before = contents(log.reader());
    drop(log);
    let indexes: Vec<_> =
        files(dir.path()).into_iter().filter(|path| path.extension().is_some_and(|e| e == "idx")).collect();
    assert!(indexes.len() >= 2);
    fs::remove_file(&indexes[0]).unwrap();
    flip(&indexes[1], 20, 1);
    let (log, report) = SegmentLog::open(dir.path(), tiny_options()).unwrap();
    assert_eq!(report.indexes_rebuilt, 2);
    assert_eq!(contents(log.reader()), before);
    assert_eq!(log.read_stream(&stream("s/2"), 1, 1000).unwrap().len(), 80);
    drop(log);
    let (_, report) = SegmentLog::open(dir.path(), tiny_options()).unwrap();
    assert_eq!(report.indexes_rebuilt, 0);
}

/// A damaged row of an index is noticed when it is used, not only at the start.
#[test]
fn an_index_that_rots_while_the_log_runs_is_not_believed() {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..200);
    for path in files(dir.path()).iter().filter(|path| path.extension().is_some_and(|e| e == "idx")) {
        let len = fs::metadata(path).unwrap().len();
        flip(path, len - 3, 4);
        flip(path, len / 2, 1);
    }
    for s in 0..5 {
        assert_eq!(log.read_stream(&stream(&format!("s/{s}")), 1, 1000).unwrap().len(), 40);
    }
}

#[test]
fn segments_keep_their_size_when_the_option_changes() {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..50);
    drop(log);
    let (log, _) = SegmentLog::open(dir.path(), roomy_options()).unwrap();
    let big = vec![7; 500_000];
    append_to(&log, "big", &[with_payload("x", big.clone())]).unwrap();
    durable(&log);
    assert_eq!(log.payload(Position(51)).unwrap().unwrap(), big);
    drop(log);
    let (log, _) = SegmentLog::open(dir.path(), tiny_options()).unwrap();
    fill(&log, 51..100);
    assert_eq!(scanned(&log, Position(1)).len(), 100);
}

#[test]
fn what_cannot_fit_a_segment_is_refused_at_once() {
    let (log, _dir) = fresh(tiny_options());
    let refused = append_to(&log, "a", &[with_payload("x", vec![0; 20 << 10])]);
    assert!(matches!(refused, Err(LogError::TooLarge { .. })));
    let refused = append_to(&log, &"n".repeat(256), &[record("x")]);
    assert!(matches!(refused, Err(LogError::TooLarge { size: 256, limit: 255 })));
    append_to(&log, &"n".repeat(255), &[with_payload("x", vec![0; 14 << 10])]).unwrap();
    durable(&log);
}

#[test]
fn a_low_disk_refuses_payloads_and_takes_facts() {
    let (log, _dir) = fresh(Options { min_free_bytes: u64::MAX, ..tiny_options() });
    append_to(&log, "a", &[record("fact")]).unwrap();
    durable(&log);
    assert!(matches!(append_to(&log, "a", &[with_payload("x", "y")]), Err(LogError::DiskFull { .. })));
    append_to(&log, "a", &[record("fact")]).unwrap();
    durable(&log);
    assert_eq!(log.tail(), Position(2));
}

#[test]
fn queued_bytes_fall_to_nothing() {
    let (log, _dir) = fresh(tiny_options());
    append_to(&log, "a", &[with_payload("x", vec![0; 5000])]).unwrap();
    durable(&log);
    // The count falls before the watermark rises.
    assert_eq!(log.queued_bytes(), 0);
}

const RECORDS: u64 = 600;

#[test]
fn two_readers_follow_a_writer() {
    let (log, _dir) = fresh(tiny_options());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut next = Position(1);
                while next.0 <= RECORDS {
                    let from = next;
                    let mut expected = from;
                    next = log
                        .scan(from, &mut |record| {
                            assert_eq!(record.position, expected);
                            expected = expected.next();
                            true
                        })
                        .unwrap();
                    if next > from {
                        let last = Position(next.0 - 1);
                        assert!(
                            log.payload(last).unwrap().is_some_and(|payload| payload.starts_with(b"payload"))
                        );
                    }
                    std::thread::yield_now();
                }
            });
        }
        for i in 0..RECORDS {
            fill(&log, i..i + 1);
        }
    });
}

#[test]
fn a_read_only_view_changes_nothing() {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..100);
    let before = listing(dir.path());
    // While the engine runs, without its lock.
    let view = SegmentReader::open(dir.path()).unwrap();
    assert_eq!(contents(&view), contents(log.reader()));
    assert_eq!(view.durable(), Position(100));
    assert_eq!(listing(dir.path()), before);
}

/// The writer may be between looking for work and looking whether it is to end.
#[test]
fn what_was_appended_before_the_close_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..50 {
        let (log, report) = SegmentLog::open(dir.path(), tiny_options()).unwrap();
        assert_eq!(report.last, Position(i));
        append_to(&log, "a", &[record("x")]).unwrap();
        drop(log);
    }
}
