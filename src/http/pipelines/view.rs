//! Pipelines as answers show them: no key ever, credentials in headers masked (AFM-42, T-27, SIG.8).

use super::{
    control::{BreakerView, EndpointView},
    retry::RetryView,
    stats::{PipelineStats, StepStats},
};
use crate::http::{
    instant,
    openapi::bodies::{BreakerBody, TriggerSet},
};
use ledgerhook_actors::{
    delivery::template::MASK,
    domain::{
        catalog::PipelineEntry,
        id::StepId,
        step::{Header, HeaderValue, OnExhausted, PausedReason, SignatureMode, Step},
    },
    engine::EngineHandle,
    json::BodyForm,
    secrets::{Secret, shown_url},
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// One pipeline, whole.
#[derive(Serialize, ToSchema)]
#[schema(as = Pipeline)]
pub(crate) struct PipelineView {
    id: String,
    name: String,
    description: Option<String>,
    #[schema(value_type = TriggerSet)]
    trigger_type: Triggers,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_reason: Option<&'static str>,
    steps: Vec<StepView>,
    failover_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failover_endpoint: Option<EndpointView>,
    on_exhausted: &'static str,
    rate_limit_per_second: Option<u32>,
    #[schema(value_type = BreakerBody)]
    breaker: BreakerView,
    retry_on: Vec<u16>,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<PipelineStats>,
    created_at: String,
    updated_at: String,
}

impl PipelineView {
    /// With the keys that were made for it just now, which no other answer shows.
    pub(super) fn of(entry: &PipelineEntry, made: &[(StepId, Secret)]) -> Self {
        let config = &entry.config;
        let made = |step: &Step| made.iter().find(|(id, _)| *id == step.id).map(|(_, secret)| secret);
        Self {
            id: entry.id.to_string(),
            name: config.name.clone(),
            description: config.description.clone(),
            trigger_type: Triggers(config.triggers.clone()),
            status: config.status.as_str(),
            steps: config.steps.iter().map(|step| StepView::of(step, made(step))).collect(),
            paused_reason: config.paused_reason.map(PausedReason::as_str),
            failover_url: config.failover_url.as_deref().map(|url| shown_url(url).into_owned()),
            failover_endpoint: None,
            on_exhausted: exhausted(config.on_exhausted),
            rate_limit_per_second: config.control.rate_per_second,
            breaker: BreakerView(config.control.breaker),
            retry_on: config.rules.retried.clone(),
            version: entry.version,
            stats: None,
            created_at: entry.created_at.to_iso_seconds(),
            updated_at: entry.updated_at.to_iso_seconds(),
        }
    }

    /// With what came of its deliveries.
    pub(super) fn with_stats(mut self, stats: PipelineStats) -> Self {
        for step in &mut self.steps {
            step.stats = Some(stats.step(&step.id));
        }
        self.stats = Some(stats);
        self
    }

    /// With how its URLs stand.
    pub(super) fn with_endpoints(mut self, engine: &EngineHandle, entry: &PipelineEntry) -> Self {
        for (view, step) in self.steps.iter_mut().zip(&entry.config.steps) {
            view.endpoint = Some(engine.endpoint(entry, &step.url).into());
        }
        let failover = entry.config.failover_url.as_ref();
        self.failover_endpoint = failover.map(|url| engine.endpoint(entry, url).into());
        self
    }
}

/// One step.
#[derive(Serialize, ToSchema)]
#[schema(as = Step)]
struct StepView {
    id: String,
    name: String,
    order: u32,
    url: String,
    method: &'static str,
    #[schema(value_type = HashMap<String, String>)]
    headers: Headers,
    #[schema(value_type = Option<Value>)]
    body_template: Option<Box<RawValue>>,
    body_format: &'static str,
    include_id: bool,
    timeout_seconds: u16,
    retry_policy: RetryView,
    stop_on_failure: bool,
    signature_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ed25519_signature: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_ca: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_key: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    former_keys: Vec<FormerKeyView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<StepStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<EndpointView>,
}

impl StepView {
    fn of(step: &Step, made: Option<&Secret>) -> Self {
        Self {
            id: step.id.to_string(),
            name: step.name.clone(),
            order: step.order,
            url: shown_url(&step.url).into_owned(),
            method: step.method.as_str(),
            headers: Headers(step.headers.clone()),
            body_template: step.body_template.clone().and_then(|text| RawValue::from_string(text).ok()),
            body_format: form(step.body_form),
            include_id: step.include_id,
            timeout_seconds: step.timeout_seconds,
            retry_policy: RetryView::from(&step.retry),
            stop_on_failure: step.stop_on_failure,
            signature_mode: mode(step.signature),
            ed25519_signature: step.ed25519,
            tls_ca: step.tls_ca.clone(),
            signing_key: made.map(|secret| secret.expose().to_owned()),
            former_keys: former_keys(step),
            stats: None,
            endpoint: None,
        }
    }
}

/// One pipeline in a list (AFM-31).
#[derive(Serialize, ToSchema)]
pub(crate) struct PipelineRow {
    id: String,
    name: String,
    #[schema(value_type = TriggerSet)]
    trigger_type: Triggers,
    status: &'static str,
    steps_count: usize,
    last_triggered: Option<String>,
    stats: PipelineStats,
}

impl PipelineRow {
    pub(super) fn of(entry: &PipelineEntry, stats: PipelineStats) -> Self {
        Self {
            id: entry.id.to_string(),
            name: entry.config.name.clone(),
            trigger_type: Triggers(entry.config.triggers.clone()),
            status: entry.config.status.as_str(),
            steps_count: entry.config.steps.len(),
            last_triggered: stats.last_triggered(),
            stats,
        }
    }
}

/// A flat webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(crate) struct WebhookView {
    id: String,
    name: String,
    description: Option<String>,
    url: String,
    events: Vec<String>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_reason: Option<&'static str>,
    method: &'static str,
    #[schema(value_type = HashMap<String, String>)]
    headers: Headers,
    #[schema(value_type = Option<Value>)]
    body_template: Option<Box<RawValue>>,
    body_format: &'static str,
    include_id: bool,
    timeout_seconds: u16,
    retry_policy: RetryView,
    signature_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ed25519_signature: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_ca: Option<String>,
    on_exhausted: &'static str,
    rate_limit_per_second: Option<u32>,
    #[schema(value_type = BreakerBody)]
    breaker: BreakerView,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<EndpointView>,
    retry_on: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    former_keys: Vec<FormerKeyView>,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<PipelineStats>,
    created_at: String,
    updated_at: String,
}

impl WebhookView {
    /// `None` for what is no flat webhook.
    pub(crate) fn of(entry: &PipelineEntry, made: &[(StepId, Secret)]) -> Option<Self> {
        let config = &entry.config;
        let step = config.steps.first().filter(|_| config.flat)?;
        Some(Self {
            id: entry.id.to_string(),
            name: config.name.clone(),
            description: config.description.clone(),
            url: shown_url(&step.url).into_owned(),
            events: config.triggers.clone(),
            status: config.status.as_str(),
            method: step.method.as_str(),
            headers: Headers(step.headers.clone()),
            body_template: step.body_template.clone().and_then(|text| RawValue::from_string(text).ok()),
            body_format: form(step.body_form),
            include_id: step.include_id,
            timeout_seconds: step.timeout_seconds,
            retry_policy: RetryView::from(&step.retry),
            signature_mode: mode(step.signature),
            ed25519_signature: step.ed25519,
            tls_ca: step.tls_ca.clone(),
            on_exhausted: exhausted(config.on_exhausted),
            paused_reason: config.paused_reason.map(PausedReason::as_str),
            rate_limit_per_second: config.control.rate_per_second,
            breaker: BreakerView(config.control.breaker),
            endpoint: None,
            retry_on: config.rules.retried.clone(),
            secret: made.first().map(|(_, secret)| secret.expose().to_owned()),
            former_keys: former_keys(step),
            version: entry.version,
            stats: None,
            created_at: entry.created_at.to_iso_seconds(),
            updated_at: entry.updated_at.to_iso_seconds(),
        })
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// With what came of its deliveries.
    pub(crate) fn with_stats(self, stats: PipelineStats) -> Self {
        Self { stats: Some(stats), ..self }
    }

    /// With how its URL stands.
    pub(crate) fn with_endpoint(self, engine: &EngineHandle, entry: &PipelineEntry) -> Self {
        let step = entry.config.steps.first();
        let endpoint = step.map(|step| engine.endpoint(entry, &step.url).into());
        Self { endpoint, ..self }
    }
}

/// A key that is being rotated out, without the key.
#[derive(Serialize, ToSchema)]
#[schema(as = FormerKey)]
struct FormerKeyView {
    expires_at: String,
}

fn former_keys(step: &Step) -> Vec<FormerKeyView> {
    let former = step.former_keys_at(instant::now());
    former.map(|former| FormerKeyView { expires_at: former.until.to_iso_seconds() }).collect()
}

/// A string for one trigger, an array for several (T-20).
#[derive(Debug)]
struct Triggers(Vec<String>);

impl Serialize for Triggers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => serializer.serialize_str(one),
            many => many.serialize(serializer),
        }
    }
}

/// Headers as a map, in their order; what was sealed is masked.
struct Headers(Vec<Header>);

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|header| match &header.value {
            HeaderValue::Template(text) => (&header.name, text.as_str()),
            HeaderValue::Sealed(_) => (&header.name, MASK),
        }))
    }
}

fn form(form: BodyForm) -> &'static str {
    match form {
        BodyForm::Js => "js",
        BodyForm::Python => "python",
        BodyForm::Php => "php",
        BodyForm::Raw => "raw",
    }
}

fn mode(mode: SignatureMode) -> &'static str {
    match mode {
        SignatureMode::None => "none",
        SignatureMode::Hmac => "hmac",
        SignatureMode::Jwt => "jwt",
    }
}

fn exhausted(rule: OnExhausted) -> &'static str {
    match rule {
        OnExhausted::Continue => "continue",
        OnExhausted::Halt => "halt",
    }
}
