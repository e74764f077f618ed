//! `POST /api/log/retention`: payloads that are too old or too much go now, not within the hour.

use crate::http::{
    auth::Operator,
    body::Success,
    error::{ApiError, ApiResult},
    json_body::NoBody,
};
use actix_web::web::Data;
use ledgerhook_actors::{
    engine::{Applied, EngineHandle, Holder},
    log::Position,
};
use serde::Serialize;
use utoipa::ToSchema;

/// What went, and what stays.
#[derive(Serialize, ToSchema)]
#[schema(as = AppliedRetention)]
pub(crate) struct AppliedView {
    /// Payloads from this position on are needed.
    floor: Position,
    /// By whom; `null` if by nobody.
    held_by: Option<&'static str>,
    segments: usize,
    bytes: u64,
    log_bytes: u64,
    /// How much of that is more than `log.bytes_max`.
    excess_bytes: u64,
}

impl From<Applied> for AppliedView {
    fn from(applied: Applied) -> Self {
        let Applied { floor, segments, bytes, log_bytes, excess_bytes } = applied;
        let held_by = floor.held_by.map(Holder::as_str);
        Self { floor: floor.position, held_by, segments, bytes, log_bytes, excess_bytes }
    }
}

/// See the module.
pub(crate) async fn apply(
    engine: Data<EngineHandle>,
    by: Operator,
    _: NoBody,
) -> ApiResult<Success<AppliedView>> {
    let applied = engine.apply_retention(&by.who).await.map_err(ApiError::from)?;
    Ok(Success::ok(applied.into()))
}
