//! Events in, and what operators do to deliveries, lanes and dead letters.

use super::{EngineError, EngineHandle, LaneView, NewEvent, QueueDepths, Receipt};
use crate::{
    core::Core,
    dead_letters::{Count, List, Retry, Settle},
    delivery::{Exchange, Request},
    domain::{
        by::By,
        dead_letter::DeadLetter,
        delivery::{Head, HeldReason, Phase},
        event::{End, Fact, Queue},
        id::{DeadLetterId, DeliveryId, PipelineId, TenantId},
        mailbox::{Lane, Target},
        pipeline::{Pipeline, Rejection},
        state::DeliveryCounts,
        step::Status,
        time::Timestamp,
    },
    endpoints::Endpoints,
    log::{LogError, Position},
    projections::{DeliveryFilter, DeliveryState, PageRequest, ProjectionError, Projections},
    worker::{order::Order, redelivery::Turn},
};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::oneshot;

impl EngineHandle {
    /// Accepts an event; answers when it is durable.
    pub async fn accept_one(&self, tenant: &TenantId, event: NewEvent) -> Result<Receipt, EngineError> {
        self.inner.intake.accept_one(tenant, event).await
    }

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
        let record = self.inner.log.read_at(id.event).map_err(|_| missing())?;
        match record.fact() {
            Ok(Fact::Accepted(owner, accepted))
                if owner == *tenant && accepted.routes.iter().any(|route| route.pipeline == pipeline) =>
            {
                Ok((pipeline, accepted.resource))
            }
            _ => Err(missing()),
        }
    }

    /// What is sent once more has to be there still.
    fn require_payload(&self, tenant: &TenantId, id: &DeliveryId) -> Result<(), EngineError> {
        if self.is_erased(tenant, id.event) {
            return Err(EngineError::PayloadGone(id.to_string()));
        }
        match self.inner.log.payload(id.event) {
            // That it is damaged is found by the attempt, and told.
            Ok(Some(_)) | Err(LogError::Damaged { .. }) => Ok(()),
            Ok(None) => Err(EngineError::PayloadGone(id.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks read models that have folded all that is in the log by now, or is refused.
    pub(super) async fn whole_history<T>(
        &self,
        query: impl FnOnce(&Projections) -> Result<T, ProjectionError>,
    ) -> Result<T, EngineError> {
        let answer = self.inner.projections.as_of(self.inner.log.tail(), query).await;
        answer.map_err(|error| EngineError::HistoryBehind(error.to_string()))
    }

    /// What only the read models remember of a delivery that is over; exact, as `worker/redelivery.rs` says, for who
    /// holds its turn.
    async fn past(
        &self,
        tenant: &TenantId,
        id: &DeliveryId,
        pipeline: &PipelineId,
        resource: &str,
        _: &Turn,
    ) -> Result<Past, EngineError> {
        let filter = DeliveryFilter {
            pipeline: Some(pipeline.clone()),
            resource: Some(resource.to_owned()),
            state: Some(DeliveryState::Delivered),
            ..DeliveryFilter::default()
        };
        let read = |models: &Projections| {
            let newest = models.deliveries(tenant, &filter, PageRequest { cursor: None, limit: 1 })?;
            Ok((models.delivery(tenant, id)?, newest.items))
        };
        let (delivery, newest) = self.whole_history(read).await?;
        let missing = || EngineError::NotFound { kind: "delivery", id: id.to_string() };
        let delivery = delivery.ok_or_else(missing)?;
        let overtaken = newest.first().is_some_and(|other| other.id.event > id.event);
        Ok(Past { end: delivery.state.end(), round: delivery.round, overtaken })
    }

    /// Sends a delivery that is over once more, whole, as a new round.
    pub async fn redeliver(&self, by: &By, tenant: &TenantId, id: &DeliveryId) -> Result<(), EngineError> {
        let (pipeline, resource) = self.owned(tenant, id)?;
        let turn = self.inner.redeliveries.take(id)?;
        self.require_payload(tenant, id)?;
        let past = self.past(tenant, id, &pipeline, &resource, &turn).await?;
        let pending = || EngineError::Conflict(format!("delivery `{id}` is still pending"));
        let (was, round, out_of_order) = (past.end.ok_or_else(pending)?, past.round, past.overtaken);
        let order = Order::Redeliver {
            turn,
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
        by: &By,
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
        let (endpoints, now) = (self.inner.registry.endpoints(id), self.now());
        let question = move |pipeline: &Pipeline| {
            let behind = |lane: &&Lane| after.as_ref().is_none_or(|after| *lane.resource > **after);
            let mut lanes: Vec<_> = pipeline.mailbox().lanes().filter(behind).collect();
            lanes.sort_unstable_by(|a, b| a.resource.cmp(&b.resource));
            lanes.truncate(limit);
            lanes.into_iter().map(|lane| lane_view(pipeline, lane, &endpoints, now)).collect::<Vec<_>>()
        };
        let mut lanes: Vec<_> = self.inner.registry.look(id, question).await.into_iter().flatten().collect();
        lanes.sort_unstable_by(|a, b| a.resource.cmp(&b.resource));
        lanes.truncate(limit);
        for lane in lanes.iter_mut().filter(|lane| lane.depth > 1) {
            let head = lane.head.as_ref().and_then(|head| self.inner.log.read_at(head.event).ok());
            lane.blocked_since = head.map(|record| record.at);
        }
        Ok(lanes)
    }

    /// Passes over the head of a lane and lets it go on.
    pub async fn skip_lane(&self, by: &By, id: &PipelineId, resource: &str) -> Result<(), EngineError> {
        let order = Order::SkipHead { resource: resource.into(), by: by.clone() };
        self.order_lane(id, resource, order).await
    }

    /// Lets a halted lane go on.
    pub async fn resume_lane(&self, by: &By, id: &PipelineId, resource: &str) -> Result<(), EngineError> {
        let order = Order::ResumeLane { resource: resource.into(), by: by.clone() };
        self.order_lane(id, resource, order).await
    }

    async fn order_lane(&self, id: &PipelineId, resource: &str, order: Order) -> Result<(), EngineError> {
        self.inner.registry.order(id, resource, order).await.map_err(|error| match error {
            EngineError::Rejected(Rejection::LaneEmpty) => {
                EngineError::NotFound { kind: "lane", id: resource.into() }
            }
            other => other,
        })
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

    /// Dead letters that were dismissed for want of room since the process began.
    #[must_use]
    pub fn dead_letters_dropped(&self) -> u64 {
        self.inner.dead_letters_dropped.load(Ordering::Relaxed)
    }

    /// Puts a dead letter back into its lane; answers with the delivery when it is there, durably.
    pub async fn retry_dead_letter(
        &self,
        by: &By,
        tenant: &TenantId,
        id: &DeadLetterId,
    ) -> Result<DeliveryId, EngineError> {
        self.settle(by, tenant, id, true).await?;
        Ok(id.delivery.clone())
    }

    /// Dismisses a dead letter.
    pub async fn delete_dead_letter(
        &self,
        by: &By,
        tenant: &TenantId,
        id: &DeadLetterId,
    ) -> Result<(), EngineError> {
        self.settle(by, tenant, id, false).await
    }

    async fn settle(
        &self,
        by: &By,
        tenant: &TenantId,
        id: &DeadLetterId,
        retry: bool,
    ) -> Result<(), EngineError> {
        let missing = || EngineError::NotFound { kind: "dead letter", id: id.to_string() };
        let (pipeline, resource) = self.owned(tenant, &id.delivery).map_err(|_| missing())?;
        let retry = if retry {
            let turn = self.inner.redeliveries.take(&id.delivery)?;
            self.require_payload(tenant, &id.delivery)?;
            let past = self.past(tenant, &id.delivery, &pipeline, &resource, &turn).await?;
            // Rounds are numbered over the whole delivery: another step's retry may have taken the next number.
            let round = past.round.saturating_add(1);
            // While its other steps go on, nothing is sent again.
            let was = past.end.ok_or(Rejection::AlreadyPending)?;
            Some(Retry { round, out_of_order: past.overtaken, was, turn })
        } else {
            self.inner.redeliveries.settled(&id.delivery).await;
            None
        };
        // A fact of the lane reaches the queue when it is durable, and before this is answered: what the delivery left
        // in the queue is there, and what was taken out by being sent again is not.
        self.inner.registry.order(&pipeline, &resource, Order::Barrier).await.map_err(
            |error| match error {
                EngineError::NotFound { .. } => missing(),
                other => other,
            },
        )?;
        let ask = Settle { by: by.clone(), tenant: tenant.clone(), pipeline, item: id.clone(), retry };
        self.inner.dead_letters.send(ask).await?
    }

    /// Live counts of one pipeline.
    pub async fn counts(&self, id: &PipelineId) -> Result<DeliveryCounts, EngineError> {
        let mut sum = DeliveryCounts::default();
        let circuits = Arc::new(self.inner.registry.endpoints(id).circuits());
        let question = move |pipeline: &Pipeline| DeliveryCounts::with(pipeline, &circuits);
        self.inner.registry.look(id, question).await.into_iter().for_each(|part| sum.merge(part));
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
            let core = Core::current();
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

fn lane_view(pipeline: &Pipeline, lane: &Lane, endpoints: &Endpoints, now: Timestamp) -> LaneView {
    let head = lane.head.as_ref();
    let by_endpoint = || {
        let state = endpoints.state(pipeline.url_of(Target::of(head?))?, &pipeline.config().control, now);
        let due = if let Phase::Waiting(at) = head?.phase { Some(at) } else { None };
        Some((state.holds(due, now)?, state.opening.map(|opening| opening.probe_at)))
    };
    let hold = if pipeline.status() != Status::Active {
        Some((HeldReason::Pause, None))
    } else if lane.is_halted() {
        Some((HeldReason::Halt, None))
    } else {
        by_endpoint()
    };
    let (state, due) = match (head.map(|head| head.phase), hold) {
        (Some(Phase::InFlight), _) => ("in_flight", None),
        (Some(Phase::Waiting(at)), Some((HeldReason::Breaker, probe_at))) => ("held", Some(at).max(probe_at)),
        (_, Some((_, probe_at))) => ("held", probe_at),
        (Some(Phase::Waiting(at)), None) => ("retrying", Some(at)),
        (Some(Phase::Ready), None) if head.is_some_and(Head::started) => ("retrying", None),
        (_, None) => ("queued", None),
    };
    LaneView {
        resource: lane.resource.to_string(),
        depth: lane.depth(),
        head: head.map(|head| DeliveryId::new(head.entry.event, pipeline.id())),
        state,
        held_reason: hold.map(|(reason, _)| reason.as_str()).filter(|_| state == "held"),
        blocked_since: None,
        next_due_at: due,
    }
}
