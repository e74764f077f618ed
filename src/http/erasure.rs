//! Erasure on request: payloads go from the disk, facts stay.

use super::{
    auth::{Caller, Operator},
    body::Success,
    error::ApiResult,
    json_body::NoBody,
};
use actix_web::web::{Data, Path};
use ledgerhook_actors::{
    domain::id::TenantId,
    engine::{EngineHandle, Progress},
    log::Position,
};
use serde::Serialize;
use utoipa::ToSchema;

/// What was asked for, and how far it is.
#[derive(Serialize, ToSchema)]
#[schema(as = Erasure)]
pub(crate) struct ErasureView {
    id: String,
    erased: bool,
    /// Where the request stands in the log; `null` if all of it was erased before.
    erasure: Option<Position>,
    /// Whether the disk is rid of it. If not, that goes on by itself.
    finished: bool,
    payloads: u64,
    bytes: u64,
}

impl ErasureView {
    pub(crate) fn new(id: &str, progress: Progress) -> Self {
        let Progress { erasure, finished, payloads, bytes } = progress;
        Self { id: id.to_owned(), erased: true, erasure, finished, payloads, bytes }
    }
}

/// `DELETE /api/events/{id}`
pub(crate) async fn of_event(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    _: NoBody,
) -> ApiResult<Success<ErasureView>> {
    let progress = engine.erase_event(&caller.who, caller.tenant_id(), &id).await?;
    Ok(Success::ok(ErasureView::new(&id, progress)))
}

/// `POST /api/tenants/{id}/erase`: of everything that was accepted so far, also of a tenant that was deleted.
pub(crate) async fn of_tenant(
    engine: Data<EngineHandle>,
    by: Operator,
    id: Path<String>,
    _: NoBody,
) -> ApiResult<Success<ErasureView>> {
    let progress = engine.erase_tenant(&by.who, &TenantId::new(id.as_str())).await?;
    Ok(Success::ok(ErasureView::new(&id, progress)))
}
