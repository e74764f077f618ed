//! The request of one attempt, final to the last byte: a function of the event, the configuration and the clock.
//!
//! ```text
//! pinned version ── body template, form, method, triggers ──┐
//! live version ──── URL, headers, key, timeout ─────────────┼──build──> Request, and the secrets in it
//! profile ───────── envelope, header names ─────────────────┤  show ──> the same for people, secrets as ***
//! event, attempt, now ──────────────────────────────────────┘
//! ```
//!
//! The body is the same on every attempt; headers carry what differs (T-34). What is not known here: lanes, retries,
//! which addresses may be called.

mod compiled;
mod headers;
mod payload;
mod tenant_keys;
#[cfg(test)]
mod tests;
mod tls;

pub use headers::{
    ATTEMPT_HEADER, DELIVERY_HEADER, REDELIVERY_HEADER, USER_AGENT, credentials, masked, reserved_headers,
};
pub use payload::{Event, Payload};
pub use tls::RequestTls;

use crate::{
    delivery::{
        Request,
        headers::Headers,
        signing::{KeyError, Signer, check_key},
        template::{CompileError, Env, EnvPolicy, Masker, Scope, TemplateError},
        tls::Trust,
    },
    domain::{
        event::Queue,
        id::PipelineId,
        outcome::OutcomeClass,
        step::{Method, PipelineConfig},
        tenant::Tenant,
        time::Timestamp,
    },
    profile::Profile,
    secrets::{Secret, Secrets, SecretsError},
};
use bytes::Bytes;
use compiled::{Cache, Key, Transport};
use headers::Writer;
use payload::Parts;
use std::{cell::RefCell, fmt, sync::Arc, time::Duration};
use tenant_keys::TenantSigners;
use url::Url;

/// Answers the value of an environment variable.
pub type EnvLookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Builds requests. Keeps the compiled templates and keys of the configurations that it met last.
pub struct RequestBuilder {
    secrets: Arc<Secrets>,
    env: Arc<EnvPolicy>,
    lookup: EnvLookup,
    tls: Arc<RequestTls>,
    cache: Cache,
    tenants: TenantSigners,
}

/// What one attempt is about.
#[derive(Clone, Copy)]
pub struct AttemptInput<'a> {
    /// The tenant's.
    pub profile: &'a Profile,
    /// The owner.
    pub tenant: &'a Arc<Tenant>,
    /// The route.
    pub pipeline: &'a PipelineId,
    /// `exec_…`, the same on every attempt.
    pub delivery: &'a str,
    /// The version that the delivery is pinned to: it decides the body.
    pub pinned: &'a Arc<PipelineConfig>,
    /// The version in force: it decides where the request goes, and how.
    pub live: &'a Arc<PipelineConfig>,
    /// Index of the step in the pinned version.
    pub step: u16,
    /// The step's own URL, or the failover's.
    pub queue: Queue,
    /// From 1; one more for each redelivery.
    pub round: u16,
    /// Of the attempt in its round, from 1.
    pub number: u16,
    /// Signed with the key that is being rotated out, where there is room for one signature (T-6).
    pub other_key: bool,
    /// What is sent.
    pub payload: Payload<'a>,
    /// When the attempt starts.
    pub now: Timestamp,
}

/// A request ready to go.
#[derive(Debug)]
pub struct Built {
    /// What is sent.
    pub request: Request,
    /// Everything secret that went into it.
    pub secrets: UsedSecrets,
}

/// The secrets of one request: what its receiver may repeat and nobody else may see (SEC.6).
pub struct UsedSecrets {
    own: Vec<Secret>,
    /// As they were sent: they are taken to pieces only when there is something to look for them in.
    headers: Arc<Headers>,
    /// Which of them hold a credential.
    places: Vec<usize>,
}

impl fmt::Debug for UsedSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsedSecrets(***)")
    }
}

impl UsedSecrets {
    /// Takes them out of what a receiver answered.
    #[must_use]
    pub fn hide_in(&self, text: Bytes) -> Bytes {
        // Most answers say `OK` or little more: shorter than any secret, and a search costs microseconds.
        if text.len() < Masker::SECRET_MIN || self.pieces().all(|piece| text.len() < piece.len()) {
            return text;
        }
        Masker::new(self.pieces()).mask(&text).into()
    }

    fn pieces(&self) -> impl Iterator<Item = &str> {
        let values = self.places.iter().filter_map(|place| self.headers.value_at(*place));
        self.own.iter().map(Secret::expose).chain(values.flat_map(headers::credential))
    }
}

/// A request as people may see it: `***` for values from the environment, signatures, and every header that by its
/// name holds a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRequest {
    /// `POST`
    pub method: &'static str,
    /// Values from the environment masked.
    pub url: Url,
    /// In the order in which they are sent.
    pub headers: Headers,
    /// Values from the environment masked.
    pub body: Bytes,
}

/// Why a request cannot be built; nothing was sent. Names variables and fields, never their values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A value is missing or unfit.
    #[error("{0}")]
    Template(#[from] TemplateError),
    /// The operator took back what a template uses, or the configuration is older than a rule.
    #[error("{part}: {error}")]
    Compile { part: &'static str, error: CompileError },
    /// The key cannot sign; nothing goes out unsigned or signed with nothing (SIG.2, T-25).
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The step signs and has no key.
    #[error("the step has no signing key")]
    NoKey,
    /// Sealed under another master key.
    #[error("a secret of the step cannot be opened with this master key")]
    Sealed,
    /// `tls_ca` holds no certificate that this version reads.
    #[error("the step's `tls_ca` cannot be used")]
    Trust,
    /// A certificate that this version cannot show.
    #[error("the tenant's client certificate cannot be used")]
    Identity,
    /// Neither version has the step, or there is no failover URL.
    #[error("the step is no longer part of the pipeline")]
    NoStep,
    /// The event's bytes are not the JSON that was accepted.
    #[error("the event cannot be read")]
    Event,
}

impl BuildError {
    /// How the attempt ended that could not be built.
    pub const CLASS: OutcomeClass = OutcomeClass::TemplateError;
}

impl From<SecretsError> for BuildError {
    fn from(_: SecretsError) -> Self {
        Self::Sealed
    }
}

/// Method, URL, headers and body, for the receiver or for people.
struct Composed {
    method: Method,
    url: Url,
    headers: Writer,
    body: Bytes,
    trust: Option<Trust>,
    timeout: Duration,
}

impl RequestBuilder {
    /// `env` is what `{{env.NAME}}` may resolve, and `lookup` answers it.
    #[must_use]
    pub fn new(secrets: Arc<Secrets>, env: Arc<EnvPolicy>, lookup: EnvLookup, tls: Arc<RequestTls>) -> Self {
        Self { secrets, env, lookup, tls, cache: Cache::default(), tenants: TenantSigners::default() }
    }

    /// The request of an attempt.
    pub fn build(&self, input: &AttemptInput<'_>) -> Result<Built, BuildError> {
        let used = RefCell::new(Vec::new());
        let Composed { method, url, headers, body, trust, timeout } = self.compose(input, Some(&used))?;
        let (headers, places) = headers.finish();
        let headers = Arc::new(headers);
        let secrets = UsedSecrets { own: used.into_inner(), headers: Arc::clone(&headers), places };
        let tenant = input.tenant.id.clone();
        let request = Request { tenant, method: method.as_str(), url, headers, body, trust, timeout };
        Ok(Built { request, secrets })
    }

    /// The same request as people may see it. Needs neither keys nor the values of variables.
    pub fn show(&self, input: &AttemptInput<'_>) -> Result<ShownRequest, BuildError> {
        let Composed { method, url, headers, body, .. } = self.compose(input, None)?;
        let (headers, _) = headers.finish();
        Ok(ShownRequest { method: method.as_str(), url, headers: masked(&headers), body })
    }

    /// Secrets go into `used`; without it they are not even looked up.
    fn compose(
        &self,
        input: &AttemptInput<'_>,
        used: Option<&RefCell<Vec<Secret>>>,
    ) -> Result<Composed, BuildError> {
        let pinned = self.compiled(input.pinned, input.now);
        let live = self.compiled(input.live, input.now);
        let pinned_step = input.pinned.steps.get(usize::from(input.step)).ok_or(BuildError::NoStep)?;
        let place = input.live.steps.iter().position(|step| step.id == pinned_step.id);
        let place = place.ok_or(BuildError::NoStep)?;
        let transport = live.steps[place].transport.as_ref().map_err(Clone::clone)?;
        let url = match input.queue {
            Queue::Primary => &transport.url,
            Queue::Failover => {
                live.failover.as_ref().ok_or(BuildError::NoStep)?.as_ref().map_err(Clone::clone)?
            }
        };

        let lookup = |name: &str| {
            let value = (self.lookup)(name)?;
            used.inspect(|used| used.borrow_mut().push(Secret::new(value.clone())));
            Some(value)
        };
        if let Some(used) = used {
            used.borrow_mut().extend(url.values.iter().cloned());
        }
        let url = if used.is_some() { &url.called } else { url.shown.as_ref().unwrap_or(&url.called) };
        let env = Env::new(&self.env, url.host(), &lookup);
        let env = if used.is_some() { env } else { env.masked() };

        let tree = input.payload.parse()?;
        let parts = Parts::of(input, &tree)?;
        let context = parts.context();
        let scope = Scope { context: &context, env, strict: false };

        let template = pinned.steps[usize::from(input.step)].body.as_ref().map_err(Clone::clone)?;
        let mut body = Vec::with_capacity(input.payload.len() + 256);
        match template {
            Some(template) => drop(template.render(&scope, pinned_step.body_form, &mut body)?),
            // GET has no body unless somebody wrote one.
            None if pinned_step.method == Method::Get => {}
            None => parts.write_envelope(input, pinned_step, &mut body)?,
        }
        let url = url.render(&scope)?;
        let mut headers = Writer::of_step(&transport.headers, &scope, used.is_none())?;
        if !body.is_empty() {
            headers.default_content_type();
        }
        let signers =
            used.map(|used| self.signers(transport, &scope.env, input, used)).transpose()?.flatten();
        headers.sign(input, transport.signature, signers.as_ref(), parts.id(), &url, &body);
        headers.identify(input, &parts);
        let timeout = input.live.steps[place].timeout();
        let trust = used.map(|_| self.tls.of(input.tenant, transport.trust.as_ref(), &self.secrets));
        Ok(Composed {
            method: pinned_step.method,
            url,
            headers,
            body: body.into(),
            trust: trust.transpose()?.flatten(),
            timeout,
        })
    }

    /// Lets go of keys that have ended: what nobody delivers to is not asked for them again.
    pub fn forget_ended_keys(&self, now: Timestamp) {
        self.cache.forget_ended(now);
        self.tenants.forget_ended(now);
        self.tls.forget_gone();
    }

    fn compiled(&self, config: &Arc<PipelineConfig>, now: Timestamp) -> Arc<compiled::Config> {
        self.cache.get(config, now, || compiled::Config::of(config, &self.env, &self.secrets, &self.tls, now))
    }

    /// The keys of an attempt; `None` where nothing is signed. A former one that the environment has no more is left
    /// out: the step's own key signs for it.
    fn signers(
        &self,
        transport: &Transport,
        env: &Env<'_>,
        input: &AttemptInput<'_>,
        used: &RefCell<Vec<Secret>>,
    ) -> Result<Option<Signers>, BuildError> {
        let signer = |key: &Key| -> Result<Option<Arc<Signer>>, BuildError> {
            Ok(match key {
                Key::None => None,
                Key::Ready(signer, secret) => {
                    used.borrow_mut().push(secret.clone());
                    Some(Arc::clone(signer))
                }
                Key::Env(name) => {
                    let secret = env.resolve(name)?;
                    check_key(&secret, input.profile.limits.secret_bytes_min)?;
                    Some(Arc::new(Signer::new(&secret)?))
                }
            })
        };
        let Some(own) = signer(&transport.key)? else { return Ok(None) };
        let former = transport.former.iter().filter(|(_, until)| input.now < *until);
        let former = former.filter_map(|(key, _)| signer(key).ok().flatten()).collect();
        let wanted = transport.ed25519.unwrap_or(input.profile.signature.ed25519);
        let tenant =
            if wanted { self.tenants.of(input.tenant, &self.secrets, input.now)? } else { Arc::default() };
        Ok(Some(Signers { own, former, tenant, now: input.now, other_key: input.other_key }))
    }
}

/// What an attempt is signed with.
struct Signers {
    own: Arc<Signer>,
    /// Rotated out and still in force; the newest first.
    former: Vec<Arc<Signer>>,
    /// The tenant's Ed25519 keys, for `v1a`.
    tenant: Arc<[(Signer, Option<Timestamp>)]>,
    now: Timestamp,
    other_key: bool,
}

impl Signers {
    /// The one for headers with room for one signature (T-6).
    fn single(&self) -> &Signer {
        self.former.first().filter(|_| self.other_key).unwrap_or(&self.own)
    }

    /// The secrets of a header that has room for all of them, or for one.
    fn secret(&self, all: bool) -> impl Iterator<Item = &Signer> {
        let (first, rest) = if all { (&*self.own, &self.former[..]) } else { (self.single(), &[][..]) };
        std::iter::once(first).chain(rest.iter().map(|signer| &**signer))
    }

    /// All in force (SIG.5).
    fn all(&self) -> impl Iterator<Item = &Signer> {
        let secret = std::iter::once(&self.own).chain(&self.former).map(|signer| &**signer);
        let in_force = |until: &Option<Timestamp>| until.is_none_or(|until| self.now < until);
        secret.chain(self.tenant.iter().filter(move |(_, until)| in_force(until)).map(|(signer, _)| signer))
    }
}
