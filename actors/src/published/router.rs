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
use hashbrown::HashMap;
use std::sync::{Arc, OnceLock};

/// The pipelines of each tenant with the profile that reads their triggers.
#[derive(Default)]
pub(crate) struct Router {
    tenants: HashMap<TenantId, Routes>,
}

/// What there is to route to for one tenant.
struct Routes {
    profile: Arc<Profile>,
    pipelines: Vec<Arc<PipelineEntry>>,
    /// Made for the first event after a change: a tenant of ten thousand pipelines is not searched for each.
    index: OnceLock<Index>,
}

/// Places in the list of pipelines.
struct Index {
    by_type: HashMap<Box<str>, Vec<usize>>,
    /// Those with a pattern among their triggers, which has to be tried.
    with_pattern: Vec<usize>,
}

impl Router {
    pub(crate) fn new(catalog: &Catalog, profiles: &Profiles) -> Self {
        let mut tenants: HashMap<_, _> = catalog
            .tenants()
            .filter_map(|tenant| {
                let profile = Arc::clone(profiles.get(&tenant.profile)?);
                Some((tenant.id.clone(), Routes { profile, pipelines: Vec::new(), index: OnceLock::new() }))
            })
            .collect();
        for entry in catalog.pipelines() {
            if let Some(routes) = tenants.get_mut(&entry.tenant) {
                routes.pipelines.push(Arc::clone(entry));
            }
        }
        Self { tenants }
    }

    /// The profile that a tenant speaks.
    pub(crate) fn profile(&self, tenant: &TenantId) -> Option<&Arc<Profile>> {
        self.tenants.get(tenant).map(|routes| &routes.profile)
    }

    /// Where an event goes, each with the version of the configuration that it is pinned to.
    pub(crate) fn routes(&self, tenant: &TenantId, event_type: &str) -> Vec<Route> {
        let Some(routes) = self.tenants.get(tenant) else { return Vec::new() };
        let route = |entry: &Arc<PipelineEntry>| Route {
            pipeline: entry.id.clone(),
            version: entry.version,
            skipped: entry.config.status == Status::Disabled,
        };
        routes.matching(event_type).into_iter().map(|at| route(&routes.pipelines[at])).collect()
    }
}

impl Routes {
    /// Places of the pipelines that want events of this type, in the order of the list.
    fn matching(&self, event_type: &str) -> Vec<usize> {
        let index = self.index.get_or_init(|| Index::of(&self.profile, &self.pipelines));
        let mut found = index.by_type.get(event_type).cloned().unwrap_or_default();
        if !index.with_pattern.is_empty() {
            let wants =
                |at: &usize| self.profile.triggers_match(&self.pipelines[*at].config.triggers, event_type);
            found.extend(index.with_pattern.iter().copied().filter(wants));
            found.sort_unstable();
            found.dedup();
        }
        found
    }
}

impl Index {
    fn of(profile: &Profile, pipelines: &[Arc<PipelineEntry>]) -> Self {
        let mut index = Self { by_type: HashMap::new(), with_pattern: Vec::new() };
        for (at, entry) in pipelines.iter().enumerate() {
            for trigger in &entry.config.triggers {
                match profile.named_types(trigger) {
                    Some(types) => types.for_each(|name| index.put(name, at)),
                    None => put(&mut index.with_pattern, at),
                }
            }
        }
        index
    }

    fn put(&mut self, event_type: &str, at: usize) {
        match self.by_type.get_mut(event_type) {
            Some(places) => put(places, at),
            None => drop(self.by_type.insert(event_type.into(), vec![at])),
        }
    }
}

/// Each place once: they come in rising order.
fn put(places: &mut Vec<usize>, at: usize) {
    if places.last() != Some(&at) {
        places.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{step::PipelineConfig, testing, time::Timestamp};
    use proptest::prelude::*;

    fn routes(triggers: &[Vec<String>]) -> Routes {
        let profile = Arc::clone(Profiles::builtin().get("afftok").expect("a profile"));
        let entry = |triggers: &Vec<String>| {
            let config =
                PipelineConfig { triggers: triggers.clone(), ..testing::pipeline([testing::step("s")]) };
            let (id, tenant, at) = (testing::pipe(), testing::tenant(), Timestamp(0));
            let config = Arc::new(config);
            Arc::new(PipelineEntry { id, tenant, config, version: 1, created_at: at, updated_at: at })
        };
        let pipelines = triggers.iter().map(entry);
        Routes { profile, pipelines: pipelines.collect(), index: OnceLock::new() }
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
        #[test]
        fn the_index_finds_what_a_search_would(
            triggers in prop::collection::vec(prop::collection::vec(trigger(), 1..4), 0..8),
        ) {
            let routes = routes(&triggers);
            for event_type in ["conversion.created", "conversion.approved", "click.tracked", "delivery.exhausted", "none"] {
                let wants = |at: &usize| routes.profile.triggers_match(&triggers[*at], event_type);
                let searched: Vec<usize> = (0..triggers.len()).filter(wants).collect();
                prop_assert_eq!(routes.matching(event_type), searched, "{}", event_type);
            }
        }
    }
}
