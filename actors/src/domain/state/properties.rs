//! What holds for every history: random commands, outcomes, edits, pauses and crashes, on parts that hear of
//! accepted events and configurations late. A failure prints its history.

use super::*;
use crate::domain::{
    delivery::Phase,
    endpoint::breaker::{Admission, Breaker, BreakerPolicy, Health, Report},
    event::{AbandonReason, Accepted, End, EndpointEvent, LaneEvent, PipelineEvent, Route},
    id::LaneKey,
    pipeline::{Command, Rejection},
    step::{FormerKey, OnExhausted, PipelineConfig, SignatureMode, StoredKey},
    testing::{
        T0, With,
        model::{Life, Model},
        operator, outcome, pipe, pipeline, step, tenant,
    },
};
use proptest::{collection::vec, prelude::*};
use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

/// The URL of every step.
const URL: &str = "https://example.com/hook";

/// Opens with two failures, and may probe at once.
const STRICT: BreakerPolicy =
    BreakerPolicy { failures: 2, resources: 1, seconds: 0, probe_seconds: 1, probe_seconds_max: 2 };

const RESOURCES: [&str; 6] = ["c1", "c2", "c3", "c4", "c5", "c6"];

/// One thing that happens. Numbers pick among what is there.
#[derive(Clone, Debug)]
enum Op {
    Accept(usize),
    Start,
    /// Of one in flight: delivered, failed, failed for good, refused, or its task panics.
    End(usize, u8),
    Later(u16),
    Edit(PipelineConfig),
    /// A part hears of so many accepted events and configurations.
    Hear(usize, usize),
    Crash,
    Poison(usize),
    RetryDead(usize),
    Dismiss(usize),
    Redeliver(usize),
    Cancel(usize, usize),
    Skip(usize),
    Resume(usize),
    /// The pipeline is deleted.
    Delete,
    /// A part cancels its lanes.
    Close(usize),
    /// A worker is replaced by one that is folded from the log.
    Rebuild(usize),
    /// A part hears from its endpoint: that it fails, that it is alive, nothing.
    Hears(usize, u8),
    /// A part writes what it decided of the endpoint.
    Write(usize),
    /// Someone closes the breaker by hand.
    CloseBreaker,
}

fn configs() -> impl Strategy<Value = PipelineConfig> {
    let step_of = |(id, tries, stop): (u8, u16, bool)| {
        step(["a", "b", "c"][usize::from(id)]).tries(tries).with(|step| {
            step.stop_on_failure = stop;
            // One of three has its key rotated (T-6).
            if id == 0 {
                step.signature = SignatureMode::Hmac;
                let (key, until) = (StoredKey::Sealed(String::new()), T0.plus(Duration::from_mins(1)));
                step.former_keys = vec![FormerKey { key, until, fallback: true }];
            }
        })
    };
    let steps = vec((0..3_u8, 1..4_u16, any::<bool>()), 1..4);
    (steps, any::<bool>(), any::<bool>(), 0..6_u8).prop_map(move |(steps, failover, halt, status)| {
        let mut seen = BTreeSet::new();
        let steps = steps.into_iter().filter(|(id, ..)| seen.insert(*id)).map(step_of);
        pipeline(steps.collect::<Vec<_>>()).with(|config| {
            config.failover_url = failover.then(|| "https://b.example".into());
            config.on_exhausted = if halt { OnExhausted::Halt } else { OnExhausted::Continue };
            config.rules.permanent = vec![(410, 410)];
            config.status = match status {
                0 => Status::Paused,
                1 => Status::Disabled,
                _ => Status::Active,
            };
        })
    })
}

fn ops() -> impl Strategy<Value = Op> {
    let n = || 0..100_usize;
    prop_oneof![
        12 => (0..RESOURCES.len()).prop_map(Op::Accept),
        16 => Just(Op::Start),
        15 => (n(), 0..9_u8).prop_map(|(which, how)| Op::End(which, how)),
        6 => (0..3_000_u16).prop_map(Op::Later),
        2 => configs().prop_map(Op::Edit),
        12 => (n(), 1..4_usize).prop_map(|(part, many)| Op::Hear(part, many)),
        1 => Just(Op::Crash),
        1 => n().prop_map(Op::Poison),
        4 => n().prop_map(Op::RetryDead),
        1 => n().prop_map(Op::Dismiss),
        2 => n().prop_map(Op::Redeliver),
        2 => (n(), n()).prop_map(|(lane, which)| Op::Cancel(lane, which)),
        2 => n().prop_map(Op::Skip),
        2 => n().prop_map(Op::Resume),
        1 => n().prop_map(Op::Rebuild),
        6 => (n(), 0..4_u8).prop_map(|(part, how)| Op::Hears(part, how)),
        4 => n().prop_map(Op::Write),
        1 => Just(Op::CloseBreaker),
    ]
}

/// Half of the histories end with a deletion somewhere.
fn histories() -> impl Strategy<Value = (PipelineConfig, u16, Vec<Op>)> {
    let closing = vec(prop_oneof![ops(), (0..4_usize).prop_map(Op::Close)], 0..60);
    let ending = prop_oneof![Just(Vec::new()), closing.prop_map(|ops| [vec![Op::Delete], ops].concat()),];
    (configs(), 1..5_u16, vec(ops(), 0..250), ending)
        .prop_map(|(config, parts, ops, ending)| (config, parts, [ops, ending].concat()))
}

/// What a part has not heard of yet.
#[derive(Clone, Debug)]
enum News {
    Accepted(Position, String, Route),
    Config(Box<PipelineEvent>),
}

/// An engine without threads: workers with parts of one pipeline, each late in its own way.
struct Engine {
    log: Vec<Fact>,
    whole: State,
    parts: Vec<Pipeline>,
    news: Vec<VecDeque<News>>,
    dead_letters: DeadLetterQueue,
    /// The breaker of the one URL, which all parts share, and what each has decided of it and not written.
    breaker: Breaker,
    unwritten: Vec<VecDeque<EndpointEvent>>,
    now: Timestamp,
    model: Model,
}

impl Engine {
    fn new(config: PipelineConfig, parts: u16) -> Self {
        let (tenant, by) = (tenant(), operator());
        let parts = Pipeline::new(pipe(), tenant.clone(), config.clone()).split(parts);
        let mut engine = Self {
            log: Vec::new(),
            whole: State::default(),
            news: vec![VecDeque::new(); parts.len()],
            breaker: Breaker::default(),
            unwritten: vec![VecDeque::new(); parts.len()],
            parts,
            dead_letters: DeadLetterQueue::default(),
            now: T0,
            model: Model::default(),
        };
        engine.append(Fact::Pipeline(pipe(), PipelineEvent::PipelineCreated { tenant, config, by }));
        engine
    }

    fn append(&mut self, fact: Fact) -> Position {
        let position = self.whole.position.next();
        self.whole.evolve(position, self.now, &fact);
        self.log.push(fact);
        position
    }

    fn part_of(&self, resource: &str) -> usize {
        usize::from(LaneKey::of(resource).part(u16::try_from(self.parts.len()).unwrap()))
    }

    /// A part decides; what it decides comes true there at once.
    fn decide(&mut self, part: usize, command: Command<'_>) -> Result<Vec<LaneEvent>, Rejection> {
        let decided = self.parts[part].decide(command)?;
        for event in &decided {
            self.model.check(event);
            self.parts[part].evolve(event);
            self.dead_letters.evolve(&tenant(), &pipe(), event, self.now);
            self.append(Fact::Lane(pipe(), event.clone()));
        }
        self.parts[part].mailbox().assert_sound();
        Ok(decided)
    }

    fn configure(&mut self, event: &PipelineEvent) {
        self.append(Fact::Pipeline(pipe(), event.clone()));
        self.news.iter_mut().for_each(|news| news.push_back(News::Config(Box::new(event.clone()))));
    }

    fn hear(&mut self, part: usize, many: usize) {
        for _ in 0..many {
            match self.news[part].pop_front() {
                Some(News::Accepted(event, resource, route)) => {
                    self.parts[part].evolve_accepted(event, &resource, &route);
                }
                Some(News::Config(event)) => self.parts[part].evolve_config(&event),
                None => break,
            }
        }
        self.parts[part].mailbox().assert_sound();
    }

    fn hear_all(&mut self) {
        (0..self.parts.len()).for_each(|part| self.hear(part, usize::MAX));
    }

    fn act(&mut self, op: Op) {
        let parts = self.parts.len();
        match op {
            Op::Accept(resource) => self.accept(RESOURCES[resource]),
            Op::Start => (0..parts).for_each(|part| drop(self.start(part))),
            Op::End(which, how) => self.end(which, how),
            Op::Later(millis) => self.now = self.now.plus(Duration::from_millis(millis.into())),
            Op::Edit(config) => {
                self.configure(&PipelineEvent::PipelineUpdated { config, by: operator(), rotated: None });
            }
            Op::Hear(part, many) => self.hear(part % parts, many),
            Op::Crash => {
                for part in 0..parts {
                    let (now, reason) = (self.now, &AbandonReason::Crash);
                    self.decide(part, Command::Recover { now, reason, culprit: None }).unwrap();
                }
            }
            Op::Poison(which) => {
                if let Some((resource, event)) = pick(self.heads(|_| true), which) {
                    let lane = LaneKey::of(&resource);
                    let part = self.part_of(&resource);
                    self.decide(part, Command::Poison { lane, event, panic: "boom" }).unwrap();
                }
            }
            Op::RetryDead(which) => self.retry_dead(which),
            Op::Dismiss(which) => {
                let items: Vec<_> = self.dead_letters.iter().cloned().collect();
                if let Some(item) = pick(items, which) {
                    let resource = self.model.resource(item.event);
                    let (event, dead_letter, by) = (item.event, item.by_ref(), operator());
                    let command = Command::DeleteDeadLetter { event, resource: &resource, dead_letter, by };
                    self.decide(self.part_of(&resource), command).unwrap();
                }
            }
            Op::Redeliver(which) => self.redeliver(which),
            Op::Cancel(lane, which) => {
                let resource = RESOURCES[lane % RESOURCES.len()];
                let events = self.model.pending(resource);
                if let Some(event) = pick(events, which) {
                    let command = Command::Cancel { event, resource, by: operator() };
                    drop(self.decide(self.part_of(resource), command));
                }
            }
            Op::Skip(lane) => {
                let resource = RESOURCES[lane % RESOURCES.len()];
                drop(self.decide(self.part_of(resource), Command::SkipHead { resource, by: operator() }));
            }
            Op::Resume(lane) => {
                let resource = RESOURCES[lane % RESOURCES.len()];
                drop(self.decide(self.part_of(resource), Command::ResumeLane { resource, by: operator() }));
            }
            Op::Delete => self.configure(&PipelineEvent::PipelineDeleted { by: operator() }),
            Op::Close(part) => self.close(part % parts),
            Op::Rebuild(part) => self.rebuild(part % parts),
            Op::Hears(part, how) => {
                let pass = match self.breaker.admit(self.now) {
                    Admission::Under(pass) => Some(pass),
                    Admission::Free | Admission::Wait(_) => None,
                };
                let health =
                    [Health::Failing, Health::Failing, Health::Alive, Health::Silent][usize::from(how)];
                let report = Report { pass, health, lane: LaneKey(part as u64), now: self.now };
                self.unwritten[part % parts].extend(self.breaker.report(URL, report, &STRICT));
            }
            Op::Write(part) => self.write_endpoint(part % parts),
            Op::CloseBreaker => {
                let closed = self.breaker.close(URL, operator());
                closed.map(|event| self.append(Fact::Endpoint(pipe(), event)));
            }
        }
    }

    fn write_endpoint(&mut self, part: usize) {
        while let Some(event) = self.unwritten[part].pop_front() {
            self.append(Fact::Endpoint(pipe(), event));
        }
    }

    fn accept(&mut self, resource: &str) {
        // Routing knows the configuration in force, but not of a deletion.
        let entry = &self.whole.pipelines[&pipe()];
        let (version, skipped) = (entry.version(), entry.status() == Status::Disabled);
        let route = Route { pipeline: pipe(), version, skipped };
        let (id, event_type) = (format!("evt_{}", self.log.len()).into(), "t".into());
        let routes = vec![route.clone()];
        let accepted = Accepted { id, event_type, resource: resource.into(), routes, moment: None };
        let position = self.append(Fact::Accepted(tenant(), accepted));
        self.model.accept(position, resource, skipped);
        let part = self.part_of(resource);
        self.news[part].push_back(News::Accepted(position, resource.into(), route));
    }

    fn start(&mut self, part: usize) -> Vec<LaneEvent> {
        let mut all = Vec::new();
        self.parts[part].wake_due(self.now);
        loop {
            let command = Command::StartNext { now: self.now, has_room: &mut |_| true };
            match self.decide(part, command).unwrap() {
                none if none.is_empty() => return all,
                started => all.extend(started),
            }
        }
    }

    fn end(&mut self, which: usize, how: u8) {
        let Some((resource, event)) = pick(self.heads(|phase| phase == Phase::InFlight), which) else {
            return;
        };
        let (part, lane, now) = (self.part_of(&resource), LaneKey::of(&resource), self.now);
        let attempt = {
            let (lane, head) = self.parts[part].mailbox().headed_by(lane, event).unwrap();
            head.attempt(lane.key, head.number)
        };
        let command = if how == 8 {
            Command::Lost { attempt, panic: "boom", now, roll: 0.5 }
        } else {
            let outcome = outcome([200, 200, 200, 500, 500, 0, 410, 401][usize::from(how)]);
            Command::RecordOutcome { attempt, outcome, retry_after: None, now, roll: 0.5 }
        };
        self.decide(part, command).unwrap();
    }

    fn retry_dead(&mut self, which: usize) {
        let items: Vec<_> = self.dead_letters.iter().cloned().collect();
        let Some(item) = pick(items, which) else { return };
        let (event, dead_letter) = (item.event, item.by_ref());
        let pipe = pipe();
        let others_dead =
            self.dead_letters.of_delivery(&pipe, event).any(|other| other.by_ref() != dead_letter);
        let was = match self.model.deliveries[&event].state {
            Life::Pending { .. } => End::DeadLettered,
            Life::Over(end) => end,
        };
        self.send_again(event, Some(dead_letter), others_dead, was);
    }

    fn redeliver(&mut self, which: usize) {
        let over = self.model.deliveries.iter();
        let over = over.filter_map(|(event, delivery)| match delivery.state {
            // A part that has not heard of an event cannot be asked to send it again.
            Life::Over(end) if !self.is_news(*event) => Some((*event, end)),
            _ => None,
        });
        let over: Vec<_> = over.collect();
        if let Some((event, was)) = pick(over, which) {
            self.send_again(event, None, false, was);
        }
    }

    fn is_news(&self, event: Position) -> bool {
        self.news.iter().flatten().any(|news| matches!(news, News::Accepted(at, ..) if *at == event))
    }

    fn send_again(
        &mut self,
        event: Position,
        dead_letter: Option<crate::domain::event::DeadLetterRef>,
        others_dead: bool,
        was: End,
    ) {
        let resource = self.model.resource(event);
        let round = self.model.deliveries[&event].round + 1;
        let (resource, by, out_of_order) = (resource.as_str(), operator(), false);
        let command =
            Command::Redeliver { event, resource, round, dead_letter, others_dead, out_of_order, was, by };
        match self.decide(self.part_of(resource), command) {
            Ok(_) | Err(Rejection::AlreadyPending) => assert!(self.model.deliveries[&event].is_pending()),
            Err(why) => assert!(
                matches!(why, Rejection::Deleted | Rejection::StepGone | Rejection::StepsMoved),
                "{why}"
            ),
        }
    }

    /// As the engine does when a part hears of a deletion.
    fn close(&mut self, part: usize) {
        while !self.parts[part].is_deleted() && !self.news[part].is_empty() {
            self.hear(part, 1);
        }
        if self.parts[part].is_deleted() {
            self.decide(part, Command::CancelAll).unwrap();
        }
    }

    /// As the engine does after a panic: from the log, and with everything heard.
    fn rebuild(&mut self, part: usize) {
        let parts = u16::try_from(self.parts.len()).unwrap();
        self.parts[part] = self.whole.pipelines[&pipe()].clone().split(parts).swap_remove(part);
        self.news[part].clear();
        let (now, reason) = (self.now, &AbandonReason::Panic("boom".into()));
        self.decide(part, Command::Recover { now, reason, culprit: None }).unwrap();
    }

    fn heads(&self, phase: impl Fn(Phase) -> bool) -> Vec<(String, Position)> {
        let lanes = self.parts.iter().flat_map(|part| part.mailbox().lanes());
        let heads = lanes.filter_map(|lane| Some((lane.resource.to_string(), lane.head.as_ref()?)));
        let heads = heads.filter(|(_, head)| phase(head.phase));
        let mut heads: Vec<_> = heads.map(|(resource, head)| (resource, head.entry.event)).collect();
        heads.sort();
        heads
    }

    /// Everything that can still happen happens, well.
    fn finish(&mut self) {
        self.hear_all();
        let config = pipeline([step("a").tries(1)]);
        self.configure(&PipelineEvent::PipelineUpdated { config, by: operator(), rotated: None });
        self.hear_all();
        for resource in RESOURCES {
            drop(self.decide(self.part_of(resource), Command::ResumeLane { resource, by: operator() }));
        }
        (0..self.parts.len()).for_each(|part| self.close(part));
        while self.parts.iter().any(|part| part.mailbox().lanes_count() > 0) {
            let due = self.parts.iter().filter_map(Pipeline::next_due).min();
            self.now = due.unwrap_or(self.now).max(self.now);
            (0..self.parts.len()).for_each(|part| drop(self.start(part)));
            while !self.heads(|phase| phase == Phase::InFlight).is_empty() {
                self.end(0, 0);
            }
        }
    }
}

fn pick<T>(mut from: Vec<T>, which: usize) -> Option<T> {
    let index = which.checked_rem(from.len())?;
    Some(from.swap_remove(index))
}

// ---- what holds ------------------------------------------------------------------------------------------------

fn pending(counts: DeliveryCounts) -> u64 {
    counts.queued + counts.in_flight + counts.retrying + counts.held
}

fn over(counts: DeliveryCounts) -> [u64; 4] {
    [counts.delivered, counts.dead_lettered, counts.skipped, counts.cancelled]
}

/// I20, I21: the parts, each of them and added up, are what a fold of the log holds; so are the model, and the breaker
/// that the parts share, in whatever order they wrote.
fn assert_folded(engine: &mut Engine) {
    engine.hear_all();
    (0..engine.parts.len()).rev().for_each(|part| engine.write_endpoint(part));
    let mut folded = State::default();
    for fact in &engine.log {
        folded.evolve(folded.position.next(), T0, fact);
    }
    let circuits = folded.circuits.get(&pipe()).cloned().unwrap_or_default();
    if folded.catalog.pipeline(&pipe()).is_some() {
        assert_eq!(circuits.of(URL), *engine.breaker.circuit());
    }
    let whole = &folded.pipelines[&pipe()];
    let mut sum = DeliveryCounts::default();
    for part in &engine.parts {
        sum.merge(DeliveryCounts::with(part, &circuits));
    }
    assert_eq!(sum, DeliveryCounts::with(whole, &circuits));
    let (mut digest, mut counts) = (Digest::default(), DeliveryCounts::default());
    let parts = u16::try_from(engine.parts.len()).unwrap();
    for (live, part) in engine.parts.iter().zip(whole.clone().split(parts)) {
        assert_eq!(live.digest(), part.digest());
        assert_eq!(DeliveryCounts::of(live), DeliveryCounts::of(&part));
        part.mailbox().assert_sound();
        digest.merge(live.digest());
        counts.merge(DeliveryCounts::of(live));
    }
    assert_eq!((digest, counts), (whole.digest(), DeliveryCounts::of(whole)));
    assert_eq!((pending(counts), over(counts)), engine.model.counts());
    let open = folded.dead_letters.iter().map(|item| (item.event, item.step, item.round));
    assert_eq!(open.collect::<Vec<_>>(), engine.model.open());
}

fn through_image(state: &State) -> State {
    let bytes = postcard::to_stdvec(&state.to_image().unwrap()).unwrap();
    State::from_image(postcard::from_bytes(&bytes).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// I5, I7, I11, I18, I19, I20, I21
    #[test]
    fn every_history_keeps_order_and_folds_to_what_the_workers_hold((config, parts, ops) in histories()) {
        let mut engine = Engine::new(config, parts);
        for op in ops {
            engine.act(op);
        }
        assert_folded(&mut engine);
        engine.finish();
        assert_folded(&mut engine);
        prop_assert_eq!(engine.model.counts().0, 0, "everything comes to an end");
    }

    /// I21: what a snapshot brings back is the state, to the digest, and it goes on as the state would have.
    #[test]
    fn a_snapshot_brings_back_a_state_that_goes_on_alike((config, parts, ops) in histories()) {
        let mut engine = Engine::new(config, parts);
        let half = ops.len() / 2;
        let mut ops = ops.into_iter();
        ops.by_ref().take(half).for_each(|op| engine.act(op));
        let (at, mut restored) = (engine.log.len(), through_image(&engine.whole));
        prop_assert_eq!(restored.summary(), engine.whole.summary());
        ops.for_each(|op| engine.act(op));
        engine.finish();
        for fact in &engine.log[at..] {
            restored.evolve(restored.position.next(), T0, fact);
            restored.pipelines[&pipe()].mailbox().assert_sound();
        }
        let whole = &engine.whole.pipelines[&pipe()];
        prop_assert_eq!(restored.pipelines[&pipe()].digest(), whole.digest());
        prop_assert_eq!(DeliveryCounts::of(&restored.pipelines[&pipe()]), DeliveryCounts::of(whole));
        prop_assert_eq!(through_image(&restored).summary(), restored.summary());
    }
}
