//! Who there is and what they configured: tenants, keys, pipelines. Small, read by every request, changed rarely.

use super::{
    client_certificate::{Certificate, ClientCertificate},
    event::{PipelineEvent, TenantEvent},
    id::{KeyId, PipelineId, TenantId},
    jwt_key::JwtKey,
    quota::Quotas,
    shared_map::SharedMap,
    step::PipelineConfig,
    tenant::{ApiKey, Tenant, TenantKey},
    time::Timestamp,
};
use std::{borrow::Borrow, collections::BTreeMap, sync::Arc};

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

/// How much of what quotas count a tenant has configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Pipelines and webhooks.
    pub pipelines: u64,
    /// Steps in all of them.
    pub steps: u64,
}

impl Size {
    fn with(self, entry: &PipelineEntry) -> Self {
        Self { pipelines: self.pipelines + 1, steps: self.steps + entry.config.steps.len() as u64 }
    }

    fn without(self, entry: &PipelineEntry) -> Self {
        Self { pipelines: self.pipelines - 1, steps: self.steps - entry.config.steps.len() as u64 }
    }
}

/// Everything that is configured. Cheap to clone and to change, however much there is: the parts are shared.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    tenants: SharedMap<TenantId, Arc<Tenant>>,
    pipelines: SharedMap<PipelineId, Arc<PipelineEntry>>,
    sizes: SharedMap<TenantId, Size>,
    by_key: SharedMap<Arc<str>, PipelineId>,
    by_hash: SharedMap<String, (TenantId, KeyId)>,
    by_key_set: SharedMap<String, TenantId>,
    /// Several tenants may take the tokens of one issuer; their keys then ask for different claims.
    by_kid: SharedMap<String, Vec<(TenantId, KeyId)>>,
}

impl Catalog {
    /// What is now true of a tenant.
    pub fn evolve_tenant(&mut self, id: &TenantId, event: &TenantEvent, at: Timestamp) {
        match event {
            TenantEvent::TenantCreated { name, profile, .. } => {
                let (name, profile) = (name.clone(), profile.clone());
                let tenant = Tenant {
                    id: id.clone(),
                    name,
                    profile,
                    created_at: at,
                    keys: BTreeMap::new(),
                    key_set: String::new(),
                    signing_keys: Vec::new(),
                    jwt_keys: BTreeMap::new(),
                    contacts: Vec::new(),
                    client_certificate: None,
                    quotas: Quotas::default(),
                };
                self.tenants.insert(id.clone(), Arc::new(tenant));
            }
            TenantEvent::TenantUpdated { name, contacts, quotas, .. } => self.change(id, |tenant| {
                tenant.name.clone_from(name);
                if let Some(quotas) = quotas {
                    tenant.quotas.clone_from(quotas);
                }
                if let Some(contacts) = contacts {
                    tenant.contacts.clone_from(contacts);
                }
            }),
            TenantEvent::TenantDeleted { .. } => {
                if let Some(tenant) = self.tenants.remove(id) {
                    tenant.keys.values().for_each(|(key, _)| drop(self.by_hash.remove(&key.hash)));
                    self.by_key_set.remove(&tenant.key_set);
                    tenant.jwt_keys.values().for_each(|(key, _)| self.forget_kid(key));
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
            TenantEvent::SigningKeyMade { key, key_set, former_until, .. } => {
                if let Some(key_set) = key_set {
                    self.by_key_set.insert(key_set.clone(), id.clone());
                }
                self.change(id, |tenant| {
                    if let Some(key_set) = key_set {
                        tenant.key_set.clone_from(key_set);
                    }
                    let keys = &mut tenant.signing_keys;
                    match *former_until {
                        None => keys.clear(),
                        ends => keys.iter_mut().for_each(|former| former.until = former.until.or(ends)),
                    }
                    keys.retain(|former| former.until.is_some_and(|until| at < until));
                    keys.insert(0, TenantKey { key: key.clone(), made_at: at, until: None });
                });
            }
            TenantEvent::JwtKeyCreated { key, .. } => {
                self.name_kid(id, key);
                self.change(id, |tenant| {
                    drop(tenant.jwt_keys.insert(key.id.clone(), (JwtKey::clone(key), at)));
                });
            }
            TenantEvent::JwtKeyRevoked { id: key, .. } => {
                let known = self.tenants.get(id).and_then(|tenant| tenant.jwt_keys.get(key)).cloned();
                if let Some((key, _)) = known {
                    self.forget_kid(&key);
                }
                self.change(id, |tenant| drop(tenant.jwt_keys.remove(key)));
            }
            TenantEvent::ClientCertificateSet { certificate, sealed, .. } => self.change(id, |tenant| {
                let (certificate, sealed) = (Certificate::clone(certificate), sealed.clone());
                tenant.client_certificate = Some(ClientCertificate { certificate, sealed, set_at: at });
            }),
            TenantEvent::ClientCertificateRemoved { .. } => {
                self.change(id, |tenant| tenant.client_certificate = None);
            }
            TenantEvent::QuotasSet { quotas, .. } => {
                self.change(id, |tenant| tenant.quotas.clone_from(quotas));
            }
            TenantEvent::SecretRevealed { .. }
            | TenantEvent::Answered { .. }
            | TenantEvent::NoticesMailed { .. }
            | TenantEvent::EventErased { .. }
            | TenantEvent::PayloadsErased { .. } => {}
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
                self.put_pipeline(entry);
            }
            PipelineEvent::PipelineUpdated { config, .. } => {
                if let Some(entry) = self.pipelines.get(id) {
                    let (config, version) = (Arc::new(config.clone()), entry.version + 1);
                    let entry =
                        PipelineEntry { config, version, updated_at: at, ..PipelineEntry::clone(entry) };
                    self.put_pipeline(entry);
                }
            }
            PipelineEvent::PipelineDeleted { .. } => {
                if let Some(entry) = self.pipelines.remove(id) {
                    self.resize(&entry.tenant, |size| size.without(&entry));
                }
            }
        }
    }

    fn put_pipeline(&mut self, entry: PipelineEntry) {
        let entry = Arc::new(entry);
        let former = self.pipelines.insert(entry.id.clone(), Arc::clone(&entry));
        self.resize(&entry.tenant, |size| former.map_or(size, |former| size.without(&former)).with(&entry));
    }

    fn resize(&mut self, tenant: &TenantId, change: impl FnOnce(Size) -> Size) {
        match change(self.size_of(tenant)) {
            Size { pipelines: 0, .. } => drop(self.sizes.remove(tenant)),
            size => drop(self.sizes.insert(tenant.clone(), size)),
        }
    }

    fn name_kid(&mut self, tenant: &TenantId, key: &JwtKey) {
        let owned = (tenant.clone(), key.id.clone());
        match self.by_kid.get_mut(&key.kid) {
            Some(named) => named.push(owned),
            None => drop(self.by_kid.insert(key.kid.clone(), vec![owned])),
        }
    }

    fn forget_kid(&mut self, key: &JwtKey) {
        if let Some(named) = self.by_kid.get_mut(&key.kid) {
            named.retain(|(_, id)| *id != key.id);
        }
    }

    fn change(&mut self, id: &TenantId, change: impl FnOnce(&mut Tenant)) {
        if let Some(tenant) = self.tenants.get_mut(id) {
            change(Arc::make_mut(tenant));
        }
    }

    /// A tenant, by its id or that id's text.
    #[must_use]
    pub fn tenant<Q: Ord + ?Sized>(&self, id: &Q) -> Option<&Arc<Tenant>>
    where
        TenantId: Borrow<Q>,
    {
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

    /// The tenant whose public keys are found under this name.
    #[must_use]
    pub fn tenant_by_key_set(&self, key_set: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(self.by_key_set.get(key_set)?)
    }

    /// The keys for JWTs that go by this `kid`, and whose they are.
    pub fn keys_by_kid(&self, kid: &str) -> impl Iterator<Item = (&Arc<Tenant>, &JwtKey)> {
        self.by_kid.get(kid).into_iter().flatten().filter_map(|(tenant, key)| {
            let tenant = self.tenants.get(tenant)?;
            Some((tenant, &tenant.jwt_keys.get(key)?.0))
        })
    }

    /// A pipeline that is not deleted.
    #[must_use]
    pub fn pipeline(&self, id: &PipelineId) -> Option<&Arc<PipelineEntry>> {
        self.pipelines.get(id)
    }

    /// What a tenant has of pipelines, and of steps in them.
    #[must_use]
    pub fn size_of(&self, tenant: &TenantId) -> Size {
        self.sizes.get(tenant).copied().unwrap_or_default()
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
            if !tenant.key_set.is_empty() {
                catalog.by_key_set.insert(tenant.key_set.clone(), tenant.id.clone());
            }
            for (key, _) in tenant.jwt_keys.values() {
                catalog.name_kid(&tenant.id, key);
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
            catalog.put_pipeline(entry);
        }
        catalog
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        quota::Quota,
        tenant::{Scope, SigningKey},
        testing::{operator, pipe, pipeline, step, tenant, tries},
    };

    fn key(id: &str) -> ApiKey {
        let (id, hash, hint) = (KeyId::new(id), format!("hash of {id}"), id.into());
        ApiKey { id, hash, hint, scopes: vec![Scope::Read], name: None, expires_at: None }
    }

    fn with_tenant(events: impl IntoIterator<Item = TenantEvent>) -> Catalog {
        let mut catalog = Catalog::default();
        let created =
            TenantEvent::TenantCreated { name: "A".into(), profile: "afftok".into(), by: operator() };
        for event in [created].into_iter().chain(events) {
            catalog.evolve_tenant(&tenant(), &event, Timestamp(1));
        }
        catalog
    }

    /// TEN.1, TEN.6: a key opens its tenant until it is taken back.
    #[test]
    fn a_key_is_known_by_its_hash_until_it_is_revoked() {
        let made = |id| TenantEvent::KeyCreated { key: key(id), by: operator() };
        let catalog = with_tenant([made("key_1"), made("key_2")]);
        let (owner, found) = catalog.key_by_hash("hash of key_1").unwrap();
        assert_eq!((&owner.id, &found.id), (&tenant(), &KeyId::new("key_1")));
        let revoked = TenantEvent::KeyRevoked { id: KeyId::new("key_1"), by: operator() };
        let catalog = with_tenant([made("key_1"), made("key_2"), revoked]);
        assert!(catalog.key_by_hash("hash of key_1").is_none());
        assert!(catalog.key_by_hash("hash of key_2").is_some());
        let catalog = with_tenant([made("key_1"), TenantEvent::TenantDeleted { by: operator() }]);
        assert!(catalog.key_by_hash("hash of key_1").is_none() && catalog.tenant(&tenant()).is_none());
    }

    /// §2: the new key signs at once, the former one beside it for a while, and then it is forgotten.
    #[test]
    fn a_tenants_signing_key_is_replaced_with_an_overlap() {
        let made = |name: &str, former_until| {
            let key = SigningKey { id: KeyId::new(name), public: name.into(), sealed: name.into() };
            let key_set = (name == "a").then(|| "set".to_owned());
            TenantEvent::SigningKeyMade { key, key_set, former_until, by: operator() }
        };
        let mut catalog = with_tenant([made("a", None)]);
        let in_force = |catalog: &Catalog, now| {
            let keys = catalog.tenant_by_key_set("set").unwrap().signing_keys_at(Timestamp(now));
            keys.map(|key| key.key.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(in_force(&catalog, 1), ["a"]);
        catalog.evolve_tenant(&tenant(), &made("b", Some(Timestamp(10))), Timestamp(2));
        assert_eq!(
            (in_force(&catalog, 9), in_force(&catalog, 10)),
            (vec!["b".into(), "a".into()], vec!["b".into()])
        );
        catalog.evolve_tenant(&tenant(), &made("c", Some(Timestamp(30))), Timestamp(20));
        assert_eq!(in_force(&catalog, 20), ["c", "b"]);
        catalog.evolve_tenant(&tenant(), &made("d", None), Timestamp(21));
        assert_eq!(in_force(&catalog, 21), ["d"]);
        assert_eq!(catalog.tenant(&tenant()).unwrap().signing_keys.len(), 1, "what has ended is forgotten");
        catalog.evolve_tenant(&tenant(), &TenantEvent::TenantDeleted { by: operator() }, Timestamp(22));
        assert!(catalog.tenant_by_key_set("set").is_none());
    }

    #[test]
    fn a_client_certificate_is_in_force_until_another_is_or_it_is_taken_away() {
        let set = |name: &str| {
            let certificate = Certificate {
                chain: vec![name.into()],
                subject: name.into(),
                issuer: name.into(),
                not_before: Timestamp(0),
                not_after: Timestamp(1),
                sha256: name.into(),
            };
            let (certificate, sealed) = (Box::new(certificate), name.to_owned());
            TenantEvent::ClientCertificateSet { certificate, sealed, by: operator() }
        };
        let mut catalog = with_tenant([set("a"), set("b")]);
        let own = |catalog: &Catalog| catalog.tenant(&tenant()).unwrap().client_certificate.clone();
        assert_eq!(
            own(&catalog).map(|own| (own.certificate.subject, own.sealed)),
            Some(("b".into(), "b".into()))
        );
        let removed = TenantEvent::ClientCertificateRemoved { by: operator() };
        catalog.evolve_tenant(&tenant(), &removed, Timestamp(9));
        assert_eq!(own(&catalog), None);
    }

    #[test]
    fn a_tenant_is_renamed_and_stays_the_same() {
        let catalog = with_tenant([TenantEvent::TenantUpdated {
            name: "B".into(),
            contacts: None,
            quotas: None,
            by: operator(),
        }]);
        let names: Vec<_> = catalog.tenants().map(|tenant| tenant.name.as_str()).collect();
        assert_eq!(names, ["B"]);
    }

    /// TEN.8: what is set holds until it is set anew, and what a tenant has is counted without what it deleted.
    #[test]
    fn quotas_and_what_counts_against_them_are_the_tenants_own() {
        let set = |most| Quotas::default().with([(Quota::Steps, most)]);
        let event = |most| TenantEvent::QuotasSet { quotas: set(most), by: operator() };
        let mut catalog = with_tenant([event(Some(3)), event(Some(2))]);
        assert_eq!(catalog.tenant(&tenant()).unwrap().quotas, set(Some(2)));
        catalog.evolve_tenant(&tenant(), &event(None), Timestamp(2));
        assert_eq!(catalog.tenant(&tenant()).unwrap().quotas, Quotas::default());

        let config = pipeline([step("step_a"), step("step_b")]);
        for (id, owner) in [("pipe_a", tenant()), ("pipe_b", tenant()), ("pipe_c", TenantId::new("other"))] {
            let created =
                PipelineEvent::PipelineCreated { tenant: owner, config: config.clone(), by: operator() };
            catalog.evolve_pipeline(&PipelineId::new(id), &created, Timestamp(3));
        }
        assert_eq!(catalog.size_of(&tenant()), Size { pipelines: 2, steps: 4 });
        let deleted = PipelineEvent::PipelineDeleted { by: operator() };
        catalog.evolve_pipeline(&PipelineId::new("pipe_a"), &deleted, Timestamp(4));
        assert_eq!(catalog.size_of(&tenant()), Size { pipelines: 1, steps: 2 });
    }

    /// What only the audit needs, and what is told of nobody, changes nothing.
    #[test]
    fn facts_that_concern_no_configuration_change_nothing() {
        let mut catalog = Catalog::default();
        let (pipeline, by) = (pipe(), operator);
        for event in [
            TenantEvent::SecretRevealed { pipeline, step: "a".into(), by: by() },
            TenantEvent::TenantUpdated { name: "B".into(), contacts: None, quotas: None, by: by() },
            TenantEvent::KeyRevoked { id: KeyId::new("key_1"), by: by() },
            TenantEvent::TenantDeleted { by: by() },
        ] {
            catalog.evolve_tenant(&tenant(), &event, Timestamp(1));
        }
        let updated = PipelineEvent::PipelineUpdated { config: tries(1), by: by(), rotated: None };
        catalog.evolve_pipeline(&pipe(), &updated, Timestamp(1));
        assert_eq!((catalog.tenants().count(), catalog.pipelines().count()), (0, 0));
    }

    /// T-34: a deleted pipeline is not listed, and its history stays readable.
    #[test]
    fn a_pipeline_counts_its_versions_and_leaves_its_key_behind() {
        let mut catalog = Catalog::default();
        let created = PipelineEvent::PipelineCreated { tenant: tenant(), config: tries(1), by: operator() };
        catalog.evolve_pipeline(&pipe(), &created, Timestamp(1));
        let updated = PipelineEvent::PipelineUpdated { config: tries(2), by: operator(), rotated: None };
        catalog.evolve_pipeline(&pipe(), &updated, Timestamp(2));
        let entry = catalog.pipeline(&pipe()).unwrap();
        assert_eq!((entry.version, entry.created_at, entry.updated_at), (2, Timestamp(1), Timestamp(2)));
        assert_eq!(entry.config.steps[0].retry.attempts_max, 2);
        let deleted = PipelineEvent::PipelineDeleted { by: operator() };
        catalog.evolve_pipeline(&pipe(), &deleted, Timestamp(3));
        assert!(catalog.pipeline(&pipe()).is_none());
        assert_eq!(catalog.pipeline_by_key("a"), Some(&pipe()));
    }
}
