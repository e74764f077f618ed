//! How a worker answers what it is asked.

use super::{Effect, PipelineActor, turn::Turn};
use crate::{
    domain::{event::PipelineEvent, pipeline::Command},
    error::EngineError,
    log::Position,
    worker::order::{Look, Order},
};
use actix::{Context, Handler, ResponseFuture};
use tokio::sync::oneshot;

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
            Order::Redeliver { turn, resource, round, dead_letter, others_dead, out_of_order, was, by } => {
                Command::Redeliver {
                    event: turn.event(),
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
            self.by_target.clear();
        }
        let mut turn = Turn::new(self, ctx);
        if matches!(event, PipelineEvent::PipelineDeleted { .. }) {
            turn.decide(Command::CancelAll);
        }
        turn.finish();
    }
}

impl Handler<Look> for PipelineActor {
    type Result = ();

    fn handle(&mut self, Look(look): Look, _: &mut Context<Self>) {
        if let Some(pipeline) = &self.pipeline {
            look(pipeline);
        }
    }
}
