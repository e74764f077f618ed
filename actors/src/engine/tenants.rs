//! Who may do what, and what they configured.

use super::{EngineError, EngineHandle, IssuedKey, NewKey, Principal, QuotaChanges};
use crate::{
    answers::Keep,
    catalog::{self, Alter, Altered, Change, KeepAltered},
    clock,
    domain::{
        by::By,
        catalog::PipelineEntry,
        client_certificate::Certificate,
        id::{DeliveryId, KeyId, PipelineId, StepId, TenantId},
        jwt_key::JwtKey,
        quota::Quota,
        step::PipelineConfig,
        tenant::{ApiKey, Scope, Scopes, SigningKey, Tenant},
        time::Timestamp,
    },
    entropy,
    secrets::{KeyHash, Secrets, jwt::Token},
};
use std::sync::Arc;

/// An operator key that was given from outside.
pub(super) struct OperatorKey {
    hash: KeyHash,
    principal: Principal,
}

impl OperatorKey {
    pub(super) fn new(key: &str, secrets: &Secrets) -> Self {
        let (id, name) = (KeyId::new("key_operator"), Some("operator".into()));
        let scopes = [Scope::Operator].as_slice().into();
        let principal = Principal { key: id, name, hint: None, tenant: None, scopes };
        Self { hash: secrets.hash_api_key(key), principal }
    }
}

impl EngineHandle {
    /// Who has this key; `None` for an unknown, revoked or expired one.
    #[must_use]
    pub fn authenticate(&self, key: &str) -> Option<Principal> {
        let hash = self.inner.tools.secrets.hash_api_key(key);
        if let Some(operator) = self.inner.operator_key.as_ref().filter(|operator| operator.hash == hash) {
            return Some(operator.principal.clone());
        }
        let published = self.inner.published.load();
        let (tenant, key) = published.catalog.key_by_hash(hash.as_str())?;
        // Keys end by the wall clock: that is what their owners read.
        let now = clock::wall();
        if !catalog::holds(key, now) {
            return None;
        }
        self.inner.last_uses.note(&key.id, now);
        let scopes = Scopes::from(key.scopes.as_slice());
        let tenant = (!scopes.contains(Scope::Operator)).then(|| Arc::clone(tenant));
        let (name, hint) = (key.name.clone(), Some(Arc::clone(&key.hint)));
        Some(Principal { key: key.id.clone(), name, hint, tenant, scopes })
    }

    /// Whose JWT this is; `None` for one that is not to be believed, for whatever reason. Only tenants of a profile that
    /// takes JWTs have any.
    #[must_use]
    pub fn authenticate_jwt(&self, token: &str) -> Option<Principal> {
        let token = Token::read(token)?;
        let (published, tools, now) = (self.inner.published.load(), &self.inner.tools, clock::wall());
        let mut found = published.catalog.keys_by_kid(&token.kid).filter_map(|(tenant, key)| {
            let takes_jwt = tools.profiles.get(&tenant.profile)?.api.takes_jwt;
            let is_over = key.expires_at.is_some_and(|end| now >= end);
            let scopes = (takes_jwt && !is_over).then(|| token.scopes(key, &tools.secrets, now)).flatten()?;
            let name = key.name.as_deref().map(Into::into);
            let (tenant, scopes) = (Some(Arc::clone(tenant)), scopes.as_slice().into());
            Some(Principal { key: key.id.clone(), name, hint: None, tenant, scopes })
        });
        // A token that two tenants would take is nobody's.
        let principal = found.next().filter(|_| found.next().is_none())?;
        self.inner.last_uses.note(&principal.key, now);
        Some(principal)
    }

    /// The minute in which a key was last let in, since the process began.
    #[must_use]
    pub fn last_used(&self, key: &KeyId) -> Option<Timestamp> {
        self.inner.last_uses.of(key)
    }

    /// Registers a key for JWTs.
    pub async fn create_jwt_key(
        &self,
        by: &By,
        tenant: &TenantId,
        key: JwtKey,
        keep: Option<Keep<JwtKey>>,
    ) -> Result<JwtKey, EngineError> {
        let told = key.clone();
        let keep = keep.map(|keep| KeepAltered::new(keep, move |_| Some(told)));
        let change = Change::CreateJwtKey { tenant: tenant.clone(), key: Box::new(key.clone()) };
        self.alter_and_keep(by, change, keep).await?;
        Ok(key)
    }

    /// Takes a key for JWTs back at once.
    pub async fn revoke_jwt_key(&self, by: &By, tenant: &TenantId, id: &KeyId) -> Result<(), EngineError> {
        self.alter(by, Change::RevokeJwtKey { tenant: tenant.clone(), id: id.clone() }).await?;
        self.inner.last_uses.forget(id);
        Ok(())
    }

    /// Puts a certificate for receivers that ask for one in force; `sealed` is its key.
    pub async fn set_client_certificate(
        &self,
        by: &By,
        tenant: &TenantId,
        certificate: Certificate,
        sealed: String,
    ) -> Result<Arc<Tenant>, EngineError> {
        let (tenant, certificate) = (tenant.clone(), Box::new(certificate));
        let altered = self.alter(by, Change::SetClientCertificate { tenant, certificate, sealed }).await?;
        altered.tenant().ok_or_else(|| vanished("tenant"))
    }

    /// Takes it away: nothing is shown any more.
    pub async fn remove_client_certificate(&self, by: &By, tenant: &TenantId) -> Result<(), EngineError> {
        self.alter(by, Change::RemoveClientCertificate { tenant: tenant.clone() }).await.map(drop)
    }

    async fn alter(&self, by: &By, change: Change) -> Result<Altered, EngineError> {
        self.alter_and_keep(by, change, None).await
    }

    async fn alter_and_keep(
        &self,
        by: &By,
        change: Change,
        keep: Option<KeepAltered>,
    ) -> Result<Altered, EngineError> {
        self.inner.catalog.send(Alter { by: by.clone(), change, keep }).await?
    }

    /// Makes a tenant with a first key of scopes `events:write`, `read` and `manage`.
    pub async fn create_tenant(
        &self,
        by: &By,
        id: Option<TenantId>,
        name: String,
        profile: String,
        keep: Option<Keep<(Arc<Tenant>, IssuedKey)>>,
    ) -> Result<(Arc<Tenant>, IssuedKey), EngineError> {
        let scopes = vec![Scope::EventsWrite, Scope::Read, Scope::Manage];
        let (key, issued) = self.issue(NewKey { scopes, name: None, expires_at: None })?;
        let told = issued.clone();
        let keep = keep.map(|keep| KeepAltered::new(keep, move |made| Some((made.tenant()?, told))));
        let signing_key = self.new_signing_key()?;
        let change = Change::CreateTenant { id, name, profile, key, signing_key };
        let altered = self.alter_and_keep(by, change, keep).await?;
        Ok((altered.tenant().ok_or_else(|| vanished("tenant"))?, issued))
    }

    /// Gives a tenant a name, contacts that are mailed for it, and quotas: those named are set, or taken back.
    pub async fn update_tenant(
        &self,
        by: &By,
        id: &TenantId,
        name: String,
        contacts: Vec<String>,
        quotas: Option<QuotaChanges>,
    ) -> Result<Arc<Tenant>, EngineError> {
        let change = Change::UpdateTenant { id: id.clone(), name, contacts, quotas };
        let altered = self.alter(by, change).await?;
        altered.tenant().ok_or_else(|| vanished("tenant"))
    }

    /// How much a tenant uses of a quota now. Of the rate: what it posted that has not come back yet; nothing is
    /// counted while no rate is set.
    #[must_use]
    pub fn used(&self, tenant: &Tenant, quota: Quota) -> Option<u64> {
        let allowance = &self.inner.intake.allowance;
        match quota {
            Quota::Pipelines => Some(self.with_catalog(|catalog| catalog.size_of(&tenant.id).pipelines)),
            Quota::Steps => Some(self.with_catalog(|catalog| catalog.size_of(&tenant.id).steps)),
            Quota::EventsPerSecond => {
                let per_second = tenant.quotas.events_per_second()?;
                Some(allowance.taken(&tenant.id, per_second, self.now()))
            }
            Quota::DeadLetters => Some(allowance.dead_letters(&tenant.id)),
        }
    }

    /// Deletes a tenant: its pipelines are deleted (pending deliveries cancelled), its keys revoked.
    pub async fn delete_tenant(&self, by: &By, id: &TenantId) -> Result<(), EngineError> {
        self.alter(by, Change::DeleteTenant { id: id.clone() }).await.map(drop)
    }

    /// Makes a key.
    pub async fn create_key(
        &self,
        by: &By,
        tenant: &TenantId,
        key: NewKey,
        keep: Option<Keep<IssuedKey>>,
    ) -> Result<IssuedKey, EngineError> {
        let (key, issued) = self.issue(key)?;
        let told = issued.clone();
        let keep = keep.map(|keep| KeepAltered::new(keep, move |_| Some(told)));
        self.alter_and_keep(by, Change::CreateKey { tenant: tenant.clone(), key }, keep).await?;
        Ok(issued)
    }

    /// A fresh key as it is stored, and as it is shown once.
    fn issue(&self, key: NewKey) -> Result<(ApiKey, IssuedKey), EngineError> {
        let made =
            self.inner.tools.secrets.new_api_key().map_err(|e| EngineError::Unavailable(e.to_string()))?;
        let id = KeyId::new(entropy::id("key", 12));
        let (scopes, expires_at) = (key.scopes.clone(), key.expires_at);
        let stored = catalog::stored_key(id.clone(), made.hash, made.hint, key);
        Ok((stored, IssuedKey { id, key: made.key.expose().to_owned(), scopes, expires_at }))
    }

    /// Takes a key back at once.
    pub async fn revoke_key(&self, by: &By, tenant: &TenantId, id: &KeyId) -> Result<(), EngineError> {
        self.alter(by, Change::RevokeKey { tenant: tenant.clone(), id: id.clone() }).await?;
        self.inner.last_uses.forget(id);
        Ok(())
    }

    /// Puts a new Ed25519 key in force, beside the former ones for as long as `former_until` says.
    pub async fn rotate_signing_key(
        &self,
        by: &By,
        tenant: &TenantId,
        former_until: Option<Timestamp>,
    ) -> Result<Arc<Tenant>, EngineError> {
        let (tenant, key) = (tenant.clone(), self.new_signing_key()?);
        let altered = self.alter(by, Change::RotateSigningKey { tenant, key, former_until }).await?;
        altered.tenant().ok_or_else(|| vanished("tenant"))
    }

    fn new_signing_key(&self) -> Result<SigningKey, EngineError> {
        let made = catalog::new_signing_key(&self.inner.tools.secrets);
        made.map_err(|error| EngineError::Unavailable(error.to_string()))
    }

    /// Makes a pipeline from a checked configuration whose steps have ids. `prefix` is the profile's (`pipe`, `wh`);
    /// `limit` the most pipelines that the tenant may have.
    pub async fn create_pipeline(
        &self,
        by: &By,
        tenant: &TenantId,
        prefix: &str,
        limit: Option<u64>,
        config: PipelineConfig,
        keep: Option<Keep<Arc<PipelineEntry>>>,
    ) -> Result<Arc<PipelineEntry>, EngineError> {
        let (tenant, prefix, config) = (tenant.clone(), prefix.to_owned(), Box::new(config));
        let change = Change::CreatePipeline { tenant, prefix, limit, config };
        let keep = keep.map(|keep| KeepAltered::new(keep, Altered::pipeline));
        self.alter_and_keep(by, change, keep).await?.pipeline().ok_or_else(|| vanished("pipeline"))
    }

    /// Puts a new version in force, if `expected` is the one the caller read. Answers when no worker starts an
    /// attempt by the old status any more.
    pub async fn update_pipeline(
        &self,
        by: &By,
        id: &PipelineId,
        expected: u32,
        config: PipelineConfig,
    ) -> Result<Arc<PipelineEntry>, EngineError> {
        self.put_in_force(by, id, expected, config, None).await
    }

    /// The same with another signing key in one of its steps.
    pub async fn rotate_key(
        &self,
        by: &By,
        id: &PipelineId,
        expected: u32,
        config: PipelineConfig,
        step: StepId,
    ) -> Result<Arc<PipelineEntry>, EngineError> {
        self.put_in_force(by, id, expected, config, Some(step)).await
    }

    async fn put_in_force(
        &self,
        by: &By,
        id: &PipelineId,
        expected: u32,
        config: PipelineConfig,
        rotated: Option<StepId>,
    ) -> Result<Arc<PipelineEntry>, EngineError> {
        let change = Change::UpdatePipeline { id: id.clone(), expected, config: Box::new(config), rotated };
        self.alter(by, change).await?.pipeline().ok_or_else(|| vanished("pipeline"))
    }

    /// Deletes a pipeline and cancels what is pending in it; a conflict if it is at another version than `expected`.
    pub async fn delete_pipeline(
        &self,
        by: &By,
        id: &PipelineId,
        expected: Option<u32>,
    ) -> Result<(), EngineError> {
        self.alter(by, Change::DeletePipeline { id: id.clone(), expected }).await.map(drop)
    }

    /// Records that a secret was shown.
    pub async fn record_reveal(&self, by: &By, id: &PipelineId, step: &str) -> Result<(), EngineError> {
        self.alter(by, Change::Revealed { id: id.clone(), step: step.to_owned() }).await.map(drop)
    }

    /// The pipeline that a delivery's id names, deleted ones included, if it is the tenant's.
    pub(super) fn pipeline_of(&self, tenant: &TenantId, id: &DeliveryId) -> Option<PipelineId> {
        let published = self.inner.published.load();
        let pipeline = published.catalog.pipeline_by_key(&id.pipeline)?.clone();
        let mine = published.catalog.pipeline(&pipeline).is_none_or(|entry| entry.tenant == *tenant);
        mine.then_some(pipeline)
    }
}

fn vanished(kind: &'static str) -> EngineError {
    EngineError::Conflict(format!("the {kind} was deleted meanwhile"))
}
