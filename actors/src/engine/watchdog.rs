//! A thread beside all others that notices when one of them no longer turns. A frozen arbiter cannot be killed,
//! so the process ends with a clear message and is started again from the log. One that waits for a disk that stalls
//! is not frozen: a new start would wait for it, too.

use crate::{log::EventLog, worker::hub::Hub};
use parking_lot::Mutex;
use std::{
    sync::{Arc, Weak, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};
use tracing::{error, warn};

/// Exit code of a process that its watchdog ended.
const EXIT_FROZEN: i32 = 71;

/// A core that has not turned for this long is told in the health answer; so is a write that takes longer.
pub(super) const STALL: Duration = Duration::from_secs(4);

/// A write that takes longer explains why a core stands still (decision 0020).
const SLOW: Duration = Duration::from_millis(500);

/// How often the cores are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Whether a sleep of [`LOOK`] took so long that this thread did not turn either: a SIGSTOP, a machine that slept.
fn is_late(slept: Duration) -> bool {
    slept > LOOK + STALL / 2
}

/// What stands still now.
#[derive(Debug, Default)]
pub(crate) struct Stalls(Mutex<Vec<String>>);

impl Stalls {
    /// One line for each core that stands still.
    pub(crate) fn list(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

/// Whether the log waits for the disk, and with it perhaps a core that commits.
fn disk_stalls(log: &Weak<dyn EventLog>) -> bool {
    log.upgrade().and_then(|log| log.writing_for()).is_some_and(|time| time > SLOW)
}

/// Watches the cores until the last of them is gone, and tells which stand still.
pub(crate) fn start(hubs: Vec<Arc<Hub>>, log: Weak<dyn EventLog>, limit: Duration) -> Arc<Stalls> {
    let stalls = Arc::<Stalls>::default();
    let told = Arc::clone(&stalls);
    let watch = move || {
        let mut seen: Vec<_> =
            hubs.iter().map(|hub| (hub.beats.load(Ordering::Relaxed), Instant::now())).collect();
        // The last reference is ours when the engine has stopped.
        while hubs.iter().any(|hub| Arc::strong_count(hub) > 1) {
            let asleep = Instant::now();
            thread::sleep(LOOK);
            let mut standing = Vec::new();
            let disk_stalls = disk_stalls(&log);
            let was_stopped = is_late(asleep.elapsed());
            if was_stopped {
                warn!("the process stood still for {:?}: stopped, or the machine was", asleep.elapsed());
            }
            for (core, (hub, (beats, since))) in hubs.iter().zip(&mut seen).enumerate() {
                let now = hub.beats.load(Ordering::Relaxed);
                if now != *beats || disk_stalls || was_stopped {
                    (*beats, *since) = (now, Instant::now());
                } else if since.elapsed() > limit {
                    error!(core, "engine thread has not turned for {:?}, the process ends", since.elapsed());
                    std::process::exit(EXIT_FROZEN);
                } else if since.elapsed() > STALL {
                    warn!(core, "engine thread has not turned for {:?}", since.elapsed());
                    standing.push(format!("core {core} has not turned for {} s", since.elapsed().as_secs()));
                }
            }
            *told.0.lock() = standing;
        }
    };
    if let Err(error) = thread::Builder::new().name("watchdog".into()).spawn(watch) {
        warn!(%error, "no watchdog");
    }
    stalls
}
