//! What readers see of the configuration: one value, replaced as a whole by the catalog actor.

pub(crate) mod router;

use crate::{
    domain::{catalog::Catalog, event::Fact},
    profile::Profiles,
};
use arc_swap::ArcSwap;
use router::Router;
use std::sync::Arc;

/// The catalog, and the routes that follow from it.
pub struct Published {
    /// Tenants, keys, pipelines.
    pub catalog: Arc<Catalog>,
    /// Which pipelines an event goes to.
    pub(crate) router: Router,
}

impl Published {
    /// Prepares the routes of a catalog.
    pub(crate) fn new(catalog: Catalog, profiles: &Profiles) -> Self {
        let router = Router::new(&catalog, profiles);
        Self { catalog: Arc::new(catalog), router }
    }

    /// What it is after these facts, which made `catalog` of the present one.
    pub(crate) fn after<'f>(
        &self,
        facts: impl Iterator<Item = &'f Fact>,
        catalog: Catalog,
        profiles: &Profiles,
    ) -> Self {
        let mut router = self.router.clone();
        for fact in facts {
            match fact {
                Fact::Tenant(id, _) => router.set_tenant(id, catalog.tenant(id), profiles),
                Fact::Pipeline(id, _) => router.set_pipeline(self.catalog.pipeline(id), catalog.pipeline(id)),
                Fact::Accepted(..) | Fact::Lane(..) | Fact::Endpoint(..) | Fact::Engine(_) => {}
            }
        }
        Self { catalog: Arc::new(catalog), router }
    }
}

/// The state in force. Cheap to read.
pub(crate) type Shared = Arc<ArcSwap<Published>>;
