//! What the engine shares with those who check input before they call it, and answers kept for repeated requests.

use super::{EngineError, EngineHandle};
use crate::{
    delivery::{target::EgressPolicy, template::EnvPolicy},
    domain::id::TenantId,
    profile::Profiles,
    secrets::Secrets,
};
use bytes::Bytes;
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
}

/// An answer kept under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Location`, if it had one.
    pub location: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// What is known of an idempotency key.
#[derive(Debug)]
pub enum Recall {
    /// Nothing: go on, and hand the ticket in with the answer.
    New(Ticket),
    /// The same request was answered before.
    Same(Answer),
    /// Another request came with this key.
    Other,
    /// The first request with this key is not answered yet.
    UnderWay,
}

/// A key that is taken until the ticket is handed in, or dropped because the request failed.
#[derive(Debug)]
pub struct Ticket {
    /// Whose key.
    pub tenant: TenantId,
    /// The key.
    pub key: String,
    /// Hash of the request.
    pub fingerprint: String,
}

#[expect(unused_variables, clippy::unused_async, clippy::missing_panics_doc, reason = "filled in next")]
impl EngineHandle {
    /// Profiles, secrets and rules.
    #[must_use]
    pub fn tools(&self) -> &Arc<Tools> {
        unimplemented!()
    }

    /// Looks an idempotency key up, and takes it if it is new.
    pub fn recall(&self, tenant: &TenantId, key: &str, fingerprint: &str) -> Result<Recall, EngineError> {
        unimplemented!()
    }

    /// Keeps an answer for 24 hours, sealed, in the log; answers when it is durable.
    pub async fn remember(&self, ticket: Ticket, answer: Answer) -> Result<(), EngineError> {
        unimplemented!()
    }
}
