//! Whether every fact was allowed when it came, by rules that are written here a second time: the engine's own code
//! decided these facts, so it cannot be their judge.

use ledgerhook_actors::{
    domain::{
        event::{
            AttemptId, EndpointEvent, EngineEvent, Fact, LaneEvent, Next, Outcome, PipelineEvent,
            TenantEvent, Verdict,
        },
        id::{LaneKey, PipelineId, TenantId},
        operator_event::{Cause, OperatorEvent},
        step::PipelineConfig,
        time::Timestamp,
    },
    log::Position,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

/// Problems that are kept; a broken writer would fill the screen.
const PROBLEMS_MAX: usize = 100;

/// The open deliveries, and what is wrong so far.
pub(crate) struct Transitions {
    first: Position,
    open: HashMap<(PipelineId, Position), Open>,
    /// The one attempt under way in a lane.
    flights: HashMap<(PipelineId, LaneKey), AttemptId>,
    deleted: HashSet<PipelineId>,
    /// What operator events have told, and whom.
    causes: HashSet<(TenantId, Cause)>,
    /// Published addresses: before and after their last change; unknown where the log's beginning is gone.
    published: Option<[Vec<String>; 2]>,
    /// Until when a pipeline signs with a key that was rotated out.
    overlaps: HashMap<PipelineId, Timestamp>,
    /// Changes of circuit breakers by URL and number, and where they stand.
    endpoints: BTreeMap<(PipelineId, Box<str>), Changes>,
    problems: Vec<Problem>,
}

/// What is wrong with the log, and where.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = LogProblem)]
pub(crate) struct Problem {
    position: Position,
    problem: String,
}

impl Problem {
    pub(crate) fn new(position: Position, problem: impl Into<String>) -> Self {
        Self { position, problem: problem.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "position {}: {}", self.position, self.problem)
    }
}

/// The changes of one circuit breaker by their number.
type Changes = BTreeMap<u64, (Position, EndpointEvent)>;

/// How far an open delivery has come.
#[derive(Clone, Copy)]
struct Open {
    round: u16,
    number: u16,
    /// The attempt that is due or under way is signed with a key that was rotated out.
    other_key: bool,
}

impl Transitions {
    /// For a log whose first record is `first`.
    pub(crate) fn new(first: Position) -> Self {
        let (open, flights, deleted, causes, overlaps, endpoints) = Default::default();
        let published = (first <= Position(1)).then(Default::default);
        Self { first, open, flights, deleted, causes, published, overlaps, endpoints, problems: Vec::new() }
    }

    /// What was wrong, in order.
    pub(crate) fn problems(mut self) -> Vec<Problem> {
        self.check_endpoints();
        self.problems
    }

    /// Takes the next fact, and when it was written.
    pub(crate) fn check(&mut self, position: Position, time: Timestamp, fact: &Fact) {
        match fact {
            Fact::Accepted(tenant, accepted) => {
                if OperatorEvent::parse(&accepted.event_type).is_some() {
                    self.told(position, tenant, &accepted.id);
                }
                for route in accepted.routes.iter().filter(|route| !route.skipped) {
                    let new = Open { round: 1, number: 0, other_key: false };
                    self.open.insert((route.pipeline.clone(), position), new);
                }
            }
            Fact::Pipeline(id, PipelineEvent::PipelineDeleted { .. }) => {
                self.deleted.insert(id.clone());
            }
            Fact::Pipeline(
                id,
                PipelineEvent::PipelineCreated { config, .. } | PipelineEvent::PipelineUpdated { config, .. },
            ) => self.configure(id, config),
            Fact::Lane(id, event) => {
                self.other_key(position, time, id, event);
                self.lane(position, id, event);
            }
            Fact::Engine(EngineEvent::EgressIpsChanged { before, after, .. }) => {
                let follows = self.published.as_ref().is_none_or(|lists| lists.contains(before));
                self.require(follows, position, || {
                    "published addresses change from others than there were".into()
                });
                self.published = Some([before.clone(), after.clone()]);
            }
            Fact::Endpoint(id, event) => self.endpoint(position, id, event),
            Fact::Tenant(id, TenantEvent::NoticesMailed { through, .. }) => {
                self.require(*through < position, position, || {
                    format!("`{id}` is mailed of what comes later")
                });
            }
            Fact::Tenant(id, TenantEvent::PayloadsErased { through, .. }) => {
                self.require(*through < position, position, || format!("`{id}` erases what comes later"));
            }
            Fact::Tenant(id, TenantEvent::EventErased { events, .. }) => {
                let earlier = events.iter().all(|event| *event < position);
                self.require(earlier, position, || format!("`{id}` erases what comes later"));
            }
            Fact::Engine(EngineEvent::ErasureFinished { erasure, .. }) => {
                self.require(*erasure < position, position, || "an erasure ends before it begins".into());
            }
            Fact::Tenant(..) | Fact::Engine(_) => {}
        }
    }

    /// One cause makes one operator event of a tenant, and stands before it.
    fn told(&mut self, at: Position, tenant: &TenantId, id: &str) {
        let cause = Cause::of_id(id);
        self.require(cause.is_some_and(|cause| cause.0 < at), at, || {
            format!("operator event `{id}` has no cause before it")
        });
        let once = cause.is_none_or(|cause| self.causes.insert((tenant.clone(), cause)));
        self.require(once, at, || format!("operator event `{id}` is accepted a second time"));
    }

    fn configure(&mut self, pipeline: &PipelineId, config: &PipelineConfig) {
        let former = config.steps.iter().flat_map(|step| &step.former_keys);
        match former.map(|former| former.until).max() {
            Some(until) => self.overlaps.insert(pipeline.clone(), until),
            None => self.overlaps.remove(pipeline),
        };
    }

    /// T-6: a request is sent again with the other key only where there is one, once, and because it was refused.
    fn other_key(&mut self, at: Position, time: Timestamp, pipeline: &PipelineId, event: &LaneEvent) {
        let (attempt, outcome, verdict) = match event {
            LaneEvent::AttemptEnded { attempt, outcome, verdict, .. } => (attempt, Some(outcome), verdict),
            LaneEvent::AttemptAbandoned { attempt, verdict, .. } => (attempt, None, verdict),
            _ => return,
        };
        let turns = verdict.next == Next::OtherKey;
        let Some(open) = self.open.get_mut(&(pipeline.clone(), attempt.event)) else { return };
        let had_turned = std::mem::replace(&mut open.other_key, turns);
        if !turns {
            return;
        }
        let event = attempt.event;
        let refused = outcome.is_some_and(Outcome::is_refusal);
        self.require(refused, at, || format!("event {event} tries the other key and was not refused"));
        self.require(!had_turned, at, || format!("event {event} tries the other key twice"));
        let overlaps = self.overlaps.get(pipeline).is_some_and(|until| time < *until);
        self.require(overlaps, at, || format!("event {event} tries another key where there is none"));
    }

    fn lane(&mut self, at: Position, pipeline: &PipelineId, event: &LaneEvent) {
        match event {
            LaneEvent::AttemptStarted { attempt, .. } => self.start(at, pipeline, *attempt),
            LaneEvent::AttemptEnded { attempt, verdict, .. }
            | LaneEvent::AttemptAbandoned { attempt, verdict, .. } => {
                let flight = self.flights.remove(&(pipeline.clone(), attempt.lane));
                self.require(flight == Some(*attempt), at, || {
                    format!(
                        "attempt {} of event {} ends and was not under way",
                        attempt.number, attempt.event
                    )
                });
                self.verdict(pipeline, attempt.event, *verdict);
            }
            LaneEvent::StepSettled { event, verdict, .. } => {
                self.must_be_open(at, pipeline, *event);
                self.verdict(pipeline, *event, *verdict);
            }
            LaneEvent::DeliveryPoisoned { event, lane, verdict, .. } => {
                self.must_be_open(at, pipeline, *event);
                self.flights.remove(&(pipeline.clone(), *lane));
                self.verdict(pipeline, *event, *verdict);
            }
            LaneEvent::Redelivered { event, redelivery, .. } => {
                let open = Open { round: redelivery.round, number: 0, other_key: false };
                let before = self.open.insert((pipeline.clone(), *event), open);
                self.require(before.is_none(), at, || {
                    format!("event {event} is sent again and had not ended")
                });
                self.require(redelivery.round > 1, at, || format!("event {event} is sent again as round 1"));
            }
            LaneEvent::DeliveryCancelled { event, .. } => {
                self.must_be_open(at, pipeline, *event);
                self.open.remove(&(pipeline.clone(), *event));
            }
            LaneEvent::HeadSkipped { event: Some(event), .. } => {
                self.open.remove(&(pipeline.clone(), *event));
            }
            LaneEvent::LanesCancelled { .. } => {
                let deleted = self.deleted.contains(pipeline);
                self.require(deleted, at, || format!("`{pipeline}` cancels its lanes and was not deleted"));
            }
            LaneEvent::DeadLetterDeleted { .. }
            | LaneEvent::LaneResumed { .. }
            | LaneEvent::HeadSkipped { event: None, .. } => {}
        }
    }

    /// Facts about one URL come from several threads and may have changed places in the log; each change has a
    /// number of its own. What they must be in the order of those numbers is checked at the end of the log.
    fn endpoint(&mut self, at: Position, pipeline: &PipelineId, event: &EndpointEvent) {
        let changes = self.endpoints.entry((pipeline.clone(), event.url().into())).or_default();
        let twice = changes.insert(event.change(), (at, event.clone())).is_some();
        self.require(!twice, at, || {
            format!("change {} of `{}` is written twice", event.change(), event.url())
        });
    }

    /// An opening begins with no probe, and each that stays open counts one more; what is closed was open.
    fn check_endpoints(&mut self) {
        for (_, changes) in std::mem::take(&mut self.endpoints) {
            // Of changes before the log's beginning nothing is known.
            let mut probes = None;
            let mut last = None;
            for (change, (at, event)) in changes {
                let known = last == Some(change - 1) || (change == 1 && last.is_none());
                let fits = match &event {
                    EndpointEvent::EndpointOpened { opening, .. } => {
                        let expected = probes.map_or(0, |probes: u32| probes + 1);
                        !known || opening.probes == expected
                    }
                    EndpointEvent::EndpointClosed { .. } => !known || probes.is_some(),
                };
                self.require(fits, at, || {
                    format!("change {change} of `{}` does not follow from the one before", event.url())
                });
                probes = match &event {
                    EndpointEvent::EndpointOpened { opening, .. } => Some(opening.probes),
                    EndpointEvent::EndpointClosed { .. } => None,
                };
                last = Some(change);
            }
        }
    }

    fn start(&mut self, at: Position, pipeline: &PipelineId, attempt: AttemptId) {
        let AttemptId { lane, event, round, number } = attempt;
        let before = self.flights.insert((pipeline.clone(), lane), attempt);
        self.require(before.is_none(), at, || format!("two attempts under way in one lane of `{pipeline}`"));
        let deleted = self.deleted.contains(pipeline);
        self.require(!deleted, at, || format!("an attempt in `{pipeline}`, which was deleted"));
        self.must_be_open(at, pipeline, event);
        let Some(open) = self.open.get_mut(&(pipeline.clone(), event)) else { return };
        let follows = (open.round, open.number + 1) == (round, number);
        open.number = number;
        self.require(follows, at, || {
            format!("attempt {number} of round {round} of event {event} is out of turn")
        });
    }

    fn verdict(&mut self, pipeline: &PipelineId, event: Position, verdict: Verdict) {
        if matches!(verdict.next, Next::End(_)) {
            self.open.remove(&(pipeline.clone(), event));
        }
    }

    /// Of events from before the log's beginning nothing is known.
    fn must_be_open(&mut self, at: Position, pipeline: &PipelineId, event: Position) {
        let fits = event < self.first || self.open.contains_key(&(pipeline.clone(), event));
        self.require(fits, at, || format!("event {event} goes on in `{pipeline}` and is not open there"));
    }

    fn require(&mut self, holds: bool, at: Position, what: impl FnOnce() -> String) {
        if !holds && self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem::new(at, what()));
        }
    }
}
