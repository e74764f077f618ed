//! The thread that keeps the read models: waits for durable records, folds a window of them, writes once.

use super::{Generation, ProjectionError, Shared, fold::Fold, store::Store};
use crate::log::{Follower, Position, Unpark, codec};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

/// At most one write in this time, unless a reader waits …
const WINDOW: Duration = Duration::from_millis(50);
/// … for whom it may be this short …
const WINDOW_WANTED: Duration = Duration::from_millis(4);
/// … or so many records are there already. Also the most that one write takes.
const RECORDS_MAX: u64 = 16_384;

/// Failures in a row before the read models are built anew.
const FAILURES_MAX: u32 = 3;

/// The thread's whole life.
pub(super) fn run(shared: &Shared) {
    let mut failures = 0;
    while !shared.stopping.load(Ordering::Acquire) {
        let ended = catch_unwind(AssertUnwindSafe(|| follow(shared, &mut failures)));
        let problem = match ended {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the projections thread panicked".into(),
        };
        failures += 1;
        tracing::error!(failures, "read models have stopped: {problem}");
        *shared.problem.lock() = Some(problem);
        thread::park_timeout(Duration::from_millis(100) * 2_u32.saturating_pow(failures.min(8)));
        if failures >= FAILURES_MAX || shared.damaged.load(Ordering::Acquire) {
            begin_anew(shared);
        }
    }
}

fn begin_anew(shared: &Shared) {
    let generation = Store::create(&shared.dir).and_then(Generation::new);
    match generation {
        Ok(generation) => {
            shared.generation.store(Arc::new(generation));
            shared.damaged.store(false, Ordering::Release);
        }
        Err(error) => tracing::error!(%error, "read models cannot be built anew"),
    }
}

/// Follows the log until it is told to stop, or something fails.
fn follow(shared: &Shared, failures: &mut u32) -> Result<(), ProjectionError> {
    let generation = shared.generation.load_full();
    let follower = shared.log.watermark().follow();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut fold = Fold::resume(Arc::clone(&generation.store))?;
    let mut written = None;
    if fold.position() >= shared.log.watermark().get() {
        generation.complete.store(true, Ordering::Release);
    }
    while wait(shared, &follower, &waker, fold.position(), written) {
        portion(shared, &mut fold)?;
        fold.write(shared.log.chain_hash(fold.position())?)?;
        written = Some(Instant::now());
        generation.progress.advance(fold.position());
        if fold.position() >= shared.log.watermark().get() {
            generation.complete.store(true, Ordering::Release);
        }
        if std::mem::take(failures) > 0 {
            *shared.problem.lock() = None;
        }
    }
    if shared.damaged.load(Ordering::Acquire) {
        return Err(super::StoreError::Damaged(postcard::Error::DeserializeBadEncoding).into());
    }
    Ok(())
}

/// Sleeps until it is time for a write; false if there shall be none.
fn wait(
    shared: &Shared,
    follower: &Follower,
    waker: &Waker,
    position: Position,
    written: Option<Instant>,
) -> bool {
    loop {
        if shared.stopping.load(Ordering::Acquire) || shared.damaged.load(Ordering::Acquire) {
            return false;
        }
        let durable = shared.log.watermark();
        let waiting =
            follower.poll_reached(durable, position.next(), &mut Context::from_waker(waker)).is_pending();
        let behind = durable.get().0.saturating_sub(position.0);
        if waiting || behind == 0 {
            // A failed log wakes everyone and brings nothing: then only a stop is awaited.
            thread::park_timeout(Duration::from_mins(1));
            continue;
        }
        let wanted = shared.wanted.load(Ordering::Acquire) > position.0;
        let window = if wanted { WINDOW_WANTED } else { WINDOW };
        let due = written.map_or(Duration::ZERO, |at| window.saturating_sub(at.elapsed()));
        if due.is_zero() || behind >= RECORDS_MAX {
            return true;
        }
        thread::park_timeout(due);
    }
}

/// Folds the next durable records.
fn portion(shared: &Shared, fold: &mut Fold) -> Result<(), ProjectionError> {
    let from = fold.position().next().max(shared.log.floor());
    let mut failed = None;
    let mut left = RECORDS_MAX;
    shared.log.scan(from, &mut |record| {
        let folded = codec::decode_ref(&record)
            .map_err(ProjectionError::from)
            .and_then(|fact| Ok(fold.evolve(record.position, record.at, fact)?));
        left -= 1;
        folded.map_err(|error| failed = Some(error)).is_ok() && left > 0
    })?;
    failed.map_or(Ok(()), Err)
}
