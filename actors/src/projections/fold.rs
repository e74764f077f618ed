//! From facts to read models: what each fact changes, gathered in memory and written in one batch together with
//! the position that it reaches.
//!
//! A delivery that is accepted, started and ended between two writes is written once. Folding the same facts in
//! other portions gives the same answers.

mod counts;
mod lanes;

use super::{
    cache::Cache,
    names::{Name, Names},
    pipelines::{ConfigRow, PipelineRow, TenantRow},
    rows::{DeliveryRow, EventRow, Page, Stand},
    store::{Store, StoreError, Tag},
    terms::{Term, entries},
};
use crate::{
    domain::{
        event::{Accepted, End, EndpointEvent, EngineEvent, Fact, FactRef, PipelineEvent, TenantEvent},
        id::LaneKey,
        step::PipelineConfig,
        time::Timestamp,
    },
    log::Position,
};
use counts::Counts;
use fjall::Slice;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// Pipelines whose rows are in hand at most, twice over: each event changes the statistics of its own. A row that is not
/// is read from the store first, which costs more than the change.
const PIPELINES: usize = 16_384;

/// The fold, between two writes.
pub(super) struct Fold {
    store: Arc<Store>,
    position: Position,
    pages: Cache<Page>,
    pipelines: Cache<PipelineRow>,
    configs: Cache<ConfigRow>,
    tenants: Cache<TenantRow>,
    counts: Counts,
    terms: Vec<(Term, Position)>,
    marks: HashMap<Slice, Option<Slice>>,
    names_written: usize,
}

impl Fold {
    /// Goes on where the store ends.
    pub(super) fn resume(store: Arc<Store>) -> Result<Self, StoreError> {
        Ok(Self {
            position: store.position()?,
            pages: Cache::new(1024),
            pipelines: Cache::new(PIPELINES),
            configs: Cache::new(PIPELINES),
            tenants: Cache::new(256),
            counts: Counts::new(),
            terms: Vec::new(),
            marks: HashMap::new(),
            names_written: Names::load(&store.book)?.len(),
            store,
        })
    }

    /// The last position that was folded in, written or not.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// What is now true.
    pub(super) fn evolve(
        &mut self,
        position: Position,
        at: Timestamp,
        fact: FactRef<'_>,
    ) -> Result<(), StoreError> {
        match fact {
            Fact::Accepted(tenant, accepted) => self.accepted(position, at, tenant, accepted)?,
            Fact::Lane(pipeline, event) => self.lane(position, at, pipeline, &event)?,
            Fact::Pipeline(pipeline, event) => self.pipeline(position, pipeline, &event)?,
            Fact::Tenant(tenant, event) => self.tenant(position, tenant, &event)?,
            Fact::Engine(
                EngineEvent::WorkerRevived { .. } | EngineEvent::RetentionApplied { by: Some(_), .. },
            ) => {
                self.audit(ENGINE, position, Position::START);
            }
            Fact::Endpoint(pipeline, EndpointEvent::EndpointClosed { by: Some(_), .. }) => {
                self.closed_by_hand(position, pipeline)?;
            }
            Fact::Engine(_) | Fact::Endpoint(..) => {}
        }
        self.position = position;
        Ok(())
    }

    /// Writes everything that changed, and the position with the log's chain hash there.
    pub(super) fn write(&mut self, chain: [u8; 32]) -> Result<(), StoreError> {
        let store = &self.store;
        let mut batch = store.batch();
        let names = store.names.len();
        store.names.write(self.names_written, &mut batch, &store.book);
        self.pages.write(store, &mut batch)?;
        self.pipelines.write(store, &mut batch)?;
        self.configs.write(store, &mut batch)?;
        self.tenants.write(store, &mut batch)?;
        self.counts.stats.write(store, &mut batch)?;
        self.counts.days.write(store, &mut batch)?;
        self.terms.sort_unstable();
        self.terms.dedup();
        for (key, positions) in entries(&self.terms) {
            batch.insert(&store.terms, key, positions);
        }
        for (key, mark) in self.marks.drain() {
            match mark {
                Some(value) => batch.insert(&store.book, key, value),
                None => batch.remove(&store.book, key),
            }
        }
        store.set_position(&mut batch, self.position, chain);
        batch.commit()?;
        self.terms.clear();
        self.names_written = names;
        Ok(())
    }

    fn accepted(
        &mut self,
        position: Position,
        at: Timestamp,
        tenant: &str,
        accepted: Accepted,
    ) -> Result<(), StoreError> {
        let store = &self.store;
        let Accepted { id, event_type, resource, routes, moment: _ } = accepted;
        let tenant = store.names.intern(tenant);
        let mut deliveries = SmallVec::with_capacity(routes.len());
        for route in &routes {
            let Some(pipeline) = store.names.find(route.pipeline.as_str()) else { continue };
            let Some(row) = self.pipelines.get(store, pipeline)? else { continue };
            let stand = match (route.skipped, row.closed_at(&resource)) {
                (true, _) => Stand::Disabled,
                (false, Some(_)) => Stand::Ended(End::Cancelled),
                (false, None) => Stand::Queued,
            };
            let stats = self.counts.stats.change_or_new(store, pipeline)?;
            stats.routed += 1;
            stats.enter(stand);
            if stand == Stand::Queued {
                stats.last_triggered = Some(at);
            }
            self.terms.push((Term::pipeline(pipeline), position));
            deliveries.push(DeliveryRow::new(pipeline, route.version, stand, at));
        }
        self.terms.extend([
            (Term::tenant(tenant), position),
            (Term::resource(tenant, &resource), position),
            (Term::event_id(tenant, &id), position),
        ]);
        self.pages.change_or_new(store, Page::of(position))?.push(EventRow {
            position,
            tenant,
            id,
            event_type,
            resource,
            accepted_at: at,
            deliveries,
        });
        Ok(())
    }

    fn pipeline(&mut self, position: Position, id: &str, event: &PipelineEvent) -> Result<(), StoreError> {
        let pipeline = self.store.names.intern(id);
        if let PipelineEvent::PipelineCreated { tenant, config, .. } = event {
            let tenant = self.store.names.intern(tenant.as_str());
            let row = PipelineRow {
                tenant,
                status: config.status,
                version: 1,
                configured: position,
                cancelled: Vec::new(),
            };
            self.pipelines.put(pipeline, row);
            self.configure(pipeline, 1, position, config);
            self.audit(tenant, position, Position::START);
            return Ok(());
        }
        let Some(row) = self.pipelines.change(&self.store, pipeline)? else { return Ok(()) };
        let (tenant, before) = (row.tenant, row.configured);
        if let PipelineEvent::PipelineUpdated { config, .. } = event {
            row.version += 1;
            (row.status, row.configured) = (config.status, position);
            let version = row.version;
            self.configure(pipeline, version, position, config);
        }
        self.audit(tenant, position, before);
        Ok(())
    }

    fn closed_by_hand(&mut self, position: Position, id: &str) -> Result<(), StoreError> {
        let Some(pipeline) = self.store.names.find(id) else { return Ok(()) };
        if let Some(tenant) = self.pipelines.get(&self.store, pipeline)?.map(|row| row.tenant) {
            self.audit(tenant, position, Position::START);
        }
        Ok(())
    }

    fn configure(&mut self, pipeline: Name, version: u32, position: Position, config: &PipelineConfig) {
        let row = ConfigRow::new(position, config, |text| self.store.names.intern(text));
        self.configs.put((pipeline, version), row);
    }

    fn tenant(&mut self, position: Position, id: &str, event: &TenantEvent) -> Result<(), StoreError> {
        let tenant = self.store.names.intern(id);
        let row = self.tenants.change_or_new(&self.store, tenant)?;
        let mut quotas_before = Position::START;
        let before = match event {
            TenantEvent::TenantCreated { .. } | TenantEvent::TenantUpdated { .. } => {
                if matches!(event, TenantEvent::TenantUpdated { quotas: Some(_), .. }) {
                    quotas_before = std::mem::replace(&mut row.quotas, position);
                }
                std::mem::replace(&mut row.named, position)
            }
            TenantEvent::QuotasSet { .. } => std::mem::replace(&mut row.quotas, position),
            TenantEvent::TenantDeleted { .. } => row.named,
            TenantEvent::KeyCreated { key, .. } => {
                row.keys.insert(key.id.as_str().into(), position);
                Position::START
            }
            TenantEvent::JwtKeyCreated { key, .. } => {
                row.keys.insert(key.id.as_str().into(), position);
                Position::START
            }
            TenantEvent::KeyRevoked { id, .. } | TenantEvent::JwtKeyRevoked { id, .. } => {
                row.keys.remove(id.as_str()).unwrap_or_default()
            }
            TenantEvent::SigningKeyMade { .. }
            | TenantEvent::ClientCertificateSet { .. }
            | TenantEvent::ClientCertificateRemoved { .. }
            | TenantEvent::SecretRevealed { .. }
            | TenantEvent::EventErased { .. }
            | TenantEvent::PayloadsErased { .. } => Position::START,
            TenantEvent::Answered { .. } | TenantEvent::NoticesMailed { .. } => return Ok(()),
        };
        if quotas_before == Position::START {
            self.audit(tenant, position, before);
        } else {
            let mark = [quotas_before, before].map(|position| position.0.to_be_bytes()).concat();
            self.marks.insert(audit_key(tenant, position), Some(Slice::from(mark)));
        }
        Ok(())
    }

    fn audit(&mut self, tenant: Name, position: Position, before: Position) {
        let key = audit_key(tenant, position);
        self.marks.insert(key, Some(Slice::from(before.0.to_be_bytes())));
    }
}

/// Owner of audit records that belong to no tenant.
pub(super) const ENGINE: Name = Name(u32::MAX);

/// The key of an audit record; its value is the position of the fact that says what was before.
pub(super) fn audit_key(tenant: Name, position: Position) -> Slice {
    Tag::Audit.key(&[&tenant.bytes(), &position.0.to_be_bytes()])
}

/// The key that is there while a lane waits for an operator.
pub(super) fn halted_key(pipeline: Name, lane: LaneKey) -> Slice {
    Tag::Halted.key(&[&pipeline.bytes(), &lane.0.to_be_bytes()])
}
