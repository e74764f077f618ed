//! The catalog actor: the one writer of tenants, keys and configurations.
//!
//! It decides on the state that it publishes, appends, publishes the next state, tells the workers, and answers
//! when all of that is durable and in force. Everyone else reads the published state without asking it.
//!
//! An answer that is to be kept under an idempotency key is appended together with the change.

use crate::{
    answers::{Answer, Answers, Keep, Sealed, Ticket},
    clock::Clock,
    domain::{
        by::By,
        catalog::{Catalog, PipelineEntry, Size},
        client_certificate::Certificate,
        event::{Fact, PipelineEvent, TenantEvent},
        id::{KeyId, PipelineId, StepId, TenantId},
        jwt_key::JwtKey,
        quota::{Quota, Quotas},
        step::{PausedReason, PipelineConfig, Status},
        tenant::{ApiKey, SIGNING_KEYS_MAX, SigningKey, Tenant},
        time::Timestamp,
    },
    entropy,
    error::EngineError,
    failpoint,
    log::{Append, EventLog, Expected, LogError, NewRecord, Position, codec, replay},
    profile::Profiles,
    published::{Published, Shared},
    secrets::{self, NewKeyPair, Secrets, SecretsError},
    supervisor::{self, SupervisorActor},
    view::NewKey,
    worker::{Gone, order::Order, registry::Registry},
};
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseFuture,
    Supervised, WrapFuture,
};
use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};
use tracing::{error, warn};

/// Most keys for JWTs of one tenant.
const JWT_KEYS_MAX: u64 = 20;

/// Quotas to set, or to take back to what holds for everyone.
pub type QuotaChanges = Vec<(Quota, Option<u64>)>;

/// A change of the catalog.
pub(crate) enum Change {
    CreateTenant { id: Option<TenantId>, name: String, profile: String, key: ApiKey, signing_key: SigningKey },
    UpdateTenant { id: TenantId, name: String, contacts: Vec<String>, quotas: Option<QuotaChanges> },
    DeleteTenant { id: TenantId },
    CreateKey { tenant: TenantId, key: ApiKey },
    RevokeKey { tenant: TenantId, id: KeyId },
    RotateSigningKey { tenant: TenantId, key: SigningKey, former_until: Option<Timestamp> },
    CreateJwtKey { tenant: TenantId, key: Box<JwtKey> },
    RevokeJwtKey { tenant: TenantId, id: KeyId },
    SetClientCertificate { tenant: TenantId, certificate: Box<Certificate>, sealed: String },
    RemoveClientCertificate { tenant: TenantId },
    CreatePipeline { tenant: TenantId, prefix: String, limit: Option<u64>, config: Box<PipelineConfig> },
    UpdatePipeline { id: PipelineId, expected: u32, config: Box<PipelineConfig>, rotated: Option<StepId> },
    DeletePipeline { id: PipelineId, expected: Option<u32> },
    Revealed { id: PipelineId, step: String },
}

/// A change, who asks for it, and how its answer is kept.
pub(crate) struct Alter {
    pub(crate) by: By,
    pub(crate) change: Change,
    pub(crate) keep: Option<KeepAltered>,
}

/// [`Keep`] of whatever a change makes.
pub(crate) struct KeepAltered {
    ticket: Ticket,
    answer: Box<AnswerTo>,
}

type AnswerTo = dyn FnOnce(&Altered) -> Option<Answer> + Send;

impl KeepAltered {
    /// `pick` finds what the answer is about; nothing is kept of a change that made something else.
    pub(crate) fn new<T: 'static>(
        Keep { ticket, answer }: Keep<T>,
        pick: impl FnOnce(&Altered) -> Option<T> + Send + 'static,
    ) -> Self {
        Self { ticket, answer: Box::new(move |altered| pick(altered).map(|made| answer(&made))) }
    }
}

/// What a change made or touched.
pub(crate) enum Altered {
    Tenant(Arc<Tenant>),
    Pipeline(Arc<PipelineEntry>),
    Nothing,
}

impl Altered {
    pub(crate) fn tenant(&self) -> Option<Arc<Tenant>> {
        if let Self::Tenant(tenant) = self { Some(Arc::clone(tenant)) } else { None }
    }

    pub(crate) fn pipeline(&self) -> Option<Arc<PipelineEntry>> {
        if let Self::Pipeline(entry) = self { Some(Arc::clone(entry)) } else { None }
    }
}

impl Message for Alter {
    type Result = Result<Altered, EngineError>;
}

/// See the module.
pub struct CatalogActor {
    log: Arc<dyn EventLog>,
    clock: Clock,
    answers: Arc<Answers>,
    published: Shared,
    profiles: Arc<Profiles>,
    registry: Registry,
    supervisor: Addr<SupervisorActor>,
    seeded: bool,
}

/// What the actor is made of.
pub(crate) struct CatalogParts {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Clock,
    pub(crate) answers: Arc<Answers>,
    pub(crate) published: Shared,
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) registry: Registry,
    pub(crate) supervisor: Addr<SupervisorActor>,
}

impl CatalogActor {
    pub(crate) fn new(parts: CatalogParts) -> Self {
        let CatalogParts { log, clock, answers, published, profiles, registry, supervisor } = parts;
        Self { log, clock, answers, published, profiles, registry, supervisor, seeded: true }
    }
}

impl Actor for CatalogActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if std::mem::take(&mut self.seeded) {
            return;
        }
        let log = Arc::clone(&self.log);
        ctx.wait(replay::again(log).into_actor(self).map(|state, this, ctx| match state {
            Some(state) => this.published.store(Arc::new(Published::new(state.catalog, &this.profiles))),
            None => ctx.stop(),
        }));
    }
}

impl Supervised for CatalogActor {}

/// A fact to append, and what the stream must look like for it.
type Decided = Vec<(Fact, Expected)>;

impl Handler<Alter> for CatalogActor {
    type Result = ResponseFuture<Result<Altered, EngineError>>;

    fn handle(&mut self, Alter { by, change, keep }: Alter, ctx: &mut Self::Context) -> Self::Result {
        failpoint::hold_up("catalog.alter", ctx);
        match self.alter(&by, change, keep, ctx) {
            Ok(work) => work,
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }
}

impl Handler<Gone> for CatalogActor {
    type Result = ResponseFuture<bool>;

    /// Whoever changed the pipeline meanwhile has seen to it; the next 410 is heeded again.
    fn handle(&mut self, Gone { pipeline, version }: Gone, ctx: &mut Self::Context) -> Self::Result {
        let entry = self.published.load().catalog.pipeline(&pipeline).cloned();
        let Some(entry) = entry.filter(|entry| entry.version == version) else {
            return Box::pin(async { true });
        };
        let (status, paused_reason) = (Status::Paused, Some(PausedReason::Gone));
        let config = PipelineConfig { status, paused_reason, ..PipelineConfig::clone(&entry.config) };
        let change = Change::UpdatePipeline {
            id: pipeline,
            expected: version,
            config: Box::new(config),
            rotated: None,
        };
        let by = By::engine();
        match self.alter(&by, change, None, ctx) {
            Ok(work) => {
                warn!(pipeline.id = %entry.id, "a receiver answered 410, its pipeline is paused");
                Box::pin(async move { work.await.is_ok() })
            }
            Err(error) => {
                error!(pipeline.id = %entry.id, %error, "cannot pause a pipeline whose receiver is gone");
                Box::pin(async { false })
            }
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Result<Altered, EngineError>>>>;

impl CatalogActor {
    fn alter(
        &mut self,
        by: &By,
        change: Change,
        keep: Option<KeepAltered>,
        ctx: &mut Context<Self>,
    ) -> Result<Work, EngineError> {
        let decided = self.decide(by, change)?;
        let now = self.clock.now();
        let mut catalog = Catalog::clone(&self.published.load().catalog);
        let altered = evolve(&mut catalog, &decided, now);
        let kept = keep.map(|keep| self.seal(keep, &altered)).transpose()?.flatten();
        let mut encoded: Vec<_> =
            decided.iter().map(|(fact, at)| (codec::stream_of(fact), *at, [codec::encode(fact)])).collect();
        if let Some(Sealed { fact, payload, .. }) = &kept {
            let record = NewRecord { payload: Some(payload.clone()), ..codec::encode(fact) };
            encoded.push((codec::stream_of(fact), Expected::Any, [record]));
        }
        let appends: Vec<_> = encoded
            .iter()
            .map(|(stream, expected, records)| Append { stream, expected: *expected, at: now, records })
            .collect();
        let appended = self.log.append(&appends, &mut |_, _| {}).map_err(|error| match error {
            LogError::Conflict { stream, .. } => {
                EngineError::Conflict(format!("`{stream}` was in use before; choose another id"))
            }
            error => error.into(),
        })?;
        self.log.kick();
        self.publish(&decided, catalog);
        let mut told = Vec::new();
        let mut position = appended.first;
        for (fact, _) in decided {
            if let Fact::Pipeline(id, event) = fact {
                told.push((id, position, event));
            }
            position = position.next();
        }
        let in_force = self.put_in_force(told, appended.last, altered, ctx);
        let (answers, last) = (Arc::clone(&self.answers), appended.last);
        Ok(Box::pin(async move {
            let altered = in_force.await?;
            if let Some(kept) = kept {
                answers.keep(kept, last, now);
            }
            Ok(altered)
        }))
    }

    fn seal(&self, keep: KeepAltered, altered: &Altered) -> Result<Option<Sealed>, EngineError> {
        let KeepAltered { ticket, answer } = keep;
        answer(altered).map(|answer| self.answers.seal(ticket, &answer)).transpose()
    }

    /// Tells the workers and waits for the disk.
    fn put_in_force(
        &self,
        told: Vec<(PipelineId, Position, PipelineEvent)>,
        last: Position,
        altered: Altered,
        ctx: &mut Context<Self>,
    ) -> Work {
        let (log, registry) = (Arc::clone(&self.log), self.registry.clone());
        let mut orders = Vec::new();
        for (id, position, event) in told {
            if let PipelineEvent::PipelineCreated { tenant, config, .. } = event {
                let whole = crate::domain::pipeline::Pipeline::new(id.clone(), tenant, config);
                let state = (whole.split(registry.parts()), position);
                // The next change may concern this pipeline: it is not looked at before there are workers to tell.
                ctx.wait(supervisor::employ(self.supervisor.clone(), id, state).into_actor(self));
            } else {
                orders.push((id, position, event));
            }
        }
        Box::pin(async move {
            for (id, position, event) in orders {
                registry.order_all(&id, || Order::Configure(position, Box::new(event.clone()))).await;
            }
            if log.watermark().reached(last).await {
                Ok(altered)
            } else {
                Err(EngineError::Unavailable("the log cannot be written".into()))
            }
        })
    }

    fn publish(&self, decided: &Decided, catalog: Catalog) {
        let facts = decided.iter().map(|(fact, _)| fact);
        let published = self.published.load().after(facts, catalog, &self.profiles);
        self.published.store(Arc::new(published));
    }

    fn decide(&self, by: &By, change: Change) -> Result<Decided, EngineError> {
        let published = self.published.load();
        let catalog = &published.catalog;
        let by = by.clone();
        Ok(match change {
            Change::CreateTenant { id, name, profile, key, signing_key } => {
                let id = id.unwrap_or_else(|| TenantId::new(entropy::id("tenant", 16)));
                if catalog.tenant(&id).is_some() {
                    return Err(EngineError::Conflict(format!("tenant `{id}` exists already")));
                }
                // What a deleted tenant left behind is not another's to see: an id is given once.
                let created = TenantEvent::TenantCreated { name, profile, by: by.clone() };
                let signing_key = first_signing_key(signing_key, by.clone());
                vec![
                    (Fact::Tenant(id.clone(), created), Expected::Version(0)),
                    (Fact::Tenant(id.clone(), signing_key), Expected::Any),
                    (Fact::Tenant(id, TenantEvent::KeyCreated { key, by }), Expected::Any),
                ]
            }
            Change::UpdateTenant { id, name, contacts, quotas } => {
                let tenant = find_tenant(catalog, &id)?;
                update_tenant(tenant, name, contacts, quotas, &by)
            }
            Change::DeleteTenant { id } => {
                find_tenant(catalog, &id)?;
                delete_tenant(catalog, id, by)
            }
            Change::CreateKey { tenant, key } => {
                find_tenant(catalog, &tenant)?;
                vec![(Fact::Tenant(tenant, TenantEvent::KeyCreated { key, by }), Expected::Any)]
            }
            Change::RevokeKey { tenant, id } => {
                if !find_tenant(catalog, &tenant)?.keys.contains_key(&id) {
                    return Err(EngineError::NotFound { kind: "key", id: id.to_string() });
                }
                vec![(Fact::Tenant(tenant, TenantEvent::KeyRevoked { id, by }), Expected::Any)]
            }
            Change::RotateSigningKey { tenant, key, former_until } => {
                may_rotate(catalog, &tenant, former_until, self.clock.now())?;
                let event = TenantEvent::SigningKeyMade { key, key_set: None, former_until, by };
                vec![(Fact::Tenant(tenant, event), Expected::Any)]
            }
            Change::CreateJwtKey { tenant, key } => {
                may_register(catalog, &tenant, &key)?;
                vec![(Fact::Tenant(tenant, TenantEvent::JwtKeyCreated { key, by }), Expected::Any)]
            }
            Change::RevokeJwtKey { tenant, id } => {
                if !find_tenant(catalog, &tenant)?.jwt_keys.contains_key(&id) {
                    return Err(EngineError::NotFound { kind: "JWT key", id: id.to_string() });
                }
                vec![(Fact::Tenant(tenant, TenantEvent::JwtKeyRevoked { id, by }), Expected::Any)]
            }
            Change::SetClientCertificate { tenant, certificate, sealed } => {
                find_tenant(catalog, &tenant)?;
                let event = TenantEvent::ClientCertificateSet { certificate, sealed, by };
                vec![(Fact::Tenant(tenant, event), Expected::Any)]
            }
            Change::RemoveClientCertificate { tenant } => {
                if find_tenant(catalog, &tenant)?.client_certificate.is_none() {
                    let id = tenant.to_string();
                    return Err(EngineError::NotFound { kind: "client certificate of tenant", id });
                }
                vec![(Fact::Tenant(tenant, TenantEvent::ClientCertificateRemoved { by }), Expected::Any)]
            }
            Change::CreatePipeline { tenant, prefix, limit, config } => {
                let quotas = &find_tenant(catalog, &tenant)?.quotas;
                may_have_pipeline(quotas, catalog.size_of(&tenant), limit)?;
                may_have_steps(catalog, &tenant, 0, config.steps.len())?;
                let id = PipelineId::new(entropy::id(&prefix, 16));
                let event = PipelineEvent::PipelineCreated { tenant, config: *config, by };
                vec![(Fact::Pipeline(id, event), Expected::Version(0))]
            }
            Change::UpdatePipeline { id, expected, config, rotated } => {
                let entry = find_pipeline(catalog, &id)?;
                must_be_at(entry, expected)?;
                may_have_steps(catalog, &entry.tenant, entry.config.steps.len(), config.steps.len())?;
                let event = PipelineEvent::PipelineUpdated { config: *config, by, rotated };
                vec![(Fact::Pipeline(id, event), Expected::Any)]
            }
            Change::DeletePipeline { id, expected } => {
                let entry = find_pipeline(catalog, &id)?;
                expected.map_or(Ok(()), |expected| must_be_at(entry, expected))?;
                vec![(Fact::Pipeline(id, PipelineEvent::PipelineDeleted { by }), Expected::Any)]
            }
            Change::Revealed { id, step } => {
                let tenant = find_pipeline(catalog, &id)?.tenant.clone();
                vec![(
                    Fact::Tenant(tenant, TenantEvent::SecretRevealed { pipeline: id, step, by }),
                    Expected::Any,
                )]
            }
        })
    }
}

/// What is true after the facts, and what they made or touched last.
fn evolve(catalog: &mut Catalog, decided: &Decided, now: Timestamp) -> Altered {
    let mut altered = Altered::Nothing;
    for (fact, _) in decided {
        match fact {
            Fact::Tenant(id, event) => {
                catalog.evolve_tenant(id, event, now);
                altered = catalog.tenant(id).map_or(Altered::Nothing, |t| Altered::Tenant(Arc::clone(t)));
            }
            Fact::Pipeline(id, event) => {
                catalog.evolve_pipeline(id, event, now);
                altered = catalog.pipeline(id).map_or(Altered::Nothing, |p| Altered::Pipeline(Arc::clone(p)));
            }
            _ => {}
        }
    }
    altered
}

/// So many keys sign at a time, and no more.
fn may_rotate(
    catalog: &Catalog,
    tenant: &TenantId,
    former_until: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), EngineError> {
    let in_force = find_tenant(catalog, tenant)?.signing_keys_at(now).count();
    if former_until.is_none() || in_force < SIGNING_KEYS_MAX {
        return Ok(());
    }
    Err(EngineError::Conflict(format!(
        "{in_force} keys of tenant `{tenant}` are in force; wait for the end of the oldest, or rotate without an overlap"
    )))
}

/// One fact, as each request has one record in the audit.
fn update_tenant(
    tenant: &Tenant,
    name: String,
    contacts: Vec<String>,
    quotas: Option<QuotaChanges>,
    by: &By,
) -> Decided {
    let (by, quotas) = (by.clone(), quotas.map(|changes| tenant.quotas.with(changes)));
    let event = match quotas {
        Some(quotas) if name == tenant.name && contacts == tenant.contacts => {
            TenantEvent::QuotasSet { quotas, by }
        }
        quotas => {
            // The fact says the whole, so that the audit can show what was before.
            let silent = tenant.contacts.is_empty() && contacts.is_empty();
            TenantEvent::TenantUpdated { name, contacts: (!silent).then_some(contacts), quotas, by }
        }
    };
    vec![(Fact::Tenant(tenant.id.clone(), event), Expected::Any)]
}

/// The operator's quota takes the place of the profile's limit.
fn may_have_pipeline(quotas: &Quotas, size: Size, limit: Option<u64>) -> Result<(), EngineError> {
    let quota = Quota::Pipelines;
    match (quotas.get(quota), limit) {
        (Some(max), _) if size.pipelines >= max => {
            Err(EngineError::QuotaExceeded { quota, max, retry_after_seconds: None })
        }
        (None, Some(max)) if size.pipelines >= max => Err(EngineError::Limit { limit: "pipelines", max }),
        _ => Ok(()),
    }
}

/// What a tenant has already it keeps, also beyond a quota that was lowered since.
fn may_have_steps(
    catalog: &Catalog,
    tenant: &TenantId,
    before: usize,
    after: usize,
) -> Result<(), EngineError> {
    let quota = Quota::Steps;
    match catalog.tenant(tenant).and_then(|tenant| tenant.quotas.get(quota)) {
        Some(max) if after > before && catalog.size_of(tenant).steps + (after - before) as u64 > max => {
            Err(EngineError::QuotaExceeded { quota, max, retry_after_seconds: None })
        }
        _ => Ok(()),
    }
}

/// No token is ever of two tenants.
fn may_register(catalog: &Catalog, tenant: &TenantId, key: &JwtKey) -> Result<(), EngineError> {
    if find_tenant(catalog, tenant)?.jwt_keys.len() as u64 >= JWT_KEYS_MAX {
        return Err(EngineError::Limit { limit: "JWT keys", max: JWT_KEYS_MAX });
    }
    let mut same_kid = catalog.keys_by_kid(&key.kid);
    if same_kid.any(|(_, other)| !tell_apart(&other.claims, &key.claims)) {
        let text = "there is a key with this `kid`; only claims that differ would tell them apart";
        return Err(EngineError::Conflict(text.to_owned()));
    }
    Ok(())
}

/// Whether no token can have both: they ask for the same claim with different texts.
fn tell_apart(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> bool {
    one.iter().any(|(name, text)| other.get(name).is_some_and(|theirs| theirs != text))
}

/// A tenant goes with its pipelines.
fn delete_tenant(catalog: &Catalog, id: TenantId, by: By) -> Decided {
    let mine = catalog.pipelines().filter(|pipeline| pipeline.tenant == id);
    let delete = |pipeline: &Arc<PipelineEntry>| {
        let event = PipelineEvent::PipelineDeleted { by: by.clone() };
        (Fact::Pipeline(pipeline.id.clone(), event), Expected::Any)
    };
    let mut facts: Decided = mine.map(delete).collect();
    facts.push((Fact::Tenant(id, TenantEvent::TenantDeleted { by }), Expected::Any));
    facts
}

fn find_tenant<'a>(catalog: &'a Catalog, id: &TenantId) -> Result<&'a Arc<Tenant>, EngineError> {
    catalog.tenant(id).ok_or_else(|| EngineError::NotFound { kind: "tenant", id: id.to_string() })
}

/// Judged where the change is decided: no other one can come in between.
fn must_be_at(entry: &PipelineEntry, expected: u32) -> Result<(), EngineError> {
    let PipelineEntry { id, version, .. } = entry;
    if *version == expected {
        return Ok(());
    }
    Err(EngineError::Conflict(format!(
        "pipeline `{id}` is at version {version}, not {expected}: read it again"
    )))
}

fn find_pipeline<'a>(catalog: &'a Catalog, id: &PipelineId) -> Result<&'a Arc<PipelineEntry>, EngineError> {
    catalog.pipeline(id).ok_or_else(|| EngineError::NotFound { kind: "pipeline", id: id.to_string() })
}

/// A new Ed25519 key as the log keeps it.
pub(crate) fn new_signing_key(secrets: &Secrets) -> Result<SigningKey, SecretsError> {
    let NewKeyPair { key, public } = secrets::new_key_pair()?;
    let id = KeyId::new(entropy::id("sig", 12));
    Ok(SigningKey { id, public, sealed: secrets.seal(key.expose())? })
}

/// A tenant's first key comes with the name under which its public keys are found from then on.
pub(crate) fn first_signing_key(key: SigningKey, by: By) -> TenantEvent {
    let key_set = Some(entropy::id("keys", 22));
    TenantEvent::SigningKeyMade { key, key_set, former_until: None, by }
}

/// The stored form of a key that was just made.
pub(crate) fn stored_key(id: KeyId, hash: String, hint: String, key: NewKey) -> ApiKey {
    let NewKey { scopes, name, expires_at } = key;
    ApiKey { id, hash, hint: hint.into(), scopes, name: name.map(Into::into), expires_at }
}

/// Whether a key still holds.
pub(crate) fn holds(key: &ApiKey, now: Timestamp) -> bool {
    key.expires_at.is_none_or(|end| now < end)
}
