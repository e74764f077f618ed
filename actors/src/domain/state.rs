//! Everything, as a fold of the log: what the running engine deals out to its actors, what an audit rebuilds.

use super::{
    catalog::Catalog,
    dead_letter::{DeadLetter, DeadLetterQueue},
    digest::Digest,
    egress::EgressIps,
    endpoint::Circuits,
    erasure::Erasures,
    event::Fact,
    id::PipelineId,
    mailbox::{Lane, Tally},
    pipeline::{Ended, Frame, Pipeline},
    step::Status,
    tenant::Tenant,
    time::Timestamp,
};
use crate::log::Position;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The whole state at one position.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The last position that was folded in.
    pub position: Position,
    /// Who there is and what they configured.
    pub catalog: Catalog,
    /// Every pipeline that ever was; deleted ones keep their counts.
    pub pipelines: BTreeMap<PipelineId, Pipeline>,
    /// The circuit breakers of those that are not deleted.
    pub circuits: BTreeMap<PipelineId, Circuits>,
    /// Open dead letters.
    pub dead_letters: DeadLetterQueue,
    /// Events accepted.
    pub events: u64,
    /// Where deliveries are said to come from. No part of the digest, which is about what became of events.
    pub egress: EgressIps,
    /// What was erased. No part of the digest either: payloads are none.
    pub erasures: Erasures,
}

/// Deliveries by state, as `GET /api/state` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryCounts {
    pub queued: u64,
    pub in_flight: u64,
    pub retrying: u64,
    pub held: u64,
    pub delivered: u64,
    pub dead_lettered: u64,
    pub skipped: u64,
    pub cancelled: u64,
}

impl DeliveryCounts {
    /// The counts of one pipeline or part, with everything that waits for an open endpoint among what is held.
    #[must_use]
    pub fn with(pipeline: &Pipeline, circuits: &Circuits) -> Self {
        let mut counts = Self::of(pipeline);
        let heeded = pipeline.config().control.breaker.policy().is_some();
        if heeded && circuits.any_open() && pipeline.status() == Status::Active {
            let (queued, retrying) = pipeline.waiting_for(|url| circuits.is_open(url));
            counts.queued -= queued;
            counts.retrying -= retrying;
            counts.held += queued + retrying;
        }
        counts
    }

    /// The counts of one pipeline or part, by its lanes alone.
    #[must_use]
    pub fn of(pipeline: &Pipeline) -> Self {
        let Tally { queued, in_flight, retrying, halted } = pipeline.mailbox().tally();
        let Ended { delivered, dead_lettered, skipped, cancelled } = pipeline.ended();
        let ended = Self { in_flight, delivered, dead_lettered, skipped, cancelled, ..Self::default() };
        if pipeline.status() != Status::Active {
            return Self { held: queued + retrying, ..ended };
        }
        // A halted lane's head has ended, so what stands in it was never attempted.
        Self { queued: queued - halted.min(queued), retrying, held: halted.min(queued), ..ended }
    }

    /// Adds up.
    pub fn merge(&mut self, other: Self) {
        self.queued += other.queued;
        self.in_flight += other.in_flight;
        self.retrying += other.retrying;
        self.held += other.held;
        self.delivered += other.delivered;
        self.dead_lettered += other.dead_lettered;
        self.skipped += other.skipped;
        self.cancelled += other.cancelled;
    }
}

/// Position, digest and counts: what `GET /api/state` and `log replay` print.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StateSummary {
    /// The last position that it holds.
    pub position: Position,
    /// Hash of the folded state, hex.
    pub digest: String,
    /// Deliveries by state.
    pub deliveries: DeliveryCounts,
    /// Events accepted.
    pub events: u64,
}

impl State {
    /// What is now true. The one loop of start, audit and time travel.
    pub fn evolve(&mut self, position: Position, at: Timestamp, fact: &Fact) {
        self.position = position;
        self.erasures.evolve(position, fact);
        match fact {
            Fact::Tenant(tenant, event) => self.catalog.evolve_tenant(tenant, event, at),
            Fact::Pipeline(id, event) => {
                if let super::event::PipelineEvent::PipelineCreated { tenant, config, .. } = event {
                    let pipeline = Pipeline::new(id.clone(), tenant.clone(), config.clone());
                    self.pipelines.insert(id.clone(), pipeline);
                } else if let Some(pipeline) = self.pipelines.get_mut(id) {
                    pipeline.evolve_config(event);
                }
                if matches!(event, super::event::PipelineEvent::PipelineDeleted { .. }) {
                    self.circuits.remove(id);
                }
                self.catalog.evolve_pipeline(id, event, at);
            }
            // Workers of a deleted pipeline may hear of it a moment later than the log.
            Fact::Endpoint(id, event) => {
                if self.catalog.pipeline(id).is_some() {
                    self.circuits.entry(id.clone()).or_default().evolve(event);
                }
            }
            Fact::Accepted(_, accepted) => {
                self.events += 1;
                for route in &accepted.routes {
                    if let Some(pipeline) = self.pipelines.get_mut(&route.pipeline) {
                        pipeline.evolve_accepted(position, &accepted.resource, route);
                    }
                }
            }
            Fact::Lane(id, event) => {
                let Some(pipeline) = self.pipelines.get_mut(id) else { return };
                pipeline.evolve(event);
                self.dead_letters.evolve(pipeline.tenant(), id, event, at);
            }
            Fact::Engine(event) => self.egress.evolve(event),
        }
    }

    /// Position, digest and counts.
    #[must_use]
    pub fn summary(&self) -> StateSummary {
        let mut parts = StateParts { events: self.events, ..StateParts::default() };
        let none = Circuits::default();
        for (id, pipeline) in &self.pipelines {
            parts.add_pipeline(pipeline, self.circuits.get(id).unwrap_or(&none));
        }
        self.circuits.iter().for_each(|(id, circuits)| parts.digest.merge(circuits.digest(id)));
        parts.add_catalog(&self.catalog);
        self.dead_letters.iter().for_each(|item| parts.digest.add(&("dead", item)));
        parts.summary(self.position)
    }
}

/// Parts of the state that several threads hold, added up to one summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateParts {
    /// Sum of the members' hashes.
    pub digest: Digest,
    /// Sum of the counts.
    pub counts: DeliveryCounts,
    /// Events accepted.
    pub events: u64,
}

impl StateParts {
    /// One pipeline, or a part of it.
    pub fn add_pipeline(&mut self, pipeline: &Pipeline, circuits: &Circuits) {
        self.digest.merge(pipeline.digest());
        self.counts.merge(DeliveryCounts::with(pipeline, circuits));
    }

    /// The dead-letter queue.
    pub fn add_dead_letters(&mut self, queue: &DeadLetterQueue) {
        queue.iter().for_each(|item| self.digest.add(&("dead", item)));
    }

    /// Tenants, keys and configurations.
    pub fn add_catalog(&mut self, catalog: &Catalog) {
        catalog.tenants().for_each(|tenant| self.digest.add(&("tenant", &**tenant)));
        for entry in catalog.pipelines() {
            let config = serde_json::to_string(&*entry.config).unwrap_or_default();
            self.digest.add(&("pipeline", entry.id.as_str(), entry.version, config));
        }
    }

    /// Another thread's share.
    pub fn merge(&mut self, other: Self) {
        self.digest.merge(other.digest);
        self.counts.merge(other.counts);
        self.events += other.events;
    }

    /// The sum, at `position`. The counts go into the digest once, when they are whole.
    #[must_use]
    pub fn summary(mut self, position: Position) -> StateSummary {
        self.digest.add(&("counts", self.counts, self.events));
        StateSummary {
            position,
            digest: self.digest.to_string(),
            deliveries: self.counts,
            events: self.events,
        }
    }
}

/// The state in the form that a snapshot stores. Lanes are lent when it is written: there may be millions of
/// deliveries in them.
#[derive(Serialize, Deserialize)]
pub struct Image<L = Lane> {
    position: Position,
    events: u64,
    tenants: Vec<Tenant>,
    /// Configurations hold JSON; they are kept as JSON text.
    entries: String,
    pipelines: Vec<(PipelineId, String, Vec<L>)>,
    circuits: BTreeMap<PipelineId, Circuits>,
    dead_letters: Vec<DeadLetter>,
    egress: EgressIps,
    erasures: Erasures,
}

/// What the catalog knows of a pipeline beside its configuration.
#[derive(Serialize, Deserialize)]
struct EntryImage {
    id: PipelineId,
    version: u32,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl State {
    /// The state in its stored form.
    pub fn to_image(&self) -> Result<Image<&Lane>, serde_json::Error> {
        let entries = self.catalog.pipelines().map(|entry| EntryImage {
            id: entry.id.clone(),
            version: entry.version,
            created_at: entry.created_at,
            updated_at: entry.updated_at,
        });
        let mut pipelines = Vec::new();
        for (id, pipeline) in &self.pipelines {
            let lanes = pipeline.mailbox().lanes().collect();
            pipelines.push((id.clone(), serde_json::to_string(&pipeline.frame())?, lanes));
        }
        Ok(Image {
            position: self.position,
            events: self.events,
            tenants: self.catalog.tenants().map(|tenant| Tenant::clone(tenant)).collect(),
            entries: serde_json::to_string(&entries.collect::<Vec<_>>())?,
            pipelines,
            circuits: self.circuits.clone(),
            dead_letters: self.dead_letters.iter().cloned().collect(),
            egress: self.egress.clone(),
            erasures: self.erasures.clone(),
        })
    }

    /// Takes the state back from its stored form.
    pub fn from_image(image: Image) -> Result<Self, serde_json::Error> {
        let Image { position, circuits, events, egress, erasures, .. } = image;
        let mut state = Self { position, circuits, events, egress, erasures, ..Self::default() };
        for (id, frame, lanes) in image.pipelines {
            let mut pipeline = Pipeline::from_frame(id.clone(), serde_json::from_str::<Frame>(&frame)?);
            for lane in lanes {
                pipeline.adopt(lane);
            }
            state.pipelines.insert(id, pipeline);
        }
        let entries: Vec<EntryImage> = serde_json::from_str(&image.entries)?;
        let entries = entries.into_iter().map(|e| (e.id, e.version, e.created_at, e.updated_at));
        state.catalog = Catalog::restore(image.tenants, &state.pipelines, entries);
        for item in image.dead_letters {
            state.dead_letters.adopt(item);
        }
        Ok(state)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
