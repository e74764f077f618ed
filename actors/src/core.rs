//! One engine thread: what the workers on it share, and how other threads reach it.
//!
//! ```text
//!  HTTP worker ── append(accepted) ──┐ under the log's lock, so in the log's order
//!                                    ▼
//!                         Hub::inbox ── one wake a turn ──> Core ── Enqueue ──> PipelineActor
//!  log writer ── watermark ── one wake a batch ───────────> Core ── Durable ──> PipelineActor
//! ```
//! Nothing per event crosses a thread but an entry in the inbox. The core's own task empties the inbox, tells
//! the workers how far the log is durable, and wakes the log's writer once at the end of a turn.

use crate::{
    catalog::Shared,
    clock::Clock,
    delivery::Transport,
    domain::{
        event::{Accepted, Route},
        id::{PipelineId, TenantId},
        time::Timestamp,
    },
    log::{EventLog, Follower, Position},
    pipeline::{Durable, Enqueue, Room},
    request::RequestBuilder,
    supervisor::registry::Worker,
};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet, VecDeque},
    future::poll_fn,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};
use tokio::sync::oneshot;

/// An accepted event in memory, until its first attempts are under way; later it is read from the log.
#[derive(Debug)]
pub struct AcceptedEvent {
    /// Where it stands in the log.
    pub position: Position,
    /// Who owns it.
    pub tenant: TenantId,
    /// When it was accepted.
    pub at: Timestamp,
    /// Id, type, resource, routes.
    pub accepted: Accepted,
    /// As it was posted.
    pub body: Bytes,
}

/// What other threads put into a core's inbox.
pub(crate) enum Post {
    /// An accepted event whose lanes lie here.
    Event(Arc<AcceptedEvent>),
    /// Answer when everything before this has been handed to the workers.
    Barrier(oneshot::Sender<()>),
}

/// The part of a core that other threads may touch.
#[derive(Default)]
pub(crate) struct Hub {
    inbox: Mutex<Vec<Post>>,
    waker: AtomicWaker,
    awake: AtomicBool,
    /// Turns of the core's heartbeat, for the watchdog.
    pub(crate) beats: AtomicU64,
}

impl Hub {
    /// Adds to the inbox. Call [`Hub::wake`] afterwards.
    pub(crate) fn post(&self, post: Post) {
        self.inbox.lock().push(post);
    }

    /// Wakes the core, unless it has been woken and not looked yet.
    pub(crate) fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }
}

/// Limits of requests in flight on one core, and who waits for room.
struct Slots {
    per_host_max: usize,
    free: usize,
    hosts: HashMap<Arc<str>, Host>,
    /// Workers that met the limit of the whole core.
    waiting: VecDeque<PipelineId>,
}

#[derive(Default)]
struct Host {
    in_flight: usize,
    waiting: VecDeque<PipelineId>,
}

/// One engine thread.
pub struct Core {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Clock,
    pub(crate) transport: Rc<dyn Transport>,
    pub(crate) builder: Rc<RequestBuilder>,
    /// Tenants and their profiles.
    pub(crate) published: Shared,
    /// This core among all of them.
    pub(crate) part: (u16, u16),
    /// Divides retry delays.
    pub(crate) speed: f64,
    hub: Arc<Hub>,
    workers: RefCell<HashMap<PipelineId, Worker>>,
    slots: RefCell<Slots>,
    /// Workers that wait for the log, each once.
    parked: RefCell<HashSet<PipelineId>>,
    told: Cell<Position>,
    cache: RefCell<EventCache>,
    kick: Cell<bool>,
    follower: Arc<Follower>,
    task: RefCell<Option<Waker>>,
}

/// What a core is made of.
pub(crate) struct CoreParts {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Clock,
    pub(crate) transport: Rc<dyn Transport>,
    pub(crate) builder: Rc<RequestBuilder>,
    pub(crate) published: Shared,
    pub(crate) part: (u16, u16),
    pub(crate) speed: f64,
    pub(crate) hub: Arc<Hub>,
    pub(crate) concurrency_per_host: usize,
    pub(crate) concurrency: usize,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

impl Core {
    /// Makes this thread a core and starts its task.
    pub(crate) fn install(parts: CoreParts) -> Rc<Self> {
        let cores = usize::from(parts.part.1.max(1));
        let share = |limit: usize| limit.div_ceil(cores).max(1);
        let slots = Slots {
            per_host_max: share(parts.concurrency_per_host),
            free: share(parts.concurrency),
            hosts: HashMap::new(),
            waiting: VecDeque::new(),
        };
        let core = Rc::new(Self {
            follower: parts.log.watermark().follow(),
            log: parts.log,
            clock: parts.clock,
            transport: parts.transport,
            builder: parts.builder,
            published: parts.published,
            part: parts.part,
            speed: parts.speed,
            hub: parts.hub,
            workers: RefCell::default(),
            slots: RefCell::new(slots),
            parked: RefCell::default(),
            told: Cell::default(),
            cache: RefCell::default(),
            kick: Cell::new(false),
            task: RefCell::new(None),
        });
        CURRENT.with(|current| *current.borrow_mut() = Some(Rc::clone(&core)));
        let run = Rc::clone(&core);
        actix_rt::spawn(poll_fn(move |cx| run.turn(cx)));
        let hub = Arc::clone(&core.hub);
        actix_rt::spawn(async move {
            loop {
                hub.beats.fetch_add(1, Ordering::Relaxed);
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
        self.workers.borrow_mut().insert(id, worker);
    }

    /// Asks for a [`Durable`] message as soon as the log has caught up with `position`, which `id` appended.
    pub(crate) fn park(&self, id: &PipelineId, position: Position) {
        let told = self.told.get();
        if position <= told {
            // The writer was quicker than this turn, and others have been told already.
            if let Some(worker) = self.workers.borrow().get(id) {
                worker.address.do_send(Durable(told));
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

    /// Takes a place for a request to `host`, if there is one; otherwise `id` is told when there is.
    pub(crate) fn take_slot(&self, host: &Arc<str>, id: &PipelineId) -> bool {
        let mut slots = self.slots.borrow_mut();
        let Slots { per_host_max, free, hosts, waiting } = &mut *slots;
        if *free == 0 {
            if !waiting.contains(id) {
                waiting.push_back(id.clone());
            }
            return false;
        }
        let at = hosts.entry(Arc::clone(host)).or_default();
        if at.in_flight >= *per_host_max {
            if !at.waiting.contains(id) {
                at.waiting.push_back(id.clone());
            }
            return false;
        }
        at.in_flight += 1;
        *free -= 1;
        true
    }

    /// Gives a place back and offers it.
    pub(crate) fn release_slot(&self, host: &Arc<str>) {
        let mut slots = self.slots.borrow_mut();
        slots.free += 1;
        if let Some(at) = slots.hosts.get_mut(host) {
            at.in_flight -= 1;
        }
        drop(slots);
        self.offer_slot(host);
    }

    /// Offers room at `host` to whoever has waited longest for it. A worker that was told passes the offer on when
    /// its turn is over: it may have had nothing to send any more.
    pub(crate) fn offer_slot(&self, host: &Arc<str>) {
        let mut slots = self.slots.borrow_mut();
        let Slots { per_host_max, free, hosts, waiting } = &mut *slots;
        if *free == 0 {
            return;
        }
        let mut told = waiting.pop_front();
        if let Some(at) = hosts.get_mut(host) {
            if told.is_none() && at.in_flight < *per_host_max {
                told = at.waiting.pop_front();
            }
            if at.in_flight == 0 && at.waiting.is_empty() {
                hosts.remove(host);
            }
        }
        drop(slots);
        let Some(id) = told else { return };
        let worker = self.workers.borrow().get(&id).cloned();
        match worker {
            Some(worker) => worker.address.do_send(Room { host: Arc::clone(host) }),
            None => self.offer_slot(host),
        }
    }

    /// An accepted event: from memory if it came a moment ago, else from the log.
    pub(crate) fn event(&self, position: Position) -> Result<Arc<AcceptedEvent>, String> {
        if let Some(event) = self.cache.borrow().map.get(&position) {
            return Ok(Arc::clone(event));
        }
        read_event(&*self.log, position).map(Arc::new)
    }

    /// The core's task: inbox, durability, the end of the turn.
    fn turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.task.borrow().is_none() {
            *self.task.borrow_mut() = Some(cx.waker().clone());
        }
        self.hub.waker.register(cx.waker());
        self.hub.awake.store(false, Ordering::Release);
        let posts = std::mem::take(&mut *self.hub.inbox.lock());
        for post in posts {
            match post {
                Post::Event(event) => self.hand_over(&event),
                Post::Barrier(done) => drop(done.send(())),
            }
        }
        self.tell_durable(cx);
        if self.kick.replace(false) {
            self.log.kick();
        }
        Poll::Pending
    }

    fn hand_over(&self, event: &Arc<AcceptedEvent>) {
        self.cache.borrow_mut().put(event);
        let workers = self.workers.borrow();
        for (index, Route { pipeline, .. }) in event.accepted.routes.iter().enumerate() {
            // A worker that was given up has no address: it finds the event in the log when it is revived.
            if let Some(worker) = workers.get(pipeline) {
                worker.status.depth.fetch_add(1, Ordering::Relaxed);
                worker.address.do_send(Enqueue { event: Arc::clone(event), route: index });
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
            for id in self.parked.borrow_mut().drain() {
                if let Some(worker) = workers.get(&id) {
                    worker.address.do_send(Durable(durable));
                }
            }
            if self.parked.borrow().is_empty() {
                return;
            }
        }
    }
}

/// Reads an accepted event from the log.
pub(crate) fn read_event(log: &dyn EventLog, position: Position) -> Result<AcceptedEvent, String> {
    let record = log.read_at(position).map_err(|e| e.to_string())?;
    let crate::domain::event::Fact::Accepted(tenant, accepted) = record.fact().map_err(|e| e.to_string())?
    else {
        return Err(format!("record {position} is no accepted event"));
    };
    let body = log.payload(position).map_err(|e| e.to_string())?.ok_or("the event's data has expired")?;
    Ok(AcceptedEvent { position, tenant, at: record.at, accepted, body })
}

/// Events that came a moment ago, by arrival, up to a number of bytes.
#[derive(Default)]
struct EventCache {
    map: HashMap<Position, Arc<AcceptedEvent>>,
    order: VecDeque<Position>,
    bytes: usize,
}

impl EventCache {
    const BYTES_MAX: usize = 16 << 20;

    fn put(&mut self, event: &Arc<AcceptedEvent>) {
        self.bytes += event.body.len() + 256;
        self.order.push_back(event.position);
        self.map.insert(event.position, Arc::clone(event));
        while self.bytes > Self::BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(gone) = self.map.remove(&oldest) {
                self.bytes -= gone.body.len() + 256;
            }
        }
    }
}
