//! The only public way in: [`EngineHandle`]. HTTP, command line and demo call it and never see an actor.

mod config;
mod deliveries;
mod shared;
mod snapshots;
mod start;
mod state;
mod supervision;
mod tenants;
mod view;
mod watchdog;

pub use crate::answers::{Answer, Recall, Ticket};
pub use config::{EngineConfig, StartReport};
pub use shared::Tools;
pub use start::start;
pub use tenants::operator_key_id;
pub use view::{ActorView, IssuedKey, LaneView, NewEvent, NewKey, Principal, QueueDepths, Receipt};

use crate::{
    answers::Answers,
    catalog::{CatalogActor, Shared},
    clock::Clock,
    dead_letters::DeadLetterActor,
    domain::{catalog::Catalog, id::TenantId, pipeline::Rejection, state::StateParts, time::Timestamp},
    intake::Intake,
    log::{EventLog, LogError},
    projections::{Projections, ProjectionsThread},
    supervisor::{SupervisorActor, registry::Registry},
};
use actix::{Addr, ArbiterHandle, MailboxError};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::oneshot;
use watchdog::Stalls;

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
    /// It cannot start with what it was given.
    #[error("{0}")]
    Setup(String),
    /// The domain said no.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The log said no.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<MailboxError> for EngineError {
    fn from(_: MailboxError) -> Self {
        Self::Unavailable("the part that answers is being restarted".into())
    }
}

/// What all threads share.
struct Inner {
    log: Arc<dyn EventLog>,
    clock: Clock,
    published: Shared,
    tools: Arc<Tools>,
    answers: Answers,
    intake: Intake,
    registry: Registry,
    catalog: Addr<CatalogActor>,
    supervisor: Addr<SupervisorActor>,
    dead_letters: Addr<DeadLetterActor>,
    cores: Vec<ArbiterHandle>,
    /// Counts of pipelines that were gone before the process began.
    retired: StateParts,
    /// Hash of an operator key that was given from outside.
    operator_hash: Option<String>,
    stalls: Arc<Stalls>,
    projections: Projections,
    projections_thread: Mutex<Option<ProjectionsThread>>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// The running engine. Cheap to clone; all methods may be called from any thread of an actix system.
#[derive(Clone)]
pub struct EngineHandle {
    inner: Arc<Inner>,
}

impl EngineHandle {
    /// Tenants, keys and configurations as they are now.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.inner.published.load().catalog)
    }

    /// Looks something up in the catalog without copying it.
    pub fn with_catalog<R>(&self, look: impl FnOnce(&Catalog) -> R) -> R {
        look(&self.inner.published.load().catalog)
    }

    /// Profiles, secrets and rules.
    #[must_use]
    pub fn tools(&self) -> &Arc<Tools> {
        &self.inner.tools
    }

    /// Looks an idempotency key up, and takes it if it is new.
    pub fn recall(&self, tenant: &TenantId, key: &str, fingerprint: &str) -> Result<Recall, EngineError> {
        self.inner.answers.recall(tenant, key, fingerprint)
    }

    /// Keeps an answer for 24 hours, sealed, in the log; answers when it is durable.
    pub async fn remember(&self, ticket: Ticket, answer: Answer) -> Result<(), EngineError> {
        self.inner.answers.remember(ticket, answer).await
    }

    /// The engine's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The log, for readers.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.inner.log
    }

    /// The read models.
    #[must_use]
    pub fn projections(&self) -> &Projections {
        &self.inner.projections
    }
}
