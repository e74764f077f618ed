//! `GET /api/state`: where the engine stands, in one digest.

use super::{auth::Operator, body::Success, error::ApiResult, query::Query};
use actix_web::web::Data;
use ledgerhook_actors::{domain::state::StateSummary, engine::EngineHandle};

/// Position, digest and counts: the same as a fold of the log up to that position (I21).
pub(crate) async fn show(
    engine: Data<EngineHandle>,
    _: Operator,
    query: Query,
) -> ApiResult<Success<StateSummary>> {
    query.none()?;
    Ok(Success::ok(engine.state().await?))
}
