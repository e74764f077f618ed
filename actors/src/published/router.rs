//! Which pipelines an event goes to, prepared when the catalog changes and asked for each event.

use crate::{
    domain::{
        catalog::{Catalog, PipelineEntry},
        event::Route,
        id::TenantId,
        step::Status,
    },
    profile::{Profile, Profiles},
};
use std::{collections::HashMap, sync::Arc};

/// The pipelines of each tenant with the profile that reads their triggers.
#[derive(Default)]
pub(crate) struct Router {
    tenants: HashMap<TenantId, (Arc<Profile>, Vec<Arc<PipelineEntry>>)>,
}

impl Router {
    pub(crate) fn new(catalog: &Catalog, profiles: &Profiles) -> Self {
        let mut tenants: HashMap<_, _> = catalog
            .tenants()
            .filter_map(|tenant| {
                Some((tenant.id.clone(), (Arc::clone(profiles.get(&tenant.profile)?), Vec::new())))
            })
            .collect();
        for entry in catalog.pipelines() {
            if let Some((_, pipelines)) = tenants.get_mut(&entry.tenant) {
                pipelines.push(Arc::clone(entry));
            }
        }
        Self { tenants }
    }

    /// The profile that a tenant speaks.
    pub(crate) fn profile(&self, tenant: &TenantId) -> Option<&Arc<Profile>> {
        self.tenants.get(tenant).map(|(profile, _)| profile)
    }

    /// Where an event goes, each with the version of the configuration that it is pinned to.
    pub(crate) fn routes(&self, tenant: &TenantId, event_type: &str) -> Vec<Route> {
        let Some((profile, pipelines)) = self.tenants.get(tenant) else { return Vec::new() };
        let matching =
            pipelines.iter().filter(|entry| profile.triggers_match(&entry.config.triggers, event_type));
        let route = |entry: &Arc<PipelineEntry>| Route {
            pipeline: entry.id.clone(),
            version: entry.version,
            skipped: entry.config.status == Status::Disabled,
        };
        matching.map(route).collect()
    }
}
