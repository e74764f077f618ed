//! Numbers beside a pipeline: what has ended, and what waits right now (T-35).

use crate::http::error::ApiResult;
use ledgerhook_actors::{
    domain::{catalog::PipelineEntry, id::StepId, time::Timestamp},
    engine::EngineHandle,
};
use serde::Serialize;
use std::collections::HashMap;

/// Numbers of one pipeline: those of AFM-31 and AFM-42 together.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct PipelineStats {
    total_executions: u64,
    successful: u64,
    failed: u64,
    success_rate: f64,
    in_retry: u64,
    in_dlq: u64,
    #[serde(skip)]
    last_triggered: Option<Timestamp>,
    #[serde(skip)]
    steps: HashMap<StepId, StepStats>,
}

/// Numbers of one step (AFM-42).
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct StepStats {
    executions: u64,
    successful: u64,
    avg_latency_ms: u64,
}

impl PipelineStats {
    pub(super) fn step(&self, id: &str) -> StepStats {
        self.steps.get(&StepId::new(id)).cloned().unwrap_or_default()
    }

    pub(super) fn last_triggered(&self) -> Option<String> {
        self.last_triggered.map(Timestamp::to_iso_seconds)
    }
}

/// Open dead letters that are counted; more are shown as so many.
const DEAD_LETTERS_MAX: usize = 10_000;

/// The numbers of a pipeline as they are now.
pub(crate) async fn of(engine: &EngineHandle, entry: &PipelineEntry) -> ApiResult<PipelineStats> {
    let live = engine.counts(&entry.id).await?;
    let open = engine.dead_letters(&entry.tenant, Some(&entry.id), None, DEAD_LETTERS_MAX).await?.len();
    let total = live.delivered + live.dead_lettered;
    Ok(PipelineStats {
        total_executions: total,
        successful: live.delivered,
        failed: live.dead_lettered,
        success_rate: percentage(live.delivered, total),
        in_retry: live.retrying,
        in_dlq: u64::try_from(open).unwrap_or(u64::MAX),
        last_triggered: None,
        steps: HashMap::new(),
    })
}

/// With two decimals: 1480 of 1500 are 98.67.
fn percentage(part: u64, whole: u64) -> f64 {
    let hundredths = (part * 10_000 + whole / 2).checked_div(whole).unwrap_or(0);
    f64::from(u32::try_from(hundredths).unwrap_or(0)) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AFM-31
    #[test]
    fn rates_have_two_decimals() {
        for (part, whole, rate) in [(1_480, 1_500, 98.67), (0, 0, 0.0), (1, 3, 33.33), (5, 5, 100.0)] {
            assert!((percentage(part, whole) - rate).abs() < 1e-9);
        }
    }
}
