//! What goes in and out at the front door: plain values.

use crate::{
    accepted::AcceptedEvent,
    domain::{
        id::{DeliveryId, KeyId, PipelineId},
        tenant::{Scope, Scopes, Tenant},
        time::Timestamp,
    },
};
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// An event, checked and ready to be accepted.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Given by the producer, or minted by the caller.
    pub id: Box<str>,
    /// `conversion.created`
    pub event_type: Box<str>,
    /// Key of its lane, derived by the profile's rules.
    pub resource: Box<str>,
    /// The event object as it was posted, byte for byte.
    pub body: Bytes,
    /// Whether it says itself when it happened.
    pub is_timed: bool,
}

/// What became of an event.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The event as it stands in the log.
    pub event: Arc<AcceptedEvent>,
    /// It was accepted before; nothing new was recorded.
    pub duplicate: bool,
}

impl Receipt {
    /// The pipelines that it goes to (those that skip it are left out).
    pub fn pipelines(&self) -> impl Iterator<Item = &PipelineId> {
        let routes = self.event.accepted.routes.iter();
        routes.filter(|route| !route.skipped).map(|route| &route.pipeline)
    }
}

/// Who asks: a key, its tenant and what it may do.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// Its first characters; of a JWT there are none to tell.
    pub hint: Option<Arc<str>>,
    /// The tenant that the key belongs to; `None` for the operator key, which names one per request.
    pub tenant: Option<Arc<Tenant>>,
    /// What it may do.
    pub scopes: Scopes,
}

/// A key that was just made: the only time its text is shown.
#[derive(Clone, Debug)]
pub struct IssuedKey {
    /// Its id.
    pub id: KeyId,
    /// The key itself.
    pub key: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What it may do; not empty.
    pub scopes: Vec<Scope>,
    /// For people.
    pub name: Option<String>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// One lane, as the operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct LaneView {
    /// What it is about.
    pub resource: String,
    /// Deliveries in it.
    pub depth: usize,
    /// The head.
    pub head: Option<DeliveryId>,
    /// `queued`, `in_flight`, `retrying`, `held`.
    pub state: &'static str,
    /// `pause`, `halt`, `breaker` or `rate`, if it is held.
    pub held_reason: Option<&'static str>,
    /// When the head was accepted, if others wait behind it.
    pub blocked_since: Option<Timestamp>,
    /// When its next attempt is due.
    pub next_due_at: Option<Timestamp>,
}

impl Serialize for DeliveryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One actor, as the supervision tree shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActorView {
    /// `supervisor`, `pipeline`, `dead_letters`, `catalog`, `projections`.
    pub kind: &'static str,
    /// The pipeline's id, or the kind for those of which there is one.
    pub id: String,
    /// `running`, `restarting`, `failed`.
    pub state: &'static str,
    /// Restarts since the process began.
    pub restarts: u64,
    /// Why the last one was needed.
    pub last_exit_reason: Option<String>,
    /// Messages waiting.
    pub mailbox_depth: u64,
    /// Attempts under way.
    pub in_flight: u64,
}

/// Deliveries waiting per queue over a tenant's pipelines (AFM-70).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct QueueDepths {
    /// Waiting for, or at, their own URL.
    pub primary: u64,
    /// Waiting for, or at, the failover.
    pub failover: u64,
    /// Open dead letters.
    pub dlq: u64,
}
