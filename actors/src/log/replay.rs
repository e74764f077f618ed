//! Folds the log into a state: at start, for an audit, for one worker after a panic.

use super::{
    EventLog, LogError, Position,
    codec::{self, CodecError},
};
use crate::domain::{event::Fact, state::State, time::Timestamp};

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
