//! Takes snapshots beside the running engine: by folding the log, never by stopping a worker.

use crate::log::{
    EventLog, Position, replay,
    snapshot::{self, Snapshot},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// A snapshot is due when the newest one is so many records old.
const EVERY: u64 = 500_000;

/// Between two there are at least so many times the one's own time: with millions of deliveries waiting it is many
/// seconds.
const REST: u32 = 9;

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
    let mut rests_until = Instant::now();
    loop {
        thread::sleep(LOOK);
        let Some(log) = log.upgrade() else { return };
        let durable = log.watermark().get();
        let began = Instant::now();
        if durable.0 < newest.0 + EVERY || began < rests_until {
            continue;
        }
        // On a thread that ends with it: what an allocator keeps for a thread that sleeps, nobody gets back.
        let taken = thread::scope(|scope| {
            let work = || take(&*log, dir, durable);
            let thread = thread::Builder::new().name("snapshot".into()).spawn_scoped(scope, work)?;
            thread.join().map_err(|_| io::Error::other("the thread that took it panicked"))?
        });
        match taken {
            Ok(position) => newest = position,
            Err(error) => {
                warn!(%error, "no snapshot taken");
                newest = durable; // not again at once
            }
        }
        rests_until = Instant::now() + began.elapsed() * REST;
    }
}

/// Folds from the newest snapshot to `to` and stores the result.
fn take(log: &dyn EventLog, dir: &Path, to: Position) -> io::Result<Position> {
    let began = Instant::now();
    let Snapshot { mut state, mut marks } = snapshot::load(dir, log).unwrap_or_default();
    let after = state.position;
    replay::visit(log, after, to, &mut |position, at, fact| {
        marks.visit(position, at);
        state.evolve(position, at, &fact);
    })
    .map_err(io::Error::other)?;
    let position = state.position;
    snapshot::store(dir, log, &Snapshot { state, marks })?;
    info!(position = position.0, "took a snapshot in {:?}", began.elapsed());
    Ok(position)
}
