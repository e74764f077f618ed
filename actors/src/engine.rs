//! The only public way in: [`EngineHandle`]. HTTP, command line and demo call it and never see an actor.

mod config;
mod shared;
mod snapshots;
mod start;
mod view;
mod watchdog;

pub use crate::answers::{Answer, Recall, Ticket};
pub use config::{EngineConfig, StartReport};
pub use shared::Tools;
pub use start::start;
pub use view::{ActorView, IssuedKey, LaneView, NewEvent, NewKey, Principal, QueueDepths, Receipt};

use crate::{
    answers::Answers,
    catalog::{self, Alter, Altered, CatalogActor, Change, Shared},
    clock::{self, Clock},
    core::{Post, read_event},
    dead_letters::{Count, DeadLetterActor, List, Retry, Settle, ShareParts},
    delivery::{Exchange, Request},
    domain::{
        catalog::{Catalog, PipelineEntry},
        dead_letter::DeadLetter,
        delivery::Phase,
        event::{End, EngineEvent, Fact, Queue},
        id::{DeadLetterId, DeliveryId, KeyId, PipelineId, TenantId},
        mailbox::Lane,
        pipeline::{Pipeline, Rejection},
        state::{DeliveryCounts, State, StateParts, StateSummary},
        step::{PipelineConfig, Status},
        tenant::{Scope, Tenant},
        time::Timestamp,
    },
    entropy,
    intake::Intake,
    log::{Append, EventLog, Expected, LogError, Position, codec, replay},
    pipeline::order::{Hold, Order},
    projections::{
        DeliveryFilter, DeliveryState, PageRequest, ProjectionError, Projections, ProjectionsThread,
    },
    supervisor::{Revive, SupervisorActor, registry::Registry, status::Health},
};
use actix::{Addr, ArbiterHandle, MailboxError};
use parking_lot::Mutex;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
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

// ---- who and what ----------------------------------------------------------------------------------------------

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

    /// Who has this key; `None` for an unknown, revoked or expired one.
    #[must_use]
    pub fn authenticate(&self, key: &str) -> Option<Principal> {
        let hash = self.inner.tools.secrets.hash_api_key(key);
        if self.inner.operator_hash.as_ref() == Some(&hash) {
            return Some(Principal { key: operator_key_id(), tenant: None, scopes: vec![Scope::Operator] });
        }
        let published = self.inner.published.load();
        let (tenant, key) = published.catalog.key_by_hash(&hash)?;
        // Keys end by the wall clock: that is what their owners read.
        if !catalog::holds(key, clock::wall()) {
            return None;
        }
        let operator = key.scopes.contains(&Scope::Operator);
        let tenant = (!operator).then(|| Arc::clone(tenant));
        Some(Principal { key: key.id.clone(), tenant, scopes: key.scopes.clone() })
    }

    async fn alter(&self, by: &KeyId, change: Change) -> Result<Altered, EngineError> {
        self.inner.catalog.send(Alter { by: by.clone(), change }).await?
    }

    /// Makes a tenant with a first key of scopes `events:write`, `read` and `manage`.
    pub async fn create_tenant(
        &self,
        by: &KeyId,
        id: Option<TenantId>,
        name: String,
        profile: String,
    ) -> Result<(Arc<Tenant>, IssuedKey), EngineError> {
        let change = Change::CreateTenant { id, name, profile };
        let Altered::Tenant(tenant) = self.alter(by, change).await? else { return Err(vanished("tenant")) };
        let scopes = vec![Scope::EventsWrite, Scope::Read, Scope::Manage];
        let key = self.create_key(by, &tenant.id, NewKey { scopes, name: None, expires_at: None }).await?;
        Ok((tenant, key))
    }

    /// Renames a tenant.
    pub async fn update_tenant(
        &self,
        by: &KeyId,
        id: &TenantId,
        name: String,
    ) -> Result<Arc<Tenant>, EngineError> {
        match self.alter(by, Change::UpdateTenant { id: id.clone(), name }).await? {
            Altered::Tenant(tenant) => Ok(tenant),
            _ => Err(vanished("tenant")),
        }
    }

    /// Deletes a tenant: its pipelines are deleted (pending deliveries cancelled), its keys revoked.
    pub async fn delete_tenant(&self, by: &KeyId, id: &TenantId) -> Result<(), EngineError> {
        self.alter(by, Change::DeleteTenant { id: id.clone() }).await.map(drop)
    }

    /// Makes a key.
    pub async fn create_key(
        &self,
        by: &KeyId,
        tenant: &TenantId,
        key: NewKey,
    ) -> Result<IssuedKey, EngineError> {
        let made =
            self.inner.tools.secrets.new_api_key().map_err(|e| EngineError::Unavailable(e.to_string()))?;
        let id = KeyId::new(entropy::id("key", 12));
        let (scopes, expires_at) = (key.scopes.clone(), key.expires_at);
        let stored = catalog::stored_key(id.clone(), made.hash, made.hint, key);
        self.alter(by, Change::CreateKey { tenant: tenant.clone(), key: stored }).await?;
        Ok(IssuedKey { id, key: made.key.expose().to_owned(), scopes, expires_at })
    }

    /// Takes a key back at once.
    pub async fn revoke_key(&self, by: &KeyId, tenant: &TenantId, id: &KeyId) -> Result<(), EngineError> {
        self.alter(by, Change::RevokeKey { tenant: tenant.clone(), id: id.clone() }).await.map(drop)
    }

    /// Makes a pipeline from a checked configuration whose steps have ids. `prefix` is the profile's (`pipe`, `wh`);
    /// `limit` the most pipelines that the tenant may have.
    pub async fn create_pipeline(
        &self,
        by: &KeyId,
        tenant: &TenantId,
        prefix: &str,
        limit: Option<u64>,
        config: PipelineConfig,
    ) -> Result<Arc<PipelineEntry>, EngineError> {
        let (tenant, prefix, config) = (tenant.clone(), prefix.to_owned(), Box::new(config));
        match self.alter(by, Change::CreatePipeline { tenant, prefix, limit, config }).await? {
            Altered::Pipeline(entry) => Ok(entry),
            _ => Err(vanished("pipeline")),
        }
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
        let change = Change::UpdatePipeline { id: id.clone(), expected, config: Box::new(config) };
        match self.alter(by, change).await? {
            Altered::Pipeline(entry) => Ok(entry),
            _ => Err(vanished("pipeline")),
        }
    }

    /// Deletes a pipeline and cancels what is pending in it.
    pub async fn delete_pipeline(&self, by: &KeyId, id: &PipelineId) -> Result<(), EngineError> {
        self.alter(by, Change::DeletePipeline { id: id.clone() }).await.map(drop)
    }

    /// Records that a secret was shown.
    pub async fn record_reveal(&self, by: &KeyId, id: &PipelineId, step: &str) -> Result<(), EngineError> {
        self.alter(by, Change::Revealed { id: id.clone(), step: step.to_owned() }).await.map(drop)
    }

    /// The pipeline that a delivery's id names, deleted ones included, if it is the tenant's.
    fn pipeline_of(&self, tenant: &TenantId, id: &DeliveryId) -> Option<PipelineId> {
        let published = self.inner.published.load();
        let pipeline = published.catalog.pipeline_by_key(&id.pipeline)?.clone();
        let mine = published.catalog.pipeline(&pipeline).is_none_or(|entry| entry.tenant == *tenant);
        mine.then_some(pipeline)
    }
}

fn vanished(kind: &'static str) -> EngineError {
    EngineError::Conflict(format!("the {kind} was deleted meanwhile"))
}

/// The id under which an operator key from outside acts.
#[must_use]
pub fn operator_key_id() -> KeyId {
    KeyId::new("key_operator")
}

// ---- events and deliveries -------------------------------------------------------------------------------------

impl EngineHandle {
    /// Accepts events of one tenant, in order; answers when all of them are durable. One answer an event.
    pub async fn accept(
        &self,
        tenant: &TenantId,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Result<Receipt, EngineError>>, EngineError> {
        self.inner.intake.accept(tenant, events).await
    }

    /// Position of an accepted event by its id, inside the dedup window.
    pub fn find_event(&self, tenant: &TenantId, id: &str) -> Result<Option<Position>, EngineError> {
        for position in self.inner.intake.dedup.find(tenant, id) {
            match self.inner.log.read_at(position) {
                Ok(record) => {
                    let same =
                        matches!(record.fact(), Ok(Fact::Accepted(t, a)) if t == *tenant && *a.id == *id);
                    if same {
                        return Ok(Some(position));
                    }
                }
                Err(LogError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn owned(&self, tenant: &TenantId, id: &DeliveryId) -> Result<(PipelineId, Box<str>), EngineError> {
        let missing = || EngineError::NotFound { kind: "delivery", id: id.to_string() };
        let pipeline = self.pipeline_of(tenant, id).ok_or_else(missing)?;
        let event = read_event(&*self.inner.log, id.event).map_err(|_| missing())?;
        let routed = event.accepted.routes.iter().any(|route| route.pipeline == pipeline);
        if event.tenant != *tenant || !routed {
            return Err(missing());
        }
        Ok((pipeline, event.accepted.resource))
    }

    /// What only the read models remember of a delivery that is over.
    async fn past(
        &self,
        tenant: &TenantId,
        id: &DeliveryId,
        pipeline: &PipelineId,
        resource: &str,
    ) -> Result<Past, EngineError> {
        let unread =
            |e: ProjectionError| EngineError::Unavailable(format!("the history cannot be read: {e}"));
        let projections = &self.inner.projections;
        projections.fresh().await.map_err(unread)?;
        let missing = || EngineError::NotFound { kind: "delivery", id: id.to_string() };
        let delivery = projections.delivery(tenant, id).map_err(unread)?.ok_or_else(missing)?;
        let filter = DeliveryFilter {
            pipeline: Some(pipeline.clone()),
            resource: Some(resource.to_owned()),
            state: Some(DeliveryState::Delivered),
            ..DeliveryFilter::default()
        };
        let newest = projections
            .deliveries(tenant, &filter, PageRequest { cursor: None, limit: 1 })
            .map_err(unread)?;
        let overtaken = newest.items.first().is_some_and(|other| other.id.event > id.event);
        Ok(Past { end: delivery.state.end(), round: delivery.round, overtaken })
    }

    /// Sends a delivery that is over once more, whole, as a new round.
    pub async fn redeliver(&self, by: &KeyId, tenant: &TenantId, id: &DeliveryId) -> Result<(), EngineError> {
        let (pipeline, resource) = self.owned(tenant, id)?;
        let past = self.past(tenant, id, &pipeline, &resource).await?;
        let pending = || EngineError::Conflict(format!("delivery `{id}` is still pending"));
        let (was, round, out_of_order) = (past.end.ok_or_else(pending)?, past.round, past.overtaken);
        let order = Order::Redeliver {
            event: id.event,
            resource: resource.clone(),
            round: round.saturating_add(1),
            dead_letter: None,
            others_dead: false,
            out_of_order,
            was,
            by: by.clone(),
        };
        self.inner.registry.order(&pipeline, &resource, order).await
    }

    /// Calls off a pending delivery that is not in flight.
    pub async fn cancel_delivery(
        &self,
        by: &KeyId,
        tenant: &TenantId,
        id: &DeliveryId,
    ) -> Result<(), EngineError> {
        let (pipeline, resource) = self.owned(tenant, id)?;
        let order = Order::Cancel { event: id.event, resource: resource.clone(), by: by.clone() };
        self.inner.registry.order(&pipeline, &resource, order).await
    }

    /// The lanes of a pipeline behind `after` (a resource), by resource.
    pub async fn lanes(
        &self,
        id: &PipelineId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<LaneView>, EngineError> {
        let after = after.map(str::to_owned);
        let question = move |pipeline: &Pipeline| {
            let behind = |lane: &&Lane| after.as_ref().is_none_or(|after| *lane.resource > **after);
            let mut lanes: Vec<_> = pipeline.mailbox().lanes().filter(behind).collect();
            lanes.sort_unstable_by(|a, b| a.resource.cmp(&b.resource));
            lanes.truncate(limit);
            lanes.into_iter().map(|lane| lane_view(pipeline, lane)).collect::<Vec<_>>()
        };
        let mut lanes: Vec<_> = self.inner.registry.look(id, question).await.into_iter().flatten().collect();
        lanes.sort_unstable_by(|a, b| a.resource.cmp(&b.resource));
        lanes.truncate(limit);
        Ok(lanes)
    }

    /// Passes over the head of a lane and lets it go on.
    pub async fn skip_lane(&self, by: &KeyId, id: &PipelineId, resource: &str) -> Result<(), EngineError> {
        let order = Order::SkipHead { resource: resource.into(), by: by.clone() };
        self.inner.registry.order(id, resource, order).await
    }

    /// Lets a halted lane go on.
    pub async fn resume_lane(&self, by: &KeyId, id: &PipelineId, resource: &str) -> Result<(), EngineError> {
        let order = Order::ResumeLane { resource: resource.into(), by: by.clone() };
        self.inner.registry.order(id, resource, order).await
    }

    /// Open dead letters of a tenant, newest first, behind `after`.
    pub async fn dead_letters(
        &self,
        tenant: &TenantId,
        pipeline: Option<&PipelineId>,
        after: Option<&DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, EngineError> {
        let (tenant, pipeline, after) = (tenant.clone(), pipeline.cloned(), after.cloned());
        Ok(self.inner.dead_letters.send(List { tenant, pipeline, after, limit }).await?)
    }

    /// Puts a dead letter back into its lane; answers with the delivery when it is there, durably.
    pub async fn retry_dead_letter(
        &self,
        by: &KeyId,
        tenant: &TenantId,
        id: &DeadLetterId,
    ) -> Result<DeliveryId, EngineError> {
        self.settle(by, tenant, id, true).await?;
        Ok(id.delivery.clone())
    }

    /// Dismisses a dead letter.
    pub async fn delete_dead_letter(
        &self,
        by: &KeyId,
        tenant: &TenantId,
        id: &DeadLetterId,
    ) -> Result<(), EngineError> {
        self.settle(by, tenant, id, false).await
    }

    async fn settle(
        &self,
        by: &KeyId,
        tenant: &TenantId,
        id: &DeadLetterId,
        retry: bool,
    ) -> Result<(), EngineError> {
        let missing = || EngineError::NotFound { kind: "dead letter", id: id.to_string() };
        let pipeline = self.pipeline_of(tenant, &id.delivery).ok_or_else(missing)?;
        let retry = if retry {
            let (_, resource) = self.owned(tenant, &id.delivery).map_err(|_| missing())?;
            let past = self.past(tenant, &id.delivery, &pipeline, &resource).await?;
            // Rounds are numbered over the whole delivery: another step's retry may have taken the next number.
            Some(Retry { round: past.round.max(id.round).saturating_add(1), out_of_order: past.overtaken })
        } else {
            None
        };
        let ask = Settle { by: by.clone(), tenant: tenant.clone(), pipeline, item: id.clone(), retry };
        self.inner.dead_letters.send(ask).await?
    }

    /// Live counts of one pipeline.
    pub async fn counts(&self, id: &PipelineId) -> Result<DeliveryCounts, EngineError> {
        let mut sum = DeliveryCounts::default();
        self.inner.registry.look(id, DeliveryCounts::of).await.into_iter().for_each(|part| sum.merge(part));
        Ok(sum)
    }

    /// Live queue depths over a tenant's pipelines.
    pub async fn queue_depths(&self, tenant: &TenantId) -> Result<QueueDepths, EngineError> {
        let mine: Vec<_> = self.with_catalog(|catalog| {
            catalog.pipelines().filter(|p| p.tenant == *tenant).map(|p| p.id.clone()).collect()
        });
        let question = |pipeline: &Pipeline| {
            let tally = pipeline.mailbox().tally();
            let pending = tally.queued + tally.in_flight + tally.retrying;
            let at_failover =
                |lane: &&Lane| lane.head.as_ref().is_some_and(|head| head.queue == Queue::Failover);
            (pending, pipeline.mailbox().lanes().filter(at_failover).count() as u64)
        };
        let mut depths = QueueDepths {
            dlq: self.inner.dead_letters.send(Count(tenant.clone())).await?,
            ..QueueDepths::default()
        };
        for id in mine {
            for (pending, failover) in self.inner.registry.look(&id, question).await {
                depths.primary += pending - failover;
                depths.failover += failover;
            }
        }
        Ok(depths)
    }

    /// Sends one request outside of every lane, under the same egress rules, and records nothing.
    pub async fn send_once(&self, request: Request) -> Result<Exchange, EngineError> {
        let (answer, heard) = oneshot::channel();
        let core =
            self.inner.cores.first().ok_or_else(|| EngineError::Unavailable("no engine thread".into()))?;
        core.spawn_fn(move || {
            let core = crate::core::Core::current();
            actix_rt::spawn(async move { drop(answer.send(core.transport.send(request).await)) });
        });
        heard.await.map_err(|_| EngineError::Unavailable("the test's task ended early".into()))
    }
}

/// See [`EngineHandle::past`].
struct Past {
    end: Option<End>,
    round: u16,
    /// A later event of the resource was delivered before.
    overtaken: bool,
}

fn lane_view(pipeline: &Pipeline, lane: &Lane) -> LaneView {
    let head = lane.head.as_ref();
    let held = lane.halted || pipeline.status() != Status::Active;
    let (state, next_due_at) = match head.map(|head| head.phase) {
        Some(Phase::InFlight) => ("in_flight", None),
        _ if held => ("held", None),
        Some(Phase::Waiting(at)) => ("retrying", Some(at)),
        Some(Phase::Ready) if head.is_some_and(crate::domain::delivery::Head::started) => ("retrying", None),
        _ => ("queued", None),
    };
    LaneView {
        resource: lane.resource.to_string(),
        depth: lane.depth(),
        head: head.map(|head| DeliveryId::new(head.entry.event, pipeline.id())),
        state,
        blocked_since: None,
        next_due_at,
    }
}

// ---- the engine itself -----------------------------------------------------------------------------------------

impl EngineHandle {
    /// Position, digest and counts of the whole state: from the running workers if they stand still for a moment,
    /// else from a fold of the log up to its durable end.
    pub async fn state(&self) -> Result<StateSummary, EngineError> {
        for _ in 0..20 {
            if let Some(summary) = self.live_state().await {
                return Ok(summary);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let log = Arc::clone(&self.inner.log);
        let fold = move || {
            let durable = log.watermark().get();
            replay::fold(&*log, State::default(), durable).map(|state| state.summary())
        };
        let folded = tokio::task::spawn_blocking(fold).await;
        let failed =
            |e: &dyn std::fmt::Display| EngineError::Unavailable(format!("the log cannot be folded: {e}"));
        folded.map_err(|e| failed(&e))?.map_err(|e| failed(&e))
    }

    /// The state of the workers, if nothing was appended while they were asked.
    async fn live_state(&self) -> Option<StateSummary> {
        let tail = self.inner.log.tail();
        self.settled().await?;
        let mut sum = self.inner.retired;
        sum.events = self.inner.intake.accepted.load(Ordering::Relaxed);
        for (id, workers) in self.inner.registry.all() {
            let parts = self.inner.registry.look(&id, part_of).await;
            if parts.len() < workers.len() {
                return None; // one of them is being restarted, or was given up
            }
            parts.into_iter().for_each(|part| sum.merge(part));
        }
        sum.merge(self.inner.dead_letters.send(ShareParts).await.ok()?);
        self.with_catalog(|catalog| sum.add_catalog(catalog));
        self.inner.log.kick();
        let still = self.inner.log.tail() == tail && self.inner.log.watermark().reached(tail).await;
        // Dead letters hear of facts once they are durable; ask again if that was not so at the beginning.
        still.then(|| sum.summary(tail))
    }

    /// Waits until what was appended is durable, and every worker and the dead letters have heard of it.
    async fn settled(&self) -> Option<()> {
        self.inner.log.kick();
        if !self.inner.log.watermark().reached(self.inner.log.tail()).await {
            return None;
        }
        for hub in self.inner.registry.hubs() {
            let (done, heard) = oneshot::channel();
            hub.post(Post::Barrier(done));
            hub.wake();
            heard.await.ok()?;
        }
        for (id, _) in self.inner.registry.all() {
            // Behind this order's answer stands everything that the worker had parked.
            self.inner.registry.order_all(&id, || Order::Barrier).await;
        }
        Some(())
    }

    /// The supervision tree.
    pub async fn actors(&self) -> Result<Vec<ActorView>, EngineError> {
        let single = |kind: &'static str, connected: bool| ActorView {
            kind,
            id: kind.to_owned(),
            state: if connected { "running" } else { "failed" },
            restarts: 0,
            last_exit_reason: None,
            mailbox_depth: 0,
            in_flight: 0,
        };
        let mut views = vec![
            single("supervisor", self.inner.supervisor.connected()),
            single("catalog", self.inner.catalog.connected()),
            single("dead_letters", self.inner.dead_letters.connected()),
        ];
        let mut workers = self.inner.registry.all();
        workers.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (id, parts) in workers {
            let sum = |of: &dyn Fn(&crate::supervisor::status::WorkerStatus) -> u64| {
                parts.iter().map(|w| of(&w.status)).sum()
            };
            let health = parts.iter().map(|w| w.status.health()).max().unwrap_or(Health::Running);
            views.push(ActorView {
                kind: "pipeline",
                id: id.to_string(),
                state: health.as_str(),
                restarts: sum(&|s| s.restarts.load(Ordering::Relaxed)),
                last_exit_reason: parts.iter().find_map(|w| w.status.last_reason()),
                mailbox_depth: sum(&|s| s.depth.load(Ordering::Relaxed)),
                in_flight: sum(&|s| s.in_flight.load(Ordering::Relaxed)),
            });
        }
        Ok(views)
    }

    /// Brings a failed worker back.
    pub async fn revive(&self, by: &KeyId, id: &str) -> Result<(), EngineError> {
        let (id, by) = (PipelineId::new(id), by.clone());
        self.inner.supervisor.send(Revive { id, by }).await?
    }

    /// Makes a worker panic.
    #[cfg(feature = "chaos")]
    pub async fn panic(&self, id: &str) -> Result<(), EngineError> {
        let missing = || EngineError::NotFound { kind: "actor", id: id.to_owned() };
        let workers = self.inner.registry.get(&PipelineId::new(id)).ok_or_else(missing)?;
        if let Some(worker) = workers.first() {
            drop(worker.address.send(Order::Panic).await);
        }
        Ok(())
    }

    /// Whether the engine can take work, and what is wrong if it cannot: (part, problem).
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.inner.log.watermark().failed() {
            problems.push(("log", "the log cannot be written".to_owned()));
        }
        if self.inner.intake.closed.load(Ordering::Acquire) {
            problems.push(("intake", "the engine is stopping".to_owned()));
        }
        problems.extend(self.inner.stalls.list().into_iter().map(|text| ("cores", text)));
        problems.extend(self.inner.projections.problem().map(|text| ("projections", text)));
        for (id, workers) in self.inner.registry.all() {
            if workers.iter().any(|worker| worker.status.health() == Health::Failed) {
                problems.push((
                    "supervisor",
                    format!("pipeline `{id}` is failed; revive it at /api/actors/{id}/revive"),
                ));
            }
        }
        problems
    }

    /// Events and bytes that are on their way to the disk.
    #[must_use]
    pub fn intake_load(&self) -> (usize, usize) {
        (self.inner.intake.events.load(Ordering::Relaxed), self.inner.intake.bytes.load(Ordering::Relaxed))
    }

    /// Drains and stops: no new work, attempts in flight may end within `grace`, the log is synced and closed.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), EngineError> {
        self.inner.intake.closed.store(true, Ordering::Release);
        let all = self.inner.registry.all();
        for (id, _) in &all {
            self.inner.registry.order_all(id, || Order::Hold(Hold::Draining)).await;
        }
        let deadline = tokio::time::Instant::now() + grace;
        let busy = || all.iter().flat_map(|(_, w)| w).any(|w| w.status.in_flight.load(Ordering::Relaxed) > 0);
        while busy() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.record(EngineEvent::EngineStopped {});
        drop(self.inner.projections_thread.lock().take());
        let log = Arc::clone(&self.inner.log);
        let closed = tokio::task::spawn_blocking(move || log.close()).await;
        self.inner.stop.lock().take().map(|stop| stop.send(()));
        if let Some(thread) = self.inner.thread.lock().take() {
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
        closed.map_err(|e| EngineError::Unavailable(e.to_string()))??;
        Ok(())
    }

    fn record(&self, event: EngineEvent) {
        let fact = Fact::Engine(event);
        let (stream, record) = (codec::stream_of(&fact), codec::encode(&fact));
        let append = Append {
            stream: &stream,
            expected: Expected::Any,
            at: self.inner.clock.now(),
            records: &[record],
        };
        if let Err(error) = self.inner.log.append(&[append], &mut |_, _| {}) {
            tracing::warn!(%error, "cannot record what happened to the engine");
        }
        self.inner.log.kick();
    }
}

fn part_of(pipeline: &Pipeline) -> StateParts {
    let mut part = StateParts::default();
    part.add_pipeline(pipeline);
    part
}

/// Which queue a delivery stands in, for views.
#[must_use]
pub fn queue_name(queue: Queue) -> &'static str {
    match queue {
        Queue::Primary => "primary",
        Queue::Failover => "failover",
    }
}
