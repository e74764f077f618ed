//! One turn of a worker: what was decided in it is appended together.

use super::{Effect, PipelineActor, Running, Start};
use crate::{
    domain::{
        dead_letter, delivery::Signing, event::LaneEvent, mailbox::Target, pipeline::Command, time::Timestamp,
    },
    failpoint,
    log::{Append, Expected, LogError, codec},
    worker::order::Hold,
};
use actix::{AsyncContext, Context};
use bytes::Bytes;
use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};
use tracing::error;

/// Decisions that are appended together: the end of delivery *n* and the start of *n + 1* share one sync.
pub(super) struct Turn<'a> {
    pub(super) actor: &'a mut PipelineActor,
    ctx: &'a mut Context<PipelineActor>,
    pub(super) now: Timestamp,
    decided: Vec<(LaneEvent, Option<Bytes>)>,
    starts: Vec<Start>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(actor: &'a mut PipelineActor, ctx: &'a mut Context<PipelineActor>) -> Self {
        let now = actor.core.clock.now();
        Self { actor, ctx, now, decided: Vec::new(), starts: Vec::new() }
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
        if !self.decided.is_empty() {
            self.append();
        }
        self.arm();
    }

    fn start_all(&mut self) {
        if self.actor.hold != Hold::No {
            return;
        }
        self.actor.state().wake_due(self.now);
        loop {
            let now = self.now;
            let mut taken = None;
            let (core, id) = (Rc::clone(&self.actor.core), self.actor.id.clone());
            // The pipeline is lent to `decide`, so the hosts are looked up beforehand.
            let targets: Vec<_> = self.actor.state().mailbox().ready_targets().collect();
            let hosts: Vec<_> = targets.into_iter().map(|t| (t, self.actor.host(t))).collect();
            let mut has_room = |target: Target| {
                let Some((_, Some(host))) = hosts.iter().find(|(t, _)| *t == target) else { return false };
                let room = core.take_slot(host, &id);
                taken = room.then(|| Arc::clone(host));
                room
            };
            let command = Command::StartNext { now, has_room: &mut has_room };
            let Ok(events) = self.actor.state().decide(command) else { return };
            if events.is_empty() {
                return;
            }
            for event in events {
                if let (LaneEvent::AttemptStarted { attempt, step, queue, .. }, Some(host)) =
                    (&event, taken.take())
                {
                    let head = self.actor.state().mailbox().headed_by(attempt.lane, attempt.event);
                    let version = head.map_or(0, |(_, head)| head.entry.version);
                    let other_key = head.is_some_and(|(_, head)| head.signing == Signing::Former);
                    let (attempt, step, queue) = (*attempt, *step, *queue);
                    self.starts.push(Start { attempt, step, queue, version, other_key, host });
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
        let mut position = appended.first;
        for (event, _) in decided {
            if dead_letter::concerns(&event) {
                self.actor.parked.push_back((appended.last, Effect::Follow(position, self.now, event)));
            }
            position = position.next();
        }
        for start in self.starts.drain(..) {
            let (step, queue, host) = (start.step, start.queue, Arc::clone(&start.host));
            self.actor.running.insert(start.attempt, Running { step, queue, host, task: None });
            self.actor.parked.push_back((appended.last, Effect::Start(start)));
        }
        let in_flight = self.actor.running.len() as u64;
        self.actor.status.in_flight.store(in_flight, Ordering::Relaxed);
        self.actor.core.park(&self.actor.id, appended.last);
    }

    fn arm(&mut self) {
        let due = if self.actor.hold == Hold::No { self.actor.state().next_due() } else { None };
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
