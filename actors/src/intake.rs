//! The way in of events: on the caller's own thread, no message, no actor.
//!
//! ```text
//!   quotas ── permit ── dedup ── append(accepted) ──> inbox of the core that owns the lane (under the log's lock)
//!                                      └── wait for the watermark ──> receipt
//! ```

pub mod dedup;
pub(crate) mod moments;
pub(crate) mod quotas;
pub(crate) mod room;
pub(crate) mod waiters;

use crate::{
    accepted::AcceptedEvent,
    clock::Clock,
    domain::{
        event::{Accepted, Fact},
        id::{LaneKey, TenantId},
        quota::Quotas,
    },
    error::EngineError,
    failpoint,
    log::{Append, EventLog, Expected, LogError, NewRecord, Position, codec},
    published::Shared,
    view::{NewEvent, Receipt},
    worker::{
        hub::{Hub, Post},
        registry::Registry,
    },
};
use dedup::{Dedup, Found};
use moments::Moments;
use quotas::Allowance;
use room::{Load, Permit, Room};
use waiters::Kick;

use sha2::{Digest, Sha256};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Accepts events; shared by all threads.
pub(crate) struct Intake {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Clock,
    pub(crate) published: Shared,
    pub(crate) registry: Registry,
    pub(crate) dedup: Dedup,
    pub(crate) moments: Moments,
    /// What tenants may post.
    pub(crate) allowance: Allowance,
    /// What may be between a request and the disk.
    pub(crate) room: Room,
    /// Events accepted since the log began.
    pub(crate) accepted: AtomicU64,
    pub(crate) closed: AtomicBool,
}

impl Intake {
    /// Accepts an event; answers when it is durable.
    pub(crate) async fn accept_one(
        &self,
        tenant: &TenantId,
        event: NewEvent,
    ) -> Result<Receipt, EngineError> {
        let _permit = self.permit(tenant, Load { events: 1, bytes: event.body.len() })?;
        let mut handed = Handed::to_none(&self.registry);
        let receipt = self.take_in(tenant, event, &mut handed).await?;
        self.make_durable(receipt.event.position, handed).await?;
        Ok(receipt)
    }

    /// Accepts events in order; answers when all are durable.
    pub(crate) async fn accept(
        &self,
        tenant: &TenantId,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Result<Receipt, EngineError>>, EngineError> {
        let bytes = events.iter().map(|event| event.body.len()).sum();
        let _permit = self.permit(tenant, Load { events: events.len(), bytes })?;
        let mut answers = Vec::with_capacity(events.len());
        let mut last = Position::START;
        let mut handed = Handed::to_none(&self.registry);
        for event in events {
            let answer = self.take_in(tenant, event, &mut handed).await;
            if let Ok(receipt) = &answer {
                last = last.max(receipt.event.position);
            }
            answers.push(answer);
        }
        self.make_durable(last, handed).await?;
        Ok(answers)
    }

    /// Has the cores woken and the log synced, and waits for it.
    async fn make_durable(&self, last: Position, handed: Handed<'_>) -> Result<(), EngineError> {
        failpoint::hand_over("intake.appended").await;
        let kick = if handed.is_to_none() { Kick::Here } else { Kick::Elsewhere };
        handed.wake_later(&self.log);
        if waiters::reached(&self.log, last, kick).await {
            Ok(())
        } else {
            Err(EngineError::Unavailable("the log cannot be written".into()))
        }
    }

    fn permit(&self, tenant: &TenantId, load: Load) -> Result<Permit<'_>, EngineError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(EngineError::Unavailable("the engine is stopping".into()));
        }
        let published = self.published.load();
        let none = Quotas::default();
        let quotas = published.catalog.tenant(tenant).map_or(&none, |tenant| &tenant.quotas);
        self.allowance.take(tenant, quotas, load.events, self.clock.now())?;
        self.room.take(tenant, load).map_err(|reason| {
            self.allowance.give_back(tenant, quotas, load.events);
            EngineError::Busy { reason, retry_after_seconds: 1 }
        })
    }

    /// Accepts an event of the engine's own, from a thread that must not wait; true once it is in the log, if not yet
    /// durable. False if that cannot be told yet: ask again. It needs no permit: few are under way at a time.
    pub(crate) fn accept_own(&self, tenant: &TenantId, event: &NewEvent) -> Result<bool, EngineError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(EngineError::Unavailable("the engine is stopping".into()));
        }
        let (mut passed_over, mut handed) = (Vec::new(), Handed::to_none(&self.registry));
        loop {
            let append = |event| self.append(tenant, event, &mut handed);
            match self.dedup.accept(tenant, event.clone(), self.clock.now(), &passed_over, append)? {
                Found::New(_) => break,
                Found::Before(position, _) if position > self.log.watermark().get() => return Ok(false),
                Found::Before(position, _) => match self.read_back(tenant, event, position)? {
                    Some(_) => return Ok(true),
                    None => passed_over.push(position),
                },
            }
        }
        if handed.is_to_none() {
            self.log.kick();
        }
        Ok(true)
    }

    async fn take_in(
        &self,
        tenant: &TenantId,
        mut event: NewEvent,
        handed: &mut Handed<'_>,
    ) -> Result<Receipt, EngineError> {
        let mut passed_over = Vec::new();
        loop {
            let append = |event| self.append(tenant, event, handed);
            let now = self.clock.now();
            let position = match self.dedup.accept(tenant, event, now, &passed_over, append)? {
                Found::New(receipt) => return Ok(receipt),
                Found::Before(position, not_taken) => {
                    event = not_taken;
                    position
                }
            };
            if let Some(receipt) = self.look_at(tenant, &event, position).await? {
                return Ok(receipt);
            }
            passed_over.push(position);
        }
    }

    /// What was accepted at `position`: this very event, another body under its id (refused), or a stranger whose
    /// id has the same hash.
    async fn look_at(
        &self,
        tenant: &TenantId,
        event: &NewEvent,
        position: Position,
    ) -> Result<Option<Receipt>, EngineError> {
        if !waiters::reached(&self.log, position, Kick::Here).await {
            return Err(EngineError::Unavailable("the log cannot be written".into()));
        }
        self.read_back(tenant, event, position)
    }

    fn read_back(
        &self,
        tenant: &TenantId,
        event: &NewEvent,
        position: Position,
    ) -> Result<Option<Receipt>, EngineError> {
        let record = match self.log.read_at(position) {
            Ok(record) => record,
            Err(LogError::NotFound(_)) => return Ok(None), // beyond retention
            Err(error) => return Err(error.into()),
        };
        let Ok(Fact::Accepted(owner, accepted)) = record.fact() else { return Ok(None) };
        if owner != *tenant || accepted.id != event.id {
            return Ok(None);
        }
        let digest: [u8; 32] = Sha256::digest(&event.body).into();
        if record.payload.is_none_or(|payload| payload.digest != digest) {
            return Err(EngineError::EventDiffers(event.id.to_string()));
        }
        let (at, body) = (record.at, event.body.clone());
        let event = Arc::new(AcceptedEvent { position, tenant: owner, at, accepted, body });
        Ok(Some(Receipt { event, duplicate: true }))
    }

    fn append(
        &self,
        tenant: &TenantId,
        NewEvent { id, event_type, resource, body, is_timed }: NewEvent,
        handed: &mut Handed<'_>,
    ) -> Result<Receipt, EngineError> {
        let published = self.published.load();
        let known = published.router.of(tenant);
        let routes = known.map(|known| known.to(&event_type)).unwrap_or_default();
        let at = self.clock.now();
        // Where the body has an id, the time need not tell events apart.
        let is_told_apart = is_timed || known.is_none_or(|known| known.profile.envelope.has_id());
        let moment = if is_told_apart { None } else { self.moments.give(tenant, &event_type, at) };
        let accepted = Accepted { id, event_type, resource, routes, moment };
        let record = NewRecord { payload: Some(body.clone()), ..codec::encode_accepted(&accepted) };
        let stream = known.map_or_else(|| codec::intake_of(tenant), |known| known.intake.clone());
        let core = LaneKey::of(&accepted.resource).part(self.registry.parts());
        let hub = &self.registry.hubs()[usize::from(core)];
        let has_work = !accepted.routes.is_empty();
        let (position, tenant) = (Position::START, tenant.clone());
        let mut event = Arc::new(AcceptedEvent { position, tenant, at, accepted, body });
        let append = Append { stream: &stream, expected: Expected::Any, at, records: &[record] };
        self.log.append(&[append], &mut |_, appended| {
            // Nobody else has it yet.
            if let Some(event) = Arc::get_mut(&mut event) {
                event.position = appended.first;
            }
            // Under the log's lock: the inbox has the log's order, whichever thread gets here first.
            if has_work {
                hub.post(Post::Event(Arc::clone(&event)));
            }
        })?;
        if has_work {
            handed.cores |= 1 << core;
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(Receipt { event, duplicate: false })
    }
}

/// Cores that have something in their inbox and do not know yet. They are told in any case: a client may hang up
/// between two events of its batch, and what is in the log goes out all the same.
struct Handed<'a> {
    registry: &'a Registry,
    cores: u64,
}

impl<'a> Handed<'a> {
    fn to_none(registry: &'a Registry) -> Self {
        Self { registry, cores: 0 }
    }

    fn is_to_none(&self) -> bool {
        self.cores == 0
    }

    fn hubs(&self) -> impl Iterator<Item = &Arc<Hub>> {
        let hubs = self.registry.hubs().iter().enumerate();
        hubs.filter(|(core, _)| self.cores & (1 << core) != 0).map(|(_, hub)| hub)
    }

    /// Wakes the cores when this thread's turn is over: once each, whatever else it accepts until then.
    fn wake_later(mut self, log: &Arc<dyn EventLog>) {
        waiters::wake_later(log, self.hubs());
        self.cores = 0;
    }
}

impl Drop for Handed<'_> {
    fn drop(&mut self) {
        self.hubs().for_each(|hub| hub.wake());
    }
}
