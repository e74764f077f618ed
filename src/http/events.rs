//! Events in: one, or up to a thousand. What is answered as accepted is on disk.

pub(crate) mod accepted;
mod receipt;

use super::{
    auth::Caller,
    body::Success,
    error::{ApiError, ApiResult, FieldError},
    idempotency::IdempotencyKey,
    json_body::{BATCH_BYTES, EVENT_BYTES, JsonBytes},
    pipelines::profile_of,
};
use actix_web::{http::StatusCode, web::Data};
use bytes::Bytes;
use ledgerhook_actors::{
    domain::id::TenantId,
    engine::EngineHandle,
    event_input::{self, EventInput, InputError},
    profile::Profile,
    secrets,
};
use receipt::AcceptedView;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use utoipa::ToSchema;

/// Most events of a batch.
const BATCH_MAX: usize = 1_000;

/// `POST /api/events`. With an `Idempotency-Key` an event without id gets one that is made of the key, so that
/// dedup keeps what the key promises.
pub(crate) async fn accept(
    engine: Data<EngineHandle>,
    caller: Caller,
    key: IdempotencyKey,
    body: JsonBytes<EVENT_BYTES>,
) -> ApiResult<Success<AcceptedView>> {
    let tools = Arc::clone(engine.tools());
    let tenant = caller.tenant_id();
    let key = key.0.as_deref().map(|key| Key { key, place: None });
    let EventInput { event, warnings } = read(profile_of(&tools, &caller)?, body.0, tenant, key)?;
    let receipt = engine.accept_one(tenant, event).await?;
    Ok(Success::accepted(AcceptedView { receipt, warnings }))
}

/// What became of one event of a batch.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchOutcome)]
pub(crate) struct Outcome {
    index: usize,
    status: u16,
    #[serde(flatten)]
    fate: Fate,
}

#[derive(Serialize, ToSchema)]
#[schema(as = BatchFate)]
#[serde(untagged)]
enum Fate {
    Accepted(AcceptedView),
    Refused { error: Refusal },
}

#[derive(Serialize, ToSchema)]
struct Refusal {
    code: &'static str,
    message: String,
    errors: Vec<FieldError>,
}

impl Outcome {
    fn refused(index: usize, error: ApiError) -> Self {
        let error = error.within(&format!("/events/{index}"));
        let problem = error.problem();
        let error =
            Refusal { code: problem.code, message: problem.detail.clone(), errors: problem.errors.clone() };
        Self { index, status: problem.status.as_u16(), fate: Fate::Refused { error } }
    }
}

/// The outcomes of a batch, in the order of its events.
#[derive(Serialize, ToSchema)]
#[schema(as = Batch)]
pub(crate) struct BatchView {
    accepted: usize,
    refused: usize,
    events: Vec<Outcome>,
}

/// `POST /api/events/batch`: each event has its own outcome; one that is refused does not hold up the others.
pub(crate) async fn accept_batch(
    engine: Data<EngineHandle>,
    caller: Caller,
    key: IdempotencyKey,
    body: JsonBytes<BATCH_BYTES>,
) -> ApiResult<Success<BatchView>> {
    let tools = Arc::clone(engine.tools());
    let profile = profile_of(&tools, &caller)?;
    let tenant = caller.tenant_id();
    let mut outcomes = Vec::new();
    let (mut sent, mut places) = (Vec::new(), Vec::new());
    for (index, event) in split(&body.0)?.into_iter().enumerate() {
        let key = key.0.as_deref().map(|key| Key { key, place: Some(index) });
        match read(profile, event, tenant, key) {
            Ok(EventInput { event, warnings }) => {
                sent.push(event);
                places.push((index, warnings));
            }
            Err(error) => outcomes.push(Outcome::refused(index, error)),
        }
    }
    if !sent.is_empty() {
        let receipts = engine.accept(tenant, sent).await?;
        outcomes.extend(receipts.into_iter().zip(places).map(|(outcome, (index, warnings))| match outcome {
            Ok(receipt) => {
                let fate = Fate::Accepted(AcceptedView { receipt, warnings });
                Outcome { index, status: StatusCode::ACCEPTED.as_u16(), fate }
            }
            Err(error) => Outcome::refused(index, error.into()),
        }));
    }
    outcomes.sort_by_key(|outcome| outcome.index);
    let accepted = outcomes.iter().filter(|outcome| matches!(outcome.fate, Fate::Accepted(_))).count();
    let refused = outcomes.len() - accepted;
    Ok(Success::accepted(BatchView { accepted, refused, events: outcomes }))
}

/// What an event without an id of its own gets one from.
#[derive(Clone, Copy)]
struct Key<'k> {
    key: &'k str,
    /// Its place in the batch that came under the key.
    place: Option<usize>,
}

fn read(profile: &Profile, body: Bytes, tenant: &TenantId, key: Option<Key<'_>>) -> ApiResult<EventInput> {
    event_input::read(profile, tenant, body, || match key {
        Some(key) => Ok(id_of_key(tenant, key)),
        None => Ok(event_input::event_id(secrets::random().map_err(|error| ApiError::internal(&error))?)),
    })
}

/// The id of an event that came under an idempotency key and without one of its own.
fn id_of_key(tenant: &TenantId, Key { key, place }: Key<'_>) -> Box<str> {
    let mut digest = Sha256::new().chain_update(tenant.as_str()).chain_update([0]).chain_update(key);
    if let Some(place) = place {
        // No key holds a zero: nothing else is written like this.
        digest = digest.chain_update([0]).chain_update(place.to_string());
    }
    let mut id = [0; 16];
    id.copy_from_slice(&digest.finalize()[..16]);
    event_input::event_id(id)
}

/// The events of a batch, byte for byte as they were posted.
fn split(body: &Bytes) -> ApiResult<Vec<Bytes>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Batch<'b> {
        #[serde(borrow)]
        events: Vec<&'b RawValue>,
    }
    let batch: Batch<'_> = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            ApiError::invalid_field("", "not_a_batch", format!("is to be `{{\"events\": [...]}}`: {error}"))
        } else {
            ApiError::unreadable("not_json", format!("the body cannot be read: {error}"))
        }
    })?;
    if !(1..=BATCH_MAX).contains(&batch.events.len()) {
        let message = format!("is to have 1 to {BATCH_MAX} events, and has {}", batch.events.len());
        return Err(ApiError::invalid_field("/events", "length", message));
    }
    Ok(batch.events.iter().map(|event| body.slice_ref(event.get().as_bytes())).collect())
}

impl From<InputError> for ApiError {
    fn from(error: InputError) -> Self {
        let errors = error.problems().into_iter().map(|problem| FieldError {
            pointer: problem.pointer,
            code: problem.code,
            message: problem.message,
        });
        let errors: Vec<FieldError> = errors.collect();
        match error {
            InputError::Invalid(_) => Self::invalid(errors),
            InputError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error.to_string())
            }
            InputError::NotJson(json) => json.into(),
            InputError::NotAnObject => Self::unreadable("not_an_object", error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledgerhook_actors::{engine::NewEvent, profile::Profiles};

    fn status(body: &str, key: Option<Key<'_>>) -> Result<NewEvent, u16> {
        let profiles = Profiles::builtin();
        let profile = profiles.get("afftok").unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        read(profile, body, &TenantId::new("t"), key)
            .map(|input| input.event)
            .map_err(|error| error.problem().status.as_u16())
    }

    /// ING.7, ING.8, ADM.1
    #[test]
    fn what_is_no_event_is_told_by_its_status() {
        let good = r#"{"type":"conversion.created","data":{"conversion_id":"c1"}}"#;
        assert!(status(good, None).is_ok());
        assert_eq!(status("nonsense", None).unwrap_err(), 400);
        assert_eq!(status("[]", None).unwrap_err(), 400);
        assert_eq!(status(r#"{"type":"Conversion.Created","data":{}}"#, None).unwrap_err(), 422);
        assert_eq!(status(r#"{"type":"conversion.created","data":{},"id":"a.b"}"#, None).unwrap_err(), 422);
        assert_eq!(status(&good.replace("c1", &"x".repeat(300_000)), None).unwrap_err(), 413);
    }

    /// ING.6: ids are new each time, and under a key the same each time.
    #[test]
    fn an_idempotency_key_makes_the_id() {
        let event = r#"{"type":"conversion.created","data":{"conversion_id":"c1"}}"#;
        let id = |key| status(event, key).unwrap().id;
        let (key, placed) =
            (|key| Some(Key { key, place: None }), |key, n| Some(Key { key, place: Some(n) }));
        assert_ne!(id(None), id(None));
        assert_eq!(id(key("k")), id(key("k")));
        assert_ne!(id(key("k")), id(key("l")));
        assert_eq!(id(placed("k", 0)), id(placed("k", 0)));
        assert_ne!(id(placed("k", 0)), id(placed("k", 1)));
        assert_ne!(id(placed("k", 0)), id(key("k/0")), "a batch's key and an event's are not the same");
        let own = r#"{"type":"conversion.created","data":{},"id":"mine"}"#;
        assert_eq!(&*status(own, key("k")).unwrap().id, "mine");
    }

    /// ING.12
    #[test]
    fn a_batch_is_split_into_the_bytes_that_were_posted() {
        let body = Bytes::from_static(b"{\"events\": [ {\"a\": 5.00} , 7]}");
        assert_eq!(split(&body).unwrap(), ["{\"a\": 5.00}", "7"]);
        let status =
            |text: String| split(&Bytes::from(text)).map(|_| ()).unwrap_err().problem().status.as_u16();
        for text in ["{\"events\":[]}", "{\"events\":{}}", "{}", "{\"events\":[1],\"x\":1}", "[1]", "null"] {
            assert_eq!(status(text.to_owned()), 422, "{text}");
        }
        assert_eq!(status(format!("{{\"events\":[{}1]}}", "1,".repeat(1_000))), 422);
        assert_eq!(status("{\"events\":[1".to_owned()), 400);
    }
}
