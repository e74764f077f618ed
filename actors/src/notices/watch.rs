//! What is owed to whom: a fold of the log, and of nothing else.
//!
//! A notice is owed from the fact that causes it until the fact that settles it: an operator event until it is
//! accepted (its id names the cause), a mail until `NoticesMailed`. To whom it is owed is decided by the configuration
//! at the position of the cause: every start folds to the same debts, and a new subscription or contact does not bring
//! up what is long past.

use super::{
    notice::{Notice, What},
    outbox::Outbox,
};
use crate::{
    domain::{
        dead_letter::DeadLetter,
        event::{
            Accepted, End, EngineEvent, Fact, FactRef, LaneEvent, Next, PipelineEvent, StepResult,
            TenantEvent, Verdict,
        },
        id::{PipelineId, TenantId},
        operator_event::{Cause, OperatorEvent, OperatorEvents},
        step::{PipelineConfig, Status},
        time::Timestamp,
    },
    log::Position,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Answers whether the accepted event at a position is an operator event. A function of the log.
pub(super) type IsOwn<'a> = &'a dyn Fn(Position) -> bool;

/// The key under which the engine changes a configuration of its own accord.
pub(super) const ENGINE_KEY: &str = "key_engine";

/// The fold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Watch {
    position: Position,
    tenants: BTreeMap<TenantId, Account>,
    pipelines: BTreeMap<PipelineId, Source>,
    owed: BTreeMap<(Cause, TenantId), Notice>,
}

/// What is known of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Account {
    /// For people.
    pub(super) name: String,
    /// Who is mailed.
    pub(super) contacts: Vec<String>,
    /// The mails that are owed.
    pub(super) outbox: Outbox,
    /// The pipelines that name operator events.
    subscribers: BTreeMap<PipelineId, OperatorEvents>,
}

impl Account {
    fn wants(&self, event: OperatorEvent) -> bool {
        self.subscribers.values().any(|named| named.contains(event))
    }
}

/// What is known of a pipeline, where notices come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Source {
    tenant: TenantId,
    name: Arc<str>,
    version: u32,
    status: Status,
    /// Given up by the supervisor.
    failed: bool,
    /// Names of the steps, by the version that brought them: a dead letter names its step by place.
    steps: Vec<(u32, Vec<Box<str>>)>,
    /// Events that were dead-lettered, were sent again, and have not ended.
    again: BTreeSet<Position>,
}

impl Source {
    fn new(tenant: TenantId, config: &PipelineConfig) -> Self {
        let (name, steps, again) = ("".into(), Vec::new(), BTreeSet::new());
        let mut new = Self { tenant, name, version: 0, status: config.status, failed: false, steps, again };
        new.configure(config);
        new
    }

    fn configure(&mut self, config: &PipelineConfig) {
        self.version += 1;
        self.status = config.status;
        self.name = config.name.as_str().into();
        let names: Vec<Box<str>> = config.steps.iter().map(|step| step.name.as_str().into()).collect();
        if self.steps.last().is_none_or(|(_, known)| *known != names) {
            self.steps.push((self.version, names));
        }
    }

    fn step_name(&self, item: &DeadLetter) -> Box<str> {
        let names = self.steps.iter().rfind(|(version, _)| *version <= item.version);
        names.and_then(|(_, names)| names.get(usize::from(item.step))).cloned().unwrap_or_default()
    }
}

impl Watch {
    /// The last position that was folded in.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Operator events that are owed, by cause.
    pub(super) fn owed(&self) -> impl Iterator<Item = (Cause, &TenantId, &Notice)> {
        self.owed.iter().map(|((cause, tenant), notice)| (*cause, tenant, notice))
    }

    /// Whether this one is.
    pub(super) fn owes(&self, cause: Cause, tenant: &TenantId) -> bool {
        self.owed.contains_key(&(cause, tenant.clone()))
    }

    /// Tenants that a mail is owed to.
    pub(super) fn outboxes(&self) -> impl Iterator<Item = (&TenantId, &Account)> {
        self.tenants.iter().filter(|(_, account)| !account.outbox.is_empty())
    }

    /// Passes over a record that concerns nobody.
    pub(super) fn pass(&mut self, position: Position) {
        self.position = position;
    }

    /// What is now true.
    pub(super) fn evolve(
        &mut self,
        position: Position,
        at: Timestamp,
        fact: &FactRef<'_>,
        is_own: IsOwn<'_>,
    ) {
        self.position = position;
        match fact {
            Fact::Tenant(id, event) => self.tenant(at, id, event),
            Fact::Pipeline(id, event) => self.pipeline(at, id, event),
            Fact::Lane(id, event) => self.lane(at, id, event, is_own),
            Fact::Accepted(tenant, accepted) => self.accepted(tenant, accepted),
            Fact::Engine(event) => self.engine(at, event),
            Fact::Endpoint(..) => {}
        }
    }

    fn tenant(&mut self, at: Timestamp, id: &str, event: &TenantEvent) {
        match event {
            TenantEvent::TenantCreated { name, .. } => {
                let account = Account { name: name.clone(), ..Account::default() };
                self.tenants.insert(TenantId::new(id), account);
            }
            TenantEvent::TenantDeleted { .. } => {
                self.tenants.remove(id);
                self.owed.retain(|(_, tenant), _| tenant.as_str() != id);
            }
            TenantEvent::TenantUpdated { name, contacts, .. } => {
                let Some(account) = self.tenants.get_mut(id) else { return };
                account.name.clone_from(name);
                if let Some(contacts) = contacts {
                    account.contacts.clone_from(contacts);
                }
                if account.contacts.is_empty() {
                    account.outbox.clear();
                }
            }
            TenantEvent::NoticesMailed { through, digest, beyond } => {
                if let Some(account) = self.tenants.get_mut(id) {
                    account.outbox.told(at, *through, *digest, *beyond);
                }
            }
            _ => {}
        }
    }

    fn pipeline(&mut self, at: Timestamp, id: &str, event: &PipelineEvent) {
        match event {
            PipelineEvent::PipelineCreated { tenant, config, .. } => {
                self.pipelines.insert(PipelineId::new(id), Source::new(tenant.clone(), config));
                self.subscribe(tenant, id, config);
            }
            PipelineEvent::PipelineUpdated { config, by, .. } => {
                let Some(source) = self.pipelines.get_mut(id) else { return };
                let pauses = source.status != Status::Paused && config.status == Status::Paused;
                source.configure(config);
                let (tenant, name) = (source.tenant.clone(), Arc::clone(&source.name));
                if pauses && by.key.as_str() == ENGINE_KEY {
                    self.owe(&tenant, Notice::of_pipeline(at, &PipelineId::new(id), name, What::Paused));
                }
                self.subscribe(&tenant, id, config);
            }
            PipelineEvent::PipelineDeleted { .. } => {
                let Some(source) = self.pipelines.remove(id) else { return };
                if let Some(account) = self.tenants.get_mut(&source.tenant) {
                    account.subscribers.remove(id);
                }
            }
        }
    }

    fn subscribe(&mut self, tenant: &TenantId, id: &str, config: &PipelineConfig) {
        let Some(account) = self.tenants.get_mut(tenant) else { return };
        let named = OperatorEvents::among(&config.triggers);
        if named == OperatorEvents::default() {
            account.subscribers.remove(id);
        } else {
            account.subscribers.insert(PipelineId::new(id), named);
        }
    }

    fn lane(&mut self, at: Timestamp, id: &str, fact: &LaneEvent, is_own: IsOwn<'_>) {
        let Some(source) = self.pipelines.get_mut(id) else { return };
        match fact {
            LaneEvent::Redelivered { event, redelivery, .. } if redelivery.was == End::DeadLettered => {
                source.again.insert(*event);
            }
            LaneEvent::DeliveryCancelled { event, .. }
            | LaneEvent::HeadSkipped { event: Some(event), .. } => {
                source.again.remove(event);
            }
            _ => {}
        }
        let Some(Turn { event, round, number, verdict }) = Turn::of(fact) else { return };
        if let Next::End(end) = verdict.next
            && source.again.remove(&event)
            && end == End::Delivered
            && !is_own(event)
        {
            let (tenant, name) = (source.tenant.clone(), Arc::clone(&source.name));
            let what = What::Recovered { event, round, number };
            self.owe(&tenant, Notice::of_pipeline(at, &PipelineId::new(id), name, what));
        }
        if verdict.step.is_some_and(StepResult::is_failure) {
            self.exhausted(at, id, fact, is_own);
        }
    }

    fn exhausted(&mut self, at: Timestamp, id: &str, fact: &LaneEvent, is_own: IsOwn<'_>) {
        let Some((id, source)) = self.pipelines.get_key_value(id) else { return };
        let Some(item) = DeadLetter::opened_by(&source.tenant, id, fact, at) else { return };
        let (tenant, step, event) = (source.tenant.clone(), source.step_name(&item), item.event);
        let what = What::Exhausted { item: Box::new(item), step };
        let notice = Notice::of_pipeline(at, id, Arc::clone(&source.name), what);
        if let Some(account) = self.tenants.get_mut(&tenant)
            && !account.contacts.is_empty()
        {
            account.outbox.add(self.position, notice.clone());
        }
        // The exhaustion of an operator event makes no other: that could go on for ever. It may be mailed.
        if !is_own(event) {
            self.owe(&tenant, notice);
        }
    }

    fn accepted(&mut self, tenant: &str, accepted: &Accepted) {
        if OperatorEvent::parse(&accepted.event_type).is_some()
            && let Some(cause) = Cause::of_id(&accepted.id)
        {
            self.owed.remove(&(cause, TenantId::new(tenant)));
        }
    }

    fn engine(&mut self, at: Timestamp, event: &EngineEvent) {
        match event {
            EngineEvent::WorkerFailed { worker, reason } => {
                let Some((id, source)) = self.source_of(worker) else { return };
                // One of its workers is enough; the others are given up with it.
                if !std::mem::replace(&mut source.failed, true) {
                    let (tenant, name) = (source.tenant.clone(), Arc::clone(&source.name));
                    let what = What::Failed { reason: reason.as_str().into() };
                    self.owe(&tenant, Notice::of_pipeline(at, &id, name, what));
                }
            }
            EngineEvent::WorkerRevived { worker, .. } => {
                if let Some((_, source)) = self.source_of(worker) {
                    source.failed = false;
                }
            }
            EngineEvent::EgressIpsChanged { before, after, effective_at } => {
                let (before, after, effective_at) = (before.clone(), after.clone(), *effective_at);
                let what = What::EgressIps { before, after, effective_at };
                let notice = Notice { at, pipeline: None, what };
                let tenants: Vec<TenantId> = self.tenants.keys().cloned().collect();
                for tenant in &tenants {
                    self.owe(tenant, notice.clone());
                }
            }
            _ => {}
        }
    }

    /// The pipeline of `pipe_…/0`, or of `pipe_…`.
    fn source_of(&mut self, worker: &str) -> Option<(PipelineId, &mut Source)> {
        let id = PipelineId::new(worker.split('/').next()?);
        self.pipelines.get_mut(&id).map(|source| (id, source))
    }

    /// Owes a notice to a tenant, if it wants such notices.
    fn owe(&mut self, tenant: &TenantId, notice: Notice) {
        if self.tenants.get(tenant).is_some_and(|account| account.wants(notice.what.event())) {
            self.owed.insert((Cause(self.position), tenant.clone()), notice);
        }
    }
}

/// What a fact says of where a delivery stands.
struct Turn {
    event: Position,
    round: u16,
    number: u16,
    verdict: Verdict,
}

impl Turn {
    fn of(fact: &LaneEvent) -> Option<Self> {
        Some(match *fact {
            LaneEvent::AttemptEnded { attempt, verdict, .. }
            | LaneEvent::AttemptAbandoned { attempt, verdict, .. } => {
                Self { event: attempt.event, round: attempt.round, number: attempt.number, verdict }
            }
            LaneEvent::StepSettled { event, round, verdict, .. }
            | LaneEvent::DeliveryPoisoned { event, round, verdict, .. } => {
                Self { event, round, number: 0, verdict }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
