//! `GET /api/audit`: who changed what, and when.

use super::{
    auth::Caller,
    body::{List, Success},
    error::ApiResult,
    query::Query,
    reads::{Reads, listed, page_request},
};
use actix_web::web::Data;
use ledgerhook_actors::projections::{AuditFilter, AuditRecord};

/// `GET /api/audit`: what was done to the tenant, newest first.
pub(crate) async fn list(
    reads: Data<Reads>,
    caller: Caller,
    query: Query,
) -> ApiResult<Success<List<AuditRecord>>> {
    read(&reads, &caller, &query, false).await
}

/// `GET /api/audit/engine`: what was done to the engine itself, for the operator.
pub(crate) async fn engine(
    reads: Data<Reads>,
    caller: Caller,
    query: Query,
) -> ApiResult<Success<List<AuditRecord>>> {
    read(&reads, &caller, &query, true).await
}

async fn read(
    reads: &Reads,
    caller: &Caller,
    query: &Query,
    engine: bool,
) -> ApiResult<Success<List<AuditRecord>>> {
    let (filter, request) = query.read(|q| {
        let actor = q.text("actor").map(str::to_owned);
        let filter = AuditFilter { actor, since: q.instant("since"), until: q.instant("until"), engine };
        (filter, page_request(q, "audit"))
    })?;
    let tenant = caller.tenant_id().clone();
    let page = reads.ask(caller, move |models| models.audit(&tenant, &filter, request)).await?;
    Ok(listed(page, "audit", query))
}
