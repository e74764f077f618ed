//! `GET /api/egress-ips`: the addresses that deliveries come from, and those they will come from (ATT-33, T-43).

use super::{auth::KeyHolder, body::Success, error::ApiResult, query::Query};
use actix_web::web::Data;
use ledgerhook_actors::{domain::time::Timestamp, engine::EngineHandle};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = EgressIps)]
pub(crate) struct EgressView {
    /// In force now.
    ips: Vec<String>,
    /// In force later.
    changing: Option<Changing>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ChangingEgressIps)]
struct Changing {
    ips: Vec<String>,
    effective_at: String,
}

/// For every key: receivers' firewalls are opened by whoever configures webhooks.
pub(crate) async fn show(
    engine: Data<EngineHandle>,
    _: KeyHolder,
    query: Query,
) -> ApiResult<Success<EgressView>> {
    query.none()?;
    let (published, now) = (engine.egress_ips(), engine.now());
    let changing = published.coming(now).map(|ips| Changing {
        ips: ips.to_vec(),
        effective_at: Timestamp::to_iso_seconds(published.effective_at),
    });
    Ok(Success::ok(EgressView { ips: published.at(now).to_vec(), changing }))
}
