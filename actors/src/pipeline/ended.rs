//! What follows from the end of attempts.

use super::{
    PipelineActor, Running,
    attempt::{self, AttemptsEnded, Ended, Lost},
    turn::Turn,
};
use crate::{
    delivery::Exchange,
    domain::{
        endpoint::breaker::Health,
        event::{AttemptId, LaneEvent, Next, Outcome, Verdict},
        pipeline::Command,
        time::Timestamp,
    },
    entropy, failpoint,
};
use actix::{Context, Handler};

/// How many are appended together. Each may bring 16 KiB of its receiver's answer, and an append has to fit a segment;
/// and a panic over one of them takes those before it along.
const TOGETHER_MAX: usize = 16;

impl Handler<AttemptsEnded> for PipelineActor {
    type Result = ();

    fn handle(&mut self, _: AttemptsEnded, ctx: &mut Context<Self>) {
        let mut ended = self.endings.as_ref().map(|endings| endings.take()).unwrap_or_default().into_iter();
        let mut is_room_kept = false;
        while ended.len() > 0 {
            let mut turn = Turn::new(self, ctx);
            for Ended { attempt, result } in ended.by_ref().take(TOGETHER_MAX) {
                let Some(running) = turn.actor.running.remove(&attempt) else { continue };
                turn.actor.status.suspect(attempt.lane, attempt.event);
                failpoint::hit("pipeline.ended");
                is_room_kept |= turn.actor.give_back(&running);
                turn.settle(running, attempt, result);
            }
            turn.finish();
        }
        if is_room_kept && let Some(share) = &self.share {
            self.core.forgo_slots(&self.id, share);
        }
        self.status.clear_suspect();
    }
}

impl PipelineActor {
    /// Gives back the place of an attempt; true if one is kept for this worker now.
    fn give_back(&self, running: &Running) -> bool {
        let host = running.permit.host();
        self.share.as_ref().is_some_and(|share| self.core.release_slot(host, share, &self.id))
    }
}

impl Turn<'_> {
    /// Decides what becomes of the delivery.
    fn settle(&mut self, running: Running, attempt: AttemptId, result: Result<Exchange, Lost>) {
        let speed = self.actor.core.speed;
        let tenant = self.actor.state().tenant().clone();
        let is_erased = self.actor.core.erased.covers(&tenant, attempt.event);
        let (now, roll) = (self.now, entropy::roll());
        match result {
            Ok(exchange) => {
                let retry_after = attempt::retry_after(&exchange);
                let (outcome, excerpt) = attempt::outcome(exchange);
                // An answer may repeat what was sent.
                let excerpt = excerpt.filter(|_| !is_erased);
                self.heed(&running, attempt, &outcome);
                let health = Health::of(outcome.class, outcome.status);
                let command =
                    Command::RecordOutcome { attempt, outcome: outcome.clone(), retry_after, now, roll };
                match self.actor.state().decide(command) {
                    Ok(events) => events.into_iter().for_each(|mut event| {
                        quicken(&mut event, now, speed);
                        self.take(event, excerpt.clone());
                    }),
                    Err(_) => self.take(orphan(attempt, &running, outcome), excerpt),
                }
                self.report(running.permit, health, attempt.lane);
            }
            Err(Lost { panic }) => {
                self.decide(Command::Lost { attempt, panic: &panic, now, roll });
            }
        }
        if is_erased {
            self.call_off(attempt);
        }
        if !self.goes_on(attempt) {
            self.actor.core.release_event(attempt.event);
        }
    }
}

/// The outcome of an attempt whose delivery was called off while it ran: kept for the record.
fn orphan(attempt: AttemptId, running: &Running, outcome: Outcome) -> LaneEvent {
    let verdict = Verdict::CALLED_OFF;
    LaneEvent::AttemptEnded { attempt, step: running.step, queue: running.queue, outcome, verdict }
}

/// Shortens a retry delay for demonstrations.
fn quicken(event: &mut LaneEvent, now: Timestamp, speed: f64) {
    if let LaneEvent::AttemptEnded { verdict: Verdict { next: Next::Retry(at), .. }, .. } = event
        && (speed - 1.0).abs() > f64::EPSILON
    {
        *at = now.plus(at.since(now).div_f64(speed));
    }
}
