//! Reads a pipeline's configuration and seals it. Reading is pure; chance and secrets come in at the end.
//!
//! ```text
//! JSON ──read──> Draft (all mistakes told) ──seal──> PipelineConfig + keys that were made just now
//! ```

use super::{
    control,
    headers::{HeaderDraft, ValueDraft},
    kept,
    rules::Rules,
    step::{self, Former, KeyDraft, Source, StepDraft},
};
use crate::http::{
    error::{ApiError, ApiResult},
    fields::{Object, Value},
};
use ledgerhook_actors::{
    domain::{
        id::StepId,
        step::{
            Control, Header, OnExhausted, PausedReason, PipelineConfig, ResponseRules, Status, Step,
            StoredKey,
        },
    },
    secrets::{Secret, Secrets, SecretsError, new_signing_secret, random},
};
use std::iter;

/// Most steps of a pipeline.
const STEPS_MAX: usize = 20;
/// Most triggers of a pipeline.
const TRIGGERS_MAX: usize = 50;
/// Most statuses of `retry_on`.
const STATUSES_MAX: usize = 50;
/// Longest description in bytes.
const DESCRIPTION_BYTES: usize = 2_000;

/// Names of `status`.
pub(crate) const STATUSES: [(&str, Status); 3] =
    [("active", Status::Active), ("paused", Status::Paused), ("disabled", Status::Disabled)];

const EXHAUSTED: [(&str, OnExhausted); 2] =
    [("continue", OnExhausted::Continue), ("halt", OnExhausted::Halt)];

/// Fields that answers have and requests may send back.
const SHOWN_ONLY: [&str; 12] = [
    "id",
    "created_at",
    "updated_at",
    "version",
    "stats",
    "steps_count",
    "last_triggered",
    "body",
    "paused_reason",
    "endpoint",
    "failover_endpoint",
    "former_keys",
];

/// A configuration that was checked.
pub(crate) struct Draft {
    name: String,
    description: Option<String>,
    triggers: Vec<String>,
    status: Status,
    steps: Vec<StepDraft>,
    failover_url: Option<String>,
    /// As it was.
    former_failover: Option<String>,
    on_exhausted: OnExhausted,
    paused_reason: Option<PausedReason>,
    control: Control,
    retry_on: Vec<u16>,
    flat: bool,
}

/// A configuration as the log keeps it, and the keys that were made for it.
pub(crate) struct Sealed {
    /// The configuration.
    pub(crate) config: PipelineConfig,
    /// To be shown once.
    pub(crate) made: Vec<(StepId, Secret)>,
}

/// What a pipeline has beside its steps.
struct Frame {
    name: String,
    description: Option<String>,
    status: Status,
    on_exhausted: OnExhausted,
    control: Control,
    retry_on: Vec<u16>,
}

impl Frame {
    fn read(
        fields: &mut Object<'_>,
        rules: &Rules<'_>,
        base: Option<&PipelineConfig>,
        name: Option<String>,
    ) -> Option<Self> {
        let name = fields.needed("name", name, |v| v.text(1..=step::NAME_BYTES).map(str::to_owned));
        let old = base.and_then(|base| base.description.clone());
        let description = fields.merge("description", old, None, |v| {
            v.text(0..=DESCRIPTION_BYTES).map(|text| Some(text.to_owned()))
        });
        let status = match fields.get("status") {
            Some(status) => status.choice(&STATUSES),
            None => Some(base.map(|base| base.status).unwrap_or_default()),
        };
        let on_exhausted = match fields.get("on_exhausted") {
            Some(rule) => rule.choice(&EXHAUSTED),
            None => Some(base.map(|base| base.on_exhausted).unwrap_or_default()),
        };
        let control = control::read(fields, rules.profile, base.map(|base| &base.control));
        let own = &rules.profile.rules.retried;
        let old = base.map_or(own, |base| &base.rules.retried);
        let retry_on = fields.merge("retry_on", old.clone(), own.clone(), |v| statuses(v));
        Some(Self {
            name: name?,
            description: description?,
            status: status?,
            on_exhausted: on_exhausted?,
            control: control?,
            retry_on: retry_on?,
        })
    }

    /// Why the engine paused it, while it stays paused.
    fn paused_reason(&self, base: Option<&PipelineConfig>) -> Option<PausedReason> {
        base.filter(|_| self.status == Status::Paused).and_then(|base| base.paused_reason)
    }
}

/// Statuses that are retried though the profile takes them for final (T-16).
fn statuses(value: &Value<'_>) -> Option<Vec<u16>> {
    let read = |value: &Value<'_>| {
        let status = value.integer(300..=599)?;
        u16::try_from(status).ok()
    };
    value.array(0..=STATUSES_MAX)?.iter().map(read).collect()
}

/// Reads a pipeline, as a whole or merged into `base` (T-33).
pub(crate) fn pipeline(
    fields: &mut Object<'_>,
    rules: &Rules<'_>,
    base: Option<&PipelineConfig>,
) -> Option<Draft> {
    if base.is_some() {
        fields.ignore(&SHOWN_ONLY);
    }
    let frame = Frame::read(fields, rules, base, base.map(|base| base.name.clone()));
    let triggers = fields.needed("trigger_type", base.map(|base| base.triggers.clone()), |v| {
        // A string, or an array of them (T-20).
        if v.json().as_str().is_some() {
            triggers(std::slice::from_ref(v), rules)
        } else {
            triggers(&v.array(1..=TRIGGERS_MAX)?, rules)
        }
    });
    let failover_url =
        fields.merge("failover_url", base.and_then(|base| base.failover_url.clone()), None, |v| {
            rules.plain_url(v, base.and_then(|base| base.failover_url.as_deref())).map(Some)
        });
    let failover = failover_url.as_ref().and_then(Option::as_deref);
    let former = Former { steps: base.map(|base| base.steps.as_slice()) };
    let kept = base.map(|base| base.steps.iter().map(StepDraft::kept).collect());
    let steps = fields.needed("steps", kept, |v| steps(v, rules, failover, &former));
    let steps = steps.filter(|steps| kept::check(fields, rules, base, steps, failover).is_some());
    let frame = frame?;
    let paused_reason = frame.paused_reason(base);
    let Frame { name, description, status, on_exhausted, control, retry_on } = frame;
    Some(Draft {
        name,
        description,
        triggers: triggers?,
        status,
        steps: steps?,
        failover_url: failover_url?,
        former_failover: base.and_then(|base| base.failover_url.clone()),
        on_exhausted,
        paused_reason,
        control,
        retry_on,
        flat: base.is_some_and(|base| base.flat),
    })
}

/// Reads a flat webhook: a pipeline of one step, its fields side by side. `patch` merges objects too. What it has got as
/// a pipeline beside these fields (a failover, further steps, the step's name) is not named here, and so it stays.
pub(crate) fn webhook(
    fields: &mut Object<'_>,
    rules: &Rules<'_>,
    base: Option<&PipelineConfig>,
    patch: bool,
) -> Option<Draft> {
    if base.is_some() {
        fields.ignore(&SHOWN_ONLY);
    }
    let former = base.and_then(|base| base.steps.first());
    let name = base.map_or_else(|| "Webhook".to_owned(), |base| base.name.clone());
    let frame = Frame::read(fields, rules, base, Some(name));
    let triggers = fields.needed("events", base.map(|base| base.triggers.clone()), |v| {
        triggers(&v.array(1..=TRIGGERS_MAX)?, rules)
    });
    let source = Source { kept: former, secrets_of: former, patch };
    let failover = base.and_then(|base| base.failover_url.as_deref());
    let call = step::call(fields, rules, failover, &source, "secret").map(|call| match former {
        Some(_) => call,
        None => StepDraft { name: "Webhook".to_owned(), ..call },
    });
    let further = base.map_or(&[][..], |base| base.steps.get(1..).unwrap_or_default());
    let steps =
        call.map(|call| iter::once(call).chain(further.iter().map(StepDraft::kept)).collect::<Vec<_>>());
    let steps = steps.filter(|steps| kept::check(fields, rules, base, steps, failover).is_some());
    let frame = frame?;
    let paused_reason = frame.paused_reason(base);
    let Frame { name, description, status, on_exhausted, control, retry_on } = frame;
    Some(Draft {
        name,
        description,
        triggers: triggers?,
        status,
        steps: steps?,
        failover_url: failover.map(str::to_owned),
        former_failover: failover.map(str::to_owned),
        on_exhausted,
        paused_reason,
        control,
        retry_on,
        flat: true,
    })
}

fn triggers<'j>(values: &[Value<'j>], rules: &Rules<'_>) -> Option<Vec<String>> {
    let mut seen: Vec<&'j str> = Vec::new();
    let read = |value: &Value<'j>| {
        let trigger = value.string()?;
        if let Err(error) = rules.profile.check_trigger(trigger) {
            return value.wrong("unknown_trigger", error.to_string());
        }
        if seen.contains(&trigger) {
            return value.wrong("duplicate", "is named twice");
        }
        seen.push(trigger);
        Some(trigger.to_owned())
    };
    values.iter().map(read).collect::<Vec<_>>().into_iter().collect()
}

fn steps(
    value: &Value<'_>,
    rules: &Rules<'_>,
    failover: Option<&str>,
    former: &Former<'_>,
) -> Option<Vec<StepDraft>> {
    let elements = value.array(1..=STEPS_MAX)?;
    let read = |(index, value)| step::read(value, index, rules, failover, former);
    let drafts: Vec<Option<StepDraft>> = (0..).zip(&elements).map(read).collect();
    let mut steps: Vec<StepDraft> = drafts.into_iter().collect::<Option<_>>()?;
    for (index, step) in steps.iter().enumerate() {
        let earlier = &steps[..index];
        if earlier.iter().any(|other| other.order == step.order) {
            let pointer = format!("{}/order", elements[index].pointer());
            value.report().add(pointer, "duplicate", "is the `order` of an earlier step");
            return None;
        }
        if step.id.is_some() && earlier.iter().any(|other| other.id == step.id) {
            return elements[index].wrong("duplicate", "continues the same step as an earlier one");
        }
    }
    steps.sort_by_key(|step| step.order);
    Some(steps)
}

impl Draft {
    /// Gives new steps their ids, seals what the log may not hold in clear, and makes the keys that are missing.
    pub(crate) fn seal(self, secrets: &Secrets, rules: &Rules<'_>) -> ApiResult<Sealed> {
        let mut made = Vec::new();
        let steps = self.steps.into_iter().map(|step| seal_step(step, secrets, &mut made));
        let steps = steps.collect::<Result<_, SecretsError>>().map_err(|error| ApiError::internal(&error))?;
        let former = self.former_failover.as_deref();
        let failover_url = self.failover_url.map(|url| secrets.keep_url(&url, former)).transpose();
        let config = PipelineConfig {
            name: self.name,
            description: self.description,
            triggers: self.triggers,
            status: self.status,
            steps,
            failover_url: failover_url.map_err(|error| ApiError::internal(&error))?,
            on_exhausted: self.on_exhausted,
            rules: ResponseRules { retried: self.retry_on, ..rules.profile.rules.clone() },
            paused_reason: self.paused_reason,
            control: self.control,
            flat: self.flat,
        };
        Ok(Sealed { config, made })
    }
}

fn seal_step(
    draft: StepDraft,
    secrets: &Secrets,
    made: &mut Vec<(StepId, Secret)>,
) -> Result<Step, SecretsError> {
    let id = match draft.id {
        Some(id) => id,
        None => StepId::new(format!("step_{}", hex::encode(random::<9>()?))),
    };
    // A key that is written here is in force at once and alone; an overlap has a call of its own.
    let (signing_key, former_keys) = match draft.key {
        KeyDraft::Unneeded => (None, Vec::new()),
        KeyDraft::Kept(key, former) => (Some(key), former),
        KeyDraft::Env(name) => (Some(StoredKey::Env(name)), Vec::new()),
        KeyDraft::Given(secret) => (Some(StoredKey::Sealed(secrets.seal(secret.expose())?)), Vec::new()),
        KeyDraft::Generated => {
            let secret = new_signing_secret()?;
            let sealed = secrets.seal(secret.expose())?;
            made.push((id.clone(), secret));
            (Some(StoredKey::Sealed(sealed)), Vec::new())
        }
    };
    let seal_header = |HeaderDraft { name, value }| {
        let value = match value {
            ValueDraft::Kept(value) => value,
            ValueDraft::Given { template, secret } => secrets.keep_header(&name, &template, secret)?,
        };
        Ok(Header { name, value })
    };
    Ok(Step {
        id,
        name: draft.name,
        order: draft.order,
        url: secrets.keep_url(&draft.url, draft.former_url.as_deref())?,
        method: draft.method,
        headers: draft.headers.into_iter().map(seal_header).collect::<Result<_, SecretsError>>()?,
        body_template: draft.body_template,
        body_form: draft.body_form,
        include_id: draft.include_id,
        timeout_seconds: draft.timeout_seconds,
        retry: draft.retry,
        stop_on_failure: draft.stop_on_failure,
        signature: draft.signature,
        signing_key,
        former_keys,
        ed25519: draft.ed25519,
        tls_ca: draft.tls_ca,
    })
}

#[cfg(test)]
mod tests;
