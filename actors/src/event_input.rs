//! From the bytes of a posted event to [`NewEvent`]: strict about the envelope, indifferent to the data.
//!
//! ```text
//! {"type", "data", "id"?, "timestamp"?, "resource"?, "metadata"?} ──read──> NewEvent + warnings
//!                                                           not JSON: 400; not an event: 422, every problem named
//! ```
//!
//! The data is parsed once, and only looked at: what is kept, and delivered, are the posted bytes.

mod date;
mod problem;
mod tested;

pub use problem::{InputError, Problem, Warning};
pub use tested::check_tested;

use crate::{
    domain::{id::TenantId, operator_event::OperatorEvent},
    json::{Json, Limits, Member, parse},
    profile::{Profile, RESOURCE_MAX},
    view::NewEvent,
};
use bytes::Bytes;

/// Longest event id in bytes.
pub const ID_MAX: usize = 128;

/// Body parsers of receivers stop at this size unless told otherwise: `express.json()` (T-9).
const RECEIVER_BODY_BYTES: usize = 100 * 1024;

/// An event that may be accepted, and what its producer should know.
#[derive(Clone, Debug)]
pub struct EventInput {
    /// The event.
    pub event: NewEvent,
    /// What will trouble receivers.
    pub warnings: Vec<Warning>,
}

/// Reads one event object, byte for byte as it was posted. `mint` makes the id of an event without one; see
/// [`event_id`].
pub fn read<E: From<InputError>>(
    profile: &Profile,
    tenant: &TenantId,
    body: Bytes,
    mint: impl FnOnce() -> Result<Box<str>, E>,
) -> Result<EventInput, E> {
    if body.len() > profile.limits.event_bytes_max {
        let error = InputError::TooLarge { bytes: body.len(), limit: profile.limits.event_bytes_max };
        return Err(error.into());
    }
    let json = parse(&body, Limits::POSTED).map_err(InputError::from)?;
    let warnings = warnings(&json, body.len());
    let Json::Object(members) = &json else { return Err(InputError::NotAnObject.into()) };
    let fields = Fields::of(members, profile, tenant)?;
    let id = fields.id.map_or_else(mint, |id| Ok(id.into()))?;
    let resource = fields.resource.map_or_else(
        || profile.resource_rule(fields.event_type).derive(fields.data, &id).into_boxed_str(),
        Box::from,
    );
    let (event_type, is_timed) = (fields.event_type.into(), fields.is_timed);
    drop(json);
    Ok(EventInput { event: NewEvent { id, event_type, resource, body, is_timed }, warnings })
}

/// The id of an event that came without one, from bytes that nobody can guess: `evt_` and 32 hex digits (ING.6).
#[must_use]
pub fn event_id(random: [u8; 16]) -> Box<str> {
    format!("evt_{}", hex::encode(random)).into_boxed_str()
}

/// The checked fields, borrowed from the tree.
struct Fields<'j> {
    event_type: &'j str,
    data: &'j Json<'j>,
    id: Option<&'j str>,
    resource: Option<&'j str>,
    is_timed: bool,
}

impl<'j> Fields<'j> {
    fn of(members: &'j [Member<'j>], profile: &Profile, tenant: &TenantId) -> Result<Self, InputError> {
        let (mut event_type, mut data, mut id, mut resource) = (None, None, None, None);
        let (mut problems, mut is_timed) = (Vec::new(), false);
        for (key, value) in members {
            let checked = match key.as_ref() {
                "type" => known_type(value, profile).map(|text| event_type = Some(text)),
                "data" => object(value).map(|()| data = Some(value)),
                // An optional field that is null is absent.
                "id" | "timestamp" | "resource" | "metadata" if value.is_null() => Ok(()),
                "id" => event_id_text(value).map(|text| id = Some(text)),
                "timestamp" => instant(value).map(|()| is_timed = true),
                "resource" => resource_text(value).map(|text| resource = Some(text)),
                "metadata" => object(value).and_then(|()| of_tenant(value, tenant)),
                _ => Err(Problem::unknown_field()),
            };
            if let Err(problem) = checked {
                problems.push(problem.at(key));
            }
        }
        for field in ["type", "data"] {
            if !members.iter().any(|(key, _)| key == field) {
                problems.push(Problem::required().at(field));
            }
        }
        match (event_type, data) {
            (Some(event_type), Some(data)) if problems.is_empty() => {
                Ok(Self { event_type, data, id, resource, is_timed })
            }
            _ => Err(InputError::Invalid(problems)),
        }
    }
}

/// The key's tenant decides; an event that says another is meant for somebody else (TEN.5).
fn of_tenant(metadata: &Json<'_>, tenant: &TenantId) -> Result<(), Problem> {
    match metadata.get(&["tenant_id"]) {
        Some(named) if named.as_str() != Some(tenant.as_str()) => Err(Problem::other_tenant()),
        _ => Ok(()),
    }
}

fn known_type<'j>(value: &'j Json<'_>, profile: &Profile) -> Result<&'j str, Problem> {
    let name = text(value)?;
    if OperatorEvent::parse(name).is_some() {
        return Err(Problem::reserved_type(name));
    }
    if profile.is_known_type(name) { Ok(name) } else { Err(Problem::unknown_type(name, profile)) }
}

/// `.` separates the parts of what is signed, so an id has none (ING.7, Standard Webhooks).
fn event_id_text<'j>(value: &'j Json<'_>) -> Result<&'j str, Problem> {
    let id = text(value)?;
    if is_event_id(id) { Ok(id) } else { Err(Problem::id()) }
}

pub(crate) fn is_event_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=ID_MAX).contains(&id.len()) && id.bytes().all(plain)
}

fn resource_text<'j>(value: &'j Json<'_>) -> Result<&'j str, Problem> {
    let resource = text(value)?;
    if !(1..=RESOURCE_MAX).contains(&resource.len()) {
        return Err(Problem::length(1, RESOURCE_MAX));
    }
    if resource.chars().any(char::is_control) { Err(Problem::control_character()) } else { Ok(resource) }
}

fn instant(value: &Json<'_>) -> Result<(), Problem> {
    if date::is_instant(text(value)?) { Ok(()) } else { Err(Problem::date()) }
}

fn text<'j>(value: &'j Json<'_>) -> Result<&'j str, Problem> {
    value.as_str().ok_or_else(|| Problem::wrong_type("a string"))
}

fn object(value: &Json<'_>) -> Result<(), Problem> {
    if let Json::Object(_) = value { Ok(()) } else { Err(Problem::wrong_type("an object")) }
}

fn warnings(json: &Json<'_>, bytes: usize) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if !json.is_js_stable() {
        warnings.push(Warning::NumberBeyondJavaScript);
    }
    if bytes > RECEIVER_BODY_BYTES {
        warnings.push(Warning::LargeBody { bytes });
    }
    warnings
}

#[cfg(test)]
mod tests;
