//! Totals as the API shows them: per pipeline and step (AFM-31, AFM-42), and of a tenant's day (AFM-68 … AFM-71).

use super::{
    ProjectionError, Projections,
    pipelines::PipelineRow,
    stats::{DayStats, PipelineStats, TriggerStats, day_of, percentage},
    words::error_text,
};
use crate::domain::{
    id::{PipelineId, StepId, TenantId},
    time::Timestamp,
};
use std::collections::BTreeMap;

/// Errors that a day's list shows.
const TOP_ERRORS: usize = 10;

/// Totals of one pipeline (T-35). Executions are deliveries that ran to their end: routed is always the sum of
/// `successful`, `failed`, `skipped`, `cancelled` and `pending`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PipelineTotals {
    /// Events that were routed to it.
    pub routed: u64,
    /// `successful` and `failed` together.
    pub total_executions: u64,
    /// Delivered.
    pub successful: u64,
    /// Dead-lettered, and not sent again.
    pub failed: u64,
    /// Never to be sent.
    pub skipped: u64,
    /// Called off.
    pub cancelled: u64,
    /// Not over.
    pub pending: u64,
    /// `successful` of `total_executions`, as a percentage with two decimals.
    pub success_rate: f64,
    /// When it last took an event.
    pub last_triggered: Option<Timestamp>,
    /// By step, also those that are gone.
    pub steps: BTreeMap<StepId, StepTotals>,
}

/// Totals of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTotals {
    /// Times that it came to an end.
    pub executions: u64,
    /// … by an answer that counts, at its own URL or at the failover.
    pub successful: u64,
    /// Mean over all attempts that were answered.
    pub avg_latency_ms: u64,
}

/// A tenant's UTC day up to now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Today {
    /// Over all triggers.
    pub total: TriggerTotals,
    /// By trigger.
    pub by_trigger: BTreeMap<Box<str>, TriggerTotals>,
    /// Why attempts failed and how often, the most frequent first.
    pub top_errors: Vec<(String, u64)>,
}

/// Executions that ended today.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TriggerTotals {
    /// Delivered or dead-lettered.
    pub executions: u64,
    /// Share of the delivered, as a percentage with two decimals.
    pub success_rate: f64,
    /// Mean over all attempts that were answered.
    pub avg_latency_ms: u64,
}

impl From<TriggerStats> for TriggerTotals {
    fn from(stats: TriggerStats) -> Self {
        Self {
            executions: stats.executions(),
            success_rate: percentage(stats.successful, stats.executions()),
            avg_latency_ms: stats.latency.mean_ms(),
        }
    }
}

impl Projections {
    /// Totals of one pipeline; all zero for one that is not known.
    pub fn pipeline_totals(&self, id: &PipelineId) -> Result<PipelineTotals, ProjectionError> {
        self.read(|view| {
            let names = &view.store.names;
            let Some(name) = names.find(id.as_str()) else { return Ok(PipelineTotals::default()) };
            let stats = view.get::<PipelineStats>(name)?.unwrap_or_default();
            let gone = view.get::<PipelineRow>(name)?.is_some_and(|row| row.all_cancelled());
            let total_executions = stats.delivered + stats.dead_lettered;
            let steps = stats.steps.iter().map(|(step, stats)| {
                let totals = StepTotals {
                    executions: stats.executions,
                    successful: stats.successful,
                    avg_latency_ms: stats.latency.mean_ms(),
                };
                (StepId::new(names.text(*step)), totals)
            });
            Ok(PipelineTotals {
                routed: stats.routed,
                total_executions,
                successful: stats.delivered,
                failed: stats.dead_lettered,
                skipped: stats.skipped,
                cancelled: stats.cancelled + if gone { stats.pending() } else { 0 },
                pending: if gone { 0 } else { stats.pending() },
                success_rate: percentage(stats.delivered, total_executions),
                last_triggered: stats.last_triggered,
                steps: steps.collect(),
            })
        })
    }

    /// What a tenant's executions came to on the UTC day of `now`.
    pub fn today(&self, tenant: &TenantId, now: Timestamp) -> Result<Today, ProjectionError> {
        self.read(|view| {
            let names = &view.store.names;
            let Some(tenant) = names.find(tenant.as_str()) else { return Ok(Today::default()) };
            let day = view.get::<DayStats>((tenant, day_of(now)))?.unwrap_or_default();
            let mut total = TriggerStats::default();
            day.triggers.values().for_each(|stats| total.merge(*stats));
            let by_trigger = day.triggers.into_iter().map(|(name, stats)| (name, stats.into()));
            let mut errors: BTreeMap<String, u64> = BTreeMap::new();
            for ((_, status), (class, count)) in day.errors {
                *errors.entry(error_text(class, (status > 0).then_some(status))).or_default() += count;
            }
            let mut top_errors: Vec<_> = errors.into_iter().collect();
            top_errors.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
            top_errors.truncate(TOP_ERRORS);
            Ok(Today { total: total.into(), by_trigger: by_trigger.collect(), top_errors })
        })
    }
}
