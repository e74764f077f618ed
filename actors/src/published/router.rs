//! Which pipelines an event goes to, prepared when the catalog changes and asked for each event.

use crate::{
    domain::{
        catalog::{Catalog, PipelineEntry},
        event::Route,
        id::{PipelineId, TenantId},
        shared_map::SharedMap,
        step::Status,
        tenant::Tenant,
    },
    log::{StreamId, codec},
    profile::{Profile, Profiles},
};
use std::sync::Arc;

/// The pipelines of each tenant with the profile that reads their triggers. A change costs the same however many
/// there are: clones share what it leaves as it was.
#[derive(Clone, Default)]
pub(crate) struct Router {
    tenants: SharedMap<TenantId, Arc<Routes>>,
}

/// What there is to route to for one tenant.
#[derive(Clone)]
pub(crate) struct Routes {
    /// The profile that it speaks.
    pub(crate) profile: Arc<Profile>,
    /// The stream of its events; named anew for each it would be text to write and to throw away.
    pub(crate) intake: StreamId,
    by_type: SharedMap<Arc<str>, Pipelines>,
    /// Those with a pattern among their triggers, which has to be tried.
    with_pattern: Pipelines,
}

/// In the order in which an event goes to them.
type Pipelines = SharedMap<PipelineId, Arc<PipelineEntry>>;

impl Router {
    pub(crate) fn new(catalog: &Catalog, profiles: &Profiles) -> Self {
        let mut router = Self::default();
        for tenant in catalog.tenants() {
            router.set_tenant(&tenant.id, Some(tenant), profiles);
        }
        for entry in catalog.pipelines() {
            router.set_pipeline(None, Some(entry));
        }
        router
    }

    /// A tenant is new, or gone, or something else about it has changed.
    pub(crate) fn set_tenant(&mut self, id: &TenantId, tenant: Option<&Arc<Tenant>>, profiles: &Profiles) {
        let Some(profile) = tenant.and_then(|tenant| profiles.get(&tenant.profile)) else {
            self.tenants.remove(id);
            return;
        };
        if self.tenants.get(id).is_none() {
            self.tenants.insert(id.clone(), Arc::new(Routes::new(id, Arc::clone(profile))));
        }
    }

    /// A pipeline that was one thing is another now.
    pub(crate) fn set_pipeline(
        &mut self,
        former: Option<&Arc<PipelineEntry>>,
        present: Option<&Arc<PipelineEntry>>,
    ) {
        for (entry, is_present) in [(former, false), (present, true)] {
            if let Some(entry) = entry
                && let Some(routes) = self.tenants.get_mut(&entry.tenant)
            {
                Arc::make_mut(routes).set(entry, is_present);
            }
        }
    }

    /// The profile that a tenant speaks.
    pub(crate) fn profile(&self, tenant: &TenantId) -> Option<&Arc<Profile>> {
        self.of(tenant).map(|routes| &routes.profile)
    }

    /// What there is to route to for a tenant.
    pub(crate) fn of(&self, tenant: &TenantId) -> Option<&Routes> {
        self.tenants.get(tenant).map(Arc::as_ref)
    }
}

impl Routes {
    fn new(tenant: &TenantId, profile: Arc<Profile>) -> Self {
        let (by_type, with_pattern) = (SharedMap::default(), SharedMap::default());
        Self { profile, intake: codec::intake_of(tenant), by_type, with_pattern }
    }

    /// The pipelines that want events of this type, by their ids, each with the version of the configuration that the
    /// event is pinned to.
    pub(crate) fn to(&self, event_type: &str) -> Vec<Route> {
        let wants =
            |entry: &&Arc<PipelineEntry>| self.profile.triggers_match(&entry.config.triggers, event_type);
        let route = |entry: &Arc<PipelineEntry>| Route {
            pipeline: entry.id.clone(),
            version: entry.version,
            skipped: entry.config.status == Status::Disabled,
        };
        let mut routes = Vec::new();
        if let Some(named) = self.by_type.get(event_type) {
            routes.extend(named.values().map(route));
        }
        if !self.with_pattern.is_empty() {
            routes.extend(self.with_pattern.values().filter(wants).map(route));
            routes.sort_unstable_by(|a, b| a.pipeline.cmp(&b.pipeline));
            routes.dedup_by(|a, b| a.pipeline == b.pipeline);
        }
        routes
    }

    /// Puts a pipeline where its triggers say, or takes it away from there.
    fn set(&mut self, entry: &Arc<PipelineEntry>, is_present: bool) {
        let profile = Arc::clone(&self.profile);
        for trigger in &entry.config.triggers {
            match profile.named_types(trigger) {
                Some(types) => types.for_each(|name| self.set_type(name, entry, is_present)),
                None => set(&mut self.with_pattern, entry, is_present),
            }
        }
    }

    fn set_type(&mut self, event_type: &str, entry: &Arc<PipelineEntry>, is_present: bool) {
        match self.by_type.get_mut(event_type) {
            Some(pipelines) => {
                set(pipelines, entry, is_present);
                if pipelines.is_empty() {
                    self.by_type.remove(event_type);
                }
            }
            None if is_present => {
                let mut pipelines = SharedMap::default();
                set(&mut pipelines, entry, true);
                self.by_type.insert(event_type.into(), pipelines);
            }
            None => {}
        }
    }
}

fn set(pipelines: &mut Pipelines, entry: &Arc<PipelineEntry>, is_present: bool) {
    if is_present {
        pipelines.insert(entry.id.clone(), Arc::clone(entry));
    } else {
        pipelines.remove(&entry.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{step::PipelineConfig, testing, time::Timestamp};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(nth: usize, triggers: &[String]) -> Arc<PipelineEntry> {
        let config = Arc::new(PipelineConfig {
            triggers: triggers.to_vec(),
            ..testing::pipeline([testing::step("s")])
        });
        let (id, tenant, at) = (PipelineId::new(format!("pipe_{nth}")), testing::tenant(), Timestamp(0));
        Arc::new(PipelineEntry { id, tenant, config, version: 1, created_at: at, updated_at: at })
    }

    fn trigger() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("conversion".to_owned()),
            Just("conversion.created".to_owned()),
            Just("conversion.*".to_owned()),
            Just("*".to_owned()),
            Just("click".to_owned()),
            Just("click.tracked".to_owned()),
            Just("delivery.exhausted".to_owned()),
        ]
    }

    proptest! {
        /// Pipelines are made, changed and taken away; then each type goes where a search through all would send it.
        #[test]
        fn changes_lead_to_what_a_search_would_find(
            changes in prop::collection::vec(
                (0_usize..8, prop::option::weighted(0.8, prop::collection::vec(trigger(), 1..4))),
                0..24,
            ),
        ) {
            let profile = Arc::clone(Profiles::builtin().get("afftok").expect("a profile"));
            let mut router = Router::default();
            router.tenants.insert(testing::tenant(), Arc::new(Routes::new(&testing::tenant(), Arc::clone(&profile))));
            let mut pipelines: BTreeMap<usize, Arc<PipelineEntry>> = BTreeMap::new();
            for (nth, triggers) in changes {
                let present = triggers.map(|triggers| entry(nth, &triggers));
                router.set_pipeline(pipelines.get(&nth), present.as_ref());
                match present {
                    Some(entry) => drop(pipelines.insert(nth, entry)),
                    None => drop(pipelines.remove(&nth)),
                }
            }
            for event_type in ["conversion.created", "conversion.approved", "click.tracked", "delivery.exhausted", "none"] {
                let wants = |entry: &&Arc<PipelineEntry>| profile.triggers_match(&entry.config.triggers, event_type);
                let searched: Vec<_> = pipelines.values().filter(wants).map(|entry| entry.id.clone()).collect();
                let routes = router.of(&testing::tenant()).map(|routes| routes.to(event_type)).unwrap_or_default();
                let found: Vec<_> = routes.into_iter().map(|route| route.pipeline).collect();
                prop_assert_eq!(found, searched, "{}", event_type);
            }
        }
    }
}
