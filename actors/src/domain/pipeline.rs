//! One pipeline: what to do next (`decide`), what is now true (`evolve`), when to look again (`next_due`).
//!
//! The lanes of a busy pipeline are dealt to several workers by [`LaneKey::part`]; each holds a `Pipeline` with
//! its part of the lanes and decides for them alone. A fold from zero holds all of them in one. What a fact does
//! to lanes therefore never depends on what lies in another part, nor on the configuration in force: the decision
//! is in the fact. Accepted events and configurations come to a part from other threads, each kind in the order
//! of the log, but later than their place in it: facts of the part's own may have overtaken them.
//!
//! A part is a function of the log: folding everything and splitting gives the part that lived through it.

use super::{
    by::By,
    delivery::{Head, Phase, Signing, Waiting},
    digest::Digest,
    event::{
        AbandonReason, AttemptId, DeadLetterRef, End, LaneEvent, Next, Outcome, PipelineEvent, Queue,
        Redelivery, Route, StepResult, Verdict,
    },
    id::{LaneKey, PipelineId, TenantId},
    mailbox::{Lane, Mailbox, Target},
    outcome::OutcomeClass,
    step::{PipelineConfig, Status, Step},
    time::Timestamp,
};
use crate::log::Position;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How far ahead a receiver's `Retry-After` is followed: one day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// A question to a pipeline. Carries what the domain may not fetch itself: time, chance, room.
pub enum Command<'a> {
    /// May something start? Answers for one lane at a time.
    StartNext { now: Timestamp, has_room: &'a mut dyn FnMut(Target) -> bool },
    /// An attempt has ended.
    RecordOutcome {
        attempt: AttemptId,
        outcome: Outcome,
        retry_after: Option<Duration>,
        now: Timestamp,
        roll: f64,
    },
    /// Attempts under way are nobody's any more: after a crash, or a panic of the worker.
    Recover { now: Timestamp, reason: &'a AbandonReason, culprit: Option<Position> },
    /// One attempt was lost by a panic of its own task.
    Lost { attempt: AttemptId, panic: &'a str, now: Timestamp, roll: f64 },
    /// A delivery that panics its worker is put aside.
    Poison { lane: LaneKey, event: Position, panic: &'a str },
    /// Back into its lane, for another round.
    Redeliver {
        event: Position,
        resource: &'a str,
        /// Number of the new round.
        round: u16,
        /// The item to retry; `None` sends the whole delivery again.
        dead_letter: Option<DeadLetterRef>,
        /// Whether other items of the delivery stay open.
        others_dead: bool,
        /// Whether a later event of the resource was delivered before, as far as the caller knows: one that has begun is
        /// known here.
        out_of_order: bool,
        /// The terminal state that it leaves.
        was: End,
        by: By,
    },
    /// Dismiss a dead letter.
    DeleteDeadLetter { event: Position, resource: &'a str, dead_letter: DeadLetterRef, by: By },
    /// Call off a delivery that is not in flight.
    Cancel { event: Position, resource: &'a str, by: By },
    /// Pass over the dead letter that halted a lane and let the lane go on.
    SkipHead { resource: &'a str, by: By },
    /// Let a halted lane go on.
    ResumeLane { resource: &'a str, by: By },
    /// The pipeline is gone: cancel everything in this part.
    CancelAll,
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such delivery in that lane.
    #[error("the delivery is not pending")]
    NotPending,
    /// A request is under way; its end decides.
    #[error("an attempt of the delivery is in flight")]
    InFlight,
    /// No such lane, or nothing in it.
    #[error("the lane holds nothing")]
    LaneEmpty,
    /// The lane runs.
    #[error("the lane is not halted")]
    NotHalted,
    /// It is in its lane already.
    #[error("the delivery is pending already")]
    AlreadyPending,
    /// Its step was taken out of the pipeline.
    #[error("the step was removed from the pipeline; the dead letter can only be dismissed")]
    StepGone,
    /// What ran before it and what did not cannot be told from its place any more.
    #[error(
        "the pipeline's steps have changed places since: put them back in order, or send the whole delivery again with \
         `POST /api/deliveries/{{id}}/retry`"
    )]
    StepsMoved,
    /// The answer is of a former life, or came twice.
    #[error("the attempt is not under way")]
    StaleAttempt,
    /// The pipeline was deleted.
    #[error("the pipeline is deleted")]
    Deleted,
}

/// Terminal deliveries, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ended {
    pub delivered: u64,
    pub dead_lettered: u64,
    pub skipped: u64,
    pub cancelled: u64,
}

impl Ended {
    fn count(&mut self, end: End) -> &mut u64 {
        match end {
            End::Delivered => &mut self.delivered,
            End::DeadLettered => &mut self.dead_lettered,
            End::Skipped => &mut self.skipped,
            End::Cancelled => &mut self.cancelled,
        }
    }

    fn merge(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.dead_lettered += other.dead_lettered;
        self.skipped += other.skipped;
        self.cancelled += other.cancelled;
    }
}

/// One pipeline, or one part of it.
#[derive(Clone, Debug)]
pub struct Pipeline {
    id: PipelineId,
    tenant: TenantId,
    versions: BTreeMap<u32, Arc<PipelineConfig>>,
    /// How many pending deliveries are pinned to each version.
    pins: BTreeMap<u32, u64>,
    /// How many dead letters need each version to find their step. May count some that are closed, or of other
    /// parts: it then keeps more than it needs.
    dead: BTreeMap<u32, u64>,
    latest: u32,
    deleted: bool,
    /// Parts of the lanes that were cancelled for good.
    closed: Vec<(u16, u16)>,
    mailbox: Mailbox,
    /// By [`LaneKey::bucket`], so that the counts follow their lanes into the parts.
    ended: BTreeMap<u8, Ended>,
    part: (u16, u16),
}

// ---- decide ----------------------------------------------------------------------------------------------------

impl Pipeline {
    /// What happens, or why not. Changes nothing.
    pub fn decide(&self, command: Command<'_>) -> Result<Vec<LaneEvent>, Rejection> {
        match command {
            Command::StartNext { has_room, .. } => Ok(self.start_next(has_room).into_iter().collect()),
            Command::RecordOutcome { attempt, outcome, retry_after, now, roll } => {
                let (_, head) = self.in_flight(attempt)?;
                let verdict = self.verdict(head, outcome.class, outcome.status, retry_after, now, roll);
                Ok(vec![LaneEvent::AttemptEnded {
                    attempt,
                    step: head.step,
                    queue: head.queue,
                    outcome,
                    verdict,
                }])
            }
            Command::Recover { now, reason, culprit } => Ok(self.recover(now, reason, culprit)),
            Command::Lost { attempt, panic, now, roll } => {
                let (_, head) = self.in_flight(attempt)?;
                let verdict = self.verdict(head, OutcomeClass::Unknown, None, None, now, roll);
                let reason = AbandonReason::Panic(panic.into());
                Ok(vec![LaneEvent::AttemptAbandoned {
                    attempt,
                    step: head.step,
                    queue: head.queue,
                    reason,
                    verdict,
                }])
            }
            Command::Poison { lane, event, panic } => {
                let (_, head) = self.mailbox.headed_by(lane, event).ok_or(Rejection::NotPending)?;
                let verdict = self.after(head, StepResult::Permanent);
                let (round, step, queue, detail) = (head.round(), head.step, head.queue, panic.into());
                Ok(vec![LaneEvent::DeliveryPoisoned { lane, event, round, step, queue, detail, verdict }])
            }
            Command::Redeliver {
                event,
                resource,
                round,
                dead_letter,
                others_dead,
                out_of_order,
                was,
                by,
            } => {
                if self.deleted {
                    return Err(Rejection::Deleted);
                }
                if self.is_pending(resource, event) {
                    return Err(Rejection::AlreadyPending);
                }
                let out_of_order = out_of_order || self.is_overtaken(resource, event);
                let (step, only) = dead_letter.map_or(Ok((0, false)), |item| self.step_of(item))?;
                let redelivery = Redelivery { round, step, only, others_dead, out_of_order, was };
                let (resource, version) = (resource.into(), self.latest);
                Ok(vec![LaneEvent::Redelivered { event, resource, version, redelivery, dead_letter, by }])
            }
            Command::DeleteDeadLetter { event, resource, dead_letter, by } => {
                let lane = LaneKey::of(resource);
                Ok(vec![LaneEvent::DeadLetterDeleted { event, lane, dead_letter, by }])
            }
            Command::Cancel { event, resource, by } => {
                if self.head_in_flight(resource, event) {
                    return Err(Rejection::InFlight);
                }
                if !self.is_pending(resource, event) {
                    return Err(Rejection::NotPending);
                }
                Ok(vec![LaneEvent::DeliveryCancelled { event, resource: resource.into(), by }])
            }
            // The lane stands behind a dead letter: that one is passed over, and the next is kept.
            Command::SkipHead { resource, by } => self.halted(resource).map(|lane| {
                vec![LaneEvent::HeadSkipped { event: None, resource: lane.resource.clone(), by }]
            }),
            Command::ResumeLane { resource, by } => self
                .halted(resource)
                .map(|lane| vec![LaneEvent::LaneResumed { resource: lane.resource.clone(), by }]),
            Command::CancelAll if self.closed.contains(&self.part) => Ok(Vec::new()),
            Command::CancelAll => {
                Ok(vec![LaneEvent::LanesCancelled { part: self.part.0, parts: self.part.1 }])
            }
        }
    }

    fn start_next(&self, has_room: &mut dyn FnMut(Target) -> bool) -> Option<LaneEvent> {
        if self.deleted || self.status() != Status::Active {
            return None;
        }
        let lane = self.mailbox.next_ready(&mut |target| {
            // A version that is not here yet is on its way.
            self.versions.contains_key(&target.version)
                && (self.lost_step(target).is_some() || has_room(target))
        })?;
        let head = lane.head.as_ref()?;
        let target = Target::of(head);
        if let Some(result) = self.lost_step(target) {
            let verdict = self.after(head, result);
            let (event, round, step, queue) = (head.entry.event, head.round(), head.step, head.queue);
            return Some(LaneEvent::StepSettled { lane: lane.key, event, round, step, queue, verdict });
        }
        let attempt = head.attempt(lane.key, head.number + 1);
        Some(LaneEvent::AttemptStarted {
            attempt,
            step: head.step,
            queue: head.queue,
            transport: self.latest,
        })
    }

    /// A step can lose its address while deliveries wait for it: it was taken out (T-34), or its failover was.
    fn lost_step(&self, target: Target) -> Option<StepResult> {
        match (self.live_step(target.version, target.step), target.queue) {
            (None, _) => Some(StepResult::Skipped),
            (Some(_), Queue::Failover) if self.config().failover_url.is_none() => Some(StepResult::Exhausted),
            _ => None,
        }
    }

    fn recover(&self, now: Timestamp, reason: &AbandonReason, culprit: Option<Position>) -> Vec<LaneEvent> {
        let mut abandoned: Vec<_> = self
            .mailbox
            .lanes()
            .filter_map(|lane| {
                let head = lane.head.as_ref().filter(|head| head.phase == Phase::InFlight)?;
                let attempt = head.attempt(lane.key, head.number);
                let mut verdict = self.verdict(head, OutcomeClass::Unknown, None, None, now, 0.5);
                if let Next::Retry(at) = &mut verdict.next {
                    *at = now; // nothing was learnt of the receiver: no reason to wait
                }
                let guilty = culprit.is_none_or(|event| event == attempt.event);
                let reason = if guilty { reason.clone() } else { AbandonReason::Crash };
                Some(LaneEvent::AttemptAbandoned {
                    attempt,
                    step: head.step,
                    queue: head.queue,
                    reason,
                    verdict,
                })
            })
            .collect();
        // The order in memory means nothing; the log gets one that does.
        abandoned.sort_by_key(|event| match event {
            LaneEvent::AttemptAbandoned { attempt, .. } => attempt.event,
            _ => Position::START,
        });
        abandoned
    }

    /// The lane, which has to be halted.
    fn halted(&self, resource: &str) -> Result<&Lane, Rejection> {
        let lane = self.mailbox.lane(resource).ok_or(Rejection::LaneEmpty)?;
        if lane.is_halted() { Ok(lane) } else { Err(Rejection::NotHalted) }
    }

    fn in_flight(&self, attempt: AttemptId) -> Result<(&Lane, &Head), Rejection> {
        self.mailbox
            .headed_by(attempt.lane, attempt.event)
            .filter(|(_, head)| head.phase == Phase::InFlight)
            .filter(|(_, head)| (head.round(), head.number) == (attempt.round, attempt.number))
            .ok_or(Rejection::StaleAttempt)
    }

    fn verdict(
        &self,
        head: &Head,
        class: OutcomeClass,
        status: Option<u16>,
        retry_after: Option<Duration>,
        now: Timestamp,
        roll: f64,
    ) -> Verdict {
        let live = self.live_step(head.entry.version, head.step);
        if class == OutcomeClass::Success {
            let failed_over = head.queue == Queue::Failover;
            return self
                .after(head, if failed_over { StepResult::FailedOver } else { StepResult::Succeeded });
        }
        let Some(step) = live else { return self.after(head, StepResult::Skipped) };
        let attempts_left = head.tries_here() < step.retry.attempts_max;
        let refused = matches!(status, Some(401 | 403)) && head.signing == Signing::Own;
        // Before anything else: a receiver that has not heard of the new key yet may call it final.
        if refused && attempts_left && step.falls_back_at(now) {
            return again(head, Next::OtherKey);
        }
        if class == OutcomeClass::TemplateError || status.is_some_and(|s| self.config().rules.is_permanent(s))
        {
            return self.after(head, StepResult::Permanent);
        }
        if attempts_left {
            let delay = step.retry.delay_before(head.tries_here() + 1, roll);
            let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
            let next = Next::Retry(now.plus(delay.max(asked)));
            return again(head, next);
        }
        if head.queue == Queue::Primary && self.config().failover_url.is_some() {
            return again(head, Next::FailOver);
        }
        self.after(head, StepResult::Exhausted)
    }

    /// Whether a later delivery of the lane has begun: it is not held up any more, and ends first (T-31).
    fn is_overtaken(&self, resource: &str, event: Position) -> bool {
        let head = self.mailbox.lane(resource).and_then(|lane| lane.head.as_ref());
        head.is_some_and(|head| head.started() && head.entry.event > event)
    }

    /// Where a dead letter's step stands now, and whether it is retried alone: the steps behind it have run
    /// already, unless its failure stopped them. Then those that stood behind it have to stand there still, and none
    /// that ran before (ORD.9).
    fn step_of(&self, item: DeadLetterRef) -> Result<(u16, bool), Rejection> {
        let then = self.pinned(item.version).map_or(&[][..], |config| &config.steps);
        let failed = then.get(usize::from(item.step)).ok_or(Rejection::StepGone)?;
        let steps = &self.config().steps;
        let now = steps.iter().position(|step| step.id == failed.id).ok_or(Rejection::StepGone)?;
        let (ran, left) = then.split_at(usize::from(item.step));
        let (before, behind) = steps.split_at(now);
        let meet = |some: &[Step], others: &[Step]| some.iter().any(|a| others.iter().any(|b| a.id == b.id));
        if item.stopped && (meet(ran, behind) || meet(left, before)) {
            return Err(Rejection::StepsMoved);
        }
        Ok((u16::try_from(now).unwrap_or(u16::MAX), !item.stopped))
    }

    /// What follows the end of the head's step.
    fn after(&self, head: &Head, result: StepResult) -> Verdict {
        let pinned = self.pinned(head.entry.version);
        let failed = head.failed || result.is_failure();
        let stop = result.is_failure()
            && pinned.and_then(|c| c.steps.get(usize::from(head.step))).is_some_and(|s| s.stop_on_failure);
        let redelivery = head.entry.redelivery.as_deref();
        let last = usize::from(head.step) + 1 >= pinned.map_or(0, |config| config.steps.len());
        let only = redelivery.is_some_and(|r| r.only);
        let next = if stop || last || only {
            let dead = failed || redelivery.is_some_and(|r| r.others_dead);
            let taken = head.succeeded || result.is_success();
            Next::End(match (dead, taken) {
                (true, _) => End::DeadLettered,
                (false, true) => End::Delivered,
                (false, false) => End::Skipped,
            })
        } else {
            Next::Step(head.step + 1)
        };
        let halt = failed
            && matches!(next, Next::End(_))
            && self.config().on_exhausted == super::step::OnExhausted::Halt;
        let (version, tries, stopped) = (head.entry.version, head.tries, stop && !only);
        Verdict { step: Some(result), next, version, tries, halt, stopped }
    }
}

/// The step is not over.
fn again(head: &Head, next: Next) -> Verdict {
    let (version, tries) = (head.entry.version, head.tries);
    Verdict { step: None, next, version, tries, halt: false, stopped: false }
}

// ---- evolve ----------------------------------------------------------------------------------------------------

impl Pipeline {
    /// Version 1 of a pipeline: all of it.
    #[must_use]
    pub fn new(id: PipelineId, tenant: TenantId, config: PipelineConfig) -> Self {
        let versions = BTreeMap::from([(1, config)]);
        let (latest, deleted, closed, ended, dead) = (1, false, vec![], BTreeMap::new(), BTreeMap::new());
        Self::from_frame(id, Frame { tenant, versions, dead, latest, deleted, closed, ended })
    }

    /// What is now true of the configuration.
    pub fn evolve_config(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::PipelineCreated { .. } => {}
            PipelineEvent::PipelineUpdated { config, .. } => {
                self.latest += 1;
                self.versions.insert(self.latest, Arc::new(config.clone()));
                self.drop_unpinned();
            }
            PipelineEvent::PipelineDeleted { .. } => self.deleted = true,
        }
    }

    /// An accepted event that names this pipeline. Ignored if its lane lies in another part.
    pub fn evolve_accepted(&mut self, event: Position, resource: &str, route: &Route) {
        let key = LaneKey::of(resource);
        if !self.owns(key) {
            return;
        }
        if route.skipped {
            *self.count(key, End::Skipped) += 1;
        } else if self.closed.iter().any(|&(part, parts)| key.part(parts) == part) {
            *self.count(key, End::Cancelled) += 1;
        } else {
            self.enter(key, resource, Waiting { event, version: route.version, redelivery: None });
        }
    }

    /// What is now true of the lanes. Facts about deliveries that are over already change nothing.
    pub fn evolve(&mut self, event: &LaneEvent) {
        match event {
            LaneEvent::AttemptStarted { attempt, .. } => {
                self.mailbox.with_head(attempt.lane, attempt.event, |head| {
                    head.phase = Phase::InFlight;
                    head.number = attempt.number;
                    match head.queue {
                        Queue::Primary => head.tries.0 += 1,
                        Queue::Failover => head.tries.1 += 1,
                    }
                });
            }
            LaneEvent::AttemptEnded { attempt, outcome, verdict, .. } => {
                // The end of an attempt whose delivery was called off meanwhile is kept for the record only.
                let Ok((_, head)) = self.in_flight(*attempt) else { return };
                if head.signing == Signing::Former && outcome.is_refusal() {
                    let both_refused = |head: &mut Head| head.signing = Signing::OwnAlone;
                    self.mailbox.with_head(attempt.lane, attempt.event, both_refused);
                }
                self.settle(attempt.lane, attempt.event, attempt.round, verdict);
            }
            LaneEvent::AttemptAbandoned { attempt, verdict, .. } => {
                if self.in_flight(*attempt).is_ok() {
                    self.settle(attempt.lane, attempt.event, attempt.round, verdict);
                }
            }
            LaneEvent::StepSettled { lane, event, round, verdict, .. }
            | LaneEvent::DeliveryPoisoned { lane, event, round, verdict, .. } => {
                self.settle(*lane, *event, *round, verdict);
            }
            LaneEvent::Redelivered { event, resource, version, redelivery, dead_letter, .. } => {
                let key = LaneKey::of(resource);
                if !self.owns(key) {
                    return;
                }
                let was = redelivery.was;
                let count = self.count(key, was);
                *count = count.saturating_sub(1);
                let redelivery = Some(Box::new(redelivery.clone()));
                self.enter(key, resource, Waiting { event: *event, version: *version, redelivery });
                // A halted lane waits for what becomes of the dead letter that halted it, and for nothing else.
                if was == End::DeadLettered && self.mailbox.halted_by(key, resource) == Some(*event) {
                    self.mailbox.resume(key, resource);
                }
                if let Some(item) = dead_letter {
                    self.bury(item.version);
                }
            }
            LaneEvent::DeadLetterDeleted { lane, dead_letter, .. } => {
                if self.owns(*lane) {
                    self.bury(dead_letter.version);
                }
            }
            LaneEvent::DeliveryCancelled { event, resource, .. } => {
                self.take_out(resource, *event, End::Cancelled);
            }
            LaneEvent::HeadSkipped { event, resource, .. } => {
                if let Some(event) = event {
                    self.take_out(resource, *event, End::Skipped);
                }
                self.mailbox.resume(LaneKey::of(resource), resource);
            }
            LaneEvent::LaneResumed { resource, .. } => {
                self.mailbox.resume(LaneKey::of(resource), resource);
            }
            LaneEvent::LanesCancelled { part, parts } => {
                let mut gone = Vec::new();
                self.mailbox
                    .clear(|key| key.part(*parts) == *part, |key, entry| gone.push((key, entry.version)));
                for (key, version) in gone {
                    *self.count(key, End::Cancelled) += 1;
                    self.unpin(version);
                }
                self.closed.push((*part, *parts));
            }
        }
    }

    fn settle(&mut self, lane: LaneKey, event: Position, round: u16, verdict: &Verdict) {
        let head = self.mailbox.headed_by(lane, event).map(|(_, head)| head);
        let Some(head) = head.filter(|head| head.round() == round) else { return };
        let pinned = head.entry.version;
        if verdict.step.is_some_and(StepResult::is_failure) {
            *self.dead.entry(verdict.version).or_default() += 1;
        }
        let Next::End(end) = verdict.next else {
            self.mailbox.with_head(lane, event, |head| {
                head.failed |= verdict.step.is_some_and(StepResult::is_failure);
                head.succeeded |= verdict.step.is_some_and(StepResult::is_success);
                head.phase = Phase::Ready;
                match verdict.next {
                    Next::Retry(at) => {
                        head.phase = Phase::Waiting(at);
                        if head.signing == Signing::Former {
                            head.signing = Signing::Own;
                        }
                    }
                    Next::OtherKey => head.signing = Signing::Former,
                    Next::FailOver => (head.queue, head.signing) = (Queue::Failover, Signing::Own),
                    Next::Step(step) => {
                        (head.step, head.queue, head.tries) = (step, Queue::Primary, (0, 0));
                        head.signing = Signing::Own;
                    }
                    Next::End(_) => {}
                }
            });
            return;
        };
        self.mailbox.pop_head(lane, event, verdict.halt);
        *self.count(lane, end) += 1;
        self.unpin(pinned);
    }

    fn take_out(&mut self, resource: &str, event: Position, end: End) {
        let key = LaneKey::of(resource);
        if let Some(entry) = self.mailbox.remove(key, resource, event) {
            *self.count(key, end) += 1;
            self.unpin(entry.version);
        }
    }

    fn enter(&mut self, key: LaneKey, resource: &str, entry: Waiting) {
        self.pin(entry.version);
        self.mailbox.insert(key, resource, entry);
    }

    fn owns(&self, key: LaneKey) -> bool {
        key.part(self.part.1) == self.part.0
    }

    fn count(&mut self, key: LaneKey, end: End) -> &mut u64 {
        self.ended.entry(key.bucket()).or_default().count(end)
    }

    fn pin(&mut self, version: u32) {
        *self.pins.entry(version).or_default() += 1;
    }

    fn unpin(&mut self, version: u32) {
        if take_one(&mut self.pins, version) && version != self.latest {
            self.drop_unpinned();
        }
    }

    /// A dead letter is closed.
    fn bury(&mut self, version: u32) {
        if take_one(&mut self.dead, version) && version != self.latest {
            self.drop_unpinned();
        }
    }

    /// Forgets versions that nothing refers to. The newest ones stay a little: an event that was routed by one
    /// may still be on its way from another thread.
    fn drop_unpinned(&mut self) {
        let keep_from = self.latest.saturating_sub(16);
        let needed = |version: &u32| self.pins.contains_key(version) || self.dead.contains_key(version);
        self.versions.retain(|version, _| *version >= keep_from || needed(version));
    }
}

// ---- look ------------------------------------------------------------------------------------------------------

impl Pipeline {
    /// When a retry is due, if nothing else happens before.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.deleted || self.status() != Status::Active { None } else { self.mailbox.next_due() }
    }

    /// Lists heads whose time has come; an index moves, the state does not.
    pub fn wake_due(&mut self, now: Timestamp) {
        self.mailbox.wake_due(now);
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &PipelineId {
        &self.id
    }

    /// Its owner.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Arc<PipelineConfig> {
        &self.versions[&self.latest]
    }

    /// Number of the configuration in force.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.latest
    }

    /// The configuration with this number, while anything refers to it.
    #[must_use]
    pub fn pinned(&self, version: u32) -> Option<&Arc<PipelineConfig>> {
        self.versions.get(&version)
    }

    /// The step as it is configured now, for an index in a pinned version.
    #[must_use]
    pub fn live_step(&self, version: u32, step: u16) -> Option<&Step> {
        self.config().step(&self.pinned(version)?.steps.get(usize::from(step))?.id)
    }

    /// The URL of a target as it is configured now.
    #[must_use]
    pub fn url_of(&self, target: Target) -> Option<&str> {
        match target.queue {
            Queue::Primary => Some(&self.live_step(target.version, target.step)?.url),
            Queue::Failover => self.config().failover_url.as_deref(),
        }
    }

    /// How many deliveries of running lanes wait for a URL that `which` picks: never attempted in their round, and
    /// attempted. Looks at every delivery.
    #[must_use]
    pub fn waiting_for(&self, which: impl Fn(&str) -> bool) -> (u64, u64) {
        let mut picked: BTreeMap<Target, bool> = BTreeMap::new();
        let mut picks =
            |target: Target| *picked.entry(target).or_insert_with(|| self.url_of(target).is_some_and(&which));
        let (mut queued, mut retrying) = (0, 0);
        for lane in self.mailbox.lanes().filter(|lane| !lane.is_halted()) {
            if let Some(head) = lane.head.as_ref().filter(|head| head.phase != Phase::InFlight)
                && picks(Target::of(head))
            {
                *(if head.number > 0 { &mut retrying } else { &mut queued }) += 1;
            }
            queued += lane.waiting.iter().filter(|entry| picks(Target::first(entry))).count() as u64;
        }
        (queued, retrying)
    }

    /// Whether it runs.
    #[must_use]
    pub fn status(&self) -> Status {
        self.config().status
    }

    /// Whether it was deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Its lanes.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Terminal deliveries, counted.
    #[must_use]
    pub fn ended(&self) -> Ended {
        let mut sum = Ended::default();
        self.ended.values().for_each(|bucket| sum.merge(*bucket));
        sum
    }

    fn is_pending(&self, resource: &str, event: Position) -> bool {
        self.mailbox.lane(resource).is_some_and(|lane| {
            let head = lane.head.as_ref().map(|head| head.entry.event);
            head == Some(event) || lane.waiting.contains(event)
        })
    }

    fn head_in_flight(&self, resource: &str, event: Position) -> bool {
        let head = self.mailbox.lane(resource).and_then(|lane| lane.head.as_ref());
        head.is_some_and(|head| head.entry.event == event && head.phase == Phase::InFlight)
    }

    /// Deals the lanes to `parts` workers, and what was counted of them.
    #[must_use]
    pub fn split(mut self, parts: u16) -> Vec<Self> {
        let mailbox = std::mem::take(&mut self.mailbox);
        let ended = std::mem::take(&mut self.ended);
        self.pins.clear();
        let mut workers: Vec<_> =
            (0..parts.max(1)).map(|part| Self { part: (part, parts.max(1)), ..self.clone() }).collect();
        for (bucket, counts) in ended {
            workers[usize::from(u16::from(bucket) % parts.max(1))].ended.insert(bucket, counts);
        }
        for lane in mailbox.into_lanes() {
            workers[usize::from(lane.key.part(parts))].adopt(lane);
        }
        workers
    }

    pub(super) fn adopt(&mut self, lane: Lane) {
        lane.head.iter().for_each(|head| self.pin(head.entry.version));
        lane.waiting.iter().for_each(|entry| self.pin(entry.version));
        self.mailbox.adopt(lane);
    }

    /// Hash of what a fold must agree on. Sums over lanes, so that the parts of a pipeline add up to the whole.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut sum = Digest::default();
        for lane in self.mailbox.lanes() {
            if lane.is_halted() {
                sum.add(&("halted", self.id.as_str(), &*lane.resource));
            }
            if let Some(head) = &lane.head {
                let Head { entry, step, queue, number, tries, signing, succeeded, failed, phase } = head;
                let told = (entry, step, queue, number, tries, signing, failed, phase);
                sum.add(&("head", self.id.as_str(), &*lane.resource, told));
                // Apart, so that logs of earlier versions fold to what they did.
                if *succeeded {
                    sum.add(&("succeeded", self.id.as_str(), &*lane.resource));
                }
            }
            for waiting in lane.waiting.iter() {
                sum.add(&("waiting", self.id.as_str(), &*lane.resource, &waiting));
            }
        }
        sum
    }

    /// All of the state but the lanes, for a snapshot.
    pub(super) fn frame(&self) -> Frame {
        Frame {
            tenant: self.tenant.clone(),
            versions: self.versions.iter().map(|(n, config)| (*n, PipelineConfig::clone(config))).collect(),
            dead: self.dead.clone(),
            latest: self.latest,
            deleted: self.deleted,
            closed: self.closed.clone(),
            ended: self.ended.clone(),
        }
    }

    /// The pipeline that a snapshot's frame describes, without lanes.
    pub(super) fn from_frame(id: PipelineId, frame: Frame) -> Self {
        let Frame { tenant, versions, dead, latest, deleted, closed, ended } = frame;
        let versions = versions.into_iter().map(|(number, config)| (number, Arc::new(config))).collect();
        let (mailbox, pins, part) = (Mailbox::default(), BTreeMap::new(), (0, 1));
        Self { id, tenant, versions, pins, dead, latest, deleted, closed, mailbox, ended, part }
    }
}

/// What a snapshot keeps of a pipeline beside its lanes.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Frame {
    tenant: TenantId,
    versions: BTreeMap<u32, PipelineConfig>,
    dead: BTreeMap<u32, u64>,
    latest: u32,
    deleted: bool,
    closed: Vec<(u16, u16)>,
    ended: BTreeMap<u8, Ended>,
}

/// Takes one from the count of `version`; answers whether it was the last.
fn take_one(counts: &mut BTreeMap<u32, u64>, version: u32) -> bool {
    let Some(count) = counts.get_mut(&version) else { return false };
    *count -= 1;
    let last = *count == 0;
    if last {
        counts.remove(&version);
    }
    last
}

#[cfg(test)]
mod tests;
