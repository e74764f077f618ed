//! `[supervision]`: restarts of parts.

use super::{ConfigError, require};
use serde::{Deserialize, Serialize};

/// Restarts of parts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Supervision {
    /// Restarts within the period before a part is given up.
    pub(crate) restarts_max: usize,
    /// The period.
    pub(crate) restart_period_seconds: u64,
    /// Wait before the first restart; doubles with each.
    pub(crate) restart_backoff_ms: u64,
    /// Longest wait before a restart.
    pub(crate) restart_backoff_max_ms: u64,
    /// A thread that does not turn for this long ends the process.
    pub(crate) watchdog_seconds: u64,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            restarts_max: 5,
            restart_period_seconds: 60,
            restart_backoff_ms: 100,
            restart_backoff_max_ms: 10_000,
            watchdog_seconds: 30,
        }
    }
}

impl Supervision {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { restart_backoff_ms, restart_backoff_max_ms, watchdog_seconds, .. } = self;
        require(
            restart_backoff_ms <= restart_backoff_max_ms,
            "supervision.restart_backoff_ms",
            format_args!(
                "is {restart_backoff_ms}, over `supervision.restart_backoff_max_ms` of {restart_backoff_max_ms}"
            ),
        )?;
        require(*watchdog_seconds > 0, "supervision.watchdog_seconds", "must be at least 1")
    }
}
