//! What operators and the rest of the engine ask of a worker.

use crate::{
    domain::{
        by::By,
        event::{DeadLetterRef, End, PipelineEvent},
        pipeline::Pipeline,
    },
    error::EngineError,
    log::Position,
    worker::redelivery::Turn,
};
use actix::Message;

/// Whether a worker starts attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It does.
    #[default]
    No,
    /// The process is stopping: what is in the log as started still goes out.
    Draining,
    /// The pipeline was given up, or the log takes nothing more: no byte leaves.
    GivenUp,
}

/// Something to be done, once; answered when it is durable and everything that was started before it is sent.
#[derive(Debug)]
pub(crate) enum Order {
    /// Back into its lane. Nobody else sends it again until this is done.
    Redeliver {
        turn: Turn,
        resource: Box<str>,
        round: u16,
        dead_letter: Option<DeadLetterRef>,
        others_dead: bool,
        out_of_order: bool,
        was: End,
        by: By,
    },
    /// Dismiss a dead letter.
    DeleteDeadLetter { event: Position, resource: Box<str>, dead_letter: DeadLetterRef, by: By },
    /// Call off a delivery.
    Cancel { event: Position, resource: Box<str>, by: By },
    /// Pass over the head of a lane.
    SkipHead { resource: Box<str>, by: By },
    /// Let a halted lane go on.
    ResumeLane { resource: Box<str>, by: By },
    /// A configuration event that was appended at this position.
    Configure(Position, Box<PipelineEvent>),
    /// Start nothing any more, or go on.
    Hold(Hold),
    /// Nothing: the answer tells that everything parked before has been performed.
    Barrier,
    /// Panic in the handler.
    #[cfg(feature = "chaos")]
    Panic,
}

impl Message for Order {
    type Result = Result<(), EngineError>;
}

/// A question about the state, answered on the worker's thread.
pub(crate) struct Look(pub(crate) Box<dyn FnOnce(&Pipeline) + Send>);

impl Message for Look {
    type Result = ();
}
