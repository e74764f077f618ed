//! Totals: per pipeline and step, and per tenant, trigger and UTC day.

use super::{
    few,
    names::Name,
    rows::Stand,
    store::{Store, Stored, Tag},
};
use crate::domain::{
    event::{End, StepResult},
    outcome::OutcomeClass,
    time::Timestamp,
};
use fjall::{Keyspace, Slice};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Triggers that a day tells apart.
const TRIGGERS_MAX: usize = 256;

/// Days since the epoch, UTC.
pub(super) type Day = u32;

/// The day of an instant.
pub(super) fn day_of(at: Timestamp) -> Day {
    Day::try_from(at.as_secs() / 86_400).unwrap_or(Day::MAX)
}

/// Totals of one pipeline.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct PipelineStats {
    /// Routes that named it.
    pub(super) routed: u64,
    pub(super) delivered: u64,
    pub(super) dead_lettered: u64,
    pub(super) skipped: u64,
    /// Called off one by one. Those that went with the pipeline are the rest, once it is gone.
    pub(super) cancelled: u64,
    pub(super) last_triggered: Option<Timestamp>,
    /// Sorted.
    #[serde(with = "few")]
    pub(super) steps: SmallVec<[(Name, StepStats); 1]>,
}

/// Totals of one step, by its id.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct StepStats {
    /// Rounds in which it came to an end.
    pub(super) executions: u64,
    pub(super) successful: u64,
    pub(super) latency: Latency,
}

/// A sum of answer times.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Latency {
    micros: u64,
    answers: u64,
}

impl Latency {
    /// Adds one answer.
    pub(super) fn add(&mut self, micros: u32) {
        self.micros += u64::from(micros);
        self.answers += 1;
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: Self) {
        self.micros += other.micros;
        self.answers += other.answers;
    }

    /// The mean in whole milliseconds; 0 without answers.
    pub(super) fn mean_ms(self) -> u64 {
        let answers = self.answers.max(1);
        (self.micros + 500 * answers) / (1000 * answers)
    }
}

impl PipelineStats {
    /// A delivery came to stand like this …
    pub(super) fn enter(&mut self, stand: Stand) {
        if let Some(count) = self.count(stand) {
            *count += 1;
        }
    }

    /// … and stands no longer like that.
    pub(super) fn leave(&mut self, stand: Stand) {
        if let Some(count) = self.count(stand) {
            *count = count.saturating_sub(1);
        }
    }

    fn count(&mut self, stand: Stand) -> Option<&mut u64> {
        match stand {
            Stand::Ended(End::Delivered) => Some(&mut self.delivered),
            Stand::Ended(End::DeadLettered) => Some(&mut self.dead_lettered),
            Stand::Ended(End::Skipped) | Stand::Disabled => Some(&mut self.skipped),
            Stand::Ended(End::Cancelled) => Some(&mut self.cancelled),
            Stand::Queued | Stand::InFlight | Stand::Retrying => None,
        }
    }

    /// Routed and not over.
    pub(super) fn pending(&self) -> u64 {
        let ended = self.delivered + self.dead_lettered + self.skipped + self.cancelled;
        self.routed.saturating_sub(ended)
    }

    /// The totals of a step.
    pub(super) fn step(&mut self, step: Name) -> &mut StepStats {
        let found = self.steps.binary_search_by_key(&step, |(name, _)| *name);
        let at = found.unwrap_or_else(|at| {
            self.steps.insert(at, (step, StepStats::default()));
            at
        });
        &mut self.steps[at].1
    }

    /// A step came to an end.
    pub(super) fn step_ended(&mut self, step: Name, result: StepResult) {
        let step = self.step(step);
        step.executions += u64::from(result != StepResult::Skipped);
        step.successful += u64::from(matches!(result, StepResult::Succeeded | StepResult::FailedOver));
    }
}

impl Stored for PipelineStats {
    type Key = Name;

    fn space(store: &Store) -> &Keyspace {
        &store.book
    }

    fn key(pipeline: Name) -> Slice {
        Tag::Stats.key(&[&pipeline.bytes()])
    }
}

/// One tenant's UTC day.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct DayStats {
    pub(super) triggers: BTreeMap<Box<str>, TriggerStats>,
    /// Attempts that failed, by class and status.
    pub(super) errors: BTreeMap<(u8, u16), (OutcomeClass, u64)>,
}

/// Executions that ended on a day, each counted on the day of its last end.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct TriggerStats {
    pub(super) successful: u64,
    pub(super) failed: u64,
    pub(super) latency: Latency,
}

impl TriggerStats {
    fn count(&mut self, stand: Stand) -> Option<&mut u64> {
        match stand {
            Stand::Ended(End::Delivered) => Some(&mut self.successful),
            Stand::Ended(End::DeadLettered) => Some(&mut self.failed),
            _ => None,
        }
    }

    /// Executions that ended.
    pub(super) fn executions(&self) -> u64 {
        self.successful + self.failed
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: Self) {
        self.successful += other.successful;
        self.failed += other.failed;
        self.latency.merge(other.latency);
    }
}

impl DayStats {
    /// An execution came to stand like this …
    pub(super) fn enter(&mut self, trigger: &str, stand: Stand) {
        if let Some(count) = self.trigger(trigger).count(stand) {
            *count += 1;
        }
    }

    /// … and stands no longer like that.
    pub(super) fn leave(&mut self, trigger: &str, stand: Stand) {
        if let Some(count) = self.trigger(trigger).count(stand) {
            *count = count.saturating_sub(1);
        }
    }

    /// An attempt was answered.
    pub(super) fn answer(&mut self, trigger: &str, micros: u32) {
        self.trigger(trigger).latency.add(micros);
    }

    /// Patterns let in any event type, so the number of triggers has a bound; the rest shares a line.
    fn trigger(&mut self, trigger: &str) -> &mut TriggerStats {
        let known = self.triggers.contains_key(trigger) || self.triggers.len() < TRIGGERS_MAX;
        let trigger = if known { trigger } else { "other" };
        if !self.triggers.contains_key(trigger) {
            self.triggers.insert(trigger.into(), TriggerStats::default());
        }
        self.triggers.get_mut(trigger).expect("it was put there just now")
    }

    /// An attempt failed.
    pub(super) fn error(&mut self, class: OutcomeClass, status: Option<u16>) {
        let status = if class == OutcomeClass::HttpError { status.unwrap_or(0) } else { 0 };
        self.errors.entry((class as u8, status)).or_insert((class, 0)).1 += 1;
    }
}

impl Stored for DayStats {
    type Key = (Name, Day);

    fn space(store: &Store) -> &Keyspace {
        &store.book
    }

    fn key((tenant, day): (Name, Day)) -> Slice {
        Tag::Day.key(&[&tenant.bytes(), &day.to_be_bytes()])
    }
}

/// `part` of `whole` as a percentage with two decimals; 0 of nothing is 0 (AFM-31: 1480 of 1500 is 98.67).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "two decimals are asked for")]
pub fn percentage(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 * 10_000.0 / whole as f64).round() / 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AFM-31, AFM-68
    #[test]
    fn percentages_have_two_decimals() {
        assert_eq!(percentage(1480, 1500).to_string(), "98.67");
        assert_eq!(percentage(990, 1000).to_string(), "99");
        assert_eq!(percentage(0, 0).to_string(), "0");
    }
}
