//! Open dead letters (AFM-58, AFM-59).

use crate::http::{
    auth::Caller,
    body::{Success, cursor},
    error::ApiResult,
    events::accepted::unless_damaged,
    pipelines::profile_of,
    query::Query,
    reads::Reads,
};
use actix_web::web::Data;
use ledgerhook_actors::{
    domain::{
        dead_letter::DeadLetter,
        event::Queue,
        id::{DeadLetterId, DeliveryId, PipelineId, StepId},
        outcome::OutcomeClass,
    },
    engine::EngineHandle,
    profile::Profile,
    projections::{ProjectionError, Projections, error_text},
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Name of the list in its cursors.
const LIST: &str = "dead_letters";

/// A page of dead letters.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadLetters {
    items: Vec<Item>,
    next: Option<String>,
}

/// One dead letter, with what the engine knows beside.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(crate) struct Item {
    id: String,
    pipeline_id: PipelineId,
    trigger_type: Box<str>,
    trigger_id: String,
    failed_at: String,
    /// Of its round, at the step's own URL.
    attempts: u16,
    /// Of its round, at the pipeline's failover URL.
    failover_attempts: u16,
    last_error: String,
    /// The event as it was posted; `null` once it has expired or was erased.
    #[schema(value_type = Option<Value>)]
    payload: Option<Box<RawValue>>,
    /// It was erased: it cannot be sent again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
    delivery_id: DeliveryId,
    event_id: Box<str>,
    event_type: Box<str>,
    step_id: Option<StepId>,
    step_name: Box<str>,
    queue: Queue,
    round: u16,
    total_attempts: usize,
    outcome: OutcomeClass,
    detail: Box<str>,
}

impl Item {
    /// `None` for an item whose event the read models do not know.
    fn of(
        models: &Projections,
        item: DeadLetter,
        profile: &Profile,
        erased: bool,
    ) -> Result<Option<Self>, ProjectionError> {
        let id = item.id();
        let Some(delivery) = models.delivery(&item.tenant, &id.delivery)? else { return Ok(None) };
        // One that cannot be read is shown as one that has expired.
        let payload = unless_damaged(models.payload(item.event))?.flatten();
        let payload = payload.and_then(|body| String::from_utf8(body.into()).ok());
        let (step_id, step_name) = models.step(&item.pipeline, item.version, item.step)?.unzip();
        let (attempts, failover_attempts) = item.tries;
        Ok(Some(Self {
            id: id.to_string(),
            trigger_id: profile.resource_id(&delivery.event_type, &delivery.resource).to_owned(),
            failed_at: item.failed_at.to_iso_seconds(),
            attempts,
            failover_attempts,
            last_error: error_text(item.class, item.status),
            payload: payload.filter(|_| !erased).and_then(|body| RawValue::from_string(body).ok()),
            erased,
            step_id,
            step_name: step_name.unwrap_or_default(),
            // The address that was tried last is the one that gave up.
            queue: if failover_attempts > 0 { Queue::Failover } else { Queue::Primary },
            round: item.round,
            total_attempts: delivery.attempts,
            outcome: item.class,
            detail: item.detail,
            pipeline_id: item.pipeline,
            trigger_type: delivery.trigger,
            delivery_id: id.delivery,
            event_id: delivery.event_id,
            event_type: delivery.event_type,
        }))
    }
}

/// `GET /api/admin/webhooks/logs/dlq`: newest event first.
pub(crate) async fn list(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    query: Query,
) -> ApiResult<Success<DeadLetters>> {
    let (after, limit, pipeline) = query.read(|q| {
        let after = q.cursor(LIST).and_then(|place| {
            DeadLetterId::parse(&place)
                .or_else(|| q.wrong("cursor", "bad_cursor", "is not a cursor of this list"))
        });
        (after, q.limit(), q.text("pipeline_id").map(PipelineId::new))
    })?;
    let tenant = caller.tenant_id();
    let mut found = engine.dead_letters(tenant, pipeline.as_ref(), after.as_ref(), limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| cursor(LIST, &last.id().to_string()));
    let profile = profile_of(engine.tools(), &caller)?.clone();
    let items = reads.ask(&caller.who.key, move |models| {
        let item = |item: DeadLetter| {
            let erased = engine.is_erased(&item.tenant, item.event);
            Item::of(models, item, &profile, erased).transpose()
        };
        found.into_iter().filter_map(item).collect()
    });
    Ok(Success::ok(DeadLetters { items: items.await?, next }))
}
