//! Numbers beside a pipeline: what has ended, and what waits right now (T-35).

use crate::http::{auth::Caller, error::ApiResult, reads::Reads};
use ledgerhook_actors::{
    domain::{
        catalog::PipelineEntry,
        id::{PipelineId, StepId},
        time::Timestamp,
    },
    engine::EngineHandle,
    projections::{PipelineTotals, StepTotals},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Numbers of one pipeline: those of AFM-31 and AFM-42 together, and those that make them add up to what was
/// routed (I20).
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct PipelineStats {
    total_executions: u64,
    successful: u64,
    failed: u64,
    success_rate: f64,
    in_retry: u64,
    in_dlq: u64,
    pending: u64,
    skipped: u64,
    cancelled: u64,
    #[serde(skip)]
    totals: PipelineTotals,
}

/// Numbers of one step (AFM-42).
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct StepStats {
    executions: u64,
    successful: u64,
    avg_latency_ms: u64,
}

impl From<StepTotals> for StepStats {
    fn from(totals: StepTotals) -> Self {
        let StepTotals { executions, successful, avg_latency_ms } = totals;
        Self { executions, successful, avg_latency_ms }
    }
}

impl PipelineStats {
    fn new(totals: PipelineTotals, in_retry: u64, in_dlq: u64) -> Self {
        Self {
            total_executions: totals.total_executions,
            successful: totals.successful,
            failed: totals.failed,
            success_rate: totals.success_rate,
            in_retry,
            in_dlq,
            pending: totals.pending,
            skipped: totals.skipped,
            cancelled: totals.cancelled,
            totals,
        }
    }

    pub(super) fn step(&self, id: &str) -> StepStats {
        self.totals.steps.get(&StepId::new(id)).copied().unwrap_or_default().into()
    }

    pub(super) fn last_triggered(&self) -> Option<String> {
        self.totals.last_triggered.map(Timestamp::to_iso_seconds)
    }
}

/// Open dead letters that are counted; more are shown as so many.
const DEAD_LETTERS_MAX: usize = 10_000;

/// The numbers of pipelines as they are now, in the same order.
pub(crate) async fn of_all(
    engine: &EngineHandle,
    reads: &Reads,
    caller: &Caller,
    entries: &[Arc<PipelineEntry>],
) -> ApiResult<Vec<PipelineStats>> {
    let ids: Vec<PipelineId> = entries.iter().map(|entry| entry.id.clone()).collect();
    let totals = reads.ask(&caller.who.key, move |models| {
        ids.iter().map(|id| models.pipeline_totals(id)).collect::<Result<Vec<_>, _>>()
    });
    let mut stats = Vec::with_capacity(entries.len());
    for (entry, totals) in entries.iter().zip(totals.await?) {
        let live = engine.counts(&entry.id).await?;
        let open = engine.dead_letters(&entry.tenant, Some(&entry.id), None, DEAD_LETTERS_MAX).await?.len();
        stats.push(PipelineStats::new(totals, live.retrying, u64::try_from(open).unwrap_or(u64::MAX)));
    }
    Ok(stats)
}

/// The numbers of one pipeline.
pub(crate) async fn of(
    engine: &EngineHandle,
    reads: &Reads,
    caller: &Caller,
    entry: &Arc<PipelineEntry>,
) -> ApiResult<PipelineStats> {
    let stats = of_all(engine, reads, caller, std::slice::from_ref(entry)).await?;
    Ok(stats.into_iter().next().unwrap_or_default())
}
