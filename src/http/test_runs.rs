//! Test runs (AFM-62 … AFM-66): one attempt of each step, outside of every lane. They leave no delivery, no
//! statistics and no dead letter; secrets are masked in what is shown.

mod places;

use super::{
    auth::Caller,
    body::Success,
    error::{ApiError, ApiResult},
    fields::{Object, Value},
    json_body::{AdminBody, OptionalBody},
    pipelines::{
        self,
        literal::{self, LiteralCall},
        rules::Rules,
    },
    webhooks,
};
use actix_web::web::{Data, Path};
use bytes::Bytes;
use ledgerhook_actors::{
    delivery::{Exchange, Request, headers::Headers},
    domain::{
        catalog::PipelineEntry,
        event::Queue,
        id::TenantId,
        operator_event::OperatorEvent,
        outcome::OutcomeClass,
        step::{PipelineConfig, Step},
    },
    engine::{EngineHandle, Tools},
    event_input::{Problem, check_tested},
    json::{self, BodyForm, Json},
    profile::Profile,
    projections::error_text,
    request::{AttemptInput, Payload, RequestBuilder, ShownRequest},
    secrets,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use url::Url;
use utoipa::ToSchema;

/// When it is told that a target is out of reach, at the earliest: a lookup is over by then.
const UNREACHABLE_AFTER: Duration = Duration::from_millis(250);
/// What is told of a name with a forbidden address as of one with none.
const UNREACHABLE_NAME: &str = "blocked by egress policy, or the name does not resolve";

/// What a run answers.
#[derive(Serialize, ToSchema)]
#[schema(as = TestRun)]
pub(crate) struct Run {
    execution_id: String,
    status: &'static str,
    steps: Vec<StepRun>,
}

/// What came of one step.
#[derive(Serialize, ToSchema)]
#[schema(as = TestStep)]
pub(crate) struct StepRun {
    #[serde(skip_serializing_if = "Option::is_none")]
    step_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_name: Option<String>,
    status: &'static str,
    http_status: Option<u16>,
    latency_ms: Option<u64>,
    error: Option<String>,
    request: Option<RequestView>,
    response: Option<ResponseView>,
}

/// A request with its secrets masked.
#[derive(Serialize, ToSchema)]
#[schema(as = ShownRequest)]
pub(crate) struct RequestView {
    url: String,
    method: &'static str,
    #[schema(value_type = std::collections::HashMap<String, String>)]
    headers: Pairs,
    #[schema(value_type = Option<serde_json::Value>)]
    body: Option<Box<RawValue>>,
}

impl From<ShownRequest> for RequestView {
    fn from(shown: ShownRequest) -> Self {
        let ShownRequest { method, url, headers, body } = shown;
        Self { url: url.to_string(), method, headers: Pairs(headers), body: as_json(&body) }
    }
}

/// Headers as a map.
struct Pairs(Headers);

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = ShownResponse)]
struct ResponseView {
    status: u16,
    body: String,
}

/// `POST /api/admin/webhooks/test/pipeline/{id}`
pub(crate) async fn pipeline(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    body: AdminBody,
) -> ApiResult<Success<Run>> {
    let entry = caller.pipeline(&engine, &id)?;
    run(&engine, &caller, &entry, &body).await
}

/// `POST /api/webhooks/{id}/test`: `{"type": "payout.failed"}` or `{"event": "payout.failed"}` sends the documented
/// sample of a type, subscribed or not (ATT-26, APX-22); nothing at all what the profile has for tests (SOC-10).
pub(crate) async fn webhook(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    body: OptionalBody,
) -> ApiResult<Success<Run>> {
    let (entry, _) = webhooks::find(&engine, &caller, &id)?;
    run(&engine, &caller, &entry, &body.0).await
}

/// `POST /api/admin/webhooks/test/step`: a literal request, neither rendered nor signed (T-51).
pub(crate) async fn step(
    engine: Data<EngineHandle>,
    caller: Caller,
    body: AdminBody,
) -> ApiResult<Success<StepRun>> {
    let tools = Arc::clone(engine.tools());
    let rules = Rules::new(&tools, pipelines::profile_of(&tools, &caller)?);
    let LiteralCall { mut request, shown_url, shown, masker } =
        body.object(|fields| literal::read(fields, &rules, &caller.tenant.id))?;
    let _place = places::take(caller.tenant_id())?;
    let trust = tools.tls.of(&caller.tenant, None, &tools.secrets);
    request.trust = trust.map_err(|error| ApiError::internal(&error))?;
    let view = RequestView {
        url: shown_url,
        method: request.method,
        headers: Pairs(shown),
        body: as_json(&request.body),
    };
    let url = request.url.clone();
    let exchange = send(&engine, request).await?;
    let answer = Bytes::from(masker.mask(&exchange.excerpt));
    Ok(Success::ok(told(&exchange, &url, &answer, Some(view))))
}

async fn run(
    engine: &EngineHandle,
    caller: &Caller,
    entry: &PipelineEntry,
    body: &AdminBody,
) -> ApiResult<Success<Run>> {
    let tools = Arc::clone(engine.tools());
    let profile = pipelines::profile_of(&tools, caller)?;
    let test_data = body.object(|fields| data_of(fields, profile, &caller.tenant.id, &entry.config))?;
    let _place = places::take(caller.tenant_id())?;
    let random = secrets::random::<8>().map_err(|error| ApiError::internal(&error))?;
    let execution_id = format!("exec_test_{}", hex::encode(random));
    let event_id = format!("evt_test_{}", hex::encode(random));
    let builder = builder(&tools);
    let (mut steps, mut failed, mut stopped) = (Vec::new(), false, false);
    for (index, step) in (0_u16..).zip(&entry.config.steps) {
        if stopped {
            steps.push(StepRun::skipped(step));
            continue;
        }
        let input = AttemptInput {
            profile,
            tenant: &caller.tenant,
            pipeline: &entry.id,
            delivery: &execution_id,
            pinned: &entry.config,
            live: &entry.config,
            step: index,
            queue: Queue::Primary,
            round: 1,
            number: 1,
            other_key: false,
            payload: Payload::Test { id: &event_id, test_data: &test_data },
            now: engine.now(),
        };
        let outcome = attempt(engine, &builder, &input, step).await?;
        failed |= outcome.status != "success";
        stopped = outcome.status != "success" && step.stop_on_failure;
        steps.push(outcome);
    }
    Ok(Success::ok(Run { execution_id, status: if failed { "failed" } else { "completed" }, steps }))
}

async fn attempt(
    engine: &EngineHandle,
    builder: &RequestBuilder,
    input: &AttemptInput<'_>,
    step: &Step,
) -> ApiResult<StepRun> {
    let named =
        |run| StepRun { step_id: Some(step.id.to_string()), step_name: Some(step.name.clone()), ..run };
    let shown = builder.show(input).ok().map(RequestView::from);
    let built = match builder.build(input) {
        Ok(built) => built,
        Err(error) => return Ok(named(StepRun::unbuilt(error.to_string(), shown))),
    };
    let url = built.request.url.clone();
    let exchange = send(engine, built.request).await?;
    let answer = built.secrets.hide_in(exchange.excerpt.clone());
    Ok(named(told(&exchange, &url, &answer, shown)))
}

impl StepRun {
    fn skipped(step: &Step) -> Self {
        Self {
            step_id: Some(step.id.to_string()),
            step_name: Some(step.name.clone()),
            status: "skipped",
            http_status: None,
            latency_ms: None,
            error: None,
            request: None,
            response: None,
        }
    }

    /// Nothing was sent.
    fn unbuilt(error: String, request: Option<RequestView>) -> Self {
        Self {
            step_id: None,
            step_name: None,
            status: "failed",
            http_status: None,
            latency_ms: None,
            error: Some(error),
            request,
            response: None,
        }
    }
}

/// Sends once, and answers after the same time whether a name has a forbidden address or none at all: the difference
/// would map the network (URL.14).
async fn send(engine: &EngineHandle, request: Request) -> ApiResult<Exchange> {
    let floor = Instant::now() + UNREACHABLE_AFTER;
    let exchange = engine.send_once(request).await?;
    if is_hidden(exchange.class) {
        tokio::time::sleep_until(floor).await;
    }
    Ok(exchange)
}

/// Whether the network behind the engine would show in how this came about.
fn is_hidden(class: OutcomeClass) -> bool {
    matches!(class, OutcomeClass::BlockedAddress | OutcomeClass::DnsError)
}

fn told(exchange: &Exchange, url: &Url, answer: &Bytes, request: Option<RequestView>) -> StepRun {
    let hidden = is_hidden(exchange.class);
    let error = match exchange.class {
        OutcomeClass::Success => None,
        _ if hidden && url.domain().is_some() => Some(UNREACHABLE_NAME.to_owned()),
        _ if hidden => Some("blocked by egress policy".to_owned()),
        class => Some(error_text(class, exchange.status)),
    };
    let body = || String::from_utf8_lossy(answer).into_owned();
    StepRun {
        step_id: None,
        step_name: None,
        status: if error.is_none() { "success" } else { "failed" },
        http_status: exchange.status,
        latency_ms: (!hidden).then(|| millis(exchange.timings.total)),
        error,
        request,
        response: exchange.status.map(|status| ResponseView { status, body: body() }),
    }
}

/// `{"test_data": …}` is the context of templates (T-50); `{"event": {…}}` an event; `{"type": …}` or `{"event": …}`
/// with a name the documented sample of that type. Without any of them: the profile's event for tests, or else the
/// first sample of what the pipeline listens to.
fn data_of(
    fields: &mut Object<'_>,
    profile: &Profile,
    tenant: &TenantId,
    config: &PipelineConfig,
) -> Option<Vec<u8>> {
    let object = |value: Value<'_>| match value.json() {
        json @ Json::Object(_) => Some(json.to_bytes(BodyForm::Raw)),
        _ => value.wrong("wrong_type", "is to be an object"),
    };
    let given = [fields.optional("test_data"), fields.optional("event"), fields.optional("type")];
    if let [_, second, ..] = &given.iter().flatten().collect::<Vec<_>>()[..] {
        return second.wrong("conflict", "stands beside another field; one of them is enough");
    }
    match given {
        [Some(data), ..] => {
            if let Some(event) = data.json().member("event") {
                check(event, &format!("{}/event", data.pointer()), &data, profile, tenant);
            }
            object(data)
        }
        [_, Some(event), _] if event.json().as_str().is_none() => {
            check(event.json(), event.pointer(), &event, profile, tenant);
            Some(wrapped(&event.json().to_bytes(BodyForm::Raw)))
        }
        [_, Some(name), _] | [_, _, Some(name)] => sample_of(&name, profile),
        [None, None, None] => Some(without_wish(profile, config)),
    }
}

/// Reports what is wrong with an event at this place (ING.7).
fn check(event: &Json<'_>, pointer: &str, at: &Value<'_>, profile: &Profile, tenant: &TenantId) {
    for Problem { pointer: place, code, message } in check_tested(profile, tenant, event) {
        at.report().add(format!("{pointer}{place}"), code, message);
    }
}

fn sample_of(name: &Value<'_>, profile: &Profile) -> Option<Vec<u8>> {
    let wanted = name.string()?;
    if let Some(event) = profile.test_event.as_ref().filter(|event| event.event_type == wanted) {
        return Some(occasion(&event.event_type, event.data.as_bytes()));
    }
    let kind = profile.event_type(wanted);
    if let Some(sample) = kind.and_then(|kind| kind.samples.first()) {
        return Some(occasion(wanted, &sample_data(&sample.event)));
    }
    if let Some(event) = OperatorEvent::parse(wanted) {
        return Some(occasion(wanted, &sample_data(event.sample())));
    }
    let own = profile.test_event.iter().map(|event| event.event_type.as_str());
    let names: Vec<String> = own
        .chain(profile.event_types().map(|kind| kind.name.as_str()))
        .map(|name| format!("`{name}`"))
        .collect();
    name.wrong("unknown_type", format!("has no sample; there is one of {}", names.join(", ")))
}

fn without_wish(profile: &Profile, config: &PipelineConfig) -> Vec<u8> {
    if let Some(event) = &profile.test_event {
        return occasion(&event.event_type, event.data.as_bytes());
    }
    let mut kinds = profile.event_types();
    let kind = kinds.find(|kind| profile.triggers_match(&config.triggers, &kind.name));
    let documented = kind.and_then(|kind| Some((kind.name.as_str(), kind.samples.first()?.event.as_str())));
    let own = || config.triggers.iter().find_map(|trigger| OperatorEvent::parse(trigger));
    let sample = documented.or_else(|| own().map(|event| (event.as_str(), event.sample())));
    sample.map_or_else(|| b"{}".to_vec(), |(name, event)| occasion(name, &sample_data(event)))
}

/// An event of this very moment: a sample's own id and time would make it a duplicate for whoever got it before.
fn occasion(event_type: &str, data: &[u8]) -> Vec<u8> {
    // The names of event types need no escapes.
    wrapped(&[b"{\"type\":\"", event_type.as_bytes(), b"\",\"data\":", data, b"}"].concat())
}

fn sample_data(event: &str) -> Vec<u8> {
    let event = json::parse(event.as_bytes(), json::Limits::ADMIN);
    event
        .ok()
        .and_then(|event| Some(event.member("data")?.to_bytes(BodyForm::Raw)))
        .unwrap_or_else(|| b"{}".to_vec())
}

fn wrapped(event: &[u8]) -> Vec<u8> {
    [b"{\"event\":", event, b"}"].concat()
}

/// Builds requests as the engine does.
pub(crate) fn builder(tools: &Tools) -> RequestBuilder {
    let lookup = |name: &str| std::env::var(name).ok();
    let (secrets, env) = (Arc::clone(&tools.secrets), Arc::new(tools.env.clone()));
    RequestBuilder::new(secrets, env, Arc::new(lookup), Arc::clone(&tools.tls))
}

/// JSON as it is; anything else as a JSON string.
fn as_json(body: &[u8]) -> Option<Box<RawValue>> {
    if body.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(body).into_owned();
    RawValue::from_string(text.clone())
        .or_else(|_| serde_json::to_string(&text).and_then(RawValue::from_string))
        .ok()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
