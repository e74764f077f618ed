//! Configurations made ready: templates compiled, keys opened, once for many attempts. Keys that have ended are
//! not kept.

use super::{BuildError, RequestTls};
use crate::{
    delivery::{
        signing::{SignatureMode, Signer},
        template::{BodyTemplate, CompileError, EnvPolicy, Grant, HeaderTemplate, UrlTemplate},
        tls::Trust,
    },
    domain::{
        step::{HeaderValue, PipelineConfig, Step, StoredKey},
        time::Timestamp,
    },
    json::{Limits, parse},
    secrets::{Secret, Secrets, has_sealed, is_sensitive_name, shown_url},
};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;

/// A whole configuration. What cannot be compiled fails the attempts that need it, and no others.
pub(super) struct Config {
    pub(super) steps: Vec<CompiledStep>,
    pub(super) failover: Option<Result<CompiledUrl, BuildError>>,
    /// When the first of its former keys ends: it is then made ready anew, without that key.
    pub(super) ends: Option<Timestamp>,
}

pub(super) struct CompiledStep {
    /// `None` sends the envelope.
    pub(super) body: Result<Option<BodyTemplate>, BuildError>,
    pub(super) transport: Result<Transport, BuildError>,
}

/// Where and how a step sends.
pub(super) struct Transport {
    pub(super) url: CompiledUrl,
    pub(super) headers: Vec<CompiledHeader>,
    pub(super) signature: SignatureMode,
    pub(super) key: Key,
    /// Beside it while it is being rotated: each with its end, the newest first.
    pub(super) former: Vec<(Key, Timestamp)>,
    /// Whether the tenant's Ed25519 key signs too, where the step says so.
    pub(super) ed25519: Option<bool>,
    pub(super) trust: Option<Trust>,
}

/// A URL that may have sealed parts.
pub(super) struct CompiledUrl {
    /// What is called.
    pub(super) called: UrlTemplate,
    /// What people see, where that is another one.
    pub(super) shown: Option<UrlTemplate>,
    /// What was sealed.
    pub(super) values: Vec<Secret>,
}

pub(super) struct CompiledHeader {
    pub(super) name: String,
    pub(super) value: HeaderTemplate,
    /// Never shown, whatever its name is.
    pub(super) sealed: bool,
    /// Its name says that it holds a credential.
    pub(super) sensitive: bool,
}

pub(super) enum Key {
    None,
    Ready(Arc<Signer>, Secret),
    /// Looked up at each attempt (T-25).
    Env(String),
}

impl Config {
    pub(super) fn of(
        config: &PipelineConfig,
        env: &EnvPolicy,
        secrets: &Secrets,
        tls: &RequestTls,
        now: Timestamp,
    ) -> Self {
        let failover_host = config.failover_url.as_deref().and_then(UrlTemplate::host_of);
        let steps = config.steps.iter().map(|step| {
            let own_host = UrlTemplate::host_of(&step.url);
            let hosts: Vec<_> = own_host.iter().chain(&failover_host).map(String::as_str).collect();
            let grant = env.grant(&hosts);
            let transport = Transport::of(step, &grant, secrets, tls, now);
            CompiledStep { body: body(step, &grant), transport }
        });
        let failover = config.failover_url.as_deref().map(|url| {
            let hosts: Vec<_> = failover_host.iter().map(String::as_str).collect();
            CompiledUrl::of(url, &env.grant(&hosts), secrets, "failover url")
        });
        let former = config.steps.iter().flat_map(|step| step.former_keys_at(now));
        let ends = former.map(|former| former.until).min();
        Self { steps: steps.collect(), failover, ends }
    }

    fn holds_at(&self, now: Timestamp) -> bool {
        self.ends.is_none_or(|end| now < end)
    }
}

impl CompiledUrl {
    fn of(kept: &str, grant: &Grant<'_>, secrets: &Secrets, part: &'static str) -> Result<Self, BuildError> {
        let compile = |text: &str| UrlTemplate::compile(text, grant).map_err(|error| refused(part, error));
        let opened = secrets.open_url(kept)?;
        let shown = has_sealed(kept).then(|| compile(&shown_url(kept))).transpose()?;
        Ok(Self { called: compile(opened.template.expose())?, shown, values: opened.values })
    }
}

impl Transport {
    fn of(
        step: &Step,
        grant: &Grant<'_>,
        secrets: &Secrets,
        tls: &RequestTls,
        now: Timestamp,
    ) -> Result<Self, BuildError> {
        let url = CompiledUrl::of(&step.url, grant, secrets, "url")?;
        let header = |header: &crate::domain::step::Header| {
            let template = secrets.header_template(&header.value)?;
            let value = HeaderTemplate::compile(template.expose(), grant)
                .map_err(|error| refused("header", error))?;
            let sealed = matches!(header.value, HeaderValue::Sealed(_));
            let (name, sensitive) = (header.name.clone(), is_sensitive_name(&header.name));
            Ok(CompiledHeader { name, value, sealed, sensitive })
        };
        let headers = step.headers.iter().map(header).collect::<Result<_, BuildError>>()?;
        let signature = step.signature;
        let (key, former) = match &step.signing_key {
            _ if signature == SignatureMode::None => (Key::None, Vec::new()),
            None => return Err(BuildError::NoKey),
            Some(key) => {
                let former = step.former_keys_at(now);
                let former = former.map(|former| Ok((Key::of(&former.key, secrets)?, former.until)));
                (Key::of(key, secrets)?, former.collect::<Result<_, BuildError>>()?)
            }
        };
        // It was checked when it was saved.
        let trust = step
            .tls_ca
            .as_deref()
            .map(|pem| tls.authority(pem))
            .transpose()
            .map_err(|_| BuildError::Trust)?;
        Ok(Self { url, headers, signature, key, former, ed25519: step.ed25519, trust })
    }
}

impl Key {
    fn of(stored: &StoredKey, secrets: &Secrets) -> Result<Self, BuildError> {
        Ok(match stored {
            StoredKey::Env(name) => Self::Env(name.clone()),
            StoredKey::Sealed(sealed) => {
                let secret = secrets.open(sealed)?;
                Self::Ready(Arc::new(Signer::new(secret.expose())?), secret)
            }
        })
    }
}

fn body(step: &Step, grant: &Grant<'_>) -> Result<Option<BodyTemplate>, BuildError> {
    let Some(text) = &step.body_template else { return Ok(None) };
    // It was checked when it was saved.
    let tree = parse(text.as_bytes(), Limits::EVENT).map_err(|_| BuildError::Event)?;
    BodyTemplate::compile(&tree, grant).map(Some).map_err(|error| refused("body template", error))
}

fn refused(part: &'static str, error: CompileError) -> BuildError {
    BuildError::Compile { part, error }
}

/// Configurations kept at most, twice over, and so by each engine thread. One of a single step takes about a kilobyte;
/// compiling it, about as long as building a request. Tests have few, to go beyond.
const GENERATION: usize = if cfg!(test) { 512 } else { 16_384 };

/// What was compiled last, by the address of the configuration. Two generations: when the young one is full it
/// becomes the old one, and what nobody asked for since is dropped.
#[derive(Default)]
pub(super) struct Cache(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<usize, Entry>,
    old: HashMap<usize, Entry>,
}

/// Holds the configuration, so that its address stays its own.
type Entry = (Arc<PipelineConfig>, Arc<Config>);

impl Cache {
    pub(super) fn get(
        &self,
        config: &Arc<PipelineConfig>,
        now: Timestamp,
        make: impl FnOnce() -> Config,
    ) -> Arc<Config> {
        let address = Arc::as_ptr(config).addr();
        let mut generations = self.0.lock();
        if let Some((_, compiled)) = generations.young.get(&address).filter(|entry| entry.1.holds_at(now)) {
            return Arc::clone(compiled);
        }
        let kept = generations.old.remove(&address).filter(|entry| entry.1.holds_at(now));
        let entry = kept.unwrap_or_else(|| (Arc::clone(config), Arc::new(make())));
        let compiled = Arc::clone(&entry.1);
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(address, entry);
        compiled
    }

    /// Lets go of what holds a key that has ended.
    pub(super) fn forget_ended(&self, now: Timestamp) {
        let Generations { young, old } = &mut *self.0.lock();
        young.retain(|_, (_, compiled)| compiled.holds_at(now));
        old.retain(|_, (_, compiled)| compiled.holds_at(now));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;
    use std::cell::Cell;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn with_key_until(ends: Option<Timestamp>) -> Config {
        Config { steps: Vec::new(), failover: None, ends }
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let (cache, made) = (Cache::default(), Cell::new(0));
        let get = |config: &Arc<PipelineConfig>| {
            cache.get(config, NOW, || {
                made.set(made.get() + 1);
                with_key_until(None)
            })
        };
        let used = Arc::new(config());
        for _ in 0..GENERATION * 4 {
            get(&used);
            get(&Arc::new(config()));
        }
        assert_eq!(made.get(), GENERATION * 4 + 1);
        let generations = cache.0.lock();
        let kept = generations.young.len() + generations.old.len();
        assert!(kept <= GENERATION * 2, "{kept}");
    }

    /// SIG.5: a key that has ended is neither used again nor kept.
    #[test]
    fn keys_go_when_they_end() {
        let (cache, config) = (Cache::default(), Arc::new(config()));
        let end = NOW.plus(std::time::Duration::from_secs(1));
        cache.get(&config, NOW, || with_key_until(Some(end)));
        assert_eq!(cache.get(&config, NOW, || with_key_until(None)).ends, Some(end));
        cache.forget_ended(Timestamp(end.0 - 1));
        assert_eq!(cache.0.lock().young.len(), 1);
        cache.forget_ended(end);
        assert_eq!(cache.0.lock().young.len(), 0);
        cache.get(&config, NOW, || with_key_until(Some(end)));
        assert_eq!(cache.get(&config, end, || with_key_until(None)).ends, None);
    }
}
