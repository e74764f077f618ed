//! `GET /api/webhooks/{id}/logs`: what was sent to a flat webhook (APX-24 … APX-28, SOC-09).

use crate::http::{
    auth::Caller,
    body::{List, Success},
    error::ApiResult,
    query::Query,
    reads::{Reads, listed, page_request},
};
use actix_web::web::{Data, Path};
use ledgerhook_actors::{
    domain::{id::DeliveryId, outcome::OutcomeClass, time::Timestamp},
    engine::EngineHandle,
    projections::{Attempt, Delivery, DeliveryFilter, DeliveryState},
};
use serde::Serialize;
use utoipa::ToSchema;

/// One delivery.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookLog)]
pub(crate) struct LogRow {
    id: DeliveryId,
    event_id: Box<str>,
    event_type: Box<str>,
    resource: Box<str>,
    status: &'static str,
    response_code: Option<u16>,
    response_time_ms: Option<u64>,
    retry_attempts: usize,
    accepted_at: String,
    attempts: Vec<AttemptRow>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WebhookLogAttempt)]
struct AttemptRow {
    number: u16,
    round: u16,
    started_at: Option<String>,
    outcome: Option<OutcomeClass>,
    http_status: Option<u16>,
    latency_ms: Option<u64>,
}

impl LogRow {
    fn of(delivery: Delivery, attempts: Vec<Attempt>) -> Self {
        let last = attempts.iter().rfind(|attempt| attempt.outcome.is_some());
        Self {
            response_code: last.and_then(|attempt| attempt.http_status),
            response_time_ms: last.and_then(|attempt| attempt.latency_ms),
            retry_attempts: attempts.len().saturating_sub(1),
            status: match delivery.state {
                DeliveryState::Delivered => "success",
                DeliveryState::DeadLettered => "failed",
                DeliveryState::Skipped | DeliveryState::Cancelled => "cancelled",
                _ => "pending",
            },
            id: delivery.id,
            event_id: delivery.event_id,
            event_type: delivery.event_type,
            resource: delivery.resource,
            accepted_at: delivery.accepted_at.to_iso_millis(),
            attempts: attempts.into_iter().map(AttemptRow::from).collect(),
        }
    }
}

impl From<Attempt> for AttemptRow {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            round: attempt.round,
            started_at: attempt.started_at.map(Timestamp::to_iso_millis),
            outcome: attempt.outcome,
            http_status: attempt.http_status,
            latency_ms: attempt.latency_ms,
        }
    }
}

/// What a list may be cut down to (ATT-24).
const ENDED: [(&str, DeliveryState); 2] =
    [("success", DeliveryState::Delivered), ("failed", DeliveryState::DeadLettered)];

/// `GET /api/webhooks/{id}/logs`: newest first.
pub(crate) async fn list(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    id: Path<String>,
    query: Query,
) -> ApiResult<Success<List<LogRow>>> {
    let (entry, _) = super::find(&engine, &caller, &id)?;
    let (filter, request) = query.read(|q| {
        let filter = DeliveryFilter {
            pipeline: Some(entry.id.clone()),
            state: q.choice("status", &ENDED),
            event_type: q.text("type").map(str::to_owned),
            ..DeliveryFilter::default()
        };
        (filter, page_request(q, "webhook_logs"))
    })?;
    let tenant = caller.tenant_id().clone();
    let page = reads.ask(&caller.who.key, move |models| {
        let mut page = models.deliveries(&tenant, &filter, request)?.map(|delivery| (delivery, Vec::new()));
        for (delivery, attempts) in &mut page.items {
            *attempts =
                models.delivery_detail(&tenant, &delivery.id)?.map(|(_, all)| all).unwrap_or_default();
        }
        Ok(page)
    });
    let page = page.await?.map(|(delivery, attempts)| LogRow::of(delivery, attempts));
    Ok(listed(page, "webhook_logs", &query))
}
