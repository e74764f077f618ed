//! What happened, as the log tells it; read by another way than the engine's own fold.

use super::*;
use crate::domain::{
    event::{AttemptId, End, LaneEvent, Next},
    id::PipelineId,
};
use std::collections::{BTreeMap, BTreeSet};

/// A delivery, as the facts tell it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) ended: Option<End>,
    pub(super) round: u16,
}

/// The log's facts, by delivery.
#[derive(Default)]
pub(super) struct History {
    pub(super) deliveries: BTreeMap<(PipelineId, Position), Past>,
    pub(super) events: BTreeMap<Position, (String, String)>,
    /// When each attempt started, by the facts.
    pub(super) starts: BTreeMap<(PipelineId, Position, u16, u16), Timestamp>,
    /// What each attempt that came to an answer was answered, if it was.
    pub(super) answers: Vec<(PipelineId, Position, u16, u16, Option<u16>)>,
    /// Deliveries with an attempt of which nobody knows what became.
    pub(super) abandoned: BTreeSet<(PipelineId, Position)>,
    /// Those attempts.
    pub(super) unknown: BTreeSet<(PipelineId, Position, u16, u16)>,
    started: BTreeSet<String>,
    closed: BTreeSet<String>,
    /// Rules that the facts break by themselves.
    pub(super) broken: Vec<String>,
}

impl History {
    pub(super) fn of(log: &MemoryLog) -> Self {
        let mut history = Self::default();
        let durable = log.watermark().get();
        replay::visit(log, Position::START, durable, &mut |position, at, fact| match fact {
            Fact::Accepted(_, accepted) => {
                for route in accepted.routes {
                    let ended = route.skipped.then_some(End::Skipped);
                    history.deliveries.insert((route.pipeline, position), Past { ended, round: 1 });
                }
                history.events.insert(position, (accepted.id.into(), accepted.resource.into()));
            }
            Fact::Lane(pipeline, event) => history.take(&pipeline, at, event),
            _ => {}
        })
        .unwrap();
        history
    }

    fn take(&mut self, pipeline: &PipelineId, at: Timestamp, event: LaneEvent) {
        let name = |attempt: AttemptId| {
            let AttemptId { event, round, number, .. } = attempt;
            format!("{pipeline} {event} round {round} attempt {number}")
        };
        match event {
            LaneEvent::AttemptStarted { attempt, step, queue, .. } => {
                let key = (pipeline.clone(), attempt.event, attempt.round, attempt.number);
                self.starts.insert(key, at);
                let name = format!("{} step {step} {queue:?}", name(attempt));
                if !self.started.insert(name.clone()) {
                    self.broken.push(format!("I27: {name} started twice"));
                }
            }
            LaneEvent::AttemptEnded { attempt, step, queue, verdict, outcome } => {
                let AttemptId { event, round, number, .. } = attempt;
                self.answers.push((pipeline.clone(), event, round, number, outcome.status));
                self.close(&format!("{} step {step} {queue:?}", name(attempt)));
                self.end(pipeline, event, verdict.next);
            }
            LaneEvent::AttemptAbandoned { attempt, step, queue, verdict, .. } => {
                let AttemptId { event, round, number, .. } = attempt;
                self.abandoned.insert((pipeline.clone(), event));
                self.unknown.insert((pipeline.clone(), event, round, number));
                self.close(&format!("{} step {step} {queue:?}", name(attempt)));
                self.end(pipeline, attempt.event, verdict.next);
            }
            LaneEvent::StepSettled { event, verdict, .. }
            | LaneEvent::DeliveryPoisoned { event, verdict, .. } => self.end(pipeline, event, verdict.next),
            LaneEvent::Redelivered { event, redelivery, .. } => {
                let past = Past { ended: None, round: redelivery.round };
                self.deliveries.insert((pipeline.clone(), event), past);
            }
            LaneEvent::DeliveryCancelled { event, .. } => {
                self.end(pipeline, event, Next::End(End::Cancelled));
            }
            LaneEvent::HeadSkipped { event: Some(event), .. } => {
                self.end(pipeline, event, Next::End(End::Skipped));
            }
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if !self.started.contains(name) || !self.closed.insert(name.to_owned()) {
            self.broken.push(format!("I27: {name} closed twice, or never started"));
        }
    }

    fn end(&mut self, pipeline: &PipelineId, event: Position, next: Next) {
        if let (Next::End(end), Some(past)) = (next, self.deliveries.get_mut(&(pipeline.clone(), event)))
            && let Some(before) = past.ended.replace(end)
        {
            self.broken.push(format!("I24: {pipeline} {event} was {before:?} and became {end:?}"));
        }
    }
}
