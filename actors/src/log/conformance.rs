//! The tests that every backend runs: what the rest of the engine builds on when it says "the log".
//!
//! A backend calls `conformance!(make)` in its tests; `make` yields a fresh, empty log, or a tuple of one and
//! whatever must outlive it. Nothing here assumes that durability comes at once, or that files exist.

use super::{Append, Appended, EventLog, Expected, LogError, NewRecord, Position, Record, StreamId};
use crate::domain::time::Timestamp;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// A generous bound on waiting for a backend that hangs; no test depends on how long anything takes.
const PATIENCE: Duration = Duration::from_mins(1);

macro_rules! conformance {
    ($make:expr) => {
        $crate::log::conformance::conformance!($make;
            positions_are_gapless_and_known_at_once,
            versions_count_per_stream,
            a_wrong_version_is_a_conflict_and_changes_nothing,
            a_group_is_placed_in_order_or_not_at_all,
            a_group_may_append_to_one_stream_twice,
            records_come_back_as_they_were_written,
            payloads_come_back_and_carry_their_digest,
            reading_goes_on_at_any_position,
            reading_keeps_to_its_bounds,
            scanning_goes_on_at_any_position,
            scanning_stops_when_told,
            a_stream_is_read_by_version,
            what_is_durable_can_be_read,
            what_is_not_durable_is_not_read,
            unknown_positions_are_not_found,
            the_floor_is_the_first_record,
            the_chain_moves_with_every_batch,
            a_closed_log_keeps_what_it_has_and_takes_no_more,
            a_large_group_stays_whole,
            too_large_records_are_refused_or_kept,
            concurrent_appenders_keep_their_order,
            a_commit_does_at_least_what_a_kick_does,
        );
    };
    ($make:expr; $($name:ident),+ $(,)?) => {
        mod conformance {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[tokio::test]
                async fn $name() {
                    let made = $crate::log::conformance::Made::from($make);
                    $crate::log::conformance::$name(&made.log).await;
                }
            )+
        }
    };
}
pub(crate) use conformance;

/// A fresh log and what keeps it alive.
pub(crate) struct Made<L, G> {
    pub(crate) log: L,
    _guard: G,
}

impl<L: EventLog> From<L> for Made<L, ()> {
    fn from(log: L) -> Self {
        Self { log, _guard: () }
    }
}

impl<L: EventLog, G> From<(L, G)> for Made<L, G> {
    fn from((log, guard): (L, G)) -> Self {
        Self { log, _guard: guard }
    }
}

pub(crate) const T0: Timestamp = Timestamp(1_700_000_000_000);

pub(crate) fn stream(name: &str) -> StreamId {
    StreamId::new(name)
}

pub(crate) fn record(body: &str) -> NewRecord {
    NewRecord { kind: 7, format: 1, body: body.into(), payload: None }
}

pub(crate) fn with_payload(body: &str, payload: impl Into<Bytes>) -> NewRecord {
    NewRecord { payload: Some(payload.into()), ..record(body) }
}

/// Appends to one stream, whatever its version.
pub(crate) fn append_to(
    log: &(impl EventLog + ?Sized),
    name: &str,
    records: &[NewRecord],
) -> Result<Appended, LogError> {
    let stream = stream(name);
    log.append(&[Append { stream: &stream, expected: Expected::Any, at: T0, records }], &mut |_, _| {})
}

/// Kicks the log and waits until everything appended so far is durable.
pub(crate) async fn settle(log: &(impl EventLog + ?Sized)) {
    log.kick();
    let reached = tokio::time::timeout(PATIENCE, log.watermark().reached(log.tail())).await;
    assert!(reached.expect("the log became durable in time"), "the log failed");
}

pub(crate) fn scanned(log: &(impl EventLog + ?Sized), from: Position) -> Vec<(u64, String, u64, Vec<u8>)> {
    let mut all = Vec::new();
    let next = log.scan(from, &mut |r| {
        all.push((r.position.0, r.stream.to_owned(), r.version, r.body.to_vec()));
        true
    });
    assert_eq!(next.unwrap(), log.watermark().get().next().max(from));
    all
}

fn bodies(records: &[Record]) -> Vec<&[u8]> {
    records.iter().map(|record| &record.body[..]).collect()
}

async fn with_hundred(log: &impl EventLog) {
    for i in 0..100 {
        append_to(log, &format!("s/{}", i % 3), &[record(&i.to_string())]).unwrap();
        if i % 7 == 0 {
            settle(log).await;
        }
    }
    settle(log).await;
}

pub(crate) async fn positions_are_gapless_and_known_at_once(log: &impl EventLog) {
    assert_eq!((log.tail(), log.watermark().get()), (Position(0), Position(0)));
    let one = append_to(log, "a", &[record("1")]).unwrap();
    let two = append_to(log, "b", &[record("2"), record("3")]).unwrap();
    assert_eq!(one, Appended { first: Position(1), last: Position(1), version: 1 });
    assert_eq!(two, Appended { first: Position(2), last: Position(3), version: 2 });
    assert_eq!(log.tail(), Position(3));
    settle(log).await;
    let positions: Vec<_> = scanned(log, Position::START).iter().map(|r| r.0).collect();
    assert_eq!(positions, [1, 2, 3]);
}

pub(crate) async fn versions_count_per_stream(log: &impl EventLog) {
    append_to(log, "a", &[record("1"), record("2")]).unwrap();
    append_to(log, "b", &[record("3")]).unwrap();
    assert_eq!(append_to(log, "a", &[record("4")]).unwrap().version, 3);
    assert_eq!(log.stream_version(&stream("a")), 3);
    assert_eq!(log.stream_version(&stream("b")), 1);
    assert_eq!(log.stream_version(&stream("c")), 0);
    settle(log).await;
    let versions: Vec<_> = scanned(log, Position(1)).into_iter().map(|r| (r.1, r.2)).collect();
    let expected = [("a", 1), ("a", 2), ("b", 1), ("a", 3)].map(|(name, version)| (name.to_owned(), version));
    assert_eq!(versions, expected);
}

pub(crate) async fn a_wrong_version_is_a_conflict_and_changes_nothing(log: &impl EventLog) {
    let (a, b) = (stream("a"), stream("b"));
    let records = [record("1")];
    let append = |stream, expected| Append { stream, expected, at: T0, records: &records };
    log.append(&[append(&a, Expected::Version(0))], &mut |_, _| {}).unwrap();
    let mut placed = 0;
    let group = [append(&b, Expected::Any), append(&a, Expected::Version(0))];
    let error = log.append(&group, &mut |_, _| placed += 1).unwrap_err();
    assert!(
        matches!(&error, LogError::Conflict { stream, expected: 0, actual: 1 } if *stream == a),
        "{error}"
    );
    assert_eq!((placed, log.tail(), log.stream_version(&b)), (0, Position(1), 0));
    log.append(&[append(&a, Expected::Version(1))], &mut |_, _| {}).unwrap();
    settle(log).await;
    assert_eq!(scanned(log, Position(1)).len(), 2);
}

pub(crate) async fn a_group_is_placed_in_order_or_not_at_all(log: &impl EventLog) {
    let (a, b) = (stream("a"), stream("b"));
    let (one, two) = ([record("1")], [record("2"), record("3")]);
    let group = [
        Append { stream: &a, expected: Expected::Version(0), at: T0, records: &one },
        Append { stream: &b, expected: Expected::Version(0), at: T0, records: &two },
    ];
    let mut placed = Vec::new();
    let whole = log.append(&group, &mut |i, appended| placed.push((i, appended))).unwrap();
    assert_eq!(placed[0], (0, Appended { first: Position(1), last: Position(1), version: 1 }));
    assert_eq!(placed[1], (1, Appended { first: Position(2), last: Position(3), version: 2 }));
    assert_eq!((whole.first, whole.last), (Position(1), Position(3)));
    settle(log).await;
    assert_eq!(scanned(log, Position(1)).len(), 3);
}

pub(crate) async fn a_group_may_append_to_one_stream_twice(log: &impl EventLog) {
    let a = stream("a");
    let (one, two) = ([record("1"), record("2")], [record("3")]);
    let append = |expected, records| Append { stream: &a, expected, at: T0, records };
    let group = [append(Expected::Version(0), &one[..]), append(Expected::Version(2), &two[..])];
    assert_eq!(log.append(&group, &mut |_, _| {}).unwrap().version, 3);
    settle(log).await;
    assert_eq!(bodies(&log.read_stream(&a, 1, 10).unwrap()), [b"1", b"2", b"3"]);
}

pub(crate) async fn records_come_back_as_they_were_written(log: &impl EventLog) {
    let name = "pipeline/ü-0123456789";
    let records = [
        NewRecord { kind: u16::MAX, format: 255, body: Vec::new(), payload: None },
        NewRecord { kind: 0, format: 0, body: vec![0; 100_000], payload: None },
    ];
    let at = Timestamp(u64::MAX);
    let id = stream(name);
    log.append(&[Append { stream: &id, expected: Expected::Any, at, records: &records }], &mut |_, _| {})
        .unwrap();
    settle(log).await;
    for (i, record) in records.iter().enumerate() {
        let position = Position(i as u64 + 1);
        let read = log.read_at(position).unwrap();
        let expected = Record {
            position,
            stream: id.clone(),
            version: position.0,
            at,
            kind: record.kind,
            format: record.format,
            body: record.body.clone().into(),
            payload: None,
        };
        assert_eq!(read, expected);
    }
}

pub(crate) async fn payloads_come_back_and_carry_their_digest(log: &impl EventLog) {
    let payloads = [&b"first"[..], b"", &[0; 5000], b"last"];
    let records: Vec<_> = payloads.iter().map(|p| with_payload("x", Bytes::copy_from_slice(p))).collect();
    append_to(log, "a", &records[..2]).unwrap();
    append_to(log, "a", &[record("without")]).unwrap();
    append_to(log, "a", &records[2..]).unwrap();
    settle(log).await;
    for (position, payload) in [1, 2, 4, 5].into_iter().zip(payloads) {
        let position = Position(position);
        let info = log.read_at(position).unwrap().payload.expect("it has a payload");
        assert_eq!((info.len as usize, info.digest), (payload.len(), Sha256::digest(payload).into()));
        assert_eq!(log.payload(position).unwrap().as_deref(), Some(payload));
    }
    assert_eq!(log.payload(Position(3)).unwrap(), None);
}

pub(crate) async fn reading_goes_on_at_any_position(log: &impl EventLog) {
    with_hundred(log).await;
    for from in 0..=101 {
        let records = log.read(Position(from), 1000, usize::MAX).unwrap();
        assert_eq!(records.len() as u64, 101 - from.max(1));
        assert!(records.iter().zip(from.max(1)..).all(|(record, position)| record.position.0 == position));
    }
    assert!(log.read(Position(5000), 10, 1000).unwrap().is_empty());
}

pub(crate) async fn reading_keeps_to_its_bounds(log: &impl EventLog) {
    let big = "x".repeat(1000);
    append_to(log, "a", &[record(&big), record(&big), record(&big)]).unwrap();
    settle(log).await;
    assert_eq!(log.read(Position(1), 2, usize::MAX).unwrap().len(), 2);
    assert_eq!(log.read(Position(1), 0, usize::MAX).unwrap().len(), 0);
    assert_eq!(log.read(Position(1), 10, 1).unwrap().len(), 1, "one at least, or nobody gets on");
    assert!(log.read(Position(1), 10, 1500).unwrap().len() <= 2);
}

pub(crate) async fn scanning_goes_on_at_any_position(log: &impl EventLog) {
    with_hundred(log).await;
    let all = scanned(log, Position::START);
    assert_eq!(all.len(), 100);
    for from in 1..=100 {
        assert_eq!(scanned(log, Position(from)), all[usize::try_from(from).unwrap() - 1..]);
    }
    assert!(scanned(log, Position(101)).is_empty());
}

pub(crate) async fn scanning_stops_when_told(log: &impl EventLog) {
    with_hundred(log).await;
    let mut seen = 0;
    let next = log.scan(Position(10), &mut |record| {
        seen += 1;
        record.position < Position(20)
    });
    assert_eq!((next.unwrap(), seen), (Position(21), 11));
}

pub(crate) async fn a_stream_is_read_by_version(log: &impl EventLog) {
    with_hundred(log).await;
    let id = stream("s/1");
    for from in [1, 2, 17, 33] {
        let records = log.read_stream(&id, from, 10).unwrap();
        assert_eq!(records.len() as u64, (34 - from).min(10));
        for (record, version) in records.iter().zip(from..) {
            assert_eq!((record.version, &record.stream), (version, &id));
            assert_eq!(record.body, (1 + 3 * (version - 1)).to_string());
        }
    }
    assert!(log.read_stream(&id, 34, 10).unwrap().is_empty());
    assert!(log.read_stream(&stream("nobody"), 1, 10).unwrap().is_empty());
}

pub(crate) async fn what_is_durable_can_be_read(log: &impl EventLog) {
    for i in 0..200 {
        append_to(log, "a", &[record(&i.to_string())]).unwrap();
        log.kick();
        let durable = log.watermark().get();
        if durable > Position::START {
            assert_eq!(log.read_at(durable).unwrap().position, durable);
            assert_eq!(scanned_len(log, durable), durable.0);
            assert!(log.read_stream(&stream("a"), durable.0, 1).unwrap().len() == 1);
        }
    }
    settle(log).await;
    assert_eq!(log.watermark().get(), log.tail());
}

fn scanned_len(log: &impl EventLog, at_least: Position) -> u64 {
    let mut last = Position::START;
    log.scan(Position(1), &mut |record| {
        assert_eq!(record.position, last.next());
        last = record.position;
        last < at_least
    })
    .unwrap();
    last.0
}

pub(crate) async fn what_is_not_durable_is_not_read(log: &impl EventLog) {
    for _ in 0..50 {
        append_to(log, "a", &[record("x")]).unwrap();
        let mut last = Position::START;
        log.scan(Position(1), &mut |record| {
            last = record.position;
            true
        })
        .unwrap();
        assert!(last <= log.watermark().get());
        log.kick();
    }
    settle(log).await;
}

pub(crate) async fn unknown_positions_are_not_found(log: &impl EventLog) {
    let not_found = |position| {
        let position = Position(position);
        assert!(matches!(log.read_at(position), Err(LogError::NotFound(p)) if p == position));
        assert!(matches!(log.payload(position), Err(LogError::NotFound(_))));
        assert!(matches!(log.chain_hash(position), Err(LogError::NotFound(_))));
    };
    not_found(0);
    not_found(1);
    append_to(log, "a", &[record("x")]).unwrap();
    settle(log).await;
    assert!(log.read_at(Position(1)).is_ok());
    not_found(0);
    not_found(2);
}

pub(crate) async fn the_floor_is_the_first_record(log: &impl EventLog) {
    assert_eq!(log.floor(), Position(1));
    with_hundred(log).await;
    assert_eq!(log.floor(), Position(1));
}

pub(crate) async fn the_chain_moves_with_every_batch(log: &impl EventLog) {
    append_to(log, "a", &[record("x")]).unwrap();
    settle(log).await;
    append_to(log, "a", &[record("x")]).unwrap();
    settle(log).await;
    let (one, two) = (log.chain_hash(Position(1)).unwrap(), log.chain_hash(Position(2)).unwrap());
    assert_ne!(one, two);
    append_to(log, "a", &[record("x")]).unwrap();
    settle(log).await;
    assert_eq!(log.chain_hash(Position(1)).unwrap(), one, "history does not move");
}

pub(crate) async fn a_closed_log_keeps_what_it_has_and_takes_no_more(log: &impl EventLog) {
    append_to(log, "a", &[record("1"), record("2")]).unwrap();
    log.close().unwrap();
    assert_eq!(log.watermark().get(), Position(2), "what was queued is written first");
    assert!(matches!(append_to(log, "a", &[record("3")]), Err(LogError::Closed { .. })));
    log.close().unwrap();
    assert_eq!(scanned(log, Position(1)).len(), 2);
    assert!(!log.watermark().failed());
}

pub(crate) async fn a_large_group_stays_whole(log: &impl EventLog) {
    append_to(log, "a", &[record("before")]).unwrap();
    let records: Vec<_> = (0..3000).map(|i| with_payload(&i.to_string(), i.to_string())).collect();
    let appended = append_to(log, "big", &records).unwrap();
    assert_eq!((appended.first, appended.last, appended.version), (Position(2), Position(3001), 3000));
    settle(log).await;
    assert_eq!(scanned(log, Position(2)).len(), 3000);
    assert_eq!(log.payload(Position(3001)).unwrap().as_deref(), Some(&b"2999"[..]));
    assert_eq!(log.chain_hash(Position(2)).unwrap(), log.chain_hash(Position(3001)).unwrap());
}

/// A backend may have no limit of its own (memory), but it never keeps a part.
pub(crate) async fn too_large_records_are_refused_or_kept(log: &impl EventLog) {
    let body = "x".repeat(2 * 1024 * 1024);
    match append_to(log, "a", &[record("small"), record(&body)]) {
        Ok(appended) => assert_eq!(appended.last, Position(2)),
        Err(LogError::TooLarge { .. }) => assert_eq!(log.tail(), Position(0)),
        Err(error) => panic!("{error}"),
    }
    settle(log).await;
}

pub(crate) async fn concurrent_appenders_keep_their_order(log: &impl EventLog) {
    const THREADS: u64 = 8;
    const EACH: u64 = 250;
    let order = parking_lot::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let order = &order;
            scope.spawn(move || {
                let own = stream(&format!("own/{thread}"));
                let shared = stream("shared");
                for i in 0..EACH {
                    let records = [with_payload(&i.to_string(), format!("{thread}/{i}"))];
                    let common = [record(&thread.to_string())];
                    let group = [
                        Append { stream: &own, expected: Expected::Version(i), at: T0, records: &records },
                        Append { stream: &shared, expected: Expected::Any, at: T0, records: &common },
                    ];
                    // `placed` runs while nobody else can append, so this order is the log's.
                    log.append(&group, &mut |_, appended| order.lock().push(appended.first.0)).unwrap();
                    match i % 16 {
                        0 => log.kick(),
                        8 => log.commit(),
                        _ => {}
                    }
                }
            });
        }
    });
    settle(log).await;
    let total = THREADS * EACH * 2;
    assert_eq!(order.into_inner(), (1..=total).collect::<Vec<_>>(), "placed in the order of positions");
    let all = scanned(log, Position(1));
    assert!(all.iter().map(|r| r.0).eq(1..=total), "gapless");
    for thread in 0..THREADS {
        let name = format!("own/{thread}");
        let own: Vec<_> = all.iter().filter(|r| r.1 == name).collect();
        assert!(own.iter().map(|r| r.2).eq(1..=EACH));
        assert!(own.iter().zip(0..EACH).all(|(r, i)| r.3 == i.to_string().into_bytes()));
        let last = Position(own.last().unwrap().0);
        assert_eq!(log.payload(last).unwrap().unwrap(), format!("{thread}/{}", EACH - 1));
    }
    assert_eq!(log.stream_version(&stream("shared")), THREADS * EACH);
}

pub(crate) async fn a_commit_does_at_least_what_a_kick_does(log: &impl EventLog) {
    for i in 1..=50 {
        append_to(log, "s/1", &[with_payload(&i.to_string(), "payload")]).unwrap();
        log.commit();
        let reached = tokio::time::timeout(PATIENCE, log.watermark().reached(Position(i))).await;
        assert!(reached.expect("the log became durable in time"), "the log failed");
    }
    assert_eq!(scanned(log, Position(1)).len(), 50);
    log.commit();
    assert_eq!(log.tail(), Position(50), "with nothing to write, nothing comes of it");
}
