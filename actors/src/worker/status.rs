//! What is known of a worker from outside: counters that it keeps, and the state that its supervisor sets.

use crate::{domain::id::LaneKey, log::Position};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

/// After so many panics over the same delivery it is put aside (SUP.3).
const STRIKES_MAX: u8 = 3;

/// State of a supervised part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Health {
    /// It works.
    Running = 0,
    /// It panicked and will be back.
    Restarting = 1,
    /// It was given up.
    Failed = 2,
}

impl Health {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
        }
    }
}

/// Shared by a worker, its supervisor and whoever asks.
#[derive(Debug, Default)]
pub struct WorkerStatus {
    health: AtomicU8,
    /// Restarts since the process began.
    pub restarts: AtomicU64,
    /// Messages on their way to it.
    pub depth: AtomicU64,
    /// Attempts under way.
    pub in_flight: AtomicU64,
    reason: Mutex<Option<String>>,
    /// The delivery that it is busy with, so that a panic has a culprit.
    suspect: Mutex<Option<(LaneKey, Position)>>,
    strikes: Mutex<HashMap<Position, u8>>,
}

impl WorkerStatus {
    /// The state that the supervisor set.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Acquire) {
            0 => Health::Running,
            1 => Health::Restarting,
            _ => Health::Failed,
        }
    }

    /// For the supervisor.
    pub fn set_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::Release);
    }

    /// Why the last restart was needed.
    #[must_use]
    pub fn last_reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }

    /// For the supervisor.
    pub fn set_reason(&self, reason: &str) {
        *self.reason.lock() = Some(reason.to_owned());
    }

    /// The worker begins with a delivery.
    pub fn suspect(&self, lane: LaneKey, event: Position) {
        *self.suspect.lock() = Some((lane, event));
    }

    /// It is through with it.
    pub fn clear_suspect(&self) {
        *self.suspect.lock() = None;
    }

    /// The delivery that the last life was busy with when it ended.
    pub fn take_culprit(&self) -> Option<(LaneKey, Position)> {
        self.suspect.lock().take()
    }

    /// Counts a panic over `event`; true if it was one too many.
    pub fn strike(&self, event: Position) -> bool {
        let mut strikes = self.strikes.lock();
        let count = strikes.entry(event).or_default();
        *count += 1;
        let out = *count >= STRIKES_MAX;
        if out {
            strikes.remove(&event);
        }
        out
    }
}
