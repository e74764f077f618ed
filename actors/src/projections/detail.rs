//! Everything about one delivery: each attempt, read from the log by the positions that its row keeps.

use super::{
    Delivery, ProjectionError, Projections,
    deliveries::{Shown, find, millis},
    pipelines::ConfigRow,
    query::Rows,
    rows::AttemptRow,
};
use crate::{
    domain::{
        event::{Fact, LaneEvent, Next, Outcome, PipelineEvent, Queue},
        id::{DeliveryId, PipelineId, StepId, TenantId},
        outcome::OutcomeClass,
        step::PipelineConfig,
        time::{Moment, Timestamp},
    },
    log::{LogError, Position},
};
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// One attempt, whole.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Round of the delivery, from 1.
    pub round: u16,
    /// Number in the round, over all steps and queues, from 1.
    pub number: u16,
    /// Index of the step in the configuration that the round is pinned to.
    pub step: u16,
    /// The step's id.
    pub step_id: Option<StepId>,
    /// The configuration that bodies come from.
    pub version: u32,
    /// The configuration that URL, headers and keys came from.
    pub transport: Option<u32>,
    /// Which address.
    pub queue: Queue,
    /// The one before it was refused for its signature, so this one has that of the key that is being rotated out
    /// (T-6).
    pub other_key: bool,
    /// Where its start is recorded.
    pub position: Position,
    /// When it was due.
    pub due_at: Option<Timestamp>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<OutcomeClass>,
    /// HTTP status of the answer.
    pub http_status: Option<u16>,
    /// How long it took.
    pub latency_ms: Option<u64>,
    /// Where the time went.
    pub phases: Option<Phases>,
    /// What went wrong, for people.
    pub detail: Box<str>,
    /// The first bytes of the answer, while they are kept.
    pub response: Option<Bytes>,
}

/// Microseconds per phase; `None` where the phase did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Phases {
    pub dns_us: Option<u32>,
    pub connect_us: Option<u32>,
    pub tls_us: Option<u32>,
    pub first_byte_us: Option<u32>,
    pub body_us: Option<u32>,
}

/// What one attempt's end decided about the next.
#[derive(Clone, Copy, Default)]
struct Due {
    at: Option<Timestamp>,
    other_key: bool,
}

impl Projections {
    /// One delivery of a tenant with all its attempts, oldest first.
    pub fn delivery_detail(
        &self,
        tenant: &TenantId,
        id: &DeliveryId,
    ) -> Result<Option<(Delivery, Vec<Attempt>)>, ProjectionError> {
        self.read(|view| {
            let mut rows = Rows::new(view);
            let Some((row, delivery)) = find(view, &mut rows, tenant, id)? else { return Ok(None) };
            let mut shown = Shown::new(view);
            let mut due = Due { at: Some(row.accepted_at), other_key: false };
            let mut round = 1;
            let mut attempts = Vec::with_capacity(delivery.attempts.len());
            for attempt in &delivery.attempts {
                if attempt.round != round {
                    round = attempt.round;
                    due.at = (round == delivery.round()).then_some(delivery.queued_at);
                }
                let version = delivery.version(round);
                let config = shown.config(delivery.pipeline, version)?;
                let step = config.as_ref().and_then(|config| config.steps.get(usize::from(attempt.step)));
                let step_id = step.map(|step| StepId::new(view.store.names.text(step.id)));
                let (attempt, next) = self.attempt(attempt, version, step_id, due)?;
                attempts.push(attempt);
                due = next;
            }
            Ok(Some((shown.delivery(row, delivery)?, attempts)))
        })
    }

    /// The attempt, and what it left for the one behind it.
    fn attempt(
        &self,
        row: &AttemptRow,
        version: u32,
        step_id: Option<StepId>,
        due: Due,
    ) -> Result<(Attempt, Due), ProjectionError> {
        let mut attempt = Attempt {
            round: row.round,
            number: row.number,
            step: row.step,
            step_id,
            version,
            transport: None,
            queue: row.queue,
            other_key: due.other_key,
            position: row.started,
            due_at: due.at,
            started_at: None,
            ended_at: None,
            outcome: row.class,
            http_status: row.status,
            latency_ms: None,
            phases: None,
            detail: "".into(),
            response: None,
        };
        if let Some((at, LaneEvent::AttemptStarted { transport, .. })) = self.lane_fact(row.started)? {
            (attempt.started_at, attempt.transport) = (Some(at), Some(transport));
        }
        let unknown = Due::default();
        let Some(ended) = row.ended else { return Ok((attempt, unknown)) };
        let Some((at, event)) = self.lane_fact(ended)? else { return Ok((attempt, unknown)) };
        attempt.ended_at = Some(at);
        let verdict = match event {
            LaneEvent::AttemptEnded { outcome, verdict, .. } => {
                let Outcome {
                    detail,
                    phases_us: [dns_us, connect_us, tls_us, first_byte_us, body_us],
                    total_us,
                    ..
                } = outcome;
                attempt.detail = detail;
                attempt.latency_ms = Some(millis(total_us));
                attempt.phases = Some(Phases { dns_us, connect_us, tls_us, first_byte_us, body_us });
                attempt.response = self.answer(ended)?;
                verdict
            }
            LaneEvent::AttemptAbandoned { verdict, .. } => {
                attempt.detail = "whether the request arrived is unknown".into();
                verdict
            }
            _ => return Ok((attempt, unknown)),
        };
        let next = if let Next::Retry(due) = verdict.next { due } else { at };
        Ok((attempt, Due { at: Some(next), other_key: verdict.next == Next::OtherKey }))
    }

    /// The excerpt of an answer, by the record that ended its attempt; `None` if there was none or it has expired.
    pub fn answer(&self, ended: Position) -> Result<Option<Bytes>, ProjectionError> {
        absent(self.shared.log.payload(ended)).map(Option::flatten)
    }

    /// The event as it was posted, by its position; `None` if it has expired.
    pub fn payload(&self, event: Position) -> Result<Option<Bytes>, ProjectionError> {
        self.answer(event)
    }

    /// The time in the event's body, unless its producer gave one.
    pub fn moment(&self, event: Position, at: Timestamp) -> Result<Moment, ProjectionError> {
        let record = absent(self.shared.log.read_at(event))?;
        let fact = record.map(|record| record.fact()).transpose()?;
        Ok(match fact {
            Some(Fact::Accepted(_, accepted)) => accepted.moment(at),
            _ => Moment::second_of(at),
        })
    }

    /// One version of a pipeline's configuration, also of a pipeline that is gone; `None` once it has expired.
    pub fn configuration(
        &self,
        pipeline: &PipelineId,
        version: u32,
    ) -> Result<Option<Arc<PipelineConfig>>, ProjectionError> {
        let position = self.read(|view| {
            let Some(name) = view.store.names.find(pipeline.as_str()) else { return Ok(None) };
            Ok(view.get::<ConfigRow>((name, version))?.map(|row| row.position))
        })?;
        let record =
            position.map(|position| absent(self.shared.log.read_at(position))).transpose()?.flatten();
        Ok(record.map(|record| record.fact()).transpose()?.and_then(|fact| match fact {
            Fact::Pipeline(
                _,
                PipelineEvent::PipelineCreated { config, .. } | PipelineEvent::PipelineUpdated { config, .. },
            ) => Some(Arc::new(config)),
            _ => None,
        }))
    }

    fn lane_fact(&self, position: Position) -> Result<Option<(Timestamp, LaneEvent)>, ProjectionError> {
        let Some(record) = absent(self.shared.log.read_at(position))? else { return Ok(None) };
        Ok(match record.fact()? {
            Fact::Lane(_, event) => Some((record.at, event)),
            _ => None,
        })
    }
}

/// A record below the floor of the log is no error: it has expired.
pub(super) fn absent<T>(read: Result<T, LogError>) -> Result<Option<T>, ProjectionError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(LogError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
