//! What a pipeline is told to do: its configuration, as the log keeps it.

use super::{endpoint::breaker::BreakerSetting, id::StepId, retry::RetryPolicy, time::Timestamp};
use crate::json::BodyForm;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Whether a pipeline takes and delivers events (T-32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Takes events and delivers them.
    #[default]
    Active,
    /// Takes events, keeps them in order, delivers nothing.
    Paused,
    /// Takes nothing: events are recorded as skipped. What is pending is held.
    Disabled,
}

impl Status {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }
}

/// What happens to a lane when its head has used up its attempts (T-31).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// Dead-letter it and go on with the next.
    #[default]
    Continue,
    /// Dead-letter it and stop the lane until an operator retries, skips or resumes.
    Halt,
}

/// Which statuses are final failures at once; everything else outside 200–299 is retried (T-16).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResponseRules {
    /// Inclusive ranges of statuses that are never retried.
    pub permanent: Vec<(u16, u16)>,
    /// Statuses inside those ranges that are retried all the same.
    pub retried: Vec<u16>,
    /// What 410 does beside.
    #[serde(skip_serializing_if = "Gone::is_default")]
    pub gone: Gone,
}

/// What `410 Gone` does to the pipeline, beside what it does to the delivery (T-16, RCV.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gone {
    /// Pauses it: the receiver wants no more of it, and someone is to look.
    #[default]
    Pause,
    /// Nothing: it is a failure as any other.
    Retry,
}

impl Gone {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a pipeline is paused, if the engine did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PausedReason {
    /// A receiver answered 410.
    Gone,
}

impl PausedReason {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
        }
    }
}

impl ResponseRules {
    /// Whether `status` ends the step without another attempt.
    #[must_use]
    pub fn is_permanent(&self, status: u16) -> bool {
        let within = self.permanent.iter().any(|&(low, high)| (low..=high).contains(&status));
        within && !self.retried.contains(&status)
    }
}

/// How requests of a step are signed (AFM-23).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureMode {
    /// No signature header of any kind.
    None,
    /// The profile's own HMAC header, and Standard Webhooks beside it.
    #[default]
    Hmac,
    /// A JWT as bearer token.
    Jwt,
}

/// A signing key as the log keeps it: never in clear.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredKey {
    /// Encrypted under the master key, base64.
    Sealed(String),
    /// `{{env.NAME}}`: looked up when it is used.
    Env(String),
}

/// A key that was rotated out and is still signed with (SIG.5). What it ends with is a whole second, so that the
/// time in a request's headers tells which keys it carries (I17).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerKey {
    /// The key.
    pub key: StoredKey,
    /// The first instant at which nothing is signed with it any more.
    pub until: Timestamp,
    /// Whether a request that was refused for its signature is sent once more, signed with this key: the headers of
    /// the tenant's profile have room for one signature only (T-6).
    #[serde(default)]
    pub fallback: bool,
}

/// Most keys that a step signs with beside its own.
pub const FORMER_KEYS_MAX: usize = 3;

/// One header of a step; its value is a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// As it is sent.
    pub name: String,
    /// Template text, or its sealed form when it is a credential written out.
    pub value: HeaderValue,
}

/// The value of a [`Header`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderValue {
    /// A template in clear.
    Template(String),
    /// A template that held a credential, encrypted under the master key.
    Sealed(String),
}

/// One call of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Kept across edits, so that statistics and pinned deliveries find it again.
    pub id: StepId,
    /// For people.
    pub name: String,
    /// Place among the steps; unique within the pipeline.
    pub order: u32,
    /// Template; only path and query may hold placeholders.
    pub url: String,
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: Method,
    /// In the order in which they are sent.
    pub headers: Vec<Header>,
    /// JSON text of the body template; `None` sends the whole envelope.
    pub body_template: Option<String>,
    /// How the body is written.
    #[serde(default)]
    pub body_form: BodyForm,
    /// Whether the event's id stands behind all other keys of the envelope, for profiles that have none in it (T-10).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_id: bool,
    /// Over the whole attempt, 1–300 s.
    pub timeout_seconds: u16,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Whether later steps are given up when this one fails.
    pub stop_on_failure: bool,
    /// How to sign.
    pub signature: SignatureMode,
    /// What to sign with; always there unless the mode is `none`.
    pub signing_key: Option<StoredKey>,
    /// What to sign with beside it while it is being rotated; the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_keys: Vec<FormerKey>,
    /// Whether `webhook-signature` carries a `v1a` signature of the tenant's Ed25519 key too; `None` follows the
    /// profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ed25519: Option<bool>,
    /// PEM certificates that the receiver's has to come from, in the place of the roots that are trusted otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<String>,
}

impl Step {
    /// The deadline of one attempt.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.into())
    }

    /// The keys beside its own that are still in force; the newest first.
    pub fn former_keys_at(&self, now: Timestamp) -> impl Iterator<Item = &FormerKey> {
        self.former_keys.iter().filter(move |former| now < former.until)
    }

    /// Whether a request that is refused now may be one whose receiver still waits for the former key (T-6).
    #[must_use]
    pub fn falls_back_at(&self, now: Timestamp) -> bool {
        let former = self.former_keys_at(now).next();
        former.is_some_and(|former| match self.signature {
            SignatureMode::None => false,
            SignatureMode::Hmac => former.fallback,
            // One token, one signature.
            SignatureMode::Jwt => true,
        })
    }
}

/// Most requests a second that a pipeline may ask for.
pub const RATE_MAX: u32 = 10_000;

/// How the receivers of a pipeline are spared. Both hold for each URL that it calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Control {
    /// Requests that may start in a second, 1 to [`RATE_MAX`]; more wait (APX-34, T-41).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<u32>,
    /// When a URL that fails is left alone.
    #[serde(skip_serializing_if = "BreakerSetting::is_default")]
    pub breaker: BreakerSetting,
}

impl Control {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// HTTP methods a step may use (AFM-13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET
    Get,
    /// POST
    #[default]
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
}

impl Method {
    /// As it stands in a request line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// The whole of what a tenant configures for a pipeline. One value per version; versions are never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineConfig {
    /// For people.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// Trigger types, event names or patterns, as the tenant wrote them; at least one.
    pub triggers: Vec<String>,
    /// Whether it runs.
    pub status: Status,
    /// Set while it is paused by the engine itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_reason: Option<PausedReason>,
    /// By ascending `order`.
    pub steps: Vec<Step>,
    /// Where a step goes when its own URL has used up the attempts (T-28).
    #[serde(default)]
    pub failover_url: Option<String>,
    /// What exhaustion does to the lane.
    #[serde(default)]
    pub on_exhausted: OnExhausted,
    /// Which answers are final.
    #[serde(default)]
    pub rules: ResponseRules,
    /// How its receivers are spared.
    #[serde(default, skip_serializing_if = "Control::is_default")]
    pub control: Control,
    /// True for a flat webhook: one step, shown under `/api/webhooks`.
    #[serde(default)]
    pub flat: bool,
}

impl PipelineConfig {
    /// The URLs that it calls, each once.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        let all = self.steps.iter().map(|step| &*step.url).chain(self.failover_url.as_deref());
        all.collect::<std::collections::BTreeSet<_>>().into_iter()
    }

    /// The step with this id, wherever it now stands.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == *id)
    }
}
