//! Facts to bytes and back, and the batches that they stand in.

use crate::{Run, fixture};
use bytes::Bytes;
use ledgerhook_actors::{
    domain::{
        event::{
            Accepted, AttemptId, End, Fact, LaneEvent, Next, Outcome, Queue, Route, StepResult, Verdict,
        },
        id::LaneKey,
        outcome::OutcomeClass,
    },
    log::{
        Append, Expected, NewRecord, Position, RecordRef, StreamId, codec,
        segment::{decode_any, seal_any},
    },
};
use std::hint::black_box;

/// Events in a batch: as many as share a sync under load.
const EVENTS: usize = 32;

fn accepted() -> Fact {
    let routes = vec![Route { pipeline: fixture::pipeline(1), version: 1, skipped: false }];
    let (id, event_type) = (fixture::EVENT_ID.into(), fixture::EVENT_TYPE.into());
    let accepted = Accepted { id, event_type, resource: fixture::RESOURCE.into(), routes, moment: None };
    Fact::Accepted(fixture::tenant(), accepted)
}

fn attempt() -> AttemptId {
    let (lane, event) = (LaneKey::of(fixture::RESOURCE), Position(123_456));
    AttemptId { lane, event, round: 1, number: 1 }
}

fn started() -> LaneEvent {
    LaneEvent::AttemptStarted { attempt: attempt(), step: 0, queue: Queue::Primary, transport: 1 }
}

fn ended() -> LaneEvent {
    let outcome = Outcome {
        class: OutcomeClass::Success,
        status: Some(200),
        detail: "".into(),
        phases_us: [None, None, None, Some(1_234), Some(56)],
        total_us: 1_290,
    };
    let verdict = Verdict {
        step: Some(StepResult::Succeeded),
        next: Next::End(End::Delivered),
        version: 1,
        tries: (1, 0),
        halt: false,
        stopped: false,
    };
    LaneEvent::AttemptEnded { attempt: attempt(), step: 0, queue: Queue::Primary, outcome, verdict }
}

fn decode(stream: &'static str, record: NewRecord) -> Run {
    Box::new(move || {
        let NewRecord { kind, format, ref body, .. } = record;
        let (position, at) = (Position(123_456), fixture::NOW);
        let record = RecordRef { position, stream, version: 1, at, kind, format, body, payload: None };
        drop(black_box(codec::decode(black_box(&record)).expect("a fact")));
    })
}

pub(crate) fn encode_accepted() -> Run {
    let fact = accepted();
    Box::new(move || drop(black_box(codec::encode(black_box(&fact)))))
}

pub(crate) fn decode_accepted() -> Run {
    decode("intake/tenant_abc123", codec::encode(&accepted()))
}

pub(crate) fn encode_attempt() -> Run {
    let event = ended();
    Box::new(move || drop(black_box(codec::encode_lane(black_box(&event)))))
}

pub(crate) fn decode_attempt() -> Run {
    decode("pipeline/pipe_00000001", codec::encode_lane(&ended()))
}

/// Calls `use_it` with what so many deliveries append: the event, and an attempt's two facts. The payload is short, for
/// its hash would count for more than all the rest.
fn with_batch<T>(use_it: impl FnOnce(&[Append<'_>]) -> T) -> T {
    let payload = Some(Bytes::from_static(b"{}"));
    let (intake, lanes) = (StreamId::new("intake/tenant_abc123"), StreamId::new("pipeline/pipe_00000001"));
    let accepted = [NewRecord { payload, ..codec::encode(&accepted()) }];
    let attempts = [codec::encode_lane(&ended()), codec::encode_lane(&started())];
    let (expected, at) = (Expected::Any, fixture::NOW);
    let event = || {
        [
            Append { stream: &intake, expected, at, records: &accepted },
            Append { stream: &lanes, expected, at, records: &attempts },
        ]
    };
    use_it(&(0..EVENTS).flat_map(|_| event()).collect::<Vec<_>>())
}

/// The facts that stand in it are made anew each time: little beside the hashes.
pub(crate) fn seal_batch() -> Run {
    Box::new(|| drop(with_batch(|appends| black_box(seal_any(black_box(appends))))))
}

pub(crate) fn read_batch() -> Run {
    let batch = with_batch(seal_any);
    assert_eq!(decode_any(&batch), Ok(3 * EVENTS));
    Box::new(move || assert!(decode_any(black_box(&batch)).is_ok()))
}
