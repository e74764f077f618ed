//! Facts in, debts out.

use super::*;
use crate::domain::{
    event::{AttemptId, Queue, Redelivery, Route},
    id::{KeyId, LaneKey},
    testing::{T0, operator, outcome, pipe, step, tenant, tries},
};

const SUBSCRIBER: &str = "pipe_sub";

/// Positions at which operator events were accepted begin here.
const OWN: u64 = 1_000_000;

/// A log so far, and its fold.
struct Story {
    watch: Watch,
    position: u64,
}

impl Story {
    /// A tenant with a pipeline that fails and one that is told of it.
    fn new() -> Self {
        let mut story = Self { watch: Watch::default(), position: 0 };
        let (name, profile) = ("A".into(), "afftok".into());
        story.tenant(TenantEvent::TenantCreated { name, profile, by: operator() });
        story.create(&pipe(), tries(1));
        story.create(
            &PipelineId::new(SUBSCRIBER),
            subscribing(&OperatorEvent::ALL.map(OperatorEvent::as_str)),
        );
        story
    }

    fn fact(&mut self, fact: &FactRef<'_>) -> Cause {
        self.position += 1;
        let is_own = |position: Position| position.0 >= OWN;
        self.watch.evolve(Position(self.position), T0, fact, &is_own);
        Cause(Position(self.position))
    }

    fn tenant(&mut self, event: TenantEvent) -> Cause {
        self.fact(&Fact::Tenant(tenant().as_str(), event))
    }

    fn contacts(&mut self, contacts: &[&str]) {
        let contacts = Some(contacts.iter().map(ToString::to_string).collect());
        self.tenant(TenantEvent::TenantUpdated { name: "A".into(), contacts, quotas: None, by: operator() });
    }

    fn create(&mut self, id: &PipelineId, config: PipelineConfig) {
        let created = PipelineEvent::PipelineCreated { tenant: tenant(), config, by: operator() };
        self.fact(&Fact::Pipeline(id.as_str(), created));
    }

    fn update(&mut self, id: &str, config: PipelineConfig, by: &str) -> Cause {
        let updated = PipelineEvent::PipelineUpdated { config, by: KeyId::new(by).into(), rotated: None };
        self.fact(&Fact::Pipeline(id, updated))
    }

    fn ended(&mut self, event: u64, step: StepResult, next: Next) -> Cause {
        let status = if step.is_failure() { 500 } else { 200 };
        let attempt = AttemptId { lane: LaneKey(1), event: Position(event), round: 1, number: 3 };
        let verdict =
            Verdict { step: Some(step), next, version: 1, tries: (3, 0), halt: false, stopped: false };
        let (queue, outcome) = (Queue::Primary, outcome(status));
        self.fact(&Fact::Lane(
            pipe().as_str(),
            LaneEvent::AttemptEnded { attempt, step: 0, queue, outcome, verdict },
        ))
    }

    fn exhausted(&mut self, event: u64) -> Cause {
        self.ended(event, StepResult::Exhausted, Next::End(End::DeadLettered))
    }

    fn delivered(&mut self, event: u64) -> Cause {
        self.ended(event, StepResult::Succeeded, Next::End(End::Delivered))
    }

    fn again(&mut self, event: u64, was: End) {
        let redelivery =
            Redelivery { round: 2, step: 0, only: false, others_dead: false, out_of_order: false, was };
        let (resource, version, dead_letter, by) = ("c".into(), 1, None, operator());
        let event = Position(event);
        let redelivered = LaneEvent::Redelivered { event, resource, version, redelivery, dead_letter, by };
        self.fact(&Fact::Lane(pipe().as_str(), redelivered));
    }

    fn accepted(&mut self, event_type: &str, id: &str) {
        let routes = vec![Route { pipeline: PipelineId::new(SUBSCRIBER), version: 1, skipped: false }];
        let (id, event_type, resource) = (id.into(), event_type.into(), "r".into());
        self.fact(&Fact::Accepted(
            tenant().as_str(),
            Accepted { id, event_type, resource, routes, moment: None },
        ));
    }

    fn engine(&mut self, event: EngineEvent) -> Cause {
        self.fact(&Fact::Engine(event))
    }

    fn owed(&self) -> Vec<(Cause, &'static str)> {
        self.watch.owed().map(|(cause, _, notice)| (cause, notice.what.event().as_str())).collect()
    }

    fn mails(&self) -> usize {
        self.watch.outboxes().count()
    }
}

fn subscribing(types: &[&str]) -> PipelineConfig {
    PipelineConfig { triggers: types.iter().map(ToString::to_string).collect(), ..tries(1) }
}

#[test]
fn an_exhausted_delivery_is_owed_until_its_event_is_accepted() {
    let mut story = Story::new();
    let cause = story.exhausted(7);
    assert_eq!(story.owed(), [(cause, "delivery.exhausted")]);
    story.accepted("conversion.created", &cause.id("0"));
    story.accepted("delivery.exhausted", "evt_1");
    assert_eq!(story.owed().len(), 1, "neither a producer's event nor another id settles it");
    story.accepted("delivery.exhausted", &cause.id("0"));
    assert_eq!(story.owed(), []);
}

#[test]
fn what_was_dead_lettered_recovers_once_and_what_was_not_does_not() {
    let mut story = Story::new();
    story.delivered(6);
    story.again(6, End::Delivered);
    story.delivered(6);
    assert_eq!(story.owed(), []);
    let first = story.exhausted(7);
    story.again(7, End::DeadLettered);
    let second = story.exhausted(7);
    story.again(7, End::DeadLettered);
    let third = story.delivered(7);
    story.again(7, End::Delivered);
    story.delivered(7);
    let (exhausted, recovered) = ("delivery.exhausted", "delivery.recovered");
    assert_eq!(story.owed(), [(first, exhausted), (second, exhausted), (third, recovered)]);
}

#[test]
fn a_dead_letter_that_is_called_off_does_not_recover() {
    let mut story = Story::new();
    story.exhausted(7);
    story.again(7, End::DeadLettered);
    let (event, resource, by) = (Position(7), "c".into(), operator());
    story.fact(&Fact::Lane(pipe().as_str(), LaneEvent::DeliveryCancelled { event, resource, by }));
    story.delivered(7);
    assert_eq!(story.owed().len(), 1);
}

/// No loop: an operator event that is itself exhausted, or comes through later, makes no other.
#[test]
fn operator_events_tell_nothing_of_themselves() {
    let mut story = Story::new();
    story.contacts(&["a@example.com"]);
    story.exhausted(OWN + 1);
    story.again(OWN + 1, End::DeadLettered);
    story.delivered(OWN + 1);
    assert_eq!(story.owed(), []);
    assert_eq!(story.mails(), 1, "but a mail may tell of it");
}

/// A new subscription does not bring up what is past, and an old one is told although it is gone by then.
#[test]
fn whom_a_notice_is_owed_to_is_decided_where_its_cause_stands() {
    let mut story = Story::new();
    story.update(SUBSCRIBER, subscribing(&["*", "delivery.*"]), "key_1");
    story.exhausted(7);
    assert_eq!(story.owed(), [], "patterns name no operator event");
    story.update(SUBSCRIBER, subscribing(&["delivery.exhausted"]), "key_1");
    assert_eq!(story.owed(), []);
    let cause = story.exhausted(8);
    story.fact(&Fact::Pipeline(SUBSCRIBER, PipelineEvent::PipelineDeleted { by: operator() }));
    story.exhausted(9);
    assert_eq!(story.owed(), [(cause, "delivery.exhausted")]);
}

#[test]
fn a_pipeline_fails_once_until_it_is_revived() {
    let mut story = Story::new();
    let failed = |part| EngineEvent::WorkerFailed { worker: format!("pipe_a/{part}"), reason: "boom".into() };
    let first = story.engine(failed(0));
    story.engine(failed(1));
    story.engine(EngineEvent::WorkerRevived { worker: "pipe_a".into(), by: operator() });
    let second = story.engine(failed(1));
    story.engine(EngineEvent::WorkerFailed { worker: "notices".into(), reason: "boom".into() });
    assert_eq!(story.owed(), [(first, "pipeline.failed"), (second, "pipeline.failed")]);
}

/// ATT-34: every tenant that asks is told, each for itself.
#[test]
fn a_change_of_addresses_is_told_to_each_tenant_that_names_it() {
    let mut story = Story::new();
    let (name, profile) = ("B".into(), "afftok".into());
    let other = TenantId::new("tenant_b");
    story.fact(&Fact::Tenant(other.as_str(), TenantEvent::TenantCreated { name, profile, by: operator() }));
    let (before, after) = (vec!["192.0.2.1".into()], vec!["192.0.2.2".into()]);
    let cause = story.engine(EngineEvent::EgressIpsChanged { before, after, effective_at: T0 });
    assert_eq!(story.owed(), [(cause, "egress_ips.changing")]);
}

#[test]
fn a_pause_is_told_if_the_engine_made_it() {
    let mut story = Story::new();
    let paused = || PipelineConfig { status: Status::Paused, ..tries(1) };
    story.update("pipe_a", paused(), "key_1");
    story.update("pipe_a", tries(1), "key_1");
    let cause = story.update("pipe_a", paused(), ENGINE_KEY);
    story.update("pipe_a", paused(), ENGINE_KEY);
    assert_eq!(story.owed(), [(cause, "webhook.paused")]);
}

/// SOC-44, T-42: no mail without contacts, and none to contacts that came later.
#[test]
fn mails_are_owed_to_contacts() {
    let mut story = Story::new();
    story.exhausted(7);
    assert_eq!(story.mails(), 0);
    story.contacts(&["a@example.com"]);
    assert_eq!(story.mails(), 0);
    let cause = story.exhausted(8);
    assert_eq!(story.mails(), 1);
    story.tenant(TenantEvent::NoticesMailed { through: cause.0, digest: false, beyond: 0 });
    assert_eq!(story.mails(), 0);
    story.exhausted(9);
    story.contacts(&[]);
    assert_eq!(story.mails(), 0);
}

#[test]
fn a_deleted_tenant_is_owed_nothing() {
    let mut story = Story::new();
    story.exhausted(7);
    story.tenant(TenantEvent::TenantDeleted { by: operator() });
    assert_eq!(story.owed(), []);
}

#[test]
fn a_dead_letter_names_the_step_of_the_version_that_it_was_pinned_to() {
    let mut story = Story::new();
    let renamed = PipelineConfig { steps: vec![step("b").tries(1), step("a").tries(1)], ..tries(1) };
    story.update("pipe_a", renamed, "key_1");
    story.exhausted(7);
    let (_, _, notice) = story.watch.owed().next().unwrap();
    assert!(matches!(&notice.what, What::Exhausted { step, .. } if &**step == "a"), "{notice:?}");
}

/// The kept fold goes on where it stopped.
#[test]
fn the_fold_is_kept_whole() {
    let mut story = Story::new();
    story.contacts(&["a@example.com"]);
    story.exhausted(7);
    story.again(7, End::DeadLettered);
    story.engine(EngineEvent::WorkerFailed { worker: "pipe_a/0".into(), reason: "boom".into() });
    let bytes = postcard::to_stdvec(&story.watch).unwrap();
    assert_eq!(postcard::from_bytes::<Watch>(&bytes).unwrap(), story.watch);
}
