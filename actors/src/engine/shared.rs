//! What the engine shares with those who check input before they call it.

use crate::{
    delivery::{target::EgressPolicy, template::EnvPolicy},
    profile::Profiles,
    request::RequestTls,
    secrets::Secrets,
};
use std::sync::Arc;

/// The rules that configurations and events are checked against, and the keeper of secrets.
#[derive(Debug)]
pub struct Tools {
    /// Every profile.
    pub profiles: Arc<Profiles>,
    /// Seals what the log may not hold in clear.
    pub secrets: Arc<Secrets>,
    /// Which URLs may be called.
    pub egress: EgressPolicy,
    /// Which variables templates may read.
    pub env: EnvPolicy,
    /// Whom requests trust, and what they show.
    pub tls: Arc<RequestTls>,
}

impl Tools {
    /// What is wrong with variables that templates may read (TPL.9).
    pub(crate) fn unset_variables(&self) -> impl Iterator<Item = String> {
        let unset = self.env.unset(|name| std::env::var(name).ok());
        unset.map(|name| {
            format!("variable {name} of `delivery.template_env` has no value; what needs it is dead-lettered")
        })
    }
}
