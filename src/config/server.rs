//! `[server]`: the HTTP side.

use super::{ConfigError, require};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The HTTP side.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// Where to listen; port 0 picks one.
    pub(crate) listen: SocketAddr,
    /// Where the receiver for first steps listens, if there is to be one; on loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inbox: Option<SocketAddr>,
    /// Threads that read and answer requests; 0 takes one per two cores.
    pub(crate) workers: usize,
    /// Connections held open per worker; more wait to be accepted.
    pub(crate) connections_max: usize,
    /// How long a request head may take to arrive.
    pub(crate) head_timeout_seconds: u64,
    /// How long an idle connection stays open.
    pub(crate) keep_alive_seconds: u64,
    /// How long attempts in flight may take to end when the process is told to stop.
    pub(crate) shutdown_grace_seconds: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            inbox: None,
            workers: 0,
            connections_max: 16_384,
            head_timeout_seconds: 5,
            keep_alive_seconds: 75,
            shutdown_grace_seconds: 30,
        }
    }
}

impl Server {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let private = self.inbox.is_none_or(|inbox| inbox.ip().is_loopback());
        require(private, "server.inbox", "must be a loopback address")?;
        require(self.workers <= 1024, "server.workers", "is over the limit of 1024")?;
        require(self.connections_max > 0, "server.connections_max", "must be at least 1")?;
        require(self.head_timeout_seconds > 0, "server.head_timeout_seconds", "must be at least 1")
    }

    /// `workers`, or what it stands for.
    pub(crate) fn worker_threads(&self) -> usize {
        if self.workers > 0 {
            return self.workers;
        }
        std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
    }
}
