//! `[log]`: the event log and its disk.

use super::{ConfigError, require};
use ledgerhook_actors::engine::Limits;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// A hundred years.
const DAYS_MAX: u64 = 36_500;

/// Where the log can be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Store {
    /// In the data folder, nothing beside it.
    #[default]
    Embedded,
}

/// The event log and its disk.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// Where the log is kept.
    pub(crate) store: Store,
    /// Size of one segment.
    pub(crate) segment_bytes: u64,
    /// New work is refused when less than this is free on the disk.
    pub(crate) free_bytes_min: u64,
    /// Payloads older than this go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload_days: Option<u64>,
    /// Above this size of the log, the oldest payloads go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_max: Option<u64>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            store: Store::Embedded,
            segment_bytes: 64 << 20,
            free_bytes_min: 256 << 20,
            payload_days: None,
            bytes_max: None,
        }
    }
}

impl Log {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { data_dir, segment_bytes, payload_days, bytes_max, .. } = self;
        require(!data_dir.as_os_str().is_empty(), "log.data_dir", "must not be empty")?;
        let fits = (8 << 20..=1 << 30).contains(segment_bytes);
        require(fits, "log.segment_bytes", "must lie between 8 MiB and 1 GiB")?;
        let fits = payload_days.is_none_or(|days| (1..=DAYS_MAX).contains(&days));
        require(
            fits,
            "log.payload_days",
            "must lie between 1 and 36500; leave it out to keep payloads for ever",
        )?;
        // One is written, one lies ready, and one is there to let go.
        let least = segment_bytes.saturating_mul(3);
        let problem = format!(
            "must be three segments of `log.segment_bytes` at least, {least}; leave it out for no limit"
        );
        require(bytes_max.is_none_or(|max| max >= least), "log.bytes_max", problem)
    }

    /// What the log keeps to.
    pub(super) fn retention(&self) -> Limits {
        let payload_age = self.payload_days.map(|days| Duration::from_hours(days * 24));
        Limits { payload_age, bytes_max: self.bytes_max }
    }
}
