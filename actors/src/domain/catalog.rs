//! Who there is and what they configured: tenants, keys, pipelines. Small, read by every request, changed rarely.

use super::{
    event::{PipelineEvent, TenantEvent},
    id::{KeyId, PipelineId, TenantId},
    step::PipelineConfig,
    tenant::{ApiKey, Tenant},
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// A pipeline as it is configured now.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineEntry {
    /// Its id.
    pub id: PipelineId,
    /// Its owner.
    pub tenant: TenantId,
    /// The configuration in force.
    pub config: Arc<PipelineConfig>,
    /// Its number, from 1.
    pub version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Everything that is configured. Cheap to clone: the parts are shared.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    pipelines: BTreeMap<PipelineId, Arc<PipelineEntry>>,
    by_key: HashMap<Arc<str>, PipelineId>,
    by_hash: HashMap<String, (TenantId, KeyId)>,
}

impl Catalog {
    /// What is now true of a tenant.
    pub fn evolve_tenant(&mut self, id: &TenantId, event: &TenantEvent, at: Timestamp) {
        match event {
            TenantEvent::TenantCreated { name, profile, .. } => {
                let (name, profile) = (name.clone(), profile.clone());
                let tenant = Tenant { id: id.clone(), name, profile, created_at: at, keys: BTreeMap::new() };
                self.tenants.insert(id.clone(), Arc::new(tenant));
            }
            TenantEvent::TenantUpdated { name, .. } => self.change(id, |tenant| tenant.name.clone_from(name)),
            TenantEvent::TenantDeleted { .. } => {
                if let Some(tenant) = self.tenants.remove(id) {
                    tenant.keys.values().for_each(|(key, _)| drop(self.by_hash.remove(&key.hash)));
                }
            }
            TenantEvent::KeyCreated { key, .. } => {
                self.by_hash.insert(key.hash.clone(), (id.clone(), key.id.clone()));
                self.change(id, |tenant| drop(tenant.keys.insert(key.id.clone(), (key.clone(), at))));
            }
            TenantEvent::KeyRevoked { id: key, .. } => {
                let hash =
                    self.tenants.get(id).and_then(|t| t.keys.get(key)).map(|(key, _)| key.hash.clone());
                hash.map(|hash| self.by_hash.remove(&hash));
                self.change(id, |tenant| drop(tenant.keys.remove(key)));
            }
            TenantEvent::SecretRevealed { .. } | TenantEvent::Answered { .. } => {}
        }
    }

    /// What is now true of a pipeline's configuration.
    pub fn evolve_pipeline(&mut self, id: &PipelineId, event: &PipelineEvent, at: Timestamp) {
        match event {
            PipelineEvent::PipelineCreated { tenant, config, .. } => {
                let (tenant, config) = (tenant.clone(), Arc::new(config.clone()));
                let entry = PipelineEntry {
                    id: id.clone(),
                    tenant,
                    config,
                    version: 1,
                    created_at: at,
                    updated_at: at,
                };
                self.by_key.insert(id.key().into(), id.clone());
                self.pipelines.insert(id.clone(), Arc::new(entry));
            }
            PipelineEvent::PipelineUpdated { config, .. } => {
                if let Some(entry) = self.pipelines.get_mut(id) {
                    let entry = Arc::make_mut(entry);
                    entry.config = Arc::new(config.clone());
                    entry.version += 1;
                    entry.updated_at = at;
                }
            }
            PipelineEvent::PipelineDeleted { .. } => {
                self.pipelines.remove(id);
            }
        }
    }

    fn change(&mut self, id: &TenantId, change: impl FnOnce(&mut Tenant)) {
        if let Some(tenant) = self.tenants.get_mut(id) {
            change(Arc::make_mut(tenant));
        }
    }

    /// A tenant.
    #[must_use]
    pub fn tenant(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        self.tenants.get(id)
    }

    /// All tenants, by id.
    #[must_use]
    pub fn tenants(&self) -> impl DoubleEndedIterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// The key with this hash, and whose it is.
    #[must_use]
    pub fn key_by_hash(&self, hash: &str) -> Option<(&Arc<Tenant>, &ApiKey)> {
        let (tenant, key) = self.by_hash.get(hash)?;
        let tenant = self.tenants.get(tenant)?;
        Some((tenant, &tenant.keys.get(key)?.0))
    }

    /// A pipeline that is not deleted.
    #[must_use]
    pub fn pipeline(&self, id: &PipelineId) -> Option<&Arc<PipelineEntry>> {
        self.pipelines.get(id)
    }

    /// All pipelines that are not deleted, by id.
    #[must_use]
    pub fn pipelines(&self) -> impl DoubleEndedIterator<Item = &Arc<PipelineEntry>> {
        self.pipelines.values()
    }

    /// The pipeline with this key, deleted ones included: their history stays readable.
    #[must_use]
    pub fn pipeline_by_key(&self, key: &str) -> Option<&PipelineId> {
        self.by_key.get(key)
    }
}

impl Catalog {
    /// Puts a catalog together again from the parts of a snapshot. Deleted pipelines keep their key.
    pub(super) fn restore(
        tenants: Vec<Tenant>,
        pipelines: &BTreeMap<PipelineId, super::pipeline::Pipeline>,
        entries: impl Iterator<Item = (PipelineId, u32, Timestamp, Timestamp)>,
    ) -> Self {
        let mut catalog = Self::default();
        for tenant in tenants {
            for (key, _) in tenant.keys.values() {
                catalog.by_hash.insert(key.hash.clone(), (tenant.id.clone(), key.id.clone()));
            }
            catalog.tenants.insert(tenant.id.clone(), Arc::new(tenant));
        }
        for id in pipelines.keys() {
            catalog.by_key.insert(id.key().into(), id.clone());
        }
        for (id, version, created_at, updated_at) in entries {
            let Some(pipeline) = pipelines.get(&id) else { continue };
            let (tenant, config) = (pipeline.tenant().clone(), Arc::clone(pipeline.config()));
            let entry = PipelineEntry { id: id.clone(), tenant, config, version, created_at, updated_at };
            catalog.pipelines.insert(id, Arc::new(entry));
        }
        catalog
    }
}
