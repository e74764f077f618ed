//! The worker of a pipeline on one engine thread: owns its part of the lanes, decides, appends, reacts.
//!
//! ```text
//!   Enqueue, Ended, Order ──> decide ──> append (order fixed) ──> evolve ──> park effects
//!                                                                               │
//!   Durable ──────────────────────────────── release ──> HTTP exchange, answer, dead letter
//! ```
//! What the outside may see waits for the disk; the inbox never does. A panic drops the state; the supervisor
//! starts the worker again on the same mailbox, and it folds its part of the log.

mod attempt;
mod ended;
mod order;
mod turn;

use crate::{
    core::{Core, Share},
    domain::{
        event::{AbandonReason, AttemptId, LaneEvent, Queue},
        id::PipelineId,
        mailbox::Target,
        pipeline::{Command, Pipeline},
        time::Timestamp,
    },
    endpoints::{Endpoint, Endpoints, Permit},
    failpoint,
    log::{Position, StreamId, replay},
    worker::{Arrival, Durable, Enqueue, Follow, Gone, Room, order::Hold, status::WorkerStatus},
};
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised,
    WrapFuture,
};
use attempt::{Ended, Endings, Lost};
use hashbrown::HashMap;
use std::{
    collections::VecDeque,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};
use tokio::{sync::oneshot, task::AbortHandle};
use tracing::{debug, error};
use turn::Turn;

/// What a part of the outside waits to see.
enum Effect {
    /// The first byte of an attempt.
    Start(Start),
    /// The answer to an order.
    Answer(oneshot::Sender<()>),
    /// A fact that concerns the dead-letter queue.
    Follow(Box<(Position, Timestamp, LaneEvent)>),
    /// The pause that follows a receiver's 410, by the version that it was asked under.
    Pause(u32),
}

struct Start {
    attempt: AttemptId,
    step: u16,
    queue: Queue,
    /// The configuration that step list and templates come from.
    version: u32,
    /// Signed with the key that is being rotated out.
    other_key: bool,
}

struct Running {
    step: u16,
    queue: Queue,
    permit: Permit,
    task: Option<AbortHandle>,
}

/// See the module.
pub struct PipelineActor {
    core: Rc<Core>,
    id: PipelineId,
    stream: StreamId,
    dead_letters: Arc<Recipient<Follow>>,
    status: Arc<WorkerStatus>,
    /// State to begin with; without one it is folded from the log.
    seed: Option<(Pipeline, Position)>,
    pipeline: Option<Pipeline>,
    /// Everything up to here was in the fold that the state began with.
    folded: Position,
    parked: VecDeque<(Position, Effect)>,
    running: HashMap<AttemptId, Running>,
    /// What its tenant holds of the core's places; there as soon as the state is.
    share: Option<Rc<Share>>,
    /// What all parts of the pipeline share.
    endpoints: Arc<Endpoints>,
    /// Those of them that targets lead to, by the configuration in force.
    by_target: HashMap<(u32, Target), Option<Arc<Endpoint>>>,
    /// When something that had to wait for its endpoint may ask again.
    deferred: Option<Timestamp>,
    gone: Arc<Recipient<Gone>>,
    timer: Option<(Timestamp, SpawnHandle)>,
    /// Set while another part of the pipeline is given up, and when the log has failed.
    hold: Hold,
    /// Attempts of this life that have ended; there as soon as it has begun.
    endings: Option<Rc<Endings>>,
}

/// What a worker is made of; crosses to its thread.
pub(crate) struct WorkerSeed {
    pub(crate) id: PipelineId,
    pub(crate) dead_letters: Arc<Recipient<Follow>>,
    pub(crate) status: Arc<WorkerStatus>,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) gone: Arc<Recipient<Gone>>,
    pub(crate) state: Option<(Pipeline, Position)>,
}

impl PipelineActor {
    /// Makes a worker on the current engine thread.
    pub(crate) fn new(seed: WorkerSeed) -> Self {
        Self {
            core: Core::current(),
            stream: StreamId::new(format!("pipeline/{}", seed.id)),
            id: seed.id,
            dead_letters: seed.dead_letters,
            status: seed.status,
            seed: seed.state,
            pipeline: None,
            folded: Position::START,
            parked: VecDeque::new(),
            running: HashMap::new(),
            share: None,
            endpoints: seed.endpoints,
            by_target: HashMap::new(),
            deferred: None,
            gone: seed.gone,
            timer: None,
            hold: Hold::No,
            endings: None,
        }
    }
}

// ---- life ------------------------------------------------------------------------------------------------------

impl Actor for PipelineActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.endings = Some(Endings::new(ctx.address().recipient()));
        let address = ctx.address();
        self.endpoints.listen(self.core.part.0, Arc::new(move || address.do_send(Room)));
        failpoint::hit("pipeline.started");
        if let Some((pipeline, folded)) = self.seed.take() {
            self.take_over(pipeline, folded, &AbandonReason::Crash, ctx);
            return;
        }
        let (log, id, part) = (Arc::clone(&self.core.log), self.id.clone(), self.core.part);
        let load = async move {
            // What the former life appended must be readable before it is folded.
            let tail = log.tail();
            log.kick();
            if !log.watermark().reached(tail).await {
                return None;
            }
            let fold = move || {
                replay::worker(&*log, &id, part, tail).map(|found| found.map(|pipeline| (pipeline, tail)))
            };
            replay::beside(fold).await
        };
        // No message is handled before the state is whole.
        ctx.wait(load.into_actor(self).map(move |loaded, this, ctx| match loaded {
            Some(Ok(Some((pipeline, folded)))) => {
                let reason = AbandonReason::Panic(this.status.last_reason().unwrap_or_default().into());
                this.take_over(pipeline, folded, &reason, ctx);
            }
            Some(Ok(None)) => ctx.stop(),
            Some(Err(error)) => panic!("cannot fold the log: {error}"),
            None => {
                error!(pipeline.id = %this.id, "the log has failed, the worker stays stopped");
                ctx.stop();
            }
        }));
    }
}

impl Supervised for PipelineActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.pipeline = None;
        // What was appended happened, panic or not; nothing else of the former life may be seen.
        self.parked.retain(|(_, effect)| matches!(effect, Effect::Follow(_)));
        self.timer = None;
        self.let_go();
    }
}

impl Drop for PipelineActor {
    fn drop(&mut self) {
        self.let_go();
        self.tell_dead_letters();
    }
}

impl PipelineActor {
    /// Tells the dead letters what the former life appended and did not get to tell: there is nobody else to do it.
    fn tell_dead_letters(&mut self) {
        for (_, effect) in std::mem::take(&mut self.parked) {
            if matches!(effect, Effect::Follow(_)) {
                self.perform(effect);
            }
        }
    }

    /// Ends what a life leaves behind: its requests and the places that they took.
    fn let_go(&mut self) {
        if let Some(share) = self.share.take() {
            for (_, running) in self.running.drain() {
                running.task.inspect(AbortHandle::abort);
                self.core.release_slot(running.permit.host(), &share, &self.id);
            }
            self.core.forgo_slots(&self.id, &share);
            self.core.leave_slots(&share);
        }
        self.status.in_flight.store(0, Ordering::Relaxed);
    }
}

impl PipelineActor {
    fn take_over(
        &mut self,
        pipeline: Pipeline,
        folded: Position,
        reason: &AbandonReason,
        ctx: &mut Context<Self>,
    ) {
        self.folded = folded;
        self.share = Some(self.core.join_slots(pipeline.tenant()));
        self.pipeline = Some(pipeline);
        self.tell_dead_letters(); // durable by now, as all that was folded
        let culprit = self.status.take_culprit();
        let poison = culprit.and_then(|(lane, event)| self.status.strike(event).then_some((lane, event)));
        let mut turn = Turn::new(self, ctx);
        turn.make_up();
        let now = turn.now;
        let guilty = culprit.map(|(_, event)| event);
        turn.decide(Command::Recover { now, reason, culprit: guilty });
        if turn.actor.state().is_deleted() {
            turn.decide(Command::CancelAll); // the process ended between the two facts of a deletion
        }
        if let (Some((lane, event)), AbandonReason::Panic(panic)) = (poison, reason) {
            turn.decide(Command::Poison { lane, event, panic });
        }
        turn.finish();
        let version = self.state().version();
        if self.endpoints.is_shut(version) {
            self.pause(version); // the former life may not have got to ask for it
        }
    }

    /// The state; handlers run only when it is there.
    fn state(&mut self) -> &mut Pipeline {
        self.pipeline.as_mut().expect("loaded before any message is handled")
    }
}

// ---- messages --------------------------------------------------------------------------------------------------

impl Handler<Enqueue> for PipelineActor {
    type Result = ();

    fn handle(&mut self, Enqueue(events): Enqueue, ctx: &mut Self::Context) {
        self.status.depth.fetch_sub(events.len() as u64, Ordering::Relaxed);
        for Arrival { event, route } in events {
            if event.position <= self.folded {
                continue; // it was in the fold already
            }
            let route = &event.accepted.routes[route];
            self.state().evolve_accepted(event.position, &event.accepted.resource, route);
            failpoint::hit("pipeline.enqueue");
        }
        Turn::new(self, ctx).finish();
    }
}

impl Handler<Room> for PipelineActor {
    type Result = ();

    fn handle(&mut self, _: Room, ctx: &mut Self::Context) {
        Turn::new(self, ctx).finish();
        if let Some(share) = &self.share {
            self.core.forgo_slots(&self.id, share);
        }
    }
}

impl Handler<Durable> for PipelineActor {
    type Result = ();

    fn handle(&mut self, Durable(durable): Durable, ctx: &mut Self::Context) {
        while self.parked.front().is_some_and(|(position, _)| *position <= durable) {
            let Some((_, effect)) = self.parked.pop_front() else { break };
            self.perform(effect);
        }
        if let Some((position, _)) = self.parked.front() {
            self.core.park(&self.id, *position);
        }
        failpoint::hold_up("pipeline.durable", ctx);
    }
}

impl PipelineActor {
    /// The one place where something leaves: no event, no effect.
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Start(start) => self.send(&start),
            Effect::Answer(answer) => drop(answer.send(())),
            Effect::Follow(fact) => {
                let (position, at, event) = *fact;
                let Some(pipeline) = &self.pipeline else { return };
                let (tenant, pipeline) = (pipeline.tenant().clone(), self.id.clone());
                self.dead_letters.do_send(Follow { position, at, tenant, pipeline, event });
            }
            Effect::Pause(version) => self.pause(version),
        }
    }

    /// Asks for the pause. All parts wait for it already; if it cannot be had, they go on as before.
    fn pause(&self, version: u32) {
        let asked = self.gone.send(Gone { pipeline: self.id.clone(), version });
        let endpoints = Arc::clone(&self.endpoints);
        actix_rt::spawn(async move {
            if !matches!(asked.await, Ok(true)) {
                endpoints.unshut();
            }
        });
    }

    fn send(&mut self, start: &Start) {
        let Some(endings) = self.endings.clone() else { return };
        if self.hold == Hold::GivenUp {
            // No byte leaves; the attempt is over before it began, and due again when the pipeline is revived.
            let lost = Lost { panic: "the pipeline was given up".into() };
            endings.report(Ended { attempt: start.attempt, result: Err(lost) });
            return;
        }
        let Some(pipeline) = &self.pipeline else { return };
        let Some(pinned) = pipeline.pinned(start.version).cloned() else { return };
        let job = attempt::Job {
            core: Rc::clone(&self.core),
            pipeline: self.id.clone(),
            pinned,
            live: Arc::clone(pipeline.config()),
            attempt: start.attempt,
            step: start.step,
            queue: start.queue,
            other_key: start.other_key,
        };
        let ticket = attempt::Ticket::new(start.attempt, endings);
        let task = attempt::spawn(job, ticket);
        if let Some(running) = self.running.get_mut(&start.attempt) {
            running.task = Some(task);
        }
    }

    /// Stops starting anything, or goes on.
    pub(crate) fn hold(&mut self, hold: Hold, ctx: &mut Context<Self>) {
        self.hold = hold;
        debug!(pipeline.id = %self.id, ?hold, "worker told to hold");
        Turn::new(self, ctx).finish();
    }
}
