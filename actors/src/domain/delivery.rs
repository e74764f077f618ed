//! One delivery on its way: where it stands in its steps and attempts.

use super::{
    event::{AttemptId, Queue, Redelivery},
    id::LaneKey,
    time::Timestamp,
};
use crate::log::Position;
use serde::{Deserialize, Serialize};

/// A delivery that waits behind the head of its lane. No more than this is kept, because there may be
/// millions: everything else is read from the log when its turn comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Position of the accepted event; also its place in the lane.
    pub event: Position,
    /// Version of the configuration that it is pinned to.
    pub version: u32,
    /// Set from the second round on.
    pub redelivery: Option<Box<Redelivery>>,
}

/// What the head of a lane is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// May start as soon as there is room.
    Ready,
    /// One attempt is under way.
    InFlight,
    /// Waits for its retry.
    Waiting(Timestamp),
}

/// Which key the attempts of a step are signed with, where there is room for one signature (T-6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signing {
    /// The step's own.
    #[default]
    Own,
    /// The attempt that is due or under way: the one that is being rotated out.
    Former,
    /// The step's own to the end: the receiver took neither of the two.
    OwnAlone,
}

/// Why a delivery is held: it would go on, and is kept from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeldReason {
    /// The pipeline is paused or disabled.
    Pause,
    /// The lane waits for an operator.
    Halt,
    /// The circuit breaker of its URL is open, or lets lanes back a few at a time.
    Breaker,
    /// The second's requests are used up.
    Rate,
}

impl HeldReason {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Halt => "halt",
            Self::Breaker => "breaker",
            Self::Rate => "rate",
        }
    }
}

/// The delivery at the head of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// What it was while it waited.
    pub entry: Waiting,
    /// Index of the step at work.
    pub step: u16,
    /// Which address of the step.
    pub queue: Queue,
    /// Number of the last attempt of this round; 0 before the first.
    pub number: u16,
    /// Attempts of this step in this round, at its own URL and at the failover.
    pub tries: (u16, u16),
    /// Which key the attempts of this step are signed with.
    pub signing: Signing,
    /// Whether a step of this round has succeeded.
    pub succeeded: bool,
    /// Whether a step of this round has failed for good.
    pub failed: bool,
    /// What it is doing.
    pub phase: Phase,
}

impl Head {
    /// Takes its place at the head of the lane.
    #[must_use]
    pub fn new(entry: Waiting) -> Self {
        let step = entry.redelivery.as_ref().map_or(0, |r| r.step);
        Self {
            entry,
            step,
            queue: Queue::Primary,
            number: 0,
            tries: (0, 0),
            signing: Signing::Own,
            succeeded: false,
            failed: false,
            phase: Phase::Ready,
        }
    }

    /// The round it is in, from 1.
    #[must_use]
    pub fn round(&self) -> u16 {
        self.entry.redelivery.as_ref().map_or(1, |r| r.round)
    }

    /// Whether anything of this round has happened that may not happen again: an attempt, or a failure.
    #[must_use]
    pub fn started(&self) -> bool {
        self.number > 0 || self.failed
    }

    /// Attempts made at the address in use.
    #[must_use]
    pub fn tries_here(&self) -> u16 {
        match self.queue {
            Queue::Primary => self.tries.0,
            Queue::Failover => self.tries.1,
        }
    }

    /// Names the attempt with this number.
    #[must_use]
    pub fn attempt(&self, lane: LaneKey, number: u16) -> AttemptId {
        AttemptId { lane, event: self.entry.event, round: self.round(), number }
    }
}
