//! `GET /api/admin/webhooks/stats`: a tenant's day (AFM-67 … AFM-71). Days are UTC.

use super::{auth::Caller, body::Success, error::ApiResult, pipelines::owned, query::Query, reads::Reads};
use actix_web::web::Data;
use ledgerhook_actors::{
    domain::step::Status,
    engine::{EngineHandle, QueueDepths},
    projections::{Today, TriggerTotals},
};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The day's numbers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stats {
    summary: Summary,
    by_trigger_type: BTreeMap<Box<str>, TriggerView>,
    queues: QueueDepths,
    top_errors: Vec<ErrorCount>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = StatsSummary)]
struct Summary {
    total_pipelines: usize,
    active_pipelines: usize,
    total_executions_today: u64,
    success_rate: f64,
    avg_latency_ms: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = TriggerStats)]
struct TriggerView {
    executions: u64,
    success_rate: f64,
}

impl From<TriggerTotals> for TriggerView {
    fn from(totals: TriggerTotals) -> Self {
        Self { executions: totals.executions, success_rate: totals.success_rate }
    }
}

#[derive(Serialize, ToSchema)]
struct ErrorCount {
    error: String,
    count: u64,
}

/// `GET /api/admin/webhooks/stats`
pub(crate) async fn show(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    query: Query,
) -> ApiResult<Success<Stats>> {
    query.none()?;
    let pipelines = owned(&engine, &caller, |_| true);
    let active = pipelines.iter().filter(|entry| entry.config.status == Status::Active).count();
    let queues = engine.queue_depths(caller.tenant_id()).await?;
    let (tenant, now) = (caller.tenant_id().clone(), engine.now());
    let Today { total, by_trigger, top_errors } =
        reads.ask(&caller.who.key, move |models| models.today(&tenant, now)).await?;
    let triggers = by_trigger.into_iter().filter(|(_, totals)| totals.executions > 0);
    let errors = top_errors.into_iter().map(|(error, count)| ErrorCount { error, count });
    Ok(Success::ok(Stats {
        summary: Summary {
            total_pipelines: pipelines.len(),
            active_pipelines: active,
            total_executions_today: total.executions,
            success_rate: total.success_rate,
            avg_latency_ms: total.avg_latency_ms,
        },
        by_trigger_type: triggers.map(|(trigger, totals)| (trigger, totals.into())).collect(),
        queues,
        top_errors: errors.collect(),
    }))
}
