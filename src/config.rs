//! What the server is told: options win over `LEDGERHOOK_*` variables, these over the file, this over defaults.
//!
//! Read once, into types. An unknown, misspelt, duplicate or conflicting setting stops the start and is named.

mod delivery;
mod egress;
mod intake;
mod layers;
mod log;
mod secrets;
mod server;
mod smtp;
mod supervision;
mod telemetry;
mod tenants;

pub(crate) use self::{
    delivery::Delivery,
    egress::Egress,
    intake::Intake,
    log::Log,
    secrets::Secrets,
    server::Server,
    smtp::Smtp,
    supervision::Supervision,
    telemetry::{Format, Telemetry},
    tenants::Tenants,
};

use crate::{cli::Options, server_tls::ServerTls, telemetry::filter};
use anyhow::anyhow;
use ledgerhook_actors::{
    delivery::template::MASK,
    engine::{self, EngineConfig},
};
use serde::{Deserialize, Serialize, Serializer};
use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

/// Everything that can be set, section by section.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The HTTP side.
    pub(crate) server: Server,
    /// The event log and its disk.
    pub(crate) log: Log,
    /// What may be accepted at once.
    pub(crate) intake: Intake,
    /// The sending side.
    pub(crate) delivery: Delivery,
    /// Where deliveries come from.
    pub(crate) egress: Egress,
    /// Restarts of parts.
    pub(crate) supervision: Supervision,
    /// Tenants and their profiles.
    pub(crate) tenants: Tenants,
    /// The key that seals all others.
    pub(crate) secrets: Secrets,
    /// Mails to the contacts of tenants.
    pub(crate) smtp: Smtp,
    /// The process's own log lines.
    pub(crate) telemetry: Telemetry,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("configuration `{}`: {source}", path.display())]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    #[error("environment variable `{name}`: {problem}")]
    Variable { name: String, problem: String },
    #[error("setting `{setting}`: {problem}")]
    Setting { setting: String, problem: String },
}

impl Config {
    /// Merges the four sources and checks the result.
    pub(crate) fn load(
        options: &Options,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut config = layers::merge(options, variables)?;
        config.secrets.read()?;
        config.check()?;
        Ok(config)
    }

    /// Whether a server could start with it, as far as that shows without its data folder. Other verbs do without.
    pub(crate) fn check_for_start(&self) -> anyhow::Result<()> {
        filter(&self.telemetry)?;
        engine::check(&self.engine())?;
        if let Some(files) = self.server.tls_files() {
            let tls = ServerTls::load(files);
            tls.map_err(|error| anyhow!("setting `{}`: {error}", error.setting))?;
        }
        Ok(())
    }

    /// What single fields cannot tell: settings that contradict each other.
    fn check(&self) -> Result<(), ConfigError> {
        self.no_mask()?;
        self.server.check()?;
        self.log.check()?;
        self.intake.check()?;
        self.delivery.check()?;
        self.egress.check()?;
        self.supervision.check()?;
        self.smtp.check()?;
        self.tenants.check(self.server.listen.ip())
    }

    /// `config check` prints masks in the place of secrets: a server that took one would have a key that anybody knows.
    fn no_mask(&self) -> Result<(), ConfigError> {
        let Self { egress, tenants, secrets, smtp, .. } = self;
        let all = [
            ("tenants.operator_key", &tenants.operator_key),
            ("secrets.master_key", &secrets.master_key),
            ("egress.proxy", &egress.proxy),
            ("smtp.password", &smtp.password),
        ];
        for (setting, secret) in all {
            let is_mask = secret.as_ref().is_some_and(|secret| secret.0 == MASK);
            require(
                !is_mask,
                setting,
                "is `***`, which stands for a secret that is not shown; put the secret there",
            )?;
        }
        Ok(())
    }

    /// The effective configuration as a file, secrets masked.
    pub(crate) fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// What of it the engine is told.
    pub(crate) fn engine(&self) -> EngineConfig {
        let Self { server, log, intake, delivery, egress, supervision, tenants, smtp, secrets, .. } = self;
        EngineConfig {
            cores: delivery.cores,
            concurrency_per_host: delivery.concurrency_per_host,
            concurrency: delivery.concurrency,
            dead_letters_max: delivery.dead_letters_max,
            transport: delivery.transport,
            allow_http: delivery.allow_http,
            egress_allow: delivery.egress_allow.clone(),
            egress_deny: delivery.egress_deny.clone(),
            tls_roots: delivery.tls_roots.clone(),
            template_env: delivery.template_env.clone(),
            published_ips: egress.published_ips.clone(),
            published_from: egress.from(),
            profiles_dir: tenants.profiles_dir.clone(),
            intake_events_max: intake.events_max,
            intake_bytes_max: intake.bytes_max,
            restarts_max: supervision.restarts_max,
            restart_period: Duration::from_secs(supervision.restart_period_seconds),
            restart_backoff: Duration::from_millis(supervision.restart_backoff_ms),
            restart_backoff_max: Duration::from_millis(supervision.restart_backoff_max_ms),
            segment_bytes: log.segment_bytes,
            free_bytes_min: log.free_bytes_min,
            retention: log.retention(),
            dedup_window: Duration::from_secs(intake.dedup_window_seconds),
            dedup_ids_max: intake.dedup_ids_max,
            operator_key: tenants.operator_key.as_ref().map(|key| key.0.clone()),
            default_profile: tenants.default_profile.clone(),
            watchdog: Duration::from_secs(supervision.watchdog_seconds),
            mail: smtp.engine(),
            master_key: secrets.key().map(|key| key.0.clone()),
            generate_master_key: secrets.generate_master_key || server.listen.ip().is_loopback(),
            egress_ports: egress.port_ranges(),
            egress_nat64: egress.nat64(),
            name_servers: egress.name_servers(),
            bind_address: egress.bind_address,
            egress_proxy: egress
                .proxy
                .as_ref()
                .map(|proxy| ledgerhook_actors::secrets::Secret::new(proxy.0.clone())),
            ..EngineConfig::new(log.data_dir.clone())
        }
    }
}

/// A value that is used and never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// Refuses a setting unless `holds`.
fn require(holds: bool, setting: &str, problem: impl fmt::Display) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError::Setting { setting: setting.into(), problem: problem.to_string() })
}

#[cfg(test)]
mod tests;
