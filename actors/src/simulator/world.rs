//! Everything around an engine, on one heap of happenings: clients, receivers, operators, the disk, the clocks.
//!
//! Time is in milliseconds. What the outside saw is kept ([`World::posts`], [`World::requests`]); what the log held is
//! kept beside it, and each start is compared with both.

mod clients;
mod life;
mod operators;
mod receivers;
mod trouble;

use super::{
    configs,
    engine::{Effect, Engine, LOG, Placed, Start},
    network::{Answer, Network},
    plan::{Hazard, Plan},
};
use crate::{
    domain::{
        endpoint::breaker::BreakerSetting,
        event::{AttemptId, End, Fact, LaneEvent, Next, PipelineEvent, Queue},
        id::PipelineId,
        outcome::OutcomeClass,
        pipeline::{Command, Rejection},
        step::Status,
        testing::{T0, operator, tenant},
        time::Timestamp,
    },
    log::{
        EventLog, LogError, Position,
        disk::simulated::{Fault, SimulatedDisk},
        segment::stepped,
    },
    testing::Dice,
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Names what an operator asked for.
pub(super) type Action = usize;

/// What may happen next. Those that carry a life are nothing to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// A client posts its event.
    Post(u32),
    /// It has had no answer for long.
    Impatience(u32),
    /// The log's writer works.
    Turn(u64),
    /// A part hears what others did.
    Hear(u64, PipelineId, u16),
    /// A timer, or a breaker that lets lanes back.
    Wake(u64, PipelineId, u16),
    /// A request comes to its end.
    Ended(u64, usize),
    Operator,
    Trouble(Hazard),
    /// What was in short supply is there again.
    Relief(Hazard),
    Snapshot(u64),
    Start,
    /// From here on nothing goes wrong any more.
    Calm,
    /// Lanes that wait for an operator go on.
    Resume,
}

/// A client's event.
pub(super) struct Post {
    pub(super) id: String,
    pub(super) resource: String,
    pub(super) body: Bytes,
    pub(super) first_sent: Option<u64>,
    /// When it got its first 202.
    pub(super) acknowledged: Option<u64>,
    waits: bool,
}

/// A request as its receiver saw it.
pub(super) struct Sent {
    pub(super) pipeline: PipelineId,
    pub(super) attempt: AttemptId,
    pub(super) step: u16,
    pub(super) queue: Queue,
    pub(super) body: Bytes,
    pub(super) answer: Answer,
    /// Whether the engine lived to hear the answer.
    pub(super) heard: bool,
}

/// What is known of a delivery, from facts.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) resource: String,
    pub(super) round: u16,
    pub(super) end: Option<End>,
    /// The retry that was decided last, and when, by the simulation's clock.
    retry: Option<(Timestamp, Timestamp, u64)>,
}

/// What an operator asked for.
struct Asked {
    pipeline: PipelineId,
    /// It paused the pipeline, or let it go on.
    pauses: Option<bool>,
    deletes: bool,
    /// How many answers are missing.
    missing: u32,
    life: u64,
}

/// See the module.
#[expect(clippy::struct_excessive_bools, reason = "each is a state of the world of its own")]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) dice: Dice,
    pub(super) now: u64,
    /// How far the wall clock is off.
    skew: i64,
    heap: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    pub(super) disk: SimulatedDisk,
    pub(super) engine: Option<Engine>,
    pub(super) lives: u64,
    network: Network,
    turn_is_due: bool,
    sluggish_until: u64,
    calm: bool,
    /// When something last went wrong that may hold requests up.
    disturbed: u64,
    full: bool,
    pub(super) posts: Vec<Post>,
    pub(super) requests: Vec<Sent>,
    /// The log, as far as it is known to be.
    pub(super) placed: Vec<Placed>,
    pub(super) pasts: BTreeMap<(PipelineId, Position), Past>,
    /// Everything up to here has been seen outside.
    seen: Position,
    asked: Vec<Asked>,
    /// Pipelines that were told to be still and have said that they are.
    still: BTreeSet<PipelineId>,
    /// Requests under way by lane.
    open: BTreeMap<(PipelineId, String), usize>,
    /// Hash of all that happened, for comparing runs.
    pub(super) trace: u64,
    pub(super) kills: u64,
    /// Prints every happening.
    verbose: bool,
}

impl World {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut dice = Dice::new(plan.seed);
        let network = Network::new(plan, &mut dice);
        let mut world = Self {
            plan: plan.clone(),
            dice,
            now: 0,
            skew: 0,
            heap: BTreeMap::new(),
            sequence: 0,
            disk: SimulatedDisk::default(),
            engine: None,
            lives: 0,
            network,
            turn_is_due: false,
            sluggish_until: 0,
            calm: false,
            disturbed: 0,
            full: false,
            posts: Vec::new(),
            requests: Vec::new(),
            placed: Vec::new(),
            pasts: BTreeMap::new(),
            seen: Position::START,
            asked: Vec::new(),
            still: BTreeSet::new(),
            open: BTreeMap::new(),
            trace: 0,
            kills: 0,
            verbose: std::env::var_os("SIMULATION_VERBOSE").is_some(),
        };
        world.set_up();
        world
    }

    fn set_up(&mut self) {
        self.schedule(0, Happening::Start);
        let end = u64::from(self.plan.days) * DAY;
        for number in 0..self.plan.events {
            let (resource, size) = (format!("c{}", self.dice.roll(12)), self.dice.roll(300));
            let body =
                format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(usize::try_from(size).unwrap()));
            self.posts.push(Post {
                id: format!("evt_{number}"),
                resource,
                body: body.into(),
                first_sent: None,
                acknowledged: None,
                waits: false,
            });
            // Half of them in bursts.
            let at = if self.dice.one_in(2) {
                self.dice.roll(end)
            } else {
                self.dice.roll(end / HOUR / 6) * 6 * HOUR
            };
            let at = at + 1 + self.dice.roll(2 * SECOND);
            self.schedule(at, Happening::Post(number));
        }
        for (hazard, times) in [
            (Hazard::Kills, 6),
            (Hazard::Power, 4),
            (Hazard::Disk, 3),
            (Hazard::Space, 2),
            (Hazard::Sluggish, 3),
            (Hazard::Clock, 6),
        ] {
            for _ in 0..times {
                let at = self.dice.roll(end);
                if self.plan.has(hazard) {
                    self.schedule(at, Happening::Trouble(hazard));
                }
            }
        }
        let operations = if self.plan.has(Hazard::Operators) { self.plan.events / 5 } else { 0 };
        for _ in 0..operations {
            let at = self.dice.roll(end);
            self.schedule(at, Happening::Operator);
        }
        self.schedule(end, Happening::Calm);
    }

    /// Everything, to the end.
    pub(super) fn run(&mut self) {
        let deadline = u64::from(self.plan.days) * DAY + 12 * HOUR;
        while let Some(((at, _), happening)) = self.heap.pop_first() {
            assert!(at <= deadline, "not at rest long after everything was well (I9): {happening:?}");
            self.now = self.now.max(at);
            self.note(&happening);
            self.happen(happening);
            self.settle();
        }
    }

    fn note(&mut self, happening: &Happening) {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (self.trace, self.now, self.placed.len(), format!("{happening:?}")).hash(&mut hasher);
        self.trace = hasher.finish();
        if self.verbose {
            eprintln!("{:>12} {happening:?} log {} seen {}", self.now, self.placed.len(), self.seen);
        }
    }

    fn schedule(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        self.heap.insert((at, self.sequence), happening);
    }

    fn happen(&mut self, happening: Happening) {
        if let Some(engine) = &mut self.engine {
            engine.now = self.now;
        }
        let life = self.engine.as_ref().map(|engine| engine.life);
        match happening {
            Happening::Post(number) => self.post(number),
            Happening::Impatience(number) => {
                if self.posts[number as usize].waits {
                    self.post(number);
                }
            }
            Happening::Turn(of) if Some(of) == life => self.turn(),
            Happening::Hear(of, id, part) if Some(of) == life => self.hear(&id, part),
            Happening::Wake(of, id, part) if Some(of) == life => {
                self.engine.as_mut().expect("alive").wake(&id, part);
            }
            Happening::Ended(of, request) => self.ended(of, request),
            Happening::Operator => self.operate(),
            Happening::Trouble(hazard) => self.trouble(hazard),
            Happening::Relief(Hazard::Space) => {
                (self.full, self.disturbed) = (false, self.now);
                self.disk.set_free(None);
            }
            Happening::Snapshot(of) if Some(of) == life => {
                self.engine.as_ref().expect("alive").take_snapshot();
                if !self.calm {
                    let next = self.now + HOUR + self.dice.roll(DAY);
                    self.schedule(next, Happening::Snapshot(of));
                }
            }
            Happening::Start if life.is_none() => self.start(),
            Happening::Calm => self.calm(),
            Happening::Resume => self.resume(),
            Happening::Turn(_)
            | Happening::Hear(..)
            | Happening::Wake(..)
            | Happening::Snapshot(_)
            | Happening::Start
            | Happening::Relief(_) => {}
        }
    }

    /// Takes up what the engine asked for, and sees whether it is still there.
    fn settle(&mut self) {
        if let Some(engine) = &mut self.engine {
            let wishes = engine.wishes();
            for placed in wishes.placed {
                self.learn(&placed);
                self.placed.push(placed);
            }
            for (at, happening) in wishes.happenings {
                let delay = match happening {
                    Happening::Turn(_) if std::mem::replace(&mut self.turn_is_due, true) => continue,
                    Happening::Turn(_) if self.now < self.sluggish_until => 1_000 + self.dice.roll(20_000),
                    Happening::Turn(_) => 1 + self.dice.roll(3),
                    Happening::Hear(..) if self.plan.has(Hazard::Lag) && self.dice.one_in(20) => {
                        self.dice.roll(5_000)
                    }
                    _ => 0,
                };
                self.schedule(at + delay, happening);
            }
        }
        if self.disk.is_stopped() {
            self.end_life("in the middle of an operation");
        }
    }

    /// What a fact tells of deliveries.
    fn learn(&mut self, placed: &Placed) {
        let position = Position(self.placed.len() as u64 + 1);
        learn(&mut self.pasts, position, placed, self.now);
    }
}

/// Keeps pasts up to date.
fn learn(pasts: &mut BTreeMap<(PipelineId, Position), Past>, position: Position, placed: &Placed, now: u64) {
    let (id, event) = match &placed.fact {
        Fact::Accepted(_, accepted) => {
            for route in &accepted.routes {
                let end = route.skipped.then_some(End::Skipped);
                let past = Past { resource: accepted.resource.to_string(), round: 1, end, retry: None };
                pasts.insert((route.pipeline.clone(), position), past);
            }
            return;
        }
        Fact::Lane(id, event) => (id, event),
        _ => return,
    };
    let (of, verdict) = match event {
        LaneEvent::AttemptEnded { attempt, verdict, .. }
        | LaneEvent::AttemptAbandoned { attempt, verdict, .. } => (attempt.event, verdict),
        LaneEvent::StepSettled { event, verdict, .. }
        | LaneEvent::DeliveryPoisoned { event, verdict, .. } => (*event, verdict),
        LaneEvent::Redelivered { event, redelivery, .. } => {
            let past = pasts.get_mut(&(id.clone(), *event)).expect("accepted");
            (past.round, past.end, past.retry) = (redelivery.round, None, None);
            return;
        }
        LaneEvent::DeliveryCancelled { event, .. } => {
            pasts.get_mut(&(id.clone(), *event)).expect("accepted").end = Some(End::Cancelled);
            return;
        }
        LaneEvent::HeadSkipped { event: Some(event), .. } => {
            pasts.get_mut(&(id.clone(), *event)).expect("accepted").end = Some(End::Skipped);
            return;
        }
        _ => return,
    };
    let past = pasts.get_mut(&(id.clone(), of)).expect("accepted");
    past.retry = None;
    match verdict.next {
        Next::End(end) => past.end = Some(end),
        Next::Retry(at) => past.retry = Some((placed.at, at, now)),
        _ => {}
    }
}
