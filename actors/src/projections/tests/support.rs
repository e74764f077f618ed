//! A world that grows by real decisions: each fact comes from `decide`, is folded into a `State`, and appended.

pub(super) use super::super::*;
pub(super) use crate::{
    domain::{
        by::By,
        event::{
            Accepted, AttemptId, End, Fact, LaneEvent, Outcome, PipelineEvent, Queue, Route, TenantEvent,
        },
        id::{DeliveryId, KeyId, PipelineId, StepId, TenantId},
        outcome::OutcomeClass,
        pipeline::Command,
        retry::{Backoff, RetryPolicy},
        state::{DeliveryCounts, State},
        step::{
            Control, Header, HeaderValue, Method, OnExhausted, PipelineConfig, ResponseRules, SignatureMode,
            Status, Step, StoredKey,
        },
        time::Timestamp,
    },
    json::BodyForm,
    log::{Append, EventLog, Expected, NewRecord, codec, memory::MemoryLog},
};
use bytes::Bytes;
pub(super) use std::sync::Arc;

/// 2024-01-15T10:30:00Z
pub(super) const T0: Timestamp = Timestamp(1_705_314_600_000);

/// Engine and log in one: no actors, no network, no clock but its own.
pub(super) struct World {
    pub(super) log: Arc<MemoryLog>,
    pub(super) state: State,
    pub(super) now: Timestamp,
    pub(super) by: By,
}

pub(super) fn tenant() -> TenantId {
    TenantId::new("tenant_default")
}

pub(super) fn step(name: &str) -> Step {
    Step {
        id: StepId::new(format!("step_{name}")),
        name: format!("Send to {name}"),
        order: 1,
        url: "https://api.yourcrm.com/webhooks/afftok".into(),
        method: Method::Post,
        headers: vec![Header { name: "X-API-Key".into(), value: HeaderValue::Sealed("c2VhbGVk".into()) }],
        body_template: None,
        body_form: BodyForm::default(),
        include_id: false,
        timeout_seconds: 30,
        retry: RetryPolicy { attempts_max: 2, backoff: Backoff::Fixed { delay_ms: 5_000 } },
        stop_on_failure: false,
        signature: SignatureMode::Hmac,
        signing_key: Some(StoredKey::Sealed("c2VhbGVk".into())),
        former_keys: Vec::new(),
        ed25519: None,
        tls_ca: None,
    }
}

pub(super) fn config(trigger: &str, steps: Vec<Step>) -> PipelineConfig {
    PipelineConfig {
        name: "Conversion Notifications".into(),
        description: None,
        triggers: vec![trigger.into()],
        status: Status::Active,
        steps,
        failover_url: None,
        on_exhausted: OnExhausted::Continue,
        rules: ResponseRules::default(),
        paused_reason: None,
        control: Control::default(),
        flat: false,
    }
}

pub(super) fn outcome(class: OutcomeClass, status: Option<u16>, millis: u32) -> Outcome {
    let phases_us = [None, Some(1_000), None, Some(millis * 900), Some(10)];
    Outcome { class, status, detail: "".into(), phases_us, total_us: millis * 1_000 }
}

impl World {
    /// A world with one tenant.
    pub(super) fn new() -> Self {
        let by = By::from(KeyId::new("key_admin"));
        let mut world = Self { log: Arc::default(), state: State::default(), now: T0, by: by.clone() };
        let created = TenantEvent::TenantCreated { name: "AffTok".into(), profile: "afftok".into(), by };
        world.append(&Fact::Tenant(tenant(), created), None);
        world
    }

    pub(super) fn append(&mut self, fact: &Fact, payload: Option<Bytes>) -> Position {
        let record = NewRecord { payload, ..codec::encode(fact) };
        let stream = codec::stream_of(fact);
        let append = Append { stream: &stream, expected: Expected::Any, at: self.now, records: &[record] };
        let at = self.log.append(&[append], &mut |_, _| {}).unwrap().last;
        self.log.kick();
        self.state.evolve(at, self.now, fact);
        at
    }

    pub(super) fn pipeline(&mut self, key: &str, config: PipelineConfig) -> PipelineId {
        let id = PipelineId::new(format!("pipe_{key}"));
        let event = PipelineEvent::PipelineCreated { tenant: tenant(), config, by: self.by.clone() };
        self.append(&Fact::Pipeline(id.clone(), event), None);
        id
    }

    pub(super) fn configure(&mut self, id: &PipelineId, change: impl FnOnce(&mut PipelineConfig)) {
        let mut config = PipelineConfig::clone(self.state.pipelines[id].config());
        change(&mut config);
        let event = PipelineEvent::PipelineUpdated { config, by: self.by.clone(), rotated: None };
        self.append(&Fact::Pipeline(id.clone(), event), None);
    }

    pub(super) fn delete(&mut self, id: &PipelineId) {
        let event = PipelineEvent::PipelineDeleted { by: self.by.clone() };
        self.append(&Fact::Pipeline(id.clone(), event), None);
        for part in 0..2 {
            let event = LaneEvent::LanesCancelled { part, parts: 2 };
            self.append(&Fact::Lane(id.clone(), event), None);
        }
    }

    pub(super) fn accept(&mut self, id: &str, kind: &str, resource: &str, to: &[&PipelineId]) -> Position {
        let routes = to.iter().map(|id| {
            let pipeline = &self.state.pipelines[*id];
            let skipped = pipeline.status() == Status::Disabled;
            Route { pipeline: (*id).clone(), version: pipeline.version(), skipped }
        });
        let routes = routes.collect();
        let accepted = Accepted {
            id: id.into(),
            event_type: kind.into(),
            resource: resource.into(),
            routes,
            moment: None,
        };
        let body = Bytes::from(format!("{{\"id\":\"{id}\",\"type\":\"{kind}\",\"data\":{{}}}}"));
        self.append(&Fact::Accepted(tenant(), accepted), Some(body))
    }

    /// Asks the pipeline and appends what it decides; `excerpt` becomes the payload.
    pub(super) fn ask(
        &mut self,
        id: &PipelineId,
        command: Command<'_>,
        excerpt: Option<&str>,
    ) -> Vec<LaneEvent> {
        let events = self.state.pipelines[id].decide(command).unwrap_or_default();
        for event in &events {
            let payload = excerpt.map(|text| Bytes::copy_from_slice(text.as_bytes()));
            self.append(&Fact::Lane(id.clone(), event.clone()), payload);
        }
        events
    }

    /// Starts the next attempt, if there is one.
    pub(super) fn start(&mut self, id: &PipelineId) -> Option<AttemptId> {
        let now = self.now;
        self.state.pipelines.get_mut(id)?.wake_due(now);
        loop {
            let events = self.ask(id, Command::StartNext { now, has_room: &mut |_| true }, None);
            if let LaneEvent::AttemptStarted { attempt, .. } = events.first()? {
                return Some(*attempt);
            }
        }
    }

    /// Ends an attempt.
    pub(super) fn end(&mut self, id: &PipelineId, attempt: AttemptId, outcome: Outcome, answer: &str) {
        let now = self.now;
        let command = Command::RecordOutcome { attempt, outcome, retry_after: None, now, roll: 0.5 };
        self.ask(id, command, Some(answer));
    }

    /// Starts and ends one attempt.
    pub(super) fn attempt(&mut self, id: &PipelineId, status: u16) {
        let attempt = self.start(id).expect("something to start");
        let class = if status < 300 { OutcomeClass::Success } else { OutcomeClass::HttpError };
        self.end(id, attempt, outcome(class, Some(status), 250), "{\"received\": true}");
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, millis: u64) {
        self.now = Timestamp(self.now.0 + millis);
    }

    /// Sends a whole delivery again, out of order.
    pub(super) fn redeliver(
        &mut self,
        id: &PipelineId,
        event: Position,
        resource: &str,
        was: End,
        round: u16,
    ) {
        let command = Command::Redeliver {
            event,
            resource,
            round,
            dead_letter: None,
            others_dead: false,
            out_of_order: true,
            was,
            by: self.by.clone(),
        };
        self.ask(id, command, None);
    }
}

/// Read models in a folder of their own.
pub(super) struct Views {
    pub(super) projections: Projections,
    thread: Option<ProjectionsThread>,
    pub(super) folder: tempfile::TempDir,
}

impl Views {
    pub(super) fn of(world: &World) -> Self {
        Self::at(world, tempfile::tempdir().unwrap())
    }

    /// Those in a folder.
    pub(super) fn at(world: &World, folder: tempfile::TempDir) -> Self {
        let (projections, thread) = Projections::start(world.log.clone(), folder.path()).unwrap();
        let views = Self { projections, thread: Some(thread), folder };
        views.catch_up(world);
        views
    }

    /// Stops; the folder is left.
    pub(super) fn into_folder(self) -> tempfile::TempDir {
        self.folder
    }

    /// Stops, changes what is on disk, and starts again.
    pub(super) fn restart(&mut self, world: &World, meanwhile: impl FnOnce(&Path)) {
        self.thread = None;
        // The readers' handle must be gone too, or the database stays locked.
        let spare = tempfile::tempdir().unwrap();
        (self.projections, _) = Projections::start(world.log.clone(), spare.path()).unwrap();
        meanwhile(self.folder.path());
        let (projections, thread) = Projections::start(world.log.clone(), self.folder.path()).unwrap();
        (self.projections, self.thread) = (projections, Some(thread));
        self.catch_up(world);
    }

    /// Waits until everything is seen.
    pub(super) fn catch_up(&self, world: &World) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let durable = world.log.watermark().get();
        while !runtime.block_on(self.projections.caught_up(durable)) {}
    }

    pub(super) fn deliveries(&self, filter: &DeliveryFilter) -> Vec<Delivery> {
        let mut found = Vec::new();
        let mut request = PageRequest { limit: 7, cursor: None };
        loop {
            let page = self.projections.deliveries(&tenant(), filter, request).unwrap();
            found.extend(page.items);
            let Some(next) = page.next else { return found };
            request.cursor = Some(next);
        }
    }

    pub(super) fn count(&self) -> DeliveryCounts {
        let mut counts = DeliveryCounts::default();
        for delivery in self.deliveries(&DeliveryFilter::default()) {
            *match delivery.state {
                DeliveryState::Queued => &mut counts.queued,
                DeliveryState::InFlight => &mut counts.in_flight,
                DeliveryState::Retrying => &mut counts.retrying,
                DeliveryState::Held => &mut counts.held,
                DeliveryState::Delivered => &mut counts.delivered,
                DeliveryState::DeadLettered => &mut counts.dead_lettered,
                DeliveryState::Skipped => &mut counts.skipped,
                DeliveryState::Cancelled => &mut counts.cancelled,
            } += 1;
        }
        counts
    }
}
