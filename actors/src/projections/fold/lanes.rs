//! What facts about lanes change in the rows of deliveries, and with them in the totals.

use super::{Fold, counts::Move, halted_key};
use crate::{
    domain::{
        event::{End, LaneEvent, Verdict},
        id::LaneKey,
        time::Timestamp,
    },
    log::Position,
    projections::{
        names::Name,
        pipelines::CancelledPart,
        rows::{Page, Stand},
        store::StoreError,
        terms::Term,
    },
};
use fjall::Slice;

impl Fold {
    /// What a fact about a pipeline's lanes changes.
    pub(super) fn lane(
        &mut self,
        position: Position,
        at: Timestamp,
        id: &str,
        event: &LaneEvent,
    ) -> Result<(), StoreError> {
        let Some(pipeline) = self.store.names.find(id) else { return Ok(()) };
        match event {
            LaneEvent::LanesCancelled { part, parts } => {
                if let Some(row) = self.pipelines.change(&self.store, pipeline)? {
                    row.cancelled.push(CancelledPart { part: *part, parts: *parts, at });
                }
                return Ok(());
            }
            // A halted lane waits for what becomes of the dead letter that halted it, and for nothing else.
            LaneEvent::Redelivered { event, resource, redelivery, .. } => {
                let key = halted_key(pipeline, LaneKey::of(resource));
                if redelivery.was == End::DeadLettered && self.is_halted_by(&key, *event)? {
                    self.marks.insert(key, None);
                }
            }
            LaneEvent::HeadSkipped { resource, .. } | LaneEvent::LaneResumed { resource, .. } => {
                self.marks.insert(halted_key(pipeline, LaneKey::of(resource)), None);
            }
            _ => {}
        }
        if is_admin_write(event)
            && let Some(tenant) = self.pipelines.get(&self.store, pipeline)?.map(|row| row.tenant)
        {
            self.audit(tenant, position, Position::START);
        }
        match event_of(event) {
            Some(event_at) => self.delivery(position, at, pipeline, event_at, event),
            None => Ok(()),
        }
    }

    /// Whether the lane waits for what becomes of `event`. Marks of earlier versions do not say whose they are.
    fn is_halted_by(&self, key: &Slice, event: Position) -> Result<bool, StoreError> {
        let mark = self.marks.get(key).map_or_else(|| self.store.mark(key), |mark| Ok(mark.clone()))?;
        Ok(mark.is_some_and(|mark| mark.is_empty() || *mark == event.0.to_be_bytes()))
    }

    fn delivery(
        &mut self,
        position: Position,
        at: Timestamp,
        pipeline: Name,
        event_at: Position,
        event: &LaneEvent,
    ) -> Result<(), StoreError> {
        let Self { store, pages, pipelines, configs, counts, terms, marks, .. } = self;
        let Some(page) = pages.change(store, Page::of(event_at))? else { return Ok(()) };
        let Some(row) = page.find_mut(event_at) else { return Ok(()) };
        let cancelled = match (pipelines.get(store, pipeline)?, row.delivery(pipeline)) {
            (Some(known), Some(delivery)) => known.cancelled_at(row, delivery),
            _ => None,
        };
        let Some(delivery) = row.deliveries.iter_mut().find(|delivery| delivery.pipeline == pipeline) else {
            return Ok(());
        };
        if let Some(when) = cancelled {
            delivery.cancel(when);
            counts.stats.change_or_new(store, pipeline)?.enter(delivery.stand);
        }
        let from = (delivery.stand, delivery.ended_at);
        delivery.evolve(position, at, event);
        if matches!(event, LaneEvent::AttemptStarted { .. }) {
            return Ok(());
        }
        let settled = settlement(event);
        let step = match settled {
            Some((round, step, _)) => configs
                .get(store, (pipeline, delivery.version(round)))?
                .and_then(|config| config.steps.get(usize::from(step)))
                .map(|step| step.id),
            None => None,
        };
        let routed = configs.get(store, (pipeline, delivery.version(1)))?;
        let moved = Move {
            tenant: row.tenant,
            pipeline,
            from,
            to: (delivery.stand, delivery.ended_at),
            trigger: routed.map_or(&*row.event_type, |config| config.trigger(&row.event_type)),
            step,
            result: settled.and_then(|(.., verdict)| verdict.step),
        };
        if moved.from.0 != moved.to.0 {
            counts.moved(store, &moved)?;
            if delivery.stand == Stand::Ended(End::DeadLettered) {
                terms
                    .extend([(Term::failed_of(row.tenant), event_at), (Term::failed_in(pipeline), event_at)]);
            }
            if settled.is_some_and(|(.., verdict)| verdict.halt) && !delivery.stand.is_pending() {
                // The lane now waits for an operator.
                marks.insert(
                    halted_key(pipeline, LaneKey::of(&row.resource)),
                    Some(Slice::from(event_at.0.to_be_bytes())),
                );
            }
        }
        counts.attempt(store, &moved, at, event)
    }
}

/// The event that a fact is about, if it is about one.
fn event_of(event: &LaneEvent) -> Option<Position> {
    match event {
        LaneEvent::AttemptStarted { attempt, .. }
        | LaneEvent::AttemptEnded { attempt, .. }
        | LaneEvent::AttemptAbandoned { attempt, .. } => Some(attempt.event),
        LaneEvent::StepSettled { event, .. }
        | LaneEvent::DeliveryPoisoned { event, .. }
        | LaneEvent::Redelivered { event, .. }
        | LaneEvent::DeliveryCancelled { event, .. } => Some(*event),
        LaneEvent::HeadSkipped { event, .. } => *event,
        LaneEvent::DeadLetterDeleted { .. }
        | LaneEvent::LaneResumed { .. }
        | LaneEvent::LanesCancelled { .. } => None,
    }
}

/// Round, step and decision of a fact that ends an attempt or a step.
fn settlement(event: &LaneEvent) -> Option<(u16, u16, &Verdict)> {
    match event {
        LaneEvent::AttemptEnded { attempt, step, verdict, .. }
        | LaneEvent::AttemptAbandoned { attempt, step, verdict, .. } => Some((attempt.round, *step, verdict)),
        LaneEvent::StepSettled { round, step, verdict, .. }
        | LaneEvent::DeliveryPoisoned { round, step, verdict, .. } => Some((*round, *step, verdict)),
        _ => None,
    }
}

fn is_admin_write(event: &LaneEvent) -> bool {
    matches!(
        event,
        LaneEvent::Redelivered { .. }
            | LaneEvent::DeadLetterDeleted { .. }
            | LaneEvent::DeliveryCancelled { .. }
            | LaneEvent::HeadSkipped { .. }
            | LaneEvent::LaneResumed { .. }
    )
}
