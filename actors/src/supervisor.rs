//! The supervisor: starts workers, brings them back, gives them up, and writes down what it did.
//!
//! ```text
//!   SupervisorActor ── per pipeline ── one worker a core, each under a Guard
//!        ▲   │                              │ panic: back on the same mailbox, after a backoff
//!        │   └── Hold to the others  <──────┘ too often: the whole pipeline is `failed` until it is revived
//!        └── every restart is a fact in stream `engine`
//! ```

pub mod guard;
pub mod restart;

use crate::{
    clock::Clock,
    core::Core,
    domain::{
        by::By,
        event::{EngineEvent, Fact},
        id::PipelineId,
        pipeline::Pipeline,
    },
    error::EngineError,
    failpoint,
    log::{EventLog, Position, codec},
    pipeline::{PipelineActor, WorkerSeed},
    worker::{
        Follow, Worker,
        order::{Hold, Order},
        registry::Registry,
        status::{Health, WorkerStatus},
    },
};
use actix::{Actor, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture};
use guard::Fate;
use restart::RestartPolicy;
use std::sync::{Arc, atomic::Ordering};
use tracing::{error, info, warn};

/// Start the workers of a pipeline, with their state if it is known.
pub(crate) struct Employ {
    pub(crate) id: PipelineId,
    pub(crate) state: Option<(Vec<Pipeline>, Position)>,
}

impl Message for Employ {
    type Result = ();
}

/// Has a pipeline's workers started. A supervisor that panics over it is asked again when it is back: the workers then
/// fold their state from the log.
pub(crate) async fn employ(
    supervisor: Addr<SupervisorActor>,
    id: PipelineId,
    state: (Vec<Pipeline>, Position),
) {
    let mut state = Some(state);
    while let Err(lost) = supervisor.send(Employ { id: id.clone(), state: state.take() }).await {
        if !supervisor.connected() {
            error!(pipeline.id = %id, %lost, "the supervisor did not take a pipeline");
            return;
        }
    }
}

/// A worker's fate, told by its guard.
struct Told {
    id: PipelineId,
    part: usize,
    fate: Fate,
}

impl Message for Told {
    type Result = ();
}

/// Bring a pipeline back that was given up.
pub(crate) struct Revive {
    pub(crate) id: PipelineId,
    pub(crate) by: By,
}

impl Message for Revive {
    type Result = Result<(), EngineError>;
}

/// See the module.
pub struct SupervisorActor {
    log: Arc<dyn EventLog>,
    clock: Clock,
    registry: Registry,
    arbiters: Vec<ArbiterHandle>,
    dead_letters: Arc<Recipient<Follow>>,
    policy: RestartPolicy,
}

/// What the supervisor is made of.
pub(crate) struct SupervisorParts {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Clock,
    pub(crate) registry: Registry,
    pub(crate) arbiters: Vec<ArbiterHandle>,
    pub(crate) dead_letters: Recipient<Follow>,
    pub(crate) policy: RestartPolicy,
}

impl SupervisorActor {
    pub(crate) fn new(parts: SupervisorParts) -> Self {
        let SupervisorParts { log, clock, registry, arbiters, dead_letters, policy } = parts;
        Self { log, clock, registry, arbiters, dead_letters: Arc::new(dead_letters), policy }
    }

    fn start_worker(
        &self,
        id: &PipelineId,
        part: usize,
        state: Option<(Pipeline, Position)>,
        status: Arc<WorkerStatus>,
        me: Addr<Self>,
    ) -> Worker {
        let seed = WorkerSeed {
            id: id.clone(),
            dead_letters: Arc::clone(&self.dead_letters),
            status: Arc::clone(&status),
            endpoints: self.registry.endpoints(id),
            gone: self.registry.gone(),
            state,
        };
        let told = id.clone();
        let tell = move |fate| me.do_send(Told { id: told.clone(), part, fate });
        let (id, adopted) = (id.clone(), Arc::clone(&status));
        let make = move |address: &Addr<PipelineActor>| {
            // Before it reads how far the log goes, so that no event falls between that and its mailbox.
            Core::current().adopt(id, Worker::new(address.clone(), adopted));
            PipelineActor::new(seed)
        };
        Worker::new(guard::start(&self.arbiters[part], self.policy, make, tell), status)
    }

    fn record(&self, event: EngineEvent) {
        let fact = Fact::Engine(event);
        if let Err(error) = codec::append(&*self.log, self.clock.now(), &fact, None) {
            error!(%error, "cannot record what the supervisor did");
        }
    }

    fn set_all(&self, id: &PipelineId, health: Health) {
        self.registry.get(id).unwrap_or_default().iter().for_each(|worker| worker.status.set_health(health));
    }
}

impl Actor for SupervisorActor {
    type Context = Context<Self>;
}

impl actix::Supervised for SupervisorActor {}

impl Handler<Employ> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Employ { id, state }: Employ, ctx: &mut Self::Context) {
        failpoint::hit("supervisor.employ");
        let mut states = match state {
            Some((parts, position)) => parts.into_iter().map(|part| Some((part, position))).collect(),
            None => vec![None; self.arbiters.len()],
        };
        let workers = states
            .iter_mut()
            .enumerate()
            .map(|(part, state)| self.start_worker(&id, part, state.take(), Arc::default(), ctx.address()))
            .collect();
        self.registry.set(id, workers);
    }
}

impl Handler<Told> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Told { id, part, fate }: Told, ctx: &mut Self::Context) {
        failpoint::hold_up("supervisor.told", ctx);
        let Some(workers) = self.registry.get(&id) else { return };
        let Some(worker) = workers.get(part) else { return };
        let name = format!("{id}/{part}");
        match fate {
            Fate::Restarting { reason, backoff } => {
                let restarts = worker.status.restarts.fetch_add(1, Ordering::Relaxed) + 1;
                warn!(worker = %name, restarts, reason, "worker panicked, restarting in {backoff:?}");
                worker.status.set_reason(&reason);
                worker.status.set_health(Health::Restarting);
                let backoff_ms = u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX);
                self.record(EngineEvent::WorkerRestarted { worker: name, restarts, reason, backoff_ms });
            }
            Fate::Restarted => {
                if worker.status.health() == Health::Restarting {
                    worker.status.set_health(Health::Running);
                }
            }
            Fate::GaveUp { reason } => {
                error!(worker = %name, reason, "worker panicked too often, its pipeline is failed until it is revived");
                worker.status.set_reason(&reason);
                self.set_all(&id, Health::Failed);
                self.record(EngineEvent::WorkerFailed { worker: name, reason });
                let registry = self.registry.clone();
                actix_rt::spawn(async move { registry.order_all(&id, || Order::Hold(Hold::GivenUp)).await });
            }
            Fate::Exited => info!(worker = %name, "worker stopped"),
        }
    }
}

impl Handler<Revive> for SupervisorActor {
    type Result = ResponseFuture<Result<(), EngineError>>;

    fn handle(&mut self, Revive { id, by }: Revive, ctx: &mut Self::Context) -> Self::Result {
        let Some(workers) = self.registry.get(&id) else {
            return Box::pin(async move { Err(EngineError::NotFound { kind: "actor", id: id.to_string() }) });
        };
        if workers.iter().all(|worker| worker.status.health() != Health::Failed) {
            return Box::pin(
                async move { Err(EngineError::Conflict(format!("actor `{id}` is not failed"))) },
            );
        }
        for (part, worker) in workers.iter().enumerate() {
            if !worker.connected() {
                let status = Arc::clone(&worker.status);
                let fresh = self.start_worker(&id, part, None, status, ctx.address());
                self.registry.replace(&id, part, fresh);
            }
        }
        self.set_all(&id, Health::Running);
        self.record(EngineEvent::WorkerRevived { worker: id.to_string(), by });
        let (registry, log) = (self.registry.clone(), Arc::clone(&self.log));
        let tail = log.tail();
        Box::pin(async move {
            registry.order_all(&id, || Order::Hold(Hold::No)).await;
            log.watermark().reached(tail).await;
            Ok(())
        })
    }
}
