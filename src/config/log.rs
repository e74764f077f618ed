//! `[log]`: the event log and its disk.

use super::{ConfigError, require};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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
}

impl Default for Log {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            store: Store::Embedded,
            segment_bytes: 64 << 20,
            free_bytes_min: 256 << 20,
        }
    }
}

impl Log {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { data_dir, segment_bytes, .. } = self;
        require(!data_dir.as_os_str().is_empty(), "log.data_dir", "must not be empty")?;
        let fits = (8 << 20..=1 << 30).contains(segment_bytes);
        require(fits, "log.segment_bytes", "must lie between 8 MiB and 1 GiB")
    }
}
