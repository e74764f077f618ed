//! The audit: one record for each admin write that succeeded, rendered from the facts themselves.
//!
//! The read model keeps only which positions belong to a tenant, and where the fact stands that says what was
//! before. Secrets are masked here; the log itself never held them in clear.

use super::{
    Page, PageRequest, ProjectionError, Projections,
    detail::absent,
    fold::{ENGINE, audit_key},
    query::Collector,
    store::number,
};
use crate::{
    domain::{
        by::{Asked, By},
        client_certificate::Certificate,
        event::{DeadLetterRef, EndpointEvent, EngineEvent, Fact, LaneEvent, PipelineEvent, TenantEvent},
        id::{DeadLetterId, DeliveryId, KeyId, PipelineId, TenantId},
        jwt_key::JwtKey,
        step::{HeaderValue, PipelineConfig, StoredKey},
        tenant::ApiKey,
        time::Timestamp,
    },
    log::Position,
    secrets::shown_url,
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// Records that one request may look at.
const RECORDS_MAX: usize = 5_000;

/// What stands in the place of a secret.
const MASK: &str = "********";

/// Which records of a tenant's audit are asked for.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// By this key.
    pub actor: Option<String>,
    /// Written at or after.
    pub since: Option<Timestamp>,
    /// Written at or before.
    pub until: Option<Timestamp>,
    /// The records that belong to the engine and to no tenant.
    pub engine: bool,
}

/// One admin write.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AuditRecord {
    /// Where it stands in the log.
    pub position: Position,
    /// When.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The key that asked.
    pub actor: KeyId,
    /// The name that it had; this and the following are `null` where the engine acted by itself, and before they were
    /// recorded.
    pub actor_name: Option<Box<str>>,
    /// Its first characters.
    pub actor_hint: Option<Box<str>>,
    /// The request's id.
    pub request_id: Option<Box<str>>,
    /// The address that the request came from.
    pub peer: Option<Box<str>>,
    /// What it did: `pipeline.updated`.
    pub action: &'static str,
    /// To what.
    pub target: String,
    /// What was before, with secrets masked.
    pub before: Option<Value>,
    /// What came of it, with secrets masked.
    pub after: Option<Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn iso<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_iso_millis())
}

impl Projections {
    /// The audit of a tenant, newest first.
    pub fn audit(
        &self,
        tenant: &TenantId,
        filter: &AuditFilter,
        request: PageRequest,
    ) -> Result<Page<AuditRecord>, ProjectionError> {
        let between = self.positions_between(filter.since, filter.until)?;
        self.read(|view| {
            let owner = if filter.engine { Some(ENGINE) } else { view.store.names.find(tenant.as_str()) };
            let Some(owner) = owner else { return Ok(Page::empty()) };
            let mut collector = Collector::new(request);
            let (from, to) = collector.bounds(between.0, between.1);
            if from > to {
                return Ok(collector.finish(false));
            }
            let mut entries = view.book(&audit_key(owner, from), &audit_key(owner, to));
            let newer = collector.newer();
            let mut step = || if newer { entries.next() } else { entries.next_back() };
            let mut seen = 0;
            while let Some(entry) = step() {
                if seen == RECORDS_MAX {
                    return Ok(collector.finish(true));
                }
                seen += 1;
                let (key, before) = entry.into_inner()?;
                let position = Position(number(&key).unwrap_or_default());
                let place = (position, 0);
                if collector.wants(place)
                    && let Some(record) = self.audit_record(position, befores(&before))?
                    && filter.fits(&record)
                {
                    collector.take(place, record);
                }
                collector.passed(place);
                if collector.is_full() {
                    break;
                }
            }
            Ok(collector.finish(false))
        })
    }

    fn told_at(&self, position: Position) -> Result<Option<Told>, ProjectionError> {
        if position == Position::START {
            return Ok(None);
        }
        let fact = absent(self.shared.log.read_at(position))?.map(|record| record.fact()).transpose()?;
        Ok(fact.and_then(|fact| tell(&fact)))
    }

    fn audit_record(
        &self,
        position: Position,
        (before, quotas_before): (Position, Position),
    ) -> Result<Option<AuditRecord>, ProjectionError> {
        let Some(record) = absent(self.shared.log.read_at(position))? else { return Ok(None) };
        let Some(told) = tell(&record.fact()?) else { return Ok(None) };
        let before = match told.before {
            Some(before) => Some(before),
            None if told.action == QUOTAS_SET => self.told_at(before)?.and_then(quotas_of),
            None => self.told_at(before)?.and_then(|told| told.after).map(|mut before| {
                // Of another change, or of this one and told below.
                before.as_object_mut().map(|before| before.remove("quotas"));
                before
            }),
        };
        let quotas = self.told_at(quotas_before)?.and_then(quotas_of);
        let before = match (before, quotas) {
            (Some(mut before), Some(quotas)) => {
                before["quotas"] = quotas;
                Some(before)
            }
            (before, _) => before,
        };
        let Told { by: By { key: actor, asked }, action, target, after, .. } = told;
        let known = asked.map(|asked| *asked);
        let (actor_name, actor_hint, request_id, peer) = known.map_or_else(Default::default, |asked| {
            let Asked { name, hint, request, peer } = asked;
            (name, hint, Some(request), peer)
        });
        Ok(Some(AuditRecord {
            position,
            at: record.at,
            actor,
            actor_name,
            actor_hint,
            request_id,
            peer,
            action,
            target,
            before,
            after,
        }))
    }
}

/// Where it stands what was before, of everything and of the quotas that were set with it.
fn befores(mark: &[u8]) -> (Position, Position) {
    let position = |bytes| Position(number(bytes).unwrap_or_default());
    (
        position(mark),
        mark.split_at_checked(8)
            .filter(|(_, rest)| !rest.is_empty())
            .map_or(Position::START, |(first, _)| position(first)),
    )
}

/// The quotas that a fact set.
fn quotas_of(told: Told) -> Option<Value> {
    let mut after = told.after?;
    if told.action == QUOTAS_SET { Some(after) } else { after.get_mut("quotas").map(Value::take) }
}

impl AuditFilter {
    fn fits(&self, record: &AuditRecord) -> bool {
        self.actor.as_deref().is_none_or(|actor| actor == record.actor.as_str())
            && self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at <= until)
    }
}

const QUOTAS_SET: &str = "tenant.quotas_set";

/// What one fact says of an admin write.
struct Told {
    by: By,
    action: &'static str,
    target: String,
    before: Option<Value>,
    after: Option<Value>,
}

fn tell(fact: &Fact) -> Option<Told> {
    match fact {
        Fact::Tenant(id, event) => tell_tenant(id, event),
        Fact::Pipeline(id, event) => Some(tell_pipeline(id, event)),
        Fact::Lane(id, event) => tell_lane(id, event),
        Fact::Engine(EngineEvent::WorkerRevived { worker, by }) => {
            Some(told(by, "worker.revived", worker.clone(), None))
        }
        Fact::Engine(EngineEvent::RetentionApplied { floor, segments, bytes, by: Some(by) }) => {
            let after = json!({ "floor": floor, "segments": segments, "bytes": bytes });
            Some(told(by, "retention.applied", "log".to_owned(), Some(after)))
        }
        Fact::Endpoint(id, EndpointEvent::EndpointClosed { url, by: Some(by), .. }) => {
            Some(told(by, "endpoint.closed", id.to_string(), Some(json!({ "url": shown_url(url) }))))
        }
        Fact::Engine(_) | Fact::Accepted(..) | Fact::Endpoint(..) => None,
    }
}

fn told(by: &By, action: &'static str, target: String, after: Option<Value>) -> Told {
    Told { by: by.clone(), action, target, before: None, after }
}

fn tell_tenant(id: &TenantId, event: &TenantEvent) -> Option<Told> {
    Some(match event {
        TenantEvent::TenantCreated { name, profile, by } => {
            told(by, "tenant.created", id.to_string(), Some(json!({ "name": name, "profile": profile })))
        }
        TenantEvent::TenantUpdated { name, contacts, quotas, by } => {
            let mut after = json!({ "name": name });
            if let Some(quotas) = quotas {
                after["quotas"] = json!(quotas);
            }
            if let Some(contacts) = contacts {
                after["contacts"] = json!(contacts);
            }
            told(by, "tenant.updated", id.to_string(), Some(after))
        }
        TenantEvent::TenantDeleted { by } => told(by, "tenant.deleted", id.to_string(), None),
        TenantEvent::KeyCreated { key, by } => {
            told(by, "key.created", key.id.to_string(), Some(key_json(key)))
        }
        TenantEvent::KeyRevoked { id, by } => told(by, "key.revoked", id.to_string(), None),
        TenantEvent::JwtKeyCreated { key, by } => {
            told(by, "jwt_key.created", key.id.to_string(), Some(jwt_key_json(key)))
        }
        TenantEvent::JwtKeyRevoked { id, by } => told(by, "jwt_key.revoked", id.to_string(), None),
        TenantEvent::SecretRevealed { pipeline, step, by } => {
            told(by, "secret.revealed", format!("{pipeline}/{step}"), None)
        }
        TenantEvent::SigningKeyMade { key, former_until, by, .. } => {
            let former_until = former_until.map(Timestamp::to_iso_millis);
            let after = json!({ "public_key": key.public, "former_until": former_until });
            told(by, "signing_key.made", key.id.to_string(), Some(after))
        }
        TenantEvent::ClientCertificateSet { certificate, by, .. } => {
            told(by, "client_certificate.set", id.to_string(), Some(certificate_json(certificate)))
        }
        TenantEvent::ClientCertificateRemoved { by } => {
            told(by, "client_certificate.removed", id.to_string(), None)
        }
        TenantEvent::EventErased { id, events, by } => {
            told(by, "event.erased", id.to_string(), Some(json!({ "positions": events })))
        }
        TenantEvent::PayloadsErased { through, by } => {
            told(by, "tenant.erased", id.to_string(), Some(json!({ "through": through })))
        }
        TenantEvent::QuotasSet { quotas, by } => told(by, QUOTAS_SET, id.to_string(), Some(json!(quotas))),
        TenantEvent::Answered { .. } | TenantEvent::NoticesMailed { .. } => return None,
    })
}

fn tell_pipeline(id: &PipelineId, event: &PipelineEvent) -> Told {
    match event {
        PipelineEvent::PipelineCreated { config, by, .. } => {
            told(by, "pipeline.created", id.to_string(), Some(config_json(config)))
        }
        PipelineEvent::PipelineUpdated { config, by, rotated: None } => {
            told(by, "pipeline.updated", id.to_string(), Some(config_json(config)))
        }
        PipelineEvent::PipelineUpdated { config, by, rotated: Some(step) } => {
            told(by, "secret.rotated", format!("{id}/{step}"), Some(config_json(config)))
        }
        PipelineEvent::PipelineDeleted { by } => told(by, "pipeline.deleted", id.to_string(), None),
    }
}

fn tell_lane(id: &PipelineId, event: &LaneEvent) -> Option<Told> {
    let delivery = |event: &Position| DeliveryId::new(*event, id);
    let dead_letter = |event: &Position, item: &DeadLetterRef| {
        DeadLetterId { delivery: delivery(event), step: item.step, round: item.round }.to_string()
    };
    Some(match event {
        LaneEvent::Redelivered { event, redelivery, dead_letter: None, by, .. } => Told {
            before: Some(json!({ "status": redelivery.was })),
            ..told(
                by,
                "delivery.retried",
                delivery(event).to_string(),
                Some(json!({ "round": redelivery.round })),
            )
        },
        LaneEvent::Redelivered { event, redelivery, dead_letter: Some(item), by, .. } => {
            let after = json!({ "delivery": delivery(event), "round": redelivery.round });
            told(by, "dead_letter.retried", dead_letter(event, item), Some(after))
        }
        LaneEvent::DeadLetterDeleted { event, dead_letter: item, by, .. } => {
            told(by, "dead_letter.deleted", dead_letter(event, item), None)
        }
        LaneEvent::DeliveryCancelled { event, resource, by } => {
            told(by, "delivery.cancelled", delivery(event).to_string(), Some(json!({ "resource": resource })))
        }
        LaneEvent::HeadSkipped { event, resource, by } => {
            let after = event.as_ref().map(|event| json!({ "delivery": delivery(event) }));
            told(by, "lane.skipped", format!("{id}/{resource}"), after)
        }
        LaneEvent::LaneResumed { resource, by } => told(by, "lane.resumed", format!("{id}/{resource}"), None),
        _ => return None,
    })
}

fn key_json(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "hint": key.hint,
        "scopes": key.scopes,
        "name": key.name,
        "expires_at": key.expires_at.map(Timestamp::to_iso_millis),
    })
}

fn jwt_key_json(key: &JwtKey) -> Value {
    json!({
        "id": key.id,
        "kid": key.kid,
        "alg": key.verifying.algorithm(),
        "scopes": key.scopes,
        "claims": key.claims,
        "name": key.name,
        "expires_at": key.expires_at.map(Timestamp::to_iso_millis),
    })
}

fn certificate_json(certificate: &Certificate) -> Value {
    json!({
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "not_after": certificate.not_after.to_iso_seconds(),
        "sha256": certificate.sha256,
    })
}

/// The configuration as the log keeps it, with a mask for everything that is sealed.
fn config_json(config: &PipelineConfig) -> Value {
    let mut config = config.clone();
    config.failover_url = config.failover_url.as_deref().map(|url| shown_url(url).into_owned());
    for step in &mut config.steps {
        step.url = shown_url(&step.url).into_owned();
        for header in &mut step.headers {
            if let HeaderValue::Sealed(text) = &mut header.value {
                *text = MASK.into();
            }
        }
        let former = step.former_keys.iter_mut().map(|former| &mut former.key);
        for key in step.signing_key.iter_mut().chain(former) {
            if let StoredKey::Sealed(text) = key {
                *text = MASK.into();
            }
        }
    }
    serde_json::to_value(config).unwrap_or_default()
}
