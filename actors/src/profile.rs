//! What one provider's customers see: envelope, headers, defaults, limits and events, as data from a TOML file.
//!
//! ```text
//! builtin/*.toml, --profiles DIR ──load──> Profiles ──get(tenant.profile)──> Profile
//!                                                    event in:  known type? which resource? which pipelines?
//!                                                    attempt:   envelope, signature and failover headers
//! ```
//!
//! No profile is known by name anywhere else in the code. `docs/profiles.md` describes the file.

mod api;
mod catalogue;
mod envelope;
mod fault;
mod load;
mod resource;
mod signature;
mod text;
mod trigger;

pub use api::{Answers, Api, Tree};
pub use catalogue::{EventKind, Sample};
pub use envelope::{Envelope, EnvelopeField, EnvelopeValues, Source, metadata};
pub use load::ProfileError;
pub use resource::{RESOURCE_MAX, ResourceRule};
pub use signature::{About, ProfileHeader, Signature, SignatureHeader, Stamp};
pub use text::is_event_type;
pub use trigger::TriggerError;

use crate::{
    delivery::signing::KEY_MIN,
    domain::{endpoint::breaker::BreakerSetting, retry::RetryPolicy, step::ResponseRules},
    json::BodyForm,
};
use catalogue::Catalogue;
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use trigger::Aliases;

/// The contract of one provider.
#[derive(Clone, Debug)]
pub struct Profile {
    /// `afftok`: what tenants name it by.
    pub name: String,
    /// For people.
    pub title: String,
    /// Where its customers call, and how.
    pub api: Api,
    /// What ids begin with.
    pub ids: IdPrefixes,
    /// The body of a request whose step has no template.
    pub envelope: Envelope,
    /// How requests are signed.
    pub signature: Signature,
    /// What else every request carries.
    pub headers: Vec<ProfileHeader>,
    /// Marks a request to the failover URL (T-28).
    pub failover: Option<FixedHeader>,
    /// What a step gets that does not say.
    pub defaults: Defaults,
    /// Which URLs may be registered (T-19).
    pub https: HttpsRule,
    /// Which answers are final.
    pub rules: ResponseRules,
    /// When a URL that fails is left alone, where a pipeline does not say.
    pub breaker: BreakerSetting,
    /// What a tenant may use up.
    pub limits: ProfileLimits,
    /// What a test sends that names nothing; without it the first sample of what a webhook listens to.
    pub test_event: Option<TestEvent>,
    catalogue: Catalogue,
    aliases: Aliases,
}

/// What ids begin with, without the underscore (AFM-29).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdPrefixes {
    /// `pipe`
    #[serde(deserialize_with = "text::id_prefix")]
    pub pipeline: String,
    /// Of flat webhooks: `wh`, `webhook`.
    #[serde(deserialize_with = "text::id_prefix")]
    pub webhook: String,
}

/// A header that is always the same.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedHeader {
    /// `X-Afftok-Failover`
    #[serde(deserialize_with = "text::header_name")]
    pub name: String,
    /// `1`
    #[serde(deserialize_with = "text::header_value")]
    pub value: String,
}

/// What a step gets that does not say.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// When to try again, given as the name of a preset.
    #[serde(deserialize_with = "text::retry_preset")]
    pub retry: RetryPolicy,
    /// The deadline of an attempt, 1 to 300.
    #[serde(deserialize_with = "text::timeout_seconds")]
    pub timeout_seconds: u16,
    /// How bodies are written.
    #[serde(default)]
    pub body_format: BodyForm,
}

impl Defaults {
    /// The deadline of an attempt.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.into())
    }
}

/// Which URLs may be registered (T-19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpsRule {
    /// `https://` and nothing else.
    Required,
    /// `http://` too where the operator runs with `--allow-http`.
    UnlessAllowed,
}

impl HttpsRule {
    /// Whether a URL of this scheme may be registered.
    #[must_use]
    pub fn permits(self, scheme: &str, allow_http: bool) -> bool {
        match scheme {
            "https" => true,
            "http" => allow_http && self == Self::UnlessAllowed,
            _ => false,
        }
    }
}

/// What a tenant may use up. `None` is no limit of the provider's; the engine's own still hold.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileLimits {
    /// Largest event in bytes, as posted.
    pub event_bytes_max: usize,
    /// Flat webhooks a tenant may have (APX-33).
    pub webhooks_max: Option<u32>,
    /// Requests that one webhook is sent in a second; more wait (APX-34).
    #[serde(deserialize_with = "text::per_second")]
    pub events_per_second: Option<u32>,
    /// Fewest bytes of a signing secret: 24, or fewer for a provider whose customers have shorter ones; 16 at least.
    #[serde(deserialize_with = "text::secret_bytes")]
    pub secret_bytes_min: usize,
}

/// An event that only tests send (SOC-11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestEvent {
    /// `webhook.test`
    pub event_type: String,
    /// JSON text of an object.
    pub data: String,
}

impl Default for ProfileLimits {
    fn default() -> Self {
        Self {
            event_bytes_max: 256 * 1024,
            webhooks_max: None,
            events_per_second: None,
            secret_bytes_min: KEY_MIN,
        }
    }
}

impl Profile {
    /// The documented event types, in the order of the file.
    #[must_use]
    pub fn event_types(&self) -> impl ExactSizeIterator<Item = &EventKind> {
        self.catalogue.kinds()
    }

    /// What is documented of a type.
    #[must_use]
    pub fn event_type(&self, name: &str) -> Option<&EventKind> {
        self.catalogue.kind(name)
    }

    /// Whether events of this type are taken.
    #[must_use]
    pub fn is_known_type(&self, name: &str) -> bool {
        self.catalogue.takes(name)
    }

    /// Whether the documented types are all there are.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.catalogue.is_closed()
    }

    /// How events of this type find their lane.
    #[must_use]
    pub fn resource_rule(&self, event_type: &str) -> &ResourceRule {
        self.catalogue.resource_rule(event_type)
    }

    /// The part of a resource behind the prefix of its type: `trigger_id` of the provider's API (T-36).
    #[must_use]
    pub fn resource_id<'r>(&self, event_type: &str, resource: &'r str) -> &'r str {
        self.resource_rule(event_type).without_prefix(resource)
    }
}

/// Every profile there is, by name.
#[derive(Clone, Debug)]
pub struct Profiles {
    by_name: BTreeMap<String, Arc<Profile>>,
}

impl Profiles {
    /// The profiles that come with the engine.
    ///
    /// # Panics
    /// Never: a test loads them.
    #[must_use]
    pub fn builtin() -> Self {
        let mut profiles = Self { by_name: BTreeMap::new() };
        for (file, text) in load::BUILTIN {
            profiles.add(file, text).expect("built-in profiles are sound");
        }
        profiles
    }

    /// The built-in ones and those in the `*.toml` files of `dir`, by ascending file name.
    pub fn load(dir: &Path) -> Result<Self, ProfileError> {
        let mut profiles = Self::builtin();
        for path in load::files(dir)? {
            let text = load::read(&path)?;
            profiles.add(&path.display().to_string(), &text)?;
        }
        Ok(profiles)
    }

    /// The profile with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Profile>> {
        self.by_name.get(name)
    }

    /// The trees of all profiles, each once.
    #[must_use]
    pub fn trees(&self) -> Vec<&Tree> {
        let mut trees: Vec<_> = self.iter().flat_map(|profile| &profile.api.webhooks).collect();
        trees.sort_by_key(|tree| tree.as_str());
        trees.dedup();
        trees
    }

    /// All of them, by name.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Profile>> {
        self.by_name.values()
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), ProfileError> {
        let trees = self
            .by_name
            .values()
            .flat_map(|profile| profile.api.webhooks.iter().map(|tree| (profile.name.as_str(), tree)));
        let profile = Profile::parse_beside(file, text, &trees.collect::<Vec<_>>())?;
        if self.by_name.contains_key(&profile.name) {
            return Err(ProfileError::Duplicate { file: file.to_owned(), name: profile.name });
        }
        self.by_name.insert(profile.name.clone(), Arc::new(profile));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
