//! `[server]`: the HTTP side.

use super::{ConfigError, require};
use crate::server_tls::{ServerTls, TlsFiles};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, num::NonZero, path::PathBuf};

/// The HTTP side.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    /// Where to listen; port 0 picks one.
    pub(crate) listen: SocketAddr,
    /// Where the receiver for first steps listens, if there is to be one; on loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inbox: Option<SocketAddr>,
    /// PEM file with the certificate to show, and those between it and a root; plain HTTP without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file with its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    /// PEM file with authorities: with it, whoever has no certificate of theirs is not let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Threads that read and answer requests; 0 takes one per core.
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
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
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
        let is_pair = self.tls_cert.is_some() == self.tls_key.is_some();
        require(is_pair, "server.tls_key", "and `server.tls_cert` are needed together")?;
        let is_served = self.tls_client_ca.is_none() || self.tls_cert.is_some();
        require(is_served, "server.tls_client_ca", "needs `server.tls_cert`")?;
        if let Some(Err(error)) = self.tls_files().map(ServerTls::load) {
            return require(false, error.setting, error);
        }
        require(self.workers <= 1024, "server.workers", "is over the limit of 1024")?;
        require(self.connections_max > 0, "server.connections_max", "must be at least 1")?;
        require(self.head_timeout_seconds > 0, "server.head_timeout_seconds", "must be at least 1")
    }

    /// What TLS is served with; `None` where plain HTTP is.
    pub(crate) fn tls_files(&self) -> Option<TlsFiles> {
        let (cert, key) = (self.tls_cert.clone()?, self.tls_key.clone()?);
        Some(TlsFiles { cert, key, client_ca: self.tls_client_ca.clone() })
    }

    /// `workers`, or what it stands for.
    pub(crate) fn worker_threads(&self) -> usize {
        if self.workers > 0 {
            return self.workers;
        }
        std::thread::available_parallelism().map_or(1, NonZero::get)
    }
}
