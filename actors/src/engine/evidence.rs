//! What lies beside the log and was folded from it: proof of how far the log once went.
//!
//! Whoever folds the log reads only what is durable. If read models, a snapshot or the place of the notices are further
//! than the log, then it has lost records that were acknowledged, and a start would go on without them (I23).

use super::{EngineConfig, EngineError};
use crate::{
    log::{EventLog, Position, segment::SegmentLog, snapshot},
    notices,
    projections::{ProjectionError, Projections, ProjectionsThread},
};
use std::{path::Path, sync::Arc};

/// Refuses to make a new log beside what was folded from one.
pub(super) fn check_there_is_a_log(config: &EngineConfig) -> Result<(), EngineError> {
    let log = config.log_dir();
    if SegmentLog::is_in(&log)? {
        return Ok(());
    }
    let beside = [
        (Projections::are_in(&config.projections_dir()), config.projections_dir()),
        (snapshot::newest(&config.snapshots_dir()).is_some(), config.snapshots_dir()),
        (notices::kept_at(&config.notices_file()).is_some(), config.notices_file()),
    ];
    match beside.iter().find(|(is_there, _)| *is_there) {
        Some((_, path)) => {
            let what =
                format!("there is no log in `{}`, yet `{}` was made from one", log.display(), path.display());
            Err(lost(&config.data_dir, &what))
        }
        None => Ok(()),
    }
}

/// Starts the read models, and refuses a log that ends before what was folded from it. In a copy that was taken while an
/// engine ran, what was copied last may be younger than the log.
pub(super) fn start_read_models(
    config: &EngineConfig,
    log: &Arc<dyn EventLog>,
) -> Result<(Projections, ProjectionsThread), EngineError> {
    let path = config.projections_dir();
    let started = Projections::start(Arc::clone(log), &path).map_err(|error| match error {
        ProjectionError::Ahead { folded, durable } => ahead(config, &path, folded, durable),
        _ => EngineError::Setup(error.to_string()),
    })?;
    let durable = log.watermark().get();
    let others = [
        (snapshot::newest(&config.snapshots_dir()), config.snapshots_dir()),
        (notices::kept_at(&config.notices_file()), config.notices_file()),
    ];
    for (position, path) in others {
        if let Some(folded) = position.filter(|position| *position > durable && !started.0.was_copied()) {
            return Err(ahead(config, &path, folded, durable));
        }
    }
    Ok(started)
}

fn ahead(config: &EngineConfig, path: &Path, folded: Position, durable: Position) -> EngineError {
    let what = format!(
        "the log in `{}` ends at position {durable}, yet `{}` was made from it up to position {folded}",
        config.log_dir().display(),
        path.display(),
    );
    lost(&config.data_dir, &what)
}

fn lost(data_dir: &Path, what: &str) -> EngineError {
    EngineError::Setup(format!(
        "records that were acknowledged are missing: {what}. Put the log back as it was. If what is missing is to be \
         given up, move `projections`, `snapshots` and `notices` out of `{}`, and start again",
        data_dir.display()
    ))
}
