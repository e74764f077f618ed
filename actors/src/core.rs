//! One engine thread: what the workers on it share, and how other threads reach it.
//!
//! ```text
//!  HTTP worker ── append(accepted) ──┐ under the log's lock, so in the log's order
//!                                    ▼
//!                         Hub::inbox ── one wake a turn ──> Core ── Enqueue ──> PipelineActor
//!  log writer ── watermark ── one wake a batch ───────────> Core ── Durable ──> PipelineActor
//! ```
//! Nothing per event crosses a thread but an entry in the inbox. The core's own task empties the inbox, tells
//! the workers how far the log is durable, and wakes the log's writer once at the end of a turn, or does
//! its work where no attempt is under way (decision 0020).

mod recent;
mod slots;

use crate::{
    accepted::AcceptedEvent,
    clock::{self, Clock},
    delivery::Transport,
    domain::{
        event::Route,
        id::{PipelineId, TenantId},
    },
    engine::Erased,
    failpoint,
    log::{EventLog, Follower, Position},
    published::Shared,
    request::RequestBuilder,
    worker::{
        Arrival, Worker,
        hub::{Hub, Post},
    },
};
use hashbrown::HashMap;
use recent::RecentEvents;
pub(crate) use slots::Share;
use slots::Slots;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
};

/// One engine thread.
pub struct Core {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Clock,
    pub(crate) transport: Rc<dyn Transport>,
    pub(crate) builder: Rc<RequestBuilder>,
    /// Tenants and their profiles.
    pub(crate) published: Shared,
    /// Events whose payloads are erased.
    pub(crate) erased: Arc<Erased>,
    /// This core among all of them.
    pub(crate) part: (u16, u16),
    /// Divides retry delays.
    pub(crate) speed: f64,
    hub: Arc<Hub>,
    workers: RefCell<HashMap<PipelineId, Worker>>,
    /// Events that came before the worker of their pipeline, which is on its way here.
    unclaimed: RefCell<HashMap<PipelineId, Vec<Arrival>>>,
    slots: RefCell<Slots>,
    /// Workers that wait for the log, each once, and told in the same order in each run.
    parked: RefCell<BTreeSet<PipelineId>>,
    told: Cell<Position>,
    recent: RefCell<RecentEvents>,
    kick: Cell<bool>,
    /// Attempts whose tasks are not over.
    under_way: Cell<usize>,
    follower: Arc<Follower>,
    task: RefCell<Option<Waker>>,
}

/// An attempt whose task is not over.
pub(crate) struct UnderWay(Rc<Core>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

/// What a core is made of.
pub(crate) struct CoreParts {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Clock,
    pub(crate) transport: Rc<dyn Transport>,
    pub(crate) builder: Rc<RequestBuilder>,
    pub(crate) published: Shared,
    pub(crate) erased: Arc<Erased>,
    pub(crate) part: (u16, u16),
    pub(crate) speed: f64,
    pub(crate) hub: Arc<Hub>,
    pub(crate) concurrency_per_host: usize,
    pub(crate) concurrency: usize,
}

/// What came for each worker, told in the same order in each run.
type Arrived = BTreeMap<PipelineId, Vec<Arrival>>;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

impl Core {
    /// Makes this thread a core and starts its task.
    pub(crate) fn install(parts: CoreParts) -> Rc<Self> {
        let cores = usize::from(parts.part.1.max(1));
        let share = |limit: usize| limit.div_ceil(cores).max(1);
        let slots = Slots::new(share(parts.concurrency_per_host), share(parts.concurrency));
        let core = Rc::new(Self {
            follower: parts.log.watermark().follow(),
            log: parts.log,
            clock: parts.clock,
            transport: parts.transport,
            builder: parts.builder,
            published: parts.published,
            erased: parts.erased,
            part: parts.part,
            speed: parts.speed,
            hub: parts.hub,
            workers: RefCell::default(),
            unclaimed: RefCell::default(),
            slots: RefCell::new(slots),
            parked: RefCell::default(),
            told: Cell::default(),
            recent: RefCell::default(),
            kick: Cell::new(false),
            under_way: Cell::new(0),
            task: RefCell::new(None),
        });
        CURRENT.with(|current| *current.borrow_mut() = Some(Rc::clone(&core)));
        let run = Rc::clone(&core);
        actix_rt::spawn(poll_fn(move |cx| run.turn(cx)));
        let (hub, builder) = (Arc::clone(&core.hub), Rc::clone(&core.builder));
        actix_rt::spawn(async move {
            loop {
                hub.beats.fetch_add(1, Ordering::Relaxed);
                builder.forget_ended_keys(clock::wall());
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        });
        core
    }

    /// The core of this thread.
    ///
    /// # Panics
    /// On a thread that is none.
    pub(crate) fn current() -> Rc<Self> {
        CURRENT.with(|current| current.borrow().clone()).expect("called on an engine thread")
    }

    /// A worker lives here now, or a new one took the place of one that was given up.
    pub(crate) fn adopt(&self, id: PipelineId, worker: Worker) {
        // What the former one had in its mailbox went with it.
        worker.status.depth.store(0, Ordering::Relaxed);
        if let Some(early) = self.unclaimed.borrow_mut().remove(&id) {
            worker.enqueue(early);
        }
        self.workers.borrow_mut().insert(id, worker);
    }

    /// Asks for a `Durable` message as soon as the log has caught up with `position`, which `id` appended.
    pub(crate) fn park(&self, id: &PipelineId, position: Position) {
        let told = self.told.get();
        if position <= told {
            // The writer was quicker than this turn, and others have been told already.
            if let Some(worker) = self.workers.borrow().get(id) {
                worker.tell_durable(told);
            }
        } else if !self.parked.borrow().contains(id) {
            self.parked.borrow_mut().insert(id.clone());
        }
        self.kick_later();
    }

    /// Wakes the log's writer when this turn is over: once, however many appends there were.
    pub(crate) fn kick_later(&self) {
        if !self.kick.replace(true)
            && let Some(task) = &*self.task.borrow()
        {
            task.wake_by_ref();
        }
    }

    /// An attempt's task begins; it is over when the answer is dropped.
    pub(crate) fn begin_attempt(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        UnderWay(Rc::clone(self))
    }

    /// What a tenant holds of this core, for a worker of it.
    pub(crate) fn join_slots(&self, tenant: &TenantId) -> Rc<Share> {
        self.slots.borrow_mut().join(tenant)
    }

    /// The worker holds nothing any more.
    pub(crate) fn leave_slots(&self, tenant: &Rc<Share>) {
        self.slots.borrow_mut().leave(tenant);
    }

    /// Takes a place for a request to `host`, if there is one; otherwise `id` is told when there is.
    pub(crate) fn take_slot(&self, host: &Arc<str>, tenant: &Rc<Share>, id: &PipelineId) -> bool {
        self.slots.borrow_mut().take(host, tenant, id)
    }

    /// Gives back the place that `id` held and tells those whose turn it is. `id` itself is not told but answered:
    /// true if a place is kept for it, which it has to take or to forgo.
    pub(crate) fn release_slot(&self, host: &Arc<str>, tenant: &Share, id: &PipelineId) -> bool {
        self.tell_room(Some(id), |slots, works| slots.release(host, tenant, works))
    }

    /// Passes on what was kept for `id` and not taken.
    pub(crate) fn forgo_slots(&self, id: &PipelineId, tenant: &Share) {
        self.tell_room(None, |slots, works| slots.forgo(id, tenant, works));
    }

    fn tell_room(
        &self,
        asking: Option<&PipelineId>,
        turn: impl FnOnce(&mut Slots, &dyn Fn(&PipelineId) -> bool) -> Vec<PipelineId>,
    ) -> bool {
        let workers = self.workers.borrow();
        let works = |id: &PipelineId| workers.get(id).is_some_and(Worker::connected);
        let told = turn(&mut self.slots.borrow_mut(), &works);
        let others = told.iter().filter(|id| Some(*id) != asking);
        others.filter_map(|id| workers.get(id)).for_each(Worker::tell_room);
        asking.is_some_and(|id| told.contains(id))
    }

    /// An accepted event: from memory if it came a moment ago, else from the log.
    pub(crate) fn event(&self, position: Position) -> Result<Arc<AcceptedEvent>, String> {
        if let Some(event) = self.recent.borrow().get(position) {
            return Ok(event);
        }
        AcceptedEvent::read(&*self.log, position).map(Arc::new)
    }

    /// A delivery of this event has ended, or will go on much later.
    pub(crate) fn release_event(&self, position: Position) {
        self.recent.borrow_mut().release(position);
    }

    /// The core's task: inbox, durability, the end of the turn.
    fn turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.task.borrow().is_none() {
            *self.task.borrow_mut() = Some(cx.waker().clone());
        }
        if failpoint::postponed("core.turn", cx) {
            return Poll::Pending;
        }
        let posts = self.hub.collect(cx.waker());
        let handed = !posts.is_empty();
        let mut arrived = BTreeMap::new();
        for post in posts {
            match post {
                Post::Event(event) => self.sort(&event, &mut arrived),
                Post::Barrier(done) => {
                    self.hand_over(std::mem::take(&mut arrived));
                    let _ = done.send(());
                }
            }
        }
        self.hand_over(arrived);
        self.tell_durable(cx);
        if self.kick.replace(false) {
            self.have_synced();
        }
        if handed {
            // Behind the workers that were told just now: their first attempts share the sync of the acceptance,
            // and if there is none to start, its 202 waits for this kick.
            self.kick_later();
        }
        Poll::Pending
    }

    /// Where no attempt is under way, there is nothing to do before the sync is over: whatever else comes to this thread
    /// would wait for the next one. Then two hand-overs between threads are saved.
    fn have_synced(&self) {
        if self.under_way.get() == 0 {
            self.log.commit();
        } else {
            self.log.kick();
        }
    }

    fn sort(&self, event: &Arc<AcceptedEvent>, arrived: &mut Arrived) {
        self.recent.borrow_mut().put(event);
        for (route, Route { pipeline, .. }) in event.accepted.routes.iter().enumerate() {
            let arrival = Arrival { event: Arc::clone(event), route };
            arrived.entry(pipeline.clone()).or_default().push(arrival);
        }
    }

    fn hand_over(&self, arrived: Arrived) {
        let workers = self.workers.borrow();
        for (pipeline, events) in arrived {
            // A worker that was given up has no address: it finds the events in the log when it is revived.
            match workers.get(&pipeline) {
                Some(worker) => worker.enqueue(events),
                None => self.unclaimed.borrow_mut().entry(pipeline).or_default().extend(events),
            }
        }
    }

    fn tell_durable(&self, cx: &mut Context<'_>) {
        if self.parked.borrow().is_empty() {
            return;
        }
        let watermark = self.log.watermark();
        // Ready as soon as anything behind what was told is durable; the workers ask again for the rest.
        while self.follower.poll_reached(watermark, self.told.get().next(), cx).is_ready() {
            if watermark.failed() {
                return;
            }
            let durable = watermark.get();
            self.told.set(durable);
            let workers = self.workers.borrow();
            for id in self.parked.take() {
                if let Some(worker) = workers.get(&id) {
                    worker.tell_durable(durable);
                }
            }
            if self.parked.borrow().is_empty() {
                return;
            }
        }
    }
}
