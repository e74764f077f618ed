//! What the engine is told at start, and what it has to tell after it.

use super::retention::Limits;
use crate::{
    delivery::{client::Kind, target::Nat64Prefix},
    domain::time::Timestamp,
    notices::MailConfig,
    secrets::Secret,
    supervisor::restart::RestartPolicy,
};
use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

/// All that the engine is told at start. Plain values; the command line and the configuration file fill them in.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Threads that own lanes and deliver; 0 takes one per core.
    pub cores: usize,
    /// Requests in flight to one host, and in all.
    pub concurrency_per_host: usize,
    /// See above.
    pub concurrency: usize,
    /// Open dead letters of one pipeline; beyond it the oldest is dismissed.
    pub dead_letters_max: usize,
    /// Who keeps the connections to receivers.
    pub transport: Kind,
    /// Allow `http://` targets where the profile does.
    pub allow_http: bool,
    /// What may be dialled beyond public addresses: `ADDR_OR_CIDR[:PORT]`.
    pub egress_allow: Vec<String>,
    /// What may not, whatever else is said: `ADDR_OR_CIDR[:PORT]`.
    pub egress_deny: Vec<String>,
    /// Ports that may be called at public addresses; empty takes the built-in rule.
    pub egress_ports: Vec<RangeInclusive<u16>>,
    /// Prefixes of the network's own IPv6-to-IPv4 translators.
    pub egress_nat64: Vec<Nat64Prefix>,
    /// Where the engine's own API listens; `None` where there is none. Deliveries do not go there.
    pub listens_at: Option<SocketAddr>,
    /// Name servers to ask, the first one first; none leaves it to the system's resolver.
    pub name_servers: Vec<SocketAddr>,
    /// The local address that is dialled from.
    pub bind_address: Option<IpAddr>,
    /// The proxy that receivers are reached through: `http://[USER:PASSWORD@]HOST:PORT`.
    pub egress_proxy: Option<Secret>,
    /// PEM files added to the system's roots.
    pub tls_roots: Vec<PathBuf>,
    /// What `{{env.NAME}}` may resolve: `NAME[@HOST]`.
    pub template_env: Vec<String>,
    /// Addresses and networks that deliveries are said to come from.
    pub published_ips: Vec<String>,
    /// When they hold, if not at once.
    pub published_from: Option<Timestamp>,
    /// More profiles.
    pub profiles_dir: Option<PathBuf>,
    /// Events and bytes that may be under way between a request and the disk.
    pub intake_events_max: usize,
    /// See above.
    pub intake_bytes_max: usize,
    /// Restarts within `restart_period` before a worker is given up.
    pub restarts_max: usize,
    /// See above.
    pub restart_period: Duration,
    /// First backoff; doubles up to `restart_backoff_max`.
    pub restart_backoff: Duration,
    /// See above.
    pub restart_backoff_max: Duration,
    /// Size of one log segment in bytes.
    pub segment_bytes: u64,
    /// New work is refused when less than this is free on the disk.
    pub free_bytes_min: u64,
    /// What the log keeps to.
    pub retention: Limits,
    /// How long an accepted id is remembered.
    pub dedup_window: Duration,
    /// And how many of them per tenant.
    pub dedup_ids_max: u64,
    /// Master key given from outside (base64 or hex); kept in a file of the data folder otherwise.
    pub master_key: Option<String>,
    /// Whether a first run may make one.
    pub generate_master_key: bool,
    /// Operator key given from outside; made on first run otherwise.
    pub operator_key: Option<String>,
    /// Profile of `tenant_default` on first run.
    pub default_profile: String,
    /// How contacts of tenants are mailed, if they are.
    pub mail: Option<MailConfig>,
    /// A thread that does not turn for this long ends the process.
    pub watchdog: Duration,
    /// Divides every retry delay: 1.0 in earnest, more in the demo.
    pub speed: f64,
}

impl EngineConfig {
    /// How many engine threads there will be.
    #[must_use]
    pub fn cores_count(&self) -> u16 {
        let cores = match self.cores {
            0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            n => n,
        };
        u16::try_from(cores).unwrap_or(u16::MAX).clamp(1, 64)
    }

    /// How often a part may fail before it is given up.
    #[must_use]
    pub fn restart_policy(&self) -> RestartPolicy {
        RestartPolicy {
            max: self.restarts_max,
            period: self.restart_period,
            backoff: self.restart_backoff,
            backoff_max: self.restart_backoff_max,
        }
    }

    /// Where snapshots lie. They may be deleted at any time.
    #[must_use]
    pub fn snapshots_dir(&self) -> PathBuf {
        self.data_dir.join("snapshots")
    }

    /// Where the log lies.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.data_dir.join("log")
    }

    /// Where read models lie.
    #[must_use]
    pub fn projections_dir(&self) -> PathBuf {
        self.data_dir.join("projections")
    }

    /// Where it is kept how far notices are.
    #[must_use]
    pub fn notices_file(&self) -> PathBuf {
        self.data_dir.join("notices")
    }

    /// The documented defaults, with everything kept under `data_dir`.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            cores: 0,
            concurrency_per_host: 16,
            concurrency: 1024,
            dead_letters_max: 100_000,
            transport: Kind::default(),
            allow_http: false,
            egress_allow: Vec::new(),
            egress_deny: Vec::new(),
            egress_ports: Vec::new(),
            egress_nat64: Vec::new(),
            listens_at: None,
            name_servers: Vec::new(),
            bind_address: None,
            egress_proxy: None,
            tls_roots: Vec::new(),
            template_env: Vec::new(),
            published_ips: Vec::new(),
            published_from: None,
            profiles_dir: None,
            intake_events_max: 100_000,
            intake_bytes_max: 256 << 20,
            restarts_max: 5,
            restart_period: Duration::from_mins(1),
            restart_backoff: Duration::from_millis(100),
            restart_backoff_max: Duration::from_secs(10),
            segment_bytes: 64 << 20,
            free_bytes_min: 256 << 20,
            retention: Limits::default(),
            dedup_window: Duration::from_hours(24),
            dedup_ids_max: 10_000_000,
            master_key: None,
            generate_master_key: true,
            operator_key: None,
            default_profile: "afftok".into(),
            mail: None,
            watchdog: Duration::from_secs(30),
            speed: 1.0,
        }
    }
}

/// What start-up has to tell a person.
#[derive(Clone, Debug, Default)]
pub struct StartReport {
    /// The operator key, if it was made just now: shown once.
    pub new_operator_key: Option<String>,
    /// Records in the log.
    pub records: u64,
    /// Bytes of a torn tail that were cut.
    pub torn_bytes: u64,
    /// Attempts that a crash fell into.
    pub abandoned: u64,
    /// How long it took.
    pub took: Duration,
}
