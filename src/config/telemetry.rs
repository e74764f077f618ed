//! `[telemetry]`: the process's own log lines.

use serde::{Deserialize, Serialize};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// For people.
    #[default]
    Pretty,
    /// For machines: one object a line.
    Json,
}

/// The process's own log lines.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// How they look.
    pub(crate) format: Format,
    /// Which are written: `info`, `ledgerhook=debug,info` …
    pub(crate) filter: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { format: Format::Pretty, filter: "info,actix_server=warn,actix_http=off".into() }
    }
}
