//! What a fact about a delivery changes in the totals.

use super::{
    super::{
        cache::Cache,
        names::Name,
        rows::Stand,
        stats::{DayStats, PipelineStats, day_of},
        store::{Store, StoreError},
    },
    PIPELINES,
};
use crate::domain::{
    event::{LaneEvent, StepResult},
    outcome::OutcomeClass,
    time::Timestamp,
};

/// The totals in hand.
pub(super) struct Counts {
    pub(super) stats: Cache<PipelineStats>,
    pub(super) days: Cache<DayStats>,
}

/// How a fact moved a delivery.
pub(super) struct Move<'a> {
    pub(super) tenant: Name,
    pub(super) pipeline: Name,
    /// Where it stood, and since when if it was over; and the same now.
    pub(super) from: (Stand, Option<Timestamp>),
    pub(super) to: (Stand, Option<Timestamp>),
    /// The trigger that it counts under.
    pub(super) trigger: &'a str,
    /// The step that the fact is about, and how that ended.
    pub(super) step: Option<Name>,
    pub(super) result: Option<StepResult>,
}

impl Counts {
    /// None in hand.
    pub(super) fn new() -> Self {
        Self { stats: Cache::new(PIPELINES), days: Cache::new(256) }
    }

    /// Moves a delivery from one total to the other.
    pub(super) fn moved(&mut self, store: &Store, moved: &Move<'_>) -> Result<(), StoreError> {
        let Self { stats, days } = self;
        let Move { tenant, pipeline, from: (stood, ended_before), to: (stands, ended_at), .. } = *moved;
        let stats = stats.change_or_new(store, pipeline)?;
        stats.leave(stood);
        stats.enter(stands);
        if let Some(when) = ended_before {
            days.change_or_new(store, (tenant, day_of(when)))?.leave(moved.trigger, stood);
        }
        if let Some(when) = ended_at {
            days.change_or_new(store, (tenant, day_of(when)))?.enter(moved.trigger, stands);
        }
        Ok(())
    }

    /// Counts the end of an attempt, and of its step.
    pub(super) fn attempt(
        &mut self,
        store: &Store,
        moved: &Move<'_>,
        at: Timestamp,
        event: &LaneEvent,
    ) -> Result<(), StoreError> {
        let Self { stats, days } = self;
        let stats = stats.change_or_new(store, moved.pipeline)?;
        if let (Some(step), Some(result)) = (moved.step, moved.result) {
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
            day.answer(moved.trigger, micros);
            if let Some(step) = moved.step {
                stats.step(step).latency.add(micros);
            }
        }
        Ok(())
    }
}
