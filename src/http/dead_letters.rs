//! Dead letters: listed, retried, dismissed.

pub(crate) mod list;

use super::{
    auth::Caller,
    body::Success,
    error::{ApiError, ApiResult},
    json_body::NoBody,
    tenants::Deleted,
};
use actix_web::web::{Data, Path};
use ledgerhook_actors::{
    domain::id::{DeadLetterId, DeliveryId},
    engine::EngineHandle,
};
use serde::Serialize;
use utoipa::ToSchema;

/// A dead letter that is on its way again.
#[derive(Serialize, ToSchema)]
#[schema(as = RetriedDeadLetter)]
pub(crate) struct Retried {
    id: String,
    execution_id: DeliveryId,
    status: &'static str,
}

/// `POST /api/admin/webhooks/logs/dlq/{id}/retry`: puts the dead letter back into its lane, before every later
/// event of its resource that has not started (AFM-60, T-31).
pub(crate) async fn retry(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    _: NoBody,
) -> ApiResult<Success<Retried>> {
    let id = parse(&id)?;
    let execution_id = engine.retry_dead_letter(&caller.who, caller.tenant_id(), &id).await?;
    Ok(Success::ok(Retried { id: id.to_string(), execution_id, status: "queued" }))
}

/// `DELETE /api/admin/webhooks/logs/dlq/{id}`: dismisses it; the log keeps what happened (AFM-61).
pub(crate) async fn delete(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    _: NoBody,
) -> ApiResult<Success<Deleted>> {
    let id = parse(&id)?;
    engine.delete_dead_letter(&caller.who, caller.tenant_id(), &id).await?;
    Ok(Success::ok(Deleted::new(&id)))
}

fn parse(id: &str) -> ApiResult<DeadLetterId> {
    DeadLetterId::parse(id).ok_or_else(|| ApiError::not_found("dead letter", id))
}
