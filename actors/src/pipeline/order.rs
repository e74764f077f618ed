//! What operators and the rest of the engine ask of a worker, and how it answers.

use super::{Effect, PipelineActor, turn::Turn};
use crate::{
    domain::{
        event::{DeadLetterRef, End, PipelineEvent},
        id::KeyId,
        pipeline::{Command, Pipeline},
    },
    error::EngineError,
    log::Position,
};
use actix::{Context, Handler, Message, ResponseFuture};
use tokio::sync::oneshot;

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
    /// Back into its lane.
    Redeliver {
        event: Position,
        resource: Box<str>,
        round: u16,
        dead_letter: Option<DeadLetterRef>,
        others_dead: bool,
        out_of_order: bool,
        was: End,
        by: KeyId,
    },
    /// Dismiss a dead letter.
    DeleteDeadLetter { event: Position, resource: Box<str>, dead_letter: DeadLetterRef, by: KeyId },
    /// Call off a delivery.
    Cancel { event: Position, resource: Box<str>, by: KeyId },
    /// Pass over the head of a lane.
    SkipHead { resource: Box<str>, by: KeyId },
    /// Let a halted lane go on.
    ResumeLane { resource: Box<str>, by: KeyId },
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

impl Handler<Order> for PipelineActor {
    type Result = ResponseFuture<Result<(), EngineError>>;

    fn handle(&mut self, order: Order, ctx: &mut Context<Self>) -> Self::Result {
        match self.obey(&order, ctx) {
            Ok(()) => {
                let (answer, done) = oneshot::channel();
                // Behind every start that was decided before: a paused pipeline answers when it is still.
                let position = self.core.log.tail();
                self.parked.push_back((position, Effect::Answer(answer)));
                self.core.park(&self.id, position);
                Box::pin(async move {
                    done.await
                        .map_err(|_| EngineError::Unavailable("the worker was restarted; try again".into()))
                })
            }
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }
}

impl PipelineActor {
    fn obey(&mut self, order: &Order, ctx: &mut Context<Self>) -> Result<(), EngineError> {
        let command = match order {
            Order::Redeliver { event, resource, round, dead_letter, others_dead, out_of_order, was, by } => {
                Command::Redeliver {
                    event: *event,
                    resource,
                    round: *round,
                    dead_letter: *dead_letter,
                    others_dead: *others_dead,
                    out_of_order: *out_of_order,
                    was: *was,
                    by: by.clone(),
                }
            }
            Order::DeleteDeadLetter { event, resource, dead_letter, by } => Command::DeleteDeadLetter {
                event: *event,
                resource,
                dead_letter: *dead_letter,
                by: by.clone(),
            },
            Order::Cancel { event, resource, by } => {
                Command::Cancel { event: *event, resource, by: by.clone() }
            }
            Order::SkipHead { resource, by } => Command::SkipHead { resource, by: by.clone() },
            Order::ResumeLane { resource, by } => Command::ResumeLane { resource, by: by.clone() },
            Order::Configure(position, event) => {
                self.configure(*position, event, ctx);
                return Ok(());
            }
            Order::Hold(hold) => {
                self.hold(*hold, ctx);
                return Ok(());
            }
            Order::Barrier => return Ok(()),
            #[cfg(feature = "chaos")]
            Order::Panic => panic!("asked to panic"),
        };
        let events = self.state().decide(command)?;
        let mut turn = Turn::new(self, ctx);
        for event in events {
            turn.take(event, None);
        }
        turn.finish();
        Ok(())
    }

    fn configure(&mut self, position: Position, event: &PipelineEvent, ctx: &mut Context<Self>) {
        if position > self.folded {
            self.state().evolve_config(event);
            self.hosts.clear();
        }
        let mut turn = Turn::new(self, ctx);
        if matches!(event, PipelineEvent::PipelineDeleted { .. }) {
            turn.decide(Command::CancelAll);
        }
        turn.finish();
    }
}

/// A question about the state, answered on the worker's thread.
pub(crate) struct Look(pub(crate) Box<dyn FnOnce(&Pipeline) + Send>);

impl Message for Look {
    type Result = ();
}

impl Handler<Look> for PipelineActor {
    type Result = ();

    fn handle(&mut self, Look(look): Look, _: &mut Context<Self>) {
        if let Some(pipeline) = &self.pipeline {
            look(pipeline);
        }
    }
}
