//! Workers as everyone else sees them: what they can be told, what they tell, and where to find them.
//!
//! A worker owns one part of a pipeline's lanes (`pipeline.rs`). This module lies below it: whoever talks to a
//! worker needs its messages, never the actor.

pub(crate) mod hub;
pub(crate) mod order;
pub(crate) mod redelivery;
pub(crate) mod registry;
pub mod status;

use crate::{
    accepted::AcceptedEvent,
    domain::{
        event::LaneEvent,
        id::{PipelineId, TenantId},
        time::Timestamp,
    },
    log::Position,
};
use actix::{Actor, Addr, Context, Handler, MailboxError, Message};
use futures_util::{FutureExt, future::BoxFuture};
use order::{Look, Order};
use status::WorkerStatus;
use std::sync::{Arc, atomic::Ordering};

/// Accepted events have come into lanes of this worker, in the order of the log. All that come at a time are one
/// message, and so one turn and one append of the worker.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Enqueue(pub(crate) Vec<Arrival>);

/// One of them; `route` is its index in the event's routes.
pub(crate) struct Arrival {
    pub(crate) event: Arc<AcceptedEvent>,
    pub(crate) route: usize,
}

/// The log is durable up to here.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Durable(pub(crate) Position);

/// A request may start that found no room before.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Room;

/// What a worker tells the dead letters: a fact that concerns their queue, durable.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Follow {
    pub(crate) position: Position,
    pub(crate) at: Timestamp,
    pub(crate) tenant: TenantId,
    pub(crate) pipeline: PipelineId,
    pub(crate) event: LaneEvent,
}

/// What a worker tells the catalog: a receiver said that it is gone, so the pipeline is to be paused, unless it was
/// changed since this version. Answers whether one of the two is so.
#[derive(Message)]
#[rtype(result = "bool")]
pub(crate) struct Gone {
    pub(crate) pipeline: PipelineId,
    pub(crate) version: u32,
}

/// The address of a worker, whatever its actor is: one for all its messages, since there are many workers.
pub(crate) trait Inbox: Send + Sync {
    fn enqueue(&self, events: Enqueue);
    fn tell_durable(&self, durable: Durable);
    fn tell_room(&self);
    fn tell(&self, order: Order);
    fn look(&self, look: Look);
    fn ask(&self, order: Order) -> BoxFuture<'static, Result<<Order as Message>::Result, MailboxError>>;
    fn connected(&self) -> bool;
}

impl<A> Inbox for Addr<A>
where
    A: Actor<Context = Context<A>>
        + Handler<Enqueue>
        + Handler<Durable>
        + Handler<Room>
        + Handler<Order>
        + Handler<Look>,
{
    fn enqueue(&self, events: Enqueue) {
        self.do_send(events);
    }

    fn tell_durable(&self, durable: Durable) {
        self.do_send(durable);
    }

    fn tell_room(&self) {
        self.do_send(Room);
    }

    fn tell(&self, order: Order) {
        self.do_send(order);
    }

    fn look(&self, look: Look) {
        self.do_send(look);
    }

    fn ask(&self, order: Order) -> BoxFuture<'static, Result<<Order as Message>::Result, MailboxError>> {
        self.send(order).boxed()
    }

    fn connected(&self) -> bool {
        Addr::connected(self)
    }
}

/// One part of a pipeline's lanes at work.
#[derive(Clone)]
pub(crate) struct Worker {
    inbox: Arc<dyn Inbox>,
    pub(crate) status: Arc<WorkerStatus>,
}

impl Worker {
    pub(crate) fn new(inbox: impl Inbox + 'static, status: Arc<WorkerStatus>) -> Self {
        Self { inbox: Arc::new(inbox), status }
    }

    /// Whether its actor lives; one that was given up does not.
    pub(crate) fn connected(&self) -> bool {
        self.inbox.connected()
    }

    pub(crate) fn enqueue(&self, events: Vec<Arrival>) {
        self.status.depth.fetch_add(events.len() as u64, Ordering::Relaxed);
        self.inbox.enqueue(Enqueue(events));
    }

    pub(crate) fn tell_durable(&self, up_to: Position) {
        self.inbox.tell_durable(Durable(up_to));
    }

    pub(crate) fn tell_room(&self) {
        self.inbox.tell_room();
    }

    /// Gives an order and waits for its answer.
    pub(crate) async fn ask(&self, order: Order) -> Result<<Order as Message>::Result, MailboxError> {
        self.inbox.ask(order).await
    }

    /// Gives an order and waits for nothing.
    pub(crate) fn tell(&self, order: Order) {
        self.inbox.tell(order);
    }

    pub(crate) fn look(&self, look: Look) {
        self.inbox.look(look);
    }
}
