//! Reads one step: everything that ADM.5 to ADM.11 name, and what is kept when a step is sent again.

use super::{
    headers::{self, HeaderDraft},
    retry,
    rules::Rules,
};
use crate::http::{
    fields::{Object, Value},
    instant,
};
use ledgerhook_actors::{
    delivery::{
        signing::check_key,
        template::{UrlTemplate, env_reference},
        tls::Trust,
    },
    domain::{
        id::StepId,
        step::{FormerKey, Method, SignatureMode, Step, StoredKey},
    },
    json::BodyForm,
    secrets::Secret,
};

/// Longest name in bytes.
pub(super) const NAME_BYTES: usize = 200;
/// Largest place among the steps.
const ORDER_MAX: u64 = 1_000_000;
/// Longest attempt in seconds.
pub(super) const TIMEOUT_MAX: u64 = 300;

/// Longest `tls_ca` in bytes.
const TLS_CA_BYTES: usize = 16 << 10;

/// Fields that answers have and requests may send back.
const SHOWN_ONLY: [&str; 3] = ["stats", "endpoint", "former_keys"];

/// Methods a step may use, spelt exactly so.
pub(super) const METHODS: [(&str, Method); 5] = [
    ("GET", Method::Get),
    ("POST", Method::Post),
    ("PUT", Method::Put),
    ("PATCH", Method::Patch),
    ("DELETE", Method::Delete),
];

const MODES: [(&str, SignatureMode); 3] =
    [("none", SignatureMode::None), ("hmac", SignatureMode::Hmac), ("jwt", SignatureMode::Jwt)];

/// The forms of a body, as `body_format` names them.
pub(crate) const FORMS: [(&str, BodyForm); 4] =
    [("js", BodyForm::Js), ("python", BodyForm::Python), ("php", BodyForm::Php), ("raw", BodyForm::Raw)];

/// A step that was checked: nothing random, nothing sealed yet.
pub(crate) struct StepDraft {
    /// That of the step it continues.
    pub(super) id: Option<StepId>,
    pub(super) name: String,
    pub(super) order: u32,
    pub(super) url: String,
    /// That of the step it continues.
    pub(super) former_url: Option<String>,
    pub(super) method: Method,
    pub(super) headers: Vec<HeaderDraft>,
    pub(super) body_template: Option<String>,
    pub(super) body_form: BodyForm,
    pub(super) include_id: bool,
    pub(super) timeout_seconds: u16,
    pub(super) retry: ledgerhook_actors::domain::retry::RetryPolicy,
    pub(super) stop_on_failure: bool,
    pub(super) signature: SignatureMode,
    pub(super) key: KeyDraft,
    pub(super) ed25519: Option<bool>,
    pub(super) tls_ca: Option<String>,
}

/// Where the signing key comes from.
#[derive(Debug)]
pub(super) enum KeyDraft {
    /// Nothing is signed.
    Unneeded,
    /// The one that the step has, with those that it is still taking the place of.
    Kept(StoredKey, Vec<FormerKey>),
    /// Written out: to be sealed.
    Given(Secret),
    /// A variable of the operator's.
    Env(String),
    /// None was given: one is to be made, and shown once.
    Generated,
}

impl KeyDraft {
    /// Former keys that have ended are not written again (SIG.5).
    fn kept(step: &Step) -> Option<Self> {
        let former = step.former_keys_at(instant::now()).cloned().collect();
        Some(Self::Kept(step.signing_key.clone()?, former))
    }
}

impl StepDraft {
    /// The step as it is.
    pub(super) fn kept(step: &Step) -> Self {
        Self {
            id: Some(step.id.clone()),
            name: step.name.clone(),
            order: step.order,
            url: step.url.clone(),
            former_url: Some(step.url.clone()),
            method: step.method,
            headers: step.headers.iter().map(HeaderDraft::from).collect(),
            body_template: step.body_template.clone(),
            body_form: step.body_form,
            include_id: step.include_id,
            timeout_seconds: step.timeout_seconds,
            retry: step.retry.clone(),
            stop_on_failure: step.stop_on_failure,
            signature: step.signature,
            key: KeyDraft::kept(step).unwrap_or(KeyDraft::Unneeded),
            ed25519: step.ed25519,
            tls_ca: step.tls_ca.clone(),
        }
    }
}

/// A step was named that is none, and the report says so.
struct Refused;

/// The steps that a pipeline has, for those of a new version to continue.
pub(super) struct Former<'s> {
    /// `None` when the pipeline is being made.
    pub(super) steps: Option<&'s [Step]>,
}

impl<'s> Former<'s> {
    /// The step that a new one continues: by its id, else by order and name (T-33).
    fn find(&self, id: Option<&Value<'_>>, order: u32, name: &str) -> Result<Option<&'s Step>, Refused> {
        let Some(value) = id else {
            let steps = self.steps.unwrap_or_default();
            return Ok(steps.iter().find(|step| step.order == order && step.name == name));
        };
        let Some(steps) = self.steps else {
            return value
                .wrong("not_settable", "is given by the server, and cannot be chosen")
                .ok_or(Refused);
        };
        let id = value.string().ok_or(Refused)?;
        let found = steps.iter().find(|step| step.id.as_str() == id);
        found.or_else(|| value.wrong("unknown_value", "is no step of this pipeline")).map(Some).ok_or(Refused)
    }
}

/// Reads the `index`th step of a list. The list is replaced whole: what a step leaves out has its default; only
/// its id, its key and masked headers come from the step that it continues.
pub(super) fn read(
    value: &Value<'_>,
    index: u32,
    rules: &Rules<'_>,
    failover: Option<&str>,
    former: &Former<'_>,
) -> Option<StepDraft> {
    value.object(|fields| {
        if former.steps.is_some() {
            fields.ignore(&SHOWN_ONLY);
        }
        let name = match fields.get("name") {
            Some(name) => name.text(1..=NAME_BYTES).map(str::to_owned),
            None => Some(format!("Step {}", index + 1)),
        };
        let order = match fields.get("order") {
            Some(order) => order.integer(1..=ORDER_MAX).and_then(|order| u32::try_from(order).ok()),
            None => Some(index + 1),
        };
        let id = fields.optional("id");
        let continued = match (&name, order) {
            (Some(name), Some(order)) => former.find(id.as_ref(), order, name),
            _ => Ok(None),
        };
        let stop_on_failure = match fields.get("stop_on_failure") {
            Some(stop) => stop.boolean(),
            None => Some(false),
        };
        let source =
            Source { kept: None, secrets_of: continued.as_ref().ok().copied().flatten(), patch: false };
        let call = call(fields, rules, failover, &source, "signing_key");
        continued.ok()?;
        Some(StepDraft { name: name?, order: order?, stop_on_failure: stop_on_failure?, ..call? })
    })
}

/// Where fields that are left out come from.
pub(super) struct Source<'s> {
    /// Everything: a flat webhook's one step is merged field by field.
    pub(super) kept: Option<&'s Step>,
    /// Only what cannot be sent again, since it is never shown.
    pub(super) secrets_of: Option<&'s Step>,
    /// Objects are merged too (RFC 7396).
    pub(super) patch: bool,
}

/// The fields of a call, as steps and flat webhooks share them; `key_field` is the name that its key goes by.
pub(super) fn call(
    fields: &mut Object<'_>,
    rules: &Rules<'_>,
    failover: Option<&str>,
    source: &Source<'_>,
    key_field: &str,
) -> Option<StepDraft> {
    let Source { kept, secrets_of, patch } = *source;
    let defaults = &rules.profile.defaults;
    let former_url = secrets_of.map(|step| step.url.clone());
    let url =
        fields.needed("url", kept.map(|step| step.url.clone()), |v| rules.url(v, former_url.as_deref()));
    let hosts: Vec<String> =
        [url.as_deref(), failover].into_iter().flatten().filter_map(UrlTemplate::host_of).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let method = match fields.get("method") {
        Some(method) => method.choice(&METHODS),
        None => Some(kept.map_or(Method::Post, |step| step.method)),
    };
    let old = secrets_of.map_or(&[][..], |step| &step.headers);
    let headers = fields.merge(
        "headers",
        kept.map(|step| step.headers.iter().map(HeaderDraft::from).collect()).unwrap_or_default(),
        Vec::new(),
        |v| if patch { headers::patch(v, rules, &hosts, old) } else { headers::read(v, rules, &hosts, old) },
    );
    let body_template =
        fields.merge("body_template", kept.and_then(|step| step.body_template.clone()), None, |v| {
            rules.body_template(v, &hosts).map(Some)
        });
    let body_form = match fields.get("body_format") {
        Some(form) => form.choice(&FORMS),
        None => Some(kept.map_or(defaults.body_format, |step| step.body_form)),
    };
    let include_id = match fields.get("include_id") {
        Some(wish) => wish.boolean().and_then(|wanted| {
            if wanted && rules.profile.envelope.has_id() {
                return wish
                    .wrong("not_available", "is for envelopes without an id, and this profile's has it");
            }
            Some(wanted)
        }),
        None => Some(kept.is_some_and(|step| step.include_id)),
    };
    let timeout_seconds = match fields.get("timeout_seconds") {
        Some(timeout) => timeout.integer(1..=TIMEOUT_MAX).and_then(|seconds| u16::try_from(seconds).ok()),
        None => Some(kept.map_or(defaults.timeout_seconds, |step| step.timeout_seconds)),
    };
    let old_policy = kept.map_or(&defaults.retry, |step| &step.retry);
    let retry = fields.merge("retry_policy", old_policy.clone(), defaults.retry.clone(), |v| {
        if patch { retry::patch(v, old_policy, &defaults.retry) } else { retry::read(v, &defaults.retry) }
    });
    let signature = match fields.get("signature_mode") {
        Some(mode) => mode.choice(&MODES),
        None => Some(kept.map_or(SignatureMode::default(), |step| step.signature)),
    };
    let ed25519 = fields
        .merge("ed25519_signature", kept.and_then(|step| step.ed25519), None, |v| v.boolean().map(Some));
    let tls_ca = fields.merge("tls_ca", kept.and_then(|step| step.tls_ca.clone()), None, |v| {
        let text = v.string()?;
        if text.len() > TLS_CA_BYTES {
            return v
                .wrong("length", format!("is to have at most {TLS_CA_BYTES} bytes, and has {}", text.len()));
        }
        match Trust::check_pem(text) {
            Ok(()) => Some(Some(text.to_owned())),
            Err(error) => v.wrong("certificate", error.to_string()),
        }
    });
    let key = fields.get(key_field).filter(|value| !value.is_null());
    let key = signature.and_then(|mode| key_draft(key.as_ref(), mode, rules, &hosts, secrets_of));
    if let (Some(headers), Some(mode)) = (&headers, signature) {
        headers::check_mode(fields.value(), headers, mode)?;
    }
    Some(StepDraft {
        id: secrets_of.map(|step| step.id.clone()),
        name: kept.map(|step| step.name.clone()).unwrap_or_default(),
        order: kept.map_or(1, |step| step.order),
        url: url?,
        former_url,
        method: method?,
        headers: headers?,
        body_template: body_template?,
        body_form: body_form?,
        include_id: include_id?,
        timeout_seconds: timeout_seconds?,
        retry: retry?,
        stop_on_failure: kept.is_some_and(|step| step.stop_on_failure),
        signature: signature?,
        key: key?,
        ed25519: ed25519?,
        tls_ca: tls_ca?,
    })
}

fn key_draft(
    given: Option<&Value<'_>>,
    mode: SignatureMode,
    rules: &Rules<'_>,
    hosts: &[&str],
    former: Option<&Step>,
) -> Option<KeyDraft> {
    let kept = former.and_then(KeyDraft::kept);
    match (given, mode, kept) {
        (Some(value), SignatureMode::None, _) => {
            value.wrong("conflict", "is not used with `signature_mode: none`; leave it out")
        }
        (Some(value), ..) => given_key(value, rules, hosts),
        (None, _, Some(kept)) => Some(kept),
        (None, SignatureMode::None, None) => Some(KeyDraft::Unneeded),
        (None, _, None) => Some(KeyDraft::Generated),
    }
}

/// A key as it was written: a reference to one of the operator's variables, or 24 bytes and more (SIG.2).
pub(super) fn given_key(value: &Value<'_>, rules: &Rules<'_>, hosts: &[&str]) -> Option<KeyDraft> {
    let text = value.string()?;
    if let Some(name) = env_reference(text) {
        if rules.permits_env(name, hosts) {
            return Some(KeyDraft::Env(name.to_owned()));
        }
        let message = format!("environment variable `{name}` is not allowed here");
        return value.wrong("env_not_allowed", message);
    }
    if text.contains("{{") {
        return value.wrong("template", "is a key, or `{{env.NAME}}` alone");
    }
    match check_key(text, rules.profile.limits.secret_bytes_min) {
        Ok(()) => Some(KeyDraft::Given(Secret::new(text.to_owned()))),
        Err(error) => value.wrong("weak_key", error.to_string()),
    }
}
