//! What the settings stand for, as far as neither log nor state is needed to tell. What is wrong is told by the name
//! that the setting has in the configuration.

use super::{EngineConfig, EngineError, profiles};
use crate::{
    delivery::{
        client::{ClientConfig, Proxy},
        resolve::{NameLookup, NameServers, SystemNames},
        target::{EgressPolicy, EgressRule, EgressRuleError},
        template::EnvPolicy,
    },
    profile::Profiles,
    secrets::MasterKey,
};
use std::{fmt::Display, sync::Arc};

/// Checks settings as a start does, and starts nothing.
pub fn check(config: &EngineConfig) -> Result<(), EngineError> {
    Rules::read(config).map(drop)
}

/// What a start goes by.
pub(super) struct Rules {
    pub(super) profiles: Profiles,
    pub(super) egress: EgressPolicy,
    pub(super) env: EnvPolicy,
    pub(super) client: ClientConfig,
}

impl Rules {
    pub(super) fn read(config: &EngineConfig) -> Result<Self, EngineError> {
        if let Some(key) = &config.master_key {
            MasterKey::parse(key).map_err(|e| wrong("secrets.master_key", &e))?;
        }
        let egress = EgressPolicy {
            allow: egress_rules("delivery.egress_allow", &config.egress_allow)?,
            deny: egress_rules("delivery.egress_deny", &config.egress_deny)?,
            own: egress_rules("egress.published_ips", &config.published_ips)?,
            own_api: config.listens_at,
            ports: config.egress_ports.clone(),
            nat64: config.egress_nat64.clone(),
            allow_http: config.allow_http,
        };
        let proxy = config.egress_proxy.as_ref().map(|proxy| Proxy::parse(proxy.expose()));
        let names: Arc<dyn NameLookup> = if config.name_servers.is_empty() {
            Arc::new(SystemNames)
        } else {
            let servers = NameServers::new(&config.name_servers);
            Arc::new(servers.map_err(|e| wrong("egress.resolver", &e))?)
        };
        let client = ClientConfig::new(egress.clone(), &config.tls_roots)
            .map_err(|e| wrong("delivery.tls_roots", &e))?;
        Ok(Self {
            profiles: profiles::load(config)?,
            env: EnvPolicy::parse(&config.template_env).map_err(|e| wrong("delivery.template_env", &e))?,
            client: ClientConfig {
                bind_address: config.bind_address,
                proxy: proxy.transpose().map_err(|e| wrong("egress.proxy", &e))?,
                names,
                ..client
            },
            egress,
        })
    }
}

/// A setting that cannot stand, by its name.
pub(super) fn wrong(setting: &str, problem: &dyn Display) -> EngineError {
    EngineError::Setup(format!("setting `{setting}`: {problem}"))
}

fn egress_rules(setting: &str, texts: &[String]) -> Result<Vec<EgressRule>, EngineError> {
    let rules = texts.iter().map(|text| text.parse());
    rules.collect::<Result<_, _>>().map_err(|e: EgressRuleError| wrong(setting, &e))
}
