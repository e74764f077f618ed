//! Waiting for the disk, many at a time: one follower of the watermark per thread, however many requests wait.

use crate::log::{EventLog, Follower, Position};
use crate::worker::hub::Hub;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// The waiting requests of this thread and this log.
struct Waiters {
    log: Arc<dyn EventLog>,
    follower: Arc<Follower>,
    /// By position, and of those that wait for the same one, by number.
    waiting: RefCell<BTreeMap<(Position, u64), Waker>>,
    /// How many have waited.
    number: Cell<u64>,
    kick: Cell<bool>,
    /// Cores that have something in their inbox.
    handed: RefCell<Vec<Arc<Hub>>>,
    task: RefCell<Option<Waker>>,
}

thread_local! {
    static HERE: RefCell<Vec<Rc<Waiters>>> = const { RefCell::new(Vec::new()) };
}

/// Who wakes the log's writer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kick {
    /// This thread, once it has nothing else to do.
    Here,
    /// A core that was handed work a moment ago: what it appends then shares the sync.
    Elsewhere,
}

/// Waits until `position` is durable; false if the log failed before. Must be called on an arbiter.
pub(crate) async fn reached(log: &Arc<dyn EventLog>, position: Position, kick: Kick) -> bool {
    let watermark = log.watermark();
    if watermark.get() >= position {
        return true;
    }
    let waiters = Waiters::here(log);
    if kick == Kick::Here {
        waiters.kick();
    } else {
        waiters.look();
    }
    poll_fn(|cx| {
        if watermark.get() >= position {
            return Poll::Ready(true);
        }
        if watermark.failed() {
            return Poll::Ready(false);
        }
        waiters.wait(position, cx.waker());
        Poll::Pending
    })
    .await
}

/// Wakes these cores at the end of this thread's turn: a wake is a system call, and one does for all that is accepted
/// until then.
pub(crate) fn wake_later<'h>(log: &Arc<dyn EventLog>, hubs: impl Iterator<Item = &'h Arc<Hub>>) {
    let waiters = Waiters::here(log);
    hubs.for_each(|hub| waiters.hand(hub));
    waiters.look();
}

impl Waiters {
    fn here(log: &Arc<dyn EventLog>) -> Rc<Self> {
        HERE.with(|here| {
            let mut here = here.borrow_mut();
            if let Some(found) = here.iter().find(|waiters| Arc::ptr_eq(&waiters.log, log)) {
                return Rc::clone(found);
            }
            let waiters = Rc::new(Self {
                log: Arc::clone(log),
                follower: log.watermark().follow(),
                waiting: RefCell::default(),
                number: Cell::default(),
                kick: Cell::new(false),
                handed: RefCell::default(),
                task: RefCell::new(None),
            });
            let run = Rc::clone(&waiters);
            actix_rt::spawn(poll_fn(move |cx| run.turn(cx)));
            here.push(Rc::clone(&waiters));
            waiters
        })
    }

    fn wait(&self, position: Position, waker: &Waker) {
        let number = self.number.get();
        self.number.set(number + 1);
        self.waiting.borrow_mut().insert((position, number), waker.clone());
    }

    fn kick(&self) {
        if !self.kick.replace(true) {
            self.look();
        }
    }

    fn hand(&self, hub: &Arc<Hub>) {
        let mut handed = self.handed.borrow_mut();
        if !handed.iter().any(|other| Arc::ptr_eq(other, hub)) {
            handed.push(Arc::clone(hub));
        }
    }

    /// Has the task look at what waits.
    fn look(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    fn turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.task.borrow().is_none() {
            *self.task.borrow_mut() = Some(cx.waker().clone());
        }
        self.handed.borrow_mut().drain(..).for_each(|hub| hub.wake());
        if self.kick.replace(false) {
            self.log.kick();
        }
        let watermark = self.log.watermark();
        loop {
            let Some(first) = self.waiting.borrow().first_key_value().map(|(key, _)| key.0) else {
                return Poll::Pending;
            };
            if self.follower.poll_reached(watermark, first, cx).is_pending() {
                return Poll::Pending;
            }
            let mut waiting = self.waiting.borrow_mut();
            // All of them if the log has failed: each looks for itself.
            let rest = if watermark.failed() {
                BTreeMap::new()
            } else {
                waiting.split_off(&(watermark.get().next(), 0))
            };
            let ready = std::mem::replace(&mut *waiting, rest);
            drop(waiting);
            ready.into_values().for_each(Waker::wake);
        }
    }
}
