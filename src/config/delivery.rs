//! `[delivery]`: the sending side.

use super::{ConfigError, require};
use ledgerhook_actors::delivery::client::Kind;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The sending side.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Delivery {
    /// Threads that own lanes and deliver; 0 takes one per core.
    pub(crate) cores: usize,
    /// Requests in flight in all.
    pub(crate) concurrency: usize,
    /// Requests in flight to one host.
    pub(crate) concurrency_per_host: usize,
    /// Open dead letters of one pipeline.
    pub(crate) dead_letters_max: usize,
    /// Who keeps the connections to receivers: `direct` or `awc`.
    pub(crate) transport: Kind,
    /// Accept `http://` targets for profiles that permit it.
    pub(crate) allow_http: bool,
    /// What may be dialled beyond public addresses: `ADDR_OR_CIDR[:PORT]`.
    pub(crate) egress_allow: Vec<String>,
    /// What may not, whatever else is said: `ADDR_OR_CIDR[:PORT]`.
    pub(crate) egress_deny: Vec<String>,
    /// PEM files with roots to trust beside the system's.
    pub(crate) tls_roots: Vec<PathBuf>,
    /// What `{{env.NAME}}` may resolve: `NAME[@HOST]`.
    pub(crate) template_env: Vec<String>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            cores: 0,
            concurrency: 1024,
            concurrency_per_host: 16,
            dead_letters_max: 100_000,
            transport: Kind::default(),
            allow_http: false,
            egress_allow: Vec::new(),
            egress_deny: Vec::new(),
            tls_roots: Vec::new(),
            template_env: Vec::new(),
        }
    }
}

impl Delivery {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { cores, concurrency, concurrency_per_host, tls_roots, .. } = self;
        require(*cores <= 1024, "delivery.cores", "is over the limit of 1024")?;
        require(*concurrency_per_host > 0, "delivery.concurrency_per_host", "must be at least 1")?;
        require(
            concurrency_per_host <= concurrency,
            "delivery.concurrency_per_host",
            format_args!("is {concurrency_per_host}, over `delivery.concurrency` of {concurrency}"),
        )?;
        require(self.dead_letters_max > 0, "delivery.dead_letters_max", "must be at least 1")?;
        let missing = tls_roots.iter().find(|path| !path.is_file());
        let name = missing.map(|path| path.display().to_string()).unwrap_or_default();
        require(missing.is_none(), "delivery.tls_roots", format_args!("`{name}` is no file"))
    }
}
