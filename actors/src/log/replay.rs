//! Folds the log into a state: at start, for an audit, for one worker after a panic.

use super::{
    EventLog, LogError, Position,
    codec::{self, CodecError},
};
use crate::domain::{
    event::{Fact, PipelineEvent},
    id::PipelineId,
    pipeline::Pipeline,
    state::State,
    time::Timestamp,
};
use std::sync::Arc;

/// Why a fold stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record is no fact.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Visits every durable fact behind `after`, up to and including `to`.
pub fn visit(
    log: &dyn EventLog,
    after: Position,
    to: Position,
    each: &mut dyn FnMut(Position, Timestamp, Fact),
) -> Result<Position, ReplayError> {
    let mut failed = None;
    let mut reached = after;
    log.scan(after.next(), &mut |record| {
        if record.position > to {
            return false;
        }
        match codec::decode(&record) {
            Ok(fact) => {
                each(record.position, record.at, fact);
                reached = record.position;
                true
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    })?;
    failed.map_or(Ok(reached), |error| Err(error.into()))
}

/// Folds everything behind `state.position`, up to and including `to`, into `state`.
pub fn fold(log: &dyn EventLog, mut state: State, to: Position) -> Result<State, ReplayError> {
    let after = state.position;
    visit(log, after, to, &mut |position, at, fact| state.evolve(position, at, &fact))?;
    Ok(state)
}

/// Folds everything that has been appended, beside the calling thread: what an actor does that lost its state.
/// `None` if the log cannot be folded.
pub async fn again(log: Arc<dyn EventLog>) -> Option<State> {
    let tail = log.tail();
    log.kick();
    log.watermark().reached(tail).await;
    beside(move || fold(&*log, State::default(), tail)).await?.ok()
}

/// Folds beside the calling thread, whose other work goes on; `None` if the fold panics.
///
/// The tests of this crate fold where they are: what a seed does must not depend on how quick another thread is.
pub(crate) async fn beside<T: Send + 'static>(fold: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if cfg!(test) { Some(fold()) } else { tokio::task::spawn_blocking(fold).await.ok() }
}

/// Folds one part of one pipeline, as a worker holds it. `None` if there is no such pipeline.
pub fn worker(
    log: &dyn EventLog,
    id: &PipelineId,
    (part, parts): (u16, u16),
    to: Position,
) -> Result<Option<Pipeline>, ReplayError> {
    let mut pipeline = None;
    visit(log, Position::START, to, &mut |position, _, fact| match (&fact, &mut pipeline) {
        (Fact::Pipeline(of, PipelineEvent::PipelineCreated { tenant, config, .. }), None) if of == id => {
            pipeline = Some(Pipeline::new(id.clone(), tenant.clone(), config.clone()));
        }
        (Fact::Pipeline(of, event), Some(pipeline)) if of == id => pipeline.evolve_config(event),
        (Fact::Lane(of, event), Some(pipeline)) if of == id => pipeline.evolve(event),
        (Fact::Accepted(_, accepted), Some(pipeline)) => {
            for route in accepted.routes.iter().filter(|route| route.pipeline == *id) {
                pipeline.evolve_accepted(position, &accepted.resource, route);
            }
        }
        _ => {}
    })?;
    Ok(pipeline.map(|whole| whole.split(parts).swap_remove(usize::from(part))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            event::{Accepted, LaneEvent, Route},
            id::LaneKey,
            state::DeliveryCounts,
            testing::{operator, pipe, tenant, tries},
        },
        log::{Append, Expected, NewRecord, memory::MemoryLog},
    };

    fn write(log: &MemoryLog, record: NewRecord, fact: &Fact) {
        let (stream, at) = (codec::stream_of(fact), Timestamp(1));
        let append = Append { stream: &stream, expected: Expected::Any, at, records: &[record] };
        log.append(&[append], &mut |_, _| {}).unwrap();
        log.kick();
    }

    fn accepted(event: u64, resource: &str) -> Fact {
        let routes = vec![Route { pipeline: pipe(), version: 1, skipped: false }];
        let id = format!("evt_{event}").into();
        let (event_type, resource) = ("conversion.created".into(), resource.into());
        Fact::Accepted(tenant(), Accepted { id, event_type, resource, routes, moment: None })
    }

    /// A pipeline with forty lanes of two deliveries; those of every other lane are called off.
    fn story() -> MemoryLog {
        let log = MemoryLog::new();
        let created = PipelineEvent::PipelineCreated { tenant: tenant(), config: tries(3), by: operator() };
        let mut facts = vec![Fact::Pipeline(pipe(), created)];
        facts.extend((2..=81).map(|event| accepted(event, &format!("r{}", event % 40))));
        facts.extend((2..=81).step_by(2).map(|event| {
            let (resource, by) = (format!("r{}", event % 40).into(), operator());
            Fact::Lane(pipe(), LaneEvent::DeliveryCancelled { event: Position(event), resource, by })
        }));
        for fact in &facts {
            write(&log, codec::encode(fact), fact);
        }
        log
    }

    fn counts(state: &State) -> DeliveryCounts {
        DeliveryCounts::of(&state.pipelines[&pipe()])
    }

    /// I21: in one go, in two, and as far as asked.
    #[test]
    fn a_fold_stops_where_it_is_told_and_goes_on_from_there() {
        let log = story();
        let all = fold(&log, State::default(), log.tail()).unwrap();
        assert_eq!((all.position, all.events), (Position(121), 80));
        assert_eq!((counts(&all).queued, counts(&all).cancelled), (40, 40));
        let half = fold(&log, State::default(), Position(81)).unwrap();
        assert_eq!((half.position, counts(&half).queued), (Position(81), 80));
        assert_eq!(fold(&log, half, log.tail()).unwrap().summary(), all.summary());
    }

    /// SUP.2, I21: wherever its lanes were dealt out, a worker comes back with what it held.
    #[test]
    fn a_part_is_a_function_of_the_log() {
        let log = story();
        let whole = fold(&log, State::default(), log.tail()).unwrap().pipelines[&pipe()].clone();
        for (number, part) in (0..3).zip(whole.split(3)) {
            let worker = worker(&log, &pipe(), (number, 3), log.tail()).unwrap().unwrap();
            assert_eq!(
                (worker.digest(), DeliveryCounts::of(&worker)),
                (part.digest(), DeliveryCounts::of(&part))
            );
        }
        let nobody = worker(&log, &PipelineId::new("pipe_b"), (0, 1), log.tail()).unwrap();
        assert!(nobody.is_none());
    }

    /// I23: a record that is no fact stops the fold, and names itself.
    #[test]
    fn a_fold_stops_at_a_record_that_is_no_fact() {
        let log = story();
        let odd = NewRecord { kind: 99, format: 1, body: vec![1], payload: None };
        write(&log, odd, &accepted(1, "r"));
        let error = fold(&log, State::default(), log.tail()).unwrap_err();
        assert_eq!(error.to_string(), "record 122: kind 99 in format 1 is not known to this version");
        assert!(fold(&log, State::default(), Position(121)).is_ok());
    }

    /// I20, SUP.3: lanes are dealt by their resource alone.
    #[test]
    fn every_lane_lies_in_exactly_one_part() {
        for parts in [1, 2, 3, 7, 16, 300] {
            let key = LaneKey::of("conversion:c1");
            assert!(key.part(parts) < parts);
        }
        assert_eq!(LaneKey::of("x").part(0), 0, "no part is one part");
    }
}
