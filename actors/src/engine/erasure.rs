//! Erases payloads on request. The fact comes first; deliveries that wait are called off; then the bytes are
//! overwritten. Whatever a crash leaves of it, the next start carries out.

use super::{EngineError, EngineHandle};
use crate::{
    clock::Clock,
    domain::{
        by::By,
        erasure::{Erasure, Erasures, Extent},
        event::{EngineEvent, Fact, LaneEvent, PipelineEvent, TenantEvent},
        id::{PipelineId, TenantId},
        pipeline::Pipeline,
    },
    log::{Position, RecordRef, StreamId, codec, segment::SegmentLog},
    worker::{order::Order, registry::Registry},
};
use futures_util::future::join_all;
use parking_lot::RwLock;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tracing::{error, info};

/// How long a caller waits for the end of it; it goes on without them.
const PATIENCE: Duration = Duration::from_secs(20);

/// Orders to workers that are under way at a time.
const ORDERS: usize = 1_000;

/// What all threads know of what was erased. Asked for every attempt.
#[derive(Debug, Default)]
pub(crate) struct Erased {
    any: AtomicBool,
    known: RwLock<Erasures>,
}

impl Erased {
    pub(crate) fn new(known: Erasures) -> Self {
        Self { any: (known != Erasures::default()).into(), known: RwLock::new(known) }
    }

    pub(crate) fn covers(&self, tenant: &TenantId, event: Position) -> bool {
        self.any.load(Ordering::Acquire) && self.known.read().covers(tenant, event)
    }

    fn add(&self, position: Position, fact: &Fact) {
        self.known.write().evolve(position, fact);
        self.any.store(true, Ordering::Release);
    }
}

/// How far an erasure has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where the request is recorded; `None` if everything was erased before.
    pub erasure: Option<Position>,
    /// Whether everything is gone from the disk. If not, it will be, also after a crash.
    pub finished: bool,
    /// Payloads that were overwritten.
    pub payloads: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl EngineHandle {
    /// Erases the payload of a tenant's event, of all that had this id, and what receivers answered to them.
    pub async fn erase_event(&self, by: &By, tenant: &TenantId, id: &str) -> Result<Progress, EngineError> {
        // Each of them: one that read models do not know of yet would stay.
        let events = self.whole_history(|models| models.positions_of(tenant, id)).await?;
        if events.is_empty() {
            return Err(EngineError::NotFound { kind: "event", id: id.to_owned() });
        }
        if events.iter().all(|event| self.is_erased(tenant, *event)) {
            return Ok(Progress { erasure: None, finished: true, payloads: 0, bytes: 0 });
        }
        let event = TenantEvent::EventErased { id: id.into(), events, by: by.clone() };
        self.erase(tenant, event).await
    }

    /// Erases the payloads of everything that a tenant has posted so far. The tenant may be deleted.
    pub async fn erase_tenant(&self, by: &By, tenant: &TenantId) -> Result<Progress, EngineError> {
        let log = &self.inner.log;
        if log.stream_version(&StreamId::new(format!("tenant/{tenant}"))) == 0 {
            return Err(EngineError::NotFound { kind: "tenant", id: tenant.to_string() });
        }
        let through = log.tail();
        self.erase(tenant, TenantEvent::PayloadsErased { through, by: by.clone() }).await
    }

    /// Whether the payload of an event was erased.
    #[must_use]
    pub fn is_erased(&self, tenant: &TenantId, event: Position) -> bool {
        self.inner.erased.covers(tenant, event)
    }

    /// Carries out what was asked for before a crash.
    pub(super) fn resume_erasures(&self, erasures: &Erasures) {
        for (position, erasure) in erasures.unfinished() {
            let (this, erasure) = (self.clone(), erasure.clone());
            actix_rt::spawn(async move { this.carry_out(position, erasure).await });
        }
    }

    async fn erase(&self, tenant: &TenantId, event: TenantEvent) -> Result<Progress, EngineError> {
        let erasure =
            Erasure::asked_by(tenant, &event).ok_or_else(|| EngineError::Setup("no erasure".into()))?;
        let fact = Fact::Tenant(tenant.clone(), event);
        let position = codec::append(&*self.inner.log, self.inner.clock.now(), &fact, None)?.last;
        self.inner.erased.add(position, &fact);
        self.durable(position).await?;
        // On a task of its own: it goes on though the caller hangs up.
        let this = self.clone();
        let work = actix_rt::spawn(async move { this.carry_out(position, erasure).await });
        let unfinished = Progress { erasure: Some(position), finished: false, payloads: 0, bytes: 0 };
        Ok(match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(Some((payloads, bytes)))) => Progress { finished: true, payloads, bytes, ..unfinished },
            _ => unfinished,
        })
    }

    /// Everything behind the fact; what went, or `None` if it is left to the next start.
    async fn carry_out(&self, position: Position, erasure: Erasure) -> Option<(u64, u64)> {
        match self.try_carry_out(position, erasure).await {
            Ok(gone) => Some(gone),
            Err(error) => {
                error!(%error, erasure = position.0, "payloads are not erased yet; the next start erases them");
                None
            }
        }
    }

    async fn try_carry_out(&self, position: Position, erasure: Erasure) -> Result<(u64, u64), EngineError> {
        crate::failpoint::hit("erasure.recorded");
        call_off(&self.inner.registry, &erasure).await;
        // No worker writes an excerpt of such an event any more: what there is stands up to here.
        let end = self.inner.log.tail();
        self.durable(end).await?;
        let log = Arc::clone(&self.inner.retention.log);
        let gone = tokio::task::spawn_blocking(move || overwrite(&log, &erasure, end)).await;
        let (payloads, bytes) = gone.map_err(|e| EngineError::Unavailable(e.to_string()))??;
        let finished = Fact::Engine(EngineEvent::ErasureFinished { erasure: position, payloads, bytes });
        let clock: Clock = self.inner.clock;
        let appended = codec::append(&*self.inner.log, clock.now(), &finished, None)?;
        self.durable(appended.last).await?;
        info!(erasure = position.0, payloads, bytes, "payloads are erased");
        Ok((payloads, bytes))
    }

    async fn durable(&self, position: Position) -> Result<(), EngineError> {
        self.inner.log.kick();
        let lost = || EngineError::Unavailable("the log cannot be written".into());
        self.inner.log.watermark().reached(position).await.then_some(()).ok_or_else(lost)
    }
}

/// Calls off what waits to be sent. Of what is in flight its worker takes care when it has ended.
async fn call_off(registry: &Registry, erasure: &Erasure) {
    for (id, _) in registry.all() {
        let asked = erasure.clone();
        let found = registry.look(&id, move |pipeline| waiting(pipeline, &asked)).await;
        let found: Vec<(Position, Box<str>)> = found.into_iter().flatten().collect();
        for some in found.chunks(ORDERS) {
            let order = |(event, resource): &(Position, Box<str>)| {
                let order = Order::Cancel {
                    event: *event,
                    resource: resource.clone(),
                    by: erasure.by.clone().into(),
                };
                let (id, resource) = (id.clone(), resource.clone());
                async move { registry.order(&id, &resource, order).await }
            };
            // Those that are over or in flight by now refuse it.
            join_all(some.iter().map(order)).await;
        }
    }
}

/// Deliveries of a pipeline that wait. The last of a lane first: no other is to begin meanwhile.
fn waiting(pipeline: &Pipeline, erasure: &Erasure) -> Vec<(Position, Box<str>)> {
    if *pipeline.tenant() != erasure.tenant {
        return Vec::new();
    }
    let mut found = Vec::new();
    for lane in pipeline.mailbox().lanes() {
        let head = lane.head.as_ref().map(|head| head.entry.event);
        let events = lane.waiting.events().rev().chain(head);
        found.extend(
            events.filter(|event| erasure.covers(*event)).map(|event| (event, lane.resource.clone())),
        );
    }
    found
}

/// Overwrites the events and what receivers answered to them. Blocks.
fn overwrite(log: &SegmentLog, erasure: &Erasure, end: Position) -> Result<(u64, u64), EngineError> {
    let mut pipelines = HashSet::new();
    let gone =
        log.erase_payloads(erasure.first(), end, &mut |record| is_meant(record, erasure, &mut pipelines))?;
    Ok((gone.payloads, gone.bytes))
}

/// Whether a record's payload belongs to what is erased; `pipelines` are those of the tenant, as far as they are needed.
fn is_meant(record: &RecordRef<'_>, erasure: &Erasure, pipelines: &mut HashSet<PipelineId>) -> bool {
    let by_tenant = matches!(erasure.extent, Extent::Through(_));
    // Facts of others cannot be told from damage here, and are none of our business.
    match codec::decode(record) {
        Ok(Fact::Accepted(tenant, _)) => tenant == erasure.tenant && erasure.covers(record.position),
        Ok(Fact::Pipeline(id, PipelineEvent::PipelineCreated { tenant, .. })) => {
            if by_tenant && tenant == erasure.tenant {
                pipelines.insert(id);
            }
            false
        }
        Ok(Fact::Lane(id, LaneEvent::AttemptEnded { attempt, .. })) => {
            erasure.covers(attempt.event) && (!by_tenant || pipelines.contains(&id))
        }
        _ => false,
    }
}
