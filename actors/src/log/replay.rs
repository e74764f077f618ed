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

/// Folds one part of one pipeline, as a worker holds it: up to `dealt_at` its lanes were in one, then they were
/// dealt to `part.1` workers of which this is number `part.0`. `None` if there is no such pipeline.
pub fn worker(
    log: &dyn EventLog,
    id: &PipelineId,
    part: (u16, u16),
    dealt_at: Position,
    to: Position,
) -> Result<Option<(Pipeline, Position)>, ReplayError> {
    let mut pipeline = None;
    let mut dealt = false;
    visit(log, Position::START, to, &mut |position, _, fact| {
        if position > dealt_at && !std::mem::replace(&mut dealt, true) {
            pipeline = pipeline.take().map(|whole| deal(whole, part));
        }
        match (&fact, &mut pipeline) {
            (Fact::Pipeline(of, PipelineEvent::PipelineCreated { tenant, config, .. }), None) if of == id => {
                let whole = Pipeline::new(id.clone(), tenant.clone(), config.clone());
                pipeline = Some(if dealt { deal(whole, part) } else { whole });
            }
            (Fact::Pipeline(of, event), Some(pipeline)) if of == id => pipeline.evolve_config(event),
            (Fact::Lane(of, event), Some(pipeline)) if of == id => pipeline.evolve(event),
            (Fact::Accepted(_, accepted), Some(pipeline)) => {
                for route in accepted.routes.iter().filter(|route| route.pipeline == *id) {
                    pipeline.evolve_accepted(position, &accepted.resource, route);
                }
            }
            _ => {}
        }
    })?;
    if !dealt {
        pipeline = pipeline.map(|whole| deal(whole, part));
    }
    Ok(pipeline.map(|pipeline| (pipeline, to)))
}

fn deal(whole: Pipeline, (part, parts): (u16, u16)) -> Pipeline {
    whole.split(parts).swap_remove(usize::from(part))
}
