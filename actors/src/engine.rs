//! The only public way in: [`EngineHandle`]. HTTP, command line and demo call it and never see an actor.

mod shared;

pub use shared::{Answer, Recall, Ticket, Tools};

use crate::{
    delivery::{Exchange, Request},
    domain::{
        catalog::{Catalog, PipelineEntry},
        dead_letter::DeadLetter,
        event::Queue,
        id::{DeadLetterId, DeliveryId, KeyId, PipelineId, TenantId},
        pipeline::Rejection,
        state::{DeliveryCounts, StateSummary},
        step::PipelineConfig,
        tenant::{Scope, Tenant},
        time::Timestamp,
    },
    log::{EventLog, LogError, Position},
};
use bytes::Bytes;
use serde::Serialize;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// What the engine could not do, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such thing, or not the caller's.
    #[error("{kind} `{id}` does not exist")]
    NotFound { kind: &'static str, id: String },
    /// It is in a state that forbids this.
    #[error("{0}")]
    Conflict(String),
    /// The same event id came with another body.
    #[error("event `{0}` was accepted with another body")]
    EventDiffers(String),
    /// A limit of the tenant or the engine is reached.
    #[error("the limit `{limit}` of {max} is reached")]
    Limit { limit: &'static str, max: u64 },
    /// Too much at once: come again after so many seconds.
    #[error("the engine is busy: {reason}")]
    Busy { reason: &'static str, retry_after_seconds: u32 },
    /// The engine is stopping, or cannot write its log.
    #[error("the engine takes no work: {0}")]
    Unavailable(String),
    /// The domain said no.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The log said no.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// An event, checked and ready to be accepted.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Given by the producer, or minted by the caller.
    pub id: Box<str>,
    /// `conversion.created`
    pub event_type: Box<str>,
    /// Key of its lane, derived by the profile's rules.
    pub resource: Box<str>,
    /// The event object as it was posted, byte for byte.
    pub body: Bytes,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub id: Box<str>,
    /// Where it stands in the log.
    pub position: Position,
    /// Its lane.
    pub resource: Box<str>,
    /// The pipelines that it goes to (those that skip it are left out).
    pub pipelines: Vec<PipelineId>,
    /// It was accepted before; nothing new was recorded.
    pub duplicate: bool,
}

/// Who asks: a key, its tenant and what it may do.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The key.
    pub key: KeyId,
    /// The tenant that the key belongs to; `None` for the operator key, which names one per request.
    pub tenant: Option<Arc<Tenant>>,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

/// A key that was just made: the only time its text is shown.
#[derive(Clone, Debug)]
pub struct IssuedKey {
    /// Its id.
    pub id: KeyId,
    /// The key itself.
    pub key: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What it may do; not empty.
    pub scopes: Vec<Scope>,
    /// For people.
    pub name: Option<String>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// One lane, as the operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct LaneView {
    /// What it is about.
    pub resource: String,
    /// Deliveries in it.
    pub depth: usize,
    /// The head.
    pub head: Option<DeliveryId>,
    /// `queued`, `in_flight`, `retrying`, `held`.
    pub state: &'static str,
    /// Since when the head keeps the others waiting.
    pub blocked_since: Option<Timestamp>,
    /// When its next attempt is due.
    pub next_due_at: Option<Timestamp>,
}

impl Serialize for DeliveryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One actor, as the supervision tree shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ActorView {
    /// `supervisor`, `pipeline`, `dead_letters`, `catalog`, `projections`.
    pub kind: &'static str,
    /// The pipeline's id, or the kind for those of which there is one.
    pub id: String,
    /// `running`, `restarting`, `failed`.
    pub state: &'static str,
    /// Restarts since the process began.
    pub restarts: u64,
    /// Why the last one was needed.
    pub last_exit_reason: Option<String>,
    /// Messages waiting.
    pub mailbox_depth: u64,
    /// Attempts under way.
    pub in_flight: u64,
}

/// Deliveries waiting per queue over a tenant's pipelines (AFM-70).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueueDepths {
    /// Waiting for, or at, their own URL.
    pub primary: u64,
    /// Waiting for, or at, the failover.
    pub failover: u64,
    /// Open dead letters.
    pub dlq: u64,
}

/// The running engine. Cheap to clone; all methods may be called from any thread.
#[derive(Clone)]
pub struct EngineHandle {
    inner: Arc<dyn EngineApi>,
}

/// What [`EngineHandle`] forwards to; a trait so that HTTP can be tested without an engine.
pub(crate) trait EngineApi: Send + Sync {}

#[expect(unused_variables, clippy::unused_async, clippy::missing_panics_doc, reason = "filled in next")]
impl EngineHandle {
    /// Tenants, keys and configurations as they are now.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        unimplemented!()
    }

    /// Who has this key; `None` for an unknown, revoked or expired one.
    #[must_use]
    pub fn authenticate(&self, key: &str) -> Option<Principal> {
        unimplemented!()
    }

    /// Makes a tenant with a first key of scopes `events:write`, `read` and `manage`.
    pub async fn create_tenant(
        &self,
        by: &KeyId,
        id: Option<TenantId>,
        name: String,
        profile: String,
    ) -> Result<(Arc<Tenant>, IssuedKey), EngineError> {
        unimplemented!()
    }

    /// Renames a tenant.
    pub async fn update_tenant(
        &self,
        by: &KeyId,
        id: &TenantId,
        name: String,
    ) -> Result<Arc<Tenant>, EngineError> {
        unimplemented!()
    }

    /// Deletes a tenant: its pipelines are deleted (pending deliveries cancelled), its keys revoked.
    pub async fn delete_tenant(&self, by: &KeyId, id: &TenantId) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Makes a key.
    pub async fn create_key(
        &self,
        by: &KeyId,
        tenant: &TenantId,
        key: NewKey,
    ) -> Result<IssuedKey, EngineError> {
        unimplemented!()
    }

    /// Takes a key back at once.
    pub async fn revoke_key(&self, by: &KeyId, tenant: &TenantId, id: &KeyId) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Makes a pipeline from a checked configuration whose steps have ids. `prefix` is the profile's (`pipe`, `wh`).
    pub async fn create_pipeline(
        &self,
        by: &KeyId,
        tenant: &TenantId,
        prefix: &str,
        config: PipelineConfig,
    ) -> Result<Arc<PipelineEntry>, EngineError> {
        unimplemented!()
    }

    /// Puts a new version in force, if `expected` is the one the caller read. Answers when no worker starts an
    /// attempt by the old status any more.
    pub async fn update_pipeline(
        &self,
        by: &KeyId,
        id: &PipelineId,
        expected: u32,
        config: PipelineConfig,
    ) -> Result<Arc<PipelineEntry>, EngineError> {
        unimplemented!()
    }

    /// Deletes a pipeline and cancels what is pending in it.
    pub async fn delete_pipeline(&self, by: &KeyId, id: &PipelineId) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Records that a secret was shown.
    pub async fn record_reveal(&self, by: &KeyId, id: &PipelineId, step: &str) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Accepts events of one tenant, in order; answers when all of them are durable. One answer an event.
    pub async fn accept(
        &self,
        tenant: &TenantId,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Result<Receipt, EngineError>>, EngineError> {
        unimplemented!()
    }

    /// Position of an accepted event by its id, inside the dedup window.
    pub fn find_event(&self, tenant: &TenantId, id: &str) -> Result<Option<Position>, EngineError> {
        unimplemented!()
    }

    /// Sends a delivery once more, whole, as a new round.
    pub async fn redeliver(&self, by: &KeyId, tenant: &TenantId, id: &DeliveryId) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Calls off a pending delivery that is not in flight.
    pub async fn cancel_delivery(
        &self,
        by: &KeyId,
        tenant: &TenantId,
        id: &DeliveryId,
    ) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// The lanes of a pipeline behind `after` (a resource), by resource.
    pub async fn lanes(
        &self,
        id: &PipelineId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<LaneView>, EngineError> {
        unimplemented!()
    }

    /// Passes over the head of a lane and lets it go on.
    pub async fn skip_lane(&self, by: &KeyId, id: &PipelineId, resource: &str) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Lets a halted lane go on.
    pub async fn resume_lane(&self, by: &KeyId, id: &PipelineId, resource: &str) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Open dead letters of a tenant, newest first, behind `after`.
    pub async fn dead_letters(
        &self,
        tenant: &TenantId,
        pipeline: Option<&PipelineId>,
        after: Option<&DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, EngineError> {
        unimplemented!()
    }

    /// Puts a dead letter back into its lane; answers with the delivery when it is there, durably.
    pub async fn retry_dead_letter(
        &self,
        by: &KeyId,
        tenant: &TenantId,
        id: &DeadLetterId,
    ) -> Result<DeliveryId, EngineError> {
        unimplemented!()
    }

    /// Dismisses a dead letter.
    pub async fn delete_dead_letter(
        &self,
        by: &KeyId,
        tenant: &TenantId,
        id: &DeadLetterId,
    ) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Live counts of one pipeline.
    pub async fn counts(&self, id: &PipelineId) -> Result<DeliveryCounts, EngineError> {
        unimplemented!()
    }

    /// Live queue depths over a tenant's pipelines.
    pub async fn queue_depths(&self, tenant: &TenantId) -> Result<QueueDepths, EngineError> {
        unimplemented!()
    }

    /// Position, digest and counts of the whole state.
    pub async fn state(&self) -> Result<StateSummary, EngineError> {
        unimplemented!()
    }

    /// The supervision tree.
    pub async fn actors(&self) -> Result<Vec<ActorView>, EngineError> {
        unimplemented!()
    }

    /// Brings a failed worker back.
    pub async fn revive(&self, by: &KeyId, id: &str) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Makes a worker panic.
    #[cfg(feature = "chaos")]
    pub async fn panic(&self, id: &str) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Sends one request outside of every lane, under the same egress rules, and records nothing.
    pub async fn send_once(&self, request: Request) -> Result<Exchange, EngineError> {
        unimplemented!()
    }

    /// The log, for readers.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn EventLog> {
        unimplemented!()
    }

    /// Whether the engine can take work, and what is wrong if it cannot: (part, problem).
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        unimplemented!()
    }

    /// Drains and stops: no new work, attempts in flight may end within `grace`, the log is synced and closed.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), EngineError> {
        unimplemented!()
    }
}

/// Which queue a delivery stands in, for views.
#[must_use]
pub fn queue_name(queue: Queue) -> &'static str {
    match queue {
        Queue::Primary => "primary",
        Queue::Failover => "failover",
    }
}

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
    /// Allow `http://` targets where the profile does.
    pub allow_http: bool,
    /// What may be dialled beyond public addresses: `ADDR_OR_CIDR[:PORT]`.
    pub egress_allow: Vec<String>,
    /// PEM files added to the system's roots.
    pub tls_roots: Vec<PathBuf>,
    /// What `{{env.NAME}}` may resolve: `NAME[@HOST]`.
    pub template_env: Vec<String>,
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
    /// How long an accepted id is remembered.
    pub dedup_window: Duration,
    /// And how many of them per tenant.
    pub dedup_ids_max: u64,
    /// Operator key given from outside; made on first run otherwise.
    pub operator_key: Option<String>,
    /// Profile of `tenant_default` on first run.
    pub default_profile: String,
    /// A thread that does not turn for this long ends the process.
    pub watchdog: Duration,
    /// Divides every retry delay: 1.0 in earnest, more in the demo.
    pub speed: f64,
}

impl EngineConfig {
    /// The documented defaults, with everything kept under `data_dir`.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            cores: 0,
            concurrency_per_host: 16,
            concurrency: 1024,
            allow_http: false,
            egress_allow: Vec::new(),
            tls_roots: Vec::new(),
            template_env: Vec::new(),
            profiles_dir: None,
            intake_events_max: 100_000,
            intake_bytes_max: 256 << 20,
            restarts_max: 5,
            restart_period: Duration::from_secs(60),
            restart_backoff: Duration::from_millis(100),
            restart_backoff_max: Duration::from_secs(10),
            segment_bytes: 64 << 20,
            free_bytes_min: 256 << 20,
            dedup_window: Duration::from_secs(86_400),
            dedup_ids_max: 10_000_000,
            operator_key: None,
            default_profile: "afftok".into(),
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

/// Opens the log, folds it, starts the actors. Blocks until the engine takes work.
pub fn start(config: EngineConfig) -> Result<(EngineHandle, StartReport), EngineError> {
    let _ = config;
    unimplemented!()
}
