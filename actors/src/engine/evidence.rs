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
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Refuses to make a new log beside what was folded from one.
pub(super) fn check_there_is_a_log(config: &EngineConfig) -> Result<(), EngineError> {
    let log = config.log_dir();
    if SegmentLog::is_in(&log)? {
        return Ok(());
    }
    let models = config.projections_dir();
    let models = Projections::are_in(&models).then_some(models);
    let mut others = beside(config).into_iter().filter_map(|(position, path)| position.map(|_| path));
    match models.or_else(|| others.next()) {
        Some(path) => {
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
    if started.0.was_copied() {
        return Ok(started);
    }
    let durable = log.watermark().get();
    for (position, path) in beside(config) {
        if let Some(folded) = position.filter(|position| *position > durable) {
            return Err(ahead(config, &path, folded, durable));
        }
    }
    Ok(started)
}

/// How far what lies beside log and read models was folded, where it is there.
fn beside(config: &EngineConfig) -> [(Option<Position>, PathBuf); 2] {
    let (snapshots, notices) = (config.snapshots_dir(), config.notices_file());
    [(snapshot::newest(&snapshots), snapshots), (notices::kept_at(&notices), notices)]
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
