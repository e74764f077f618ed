//! Endpoints as readers see them, and the breaker that is closed by hand.

use super::{EngineError, EngineHandle};
use crate::{
    domain::{by::By, catalog::PipelineEntry, event::Fact},
    endpoints::EndpointState,
    log::codec,
};

/// Endpoints of all pipelines that are not as they should be, and how often something had to wait for one.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointTotals {
    /// Breakers that are open and wait for their probe.
    pub open: u64,
    /// Those whose probe is under way.
    pub half_open: u64,
    /// Those that closed a moment ago and let lanes back a few at a time.
    pub recovering: u64,
    /// Waits for a breaker since the process began.
    pub deferred_by_breaker: u64,
    /// Waits for the rate since the process began.
    pub deferred_by_rate: u64,
}

impl EngineHandle {
    /// How a URL of a pipeline stands.
    #[must_use]
    pub fn endpoint(&self, entry: &PipelineEntry, url: &str) -> EndpointState {
        self.inner.registry.endpoints(&entry.id).state(url, &entry.config.control, self.now())
    }

    /// Closes the breaker of a URL; answers when that is durable. Lanes come back a few at a time.
    pub async fn close_breaker(
        &self,
        by: &By,
        entry: &PipelineEntry,
        url: &str,
    ) -> Result<EndpointState, EngineError> {
        let (log, now, id) = (&*self.inner.log, self.now(), &entry.id);
        let endpoints = self.inner.registry.endpoints(id);
        let closed = endpoints.of(url).close(by.clone(), |event| {
            codec::append(log, now, &Fact::Endpoint(id.clone(), event.clone()), None).map(drop)
        })?;
        if !closed {
            return Err(EngineError::Conflict("the circuit breaker is not open".into()));
        }
        if !log.watermark().reached(log.tail()).await {
            return Err(EngineError::Unavailable("the log cannot be written".into()));
        }
        Ok(self.endpoint(entry, url))
    }

    /// The numbers behind the metrics.
    #[must_use]
    pub fn endpoint_totals(&self) -> EndpointTotals {
        let mut totals = EndpointTotals::default();
        for entry in self.with_catalog(|catalog| catalog.pipelines().cloned().collect::<Vec<_>>()) {
            let endpoints = self.inner.registry.endpoints(&entry.id);
            for url in entry.config.urls() {
                match self.endpoint(&entry, url).name {
                    "open" => totals.open += 1,
                    "half_open" => totals.half_open += 1,
                    "recovering" => totals.recovering += 1,
                    _ => {}
                }
            }
            let (breaker, rate) = endpoints.deferrals();
            totals.deferred_by_breaker += breaker;
            totals.deferred_by_rate += rate;
        }
        totals
    }
}
