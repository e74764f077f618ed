//! One turn of a worker: what was decided in it is appended together.

use super::{Effect, PipelineActor, Running, Start};
use crate::{
    domain::{
        by::By,
        dead_letter,
        delivery::{Phase, Signing},
        endpoint::breaker::Health,
        event::{AttemptId, EndpointEvent, LaneEvent, Outcome},
        id::LaneKey,
        mailbox::Target,
        pipeline::Command,
        step::{Gone, Status},
        time::Timestamp,
    },
    endpoints::Permit,
    failpoint,
    log::{Append, Expected, LogError, codec},
    worker::order::Hold,
};
use actix::{AsyncContext, Context};
use bytes::Bytes;
use std::sync::{Arc, atomic::Ordering};
use tracing::error;

/// Decisions that are appended together: the end of delivery *n* and the start of *n + 1* share one sync.
pub(super) struct Turn<'a> {
    pub(super) actor: &'a mut PipelineActor,
    ctx: &'a mut Context<PipelineActor>,
    pub(super) now: Timestamp,
    decided: Vec<(LaneEvent, Option<Bytes>)>,
    starts: Vec<(Start, Permit)>,
    /// What follows for the endpoints.
    endpoints: Vec<EndpointEvent>,
    /// The version under which a receiver said that it is gone.
    gone: Option<u32>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(actor: &'a mut PipelineActor, ctx: &'a mut Context<PipelineActor>) -> Self {
        let now = actor.core.clock.now();
        Self { actor, ctx, now, decided: Vec::new(), starts: Vec::new(), endpoints: Vec::new(), gone: None }
    }

    /// A receiver that answers 410 pauses the pipeline, if its rules say so and it is still the one that is called.
    /// From here on no part starts anything: what follows is a matter of moments.
    pub(super) fn heed(&mut self, running: &Running, attempt: AttemptId, outcome: &Outcome) {
        if outcome.status != Some(410) {
            return;
        }
        let pipeline = self.actor.state();
        let config = pipeline.config();
        let called = pipeline.mailbox().headed_by(attempt.lane, attempt.event);
        let called = called.and_then(|(_, head)| pipeline.url_of(Target::of(head)));
        let heeds = config.rules.gone == Gone::Pause && config.status == Status::Active;
        if heeds && called == Some(running.permit.url()) {
            let version = pipeline.version();
            self.actor.endpoints.shut(version);
            self.gone = Some(version);
        }
    }

    /// Writes what the former life decided of endpoints and did not get to write.
    pub(super) fn make_up(&mut self) {
        self.endpoints = self.actor.endpoints.unwritten(self.actor.core.part.0);
    }

    /// Tells the endpoint how an attempt ended.
    pub(super) fn report(&mut self, permit: Permit, health: Health, lane: LaneKey) {
        let control = &self.actor.pipeline.as_ref().map(|pipeline| Arc::clone(pipeline.config()));
        if let Some(config) = control {
            self.endpoints.extend(permit.report(health, lane, self.now, &config.control));
        }
    }

    /// Whether the delivery of an attempt has another step to take at once.
    pub(super) fn goes_on(&mut self, attempt: AttemptId) -> bool {
        let headed = self.actor.state().mailbox().headed_by(attempt.lane, attempt.event);
        headed.is_some_and(|(_, head)| head.phase == Phase::Ready)
    }

    /// Calls off what an attempt has left of its delivery.
    pub(super) fn call_off(&mut self, attempt: AttemptId) {
        let headed = self.actor.state().mailbox().headed_by(attempt.lane, attempt.event);
        let Some(resource) = headed.map(|(lane, _)| lane.resource.clone()) else { return };
        self.decide(Command::Cancel { event: attempt.event, resource: &resource, by: By::engine() });
    }

    pub(super) fn decide(&mut self, command: Command<'_>) -> bool {
        match self.actor.state().decide(command) {
            Ok(events) => {
                for event in events {
                    self.take(event, None);
                }
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn take(&mut self, event: LaneEvent, payload: Option<Bytes>) {
        self.actor.state().evolve(&event);
        self.decided.push((event, payload));
    }

    /// Starts what may start, appends everything, parks the effects, sets the timer.
    pub(super) fn finish(mut self) {
        self.start_all();
        if !self.decided.is_empty() || !self.endpoints.is_empty() {
            self.append();
        }
        self.arm();
        failpoint::hold_up("pipeline.turn", self.ctx);
    }

    fn start_all(&mut self) {
        if self.actor.hold != Hold::No {
            return;
        }
        let now = self.now;
        self.actor.state().wake_due(now);
        self.actor.deferred = None;
        let pipeline = self.actor.state();
        if !pipeline.mailbox().has_ready() {
            return;
        }
        let (config, version) = (Arc::clone(pipeline.config()), pipeline.version());
        let Some(share) = self.actor.share.clone() else { return };
        if self.actor.endpoints.is_shut(version) {
            return;
        }
        while self.actor.state().mailbox().has_ready() {
            let (mut taken, mut deferred) = (None, None);
            let PipelineActor { core, id, pipeline, endpoints, by_target, .. } = &mut *self.actor;
            let Some(pipeline) = pipeline.as_ref() else { return };
            let mut has_room = |target: Target| {
                let find = || Some(endpoints.of(pipeline.url_of(target)?));
                let Some(endpoint) = by_target.entry((version, target)).or_insert_with(find) else {
                    return false;
                };
                match endpoint.admit(core.part.0, now, &config.control) {
                    Ok(permit) if core.take_slot(permit.host(), &share, id) => taken = Some(permit),
                    Ok(_) => {}
                    Err(wait) => deferred = deferred.into_iter().chain(wait.until).min(),
                }
                taken.is_some()
            };
            let command = Command::StartNext { now, has_room: &mut has_room };
            let decided = pipeline.decide(command);
            self.actor.deferred = self.actor.deferred.into_iter().chain(deferred).min();
            let Ok(events) = decided else { return };
            if events.is_empty() {
                return;
            }
            for event in events {
                if let (LaneEvent::AttemptStarted { attempt, step, queue, .. }, Some(mut permit)) =
                    (&event, taken.take())
                {
                    let head = self.actor.state().mailbox().headed_by(attempt.lane, attempt.event);
                    let version = head.map_or(0, |(_, head)| head.entry.version);
                    let other_key = head.is_some_and(|(_, head)| head.signing == Signing::Former);
                    permit.used();
                    let (attempt, step, queue) = (*attempt, *step, *queue);
                    self.starts.push((Start { attempt, step, queue, version, other_key }, permit));
                }
                self.take(event, None);
            }
        }
    }

    fn append(&mut self) {
        let decided = std::mem::take(&mut self.decided);
        let record = |(event, payload): &(LaneEvent, Option<Bytes>)| {
            let mut record = codec::encode_lane(event);
            record.payload.clone_from(payload);
            record
        };
        let mut records: Vec<_> = decided.iter().map(record).collect();
        records.extend(self.endpoints.iter().map(codec::encode_endpoint));
        let log = Arc::clone(&self.actor.core.log);
        let attempt = |records: &[_]| {
            let append =
                Append { stream: &self.actor.stream, expected: Expected::Any, at: self.now, records };
            log.append(&[append], &mut |_, _| {})
        };
        let appended = match attempt(&records) {
            // Excerpts are the first thing to go without when the disk is full; the facts go on.
            Err(LogError::DiskFull { .. }) => {
                for record in &mut records {
                    record.payload = None;
                }
                attempt(&records)
            }
            other => other,
        };
        let appended = match appended {
            Ok(appended) => appended,
            Err(error) => {
                // The state has run ahead of a log that takes nothing more: nobody will see it.
                error!(pipeline.id = %self.actor.id, %error, "cannot append, the worker stops deciding");
                self.actor.hold = Hold::GivenUp;
                return;
            }
        };
        if !self.endpoints.is_empty() {
            self.actor.endpoints.written(self.actor.core.part.0);
        }
        let mut position = appended.first;
        for (event, _) in decided {
            if dead_letter::concerns(&event) {
                self.actor
                    .parked
                    .push_back((appended.last, Effect::Follow(Box::new((position, self.now, event)))));
            }
            position = position.next();
        }
        for (start, permit) in self.starts.drain(..) {
            let (step, queue) = (start.step, start.queue);
            self.actor.running.insert(start.attempt, Running { step, queue, permit, task: None });
            self.actor.parked.push_back((appended.last, Effect::Start(start)));
        }
        if let Some(version) = self.gone {
            self.actor.parked.push_back((appended.last, Effect::Pause(version)));
        }
        let in_flight = self.actor.running.len() as u64;
        self.actor.status.in_flight.store(in_flight, Ordering::Relaxed);
        if self.actor.parked.is_empty() {
            self.actor.core.kick_later(); // it is to be on the disk, and nothing waits for that
        } else {
            self.actor.core.park(&self.actor.id, appended.last);
        }
    }

    fn arm(&mut self) {
        let due = if self.actor.hold == Hold::No {
            self.actor.state().next_due().into_iter().chain(self.actor.deferred).min()
        } else {
            None
        };
        match (due, &self.actor.timer) {
            (Some(due), Some((armed, _))) if *armed == due => {}
            (due, _) => {
                if let Some((_, handle)) = self.actor.timer.take() {
                    self.ctx.cancel_future(handle);
                }
                self.actor.timer = due.map(|due| {
                    let wait = self.actor.core.clock.until(due);
                    let wake = |actor: &mut PipelineActor, ctx: &mut Context<PipelineActor>| {
                        failpoint::hit("pipeline.timer");
                        actor.timer = None;
                        Turn::new(actor, ctx).finish();
                    };
                    (due, self.ctx.run_later(wait, wake))
                });
            }
        }
    }
}
