//! An accepted event and its deliveries, as one compact row; and what each fact about a delivery changes in it.
//!
//! Nearly every event has one delivery, and that one attempt: they stand in the row, and lists only where there are more.
//!
//! Rows hold the numbers that lists show. Everything else is in the log, and the row knows where: an attempt is a
//! pair of positions.

use super::{
    few,
    names::Name,
    store::{Store, Stored},
};
use crate::{
    domain::{
        event::{End, LaneEvent, Next, Queue, Redelivery, StepResult, Verdict},
        outcome::OutcomeClass,
        time::Timestamp,
    },
    log::Position,
};
use fjall::{Keyspace, Slice};
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

/// Positions of the log that share a page. An event brings about three facts, so a page holds some twenty events.
pub(super) const PAGE: u64 = 64;

/// The events of one stretch of the log.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Page {
    rows: Vec<EventRow>,
}

impl Page {
    /// The page that `position` belongs to.
    pub(super) fn of(position: Position) -> u64 {
        position.0 / PAGE
    }

    /// Adds the newest event.
    pub(super) fn push(&mut self, row: EventRow) {
        self.rows.push(row);
    }

    /// The event at `position`.
    pub(super) fn find(&self, position: Position) -> Option<&EventRow> {
        self.rows.binary_search_by_key(&position, |row| row.position).ok().map(|at| &self.rows[at])
    }

    /// The same, to be changed.
    pub(super) fn find_mut(&mut self, position: Position) -> Option<&mut EventRow> {
        self.rows.binary_search_by_key(&position, |row| row.position).ok().map(|at| &mut self.rows[at])
    }
}

impl Stored for Page {
    type Key = u64;

    fn space(store: &Store) -> &Keyspace {
        &store.rows
    }

    fn key(page: u64) -> Slice {
        Slice::from(page.to_be_bytes())
    }
}

/// An accepted event.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct EventRow {
    pub(super) position: Position,
    pub(super) tenant: Name,
    pub(super) id: Box<str>,
    pub(super) event_type: Box<str>,
    pub(super) resource: Box<str>,
    pub(super) accepted_at: Timestamp,
    /// In the order of its routes, which never changes.
    #[serde(with = "few")]
    pub(super) deliveries: SmallVec<[DeliveryRow; 1]>,
}

impl EventRow {
    /// The delivery by a pipeline.
    pub(super) fn delivery(&self, pipeline: Name) -> Option<&DeliveryRow> {
        self.deliveries.iter().find(|delivery| delivery.pipeline == pipeline)
    }
}

/// Where a delivery stands, by the facts about it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stand {
    /// Not attempted in this round.
    Queued,
    /// One attempt under way.
    InFlight,
    /// Attempted in this round, and not over.
    Retrying,
    /// Over.
    Ended(End),
    /// Never taken up: the pipeline was disabled when the event came (T-32).
    Disabled,
}

impl Stand {
    /// Whether it may still change by itself.
    pub(super) fn is_pending(self) -> bool {
        matches!(self, Self::Queued | Self::InFlight | Self::Retrying)
    }
}

/// One event on its way through one pipeline.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct DeliveryRow {
    pub(super) pipeline: Name,
    /// The configuration that each round is pinned to.
    #[serde(with = "few")]
    pub(super) versions: SmallVec<[u32; 2]>,
    pub(super) stand: Stand,
    pub(super) out_of_order: bool,
    /// When the present round entered its lane.
    pub(super) queued_at: Timestamp,
    /// First byte of the first attempt.
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    /// When the next attempt is due, while it waits for one.
    pub(super) due_at: Option<Timestamp>,
    #[serde(with = "few")]
    pub(super) attempts: SmallVec<[AttemptRow; 1]>,
    /// Ends of steps that no attempt brought.
    pub(super) settled: Vec<SettledRow>,
}

/// One attempt: where its facts stand, and how it ended.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct AttemptRow {
    pub(super) started: Position,
    pub(super) round: u16,
    pub(super) number: u16,
    pub(super) step: u16,
    pub(super) queue: Queue,
    pub(super) ended: Option<Position>,
    pub(super) class: Option<OutcomeClass>,
    pub(super) status: Option<u16>,
    pub(super) latency_us: u32,
    pub(super) result: Option<StepResult>,
}

/// The end of a step without an attempt.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SettledRow {
    pub(super) position: Position,
    pub(super) round: u16,
    pub(super) step: u16,
    pub(super) result: Option<StepResult>,
}

impl DeliveryRow {
    /// A delivery that has just been routed.
    pub(super) fn new(pipeline: Name, version: u32, stand: Stand, at: Timestamp) -> Self {
        Self {
            pipeline,
            versions: smallvec![version],
            stand,
            out_of_order: false,
            queued_at: at,
            started_at: None,
            ended_at: (!stand.is_pending()).then_some(at),
            due_at: None,
            attempts: SmallVec::new(),
            settled: Vec::new(),
        }
    }

    /// The round that it is in, from 1.
    pub(super) fn round(&self) -> u16 {
        u16::try_from(self.versions.len()).unwrap_or(u16::MAX)
    }

    /// The configuration that a round is pinned to.
    pub(super) fn version(&self, round: u16) -> u32 {
        let at = usize::from(round).saturating_sub(1).min(self.versions.len() - 1);
        self.versions[at]
    }

    /// What is now true. Facts about a delivery that is over add to its history and leave its end alone, as in
    /// the fold that lanes are dealt from.
    pub(super) fn evolve(&mut self, position: Position, at: Timestamp, event: &LaneEvent) {
        match event {
            LaneEvent::AttemptStarted { attempt, step, queue, .. } => {
                self.attempts.push(AttemptRow {
                    started: position,
                    round: attempt.round,
                    number: attempt.number,
                    step: *step,
                    queue: *queue,
                    ended: None,
                    class: None,
                    status: None,
                    latency_us: 0,
                    result: None,
                });
                self.started_at.get_or_insert(at);
                if self.stand.is_pending() {
                    (self.stand, self.due_at) = (Stand::InFlight, None);
                }
            }
            LaneEvent::AttemptEnded { attempt, outcome, verdict, .. } => {
                if let Some(row) = self.attempt_mut(attempt.round, attempt.number) {
                    (row.ended, row.class, row.status) =
                        (Some(position), Some(outcome.class), outcome.status);
                    (row.latency_us, row.result) = (outcome.total_us, verdict.step);
                }
                self.settle(at, attempt.round, verdict);
            }
            LaneEvent::AttemptAbandoned { attempt, verdict, .. } => {
                if let Some(row) = self.attempt_mut(attempt.round, attempt.number) {
                    (row.ended, row.class, row.result) =
                        (Some(position), Some(OutcomeClass::Unknown), verdict.step);
                }
                self.settle(at, attempt.round, verdict);
            }
            LaneEvent::StepSettled { round, step, verdict, .. }
            | LaneEvent::DeliveryPoisoned { round, step, verdict, .. } => {
                let (round, step) = (*round, *step);
                self.settled.push(SettledRow { position, round, step, result: verdict.step });
                self.settle(at, round, verdict);
            }
            LaneEvent::Redelivered { version, redelivery, .. } => self.requeue(at, *version, redelivery),
            LaneEvent::DeliveryCancelled { .. } if self.stand.is_pending() => self.end(at, End::Cancelled),
            LaneEvent::HeadSkipped { .. } if self.stand.is_pending() => self.end(at, End::Skipped),
            _ => {}
        }
    }

    /// The step and address that it goes to next, as far as a row can tell.
    pub(super) fn next_call(&self) -> (u16, Queue) {
        match self.attempts.iter().rfind(|attempt| attempt.round == self.round()) {
            None => (0, Queue::Primary),
            Some(last) if last.result.is_some() => (last.step.saturating_add(1), Queue::Primary),
            // Whoever waits for no retry goes on at the failover.
            Some(last) if self.due_at.is_none() => (last.step, Queue::Failover),
            Some(last) => (last.step, last.queue),
        }
    }

    /// Called off together with its whole pipeline.
    pub(super) fn cancel(&mut self, at: Timestamp) {
        self.end(at, End::Cancelled);
    }

    fn attempt_mut(&mut self, round: u16, number: u16) -> Option<&mut AttemptRow> {
        self.attempts.iter_mut().rfind(|attempt| (attempt.round, attempt.number) == (round, number))
    }

    fn settle(&mut self, at: Timestamp, round: u16, verdict: &Verdict) {
        if !self.stand.is_pending() || round != self.round() {
            return;
        }
        self.due_at = None;
        if let Next::End(end) = verdict.next {
            return self.end(at, end);
        }
        let attempted = self.attempts.iter().any(|attempt| attempt.round == round);
        self.stand = if attempted { Stand::Retrying } else { Stand::Queued };
        if let Next::Retry(due) = verdict.next {
            self.due_at = Some(due);
        }
    }

    fn requeue(&mut self, at: Timestamp, version: u32, redelivery: &Redelivery) {
        let earlier = self.version(self.round());
        self.versions.resize(usize::from(redelivery.round).saturating_sub(1).max(1), earlier);
        self.versions.push(version);
        (self.stand, self.queued_at) = (Stand::Queued, at);
        (self.ended_at, self.due_at) = (None, None);
        self.out_of_order |= redelivery.out_of_order;
    }

    fn end(&mut self, at: Timestamp, end: End) {
        (self.stand, self.ended_at, self.due_at) = (Stand::Ended(end), Some(at), None);
    }
}
