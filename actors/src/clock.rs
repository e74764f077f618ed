//! The one file that reads the time.
//!
//! The engine's own time is the wall clock at start plus what the monotonic clock has run since: a jump of the
//! wall clock neither fires, loses nor bunches retries. Signatures carry the wall clock as it is, because
//! receivers compare it with theirs.

use crate::domain::time::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Reads the time. Copies share their origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_wall: Timestamp,
    origin: Instant,
}

impl Clock {
    /// Starts at the wall clock's present, but never before `not_before`: the engine's time does not run
    /// backwards over a restart.
    #[must_use]
    pub fn start(not_before: Timestamp) -> Self {
        Self { origin_wall: wall().max(not_before), origin: Instant::now() }
    }

    /// The engine's time: for due times and for the log.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.origin_wall.plus(self.origin.elapsed())
    }

    /// How long until `at`; zero if it has passed.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        at.since(self.now())
    }
}

/// The wall clock: for signatures.
#[must_use]
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
