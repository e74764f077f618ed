//! The only public way in: [`EngineHandle`]. HTTP, command line and demo call it and never see an actor.

mod ages;
mod config;
mod deliveries;
mod endpoints;
mod erasure;
mod evidence;
mod last_uses;
mod profiles;
mod retention;
mod rules;
mod shared;
mod snapshots;
mod start;
mod state;
mod supervision;
mod tenants;
mod watchdog;

pub use crate::{
    answers::{Answer, Keep, KeyOwner, Recall, Ticket},
    catalog::QuotaChanges,
    error::EngineError,
    view::{ActorView, IssuedKey, LaneView, NewEvent, NewKey, Principal, QueueDepths, Receipt},
};
pub use config::{EngineConfig, StartReport};
pub use endpoints::EndpointTotals;
pub(crate) use erasure::Erased;
pub use erasure::Progress;
pub use retention::{Applied, Floor, Holder, Limits};
pub use rules::check;
pub use shared::Tools;
pub use start::start;

use crate::{
    answers::Answers,
    catalog::CatalogActor,
    clock::Clock,
    dead_letters::DeadLetterActor,
    domain::{catalog::Catalog, egress::EgressIps, state::StateParts, time::Timestamp},
    intake::Intake,
    log::EventLog,
    notices::Notices,
    projections::{Projections, ProjectionsThread},
    published::Shared,
    supervisor::SupervisorActor,
    worker::{redelivery::Redeliveries, registry::Registry},
};
use actix::{Addr, ArbiterHandle};
use last_uses::LastUses;
use parking_lot::Mutex;
use retention::Retention;
use std::sync::{Arc, atomic::AtomicU64};
use tenants::OperatorKey;
use tokio::sync::oneshot;
use watchdog::Stalls;

/// What all threads share.
struct Inner {
    log: Arc<dyn EventLog>,
    clock: Clock,
    published: Shared,
    tools: Arc<Tools>,
    answers: Arc<Answers>,
    intake: Arc<Intake>,
    notices: Notices,
    registry: Registry,
    redeliveries: Redeliveries,
    catalog: Addr<CatalogActor>,
    supervisor: Addr<SupervisorActor>,
    dead_letters: Addr<DeadLetterActor>,
    dead_letters_dropped: Arc<AtomicU64>,
    cores: Vec<ArbiterHandle>,
    /// Counts of pipelines that were gone before the process began.
    retired: StateParts,
    operator_key: Option<OperatorKey>,
    /// Changes with a start, and at no other time.
    egress: EgressIps,
    last_uses: LastUses,
    stalls: Arc<Stalls>,
    retention: Arc<Retention>,
    erased: Arc<Erased>,
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
    pub fn recall(&self, owner: &KeyOwner, key: &str, fingerprint: &str) -> Result<Recall, EngineError> {
        self.inner.answers.recall(owner, key, fingerprint)
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

    /// The addresses that deliveries are said to come from.
    #[must_use]
    pub fn egress_ips(&self) -> &EgressIps {
        &self.inner.egress
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

#[cfg(test)]
mod tests;
