//! The state of everything at one position, and its digest.

use super::{EngineError, EngineHandle};
use crate::{
    dead_letters::ShareParts,
    domain::{
        endpoint::Circuits,
        pipeline::Pipeline,
        state::{State, StateParts, StateSummary},
    },
    log::replay,
    worker::{hub::Post, order::Order},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::oneshot;

impl EngineHandle {
    /// Position, digest and counts of the whole state: from the running workers if they stand still for a moment,
    /// else from a fold of the log up to its durable end.
    pub async fn state(&self) -> Result<StateSummary, EngineError> {
        for _ in 0..20 {
            if let Some(summary) = self.live_state().await {
                return Ok(summary);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let log = Arc::clone(&self.inner.log);
        let fold = move || {
            let durable = log.watermark().get();
            replay::fold(&*log, State::default(), durable).map(|state| state.summary())
        };
        let folded = tokio::task::spawn_blocking(fold).await;
        let failed =
            |e: &dyn std::fmt::Display| EngineError::Unavailable(format!("the log cannot be folded: {e}"));
        folded.map_err(|e| failed(&e))?.map_err(|e| failed(&e))
    }

    /// The state of the workers, if nothing was appended while they were asked.
    async fn live_state(&self) -> Option<StateSummary> {
        let tail = self.inner.log.tail();
        self.settled().await?;
        let mut sum = self.inner.retired;
        sum.events = self.inner.intake.accepted.load(Ordering::Relaxed);
        for (id, workers) in self.inner.registry.all() {
            // Before the workers are asked: one that is changing a circuit now appends before it answers.
            let exists = self.with_catalog(|catalog| catalog.pipeline(&id).is_some());
            let circuits =
                if exists { self.inner.registry.endpoints(&id).circuits() } else { Circuits::default() };
            sum.digest.merge(circuits.digest(&id));
            let circuits = Arc::new(circuits);
            let question = move |pipeline: &Pipeline| part_of(pipeline, &circuits);
            let parts = self.inner.registry.look(&id, question).await;
            if parts.len() < workers.len() {
                return None; // one of them is being restarted, or was given up
            }
            for part in parts {
                sum.merge(part);
            }
        }
        sum.merge(self.inner.dead_letters.send(ShareParts).await.ok()?);
        self.with_catalog(|catalog| sum.add_catalog(catalog));
        self.inner.log.kick();
        let still = self.inner.log.tail() == tail && self.inner.log.watermark().reached(tail).await;
        // Dead letters hear of facts once they are durable; ask again if that was not so at the beginning.
        still.then(|| sum.summary(tail))
    }

    /// Waits until what was appended is durable, and every worker and the dead letters have heard of it.
    async fn settled(&self) -> Option<()> {
        self.inner.log.kick();
        if !self.inner.log.watermark().reached(self.inner.log.tail()).await {
            return None;
        }
        for hub in self.inner.registry.hubs() {
            let (done, heard) = oneshot::channel();
            hub.post(Post::Barrier(done));
            hub.wake();
            heard.await.ok()?;
        }
        for (id, _) in self.inner.registry.all() {
            // Behind this order's answer stands everything that the worker had parked.
            self.inner.registry.order_all(&id, || Order::Barrier).await;
        }
        Some(())
    }
}

fn part_of(pipeline: &Pipeline, circuits: &Circuits) -> StateParts {
    let mut part = StateParts::default();
    part.add_pipeline(pipeline, circuits);
    part
}
