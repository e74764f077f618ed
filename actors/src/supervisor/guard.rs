//! Brings an actor back after a panic, on the same mailbox.
//!
//! `actix::Supervisor` does not survive a panic; the future that drives an actor is public, so this one owns it
//! and polls it inside `catch_unwind`. After a panic the actor's `restarting` throws its state away and `started`
//! runs again and rebuilds it from the log. Every `Addr` and every waiting message outlives the panic; the one
//! message whose handler panicked is lost, and its sender is told so.

use super::restart::{Decision, History, RestartPolicy};
use crate::panics;
use actix::{
    Actor, Addr, ArbiterHandle, Context, Supervised,
    dev::{ContextFut, channel},
};
use futures_util::ready;
use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context as TaskContext, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};

#[cfg(panic = "abort")]
compile_error!("supervision needs panic = \"unwind\"");

/// What became of a guarded actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It panicked and will be back after the wait.
    Restarting {
        /// The panic's text, bounded.
        reason: String,
        /// How long it waits.
        backoff: Duration,
    },
    /// It is running again.
    Restarted,
    /// It panicked too often.
    GaveUp {
        /// The last panic's text, bounded.
        reason: String,
    },
    /// It stopped of its own will.
    Exited,
}

/// Starts a guarded actor on an arbiter. `make` runs on the arbiter's thread, before the actor does, and gets its
/// address; `tell` hears of its fate there.
pub fn start<A>(
    arbiter: &ArbiterHandle,
    policy: RestartPolicy,
    make: impl FnOnce(&Addr<A>) -> A + Send + 'static,
    tell: impl Fn(Fate) + Send + 'static,
) -> Addr<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    // The capacity bounds nothing for `do_send`; work is bounded by permits (docs/decisions/0006).
    let (sender, receiver) = channel::channel(16);
    let address = Addr::new(sender);
    let own = address.clone();
    arbiter.spawn_fn(move || {
        let context = Context::with_receiver(receiver);
        let actor = context.into_future(make(&own));
        actix_rt::spawn(Guard { actor: Some(actor), policy, history: History::default(), nap: None, tell });
    });
    address
}

struct Guard<A, T>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    actor: Option<ContextFut<A, Context<A>>>,
    policy: RestartPolicy,
    history: History,
    nap: Option<Pin<Box<Sleep>>>,
    tell: T,
}

impl<A: Actor<Context = Context<A>> + Supervised, T> Unpin for Guard<A, T> {}

impl<A, T> Future for Guard<A, T>
where
    A: Actor<Context = Context<A>> + Supervised,
    T: Fn(Fate),
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let Some(actor) = &mut this.actor else { return Poll::Ready(()) };
            // The actor is reset before anyone looks at it again, so a broken invariant cannot be seen.
            let step = if let Some(nap) = &mut this.nap {
                ready!(nap.as_mut().poll(cx));
                this.nap = None;
                catch_unwind(AssertUnwindSafe(|| actor.restart())).map(|restarted| {
                    (this.tell)(if restarted { Fate::Restarted } else { Fate::Exited });
                    if restarted { None } else { Some(Poll::Ready(())) }
                })
            } else {
                catch_unwind(AssertUnwindSafe(|| Pin::new(actor).poll(cx))).map(|poll| {
                    if poll.is_ready() {
                        (this.tell)(Fate::Exited);
                    }
                    Some(poll)
                })
            };
            match step {
                Ok(None) => {}
                Ok(Some(poll)) => return poll,
                Err(panic) => this.fail(panics::text_of(&*panic)),
            }
        }
    }
}

impl<A, T> Guard<A, T>
where
    A: Actor<Context = Context<A>> + Supervised,
    T: Fn(Fate),
{
    fn fail(&mut self, reason: String) {
        match self.history.failed(Instant::now(), &self.policy) {
            Decision::Restart(backoff) => {
                self.nap = Some(Box::pin(sleep(backoff)));
                (self.tell)(Fate::Restarting { reason, backoff });
            }
            Decision::GiveUp => {
                // Dropping runs the actor's own code once more, after a panic: guarded as well.
                let actor = self.actor.take();
                drop(catch_unwind(AssertUnwindSafe(|| drop(actor))));
                (self.tell)(Fate::GaveUp { reason });
            }
        }
    }
}
