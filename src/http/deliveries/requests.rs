//! What was sent: rendered anew from the log, with secrets masked. Bodies are functions of the log, so this is the
//! body that left; keys and variables are masked and therefore not needed as they were then.

use crate::http::{
    events::accepted::unless_damaged,
    test_runs::{RequestView, builder},
};
use ledgerhook_actors::{
    domain::{step::PipelineConfig, tenant::Tenant},
    engine::Tools,
    profile::Profile,
    projections::{Attempt, Delivery, ProjectionError, Projections},
    request::{AttemptInput, Event, Payload},
};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

/// The request of each attempt; `None` where what it was made of has expired or is damaged, or nothing could be built.
pub(super) fn of(
    models: &Projections,
    tools: &Tools,
    profile: &Profile,
    tenant: &Arc<Tenant>,
    delivery: &Delivery,
    attempts: &[Attempt],
) -> Result<Vec<Option<RequestView>>, ProjectionError> {
    let Some(body) = unless_damaged(models.payload(delivery.id.event))?.flatten() else {
        return Ok(attempts.iter().map(|_| None).collect());
    };
    let mut versions: HashMap<u32, Option<Arc<PipelineConfig>>> = HashMap::new();
    let needed = attempts.iter().flat_map(|attempt| [Some(attempt.version), attempt.transport]).flatten();
    for version in needed {
        if let Entry::Vacant(place) = versions.entry(version) {
            place.insert(models.configuration(&delivery.pipeline, version)?);
        }
    }
    let config = |version: u32| versions.get(&version)?.as_ref();
    let (builder, id) = (builder(tools), delivery.id.to_string());
    let event = Event {
        id: &delivery.event_id,
        event_type: &delivery.event_type,
        moment: models.moment(delivery.id.event, delivery.accepted_at)?,
        body: &body,
    };
    let request = |attempt: &Attempt| {
        let input = AttemptInput {
            profile,
            tenant,
            pipeline: &delivery.pipeline,
            delivery: &id,
            pinned: config(attempt.version)?,
            live: config(attempt.transport?)?,
            step: attempt.step,
            queue: attempt.queue,
            round: attempt.round,
            number: attempt.number,
            other_key: attempt.other_key,
            payload: Payload::Event(event),
            now: attempt.started_at?,
        };
        builder.show(&input).ok().map(RequestView::from)
    };
    Ok(attempts.iter().map(request).collect())
}
