//! `[intake]`: what may be accepted at once, and how long ids are remembered.

use super::{ConfigError, require};
use serde::{Deserialize, Serialize};

/// What may be accepted at once, and how long ids are remembered.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Intake {
    /// Events that may be under way between a request and the disk.
    pub(crate) events_max: usize,
    /// Bytes that may be under way between a request and the disk.
    pub(crate) bytes_max: usize,
    /// How long an accepted event id is remembered.
    pub(crate) dedup_window_seconds: u64,
    /// How many accepted ids are remembered per tenant.
    pub(crate) dedup_ids_max: u64,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            events_max: 100_000,
            bytes_max: 256 << 20,
            dedup_window_seconds: 86_400,
            dedup_ids_max: 10_000_000,
        }
    }
}

impl Intake {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        require(self.events_max >= 1000, "intake.events_max", "must hold a batch of 1000 events")?;
        require(self.bytes_max >= 1 << 20, "intake.bytes_max", "must be at least 1 MiB")?;
        let none = "must be at least 1: without it every event that is sent twice is delivered twice";
        require(self.dedup_ids_max >= 1, "intake.dedup_ids_max", none)?;
        require(self.dedup_window_seconds >= 1, "intake.dedup_window_seconds", none)
    }
}
