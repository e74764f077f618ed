//! Bodies of requests, as `/openapi.json` describes them.
//!
//! Requests are read by hand, so that all mistakes are told at once with their place (`http/fields.rs`). What stands
//! here is for the description alone; `tests/suite/api/openapi.rs` holds it against the readers, field by field.

#![expect(dead_code, reason = "only the derive reads these fields")]

use ledgerhook_actors::domain::endpoint::breaker::BreakerPolicy;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;

/// One trigger, or some.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum TriggerSet {
    One(String),
    Some(Vec<String>),
}

/// `off`, or when an endpoint's circuit breaker opens and how it probes.
#[derive(ToSchema)]
#[schema(as = Breaker)]
#[serde(untagged)]
pub(crate) enum BreakerBody {
    Off(BreakerOff),
    Policy(BreakerPolicy),
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BreakerOff {
    Off,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PipelineStatus {
    Active,
    Paused,
    Disabled,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OnExhausted {
    Continue,
    Halt,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum StepMethod {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BodyFormat {
    Js,
    Python,
    Php,
    Raw,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SignatureMode {
    None,
    Hmac,
    Jwt,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BackoffType {
    Fixed,
    Exponential,
    ExponentialJitter,
    Schedule,
}

/// What a key of a tenant may do.
#[derive(Serialize, ToSchema)]
enum TenantScope {
    #[serde(rename = "events:write")]
    EventsWrite,
    #[serde(rename = "read")]
    Read,
    #[serde(rename = "manage")]
    Manage,
}

/// A pipeline: what triggers it, and the calls that it makes one behind the other.
#[derive(ToSchema)]
#[schema(examples(json!({
    "name": "Conversions to the CRM",
    "trigger_type": "conversion",
    "steps": [{"url": "https://example.com/hook"}],
})))]
pub(crate) struct PipelineBody {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[schema(max_length = 2000)]
    description: Option<String>,
    trigger_type: TriggerSet,
    #[schema(nullable = false)]
    status: Option<PipelineStatus>,
    #[schema(nullable = false)]
    on_exhausted: Option<OnExhausted>,
    /// Requests that one URL is sent in a second.
    #[schema(minimum = 1, maximum = 10_000)]
    rate_limit_per_second: Option<u32>,
    breaker: Option<BreakerBody>,
    /// Statuses that are retried though the profile takes them for final.
    #[schema(max_items = 50)]
    retry_on: Option<Vec<u16>>,
    failover_url: Option<String>,
    #[schema(min_items = 1, max_items = 20)]
    steps: Vec<StepBody>,
}

/// One call of a pipeline.
#[derive(ToSchema)]
struct StepBody {
    /// In changes: the step that this one continues.
    id: Option<String>,
    #[schema(min_length = 1, max_length = 200, nullable = false)]
    name: Option<String>,
    #[schema(minimum = 1, maximum = 1_000_000, nullable = false)]
    order: Option<u32>,
    url: String,
    #[schema(nullable = false)]
    method: Option<StepMethod>,
    /// Values are templates.
    headers: Option<HashMap<String, HeaderBody>>,
    /// Any JSON whose strings are templates.
    body_template: Option<Value>,
    #[schema(nullable = false)]
    body_format: Option<BodyFormat>,
    #[schema(nullable = false)]
    include_id: Option<bool>,
    #[schema(minimum = 1, maximum = 300, nullable = false)]
    timeout_seconds: Option<u16>,
    retry_policy: Option<RetryPolicyBody>,
    #[schema(nullable = false)]
    stop_on_failure: Option<bool>,
    #[schema(nullable = false)]
    signature_mode: Option<SignatureMode>,
    ed25519_signature: Option<bool>,
    /// PEM certificates: the receiver's has to come from one of these, and no other root is trusted.
    #[schema(max_length = 16_384)]
    tls_ca: Option<String>,
    /// A secret, or `{{env.NAME}}`.
    signing_key: Option<String>,
}

/// A header's value: text, or text that is said to be a secret.
#[derive(ToSchema)]
#[schema(as = HeaderValue)]
#[serde(untagged)]
enum HeaderBody {
    Text(String),
    Declared(DeclaredHeader),
}

/// Text that is never shown again where `secret` says so.
#[derive(ToSchema)]
struct DeclaredHeader {
    value: String,
    #[schema(nullable = false)]
    secret: Option<bool>,
}

/// When an attempt that failed is made again.
#[derive(ToSchema)]
struct RetryPolicyBody {
    #[schema(nullable = false)]
    preset: Option<String>,
    #[schema(minimum = 1, maximum = 50, nullable = false)]
    max_attempts: Option<u16>,
    #[schema(nullable = false)]
    backoff_type: Option<BackoffType>,
    #[schema(minimum = 0, maximum = 604_800, nullable = false)]
    initial_delay_seconds: Option<f64>,
    #[schema(minimum = 0, maximum = 604_800, nullable = false)]
    max_delay_seconds: Option<f64>,
    #[schema(minimum = 0, maximum = 1, nullable = false)]
    jitter_factor: Option<f64>,
    #[schema(nullable = false)]
    delays_seconds: Option<Vec<f64>>,
}

/// A flat webhook: one URL, some events.
#[derive(ToSchema)]
#[schema(examples(json!({"url": "https://example.com/hook", "events": ["conversion.created"]})))]
pub(crate) struct WebhookBody {
    url: String,
    #[schema(min_items = 1, max_items = 50)]
    events: Vec<String>,
    /// A secret, or `{{env.NAME}}`; made if it is left out.
    secret: Option<String>,
    #[schema(min_length = 1, max_length = 200, nullable = false)]
    name: Option<String>,
    #[schema(max_length = 2000)]
    description: Option<String>,
    #[schema(nullable = false)]
    status: Option<PipelineStatus>,
    #[schema(nullable = false)]
    on_exhausted: Option<OnExhausted>,
    #[schema(minimum = 1, maximum = 10_000)]
    rate_limit_per_second: Option<u32>,
    breaker: Option<BreakerBody>,
    #[schema(max_items = 50)]
    retry_on: Option<Vec<u16>>,
    #[schema(nullable = false)]
    method: Option<StepMethod>,
    headers: Option<HashMap<String, HeaderBody>>,
    body_template: Option<Value>,
    #[schema(nullable = false)]
    body_format: Option<BodyFormat>,
    #[schema(nullable = false)]
    include_id: Option<bool>,
    #[schema(minimum = 1, maximum = 300, nullable = false)]
    timeout_seconds: Option<u16>,
    retry_policy: Option<RetryPolicyBody>,
    #[schema(nullable = false)]
    signature_mode: Option<SignatureMode>,
    ed25519_signature: Option<bool>,
    /// PEM certificates: the receiver's has to come from one of these, and no other root is trusted.
    #[schema(max_length = 16_384)]
    tls_ca: Option<String>,
}

/// An event.
#[derive(ToSchema)]
#[schema(examples(json!({"type": "conversion.created", "data": {"conversion_id": "conv_1", "amount": 12.5}})))]
pub(crate) struct EventBody {
    r#type: String,
    data: Map<String, Value>,
    /// Letters, digits, `_` and `-`; minted if it is left out.
    #[schema(min_length = 1, max_length = 128, nullable = false)]
    id: Option<String>,
    /// RFC 3339; passed on, and of no weight for order.
    #[schema(nullable = false)]
    timestamp: Option<String>,
    /// Events of one resource are delivered in order.
    #[schema(min_length = 1, max_length = 256, nullable = false)]
    resource: Option<String>,
    #[schema(nullable = false)]
    metadata: Option<Map<String, Value>>,
}

/// Events that are accepted or refused each for itself.
#[derive(ToSchema)]
#[schema(examples(json!({"events": [{"type": "conversion.created", "data": {"conversion_id": "conv_2"}}]})))]
pub(crate) struct BatchBody {
    #[schema(min_items = 1, max_items = 1000)]
    events: Vec<EventBody>,
}

/// What a test sends: one of these, or nothing.
#[derive(ToSchema)]
#[schema(examples(json!({})))]
pub(crate) struct TestRunBody {
    /// The context of templates.
    test_data: Option<Map<String, Value>>,
    /// An event, or the name of a type.
    event: Option<Value>,
    /// The name of a type.
    r#type: Option<String>,
}

/// A literal request.
#[derive(ToSchema)]
#[schema(examples(json!({"url": "https://example.com/hook", "body": {"hello": "world"}, "timeout_seconds": 2})))]
pub(crate) struct TestStepBody {
    url: String,
    #[schema(nullable = false)]
    method: Option<StepMethod>,
    headers: Option<HashMap<String, String>>,
    body: Option<Value>,
    #[schema(minimum = 1, maximum = 300, nullable = false)]
    timeout_seconds: Option<u16>,
}

/// A new signing secret.
#[derive(ToSchema)]
#[schema(examples(json!({"overlap_seconds": 3600})))]
pub(crate) struct SecretRotationBody {
    /// A secret, or `{{env.NAME}}`; made if it is left out.
    secret: Option<String>,
    /// For how long the former one stays in force beside it.
    #[schema(minimum = 0, maximum = 604_800)]
    overlap_seconds: Option<u64>,
}

/// A new tenant.
#[derive(ToSchema)]
#[schema(examples(json!({"name": "Example Ltd.", "profile": "afftok"})))]
pub(crate) struct TenantBody {
    /// `a`–`z`, digits, `_` and `-`, a letter first; made if it is left out.
    #[schema(min_length = 1, max_length = 64)]
    id: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    profile: String,
}

/// What of a tenant can be changed.
#[derive(ToSchema)]
#[schema(examples(json!({"name": "Example Inc.", "contacts": ["ops@example.com"]})))]
pub(crate) struct TenantChangeBody {
    #[schema(min_length = 1, max_length = 200, nullable = false)]
    name: Option<String>,
    /// Mail addresses that are told of dead letters.
    #[schema(max_items = 10)]
    contacts: Option<Vec<String>>,
    /// The operator's to set, by name: what is absent stays, `null` takes back.
    quotas: Option<QuotasBody>,
}

/// What a tenant may have; `null` for what holds for everyone.
#[derive(ToSchema)]
struct QuotasBody {
    /// Pipelines and webhooks together, in the place of the profile's limit.
    #[schema(minimum = 0, maximum = 10_000)]
    pipelines: Option<u64>,
    /// Steps of all of them together.
    #[schema(minimum = 0, maximum = 200_000)]
    steps: Option<u64>,
    #[schema(minimum = 1, maximum = 1_000_000)]
    events_per_second: Option<u64>,
    /// Open dead letters; while there are so many, no events are taken.
    #[schema(minimum = 1, maximum = 10_000_000)]
    dead_letters: Option<u64>,
}

/// A new API key.
#[derive(ToSchema)]
#[schema(examples(json!({"scopes": ["events:write"], "name": "producer"})))]
pub(crate) struct KeyBody {
    #[schema(min_items = 1, max_items = 3)]
    scopes: Vec<TenantScope>,
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    expires_at: Option<String>,
}

/// What receivers that ask for a certificate are shown.
#[derive(ToSchema)]
#[schema(examples(json!({
    "certificate": "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n",
    "private_key": "PEM, not encrypted",
})))]
pub(crate) struct ClientCertificateBody {
    /// In PEM form: the tenant's own first, those that lead to its authority behind it.
    #[schema(max_length = 32_768)]
    certificate: String,
    /// In PEM form. Never shown.
    #[schema(max_length = 16_384, write_only)]
    private_key: String,
}

/// A key that callers' JWTs are verified with.
#[derive(ToSchema)]
#[schema(examples(json!({
    "jwk": {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    "scopes": ["read"],
})))]
pub(crate) struct JwtKeyBody {
    jwk: JwkBody,
    #[schema(min_items = 1, max_items = 3)]
    scopes: Vec<TenantScope>,
    /// What else a token has to say.
    claims: Option<BTreeMap<String, String>>,
    /// The operator's to choose.
    kid: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    expires_at: Option<String>,
}

/// A public key, or a shared secret (RFC 7517).
#[derive(ToSchema)]
struct JwkBody {
    /// `oct`, `RSA`, `EC` or `OKP`.
    kty: String,
    crv: Option<String>,
    k: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A new Ed25519 key of the tenant.
#[derive(ToSchema)]
#[schema(examples(json!({"overlap_seconds": 3600})))]
pub(crate) struct SigningKeyRotationBody {
    /// For how long the former ones stay in force beside it.
    #[schema(minimum = 0, maximum = 604_800)]
    overlap_seconds: Option<u64>,
}
