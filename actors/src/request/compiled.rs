//! Configurations made ready: templates compiled, keys opened, once for many attempts.

use super::BuildError;
use crate::{
    delivery::{
        signing::{SignatureMode, Signer},
        template::{BodyTemplate, CompileError, EnvPolicy, Grant, HeaderTemplate, UrlTemplate},
    },
    domain::step::{HeaderValue, PipelineConfig, Step, StoredKey},
    json::{Limits, parse},
    secrets::{Secret, Secrets},
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// A whole configuration. What cannot be compiled fails the attempts that need it, and no others.
pub(super) struct Config {
    pub(super) steps: Vec<CompiledStep>,
    pub(super) failover: Option<Result<UrlTemplate, BuildError>>,
}

pub(super) struct CompiledStep {
    /// `None` sends the envelope.
    pub(super) body: Result<Option<BodyTemplate>, BuildError>,
    pub(super) transport: Result<Transport, BuildError>,
}

/// Where and how a step sends.
pub(super) struct Transport {
    pub(super) url: UrlTemplate,
    pub(super) headers: Vec<CompiledHeader>,
    pub(super) signature: SignatureMode,
    pub(super) key: Key,
}

pub(super) struct CompiledHeader {
    pub(super) name: String,
    pub(super) value: HeaderTemplate,
    /// Never shown, whatever its name is.
    pub(super) sealed: bool,
}

pub(super) enum Key {
    None,
    Ready(Arc<Signer>, Secret),
    /// Looked up at each attempt (T-25).
    Env(String),
}

impl Config {
    pub(super) fn of(config: &PipelineConfig, env: &EnvPolicy, secrets: &Secrets) -> Self {
        let failover_host = config.failover_url.as_deref().and_then(UrlTemplate::host_of);
        let steps = config.steps.iter().map(|step| {
            let own_host = UrlTemplate::host_of(&step.url);
            let hosts: Vec<_> = own_host.iter().chain(&failover_host).map(String::as_str).collect();
            let grant = env.grant(&hosts);
            let transport = Transport::of(step, &grant, secrets);
            CompiledStep { body: body(step, &grant), transport }
        });
        let failover = config.failover_url.as_deref().map(|url| {
            let hosts: Vec<_> = failover_host.iter().map(String::as_str).collect();
            UrlTemplate::compile(url, &env.grant(&hosts)).map_err(|error| refused("failover url", error))
        });
        Self { steps: steps.collect(), failover }
    }
}

impl Transport {
    fn of(step: &Step, grant: &Grant<'_>, secrets: &Secrets) -> Result<Self, BuildError> {
        let url = UrlTemplate::compile(&step.url, grant).map_err(|error| refused("url", error))?;
        let header = |header: &crate::domain::step::Header| {
            let template = secrets.header_template(&header.value)?;
            let value = HeaderTemplate::compile(template.expose(), grant)
                .map_err(|error| refused("header", error))?;
            let sealed = matches!(header.value, HeaderValue::Sealed(_));
            Ok(CompiledHeader { name: header.name.clone(), value, sealed })
        };
        let headers = step.headers.iter().map(header).collect::<Result<_, BuildError>>()?;
        let key = match &step.signing_key {
            _ if step.signature == SignatureMode::None => Key::None,
            None => return Err(BuildError::NoKey),
            Some(StoredKey::Env(name)) => Key::Env(name.clone()),
            Some(StoredKey::Sealed(sealed)) => {
                let secret = secrets.open(sealed)?;
                Key::Ready(Arc::new(Signer::new(secret.expose())?), secret)
            }
        };
        Ok(Self { url, headers, signature: step.signature, key })
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

/// Configurations kept at most, twice over.
const GENERATION: usize = 512;

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
    pub(super) fn get(&self, config: &Arc<PipelineConfig>, make: impl FnOnce() -> Config) -> Arc<Config> {
        let address = Arc::as_ptr(config).addr();
        let mut generations = self.0.lock();
        if let Some((_, compiled)) = generations.young.get(&address) {
            return Arc::clone(compiled);
        }
        let kept = generations.old.remove(&address);
        let entry = kept.unwrap_or_else(|| (Arc::clone(config), Arc::new(make())));
        let compiled = Arc::clone(&entry.1);
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(address, entry);
        compiled
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let (cache, made) = (Cache::default(), Cell::new(0));
        let get = |config: &Arc<PipelineConfig>| {
            cache.get(config, || {
                made.set(made.get() + 1);
                Config { steps: Vec::new(), failover: None }
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
}
