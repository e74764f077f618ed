//! Deliveries: listed, shown whole, called off, sent again.

mod requests;
pub(crate) mod view;

use super::{
    auth::Caller,
    body::{List, Success},
    error::{ApiError, ApiResult},
    json_body::NoBody,
    pipelines::profile_of,
    query::Query,
    reads::{Reads, listed, page_request},
};
use actix_web::web::{Data, Path};
use ledgerhook_actors::{
    domain::id::{DeliveryId, PipelineId},
    engine::EngineHandle,
    projections::{DeliveryFilter, DeliveryState},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use view::{DeliveryView, DetailView};

/// `status` of the list.
const STATES: [(&str, DeliveryState); 8] = [
    ("queued", DeliveryState::Queued),
    ("in_flight", DeliveryState::InFlight),
    ("retrying", DeliveryState::Retrying),
    ("held", DeliveryState::Held),
    ("delivered", DeliveryState::Delivered),
    ("dead_lettered", DeliveryState::DeadLettered),
    ("skipped", DeliveryState::Skipped),
    ("cancelled", DeliveryState::Cancelled),
];

/// `GET /api/deliveries`: newest event first.
pub(crate) async fn list(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    query: Query,
) -> ApiResult<Success<List<DeliveryView>>> {
    let (filter, request) = query.read(|q| {
        let filter = DeliveryFilter {
            pipeline: q.text("pipeline_id").map(PipelineId::new),
            event_id: q.text("event_id").map(str::to_owned),
            resource: q.text("resource").map(str::to_owned),
            state: q.choice("status", &STATES),
            event_type: q.text("type").map(str::to_owned),
            since: q.instant("since"),
            until: q.instant("until"),
            executions_only: false,
        };
        (filter, page_request(q, "deliveries"))
    })?;
    let tenant = caller.tenant_id().clone();
    let asked = tenant.clone();
    let page = reads.ask(&caller.who.key, move |models| models.deliveries(&asked, &filter, request)).await?;
    let view = |delivery| DeliveryView::of(delivery, &engine, &tenant);
    Ok(listed(page.map(view), "deliveries", &query))
}

/// `GET /api/deliveries/{id}`: with its steps and every attempt.
pub(crate) async fn show(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    id: Path<String>,
    query: Query,
) -> ApiResult<Success<DetailView>> {
    query.none()?;
    let wanted = parse(&id)?;
    let (tools, tenant) = (Arc::clone(engine.tools()), Arc::clone(&caller.tenant));
    let profile = profile_of(&tools, &caller)?.clone();
    let found = reads.ask(&caller.who.key, move |models| {
        let Some((delivery, attempts)) = models.delivery_detail(&tenant.id, &wanted)? else {
            return Ok(None);
        };
        let requests = requests::of(models, &tools, &profile, &tenant, &delivery, &attempts)?;
        let erased = engine.is_erased(&tenant.id, delivery.id.event);
        Ok(Some(DetailView::new(delivery, attempts, requests, erased)))
    });
    Ok(Success::ok(found.await?.ok_or_else(|| ApiError::not_found("delivery", &id))?))
}

/// A delivery and its new state.
#[derive(Serialize, ToSchema)]
#[schema(as = ChangedDelivery)]
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
    engine.cancel_delivery(&caller.who, caller.tenant_id(), &id).await?;
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
    engine.redeliver(&caller.who, caller.tenant_id(), &id).await?;
    Ok(Success::accepted(Changed { id, status: "queued" }))
}

fn parse(id: &str) -> ApiResult<DeliveryId> {
    DeliveryId::parse(id).ok_or_else(|| ApiError::not_found("delivery", id))
}
