//! Events that were accepted, with what became of them.

use crate::http::{
    auth::Caller,
    body::{List, Success},
    deliveries::view::DeliveryView,
    error::{ApiError, ApiResult},
    query::Query,
    reads::{Reads, listed, page_request},
};
use actix_web::web::{Data, Path};
use ledgerhook_actors::{
    domain::id::TenantId,
    engine::EngineHandle,
    log::LogError,
    projections::{Event, EventFilter, ProjectionError},
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An accepted event.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventView {
    id: Box<str>,
    position: u64,
    #[serde(rename = "type")]
    event_type: Box<str>,
    resource: Box<str>,
    accepted_at: String,
    /// Its payload was erased.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
    deliveries: Vec<DeliveryView>,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            position: event.position.0,
            event_type: event.event_type,
            resource: event.resource,
            accepted_at: event.accepted_at.to_iso_millis(),
            erased: false,
            deliveries: event.deliveries.into_iter().map(DeliveryView::from).collect(),
        }
    }
}

impl EventView {
    fn of(event: Event, engine: &EngineHandle, tenant: &TenantId) -> Self {
        let erased = engine.is_erased(tenant, event.position);
        Self { erased, ..event.into() }
    }
}

/// The same with the event itself, as it was posted; `null` once it has expired or was erased, or if it is damaged.
#[derive(Serialize, ToSchema)]
pub(crate) struct WholeEvent {
    #[serde(flatten)]
    event: EventView,
    /// What is on the disk is not what was posted; `ledgerhook log verify` tells where.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    damaged: bool,
    #[schema(value_type = Option<Value>)]
    payload: Option<Box<RawValue>>,
}

/// `GET /api/events`: newest first.
pub(crate) async fn list(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    query: Query,
) -> ApiResult<Success<List<EventView>>> {
    let (filter, request) = query.read(|q| {
        let (event_type, resource) = (q.text("type"), q.text("resource"));
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let filter = EventFilter { event_type: owned(event_type), resource: owned(resource) };
        (filter, page_request(q, "events"))
    })?;
    let tenant = caller.tenant_id().clone();
    let asked = tenant.clone();
    let page = reads.ask(&caller.who.key, move |models| models.events(&asked, &filter, request)).await?;
    Ok(listed(page.map(|event| EventView::of(event, &engine, &tenant)), "events", &query))
}

/// `GET /api/events/{id}`
pub(crate) async fn show(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    id: Path<String>,
    query: Query,
) -> ApiResult<Success<WholeEvent>> {
    query.none()?;
    let (tenant, wanted) = (caller.tenant_id().clone(), id.clone());
    let found = reads.ask(&caller.who.key, move |models| {
        let Some(event) = models.event(&tenant, &wanted)? else { return Ok(None) };
        let payload = unless_damaged(models.payload(event.position))?;
        Ok(Some((event, payload)))
    });
    let (event, payload) = found.await?.ok_or_else(|| ApiError::not_found("event", &id))?;
    let (payload, damaged) = payload.map_or((None, true), |payload| (payload, false));
    let payload = payload.and_then(|body| String::from_utf8(body.into()).ok());
    let payload = payload.and_then(|body| RawValue::from_string(body).ok());
    let event = EventView::of(event, &engine, caller.tenant_id());
    // What is not overwritten yet is not shown any more.
    let payload = payload.filter(|_| !event.erased);
    let damaged = damaged && !event.erased;
    Ok(Success::ok(WholeEvent { event, damaged, payload }))
}

/// A payload, or `None` for one that is damaged: it hides nothing else.
pub(crate) fn unless_damaged<T>(payload: Result<T, ProjectionError>) -> Result<Option<T>, ProjectionError> {
    match payload {
        Err(ProjectionError::Log(error @ LogError::Damaged { .. })) => {
            tracing::error!(cause = %error, "an event cannot be shown");
            Ok(None)
        }
        other => other.map(Some),
    }
}
