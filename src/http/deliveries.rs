//! What an operator does to a single delivery. Reading them is `http/executions.rs`.

use super::{
    auth::Caller,
    body::Success,
    error::{ApiError, ApiResult},
    json_body::NoBody,
};
use actix_web::web::{Data, Path};
use ledgerhook_actors::{domain::id::DeliveryId, engine::EngineHandle};
use serde::Serialize;

/// A delivery and its new state.
#[derive(Serialize)]
pub(crate) struct Changed {
    id: DeliveryId,
    status: &'static str,
}

/// `POST /api/deliveries/{id}/cancel`: calls off a pending delivery that is not in flight.
pub(crate) async fn cancel(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    _: NoBody,
) -> ApiResult<Success<Changed>> {
    let id = parse(&id)?;
    engine.cancel_delivery(&caller.key, caller.tenant_id(), &id).await?;
    Ok(Success::ok(Changed { id, status: "cancelled" }))
}

/// `POST /api/deliveries/{id}/retry`: sends a delivery that has ended once more, whole, as a new round.
pub(crate) async fn retry(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    _: NoBody,
) -> ApiResult<Success<Changed>> {
    let id = parse(&id)?;
    engine.redeliver(&caller.key, caller.tenant_id(), &id).await?;
    Ok(Success::accepted(Changed { id, status: "queued" }))
}

fn parse(id: &str) -> ApiResult<DeliveryId> {
    DeliveryId::parse(id).ok_or_else(|| ApiError::not_found("delivery", id))
}
