//! The dead-letter actor: owns the queue of what used up its attempts, answers for it, and sends it back.
//!
//! It follows the facts that workers append. Retrying is an order to the worker that owns the lane, so that the
//! fact is written by the lane's one writer; this actor makes sure that it is asked once.
//!
//! The queue of a pipeline has a maximum (ORD.11). Beyond it its oldest item is dismissed, as an operator would, by
//! `key_engine`: the fact is in the log, the delivery stays `dead_lettered` and can be sent again.

use crate::{
    accepted::AcceptedEvent,
    domain::{
        by::By,
        dead_letter::{DeadLetter, DeadLetterQueue},
        event::End,
        id::{DeadLetterId, PipelineId, TenantId},
        state::StateParts,
    },
    error::EngineError,
    failpoint,
    log::{EventLog, Position, replay},
    worker::{Follow, order::Order, redelivery::Turn, registry::Registry},
};
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseActFuture,
    Supervised, WrapFuture, fut,
};
use dashmap::DashMap;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tracing::error;

/// Retry or dismiss an item.
#[derive(Debug)]
pub(crate) struct Settle {
    pub(crate) by: By,
    pub(crate) tenant: TenantId,
    pub(crate) pipeline: PipelineId,
    pub(crate) item: DeadLetterId,
    /// Back into its lane, as this round; `None` dismisses it.
    pub(crate) retry: Option<Retry>,
}

/// What only the history knows.
#[derive(Debug)]
pub(crate) struct Retry {
    /// Number of the new round.
    pub(crate) round: u16,
    /// Whether a later event of the resource was delivered.
    pub(crate) out_of_order: bool,
    /// How the delivery ended; while it goes on with its other steps, nothing is sent again.
    pub(crate) was: End,
    /// Nobody else sends the delivery again meanwhile.
    pub(crate) turn: Turn,
}

impl Message for Settle {
    type Result = Result<(), EngineError>;
}

/// Open items of a tenant, newest first.
#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) tenant: TenantId,
    pub(crate) pipeline: Option<PipelineId>,
    pub(crate) after: Option<DeadLetterId>,
    pub(crate) limit: usize,
}

impl Message for List {
    type Result = Vec<DeadLetter>;
}

/// How many items of a tenant are open.
pub(crate) struct Count(pub(crate) TenantId);

impl Message for Count {
    type Result = u64;
}

/// See the module.
pub struct DeadLetterActor {
    log: Arc<dyn EventLog>,
    registry: Registry,
    queue: DeadLetterQueue,
    folded: Position,
    seeded: bool,
    /// Items that are being settled right now.
    busy: HashSet<DeadLetterId>,
    bounds: Bounds,
    /// Pipelines whose oldest item is being dismissed.
    full: HashSet<PipelineId>,
}

/// How many items of each tenant are open, for those who cannot wait for the actor. A moment behind the log, as the
/// actor is.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenCounts(Arc<DashMap<TenantId, u64>>);

impl OpenCounts {
    pub(crate) fn of(&self, tenant: &TenantId) -> u64 {
        self.0.get(tenant).map_or(0, |count| *count)
    }

    fn set_all<'t>(&self, counts: impl Iterator<Item = (&'t TenantId, u64)>) {
        self.0.clear();
        counts.for_each(|(tenant, count)| self.set(tenant, count));
    }

    pub(crate) fn set(&self, tenant: &TenantId, count: u64) {
        if count == 0 {
            self.0.remove(tenant);
        } else {
            self.0.insert(tenant.clone(), count);
        }
    }
}

/// How many items a pipeline may have, and how many had to go for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) items_max: usize,
    pub(crate) dropped: Arc<AtomicU64>,
    pub(crate) open: OpenCounts,
}

impl DeadLetterActor {
    pub(crate) fn new(
        log: Arc<dyn EventLog>,
        registry: Registry,
        queue: DeadLetterQueue,
        folded: Position,
        bounds: Bounds,
    ) -> Self {
        let (busy, full) = (HashSet::new(), HashSet::new());
        bounds.open.set_all(queue.tenants());
        Self { log, registry, queue, folded, seeded: true, busy, bounds, full }
    }
}

impl Actor for DeadLetterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if std::mem::take(&mut self.seeded) {
            return;
        }
        let log = Arc::clone(&self.log);
        ctx.wait(replay::again(log).into_actor(self).map(|state, this, ctx| match state {
            Some(state) => {
                (this.queue, this.folded) = (state.dead_letters, state.position);
                this.bounds.open.set_all(this.queue.tenants());
            }
            None => ctx.stop(),
        }));
    }
}

impl Supervised for DeadLetterActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.queue = DeadLetterQueue::default();
        self.busy.clear();
        self.full.clear();
    }
}

impl Handler<Follow> for DeadLetterActor {
    type Result = ();

    fn handle(&mut self, fact: Follow, ctx: &mut Self::Context) {
        failpoint::hold_up("dead_letters.follow", ctx);
        if fact.position > self.folded {
            self.queue.evolve(&fact.tenant, &fact.pipeline, &fact.event, fact.at);
            self.tell(&fact.tenant);
            self.make_room(&fact.pipeline, ctx);
        }
    }
}

impl Handler<Settle> for DeadLetterActor {
    type Result = ResponseActFuture<Self, Result<(), EngineError>>;

    fn handle(&mut self, mut ask: Settle, ctx: &mut Self::Context) -> Self::Result {
        failpoint::hold_up("dead_letters.settle", ctx);
        let retry = ask.retry.take();
        let (resource, order) = match self.order(&ask, retry) {
            Ok(order) => order,
            Err(error) => return Box::pin(fut::ready(Err(error))),
        };
        let registry = self.registry.clone();
        let work = async move { (registry.order(&ask.pipeline, &resource, order).await, ask) };
        Box::pin(work.into_actor(self).map(|(done, ask), this, _| {
            this.busy.remove(&ask.item);
            // The fact comes as a message of its own; taking the item out now keeps a second call away from it.
            done.inspect(|()| {
                this.queue.remove(&ask.pipeline, &ask.item);
                this.tell(&ask.tenant);
            })
        }))
    }
}

impl DeadLetterActor {
    fn tell(&self, tenant: &TenantId) {
        self.bounds.open.set(tenant, self.queue.count_of_tenant(tenant));
    }

    /// Dismisses the oldest item of a pipeline that has too many, and the next one behind it.
    fn make_room(&mut self, pipeline: &PipelineId, ctx: &mut Context<Self>) {
        if self.queue.count(pipeline) <= self.bounds.items_max || self.full.contains(pipeline) {
            return;
        }
        let oldest = self.queue.of_pipeline(pipeline).find(|item| !self.busy.contains(&item.id()));
        let Some((item, tenant)) = oldest.map(|item| (item.id(), item.tenant.clone())) else { return };
        error!(
            pipeline.id = %pipeline, dead_letter = %item, max = self.bounds.items_max,
            "the dead-letter queue of the pipeline is full, its oldest item is dismissed"
        );
        self.full.insert(pipeline.clone());
        let (by, pipeline) = (By::engine(), pipeline.clone());
        let dismiss = Settle { by, tenant, pipeline: pipeline.clone(), item, retry: None };
        let dismissed = ctx.address().send(dismiss).into_actor(self);
        ctx.spawn(dismissed.map(move |answer, this, ctx| {
            this.full.remove(&pipeline);
            match answer {
                Ok(Ok(())) => {
                    this.bounds.dropped.fetch_add(1, Ordering::Relaxed);
                    this.make_room(&pipeline, ctx);
                }
                // The next dead letter asks again.
                Ok(Err(error)) => error!(pipeline.id = %pipeline, %error, "its oldest item stays"),
                Err(_) => {}
            }
        }));
    }

    fn order(&mut self, ask: &Settle, retry: Option<Retry>) -> Result<(Box<str>, Order), EngineError> {
        let missing = || EngineError::NotFound { kind: "dead letter", id: ask.item.to_string() };
        let item = self
            .queue
            .get(&ask.pipeline, &ask.item)
            .filter(|i| i.tenant == ask.tenant)
            .ok_or_else(missing)?;
        let (event, dead_letter) = (item.event, item.by_ref());
        let others_dead =
            self.queue.of_delivery(&ask.pipeline, event).any(|other| other.by_ref() != dead_letter);
        if !self.busy.insert(ask.item.clone()) {
            return Err(EngineError::Conflict(format!(
                "dead letter `{}` is being settled already",
                ask.item
            )));
        }
        let accepted = match AcceptedEvent::read(&*self.log, event) {
            Ok(accepted) => accepted,
            Err(problem) => {
                self.busy.remove(&ask.item);
                return Err(EngineError::Conflict(format!("the event cannot be sent again: {problem}")));
            }
        };
        let (resource, by) = (accepted.accepted.resource.clone(), ask.by.clone());
        let order = match retry {
            None => Order::DeleteDeadLetter { event, resource, dead_letter, by },
            Some(Retry { round, out_of_order, was, turn }) => Order::Redeliver {
                turn,
                resource,
                round,
                dead_letter: Some(dead_letter),
                others_dead,
                out_of_order,
                was,
                by,
            },
        };
        Ok((accepted.accepted.resource.clone(), order))
    }
}

impl Handler<List> for DeadLetterActor {
    type Result = Vec<DeadLetter>;

    fn handle(&mut self, ask: List, _: &mut Self::Context) -> Self::Result {
        let mine = |item: &&DeadLetter| {
            item.tenant == ask.tenant && ask.pipeline.as_ref().is_none_or(|p| item.pipeline == *p)
        };
        let behind = |item: &&DeadLetter| {
            ask.after.as_ref().is_none_or(|after| {
                let (a, b) = (item.id(), after);
                (a.delivery.event, a.delivery.pipeline, a.step, a.round)
                    < (b.delivery.event, b.delivery.pipeline.clone(), b.step, b.round)
            })
        };
        self.queue.iter().rev().filter(mine).filter(behind).take(ask.limit).cloned().collect()
    }
}

impl Handler<Count> for DeadLetterActor {
    type Result = u64;

    fn handle(&mut self, Count(tenant): Count, _: &mut Self::Context) -> Self::Result {
        self.queue.count_of_tenant(&tenant)
    }
}

impl Handler<ShareParts> for DeadLetterActor {
    type Result = actix::MessageResult<ShareParts>;

    fn handle(&mut self, _: ShareParts, _: &mut Self::Context) -> Self::Result {
        let mut parts = StateParts::default();
        parts.add_dead_letters(&self.queue);
        actix::MessageResult(parts)
    }
}

/// The actor's share of the state's digest.
pub(crate) struct ShareParts;

impl Message for ShareParts {
    type Result = StateParts;
}
