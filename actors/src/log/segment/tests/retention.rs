//! Letting go of old things, with the chain whole throughout.

use super::*;
use crate::{domain::time::Timestamp, log::conformance::T0};

const LATER: Timestamp = Timestamp(T0.0 + 1);

fn full() -> (SegmentLog, tempfile::TempDir) {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..400);
    assert!(segments(dir.path()).len() > 3);
    (log, dir)
}

fn second_segment(log: &SegmentLog) -> Position {
    Position(log.reader.segments.read()[1].first())
}

#[test]
fn expired_payloads_are_gone_and_the_chain_still_verifies() {
    let (log, dir) = full();
    assert_eq!(log.expire_payloads(T0, Position(400)).unwrap(), Expired::default(), "nothing is older");
    assert_eq!(log.expire_payloads(LATER, Position(2)).unwrap(), Expired::default(), "nothing is below");
    let below = Position(log.reader.segments.read()[2].first());
    let expired = log.expire_payloads(LATER, below).unwrap();
    assert_eq!(expired.segments, 2);
    assert!(expired.bytes > 0);
    assert_eq!(log.payload(Position(1)).unwrap(), None);
    assert_eq!(log.read_at(Position(1)).unwrap().payload.unwrap().len, 10);
    assert!(log.payload(below).unwrap().is_some());
    assert_eq!(log.expire_payloads(LATER, below).unwrap(), Expired::default());
    drop(log);
    let (log, report) = SegmentLog::open(dir.path(), tiny_options()).unwrap();
    assert_eq!((report.first, report.last), (Position(1), Position(400)));
    assert_eq!(log.payload(Position(1)).unwrap(), None);
    assert_eq!(scanned(&log, Position(1)).len(), 400);
    let verified = verify(dir.path()).unwrap();
    assert_eq!((verified.problems, verified.payloads_gone), (vec![], below.0 - 1));
}

#[test]
fn removed_segments_move_the_floor_and_versions_stay() {
    let (log, dir) = full();
    append_to(&log, "rare", &[record("x")]).unwrap();
    let rest = scanned(&log, second_segment(&log));
    // A floor inside a segment keeps the whole segment.
    let floor = log.remove_below(Position(second_segment(&log).0 + 3)).unwrap();
    assert_eq!((floor, log.floor()), (rest.first().map(|r| Position(r.0)).unwrap(), floor));
    assert!(matches!(log.read_at(Position(1)), Err(LogError::NotFound(_))));
    assert_eq!(log.read(Position::START, 1, 1000).unwrap()[0].position, floor);
    log.remove_below(Position(10_000)).unwrap();
    durable(&log);
    let kept = scanned(&log, Position::START);
    assert!(!kept.is_empty() && kept.len() < 200);
    drop(log);

    let (log, report) = SegmentLog::open(dir.path(), tiny_options()).unwrap();
    assert_eq!((report.first, report.last), (log.floor(), Position(401)));
    assert_eq!(scanned(&log, Position(1)), kept);
    for s in 0..5 {
        assert_eq!(log.stream_version(&stream(&format!("s/{s}"))), 80, "versions outlive their records");
    }
    fill(&log, 400..420);
    assert_eq!(verify(dir.path()).unwrap().problems, []);
    assert_eq!(verify(dir.path()).unwrap().first, log.floor());
}

/// The crash after the anchor and before the unlinking.
#[test]
fn a_removal_that_was_interrupted_is_finished_on_the_next_start() {
    let (log, dir) = full();
    let copy = copy_of(dir.path());
    let floor = log.remove_below(second_segment(&log)).unwrap();
    fs::copy(dir.path().join("anchor"), copy.path().join("anchor")).unwrap();
    assert_eq!(verify(copy.path()).unwrap().problems, []);
    let before = segments(copy.path()).len();
    let (log, report) = SegmentLog::open(copy.path(), tiny_options()).unwrap();
    assert_eq!(report.first, floor);
    assert_eq!(segments(copy.path()).len(), before - 1);
    assert_eq!(log.stream_version(&stream("s/1")), 80);
}

#[test]
fn an_erased_payload_is_gone_and_its_neighbours_stay() {
    let (log, dir) = full();
    assert!(log.erase_payload(Position(7)).unwrap());
    // In the segment that is being written.
    fill(&log, 400..402);
    let sealed = log.reader.segments.read().len();
    assert!(log.erase_payload(Position(399)).unwrap());
    assert_eq!(log.reader.segments.read().len(), sealed, "it takes no new one");
    let check = |log: &SegmentLog| {
        for (position, there) in [(6, true), (7, false), (8, true), (398, true), (399, false), (400, true)] {
            assert_eq!(log.payload(Position(position)).unwrap().is_some(), there, "{position}");
        }
    };
    check(&log);
    let bytes: Vec<u8> = segments(dir.path()).iter().flat_map(|path| fs::read(path).unwrap()).collect();
    let contains = |needle: &str| bytes.windows(needle.len()).any(|w| w == needle.as_bytes());
    assert!(contains("payload 7 x") && !contains("payload 6 x") && !contains("payload 398 x"));
    fill(&log, 402..410);
    drop(log);
    let (log, _) = SegmentLog::open(dir.path(), tiny_options()).unwrap();
    check(&log);
    assert!(log.erase_payload(Position(7)).unwrap(), "it can be repeated");
    append_to(&log, "a", &[record("no payload")]).unwrap();
    durable(&log);
    assert!(!log.erase_payload(log.tail()).unwrap());
    let verified = verify(dir.path()).unwrap();
    assert_eq!((verified.problems, verified.payloads_gone), (vec![], 2));
}

#[test]
fn a_changed_payload_is_refused_and_named() {
    let (log, dir) = full();
    let (at, path) =
        log.reader.find(Position(3), |segment, _, fact| Ok((fact.payload_at, segment.path.clone()))).unwrap();
    flip(&path, at, 4);
    let error = log.payload(Position(3)).unwrap_err();
    assert!(matches!(&error, LogError::Damaged { offset, .. } if *offset == at), "{error}");
    let problems = verify(dir.path()).unwrap().problems;
    assert_eq!(problems.iter().map(|p| (&p.path, p.offset)).collect::<Vec<_>>(), [(&path, at)]);
    // A disk that lost it is not an erasure.
    overwrite(&path, at, &[0; 10]);
    assert!(log.payload(Position(3)).is_err());
}

#[test]
fn the_checker_goes_on_behind_damage() {
    let (log, dir) = full();
    drop(log);
    let path = segments(dir.path())[1].clone();
    flip(&path, 1500, 4);
    let verified = verify(dir.path()).unwrap();
    assert!(!verified.problems.is_empty());
    assert!(verified.problems.iter().all(|problem| problem.path == path), "{:?}", verified.problems);
    assert_eq!(verified.last, Position(400));
    assert!(verified.records > 390 && verified.records < 400);
    assert!(matches!(
        SegmentReader::open(dir.path()).unwrap().read(Position(1), 1000, 1 << 20),
        Err(LogError::Damaged { .. })
    ));
}

/// Payloads go with their segment, and the one that is written would keep them for as long as it takes to fill it.
#[test]
fn a_segment_that_began_long_ago_is_sealed_so_that_its_payloads_can_go() {
    let (log, _dir) = full();
    let before = log.bytes().unwrap();
    assert!(!log.seal_older_than(T0).unwrap(), "it is not older");
    assert!(log.seal_older_than(LATER).unwrap());
    assert!(!log.seal_older_than(LATER).unwrap(), "the new one is empty");
    let segments = log.expirable(Position(401)).unwrap();
    let expired = log.expire(&segments).unwrap();
    assert_eq!(expired.bytes, segments.iter().map(|segment| segment.bytes).sum::<u64>());
    assert_eq!(log.payload(Position(400)).unwrap(), None);
    assert_eq!(log.bytes().unwrap(), before + u64::from(tiny_options().segment_size) - expired.bytes);
    assert_eq!(log.expirable(Position(401)).unwrap(), []);
}
