//! The engine in virtual time: its real actors on a paused clock, with a log and receivers that outlive them.
//!
//! ```text
//!  World ── MemoryLog (real codec) ──> life 1: fold ─> catalog, supervisor, workers, dead letters ─> killed
//!    │                            ──> life 2: fold ─> …          each on a thread and a clock of its own
//!    └── receivers, what reached them
//! ```
//! A life is one engine from its start to a kill: nothing is told, nothing is flushed. Hours pass in milliseconds,
//! since the clock jumps to the next timer whenever nobody has anything to do.

mod breaker;
mod checks;
mod dead_letters;
mod hand_overs;
mod history;
mod schedules;
mod seeds;
mod traffic;

use crate::{
    answers::{Answers, Restored},
    catalog::{CatalogActor, CatalogParts},
    clock::Clock,
    core::{Core, CoreParts},
    dead_letters::{Bounds, DeadLetterActor, OpenCounts},
    delivery::{Exchange, Request, Timings, Transport, template::EnvPolicy, tls::config_of},
    domain::{
        endpoint::pace::Pace,
        event::{Accepted, Fact, PipelineEvent, Route, TenantEvent},
        outcome::OutcomeClass,
        state::State,
        step::PipelineConfig,
        testing::{operator, pipe, tenant},
        time::Timestamp,
    },
    endpoints::Endpoints,
    engine::EngineConfig,
    intake::{
        Intake,
        dedup::Dedup,
        moments::Moments,
        quotas::Allowance,
        room::{Load, Room},
    },
    log::{EventLog, Position, codec, memory::MemoryLog, replay},
    profile::Profiles,
    published::{Published, Shared},
    request::{RequestBuilder, RequestTls},
    secrets::{MasterKey, Secrets},
    supervisor::{Employ, SupervisorActor, SupervisorParts, guard},
    worker::registry::Registry,
};
use actix::{Addr, System};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;
use rustls::RootCertStore;
use std::{future::Future, rc::Rc, sync::Arc, thread, time::Duration};

/// One request as its receiver saw it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    /// `evt_1`
    event: String,
    url: String,
    attempt: u16,
    /// Above 1 where it was sent again on demand.
    round: u16,
    body: Bytes,
    start: Timestamp,
    end: Timestamp,
    status: u16,
}

/// What a receiver answers to a request; below 100 stands for no answer at all.
type Script = Arc<dyn Fn(&Seen) -> u16 + Send + Sync>;

/// The request is taken and not answered.
const HANGS: u16 = 1;
/// The connection is reset.
const RESETS: u16 = 2;
/// What a 429 asks for.
const RETRY_AFTER: Duration = Duration::from_secs(7);

/// What outlives an engine.
struct World {
    log: Arc<MemoryLog>,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Script,
    /// How long each receiver takes.
    latency: Duration,
    now: Timestamp,
}

impl World {
    /// A tenant of `profile` with one pipeline.
    fn new(
        profile: &str,
        config: PipelineConfig,
        script: impl Fn(&Seen) -> u16 + Send + Sync + 'static,
    ) -> Self {
        let world = Self {
            log: Arc::default(),
            seen: Arc::default(),
            script: Arc::new(script),
            latency: Duration::from_millis(20),
            now: crate::clock::wall(),
        };
        let (name, by) = ("A".to_owned(), operator());
        let created = TenantEvent::TenantCreated { name, profile: profile.into(), by: by.clone() };
        world.write(&Fact::Tenant(tenant(), created), None);
        let created = PipelineEvent::PipelineCreated { tenant: tenant(), config, by };
        world.write(&Fact::Pipeline(pipe(), created), None);
        world
    }

    fn write(&self, fact: &Fact, payload: Option<Bytes>) {
        codec::append(&*self.log, self.now, fact, payload).unwrap();
    }

    /// An event about `resource` was accepted before the next life.
    fn accept(&self, id: &str, resource: &str) {
        let routes = vec![Route { pipeline: pipe(), version: 1, skipped: false }];
        let (event_type, body) =
            ("conversion.created", format!(r#"{{"id":"{id}","type":"conversion.created","data":{{}}}}"#));
        let accepted = Accepted {
            id: id.into(),
            event_type: event_type.into(),
            resource: resource.into(),
            routes,
            moment: None,
        };
        self.write(&Fact::Accepted(tenant(), accepted), Some(body.into()));
    }

    /// What a start would know.
    fn fold(&self) -> State {
        replay::fold(&*self.log, State::default(), self.log.tail()).unwrap()
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Starts an engine, lets it run for so long and kills it.
    fn live(&mut self, time: Duration) {
        self.live_with(time, |_| std::future::pending());
    }

    /// The same, while `drive` does something with it.
    fn live_with<F: Future<Output = ()>>(
        &mut self,
        time: Duration,
        drive: impl FnOnce(Running) -> F + Send + 'static,
    ) {
        let (state, log, not_before) = (self.fold(), Arc::clone(&self.log), self.now);
        let (seen, script, latency) = (Arc::clone(&self.seen), Arc::clone(&self.script), self.latency);
        let life = move || {
            let runtime = || {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                builder.enable_all().start_paused(true).build().unwrap()
            };
            System::with_tokio_rt(runtime).block_on(async move {
                let clock = Clock::start(not_before);
                let transport = Rc::new(Receivers { clock, seen, script, latency });
                let running = employ(state, log, clock, transport).await;
                let end = tokio::time::Instant::now() + time;
                drop(tokio::time::timeout_at(end, drive(running)).await);
                tokio::time::sleep_until(end).await;
                clock.now()
            })
        };
        self.now = thread::spawn(life).join().unwrap();
    }
}

/// Receivers that follow a script.
struct Receivers {
    clock: Clock,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Script,
    latency: Duration,
}

impl Transport for Receivers {
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Exchange> {
        let header = |wanted: &str| {
            let found = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let (event, attempt) = (header("webhook-id"), header("X-Webhook-Attempt").parse().unwrap());
        let round = header("X-Webhook-Redelivery").parse().unwrap_or(1);
        let (clock, seen, latency) = (self.clock, Arc::clone(&self.seen), self.latency);
        let start = clock.now();
        let Request { url, body, timeout, .. } = request;
        let url = url.to_string();
        let mut one = Seen { event, url, attempt, round, body, start, end: start, status: 0 };
        one.status = (self.script)(&one);
        let status = one.status;
        let at = {
            let mut seen = seen.lock();
            seen.push(one);
            seen.len() - 1
        };
        Box::pin(async move {
            tokio::time::sleep(if status == HANGS { timeout } else { latency }).await;
            seen.lock()[at].end = clock.now();
            let class = match status {
                0 => OutcomeClass::ConnectionRefused,
                HANGS => OutcomeClass::Timeout,
                RESETS => OutcomeClass::ProtocolError,
                200..300 => OutcomeClass::Success,
                _ => OutcomeClass::HttpError,
            };
            Exchange {
                class,
                status: (status >= 100).then_some(status),
                retry_after: (status == 429).then(|| RETRY_AFTER.as_secs().to_string()),
                excerpt: Bytes::new(),
                detail: String::new(),
                timings: Timings::default(),
            }
        })
    }
}

/// An engine in its life.
struct Running {
    clock: Clock,
    intake: Arc<Intake>,
    registry: Registry,
    catalog: Addr<CatalogActor>,
    dead_letters: Addr<DeadLetterActor>,
    published: Shared,
}

/// As `engine::start` does, on one thread.
async fn employ(
    mut state: State,
    log: Arc<MemoryLog>,
    clock: Clock,
    transport: Rc<dyn Transport>,
) -> Running {
    let log: Arc<dyn EventLog> = log;
    let config = EngineConfig::new("unused".into());
    let (policy, here, folded) =
        (config.restart_policy(), System::current().arbiter().clone(), state.position);
    let hubs: Arc<[_]> = Arc::from(vec![Arc::default()]);
    let registry = Registry::new(Arc::clone(&hubs));
    let profiles = Arc::new(Profiles::builtin());
    let published = Published::new(std::mem::take(&mut state.catalog), &profiles);
    let published = Arc::new(ArcSwap::from_pointee(published));
    let secrets =
        Arc::new(Secrets::new(&MasterKey::parse(&hex::encode((0..32).collect::<Vec<u8>>())).unwrap()));
    let env = Arc::new(EnvPolicy::parse([""; 0]).unwrap());
    let tls = Arc::new(RequestTls::new(config_of(RootCertStore::empty()).unwrap()));
    Core::install(CoreParts {
        log: Arc::clone(&log),
        clock,
        transport,
        builder: Rc::new(RequestBuilder::new(Arc::clone(&secrets), env, Arc::new(|_: &str| None), tls)),
        published: Arc::clone(&published),
        erased: Arc::default(),
        part: (0, 1),
        speed: 1.0,
        hub: Arc::clone(&hubs[0]),
        concurrency_per_host: config.concurrency_per_host,
        concurrency: config.concurrency,
    });
    let dead_letters = {
        let (log, registry, queue) = (Arc::clone(&log), registry.clone(), state.dead_letters);
        let bounds = Bounds { items_max: config.dead_letters_max, ..Bounds::default() };
        let make = move |_: &_| DeadLetterActor::new(log, registry, queue, folded, bounds);
        guard::start(&here, policy, make, |_| {})
    };
    let parts = SupervisorParts {
        log: Arc::clone(&log),
        clock,
        registry: registry.clone(),
        arbiters: vec![here.clone()],
        dead_letters: dead_letters.clone().recipient(),
        policy,
    };
    let supervisor = guard::start(&here, policy, move |_| SupervisorActor::new(parts), |_| {});
    let dedup = Dedup::new(config.dedup_ids_max, config.dedup_window);
    replay::visit(&*log, Position::START, log.tail(), &mut |position, at, fact| {
        if let Fact::Accepted(tenant, accepted) = fact {
            dedup.restore(&tenant, &accepted.id, position, at);
        }
    })
    .unwrap();
    let answers = Answers::new(Arc::clone(&log), clock, Arc::clone(&secrets), Restored::default());
    let intake = Arc::new(Intake {
        log: Arc::clone(&log),
        clock,
        published: Arc::clone(&published),
        registry: registry.clone(),
        dedup,
        moments: Moments::after(clock.now()),
        allowance: Allowance::new(OpenCounts::default()),
        room: Room::new(Load { events: config.intake_events_max, bytes: config.intake_bytes_max }),
        accepted: state.events.into(),
        closed: false.into(),
    });
    let parts = CatalogParts {
        log,
        clock,
        answers: Arc::new(answers),
        published: Arc::clone(&published),
        profiles,
        registry: registry.clone(),
        supervisor: supervisor.clone(),
    };
    let catalog = guard::start(&here, policy, move |_| CatalogActor::new(parts), |_| {});
    registry.on_gone(catalog.clone().recipient());
    for (id, pipeline) in state.pipelines {
        let circuits = state.circuits.remove(&id).unwrap_or_default();
        registry.set_endpoints(id.clone(), Endpoints::folded(circuits, Pace::empty(clock.now())));
        let parts = Some((pipeline.split(1), folded));
        supervisor.send(Employ { id, state: parts }).await.unwrap();
    }
    Running { clock, intake, registry, catalog, dead_letters, published }
}
