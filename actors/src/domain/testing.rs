//! Given, when, then: stories about one pipeline, told and checked in words.
//!
//! ```text
//! given([accept(1, "conv_1"), accept(2, "conv_1")])
//!     .when(start()).then(["1#1 starts step 0"])        event 1, attempt 1
//!     .when(answer(1, 500)).then(["1#1 http_error: retry in 5s"]);
//! ```
//! A round behind the first shows as `1r2#1`. Accepted events stand where the story says; all other facts are
//! written behind position 1,000. After each sentence the indexes and counts are compared with the lanes.

pub(crate) mod model;

use super::{
    by::By,
    dead_letter::DeadLetter,
    event::{
        AbandonReason, Accepted, AttemptId, DeadLetterRef, End, Fact, LaneEvent, Next, Outcome,
        PipelineEvent, Queue, Route, StepResult, Verdict,
    },
    id::{KeyId, LaneKey, PipelineId, StepId, TenantId},
    outcome::OutcomeClass,
    pipeline::{Command, Pipeline, Rejection},
    retry::RetryPolicy,
    state::{DeliveryCounts, State},
    step::{Control, PipelineConfig, SignatureMode, Status, Step},
    time::Timestamp,
};
use crate::log::Position;
use std::{collections::HashMap, time::Duration};

/// When every story begins.
pub(crate) const T0: Timestamp = Timestamp(1_700_000_000_000);

pub(crate) fn pipe() -> PipelineId {
    PipelineId::new("pipe_a")
}

pub(crate) fn tenant() -> TenantId {
    TenantId::new("tenant_a")
}

pub(crate) fn operator() -> By {
    KeyId::new("key_operator").into()
}

/// A step with the default policy that goes on when it fails.
pub(crate) fn step(id: &str) -> Step {
    Step {
        id: StepId::new(id),
        name: id.into(),
        order: 1,
        url: "https://example.com/hook".into(),
        method: super::step::Method::Post,
        headers: Vec::new(),
        body_template: None,
        body_form: crate::json::BodyForm::default(),
        include_id: false,
        timeout_seconds: 30,
        retry: RetryPolicy::default(),
        stop_on_failure: false,
        signature: SignatureMode::None,
        signing_key: None,
        former_keys: Vec::new(),
        ed25519: None,
        tls_ca: None,
    }
}

/// A pipeline with these steps.
pub(crate) fn pipeline(steps: impl IntoIterator<Item = Step>) -> PipelineConfig {
    PipelineConfig {
        name: "a".into(),
        description: None,
        triggers: vec!["*".into()],
        status: Status::Active,
        steps: steps.into_iter().collect(),
        failover_url: None,
        on_exhausted: super::step::OnExhausted::Continue,
        rules: super::step::ResponseRules::default(),
        paused_reason: None,
        control: Control::default(),
        flat: false,
    }
}

/// A pipeline of one step with so many attempts, each a second after the last.
pub(crate) fn tries(attempts_max: u16) -> PipelineConfig {
    pipeline([step("a").tries(attempts_max)])
}

/// Changes to a value in passing.
pub(crate) trait With: Sized {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}
impl With for PipelineConfig {}
impl With for Step {}

impl Step {
    pub(crate) fn tries(mut self, attempts_max: u16) -> Self {
        self.retry = RetryPolicy { attempts_max, backoff: super::retry::Backoff::Fixed { delay_ms: 1_000 } };
        self
    }
}

/// Something that comes from outside of the pipeline.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a story is short")]
pub(crate) enum Given {
    Accept { event: u64, resource: String, version: Option<u32>, skipped: bool },
    Config(PipelineEvent),
}

/// Event `event` about `resource` is accepted for the configuration in force.
pub(crate) fn accept(event: u64, resource: &str) -> Given {
    Given::Accept { event, resource: resource.into(), version: None, skipped: false }
}

/// A new version comes into force.
pub(crate) fn update(config: PipelineConfig) -> Given {
    Given::Config(PipelineEvent::PipelineUpdated { config, by: operator(), rotated: None })
}

/// The pipeline is deleted.
pub(crate) fn delete() -> Given {
    Given::Config(PipelineEvent::PipelineDeleted { by: operator() })
}

pub(crate) type Decision = Result<Vec<LaneEvent>, Rejection>;
type Act = Box<dyn FnOnce(&Scenario) -> Decision>;

fn command(ask: impl for<'a> FnOnce(&'a Scenario) -> Command<'a> + 'static) -> Act {
    Box::new(|scenario| scenario.pipeline().decide(ask(scenario)))
}

/// May something start? There is room everywhere.
pub(crate) fn start() -> Act {
    start_if(|_| true)
}

/// May something start, with room for these targets only?
pub(crate) fn start_if(mut has_room: impl FnMut(super::mailbox::Target) -> bool + 'static) -> Act {
    Box::new(move |scenario| {
        scenario.pipeline().decide(Command::StartNext { now: scenario.now, has_room: &mut has_room })
    })
}

/// The attempt of `event` that is under way gets an answer with this status; 0 is a timeout.
pub(crate) fn answer(event: u64, status: u16) -> Act {
    answer_after(event, status, None)
}

/// And it carries `Retry-After` with so many seconds.
pub(crate) fn answer_after(event: u64, status: u16, retry_after: Option<u64>) -> Act {
    command(move |scenario| Command::RecordOutcome {
        attempt: scenario.attempt(event),
        outcome: outcome(status),
        retry_after: retry_after.map(Duration::from_secs),
        now: scenario.now,
        roll: scenario.roll,
    })
}

/// The process ends and comes back.
pub(crate) fn crash() -> Act {
    command(|scenario| Command::Recover { now: scenario.now, reason: &AbandonReason::Crash, culprit: None })
}

/// The attempt's own task panics.
pub(crate) fn lose(event: u64) -> Act {
    command(move |scenario| Command::Lost {
        attempt: scenario.attempt(event),
        panic: "boom",
        now: scenario.now,
        roll: 0.5,
    })
}

/// The event has panicked its worker too often.
pub(crate) fn poison(event: u64, resource: &'static str) -> Act {
    command(move |_| Command::Poison { lane: LaneKey::of(resource), event: Position(event), panic: "boom" })
}

/// The dead letter of this step is retried, as the dead-letter queue would ask for it.
pub(crate) fn retry(event: u64, resource: &'static str, step: u16) -> Act {
    Box::new(move |scenario| {
        let items = scenario.items(event);
        let item = items.iter().find(|item| item.step == step).expect("a dead letter").by_ref();
        let round = scenario.rounds.get(&event).map_or(2, |last| last + 1);
        let again = Again { round, others_dead: items.len() > 1, ..again(End::DeadLettered) };
        scenario.pipeline().decide(again.command(event, resource, Some(item)))
    })
}

/// The delivery is sent once more.
pub(crate) fn redeliver(event: u64, resource: &'static str, again: Again) -> Act {
    command(move |_| again.command(event, resource, None))
}

/// What the engine knows of a delivery that is to be sent again.
#[derive(Clone, Copy)]
pub(crate) struct Again {
    pub(crate) round: u16,
    pub(crate) others_dead: bool,
    pub(crate) was: End,
}

/// A second round.
pub(crate) fn again(was: End) -> Again {
    Again { round: 2, others_dead: false, was }
}

impl Again {
    pub(crate) fn command(
        self,
        event: u64,
        resource: &str,
        dead_letter: Option<DeadLetterRef>,
    ) -> Command<'_> {
        let Self { round, others_dead, was } = self;
        let (event, by) = (Position(event), operator());
        Command::Redeliver { event, resource, round, dead_letter, others_dead, out_of_order: false, was, by }
    }
}

/// The dead letter of this step is dismissed.
pub(crate) fn dismiss(event: u64, resource: &'static str, step: u16) -> Act {
    command(move |scenario| {
        let items = scenario.items(event);
        let dead_letter = items.iter().find(|item| item.step == step).expect("a dead letter").by_ref();
        Command::DeleteDeadLetter { event: Position(event), resource, dead_letter, by: operator() }
    })
}

pub(crate) fn cancel(event: u64, resource: &'static str) -> Act {
    command(move |_| Command::Cancel { event: Position(event), resource, by: operator() })
}

pub(crate) fn skip(resource: &'static str) -> Act {
    command(move |_| Command::SkipHead { resource, by: operator() })
}

pub(crate) fn resume(resource: &'static str) -> Act {
    command(move |_| Command::ResumeLane { resource, by: operator() })
}

pub(crate) fn cancel_all() -> Act {
    command(|_| Command::CancelAll)
}

/// How an exchange with this status ended; 0 is a timeout, 1 a template error.
pub(crate) fn outcome(status: u16) -> Outcome {
    let class = match status {
        0 => OutcomeClass::Timeout,
        1 => OutcomeClass::TemplateError,
        200..300 => OutcomeClass::Success,
        _ => OutcomeClass::HttpError,
    };
    let status = (status >= 100).then_some(status);
    Outcome { class, status, detail: "".into(), phases_us: [None; 5], total_us: 0 }
}

/// A story so far.
pub(crate) struct Scenario {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    /// What the dice show.
    pub(crate) roll: f64,
    facts: u64,
    decision: Decision,
    /// The last round of each event that was sent again.
    rounds: HashMap<u64, u16>,
}

/// A story about a pipeline of one step with the default policy.
pub(crate) fn given(facts: impl IntoIterator<Item = Given>) -> Scenario {
    given_pipeline(pipeline([step("a")]), facts)
}

/// A story about this pipeline.
pub(crate) fn given_pipeline(config: PipelineConfig, facts: impl IntoIterator<Item = Given>) -> Scenario {
    let mut scenario = Scenario {
        state: State::default(),
        now: T0,
        roll: 0.5,
        facts: 1_000,
        decision: Ok(Vec::new()),
        rounds: HashMap::new(),
    };
    scenario.and(Given::Config(PipelineEvent::PipelineCreated { tenant: tenant(), config, by: operator() }));
    for fact in facts {
        scenario.and(fact);
    }
    scenario
}

impl Scenario {
    /// Something else happens outside.
    pub(crate) fn and(&mut self, given: Given) -> &mut Self {
        match given {
            Given::Config(event) => self.write(&Fact::Pipeline(pipe(), event)),
            Given::Accept { event, resource, version, skipped } => {
                let version = version.unwrap_or_else(|| self.pipeline().version());
                let routes = vec![Route { pipeline: pipe(), version, skipped }];
                let (id, event_type) = (format!("evt_{event}").into(), "conversion.created".into());
                let accepted = Accepted { id, event_type, resource: resource.into(), routes, moment: None };
                self.state.evolve(Position(event), self.now, &Fact::Accepted(tenant(), accepted));
            }
        }
        self
    }

    /// Time passes.
    pub(crate) fn later(&mut self, seconds: u64) -> &mut Self {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self
    }

    /// The pipeline is asked, and what it decides comes true.
    pub(crate) fn when(&mut self, act: Act) -> &mut Self {
        let now = self.now;
        self.state.pipelines.get_mut(&pipe()).unwrap().wake_due(now);
        self.decision = act(self);
        for event in self.facts() {
            if let LaneEvent::Redelivered { event, redelivery, .. } = &event {
                self.rounds.insert(event.0, redelivery.round);
            }
            self.write(&Fact::Lane(pipe(), event));
        }
        self.pipeline().mailbox().assert_sound();
        self
    }

    /// What it decided, in words.
    #[track_caller]
    pub(crate) fn then<const N: usize>(&mut self, told: [&str; N]) -> &mut Self {
        assert_eq!(self.told(), told);
        self
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.decision.as_ref().unwrap().iter().map(|event| tell(event, self.now)).collect()
    }

    /// What it decided.
    pub(crate) fn facts(&self) -> Vec<LaneEvent> {
        self.decision.clone().unwrap_or_default()
    }

    /// Why it refused.
    #[track_caller]
    pub(crate) fn refused(&mut self, why: &Rejection) -> &mut Self {
        assert_eq!(self.decision.as_ref(), Err(why));
        self
    }

    /// Deliveries by state; only those that are not zero.
    #[track_caller]
    pub(crate) fn counts(&mut self, expected: &str) -> &mut Self {
        assert_eq!(tell_counts(DeliveryCounts::of(self.pipeline())), expected);
        self
    }

    /// Open dead letters, as `event/step/round`.
    #[track_caller]
    pub(crate) fn dead_letters<const N: usize>(&mut self, expected: [&str; N]) -> &mut Self {
        let items = self.state.dead_letters.iter();
        let items: Vec<_> = items.map(|i| format!("{}/{}/{}", i.event, i.step, i.round)).collect();
        assert_eq!(items, expected);
        self
    }

    /// Everything goes on by itself, each attempt answered at once, until nothing is left to do. What was
    /// decided, with the seconds since the beginning of the story.
    pub(crate) fn run(&mut self, mut answers: impl FnMut(&AttemptId, u16, Queue) -> u16) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            self.when(start());
            let decided = self.decision.clone().unwrap();
            let Some(event) = decided.first() else {
                let Some(due) = self.pipeline().next_due() else { return told };
                self.now = due;
                continue;
            };
            told.push(self.tell_at(event));
            if let LaneEvent::AttemptStarted { attempt, step, queue, .. } = event {
                self.when(answer(attempt.event.0, answers(attempt, *step, *queue)));
                told.extend(self.decision.iter().flatten().map(|event| self.tell_at(event)));
            }
        }
    }

    /// As [`Scenario::run`], but only what was started.
    pub(crate) fn starts(&mut self, answers: impl FnMut(&AttemptId, u16, Queue) -> u16) -> Vec<String> {
        let mut told = self.run(answers);
        told.retain(|line| line.contains(" starts "));
        told
    }

    fn tell_at(&self, event: &LaneEvent) -> String {
        format!("{}s {}", self.now.since(T0).as_secs(), tell(event, self.now))
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.state.pipelines[&pipe()]
    }

    fn items(&self, event: u64) -> Vec<DeadLetter> {
        self.state.dead_letters.of_delivery(&pipe(), Position(event)).cloned().collect()
    }

    /// The attempt of `event` that started last.
    pub(crate) fn attempt(&self, event: u64) -> AttemptId {
        let lanes = self.pipeline().mailbox().lanes();
        let mut heads = lanes.filter_map(|lane| Some((lane.key, lane.head.as_ref()?)));
        let (key, head) = heads.find(|(_, head)| head.entry.event == Position(event)).expect("a head");
        head.attempt(key, head.number)
    }

    pub(crate) fn write(&mut self, fact: &Fact) {
        self.facts += 1;
        self.state.evolve(Position(self.facts), self.now, fact);
    }
}

/// A fact in words.
pub(crate) fn tell(event: &LaneEvent, now: Timestamp) -> String {
    match event {
        LaneEvent::AttemptStarted { attempt, step, queue, .. } => {
            format!(
                "{} starts step {step}{}",
                name(attempt),
                if *queue == Queue::Failover { " failover" } else { "" }
            )
        }
        LaneEvent::AttemptEnded { attempt, outcome, verdict, .. } => {
            let class = serde_json::to_string(&outcome.class).unwrap();
            format!("{} {}: {}", name(attempt), class.trim_matches('"'), tell_verdict(verdict, now))
        }
        LaneEvent::AttemptAbandoned { attempt, reason, verdict, .. } => {
            let reason = match reason {
                AbandonReason::Crash => "crash",
                AbandonReason::Panic(text) => text,
            };
            format!("{} {reason}: {}", name(attempt), tell_verdict(verdict, now))
        }
        LaneEvent::StepSettled { event, step, verdict, .. } => {
            format!("{event} settles step {step}: {}", tell_verdict(verdict, now))
        }
        LaneEvent::DeliveryPoisoned { event, detail, verdict, .. } => {
            format!("{event} poisoned by {detail}: {}", tell_verdict(verdict, now))
        }
        LaneEvent::Redelivered { event, version, redelivery, .. } => {
            format!("{event}r{} again from step {} of version {version}", redelivery.round, redelivery.step)
        }
        LaneEvent::DeadLetterDeleted { event, dead_letter: DeadLetterRef { step, round, .. }, .. } => {
            format!("{event}/{step}/{round} dismissed")
        }
        LaneEvent::DeliveryCancelled { event, .. } => format!("{event} cancelled"),
        LaneEvent::HeadSkipped { event: Some(event), .. } => format!("{event} skipped"),
        LaneEvent::HeadSkipped { event: None, resource, .. } => format!("{resource} goes on"),
        LaneEvent::LaneResumed { resource, .. } => format!("{resource} resumes"),
        LaneEvent::LanesCancelled { part, parts } => format!("part {part} of {parts} cancelled"),
    }
}

fn name(attempt: &AttemptId) -> String {
    let round = if attempt.round > 1 { format!("r{}", attempt.round) } else { String::new() };
    format!("{}{round}#{}", attempt.event, attempt.number)
}

fn tell_verdict(verdict: &Verdict, now: Timestamp) -> String {
    let step = match verdict.step {
        None => "",
        Some(StepResult::Succeeded) => "succeeded, ",
        Some(StepResult::FailedOver) => "failed over, ",
        Some(StepResult::Exhausted) => "exhausted, ",
        Some(StepResult::Permanent) => "permanent, ",
        Some(StepResult::Skipped) => "step skipped, ",
    };
    let next = match verdict.next {
        Next::Retry(at) => format!("retry in {:?}", at.since(now)),
        Next::OtherKey => "try the other key".into(),
        Next::FailOver => "fail over".into(),
        Next::Step(step) => format!("go to step {step}"),
        Next::End(End::Delivered) => "delivered".into(),
        Next::End(End::DeadLettered) => "dead-lettered".into(),
        Next::End(End::Skipped) => "skipped".into(),
        Next::End(end) => format!("{end:?}"),
    };
    format!("{step}{next}{}", if verdict.halt { ", halt" } else { "" })
}

fn tell_counts(counts: DeliveryCounts) -> String {
    let DeliveryCounts { queued, in_flight, retrying, held, delivered, dead_lettered, skipped, cancelled } =
        counts;
    let named = [
        (queued, "queued"),
        (in_flight, "in flight"),
        (retrying, "retrying"),
        (held, "held"),
        (delivered, "delivered"),
        (dead_lettered, "dead"),
        (skipped, "skipped"),
        (cancelled, "cancelled"),
    ];
    let told = named.iter().filter(|(n, _)| *n > 0).map(|(n, name)| format!("{n} {name}"));
    told.collect::<Vec<_>>().join(", ")
}
