//! The lanes of a pipeline: who waits, for how long, and how a halted one goes on.

use super::{
    auth::Caller,
    body::{List, Success},
    error::ApiResult,
    json_body::NoBody,
    query::Query,
};
use actix_web::web::{Data, Path};
use ledgerhook_actors::{
    domain::{id::DeliveryId, time::Timestamp},
    engine::{EngineHandle, LaneView},
};
use serde::Serialize;
use utoipa::ToSchema;

/// One lane, with instants as the API writes them.
#[derive(Serialize, ToSchema)]
#[schema(as = Lane)]
pub(crate) struct LaneBody {
    resource: String,
    depth: usize,
    head: Option<DeliveryId>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_reason: Option<&'static str>,
    blocked_since: Option<String>,
    next_due_at: Option<String>,
}

impl From<LaneView> for LaneBody {
    fn from(lane: LaneView) -> Self {
        let LaneView { resource, depth, head, state, held_reason, blocked_since, next_due_at } = lane;
        let (blocked_since, next_due_at) =
            (blocked_since.map(Timestamp::to_iso_millis), next_due_at.map(Timestamp::to_iso_millis));
        Self { resource, depth, head, state, held_reason, blocked_since, next_due_at }
    }
}

/// `GET /api/pipelines/{id}/lanes`: by resource.
pub(crate) async fn list(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    query: Query,
) -> ApiResult<Success<List<LaneBody>>> {
    let pipeline = caller.pipeline(&engine, &id)?;
    let (after, limit) = query.read(|q| (q.cursor("lanes"), q.limit()))?;
    let lanes = engine.lanes(&pipeline.id, after.as_deref(), limit + 1).await?;
    let lanes = lanes.into_iter().map(LaneBody::from).collect();
    Ok(List::forward(lanes, limit, "lanes", |lane| lane.resource.clone()).respond(&query))
}

/// A lane that was told something.
#[derive(Serialize, ToSchema)]
#[schema(as = ToldLane)]
pub(crate) struct Told {
    pipeline_id: String,
    resource: String,
    action: &'static str,
}

/// `POST /api/pipelines/{id}/lanes/{resource}/skip`: passes over the dead letter that a lane waits for.
pub(crate) async fn skip(
    engine: Data<EngineHandle>,
    caller: Caller,
    path: Path<(String, String)>,
    _: NoBody,
) -> ApiResult<Success<Told>> {
    let (id, resource) = path.into_inner();
    let pipeline = caller.pipeline(&engine, &id)?;
    engine.skip_lane(&caller.who, &pipeline.id, &resource).await?;
    Ok(Success::ok(Told { pipeline_id: pipeline.id.to_string(), resource, action: "skipped" }))
}

/// `POST /api/pipelines/{id}/lanes/{resource}/resume`: lets a halted lane go on.
pub(crate) async fn resume(
    engine: Data<EngineHandle>,
    caller: Caller,
    path: Path<(String, String)>,
    _: NoBody,
) -> ApiResult<Success<Told>> {
    let (id, resource) = path.into_inner();
    let pipeline = caller.pipeline(&engine, &id)?;
    engine.resume_lane(&caller.who, &pipeline.id, &resource).await?;
    Ok(Success::ok(Told { pipeline_id: pipeline.id.to_string(), resource, action: "resumed" }))
}
