//! Executions, as the pipelines API calls deliveries: recent ones, and those that failed (AFM-55 … AFM-57).

use super::{
    auth::Caller,
    body::Success,
    error::ApiResult,
    pipelines::profile_of,
    query::Query,
    reads::{Reads, cursors, page_request},
};
use actix_web::web::Data;
use ledgerhook_actors::{
    domain::{
        id::{DeliveryId, PipelineId, StepId},
        time::Timestamp,
    },
    engine::EngineHandle,
    profile::Profile,
    projections::{
        Delivery, DeliveryFilter, DeliveryState, ProjectionError, Projections, StepState, StepStatus,
    },
};
use serde::Serialize;
use utoipa::ToSchema;

/// `status` of the list (T-52).
const STATUSES: [(&str, DeliveryState); 7] = [
    ("pending", DeliveryState::Queued),
    ("running", DeliveryState::InFlight),
    ("retrying", DeliveryState::Retrying),
    ("paused", DeliveryState::Held),
    ("completed", DeliveryState::Delivered),
    ("failed", DeliveryState::DeadLettered),
    ("cancelled", DeliveryState::Cancelled),
];

/// A page of executions.
#[derive(Serialize, ToSchema)]
pub(crate) struct Executions {
    logs: Vec<Execution>,
    next: Option<String>,
    prev: Option<String>,
}

/// One execution (AFM-56), with what the engine knows beside.
#[derive(Serialize, ToSchema)]
pub(crate) struct Execution {
    id: DeliveryId,
    pipeline_id: PipelineId,
    pipeline_name: Box<str>,
    trigger_type: Box<str>,
    trigger_id: String,
    status: &'static str,
    started_at: String,
    completed_at: Option<String>,
    duration_ms: Option<u64>,
    steps: Vec<StepRow>,
    event_id: Box<str>,
    event_type: Box<str>,
    attempts: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ExecutionStep)]
struct StepRow {
    step_id: StepId,
    step_name: Box<str>,
    status: StepStatus,
    http_status: Option<u16>,
    latency_ms: Option<u64>,
    response_body: Option<String>,
}

impl Execution {
    /// An execution begins when its event enters the lane, so its duration holds the wait for those before it.
    fn of(models: &Projections, delivery: Delivery, profile: &Profile) -> Result<Self, ProjectionError> {
        let started = delivery.queued_at;
        let trigger_id = profile.resource_id(&delivery.event_type, &delivery.resource).to_owned();
        let steps = delivery.steps.into_iter().map(|step| StepRow::of(models, step));
        Ok(Self {
            id: delivery.id,
            pipeline_id: delivery.pipeline,
            pipeline_name: delivery.pipeline_name,
            trigger_type: delivery.trigger,
            trigger_id,
            status: delivery.state.execution_status(),
            started_at: started.to_iso_seconds(),
            completed_at: delivery.ended_at.map(Timestamp::to_iso_seconds),
            duration_ms: delivery.ended_at.map(|at| at.as_millis().saturating_sub(started.as_millis())),
            steps: steps.collect::<Result<_, _>>()?,
            event_id: delivery.event_id,
            event_type: delivery.event_type,
            attempts: delivery.attempts,
        })
    }
}

impl StepRow {
    fn of(models: &Projections, step: StepState) -> Result<Self, ProjectionError> {
        let answer = step.answer.map(|ended| models.answer(ended)).transpose()?.flatten();
        Ok(Self {
            step_id: step.id,
            step_name: step.name,
            status: step.status,
            http_status: step.http_status,
            latency_ms: step.latency_ms,
            response_body: answer.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        })
    }
}

/// `GET /api/admin/webhooks/logs/recent`: newest event first.
pub(crate) async fn recent(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    query: Query,
) -> ApiResult<Success<Executions>> {
    list(&engine, &reads, &caller, &query, None).await
}

/// `GET /api/admin/webhooks/logs/failures`: the same, of those that failed and were not sent again.
pub(crate) async fn failures(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    query: Query,
) -> ApiResult<Success<Executions>> {
    list(&engine, &reads, &caller, &query, Some(DeliveryState::DeadLettered)).await
}

async fn list(
    engine: &EngineHandle,
    reads: &Reads,
    caller: &Caller,
    query: &Query,
    only: Option<DeliveryState>,
) -> ApiResult<Success<Executions>> {
    let name = if only.is_some() { "failures" } else { "executions" };
    let (filter, request) = query.read(|q| {
        let state = if only.is_some() { only } else { q.choice("status", &STATUSES) };
        let pipeline = q.text("pipeline_id").map(PipelineId::new);
        let filter = DeliveryFilter { pipeline, state, executions_only: true, ..DeliveryFilter::default() };
        (filter, page_request(q, name))
    })?;
    let (tenant, profile) = (caller.tenant_id().clone(), profile_of(engine.tools(), caller)?.clone());
    let page = reads.ask(&caller.who.key, move |models| {
        let page = models.deliveries(&tenant, &filter, request)?;
        let cursors = cursors(&page, name);
        let logs = page.items.into_iter().map(|delivery| Execution::of(models, delivery, &profile));
        Ok((logs.collect::<Result<Vec<_>, _>>()?, cursors))
    });
    let (logs, (next, prev)) = page.await?;
    Ok(Success::ok(Executions { logs, next, prev }))
}
