//! Takes snapshots beside the running engine: by folding the log, never by stopping a worker.

use crate::log::{
    EventLog, Position, replay,
    snapshot::{self, Snapshot},
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    thread,
    time::Duration,
};
use tracing::{info, warn};

/// A snapshot is due when the newest one is so many records old.
const EVERY: u64 = 500_000;

/// How often the log's length is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Starts the thread; it ends with the log.
pub(super) fn start(log: &Arc<dyn EventLog>, dir: PathBuf, newest: Position) {
    let log = Arc::downgrade(log);
    let spawned = thread::Builder::new().name("snapshots".into()).spawn(move || watch(&log, &dir, newest));
    if let Err(error) = spawned {
        warn!(%error, "no snapshots");
    }
}

fn watch(log: &Weak<dyn EventLog>, dir: &Path, mut newest: Position) {
    loop {
        thread::sleep(LOOK);
        let Some(log) = log.upgrade() else { return };
        let durable = log.watermark().get();
        if durable.0 < newest.0 + EVERY {
            continue;
        }
        match take(&*log, dir, durable) {
            Ok(position) => newest = position,
            Err(error) => {
                warn!(%error, "no snapshot taken");
                newest = durable; // not again at once
            }
        }
    }
}

/// Folds from the newest snapshot to `to` and stores the result.
fn take(log: &dyn EventLog, dir: &Path, to: Position) -> Result<Position, Box<dyn std::error::Error>> {
    let Snapshot { mut state, mut marks } = snapshot::load(dir, log).unwrap_or_default();
    let began = std::time::Instant::now();
    let after = state.position;
    replay::visit(log, after, to, &mut |position, at, fact| {
        marks.visit(position, at);
        state.evolve(position, at, &fact);
    })?;
    let position = state.position;
    snapshot::store(dir, log, &Snapshot { state, marks })?;
    info!(position = position.0, "took a snapshot in {:?}", began.elapsed());
    Ok(position)
}
