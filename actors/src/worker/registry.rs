//! Who works for which pipeline: the one place where other threads find a worker.

use super::{
    Gone, Worker,
    hub::Hub,
    order::{Look, Order},
    status::Health,
};
use crate::{
    domain::{
        id::{LaneKey, PipelineId},
        pipeline::Pipeline,
    },
    endpoints::Endpoints,
    error::EngineError,
};
use actix::Recipient;
use dashmap::DashMap;
use futures_util::future::join_all;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// How long a worker may take to answer a question.
const ANSWER: Duration = Duration::from_secs(1);

/// All workers, by pipeline and part. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Registry {
    workers: Arc<DashMap<PipelineId, Vec<Worker>>>,
    /// What the workers of a pipeline share; outlives them.
    endpoints: Arc<DashMap<PipelineId, Arc<Endpoints>>>,
    /// Who pauses a pipeline whose receiver is gone.
    gone: Arc<OnceLock<Arc<Recipient<Gone>>>>,
    hubs: Arc<[Arc<Hub>]>,
}

impl Registry {
    pub(crate) fn new(hubs: Arc<[Arc<Hub>]>) -> Self {
        Self { workers: Arc::default(), endpoints: Arc::default(), gone: Arc::default(), hubs }
    }

    /// The endpoints of a pipeline, made now if it is new.
    pub(crate) fn endpoints(&self, id: &PipelineId) -> Arc<Endpoints> {
        Arc::clone(&self.endpoints.entry(id.clone()).or_default())
    }

    /// Takes the endpoints of a pipeline as the log tells them.
    pub(crate) fn set_endpoints(&self, id: PipelineId, endpoints: Endpoints) {
        self.endpoints.insert(id, Arc::new(endpoints));
    }

    /// Says once who pauses pipelines.
    pub(crate) fn on_gone(&self, recipient: Recipient<Gone>) {
        drop(self.gone.set(Arc::new(recipient)));
    }

    /// Who pauses pipelines.
    ///
    /// # Panics
    /// Before [`Registry::on_gone`].
    pub(crate) fn gone(&self) -> Arc<Recipient<Gone>> {
        self.gone.get().cloned().expect("told at start, before the first worker")
    }

    /// How many parts each pipeline's lanes are dealt to.
    pub(crate) fn parts(&self) -> u16 {
        u16::try_from(self.hubs.len()).unwrap_or(u16::MAX)
    }

    pub(crate) fn hubs(&self) -> &[Arc<Hub>] {
        &self.hubs
    }

    pub(crate) fn set(&self, id: PipelineId, workers: Vec<Worker>) {
        self.workers.insert(id, workers);
    }

    pub(crate) fn replace(&self, id: &PipelineId, part: usize, worker: Worker) {
        if let Some(mut workers) = self.workers.get_mut(id)
            && let Some(place) = workers.get_mut(part)
        {
            *place = worker;
        }
    }

    pub(crate) fn get(&self, id: &PipelineId) -> Option<Vec<Worker>> {
        self.workers.get(id).map(|workers| workers.clone())
    }

    pub(crate) fn all(&self) -> Vec<(PipelineId, Vec<Worker>)> {
        self.workers.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect()
    }

    /// Gives an order to the worker that owns the lane of `resource`.
    pub(crate) async fn order(
        &self,
        id: &PipelineId,
        resource: &str,
        order: Order,
    ) -> Result<(), EngineError> {
        let part = usize::from(LaneKey::of(resource).part(self.parts()));
        let worker = self.get(id).and_then(|workers| workers.get(part).cloned());
        let worker = worker.ok_or_else(|| EngineError::NotFound { kind: "pipeline", id: id.to_string() })?;
        send(&worker, order).await
    }

    /// Gives an order to every worker of a pipeline. One that was given up is passed over: it finds what happened
    /// in the log when it is revived. One that is being restarted gets it too, but is not waited for.
    pub(crate) async fn order_all(&self, id: &PipelineId, order: impl Fn() -> Order) {
        let workers = self.get(id).unwrap_or_default();
        let tell = async |worker: &Worker| {
            if worker.status.health() == Health::Restarting {
                worker.tell(order());
            } else {
                drop(send(worker, order()).await);
            }
        };
        join_all(workers.iter().map(tell)).await;
    }

    /// Asks every worker of a pipeline; those that were given up do not answer.
    pub(crate) async fn look<R, F>(&self, id: &PipelineId, question: F) -> Vec<R>
    where
        R: Send + 'static,
        F: Fn(&Pipeline) -> R + Clone + Send + 'static,
    {
        let workers = self.get(id).unwrap_or_default();
        let asks = workers.iter().map(|worker| {
            let (answer, heard) = oneshot::channel();
            let question = question.clone();
            worker.look(Look(Box::new(move |pipeline| drop(answer.send(question(pipeline))))));
            heard
        });
        let answers = join_all(asks.map(|heard| timeout(ANSWER, heard))).await;
        answers.into_iter().filter_map(|answer| answer.ok()?.ok()).collect()
    }
}

async fn send(worker: &Worker, order: Order) -> Result<(), EngineError> {
    // Nobody waits through a backoff (I25): the order was not given, and the caller may come again.
    if worker.status.health() == Health::Restarting {
        return Err(EngineError::Busy {
            reason: "the pipeline's worker is being restarted",
            retry_after_seconds: 1,
        });
    }
    let gone = || EngineError::Unavailable("the pipeline's worker is not running; see /api/actors".into());
    worker.ask(order).await.unwrap_or_else(|_| Err(gone()))
}
