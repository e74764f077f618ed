//! The supervision tree, the health of the parts, and the orderly stop.

use super::{ActorView, EngineError, EngineHandle, watchdog::STALL};
use crate::{
    domain::{
        by::By,
        event::{EngineEvent, Fact},
        id::PipelineId,
    },
    log::codec,
    notices,
    supervisor::Revive,
    worker::{
        order::{Hold, Order},
        status::{Health, WorkerStatus},
    },
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How often the log is asked whether it has failed.
const LOG_CHECK: Duration = Duration::from_millis(100);

impl EngineHandle {
    /// The supervision tree.
    #[must_use]
    pub fn actors(&self) -> Vec<ActorView> {
        let single = |kind: &'static str, connected: bool| ActorView {
            kind,
            id: kind.to_owned(),
            state: if connected { "running" } else { "failed" },
            restarts: 0,
            last_exit_reason: None,
            mailbox_depth: 0,
            in_flight: 0,
        };
        let mut views = vec![
            single("supervisor", self.inner.supervisor.connected()),
            single("catalog", self.inner.catalog.connected()),
            single("dead_letters", self.inner.dead_letters.connected()),
        ];
        let notices = self.inner.notices.status();
        views.push(ActorView {
            state: notices.health().as_str(),
            restarts: notices.restarts.load(Ordering::Relaxed),
            last_exit_reason: notices.last_reason(),
            ..single(notices::NAME, true)
        });
        let mut workers = self.inner.registry.all();
        workers.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (id, parts) in workers {
            let sum = |of: &dyn Fn(&WorkerStatus) -> u64| parts.iter().map(|w| of(&w.status)).sum();
            let health = parts.iter().map(|w| w.status.health()).max().unwrap_or(Health::Running);
            views.push(ActorView {
                kind: "pipeline",
                id: id.to_string(),
                state: health.as_str(),
                restarts: sum(&|s| s.restarts.load(Ordering::Relaxed)),
                last_exit_reason: parts.iter().find_map(|w| w.status.last_reason()),
                mailbox_depth: sum(&|s| s.depth.load(Ordering::Relaxed)),
                in_flight: sum(&|s| s.in_flight.load(Ordering::Relaxed)),
            });
        }
        views
    }

    /// Brings a failed part back.
    pub async fn revive(&self, by: &By, id: &str) -> Result<(), EngineError> {
        if id == notices::NAME {
            let running = || EngineError::Conflict(format!("actor `{id}` is not failed"));
            return self.inner.notices.revive(by).then_some(()).ok_or_else(running);
        }
        let (id, by) = (PipelineId::new(id), by.clone());
        self.inner.supervisor.send(Revive { id, by }).await?
    }

    /// Makes a worker panic.
    #[cfg(feature = "chaos")]
    pub async fn panic(&self, id: &str) -> Result<(), EngineError> {
        if id == notices::NAME {
            self.inner.notices.panic();
            return Ok(());
        }
        let missing = || EngineError::NotFound { kind: "actor", id: id.to_owned() };
        let workers = self.inner.registry.get(&PipelineId::new(id)).ok_or_else(missing)?;
        if let Some(worker) = workers.first() {
            drop(worker.ask(Order::Panic).await);
        }
        Ok(())
    }

    /// Waits until the log can never be written again in this life: only a start can tell what is on the disk.
    pub async fn log_failed(&self) {
        while !self.inner.log.watermark().failed() {
            tokio::time::sleep(LOG_CHECK).await;
        }
    }

    /// Whether the engine can take work, and what is wrong if it cannot: (part, problem).
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.inner.log.watermark().failed() {
            problems.push(("log", "the log cannot be written".to_owned()));
        }
        if let Some(time) = self.inner.log.writing_for().filter(|time| *time > STALL) {
            problems.push((
                "log",
                format!("the disk has not answered for {} s: what comes waits", time.as_secs()),
            ));
        }
        if let Some(free) = self.inner.log.low_space() {
            problems.push(("disk", format!("{free} bytes are free, too few to take events")));
        }
        if self.inner.intake.closed.load(Ordering::Acquire) {
            problems.push(("intake", "the engine is stopping".to_owned()));
        }
        problems.extend(self.inner.stalls.list().into_iter().map(|text| ("cores", text)));
        problems.extend(self.inner.projections.problem().map(|text| ("projections", text)));
        for (id, workers) in self.inner.registry.all() {
            if workers.iter().any(|worker| worker.status.health() == Health::Failed) {
                problems.push((
                    "supervisor",
                    format!("pipeline `{id}` is failed; revive it at /api/actors/{id}/revive"),
                ));
            }
        }
        problems
    }

    /// What does not work although the engine takes work: (part, problem).
    #[must_use]
    pub fn degraded(&self) -> Vec<(&'static str, String)> {
        let unset = self.inner.tools.unset_variables().map(|text| ("templates", text));
        let retention = self.inner.retention.problem().map(|text| ("retention", text));
        self.inner.notices.problems().into_iter().chain(unset).chain(retention).collect()
    }

    /// Drains and stops: no new work, attempts in flight may end within `grace`, the log is synced and closed.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), EngineError> {
        self.inner.intake.closed.store(true, Ordering::Release);
        let all = self.inner.registry.all();
        for (id, _) in &all {
            self.inner.registry.order_all(id, || Order::Hold(Hold::Draining)).await;
        }
        let deadline = tokio::time::Instant::now() + grace;
        let busy = || all.iter().flat_map(|(_, w)| w).any(|w| w.status.in_flight.load(Ordering::Relaxed) > 0);
        // Without a log no attempt can end, so there is nothing to wait for.
        let failed = || self.inner.log.watermark().failed();
        while busy() && !failed() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.record(EngineEvent::EngineStopped {});
        self.inner.notices.stop();
        drop(self.inner.projections_thread.lock().take());
        let log = Arc::clone(&self.inner.log);
        let closed = tokio::task::spawn_blocking(move || log.close()).await;
        self.inner.stop.lock().take().map(|stop| stop.send(()));
        let thread = self.inner.thread.lock().take();
        if let Some(thread) = thread {
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
        closed.map_err(|e| EngineError::Unavailable(e.to_string()))??;
        Ok(())
    }

    fn record(&self, event: EngineEvent) {
        let fact = Fact::Engine(event);
        if let Err(error) = codec::append(&*self.inner.log, self.inner.clock.now(), &fact, None) {
            tracing::warn!(%error, "cannot record what happened to the engine");
        }
    }
}
