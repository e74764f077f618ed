//! `GET /api/audit`: who changed what, and when.

use super::{
    auth::{DEFAULT_TENANT, KeyHolder, Operator},
    body::{List, Success},
    error::{ApiError, ApiResult},
    query::Query,
    reads::{Reads, listed, page_request},
};
use actix_web::web::Data;
use ledgerhook_actors::{
    domain::id::{KeyId, TenantId},
    projections::{AuditFilter, AuditRecord},
};

/// `GET /api/audit`: what was done to the tenant, newest first; to the operator also of one that was deleted.
pub(crate) async fn list(
    reads: Data<Reads>,
    by: KeyHolder,
    query: Query,
) -> ApiResult<Success<List<AuditRecord>>> {
    let tenant = by.tenant_id().ok_or_else(|| ApiError::not_found("tenant", DEFAULT_TENANT))?;
    read(&reads, &by.who.key, tenant, &query, false).await
}

/// `GET /api/audit/engine`: what was done to the engine itself, for the operator.
pub(crate) async fn engine(
    reads: Data<Reads>,
    by: Operator,
    query: Query,
) -> ApiResult<Success<List<AuditRecord>>> {
    // It belongs to no tenant, and is there when all of them are gone.
    read(&reads, &by.who.key, &TenantId::new(DEFAULT_TENANT), &query, true).await
}

async fn read(
    reads: &Reads,
    key: &KeyId,
    tenant: &TenantId,
    query: &Query,
    engine: bool,
) -> ApiResult<Success<List<AuditRecord>>> {
    let (filter, request) = query.read(|q| {
        let actor = q.text("actor").map(str::to_owned);
        let filter = AuditFilter { actor, since: q.instant("since"), until: q.instant("until"), engine };
        (filter, page_request(q, "audit"))
    })?;
    let tenant = tenant.clone();
    let page = reads.ask(key, move |models| models.audit(&tenant, &filter, request)).await?;
    Ok(listed(page, "audit", query))
}
