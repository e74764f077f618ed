//! A delivery as `/api/deliveries` shows it.

use crate::http::test_runs::RequestView;
use ledgerhook_actors::{
    domain::{
        delivery::HeldReason,
        event::Queue,
        id::{DeliveryId, StepId, TenantId},
        outcome::OutcomeClass,
        time::Timestamp,
    },
    engine::EngineHandle,
    projections::{Attempt, Delivery, DeliveryState, Phases, StepState, StepStatus},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A delivery in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryView {
    id: DeliveryId,
    /// Position of its event in the log.
    position: u64,
    pipeline_id: String,
    pipeline_name: Box<str>,
    version: u32,
    event_id: Box<str>,
    event_type: Box<str>,
    trigger_type: Box<str>,
    resource: Box<str>,
    status: DeliveryState,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_reason: Option<&'static str>,
    round: u16,
    attempts_made: usize,
    last_outcome: Option<OutcomeClass>,
    last_http_status: Option<u16>,
    out_of_order: bool,
    accepted_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    due_at: Option<String>,
    /// The event's payload was erased: nothing of it can be shown, and it cannot be sent again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
}

impl DeliveryView {
    /// With what the read models do not know.
    pub(crate) fn of(delivery: Delivery, engine: &EngineHandle, tenant: &TenantId) -> Self {
        let erased = engine.is_erased(tenant, delivery.id.event);
        Self { erased, ..delivery.into() }
    }
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let iso = |at: Option<Timestamp>| at.map(Timestamp::to_iso_millis);
        Self {
            position: delivery.id.event.0,
            id: delivery.id,
            pipeline_id: delivery.pipeline.to_string(),
            pipeline_name: delivery.pipeline_name,
            version: delivery.version,
            event_id: delivery.event_id,
            event_type: delivery.event_type,
            trigger_type: delivery.trigger,
            resource: delivery.resource,
            status: delivery.state,
            held_reason: delivery.held.map(HeldReason::as_str),
            round: delivery.round,
            attempts_made: delivery.attempts,
            last_outcome: delivery.last.map(|(class, _)| class),
            last_http_status: delivery.last.and_then(|(_, status)| status),
            out_of_order: delivery.out_of_order,
            accepted_at: delivery.accepted_at.to_iso_millis(),
            started_at: iso(delivery.started_at),
            ended_at: iso(delivery.ended_at),
            due_at: iso(delivery.due_at),
            erased: false,
        }
    }
}

/// A delivery with its steps and attempts.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryDetail)]
pub(crate) struct DetailView {
    #[serde(flatten)]
    delivery: DeliveryView,
    steps: Vec<StepView>,
    attempts: Vec<AttemptView>,
}

impl DetailView {
    /// All of it.
    pub(super) fn new(
        mut delivery: Delivery,
        attempts: Vec<Attempt>,
        requests: Vec<Option<RequestView>>,
        erased: bool,
    ) -> Self {
        let steps = std::mem::take(&mut delivery.steps).into_iter().map(StepView::from).collect();
        let attempts = attempts.into_iter().zip(requests);
        let attempts =
            attempts.map(|(attempt, request)| AttemptView::new(attempt, request, erased)).collect();
        Self { delivery: DeliveryView { erased, ..delivery.into() }, steps, attempts }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryStep)]
struct StepView {
    id: StepId,
    name: Box<str>,
    status: StepStatus,
    attempts_made: usize,
    outcome: Option<OutcomeClass>,
    http_status: Option<u16>,
    latency_ms: Option<u64>,
}

impl From<StepState> for StepView {
    fn from(step: StepState) -> Self {
        let StepState { id, name, status, attempts, http_status, latency_ms, outcome, .. } = step;
        let latency_ms = latency_ms.filter(|_| outcome != Some(OutcomeClass::BlockedAddress));
        Self { id, name, status, attempts_made: attempts, outcome, http_status, latency_ms }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
struct AttemptView {
    position: u64,
    number: u16,
    round: u16,
    step: Option<StepId>,
    step_index: u16,
    queue: Queue,
    /// Why it is more than the next of the schedule.
    reason: Option<&'static str>,
    version: u32,
    transport_version: Option<u32>,
    due_at: Option<String>,
    started_at: Option<String>,
    ended_at: Option<String>,
    outcome: Option<OutcomeClass>,
    http_status: Option<u16>,
    latency_ms: Option<u64>,
    phases: Option<Phases>,
    detail: Box<str>,
    /// Rendered anew, secrets masked.
    request: Option<RequestView>,
    response: Option<String>,
}

impl AttemptView {
    fn new(attempt: Attempt, request: Option<RequestView>, erased: bool) -> Self {
        let iso = |at: Option<Timestamp>| at.map(Timestamp::to_iso_millis);
        // How long a look at a forbidden target took would tell what is behind its name (URL.14).
        let blocked = attempt.outcome == Some(OutcomeClass::BlockedAddress);
        Self {
            position: attempt.position.0,
            number: attempt.number,
            round: attempt.round,
            step: attempt.step_id,
            step_index: attempt.step,
            queue: attempt.queue,
            reason: attempt.other_key.then_some("rotation_fallback"),
            version: attempt.version,
            transport_version: attempt.transport,
            due_at: iso(attempt.due_at),
            started_at: iso(attempt.started_at),
            ended_at: iso(attempt.ended_at),
            outcome: attempt.outcome,
            http_status: attempt.http_status,
            latency_ms: attempt.latency_ms.filter(|_| !blocked),
            phases: attempt.phases.filter(|_| !blocked),
            detail: attempt.detail,
            request: request.filter(|_| !erased),
            response: attempt
                .response
                .filter(|_| !erased)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
}
