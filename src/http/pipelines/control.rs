//! How a pipeline's receivers are spared: `rate_limit_per_second` and `breaker`, as requests give and answers show
//! them; how its URLs stand; and the breaker that is closed by hand.

use crate::http::{
    auth::Caller,
    body::Success,
    error::{ApiError, ApiResult},
    fields::{Object, Value},
    json_body::NoBody,
};
use actix_web::web::{Data, Path};
use ledgerhook_actors::{
    domain::{
        catalog::PipelineEntry,
        endpoint::breaker::{BreakerPolicy, BreakerSetting},
        id::StepId,
        step::{Control, RATE_MAX},
        time::Timestamp,
    },
    endpoints::EndpointState,
    engine::EngineHandle,
    profile::Profile,
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// Reads both, merged into what was; `null` goes back to the profile's. A tenant may ask for a lower rate than its
/// profile's, not for a higher one.
pub(super) fn read(fields: &mut Object<'_>, profile: &Profile, base: Option<&Control>) -> Option<Control> {
    let most = profile.limits.events_per_second;
    let kept = base.and_then(|base| base.rate_per_second);
    let rate = fields.merge("rate_limit_per_second", kept, None, |v| {
        let rate = v.integer(1..=most.unwrap_or(RATE_MAX).into())?;
        Some(u32::try_from(rate).ok())
    });
    let kept = base.map_or(profile.breaker, |base| base.breaker);
    let breaker = fields.merge("breaker", kept, profile.breaker, |v| breaker(v, kept, profile));
    let rate_per_second = match (rate?, most) {
        (Some(wanted), Some(most)) => Some(wanted.min(most)),
        (wanted, most) => wanted.or(most),
    };
    Some(Control { rate_per_second, breaker: breaker? })
}

/// `"off"`, or fields of a policy; what it does not say comes from the one before.
fn breaker(value: &Value<'_>, base: BreakerSetting, profile: &Profile) -> Option<BreakerSetting> {
    if value.json().as_str().is_some() {
        return value.choice(&[("off", BreakerSetting::Off)]);
    }
    let base = base.policy().or(profile.breaker.policy()).copied().unwrap_or_default();
    value.object(|fields| {
        let mut number = |key, kept: u32, range| {
            fields.get(key).map_or(Some(kept), |v| v.integer(range).and_then(|n| u32::try_from(n).ok()))
        };
        let failures = number("failures", base.failures, 1..=10_000);
        let resources = number("resources", base.resources.into(), 1..=100);
        let seconds = number("seconds", base.seconds, 0..=3_600);
        let probe = number("probe_seconds", base.probe_seconds, 1..=3_600);
        let longest = number("probe_seconds_max", base.probe_seconds_max.max(probe.unwrap_or(1)), 1..=3_600);
        let policy = BreakerPolicy {
            failures: failures?,
            resources: u16::try_from(resources?).ok()?,
            seconds: seconds?,
            probe_seconds: probe?,
            probe_seconds_max: longest?,
        };
        match policy.validate() {
            Ok(()) => Some(BreakerSetting::On(policy)),
            Err(error) => {
                let pointer = format!("{}/{}", fields.value().pointer(), error.field);
                fields.value().report().add(pointer, "out_of_range", error.to_string());
                None
            }
        }
    })
}

/// The setting as answers show it.
pub(super) struct BreakerView(pub(super) BreakerSetting);

impl Serialize for BreakerView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            BreakerSetting::Off => serializer.serialize_str("off"),
            BreakerSetting::On(policy) => policy.serialize(serializer),
        }
    }
}

/// How a URL stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Endpoint)]
pub(crate) struct EndpointView {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_probe_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probes_failed: Option<u32>,
}

impl From<EndpointState> for EndpointView {
    fn from(EndpointState { name, opening, .. }: EndpointState) -> Self {
        Self {
            state: name,
            opened_at: opening.map(|opening| Timestamp::to_iso_millis(opening.since)),
            next_probe_at: opening.map(|opening| Timestamp::to_iso_millis(opening.probe_at)),
            failures: opening.map(|opening| opening.failures),
            probes_failed: opening.map(|opening| opening.probes),
        }
    }
}

/// `POST /api/pipelines/{id}/steps/{step}/breaker/close`
pub(crate) async fn close_of_step(
    engine: Data<EngineHandle>,
    caller: Caller,
    path: Path<(String, String)>,
    _: NoBody,
) -> ApiResult<Success<EndpointView>> {
    let (id, step) = path.into_inner();
    let entry = caller.pipeline(&engine, &id)?;
    let found = entry.config.step(&StepId::new(&*step)).ok_or_else(|| ApiError::not_found("step", &step))?;
    close(&engine, &caller, &entry, &found.url).await
}

/// `POST /api/pipelines/{id}/failover/breaker/close`
pub(crate) async fn close_of_failover(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    _: NoBody,
) -> ApiResult<Success<EndpointView>> {
    let entry = caller.pipeline(&engine, &id)?;
    let url = entry.config.failover_url.as_deref();
    let url = url.ok_or_else(|| ApiError::not_found("failover of pipeline", &id))?;
    close(&engine, &caller, &entry, url).await
}

/// Lets requests through again, a few at a time; who did it is in the audit.
pub(crate) async fn close(
    engine: &EngineHandle,
    caller: &Caller,
    entry: &PipelineEntry,
    url: &str,
) -> ApiResult<Success<EndpointView>> {
    Ok(Success::ok(engine.close_breaker(&caller.who, entry, url).await?.into()))
}
