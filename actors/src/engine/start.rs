//! From a data folder to a running engine: open, fold, deal, start.

use super::{
    EngineConfig, EngineError, EngineHandle, Erased, Inner, StartReport, Tools,
    ages::Ages,
    evidence,
    last_uses::LastUses,
    profiles,
    retention::{self, Retention},
    rules::Rules,
    snapshots,
    tenants::OperatorKey,
    watchdog,
};
use crate::{
    answers::{self, Answers, Restored},
    catalog::{self, CatalogActor, CatalogParts},
    clock::{self, Clock},
    core::{Core, CoreParts},
    dead_letters::{Bounds, DeadLetterActor},
    delivery::client::{self, ClientConfig},
    domain::{
        by::By,
        endpoint::{Circuits, pace::Pace},
        event::{EngineEvent, Fact, Queue, TenantEvent},
        id::{KeyId, PipelineId, TenantId},
        pipeline::Pipeline,
        state::{State, StateParts},
        step::StoredKey,
        tenant::Scope,
        time::Timestamp,
    },
    endpoints::Endpoints,
    engine::NewKey,
    entropy,
    intake::{
        Intake,
        dedup::Dedup,
        moments::Moments,
        quotas::Allowance,
        room::{Load, Room},
    },
    log::{
        EventLog, Position, codec, replay,
        segment::{Options, SegmentLog},
        snapshot::{self, Snapshot},
    },
    notices::{MailParts, Notices, NoticesParts},
    projections::{HeldCalls, Projections, ProjectionsThread},
    published::{Published, Shared},
    request::{RequestBuilder, RequestTls},
    secrets::{MasterKey, Secrets},
    supervisor::{
        self, SupervisorActor, SupervisorParts,
        guard::{self, Fate},
        restart::RestartPolicy,
    },
    worker::{hub::Hub, redelivery::Redeliveries, registry::Registry},
};
use actix::{Addr, Arbiter, ArbiterHandle, System};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashSet},
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
    time::Instant,
};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

/// Exit code of a process whose own supervision failed.
const EXIT_ESCALATED: i32 = 70;

/// Opens the log, folds it, starts the actors. Blocks until the engine takes work.
pub fn start(config: EngineConfig) -> Result<(EngineHandle, StartReport), EngineError> {
    let began = Instant::now();
    let mut report = StartReport::default();
    let foundation = Foundation::lay(&config, &mut report)?;
    let (tell, told) = mpsc::channel();
    let run = move || run(foundation, config, &tell);
    let thread = thread::Builder::new().name("engine".into()).spawn(run).map_err(|e| setup(&e))?;
    let handle =
        told.recv().map_err(|_| EngineError::Setup("the engine's thread ended during start".into()))?;
    *handle.inner.thread.lock() = Some(thread);
    handle.inner.tools.unset_variables().for_each(|problem| warn!(problem, "a template cannot be rendered"));
    report.took = began.elapsed();
    Ok((handle, report))
}

fn setup(problem: &dyn std::fmt::Display) -> EngineError {
    EngineError::Setup(problem.to_string())
}

/// With another key than the one that sealed them, every secret would fail at the first use, and with it every
/// delivery for good.
fn check_master_key(state: &State, secrets: &Secrets) -> Result<(), EngineError> {
    let steps = state.pipelines.values().flat_map(|pipeline| &pipeline.config().steps);
    let mut sealed = steps.filter_map(|step| match &step.signing_key {
        Some(StoredKey::Sealed(text)) => Some(&**text),
        _ => None,
    });
    let mut keys =
        state.catalog.tenants().flat_map(|tenant| &tenant.signing_keys).map(|key| &*key.key.sealed);
    match sealed.next().or_else(|| keys.next()).map(|text| secrets.open(text)) {
        Some(Err(_)) => Err(EngineError::Setup(
            "the master key is not the one that the log's secrets were sealed with; give the one that belongs to \
             this data folder"
                .into(),
        )),
        _ => Ok(()),
    }
}

/// What there is before the first actor: keys, rules, log, state.
struct Foundation {
    log: Arc<dyn EventLog>,
    /// The same as what it is on disk.
    segments: Arc<SegmentLog>,
    clock: Clock,
    /// When the log that was found ends.
    found_until: Timestamp,
    state: State,
    dedup: Dedup,
    answers: Restored,
    tools: Arc<Tools>,
    projections: (Projections, ProjectionsThread),
    client: ClientConfig,
    operator_key: Option<OperatorKey>,
}

impl Foundation {
    fn lay(config: &EngineConfig, report: &mut StartReport) -> Result<Self, EngineError> {
        std::fs::create_dir_all(&config.data_dir)
            .map_err(|e| EngineError::Setup(format!("cannot make `{}`: {e}", config.data_dir.display())))?;
        let Rules { profiles: known, egress, env, client } = Rules::read(config)?;

        let options = Options {
            segment_size: u32::try_from(config.segment_bytes).unwrap_or(u32::MAX),
            min_free_bytes: config.free_bytes_min,
            ..Options::default()
        };
        evidence::check_there_is_a_log(config)?;
        let (log, opened) = SegmentLog::open(config.log_dir(), options)?;
        if let Some(torn) = &opened.torn {
            report.torn_bytes = torn.bytes;
            let (segment, offset, bytes) = (torn.path.display(), torn.offset, torn.bytes);
            info!(%segment, offset, bytes, "cut a torn tail that was never acknowledged");
        }
        let segments = Arc::new(log);
        let log: Arc<dyn EventLog> = Arc::clone(&segments) as _;
        let projections = evidence::start_read_models(config, &log)?;
        let first_run = opened.last == Position::START;
        let may_make = config.generate_master_key;
        let master = MasterKey::open(config.master_key.as_deref(), &config.data_dir, first_run, may_make)
            .and_then(|master| master.sealing_key(&config.data_dir, first_run))
            .map_err(|e| setup(&e))?;
        let secrets = Secrets::new(&master);

        let dedup = Dedup::new(config.dedup_ids_max, config.dedup_window);
        let mut answers = Restored::default();
        let (state, last_at) = fold(&*log, &dedup, &mut answers, config, clock::wall())?;
        // A snapshot may stand for all that there is; the last record is read for its time alone.
        let log_end = log.read_at(state.position).map_or(last_at, |record| record.at.max(last_at));
        check_master_key(&state, &secrets)?;
        profiles::check(&state.catalog, &known)?;
        report.records = state.position.0;
        report.abandoned =
            state.pipelines.values().map(|pipeline| pipeline.mailbox().tally().in_flight).sum();
        let operator_key = config.operator_key.as_ref().map(|key| OperatorKey::new(key, &secrets));
        let mut foundation = Self {
            projections,
            log,
            segments,
            clock: Clock::start(log_end),
            found_until: log_end,
            state,
            dedup,
            answers,
            tools: Arc::new(Tools {
                profiles: Arc::new(known),
                secrets: Arc::new(secrets),
                egress,
                env,
                tls: Arc::new(RequestTls::new(Arc::clone(&client.tls))),
            }),
            client,
            operator_key,
        };
        if first_run {
            report.new_operator_key = foundation.first_run(config)?;
        }
        foundation.record(&Fact::Engine(EngineEvent::EngineStarted {
            version: env!("CARGO_PKG_VERSION").into(),
        }))?;
        let EngineConfig { published_ips, published_from, .. } = config;
        let now = foundation.clock.now();
        if let Some(change) = foundation.state.egress.change(published_ips, *published_from, now) {
            foundation.record(&Fact::Engine(change))?;
        }
        foundation.give_signing_keys()?;
        let (kept, catalog) = (config.data_dir.join("envelopes"), &foundation.state.catalog);
        profiles::tell_changes(&kept, catalog, &foundation.tools.profiles);
        Ok(foundation)
    }

    /// Makes the first tenant, and an operator key unless one was given.
    fn first_run(&mut self, config: &EngineConfig) -> Result<Option<String>, EngineError> {
        let tenant = TenantId::new("tenant_default");
        let (name, profile, by) =
            ("Default".to_owned(), config.default_profile.clone(), By::from(KeyId::new("key_setup")));
        let created = TenantEvent::TenantCreated { name, profile, by: by.clone() };
        self.record(&Fact::Tenant(tenant.clone(), created))?;
        if config.operator_key.is_some() {
            return Ok(None);
        }
        let made = self.tools.secrets.new_api_key().map_err(|e| setup(&e))?;
        let wanted =
            NewKey { scopes: vec![Scope::Operator], name: Some("operator".into()), expires_at: None };
        let key = catalog::stored_key(KeyId::new(entropy::id("key", 12)), made.hash, made.hint, wanted);
        self.record(&Fact::Tenant(tenant, TenantEvent::KeyCreated { key, by }))?;
        Ok(Some(made.key.expose().to_owned()))
    }

    /// Tenants of a log from before there were Ed25519 keys get theirs now, as does the first tenant.
    fn give_signing_keys(&mut self) -> Result<(), EngineError> {
        let without = self.state.catalog.tenants().filter(|tenant| tenant.signing_keys.is_empty());
        let without: Vec<TenantId> = without.map(|tenant| tenant.id.clone()).collect();
        for tenant in without {
            let key = catalog::new_signing_key(&self.tools.secrets).map_err(|e| setup(&e))?;
            let made = catalog::first_signing_key(key, KeyId::new("key_setup").into());
            self.record(&Fact::Tenant(tenant, made))?;
        }
        Ok(())
    }

    fn record(&mut self, fact: &Fact) -> Result<(), EngineError> {
        let at = self.clock.now();
        let appended = codec::append(&*self.log, at, fact, None)?;
        self.state.evolve(appended.first, at, fact);
        Ok(())
    }
}

/// Folds the log, from the newest snapshot on; ids of the dedup window and kept answers are read on the way, from
/// before the snapshot if need be.
fn fold(
    log: &dyn EventLog,
    dedup: &Dedup,
    answers: &mut Restored,
    config: &EngineConfig,
    wall: Timestamp,
) -> Result<(State, Timestamp), EngineError> {
    let window = config.dedup_window.max(answers::KEPT);
    let ages = Ages::of(log, wall, window)?;
    let floor = ages.floor(window);
    let began = Instant::now();
    let Snapshot { mut state, marks } = snapshot::load(&config.snapshots_dir(), log).unwrap_or_default();
    let folded = state.position;
    let after = folded.min(marks.before(floor));
    let durable = log.watermark().get();
    let mut last_at = Timestamp::EPOCH;
    replay::visit(log, after, durable, &mut |position, at, fact| {
        if let Fact::Accepted(tenant, accepted) = &fact
            && ages.within(config.dedup_window, position, at)
        {
            dedup.restore(tenant, &accepted.id, position, ages.appended(position, at));
        }
        answers.visit(position, ages.appended(position, at), &fact);
        if position > folded {
            state.evolve(position, at, &fact);
        }
        last_at = last_at.max(at);
        if position.0 % 5_000_000 == 0 {
            info!("folded {position} of {durable} records");
        }
    })
    .map_err(|e| setup(&e))?;
    info!(records = state.position.0, snapshot = folded.0, "folded the log in {:?}", began.elapsed());
    Ok((state, last_at))
}

/// The engine's own thread: makes the arbiters and actors, tells the handle, and waits for the end.
fn run(foundation: Foundation, config: EngineConfig, tell: &mpsc::Sender<EngineHandle>) {
    let system = System::new();
    let arbiters = system.block_on(async move {
        let (stop, stopped) = oneshot::channel();
        let (handle, arbiters) = build(foundation, &config, stop).await;
        // What is told after a start has to last: the operator key of a first run is shown once. A log that fails here
        // ends the process as it does at any other time.
        let log = &handle.inner.log;
        log.kick();
        log.watermark().reached(log.tail()).await;
        if tell.send(handle).is_ok() {
            drop(stopped.await);
        }
        arbiters
    });
    for arbiter in arbiters {
        arbiter.stop();
        drop(arbiter.join());
    }
}

async fn build(
    foundation: Foundation,
    config: &EngineConfig,
    stop: oneshot::Sender<()>,
) -> (EngineHandle, Vec<Arbiter>) {
    let Foundation { log, segments, clock, found_until, mut state, dedup, answers, .. } = foundation;
    let Foundation { tools, projections, client, operator_key, .. } = foundation;
    let cores = config.cores_count();
    let hubs: Arc<[Arc<Hub>]> = (0..cores).map(|_| Arc::default()).collect();
    let registry = Registry::new(Arc::clone(&hubs));
    let arbiters: Vec<_> = (0..cores).map(|_| Arbiter::new()).collect();
    let &EngineConfig { transport: kind, concurrency_per_host, concurrency, speed, .. } = config;
    let published = Arc::new(ArcSwap::from_pointee(Published::new(state.catalog, &tools.profiles)));
    let erased = Arc::new(Erased::new(state.erasures.clone()));
    for (part, arbiter) in (0..).zip(&arbiters) {
        let (log, hub, client) = (Arc::clone(&log), Arc::clone(&hubs[usize::from(part)]), client.clone());
        let (tools, published, erased) = (Arc::clone(&tools), Arc::clone(&published), Arc::clone(&erased));
        let parts = move || CoreParts {
            log,
            erased,
            clock,
            transport: client::transport(kind, &client),
            builder: Rc::new(request_builder(&tools)),
            published,
            part: (part, cores),
            speed,
            hub,
            concurrency_per_host,
            concurrency,
        };
        arbiter.spawn_fn(move || drop(Core::install(parts())));
    }

    let (policy, here) = (config.restart_policy(), System::current().arbiter().clone());
    let (folded, queue) = (state.position, std::mem::take(&mut state.dead_letters));
    let with_dead_letters = queue.iter().map(|item| item.pipeline.clone()).collect();
    let bounds = Bounds { items_max: config.dead_letters_max, ..Bounds::default() };
    let (dead_letters_dropped, dead_letters_open) = (Arc::clone(&bounds.dropped), bounds.open.clone());
    let (told_log, told_registry) = (Arc::clone(&log), registry.clone());
    let make = move || DeadLetterActor::new(told_log, told_registry, queue, folded, bounds);
    let dead_letters = control(&here, policy, "dead_letters", make);
    let supervisor = SupervisorParts {
        log: Arc::clone(&log),
        clock,
        registry: registry.clone(),
        arbiters: arbiters.iter().map(Arbiter::handle).collect(),
        dead_letters: dead_letters.clone().recipient(),
        policy,
    };
    let supervisor = control(&here, policy, "supervisor", move || SupervisorActor::new(supervisor));
    let answers = Arc::new(Answers::new(Arc::clone(&log), clock, Arc::clone(&tools.secrets), answers));
    let catalog = CatalogParts {
        log: Arc::clone(&log),
        clock,
        answers: Arc::clone(&answers),
        published: Arc::clone(&published),
        profiles: Arc::clone(&tools.profiles),
        registry: registry.clone(),
        supervisor: supervisor.clone(),
    };
    let catalog = control(&here, policy, "catalog", move || CatalogActor::new(catalog));

    registry.on_gone(catalog.clone().recipient());
    open_endpoints(&state.pipelines, state.circuits, &registry, clock);
    tell_what_is_held(&projections.0, &published, &registry, clock);
    let retired = employ(state.pipelines, &with_dead_letters, folded, cores, &supervisor).await;
    snapshots::start(&log, config.snapshots_dir(), folded);
    let redeliveries = Redeliveries::default();
    let retention = start_retention(config, segments, clock, Arc::clone(&answers), redeliveries.clone());
    let stalls = watchdog::start(hubs.to_vec(), Arc::downgrade(&log), config.watchdog);
    let parts = (Arc::clone(&published), registry.clone(), Allowance::new(dead_letters_open));
    let past = (dedup, Moments::after(found_until));
    let intake = Arc::new(intake(Arc::clone(&log), clock, parts, past, config, state.events));
    let notices = start_notices(config, &intake, &tools);
    let cores = arbiters.iter().map(Arbiter::handle).collect();
    let inner = Inner {
        log,
        clock,
        published,
        answers,
        tools,
        intake,
        notices,
        registry,
        redeliveries,
        catalog,
        supervisor,
        dead_letters,
        dead_letters_dropped,
        cores,
        retired,
        operator_key,
        egress: state.egress,
        last_uses: LastUses::default(),
        stalls,
        retention,
        erased,
        projections: projections.0,
        projections_thread: Mutex::new(Some(projections.1)),
        stop: Mutex::new(Some(stop)),
        thread: Mutex::new(None),
    };
    let handle = EngineHandle { inner: Arc::new(inner) };
    handle.resume_erasures(&state.erasures);
    (handle, arbiters)
}

/// Lets go what need not be kept, from here on.
fn start_retention(
    config: &EngineConfig,
    log: Arc<SegmentLog>,
    clock: Clock,
    answers: Arc<Answers>,
    redeliveries: Redeliveries,
) -> Arc<Retention> {
    let (turn, last) = Default::default();
    let (snapshots, limits) = (config.snapshots_dir(), config.retention);
    let retention = Arc::new(Retention { log, snapshots, clock, answers, redeliveries, limits, turn, last });
    retention::start(&retention);
    retention
}

/// Where events come in; `past` are the ids and moments that were given before.
fn intake(
    log: Arc<dyn EventLog>,
    clock: Clock,
    (published, registry, allowance): (Shared, Registry, Allowance),
    past: (Dedup, Moments),
    config: &EngineConfig,
    accepted: u64,
) -> Intake {
    let (dedup, moments) = past;
    Intake {
        log,
        clock,
        published,
        registry,
        dedup,
        moments,
        allowance,
        room: Room::new(Load { events: config.intake_events_max, bytes: config.intake_bytes_max }),
        accepted: accepted.into(),
        closed: false.into(),
    }
}

/// Takes the circuits of endpoints over. What an earlier process paid out a moment ago is not known: buckets start
/// empty.
fn open_endpoints(
    pipelines: &BTreeMap<PipelineId, Pipeline>,
    mut circuits: BTreeMap<PipelineId, Circuits>,
    registry: &Registry,
    clock: Clock,
) {
    for id in pipelines.keys() {
        let circuits = circuits.remove(id).unwrap_or_default();
        registry.set_endpoints(id.clone(), Endpoints::folded(circuits, Pace::empty(clock.now())));
    }
}

/// Lets lists show as held what no fact says is.
fn tell_what_is_held(projections: &Projections, published: &Shared, registry: &Registry, clock: Clock) {
    let (published, registry) = (Arc::clone(published), registry.clone());
    projections.ask_what_is_held(move |id| held_calls(&published, &registry, clock.now(), id));
}

/// What lists show as held though no fact says so.
fn held_calls(published: &Shared, registry: &Registry, now: Timestamp, id: &PipelineId) -> HeldCalls {
    let mut held = HeldCalls { now, calls: Vec::new() };
    let Some(entry) = published.load().catalog.pipeline(id).cloned() else { return held };
    let endpoints = registry.endpoints(id);
    let failover = entry.config.failover_url.as_deref();
    for step in &entry.config.steps {
        for (queue, url) in [(Queue::Primary, Some(&*step.url)), (Queue::Failover, failover)] {
            let state = url.map(|url| endpoints.state(url, &entry.config.control, now));
            held.calls.extend(state.filter(|s| s.held.is_some()).map(|s| (step.id.clone(), queue, s)));
        }
    }
    held
}

/// Starts what tells of failures.
fn start_notices(config: &EngineConfig, intake: &Arc<Intake>, tools: &Tools) -> Notices {
    let mail = config.mail.clone().map(|mail| MailParts {
        config: mail,
        egress: tools.egress.clone(),
        roots: config.tls_roots.clone(),
    });
    Notices::start(NoticesParts {
        log: Arc::clone(&intake.log),
        clock: intake.clock,
        intake: Arc::clone(intake),
        secrets: Arc::clone(&tools.secrets),
        policy: config.restart_policy(),
        kept: config.notices_file(),
        mail,
    })
}

/// Gives every pipeline its workers. Those that are gone and hold nothing need none: their counts are answered.
/// One with dead letters does: a worker writes down what becomes of them.
async fn employ(
    pipelines: BTreeMap<PipelineId, Pipeline>,
    with_dead_letters: &HashSet<PipelineId>,
    folded: Position,
    cores: u16,
    supervisor: &Addr<SupervisorActor>,
) -> StateParts {
    let mut retired = StateParts::default();
    for (id, pipeline) in pipelines {
        let holds_nothing = pipeline.mailbox().lanes_count() == 0 && !with_dead_letters.contains(&id);
        if pipeline.is_deleted() && holds_nothing {
            retired.add_pipeline(&pipeline, &Circuits::default());
            continue;
        }
        supervisor::employ(supervisor.clone(), id, (pipeline.split(cores), folded)).await;
    }
    retired
}

/// What builds requests on one core; variables are looked up in the environment when they are used.
fn request_builder(tools: &Tools) -> RequestBuilder {
    let lookup = |name: &str| std::env::var(name).ok();
    let (secrets, env) = (Arc::clone(&tools.secrets), Arc::new(tools.env.clone()));
    RequestBuilder::new(secrets, env, Arc::new(lookup), Arc::clone(&tools.tls))
}

/// Starts one of the actors of which there is one. The process does not outlive them (SUP, second level).
fn control<A>(
    arbiter: &ArbiterHandle,
    policy: RestartPolicy,
    name: &'static str,
    make: impl FnOnce() -> A + Send + 'static,
) -> Addr<A>
where
    A: actix::Actor<Context = actix::Context<A>> + actix::Supervised,
{
    guard::start(
        arbiter,
        policy,
        move |_| make(),
        move |fate| match fate {
            Fate::Restarting { reason, backoff } => {
                error!(actor = name, reason, "panicked, restarting in {backoff:?}");
            }
            Fate::GaveUp { reason } => {
                error!(actor = name, reason, "panicked too often, the process ends");
                std::process::exit(EXIT_ESCALATED);
            }
            Fate::Restarted | Fate::Exited => {}
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            event::Accepted,
            testing::{T0, tenant},
        },
        intake::dedup::Found,
        log::memory::MemoryLog,
        view::NewEvent,
    };
    use std::time::Duration;

    /// I3, CLK.3: whatever the wall clock says at a start, an id that was accepted an hour before its end is known.
    #[test]
    fn a_wall_clock_that_is_wrong_at_a_start_forgets_no_id() {
        let log = MemoryLog::new();
        let hour = |hours| T0.plus(Duration::from_hours(hours));
        let write = |at, fact: &Fact| codec::append(&log, at, fact, None).unwrap().last;
        write(hour(0), &Fact::Engine(EngineEvent::EngineStarted { version: "1".into() }));
        let (id, event_type, resource) = ("evt_1", "conversion.created", "conversion:c1");
        let (routes, moment) = (Vec::new(), None);
        let accepted = Accepted {
            id: id.into(),
            event_type: event_type.into(),
            resource: resource.into(),
            routes,
            moment,
        };
        let position = write(hour(1), &Fact::Accepted(tenant(), accepted));
        write(hour(2), &Fact::Engine(EngineEvent::EngineStarted { version: "1".into() }));

        let config = EngineConfig::new("unused".into());
        for wall in [Timestamp(5), hour(0), hour(2), hour(27), hour(100_000)] {
            let dedup = Dedup::new(config.dedup_ids_max, config.dedup_window);
            let (_, last_at) = fold(&log, &dedup, &mut Restored::default(), &config, wall).unwrap();
            let (body, is_timed) = ("{}".into(), true);
            let event = NewEvent {
                id: id.into(),
                event_type: event_type.into(),
                resource: resource.into(),
                body,
                is_timed,
            };
            let found = dedup.accept(&tenant(), event, wall.max(last_at), &[], |_| panic!("{wall:?}"));
            assert!(matches!(found, Ok(Found::Before(known, _)) if known == position));
        }
    }
}
