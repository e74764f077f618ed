//! One record as people and programs read it: the fact as JSON, secrets masked.

use ledgerhook_actors::{
    delivery::template::MASK,
    domain::event::Fact,
    log::{EventLog, Position, RecordRef, codec},
    secrets::{has_sealed, shown_url},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Members whose text is never shown: sealed secrets, and hashes of keys.
const SECRET: [&str; 2] = ["sealed", "hash"];

/// One record.
#[derive(Serialize, ToSchema)]
#[schema(as = LogRecord)]
pub(crate) struct RecordView {
    position: Position,
    stream: String,
    version: u64,
    kind: String,
    time: String,
    payload: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachment: Option<Attachment>,
    chain_hash: Option<String>,
}

/// Bytes that belong to the fact and may expire before it: an event's body, an answer's excerpt.
#[derive(Serialize, ToSchema)]
struct Attachment {
    bytes: u32,
    sha256: String,
}

impl RecordView {
    /// `None` for what this version cannot read.
    pub(crate) fn of(record: &RecordRef<'_>) -> Option<Self> {
        let (kind, payload) = told(&codec::decode(record).ok()?)?;
        let attachment = record
            .payload
            .map(|payload| Attachment { bytes: payload.len, sha256: hex::encode(payload.digest) });
        Some(Self {
            position: record.position,
            stream: record.stream.to_owned(),
            version: record.version,
            kind,
            time: record.at.to_iso_millis(),
            payload,
            attachment,
            chain_hash: None,
        })
    }

    /// Adds the hash of the chain at the end of the record's batch.
    pub(super) fn seal(&mut self, log: &dyn EventLog) {
        self.chain_hash = log.chain_hash(self.position).ok().map(hex::encode);
    }

    /// What the fact says.
    pub(crate) fn fact(&self) -> &Value {
        &self.payload
    }

    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }
}

/// The kind of a fact, and what it says.
fn told(fact: &Fact) -> Option<(String, Value)> {
    let (kind, mut payload) = match fact {
        Fact::Tenant(_, event) => tagged(serde_json::to_value(event).ok()?)?,
        Fact::Pipeline(_, event) => tagged(serde_json::to_value(event).ok()?)?,
        Fact::Engine(event) => tagged(serde_json::to_value(event).ok()?)?,
        Fact::Endpoint(_, event) => tagged(serde_json::to_value(event).ok()?)?,
        Fact::Lane(_, event) => named(serde_json::to_value(event).ok()?)?,
        Fact::Accepted(_, accepted) => {
            let mut payload = serde_json::to_value(accepted).ok()?;
            if let Some(moment) = accepted.moment {
                payload["moment"] = moment.to_iso().into();
            }
            ("event_accepted".to_owned(), payload)
        }
    };
    tell_asked(&mut payload);
    mask(&mut payload);
    Some((kind, payload))
}

/// `by` is a key's id in all facts; how it came stands beside it, where that is known.
fn tell_asked(payload: &mut Value) {
    let Some(members) = payload.as_object_mut() else { return };
    if let Some(Value::Object(by)) = members.get_mut("by")
        && let Some(key) = by.shift_remove("key")
    {
        let asked = Value::Object(std::mem::take(by));
        members.insert("by".into(), key);
        members.insert("asked".into(), asked);
    }
}

/// `{"type": "tenant_created", …}`
fn tagged(value: Value) -> Option<(String, Value)> {
    let Value::Object(mut members) = value else { return None };
    let Some(Value::String(kind)) = members.shift_remove("type") else { return None };
    Some((kind, Value::Object(members)))
}

/// `{"AttemptStarted": {…}}`
fn named(value: Value) -> Option<(String, Value)> {
    match value {
        Value::Object(members) => members.into_iter().next().map(|(name, value)| (snake_case(&name), value)),
        Value::String(name) => Some((snake_case(&name), Value::Object(Map::new()))),
        _ => None,
    }
}

fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                if SECRET.contains(&key.as_str()) && value.is_string() {
                    *value = Value::from(MASK);
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(mask),
        Value::String(text) if has_sealed(text) => *value = Value::from(shown_url(text)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledgerhook_actors::domain::{
        by::{Asked, By},
        event::{LaneEvent, TenantEvent},
        id::{KeyId, PipelineId, TenantId},
        tenant::{ApiKey, Scope},
    };

    fn by() -> By {
        let asked = Asked { name: None, hint: None, request: "req_1".into(), peer: Some("::1".into()) };
        By { key: KeyId::new("key_0"), asked: Some(Box::new(asked)) }
    }

    /// SIG.8, TEN.6
    #[test]
    fn hashes_and_sealed_values_are_masked() {
        let key = ApiKey {
            id: KeyId::new("key_1"),
            hash: "canary".into(),
            hint: "lhk_1234".into(),
            scopes: vec![Scope::Read],
            name: None,
            expires_at: None,
        };
        let fact = Fact::Tenant(TenantId::new("t"), TenantEvent::KeyCreated { key, by: by() });
        let (kind, payload) = told(&fact).unwrap();
        assert_eq!(kind, "key_created");
        assert_eq!(payload["key"]["hash"], MASK);
        assert_eq!((&payload["by"], &payload["asked"]["peer"]), (&"key_0".into(), &"::1".into()));
        let mut value = serde_json::json!({"headers": [{"value": {"sealed": "v1.canary"}}]});
        mask(&mut value);
        assert!(!value.to_string().contains("canary"));
    }

    #[test]
    fn facts_of_lanes_are_named_like_the_others() {
        let event = LaneEvent::LaneResumed { resource: "conv_1".into(), by: KeyId::new("key_1").into() };
        let (kind, payload) = told(&Fact::Lane(PipelineId::new("pipe_1"), event)).unwrap();
        assert_eq!((kind.as_str(), &payload["resource"]), ("lane_resumed", &Value::from("conv_1")));
        assert_eq!((&payload["by"], payload.get("asked")), (&"key_1".into(), None));
    }
}
