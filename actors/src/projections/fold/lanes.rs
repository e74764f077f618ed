//! What facts about lanes change: rows of deliveries, and the totals that they count in.

use super::{Fold, halted_key};
use crate::{
    domain::{
        event::{End, LaneEvent, Verdict},
        id::{LaneKey, PipelineId},
        outcome::OutcomeClass,
        time::Timestamp,
    },
    log::Position,
    projections::{
        names::Name,
        pipelines::CancelledPart,
        rows::{Page, Stand},
        stats::day_of,
        store::StoreError,
        terms::Term,
    },
};
use fjall::Slice;

/// How a fact moved a delivery.
struct Move {
    event: Position,
    tenant: Name,
    pipeline: Name,
    /// Where it stood, and since when if it was over; and the same now.
    from: (Stand, Option<Timestamp>),
    to: (Stand, Option<Timestamp>),
    /// The trigger that it counts under, and the step that the fact is about.
    trigger: Box<str>,
    step: Option<Name>,
    /// The lane that now waits for an operator.
    halted: Option<LaneKey>,
}

impl Fold {
    /// What a fact about a pipeline's lanes changes.
    pub(super) fn lane(
        &mut self,
        position: Position,
        at: Timestamp,
        id: &PipelineId,
        event: &LaneEvent,
    ) -> Result<(), StoreError> {
        let Some(pipeline) = self.store.names.find(id.as_str()) else { return Ok(()) };
        match event {
            LaneEvent::LanesCancelled { part, parts } => {
                if let Some(row) = self.pipelines.change(&self.store, pipeline)? {
                    row.cancelled.push(CancelledPart { part: *part, parts: *parts, at });
                }
                return Ok(());
            }
            // A halted lane waits for what became of its dead letter, and for nothing else.
            LaneEvent::Redelivered { redelivery, .. } if redelivery.was != End::DeadLettered => {}
            LaneEvent::Redelivered { resource, .. }
            | LaneEvent::HeadSkipped { resource, .. }
            | LaneEvent::LaneResumed { resource, .. } => {
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

    fn delivery(
        &mut self,
        position: Position,
        at: Timestamp,
        pipeline: Name,
        event_at: Position,
        event: &LaneEvent,
    ) -> Result<(), StoreError> {
        let Self { store, pages, pipelines, configs, stats, .. } = self;
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
            stats.change_or_new(store, pipeline)?.enter(delivery.stand);
        }
        let from = (delivery.stand, delivery.ended_at);
        delivery.evolve(position, at, event);
        if matches!(event, LaneEvent::AttemptStarted { .. }) {
            return Ok(());
        }
        let step = match settlement(event) {
            Some((round, step, _)) => configs
                .get(store, (pipeline, delivery.version(round)))?
                .and_then(|config| config.steps.get(usize::from(step)))
                .map(|step| step.id),
            None => None,
        };
        let routed = configs.get(store, (pipeline, delivery.version(1)))?;
        let moved = Move {
            event: event_at,
            tenant: row.tenant,
            pipeline,
            from,
            to: (delivery.stand, delivery.ended_at),
            trigger: routed.map_or(&*row.event_type, |config| config.trigger(&row.event_type)).into(),
            step,
            halted: settlement(event)
                .filter(|(.., verdict)| verdict.halt && !delivery.stand.is_pending())
                .map(|_| LaneKey::of(&row.resource)),
        };
        if moved.from.0 != moved.to.0 {
            self.count_move(&moved)?;
        }
        self.count_attempt(&moved, at, event)
    }

    /// Moves a delivery from one total to the other.
    fn count_move(&mut self, moved: &Move) -> Result<(), StoreError> {
        let Self { store, stats, days, terms, marks, .. } = self;
        let Move { tenant, pipeline, from: (stood, ended_before), to: (stands, ended_at), .. } = *moved;
        let stats = stats.change_or_new(store, pipeline)?;
        stats.leave(stood);
        stats.enter(stands);
        if let Some(when) = ended_before {
            days.change_or_new(store, (tenant, day_of(when)))?.leave(&moved.trigger, stood);
        }
        if let Some(when) = ended_at {
            days.change_or_new(store, (tenant, day_of(when)))?.enter(&moved.trigger, stands);
        }
        if stands == Stand::Ended(End::DeadLettered) {
            terms.extend([(Term::failed_of(tenant), moved.event), (Term::failed_in(pipeline), moved.event)]);
        }
        if let Some(lane) = moved.halted {
            marks.insert(halted_key(pipeline, lane), Some(Slice::from([])));
        }
        Ok(())
    }

    /// Counts the end of an attempt, and of its step.
    fn count_attempt(&mut self, moved: &Move, at: Timestamp, event: &LaneEvent) -> Result<(), StoreError> {
        let Self { store, stats, days, .. } = self;
        let stats = stats.change_or_new(store, moved.pipeline)?;
        let result = settlement(event).and_then(|(.., verdict)| verdict.step);
        if let (Some(step), Some(result)) = (moved.step, result) {
            stats.step_ended(step, result);
        }
        let (class, answered, micros) = match event {
            LaneEvent::AttemptEnded { outcome, .. } => (outcome.class, outcome.status, outcome.total_us),
            LaneEvent::AttemptAbandoned { .. } => (OutcomeClass::Unknown, None, 0),
            _ => return Ok(()),
        };
        let day = days.change_or_new(store, (moved.tenant, day_of(at)))?;
        if class != OutcomeClass::Success {
            day.error(class, answered);
        }
        if answered.is_some() {
            day.answer(&moved.trigger, micros);
            if let Some(step) = moved.step {
                stats.steps.entry(step).or_default().latency.add(micros);
            }
        }
        Ok(())
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
